//! Groups that were begun with what nobody can come into (rule RLY-6).

use undertone_keys::Time;
use undertone_protocol::limits::{DESERTED_AFTER, DESERTED_BAN, GIVEN_BACK_AFTER, GIVEN_BACK_BAN};

use super::*;

impl World {
    async fn withdraw(&self, phone: &Phone, epoch: u64) {
        self.withdraw_of(phone, epoch, None).await;
    }

    async fn withdraw_of(&self, phone: &Phone, epoch: u64, born: Option<[u8; 32]>) {
        assert_eq!(self.ask(phone, GroupRequest::Withdraw { epoch, born }).await, []);
    }

    async fn is_there(&self) -> bool {
        self.store.group(CALL).await.unwrap().is_some()
    }

    fn at(&self, time: Duration) {
        self.clock.set(Time::ZERO + time);
    }
}

/// Four on the list, of whom Ada has begun a group and the others only follow.
async fn begun() -> (World, [Phone; 4]) {
    let mut world = World::by(Clock::by_hand(NOW), ample()).await;
    world.list(&["ada@x", "bob@x", "carol@x", "dave@x"]).await;
    let mut phones =
        [("ada@x", 10), ("bob@x", 20), ("carol@x", 30), ("dave@x", 40)].map(|(name, n)| world.phone(name, n));
    for phone in &phones {
        world.follow(phone, None).await;
    }
    world.begin(&phones[0]).await;
    for phone in &mut phones[1..] {
        assert_eq!(phone.news(), [GroupNews::Opened]);
    }
    (world, phones)
}

#[tokio::test]
async fn rly_6_a_group_that_most_cannot_come_into_is_withdrawn_and_begun_by_another() {
    let (world, [mut ada, mut bob, mut carol, dave]) = begun().await;
    world.at(GIVEN_BACK_AFTER);
    world.withdraw(&ada, 0).await;
    assert!(world.is_there().await, "it is not for whoever began it to say");
    world.withdraw(&bob, 0).await;
    world.withdraw(&bob, 0).await;
    world.withdraw(&world.phone("bob@x", 21), 0).await;
    assert!(world.is_there().await, "one of three, however often and with whatever device");
    world.withdraw(&carol, 1).await;
    assert!(world.is_there().await, "of an epoch that there is not");
    world.withdraw(&carol, 0).await;
    assert!(!world.is_there().await);
    for phone in [&mut ada, &mut bob, &mut carol] {
        assert_eq!(phone.news(), [GroupNews::Withdrawn]);
    }
    assert_eq!(world.desk.delivered().withdrawn, 1);
    assert_eq!(world.ask(&dave, GroupRequest::Info).await, [refused(Denied::NoGroup)]);

    // Whoever began it waits, with whatever device; everybody else may begin another.
    assert!(is_later(&world.ask(&ada, create()).await));
    assert!(is_later(&world.ask(&world.phone("ada@x", 11), create()).await));
    world.begin(&bob).await;
    assert_eq!(world.ask(&ada, create()).await, [refused(Denied::Lost)]);
    world.ask(&carol, GroupRequest::Attest { epoch: 0, digest: digest(&info(0)) }).await;
    world.at(GIVEN_BACK_AFTER * 9 + GIVEN_BACK_BAN);
    world.withdraw(&ada, 0).await;
    world.withdraw(&dave, 0).await;
    assert!(world.is_there().await, "this one has somebody in it");
}

#[tokio::test]
async fn rly_6_a_group_that_somebody_has_come_into_is_withdrawn_by_nobody() {
    for way in 1..3 {
        let (mut world, [ada, bob, carol, dave]) = begun().await;
        match way {
            1 => drop(world.ask(&dave, GroupRequest::Attest { epoch: 0, digest: digest(&info(0)) }).await),
            _ => world.step(&dave, 0).await,
        }
        let epoch = u64::from(way == 2);
        world.at(GIVEN_BACK_AFTER);
        world.withdraw(&bob, epoch).await;
        world.withdraw(&carol, epoch).await;
        assert!(world.is_there().await, "way {way}");
        // That stands in the database.
        world.restart().await;
        let [bob, carol] = [("bob@x", 20), ("carol@x", 30)].map(|(name, n)| world.phone(name, n));
        world.at(GIVEN_BACK_AFTER * 5);
        for phone in [&bob, &carol] {
            world.follow(phone, None).await;
            world.withdraw(phone, epoch).await;
        }
        assert!(world.is_there().await, "way {way}");
        drop(ada);
    }
}

#[tokio::test]
async fn rly_6_a_group_is_withdrawn_after_a_restart_and_at_a_later_epoch() {
    let (mut world, [ada, ..]) = begun().await;
    world.step(&ada, 0).await;
    // Another device of the same person is nobody else.
    world.follow(&world.phone("ada@x", 11), Some(1)).await;
    world.restart().await;
    let [mut ada, bob, carol] = [("ada@x", 10), ("bob@x", 20), ("carol@x", 30)].map(|(name, n)| world.phone(name, n));
    world.follow(&ada, Some(1)).await;
    world.follow(&bob, None).await;
    world.withdraw(&carol, 1).await;
    world.withdraw(&bob, 1).await;
    assert!(world.is_there().await, "who can come in has time to, and who does not follow is not asked");
    world.at(GIVEN_BACK_AFTER);
    assert!(world.desk.is_contested());
    world.desk.settle().await;
    assert!(!world.is_there().await, "what was said too early counts when it is time");
    assert_eq!(ada.news(), [GroupNews::Withdrawn]);
}

/// Rule RLY-6: everybody who was in a group has gone, and with them what those outside would need to come in. Who has only lost the
/// connection is waited for.
#[tokio::test]
async fn rly_6_a_group_that_everybody_has_left_is_withdrawn_by_those_outside() {
    for lost in [false, true] {
        let (world, [mut ada, mut bob, mut carol, dave]) = begun().await;
        world.step(&bob, 0).await;
        let epoch = 1;
        world.ask(&ada, GroupRequest::Attest { epoch, digest: digest(&info(1)) }).await;
        // Carol was let in, and what she was sent does not open without something that only they have.
        let welcome = welcoming(epoch, 1, vec![carol.you.clone()]);
        assert_eq!(world.ask(&ada, welcome).await, [accepted(2)]);
        world.at(GIVEN_BACK_AFTER * 3);
        world.withdraw(&carol, 2).await;
        world.withdraw(&dave, 2).await;
        assert!(world.is_there().await, "two are in it");
        for gone in [&ada, &bob] {
            match lost {
                true => world.board.disconnect(gone.you.device, gone.line),
                false => drop(world.ask(gone, GroupRequest::Unfollow).await),
            }
        }
        if lost {
            world.withdraw(&carol, 2).await;
            assert!(world.is_there().await && world.desk.is_contested(), "they may come back");
            world.at(GIVEN_BACK_AFTER * 4 + DESERTED_AFTER);
            world.desk.settle().await;
        } else {
            world.withdraw(&carol, 2).await;
        }
        assert!(!world.is_there().await, "lost: {lost}");
        assert_eq!(carol.news().last(), Some(&GroupNews::Withdrawn));
        // Nobody has to wait to begin another.
        world.follow(&bob, None).await;
        world.begin(&bob).await;
        bob.news();
        ada.news();
    }
}

/// The same where whoever began it is outside: its disk is older than its group, or gone.
#[tokio::test]
async fn rly_6_whoever_began_a_group_and_lost_it_gives_it_up_when_nobody_else_is_there() {
    let (world, [ada, bob, ..]) = begun().await;
    world.at(GIVEN_BACK_AFTER);
    let welcome = welcoming(0, 1, vec![bob.you.clone()]);
    assert_eq!(world.ask(&ada, welcome).await, [accepted(1)]);
    for name in ["bob@x", "carol@x", "dave@x"] {
        let gone = world.phone(name, 20);
        world.follow(&gone, None).await;
        world.ask(&gone, GroupRequest::Unfollow).await;
    }
    drop(bob);
    let mut ada = world.phone("ada@x", 10);
    world.follow(&ada, None).await;
    world.withdraw(&ada, 1).await;
    assert!(!world.is_there().await);
    assert_eq!(ada.news().last(), Some(&GroupNews::Withdrawn));
    // Whoever has lost one waits a little, so that somebody else is first.
    let later = |wait: Duration| {
        // A begun millisecond is a whole one.
        let after_ms = u32::try_from(wait.as_millis()).unwrap() + 1;
        GroupNews::Refused { number: 5, why: Denied::Later, after_ms }
    };
    assert_eq!(world.ask(&ada, create()).await, [later(DESERTED_BAN)]);
    world.at(GIVEN_BACK_AFTER + DESERTED_BAN);
    world.begin(&ada).await;
}

/// A word about a group that is gone says nothing about the next one.
#[tokio::test]
async fn rly_6_what_is_said_of_a_withdrawn_group_comes_too_late_for_the_next() {
    let (world, [ada, bob, carol, dave]) = begun().await;
    let of = |junk: &[u8]| undertone_keys::digest::sha256(&[junk]);
    world.at(GIVEN_BACK_AFTER);
    world.withdraw_of(&bob, 0, Some(of(&info(0)))).await;
    world.withdraw_of(&carol, 0, Some(of(&info(0)))).await;
    assert!(!world.is_there().await);
    let next = testing::group_info(&CALL, 0, &tree(7), b"next");
    let create = GroupRequest::Create { info: next.clone(), tree: TreePatch::between(&Tree::default(), &tree(7)) };
    assert_eq!(world.ask(&dave, create).await, [accepted(0)]);
    world.at(GIVEN_BACK_AFTER * 3);
    for late in [&ada, &bob, &carol] {
        world.withdraw_of(late, 0, Some(of(&info(0)))).await;
    }
    assert!(world.is_there().await);
    for again in [&bob, &carol] {
        world.withdraw_of(again, 0, Some(of(&next))).await;
    }
    assert!(!world.is_there().await);
}

/// Whoever was in a group that is gone says nothing by that about the next one, and whoever began it does not outrun those outside.
#[tokio::test]
async fn rly_6_who_was_in_a_withdrawn_group_keeps_nobody_out_of_the_next() {
    let (world, [ada, bob, carol, dave]) = begun().await;
    world.at(GIVEN_BACK_AFTER);
    world.withdraw(&bob, 0).await;
    world.withdraw(&carol, 0).await;
    let junk = testing::group_info(&CALL, 0, &tree(7), b"junk");
    let create = GroupRequest::Create { info: junk, tree: TreePatch::between(&Tree::default(), &tree(7)) };
    assert_eq!(world.ask(&dave, create).await, [accepted(0)]);
    world.follow(&ada, Some(0)).await;
    world.ask(&ada, GroupRequest::Attest { epoch: 0, digest: digest(&info(0)) }).await;
    world.at(GIVEN_BACK_AFTER * 3);
    world.withdraw(&bob, 0).await;
    let patch = TreePatch::between(&tree(7), &tree(1));
    let onwards =
        GroupRequest::Commit { epoch: 0, commit: bytes_of(0, 9), welcomes: vec![], info: info(1), tree: patch };
    assert_eq!(world.ask(&dave, onwards).await, [accepted(1)]);
    assert!(world.is_there().await, "one of three");
    world.withdraw(&carol, 0).await;
    assert!(!world.is_there().await);
}

/// Who only listens in a room with an audience has no part in its group, and so nothing to say about it (rule GRP-9).
#[tokio::test]
async fn grp_9_the_delivery_service_is_not_for_the_audience() {
    let mut world = World::by(Clock::by_hand(NOW), ample()).await;
    world.list_with_audience("ada@x", "bob@x").await;
    let (ada, bob) = (world.phone("ada@x", 10), world.phone("bob@x", 20));
    for request in [
        GroupRequest::Follow { have: None },
        create(),
        commit(0, 2),
        GroupRequest::Attest { epoch: 0, digest: digest(&info(0)) },
        GroupRequest::Reject { epoch: 0 },
        GroupRequest::Withdraw { epoch: 0, born: None },
        GroupRequest::Info,
    ] {
        assert_eq!(world.ask(&bob, request.clone()).await, [refused(Denied::NotYours)], "{request:?}");
    }
    world.begin(&ada).await;
    assert!(world.desk.tree(&bob.you.user, (ROOM, CALL), None).await.is_err());
    let welcome = welcoming(0, 1, vec![bob.you.clone()]);
    assert_eq!(world.ask(&ada, welcome).await, [refused(Denied::NotYours)]);
    world.step(&ada, 0).await;
}
