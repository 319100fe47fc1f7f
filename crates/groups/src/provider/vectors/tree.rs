//! Ratchet trees.
//!
//! openmls takes a tree from outside only with a group info that a member has signed. Where the members' keys are given, which is in
//! `treekem.json`, these tests sign one; and openmls then says whether the tree hash in it is the one that it computes itself.
//! Where they are not, openmls comes as far as the missing signature: past the signatures of the leaves, the parent hashes and
//! the unmerged leaves.

use core::ops::Range;

use openmls::framing::{MlsMessageIn, ProcessedMessageContent};
use openmls::group::{GroupId, ProposalStore};
use openmls::messages::group_info::VerifiableGroupInfo;
use openmls::messages::proposals_in::ProposalIn;
use openmls::prelude::{CreationFromExternalError, PublicGroup};
use openmls::treesync::errors::{PublicTreeError, TreeSyncFromNodesError};
use openmls::treesync::{RatchetTreeError, RatchetTreeIn};
use openmls_traits::OpenMlsProvider;
use openmls_traits::crypto::OpenMlsCrypto;
use openmls_traits::types::HashType;
use serde_json::Value;
use tls_codec::{Deserialize, Serialize};

use super::{bytes, cases, labelled, vector, with_provider};
use crate::provider::{Crypto, Provider};
use crate::store::StoreError;
use crate::suite::Suite;

type Refused = CreationFromExternalError<StoreError>;

/// What is left to be read of something.
struct Reader<'a>(&'a [u8]);

impl<'a> Reader<'a> {
    fn take(&mut self, length: usize) -> &'a [u8] {
        let (taken, rest) = self.0.split_at(length);
        self.0 = rest;
        taken
    }

    fn number(&mut self, length: usize) -> usize {
        self.take(length).iter().fold(0, |number, byte| (number << 8) | usize::from(*byte))
    }

    fn vector(&mut self) -> &'a [u8] {
        let width = 1_usize << (self.0[0] >> 6);
        let length = self.number(width) & ((1_usize << (8 * width - 2)) - 1);
        self.take(length)
    }

    fn vectors(&mut self, count: usize) {
        for _ in 0..count {
            self.vector();
        }
    }

    /// RFC 9420, 7.2.
    fn leaf(&mut self) {
        self.vectors(2);
        self.number(2);
        self.vectors(1 + 5);
        match self.number(1) {
            1 => self.0 = &self.0[8 + 8..],
            2 => (),
            3 => self.vectors(1),
            other => panic!("no source of a leaf: {other}"),
        }
        self.vectors(2);
    }
}

/// A tree, and where in it its nodes are, with blank ones for what is left out at its end.
struct Tree {
    encoded: Vec<u8>,
    nodes: Vec<Option<Range<usize>>>,
}

impl Tree {
    fn of(value: &Value) -> Self {
        let (encoded, mut nodes) = (bytes(value), Vec::new());
        let mut reader = Reader(&encoded);
        reader.0 = reader.vector();
        while !reader.0.is_empty() {
            if reader.number(1) == 0 {
                nodes.push(None);
                continue;
            }
            let kind = reader.number(1);
            let start = encoded.len() - reader.0.len();
            match kind {
                1 => reader.leaf(),
                // RFC 9420, 7.1.
                _ => reader.vectors(3),
            }
            nodes.push(Some(start..encoded.len() - reader.0.len()));
        }
        nodes.resize((nodes.len() + 1).next_power_of_two() - 1, None);
        Self { encoded, nodes }
    }

    const fn root(&self) -> usize {
        self.nodes.len() / 2
    }

    /// RFC 9420, 7.8: the hash of what is at and below a node.
    fn hash(&self, node: usize) -> Vec<u8> {
        let content = match &self.nodes[node] {
            Some(range) => [&[1_u8][..], &self.encoded[range.clone()]].concat(),
            None => vec![0],
        };
        let input = match node.trailing_ones() {
            0 => [vec![1], u32::try_from(node / 2).unwrap().to_be_bytes().to_vec(), content].concat(),
            level => {
                let [left, right] = [1_usize, 3].map(|bits| vector(&self.hash(node ^ (bits << (level - 1)))));
                [vec![2], content, left, right].concat()
            }
        };
        Crypto::default().hash(HashType::Sha2_256, &input).unwrap()
    }

    fn parse(&self) -> RatchetTreeIn {
        let tree = RatchetTreeIn::tls_deserialize_exact(&self.encoded).unwrap();
        assert_eq!(tree.tls_serialize_detached().unwrap(), self.encoded);
        tree
    }
}

/// RFC 9420, 8.1, with no extensions.
fn context(suite: Suite, group: &[u8], epoch: u64, tree_hash: &[u8], transcript: &[u8]) -> Vec<u8> {
    let parts = [
        vec![0, 1],
        suite.mls_number().to_be_bytes().to_vec(),
        vector(group),
        epoch.to_be_bytes().to_vec(),
        vector(tree_hash),
        vector(transcript),
        vec![0],
    ];
    parts.concat()
}

/// RFC 9420, 12.4.3: a group info with no extensions and a tag that nobody checks, signed by a leaf.
fn group_info(context: &[u8], leaf: u32, sign: impl FnOnce(&[u8]) -> Vec<u8>) -> VerifiableGroupInfo {
    let unsigned = [context.to_vec(), vec![0], vector(&[0; 32]), leaf.to_be_bytes().to_vec()].concat();
    let signature = vector(&sign(&unsigned));
    VerifiableGroupInfo::tls_deserialize_exact([unsigned, signature].concat()).unwrap()
}

fn track(provider: &Provider<'_>, tree: RatchetTreeIn, info: VerifiableGroupInfo) -> Result<PublicGroup, Refused> {
    let made = PublicGroup::from_external(provider.crypto(), provider.storage(), tree, info, ProposalStore::new());
    made.map(|(group, _)| group)
}

fn signed(suite: Suite, key: &[u8], label: &str, content: &[u8]) -> Vec<u8> {
    let scheme = suite.ciphersuite().signature_algorithm();
    Crypto::default().sign(scheme, &labelled(label, content), key).unwrap()
}

#[test]
fn rfc_9420_7_9_leaves_and_parent_hashes_of_a_tree_are_checked() {
    let files = [
        include_str!("../../../vectors/working-group/tree-validation-x25519.json"),
        include_str!("../../../vectors/working-group/tree-validation-p256.json"),
    ];
    let all: Vec<_> = files.into_iter().flat_map(cases).collect();
    assert_eq!(all.len(), 28);
    for (suite, case) in all {
        let (tree, group) = (Tree::of(&case["tree"]), bytes(&case["group_id"]));
        for (node, hash) in case["tree_hashes"].as_array().unwrap().iter().enumerate() {
            assert_eq!(tree.hash(node), bytes(hash), "{suite:?}, node {node}");
        }
        with_provider(|provider| {
            let verified = |group: &[u8]| {
                tree.parse().into_verified(suite.ciphersuite(), provider.crypto(), &GroupId::from_slice(group))
            };
            assert_eq!(verified(&group).unwrap().tls_serialize_detached().unwrap(), tree.encoded);
            // A leaf that came with a commit is one of its group.
            assert_eq!(verified(b"another group").unwrap_err(), RatchetTreeError::InvalidNodeSignature);

            let unsigned = || group_info(&context(suite, &group, 1, &tree.hash(tree.root()), &[]), 0, |_| Vec::new());
            let refused = track(provider, tree.parse(), unsigned()).unwrap_err();
            assert!(matches!(refused, Refused::InvalidGroupInfoSignature), "{suite:?}: {refused:?}");

            // One bit of a parent's key, which nobody has signed, but which is in the hash that those below it have of it.
            let mut changed = tree.encoded.clone();
            let parent = tree.nodes.iter().skip(1).step_by(2).flatten().next().unwrap();
            changed[parent.start + 8] ^= 1;
            let changed = RatchetTreeIn::tls_deserialize_exact(changed).unwrap();
            let refused = track(provider, changed, unsigned()).unwrap_err();
            let invalid = TreeSyncFromNodesError::PublicTreeError(PublicTreeError::InvalidParentHash);
            assert_eq!(refused, Refused::TreeSyncError(invalid), "{suite:?}");
        });
    }
}

#[test]
fn rfc_9420_7_8_tree_hashes_before_and_after_an_update_path() {
    let all = cases(include_str!("../../../vectors/working-group/treekem.json"));
    assert_eq!(all.len(), 22);
    let mut paths = 0;
    for (suite, case) in all {
        let (tree, group) = (Tree::of(&case["ratchet_tree"]), bytes(&case["group_id"]));
        let (epoch, transcript) = (case["epoch"].as_u64().unwrap(), bytes(&case["confirmed_transcript_hash"]));
        let leaves = case["leaves_private"].as_array().unwrap();
        let key_of = |leaf: u64| {
            let leaf = leaves.iter().find(|known| known["index"].as_u64() == Some(leaf)).unwrap();
            bytes(&leaf["signature_priv"])
        };
        let context = |tree_hash: &[u8]| context(suite, &group, epoch, tree_hash, &transcript);
        let info = |tree_hash: &[u8]| {
            group_info(&context(tree_hash), 0, |unsigned| signed(suite, &key_of(0), "GroupInfoTBS", unsigned))
        };
        with_provider(|provider| {
            let refused = track(provider, tree.parse(), info(&[0; 32])).unwrap_err();
            assert!(matches!(refused, Refused::TreeHashMismatch), "{suite:?}: {refused:?}");
            let tree_hash = tree.hash(tree.root());
            let tracked = track(provider, tree.parse(), info(&tree_hash)).unwrap();

            for path in case["update_paths"].as_array().unwrap() {
                let sender = path["sender"].as_u64().unwrap();
                // A commit with a path and nothing else: RFC 9420, 6 and 12.4.
                let content = [
                    vector(&group),
                    epoch.to_be_bytes().to_vec(),
                    vec![1],
                    u32::try_from(sender).unwrap().to_be_bytes().to_vec(),
                    vec![0, 3, 0, 1],
                    bytes(&path["update_path"]),
                ];
                let framed = [vec![0, 1, 0, 1], content.concat()].concat();
                let to_be_signed = [framed.clone(), context(&tree_hash)].concat();
                let signature = signed(suite, &key_of(sender), "FramedContentTBS", &to_be_signed);
                // Both tags are for members to check.
                let message = [framed, vector(&signature), vector(&[0; 32]), vector(&[0; 32])].concat();
                let message =
                    MlsMessageIn::tls_deserialize_exact(message).unwrap().try_into_protocol_message().unwrap();
                let processed = tracked.process_message(provider.crypto(), message).unwrap();
                let ProcessedMessageContent::StagedCommitMessage(commit) = processed.into_content() else {
                    panic!("it is a commit")
                };
                assert_eq!(commit.group_context().tree_hash(), bytes(&path["tree_hash_after"]), "{suite:?}");
                paths += 1;
            }
        });
    }
    assert_eq!(paths, 64);
}

/// The file has suite 1 alone. openmls applies a proposal only as part of a commit, for which there are no keys here.
#[test]
fn rfc_9420_7_7_trees_and_proposals_of_tree_operations_are_parsed() {
    let all = cases(include_str!("../../../vectors/working-group/tree-operations.json"));
    assert_eq!(all.len(), 5);
    for (suite, case) in all {
        assert_eq!(suite, Suite::X25519);
        for (tree, hash) in [("tree_before", "tree_hash_before"), ("tree_after", "tree_hash_after")] {
            let tree = Tree::of(&case[tree]);
            tree.parse();
            assert_eq!(tree.hash(tree.root()), bytes(&case[hash]));
        }
        let proposal = bytes(&case["proposal"]);
        let parsed = ProposalIn::tls_deserialize_exact(&proposal).unwrap();
        assert_eq!(parsed.tls_serialize_detached().unwrap(), proposal);
    }
}
