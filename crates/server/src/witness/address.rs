//! Where a log is.

use std::fmt;
use std::str::FromStr;

use hyper::http::uri::Authority;
use rustls::pki_types::ServerName;

/// Where a log is served: `https://HOST:PORT`, port 443 where none is named.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LogAddress {
    pub(super) host: String,
    pub(super) port: u16,
}

/// A text that is no address of a log.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("a log's address has the form https://HOST:PORT, without a path")]
pub struct BadAddress;

impl FromStr for LogAddress {
    type Err = BadAddress;

    fn from_str(text: &str) -> Result<Self, BadAddress> {
        let rest = text.strip_prefix("https://").ok_or(BadAddress)?;
        let authority: Authority = rest.strip_suffix('/').unwrap_or(rest).parse().map_err(|_| BadAddress)?;
        let port = match authority.port() {
            Some(port) => port.as_u16(),
            None if authority.as_str() == authority.host() => 443,
            None => return Err(BadAddress),
        };
        let host = authority.host();
        let host = host.strip_prefix('[').and_then(|host| host.strip_suffix(']')).unwrap_or(host);
        // A name and password before the host would be for nobody.
        let plain = !authority.as_str().contains('@') && ServerName::try_from(host).is_ok();
        if plain { Ok(Self { host: host.to_owned(), port }) } else { Err(BadAddress) }
    }
}

impl fmt::Display for LogAddress {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.host.contains(':') {
            write!(f, "https://[{}]:{}", self.host, self.port)
        } else {
            write!(f, "https://{}:{}", self.host, self.port)
        }
    }
}
