//! A member by openmls alone: its own backend and its own storage in memory, and nothing of ours. It makes and hands on the same things
//! as a member of ours, a group info and the tree for those who come among them.

use std::fmt::Debug;
use std::time::{Duration, Instant};

use anyhow::{Context as _, anyhow, bail};
use openmls::credentials::{BasicCredential, CredentialType, CredentialWithKey};
use openmls::extensions::{Extension, Extensions, UnknownExtension};
use openmls::framing::{MlsMessageBodyIn, MlsMessageIn, MlsMessageOut, ProcessedMessageContent};
use openmls::group::{
    MlsGroup, MlsGroupCreateConfig, MlsGroupJoinConfig, PURE_CIPHERTEXT_WIRE_FORMAT_POLICY, StagedWelcome,
};
use openmls::key_packages::{KeyPackage, Lifetime};
use openmls::prelude::{
    Capabilities, CommitMessageBundle, ExtensionType, LeafNodeIndex, LeafNodeParameters, SenderRatchetConfiguration,
};
use openmls::treesync::{RatchetTree, RatchetTreeIn};
use openmls_rust_crypto::RustCrypto;
use openmls_traits::OpenMlsProvider;
use openmls_traits::crypto::OpenMlsCrypto;
use openmls_traits::signatures::{Signer, SignerError};
use openmls_traits::types::{Ciphersuite, SignatureScheme};
use tls_codec::{DeserializeBytes, Serialize};
use undertone_groups::{Suite, limits};

use super::roster::voucher;
use super::tree::{Made, Public};
use crate::keys::people::Person;

/// The type of the extension in which a group's terms stand (rule NEG-1). A leaf has to say that it can read it.
const TERMS: u16 = 0xF5A7;

/// Says what failed, of an error that is only to be shown.
pub(super) fn failed<E: Debug>(what: &'static str) -> impl FnOnce(E) -> anyhow::Error {
    move |error| anyhow!("{what}: {error:?}")
}

pub(super) fn ciphersuite(suite: Suite) -> anyhow::Result<Ciphersuite> {
    Ciphersuite::try_from(suite.mls_number()).map_err(failed("the suite"))
}

/// The key that signs for a leaf.
struct LeafKey {
    scheme: SignatureScheme,
    secret: Vec<u8>,
    public: Vec<u8>,
    crypto: RustCrypto,
}

impl LeafKey {
    fn draw(suite: Suite) -> anyhow::Result<Self> {
        let (crypto, scheme) = (RustCrypto::default(), ciphersuite(suite)?.signature_algorithm());
        let (secret, public) = crypto.signature_key_gen(scheme).map_err(failed("a leaf's key"))?;
        Ok(Self { scheme, secret, public, crypto })
    }

    fn credential(&self, person: &Person, suite: Suite) -> CredentialWithKey {
        CredentialWithKey {
            credential: BasicCredential::new(voucher(person, suite, &self.public)).into(),
            signature_key: self.public.clone().into(),
        }
    }
}

impl Signer for LeafKey {
    fn sign(&self, payload: &[u8]) -> Result<Vec<u8>, SignerError> {
        self.crypto.sign(self.scheme, payload, &self.secret).map_err(SignerError::CryptoError)
    }

    fn signature_scheme(&self) -> SignatureScheme {
        self.scheme
    }
}

/// A member.
pub(super) struct Raw<P> {
    provider: P,
    key: LeafKey,
    group: MlsGroup,
}

/// Who has left a key package behind.
pub(super) struct Waiting<P> {
    provider: P,
    key: LeafKey,
    pub(super) package: KeyPackage,
}

fn capabilities(suite: Suite) -> anyhow::Result<Capabilities> {
    let (suites, extensions) = ([ciphersuite(suite)?], [ExtensionType::Unknown(TERMS)]);
    Ok(Capabilities::new(None, Some(&suites), Some(&extensions), None, Some(&[CredentialType::Basic])))
}

/// As groups of ours are set up: padding and what is kept of past epochs would differ otherwise.
fn config() -> MlsGroupJoinConfig {
    MlsGroupJoinConfig::builder()
        .wire_format_policy(PURE_CIPHERTEXT_WIRE_FORMAT_POLICY)
        .padding_size(limits::PADDING)
        .max_past_epochs(limits::PAST_EPOCHS)
        .number_of_resumption_psks(0)
        .use_ratchet_tree_extension(false)
        .sender_ratchet_configuration(SenderRatchetConfiguration::new(limits::OUT_OF_ORDER, limits::LOST_IN_A_ROW))
        .build()
}

fn read_tree(bytes: &[u8]) -> anyhow::Result<RatchetTreeIn> {
    RatchetTreeIn::tls_deserialize_exact_bytes(bytes).map_err(failed("the tree"))
}

fn made(bundle: CommitMessageBundle, tree: &RatchetTree) -> anyhow::Result<Made> {
    let (commit, welcome, info) = bundle.into_messages();
    let bytes = |message: MlsMessageOut| message.to_bytes().map_err(failed("a message"));
    let info = bytes(info.context("no group info")?)?;
    let tree = tree.tls_serialize_detached().map_err(failed("the tree"))?;
    Ok(Made { commit: bytes(commit)?, welcome: welcome.map(bytes).transpose()?, public: Public { info, tree } })
}

impl<P: OpenMlsProvider> Raw<P> {
    /// The group's first member, and what the next one needs.
    pub(super) fn create(provider: P, suite: Suite, person: &Person) -> anyhow::Result<(Self, Public)> {
        let key = LeafKey::draw(suite)?;
        let terms = Extension::Unknown(TERMS, UnknownExtension(vec![0; 15]));
        let create = MlsGroupCreateConfig::builder()
            .ciphersuite(ciphersuite(suite)?)
            .capabilities(capabilities(suite)?)
            .lifetime(Lifetime::init(0, u64::MAX >> 1))
            .with_group_context_extensions(Extensions::single(terms).map_err(failed("the terms"))?)
            .wire_format_policy(PURE_CIPHERTEXT_WIRE_FORMAT_POLICY)
            .padding_size(limits::PADDING)
            .max_past_epochs(limits::PAST_EPOCHS)
            .build();
        let group =
            MlsGroup::new(&provider, &key, &create, key.credential(person, suite)).map_err(failed("a group"))?;
        let info = group.export_group_info(provider.crypto(), &key, false).map_err(failed("the group info"))?;
        let info = info.to_bytes().map_err(failed("the group info"))?;
        let tree = group.export_ratchet_tree().tls_serialize_detached().map_err(failed("the tree"))?;
        Ok((Self { provider, key, group }, Public { info, tree }))
    }

    /// Comes in by itself; how long that took.
    pub(super) fn join(
        provider: P,
        suite: Suite,
        person: &Person,
        public: &Public,
    ) -> anyhow::Result<(Self, Made, Duration)> {
        let key = LeafKey::draw(suite)?;
        let credential = key.credential(person, suite);
        let start = Instant::now();
        let message = MlsMessageIn::tls_deserialize_exact_bytes(&public.info).map_err(failed("the group info"))?;
        let MlsMessageBodyIn::GroupInfo(info) = message.extract() else { bail!("no group info") };
        let leaf = LeafNodeParameters::builder().with_capabilities(capabilities(suite)?).build();
        let (group, bundle) = MlsGroup::external_commit_builder()
            .with_ratchet_tree(read_tree(&public.tree)?)
            .with_config(config())
            .skip_lifetime_validation()
            .build_group(&provider, info, credential)
            .map_err(failed("a group to come into"))?
            .leaf_node_parameters(leaf)
            .load_psks(provider.storage())
            .map_err(failed("an external commit"))?
            .create_group_info(true)
            .build(provider.rand(), provider.crypto(), &key, |_| true)
            .map_err(failed("an external commit"))?
            .finalize(&provider)
            .map_err(failed("an external commit"))?;
        let made = made(bundle, &group.export_ratchet_tree())?;
        let taken = start.elapsed();
        Ok((Self { provider, key, group }, made, taken))
    }

    /// Leaves a key package behind.
    pub(super) fn wait(provider: P, suite: Suite, person: &Person) -> anyhow::Result<Waiting<P>> {
        let key = LeafKey::draw(suite)?;
        let package = KeyPackage::builder()
            .key_package_lifetime(Lifetime::init(0, u64::MAX >> 1))
            .leaf_node_capabilities(capabilities(suite)?)
            .build(ciphersuite(suite)?, &provider, &key, key.credential(person, suite))
            .map_err(failed("a key package"))?;
        let package = package.key_package().clone();
        Ok(Waiting { provider, key, package })
    }

    /// Somebody else's commit, until the epoch has begun.
    pub(super) fn follow(&mut self, commit: &[u8]) -> anyhow::Result<Duration> {
        let start = Instant::now();
        let message = MlsMessageIn::tls_deserialize_exact_bytes(commit).map_err(failed("a commit"))?;
        let message = message.try_into_protocol_message().map_err(failed("a commit"))?;
        let processed = self.group.process_message(&self.provider, message).map_err(failed("a commit"))?;
        let ProcessedMessageContent::StagedCommitMessage(staged) = processed.into_content() else {
            bail!("something else than a commit")
        };
        self.group.merge_staged_commit(&self.provider, *staged).map_err(failed("a commit"))?;
        Ok(start.elapsed())
    }

    /// A commit of its own, until it can be sent.
    pub(super) fn commit(&mut self, remove: &[u32]) -> anyhow::Result<(Made, Duration)> {
        self.change(remove, Vec::new())
    }

    /// The same that adds these as well.
    pub(super) fn change(&mut self, remove: &[u32], add: Vec<KeyPackage>) -> anyhow::Result<(Made, Duration)> {
        let (provider, start) = (&self.provider, Instant::now());
        let bundle = self
            .group
            .commit_builder()
            .force_self_update(true)
            .propose_removals(remove.iter().copied().map(LeafNodeIndex::new))
            .propose_adds(add)
            .load_psks(provider.storage())
            .map_err(failed("an own commit"))?
            .create_group_info(true)
            .build(provider.rand(), provider.crypto(), &self.key, |_| true)
            .map_err(failed("an own commit"))?
            .stage_commit(provider)
            .map_err(failed("an own commit"))?;
        let staged = self.group.pending_commit().context("no own commit")?;
        let tree = staged.export_ratchet_tree(provider.crypto(), self.group.export_ratchet_tree());
        let tree = tree.map_err(failed("the next tree"))?.context("no next tree")?;
        let made = made(bundle, &tree)?;
        Ok((made, start.elapsed()))
    }

    /// The own commit is taken.
    pub(super) fn accepted(&mut self) -> anyhow::Result<Duration> {
        let start = Instant::now();
        self.group.merge_pending_commit(&self.provider).map_err(failed("an own commit"))?;
        Ok(start.elapsed())
    }

    /// The leaf of another member.
    pub(super) fn leaf_of(&self, other: &Self) -> Option<u32> {
        let mut members = self.group.members();
        members.find(|member| member.signature_key == other.key.public).map(|member| member.index.u32())
    }

    /// The epoch that it is in.
    pub(super) fn epoch(&self) -> u64 {
        self.group.epoch().as_u64()
    }
}

impl<P: OpenMlsProvider> Waiting<P> {
    /// The key package, as an MLS message.
    pub(super) fn message(&self) -> anyhow::Result<Vec<u8>> {
        MlsMessageOut::from(self.package.clone()).to_bytes().map_err(failed("a key package"))
    }

    /// Is let in; how long that took.
    pub(super) fn join(self, welcome: &[u8], tree: &[u8]) -> anyhow::Result<(Raw<P>, Duration)> {
        let start = Instant::now();
        let message = MlsMessageIn::tls_deserialize_exact_bytes(welcome).map_err(failed("the Welcome"))?;
        let MlsMessageBodyIn::Welcome(welcome) = message.extract() else { bail!("no Welcome") };
        let staged = StagedWelcome::build_from_welcome(&self.provider, &config(), welcome)
            .map_err(failed("the Welcome"))?
            .with_ratchet_tree(read_tree(tree)?)
            .skip_lifetime_validation()
            .build()
            .map_err(failed("the Welcome"))?;
        let group = staged.into_group(&self.provider).map_err(failed("the Welcome"))?;
        let taken = start.elapsed();
        Ok((Raw { provider: self.provider, key: self.key, group }, taken))
    }
}
