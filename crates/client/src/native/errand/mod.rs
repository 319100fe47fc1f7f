//! Commands that a home's owner runs for others (rule STO-1): one process owns a home, and a second one asks it.
//!
//! The owner listens on a Unix-domain socket in the home folder, `errands`, mode 0600 in a folder of mode 0700. It makes it after it
//! has taken the lock, so whatever lies there then is of an owner that is gone, and takes it away when it ends. Both ends look whether
//! the other is of the same user. A second process that finds the home taken says what it wants; the owner runs it as if it had been
//! its own command, asks what a person has to say, and sends back what is to be shown.
//!
//! ```text
//! owner                                  second process
//!   Greeting {version}          ->
//!                               <-       Errand
//!   Reply::Shown ...            ->
//!   Reply::Asked(Question)      ->
//!                               <-       Answer
//!   Reply::Done | Reply::Failed ->       both hang up
//! ```
//! Each is a frame: its length in four bytes, big-endian, and one structure in deterministic CBOR. Whoever hangs up before an answer
//! has changed nothing; once the owner has all it needs it goes on to the end.
//!
//! # Security goals
//! * Nobody but the home's own user is served or asked.
//! * A passphrase or recovery key on its way lies in memory that is wiped, and in no file.
//!
//! # Out of scope
//! Other programs of the same user: they can read the home itself.

mod frame;
mod message;
mod owner;
mod second;

pub use message::{Answer, Errand, Greeting, MAX_QUESTION, MAX_REPLY, Question, Reply, VERSION};
pub use owner::{Caller, Counter};
pub use second::{NoOwner, Owner};

use std::path::{Path, PathBuf};

use tokio::net::UnixStream;

/// The socket's name in a home folder.
const NAME: &str = "errands";
/// Bytes of a socket's path that every system takes.
const MAX_PATH: usize = 100;

/// Where the socket of the home in `folder` lies, by a path that is short enough to be bound or reached. The folder stays open for as
/// long as the path is used.
fn place(folder: &Path) -> std::io::Result<(PathBuf, Option<std::fs::File>)> {
    use std::os::fd::AsRawFd;
    let path = folder.join(NAME);
    if path.as_os_str().len() <= MAX_PATH {
        return Ok((path, None));
    }
    let folder = std::fs::File::open(folder)?;
    let short = PathBuf::from(format!("/proc/self/fd/{}", folder.as_raw_fd())).join(NAME);
    Ok((short, Some(folder)))
}

/// Whether the process at the other end runs as the same user as this one.
fn is_of_this_user(stream: &UnixStream) -> std::io::Result<bool> {
    // What this process looks like to itself, from the same source.
    let (here, _there) = UnixStream::pair()?;
    Ok(stream.peer_cred()?.uid() == here.peer_cred()?.uid())
}

#[cfg(test)]
mod tests;
