use super::*;
use crate::CallId;
use crate::agreement::{DeviceKey, EphemeralKey, SoftwareKey};
use crate::sas::{Half, Sas};
use crate::testing::SeededRng;

struct Sides {
    caller: CallKeys,
    callee: CallKeys,
    transcript: Transcript,
}

/// Runs the agreement; `meddle` may replace the static key that the callee believes to be the caller's.
fn agree(seed: u64, meddle: bool) -> Sides {
    let rng = &mut SeededRng::new(seed);
    let (sa, sb, mallory) = (SoftwareKey::generate(rng), SoftwareKey::generate(rng), SoftwareKey::generate(rng));
    let (ea, eb) = (EphemeralKey::generate(rng), EphemeralKey::generate(rng));
    let believed = if meddle { mallory.public() } else { sa.public() };
    let transcript = Transcript::new(&(*sa.public()).into(), &(*sb.public()).into(), b"invite", b"answer");
    let caller = Shares {
        ephemeral_static: ea.agree(sb.public()).unwrap(),
        static_static: sa.agree(sb.public()).unwrap(),
        ephemeral_ephemeral: ea.agree(eb.public()).unwrap(),
        static_ephemeral: sa.agree(eb.public()).unwrap(),
    };
    let callee = Shares {
        ephemeral_static: sb.agree(ea.public()).unwrap(),
        static_static: sb.agree(believed).unwrap(),
        ephemeral_ephemeral: eb.agree(ea.public()).unwrap(),
        static_ephemeral: eb.agree(believed).unwrap(),
    };
    Sides {
        caller: CallKeys::derive(&transcript, &caller, None),
        callee: CallKeys::derive(&transcript, &callee, None),
        transcript,
    }
}

#[test]
fn call_1_both_sides_have_the_same_keys() {
    let sides = agree(1, false);
    let (a, b, t) = (&sides.caller, &sides.callee, &sides.transcript);
    assert!(bool::from(a.media.ct_eq(&b.media)));
    assert!(a.confirm_callee.verify(t, &b.confirm_callee.mac(t)));
    assert!(b.confirm_caller.verify(t, &a.confirm_caller.mac(t)));
    assert!(!b.confirm_caller.verify(t, &a.confirm_callee.mac(t)), "a confirmation is not its own answer");
    let (r_a, r_b) = (Half::from_bytes([1; 32]), Half::from_bytes([2; 32]));
    let (left, right) = (Sas::derive(&a.sas, t, &r_a, &r_b), Sas::derive(&b.sas, t, &r_a, &r_b));
    assert!(left == right);
    assert!(left != Sas::derive(&a.sas, t, &r_b, &r_a));
    assert_eq!(left.emoji().len() + left.digits().len(), 10);
}

#[test]
fn call_1_a_wrong_static_key_does_not_confirm() {
    let sides = agree(2, true);
    let (a, b, t) = (&sides.caller, &sides.callee, &sides.transcript);
    assert!(!bool::from(a.media.ct_eq(&b.media)));
    assert!(!a.confirm_callee.verify(t, &b.confirm_callee.mac(t)));
    assert!(!b.confirm_caller.verify(t, &a.confirm_caller.mac(t)));
}

#[test]
fn call_1_the_transcript_separates_its_parts() {
    let rng = &mut SeededRng::new(3);
    let (a, b) = (SoftwareKey::generate(rng), SoftwareKey::generate(rng));
    let (a, b): (&StaticKey, &StaticKey) = (&(*a.public()).into(), &(*b.public()).into());
    let base = Transcript::new(a, b, b"invite", b"answer");
    assert_ne!(base, Transcript::new(b, a, b"invite", b"answer"));
    assert_ne!(base, Transcript::new(a, b, b"invitea", b"nswer"));
    assert_ne!(base, Transcript::new(a, b, b"answer", b"invite"));
}

#[test]
fn call_4_sas_depends_on_both_halves() {
    let sides = agree(4, false);
    let (key, t) = (&sides.caller.sas, &sides.transcript);
    let rng = &mut SeededRng::new(5);
    let call = CallId::random(rng);
    let (a, b, c) = (Half::random(rng), Half::random(rng), Half::random(rng));
    assert!(a.opens(&a.commit(&call), &call));
    let shown = Sas::derive(key, t, &a, &b);
    assert!(shown != Sas::derive(key, t, &c, &b));
    assert!(shown != Sas::derive(key, t, &a, &c));
}

#[test]
fn call_2_two_halves_and_the_transcript_make_the_key() {
    let rng = &mut SeededRng::new(6);
    let (a, b) = (SoftwareKey::generate(rng), SoftwareKey::generate(rng));
    let transcript = |answer: &[u8]| Transcript::new(&(*a.public()).into(), &(*b.public()).into(), b"invite", answer);
    let (mine, theirs) = (LegacyHalf::random(rng), LegacyHalf::random(rng));
    let key = |answer: &[u8], caller: &LegacyHalf, callee: &LegacyHalf| {
        CallKeys::derive_legacy(&transcript(answer), caller, callee, None).media
    };
    let base = key(b"answer", &mine, &theirs);
    assert!(bool::from(base.ct_eq(&key(b"answer", &mine.again(), &theirs.again()))));
    for other in [
        key(b"another", &mine, &theirs),
        key(b"answer", &theirs, &mine),
        key(b"answer", &mine, &mine),
        key(b"answer", &LegacyHalf::random(rng), &theirs),
    ] {
        assert!(!bool::from(base.ct_eq(&other)));
    }
}
