//! Made-up MLS messages for tests: of the form that RFC 9420 gives them, with nothing true in them.

use undertone_keys::CallId;

use super::hash::TreeHashes;
use super::reader::length_prefix;
use super::tree::{Node, Tree};

/// The suite of all of it: `MLS_128_DHKEMP256_AES128GCM_SHA256_P256`.
pub const SUITE: u16 = 2;

/// A vector of bytes behind its length.
#[must_use]
pub fn vector(bytes: &[u8]) -> Vec<u8> {
    let (prefix, size) = length_prefix(bytes.len()).unwrap_or_default();
    [prefix.get(..size).unwrap_or_default(), bytes].concat()
}

fn message(kind: u16, body: &[&[u8]]) -> Vec<u8> {
    [&1_u16.to_be_bytes(), kind.to_be_bytes().as_slice(), &body.concat()].concat()
}

/// A `PrivateMessage`: application 1, proposal 2, commit 3. `inside` stands for what is sealed.
#[must_use]
pub fn private(group: &[u8], epoch: u64, content: u8, inside: &[u8]) -> Vec<u8> {
    let (group, inside) = (vector(group), vector(inside));
    message(2, &[&group, &epoch.to_be_bytes(), &[content], &vector(&[]), &vector(&[7; 28]), &inside])
}

/// A `PublicMessage`. Senders: a member 1, external 2, a new member's proposal 3, a new member's commit 4.
#[must_use]
pub fn public(group: &[u8], epoch: u64, sender: u8, content: u8, inside: &[u8]) -> Vec<u8> {
    let index: &[u8] = if matches!(sender, 1 | 2) { &[0; 4] } else { &[] };
    message(1, &[&vector(group), &epoch.to_be_bytes(), &[sender], index, &vector(&[]), &[content], inside])
}

/// A private commit of a call's group.
#[must_use]
pub fn commit(call: &CallId, epoch: u64, inside: &[u8]) -> Vec<u8> {
    private(call.as_bytes(), epoch, 3, inside)
}

/// A commit by which somebody comes in.
#[must_use]
pub fn external_commit(call: &CallId, epoch: u64, inside: &[u8]) -> Vec<u8> {
    public(call.as_bytes(), epoch, 4, 3, inside)
}

/// A `GroupContext`.
#[must_use]
pub fn context(group: &[u8], epoch: u64, tree_hash: &[u8], transcript: &[u8]) -> Vec<u8> {
    let (version, suite) = (1_u16.to_be_bytes(), SUITE.to_be_bytes());
    let (group, epoch) = (vector(group), epoch.to_be_bytes());
    [&version[..], &suite, &group, &epoch, &vector(tree_hash), &vector(transcript), &vector(&[])].concat()
}

/// A `GroupInfo` of this epoch and tree; `transcript` stands for all that led to it.
#[must_use]
pub fn group_info(call: &CallId, epoch: u64, tree: &Tree, transcript: &[u8]) -> Vec<u8> {
    let context = context(call.as_bytes(), epoch, &TreeHashes::of(tree).root(), transcript);
    message(4, &[&context, &vector(&[]), &vector(&[9; 32]), &[0; 4], &vector(&[1; 64])])
}

/// A `Welcome`.
#[must_use]
pub fn welcome(inside: &[u8]) -> Vec<u8> {
    message(3, &[&SUITE.to_be_bytes(), &vector(inside), &vector(&[2; 40])])
}

fn leaf_of(key: u8, source: &[u8]) -> Vec<u8> {
    let (encryption, signature) = (vector(&[key; 65]), vector(&[key ^ 0xff; 65]));
    let credential = [&1_u16.to_be_bytes()[..], &vector(b"ada@x")].concat();
    let capabilities = [&[0, 1], &[0, 2], &[][..], &[], &[0, 1]].map(vector).concat();
    [encryption, signature, credential, capabilities, source.to_vec(), vector(&[]), vector(&[3; 70])].concat()
}

/// A leaf of the tree, of a commit.
#[must_use]
pub fn leaf(key: u8) -> Node {
    [&[1], leaf_of(key, &[&[3], vector(&[5; 32]).as_slice()].concat()).as_slice()].concat().into()
}

/// A parent in the tree.
#[must_use]
pub fn parent(key: u8) -> Node {
    [vec![2], vector(&[key; 65]), vector(&[6; 32]), vector(&[0, 0, 0, 1])].concat().into()
}

/// A tree of so many leaves, each with another key than those of trees with other numbers, and no parents.
#[must_use]
pub fn tree(leaves: usize, key: u8) -> Tree {
    let node = |index: usize| index.is_multiple_of(2).then(|| leaf(key));
    Tree::new((0..2 * leaves.max(1) - 1).map(node).collect()).unwrap_or_default()
}

/// A `KeyPackage`; `key` tells one from another.
#[must_use]
pub fn key_package(key: u8) -> Vec<u8> {
    let lifetime = [&[1][..], &[0; 16]].concat();
    let (version, suite) = (1_u16.to_be_bytes(), SUITE.to_be_bytes());
    message(5, &[&version, &suite, &vector(&[key; 65]), &leaf_of(key, &lifetime), &vector(&[]), &vector(&[4; 70])])
}
