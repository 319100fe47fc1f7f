//! The key that signs for one leaf, and the credential that says whose it is (rule MLS-1).
//!
//! The credential is a basic one; its bytes are the device's signed [`LeafStatement`]. What MLS checks is that a leaf is
//! signed by the key in it. What it leaves to us is checked here: that this key is the one in the statement, and that the
//! statement is signed by the device that it names.

use minicbor::{Decode, Encode};
use openmls::credentials::{BasicCredential, Credential, CredentialType, CredentialWithKey};
use openmls_traits::crypto::OpenMlsCrypto;
use openmls_traits::signatures::{Signer, SignerError};
use openmls_traits::types::{HpkeAeadType, HpkeConfig, HpkeKdfType, HpkeKemType, SignatureScheme};
use undertone_keys::leaf::{FORMAT, LeafScheme, LeafStatement};
use undertone_keys::sign::{Device, Signed, SigningKey};
use undertone_keys::{DeviceId, JoinId, Secret, UserId, WallTime, cbor};
use zeroize::Zeroizing;

use crate::provider::{Crypto, Random};
use crate::suite::{Suite, signature_scheme};

/// Who joins, from which device, in which join: what a new leaf is made of.
#[derive(Debug)]
pub struct Joiner<'a> {
    /// The user.
    pub user: &'a UserId,
    /// The device's identity key, which vouches for the leaf's.
    pub identity: &'a SigningKey<Device>,
    /// 128 bits drawn for this join and no other (rule MED-3).
    pub join: JoinId,
    /// Now.
    pub now: WallTime,
}

/// The private key of a leaf of our own, as it is stored.
#[derive(Encode, Decode)]
pub(crate) struct LeafKey {
    #[n(0)]
    scheme: LeafScheme,
    #[cbor(n(1), with = "secret")]
    secret: Secret<32>,
    #[cbor(n(2), with = "minicbor::bytes")]
    public: Vec<u8>,
    #[cbor(n(3), with = "minicbor::bytes")]
    credential: Vec<u8>,
}

/// Which keys a leaf key may be refused for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct NoKey;

impl LeafKey {
    /// Draws a key for one join and lets the device vouch for it.
    pub(crate) fn draw(suite: Suite, joiner: &Joiner<'_>, crypto: &Crypto, random: &Random<'_>) -> Result<Self, NoKey> {
        let scheme = suite.leaf_scheme();
        let seed = Secret::filled_by(|bytes| random.fill(bytes));
        let (secret, public) = match scheme {
            LeafScheme::Ed25519 => {
                let public = SigningKey::<Device>::from_seed(Secret::filled_by(|out| *out = *seed.expose()));
                let bytes = public.public().as_bytes().to_vec();
                (seed, bytes)
            }
            // DeriveKeyPair of RFC 9180 turns bytes into a scalar without bias; the pair signs, and never agrees on anything.
            LeafScheme::EcdsaP256 => {
                let kem = HpkeConfig(HpkeKemType::DhKemP256, HpkeKdfType::HkdfSha256, HpkeAeadType::AesGcm128);
                let pair = crypto.derive_hpke_keypair(kem, seed.expose()).map_err(|_| NoKey)?;
                (Secret::from_slice(&pair.private).ok_or(NoKey)?, pair.public)
            }
        };
        let statement = LeafStatement {
            format: FORMAT,
            user: joiner.user.clone(),
            device: DeviceId::of(joiner.identity.public()),
            join: joiner.join,
            scheme,
            key: public.clone(),
            made: joiner.now,
        };
        let credential = cbor::encode(&statement.sign(joiner.identity));
        Ok(Self { scheme, secret, public, credential })
    }

    pub(crate) fn credential(&self) -> CredentialWithKey {
        CredentialWithKey {
            credential: BasicCredential::new(self.credential.clone()).into(),
            signature_key: self.public.clone().into(),
        }
    }

    pub(crate) fn to_bytes(&self) -> Zeroizing<Vec<u8>> {
        cbor::encode_secret(self, 128 + self.public.len() + self.credential.len())
    }

    pub(crate) fn from_bytes(bytes: &[u8]) -> Result<Self, cbor::Malformed> {
        cbor::decode(bytes)
    }

    /// Which leaf it is the key of.
    pub(crate) fn public(&self) -> &[u8] {
        &self.public
    }
}

impl Signer for LeafKey {
    fn sign(&self, payload: &[u8]) -> Result<Vec<u8>, SignerError> {
        // Both schemes are deterministic, so signing needs no randomness.
        Crypto::default().sign(self.signature_scheme(), payload, self.secret.expose()).map_err(SignerError::CryptoError)
    }

    fn signature_scheme(&self) -> SignatureScheme {
        signature_scheme(self.scheme)
    }
}

/// A leaf's credential as it stands in a tree: a claim until the device's key is at hand.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Claim {
    pub(crate) signed: Signed,
    pub(crate) said: LeafStatement,
}

impl Claim {
    /// Reads a credential. `None` when it is none of ours, or when it vouches for another key than the leaf has.
    pub(crate) fn read(credential: &Credential, key: &[u8], suite: Suite) -> Option<Self> {
        let claim = Self::read_accepted(credential)?;
        let fits = claim.said.key == key && claim.said.scheme == suite.leaf_scheme();
        fits.then_some(claim)
    }

    /// Reads the credential of a leaf that was looked at when it came into the tree.
    pub(crate) fn read_accepted(credential: &Credential) -> Option<Self> {
        if credential.credential_type() != CredentialType::Basic {
            return None;
        }
        let signed: Signed = cbor::decode(credential.serialized_content()).ok()?;
        let said = LeafStatement::claimed(&signed).ok()?;
        Some(Self { signed, said })
    }
}

mod secret {
    use minicbor::decode::Error as DecodeError;
    use minicbor::encode::{Error as EncodeError, Write};
    use minicbor::{Decoder, Encoder};
    use undertone_keys::Secret;

    pub(super) fn encode<C, W: Write>(
        secret: &Secret<32>,
        e: &mut Encoder<W>,
        _: &mut C,
    ) -> Result<(), EncodeError<W::Error>> {
        e.bytes(secret.expose())?.ok()
    }

    pub(super) fn decode<C>(d: &mut Decoder<'_>, _: &mut C) -> Result<Secret<32>, DecodeError> {
        Secret::from_slice(d.bytes()?).ok_or_else(|| DecodeError::message("not a secret"))
    }
}
