//! Who the server is, and how it is asked by somebody who is not a device yet.

use serde::Serialize;
use serde::de::DeserializeOwned;
use undertone_keys::{AccessToken, UserId};

use crate::native::connector::Connector;
use crate::native::error::ClientError;
use crate::native::home::{Home, ServerPin};
use crate::native::rest;

/// A server met for the first time, or again.
pub(super) struct Met {
    pub(super) pin: ServerPin,
    pub(super) connector: Connector,
    pub(super) user: UserId,
    /// Of this device, where it is one of the account: strangers do not use up its places (rule DOS-1).
    pub(super) token: Option<AccessToken>,
}

/// Looks who the server is, for a home without an account. One that knows it already insists on the same one.
pub(super) async fn meet(home: &Home, server: &str, name: &str) -> Result<Met, ClientError> {
    if let Some(device) = home.device()? {
        return Err(ClientError::LoggedIn(device.address.user.to_string()));
    }
    home.rehearse()?;
    let (statement, _, connector) = Connector::introduce(server).await?;
    // The same server by another spelling, or another server for the same names.
    let same = |pin: &ServerPin| pin.address.eq_ignore_ascii_case(server) || pin.domain == statement.domain;
    if let Some(known) = home.server()?.filter(|pin| same(pin) && pin.identity != statement.identity) {
        return Err(ClientError::ServerChanged {
            server: server.to_owned(),
            shown: statement.identity.fingerprint(),
            pinned: known.identity.fingerprint(),
        });
    }
    let mut pin = ServerPin::new(server.to_owned(), &statement);
    if let Some(known) = home.server()?.filter(|known| known.identity == statement.identity) {
        if known.has_other_directory(&statement) {
            return Err(ClientError::DirectoryKey(server.to_owned()));
        }
        if known.is_replaced(&statement) {
            return Err(ClientError::ReplacedKey(server.to_owned()));
        }
        pin.keep_newer_of(&known);
    }
    let user = UserId::parse(name, &statement.domain).map_err(ClientError::Name)?;
    Ok(Met { pin, connector, user, token: None })
}

impl Met {
    pub(super) async fn post<T: DeserializeOwned>(&self, path: &str, body: &impl Serialize) -> Result<T, ClientError> {
        let token = self.token.as_ref();
        rest::post(self.connector.tcp().await?, self.connector.address(), path, token, body).await
    }

    /// The same for what the server may take its time to answer.
    pub(super) async fn post_patiently<T: DeserializeOwned>(
        &self,
        path: &str,
        body: &impl Serialize,
    ) -> Result<T, ClientError> {
        rest::post_patiently(self.connector.tcp().await?, self.connector.address(), path, body).await
    }

    /// The same for no answer.
    pub(super) async fn post_for_nothing(&self, path: &str, body: &impl Serialize) -> Result<(), ClientError> {
        let token = self.token.as_ref();
        rest::post_for_nothing(self.connector.tcp().await?, self.connector.address(), path, token, body).await
    }

    /// The server's answer is none.
    pub(super) fn bad(&self) -> ClientError {
        ClientError::BadAnswer(self.connector.address().to_owned())
    }
}

pub(super) fn failed(error: impl std::fmt::Display) -> ClientError {
    ClientError::Login(error.to_string())
}
