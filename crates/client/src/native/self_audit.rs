//! The self-audit (rule KT-11): this device walks the history of its own account, and raises an alarm for whatever its owner
//! does not know of.
//!
//! A look-up shows what the server shows this device; a history shows everything that it could show to others. It is walked when
//! the device connects, every hour while it is connected, at once when the server says that something changed, and when a
//! person asks for it. What stands in it and was not known is an [`Alarm`], again at every start, until a person says that it
//! was them. That a server gives none is told as well: at once where none was proven for longer than it should take.

use std::sync::Arc;
use std::time::Duration;

use tokio::task::JoinSet;
use tokio::time::Instant;
use tracing::warn;
use undertone_keys::device_list::DeviceList;
use undertone_keys::sign::{Account, VerifyingKey};
use undertone_keys::{DeviceId, WallTime};
use undertone_transparency::history::History;
use undertone_transparency::verify::Attested;

use super::directory::Directory;
use super::error::{ClientError, ExitClass};
use super::home::{Audited, Home, KnownDevices};
use super::{calendar, wall_time};
use crate::engine::{Alarm, Event, Owed};

/// How often the history is walked, and what is owed asked for, while the device is connected.
pub(super) const EVERY: Duration = Duration::from_secs(60 * 60);
/// How soon it is tried again where the server gave no answer.
const AGAIN: Duration = Duration::from_secs(60);
/// After so many attempts in a row a person is told that there is no history to be had.
const PATIENCE: u32 = 5;
/// How long it may take beyond [`EVERY`] until a history was proven, with all attempts of a run. Whoever has seen none for longer
/// than both is told at the first attempt that fails: a program that only ever runs for a minute makes no fifth.
const MARGIN: Duration = Duration::from_secs(30 * 60);
/// How long a server that this device is connected to may be silent when none was proven for so long, before that is told.
const SILENCE: Duration = Duration::from_secs(5);
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
        let (list, newest_in) = (newest.clone(), history.newest_in(newest.version()));
        home.put_walked(&Audited { list, newest_in }, wall_time())?;
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
    let list = home.audited(&own.address.user)?.map(|audited| audited.list);
    let list = list.filter(|list| list.records().iter().any(|record| record.device == device));
    let list = list.ok_or_else(|| ClientError::UnknownDevice(device.to_string()))?;
    Ok(home.acknowledge(device, list.is_revoked(device))?)
}

/// Whether no history was proven for longer than it should take.
fn is_overdue(walked: Option<WallTime>, now: WallTime) -> bool {
    walked.is_none_or(|walked| now > walked.plus((EVERY + MARGIN).as_secs()))
}

/// What a person is told of the own account.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Raised {
    /// Something that nobody here knows of.
    Alarm(Alarm),
    /// The history could not be checked.
    Unproven {
        /// Why, for people.
        reason: String,
        /// Whether there was a proof, and it failed.
        proof: bool,
    },
}

impl From<Raised> for Event {
    fn from(raised: Raised) -> Self {
        match raised {
            Raised::Alarm(alarm) => Self::Account(alarm),
            Raised::Unproven { reason, proof } => Self::Unproven { reason, proof },
        }
    }
}

/// What was told in this run, so that nothing is told twice.
#[derive(Debug, Default)]
struct Told {
    alarms: Vec<Alarm>,
    /// That the server gives no history.
    unproven: bool,
    /// How often in a row it gave none, whatever the reason.
    misses: u32,
}

impl Told {
    /// The history was walked.
    fn walked(&mut self, alarms: Vec<Alarm>) -> Vec<Raised> {
        let new: Vec<Raised> =
            alarms.iter().filter(|alarm| !self.alarms.contains(alarm)).cloned().map(Raised::Alarm).collect();
        *self = Self { alarms, unproven: false, misses: 0 };
        new
    }

    /// There was none. `overdue` says since when, where that is too long.
    fn missed(&mut self, why: &str, overdue: Option<&str>) -> Option<Raised> {
        // A server that is busy for a moment hides nothing. One that goes on giving no history may, whatever it says.
        self.misses = self.misses.saturating_add(1);
        let tells = !self.unproven && (overdue.is_some() || self.misses >= PATIENCE);
        self.unproven |= tells;
        let since = overdue.map(|since| format!("; {since}")).unwrap_or_default();
        tells.then(|| Raised::Unproven { reason: format!("{why}{since}"), proof: false })
    }
}

/// Walks the history when it is time, beside everything else that a connected device does.
pub(super) struct SelfAuditor {
    directory: Arc<Directory>,
    walks: JoinSet<Result<SelfAudit, ClientError>>,
    due: Instant,
    ended: Option<Instant>,
    /// Until when the server may be silent.
    silent: Option<Instant>,
    /// Whether the server answers other things.
    online: bool,
    told: Told,
}

impl SelfAuditor {
    /// Nothing is asked before [`Self::connected`].
    pub(super) fn new(directory: Arc<Directory>) -> Self {
        let (due, told) = (Instant::now() + EVERY, Told::default());
        Self { directory, walks: JoinSet::new(), due, ended: None, silent: None, online: false, told }
    }

    /// The device is connected, perhaps again: something may have happened meanwhile.
    pub(super) fn connected(&mut self) {
        self.online = true;
        let earliest = self.ended.map_or_else(Instant::now, |ended| ended + PAUSE);
        self.due = self.due.min(earliest);
    }

    /// The server answers nothing: that it shows no history either says nothing.
    pub(super) fn disconnected(&mut self) {
        (self.online, self.silent) = (false, None);
    }

    /// The server says that something changed.
    pub(super) fn changed(&mut self) {
        // One walk after the other, however often it says so.
        let now = Instant::now();
        self.due = self.ended.map_or(now, |ended| now.max(ended + Duration::from_secs(1)));
    }

    /// Waits until a walk ends, and says what came of it. May be dropped at any point, and goes on when it is called again.
    pub(super) async fn next(&mut self) -> Vec<Raised> {
        loop {
            let silent = self.silent.unwrap_or(self.due);
            tokio::select! {
                Some(done) = self.walks.join_next(), if !self.walks.is_empty() => {
                    (self.ended, self.silent) = (Some(Instant::now()), None);
                    return self.tell(done.unwrap_or(Err(ClientError::Stopped)));
                }
                () = tokio::time::sleep_until(self.due), if self.walks.is_empty() => {
                    self.due = Instant::now() + EVERY;
                    self.silent = self.overdue().map(|_| Instant::now() + SILENCE);
                    let directory = self.directory.clone();
                    self.walks.spawn(async move { walk(&directory).await });
                }
                () = tokio::time::sleep_until(silent), if self.silent.is_some() => {
                    self.silent = None;
                    let why = format!("no answer within {} seconds", SILENCE.as_secs());
                    if let Some(event) = self.told.missed(&why, self.overdue().as_deref()) {
                        return vec![event];
                    }
                }
            }
        }
    }

    /// Since when no history was proven, where that is too long and the server answers other things.
    fn overdue(&self) -> Option<String> {
        let walked = self.directory.home().walked().ok()?;
        let overdue = self.online && is_overdue(walked, wall_time());
        let since = |walked| format!("it was proven last at {}", calendar::utc(walked));
        overdue.then(|| walked.map_or_else(|| "it was never proven to this device".to_owned(), since))
    }

    fn tell(&mut self, done: Result<SelfAudit, ClientError>) -> Vec<Raised> {
        match done {
            Ok(audit) => self.told.walked(audit.alarms),
            Err(error) if error.class() == ExitClass::ProofFailed => {
                vec![Raised::Unproven { reason: error.to_string(), proof: true }]
            }
            Err(error) => {
                warn!(%error, "the account's history was not walked");
                self.due = self.due.min(Instant::now() + AGAIN);
                let overdue = self.overdue();
                self.told.missed(&error.to_string(), overdue.as_deref()).into_iter().collect()
            }
        }
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
    fn kt_11_a_server_that_gives_no_history_is_told_of_at_once_where_none_was_proven_for_too_long() {
        let (hour, now) = (EVERY.as_secs(), WallTime::from_unix(1_000_000));
        let ago = |seconds| Some(WallTime::from_unix(1_000_000 - seconds));
        assert!(is_overdue(None, now) && is_overdue(ago(hour + MARGIN.as_secs() + 1), now));
        for seconds in [0, hour, hour + MARGIN.as_secs()] {
            assert!(!is_overdue(ago(seconds), now), "{seconds}");
        }
        assert!(!is_overdue(Some(now.plus(hour)), now), "a clock that was set back");

        let mut told = Told::default();
        let busy = || Some(Raised::Unproven { reason: "busy".into(), proof: false });
        let first = told.missed("busy", Some("long ago"));
        assert_eq!(first, Some(Raised::Unproven { reason: "busy; long ago".into(), proof: false }));
        for _ in 1..=PATIENCE {
            assert_eq!(told.missed("busy", Some("long ago")), None, "it was told");
        }
        // It is not overdue any more: a moment hides nothing, and five in a row may.
        assert_eq!(told.walked(Vec::new()), []);
        let events: Vec<_> = (0..PATIENCE + 2).map(|_| told.missed("busy", None)).collect();
        let expected: Vec<_> = (1..=PATIENCE + 2).map(|miss| if miss == PATIENCE { busy() } else { None }).collect();
        assert_eq!(events, expected);
    }

    #[test]
    fn kt_11_an_alarm_is_raised_once_in_a_run_and_again_when_it_comes_back() {
        let alarm = || Alarm::DeviceRevoked { device: DeviceId::from_bytes([1; 16]), label: "phone".into() };
        let mut told = Told::default();
        assert_eq!(told.walked(vec![alarm()]), [Raised::Alarm(alarm())]);
        assert_eq!(told.walked(vec![alarm()]), []);
        assert_eq!(told.walked(Vec::new()), []);
        assert_eq!(told.walked(vec![alarm()]), [Raised::Alarm(alarm())]);
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
        home.settle(&pin, &device.secrets(*list.account()), &AccessToken::random(&mut rng), &own, &list).unwrap();
        assert_eq!(home.known_devices().unwrap(), [(id, false)].into());
        assert_eq!(home.audited(&user).unwrap(), Some(Audited { list, newest_in: Some(1) }));
        assert_eq!(home.walked().unwrap(), Some(WallTime::from_unix(1)));
        assert!(accept(&home, id).is_ok());
        assert!(matches!(accept(&home, stranger), Err(ClientError::UnknownDevice(_))));
        drop(home);
        std::fs::remove_dir_all(&folder).unwrap();
    }

    /// A server that publishes a device behind the list that was signed here, and at once: nobody here has seen that device.
    #[test]
    fn kt_11_who_came_behind_the_list_that_was_signed_here_is_not_known() {
        let folder = std::env::temp_dir().join(format!("undertone-behind-{}", std::process::id()));
        let _ = std::fs::remove_dir_all(&folder);
        let home = Home::open(&folder).unwrap();
        let mut rng = SeededRng::new(4);
        let (account, user) = (SigningKey::generate(&mut rng), UserId::parse("ada", "x").unwrap());
        let identity = *SigningKey::generate(&mut rng).public();
        let created = WallTime::from_unix(1);
        let statement = Statement { identity, domain: "x".into(), tls_key: [1; 32], created, vrf: [3; 32] };
        let (device, _) = NewDevice::generate(&user, "laptop", &KeyChoice::P256, &NoPins).unwrap();
        let id = *device.id();
        let signed = DeviceList::first(&account, &user, device.signed_record()).unwrap();
        let mut owner = Owner { rng, user: user.clone(), account };
        let (_, ghost, record) = owner.device("ghost", None);
        let proven = signed.with_alone(&owner.account, record).unwrap();
        let own = PeerTrust::pin(&undertone_transparency::testing::proven(&proven));
        let (pin, token) = (ServerPin::new("x:1".into(), &statement), AccessToken::random(&mut owner.rng));
        home.settle(&pin, &device.secrets(*signed.account()), &token, &own, &signed).unwrap();
        assert_eq!(home.known_devices().unwrap(), [(id, false)].into());
        // When the signed one was the newest nobody has proven.
        assert_eq!(home.audited(&user).unwrap(), Some(Audited { list: signed, newest_in: None }));
        let seen = of_devices(&proven, &home.known_devices().unwrap());
        assert!(seen.contains(&Alarm::DeviceAdded { device: ghost, label: "ghost".into(), by: None }));
        drop(home);
        std::fs::remove_dir_all(&folder).unwrap();
    }

    /// A walk and a look at what was walked, at one time: an older list with the epoch of a newer one would accuse a server that has done
    /// nothing.
    #[test]
    fn kt_11_what_was_checked_and_when_is_read_as_it_was_written() {
        let folder = std::env::temp_dir().join(format!("undertone-torn-{}", std::process::id()));
        let _ = std::fs::remove_dir_all(&folder);
        let home = Home::open(&folder).unwrap();
        let mut rng = SeededRng::new(5);
        let (account, user) = (SigningKey::generate(&mut rng), UserId::parse("ada", "x").unwrap());
        let (device, _) = NewDevice::generate(&user, "laptop", &KeyChoice::P256, &NoPins).unwrap();
        let first = DeviceList::first(&account, &user, device.signed_record()).unwrap();
        let mut owner = Owner { rng, user: user.clone(), account };
        let (.., record) = owner.device("phone", None);
        let second = first.with_alone(&owner.account, record).unwrap();
        let walked = |list: &DeviceList| Audited { list: list.clone(), newest_in: Some(u64::from(list.version())) };
        home.put_walked(&walked(&first), WallTime::from_unix(1)).unwrap();
        let done = std::sync::atomic::AtomicBool::new(false);
        std::thread::scope(|scope| {
            scope.spawn(|| {
                for turn in 0..200 {
                    let list = if turn % 2 == 0 { &second } else { &first };
                    home.put_walked(&walked(list), WallTime::from_unix(1)).unwrap();
                }
                done.store(true, std::sync::atomic::Ordering::Relaxed);
            });
            while !done.load(std::sync::atomic::Ordering::Relaxed) {
                let audited = home.audited(&user).unwrap().unwrap();
                assert_eq!(audited.newest_in, Some(u64::from(audited.list.version())));
            }
        });
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
