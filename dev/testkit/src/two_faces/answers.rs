//! Answers to look-ups, taken from a server as a whole and put together again with something else in them.

use std::fmt;
use std::sync::Arc;

use anyhow::Context;
use rustls::version::TLS13;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use undertone_protocol::rest::{Bytes, Devices};
use undertone_transparency::answer::Answer;

use crate::tls;

/// A look-up.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Asked {
    /// About whom, as it stands in the path.
    pub user: String,
    /// Leaves of the log that the asker has seen.
    pub seen: u64,
}

impl Asked {
    /// Reads `/v1/users/{user}/devices?seen={leaves}&..`.
    pub(super) fn read(path: &str) -> Option<Self> {
        let (user, rest) = path.strip_prefix("/v1/users/")?.split_once("/devices?")?;
        let seen = rest.split('&').find_map(|part| part.strip_prefix("seen="))?.parse().ok()?;
        Some(Self { user: user.into(), seen })
    }
}

/// What a lie makes of an answer.
type Change = dyn Fn(&Asked, Answer) -> Answer + Send + Sync;

/// What is said instead of an answer.
#[derive(Clone)]
pub(super) struct Lie(Arc<Change>);

impl Lie {
    pub(super) fn new(change: impl Fn(&Asked, Answer) -> Answer + Send + Sync + 'static) -> Self {
        Self(Arc::new(change))
    }

    /// What is said to this question.
    pub(super) fn to(&self, asked: &Asked, answer: Answer) -> Answer {
        (self.0)(asked, answer)
    }
}

impl fmt::Debug for Lie {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Lie")
    }
}

/// All that the server at `address` answers to a request without a body.
pub(super) async fn whole(address: &str, head: &[u8]) -> anyhow::Result<Vec<u8>> {
    let mut server = tls::connect_to(address, &TLS13).await?;
    server.write_all(head).await?;
    let mut answer = Vec::new();
    server.read_to_end(&mut answer).await?;
    Ok(answer)
}

/// The HTTP answer to a look-up with another one in it. What is no answer to a look-up stays as it is.
pub(super) fn told(answer: &[u8], lie: impl FnOnce(Answer) -> Answer) -> anyhow::Result<Vec<u8>> {
    let border = answer.windows(4).position(|end| end == b"\r\n\r\n").context("no head")? + 4;
    let (head, body) = answer.split_at_checked(border).context("no body")?;
    let Ok(Devices { answer: Bytes(said) }) = serde_json::from_slice(body) else { return Ok(answer.to_vec()) };
    anyhow::ensure!(head.starts_with(b"HTTP/1.1 200 "), "an answer with an error");
    let said = lie(Answer::from_bytes(&said)?);
    let body = serde_json::to_vec(&Devices { answer: Bytes(said.to_bytes()) })?;
    let length = body.len();
    let head = format!(
        "HTTP/1.1 200 OK\r\ncontent-type: application/json\r\nconnection: close\r\ncontent-length: {length}\r\n\r\n"
    );
    Ok([head.as_bytes(), &body].concat())
}
