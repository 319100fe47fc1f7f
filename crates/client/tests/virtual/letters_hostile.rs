//! Letters about keys that are forged, misdirected, of another place, late, doubled or out of order, in virtual time.

use crate::world::{ADA, BOB, CAROL, DAVE, ERIN, World};
use undertone_call::room::{Event as RoomEvent, KeySignal, RosterNews};
use undertone_client::engine::{Event, Input};
use undertone_keys::CallId;
use undertone_keys::envelope::Purpose;
use undertone_protocol::group::{Place, Roster};

/// Something that is wrong in one thing, about an epoch of this number.
type Wrong = (&'static str, fn(&mut World, u32));

/// The term of whoever is host first.
const TERM: u32 = 1;
const ELSEWHERE: CallId = CallId::from_bytes([9; 16]);

/// Each of these is one thing away from the letter at the end, which is taken.
const WRONG: [Wrong; 13] = [
    ("forged: the host's statement, signed by another member", |world, epoch| {
        let ada = world.join(ADA);
        let key = world.epoch_key(CAROL, |statement| (statement.epoch, statement.host) = (epoch, ada));
        world.key_signal(ADA, BOB, (TERM, epoch), &world.prepare(&key));
    }),
    ("forged: a member's own statement of the same term", |world, epoch| {
        let key = world.epoch_key(CAROL, |statement| statement.epoch = epoch);
        world.key_signal(CAROL, BOB, (TERM, epoch), &world.prepare(&key));
    }),
    ("forged: the host's letter, signed by another device", |world, epoch| {
        let key = world.epoch_key(ADA, |statement| statement.epoch = epoch);
        let letter =
            world.letter(DAVE, BOB, &world.prepare(&key), |header| (header.term, header.epoch) = (TERM, epoch));
        world.hand(ADA, BOB, letter);
    }),
    ("wrong device: the host's letter passed on by a member", |world, epoch| {
        let key = world.epoch_key(ADA, |statement| statement.epoch = epoch);
        world.key_signal(DAVE, BOB, (TERM, epoch), &world.prepare(&key));
    }),
    ("wrong device: a letter to somebody else", |world, epoch| {
        let key = world.epoch_key(ADA, |statement| statement.epoch = epoch);
        let letter =
            world.letter(ADA, CAROL, &world.prepare(&key), |header| (header.term, header.epoch) = (TERM, epoch));
        world.hand(ADA, BOB, letter);
    }),
    ("wrong call: the letter's", |world, epoch| {
        let key = world.epoch_key(ADA, |statement| statement.epoch = epoch);
        let letter = world.letter(ADA, BOB, &world.prepare(&key), |header| {
            (header.term, header.epoch, header.context) = (TERM, epoch, *ELSEWHERE.as_bytes());
        });
        world.hand(ADA, BOB, letter);
    }),
    ("wrong call: the statement's", |world, epoch| {
        let key = world.epoch_key(ADA, |statement| (statement.epoch, statement.call) = (epoch, ELSEWHERE));
        world.key_signal(ADA, BOB, (TERM, epoch), &world.prepare(&key));
    }),
    ("wrong purpose", |world, epoch| {
        let key = world.epoch_key(ADA, |statement| statement.epoch = epoch);
        let letter = world.letter(ADA, BOB, &world.prepare(&key), |header| {
            (header.term, header.epoch, header.purpose) = (TERM, epoch, Purpose::CallSignal);
        });
        world.hand(ADA, BOB, letter);
    }),
    ("wrong epoch: the letter's", |world, epoch| {
        let key = world.epoch_key(ADA, |statement| statement.epoch = epoch);
        world.key_signal(ADA, BOB, (TERM, epoch + 1), &world.prepare(&key));
    }),
    ("wrong epoch: one that is over", |world, _| {
        let epoch = world.newest(BOB) - 1;
        let key = world.epoch_key(ADA, |statement| statement.epoch = epoch);
        world.key_signal(ADA, BOB, (TERM, epoch), &world.prepare(&key));
    }),
    ("wrong term: the letter's", |world, epoch| {
        let key = world.epoch_key(ADA, |statement| statement.epoch = epoch);
        world.key_signal(ADA, BOB, (TERM + 1, epoch), &world.prepare(&key));
    }),
    ("wrong term: one that is over", |world, epoch| {
        let key = world.epoch_key(ADA, |statement| (statement.epoch, statement.term) = (epoch, TERM - 1));
        world.key_signal(ADA, BOB, (TERM - 1, epoch), &world.prepare(&key));
    }),
    ("a roster without the receiver", |world, epoch| {
        let join = world.join(BOB);
        let RosterNews::Whole(everybody) = world.roster() else { return };
        let others: Vec<Place> = everybody.places().iter().copied().filter(|place| place.join != join).collect();
        let others = Roster::new(others).unwrap();
        let key = world.epoch_key(ADA, |statement| (statement.epoch, statement.roster) = (epoch, others.hash()));
        let KeySignal::Prepare { key, checkpoint, .. } = world.prepare(&key) else { return };
        let prepare = KeySignal::Prepare { key, roster: RosterNews::Whole(others), checkpoint, applied: 0 };
        world.key_signal(ADA, BOB, (TERM, epoch), &prepare);
    }),
];

#[test]
fn grp_3_grp_7_a_letter_that_is_wrong_in_one_thing_changes_nothing() {
    let mut world = World::in_room(1, 4);
    let base = world.newest(BOB);
    for (place, (what, send)) in (10..).zip(WRONG) {
        let (epochs, hosts) = (world.epochs(BOB), world.hosts(BOB));
        send(&mut world, base + place);
        assert!(world.all_hear(&[ADA, BOB, CAROL, DAVE], 500), "{what}");
        assert_eq!((world.epochs(BOB), world.hosts(BOB)), (epochs, hosts), "{what}");
    }
    // The same, and nothing is wrong with it.
    let right = base + 100;
    let key = world.epoch_key(ADA, |statement| statement.epoch = right);
    world.key_signal(ADA, BOB, (TERM, right), &world.prepare(&key));
    world.run(40);
    assert_eq!(world.newest(BOB), right);
    // Bob alone has been given that one: the host goes further, and all are together again.
    world.run(4_000);
    assert!(world.all_hear(&[ADA, BOB, CAROL, DAVE], 1_000), "{:?}", world.epochs(BOB));
}

/// A host that sends keys which do not fit what it has signed is obeyed no more by those it sends them to.
#[test]
fn grp_3_a_key_that_does_not_fit_its_commitment_is_refused_and_its_host_followed() {
    let mut world = World::in_room(2, 4);
    let epoch = world.newest(BOB) + 1;
    for number in [epoch, epoch + 1] {
        for to in [BOB, CAROL, DAVE] {
            let key = world.epoch_key(ADA, |statement| (statement.epoch, statement.commitment) = (number, [1; 32]));
            world.key_signal(ADA, to, (TERM, number), &world.prepare(&key));
            assert!(world.newest(to) < epoch, "it was taken");
        }
    }
    let refused = |event: &Event| matches!(event, Event::Room { event: RoomEvent::HostRefused { .. }, .. });
    for device in [BOB, CAROL, DAVE] {
        assert_eq!(world.devices[device].events.iter().filter(|event| refused(event)).count(), 1);
    }
    world.run(4_000);
    assert_eq!(world.host_of([BOB, CAROL, DAVE]), [world.index(BOB); 3]);
    // Whoever did that in Ada's name, her own client follows as well.
    assert!(world.all_hear(&[ADA, BOB, CAROL, DAVE], 1_000), "{:?}", world.devices[CAROL].events);
}

/// Letters of several epochs reach Bob at once, the newest first, and each twice.
#[test]
fn grp_3_letters_that_come_late_twice_and_in_reverse_count_once() {
    let mut world = World::in_room(3, 5);
    world.held_up.insert(BOB, Vec::new());
    for _ in 0..3 {
        world.input(ERIN, Input::HangUp);
        world.run(700);
        world.enter(ERIN);
        world.run(700);
    }
    let mut late = world.held_up.remove(&BOB).unwrap();
    assert!(late.len() >= 6, "{}", late.len());
    late.reverse();
    for message in late.iter().flat_map(|message| [message, message]) {
        world.input(BOB, Input::Signal(message.clone()));
    }
    world.run(1_500);
    assert_eq!(world.newest(BOB), world.newest(ADA));
    assert!(world.epochs(BOB).is_sorted(), "{:?}", world.epochs(BOB));
    assert!(world.all_hear(&[ADA, BOB, CAROL, DAVE, ERIN], 1_000));
    // Much later they come once more.
    let before = (world.epochs(BOB), world.posted.len());
    for message in late {
        world.input(BOB, Input::Signal(message));
    }
    assert!(world.all_hear(&[ADA, BOB, CAROL, DAVE, ERIN], 1_000));
    assert_eq!((world.epochs(BOB), world.posted.len()), before, "and nobody answers them");
}
