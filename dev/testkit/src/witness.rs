//! A witness of a server's log: `undertone-server witness`, as somebody else than its operator runs it.

use std::path::{Path, PathBuf};

use anyhow::Context;
use serde_json::Value;

use crate::process::{program, result, run};

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
