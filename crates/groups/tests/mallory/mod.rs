//! Somebody who speaks MLS and keeps to no rule of ours: the library without the wall.
#![allow(dead_code, reason = "each test uses a part of it")]
#![allow(clippy::unwrap_used, clippy::panic, clippy::indexing_slicing, reason = "a test may fail")]

use openmls::credentials::{BasicCredential, CredentialWithKey};
use openmls::framing::{MlsMessageBodyIn, MlsMessageIn};
use openmls::group::{MlsGroup, MlsGroupJoinConfig, PURE_CIPHERTEXT_WIRE_FORMAT_POLICY};
use openmls::messages::proposals::PreSharedKeyProposal;
use openmls::prelude::{Capabilities, ExtensionType, LeafNodeParameters};
use openmls::schedule::{ExternalPsk, PreSharedKeyId, Psk};
use openmls::treesync::RatchetTreeIn;
use openmls_rust_crypto::OpenMlsRustCrypto;
use openmls_traits::OpenMlsProvider;
use openmls_traits::crypto::OpenMlsCrypto;
use openmls_traits::signatures::{Signer, SignerError};
use openmls_traits::types::{Ciphersuite, SignatureScheme};
use tls_codec::DeserializeBytes;
use undertone_keys::leaf::{FORMAT, LeafScheme, LeafStatement};
use undertone_keys::sign::{Device, SigningKey};
use undertone_keys::{DeviceId, JoinId, cbor};

use crate::world::{NOW, Person};

pub(crate) const SUITE: Ciphersuite = Ciphersuite::MLS_128_DHKEMX25519_AES128GCM_SHA256_Ed25519;

/// A signature key of the attacker's choice.
#[derive(Clone)]
pub(crate) struct Key {
    pub(crate) secret: Vec<u8>,
    pub(crate) public: Vec<u8>,
}

impl Signer for Key {
    fn sign(&self, payload: &[u8]) -> Result<Vec<u8>, SignerError> {
        let crypto = OpenMlsRustCrypto::default();
        crypto.crypto().sign(SignatureScheme::ED25519, payload, &self.secret).map_err(SignerError::CryptoError)
    }

    fn signature_scheme(&self) -> SignatureScheme {
        SignatureScheme::ED25519
    }
}

impl Key {
    pub(crate) fn draw() -> Self {
        let crypto = OpenMlsRustCrypto::default();
        let (secret, public) = crypto.crypto().signature_key_gen(SignatureScheme::ED25519).unwrap();
        Self { secret, public }
    }

    /// A credential as it should be, signed by whoever `signer` is, about a device of whoever `claims` is.
    pub(crate) fn credential(&self, claims: &Person, signer: &SigningKey<Device>, join: JoinId) -> CredentialWithKey {
        let said = LeafStatement {
            format: FORMAT,
            user: claims.user.clone(),
            device: DeviceId::of(claims.identity.public()),
            join,
            scheme: LeafScheme::Ed25519,
            key: self.public.clone(),
            made: NOW,
        };
        self.with(cbor::encode(&said.sign(signer)))
    }

    pub(crate) fn with(&self, identity: Vec<u8>) -> CredentialWithKey {
        CredentialWithKey {
            credential: BasicCredential::new(identity).into(),
            signature_key: self.public.clone().into(),
        }
    }
}

pub(crate) fn capabilities() -> Capabilities {
    Capabilities::new(None, Some(&[SUITE]), Some(&[ExtensionType::Unknown(0xF5A7)]), None, None)
}

/// The attacker, as a member.
pub(crate) struct Mallory {
    pub(crate) provider: OpenMlsRustCrypto,
    pub(crate) key: Key,
    pub(crate) group: MlsGroup,
}

impl Mallory {
    /// Makes an external commit.
    pub(crate) fn join(info: &[u8], tree: &[u8], key: Key, credential: CredentialWithKey) -> (Self, Vec<u8>) {
        Self::join_saying(capabilities(), info, tree, key, credential)
    }

    pub(crate) fn join_saying(
        capabilities: Capabilities,
        info: &[u8],
        tree: &[u8],
        key: Key,
        credential: CredentialWithKey,
    ) -> (Self, Vec<u8>) {
        Self::join_with(None, capabilities, info, tree, key, credential)
    }

    /// The same with a pre-shared key, of this id and of these bytes.
    pub(crate) fn join_with(
        psk: Option<(&[u8], [u8; 32])>,
        capabilities: Capabilities,
        info: &[u8],
        tree: &[u8],
        key: Key,
        credential: CredentialWithKey,
    ) -> (Self, Vec<u8>) {
        let provider = OpenMlsRustCrypto::default();
        let psks = psk.map(|(id, secret)| {
            PreSharedKeyId::external(id.to_vec(), Vec::new()).store(&provider, &secret).unwrap();
            let external = Psk::External(ExternalPsk::new(id.to_vec()));
            PreSharedKeyProposal::new(PreSharedKeyId::new(SUITE, provider.rand(), external).unwrap())
        });
        let message = MlsMessageIn::tls_deserialize_exact_bytes(info).unwrap();
        let MlsMessageBodyIn::GroupInfo(info) = message.extract() else { panic!("no group info") };
        let config = MlsGroupJoinConfig::builder()
            .wire_format_policy(PURE_CIPHERTEXT_WIRE_FORMAT_POLICY)
            .max_past_epochs(1)
            .build();
        let (group, bundle) = MlsGroup::external_commit_builder()
            .with_ratchet_tree(RatchetTreeIn::tls_deserialize_exact_bytes(tree).unwrap())
            .with_config(config)
            .skip_lifetime_validation()
            .build_group(&provider, info, credential)
            .unwrap()
            .add_psk_proposals(psks)
            .leaf_node_parameters(LeafNodeParameters::builder().with_capabilities(capabilities).build())
            .load_psks(provider.storage())
            .unwrap()
            .build(provider.rand(), provider.crypto(), &key, |_| true)
            .unwrap()
            .finalize(&provider)
            .unwrap();
        let commit = bundle.into_contents().0.to_bytes().unwrap();
        (Self { provider, key, group }, commit)
    }
}
