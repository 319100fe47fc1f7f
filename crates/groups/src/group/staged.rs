//! A commit of somebody else's, taken apart: who comes, who goes, by whom.
//!
//! Nothing has happened while a [`Staged`] exists. It is merged with a [`Verdict`], or dropped, and then the same bytes can be received
//! again. To drop a valid commit is to stay behind in an epoch that the others have left: whoever refuses one leaves the
//! group, or joins it anew, and says so; it is never just skipped.
//!
//! The library names the credentials it wants to have verified, and that is not enough: it names credentials and not keys, so a
//! member who swaps the key behind the same credential is not seen. Here every leaf that a commit adds or changes is
//! looked at, its key with its credential.

use std::collections::BTreeSet;

use openmls::framing::Sender;
use openmls::group::StagedCommit;
use openmls::messages::proposals::Proposal;
use openmls::prelude::{LeafNode, LeafNodeIndex};
use openmls::schedule::PreSharedKeyId;
use tls_codec::{DeserializeBytes, Serialize, Size};
use undertone_keys::digest::labelled_sha256;

use super::settle::{empty_outbox, erase};
use super::{Group, provisional_key};
use crate::failure::{Blame, Broken};
use crate::leaf::Claim;
use crate::provider::Provider;
use crate::psk::PskId;
use crate::quorum::QuorumId;
use crate::refused::{Doubt, Refused, vouched};
use crate::roll::{DeviceRef, Member, Roll};
use crate::sealable::can_be_sealed_to;
use crate::step::{Sent, Step, settle};
use crate::terms::Terms;
use crate::{labels, limits};

/// How a leaf comes to be what it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// It was added by the committer.
    Added,
    /// It is the committer's own, with a new key to seal to. Whose it is and how it signs is unchanged.
    Updated,
    /// It joined by itself: an external commit.
    Joined,
}

/// A leaf that a commit adds or changes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NewLeaf {
    /// How.
    pub kind: Kind,
    /// Whose.
    pub member: Member,
    /// The key it signs with, for which its device vouches.
    pub signature_key: Vec<u8>,
}

/// A commit that is not merged.
pub struct Staged<'a> {
    group: Group<'a>,
    provider: Provider<'a>,
    commit: StagedCommit,
    pending: Option<Sent>,
    hash: [u8; 32],
    sender: Member,
    leaves: Vec<(NewLeaf, Claim)>,
    removed: Vec<Member>,
    psks: Vec<PskId>,
}

/// That a commit may be merged: said by [`Staged::judge`] about one commit, and good for that one.
#[derive(Debug)]
pub struct Verdict([u8; 32]);

/// Why a commit may not be merged, or not yet.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum JudgeError {
    /// Devices that are to be looked up first. Then judge again.
    #[error("the devices of new leaves are not looked up yet")]
    Needs(Vec<DeviceRef>),
    /// It may not.
    #[error(transparent)]
    Refused(Refused),
}

impl JudgeError {
    /// Who is to blame.
    #[must_use]
    pub const fn blame(&self) -> Blame {
        match self {
            Self::Needs(_) => Blame::Unavailable,
            Self::Refused(_) => Blame::PeerMisbehaved,
        }
    }
}

/// Why a commit is not merged.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum MergeError {
    /// The verdict is about another commit.
    #[error("the verdict is about another commit")]
    OtherCommit,
    /// The store or the library failed.
    #[error(transparent)]
    Broken(#[from] Broken),
}

impl MergeError {
    /// Who is to blame.
    #[must_use]
    pub const fn blame(self) -> Blame {
        match self {
            Self::OtherCommit => Blame::ApiMisuse,
            Self::Broken(_) => Blame::Broken,
        }
    }
}

impl core::fmt::Debug for Staged<'_> {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        write!(f, "Staged(epoch {} by leaf {})", self.epoch(), self.sender.index)
    }
}

impl<'a> Staged<'a> {
    /// Takes a commit apart, and refuses what needs nobody's answer to be refused.
    pub(super) fn examine(
        group: Group<'a>,
        provider: Provider<'a>,
        commit: StagedCommit,
        sender: &Sender,
        pending: Option<Sent>,
        bytes: &[u8],
    ) -> Result<Self, Refused> {
        let context = commit.group_context();
        if Terms::read(context) != Some(group.terms) {
            return Err(Refused::Terms);
        }
        if context.ciphersuite() != group.terms.suite.ciphersuite() {
            return Err(Refused::Suite);
        }
        let parts = Parts::of(&commit)?;
        let quorum = group.terms.quorum_id().map(QuorumId::psk);
        if quorum.is_some_and(|quorum| !parts.psks.contains(&quorum)) {
            return Err(Refused::Quorum);
        }
        let (sender, leaves, removed) = match sender {
            Sender::Member(index) => group.by_member(*index, &commit, &parts)?,
            Sender::NewMemberCommit => {
                let index = group.mls.ext_commit_sender_index(&commit).map_err(|_| Refused::Invalid)?;
                group.by_newcomer(index, &commit, &parts)?
            }
            Sender::External(_) | Sender::NewMemberProposal => return Err(Refused::ExternalChange),
        };
        let (hash, psks) = (labelled_sha256(labels::VERDICT, &[bytes]), parts.psks);
        Ok(Self { group, provider, commit, pending, hash, sender, leaves, removed, psks })
    }

    /// The epoch that it begins.
    #[must_use]
    pub fn epoch(&self) -> u64 {
        self.commit.epoch().as_u64()
    }

    /// Who made it: a member, or whoever joins by it.
    #[must_use]
    pub const fn sender(&self) -> &Member {
        &self.sender
    }

    /// Every leaf that it adds or changes.
    pub fn leaves(&self) -> impl Iterator<Item = &NewLeaf> {
        self.leaves.iter().map(|(leaf, _)| leaf)
    }

    /// Who is removed. The sender of an external commit among them is an older leaf of the same device.
    #[must_use]
    pub fn removed(&self) -> &[Member] {
        &self.removed
    }

    /// Which keys it mixes in.
    #[must_use]
    pub fn psks(&self) -> &[PskId] {
        &self.psks
    }

    /// Whether it removes this device. Merging it then forgets the group.
    #[must_use]
    pub fn removes_this_device(&self) -> bool {
        self.commit.self_removed()
    }

    /// Asks whether everybody who comes is let in (rule MLS-1). A leaf that was let in before and says the same is not asked about
    /// again: members learn of a revocation at different times, and would refuse different commits; who is put out is
    /// removed by a commit.
    ///
    /// # Errors
    /// [`JudgeError`].
    pub fn judge(&self, roll: &dyn Roll) -> Result<Verdict, JudgeError> {
        let new = self.leaves.iter().filter(|(leaf, _)| leaf.kind != Kind::Updated);
        match vouched(roll, new.map(|(leaf, claim)| (leaf.member.index, claim))) {
            Ok(_) => Ok(Verdict(self.hash)),
            Err(Doubt::Needs(devices)) => Err(JudgeError::Needs(devices)),
            Err(Doubt::Refused(refused)) => Err(JudgeError::Refused(refused)),
        }
    }

    /// Begins the epoch. An own commit that was pending has lost and is dropped, with its bytes.
    ///
    /// # Errors
    /// [`MergeError`].
    #[expect(clippy::needless_pass_by_value, reason = "a verdict is used up")]
    pub fn merge(self, verdict: Verdict) -> Result<Step, MergeError> {
        let Self { mut group, provider, commit, pending, .. } = self;
        if verdict.0 != self.hash {
            return Err(MergeError::OtherCommit);
        }
        let removed = commit.self_removed();
        group.mls.merge_staged_commit(&provider, commit).map_err(|_| Broken::Library)?;
        if let Some(sent) = pending {
            settle(provider.overlay(), &sent);
            provider.overlay().delete(provisional_key(group.id));
        }
        if removed {
            erase(provider.overlay(), group.id).map_err(Broken::Store)?;
            empty_outbox(group.store, provider.overlay(), group.id).map_err(Broken::Store)?;
        }
        let writes = provider.into_writes();
        let writes = if removed { writes } else { writes.with_loaded(group.into_loaded()) };
        Ok(Step { store: writes, send: Vec::new() })
    }
}

/// A commit's proposals, all of them of kinds that groups of ours have.
struct Parts<'a> {
    adds: Vec<&'a LeafNode>,
    removes: Vec<u32>,
    psks: Vec<PskId>,
    initial: usize,
}

impl<'a> Parts<'a> {
    fn of(commit: &'a StagedCommit) -> Result<Self, Refused> {
        let mut parts = Self { adds: Vec::new(), removes: Vec::new(), psks: Vec::new(), initial: 0 };
        for queued in commit.queued_proposals() {
            match queued.proposal() {
                Proposal::Add(add) => parts.adds.push(add.key_package().leaf_node()),
                Proposal::Remove(remove) => parts.removes.push(remove.removed().u32()),
                Proposal::PreSharedKey(psk) => {
                    // The library shows a proposal's key id only as bytes.
                    let bytes = psk.tls_serialize_detached().map_err(|_| Refused::Invalid)?;
                    let id = PreSharedKeyId::tls_deserialize_exact_bytes(&bytes).map_err(|_| Refused::Invalid)?;
                    parts.psks.push(PskId::of(&id).ok_or(Refused::ProposalKind)?);
                }
                Proposal::ExternalInit(_) => parts.initial += 1,
                Proposal::GroupContextExtensions(_) => return Err(Refused::Terms),
                _ => return Err(Refused::ProposalKind),
            }
        }
        let too_many = parts.adds.len() > limits::ADDED_AT_ONCE || parts.psks.len() > limits::PSKS;
        if too_many { Err(Refused::TooMany) } else { Ok(parts) }
    }
}

/// The sender, the leaves and who is removed.
type Examined = (Member, Vec<(NewLeaf, Claim)>, Vec<Member>);

impl Group<'_> {
    /// A member's commit.
    fn by_member(&self, index: LeafNodeIndex, commit: &StagedCommit, parts: &Parts<'_>) -> Result<Examined, Refused> {
        let index = index.u32();
        if parts.initial != 0 {
            return Err(Refused::ProposalKind);
        }
        let before = self.claim(index).ok_or(Refused::Credential(index))?;
        let sender = Member::of(index, &before);
        let mut leaves = Vec::new();
        if let Some(leaf) = commit.update_path_leaf_node() {
            let claim = self.read(index, leaf)?;
            // One statement for one join: a leaf keeps it for as long as it is there.
            if claim != before {
                return Err(Refused::Handover(index));
            }
            leaves.push(new(Kind::Updated, index, claim));
        }
        let removed = self.removed(parts)?;
        let mut taken: BTreeSet<u32> = self.mls.members().map(|member| member.index.u32()).collect();
        taken.retain(|taken| !parts.removes.contains(taken));
        // RFC 9420, 12.1.1: a new leaf goes to the leftmost place that is free.
        let mut free = (0..).filter(|index| !taken.contains(index));
        for leaf in &parts.adds {
            let index = free.next().ok_or(Refused::TooMany)?;
            leaves.push(new(Kind::Added, index, self.read(index, leaf)?));
        }
        self.once(&leaves, &parts.removes)?;
        if taken.len() + parts.adds.len() > self.terms.suite.members() {
            Err(Refused::TooMany)
        } else {
            Ok((sender, leaves, removed))
        }
    }

    /// An external commit (rule MLS-2): adds its own leaf, and removes an older one of the same device at most.
    fn by_newcomer(&self, index: LeafNodeIndex, commit: &StagedCommit, parts: &Parts<'_>) -> Result<Examined, Refused> {
        let index = index.u32();
        if parts.initial != 1 || !parts.adds.is_empty() || parts.removes.len() > 1 {
            return Err(Refused::ExternalChange);
        }
        let leaf = commit.update_path_leaf_node().ok_or(Refused::Invalid)?;
        let joined = new(Kind::Joined, index, self.read(index, leaf)?);
        let sender = joined.0.member.clone();
        let removed = self.removed(parts)?;
        if let Some(other) = removed.iter().find(|removed| !removed.same_device(&sender)) {
            return Err(Refused::RemovesOther(other.index));
        }
        let leaves = vec![joined];
        self.once(&leaves, &parts.removes)?;
        let count = self.mls.members().count() + 1 - removed.len();
        if count > self.terms.suite.members() { Err(Refused::TooMany) } else { Ok((sender, leaves, removed)) }
    }

    fn read(&self, index: u32, leaf: &LeafNode) -> Result<Claim, Refused> {
        // One that the delivery service does not take would keep it from ever having this tree.
        if leaf.tls_serialized_len() > limits::LEAF {
            return Err(Refused::TooMany);
        }
        if !can_be_sealed_to(leaf, self.terms.suite) {
            return Err(Refused::LeafKey(index));
        }
        Claim::read(leaf.credential(), leaf.signature_key().as_slice(), self.terms.suite)
            .ok_or(Refused::Credential(index))
    }

    fn removed(&self, parts: &Parts<'_>) -> Result<Vec<Member>, Refused> {
        parts.removes.iter().map(|index| self.member(*index).ok_or(Refused::Invalid)).collect()
    }

    /// No join has two leaves: sender keys are derived from it (rule MED-3).
    fn once(&self, leaves: &[(NewLeaf, Claim)], removes: &[u32]) -> Result<(), Refused> {
        let staying = self.members().into_iter().filter(|member| !removes.contains(&member.index));
        let mut joins: Vec<_> = staying.map(|member| (member.join, member.index)).collect();
        for (leaf, _) in leaves {
            let member = &leaf.member;
            if joins.iter().any(|(join, index)| *join == member.join && *index != member.index) {
                return Err(Refused::Twice(member.index));
            }
            joins.push((member.join, member.index));
        }
        Ok(())
    }
}

fn new(kind: Kind, index: u32, claim: Claim) -> (NewLeaf, Claim) {
    let leaf = NewLeaf { kind, member: Member::of(index, &claim), signature_key: claim.said.key.clone() };
    (leaf, claim)
}
