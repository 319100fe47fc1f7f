//! A connected device: the handle to the task that drives its engine.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::{mpsc, oneshot, watch};
use tokio::task::JoinHandle;
use undertone_call::Local;
use undertone_keys::choice::LegacyPolicy;
use undertone_keys::{CallId, UserId};
use undertone_protocol::rest::code;
use undertone_protocol::signal::Reason;
use undertone_protocol::{Access, Protection};
use undertone_transparency::TrustedPeer;

use super::device_key::Holder;
use super::directory::Directory;
use super::driver::{Driver, EVENTS, Shown};
use super::error::ClientError;
use super::explain::Asker;
use super::home::Home;
use super::measure::Probe;
use super::rooms::{RoomBook, Signer};
use super::sound::Sound;
use super::swarm::{Enrolled, SwarmFault, SwarmView};
use crate::engine::{Engine, Event, RoomExplained};

/// How long the first connection may take.
const FIRST_WELCOME: Duration = Duration::from_secs(10);
/// How long the server may take to answer a ping.
const PONG: Duration = Duration::from_secs(5);

/// How a call goes, ten times a second.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Status {
    /// Loudness of what this device sends, in decibels below full scale.
    pub level_out: f32,
    /// Loudness of what it plays.
    pub level_in: f32,
    /// Frames of the peer's that did not come in time, in percent of the last five seconds.
    pub loss_percent: f32,
    /// Round trip to the relay.
    pub rtt_ms: f32,
    /// Sound held back against jitter.
    pub buffer_ms: u32,
    /// Since the last frame of the peer's came in.
    pub quiet_ms: u32,
    /// Frames sealed and sent.
    pub sealed: u64,
    /// Frames opened.
    pub opened: u64,
    /// Packets that did not open.
    pub refused: u64,
    /// Frames that came before their key and were kept for it.
    pub kept: u64,
    /// Those of them that opened when it came.
    pub opened_late: u64,
    /// Those whose key did not come in time.
    pub dropped: u64,
    /// Frames played as they came.
    pub played: u64,
    /// Frames rebuilt by forward error correction.
    pub recovered: u64,
    /// Frames concealed.
    pub concealed: u64,
    /// Bits per second of what this device says.
    pub bitrate: u32,
    /// Loss that its encoder prepares for, in percent.
    pub expected_loss: u32,
    /// From the peer's encoder to this loudspeaker, as far as it can be known here: what is buffered and one round trip
    /// to the relay, half of it standing for the peer's way there.
    pub latency_ms: f32,
}

/// What a member finds in a relay's tap file.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct TapReport {
    /// Packets in the file.
    pub packets: u64,
    /// Packets that open under this call's keys.
    pub opened: u64,
}

/// How loud a member of a room is, for whoever wants to see who speaks.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Loudness {
    /// The member's index.
    pub index: u16,
    /// Decibels below full scale.
    pub level: f32,
}

/// What a person wants of the driver.
pub(super) enum Command {
    Dial { peer: Box<TrustedPeer>, wanted: Wanted, quorum: Option<Vec<u8>>, sound: Sound },
    Echo { sound: Sound, probe: Option<Probe> },
    Ping { answer: oneshot::Sender<Duration> },
    Join { access: Box<Access>, quorum: Option<Vec<u8>>, sound: Sound },
    MuteMember { index: u16, muted: bool },
    Accept { sound: Sound },
    AcceptOnly { call: CallId, sound: Sound },
    Legacy(LegacyPolicy),
    ForwardSecrecy(bool),
    Decline,
    Refuse,
    HangUp,
    Mute(bool),
    LoseKey,
    SpoilQuorum,
    CheckTap { bytes: Vec<u8>, answer: oneshot::Sender<TapReport> },
    Explain { answer: oneshot::Sender<Option<Box<RoomExplained>>> },
    Stop,
}

/// What a call is to be like.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Wanted {
    /// Who can open the sound.
    pub protection: Protection,
    /// What is done about devices that have RSA alone.
    pub legacy: LegacyPolicy,
    /// Whether a quorum secret is mixed into its key (rule RKX-5): both sides have to be enrolled in one swarm.
    pub quorum: bool,
}

impl Default for Wanted {
    fn default() -> Self {
        Self { protection: Protection::Blind, legacy: LegacyPolicy::Ask, quorum: false }
    }
}

/// A connected device. Dropping it hangs up; [`Online::stop`] also waits until that was said.
#[derive(Debug)]
pub struct Online {
    directory: Arc<Directory>,
    commands: mpsc::Sender<Command>,
    events: mpsc::Receiver<Event>,
    status: watch::Receiver<Status>,
    voices: watch::Receiver<Vec<Loudness>>,
    book: RoomBook,
    enrolled: Option<Arc<Enrolled>>,
    driver: JoinHandle<()>,
}

/// No `async` function, so that the driver is compiled here once, and not in everything that goes online.
fn drive(driver: Driver, inbox: mpsc::Receiver<Command>) -> JoinHandle<()> {
    tokio::spawn(driver.run(inbox))
}

impl Online {
    pub(super) async fn start(
        home: Arc<Home>,
        directory: Arc<Directory>,
        local: Local,
        key: Holder,
    ) -> Result<Self, ClientError> {
        let (address, identity, account) = (local.address.clone(), local.identity.clone(), local.account);
        let book = RoomBook::new(directory.clone(), Signer { address, identity, account });
        let engine = Engine::new(local, directory.pin().identity, home.memory()?).with_groups(home.groups()?);
        let (commands, inbox) = mpsc::channel(64);
        let (out, events) = mpsc::channel(EVENTS);
        let (publish, status) = watch::channel(Status::default());
        let (publish_voices, voices) = watch::channel(Vec::new());
        let shown = Shown { out, status: publish, voices: publish_voices };
        let enrolled = Enrolled::load(&home)?;
        let driver = Driver::new(engine, home, book.clone(), key, shown, enrolled.clone());
        let task = drive(driver, inbox);
        let mut online = Self { directory, commands, events, status, voices, book, enrolled, driver: task };
        match tokio::time::timeout(FIRST_WELCOME, online.next_event()).await {
            Ok(Some(Event::Online)) => Ok(online),
            Ok(Some(Event::Offline { reason: Some(reason) })) => {
                let message = format!("the server does not let this device in: {}", reason.as_str());
                let code = if reason == Reason::Revoked { code::UNAUTHORIZED } else { "closing" };
                Err(ClientError::Refused { code: code.into(), message })
            }
            _ => Err(online.late("no welcome")),
        }
    }

    /// Looks a user up and calls them; what follows are events.
    ///
    /// # Errors
    /// [`ClientError::Trust`] when the peer's key changed, and what looking up can bring.
    pub async fn call(&self, name: &str, sound: Sound) -> Result<(), ClientError> {
        self.call_as(name, Wanted::default(), sound).await
    }

    /// The same, and what the call is to be like.
    ///
    /// # Errors
    /// See [`Online::call`]; [`ClientError::Swarm`] where a quorum secret is wanted and this device is enrolled in no swarm.
    pub async fn call_as(&self, name: &str, wanted: Wanted, sound: Sound) -> Result<(), ClientError> {
        let quorum = self.offer(wanted.quorum)?;
        let user = UserId::parse(name, &self.directory.pin().domain).map_err(ClientError::Name)?;
        let peer = Box::new(self.directory.resolve(&user).await?);
        self.command(Command::Dial { peer, wanted, quorum, sound }).await
    }

    /// The swarm that this device is enrolled in.
    #[must_use]
    pub fn swarm(&self) -> Option<SwarmView> {
        self.enrolled.as_ref().map(|enrolled| enrolled.view())
    }

    /// Lets a person hear themselves, by way of the relay and back; what follows are events. [`Sound::delayed`] keeps what
    /// is heard apart from what is said.
    ///
    /// # Errors
    /// [`ClientError::Stopped`].
    pub async fn echo(&self, sound: Sound) -> Result<(), ClientError> {
        self.command(Command::Echo { sound, probe: None }).await
    }

    /// An echo of silence whose packets are noted. Their size is that of any others (rule META-1).
    pub(super) async fn probe(&self, probe: Probe) -> Result<(), ClientError> {
        self.command(Command::Echo { sound: Sound::silent(), probe: Some(probe) }).await
    }

    /// How long a signal takes to the server and its answer back, through everything that any signal goes through on
    /// both sides. Signals that say nothing have no number: one that either side sends by itself, every eight or ten
    /// seconds, may be taken for this one.
    ///
    /// # Errors
    /// [`ClientError::Stopped`] when the connection breaks, [`ClientError::Unreachable`] when no answer comes.
    pub async fn ping(&self) -> Result<Duration, ClientError> {
        let (answer, trip) = oneshot::channel();
        self.command(Command::Ping { answer }).await?;
        match tokio::time::timeout(PONG, trip).await {
            Ok(trip) => trip.map_err(|_| ClientError::Stopped),
            Err(_) => Err(self.late("no answer on the signalling connection")),
        }
    }

    /// The server did not answer in time.
    pub(super) fn late(&self, what: &'static str) -> ClientError {
        let source = std::io::Error::new(std::io::ErrorKind::TimedOut, what);
        ClientError::Unreachable { server: self.directory.pin().address.clone(), source }
    }

    /// Takes the call that rings.
    ///
    /// # Errors
    /// [`ClientError::Stopped`].
    pub async fn accept(&self, sound: Sound) -> Result<(), ClientError> {
        self.command(Command::Accept { sound }).await
    }

    /// Takes this very call, if it still rings. For whoever asks a person first, while other calls may come.
    ///
    /// # Errors
    /// [`ClientError::Stopped`].
    pub async fn accept_only(&self, call: CallId, sound: Sound) -> Result<(), ClientError> {
        self.command(Command::AcceptOnly { call, sound }).await
    }

    /// What is done from now on about calls from devices that have RSA alone: they ring by default, and a person decides.
    ///
    /// # Errors
    /// [`ClientError::Stopped`].
    pub async fn legacy(&self, policy: LegacyPolicy) -> Result<(), ClientError> {
        self.command(Command::Legacy(policy)).await
    }

    /// Declines the call that rings.
    ///
    /// # Errors
    /// [`ClientError::Stopped`].
    pub async fn decline(&self) -> Result<(), ClientError> {
        self.command(Command::Decline).await
    }

    /// Refuses the call that rings, as a matter of policy: the caller is told so.
    ///
    /// # Errors
    /// [`ClientError::Stopped`].
    pub async fn refuse(&self) -> Result<(), ClientError> {
        self.command(Command::Refuse).await
    }

    /// Ends whatever call there is.
    ///
    /// # Errors
    /// [`ClientError::Stopped`].
    pub async fn hang_up(&self) -> Result<(), ClientError> {
        self.command(Command::HangUp).await
    }

    /// Sends silence, or sound again.
    ///
    /// # Errors
    /// [`ClientError::Stopped`].
    pub async fn mute(&self, muted: bool) -> Result<(), ClientError> {
        self.command(Command::Mute(muted)).await
    }

    /// Tries the packets of a relay's tap file under the present call's keys.
    ///
    /// # Errors
    /// [`ClientError::Stopped`], or the file's own.
    pub async fn check_tap(&self, path: PathBuf) -> Result<TapReport, ClientError> {
        let (answer, report) = oneshot::channel();
        let read = tokio::fs::read(&path).await;
        let bytes = read.map_err(|source| super::home::HomeError::Io { path, source })?;
        self.command(Command::CheckTap { bytes, answer }).await?;
        report.await.map_err(|_| ClientError::Stopped)
    }

    /// Joins a room; what follows are events. Its list is fetched and checked first.
    ///
    /// # Errors
    /// [`ClientError::Room`] where there is no such room for this device, or its list does not hold; [`ClientError::Swarm`] where the room
    /// has a quorum secret and this device is enrolled in no swarm.
    pub async fn join_room(&self, name: &str, sound: Sound) -> Result<(), ClientError> {
        let access = Box::new(self.book.find(name).await?.access);
        let quorum = self.offer(access.list().terms.quorum)?;
        self.command(Command::Join { access, quorum, sound }).await
    }

    /// What this device says of its swarm, where a quorum secret is wanted.
    fn offer(&self, wanted: bool) -> Result<Option<Vec<u8>>, ClientError> {
        if !wanted {
            return Ok(None);
        }
        let offer = self.enrolled.as_ref().and_then(|enrolled| enrolled.offer());
        Ok(Some(offer.ok_or(SwarmFault::NotEnrolled)?))
    }

    /// Whether keys of rooms that are joined from now on are sealed to a key of each join (the default), or to the device's
    /// own, which may be in a token: then whoever gets that key one day opens all that was said (rule GRP-7).
    ///
    /// # Errors
    /// [`ClientError::Stopped`].
    pub async fn forward_secrecy(&self, wanted: bool) -> Result<(), ClientError> {
        self.command(Command::ForwardSecrecy(wanted)).await
    }

    /// The rooms that this account may come into, and changes to who may come into them.
    #[must_use]
    pub const fn rooms(&self) -> &RoomBook {
        &self.book
    }

    /// Silences a member of the room this device is in, or lets it be heard again. For those who may moderate.
    ///
    /// # Errors
    /// [`ClientError::Stopped`].
    pub async fn mute_member(&self, index: u16, muted: bool) -> Result<(), ClientError> {
        self.command(Command::MuteMember { index, muted }).await
    }

    /// A drill: throws away the key of the room this device is in, as if it had never come. It neither hears nor is heard until
    /// it has asked for the key and has it again, which it does by itself (rule EKR-1). Nothing happens outside a room.
    ///
    /// # Errors
    /// [`ClientError::Stopped`].
    pub async fn lose_key(&self) -> Result<(), ClientError> {
        self.command(Command::LoseKey).await
    }

    /// A drill: from now on whatever secret comes over the swarm is replaced by another, as if it had been guessed. No call that has one comes
    /// about.
    ///
    /// # Errors
    /// [`ClientError::Stopped`].
    pub async fn spoil_quorum(&self) -> Result<(), ClientError> {
        self.command(Command::SpoilQuorum).await
    }

    /// How loud everybody is who was heard lately.
    #[must_use]
    pub fn voices(&self) -> Vec<Loudness> {
        self.voices.borrow().clone()
    }

    pub(super) fn asker(&self) -> Asker {
        Asker::new(&self.commands)
    }

    async fn command(&self, command: Command) -> Result<(), ClientError> {
        self.commands.send(command).await.map_err(|_| ClientError::Stopped)
    }

    /// The next event; `None` when the driver has stopped.
    pub async fn next_event(&mut self) -> Option<Event> {
        self.events.recv().await
    }

    /// How the call goes now.
    #[must_use]
    pub fn status(&self) -> Status {
        *self.status.borrow()
    }

    /// Hangs up, says goodbye and waits until it was heard.
    pub async fn stop(self) {
        let _ = self.commands.send(Command::Stop).await;
        drop(self.commands);
        let _ = tokio::time::timeout(Duration::from_secs(3), self.driver).await;
    }
}
