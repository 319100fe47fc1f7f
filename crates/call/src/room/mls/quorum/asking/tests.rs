use undertone_keys::DeviceId;
use undertone_keys::testing::SeededRng;

use super::*;

const START: Time = Time::ZERO;

type Seat = (SenderIndex, JoinId, Address);

fn seat(user: &str, device: u8) -> Seat {
    let address = Address { user: format!("{user}@x").parse().unwrap(), device: DeviceId::from_bytes([device; 16]) };
    (device.into(), JoinId::from_bytes([device; 16]), address)
}

#[test]
fn rkx_5_whoever_has_many_devices_is_not_asked_more_often_for_that() {
    let rng = &mut SeededRng::new(1);
    let mut members: Vec<Seat> = (1..=98).map(|device| seat("eve", device)).collect();
    members.extend([seat("ada", 99), seat("bob", 100)]);
    let drawn = |rng: &mut SeededRng| Asking::new(false).draw(START, &members, rng).map(|(_, _, who)| who.user.clone());
    let honest = (0..300).filter(|_| drawn(rng).is_some_and(|user| user != members[0].2.user)).count();
    assert!((150..250).contains(&honest), "two people of three, {honest} of 300");
}

#[test]
fn rkx_5_everybody_is_asked_once_people_before_devices_and_then_again_later() {
    let rng = &mut SeededRng::new(2);
    let members = [seat("ada", 1), seat("ada", 2), seat("ada", 3), seat("bob", 4), seat("carol", 5)];
    let mut asking = Asking::new(false);
    let mut asked = Vec::new();
    for _ in &members {
        let (index, join, who) = asking.draw(START, &members, rng).unwrap();
        asking.tried.insert(*join);
        asked.push((*index, who.user.clone()));
    }
    let first: BTreeSet<_> = asked[..3].iter().map(|(_, user)| user).collect();
    assert_eq!(first.len(), 3, "three people first");
    assert_eq!(asked.iter().map(|(index, _)| index).collect::<BTreeSet<_>>().len(), 5);
    // Later each time, but not later and later for ever.
    for shift in [0, 1, 2, 3, 3] {
        asking.tried = members.iter().map(|(_, join, _)| *join).collect();
        assert!(asking.draw(START, &members, rng).is_none());
        assert_eq!((asking.wish, asking.tried.len()), (Some(START + RETRY * (1 << shift)), 0));
    }
}

#[test]
fn rkx_5_a_group_is_of_no_use_where_all_say_that_they_have_none_or_nobody_gives_it() {
    let members = [seat("ada", 1), seat("bob", 2)];
    let mut asking = Asking::new(false);
    assert_eq!(asking.hope(START, &members, false), None);
    // One says so; both do; somebody is being proven who may have it.
    asking.outside.insert(members[0].1);
    assert_eq!(asking.hope(START, &members, false), None);
    assert_eq!(asking.nobody, None);
    asking.outside.insert(members[1].1);
    assert_eq!(asking.hope(START, &members, true), None);
    assert_eq!(asking.nobody, None);
    assert_eq!(asking.hope(START, &members, false), None);
    assert_eq!(asking.timeout(), Some(START + NOBODY), "they may all be on their way in");
    assert_eq!(asking.hope(START + NOBODY, &members, false), Some(true));
    assert_eq!(asking.timeout(), None, "what was said is not said again and again");
    assert_eq!(asking.hope(START + NOBODY, &members, false), None);
    // Somebody comes who may have it.
    let more = [members[0].clone(), members[1].clone(), seat("carol", 3)];
    assert_eq!(asking.hope(START + NOBODY, &more, false), Some(false));
    // Who may have it gives it to nobody.
    asking.since = Some(START);
    assert_eq!(asking.timeout(), Some(START + KEPT_BACK));
    assert_eq!(asking.hope(START + KEPT_BACK, &more, false), Some(true));
    assert_eq!(asking.timeout(), Some(START + GIVE_UP));
    // Whoever has it complains of nothing.
    asking.has = true;
    assert_eq!(asking.hope(START + KEPT_BACK, &more, false), Some(false));
}

#[test]
fn rkx_5_an_answer_counts_that_was_asked_for() {
    let mut asking = Asking::new(false);
    let (index, member, address) = seat("ada", 1);
    let request = RequestId::from_bytes([7; 16]);
    let asked = |awaits| {
        let address = address.clone();
        Some(Asked { member, index, address, request, awaits, until: START + ANSWER })
    };
    asking.asked = asked(Awaits::Set);
    asking.refused(START, 2, request, false);
    asking.refused(START, index, RequestId::from_bytes([8; 16]), false);
    assert!(asking.asked.is_some() && asking.outside.is_empty() && asking.wish.is_none());
    asking.refused(START, index, request, false);
    assert_eq!((asking.asked.is_none(), asking.wish), (true, Some(START)));
    assert!(asking.outside.contains(&member));
    // It has come in meanwhile.
    asking.asked = asked(Awaits::Set);
    asking.refused(START, index, request, true);
    assert!(asking.outside.is_empty());
    // It has said where they are, and cannot take it back.
    asking.asked = asked(Awaits::Shares(3));
    asking.refused(START, index, request, false);
    assert!(asking.awaits(3) && !asking.awaits(2) && asking.outside.is_empty());
}

#[test]
fn rkx_5_what_was_learnt_in_one_group_says_nothing_of_the_next() {
    let members = [seat("ada", 1)];
    let mut quorum = Quorum::new(Vec::new(), true);
    quorum.asking.outside.insert(members[0].1);
    quorum.asking.tried.insert(members[0].1);
    (quorum.asking.hopeless, quorum.asking.since) = (true, Some(START));
    quorum.begins_anew();
    assert!(!quorum.asking.has, "the secret is another one");
    assert!(quorum.asking.outside.is_empty() && quorum.asking.tried.is_empty());
    assert_eq!((quorum.asking.hope(START + NOBODY, &members, false), quorum.asking.timeout()), (None, None));
}
