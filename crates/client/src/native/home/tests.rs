use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

use undertone_keys::sign::SigningKey;
use undertone_keys::testing::SeededRng;
use undertone_keys::{CallId, WallTime};
use undertone_protocol::statement::Statement;

use super::*;
use crate::engine::{Memory, Record};

/// A folder that is gone after the test.
struct Folder(PathBuf);

impl Folder {
    fn new(name: &str) -> Self {
        Self(std::env::temp_dir().join(format!("undertone-home-{name}-{}", std::process::id())))
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}

const fn at(seconds: u64) -> WallTime {
    WallTime::from_unix(seconds)
}

#[test]
fn call_5_what_was_accepted_is_known_after_a_restart_until_its_time_is_over() {
    let folder = Folder::new("memory");
    let calls = [1, 2, 3].map(|n| CallId::from_bytes([n; 16]));
    let home = Home::open(&folder.0).unwrap();
    assert_eq!(home.memory().unwrap(), Memory::default());
    home.remember(Record::Accepted { call: calls[0], until: at(100) }).unwrap();
    home.remember(Record::Accepted { call: calls[1], until: at(200) }).unwrap();
    drop(home);
    let home = Home::open(&folder.0).unwrap();
    assert_eq!(home.memory().unwrap().accepted, [(calls[0], at(100)), (calls[1], at(200))]);
    // The server's clock decides, whatever this machine's says.
    home.remember(Record::Clock(at(150))).unwrap();
    home.remember(Record::Accepted { call: calls[2], until: at(300) }).unwrap();
    drop(home);
    let memory = Home::open(&folder.0).unwrap().memory().unwrap();
    assert_eq!(memory, Memory { accepted: vec![(calls[1], at(200)), (calls[2], at(300))], clock: at(150) });
}

#[test]
fn a_home_that_others_can_read_is_closed_to_them() {
    let folder = Folder::new("open");
    drop(Home::open(&folder.0).unwrap());
    let store = folder.0.join("undertone.redb");
    let mode = |path: &Path| fs::metadata(path).unwrap().permissions().mode() & 0o777;
    assert_eq!((mode(&folder.0), mode(&store)), (0o700, 0o600));
    fs::set_permissions(&folder.0, fs::Permissions::from_mode(0o755)).unwrap();
    fs::set_permissions(&store, fs::Permissions::from_mode(0o644)).unwrap();
    drop(Home::open(&folder.0).unwrap());
    assert_eq!((mode(&folder.0), mode(&store)), (0o700, 0o600));
}

#[test]
fn kt_14_a_pin_does_not_go_back_to_a_replaced_tls_key() {
    let identity = *SigningKey::generate(&mut SeededRng::new(1)).public();
    let statement =
        |tls_key, created| Statement { identity, domain: "x".into(), tls_key, created: at(created), vrf: [3; 32] };
    let (stolen, present) = (statement([1; 32], 10), statement([2; 32], 20));
    let pin = |statement| ServerPin::new("x:1".into(), statement);
    assert!(pin(&present).is_replaced(&stolen));
    assert!(!pin(&stolen).is_replaced(&present));
    assert!(!pin(&present).is_replaced(&statement([2; 32], 5)), "the same key in an older statement is no other key");
    // A home that logs in anew keeps what it knew.
    let mut again = pin(&stolen);
    again.keep_newer_of(&pin(&present));
    assert!(again.is_replaced(&stolen));
}

#[test]
fn kt_9_evidence_is_there_as_a_whole_or_not_at_all_under_its_full_digest() {
    let folder = Folder::new("evidence");
    let home = Home::open(&folder.0).unwrap();
    let path = home.keep_as_evidence(false, &[0xAB; 32], b"what was answered").unwrap();
    assert_eq!(path.file_name().unwrap().to_str().unwrap(), format!("answer-{}.evidence", "ab".repeat(32)));
    assert_eq!(fs::read(&path).unwrap(), b"what was answered");
    assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
    // What differs in its last byte alone is something else.
    let mut other = [0xAB; 32];
    other[31] = 0;
    assert_ne!(home.keep_as_evidence(false, &other, b"something else").unwrap(), path);

    // One that was being written when the machine stopped is written once more, and counts for nothing.
    let cut = path.with_file_name(format!("answer-{}.evidence.partial", "cd".repeat(32)));
    fs::write(&cut, b"what w").unwrap();
    let whole = home.keep_as_evidence(false, &[0xCD; 32], b"what was answered then").unwrap();
    assert_eq!((fs::read(&whole).unwrap().as_slice(), cut.exists()), (b"what was answered then".as_slice(), false));
}

#[test]
fn sto_2_groups_are_kept_key_by_key_and_go_with_the_device() {
    use undertone_groups::{Group, GroupId, Joiner, Protection, Suite, Terms};
    use undertone_keys::{JoinId, UserId};

    let folder = Folder::new("groups");
    let rng = &mut SeededRng::new(6);
    let (user, identity) = (UserId::parse("ada", "x").unwrap(), SigningKey::generate(rng));
    let joiner = Joiner { user: &user, identity: &identity, join: JoinId::random(rng), now: at(1_800_000_000) };
    let ids = [1, 2].map(|n| GroupId::from_bytes([n; 16]));
    let terms = Terms::new(Protection::Blind, Suite::X25519, false);
    let home = Home::open(&folder.0).unwrap();
    let mut store = home.groups().unwrap();
    for id in ids {
        let step = Group::create(&store, rng, id, &terms, &joiner).unwrap();
        home.keep_groups(&step.store).unwrap();
        store.apply(step.store);
    }
    fn authenticator(store: &undertone_groups::Store, id: GroupId) -> undertone_groups::Authenticator {
        Group::open(store, id).unwrap().authenticator().unwrap()
    }
    let before = ids.map(|id| authenticator(&store, id));
    drop(home);
    let home = Home::open(&folder.0).unwrap();
    let mut kept = home.groups().unwrap();
    assert_eq!(ids.map(|id| authenticator(&kept, id)), before);
    // One group goes, the other stays.
    let writes = Group::forget(&kept, ids[0]).unwrap();
    home.keep_groups(&writes).unwrap();
    kept.apply(writes);
    drop(home);
    let home = Home::open(&folder.0).unwrap();
    let kept = home.groups().unwrap();
    assert!(Group::open(&kept, ids[0]).is_err() && authenticator(&kept, ids[1]) == before[1]);
    home.forget().unwrap();
    assert!(Group::open(&home.groups().unwrap(), ids[1]).is_err());
}
