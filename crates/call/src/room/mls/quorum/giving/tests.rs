use core::time::Duration;

use undertone_keys::quorum::QuorumSecret;
use undertone_keys::testing::SeededRng;

use super::*;

const START: Time = Time::ZERO;
const NODES: QuorumNodes = QuorumNodes { threshold: 17, nodes: 25, good: 25 };

fn asker(user: &str, device: u8, request: u8) -> Asker {
    Asker {
        join: JoinId::from_bytes([device; 16]),
        index: device.into(),
        user: format!("{user}@x").parse().unwrap(),
        request: RequestId::from_bytes([request; 16]),
    }
}

fn left(set: &[u8]) -> Result<Exchanged, NoQuorum> {
    let secret = QuorumSecret::generate(&mut SeededRng::new(1));
    Ok(Exchanged { secret, set: set.to_vec(), nodes: NODES })
}

fn here(_: &Asker) -> bool {
    true
}

#[test]
fn rkx_5_one_persons_devices_use_up_two_places_and_no_more() {
    let mut giving = Giving::default();
    for device in 1..=2 {
        assert!(giving.has_room(START, &asker("eve", device, 1)));
        giving.begin(START, asker("eve", device, 1), device.into());
    }
    assert!(!giving.has_room(START, &asker("eve", 3, 1)), "a third device of the same person");
    for device in 4..=9 {
        let other = asker(&format!("m{device}"), device, 1);
        assert!(giving.has_room(START, &other), "the {device}th");
        giving.begin(START, other, device.into());
    }
    assert!(!giving.has_room(START, &asker("bob", 10, 1)), "eight are served");
    // Whoever was served makes room, and is not served again at once.
    giving.posted(START, 1, left(b"1"), here);
    assert_eq!(giving.close(|gift| gift.asker.index == 1), [b"1"]);
    assert!(giving.has_room(START, &asker("bob", 10, 1)));
    assert!(!giving.has_room(START, &asker("eve", 1, 2)));
    assert!(giving.has_room(START + AGAIN, &asker("eve", 1, 2)));
}

#[test]
fn rkx_5_shares_lie_at_the_nodes_until_they_are_taken_or_too_old() {
    let mut giving = Giving::default();
    giving.begin(START, asker("ada", 1, 1), 7);
    assert_eq!(giving.timeout(), None);
    assert_eq!(giving.posted(START, 8, left(b"another's"), here), None);
    let given = Posted::Given(1, RequestId::from_bytes([1; 16]), b"set".to_vec());
    assert_eq!(giving.posted(START, 7, left(b"set"), here), Some(given));
    assert_eq!((giving.given, giving.nodes), (1, Some(NODES)));
    assert_eq!(giving.timeout(), Some(START + KEPT));
    let before = START + (KEPT - Duration::from_millis(1));
    assert_eq!(giving.close_over(before, here), Vec::<Vec<u8>>::new());
    assert_eq!(giving.close_over(START + KEPT, here), [b"set"]);
    assert_eq!((giving.timeout(), giving.open.len()), (None, 0));
}

#[test]
fn rkx_5_shares_on_their_way_for_whoever_has_gone_are_taken_back_when_they_are_there() {
    let mut giving = Giving::default();
    giving.begin(START, asker("ada", 1, 1), 1);
    giving.begin(START, asker("bob", 2, 1), 2);
    assert_eq!(giving.close_over(START, |asker| asker.index != 1), Vec::<Vec<u8>>::new());
    assert_eq!(giving.open.len(), 2, "what comes of the exchange is waited for");
    // Somebody else sits there meanwhile.
    assert_eq!(giving.posted(START, 1, left(b"ada's"), here), Some(Posted::TakeBack(b"ada's".to_vec())));
    assert_eq!(
        giving.posted(START, 2, left(b"bob's"), |asker| asker.index != 2),
        Some(Posted::TakeBack(b"bob's".to_vec()))
    );
    assert_eq!((giving.given, giving.open.len()), (0, 0));
}

#[test]
fn rkx_5_whoever_asks_again_is_told_under_the_newest_question() {
    let mut giving = Giving::default();
    giving.begin(START, asker("ada", 1, 1), 1);
    assert!(giving.is_posting(&asker("ada", 1, 2)));
    assert!(!giving.is_posting(&asker("ada", 3, 2)), "another device of hers");
    let given = Posted::Given(1, RequestId::from_bytes([2; 16]), b"set".to_vec());
    assert_eq!(giving.posted(START, 1, left(b"set"), here), Some(given));
    assert!(!giving.is_posting(&asker("ada", 1, 3)), "these are there");
}

#[test]
fn rkx_5_where_too_few_nodes_took_a_share_the_asker_is_told() {
    let mut giving = Giving::default();
    giving.begin(START, asker("ada", 1, 1), 1);
    giving.begin(START, asker("bob", 2, 1), 2);
    let not_given = Posted::NotGiven(1, RequestId::from_bytes([1; 16]));
    assert_eq!(giving.posted(START, 1, Err(NoQuorum), here), Some(not_given));
    assert_eq!(giving.posted(START, 2, Err(NoQuorum), |_| false), None);
    assert_eq!((giving.given, giving.open.len()), (0, 0));
}
