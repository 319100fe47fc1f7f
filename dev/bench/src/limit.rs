//! What no relay can be cheaper than: plain UDP, and one AES-256-GCM seal for each delivery.

use std::collections::{HashMap, HashSet};
use std::io::ErrorKind;
use std::net::{SocketAddr, UdpSocket};
use std::time::{Duration, Instant};

use anyhow::Context as _;
use mio::{Events, Interest, Poll, Token};
use undertone_keys::Secret;
use undertone_keys::aead::AeadKey;

use crate::load::{Load, PAYLOAD, Run, STAMP, stamp, stamped};
use crate::process::{Served, listening};
use crate::talk::{Crowd, Heard, converse, wait};

/// Bytes in front of a packet that name its room.
const ROOM: usize = 2;
/// How long an answer to a greeting may take.
const PATIENCE: Duration = Duration::from_secs(2);

/// Who is in a room: one after another for sending, and by address for finding out whether somebody is.
#[derive(Default)]
struct Members {
    all: Vec<SocketAddr>,
    known: HashSet<SocketAddr>,
}

pub(crate) fn serve() -> anyhow::Result<()> {
    let socket = UdpSocket::bind(("127.0.0.1", 0))?;
    listening(socket.local_addr()?, &[])?;
    let key = AeadKey::new(&Secret::filled_by(|key| key.fill(1)));
    let (mut rooms, mut counter) = (HashMap::<[u8; ROOM], Members>::new(), 0_u64);
    let (mut packet, mut sealed) = ([0; 1500], [0; 1600]);
    loop {
        let (length, from) = socket.recv_from(&mut packet)?;
        let Some((room, said)) = packet.get(..length).and_then(|packet| packet.split_first_chunk::<ROOM>()) else {
            continue;
        };
        // The stamp stays in the clear, as the headers of real packets do.
        let Some((head, text)) = said.split_first_chunk::<STAMP>() else {
            // Nothing but the room is a greeting; whoever greets is in.
            let members = rooms.entry(*room).or_default();
            if members.known.insert(from) {
                members.all.push(from);
            }
            socket.send_to(room, from)?;
            continue;
        };
        let Some(members) = rooms.get(room).filter(|members| members.known.contains(&from)) else { continue };
        for member in members.all.iter().filter(|member| **member != from) {
            counter += 1;
            let mut nonce = [0; 12];
            nonce.iter_mut().zip(counter.to_be_bytes()).for_each(|(to, from)| *to = from);
            let Some((clear, behind)) = sealed.split_first_chunk_mut::<STAMP>() else { continue };
            let Some((body, rest)) = behind.split_at_mut_checked(text.len()) else { continue };
            *clear = *head;
            body.copy_from_slice(text);
            let tag = key.seal(nonce, &[], body);
            rest.iter_mut().zip(tag).for_each(|(to, from)| *to = from);
            socket.send_to(sealed.get(..STAMP + text.len() + tag.len()).unwrap_or_default(), member)?;
        }
    }
}

pub(crate) fn measure(load: &Load) -> anyhow::Result<Run> {
    let relay = Served::start("limit", &[], &[], Some(0))?;
    let mut crowd = PlainCrowd::gather(&relay, load)?;
    converse(&mut crowd, &relay, load)
}

/// Clients with a socket each, since that is what this relay knows them by.
struct PlainCrowd {
    poll: Poll,
    events: Events,
    sockets: Vec<mio::net::UdpSocket>,
    members: usize,
    buffer: [u8; 1600],
}

impl PlainCrowd {
    /// Greets the relay for everybody.
    fn gather(relay: &Served, load: &Load) -> anyhow::Result<Self> {
        let (poll, mut sockets) = (Poll::new()?, Vec::new());
        for (room, _) in load.everybody() {
            let socket = UdpSocket::bind(("127.0.0.1", 0)).context("is `ulimit -n` too low for a socket each?")?;
            socket.connect(relay.address)?;
            socket.set_read_timeout(Some(PATIENCE))?;
            socket.send(&u16::try_from(room)?.to_be_bytes())?;
            socket.recv(&mut [0; ROOM]).context("the limit does not answer")?;
            socket.set_nonblocking(true)?;
            let mut socket = mio::net::UdpSocket::from_std(socket);
            poll.registry().register(&mut socket, Token(sockets.len()), Interest::READABLE)?;
            sockets.push(socket);
        }
        Ok(Self { poll, events: Events::with_capacity(1024), sockets, members: load.members, buffer: [0; 1600] })
    }
}

impl Crowd for PlainCrowd {
    fn say(&mut self, client: usize, sequence: u32) -> anyhow::Result<bool> {
        let (room, place) = (client / self.members.max(1), client % self.members.max(1));
        let mut packet = [7; ROOM + STAMP + PAYLOAD];
        let (head, rest) = packet.split_first_chunk_mut::<ROOM>().context("a packet begins with its room")?;
        *head = u16::try_from(room)?.to_be_bytes();
        stamp(rest, u16::try_from(place)?, sequence).context("a packet has room for a stamp")?;
        let socket = self.sockets.get(client).context("no such client")?;
        match socket.send(&packet) {
            Ok(_) => Ok(true),
            Err(error) if error.kind() == ErrorKind::WouldBlock => Ok(false),
            Err(error) => Err(error).context("a packet was not sent"),
        }
    }

    fn turn(&mut self, until: Instant, hear: &mut dyn FnMut(Heard)) -> anyhow::Result<()> {
        wait(&mut self.poll, &mut self.events, until)?;
        for event in &self.events {
            let Token(client) = event.token();
            let Some(socket) = self.sockets.get(client) else { continue };
            // To the last: the system says once that something has come.
            loop {
                match socket.recv(&mut self.buffer) {
                    Ok(length) => {
                        let packet = self.buffer.get(..length).unwrap_or_default();
                        hear(Heard { client, at: Instant::now(), said: stamped(packet) });
                    }
                    Err(error) if error.kind() == ErrorKind::WouldBlock => break,
                    Err(error) if error.kind() == ErrorKind::Interrupted => {}
                    Err(error) => return Err(error).context("the limit is gone"),
                }
            }
        }
        Ok(())
    }
}
