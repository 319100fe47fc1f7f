//! The shipped delivery service in virtual time: that a simulation can play it, and that what it does by the clock it does by the
//! simulation's.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing, reason = "a test may fail")]

use std::collections::{HashMap, HashSet};
use std::time::{Duration, Instant};

use rand_core::Rng as _;
use undertone_keys::digest::sha256;
use undertone_keys::envelope::Address;
use undertone_keys::sign::{Device, SigningKey};
use undertone_keys::testing::SeededRng;
use undertone_keys::{CallId, DeviceId, RoomId, Time, UserId};
use undertone_protocol::access::{self, Access, AccessList, Listed};
use undertone_protocol::delivery::{Denied, GroupNews, GroupRequest, InfoFrame, Tree, TreePatch, Welcoming, testing};
use undertone_protocol::signal::{Reason, ToDevice};
use undertone_protocol::{Protection, Rights, Terms, limits};
use undertone_server::config::Limits;
use undertone_server::store::Sqlite;
use undertone_testkit::delivery_house::{BEGUN, Ground, House};

const ROOM: RoomId = RoomId::from_bytes([7; 16]);
const CALL: CallId = CallId::from_bytes([8; 16]);
const PLACE: (RoomId, CallId) = (ROOM, CALL);

/// Somebody's device.
struct Person {
    key: SigningKey<Device>,
    you: Address,
}

impl Person {
    fn new(name: &str, seed: u64) -> Self {
        let key = SigningKey::generate(&mut SeededRng::new(seed));
        let you = Address { user: UserId::parse(name, "x").unwrap(), device: DeviceId::of(key.public()) };
        Self { key, you }
    }
}

fn access(people: &[&Person]) -> Access {
    let account = *SigningKey::generate(&mut SeededRng::new(1)).public();
    let rights = Rights { speak: true, moderate: true };
    let listed = |person: &&Person| Listed { user: person.you.user.clone(), account, rights };
    let mut members: Vec<Listed> = people.iter().map(listed).collect();
    members.sort_unstable_by(|a, b| a.user.cmp(&b.user));
    members.dedup_by(|a, b| a.user == b.user);
    let list = AccessList {
        format: access::FORMAT,
        room: ROOM,
        version: 1,
        previous: None,
        name: "team".into(),
        terms: Terms::room(Protection::Blind),
        creator: people[0].you.user.clone(),
        members,
        signer: people[0].you.clone(),
        created: BEGUN,
    };
    Access::sign(list, &people[0].key).unwrap()
}

const fn at(millis: u64) -> Time {
    Time::from_millis(millis)
}

/// A room in its call, and all of these connected.
fn furnish<S: Ground>(house: &mut House<S>, people: &[&Person]) {
    house.set_room(Time::ZERO, &access(people), CALL).unwrap();
    for person in people {
        house.connect(Time::ZERO, &person.you, *person.key.public()).unwrap();
        assert!(matches!(house.take(&person.you)[..], [ToDevice::Welcome { now: BEGUN, .. }]));
    }
}

fn house(people: &[&Person]) -> House {
    let mut house = House::new(SigningKey::generate(&mut SeededRng::new(1)), &Limits::default(), 1).unwrap();
    furnish(&mut house, people);
    house
}

fn news<S: Ground>(house: &mut House<S>, who: &Person) -> Vec<GroupNews> {
    let group = |message| match message {
        ToDevice::Group { call: CALL, news } => news,
        other => panic!("{other:?}"),
    };
    house.take(&who.you).into_iter().map(group).collect()
}

fn ask<S: Ground>(house: &mut House<S>, now: Time, who: &Person, request: GroupRequest) -> Vec<GroupNews> {
    house.request(now, &who.you, PLACE, 5, request);
    news(house, who)
}

fn tree(epoch: u64) -> Tree {
    testing::tree(4, u8::try_from(epoch % 200).unwrap())
}

fn info(epoch: u64) -> Vec<u8> {
    testing::group_info(&CALL, epoch, &tree(epoch), &epoch.to_be_bytes())
}

fn create() -> GroupRequest {
    GroupRequest::Create { info: info(0), tree: TreePatch::between(&Tree::default(), &tree(0)) }
}

fn ending(epoch: u64, commit: Vec<u8>, welcomes: Vec<Welcoming>) -> GroupRequest {
    let patch = TreePatch::between(&tree(epoch), &tree(epoch + 1));
    GroupRequest::Commit { epoch, commit, welcomes, info: info(epoch + 1), tree: patch }
}

fn bytes_of(epoch: u64, who: u8) -> Vec<u8> {
    testing::commit(&CALL, epoch, &[who; 200])
}

fn commit(epoch: u64, who: u8) -> GroupRequest {
    ending(epoch, bytes_of(epoch, who), vec![])
}

fn external(epoch: u64, who: u8) -> GroupRequest {
    ending(epoch, testing::external_commit(&CALL, epoch, &[who; 200]), vec![])
}

const fn accepted(epoch: u64) -> GroupNews {
    GroupNews::Accepted { number: 5, epoch }
}

fn refused(why: Denied) -> GroupNews {
    GroupNews::Refused { number: 5, why, after_ms: 0 }
}

fn told(epoch: u64, who: u8) -> GroupNews {
    GroupNews::Commit { epoch, commit: bytes_of(epoch, who).into() }
}

fn later(news: &[GroupNews]) -> u64 {
    match news {
        [GroupNews::Refused { why: Denied::Later, after_ms, .. }] => u64::from(*after_ms),
        other => panic!("{other:?}"),
    }
}

/// MLS-2: half a minute between two external commits of a device, of virtual time and of no other.
#[test]
fn mls_2_a_device_comes_in_by_itself_once_in_thirty_virtual_seconds() {
    let (ada, bob) = (Person::new("ada", 1), Person::new("bob", 2));
    let house = &mut house(&[&ada, &bob]);
    assert_eq!(ask(house, at(1), &ada, create()), [accepted(0)]);
    assert_eq!(ask(house, at(1_000), &bob, external(0, 1)), [accepted(1)]);
    assert_eq!(later(&ask(house, at(11_000), &bob, external(1, 2))), 20_001);
    assert_eq!(later(&ask(house, at(30_999), &bob, external(1, 2))), 2);
    assert_eq!(ask(house, at(31_000), &bob, external(1, 2)), [accepted(2)]);
    assert_eq!(ask(house, at(31_000), &ada, external(2, 3)), [accepted(3)], "of each device");
}

/// DOS-1: an account's commits, and when it may bring the next.
#[test]
fn dos_1_budgets_fill_in_virtual_time() {
    let (ada, bob) = (Person::new("ada", 1), Person::new("bob", 2));
    let house = &mut house(&[&ada, &bob]);
    assert_eq!(ask(house, at(1), &ada, create()), [accepted(0)]);
    let most = u64::from(limits::COMMIT_BURST) - 1;
    for epoch in 0..most {
        assert_eq!(ask(house, at(1), &ada, commit(epoch, 0)), [accepted(epoch + 1)]);
    }
    let after = later(&ask(house, at(1), &ada, commit(most, 0)));
    assert!(after > 0);
    later(&ask(house, at(400), &ada, commit(most, 0)));
    assert_eq!(ask(house, at(401 + after), &ada, commit(most, 0)), [accepted(most + 1)]);
    // Whoever says too much at once is put out, and finds the same budget when it comes back.
    for _ in 0..2_000 {
        house.request(at(60_000), &bob.you, PLACE, 5, GroupRequest::Unfollow);
    }
    assert!(!house.is_connected(&bob.you));
    assert!(matches!(house.take(&bob.you)[..], [ToDevice::Closing { reason: Reason::TooMany, .. }]));
    house.connect(at(60_000), &bob.you, *bob.key.public()).unwrap();
    house.request(at(60_000), &bob.you, PLACE, 5, GroupRequest::Unfollow);
    assert!(!house.is_connected(&bob.you));
    house.connect(at(70_000), &bob.you, *bob.key.public()).unwrap();
    house.take(&bob.you);
    assert_eq!(ask(house, at(70_000), &bob, GroupRequest::Follow { have: Some(19) }).len(), 2);
}

/// RLY-6: killed when the commit was durable and nobody had heard of it; what was in memory is gone, the database is not.
#[test]
fn rly_6_a_house_goes_on_after_a_restart() {
    let (ada, bob) = (Person::new("ada", 1), Person::new("bob", 2));
    let house = &mut house(&[&ada, &bob]);
    assert_eq!(ask(house, at(1), &ada, create()), [accepted(0)]);
    assert_eq!(ask(house, at(1), &ada, commit(0, 1)), [accepted(1)]);
    ask(house, at(1), &bob, GroupRequest::Follow { have: Some(1) });
    house.request(at(2), &ada.you, PLACE, 5, commit(1, 1));
    house.restart(at(3));
    assert!(!house.is_connected(&ada.you) && house.take(&ada.you).is_empty() && house.take(&bob.you).is_empty());
    assert_eq!(ask(house, at(4), &ada, commit(1, 1)), [], "nobody hears who is not connected");
    for person in [&ada, &bob] {
        house.connect(at(5), &person.you, *person.key.public()).unwrap();
        house.take(&person.you);
    }
    assert_eq!(ask(house, at(6), &bob, commit(1, 2)), [refused(Denied::Lost), told(1, 1)]);
    assert_eq!(ask(house, at(6), &ada, commit(1, 1)), [accepted(2)], "it was taken before");
    assert_eq!(house.delivered().commits, 0);
    assert_eq!(house.tree(at(7), &bob.you.user, PLACE, None).unwrap(), tree(2).encode());
    assert!(house.tree(at(7), &bob.you.user, PLACE, Some(1)).is_err());
}

/// RLY-6: a commit that members cannot take, and nobody has taken for a second.
#[test]
fn rly_6_an_epoch_is_given_back_in_virtual_time() {
    let people = [Person::new("ada", 1), Person::new("bob", 2), Person::new("carol", 3)];
    let [ada, bob, carol] = &people;
    let house = &mut house(&[ada, bob, carol]);
    assert_eq!(ask(house, at(1), ada, create()), [accepted(0)]);
    for person in &people {
        ask(house, at(1), person, GroupRequest::Follow { have: Some(0) });
    }
    assert_eq!(ask(house, at(10_100), carol, commit(0, 66)), [accepted(1)]);
    for person in [ada, bob] {
        assert_eq!(ask(house, at(10_200), person, GroupRequest::Reject { epoch: 0 }), [told(0, 66)]);
    }
    house.pass(at(11_099));
    assert_eq!(news(house, ada), []);
    // By the server's own clock, which looks four times a second.
    house.pass(at(20_000));
    let given_back = GroupNews::GivenBack { epoch: 0, oldest: 0, commit: sha256(&[&bytes_of(0, 66)]) };
    assert_eq!((news(house, ada), news(house, carol)), (vec![given_back.clone()], vec![given_back.clone()]));
    assert_eq!(news(house, bob), [given_back]);
    assert_eq!(ask(house, at(20_000), carol, commit(0, 66)), [refused(Denied::Malformed)]);
    assert_eq!(later(&ask(house, at(21_250), carol, commit(0, 67))), 20_001, "given back at 11.25 s, for 30 s");
    assert_eq!(ask(house, at(21_250), bob, commit(0, 68)), [accepted(1)]);
}

/// Key packages, each handed out once, and a device told when few are left.
#[test]
fn mls_1_key_packages_are_handed_out_once_in_virtual_time() {
    let (ada, bob, eve) = (Person::new("ada", 1), Person::new("bob", 2), Person::new("eve", 3));
    let house = &mut house(&[&ada, &bob]);
    let (first, second) = (testing::key_package(1), testing::key_package(2));
    house.publish(at(1), &bob.you, testing::SUITE, first.clone()).unwrap();
    house.publish(at(1_500), &bob.you, testing::SUITE, second.clone()).unwrap();
    let wanted = [bob.you.clone(), eve.you.clone()];
    let claim = |house: &mut House, now| house.claim(now, &ada.you, ROOM, testing::SUITE, &wanted).unwrap();
    assert_eq!(claim(house, at(2_000)), [Some(first), None]);
    let low = ToDevice::KeyPackagesLow { suite: testing::SUITE, left: 1 };
    assert_eq!(house.take(&bob.you), [low]);
    assert_eq!(claim(house, at(2_000)), [Some(second), None]);
    assert_eq!(claim(house, at(2_000)), [None, None]);
    assert!(house.claim(at(2_000), &eve.you, ROOM, testing::SUITE, &wanted).is_err(), "not on the list");
}

/// Plays a schedule: everything that everybody was told, and how many epochs were given back. However it goes, nobody hears of two commits
/// to one epoch, but where it was given back.
fn play<S: Ground>(house: &mut House<S>, seed: u64, requests: u32) -> (Vec<(usize, ToDevice)>, u64) {
    let rng = &mut SeededRng::new(seed);
    let mut draw = |below: u64| rng.next_u64() % below;
    let names = ["ada", "bob", "carol", "dave"];
    let people: Vec<Person> = (0..4_u8).map(|n| Person::new(names[usize::from(n)], u64::from(n))).collect();
    furnish(house, &people.iter().collect::<Vec<_>>());
    let mut known: Vec<Option<u64>> = vec![None; people.len()];
    let mut heard: HashMap<u64, HashSet<Vec<u8>>> = HashMap::new();
    let (mut all, mut now, mut newest, mut given_back) = (Vec::new(), Time::ZERO, 0, 0);
    for _ in 0..requests {
        now = now + Duration::from_millis(draw(3_000));
        let who = usize::try_from(draw(4)).unwrap();
        let (person, mark) = (&people[who], u8::try_from(draw(250)).unwrap());
        if !house.is_connected(&person.you) {
            house.connect(now, &person.you, *person.key.public());
        }
        let epoch = newest - draw(3).min(newest);
        let request = match draw(16) {
            0 => GroupRequest::Follow { have: known[who] },
            1 => create(),
            2 => GroupRequest::Info,
            3 => {
                let digest = InfoFrame::read(&info(epoch)).unwrap().digest();
                GroupRequest::Attest { epoch, digest }
            }
            4 => external(epoch, mark),
            5 => {
                let to = vec![people[usize::try_from(draw(4)).unwrap()].you.clone()];
                let welcome = testing::welcome(&[mark; 30]);
                ending(epoch, bytes_of(epoch, mark), vec![Welcoming { to, welcome }])
            }
            6 if draw(4) == 0 => {
                // What it does by its clock until then counts as well.
                house.pass(now);
                given_back += house.delivered().given_back;
                house.restart(now);
                continue;
            }
            7 if draw(4) == 0 => {
                house.disconnect(&person.you);
                continue;
            }
            8 => {
                let _ = house.tree(now, &person.you.user, PLACE, None);
                continue;
            }
            9..=12 => GroupRequest::Reject { epoch: newest.saturating_sub(1) },
            _ => commit(epoch, mark),
        };
        house.request(now, &person.you, PLACE, 5, request);
        for (place, person) in people.iter().enumerate() {
            // Not everybody looks at once.
            if draw(3) == 0 {
                continue;
            }
            for message in house.take(&person.you) {
                let ended = match &message {
                    ToDevice::Group { news: GroupNews::Accepted { epoch, .. }, .. } => {
                        known[place] = known[place].max(Some(*epoch));
                        newest = newest.max(*epoch);
                        None
                    }
                    ToDevice::Group { news: GroupNews::Commit { epoch, commit }, .. } => Some((*epoch, commit)),
                    ToDevice::Group { news: GroupNews::GivenBack { epoch, .. }, .. } => {
                        newest = *epoch;
                        known[place] = known[place].min(Some(*epoch));
                        None
                    }
                    _ => None,
                };
                if let Some((epoch, commit)) = ended {
                    newest = newest.max(epoch + 1);
                    heard.entry(epoch).or_default().insert(commit.as_bytes().to_vec());
                }
                all.push((place, message));
            }
        }
    }
    given_back += house.delivered().given_back;
    let most = heard.values().map(HashSet::len).max().unwrap_or(0);
    assert!(most <= 1 + usize::try_from(given_back).unwrap(), "{most} commits to one epoch, seed {seed}");
    (all, given_back)
}

fn anew(seed: u64) -> House {
    House::new(SigningKey::generate(&mut SeededRng::new(1)), &Limits::default(), seed).unwrap()
}

/// A seed plays the same again, whatever the machine does meanwhile.
#[test]
fn rly_6_random_schedules_have_one_commit_for_each_epoch_and_play_the_same_again() {
    let schedules = std::env::var("UNDERTONE_SCHEDULES").ok().and_then(|n| n.parse().ok()).unwrap_or(200);
    let (started, requests) = (Instant::now(), 60);
    let (mut told, mut given_back) = (0, 0);
    for seed in 0..schedules {
        let all = play(&mut anew(seed), seed, requests);
        told += all.0.len();
        given_back += all.1;
        if seed % 10 == 0 {
            assert!(all == play(&mut anew(seed), seed, requests), "seed {seed} plays otherwise");
        }
    }
    let took = started.elapsed();
    let rate = f64::from(requests) * 1.1 * f64::from(u32::try_from(schedules).unwrap()) / took.as_secs_f64();
    println!("{schedules} schedules of {requests} requests in {took:?}, {rate:.0} requests a second");
    println!("{told} messages, {given_back} epochs given back");
    assert!(told > usize::try_from(schedules).unwrap() * 20 && given_back >= schedules / 10);
}

/// What is simulated is what is shipped: over SQLite the same schedules are answered with the same messages.
#[test]
fn rly_6_a_house_over_sqlite_answers_as_one_in_memory() {
    let folder = undertone_testkit::Folder::new("delivery-house").unwrap();
    let mut given_back = 0;
    for seed in 0..6 {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build().unwrap();
        let store = runtime.block_on(Sqlite::open(&folder.join(&format!("{seed}.db")))).unwrap();
        let key = SigningKey::generate(&mut SeededRng::new(1));
        let mut shipped = House::over(store, runtime, key, &Limits::default(), seed);
        let (over_sqlite, in_memory) = (play(&mut shipped, seed, 60), play(&mut anew(seed), seed, 60));
        assert!(over_sqlite == in_memory, "seed {seed}");
        given_back += in_memory.1;
    }
    assert!(given_back > 0);
}
