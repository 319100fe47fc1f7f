//! What others send to a group.

use openmls::framing::errors::MessageDecryptionError;
use openmls::framing::{ContentType, MlsMessageIn, ProcessedMessageContent, ProtocolMessage, Sender};
use openmls::group::{ProcessMessageError, StageCommitError, ValidationError};
use openmls::schedule::errors::PskError;
use rand_core::CryptoRng;
use tls_codec::DeserializeBytes;

use super::Group;
use super::staged::Staged;
use crate::failure::{Blame, Broken};
use crate::leaf::Claim;
use crate::limits;
use crate::provider::Provider;
use crate::refused::Refused;
use crate::roll::Member;
use crate::step::{Outgoing, Step};
use crate::store::StoreError;

/// What came.
#[derive(Debug)]
#[non_exhaustive]
pub enum Received<'a> {
    /// A commit, to be judged and merged, or refused by dropping it.
    Commit(Box<Staged<'a>>),
    /// The own commit that is pending, back from the delivery service: it has won. Go on with [`Group::accepted`].
    OwnCommit(Box<Group<'a>>),
    /// A message from a member.
    Message(Opened),
    /// A message of one's own.
    Echo,
}

/// An opened message.
#[derive(Debug)]
pub struct Opened {
    /// Who sealed it: a member of the epoch it was sealed in, who may have gone since.
    pub sender: Member,
    /// In which epoch.
    pub epoch: u64,
    /// What it says.
    pub message: Vec<u8>,
    /// To be committed before anything is done about the message: its key is used up.
    pub step: Step,
}

/// Why nothing comes of what was received. The group is as it was.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum ReceiveError {
    /// Not an MLS message.
    #[error("the message is malformed")]
    Malformed,
    /// More bytes than anything of its kind may have.
    #[error("the message is too large")]
    TooLarge,
    /// For another group.
    #[error("the message is for another group")]
    OtherGroup,
    /// From an epoch that is over, so nothing can come of it any more.
    #[error("a message of epoch {theirs} in epoch {ours}")]
    Stale {
        /// The message's epoch.
        theirs: u64,
        /// The group's.
        ours: u64,
    },
    /// From an epoch that is not here yet: the commits between are missing.
    #[error("a message of epoch {theirs} in epoch {ours}")]
    Ahead {
        /// The message's epoch.
        theirs: u64,
        /// The group's.
        ours: u64,
    },
    /// There is no key for it: it was opened before, or is too far behind later ones of its sender, or too far ahead of earlier ones
    /// ([`limits::OUT_OF_ORDER`], [`limits::LOST_IN_A_ROW`]).
    #[error("the message was there before, or is too far from its neighbours")]
    Replayed,
    /// A commit that mixes in a key which is not registered here.
    #[error("a pre-shared key is missing")]
    Psk,
    /// A commit of this device's own whose state is gone: this device has to join anew.
    #[error("the own commit is not pending any more")]
    OwnForgotten,
    /// A peer made what it may not make.
    #[error(transparent)]
    Refused(#[from] Refused),
    /// The store or the library failed.
    #[error(transparent)]
    Broken(#[from] Broken),
}

impl ReceiveError {
    /// Who is to blame.
    #[must_use]
    pub const fn blame(&self) -> Blame {
        match self {
            Self::Malformed | Self::TooLarge => Blame::Malformed,
            Self::OtherGroup => Blame::Incompatible,
            Self::Stale { .. } | Self::Ahead { .. } | Self::Replayed | Self::Psk => Blame::Unavailable,
            Self::Refused(_) => Blame::PeerMisbehaved,
            Self::OwnForgotten | Self::Broken(_) => Blame::Broken,
        }
    }
}

impl<'a> Group<'a> {
    /// Reads a message. A commit is taken apart and checked as far as it can be without asking anybody; see [`Staged`].
    ///
    /// # Errors
    /// [`ReceiveError`]. Nothing of a message that fails is kept: the same bytes can be received again.
    pub fn receive(mut self, rng: &'a mut dyn CryptoRng, bytes: &[u8]) -> Result<Received<'a>, ReceiveError> {
        if bytes.len() > limits::COMMIT {
            return Err(ReceiveError::TooLarge);
        }
        let pending = self.pending().map_err(Broken::Store)?;
        if let Some(Outgoing::Commit(upload)) = pending.as_ref().map(|sent| &sent.what)
            && upload.commit == bytes
        {
            return Ok(Received::OwnCommit(Box::new(self)));
        }
        let message = self.frame(bytes)?;
        let is_commit = message.content_type() == ContentType::Commit;
        let provider = Provider::new(self.store, rng);
        let processed = self.mls.process_message(&provider, message).map_err(|error| self.failed(&error))?;
        let (sender, epoch) = (processed.sender().clone(), processed.epoch().as_u64());
        // Of the sender's own epoch: since then the leaf may have gone to somebody else.
        let claim = Claim::read_accepted(processed.credential());
        match processed.into_content() {
            ProcessedMessageContent::ApplicationMessage(message) => {
                let Sender::Member(index) = sender else {
                    return Err(Refused::Invalid.into());
                };
                let sender = Member::of(index.u32(), &claim.ok_or(Refused::Invalid)?);
                let step = Step { store: provider.into_writes().with_loaded(self.into_loaded()), send: Vec::new() };
                Ok(Received::Message(Opened { sender, epoch, message: message.into_bytes(), step }))
            }
            ProcessedMessageContent::StagedCommitMessage(commit) => {
                let staged = Staged::examine(self, provider, *commit, &sender, pending, bytes)?;
                Ok(Received::Commit(Box::new(staged)))
            }
            ProcessedMessageContent::OwnPendingCommit => Ok(Received::OwnCommit(Box::new(self))),
            ProcessedMessageContent::OwnPrivateMessage if is_commit => Err(ReceiveError::OwnForgotten),
            ProcessedMessageContent::OwnPrivateMessage => Ok(Received::Echo),
            ProcessedMessageContent::ProposalMessage(_) | ProcessedMessageContent::ExternalJoinProposalMessage(_) => {
                Err(Refused::Proposal.into())
            }
        }
    }

    /// What the outside of a message says, before anything is opened.
    fn frame(&self, bytes: &[u8]) -> Result<ProtocolMessage, ReceiveError> {
        let message = MlsMessageIn::tls_deserialize_exact_bytes(bytes).map_err(|_| ReceiveError::Malformed)?;
        let message = message.try_into_protocol_message().map_err(|_| ReceiveError::Malformed)?;
        if !self.id.is(message.group_id()) {
            return Err(ReceiveError::OtherGroup);
        }
        let (theirs, ours) = (message.epoch().as_u64(), self.epoch());
        let oldest = match message.content_type() {
            ContentType::Application if bytes.len() > limits::SEALED_MESSAGE => return Err(ReceiveError::TooLarge),
            // What was sealed before this device came was never for it.
            ContentType::Application => ours.saturating_sub(limits::PAST_EPOCHS as u64).max(self.since),
            ContentType::Commit => ours,
            // Whatever epoch it is from, and whoever made it.
            ContentType::Proposal => return Err(Refused::Proposal.into()),
        };
        if theirs > ours {
            return Err(ReceiveError::Ahead { theirs, ours });
        }
        if theirs < oldest {
            return Err(ReceiveError::Stale { theirs, ours });
        }
        Ok(message)
    }

    /// What the library says, by blame.
    fn failed(&self, error: &ProcessMessageError<StoreError>) -> ReceiveError {
        let ours = self.epoch();
        match error {
            ProcessMessageError::StorageError(error) => Broken::Store(*error).into(),
            ProcessMessageError::GroupStateError(_) => Broken::Library.into(),
            ProcessMessageError::ValidationError(ValidationError::NoPastEpochData) => {
                ReceiveError::Stale { theirs: ours.saturating_sub(1), ours }
            }
            ProcessMessageError::ValidationError(ValidationError::UnableToDecrypt(
                // Which of the three it is the library says in a type that has no public name.
                MessageDecryptionError::SecretTreeError(_),
            )) => ReceiveError::Replayed,
            ProcessMessageError::InvalidCommit(StageCommitError::PskError(PskError::KeyNotFound)) => ReceiveError::Psk,
            ProcessMessageError::InvalidCommit(StageCommitError::OwnCommitMismatch) => ReceiveError::OwnForgotten,
            _ => Refused::Invalid.into(),
        }
    }
}
