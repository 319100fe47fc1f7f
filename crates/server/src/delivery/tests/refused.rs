//! What is not taken, and who is not heard.

use super::*;

/// Each part of a commit, changed.
struct Parts {
    epoch: u64,
    commit: Vec<u8>,
    welcomes: Vec<Welcoming>,
    info: Vec<u8>,
    tree: TreePatch,
}

impl Parts {
    fn good() -> Self {
        let tree = TreePatch::between(&tree(1), &tree(2));
        Self { epoch: 1, commit: bytes_of(1, 0), welcomes: vec![], info: info(2), tree }
    }

    fn request(self) -> GroupRequest {
        let Self { epoch, commit, welcomes, info, tree } = self;
        GroupRequest::Commit { epoch, commit, welcomes, info, tree }
    }
}

fn to_bob(welcome: Vec<u8>) -> Vec<Welcoming> {
    vec![Welcoming { to: vec![address("bob@x", 20)], welcome }]
}

#[tokio::test]
async fn rly_6_a_commit_whose_parts_are_not_what_they_should_be_is_refused() {
    let world = World::new(ample()).await;
    let ada = world.phone("ada@x", 10);
    let good = Parts::good;
    assert_eq!(world.ask(&ada, good().request()).await, [refused(Denied::NoGroup)]);
    assert_eq!(world.ask(&ada, GroupRequest::Info).await, [refused(Denied::NoGroup)]);
    world.begin(&ada).await;
    world.step(&ada, 0).await;
    let (group, other) = (CALL.as_bytes(), CallId::from_bytes([1; 16]));
    let commit = |commit| Parts { commit, ..good() };
    let welcomes = |welcomes| Parts { welcomes, ..good() };
    let info = |info| Parts { info, ..good() };
    let welcome = || testing::welcome(&[1; 30]);
    let another_suite = |mut bytes: Vec<u8>, at: usize| {
        bytes[at] ^= 1;
        bytes
    };
    let crowd = |n| (0..n).map(|n| address("bob@x", n)).collect::<Vec<_>>();
    let cases: Vec<(Parts, Denied, &str)> = vec![
        (commit(testing::private(group, 1, 1, &[1])), Denied::Malformed, "an application message"),
        (commit(testing::private(group, 1, 2, &[1])), Denied::Malformed, "a proposal"),
        (commit(testing::public(group, 1, 1, 3, &[1])), Denied::Malformed, "a member's commit in the clear"),
        (commit(testing::public(group, 1, 2, 3, &[1])), Denied::Malformed, "an external sender's commit"),
        (commit(testing::welcome(&[1])), Denied::Malformed, "a Welcome"),
        (commit(vec![]), Denied::Malformed, "nothing"),
        (commit(vec![0; 100]), Denied::Malformed, "no MLS"),
        (commit(testing::commit(&other, 1, &[1])), Denied::Mismatch, "of another group"),
        (commit(testing::commit(&CALL, 2, &[1])), Denied::Mismatch, "of another epoch than it says"),
        (commit(testing::commit(&CALL, 1, &[1; 192 * 1024])), Denied::TooLarge, "too large"),
        (info(testing::group_info(&other, 2, &tree(2), &[])), Denied::Mismatch, "a group info of another group"),
        (info(testing::group_info(&CALL, 1, &tree(2), &[])), Denied::Mismatch, "a group info of the epoch that ends"),
        (info(testing::group_info(&CALL, 3, &tree(2), &[])), Denied::Mismatch, "a group info of the epoch after"),
        (info(testing::group_info(&CALL, 2, &tree(3), &[])), Denied::Mismatch, "a group info of another tree"),
        (info(another_suite(super::info(2), 7)), Denied::Mismatch, "another suite"),
        (info(testing::welcome(&[1])), Denied::Malformed, "no group info"),
        (info(testing::group_info(&CALL, 2, &tree(2), &[1; 9_000])), Denied::TooLarge, "a group info too large"),
        (welcomes(to_bob(bytes_of(1, 0))), Denied::Malformed, "a Welcome that is none"),
        (welcomes(to_bob(another_suite(welcome(), 5))), Denied::Mismatch, "a Welcome of another suite"),
        (welcomes(to_bob(testing::welcome(&[1; 97 * 1024]))), Denied::TooLarge, "a Welcome too large"),
        (welcomes(vec![Welcoming { to: vec![], welcome: welcome() }]), Denied::Malformed, "a Welcome for nobody"),
        (welcomes([to_bob(welcome()), to_bob(welcome())].concat()), Denied::Malformed, "two for one device"),
        (welcomes(vec![Welcoming { to: crowd(65), welcome: welcome() }]), Denied::TooLarge, "too many at once"),
        (
            welcomes(vec![Welcoming { to: vec![address("eve@x", 30)], welcome: welcome() }]),
            Denied::NotYours,
            "somebody who is not on the list",
        ),
        (
            Parts { commit: testing::external_commit(&CALL, 1, &[1]), ..welcomes(to_bob(welcome())) },
            Denied::Malformed,
            "who comes in brings somebody else",
        ),
        (Parts { tree: TreePatch { length: 7, nodes: vec![] }, ..good() }, Denied::Mismatch, "a tree that stays"),
        (Parts { tree: TreePatch { length: 8, nodes: vec![] }, ..good() }, Denied::Malformed, "a tree that is none"),
        (Parts { tree: TreePatch { length: 5_000, nodes: vec![] }, ..good() }, Denied::TooLarge, "a tree too large"),
        (
            Parts { epoch: u64::MAX, commit: testing::commit(&CALL, u64::MAX, &[1]), ..good() },
            Denied::Mismatch,
            "the last epoch",
        ),
    ];
    for (parts, why, case) in cases {
        assert_eq!(world.ask(&ada, parts.request()).await, [refused(why)], "{case}");
    }
    assert_eq!(world.store.group(CALL).await.unwrap().unwrap().epoch, 1);
    assert_eq!(world.ask(&ada, good().request()).await, [accepted(2)], "and the good one is taken");
}

#[tokio::test]
async fn rly_6_a_group_begins_at_its_beginning() {
    let world = World::new(ample()).await;
    let ada = world.phone("ada@x", 10);
    let patch = |tree: &Tree| TreePatch::between(&Tree::default(), tree);
    for (info, tree, why) in [
        (info(1), patch(&tree(1)), Denied::Mismatch),
        (info(0), patch(&tree(1)), Denied::Mismatch),
        (testing::group_info(&CallId::from_bytes([1; 16]), 0, &tree(0), &[]), patch(&tree(0)), Denied::Mismatch),
        (vec![], patch(&tree(0)), Denied::Malformed),
        (info(0), TreePatch::default(), Denied::Malformed),
    ] {
        assert_eq!(world.ask(&ada, GroupRequest::Create { info, tree }).await, [refused(why)]);
    }
    let full = World::new(Limits { groups: 0, ..ample() }).await;
    let ada = full.phone("ada@x", 10);
    assert_eq!(full.ask(&ada, create()).await, [refused(Denied::Unavailable)]);
}

#[tokio::test]
async fn grp_8_strangers_learn_nothing_and_change_nothing() {
    let world = World::new(ample()).await;
    let (ada, eve) = (world.phone("ada@x", 10), world.phone("eve@x", 30));
    world.begin(&ada).await;
    let all = || {
        [
            GroupRequest::Follow { have: None },
            GroupRequest::Unfollow,
            create(),
            commit(0, 3),
            GroupRequest::Attest { epoch: 0, digest: [0; 32] },
            GroupRequest::Info,
            GroupRequest::Reinform { epoch: 0, info: info(0), tree: TreePatch::default() },
        ]
    };
    let (other_room, other_call) = (RoomId::from_bytes([1; 16]), CallId::from_bytes([1; 16]));
    for request in all() {
        assert_eq!(world.ask(&eve, request).await, [refused(Denied::NotYours)]);
    }
    for place in [(other_room, CALL), (ROOM, other_call), (other_room, other_call)] {
        for request in all() {
            assert_eq!(ask(&world.desk, &ada, place, request).await, [refused(Denied::NotYours)]);
        }
    }
    assert_eq!(world.desk.delivered().groups, 1, "nothing is remembered of it");
    assert_eq!(world.store.group(CALL).await.unwrap().unwrap().epoch, 0);
}

#[tokio::test]
async fn mls_2_a_device_comes_in_by_itself_once_in_thirty_seconds() {
    let world = World::new(ample()).await;
    let (ada, bob) = (world.phone("ada@x", 10), world.phone("bob@x", 20));
    world.begin(&ada).await;
    let external = |epoch| {
        let GroupRequest::Commit { info, tree, .. } = commit(epoch, 0) else { unreachable!() };
        let commit = testing::external_commit(&CALL, epoch, &[9; 20]);
        GroupRequest::Commit { epoch, commit, welcomes: vec![], info, tree }
    };
    world.step(&ada, 0).await;
    let lost = world.ask(&bob, external(0)).await;
    assert_eq!(lost, [refused(Denied::Lost), news_of(0, 0)], "who lost may try again at once");
    assert_eq!(world.ask(&bob, external(1)).await, [accepted(2)]);
    assert_eq!(world.ask(&bob, external(1)).await, [accepted(2)], "the same again is the same");
    assert!(is_later(&world.ask(&bob, external(2)).await));
    world.step(&bob, 2).await;
    assert_eq!(world.ask(&ada, external(3)).await, [accepted(4)], "another device");
    let group = world.desk.group(ROOM, CALL);
    let state = group.state.lock().await;
    let now = Instant::now();
    assert!(state.external_wait(bob.you.device, now).unwrap() > Duration::from_secs(25));
    assert_eq!(state.external_wait(bob.you.device, now + Duration::from_secs(30)), None);
}

#[tokio::test]
async fn dos_1_commits_are_limited_by_account_and_by_group() {
    let world = World::new(Limits { commit_burst: 3, commit_rate: 0, ..ample() }).await;
    let (ada, bob) = (world.phone("ada@x", 10), world.phone("bob@x", 20));
    world.begin(&ada).await;
    world.step(&ada, 0).await;
    world.ask(&ada, commit(0, 1)).await;
    assert!(is_later(&world.ask(&ada, commit(1, 0)).await), "who lost has spent one");
    assert!(is_later(&world.ask(&world.phone("ada@x", 11), commit(1, 0)).await), "whichever device");
    world.step(&bob, 1).await;

    let world = World::new(Limits { group_commit_burst: 3, group_commit_rate: 0, ..ample() }).await;
    let (ada, bob) = (world.phone("ada@x", 10), world.phone("bob@x", 20));
    world.begin(&ada).await;
    world.step(&ada, 0).await;
    world.step(&bob, 1).await;
    assert!(is_later(&world.ask(&bob, commit(2, 0)).await));
    assert_eq!(world.ask(&bob, commit(1, 0)).await, [accepted(2)], "to ask again costs the group nothing");
}

#[tokio::test]
async fn dos_1_histories_infos_and_trees_are_limited() {
    let world = World::new(Limits { group_burst: 3, group_rate: 0, ..ample() }).await;
    let ada = world.phone("ada@x", 10);
    world.begin(&ada).await;
    world.follow(&ada, Some(0)).await;
    world.ask(&ada, GroupRequest::Info).await;
    world.desk.tree(&ada.you.user, (ROOM, CALL), None).await.unwrap();
    assert!(is_later(&world.follow(&ada, Some(0)).await));
    assert!(is_later(&world.ask(&ada, GroupRequest::Info).await));
    let tree = world.desk.tree(&ada.you.user, (ROOM, CALL), None).await;
    assert!(matches!(tree, Err(TreeRefused::TooMany)));
}

#[tokio::test]
async fn dos_1_a_device_follows_so_many_groups_and_no_more() {
    let world = World::new(ample()).await;
    let ada = world.phone("ada@x", 10);
    for call in 1..=8 {
        assert!(world.board.follow(ada.you.device, ada.line, CallId::from_bytes([call; 16])));
    }
    let ninth = world.phone("ada@x", 11);
    assert_eq!(world.follow(&ada, None).await.len(), 1, "it is one of the eight");
    world.board.unfollow(ada.you.device, ada.line, CALL);
    assert!(world.board.follow(ada.you.device, ada.line, CallId::from_bytes([9; 16])));
    assert_eq!(world.follow(&ada, None).await, [refused(Denied::TooMany)]);
    assert_eq!(world.follow(&ninth, None).await.len(), 1);
    world.board.disconnect(ninth.you.device, ninth.line);
    assert_eq!(world.follow(&ninth, None).await, [refused(Denied::TooMany)], "a connection that is gone");
}
