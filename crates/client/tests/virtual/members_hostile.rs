//! Members who flood, forge, and will not leave, in virtual time: nobody else loses a word.

use std::collections::BTreeSet;

use crate::world::{ADA, BOB, CAROL, DAVE, ERIN, World, junk};
use undertone_call::room::KeySignal;
use undertone_client::engine::Input;
use undertone_keys::epoch_secret::EpochPlace;
use undertone_protocol::Protection;

/// Packets of the flood in each step of 20 ms: ten thousand a second.
const FLOOD: u64 = 200;

fn posted(world: &World, from: usize, to: usize) -> usize {
    world.posted.iter().filter(|letter| (letter.from, letter.to) == (from, to)).count()
}

/// EKR-5: 250 requests a second, each under an id of its own, get an answer a second; and who needs one has it.
#[test]
fn ekr_5_who_floods_requests_is_answered_once_a_second_and_others_all_the_same() {
    let mut world = World::in_room(1, 4);
    let (before, epoch) = (posted(&world, ADA, DAVE), world.newest(ADA));
    for step in 0..200 {
        for _ in 0..5 {
            let request = world.request(DAVE, epoch, false);
            world.key_signal(DAVE, ADA, (0, 0), &request);
        }
        if step == 100 {
            world.devices[BOB].engine.lose_key();
        }
        world.step();
    }
    let answers = posted(&world, ADA, DAVE) - before;
    assert!((4..=5).contains(&answers), "{answers} answers in 4 s");
    assert_eq!(world.newest(ADA), epoch, "and no epoch for it");
    assert!(world.all_hear(&[ADA, BOB, CAROL, DAVE], 1_000), "{:?}", world.devices[BOB].events);
}

/// EKR-1, EKR-2: a member sends frames under epochs that nobody has, two of them a second, and a relay that is with them
/// forges frames of everybody under the epoch in use. Forged tags ask for nothing, and missing epochs once in 3 s.
#[test]
fn ekr_1_forged_frames_do_not_storm() {
    let mut world = World::in_room(2, 4);
    let (ring, own) = (world.newest(ADA), world.index(DAVE).unwrap());
    let before = world.posted.len();
    for round in 0..12 {
        for device in [ADA, BOB, CAROL] {
            world.devices[device].heard_from.clear();
        }
        for step in 0..50 {
            let frame = junk(own, ring + 20 + round * 2 + step / 25, u64::from(step));
            world.send_packet(DAVE, frame);
            for (to, name) in [(ADA, BOB), (BOB, CAROL), (CAROL, ADA)] {
                let frame = junk(world.index(name).unwrap(), ring, 1 << 20);
                world.slip(to, frame);
            }
            world.step();
        }
        for (listener, speaker) in [(ADA, BOB), (BOB, CAROL), (CAROL, ADA)] {
            let index = world.index(speaker).unwrap();
            let heard = world.devices[listener].heard_from.get(&index).copied().unwrap_or_default();
            assert!(heard >= 48, "round {round}: {heard} frames heard");
        }
    }
    // Bob and Carol have asked once in 3 s, were answered, and have shown that they have it.
    let letters = world.posted.len() - before;
    assert!((6..=2 * 3 * 5).contains(&letters), "{letters} letters in 12 s");
    assert_eq!(world.newest(ADA), ring, "and no epoch for it");
    assert!(world.all_hear(&[ADA, BOB, CAROL, DAVE], 1_000));
}

/// GRP-3: Carol has not got the new key. Dave, who has it, shows it in her name and in every other way: the host waits for
/// her all the same.
#[test]
fn grp_3_false_ready_hurries_no_host() {
    for false_ready in [false, true] {
        let mut world = World::room(3, &["ada", "bob", "carol", "dave", "erin"], Protection::Blind);
        (0..4).for_each(|device| world.enter(device));
        world.run(1_500);
        let before = world.newest(ADA);
        // The control: without Dave's lies, and with Carol's own word, it takes a moment.
        if false_ready {
            world.held_up.insert(CAROL, Vec::new());
        }
        world.enter(ERIN);
        world.run(300);
        if false_ready {
            let key = world.sent_key(DAVE);
            let statement = key.statement.hash();
            let call = world.call();
            let (ada, terms) = (world.devices[ADA].identity.clone(), world.access[0].list().terms);
            let verified = key.statement.verify(ada.public(), call, &terms).unwrap();
            assert!(verified.epoch > before, "Dave has the new one");
            let place = EpochPlace { call: &call, term: verified.term, epoch: verified.epoch };
            let about = (verified.term, verified.epoch);
            for join in [CAROL, DAVE, ERIN].map(|device| world.join(device)) {
                let mac = key.secret.ready(place, &statement, join);
                let ready = KeySignal::Ready { statement, mac };
                world.key_signal(DAVE, ADA, about, &ready);
                let carol = world.devices[CAROL].address.clone();
                let letter = world.letter(DAVE, ADA, &ready, |header| {
                    (header.term, header.epoch, header.sender) = (about.0, about.1, carol);
                });
                world.hand(CAROL, ADA, letter);
            }
            world.key_signal(DAVE, ADA, about, &KeySignal::Ready { statement, mac: [0; 32] });
        }
        world.run(300);
        assert_eq!(world.newest(ADA) > before, !false_ready, "{false_ready}");
        world.run(1_000);
        for message in world.held_up.remove(&CAROL).unwrap_or_default() {
            world.input(CAROL, Input::Signal(message));
        }
        world.run(2_000);
        assert!(world.all_hear(&[ADA, BOB, CAROL, DAVE, ERIN], 1_000), "{:?}", world.devices[CAROL].events);
    }
}

/// DOS-1: ten thousand frames a second that open for nobody, by way of the relay and, where it is in league with Dave,
/// around its limits and in the names of others.
#[test]
fn dos_1_ten_thousand_junk_frames_a_second_drown_nobody() {
    let mut world = World::in_room(4, 4);
    let (ring, own) = (world.newest(ADA), world.index(DAVE).unwrap());
    let before = world.posted.len();
    for in_league in [false, true] {
        for device in [ADA, BOB, CAROL] {
            world.devices[device].heard_from.clear();
        }
        for step in 0..100 {
            for number in 0..FLOOD {
                // Under the epoch in use, and under others that may yet come.
                let (epoch, counter) = (ring + u32::try_from(number % 4).unwrap(), 1_000 * step + number);
                if in_league {
                    let name = world.index(if number % 8 < 4 { ADA } else { CAROL }).unwrap();
                    world.slip(BOB, junk(name, epoch, counter));
                } else {
                    world.send_packet(DAVE, junk(own, epoch, counter));
                }
            }
            world.step();
        }
        for (listener, speaker) in [(ADA, BOB), (BOB, CAROL), (CAROL, ADA), (BOB, ADA)] {
            let index = world.index(speaker).unwrap();
            let heard = world.devices[listener].heard_from.get(&index).copied().unwrap_or_default();
            assert!(heard >= 98, "{in_league}: {listener} hears {heard} frames of {speaker}");
        }
    }
    let letters = world.posted.len() - before;
    assert!(letters <= 20, "{letters} letters");
    world.run(1_500);
    assert!(world.all_hear(&[ADA, BOB, CAROL, DAVE], 1_000));
}

/// GRP-5: Dave was put out. He has every key that he was ever sent, and a relay that hands on what he says: in his own
/// name nobody hears him at once, and in the name of others nobody does 2 s after the next epoch is used.
#[test]
fn grp_5_leaver_cannot_speak() {
    let mut world = World::in_room(5, 4);
    let key = world.sent_key(DAVE);
    let (mut own, mut as_carol) = (world.voice(DAVE, &key), world.voice(CAROL, &key));
    for to in [ADA, BOB] {
        let (own, forged) = (own.say(), as_carol.say());
        assert!(world.slip(to, own) && world.slip(to, forged), "whoever is in can do both (rule MED-11)");
    }
    let before = world.newest(ADA);
    let others = [ADA, BOB, CAROL].map(|device| world.listed(device, device == ADA));
    world.relist(others.to_vec());
    while [ADA, BOB, CAROL].iter().any(|device| world.newest(*device) == before) {
        world.step();
        assert!(world.now.as_millis() < 10_000, "there is no new epoch");
    }
    let applied = world.now;
    let mut heard = 0;
    for _ in 0..250 {
        for to in [ADA, BOB] {
            let packet = own.say();
            assert!(!world.slip(to, packet), "in his own name");
            let packet = as_carol.say();
            if world.slip(to, packet) {
                heard += 1;
                let late = world.now.since(applied);
                assert!(late.as_millis() < 2_000, "in Carol's name, {late:?} after the new epoch");
            }
        }
        world.step();
    }
    assert!(heard > 50, "the test speaks as Carol: {heard}");
    assert!(world.all_hear(&[ADA, BOB, CAROL], 1_000));
}

/// GRP-2: who comes at the same moment shares an epoch.
#[test]
fn grp_2_all_who_join_at_once_share_an_epoch() {
    let names: Vec<String> = (0..16).map(|place| format!("p{place:02}")).collect();
    let names: Vec<&str> = names.iter().map(String::as_str).collect();
    let mut world = World::room(6, &names, Protection::Blind);
    let everybody: Vec<usize> = (0..names.len()).collect();
    everybody.iter().for_each(|device| world.enter(*device));
    world.run(2_000);
    assert!(world.all_hear(&everybody, 600));
    let epochs: BTreeSet<u32> = everybody.iter().flat_map(|device| world.epochs(*device)).collect();
    assert!(epochs.len() <= 3, "{epochs:?}");
    let letters = world.posted.len();
    assert!(letters <= 5 * names.len() * epochs.len(), "{letters} letters");
}
