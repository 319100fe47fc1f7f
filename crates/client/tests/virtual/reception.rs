//! Keys that come late, or not, or wrong: what is heard all the same, and what people are told.

use crate::world::{ADA, BOB, World};
use undertone_client::ReceptionReason as Reason;
use undertone_client::engine::{Event, Input};
use undertone_protocol::Protection;

const CAROL: usize = 2;
const DAVE: usize = 3;

/// Ada, Bob, Carol and Dave in a room.
fn talking(seed: u64) -> World {
    let mut world = World::room(seed, &["ada", "bob", "carol", "dave"], Protection::Blind);
    [ADA, BOB, CAROL, DAVE].into_iter().for_each(|device| world.enter(device));
    world.run(1500);
    assert!(world.all_hear(&[ADA, BOB, CAROL, DAVE], 1000), "{:?}", world.devices[BOB].events);
    world.devices[BOB].events.clear();
    world
}

/// What a device was told about another one, in order.
fn told(world: &World, device: usize, about: usize) -> Vec<Reason> {
    let about = world.index(about).unwrap();
    let events = world.devices[device].events.iter();
    let reason = |event: &Event| match event {
        Event::Reception { index, reason, .. } if *index == about => Some(*reason),
        _ => None,
    };
    events.filter_map(reason).collect()
}

/// After how many milliseconds it heard another one again.
fn recovered(world: &World, device: usize, about: usize) -> Vec<u64> {
    let about = world.index(about).unwrap();
    let events = world.devices[device].events.iter();
    let ms = |event: &Event| match event {
        Event::Recovered { index, ms, .. } if *index == about => Some(*ms),
        _ => None,
    };
    events.filter_map(ms).collect()
}

/// Dave goes, and the others change to a key that Bob is not given. When the first frame under it has come.
fn until_a_key_is_missing(world: &mut World) -> undertone_keys::Time {
    let before = world.devices[BOB].engine.media_stats().kept;
    world.input(DAVE, Input::HangUp);
    while world.devices[BOB].engine.media_stats().kept == before {
        world.step();
    }
    world.now
}

#[test]
fn ekr_1_a_frame_that_came_100_ms_before_its_key_is_heard() {
    let mut world = talking(1);
    let (ada, carol) = (world.index(ADA).unwrap(), world.index(CAROL).unwrap());
    world.devices[BOB].heard_from.clear();
    let (begun, before) = (world.now, world.devices[BOB].engine.media_stats());
    world.devices[BOB].late.clear();
    // Dave goes; what is signalled to Bob is held up till 100 ms after the first frame under the new key.
    world.held_up.insert(BOB, Vec::new());
    let first = until_a_key_is_missing(&mut world);
    world.run(80);
    assert!(world.devices[BOB].late.is_empty());
    world.now = undertone_keys::Time::from_millis(world.now.as_millis() + 20);
    for message in world.held_up.remove(&BOB).unwrap() {
        world.input(BOB, Input::Signal(message));
    }
    let late = world.devices[BOB].late.clone();
    assert_eq!(late.first().map(|(_, at)| *at), Some(first), "the oldest was 100 ms old");
    assert!(late.is_sorted_by_key(|(_, at)| *at), "{late:?}");
    for index in [ada, carol] {
        assert!(late.iter().filter(|(sender, _)| *sender == index).count() >= 4, "{late:?}");
    }
    world.run(500);
    // Not one frame of theirs was lost, and nobody was alarmed.
    let frames = u32::try_from((world.now.as_millis() - begun.as_millis()) / 20 - 1).unwrap();
    let heard = &world.devices[BOB].heard_from;
    assert_eq!([heard[&ada], heard[&carol]], [frames; 2]);
    assert_eq!(recovered(&world, BOB, ADA), [100_u64]);
    assert_eq!(told(&world, BOB, ADA), []);
    let stats = world.devices[BOB].engine.media_stats();
    assert_eq!((stats.dropped - before.dropped, stats.refused - before.refused), (0, 0));
    // The host's words wait like everything else.
    assert!(stats.kept - before.kept >= u64::try_from(late.len()).unwrap());
    assert_eq!(stats.kept - before.kept, stats.opened_late - before.opened_late);
}

#[test]
fn ekr_8_who_is_not_heard_is_told_of_with_the_reason_and_how_long_it_took() {
    let mut world = talking(2);
    let before = world.devices[BOB].engine.media_stats();
    world.deaf.insert(BOB);
    let first = until_a_key_is_missing(&mut world);
    world.run(400);
    assert_eq!(told(&world, BOB, ADA), [], "the key may yet come");
    world.run(200);
    assert_eq!(told(&world, BOB, ADA), [Reason::WaitingSince(first)]);
    assert!(matches!(told(&world, BOB, CAROL)[..], [Reason::WaitingSince(since)] if since >= first));
    world.run(2000);
    world.deaf.remove(&BOB);
    while recovered(&world, BOB, ADA).is_empty() {
        world.step();
        assert!(world.now.since(first).as_secs() < 10, "the key was asked for");
    }
    let told_ada = told(&world, BOB, ADA);
    assert_eq!(told_ada, [Reason::WaitingSince(first), Reason::Ok]);
    // Measured to the first frame that opened, which was one that had been kept, or the next.
    let passed = u64::try_from(world.now.since(first).as_millis()).unwrap();
    let ms = recovered(&world, BOB, ADA)[0];
    assert!(ms > 2000 && ms <= passed && passed - ms <= 20, "{ms} of {passed}");
    let stats = world.devices[BOB].engine.media_stats();
    let (kept, dropped) = (stats.kept - before.kept, stats.dropped - before.dropped);
    assert!(dropped > 100 && kept == dropped + stats.opened_late - before.opened_late, "{stats:?}");
}

#[test]
fn ekr_8_a_missing_key_is_told_and_a_host_that_goes_is_followed() {
    let mut world = talking(3);
    world.deaf.insert(BOB);
    world.input(DAVE, Input::HangUp);
    world.run(1000);
    assert!(matches!(told(&world, BOB, CAROL)[..], [Reason::WaitingSince(_)]));
    world.input(ADA, Input::HangUp);
    // Bob is the next in order, and what he says goes out. When he hears of the key that he had missed, both hear each other.
    world.run(500);
    world.deaf.remove(&BOB);
    world.welcome(BOB);
    world.run(4000);
    assert_eq!(told(&world, BOB, CAROL).last(), Some(&Reason::Ok));
    assert!(world.all_hear(&[BOB, CAROL], 1000));
}

/// What a device counts is what it was told, and it is told once, before the call is over.
#[test]
fn ekr_8_what_was_lost_is_counted_and_told_at_the_end() {
    let mut world = talking(6);
    let before = world.devices[BOB].engine.explain_room(world.now).unwrap().counters;
    world.deaf.insert(BOB);
    until_a_key_is_missing(&mut world);
    world.run(3000);
    world.deaf.remove(&BOB);
    world.run(4000);
    let seen = [ADA, CAROL].map(|device| recovered(&world, BOB, device));
    let explained = world.devices[BOB].engine.explain_room(world.now).unwrap();
    let gone = world.devices[DAVE].address.clone();
    let addresses = [ADA, CAROL].map(|device| world.devices[device].address.clone());
    world.input(BOB, Input::HangUp);
    let events = &world.devices[BOB].events;
    let told = events.iter().filter_map(|event| match event {
        Event::KeysCounted { counters, .. } => Some(counters.clone()),
        _ => None,
    });
    let [counters] = &told.collect::<Vec<_>>()[..] else { panic!("not told once") };
    assert!(matches!(events.last(), Some(Event::Over { .. })));
    assert_eq!(counters.all, explained.counters.all);
    assert_eq!((counters.all.forged, counters.requests.given_up), (0, 0));
    assert!(counters.requests.sent > before.requests.sent && counters.requests.sent >= counters.requests.answered);
    assert!(counters.received.count > 0 && counters.received.bytes > counters.received.count * 100);
    for (address, seen) in addresses.iter().zip(seen) {
        let member = counters.members.iter().find(|member| member.member == *address).unwrap();
        let voice = &member.sources[&undertone_client::Context::MAIN_AUDIO];
        let earlier = before.members.iter().find(|member| member.member == *address).unwrap();
        let earlier = earlier.sources[&undertone_client::Context::MAIN_AUDIO].recovered.count();
        let counted = (voice.recovered.count() - earlier, voice.recovered.longest_ms);
        assert_eq!(counted, (u64::try_from(seen.len()).unwrap(), *seen.iter().max().unwrap()), "{address:?}");
        let unheard = voice.times.unheard().as_millis();
        assert!((2_000..6_000).contains(&unheard), "{voice:?}");
        assert!(voice.times.ok.as_millis() > 3_000 && member.present);
    }
    assert!(counters.members.iter().any(|member| member.member == gone && !member.present));
}

#[test]
fn ekr_8_somebody_who_sends_nothing_is_told_of() {
    for protection in [Protection::Blind, Protection::Hop] {
        let mut world = World::room(4, &["ada", "bob", "carol"], protection);
        [ADA, BOB, CAROL].into_iter().for_each(|device| world.enter(device));
        world.run(2500);
        assert_eq!(told(&world, BOB, CAROL), [Reason::Ok], "{protection:?}");
        let carol = world.index(CAROL).unwrap();
        world.input(ADA, Input::MuteMember { index: carol, muted: true });
        world.run(1500);
        world.input(ADA, Input::MuteMember { index: carol, muted: false });
        world.run(200);
        assert_eq!(told(&world, BOB, CAROL), [Reason::Ok, Reason::NotSending, Reason::Ok], "{protection:?}");
        assert_eq!(told(&world, BOB, ADA), [Reason::Ok]);
    }
}

#[test]
fn ekr_1_forgeries_ask_for_no_key() {
    let mut world = talking(5);
    world.input(DAVE, Input::HangUp);
    world.run(1500);
    world.devices[BOB].events.clear();
    let (envelopes, before) = (world.carried.len(), world.devices[BOB].engine.media_stats());
    world.spoilt.insert(BOB);
    let signalled = |world: &World| world.carried[envelopes..].iter().filter(|bytes| bytes.len() > 100).count();
    world.run(1000);
    assert_eq!(signalled(&world), 0, "an envelope went somewhere");
    world.run(5000);
    assert_eq!(told(&world, BOB, ADA), [Reason::Forged]);
    // After three seconds in which nothing opened, and once, others are told which statement Bob goes by, and the host is
    // asked for its own; and whether it is there, since its words do not open either.
    assert!((1..=16).contains(&signalled(&world)), "{} envelopes", signalled(&world));
    let said = |event: &&Event| matches!(event, Event::Rejected { reason } if reason.contains("another key"));
    assert_eq!(world.devices[BOB].events.iter().filter(said).count(), 1);
    let stats = world.devices[BOB].engine.media_stats();
    assert_eq!(stats.kept, before.kept);
    world.spoilt.remove(&BOB);
    world.run(200);
    assert_eq!(told(&world, BOB, ADA), [Reason::Forged, Reason::Ok]);
    assert!(world.all_hear(&[ADA, BOB, CAROL], 1000));
}
