use super::*;
use crate::agreement::{DeviceKey, SoftwareKey};
use crate::testing::SeededRng;

struct Party {
    address: Address,
    identity: SigningKey<Device>,
    agreement: SoftwareKey,
    record: DeviceRecord,
}

fn party(rng: &mut SeededRng, name: &str) -> Party {
    let identity = SigningKey::generate(rng);
    let address = Address { user: UserId::parse(name, "x").unwrap(), device: DeviceId::of(identity.public()) };
    let agreement = SoftwareKey::generate(rng);
    let made = WallTime::from_unix(1);
    let record = DeviceRecord::new(address.user.clone(), *identity.public(), *agreement.public(), made, name.into());
    Party { address, identity, agreement, record }
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
    seal(rng, &from.identity, &header, to.agreement.public(), text).unwrap()
}

fn verified(bytes: &[u8], from: &Party, to: &Party) -> Result<VerifiedEnvelope, EnvelopeError> {
    Envelope::from_bytes(bytes)?.verify(&from.record, &to.address, Purpose::CallSignal, &[9; 16])
}

#[test]
fn id_4_envelope_opens_for_its_recipient() {
    let rng = &mut SeededRng::new(1);
    let (a, b) = (party(rng, "a"), party(rng, "b"));
    for length in [0, 1, 251, 252, 253, 5000] {
        let text = vec![3; length];
        let bytes = sealed(rng, &a, &b, &text);
        let envelope = verified(&bytes, &a, &b).unwrap();
        let shared = b.agreement.agree(envelope.agree_with()).unwrap();
        assert_eq!(envelope.open(b.agreement.public(), &shared).unwrap().as_slice(), text);
    }
}

#[test]
fn id_4_envelope_opens_for_nobody_else_and_nowhere_else() {
    let rng = &mut SeededRng::new(2);
    let (a, b, c) = (party(rng, "a"), party(rng, "b"), party(rng, "c"));
    let bytes = sealed(rng, &a, &b, b"key");
    assert_eq!(verified(&bytes, &a, &c).unwrap_err(), EnvelopeError::Recipient);
    assert_eq!(verified(&bytes, &c, &b).unwrap_err(), EnvelopeError::Signature);
    let place = Envelope::from_bytes(&bytes).unwrap().verify(&a.record, &b.address, Purpose::CallSignal, &[8; 16]);
    assert_eq!(place.unwrap_err(), EnvelopeError::Place);
    // Eve signs with her own device's key and writes Ada's name over it.
    let mut forged = header(rng, &c, &b);
    forged.sender.user = a.address.user.clone();
    let bytes_of_eve = seal(rng, &c.identity, &forged, b.agreement.public(), b"key").unwrap();
    assert_eq!(verified(&bytes_of_eve, &c, &b).unwrap_err(), EnvelopeError::Signature);
    assert_eq!(verified(&bytes_of_eve, &a, &b).unwrap_err(), EnvelopeError::Signature);
    let envelope = verified(&bytes, &a, &b).unwrap();
    let shared = c.agreement.agree(envelope.agree_with()).unwrap();
    assert!(envelope.open(b.agreement.public(), &shared).is_err());
    let shared = b.agreement.agree(envelope.agree_with()).unwrap();
    assert!(envelope.open(c.agreement.public(), &shared).is_err());
}

#[test]
fn id_4_no_changed_byte_goes_unnoticed() {
    let rng = &mut SeededRng::new(3);
    let (a, b) = (party(rng, "a"), party(rng, "b"));
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
