//! A relay as a process of its own, the CPU it runs on, and the CPU time it took.

use std::io::{BufRead, BufReader, Write};
use std::net::SocketAddr;
use std::process::{Child, Command, Stdio};
use std::sync::LazyLock;

use anyhow::Context;

/// The CPUs that this process was given when it began: what it leaves free for others it must know before it moves to
/// one of them. Empty where there is only one, or no `taskset` to move with.
static CPUS: LazyLock<Vec<usize>> = LazyLock::new(|| {
    let found = Command::new("taskset").arg("--version").stdout(Stdio::null()).stderr(Stdio::null()).status();
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let list = status.lines().find_map(|line| line.strip_prefix("Cpus_allowed_list:")).unwrap_or_default();
    let cpus = parse(list);
    if cpus.len() >= 2 && found.is_ok_and(|status| status.success()) { cpus } else { Vec::new() }
});

/// Reads a list as `0-3,6`.
fn parse(list: &str) -> Vec<usize> {
    let range = |part: &str| {
        let (first, last) = part.split_once('-').unwrap_or((part, part));
        Some(first.parse::<usize>().ok()?..=last.parse::<usize>().ok()?)
    };
    list.trim().split(',').filter_map(range).flatten().collect()
}

/// Moves this thread, and what it starts from now on, to the last CPU, so that it is not in the way of a relay on the
/// first. `false` where that is not possible.
pub(crate) fn step_aside() -> anyhow::Result<bool> {
    let Some(last) = CPUS.last() else { return Ok(false) };
    let (cpu, me) = (last.to_string(), std::process::id().to_string());
    let status = Command::new("taskset").args(["-pc", &cpu, &me]).stdout(Stdio::null()).status()?;
    Ok(status.success())
}

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
    /// `cpu` says which one of the CPUs it is to have, from 0; `None` for all of them.
    pub(crate) fn start(role: &str, args: &[&str], input: &[u8], cpu: Option<usize>) -> anyhow::Result<Self> {
        let mut command = command(cpu)?;
        let mut child = command.arg(role).args(args).stdin(Stdio::piped()).stdout(Stdio::piped()).spawn()?;
        child.stdin.take().context("no stdin")?.write_all(input)?;
        let mut line = String::new();
        BufReader::new(child.stdout.take().context("no stdout")?).read_line(&mut line)?;
        let mut words = line.split_whitespace();
        let address =
            words.next().and_then(|word| word.parse().ok()).with_context(|| format!("{role} did not start"))?;
        let certificate = words.map(str::parse).collect::<Result<_, _>>()?;
        Ok(Self { child, address, certificate })
    }

    /// Its process id: `taskset` becomes what it starts.
    pub(crate) fn id(&self) -> u32 {
        self.child.id()
    }

    /// Nanoseconds of CPU that all of its threads have had.
    pub(crate) fn cpu_ns(&self) -> anyhow::Result<u64> {
        cpu_ns(self.child.id())
    }
}

/// The same of this process, in which the clients are.
pub(crate) fn own_cpu_ns() -> anyhow::Result<u64> {
    cpu_ns(std::process::id())
}

fn cpu_ns(process: u32) -> anyhow::Result<u64> {
    let mut sum = 0;
    for task in std::fs::read_dir(format!("/proc/{process}/task"))? {
        // A thread may end between the listing and the look.
        let Ok(text) = std::fs::read_to_string(task?.path().join("schedstat")) else { continue };
        sum += text.split(' ').next().and_then(|ns| ns.parse::<u64>().ok()).unwrap_or_default();
    }
    Ok(sum)
}

impl Drop for Served {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// This program once more, on that CPU. A child begins where its parent is, so it is sent back to all CPUs if it is to
/// have them.
fn command(cpu: Option<usize>) -> anyhow::Result<Command> {
    let program = std::env::current_exe()?;
    if CPUS.is_empty() {
        return Ok(Command::new(program));
    }
    let all = || CPUS.iter().map(ToString::to_string).collect::<Vec<_>>().join(",");
    let list = cpu.and_then(|cpu| CPUS.get(cpu)).map_or_else(all, ToString::to_string);
    let mut command = Command::new("taskset");
    command.arg("-c").arg(list).arg(program);
    Ok(command)
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lists_of_cpus_are_read() {
        assert_eq!(parse("\t0-2,5\n"), [0, 1, 2, 5]);
        assert_eq!(parse("7"), [7]);
        assert_eq!(parse(""), [0_usize; 0]);
    }
}
