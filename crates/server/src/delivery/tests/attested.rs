//! Group infos that do not come of their commit (rule MLS-3).

use super::*;

/// What Eve brings with her commit, and what it should be.
fn false_info() -> (Vec<u8>, Tree) {
    let other = testing::tree(4, 66);
    (testing::group_info(&CALL, 1, &other, b"another history"), other)
}

async fn with_a_false_info(world: &World, eve: &Phone) {
    world.begin(eve).await;
    let (info, other) = false_info();
    let patch = TreePatch::between(&tree(0), &other);
    let request = GroupRequest::Commit { epoch: 0, commit: bytes_of(0, 9), welcomes: vec![], info, tree: patch };
    assert_eq!(world.ask(eve, request).await, [accepted(1)]);
}

fn truth() -> GroupRequest {
    let (_, other) = false_info();
    GroupRequest::Reinform { epoch: 1, info: info(1), tree: TreePatch::between(&other, &tree(1)) }
}

#[tokio::test]
async fn mls_3_a_group_info_that_more_dispute_is_not_handed_out_and_is_replaced() {
    let mut world = World::new(ample()).await;
    world.list(&["ada@x", "bob@x", "eve@x"]).await;
    let (ada, bob, eve) = (world.phone("ada@x", 10), world.phone("bob@x", 20), world.phone("eve@x", 30));
    with_a_false_info(&world, &eve).await;
    let shown = |attested, disputed, info: Vec<u8>| {
        [GroupNews::Info { number: 5, epoch: 1, attested, disputed, info: info.into() }]
    };
    let (wrong, _) = false_info();
    assert_eq!(world.ask(&bob, GroupRequest::Info).await, shown(1, 0, wrong.clone()));
    let attest = |info: &[u8]| GroupRequest::Attest { epoch: 1, digest: digest(info) };
    assert_eq!(world.ask(&ada, attest(&info(1))).await, []);
    assert_eq!(world.ask(&bob, GroupRequest::Info).await, shown(1, 1, wrong.clone()));
    assert_eq!(world.ask(&ada, truth()).await, [refused(Denied::Disputed)], "one against one");
    // A second device of Ada's is not a second person.
    world.ask(&world.phone("ada@x", 11), attest(&info(1))).await;
    assert_eq!(world.ask(&bob, GroupRequest::Info).await, shown(1, 1, wrong.clone()));
    assert_eq!(world.ask(&bob, attest(&info(1))).await, []);
    assert_eq!(world.ask(&bob, GroupRequest::Info).await, [refused(Denied::Disputed)]);

    // Eve, who attested the false one, does not put another false one there; nor does somebody who attested nothing.
    let other = testing::group_info(&CALL, 1, &tree(1), b"a third");
    let third = GroupRequest::Reinform { epoch: 1, info: other, tree: TreePatch::between(&false_info().1, &tree(1)) };
    assert_eq!(world.ask(&eve, third.clone()).await, [refused(Denied::Disputed)]);
    assert_eq!(world.ask(&ada, third).await, [refused(Denied::Disputed)], "it is not what she attested");
    assert_eq!(world.ask(&world.phone("bob@x", 21), truth()).await, [refused(Denied::Disputed)]);
    let GroupRequest::Reinform { info: right, .. } = truth() else { unreachable!() };
    let torn = GroupRequest::Reinform { epoch: 1, info: right, tree: TreePatch { length: 7, nodes: vec![] } };
    assert_eq!(world.ask(&ada, torn).await, [refused(Denied::Mismatch)], "a tree that is not the group info's");

    assert_eq!(world.ask(&ada, truth()).await, [accepted(1)]);
    assert_eq!(world.ask(&bob, GroupRequest::Info).await, shown(2, 1, info(1)));
    assert_eq!(world.desk.tree(&bob.you.user, (ROOM, CALL), Some(1)).await.unwrap(), tree(1).encode());
    assert_eq!(world.ask(&bob, truth()).await, [refused(Denied::Disputed)], "there is nothing to replace");
    assert_eq!(world.desk.delivered().disputes, 3);
    world.step(&ada, 1).await;
    // It was durable, too.
    world.restart().await;
    let bob = world.phone("bob@x", 20);
    assert_eq!(world.desk.tree(&bob.you.user, (ROOM, CALL), None).await.unwrap(), tree(2).encode());
}

#[tokio::test]
async fn mls_3_attests_are_of_the_newest_epoch_and_one_of_each_device() {
    let world = World::new(ample()).await;
    let (ada, bob) = (world.phone("ada@x", 10), world.phone("bob@x", 20));
    assert_eq!(world.ask(&bob, GroupRequest::Attest { epoch: 0, digest: [1; 32] }).await, [], "there is no group");
    world.begin(&ada).await;
    world.step(&ada, 0).await;
    for (epoch, digest) in [(0, [1; 32]), (2, [1; 32]), (u64::MAX, [1; 32]), (1, digest(&info(1))), (1, [1; 32])] {
        assert_eq!(world.ask(&bob, GroupRequest::Attest { epoch, digest }).await, []);
    }
    let shown = GroupNews::Info { number: 5, epoch: 1, attested: 2, disputed: 0, info: info(1).into() };
    assert_eq!(world.ask(&bob, GroupRequest::Info).await, [shown]);
    for (epoch, why) in [(0, Denied::Behind), (2, Denied::Ahead)] {
        let patch = TreePatch { length: 7, nodes: vec![] };
        let request = GroupRequest::Reinform { epoch, info: info(epoch), tree: patch };
        assert_eq!(world.ask(&bob, request).await, [refused(why)]);
    }
}
