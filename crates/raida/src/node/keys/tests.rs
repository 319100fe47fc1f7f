use std::os::unix::fs::PermissionsExt;

use super::*;
use crate::node::testing::Folder;

fn options() -> KeyOptions {
    KeyOptions {
        shared: false,
        per_owner: 3,
        total: 5,
        life: Some(100),
        one_shot: false,
        cached: NonZeroUsize::new(2).unwrap(),
    }
}

const ADA: Named = Named { denomination: 1, serial: 7 };
const BOB: Named = Named { denomination: 1, serial: 8 };

fn id(byte: u8) -> KeyId {
    KeyId([byte; 16])
}

#[test]
fn rkx_2_a_key_has_an_owner_a_life_and_a_place_of_its_own() {
    let folder = Folder::new();
    let path = folder.path().join("Keys");
    let keys = Keys::open(&path, options()).unwrap();
    keys.post(id(1), ADA, false, b"12345first, and long", 0).unwrap();
    assert!(matches!(keys.post(id(1), BOB, false, b"12345", 0), Err(PostError::Exists)));
    // Nothing is left of what was there.
    keys.post(id(1), ADA, false, b"12345later", 50).unwrap();
    assert_eq!(keys.fetch(id(1), 149, |_| true).unwrap().bytes.as_slice(), b"12345later");
    let file = path.join("01010101010101010101010101010101");
    assert_eq!(fs::metadata(&file).unwrap().permissions().mode() & 0o777, 0o600);
    drop(keys);
    let keys = Keys::open(&path, options()).unwrap();
    assert_eq!(keys.fetch(id(1), 149, |_| true).unwrap().owned, Owned { owner: ADA, expires: 150 });
    assert!(matches!(keys.post(id(1), BOB, false, b"12345", 149), Err(PostError::Exists)));
    // It is over, and its place is free.
    keys.post(id(1), BOB, false, b"12345bob", 150).unwrap();
    assert_eq!(keys.fetch(id(1), 249, |_| true).unwrap().owned.owner, BOB);
    keys.sweep(250);
    assert_eq!((keys.count(), fs::read_dir(&path).unwrap().count()), (0, 0));
}

#[test]
fn rkx_2_keys_have_quotas() {
    let folder = Folder::new();
    let keys = Keys::open(folder.path(), options()).unwrap();
    for n in 0..3 {
        keys.post(id(n), ADA, false, b"12345", 0).unwrap();
    }
    assert!(matches!(keys.post(id(3), ADA, false, b"12345", 0), Err(PostError::Full)));
    keys.post(id(2), ADA, false, b"12345again", 0).unwrap();
    keys.post(id(3), BOB, false, b"12345", 0).unwrap();
    keys.post(id(4), BOB, false, b"12345", 0).unwrap();
    assert!(matches!(keys.post(id(5), BOB, false, b"12345", 0), Err(PostError::Full)));
    assert_eq!(keys.count(), 5);
}

#[test]
fn rkx_2_a_post_that_finds_no_place_leaves_what_was_there_and_whose_it_was() {
    let folder = Folder::new();
    let keys = Keys::open(folder.path(), options()).unwrap();
    keys.post(id(1), ADA, false, b"12345ada", 0).unwrap();
    let files = || fs::read_dir(folder.path()).unwrap().count();
    let owner = |n| read_owner(folder.path(), id(n)).owner;
    // No file can be made where the key would be written first; in another, the key's own place is a folder.
    fs::create_dir(folder.path().join(format!("{}.new", id(1)))).unwrap();
    fs::create_dir(folder.path().join(id(2).to_string())).unwrap();
    let before = files();
    for (n, strangers) in [(1, true), (2, false)] {
        assert!(matches!(keys.post(id(n), BOB, strangers, b"12345bob", 50), Err(PostError::Io(_))), "{n}");
    }
    assert_eq!((files(), owner(1), owner(2)), (before, ADA, Named::default()));
    let held = |keys: &Keys| keys.fetch(id(1), 99, |_| true).map(|held| (held.bytes.to_vec(), held.owned.owner));
    assert_eq!(held(&keys), Some((b"12345ada".to_vec(), ADA)));
    drop(keys);
    // What a post that was cut off has left is gone, what is not of a post is not.
    fs::write(folder.path().join(format!("{}.owner.new", id(3))), b"cut off").unwrap();
    fs::write(folder.path().join("mine.new"), b"mine").unwrap();
    let keys = Keys::open(folder.path(), options()).unwrap();
    assert_eq!((files(), held(&keys)), (before + 1, Some((b"12345ada".to_vec(), ADA))));
    assert!(folder.path().join("mine.new").exists());
}

#[test]
fn rkx_2_foreign_files_are_left_alone_and_links_lead_nowhere() {
    let folder = Folder::new();
    fs::write(folder.path().join("README"), "mine").unwrap();
    fs::write(folder.path().join("secret"), "12345 of somebody").unwrap();
    std::os::unix::fs::symlink(folder.path().join("secret"), folder.path().join(id(1).to_string())).unwrap();
    fs::create_dir(folder.path().join(id(2).to_string())).unwrap();
    fs::write(folder.path().join(id(3).to_string()), [0; 133]).unwrap();
    fs::write(folder.path().join(id(4).to_string()), [0; 4]).unwrap();
    // An owner without a key: a post that was cut off.
    fs::write(folder.path().join(format!("{}.owner", id(9))), [1; 14]).unwrap();
    fs::write(folder.path().join(id(5).to_string()), b"\x01\0\0\0\x07of the original").unwrap();
    let keys = Keys::open(folder.path(), options()).unwrap();
    for n in 1..5 {
        assert!(keys.fetch(id(n), 0, |_| true).is_none(), "{n}");
    }
    assert!(!folder.path().join(format!("{}.owner", id(9))).exists());
    let held = keys.fetch(id(5), u64::MAX, |_| true).unwrap();
    assert_eq!(held.owned, Owned { owner: Named::default(), expires: 0 });
    assert_eq!(fs::read_to_string(folder.path().join("README")).unwrap(), "mine");
}

#[test]
fn rkx_2_a_key_may_be_fetched_once() {
    let folder = Folder::new();
    let keys = Keys::open(folder.path(), KeyOptions { one_shot: true, ..options() }).unwrap();
    keys.post(id(1), ADA, false, b"12345", 0).unwrap();
    assert!(keys.fetch(id(1), 0, |_| false).is_none(), "not by everybody");
    let given = std::thread::scope(|scope| {
        let threads: Vec<_> = (0..8).map(|_| scope.spawn(|| keys.fetch(id(1), 0, |_| true).is_some())).collect();
        threads.into_iter().map(|thread| thread.join().unwrap()).filter(|given| *given).count()
    });
    assert_eq!(given, 1);
    assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 0);
}
