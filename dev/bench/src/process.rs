//! A relay as a process of its own, and the CPU time it took.

use std::io::{BufRead, BufReader, Write};
use std::net::SocketAddr;
use std::process::{Child, Command, Stdio};

use anyhow::Context;

/// A child process that serves; killed when dropped.
#[derive(Debug)]
pub(crate) struct Served {
    child: Child,
    pub(crate) address: SocketAddr,
    /// Its TLS certificate in DER; empty if it speaks no TLS.
    pub(crate) certificate: Vec<u8>,
}

impl Served {
    /// Starts this program in another role. `input` goes to its stdin; its first line is what [`listening`] says.
    pub(crate) fn start(role: &str, input: &[u8]) -> anyhow::Result<Self> {
        let mut command = Command::new(std::env::current_exe()?);
        let mut child = command.arg(role).stdin(Stdio::piped()).stdout(Stdio::piped()).spawn()?;
        child.stdin.take().context("no stdin")?.write_all(input)?;
        let mut line = String::new();
        BufReader::new(child.stdout.take().context("no stdout")?).read_line(&mut line)?;
        let mut words = line.split_whitespace();
        let address =
            words.next().and_then(|word| word.parse().ok()).with_context(|| format!("{role} did not start"))?;
        let certificate = words.map(str::parse).collect::<Result<_, _>>()?;
        Ok(Self { child, address, certificate })
    }

    /// Nanoseconds of CPU that all of its threads have had.
    pub(crate) fn cpu_ns(&self) -> anyhow::Result<u64> {
        let mut sum = 0;
        for task in std::fs::read_dir(format!("/proc/{}/task", self.child.id()))? {
            // A thread may end between the listing and the look.
            let Ok(text) = std::fs::read_to_string(task?.path().join("schedstat")) else { continue };
            sum += text.split(' ').next().and_then(|ns| ns.parse::<u64>().ok()).unwrap_or_default();
        }
        Ok(sum)
    }
}

impl Drop for Served {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Says where this process listens and under which certificate: an address, and a number for each byte.
pub(crate) fn listening(address: SocketAddr, certificate: &[u8]) -> anyhow::Result<()> {
    let mut stdout = std::io::stdout();
    write!(stdout, "{address}")?;
    for byte in certificate {
        write!(stdout, " {byte}")?;
    }
    writeln!(stdout)?;
    Ok(stdout.flush()?)
}
