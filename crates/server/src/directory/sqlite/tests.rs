use std::fs;
use std::path::PathBuf;

use undertone_transparency::log::Hash;

use super::*;
use crate::directory::storage::{LogLeaf, NodeRow, View, conformance};

/// A folder that goes away with the test.
struct Folder(PathBuf);

impl Folder {
    fn new(name: &str) -> Self {
        let path = std::env::temp_dir().join(format!("undertone-directory-{name}-{}", std::process::id()));
        let _ = fs::remove_dir_all(&path);
        fs::create_dir_all(&path).unwrap();
        Self(path)
    }

    fn file(&self) -> PathBuf {
        self.0.join("directory.db")
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}

fn epoch(number: u64, nodes: usize) -> Batch {
    let label = |n: usize| [&[1, 0][..], &sha256(&[&n.to_be_bytes()])].concat();
    let changed = (0..nodes).map(|n| NodeRow { label: label(n), node: vec![number as u8; 100] }).collect();
    let root: Hash = [number as u8; 32];
    let new = NewEpoch { number, root, nodes: 1, changed, versions: vec![], audit: vec![] };
    let leaf = LogLeaf { index: number - 1, entry: vec![number as u8; 103], subtrees: vec![(0, number - 1, root)] };
    Batch { epoch: Some(new), leaf }
}

#[test]
fn sqlite_keeps_the_directory() {
    let folder = Folder::new("kept");
    let storage = Sqlite::open(&folder.file()).unwrap();
    conformance::run(&storage);
    let head = storage.view().unwrap().head().unwrap();
    drop(storage);
    assert_eq!(Sqlite::examine(&folder.file()), Ok(19));
    let again = Sqlite::open(&folder.file()).unwrap();
    assert_eq!(again.view().unwrap().head().unwrap(), head);
    assert_eq!(again.view().unwrap().cosignatures().unwrap().len(), 3);
}

/// However often it happens.
#[test]
fn a_database_without_room_writes_nothing_and_takes_everything_when_there_is_some() {
    let folder = Folder::new("full");
    let storage = Sqlite::open(&folder.file()).unwrap();
    storage.commit(&epoch(1, 10)).unwrap();
    for _ in 0..5 {
        storage.fill(true);
        assert_eq!(storage.commit(&epoch(2, 20_000)), Err(StorageError::Full));
        let view = storage.view().unwrap();
        assert_eq!(view.head().unwrap().unwrap().epoch, 1);
        assert_eq!(view.root(2), Ok(None));
        let mut states = Vec::new();
        view.nodes(&mut |_, node| {
            states.push(node[0]);
            Ok(())
        })
        .unwrap();
        assert_eq!(states, [1; 10], "no node of the epoch that failed");
    }
    storage.fill(false);
    storage.commit(&epoch(2, 20_000)).unwrap();
    assert_eq!(storage.view().unwrap().head().unwrap().unwrap().epoch, 2);
}

/// Commits leave it to that, and where it was called little was written it leaves it to a later one.
#[test]
fn tidying_brings_what_is_durable_to_its_place() {
    let folder = Folder::new("tidy");
    let storage = Sqlite::open(&folder.file()).unwrap();
    let copy = folder.0.join("copy.db");
    // What the file has without its log.
    let placed = || {
        fs::copy(folder.file(), &copy).unwrap();
        Sqlite::open(&copy).and_then(|copy| Ok(copy.view()?.head()?.map_or(0, |head| head.epoch))).unwrap_or(0)
    };
    storage.commit(&epoch(1, 2_000)).unwrap();
    assert_eq!(placed(), 0);
    storage.tidy().unwrap();
    assert_eq!(placed(), 1);
    storage.commit(&epoch(2, 10)).unwrap();
    storage.tidy().unwrap();
    assert_eq!(placed(), 1);
    // A reader does not keep it from its work, and sees what it saw.
    let view = storage.view().unwrap();
    let before = view.head().unwrap();
    storage.commit(&epoch(3, 2_000)).unwrap();
    storage.tidy().unwrap();
    assert_eq!(view.head().unwrap(), before);
    assert_eq!(storage.view().unwrap().head().unwrap().unwrap().epoch, 3);
    drop(view);
    drop(storage);
    assert_eq!(Sqlite::examine(&folder.file()), Ok(3));
}

/// A label's node in the newest state, from the tree as a whole and by itself.
fn states(view: &impl View) -> Vec<u8> {
    let mut states = Vec::new();
    view.nodes(&mut |label, node| {
        assert_eq!(view.node(label).unwrap().as_deref(), Some(node));
        states.push(node[0]);
        Ok(())
    })
    .unwrap();
    states
}

#[test]
fn nodes_of_small_epochs_are_there_before_they_are_in_their_places() {
    let folder = Folder::new("journal");
    let storage = Sqlite::open(&folder.file()).unwrap();
    let rows = |table: &str| -> i64 {
        let raw = Connection::open(folder.file()).unwrap();
        raw.query_row(&format!("SELECT COUNT(*) FROM {table}"), [], |row| row.get(0)).unwrap()
    };
    storage.commit(&epoch(1, 6_000)).unwrap();
    assert_eq!((rows("journal"), rows("node")), (0, 6_000), "a large one goes to its place at once");
    storage.commit(&epoch(2, 2_000)).unwrap();
    storage.commit(&epoch(3, 3_000)).unwrap();
    assert_eq!(rows("journal"), 2);
    storage.commit(&epoch(4, 4_000)).unwrap();
    assert_eq!(rows("journal"), 0, "this one had no room: it is in its place, and all before it");
    let old = storage.view().unwrap();
    let seen = [vec![4; 4_000], vec![1; 2_000]].concat();
    let sorted = |view: &SqliteView<'_>| {
        let mut states = states(view);
        states.sort_unstable_by(|a, b| b.cmp(a));
        states
    };
    assert_eq!(sorted(&old), seen);
    storage.commit(&epoch(5, 7_000)).unwrap();
    storage.tidy().unwrap();
    assert_eq!(sorted(&old), seen, "a view stays as it was");
    drop(old);
    storage.commit(&epoch(6, 900)).unwrap();
    storage.tidy().unwrap();
    assert_eq!(rows("journal"), 1, "a few may wait longer");
    for view in [storage.view().unwrap(), storage.own_view().unwrap()] {
        assert_eq!(sorted(&view), [vec![6; 900], vec![5; 6_100]].concat());
    }
    storage.commit(&epoch(7, 900)).unwrap();
    drop(storage);
    assert_eq!(rows("journal"), 2);
    let storage = Sqlite::open(&folder.file()).unwrap();
    assert_eq!(sorted(&storage.view().unwrap()), [vec![7; 900], vec![5; 6_100]].concat(), "and over a restart");
    storage.tidy().unwrap();
    assert_eq!(rows("journal"), 0);
    assert_eq!(sorted(&storage.own_view().unwrap()), [vec![7; 900], vec![5; 6_100]].concat());
}

/// Whether it has happened is asked of the database, once, and not at every look.
#[test]
fn after_a_commit_that_failed_at_its_end_the_journal_is_read_once() {
    let folder = Folder::new("failed");
    let storage = Sqlite::open(&folder.file()).unwrap();
    storage.commit(&epoch(1, 10)).unwrap();
    // Every statement of the next commit is good, and then the commit is not.
    let broken = "PRAGMA foreign_keys = ON;
                  CREATE TABLE there (id INTEGER PRIMARY KEY);
                  CREATE TABLE needs (id INTEGER REFERENCES there DEFERRABLE INITIALLY DEFERRED);
                  CREATE TRIGGER breaks AFTER INSERT ON leaf BEGIN INSERT INTO needs VALUES (1); END;";
    storage.writer().execute_batch(broken).unwrap();
    assert_eq!(storage.commit(&epoch(2, 20)), Err(StorageError::Conflict));
    let known = || storage.journal().clone();
    assert!(known().is_none());
    assert_eq!(states(&storage.view().unwrap()), [1; 10], "a reader does not have the writing connection");
    assert!(known().is_none());
    assert_eq!(states(&storage.own_view().unwrap()), [1; 10]);
    let first = known().unwrap();
    for _ in 0..3 {
        assert_eq!(states(&storage.own_view().unwrap()), [1; 10]);
        assert_eq!(states(&storage.view().unwrap()), [1; 10]);
        assert!(Arc::ptr_eq(&known().unwrap(), &first));
    }
    assert_eq!(storage.commit(&epoch(2, 20)), Err(StorageError::Conflict));
    storage.writer().execute_batch("DROP TRIGGER breaks").unwrap();
    // The commit asks by itself, before it writes.
    storage.commit(&epoch(2, 5)).unwrap();
    let newest = |storage: &Sqlite| {
        let mut states = states(&storage.view().unwrap());
        states.sort_unstable();
        states
    };
    let expected = [[1; 5], [2; 5]].concat();
    assert_eq!(newest(&storage), expected);
    drop(storage);
    assert_eq!(newest(&Sqlite::open(&folder.file()).unwrap()), expected);
}

#[test]
fn a_closed_directory_is_one_file() {
    let folder = Folder::new("closed");
    let storage = Sqlite::open(&folder.file()).unwrap();
    storage.commit(&epoch(1, 10)).unwrap();
    drop((storage.view().unwrap(), storage.view().unwrap()));
    drop(storage);
    let left: Vec<_> = fs::read_dir(&folder.0).unwrap().map(|entry| entry.unwrap().file_name()).collect();
    assert_eq!(left, ["directory.db"]);
}

#[test]
fn a_file_of_a_later_server_is_left_alone() {
    let folder = Folder::new("newer");
    drop(Sqlite::open(&folder.file()).unwrap());
    let raw = Connection::open(folder.file()).unwrap();
    raw.pragma_update(None, "user_version", 99).unwrap();
    drop(raw);
    assert_eq!(Sqlite::open(&folder.file()).unwrap_err(), StorageError::Newer { found: 99, known: 3 });
    let raw = Connection::open(folder.file()).unwrap();
    let found: i64 = raw.pragma_query_value(None, "user_version", |row| row.get(0)).unwrap();
    assert_eq!(found, 99);
}

#[test]
fn a_file_of_format_1_is_brought_to_the_newest() {
    let folder = Folder::new("older");
    let storage = Sqlite::open(&folder.file()).unwrap();
    storage.commit(&epoch(1, 10)).unwrap();
    let head = storage.view().unwrap().head().unwrap();
    drop(storage);
    let raw = Connection::open(folder.file()).unwrap();
    raw.execute_batch("INSERT INTO vrf VALUES (1, zeroblob(224)); DROP TABLE journal; PRAGMA user_version = 1")
        .unwrap();
    drop(raw);
    let storage = Sqlite::open(&folder.file()).unwrap();
    assert_eq!(storage.view().unwrap().head().unwrap(), head);
    drop(storage);
    let raw = Connection::open(folder.file()).unwrap();
    let proofs: i64 = raw.query_row("SELECT COUNT(*) FROM vrf", [], |row| row.get(0)).unwrap();
    let format: i64 = raw.pragma_query_value(None, "user_version", |row| row.get(0)).unwrap();
    assert_eq!((proofs, format), (0, 3));
}

#[test]
fn what_is_no_directory_is_refused() {
    let folder = Folder::new("damaged");
    let other = folder.0.join("other.db");
    Connection::open(&other).unwrap().execute_batch("CREATE TABLE accounts (user TEXT)").unwrap();
    assert_eq!(Sqlite::open(&other).unwrap_err(), StorageError::Damaged);
    fs::write(folder.file(), vec![7; 10_000]).unwrap();
    assert_eq!(Sqlite::open(&folder.file()).unwrap_err(), StorageError::Damaged);
    assert_eq!(Sqlite::examine(&folder.file()), Err(StorageError::Damaged));
    let nowhere = Sqlite::open(&folder.0.join("no/such/folder.db"));
    assert!(matches!(nowhere, Err(StorageError::Failed(_))), "{nowhere:?}");
}

#[test]
fn a_page_gone_bad_is_found() {
    let folder = Folder::new("page");
    let storage = Sqlite::open(&folder.file()).unwrap();
    storage.commit(&epoch(1, 5_000)).unwrap();
    drop(storage);
    let mut bytes = fs::read(folder.file()).unwrap();
    let middle = bytes.len() / 2 / 4096 * 4096;
    bytes[middle..middle + 4096].fill(0xee);
    fs::write(folder.file(), bytes).unwrap();
    assert_eq!(Sqlite::examine(&folder.file()), Err(StorageError::Damaged));
}
