//! A real server on a free port of loopback.

use std::net::SocketAddr;
use std::path::PathBuf;

use undertone_client::native::{Client, ClientError, Online, Registration};
use undertone_keys::secret::SecretBytes;
use undertone_server::{Config, Server, StartError};

use crate::Folder;

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
        let registration = Registration { server: &server, name, passphrase: &passphrase, label: "test", invite: None };
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
