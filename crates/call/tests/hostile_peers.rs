//! A peer whose account and device are genuine and who signs everything properly, but who lies in one place: every
//! check of CALL-1, CALL-4 and NEG-1 has a lie here that nothing else would stop. The peer is made by hand, from the
//! rules alone, so that a phone that forgets a check cannot forget it on both sides.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing, reason = "a test may fail")]

mod world;

use undertone_call::signal::{Answer, Invite, Signal};
use undertone_call::{Input, Outcome};
use undertone_keys::agreement::{DeviceKey, EphemeralKey};
use undertone_keys::call_agreement::{CallKeys, Shares, Transcript};
use undertone_keys::cbor;
use undertone_keys::choice::Agreement;
use undertone_keys::digest::sha256;
use undertone_keys::envelope::{self, Envelope, Header, Purpose};
use undertone_keys::sas::Half;
use undertone_keys::sign::SigningKey;
use undertone_keys::{CallId, RequestId};
use undertone_protocol::{Grant, Protection, Terms};
use world::World;

const ADA: usize = 0;
const BOB: usize = 1;
const NAMES: [&str; 2] = ["ada", "bob"];

/// Seals a signal as device `from` of the world would, and brings it to the other's phone.
fn say(world: &mut World, from: usize, call: CallId, signal: &Signal) {
    let (to, grant) = (1 - from, world.any_grant(1 - from, call, Protection::Blind));
    let header = Header {
        format: envelope::FORMAT,
        algorithm: Agreement::P256,
        purpose: Purpose::CallSignal,
        context: *call.as_bytes(),
        term: 0,
        epoch: 0,
        not_before: world.wall(),
        sender: world.devices[from].address.clone(),
        recipient: world.devices[to].address.clone(),
        request: RequestId::random(&mut world.rng),
    };
    let identity = world.devices[from].local.identity.clone();
    let recipient = world.devices[to].local.key.clone();
    let envelope = envelope::seal(&mut world.rng, &identity, &header, &recipient, &signal.encode()).unwrap();
    world.inject(to, NAMES[from], envelope, Some(grant));
}

/// Opens the newest envelope that the other's phone sent to device `to`.
fn hear(world: &World, to: usize) -> Signal {
    let sender = world.peer(&world.devices[1 - to].address.user);
    let record = sender.device(world.devices[1 - to].address.device).unwrap();
    let envelope = Envelope::from_bytes(world.seen.last().unwrap()).unwrap();
    let context = envelope.claimed().context;
    let envelope = envelope.verify(
        record,
        &world.devices[to].address,
        world.devices[to].local.key.kind(),
        Purpose::CallSignal,
        &context,
    );
    let envelope = envelope.unwrap();
    let answer = world.devices[to].key.answer(&envelope.question()).unwrap();
    Signal::decode(envelope.open(&world.devices[to].local.key, &answer).unwrap().as_slice()).unwrap()
}

/// What a caller lies about.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum CallersLie {
    None,
    Mac,
    Half,
    OwnKey,
    CalleesKey,
    OwnAccount,
    CalleesAccount,
    Suite,
    Quorum,
}

/// A call by a hand-made caller to Bob's phone; returns what Bob saw.
fn called(lie: CallersLie) -> Vec<String> {
    let mut world = World::new(1, &NAMES);
    let call = world.call_id();
    let (ephemeral, half) = (EphemeralKey::generate(&mut world.rng), Half::random(&mut world.rng));
    let (ada, bob) = (world.devices[ADA].local.clone(), world.devices[BOB].local.clone());
    let another_key = *EphemeralKey::generate(&mut world.rng).public();
    let another_account = *SigningKey::generate(&mut world.rng).public();
    let grant = Grant::hash(&world.any_grant(ADA, call, Protection::Blind));
    let terms = Terms::one_to_one(Protection::Blind);
    let invite = cbor::encode(&Invite {
        call,
        caller: ada.address.clone(),
        callee: bob.address.clone(),
        caller_key: if lie == CallersLie::OwnKey { another_key.into() } else { ada.key.clone() },
        callee_key: if lie == CallersLie::CalleesKey { another_key.into() } else { bob.key.clone() },
        ephemeral: Some(*ephemeral.public()),
        commitment: half.commit(&call),
        terms: match lie {
            CallersLie::Suite => Terms { suite: 4, ..terms },
            CallersLie::Quorum => Terms { quorum: true, ..terms },
            _ => terms,
        },
        grant,
        created: world.wall(),
        caller_account: if lie == CallersLie::OwnAccount { another_account } else { ada.account },
        callee_account: if lie == CallersLie::CalleesAccount { another_account } else { bob.account },
        checkpoint: Vec::new(),
        quorum: None,
    });
    say(&mut world, ADA, call, &Signal::Invite(invite.clone()));
    world.input(BOB, Input::Accept);
    let Signal::Answer { body, mac } = hear(&world, ADA) else { return world.words(BOB) };
    let answer: Answer = cbor::decode(&body).unwrap();
    let shares = Shares {
        ephemeral_static: ephemeral.agree(bob.key.p256().unwrap()).unwrap(),
        static_static: world.devices[ADA].key.p256().agree(bob.key.p256().unwrap()).unwrap(),
        ephemeral_ephemeral: ephemeral.agree(&answer.ephemeral.unwrap()).unwrap(),
        static_ephemeral: world.devices[ADA].key.p256().agree(&answer.ephemeral.unwrap()).unwrap(),
    };
    let transcript = Transcript::new(&ada.key, &bob.key, &invite, &body);
    let keys = CallKeys::derive(&transcript, &shares, None);
    assert!(keys.confirm_callee.verify(&transcript, &mac), "what Bob answers holds");
    let mut mac = keys.confirm_caller.mac(&transcript);
    mac[31] ^= u8::from(lie == CallersLie::Mac);
    let mut half = *half.as_bytes();
    half[31] ^= u8::from(lie == CallersLie::Half);
    say(&mut world, ADA, call, &Signal::Confirm { half, mac });
    if lie != CallersLie::None {
        assert!(matches!(hear(&world, ADA), Signal::Over(Outcome::RefusedByProof)), "the caller is told");
    }
    world.words(BOB)
}

#[test]
fn call_1_a_caller_that_lies_is_refused() {
    assert_eq!(called(CallersLie::None), ["incoming", "established"], "by hand and by rule it works");
    for lie in [CallersLie::Mac, CallersLie::Half] {
        assert_eq!(called(lie), ["incoming", "refused_by_proof"], "{lie:?}");
    }
    for lie in [CallersLie::OwnKey, CallersLie::CalleesKey, CallersLie::OwnAccount, CallersLie::CalleesAccount] {
        let words = called(lie);
        assert_eq!(words, ["rejected: an invite that names other keys or accounts than the proven ones"], "{lie:?}");
    }
    for lie in [CallersLie::Suite, CallersLie::Quorum] {
        assert_eq!(called(lie), ["rejected: an invite on terms this version does not speak"], "{lie:?}");
    }
}

/// What a callee lies about.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum CalleesLie {
    None,
    Mac,
    Invite,
    StaticKey,
}

/// A call by Ada's phone to a hand-made callee; returns what Ada saw.
fn calls(lie: CalleesLie) -> Vec<String> {
    let mut world = World::new(2, &NAMES);
    let call = world.call_id();
    world.loss = 100;
    world.dial(ADA, "bob", call).unwrap();
    let Signal::Invite(invite) = hear(&world, BOB) else { panic!("no invite") };
    let body: Invite = cbor::decode(&invite).unwrap();
    let (ada, bob) = (world.devices[ADA].local.clone(), world.devices[BOB].local.clone());
    assert_eq!((body.caller_account, body.callee_account), (ada.account, bob.account));
    let ephemeral = EphemeralKey::generate(&mut world.rng);
    let half = Half::random(&mut world.rng);
    let mut named = sha256(&[&invite]);
    named[0] ^= u8::from(lie == CalleesLie::Invite);
    let answer = cbor::encode(&Answer {
        invite: named,
        ephemeral: Some(*ephemeral.public()),
        half: *half.as_bytes(),
        grant: Grant::hash(&world.any_grant(BOB, call, Protection::Blind)),
        checkpoint: Vec::new(),
        quorum: None,
    });
    // Somebody who has the callee's signing key and not its agreement key.
    let thief = EphemeralKey::generate(&mut world.rng);
    let agree =
        |key| if lie == CalleesLie::StaticKey { thief.agree(key) } else { world.devices[BOB].key.p256().agree(key) };
    let shares = Shares {
        ephemeral_static: agree(&body.ephemeral.unwrap()).unwrap(),
        static_static: agree(ada.key.p256().unwrap()).unwrap(),
        ephemeral_ephemeral: ephemeral.agree(&body.ephemeral.unwrap()).unwrap(),
        static_ephemeral: ephemeral.agree(ada.key.p256().unwrap()).unwrap(),
    };
    let transcript = Transcript::new(&ada.key, &bob.key, &invite, &answer);
    let mut mac = CallKeys::derive(&transcript, &shares, None).confirm_callee.mac(&transcript);
    mac[0] ^= u8::from(lie == CalleesLie::Mac);
    say(&mut world, BOB, call, &Signal::Answer { body: answer, mac });
    world.words(ADA)
}

#[test]
fn call_1_a_callee_that_lies_is_refused() {
    assert_eq!(calls(CalleesLie::None), ["established"], "by hand and by rule it works");
    assert_eq!(calls(CalleesLie::Mac), ["refused_by_proof"]);
    assert_eq!(calls(CalleesLie::StaticKey), ["refused_by_proof"]);
    // An answer to something else is no answer.
    assert!(calls(CalleesLie::Invite).is_empty());
}

#[test]
fn call_1_a_stray_confirmation_changes_no_call() {
    let stray = Signal::Confirm { half: [1; 32], mac: [2; 32] };
    for accepted in [false, true] {
        let mut world = World::new(3, &["ada", "bob", "eve"]);
        let call = world.call_id();
        world.dial(ADA, "bob", call).unwrap();
        world.run(1);
        if accepted {
            world.input(BOB, Input::Accept);
            world.run(1);
        }
        let other = world.call_id();
        // From the very peer about another call, and about this call in a state that awaits none: to caller and callee.
        for (from, about) in [(ADA, other), (BOB, other), (BOB, call)] {
            say(&mut world, from, about, &stray);
            assert!(world.devices[1 - from].phone.is_busy(), "accepted: {accepted}, from {from}");
        }
        world.input(BOB, if accepted { Input::HangUp } else { Input::Decline });
        world.run(1);
        let end = if accepted { "ended" } else { "declined" };
        assert_eq!(world.words(ADA).last().unwrap(), end, "the call can still be ended");
        assert!(!world.devices[ADA].phone.is_busy() && !world.devices[BOB].phone.is_busy());
    }
}

#[test]
fn neg_1_in_glare_nobody_is_put_into_a_call_on_other_terms() {
    let mut world = World::new(4, &NAMES);
    let (low, high) = (CallId::from_bytes([1; 16]), CallId::from_bytes([2; 16]));
    world.loss = 100;
    world.dial(ADA, "bob", high).unwrap();
    let (ada, bob) = (world.devices[ADA].local.clone(), world.devices[BOB].local.clone());
    let half = Half::random(&mut world.rng);
    let invite = Invite {
        call: low,
        caller: bob.address.clone(),
        callee: ada.address.clone(),
        caller_key: bob.key.clone(),
        callee_key: ada.key.clone(),
        ephemeral: Some(*EphemeralKey::generate(&mut world.rng).public()),
        commitment: half.commit(&low),
        terms: Terms::one_to_one(Protection::Hop),
        grant: [0; 32],
        created: world.wall(),
        caller_account: bob.account,
        callee_account: ada.account,
        checkpoint: Vec::new(),
        quorum: None,
    };
    world.granted = Some(Protection::Hop);
    say(&mut world, BOB, low, &Signal::Invite(cbor::encode(&invite)));
    assert_eq!(world.words(ADA), ["yielded", "incoming"]);
    assert!(world.devices[ADA].phone.ringing().is_some(), "a person decides");
}

#[test]
fn signals_are_applied_in_the_order_in_which_they_came() {
    let mut world = World::new(5, &NAMES);
    let call = world.call_id();
    world.loss = 100;
    world.dial(ADA, "bob", call).unwrap();
    world.input(ADA, Input::HangUp);
    let (invite, goodbye) = (world.seen[0].clone(), world.seen[1].clone());
    // A token takes its time with the invite, and is quick with the goodbye.
    world.devices[BOB].slow = true;
    let grant = world.any_grant(BOB, call, Protection::Blind);
    world.inject(BOB, "ada", invite, Some(grant));
    world.inject(BOB, "ada", goodbye, None);
    let mut answers = std::mem::take(&mut world.devices[BOB].slowly);
    answers.reverse();
    for answer in answers {
        world.input(BOB, answer);
    }
    assert_eq!(world.words(BOB), ["incoming", "cancelled"], "and not the other way round, ringing on");
}
