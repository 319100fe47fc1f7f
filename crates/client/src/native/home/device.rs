//! This device: who it is, its private keys, and how it comes into the home and goes (rule STO-2).

use minicbor::{Decode, Encode};
use undertone_keys::device_list::DeviceList;
use undertone_keys::envelope::Address;
use undertone_keys::sign::{Account, Device, SigningKey, VerifyingKey};
use undertone_keys::{AccessToken, Secret, cbor};
use undertone_transparency::PeerTrust;
use zeroize::{Zeroize, Zeroizing};

use super::peers::PEER;
use super::server::SERVER;
use super::swarm::{SWARM, WALLET};
use super::{Home, HomeError, ServerPin};
use crate::native::device_key::{StoredKey, TokenRecord};

const DEVICE: &str = "device";
const TOKEN: &str = "token";
const PENDING: &str = "pending";
const REHEARSAL: &str = "rehearsal";

#[derive(Encode, Decode)]
#[cbor(map)]
struct DeviceRecord {
    #[n(0)]
    format: u8,
    #[n(1)]
    address: Address,
    #[n(2)]
    label: String,
    #[n(3)]
    account: VerifyingKey<Account>,
    #[cbor(n(4), with = "minicbor::bytes")]
    identity: Vec<u8>,
    /// The scalar of a P-256 key; empty where the device has another.
    #[cbor(n(5), with = "minicbor::bytes")]
    agreement: Vec<u8>,
    /// PKCS#8 of an RSA key.
    #[cbor(n(6), with = "minicbor::bytes")]
    legacy: Option<Vec<u8>>,
    /// Where on which token the key is.
    #[n(7)]
    token: Option<TokenRecord>,
}

impl Drop for DeviceRecord {
    fn drop(&mut self) {
        self.identity.zeroize();
        self.agreement.zeroize();
        self.legacy.zeroize();
    }
}

/// This device: who it is, and its private keys.
#[derive(Debug)]
pub struct DeviceSecrets {
    /// User and device.
    pub address: Address,
    /// What its owner calls it.
    pub label: String,
    /// The account key's public half.
    pub account: VerifyingKey<Account>,
    pub(in crate::native) identity_seed: Secret<32>,
    pub(in crate::native) key: StoredKey,
}

impl DeviceSecrets {
    /// The identity key.
    #[must_use]
    pub fn identity(&self) -> SigningKey<Device> {
        SigningKey::from_seed(Secret::filled_by(|out| out.copy_from_slice(self.identity_seed.expose())))
    }

    /// How its static key is kept: `p256`, `rsa2048`, or the label of the token it lies on.
    #[must_use]
    pub fn key_place(&self) -> KeyPlace {
        match &self.key {
            StoredKey::P256(_) => KeyPlace::P256,
            StoredKey::Rsa2048(_) => KeyPlace::Rsa2048,
            StoredKey::Token { place, .. } => KeyPlace::Token(place.label.clone()),
        }
    }
}

/// Where a device's static key lies, for people.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum KeyPlace {
    /// P-256, in the home folder.
    P256,
    /// RSA-2048, in the home folder.
    Rsa2048,
    /// P-256, on the token with this label, which it cannot leave.
    Token(String),
}

impl Home {
    /// This device.
    ///
    /// # Errors
    /// [`HomeError`].
    pub fn device(&self) -> Result<Option<DeviceSecrets>, HomeError> {
        let Some(record) = self.read::<DeviceRecord>(DEVICE)? else { return Ok(None) };
        let damaged = || HomeError::Damaged(DEVICE.into());
        Ok(Some(DeviceSecrets {
            address: record.address.clone(),
            label: record.label.clone(),
            account: record.account,
            identity_seed: Secret::from_slice(&record.identity).ok_or_else(damaged)?,
            key: StoredKey::from_fields(&record.agreement, record.legacy.as_deref(), record.token.as_ref())
                .ok_or_else(damaged)?,
        }))
    }

    /// The device's token.
    ///
    /// # Errors
    /// [`HomeError`].
    pub fn token(&self) -> Result<Option<AccessToken>, HomeError> {
        Ok(self.get(TOKEN)?.and_then(|bytes| AccessToken::from_slice(&bytes)))
    }

    /// Makes this home a device of an account: server, device, token and the pin of the own account, all at once. The devices that
    /// its owner knows of are those in the list that was `signed` here. What the directory has shown behind it nobody here has
    /// seen, and it is an alarm when the history is walked (rule KT-11).
    ///
    /// # Errors
    /// [`HomeError`].
    pub fn settle(
        &self,
        server: &ServerPin,
        device: &DeviceSecrets,
        token: &AccessToken,
        own: &PeerTrust,
        signed: &DeviceList,
    ) -> Result<(), HomeError> {
        let (agreement, legacy, token_record) = device.key.fields();
        let record = DeviceRecord {
            format: 1,
            address: device.address.clone(),
            label: device.label.clone(),
            account: device.account,
            identity: device.identity_seed.expose().to_vec(),
            agreement,
            legacy,
            token: token_record,
        };
        let record = cbor::encode_secret(&record, 4096);
        let peer = format!("{PEER}{}", own.user());
        // What was known of another account's devices, or of this one's before, is nothing that this device was shown.
        let forgotten = self.known_names()?;
        let known = super::known::first_known(signed, own);
        let (server, own) = (cbor::encode(server), own.to_bytes());
        let mut records: Vec<(&str, Option<&[u8]>)> = forgotten.iter().map(|name| (name.as_str(), None)).collect();
        records.extend(known.iter().map(|(name, bytes)| (name.as_str(), Some(bytes.as_slice()))));
        records.extend([
            (SERVER, Some(server.as_slice())),
            (DEVICE, Some(&record)),
            (TOKEN, Some(token.expose())),
            (&peer, Some(&own)),
            (PENDING, None),
        ]);
        // What another device of this home was in is nothing that this one is in.
        self.forget_groups()?;
        self.put(&records)
    }

    /// Writes as much as [`Home::settle`] will, and takes it away again: nobody should be asked to make an account that
    /// this home has no room for.
    ///
    /// # Errors
    /// [`HomeError`].
    pub fn rehearse(&self) -> Result<(), HomeError> {
        self.put(&[(REHEARSAL, Some(&[0; 8192]))])?;
        self.put(&[(REHEARSAL, None)])
    }

    pub(in crate::native) fn pending_bytes(&self) -> Result<Option<Zeroizing<Vec<u8>>>, HomeError> {
        self.get(PENDING)
    }

    pub(in crate::native) fn forget_pending(&self) -> Result<(), HomeError> {
        self.put(&[(PENDING, None)])
    }

    pub(in crate::native) fn put_pending_bytes(&self, bytes: &[u8]) -> Result<(), HomeError> {
        self.put(&[(PENDING, Some(bytes))])
    }

    /// Gives this device another label: its record in the account's list has it already.
    ///
    /// # Errors
    /// [`HomeError`]; [`HomeError::Damaged`] where there is no device.
    pub fn rename(&self, label: &str) -> Result<(), HomeError> {
        let Some(mut record) = self.read::<DeviceRecord>(DEVICE)? else {
            return Err(HomeError::Damaged(DEVICE.into()));
        };
        label.clone_into(&mut record.label);
        self.put(&[(DEVICE, Some(&cbor::encode_secret(&record, 4096)))])
    }

    /// Forgets device, token, groups, and coins in a swarm; what is known of peers stays.
    ///
    /// # Errors
    /// [`HomeError`].
    pub fn forget(&self) -> Result<(), HomeError> {
        self.forget_groups()?;
        self.put(&[(DEVICE, None), (TOKEN, None), (SWARM, None), (WALLET, None)])
    }
}
