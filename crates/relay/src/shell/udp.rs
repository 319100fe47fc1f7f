//! The socket: packets in, in batches, and packets out.

use std::io::{ErrorKind, IoSliceMut};
use std::net::{IpAddr, SocketAddr, UdpSocket};

use bytes::BytesMut;
use quinn_proto::{EcnCodepoint, Transmit};
use quinn_udp::{RecvMeta, UdpSockRef, UdpSocketState};
use tracing::warn;

/// Reads with one system call.
const BATCH: usize = 32;
/// Bytes of one packet at most, before the system joins several into one read.
const PACKET: usize = 1500;
/// Packets that leave in one piece at most: more than fit into one datagram would be lost without a word.
const SEGMENTS: usize = 10;
/// What the system may hold for us while we are busy with something else.
pub const SOCKET_BUFFER: usize = 2 * 1024 * 1024;

/// One packet as it came.
pub(super) struct Received {
    pub(super) from: SocketAddr,
    pub(super) to: Option<IpAddr>,
    pub(super) ecn: Option<EcnCodepoint>,
    pub(super) bytes: BytesMut,
}

#[derive(Debug)]
pub(super) struct Udp {
    pub(super) socket: mio::net::UdpSocket,
    state: UdpSocketState,
    buffer: Vec<u8>,
    stride: usize,
    /// What the system had no room for.
    blocked: Option<(Transmit, Vec<u8>)>,
}

impl Udp {
    pub(super) fn new(socket: UdpSocket) -> std::io::Result<Self> {
        let socket = {
            socket.set_nonblocking(true)?;
            mio::net::UdpSocket::from_std(socket)
        };
        let state = UdpSocketState::new(UdpSockRef::from(&socket))?;
        // The system may grant less; that is no reason not to start.
        let _ = state.set_recv_buffer_size(UdpSockRef::from(&socket), SOCKET_BUFFER);
        let _ = state.set_send_buffer_size(UdpSockRef::from(&socket), SOCKET_BUFFER);
        let stride = PACKET * state.gro_segments().max(1);
        Ok(Self { socket, state, buffer: vec![0; stride * BATCH], stride, blocked: None })
    }

    /// How many packets may leave in one piece.
    pub(super) fn segments(&self) -> usize {
        self.state.max_gso_segments().clamp(1, SEGMENTS)
    }

    /// Whether the system may cut packets up, so that probing for larger ones says nothing.
    pub(super) fn may_fragment(&self) -> bool {
        self.state.may_fragment()
    }

    /// Reads one batch. Returns how many messages it brought, empty ones too; `None` when there are no more, and only
    /// then: the system says once that something has come.
    pub(super) fn receive(&mut self, mut each: impl FnMut(Received)) -> Option<usize> {
        let mut metas = [RecvMeta::default(); BATCH];
        let mut slices = self.buffer.chunks_exact_mut(self.stride);
        let mut slices: [IoSliceMut<'_>; BATCH] =
            core::array::from_fn(|_| IoSliceMut::new(slices.next().unwrap_or_default()));
        let count = match self.state.recv(UdpSockRef::from(&self.socket), &mut slices, &mut metas) {
            Ok(count) => count,
            Err(error) if error.kind() == ErrorKind::WouldBlock => return None,
            // A peer's closed port, reported by the system on our socket, is no fault of the socket.
            Err(error) => {
                if !matches!(error.kind(), ErrorKind::ConnectionReset | ErrorKind::Interrupted) {
                    warn!(%error, "the relay's socket cannot be read");
                }
                return Some(1);
            }
        };
        for (meta, slice) in metas.iter().zip(&slices).take(count) {
            let mut bytes = BytesMut::from(slice.get(..meta.len).unwrap_or_default());
            let ecn = meta.ecn.and_then(|ecn| EcnCodepoint::from_bits(ecn as u8));
            while !bytes.is_empty() {
                let packet = bytes.split_to(meta.stride.clamp(1, bytes.len()));
                each(Received { from: meta.addr, to: meta.dst_ip, ecn, bytes: packet });
            }
        }
        Some(count)
    }

    /// Whether something waits for the system to have room.
    pub(super) const fn is_blocked(&self) -> bool {
        self.blocked.is_some()
    }

    /// Tries what was blocked once more; whether it has left.
    pub(super) fn unblock(&mut self) -> bool {
        match self.blocked.take() {
            None => true,
            Some((transmit, contents)) => self.send(transmit, &contents),
        }
    }

    /// Sends. `false` when the system has no room: it is kept, and nothing more may be sent before [`Self::unblock`].
    pub(super) fn send(&mut self, transmit: Transmit, contents: &[u8]) -> bool {
        let contents = contents.get(..transmit.size).unwrap_or_default();
        let out = quinn_udp::Transmit {
            destination: transmit.destination,
            ecn: transmit.ecn.and_then(|ecn| quinn_udp::EcnCodepoint::from_bits(ecn as u8)),
            contents,
            segment_size: transmit.segment_size,
            src_ip: transmit.src_ip,
        };
        // Everything but a full socket is logged there and lost, as any packet may be.
        match self.state.send(UdpSockRef::from(&self.socket), &out) {
            Err(error) if error.kind() == ErrorKind::WouldBlock => {
                self.blocked = Some((transmit, contents.to_vec()));
                false
            }
            Ok(()) | Err(_) => true,
        }
    }
}
