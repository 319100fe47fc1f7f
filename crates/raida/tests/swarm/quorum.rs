//! The quorum secret over nodes that are down, slow or lying.

use std::collections::BTreeSet;
use std::time::Duration;

use undertone_keys::quorum::QuorumSecret;
use undertone_raida::client::{Lie, Patience, Report, Said, Unable, give, take, withdraw};
use undertone_raida::node::Profile;
use undertone_raida::quorum::{Incomplete, Set, ShareFault};
use undertone_raida::status::Status;
use undertone_raida::wallet::Origin;

use crate::house::COMPAT;
use crate::net::{Manner, Net};

/// Bob gives Ada a secret: what he drew, where it is, and what nodes did.
fn given(net: &mut Net) -> (QuorumSecret, Set, Report) {
    let secret = QuorumSecret::generate(&mut net.rng);
    let asker = Net::asker(&net.swarm, &net.bob);
    let coins = (net.bob.coins[0], net.ada.coins[0]);
    let (set, posting) = give(net.now, &asker, coins, &secret, &mut net.rng).unwrap();
    let report = net.run(posting);
    (secret, set, report)
}

/// Ada takes it.
fn taken(net: &mut Net, set: &Set) -> (Result<QuorumSecret, Incomplete>, Report) {
    let asker = Net::asker(&net.swarm, &net.ada);
    let fetching = take(net.now, &asker, net.ada.coins[0], set, &mut net.rng).unwrap();
    let fetched = net.run(fetching);
    (fetched.gathered.into_secret(), fetched.report)
}

fn that(report: &Report, is: impl Fn(Said) -> bool) -> BTreeSet<usize> {
    report.nodes.iter().filter(|node| is(node.said)).map(|node| usize::from(node.raida)).collect()
}

#[test]
fn rkx_5_swarm_survives_eight_nodes_that_are_killed() {
    for seed in 0..12 {
        let mut net = Net::new(Profile::Strict, seed);
        let dead = net.some(8);
        // Before the secret is posted, or between posting and fetching.
        if seed % 2 == 0 {
            net.are(dead.clone(), Manner::Down);
        }
        let (secret, set, posted) = given(&mut net);
        assert!(posted.is_enough());
        net.are(dead.clone(), Manner::Down);
        let begun = net.now;
        let (taken, report) = taken(&mut net, &set);
        assert_eq!(taken.unwrap().expose(), secret.expose());
        assert_eq!((report.good(), that(&report, |said| said == Said::Slow)), (17, dead));
        assert!(net.now.since(begun) < Duration::from_secs(1), "the dead are not waited for");
    }
}

#[test]
fn rkx_5_swarm_survives_no_ninth() {
    let mut net = Net::new(Profile::Strict, 1);
    let (_, set, _) = given(&mut net);
    let dead = net.some(9);
    net.are(dead.clone(), Manner::Down);
    let (none, report) = taken(&mut net, &set);
    assert_eq!(none.err(), Some(Incomplete::TooFew { have: 16, need: 17 }));
    assert_eq!(that(&report, |said| said == Said::Silent), dead);
    // Neither is anything said to have been posted.
    let (_, _, posted) = given(&mut net);
    assert_eq!((posted.is_enough(), posted.good()), (false, 16));
}

#[test]
fn rkx_5_lying_nodes_are_named_and_eight_change_nothing() {
    for seed in 0..8 {
        let mut net = Net::new(Profile::Strict, seed);
        let liars = net.some(8);
        net.are(liars.clone(), Manner::Lying);
        let (secret, set, _) = given(&mut net);
        let (taken, report) = taken(&mut net, &set);
        assert_eq!(taken.unwrap().expose(), secret.expose());
        let lied = Said::Lied(Lie::Share(ShareFault::NotCommitted));
        assert_eq!(that(&report, |said| said == lied), liars);
    }
}

#[test]
fn rkx_5_lying_nodes_nine_of_them_are_noticed_and_nothing_wrong_comes_of_it() {
    for seed in 0..8 {
        let mut net = Net::new(Profile::Strict, seed);
        let liars = net.some(9);
        net.are(liars.clone(), Manner::Lying);
        let (_, set, _) = given(&mut net);
        let (none, report) = taken(&mut net, &set);
        assert_eq!(none.err(), Some(Incomplete::TooFew { have: 16, need: 17 }));
        assert_eq!(report.liars().map(|node| usize::from(node.raida)).collect::<BTreeSet<_>>(), liars);
    }
}

#[test]
fn rkx_5_lying_nodes_of_every_kind_beside_each_other() {
    let mut net = Net::new(Profile::Strict, 4);
    net.are([0], Manner::Lying);
    net.are([5], Manner::Yes);
    net.are([9, 10], Manner::Down);
    net.are([12], Manner::Slow(600));
    net.are([14], Manner::Connected);
    let (secret, set, _) = given(&mut net);
    net.are([20], Manner::Forging);
    net.are([22], Manner::Misplacing);
    let (taken, report) = taken(&mut net, &set);
    assert_eq!(taken.unwrap().expose(), secret.expose());
    let said = |raida: usize| report.nodes[raida].said;
    assert_eq!(said(0), Said::Lied(Lie::Share(ShareFault::NotCommitted)));
    assert_eq!(said(5), Said::Lied(Lie::Malformed));
    assert_eq!(said(20), Said::Lied(Lie::Forged));
    assert_eq!(said(22), Said::Lied(Lie::AnotherCoin));
    assert_eq!((said(9), said(12), said(14)), (Said::Slow, Said::Slow, Said::Slow));
    assert!(said(3).is_good());
}

#[test]
fn rkx_5_whoever_is_not_named_gets_no_share() {
    let mut net = Net::new(Profile::Strict, 5);
    let (_, set, _) = given(&mut net);
    // Bob has the set, and a coin that it is not for; the ids are of no use to him.
    let asker = Net::asker(&net.swarm, &net.bob);
    let fetching = take(net.now, &asker, net.bob.coins[1], &set, &mut net.rng).unwrap();
    let fetched = net.run(fetching);
    assert_eq!(fetched.gathered.count(), 0);
    assert_eq!(that(&fetched.report, |said| said == Said::Refused(Status::Files)).len(), 25);
    // Nor does Ada with her other coin.
    let asker = Net::asker(&net.swarm, &net.ada);
    let fetching = take(net.now, &asker, net.ada.coins[1], &set, &mut net.rng).unwrap();
    assert_eq!(net.run(fetching).gathered.count(), 0);
    assert!(taken(&mut net, &set).0.is_ok());
}

#[test]
fn rkx_5_a_network_that_loses_datagrams_or_lets_none_through_is_no_hindrance() {
    let mut net = Net::new(Profile::Strict, 6);
    net.loses = Some(3);
    let (secret, set, _) = given(&mut net);
    assert_eq!(taken(&mut net, &set).0.unwrap().expose(), secret.expose());
    net.loses = None;
    net.are(0..25, Manner::Connected);
    let begun = net.now;
    let (secret, set, posted) = given(&mut net);
    assert_eq!(posted.good(), 25);
    assert_eq!(taken(&mut net, &set).0.unwrap().expose(), secret.expose());
    assert!(net.now.since(begun) < Duration::from_secs(4));
    assert!(net.by.values().all(|(_, connections)| *connections == 2), "one for the post and one for the fetch");
}

#[test]
fn rkx_5_the_compatible_profile_knows_the_client() {
    let mut net = Net::new(COMPAT, 7);
    net.are([2], Manner::Lying);
    let (secret, set, _) = given(&mut net);
    let (taken, report) = taken(&mut net, &set);
    assert_eq!(taken.unwrap().expose(), secret.expose());
    assert_eq!(report.good(), 24);
}

#[test]
fn rkx_5_whoever_has_too_few_keys_is_told_before_anything_is_sent() {
    let mut net = Net::new(Profile::Strict, 8);
    let mut asker = Net::asker(&net.swarm, &net.bob);
    asker.patience = Patience::default();
    let mut wallet = undertone_raida::wallet::Wallet::default();
    (0..16).for_each(|raida| {
        wallet.set(net.bob.coins[0], raida, crate::house::key_of(raida, net.bob.coins[0]), Origin::Issued)
    });
    let asker = undertone_raida::client::Asker { wallet: &wallet, ..asker };
    let secret = QuorumSecret::generate(&mut net.rng);
    let coins = (net.bob.coins[0], net.ada.coins[0]);
    let unable = give(net.now, &asker, coins, &secret, &mut net.rng).err();
    assert_eq!(unable, Some(Unable::TooFewKeys { have: 16, need: 17 }));
    let unable = give(net.now, &asker, (net.bob.coins[1], net.ada.coins[0]), &secret, &mut net.rng).err();
    assert_eq!(unable, Some(Unable::NoCoin(net.bob.coins[1])));
}

/// Whoever is on the way can say no, yes, and what was said before, in the place of every node: the nodes' own answers are what counts.
#[test]
fn rkx_5_what_is_said_on_the_way_settles_nothing() {
    let mut net = Net::new(Profile::Strict, 9);
    // Something was fetched before, so that there is an older answer of each.
    let (_, older, _) = given(&mut net);
    assert!(taken(&mut net, &older).0.is_ok());
    let (secret, set, _) = given(&mut net);
    net.are(0..25, Manner::Watched);
    let (taken, report) = taken(&mut net, &set);
    assert_eq!((taken.unwrap().expose(), report.good()), (secret.expose(), 25));
}

#[test]
fn rkx_5_shares_that_were_withdrawn_are_gone() {
    let mut net = Net::new(Profile::Strict, 10);
    let (_, set, _) = given(&mut net);
    assert!(net.houses.iter().all(|house| house.node.keys().count() == 1));
    let asker = Net::asker(&net.swarm, &net.bob);
    let machine = withdraw(net.now, &asker, &set, &mut net.rng).unwrap();
    assert_eq!(net.run(machine).good(), 25);
    assert_eq!(taken(&mut net, &set).1.good(), 0);
    assert!(net.houses.iter().all(|house| house.node.keys().count() == 0), "nor do they count for anybody's quota");
    // Nobody takes somebody else's back.
    let (_, set, _) = given(&mut net);
    let asker = Net::asker(&net.swarm, &net.ada);
    let refused = withdraw(net.now, &asker, &set, &mut net.rng).map(|machine| net.run(machine));
    assert!(refused.is_err_and(|unable| unable == Unable::NoCoin(net.bob.coins[0])));
    assert!(taken(&mut net, &set).0.is_ok());
}
