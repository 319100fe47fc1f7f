//! The QUIC shell: sockets, clocks and tasks around [`Rooms`].
//!
//! One task owns the rooms. Each connection has a task that reads what its member sends and a bounded queue of
//! control messages to it; a member that does not read its control messages is closed rather than waited for.

use std::collections::HashMap;
use std::fs::File;
use std::io::{BufWriter, Write};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use bytes::Bytes;
use quinn::{Connection, Endpoint, Incoming, RecvStream, SendStream, VarInt};
use tokio::sync::{mpsc, watch};
use tokio::task::{JoinHandle, JoinSet};
use tokio_util::sync::CancellationToken;
use tracing::{debug, info, warn};
use undertone_keys::labels::Label;
use undertone_keys::sign::{Server, VerifyingKey};
use undertone_keys::{Secret, Time, WallTime};
use undertone_media::HopExporter;
use undertone_protocol::control::Unframer;
use undertone_protocol::join::BINDING_LENGTH;
use undertone_protocol::{Origin, OriginCounts, labels, limits};

use crate::rooms::{ConnectionId, Input, Limits, Output, Rooms, Stats};

/// Events from connections to the rooms. When it is full, connections wait, and QUIC drops their oldest datagrams.
const EVENT_QUEUE: usize = 4096;
/// Control messages to one member: enough for everybody of a full room to come and go. Whoever leaves so many unread is
/// closed.
const CONTROL_QUEUE: usize = 4 * limits::MAX_MEMBERS;
/// How long a member may take to read one control message.
const CONTROL_PATIENCE: Duration = Duration::from_secs(5);
/// Connections from one address at most (for IPv6, from one /64).
const PER_ADDRESS: usize = 256;
/// From this many connections on, an address must prove itself before it costs us a handshake ...
const VALIDATE_FROM: usize = 512;
/// ... and from this many of its own on in any case: with a forged sender nobody uses up somebody else's share.
const VALIDATE_EACH_FROM: usize = 8;
/// How long the goodbyes of a relay that goes down may take.
const GOODBYE: Duration = Duration::from_secs(1);
/// Connections at most.
const MAX_CONNECTIONS: usize = 20_000;

/// What a relay is started with.
#[derive(Debug)]
pub struct Config {
    /// The key whose grants are believed.
    pub server: VerifyingKey<Server>,
    /// What bounds it.
    pub limits: Limits,
    /// Where to write every packet taken, for showing that a relay sees nothing it could open.
    pub tap: Option<File>,
}

/// A running relay.
#[derive(Debug)]
pub struct Relay {
    endpoint: Endpoint,
    stop: CancellationToken,
    stats: watch::Receiver<Stats>,
    tasks: [JoinHandle<()>; 2],
}

enum Event {
    Connected { id: ConnectionId, peer: Peer, binding: [u8; BINDING_LENGTH], hop: HopExporter },
    Control { id: ConnectionId, body: Vec<u8> },
    Datagram { id: ConnectionId, bytes: Bytes },
    Disconnected { id: ConnectionId },
}

impl Relay {
    /// Starts to accept connections on `endpoint`.
    #[must_use]
    pub fn start(endpoint: Endpoint, config: Config) -> Self {
        let stop = CancellationToken::new();
        let (events, inbox) = mpsc::channel(EVENT_QUEUE);
        let (publish, stats) = watch::channel(Stats::default());
        let rooms = tokio::spawn(run_rooms(config, inbox, publish, stop.clone()));
        let accepting = tokio::spawn(accept(endpoint.clone(), events, stop.clone()));
        Self { endpoint, stop, stats, tasks: [rooms, accepting] }
    }

    /// What was counted so far.
    #[must_use]
    pub fn stats(&self) -> Stats {
        *self.stats.borrow()
    }

    /// Tells everybody, closes all connections and waits until the closing was sent.
    pub async fn stop(self) {
        self.stop.cancel();
        for task in self.tasks {
            let _ = task.await;
        }
        self.endpoint.close(VarInt::from_u32(0), b"shutting down");
        let _ = tokio::time::timeout(Duration::from_secs(1), self.endpoint.wait_idle()).await;
    }
}

async fn accept(endpoint: Endpoint, events: mpsc::Sender<Event>, stop: CancellationToken) {
    let mut next = 0;
    let mut origins = OriginCounts::new(PER_ADDRESS);
    let mut connections = JoinSet::new();
    loop {
        tokio::select! {
            () = stop.cancelled() => break,
            Some(ended) = connections.join_next(), if !connections.is_empty() => {
                if let Ok(origin) = ended {
                    origins.give(&origin);
                }
            }
            incoming = endpoint.accept() => {
                let Some(incoming) = incoming else { break };
                let origin = Origin::of(incoming.remote_address().ip());
                let doubtful = connections.len() >= VALIDATE_FROM || origins.held(&origin) >= VALIDATE_EACH_FROM;
                if doubtful && !incoming.remote_address_validated() {
                    if let Err(error) = incoming.retry() {
                        error.into_incoming().refuse();
                    }
                } else if connections.len() >= MAX_CONNECTIONS || !origins.take(&origin) {
                    incoming.refuse();
                } else {
                    let (id, events) = (ConnectionId(next), events.clone());
                    next += 1;
                    connections.spawn(async move {
                        serve(id, incoming, events).await;
                        origin
                    });
                }
            }
        }
    }
    // Each has been told and closes by itself.
    let ended = async { while connections.join_next().await.is_some() {} };
    let _ = tokio::time::timeout(GOODBYE, ended).await;
    connections.shutdown().await;
}

/// One connection from handshake to end.
async fn serve(id: ConnectionId, incoming: Incoming, events: mpsc::Sender<Event>) {
    let connection = match incoming.await {
        Ok(connection) => connection,
        Err(error) => return debug!(connection = id.0, %error, "handshake failed"),
    };
    let (mut binding, mut exported) = ([0; BINDING_LENGTH], true);
    let mut export = |out: &mut [u8; 32], label: Label| {
        exported &= connection.export_keying_material(out, label.as_bytes(), &[]).is_ok();
    };
    export(&mut binding, labels::CHANNEL_BINDING);
    let hop = HopExporter::new(Secret::filled_by(|out| export(out, labels::HOP)));
    if !exported {
        return connection.close(VarInt::from_u32(1), b"no exporter");
    }
    let (control, outbox) = mpsc::channel(CONTROL_QUEUE);
    let closing = CancellationToken::new();
    let peer = Peer { connection: connection.clone(), control: Some(control), closing: closing.clone() };
    if events.send(Event::Connected { id, peer, binding, hop }).await.is_err() {
        return;
    }
    let reason = read(id, &connection, &events, outbox, closing).await;
    debug!(connection = id.0, reason, "connection ended");
    let _ = events.send(Event::Disconnected { id }).await;
}

async fn read(
    id: ConnectionId,
    connection: &Connection,
    events: &mpsc::Sender<Event>,
    outbox: mpsc::Receiver<Vec<u8>>,
    closing: CancellationToken,
) -> &'static str {
    let accepted = tokio::time::timeout(Duration::from_secs(5), connection.accept_bi()).await;
    let Ok(Ok((send, mut receive))) = accepted else {
        connection.close(VarInt::from_u32(2), b"no control stream");
        return "no control stream";
    };
    let writer = tokio::spawn(write(connection.clone(), send, outbox));
    let reason = tokio::select! {
        reason = read_control(id, &mut receive, events) => reason,
        reason = read_datagrams(id, connection, events) => reason,
        () = closing.cancelled() => "closed by the relay",
    };
    // The writer ends with the rooms' half of the queue, after what is still to be said.
    let _ = events.send(Event::Disconnected { id }).await;
    let _ = tokio::time::timeout(Duration::from_secs(1), writer).await;
    connection.close(VarInt::from_u32(0), b"");
    reason
}

async fn read_control(id: ConnectionId, stream: &mut RecvStream, events: &mpsc::Sender<Event>) -> &'static str {
    let mut unframer = Unframer::default();
    let mut buffer = vec![0; 4096];
    loop {
        loop {
            match unframer.next_message() {
                Ok(Some(body)) => {
                    if events.send(Event::Control { id, body }).await.is_err() {
                        return "relay stopped";
                    }
                }
                Ok(None) => break,
                Err(_) => return "control stream malformed",
            }
        }
        match stream.read(&mut buffer).await {
            Ok(Some(length)) => unframer.push(buffer.get(..length).unwrap_or_default()),
            Ok(None) => return "control stream ended",
            Err(_) => return "connection lost",
        }
    }
}

async fn read_datagrams(id: ConnectionId, connection: &Connection, events: &mpsc::Sender<Event>) -> &'static str {
    while let Ok(bytes) = connection.read_datagram().await {
        if events.send(Event::Datagram { id, bytes }).await.is_err() {
            return "relay stopped";
        }
    }
    "connection lost"
}

async fn write(connection: Connection, mut stream: SendStream, mut outbox: mpsc::Receiver<Vec<u8>>) {
    while let Some(frame) = outbox.recv().await {
        let written = tokio::time::timeout(CONTROL_PATIENCE, stream.write_all(&frame)).await;
        if !matches!(written, Ok(Ok(()))) {
            return connection.close(VarInt::from_u32(3), b"control messages unread");
        }
    }
    let _ = stream.finish();
    let _ = tokio::time::timeout(Duration::from_millis(500), stream.stopped()).await;
    connection.close(VarInt::from_u32(0), b"");
}

struct Peer {
    connection: Connection,
    /// Dropped to close the connection once everything queued is written.
    control: Option<mpsc::Sender<Vec<u8>>>,
    /// Ends the connection's reading, so that it cannot outlive its welcome.
    closing: CancellationToken,
}

/// The one task that owns the rooms.
async fn run_rooms(
    config: Config,
    mut inbox: mpsc::Receiver<Event>,
    publish: watch::Sender<Stats>,
    stop: CancellationToken,
) {
    let start = Instant::now();
    let now = || Time::from_micros(u64::try_from(start.elapsed().as_micros()).unwrap_or(u64::MAX));
    let mut rooms = Rooms::new(config.server, config.limits);
    let mut peers: HashMap<ConnectionId, Peer> = HashMap::new();
    let mut tap = config.tap.map(BufWriter::new);
    loop {
        let wait = rooms.poll_timeout().map_or(Duration::from_secs(3600), |at| at.since(now()));
        let input = tokio::select! {
            () = stop.cancelled() => break,
            event = inbox.recv() => match event {
                None => break,
                Some(Event::Connected { id, peer, binding, hop }) => {
                    peers.insert(id, peer);
                    Input::Connected { connection: id, binding, hop }
                }
                Some(Event::Control { id, body }) => Input::Control { connection: id, body, wall: wall_time() },
                Some(Event::Datagram { id, bytes }) => {
                    if let (Some(file), Some(room)) = (&mut tap, rooms.room_id(id))
                        && record(file, room.as_bytes(), &bytes).is_err()
                    {
                        warn!("the tap file cannot be written; the tap ends");
                        tap = None;
                    }
                    Input::Datagram { connection: id, bytes }
                }
                Some(Event::Disconnected { id }) => {
                    peers.remove(&id);
                    Input::Disconnected { connection: id }
                }
            },
            () = tokio::time::sleep(wait) => {
                publish.send_replace(rooms.stats());
                if let Some(file) = &mut tap { let _ = file.flush(); }
                Input::Tick
            }
        };
        rooms.handle_input(now(), input);
        carry_out(&mut rooms, &mut peers);
    }
    rooms.handle_input(now(), Input::Shutdown);
    carry_out(&mut rooms, &mut peers);
    publish.send_replace(rooms.stats());
    if let Some(mut file) = tap {
        let _ = file.flush();
    }
    info!(stats = ?rooms.stats(), "relay stopped");
}

fn carry_out(rooms: &mut Rooms, peers: &mut HashMap<ConnectionId, Peer>) {
    while let Some(output) = rooms.poll_output() {
        match output {
            Output::Control { connection, message } => {
                let Some(peer) = peers.get_mut(&connection) else { continue };
                let sent = |queue: &mpsc::Sender<Vec<u8>>| message.frame().is_some_and(|f| queue.try_send(f).is_ok());
                if peer.control.as_ref().is_some_and(|queue| !sent(queue)) {
                    peer.connection.close(VarInt::from_u32(3), b"control messages unread");
                }
            }
            Output::Close { connection } => {
                if let Some(peer) = peers.get_mut(&connection) {
                    peer.control = None;
                    peer.closing.cancel();
                }
            }
        }
    }
    while let Some(connection) = rooms.poll_ready() {
        let Some(peer) = peers.get(&connection) else { continue };
        while let Some(size) = rooms.next_size(connection) {
            if peer.connection.datagram_send_buffer_space() < size {
                break;
            }
            let Some(packet) = rooms.poll_media(connection) else { break };
            if let Err(error) = peer.connection.send_datagram(packet) {
                debug!(connection = connection.0, %error, "a packet was not sent");
            }
        }
    }
}

/// One packet of the tap file: length as 32 bits, big-endian, the room's id, the packet.
fn record(file: &mut impl Write, room: &[u8; 16], packet: &[u8]) -> std::io::Result<()> {
    let length = u32::try_from(packet.len()).unwrap_or(u32::MAX);
    file.write_all(&length.to_be_bytes())?;
    file.write_all(room)?;
    file.write_all(packet)
}

fn wall_time() -> WallTime {
    WallTime::from_unix(SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_secs()))
}
