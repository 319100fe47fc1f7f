//! What vouches for the signature key of a leaf in an MLS group (rule MLS-1).
//!
//! Every join draws a new signature key, and the device says once, under its identity key, whose it is and for which join. The
//! directory proves the identity key; so no device list has to name keys that live for one call, and a device that was enrolled
//! before there were groups can be in one.

use core::fmt;

use minicbor::{Decode, Encode};

use crate::cbor;
use crate::labels;
use crate::name::UserId;
use crate::sign::{Device, Signed, SigningKey, VerifyingKey};
use crate::{DeviceId, JoinId, Secret, WallTime, primitives};

/// The only format so far.
pub const FORMAT: u8 = 1;
/// Bytes of a public key at most: P-256, SEC1 uncompressed.
const MAX_KEY: usize = 65;

/// How a leaf signs.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Encode, Decode)]
#[cbor(index_only)]
pub enum LeafScheme {
    /// Ed25519: the public key has 32 bytes.
    #[n(1)]
    Ed25519,
    /// ECDSA over P-256 with SHA-256: the public key is SEC1, uncompressed, 65 bytes.
    #[n(2)]
    EcdsaP256,
}

impl LeafScheme {
    /// Bytes of a public key.
    #[must_use]
    pub const fn key_length(self) -> usize {
        match self {
            Self::Ed25519 => 32,
            Self::EcdsaP256 => MAX_KEY,
        }
    }

    /// Signs `message` with a leaf's private key, the seed of an Ed25519 key pair. `None` under the other scheme, whose signatures here must
    /// not depend on drawn numbers, as the native library's do.
    #[must_use]
    pub fn sign(self, secret: &Secret<32>, message: &[u8]) -> Option<[u8; 64]> {
        match self {
            Self::Ed25519 => Some(primitives::Ed25519Pair::from_seed(secret.expose()).sign(message)),
            Self::EcdsaP256 => None,
        }
    }

    /// Whether `signature` is one of `message` under a leaf's public `key`. What is taken natively is taken in a browser and the
    /// other way round, to the byte: members who differ about one commit would be in two groups from then on.
    ///
    /// A signature is 64 bytes of Ed25519, or the DER of an ECDSA one as TLS 1.3 has it (RFC 8446, 4.2.3), which has one encoding here.
    #[must_use]
    pub fn verify(self, key: &[u8], message: &[u8], signature: &[u8]) -> bool {
        match self {
            Self::Ed25519 => match (key.try_into(), signature.try_into()) {
                (Ok(key), Ok(signature)) => primitives::ed25519_verify(key, message, signature),
                _ => false,
            },
            Self::EcdsaP256 => match (key.try_into(), fixed(signature)) {
                (Ok(key), Some(signature)) => primitives::p256_verify(key, message, &signature),
                _ => false,
            },
        }
    }
}

/// r and s of an ECDSA signature in DER, 32 bytes each. `None` for what is not its one encoding: each library has its own list of what
/// it forgives.
pub(crate) fn fixed(der: &[u8]) -> Option<[u8; 64]> {
    let (&length, rest) = der.strip_prefix(&[SEQUENCE])?.split_first()?;
    // Two numbers of 33 bytes fit into the short form of a length.
    if length >= 0x80 || usize::from(length) != rest.len() {
        return None;
    }
    let (r, rest) = number(rest)?;
    let (s, rest) = number(rest)?;
    let mut both = [0; 64];
    let (first, second) = both.split_first_chunk_mut::<32>()?;
    *first = r;
    second.copy_from_slice(&s);
    rest.is_empty().then_some(both)
}

const SEQUENCE: u8 = 0x30;
const INTEGER: u8 = 0x02;

/// A positive number of at most 32 bytes in as few bytes as it has, and what stands behind it.
fn number(der: &[u8]) -> Option<([u8; 32], &[u8])> {
    let (&length, rest) = der.strip_prefix(&[INTEGER])?.split_first()?;
    let (written, rest) = rest.split_at_checked(usize::from(length))?;
    let digits = match written {
        [0, digits @ ..] if digits.first().is_some_and(|first| first & 0x80 != 0) => digits,
        [first, ..] if (1..0x80).contains(first) => written,
        _ => return None,
    };
    let mut number = [0; 32];
    let start = number.len().checked_sub(digits.len())?;
    number.get_mut(start..)?.copy_from_slice(digits);
    Some((number, rest))
}

/// A device's word that a signature key is its own in one join. CBOR map.
#[derive(Clone, PartialEq, Eq, Encode, Decode)]
#[cbor(map)]
pub struct LeafStatement {
    /// [`FORMAT`].
    #[n(0)]
    pub format: u8,
    /// Whose device it is.
    #[n(1)]
    pub user: UserId,
    /// Which device says so.
    #[n(2)]
    pub device: DeviceId,
    /// The one join that the key is for.
    #[n(3)]
    pub join: JoinId,
    /// How the key signs.
    #[n(4)]
    pub scheme: LeafScheme,
    /// The public key, as long as the scheme says.
    #[cbor(n(5), with = "minicbor::bytes")]
    pub key: Vec<u8>,
    /// When, by the clock of the device. What was prepared for a later join (a key package) is not good for ever.
    #[n(6)]
    pub made: WallTime,
}

/// Why a statement is none.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum LeafError {
    /// Not the deterministic encoding of a statement, one of another format, or with a key of the wrong length.
    #[error("the statement about a leaf's key is malformed")]
    Malformed,
    /// The device named in it did not sign it.
    #[error("the statement about a leaf's key is not signed by its device")]
    Signature,
}

impl LeafStatement {
    /// As it travels.
    #[must_use]
    pub fn sign(&self, key: &SigningKey<Device>) -> Signed {
        Signed::new(key, labels::LEAF, cbor::encode(self))
    }

    /// What a statement says of itself, to find the key it has to be signed by. Nothing is believed yet.
    ///
    /// # Errors
    /// [`LeafError::Malformed`].
    pub fn claimed(signed: &Signed) -> Result<Self, LeafError> {
        let statement: Self = cbor::decode(&signed.bytes).map_err(|_| LeafError::Malformed)?;
        let well_formed = statement.format == FORMAT && statement.key.len() == statement.scheme.key_length();
        if well_formed { Ok(statement) } else { Err(LeafError::Malformed) }
    }

    /// Checks a statement against the identity key that the directory proves for the device.
    ///
    /// # Errors
    /// [`LeafError`].
    pub fn verify(signed: &Signed, identity: &VerifyingKey<Device>) -> Result<Self, LeafError> {
        let statement = Self::claimed(signed)?;
        if statement.device != DeviceId::of(identity) {
            return Err(LeafError::Signature);
        }
        signed.verify(identity, labels::LEAF).map_err(|_| LeafError::Signature)?;
        Ok(statement)
    }
}

impl fmt::Debug for LeafStatement {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "LeafStatement({} {} {} {:?})", self.user, self.device, self.join, self.scheme)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::SeededRng;

    fn statement(identity: &SigningKey<Device>) -> LeafStatement {
        LeafStatement {
            format: FORMAT,
            user: UserId::parse("ada", "localhost").unwrap(),
            device: DeviceId::of(identity.public()),
            join: JoinId::from_bytes([7; 16]),
            scheme: LeafScheme::Ed25519,
            key: vec![9; 32],
            made: WallTime::from_unix(1_800_000_000),
        }
    }

    #[test]
    fn mls_1_a_statement_holds_under_the_key_of_its_device_alone() {
        let mut rng = SeededRng::new(1);
        let (ada, eve) = (SigningKey::generate(&mut rng), SigningKey::generate(&mut rng));
        let said = statement(&ada);
        assert_eq!(LeafStatement::verify(&said.sign(&ada), ada.public()), Ok(said.clone()));
        assert_eq!(LeafStatement::verify(&said.sign(&ada), eve.public()), Err(LeafError::Signature));
        // Eve signs what names Ada's device.
        assert_eq!(LeafStatement::verify(&said.sign(&eve), ada.public()), Err(LeafError::Signature));
        assert_eq!(LeafStatement::verify(&said.sign(&eve), eve.public()), Err(LeafError::Signature));
        // The same bytes under another label.
        let elsewhere = Signed::new(&ada, labels::CONSENT, cbor::encode(&said));
        assert_eq!(LeafStatement::verify(&elsewhere, ada.public()), Err(LeafError::Signature));
    }

    #[test]
    fn mls_1_a_statement_has_one_encoding_and_a_key_of_its_scheme() {
        let ada = SigningKey::generate(&mut SeededRng::new(2));
        let said = statement(&ada);
        let bytes = cbor::encode(&said);
        assert_eq!(cbor::decode::<LeafStatement>(&bytes).as_ref(), Ok(&said));
        for wrong in [
            LeafStatement { format: 2, ..said.clone() },
            LeafStatement { key: vec![9; 31], ..said.clone() },
            LeafStatement { scheme: LeafScheme::EcdsaP256, ..said.clone() },
        ] {
            assert_eq!(LeafStatement::verify(&wrong.sign(&ada), ada.public()), Err(LeafError::Malformed), "{wrong:?}");
        }
        let longer = Signed::new(&ada, labels::LEAF, [bytes.as_slice(), &[0]].concat());
        assert_eq!(LeafStatement::verify(&longer, ada.public()), Err(LeafError::Malformed));
        assert_eq!(
            format!("{said:?}"),
            format!("LeafStatement(ada@localhost {} 07070707070707070707070707070707 Ed25519)", said.device)
        );
    }
}
