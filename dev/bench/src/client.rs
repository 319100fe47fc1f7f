//! One client: its QUIC connection, its control stream, and what it says.

use std::time::{Duration, Instant};

use anyhow::{Context as _, bail};
use bytes::Bytes;
use quinn_proto::{Connection, ConnectionHandle, Dir, Event, ReadError, StreamEvent, StreamId, WriteError};

use crate::talk::Heard;

/// Between two signs of life of a client that says nothing else.
pub(crate) const PING: Duration = Duration::from_secs(1);

/// What a TLS session exports under a label.
pub(crate) type Export<'e> = dyn FnMut(&[u8]) -> Option<[u8; 32]> + 'e;

/// What one client says to its relay.
pub(crate) trait Speech {
    /// What it begins its control stream with, once the connection stands.
    fn hello(&mut self, export: &mut Export<'_>) -> anyhow::Result<Vec<u8>>;

    /// Takes what came on that stream; whether the client is in.
    fn control(&mut self, bytes: &[u8]) -> anyhow::Result<bool>;

    /// Takes what comes after that, if anything of it matters to whoever speaks.
    fn told(&mut self, _bytes: &[u8]) -> anyhow::Result<()> {
        Ok(())
    }

    /// A sign of life for the control stream, if this relay wants any.
    fn ping(&mut self) -> Option<Vec<u8>>;

    /// Writes the packet with this number into `buffer`; returns its length.
    fn packet(&mut self, sequence: u32, buffer: &mut [u8]) -> usize;

    /// Whose packet this is, by place in the room, and its number.
    fn sequence(&self, packet: &[u8]) -> Option<(u16, u32)>;
}

pub(crate) struct Client {
    pub(crate) connection: Connection,
    pub(crate) handle: ConnectionHandle,
    /// The number of its socket.
    pub(crate) net: usize,
    /// Among those that have something to send.
    pub(crate) touched: bool,
    /// Among those that something came for.
    pub(crate) fresh: bool,
    /// When the loop will look at it by itself.
    pub(crate) scheduled: Option<Instant>,
    /// In its room.
    pub(crate) entered: bool,
    speech: Box<dyn Speech>,
    control: Option<StreamId>,
    /// For the control stream.
    waiting: Vec<u8>,
    /// When it spoke last.
    spoke: Option<Instant>,
}

impl Client {
    pub(crate) fn new(connection: Connection, handle: ConnectionHandle, net: usize, speech: Box<dyn Speech>) -> Self {
        Self {
            connection,
            handle,
            net,
            touched: false,
            fresh: false,
            scheduled: None,
            entered: false,
            speech,
            control: None,
            waiting: Vec::new(),
            spoke: None,
        }
    }

    /// Takes what happened on the connection; `client` is its own number.
    pub(crate) fn listen(&mut self, at: Instant, client: usize, hear: &mut dyn FnMut(Heard)) -> anyhow::Result<()> {
        while let Some(event) = self.connection.poll() {
            match event {
                Event::Connected => self.greet()?,
                Event::ConnectionLost { reason } => bail!("client {client} lost its relay: {reason}"),
                Event::Stream(StreamEvent::Readable { id }) => self.read(id)?,
                Event::Stream(StreamEvent::Writable { .. }) => self.write()?,
                Event::Stream(StreamEvent::Stopped { .. }) => bail!("the relay reads client {client} no more"),
                Event::DatagramReceived => {
                    while let Some(packet) = self.connection.datagrams().recv() {
                        hear(Heard { client, at, said: self.speech.sequence(&packet) });
                    }
                }
                Event::HandshakeDataReady
                | Event::DatagramsUnblocked
                | Event::Stream(
                    StreamEvent::Opened { .. } | StreamEvent::Finished { .. } | StreamEvent::Available { .. },
                ) => {}
            }
        }
        Ok(())
    }

    fn greet(&mut self) -> anyhow::Result<()> {
        let session = self.connection.crypto_session();
        let mut export = |label: &[u8]| {
            let mut out = [0; 32];
            session.export_keying_material(&mut out, label, &[]).ok().map(|()| out)
        };
        self.waiting = self.speech.hello(&mut export)?;
        self.control = Some(self.connection.streams().open(Dir::Bi).context("the relay allows no stream")?);
        self.write()
    }

    fn read(&mut self, id: StreamId) -> anyhow::Result<()> {
        let Self { connection, speech, entered, .. } = self;
        let mut stream = connection.recv_stream(id);
        let Ok(mut chunks) = stream.read(true) else { return Ok(()) };
        loop {
            match chunks.next(usize::MAX) {
                Ok(Some(chunk)) if !*entered => *entered = speech.control(&chunk.bytes)?,
                Ok(Some(chunk)) => speech.told(&chunk.bytes)?,
                Ok(None) | Err(ReadError::Reset(_)) => bail!("the relay ended a control stream"),
                Err(ReadError::Blocked) => break,
            }
        }
        // Whether credit is to be sent is found out anyway.
        let _ = chunks.finalize();
        Ok(())
    }

    fn write(&mut self) -> anyhow::Result<()> {
        let Some(id) = self.control else { return Ok(()) };
        let mut stream = self.connection.send_stream(id);
        while !self.waiting.is_empty() {
            match stream.write(&self.waiting) {
                Ok(written) => drop(self.waiting.drain(..written)),
                Err(WriteError::Blocked) => break,
                Err(error) => bail!("the control stream cannot be written: {error}"),
            }
        }
        Ok(())
    }

    /// Says that it is still there, unless its packets do.
    pub(crate) fn keep_alive(&mut self, now: Instant) -> anyhow::Result<()> {
        let quiet = self.spoke.is_none_or(|at| now.saturating_duration_since(at) >= PING);
        if self.entered
            && quiet
            && let Some(ping) = self.speech.ping()
        {
            self.waiting.extend(ping);
            self.write()?;
        }
        Ok(())
    }

    /// Hands the packet with this number to QUIC; whether it was taken.
    pub(crate) fn say(&mut self, now: Instant, sequence: u32, buffer: &mut [u8]) -> bool {
        self.spoke = Some(now);
        let length = self.speech.packet(sequence, buffer);
        let packet = buffer.get(..length).unwrap_or_default();
        !packet.is_empty() && self.connection.datagrams().send(Bytes::copy_from_slice(packet), true).is_ok()
    }
}
