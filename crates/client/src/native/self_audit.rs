//! The self-audit (rule KT-11): this device walks the history of its own account, and raises an alarm for whatever its owner
//! does not know of.
//!
//! A look-up shows what the server shows this device; a history shows everything that it could show to others. It is walked when
//! the device connects, every hour while it is connected, at once when the server says that something changed, and when a
//! person asks for it. What stands in it and was not known is an [`Alarm`], again at every start, until a person says that it
//! was them.

use std::sync::Arc;
use std::time::Duration;

use tokio::task::JoinSet;
use tokio::time::Instant;
use tracing::warn;
use undertone_keys::DeviceId;
use undertone_keys::device_list::DeviceList;
use undertone_keys::sign::{Account, VerifyingKey};
use undertone_transparency::history::History;
use undertone_transparency::verify::Attested;

use super::directory::Directory;
use super::error::{ClientError, ExitClass};
use super::home::{Home, KnownDevices};
use crate::engine::{Alarm, Event, Owed};

/// How often the history is walked, and what is owed asked for, while the device is connected.
pub(super) const EVERY: Duration = Duration::from_secs(60 * 60);
/// How soon it is tried again where the server gave no answer.
const AGAIN: Duration = Duration::from_secs(60);
/// After so many attempts in a row a person is told that there is no history to be had.
const PATIENCE: u32 = 5;
/// Connections that break and come back are no reason to do so again so soon.
pub(super) const PAUSE: Duration = Duration::from_secs(30);

/// What a walk through the account's history came to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SelfAudit {
    /// The versions that were walked, oldest first: the newest one that was checked before, and all behind it.
    pub versions: Vec<AuditedVersion>,
    /// From which state of the directory they were proven.
    pub attested: Attested,
    /// What a person has not acknowledged.
    pub alarms: Vec<Alarm>,
    /// Proofs that the server owes this device for what peers were shown of the log (rule KT-13); asked for by
    /// [`Client::self_audit`](super::Client::self_audit) alone.
    pub owed: Vec<Owed>,
}

/// One version of the account's device list.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct AuditedVersion {
    /// Its number.
    pub version: u32,
    /// The epoch of the directory in which it was published.
    pub epoch: u64,
    /// How many devices may act by it.
    pub devices: usize,
}

/// Walks the history once, remembers how far, and says what is not known.
pub(super) async fn walk(directory: &Directory) -> Result<SelfAudit, ClientError> {
    let home = directory.home();
    let own = home.device()?.ok_or(ClientError::NotLoggedIn)?.account;
    let history = directory.own_history().await?;
    // The account's last word by the key that this device knows: the next walk begins there, so that an account that was to
    // begin anew and was kept is walked through from before that.
    let mut ours = history.versions().iter().map(|version| &version.list).filter(|list| *list.account() == own);
    if let Some(newest) = ours.next_back() {
        home.put_audited(newest)?;
    }
    let mut alarms = alarms(&history, &own, &home.known_devices()?);
    if let Some(Alarm::Anew { effective, .. }) = alarms.iter_mut().find(|alarm| matches!(alarm, Alarm::Anew { .. })) {
        *effective = directory.announced().await;
    }
    let devices = |list: &DeviceList| list.active().count();
    let versions = history.versions().iter();
    let versions = versions.map(|version| AuditedVersion {
        version: version.list.version(),
        epoch: version.epoch,
        devices: devices(&version.list),
    });
    let published = history.versions().last().map_or(0, |version| version.epoch);
    let attested = history.provenance().attested(published);
    Ok(SelfAudit { versions: versions.collect(), attested, alarms, owed: Vec::new() })
}

/// What stands in the history and is not known. Records stay in lists for ever, so the newest of the account's own key has
/// everything that ever was in one.
fn alarms(history: &History, own: &VerifyingKey<Account>, known: &KnownDevices) -> Vec<Alarm> {
    let lists = || history.versions().iter().map(|version| &version.list);
    let mut alarms = Vec::new();
    if let Some(list) = lists().rfind(|list| list.account() == own) {
        alarms.extend(of_devices(list, known));
    }
    if let Some(list) = lists().next_back().filter(|list| list.account() != own) {
        alarms.push(Alarm::Anew { account: list.account().fingerprint(), effective: None });
    }
    alarms
}

/// Devices in a list that are not known, and revocations.
fn of_devices(list: &DeviceList, known: &KnownDevices) -> Vec<Alarm> {
    let mut alarms = Vec::new();
    for record in list.records() {
        let (device, label, is_revoked) = (record.device, record.label.clone(), list.is_revoked(record.device));
        if !known.contains_key(&device) {
            alarms.push(Alarm::DeviceAdded { device, label: label.clone(), by: list.let_in_by(record) });
        }
        // One that came and went between two looks is both.
        if is_revoked && known.get(&device) != Some(&true) {
            alarms.push(Alarm::DeviceRevoked { device, label });
        }
    }
    alarms
}

/// A person says that a device of the account is theirs, or that it was they who revoked it.
pub(super) fn accept(home: &Home, device: DeviceId) -> Result<(), ClientError> {
    let own = home.device()?.ok_or(ClientError::NotLoggedIn)?;
    let list =
        home.audited(&own.address.user)?.filter(|list| list.records().iter().any(|record| record.device == device));
    let list = list.ok_or_else(|| ClientError::UnknownDevice(device.to_string()))?;
    Ok(home.acknowledge(device, list.is_revoked(device))?)
}

/// Walks the history when it is time, beside everything else that a connected device does.
pub(super) struct SelfAuditor {
    directory: Arc<Directory>,
    walks: JoinSet<Result<SelfAudit, ClientError>>,
    due: Instant,
    ended: Option<Instant>,
    told: Vec<Alarm>,
    /// How often in a row the server gave no history, whatever the reason.
    misses: u32,
}

impl SelfAuditor {
    /// Nothing is asked before [`Self::connected`].
    pub(super) fn new(directory: Arc<Directory>) -> Self {
        Self { directory, walks: JoinSet::new(), due: Instant::now() + EVERY, ended: None, told: Vec::new(), misses: 0 }
    }

    /// The device is connected, perhaps again: something may have happened meanwhile.
    pub(super) fn connected(&mut self) {
        let earliest = self.ended.map_or_else(Instant::now, |ended| ended + PAUSE);
        self.due = self.due.min(earliest);
    }

    /// The server says that something changed.
    pub(super) fn changed(&mut self) {
        // One walk after the other, however often it says so.
        let now = Instant::now();
        self.due = self.ended.map_or(now, |ended| now.max(ended + Duration::from_secs(1)));
    }

    /// Waits until a walk ends, and says what came of it. May be dropped at any point, and goes on when it is called again.
    pub(super) async fn next(&mut self) -> Vec<Event> {
        loop {
            tokio::select! {
                Some(done) = self.walks.join_next(), if !self.walks.is_empty() => {
                    self.ended = Some(Instant::now());
                    return self.tell(done.unwrap_or(Err(ClientError::Stopped)));
                }
                () = tokio::time::sleep_until(self.due), if self.walks.is_empty() => {
                    self.due = Instant::now() + EVERY;
                    let directory = self.directory.clone();
                    self.walks.spawn(async move { walk(&directory).await });
                }
            }
        }
    }

    fn tell(&mut self, done: Result<SelfAudit, ClientError>) -> Vec<Event> {
        let error = match done {
            Ok(audit) => {
                self.misses = 0;
                let new = audit.alarms.iter().filter(|alarm| !self.told.contains(alarm)).cloned();
                let events = new.map(Event::Account).collect();
                self.told = audit.alarms;
                return events;
            }
            Err(error) => error,
        };
        let proof = error.class() == ExitClass::ProofFailed;
        if !proof {
            warn!(%error, "the account's history was not walked");
            self.misses += 1;
            self.due = self.due.min(Instant::now() + AGAIN);
        }
        // A server that is busy for a moment hides nothing. One that goes on giving no history may, whatever it says.
        let tells = proof || self.misses == PATIENCE;
        tells.then(|| Event::Unproven { reason: error.to_string(), proof }).into_iter().collect()
    }
}

#[cfg(test)]
mod tests {
    use undertone_keys::agreement::{DeviceKey, SoftwareKey};
    use undertone_keys::record::DeviceRecord;
    use undertone_keys::sign::{Device, Signed, SigningKey};
    use undertone_keys::testing::{SeededRng, let_in};
    use undertone_keys::{AccessToken, UserId, WallTime};
    use undertone_protocol::statement::Statement;
    use undertone_transparency::PeerTrust;

    use super::*;
    use crate::native::device_key::{KeyChoice, NoPins};
    use crate::native::enrolment::NewDevice;
    use crate::native::home::ServerPin;

    struct Owner {
        rng: SeededRng,
        user: UserId,
        account: SigningKey<Account>,
    }

    impl Owner {
        fn device(&mut self, label: &str, by: Option<&SigningKey<Device>>) -> (SigningKey<Device>, DeviceId, Signed) {
            let (key, agreement) = (SigningKey::generate(&mut self.rng), SoftwareKey::generate(&mut self.rng));
            let now = WallTime::from_unix(1);
            let record = DeviceRecord::new(self.user.clone(), *key.public(), *agreement.public(), now, label.into());
            let record = if let Some(by) = by { let_in(by, record) } else { record };
            let (device, signed) = (record.device, record.sign(&key));
            (key, device, signed)
        }
    }

    #[test]
    fn kt_11_devices_that_nobody_here_knows_are_alarms_until_they_are_acknowledged() {
        let mut rng = SeededRng::new(1);
        let account = SigningKey::generate(&mut rng);
        let mut owner = Owner { rng, user: UserId::parse("ada", "x").unwrap(), account };
        let (phone_key, phone, signed) = owner.device("phone", None);
        let first = DeviceList::first(&owner.account, &owner.user, signed).unwrap();
        let mut known: KnownDevices = [(phone, false)].into();
        assert_eq!(of_devices(&first, &known), []);

        let (_, laptop, signed) = owner.device("laptop", Some(&phone_key));
        let grown = first.with(&owner.account, signed).unwrap();
        let added = Alarm::DeviceAdded { device: laptop, label: "laptop".into(), by: Some(phone) };
        assert_eq!(of_devices(&grown, &known), std::slice::from_ref(&added));
        // It is one again at every start, and also when it is gone before anybody has looked.
        let revoked = grown.revoke(&owner.account, laptop).unwrap();
        let gone = Alarm::DeviceRevoked { device: laptop, label: "laptop".into() };
        assert_eq!(of_devices(&revoked, &known), [added, gone.clone()]);
        known.insert(laptop, false);
        assert_eq!(of_devices(&revoked, &known), [gone]);
        known.insert(laptop, true);
        assert_eq!(of_devices(&revoked, &known), []);

        // Whoever has the account key alone cuts all others off, and nobody has let them in.
        let (_, ghost, signed) = owner.device("ghost", None);
        let alone = grown.with_alone(&owner.account, signed).unwrap();
        known.insert(laptop, false);
        let seen = of_devices(&alone, &known);
        assert!(seen.contains(&Alarm::DeviceAdded { device: ghost, label: "ghost".into(), by: None }));
        assert!(seen.contains(&Alarm::DeviceRevoked { device: phone, label: "phone".into() }));
        assert_eq!(seen.len(), 3);
    }

    #[test]
    fn kt_11_a_home_that_becomes_a_device_knows_who_was_there() {
        let folder = std::env::temp_dir().join(format!("undertone-settled-{}", std::process::id()));
        let _ = std::fs::remove_dir_all(&folder);
        let home = Home::open(&folder).unwrap();
        let mut rng = SeededRng::new(3);
        let (account, user) = (SigningKey::generate(&mut rng), UserId::parse("ada", "x").unwrap());
        let identity = *SigningKey::generate(&mut rng).public();
        let created = WallTime::from_unix(1);
        let statement = Statement { identity, domain: "x".into(), tls_key: [1; 32], created, vrf: [3; 32] };
        let (device, _) = NewDevice::generate(&user, "laptop", &KeyChoice::P256, &NoPins).unwrap();
        let (id, list) = (*device.id(), DeviceList::first(&account, &user, device.signed_record()).unwrap());
        // Of an account that this home had before.
        let stranger = DeviceId::from_bytes([9; 16]);
        home.acknowledge(stranger, false).unwrap();
        let own = PeerTrust::pin(&undertone_transparency::testing::proven(&list));
        let pin = ServerPin::new("x:1".into(), &statement);
        home.settle(&pin, &device.secrets(*list.account()), &AccessToken::random(&mut rng), &own).unwrap();
        assert_eq!(home.known_devices().unwrap(), [(id, false)].into());
        assert_eq!(home.audited(&user).unwrap(), Some(list));
        assert!(accept(&home, id).is_ok());
        assert!(matches!(accept(&home, stranger), Err(ClientError::UnknownDevice(_))));
        drop(home);
        std::fs::remove_dir_all(&folder).unwrap();
    }

    #[test]
    fn kt_11_a_home_remembers_what_its_owner_knows() {
        let folder = std::env::temp_dir().join(format!("undertone-known-{}", std::process::id()));
        let _ = std::fs::remove_dir_all(&folder);
        let home = Home::open(&folder).unwrap();
        let devices = [DeviceId::from_bytes([1; 16]), DeviceId::from_bytes([2; 16])];
        assert_eq!(home.known_devices().unwrap(), KnownDevices::new());
        home.acknowledge(devices[0], false).unwrap();
        home.acknowledge(devices[1], false).unwrap();
        home.acknowledge(devices[1], true).unwrap();
        assert_eq!(home.known_devices().unwrap(), [(devices[0], false), (devices[1], true)].into());
        assert!(matches!(accept(&home, devices[0]), Err(ClientError::NotLoggedIn)));
        drop(home);
        std::fs::remove_dir_all(&folder).unwrap();
    }
}
