//! The pinned server, and what was seen of its log.

use minicbor::{Decode, Encode};
use undertone_keys::sign::{Server, VerifyingKey};
use undertone_keys::{WallTime, cbor};
use undertone_protocol::statement::Statement;
use undertone_transparency::seen::Seen;

use super::{Home, HomeError};

pub(super) const SERVER: &str = "server";
const SEEN: &str = "seen/";

/// The server an account lives on, and the key it was pinned by.
#[derive(Clone, Debug, PartialEq, Eq, Encode, Decode)]
#[cbor(map)]
pub struct ServerPin {
    #[n(0)]
    format: u8,
    /// Host and port.
    #[n(1)]
    pub address: String,
    /// Its identity key.
    #[n(2)]
    pub identity: VerifyingKey<Server>,
    /// The domain of its users.
    #[n(3)]
    pub domain: String,
    /// When the newest statement seen was made.
    #[n(4)]
    pub newest: WallTime,
    /// Which TLS key that statement was about.
    #[cbor(n(5), with = "minicbor::bytes")]
    pub tls_key: [u8; 32],
    /// The VRF key of its directory. None in homes that are older than that.
    #[cbor(n(6), with = "minicbor::bytes")]
    pub vrf: Option<[u8; 32]>,
}

impl ServerPin {
    /// Pins the server that made this statement.
    #[must_use]
    pub fn new(address: String, statement: &Statement) -> Self {
        Self {
            format: 1,
            address,
            identity: statement.identity,
            domain: statement.domain.clone(),
            newest: statement.created,
            tls_key: statement.tls_key,
            vrf: Some(statement.vrf),
        }
    }

    /// Takes over what an earlier pin of the same server knows better: the newest statement must not be forgotten.
    pub(in crate::native) fn keep_newer_of(&mut self, known: &Self) {
        self.vrf = known.vrf.or(self.vrf);
        if known.newest.as_unix() > self.newest.as_unix() {
            (self.newest, self.tls_key) = (known.newest, known.tls_key);
        }
    }

    /// Whether a statement is about another directory than the pinned one (rule KT-14).
    #[must_use]
    pub fn has_other_directory(&self, statement: &Statement) -> bool {
        self.vrf.is_some_and(|pinned| pinned != statement.vrf)
    }

    /// Whether a statement of this server's is an old one about another TLS key than the newest seen: one that was
    /// replaced, perhaps since it was stolen.
    #[must_use]
    pub fn is_replaced(&self, statement: &Statement) -> bool {
        statement.created < self.newest && statement.tls_key != self.tls_key
    }
}

impl Home {
    /// The pinned server.
    ///
    /// # Errors
    /// [`HomeError`].
    pub fn server(&self) -> Result<Option<ServerPin>, HomeError> {
        self.read(SERVER)
    }

    /// Keeps what was seen of the pinned server.
    ///
    /// # Errors
    /// [`HomeError`].
    pub fn put_server(&self, server: &ServerPin) -> Result<(), HomeError> {
        self.put(&[(SERVER, Some(&cbor::encode(server)))])
    }

    /// What was seen last of the log of a server's directory.
    ///
    /// # Errors
    /// [`HomeError`].
    pub fn seen(&self, server: &ServerPin) -> Result<Option<Seen>, HomeError> {
        let name = format!("{SEEN}{}", server.identity.fingerprint());
        let Some(bytes) = self.get(&name)? else { return Ok(None) };
        let seen = Seen::from_bytes(&bytes, &server.domain, &server.identity);
        seen.map(Some).map_err(|_| HomeError::Damaged(name))
    }

    /// Remembers what was seen of the log: later it must be the same one, grown (rule KT-4).
    ///
    /// # Errors
    /// [`HomeError`].
    pub fn put_seen(&self, server: &ServerPin, seen: &Seen) -> Result<(), HomeError> {
        self.put(&[(&format!("{SEEN}{}", server.identity.fingerprint()), Some(&seen.to_bytes()))])
    }
}
