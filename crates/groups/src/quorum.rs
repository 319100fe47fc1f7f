//! The quorum secret of a group (rules NEG-1, RKX-5), where its terms say that there is one.
//!
//! Whoever makes the group draws it and writes its id into the group context, so that it is one for all and for ever; everybody else has it
//! from a member, over a swarm that this crate knows nothing of. Every commit mixes it in, so no epoch but the first, in which its maker
//! is alone, can be had without it.

use minicbor::decode::Error as DecodeError;
use minicbor::encode::{Error as EncodeError, Write};
use minicbor::{Decode, Decoder, Encode, Encoder};
use rand_core::CryptoRng;
use undertone_keys::Secret;
use undertone_keys::digest::labelled_sha256;
use undertone_keys::hkdf::{Prk, Sha256};
use undertone_keys::quorum::QuorumSecret;
use zeroize::Zeroizing;

use crate::failure::Broken;
use crate::group::GroupId;
use crate::labels;
use crate::psk::{self, PskId};
use crate::store::{Store, WriteSet};

const KEPT: &[u8] = b"quorum\0";
/// Secrets that are kept of one group at most: those that members have given, of which one is the group's.
const CANDIDATES: usize = 4;

/// Which secret it is: 32 bytes, a hash of it and of the group that it is of. It is no secret.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct QuorumId([u8; 32]);

impl QuorumId {
    /// That of a secret.
    #[must_use]
    pub fn of(group: GroupId, secret: &QuorumSecret) -> Self {
        Self(labelled_sha256(labels::QUORUM_ID, &[group.as_bytes(), secret.expose()]))
    }

    /// What MLS calls it by.
    pub(crate) fn psk(&self) -> PskId {
        PskId::of_quorum(&self.0)
    }

    fn key(&self, group: GroupId) -> Vec<u8> {
        [KEPT, group.as_bytes(), &self.0].concat()
    }
}

impl<C> Encode<C> for QuorumId {
    fn encode<W: Write>(&self, e: &mut Encoder<W>, _: &mut C) -> Result<(), EncodeError<W::Error>> {
        e.bytes(&self.0)?.ok()
    }
}

impl<'b, C> Decode<'b, C> for QuorumId {
    fn decode(d: &mut Decoder<'b>, _: &mut C) -> Result<Self, DecodeError> {
        d.bytes()?.try_into().map(Self).map_err(|_| DecodeError::message("not the id of a quorum secret"))
    }
}

/// What is mixed in: not the secret itself, which is what members hand on.
fn mixed_in(group: GroupId, secret: &QuorumSecret) -> Secret<32> {
    Prk::<Sha256>::extract(group.as_bytes(), &[secret.expose()]).derive(labels::QUORUM, &[])
}

/// Puts a secret where commits and joins find it. A wrong one does no harm: it has another id than the group asks for.
///
/// # Errors
/// [`Broken`].
pub fn keep(store: &Store, rng: &mut dyn CryptoRng, group: GroupId, secret: &QuorumSecret) -> Result<WriteSet, Broken> {
    let id = QuorumId::of(group, secret);
    let mut writes = if ids(store, group).count() < CANDIDATES { WriteSet::new() } else { forget(store, group)? };
    writes.absorb(psk::register(store, rng, &id.psk(), &mixed_in(group, secret))?);
    writes.put(id.key(group), Zeroizing::new(secret.expose().to_vec()));
    Ok(writes)
}

/// The secret of a group with this id, if this device has it.
#[must_use]
pub fn kept(store: &Store, group: GroupId, id: &QuorumId) -> Option<QuorumSecret> {
    store.read(&id.key(group)).and_then(Secret::from_slice).map(QuorumSecret::new)
}

/// Forgets all secrets of a group.
///
/// # Errors
/// [`Broken`].
pub fn forget(store: &Store, group: GroupId) -> Result<WriteSet, Broken> {
    let mut writes = WriteSet::new();
    for id in ids(store, group) {
        writes.absorb(psk::forget(store, &id.psk())?);
        writes.delete(id.key(group));
    }
    Ok(writes)
}

/// The groups of which secrets are kept.
pub(crate) fn groups(store: &Store) -> Vec<GroupId> {
    let group = |(key, _): (&[u8], &[u8])| key.strip_prefix(KEPT)?.first_chunk().copied().map(GroupId::from_bytes);
    let mut groups: Vec<GroupId> = store.starting_with(KEPT).filter_map(group).collect();
    groups.dedup();
    groups
}

fn ids(store: &Store, group: GroupId) -> impl Iterator<Item = QuorumId> + use<> {
    let prefix = [KEPT, group.as_bytes()].concat();
    let id = |key: &[u8]| key.strip_prefix(prefix.as_slice()).and_then(|id| id.try_into().ok()).map(QuorumId);
    let ids: Vec<QuorumId> = store.starting_with(&prefix).filter_map(|(key, _)| id(key)).collect();
    ids.into_iter()
}
