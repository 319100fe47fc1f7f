//! A server and a relay that lie, and what they learn of what they carry, in virtual time.

use crate::world::{ADA, BOB, World, wall};
use undertone_call::{Local, Outcome};
use undertone_client::LegacyPolicy;
use undertone_client::engine::{Engine, Event, Input, Memory};
use undertone_keys::agreement::{DeviceKey, EphemeralKey};
use undertone_keys::call_agreement::MediaKey;
use undertone_keys::cbor;
use undertone_keys::envelope::Address;
use undertone_keys::sign::{Signed, SigningKey};
use undertone_keys::{CallId, DeviceId, JoinId, RoomId, Secret, Time, WallTime};
use undertone_media::{Context, Epoch, FrameInfo, HopExporter, MediaHeader, Ring, Sender};
use undertone_protocol::control::ToRelay;
use undertone_protocol::grant::Rights;
use undertone_protocol::signal::ToDevice;
use undertone_protocol::{Grant, Join, Protection, VERSION};
use undertone_relay::{ConnectionId, Input as RelayInput};

#[test]
fn grp_8_a_stranger_in_the_room_ends_the_call_with_its_reason() {
    // The server admits a device of its own making under Bob's name; Bob's own device joins under another grant than the
    // one both agreed on.
    for bobs_own in [false, true] {
        let mut world = World::talking(4);
        let call = world.opened.keys().next().copied().unwrap();
        let made = SigningKey::generate(&mut world.rng);
        let bob = world.devices[BOB].identity.clone();
        let identity = if bobs_own { &*bob } else { &made };
        let user = world.devices[BOB].address.user.clone();
        let grant = Grant {
            room: RoomId::from_bytes(*call.as_bytes()),
            call,
            member: Address { user, device: DeviceId::of(identity.public()) },
            identity: *identity.public(),
            protection: Protection::Blind,
            rights: Rights { speak: true, moderate: true },
            expires: wall(world.now).plus(1_000),
            audience: None,
        }
        .sign(&world.server);
        let join = Join {
            grant: Grant::hash(&grant),
            call,
            join: JoinId::random(&mut world.rng),
            ephemeral: Some(*EphemeralKey::generate(&mut world.rng).public()),
            binding: [0xee; 32],
            min_index: 0,
        }
        .sign(identity);
        let connection = ConnectionId(999);
        let hop = HopExporter::new(Secret::from_slice(&[0xee; 32]).unwrap());
        world.relay_input(RelayInput::Connected { connection, binding: [0xee; 32], hop });
        let body = ToRelay::Join { version: VERSION, grant, join }.frame().unwrap()[2..].to_vec();
        let wall = wall(world.now);
        world.relay_input(RelayInput::Control { connection, body, wall });
        world.run(200);
        assert_eq!(world.over(ADA), Some(Outcome::RefusedByProof), "Bob's own device: {bobs_own}");
        assert!(bobs_own || world.over(BOB) == Some(Outcome::RefusedByProof));
    }
}

#[test]
fn call_5_a_clock_that_goes_back_makes_no_old_invite_new() {
    let mut world = World::new(21);
    let peer = world.peer(BOB);
    world.input(ADA, Input::Dial { peer, protection: Protection::Blind, legacy: LegacyPolicy::Ask, quorum: None });
    world.run(20);
    let (_, invite) = world.signals.iter().find(|(device, _)| *device == BOB).cloned().unwrap();
    let ToDevice::Deliver { from, call, envelope, .. } = invite else { panic!("no invite") };
    // Weeks later a fresh process of Bob's; what earlier ones knew is stored. The server keeps the old envelope.
    let later = WallTime::from_unix(3_000_000);
    let memory = Memory { clock: later, ..Memory::default() };
    let bob = |world: &World| {
        let device = &world.devices[BOB];
        let local = Local {
            address: device.address.clone(),
            identity: device.identity.clone(),
            account: *device.list.account(),
            key: (*device.key.public()).into(),
        };
        Engine::new(local, *world.server.public(), memory.clone())
    };
    for (local, welcome, rings) in [
        // The server's clock is set back to when the invite was new; this machine's own says otherwise.
        (later, wall(world.now), false),
        // A machine whose own clock is wrong as well.
        (WallTime::from_unix(5), wall(world.now), false),
        // Both agree that it is earlier than was once seen: the server's clock was wrong then, and is mended.
        (wall(world.now), wall(world.now), true),
    ] {
        world.signals.clear();
        world.devices[BOB].engine = bob(&world);
        world.devices[BOB].events.clear();
        world.input(BOB, Input::SignalUp { wall: local });
        let you = world.devices[BOB].address.clone();
        world.input(BOB, Input::Signal(ToDevice::Welcome { version: VERSION, now: welcome, you }));
        let grant = Some(world.grant(BOB, call));
        let (from, envelope) = (from.clone(), envelope.clone());
        world.input(BOB, Input::Signal(ToDevice::Deliver { from, call, envelope, grant }));
        let events = &world.devices[BOB].events;
        assert_eq!(events.iter().any(|event| matches!(event, Event::Incoming { .. })), rings, "{events:?}");
    }
}

/// The ring of somebody who holds `key` and knows who is in the call, which the relay knows too.
fn ring(call: CallId, key: &[u8], senders: &[Sender]) -> Ring {
    let mut ring = Ring::new(call);
    ring.install(Time::ZERO, Epoch(1), MediaKey::new(Secret::from_slice(key).unwrap())).unwrap();
    senders.iter().for_each(|sender| ring.admit(sender.clone()).unwrap());
    ring
}

/// Whether one run of 32 bytes of what was carried is the call's key, and how many were tried.
fn search(call: CallId, carried: &[Vec<u8>], senders: &[Sender], packet: &[u8]) -> (bool, usize) {
    let (header, sealed) = MediaHeader::decode(packet).unwrap();
    let mut tried = 0;
    let found = carried.iter().flat_map(|bytes| bytes.windows(32)).any(|key| {
        tried += 1;
        ring(call, key, senders).would_open(header.kind, header.codec, sealed)
    });
    (found, tried)
}

/// Everything that passed the server and the relay's control streams, each run of 32 bytes tried as the call's media
/// key, with all that the relay knows of who is in it.
#[test]
fn rly_2_no_media_key_is_in_what_server_and_relay_carry() {
    let world = World::talking(22);
    let call = world.opened.keys().next().copied().unwrap();
    let joins: Vec<(Grant, Join)> = world.carried.iter().filter_map(|body| papers(body)).collect();
    let sender = |(index, (grant, join)): (u16, &(Grant, Join))| Sender {
        user: grant.member.user.clone(),
        device: grant.member.device,
        join: join.join,
        index,
    };
    let senders: Vec<Sender> = (0..).zip(&joins).map(sender).collect();
    assert_eq!(senders.len(), 2);
    let packet = world.packets.last().unwrap();
    let (found, tried) = search(call, &world.carried, &senders, packet);
    assert!(!found && tried > 2_000, "{tried}");

    // The search finds a key that lies about.
    let mut leaky = ring(call, &[9; 32], &[]);
    leaky.join(senders[0].clone()).unwrap();
    let (header, _) = MediaHeader::decode(packet).unwrap();
    let info = FrameInfo { kind: header.kind, codec: header.codec, context: Context::MAIN_AUDIO, captured_ms: 0 };
    let mut sealed = [0; 200];
    let length = leaky.seal(info, b"sound", &mut sealed).unwrap();
    let packet = [header.encode().as_slice(), &sealed[..length]].concat();
    let careless = vec![[[3; 40].as_slice(), &[9; 32], &[4; 40]].concat()];
    assert!(search(call, &careless, &senders, &packet).0);
}

/// What a join on the control stream says, for whoever carries it.
fn papers(body: &[u8]) -> Option<(Grant, Join)> {
    let Ok(ToRelay::Join { grant, join, .. }) = ToRelay::decode(body) else { return None };
    let read = |signed: &Signed| signed.bytes.clone();
    Some((cbor::decode(&read(&grant)).ok()?, cbor::decode(&read(&join)).ok()?))
}

/// A server that shows the two of a call two logs cannot have them talk, whichever of them it lies to and whoever calls.
#[test]
fn kt_13_who_is_shown_a_forked_log_finds_out_before_anything_is_said() {
    for lied_to in [ADA, BOB] {
        let mut world = World::new(31);
        world.branches.insert(lied_to, 2);
        let peer = world.peer_in(BOB, if lied_to == ADA { 2 } else { 1 });
        world.input(ADA, Input::Dial { peer, protection: Protection::Blind, legacy: LegacyPolicy::Ask, quorum: None });
        world.run(200);
        let rang = world.devices[BOB].events.iter().any(|event| matches!(event, Event::Incoming { .. }));
        assert!(!rang, "nobody is asked");
        assert!(world.devices[BOB].events.iter().any(|event| matches!(event, Event::Disproved { .. })));
        assert_eq!([ADA, BOB].map(|device| world.over(device)), [Some(Outcome::RefusedByProof); 2]);
    }
}

/// Where both were shown the same, nothing has to be asked.
#[test]
fn kt_13_who_were_shown_the_same_ask_nothing() {
    let world = World::talking(32);
    assert_eq!(world.compared, 0);
}

/// The callee's word is compared as well: a caller who is told of another log in the answer ends the call, before a frame.
#[test]
fn kt_13_what_the_answer_says_of_the_log_is_compared_too() {
    let mut world = World::new(33);
    world.branches.insert(BOB, 2);
    world.gullible = Some(BOB);
    let peer = world.peer(BOB);
    world.input(ADA, Input::Dial { peer, protection: Protection::Blind, legacy: LegacyPolicy::Ask, quorum: None });
    world.run(200);
    world.input(BOB, Input::Accept);
    world.run(1_000);
    assert!(world.devices[ADA].events.iter().any(|event| matches!(event, Event::Disproved { .. })));
    assert_eq!((world.over(ADA), world.devices[BOB].heard), (Some(Outcome::RefusedByProof), 0));
}
