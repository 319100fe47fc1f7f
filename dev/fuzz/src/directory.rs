//! The entries of the key directory: what a server answers, what a log serves, and what is kept of a failed proof.

use undertone_keys::agreement::{DeviceKey, SoftwareKey};
use undertone_keys::device_list::DeviceList;
use undertone_keys::digest::sha256;
use undertone_keys::record::DeviceRecord;
use undertone_keys::sign::{Server, SigningKey};
use undertone_keys::testing::SeededRng;
use undertone_keys::{UserId, WallTime};
use undertone_transparency::answer::Answer;
use undertone_transparency::checkpoint::{SignedCheckpoint, origin};
use undertone_transparency::cosignature::Cosignature;
use undertone_transparency::directory::{AbsenceProof, AppendOnlyProof, HistoryProof, LookupProof, guard};
use undertone_transparency::evidence::Evidence;
use undertone_transparency::follow::{self, Check, Progress};
use undertone_transparency::history::{HistoryAnswer, HistoryQuestion};
use undertone_transparency::leaf::Leaf;
use undertone_transparency::log::{Bundle, TilePath, VerifiedTiles};
use undertone_transparency::note::{LogKey, NoteSignature, WitnessKey};
use undertone_transparency::policy::Witnesses;
use undertone_transparency::seen::Seen;
use undertone_transparency::verify::{Pins, Purpose, Question};

use crate::targets::same;

/// Somebody who pins a key that signed nothing of what comes.
pub(crate) fn answer(bytes: &[u8]) {
    let Ok(user) = UserId::parse("ada", "localhost") else { return };
    let key = SigningKey::<Server>::generate(&mut SeededRng::new(1));
    let pins =
        Pins { domain: "localhost".into(), log: *key.public(), vrf: sha256(&[b"none"]), witnesses: Witnesses::none() };
    let now = WallTime::from_unix(1_000);
    let question = Question { pins: &pins, user: &user, seen: None, known: None, now, purpose: Purpose::Begin };
    assert!(question.verify(bytes).is_err(), "believed on nobody's word");
    if let Ok(answer) = Answer::from_bytes(bytes) {
        same("answer", &answer.to_bytes(), bytes);
        let evidence = Evidence::new(&question, bytes);
        assert!(evidence.check().is_ok_and(|checked| checked.is_err()), "evidence of what holds");
    }
    let _ = Seen::from_bytes(bytes, "localhost", key.public());
}

pub(crate) fn proofs(bytes: &[u8]) {
    if let Ok(proof) = LookupProof::from_bytes(bytes) {
        same("look-up", &proof.to_bytes(), bytes);
        if let Ok(akd) = proof.to_akd() {
            let _ = guard::check(&akd.freshness_proof);
        }
    }
    if let Ok(proof) = AbsenceProof::from_bytes(bytes) {
        same("absence", &proof.to_bytes(), bytes);
    }
    if let Ok(proof) = HistoryProof::from_bytes(bytes) {
        same("history", &proof.to_bytes(), bytes);
    }
    if let Ok(proof) = AppendOnlyProof::from_bytes(bytes) {
        same("append-only proof", &proof.to_bytes(), bytes);
    }
}

pub(crate) fn signed_note(bytes: &[u8]) {
    if let Ok(checkpoint) = SignedCheckpoint::from_bytes(bytes) {
        same("checkpoint", &checkpoint.to_bytes(), bytes);
        for line in checkpoint.note().signatures() {
            if let Ok(cosignature) = Cosignature::from_bytes(&line.bytes) {
                same("cosignature", &cosignature.to_bytes(), &line.bytes);
            }
        }
    }
    if let Ok(text) = core::str::from_utf8(bytes) {
        let _ = NoteSignature::parse_lines(text);
        if let Ok(key) = text.parse::<LogKey>() {
            same("log key", key.to_string().as_bytes(), bytes);
        }
        if let Ok(key) = text.parse::<WitnessKey>() {
            same("witness key", key.to_string().as_bytes(), bytes);
        }
    }
}

/// A path, a leaf, entries, and tiles of a tree whose size and root are the first bytes.
pub(crate) fn log_tiles(bytes: &[u8]) {
    if let Ok(text) = core::str::from_utf8(bytes)
        && let Ok(path) = text.parse::<TilePath>()
    {
        same("tile path", path.to_string().as_bytes(), bytes);
    }
    if let Ok(leaf) = Leaf::from_bytes(bytes) {
        same("leaf", &leaf.to_bytes(), bytes);
    }
    if let Some(bundle) = Bundle::new(0, 2)
        && let Ok(entries) = bundle.decode(bytes)
    {
        same("entries", &bundle.encode(&entries).unwrap_or_default(), bytes);
    }
    if let Some((size, rest)) = bytes.split_first_chunk()
        && let Some((root, rest)) = rest.split_first_chunk()
    {
        let edge: Vec<&[u8]> = rest.chunks(64).collect();
        let _ = VerifiedTiles::open(u64::from_be_bytes(*size), root, &edge);
    }
}

/// The history of an account whose newest list this device knows, by nobody's word.
pub(crate) fn history(bytes: &[u8]) {
    let rng = &mut SeededRng::new(2);
    let (account, identity, agreement) =
        (SigningKey::generate(rng), SigningKey::generate(rng), SoftwareKey::generate(rng));
    let Ok(user) = UserId::parse("ada", "localhost") else { return };
    let now = WallTime::from_unix(1_000);
    let record = DeviceRecord::new(user.clone(), *identity.public(), *agreement.public(), now, "laptop".into());
    let Ok(from) = DeviceList::first(&account, &user, record.sign(&identity)) else { return };
    let key = SigningKey::<Server>::generate(rng);
    let pins =
        Pins { domain: "localhost".into(), log: *key.public(), vrf: sha256(&[b"none"]), witnesses: Witnesses::none() };
    let question = HistoryQuestion { pins: &pins, seen: None, from: &from, newest_in: None, now };
    assert!(question.verify(bytes).is_err(), "believed on nobody's word");
    if let Ok(answer) = HistoryAnswer::from_bytes(bytes) {
        same("history answer", &answer.to_bytes(), bytes);
        let evidence = Evidence::of_history(&question, bytes);
        assert!(evidence.check().is_ok_and(|checked| checked.is_err()), "evidence of what holds");
    }
}

/// What whoever reads a log keeps of it, and how far they have read.
pub(crate) fn log_evidence(bytes: &[u8]) {
    if let Ok(evidence) = follow::Evidence::from_bytes(bytes) {
        same("evidence of a log", &evidence.to_bytes(), bytes);
        let _ = (evidence.convicts(), evidence.digest(), evidence.log());
    }
    let key = SigningKey::<Server>::generate(&mut SeededRng::new(1));
    let Ok(name) = origin("localhost") else { return };
    let log = LogKey::new(name, *key.public());
    if let Ok(progress) = Progress::from_bytes(bytes, &log) {
        same("progress", &progress.to_bytes(), bytes);
    }
    let begun = Check::begin(&Progress::new(log), None, bytes, WallTime::from_unix(1));
    assert!(begun.is_err(), "a checkpoint that its log never signed");
}

pub(crate) fn evidence(bytes: &[u8]) {
    if let Ok(evidence) = Evidence::from_bytes(bytes) {
        same("evidence", &evidence.to_bytes(), bytes);
        let _ = evidence.check();
    }
}
