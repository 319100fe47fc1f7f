//! Sealing and opening a frame, beside the same bytes through AES-256-GCM alone.

use std::hint::black_box;
use std::time::Instant;

use undertone_keys::aead::AeadKey;
use undertone_keys::call_agreement::MediaKey;
use undertone_keys::{CallId, DeviceId, JoinId, Secret, Time, UserId};
use undertone_media::hop::{Direction, HopExporter};
use undertone_media::packet::{Codec, Flags, HEADER_LENGTH, Kind};
use undertone_media::{Context, Epoch, FrameInfo, MediaHeader, Ring, Sender};

use crate::table::Table;

const ROUNDS: u32 = 20_000;
/// Each is measured so often, in turns with the others; the best turn counts, since everything else is the machine's.
const TURNS: usize = 9;

const INFO: FrameInfo =
    FrameInfo { kind: Kind::Audio, codec: Codec::OPUS_32K, context: Context::MAIN_AUDIO, captured_ms: 0 };

pub(crate) fn measure(table: &mut Table) {
    for size in [120, 1_200] {
        let payload = vec![7_u8; size];
        let (mut alone, mut framed, mut hopped) = (raw(&payload), sframe(&payload), hop(&payload));
        let mut best = [f64::MAX; 3];
        for _ in 0..TURNS {
            let turns: [&mut dyn FnMut(); 3] = [&mut alone, &mut framed, &mut hopped];
            for (best, turn) in best.iter_mut().zip(turns) {
                let start = Instant::now();
                (0..ROUNDS).for_each(|_| turn());
                *best = best.min(start.elapsed().as_secs_f64() * 1e9 / f64::from(ROUNDS));
            }
        }
        let [raw, sframe, hop] = best;
        let name = |what: &str| format!("{what}, seal and open {size} bytes");
        table.ratio(&name("SFrame"), sframe, raw, "ns", "AES-256-GCM alone", Some(1.2));
        table.ratio(&name("hop"), hop, raw, "ns", "AES-256-GCM alone", Some(1.2));
    }
}

/// The primitive on the same bytes: in place, with as much associated data.
fn raw(payload: &[u8]) -> impl FnMut() {
    let key = AeadKey::new(&Secret::filled_by(|key| key.fill(1)));
    let (mut counter, mut text) = (0_u64, payload.to_vec());
    text.resize(payload.len() + 16, 0);
    move || {
        counter += 1;
        let mut nonce = [0; 12];
        nonce.iter_mut().rev().zip(counter.to_le_bytes()).for_each(|(to, from)| *to = from);
        let length = text.len() - 16;
        let (body, tag) = text.split_at_mut(length);
        tag.copy_from_slice(&key.seal(nonce, &[5; 26], body));
        black_box(key.open(nonce, &[5; 26], &mut text).is_ok());
    }
}

fn sframe(payload: &[u8]) -> impl FnMut() {
    let sender = |n: u8| Sender {
        user: UserId::parse("ada", "x").unwrap_or_else(|_| unreachable!("a name")),
        device: DeviceId::from_bytes([n; 16]),
        join: JoinId::from_bytes([n; 16]),
        index: u16::from(n),
    };
    let ring = |me: u8, peer: u8| {
        let mut ring = Ring::new(CallId::from_bytes([9; 16]));
        let key = MediaKey::new(Secret::filled_by(|key| key.fill(1)));
        let ready = ring.install(Time::ZERO, Epoch(1), key).is_ok()
            && ring.join(sender(me)).is_ok()
            && ring.admit(sender(peer)).is_ok();
        assert!(ready, "a fresh ring takes its key and its members");
        ring
    };
    let (mut ada, mut bob, payload) = (ring(0, 1), ring(1, 0), payload.to_vec());
    let mut buffer = vec![0; payload.len() + 100];
    move || {
        let length = ada.seal(INFO, &payload, &mut buffer).unwrap_or_default();
        let frame = buffer.get_mut(..length).unwrap_or_default();
        black_box(bob.open(Time::ZERO, Kind::Audio, Codec::OPUS_32K, frame).is_ok());
    }
}

fn hop(payload: &[u8]) -> impl FnMut() {
    let key = || HopExporter::new(Secret::filled_by(|key| key.fill(1))).key(Direction::ToRelay, &[1; 32]);
    let (mut sealer, mut opener, payload) = (key().sealer(), key().opener(), payload.to_vec());
    let header = MediaHeader {
        flags: Flags::default(),
        kind: Kind::Audio,
        codec: Codec::OPUS_32K,
        stream: 0,
        fec_ratio: 0,
        sequence: 0,
        timestamp_ms: 0,
        fec_block: 0,
    };
    let mut buffer = vec![0; payload.len() + HEADER_LENGTH + 100];
    move || {
        let length = sealer.seal(&header, 1, INFO, &payload, &mut buffer).unwrap_or_default();
        black_box(opener.open(buffer.get_mut(..length).unwrap_or_default()).is_ok());
    }
}
