//! What `undertone-server doctor` looks at: everything a start needs, and what tends to be wrong at 3 a.m. It reads,
//! and writes one file that it takes away again; a running server is not disturbed. (SQLite may leave its `-wal` and
//! `-shm` beside a database that was read, as it does for a server; the next start uses them.)

use std::fs::{self, File, OpenOptions};
use std::io::{self, Write};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, TcpListener, TcpStream, UdpSocket};
use std::os::unix::fs::{OpenOptionsExt, PermissionsExt};
use std::path::Path;
use std::time::Duration;

use undertone_relay::shell::SOCKET_BUFFER;

use crate::config::{Config, Registration};
use crate::data::{parse_identity, parse_opaque};
use crate::store::Sqlite;
use crate::tls::Certificate;
use crate::{directory, files};

/// What was looked at, and how it is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Finding {
    /// What, in a word or two.
    pub what: &'static str,
    /// Whether an operator can leave it as it is.
    pub good: bool,
    /// What was seen and, if it is amiss, what to do.
    pub seen: String,
}

impl Finding {
    pub(crate) fn new(what: &'static str, result: Result<String, String>) -> Self {
        let good = result.is_ok();
        let (Ok(seen) | Err(seen)) = result;
        Self { what, good, seen }
    }
}

/// What the room on the disk is tried with, in bytes.
const ROOM: usize = 1024 * 1024;
/// How long a server on this machine may take to answer a connection.
const PATIENCE: Duration = Duration::from_secs(2);
/// Descriptors beside those of connections: database, logs, sockets.
const OTHER_FILES: u64 = 64;
const KEYS: [&str; 6] = ["identity.key", "vrf.key", "opaque.key", "tls.key", "tls.crt", "domain"];

/// Looks at all of it.
pub async fn examine(config: &Config) -> Vec<Finding> {
    let data = &config.data;
    let mut findings = Vec::new();
    let mut runs = false;
    if data.exists() {
        runs = holds(&data.join("lock"));
        findings.push(Finding::new("data folder", folder(data)));
        findings.push(Finding::new("room", room(data)));
        findings.push(Finding::new("keys", keys(data, config.domain.as_deref())));
        findings.push(Finding::new("database", database(data).await));
        findings.push(Finding::new("key directory", directory(data)));
    } else {
        let seen = format!("there is none at {} yet: the first start makes it", data.display());
        findings.push(Finding::new("data folder", Ok(seen)));
    }
    findings.push(Finding::new("port", if runs { answers(config.listen) } else { free(config.listen) }));
    findings.push(Finding::new("open files", open_files(config)));
    findings.push(Finding::new("UDP buffers", udp_buffers(config)));
    findings.push(Finding::new("who may come", Ok(who_may_come(config))));
    if let Some(tap) = &config.tap {
        let seen =
            format!("every packet is written to {}, which grows without limit: for demonstrations", tap.display());
        findings.push(Finding::new("tap", if config.listen.ip().is_loopback() { Ok(seen) } else { Err(seen) }));
    }
    findings
}

/// Whether a server or node has this file or folder locked. A shared lock for an instant: another doctor may look at the same time.
pub(crate) fn holds(path: &Path) -> bool {
    let lock = File::open(path);
    lock.is_ok_and(|lock| matches!(lock.try_lock_shared(), Err(fs::TryLockError::WouldBlock)))
}

pub(crate) fn folder(data: &Path) -> Result<String, String> {
    let at = data.display();
    let about = fs::metadata(data).map_err(|error| format!("{at}: {error}"))?;
    if !about.is_dir() {
        return Err(format!("{at} is no folder: choose another with --data"));
    }
    let mode = about.permissions().mode() & 0o777;
    if mode & 0o077 != 0 {
        return Err(format!("others on this machine get into {at} (mode {mode:03o}): chmod 700 {at}"));
    }
    Ok(format!("{at}, for its owner alone"))
}

/// A full disk and a folder of somebody else's show when something is written.
pub(crate) fn room(data: &Path) -> Result<String, String> {
    let path = data.join("doctor.partial");
    let write = || {
        let mut file = OpenOptions::new().create(true).truncate(true).write(true).mode(0o600).open(&path)?;
        file.write_all(&vec![0; ROOM])?;
        file.sync_all()
    };
    let written = write();
    let _ = fs::remove_file(&path);
    match written {
        Ok(()) => Ok("a megabyte could be written and taken away again".into()),
        Err(error) => Err(format!(
            "nothing can be written to {} ({error}): make room, or run this as the user the server runs as",
            data.display()
        )),
    }
}

fn keys(data: &Path, asked: Option<&str>) -> Result<String, String> {
    let read = |name: &str| match fs::read(data.join(name)) {
        Ok(bytes) => Ok(Some(bytes)),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(format!("{}: {error}", data.join(name).display())),
    };
    let [identity, vrf, opaque, key, chain, domain] = KEYS.map(read);
    let (identity, vrf, opaque, key, chain, domain) = (identity?, vrf?, opaque?, key?, chain?, domain?);
    let there = [&identity, &vrf, &opaque, &key, &chain, &domain].map(|file| file.is_some());
    if there == [false; 6] && !data.join("undertone.db").exists() {
        return Ok("none yet: the first start makes them".into());
    }
    if let Some((name, _)) = KEYS.iter().zip(there).find(|(_, there)| !there) {
        return Err(format!(
            "{name} is missing: restore it before the next start, which would make another in its place"
        ));
    }
    let damaged = |name: &str| format!("{name} is damaged: restore it from a backup");
    let (identity, opaque) = (identity.unwrap_or_default(), opaque.unwrap_or_default());
    if parse_identity(&identity).is_none() {
        return Err(damaged("identity.key"));
    }
    if vrf.is_none_or(|vrf| vrf.len() != 32) {
        return Err(damaged("vrf.key"));
    }
    if parse_opaque(&opaque).is_none() {
        return Err(damaged("opaque.key"));
    }
    if Certificate::from_der(chain.unwrap_or_default(), key.unwrap_or_default()).is_none() {
        return Err("tls.crt and tls.key are no pair, or one is damaged: both must be DER, and of one key".into());
    }
    let domain = String::from_utf8(domain.unwrap_or_default()).map_err(|_| damaged("domain"))?;
    match asked {
        Some(asked) if asked != domain => {
            Err(format!("the folder belongs to {domain}, not {asked}: start with --domain {domain}"))
        }
        Some(_) | None => Ok(format!("all there, for the domain {domain}")),
    }
}

async fn database(data: &Path) -> Result<String, String> {
    let path = data.join("undertone.db");
    if !path.exists() {
        return Ok("none yet: the first start makes it".into());
    }
    match Sqlite::examine(&path).await {
        Ok(accounts) => Ok(format!("sound, {accounts} {}", if accounts == 1 { "account" } else { "accounts" })),
        Err(error) => Err(format!("{}: {error}: restore it from a backup", path.display())),
    }
}

fn directory(data: &Path) -> Result<String, String> {
    let path = data.join("directory.db");
    if !path.exists() {
        return Ok("none yet: the first start makes it".into());
    }
    match directory::Sqlite::examine(&path) {
        Ok(epoch) => Ok(format!("sound, at epoch {epoch}")),
        Err(error) => Err(format!("{}: {error}: restore it from the newest backup", path.display())),
    }
}

/// Where a server that listens at this address is found from this machine.
fn reached_at(listen: SocketAddr) -> SocketAddr {
    let ip = match listen.ip() {
        IpAddr::V4(ip) if ip.is_unspecified() => Ipv4Addr::LOCALHOST.into(),
        IpAddr::V6(ip) if ip.is_unspecified() => Ipv6Addr::LOCALHOST.into(),
        ip => ip,
    };
    SocketAddr::new(ip, listen.port())
}

/// The server holds its folder: does it hold its port?
pub(crate) fn answers(listen: SocketAddr) -> Result<String, String> {
    let at = reached_at(listen);
    if at.port() == 0 {
        return Ok("a server runs on this folder, on a port of its choice".into());
    }
    let elsewhere =
        |error| format!("a server runs on this folder, but not at {at} ({error}): say where with --listen or --config");
    TcpStream::connect_timeout(&at, PATIENCE).map_err(elsewhere)?;
    match UdpSocket::bind(listen) {
        Err(error) if error.kind() == io::ErrorKind::AddrInUse => {
            Ok(format!("a server runs on this folder and listens at {listen}, over TCP and UDP"))
        }
        Ok(_) | Err(_) => {
            Err(format!("nobody listens at {listen} over UDP: restart the server, its calls cannot work"))
        }
    }
}

pub(crate) fn free(listen: SocketAddr) -> Result<String, String> {
    let at = |error: io::Error| match error.kind() {
        io::ErrorKind::AddrInUse => format!("{listen} is taken: stop what uses it, or choose another with --listen"),
        io::ErrorKind::PermissionDenied => format!("this user may not listen at {listen}: choose a port above 1023"),
        _ => format!("{listen}: {error}: is it one of this machine's addresses?"),
    };
    TcpListener::bind(listen).map_err(at)?;
    UdpSocket::bind(listen).map_err(at)?;
    Ok(format!("no server runs on this folder, and {listen} is free for one"))
}

/// Beside others a server on loopback is for trying out, and may be small.
fn unless_loopback(config: &Config, amiss: String) -> Result<String, String> {
    if config.listen.ip().is_loopback() { Ok(amiss) } else { Err(amiss) }
}

fn open_files(config: &Config) -> Result<String, String> {
    let wanted = config.limits.connections.saturating_add(config.limits.half_open) as u64;
    let needed = wanted.saturating_add(OTHER_FILES);
    match files::allowed() {
        None => Ok("unlimited".into()),
        Some(files) if files >= needed => Ok(format!("{files}, enough for limits.connections")),
        Some(files) => unless_loopback(
            config,
            format!(
                "a server started from here may open {files} at most, and limits.connections asks for {needed}: \
                 ulimit -Hn {needed}, or LimitNOFILE={needed} in its unit"
            ),
        ),
    }
}

fn udp_buffers(config: &Config) -> Result<String, String> {
    for name in ["rmem_max", "wmem_max"] {
        let path = format!("/proc/sys/net/core/{name}");
        let allowed = fs::read_to_string(path).ok().and_then(|text| text.trim().parse::<usize>().ok());
        if let Some(allowed) = allowed.filter(|allowed| *allowed < SOCKET_BUFFER) {
            let amiss = format!(
                "the system allows {allowed} bytes, the relay asks for {SOCKET_BUFFER}; bursts of many rooms may be \
                 lost: sysctl -w net.core.{name}={SOCKET_BUFFER}"
            );
            return unless_loopback(config, amiss);
        }
    }
    Ok(format!("the relay gets the {SOCKET_BUFFER} bytes it asks for"))
}

fn who_may_come(config: &Config) -> String {
    let register = match config.registration() {
        Registration::Open => "anybody who reaches it may register",
        Registration::Invite => "people register with a token of `undertone-server admin invite`",
    };
    let hop = if config.hop { "hop calls may be asked for" } else { "no hop calls" };
    format!("{register}; {hop}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_server_that_listens_everywhere_is_found_on_loopback() {
        assert_eq!(reached_at(SocketAddr::from(([0, 0, 0, 0], 7))), SocketAddr::from(([127, 0, 0, 1], 7)));
        let here = SocketAddr::from(([192, 0, 2, 1], 7));
        assert_eq!(reached_at(here), here);
    }
}
