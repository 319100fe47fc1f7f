//! The loop: look, check, keep, cosign, post, wait.

use std::path::PathBuf;
use std::time::Duration;

use bytes::Bytes;
use tokio::time::{MissedTickBehavior, interval};
use tokio_util::sync::CancellationToken;
use undertone_keys::WallTime;
use undertone_keys::sign::{SigningKey, Witness};
use undertone_transparency::checkpoint::SignedCheckpoint;
use undertone_transparency::note::{BadName, LogKey, NoteSignature};

use super::Accused;
use super::address::LogAddress;
use super::core::{Check, Step};
use super::fetch::{Client, FetchError};
use super::keep::Kept;
use super::memory::{CannotCosign, Memory};
use super::report::{Report, Trouble};
use super::state::{Folder, StateError, read_or_make_key, witness_key};

/// The shortest time between two looks.
const SHORTEST: Duration = Duration::from_secs(1);

/// What a witness is started with.
#[derive(Clone, Debug)]
pub struct Options {
    /// Where the log is.
    pub log: LogAddress,
    /// Its key, from the server's operator or a client's pins; never asked of the log itself (rule KT-14).
    pub log_key: LogKey,
    /// The file of the witness's key; made if it is not there.
    pub key: PathBuf,
    /// The witness's name; `None` for one made of its key. It belongs to the key for ever.
    pub name: Option<String>,
    /// The folder of what it knows; `None` for one beside the key, with `.state` behind its name.
    pub state: Option<PathBuf>,
    /// How often it looks.
    pub every: Duration,
    /// The wall clock.
    pub clock: fn() -> WallTime,
}

/// Why a witness does not start.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum StartError {
    /// Its files.
    #[error(transparent)]
    State(#[from] StateError),
    /// Its name.
    #[error("a witness's name: {0}")]
    Name(#[from] BadName),
    /// TLS.
    #[error("TLS cannot be set up: {0}")]
    Tls(#[from] rustls::Error),
}

/// A witness at work.
#[derive(Debug)]
pub struct Watch {
    client: Client,
    key: SigningKey<Witness>,
    kept: Kept<Folder>,
    every: Duration,
    clock: fn() -> WallTime,
}

/// Why a look did not come to its end.
enum Stopped {
    Accused(Accused),
    Trouble(Trouble),
    State(StateError),
}

impl From<Accused> for Stopped {
    fn from(accused: Accused) -> Self {
        Self::Accused(accused)
    }
}

impl From<FetchError> for Stopped {
    fn from(error: FetchError) -> Self {
        Self::Trouble(error.into())
    }
}

impl From<CannotCosign> for Stopped {
    fn from(error: CannotCosign) -> Self {
        Self::Trouble(error.into())
    }
}

impl From<StateError> for Stopped {
    fn from(error: StateError) -> Self {
        Self::State(error)
    }
}

impl Watch {
    /// Opens the files. Nothing is asked of the log yet.
    ///
    /// # Errors
    /// [`StartError`].
    pub fn open(options: &Options, rng: &mut impl rand_core::CryptoRng) -> Result<Self, StartError> {
        let client = Client::new(options.log.clone())?;
        let beside = || options.key.with_added_extension("state");
        let folder = Folder::open(&options.state.clone().unwrap_or_else(beside))?;
        let key = read_or_make_key(&options.key, rng)?;
        let own = witness_key(&key, options.name.as_deref())?;
        let kept = Kept::open(folder, &options.log_key, &own)?;
        Ok(Self { client, key, kept, every: options.every.max(SHORTEST), clock: options.clock })
    }

    /// What is known of the log.
    #[must_use]
    pub const fn memory(&self) -> &Memory {
        self.kept.memory()
    }

    /// What it starts with.
    #[must_use]
    pub fn ready(&self) -> Report {
        let memory = self.memory();
        Report::Ready {
            witness: memory.witness().to_string(),
            log: memory.log().to_string(),
            address: self.client.address().to_string(),
            checked: memory.checked(),
            cosigned: memory.cosigned(),
        }
    }

    /// Looks at the log again and again until `stop`. Faults of the log and lost connections are reported, and do not
    /// end it.
    ///
    /// # Errors
    /// [`StateError`]: what is durable is not known any more, and a new start finds out.
    pub async fn run(&mut self, stop: &CancellationToken, report: &mut impl FnMut(&Report)) -> Result<(), StateError> {
        let mut looks = interval(self.every);
        // Catching up may take hours; the looks that were due meanwhile are not made up for.
        looks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            tokio::select! {
                biased;
                () = stop.cancelled() => return Ok(()),
                _ = looks.tick() => {}
            }
            // Cut off at any point it goes on from what is kept.
            tokio::select! {
                biased;
                () = stop.cancelled() => return Ok(()),
                result = self.look(report) => result?,
            };
        }
    }

    /// Looks at the log once, reports how that ended, and says whether its newest checkpoint is cosigned.
    ///
    /// # Errors
    /// [`StateError`]: as for [`Watch::run`].
    pub async fn look(&mut self, report: &mut impl FnMut(&Report)) -> Result<bool, StateError> {
        let end = match self.follow(report).await {
            Ok(end) => end,
            Err(Stopped::Accused(accused)) => {
                let evidence = self.kept.keeper().accuse(&accused)?;
                Report::accused(&accused, evidence)
            }
            Err(Stopped::Trouble(trouble)) => trouble.into(),
            Err(Stopped::State(error)) => return Err(error),
        };
        report(&end);
        Ok(end.is_cosigned())
    }

    async fn follow(&mut self, report: &mut impl FnMut(&Report)) -> Result<Report, Stopped> {
        let note = self.client.checkpoint().await?;
        self.check(&note, report).await?;
        let memory = self.kept.memory();
        let (Some(leaf), size) = (memory.leaf().copied(), memory.checked()) else { return Ok(Report::Empty) };
        if let Some(evidence) = self.kept.keeper().conviction()? {
            return Ok(Report::Withheld { size, evidence });
        }
        let cosigned = memory.cosign(&self.key, (self.clock)())?;
        self.kept.keep(cosigned)?;
        let mut known = true;
        if let Some((size, line)) = self.kept.cosignature() {
            // The log has it when it shows it. A process that was killed before it had posted it finds it missing here.
            known = shows(&note, line);
            if !known {
                self.client.cosign(size, line).await?;
            }
        }
        Ok(Report::Cosigned { size, epoch: leaf.epoch, time: leaf.time.as_unix(), known })
    }

    /// Verifies all that is new. Files are written and proofs verified on this thread: the process does nothing else.
    async fn check(&mut self, note: &Bytes, report: &mut impl FnMut(&Report)) -> Result<(), Stopped> {
        let mut check = Check::begin(self.kept.memory(), note, (self.clock)())?;
        loop {
            check = match check.step()? {
                Step::Fetch(asking) => {
                    let bytes = self.client.fetch(&asking.resource()).await?;
                    asking.answer(&bytes)?
                }
                Step::Keep(check) => {
                    let (before, size) = (self.kept.memory().checked(), check.size());
                    self.kept.keep(check.memory().clone())?;
                    let checked = self.kept.memory().checked();
                    if before < checked && checked < size {
                        report(&Report::Checking { checked, size });
                    }
                    check
                }
                Step::Done(_) => return Ok(()),
            };
        }
    }
}

/// Whether a checkpoint that was verified has this line.
fn shows(note: &[u8], line: &NoteSignature) -> bool {
    SignedCheckpoint::from_bytes(note).is_ok_and(|shown| shown.note().signatures().contains(line))
}
