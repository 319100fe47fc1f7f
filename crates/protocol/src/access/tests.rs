use undertone_keys::testing::SeededRng;

use super::*;
use crate::terms::{GroupSuite, Protection};

const SPEAKS: Rights = Rights { speak: true, moderate: false };
const LISTENS: Rights = Rights { speak: false, moderate: false };
const MODERATES: Rights = Rights { speak: true, moderate: true };

struct Person {
    key: SigningKey<Device>,
    address: Address,
    account: VerifyingKey<Account>,
}

impl Person {
    fn new(name: &str, seed: u64) -> Self {
        let rng = &mut SeededRng::new(seed);
        let key = SigningKey::generate(rng);
        let address = Address { user: UserId::parse(name, "x").unwrap(), device: DeviceId::of(key.public()) };
        Self { key, address, account: *SigningKey::generate(rng).public() }
    }

    fn listed(&self, rights: Rights) -> Listed {
        Listed { user: self.address.user.clone(), account: self.account, rights }
    }
}

fn people() -> [Person; 4] {
    [("ada", 1), ("bob", 2), ("carol", 3), ("dave", 4)].map(|(name, seed)| Person::new(name, seed))
}

fn first(creator: &Person, members: Vec<Listed>) -> AccessList {
    AccessList {
        format: FORMAT,
        room: RoomId::from_bytes([7; 16]),
        version: 1,
        previous: None,
        name: "team".into(),
        terms: Terms::room(Protection::Blind),
        creator: creator.address.user.clone(),
        members,
        signer: creator.address.clone(),
        created: WallTime::from_unix(5),
    }
}

fn next(before: &Access, by: &Person, members: Vec<Listed>) -> Result<Access, AccessError> {
    let list = before.next(members, by.address.clone(), WallTime::from_unix(6));
    let next = Access::sign(list, &by.key)?;
    next.follows(before).map(|()| next)
}

#[test]
fn grp_8_a_list_is_what_its_signer_signed_to_the_byte() {
    let [ada, bob, ..] = people();
    let access = Access::sign(first(&ada, vec![ada.listed(MODERATES), bob.listed(SPEAKS)]), &ada.key).unwrap();
    let bytes = access.to_bytes();
    let read = ClaimedAccess::from_bytes(&bytes).unwrap();
    assert_eq!(read.clone().verify(ada.key.public()), Ok(access));
    assert_eq!(read.verify(bob.key.public()), Err(AccessError::Signature));
    for place in 0..bytes.len() {
        let mut changed = bytes.clone();
        changed[place] ^= 1;
        let verified = ClaimedAccess::from_bytes(&changed).and_then(|read| read.verify(ada.key.public()));
        assert!(verified.is_err(), "byte {place} may be anything");
    }
}

#[test]
fn grp_8_a_list_that_contradicts_itself_is_none() {
    let [ada, bob, ..] = people();
    let good = first(&ada, vec![ada.listed(MODERATES), bob.listed(SPEAKS)]);
    let attempt = |change: &dyn Fn(&mut AccessList)| {
        let mut list = good.clone();
        change(&mut list);
        Access::sign(list, &ada.key).err()
    };
    assert_eq!(attempt(&|_| {}), None);
    let malformed = Some(AccessError::Malformed);
    assert_eq!(attempt(&|list| list.format = 2), malformed);
    assert_eq!(attempt(&|list| list.version = 0), malformed);
    assert_eq!(attempt(&|list| list.previous = Some([0; 32])), malformed);
    assert_eq!(attempt(&|list| list.version = 2), malformed);
    assert_eq!(attempt(&|list| list.name.clear()), malformed);
    assert_eq!(attempt(&|list| list.name = "x".repeat(MAX_NAME + 1)), malformed);
    assert_eq!(attempt(&|list| list.name = "a\u{1b}[2J".into()), malformed);
    assert_eq!(attempt(&|list| list.name = "team\u{202e}".into()), malformed);
    assert_eq!(attempt(&|list| list.terms = Terms::one_to_one(Protection::Blind)), malformed);
    assert_eq!(attempt(&|list| list.terms = Terms::room(Protection::Echo)), malformed);
    assert_eq!(attempt(&|list| list.members.reverse()), malformed);
    assert_eq!(attempt(&|list| list.members.push(bob.listed(SPEAKS))), malformed);
    assert_eq!(attempt(&|list| list.members = vec![bob.listed(MODERATES)]), malformed);
    assert_eq!(attempt(&|list| list.members[0].rights = SPEAKS), malformed);
    assert_eq!(attempt(&|list| list.creator = bob.address.user.clone()), malformed);
    assert_eq!(attempt(&|list| list.members.clear()), Some(AccessError::Rights), "a room begins with somebody in it");
    let crowd = |count: usize, rights| {
        let (ada, bob) = (&ada, &bob);
        move |list: &mut AccessList| {
            let named = |n| Listed { user: UserId::parse(&format!("m{n:04}"), "x").unwrap(), ..bob.listed(rights) };
            list.members = (0..count).map(named).chain([ada.listed(MODERATES)]).collect();
            list.members.sort_unstable_by(|a, b| a.user.cmp(&b.user));
        }
    };
    assert_eq!(attempt(&crowd(MAX_SPEAKERS - 1, SPEAKS)), None);
    assert_eq!(attempt(&crowd(MAX_SPEAKERS, SPEAKS)), Some(AccessError::TooMany));
    assert_eq!(attempt(&crowd(MAX_LISTED - 1, LISTENS)), None);
    assert_eq!(attempt(&crowd(MAX_LISTED, LISTENS)), Some(AccessError::TooMany));
    // A group's commits have to fit, also before anybody has new keys.
    let grouped = |suite, count| {
        let crowd = crowd(count, LISTENS);
        move |list: &mut AccessList| {
            crowd(list);
            list.terms = Terms::mls(suite);
        }
    };
    assert_eq!(attempt(&grouped(GroupSuite::X25519, MAX_LISTED - 1)), None);
    assert_eq!(attempt(&grouped(GroupSuite::XWing, MAX_LISTED_X_WING - 1)), None);
    assert_eq!(attempt(&grouped(GroupSuite::XWing, MAX_LISTED_X_WING)), Some(AccessError::TooMany));
    // An audience has no leaves, so that it is no part of what the group has room for.
    let before_an_audience = |suite, count, rights| {
        let crowd = crowd(count, rights);
        move |list: &mut AccessList| {
            crowd(list);
            list.terms = Terms::mls(suite).with_audience();
        }
    };
    for suite in [GroupSuite::X25519, GroupSuite::XWing] {
        assert_eq!(attempt(&before_an_audience(suite, MAX_LISTED_WITH_AUDIENCE - 1, LISTENS)), None);
        let many = before_an_audience(suite, MAX_LISTED_WITH_AUDIENCE, LISTENS);
        assert_eq!(attempt(&many), Some(AccessError::TooMany));
    }
    let moderates = Rights { speak: false, moderate: true };
    let many = before_an_audience(GroupSuite::XWing, MAX_LISTED_X_WING, moderates);
    assert_eq!(attempt(&many), Some(AccessError::TooMany), "who moderates is a member");
}

/// The largest list with the longest names fits into what a server takes of one.
#[test]
fn grp_9_the_list_of_the_largest_audience_is_no_longer_than_a_list_may_be() {
    let [ada, bob, ..] = people();
    let named = |n| Listed {
        user: UserId::parse(&format!("listener-{n:04}"), "talks.example.org").unwrap(),
        ..bob.listed(LISTENS)
    };
    let mut members: Vec<Listed> = (1..MAX_LISTED_WITH_AUDIENCE).map(named).chain([ada.listed(MODERATES)]).collect();
    members.sort_unstable_by(|a, b| a.user.cmp(&b.user));
    let list = AccessList { terms: Terms::mls(GroupSuite::X25519).with_audience(), members, ..first(&ada, Vec::new()) };
    let access = Access::sign(list, &ada.key).unwrap();
    let bytes = access.to_bytes();
    assert!(bytes.len() < crate::limits::MAX_ACCESS, "{}", bytes.len());
    assert!(bytes.len().div_ceil(3) * 4 + 64 < crate::limits::MAX_ACCESS_JSON);
}

/// Who may make which change: one row each.
#[test]
fn grp_8_every_change_has_somebody_who_may_make_it() {
    let [ada, bob, carol, dave] = people();
    let (a, b, c, d) = (ada.listed(MODERATES), bob.listed(MODERATES), carol.listed(SPEAKS), dave.listed(LISTENS));
    let start = Access::sign(first(&ada, vec![a.clone(), b.clone(), c.clone()]), &ada.key).unwrap();
    let speaks = |person: &Person| person.listed(SPEAKS);
    let rows: [(&str, &Person, Vec<Listed>, bool); 14] = [
        ("the creator adds", &ada, vec![a.clone(), b.clone(), c.clone(), d.clone()], true),
        ("a moderator adds", &bob, vec![a.clone(), b.clone(), c.clone(), d.clone()], true),
        ("a member adds", &carol, vec![a.clone(), b.clone(), c.clone(), d.clone()], false),
        ("a stranger adds itself", &dave, vec![a.clone(), b.clone(), c.clone(), d.clone()], false),
        ("a moderator removes a member", &bob, vec![a.clone(), b.clone()], true),
        ("a member removes a moderator", &carol, vec![a.clone(), c.clone()], false),
        ("a member goes", &carol, vec![a.clone(), b.clone()], true),
        ("a member goes and takes another along", &carol, vec![a.clone()], false),
        ("a moderator goes", &bob, vec![a.clone(), c.clone()], true),
        ("the creator removes a moderator", &ada, vec![a.clone(), c.clone()], true),
        ("a moderator makes a moderator", &bob, vec![a.clone(), b.clone(), carol.listed(MODERATES)], false),
        ("the creator makes a moderator", &ada, vec![a.clone(), b.clone(), carol.listed(MODERATES)], true),
        ("the creator closes the room", &ada, vec![], true),
        ("a moderator closes the room", &bob, vec![], false),
    ];
    for (what, by, members, allowed) in rows {
        let expected = if allowed { None } else { Some(AccessError::Rights) };
        assert_eq!(next(&start, by, members).err(), expected, "{what}");
    }
    let stolen = Listed { account: dave.account, ..c.clone() };
    assert_eq!(next(&start, &bob, vec![a.clone(), b.clone(), stolen.clone()]).err(), Some(AccessError::Rights));
    assert!(next(&start, &ada, vec![a.clone(), b.clone(), stolen]).is_ok());
    // A moderator silences and unsilences; nobody does it to themselves.
    let silent = next(&start, &bob, vec![a.clone(), b.clone(), carol.listed(LISTENS)]).unwrap();
    assert_eq!(next(&silent, &carol, vec![a.clone(), b.clone(), speaks(&carol)]).err(), Some(AccessError::Rights));
    assert!(next(&silent, &bob, vec![a, b, speaks(&carol)]).is_ok());
}

#[test]
fn grp_8_a_version_follows_exactly_one_and_changes_nothing_that_is_fixed() {
    let [ada, bob, carol, _] = people();
    let start = Access::sign(first(&ada, vec![ada.listed(MODERATES)]), &ada.key).unwrap();
    let with = |person: &Person| vec![ada.listed(MODERATES), person.listed(SPEAKS)];
    let (left, right) = (next(&start, &ada, with(&bob)).unwrap(), next(&start, &ada, with(&carol)).unwrap());
    assert_eq!(left.follows(&right), Err(AccessError::Chain));
    assert_eq!(left.follows(&left), Err(AccessError::Chain));
    let third = next(&left, &ada, with(&carol)).unwrap();
    assert_eq!(third.follows(&start), Err(AccessError::Chain));
    assert_eq!(third.follows(&right), Err(AccessError::Chain), "chained to the other branch");
    let changes: [&dyn Fn(&mut AccessList); 4] = [
        &|list| list.room = RoomId::from_bytes([8; 16]),
        &|list| list.name = "other".into(),
        &|list| list.terms = Terms::room(Protection::Hop),
        &|list| list.version += 1,
    ];
    for change in changes {
        let mut list = start.next(with(&bob), ada.address.clone(), WallTime::from_unix(6));
        change(&mut list);
        assert_eq!(Access::sign(list, &ada.key).unwrap().follows(&start), Err(AccessError::Chain));
    }
    let closed = next(&start, &ada, vec![]).unwrap();
    assert_eq!(next(&closed, &ada, with(&bob)).err(), Some(AccessError::Chain), "closed for good");
}
