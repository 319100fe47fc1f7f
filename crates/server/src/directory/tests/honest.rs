use std::sync::Arc;

use akd::storage::StorageManager;
use akd::{AkdLabel, AzksParallelismConfig, HistoryParams, VersionFreshness, WhatsAppV1Configuration};
use undertone_keys::sign::{SigningKey, Witness};
use undertone_keys::{Secret, WallTime};
use undertone_transparency::cosignature::Cosignature;
use undertone_transparency::directory::wire::{HistoryProof, LookupProof};
use undertone_transparency::directory::{AppendOnlyProof, marker_versions};
use undertone_transparency::label;
use undertone_transparency::log::{Bundle, Tile, TilePath, leaf_hash};
use undertone_transparency::note::WitnessKey;

use super::world::{Client, DOMAIN, Folder, audit, keys, loaded, open, publish, settings, user, value, wall_time};
use crate::directory::akd_store::{AkdStore, Near};
use crate::directory::storage::{Storage, View};
use crate::directory::vrf::Vrf;
use crate::directory::{Directory, DirectoryError, OpenError, Proof, Settings, Sqlite, StorageError};

/// Some users with some versions, over many epochs.
async fn fill<S: Storage>(directory: &Directory<S>) {
    let all: Vec<_> = (0..60).map(|n| (n, 1)).collect();
    publish(directory, &all).await;
    for version in 2..12 {
        for n in 0..4 {
            let other = 20 + version * 4 + n;
            let changes = [(n, version), (other, 2)];
            publish(directory, if other < 60 { &changes } else { &changes[..1] }).await;
        }
    }
}

async fn check<S: Storage>(directory: &Directory<S>, client: &mut Client) {
    for n in (0..8).chain([30, 59]) {
        let user = user(n);
        let found = client.lookup(directory, &user).await.unwrap();
        let newest = if n < 4 {
            11
        } else if n >= 28 {
            2
        } else {
            1
        };
        assert_eq!((found.version, found.value), (newest, value(&user, newest)));
        for from in [0, 1, 2, newest] {
            let versions = client.history(directory, &user, from.min(newest)).await;
            let due: Vec<_> = (from.clamp(1, newest)..=newest).collect();
            assert_eq!(versions.iter().map(|lookup| lookup.version).collect::<Vec<_>>(), due);
            assert!(versions.iter().all(|lookup| lookup.value == value(&user, lookup.version)));
        }
    }
    assert_eq!(client.lookup(directory, &"nobody@example.org".parse().unwrap()).await, None);
    assert!(client.history(directory, &"nobody@example.org".parse().unwrap(), 1).await.is_empty());
}

#[tokio::test(flavor = "multi_thread")]
async fn kt_6_honest_answers_verify_after_many_epochs_and_after_restarts() {
    let folder = Folder::new("honest");
    let directory = open(&folder.file(), settings()).await.unwrap();
    let mut client = Client::new(&directory);
    assert_eq!(client.lookup(&directory, &user(0)).await, None, "the first epoch has the sentinel alone");
    fill(&directory).await;
    check(&directory, &mut client).await;
    audit(&directory).await;
    let last = directory.shown();
    directory.stop().await;
    let stopped = directory.publish(&user(0), 12, [0; 32]).await;
    assert_eq!(stopped, Err(DirectoryError::Stopped));
    drop(directory);
    // With the tree in memory and without.
    for snapshot_bytes in [1 << 30, 0] {
        let directory = open(&folder.file(), Settings { snapshot_bytes, ..settings() }).await.unwrap();
        assert_eq!(directory.shown().checkpoint, last.checkpoint, "signed again with the same bytes");
        check(&directory, &mut client).await;
        directory.stop().await;
    }
    let directory = open(&folder.file(), settings()).await.unwrap();
    publish(&directory, &[(0, 12), (100, 1)]).await;
    assert_eq!(client.lookup(&directory, &user(0)).await.unwrap().version, 12);
    audit(&directory).await;
    directory.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_snapshot_the_storage_and_akd_give_the_same_proofs() {
    let folder = Folder::new("same");
    let directory = open(&folder.file(), Settings { prove_ahead: false, ..settings() }).await.unwrap();
    loaded(&directory).await;
    fill(&directory).await;
    assert!(directory.shown().tree.is_some());
    let (mut grown, mut histories) = (Vec::new(), Vec::new());
    for n in 0..62 {
        grown.push(directory.lookup(&user(n)).await.unwrap().proof);
        histories.push(directory.history(&user(n), 1).await.unwrap().proof);
    }
    directory.stop().await;
    drop(directory);
    for settings in [settings(), Settings { snapshot_bytes: 0, ..settings() }] {
        let in_memory = settings.snapshot_bytes > 0;
        let directory = open(&folder.file(), settings).await.unwrap();
        if in_memory {
            loaded(&directory).await;
        }
        // By now the VRF proofs come from the storage.
        while !directory.storage().view().unwrap().unproven(1).unwrap().is_empty() {
            tokio::time::sleep(std::time::Duration::from_millis(5)).await;
        }
        for n in 0..62 {
            assert_eq!(directory.lookup(&user(n)).await.unwrap().proof, grown[n as usize], "{n}");
            assert_eq!(directory.history(&user(n), 1).await.unwrap().proof, histories[n as usize], "{n}");
        }
        directory.stop().await;
    }

    let storage = Arc::new(Sqlite::open(&folder.file()).unwrap());
    let head = storage.own_view().unwrap().head().unwrap();
    let vrf = Vrf::new(keys(1, 2).vrf, 0, settings().threads).unwrap();
    let manager = StorageManager::new_no_cache(AkdStore::new(storage.clone(), Near::default(), head.as_ref(), &[]));
    type Akd = akd::Directory<WhatsAppV1Configuration, AkdStore<Sqlite>, Vrf>;
    let akd = Akd::new(manager.clone(), vrf.clone(), AzksParallelismConfig::disabled()).await.unwrap();
    let record = manager.get::<akd::Azks>(&akd::append_only_zks::DEFAULT_AZKS_KEY).await.unwrap();
    let akd::storage::types::DbRecord::Azks(azks) = record else { panic!("no azks") };
    for n in 0..60 {
        let label = label::devices(&user(n));
        let (proof, _) = akd.lookup(AkdLabel(label.clone())).await.unwrap();
        let mut further = Vec::new();
        for due in marker_versions(proof.version as u32) {
            if due != 1 << proof.version.ilog2() {
                let proof = vrf.proof(&label, VersionFreshness::Fresh, due);
                let place = vrf.evaluate(&AkdLabel(label.clone()), VersionFreshness::Fresh, due);
                let leaf = azks.get_membership_proof::<WhatsAppV1Configuration, _>(&manager, place).await.unwrap();
                further.push((proof.proof.to_vec(), leaf));
            }
        }
        let theirs = LookupProof::from_akd(&proof, &further).unwrap();
        assert_eq!(Proof::Present(theirs), grown[n as usize]);
        let (proof, _) = akd.key_history(&AkdLabel(label), HistoryParams::Complete).await.unwrap();
        assert_eq!(Proof::Present(HistoryProof::from_akd(&proof).unwrap()), histories[n as usize]);
    }
    let epoch = azks.latest_epoch;
    let theirs = AppendOnlyProof::from_akd(&akd.audit(epoch - 1, epoch).await.unwrap().proofs[0]).unwrap();
    assert_eq!(storage.view().unwrap().audit(epoch).unwrap().unwrap(), theirs.to_bytes());
}

#[tokio::test(flavor = "multi_thread")]
async fn kt_14_other_keys_or_another_domain_do_not_open_the_database() {
    let folder = Folder::new("keys");
    open(&folder.file(), settings()).await.unwrap().stop().await;
    let other = OpenError::Directory(DirectoryError::Storage(StorageError::OtherBinding));
    for (log, vrf) in [(9, 2), (1, 9)] {
        let storage = Sqlite::open(&folder.file()).unwrap();
        assert_eq!(Directory::open(storage, DOMAIN, keys(log, vrf), settings()).await.unwrap_err(), other);
    }
    let storage = Sqlite::open(&folder.file()).unwrap();
    assert_eq!(Directory::open(storage, "example.com", keys(1, 2), settings()).await.unwrap_err(), other);
    open(&folder.file(), settings()).await.unwrap().stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn tiles_and_entries_are_those_of_what_is_shown() {
    let folder = Folder::new("tiles");
    let directory = open(&folder.file(), settings()).await.unwrap();
    for n in 0..300 {
        publish(&directory, &[(n, 1)]).await;
    }
    let size = directory.shown().size();
    assert_eq!(size, 301);
    let mut hashes = Vec::new();
    for index in 0..2 {
        let (tile, bundle) = (Tile::at(0, index, size).unwrap(), Bundle::at(index, size).unwrap());
        let bytes = directory.tile(TilePath::Tile(tile)).await.unwrap().unwrap();
        let entries = directory.tile(TilePath::Entries(bundle)).await.unwrap().unwrap();
        let entries = bundle.decode(&entries).unwrap();
        assert_eq!(Bundle::hashes(&entries), bytes);
        hashes.extend(entries.iter().map(|entry| leaf_hash(entry)));
    }
    assert_eq!(hashes.len(), 301);
    let top = directory.tile(TilePath::Tile(Tile::at(1, 0, size).unwrap())).await.unwrap().unwrap();
    assert_eq!(top.len(), 32);
    for path in ["tile/0/001.p/46", "tile/0/001", "tile/entries/002.p/1", "tile/1/000.p/2", "tile/2/000.p/1"] {
        assert_eq!(directory.tile(path.parse().unwrap()).await, Ok(None), "{path}");
    }
    assert!(directory.tile("tile/0/001.p/3".parse().unwrap()).await.unwrap().is_some(), "an older width");
    assert_eq!(directory.consistency(5, 302).await, Ok(None));
    assert_eq!(directory.consistency(6, 5).await, Ok(None));
    assert_eq!(directory.audit(302).await, Ok(None));
    directory.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn kt_2_lines_of_known_witnesses_are_served_and_no_others() {
    let folder = Folder::new("witness");
    let key = |byte| SigningKey::<Witness>::from_seed(Secret::filled_by(|seed| seed.fill(byte)));
    let (known, stranger) = (key(7), key(8));
    let named = |key: &SigningKey<Witness>| WitnessKey::new("w.example/one".parse().unwrap(), *key.public());
    let settings = Settings { witnesses: vec![named(&known)], ..settings() };
    let directory = open(&folder.file(), settings).await.unwrap();
    publish(&directory, &[(1, 1)]).await;
    let shown = directory.shown();
    let verified = shown.checkpoint.clone().verify(directory.log_key()).unwrap();
    let line = |key: &SigningKey<Witness>| Cosignature::sign(&verified, key, wall_time()).unwrap().line(&named(key));
    assert_eq!(directory.witnessed(8).await, Ok(vec![]));
    assert_eq!(directory.cosign(2, line(&stranger)).await, Ok(false));
    assert_eq!(directory.cosign(1, line(&known)).await, Ok(false), "a line for another size");
    assert_eq!(directory.cosign(3, line(&known)).await, Ok(false), "there is none yet");
    assert_eq!(directory.cosign(2, line(&known)).await, Ok(true));
    let served = directory.checkpoint().await.unwrap();
    assert_eq!(served.note().signatures().len(), 2);
    assert_eq!(served.note().signatures()[1], line(&known));
    assert_eq!(directory.witnessed(8).await, Ok(vec![served.clone()]));
    publish(&directory, &[(1, 2)]).await;
    assert_eq!(directory.checkpoint().await.unwrap().note().signatures().len(), 1);
    assert_eq!(directory.witnessed(8).await, Ok(vec![served]), "the older one, which is signed with the same bytes");
    directory.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn kt_8_the_log_repeats_its_leaf_with_a_newer_time_also_under_a_clock_that_stands_still() {
    let folder = Folder::new("heartbeat");
    let heartbeat = std::time::Duration::from_millis(20);
    let clock: fn() -> WallTime = || WallTime::from_unix(1_000);
    let directory = open(&folder.file(), Settings { heartbeat, clock, ..settings() }).await.unwrap();
    publish(&directory, &[(1, 1)]).await;
    let before = directory.shown();
    let after = directory.shown_after(before.size() + 2).await.unwrap();
    assert_eq!((after.epoch(), after.root()), (before.epoch(), before.root()));
    assert!(after.time() > before.time());
    publish(&directory, &[(1, 2)]).await;
    let mut client = Client::new(&directory);
    assert_eq!(client.lookup(&directory, &user(1)).await.unwrap().version, 2);
    directory.stop().await;
    let seen = directory.shown();
    // The clock has gone back while the server was away.
    let clock: fn() -> WallTime = || WallTime::from_unix(10);
    let directory = open(&folder.file(), Settings { heartbeat, clock, ..settings() }).await.unwrap();
    assert!(directory.shown_after(seen.size()).await.unwrap().time() > seen.time());
    directory.stop().await;
    audit(&directory).await;
}
