//! A directory in a folder of its own, and a client that believes nothing.

use std::fs;
use std::num::NonZeroUsize;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use akd::{AkdLabel, HistoryParams, WhatsAppV1Configuration};
use akd_core::verify::{key_history_verify, lookup_verify};
use undertone_keys::digest::sha256;
use undertone_keys::sign::SigningKey;
use undertone_keys::{Secret, UserId, WallTime};
use undertone_transparency::checkpoint::VerifiedCheckpoint;
use undertone_transparency::directory::wire::{HistoryProof, LookupProof};
use undertone_transparency::directory::{
    AppendOnlyProof, Lookup, VrfKey, empty_root, verify_absence, verify_append_only, verify_history, verify_lookup,
};
use undertone_transparency::label;
use undertone_transparency::leaf::Leaf;
use undertone_transparency::log::{Hash, verify_consistency, verify_inclusion};

use crate::directory::storage::{Storage, View};
use crate::directory::{Answer, Directory, Keys, OpenError, Proof, Settings, Shown, Sqlite};

pub(super) const DOMAIN: &str = "example.org";

/// A folder that goes away with the test.
pub(super) struct Folder(PathBuf);

impl Folder {
    pub(super) fn new(name: &str) -> Self {
        static NUMBER: AtomicU64 = AtomicU64::new(0);
        let number = NUMBER.fetch_add(1, Ordering::Relaxed);
        let path = std::env::temp_dir().join(format!("undertone-kt-{name}-{}-{number}", std::process::id()));
        fs::create_dir_all(&path).unwrap();
        Self(path)
    }

    pub(super) fn file(&self) -> PathBuf {
        self.0.join("directory.db")
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}

pub(super) fn wall_time() -> WallTime {
    WallTime::from_unix(SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_secs())
}

pub(super) fn keys(log: u8, vrf: u8) -> Keys {
    let seed = |byte| Secret::filled_by(|seed| seed.fill(byte));
    Keys { log: SigningKey::from_seed(seed(log)), vrf: seed(vrf) }
}

/// Epochs follow each other without a pause.
pub(super) fn settings() -> Settings {
    let threads = NonZeroUsize::new(2).unwrap();
    Settings { epoch_interval: Duration::ZERO, threads, ..Settings::new(wall_time) }
}

pub(super) async fn open(path: &Path, settings: Settings) -> Result<Directory, OpenError> {
    Directory::open(Sqlite::open(path)?, DOMAIN, keys(1, 2), settings).await
}

pub(super) fn user(n: u32) -> UserId {
    UserId::new(&format!("user{n}"), DOMAIN).unwrap()
}

pub(super) fn value(user: &UserId, version: u32) -> Hash {
    sha256(&[user.as_str().as_bytes(), &version.to_be_bytes()])
}

/// Publishes these versions at once.
pub(super) async fn publish<S: Storage>(directory: &Directory<S>, changes: &[(u32, u32)]) -> u64 {
    let publish = |(n, version): (u32, u32)| async move {
        let user = user(n);
        directory.publish(&user, version, value(&user, version)).await.unwrap().epoch
    };
    let epochs = futures_util::future::join_all(changes.iter().copied().map(publish)).await;
    epochs.into_iter().max().unwrap()
}

/// Waits until the tree is in memory.
pub(super) async fn loaded<S: Storage>(directory: &Directory<S>) {
    while directory.shown().tree.is_none() {
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
}

/// What a client knows of the directory.
pub(super) struct Client {
    vrf_key: VrfKey,
    vrf_bytes: [u8; 32],
    last: Option<(VerifiedCheckpoint, Leaf)>,
}

impl Client {
    pub(super) fn new<S: Storage>(directory: &Directory<S>) -> Self {
        let vrf_bytes = directory.vrf_key();
        Self { vrf_key: VrfKey::from_bytes(&vrf_bytes).unwrap(), vrf_bytes, last: None }
    }

    /// Rules KT-1, KT-3 and KT-4; also against what was seen before a restart.
    pub(super) async fn follow<S: Storage>(&mut self, directory: &Directory<S>, shown: &Shown) -> Leaf {
        let checkpoint = shown.checkpoint.clone().verify(directory.log_key()).unwrap();
        let inclusion = &shown.inclusion;
        let leaf = Leaf::from_bytes(&inclusion.entry).unwrap();
        let (index, size) = (inclusion.index, inclusion.size);
        assert_eq!((size, index), (checkpoint.size(), size - 1));
        verify_inclusion(index, size, &leaf.hash(), &inclusion.proof, checkpoint.root()).unwrap();
        assert_eq!(leaf.vrf_key, sha256(&[&self.vrf_bytes]));
        if let Some((last, before)) = &self.last {
            let proof = directory.consistency(last.size(), size).await.unwrap().unwrap();
            checkpoint.follows(last, &proof).unwrap();
            leaf.follows(before).unwrap();
        }
        self.last = Some((checkpoint, leaf));
        leaf
    }

    /// The newest version of a user, or that there is none. Asks our verifier and `akd`'s.
    pub(super) async fn lookup<S: Storage>(&mut self, directory: &Directory<S>, user: &UserId) -> Option<Lookup> {
        let Answer { shown, proof } = directory.lookup(user).await.unwrap();
        let leaf = self.follow(directory, &shown).await;
        let label = label::devices(user);
        match proof {
            Proof::Absent(proof) => {
                verify_absence(&self.vrf_key, &leaf.root, &label, &proof).unwrap();
                None
            }
            Proof::Present(proof) => {
                let found = verify_lookup(&self.vrf_key, &leaf.root, leaf.epoch, &label, &proof).unwrap();
                assert_eq!(LookupProof::from_bytes(&proof.to_bytes()).unwrap(), proof);
                let akd = proof.to_akd().unwrap();
                let label = AkdLabel(label);
                let theirs =
                    lookup_verify::<WhatsAppV1Configuration>(&self.vrf_bytes, leaf.root, leaf.epoch, label, akd)
                        .unwrap();
                assert_eq!((theirs.version, theirs.epoch), (found.version.into(), found.epoch));
                Some(found)
            }
        }
    }

    /// The versions of a user from one on.
    pub(super) async fn history<S: Storage>(
        &mut self,
        directory: &Directory<S>,
        user: &UserId,
        from: u32,
    ) -> Vec<Lookup> {
        let Answer { shown, proof } = directory.history(user, from).await.unwrap();
        let leaf = self.follow(directory, &shown).await;
        let label = label::devices(user);
        let Proof::Present(proof) = proof else { return Vec::new() };
        let versions = verify_history(&self.vrf_key, &leaf.root, leaf.epoch, &label, from, &proof).unwrap();
        assert_eq!(HistoryProof::from_bytes(&proof.to_bytes()).unwrap(), proof);
        let params = match from {
            0 | 1 => HistoryParams::Complete,
            _ => HistoryParams::MostRecent(versions.len()),
        };
        let params = akd::HistoryVerificationParams::Default { history_params: params };
        let (root, epoch, akd) = (leaf.root, leaf.epoch, proof.to_akd().unwrap());
        let label = AkdLabel(label);
        key_history_verify::<WhatsAppV1Configuration>(&self.vrf_bytes, root, epoch, label, akd, params).unwrap();
        versions
    }
}

/// Every epoch added to the one before, and every leaf comes after the one before.
pub(super) async fn audit<S: Storage>(directory: &Directory<S>) {
    let shown = directory.shown();
    let view = directory.storage().view().unwrap();
    let leaves = view.leaves(0, u16::MAX).unwrap();
    let leaves: Vec<Leaf> = leaves.iter().map(|leaf| Leaf::from_bytes(leaf).unwrap()).collect();
    assert_eq!(leaves.len() as u64, shown.size());
    for pair in leaves.windows(2) {
        pair[1].comes_after(&pair[0]).unwrap();
    }
    let mut before = empty_root();
    for epoch in 1..=shown.epoch() {
        let root = view.root(epoch).unwrap().unwrap();
        assert!(leaves.iter().any(|leaf| leaf.epoch == epoch && leaf.root == root));
        assert!(leaves.iter().all(|leaf| leaf.epoch != epoch || leaf.root == root), "two roots for epoch {epoch}");
        let proof = AppendOnlyProof::from_bytes(&directory.audit(epoch).await.unwrap().unwrap()).unwrap();
        verify_append_only(&before, &root, epoch, &proof).unwrap();
        before = root;
    }
    let mut old = None;
    for size in 1..=shown.size() {
        let root = undertone_transparency::log::root(size, &crate::directory::storage::LogOf(&view)).unwrap();
        if let Some(before) = old {
            let proof = directory.consistency(size - 1, size).await.unwrap().unwrap();
            verify_consistency(size - 1, &before, size, &root, &proof).unwrap();
        }
        old = Some(root);
    }
}
