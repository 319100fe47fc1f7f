//! Those who were away: what they lack is kept until they have it, or a limit is reached (rule EKR-7).

use super::*;

fn state(oldest: u64, epoch: u64) -> GroupNews {
    GroupNews::State { number: 5, oldest, epoch: Some(epoch), seen: None, born: None }
}

#[tokio::test]
async fn ekr_7_who_is_behind_gets_what_it_lacks_in_pages() {
    let world = World::new(ample()).await;
    let (ada, bob) = (world.phone("ada@x", 10), world.phone("bob@x", 20));
    world.begin(&ada).await;
    for epoch in 0..100 {
        world.step(&ada, epoch).await;
    }
    let page = world.follow(&bob, Some(0)).await;
    assert_eq!((page.len(), &page[0]), (65, &state(0, 100)));
    assert_eq!(page[64], news_of(63, 0));
    let page = world.follow(&bob, Some(64)).await;
    assert_eq!((page.len(), &page[36]), (37, &news_of(99, 0)));
    assert_eq!(world.follow(&bob, Some(100)).await, [state(0, 100)]);
    assert_eq!(world.follow(&bob, Some(101)).await, [state(0, 100)], "a store from the future lacks nothing here");
    assert_eq!(world.follow(&bob, None).await, [state(0, 100)], "who is not in the group has no use for it");
}

#[tokio::test]
async fn ekr_7_history_is_bounded_and_who_is_further_behind_is_told() {
    let world = World::new(Limits { group_history: 10, ..ample() }).await;
    let (ada, bob) = (world.phone("ada@x", 10), world.phone("bob@x", 20));
    world.begin(&ada).await;
    world.follow(&bob, Some(0)).await;
    for epoch in 0..30 {
        world.step(&ada, epoch).await;
    }
    assert_eq!(world.store.group(CALL).await.unwrap().unwrap().history.len(), 10);
    assert_eq!(world.follow(&bob, Some(5)).await, [state(20, 30)], "it comes in anew");
    assert_eq!(world.follow(&bob, Some(20)).await.len(), 11);
    assert_eq!(world.ask(&bob, commit(19, 3)).await, [refused(Denied::Behind)]);
    assert_eq!(world.ask(&bob, commit(20, 3)).await, [refused(Denied::Lost), news_of(20, 0)]);

    // By bytes too; the newest is kept whatever it weighs.
    for (bytes, kept) in [(1_000, 3), (10, 1)] {
        let world = World::new(Limits { group_history_bytes: bytes, ..ample() }).await;
        let ada = world.phone("ada@x", 10);
        world.begin(&ada).await;
        for epoch in 0..8 {
            world.step(&ada, epoch).await;
        }
        let group = world.store.group(CALL).await.unwrap().unwrap();
        assert_eq!((group.history.len(), group.oldest), (kept, 8 - u64::try_from(kept).unwrap()), "{bytes} bytes");
        assert_eq!(world.ask(&ada, commit(7, 0)).await, [accepted(8)]);
    }
}

/// What all have seen is kept no longer.
#[tokio::test]
async fn ekr_7_what_all_have_seen_goes() {
    let world = World::new(ample()).await;
    let (ada, bob) = (world.phone("ada@x", 10), world.phone("bob@x", 20));
    world.begin(&ada).await;
    world.follow(&ada, Some(0)).await;
    world.follow(&bob, Some(0)).await;
    for epoch in 0..10 {
        world.step(&ada, epoch).await;
        world.ask(&ada, GroupRequest::Attest { epoch: epoch + 1, digest: digest(&info(epoch + 1)) }).await;
    }
    let history = async || world.store.group(CALL).await.unwrap().unwrap().history.len();
    assert_eq!(history().await, 10, "Bob may lack it all");
    world.ask(&bob, GroupRequest::Attest { epoch: 8, digest: [0; 32] }).await;
    world.step(&ada, 10).await;
    assert_eq!(history().await, 3, "what ended 8, 9 and 10");
    assert_eq!(world.follow(&bob, Some(8)).await[0], state(8, 11));
}

/// A Welcome that was lost is handed out again at each Follow, until the device shows that it has it.
#[tokio::test]
async fn ekr_7_a_lost_welcome_is_handed_out_again() {
    let mut world = World::new(ample()).await;
    let (ada, mut bob) = (world.phone("ada@x", 10), world.phone("bob@x", 20));
    world.begin(&ada).await;
    let welcomed = vec![bob.you.clone(), address("bob@x", 21)];
    assert_eq!(world.ask(&ada, welcoming(0, 4, welcomed)).await, [accepted(1)]);
    world.step(&ada, 1).await;
    let welcome = GroupNews::Welcome { epoch: 1, welcome: testing::welcome(&[4; 30]).into() };
    assert_eq!(bob.news(), std::slice::from_ref(&welcome), "it is connected, and need not follow for that");
    let all = [state(1, 2), welcome, news_of(1, 0)];
    // As if it had never come: twice, and after a restart, and on the other device, which was away.
    assert_eq!(world.follow(&bob, None).await, all);
    assert_eq!(world.follow(&bob, None).await, all);
    world.restart().await;
    let (bob, other) = (world.phone("bob@x", 20), world.phone("bob@x", 21));
    assert_eq!(world.follow(&bob, None).await, all);
    assert_eq!(world.follow(&other, None).await, all);
    assert_eq!(world.follow(&bob, Some(2)).await, [state(1, 2)]);
    assert_eq!(world.follow(&bob, None).await, [state(1, 2)], "it had it");
    assert_eq!(world.follow(&other, None).await, all);
    let namesake = world.phone("ada@x", 21);
    assert_eq!(world.follow(&namesake, None).await, [state(1, 2)], "it is for the user it names");
}

/// Who is let in and away finds what it needs behind its Welcome, also where all who are there have seen it.
#[tokio::test]
async fn ekr_7_what_is_behind_a_welcome_is_kept_for_it() {
    let world = World::new(ample()).await;
    let ada = world.phone("ada@x", 10);
    world.begin(&ada).await;
    world.follow(&ada, Some(0)).await;
    world.step(&ada, 0).await;
    world.ask(&ada, GroupRequest::Attest { epoch: 1, digest: [0; 32] }).await;
    world.ask(&ada, welcoming(1, 4, vec![address("bob@x", 20)])).await;
    for epoch in 2..6 {
        world.ask(&ada, GroupRequest::Attest { epoch, digest: [0; 32] }).await;
        world.step(&ada, epoch).await;
    }
    let bob = world.phone("bob@x", 20);
    let news = world.follow(&bob, None).await;
    let welcome = GroupNews::Welcome { epoch: 2, welcome: testing::welcome(&[4; 30]).into() };
    assert_eq!(news[..2], [state(2, 6), welcome]);
    assert_eq!(news[2..], [news_of(2, 0), news_of(3, 0), news_of(4, 0), news_of(5, 0)]);
}

/// The trees of the newest epochs, exactly as RFC 9420 encodes them.
#[tokio::test]
async fn mls_1_newcomers_fetch_the_tree_of_the_epoch_they_know() {
    let world = World::new(ample()).await;
    let (ada, user) = (world.phone("ada@x", 10), "bob@x".parse().unwrap());
    let fetch = async |epoch| world.desk.tree(&user, (ROOM, CALL), epoch).await;
    assert!(matches!(fetch(None).await, Err(TreeRefused::NoTree)));
    world.begin(&ada).await;
    for epoch in 0..12 {
        world.step(&ada, epoch).await;
    }
    for epoch in 5..13 {
        assert_eq!(fetch(Some(epoch)).await.unwrap(), tree(epoch).encode());
    }
    assert_eq!(fetch(None).await.unwrap(), tree(12).encode());
    assert!(matches!(fetch(Some(4)).await, Err(TreeRefused::NoTree)));
    assert!(matches!(fetch(Some(13)).await, Err(TreeRefused::NoTree)));
    let stranger = "eve@x".parse().unwrap();
    assert!(matches!(world.desk.tree(&stranger, (ROOM, CALL), None).await, Err(TreeRefused::Unknown)));
    let elsewhere = (ROOM, CallId::from_bytes([3; 16]));
    assert!(matches!(world.desk.tree(&user, elsewhere, None).await, Err(TreeRefused::Unknown)));
}
