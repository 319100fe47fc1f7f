//! People with accounts on a running server, a room that all of them may come into, and what is proven of each.

use std::collections::HashMap;
use std::net::{Ipv4Addr, SocketAddr};
use std::sync::Arc;

use anyhow::{Context, ensure};
use serde_json::Value;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use undertone_client::native::{Client, Home, Invitee};
use undertone_keys::sign::{Server, Signed, VerifyingKey};
use undertone_keys::{AccessToken, cbor};
use undertone_protocol::rest::{Devices, Entered};
use undertone_protocol::{Access, Protection, Terms};
use undertone_testkit::{flood, tls};
use undertone_transparency::policy::Witnesses;
use undertone_transparency::verify::Pins;

use super::people::{Peers, Person, rights, trusted};
use crate::house::House;

/// Addresses of this machine that people come from: a server bounds the connections of one.
pub(crate) const ADDRESSES: usize = 16;

/// Somebody with an account.
pub(super) struct Guest {
    pub(super) person: Person,
    pub(super) token: AccessToken,
}

/// Everybody, in the order of the room's list of rights.
pub(super) struct Circle {
    pub(super) guests: Vec<Guest>,
    pub(super) peers: Peers,
    pub(super) access: Access,
    pub(super) server: VerifyingKey<Server>,
}

/// The address that the `place`th comes from.
pub(crate) fn address_of(place: usize) -> Ipv4Addr {
    let host = u8::try_from(place % ADDRESSES).unwrap_or_default();
    Ipv4Addr::new(127, 0, 2, host + 1)
}

/// What so many are called.
pub(super) fn names(count: usize) -> Vec<String> {
    (0..count).map(|number| format!("guest{number:03}")).collect()
}

impl Circle {
    /// Of these, who have just registered, each under its name. The first of them makes the room.
    pub(super) async fn new(house: &House, names: &[String], clients: Vec<Client>) -> anyhow::Result<Self> {
        let count = names.len();
        let invited: Vec<Invitee> = (0..).zip(names).skip(1).map(|(place, name)| invite(place, name)).collect();
        let access = {
            let book = clients.first().context("nobody came")?.rooms().await?;
            book.create("bench", Terms::room(Protection::Blind), &invited).await?
        };
        // One process owns a home: the clients give theirs back, and what drives the engines from here on reads them.
        drop(clients);
        let homes: Vec<Home> =
            names.iter().map(|name| Ok(Home::open(&house.home(name))?)).collect::<anyhow::Result<_>>()?;
        let pin = homes.first().context("nobody came")?.server()?.context("a home without a server")?;
        let vrf = pin.vrf.context("the server has no key directory")?;
        let pins = Pins { domain: pin.domain.clone(), log: pin.identity, vrf, witnesses: Witnesses::none() };
        let (mut guests, mut peers) = (Vec::with_capacity(count), HashMap::with_capacity(count));
        for home in homes {
            let device = home.device()?.context("a home without a device")?;
            let token = home.token()?.context("a home without a token")?;
            let user = device.address.user.clone();
            // Everybody looks themselves up: nobody has a budget for all.
            let path = format!("/v1/users/{user}/devices?seen=0&known=0");
            let answer: Devices = serde_json::from_value(ask(house.server.address, "GET", &path, &token).await?)?;
            let peer = trusted(&pins, &user, &answer.answer.0)?;
            let key = peer.device(device.address.device).and_then(|record| record.agreement);
            let key = key.context("a device without a key")?;
            let (address, identity, account) = (device.address.clone(), Arc::new(device.identity()), device.account);
            guests.push(Guest { person: Person { address, identity, account, key }, token });
            peers.insert(user, peer);
        }
        Ok(Self { guests, peers, access, server: pin.identity })
    }

    /// A grant for the room, from that server.
    pub(super) async fn enter(&self, server: SocketAddr, place: usize) -> anyhow::Result<Signed> {
        let token = &self.guests.get(place).context("no such guest")?.token;
        let path = format!("/v1/rooms/{}/enter", self.access.list().room);
        let entered: Entered = serde_json::from_value(ask(server, "POST", &path, token).await?)?;
        cbor::decode(&entered.grant.0).ok().context("a grant that cannot be read")
    }
}

fn invite(place: usize, name: &str) -> Invitee {
    Invitee { name: name.to_owned(), rights: rights(place) }
}

/// One request over one connection, as the shipped client makes them; its answer.
async fn ask(server: SocketAddr, method: &str, path: &str, token: &AccessToken) -> anyhow::Result<Value> {
    // What the server knows an address by is the token here: it does not matter where this comes from.
    let stream = flood::connect_from(address_of(0), server).await?;
    let mut stream = tls::over(stream, &rustls::version::TLS13).await?;
    let (token, body) = (token.to_text(), if method == "POST" { "null" } else { "" });
    let request = format!(
        "{method} {path} HTTP/1.1\r\nhost: {server}\r\nauthorization: Bearer {token}\r\ncontent-type: application/json\r\n\
         content-length: {}\r\nconnection: close\r\n\r\n{body}",
        body.len()
    );
    stream.write_all(request.as_bytes()).await?;
    let mut answer = Vec::new();
    stream.read_to_end(&mut answer).await?;
    read(&answer).with_context(|| format!("{method} {path}"))
}

/// The JSON of an answer with a length, to a request that was taken.
fn read(answer: &[u8]) -> anyhow::Result<Value> {
    let end = answer.windows(4).position(|four| four == b"\r\n\r\n").context("no answer")?;
    let (head, body) = answer.split_at_checked(end + 4).context("no answer")?;
    let head = String::from_utf8_lossy(head);
    let status = head.split(' ').nth(1).unwrap_or_default();
    ensure!(status == "200", "{status}: {}", String::from_utf8_lossy(body));
    Ok(serde_json::from_slice(body)?)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_answer_is_its_json_or_an_error_that_says_why() {
        let answer = |status: &str, body: &str| {
            let length = body.len();
            format!("HTTP/1.1 {status}\r\ncontent-length: {length}\r\n\r\n{body}").into_bytes()
        };
        assert_eq!(read(&answer("200 OK", r#"{"version":3}"#)).unwrap()["version"], 3);
        let refused = read(&answer("429 Too Many Requests", r#"{"code":"too_many"}"#)).unwrap_err();
        assert!(refused.to_string().contains("429") && refused.to_string().contains("too_many"), "{refused}");
        assert!(read(b"HTTP/1.1 200 OK\r\n").is_err());
    }

    #[test]
    fn no_address_has_more_than_a_server_takes_from_it() {
        let of_one = (0..1_000).filter(|place| address_of(*place) == address_of(0)).count();
        assert!(of_one <= 64, "{of_one}");
    }
}
