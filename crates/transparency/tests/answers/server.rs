//! A server with a directory and a log, both in memory, that does what a test tells it to.

use std::convert::Infallible;

use undertone_keys::agreement::{DeviceKey, SoftwareKey};
use undertone_keys::device_list::DeviceList;
use undertone_keys::digest::sha256;
use undertone_keys::record::DeviceRecord;
use undertone_keys::sign::{Account, Device, Server as ServerRole, SigningKey, Witness};
use undertone_keys::testing::{SeededRng, let_in};
use undertone_keys::{UserId, WallTime};
use undertone_transparency::answer::{Answer, Found, Hashes, Head, LeafOf};
use undertone_transparency::checkpoint::{Checkpoint, SignedCheckpoint, origin};
use undertone_transparency::cosignature::Cosignature;
use undertone_transparency::known::KnownList;
use undertone_transparency::label;
use undertone_transparency::leaf::Leaf;
use undertone_transparency::log::{Hash, Subtrees, node_hash, prove_consistency, prove_inclusion, root};
use undertone_transparency::note::{LogKey, WitnessKey};
use undertone_transparency::policy::Witnesses;
use undertone_transparency::seen::Seen;
use undertone_transparency::verify::{Accusation, Pins, Proven, Purpose, Question, VerifiedDevices};

use crate::world::World;

/// The clock at the start.
pub(crate) const START: u64 = 1_000_000;

/// A log of leaves, all in memory.
#[derive(Clone, Default)]
pub(crate) struct Log(pub(crate) Vec<Leaf>);

impl Subtrees for Log {
    type Error = Infallible;

    fn subtree(&self, level: u8, index: u64) -> Result<Hash, Infallible> {
        if level == 0 {
            return Ok(self.0[usize::try_from(index).unwrap()].hash());
        }
        Ok(node_hash(&self.subtree(level - 1, index * 2)?, &self.subtree(level - 1, index * 2 + 1)?))
    }
}

impl Log {
    pub(crate) fn size(&self) -> u64 {
        self.0.len() as u64
    }
}

/// Somebody with an account.
pub(crate) struct Person {
    pub(crate) user: UserId,
    pub(crate) account: SigningKey<Account>,
    pub(crate) lists: Vec<DeviceList>,
    /// The first device's.
    pub(crate) key: SigningKey<Device>,
    /// The account key under which the account begins anew, if it does.
    pub(crate) begun: Option<SigningKey<Account>>,
    rng: SeededRng,
}

impl Person {
    pub(crate) fn new(name: &str, seed: u64) -> Self {
        let mut rng = SeededRng::new(seed);
        let (user, account) = (UserId::parse(name, "example.org").unwrap(), SigningKey::generate(&mut rng));
        let (key, record) = record(&user, &mut rng);
        let first = DeviceList::first(&account, &user, record.sign(&key)).unwrap();
        Self { user, account, lists: vec![first], key, begun: None, rng }
    }

    pub(crate) fn newest(&self) -> &DeviceList {
        self.lists.last().unwrap()
    }

    /// One device more.
    pub(crate) fn add_device(&mut self) {
        let (key, record) = record(&self.user, &mut self.rng);
        let next = self.newest().with(&self.account, let_in(&self.key, record).sign(&key)).unwrap();
        self.lists.push(next);
    }

    /// Somebody begins the account anew, behind the newest list (rule ID-7).
    pub(crate) fn begin_anew(&mut self) {
        let (key, record) = record(&self.user, &mut self.rng);
        let account = SigningKey::generate(&mut self.rng);
        self.lists.push(DeviceList::anew(&account, self.newest(), record.sign(&key)).unwrap());
        self.begun = Some(account);
    }

    pub(crate) fn label(&self) -> String {
        String::from_utf8(label::devices(&self.user)).unwrap()
    }
}

pub(crate) fn record(user: &UserId, rng: &mut SeededRng) -> (SigningKey<Device>, DeviceRecord) {
    let (identity, agreement) = (SigningKey::generate(rng), SoftwareKey::generate(rng));
    let now = WallTime::from_unix(START);
    let record = DeviceRecord::new(user.clone(), *identity.public(), *agreement.public(), now, "phone".into());
    (identity, record)
}

pub(crate) struct Server {
    pub(crate) world: World,
    pub(crate) key: SigningKey<ServerRole>,
    pub(crate) log: Log,
    pub(crate) clock: u64,
}

impl Server {
    /// With ten users of whom nobody asks, and the log's first leaf.
    pub(crate) fn new() -> Self {
        let world = World::new(10);
        let key = SigningKey::generate(&mut SeededRng::new(99));
        let mut server = Self { world, key, log: Log::default(), clock: START };
        server.log_epoch();
        server
    }

    pub(crate) fn leaf(&self) -> Leaf {
        let vrf_key = sha256(&[&self.world.key_bytes]);
        Leaf { epoch: self.world.epoch(), root: *self.world.root(), vrf_key, time: WallTime::from_unix(self.clock) }
    }

    /// A leaf for what the directory is now.
    pub(crate) fn log_epoch(&mut self) {
        self.log.0.push(self.leaf());
    }

    /// Publishes the newest lists of these people.
    pub(crate) fn publish(&mut self, people: &[&Person]) {
        let labels: Vec<String> = people.iter().map(|person| person.label()).collect();
        let values: Vec<(&str, Hash)> =
            labels.iter().zip(people).map(|(label, person)| (label.as_str(), person.newest().hash())).collect();
        self.world.publish_values(&values);
        self.log_epoch();
    }

    pub(crate) fn checkpoint_of(&self, log: &Log) -> SignedCheckpoint {
        let Ok(root) = root(log.size(), log);
        Checkpoint { origin: origin("example.org").unwrap(), size: log.size(), root }.sign(&self.key)
    }

    /// The part about the log, from what the asker has seen.
    pub(crate) fn answer_with(&self, log: &Log, seen: Option<&Seen>, found: Found) -> Answer {
        let size = log.size();
        let Ok(consistency) = seen.map_or(Ok(Vec::new()), |seen| prove_consistency(seen.size(), size, log));
        let Ok(inclusion) = prove_inclusion(size - 1, size, log);
        let head = Head {
            checkpoint: self.checkpoint_of(log).to_bytes(),
            consistency: Hashes(consistency),
            leaf: log.0.last().unwrap().to_bytes(),
            inclusion: Hashes(inclusion),
            witnessed: None,
        };
        Answer { head, found, announced: None }
    }

    /// The leaf at an index, as it is shown of the epoch in which an account began anew.
    pub(crate) fn leaf_at(&self, index: u64) -> LeafOf {
        let Ok(inclusion) = prove_inclusion(index, self.log.size(), &self.log);
        let leaf = self.log.0[usize::try_from(index).unwrap()].to_bytes();
        LeafOf { index, leaf, inclusion: Hashes(inclusion), version: None }
    }

    pub(crate) fn present(&self, person: &Person, known: usize) -> Found {
        let proof = Box::new(self.world.lookup(&person.label()));
        let from = if known == 0 { person.lists.len() - 1 } else { known };
        Found::Present { proof, lists: person.lists[from..].iter().map(DeviceList::to_bytes).collect() }
    }

    /// What an honest server answers.
    pub(crate) fn answer(&self, person: &Person, asker: &Asker) -> Answer {
        let known = asker.known.as_ref().map_or(0, |known| known.list.version() as usize);
        self.answer_with(&self.log, asker.seen.as_ref(), self.present(person, known))
    }

    pub(crate) fn asker(&self) -> Asker {
        let (log, vrf) = (*self.key.public(), self.world.key_bytes);
        Asker {
            pins: Pins { domain: "example.org".into(), log, vrf, witnesses: Witnesses::none() },
            seen: None,
            known: None,
            clock: START,
            purpose: Purpose::Begin,
        }
    }
}

/// A device that asks about one user.
#[derive(Clone)]
pub(crate) struct Asker {
    pub(crate) pins: Pins,
    pub(crate) seen: Option<Seen>,
    pub(crate) known: Option<KnownList>,
    pub(crate) clock: u64,
    pub(crate) purpose: Purpose,
}

impl Asker {
    pub(crate) fn question<'a>(&'a self, user: &'a UserId) -> Question<'a> {
        let (seen, known, now) = (self.seen.as_ref(), self.known.as_ref(), WallTime::from_unix(self.clock));
        Question { pins: &self.pins, user, seen, known, now, purpose: self.purpose }
    }

    pub(crate) fn ask(&self, person: &Person, answer: &Answer) -> Result<Proven, Accusation> {
        self.question(&person.user).verify(&answer.to_bytes())
    }

    /// Believes it, and remembers.
    pub(crate) fn learn(&mut self, person: &Person, answer: &Answer) -> VerifiedDevices {
        let Proven::Devices(devices) = self.ask(person, answer).unwrap() else { panic!("absent") };
        self.seen = Some(devices.provenance().seen().clone());
        self.known = Some(KnownList { list: devices.list().clone(), newest: devices.newest_at() });
        *devices
    }
}

/// Witness number `n`, and its line for a checkpoint at a time.
pub(crate) fn witness(n: u8) -> (SigningKey<Witness>, WitnessKey) {
    let key = SigningKey::<Witness>::generate(&mut SeededRng::new(u64::from(n) + 500));
    let public = WitnessKey::new(format!("witness{n}.example.net").parse().unwrap(), *key.public());
    (key, public)
}

/// Has a witness cosign an answer's checkpoint.
pub(crate) fn cosign(server: &Server, answer: &mut Answer, n: u8, at: u64) {
    let mut signed = SignedCheckpoint::from_bytes(&answer.head.checkpoint).unwrap();
    let key = LogKey::new(origin("example.org").unwrap(), *server.key.public());
    let verified = signed.clone().verify(&key).unwrap();
    let (witness, public) = witness(n);
    let cosignature = Cosignature::sign(&verified, &witness, WallTime::from_unix(at)).unwrap();
    signed.push(cosignature.line(&public)).unwrap();
    answer.head.checkpoint = signed.to_bytes();
}
