//! The host of a blind room leaves, in virtual time: what it says last, and what everybody hears meanwhile. Its letters go by the
//! server and the word that it has gone by the relay, so either may be first, and at each of the others another one.

use crate::world::{ADA, BOB, CAROL, DAVE, NAMES, World};
use undertone_call::room::KeySignal;
use undertone_client::engine::Input;
use undertone_protocol::Protection;
use undertone_protocol::control::{Refusal, ToMember};
use undertone_protocol::group::Handover;

const OTHERS: [usize; 3] = [BOB, CAROL, DAVE];
/// How much later, in milliseconds, what is late comes.
const LATE: u64 = 60;

/// Four in a room, of whom the first is host.
fn talking(seed: u64) -> World {
    let mut world = World::room(seed, &NAMES[..4], Protection::Blind);
    (0..4).for_each(|device| world.enter(device));
    world.run(1500);
    assert!(world.all_hear(&[ADA, BOB, CAROL, DAVE], 500));
    assert_eq!(world.hosts(DAVE).last().copied(), world.index(ADA));
    world
}

/// Hangs up, and keeps the relay's word of it back.
fn hang_up(world: &mut World, device: usize) -> ToMember {
    let index = world.index(device).unwrap();
    world.devices[device].reachable = false;
    world.input(device, Input::HangUp);
    ToMember::Gone { index, reason: Refusal::Left }
}

#[test]
fn grp_1_the_last_act_of_a_host_that_leaves_is_to_name_who_follows() {
    let mut world = talking(1);
    let before = world.posted.len();
    let _ = hang_up(&mut world, ADA);
    let letters: Vec<(usize, usize)> = world.posted[before..].iter().map(|letter| (letter.from, letter.to)).collect();
    assert_eq!(letters, [(ADA, BOB)], "an epoch that it draws now, it has the key of");
    let said = world.read(BOB, before);
    let [(ADA, _, KeySignal::Handover { handover })] = said.as_slice() else { panic!("{said:?}") };
    let handover: Handover = undertone_keys::cbor::decode(&handover.bytes).unwrap();
    assert_eq!((handover.from, handover.to), (world.join(ADA), world.join(BOB)));
    assert!(handover.leaves, "whoever leaves gets no key any more, and says so");
}

#[test]
fn grp_5_nobody_loses_a_frame_when_the_host_leaves_whatever_is_heard_of_it_first() {
    // Who hears by the relay that she has gone when her letters, or those of whoever follows her, are there already; and whose
    // letters are late.
    for late_words in 0..8_u8 {
        for late_letters in [None, Some(BOB), Some(CAROL), Some(DAVE)] {
            let mut world = talking(2);
            let refused = |world: &World| OTHERS.map(|device| world.devices[device].engine.media_stats().refused);
            let (before, epochs) = (refused(&world), OTHERS.map(|device| world.epochs(device).len()));
            let posted = world.posted.len();
            OTHERS.iter().for_each(|device| world.devices[*device].heard_from.clear());
            let gone = hang_up(&mut world, ADA);
            late_letters.iter().for_each(|device| drop(world.held_up.insert(*device, Vec::new())));
            let late = |device: usize| late_words & (1 << (device - BOB)) != 0;
            OTHERS.iter().filter(|device| !late(**device)).for_each(|device| {
                world.input(*device, Input::Relay(gone.clone()));
            });
            world.run(LATE);
            OTHERS.iter().filter(|device| late(**device)).for_each(|device| {
                world.input(*device, Input::Relay(gone.clone()));
            });
            if let Some(device) = late_letters {
                for message in world.held_up.remove(&device).unwrap() {
                    world.input(device, Input::Signal(message));
                }
            }
            let case = format!("words late at {late_words:03b}, letters at {late_letters:?}");
            assert!(world.all_hear(&OTHERS, 3_000), "{case}");
            assert_eq!(refused(&world), before, "{case}: frames did not open");
            let used = OTHERS.map(|device| world.epochs(device).len());
            assert_eq!(used, epochs.map(|used| used + 1), "{case}: one epoch, and no other");
            // Who has not heard that she has gone may write to her; who hands out the keys does not.
            let keys = world.posted[posted..].iter().filter(|letter| (letter.from, letter.to) == (BOB, ADA)).count();
            assert_eq!(keys, 0, "{case}: she left, and was given a key");
            assert_eq!(world.host_of(OTHERS), [world.index(BOB); 3], "{case}");
        }
    }
}
