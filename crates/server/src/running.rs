//! A running server: everything started, and everything stopped again.

use std::fs::{File, OpenOptions};
use std::net::SocketAddr;
use std::os::unix::fs::OpenOptionsExt;
use std::pin::Pin;
use std::sync::Arc;
use std::time::{Duration, Instant};

use getrandom::SysRng;
use rand_core::UnwrapErr;
use tokio::net::TcpListener;
use tokio::task::JoinHandle;
use tokio_rustls::TlsAcceptor;
use tokio_util::sync::CancellationToken;
use tracing::{info, warn};
use undertone_keys::WallTime;
use undertone_keys::sign::{Server as Identity, VerifyingKey};
use undertone_protocol::statement::Statement;
use undertone_relay::shell::{Config as RelayConfig, Failed, Relay, bind};
use undertone_transparency::note::WitnessKey;

use crate::accounts::Desk;
use crate::config::Config;
use crate::data::{DataError, DataFolder};
use crate::delivery::{GroupDesk, PackageDesk, SETTLE_EVERY};
use crate::directory::{self, Directory};
use crate::http::{Shared, router};
use crate::listener::{self, Places};
use crate::metrics::{self, Sources};
use crate::rooms::RoomDesk;
use crate::signal::wall_time;
use crate::store::{Sqlite, StoreError};
use crate::switchboard::{EXPIRE_EVERY, Switchboard};

/// A running server.
#[derive(Debug)]
pub struct Server {
    address: SocketAddr,
    identity: VerifyingKey<Identity>,
    domain: String,
    store: Sqlite,
    directory: Directory,
    relay: Relay,
    places: Arc<Places>,
    stop: CancellationToken,
    /// The relay has ended by itself.
    broken: CancellationToken,
    tasks: Vec<JoinHandle<()>>,
    metrics_address: Option<SocketAddr>,
    _data: DataFolder,
}

/// Why a server did not start.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum StartError {
    /// The data folder.
    #[error(transparent)]
    Data(#[from] DataError),
    /// The database.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// The port.
    #[error("cannot listen on {address}: {source}")]
    Listen {
        /// Which address.
        address: SocketAddr,
        /// What the system said.
        source: std::io::Error,
    },
    /// The tap file.
    #[error("cannot write the tap file {path}: {source}")]
    Tap {
        /// Which file.
        path: String,
        /// What the system said.
        source: std::io::Error,
    },
    /// The TLS key or certificate.
    #[error("TLS cannot be set up: {0}")]
    Tls(String),
    /// Metrics for everybody to see.
    #[error("metrics are for this machine alone: {0} is no loopback address")]
    Metrics(SocketAddr),
    /// One of the witnesses' keys is none.
    #[error("one of the `witnesses` is no witness's key: {0}")]
    Witness(undertone_transparency::note::BadVerifierKey),
    /// The key directory.
    #[error("the key directory does not open: {0}")]
    Directory(#[from] directory::OpenError),
    /// The key directory's database.
    #[error("the key directory's database does not open: {0}")]
    DirectoryStorage(#[from] directory::StorageError),
    /// The relay.
    #[error(transparent)]
    Relay(#[from] undertone_relay::shell::StartError),
}

impl Server {
    /// Opens the data folder, binds the port and begins to serve.
    ///
    /// Boxed: a server is compiled here once, and not in everything that starts one.
    ///
    /// # Errors
    /// [`StartError`].
    pub fn start(config: &Config) -> Pin<Box<dyn Future<Output = Result<Self, StartError>> + Send + '_>> {
        Box::pin(Self::bring_up(config))
    }

    async fn bring_up(config: &Config) -> Result<Self, StartError> {
        let rng = &mut UnwrapErr(SysRng);
        let data = DataFolder::open(&config.data)?;
        let domain = data.domain(config.domain.as_deref())?;
        let identity = data.identity(rng)?;
        let setup = data.opaque(rng)?;
        let vrf = data.vrf(rng)?;
        let certificate = data.certificate(&names(config, &domain))?;
        let store = Sqlite::open(&data.database()?).await?;

        let tls = |error: rustls::Error| StartError::Tls(error.to_string());
        let listen = |source| StartError::Listen { address: config.listen, source };
        let tcp = TcpListener::bind(config.listen).await.map_err(listen)?;
        let address = tcp.local_addr().map_err(listen)?;
        let metrics = match config.metrics {
            None => None,
            Some(address) if !metrics::is_private(&address) => return Err(StartError::Metrics(address)),
            Some(address) => {
                let listen = |source| StartError::Listen { address, source };
                Some(TcpListener::bind(address).await.map_err(listen)?)
            }
        };
        let metrics_address = metrics.as_ref().and_then(|listener| listener.local_addr().ok());
        let udp = bind(address, config.relay_threads()).map_err(listen)?;
        let media = certificate.media().map_err(tls)?;
        let acceptor = TlsAcceptor::from(Arc::new(certificate.http().map_err(tls)?));

        let key_hash = certificate.key_hash().ok_or_else(|| StartError::Tls("unreadable certificate".into()))?;
        let public = *identity.public();
        let directory = {
            let storage = directory::Sqlite::open(&data.directory()?)?;
            let keys = directory::Keys { log: data.identity(rng)?, vrf };
            let witnesses = config.witnesses.iter().map(|key| key.parse::<WitnessKey>());
            let witnesses = witnesses.collect::<Result<_, _>>().map_err(StartError::Witness)?;
            let settings = config.directory.settings(witnesses);
            Directory::open(storage, &domain, keys, settings).await?
        };
        let statement = Statement {
            identity: public,
            domain: domain.clone(),
            tls_key: key_hash,
            created: wall_time(),
            vrf: directory.vrf_key(),
        };
        let (stop, places) = (CancellationToken::new(), Arc::new(Places::new(&config.limits)));
        let relay_limits = undertone_relay::Limits {
            rooms: config.limits.rooms,
            members: config.limits.members,
            listeners: config.limits.listeners,
            connections: config.limits.relay_connections,
            connections_per_address: config.limits.relay_connections_per_address,
            places_per_user: config.limits.places_per_user,
            receiver_queue: config.limits.receiver_queue,
            member_packets: config.limits.member_packets,
            member_bytes: config.limits.member_bytes,
            room_deliveries: config.limits.room_deliveries,
            ..undertone_relay::Limits::default()
        };
        let tap = config.tap.as_deref().map(open_tap).transpose()?;
        let broken = CancellationToken::new();
        let failed = {
            let broken = broken.clone();
            Failed(Box::new(move || broken.cancel()))
        };
        let relay = Relay::start(udp, media, RelayConfig { server: public, limits: relay_limits, tap, failed })?;
        let statement = statement.sign(&identity);
        let board = Arc::new(Switchboard::new(identity, &config.limits, config.hop));
        let rooms = RoomDesk::new(store.clone(), &config.limits, config.hop).with_relay(relay.counts());
        let rooms = Arc::new(rooms);
        let shared = Arc::new(Shared {
            desk: Desk::new(
                store.clone(),
                directory.clone(),
                setup,
                domain.clone(),
                config.registration(),
                &config.limits,
            )
            .with_board(board.clone())
            .with_relay(relay.counts()),
            groups: Arc::new(GroupDesk::new(store.clone(), rooms.clone(), board.clone(), &config.limits)),
            packages: PackageDesk::new(store.clone(), rooms.clone(), board.clone()),
            rooms,
            board,
            statement,
            stop: stop.clone(),
        });
        // Before anybody comes: whoever was revoked lately is to get no place in a room by an older grant.
        match shared.desk.revoke_again(wall_time()).await {
            Ok(0) => {}
            Ok(count) => info!(count, "the relay was told again which devices were revoked"),
            Err(error) => warn!(%error, "the relay does not know which devices were revoked before this start"),
        }
        // Before anybody asks: what was stored and not published.
        match shared.desk.catch_up().await {
            Ok(0) => {}
            Ok(count) => info!(count, "device lists were published that had not been"),
            Err(error) => warn!(%error, "device lists that are not published yet are tried again"),
        }
        let mut tasks = vec![
            tokio::spawn(forget(shared.clone(), stop.clone())),
            tokio::spawn(settle(shared.clone(), stop.clone())),
            tokio::spawn(begin_anew(shared.clone(), stop.clone())),
        ];
        if let Some(listener) = metrics {
            let sources = Sources { shared: shared.clone(), relay: relay.counts(), places: places.clone() };
            tasks.push(tokio::spawn(metrics::run(listener, sources, stop.clone())));
        }
        tasks.push(tokio::spawn(listener::run(tcp, acceptor, router(shared), places.clone(), stop.clone())));
        Ok(Self {
            address,
            identity: public,
            domain,
            store,
            directory,
            relay,
            places,
            stop,
            broken,
            tasks,
            metrics_address,
            _data: data,
        })
    }

    /// Where it listens: the port that was chosen when 0 was asked for.
    #[must_use]
    pub const fn address(&self) -> SocketAddr {
        self.address
    }

    /// Where counts are served, if they are.
    #[must_use]
    pub const fn metrics(&self) -> Option<SocketAddr> {
        self.metrics_address
    }

    /// The key that clients pin.
    #[must_use]
    pub const fn identity(&self) -> &VerifyingKey<Identity> {
        &self.identity
    }

    /// The domain its users live on.
    #[must_use]
    pub fn domain(&self) -> &str {
        &self.domain
    }

    /// What the relay counted.
    #[must_use]
    pub fn relay_stats(&self) -> undertone_relay::Stats {
        self.relay.stats()
    }

    /// TCP connections that are served, and those in their handshake.
    #[must_use]
    pub fn tcp_connections(&self) -> (usize, usize) {
        self.places.count()
    }

    /// Waits until the server cannot go on: its relay has ended by itself. There is nothing to do then but to stop and
    /// start anew.
    pub async fn broken(&self) {
        self.broken.cancelled().await;
    }

    /// Tells everybody, ends all connections and closes the database.
    pub async fn stop(self) {
        self.stop.cancel();
        self.relay.stop().await;
        for mut task in self.tasks {
            // Whoever asks for half a page of metrics and waits does not keep a server from its end.
            if tokio::time::timeout(STOP_TIMEOUT, &mut task).await.is_err() {
                task.abort();
            }
        }
        self.directory.stop().await;
        self.store.close().await;
    }
}

/// The wall clock has jumped when it went so many seconds further, or less far, than time did.
const JUMP: u64 = 5;

/// How long a server runs before it lets accounts begin anew: as long as its directory doubts a clock that was set.
const SETTLED: Duration = Duration::from_secs(10 * 60);
/// How often it is looked which accounts begin anew.
const BEGIN_EVERY: Duration = Duration::from_secs(5);

/// Key packages that are good no more are forgotten each time in so many; they are not handed out meanwhile.
const PACKAGES_EVERY: u32 = 60;

/// Notices when somebody sets the clock.
struct Clock {
    wall: WallTime,
    at: Instant,
}

impl Clock {
    /// Looks again; whether it has jumped since.
    fn jumped(&mut self, wall: WallTime, at: Instant) -> bool {
        let expected = self.wall.plus(at.saturating_duration_since(self.at).as_secs());
        (self.wall, self.at) = (wall, at);
        expected.distance(wall) > JUMP
    }
}

/// What is over is forgotten by the clock, not when the next one comes: who called whom is nobody's business after.
async fn forget(shared: Arc<Shared<Sqlite>>, stop: CancellationToken) {
    let mut ticks = tokio::time::interval(EXPIRE_EVERY);
    let mut clock = Clock { wall: wall_time(), at: Instant::now() };
    let mut packages = 0_u32;
    loop {
        tokio::select! {
            () = stop.cancelled() => return,
            _ = ticks.tick() => {
                shared.board.expire();
                shared.desk.expire();
                shared.rooms.knocks.expire(Instant::now());
                if let Some(Err(error)) = stop.run_until_cancelled(shared.groups.expire(Instant::now(), wall_time())).await {
                    warn!(%error, "groups that nobody had to do with any more are not forgotten yet");
                }
                packages = packages.wrapping_add(1);
                if packages.is_multiple_of(PACKAGES_EVERY)
                    && let Some(Err(error)) =
                        stop.run_until_cancelled(shared.packages.expire(Instant::now(), wall_time())).await
                {
                    warn!(%error, "key packages that are good no more are not forgotten yet");
                }
                // What was stored while the directory could not take it: whoever is revoked is to be seen as that.
                if let Some(Err(error)) = stop.run_until_cancelled(shared.desk.publish_waiting()).await {
                    warn!(%error, "device lists are not published yet");
                }
                if clock.jumped(wall_time(), Instant::now()) {
                    warn!("the clock was set: everybody who is connected is told the time");
                    shared.board.tell_time(wall_time());
                }
            }
        }
    }
}

/// Commits that some members cannot take are looked at again until it is clear what becomes of them (rule RLY-6).
async fn settle(shared: Arc<Shared<Sqlite>>, stop: CancellationToken) {
    let mut ticks = tokio::time::interval(SETTLE_EVERY);
    loop {
        tokio::select! {
            () = stop.cancelled() => return,
            // To its end: a commit that is given back is told.
            _ = ticks.tick() => shared.groups.settle().await,
        }
    }
}

/// Lets accounts begin anew whose time has come, those first that a server which was down has missed (rule ID-7).
async fn begin_anew(shared: Arc<Shared<Sqlite>>, stop: CancellationToken) {
    // A clock that is wrong at a start is mostly right soon after, and what has begun does not end again.
    let mut ticks = tokio::time::interval_at(tokio::time::Instant::now() + SETTLED, BEGIN_EVERY);
    loop {
        tokio::select! {
            () = stop.cancelled() => return,
            _ = ticks.tick() => {
                let shown = shared.desk.directory().shown().time();
                if let Err(error) = shared.desk.begin_anew(shown, wall_time()).await {
                    warn!(%error, "an account that should begin anew does not yet");
                }
            }
        }
    }
}

fn names(config: &Config, domain: &str) -> Vec<String> {
    let mut names = vec![domain.to_owned(), "localhost".into(), "127.0.0.1".into(), "::1".into()];
    names.extend(config.names.iter().cloned());
    if !config.listen.ip().is_unspecified() {
        names.push(config.listen.ip().to_string());
    }
    names.sort_unstable();
    names.dedup();
    names
}

fn open_tap(path: &std::path::Path) -> Result<File, StartError> {
    let file = OpenOptions::new().create(true).truncate(true).write(true).mode(0o600).open(path);
    file.map_err(|source| StartError::Tap { path: path.display().to_string(), source })
}

/// How long a stop may take before the process ends anyway.
pub const STOP_TIMEOUT: Duration = Duration::from_secs(5);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_clock_that_is_set_is_noticed_and_one_that_runs_is_not() {
        let (start, wall) = (Instant::now(), WallTime::from_unix(1_000_000));
        let mut clock = Clock { wall, at: start };
        let later = |seconds| start + Duration::from_secs(seconds);
        assert!(!clock.jumped(wall.plus(10), later(10)));
        assert!(!clock.jumped(wall.plus(18), later(20)), "it is slewed");
        assert!(clock.jumped(wall.plus(28 + 86_400), later(30)));
        assert!(!clock.jumped(wall.plus(38 + 86_400), later(40)), "once is enough");
        assert!(clock.jumped(wall.plus(48), later(50)), "and back");
    }
}
