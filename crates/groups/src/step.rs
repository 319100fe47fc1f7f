//! What an operation comes to: what is to be kept, then what is to be sent, in this order (rule STO-2).
//!
//! Whatever leaves the device stands in the outbox, in the same transaction as the state that made it. After a restart the same bytes
//! are sent again, and no others: a second message under one generation of a ratchet would be two under one key.

use minicbor::{Decode, Encode};
use undertone_keys::cbor;
use zeroize::Zeroizing;

use crate::group::GroupId;
use crate::provider::Overlay;
use crate::store::{Store, StoreError, WriteSet};

const OUTBOX: &[u8] = b"outbox\0";
const NEXT: &[u8] = b"next in outbox";

/// One operation's outcome.
#[derive(Debug)]
#[must_use = "what is not committed has not happened"]
pub struct Step {
    /// To be committed first, as one transaction, and then applied to the [`Store`].
    pub store: WriteSet,
    /// To be sent once that is durable. Also after the next start, from [`waiting`].
    pub send: Vec<Sent>,
}

/// Where something stands in the outbox.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct OutboxId(u64);

/// Something to be sent until it is acknowledged.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Sent {
    /// What to acknowledge.
    pub id: OutboxId,
    /// What it is.
    pub what: Outgoing,
}

/// What is sent.
#[derive(Clone, Debug, PartialEq, Eq, Encode, Decode)]
pub enum Outgoing {
    /// To the delivery service, which takes one commit for each epoch (rule RLY-6). It is settled by
    /// [`Group::accepted`](crate::Group::accepted) and what is like it, or by the commit that won; never acknowledged.
    #[n(0)]
    Commit(#[n(0)] Upload),
    /// To all members: a sealed message.
    #[n(1)]
    Message {
        /// Of which group.
        #[n(0)]
        group: GroupId,
        /// The bytes.
        #[cbor(n(1), with = "minicbor::bytes")]
        bytes: Vec<u8>,
    },
    /// To whoever is asked for this device's key packages.
    #[n(2)]
    KeyPackage {
        /// The envelope that [`KeyPackage::parse`](crate::KeyPackage::parse) reads.
        #[cbor(n(0), with = "minicbor::bytes")]
        bytes: Vec<u8>,
    },
}

impl Outgoing {
    /// The group it is for, if it is for one.
    #[must_use]
    pub const fn group(&self) -> Option<GroupId> {
        match self {
            Self::Commit(upload) => Some(upload.group),
            Self::Message { group, .. } => Some(*group),
            Self::KeyPackage { .. } => None,
        }
    }
}

/// A commit with all that belongs to it, taken by the delivery service as one or not at all. CBOR array.
#[derive(Clone, Debug, PartialEq, Eq, Encode, Decode)]
pub struct Upload {
    /// Of which group.
    #[n(0)]
    pub group: GroupId,
    /// In which epoch it was made: it counts only if the group is still there.
    #[n(1)]
    pub epoch: u64,
    /// For all members.
    #[cbor(n(2), with = "minicbor::bytes")]
    pub commit: Vec<u8>,
    /// For those who were added, if any.
    #[cbor(n(3), with = "minicbor::bytes")]
    pub welcome: Option<Vec<u8>>,
    /// For whoever joins the next epoch by themselves: signed, with the external key, without the tree.
    #[cbor(n(4), with = "minicbor::bytes")]
    pub group_info: Vec<u8>,
    /// The ratchet tree of the next epoch, for all who join it.
    #[cbor(n(5), with = "minicbor::bytes")]
    pub tree: Vec<u8>,
}

/// Everything that was sent and not acknowledged, oldest first.
///
/// # Errors
/// [`StoreError::Damaged`].
pub fn waiting(store: &Store) -> Result<Vec<Sent>, StoreError> {
    let read = |(key, value): (&[u8], &[u8])| {
        let id = key.strip_prefix(OUTBOX).and_then(|number| <[u8; 8]>::try_from(number).ok());
        let what = cbor::decode(value).map_err(|_| StoreError::Damaged)?;
        Ok(Sent { id: OutboxId(u64::from_be_bytes(id.ok_or(StoreError::Damaged)?)), what })
    };
    store.starting_with(OUTBOX).map(read).collect()
}

/// Takes something out of the outbox: whoever it was for has it. Commits stay until they are settled.
///
/// # Errors
/// [`StoreError::Damaged`].
pub fn acknowledge(store: &Store, id: OutboxId) -> Result<WriteSet, StoreError> {
    let mut writes = WriteSet::new();
    let commit = waiting(store)?.iter().any(|sent| sent.id == id && matches!(sent.what, Outgoing::Commit(_)));
    if !commit {
        writes.delete(key(id));
    }
    Ok(writes)
}

fn key(OutboxId(number): OutboxId) -> Vec<u8> {
    [OUTBOX, &number.to_be_bytes()].concat()
}

/// Puts something into the outbox.
pub(crate) fn post(overlay: &Overlay<'_>, what: Outgoing) -> Result<Sent, StoreError> {
    let next = overlay.read(NEXT, |value| <[u8; 8]>::try_from(value).map(u64::from_be_bytes)).transpose();
    let number = next.map_err(|_| StoreError::Damaged)?.unwrap_or_default();
    overlay.put(NEXT.to_vec(), Zeroizing::new(number.saturating_add(1).to_be_bytes().to_vec()));
    let id = OutboxId(number);
    overlay.put(key(id), Zeroizing::new(cbor::encode(&what)));
    Ok(Sent { id, what })
}

/// The commit of a group that waits to be taken or lost.
pub(crate) fn pending(store: &Store, group: GroupId) -> Result<Option<Sent>, StoreError> {
    let of_group = |sent: &Sent| matches!(&sent.what, Outgoing::Commit(upload) if upload.group == group);
    Ok(waiting(store)?.into_iter().find(of_group))
}

/// Takes a settled commit out.
pub(crate) fn settle(overlay: &Overlay<'_>, sent: &Sent) {
    overlay.delete(key(sent.id));
}
