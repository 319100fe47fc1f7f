//! The programs of the project as processes that speak JSON.

use std::ffi::OsStr;
use std::io::{BufRead, BufReader, Write};
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::sync::mpsc::{Receiver, channel};
use std::time::{Duration, Instant};

use anyhow::{Context, bail};
use serde_json::Value;

/// One of our programs, built beside this one.
pub(crate) fn program(name: &str) -> anyhow::Result<Command> {
    let mut path: PathBuf = std::env::current_exe()?;
    path.set_file_name(name);
    if !path.exists() {
        bail!("{} is not built: run `make build` first", path.display());
    }
    Ok(Command::new(path))
}

/// A running program whose lines are events. Killed when dropped.
#[derive(Debug)]
pub(crate) struct Process {
    child: Child,
    lines: Receiver<Value>,
    /// Every event so far.
    pub(crate) events: Vec<Value>,
    name: String,
}

impl Process {
    pub(crate) fn start(name: &str, command: &mut Command) -> anyhow::Result<Self> {
        let mut child = command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::null()).spawn()?;
        let stdout = BufReader::new(child.stdout.take().context("no stdout")?);
        let (send, lines) = channel();
        std::thread::spawn(move || {
            for line in stdout.lines().map_while(Result::ok) {
                if serde_json::from_str(&line).is_ok_and(|value| send.send(value).is_err()) {
                    return;
                }
            }
        });
        Ok(Self { child, lines, events: Vec::new(), name: name.into() })
    }

    /// Waits for an event of this name.
    pub(crate) fn wait_for(&mut self, event: &str, patience: Duration) -> anyhow::Result<Value> {
        let end = Instant::now() + patience;
        while let Ok(line) = self.lines.recv_timeout(end.saturating_duration_since(Instant::now())) {
            self.events.push(line.clone());
            if line["event"] == event {
                return Ok(line);
            }
        }
        bail!("{} did not come to {event:?}; it said: {}", self.name, Value::from(self.events.clone()))
    }

    /// The last event of this name.
    pub(crate) fn last(&self, event: &str) -> Option<&Value> {
        self.events.iter().rev().find(|line| line["event"] == event)
    }

    /// Waits until it has ended by itself, well.
    pub(crate) fn wait_for_end(&mut self) -> anyhow::Result<()> {
        let status = self.child.wait()?;
        if !status.success() {
            bail!("{} ended with {status}", self.name);
        }
        Ok(())
    }

    /// Asks it to end and waits.
    pub(crate) fn end(mut self) -> anyhow::Result<()> {
        let id = self.child.id().to_string();
        Command::new("kill").args(["-TERM", &id]).status()?;
        self.child.wait()?;
        Ok(())
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Runs a command to its end with a line on stdin; its last line is its result.
pub(crate) fn run(command: &mut Command, stdin: impl AsRef<OsStr>) -> anyhow::Result<Value> {
    let mut child = command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn()?;
    if let Some(mut pipe) = child.stdin.take() {
        pipe.write_all(stdin.as_ref().as_encoded_bytes())?;
    }
    let output = child.wait_with_output()?;
    if !output.status.success() {
        bail!("{}", String::from_utf8_lossy(&output.stderr).trim());
    }
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    Ok(serde_json::from_str(text.lines().last().unwrap_or_default())?)
}
