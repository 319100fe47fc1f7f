//! A commit of one's own: made, kept, sent, and only then hoped for.

use openmls::group::CreateCommitError;
use openmls::messages::proposals::{PreSharedKeyProposal, Proposal};
use openmls::prelude::LeafNodeIndex;
use openmls::schedule::PreSharedKeyId;
use openmls::schedule::errors::PskError;
use openmls_traits::OpenMlsProvider;
use rand_core::CryptoRng;

use super::{Group, GroupId, tls};
use crate::failure::{Blame, Broken};
use crate::key_package::KeyPackage;
use crate::limits;
use crate::provider::Provider;
use crate::psk::PskId;
use crate::quorum::QuorumId;
use crate::refused::{Doubt, Refused, vouched};
use crate::roll::{DeviceRef, Roll};
use crate::step::{Outgoing, Step, Upload, post};

/// What a commit changes. It always gives its maker a new key on the way to the root as well, so an empty one is an update.
#[derive(Clone, Debug, Default)]
pub struct Change {
    /// Who is added.
    pub add: Vec<KeyPackage>,
    /// Which leaves are removed.
    pub remove: Vec<u32>,
    /// Which keys are mixed in, beside the quorum secret that the group may have.
    pub psks: Vec<PskId>,
}

impl Change {
    /// Nothing but new keys for oneself.
    #[must_use]
    pub fn update() -> Self {
        Self::default()
    }
}

/// Why no commit is made.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum CommitError {
    /// There is one already that is neither taken nor lost.
    #[error("a commit is pending")]
    Pending,
    /// No such leaf, or it stands there twice.
    #[error("there is no leaf {0} to remove")]
    NoLeaf(u32),
    /// Nobody removes themselves: who leaves is removed by somebody who stays (rule MLS-4).
    #[error("a member does not remove itself")]
    OwnLeaf,
    /// A key package of another suite than the group's.
    #[error("the key package is for another suite")]
    Suite,
    /// A join that is in the group, or stands there twice.
    #[error("a join stands there twice")]
    Twice,
    /// More than is allowed at once, or more members than a group may have.
    #[error("too many of them")]
    TooMany,
    /// The commit or its Welcome would have more bytes than [`limits::COMMIT`] or [`limits::WELCOME`]: fewer are to be added at once.
    #[error("the commit is too large")]
    TooLarge,
    /// Devices that are to be looked up first.
    #[error("the devices of the key packages are not looked up yet")]
    Needs(Vec<DeviceRef>),
    /// A key package of a device that is not let in.
    #[error(transparent)]
    Refused(Refused),
    /// A key that is not registered.
    #[error("a pre-shared key is missing")]
    Psk,
    /// The library refuses what is added or removed.
    #[error("the change does not fit the group")]
    Unfit,
    /// The store or the library failed.
    #[error(transparent)]
    Broken(#[from] Broken),
}

impl CommitError {
    /// Who is to blame.
    #[must_use]
    pub const fn blame(&self) -> Blame {
        match self {
            Self::Pending
            | Self::NoLeaf(_)
            | Self::OwnLeaf
            | Self::Suite
            | Self::Twice
            | Self::TooMany
            | Self::TooLarge => Blame::ApiMisuse,
            Self::Psk | Self::Needs(_) => Blame::Unavailable,
            Self::Refused(_) => Blame::PeerMisbehaved,
            Self::Unfit => Blame::Incompatible,
            Self::Broken(_) => Blame::Broken,
        }
    }
}

impl Group<'_> {
    /// Makes a commit and everything that belongs to it. The group stays in its epoch until the delivery service has taken it:
    /// then [`Group::accepted`]; when another one won, that one is received like any other, and this one is dropped with it.
    ///
    /// # Errors
    /// [`CommitError`].
    pub fn commit(mut self, rng: &mut dyn CryptoRng, change: Change, roll: &dyn Roll) -> Result<Step, CommitError> {
        self.check(&change)?;
        // Whoever the others would refuse is not proposed to them. An index is not known before there is a leaf.
        vouched(roll, change.add.iter().map(|package| (u32::MAX, &package.claim))).map_err(|doubt| match doubt {
            Doubt::Needs(devices) => CommitError::Needs(devices),
            Doubt::Refused(refused) => CommitError::Refused(refused),
        })?;
        let provider = Provider::new(self.store, rng);
        let mut proposals = Vec::new();
        let quorum = self.terms.quorum_id().map(QuorumId::psk);
        for id in change.psks.iter().chain(&quorum) {
            let nonced = PreSharedKeyId::new(self.terms.suite.ciphersuite(), provider.rand(), id.mls())
                .map_err(|_| Broken::Library)?;
            proposals.push(Proposal::PreSharedKey(Box::new(PreSharedKeyProposal::new(nonced))));
        }
        let epoch = self.epoch();
        let bundle = self
            .mls
            .commit_builder()
            .force_self_update(true)
            .propose_removals(change.remove.iter().copied().map(LeafNodeIndex::new))
            .propose_adds(change.add.into_iter().map(|package| package.mls))
            .add_proposals(proposals)
            .load_psks(provider.storage())
            .map_err(|error| failed(&error))?
            .create_group_info(true)
            .build(provider.rand(), provider.crypto(), &self.key, |_| true)
            .map_err(|error| failed(&error))?
            .stage_commit(&provider)
            .map_err(|_| Broken::Library)?;
        let staged = self.mls.pending_commit().ok_or(Broken::Library)?;
        let tree = staged
            .export_ratchet_tree(provider.crypto(), self.mls.export_ratchet_tree())
            .ok()
            .flatten()
            .ok_or(Broken::Library)?;
        let upload = upload(self.id, epoch, bundle, tls(&tree)?)?;
        if upload.commit.len() > limits::COMMIT || upload.welcome.as_ref().is_some_and(|w| w.len() > limits::WELCOME) {
            return Err(CommitError::TooLarge);
        }
        let sent = post(provider.overlay(), Outgoing::Commit(upload)).map_err(Broken::Store)?;
        Ok(Step { store: provider.into_writes().with_loaded(self.into_loaded()), send: vec![sent] })
    }

    /// What the library would not check, or would say less about.
    fn check(&self, change: &Change) -> Result<(), CommitError> {
        // Of either kind: one of a member, or one to join again.
        if self.pending().map_err(Broken::Store)?.is_some() || self.mls.pending_commit().is_some() {
            return Err(CommitError::Pending);
        }
        let members = self.members();
        let mut removed: Vec<u32> = Vec::new();
        for index in &change.remove {
            if *index == self.own_index() {
                return Err(CommitError::OwnLeaf);
            }
            if removed.contains(index) || !members.iter().any(|member| member.index == *index) {
                return Err(CommitError::NoLeaf(*index));
            }
            removed.push(*index);
        }
        let staying = members.iter().filter(|member| !removed.contains(&member.index));
        let mut joins: Vec<_> = staying.map(|member| member.join).collect();
        let too_many = change.add.len() > limits::ADDED_AT_ONCE
            || change.psks.len() + usize::from(self.terms.quorum_id().is_some()) > limits::PSKS
            || joins.len() + change.add.len() > self.terms.suite.members();
        if too_many {
            return Err(CommitError::TooMany);
        }
        for package in &change.add {
            if package.suite != self.terms.suite {
                return Err(CommitError::Suite);
            }
            if joins.contains(&package.claim.said.join) {
                return Err(CommitError::Twice);
            }
            joins.push(package.claim.said.join);
        }
        Ok(())
    }
}

fn failed(error: &CreateCommitError) -> CommitError {
    match error {
        CreateCommitError::PskError(PskError::KeyNotFound) => CommitError::Psk,
        CreateCommitError::ProposalValidationError(_) => CommitError::Unfit,
        _ => CommitError::Broken(Broken::Library),
    }
}

/// What goes to the delivery service.
pub(super) fn upload(
    group: GroupId,
    epoch: u64,
    bundle: openmls::group::CommitMessageBundle,
    tree: Vec<u8>,
) -> Result<Upload, Broken> {
    let (commit, welcome, group_info) = bundle.into_messages();
    let bytes = |message: openmls::framing::MlsMessageOut| message.to_bytes().map_err(|_| Broken::Library);
    Ok(Upload {
        group,
        epoch,
        commit: bytes(commit)?,
        welcome: welcome.map(bytes).transpose()?,
        group_info: bytes(group_info.ok_or(Broken::Library)?)?,
        tree,
    })
}
