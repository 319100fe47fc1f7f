//! Coins whose keys were lost on a node, and got another.

use undertone_raida::client::{CannotHeal, Healing, HealingError, Looked, Looking, Said};
use undertone_raida::coin::{Authenticity, Coin};
use undertone_raida::node::Profile;
use undertone_raida::status::Status;

use crate::house::{COMPAT, key_of};
use crate::net::{Manner, Net};

fn look(net: &mut Net) -> Vec<Looked> {
    let asker = Net::asker(&net.swarm, &net.ada);
    let looking = Looking::new(net.now, &asker, &mut net.rng);
    net.run(looking)
}

fn heal(net: &mut Net, coin: Coin, raida: u8) -> Result<undertone_raida::client::Healed, HealingError> {
    let seen = look(net);
    let right = |coin, raida| seen.iter().any(|at| at.coin == coin && at.raida == raida && at.said.is_good());
    let asker = Net::asker(&net.swarm, &net.ada);
    let healing = Healing::new(net.now, &asker, (coin, raida), right, &mut net.rng).unwrap();
    let healed = net.run(healing)?;
    net.ada.wallet.set(coin, raida, Authenticity::from_bytes(healed.key.expose()));
    Ok(healed)
}

/// Ada's key of a coin is not what the node has.
fn lose(net: &mut Net, coin: Coin, raida: u8) {
    net.ada.wallet.set(coin, raida, Authenticity::from_bytes(&[9; 16]));
}

#[test]
fn rkx_5_a_coin_is_healed_by_two_helpers() {
    for (profile, seed) in [(Profile::Strict, 1), (Profile::Strict, 2), (COMPAT, 3)] {
        let mut net = Net::new(profile, seed);
        let coin = net.ada.coins[0];
        assert!(look(&mut net).iter().all(|looked| looked.said.is_good()));
        lose(&mut net, coin, 14);
        let wrong: Vec<_> = look(&mut net).into_iter().filter(|looked| !looked.said.is_good()).collect();
        assert_eq!(wrong, [Looked { coin, raida: 14, said: wrong[0].said }]);
        assert!(matches!(wrong[0].said, Said::Refused(Status::Crc)), "{:?}", wrong[0].said);
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
    let right = |coin, raida| seen.iter().any(|at| at.coin == coin && at.raida == raida && at.said.is_good());
    let asker = Net::asker(&net.swarm, &net.ada);
    let healing = Healing::new(net.now, &asker, (coin, 3), right, &mut net.rng).unwrap();
    let healed = net.run(healing).unwrap();
    assert!(healed.helpers.iter().all(|helper| [11, 18, 19].contains(helper)), "{healed:?}");
}

#[test]
fn rkx_5_healing_that_fails_says_where() {
    let mut net = Net::new(Profile::Strict, 5);
    let [coin, other] = net.ada.coins;
    lose(&mut net, coin, 3);
    let seen = look(&mut net);
    let right = |coin, raida| seen.iter().any(|at| at.coin == coin && at.raida == raida && at.said.is_good());
    let healing = |net: &mut Net| {
        let asker = Net::asker(&net.swarm, &net.ada);
        Healing::new(net.now, &asker, (coin, 3), right, &mut net.rng).unwrap()
    };
    // A node that is down, that says yes to everything, and nobody who helps.
    for (manner, said) in [(Manner::Down, Said::Silent), (Manner::Yes, Said::Lied(undertone_raida::client::Lie::Malformed))] {
        net.are([3], manner);
        let machine = healing(&mut net);
        assert_eq!(net.run(machine).err(), Some(HealingError::Node { raida: 3, said }));
    }
    net.are(0..25, Manner::Down);
    let machine = healing(&mut net);
    let Err(HealingError::Helpers(report)) = net.run(machine) else { panic!("somebody helped") };
    assert_eq!(report.nodes.len(), 24, "every one was asked");
    // What cannot begin.
    let asker = Net::asker(&net.swarm, &net.ada);
    let cannot = |right: &dyn Fn(Coin, u8) -> bool, net: &mut undertone_keys::testing::SeededRng| {
        Healing::new(undertone_keys::Time::ZERO, &asker, (coin, 3), right, net).err()
    };
    let mut rng = undertone_keys::testing::SeededRng::new(1);
    assert_eq!(cannot(&|_, _| false, &mut rng), Some(CannotHeal::NoOtherCoin(3)));
    assert_eq!(cannot(&|of, raida| of == other || raida == 5, &mut rng), Some(CannotHeal::NoHelpers));
}
