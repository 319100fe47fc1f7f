//! Coins whose keys were lost on a node, and got another.

use undertone_raida::client::{CannotHeal, Healing, HealingError, Lie, Looked, Looking, Said, Unable, give};
use undertone_raida::coin::{Authenticity, Coin};
use undertone_raida::node::Profile;
use undertone_raida::status::Status;
use undertone_raida::wallet::Origin;

use crate::house::{COMPAT, key_of};
use crate::net::{Manner, Net};

fn look(net: &mut Net) -> Vec<Looked> {
    let asker = Net::asker(&net.swarm, &net.ada);
    let looking = Looking::new(net.now, &asker, &mut net.rng);
    net.run(looking)
}

fn heal(net: &mut Net, coin: Coin, raida: u8) -> Result<undertone_raida::client::Healed, HealingError> {
    let seen = look(net);
    let healing = begin(net, &seen, (coin, raida, &[]));
    let healed = net.run(healing)?;
    net.ada.wallet.set(coin, raida, Authenticity::from_bytes(healed.key.expose()), Origin::Healed);
    Ok(healed)
}

/// A healing of Ada's, by what was seen.
fn begin(net: &mut Net, seen: &[Looked], (coin, raida, spared): (Coin, u8, &[u8])) -> Healing {
    let right = |coin, raida| seen.iter().any(|at| at.coin == coin && at.raida == raida && at.said.is_good());
    let asker = Net::asker(&net.swarm, &net.ada);
    Healing::new(net.now, &asker, (coin, raida, spared), right, &mut net.rng).unwrap()
}

/// Ada's key of a coin is not what the node has.
fn lose(net: &mut Net, coin: Coin, raida: u8) {
    net.ada.wallet.set(coin, raida, Authenticity::from_bytes(&[9; 16]), Origin::Issued);
}

#[test]
fn rkx_5_a_coin_is_healed_by_two_helpers() {
    for (profile, seed) in [(Profile::Strict, 1), (Profile::Strict, 2), (COMPAT, 3)] {
        let mut net = Net::new(profile, seed);
        let coin = net.ada.coins[0];
        assert!(look(&mut net).iter().all(|looked| looked.said.is_good()));
        lose(&mut net, coin, 14);
        let wrong: Vec<_> = look(&mut net).into_iter().filter(|looked| !looked.said.is_good()).collect();
        assert_eq!(wrong, [Looked { coin, raida: 14, tried: false, said: wrong[0].said }]);
        assert!(matches!(wrong[0].said, Said::Refused(Status::Tag)), "{:?}", wrong[0].said);
        let healed = heal(&mut net, coin, 14).unwrap();
        assert!(healed.helpers[0] != healed.helpers[1] && !healed.helpers.contains(&14));
        assert!(look(&mut net).iter().all(|looked| looked.said.is_good()));
        assert_eq!(net.houses[14].record(coin).0, healed.key.expose());
        assert_ne!(healed.key.expose(), key_of(14, coin).expose());
    }
}

#[test]
fn rkx_5_healing_goes_on_with_other_helpers() {
    let mut net = Net::new(Profile::Strict, 4);
    let coin = net.ada.coins[1];
    lose(&mut net, coin, 3);
    let seen = look(&mut net);
    // All but four go down after they were looked at: the first that are asked say nothing.
    net.are((0..25).filter(|raida| ![3, 11, 18, 19].contains(raida)), Manner::Down);
    let healing = begin(&mut net, &seen, (coin, 3, &[]));
    let healed = net.run(healing).unwrap();
    assert!(healed.helpers.iter().all(|helper| [11, 18, 19].contains(helper)), "{healed:?}");
}

#[test]
fn rkx_5_healing_that_fails_says_where() {
    let mut net = Net::new(Profile::Strict, 5);
    let [coin, other] = net.ada.coins;
    lose(&mut net, coin, 3);
    let seen = look(&mut net);
    // A node that is down, that says yes to everything, and nobody who helps.
    for (manner, said) in [(Manner::Down, Said::Silent), (Manner::Yes, Said::Lied(Lie::Malformed))] {
        net.are([3], manner);
        let machine = begin(&mut net, &seen, (coin, 3, &[]));
        assert_eq!(net.run(machine).err(), Some(HealingError::Node { raida: 3, said }));
    }
    net.are(0..25, Manner::Down);
    let machine = begin(&mut net, &seen, (coin, 3, &[]));
    let Err(HealingError::Helpers(report)) = net.run(machine) else { panic!("somebody helped") };
    assert_eq!(report.nodes.len(), 24, "every one was asked");
    // What cannot begin.
    let asker = Net::asker(&net.swarm, &net.ada);
    let cannot = |right: &dyn Fn(Coin, u8) -> bool, net: &mut undertone_keys::testing::SeededRng| {
        Healing::new(undertone_keys::Time::ZERO, &asker, (coin, 3, &[]), right, net).err()
    };
    let mut rng = undertone_keys::testing::SeededRng::new(1);
    assert_eq!(cannot(&|of, _| of == coin, &mut rng), Some(CannotHeal::NoOtherCoin(3)));
    // A coin that is right on a few nodes alone was not lost: it was taken, by two nodes that work together.
    let taken = cannot(&|of, raida| of == other || raida < 18 && raida != 3 && raida != 4, &mut rng);
    assert_eq!(taken, Some(CannotHeal::Taken { good: 16, need: 17 }));
}

/// Two nodes that work together know a key that they have helped to heal: no share travels under it.
#[test]
fn rkx_5_what_was_healed_is_used_for_no_quorum_secret() {
    let mut net = Net::new(Profile::Strict, 6);
    let (coin, receiver) = (net.ada.coins[0], net.bob.coins[0]);
    let give = |net: &mut Net| {
        let secret = undertone_keys::quorum::QuorumSecret::generate(&mut net.rng);
        let asker = Net::asker(&net.swarm, &net.ada);
        give(net.now, &asker, (coin, receiver), &secret, &mut net.rng)
    };
    for raida in 0..8 {
        lose(&mut net, coin, raida);
        heal(&mut net, coin, raida).unwrap();
    }
    let (_, posting) = give(&mut net).unwrap();
    let report = net.run(posting);
    assert_eq!((report.good(), report.nodes[7].said), (17, Said::NotAsked));
    lose(&mut net, coin, 8);
    heal(&mut net, coin, 8).unwrap();
    assert_eq!(give(&mut net).err(), Some(Unable::TooFewKeys { have: 16, need: 17 }));
}

/// A helper whose ticket is noise spoils a healing; the next is begun with a new key, and without it.
#[test]
fn rkx_5_a_ticket_that_does_not_open_names_its_makers() {
    let mut net = Net::new(Profile::Strict, 7);
    let coin = net.ada.coins[0];
    lose(&mut net, coin, 3);
    let seen = look(&mut net);
    net.are((0..25).filter(|raida| *raida != 3), Manner::Noise);
    net.are([5, 6], Manner::Honest);
    let mut spared = Vec::new();
    let healed = loop {
        let healing = begin(&mut net, &seen, (coin, 3, &spared));
        match net.run(healing) {
            Ok(healed) => break healed,
            Err(HealingError::Tickets { raida: 3, helpers }) => {
                // Which of both it was nobody knows; an honest one is asked again another time.
                spared.extend(helpers.into_iter().filter(|helper| ![5, 6].contains(helper)));
            }
            Err(error) => panic!("{error}"),
        }
    };
    assert!(healed.helpers == [5, 6] || healed.helpers == [6, 5]);
}

/// The node takes the tickets and its answer is lost: the key that was tried is the one that it has.
#[test]
fn rkx_5_a_healing_that_was_cut_short_is_found_again() {
    let mut net = Net::new(Profile::Strict, 8);
    let coin = net.ada.coins[0];
    lose(&mut net, coin, 3);
    let seen = look(&mut net);
    let healing = begin(&mut net, &seen, (coin, 3, &[]));
    let key = Authenticity::from_bytes(healing.key().expose());
    net.ada.wallet.try_key(coin, 3, key);
    net.are([3], Manner::Mute);
    assert!(matches!(net.run(healing), Err(HealingError::Node { raida: 3, said: Said::Silent })));
    net.are([3], Manner::Honest);
    let of_it: Vec<_> = look(&mut net).into_iter().filter(|at| at.coin == coin && at.raida == 3).collect();
    assert_eq!(
        of_it.iter().map(|at| (at.tried, at.said.is_good())).collect::<Vec<_>>(),
        [(false, false), (true, true)]
    );
    net.ada.wallet.settle(coin, 3, true);
    assert!(look(&mut net).iter().all(|looked| looked.said.is_good()));
}

/// A coin that was taken over, and somebody on the way who says again what the node said before.
#[test]
fn rkx_5_an_older_answer_makes_no_key_right() {
    let mut net = Net::new(Profile::Strict, 9);
    let coin = net.ada.coins[0];
    assert!(look(&mut net).iter().all(|looked| looked.said.is_good()));
    net.are([3], Manner::Watched);
    assert!(look(&mut net).iter().all(|looked| looked.said.is_good()), "as long as the node has them");
    net.houses[3].issue(coin, &Authenticity::from_bytes(&[8; 16]));
    for _ in 0..4 {
        let seen = look(&mut net);
        assert!(seen.iter().all(|at| at.raida == 3 || at.said.is_good()));
        assert!(seen.iter().any(|at| at.raida == 3 && at.coin == coin && !at.said.is_good()), "{seen:?}");
    }
}

/// Two helpers that work together know the key, and with whoever is on the way they could say that the node has taken it. It has not, and does
/// not make the ticket that would show it.
#[test]
fn rkx_5_a_node_that_says_it_took_a_key_has_to_show_it() {
    let mut net = Net::new(Profile::Strict, 10);
    let coin = net.ada.coins[0];
    lose(&mut net, coin, 3);
    let seen = look(&mut net);
    let healing = begin(&mut net, &seen, (coin, 3, &[]));
    let key = *healing.key().expose();
    net.are([3], Manner::Knowing(key));
    assert_eq!(net.run(healing).err(), Some(HealingError::Proof { raida: 3, said: Said::Lied(Lie::Malformed) }));
}
