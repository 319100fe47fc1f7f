//! Changing the passphrase, switching it off and on (rule ID-6), and places for whoever has a token (rule DOS-1).

use std::net::IpAddr;

use undertone_protocol::rest::{Bytes, ChangeDevices, LoginStart, Name};

use super::super::{AccountError, Asker};
use super::world::{HOME, Machine, Person, World};
use crate::config::Limits;
use crate::signal::wall_time;

/// A credential request, of whatever passphrase.
fn request(user: &undertone_keys::UserId) -> LoginStart {
    use opaque_ke::ClientLogin;
    use undertone_protocol::opaque::{Rng, Suite};
    let started = ClientLogin::<Suite>::start(&mut Rng(&mut super::super::rng()), b"a guess").unwrap();
    LoginStart { user: Name(user.clone()), request: Bytes(started.message.serialize().to_vec()) }
}

#[tokio::test]
async fn id_6_a_passphrase_that_is_switched_off_opens_nothing_and_the_recovery_key_switches_it_on() {
    let world = World::with(&Limits { logins_per_account: 50, ..Limits::default() }).await;
    let (ada, enrolled) = world.register("ada").await;
    let list = world.list(&ada.user).await;
    let under_way = world.login(&ada).await.unwrap();
    // Not by the passphrase.
    let refused = world.switch_off(world.login(&ada).await.unwrap(), &list).await;
    assert!(matches!(refused, Err(AccountError::NotRecovered)));
    let (logged_in, new) = world.recover(&ada, b"never set").await.unwrap();
    let both = ChangeDevices {
        exchange: logged_in.exchange,
        list: Bytes(list.to_bytes()),
        passphrase: Some(new),
        passphrase_off: true,
    };
    assert!(matches!(world.desk.change(both, None, wall_time()).await, Err(AccountError::Malformed(_))));
    let (logged_in, _) = world.recover(&ada, b"never set").await.unwrap();
    world.switch_off(logged_in, &list).await.unwrap();
    assert!(matches!(world.change(under_way, &list, None).await, Err(AccountError::ExchangeOver)));
    assert!(matches!(world.login(&ada).await, Err(AccountError::WrongCredentials)));
    assert!(world.token(&enrolled).await.is_some(), "a device that is there goes on");
    let account = crate::store::Accounts::account(&world.desk.store, &ada.user).await.unwrap().unwrap();
    assert_eq!((account.opaque.len(), account.by_passphrase.len()), (0, 0), "nothing is left to guess at");

    // Seen from outside it is an account that does not exist.
    let nobody = undertone_keys::UserId::parse("nobody", super::world::DOMAIN).unwrap();
    let mut shapes = Vec::new();
    for user in [&ada.user, &nobody] {
        let challenge = world.desk.login_start(request(user), HOME).await.unwrap();
        shapes.push((challenge.exchange.len(), challenge.response.0.len()));
        let ghost = Person { user: user.clone(), ..ada.again() };
        assert!(matches!(world.login(&ghost).await, Err(AccountError::WrongCredentials)));
    }
    assert_eq!(shapes[0], shapes[1]);

    // It stays off where the recovery key does something else, until it sets one.
    let (logged_in, _) = world.recover(&ada, b"never set").await.unwrap();
    let phone = Machine::new();
    let alone = list.with_alone(&ada.account, phone.record(&ada.user).sign(&phone.identity)).unwrap();
    world.enrol(&phone, logged_in, &alone, None).await.unwrap();
    assert!(matches!(world.login(&ada).await, Err(AccountError::WrongCredentials)));
    let (logged_in, new) = world.recover(&ada, b"on again").await.unwrap();
    world.change(logged_in, &alone, Some(new)).await.unwrap();
    let ada = Person { passphrase: b"on again".to_vec(), ..ada };
    assert!(world.login(&ada).await.is_ok());
    world.close().await;
}

#[tokio::test]
async fn id_6_the_passphrase_sets_another_one_on_a_device_of_its_account_and_nowhere_else() {
    let world = World::new().await;
    let (ada, enrolled) = world.register("ada").await;
    let (_, theirs) = world.register("bob").await;
    let (token, theirs) = (world.token(&enrolled).await.unwrap(), world.token(&theirs).await.unwrap());
    // Whoever guessed it could lock its owner out.
    for bearer in [None, Some(&theirs)] {
        assert!(matches!(world.renew(&ada, b"another one", bearer).await, Err(AccountError::NotRecovered)));
    }
    assert!(world.login(&ada).await.is_ok());
    world.renew(&ada, b"another one", Some(&token)).await.unwrap();
    assert!(matches!(world.login(&ada).await, Err(AccountError::WrongCredentials)));
    let ada = Person { passphrase: b"another one".to_vec(), ..ada };
    assert!(world.login(&ada).await.is_ok());
    world.close().await;
}

/// Strangers try at an account from many networks: its owner, who has a device, is not kept from changing it.
#[tokio::test]
async fn dos_1_a_login_with_the_accounts_own_token_has_places_of_its_own() {
    let world = World::with(&Limits { logins_per_account: 1, ..Limits::default() }).await;
    let (ada, enrolled) = world.register("ada").await;
    let (_, others) = world.register("bob").await;
    for n in 0..100 {
        let _ = world.desk.login_start(request(&ada.user), IpAddr::from([n, 9, 9, 9])).await;
    }
    let asker = |token| Asker { address: HOME, token };
    let stranger = world.desk.login_start(request(&ada.user), HOME).await;
    assert!(matches!(stranger, Err(AccountError::TooMany)));
    let (own, others) = (world.token(&enrolled).await, world.token(&others).await);
    let other = world.desk.login_start(request(&ada.user), asker(others)).await;
    assert!(matches!(other, Err(AccountError::TooMany)), "another account's token is a stranger's");
    assert!(world.desk.login_start(request(&ada.user), asker(own.clone())).await.is_ok());
    let again = world.desk.login_start(request(&ada.user), asker(own)).await;
    assert!(matches!(again, Err(AccountError::TooMany)), "guesses are bounded here, too");
    world.close().await;
}

/// A name that hides something is not taken.
#[tokio::test]
async fn id_2_a_label_with_hidden_characters_is_refused() {
    let world = World::new().await;
    let (ada, _) = world.register("ada").await;
    let list = world.list(&ada.user).await;
    let mut record = list.records()[0].clone();
    (record.version, record.label) = (record.version + 1, "lap\u{202e}pot".into());
    let renamed = list.with(&ada.account, record.sign(&ada.machine.identity)).unwrap();
    let refused = world.change(world.login(&ada).await.unwrap(), &renamed, None).await;
    assert!(matches!(refused, Err(AccountError::HiddenLabel)));
    let phone = Machine::new();
    let mut record = phone.record(&ada.user);
    record.label = "phone\u{200b}".into();
    let alone = list.with_alone(&ada.account, record.sign(&phone.identity)).unwrap();
    let refused = world.enrol(&phone, world.login(&ada).await.unwrap(), &alone, None).await;
    assert!(matches!(refused, Err(AccountError::HiddenLabel)));
    world.close().await;
}
