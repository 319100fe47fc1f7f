//! One connection: its control stream in both directions, and how it ends.

use std::collections::VecDeque;
use std::time::{Duration, Instant};

use bytes::Bytes;
use quinn_proto::{Connection, Dir, Event, ReadError, StreamEvent, StreamId, VarInt, WriteError};
use tracing::debug;
use undertone_keys::Secret;
use undertone_keys::labels::Label;
use undertone_media::HopExporter;
use undertone_protocol::control::Unframer;
use undertone_protocol::join::BINDING_LENGTH;
use undertone_protocol::{Origin, labels, limits};

use super::mail::Anchor;
use crate::rooms::ConnectionId;

/// Bytes of control messages that wait for one member at most: enough for everybody of a full room to come. Whoever
/// leaves so many unread is closed.
const MAX_WAITING: usize = 2 * 1024 * 1024;
/// How long a member may take to read anything at all of what waits.
const PATIENCE: Duration = Duration::from_secs(5);
/// Control messages a member may send within a second: it needs one join, a ping a second and a goodbye.
const MESSAGES: u32 = 32;
/// Words to an endpoint in another shard within a second: a connection has a few at its beginning, and when it changes its
/// address.
const LETTERS: u32 = 64;
/// How long a goodbye may take to arrive.
const GOODBYE: Duration = Duration::from_millis(500);

/// What a connection has to say to the rooms.
pub(super) enum News {
    Connected { binding: [u8; BINDING_LENGTH], hop: HopExporter },
    Control(Vec<u8>),
    Datagram(Bytes),
    Gone,
}

#[derive(Debug)]
pub(super) struct Peer {
    pub(super) connection: Connection,
    pub(super) id: ConnectionId,
    pub(super) anchor: Anchor,
    pub(super) origin: Origin,
    /// Whether it is in the shard that its first message asked for.
    pub(super) settled: bool,
    /// Among those that this turn of the loop has to look at.
    pub(super) touched: bool,
    /// When the loop will look at it by itself.
    pub(super) scheduled: Option<Instant>,
    control: Option<StreamId>,
    unframer: Unframer,
    waiting: VecDeque<u8>,
    /// Since when nothing of what waits was taken.
    stuck: Option<Instant>,
    /// When it is closed, whatever has arrived by then.
    closing: Option<Instant>,
    /// When the handshake must be over.
    handshake: Option<Instant>,
    /// Control messages of the second that began then.
    messages: (Instant, u32),
    /// Words to its endpoint of the second that began then.
    letters: (Instant, u32),
    gone: bool,
}

impl Peer {
    pub(super) fn new(now: Instant, connection: Connection, id: ConnectionId, anchor: Anchor, origin: Origin) -> Self {
        Self {
            connection,
            id,
            anchor,
            origin,
            settled: false,
            touched: false,
            scheduled: None,
            control: None,
            unframer: Unframer::default(),
            waiting: VecDeque::new(),
            stuck: None,
            closing: None,
            // Every packet puts off QUIC's own clock, so a handshake that never ends would be held for ever.
            handshake: Some(now + limits::JOIN_TIMEOUT),
            messages: (now, 0),
            letters: (now, 0),
            gone: false,
        }
    }

    /// When something has to be done without anything coming in.
    pub(super) fn deadline(&mut self) -> Option<Instant> {
        let stuck = self.stuck.map(|since| since + PATIENCE);
        [self.connection.poll_timeout(), self.closing, self.handshake, stuck].into_iter().flatten().min()
    }

    /// Does what its time has come for.
    pub(super) fn timeout(&mut self, now: Instant) {
        if self.connection.poll_timeout().is_some_and(|at| at <= now) {
            self.connection.handle_timeout(now);
        }
        if self.closing.is_some_and(|at| at <= now) {
            self.close(now, 0, b"");
        } else if self.handshake.is_some_and(|at| at <= now) {
            self.close(now, 4, b"the handshake took too long");
        } else if self.stuck.is_some_and(|since| since + PATIENCE <= now) {
            self.close(now, 3, b"control messages unread");
        }
    }

    /// Takes what happened on the connection and tells the rooms about it.
    pub(super) fn listen(&mut self, now: Instant, mut tell: impl FnMut(News)) {
        while let Some(event) = self.connection.poll() {
            match event {
                Event::Connected => {
                    self.handshake = None;
                    match self.exports() {
                        Some((binding, hop)) => tell(News::Connected { binding, hop }),
                        None => self.close(now, 1, b"no exporter"),
                    }
                }
                Event::ConnectionLost { reason } => {
                    debug!(connection = self.id.0, %reason, "connection ended");
                    self.forget();
                    self.leave(&mut tell);
                }
                Event::Stream(StreamEvent::Opened { dir: Dir::Bi }) => {
                    if let Some(stream) = self.connection.streams().accept(Dir::Bi) {
                        self.control = Some(stream);
                        self.flush(now);
                        self.read(now, stream, &mut tell);
                    }
                }
                Event::Stream(StreamEvent::Readable { id }) => self.read(now, id, &mut tell),
                Event::Stream(StreamEvent::Writable { .. }) => self.flush(now),
                // All of the goodbye has arrived, or nobody wants it.
                Event::Stream(StreamEvent::Finished { .. } | StreamEvent::Stopped { .. }) => {
                    self.leave(&mut tell);
                    self.close(now, 0, b"");
                }
                Event::DatagramReceived => {
                    while let Some(bytes) = self.connection.datagrams().recv() {
                        tell(News::Datagram(bytes));
                    }
                }
                Event::HandshakeDataReady
                | Event::DatagramsUnblocked
                | Event::Stream(StreamEvent::Opened { .. } | StreamEvent::Available { .. }) => {}
            }
        }
        // Closed by this side: nobody else will say so.
        if self.connection.is_closed() {
            self.leave(&mut tell);
        }
    }

    /// Gives back what waits in either direction, and all deadlines: the connection is over.
    fn forget(&mut self) {
        (self.closing, self.handshake, self.stuck) = (None, None, None);
        self.unframer.clear();
        self.waiting = VecDeque::new();
    }

    /// Counts one more word to an endpoint that is another shard's. Whoever has it say far too many is closed: each is a
    /// letter, and a packet of a member's may hold hundreds that cause one.
    pub(super) fn may_write(&mut self, now: Instant) -> bool {
        if now.saturating_duration_since(self.letters.0) >= Duration::from_secs(1) {
            self.letters = (now, 0);
        }
        self.letters.1 += 1;
        if self.letters.1 == LETTERS + 1 {
            self.close(now, 6, b"too many connection ids");
        }
        self.letters.1 <= LETTERS
    }

    /// What ties a join and the keys of a hop room to this very connection.
    pub(super) fn exports(&self) -> Option<([u8; BINDING_LENGTH], HopExporter)> {
        let (session, mut exported) = (self.connection.crypto_session(), true);
        let mut export = |out: &mut [u8; 32], label: Label| {
            exported &= session.export_keying_material(out, label.as_bytes(), &[]).is_ok();
        };
        let mut binding = [0; BINDING_LENGTH];
        export(&mut binding, labels::CHANNEL_BINDING);
        let hop = HopExporter::new(Secret::filled_by(|out| export(out, labels::HOP)));
        exported.then_some((binding, hop))
    }

    fn read(&mut self, now: Instant, stream: StreamId, tell: &mut impl FnMut(News)) {
        if self.gone || self.closing.is_some() || self.connection.is_closed() {
            // Whatever it still says, nobody listens.
            let _ = self.connection.recv_stream(stream).stop(VarInt::from_u32(0));
            return self.unframer.clear();
        }
        let mut ended = false;
        if let Ok(mut chunks) = self.connection.recv_stream(stream).read(true) {
            loop {
                match chunks.next(usize::MAX) {
                    Ok(Some(chunk)) => self.unframer.push(&chunk.bytes),
                    Err(ReadError::Blocked) => break,
                    Ok(None) | Err(ReadError::Reset(_)) => {
                        ended = true;
                        break;
                    }
                }
            }
            let _ = chunks.finalize();
        }
        loop {
            match self.unframer.next_message() {
                Ok(Some(body)) => {
                    if now.saturating_duration_since(self.messages.0) >= Duration::from_secs(1) {
                        self.messages = (now, 0);
                    }
                    self.messages.1 += 1;
                    if self.messages.1 > MESSAGES {
                        return self.close(now, 5, b"too many control messages");
                    }
                    tell(News::Control(body));
                }
                Ok(None) => break,
                Err(_) => {
                    ended = true;
                    break;
                }
            }
        }
        if ended {
            self.leave(tell);
            self.say_goodbye(now);
        }
    }

    fn leave(&mut self, tell: &mut impl FnMut(News)) {
        if !core::mem::replace(&mut self.gone, true) {
            tell(News::Gone);
        }
    }

    /// Sends a control message, as soon as the member takes it.
    pub(super) fn say(&mut self, now: Instant, frame: &[u8]) {
        if self.connection.is_closed() {
            return;
        }
        if self.waiting.len() + frame.len() > MAX_WAITING {
            return self.close(now, 3, b"control messages unread");
        }
        self.waiting.extend(frame);
        self.flush(now);
    }

    /// Closes after what was said has arrived, or after a while.
    pub(super) fn say_goodbye(&mut self, now: Instant) {
        if self.closing.is_none() && !self.connection.is_closed() {
            self.closing = Some(now + GOODBYE);
            self.flush(now);
        }
    }

    pub(super) fn close(&mut self, now: Instant, code: u32, reason: &'static [u8]) {
        self.forget();
        if !self.connection.is_closed() {
            self.connection.close(now, VarInt::from_u32(code), Bytes::from_static(reason));
        }
    }

    fn flush(&mut self, now: Instant) {
        let Some(stream) = self.control else { return };
        let mut stream = self.connection.send_stream(stream);
        while !self.waiting.is_empty() {
            match stream.write(self.waiting.as_slices().0) {
                Ok(written) => {
                    self.waiting.drain(..written);
                    self.stuck = None;
                }
                Err(WriteError::Blocked) => {
                    self.stuck.get_or_insert(now);
                    return;
                }
                Err(WriteError::Stopped(_) | WriteError::ClosedStream) => return self.waiting.clear(),
            }
        }
        if self.closing.is_some() {
            let _ = stream.finish();
        }
    }
}
