//! A member of a hop room.

use undertone_keys::sign::{Device, SigningKey};
use undertone_keys::{Secret, UserId};
use undertone_media::packet::{Codec, Flags, Kind};
use undertone_media::{Context, Epoch, FrameInfo, HopExporter, MediaHeader, MemberHop};
use undertone_protocol::control::ToMember;
use undertone_protocol::{Grant, Protection, Rights};
use undertone_relay::ConnectionId;

use super::World;

/// A member with its own end of the hop.
pub(crate) struct Member {
    pub(crate) connection: ConnectionId,
    pub(crate) index: u16,
    pub(crate) grant: Grant,
    pub(crate) hop: MemberHop,
}

impl Member {
    pub(crate) fn enter(world: &mut World) -> Self {
        Self::enter_with(world, Rights { speak: true, moderate: false })
    }

    pub(crate) fn enter_with(world: &mut World, rights: Rights) -> Self {
        let device = world.device();
        Self::enter_as(world, &device, "ada", rights)
    }

    pub(crate) fn enter_as(world: &mut World, device: &SigningKey<Device>, user: &str, rights: Rights) -> Self {
        let (connection, binding) = world.connect();
        let mut grant = Grant { protection: Protection::Hop, rights, ..world.grant(device) };
        grant.member.user = UserId::parse(user, "x").unwrap();
        let papers = world.papers(device, &grant, binding, 0);
        let hash = Grant::hash(&papers.grant);
        world.enter(connection, papers);
        let exporter = HopExporter::new(Secret::from_slice(&binding).unwrap());
        let index = world.index(connection).unwrap();
        Self { connection, index, grant, hop: MemberHop::new(exporter.chain(hash)) }
    }

    pub(crate) fn seal_as(&mut self, index: u16, payload: &[u8]) -> Vec<u8> {
        self.seal_of(Kind::Audio, index, payload)
    }

    pub(crate) fn seal_of(&mut self, kind: Kind, index: u16, payload: &[u8]) -> Vec<u8> {
        let header = MediaHeader {
            flags: Flags::default(),
            kind,
            codec: Codec::OPUS_32K,
            stream: 0,
            fec_ratio: 0,
            sequence: 1,
            timestamp_ms: 20,
            fec_block: 0,
        };
        let info = FrameInfo { kind, codec: Codec::OPUS_32K, context: Context::MAIN_AUDIO, captured_ms: 20 };
        let mut out = [0; 300];
        let length = self.hop.seal(&header, index, info, payload, &mut out).unwrap();
        out[..length].to_vec()
    }

    pub(crate) fn seal(&mut self, payload: &[u8]) -> Vec<u8> {
        self.seal_as(self.index, payload)
    }

    /// Whose frames came, and what they say.
    pub(crate) fn hear(&mut self, world: &mut World) -> Vec<(u16, Vec<u8>)> {
        let now = world.now;
        let open = |packet: bytes::Bytes| {
            let mut packet = packet.to_vec();
            let opened = self.hop.open(now, &mut packet).unwrap();
            (opened.sender, opened.payload.to_vec())
        };
        world.received(self.connection).into_iter().map(open).collect()
    }

    /// Which epochs the relay named to this member so far.
    pub(crate) fn named(&self, world: &World) -> Vec<(Epoch, bool)> {
        let epoch = |message: &ToMember| match message {
            ToMember::HopEpoch { epoch, removed } => Some((Epoch(*epoch), *removed)),
            _ => None,
        };
        world.told.get(&self.connection).into_iter().flatten().filter_map(epoch).collect()
    }
}
