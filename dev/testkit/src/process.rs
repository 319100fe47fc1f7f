//! The project's programs as processes that speak JSON: what a person at a terminal starts, and what an operator kills.

use std::io::{BufRead, BufReader, Write};
use std::os::unix::fs::MetadataExt;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::sync::mpsc::{Receiver, channel};
use std::time::{Duration, Instant};

use anyhow::{Context, bail};
use serde_json::Value;

/// One of our programs: beside this one, or one folder up where this is a test.
///
/// # Errors
/// When it is not built: `cargo test` on one crate builds that crate's programs only.
pub fn program(name: &str) -> anyhow::Result<Command> {
    let here: PathBuf = std::env::current_exe()?;
    let places = here.ancestors().skip(1).take(2).map(|folder| folder.join(name));
    match places.clone().find(|place| place.is_file()) {
        Some(path) => Ok(Command::new(path)),
        None => bail!("{name} is not built: run `make build` first"),
    }
}

/// The same command where no file can grow beyond `bytes`: what a full disk does to it, on any machine and without
/// privileges. Writes fail with `EFBIG` instead of `ENOSPC`, and the process is sent `SIGXFSZ`.
#[must_use]
pub fn with_file_limit(command: &Command, bytes: u64) -> Command {
    let mut limited = Command::new("sh");
    limited.args(["-c", "ulimit -f \"$0\"; exec \"$@\"", &bytes.div_ceil(512).to_string()]);
    limited.arg(command.get_program()).args(command.get_args());
    for (name, value) in command.get_envs() {
        match value {
            Some(value) => limited.env(name, value),
            None => limited.env_remove(name),
        };
    }
    limited
}

/// Lets this process open as many files as it may at all, and says how many that are. Many systems begin with 1,024.
///
/// # Errors
/// When `/proc` does not say.
pub fn raise_file_limit() -> anyhow::Result<usize> {
    let limits = || -> anyhow::Result<(usize, usize)> {
        let text = std::fs::read_to_string("/proc/self/limits")?;
        let line = text.lines().find_map(|line| line.strip_prefix("Max open files")).context("no limit of files")?;
        let mut numbers = line.split_whitespace().map(|word| word.parse().unwrap_or(usize::MAX));
        Ok((numbers.next().context("no soft limit")?, numbers.next().context("no hard limit")?))
    };
    let (soft, hard) = limits()?;
    if soft < hard {
        // Another program does it: the call is not to be had without `unsafe` here. If it is not installed, it stays as it is.
        let files = format!("--nofile={hard}:{hard}");
        let _ = Command::new("prlimit").args(["--pid", &std::process::id().to_string(), &files]).status();
    }
    Ok(limits()?.0)
}

/// The same command with a disk of its own at `folder`, of so many bytes and empty, which only it sees; `None` where this
/// machine does not allow that. What is in it is gone with the process; [`Process::sees`] leads there meanwhile.
#[must_use]
pub fn with_small_disk(command: &Command, folder: &Path, bytes: u64) -> Option<Command> {
    // As root in a user namespace of its own, where anybody may be that; or as root, where namespaces are not to be had.
    let ways: [&[&str]; 2] = [&["--map-root-user", "--mount"], &["--mount"]];
    let mount = format!("mount -t tmpfs -o size={bytes},mode=700 none \"$0\"");
    let works = |way: &&&[&str]| {
        let mut attempt = Command::new("unshare");
        attempt.args(**way).args(["sh", "-c", &mount]).arg(folder).stdout(Stdio::null()).stderr(Stdio::null());
        attempt.status().is_ok_and(|status| status.success())
    };
    let way = ways.iter().find(works)?;
    let mut limited = Command::new("unshare");
    limited.args(*way).args(["sh", "-c", &format!("{mount} && exec \"$@\"")]).arg(folder);
    limited.arg(command.get_program()).args(command.get_args());
    Some(limited)
}

/// Whether this process may write whatever it likes, so that file modes say nothing to it.
fn is_root() -> bool {
    std::fs::metadata("/proc/self").is_ok_and(|process| process.uid() == 0)
}

/// The user and group `nobody`.
const NOBODY: u32 = 65_534;

/// One of our programs as a user whom file modes bind: this one, or `nobody` where this one is root. The program lies
/// in `folder` then, since `nobody` cannot look into everybody's build folder.
///
/// # Errors
/// When it is not built or cannot be copied.
pub fn unprivileged(name: &str, folder: &Path) -> anyhow::Result<Command> {
    let command = program(name)?;
    if !is_root() {
        return Ok(command);
    }
    let copy = folder.join(name);
    std::fs::copy(command.get_program(), &copy)?;
    let mut command = Command::new(copy);
    command.uid(NOBODY).gid(NOBODY);
    Ok(command)
}

/// A running program whose lines are events. Killed when dropped.
#[derive(Debug)]
pub struct Process {
    child: Child,
    lines: Receiver<Value>,
    /// Every event so far.
    pub events: Vec<Value>,
    name: String,
}

impl Process {
    /// Starts `command` with nothing on its stdin; `name` is for error messages.
    ///
    /// # Errors
    /// The operating system's own.
    pub fn start(name: &str, command: &mut Command) -> anyhow::Result<Self> {
        Self::with_stdin(name, command, Stdio::null())
    }

    /// The same with an open stdin, for [`Process::say`].
    ///
    /// # Errors
    /// The operating system's own.
    pub fn listening(name: &str, command: &mut Command) -> anyhow::Result<Self> {
        Self::with_stdin(name, command, Stdio::piped())
    }

    /// `folder` as this process sees it: where it may have a disk of its own.
    #[must_use]
    pub fn sees(&self, folder: &Path) -> PathBuf {
        let root = PathBuf::from(format!("/proc/{}/root", self.child.id()));
        folder.strip_prefix("/").map_or_else(|_| folder.to_owned(), |inside| root.join(inside))
    }

    /// Waits until so many more frames of the peer's have opened, by its `status` events.
    ///
    /// # Errors
    /// When they do not within `patience`.
    pub fn hears(&mut self, more: u64, patience: Duration) -> anyhow::Result<()> {
        let opened = |status: &Value| status.get("opened").and_then(Value::as_u64).unwrap_or_default();
        let (first, end) = (opened(&self.wait_for("status", patience)?), Instant::now() + patience);
        while opened(&self.wait_for("status", patience)?) < first + more {
            anyhow::ensure!(Instant::now() < end, "nothing is heard");
        }
        Ok(())
    }

    /// Writes a line to its stdin.
    ///
    /// # Errors
    /// The operating system's own; also when it was not started with one.
    pub fn say(&mut self, line: &str) -> anyhow::Result<()> {
        let stdin = self.child.stdin.as_mut().context("it was started without a stdin")?;
        Ok(writeln!(stdin, "{line}")?)
    }

    fn with_stdin(name: &str, command: &mut Command, stdin: Stdio) -> anyhow::Result<Self> {
        let mut child = command.stdin(stdin).stdout(Stdio::piped()).stderr(Stdio::null()).spawn()?;
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
    ///
    /// # Errors
    /// When it does not come within `patience`; what came instead is told.
    pub fn wait_for(&mut self, event: &str, patience: Duration) -> anyhow::Result<Value> {
        self.wait_for_any(&[event], patience)
    }

    /// Waits for one of several events, whichever comes first.
    ///
    /// # Errors
    /// When none comes within `patience`; what came instead is told.
    pub fn wait_for_any(&mut self, events: &[&str], patience: Duration) -> anyhow::Result<Value> {
        let end = Instant::now() + patience;
        while let Ok(line) = self.lines.recv_timeout(end.saturating_duration_since(Instant::now())) {
            self.events.push(line.clone());
            if events.iter().any(|event| is(&line, event)) {
                return Ok(line);
            }
        }
        bail!("{} did not come to {events:?}; it said: {}", self.name, Value::from(self.events.clone()))
    }

    /// The last event of this name.
    #[must_use]
    pub fn last(&self, event: &str) -> Option<&Value> {
        self.events.iter().rev().find(|line| is(line, event))
    }

    /// Its number.
    #[must_use]
    pub fn id(&self) -> u32 {
        self.child.id()
    }

    /// Whether it has not ended yet.
    pub fn is_running(&mut self) -> bool {
        matches!(self.child.try_wait(), Ok(None))
    }

    /// Waits until it has ended by itself; its exit code, `None` if a signal ended it.
    ///
    /// # Errors
    /// The operating system's own.
    pub fn exit_code(&mut self) -> anyhow::Result<Option<i32>> {
        Ok(self.child.wait()?.code())
    }

    /// Asks it to end (SIGTERM) and waits.
    ///
    /// # Errors
    /// The operating system's own.
    pub fn end(mut self) -> anyhow::Result<()> {
        Command::new("kill").args(["-TERM", &self.child.id().to_string()]).status()?;
        self.child.wait()?;
        Ok(())
    }

    /// Ends it without asking (SIGKILL) and waits until it is gone.
    ///
    /// # Errors
    /// The operating system's own.
    pub fn kill(mut self) -> anyhow::Result<()> {
        self.child.kill()?;
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

fn is(line: &Value, event: &str) -> bool {
    line.get("event").is_some_and(|name| name == event)
}

/// Runs a command to its end with `stdin` on its stdin.
///
/// # Errors
/// The operating system's own; how the command ended stands in what is returned.
pub fn run(command: &mut Command, stdin: &str) -> anyhow::Result<Output> {
    let mut child = command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn()?;
    if let Some(mut pipe) = child.stdin.take() {
        // A command that needs nothing from its stdin may have closed it.
        let _ = pipe.write_all(stdin.as_bytes());
    }
    Ok(child.wait_with_output()?)
}

/// The last line of a command's stdout as JSON, [`Value::Null`] if it is none.
#[must_use]
pub fn result(output: &Output) -> Value {
    let text = String::from_utf8_lossy(&output.stdout);
    serde_json::from_str(text.lines().last().unwrap_or_default()).unwrap_or(Value::Null)
}
