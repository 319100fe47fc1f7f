//! What an epoch is good for: the media key, and what shows that all have the same.

use openmls_traits::OpenMlsProvider;
use rand_core::CryptoRng;
use tls_codec::{DeserializeBytes, VLBytes};
use undertone_keys::Secret;
use undertone_keys::call_agreement::MediaKey;
use zeroize::Zeroizing;

use super::{Group, GroupId, tls};
use crate::failure::Broken;
use crate::labels;
use crate::provider::{Crypto, Provider};
use crate::psk::PskId;

/// RFC 9605, 5.2: the label of the exporter.
const SFRAME_LABEL: &str = "SFrame 1.0 Base Key";
/// Key length of AES-256-GCM, SFrame's suite 5 (rule MED-1).
const KEY_LENGTH: usize = 32;

/// What is the same for all members of an epoch and for nobody else; carried in sealed control frames (rule MLS-3). A member who
/// has another one is in another group, whatever the epoch is called.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Authenticator([u8; 32]);

impl Authenticator {
    /// What somebody says that theirs is.
    #[must_use]
    pub const fn claimed(bytes: [u8; 32]) -> Self {
        Self(bytes)
    }

    /// The 32 bytes.
    #[must_use]
    pub const fn as_bytes(&self) -> &[u8; 32] {
        &self.0
    }
}

/// What a member says to the delivery service about an epoch, so that a group info which others do not confirm is not handed to
/// those who join. No secret.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Attest {
    /// The group.
    pub group: GroupId,
    /// The epoch.
    pub epoch: u64,
    /// The group context, as MLS writes it.
    pub context: Vec<u8>,
    /// The hash of the tree.
    pub tree_hash: Vec<u8>,
    /// The confirmation tag of the commit that began the epoch: its bytes alone, without the length that MLS writes before them.
    pub confirmation_tag: Vec<u8>,
}

/// Of an epoch of a group with an audience: what is shared with those who only listen, and what is not (rule GRP-9).
#[derive(Debug)]
pub struct Shares {
    /// Which epoch.
    pub epoch: u64,
    /// The bytes of the media key, for those who listen: it opens every frame of the epoch, and nothing else of the group.
    pub media: Secret<32>,
    /// What members alone have, by which they know each other's words beside the sound.
    pub words: Secret<32>,
}

impl Group<'_> {
    /// The key that goes into the ring for this epoch (rule GRP-6): MLS-Exporter("SFrame 1.0 Base Key", "", 32).
    ///
    /// # Errors
    /// [`Broken`].
    pub fn media_key(&self) -> Result<MediaKey, Broken> {
        self.export(SFRAME_LABEL, &[]).map(MediaKey::new)
    }

    /// What members of a group with an audience need beside it (rule GRP-9).
    ///
    /// # Errors
    /// [`Broken`].
    pub fn shares(&self) -> Result<Shares, Broken> {
        let words = self.export(labels::WORDS.as_str(), &[])?;
        Ok(Shares { epoch: self.epoch(), media: self.export(SFRAME_LABEL, &[])?, words })
    }

    /// What shows that two members are in the same epoch of the same group (rule MLS-3).
    ///
    /// # Errors
    /// [`Broken`].
    pub fn authenticator(&self) -> Result<Authenticator, Broken> {
        let bytes = self.mls.epoch_authenticator().as_slice().try_into();
        bytes.map(Authenticator).map_err(|_| Broken::Library)
    }

    /// What is said to the delivery service.
    ///
    /// # Errors
    /// [`Broken`].
    pub fn attest(&self) -> Result<Attest, Broken> {
        Ok(Attest {
            group: self.id,
            epoch: self.epoch(),
            context: tls(self.mls.public_group().group_context())?,
            tree_hash: self.mls.public_group().group_context().tree_hash().to_vec(),
            confirmation_tag: self.confirmation_tag()?,
        })
    }

    /// For whoever joins this epoch by themselves: signed, with the external key, without the tree.
    ///
    /// # Errors
    /// [`Broken`].
    pub fn group_info(&self, rng: &mut dyn CryptoRng) -> Result<Vec<u8>, Broken> {
        let provider = Provider::new(self.store, rng);
        let info = self.mls.export_group_info(provider.crypto(), &self.key, false).map_err(|_| Broken::Library)?;
        info.to_bytes().map_err(|_| Broken::Library)
    }

    /// The tree of this epoch, for all who join it.
    ///
    /// # Errors
    /// [`Broken`].
    pub fn tree(&self) -> Result<Vec<u8>, Broken> {
        tls(&self.mls.export_ratchet_tree())
    }

    /// What ties a group with other terms to this epoch: a pre-shared key that all members of this epoch derive alike, and the id
    /// under which to register it. See [`psk`](crate::psk).
    ///
    /// MLS would do this by ReInit, for which the library has no interface. Here the new group is an ordinary one, whose first
    /// commit mixes this key in: so who is in it was in this one, and the other way round.
    ///
    /// # Errors
    /// [`Broken`].
    pub fn migration(&self, to: GroupId) -> Result<(PskId, Secret<32>), Broken> {
        let id = [self.id.as_bytes().as_slice(), &self.epoch().to_be_bytes(), to.as_bytes()].concat();
        let secret = self.export(labels::MIGRATION.as_str(), &id)?;
        Ok((PskId::new(&id).ok_or(Broken::Library)?, secret))
    }

    /// The library shows the tag as it is written, behind its length.
    fn confirmation_tag(&self) -> Result<Vec<u8>, Broken> {
        let written = tls(self.mls.confirmation_tag())?;
        VLBytes::tls_deserialize_exact_bytes(&written).map(Vec::from).map_err(|_| Broken::Library)
    }

    fn export(&self, label: &str, context: &[u8]) -> Result<Secret<32>, Broken> {
        let exported = self.mls.export_secret(&Crypto::default(), label, context, KEY_LENGTH);
        let bytes = Zeroizing::new(exported.map_err(|_| Broken::Library)?);
        Secret::from_slice(&bytes).ok_or(Broken::Library)
    }
}
