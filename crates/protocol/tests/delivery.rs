//! Trees, what changes in them, and the messages of a group's delivery service.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing, reason = "a test may fail")]

use proptest::prelude::*;
use undertone_keys::envelope::Address;
use undertone_keys::{CallId, DeviceId, RoomId};
use undertone_protocol::delivery::{
    Denied, GroupNews, GroupRequest, NodePatch, Tree, TreeError, TreePatch, Welcoming, testing,
};
use undertone_protocol::limits::{MAX_TREE_NODE, MAX_TREE_NODES};
use undertone_protocol::signal::{ToDevice, ToServer};

#[test]
fn mls_1_a_tree_has_one_encoding() {
    let tree = testing::tree(5, 1);
    let bytes = tree.encode();
    assert_eq!(Tree::decode(&bytes), Ok(tree));
    for cut in 0..bytes.len() {
        assert!(Tree::decode(&bytes[..cut]).is_err(), "{cut}");
    }
    let encoded = |nodes: &[&[u8]]| Tree::decode(&testing::vector(&nodes.concat()));
    let leaf = [&[1], &*testing::leaf(1)].concat();
    let parent = [&[1], &*testing::parent(1)].concat();
    assert!(encoded(&[&leaf]).is_ok());
    assert!(encoded(&[&leaf, &parent, &leaf]).is_ok());
    assert!(encoded(&[&leaf, &[0], &leaf]).is_ok());
    for (nodes, why) in [
        (&[][..], "there is no tree of nothing"),
        (&[&leaf[..], &[0]], "the last node is blank"),
        (&[&[0]], "there is nothing in it"),
        (&[&parent], "a parent in the place of a leaf"),
        (&[&leaf, &leaf], "a leaf in the place of a parent"),
        (&[&[2]], "neither there nor not"),
    ] {
        assert_eq!(encoded(nodes), Err(TreeError::Malformed), "{why}");
    }
    let blank = vec![0; MAX_TREE_NODES + 1];
    assert_eq!(encoded(&[&blank, &leaf]), Err(TreeError::TooLarge));
}

#[test]
fn mls_1_a_patch_says_what_changes_and_nothing_else() {
    let (before, after) = (testing::tree(4, 1), testing::tree(6, 1));
    let patch = TreePatch::between(&before, &after);
    assert_eq!(patch.nodes.iter().map(|node| node.index).collect::<Vec<_>>(), [8, 10]);
    assert_eq!(patch.apply(&before).unwrap(), after);
    let back = TreePatch::between(&after, &before);
    assert!(back.nodes.is_empty() && back.apply(&after).unwrap() == before);

    let node = |index, node: &[u8]| NodePatch { index, node: node.to_vec() };
    let patched = |length, nodes| TreePatch { length, nodes }.apply(&before);
    let (leaf, parent) = (testing::leaf(9), testing::parent(9));
    assert!(patched(7, vec![node(0, &leaf), node(1, &parent), node(2, &[])]).is_ok());
    for (length, nodes, why) in [
        (7, vec![node(2, &leaf), node(0, &leaf)], "not ascending"),
        (7, vec![node(0, &leaf), node(0, &testing::leaf(8))], "twice"),
        (7, vec![node(8, &leaf)], "outside"),
        (7, vec![node(0, &testing::leaf(1))], "as it was"),
        (7, vec![node(1, &[])], "blank as it was"),
        (7, vec![node(6, &[])], "a blank at the end"),
        (9, vec![], "a blank at the end, by its length"),
        (0, vec![], "nothing left"),
        (7, vec![node(0, &parent)], "a parent in the place of a leaf"),
        (7, vec![node(0, &leaf[..leaf.len() - 1])], "half a node"),
        (7, vec![node(0, &[&*leaf, &[0]].concat())], "more than a node"),
    ] {
        assert_eq!(patched(length, nodes), Err(TreeError::Malformed), "{why}");
    }
    let large =
        [vec![2], testing::vector(&[1; 65]), testing::vector(&[]), testing::vector(&vec![0; MAX_TREE_NODE])].concat();
    assert_eq!(patched(7, vec![node(1, &large)]), Err(TreeError::TooLarge));
    let length = u32::try_from(MAX_TREE_NODES).unwrap() + 1;
    assert_eq!(patched(length, vec![node(length - 1, &parent)]), Err(TreeError::TooLarge));
    assert_eq!(patched(u32::MAX, vec![]), Err(TreeError::TooLarge));
}

/// What a commit costs in a group of a thousand: its path, and not the tree.
#[test]
fn mls_1_a_patch_in_a_large_group_is_small() {
    let before = testing::tree(1_000, 1);
    let mut nodes = before.nodes().to_vec();
    nodes[0] = Some(testing::leaf(2));
    for level in 0..10 {
        nodes[(1 << level) - 1 + usize::from(level == 0)] =
            Some(if level == 0 { testing::parent(2) } else { testing::parent(3) });
    }
    let after = Tree::new(nodes).unwrap();
    let patch = TreePatch::between(&before, &after);
    let request = GroupRequest::Commit { epoch: 1, commit: vec![], welcomes: vec![], info: vec![], tree: patch };
    let message = ToServer::Group { room: RoomId::from_bytes([1; 16]), call: CALL, number: 1, request }.encode();
    assert!(after.encode().len() > 200_000 && message.len() < 3_000, "{}", message.len());
}

const CALL: CallId = CallId::from_bytes([7; 16]);

#[test]
fn every_message_about_a_group_reads_back() {
    let room = RoomId::from_bytes([1; 16]);
    let address = Address { user: "ada@x".parse().unwrap(), device: DeviceId::from_bytes([2; 16]) };
    let tree = TreePatch::between(&Tree::default(), &testing::tree(2, 1));
    let requests = [
        GroupRequest::Follow { have: None },
        GroupRequest::Follow { have: Some(3) },
        GroupRequest::Unfollow,
        GroupRequest::Reject { epoch: 4 },
        GroupRequest::Create { info: vec![1], tree: tree.clone() },
        GroupRequest::Commit {
            epoch: 1,
            commit: vec![2],
            welcomes: vec![Welcoming { to: vec![address], welcome: vec![3] }],
            info: vec![4],
            tree: tree.clone(),
        },
        GroupRequest::Attest { epoch: 2, digest: [5; 32] },
        GroupRequest::Reject { epoch: 2 },
        GroupRequest::Withdraw { epoch: 2, born: None },
        GroupRequest::Withdraw { epoch: 2, born: Some([6; 32]) },
        GroupRequest::Info,
        GroupRequest::Reinform { epoch: 9, info: vec![], tree },
    ];
    for request in requests {
        let message = ToServer::Group { room, call: CALL, number: 4, request };
        assert_eq!(ToServer::decode(&message.encode()), Ok(message));
    }
    let denied = [
        Denied::Lost,
        Denied::Ahead,
        Denied::Behind,
        Denied::NoGroup,
        Denied::NotYours,
        Denied::Malformed,
        Denied::TooLarge,
        Denied::Later,
        Denied::Disputed,
        Denied::Mismatch,
        Denied::TooMany,
        Denied::Unavailable,
    ];
    let refused = denied.map(|why| GroupNews::Refused { number: 1, why, after_ms: 10 });
    let news = [
        GroupNews::State { number: 1, oldest: 0, epoch: None, seen: None, born: None },
        GroupNews::State { number: 1, oldest: 3, epoch: Some(5), seen: Some(4), born: Some([9; 32]) },
        GroupNews::State { number: 1, oldest: 0, epoch: None, seen: Some(4), born: None },
        GroupNews::Withdrawn,
        GroupNews::GivenBack { epoch: 4, oldest: 3, commit: [7; 32] },
        GroupNews::Commit { epoch: 1, commit: vec![1; 70].into() },
        GroupNews::Welcome { epoch: 2, welcome: vec![2].into() },
        GroupNews::Accepted { number: 1, epoch: 2 },
        GroupNews::Info { number: 1, epoch: 2, attested: 3, disputed: 4, info: vec![5].into() },
        GroupNews::Opened,
    ];
    for news in news.into_iter().chain(refused) {
        let message = ToDevice::Group { call: CALL, news };
        assert_eq!(ToDevice::decode(&message.encode()), Ok(message));
    }
    let low = ToDevice::KeyPackagesLow { suite: 2, left: 9 };
    assert_eq!(ToDevice::decode(&low.encode()), Ok(low));
}

fn trees() -> impl Strategy<Value = Tree> {
    proptest::collection::vec(proptest::option::of(0_u8..4), 1..40).prop_map(|keys| {
        let nodes = keys.iter().enumerate().map(|(index, key)| {
            key.map(|key| if index.is_multiple_of(2) { testing::leaf(key) } else { testing::parent(key) })
        });
        let mut nodes: Vec<_> = nodes.collect();
        let last = nodes.len() - 1;
        nodes[last] = Some(if last.is_multiple_of(2) { testing::leaf(1) } else { testing::parent(1) });
        Tree::new(nodes).unwrap()
    })
}

proptest! {
    #[test]
    fn mls_1_a_patch_between_two_trees_leads_from_one_to_the_other(before in trees(), after in trees()) {
        let patch = TreePatch::between(&before, &after);
        prop_assert_eq!(patch.apply(&before), Ok(after.clone()));
        prop_assert_eq!(Tree::decode(&after.encode()), Ok(after.clone()));
        prop_assert_eq!(after.size(), after.encode().len() - if after.size() < 64 { 1 } else if after.size() < 16_384 { 2 } else { 4 });
    }

    #[test]
    fn mls_1_what_is_read_as_a_tree_is_written_the_same(bytes in proptest::collection::vec(any::<u8>(), 0..300)) {
        if let Ok(tree) = Tree::decode(&bytes) {
            prop_assert_eq!(tree.encode(), bytes);
        }
    }
}
