//! What a group is after the server went down, wherever it did.

use super::*;
use crate::store::{EpochEnd, NodeChanges};

fn ended(epoch: u64, who: u8, by: &Address) -> EpochEnd {
    let patch = TreePatch::between(&tree(epoch), &tree(epoch + 1));
    let nodes = patch.nodes.iter().map(|node| (node.index, Some(node.node.as_slice().into()))).collect();
    EpochEnd {
        call: CALL,
        epoch,
        by: by.clone(),
        hash: undertone_keys::digest::sha256(&[&bytes_of(epoch, who)]),
        commit: bytes_of(epoch, who),
        info: info(epoch + 1),
        tree: NodeChanges { length: patch.length, nodes },
        welcomes: vec![],
        oldest: 0,
        now: NOW,
    }
}

/// The server is killed when the commit is on the disk and nobody was told: the sender sends it again and is accepted, whoever
/// else tries loses to it.
#[tokio::test]
async fn rly_6_one_commit_per_epoch_when_killed_between_transaction_and_answer() {
    let mut world = World::new(ample()).await;
    let ada = world.phone("ada@x", 10);
    world.begin(&ada).await;
    world.step(&ada, 0).await;
    world.store.end_epoch(ended(1, 7, &ada.you)).await.unwrap();
    world.restart().await;
    let (ada, mut bob) = (world.phone("ada@x", 10), world.phone("bob@x", 20));
    let state = GroupNews::State { number: 5, oldest: 0, epoch: Some(2), seen: None, born: None };
    assert_eq!(world.follow(&bob, Some(1)).await, [state, news_of(1, 7)], "who follows again hears of it");
    assert_eq!(world.ask(&bob, commit(1, 9)).await, [refused(Denied::Lost), news_of(1, 7)]);
    assert_eq!(world.ask(&ada, commit(1, 7)).await, [accepted(2)]);
    assert_eq!(world.desk.delivered().commits, 0, "it was taken before");
    world.step(&ada, 2).await;
    assert_eq!(bob.news(), [news_of(2, 0)]);
}

/// The same, but that the answer was lost and the desk lived on with what it believed before: the database is right.
#[tokio::test]
async fn rly_6_one_commit_per_epoch_whatever_is_in_memory() {
    let world = World::new(ample()).await;
    let (ada, bob) = (world.phone("ada@x", 10), world.phone("bob@x", 20));
    world.begin(&ada).await;
    world.store.end_epoch(ended(0, 7, &ada.you)).await.unwrap();
    assert_eq!(world.ask(&bob, commit(0, 9)).await, [refused(Denied::Lost), news_of(0, 7)]);
    assert_eq!(world.ask(&ada, commit(0, 7)).await, [accepted(1)]);
    world.step(&bob, 1).await;
}

/// After a restart the group goes on in its epoch, with its tree, its group info and its history.
#[tokio::test]
async fn rly_6_a_group_goes_on_after_a_restart() {
    let mut world = World::new(ample()).await;
    let ada = world.phone("ada@x", 10);
    world.begin(&ada).await;
    for epoch in 0..5 {
        world.step(&ada, epoch).await;
    }
    world.restart().await;
    let (ada, bob) = (world.phone("ada@x", 10), world.phone("bob@x", 20));
    let encoded = world.desk.tree(&bob.you.user, (ROOM, CALL), Some(5)).await.unwrap();
    assert_eq!(encoded, tree(5).encode());
    let shown = GroupNews::Info { number: 5, epoch: 5, attested: 0, disputed: 0, info: info(5).into() };
    assert_eq!(world.ask(&bob, GroupRequest::Info).await, [shown], "who attested it attests again");
    assert_eq!(world.follow(&bob, Some(3)).await[1..], [news_of(3, 0), news_of(4, 0)]);
    for epoch in 0..5 {
        assert_eq!(world.ask(&bob, commit(epoch, 1)).await, [refused(Denied::Lost), news_of(epoch, 0)]);
    }
    world.step(&ada, 5).await;
    assert_eq!(world.desk.tree(&bob.you.user, (ROOM, CALL), None).await.unwrap(), tree(6).encode());
}

/// A call that its room leaves takes its group along; in memory it goes when somebody looks.
#[tokio::test]
async fn rly_6_a_group_goes_with_its_call() {
    let world = World::new(ample()).await;
    let ada = world.phone("ada@x", 10);
    world.begin(&ada).await;
    world.follow(&ada, Some(0)).await;
    let next = CallId::from_bytes([9; 16]);
    assert_eq!(world.store.call_of(ROOM, next, WallTime::from_unix(1_000_000), 10).await.unwrap(), Some(next));
    world.rooms.memberships.forget(ROOM);
    assert_eq!(world.ask(&ada, commit(0, 0)).await, [refused(Denied::NotYours)]);
    let none = GroupNews::State { number: 5, oldest: 0, epoch: None, seen: None, born: None };
    assert_eq!(ask(&world.desk, &ada, (ROOM, next), GroupRequest::Follow { have: None }).await, [none]);
    assert_eq!(world.desk.delivered().groups, 2);
    let later = Instant::now() + SWEEP_EVERY + KEPT;
    world.desk.expire(later, NOW).await.unwrap();
    world.desk.expire(later, NOW).await.unwrap();
    assert_eq!(world.desk.delivered().groups, 1, "the new one, which is followed");
}

/// What is in memory of groups that nobody follows goes, and after long what is on the disk.
#[tokio::test]
async fn dos_1_groups_that_nobody_follows_are_forgotten() {
    let world = World::new(ample()).await;
    let ada = world.phone("ada@x", 10);
    world.begin(&ada).await;
    let later = Instant::now() + KEPT;
    world.desk.expire(later, NOW).await.unwrap();
    assert_eq!(world.desk.delivered().groups, 0);
    world.step(&ada, 0).await;
    world.follow(&ada, Some(1)).await;
    let wall = |used: &WallTime| used.plus(GROUP_IDLE.as_secs() + 1);
    let used = crate::signal::wall_time();
    world.desk.expire(later + SWEEP_EVERY, wall(&used)).await.unwrap();
    assert!(world.store.group(CALL).await.unwrap().is_some(), "somebody follows it");
    world.board.disconnect(ada.you.device, ada.line);
    let later = later + 2 * SWEEP_EVERY;
    world.desk.expire(later, wall(&used)).await.unwrap();
    let later = later + undertone_protocol::limits::FOLLOWER_MEMORY + SWEEP_EVERY;
    world.desk.expire(later, wall(&wall(&used))).await.unwrap();
    assert_eq!(world.desk.delivered().groups, 0);
    assert_eq!(world.store.group(CALL).await.unwrap(), None);
}
