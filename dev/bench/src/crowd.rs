//! Clients of a QUIC relay: one thread, a few sockets, `quinn-proto` driven by hand.
//!
//! A task, a timer and a socket for each client would cost more than the relay that is measured. So the clients share
//! sockets, and what comes for many of them is read at once.

use std::cmp::Reverse;
use std::collections::{BinaryHeap, VecDeque};
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::{Context as _, ensure};
use mio::{Events, Interest, Poll, Token};
use quinn_proto::{ClientConfig, DatagramEvent, Endpoint, EndpointConfig};

use crate::client::{Client, PING, Speech};
use crate::load::{Load, Run};
use crate::process::Served;
use crate::socket::{Inbox, Packet, Socket};
use crate::talk::{Crowd, Heard, converse, wait};
use crate::tls;

/// Sockets, each with an address of its own: a relay bounds the connections of one address.
const SOCKETS: u8 = 20;
/// Connections that our relay takes from one address.
const PER_ADDRESS: usize = 256;
/// Clients on their way in at the same time.
const AT_ONCE: usize = 32;
/// How long nobody may come in before it is given up.
const PATIENCE: Duration = Duration::from_secs(20);
/// Batches read from one socket before the next has its turn.
const BATCHES: usize = 8;
/// Bytes of a packet at most.
const PACKET: usize = 1500;

/// Connects everybody to a QUIC relay and lets them speak. `make` says what each member of each room says.
pub(crate) fn run(
    relay: &Served,
    load: &Load,
    make: impl FnMut(usize, usize) -> anyhow::Result<Box<dyn Speech>>,
) -> anyhow::Result<Run> {
    Ok(run_and_look(relay, load, make, |_| Ok(()))?.0)
}

/// The same, and a look at the relay while everybody is still there.
pub(crate) fn run_and_look<T>(
    relay: &Served,
    load: &Load,
    make: impl FnMut(usize, usize) -> anyhow::Result<Box<dyn Speech>>,
    look: impl FnOnce(&Served) -> anyhow::Result<T>,
) -> anyhow::Result<(Run, T)> {
    let mut crowd = QuicCrowd::new(relay)?;
    crowd.gather(load, make)?;
    Ok((converse(&mut crowd, relay, load)?, look(relay)?))
}

/// One socket and who is on it.
struct Net {
    socket: Socket,
    endpoint: Endpoint,
    /// The number of the client of each connection handle.
    clients: Vec<usize>,
}

struct QuicCrowd {
    relay: SocketAddr,
    config: ClientConfig,
    poll: Poll,
    events: Events,
    nets: Vec<Net>,
    clients: Vec<Client>,
    /// When to look at which client, the soonest first.
    timers: BinaryHeap<Reverse<(Instant, usize)>>,
    /// When each client says that it is still there, the soonest first.
    pings: VecDeque<(Instant, usize)>,
    /// Who has something to send.
    touched: Vec<usize>,
    /// Whom the last batch was for.
    fresh: Vec<usize>,
    inbox: Inbox,
    buffer: Vec<u8>,
}

impl QuicCrowd {
    fn new(relay: &Served) -> anyhow::Result<Self> {
        let (poll, shared) = (Poll::new()?, Arc::new(EndpointConfig::default()));
        let mut nets = Vec::new();
        for (number, host) in (1..=SOCKETS).enumerate() {
            let mut socket = Socket::bind(IpAddr::V4(Ipv4Addr::new(127, 0, 1, host)))?;
            poll.registry().register(&mut socket.socket, Token(number), Interest::READABLE)?;
            let endpoint = Endpoint::new(shared.clone(), None, !socket.may_fragment(), None);
            nets.push(Net { socket, endpoint, clients: Vec::new() });
        }
        let inbox = Inbox::new(&nets.first().context("no sockets")?.socket);
        Ok(Self {
            relay: relay.address,
            config: tls::client(&relay.certificate)?,
            poll,
            events: Events::with_capacity(64),
            nets,
            clients: Vec::new(),
            timers: BinaryHeap::new(),
            pings: VecDeque::new(),
            touched: Vec::new(),
            fresh: Vec::new(),
            inbox,
            buffer: Vec::new(),
        })
    }

    /// Brings everybody in, a few at a time.
    fn gather(
        &mut self,
        load: &Load,
        mut make: impl FnMut(usize, usize) -> anyhow::Result<Box<dyn Speech>>,
    ) -> anyhow::Result<()> {
        let total = load.rooms * load.members;
        ensure!(total <= PER_ADDRESS * usize::from(SOCKETS), "{total} clients are more than the relay takes from here");
        let (mut outside, mut entered, mut progress) = (load.everybody(), 0, Instant::now());
        while entered < total {
            while self.clients.len() - entered < AT_ONCE {
                let Some((room, member)) = outside.next() else { break };
                self.connect(Instant::now(), make(room, member)?)?;
            }
            self.turn(Instant::now() + Duration::from_millis(100), &mut |_| {})?;
            let now_in = self.clients.iter().filter(|client| client.entered).count();
            if now_in > entered {
                (entered, progress) = (now_in, Instant::now());
            }
            ensure!(progress.elapsed() < PATIENCE, "{entered} of {total} came in, and then nobody did");
        }
        Ok(())
    }

    fn connect(&mut self, now: Instant, speech: Box<dyn Speech>) -> anyhow::Result<()> {
        let client = self.clients.len();
        let number = client % self.nets.len().max(1);
        let net = self.nets.get_mut(number).context("no sockets")?;
        let (handle, connection) = net.endpoint.connect(now, self.config.clone(), self.relay, "localhost")?;
        // Handles are given in order, and none again before one is free: here, none ever is.
        ensure!(handle.0 == net.clients.len(), "an endpoint gave handle {} out of turn", handle.0);
        net.clients.push(client);
        self.clients.push(Client::new(connection, handle, number, speech));
        self.pings.push_back((now + PING, client));
        self.touch(client);
        Ok(())
    }

    fn touch(&mut self, client: usize) {
        if let Some(found) = self.clients.get_mut(client)
            && !core::mem::replace(&mut found.touched, true)
        {
            self.touched.push(client);
        }
    }

    /// When there is something to do without anything coming in, and `until` at the latest.
    fn deadline(&self, now: Instant, until: Instant) -> Instant {
        if self.nets.iter().any(|net| net.socket.readable || net.socket.is_blocked()) {
            return now;
        }
        let timer = self.timers.peek().map(|Reverse((at, _))| *at);
        let ping = self.pings.front().map(|(at, _)| *at);
        [timer, ping].into_iter().flatten().min().unwrap_or(until).min(until)
    }

    /// Reads what came, and has the clients listen to it.
    fn receive(&mut self, hear: &mut dyn FnMut(Heard)) -> anyhow::Result<()> {
        let Self { nets, clients, inbox, touched, fresh, buffer, .. } = self;
        for Net { socket, endpoint, clients: handles } in nets.iter_mut().filter(|net| net.socket.readable) {
            for _ in 0..BATCHES {
                if !socket.receive(inbox)? {
                    socket.readable = false;
                    break;
                }
                let now = Instant::now();
                for Packet { from, to, ecn, bytes } in inbox.packets.drain(..) {
                    buffer.clear();
                    // What an endpoint says by itself (that it knows no such connection) the relay does not need.
                    let event = endpoint.handle(now, from, to, ecn, bytes, buffer);
                    let Some(DatagramEvent::ConnectionEvent(handle, event)) = event else { continue };
                    let Some(number) = handles.get(handle.0).copied() else { continue };
                    let Some(client) = clients.get_mut(number) else { continue };
                    client.connection.handle_event(event);
                    if !core::mem::replace(&mut client.fresh, true) {
                        fresh.push(number);
                    }
                    if !core::mem::replace(&mut client.touched, true) {
                        touched.push(number);
                    }
                }
                for number in fresh.drain(..) {
                    let Some(client) = clients.get_mut(number) else { continue };
                    client.fresh = false;
                    client.listen(now, number, hear)?;
                }
            }
        }
        Ok(())
    }

    /// Looks at the clients whose time has come.
    fn expire(&mut self, now: Instant, hear: &mut dyn FnMut(Heard)) -> anyhow::Result<()> {
        while let Some(Reverse((at, number))) = self.timers.peek().copied()
            && at <= now
        {
            self.timers.pop();
            // Deadlines move with every packet: what was written down is when to look, not what is due.
            let Some(client) = self.clients.get_mut(number).filter(|client| client.scheduled == Some(at)) else {
                continue;
            };
            client.scheduled = None;
            client.connection.handle_timeout(now);
            client.listen(now, number, hear)?;
            self.touch(number);
        }
        while let Some((at, number)) = self.pings.front().copied()
            && at <= now
        {
            self.pings.pop_front();
            self.pings.push_back((now + PING, number));
            if let Some(client) = self.clients.get_mut(number) {
                client.keep_alive(now)?;
                self.touch(number);
            }
        }
        Ok(())
    }

    /// Sends what the touched clients have to send, and writes down when to look at them again.
    fn flush(&mut self, now: Instant) {
        let mut touched = core::mem::take(&mut self.touched);
        for number in touched.drain(..) {
            let Some(client) = self.clients.get_mut(number) else { continue };
            let Some(net) = self.nets.get_mut(client.net) else { continue };
            let mut open = net.socket.unblock();
            loop {
                while open {
                    self.buffer.clear();
                    let Some(transmit) = client.connection.poll_transmit(now, 1, &mut self.buffer) else { break };
                    open = net.socket.send(transmit, &self.buffer);
                }
                let mut more = false;
                while let Some(event) = client.connection.poll_endpoint_events() {
                    if let Some(event) = net.endpoint.handle_event(client.handle, event) {
                        client.connection.handle_event(event);
                        more = true;
                    }
                }
                if !more || !open {
                    break;
                }
            }
            client.touched = !open;
            if !open {
                // It has more to say when the system has room again.
                self.touched.push(number);
            }
            if let Some(at) = client.connection.poll_timeout()
                && client.scheduled.is_none_or(|scheduled| at < scheduled)
            {
                client.scheduled = Some(at);
                self.timers.push(Reverse((at, number)));
            }
        }
        if self.touched.is_empty() {
            // Its room is used again.
            self.touched = touched;
        }
    }
}

impl Crowd for QuicCrowd {
    fn say(&mut self, client: usize, sequence: u32) -> anyhow::Result<bool> {
        let (now, mut packet) = (Instant::now(), [0; PACKET]);
        let speaker = self.clients.get_mut(client).context("no such client")?;
        let taken = speaker.say(now, sequence, &mut packet);
        self.touch(client);
        self.flush(now);
        Ok(taken)
    }

    fn turn(&mut self, until: Instant, hear: &mut dyn FnMut(Heard)) -> anyhow::Result<()> {
        let now = Instant::now();
        self.flush(now);
        let until = self.deadline(now, until);
        wait(&mut self.poll, &mut self.events, until)?;
        for event in &self.events {
            if let Some(net) = self.nets.get_mut(event.token().0) {
                net.socket.readable = true;
            }
        }
        self.receive(hear)?;
        let now = Instant::now();
        self.expire(now, hear)?;
        self.flush(now);
        Ok(())
    }
}
