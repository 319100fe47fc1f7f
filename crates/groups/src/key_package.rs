//! What a device leaves behind so that others can add it to a group while it is away.

use minicbor::{Decode, Encode};
use openmls::framing::{MlsMessageBodyIn, MlsMessageIn, MlsMessageOut};
use openmls::key_packages::KeyPackage as MlsKeyPackage;
use openmls::versions::ProtocolVersion;
use openmls_traits::OpenMlsProvider;
use rand_core::CryptoRng;
use tls_codec::DeserializeBytes;
use undertone_keys::{WallTime, cbor};

use crate::failure::{Blame, Broken};
use crate::leaf::{Claim, Joiner, LeafKey};
use crate::provider::{Crypto, Overlay, Provider};
use crate::roll::DeviceRef;
use crate::sealable::can_be_sealed_to;
use crate::step::{Outgoing, Step, post};
use crate::store::{Store, WriteSet};
use crate::suite::Suite;
use crate::{config, limits};

/// The only format of the envelope so far.
const FORMAT: u8 = 1;
const WAITING: &[u8] = b"leaf key\0";

/// A key package of another device, sound in itself. Whether the device is let in is asked when the commit that adds it is judged, by
/// everybody, its maker included.
#[derive(Clone, Debug)]
pub struct KeyPackage {
    pub(crate) mls: MlsKeyPackage,
    pub(crate) suite: Suite,
    pub(crate) claim: Claim,
}

/// How a key package travels: with the suite by our own id, which is looked at before MLS's number.
#[derive(Encode, Decode)]
#[cbor(map)]
struct Envelope {
    #[n(0)]
    format: u8,
    #[n(1)]
    suite: u16,
    #[cbor(n(2), with = "minicbor::bytes")]
    bytes: Vec<u8>,
}

impl Envelope {
    fn read(bytes: &[u8]) -> Result<Self, KeyPackageError> {
        if bytes.len() > limits::KEY_PACKAGE {
            return Err(KeyPackageError::TooLarge);
        }
        let envelope: Self = cbor::decode(bytes).map_err(|_| KeyPackageError::Malformed)?;
        if envelope.format == FORMAT { Ok(envelope) } else { Err(KeyPackageError::Malformed) }
    }
}

/// Why bytes are no key package.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum KeyPackageError {
    /// Not the encoding of one.
    #[error("the key package is malformed")]
    Malformed,
    /// More than [`limits::KEY_PACKAGE`] bytes.
    #[error("the key package is too large")]
    TooLarge,
    /// Its signatures do not hold, or it contradicts itself.
    #[error("MLS-1: the key package does not verify")]
    Invalid,
    /// Its credential is not a device's statement about its key.
    #[error("MLS-1: the credential of the key package does not vouch for its key")]
    Credential,
    /// Made for another suite.
    #[error("the key package is for another suite")]
    Suite,
    /// Its device cannot read what groups of ours have in their context.
    #[error("the key package lacks what groups of ours need")]
    Capabilities,
    /// Too old, or from the future.
    #[error("the key package is not valid now")]
    Expired,
}

impl KeyPackageError {
    /// Who is to blame.
    #[must_use]
    pub const fn blame(self) -> Blame {
        match self {
            Self::Malformed | Self::TooLarge => Blame::Malformed,
            Self::Invalid | Self::Credential => Blame::PeerMisbehaved,
            Self::Suite | Self::Capabilities | Self::Expired => Blame::Incompatible,
        }
    }
}

impl KeyPackage {
    /// Makes one for this device. It is good for one join, the one of `joiner`, within [`limits::KEY_PACKAGE_LIFE`].
    ///
    /// # Errors
    /// [`Broken`].
    pub fn generate(store: &Store, rng: &mut dyn CryptoRng, suite: Suite, joiner: &Joiner<'_>) -> Result<Step, Broken> {
        let provider = Provider::new(store, rng);
        let key = LeafKey::draw(suite, joiner, provider.crypto(), provider.rand()).map_err(|_| Broken::Library)?;
        let made = MlsKeyPackage::builder()
            .key_package_lifetime(config::lifetime())
            .leaf_node_capabilities(config::capabilities(suite))
            .build(suite.ciphersuite(), &provider, &key, key.credential())
            .map_err(|_| Broken::Library)?;
        let bytes = MlsMessageOut::from(made).to_bytes().map_err(|_| Broken::Library)?;
        provider.overlay().put(waiting_key(key.public()), key.to_bytes());
        let bytes = Self::put_in(suite, bytes);
        let sent = post(provider.overlay(), Outgoing::KeyPackage { bytes })?;
        Ok(Step { store: provider.into_writes(), send: vec![sent] })
    }

    /// Reads the key package of another device, for a group of `suite`.
    ///
    /// # Errors
    /// [`KeyPackageError`] says which check failed.
    pub fn parse(bytes: &[u8], suite: Suite, now: WallTime) -> Result<Self, KeyPackageError> {
        let envelope = Envelope::read(bytes)?;
        if envelope.suite != suite.id() {
            return Err(KeyPackageError::Suite);
        }
        let message =
            MlsMessageIn::tls_deserialize_exact_bytes(&envelope.bytes).map_err(|_| KeyPackageError::Malformed)?;
        let MlsMessageBodyIn::KeyPackage(package) = message.extract() else {
            return Err(KeyPackageError::Malformed);
        };
        let mls = package.validate(&Crypto::default(), ProtocolVersion::Mls10).map_err(|_| KeyPackageError::Invalid)?;
        if mls.ciphersuite() != suite.ciphersuite() {
            return Err(KeyPackageError::Suite);
        }
        let leaf = mls.leaf_node();
        if !can_be_sealed_to(leaf, suite) {
            return Err(KeyPackageError::Invalid);
        }
        let claim = Claim::read(leaf.credential(), leaf.signature_key().as_slice(), suite)
            .ok_or(KeyPackageError::Credential)?;
        let needed = config::capabilities(suite);
        let able = leaf.capabilities().ciphersuites().iter().any(|theirs| needed.ciphersuites().contains(theirs))
            && leaf.capabilities().extensions().iter().any(|theirs| needed.extensions().contains(theirs));
        if !able || mls.last_resort() {
            return Err(KeyPackageError::Capabilities);
        }
        let (made, now) = (claim.said.made.as_unix(), now.as_unix());
        let valid = made <= now.saturating_add(limits::CLOCK_SKEW)
            && now <= made.saturating_add(limits::KEY_PACKAGE_LIFE + limits::CLOCK_SKEW);
        if !valid {
            return Err(KeyPackageError::Expired);
        }
        Ok(Self { mls, suite, claim })
    }

    /// What the server is given of an envelope: the MLS message in it, and the suite it says it is for. The server keeps key packages
    /// by the suite's [`Suite::mls_number`], and knows nothing of envelopes.
    ///
    /// # Errors
    /// [`KeyPackageError::Malformed`], [`KeyPackageError::TooLarge`], and [`KeyPackageError::Suite`] for a suite that is not known here.
    pub fn take_out(envelope: &[u8]) -> Result<(Suite, Vec<u8>), KeyPackageError> {
        let Envelope { suite, bytes, .. } = Envelope::read(envelope)?;
        Ok((Suite::from_id(suite).ok_or(KeyPackageError::Suite)?, bytes))
    }

    /// The envelope that [`KeyPackage::parse`] reads, around a message that the server handed out when it was asked for `suite`.
    /// Nothing of the message is believed by that.
    #[must_use]
    pub fn put_in(suite: Suite, message: Vec<u8>) -> Vec<u8> {
        cbor::encode(&Envelope { format: FORMAT, suite: suite.id(), bytes: message })
    }

    /// Which device says that it made it.
    #[must_use]
    pub fn device(&self) -> DeviceRef {
        DeviceRef { user: self.claim.said.user.clone(), device: self.claim.said.device }
    }
}

/// How many key packages of this device wait to be used.
pub(crate) fn waiting_packages(store: &Store) -> usize {
    store.starting_with(WAITING).count()
}

/// Forgets all key packages of this device, in a store without groups: whoever was handed one of them lets in nobody by it.
pub(crate) fn forget_packages(store: &Store) -> WriteSet {
    let overlay = Overlay::new(store);
    overlay.erase_packages();
    for (key, _) in store.starting_with(WAITING) {
        overlay.delete(key.to_vec());
    }
    overlay.into_writes()
}

/// Where the private key of a leaf waits that is in no group yet.
pub(crate) fn waiting_key(public: &[u8]) -> Vec<u8> {
    [WAITING, public].concat()
}
