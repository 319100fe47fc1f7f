//! What every keeper of key packages must do.

use undertone_keys::envelope::Address;
use undertone_keys::{DeviceId, UserId, WallTime};

use super::{HandedOut, KeyPackages, Left, NewKeyPackages, StoreError, Token};

const NOW: WallTime = WallTime::from_unix(1_000);

fn packages(suite: u16, keys: &[u8], last_resort: Option<u8>, expires: u64) -> NewKeyPackages {
    NewKeyPackages {
        suite,
        packages: keys.iter().map(|key| vec![*key; 50]).collect(),
        last_resort: last_resort.map(|key| vec![key; 60]),
        expires: WallTime::from_unix(expires),
        most: 4,
        suites: 2,
    }
}

fn is_conflict<T>(result: &Result<T, StoreError>) -> bool {
    matches!(result, Err(StoreError::Conflict))
}

/// `kim@x` has no token yet; `put` gives one of their devices its token, and `revoke` takes it away.
pub(crate) async fn run(store: &impl KeyPackages, put: impl AsyncFn(Token), revoke: impl AsyncFn(DeviceId)) {
    let kim: UserId = "kim@x".parse().unwrap();
    let device = |n| DeviceId::from_bytes([n; 16]);
    let token = |n| Token { hash: [n; 32], user: kim.clone(), device: device(n) };
    let (one, two) = (token(0xa1), token(0xa2));
    put(one.clone()).await;
    assert!(is_conflict(&store.add_key_packages(&two, packages(2, &[1], None, 2_000), NOW).await), "no such token");
    assert_eq!(store.key_packages_left(&one, NOW).await.unwrap(), []);

    let at = |device: &Token| Address { user: kim.clone(), device: device.device };
    let claim = async |suite, device: &Token, now| {
        let mut handed = store.claim_key_packages(suite, &[at(device)], WallTime::from_unix(now)).await.unwrap();
        let HandedOut { package, last_resort, left } = handed.pop().unwrap();
        package.map(|package| (package[0], last_resort, left))
    };
    assert_eq!(claim(2, &one, 1_000).await, None);

    // Each once; the one first that ends first; then the last resort, again and again.
    store.add_key_packages(&one, packages(2, &[1, 2], Some(9), 3_000), NOW).await.unwrap();
    store.add_key_packages(&one, packages(2, &[3], None, 2_000), NOW).await.unwrap();
    store.add_key_packages(&one, packages(7, &[5], None, 2_000), NOW).await.unwrap();
    let time = |time| Some(WallTime::from_unix(time));
    let left = |suite, left, expires, last_resort| Left { suite, left, expires, last_resort };
    let both = [left(2, 3, time(2_000), time(3_000)), left(7, 1, time(2_000), None)];
    assert_eq!(store.key_packages_left(&one, NOW).await.unwrap(), both);
    assert_eq!(claim(2, &one, 1_000).await, Some((3, false, 2)));
    assert_eq!(claim(2, &one, 1_000).await, Some((1, false, 1)));
    // What was handed out is not taken again.
    store.add_key_packages(&one, packages(2, &[1, 2, 3], None, 3_000), NOW).await.unwrap();
    assert_eq!(claim(2, &one, 1_000).await, Some((2, false, 0)));
    assert_eq!(claim(2, &one, 1_000).await, Some((9, true, 0)));
    assert_eq!(claim(2, &one, 1_000).await, Some((9, true, 0)));
    assert_eq!(claim(7, &one, 1_000).await, Some((5, false, 0)));
    assert_eq!(claim(7, &one, 1_000).await, None, "the last resort is of its suite");
    let nobody = Address { user: "ada@x".parse().unwrap(), device: one.device };
    assert_eq!(store.claim_key_packages(2, &[nobody], NOW).await.unwrap()[0].package, None, "another's device");

    // A newer last resort takes the place of the older.
    store.add_key_packages(&one, packages(2, &[], Some(8), 4_000), NOW).await.unwrap();
    assert_eq!(claim(2, &one, 1_000).await, Some((8, true, 0)));
    assert_eq!(store.key_packages_left(&one, NOW).await.unwrap(), [left(2, 0, None, time(4_000))]);

    // No more than there may be, and then none of them.
    assert!(is_conflict(&store.add_key_packages(&one, packages(2, &[21, 22, 23, 24, 25], None, 3_000), NOW).await));
    assert_eq!(claim(2, &one, 1_000).await, Some((8, true, 0)));
    store.add_key_packages(&one, packages(3, &[31], None, 3_000), NOW).await.unwrap();
    assert!(is_conflict(&store.add_key_packages(&one, packages(4, &[41], None, 3_000), NOW).await), "a third suite");

    // What is good no more is not handed out.
    assert_eq!(claim(3, &one, 3_000).await, None);
    assert_eq!(claim(2, &one, 4_000).await, None);
    assert!(store.forget_key_packages(WallTime::from_unix(4_000)).await.unwrap() >= 2);
    assert_eq!(store.key_packages_left(&one, NOW).await.unwrap(), []);

    // Those of a device go with its token, and no others.
    put(two.clone()).await;
    for (token, key) in [(&one, 51), (&two, 52)] {
        store.add_key_packages(token, packages(2, &[key], Some(key), 3_000), NOW).await.unwrap();
    }
    revoke(one.device).await;
    let handed = store.claim_key_packages(2, &[at(&one), at(&two)], NOW).await.unwrap();
    assert_eq!(handed[0].package, None);
    assert_eq!(handed[1].package, Some(vec![52; 50]));
    assert!(is_conflict(&store.add_key_packages(&one, packages(2, &[1], None, 3_000), NOW).await));
}
