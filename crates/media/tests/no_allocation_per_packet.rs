//! After warm-up, sealing and opening do not allocate.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing, reason = "a test may fail")]

use undertone_keys::call_agreement::MediaKey;
use undertone_keys::{CallId, DeviceId, JoinId, Secret, Time, UserId};
use undertone_media::packet::{Codec, Kind};
use undertone_media::{Context, Epoch, FrameInfo, Ring, Sender};

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
