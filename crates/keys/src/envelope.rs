//! The envelope every key and every call signal travels in (rule ID-4).
//!
//! Bytes: CBOR `[header, encapsulated key (65), ciphertext, signature (64)]`, where `header` is a byte string that
//! holds the deterministic CBOR of [`Header`]. The header is HPKE's info and the AEAD's associated data, so an
//! envelope opens for exactly the recipient, purpose and place that it names; the sender's signature covers header,
//! encapsulated key and ciphertext. The text is padded to a multiple of [`BUCKET`] bytes (rule META-1).
//!
//! Opening takes three steps, each with its own type: [`Envelope`] was parsed, [`VerifiedEnvelope`] was signed by
//! the device it names and is addressed to us, and its text appears when the agreement of the recipient's key
//! (rule ID-5) is there. Nothing here applies anything.

use minicbor::{Decode, Encode};

use crate::agreement::{AgreementPublicKey, Refused, SharedSecret};
use crate::cbor;
use crate::choice::Agreement;
use crate::hpke;
use crate::labels;
use crate::name::UserId;
use crate::record::DeviceRecord;
use crate::secret::SecretBytes;
use crate::sign::{Device, Signature, SigningKey};
use crate::{DeviceId, RequestId, WallTime};

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
    #[n(1)]
    encapsulated: AgreementPublicKey,
    #[cbor(n(2), with = "minicbor::bytes")]
    ciphertext: Vec<u8>,
    #[n(3)]
    signature: Signature,
}

impl Wire {
    fn signed_bytes(&self) -> Vec<u8> {
        [self.header.as_slice(), self.encapsulated.as_bytes(), &self.ciphertext].concat()
    }
}

/// Seals `text` under `header` to the recipient's agreement key and signs it.
///
/// # Errors
/// [`Refused`] when the primitive library refuses the recipient's key.
pub fn seal(
    rng: &mut impl rand_core::CryptoRng,
    signer: &SigningKey<Device>,
    header: &Header,
    recipient: &AgreementPublicKey,
    text: &[u8],
) -> Result<Vec<u8>, Refused> {
    let header = cbor::encode(header);
    let padded = zeroize::Zeroizing::new(pad(text));
    let sealed = hpke::seal(rng, recipient, &header, &header, &padded)?;
    let mut wire = Wire {
        header,
        encapsulated: sealed.encapsulated,
        ciphertext: sealed.ciphertext,
        signature: Signature::from_bytes([0; 64]),
    };
    wire.signature = signer.sign(labels::ENVELOPE, &wire.signed_bytes());
    Ok(cbor::encode(&wire))
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
    sealed: hpke::Sealed,
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
        Ok(Self {
            header,
            header_bytes: wire.header,
            sealed: hpke::Sealed { encapsulated: wire.encapsulated, ciphertext: wire.ciphertext },
            signed,
            signature: wire.signature,
        })
    }

    /// What it claims, for looking up the sender's key.
    #[must_use]
    pub const fn claimed(&self) -> &Header {
        &self.header
    }

    /// Checks that it is signed by the device of this proven record and meant for `recipient`, `purpose` and
    /// `context`.
    ///
    /// # Errors
    /// [`EnvelopeError`] says which of these does not hold.
    pub fn verify(
        self,
        sender: &DeviceRecord,
        recipient: &Address,
        purpose: Purpose,
        context: &[u8; 16],
    ) -> Result<VerifiedEnvelope, EnvelopeError> {
        if self.header.algorithm != Agreement::P256 {
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
    sealed: hpke::Sealed,
}

impl VerifiedEnvelope {
    /// What it says about itself.
    #[must_use]
    pub const fn header(&self) -> &Header {
        &self.header
    }

    /// The key that the recipient's private key must agree with for [`Self::open`].
    #[must_use]
    pub const fn agree_with(&self) -> &AgreementPublicKey {
        &self.sealed.encapsulated
    }

    /// Opens the text, given that agreement and the recipient's public key.
    ///
    /// # Errors
    /// [`crate::aead::OpenError`] when it was sealed to another key.
    pub fn open(
        &self,
        recipient: &AgreementPublicKey,
        shared: &SharedSecret,
    ) -> Result<SecretBytes, crate::aead::OpenError> {
        let padded = hpke::open(&self.sealed, recipient, shared, &self.header_bytes, &self.header_bytes)?;
        unpad(padded.as_slice()).map(|text| SecretBytes::new(text.to_vec())).ok_or(crate::aead::OpenError)
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
