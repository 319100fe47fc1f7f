use akd::verify::{HistoryVerificationParams, key_history_verify, lookup_verify};
use akd::{HistoryParams, WhatsAppV1Configuration as Config};
use undertone_keys::Secret;
use undertone_keys::sign::{Server, SigningKey};
use undertone_transparency::directory::{
    AbsenceError, AbsenceProof, BadVrfKey, Claim, ClaimError, Freshness, HistoryError, HistoryProof, Lookup,
    LookupError, LookupProof, VrfKey, guard, marker_versions, verify_absence, verify_history, verify_lookup,
};

use crate::world::{Fresh, Stale, World, user, value};

const SIZES: [u32; 7] = [0, 1, 2, 3, 10, 100, 1000];

/// Publishes versions 2 to `latest` of user 0, one an epoch.
fn grown(users: u32, latest: u32) -> World {
    let mut world = World::new(users);
    (2..=latest).for_each(|version| world.publish(&[("user 0", version)]));
    world
}

#[test]
fn kt_5_kt_6_honest_lookups_are_accepted_by_us_and_by_akd() {
    for users in SIZES {
        let world = World::new(users);
        for name in (0..users.min(20)).map(user).chain(["sentinel".to_owned()]) {
            let proof = world.lookup(&name);
            let found = verify_lookup(&world.key, world.root(), 1, name.as_bytes(), &proof).unwrap();
            assert_eq!(found, Lookup { version: 1, epoch: 1, value: value(&name, 1) });
            assert!(proof.markers.is_empty());

            let akd = world.akd_lookup(&name).0;
            assert_eq!(proof.to_akd().unwrap(), akd, "the left out marker comes back");
            assert_eq!(LookupProof::from_bytes(&proof.to_bytes()).unwrap(), proof);
            assert_eq!(guard::check(&akd.freshness_proof), Ok(()));
            lookup_verify::<Config>(&world.key_bytes, *world.root(), 1, name.as_str().into(), akd).unwrap();
        }
    }
}

#[test]
fn kt_6_every_version_shows_its_markers() {
    let mut world = World::new(30);
    for version in 2..=20 {
        world.publish(&[("user 0", version)]);
        let (akd, further) = world.akd_lookup("user 0");
        let proof = LookupProof::from_akd(&akd, &further).unwrap();
        let found = verify_lookup(&world.key, world.root(), world.epoch(), b"user 0", &proof).unwrap();
        assert_eq!(found, Lookup { version, epoch: version.into(), value: value("user 0", version) });
        assert_eq!(proof.place(), Some(world.place("user 0", Fresh, version.into()).label_val));
        assert_eq!(proof.markers.len(), marker_versions(version).len());
        assert_eq!(proof.to_akd().unwrap(), akd);
        assert_eq!(LookupProof::from_bytes(&proof.to_bytes()).unwrap(), proof);

        if let Some(left) = proof.markers.len().checked_sub(1) {
            let mut fewer = proof.clone();
            fewer.markers.pop();
            assert_eq!(
                verify_lookup(&world.key, world.root(), world.epoch(), b"user 0", &fewer),
                Err(LookupError::Markers { shown: left, due: left + 1 })
            );
        }
        let mut more = proof.clone();
        more.markers.extend(world.history("sentinel", HistoryParams::Complete).past);
        more.markers.push(undertone_transparency::directory::wire::Marker { value: [0; 32], leaf: proof.existence });
        assert!(matches!(
            verify_lookup(&world.key, world.root(), world.epoch(), b"user 0", &more),
            Err(LookupError::Markers { .. })
        ));
    }
}

#[test]
fn kt_6_honest_absence_is_accepted() {
    for users in SIZES {
        let world = World::new(users);
        for n in 0..20 {
            let name = format!("nobody {n}");
            let proof = world.absence(&name);
            verify_absence(&world.key, world.root(), name.as_bytes(), &proof).unwrap();
            assert_eq!(AbsenceProof::from_bytes(&proof.to_bytes()).unwrap(), proof);
            let (vrf, akd) = proof.to_akd().unwrap();
            assert_eq!(akd, world.non_membership(world.place(&name, Fresh, 1)));
            assert_eq!((vrf.as_slice(), guard::check(&akd)), (proof.vrf.as_slice(), Ok(())));
        }
    }
}

#[test]
fn kt_11_honest_histories_are_accepted_by_us_and_by_akd() {
    for (users, latest) in [(1, 1), (1, 2), (5, 3), (50, 9), (50, 18)] {
        let world = grown(users, latest);
        for recent in [1, 2, 5, latest, latest + 3] {
            let params = HistoryParams::MostRecent(recent as usize);
            let proof = world.history("user 0", params);
            let from = (latest + 1).saturating_sub(recent).max(1);
            let verify = |from| verify_history(&world.key, world.root(), world.epoch(), b"user 0", from, &proof);
            let versions = verify(from).unwrap();
            let expected = |version: u32| Lookup { version, epoch: version.into(), value: value("user 0", version) };
            assert_eq!(versions, (from..=latest).map(expected).collect::<Vec<_>>());
            assert_eq!(verify(latest).unwrap(), versions);
            let reach = |asked| Err(HistoryError::Reach { oldest: from, latest, from: asked });
            assert_eq!(verify(latest + 1), reach(latest + 1));
            if from > 1 {
                assert_eq!(verify(from - 1), reach(from - 1));
                assert_eq!(verify(0), reach(0));
            } else {
                assert_eq!(verify(0).unwrap(), versions);
            }

            let akd = world.akd_history("user 0", params);
            assert_eq!(proof.to_akd().unwrap(), akd);
            assert_eq!(HistoryProof::from_bytes(&proof.to_bytes()).unwrap(), proof);
            let theirs = key_history_verify::<Config>(
                &world.key_bytes,
                *world.root(),
                world.epoch(),
                "user 0".into(),
                akd,
                HistoryVerificationParams::Default { history_params: params },
            );
            let theirs: Vec<_> = theirs.unwrap().iter().rev().map(|found| (found.version, found.epoch)).collect();
            assert_eq!(theirs, versions.iter().map(|found| (found.version.into(), found.epoch)).collect::<Vec<_>>());
        }
    }
}

#[test]
fn kt_11_a_history_with_a_version_left_out_is_refused() {
    let world = grown(20, 6);
    let whole = world.history("user 0", HistoryParams::Complete);
    let verify = |proof: &HistoryProof, from| {
        verify_history(&world.key, world.root(), world.epoch(), b"user 0", from, proof).unwrap_err()
    };
    let mut proof = whole.clone();
    proof.updates.remove(2);
    assert_eq!(verify(&proof, 1), HistoryError::Reach { oldest: 2, latest: 6, from: 1 });
    assert_eq!(verify(&proof, 2), HistoryError::Epoch { version: 2, published: 1 });
    proof.updates.clear();
    assert_eq!(verify(&proof, 1), HistoryError::Versions { updates: 0, latest: 6, epoch: 6 });
    let mut proof = whole.clone();
    proof.latest = 5;
    assert_eq!(verify(&proof, 1), HistoryError::Versions { updates: 6, latest: 5, epoch: 6 });
    let mut proof = whole.clone();
    proof.updates[0].superseded = None;
    assert_eq!(verify(&proof, 1), HistoryError::Superseded { version: 6 });
    let mut proof = whole.clone();
    proof.updates[5].superseded = Some(proof.updates[5].existence.clone());
    assert_eq!(verify(&proof, 1), HistoryError::Superseded { version: 1 });
    let mut proof = whole.clone();
    proof.updates[1].epoch = 4;
    assert_eq!(verify(&proof, 1), HistoryError::Epoch { version: 5, published: 4 });
    assert!(matches!(
        verify_history(&world.key, world.root(), u64::MAX, b"user 0", 1, &whole),
        Err(HistoryError::Markers { .. })
    ));
    let mut proof = whole;
    proof.updates.swap(0, 1);
    assert_eq!(verify(&proof, 1), HistoryError::Epoch { version: 6, published: 5 });
}

#[test]
fn kt_5_a_vrf_proof_of_another_user_version_leaf_or_key_is_refused() {
    let mut world = World::new(50);
    world.publish(&[("user 0", 2)]);
    let lookup = world.lookup("user 0");
    let verify = |key: &VrfKey, user: &str, proof: &LookupProof| {
        verify_lookup(key, world.root(), 2, user.as_bytes(), proof).unwrap_err()
    };
    let fresh = |version| Claim { freshness: Freshness::Fresh, version };
    let stale = |version| Claim { freshness: Freshness::Stale, version };
    let vrf = |claim| LookupError::Claim(ClaimError::Vrf(claim));

    assert_eq!(verify(&world.key, "user 1", &lookup), vrf(stale(2)));
    let others = world.lookup("user 1");
    assert_eq!(verify(&world.key, "user 0", &others), vrf(stale(1)));
    // Another user's existing leaf, an older version's, the wrong one of a version's leaves.
    let mut proof = lookup.clone();
    proof.existence = others.existence;
    assert_eq!(verify(&world.key, "user 0", &proof), vrf(fresh(2)));
    proof.existence = world.history("user 0", HistoryParams::Complete).updates[1].existence.clone();
    assert_eq!(verify(&world.key, "user 0", &proof), vrf(fresh(2)));
    let mut proof = lookup.clone();
    proof.freshness.vrf = world.vrf("user 0", Fresh, 2);
    assert_eq!(verify(&world.key, "user 0", &proof), vrf(stale(2)));
    proof.freshness.vrf = world.vrf("user 0", Stale, 3);
    assert_eq!(verify(&world.key, "user 0", &proof), vrf(stale(2)));
    // A good VRF proof whose gamma was replaced by another's.
    let mut proof = lookup.clone();
    proof.existence.vrf[..32].copy_from_slice(&world.vrf("user 1", Fresh, 1)[..32]);
    assert_eq!(verify(&world.key, "user 0", &proof), vrf(fresh(2)));

    let other = SigningKey::<Server>::from_seed(Secret::take(&mut [7; 32]));
    let other = VrfKey::from_bytes(other.public().as_bytes()).unwrap();
    assert_eq!(verify(&other, "user 0", &lookup), vrf(stale(2)));
    assert_eq!(
        verify_absence(&other, world.root(), b"nobody", &world.absence("nobody")),
        Err(AbsenceError(ClaimError::Vrf(fresh(1))))
    );
    assert!(matches!(VrfKey::from_bytes(&[0; 32]), Err(BadVrfKey)), "a point of small order");
}

#[test]
fn kt_6_another_value_epoch_or_root_is_refused() {
    let mut world = World::new(50);
    world.publish(&[("user 0", 2)]);
    let lookup = world.lookup("user 0");
    let verify = |root, epoch, proof: &LookupProof| verify_lookup(&world.key, root, epoch, b"user 0", proof);
    let root = |freshness, version| Err(LookupError::Claim(ClaimError::Root(Claim { freshness, version })));
    assert_eq!(verify(&world.roots[1], 2, &lookup), root(Freshness::Stale, 2));
    let mut proof = lookup.clone();
    proof.value[0] ^= 1;
    assert_eq!(verify(world.root(), 2, &proof), root(Freshness::Fresh, 2));
    let mut proof = lookup.clone();
    proof.nonce[31] ^= 1;
    assert_eq!(verify(world.root(), 2, &proof), root(Freshness::Fresh, 2));
    let mut proof = lookup.clone();
    proof.epoch = 3;
    assert_eq!(verify(world.root(), 3, &proof), root(Freshness::Fresh, 2));
    let version = |version, published, epoch| Err(LookupError::Version { version, published, epoch });
    assert_eq!(verify(world.root(), 2, &proof), version(2, 3, 2));
    assert_eq!(verify(world.root(), 1, &lookup), version(2, 2, 1));
    proof.version = 0;
    assert_eq!(verify(world.root(), 9, &proof), version(0, 3, 9));
}
