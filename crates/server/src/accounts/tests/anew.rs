//! An account begins anew (rule ID-7).

use undertone_keys::consent::Consent;
use undertone_keys::{WallTime, cbor};
use undertone_protocol::rest::{Bytes, GiveConsent};
use undertone_protocol::signal::{Reason, ToDevice};
use undertone_transparency::answer::Found;
use undertone_transparency::leaf::Leaf;
use undertone_transparency::log::verify_inclusion;
use undertone_transparency::verify::ANEW;

use super::super::AccountError;
use super::world::{Machine, Person, World, list_of};
use crate::signal::wall_time;

fn stranger(like: &Person) -> Person {
    Person { passphrase: b"a new beginning".to_vec(), ..Person::new(like.user.clone()) }
}

#[tokio::test]
async fn id_7_an_announcement_waits_three_days_and_then_nothing_from_before_is_good() {
    let world = World::new().await;
    let (old, enrolled) = world.register("ada").await;
    let mut line = world.connect(&old.user, &old.machine);
    let new = stranger(&old);

    // Not without the operator's word, and not with one for somebody else.
    let (bob, _) = world.register("bob").await;
    let bobs = world.admin_anew(&bob.user).await;
    for token in ["nonsense", &bobs] {
        assert!(matches!(world.registers(&new, Some(token)).await, Err(AccountError::NoAnew)));
    }
    let token = world.admin_anew(&old.user).await;
    let announced = world.registers(&new, Some(&token)).await.unwrap();
    let effective = WallTime::from_unix(announced.effective.unwrap());
    assert!(announced.token.is_none() && effective > wall_time().plus(ANEW - 60));
    assert_eq!(line.recv().await, Some(ToDevice::DevicesChanged), "whoever is there hears of it at once");

    // The answer was lost: the same is announced again, to the same end.
    let again = world.registers(&new, Some(&token)).await.unwrap();
    assert_eq!(again.effective, announced.effective);
    // A second operator's word does not shorten it.
    let second = world.admin_anew(&old.user).await;
    assert!(matches!(world.registers(&stranger(&old), Some(&second)).await, Err(AccountError::Announced)));

    // Everything is as it was, and nothing else of the account changes.
    let list = world.list(&old.user).await;
    assert_eq!(list.account(), old.account.public());
    assert!(world.token(&enrolled).await.is_some());
    assert!(matches!(world.login(&new).await, Err(AccountError::WrongCredentials)));
    assert!(matches!(world.recover(&new, b"x").await, Err(AccountError::WrongRecovery)));
    let logged_in = world.login(&old).await.unwrap();
    let announcement = list_of(&logged_in.announced.as_ref().unwrap().0, &old.user);
    assert_eq!(announcement.begins_anew(), Some(old.account.public()));
    let revoked = list.revoke(&old.account, old.machine.id()).unwrap();
    assert!(matches!(world.change(logged_in, &revoked, None).await, Err(AccountError::Announced)));
    let phone = Machine::new();
    let alone = list.with_alone(&old.account, phone.record(&old.user).sign(&phone.identity)).unwrap();
    let refused = world.enrol(&phone, world.login(&old).await.unwrap(), &alone, None).await;
    assert!(matches!(refused, Err(AccountError::Announced)));
    let consent = Consent::new(old.user.clone(), old.machine.id(), phone.id(), WallTime::from_unix(1));
    let given = GiveConsent { consent: Bytes(cbor::encode(&consent.sign(&old.machine.identity))) };
    let refused = world.desk.give_consent(&world.token(&enrolled).await.unwrap(), given).await;
    assert!(matches!(refused, Err(AccountError::Announced)));

    // Not a second before, also after a restart; then once.
    let world = world.restarted().await;
    let before = WallTime::from_unix(effective.as_unix() - 1);
    assert_eq!(world.desk.begin_anew(before, wall_time()).await.unwrap(), 0);
    assert_eq!(world.desk.begin_anew(effective, wall_time()).await.unwrap(), 1);
    assert_eq!(world.desk.begin_anew(effective, wall_time()).await.unwrap(), 0);
    assert_eq!(world.list(&old.user).await.account(), new.account.public());
    assert!(world.token(&enrolled).await.is_none());
    // What was announced twice was told of twice.
    while let Some(message) = line.recv().await {
        match message {
            ToDevice::DevicesChanged => {}
            other => {
                assert!(matches!(other, ToDevice::Closing { reason: Reason::Revoked, .. }), "{other:?}");
                break;
            }
        }
    }
    assert_eq!(world.desk.revoke_again(wall_time()).await.unwrap(), 1);
    assert!(matches!(world.login(&old).await, Err(AccountError::WrongCredentials)));
    assert!(matches!(world.recover(&old, b"x").await, Err(AccountError::WrongRecovery)));
    // The new device logs in and has its token.
    let (logged_in, list) = (world.login(&new).await.unwrap(), world.list(&new.user).await);
    assert!(logged_in.announced.is_none());
    let enrolled = world.enrol(&new.machine, logged_in, &list, None).await.unwrap();
    assert!(world.token(&enrolled).await.is_some());
    world.close().await;
}

#[tokio::test]
async fn id_7_the_old_key_keeps_an_account_that_was_to_begin_anew() {
    let world = World::new().await;
    let (old, enrolled) = world.register("ada").await;
    let token = world.admin_anew(&old.user).await;
    let announced = world.registers(&stranger(&old), Some(&token)).await.unwrap();

    // Also by whoever has lost the passphrase: with the recovery key, which sets another on the way.
    let (logged_in, passphrase) = world.recover(&old, b"remembered").await.unwrap();
    let before = world.list(&old.user).await;
    let announcement = list_of(&logged_in.announced.as_ref().unwrap().0, &old.user);
    let kept = before.keep(&old.account, &announcement).unwrap();
    world.change(logged_in, &kept, Some(passphrase)).await.unwrap();
    assert_eq!((world.list(&old.user).await, world.token(&enrolled).await.is_some()), (kept.clone(), true));
    let old = Person { passphrase: b"remembered".to_vec(), ..old };
    let logged_in = world.login(&old).await.unwrap();
    assert!(logged_in.announced.is_none());
    let late = WallTime::from_unix(announced.effective.unwrap());
    assert_eq!(world.desk.begin_anew(late, wall_time()).await.unwrap(), 0, "it is over");
    assert!(matches!(world.registers(&stranger(&old), Some(&token)).await, Err(AccountError::NoAnew)), "and used up");

    // The account goes on from there.
    let revoked = kept.revoke(&old.account, old.machine.id()).unwrap();
    world.change(logged_in, &revoked, None).await.unwrap();
    // Where no device may act any more, nobody has to be waited for.
    let (new, token) = (stranger(&old), world.admin_anew(&old.user).await);
    let begun = world.registers(&new, Some(&token)).await.unwrap();
    assert_eq!(begun.effective, None);
    assert!(world.token(&begun).await.is_some());
    assert_eq!(world.list(&new.user).await.account(), new.account.public());
    assert!(world.login(&new).await.is_ok());
    world.close().await;
}

#[tokio::test]
async fn id_7_an_answer_shows_who_was_there_before_and_when_it_was_announced() {
    let world = World::new().await;
    let (old, _) = world.register("ada").await;
    let token = world.admin_anew(&old.user).await;
    let announced = world.registers(&stranger(&old), Some(&token)).await.unwrap();
    // Others' epochs and leaves come behind it.
    world.register("bob").await;
    world.register("carol").await;
    for (known, versions) in [(0, &[1, 2][..]), (1, &[2]), (2, &[])] {
        let answer = world.desk.prove(&old.user, 0, known).await.unwrap();
        let Found::Present { lists, .. } = &answer.found else { panic!("{answer:?}") };
        let shown: Vec<u32> = lists.iter().map(|list| list_of(list, &old.user).version()).collect();
        assert_eq!(shown, versions);
        let Some(leaf) = answer.announced.as_ref() else {
            assert!(versions.is_empty(), "who knows the list knows when it was announced");
            continue;
        };
        let shown = world.desk.directory().shown();
        let checkpoint = shown.checkpoint.clone().verify(world.desk.directory().log_key()).unwrap();
        let parsed = Leaf::from_bytes(&leaf.leaf).unwrap();
        verify_inclusion(leaf.index, checkpoint.size(), &parsed.hash(), &leaf.inclusion.0, checkpoint.root()).unwrap();
        assert_eq!(parsed.time.plus(ANEW).as_unix(), announced.effective.unwrap());
    }
    let nothing = world.desk.directory().announced(u64::MAX, world.desk.directory().shown().size()).await.unwrap();
    assert_eq!(nothing, None);
    let beyond = world.desk.directory().announced(1, u64::MAX).await.unwrap();
    assert_eq!(beyond, None, "no further than what is shown");
    world.close().await;
}

/// Whoever has never seen an account that began anew twice in a row is shown who was there before the first time: without that
/// nothing says whether anybody was left to object.
#[tokio::test]
async fn id_7_who_was_there_before_every_announcement_is_shown_to_a_newcomer() {
    let world = World::new().await;
    let (old, _) = world.register("ada").await;
    let emptied = world.list(&old.user).await.revoke(&old.account, old.machine.id()).unwrap();
    world.change(world.login(&old).await.unwrap(), &emptied, None).await.unwrap();
    let token = world.admin_anew(&old.user).await;
    assert!(
        world.registers(&stranger(&old), Some(&token)).await.unwrap().token.is_some(),
        "nobody is left to wait for"
    );
    let token = world.admin_anew(&old.user).await;
    assert!(world.registers(&stranger(&old), Some(&token)).await.unwrap().token.is_none());
    let answer = world.desk.prove(&old.user, 0, 0).await.unwrap();
    let Found::Present { lists, .. } = answer.found else { panic!("absent") };
    let shown: Vec<_> = lists.iter().map(|list| list_of(list, &old.user)).collect();
    assert_eq!(shown.iter().map(|list| list.version()).collect::<Vec<_>>(), [2, 3, 4]);
    assert!(shown[0].begins_anew().is_none() && shown[1].begins_anew().is_some() && shown[2].begins_anew().is_some());
    assert!(answer.announced.is_some());
    world.close().await;
}
