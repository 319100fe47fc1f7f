//! Datagrams in somebody else's name: UDP's sender is whoever it says (the strict profile).

use std::net::SocketAddr;

use undertone_raida::command::{AlertPart, Command, EncryptKey, GetKey, KeyId, PostKey};
use undertone_raida::frame;
use undertone_raida::header::Encryption;
use undertone_raida::node::Profile;
use undertone_raida::status::Status;

use crate::house::{By, House, coin, key_of};

const ADA: &str = "01.7";
const EVE: &str = "01.666";

fn victim() -> SocketAddr {
    ([192, 0, 2, 7], 53).into()
}

fn house() -> House {
    let mut house = House::new(14, Profile::Strict);
    for name in [ADA, EVE] {
        house.issue(coin(name), &key_of(14, coin(name)));
    }
    house
}

/// A request by whoever has the key, as it travels.
fn sealed(house: &mut House, command: Command, by: &By, payload: &[u8]) -> Vec<u8> {
    let header = house.header(command, by.encryption());
    frame::seal_request(header, &by.key(), &frame::with_checksum([3; 12]), payload).unwrap()
}

/// Whatever a node is sent in somebody's name, they get little more than was spent: nobody is drowned by way of it.
#[test]
fn rkx_2_a_datagram_in_somebody_elses_name_brings_them_less_than_twice_what_it_took() {
    let mut house = house();
    // The longest answer that there is: the longest key, for whoever knows its id.
    let key = [7; 127];
    let post = PostKey { id: KeyId([5; 16]), receiver: [0; 16], coin: Default::default(), key: &key };
    let post = post.write(0, [0; 128]).unwrap().to_vec();
    let by = || By::Tagged(coin(EVE), key_of(14, coin(EVE)));
    assert_eq!(house.call(Command::PostKey, &by(), &post).status, Ok(Status::Success));
    let get = GetKey { id: KeyId([5; 16]), sender: Default::default(), address: [0; 16] }.write();
    let ticket = EncryptKey::Ticket { target: coin(EVE).named(), half: [6; 8] }.write();
    let wrapped = EncryptKey::Wrapped { recipient: coin(EVE).named() }.write();
    let mut most = 0.0_f64;
    let payloads: [(Command, &[u8]); 8] = [
        (Command::Echo, &[]),
        (Command::Echo, &[1]),
        (Command::GetKey, &get),
        (Command::PostKey, &post),
        (Command::EncryptKey, &ticket),
        (Command::EncryptKey, &wrapped),
        (Command::DecryptKey, &[0; 31]),
        (Command::KeyAlert, &[0; 44]),
    ];
    for (command, payload) in payloads {
        for by in [By::Nobody, By::owner(14, EVE), by()] {
            let bytes = sealed(&mut house, command, &by, payload);
            // Whole, and heard by somebody who sends it again; without its body; with a header that is none.
            for (length, first) in [(bytes.len(), 1), (bytes.len(), 1), (32, 1), (32, 9), (1, 1)] {
                let mut sent = bytes[..length].to_vec();
                sent[0] = first;
                let answer = house.ask_from(&sent, victim(), true).map_or(0, |answer| answer.len());
                most = most.max(answer as f64 / length as f64);
            }
        }
    }
    assert!(most > 1.5 && most < 2.0, "{most}: the key was fetched in the clear");
}

/// In the compatible profile there is no end to it, and what is refused is answered too.
#[test]
fn strict_and_compat_datagrams_in_somebody_elses_name() {
    for (profile, all) in [(Profile::Strict, false), (crate::house::COMPAT, true)] {
        let mut house = House::new(14, profile);
        let good = sealed(&mut house, Command::Echo, &By::Nobody, &[]);
        let mut bad = good.clone();
        bad[0] = 9;
        let mut answered =
            |bytes: &[u8]| (0..1_100).filter(|_| house.ask_from(bytes, victim(), true).is_some()).count();
        assert_eq!(answered(&bad), if all { 1_100 } else { 0 }, "{profile:?}");
        // Those that were answered with silence have used up what is left.
        assert_eq!(answered(&good), if all { 1_100 } else { 0 }, "{profile:?}");
    }
}

/// What a listener has said travels in the open. Somebody who hears it and says it again from elsewhere moves nothing.
#[test]
fn rkx_2_an_endpoint_is_not_moved_by_what_was_heard() {
    let mut house = house();
    let here: SocketAddr = ([198, 51, 100, 4], 4_000).into();
    let part = |id, sender: &str, receiver: &str| {
        let mut payload = Vec::new();
        let (sender, receiver) = (coin(sender).named(), coin(receiver).named());
        AlertPart { id: KeyId([id; 16]), address: [0; 16], port: 0, sender, receiver }.write(&mut payload);
        payload
    };
    let by = |name: &str| By::Tagged(coin(name), key_of(14, coin(name)));
    let listen = sealed(&mut house, Command::KeyAlert, &by(ADA), &part(0, ADA, ADA));
    let first = house.ask_from(&listen, here, true).unwrap();
    assert_eq!(Status::from_byte(first[2]), Some(Status::Success));
    let told = |house: &mut House| {
        house.now += 1;
        let alert = sealed(house, Command::KeyAlert, &by(EVE), &part(9, EVE, ADA));
        house.ask_from(&alert, ([198, 51, 100, 9], 1).into(), true).unwrap();
        let told: Vec<_> = std::iter::from_fn(|| house.node.poll_alert()).map(|alert| alert.to).collect();
        told
    };
    assert_eq!(told(&mut house), [here]);
    // The same again gets the same answer, wherever it comes from, and that is all.
    assert_eq!(house.ask_from(&listen, victim(), true), Some(first));
    assert_eq!(told(&mut house), [here]);
    // Under another nonce, or with anything else changed, it does not open.
    for place in [24, 40, 47, 60] {
        let mut changed = listen.clone();
        changed[place] ^= 1;
        if let Some(answer) = house.ask_from(&changed, victim(), true) {
            assert_ne!(Status::from_byte(answer[2]), Some(Status::Success), "{place}");
        }
    }
    assert_eq!(told(&mut house), [here]);
    // In somebody else's name she is not told more either than a few things in a second.
    house.now += 1;
    let names: Vec<String> = (100..120).map(|serial| format!("01.{serial}")).collect();
    for name in &names {
        house.issue(coin(name), &key_of(14, coin(name)));
        let alert = sealed(&mut house, Command::KeyAlert, &by(name), &part(9, name, ADA));
        house.ask_from(&alert, victim(), true).unwrap();
    }
    assert_eq!(std::iter::from_fn(|| house.node.poll_alert()).count(), 8);
}

/// A flood in somebody's name takes from them what they could ask by datagrams, and nothing else from anybody.
#[test]
fn rkx_2_a_flood_in_somebodys_name_leaves_them_their_connections() {
    let mut house = house();
    let echo = house.header(Command::Echo, Encryption::None).to_bytes();
    let answered = (0..1_200).filter(|_| house.ask_from(&echo, victim(), true).is_some()).count();
    assert!((1_000..1_200).contains(&answered), "{answered}");
    assert!(house.ask_from(&echo, victim(), true).is_none(), "silence, which is no answer to anybody");
    let by = |name: &str| By::Tagged(coin(name), key_of(14, coin(name)));
    let theirs = sealed(&mut house, Command::Echo, &by(ADA), &[1]);
    assert!(house.ask_from(&theirs, victim(), true).is_none());
    let answer = house.ask_from(&theirs, victim(), false).unwrap();
    assert_eq!(Status::from_byte(answer[2]), Some(Status::Success));
    let others = sealed(&mut house, Command::Echo, &by(EVE), &[1]);
    assert!(house.ask_from(&others, ([192, 0, 2, 8], 53).into(), true).is_some());
}
