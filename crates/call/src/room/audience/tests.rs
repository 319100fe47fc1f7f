//! A listener's decisions, one after the other.

use undertone_groups::Store;
use undertone_keys::{JoinId, Secret, Time};

use super::listen::{Due, Listening};
use super::{ANSWER, DOUBT, GRACE, OLD, RENEW};
use crate::room::signal::ListenersKey;

const A: JoinId = JoinId::from_bytes([1; 16]);
const B: JoinId = JoinId::from_bytes([2; 16]);
const SERVERS: [(JoinId, u16); 2] = [(A, 1), (B, 2)];

fn key(byte: u8) -> ListenersKey {
    ListenersKey::of(&Secret::from_slice(&[byte; 32]).unwrap())
}

fn at(ms: u64) -> Time {
    Time::from_millis(10_000 + ms)
}

/// A listener that lacks a key and has asked whoever is first.
fn asked() -> Listening {
    let mut listening = Listening::new(Store::default(), true);
    assert_eq!(ask(&mut listening, at(0)), Some(A));
    listening
}

/// A listener whom A has given the key of epoch 5.
fn served() -> Listening {
    let mut listening = asked();
    assert_eq!(listening.takes(at(50), A, 5, &key(5)), Some(false));
    listening
}

/// Whom it asks now, if anybody.
fn ask(listening: &mut Listening, now: Time) -> Option<JoinId> {
    listening.look(now);
    match listening.due(now)? {
        Due::Question => {
            let (member, _) = listening.next(&SERVERS)?;
            listening.ask(now, member);
            Some(member)
        }
        Due::Renewal => None,
    }
}

#[test]
fn grp_9_a_listener_asks_one_after_the_other_until_somebody_answers() {
    let mut listening = asked();
    assert_eq!(ask(&mut listening, at(1_999)), None, "the first is waited for");
    assert_eq!(ask(&mut listening, at(2_000)), Some(B));
    assert_eq!(listening.takes(at(2_001), A, 5, &key(5)), None, "too late");
    assert_eq!(ask(&mut listening, at(4_000)), Some(A), "all were asked: from the front");
    assert_eq!(listening.takes(at(4_010), A, 5, &key(5)), Some(false));
    assert_eq!(ask(&mut listening, at(9_000)), None);
    // Nobody but the one who serves it says what comes next.
    assert_eq!(listening.takes(at(9_001), B, 6, &key(6)), None);
    assert_eq!(listening.takes(at(9_002), A, 6, &key(6)), Some(false));
}

#[test]
fn grp_9_a_listener_says_every_minute_that_it_is_there() {
    let mut listening = served();
    assert_eq!(listening.timeout(at(50)), Some(at(50) + RENEW));
    assert!(listening.due(at(50)).is_none());
    assert!(matches!(listening.due(at(50) + RENEW), Some(Due::Renewal)));
    listening.online = false;
    assert!(listening.due(at(50) + RENEW).is_none() && listening.timeout(at(50)).is_none(), "the server is away");
}

#[test]
fn grp_9_a_key_that_is_late_is_waited_for_and_then_asked_of_whoever_gave_the_last() {
    let mut listening = served();
    listening.missed(Some(6));
    assert_eq!(ask(&mut listening, at(100)), None, "it may be on its way");
    assert_eq!(ask(&mut listening, at(100) + GRACE), Some(A));
    assert_eq!(ask(&mut listening, at(100) + GRACE + ANSWER), Some(B), "who does not serve any more is left");
    assert_eq!(listening.takes(at(4_000), B, 6, &key(6)), Some(false));
}

#[test]
fn grp_9_what_does_not_open_is_asked_of_another_and_not_more_often_than_doubts_are_worth() {
    let mut listening = served();
    listening.missed(None);
    assert_eq!(ask(&mut listening, at(1_000)), Some(B));
    assert_eq!(listening.takes(at(1_010), B, 5, &key(7)), Some(true), "another key of one epoch is of another line");
    listening.missed(None);
    assert_eq!(ask(&mut listening, at(1_020)), None);
    assert_eq!(ask(&mut listening, at(1_000) + DOUBT), Some(A));
    assert_eq!(listening.takes(at(4_010), A, 5, &key(7)), Some(false), "two say the same");
}

#[test]
fn grp_9_a_letter_that_is_late_or_of_a_member_behind_takes_nothing_away() {
    let mut listening = served();
    assert_eq!(listening.takes(at(60), A, 4, &key(4)), None);
    assert_eq!(listening.takes(at(70), A, 5, &key(9)), None, "one epoch has one key");
    assert_eq!(listening.opens(), Some(5));
    listening.member_gone(at(100), A);
    assert_eq!(ask(&mut listening, at(100)), Some(A));
    assert_eq!(ask(&mut listening, at(100) + ANSWER), Some(B));
    assert_eq!(listening.takes(at(2_110), B, 4, &key(4)), None, "it has not come to 5 yet");
    assert_eq!(listening.takes(at(2_120), B, 5, &key(5)), Some(false));
    assert_eq!(listening.takes(at(2_130), B, 6, &key(6)), Some(false));
}

#[test]
fn grp_9_an_epoch_that_nobody_seals_under_is_left_behind() {
    let mut listening = asked();
    assert_eq!(listening.takes(at(50), A, 100, &key(9)), Some(false), "a member lies");
    listening.missed(Some(5));
    assert_eq!(ask(&mut listening, at(100)), None, "it might be what was before");
    assert_eq!(ask(&mut listening, at(50) + OLD), None);
    listening.missed(Some(5));
    assert_eq!(ask(&mut listening, at(50) + OLD), Some(B));
    assert_eq!(listening.takes(at(10_100), B, 5, &key(5)), Some(true));
    assert_eq!(listening.opens(), Some(5));
}

#[test]
fn grp_9_who_answers_with_junk_is_left_for_another() {
    let mut listening = served();
    listening.missed(Some(6));
    assert_eq!(ask(&mut listening, at(100)), None);
    assert_eq!(ask(&mut listening, at(100) + GRACE), Some(A));
    assert_eq!(listening.takes(at(1_200), A, 1_000_000, &key(9)), Some(false));
    listening.missed(Some(6_u8.wrapping_add(64)));
    assert_eq!(ask(&mut listening, at(1_300)), Some(B));
    assert_eq!(listening.takes(at(1_400), B, 6, &key(6)), Some(true));
}

#[test]
fn grp_9_a_key_that_the_ring_has_lost_is_put_back_and_nobody_is_asked() {
    let mut listening = served();
    assert!(listening.lost().is_none());
    listening.missed(Some(5));
    assert_eq!(listening.timeout(at(60)), Some(at(60)), "at once");
    let (epoch, lost) = listening.lost().unwrap();
    assert!(epoch == 5 && lost.is(&key(5)));
    assert!(listening.lost().is_none());
    assert_eq!(ask(&mut listening, at(100)), None);
}

#[test]
fn grp_9_who_loses_the_member_that_served_it_asks_the_next_and_keeps_what_it_has() {
    let mut listening = served();
    listening.member_gone(at(100), B);
    assert_eq!(ask(&mut listening, at(100)), None);
    listening.member_gone(at(100), A);
    assert_eq!(listening.opens(), Some(5));
    listening.look(at(100));
    assert!(matches!(listening.due(at(100)), Some(Due::Question)));
    // A new join is another listener to everybody: it has to be let in anew.
    let mut listening = served();
    listening.joined();
    assert_eq!(ask(&mut listening, at(200)), Some(A));
    assert_eq!(listening.takes(at(210), A, 5, &key(5)), Some(false));
}
