//! A socket that many clients share: packets in, in batches, and packets out.

use std::io::{ErrorKind, IoSliceMut};
use std::net::{IpAddr, SocketAddr, UdpSocket};

use bytes::BytesMut;
use quinn_proto::{EcnCodepoint, Transmit};
use quinn_udp::{RecvMeta, UdpSockRef, UdpSocketState};

/// Reads with one system call.
const BATCH: usize = 32;
/// Bytes of one packet at most, before the system joins several into one read.
const PACKET: usize = 1500;
/// What the system may hold for us while we are busy with another socket.
const SOCKET_BUFFER: usize = 4 * 1024 * 1024;

/// One packet as it came.
pub(crate) struct Packet {
    pub(crate) from: SocketAddr,
    pub(crate) to: Option<IpAddr>,
    pub(crate) ecn: Option<EcnCodepoint>,
    pub(crate) bytes: BytesMut,
}

/// Where packets are read into: one for all sockets, since they are read in turns.
pub(crate) struct Inbox {
    buffer: Vec<u8>,
    stride: usize,
    /// Of the last batch.
    pub(crate) packets: Vec<Packet>,
}

impl Inbox {
    /// For sockets like this one.
    pub(crate) fn new(socket: &Socket) -> Self {
        let stride = PACKET * socket.state.gro_segments().max(1);
        Self { buffer: vec![0; stride * BATCH], stride, packets: Vec::new() }
    }
}

#[derive(Debug)]
pub(crate) struct Socket {
    pub(crate) socket: mio::net::UdpSocket,
    state: UdpSocketState,
    /// What the system had no room for.
    blocked: Option<(Transmit, Vec<u8>)>,
    /// Something may be there to be read.
    pub(crate) readable: bool,
}

impl Socket {
    pub(crate) fn bind(address: IpAddr) -> std::io::Result<Self> {
        let socket = UdpSocket::bind((address, 0))?;
        socket.set_nonblocking(true)?;
        let socket = mio::net::UdpSocket::from_std(socket);
        let state = UdpSocketState::new(UdpSockRef::from(&socket))?;
        // The system may grant less.
        let _ = state.set_recv_buffer_size(UdpSockRef::from(&socket), SOCKET_BUFFER);
        let _ = state.set_send_buffer_size(UdpSockRef::from(&socket), SOCKET_BUFFER);
        Ok(Self { socket, state, blocked: None, readable: false })
    }

    /// Whether the system may cut packets up.
    pub(crate) fn may_fragment(&self) -> bool {
        self.state.may_fragment()
    }

    /// Reads one batch into `inbox`; `false` when there was nothing left to be read, and only then: the system says
    /// once that something has come.
    pub(crate) fn receive(&mut self, inbox: &mut Inbox) -> std::io::Result<bool> {
        inbox.packets.clear();
        let mut metas = [RecvMeta::default(); BATCH];
        let mut slices = inbox.buffer.chunks_exact_mut(inbox.stride);
        let mut slices: [IoSliceMut<'_>; BATCH] =
            core::array::from_fn(|_| IoSliceMut::new(slices.next().unwrap_or_default()));
        let count = match self.state.recv(UdpSockRef::from(&self.socket), &mut slices, &mut metas) {
            Ok(count) => count,
            Err(error) if error.kind() == ErrorKind::WouldBlock => return Ok(false),
            Err(error) if matches!(error.kind(), ErrorKind::ConnectionReset | ErrorKind::Interrupted) => 0,
            Err(error) => return Err(error),
        };
        for (meta, slice) in metas.iter().zip(&slices).take(count) {
            let mut bytes = BytesMut::from(slice.get(..meta.len).unwrap_or_default());
            let ecn = meta.ecn.and_then(|ecn| EcnCodepoint::from_bits(ecn as u8));
            while !bytes.is_empty() {
                let packet = bytes.split_to(meta.stride.clamp(1, bytes.len()));
                inbox.packets.push(Packet { from: meta.addr, to: meta.dst_ip, ecn, bytes: packet });
            }
        }
        Ok(true)
    }

    /// Whether something waits for the system to have room.
    pub(crate) const fn is_blocked(&self) -> bool {
        self.blocked.is_some()
    }

    /// Tries what was blocked once more; whether it has left.
    pub(crate) fn unblock(&mut self) -> bool {
        match self.blocked.take() {
            None => true,
            Some((transmit, contents)) => self.send(transmit, &contents),
        }
    }

    /// Sends. `false` when the system has no room: it is kept, and nothing more may be sent before [`Self::unblock`].
    pub(crate) fn send(&mut self, transmit: Transmit, contents: &[u8]) -> bool {
        let contents = contents.get(..transmit.size).unwrap_or_default();
        let out = quinn_udp::Transmit {
            destination: transmit.destination,
            ecn: transmit.ecn.and_then(|ecn| quinn_udp::EcnCodepoint::from_bits(ecn as u8)),
            contents,
            segment_size: transmit.segment_size,
            src_ip: transmit.src_ip,
        };
        match self.state.send(UdpSockRef::from(&self.socket), &out) {
            Err(error) if error.kind() == ErrorKind::WouldBlock => {
                self.blocked = Some((transmit, contents.to_vec()));
                false
            }
            Ok(()) | Err(_) => true,
        }
    }
}
