//! The lies of a server whose tree is honest or has a leaf nobody published. Each is first shown
//! to be believed by `akd_core` alone.

use akd::verify::{HistoryVerificationParams, key_history_verify, lookup_verify};
use akd::{AkdValue, HistoryParams, NodeLabel, WhatsAppV1Configuration as Config};
use undertone_transparency::directory::guard::{self, GuardError};
use undertone_transparency::directory::{
    AbsenceError, AbsenceProof, Claim, ClaimError, Freshness, HistoryError, HistoryProof, LookupError, LookupProof,
    verify_absence, verify_history, verify_lookup,
};

use crate::world::{Fresh, Stale, World, value};

const FRESH_1: Claim = Claim { freshness: Freshness::Fresh, version: 1 };
const FRESH_2: Claim = Claim { freshness: Freshness::Fresh, version: 2 };
const STALE_1: Claim = Claim { freshness: Freshness::Stale, version: 1 };

const fn leads_there(claim: Claim) -> ClaimError {
    ClaimError::Absence(claim, GuardError::LeadsThere)
}

#[test]
fn kt_6_forged_freshness() {
    let mut world = World::new(100);
    let old = world.akd_lookup("user 0").0;
    world.publish(&[("user 0", 2)]);

    let place = world.place("user 0", Stale, 1);
    let mut believed = 0;
    for inner in world.above(place) {
        let mut lie = old.clone();
        lie.existence_proof = world.membership(lie.existence_proof.label);
        lie.marker_proof = lie.existence_proof.clone();
        lie.freshness_proof = world.forged_non_membership(place, inner);
        let theirs = lookup_verify::<Config>(&world.key_bytes, *world.root(), 2, "user 0".into(), lie.clone());
        believed += usize::from(theirs.is_ok_and(|found| found.version == 1));

        assert_eq!(guard::check(&lie.freshness_proof), Err(GuardError::LeadsThere));
        let lie = LookupProof::from_akd(&lie, &[]).unwrap();
        let lie = LookupProof::from_bytes(&lie.to_bytes()).unwrap();
        assert_eq!(
            verify_lookup(&world.key, world.root(), 2, b"user 0", &lie),
            Err(LookupError::Claim(leads_there(STALE_1)))
        );
    }
    assert!(believed > 3, "akd_core believes the lie at every node but the last");
}

#[test]
fn kt_6_kt_11_forged_history() {
    let mut world = World::new(100);
    let mut lie = world.akd_history("user 0", HistoryParams::Complete);
    world.publish(&[("user 0", 2)]);

    let place = world.place("user 0", Fresh, 2);
    lie.update_proofs[0].existence_proof = world.membership(lie.update_proofs[0].existence_proof.label);
    lie.future_marker_vrf_proofs = vec![world.vrf("user 0", Fresh, 2).to_vec()];
    lie.non_existence_of_future_marker_proofs = vec![world.forged_non_membership(place, NodeLabel::root())];
    let theirs = key_history_verify::<Config>(
        &world.key_bytes,
        *world.root(),
        2,
        "user 0".into(),
        lie.clone(),
        HistoryVerificationParams::default(),
    );
    assert_eq!(theirs.unwrap().len(), 1, "akd_core believes the lie");

    let lie = HistoryProof::from_bytes(&HistoryProof::from_akd(&lie).unwrap().to_bytes()).unwrap();
    assert_eq!(
        verify_history(&world.key, world.root(), 2, b"user 0", 1, &lie),
        Err(HistoryError::Claim(leads_there(FRESH_2)))
    );
    // Without the forged marker the history is just as short.
    let bare = HistoryProof { future: Vec::new(), ..lie };
    assert_eq!(
        verify_history(&world.key, world.root(), 2, b"user 0", 1, &bare),
        Err(HistoryError::Markers { past: 0, future: 0 })
    );
}

#[test]
fn kt_6_false_absence() {
    // akd_core has no public call that verifies an absence; that it would believe this one is what the two tests
    // above show of the same proof for other leaves.
    for users in [1, 2, 100] {
        let world = World::new(users);
        let place = world.place("user 0", Fresh, 1);
        let honest_attempt = world.non_membership(place);
        let forged = world.above(place).into_iter().map(|inner| world.forged_non_membership(place, inner));
        for lie in forged {
            assert_eq!(guard::check(&lie), Err(GuardError::LeadsThere));
            let lie = AbsenceProof::from_akd(&world.vrf("user 0", Fresh, 1), &lie).unwrap();
            assert_eq!(
                verify_absence(&world.key, world.root(), b"user 0", &lie),
                Err(AbsenceError(leads_there(FRESH_1)))
            );
        }
        // What akd itself answers for a user who is there.
        assert!(guard::check(&honest_attempt).is_err());
        assert!(AbsenceProof::from_akd(&world.vrf("user 0", Fresh, 1), &honest_attempt).is_err());
    }
}

#[test]
fn kt_6_false_absence_with_another_users_way_or_an_empty_tree() {
    let world = World::new(100);
    let honest = world.absence("nobody");
    let refused = |proof: &AbsenceProof| verify_absence(&world.key, world.root(), b"user 0", proof).unwrap_err().0;
    assert_eq!(refused(&honest), ClaimError::Vrf(FRESH_1));
    let lie = AbsenceProof { vrf: world.vrf("user 0", Fresh, 1), ..honest.clone() };
    assert!(matches!(refused(&lie), ClaimError::Absence(FRESH_1, _) | ClaimError::Root(FRESH_1)));
    let nothing = undertone_transparency::directory::wire::Children::new(None, None);
    let lie = AbsenceProof { vrf: lie.vrf, children: nothing, ..honest };
    assert_eq!(refused(&lie), ClaimError::Absence(FRESH_1, GuardError::Children));
}

#[test]
fn kt_6_the_guard_wants_akds_proofs_in_one_form() {
    let world = World::new(100);
    let honest = world.non_membership(world.place("nobody", Fresh, 1));
    assert_eq!(guard::check(&honest), Ok(()));
    let refuse = |change: &dyn Fn(&mut akd::NonMembershipProof)| {
        let mut proof = honest.clone();
        change(&mut proof);
        assert!(guard::check(&proof).is_err());
    };
    refuse(&|proof| proof.longest_prefix = proof.longest_prefix.get_prefix(proof.longest_prefix.label_len - 1));
    refuse(&|proof| proof.longest_prefix_membership_proof.label = NodeLabel::root());
    refuse(&|proof| proof.longest_prefix_membership_proof.hash_val.0[0] ^= 1);
    refuse(&|proof| proof.longest_prefix_membership_proof.sibling_proofs[0].label.label_val[31] = 1);
    refuse(&|proof| proof.longest_prefix_membership_proof.sibling_proofs.reverse());
    refuse(&|proof| proof.longest_prefix_membership_proof.sibling_proofs.rotate_left(1));
    refuse(&|proof| {
        let step = &mut proof.longest_prefix_membership_proof.sibling_proofs[0];
        step.direction = step.direction.other();
    });
    refuse(&|proof| proof.longest_prefix_children.swap(0, 1));
    refuse(&|proof| proof.longest_prefix_children[0].label = NodeLabel::root());
    refuse(&|proof| proof.longest_prefix_children[0].label.label_len = 300);
    refuse(&|proof| {
        use akd::Configuration;
        proof.longest_prefix_children[0].label = Config::empty_label();
    });
    refuse(&|proof| proof.label.label_len = 255);
}

/// A version the owner never made, put into the tree for others to see: akd_core's look-up accepts it, and so does its
/// verification of the owner's history, in the same tree. Ours shows one of the leaves that the history denies.
#[test]
fn kt_6_kt_11_ghost_version_beside_the_owners_history() {
    let mut world = World::new(50);
    (2..10).for_each(|n| world.publish(&[("user 1", n)]));
    let ghost = AkdValue(value("ghost", 8).to_vec());
    let (epoch, nonce) = world.insert_ghost("user 0", 8, &ghost);

    let existence_proof = world.membership(world.place("user 0", Fresh, 8));
    let existence_vrf_proof = world.vrf("user 0", Fresh, 8).to_vec();
    let lookup = akd::LookupProof {
        epoch,
        value: ghost,
        version: 8,
        marker_vrf_proof: existence_vrf_proof.clone(),
        marker_proof: existence_proof.clone(),
        existence_vrf_proof,
        existence_proof,
        freshness_vrf_proof: world.vrf("user 0", Stale, 8).to_vec(),
        freshness_proof: world.non_membership(world.place("user 0", Stale, 8)),
        commitment_nonce: nonce.to_vec(),
    };
    let theirs = lookup_verify::<Config>(&world.key_bytes, *world.root(), epoch, "user 0".into(), lookup.clone());
    assert_eq!(theirs.unwrap().version, 8, "akd_core shows the ghost to others");
    let history = world.akd_history("user 0", HistoryParams::Complete);
    let theirs = key_history_verify::<Config>(
        &world.key_bytes,
        *world.root(),
        epoch,
        "user 0".into(),
        history,
        HistoryVerificationParams::default(),
    );
    assert_eq!(theirs.unwrap().len(), 1, "and not to the owner");

    assert!(LookupProof::from_akd(&lookup, &[]).is_err(), "version 4 is due");
    let mut lie = LookupProof::from_akd(&lookup, &world.further_markers("user 1", 8)).unwrap();
    let verify = |proof: &LookupProof| verify_lookup(&world.key, world.root(), epoch, b"user 0", proof).unwrap_err();
    let fresh_4 = Claim { freshness: Freshness::Fresh, version: 4 };
    assert_eq!(verify(&lie), LookupError::Claim(ClaimError::Vrf(fresh_4)));
    lie.markers.clear();
    assert_eq!(verify(&lie), LookupError::Markers { shown: 0, due: 1 });

    // To show it to others the server needs the leaf of version 4, and then the owner sees.
    let root = *world.root();
    world.insert_ghost("user 0", 4, &AkdValue(vec![0; 32]));
    assert_ne!(root, *world.root());
    let existence_proof = world.membership(world.place("user 0", Fresh, 8));
    let marker_proof = existence_proof.clone();
    let freshness_proof = world.non_membership(world.place("user 0", Stale, 8));
    let lookup = akd::LookupProof { existence_proof, marker_proof, freshness_proof, ..lookup };
    let shown = LookupProof::from_akd(&lookup, &world.further_markers("user 0", 8)).unwrap();
    let found = verify_lookup(&world.key, world.root(), world.epoch(), b"user 0", &shown).unwrap();
    assert_eq!(found.version, 8);
    let mut history = world.akd_history("user 0", HistoryParams::Complete);
    let place = world.place("user 0", Fresh, 4);
    let last = *world.above(place).last().unwrap();
    history.non_existence_of_future_marker_proofs[1] = world.forged_non_membership(place, last);
    let history = HistoryProof::from_akd(&history).unwrap();
    assert_eq!(
        verify_history(&world.key, world.root(), world.epoch(), b"user 0", 1, &history),
        Err(HistoryError::Claim(leads_there(fresh_4)))
    );
}
