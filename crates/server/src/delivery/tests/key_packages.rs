//! Key packages: each once, to whoever is in a room with their device (rules MLS-1, DOS-1).

use undertone_protocol::rest::{
    Bytes, ClaimKeyPackages, ClaimedKeyPackage, DeviceNamed, Name, UploadKeyPackages, Withheld,
};

use super::*;

fn upload(keys: std::ops::Range<u8>, last_resort: Option<u8>) -> UploadKeyPackages {
    UploadKeyPackages {
        suite: testing::SUITE,
        packages: keys.map(|key| Bytes(testing::key_package(key))).collect(),
        last_resort: last_resort.map(|key| Bytes(testing::key_package(key))),
        expires: 5_000,
    }
}

fn token(name: &str, n: u8) -> Token {
    Token { hash: [n; 32], user: name.parse().unwrap(), device: device(n) }
}

fn of(devices: &[(&str, u8)]) -> ClaimKeyPackages {
    let devices = devices
        .iter()
        .map(|(user, n)| DeviceNamed { user: Name(user.parse().unwrap()), device: device(*n).to_string() })
        .collect();
    ClaimKeyPackages { suite: testing::SUITE, devices }
}

fn desk(world: &World) -> Arc<PackageDesk<Sqlite>> {
    Arc::new(PackageDesk::new(world.store.clone(), world.rooms.clone(), world.board.clone()))
}

async fn claim(desk: &PackageDesk<Sqlite>, by: &Address, at: Instant) -> ClaimedKeyPackage {
    desk.claim(by, ROOM, of(&[("bob@x", 2)]), (at, NOW)).await.unwrap().packages.pop().unwrap()
}

/// Twelve claim at once on four threads: no package goes out twice, and behind the last there is the last resort.
#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn mls_1_a_key_package_is_handed_out_once_whoever_races() {
    let mut world = World::new(ample()).await;
    world.list(&["ada@x", "bob@x", "eve@x"]).await;
    let desk = desk(&world);
    desk.upload(&token("bob@x", 2), upload(0..8, Some(100)), NOW).await.unwrap();
    let at = Instant::now();
    let tasks: Vec<_> = ["ada@x", "bob@x", "eve@x"]
        .repeat(4)
        .into_iter()
        .map(|name| {
            let (desk, by) = (desk.clone(), address(name, 1));
            tokio::spawn(async move { claim(&desk, &by, at).await })
        })
        .collect();
    let mut once = Vec::new();
    let mut last = 0;
    for task in tasks {
        let claimed = task.await.unwrap();
        let Some(Bytes(package)) = claimed.package else { panic!("{claimed:?}") };
        if claimed.last_resort {
            assert_eq!(package, testing::key_package(100));
            last += 1;
        } else {
            once.push(package);
        }
    }
    once.sort();
    once.dedup();
    assert_eq!((once.len(), last, desk.claims()), (8, 4, 12));
}

#[tokio::test]
async fn mls_1_a_device_is_told_when_few_are_left() {
    let world = World::new(ample()).await;
    let desk = desk(&world);
    let mut bob = world.phone("bob@x", 2);
    desk.upload(&token("bob@x", 2), upload(0..12, None), NOW).await.unwrap();
    let ada = address("ada@x", 1);
    let mut low = || bob.queue.try_recv().ok();
    for left in [11, 10] {
        assert!(claim(&desk, &ada, Instant::now()).await.package.is_some());
        assert_eq!(low(), None, "{left} are enough");
    }
    claim(&desk, &ada, Instant::now()).await;
    assert_eq!(low(), Some(ToDevice::KeyPackagesLow { suite: testing::SUITE, left: 9 }));
    let left = desk.left(&token("bob@x", 2), NOW).await.unwrap();
    assert_eq!((left.suites.len(), left.suites[0].left, left.suites[0].expires), (1, 9, 5_000));
    // A retry of an upload whose answer was lost adds nothing.
    desk.upload(&token("bob@x", 2), upload(0..12, None), NOW).await.unwrap();
    assert_eq!(desk.left(&token("bob@x", 2), NOW).await.unwrap(), left);
}

#[tokio::test]
async fn mls_1_key_packages_are_for_those_in_the_room_and_of_those_in_it() {
    let world = World::new(ample()).await;
    let desk = desk(&world);
    for (name, n) in [("ada@x", 1), ("bob@x", 2), ("eve@x", 3)] {
        desk.upload(&token(name, n), upload(n..n + 1, None), NOW).await.unwrap();
    }
    let at = (Instant::now(), NOW);
    let stranger = desk.claim(&address("eve@x", 3), ROOM, of(&[("bob@x", 2)]), at).await;
    assert!(matches!(stranger, Err(PackageError::Unknown)));
    let ada = address("ada@x", 1);
    let elsewhere = desk.claim(&ada, RoomId::from_bytes([1; 16]), of(&[("bob@x", 2)]), at).await;
    assert!(matches!(elsewhere, Err(PackageError::Unknown)));
    // Eve's device under Bob's name is no device of Bob's.
    let all = of(&[("eve@x", 3), ("bob@x", 3), ("bob@x", 2), ("bob@x", 77)]);
    let claimed = desk.claim(&ada, ROOM, all, at).await.unwrap().packages;
    let withheld: Vec<_> = claimed.iter().map(|claimed| claimed.withheld).collect();
    assert_eq!(withheld, [Some(Withheld::Unlisted), Some(Withheld::None), None, Some(Withheld::None)]);
    assert_eq!(claimed[2].package, Some(Bytes(testing::key_package(2))));
    assert_eq!(claimed[2].device, device(2).to_string());
    // Those of a device that logged out went with its token.
    desk.upload(&token("bob@x", 2), upload(50..55, Some(60)), NOW).await.unwrap();
    world.store.revoke(device(2)).await.unwrap();
    assert_eq!(claim(&desk, &ada, Instant::now()).await.withheld, Some(Withheld::None));
}

#[tokio::test]
async fn dos_1_nobody_drains_a_devices_key_packages() {
    let world = World::new(ample()).await;
    let desk = desk(&world);
    desk.upload(&token("bob@x", 2), upload(0..40, None), NOW).await.unwrap();
    let (ada, at) = (address("ada@x", 1), Instant::now());
    for _ in 0..5 {
        assert!(claim(&desk, &ada, at).await.package.is_some());
    }
    assert_eq!(claim(&desk, &ada, at).await.withheld, Some(Withheld::Later));
    assert_eq!(claim(&desk, &address("ada@x", 9), at).await.withheld, Some(Withheld::Later), "whichever device asks");
    assert!(claim(&desk, &address("bob@x", 2), at).await.package.is_some(), "another account");
    let later = at + Duration::from_secs(600);
    desk.expire(later, NOW).await.unwrap();
    assert!(claim(&desk, &ada, later).await.package.is_some());
}

#[tokio::test]
async fn dos_1_uploads_and_claims_are_bounded() {
    let world = World::new(ample()).await;
    let desk = desk(&world);
    let bob = token("bob@x", 2);
    let one = || upload(0..1, None);
    let wrong = |package| UploadKeyPackages { packages: vec![Bytes(package)], ..one() };
    for (upload, why) in [
        (upload(0..41, None), "too many at once"),
        (upload(0..0, None), "none"),
        (UploadKeyPackages { suite: 1, ..one() }, "of another suite"),
        (wrong(testing::welcome(&[1])), "no key package"),
        (wrong(vec![0; 5_000]), "too large"),
        (UploadKeyPackages { last_resort: Some(Bytes(vec![])), ..one() }, "a last resort that is none"),
        (UploadKeyPackages { expires: 1_000, ..one() }, "over"),
    ] {
        assert!(matches!(desk.upload(&bob, upload, NOW).await, Err(PackageError::Malformed(_))), "{why}");
    }
    for keys in [0..40, 40..80, 80..100] {
        desk.upload(&bob, upload(keys, Some(200)), NOW).await.unwrap();
    }
    assert!(matches!(desk.upload(&bob, upload(100..101, None), NOW).await, Err(PackageError::TooMany)));
    // Whoever names a later end gets thirty days.
    let late = UploadKeyPackages { expires: u64::MAX, ..upload(0..0, Some(201)) };
    desk.upload(&bob, late, NOW).await.unwrap();
    let left = desk.left(&bob, NOW).await.unwrap();
    assert_eq!((left.suites[0].left, left.suites[0].last_resort_expires), (100, 1_000 + 30 * 24 * 3_600));
    // Good no more, handed out no more.
    let ada = address("ada@x", 1);
    let at = (Instant::now(), WallTime::from_unix(5_000));
    let claimed = desk.claim(&ada, ROOM, of(&[("bob@x", 2)]), at).await.unwrap();
    assert!(claimed.packages[0].last_resort, "the others are over");
    for claim in [of(&[]), of(&[("bob@x", 2); 65])] {
        assert!(matches!(desk.claim(&ada, ROOM, claim, at).await, Err(PackageError::Malformed(_))));
    }
}
