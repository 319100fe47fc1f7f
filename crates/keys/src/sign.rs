//! Ed25519 signatures (RFC 8032) with a role in the type and a domain string in every message (rule ID-8).

use core::fmt;
use core::marker::PhantomData;

use minicbor::decode::Error as DecodeError;
use minicbor::encode::{Error as EncodeError, Write};
use minicbor::{Decode, Decoder, Encode, Encoder};

use crate::labels::Label;
use crate::primitives;
use crate::secret::Secret;

/// Marks the identity key of a device.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Device {}
/// Marks the account key, which signs device lists and rests on no device (rule ID-6).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Account {}
/// Marks a server's identity key, which signs its TLS key, its grants and the checkpoints of its key directory's log (rules
/// KT-1, KT-14).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Server {}
/// Marks the key of a witness, which cosigns the checkpoints of logs (rule KT-2).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Witness {}

/// Marks the key that shows a server that a recovery key is at hand (rule ID-6).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Recovery {}

/// A role whose keys sign C2SP notes: text for the eyes of witnesses and auditors of any make.
pub trait NoteRole {
    /// The signature type byte of C2SP signed-note that stands in the role's key ids and verifier keys.
    const SIGNATURE_TYPE: u8;
}

impl NoteRole for Server {
    /// Ed25519 over the note's text.
    const SIGNATURE_TYPE: u8 = 0x01;
}

impl NoteRole for Witness {
    /// Ed25519 with a time: cosignature/v1 of C2SP tlog-cosignature.
    const SIGNATURE_TYPE: u8 = 0x04;
}

/// A private Ed25519 key of one role.
pub struct SigningKey<R> {
    pair: primitives::Ed25519Pair,
    seed: Secret<32>,
    public: VerifyingKey<R>,
}

impl<R> SigningKey<R> {
    /// The key of this seed (RFC 8032's private key, 32 bytes).
    #[must_use]
    pub fn from_seed(seed: Secret<32>) -> Self {
        let pair = primitives::Ed25519Pair::from_seed(seed.expose());
        let public = VerifyingKey::from_bytes(pair.public());
        Self { pair, seed, public }
    }

    /// Draws a fresh key.
    pub fn generate(rng: &mut impl rand_core::CryptoRng) -> Self {
        Self::from_seed(Secret::random(rng))
    }

    /// The public half.
    #[must_use]
    pub const fn public(&self) -> &VerifyingKey<R> {
        &self.public
    }

    /// The seed, to be kept where secrets are kept.
    #[must_use]
    pub const fn seed(&self) -> &Secret<32> {
        &self.seed
    }

    /// Signs `label || 0x00 || message`.
    #[must_use]
    pub fn sign(&self, label: Label, message: &[u8]) -> Signature {
        Signature(self.pair.sign(&[label.as_bytes(), &[0], message].concat()))
    }
}

impl<R> fmt::Debug for SigningKey<R> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("SigningKey")
    }
}

/// A public Ed25519 key of one role: 32 bytes.
pub struct VerifyingKey<R>([u8; 32], PhantomData<R>);

/// A signature did not verify.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("signature does not verify")]
pub struct BadSignature;

impl<R> VerifyingKey<R> {
    /// The key with these bytes. A point that is none verifies nothing.
    #[must_use]
    pub const fn from_bytes(bytes: [u8; 32]) -> Self {
        Self(bytes, PhantomData)
    }

    /// The 32 bytes.
    #[must_use]
    pub const fn as_bytes(&self) -> &[u8; 32] {
        &self.0
    }

    /// Verifies a signature over `label || 0x00 || message`.
    ///
    /// # Errors
    /// [`BadSignature`] when it is not by this key or not over this.
    pub fn verify(&self, label: Label, message: &[u8], signature: &Signature) -> Result<(), BadSignature> {
        let signed = [label.as_bytes(), &[0], message].concat();
        if primitives::ed25519_verify(&self.0, &signed, &signature.0) { Ok(()) } else { Err(BadSignature) }
    }

    /// A fingerprint for people: the first 160 bits of the key's SHA-256 as eight groups of five hexadecimal digits.
    #[must_use]
    pub fn fingerprint(&self) -> String {
        let hash = crate::digest::sha256(&[&self.0]);
        let digits: String = hash.iter().take(20).map(|byte| format!("{byte:02x}")).collect();
        let groups: Vec<&str> = (0..8).filter_map(|group| digits.get(group * 5..group * 5 + 5)).collect();
        groups.join("-")
    }
}

impl<R> Clone for VerifyingKey<R> {
    fn clone(&self) -> Self {
        *self
    }
}
impl<R> Copy for VerifyingKey<R> {}
impl<R> PartialEq for VerifyingKey<R> {
    fn eq(&self, other: &Self) -> bool {
        self.0 == other.0
    }
}
impl<R> Eq for VerifyingKey<R> {}

impl<R> fmt::Debug for VerifyingKey<R> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "VerifyingKey({})", self.fingerprint())
    }
}

impl<C, R> Encode<C> for VerifyingKey<R> {
    fn encode<W: Write>(&self, e: &mut Encoder<W>, _: &mut C) -> Result<(), EncodeError<W::Error>> {
        e.bytes(&self.0)?.ok()
    }
}

impl<'b, C, R> Decode<'b, C> for VerifyingKey<R> {
    fn decode(d: &mut Decoder<'b>, _: &mut C) -> Result<Self, DecodeError> {
        let bytes = d.bytes()?.try_into().map_err(|_| DecodeError::message("not 32 bytes"))?;
        Ok(Self::from_bytes(bytes))
    }
}

/// Signatures over the text of C2SP notes, which carry no [`Label`].
///
/// The format fixes every signed byte, and tools of other makers read it: a label in front would be a signature
/// that no witness knows. What a label does elsewhere (rule ID-8) is done here by three things together:
/// * The text says itself what it is. A checkpoint begins with the origin line, which names this one log of this
///   one domain and purpose; what a witness signs begins with `cosignature/v1`. These lines are the domain strings.
/// * A server's key signs no other notes than its log's checkpoints, a witness key none but cosignatures. Roles are types, so
///   no other key of ours can be handed to these functions.
/// * A note contains no control character but the newline, so no zero byte; a labelled message always contains the one
///   behind its label. A signature made by [`SigningKey::sign`] therefore never passes for one over a note, nor the
///   other way round, though a server's key also signs labelled statements (rule KT-14).
impl<R: NoteRole> SigningKey<R> {
    /// Signs a note's text as it is. The text must hold no zero byte, which every text of the note format does not;
    /// [`VerifyingKey::verify_note`] refuses it otherwise.
    #[must_use]
    pub fn sign_note(&self, text: &[u8]) -> Signature {
        debug_assert!(!text.contains(&0), "a note has no zero byte");
        Signature(self.pair.sign(text))
    }
}

impl<R: NoteRole> VerifyingKey<R> {
    /// Verifies a signature over a note's text, without a label: see [`SigningKey::sign_note`].
    ///
    /// # Errors
    /// [`BadSignature`] when it is not by this key or not over this, or when the text holds a zero byte and so may be
    /// a labelled message.
    pub fn verify_note(&self, text: &[u8], signature: &Signature) -> Result<(), BadSignature> {
        if !text.contains(&0) && primitives::ed25519_verify(&self.0, text, &signature.0) {
            Ok(())
        } else {
            Err(BadSignature)
        }
    }
}

/// An Ed25519 signature: 64 bytes.
#[derive(Clone, Copy, PartialEq, Eq, Encode, Decode)]
#[cbor(transparent)]
pub struct Signature(#[cbor(n(0), with = "minicbor::bytes")] [u8; 64]);

impl Signature {
    /// The signature with these bytes.
    #[must_use]
    pub const fn from_bytes(bytes: [u8; 64]) -> Self {
        Self(bytes)
    }

    /// The 64 bytes.
    #[must_use]
    pub const fn as_bytes(&self) -> &[u8; 64] {
        &self.0
    }
}

impl fmt::Debug for Signature {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Signature")
    }
}

/// Bytes and a signature over them, travelling together as the exact bytes that were signed.
/// CBOR: `[bytes, signature]`.
#[derive(Clone, PartialEq, Eq, Debug, Encode, Decode)]
pub struct Signed {
    /// What was signed.
    #[cbor(n(0), with = "minicbor::bytes")]
    pub bytes: Vec<u8>,
    /// By whom is for the reader to know.
    #[n(1)]
    pub signature: Signature,
}

impl Signed {
    /// Signs `bytes`.
    #[must_use]
    pub fn new<R>(key: &SigningKey<R>, label: Label, bytes: Vec<u8>) -> Self {
        let signature = key.sign(label, &bytes);
        Self { bytes, signature }
    }

    /// The bytes, once the signature is known to be by `key`.
    ///
    /// # Errors
    /// [`BadSignature`].
    pub fn verify<R>(&self, key: &VerifyingKey<R>, label: Label) -> Result<&[u8], BadSignature> {
        key.verify(label, &self.bytes, &self.signature)?;
        Ok(&self.bytes)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::labels;
    use crate::testing::SeededRng;

    #[test]
    fn kt_1_a_note_and_a_labelled_message_never_pass_for_each_other() {
        let key = SigningKey::<Server>::generate(&mut SeededRng::new(1));
        let labelled = [labels::DEVICE_LIST.as_bytes(), &[0], b"text\n"].concat();
        let signature = key.sign(labels::DEVICE_LIST, b"text\n");
        assert_eq!(key.public().verify(labels::DEVICE_LIST, b"text\n", &signature), Ok(()));
        assert_eq!(key.public().verify_note(&labelled, &signature), Err(BadSignature));

        let signature = key.sign_note(b"text\n");
        assert_eq!(key.public().verify_note(b"text\n", &signature), Ok(()));
        assert_eq!(key.public().verify_note(b"text", &signature), Err(BadSignature));
        assert_eq!(key.public().verify(labels::DEVICE_LIST, b"text\n", &signature), Err(BadSignature));
    }
}
