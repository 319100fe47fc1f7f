//! What every keeper of devices must do, besides what [`super::conformance`] says of lists.

use undertone_keys::envelope::Address;
use undertone_keys::{DeviceId, UserId, WallTime};

use super::{Account, Accounts, Change, Passphrase, Secrets, StoreError, StoredList, Token};

fn secrets(n: u8) -> Secrets {
    let passphrase = Passphrase { opaque: vec![n; 10], by_passphrase: vec![n; 60] };
    Secrets { passphrase, by_recovery: vec![n; 60], recovery: [n; 32] }
}

fn list(version: u32) -> StoredList {
    StoredList { version, list: vec![u8::try_from(version).unwrap(); 3] }
}

fn device(n: u8) -> DeviceId {
    DeviceId::from_bytes([n; 16])
}

/// `zoe@x` has no account yet.
pub(crate) async fn run(store: &impl Accounts) {
    let zoe: UserId = "zoe@x".parse().unwrap();
    let at = WallTime::from_unix;
    let token = |n| Token { hash: [n; 32], user: zoe.clone(), device: device(n) };
    let account = Account {
        user: zoe.clone(),
        opaque: vec![1],
        by_passphrase: vec![1],
        by_recovery: vec![1],
        recovery: None,
        created: at(1),
    };
    store.create(account, list(1).list, token(101), None).await.unwrap();
    assert_eq!(store.account(&zoe).await.unwrap().unwrap().recovery, None, "one from before there were any");

    // A change is all or nothing: list, token, passphrase, who is revoked.
    let Secrets { passphrase, .. } = secrets(2);
    let change = Change {
        on: 1,
        list: Some(list(2)),
        token: Some(token(102)),
        passphrase: Some(passphrase.clone()),
        revoked: vec![device(101)],
        keeps: None,
    };
    store.change(&zoe, change.clone(), at(100)).await.unwrap();
    assert_eq!(
        (store.token(&[101; 32]).await.unwrap(), store.token(&[102; 32]).await.unwrap()),
        (None, Some(token(102)))
    );
    let stored = store.account(&zoe).await.unwrap().unwrap();
    assert_eq!((stored.opaque, stored.by_passphrase), (passphrase.opaque, passphrase.by_passphrase));
    let none = Change { on: 2, passphrase: Some(Passphrase::off()), ..Change::default() };
    store.change(&zoe, none, at(100)).await.unwrap();
    assert!(!store.account(&zoe).await.unwrap().unwrap().has_passphrase(), "nothing of it is kept");
    let late = Change { revoked: vec![device(102)], passphrase: Some(secrets(9).passphrase), token: None, ..change };
    assert!(matches!(store.change(&zoe, late, at(101)).await, Err(StoreError::Conflict)));
    assert!(store.token(&[102; 32]).await.unwrap().is_some());
    let revoked = |n| Address { user: zoe.clone(), device: device(n) };
    assert_eq!(store.revoked_since(at(50), 10).await.unwrap(), [revoked(101)]);

    // A token for one account and one announcement; a newer one takes its place.
    store.add_anew([1; 32], &zoe, at(200)).await.unwrap();
    store.add_anew([2; 32], &zoe, at(201)).await.unwrap();
    assert!(!store.has_anew(&[1; 32], &zoe, at(0)).await.unwrap());
    assert!(store.has_anew(&[2; 32], &zoe, at(200)).await.unwrap());
    assert!(!store.has_anew(&[2; 32], &zoe, at(201)).await.unwrap(), "too old");
    assert!(!store.has_anew(&[2; 32], &"ada@x".parse().unwrap(), at(0)).await.unwrap());
    let wrong = store.announce(&zoe, list(3), secrets(3), [1; 32], None, at(202)).await;
    assert!(matches!(wrong, Err(StoreError::NoInvite)));
    store.announce(&zoe, list(3), secrets(3), [2; 32], None, at(202)).await.unwrap();
    let again = store.announce(&zoe, list(4), secrets(3), [2; 32], None, at(202)).await;
    assert!(matches!(again, Err(StoreError::NoInvite)));

    // What is announced is known and changes nothing.
    assert_eq!(store.list(&zoe).await.unwrap(), Some(list(2)));
    assert_eq!(store.newest(&zoe).await.unwrap(), Some(list(3)));
    assert!(store.unpublished(9).await.unwrap().contains(&(zoe.clone(), list(3))));
    store.published(&zoe, 3, 7).await.unwrap();
    let waiting = store.waiting(&zoe).await.unwrap().unwrap();
    assert_eq!((&waiting.list, waiting.published, waiting.effective), (&list(3), 7, None));
    store.set_effective(&zoe, 3, at(900)).await.unwrap();
    assert_eq!(store.all_waiting().await.unwrap()[0].effective, Some(at(900)));
    assert!(store.token(&[102; 32]).await.unwrap().is_some());

    // It is taken back once.
    let keeps =
        |version, keeps| Change { on: version - 2, list: Some(list(version)), keeps: Some(keeps), ..Change::default() };
    assert!(matches!(store.change(&zoe, keeps(4, 2), at(300)).await, Err(StoreError::Conflict)));
    store.change(&zoe, keeps(4, 3), at(300)).await.unwrap();
    assert_eq!(store.waiting(&zoe).await.unwrap(), None);
    assert_eq!(store.list(&zoe).await.unwrap(), Some(list(4)));
    assert!(matches!(store.begin(&zoe, 3, &[], at(300)).await, Err(StoreError::Conflict)));
    assert!(matches!(store.change(&zoe, keeps(5, 3), at(300)).await, Err(StoreError::Conflict)));

    // Or it takes effect, once, and then nothing from before is good for anything.
    store.add_anew([3; 32], &zoe, at(301)).await.unwrap();
    store.announce(&zoe, list(5), secrets(5), [3; 32], None, at(302)).await.unwrap();
    store.announce_again(&zoe, 5, secrets(6)).await.unwrap();
    assert!(matches!(store.announce_again(&zoe, 4, secrets(6)).await, Err(StoreError::Conflict)));
    store.begin(&zoe, 5, &[device(102)], at(400)).await.unwrap();
    assert!(matches!(store.begin(&zoe, 5, &[], at(400)).await, Err(StoreError::Conflict)));
    assert_eq!(store.list(&zoe).await.unwrap(), Some(list(5)));
    assert_eq!(store.token(&[102; 32]).await.unwrap(), None);
    let stored = store.account(&zoe).await.unwrap().unwrap();
    assert_eq!((stored.opaque, stored.by_recovery, stored.recovery), (vec![6; 10], vec![6; 60], Some([6; 32])));
    assert_eq!(store.revoked_since(at(50), 10).await.unwrap(), [revoked(102), revoked(101)]);
    assert_eq!(store.revoked_since(at(50), 1).await.unwrap(), [revoked(102)]);
    assert_eq!(store.revoked_since(at(200), 10).await.unwrap(), [revoked(102)]);
    assert_eq!(store.revoked_since(at(50), 10).await.unwrap(), [revoked(102)], "what is over is forgotten");

    // At once, where nobody else can act.
    store.add_anew([4; 32], &zoe, at(500)).await.unwrap();
    store.announce(&zoe, list(6), secrets(7), [4; 32], Some(token(106)), at(501)).await.unwrap();
    assert_eq!(store.waiting(&zoe).await.unwrap(), None);
    assert_eq!(store.token(&[106; 32]).await.unwrap(), Some(token(106)));
    assert_eq!(store.account(&zoe).await.unwrap().unwrap().recovery, Some([7; 32]));
}
