//! Epochs that were won by a commit which members cannot take (rule RLY-6).

use undertone_keys::Time;
use undertone_protocol::limits::{GIVEN_BACK_AFTER, GIVEN_BACK_BAN};

use super::*;

/// Ada, Bob, Carol and Dave on the list of a room whose group Ada has begun, and time that is set by hand.
async fn four() -> World {
    let mut world = World::by(Clock::by_hand(NOW), ample()).await;
    world.list(&["ada@x", "bob@x", "carol@x", "dave@x"]).await;
    world
}

impl World {
    fn pass(&self, to: Duration) {
        self.clock.set(Time::ZERO + to);
    }

    async fn reject(&self, phone: &Phone, epoch: u64) {
        assert_eq!(self.ask(phone, GroupRequest::Reject { epoch }).await, []);
    }

    async fn epoch(&self) -> u64 {
        self.store.group(CALL).await.unwrap().unwrap().epoch
    }

    /// These follow from this epoch on.
    async fn all_follow(&self, phones: [&Phone; 4], have: u64) {
        for phone in phones {
            self.follow(phone, Some(have)).await;
        }
    }
}

fn phones(world: &World) -> [Phone; 4] {
    [("ada@x", 10), ("bob@x", 20), ("carol@x", 30), ("dave@x", 40)].map(|(name, n)| world.phone(name, n))
}

fn junk(epoch: u64, to: &Phone) -> GroupRequest {
    welcoming(epoch, 66, vec![to.you.clone()])
}

/// All were in epoch 1, so that the commit before is not kept.
fn given_back() -> GroupNews {
    GroupNews::GivenBack { epoch: 1, oldest: 1, commit: undertone_keys::digest::sha256(&[&bytes_of(1, 66)]) }
}

/// Two of four cannot take what Dave brought: everybody is in the epoch again that it ended, and nothing of it is left.
#[tokio::test]
async fn rly_6_an_epoch_whose_commit_too_many_cannot_take_is_given_back() {
    let world = four().await;
    let [mut ada, mut bob, mut carol, mut dave] = phones(&world);
    let mut new = world.phone("carol@x", 31);
    world.begin(&ada).await;
    world.step(&ada, 0).await;
    world.all_follow([&ada, &bob, &carol, &dave], 1).await;
    world.follow(&new, None).await;
    let before = world.store.group(CALL).await.unwrap().unwrap();
    assert_eq!(world.ask(&dave, junk(1, &new)).await, [accepted(2)]);
    for phone in [&mut ada, &mut bob, &mut carol] {
        assert_eq!(phone.news(), [news_of(1, 66)]);
    }
    assert_eq!(new.news().len(), 2, "whoever follows is told, and welcomed");
    world.reject(&ada, 1).await;
    world.reject(&bob, 1).await;
    world.desk.settle().await;
    assert_eq!((world.epoch().await, ada.news()), (2, vec![]), "who can take it has time to say so");
    world.pass(GIVEN_BACK_AFTER);
    assert!(world.desk.is_contested());
    world.desk.settle().await;
    assert!(!world.desk.is_contested());
    for phone in [&mut ada, &mut bob, &mut carol, &mut dave, &mut new] {
        assert_eq!(phone.news(), [given_back()]);
    }
    let after = world.store.group(CALL).await.unwrap().unwrap();
    assert_eq!((after.epoch, &after.info, &after.nodes), (1, &before.info, &before.nodes));
    assert_eq!((after.oldest, after.history, after.opened), (1, vec![], None));
    assert_eq!(world.store.welcome_for(CALL, &new.you).await.unwrap(), None);
    assert_eq!(world.desk.tree(&bob.you.user, (ROOM, CALL), None).await.unwrap(), tree(1).encode());
    assert!(world.desk.tree(&bob.you.user, (ROOM, CALL), Some(2)).await.is_err());
    let shown = GroupNews::Info { number: 5, epoch: 1, attested: 1, disputed: 0, info: info(1).into() };
    assert_eq!(world.ask(&bob, GroupRequest::Info).await, [shown], "Ada has attested it");
    assert_eq!(world.desk.delivered().given_back, 1);

    // Whoever brought it waits, with whatever device; the same bytes come in no more.
    assert_eq!(world.ask(&dave, junk(1, &new)).await, [refused(Denied::Malformed)]);
    assert_eq!(world.ask(&bob, commit(1, 66)).await, [refused(Denied::Malformed)]);
    assert!(is_later(&world.ask(&dave, commit(1, 67)).await));
    assert!(is_later(&world.ask(&world.phone("dave@x", 41), commit(1, 67)).await));
    world.pass(GIVEN_BACK_AFTER + GIVEN_BACK_BAN - Duration::from_millis(1));
    assert!(is_later(&world.ask(&dave, commit(1, 67)).await));
    world.step(&bob, 1).await;
    assert_eq!(world.ask(&dave, junk(1, &new)).await, [refused(Denied::Lost), news_of(1, 0)]);
    world.step(&dave, 2).await;
    assert_eq!(carol.news(), [news_of(1, 0), news_of(2, 0)]);
}

/// Whoever has taken it, and is not of the one who brought it, keeps it there for all.
#[tokio::test]
async fn rly_6_a_commit_that_somebody_has_taken_stays() {
    let world = four().await;
    let [ada, bob, carol, dave] = phones(&world);
    world.begin(&ada).await;
    world.all_follow([&ada, &bob, &carol, &dave], 0).await;
    let later = |n: u32| world.pass(n * GIVEN_BACK_AFTER);
    world.step(&dave, 0).await;
    world.ask(&carol, GroupRequest::Attest { epoch: 1, digest: digest(&info(1)) }).await;
    world.reject(&ada, 0).await;
    world.reject(&bob, 0).await;
    later(2);
    world.desk.settle().await;
    assert_eq!(world.epoch().await, 1, "Carol attests");
    world.step(&dave, 1).await;
    world.follow(&carol, Some(2)).await;
    world.reject(&ada, 1).await;
    later(4);
    world.reject(&bob, 1).await;
    assert_eq!(world.epoch().await, 2, "Carol follows from there");
    // Dave's own devices say nothing about it, either way.
    world.step(&dave, 2).await;
    let other = world.phone("dave@x", 41);
    world.follow(&other, Some(3)).await;
    world.ask(&other, GroupRequest::Attest { epoch: 3, digest: digest(&info(3)) }).await;
    world.reject(&ada, 2).await;
    later(6);
    world.reject(&bob, 2).await;
    assert_eq!(world.epoch().await, 2);
}

/// Half of the people: not of the devices, not of those who are away, and neither of whoever brought it nor of whom it lets in.
#[tokio::test]
async fn rly_6_half_of_the_people_who_could_take_a_commit_give_it_back() {
    let mut world = four().await;
    world.list(&["ada@x", "bob@x", "carol@x", "dave@x", "eve@x"]).await;
    let [ada, bob, carol, dave] = phones(&world);
    let (more, new, eve) = (world.phone("ada@x", 11), world.phone("eve@x", 51), world.phone("eve@x", 50));
    world.begin(&dave).await;
    world.all_follow([&ada, &bob, &carol, &dave], 0).await;
    world.follow(&more, Some(0)).await;
    world.follow(&new, None).await;
    world.follow(&eve, None).await;
    assert_eq!(world.ask(&dave, junk(0, &new)).await, [accepted(1)]);
    world.pass(GIVEN_BACK_AFTER);
    for phone in [&ada, &more, &new, &eve, &dave, &world.phone("bob@x", 21)] {
        world.reject(phone, 0).await;
        world.reject(phone, 1).await;
    }
    world.desk.settle().await;
    assert_eq!(world.epoch().await, 1, "one of three people");
    // Two of three, or one of two when one has gone.
    world.board.disconnect(bob.you.device, bob.line);
    world.desk.expire(world.clock.now(), NOW).await.unwrap();
    world.desk.settle().await;
    assert_eq!(world.epoch().await, 0);
}

/// One step and no more.
#[tokio::test]
async fn rly_6_an_epoch_before_one_that_was_given_back_stays_ended() {
    let world = four().await;
    let [ada, bob, carol, dave] = phones(&world);
    world.begin(&ada).await;
    world.all_follow([&ada, &bob, &carol, &dave], 0).await;
    world.step(&dave, 0).await;
    assert_eq!(world.ask(&carol, commit(1, 66)).await, [accepted(2)]);
    let all_reject = async |epoch, n: u32| {
        world.pass(n * GIVEN_BACK_AFTER);
        world.reject(&ada, epoch).await;
        world.reject(&bob, epoch).await;
        world.desk.settle().await;
        world.epoch().await
    };
    assert_eq!(all_reject(0, 1).await, 2, "it is not the newest");
    assert_eq!(all_reject(1, 2).await, 1);
    assert_eq!(all_reject(0, 3).await, 1);
    assert_eq!(all_reject(1, 4).await, 1, "nothing ended it");
    assert_eq!(world.ask(&bob, commit(1, 67)).await, [accepted(2)]);
    assert_eq!(world.ask(&bob, GroupRequest::Reject { epoch: u64::MAX }).await, []);
}

/// What is needed for it is on the disk; what was said of the commit is not, and is said anew.
#[tokio::test]
async fn rly_6_an_epoch_is_given_back_after_a_restart() {
    let mut world = four().await;
    let [ada, bob, carol, dave] = phones(&world);
    world.begin(&ada).await;
    world.step(&ada, 0).await;
    world.all_follow([&ada, &bob, &carol, &dave], 1).await;
    let (before, larger) = (world.store.group(CALL).await.unwrap().unwrap(), testing::tree(9, 77));
    let info = testing::group_info(&CALL, 2, &larger, b"junk");
    let patch = TreePatch::between(&tree(1), &larger);
    let welcomes = vec![Welcoming { to: vec![address("dave@x", 41)], welcome: testing::welcome(&[1; 30]) }];
    let request = GroupRequest::Commit { epoch: 1, commit: bytes_of(1, 66), welcomes, info, tree: patch };
    assert_eq!(world.ask(&dave, request).await, [accepted(2)]);
    world.reject(&ada, 1).await;
    world.reject(&bob, 1).await;
    world.restart().await;
    world.pass(3 * GIVEN_BACK_AFTER);
    world.desk.settle().await;
    let [mut ada, mut bob, carol, dave] = phones(&world);
    world.all_follow([&ada, &bob, &carol, &dave], 1).await;
    assert_eq!(world.epoch().await, 2);
    world.reject(&ada, 1).await;
    world.reject(&bob, 1).await;
    world.pass(4 * GIVEN_BACK_AFTER);
    world.desk.settle().await;
    assert_eq!((ada.news(), bob.news()), (vec![given_back()], vec![given_back()]));
    let after = world.store.group(CALL).await.unwrap().unwrap();
    assert_eq!((after.epoch, &after.info, &after.nodes), (1, &before.info, &before.nodes));
    assert_eq!(world.ask(&dave, commit(1, 66)).await, [refused(Denied::Malformed)]);
    world.step(&ada, 1).await;
    assert_eq!(bob.news(), [news_of(1, 0)]);
    // Killed when it was on the disk, and nobody was told: who follows again hears where the group is.
    world.store.give_back(CALL, 1, undertone_keys::digest::sha256(&[&bytes_of(1, 0)])).await.unwrap();
    world.restart().await;
    let state = GroupNews::State { number: 5, oldest: 1, epoch: Some(1), seen: None, born: None };
    assert_eq!(world.follow(&phones(&world)[0], Some(2)).await, [state]);
}

/// A device that comes with less than it has shown has an old store, and is told so.
#[tokio::test]
async fn sto_3_a_device_is_told_the_newest_epoch_in_which_it_has_shown_to_be() {
    let mut world = four().await;
    let [ada, bob, carol, dave] = phones(&world);
    assert_eq!(world.seen(&ada, None).await, None);
    world.begin(&ada).await;
    for epoch in 0..3 {
        world.step(&ada, epoch).await;
    }
    assert_eq!(world.seen(&ada, Some(1)).await, Some(2), "it has ended that one");
    assert_eq!(world.seen(&bob, Some(1)).await, None);
    assert_eq!(world.seen(&bob, Some(0)).await, Some(1));
    world.ask(&bob, GroupRequest::Attest { epoch: 3, digest: digest(&info(3)) }).await;
    assert_eq!(world.seen(&bob, Some(1)).await, Some(3));
    assert_eq!(world.seen(&carol, Some(9)).await, None);
    assert_eq!(world.seen(&carol, None).await, None, "nobody has shown to be where the group was not");
    // What is given back nobody has been in.
    for phone in [&ada, &bob, &dave] {
        world.follow(phone, Some(3)).await;
    }
    world.step(&dave, 3).await;
    assert_eq!(world.seen(&dave, Some(4)).await, Some(3));
    world.pass(GIVEN_BACK_AFTER);
    world.reject(&ada, 3).await;
    assert_eq!(world.epoch().await, 3);
    assert_eq!(world.seen(&dave, Some(3)).await, Some(3));
    assert_eq!(world.ask(&ada, commit(3, 1)).await, [accepted(4)]);
    // Of a restart what is left is what stands in the commits that are kept.
    world.restart().await;
    let [ada, bob, ..] = phones(&world);
    assert_eq!((world.seen(&ada, Some(1)).await, world.seen(&bob, Some(1)).await), (Some(3), None));
}
