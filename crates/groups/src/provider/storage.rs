//! openmls's storage as a key-value map that is read through and written beside.
//!
//! A key is `"mls" || name || 0x00 || openmls's key`; a value is openmls's value. Both are MessagePack with named fields, since openmls
//! reads earlier forms of its types only from formats that describe themselves, and with byte strings, which are most of what there
//! is. A value is written into a buffer of its exact size: one that grows leaves copies of secrets behind.

use core::cell::RefCell;
use std::io;

use openmls_traits::storage::{CURRENT_VERSION, StorageProvider, traits};
use rmp_serde::Serializer;
use rmp_serde::config::BytesMode;
use serde::Serialize;
use serde::de::DeserializeOwned;
use zeroize::Zeroizing;

use crate::store::{Store, StoreError, WriteSet};

const V: u16 = CURRENT_VERSION;
/// What every key begins with.
const MLS: &[u8] = b"mls";

/// A store, and what one operation has written on top of it.
pub(crate) struct Overlay<'a> {
    below: &'a Store,
    writes: RefCell<WriteSet>,
}

impl<'a> Overlay<'a> {
    pub(crate) fn new(below: &'a Store) -> Self {
        Self { below, writes: RefCell::new(WriteSet::new()) }
    }

    pub(crate) fn into_writes(self) -> WriteSet {
        self.writes.into_inner()
    }

    pub(crate) fn put(&self, key: Vec<u8>, value: Zeroizing<Vec<u8>>) {
        self.writes.borrow_mut().put(key, value);
    }

    pub(crate) fn delete(&self, key: Vec<u8>) {
        self.writes.borrow_mut().delete(key);
    }

    /// Deletes everything that is kept of one group. The library's own way to do so leaves keys of past epochs behind.
    pub(crate) fn erase<G: Serialize>(&self, group: &G) -> Result<(), StoreError> {
        let (group, within) = (encode(group)?, encode(&(group, 0, 0))?);
        // Values are kept under the group, or under an array of three that begins with it.
        let array = within.first().copied();
        let is_of = |key: &[u8]| {
            let of = key.strip_prefix(MLS).and_then(|key| key.splitn(2, |byte| *byte == 0).nth(1));
            of.is_some_and(|of| {
                let rest = of.split_first().filter(|(first, _)| Some(**first) == array).map(|(_, rest)| rest);
                of == group.as_slice() || rest.is_some_and(|rest| rest.starts_with(&group))
            })
        };
        let mut writes = self.writes.borrow_mut();
        let above: Vec<Vec<u8>> =
            writes.changes().map(|(key, _)| key).filter(|key| is_of(key)).map(<[u8]>::to_vec).collect();
        let below = self.below.starting_with(MLS).map(|(key, _)| key).filter(|key| is_of(key)).map(<[u8]>::to_vec);
        above.into_iter().chain(below).for_each(|key| writes.delete(key));
        Ok(())
    }

    /// Deletes all key packages of this device, with their keys. Keys of leaves that are in a group go with them: there must be
    /// none in the store.
    pub(crate) fn erase_packages(&self) {
        let of_packages = ["key package\0", "encryption key\0"].map(|name| [MLS, name.as_bytes()].concat());
        let keys: Vec<Vec<u8>> = of_packages
            .iter()
            .flat_map(|prefix| self.below.starting_with(prefix))
            .map(|(key, _)| key.to_vec())
            .collect();
        keys.into_iter().for_each(|key| self.delete(key));
    }

    /// What stands under a key now.
    pub(crate) fn read<T>(&self, key: &[u8], with: impl FnOnce(&[u8]) -> T) -> Option<T> {
        match self.writes.borrow().change(key) {
            Some(changed) => changed.map(with),
            None => self.below.read(key).map(with),
        }
    }

    fn write<T: Serialize>(&self, key: Vec<u8>, value: &T) -> Result<(), StoreError> {
        self.put(key, encode(value)?);
        Ok(())
    }

    fn get<T: DeserializeOwned>(&self, key: &[u8]) -> Result<Option<T>, StoreError> {
        self.read(key, decode).transpose()
    }

    fn list<T: DeserializeOwned>(&self, key: &[u8]) -> Result<Vec<T>, StoreError> {
        Ok(self.get(key)?.unwrap_or_default())
    }
}

/// Counts what is written and keeps none of it.
struct Length(usize);

impl io::Write for Length {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0 += bytes.len();
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

fn write<T: Serialize + ?Sized>(value: &T, into: &mut impl io::Write) -> Result<(), StoreError> {
    // Not `ForceAll`: that gathers tuples in a buffer of its own, which nothing wipes.
    let mut serializer = Serializer::new(into).with_struct_map().with_bytes(BytesMode::ForceIterables);
    value.serialize(&mut serializer).map_err(|_| StoreError::Damaged)
}

fn encode<T: Serialize + ?Sized>(value: &T) -> Result<Zeroizing<Vec<u8>>, StoreError> {
    let mut length = Length(0);
    write(value, &mut length)?;
    let mut bytes = Zeroizing::new(Vec::with_capacity(length.0));
    write(value, &mut *bytes)?;
    Ok(bytes)
}

fn decode<T: DeserializeOwned>(bytes: &[u8]) -> Result<T, StoreError> {
    rmp_serde::from_slice(bytes).map_err(|_| StoreError::Damaged)
}

fn key<K: Serialize + ?Sized>(name: &str, of: &K) -> Result<Vec<u8>, StoreError> {
    Ok([MLS, name.as_bytes(), &[0], encode(of)?.as_slice()].concat())
}

fn epoch_key<G: Serialize, E: Serialize>(group: &G, epoch: &E, leaf: u32) -> Result<Vec<u8>, StoreError> {
    key("epoch key pairs", &(group, epoch, leaf))
}

/// One value under one key.
macro_rules! put {
    ($method:ident<$Key:ident, $Value:ident>, $name:literal) => {
        fn $method<$Key: traits::$Key<V>, $Value: traits::$Value<V>>(
            &self,
            of: &$Key,
            value: &$Value,
        ) -> Result<(), StoreError> {
            self.write(key($name, of)?, value)
        }
    };
    ($method:ident<$Value:ident> by $Key:ident, $name:literal) => {
        fn $method<$Value: traits::$Value<V>, $Key: traits::$Key<V>>(
            &self,
            of: &$Key,
            value: &$Value,
        ) -> Result<(), StoreError> {
            self.write(key($name, of)?, value)
        }
    };
}

macro_rules! get {
    ($method:ident<$Key:ident, $Value:ident>, $name:literal) => {
        fn $method<$Key: traits::$Key<V>, $Value: traits::$Value<V>>(
            &self,
            of: &$Key,
        ) -> Result<Option<$Value>, StoreError> {
            self.get(&key($name, of)?)
        }
    };
    ($method:ident<$Value:ident> by $Key:ident, $name:literal) => {
        fn $method<$Value: traits::$Value<V>, $Key: traits::$Key<V>>(
            &self,
            of: &$Key,
        ) -> Result<Option<$Value>, StoreError> {
            self.get(&key($name, of)?)
        }
    };
}

macro_rules! delete {
    ($method:ident<$Key:ident>, $name:literal) => {
        fn $method<$Key: traits::$Key<V>>(&self, of: &$Key) -> Result<(), StoreError> {
            self.delete(key($name, of)?);
            Ok(())
        }
    };
}

impl StorageProvider<V> for Overlay<'_> {
    type Error = StoreError;

    put!(write_mls_join_config<GroupId, MlsGroupJoinConfig>, "config");
    put!(write_tree<GroupId, TreeSync>, "tree");
    put!(write_interim_transcript_hash<GroupId, InterimTranscriptHash>, "transcript");
    put!(write_context<GroupId, GroupContext>, "context");
    put!(write_confirmation_tag<GroupId, ConfirmationTag>, "confirmation");
    put!(write_group_state<GroupState> by GroupId, "state");
    put!(write_message_secrets<GroupId, MessageSecrets>, "message secrets");
    put!(write_resumption_psk_store<GroupId, ResumptionPskStore>, "resumption");
    put!(write_own_leaf_index<GroupId, LeafNodeIndex>, "own index");
    put!(write_group_epoch_secrets<GroupId, GroupEpochSecrets>, "epoch secrets");
    put!(write_signature_key_pair<SignaturePublicKey, SignatureKeyPair>, "signature key");
    put!(write_encryption_key_pair<EncryptionKey, HpkeKeyPair>, "encryption key");
    put!(write_key_package<HashReference, KeyPackage>, "key package");
    put!(write_psk<PskId, PskBundle>, "psk");

    get!(mls_group_join_config<GroupId, MlsGroupJoinConfig>, "config");
    get!(tree<GroupId, TreeSync>, "tree");
    get!(group_context<GroupId, GroupContext>, "context");
    get!(interim_transcript_hash<GroupId, InterimTranscriptHash>, "transcript");
    get!(confirmation_tag<GroupId, ConfirmationTag>, "confirmation");
    get!(group_state<GroupState> by GroupId, "state");
    get!(message_secrets<GroupId, MessageSecrets>, "message secrets");
    get!(resumption_psk_store<GroupId, ResumptionPskStore>, "resumption");
    get!(own_leaf_index<GroupId, LeafNodeIndex>, "own index");
    get!(group_epoch_secrets<GroupId, GroupEpochSecrets>, "epoch secrets");
    get!(signature_key_pair<SignaturePublicKey, SignatureKeyPair>, "signature key");
    get!(encryption_key_pair<HpkeKeyPair> by EncryptionKey, "encryption key");
    get!(key_package<HashReference, KeyPackage>, "key package");
    get!(psk<PskBundle> by PskId, "psk");

    delete!(delete_own_leaf_nodes<GroupId>, "own leaves");
    delete!(delete_group_config<GroupId>, "config");
    delete!(delete_tree<GroupId>, "tree");
    delete!(delete_confirmation_tag<GroupId>, "confirmation");
    delete!(delete_group_state<GroupId>, "state");
    delete!(delete_context<GroupId>, "context");
    delete!(delete_interim_transcript_hash<GroupId>, "transcript");
    delete!(delete_message_secrets<GroupId>, "message secrets");
    delete!(delete_all_resumption_psk_secrets<GroupId>, "resumption");
    delete!(delete_own_leaf_index<GroupId>, "own index");
    delete!(delete_group_epoch_secrets<GroupId>, "epoch secrets");
    delete!(delete_signature_key_pair<SignaturePublicKey>, "signature key");
    delete!(delete_encryption_key_pair<EncryptionKey>, "encryption key");
    delete!(delete_key_package<HashReference>, "key package");
    delete!(delete_psk<PskId>, "psk");

    fn append_own_leaf_node<G: traits::GroupId<V>, L: traits::LeafNode<V>>(
        &self,
        group: &G,
        leaf: &L,
    ) -> Result<(), StoreError> {
        let at = key("own leaves", group)?;
        let mut leaves: Vec<Vec<u8>> = self.list(&at)?;
        leaves.push(encode(leaf)?.to_vec());
        self.write(at, &leaves)
    }

    fn own_leaf_nodes<G: traits::GroupId<V>, L: traits::LeafNode<V>>(&self, group: &G) -> Result<Vec<L>, StoreError> {
        let leaves: Vec<Vec<u8>> = self.list(&key("own leaves", group)?)?;
        leaves.iter().map(|leaf| decode(leaf)).collect()
    }

    fn write_encryption_epoch_key_pairs<G: traits::GroupId<V>, E: traits::EpochKey<V>, K: traits::HpkeKeyPair<V>>(
        &self,
        group: &G,
        epoch: &E,
        leaf: u32,
        pairs: &[K],
    ) -> Result<(), StoreError> {
        self.put(epoch_key(group, epoch, leaf)?, encode(pairs)?);
        Ok(())
    }

    fn encryption_epoch_key_pairs<G: traits::GroupId<V>, E: traits::EpochKey<V>, K: traits::HpkeKeyPair<V>>(
        &self,
        group: &G,
        epoch: &E,
        leaf: u32,
    ) -> Result<Vec<K>, StoreError> {
        self.list(&epoch_key(group, epoch, leaf)?)
    }

    fn delete_encryption_epoch_key_pairs<G: traits::GroupId<V>, E: traits::EpochKey<V>>(
        &self,
        group: &G,
        epoch: &E,
        leaf: u32,
    ) -> Result<(), StoreError> {
        self.delete(epoch_key(group, epoch, leaf)?);
        Ok(())
    }

    // Proposals never wait in a group of ours: a commit carries its own, and none that stands alone is taken. The queue is
    // always empty, and what would put something into it is a fault.

    fn queue_proposal<G: traits::GroupId<V>, R: traits::ProposalRef<V>, P: traits::QueuedProposal<V>>(
        &self,
        _: &G,
        _: &R,
        _: &P,
    ) -> Result<(), StoreError> {
        Err(StoreError::Damaged)
    }

    fn queued_proposal_refs<G: traits::GroupId<V>, R: traits::ProposalRef<V>>(
        &self,
        _: &G,
    ) -> Result<Vec<R>, StoreError> {
        Ok(Vec::new())
    }

    fn queued_proposals<G: traits::GroupId<V>, R: traits::ProposalRef<V>, P: traits::QueuedProposal<V>>(
        &self,
        _: &G,
    ) -> Result<Vec<(R, P)>, StoreError> {
        Ok(Vec::new())
    }

    fn remove_proposal<G: traits::GroupId<V>, R: traits::ProposalRef<V>>(
        &self,
        _: &G,
        _: &R,
    ) -> Result<(), StoreError> {
        Ok(())
    }

    fn clear_proposal_queue<G: traits::GroupId<V>, R: traits::ProposalRef<V>>(&self, _: &G) -> Result<(), StoreError> {
        Ok(())
    }
}
