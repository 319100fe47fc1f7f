//! The end of the process that owns the home.

use std::fs;
use std::io::{Error, ErrorKind, Result};
use std::os::unix::fs::{FileTypeExt, PermissionsExt};
use std::path::PathBuf;
use std::time::Duration;

use tokio::net::{UnixListener, UnixStream};

use super::message::{Answer, Errand, Greeting, MAX_QUESTION, MAX_REPLY, Question, Reply, VERSION};
use super::{NAME, frame, is_of_this_user, place};
use crate::native::home::Home;

/// How long a program may take to say what it wants.
const ERRAND: Duration = Duration::from_secs(5);
/// How long a person may take to answer.
const ANSWER: Duration = Duration::from_secs(300);

/// Where the owner of a home takes errands. It must not outlive the home, whose lock is what makes it the owner.
#[derive(Debug)]
pub struct Counter {
    listener: UnixListener,
    path: PathBuf,
}

impl Counter {
    /// Opens it. A socket that lies there is of an owner that is gone; anything else is left alone.
    ///
    /// # Errors
    /// The system's.
    pub fn open(home: &Home) -> Result<Self> {
        let path = home.folder().join(NAME);
        match fs::symlink_metadata(&path) {
            Ok(found) if found.file_type().is_socket() => fs::remove_file(&path)?,
            Ok(_) => return Err(Error::new(ErrorKind::AlreadyExists, "there is something that is no socket")),
            Err(error) if error.kind() == ErrorKind::NotFound => {}
            Err(error) => return Err(error),
        }
        let (short, _folder) = place(home.folder())?;
        let listener = UnixListener::bind(short)?;
        // The folder is closed to others already.
        fs::set_permissions(&path, fs::Permissions::from_mode(0o600))?;
        Ok(Self { listener, path })
    }

    /// The next process of the same user that comes. Others are sent away without a word.
    ///
    /// # Errors
    /// The system's; it may be asked again after a moment.
    pub async fn next(&self) -> Result<Caller> {
        loop {
            let (stream, _) = self.listener.accept().await?;
            if is_of_this_user(&stream)? {
                return Ok(Caller { stream });
            }
        }
    }
}

impl Drop for Counter {
    fn drop(&mut self) {
        let _ = fs::remove_file(&self.path);
    }
}

/// A process that has come with an errand.
#[derive(Debug)]
pub struct Caller {
    stream: UnixStream,
}

impl Caller {
    /// Greets it and hears what it wants.
    ///
    /// # Errors
    /// The system's, and [`ErrorKind::InvalidData`] for what is no errand.
    pub async fn errand(&mut self) -> Result<Errand> {
        frame::write(&mut self.stream, &Greeting { version: VERSION }.to_bytes(), MAX_QUESTION).await?;
        let bytes = frame::read(&mut self.stream, MAX_QUESTION, ERRAND).await?;
        Errand::from_bytes(&bytes).map_err(|malformed| Error::new(ErrorKind::InvalidData, malformed))
    }

    /// Says something of the errand.
    ///
    /// # Errors
    /// The system's.
    pub async fn tell(&mut self, reply: &Reply) -> Result<()> {
        frame::write(&mut self.stream, &reply.to_bytes(), MAX_REPLY).await
    }

    /// Asks what only a person can say.
    ///
    /// # Errors
    /// The system's, and [`ErrorKind::InvalidData`] for what is no answer.
    pub async fn ask(&mut self, question: Question) -> Result<Answer> {
        self.tell(&Reply::Asked { question }).await?;
        let bytes = frame::read(&mut self.stream, MAX_QUESTION, ANSWER).await?;
        Answer::from_bytes(&bytes).map_err(|malformed| Error::new(ErrorKind::InvalidData, malformed))
    }
}
