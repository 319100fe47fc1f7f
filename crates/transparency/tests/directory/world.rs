//! A directory in memory, and the means to ask it for more than it wants to give.

use akd::append_only_zks::{DEFAULT_AZKS_KEY, InsertMode};
use akd::directory::Directory;
use akd::ecvrf::{HardCodedAkdVRF, VRFKeyStorage};
use akd::storage::StorageManager;
use akd::storage::memory::AsyncInMemoryDatabase;
use akd::storage::types::DbRecord;
use akd::tree_node::{NodeKey, TreeNodeWithPreviousValue};
use akd::{
    AkdLabel, AkdValue, Azks, AzksElement, AzksParallelismConfig, AzksValue, Configuration, EpochHash, HistoryParams,
    MembershipProof, NodeLabel, NonMembershipProof, VersionFreshness, WhatsAppV1Configuration as Config,
};
use undertone_transparency::directory::{AbsenceProof, Digest, HistoryProof, LookupProof, VrfKey, marker_versions};

pub(crate) use VersionFreshness::{Fresh, Stale};

type Akd = Directory<Config, AsyncInMemoryDatabase, HardCodedAkdVRF>;

pub(crate) struct World {
    runtime: tokio::runtime::Runtime,
    pub(crate) akd: Akd,
    storage: StorageManager<AsyncInMemoryDatabase>,
    pub(crate) key: VrfKey,
    pub(crate) key_bytes: [u8; 32],
    /// The root hashes from epoch 0 on.
    pub(crate) roots: Vec<Digest>,
}

pub(crate) fn value(user: &str, version: u32) -> [u8; 32] {
    undertone_keys::digest::sha256(&[user.as_bytes(), &version.to_be_bytes()])
}

pub(crate) fn user(n: u32) -> String {
    format!("user {n}")
}

impl World {
    /// A directory with a sentinel and `users` users at version 1, at epoch 1.
    pub(crate) fn new(users: u32) -> Self {
        let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).build().unwrap();
        let storage = StorageManager::new_no_cache(AsyncInMemoryDatabase::new());
        let (akd, key) = runtime.block_on(async {
            let config = AzksParallelismConfig::default();
            let akd = Akd::new(storage.clone(), HardCodedAkdVRF, config).await.unwrap();
            let key = akd.get_public_key().await.unwrap();
            (akd, key)
        });
        let key_bytes = key.to_bytes();
        let key = VrfKey::from_bytes(&key_bytes).unwrap();
        let roots = vec![undertone_transparency::directory::empty_root()];
        let mut world = Self { runtime, akd, storage, key, key_bytes, roots };
        assert_eq!(world.root_now(), world.roots[0]);
        let first: Vec<(String, u32)> = (0..users).map(|n| (user(n), 1)).collect();
        let sentinel = ("sentinel".to_owned(), 1);
        let all: Vec<(&str, u32)> = first.iter().chain([&sentinel]).map(|(user, n)| (user.as_str(), *n)).collect();
        world.publish(&all);
        world
    }

    pub(crate) fn wait<T>(&self, future: impl Future<Output = T>) -> T {
        self.runtime.block_on(future)
    }

    /// One epoch with these users at these versions.
    pub(crate) fn publish(&mut self, updates: &[(&str, u32)]) {
        let values: Vec<(&str, Digest)> = updates.iter().map(|(user, n)| (*user, value(user, *n))).collect();
        self.publish_values(&values);
    }

    /// One epoch with these values as the next versions of these users.
    pub(crate) fn publish_values(&mut self, updates: &[(&str, Digest)]) {
        let updates = updates.iter().map(|(user, value)| (AkdLabel::from(*user), AkdValue(value.to_vec())));
        let EpochHash(epoch, root) = self.wait(self.akd.publish(updates.collect())).unwrap();
        assert_eq!(epoch, self.epoch() + 1);
        self.roots.push(root);
    }

    pub(crate) fn epoch(&self) -> u64 {
        self.roots.len() as u64 - 1
    }

    pub(crate) fn root(&self) -> &Digest {
        self.roots.last().unwrap()
    }

    fn azks(&self) -> Azks {
        match self.wait(self.storage.get::<Azks>(&DEFAULT_AZKS_KEY)).unwrap() {
            DbRecord::Azks(azks) => azks,
            _ => panic!("no azks"),
        }
    }

    fn root_now(&self) -> Digest {
        self.wait(self.azks().get_root_hash::<Config, _>(&self.storage)).unwrap()
    }

    pub(crate) fn vrf(&self, user: &str, freshness: VersionFreshness, version: u64) -> [u8; 80] {
        self.wait(HardCodedAkdVRF.get_label_proof::<Config>(&user.into(), freshness, version)).unwrap().to_bytes()
    }

    pub(crate) fn place(&self, user: &str, freshness: VersionFreshness, version: u64) -> NodeLabel {
        self.wait(HardCodedAkdVRF.get_node_label::<Config>(&user.into(), freshness, version)).unwrap()
    }

    pub(crate) fn membership(&self, place: NodeLabel) -> MembershipProof {
        self.wait(self.azks().get_membership_proof::<Config, _>(&self.storage, place)).unwrap()
    }

    pub(crate) fn non_membership(&self, place: NodeLabel) -> NonMembershipProof {
        self.wait(self.azks().get_non_membership_proof::<Config, _>(&self.storage, place)).unwrap()
    }

    /// `akd`'s look-up and the further markers of ours.
    pub(crate) fn akd_lookup(&self, user: &str) -> (akd::LookupProof, Vec<(Vec<u8>, MembershipProof)>) {
        let (proof, _) = self.wait(self.akd.lookup(user.into())).unwrap();
        let further = self.further_markers(user, proof.version as u32);
        (proof, further)
    }

    pub(crate) fn further_markers(&self, user: &str, version: u32) -> Vec<(Vec<u8>, MembershipProof)> {
        let own = 1 << version.ilog2();
        let further = marker_versions(version).into_iter().filter(|due| *due != own);
        further
            .map(|due| (self.vrf(user, Fresh, due).to_vec(), self.membership(self.place(user, Fresh, due))))
            .collect()
    }

    pub(crate) fn lookup(&self, user: &str) -> LookupProof {
        let (proof, further) = self.akd_lookup(user);
        LookupProof::from_akd(&proof, &further).unwrap()
    }

    pub(crate) fn absence(&self, user: &str) -> AbsenceProof {
        let proof = self.non_membership(self.place(user, Fresh, 1));
        AbsenceProof::from_akd(&self.vrf(user, Fresh, 1), &proof).unwrap()
    }

    pub(crate) fn akd_history(&self, user: &str, params: HistoryParams) -> akd::HistoryProof {
        self.wait(self.akd.key_history(&user.into(), params)).unwrap().0
    }

    pub(crate) fn history(&self, user: &str, params: HistoryParams) -> HistoryProof {
        HistoryProof::from_akd(&self.akd_history(user, params)).unwrap()
    }

    pub(crate) fn audit(&self, epoch: u64) -> akd::SingleAppendOnlyProof {
        self.wait(self.akd.audit(epoch - 1, epoch)).unwrap().proofs.remove(0)
    }

    /// The two children of an inner node, as the tree has them.
    fn children(&self, label: NodeLabel) -> [AzksElement; 2] {
        let record = self.wait(self.storage.get::<TreeNodeWithPreviousValue>(&NodeKey(label))).unwrap();
        let DbRecord::TreeNode(node) = record else { panic!("no node") };
        [node.latest_node.left_child, node.latest_node.right_child].map(|child| {
            let absent = AzksElement { label: Config::empty_label(), value: Config::empty_node_hash() };
            child.map_or(absent, |label| AzksElement { label, value: self.membership(label).hash_val })
        })
    }

    /// A lie: a node that does lead to `place`, shown with its real children.
    pub(crate) fn forged_non_membership(&self, place: NodeLabel, longest_prefix: NodeLabel) -> NonMembershipProof {
        NonMembershipProof {
            label: place,
            longest_prefix,
            longest_prefix_children: self.children(longest_prefix),
            longest_prefix_membership_proof: self.membership(longest_prefix),
        }
    }

    /// The labels of all inner nodes above a leaf that is in the tree, the root's first.
    pub(crate) fn above(&self, place: NodeLabel) -> Vec<NodeLabel> {
        self.membership(place).sibling_proofs.iter().map(|step| step.label).collect()
    }

    /// Puts a leaf into the tree that no publishing would. The epoch's root is the new one.
    pub(crate) fn insert_ghost(&mut self, user: &str, version: u64, value: &AkdValue) -> (u64, Digest) {
        let label = self.place(user, Fresh, version);
        let mut azks = self.azks();
        let commitment = Config::compute_fresh_azks_value(b"key", &label, version, value);
        let leaf = vec![AzksElement { label, value: AzksValue(commitment.0) }];
        self.runtime.block_on(async {
            let config = AzksParallelismConfig::disabled();
            azks.batch_insert_nodes::<Config, _>(&self.storage, leaf, InsertMode::Directory, config).await.unwrap();
            self.storage.set(DbRecord::Azks(azks)).await.unwrap();
        });
        self.roots.push(self.root_now());
        (self.epoch(), Config::get_commitment_nonce(b"key", &label, version, value))
    }
}
