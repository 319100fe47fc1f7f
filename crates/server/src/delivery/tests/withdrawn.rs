//! Groups that were begun with what nobody can come into (rule RLY-6).

use undertone_keys::Time;
use undertone_protocol::limits::{GIVEN_BACK_AFTER, GIVEN_BACK_BAN};

use super::*;

impl World {
    async fn withdraw(&self, phone: &Phone, epoch: u64) {
        assert_eq!(self.ask(phone, GroupRequest::Withdraw { epoch }).await, []);
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
    world.withdraw(&bob, 0).await;
    world.withdraw(&bob, 0).await;
    world.withdraw(&world.phone("bob@x", 21), 0).await;
    assert!(world.is_there().await, "one of three, however often and with whatever device");
    world.withdraw(&carol, 1).await;
    assert!(world.is_there().await, "of another epoch");
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
    world.follow(&carol, Some(0)).await;
    world.at(GIVEN_BACK_AFTER * 9 + GIVEN_BACK_BAN);
    world.withdraw(&ada, 0).await;
    world.withdraw(&dave, 0).await;
    assert!(world.is_there().await, "this one has somebody in it");
}

#[tokio::test]
async fn rly_6_a_group_that_somebody_has_come_into_is_withdrawn_by_nobody() {
    for way in 0..3 {
        let (mut world, [ada, bob, carol, dave]) = begun().await;
        match way {
            0 => drop(world.follow(&dave, Some(0)).await),
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
    world.withdraw(&ada, 1).await;
    assert!(world.is_there().await, "it is not for whoever began it to say");
    world.withdraw(&bob, 1).await;
    assert!(!world.is_there().await);
    assert_eq!(ada.news(), [GroupNews::Withdrawn]);
}
