//! What an operator may set, in a TOML file or on the command line.

use std::net::SocketAddr;
use std::num::NonZeroUsize;
use std::path::PathBuf;
use std::time::Duration;

use serde::Deserialize;
use undertone_protocol::limits;
use undertone_transparency::note::WitnessKey;

use crate::directory::Settings;
use crate::signal::wall_time;

/// A server's configuration. Every field has a default that works.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Config {
    /// Where everything is kept: database, keys, certificate.
    pub data: PathBuf,
    /// One port, TCP and UDP.
    pub listen: SocketAddr,
    /// The domain users live on. Set at the first start (default `localhost`), fixed after that.
    pub domain: Option<String>,
    /// Who may register. The default depends on `listen`: anybody on loopback, invited people elsewhere.
    pub registration: Option<Registration>,
    /// Names and addresses the certificate is for, besides the domain.
    pub names: Vec<String>,
    /// Whether people may ask for hop rooms, whose media this server's relay can open. Blind rooms are always there.
    pub hop: bool,
    /// Where the relay writes every packet it takes. For demonstrations; the file grows without limit.
    pub tap: Option<PathBuf>,
    /// Where counts are served in Prometheus' format, if anywhere: a loopback address.
    pub metrics: Option<SocketAddr>,
    /// Threads of the relay, each with its share of the rooms: by default one for each core, but no more than
    /// [`RELAY_THREADS`].
    pub relay_threads: Option<NonZeroUsize>,
    /// The keys of the witnesses whose cosignatures the log of the key directory takes, as they print them.
    pub witnesses: Vec<String>,
    /// How the key directory runs.
    pub directory: Directory,
    /// What bounds the server.
    pub limits: Limits,
}

/// Threads that a relay starts by itself at most: one of them carries a few hundred people who all talk.
pub const RELAY_THREADS: usize = 8;

/// Who may register.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Registration {
    /// Anybody who reaches the server.
    Open,
    /// Whoever has an invite token of the operator's.
    Invite,
}

/// How the key directory runs. What each field is for stands in [`crate::directory::Settings`].
#[derive(Clone, Copy, Debug, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Directory {
    /// Milliseconds between epochs at least; the first change after a pause does not wait for them.
    pub epoch_ms: u64,
    /// Bytes of memory that the tree may take; a larger one is read from the disk for every proof. A million users take 150 MB.
    pub memory: u64,
    /// VRF proofs of labels that nobody has, kept in memory: 112 bytes each, and their labels.
    pub vrf_proofs: usize,
    /// Requests that read the directory at the same time, each with a connection of the database.
    pub readers: NonZeroUsize,
    /// Changes that wait for an epoch.
    pub queue: NonZeroUsize,
}

/// What bounds a server; the reasons stand in [`undertone_protocol::limits`].
#[derive(Clone, Copy, Debug, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Limits {
    /// OPAQUE exchanges in flight.
    pub logins: usize,
    /// OPAQUE exchanges in flight for one account; an address may have eight times as many.
    pub logins_per_account: usize,
    /// Signals a device may send in a burst.
    pub signal_burst: u32,
    /// Signals per second after a burst.
    pub signal_rate: u32,
    /// Letters that an account's devices may spread at once; what is beyond comes back.
    pub spread_burst: u32,
    /// Letters per second after that.
    pub spread_rate: u32,
    /// Commits that an account's devices may bring to groups at once.
    pub commit_burst: u32,
    /// Commits per second after that.
    pub commit_rate: u32,
    /// Commits that may be brought to one group at once, whoever brings them.
    pub group_commit_burst: u32,
    /// Commits per second after that.
    pub group_commit_rate: u32,
    /// Histories, group infos and trees of groups that an account's devices may ask for at once.
    pub group_burst: u32,
    /// Such requests per second after that.
    pub group_rate: u32,
    /// Groups that are kept.
    pub groups: u32,
    /// Commits that are kept of one group.
    pub group_history: u32,
    /// Bytes of these commits.
    pub group_history_bytes: u64,
    /// Calls an account may open at once.
    pub call_burst: u32,
    /// Calls per second after that.
    pub call_rate: u32,
    /// New calls to one user at once, whoever makes them.
    pub callee_burst: u32,
    /// New calls to one user per second after that.
    pub callee_rate: u32,
    /// Look-ups of others that an account may make at once.
    pub lookup_burst: u32,
    /// Look-ups per second after that.
    pub lookup_rate: u32,
    /// Requests about rooms that an account may make at once.
    pub room_burst: u32,
    /// Requests about rooms per second after that.
    pub room_rate: u32,
    /// WebSockets that an account's devices may open at once.
    pub socket_burst: u32,
    /// WebSockets per second after that.
    pub socket_rate: u32,
    /// Envelopes that an account may send to one device at once; what is beyond is lost.
    pub envelope_burst: u32,
    /// Envelopes per second after that.
    pub envelope_rate: u32,
    /// Rooms that an account has made and not closed.
    pub rooms_per_account: u32,
    /// Versions of a room's access list; all of them are kept.
    pub access_versions: u32,
    /// Bytes of all versions of the lists of an account's rooms.
    pub access_bytes_per_account: u64,
    /// Open TCP connections.
    pub connections: usize,
    /// Open TCP connections from one address.
    pub connections_per_address: usize,
    /// TCP connections whose handshake is not done; the oldest gives way.
    pub half_open: usize,
    /// Rooms of the relay.
    pub rooms: usize,
    /// Members of a room.
    pub members: usize,
    /// Those who only listen in a room with an audience, beside its members.
    pub listeners: usize,
    /// QUIC connections of the relay.
    pub relay_connections: usize,
    /// QUIC connections of the relay from one address.
    pub relay_connections_per_address: usize,
    /// Places in rooms that one user's devices hold, in each of the relay's threads.
    pub places_per_user: usize,
    /// Packets that wait for one receiver.
    pub receiver_queue: usize,
    /// Packets per second that a member of a room may send; twice as many at once.
    pub member_packets: u32,
    /// Bytes per second that a member of a room may send; twice as many at once.
    pub member_bytes: u32,
    /// Packets per second that a room's members may have delivered together, each counted for everybody it goes to; twice as
    /// many at once, and a member alone half of it.
    pub room_deliveries: u32,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            logins: limits::MAX_LOGINS,
            logins_per_account: limits::MAX_LOGINS_PER_ACCOUNT,
            signal_burst: limits::SIGNAL_BURST,
            signal_rate: limits::SIGNAL_RATE,
            spread_burst: limits::SPREAD_BURST,
            spread_rate: limits::SPREAD_RATE,
            commit_burst: limits::COMMIT_BURST,
            commit_rate: limits::COMMIT_RATE,
            group_commit_burst: limits::GROUP_COMMIT_BURST,
            group_commit_rate: limits::GROUP_COMMIT_RATE,
            group_burst: limits::GROUP_BURST,
            group_rate: limits::GROUP_RATE,
            groups: limits::MAX_GROUPS,
            group_history: limits::GROUP_HISTORY,
            group_history_bytes: limits::GROUP_HISTORY_BYTES,
            call_burst: limits::CALL_BURST,
            call_rate: limits::CALL_RATE,
            callee_burst: limits::CALLEE_BURST,
            callee_rate: limits::CALLEE_RATE,
            lookup_burst: limits::LOOKUP_BURST,
            lookup_rate: limits::LOOKUP_RATE,
            room_burst: limits::ROOM_BURST,
            room_rate: limits::ROOM_RATE,
            socket_burst: limits::SOCKET_BURST,
            socket_rate: limits::SOCKET_RATE,
            envelope_burst: limits::ENVELOPE_BURST,
            envelope_rate: limits::ENVELOPE_RATE,
            rooms_per_account: limits::MAX_ROOMS_PER_CREATOR,
            access_versions: limits::MAX_ACCESS_VERSIONS,
            access_bytes_per_account: limits::MAX_ACCESS_PER_CREATOR,
            connections: 10_000,
            connections_per_address: 256,
            half_open: limits::HALF_OPEN,
            rooms: limits::MAX_ROOMS,
            members: limits::MAX_MEMBERS,
            listeners: limits::MAX_LISTENERS,
            relay_connections: limits::RELAY_CONNECTIONS,
            relay_connections_per_address: limits::RELAY_CONNECTIONS_PER_ADDRESS,
            places_per_user: limits::MAX_PLACES_PER_USER,
            receiver_queue: limits::RECEIVER_QUEUE,
            member_packets: limits::MEMBER_PACKETS,
            member_bytes: limits::MEMBER_BYTES,
            room_deliveries: limits::ROOM_DELIVERIES,
        }
    }
}

impl Default for Directory {
    fn default() -> Self {
        let Settings { epoch_interval, snapshot_bytes, vrf_proofs, readers, queue, .. } = Settings::new(wall_time);
        let epoch_ms = u64::try_from(epoch_interval.as_millis()).unwrap_or(u64::MAX);
        Self { epoch_ms, memory: snapshot_bytes, vrf_proofs, readers, queue }
    }
}

impl Directory {
    /// The settings of a directory with these witnesses.
    #[must_use]
    pub fn settings(&self, witnesses: Vec<WitnessKey>) -> Settings {
        let Self { epoch_ms, memory, vrf_proofs, readers, queue } = *self;
        let epoch_interval = Duration::from_millis(epoch_ms);
        let own = Settings::new(wall_time);
        Settings { epoch_interval, snapshot_bytes: memory, vrf_proofs, readers, queue, witnesses, ..own }
    }
}

impl Default for Config {
    fn default() -> Self {
        Self {
            data: PathBuf::from("undertone-data"),
            listen: SocketAddr::from(([127, 0, 0, 1], 4433)),
            domain: None,
            registration: None,
            names: Vec::new(),
            hop: true,
            tap: None,
            metrics: None,
            relay_threads: None,
            witnesses: Vec::new(),
            directory: Directory::default(),
            limits: Limits::default(),
        }
    }
}

impl Config {
    /// How many threads the relay has, with the default worked out.
    #[must_use]
    pub fn relay_threads(&self) -> usize {
        let cores = || std::thread::available_parallelism().map_or(1, NonZeroUsize::get).min(RELAY_THREADS);
        self.relay_threads.map_or_else(cores, NonZeroUsize::get)
    }

    /// Who may register, with the default worked out.
    #[must_use]
    pub const fn registration(&self) -> Registration {
        match self.registration {
            Some(registration) => registration,
            None if self.listen.ip().is_loopback() => Registration::Open,
            None => Registration::Invite,
        }
    }
}
