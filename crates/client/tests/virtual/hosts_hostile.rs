//! Hosts that lie: two stories for two halves of a room, answers that are none, and roles that are nobody's to take.

use crate::world::{ADA, BOB, CAROL, DAVE, ERIN, Voice, World};
use undertone_call::room::{Event as RoomEvent, KeySignal, RosterNews};
use undertone_client::ReceptionReason as Reason;
use undertone_client::engine::{Event, Input};
use undertone_keys::RequestId;
use undertone_protocol::group::Cause;

/// The term of whoever is host first.
const TERM: u32 = 1;

fn refused(world: &World, device: usize) -> bool {
    let refused = |event: &Event| matches!(event, Event::Room { event: RoomEvent::HostRefused { .. }, .. });
    world.devices[device].events.iter().any(refused)
}

/// Ada tells Bob and Carol one story and Dave and Erin another, both of one epoch, and keeps to it: each half is told that
/// all is well, and she speaks to both. What she cannot do is make one half's frames open for the other (rules GRP-1, EKR-1).
#[test]
fn grp_1_split_host_heals_when_two_halves_were_told_two_stories() {
    for speaks in [false, true] {
        let mut world = World::in_room(1, 5);
        let epoch = world.newest(BOB) + 1;
        world.play(ADA);
        let halves = [[BOB, CAROL], [DAVE, ERIN]];
        let stories = halves.map(|half| {
            let key = world.epoch_key(ADA, |statement| statement.epoch = epoch);
            for to in half {
                world.key_signal(ADA, to, (TERM, epoch), &world.prepare(&key));
            }
            key
        });
        let mut voices: Vec<Voice> = stories.iter().map(|key| world.voice(ADA, key)).collect();
        world.run(500);
        assert!(world.all_hear(&[BOB, CAROL], 200) && world.all_hear(&[DAVE, ERIN], 200), "each half is one");
        assert!(!world.all_hear(&[BOB, DAVE], 200), "and the two are not");
        let bob = world.index(BOB);
        let mut seconds = 0;
        while world.host_of([BOB, CAROL, DAVE, ERIN]) != [bob; 4] {
            seconds += 1;
            assert!(seconds <= 8, "{speaks}: the room is still in two: {:?}", world.devices[BOB].events);
            // Above the numbers of the words that her own client has said.
            let number = 1_000 + seconds;
            for (key, half) in stories.iter().zip(halves) {
                let word = world.word(ADA, (TERM, epoch), key.statement.hash(), number);
                half.into_iter().for_each(|to| world.key_signal(ADA, to, (TERM, epoch), &word));
            }
            for _ in 0..50 {
                world.step();
                let said: Vec<_> = voices.iter_mut().filter(|_| speaks).map(Voice::say).collect();
                said.into_iter().for_each(|packet| world.send_packet(ADA, packet));
            }
        }
        assert!([BOB, CAROL, DAVE, ERIN].iter().all(|device| refused(&world, *device)), "everybody has seen why");
        world.run(1_500);
        assert!(world.all_hear(&[BOB, CAROL, DAVE, ERIN], 1_000), "{speaks}: {:?}", world.devices[ERIN].events);
    }
}

/// The requests of Bob among the letters that Ada was sent after so many, by id.
fn asked(world: &World, skip: usize) -> Vec<RequestId> {
    let asked = world.read(ADA, skip).into_iter().filter_map(|(from, request, signal)| {
        (from == BOB && matches!(signal, KeySignal::Request { .. })).then_some(request)
    });
    asked.collect()
}

/// A key that nobody has asked for, what is no letter, and then one that does not fit, or, if `empty`, none.
fn answer_garbage(world: &mut World, request: RequestId, epoch: u32, empty: bool) {
    let fit = world.epoch_key(ADA, |statement| statement.epoch = epoch);
    let unfit = world.epoch_key(ADA, |statement| (statement.epoch, statement.commitment) = (epoch, [1; 32]));
    let RosterNews::Whole(roster) = world.roster() else { panic!("a whole roster") };
    let answer = |keys| KeySignal::Answer { keys, roster: roster.clone(), applied: epoch };
    world.key_signal(ADA, BOB, (TERM, epoch), &answer(vec![fit]));
    world.hand(ADA, BOB, vec![0x5a; 300]);
    let garbage = answer(if empty { Vec::new() } else { vec![unfit] });
    let letter = world.letter(ADA, BOB, &garbage, |header| {
        (header.term, header.epoch, header.request) = (TERM, epoch, request);
    });
    world.hand(ADA, BOB, letter);
}

/// Bob has lost his key, and what Ada answers is no key: the others notice nothing, and when she is gone Bob is back.
#[test]
fn ekr_6_a_host_that_answers_with_garbage_gives_nobody_a_key() {
    for empty in [false, true] {
        let mut world = World::in_room(2, 4);
        // Numbers that nobody reaches by drawing keys.
        let first = world.newest(BOB) + 1_000;
        world.deaf.insert(ADA);
        world.dumb.insert(ADA);
        world.devices[BOB].engine.lose_key();
        let (mut read, mut next) = (world.posted.len(), first);
        for round in 0..12 {
            for _ in 0..25 {
                world.step();
                let requests = asked(&world, read);
                read = world.posted.len();
                for request in requests {
                    answer_garbage(&mut world, request, next, empty);
                    next += 1;
                }
            }
            assert!(world.all_hear(&[ADA, CAROL, DAVE], 500), "{empty}, round {round}");
        }
        assert!(next > first + u32::from(empty), "{empty}: Bob has asked, and goes on asking");
        assert!((first..next).all(|epoch| !world.epochs(BOB).contains(&epoch)), "{empty}: garbage was taken");
        // No answer is an answer; two that do not fit are the end of a host for whoever has them.
        assert_eq!(refused(&world, BOB), !empty);
        world.input(ADA, Input::HangUp);
        world.run(4_000);
        assert!(world.all_hear(&[BOB, CAROL, DAVE], 1_000), "{empty}: {:?}", world.devices[BOB].events);
    }
}

/// The same, and Ada does not answer at all: Bob is told that he is denied a key.
#[test]
fn ekr_3_a_host_that_answers_nothing_denies_and_whoever_follows_it_does_not() {
    let mut world = World::in_room(3, 4);
    world.deaf.insert(ADA);
    world.dumb.insert(ADA);
    world.devices[BOB].engine.lose_key();
    world.run(11_000);
    assert!(world.all_hear(&[ADA, CAROL, DAVE], 1_000));
    let denied = |event: &Event| matches!(event, Event::Reception { reason: Reason::Denied | Reason::WrongEpoch, .. });
    assert!(world.devices[BOB].events.iter().any(denied), "{:?}", world.devices[BOB].events);
    world.input(ADA, Input::HangUp);
    world.run(4_000);
    assert!(world.all_hear(&[BOB, CAROL, DAVE], 1_000), "{:?}", world.devices[BOB].events);
}

/// Carol says that she follows Ada, who is there and heard, whatever she calls it. Each time the room finds a host again,
/// and after a few times nobody listens to her any more.
#[test]
fn grp_1_who_takes_the_role_again_and_again_gets_it_no_more() {
    for cause in [Cause::TakenOver, Cause::Rotated, Cause::HandedOver] {
        let mut world = World::in_room(4, 4);
        let mut took = 0;
        for round in 1..=6 {
            let report = world.devices[BOB].engine.keys_report().unwrap();
            let (term, epoch) = (report.term + 1, world.newest(BOB) + 10);
            let key = world.epoch_key(CAROL, |statement| {
                (statement.term, statement.epoch, statement.cause) = (term, epoch, cause);
            });
            for to in [ADA, BOB, DAVE] {
                world.key_signal(CAROL, to, (term, epoch), &world.prepare(&key));
            }
            world.run(500);
            took += u32::from(world.host_of([BOB]) == [world.index(CAROL)]);
            world.run(10_000);
            assert!(world.all_hear(&[ADA, BOB, DAVE], 1_000), "{cause:?} {round}: {:?}", world.devices[BOB].events);
        }
        assert!(took <= 3, "{cause:?}: Carol was host {took} times");
    }
}
