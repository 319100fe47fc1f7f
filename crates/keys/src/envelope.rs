//! The envelope every key and every call signal travels in (rule ID-4).
//!
//! Bytes: CBOR `[header, encapsulated key (65) or wrapped secret (256), ciphertext, signature (64)]`, where `header` is a
//! byte string that holds the deterministic CBOR of [`Header`]. To a P-256 key the header is HPKE's info and the AEAD's
//! associated data; to an RSA key its SHA-256 is the OAEP label, and the AEAD's key comes from the wrapped secret, the
//! header and the wrapping. So an envelope opens for exactly the recipient, purpose and place that it names; the sender's
//! signature covers all but itself. The text is padded to a multiple of [`BUCKET`] bytes (rule META-1).
//!
//! Opening takes three steps, each with its own type: [`Envelope`] was parsed, [`VerifiedEnvelope`] was signed by
//! the device it names and is addressed to us, and its text appears when the agreement of the recipient's key
//! (rule ID-5) is there. Nothing here applies anything.

use minicbor::{Decode, Encode};

use crate::aead::{self, AeadKey};
use crate::agreement::{AgreementPublicKey, Refused};
use crate::choice::Agreement;
use crate::digest::sha256;
use crate::hkdf::{Prk, Sha256};
use crate::legacy::{Unwrapped, Wrapped};
use crate::name::UserId;
use crate::record::DeviceRecord;
use crate::secret::{Secret, SecretBytes};
use crate::sign::{Device, Signature, SigningKey};
use crate::static_key::{Answer, Question, StaticKey};
use crate::{DeviceId, RequestId, WallTime};
use crate::{cbor, hpke, labels};

/// The only envelope format so far.
pub const FORMAT: u8 = 1;
/// Texts are padded to a multiple of this many bytes.
pub const BUCKET: usize = 256;
/// Bytes of an envelope at most.
pub const MAX_ENVELOPE: usize = 64 * 1024;

/// What an envelope's text is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Encode, Decode)]
#[cbor(index_only)]
pub enum Purpose {
    /// Signals of a call; the context is the call id.
    #[n(1)]
    CallSignal,
    /// Keys of a room's call, sealed to the one-call key of a join (rule GRP-7); the context is the call id.
    #[n(2)]
    RoomKey,
}

/// One device of one user.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Encode, Decode)]
pub struct Address {
    /// Whose device.
    #[n(0)]
    pub user: UserId,
    /// Which device.
    #[n(1)]
    pub device: DeviceId,
}

/// What an envelope says about itself in the clear. CBOR map with these keys.
#[derive(Clone, Debug, PartialEq, Eq, Encode, Decode)]
#[cbor(map)]
pub struct Header {
    /// [`FORMAT`].
    #[n(0)]
    pub format: u8,
    /// How the text reaches the recipient.
    #[n(1)]
    pub algorithm: Agreement,
    /// What it is for.
    #[n(2)]
    pub purpose: Purpose,
    /// The call or conversation it belongs to.
    #[cbor(n(3), with = "minicbor::bytes")]
    pub context: [u8; 16],
    /// The host's term; 0 where there is no host.
    #[n(4)]
    pub term: u32,
    /// The epoch the text belongs to; 0 where there is none.
    #[n(5)]
    pub epoch: u32,
    /// By the sender's clock, not to be used before. A call's signals carry their moment of sealing, and what counts for
    /// them is the invite's own creation time; keys that are sent ahead of their epoch will be held until then.
    #[n(6)]
    pub not_before: WallTime,
    /// Who sealed it.
    #[n(7)]
    pub sender: Address,
    /// Who alone can open it.
    #[n(8)]
    pub recipient: Address,
    /// Fresh for each envelope.
    #[n(9)]
    pub request: RequestId,
}

#[derive(Encode, Decode)]
struct Wire {
    #[cbor(n(0), with = "minicbor::bytes")]
    header: Vec<u8>,
    #[cbor(n(1), with = "minicbor::bytes")]
    encapsulated: Vec<u8>,
    #[cbor(n(2), with = "minicbor::bytes")]
    ciphertext: Vec<u8>,
    #[n(3)]
    signature: Signature,
}

impl Wire {
    fn signed_bytes(&self) -> Vec<u8> {
        // The header ends by itself, and its algorithm fixes the length of what is behind it.
        [self.header.as_slice(), &self.encapsulated, &self.ciphertext].concat()
    }
}

/// What is sealed, by the algorithm that its header names.
#[derive(Clone, Debug)]
enum Sealed {
    P256(hpke::Sealed),
    Rsa2048 { wrapped: Wrapped, ciphertext: Vec<u8> },
}

/// Seals `text` under `header` to the recipient's key and signs it. The header's algorithm is set to that key's.
///
/// # Errors
/// [`Refused`] when the primitive library refuses the recipient's key.
pub fn seal(
    rng: &mut impl rand_core::CryptoRng,
    signer: &SigningKey<Device>,
    header: &Header,
    recipient: &StaticKey,
    text: &[u8],
) -> Result<Vec<u8>, Refused> {
    let header = cbor::encode(&Header { algorithm: recipient.kind(), ..header.clone() });
    let padded = zeroize::Zeroizing::new(pad(text));
    let (encapsulated, ciphertext) = match recipient {
        StaticKey::P256(key) => {
            let sealed = hpke::seal(rng, key, &header, &header, &padded)?;
            (sealed.encapsulated.as_bytes().to_vec(), sealed.ciphertext)
        }
        StaticKey::Rsa2048(key) => {
            let secret = Secret::random(rng);
            let wrapped = key.wrap(rng, &sha256(&[&header]), &secret)?;
            let key = legacy_key(&Unwrapped::new(secret), &wrapped, &header);
            let mut ciphertext = Vec::with_capacity(padded.len() + aead::TAG_LENGTH);
            ciphertext.extend_from_slice(&padded);
            // The key is this one envelope's: there is no other text under it.
            let tag = key.seal([0; aead::NONCE_LENGTH], &header, &mut ciphertext);
            ciphertext.extend_from_slice(&tag);
            (wrapped.as_bytes().to_vec(), ciphertext)
        }
    };
    let mut wire = Wire { header, encapsulated, ciphertext, signature: Signature::from_bytes([0; 64]) };
    wire.signature = signer.sign(labels::ENVELOPE, &wire.signed_bytes());
    Ok(cbor::encode(&wire))
}

/// The key of one envelope to an RSA key.
fn legacy_key(secret: &Unwrapped, wrapped: &Wrapped, header: &[u8]) -> AeadKey {
    let prk = Prk::<Sha256>::extract(&[], &[secret.expose()]);
    AeadKey::new(&prk.derive(labels::ENVELOPE_LEGACY, &[&sha256(&[header]), wrapped.as_bytes()]))
}

/// Why an envelope is not for us, or not from whom it says.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum EnvelopeError {
    /// Too large, or not the deterministic encoding of an envelope.
    #[error("the envelope is malformed")]
    Malformed,
    /// A format or algorithm this device does not speak.
    #[error("the envelope has format {0}, this version speaks {FORMAT}")]
    Format(u8),
    /// The algorithm is not one that this recipient's record offers.
    #[error("the envelope uses an algorithm that this device did not offer")]
    Algorithm,
    /// It is addressed to another device.
    #[error("the envelope is for another device")]
    Recipient,
    /// It belongs to another purpose or place.
    #[error("the envelope belongs elsewhere")]
    Place,
    /// The sender named in it did not sign it.
    #[error("the envelope is not signed by the device it names")]
    Signature,
}

/// An envelope as it came in. Its header is a claim.
#[derive(Clone, Debug)]
pub struct Envelope {
    header: Header,
    header_bytes: Vec<u8>,
    sealed: Sealed,
    signed: Vec<u8>,
    signature: Signature,
}

impl Envelope {
    /// Parses `bytes`.
    ///
    /// # Errors
    /// [`EnvelopeError::Malformed`] or [`EnvelopeError::Format`].
    pub fn from_bytes(bytes: &[u8]) -> Result<Self, EnvelopeError> {
        if bytes.len() > MAX_ENVELOPE {
            return Err(EnvelopeError::Malformed);
        }
        let wire: Wire = cbor::decode(bytes).map_err(|_| EnvelopeError::Malformed)?;
        let header: Header = cbor::decode(&wire.header).map_err(|_| EnvelopeError::Malformed)?;
        if header.format != FORMAT {
            return Err(EnvelopeError::Format(header.format));
        }
        let signed = wire.signed_bytes();
        let Wire { header: header_bytes, encapsulated, ciphertext, signature } = wire;
        let sealed = match header.algorithm {
            Agreement::P256 => {
                let encapsulated = AgreementPublicKey::from_sec1(&encapsulated);
                let encapsulated = encapsulated.map_err(|_| EnvelopeError::Malformed)?;
                Sealed::P256(hpke::Sealed { encapsulated, ciphertext })
            }
            Agreement::Rsa2048 => {
                let wrapped = Wrapped::from_slice(&encapsulated).ok_or(EnvelopeError::Malformed)?;
                Sealed::Rsa2048 { wrapped, ciphertext }
            }
        };
        Ok(Self { header, header_bytes, sealed, signed, signature })
    }

    /// What it claims, for looking up the sender's key.
    #[must_use]
    pub const fn claimed(&self) -> &Header {
        &self.header
    }

    /// Checks that it is signed by the device of this proven record and meant for `recipient`, `purpose` and
    /// `context`, and sealed to the one kind of key that the recipient has offered: a device with P-256 opens nothing
    /// that came by RSA (rule ID-3).
    ///
    /// # Errors
    /// [`EnvelopeError`] says which of these does not hold.
    pub fn verify(
        self,
        sender: &DeviceRecord,
        recipient: &Address,
        offered: Agreement,
        purpose: Purpose,
        context: &[u8; 16],
    ) -> Result<VerifiedEnvelope, EnvelopeError> {
        if self.header.algorithm != offered {
            return Err(EnvelopeError::Algorithm);
        }
        if self.header.recipient != *recipient {
            return Err(EnvelopeError::Recipient);
        }
        if self.header.purpose != purpose || self.header.context != *context {
            return Err(EnvelopeError::Place);
        }
        if self.header.sender.device != sender.device || self.header.sender.user != sender.user {
            return Err(EnvelopeError::Signature);
        }
        sender
            .identity
            .verify(labels::ENVELOPE, &self.signed, &self.signature)
            .map_err(|_| EnvelopeError::Signature)?;
        Ok(VerifiedEnvelope { header: self.header, header_bytes: self.header_bytes, sealed: self.sealed })
    }
}

/// An envelope that its sender signed and that is addressed to us.
#[derive(Clone, Debug)]
pub struct VerifiedEnvelope {
    header: Header,
    header_bytes: Vec<u8>,
    sealed: Sealed,
}

impl VerifiedEnvelope {
    /// What it says about itself.
    #[must_use]
    pub const fn header(&self) -> &Header {
        &self.header
    }

    /// What the recipient's private key must be asked for [`Self::open`].
    #[must_use]
    pub fn question(&self) -> Question {
        match &self.sealed {
            Sealed::P256(sealed) => Question::Agree(sealed.encapsulated),
            Sealed::Rsa2048 { wrapped, .. } => Question::Unwrap(wrapped.clone(), sha256(&[&self.header_bytes])),
        }
    }

    /// Opens the text, given the answer and the recipient's public key.
    ///
    /// # Errors
    /// [`aead::OpenError`] when it was sealed to another key: the same for whatever does not match.
    pub fn open(&self, recipient: &StaticKey, answer: &Answer) -> Result<SecretBytes, aead::OpenError> {
        let header = &self.header_bytes;
        let padded = match (&self.sealed, recipient, answer) {
            (Sealed::P256(sealed), StaticKey::P256(key), Answer::Agreed(shared)) => {
                hpke::open(sealed, key, shared, header, header)?
            }
            (Sealed::Rsa2048 { wrapped, ciphertext }, StaticKey::Rsa2048(_), Answer::Unwrapped(secret)) => {
                let mut bytes = ciphertext.clone();
                let key = legacy_key(secret, wrapped, header);
                let length = key.open([0; aead::NONCE_LENGTH], header, &mut bytes)?.len();
                bytes.truncate(length);
                SecretBytes::new(bytes)
            }
            _ => return Err(aead::OpenError),
        };
        unpad(padded.as_slice()).map(|text| SecretBytes::new(text.to_vec())).ok_or(aead::OpenError)
    }
}

/// Length as 32 bits, text, zeros up to the next multiple of [`BUCKET`].
fn pad(text: &[u8]) -> Vec<u8> {
    let length = text.len() + 4;
    let mut padded = Vec::with_capacity(length.next_multiple_of(BUCKET));
    padded.extend_from_slice(&u32::try_from(text.len()).unwrap_or(u32::MAX).to_be_bytes());
    padded.extend_from_slice(text);
    padded.resize(length.next_multiple_of(BUCKET), 0);
    padded
}

fn unpad(padded: &[u8]) -> Option<&[u8]> {
    let (length, rest) = padded.split_first_chunk()?;
    let length = usize::try_from(u32::from_be_bytes(*length)).ok()?;
    let (text, padding) = rest.split_at_checked(length)?;
    let canonical = padded.len() == (length + 4).next_multiple_of(BUCKET);
    (canonical && padding.iter().all(|byte| *byte == 0)).then_some(text)
}

#[cfg(test)]
mod tests;
