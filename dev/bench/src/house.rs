//! A whole server as a process of its own, and people who have accounts on it: what is measured as a client meets it.

use std::io::Read;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use anyhow::{Context, anyhow, bail};
use undertone_client::Event;
use undertone_client::native::{Client, Entrance, KeyChoice, Login, Online, Registration, Unlock};
use undertone_client::secret::SecretBytes;
use undertone_server::{Config, Server};
use undertone_testkit::Folder;

use crate::process::{Served, listening};

/// How long an event may take before nothing is measured at all.
const PATIENCE: Duration = Duration::from_secs(20);

/// The role `server`: everything that an operator runs, on a free port of loopback. Its data folder comes by stdin.
pub(crate) fn serve() -> anyhow::Result<()> {
    let mut data = String::new();
    std::io::stdin().read_to_string(&mut data)?;
    let listen = SocketAddr::from(([127, 0, 0, 1], 0));
    let config = Config { data: data.into(), listen, ..Config::default() };
    tokio::runtime::Runtime::new()?.block_on(async {
        let server = Server::start(&config).await?;
        listening(server.address(), &[])?;
        server.broken().await;
        bail!("the relay ended by itself")
    })
}

/// A running server, its data and the homes of its people; all of it is gone when dropped.
#[derive(Debug)]
pub(crate) struct House {
    pub(crate) server: Served,
    folder: Folder,
}

impl House {
    pub(crate) fn open(name: &str) -> anyhow::Result<Self> {
        Self::start(Folder::new(name)?)
    }

    /// The same over a data folder that `fill` has put something into.
    pub(crate) async fn furnished(
        name: &str,
        fill: impl AsyncFnOnce(&Path) -> anyhow::Result<()>,
    ) -> anyhow::Result<Self> {
        let folder = Folder::new(name)?;
        fill(&folder.join("data")).await?;
        Self::start(folder)
    }

    fn start(folder: Folder) -> anyhow::Result<Self> {
        let server = Served::start("server", &[], folder.join("data").display().to_string().as_bytes(), None)?;
        Ok(Self { server, folder })
    }

    /// A new account.
    pub(crate) async fn register(&self, name: &str) -> anyhow::Result<Client> {
        let client = Client::open(&self.folder.join(name))?;
        let (server, passphrase) = (self.server.address.to_string(), passphrase());
        let registration = Registration {
            server: &server,
            name,
            passphrase: &passphrase,
            label: "bench",
            invite: None,
            anew: None,
            key: KeyChoice::P256,
        };
        client.register(registration).await?;
        Ok(client)
    }

    /// Somebody who has registered, left and logged in again by the passphrase.
    async fn log_in(&self, name: &str) -> anyhow::Result<Client> {
        let client = self.register(name).await?;
        client.logout().await?;
        let (server, passphrase) = (self.server.address.to_string(), passphrase());
        let (unlock, key) = (Unlock::Passphrase(&passphrase), KeyChoice::P256);
        // The device that has left is still in the list, and lets nobody in.
        let entrance = Entrance::Alone(&|_| true);
        let login = Login { server: &server, name, unlock, label: "bench", key, entrance, keep: false };
        client.login(login).await?;
        Ok(client)
    }

    /// The home of somebody with this name.
    pub(crate) fn home(&self, name: &str) -> PathBuf {
        self.folder.join(name)
    }

    /// All of these, logged in. On two threads: most of the time goes into the stretching of passphrases on this side.
    pub(crate) fn people(&self, names: &[String]) -> anyhow::Result<Vec<Client>> {
        self.each(names, 2, async |name| self.log_in(name).await)
    }

    /// All of these, who have registered and done nothing else. On eight threads: each waits for an epoch of the key directory,
    /// of which there is one a second.
    pub(crate) fn newcomers(&self, names: &[String]) -> anyhow::Result<Vec<Client>> {
        self.each(names, 8, async |name| self.register(name).await)
    }

    /// So many at the same time, in their order.
    fn each(
        &self,
        names: &[String],
        threads: usize,
        make: impl AsyncFn(&str) -> anyhow::Result<Client> + Sync,
    ) -> anyhow::Result<Vec<Client>> {
        let some = |names: &[String]| -> anyhow::Result<Vec<Client>> {
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
            runtime.block_on(async {
                let mut people = Vec::with_capacity(names.len());
                for name in names {
                    people.push(make(name).await?);
                }
                Ok(people)
            })
        };
        std::thread::scope(|scope| {
            let parts = names.chunks(names.len().div_ceil(threads.max(1)).max(1));
            let working: Vec<_> = parts
                .map(|part| {
                    let some = &some;
                    scope.spawn(move || some(part))
                })
                .collect();
            let mut people = Vec::new();
            for thread in working {
                people.extend(thread.join().map_err(|_| anyhow!("a thread that registers has ended"))??);
            }
            Ok(people)
        })
    }
}

fn passphrase() -> SecretBytes {
    SecretBytes::new(b"a long passphrase".to_vec())
}

/// Waits for an event; the moment at which it came. Being refused is the end of it.
pub(crate) async fn until(online: &mut Online, what: &str, wanted: impl Fn(&Event) -> bool) -> anyhow::Result<Instant> {
    let search = async {
        while let Some(event) = online.next_event().await {
            if wanted(&event) {
                return Ok(Instant::now());
            }
            if let Event::Refused { reason, .. } = &event {
                bail!("{what}: {reason}");
            }
        }
        bail!("{what}: the client has ended")
    };
    tokio::time::timeout(PATIENCE, search).await.with_context(|| format!("{what}: nothing came"))?
}

/// The first frame of somebody else's opened.
pub(crate) const fn hears(event: &Event) -> bool {
    matches!(event, Event::Hearing { .. })
}

/// Sound can flow.
pub(crate) const fn is_connected(event: &Event) -> bool {
    matches!(event, Event::Connected { .. })
}

/// The call is over, or this device has left the room.
pub(crate) const fn is_over(event: &Event) -> bool {
    matches!(event, Event::Over { .. })
}
