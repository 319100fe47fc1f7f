//! The recovery key opens an account, and sets another passphrase (rule ID-6).

use undertone_keys::recovery::RecoveryKey;
use undertone_protocol::rest::{Bytes, Name, NewPassphrase, RecoverFinish, RecoverStart};

use super::super::AccountError;
use super::world::{HOME, Machine, Person, World};
use crate::config::Limits;

#[tokio::test]
async fn id_6_a_recovery_key_opens_its_account_and_sets_another_passphrase() {
    let world = World::new().await;
    let (ada, enrolled) = world.register("ada").await;
    let list = world.list(&ada.user).await;

    // A login that is under way ends where the passphrase is another: it was somebody's who should not have it.
    let under_way = world.login(&ada).await.unwrap();
    let (logged_in, new) = world.recover(&ada, b"another passphrase").await.unwrap();
    let phone = Machine::new();
    let alone = list.with_alone(&ada.account, phone.record(&ada.user).sign(&phone.identity)).unwrap();
    let recovered = world.enrol(&phone, logged_in, &alone, Some(new)).await.unwrap();
    assert!(world.token(&enrolled).await.is_none() && world.token(&recovered).await.is_some());
    assert!(matches!(world.change(under_way, &alone, None).await, Err(AccountError::ExchangeOver)));
    assert!(matches!(world.login(&ada).await, Err(AccountError::WrongCredentials)));
    let ada = Person { passphrase: b"another passphrase".to_vec(), ..ada };
    let logged_in = world.login(&ada).await.unwrap();

    // The passphrase does not set another: a server that guessed it could lock its owner out.
    let (_, new) = world.recover(&ada, b"a third").await.unwrap();
    assert!(matches!(world.change(logged_in, &alone, Some(new)).await, Err(AccountError::NotRecovered)));
    // The recovery key sets one also where nothing else changes.
    let (logged_in, new) = world.recover(&ada, b"a third").await.unwrap();
    world.change(logged_in, &alone, Some(new)).await.unwrap();
    let ada = Person { passphrase: b"a third".to_vec(), ..ada };
    assert!(world.login(&ada).await.is_ok());
    assert!(world.token(&recovered).await.is_some(), "nobody goes for that");
    let (logged_in, NewPassphrase { upload, .. }) = world.recover(&ada, b"a fourth").await.unwrap();
    let long = NewPassphrase { upload, account: Bytes(vec![0; 1_000]) };
    assert!(matches!(world.change(logged_in, &alone, Some(long)).await, Err(AccountError::Malformed(_))));
    world.close().await;
}

#[tokio::test]
async fn id_6_a_wrong_recovery_key_and_a_name_that_nobody_has_look_the_same_and_cost_a_place() {
    let world = World::with(&Limits { logins_per_account: 3, ..Limits::default() }).await;
    let (ada, _) = world.register("ada").await;
    for name in ["ada", "nobody"] {
        let user = undertone_keys::UserId::parse(name, super::world::DOMAIN).unwrap();
        let guess = Person { user, recovery: RecoveryKey::generate(&mut super::super::rng()), ..ada.again() };
        for _ in 0..3 {
            assert!(matches!(world.recover(&guess, b"mine now").await, Err(AccountError::WrongRecovery)));
        }
        assert!(matches!(world.recover(&guess, b"mine now").await, Err(AccountError::TooMany)));
    }
    // What each is told first has one shape.
    let world_of_two = World::new().await;
    let (ada, _) = world_of_two.register("ada").await;
    let request = {
        use opaque_ke::ClientRegistration;
        use undertone_protocol::opaque::{Rng, Suite};
        let started = ClientRegistration::<Suite>::start(&mut Rng(&mut super::super::rng()), b"x").unwrap();
        Bytes(started.message.serialize().to_vec())
    };
    let mut shapes = Vec::new();
    for name in ["ada", "nobody"] {
        let user = Name(undertone_keys::UserId::parse(name, super::world::DOMAIN).unwrap());
        let start = RecoverStart { user, request: request.clone() };
        let challenge = world_of_two.desk.recover_start(start, HOME).await.unwrap();
        shapes.push((challenge.exchange.len(), challenge.nonce.0.len(), challenge.response.0.len()));
        // A login's exchange is none of a recovery's, whatever is sent.
        let short = RecoverFinish { exchange: challenge.exchange, signature: Bytes(vec![0; 63]), legacy_key: None };
        assert!(matches!(world_of_two.desk.recover_finish(short).await, Err(AccountError::Malformed(_))));
    }
    assert_eq!(shapes[0], shapes[1]);
    assert!(world_of_two.login(&ada).await.is_ok());
    world.close().await;
    world_of_two.close().await;
}
