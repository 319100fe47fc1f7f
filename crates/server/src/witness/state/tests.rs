use std::os::unix::fs::PermissionsExt;

use undertone_keys::WallTime;
use undertone_keys::sign::Server;
use undertone_keys::testing::SeededRng;
use undertone_transparency::checkpoint::origin;
use undertone_transparency::note::LogKey;

use super::*;
use crate::witness::{Check, Memory};

fn folder(name: &str) -> PathBuf {
    let path = std::env::temp_dir().join(format!("undertone-witness-state-{name}-{}", std::process::id()));
    let _ = fs::remove_dir_all(&path);
    path
}

#[test]
fn a_memory_is_replaced_whole_and_for_its_owner_alone() {
    let path = folder("memory");
    let mut opened = Folder::open(&path).unwrap();
    assert_eq!(opened.read().unwrap(), None);
    for memory in [b"first".as_slice(), b"second", b""] {
        opened.write(memory).unwrap();
        assert_eq!(opened.read().unwrap().as_deref(), Some(memory));
    }
    // What a killed process left half-written is not read.
    fs::write(path.join("memory.partial"), "half").unwrap();
    assert_eq!(opened.read().unwrap().as_deref(), Some(b"".as_slice()));
    assert_eq!(fs::metadata(path.join("memory")).unwrap().permissions().mode() & 0o777, 0o600);
    assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o700);
    assert!(matches!(Folder::open(&path), Err(StateError::InUse(_))));
    drop(opened);
    assert!(Folder::open(&path).is_ok());
    fs::remove_dir_all(&path).unwrap();
}

#[test]
fn a_key_is_made_once_and_a_damaged_one_is_not_replaced() {
    let path = folder("key");
    fs::create_dir_all(&path).unwrap();
    let file = path.join("witness.key");
    let made = read_or_make_key(&file, &mut SeededRng::new(1)).unwrap();
    let read = read_or_make_key(&file, &mut SeededRng::new(2)).unwrap();
    assert_eq!(made.public(), read.public());
    assert_eq!(fs::metadata(&file).unwrap().permissions().mode() & 0o777, 0o600);
    let key = witness_key(&made, None).unwrap();
    assert!(key.name().as_str().starts_with("undertone-witness-") && key.name().as_str().len() == 34);
    assert!(witness_key(&made, Some("a b")).is_err());
    for bad in [31, 33, 0] {
        fs::write(&file, vec![1; bad]).unwrap();
        assert!(matches!(read_or_make_key(&file, &mut SeededRng::new(1)), Err(StateError::Key(_))));
    }
    fs::remove_dir_all(&path).unwrap();
}

#[test]
fn evidence_is_bounded() {
    let path = folder("evidence");
    let opened = Folder::open(&path).unwrap();
    let (log, own) =
        (SigningKey::<Server>::generate(&mut SeededRng::new(1)), SigningKey::generate(&mut SeededRng::new(2)));
    let log = LogKey::new(origin("example.org").unwrap(), *log.public());
    let memory = Memory::new(log, witness_key(&own, None).unwrap());
    let accused = |n: u64| Check::begin(&memory, n.to_string().as_bytes(), WallTime::from_unix(n)).unwrap_err();
    for n in 0..MAX_FILES as u64 {
        let file = opened.accuse(&accused(n)).unwrap().unwrap();
        assert!(file.file_name().unwrap().to_str().unwrap().starts_with("suspicion-kt-1-"));
        assert_eq!(opened.accuse(&accused(n)).unwrap(), Some(file));
    }
    assert_eq!(opened.accuse(&accused(1_000)).unwrap(), None);
    assert_eq!(opened.conviction().unwrap(), None);
    fs::remove_dir_all(&path).unwrap();
}
