//! One group, as it stands in the store.
//!
//! A [`Group`] is opened, asked, and used up by the one operation that changes it: what comes out is a [`Step`](crate::Step), and
//! after that is committed the group is opened again. So nothing in memory is ever ahead of what is durable: what the library holds of
//! the group travels with the step, and is in the store when the step is.

mod commit;
mod create;
mod export;
mod external;
mod message;
mod receive;
mod settle;
mod staged;
mod welcome;

use minicbor::{Decode, Encode};
use openmls::group::{GroupId as MlsGroupId, MlsGroup};
use undertone_keys::quorum::QuorumSecret;
use zeroize::Zeroizing;

pub use self::commit::{Change, CommitError};
pub use self::create::CreateError;
pub use self::export::{Attest, Authenticator, Shares};
pub use self::external::{ExternalJoin, Rejoin};
pub use self::message::SealError;
pub use self::receive::{Opened, ReceiveError, Received};
pub use self::settle::SettleError;
pub(crate) use self::settle::stored;
pub use self::staged::{JudgeError, Kind, MergeError, NewLeaf, Staged, Verdict};
pub use self::welcome::JoinError;
use crate::failure::{Blame, Broken};
use crate::leaf::{Claim, LeafKey};
use crate::provider::Overlay;
use crate::quorum;
use crate::roll::Member;
use crate::step::{self, Sent};
use crate::store::{Store, StoreError};
use crate::terms::Terms;

/// Which group: 128 bits, drawn for it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Encode, Decode)]
#[cbor(transparent)]
pub struct GroupId(#[cbor(n(0), with = "minicbor::bytes")] [u8; 16]);

impl GroupId {
    /// The id with these 16 bytes.
    #[must_use]
    pub const fn from_bytes(bytes: [u8; 16]) -> Self {
        Self(bytes)
    }

    /// The 16 bytes.
    #[must_use]
    pub const fn as_bytes(&self) -> &[u8; 16] {
        &self.0
    }

    pub(crate) fn mls(self) -> MlsGroupId {
        MlsGroupId::from_slice(&self.0)
    }

    fn is(self, other: &MlsGroupId) -> bool {
        other.as_slice() == self.0
    }
}

/// A group that this device is a member of.
pub struct Group<'a> {
    store: &'a Store,
    mls: MlsGroup,
    key: LeafKey,
    id: GroupId,
    terms: Terms,
    since: u64,
}

/// What is in memory of a group: the same as in the store.
pub(crate) struct Loaded {
    pub(crate) id: GroupId,
    mls: MlsGroup,
    key: LeafKey,
    terms: Terms,
    since: u64,
}

/// Why a group cannot be loaded.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum OpenError {
    /// This device is in no such group.
    #[error("no such group")]
    Unknown,
    /// What is stored of it is not what it should be.
    #[error(transparent)]
    Broken(#[from] Broken),
}

impl OpenError {
    /// Who is to blame.
    #[must_use]
    pub const fn blame(self) -> Blame {
        match self {
            Self::Unknown => Blame::ApiMisuse,
            Self::Broken(_) => Blame::Broken,
        }
    }
}

impl core::fmt::Debug for Group<'_> {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        write!(f, "Group({:?} epoch {})", self.id, self.epoch())
    }
}

impl<'a> Group<'a> {
    /// Loads a group, or takes it as it was left by the step before.
    ///
    /// # Errors
    /// [`OpenError`].
    pub fn open(store: &'a Store, id: GroupId) -> Result<Self, OpenError> {
        if let Some(loaded) = store.take_loaded(id) {
            let Loaded { id, mls, key, terms, since } = *loaded;
            return Ok(Self { store, mls, key, id, terms, since });
        }
        let Some(key) = store.read(&own_key(id)) else {
            return Err(OpenError::Unknown);
        };
        let damaged = OpenError::Broken(Broken::Store(StoreError::Damaged));
        let key = LeafKey::from_bytes(key).map_err(|_| damaged)?;
        let mls = MlsGroup::load(&Overlay::new(store), &id.mls()).map_err(Broken::Store)?.ok_or(damaged)?;
        let terms = Terms::read_extensions(mls.extensions()).ok_or(damaged)?;
        let since = store.read(&since_key(id)).and_then(|since| since.try_into().ok()).ok_or(damaged)?;
        Ok(Self { store, mls, key, id, terms, since: u64::from_be_bytes(since) })
    }

    /// Puts the group, of which nothing was changed, back for whoever opens it next.
    pub(crate) fn close(self) {
        let store = self.store;
        store.put_back(self.into_loaded());
    }

    /// What is in memory, for the step that makes the store say the same.
    fn into_loaded(self) -> Box<Loaded> {
        let Self { mls, key, id, terms, since, .. } = self;
        Box::new(Loaded { id, mls, key, terms, since })
    }

    /// Which group it is.
    #[must_use]
    pub const fn id(&self) -> GroupId {
        self.id
    }

    /// What cannot change in it (rule NEG-1).
    #[must_use]
    pub const fn terms(&self) -> &Terms {
        &self.terms
    }

    /// The quorum secret that every commit mixes in, for whoever is to have it too; none where the terms have none.
    #[must_use]
    pub fn quorum(&self) -> Option<QuorumSecret> {
        quorum::kept(self.store, self.id, self.terms.quorum_id()?)
    }

    /// The current epoch.
    #[must_use]
    pub fn epoch(&self) -> u64 {
        self.mls.epoch().as_u64()
    }

    /// The own leaf index: the sender index of what this device seals (rule GRP-6).
    #[must_use]
    pub fn own_index(&self) -> u32 {
        self.mls.own_leaf_index().u32()
    }

    /// The roster, which is the tree (rule GRP-6), by leaf index.
    #[must_use]
    pub fn members(&self) -> Vec<Member> {
        self.claims().map(|(index, claim)| Member::of(index, &claim)).collect()
    }

    /// One member.
    #[must_use]
    pub fn member(&self, index: u32) -> Option<Member> {
        self.claim(index).map(|claim| Member::of(index, &claim))
    }

    /// Older leaves of this device: of joins that it has left behind. It does not have their keys any more and cannot speak as
    /// them; they are to be removed by the next commit of anybody.
    #[must_use]
    pub fn own_older_leaves(&self) -> Vec<u32> {
        let own = self.member(self.own_index());
        let older =
            |member: &Member| own.as_ref().is_some_and(|own| member.index != own.index && member.same_device(own));
        self.members().iter().filter(|member| older(member)).map(|member| member.index).collect()
    }

    /// The own commit that is neither taken nor lost yet.
    ///
    /// # Errors
    /// [`StoreError::Damaged`].
    pub fn pending(&self) -> Result<Option<Sent>, StoreError> {
        step::pending(self.store, self.id)
    }

    fn claims(&self) -> impl Iterator<Item = (u32, Claim)> {
        self.mls.members().filter_map(|member| {
            let claim = Claim::read(&member.credential, &member.signature_key, self.terms.suite)?;
            Some((member.index.u32(), claim))
        })
    }

    fn claim(&self, index: u32) -> Option<Claim> {
        let member = self.mls.member_at(openmls::prelude::LeafNodeIndex::new(index))?;
        Claim::read(&member.credential, &member.signature_key, self.terms.suite)
    }
}

/// What the keys of all groups begin with that this device is in.
const OWN: &[u8] = b"own\0";
/// The same of groups that it is on its way into by itself.
const PROVISIONAL: &[u8] = b"provisional\0";

/// Where the private key of the own leaf in a group stands.
fn own_key(id: GroupId) -> Vec<u8> {
    [OWN, id.as_bytes()].concat()
}

/// Where the epoch stands in which this device came into a group.
fn since_key(id: GroupId) -> Vec<u8> {
    [b"since\0".as_slice(), id.as_bytes()].concat()
}

/// Writes down that this device is in a group, by which key and since which epoch.
fn enter(overlay: &Overlay<'_>, id: GroupId, key: &LeafKey, since: u64) {
    overlay.put(own_key(id), key.to_bytes());
    overlay.put(since_key(id), Zeroizing::new(since.to_be_bytes().to_vec()));
}

/// Where it stands whom the last own commit welcomes.
pub(crate) fn noted_key(id: GroupId) -> Vec<u8> {
    [b"welcomed\0".as_slice(), id.as_bytes()].concat()
}

/// Where an external join stands that the delivery service has not taken yet.
fn provisional_key(id: GroupId) -> Vec<u8> {
    [PROVISIONAL, id.as_bytes()].concat()
}

/// The bytes of a TLS structure of our own making.
fn tls<T: tls_codec::Serialize>(value: &T) -> Result<Vec<u8>, Broken> {
    value.tls_serialize_detached().map_err(|_| Broken::Library)
}
