//! Joining by a Welcome: somebody has added this device by its key package.

use openmls::framing::{MlsMessageBodyIn, MlsMessageIn};
use openmls::group::GroupContext;
use openmls::group::{MlsGroup, StagedWelcome, WelcomeError};
use openmls::prelude::Member as MlsMember;
use openmls::schedule::errors::PskError;
use openmls::treesync::RatchetTreeIn;
use rand_core::CryptoRng;
use tls_codec::DeserializeBytes;

use super::{Group, GroupId, Loaded, enter, own_key};
use crate::failure::{Blame, Broken};
use crate::key_package::waiting_key;
use crate::leaf::{Claim, LeafKey};
use crate::provider::Provider;
use crate::psk::PskId;
use crate::quorum::QuorumId;
use crate::refused::{Doubt, Refused, vouched};
use crate::roll::{DeviceRef, Roll};
use crate::step::Step;
use crate::store::{Store, StoreError};
use crate::terms::Terms;
use crate::{config, limits};

/// Why a group is not joined. Nothing of it is kept, so the same bytes can be tried again.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum JoinError {
    /// Not what it should be.
    #[error("the Welcome, the group info or the tree is malformed")]
    Malformed,
    /// More bytes than there may be.
    #[error("the Welcome, the group info or the tree is too large")]
    TooLarge,
    /// Of another group than the one to be joined.
    #[error("it is for another group")]
    OtherGroup,
    /// No key package that it is for.
    #[error("there is no key package that the Welcome is for")]
    NoKeyPackage,
    /// This device is in the group, or on its way into it. Forget that first.
    #[error("this device has such a group already")]
    Exists,
    /// There is no earlier join to go on from.
    #[error("there is no earlier join")]
    NoEarlierJoin,
    /// Members whose devices are to be looked up first.
    #[error("the devices of the members are not looked up yet")]
    Needs(Vec<DeviceRef>),
    /// A key that is mixed into the epoch is not registered here.
    #[error("a pre-shared key is missing")]
    Psk,
    /// Whoever made it, or a member, did what may not be done.
    #[error(transparent)]
    Refused(#[from] Refused),
    /// The store or the library failed.
    #[error(transparent)]
    Broken(#[from] Broken),
}

impl JoinError {
    /// Who is to blame.
    #[must_use]
    pub const fn blame(&self) -> Blame {
        match self {
            Self::Malformed | Self::TooLarge => Blame::Malformed,
            Self::OtherGroup => Blame::Incompatible,
            Self::NoKeyPackage | Self::Needs(_) | Self::Psk => Blame::Unavailable,
            Self::Exists | Self::NoEarlierJoin => Blame::ApiMisuse,
            Self::Refused(_) => Blame::PeerMisbehaved,
            Self::Broken(_) => Blame::Broken,
        }
    }
}

impl From<Doubt> for JoinError {
    fn from(doubt: Doubt) -> Self {
        match doubt {
            Doubt::Needs(devices) => Self::Needs(devices),
            Doubt::Refused(refused) => Self::Refused(refused),
        }
    }
}

impl Group<'_> {
    /// Joins by a Welcome, with the tree that came beside it. Group and terms are those of the invitation; every member of the tree is
    /// asked about (rule MLS-1).
    ///
    /// # Errors
    /// [`JoinError`].
    pub fn join(
        store: &Store,
        rng: &mut dyn CryptoRng,
        id: GroupId,
        terms: &Terms,
        welcome: &[u8],
        tree: &[u8],
        roll: &dyn Roll,
    ) -> Result<Step, JoinError> {
        if welcome.len() > limits::WELCOME {
            return Err(JoinError::TooLarge);
        }
        if store.read(&own_key(id)).is_some() {
            return Err(JoinError::Exists);
        }
        let tree = read_tree(tree)?;
        let message = MlsMessageIn::tls_deserialize_exact_bytes(welcome).map_err(|_| JoinError::Malformed)?;
        let MlsMessageBodyIn::Welcome(welcome) = message.extract() else {
            return Err(JoinError::Malformed);
        };
        if welcome.ciphersuite() != terms.suite.ciphersuite() {
            return Err(Refused::Suite.into());
        }
        let provider = Provider::new(store, rng);
        let builder = StagedWelcome::build_from_welcome(&provider, &config::joining(), welcome)
            .map_err(|error| failed(&error))?;
        let claimed = builder.processed_welcome().unverified_group_info();
        // The tree comes beside the Welcome, where its size is bounded.
        if claimed.extensions().ratchet_tree().is_some() {
            return Err(JoinError::Malformed);
        }
        let terms = fits(claimed.group_context(), id, terms)?;
        let quorum = terms.quorum_id().map(QuorumId::psk);
        let mixed_in = |wanted| builder.processed_welcome().psks().iter().filter_map(PskId::of).any(|id| id == wanted);
        if quorum.is_some_and(|quorum| !mixed_in(quorum)) {
            return Err(Refused::Quorum.into());
        }
        let staged =
            builder.with_ratchet_tree(tree).skip_lifetime_validation().build().map_err(|error| failed(&error))?;
        let all = claims(staged.members(), &terms)?;
        vouched(roll, all.iter().map(|(index, claim)| (*index, claim)))?;
        let own = staged.own_leaf_node().ok_or(Broken::Library)?;
        let waiting = waiting_key(own.signature_key().as_slice());
        let key = store.read(&waiting).ok_or(JoinError::NoKeyPackage)?;
        let key = LeafKey::from_bytes(key).map_err(|_| Broken::Store(StoreError::Damaged))?;
        let mls: MlsGroup = staged.into_group(&provider).map_err(|_| Broken::Library)?;
        provider.overlay().delete(waiting);
        enter(provider.overlay(), id, &key, mls.epoch().as_u64());
        let loaded = Loaded { id, key, terms, since: mls.epoch().as_u64(), mls };
        Ok(Step { store: provider.into_writes().with_loaded(Box::new(loaded)), send: Vec::new() })
    }
}

/// Reads a tree that came from outside.
pub(super) fn read_tree(bytes: &[u8]) -> Result<RatchetTreeIn, JoinError> {
    if bytes.len() > limits::TREE {
        return Err(JoinError::TooLarge);
    }
    RatchetTreeIn::tls_deserialize_exact_bytes(bytes).map_err(|_| JoinError::Malformed)
}

/// The terms of a group, if it is the one that was agreed on (rule NEG-1).
pub(super) fn fits(context: &GroupContext, id: GroupId, terms: &Terms) -> Result<Terms, JoinError> {
    if !id.is(context.group_id()) {
        return Err(JoinError::OtherGroup);
    }
    if context.ciphersuite() != terms.suite.ciphersuite() {
        return Err(Refused::Suite.into());
    }
    Terms::read(context).filter(|group| terms.are_met_by(group)).ok_or_else(|| Refused::Terms.into())
}

/// What every leaf of a tree says of itself; none may say nothing, and no two may be of one join.
pub(super) fn claims(members: impl Iterator<Item = MlsMember>, terms: &Terms) -> Result<Vec<(u32, Claim)>, Refused> {
    let mut all: Vec<(u32, Claim)> = Vec::new();
    for member in members {
        let index = member.index.u32();
        let claim =
            Claim::read(&member.credential, &member.signature_key, terms.suite).ok_or(Refused::Credential(index))?;
        all.push((index, claim));
    }
    if all.len() > terms.suite.members() {
        return Err(Refused::TooMany);
    }
    let mut joins: Vec<_> = all.iter().map(|(index, claim)| (claim.said.join, *index)).collect();
    joins.sort_unstable();
    match joins.array_windows().find(|[(one, _), (other, _)]| one == other) {
        Some([_, (_, index)]) => Err(Refused::Twice(*index)),
        None => Ok(all),
    }
}

fn failed(error: &WelcomeError<StoreError>) -> JoinError {
    match error {
        WelcomeError::NoMatchingKeyPackage => JoinError::NoKeyPackage,
        WelcomeError::Psk(PskError::KeyNotFound) => JoinError::Psk,
        WelcomeError::UnsupportedCiphersuite(_) | WelcomeError::CiphersuiteMismatch => Refused::Suite.into(),
        WelcomeError::StorageError(error) => Broken::Store(*error).into(),
        WelcomeError::GroupAlreadyExists => JoinError::Exists,
        _ => Refused::Invalid.into(),
    }
}
