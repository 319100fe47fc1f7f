//! The entries of whoever uses a swarm: its description, a wallet, what the other side says of a secret, shares, and what nodes answer.

use std::net::SocketAddr;
use std::sync::OnceLock;

use undertone_keys::Time;
use undertone_keys::quorum::QuorumSecret;
use undertone_keys::testing::SeededRng;
use undertone_raida::client::{Asker, Input, Listening, Machine, Output, Patience, take};
use undertone_raida::coin::{Authenticity, Coin};
use undertone_raida::quorum::{Collected, Offer, Set, Split, split};
use undertone_raida::swarm::{Swarm, SwarmName, SwarmNode};
use undertone_raida::wallet::{Origin, Wallet};

use crate::targets::same;

const WALL: u64 = 1_795_737_600;

struct World {
    swarm: Swarm,
    wallet: Wallet,
    split: Split,
}

fn coin() -> Coin {
    Coin::one(26)
}

fn world() -> &'static World {
    static WORLD: OnceLock<World> = OnceLock::new();
    WORLD.get_or_init(|| {
        let node = |raida: u8| SwarmNode {
            raida,
            address: SocketAddr::from(([127, 0, 0, 1], 50_000 + u16::from(raida))),
            coin: Coin::one(u16::from(raida) + 1),
            operator: None,
        };
        let swarm = Swarm::new(SwarmName([7; 16]), 6, 2, (0..3).map(node).collect());
        let swarm = swarm.unwrap_or_else(|error| panic!("{error}"));
        let mut wallet = Wallet::default();
        (0..3).for_each(|raida| wallet.set(coin(), raida, Authenticity::from_bytes(&[9; 16]), Origin::Issued));
        let mut rng = SeededRng::new(1);
        let split = split(&swarm, coin(), &QuorumSecret::generate(&mut rng), &mut rng);
        World { swarm, wallet, split }
    })
}

/// The first byte says which; the files of people first.
pub(crate) fn client(bytes: &[u8]) {
    let Some((kind, rest)) = bytes.split_first() else { return };
    let World { swarm, wallet, split } = world();
    let text = String::from_utf8_lossy(rest);
    match kind % 6 {
        0 => {
            if let Ok(read) = Swarm::read(&text) {
                assert!(
                    Swarm::read(&read.write()).as_ref() == Ok(&read),
                    "a swarm is read otherwise than it was written"
                );
            }
        }
        1 => {
            if let Ok(read) = Wallet::read(&text) {
                let written = read.write();
                let again = Wallet::read(&written).map(|again| again.write());
                assert!(again.as_ref() == Ok(&written), "a wallet is read otherwise than it was written");
            }
        }
        2 => {
            if let Ok(set) = Set::decode(rest, swarm) {
                same("set", &set.encode(), rest);
            }
        }
        3 => {
            if let Ok(offer) = Offer::decode(rest, swarm) {
                same("offer", &offer.encode(), rest);
            }
        }
        4 => {
            let (place, share) = rest.split_first().map_or((0, rest), |(place, share)| (usize::from(*place), share));
            let collected = Collected::new(swarm, &split.set);
            let mut collected = collected.unwrap_or_else(|error| panic!("{error}"));
            if collected.add(place, share).is_ok() {
                assert!(split.shares.get(place).is_some_and(|right| right.as_slice() == share), "a share of nobody's");
            }
        }
        _ => answered(swarm, wallet, &split.set, rest),
    }
}

/// What comes from a node's address: an answer to whoever fetches, and an alert for whoever listens.
fn answered(swarm: &Swarm, wallet: &Wallet, set: &Set, bytes: &[u8]) {
    let asker = Asker { swarm, wallet, wall: WALL, patience: Patience::default() };
    let (now, rng) = (Time::ZERO, &mut SeededRng::new(2));
    let Ok(mut fetching) = take(now, &asker, coin(), set, rng) else { panic!("the wallet has every key") };
    for raida in 0..3 {
        fetching.handle_input(now, Input::Received { raida, bytes });
    }
    while let Some(output) = fetching.poll_output() {
        if let Output::Done(fetched) = output {
            assert!(fetched.gathered.secret().is_err(), "a secret of nobody's");
        }
    }
    let Ok(mut listening) = Listening::new(now, &asker, coin(), rng) else { panic!("the wallet has every key") };
    listening.received(0, bytes, WALL);
    while let Some(output) = listening.poll_output() {
        if let Output::Done(told) = output {
            assert!(told.parts.iter().all(|part| part.receiver == coin().named()), "somebody else's alert");
        }
    }
}

/// Good inputs, for the corpus: target, file, bytes.
#[cfg(test)]
pub(crate) fn good() -> Vec<(&'static str, &'static str, Vec<u8>)> {
    let World { swarm, wallet, split } = world();
    let share = split.shares.first().map(|share| share.to_vec()).unwrap_or_default();
    let healed = format!("{} 0 {} healed\n{} 1 {} tried\n", coin(), "0a".repeat(16), coin(), "0b".repeat(16));
    let of = |kind: u8, bytes: &[u8]| [&[kind], bytes].concat();
    vec![
        ("raida_client", "swarm", of(0, swarm.write().as_bytes())),
        ("raida_client", "wallet", of(1, wallet.write().as_bytes())),
        ("raida_client", "wallet_healed", of(1, healed.as_bytes())),
        ("raida_client", "set", of(2, &split.set.encode())),
        ("raida_client", "offer", of(3, &Offer::new(swarm, coin()).encode())),
        ("raida_client", "share", [&[4, 0], share.as_slice()].concat()),
        ("raida_client", "answer", of(5, &[0; 60])),
    ]
}
