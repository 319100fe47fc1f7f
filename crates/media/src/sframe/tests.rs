use proptest::prelude::*;
use serde_json::Value;
use sframe::CipherSuite;
use sframe::frame::{EncryptedFrame, MediaFrame, MonotonicCounter};
use sframe::key::{DecryptionKey, EncryptionKey};

use super::*;

fn unhex(value: &Value) -> Vec<u8> {
    let text = value.as_str().unwrap();
    (0..text.len() / 2).map(|i| u8::from_str_radix(&text[2 * i..2 * i + 2], 16).unwrap()).collect()
}

fn vectors() -> Value {
    serde_json::from_str(include_str!("../../vectors/sframe.json")).unwrap()
}

fn encoded(header: Header) -> Vec<u8> {
    let mut out = [0; MAX_HEADER];
    let length = header.encode(&mut out);
    out[..length].to_vec()
}

#[test]
fn med_1_headers_are_those_of_rfc_9605() {
    let vectors = vectors();
    let rows = vectors["header"].as_array().unwrap();
    assert!(rows.len() > 200);
    for row in rows {
        let number = |i: usize| row[i].as_str().unwrap().parse().unwrap();
        let header = Header { key_id: number(0), counter: number(1) };
        let bytes = unhex(&row[2]);
        assert_eq!(encoded(header), bytes);
        assert_eq!(Header::decode(&bytes), Ok((header, bytes.len())));
    }
}

#[test]
fn med_1_frames_are_those_of_rfc_9605() {
    let vectors = vectors();
    let row = &vectors["suite_5"][0];
    let (key_id, counter) = (row["kid"].as_u64().unwrap(), row["ctr"].as_u64().unwrap());
    let key = || SframeKey::derive(&unhex(&row["base_key"]), key_id);
    assert_eq!(key().bytes.as_slice(), unhex(&row["sframe_key"]));
    assert_eq!(key().salt.expose().as_slice(), unhex(&row["sframe_salt"]));
    assert_eq!(key().nonce(counter).as_slice(), unhex(&row["nonce"]));
    let mut sealer = Sealer { key: key(), next: counter };
    let mut out = [0; 200];
    let length = sealer.seal(&unhex(&row["metadata"]), &[&unhex(&row["pt"])], &mut out).unwrap();
    assert_eq!(out[..length], unhex(&row["ct"]));
    let (header, header_length) = Header::decode(&out).unwrap();
    let opener = Opener::new(key());
    let text = opener.open(header, header_length, &unhex(&row["metadata"]), &mut out[..length]).unwrap();
    assert_eq!(text, unhex(&row["pt"]));
}

proptest! {
    #[test]
    fn med_1_another_implementation_agrees(
        key_id in any::<u64>(),
        counter in 0..MAX_FRAMES,
        base in any::<[u8; 32]>(),
        text in proptest::collection::vec(any::<u8>(), 0..300),
        metadata in proptest::collection::vec(any::<u8>(), 0..80),
    ) {
        let mut ours = vec![0; text.len() + 40];
        let mut sealer = Sealer { key: SframeKey::derive(&base, key_id), next: counter };
        let length = sealer.seal(&metadata, &[&text[..text.len() / 2], &text[text.len() / 2..]], &mut ours).unwrap();
        ours.truncate(length);

        let suite = CipherSuite::AesGcm256Sha512;
        let theirs = EncryptionKey::derive_from(suite, key_id, base).unwrap();
        let mut at = MonotonicCounter::with_start_value(counter, u64::MAX);
        let frame = MediaFrame::try_with_meta_data(&mut at, &text, &metadata).unwrap().encrypt(&theirs).unwrap();
        prop_assert_eq!(frame.sframe_cipher_text(), ours.as_slice());

        let theirs = DecryptionKey::derive_from(suite, key_id, base).unwrap();
        let opened = EncryptedFrame::try_with_meta_data(&ours, &metadata).unwrap().decrypt(&theirs).unwrap();
        prop_assert_eq!(opened.payload(), text.as_slice());
    }

    #[test]
    fn med_1_headers_have_one_form(bytes in proptest::collection::vec(any::<u8>(), 0..20)) {
        if let Ok((header, length)) = Header::decode(&bytes) {
            prop_assert_eq!(encoded(header), &bytes[..length]);
        }
    }
}

#[test]
fn a_failed_seal_keeps_the_counter_and_a_used_up_key_seals_nothing() {
    let mut sealer = Sealer::new(SframeKey::derive(&[1; 32], 5));
    assert_eq!(sealer.seal(&[], &[b"text"], &mut [0; 20]), Err(SealError::Buffer));
    assert_eq!(sealer.sealed(), 0);
    sealer.next = MAX_FRAMES;
    assert_eq!(sealer.seal(&[], &[b"text"], &mut [0; 64]), Err(SealError::Exhausted));
}
