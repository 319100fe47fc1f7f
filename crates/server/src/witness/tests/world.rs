//! A log with a directory behind it, both in memory, that serves what a test tells it to; and a witness of it.

use std::cell::{Cell, RefCell};
use std::collections::BTreeMap;
use std::rc::Rc;

use akd::ecvrf::HardCodedAkdVRF;
use akd::storage::StorageManager;
use akd::storage::memory::AsyncInMemoryDatabase;
use akd::{AkdLabel, AkdValue, AzksParallelismConfig, EpochHash, WhatsAppV1Configuration};
use undertone_keys::WallTime;
use undertone_keys::digest::sha256;
use undertone_keys::sign::{Server, SigningKey, Witness};
use undertone_keys::testing::SeededRng;
use undertone_transparency::checkpoint::{Checkpoint, SignedCheckpoint, origin};
use undertone_transparency::cosignature::Cosignature;
use undertone_transparency::directory::AppendOnlyProof;
use undertone_transparency::leaf::Leaf;
use undertone_transparency::log::{self, Hash, Subtrees};
use undertone_transparency::note::{LogKey, NoteSignature, WitnessKey};

use crate::witness::{Accused, BadMemory, Check, Evidence, Fault, Keep, Kept, Resource, Step, witness_key};

/// The clock of the log at its first leaf.
pub(super) const START: u64 = 1_000_000;
/// The clock of the witness at its first look.
pub(super) const NOON: u64 = 2_000_000;

type Akd = akd::Directory<WhatsAppV1Configuration, AsyncInMemoryDatabase, HardCodedAkdVRF>;

/// The entries of a log and its tree.
#[derive(Clone, Default)]
pub(super) struct Tree {
    pub(super) entries: Vec<Vec<u8>>,
    hashes: BTreeMap<(u8, u64), Hash>,
}

impl Subtrees for Tree {
    type Error = ();

    fn subtree(&self, level: u8, index: u64) -> Result<Hash, ()> {
        self.hashes.get(&(level, index)).copied().ok_or(())
    }
}

impl Tree {
    pub(super) fn of(entries: &[Vec<u8>]) -> Self {
        let mut tree = Self::default();
        entries.iter().for_each(|entry| tree.push(entry.clone()));
        tree
    }

    pub(super) fn push(&mut self, entry: Vec<u8>) {
        let new = log::appended(self.size(), log::leaf_hash(&entry), self).unwrap();
        self.hashes.extend(new.into_iter().map(|(level, index, hash)| ((level, index), hash)));
        self.entries.push(entry);
    }

    pub(super) fn size(&self) -> u64 {
        self.entries.len() as u64
    }

    fn serve(&self, resource: Resource) -> Vec<u8> {
        match resource {
            Resource::Tile(tile) => tile.read(self).unwrap(),
            Resource::Entries(bundle) => {
                let first = bundle.first() as usize;
                bundle.encode(&self.entries[first..first + usize::from(bundle.tile().width())]).unwrap()
            }
            Resource::Audit(_) => panic!("no tile"),
        }
    }
}

/// The server. What it serves instead of the truth is in `lies`.
pub(super) struct World {
    runtime: tokio::runtime::Runtime,
    akd: Akd,
    pub(super) key: SigningKey<Server>,
    pub(super) tree: Tree,
    pub(super) clock: u64,
    pub(super) roots: Vec<Hash>,
    pub(super) vrf_key: Hash,
    pub(super) audits: BTreeMap<u64, Vec<u8>>,
    pub(super) lies: BTreeMap<Resource, Vec<u8>>,
    /// What was asked for, in order.
    pub(super) asked: RefCell<Vec<Resource>>,
    version: u32,
}

impl World {
    /// With a first epoch and its leaf.
    pub(super) fn new() -> Self {
        let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
        let storage = StorageManager::new_no_cache(AsyncInMemoryDatabase::new());
        let akd = Akd::new(storage, HardCodedAkdVRF, AzksParallelismConfig::disabled());
        let akd = runtime.block_on(akd).unwrap();
        let vrf_key = sha256(&[&runtime.block_on(akd.get_public_key()).unwrap().to_bytes()]);
        let mut world = Self {
            runtime,
            akd,
            key: SigningKey::generate(&mut SeededRng::new(99)),
            tree: Tree::default(),
            clock: START,
            roots: vec![undertone_transparency::directory::empty_root()],
            vrf_key,
            audits: BTreeMap::new(),
            lies: BTreeMap::new(),
            asked: RefCell::default(),
            version: 0,
        };
        world.publish(3);
        world
    }

    /// An epoch with new versions of so many users, without a leaf.
    pub(super) fn publish_only(&mut self, users: u32) {
        self.version += 1;
        let value = |n: u32| sha256(&[&n.to_be_bytes(), &self.version.to_be_bytes()]).to_vec();
        let changes = (0..users).map(|n| (AkdLabel::from(format!("user {n}").as_str()), AkdValue(value(n)))).collect();
        let (EpochHash(epoch, root), audit) = self.runtime.block_on(async {
            let published = self.akd.publish(changes).await.unwrap();
            (published.clone(), self.akd.audit(published.0 - 1, published.0).await.unwrap().proofs.remove(0))
        });
        assert_eq!(epoch, self.roots.len() as u64);
        self.roots.push(root);
        self.audits.insert(epoch, AppendOnlyProof::from_akd(&audit).unwrap().to_bytes());
    }

    /// The leaf for what the directory is now.
    pub(super) fn leaf(&self) -> Leaf {
        let (epoch, time) = (self.roots.len() as u64 - 1, WallTime::from_unix(self.clock));
        Leaf { epoch, root: *self.roots.last().unwrap(), vrf_key: self.vrf_key, time }
    }

    pub(super) fn push(&mut self, leaf: &Leaf) {
        self.tree.push(leaf.to_bytes());
    }

    /// An epoch and its leaf.
    pub(super) fn publish(&mut self, users: u32) {
        self.publish_only(users);
        self.clock += 1;
        self.push(&self.leaf());
    }

    /// So many leaves that repeat the newest epoch (rule KT-8).
    pub(super) fn heartbeat(&mut self, times: u32) {
        for _ in 0..times {
            self.clock += 240;
            self.push(&self.leaf());
        }
    }

    pub(super) fn log_key(&self) -> LogKey {
        LogKey::new(origin("example.org").unwrap(), *self.key.public())
    }

    /// The checkpoint of some tree, signed with the log's key.
    pub(super) fn signed(&self, tree: &Tree) -> SignedCheckpoint {
        let root = log::root(tree.size(), tree).unwrap();
        Checkpoint { origin: origin("example.org").unwrap(), size: tree.size(), root }.sign(&self.key)
    }

    pub(super) fn note(&self) -> Vec<u8> {
        self.signed(&self.tree).to_bytes()
    }

    pub(super) fn serve(&self, resource: Resource) -> Vec<u8> {
        self.asked.borrow_mut().push(resource);
        match (self.lies.get(&resource), resource) {
            (Some(lie), _) => lie.clone(),
            (None, Resource::Audit(epoch)) => self.audits[&epoch].clone(),
            (None, _) => self.tree.serve(resource),
        }
    }
}

/// Keeps a memory for as long as somebody holds it.
#[derive(Clone, Debug, Default)]
pub(super) struct Shelf {
    pub(super) bytes: Rc<RefCell<Option<Vec<u8>>>>,
    pub(super) writes: Rc<Cell<usize>>,
    /// Writes that are left before the process is killed: within the one behind them, with nothing written.
    pub(super) left: Rc<Cell<Option<usize>>>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum ShelfError {
    Killed,
    Bad(BadMemory),
}

impl From<BadMemory> for ShelfError {
    fn from(bad: BadMemory) -> Self {
        Self::Bad(bad)
    }
}

impl Keep for Shelf {
    type Error = ShelfError;

    fn read(&mut self) -> Result<Option<Vec<u8>>, ShelfError> {
        Ok(self.bytes.borrow().clone())
    }

    fn write(&mut self, memory: &[u8]) -> Result<(), ShelfError> {
        if self.left.get() == Some(0) {
            return Err(ShelfError::Killed);
        }
        self.left.set(self.left.get().map(|left| left - 1));
        self.writes.set(self.writes.get() + 1);
        *self.bytes.borrow_mut() = Some(memory.to_vec());
        Ok(())
    }
}

/// Why a look ended early.
#[derive(Debug)]
pub(super) enum End {
    Accused(Accused),
    Killed,
}

pub(super) struct Watcher {
    pub(super) kept: Kept<Shelf>,
    pub(super) key: SigningKey<Witness>,
    pub(super) own: WitnessKey,
    pub(super) clock: u64,
}

impl Watcher {
    pub(super) fn new(world: &World) -> Self {
        Self::on(world, Shelf::default())
    }

    /// A process that starts with what is on the shelf.
    pub(super) fn on(world: &World, shelf: Shelf) -> Self {
        let key = SigningKey::generate(&mut SeededRng::new(500));
        let own = witness_key(&key, Some("witness.example.net")).unwrap();
        let kept = Kept::open(shelf, &world.log_key(), &own).unwrap();
        Self { kept, key, own, clock: NOON }
    }

    /// Checks a checkpoint, and keeps what is known by it.
    pub(super) fn check(&mut self, world: &World, note: &[u8]) -> Result<(), End> {
        let mut check = Check::begin(self.kept.memory(), note, self.now()).map_err(End::Accused)?;
        loop {
            check = match check.step().map_err(End::Accused)? {
                Step::Fetch(asking) => {
                    let bytes = world.serve(asking.resource());
                    asking.answer(&bytes).map_err(End::Accused)?
                }
                Step::Keep(check) => {
                    self.kept.keep(check.memory().clone()).map_err(killed)?;
                    check
                }
                Step::Done(memory) => {
                    assert_eq!(&memory, self.kept.memory());
                    return Ok(());
                }
            };
        }
    }

    /// What the loop does with a checkpoint, without the network: the line is what would be posted.
    pub(super) fn see(&mut self, world: &World, note: &[u8]) -> Result<(u64, NoteSignature), End> {
        self.check(world, note)?;
        self.kept.keep(self.kept.memory().cosign(&self.key, self.now()).unwrap()).map_err(killed)?;
        let (size, line) = self.kept.cosignature().unwrap();
        Ok((size, line.clone()))
    }

    pub(super) fn now(&self) -> WallTime {
        WallTime::from_unix(self.clock)
    }

    /// Cosigns the newest checkpoint, and the cosignature holds.
    pub(super) fn look(&mut self, world: &World) -> NoteSignature {
        let note = world.note();
        let (size, line) = self.see(world, &note).unwrap();
        assert_eq!(size, world.tree.size());
        let verified = SignedCheckpoint::from_bytes(&note).unwrap().verify(&world.log_key()).unwrap();
        assert!(self.own.is_named(&line));
        Cosignature::from_bytes(&line.bytes).unwrap().verify(&verified, self.own.key()).unwrap();
        line
    }

    /// Refuses a checkpoint, and cosigns nothing.
    pub(super) fn refuse(&mut self, world: &World, note: &[u8]) -> Accused {
        let before = self.kept.memory().cosigned();
        let Err(End::Accused(accused)) = self.see(world, note) else { panic!("taken") };
        assert_eq!(self.kept.memory().cosigned(), before);
        let read = Evidence::from_bytes(&accused.evidence.to_bytes()).unwrap();
        assert_eq!(read, *accused.evidence);
        assert_eq!((read.rule(), read.says()), (accused.fault.rule(), accused.fault.to_string().as_str()));
        accused
    }

    /// Refuses the newest checkpoint for a fault that no signature shows: nobody is convicted.
    pub(super) fn suspects(&mut self, world: &World) -> Fault {
        let accused = self.refuse(world, &world.note());
        assert!(!accused.evidence.convicts() && !accused.ends_cosigning());
        accused.fault
    }

    /// Refuses the newest checkpoint, and a third party sees from the evidence alone that the log is at fault.
    pub(super) fn convicts(&mut self, world: &World) -> Fault {
        let accused = self.refuse(world, &world.note());
        assert!(accused.evidence.convicts() && accused.ends_cosigning());
        accused.fault
    }
}

fn killed(error: ShelfError) -> End {
    if error == ShelfError::Killed { End::Killed } else { panic!("{error:?}") }
}
