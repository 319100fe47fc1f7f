//! Which shard a packet is for: one port, a socket on it for each shard, and connection ids that say whose they are.
//!
//! The system hands a new flow to one of the sockets and stays with it, so nearly every packet comes to the shard whose
//! endpoint knows it. A member whose address changes comes to another one: its connection id says to which it belongs.

use std::hash::{BuildHasher, RandomState};
use std::net::{SocketAddr, UdpSocket};
use std::time::Duration;

use quinn_proto::{ConnectionId, ConnectionIdGenerator, InvalidCid, RandomConnectionIdGenerator};
use socket2::{Domain, Protocol, Socket, Type};
use undertone_keys::RoomId;

/// Shards at most: whose a connection id is has to fit into its first byte, with room for ids that are nobody's.
pub const MAX_SHARDS: usize = 64;
/// Bytes of a connection id.
const LENGTH: usize = 8;
/// The bit that packets with a long header have set (RFC 9000, 17.2).
const LONG_HEADER: u8 = 0x80;

/// Binds a socket for each of so many shards, all to one address and port: the one that is chosen if it is 0.
///
/// # Errors
/// What the system said.
pub fn bind(address: SocketAddr, shards: usize) -> std::io::Result<Vec<UdpSocket>> {
    if shards <= 1 {
        return Ok(vec![UdpSocket::bind(address)?]);
    }
    let (mut address, mut sockets) = (address, Vec::new());
    for _ in 0..shards.min(MAX_SHARDS) {
        let socket = Socket::new(Domain::for_address(address), Type::DGRAM, Some(Protocol::UDP))?;
        socket.set_reuse_port(true)?;
        socket.bind(&address.into())?;
        let socket = UdpSocket::from(socket);
        address = socket.local_addr()?;
        sockets.push(socket);
    }
    Ok(sockets)
}

/// The shard that a room is in.
pub(super) fn shard_of(room: RoomId, shards: usize) -> usize {
    let Some((first, _)) = room.as_bytes().split_first_chunk() else { return 0 };
    // Ids are random; whoever chooses theirs shares a shard with whom they like, and no more.
    usize::try_from(u64::from_be_bytes(*first) % shards.max(1) as u64).unwrap_or_default()
}

/// Writes and reads whose a connection id is. To everybody else the first byte is as random as the others.
#[derive(Clone, Debug)]
pub(super) struct Addresses {
    key: RandomState,
    shards: usize,
}

impl Addresses {
    pub(super) fn new(shards: usize) -> Self {
        Self { key: RandomState::new(), shards }
    }

    /// The shard whose id this is, if it is one's.
    fn owner(&self, id: &[u8]) -> Option<usize> {
        let (first, rest) = id.split_first()?;
        let owner = usize::from(first ^ self.mask(rest));
        (rest.len() == LENGTH - 1 && owner < self.shards).then_some(owner)
    }

    fn mask(&self, rest: &[u8]) -> u8 {
        self.key.hash_one(rest).to_be_bytes()[0]
    }

    /// The shard a packet belongs to, if it says so: packets of connections that stand do.
    pub(super) fn of_packet(&self, packet: &[u8]) -> Option<usize> {
        let (first, rest) = packet.split_first()?;
        if self.shards == 1 || first & LONG_HEADER != 0 {
            return None;
        }
        self.owner(rest.get(..LENGTH)?)
    }

    pub(super) fn generator(&self, shard: usize) -> Box<dyn ConnectionIdGenerator> {
        let random = RandomConnectionIdGenerator::new(LENGTH);
        Box::new(Generator { addresses: self.clone(), shard, random })
    }
}

/// Makes the ids of one shard's connections.
struct Generator {
    addresses: Addresses,
    shard: usize,
    random: RandomConnectionIdGenerator,
}

impl ConnectionIdGenerator for Generator {
    fn generate_cid(&mut self) -> ConnectionId {
        let mut bytes = [0; LENGTH];
        bytes.iter_mut().zip(self.random.generate_cid().iter()).for_each(|(to, from)| *to = *from);
        let [first, rest @ ..] = &mut bytes;
        // There are no more shards than fit.
        *first = self.addresses.mask(rest) ^ u8::try_from(self.shard).unwrap_or_default();
        ConnectionId::new(&bytes)
    }

    /// A packet under an id that no shard gave is not worth an answer.
    fn validate(&self, id: &ConnectionId) -> Result<(), InvalidCid> {
        self.addresses.owner(id).map(|_| ()).ok_or(InvalidCid)
    }

    fn cid_len(&self) -> usize {
        LENGTH
    }

    fn cid_lifetime(&self) -> Option<Duration> {
        None
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_id_says_whose_it_is_to_the_relay_alone() {
        let (addresses, strangers) = (Addresses::new(3), Addresses::new(3));
        let mut firsts = std::collections::HashSet::new();
        let mut known_to_strangers = 0;
        for shard in 0..3 {
            let mut generator = addresses.generator(shard);
            for _ in 0..100 {
                let id = generator.generate_cid();
                assert_eq!(addresses.owner(&id), Some(shard));
                assert!(generator.validate(&id).is_ok());
                firsts.insert(id[0]);
                known_to_strangers += usize::from(strangers.owner(&id) == Some(shard));
            }
        }
        assert!(firsts.len() > 100, "the first byte gives nothing away: {} different ones", firsts.len());
        assert!(known_to_strangers < 30, "nobody reads them without the key");
    }

    #[test]
    fn only_packets_of_standing_connections_are_sent_on() {
        let addresses = Addresses::new(2);
        let id = addresses.generator(1).generate_cid();
        let short = [&[0x40][..], &id, &[0; 20]].concat();
        assert_eq!(addresses.of_packet(&short), Some(1));
        assert_eq!(addresses.of_packet(&[&[0xc0][..], &id, &[0; 20]].concat()), None, "a long header");
        for cut in 0..LENGTH {
            assert_eq!(addresses.of_packet(&short[..=cut]), None, "too short");
        }
    }

    #[test]
    fn shards_share_a_port() {
        let sockets = bind(SocketAddr::from(([127, 0, 0, 1], 0)), 3).unwrap();
        let ports: Vec<u16> = sockets.iter().map(|socket| socket.local_addr().unwrap().port()).collect();
        assert!(ports.len() == 3 && ports.iter().all(|port| *port == ports[0] && *port != 0));
    }
}
