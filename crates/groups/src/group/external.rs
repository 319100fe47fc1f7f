//! Joining by oneself: an external commit.
//!
//! The library merges an external commit as it makes it, and whether it counts is for the delivery service to say. So its whole write
//! set is kept as one value beside the group, in the transaction that puts the commit into the outbox. When it is taken,
//! the value is unpacked; when it is not, it is dropped, and nothing remains of it.

use openmls::framing::{MlsMessageBodyIn, MlsMessageIn};
use openmls::group::{CreateCommitError, ExternalCommitBuilderError, MlsGroup};
use openmls::messages::proposals::PreSharedKeyProposal;
use openmls::prelude::LeafNodeParameters;
use openmls::schedule::PreSharedKeyId;
use openmls::schedule::errors::PskError;
use openmls_traits::OpenMlsProvider;
use rand_core::CryptoRng;
use tls_codec::DeserializeBytes;

use super::commit::upload;
use super::settle::SettleError;
use super::welcome::{JoinError, claims, fits, read_tree};
use super::{GroupId, enter, own_key, provisional_key, tls};
use crate::failure::Broken;
use crate::leaf::{Joiner, LeafKey};
use crate::provider::{Overlay, Provider};
use crate::psk::PskId;
use crate::quorum::QuorumId;
use crate::refused::{Refused, vouched_or_struck};
use crate::roll::Roll;
use crate::step::{self, Outgoing, Step, post, settle};
use crate::store::{Store, StoreError, WriteSet};
use crate::terms::{Quorum, Terms};
use crate::{config, limits};

/// Whose leaf an external commit makes.
#[derive(Debug)]
pub enum Rejoin<'a> {
    /// A new join, with a new key. An older leaf of this device stays where it is until somebody's next commit removes it: the
    /// library removes one in the same commit only if it has the same key. See
    /// [`Group::own_older_leaves`](crate::Group::own_older_leaves).
    New(Joiner<'a>),
    /// The same join again, with the key that is stored for it, over its own old leaf: for a device that has lost its way in a group
    /// without having been restarted. It gets the same leaf, and no key of the group is one that it had.
    Same,
}

/// What is needed to join by oneself.
#[derive(Debug)]
pub struct ExternalJoin<'a> {
    /// Which group, as the invitation says.
    pub id: GroupId,
    /// Its terms, as the invitation says.
    pub terms: &'a Terms,
    /// What the delivery service gives out for the current epoch.
    pub group_info: &'a [u8],
    /// The tree of that epoch.
    pub tree: &'a [u8],
    /// Which keys to mix in, beside the quorum secret that the group may have.
    pub psks: &'a [PskId],
    /// Whose leaf it becomes.
    pub join: Rejoin<'a>,
}

impl ExternalJoin<'_> {
    /// Makes the commit. What is in the store goes on as it was until [`ExternalJoin::accepted`].
    ///
    /// Leaves of devices that the roll refuses may be in the tree, since whoever was to remove them may have gone: an external commit
    /// cannot. The caller removes them in the next commit, and gives nothing to the group before that is taken.
    ///
    /// # Errors
    /// [`JoinError`].
    pub fn start(self, store: &Store, rng: &mut dyn CryptoRng, roll: &dyn Roll) -> Result<Step, JoinError> {
        if self.group_info.len() > limits::GROUP_INFO {
            return Err(JoinError::TooLarge);
        }
        let busy = step::pending(store, self.id).map_err(Broken::Store)?.is_some();
        let again = matches!(self.join, Rejoin::Same);
        let old = store.read(&own_key(self.id));
        if busy
            || (old.is_some() && !again)
            || self.psks.len() + usize::from(self.terms.quorum != Quorum::None) > limits::PSKS
        {
            return Err(JoinError::Exists);
        }
        let tree = read_tree(self.tree)?;
        let message = MlsMessageIn::tls_deserialize_exact_bytes(self.group_info).map_err(|_| JoinError::Malformed)?;
        let MlsMessageBodyIn::GroupInfo(info) = message.extract() else {
            return Err(JoinError::Malformed);
        };
        if info.extensions().ratchet_tree().is_some() {
            return Err(JoinError::Malformed);
        }
        let terms = fits(info.group_context(), self.id, self.terms)?;
        let epoch = info.epoch().as_u64();

        let provider = Provider::new(store, rng);
        let key = match &self.join {
            Rejoin::New(joiner) => LeafKey::draw(self.terms.suite, joiner, provider.crypto(), provider.rand())
                .map_err(|_| Broken::Library)?,
            Rejoin::Same => LeafKey::from_bytes(old.ok_or(JoinError::NoEarlierJoin)?)
                .map_err(|_| Broken::Store(StoreError::Damaged))?,
        };
        // Nothing of the state before stays: the library would leave the keys of its last epoch where they are.
        provider.overlay().erase(&self.id.mls()).map_err(Broken::Store)?;
        let quorum = terms.quorum_id().map(QuorumId::psk);
        let psks = self.psks.iter().chain(&quorum).map(|id| {
            let nonced = PreSharedKeyId::new(self.terms.suite.ciphersuite(), provider.rand(), id.mls());
            nonced.map(PreSharedKeyProposal::new)
        });
        let psks: Vec<_> = psks.collect::<Result<_, _>>().map_err(|_| Broken::Library)?;
        let leaf = LeafNodeParameters::builder().with_capabilities(config::capabilities(self.terms.suite)).build();
        let (mls, bundle) = MlsGroup::external_commit_builder()
            .with_ratchet_tree(tree)
            .with_config(config::joining())
            .skip_lifetime_validation()
            .build_group(&provider, info, key.credential())
            .map_err(|error| failed(&error))?
            .add_psk_proposals(psks)
            .leaf_node_parameters(leaf)
            .load_psks(provider.storage())
            .map_err(|error| unmade(&error))?
            .create_group_info(true)
            .build(provider.rand(), provider.crypto(), &key, |_| true)
            .map_err(|error| unmade(&error))?
            .finalize(&provider)
            .map_err(|_| Broken::Library)?;
        let all = claims(mls.members(), self.terms)?;
        vouched_or_struck(roll, all.iter().map(|(index, claim)| (*index, claim)))?;

        let upload = upload(self.id, epoch, bundle, tls(&mls.export_ratchet_tree())?)?;
        enter(provider.overlay(), self.id, &key, mls.epoch().as_u64());
        let provisional = provider.into_writes();
        let overlay = Overlay::new(store);
        overlay.put(provisional_key(self.id), provisional.pack());
        let sent = post(&overlay, Outgoing::Commit(upload)).map_err(Broken::Store)?;
        Ok(Step { store: overlay.into_writes(), send: vec![sent] })
    }

    /// The delivery service has taken the commit: this device is a member.
    ///
    /// # Errors
    /// [`SettleError`].
    pub fn accepted(store: &Store, id: GroupId) -> Result<Step, SettleError> {
        let key = provisional_key(id);
        let provisional = store.read(&key).ok_or(SettleError::None)?;
        let mut writes = WriteSet::unpack(provisional).map_err(Broken::Store)?;
        writes.delete(key);
        writes.absorb(Self::settled(store, id)?);
        Ok(Step { store: writes, send: Vec::new() })
    }

    /// Another commit has won the epoch: start again, from the group info and the tree of the next one.
    ///
    /// # Errors
    /// [`SettleError`].
    pub fn lost(store: &Store, id: GroupId) -> Result<Step, SettleError> {
        let key = provisional_key(id);
        store.read(&key).ok_or(SettleError::None)?;
        let mut writes = Self::settled(store, id)?;
        writes.delete(key);
        Ok(Step { store: writes, send: Vec::new() })
    }

    /// Whether a join is under way.
    #[must_use]
    pub fn is_pending(store: &Store, id: GroupId) -> bool {
        store.read(&provisional_key(id)).is_some()
    }

    fn settled(store: &Store, id: GroupId) -> Result<WriteSet, Broken> {
        let overlay = Overlay::new(store);
        if let Some(sent) = step::pending(store, id)? {
            settle(&overlay, &sent);
        }
        Ok(overlay.into_writes())
    }
}

fn failed(error: &ExternalCommitBuilderError<StoreError>) -> JoinError {
    match error {
        ExternalCommitBuilderError::StorageError(error) => Broken::Store(*error).into(),
        ExternalCommitBuilderError::MissingExternalPub => JoinError::Malformed,
        _ => Refused::Invalid.into(),
    }
}

fn unmade(error: &CreateCommitError) -> JoinError {
    match error {
        CreateCommitError::PskError(PskError::KeyNotFound) => JoinError::Psk,
        CreateCommitError::OwnKeyNotFound | CreateCommitError::MissingCredential => Broken::Library.into(),
        // All that goes into it is of the group info and the tree: a leaf that nothing can be sealed to shows here alone.
        _ => Refused::Invalid.into(),
    }
}
