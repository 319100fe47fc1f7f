//! Sealing and opening a frame, beside the same bytes through AES-256-GCM alone.

use std::hint::black_box;
use std::time::Instant;

use undertone_keys::aead::AeadKey;
use undertone_keys::call_agreement::MediaKey;
use undertone_keys::{CallId, DeviceId, JoinId, Secret, Time, UserId};
use undertone_media::hop::HopExporter;
use undertone_media::packet::{Codec, Flags, HEADER_LENGTH, Kind};
use undertone_media::{Context, Epoch, FrameInfo, MediaHeader, MemberHop, RelayHop, Ring, Sender};

/// A frame of speech, and as much as fits into a packet.
const SIZES: [usize; 2] = [120, 1_200];
const ROUNDS: u32 = 20_000;
/// Each is measured so often, in turns with the others; the best turn counts, since everything else is the machine's.
const TURNS: usize = 9;
/// More than a seal adds.
const ROOM: usize = 100;

const INFO: FrameInfo =
    FrameInfo { kind: Kind::Audio, codec: Codec::OPUS_32K, context: Context::MAIN_AUDIO, captured_ms: 0 };

/// What it costs to seal a frame and open it again, in nanoseconds.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Sealing {
    /// Bytes of sound.
    pub bytes: usize,
    /// AES-256-GCM alone, on the same bytes and as much associated data.
    pub alone: f64,
    /// As the members of a blind room do.
    pub sframe: f64,
    /// As a member of a hop room and its relay do.
    pub hop: f64,
}

/// Measures it for frames of 120 and of 1,200 bytes. Takes a second or two of one core.
#[must_use]
pub fn sealing() -> Vec<Sealing> {
    SIZES.into_iter().filter_map(cost).collect()
}

fn cost(bytes: usize) -> Option<Sealing> {
    let payload = vec![7_u8; bytes];
    let (mut alone, mut framed, mut hopped) = (alone(&payload), sframe(&payload)?, hop(&payload));
    let mut best = [f64::MAX; 3];
    for _ in 0..TURNS {
        let turns: [&mut dyn FnMut(); 3] = [&mut alone, &mut framed, &mut hopped];
        for (best, turn) in best.iter_mut().zip(turns) {
            let start = Instant::now();
            (0..ROUNDS).for_each(|_| turn());
            *best = best.min(start.elapsed().as_secs_f64() * 1e9 / f64::from(ROUNDS));
        }
    }
    let [alone, sframe, hop] = best;
    Some(Sealing { bytes, alone, sframe, hop })
}

/// The primitive on the same bytes: in place, with as much associated data.
fn alone(payload: &[u8]) -> impl FnMut() {
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

/// One seals and another opens. `None` if their rings took no keys, which fresh ones do.
fn sframe(payload: &[u8]) -> Option<impl FnMut()> {
    let (mut ada, mut bob, payload) = (ring(0, 1)?, ring(1, 0)?, payload.to_vec());
    let mut buffer = vec![0; payload.len() + ROOM];
    Some(move || {
        let length = ada.seal(INFO, &payload, &mut buffer).unwrap_or_default();
        let frame = buffer.get_mut(..length).unwrap_or_default();
        black_box(bob.open(Time::ZERO, Kind::Audio, Codec::OPUS_32K, frame).is_ok());
    })
}

/// The ring of one of two people.
fn ring(me: u8, peer: u8) -> Option<Ring> {
    let user = UserId::parse("ada", "localhost").ok()?;
    let sender = |n: u8| Sender {
        user: user.clone(),
        device: DeviceId::from_bytes([n; 16]),
        join: JoinId::from_bytes([n; 16]),
        index: u16::from(n),
    };
    let mut ring = Ring::new(CallId::from_bytes([9; 16]));
    ring.install(Time::ZERO, Epoch(1), MediaKey::new(Secret::filled_by(|key| key.fill(1)))).ok()?;
    ring.join(sender(me)).ok()?;
    ring.admit(sender(peer)).ok()?;
    Some(ring)
}

fn hop(payload: &[u8]) -> impl FnMut() {
    let chain = || HopExporter::new(Secret::filled_by(|key| key.fill(1))).chain([1; 32]);
    let (mut member, mut relay, payload) = (MemberHop::new(chain()), RelayHop::new(chain()), payload.to_vec());
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
    let mut buffer = vec![0; payload.len() + HEADER_LENGTH + ROOM];
    move || {
        let length = member.seal(&header, 1, INFO, &payload, &mut buffer).unwrap_or_default();
        black_box(relay.open(Time::ZERO, buffer.get_mut(..length).unwrap_or_default()).is_ok());
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Nothing is measured of frames that do not open.
    #[test]
    fn what_is_measured_opens() {
        let (mut ada, mut bob) = (ring(0, 1).unwrap(), ring(1, 0).unwrap());
        for size in SIZES {
            let (payload, mut buffer) = (vec![7; size], vec![0; size + ROOM]);
            for _ in 0..3 {
                let length = ada.seal(INFO, &payload, &mut buffer).unwrap();
                let opened = bob.open(Time::ZERO, Kind::Audio, Codec::OPUS_32K, &mut buffer[..length]).unwrap();
                assert_eq!(opened.payload, payload.as_slice());
            }
        }
    }
}
