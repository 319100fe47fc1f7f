//! After warm-up, sealing, opening and keeping do not allocate.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing, reason = "a test may fail")]

use undertone_keys::call_agreement::MediaKey;
use undertone_keys::{CallId, DeviceId, JoinId, Secret, Time, UserId};
use undertone_media::kept::{MAX_FRAMES, MAX_SENDERS};
use undertone_media::packet::{Codec, Kind, MAX_PACKET};
use undertone_media::{Context, Epoch, FrameInfo, Kept, KeyId, Ring, Sender};

fn sender(name: &str, index: u16) -> Sender {
    let id = [u8::try_from(index).unwrap() + 1; 16];
    let user = UserId::parse(name, "x").unwrap();
    Sender { user, device: DeviceId::from_bytes(id), join: JoinId::from_bytes(id), index }
}

fn ring(me: u16, peer: u16) -> Ring {
    let names = ["ada", "bob"];
    let mut ring = Ring::new(CallId::from_bytes([9; 16]));
    ring.install(Time::ZERO, Epoch(1), MediaKey::new(Secret::from_slice(&[1; 32]).unwrap())).unwrap();
    ring.join(sender(names[usize::from(me)], me)).unwrap();
    ring.admit(sender(names[usize::from(peer)], peer)).unwrap();
    ring
}

fn exchange(ada: &mut Ring, bob: &mut Ring, frames: u32) {
    let mut buffer = [0; 256];
    for n in 0..frames {
        let info =
            FrameInfo { kind: Kind::Audio, codec: Codec::OPUS_32K, context: Context::MAIN_AUDIO, captured_ms: 20 * n };
        let length = ada.seal(info, &[7; 80], &mut buffer).unwrap();
        let frame = bob.open(Time::ZERO, Kind::Audio, Codec::OPUS_32K, &mut buffer[..length]).unwrap();
        assert_eq!(frame.payload, [7; 80]);
    }
}

#[test]
fn med_1_no_allocation_per_packet_after_warm_up() {
    let (mut ada, mut bob) = (ring(0, 1), ring(1, 0));
    exchange(&mut ada, &mut bob, 1);
    let steady = allocation_counter::measure(|| exchange(&mut ada, &mut bob, 1000));
    assert_eq!(steady.count_total, 0);
    // The counter counts: a twin that copies each frame is caught.
    let twin = allocation_counter::measure(|| {
        for _ in 0..1000 {
            std::hint::black_box([7_u8; 80].to_vec());
        }
    });
    assert_eq!(twin.count_total, 1000);
}

/// Junk of every sender, epoch and size, for seconds.
fn flood(kept: &mut Kept, from: u64) {
    let mut out = [0; MAX_PACKET];
    for n in 0..20_000_u32 {
        let now = Time::from_millis(from + u64::from(n / 10));
        let id = KeyId::new(Context::MAIN_AUDIO, u16::try_from(n % 90).unwrap(), Epoch(n / 7));
        kept.keep(now, id, &[7; MAX_PACKET][..usize::try_from(n * 37 % 1501).unwrap()]);
        kept.expire(now);
        if n % 100 == 0 {
            kept.take(now, |epoch| epoch % 2 == 0, &mut out);
        }
    }
}

#[test]
fn ekr_1_a_flood_of_frames_without_a_key_allocates_nothing() {
    let mut kept = Kept::default();
    flood(&mut kept, 0);
    let steady = allocation_counter::measure(|| flood(&mut kept, 10_000));
    assert_eq!(steady.count_total, 0);
    assert!(kept.counts().dropped > u64::try_from(MAX_FRAMES * MAX_SENDERS).unwrap());
}
