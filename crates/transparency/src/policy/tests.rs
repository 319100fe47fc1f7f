use undertone_keys::Secret;
use undertone_keys::sign::{Server, SigningKey, Witness};

use super::*;
use crate::checkpoint::{Checkpoint, SignedCheckpoint, origin};
use crate::note::LogKey;

const NOW: WallTime = WallTime::from_unix(1_000_000);

fn log_key() -> SigningKey<Server> {
    SigningKey::from_seed(Secret::take(&mut [1; 32]))
}

fn signer(number: u8) -> SigningKey<Witness> {
    SigningKey::from_seed(Secret::take(&mut [100 + number; 32]))
}

fn name(number: u8) -> KeyName {
    format!("witness.example/w{number}").parse().unwrap()
}

fn key(number: u8) -> WitnessKey {
    WitnessKey::new(name(number), *signer(number).public())
}

/// The policy `threshold` of the first three witnesses.
fn policy(threshold: usize) -> Witnesses {
    Witnesses::new(threshold, vec![key(1), key(2), key(3)]).unwrap()
}

fn plain() -> SignedCheckpoint {
    Checkpoint { origin: origin("example.org").unwrap(), size: 5, root: [5; 32] }.sign(&log_key())
}

fn verify(signed: SignedCheckpoint) -> VerifiedCheckpoint {
    signed.verify(&LogKey::new(origin("example.org").unwrap(), *log_key().public())).unwrap()
}

fn line(number: u8, time: u64) -> NoteSignature {
    let cosignature = Cosignature::sign(&verify(plain()), &signer(number), WallTime::from_unix(time)).unwrap();
    cosignature.line(&key(number))
}

fn with(lines: impl IntoIterator<Item = NoteSignature>) -> VerifiedCheckpoint {
    let mut signed = plain();
    lines.into_iter().for_each(|line| signed.push(line).unwrap());
    verify(signed)
}

fn why(witnessed: &Witnessed) -> Vec<Why> {
    witnessed.ignored.iter().map(|ignored| ignored.why).collect()
}

#[test]
fn kt_2_enough_witnesses_are_enough() {
    let checkpoint = with([line(2, 999_990), line(1, 999_900)]);
    let witnessed = policy(2).check(&checkpoint, NOW).unwrap();
    assert_eq!((witnessed.count(), witnessed.threshold), (2, 2));
    assert!(witnessed.is_witnessed());
    assert!(witnessed.names().eq(&[name(1), name(2)]));
    let times = [999_900, 999_990].map(WallTime::from_unix);
    assert!(witnessed.witnesses.iter().map(|witness| witness.time).eq(times));
    assert_eq!(witnessed.ignored, []);
    let too_few = policy(3).check(&checkpoint, NOW).unwrap_err();
    assert_eq!((too_few.0.count(), too_few.0.threshold), (2, 3));
    assert_eq!(too_few.to_string(), "2 of the witnesses cosigned the checkpoint, 3 have to");
    assert!(!too_few.0.is_witnessed());
}

#[test]
fn kt_2_a_repeated_witness_counts_once() {
    let checkpoint = with([line(1, 999_000), line(1, 999_500), line(1, 998_000), line(1, 999_000)]);
    let too_few = policy(2).check(&checkpoint, NOW).unwrap_err();
    assert_eq!(too_few.0.witnesses, [Cosigner { name: name(1), time: WallTime::from_unix(999_500), size: 5 }]);
    assert_eq!(why(&too_few.0), [Why::Repeated, Why::Repeated, Why::Repeated]);
    let told = format!(
        "1 of the witnesses cosigned the checkpoint, 2 have to; not counted: witness.example/w1+{} (a witness that was counted already)",
        key(1).id()
    );
    assert_eq!(too_few.to_string(), told);
    assert!(policy(1).check(&checkpoint, NOW).unwrap().is_witnessed());
}

#[test]
fn kt_2_an_unknown_witness_is_ignored_and_reported() {
    let checkpoint = with([line(4, 999_000), line(1, 999_000)]);
    let too_few = policy(2).check(&checkpoint, NOW).unwrap_err();
    let expected = Ignored { name: name(4), id: key(4).id(), why: Why::Unknown };
    assert_eq!(too_few.0.ignored, [expected]);
    assert_eq!(policy(1).check(&checkpoint, NOW).unwrap().count(), 1);
    // A known name with another key, and a known key under another name.
    let other_key = WitnessKey::new(name(1), *signer(4).public());
    let other_name = WitnessKey::new(name(5), *signer(1).public());
    for stranger in [other_key, other_name] {
        let checkpoint = with([stranger.line(&line(1, 999_000).bytes)]);
        assert_eq!(why(&policy(1).check(&checkpoint, NOW).unwrap_err().0), [Why::Unknown]);
    }
}

#[test]
fn kt_2_a_false_cosignature_does_not_count_and_spoils_nothing() {
    let elsewhere = Checkpoint { origin: origin("example.org").unwrap(), size: 6, root: [5; 32] }.sign(&log_key());
    let elsewhere = Cosignature::sign(&verify(elsewhere), &signer(2), WallTime::from_unix(999_000)).unwrap();
    let checkpoint = with([
        elsewhere.line(&key(2)),
        key(2).line(&[0; 64]),
        key(2).line(&[0; 72]),
        line(1, 999_000),
        // Made by witness 1 in the name of witness 3.
        key(3).line(&line(1, 999_000).bytes),
        key(1).line(&[1; 72]),
    ]);
    let witnessed = policy(1).check(&checkpoint, NOW).unwrap();
    assert!(witnessed.names().eq(&[name(1)]));
    let signature = Why::Bad(BadCosignature::Signature);
    let expected =
        [signature, Why::Bad(BadCosignature::Malformed), Why::Bad(BadCosignature::Time), signature, signature];
    assert_eq!(why(&witnessed), expected);
    assert_eq!(policy(2).check(&checkpoint, NOW).unwrap_err().0.count(), 1);
}

/// Whoever shows a checkpoint names what stands below it: a sentence about that stays short, and of one line.
#[test]
fn kt_2_what_did_not_count_is_told_in_few_and_plain_words() {
    let named = |name: String| WitnessKey::new(name.parse().unwrap(), *signer(4).public());
    let long =
        (0..9).map(|n| named(format!("\u{202e}{n}{}", "w".repeat(400)))).map(|key| key.line(&line(1, 999_000).bytes));
    let told = policy(1).check(&with(long), NOW).unwrap_err().to_string();
    assert!(told.contains("\\u{202e}0www") && told.is_ascii() && told.len() < 600, "{told}");
    assert_eq!(told.matches("an unknown witness").count(), 4);
}

#[test]
fn kt_2_a_cosignature_from_the_future_does_not_count() {
    let now = NOW.as_unix();
    for time in [1, now - MAX_AHEAD, now, now + MAX_AHEAD] {
        assert!(policy(1).check(&with([line(1, time)]), NOW).is_ok(), "{time}");
    }
    for time in [now + MAX_AHEAD + 1, u64::MAX >> 1] {
        assert_eq!(why(&policy(1).check(&with([line(1, time)]), NOW).unwrap_err().0), [Why::Future], "{time}");
    }
    // One from the future does not hide the good one of the same witness.
    let both = with([line(1, now + 301), line(1, now)]);
    assert_eq!(policy(1).check(&both, NOW).unwrap().witnesses[0].time, NOW);
    assert!(policy(1).check(&with([line(1, now)]), WallTime::from_unix(u64::MAX)).is_ok());
}

#[test]
fn kt_2_without_witnesses_nothing_is_witnessed() {
    for checkpoint in [with([]), with([line(1, 999_000)])] {
        let witnessed = Witnesses::none().check(&checkpoint, NOW).unwrap();
        assert!(!witnessed.is_witnessed());
        assert_eq!(witnessed.witnesses, []);
    }
    // Neither with witnesses that are known and not asked for.
    let witnessed = policy(0).check(&with([line(1, 999_000)]), NOW).unwrap();
    assert_eq!((witnessed.count(), witnessed.is_witnessed()), (1, false));
    assert_eq!(policy(1).check(&with([]), NOW).unwrap_err().0.count(), 0);
}

#[test]
fn kt_2_a_policy_counts_nobody_twice() {
    assert_eq!(Witnesses::new(2, vec![key(1)]), Err(BadPolicy::Threshold));
    assert_eq!(Witnesses::new(1, Vec::new()), Err(BadPolicy::Threshold));
    assert_eq!(Witnesses::new(2, vec![key(1), key(2), key(1)]), Err(BadPolicy::Twice));
    let same_key = WitnessKey::new(name(9), *signer(1).public());
    assert_eq!(Witnesses::new(2, vec![key(1), same_key]), Err(BadPolicy::Twice));
    let same_name = WitnessKey::new(name(1), *signer(9).public());
    assert_eq!(Witnesses::new(2, vec![key(1), same_name]), Err(BadPolicy::Twice));
    assert_eq!(Witnesses::new(0, Vec::new()), Ok(Witnesses::none()));
}

#[test]
fn kt_2_the_log_is_no_witness_of_its_own() {
    // The log's key, used as a witness's under the log's name.
    let own = WitnessKey::new(origin("example.org").unwrap(), *signer(1).public());
    let cosigned = own.line(&line(1, 999_000).bytes);
    let witnessed = policy(0).check(&with([cosigned]), NOW).unwrap();
    assert_eq!((witnessed.count(), witnessed.ignored.len()), (0, 0));
}
