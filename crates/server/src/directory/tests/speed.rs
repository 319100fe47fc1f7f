//! Measurements, for `cargo test --release -- --ignored --nocapture`.

use std::time::Instant;

use akd::ecvrf::HardCodedAkdVRF;
use akd::storage::StorageManager;
use akd::storage::memory::AsyncInMemoryDatabase;
use akd::{AkdLabel, AkdValue, AzksParallelismConfig, WhatsAppV1Configuration};
use undertone_transparency::label;

use super::world::{Folder, loaded, open, publish, settings, user, value};
use crate::directory::storage::{Storage, View};
use crate::directory::{Proof, Settings};

#[tokio::test(flavor = "multi_thread")]
#[ignore = "a measurement"]
async fn speed() {
    let users: u32 = std::env::var("USERS").ok().and_then(|n| n.parse().ok()).unwrap_or(10_000);
    let folder = Folder::new("speed");
    let queue = (users as usize * 2).try_into().unwrap();
    let settings = || Settings { prove_ahead: false, queue, ..settings() };
    let directory = open(&folder.file(), settings()).await.unwrap();
    loaded(&directory).await;
    let all: Vec<_> = (0..users).map(|n| (n, 1)).collect();
    let started = Instant::now();
    publish(&directory, &all).await;
    println!("bulk load of {users}: {:?}, epochs {}", started.elapsed(), directory.shown().epoch());
    for (count, rounds) in [(1, 50), (100, 5)] {
        let mut times = Vec::new();
        for round in 0..rounds {
            let changes: Vec<_> = (0..count).map(|n| (users + (round + 1) * 1000 + n * 7, 1)).collect();
            let started = Instant::now();
            publish(&directory, &changes).await;
            times.push(started.elapsed());
        }
        times.sort_unstable();
        println!("publish +{count} new: median {:?}", times[times.len() / 2]);
        times.clear();
        for round in 0..rounds {
            let changes: Vec<_> = (0..count).map(|n| ((round * 1000 + n * 7 + count) % users, 2)).collect();
            let started = Instant::now();
            publish(&directory, &changes).await;
            times.push(started.elapsed());
        }
        times.sort_unstable();
        println!("publish +{count} version 2: median {:?}", times[times.len() / 2]);
    }
    let labels: Vec<_> = (0..users).map(|n| label::devices(&user(n * 7919 % users))).collect();
    let measure = |what: &str, directory: &crate::directory::Directory, some: usize| {
        let started = Instant::now();
        let mut bytes = 0;
        for label in labels.iter().take(some) {
            match directory.lookup_now(label).unwrap().proof {
                Proof::Present(proof) => bytes += proof.to_bytes().len(),
                Proof::Absent(_) => panic!("absent"),
            }
        }
        let rate = some as f64 / started.elapsed().as_secs_f64();
        println!("look-ups, {what}: {rate:.0}/s, {} bytes", bytes / some);
    };
    measure("memory, cold VRF", &directory, 2_000);
    directory.stop().await;
    let started = Instant::now();
    let directory = open(&folder.file(), Settings { prove_ahead: true, ..settings() }).await.unwrap();
    let opened = started.elapsed();
    let started = Instant::now();
    directory.lookup_now(&labels[0]).unwrap();
    println!("open {opened:?}, first look-up {:?}", started.elapsed());
    let started = Instant::now();
    loaded(&directory).await;
    println!("tree in memory after {:?}", opened + started.elapsed());
    let started = Instant::now();
    while !directory.storage().view().unwrap().unproven(1).unwrap().is_empty() {
        tokio::time::sleep(std::time::Duration::from_millis(20)).await;
    }
    println!("VRF proofs made ahead in {:?}", started.elapsed());
    measure("memory, warm VRF", &directory, labels.len());
    measure("memory, warm VRF", &directory, labels.len());
    directory.stop().await;
    drop(directory);
    let raw = rusqlite::Connection::open(folder.file()).unwrap();
    raw.query_row("PRAGMA wal_checkpoint(TRUNCATE)", [], |_| Ok(())).unwrap();
    let size = std::fs::metadata(folder.file()).unwrap().len();
    println!("{} bytes, {} a user", size, size / u64::from(users));
    let mut tables = raw.prepare("SELECT name, SUM(pgsize) FROM dbstat GROUP BY name ORDER BY 2 DESC").unwrap();
    let tables = tables.query_map([], |row| Ok((row.get::<_, String>(0)?, row.get::<_, i64>(1)?))).unwrap();
    for (name, bytes) in tables.map(Result::unwrap).filter(|(_, bytes)| *bytes > 5_000) {
        println!("  {name}: {} a user", bytes / i64::from(users));
    }
    let directory = open(&folder.file(), Settings { snapshot_bytes: 0, ..settings() }).await.unwrap();
    measure("storage, warm VRF", &directory, labels.len().min(5_000));
    directory.stop().await;
}

/// `akd` alone, in memory, with its own parallelism and its own VRF.
#[tokio::test(flavor = "multi_thread")]
#[ignore = "a measurement"]
async fn speed_of_akd_in_memory() {
    let users: u32 = std::env::var("USERS").ok().and_then(|n| n.parse().ok()).unwrap_or(10_000);
    let manager = StorageManager::new_no_cache(AsyncInMemoryDatabase::new());
    type Akd = akd::Directory<WhatsAppV1Configuration, AsyncInMemoryDatabase, HardCodedAkdVRF>;
    let akd = Akd::new(manager, HardCodedAkdVRF, AzksParallelismConfig::default()).await.unwrap();
    let publish = async |changes: Vec<(u32, u32)>| {
        let entry = |(n, version): (u32, u32)| {
            (AkdLabel(label::devices(&user(n))), AkdValue(value(&user(n), version).to_vec()))
        };
        let changes = changes.into_iter().map(entry).collect();
        let started = Instant::now();
        akd.publish(changes).await.unwrap();
        started.elapsed()
    };
    println!("akd: bulk load of {users}: {:?}", publish((0..users).map(|n| (n, 1)).collect()).await);
    for (count, rounds) in [(1, 50), (100, 5)] {
        let (mut new, mut second) = (Vec::new(), Vec::new());
        for round in 0..rounds {
            new.push(publish((0..count).map(|n| (users + (round + 1) * 1000 + n * 7, 1)).collect()).await);
            second.push(publish((0..count).map(|n| ((round * 1000 + n * 7 + count) % users, 2)).collect()).await);
        }
        new.sort_unstable();
        second.sort_unstable();
        println!("akd: publish +{count}: new {:?}, version 2 {:?}", new[new.len() / 2], second[second.len() / 2]);
    }
    let started = Instant::now();
    for n in 0..2_000 {
        akd.lookup(AkdLabel(label::devices(&user(n * 7919 % users)))).await.unwrap();
    }
    println!("akd: look-ups {:.0}/s", 2_000.0 / started.elapsed().as_secs_f64());
}
