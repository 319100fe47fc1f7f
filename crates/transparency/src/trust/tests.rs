use proptest::prelude::*;
use undertone_keys::agreement::{DeviceKey, SoftwareKey};
use undertone_keys::sign::{Device, Signed, SigningKey};
use undertone_keys::testing::{SeededRng, let_in};

use super::*;
use crate::testing::proven;

const NOW: WallTime = WallTime::from_unix(1000);

fn bob() -> UserId {
    UserId::parse("bob", "x").unwrap()
}

/// A new device, let in by the one with the key that is given.
fn record(rng: &mut SeededRng, by: Option<&SigningKey<Device>>) -> (SigningKey<Device>, Signed) {
    let (identity, agreement) = (SigningKey::generate(rng), SoftwareKey::generate(rng));
    let record = DeviceRecord::new(bob(), *identity.public(), *agreement.public(), NOW, "phone".into());
    let record = if let Some(by) = by { let_in(by, record) } else { record };
    let signed = record.sign(&identity);
    (identity, signed)
}

fn account(n: u64) -> SigningKey<Account> {
    SigningKey::generate(&mut SeededRng::new(n))
}

/// The list of account `n` at version `version`.
fn list(n: u64, version: u32) -> DeviceList {
    let rng = &mut SeededRng::new(n + 100);
    let (key, record_1) = record(rng, None);
    let first = DeviceList::first(&account(n), &bob(), record_1).unwrap();
    (1..version).fold(first, |list, _| list.with(&account(n), record(rng, Some(&key)).1).unwrap())
}

#[test]
fn kt_10_a_new_phone_is_no_alarm_and_a_new_account_key_is() {
    let mut trust = PeerTrust::pin(&proven(&list(1, 1)));
    assert_eq!(trust.observe(&proven(&list(1, 1))).unwrap().standing(), Standing::Pinned);
    assert_eq!(trust.observe(&proven(&list(1, 2))).unwrap().devices().count(), 2);
    let (old, new) = (*account(1).public(), *account(2).public());
    assert_eq!(trust.observe(&proven(&list(2, 1))), Err(TrustError::Changed { user: bob(), old, new }));
    // The old list coming back does not make the alarm go away, nor change what it is about.
    assert_eq!(trust.observe(&proven(&list(1, 2))), Err(TrustError::Changed { user: bob(), old, new }));
    assert_eq!(trust.change(), Some((old, new)));
    assert_eq!(trust.trusted(), None);
}

#[test]
fn kt_10_decisions_are_records_and_name_the_key() {
    let mut trust = PeerTrust::pin(&proven(&list(1, 1)));
    assert_eq!(trust.decide("x", true, NOW), Err(DecisionError::NothingToDecide));
    trust.verified(account(1).public(), NOW).unwrap();
    assert_eq!(trust.observe(&proven(&list(1, 1))).unwrap().standing(), Standing::Verified);
    trust.observe(&proven(&list(2, 1))).unwrap_err();
    assert_eq!(trust.decide(&account(1).public().fingerprint(), true, NOW), Err(DecisionError::Fingerprint));
    trust.decide(&account(2).public().fingerprint(), false, NOW).unwrap();
    assert!(matches!(trust.observe(&proven(&list(2, 1))), Err(TrustError::Refused { .. })));
    trust.decide(&account(2).public().fingerprint(), true, NOW).unwrap();
    assert_eq!(trust.observe(&proven(&list(2, 1))).unwrap().standing(), Standing::Overridden);
    assert_eq!(trust.verified(account(1).public(), NOW), Err(DecisionError::Fingerprint));
    trust.verified(account(2).public(), NOW).unwrap();
    let verdicts: Vec<Verdict> = trust.decisions().iter().map(|decision| decision.verdict).collect();
    assert_eq!(verdicts, [Verdict::Verified, Verdict::Refused, Verdict::Accepted, Verdict::Verified]);
    assert_eq!(PeerTrust::from_bytes(&trust.to_bytes()), Ok(trust));
}

#[test]
fn id_2_lists_only_go_forward() {
    let mut trust = PeerTrust::pin(&proven(&list(1, 2)));
    assert!(matches!(trust.observe(&proven(&list(1, 1))), Err(TrustError::Rollback { shown: 1, known: 2, .. })));
    let rng = &mut SeededRng::new(77);
    let (key, record_1) = record(rng, None);
    let other = DeviceList::first(&account(1), &bob(), record_1).unwrap();
    let forked = other.with(&account(1), record(rng, Some(&key)).1).unwrap();
    assert!(matches!(trust.observe(&proven(&forked)), Err(TrustError::Fork { .. })));
    let after = forked.with(&account(1), record(rng, Some(&key)).1).unwrap();
    assert!(matches!(trust.observe(&proven(&after)), Err(TrustError::Fork { .. })));
    assert!(trust.observe(&proven(&list(1, 3))).is_ok());
}

#[test]
fn kt_10_a_refused_key_stays_refused_and_the_old_one_may_come_back() {
    let mut trust = PeerTrust::pin(&proven(&list(1, 1)));
    trust.verified(account(1).public(), NOW).unwrap();
    trust.observe(&proven(&list(2, 1))).unwrap_err();
    trust.decide(&account(2).public().fingerprint(), false, NOW).unwrap();
    // A third key in between does not turn the refused one into a merely changed one.
    assert!(matches!(trust.observe(&proven(&list(3, 1))), Err(TrustError::Changed { .. })));
    assert!(matches!(trust.observe(&proven(&list(2, 1))), Err(TrustError::Refused { .. })));
    assert!(matches!(trust.observe(&proven(&list(3, 1))), Err(TrustError::Changed { .. })));
    trust.decide(&account(3).public().fingerprint(), false, NOW).unwrap();
    assert_eq!(trust.observe(&proven(&list(1, 1))).unwrap().standing(), Standing::Verified);
    // Shown again it is still refused, and a person may think again.
    assert!(matches!(trust.observe(&proven(&list(2, 1))), Err(TrustError::Refused { .. })));
    trust.decide(&account(2).public().fingerprint(), true, NOW).unwrap();
    assert_eq!(trust.observe(&proven(&list(2, 1))).unwrap().standing(), Standing::Overridden);
}

#[derive(Clone, Debug)]
enum Step {
    Observe(u64),
    Decide(u64, bool),
    Verify(u64),
}

proptest! {
    /// Whatever happens, nobody talks to a key that was neither the first one nor accepted by a person.
    #[test]
    fn kt_10_no_key_is_trusted_without_first_use_or_a_decision(steps in proptest::collection::vec(
        prop_oneof![
            (1_u64..4).prop_map(Step::Observe),
            ((1_u64..4), any::<bool>()).prop_map(|(n, accept)| Step::Decide(n, accept)),
            (1_u64..4).prop_map(Step::Verify),
        ], 0..40)) {
        let mut trust = PeerTrust::pin(&proven(&list(1, 1)));
        let mut allowed = account(1).public().fingerprint();
        for step in steps {
            match step {
                Step::Observe(n) => {
                    if let Ok(peer) = trust.observe(&proven(&list(n, 1))) {
                        prop_assert_eq!(peer.account().fingerprint(), allowed.clone());
                    }
                }
                Step::Decide(n, accept) => {
                    let fingerprint = account(n).public().fingerprint();
                    if trust.decide(&fingerprint, accept, NOW).is_ok() && accept { allowed = fingerprint; }
                }
                Step::Verify(n) => { let _ = trust.verified(account(n).public(), NOW); }
            }
        }
    }
}

#[test]
fn id_3_a_device_that_had_p256_does_not_go_back_to_rsa() {
    use undertone_keys::choice::{Agreement, ChoiceError, LegacyPolicy, choose};
    use undertone_keys::legacy::{LegacyKey, SoftwareLegacyKey};
    let rng = &mut SeededRng::new(7);
    let (identity, old) = (SigningKey::generate(rng), SoftwareKey::generate(rng));
    let legacy = SoftwareLegacyKey::generate().unwrap();
    let modern = DeviceRecord::new(bob(), *identity.public(), *old.public(), NOW, "phone".into());
    let mut lowered = DeviceRecord::new(bob(), *identity.public(), legacy.public().clone(), NOW, "phone".into());
    lowered.version = 2;
    let other = SigningKey::generate(rng);
    let honest = DeviceRecord::new(bob(), *other.public(), legacy.public().clone(), NOW, "old".into());
    let honest = let_in(&identity, honest);
    let first = DeviceList::first(&account(1), &bob(), modern.sign(&identity)).unwrap();
    let second = first.with(&account(1), honest.sign(&other)).unwrap();
    let third = second.with(&account(1), lowered.sign(&identity)).unwrap();

    let mut trust = PeerTrust::pin(&proven(&first));
    let peer = trust.observe(&proven(&third)).unwrap();
    let offer = |peer: &TrustedPeer, record: &DeviceRecord| choose(peer.offer(record), LegacyPolicy::Allow);
    assert_eq!(offer(&peer, &lowered), Err(ChoiceError::Downgrade));
    assert_eq!(offer(&peer, &honest), Ok(Agreement::Rsa2048), "one that never had another is no downgrade");
    // It is remembered, also over a restart and a list more.
    let mut again = PeerTrust::from_bytes(&trust.to_bytes()).unwrap();
    let fourth = third.with(&account(1), record(rng, Some(&identity)).1).unwrap();
    assert_eq!(offer(&again.observe(&proven(&fourth)).unwrap(), &lowered), Err(ChoiceError::Downgrade));
    assert_eq!(offer(&PeerTrust::pin(&proven(&first)).observe(&proven(&first)).unwrap(), &modern), Ok(Agreement::P256));
}

/// Where a peer stands: how well known by which account, or which two keys a person has to decide between.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum At {
    Trusted(Standing, u64),
    /// From which to which; whether a person has said no already.
    Between(u64, u64, bool),
}

fn at(trust: &PeerTrust) -> At {
    let number = |key: &VerifyingKey<Account>| (1..4).find(|n| account(*n).public() == key).unwrap();
    match (trust.trusted(), trust.change()) {
        (Some((standing, key)), None) => At::Trusted(standing, number(&key)),
        (None, Some((old, new))) => {
            let refused = matches!(trust.state, State::Refused(..));
            At::Between(number(&old), number(&new), refused)
        }
        other => panic!("{other:?}"),
    }
}

/// The whole table of `docs/spec/trust.md`: every state, everything that can happen in it, and what follows.
#[test]
fn kt_10_trust_transitions() {
    use At::{Between, Trusted};
    use Standing::{Overridden, Pinned, Verified};
    #[derive(Clone, Copy, Debug)]
    enum Do {
        Show(u64),
        Accept(u64),
        Refuse(u64),
        Compare(u64),
    }
    use Do::{Accept, Compare, Refuse, Show};
    // How each state is come to from first use of the first key.
    let states: [(&[Do], At); 6] = [
        (&[], Trusted(Pinned, 1)),
        (&[Compare(1)], Trusted(Verified, 1)),
        (&[Show(2), Accept(2)], Trusted(Overridden, 2)),
        (&[Compare(1), Show(2)], Between(1, 2, false)),
        (&[Compare(1), Show(2), Refuse(2)], Between(1, 2, true)),
        (&[Show(2), Accept(2), Show(1), Refuse(1)], Between(2, 1, true)),
    ];
    // What follows on each of these: where the peer stands then, and whether there is one to talk to, or the word was taken.
    let steps = [Show(1), Show(2), Show(3), Accept(1), Accept(2), Accept(3), Refuse(2), Compare(1), Compare(2)];
    let stays = |at: At| (at, false);
    let table: [[(At, bool); 9]; 6] = [
        [
            (Trusted(Pinned, 1), true),
            stays(Between(1, 2, false)),
            stays(Between(1, 3, false)),
            stays(Trusted(Pinned, 1)),
            stays(Trusted(Pinned, 1)),
            stays(Trusted(Pinned, 1)),
            stays(Trusted(Pinned, 1)),
            (Trusted(Verified, 1), true),
            stays(Trusted(Pinned, 1)),
        ],
        [
            (Trusted(Verified, 1), true),
            stays(Between(1, 2, false)),
            stays(Between(1, 3, false)),
            stays(Trusted(Verified, 1)),
            stays(Trusted(Verified, 1)),
            stays(Trusted(Verified, 1)),
            stays(Trusted(Verified, 1)),
            (Trusted(Verified, 1), true),
            stays(Trusted(Verified, 1)),
        ],
        [
            stays(Between(2, 1, false)),
            (Trusted(Overridden, 2), true),
            stays(Between(2, 3, false)),
            stays(Trusted(Overridden, 2)),
            stays(Trusted(Overridden, 2)),
            stays(Trusted(Overridden, 2)),
            stays(Trusted(Overridden, 2)),
            stays(Trusted(Overridden, 2)),
            (Trusted(Verified, 2), true),
        ],
        [
            // An alarm does not go away because the old key comes back.
            stays(Between(1, 2, false)),
            stays(Between(1, 2, false)),
            stays(Between(1, 3, false)),
            stays(Between(1, 2, false)),
            (Trusted(Overridden, 2), true),
            stays(Between(1, 2, false)),
            (Between(1, 2, true), true),
            stays(Between(1, 2, false)),
            stays(Between(1, 2, false)),
        ],
        [
            // A person has said no to the other: the old key is what it was.
            (Trusted(Verified, 1), true),
            stays(Between(1, 2, true)),
            stays(Between(1, 3, false)),
            stays(Between(1, 2, true)),
            (Trusted(Overridden, 2), true),
            stays(Between(1, 2, true)),
            (Between(1, 2, true), true),
            stays(Between(1, 2, true)),
            stays(Between(1, 2, true)),
        ],
        [
            stays(Between(2, 1, true)),
            (Trusted(Overridden, 2), true),
            stays(Between(2, 3, false)),
            (Trusted(Overridden, 1), true),
            stays(Between(2, 1, true)),
            stays(Between(2, 1, true)),
            stays(Between(2, 1, true)),
            stays(Between(2, 1, true)),
            stays(Between(2, 1, true)),
        ],
    ];
    let take = |trust: &mut PeerTrust, step: Do| match step {
        Show(n) => trust.observe(&proven(&list(n, 1))).is_ok(),
        Accept(n) => trust.decide(&account(n).public().fingerprint(), true, NOW).is_ok(),
        Refuse(n) => trust.decide(&account(n).public().fingerprint(), false, NOW).is_ok(),
        Compare(n) => trust.verified(account(n).public(), NOW).is_ok(),
    };
    for ((way, state), row) in states.iter().zip(&table) {
        let mut reached = PeerTrust::pin(&proven(&list(1, 1)));
        for step in *way {
            take(&mut reached, *step);
        }
        assert_eq!(at(&reached), *state);
        for (step, expected) in steps.iter().zip(row) {
            let mut trust = reached.clone();
            let done = take(&mut trust, *step);
            assert_eq!((at(&trust), done), *expected, "{step:?} in {state:?}");
            assert_eq!(PeerTrust::from_bytes(&trust.to_bytes()), Ok(trust), "as it is stored");
        }
    }
}
