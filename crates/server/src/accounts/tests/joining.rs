//! Who joins an account, and who leaves it (rule ID-6).

use undertone_keys::consent::Consent;
use undertone_keys::record::DeviceRecord;
use undertone_keys::testing::let_in;
use undertone_keys::{UserId, WallTime, cbor};
use undertone_protocol::rest::{AwaitConsent, Bytes, Consented, GiveConsent};
use undertone_protocol::signal::{Reason, ToDevice};

use super::super::AccountError;
use super::world::{Machine, World};
use crate::signal::wall_time;

#[tokio::test]
async fn id_6_nobody_joins_by_the_passphrase_alone_while_a_device_is_there() {
    let world = World::new().await;
    let (ada, first) = world.register("ada").await;
    let mut line = world.connect(&ada.user, &ada.machine);
    let list = world.list(&ada.user).await;
    let other = Machine::new();

    // The passphrase opens the account and adds nobody beside the device that is there.
    let logged_in = world.login(&ada).await.unwrap();
    assert!(
        list.with(&ada.account, other.record(&ada.user).sign(&other.identity)).is_err(),
        "nor does a client make such"
    );
    let consented = let_in(&ada.machine.identity, other.record(&ada.user));
    let grown = list.with(&ada.account, consented.sign(&other.identity)).unwrap();
    let second = world.enrol(&other, logged_in, &grown, None).await.unwrap();
    assert!(world.token(&second).await.is_some() && world.token(&first).await.is_some());
    assert_eq!(line.recv().await, Some(ToDevice::DevicesChanged));

    // With nobody's consent all others go: token and line at once, and the relay is told again after a start.
    let third = Machine::new();
    let logged_in = world.login(&ada).await.unwrap();
    let alone = grown.with_alone(&ada.account, third.record(&ada.user).sign(&third.identity)).unwrap();
    let only = world.enrol(&third, logged_in, &alone, None).await.unwrap();
    assert!(world.token(&first).await.is_none() && world.token(&second).await.is_none());
    assert!(world.token(&only).await.is_some());
    assert!(matches!(line.recv().await, Some(ToDevice::Closing { reason: Reason::Revoked, .. })));
    let world = world.restarted().await;
    assert_eq!(world.desk.revoke_again(wall_time()).await.unwrap(), 2);

    // A lost answer: the same list again, and another token in the place of the one before.
    let logged_in = world.login(&ada).await.unwrap();
    let again = world.enrol(&third, logged_in, &alone, None).await.unwrap();
    assert!(world.token(&only).await.is_none() && world.token(&again).await.is_some());
    world.close().await;
}

#[tokio::test]
async fn id_6_a_consent_is_kept_if_a_present_device_gives_it() {
    let world = World::new().await;
    let (ada, enrolled) = world.register("ada").await;
    let (bob, bobs) = world.register("bob").await;
    let (token, bobs) = (world.token(&enrolled).await.unwrap(), world.token(&bobs).await.unwrap());
    let newcomer = Machine::new();
    let consent = |user: &UserId, by: &Machine| {
        let consent = Consent::new(user.clone(), by.id(), newcomer.id(), WallTime::from_unix(1));
        GiveConsent { consent: Bytes(cbor::encode(&consent.sign(&by.identity))) }
    };
    // Not for another's account, not in another's name, and nothing that is none.
    for (giver, given) in [
        (&bobs, consent(&ada.user, &ada.machine)),
        (&bobs, consent(&ada.user, &bob.machine)),
        (&token, consent(&ada.user, &bob.machine)),
        (&token, consent(&bob.user, &ada.machine)),
        (&token, GiveConsent { consent: Bytes(vec![1]) }),
    ] {
        let refused = world.desk.give_consent(giver, given).await;
        assert!(matches!(refused, Err(AccountError::Malformed(_))), "{refused:?}");
    }

    // Who waits has logged in.
    let nobody = AwaitConsent { exchange: "0".repeat(32), device: newcomer.id().to_string() };
    assert!(matches!(world.desk.await_consent(nobody).await, Err(AccountError::ExchangeOver)));
    let logged_in = world.login(&ada).await.unwrap();
    let waits = AwaitConsent { exchange: logged_in.exchange.clone(), device: newcomer.id().to_string() };
    let given = consent(&ada.user, &ada.machine);
    let (consented, ()) = tokio::join!(world.desk.await_consent(waits), async {
        tokio::time::sleep(std::time::Duration::from_millis(20)).await;
        world.desk.give_consent(&token, given.clone()).await.unwrap();
    });
    assert_eq!(consented.unwrap(), Consented { consent: Some(given.consent.clone()) });

    // The exchange goes on with it.
    let signed = cbor::decode(&given.consent.0).unwrap();
    let record = DeviceRecord { consent: Some(signed), ..newcomer.record(&ada.user) };
    let list = world.list(&ada.user).await.with(&ada.account, record.sign(&newcomer.identity)).unwrap();
    assert!(world.enrol(&newcomer, logged_in, &list, None).await.is_ok());

    // A device that was revoked gives none.
    let revoked = list.revoke(&ada.account, ada.machine.id()).unwrap();
    world.change(world.login(&ada).await.unwrap(), &revoked, None).await.unwrap();
    let refused = world.desk.give_consent(&token, given).await;
    assert!(matches!(refused, Err(AccountError::Malformed(_))));
    world.close().await;
}

#[tokio::test]
async fn id_6_a_change_revokes_and_renames_and_does_nothing_else() {
    let world = World::new().await;
    let (ada, enrolled) = world.register("ada").await;
    let list = world.list(&ada.user).await;

    // Another name for the device, and nothing else of its record.
    let record = DeviceRecord { version: 2, label: "kitchen".into(), ..ada.machine.record(&ada.user) };
    let renamed = list.with(&ada.account, record.sign(&ada.machine.identity)).unwrap();
    world.change(world.login(&ada).await.unwrap(), &renamed, None).await.unwrap();
    assert_eq!(world.list(&ada.user).await.records()[0].label, "kitchen");
    assert!(world.token(&enrolled).await.is_some());
    let other_key = Machine::new().record(&ada.user).agreement;
    let record = DeviceRecord { version: 3, agreement: other_key, ..ada.machine.record(&ada.user) };
    let rekeyed = renamed.with(&ada.account, record.sign(&ada.machine.identity)).unwrap();
    let refused = world.change(world.login(&ada).await.unwrap(), &rekeyed, None).await;
    assert!(matches!(refused, Err(AccountError::BadList)), "its key is proven when it joins");

    // Nobody comes in by that door, with a consent or anew.
    let other = Machine::new();
    let consented = let_in(&ada.machine.identity, other.record(&ada.user));
    let grown = renamed.with(&ada.account, consented.sign(&other.identity)).unwrap();
    let refused = world.change(world.login(&ada).await.unwrap(), &grown, None).await;
    assert!(matches!(refused, Err(AccountError::BadList)));
    let stranger = super::world::Person::new(ada.user.clone());
    let signed = DeviceRecord { version: 3, ..ada.machine.record(&ada.user) }.sign(&ada.machine.identity);
    let anew = undertone_keys::device_list::DeviceList::anew(&stranger.account, &renamed, signed).unwrap();
    let refused = world.change(world.login(&ada).await.unwrap(), &anew, None).await;
    assert!(matches!(refused, Err(AccountError::BadList)));
    let refused = world.enrol(&ada.machine, world.login(&ada).await.unwrap(), &anew, None).await;
    assert!(matches!(refused, Err(AccountError::BadList)));

    // Twice the same is one change: an answer may be lost. Nothing is taken back.
    let revoked = renamed.revoke(&ada.account, ada.machine.id()).unwrap();
    for _ in 0..2 {
        world.change(world.login(&ada).await.unwrap(), &revoked, None).await.unwrap();
    }
    assert!(world.token(&enrolled).await.is_none());
    // One that was not put out, since the request was cut off or the server ended, is when it is asked for again.
    let mut line = world.connect(&ada.user, &ada.machine);
    world.change(world.login(&ada).await.unwrap(), &revoked, None).await.unwrap();
    assert!(matches!(line.recv().await, Some(ToDevice::Closing { reason: Reason::Revoked, .. })));
    let refused = world.change(world.login(&ada).await.unwrap(), &renamed, None).await;
    assert!(matches!(refused, Err(AccountError::BadList)));
    world.close().await;
}

/// A list that names somebody else's key as a new device's is one that its account key signs in good faith, and whoever calls
/// that device would agree with the other: the server takes none without a proof that the device holds it.
#[tokio::test]
async fn id_2_key_without_possession_joins_no_account() {
    let world = World::new().await;
    let (ada, _) = world.register("ada").await;
    let (newcomer, carol) = (Machine::new(), Machine::new());
    let theirs = carol.record(&ada.user).agreement;
    let record = DeviceRecord { agreement: theirs, ..newcomer.record(&ada.user) };
    let signed = let_in(&ada.machine.identity, record).sign(&newcomer.identity);
    let grown = world.list(&ada.user).await.with(&ada.account, signed).unwrap();
    let logged_in = world.login(&ada).await.unwrap();
    let refused = world.enrol(&newcomer, logged_in, &grown, None).await;
    assert!(matches!(refused, Err(AccountError::Malformed(_))));
    assert_eq!(world.list(&ada.user).await.version(), 1);
}
