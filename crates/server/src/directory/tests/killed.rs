//! `kill_during_publish`: a process of its own publishes as fast as it can, and is killed.

use std::collections::HashMap;
use std::io::{BufRead, BufReader, Write};
use std::process::{Command, Stdio};
use std::time::Duration;

use super::world::{Client, Folder, audit, open, publish, settings, user, value};
use crate::directory::storage::{Storage, View};
use crate::directory::{Settings, Sqlite};

const FILE: &str = "UNDERTONE_TEST_DIRECTORY";
const USERS: u32 = 40;
const ROUNDS: u64 = 25;

/// What the child does: says what became durable, line by line, until it is killed. Alone it does nothing.
#[tokio::test(flavor = "multi_thread")]
async fn killed_child() {
    let Some(path) = std::env::var_os(FILE) else { return };
    let directory = open(path.as_ref(), settings()).await.unwrap();
    let mut client = Client::new(&directory);
    let mut versions = HashMap::new();
    for n in 0..USERS {
        versions.insert(n, client.lookup(&directory, &user(n)).await.map_or(0, |found| found.version));
    }
    println!("\nready");
    loop {
        let changes: Vec<(u32, u32)> = versions.iter().map(|(n, version)| (*n, version + 1)).collect();
        println!("begun");
        publish(&directory, &changes).await;
        let mut out = std::io::stdout().lock();
        for (n, version) in changes {
            versions.insert(n, version);
            writeln!(out, "done {n} {version}").unwrap();
        }
        out.flush().unwrap();
    }
}

/// Notes what the child says, which may be cut off; whether it has begun an epoch.
fn note(line: &str, acknowledged: &mut HashMap<u32, u32>) -> bool {
    if let Some((n, version)) = line.strip_prefix("done ").and_then(|line| line.split_once(' '))
        && let (Ok(n), Ok(version)) = (n.parse(), version.parse::<u32>())
    {
        let known: &mut u32 = acknowledged.entry(n).or_default();
        *known = version.max(*known);
    }
    line == "begun"
}

#[tokio::test(flavor = "multi_thread")]
async fn kill_during_publish_never_gives_two_roots_and_forgets_nothing() {
    let folder = Folder::new("killed");
    let mut roots: Vec<[u8; 32]> = Vec::new();
    let mut acknowledged: HashMap<u32, u32> = HashMap::new();
    let mut client = None;
    let mut hits = 0;
    for round in 0..ROUNDS {
        let mut child = Command::new(std::env::current_exe().unwrap())
            .args(["--exact", "directory::tests::killed::killed_child", "--nocapture", "--test-threads=1"])
            .env(FILE, folder.file())
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
        assert!(lines.any(|line| line.unwrap() == "ready"));
        // After one epoch to three, at any point of the next, which takes ten milliseconds or so.
        let mut epochs = round % 3;
        let mut begun = false;
        while epochs > 0 || !begun {
            begun = note(&lines.next().unwrap().unwrap(), &mut acknowledged);
            epochs = epochs.saturating_sub(begun.into());
        }
        std::thread::sleep(Duration::from_micros(round * 7_919 % 15_000));
        child.kill().unwrap();
        child.wait().unwrap();
        for line in lines.map_while(Result::ok) {
            begun = note(&line, &mut acknowledged);
        }
        hits += u32::from(begun);

        Sqlite::examine(&folder.file()).unwrap();
        let directory =
            open(&folder.file(), Settings { snapshot_bytes: (round % 2) << 30, ..settings() }).await.unwrap();
        let client = client.get_or_insert_with(|| Client::new(&directory));
        let shown = directory.shown();
        {
            let view = directory.storage().view().unwrap();
            for (before, root) in roots.iter().enumerate() {
                assert_eq!(view.root(before as u64 + 1), Ok(Some(*root)), "round {round}");
            }
            assert!(shown.epoch() >= roots.len() as u64);
            roots = (1..=shown.epoch()).map(|epoch| view.root(epoch).unwrap().unwrap()).collect();
        }
        for n in 0..USERS {
            let found = client.lookup(&directory, &user(n)).await;
            let version = found.as_ref().map_or(0, |found| found.version);
            // The epoch that was open may be durable and not acknowledged.
            let known = acknowledged.insert(n, version).unwrap_or(0);
            assert!(version == known || version == known + 1, "round {round}: {version} for {known}");
            assert!(found.is_none_or(|found| found.value == value(&user(n), found.version)));
        }
        directory.stop().await;
        if round + 1 == ROUNDS {
            audit(&directory).await;
        }
    }
    assert!(hits > 5, "only {hits} of {ROUNDS} were killed in the middle of an epoch");
}
