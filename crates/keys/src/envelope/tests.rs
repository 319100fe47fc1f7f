use super::*;
use crate::agreement::{DeviceKey, SoftwareKey};
use crate::legacy::{LegacyKey, SoftwareLegacyKey};
use crate::testing::SeededRng;

/// A device with a key of either kind.
enum Holder {
    P256(SoftwareKey),
    Rsa2048(Box<SoftwareLegacyKey>),
}

struct Party {
    address: Address,
    identity: SigningKey<Device>,
    holder: Holder,
    key: StaticKey,
    record: DeviceRecord,
}

impl Party {
    fn answer(&self, question: &Question) -> Result<Answer, Refused> {
        match (&self.holder, question) {
            (Holder::P256(key), Question::Agree(peer)) => key.agree(peer).map(Answer::Agreed),
            (Holder::Rsa2048(key), Question::Unwrap(wrapped, label)) => {
                key.unwrap(wrapped, label).map(Answer::Unwrapped)
            }
            _ => Err(Refused::Denied),
        }
    }

    fn open(&self, envelope: &VerifiedEnvelope) -> Option<SecretBytes> {
        let answer = self.answer(&envelope.question()).ok()?;
        envelope.open(&self.key, &answer).ok()
    }
}

fn party_with(rng: &mut SeededRng, name: &str, legacy: bool) -> Party {
    let identity = SigningKey::generate(rng);
    let address = Address { user: UserId::parse(name, "x").unwrap(), device: DeviceId::of(identity.public()) };
    let (holder, key): (Holder, StaticKey) = if legacy {
        let key = SoftwareLegacyKey::generate().unwrap();
        let public = key.public().clone();
        (Holder::Rsa2048(Box::new(key)), public.into())
    } else {
        let key = SoftwareKey::generate(rng);
        let public = *key.public();
        (Holder::P256(key), public.into())
    };
    let made = WallTime::from_unix(1);
    let record = DeviceRecord::new(address.user.clone(), *identity.public(), key.clone(), made, name.into());
    Party { address, identity, holder, key, record }
}

fn party(rng: &mut SeededRng, name: &str) -> Party {
    party_with(rng, name, false)
}

fn header(rng: &mut SeededRng, from: &Party, to: &Party) -> Header {
    Header {
        format: FORMAT,
        algorithm: Agreement::P256,
        purpose: Purpose::CallSignal,
        context: [9; 16],
        term: 0,
        epoch: 0,
        not_before: WallTime::from_unix(5),
        sender: from.address.clone(),
        recipient: to.address.clone(),
        request: RequestId::random(rng),
    }
}

fn sealed(rng: &mut SeededRng, from: &Party, to: &Party, text: &[u8]) -> Vec<u8> {
    let header = header(rng, from, to);
    seal(rng, &from.identity, &header, &to.key, text).unwrap()
}

fn verified(bytes: &[u8], from: &Party, to: &Party) -> Result<VerifiedEnvelope, EnvelopeError> {
    Envelope::from_bytes(bytes)?.verify(&from.record, &to.address, to.key.kind(), Purpose::CallSignal, &[9; 16])
}

#[test]
fn id_4_envelope_opens_for_its_recipient() {
    let rng = &mut SeededRng::new(1);
    let (a, b) = (party(rng, "a"), party(rng, "b"));
    for length in [0, 1, 251, 252, 253, 5000] {
        let text = vec![3; length];
        let bytes = sealed(rng, &a, &b, &text);
        let envelope = verified(&bytes, &a, &b).unwrap();
        assert_eq!(b.open(&envelope).unwrap().as_slice(), text);
    }
}

#[test]
fn id_4_envelope_opens_for_nobody_else_and_nowhere_else() {
    let rng = &mut SeededRng::new(2);
    let (a, b, c) = (party(rng, "a"), party(rng, "b"), party(rng, "c"));
    let bytes = sealed(rng, &a, &b, b"key");
    assert_eq!(verified(&bytes, &a, &c).unwrap_err(), EnvelopeError::Recipient);
    assert_eq!(verified(&bytes, &c, &b).unwrap_err(), EnvelopeError::Signature);
    let place = Envelope::from_bytes(&bytes).unwrap().verify(
        &a.record,
        &b.address,
        Agreement::P256,
        Purpose::CallSignal,
        &[8; 16],
    );
    assert_eq!(place.unwrap_err(), EnvelopeError::Place);
    // Eve signs with her own device's key and writes Ada's name over it.
    let mut forged = header(rng, &c, &b);
    forged.sender.user = a.address.user.clone();
    let bytes_of_eve = seal(rng, &c.identity, &forged, &b.key, b"key").unwrap();
    assert_eq!(verified(&bytes_of_eve, &c, &b).unwrap_err(), EnvelopeError::Signature);
    assert_eq!(verified(&bytes_of_eve, &a, &b).unwrap_err(), EnvelopeError::Signature);
    let envelope = verified(&bytes, &a, &b).unwrap();
    let shared = c.answer(&envelope.question()).unwrap();
    assert!(envelope.open(&b.key, &shared).is_err());
    let shared = b.answer(&envelope.question()).unwrap();
    assert!(envelope.open(&c.key, &shared).is_err());
}

#[test]
fn id_4_an_envelope_to_an_rsa_key_opens_for_it_alone() {
    let rng = &mut SeededRng::new(5);
    let (a, b, c) = (party(rng, "a"), party_with(rng, "b", true), party_with(rng, "c", true));
    for length in [0, 1, 252, 253, 5000] {
        let text = vec![3; length];
        let envelope = verified(&sealed(rng, &a, &b, &text), &a, &b).unwrap();
        assert_eq!(envelope.header().algorithm, Agreement::Rsa2048, "named, never guessed");
        assert_eq!(b.open(&envelope).unwrap().as_slice(), text);
        assert!(c.answer(&envelope.question()).is_err(), "another key does not unwrap it");
        assert!(a.answer(&envelope.question()).is_err());
    }
    // The header is the label of what is wrapped: moved under another one it does not unwrap, whoever signs it.
    let bytes = sealed(rng, &a, &b, b"key");
    let wire: Wire = cbor::decode(&bytes).unwrap();
    let moved = cbor::encode(&Header { epoch: 7, ..cbor::decode(&wire.header).unwrap() });
    let mut wire = Wire { header: moved, ..wire };
    wire.signature = a.identity.sign(labels::ENVELOPE, &wire.signed_bytes());
    let envelope = verified(&cbor::encode(&wire), &a, &b).unwrap();
    assert!(b.open(&envelope).is_none());
}

#[test]
fn id_3_a_device_with_p256_opens_nothing_that_came_by_rsa() {
    let rng = &mut SeededRng::new(6);
    let (a, old) = (party(rng, "a"), party_with(rng, "b", true));
    let bytes = sealed(rng, &a, &old, b"key");
    let claimed = Envelope::from_bytes(&bytes).unwrap();
    let refused = claimed.verify(&a.record, &old.address, Agreement::P256, Purpose::CallSignal, &[9; 16]);
    assert_eq!(refused.unwrap_err(), EnvelopeError::Algorithm);
    // Nor does one that says P-256 and has what belongs to RSA in it, or the other way round.
    let wire: Wire = cbor::decode(&bytes).unwrap();
    let header = Header { algorithm: Agreement::P256, ..cbor::decode(&wire.header).unwrap() };
    let lying = cbor::encode(&Wire { header: cbor::encode(&header), ..wire });
    assert_eq!(Envelope::from_bytes(&lying).unwrap_err(), EnvelopeError::Malformed);
}

#[test]
fn id_4_no_changed_byte_goes_unnoticed() {
    for legacy in [false, true] {
        no_changed_byte_goes_unnoticed(legacy);
    }
}

fn no_changed_byte_goes_unnoticed(legacy: bool) {
    let rng = &mut SeededRng::new(3);
    let (a, b) = (party(rng, "a"), party_with(rng, "b", legacy));
    let bytes = sealed(rng, &a, &b, b"key");
    for i in 0..bytes.len() {
        let mut changed = bytes.clone();
        changed[i] ^= 0x41;
        assert!(verified(&changed, &a, &b).is_err(), "byte {i}");
        assert!(Envelope::from_bytes(&bytes[..i]).is_err(), "cut at {i}");
    }
    let long = [bytes.as_slice(), &[0]].concat();
    assert_eq!(Envelope::from_bytes(&long).unwrap_err(), EnvelopeError::Malformed);
}

#[test]
fn meta_1_envelopes_come_in_buckets() {
    let rng = &mut SeededRng::new(4);
    let (a, b) = (party(rng, "a"), party(rng, "b"));
    let size = |rng: &mut SeededRng, length| sealed(rng, &a, &b, &vec![1; length]).len();
    assert_eq!(size(rng, 0), size(rng, 252));
    assert!(size(rng, 253) > size(rng, 252));
}
