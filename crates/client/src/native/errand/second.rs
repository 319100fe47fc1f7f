//! The end of a process that finds its home taken.

use std::io::ErrorKind;
use std::path::Path;
use std::time::Duration;

use tokio::net::UnixStream;

use super::message::{Answer, Errand, Greeting, MAX_QUESTION, MAX_REPLY, Reply, VERSION};
use super::{frame, is_of_this_user, place};

/// How long an owner may take to greet.
const GREETING: Duration = Duration::from_secs(2);
/// How long an owner may take between two replies: a look-up whose server is slow, tried again.
const REPLY: Duration = Duration::from_secs(300);

/// Why no owner runs it.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum NoOwner {
    /// Nobody listens in this home, or no program that we know.
    #[error("it takes no commands of others meanwhile")]
    Nobody,
    /// One of another version.
    #[error("it is of another version than this program, and takes no commands from it")]
    Version,
    /// It went away.
    #[error("it went away")]
    Gone,
}

/// The process that owns a home, as another one sees it.
#[derive(Debug)]
pub struct Owner {
    stream: UnixStream,
}

impl Owner {
    /// Finds the owner of the home in `folder`.
    ///
    /// # Errors
    /// [`NoOwner::Nobody`] and [`NoOwner::Version`].
    pub async fn find(folder: &Path) -> Result<Self, NoOwner> {
        let (path, _open) = place(folder).map_err(|_| NoOwner::Nobody)?;
        let mut stream = UnixStream::connect(path).await.map_err(|_| NoOwner::Nobody)?;
        // A passphrase may go there.
        if !is_of_this_user(&stream).unwrap_or(false) {
            return Err(NoOwner::Nobody);
        }
        let bytes = frame::read(&mut stream, MAX_QUESTION, GREETING).await.map_err(|_| NoOwner::Nobody)?;
        match Greeting::from_bytes(&bytes) {
            Ok(Greeting { version: VERSION }) => Ok(Self { stream }),
            Ok(_) => Err(NoOwner::Version),
            Err(_) => Err(NoOwner::Nobody),
        }
    }

    /// Says what is wanted.
    ///
    /// # Errors
    /// [`NoOwner::Gone`].
    pub async fn send(&mut self, errand: &Errand) -> Result<(), NoOwner> {
        frame::write(&mut self.stream, &errand.to_bytes(), MAX_QUESTION).await.map_err(|_| NoOwner::Gone)
    }

    /// What the owner says next.
    ///
    /// # Errors
    /// [`NoOwner::Gone`], [`NoOwner::Version`] for what cannot be read.
    pub async fn reply(&mut self) -> Result<Reply, NoOwner> {
        let bytes = frame::read(&mut self.stream, MAX_REPLY, REPLY).await.map_err(|error| match error.kind() {
            ErrorKind::InvalidData => NoOwner::Version,
            _ => NoOwner::Gone,
        })?;
        Reply::from_bytes(&bytes).map_err(|_| NoOwner::Version)
    }

    /// What a person said to a question.
    ///
    /// # Errors
    /// [`NoOwner::Gone`].
    pub async fn answer(&mut self, answer: &Answer) -> Result<(), NoOwner> {
        frame::write(&mut self.stream, &answer.to_bytes(), MAX_QUESTION).await.map_err(|_| NoOwner::Gone)
    }
}
