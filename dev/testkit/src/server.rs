//! Real servers on a free port of loopback: in this process, or in one of their own that can be killed.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::process::Command;
use std::time::Duration;

use anyhow::Context;

use undertone_client::native::{Client, ClientError, KeyChoice, Online, Registration};
use undertone_keys::secret::SecretBytes;
use undertone_server::{Config, Server, StartError};

use crate::process::{program, with_file_limit, with_small_disk};
use crate::{Folder, Process};

/// A running server with its data in a temporary folder, and homes beside it.
#[derive(Debug)]
pub struct TestServer {
    folder: Folder,
    config: Config,
    server: Option<Server>,
}

impl TestServer {
    /// Starts one that writes a tap.
    ///
    /// # Errors
    /// The server's own.
    pub async fn start(name: &str) -> anyhow::Result<Self> {
        let folder = Folder::new(name)?;
        let config = Config {
            data: folder.join("data"),
            listen: SocketAddr::from(([127, 0, 0, 1], 0)),
            tap: Some(folder.join("tap")),
            metrics: Some(SocketAddr::from(([127, 0, 0, 1], 0))),
            ..Config::default()
        };
        let mut test = Self { folder, config, server: None };
        test.bring_up().await?;
        Ok(test)
    }

    /// Starts it again, on the port it had.
    ///
    /// # Errors
    /// The server's own.
    pub async fn bring_up(&mut self) -> Result<(), StartError> {
        let server = Server::start(&self.config).await?;
        self.config.listen = server.address();
        self.server = Some(server);
        Ok(())
    }

    /// Takes the cosignatures of the witness with this key, from the next time on that it is brought up.
    pub fn allow_witness(&mut self, key: String) {
        self.config.witnesses.push(key);
    }

    /// Stops it in order.
    pub async fn take_down(&mut self) {
        if let Some(server) = self.server.take() {
            server.stop().await;
        }
    }

    /// Host and port.
    #[must_use]
    pub fn address(&self) -> String {
        self.config.listen.to_string()
    }

    /// The running server.
    #[must_use]
    pub const fn server(&self) -> Option<&Server> {
        self.server.as_ref()
    }

    /// A place beside the server's data.
    #[must_use]
    pub fn join(&self, name: &str) -> PathBuf {
        self.folder.join(name)
    }

    /// The tap file.
    #[must_use]
    pub fn tap(&self) -> PathBuf {
        self.folder.join("tap")
    }

    /// The server's data folder.
    #[must_use]
    pub fn data(&self) -> PathBuf {
        self.config.data.clone()
    }

    /// A new account's home.
    ///
    /// # Errors
    /// The client's own.
    pub async fn register(&self, name: &str) -> Result<Client, ClientError> {
        let client = Client::open(&self.join(name))?;
        let passphrase = SecretBytes::new(format!("passphrase of {name}").into_bytes());
        let server = self.address();
        let registration = Registration {
            server: &server,
            name,
            passphrase: &passphrase,
            label: "test",
            invite: None,
            anew: None,
            key: KeyChoice::P256,
        };
        client.register(registration).await?;
        Ok(client)
    }

    /// A new account, connected.
    ///
    /// # Errors
    /// The client's own.
    pub async fn online(&self, name: &str) -> Result<Online, ClientError> {
        self.register(name).await?.connect().await
    }
}

/// How long a server process may take to be ready.
const READY: Duration = Duration::from_secs(30);

/// `undertone-server serve` as a process of its own, with its data in a temporary folder and homes beside it.
#[derive(Debug)]
pub struct ServerProcess {
    folder: Folder,
    address: String,
    witnesses: Vec<String>,
    process: Option<Process>,
}

impl ServerProcess {
    /// Starts one that writes a tap.
    ///
    /// # Errors
    /// What kept it from being ready.
    pub fn start(name: &str) -> anyhow::Result<Self> {
        let mut server = Self::prepared(name)?;
        server.start_again()?;
        Ok(server)
    }

    fn prepared(name: &str) -> anyhow::Result<Self> {
        let (folder, address) = (Folder::new(name)?, "127.0.0.1:0".into());
        Ok(Self { folder, address, witnesses: Vec::new(), process: None })
    }

    /// Takes the cosignatures of the witness with this key, from the next start on.
    pub fn allow_witness(&mut self, key: String) {
        self.witnesses.push(key);
    }

    /// Starts it on the data and the port it had; returns when it says that it is ready.
    ///
    /// # Errors
    /// What kept it from being ready.
    pub fn start_again(&mut self) -> anyhow::Result<()> {
        let mut serve = self.command()?;
        serve.arg("--tap").arg(self.tap());
        self.run(serve)
    }

    /// The same without a tap and with files that cannot grow beyond `bytes`.
    ///
    /// # Errors
    /// What kept it from being ready.
    pub fn start_with_file_limit(&mut self, bytes: u64) -> anyhow::Result<()> {
        self.run(with_file_limit(&self.command()?, bytes))
    }

    /// Starts one without a tap whose data folder is a disk of so many bytes; `None` where this machine does not allow that.
    ///
    /// # Errors
    /// What kept it from being ready.
    pub fn start_on_small_disk(name: &str, bytes: u64) -> anyhow::Result<Option<Self>> {
        let mut server = Self::prepared(name)?;
        std::fs::create_dir(server.data())?;
        let Some(command) = with_small_disk(&server.command()?, &server.data(), bytes) else { return Ok(None) };
        server.run(command)?;
        Ok(Some(server))
    }

    /// The number of its process.
    ///
    /// # Errors
    /// When it does not run.
    pub fn id(&self) -> anyhow::Result<u32> {
        Ok(self.process.as_ref().context("no server runs")?.id())
    }

    /// The data folder as the server sees it.
    ///
    /// # Errors
    /// When it does not run.
    pub fn data_inside(&self) -> anyhow::Result<PathBuf> {
        Ok(self.process.as_ref().context("no server runs")?.sees(&self.data()))
    }

    fn command(&self) -> anyhow::Result<Command> {
        let mut serve = program("undertone-server")?;
        serve.args(["serve", "--json", "--listen", &self.address, "--data"]).arg(self.data());
        if !self.witnesses.is_empty() {
            let settings = self.join("server.toml");
            // Rust writes a list of such texts as TOML does.
            std::fs::write(&settings, format!("witnesses = {:?}\n", self.witnesses))?;
            serve.arg("--config").arg(settings);
        }
        Ok(serve)
    }

    fn run(&mut self, mut serve: Command) -> anyhow::Result<()> {
        let mut process = Process::start("the server", &mut serve)?;
        let ready = process.wait_for("ready", READY)?;
        self.address = ready.get("address").and_then(|address| address.as_str()).context("no address")?.to_owned();
        self.process = Some(process);
        Ok(())
    }

    /// Another server with a copy of this one's data, keys and all, at another port: from here on the two are told different
    /// things. This one must not run.
    ///
    /// # Errors
    /// The file system's own, and what kept the other from being ready.
    pub fn fork(&self, name: &str) -> anyhow::Result<Self> {
        anyhow::ensure!(self.process.is_none(), "a running server's data change while they are copied");
        let mut fork = Self { witnesses: self.witnesses.clone(), ..Self::prepared(name)? };
        std::fs::create_dir(fork.data())?;
        for entry in std::fs::read_dir(self.data())? {
            let entry = entry?;
            if entry.file_type()?.is_file() {
                std::fs::copy(entry.path(), fork.data().join(entry.file_name()))?;
            }
        }
        fork.start_again()?;
        Ok(fork)
    }

    /// Ends it without asking: SIGKILL.
    ///
    /// # Errors
    /// The operating system's own.
    pub fn kill(&mut self) -> anyhow::Result<()> {
        self.process.take().map_or(Ok(()), Process::kill)
    }

    /// Asks it to end and waits; its data stay until this is dropped.
    ///
    /// # Errors
    /// The operating system's own.
    pub fn end(&mut self) -> anyhow::Result<()> {
        self.process.take().map_or(Ok(()), Process::end)
    }

    /// Host and port.
    #[must_use]
    pub fn address(&self) -> String {
        self.address.clone()
    }

    /// A place beside the server's data.
    #[must_use]
    pub fn join(&self, name: &str) -> PathBuf {
        self.folder.join(name)
    }

    /// The tap file.
    #[must_use]
    pub fn tap(&self) -> PathBuf {
        self.folder.join("tap")
    }

    /// The server's data folder.
    #[must_use]
    pub fn data(&self) -> PathBuf {
        self.folder.join("data")
    }
}
