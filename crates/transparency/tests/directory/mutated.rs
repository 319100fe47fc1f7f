//! Whatever arrives: no panic, one encoding for each proof, and nothing believed that is not so.

use std::sync::OnceLock;

use akd::HistoryParams;
use proptest::prelude::*;
use undertone_transparency::directory::{
    AbsenceProof, AppendOnlyProof, HistoryProof, LookupProof, verify_absence, verify_append_only, verify_history,
    verify_lookup,
};

use crate::world::World;

fn world() -> &'static World {
    static WORLD: OnceLock<World> = OnceLock::new();
    WORLD.get_or_init(|| {
        let mut world = World::new(40);
        world.publish(&[("user 1", 2)]);
        (2..=7).for_each(|version| world.publish(&[("user 0", version)]));
        world
    })
}

/// A change to bytes: some replaced, some cut out, some put in.
fn changed(bytes: &[u8], changes: &[(prop::sample::Index, u8, u8)]) -> Vec<u8> {
    let mut bytes = bytes.to_vec();
    for (at, kind, byte) in changes {
        let at = at.index(bytes.len().max(1)).min(bytes.len());
        match kind % 4 {
            _ if bytes.is_empty() => bytes.push(*byte),
            0 | 1 => bytes[at] = *byte,
            2 => drop(bytes.drain(at..(at + usize::from(*byte)).min(bytes.len()))),
            _ => bytes.insert(at, *byte),
        }
    }
    bytes
}

fn changes() -> impl Strategy<Value = Vec<(prop::sample::Index, u8, u8)>> {
    prop::collection::vec(any::<(prop::sample::Index, u8, u8)>(), 1..4)
}

/// Decodes bytes as every kind of proof and verifies what comes of it.
fn feed(bytes: &[u8]) {
    let world = world();
    let (key, root, epoch) = (&world.key, world.root(), world.epoch());
    if let Ok(proof) = LookupProof::from_bytes(bytes) {
        assert_eq!(proof.to_bytes(), bytes);
        let honest = verify_lookup(key, root, epoch, b"user 0", &world.lookup("user 0")).unwrap();
        if let Ok(found) = verify_lookup(key, root, epoch, b"user 0", &proof) {
            assert_eq!(found, honest);
        }
        if let Ok(akd) = proof.to_akd() {
            let _ = undertone_transparency::directory::guard::check(&akd.freshness_proof);
        }
    }
    if let Ok(proof) = AbsenceProof::from_bytes(bytes) {
        assert_eq!(proof.to_bytes(), bytes);
        assert!(verify_absence(key, root, b"user 0", &proof).is_err());
        let _ = proof.to_akd();
    }
    if let Ok(proof) = HistoryProof::from_bytes(bytes) {
        assert_eq!(proof.to_bytes(), bytes);
        if let Ok(versions) = verify_history(key, root, epoch, b"user 0", 1, &proof) {
            assert_eq!(versions.len(), 7);
        }
        let _ = proof.to_akd();
    }
    if let Ok(proof) = AppendOnlyProof::from_bytes(bytes) {
        assert_eq!(proof.to_bytes(), bytes);
        let [start, end] = [&world.roots[7], &world.roots[8]];
        if verify_append_only(start, end, 8, &proof).is_ok() {
            assert_eq!(proof, AppendOnlyProof::from_akd(&world.audit(8)).unwrap());
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 300, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn kt_6_altered_lookups_never_panic_and_prove_nothing_new(changes in changes()) {
        feed(&changed(&world().lookup("user 0").to_bytes(), &changes));
    }

    #[test]
    fn kt_6_altered_absences_never_panic(changes in changes()) {
        feed(&changed(&world().absence("nobody").to_bytes(), &changes));
    }

    #[test]
    fn kt_11_altered_histories_never_panic_and_hide_nothing(changes in changes()) {
        feed(&changed(&world().history("user 0", HistoryParams::Complete).to_bytes(), &changes));
    }

    #[test]
    fn kt_12_altered_append_only_proofs_never_panic(changes in changes()) {
        feed(&changed(&AppendOnlyProof::from_akd(&world().audit(8)).unwrap().to_bytes(), &changes));
    }

    #[test]
    fn kt_6_random_bytes_never_panic(bytes in prop::collection::vec(any::<u8>(), 0..400)) {
        feed(&bytes);
    }
}

#[test]
fn kt_6_every_single_bit_of_a_lookup_matters() {
    let world = world();
    let bytes = world.lookup("user 0").to_bytes();
    for bit in 0..bytes.len() * 8 {
        let mut altered = bytes.clone();
        altered[bit / 8] ^= 1 << (bit % 8);
        let Ok(proof) = LookupProof::from_bytes(&altered) else { continue };
        assert!(verify_lookup(&world.key, world.root(), world.epoch(), b"user 0", &proof).is_err(), "bit {bit}");
    }
}

#[test]
fn kt_6_too_long_proofs_are_refused_before_they_are_read() {
    assert!(LookupProof::from_bytes(&vec![0; LookupProof::MAX_BYTES + 1]).is_err());
    assert!(AbsenceProof::from_bytes(&vec![0; AbsenceProof::MAX_BYTES + 1]).is_err());
    let mut proof = world().history("user 0", HistoryParams::Complete);
    proof.future = vec![proof.future[0].clone(); 81];
    assert!(HistoryProof::from_bytes(&proof.to_bytes()).is_err());
    proof.future.truncate(80);
    assert!(HistoryProof::from_bytes(&proof.to_bytes()).is_ok());
}
