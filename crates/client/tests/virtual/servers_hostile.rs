//! Servers that lose, keep back, mix up and repeat what they are given, and that would choose a host, in virtual time.

use crate::world::{ADA, BOB, CAROL, DAVE, ERIN, Unruly, World};
use undertone_call::room::KeySignal;
use undertone_client::engine::Input;
use undertone_keys::sign::SigningKey;
use undertone_protocol::group::{Cause, Handover};

/// The term of whoever is host first.
const TERM: u32 = 1;

/// A call whose server treats each signal as it likes, while people come and go and the host leaves: when it is honest
/// again, and though it repeats all it has ever had, everybody hears everybody.
#[test]
fn grp_5_a_server_that_drops_reorders_and_repeats_ends_no_call() {
    for seed in 0..4 {
        let mut world = World::in_room(seed, 5);
        world.unruly = Some(Unruly::new(seed));
        for (who, leaves) in [(ERIN, true), (ERIN, false), (ADA, true), (DAVE, true), (ADA, false), (DAVE, false)] {
            if leaves {
                world.input(who, Input::HangUp);
            } else {
                world.enter(who);
            }
            world.run(2_500);
        }
        let unruly = world.unruly.take().unwrap();
        assert!(unruly.done.iter().all(|done| *done > 5), "seed {seed}: {:?}", unruly.done);
        world.run(12_000);
        let everybody = [ADA, BOB, CAROL, DAVE, ERIN];
        assert!(world.all_hear(&everybody, 1_000), "seed {seed}: {:?}", world.devices[BOB].events);
        let epochs = everybody.map(|device| world.newest(device));
        for place in 0..world.posted.len() {
            let (from, to, envelope) = {
                let letter = &world.posted[place];
                (letter.from, letter.to, letter.envelope.clone())
            };
            world.hand(from, to, envelope);
        }
        assert!(world.all_hear(&everybody, 1_000), "seed {seed}");
        assert_eq!(everybody.map(|device| world.newest(device)), epochs, "seed {seed}: nothing old counts again");
    }
}

/// GRP-1: a server would have Carol be host. It has a handover of its own making, one that Carol has signed, one of a term
/// that is over, and one to somebody else. When the host does leave, the next in the order that it signed follows.
#[test]
fn grp_1_a_server_names_no_host_neither_by_handover_nor_by_order() {
    let mut world = World::in_room(1, 5);
    let hosts = world.host_of([BOB, CAROL, DAVE]);
    let [ada, bob, carol] = [ADA, BOB, CAROL].map(|device| world.join(device));
    let made = SigningKey::generate(&mut world.rng);
    let handover = |term, to| Handover { call: world.call(), term, from: ada, to, leaves: false };
    let handovers = [
        handover(TERM, carol).sign(&made),
        handover(TERM, carol).sign(&world.devices[CAROL].identity),
        handover(TERM - 1, carol).sign(&world.devices[ADA].identity),
        handover(TERM, bob).sign(&world.devices[ADA].identity),
        Handover { from: bob, ..handover(TERM, carol) }.sign(&world.devices[ADA].identity),
    ];
    for handover in handovers {
        // In Carol's hands none of them is one, and in a statement of hers they convince nobody.
        let signal = KeySignal::Handover { handover: handover.clone() };
        world.key_signal(ADA, CAROL, (TERM, 0), &signal);
        let epoch = world.newest(BOB) + 5;
        let key = world.epoch_key(CAROL, |statement| {
            (statement.term, statement.epoch, statement.cause) = (TERM + 1, epoch, Cause::HandedOver);
            statement.handover = Some(handover);
        });
        for to in [BOB, DAVE] {
            // A statement that nobody passes on to the host: what they make of it by themselves.
            world.dumb.insert(to);
            world.key_signal(CAROL, to, (TERM + 1, epoch), &world.prepare(&key));
        }
        world.run(100);
        world.dumb.clear();
        assert_eq!(world.host_of([BOB, CAROL, DAVE]), hosts);
        assert!(world.all_hear(&[ADA, BOB, CAROL, DAVE, ERIN], 500), "{:?}", world.devices[BOB].events);
    }
    world.run(12_000);
    let bob = world.index(BOB);
    world.input(ADA, Input::HangUp);
    world.run(4_000);
    assert!(!world.hosts(DAVE).contains(&world.index(CAROL).unwrap()));
    assert_eq!(world.host_of([BOB, CAROL, DAVE, ERIN]), [bob; 4]);
    assert!(world.all_hear(&[BOB, CAROL, DAVE, ERIN], 1_000));
}
