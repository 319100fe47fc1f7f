//! Who comes in, and where what they send goes: a shard's endpoint, and the shards its connections live in.

use std::sync::Arc;
use std::time::Instant;

use quinn_proto::{
    AcceptError, Connection, ConnectionEvent, ConnectionHandle, DatagramEvent, Endpoint, EndpointEvent, Incoming,
    ServerConfig, Transmit,
};
use tracing::debug;
use undertone_protocol::Origin;

use super::address::Addresses;
use super::config;
use super::mail::Shared;
use super::udp::Received;

/// From this many connections on, an address must prove itself before it costs us a handshake ...
const VALIDATE_FROM: usize = 512;
/// ... and from this many of its own on in any case: with a forged sender nobody uses up somebody else's share.
const VALIDATE_EACH_FROM: usize = 8;

/// Where a connection of this endpoint lives.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Lives {
    /// In this shard, in this slot.
    Here(usize),
    /// In that shard.
    With(usize),
}

/// What a packet led to.
pub(super) enum Knock {
    /// It belongs to this connection.
    Known(ConnectionHandle, ConnectionEvent),
    /// Somebody new; the caller says where they live by [`Door::settle`].
    New(ConnectionHandle, Box<Connection>, Origin),
    /// Something is to be answered at once, with what stands in the buffer.
    Answer(Transmit),
}

pub(super) struct Door {
    endpoint: Endpoint,
    /// By connection handle.
    lives: Vec<Option<Lives>>,
    shared: Arc<Shared>,
}

impl Door {
    pub(super) fn new(
        shard: usize,
        server: Arc<ServerConfig>,
        addresses: &Addresses,
        may_fragment: bool,
        shared: Arc<Shared>,
    ) -> Self {
        let endpoint = config::endpoint({
            let addresses = addresses.clone();
            move || addresses.generator(shard)
        });
        Self { endpoint: Endpoint::new(endpoint, Some(server), !may_fragment, None), lives: Vec::new(), shared }
    }

    /// Takes a packet.
    pub(super) fn knock(&mut self, now: Instant, packet: Received, buffer: &mut Vec<u8>) -> Option<Knock> {
        let Received { from, to, ecn, bytes } = packet;
        buffer.clear();
        match self.endpoint.handle(now, from, to, ecn, bytes, buffer)? {
            DatagramEvent::ConnectionEvent(handle, event) => Some(Knock::Known(handle, event)),
            DatagramEvent::NewConnection(incoming) => self.meet(now, incoming, buffer),
            DatagramEvent::Response(transmit) => Some(Knock::Answer(transmit)),
        }
    }

    /// Somebody new: in, to be asked whether it is who it says, or turned away.
    fn meet(&mut self, now: Instant, incoming: Incoming, buffer: &mut Vec<u8>) -> Option<Knock> {
        buffer.clear();
        let origin = Origin::of(incoming.remote_address().ip());
        {
            let mut gate = self.shared.gate();
            let doubtful = gate.connections >= VALIDATE_FROM || gate.origins.held(&origin) >= VALIDATE_EACH_FROM;
            if doubtful && !incoming.remote_address_validated() {
                drop(gate);
                let transmit = match self.endpoint.retry(incoming, buffer) {
                    Ok(transmit) => transmit,
                    Err(error) => self.endpoint.refuse(error.into_incoming(), buffer),
                };
                return Some(Knock::Answer(transmit));
            }
            let full = self.shared.stopping() || gate.connections >= gate.most;
            if full || !gate.origins.take(&origin) {
                drop(gate);
                return Some(Knock::Answer(self.endpoint.refuse(incoming, buffer)));
            }
            gate.connections += 1;
        }
        match self.endpoint.accept(incoming, now, buffer, None) {
            Ok((handle, connection)) => Some(Knock::New(handle, Box::new(connection), origin)),
            Err(AcceptError { cause, response }) => {
                debug!(%cause, "handshake failed");
                self.shared.left(&origin);
                response.map(Knock::Answer)
            }
        }
    }

    /// Says where a connection lives from now on.
    pub(super) fn settle(&mut self, handle: ConnectionHandle, lives: Lives) {
        if self.lives.len() <= handle.0 {
            self.lives.resize(handle.0 + 1, None);
        }
        if let Some(place) = self.lives.get_mut(handle.0) {
            *place = Some(lives);
        }
    }

    pub(super) fn lives(&self, handle: ConnectionHandle) -> Option<Lives> {
        self.lives.get(handle.0).copied().flatten()
    }

    /// Takes what a connection tells its endpoint; the answer is for that connection.
    pub(super) fn told(&mut self, handle: ConnectionHandle, event: EndpointEvent) -> Option<ConnectionEvent> {
        if event.is_drained()
            && let Some(place) = self.lives.get_mut(handle.0)
        {
            *place = None;
        }
        self.endpoint.handle_event(handle, event)
    }
}
