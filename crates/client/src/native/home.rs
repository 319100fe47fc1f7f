//! The home folder of one device: a small transactional store with one owner at a time (rules STO-1, STO-2).
//!
//! `undertone.redb`, mode 0600 in a folder of mode 0700: records by name, versioned by their first CBOR field.

use std::fs::{self, OpenOptions};
use std::io::{ErrorKind, Write};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};

use minicbor::{Decode, Encode};
use redb::{Builder, Database, DatabaseError, ReadableDatabase, ReadableTable, TableDefinition};
use undertone_keys::cbor;
use undertone_keys::envelope::Address;
use undertone_keys::sign::{Account, Device, Server, SigningKey, VerifyingKey};
use undertone_keys::{AccessToken, CallId, RoomId, Secret, UserId, WallTime};
use undertone_protocol::Access;
use undertone_protocol::statement::Statement;
use undertone_transparency::PeerTrust;
use undertone_transparency::evidence::Evidence;
use undertone_transparency::gossip::Divergence;
use undertone_transparency::seen::Seen;
use zeroize::{Zeroize, Zeroizing};

use super::device_key::{StoredKey, TokenRecord};
use crate::engine::{Memory, Record};

const RECORDS: TableDefinition<'_, &str, &[u8]> = TableDefinition::new("records");
const SERVER: &str = "server";
const DEVICE: &str = "device";
const TOKEN: &str = "token";
const PENDING: &str = "pending";
const REHEARSAL: &str = "rehearsal";
const PEER: &str = "peer/";
const ACCEPTED: &str = "accepted/";
const ROOM: &str = "room/";
const CLOCK: &str = "clock";
const SEEN: &str = "seen/";

/// Files of evidence of each kind that are kept: a server that lies again and again fills no disk.
const MAX_EVIDENCE: usize = 64;

/// A home folder, locked by this process.
pub struct Home {
    database: Database,
    folder: PathBuf,
}

/// Why a home folder cannot be used.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum HomeError {
    /// The file system said no.
    #[error("{}: {source}{}", path.display(), advice(source.kind()))]
    Io {
        /// Which path.
        path: PathBuf,
        /// What it said.
        source: std::io::Error,
    },
    /// Another process owns this home.
    #[error("another undertone process is using {}: end it, or choose another --home", .0.display())]
    InUse(PathBuf),
    /// There is as much evidence as is kept.
    #[error("{} is full: whoever is to see what lies there should see it now", .0.display())]
    Evidence(PathBuf),
    /// A record cannot be read.
    #[error("the record {0:?} of this home is damaged")]
    Damaged(String),
    /// The store failed.
    #[error("the home's store failed: {}{}", .0, store_advice(.0))]
    Store(Box<redb::Error>),
}

/// What a person can do about it.
const fn advice(kind: ErrorKind) -> &'static str {
    match kind {
        ErrorKind::PermissionDenied | ErrorKind::ReadOnlyFilesystem => {
            ": it must be writable for you; choose another place with --home if it cannot be"
        }
        ErrorKind::StorageFull | ErrorKind::QuotaExceeded | ErrorKind::FileTooLarge => {
            ": there is no room left; make some, or choose another place with --home"
        }
        _ => "",
    }
}

fn store_advice(error: &redb::Error) -> &'static str {
    if let redb::Error::Io(source) = error { advice(source.kind()) } else { "" }
}

impl<E: Into<redb::Error>> From<E> for HomeError {
    fn from(error: E) -> Self {
        Self::Store(Box::new(error.into()))
    }
}

/// The server an account lives on, and the key it was pinned by.
#[derive(Clone, Debug, PartialEq, Eq, Encode, Decode)]
#[cbor(map)]
pub struct ServerPin {
    #[n(0)]
    format: u8,
    /// Host and port.
    #[n(1)]
    pub address: String,
    /// Its identity key.
    #[n(2)]
    pub identity: VerifyingKey<Server>,
    /// The domain of its users.
    #[n(3)]
    pub domain: String,
    /// When the newest statement seen was made.
    #[n(4)]
    pub newest: WallTime,
    /// Which TLS key that statement was about.
    #[cbor(n(5), with = "minicbor::bytes")]
    pub tls_key: [u8; 32],
    /// The VRF key of its directory. None in homes that are older than that.
    #[cbor(n(6), with = "minicbor::bytes")]
    pub vrf: Option<[u8; 32]>,
}

impl ServerPin {
    /// Pins the server that made this statement.
    #[must_use]
    pub fn new(address: String, statement: &Statement) -> Self {
        Self {
            format: 1,
            address,
            identity: statement.identity,
            domain: statement.domain.clone(),
            newest: statement.created,
            tls_key: statement.tls_key,
            vrf: Some(statement.vrf),
        }
    }

    /// Takes over what an earlier pin of the same server knows better: the newest statement must not be forgotten.
    pub(super) fn keep_newer_of(&mut self, known: &Self) {
        self.vrf = known.vrf.or(self.vrf);
        if known.newest.as_unix() > self.newest.as_unix() {
            (self.newest, self.tls_key) = (known.newest, known.tls_key);
        }
    }

    /// Whether a statement is about another directory than the pinned one (rule KT-14).
    #[must_use]
    pub fn has_other_directory(&self, statement: &Statement) -> bool {
        self.vrf.is_some_and(|pinned| pinned != statement.vrf)
    }

    /// Whether a statement of this server's is an old one about another TLS key than the newest seen: one that was
    /// replaced, perhaps since it was stolen.
    #[must_use]
    pub fn is_replaced(&self, statement: &Statement) -> bool {
        statement.created < self.newest && statement.tls_key != self.tls_key
    }
}

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
    pub(super) identity_seed: Secret<32>,
    pub(super) key: StoredKey,
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

/// A home that was copied or restored may be open to others: its keys are nobody else's.
fn close_to_others(folder: &Path, store: &Path) -> Result<(), HomeError> {
    for path in [folder, store] {
        let io = |source| HomeError::Io { path: path.to_owned(), source };
        let mode = match fs::metadata(path) {
            Ok(metadata) => metadata.permissions().mode(),
            Err(error) if error.kind() == ErrorKind::NotFound => continue,
            Err(error) => return Err(io(error)),
        };
        if mode & 0o077 != 0 {
            fs::set_permissions(path, fs::Permissions::from_mode(mode & 0o700)).map_err(io)?;
            tracing::warn!(path = %path.display(), "others could read this; now they cannot");
        }
    }
    Ok(())
}

impl Home {
    /// Opens or makes a home; one that others could read is closed to them.
    ///
    /// # Errors
    /// [`HomeError`].
    pub fn open(folder: &Path) -> Result<Self, HomeError> {
        let io = |source| HomeError::Io { path: folder.to_owned(), source };
        fs::DirBuilder::new().recursive(true).mode(0o700).create(folder).map_err(io)?;
        let path = folder.join("undertone.redb");
        close_to_others(folder, &path)?;
        let options = OpenOptions::new().read(true).write(true).create(true).truncate(false).mode(0o600).open(&path);
        let file = options.map_err(|source| HomeError::Io { path: path.clone(), source })?;
        let opened = redb::backends::FileBackend::new(file)
            .and_then(|backend| Builder::new().set_check_integrity_on_open(true).create_with_backend(backend));
        match opened {
            Ok(database) => Ok(Self { database, folder: folder.to_owned() }),
            Err(DatabaseError::DatabaseAlreadyOpen) => Err(HomeError::InUse(folder.to_owned())),
            Err(DatabaseError::Storage(redb::StorageError::Io(source))) => Err(HomeError::Io { path, source }),
            Err(error) => Err(error.into()),
        }
    }

    /// Where it lies.
    #[must_use]
    pub fn folder(&self) -> &Path {
        &self.folder
    }

    fn get(&self, name: &str) -> Result<Option<Zeroizing<Vec<u8>>>, HomeError> {
        match self.database.begin_read()?.open_table(RECORDS) {
            Err(redb::TableError::TableDoesNotExist(_)) => Ok(None),
            table => Ok(table?.get(name)?.map(|bytes| Zeroizing::new(bytes.value().to_vec()))),
        }
    }

    /// Writes all of `records` or none, durable on return. `None` removes.
    fn put(&self, records: &[(&str, Option<&[u8]>)]) -> Result<(), HomeError> {
        let transaction = self.database.begin_write()?;
        {
            let mut table = transaction.open_table(RECORDS)?;
            for (name, bytes) in records {
                match bytes {
                    Some(bytes) => table.insert(*name, *bytes)?,
                    None => table.remove(*name)?,
                };
            }
        }
        transaction.commit()?;
        Ok(())
    }

    fn names(&self, prefix: &str) -> Result<Vec<String>, HomeError> {
        let table = match self.database.begin_read()?.open_table(RECORDS) {
            Err(redb::TableError::TableDoesNotExist(_)) => return Ok(Vec::new()),
            table => table?,
        };
        let mut names = Vec::new();
        for entry in table.range(prefix..)? {
            let (name, _) = entry?;
            if !name.value().starts_with(prefix) {
                break;
            }
            names.push(name.value().to_owned());
        }
        Ok(names)
    }

    fn read<T: for<'b> Decode<'b, ()> + Encode<()>>(&self, name: &str) -> Result<Option<T>, HomeError> {
        let Some(bytes) = self.get(name)? else { return Ok(None) };
        cbor::decode(&bytes).map(Some).map_err(|_| HomeError::Damaged(name.to_owned()))
    }

    /// The pinned server.
    ///
    /// # Errors
    /// [`HomeError`].
    pub fn server(&self) -> Result<Option<ServerPin>, HomeError> {
        self.read(SERVER)
    }

    /// Keeps what was seen of the pinned server.
    ///
    /// # Errors
    /// [`HomeError`].
    pub fn put_server(&self, server: &ServerPin) -> Result<(), HomeError> {
        self.put(&[(SERVER, Some(&cbor::encode(server)))])
    }

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

    /// Makes this home a device of an account: server, device, token and the pin of the own account, all at once.
    ///
    /// # Errors
    /// [`HomeError`].
    pub fn settle(
        &self,
        server: &ServerPin,
        device: &DeviceSecrets,
        token: &AccessToken,
        own: &PeerTrust,
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
        self.put(&[
            (SERVER, Some(&cbor::encode(server))),
            (DEVICE, Some(&record)),
            (TOKEN, Some(token.expose())),
            (&peer, Some(&own.to_bytes())),
            (PENDING, None),
        ])
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

    /// What was seen last of the log of a server's directory.
    ///
    /// # Errors
    /// [`HomeError`].
    pub fn seen(&self, server: &ServerPin) -> Result<Option<Seen>, HomeError> {
        let name = format!("{SEEN}{}", server.identity.fingerprint());
        let Some(bytes) = self.get(&name)? else { return Ok(None) };
        let seen = Seen::from_bytes(&bytes, &server.domain, &server.identity);
        seen.map(Some).map_err(|_| HomeError::Damaged(name))
    }

    /// Remembers what was seen of the log: later it must be the same one, grown (rule KT-4).
    ///
    /// # Errors
    /// [`HomeError`].
    pub fn put_seen(&self, server: &ServerPin, seen: &Seen) -> Result<(), HomeError> {
        self.put(&[(&format!("{SEEN}{}", server.identity.fingerprint()), Some(&seen.to_bytes()))])
    }

    /// Writes evidence of a failed proof to a file of its own, which is returned.
    ///
    /// # Errors
    /// [`HomeError`].
    pub fn keep_evidence(&self, evidence: &Evidence) -> Result<PathBuf, HomeError> {
        self.keep_as_evidence(evidence.convicts(), &evidence.digest(), &evidence.to_bytes())
    }

    /// Writes evidence of two logs to a file of its own, which is returned.
    ///
    /// # Errors
    /// [`HomeError`].
    pub fn keep_divergence(&self, evidence: &Divergence) -> Result<PathBuf, HomeError> {
        self.keep_as_evidence(evidence.convicts(), &evidence.digest(), &evidence.to_bytes())
    }

    fn keep_as_evidence(&self, convicts: bool, digest: &[u8; 32], bytes: &[u8]) -> Result<PathBuf, HomeError> {
        let folder = self.folder.join("evidence");
        let digest: String = digest.iter().take(8).map(|byte| format!("{byte:02x}")).collect();
        // What convicts has a place of its own, whatever else a server has others send.
        let kind = if convicts { "conviction-" } else { "answer-" };
        let path = folder.join(format!("{kind}{digest}.evidence"));
        let io = |source| HomeError::Io { path: path.clone(), source };
        fs::DirBuilder::new().recursive(true).mode(0o700).create(&folder).map_err(io)?;
        if path.exists() {
            return Ok(path);
        }
        let names = fs::read_dir(&folder).map_err(io)?.filter_map(Result::ok).map(|entry| entry.file_name());
        let kept = names.filter(|name| name.to_str().is_some_and(|name| name.starts_with(kind))).count();
        if kept >= MAX_EVIDENCE {
            return Err(HomeError::Evidence(folder));
        }
        let mut file =
            OpenOptions::new().create(true).truncate(true).write(true).mode(0o600).open(&path).map_err(io)?;
        file.write_all(bytes).and_then(|()| file.sync_all()).map_err(io)?;
        Ok(path)
    }

    pub(super) fn pending_bytes(&self) -> Result<Option<Zeroizing<Vec<u8>>>, HomeError> {
        self.get(PENDING)
    }

    pub(super) fn forget_pending(&self) -> Result<(), HomeError> {
        self.put(&[(PENDING, None)])
    }

    pub(super) fn put_pending_bytes(&self, bytes: &[u8]) -> Result<(), HomeError> {
        self.put(&[(PENDING, Some(bytes))])
    }

    /// Forgets device and token; what is known of peers stays.
    ///
    /// # Errors
    /// [`HomeError`].
    pub fn forget(&self) -> Result<(), HomeError> {
        self.put(&[(DEVICE, None), (TOKEN, None)])
    }

    /// What is known of a peer.
    ///
    /// # Errors
    /// [`HomeError`].
    pub fn peer(&self, user: &UserId) -> Result<Option<PeerTrust>, HomeError> {
        let name = format!("{PEER}{user}");
        let Some(bytes) = self.get(&name)? else { return Ok(None) };
        PeerTrust::from_bytes(&bytes).map(Some).map_err(|_| HomeError::Damaged(name))
    }

    /// Changes what is known of a peer in one step, so that an alarm and a decision never overwrite each other.
    /// Nothing is written where `change` leaves it as it was.
    ///
    /// # Errors
    /// [`HomeError`].
    pub fn change_peer<T>(
        &self,
        user: &UserId,
        change: impl FnOnce(Option<PeerTrust>) -> (Option<PeerTrust>, T),
    ) -> Result<T, HomeError> {
        let name = format!("{PEER}{user}");
        let transaction = self.database.begin_write()?;
        let result = {
            let mut table = transaction.open_table(RECORDS)?;
            let before = table.get(name.as_str())?.map(|bytes| bytes.value().to_vec());
            let known = before.as_deref().map(PeerTrust::from_bytes).transpose();
            let (after, result) = change(known.map_err(|_| HomeError::Damaged(name.clone()))?);
            let after = after.map(|trust| trust.to_bytes());
            if let Some(bytes) = after.filter(|after| Some(after) != before.as_ref()) {
                table.insert(name.as_str(), bytes.as_slice())?;
            }
            result
        };
        transaction.commit()?;
        Ok(result)
    }

    /// The newest list of a room that this device has checked.
    ///
    /// # Errors
    /// [`HomeError`].
    pub fn access(&self, room: RoomId) -> Result<Option<Access>, HomeError> {
        let name = format!("{ROOM}{room}");
        let Some(bytes) = self.get(&name)? else { return Ok(None) };
        Access::from_stored(&bytes).map(Some).map_err(|_| HomeError::Damaged(name))
    }

    /// Keeps a room's list, unless a newer one is kept: an old one must not be taken for the newest again.
    ///
    /// # Errors
    /// [`HomeError`].
    pub fn keep_access(&self, access: &Access) -> Result<(), HomeError> {
        let name = format!("{ROOM}{}", access.list().room);
        let transaction = self.database.begin_write()?;
        {
            let mut table = transaction.open_table(RECORDS)?;
            let known = table.get(name.as_str())?.map(|bytes| Access::from_stored(bytes.value()));
            let known = known.transpose().map_err(|_| HomeError::Damaged(name.clone()))?;
            if known.is_none_or(|known| known.list().version < access.list().version) {
                table.insert(name.as_str(), access.to_bytes().as_slice())?;
            }
        }
        transaction.commit()?;
        Ok(())
    }

    /// Keeps what the engine must know after a restart; forgets accepted calls whose time is over by the server's clock.
    ///
    /// # Errors
    /// [`HomeError`].
    pub fn remember(&self, record: Record) -> Result<(), HomeError> {
        let (name, time) = match record {
            Record::Accepted { call, until } => (format!("{ACCEPTED}{call}"), until),
            Record::Clock(clock) => (CLOCK.to_owned(), clock),
        };
        let clock = if let Record::Clock(clock) = record { clock } else { self.clock()? };
        let accepted = self.accepted()?;
        let over = accepted.iter().filter(|(_, until)| *until < clock).map(|(call, _)| format!("{ACCEPTED}{call}"));
        let over: Vec<String> = over.collect();
        let time = time.as_unix().to_be_bytes();
        let mut records: Vec<(&str, Option<&[u8]>)> = over.iter().map(|name| (name.as_str(), None)).collect();
        records.push((&name, Some(&time)));
        self.put(&records)
    }

    /// What the engine knew in earlier runs.
    ///
    /// # Errors
    /// [`HomeError`].
    pub fn memory(&self) -> Result<Memory, HomeError> {
        Ok(Memory { accepted: self.accepted()?, clock: self.clock()? })
    }

    fn clock(&self) -> Result<WallTime, HomeError> {
        let Some(bytes) = self.get(CLOCK)? else { return Ok(WallTime::default()) };
        let bytes = <[u8; 8]>::try_from(bytes.as_slice()).map_err(|_| HomeError::Damaged(CLOCK.into()))?;
        Ok(WallTime::from_unix(u64::from_be_bytes(bytes)))
    }

    fn accepted(&self) -> Result<Vec<(CallId, WallTime)>, HomeError> {
        let mut accepted = Vec::new();
        for name in self.names(ACCEPTED)? {
            let call = name.strip_prefix(ACCEPTED).and_then(CallId::parse);
            let time = self.get(&name)?.and_then(|bytes| <[u8; 8]>::try_from(bytes.as_slice()).ok());
            let (Some(call), Some(time)) = (call, time) else { return Err(HomeError::Damaged(name)) };
            accepted.push((call, WallTime::from_unix(u64::from_be_bytes(time))));
        }
        Ok(accepted)
    }
}

impl std::fmt::Debug for Home {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Home({})", self.folder.display())
    }
}

#[cfg(test)]
mod tests;
