//! A person at a terminal: one home, one server, and `undertone` with whatever is typed.

use std::path::PathBuf;
use std::process::{Command, Output};

use anyhow::bail;

use crate::process::{self, Process, program};

/// The passphrase of every account made here.
pub const PASSPHRASE: &str = "a long passphrase";

/// One home and the server it talks to.
#[derive(Clone, Debug)]
pub struct Terminal {
    home: PathBuf,
    server: String,
}

impl Terminal {
    /// A terminal whose device lives in `home` and whose server listens at `server`.
    #[must_use]
    pub const fn new(home: PathBuf, server: String) -> Self {
        Self { home, server }
    }

    /// The same with a new account.
    ///
    /// # Errors
    /// When the command failed; what it said is told.
    pub fn registered(home: PathBuf, server: String, name: &str) -> anyhow::Result<Self> {
        let terminal = Self::new(home, server);
        let output = terminal.with_passphrase(PASSPHRASE, &["register", name])?;
        if !output.status.success() {
            bail!("{name} cannot register: {}", String::from_utf8_lossy(&output.stderr).trim());
        }
        Ok(terminal)
    }

    /// `undertone --json` on this home with these arguments, not started yet.
    ///
    /// # Errors
    /// When it is not built.
    pub fn command(&self, arguments: &[&str]) -> anyhow::Result<Command> {
        self.program(&[&["--json"], arguments].concat())
    }

    fn program(&self, arguments: &[&str]) -> anyhow::Result<Command> {
        let mut command = program("undertone")?;
        command.arg("--home").arg(&self.home).args(arguments).env("UNDERTONE_SERVER", &self.server);
        Ok(command)
    }

    /// What a command says to people.
    ///
    /// # Errors
    /// When it fails; what it said is told.
    pub fn read(&self, arguments: &[&str]) -> anyhow::Result<String> {
        let output = process::run(&mut self.program(arguments)?, "")?;
        if !output.status.success() {
            bail!("{arguments:?}: {}", String::from_utf8_lossy(&output.stderr).trim());
        }
        Ok(String::from_utf8(output.stdout)?)
    }

    /// Runs a command to its end.
    ///
    /// # Errors
    /// When it cannot be started; how it ended stands in what is returned.
    pub fn run(&self, arguments: &[&str]) -> anyhow::Result<Output> {
        process::run(&mut self.command(arguments)?, "")
    }

    /// The same with a passphrase on stdin.
    ///
    /// # Errors
    /// See [`Terminal::run`].
    pub fn with_passphrase(&self, passphrase: &str, arguments: &[&str]) -> anyhow::Result<Output> {
        process::run(self.command(arguments)?.arg("--passphrase-stdin"), &format!("{passphrase}\n"))
    }

    /// Starts a command that goes on.
    ///
    /// # Errors
    /// See [`Terminal::run`].
    pub fn start(&self, arguments: &[&str]) -> anyhow::Result<Process> {
        Process::start(arguments.first().unwrap_or(&"undertone"), &mut self.command(arguments)?)
    }

    /// Starts a command that goes on and takes lines on its stdin.
    ///
    /// # Errors
    /// See [`Terminal::run`].
    pub fn start_listening(&self, arguments: &[&str]) -> anyhow::Result<Process> {
        Process::listening(arguments.first().unwrap_or(&"undertone"), &mut self.command(arguments)?)
    }
}
