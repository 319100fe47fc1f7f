//! Undertone's relay, with members who have papers and seal what they say.

use std::io::Read;
use std::net::UdpSocket;
use std::sync::Arc;

use anyhow::{Context as _, bail};
use getrandom::SysRng;
use rand_core::UnwrapErr;
use undertone_keys::agreement::EphemeralKey;
use undertone_keys::call_agreement::MediaKey;
use undertone_keys::envelope::Address;
use undertone_keys::sign::{Device, Server, SigningKey, VerifyingKey};
use undertone_keys::{CallId, DeviceId, JoinId, RoomId, Secret, Time, UserId, WallTime, cbor};
use undertone_media::hop::{Direction, HopExporter};
use undertone_media::packet::{Codec, Flags, HEADER_LENGTH, Kind};
use undertone_media::{Context, Epoch, FrameInfo, MediaHeader, Ring, Sender};
use undertone_protocol::control::{ToMember, ToRelay, Unframer};
use undertone_protocol::grant::Rights;
use undertone_protocol::{Grant, Join, Protection, VERSION, labels};
use undertone_relay::Limits;
use undertone_relay::shell::{Config, Failed, Relay};

use crate::load::{Counters, Load, PAYLOAD, Run, TICK, connect, server_tls, speak, watch};
use crate::process::{Served, listening};

const fn rng() -> UnwrapErr<SysRng> {
    UnwrapErr(SysRng)
}

pub(crate) fn serve() -> anyhow::Result<()> {
    let mut key = Vec::new();
    std::io::stdin().read_to_end(&mut key)?;
    let server: VerifyingKey<Server> = cbor::decode(&key).ok().context("no key on stdin")?;
    let socket = UdpSocket::bind(("127.0.0.1", 0))?;
    let address = socket.local_addr()?;
    // All speakers come from one address here, and from one user.
    let limits = Limits { places_per_user: usize::MAX, ..Limits::default() };
    let (tls, certificate) = server_tls()?;
    let _relay = Relay::start(
        vec![socket],
        tls,
        Config { server, limits, tap: None, failed: Failed(Box::new(|| std::process::exit(1))) },
    )?;
    listening(address, &certificate)?;
    loop {
        std::thread::park();
    }
}

pub(crate) fn measure(load: &Load, protection: Protection) -> anyhow::Result<Run> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    runtime.block_on(async {
        let server = SigningKey::<Server>::generate(&mut rng());
        let relay = Served::start("ours", &cbor::encode(server.public()))?;
        let (counters, mut speakers) = (Arc::new(Counters::default()), Vec::new());
        for (room, member) in load.speakers() {
            let (endpoint, connection) = connect(&relay).await?;
            let room = u8::try_from(room % 256)?;
            let seal = enter(&connection, &server, room, protection).await?;
            speakers.push((endpoint, member, connection, Some(seal)));
        }
        for (_, member, connection, seal) in &mut speakers {
            let phase = TICK * u32::try_from(*member)? / 5;
            let seal = seal.take().context("spoken for")?;
            speak(connection.clone(), counters.clone(), phase, seal);
        }
        watch(load, &relay, &counters).await
    })
}

type Seal = Box<dyn FnMut(&mut [u8]) -> usize + Send>;

/// Joins a room with papers of its own; returns what seals its packets.
async fn enter(
    connection: &quinn::Connection,
    server: &SigningKey<Server>,
    room: u8,
    protection: Protection,
) -> anyhow::Result<Seal> {
    let (device, call) = (SigningKey::<Device>::generate(&mut rng()), CallId::from_bytes([room; 16]));
    let exported = |label: undertone_keys::labels::Label| {
        let mut out = [0; 32];
        let result = connection.export_keying_material(&mut out, label.as_bytes(), &[]);
        result.map(|()| out).map_err(|_| anyhow::anyhow!("no exporter"))
    };
    let member = Address { user: UserId::parse("ada", "x")?, device: DeviceId::of(device.public()) };
    let grant = Grant {
        room: RoomId::from_bytes([room; 16]),
        call,
        member: member.clone(),
        identity: *device.public(),
        protection,
        rights: Rights { speak: true, moderate: false },
        expires: WallTime::from_unix(u64::MAX / 2),
    }
    .sign(server);
    let join_id = JoinId::random(&mut rng());
    let join = Join {
        grant: Grant::hash(&grant),
        call,
        join: join_id,
        ephemeral: *EphemeralKey::generate(&mut rng()).public(),
        binding: exported(labels::CHANNEL_BINDING)?,
        min_index: 0,
    }
    .sign(&device);
    let hash = Grant::hash(&grant);
    let (mut control, mut answers) = connection.open_bi().await?;
    let join = ToRelay::Join { version: VERSION, grant, join };
    control.write_all(&join.frame().context("a join fits")?).await?;
    let (mut unframer, mut buffer) = (Unframer::default(), [0; 4096]);
    let index = loop {
        if let Some(body) = unframer.next_message()? {
            match ToMember::decode(&body)? {
                ToMember::Joined { index, .. } => break index,
                other => bail!("not let in: {other:?}"),
            }
        }
        let length = answers.read(&mut buffer).await?.context("the relay closed")?;
        unframer.push(buffer.get(..length).unwrap_or_default());
    };
    // Somebody has to read what else the relay says, and to say that we are there.
    tokio::spawn(async move {
        let _control = control;
        while let Ok(Some(_)) = answers.read(&mut buffer).await {}
    });
    let header = |sequence| MediaHeader {
        flags: Flags::default(),
        kind: Kind::Audio,
        codec: Codec::OPUS_32K,
        stream: 0,
        fec_ratio: 0,
        sequence,
        timestamp_ms: 0,
        fec_block: 0,
    };
    let info = FrameInfo { kind: Kind::Audio, codec: Codec::OPUS_32K, context: Context::MAIN_AUDIO, captured_ms: 0 };
    let (payload, mut sequence) = ([7; PAYLOAD], 0);
    Ok(match protection {
        Protection::Blind | Protection::Echo => {
            let mut ring = Ring::new(call);
            ring.install(Time::ZERO, Epoch(1), MediaKey::new(Secret::filled_by(|key| key.fill(1))))?;
            ring.join(Sender { user: member.user, device: member.device, join: join_id, index })?;
            Box::new(move |buffer| {
                sequence += 1;
                let Some((head, rest)) = buffer.split_first_chunk_mut::<HEADER_LENGTH>() else { return 0 };
                *head = header(sequence).encode();
                HEADER_LENGTH + ring.seal(info, &payload, rest).unwrap_or_default()
            })
        }
        Protection::Hop => {
            let exporter = HopExporter::new(Secret::take(&mut exported(labels::HOP)?));
            let mut sealer = exporter.key(Direction::ToRelay, &hash).sealer();
            Box::new(move |buffer| {
                sequence += 1;
                sealer.seal(&header(sequence), index, info, &payload, buffer).unwrap_or_default()
            })
        }
    })
}
