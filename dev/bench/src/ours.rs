//! Undertone's relay, with members who have papers and seal what they say.

use std::io::Read;
use std::net::{Ipv4Addr, SocketAddr};

use anyhow::{Context as _, bail};
use getrandom::SysRng;
use rand_core::UnwrapErr;
use undertone_keys::agreement::EphemeralKey;
use undertone_keys::call_agreement::MediaKey;
use undertone_keys::envelope::Address;
use undertone_keys::labels::Label;
use undertone_keys::sign::{Device, Server, Signed, SigningKey, VerifyingKey};
use undertone_keys::{CallId, DeviceId, JoinId, RoomId, Secret, Time, UserId, WallTime, cbor};
use undertone_media::hop::HopExporter;
use undertone_media::packet::{Codec, Flags, HEADER_LENGTH, Kind};
use undertone_media::{Context, Epoch, FrameInfo, MediaHeader, MemberHop, Ring, Sender, SenderIndex};
use undertone_protocol::control::{ToMember, ToRelay, Unframer};
use undertone_protocol::grant::Rights;
use undertone_protocol::{Grant, Join, Protection, VERSION, labels};
use undertone_relay::Limits;
use undertone_relay::shell::{Config, Failed, Relay, bind};

use crate::client::{Export, Speech};
use crate::crowd::run_and_look;
use crate::load::{Load, PAYLOAD, Run};
use crate::process::{Served, listening};
use crate::tls;

/// What everybody says about every frame.
const INFO: FrameInfo =
    FrameInfo { kind: Kind::Audio, codec: Codec::OPUS_32K, context: Context::MAIN_AUDIO, captured_ms: 0 };

/// How the one control message begins that a member who is in has to read.
const HOP_EPOCH: [u8; 2] = [0x83, 6];

const fn rng() -> UnwrapErr<SysRng> {
    UnwrapErr(SysRng)
}

pub(crate) fn serve(shards: usize) -> anyhow::Result<()> {
    let mut key = Vec::new();
    std::io::stdin().read_to_end(&mut key)?;
    let server: VerifyingKey<Server> = cbor::decode(&key).ok().context("no key on stdin")?;
    let sockets = bind(SocketAddr::from((Ipv4Addr::LOCALHOST, 0)), shards)?;
    let address = sockets.first().context("no sockets")?.local_addr()?;
    // A user has a place in each room here, and a room may be larger than an operator would have it.
    let limits = Limits { places_per_user: usize::MAX, members: usize::MAX, ..Limits::default() };
    let (tls, certificate) = tls::server()?;
    let _relay = Relay::start(
        sockets,
        tls,
        Config { server, limits, tap: None, failed: Failed(Box::new(|| std::process::exit(1))) },
    )?;
    listening(address, &certificate)?;
    loop {
        std::thread::park();
    }
}

/// A relay of one shard has a CPU to itself where there are two; one of more has all of them.
pub(crate) fn measure(load: &Load, protection: Protection, shards: usize) -> anyhow::Result<Run> {
    Ok(measure_and_look(load, protection, shards, |_| Ok(()))?.0)
}

/// The same, and a look at the relay while everybody is still there.
pub(crate) fn measure_and_look<T>(
    load: &Load,
    protection: Protection,
    shards: usize,
    look: impl FnOnce(&Served) -> anyhow::Result<T>,
) -> anyhow::Result<(Run, T)> {
    let server = SigningKey::<Server>::generate(&mut rng());
    let cpu = (shards == 1).then_some(0);
    let relay = Served::start("ours", &[&shards.to_string()], &cbor::encode(server.public()), cpu)?;
    let make = |room, member| -> anyhow::Result<Box<dyn Speech>> {
        Ok(Box::new(Member::new(&server, u16::try_from(room)?, u16::try_from(member)?, protection)?))
    };
    run_and_look(&relay, load, make, look)
}

/// Somebody with papers for a room.
struct Member {
    device: SigningKey<Device>,
    address: Address,
    call: CallId,
    grant: Signed,
    join: JoinId,
    protection: Protection,
    /// Its place among those of the benchmark; the relay has an index of its own for it.
    place: u16,
    /// What a hop room's keys come from, once the connection stands.
    hop: Option<HopExporter>,
    unframer: Unframer,
    seal: Seal,
}

/// What seals a member's packets, once it is in.
enum Seal {
    None,
    Ring(Box<Ring>),
    Hop(Box<MemberHop>, SenderIndex),
}

impl Member {
    fn new(server: &SigningKey<Server>, room: u16, place: u16, protection: Protection) -> anyhow::Result<Self> {
        let [high, low] = room.to_be_bytes();
        // Rooms are spread over shards by their first eight bytes; numbered like this, evenly.
        let number = core::array::from_fn(|at| if at % 2 == 0 { high } else { low });
        let (device, call) = (SigningKey::<Device>::generate(&mut rng()), CallId::from_bytes(number));
        // A name each: a relay lets nobody join a room over and over.
        let user = UserId::parse(&format!("ada{place}"), "x")?;
        let address = Address { user, device: DeviceId::of(device.public()) };
        let grant = Grant {
            room: RoomId::from_bytes(number),
            call,
            member: address.clone(),
            identity: *device.public(),
            protection,
            rights: Rights { speak: true, moderate: false },
            expires: WallTime::from_unix(u64::MAX / 2),
            audience: None,
        }
        .sign(server);
        Ok(Self {
            device,
            address,
            call,
            grant,
            join: JoinId::random(&mut rng()),
            protection,
            place,
            hop: None,
            unframer: Unframer::default(),
            seal: Seal::None,
        })
    }

    /// What seals as the relay's member `index`.
    fn sealing(&mut self, index: SenderIndex) -> anyhow::Result<Seal> {
        Ok(match self.protection {
            Protection::Blind | Protection::Echo => {
                let mut ring = Ring::new(self.call);
                ring.install(Time::ZERO, Epoch(1), MediaKey::new(Secret::filled_by(|key| key.fill(1))))?;
                let Address { user, device } = self.address.clone();
                ring.join(Sender { user, device, join: self.join, index })?;
                Seal::Ring(Box::new(ring))
            }
            Protection::Hop => {
                let exporter = self.hop.take().context("joined before the connection stood")?;
                Seal::Hop(Box::new(MemberHop::new(exporter.chain(Grant::hash(&self.grant)))), index)
            }
        })
    }
}

impl Speech for Member {
    fn hello(&mut self, export: &mut Export<'_>) -> anyhow::Result<Vec<u8>> {
        let mut exported = |label: Label| export(label.as_bytes()).context("no exporter");
        let join = Join {
            grant: Grant::hash(&self.grant),
            call: self.call,
            join: self.join,
            ephemeral: Some(*EphemeralKey::generate(&mut rng()).public()),
            binding: exported(labels::CHANNEL_BINDING)?,
            min_index: 0,
        }
        .sign(&self.device);
        self.hop = Some(HopExporter::new(Secret::take(&mut exported(labels::HOP)?)));
        ToRelay::Join { version: VERSION, grant: self.grant.clone(), join }.frame().context("a join fits")
    }

    fn control(&mut self, bytes: &[u8]) -> anyhow::Result<bool> {
        self.unframer.push(bytes);
        let Some(body) = self.unframer.next_message()? else { return Ok(false) };
        match ToMember::decode(&body)? {
            ToMember::Joined { index, .. } => {
                self.seal = self.sealing(index)?;
                if self.protection != Protection::Hop {
                    // Who else is there, nobody here wants to know.
                    self.unframer.clear();
                }
                self.told(&[])?;
                Ok(true)
            }
            other => bail!("not let in: {other:?}"),
        }
    }

    fn told(&mut self, bytes: &[u8]) -> anyhow::Result<()> {
        // The relay renews what it opens with: a member that did not follow would say nothing any more.
        let Seal::Hop(hop, _) = &mut self.seal else { return Ok(()) };
        self.unframer.push(bytes);
        while let Some(body) = self.unframer.next_message()? {
            // An array of three with this number first. The others are long, and read for nothing.
            if body.starts_with(&HOP_EPOCH)
                && let ToMember::HopEpoch { epoch, removed } = ToMember::decode(&body)?
            {
                hop.follow(Time::ZERO, Epoch(epoch), removed)?;
            }
        }
        Ok(())
    }

    fn ping(&mut self) -> Option<Vec<u8>> {
        ToRelay::Ping { sent_ms: 0 }.frame()
    }

    fn packet(&mut self, sequence: u32, buffer: &mut [u8]) -> usize {
        let header = MediaHeader {
            flags: Flags::default(),
            kind: Kind::Audio,
            codec: Codec::OPUS_32K,
            stream: 0,
            fec_ratio: 0,
            sequence,
            timestamp_ms: 0,
            // The relay hands a header on as it is, and nothing here needs FEC: whose packet it is stands there.
            fec_block: self.place,
        };
        match &mut self.seal {
            Seal::None => 0,
            Seal::Ring(ring) => {
                let Some((head, rest)) = buffer.split_first_chunk_mut::<HEADER_LENGTH>() else { return 0 };
                *head = header.encode();
                ring.seal(INFO, &[7; PAYLOAD], rest).map_or(0, |length| HEADER_LENGTH + length)
            }
            Seal::Hop(hop, index) => hop.seal(&header, *index, INFO, &[7; PAYLOAD], buffer).unwrap_or_default(),
        }
    }

    fn sequence(&self, packet: &[u8]) -> Option<(u16, u32)> {
        let (header, _) = MediaHeader::decode(packet).ok()?;
        Some((header.fec_block, header.sequence))
    }
}
