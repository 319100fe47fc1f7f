//! The two halves of a call's MLS group fit together: what members write, the delivery service reads, which knows nothing of MLS but
//! where its fields stand (rules RLY-6, MLS-1, MLS-3).
#![allow(clippy::unwrap_used, clippy::panic, clippy::indexing_slicing, reason = "a test may fail")]

#[path = "../../../crates/groups/tests/world/mod.rs"]
mod world;

use rand_core::Rng;
use undertone_groups::{Change, Group, KeyPackage, Suite, Upload};
use undertone_keys::CallId;
use undertone_keys::testing::SeededRng;
use undertone_protocol::delivery::frame::{key_package_suite, welcome_suite};
use undertone_protocol::delivery::{
    CommitFrame, EpochDigest, FrameError, InfoFrame, Tree, TreeHashes, TreePatch, epoch_digest, group_id,
};
use undertone_protocol::limits::{MAX_COMMIT, MAX_GROUP_INFO, MAX_KEY_PACKAGE, MAX_WELCOMES};
use world::{ID, List, Person, agree, terms};

/// A tree that a member exported, and the way back.
fn read_tree(bytes: &[u8]) -> Tree {
    let tree = Tree::decode(bytes).unwrap();
    assert_eq!(tree.encode(), bytes, "the server hands out what members have");
    tree
}

fn read_info(bytes: &[u8], suite: Suite, epoch: u64) -> InfoFrame<'_> {
    assert!(bytes.len() <= MAX_GROUP_INFO);
    assert_eq!(CommitFrame::read(bytes), Err(FrameError::Kind));
    let info = InfoFrame::read(bytes).unwrap();
    assert_eq!((info.suite, info.group, info.epoch), (suite.mls_number(), &ID.as_bytes()[..], epoch));
    info
}

/// What the server has of the group, and checks before it takes what comes.
struct Server {
    suite: Suite,
    epoch: u64,
    tree: Tree,
    hashes: TreeHashes,
    digest: EpochDigest,
    /// How many nodes the tree had, from the beginning.
    lengths: Vec<usize>,
}

impl Server {
    fn begin(suite: Suite, (info, tree): (Vec<u8>, Vec<u8>)) -> Self {
        let (info, tree) = (read_info(&info, suite, 0), read_tree(&tree));
        let hashes = TreeHashes::of(&tree);
        assert_eq!(info.tree_hash, hashes.root());
        assert_eq!(TreePatch::between(&Tree::default(), &tree).apply(&Tree::default()).unwrap(), tree);
        Self { suite, epoch: 0, lengths: vec![tree.nodes().len()], tree, hashes, digest: info.digest() }
    }

    fn take(&mut self, upload: &Upload, external: bool) {
        assert_eq!((upload.group, upload.epoch), (ID, self.epoch));
        assert!(upload.commit.len() <= MAX_COMMIT);
        let commit = CommitFrame { group: ID.as_bytes(), epoch: self.epoch, external };
        assert_eq!(CommitFrame::read(&upload.commit), Ok(commit));
        assert_eq!(InfoFrame::read(&upload.commit), Err(FrameError::Kind));
        if let Some(welcome) = &upload.welcome {
            assert!(welcome.len() <= MAX_WELCOMES);
            assert_eq!(welcome_suite(welcome), Ok(self.suite.mls_number()));
            assert_eq!(CommitFrame::read(welcome), Err(FrameError::Kind));
        }
        self.epoch += 1;
        let (info, next) = (read_info(&upload.group_info, self.suite, self.epoch), read_tree(&upload.tree));
        let patch = TreePatch::between(&self.tree, &next);
        assert_eq!(patch.apply(&self.tree).unwrap(), next);
        assert!(!patch.nodes.is_empty(), "at least the committer's own leaf");
        let changed = patch.nodes.iter().map(|node| usize::try_from(node.index).unwrap());
        let hashes = self.hashes.after(&self.tree, &next, changed);
        assert_eq!(hashes, TreeHashes::of(&next));
        assert_eq!(info.tree_hash, hashes.root(), "epoch {}", self.epoch);
        assert_ne!(info.digest(), self.digest, "an epoch like none before");
        self.lengths.push(next.nodes().len());
        (self.tree, self.hashes, self.digest) = (next, hashes, info.digest());
    }

    /// What a member says of its epoch is what the server reads out of the group info that somebody else brought.
    fn is_attested_by(&self, person: &Person) {
        let attest = person.group().attest().unwrap();
        assert_eq!((attest.group, attest.epoch), (ID, self.epoch));
        assert_eq!(epoch_digest(&attest.context, &attest.confirmation_tag), self.digest, "{}", person.user);
        assert_eq!(attest.tree_hash, self.hashes.root());
    }

    /// Another group info of the same epoch, signed by another member, says the same.
    fn is_confirmed_by(&self, person: &mut Person) {
        let (own, tree) = person.public();
        assert_eq!(read_info(&own, self.suite, self.epoch).digest(), self.digest);
        assert_eq!(read_tree(&tree), self.tree);
    }
}

/// A person's key package on its way through the server, which sees the message without the envelope.
fn by_the_server(person: &mut Person, suite: Suite) -> KeyPackage {
    let envelope = person.package_bytes(suite);
    assert_eq!(key_package_suite(&envelope).ok(), None, "the envelope is the members'");
    let (said, message) = KeyPackage::take_out(&envelope).unwrap();
    assert_eq!(said, suite);
    assert!(message.len() <= MAX_KEY_PACKAGE);
    assert_eq!(key_package_suite(&message), Ok(suite.mls_number()));
    assert_eq!(CommitFrame::read(&message), Err(FrameError::Kind));
    assert_eq!(KeyPackage::put_in(suite, message.clone()), envelope);
    let package = KeyPackage::parse(&KeyPackage::put_in(suite, message), suite, world::NOW).unwrap();
    assert_eq!(package.device().device, person.device());
    package
}

/// People, one server, and who of them is in the group.
struct Room {
    suite: Suite,
    people: Vec<Person>,
    list: List,
    server: Server,
}

impl Room {
    fn new(suite: Suite, size: usize) -> Self {
        let seeds = (0..size).zip(1..);
        let mut people: Vec<_> = seeds.map(|(n, seed)| Person::new(&format!("member{n}"), seed)).collect();
        people[0].create(&terms(suite));
        let list = List::of(&people.iter().collect::<Vec<_>>());
        let server = Server::begin(suite, people[0].public());
        server.is_attested_by(&people[0]);
        Self { suite, people, list, server }
    }

    fn inside(&self) -> Vec<usize> {
        (0..self.people.len()).filter(|n| Group::open(&self.people[*n].store, ID).is_ok()).collect()
    }

    /// One commits that some are added and some are removed.
    fn commit(&mut self, by: usize, add: &[usize], remove: &[usize]) {
        let suite = self.suite;
        let change = Change {
            add: add.iter().map(|n| by_the_server(&mut self.people[*n], suite)).collect(),
            remove: remove.iter().map(|n| self.people[*n].group().own_index()).collect(),
            ..Change::default()
        };
        let upload = self.people[by].commit(change, &self.list);
        assert_eq!(upload.welcome.is_some(), !add.is_empty());
        self.server.take(&upload, false);
        self.spread(by, &upload);
        self.people[by].accepted();
        add.iter().for_each(|n| self.people[*n].join(&terms(suite), &upload, &self.list));
        self.settled();
    }

    /// One comes in by itself, or takes its own place again.
    fn come_in(&mut self, who: usize, by: usize) {
        let (info, _) = self.people[by].public();
        let again = self.inside().contains(&who);
        // The tree is the server's.
        let tree = self.server.tree.encode();
        let upload = self.people[who].start_external(&terms(self.suite), &info, &tree, again, &self.list);
        self.server.take(&upload, true);
        self.spread(who, &upload);
        self.people[who].external_accepted();
        self.settled();
    }

    fn spread(&mut self, by: usize, upload: &Upload) {
        for n in self.inside().into_iter().filter(|n| *n != by) {
            self.people[n].follow(&upload.commit, &self.list);
        }
    }

    fn settled(&mut self) {
        let inside = self.inside();
        inside.iter().for_each(|n| self.server.is_attested_by(&self.people[*n]));
        inside.iter().take(2).for_each(|n| self.server.is_confirmed_by(&mut self.people[*n]));
        agree(&inside.iter().map(|n| &self.people[*n]).collect::<Vec<_>>());
    }
}

/// All that happens in the life of a group, in one suite.
fn all(suite: Suite) {
    let mut room = Room::new(suite, 7);
    assert_eq!(group_id(&CallId::from_bytes(*ID.as_bytes())), ID.as_bytes());
    room.commit(0, &[1, 2, 3, 4], &[]);
    room.commit(1, &[], &[]);
    room.commit(4, &[], &[]);
    let sealed = room.people[0].seal(b"no commit");
    assert_eq!(CommitFrame::read(&sealed), Err(FrameError::Kind), "a member's message");
    // A blank in the middle, then one at the end, and then all that is between them.
    room.commit(0, &[], &[2]);
    room.commit(0, &[], &[4]);
    room.commit(1, &[], &[3]);
    assert_eq!(room.server.lengths, [1, 9, 9, 9, 9, 7, 3]);
    // A place that was free is taken, and the same by who comes in alone; then by who is in already.
    room.commit(1, &[2, 3, 5], &[]);
    room.commit(2, &[], &[1]);
    room.come_in(6, 0);
    assert_eq!(room.people[6].group().own_index(), 1, "the first that is free");
    room.come_in(5, 6);
    // In one commit somebody goes and somebody comes.
    room.commit(6, &[1], &[3, 0]);
    assert_eq!(room.inside(), [1, 2, 5, 6]);
}

#[test]
fn rly_6_mls_1_mls_3_the_server_reads_what_members_write_in_p256() {
    all(Suite::P256);
}

#[test]
fn rly_6_mls_1_mls_3_the_server_reads_what_members_write_in_x25519() {
    all(Suite::X25519);
}

#[test]
fn rly_6_mls_1_mls_3_the_server_reads_what_members_write_in_x_wing() {
    all(Suite::XWing);
}

/// Trees that grow and shrink across powers of two, with blanks in all places.
#[test]
fn mls_1_a_patch_leads_from_every_tree_to_the_next() {
    for seed in 0..2 {
        let mut room = Room::new(Suite::X25519, 20);
        let mut rng = SeededRng::new(seed);
        let mut draw = |below: usize| usize::try_from(rng.next_u32()).unwrap() % below;
        for _ in 0..30 {
            let inside = room.inside();
            let by = inside[draw(inside.len())];
            let outside: Vec<usize> = (0..room.people.len()).filter(|n| !inside.contains(n)).collect();
            let mut some = |of: &[usize], most: usize| {
                let count = draw(most.min(of.len()) + 1);
                let first = draw(of.len().max(1));
                (0..count).map(|n| of[(first + n) % of.len()]).collect::<Vec<_>>()
            };
            let others: Vec<usize> = inside.iter().copied().filter(|n| *n != by).collect();
            let (add, remove) = (some(&outside, 6), some(&others, 5));
            match (draw(5), outside.first()) {
                (0, Some(who)) => room.come_in(*who, by),
                (1, _) => room.commit(by, &add, &[]),
                (2, _) => room.commit(by, &[], &remove),
                (3, _) if inside.len() > 1 => room.come_in(others[0], by),
                _ => room.commit(by, &add, &remove),
            }
        }
        let lengths = &room.server.lengths;
        assert!(lengths.windows(2).any(|pair| pair[1] < pair[0]), "{lengths:?}: none shrank");
        assert!(lengths.iter().any(|length| *length > 15), "{lengths:?}: none was large");
    }
}
