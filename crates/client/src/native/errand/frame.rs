//! Frames: the length in four bytes, big-endian, and as many bytes.

use std::io::{Error, ErrorKind, Result};
use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::UnixStream;
use tokio::time::timeout;
use zeroize::Zeroizing;

/// How long the other end may take to read what is written.
const WRITE: Duration = Duration::from_secs(30);

fn late() -> Error {
    Error::new(ErrorKind::TimedOut, "no answer")
}

/// Reads a frame of `most` bytes at most, within `patience`. Its bytes are wiped when they are dropped.
pub(super) async fn read(stream: &mut UnixStream, most: usize, patience: Duration) -> Result<Zeroizing<Vec<u8>>> {
    let read = async {
        let length = usize::try_from(stream.read_u32().await?).unwrap_or(usize::MAX);
        if length > most {
            return Err(Error::new(ErrorKind::InvalidData, "a frame is too long"));
        }
        // Taken at once, since a buffer that grows leaves copies behind; `most` bounds it.
        let mut bytes = Zeroizing::new(vec![0; length]);
        stream.read_exact(&mut bytes).await?;
        Ok(bytes)
    };
    timeout(patience, read).await.map_err(|_| late())?
}

/// Writes a frame of `most` bytes at most.
pub(super) async fn write(stream: &mut UnixStream, bytes: &[u8], most: usize) -> Result<()> {
    let long = || Error::new(ErrorKind::InvalidData, "a frame is too long");
    let length = u32::try_from(bytes.len()).ok().filter(|_| bytes.len() <= most).ok_or_else(long)?;
    let write = async {
        stream.write_u32(length).await?;
        stream.write_all(bytes).await
    };
    timeout(WRITE, write).await.map_err(|_| late())?
}
