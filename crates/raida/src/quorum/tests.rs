use undertone_keys::testing::SeededRng;

use super::*;
use crate::coin::Denomination;
use crate::swarm::SwarmNode;

pub(crate) fn swarm(nodes: u8, threshold: u8) -> Swarm {
    let node = |raida: u8| SwarmNode {
        raida,
        address: std::net::SocketAddr::from(([127, 0, 0, 1], 50_000 + u16::from(raida))),
        coin: Coin::new(Denomination::new(0).unwrap(), u32::from(raida) + 1).unwrap(),
        operator: None,
    };
    Swarm::new(crate::swarm::SwarmName([1; 16]), 6, threshold, (0..nodes).map(node).collect()).unwrap()
}

fn sender() -> Coin {
    "00.26".parse().unwrap()
}

#[test]
fn rkx_5_any_k_of_n_make_the_secret_and_fewer_do_not() {
    let mut rng = SeededRng::new(1);
    for (nodes, threshold) in [(25, 17), (2, 2), (5, 2), (25, 25)] {
        let swarm = swarm(nodes, threshold);
        let secret = QuorumSecret::generate(&mut rng);
        let split = split(&swarm, sender(), &secret, &mut rng);
        assert!(split.shares.iter().all(|share| share.len() == SHARE));
        let set = Set::decode(&split.set.encode(), &swarm).unwrap();
        for skip in 0..=usize::from(nodes - threshold) {
            let mut collected = Collected::new(&swarm, &set).unwrap();
            for (at, share) in split.shares.iter().enumerate().skip(skip).take(usize::from(threshold)) {
                let need = usize::from(threshold);
                assert_eq!(collected.secret().err(), Some(Incomplete::TooFew { have: collected.count(), need }));
                collected.add(at, share).unwrap();
                // The same again is no second share.
                collected.add(at, share).unwrap();
            }
            assert_eq!(collected.secret().unwrap().expose(), secret.expose());
        }
    }
}

#[test]
fn rkx_5_a_share_that_was_changed_or_is_another_nodes_is_named() {
    let mut rng = SeededRng::new(2);
    let swarm = swarm(5, 3);
    let split_ = |rng: &mut SeededRng| split(&swarm, sender(), &QuorumSecret::generate(rng), rng);
    let (one, other) = (split_(&mut rng), split_(&mut rng));
    let mut collected = Collected::new(&swarm, &one.set).unwrap();
    for byte in 0..SHARE {
        let mut share = one.shares[0].clone();
        share[byte] ^= 1;
        assert_eq!(collected.add(0, &share), Err(ShareFault::NotCommitted));
    }
    for wrong in [&one.shares[1], &other.shares[0]] {
        assert_eq!(collected.add(0, wrong), Err(ShareFault::NotCommitted));
    }
    assert_eq!(collected.add(0, &[]), Err(ShareFault::NotCommitted));
    assert_eq!(collected.add(5, &one.shares[0]), Err(ShareFault::NoShare));
    // Whoever commits to what is no share is found out too.
    let mut set = one.set.clone();
    set.commitments.splice(0..32, commit(&other.shares[0]));
    let mut collected = Collected::new(&swarm, &set).unwrap();
    assert_eq!(collected.add(0, &other.shares[0]), Err(ShareFault::NoShare));
}

#[test]
fn rkx_5_shares_that_do_not_belong_together_make_no_secret_or_the_right_one() {
    let mut rng = SeededRng::new(3);
    let swarm = swarm(6, 3);
    let secret = QuorumSecret::generate(&mut rng);
    let mut split = split(&swarm, sender(), &secret, &mut rng);
    let spoil = |split: &mut Split, at: usize| {
        split.shares[at][30] ^= 1;
        let wrong = commit(&split.shares[at]);
        split.set.commitments.splice(at * 32..at * 32 + 32, wrong);
    };
    for wrong in 0..4 {
        let mut collected = Collected::new(&swarm, &split.set).unwrap();
        for (at, share) in split.shares.iter().enumerate() {
            collected.add(at, share).unwrap();
        }
        assert_eq!(collected.secret().unwrap().expose(), secret.expose(), "{wrong} wrong ones");
        spoil(&mut split, wrong);
    }
    let mut collected = Collected::new(&swarm, &split.set).unwrap();
    split.shares.iter().enumerate().for_each(|(at, share)| collected.add(at, share).unwrap());
    assert_eq!(collected.secret().err(), Some(Incomplete::NoChoice));
}

#[test]
fn rkx_5_what_is_said_of_a_set_is_of_this_swarm_and_whole() {
    let mut rng = SeededRng::new(4);
    let (one, other) = (swarm(5, 3), swarm(5, 4));
    let set = split(&one, sender(), &QuorumSecret::generate(&mut rng), &mut rng).set;
    assert!(set.encode().len() <= LONGEST);
    let largest = swarm(25, 17);
    let largest = split(&largest, sender(), &QuorumSecret::generate(&mut rng), &mut rng).set;
    assert!(largest.encode().len() <= LONGEST, "{}", largest.encode().len());
    assert_eq!(Set::decode(&set.encode(), &other), Err(SetError::AnotherSwarm));
    assert!(Collected::new(&other, &set).is_err());
    let short = Set { commitments: set.commitments[32..].to_vec(), ..set.clone() };
    let nobody = Set { sender: [0; 5], ..set.clone() };
    for wrong in [short.encode(), nobody.encode(), Vec::new(), [set.encode(), vec![0]].concat()] {
        assert_eq!(Set::decode(&wrong, &one), Err(SetError::Malformed));
    }
    let offer = Offer::new(&one, sender());
    assert_eq!(Offer::decode(&offer.encode(), &one), Ok(offer));
    assert_eq!(Offer::decode(&offer.encode(), &other), Err(SetError::AnotherSwarm));
    for coin in [[0; 5], [0x80, 0, 0, 0, 1], [0xff; 5]] {
        assert_eq!(Offer::decode(&Offer { coin, ..offer }.encode(), &one), Err(SetError::Malformed));
    }
    let ids: std::collections::BTreeSet<_> = (0..25).map(|place| set.id(place)).collect();
    assert!(ids.len() == 25 && ids.iter().all(|id| id.0 != set.name() && id.0 != set.locator));
}
