//! What every keeper of accounts must do.

use undertone_keys::{DeviceId, WallTime};

use super::{Account, Accounts, Change, StoreError, StoredList, Token};

fn account(name: &str) -> Account {
    Account {
        user: name.parse().unwrap(),
        opaque: vec![1; 10],
        by_passphrase: vec![2; 60],
        by_recovery: vec![3; 60],
        recovery: Some([4; 32]),
        created: WallTime::from_unix(5),
    }
}

fn token(name: &str, n: u8) -> Token {
    Token { hash: [n; 32], user: name.parse().unwrap(), device: DeviceId::from_bytes([n; 16]) }
}

pub(crate) async fn run(store: &impl Accounts) {
    let ada = account("ada@x");
    assert!(store.account(&ada.user).await.unwrap().is_none());
    assert!(store.list(&ada.user).await.unwrap().is_none());

    store.create(ada.clone(), vec![9], token("ada@x", 1), None).await.unwrap();
    assert_eq!(store.account(&ada.user).await.unwrap(), Some(ada.clone()));
    assert_eq!(store.list(&ada.user).await.unwrap(), Some(StoredList { version: 1, list: vec![9] }));
    assert_eq!(store.token(&[1; 32]).await.unwrap(), Some(token("ada@x", 1)));
    assert_eq!(store.token(&[2; 32]).await.unwrap(), None);

    // A name is given once, and a failed attempt leaves nothing behind.
    let again = store.create(ada.clone(), vec![8], token("ada@x", 2), None).await;
    assert!(matches!(again, Err(StoreError::Conflict)));
    assert_eq!(store.token(&[2; 32]).await.unwrap(), None);
    assert_eq!(store.list(&ada.user).await.unwrap().map(|list| list.list), Some(vec![9]));

    // Lists grow by one; who comes second is told.
    let now = WallTime::from_unix(6);
    let second = StoredList { version: 2, list: vec![10] };
    let grows = |list: &StoredList, n| Change {
        on: 1,
        list: Some(list.clone()),
        token: Some(token("ada@x", n)),
        ..Change::default()
    };
    store.change(&ada.user, grows(&second, 3), now).await.unwrap();
    let late = store.change(&ada.user, grows(&second, 4), now).await;
    assert!(matches!(late, Err(StoreError::Conflict)));
    assert_eq!(store.list(&ada.user).await.unwrap(), Some(second));
    assert_eq!(store.token(&[4; 32]).await.unwrap(), None);

    // What the directory does not have is known until it has it.
    let first = StoredList { version: 1, list: vec![9] };
    let second = StoredList { version: 2, list: vec![10] };
    assert_eq!(store.lists_above(&ada.user, 0).await.unwrap(), [first.clone(), second.clone()]);
    assert_eq!(store.lists_above(&ada.user, 1).await.unwrap(), std::slice::from_ref(&second));
    let both = [(ada.user.clone(), first), (ada.user.clone(), second.clone())];
    assert_eq!(store.unpublished(9).await.unwrap(), both);
    store.published(&ada.user, 1, 5).await.unwrap();
    assert_eq!(store.unpublished(9).await.unwrap(), both[1..]);
    store.published(&ada.user, 2, 8).await.unwrap();
    assert!(store.unpublished(8).await.unwrap().is_empty());
    // A directory that is older than what it was told does not have it any more.
    assert_eq!(store.unpublished(7).await.unwrap(), both[1..]);
    assert_eq!(store.unpublished(9).await.unwrap(), both[1..], "also when it has come as far again");
    assert_eq!(store.unpublished(4).await.unwrap(), both);

    assert_eq!(store.lists_size(&ada.user).await.unwrap(), (2, 2));
    assert_eq!(store.lists_size(&"nobody@x".parse().unwrap()).await.unwrap(), (0, 0));

    // A device that lost its token gets another, and the old one is good for nothing.
    let gets = |token| Change { on: 2, token: Some(token), ..Change::default() };
    store.change(&ada.user, gets(Token { hash: [9; 32], ..token("ada@x", 3) }), now).await.unwrap();
    assert_eq!(store.token(&[3; 32]).await.unwrap(), None);
    assert!(store.token(&[9; 32]).await.unwrap().is_some());
    store.change(&ada.user, gets(token("ada@x", 3)), now).await.unwrap();

    // What was checked against a list that is not in force any more changes nothing.
    let stale = Change { on: 1, ..gets(Token { hash: [11; 32], ..token("ada@x", 3) }) };
    assert!(matches!(store.change(&ada.user, stale, now).await, Err(StoreError::Conflict)));
    assert!(store.token(&[3; 32]).await.unwrap().is_some());

    store.revoke(DeviceId::from_bytes([3; 16])).await.unwrap();
    assert_eq!(store.token(&[3; 32]).await.unwrap(), None);

    // An invite is used once, and only if the account comes of it.
    store.add_invite([7; 32], now).await.unwrap();
    assert!(store.has_invite(&[7; 32]).await.unwrap());
    let taken = store.create(ada, vec![8], token("ada@x", 5), Some([7; 32])).await;
    assert!(matches!(taken, Err(StoreError::Conflict)));
    assert!(store.has_invite(&[7; 32]).await.unwrap());
    store.create(account("bob@x"), vec![1], token("bob@x", 6), Some([7; 32])).await.unwrap();
    assert!(!store.has_invite(&[7; 32]).await.unwrap());
    let used = store.create(account("eve@x"), vec![1], token("eve@x", 8), Some([7; 32])).await;
    assert!(matches!(used, Err(StoreError::NoInvite)));
}
