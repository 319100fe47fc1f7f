use proptest::prelude::*;
use undertone_keys::testing::SeededRng;
use undertone_keys::{DeviceId, Secret};

use super::*;
use crate::sframe::trace;

const CALL: CallId = CallId::from_bytes([1; 16]);

fn key(n: u8) -> MediaKey {
    MediaKey::new(Secret::from_slice(&[n; 32]).unwrap())
}

fn sender(name: &str, index: u16, join: u8) -> Sender {
    Sender {
        user: UserId::parse(name, "x").unwrap(),
        device: DeviceId::from_bytes([name.as_bytes()[0]; 16]),
        join: JoinId::from_bytes([join; 16]),
        index,
    }
}

fn info(context: u16) -> FrameInfo {
    FrameInfo { kind: Kind::Audio, codec: Codec::OPUS_32K, context: Context(context), captured_ms: 7 }
}

fn seal(ring: &mut Ring, payload: &[u8]) -> Vec<u8> {
    let mut out = vec![0; 300];
    let length = ring.seal(info(0), payload, &mut out).unwrap();
    out.truncate(length);
    out
}

fn open(ring: &mut Ring, now: Time, frame: &[u8]) -> Result<Vec<u8>, OpenError> {
    let mut copy = frame.to_vec();
    ring.open(now, Kind::Audio, Codec::OPUS_32K, &mut copy).map(|frame| frame.payload.to_vec())
}

fn pair() -> (Ring, Ring) {
    let (ada, bob) = (sender("ada", 0, 10), sender("bob", 1, 11));
    let ring = |me: &Sender, peer: &Sender| {
        let mut ring = Ring::new(CALL);
        ring.install(Time::ZERO, Epoch(1), key(1)).unwrap();
        ring.join(me.clone()).unwrap();
        ring.admit(peer.clone()).unwrap();
        ring
    };
    (ring(&ada, &bob), ring(&bob, &ada))
}

const fn at(seconds: u64) -> Time {
    Time::from_millis(seconds * 1000)
}

#[test]
fn install_is_idempotent() {
    let (mut ada, mut bob) = pair();
    let frame = seal(&mut ada, b"one");
    assert_eq!(ada.install(Time::ZERO, Epoch(1), key(1)), Ok(Installed::Held));
    assert_eq!(bob.install(Time::ZERO, Epoch(1), key(1)), Ok(Installed::Held));
    assert_eq!(open(&mut bob, Time::ZERO, &frame).unwrap(), b"one");
    // Had installing again reset anything, this would repeat a counter or open a replay.
    assert_eq!(bob.install(Time::ZERO, Epoch(1), key(1)), Ok(Installed::Held));
    assert_eq!(open(&mut bob, Time::ZERO, &frame), Err(OpenError::Replayed));
    assert_ne!(seal(&mut ada, b"one"), frame);
    assert_eq!(bob.install(Time::ZERO, Epoch(1), key(2)), Err(InstallError::Conflict(Epoch(1))));
}

#[test]
fn grp_4_a_pending_epoch_opens_and_does_not_seal() {
    let (mut ada, mut bob) = pair();
    ada.install(Time::ZERO, Epoch(2), key(2)).unwrap();
    bob.install(Time::ZERO, Epoch(2), key(2)).unwrap();
    assert_eq!(ada.current_epoch(), Some(Epoch(1)));
    ada.promote(Time::ZERO, Epoch(2), false).unwrap();
    assert_eq!(bob.current_epoch(), Some(Epoch(1)));
    let frame = seal(&mut ada, b"new");
    assert_eq!(open(&mut bob, Time::ZERO, &frame).unwrap(), b"new");
    let old = seal(&mut bob, b"old");
    assert_eq!(open(&mut ada, Time::ZERO, &old).unwrap(), b"old");
}

#[test]
fn grp_4_lifetimes() {
    for (removed, kind, last) in [
        (false, Kind::Audio, PREVIOUS_AUDIO),
        (false, Kind::Video, PREVIOUS_VIDEO),
        (true, Kind::Audio, PREVIOUS_AFTER_REMOVAL),
        (true, Kind::Video, PREVIOUS_AFTER_REMOVAL),
    ] {
        let (mut ada, mut bob) = pair();
        let mut frames = Vec::new();
        for _ in 0..2 {
            let mut out = [0; 300];
            let length = ada.seal(FrameInfo { kind, ..info(0) }, b"old", &mut out).unwrap();
            frames.push(out[..length].to_vec());
        }
        bob.install(at(10), Epoch(2), key(2)).unwrap();
        bob.promote(at(10), Epoch(2), removed).unwrap();
        let just_before = at(10) + (last - Duration::from_micros(1));
        assert!(bob.open(just_before, kind, Codec::OPUS_32K, &mut frames[0]).is_ok());
        let after = bob.open(at(10) + last, kind, Codec::OPUS_32K, &mut frames[1]);
        assert_eq!(after.unwrap_err(), OpenError::UnknownEpoch);
    }
    let (mut ada, _) = pair();
    ada.install(at(0), Epoch(2), key(2)).unwrap();
    assert_eq!(ada.poll_timeout(), Some(at(60)));
    assert_eq!(ada.promote(at(60), Epoch(2), false), Err(NotPending(Epoch(2))));
    assert_eq!(ada.poll_timeout(), None);
}

#[test]
fn grp_4_epochs_only_grow_and_two_may_wait() {
    let (mut ada, _) = pair();
    ada.install(at(0), Epoch(2), key(2)).unwrap();
    ada.install(at(0), Epoch(3), key(3)).unwrap();
    assert_eq!(ada.install(at(0), Epoch(4), key(4)), Err(InstallError::Full));
    ada.promote(at(0), Epoch(3), false).unwrap();
    // What was overtaken before anybody sealed under it opens for a while, and then is as old as any other.
    assert_eq!(ada.install(at(0), Epoch(2), key(2)), Ok(Installed::Held));
    assert_eq!(ada.promote(at(0), Epoch(2), false), Err(NotPending(Epoch(2))));
    assert_eq!(ada.install(at(11), Epoch(2), key(2)), Err(InstallError::Old(Epoch(2))));
    assert_eq!(ada.promote(at(0), Epoch(1), false), Err(NotPending(Epoch(1))));
    assert_eq!(ada.install(at(0), Epoch(257), key(9)), Err(InstallError::Ambiguous(Epoch(257))));
    ada.retire(Epoch(3));
    assert_eq!(ada.seal(info(0), b"x", &mut [0; 100]), Err(SealError::NoKey));
    // What sealed last comes back where its counters were, and nothing before it does; a newer epoch goes on.
    assert_eq!(ada.install(at(0), Epoch(3), key(3)), Ok(Installed::New));
    assert!(ada.seal(info(0), b"x", &mut [0; 100]).is_ok());
    ada.install(at(0), Epoch(4), key(4)).unwrap();
    ada.promote(at(0), Epoch(4), false).unwrap();
    assert_eq!(ada.current_epoch(), Some(Epoch(4)));
}

#[test]
fn med_4_an_epoch_that_comes_again_opens_nothing_again() {
    let (mut ada, mut bob) = pair();
    ada.install(at(0), Epoch(2), key(2)).unwrap();
    ada.promote(at(0), Epoch(2), false).unwrap();
    let frame = seal(&mut ada, b"once");
    bob.install(at(0), Epoch(2), key(2)).unwrap();
    assert_eq!(open(&mut bob, at(1), &frame).unwrap(), b"once");
    bob.expire(at(61));
    assert_eq!(open(&mut bob, at(61), &frame), Err(OpenError::UnknownEpoch));
    bob.install(at(61), Epoch(2), key(2)).unwrap();
    assert_eq!(open(&mut bob, at(61), &frame), Err(OpenError::Replayed));
    let next = seal(&mut ada, b"twice");
    assert_eq!(open(&mut bob, at(61), &next).unwrap(), b"twice");
}

#[test]
fn med_4_reflected_replayed_forged_and_foreign_frames_do_not_open() {
    let (mut ada, mut bob) = pair();
    let frame = seal(&mut ada, b"one");
    assert_eq!(open(&mut ada, Time::ZERO, &frame), Err(OpenError::Reflected));
    for i in 0..frame.len() {
        let mut changed = frame.clone();
        changed[i] ^= 0x10;
        assert!(open(&mut bob, Time::ZERO, &changed).is_err(), "byte {i}");
        assert!(open(&mut bob, Time::ZERO, &frame[..i]).is_err(), "cut at {i}");
    }
    let mut copy = frame.clone();
    let other_kind = bob.open(Time::ZERO, Kind::Video, Codec::OPUS_32K, &mut copy);
    assert_eq!(other_kind.unwrap_err(), OpenError::Forged);
    let mut copy = frame.clone();
    assert_eq!(bob.open(Time::ZERO, Kind::Audio, Codec(9), &mut copy).unwrap_err(), OpenError::Forged);
    assert_eq!(open(&mut bob, Time::ZERO, &frame).unwrap(), b"one");
    assert_eq!(open(&mut bob, Time::ZERO, &frame), Err(OpenError::Replayed));
    bob.dismiss(0);
    let next = seal(&mut ada, b"two");
    assert_eq!(open(&mut bob, Time::ZERO, &next), Err(OpenError::UnknownSender(0)));
}

#[test]
fn med_2_no_index_and_no_join_is_used_twice() {
    let (mut ada, _) = pair();
    assert_eq!(ada.next_index(), Some(2));
    assert_eq!(ada.admit(sender("bob", 1, 11)), Ok(()));
    assert_eq!(ada.admit(sender("bob", 1, 12)), Err(AdmitError::IndexReused(1)));
    assert_eq!(ada.admit(sender("bob", 2, 11)), Err(AdmitError::JoinReused));
    assert_eq!(ada.admit(sender("bob", 0, 12)), Err(AdmitError::IndexReused(0)));
    assert_eq!(ada.join(sender("ada", 0, 13)), Err(AdmitError::IndexReused(0)));
    assert_eq!(ada.join(sender("ada", 2, 10)), Err(AdmitError::JoinReused));
    assert_eq!(ada.join(sender("ada", 2, 13)), Ok(()));
}

/// A relay that was killed has forgotten which indices it gave, and not every member knows of all of them.
#[test]
fn med_2_an_index_whose_holder_has_gone_may_come_again_under_another_join() {
    let (mut ada, mut bob) = pair();
    let (heard, kept) = (seal(&mut bob, b"heard"), seal(&mut bob, b"kept"));
    assert_eq!(open(&mut ada, Time::ZERO, &heard).unwrap(), b"heard");
    ada.dismiss(1);
    assert_eq!(ada.admit(sender("bob", 1, 11)), Err(AdmitError::JoinReused));
    assert_eq!(ada.admit(sender("bob", 1, 12)), Ok(()));
    // What the former holder sealed does not open, heard or not; what the new one seals does, from its first frame on.
    for old in [heard, kept] {
        assert_eq!(open(&mut ada, Time::ZERO, &old), Err(OpenError::Forged));
    }
    let mut bob = Ring::new(CALL);
    bob.install(Time::ZERO, Epoch(1), key(1)).unwrap();
    bob.join(sender("bob", 1, 12)).unwrap();
    let first = seal(&mut bob, b"first");
    assert_eq!(open(&mut ada, Time::ZERO, &first).unwrap(), b"first");
    assert_eq!(open(&mut ada, Time::ZERO, &first), Err(OpenError::Replayed));
}

/// What a member seals after it promoted an epoch, whoever holds only the one before cannot open (GRP-5).
#[test]
fn grp_5_after_a_promotion_nothing_is_sealed_under_the_epoch_before() {
    let (mut ada, mut bob) = pair();
    let before = seal(&mut ada, b"before");
    ada.install(at(1), Epoch(2), key(2)).unwrap();
    ada.promote(at(1), Epoch(2), true).unwrap();
    let after = seal(&mut ada, b"after");
    let epoch = |frame: &[u8]| KeyId::from_u64(Header::decode(frame).unwrap().0.key_id).unwrap().epoch;
    assert_eq!((epoch(&before), epoch(&after)), (1, 2));
    assert_eq!(open(&mut bob, at(1), &after), Err(OpenError::UnknownEpoch), "who was removed has no key for it");
    bob.install(at(1), Epoch(2), key(2)).unwrap();
    assert_eq!(open(&mut bob, at(1), &after).unwrap(), b"after");
    // A promotion that is retired in the same breath leaves nothing to seal under, and nothing old comes back.
    ada.retire(Epoch(2));
    assert_eq!(ada.seal(info(0), b"x", &mut [0; 100]), Err(SealError::NoKey));
}

#[test]
fn med_6_no_key_no_frame() {
    let mut ring = Ring::new(CALL);
    let mut out = [0; 100];
    assert_eq!(ring.seal(info(0), b"secret", &mut out), Err(SealError::NoKey));
    ring.install(Time::ZERO, Epoch(1), key(1)).unwrap();
    assert_eq!(ring.seal(info(0), b"secret", &mut out), Err(SealError::NoKey));
    assert_eq!(out, [0; 100]);
}

#[test]
fn med_5_a_stranger_cannot_use_up_a_senders_sources() {
    let (mut ada, mut bob) = pair();
    let mut out = [0; 300];
    for context in 100..200 {
        let length = ada.seal(info(context), b"x", &mut out).unwrap();
        out[length - 1] ^= 1;
        assert!(bob.open(Time::ZERO, Kind::Audio, Codec::OPUS_32K, &mut out[..length]).is_err());
    }
    let frame = seal(&mut ada, b"heard");
    assert_eq!(open(&mut bob, Time::ZERO, &frame).unwrap(), b"heard");
}

#[derive(Clone, Debug)]
enum Step {
    Seal(u16),
    InstallAgain,
    NextEpoch(bool),
    Rejoin,
    /// The current epoch is retired and its key handed over once more.
    Retire,
    /// The process dies and comes back into the same epoch with the same key, and a relay that forgot the call gives
    /// it the index it had: only its join id is new.
    Restart,
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        6 => (0_u16..4).prop_map(Step::Seal),
        1 => Just(Step::InstallAgain),
        2 => any::<bool>().prop_map(Step::NextEpoch),
        2 => Just(Step::Rejoin),
        1 => Just(Step::Retire),
        1 => Just(Step::Restart),
    ]
}

/// Two members of one call do anything in any order; `join` draws join ids. Returns every (key, nonce) used.
fn seals(steps: &[(bool, Step)], mut join: impl FnMut(&mut SeededRng) -> JoinId) -> Vec<([u8; 32], [u8; 12])> {
    trace::take();
    let rng = &mut SeededRng::new(7);
    let mut fresh = |name: &str, index: u16, rng: &mut SeededRng| Sender { join: join(rng), ..sender(name, index, 0) };
    let mut indices = [0_u16, 1];
    let names = ["ada", "bob"];
    let start = |epoch: u32| {
        let mut ring = Ring::new(CALL);
        ring.install(Time::ZERO, Epoch(epoch), key(u8::try_from(epoch % 250).unwrap())).unwrap();
        ring
    };
    let mut epochs = [1_u32; 2];
    let mut rings = names.map(|_| start(1));
    for (who, ring) in rings.iter_mut().enumerate() {
        ring.join(fresh(names[who], indices[who], rng)).unwrap();
    }
    let mut out = [0; 100];
    for (second, step) in steps {
        let who = usize::from(*second);
        let (ring, epoch, name) = (&mut rings[who], &mut epochs[who], names[who]);
        match step {
            Step::Seal(context) => {
                // After a retirement there is nothing to seal under.
                let _ = ring.seal(info(*context), b"frame", &mut out);
            }
            Step::Retire => {
                ring.retire(Epoch(*epoch));
                let key = key(u8::try_from(*epoch % 250).unwrap());
                assert_eq!(ring.install(Time::ZERO, Epoch(*epoch), key), Ok(Installed::New));
            }
            Step::InstallAgain => {
                let key = key(u8::try_from(*epoch % 250).unwrap());
                let _ = ring.install(Time::ZERO, Epoch(*epoch), key);
            }
            Step::NextEpoch(removed) => {
                *epoch += 1;
                ring.install(Time::ZERO, Epoch(*epoch), key(u8::try_from(*epoch % 250).unwrap())).unwrap();
                ring.promote(Time::ZERO, Epoch(*epoch), *removed).unwrap();
            }
            Step::Rejoin => {
                indices[who] += 2;
                // A ring refuses a used join id by itself; a fresh one is drawn as a client does.
                let _ = ring.join(fresh(name, indices[who], rng));
            }
            Step::Restart => {
                *ring = start(*epoch);
                ring.join(fresh(name, indices[who], rng)).unwrap();
            }
        }
    }
    trace::take()
}

fn repeats(mut seals: Vec<([u8; 32], [u8; 12])>) -> bool {
    seals.sort_unstable();
    seals.windows(2).any(|pair| pair[0] == pair[1])
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(200))]

    #[test]
    fn nonce_never_repeats(steps in proptest::collection::vec((any::<bool>(), step()), 1..200)) {
        let seals = seals(&steps, JoinId::random);
        prop_assert!(!repeats(seals));
    }
}

/// The property can fail: with a join id that does not change, a restart repeats a nonce.
#[test]
fn nonce_repeats_where_join_ids_do_not_change() {
    let steps = [(false, Step::Seal(0)), (false, Step::Restart), (false, Step::Seal(0))];
    assert!(repeats(seals(&steps, |_| JoinId::from_bytes([1; 16]))));
    assert!(!repeats(seals(&steps, JoinId::random)));
}

#[test]
fn restarted_device_never_reuses_a_key() {
    let steps = [
        (false, Step::Seal(0)),
        (false, Step::Restart),
        (false, Step::Seal(0)),
        (false, Step::Rejoin),
        (false, Step::Seal(0)),
    ];
    let mut keys: Vec<[u8; 32]> = seals(&steps, JoinId::random).into_iter().map(|(key, _)| key).collect();
    assert_eq!(keys.len(), 3);
    keys.sort_unstable();
    keys.dedup();
    assert_eq!(keys.len(), 3, "a key was sealed under before and after a restart");
}

#[test]
fn med_3_who_is_suspended_opens_again_as_the_same_join_and_nothing_twice() {
    let (mut ada, mut bob) = pair();
    let (first, second) = (seal(&mut ada, b"one"), seal(&mut ada, b"two"));
    assert_eq!(open(&mut bob, Time::ZERO, &first).unwrap(), b"one");
    bob.suspend(0);
    assert_eq!(open(&mut bob, Time::ZERO, &second), Err(OpenError::UnknownSender(0)));
    // Nobody else gets the place, and no other join of hers.
    assert_eq!(bob.admit(sender("carol", 0, 12)), Err(AdmitError::IndexReused(0)));
    assert_eq!(bob.admit(sender("ada", 0, 13)), Err(AdmitError::IndexReused(0)));
    bob.admit(sender("ada", 0, 10)).unwrap();
    assert_eq!(open(&mut bob, Time::ZERO, &first), Err(OpenError::Replayed));
    assert_eq!(open(&mut bob, Time::ZERO, &second).unwrap(), b"two");
    // Who has gone while suspended does not come again.
    bob.suspend(0);
    bob.dismiss(0);
    assert!(bob.admit(sender("ada", 0, 10)).is_err());
}

/// An MLS group that was joined anew may be at an epoch that this ring has left behind: it is another line (rules GRP-4, GRP-6).
#[test]
fn grp_6_a_ring_that_is_cleared_begins_anew_and_seals_under_no_key_twice() {
    let (mut hers, mut his) = pair();
    for epoch in [7_u8, 8] {
        hers.install(Time::ZERO, Epoch(epoch.into()), key(epoch)).unwrap();
        hers.promote(Time::ZERO, Epoch(epoch.into()), false).unwrap();
    }
    seal(&mut hers, b"before");
    hers.install(Time::ZERO, Epoch(9), key(9)).unwrap();
    hers.clear();
    assert_eq!(hers.epochs().count(), 0);
    assert_eq!(hers.seal(info(0), b"nothing", &mut [0; 200]), Err(SealError::NoKey));
    // What has sealed here never does again: its counters would begin anew. What only waited may.
    assert_eq!(hers.install(Time::ZERO, Epoch(8), key(8)), Err(InstallError::Old(Epoch(8))));
    assert_eq!(hers.install(Time::ZERO, Epoch(7), key(7)), Err(InstallError::Old(Epoch(7))));
    // An older number, another key: current at once.
    assert_eq!(hers.install(Time::ZERO, Epoch(3), key(3)), Ok(Installed::New));
    assert_eq!(hers.current_epoch(), Some(Epoch(3)));
    his.clear();
    his.install(Time::ZERO, Epoch(3), key(3)).unwrap();
    let frame = seal(&mut hers, b"after");
    assert_eq!(open(&mut his, Time::ZERO, &frame).unwrap(), b"after");
    // One that has neither sealed nor opened has no counters that could begin anew.
    his.clear();
    his.install(Time::ZERO, Epoch(5), key(5)).unwrap();
    his.clear();
    assert_eq!(his.install(Time::ZERO, Epoch(5), key(5)), Ok(Installed::New));
    hers.install(Time::ZERO, Epoch(5), key(5)).unwrap();
    hers.promote(Time::ZERO, Epoch(5), false).unwrap();
    open(&mut his, Time::ZERO, &seal(&mut hers, b"opened")).unwrap();
    his.clear();
    assert_eq!(his.install(Time::ZERO, Epoch(5), key(5)), Err(InstallError::Old(Epoch(5))));
    // A key that was lost when the ring was cleared is remembered as well.
    hers.retire(Epoch(5));
    hers.clear();
    assert_eq!(hers.install(Time::ZERO, Epoch(5), key(5)), Err(InstallError::Old(Epoch(5))));
}
