//! Every way a one-to-one call can go (rules CALL-3, CALL-5), in virtual time, with and without loss.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing, reason = "a test may fail")]

mod world;

use undertone_call::{DialError, Input, Role};
use undertone_keys::{CallId, Secret, Time};
use undertone_protocol::Protection;
use world::World;

const ADA: usize = 0;
const BOB: usize = 1;

fn derived(call: &undertone_call::Established) -> Secret<32> {
    call.key.derive(undertone_keys::labels::Label::declare("test"), &[])
}

/// Both sides hold the same keys, SAS and grants, and know who is who.
fn same_call(world: &World, caller: usize, callee: usize) -> bool {
    let (Some(a), Some(b)) = (world.established(caller), world.established(callee)) else { return false };
    derived(a).expose() == derived(b).expose()
        && a.sas == b.sas
        && a.call == b.call
        && (a.role, b.role) == (Role::Caller, Role::Callee)
        && a.device == world.devices[callee].address.device
        && b.device == world.devices[caller].address.device
        && a.peer_grant == undertone_protocol::Grant::hash(&b.grant)
        && b.peer_grant == undertone_protocol::Grant::hash(&a.grant)
        && a.terms == b.terms
}

#[test]
fn call_flows() {
    // Answered, and ended by either side.
    for hanger_up in [ADA, BOB] {
        let mut world = World::new(1, &["ada", "bob"]);
        let call = world.call_id();
        world.dial(ADA, "bob", call).unwrap();
        world.run(3);
        assert_eq!(world.words(ADA), ["ringing"]);
        world.input(BOB, Input::Accept);
        world.run(3);
        assert!(same_call(&world, ADA, BOB));
        assert_eq!(world.devices[BOB].stored, [call]);
        world.input(hanger_up, Input::HangUp);
        world.run(3);
        assert_eq!(world.words(ADA), ["ringing", "established", "ended"]);
        assert_eq!(world.words(BOB), ["incoming", "established", "ended"]);
        assert!(!world.devices[ADA].phone.is_busy() && !world.devices[BOB].phone.is_busy());
    }

    // Declined.
    let mut world = World::new(2, &["ada", "bob"]);
    let call = world.call_id();
    world.dial(ADA, "bob", call).unwrap();
    world.run(1);
    world.input(BOB, Input::Decline);
    world.run(1);
    assert_eq!((world.words(ADA), world.words(BOB)), words(&["ringing", "declined"], &["incoming", "declined"]));

    // Cancelled by the caller while it rings.
    let mut world = World::new(3, &["ada", "bob"]);
    let call = world.call_id();
    world.dial(ADA, "bob", call).unwrap();
    world.run(1);
    world.input(ADA, Input::HangUp);
    world.run(1);
    assert_eq!((world.words(ADA), world.words(BOB)), words(&["ringing", "cancelled"], &["incoming", "cancelled"]));

    // Nobody answers: 60 seconds.
    let mut world = World::new(4, &["ada", "bob"]);
    let call = world.call_id();
    world.dial(ADA, "bob", call).unwrap();
    world.run(59);
    assert_eq!(world.words(ADA), ["ringing"]);
    world.run(2);
    assert_eq!((world.words(ADA), world.words(BOB)), words(&["ringing", "no_answer"], &["incoming", "no_answer"]));

    // Offline.
    let mut world = World::new(5, &["ada", "bob"]);
    world.devices[BOB].connected = false;
    let call = world.call_id();
    world.dial(ADA, "bob", call).unwrap();
    world.run(1);
    assert_eq!(world.words(ADA), ["offline"]);

    // Busy: a third person calls somebody who talks.
    let mut world = World::new(6, &["ada", "bob", "eve"]);
    let call = world.call_id();
    world.dial(ADA, "bob", call).unwrap();
    world.run(1);
    world.input(BOB, Input::Accept);
    world.run(1);
    let second = world.call_id();
    world.dial(2, "bob", second).unwrap();
    world.run(1);
    assert_eq!(world.words(2), ["busy"]);
    assert_eq!(world.words(BOB), ["incoming", "established"]);

    // The peer vanishes: the media path says so.
    world.input(ADA, Input::PeerGone);
    assert_eq!(world.words(ADA), ["ringing", "established", "peer_vanished"]);

    // The callee answers into nothing: the caller has gone without a word.
    let mut world = World::new(7, &["ada", "bob"]);
    let call = world.call_id();
    world.dial(ADA, "bob", call).unwrap();
    world.run(1);
    world.loss = 100;
    world.input(BOB, Input::Accept);
    world.run(11);
    assert_eq!(world.words(BOB), ["incoming", "peer_vanished"]);

    // A device whose key refuses: a locked token.
    let mut world = World::new(8, &["ada", "bob"]);
    let call = world.call_id();
    world.dial(ADA, "bob", call).unwrap();
    world.run(1);
    world.devices[BOB].locked = true;
    world.input(BOB, Input::Accept);
    world.run(1);
    assert_eq!(
        (world.words(ADA), world.words(BOB)),
        words(&["ringing", "refused_by_policy"], &["incoming", "refused_by_policy"])
    );
}

fn words(a: &[&str], b: &[&str]) -> (Vec<String>, Vec<String>) {
    let own = |list: &[&str]| list.iter().map(|word| (*word).to_owned()).collect();
    (own(a), own(b))
}

/// Nobody asks for a goodbye to be repeated, so one that the server could not hand over is tried again for a while.
#[test]
fn call_3_a_goodbye_reaches_a_peer_that_is_on_its_way_back() {
    for back in [true, false] {
        let mut world = World::new(9, &["ada", "bob"]);
        let call = world.call_id();
        world.dial(ADA, "bob", call).unwrap();
        world.run(1);
        world.input(BOB, Input::Accept);
        world.run(1);
        world.devices[BOB].connected = false;
        world.input(ADA, Input::HangUp);
        world.run(1);
        assert!(world.devices[ADA].phone.has_more_to_say());
        world.devices[BOB].connected = back;
        world.run(5);
        assert_eq!(world.words(BOB).last().unwrap(), if back { "ended" } else { "established" });
        assert!(!world.devices[ADA].phone.has_more_to_say() && world.devices[ADA].phone.poll_timeout().is_none());
    }
}

#[test]
fn call_5_the_first_answer_wins_and_the_others_are_told() {
    let mut world = World::new(10, &["ada", "bob", "bob", "bob"]);
    world.devices[3].connected = false;
    let call = world.call_id();
    world.dial(ADA, "bob", call).unwrap();
    world.run(1);
    assert_eq!((world.words(1), world.words(2)), words(&["incoming"], &["incoming"]));
    world.input(2, Input::Accept);
    world.input(1, Input::Accept);
    world.run(3);
    let winner = if world.established(1).is_some() { 1 } else { 2 };
    assert!(same_call(&world, ADA, winner));
    assert_eq!(world.words(3 - winner), ["incoming", "taken"]);
    assert!(world.established(3 - winner).is_none());
}

#[test]
fn call_5_one_no_stops_all_devices() {
    let mut world = World::new(11, &["ada", "bob", "bob"]);
    let call = world.call_id();
    world.dial(ADA, "bob", call).unwrap();
    world.run(1);
    world.input(2, Input::Decline);
    world.run(1);
    assert_eq!(world.words(ADA), ["ringing", "declined"]);
    assert_eq!(world.words(1), ["incoming", "cancelled"]);
}

#[test]
fn call_5_in_glare_the_lower_call_id_survives() {
    for lower_is_adas in [true, false] {
        let mut world = World::new(12, &["ada", "bob"]);
        let (low, high) = (CallId::from_bytes([1; 16]), CallId::from_bytes([2; 16]));
        let (adas, bobs) = if lower_is_adas { (low, high) } else { (high, low) };
        world.dial(ADA, "bob", adas).unwrap();
        world.dial(BOB, "ada", bobs).unwrap();
        world.run(5);
        let (caller, callee) = if lower_is_adas { (ADA, BOB) } else { (BOB, ADA) };
        assert!(same_call(&world, caller, callee), "{:?} {:?}", world.words(ADA), world.words(BOB));
        assert_eq!(world.established(ADA).unwrap().call, low);
    }
}

#[test]
fn call_5_a_call_id_is_accepted_once_and_an_invite_while_it_is_fresh() {
    let mut world = World::new(13, &["ada", "bob"]);
    let call = world.call_id();
    world.dial(ADA, "bob", call).unwrap();
    world.run(1);
    let invite = world.seen[0].clone();
    world.input(BOB, Input::Accept);
    world.run(1);
    world.input(ADA, Input::HangUp);
    world.run(1);
    let before = world.words(BOB).len();
    // The very envelope again: seen before, nothing rings.
    let grant = world.any_grant(BOB, call, Protection::Blind);
    world.inject(BOB, "ada", invite.clone(), Some(grant.clone()));
    world.run(1);
    assert_eq!(world.words(BOB).len(), before);

    // A phone that has forgotten what it has seen still knows what it accepted.
    let mut again = World::new(13, &["ada", "bob"]);
    let accepted = vec![(call, again.wall().plus(120))];
    let local = again.devices[BOB].local.clone();
    let policy = undertone_call::Policy::default();
    let legacy = undertone_keys::choice::LegacyPolicy::Ask;
    again.devices[BOB].phone = undertone_call::Phone::new(local.clone(), policy, legacy, accepted);
    again.inject(BOB, "ada", invite.clone(), Some(grant.clone()));
    assert_eq!(again.words(BOB), ["rejected: an invite to a call that was accepted before"]);

    // And a minute later it is stale anyway.
    again.devices[BOB].phone = undertone_call::Phone::new(local, policy, legacy, Vec::new());
    again.devices[BOB].events.clear();
    again.now = Time::from_millis(62_000);
    again.inject(BOB, "ada", invite, Some(grant));
    assert_eq!(again.words(BOB), ["rejected: an invite that is too old: is the clock right?"]);
}

#[test]
fn downgrade_is_refused() {
    // The server's grant for the caller says hop where blind was asked for.
    let mut world = World::new(14, &["ada", "bob"]);
    world.lie = Some(Protection::Hop);
    let call = world.call_id();
    assert_eq!(world.dial(ADA, "bob", call), Err(DialError::Grant));
    assert!(!world.devices[ADA].phone.is_busy());

    // The grant for the callee says so, or is for another call, or is missing.
    let mut world = World::new(15, &["ada", "bob"]);
    let call = world.call_id();
    world.loss = 100;
    world.dial(ADA, "bob", call).unwrap();
    world.loss = 0;
    let invite = world.seen[0].clone();
    let other = world.call_id();
    let lies = [
        Some(world.any_grant(BOB, call, Protection::Hop)),
        Some(world.any_grant(BOB, other, Protection::Blind)),
        Some(world.any_grant(ADA, call, Protection::Blind)),
        None,
    ];
    for lie in lies {
        let mut copy = World::new(15, &["ada", "bob"]);
        copy.inject(BOB, "ada", invite.clone(), lie);
        assert_eq!(copy.words(BOB), ["rejected: an invite whose grant says something else"]);
        assert!(!copy.devices[BOB].phone.is_busy());
    }
}

#[test]
fn call_3_under_loss_every_call_ends_in_one_of_its_results() {
    let (mut established, mut both) = (0, 0);
    for seed in 0..150 {
        let mut world = World::new(1000 + seed, &["ada", "bob", "bob"]);
        (world.loss, world.doubled) = (30, 20);
        let call = world.call_id();
        world.dial(ADA, "bob", call).unwrap();
        world.run(8);
        let answering = if seed % 2 == 0 { 1 } else { 2 };
        world.input(answering, Input::Accept);
        world.run(30);
        if world.established(ADA).is_some() {
            established += 1;
            both += u32::from(same_call(&world, ADA, answering));
        }
        world.input(ADA, Input::HangUp);
        world.run(70);
        for device in [ADA, 1, 2] {
            let words = world.words(device);
            let overs = words.iter().filter(|word| !["ringing", "incoming", "established"].contains(&word.as_str()));
            // A callee whose hang-up signal was lost is told by the media path.
            let told = world.devices[device].phone.is_busy();
            assert!(overs.count() <= 1, "seed {seed}: {words:?}");
            assert!(!told || words.last().is_some_and(|word| word == "established"), "seed {seed}: {words:?}");
        }
    }
    assert!(established >= 120, "only {established} of 150 calls at 30 % loss");
    assert!(both >= established - 4, "{both} of {established} were established on both sides");
}

#[test]
fn id_4_a_hostile_server_cannot_forge_a_signal() {
    let mut world = World::new(16, &["ada", "bob"]);
    let call = world.call_id();
    world.dial(ADA, "bob", call).unwrap();
    world.run(1);
    for envelope in world.seen.clone() {
        for place in (0..envelope.len()).step_by(7) {
            let mut changed = envelope.clone();
            changed[place] ^= 0x20;
            world.inject(BOB, "ada", changed, None);
        }
    }
    assert_eq!(world.words(BOB)[0], "incoming");
    assert!(world.words(BOB)[1..].iter().all(|word| word.starts_with("rejected")));
    world.input(BOB, Input::Accept);
    world.run(2);
    assert!(same_call(&world, ADA, BOB));
}
