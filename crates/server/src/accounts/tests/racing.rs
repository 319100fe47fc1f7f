//! Changes that meet at the desk, come too late, or are cut off in the middle.

use std::future::{Future, poll_fn};
use std::pin::pin;
use std::task::Poll;

use undertone_keys::WallTime;
use undertone_keys::device_list::DeviceList;
use undertone_keys::testing::let_in;
use undertone_protocol::rest::{Bytes, ChangeDevices};
use undertone_transparency::answer::Found;

use super::super::AccountError;
use super::world::{Machine, Person, World, list_of};
use crate::signal::wall_time;

/// More awaits than any change of the desk's has.
const MOST_AWAITS: usize = 400;

/// A device more, let in by the first one.
async fn grow(world: &World, ada: &Person) -> Machine {
    let (machine, list) = (Machine::new(), world.list(&ada.user).await);
    let consented = let_in(&ada.machine.identity, machine.record(&ada.user));
    let grown = list.with(&ada.account, consented.sign(&machine.identity)).unwrap();
    world.enrol(&machine, world.login(ada).await.unwrap(), &grown, None).await.unwrap();
    machine
}

/// What the directory shows to somebody who knows nothing.
async fn shown(world: &World, ada: &Person) -> DeviceList {
    let answer = world.desk.prove(&ada.user, 0, 0).await.unwrap();
    let Found::Present { lists, .. } = answer.found else { panic!("absent") };
    list_of(lists.last().unwrap(), &ada.user)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn id_2_of_two_changes_at_the_same_moment_one_is_taken_and_the_other_is_told() {
    let world = World::new().await;
    for round in 0..8 {
        let (ada, _) = world.register(&format!("ada{round}")).await;
        let (phone, tablet) = (grow(&world, &ada).await, grow(&world, &ada).await);
        let known = world.list(&ada.user).await;
        // Both have logged in, and both go on from the same list.
        let (here, there) = (world.login(&ada).await.unwrap(), world.login(&ada).await.unwrap());
        let without_phone = known.revoke(&ada.account, phone.id()).unwrap();
        let without_tablet = known.revoke(&ada.account, tablet.id()).unwrap();
        let (one, other) =
            tokio::join!(world.change(here, &without_phone, None), world.change(there, &without_tablet, None));
        let (taken, left) = match (&one, &other) {
            (Ok(()), Err(AccountError::BadList)) => (&without_phone, tablet.id()),
            (Err(AccountError::BadList), Ok(())) => (&without_tablet, phone.id()),
            both => panic!("round {round}: {both:?}"),
        };
        assert_eq!(world.list(&ada.user).await.hash(), taken.hash());
        assert_eq!(shown(&world, &ada).await.hash(), taken.hash());
        // Whoever was told looks once more, and goes on from there.
        let again = taken.revoke(&ada.account, left).unwrap();
        world.change(world.login(&ada).await.unwrap(), &again, None).await.unwrap();
        assert_eq!(shown(&world, &ada).await.hash(), again.hash());
    }
    world.close().await;
}

#[tokio::test]
async fn id_7_who_keeps_an_account_in_its_last_minute_is_told_that_it_is_too_late() {
    let world = World::new().await;
    let (old, enrolled) = world.register("ada").await;
    let token = world.admin_anew(&old.user).await;
    let new = Person { passphrase: b"a new beginning".to_vec(), ..Person::new(old.user.clone()) };
    let effective = world.registers(&new, Some(&token)).await.unwrap().effective.unwrap();
    let before = world.list(&old.user).await;
    let logged_in = world.login(&old).await.unwrap();
    let kept = before.keep(&old.account, &list_of(&logged_in.announced.as_ref().unwrap().0, &old.user)).unwrap();
    let keep = async |at: u64| {
        let exchange = world.login(&old).await.unwrap().exchange;
        let change = ChangeDevices { exchange, list: Bytes(kept.to_bytes()), passphrase: None, passphrase_off: false };
        world.desk.change(change, None, WallTime::from_unix(at)).await
    };
    // The list that keeps it has to stand in the log before the account begins anew.
    for late in [effective - 60, effective - 1, effective, effective + 1_000] {
        assert!(matches!(keep(late).await, Err(AccountError::TooLate)), "{late} of {effective}");
    }
    assert!(world.token(&enrolled).await.is_some(), "nothing has changed yet");
    keep(effective - 61).await.unwrap();
    assert_eq!(shown(&world, &old).await.hash(), kept.hash());
    assert_eq!(world.desk.begin_anew(WallTime::from_unix(effective), wall_time()).await.unwrap(), 0);
    world.close().await;
}

/// Goes on with `change` until it has waited so often, and gives it up then, as a server does that ends.
async fn cut_off<F: Future>(change: F, awaits: usize) -> Option<F::Output> {
    let (mut change, mut waited) = (pin!(change), 0);
    poll_fn(|context| match change.as_mut().poll(context) {
        Poll::Ready(done) => Poll::Ready(Some(done)),
        Poll::Pending if waited == awaits => Poll::Ready(None),
        Poll::Pending => {
            waited += 1;
            Poll::Pending
        }
    })
    .await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn id_2_a_change_that_is_cut_off_anywhere_is_whole_or_can_be_made_again() {
    let mut world = World::new().await;
    let (mut taken, mut lost) = (0, 0);
    for awaits in 0..MOST_AWAITS {
        let (ada, _) = world.register(&format!("ada{awaits}")).await;
        let phone = grow(&world, &ada).await;
        let known = world.list(&ada.user).await;
        let revoked = known.revoke(&ada.account, phone.id()).unwrap();
        let logged_in = world.login(&ada).await.unwrap();
        let ended = cut_off(world.change(logged_in, &revoked, None), awaits).await;
        // The server ends there and starts again, and publishes what it has before anybody asks.
        world = world.restarted().await;
        let now = world.list(&ada.user).await;
        assert!(now.hash() == known.hash() || now.hash() == revoked.hash());
        assert_eq!(shown(&world, &ada).await.hash(), now.hash(), "cut off after {awaits}: stored and shown are one");
        if now.hash() == revoked.hash() {
            taken += 1;
            // The effect too: whoever was revoked is kept out by a relay that has just started.
            assert_eq!(world.desk.revoke_again(wall_time()).await.unwrap(), taken + lost);
        } else {
            lost += 1;
            world.change(world.login(&ada).await.unwrap(), &revoked, None).await.unwrap();
        }
        assert_eq!(shown(&world, &ada).await.hash(), revoked.hash());
        if let Some(ended) = ended {
            ended.unwrap();
            break;
        }
    }
    assert!(taken > 0 && lost > 0, "{taken} were taken, {lost} were lost");
    world.close().await;
}
