mod epochs;

use std::collections::HashSet;

use proptest::prelude::*;
use undertone_keys::call_agreement::MediaKey;
use undertone_keys::hkdf::{Prk, Sha256};
use undertone_keys::{Secret, Time};

use super::*;
use crate::key_id::Epoch;
use crate::labels;
use crate::packet::{Codec, Flags, Kind};

const GRANT: [u8; 32] = [1; 32];

fn exporter(n: u8) -> HopExporter {
    HopExporter::new(Secret::from_slice(&[n; 32]).unwrap())
}

/// The key of a connection's epoch 0.
fn first_key(exported: u8, direction: Direction, grant: [u8; 32]) -> HopKey {
    exporter(exported).chain(grant).step().key(direction)
}

fn header(kind: Kind, sequence: u32) -> MediaHeader {
    MediaHeader {
        flags: Flags { frame_end: true, ..Flags::default() },
        kind,
        codec: Codec::OPUS_32K,
        stream: 0,
        fec_ratio: 0,
        sequence,
        timestamp_ms: sequence * 20,
        fec_block: 0,
    }
}

fn info(context: u16) -> FrameInfo {
    FrameInfo { kind: Kind::Audio, codec: Codec::OPUS_32K, context: Context(context), captured_ms: 40 }
}

fn seal(sealer: &mut HopSealer, sender: u16, payload: &[u8]) -> Vec<u8> {
    let mut out = vec![0; 300];
    let length = sealer.seal(&header(Kind::Audio, 7), sender, info(0), payload, &mut out).unwrap();
    out.truncate(length);
    out
}

fn open(opener: &mut HopOpener, packet: &[u8]) -> Result<(u16, Vec<u8>), HopError> {
    let mut copy = packet.to_vec();
    opener.open(&mut copy).map(|opened| (opened.sender, opened.payload.to_vec()))
}

#[test]
fn med_8_a_packet_is_exact_to_the_byte() {
    let packet = seal(&mut first_key(7, Direction::ToRelay, GRANT).sealer(), 0x0102, b"sound");
    assert_eq!(packet.len(), 5 + OVERHEAD);
    assert_eq!(packet[..16], header(Kind::Audio, 7).encode());
    assert_eq!(packet[16..26], [1, 2, 0, 0, 0, 0, 0, 0, 0, 0]);
    // Made again from the rule's words alone.
    let prk = Prk::<Sha256>::extract(&[], &[&[7; 32]]);
    let key: Secret<32> = prk.derive(labels::HOP_TO_RELAY, &[&GRANT]);
    let mut text = *b"\0\0\0\0\0\0\x28sound";
    let tag = AeadKey::new(&key).seal([0; 12], &packet[..26], &mut text);
    assert_eq!(packet[26..], [text.as_slice(), &tag].concat());
    let mut opener = first_key(7, Direction::ToRelay, GRANT).opener();
    let mut copy = packet;
    let opened = opener.open(&mut copy).unwrap();
    assert_eq!((opened.sender, opened.context, opened.captured_ms), (0x0102, Context(0), 40));
    assert_eq!((opened.header, opened.payload), (header(Kind::Audio, 7), b"sound".as_slice()));
}

#[test]
fn med_8_a_packet_opens_in_its_direction_on_its_connection_under_its_grant_and_once() {
    let mut sealer = first_key(7, Direction::ToRelay, GRANT).sealer();
    let packet = seal(&mut sealer, 3, b"sound");
    for mut wrong in [
        first_key(7, Direction::ToMember, GRANT).opener(),
        first_key(8, Direction::ToRelay, GRANT).opener(),
        first_key(7, Direction::ToRelay, [2; 32]).opener(),
    ] {
        assert_eq!(open(&mut wrong, &packet), Err(HopError::Forged));
    }
    let mut opener = first_key(7, Direction::ToRelay, GRANT).opener();
    for i in 0..packet.len() {
        let mut changed = packet.clone();
        changed[i] ^= 0x10;
        assert!(open(&mut opener, &changed).is_err(), "byte {i}");
        assert!(open(&mut opener, &packet[..i]).is_err(), "cut at {i}");
    }
    assert_eq!(open(&mut opener, &packet), Ok((3, b"sound".to_vec())));
    assert_eq!(open(&mut opener, &packet), Err(HopError::Replayed));
    // 1,024 counters back and no further.
    let early = seal(&mut sealer, 3, b"early");
    let late: Vec<Vec<u8>> = (0..1024).map(|_| seal(&mut sealer, 3, b"late")).collect();
    assert!(open(&mut opener, &late[1023]).is_ok());
    assert_eq!(open(&mut opener, &early), Err(HopError::Replayed));
    assert!(open(&mut opener, &late[0]).is_ok());
}

#[test]
fn med_8_a_used_up_key_or_a_small_buffer_seals_nothing() {
    let mut sealer = first_key(1, Direction::ToRelay, GRANT).sealer();
    let too_small = sealer.seal(&header(Kind::Audio, 0), 0, info(0), b"sound", &mut [0; 40]);
    assert_eq!((too_small, sealer.next), (Err(SealError::Buffer), 0));
    sealer.next = MAX_FRAMES;
    let used_up = sealer.seal(&header(Kind::Audio, 0), 0, info(0), b"sound", &mut [0; 400]);
    assert_eq!(used_up, Err(SealError::Exhausted));
}

/// Two types, no way from one to the other, and not the same bytes where both come from the same secret. The doc test
/// of [`HopKey`] shows that one does not compile in the other's place.
#[test]
fn hop_key_is_not_media_key() {
    use std::any::TypeId;
    assert_ne!(TypeId::of::<HopKey>(), TypeId::of::<MediaKey>());
    // Method resolution prefers what needs no reference: `yes` answers only if the conversion exists.
    struct Probe<T>(core::marker::PhantomData<T>);
    trait No {
        fn converts(&self) -> bool {
            false
        }
    }
    impl<T> No for &Probe<T> {}
    impl<T: Into<MediaKey>> Probe<T> {
        fn converts(&self) -> bool {
            true
        }
    }
    assert!(!(&Probe::<HopKey>(core::marker::PhantomData)).converts());
    assert!(Probe::<MediaKey>(core::marker::PhantomData).converts(), "the probe sees a conversion where there is one");
    let secret = || Secret::<32>::from_slice(&[7; 32]).unwrap();
    let media: Secret<32> = MediaKey::new(secret()).derive(labels::SENDER_KEY, &[&GRANT]);
    for direction in [Direction::ToRelay, Direction::ToMember] {
        assert_ne!(first_key(7, direction, GRANT).secret.expose(), media.expose());
    }
}

proptest! {
    /// Every seal of a room of three, both directions of each connection, all senders and all kinds, in any order, while
    /// epochs come and go.
    #[test]
    fn hop_nonces_never_meet(steps in proptest::collection::vec((0_usize..3, 0_u8..4, 0_u8..8), 1..200)) {
        let grants = [[1; 32], [2; 32], [3; 32]];
        let chain = |n: usize| exporter(11 + u8::try_from(n).unwrap()).chain(grants[n]);
        let mut members = [0, 1, 2].map(|n| MemberHop::new(chain(n)));
        let mut relays = [0, 1, 2].map(|n| RelayHop::new(chain(n)));
        let keys: Vec<Vec<HopKeys>> = (0..3).map(|n| {
            let mut chain = chain(n);
            (0..=steps.len()).map(|_| chain.step()).collect()
        }).collect();
        let bytes = |keys: &HopKeys| [*keys.to_relay.secret.expose(), *keys.to_member.secret.expose()];
        let distinct: HashSet<[u8; 32]> = keys.iter().flatten().flat_map(bytes).collect();
        prop_assert_eq!(distinct.len(), 6 * (steps.len() + 1), "each direction, connection and epoch has a key of its own");
        let under = |n: usize, epoch: Epoch| &keys[n][usize::try_from(epoch.0).unwrap()];
        let mut used = HashSet::new();
        for (from, kind, what) in steps {
            if what == 0 {
                relays.iter_mut().for_each(|relay| { relay.renew(Time::ZERO, false); });
            }
            let kind = [Kind::Audio, Kind::Video, Kind::Data, Kind::Control][usize::from(kind)];
            let (mut packet, sender) = ([0; 300], u16::try_from(from).unwrap());
            let payload: &[u8] = if what % 2 == 0 { b"a longer payload" } else { b"short" };
            // Whoever has not heard of the new epoch seals under the one before: no further behind, or nothing opens.
            if members[from].epoch().0 + 1 < relays[from].epoch().0 {
                (members[from].epoch().0 + 1..=relays[from].epoch().0).for_each(|epoch| {
                    members[from].follow(Time::ZERO, Epoch(epoch), false).unwrap();
                });
            }
            let length = members[from].seal(&header(kind, 1), sender, info(0), payload, &mut packet).unwrap();
            let key = *under(from, members[from].epoch()).to_relay.secret.expose();
            prop_assert!(used.insert((key, packet[18..26].to_vec())));
            let opened = relays[from].open(Time::ZERO, &mut packet[..length]).unwrap();
            for to in (0..3).filter(|to| *to != from) {
                let mut out = [0; 300];
                let length = relays[to].forward(&opened, &mut out).unwrap();
                let key = *under(to, relays[to].epoch()).to_member.secret.expose();
                prop_assert!(used.insert((key, out[18..26].to_vec())));
                if members[to].epoch().0 + 1 >= relays[to].epoch().0 {
                    prop_assert!(members[to].open(Time::ZERO, &mut out[..length]).is_ok());
                }
            }
        }
    }
}
