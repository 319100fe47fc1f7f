//! From one epoch to the next, at both ends of one hop.

use std::time::Duration;

use super::*;
use crate::ring::{PREVIOUS_AFTER_REMOVAL, PREVIOUS_AUDIO, PREVIOUS_VIDEO};

const NOW: Time = Time::from_millis(1_000);

/// Both ends of one connection.
fn pair() -> (MemberHop, RelayHop) {
    let chain = || exporter(7).chain(GRANT);
    (MemberHop::new(chain()), RelayHop::new(chain()))
}

/// What the member says.
fn say(member: &mut MemberHop, kind: Kind) -> Vec<u8> {
    let mut out = vec![0; 300];
    let length = member.seal(&header(kind, 7), 3, info(0), b"sound", &mut out).unwrap();
    out.truncate(length);
    out
}

/// What the relay hands on to it: something that another member said.
fn hand_on(relay: &mut RelayHop) -> Vec<u8> {
    hand_on_of(relay, Kind::Audio)
}

fn hand_on_of(relay: &mut RelayHop, kind: Kind) -> Vec<u8> {
    let chain = || exporter(9).chain(GRANT);
    let mut packet = say(&mut MemberHop::new(chain()), kind);
    let mut other = RelayHop::new(chain());
    let opened = other.open(NOW, &mut packet).unwrap();
    let mut out = vec![0; 300];
    let length = relay.forward(&opened, &mut out).unwrap();
    out.truncate(length);
    out
}

fn relay_opens(relay: &mut RelayHop, now: Time, packet: &[u8]) -> Result<(), HopError> {
    relay.open(now, &mut packet.to_vec()).map(|opened| assert_eq!(opened.payload, b"sound"))
}

fn member_opens(member: &mut MemberHop, now: Time, packet: &[u8]) -> Result<(), HopError> {
    member.open(now, &mut packet.to_vec()).map(|opened| assert_eq!(opened.payload, b"sound"))
}

fn later(millis: u64) -> Time {
    NOW + Duration::from_millis(millis)
}

/// The epoch's keys and one packet each way with counter 1, as another implementation made them from the specification.
struct Vector {
    epoch: u32,
    to_relay: &'static str,
    to_member: &'static str,
    up: &'static str,
    down: &'static str,
}

const VECTORS: [Vector; 4] = [
    Vector {
        epoch: 0,
        to_relay: "a101d71e0abca0c1ebfb504fb4ea462be23e4ca9a28e1dc338fd9a1ce3d3dc2b",
        to_member: "e3264e339f37eaedbf2a466f690e85bfc9e259f4ae97d05f562ef9172223ece8",
        up: "021000060000000000070000008c00000102000000000000000134b1abc197f7e6427816a94c29e57e9930fb2984db757794041eaad6",
        down: "021000060000000000070000008c0000010200000000000000014a5758ed61a5b8063071c04e8dbfa2f37f30f4d5e0e594c34958491a",
    },
    Vector {
        epoch: 1,
        to_relay: "96662788c264c6d950111a08b6678440d3add64d0837beb9cbb5ebfb91def263",
        to_member: "65cd1127536e86d61dfaf021ced892bf82069694673aded74b894cb5041d8511",
        up: "021000060000000000070000008c0000010201000000000000017b1588802aff21b09142e1ae33df24dba5baedc23924c69984b68939",
        down: "021000060000000000070000008c0000010201000000000000016055f20bcc4fcd64bec6a62a9364f35733c63fbaebc356d85694a4a3",
    },
    Vector {
        epoch: 2,
        to_relay: "a1737ddadc8987826bd0c8e56b3bae55b0b5c1150d76e1ac78a35e764c4e625b",
        to_member: "78cca75b7f66b6c9da09a5b119a3d3395d2ba3a863ba7ac8806b70fa8aebca8e",
        up: "021000060000000000070000008c000001020200000000000001c82056bf08d1dfdd9db7fb10833cda8fb6511d01e2c29e96973481b7",
        down: "021000060000000000070000008c000001020200000000000001940bedd50007612598b679f1b94fc58baac7a76468dab0d108850c0c",
    },
    // The byte in the packet has come round; the number in the chain has not.
    Vector {
        epoch: 257,
        to_relay: "392c959820c7f6d30094c5826ddedf644a589563ad0104852799726f66e23cf4",
        to_member: "166a326c1124ec705f2513eec956ce0a4d756917c604deb755b78e8fefdd55cb",
        up: "021000060000000000070000008c000001020100000000000001c59beb1c0f9e410157820068d22cd5e00b28b46def07dcd135cf82aa",
        down: "021000060000000000070000008c000001020100000000000001329f08e280dd57eed36232a14ce9258bd4a46efee57bfcaf165b5fb3",
    },
];

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

#[test]
fn med_8_hop_epochs_are_exact_to_the_byte() {
    for vector in VECTORS {
        let mut chain = exporter(7).chain(GRANT);
        let keys = (0..=vector.epoch).map(|_| chain.step()).last().unwrap();
        assert_eq!(keys.epoch, Epoch(vector.epoch));
        assert_eq!(hex(keys.to_relay.secret.expose()), vector.to_relay, "epoch {}", vector.epoch);
        assert_eq!(hex(keys.to_member.secret.expose()), vector.to_member, "epoch {}", vector.epoch);
        for (key, expected) in [(keys.to_relay, vector.up), (keys.to_member, vector.down)] {
            let mut sealer = key.sealer();
            let first = seal(&mut sealer, 0x0102, b"sound");
            assert_eq!(first[18..26], [u8::try_from(vector.epoch % 256).unwrap(), 0, 0, 0, 0, 0, 0, 0]);
            assert_eq!(hex(&seal(&mut sealer, 0x0102, b"sound")), expected, "epoch {}", vector.epoch);
        }
    }
}

/// A chain that was taken opens nothing of what was before: it holds the next link alone, and no link leads back.
#[test]
fn med_8_hop_epochs_leave_no_way_back() {
    let mut chain = exporter(7).chain(GRANT);
    let (zero, one) = (chain.step(), chain.step());
    let packet = seal(&mut one.to_member.sealer(), 1, b"sound");
    for _ in 0..600 {
        let later = chain.step();
        assert_ne!(later.to_relay.secret.expose(), zero.to_relay.secret.expose());
        assert!(open(&mut later.to_member.opener(), &packet).is_err());
    }
}

#[test]
fn med_8_hop_epochs_lose_no_frame_whatever_comes_first() {
    // The relay's word first, then packets; or packets first; each with what is still on its way under the epoch before.
    for word_first in [true, false] {
        let (mut member, mut relay) = pair();
        let (up, down) = (say(&mut member, Kind::Audio), hand_on(&mut relay));
        assert_eq!(relay.renew(NOW, false), Epoch(1));
        let new = hand_on(&mut relay);
        assert_eq!(new[18], 1, "the relay seals under the new epoch at once");
        if word_first {
            member.follow(NOW, Epoch(1), false).unwrap();
        }
        member_opens(&mut member, NOW, &new).unwrap();
        assert_eq!(member.epoch(), Epoch(1));
        member_opens(&mut member, NOW, &down).unwrap();
        relay_opens(&mut relay, NOW, &up).unwrap();
        let answer = say(&mut member, Kind::Audio);
        assert_eq!(answer[18], 1, "and so does the member, once it knows");
        relay_opens(&mut relay, NOW, &answer).unwrap();
        // A word that comes late, or twice, changes nothing.
        member.follow(NOW, Epoch(1), false).unwrap();
        member.follow(NOW, Epoch(0), false).unwrap();
        assert_eq!(member.epoch(), Epoch(1));
        for packet in [&new, &down] {
            assert_eq!(member_opens(&mut member, NOW, packet), Err(HopError::Replayed));
        }
        for packet in [&up, &answer] {
            assert_eq!(relay_opens(&mut relay, NOW, packet), Err(HopError::Replayed));
        }
    }
}

#[test]
fn med_8_hop_epochs_forged_move_nobody_and_cost_nothing() {
    let (mut member, mut relay) = pair();
    let (up, down) = (say(&mut member, Kind::Audio), hand_on(&mut relay));
    for claimed in 1..=255 {
        for (packet, expected) in [(&up, HopError::UnknownEpoch), (&down, HopError::UnknownEpoch)] {
            let mut forged = packet.clone();
            forged[18] = claimed;
            assert_eq!(relay_opens(&mut relay, NOW, &forged), Err(expected));
            // The member has the next epoch's key, and looks at the tag; no other epoch makes it do so much.
            let expected = if claimed == 1 { HopError::Forged } else { expected };
            assert_eq!(member_opens(&mut member, NOW, &forged), Err(expected));
        }
    }
    assert_eq!((member.epoch(), relay.epoch()), (Epoch(0), Epoch(0)));
    assert_eq!((member.poll_timeout(), relay.poll_timeout()), (None, None));
    // Nothing was discarded either: what was on its way opens, under this epoch and the next.
    member_opens(&mut member, NOW, &down).unwrap();
    relay_opens(&mut relay, NOW, &up).unwrap();
    relay.renew(NOW, false);
    member_opens(&mut member, NOW, &hand_on(&mut relay)).unwrap();
}

#[test]
fn med_8_hop_epochs_go_on_by_one_alone() {
    let (mut member, mut relay) = pair();
    relay.renew(NOW, false);
    relay.renew(NOW, false);
    // Two ahead: the word is missing, and nothing is derived for a packet that nobody has verified.
    let packet = hand_on(&mut relay);
    assert_eq!(member_opens(&mut member, NOW, &packet), Err(HopError::UnknownEpoch));
    let skipped = Err(Skipped { present: Epoch(0), named: Epoch(2) });
    assert_eq!(member.follow(NOW, Epoch(2), false), skipped);
    assert_eq!(member.epoch(), Epoch(0));
    // The words themselves come in order, and then it opens.
    member.follow(NOW, Epoch(1), false).unwrap();
    member.follow(NOW, Epoch(2), false).unwrap();
    member_opens(&mut member, NOW, &packet).unwrap();
    // What the relay sealed two epochs ago is over for both.
    let (mut member, mut relay) = pair();
    let (up, down) = (say(&mut member, Kind::Audio), hand_on(&mut relay));
    for epoch in [1, 2] {
        relay.renew(NOW, false);
        member.follow(NOW, Epoch(epoch), false).unwrap();
    }
    assert_eq!(relay_opens(&mut relay, NOW, &up), Err(HopError::UnknownEpoch));
    assert_eq!(member_opens(&mut member, NOW, &down), Err(HopError::UnknownEpoch));
}

/// As long as in the ring, and then the key is wiped.
#[test]
fn grp_4_med_8_hop_epochs_before_the_present_one_open_for_a_while() {
    let (audio, video) = (PREVIOUS_AUDIO, PREVIOUS_VIDEO);
    let removal = PREVIOUS_AFTER_REMOVAL;
    for (removed, kind, lasts) in [
        (false, Kind::Audio, audio),
        (false, Kind::Video, video),
        (false, Kind::Control, video),
        (true, Kind::Audio, removal),
        (true, Kind::Video, removal),
    ] {
        let (mut member, mut relay) = pair();
        let up = [say(&mut member, kind), say(&mut member, kind)];
        let down = [hand_on_of(&mut relay, kind), hand_on_of(&mut relay, kind)];
        relay.renew(NOW, removed);
        member.follow(NOW, Epoch(1), removed).unwrap();
        let (last, over) = (NOW + (lasts - Duration::from_millis(1)), NOW + lasts);
        relay_opens(&mut relay, last, &up[0]).unwrap();
        member_opens(&mut member, last, &down[0]).unwrap();
        assert_eq!(relay_opens(&mut relay, over, &up[1]), Err(HopError::UnknownEpoch));
        assert_eq!(member_opens(&mut member, over, &down[1]), Err(HopError::UnknownEpoch));
        let end = Some(NOW + if removed { removal } else { video });
        assert_eq!((member.poll_timeout(), relay.poll_timeout()), (end, end));
        member.expire(NOW + video);
        relay.expire(NOW + video);
        assert_eq!((member.poll_timeout(), relay.poll_timeout()), (None, None));
        // Gone is gone, whatever the clock says.
        assert_eq!(relay_opens(&mut relay, NOW, &up[1]), Err(HopError::UnknownEpoch));
        assert_eq!(member_opens(&mut member, NOW, &down[1]), Err(HopError::UnknownEpoch));
    }
}

/// The packet says that there is a new epoch, and the word behind it why: then the one before ends sooner, and never later.
#[test]
fn med_8_hop_epochs_after_a_removal_end_the_one_before_when_the_word_comes() {
    let (mut member, mut relay) = pair();
    let old = [(); 3].map(|()| hand_on(&mut relay));
    relay.renew(NOW, true);
    member_opens(&mut member, NOW, &hand_on(&mut relay)).unwrap();
    member_opens(&mut member, later(2_500), &old[0]).unwrap();
    member.follow(later(3_000), Epoch(1), true).unwrap();
    member_opens(&mut member, later(4_999), &old[1]).unwrap();
    // Said again, it gives no more time.
    member.follow(later(4_999), Epoch(1), true).unwrap();
    assert_eq!(member_opens(&mut member, later(5_000), &old[2]), Err(HopError::UnknownEpoch));
}

/// Each epoch has its own counter and its own window: what was opened under one says nothing about the other.
#[test]
fn med_4_med_8_hop_epochs_have_windows_of_their_own() {
    let (mut member, mut relay) = pair();
    (0..2_000).for_each(|_| relay_opens(&mut relay, NOW, &say(&mut member, Kind::Audio)).unwrap());
    let last = say(&mut member, Kind::Audio);
    relay.renew(NOW, false);
    member.follow(NOW, Epoch(1), false).unwrap();
    for _ in 0..2_000 {
        relay_opens(&mut relay, NOW, &say(&mut member, Kind::Audio)).unwrap();
    }
    relay_opens(&mut relay, NOW, &last).unwrap();
    assert_eq!(relay_opens(&mut relay, NOW, &last), Err(HopError::Replayed));
}

/// A key that is used up seals nothing, and the next epoch's does.
#[test]
fn med_8_hop_epochs_begin_a_counter_anew() {
    let mut chain = exporter(7).chain(GRANT);
    let mut sealer = chain.step().to_relay.sealer();
    sealer.next = MAX_FRAMES - 1;
    let last = seal(&mut sealer, 3, b"sound");
    assert_eq!(last[18..26], [0, 0, 0, 0xff, 0xff, 0xff, 0xff, 0xff]);
    let used_up = sealer.seal(&header(Kind::Audio, 0), 0, info(0), b"sound", &mut [0; 400]);
    assert_eq!(used_up, Err(SealError::Exhausted));
    let next = seal(&mut chain.step().to_relay.sealer(), 3, b"sound");
    assert_eq!(next[18..26], [1, 0, 0, 0, 0, 0, 0, 0]);
}
