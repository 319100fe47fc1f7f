//! Whom a key is for is told (42): listening, alerts, and who may say what.

use std::net::SocketAddr;

use undertone_raida::client::{Asker, Fetching, Keys, Listening, Output, Part, Posting, Told, Wanted};
use undertone_raida::coin::Coin;
use undertone_raida::command::KeyId;
use undertone_raida::node::Profile;
use undertone_raida::sixteen::{self, Sixteen};
use zeroize::Zeroizing;

use crate::house::{COMPAT, NOW};
use crate::net::Net;

/// Where Ada listens.
fn here() -> SocketAddr {
    SocketAddr::from(([192, 0, 2, 7], 7_777))
}

/// Hands what a listener says to the nodes.
fn say(net: &mut Net, listening: &mut Listening) -> Vec<Told> {
    let mut told = Vec::new();
    while let Some(output) = listening.poll_output() {
        match output {
            Output::Send { raida, bytes, .. } => {
                net.houses[usize::from(raida)].ask_from(&bytes, here(), true);
            }
            Output::Done(alert) => told.push(alert),
        }
    }
    told
}

/// What nodes have to tell, handed to whoever listens.
fn hear(net: &mut Net, listening: &mut Listening) -> Vec<Told> {
    let mut told = Vec::new();
    for raida in 0..25_u8 {
        while let Some(alert) = net.houses[usize::from(raida)].node.poll_alert() {
            assert_eq!(alert.to, here());
            // It is not for other nodes' words, nor for later, nor twice.
            listening.received((raida + 1) % 25, &alert.bytes, NOW);
            listening.received(raida, &alert.bytes, NOW + 400);
            assert!(listening.poll_output().is_none());
            listening.received(raida, &alert.bytes, NOW);
            listening.received(raida, &alert.bytes, NOW);
            // No tag covers the end of a nonce.
            let mut again = alert.bytes.clone();
            again[45] ^= 1;
            listening.received(raida, &again, NOW);
            told.extend(say(net, listening));
        }
    }
    told
}

fn alert(net: &mut Net, coins: (Coin, Coin), parts: &[(u8, KeyId)], at: &[u8]) -> usize {
    let asker = Asker { wall: net.houses[usize::from(at[0])].now, ..Net::asker(&net.swarm, &net.bob) };
    let machine = Posting::alert(net.now, &asker, coins, parts, at, &mut net.rng).unwrap();
    net.run(machine).good()
}

/// The original's way: sixteen parts, an alert that names them, and the receiver fetches what it was told of.
#[test]
fn rkx_1_a_key_in_sixteen_parts_is_posted_told_and_fetched() {
    let mut net = Net::new(Profile::Strict, 1);
    let (bob, ada) = (net.bob.coins[0], net.ada.coins[0]);
    let mut listening = Listening::new(net.now, &Net::asker(&net.swarm, &net.ada), ada, &mut net.rng).unwrap();
    assert!(say(&mut net, &mut listening).is_empty());
    let key: Vec<u8> = (0..32).collect();
    let mut parts: Vec<Part> = Vec::new();
    for (at, (raida, part)) in sixteen::cut(&key).unwrap().into_iter().enumerate() {
        let id = KeyId([u8::try_from(at).unwrap() + 1; 16]);
        parts.push(Part { raida, id, bytes: Zeroizing::new(part.to_vec()) });
    }
    let asker = Net::asker(&net.swarm, &net.bob);
    let post = Posting::new(net.now, &asker, (bob, ada.named()), (&parts, Keys::Any), 16, &mut net.rng).unwrap();
    assert!(net.run(post).is_enough());
    let named: Vec<_> = parts.iter().map(|part| (part.raida, part.id)).collect();
    assert_eq!(alert(&mut net, (bob, ada), &named, &[3]), 1);
    let told = hear(&mut net, &mut listening);
    let [Told { raida: 3, parts }] = told.as_slice() else { panic!("{told:?}") };
    assert_eq!((parts.len(), parts[0].sender, parts[15].port), (16, bob.named(), 50_023));
    let raida = |port: u16| net.swarm.nodes().iter().find(|node| node.address.port() == port).unwrap().raida;
    let wanted: Vec<_> = parts.iter().map(|part| Wanted { raida: raida(part.port), id: part.id }).collect();
    let asker = Net::asker(&net.swarm, &net.ada);
    let (coins, all) = ((ada, Some(bob)), (wanted.as_slice(), Keys::Any));
    let fetching = Fetching::new(net.now, &asker, coins, all, (Sixteen::default(), 16), &mut net.rng).unwrap();
    assert_eq!(*net.run(fetching).gathered.key().unwrap(), key);
}

#[test]
fn rkx_1_nobody_is_told_more_than_once_a_second_or_what_others_did_not_say() {
    let mut net = Net::new(Profile::Strict, 2);
    let (bob, ada) = (net.bob.coins[0], net.ada.coins[0]);
    let one = [(3, KeyId([9; 16]))];
    // Nobody listens yet.
    assert_eq!(alert(&mut net, (bob, ada), &one, &[3]), 1);
    assert!(net.houses[3].node.poll_alert().is_none());
    let mut listening = Listening::new(net.now, &Net::asker(&net.swarm, &net.ada), ada, &mut net.rng).unwrap();
    say(&mut net, &mut listening);
    assert_eq!(alert(&mut net, (bob, ada), &one, &[3]), 1);
    assert_eq!(alert(&mut net, (bob, ada), &one, &[3]), 1, "it is acknowledged, and not told");
    // Others are not kept from it, and their words are told too.
    let second = net.bob.coins[1];
    assert_eq!(alert(&mut net, (second, ada), &one, &[3]), 1);
    assert_eq!(hear(&mut net, &mut listening).len(), 2);
    net.houses[3].now += 1;
    alert(&mut net, (bob, ada), &one, &[3]);
    assert_eq!(hear(&mut net, &mut listening).len(), 1);
    // In somebody else's name nothing is said, and nobody listens for somebody else's coin.
    let asker = Net::asker(&net.swarm, &net.bob);
    net.houses[3].now += 1;
    let forged = Posting::alert(net.now, &asker, (net.bob.coins[1], ada), &one, &[3], &mut net.rng).unwrap();
    net.run(forged);
    assert_eq!(hear(&mut net, &mut listening)[0].parts[0].sender, net.bob.coins[1].named());
    assert!(Listening::new(net.now, &Net::asker(&net.swarm, &net.bob), ada, &mut net.rng).is_err());
    // Whoever is not heard of any more is not told.
    net.houses[3].now += 301;
    assert_eq!(alert(&mut net, (bob, ada), &one, &[3]), 1);
    assert!(net.houses[3].node.poll_alert().is_none());
    // A listener says so again in time.
    let later = net.now + std::time::Duration::from_secs(100);
    listening.tick(later, NOW + 304, &mut net.rng);
    for house in &mut net.houses {
        house.now = NOW + 304;
    }
    say(&mut net, &mut listening);
    net.houses[3].now += 1;
    alert(&mut net, (bob, ada), &one, &[3]);
    assert!(net.houses[3].node.poll_alert().is_some());
}

#[test]
fn rkx_2_strict_and_compat_an_alert_by_nobody_is_acknowledged_by_one_of_them() {
    use crate::house::By;
    use undertone_raida::command::{AlertPart, Command};
    use undertone_raida::status::Status;
    let mut payload = Vec::new();
    let name = crate::house::coin("00.26").named();
    AlertPart { id: KeyId([1; 16]), address: [0; 16], port: 1, sender: name, receiver: name }.write(&mut payload);
    for (profile, expected) in [(Profile::Strict, Status::Encryption), (COMPAT, Status::Success)] {
        let mut net = Net::new(profile, 3);
        let answer = net.houses[4].call(Command::KeyAlert, &By::Nobody, &payload);
        assert_eq!(answer.status, Ok(expected));
        // What is no list of parts, and what is said in somebody else's name.
        let short = net.houses[4].call(Command::KeyAlert, &By::owner(4, "00.26"), &payload[1..]).status;
        let anothers = net.houses[4].call(Command::KeyAlert, &By::owner(4, "00.28"), &payload).status;
        let strict = profile.is_strict();
        assert_eq!(short, Ok(if strict { Status::Length } else { Status::Success }));
        assert_eq!(anothers, Ok(if strict { Status::Parameter } else { Status::Success }));
    }
}
