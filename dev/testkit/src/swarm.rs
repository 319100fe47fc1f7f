//! All nodes of a RAIDA swarm as one program of their own.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use anyhow::Context;
use serde_json::Value;

use crate::process::{Process, program, with_small_disk};
use crate::terminal::Terminal;

fn command(folder: &Path, wallets: u32) -> anyhow::Result<Command> {
    let mut command = program("undertone-server")?;
    command.args(["raida", "swarm", "--json", "--listen", "127.0.0.1:0", "--data"]).arg(folder);
    command.args(["--wallets", &wallets.to_string()]);
    Ok(command)
}

/// How long 25 nodes may take to start on a busy machine.
const PATIENCE: Duration = Duration::from_secs(60);

/// A running swarm. It ends with its value.
#[derive(Debug)]
pub struct SwarmProcess {
    process: Process,
    folder: PathBuf,
    /// What it said when it was ready.
    pub ready: Value,
}

impl SwarmProcess {
    /// Starts one in this folder, with so many wallets to hand out.
    ///
    /// # Errors
    /// When it does not come up.
    pub fn start(folder: &Path, wallets: u32) -> anyhow::Result<Self> {
        let mut process = Process::start("swarm", &mut command(folder, wallets)?)?;
        let ready = process.wait_for("ready", PATIENCE)?;
        Ok(Self { process, folder: folder.to_owned(), ready })
    }

    /// Starts one whose folder is a disk of so many bytes; `None` where this machine does not allow that.
    ///
    /// # Errors
    /// When it does not come up.
    pub fn start_on_small_disk(folder: &Path, wallets: u32, bytes: u64) -> anyhow::Result<Option<Self>> {
        std::fs::create_dir(folder)?;
        let Some(mut command) = with_small_disk(&command(folder, wallets)?, folder, bytes) else { return Ok(None) };
        let mut process = Process::start("swarm", &mut command)?;
        let ready = process.wait_for("ready", PATIENCE)?;
        Ok(Some(Self { folder: process.sees(folder), process, ready }))
    }

    /// Its folder, as it sees it.
    #[must_use]
    pub fn folder(&self) -> &Path {
        &self.folder
    }

    /// What people who use it are given.
    #[must_use]
    pub fn file(&self) -> PathBuf {
        self.folder.join("swarm.toml")
    }

    /// What the account with this number is given, from 1 on.
    #[must_use]
    pub fn wallet(&self, number: u32) -> PathBuf {
        self.folder.join("wallets").join(format!("{number}.keys"))
    }

    /// Enrols somebody with the wallet of this number; what the program said.
    ///
    /// # Errors
    /// When it was not enrolled.
    pub fn enrol(&self, who: &Terminal, wallet: u32) -> anyhow::Result<Value> {
        let (file, keys) = (self.file().display().to_string(), self.wallet(wallet).display().to_string());
        let output = who.run(&["raida", "enrol", "--swarm", &file, "--keys", &keys])?;
        anyhow::ensure!(output.status.success(), "not enrolled: {}", String::from_utf8_lossy(&output.stderr).trim());
        serde_json::from_slice(&output.stdout).context("what enrolling says is no JSON")
    }

    /// Ends it as an operator does.
    ///
    /// # Errors
    /// The system's.
    pub fn end(self) -> anyhow::Result<()> {
        self.process.end()
    }
}
