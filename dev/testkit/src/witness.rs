//! A witness of a server's log: `undertone-server witness`, as somebody else than its operator runs it.

use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use anyhow::Context;
use rustls::version::TLS13;
use serde_json::Value;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use undertone_keys::sign::{SigningKey, Witness as Cosigner};
use undertone_keys::{Secret, WallTime};
use undertone_transparency::checkpoint::SignedCheckpoint;
use undertone_transparency::cosignature::Cosignature;
use undertone_transparency::note::{LogKey, NoteSignature, WitnessKey};

use crate::process::{program, result, run};
use crate::tls;

/// A witness with a key and a memory of its own, which looks when it is told to.
#[derive(Clone, Debug)]
pub struct Witness {
    key: PathBuf,
    log: String,
    log_key: String,
}

/// What came of a look.
#[derive(Clone, Debug)]
pub struct Look {
    /// Whether the newest checkpoint is cosigned.
    pub cosigned: bool,
    /// What the witness said.
    pub events: Vec<Value>,
}

impl Witness {
    /// A witness with its key in the file `key`, of the server at `address`. The log's key comes from the operator, as it should:
    /// out of the server's `data`.
    ///
    /// # Errors
    /// When the server has not been started yet, or the programs are not built.
    pub fn new(key: PathBuf, address: &str, data: &Path) -> anyhow::Result<Self> {
        let printed = run(program("undertone-server")?.args(["admin", "log-key", "--json", "--data"]).arg(data), "")?;
        let log_key = result(&printed).get("log_key").and_then(Value::as_str).context("no log key")?.to_owned();
        Ok(Self { key, log: format!("https://{address}"), log_key })
    }

    /// The folder in which it keeps what it knows, and evidence.
    #[must_use]
    pub fn state(&self) -> PathBuf {
        self.key.with_added_extension("state")
    }

    /// Looks at the log once.
    ///
    /// # Errors
    /// The operating system's own.
    pub fn look(&self) -> anyhow::Result<Look> {
        let mut witness = program("undertone-server")?;
        witness.args(["witness", "--once", "--json", "--log", &self.log, "--log-key", &self.log_key, "--key"]);
        let output = run(witness.arg(&self.key), "")?;
        let events = String::from_utf8_lossy(&output.stdout).lines().flat_map(serde_json::from_str).collect();
        Ok(Look { cosigned: output.status.success(), events })
    }

    /// Cosigns the newest checkpoint with a clock that is `age` behind, whatever it has seen: what is left on the server of a
    /// witness that went down so long ago. Its own key is `key`.
    ///
    /// # Errors
    /// When the server refuses the line.
    pub async fn leave_line_of(&self, key: &str, age: Duration) -> anyhow::Result<()> {
        let address = self.log.trim_start_matches("https://");
        let note = request(address, "GET /log/checkpoint", "").await?;
        let (line, size) = self.line(&key.parse()?, note.as_bytes(), age)?;
        request(address, &format!("POST /log/cosignature?size={size}"), &line.to_string()).await?;
        Ok(())
    }

    /// Its line for a checkpoint, a note of the log, made with a clock that is `age` behind; and the leaves of it. Its own key
    /// is `key`.
    ///
    /// # Errors
    /// When that is no checkpoint of the log, or this has no key yet.
    pub fn line(&self, key: &WitnessKey, note: &[u8], age: Duration) -> anyhow::Result<(NoteSignature, u64)> {
        let seed = std::fs::read(&self.key)?;
        let signer = SigningKey::<Cosigner>::from_seed(Secret::from_slice(&seed).context("no witness's key")?);
        let checkpoint = SignedCheckpoint::from_bytes(note)?.verify(&self.log_key.parse::<LogKey>()?)?;
        let now = SystemTime::now().duration_since(UNIX_EPOCH)?;
        let at = WallTime::from_unix(now.saturating_sub(age).as_secs());
        Ok((Cosignature::sign(&checkpoint, &signer, at)?.line(key), checkpoint.size()))
    }
}

/// One request to a server, and the body of its answer.
async fn request(address: &str, what: &str, body: &str) -> anyhow::Result<String> {
    let mut stream = tls::connect_to(address, &TLS13).await?;
    let head =
        format!("{what} HTTP/1.1\r\nhost: {address}\r\nconnection: close\r\ncontent-length: {}\r\n\r\n", body.len());
    stream.write_all(format!("{head}{body}").as_bytes()).await?;
    let mut answer = Vec::new();
    stream.read_to_end(&mut answer).await?;
    let answer = String::from_utf8(answer)?;
    let (head, body) = answer.split_once("\r\n\r\n").context("no answer")?;
    anyhow::ensure!(head.starts_with("HTTP/1.1 2"), "{what} is answered with {answer}");
    Ok(body.to_owned())
}

impl Look {
    /// The event of this name, [`Value::Null`] if there was none.
    #[must_use]
    pub fn event(&self, name: &str) -> &Value {
        let named = |event: &&Value| event.get("event").is_some_and(|event| event == name);
        self.events.iter().find(named).unwrap_or(&Value::Null)
    }

    /// The witness's key, which the operator puts into the server's configuration.
    ///
    /// # Errors
    /// When it did not come to say it.
    pub fn key(&self) -> anyhow::Result<String> {
        Ok(self.event("ready").get("witness").and_then(Value::as_str).context("the witness did not start")?.to_owned())
    }
}
