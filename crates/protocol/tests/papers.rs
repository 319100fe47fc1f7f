//! Grants, joins, statements and messages: signed once, good in one place, of one form.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing, reason = "a test may fail")]

use proptest::prelude::*;
use undertone_keys::agreement::EphemeralKey;
use undertone_keys::envelope::Address;
use undertone_keys::sign::{Device, Server, Signature, Signed, SigningKey};
use undertone_keys::testing::SeededRng;
use undertone_keys::{CallId, DeviceId, JoinId, RoomId, UserId, WallTime};
use undertone_protocol::grant::{GrantError, Rights};
use undertone_protocol::join::JoinError;
use undertone_protocol::signal::{Letter, Reason, ReturnedLetter, ToDevice, ToServer, Why};
use undertone_protocol::statement::{Statement, StatementError};
use undertone_protocol::{Entry, Grant, Join, Protection};

struct Papers {
    server: SigningKey<Server>,
    device: SigningKey<Device>,
    grant: Grant,
    join: Join,
}

fn papers() -> Papers {
    let rng = &mut SeededRng::new(1);
    let (server, device) = (SigningKey::generate(rng), SigningKey::generate(rng));
    let member = Address { user: UserId::parse("ada", "x").unwrap(), device: DeviceId::of(device.public()) };
    let grant = Grant {
        room: RoomId::random(rng),
        call: CallId::random(rng),
        member,
        identity: *device.public(),
        protection: Protection::Blind,
        rights: Rights { speak: true, moderate: false },
        expires: WallTime::from_unix(100),
        audience: None,
    };
    let join = Join {
        grant: Grant::hash(&grant.sign(&server)),
        call: grant.call,
        join: JoinId::random(rng),
        ephemeral: Some(*EphemeralKey::generate(rng).public()),
        binding: [4; 32],
        min_index: 0,
    };
    Papers { server, device, grant, join }
}

#[test]
fn rly_1_a_grant_is_good_from_its_server_and_until_its_end() {
    let Papers { server, grant, .. } = papers();
    let signed = grant.sign(&server);
    let key = server.public();
    assert_eq!(Grant::verify(&signed, key, WallTime::from_unix(99)), Ok(grant.clone()));
    assert_eq!(Grant::verify(&signed, key, WallTime::from_unix(100)), Err(GrantError::Expired));
    let other = SigningKey::generate(&mut SeededRng::new(2));
    assert_eq!(Grant::verify(&signed, other.public(), WallTime::from_unix(1)), Err(GrantError::Signature));
    for i in 0..signed.bytes.len() {
        let mut changed = signed.clone();
        changed.bytes[i] ^= 1;
        assert_eq!(Grant::verify(&changed, key, WallTime::from_unix(1)), Err(GrantError::Signature));
    }
}

#[test]
fn grp_8_a_join_counts_for_its_device_grant_and_call_only() {
    let Papers { server, device, grant, join } = papers();
    let now = WallTime::from_unix(1);
    let enter = |grant: &Grant, join: &Join, key: &SigningKey<Device>| {
        let (grant, key_of_server) = (grant.sign(&server), server.public());
        let join = Join { grant: Grant::hash(&grant), ..join.clone() };
        Entry::verify(&grant, &join.sign(key), key_of_server, now)
    };
    assert!(enter(&grant, &join, &device).is_ok());
    let other = SigningKey::generate(&mut SeededRng::new(3));
    assert_eq!(enter(&grant, &join, &other), Err(JoinError::Signature));
    // A grant for one call does not go with a join for another.
    let elsewhere = Grant { call: CallId::from_bytes([0; 16]), ..grant.clone() };
    assert_eq!(enter(&elsewhere, &join, &device), Err(JoinError::Place));
    // A grant whose device id is not that of its key.
    let mut renamed = grant.clone();
    renamed.member.device = DeviceId::from_bytes([9; 16]);
    assert_eq!(enter(&renamed, &join, &device), Err(JoinError::Place));
    // A join made for a lesser grant does not go with a better one.
    let lesser = join.sign(&device);
    let better = Grant { rights: Rights { speak: true, moderate: true }, ..grant };
    assert_eq!(Entry::verify(&better.sign(&server), &lesser, server.public(), now), Err(JoinError::Place));
}

#[test]
fn kt_14_a_statement_speaks_of_the_tls_key_in_use() {
    let Papers { server, .. } = papers();
    let statement = Statement {
        identity: *server.public(),
        domain: "localhost".into(),
        tls_key: [7; 32],
        created: WallTime::from_unix(1),
        vrf: [9; 32],
    };
    let bytes = statement.sign(&server);
    assert_eq!(Statement::verify(&bytes, &[7; 32]), Ok(statement));
    assert_eq!(Statement::verify(&bytes, &[8; 32]), Err(StatementError::OtherKey));
    for i in 0..bytes.len() {
        let mut changed = bytes.clone();
        changed[i] ^= 1;
        assert!(Statement::verify(&changed, &[7; 32]).is_err());
    }
}

#[test]
fn every_message_reads_back() {
    let Papers { server, grant, .. } = papers();
    let signed = grant.sign(&server);
    let messages = [
        ToDevice::Welcome { version: 1, now: WallTime::from_unix(5), you: grant.member.clone() },
        ToDevice::CallOpened { number: 3, grant: signed.clone() },
        ToDevice::Refused { number: 3, reason: Reason::UnknownUser },
        ToDevice::Deliver { from: grant.member.clone(), call: grant.call, envelope: vec![1], grant: Some(signed) },
        ToDevice::Deliver { from: grant.member.clone(), call: grant.call, envelope: vec![1], grant: None },
        ToDevice::Undelivered { to: grant.member.device, call: grant.call },
        ToDevice::Closing { reason: Reason::Version, version: 1 },
        ToDevice::KeepAlive,
        ToDevice::Returned {
            call: grant.call,
            letters: [Why::Away, Why::Unlisted, Why::Later, Why::Refused]
                .map(|why| ReturnedLetter { to: grant.member.device, why })
                .to_vec(),
            after_ms: 128,
        },
        ToDevice::Knocked { room: grant.room, user: grant.member.user.clone() },
        ToDevice::TurnedAway { room: grant.room },
    ];
    for message in messages {
        let bytes = message.encode();
        assert_eq!(ToDevice::decode(&bytes), Ok(message));
        assert!(ToDevice::decode(&[&bytes[..], &[0]].concat()).is_err());
    }
    let open = ToServer::OpenCall {
        number: 1,
        call: grant.call,
        callee: grant.member.user.clone(),
        protection: Protection::Hop,
    };
    let letters = vec![Letter { to: grant.member.clone(), envelope: vec![1, 2] }; 3];
    let spread = ToServer::Spread { call: grant.call, room: grant.room, letters };
    for message in [ToServer::Hello { version: 1 }, open, ToServer::KeepAlive, spread] {
        assert_eq!(ToServer::decode(&message.encode()), Ok(message));
    }
}

proptest! {
    #[test]
    fn what_reads_is_written_the_same_way(bytes in proptest::collection::vec(any::<u8>(), 0..80)) {
        if let Ok(message) = ToServer::decode(&bytes) { prop_assert_eq!(message.encode(), bytes.clone()); }
        if let Ok(message) = ToDevice::decode(&bytes) { prop_assert_eq!(message.encode(), bytes.clone()); }
        let signed = Signed { bytes, signature: Signature::from_bytes([0; 64]) };
        let key = SigningKey::<Server>::generate(&mut SeededRng::new(1));
        prop_assert!(Grant::verify(&signed, key.public(), WallTime::from_unix(0)).is_err());
    }
}
