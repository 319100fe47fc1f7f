//! Whatever two to six members do, and whoever's commit loses: all end with the same keys.
#![allow(clippy::unwrap_used, clippy::panic, clippy::indexing_slicing, reason = "a test may fail")]

mod world;

use proptest::prelude::*;
use undertone_groups::{Change, Group, Suite};
use world::{ID, List, Person, agree, terms};

const NAMES: [&str; 6] = ["ada", "bob", "cai", "dan", "eve", "fay"];

#[derive(Clone, Debug)]
enum Act {
    Update,
    Add,
    Remove(prop::sample::Index),
    Join,
    Again,
    Restart,
    Say,
}

fn act() -> impl Strategy<Value = Act> {
    prop_oneof![
        2 => Just(Act::Update),
        3 => Just(Act::Add),
        2 => any::<prop::sample::Index>().prop_map(Act::Remove),
        2 => Just(Act::Join),
        1 => Just(Act::Again),
        1 => Just(Act::Restart),
        2 => Just(Act::Say),
    ]
}

fn inside(people: &[Person]) -> Vec<usize> {
    (0..people.len()).filter(|i| Group::open(&people[*i].store, ID).is_ok()).collect()
}

/// Everybody but `by` follows; the pending commits of the losers go with it.
fn spread(people: &mut [Person], by: usize, commit: &[u8], list: &List) {
    for i in inside(people) {
        if i != by {
            people[i].follow(commit, list);
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 24, ..ProptestConfig::default() })]

    #[test]
    fn rly_6_random_operations_converge(
        acts in proptest::collection::vec((act(), any::<prop::sample::Index>(), any::<Option<prop::sample::Index>>()), 1..14),
        suite in prop_oneof![4 => Just(Suite::X25519), 1 => Just(Suite::P256), 1 => Just(Suite::XWing)],
    ) {
        let mut people: Vec<Person> =
            NAMES.iter().zip(1..).map(|(name, seed)| Person::new(name, seed)).collect();
        let list = List::of(&people.iter().collect::<Vec<_>>());
        people[0].create(&terms(suite));
        for (act, who, loser) in acts {
            let members = inside(&people);
            let by = members[who.index(members.len())];
            let out = (0..people.len()).find(|i| !members.contains(i));
            // Somebody else has a commit under way, which will lose.
            let loser = loser.map(|index| members[index.index(members.len())]).filter(|loser| *loser != by);
            let committing = !matches!(act, Act::Restart | Act::Say);
            if let Some(loser) = loser.filter(|_| committing) {
                people[loser].commit(Change::update(), &list);
            }
            match act {
                Act::Update => {
                    let upload = people[by].commit(Change::update(), &list);
                    spread(&mut people, by, &upload.commit, &list);
                    people[by].accepted();
                }
                Act::Add => if let Some(out) = out {
                    let package = people[out].package(suite);
                    let upload = people[by].commit(Change { add: vec![package], ..Change::default() }, &list);
                    spread(&mut people, by, &upload.commit, &list);
                    people[by].accepted();
                    people[out].join(&terms(suite), &upload, &list);
                } else if let Some(loser) = loser {
                    withdraw(&mut people[loser]);
                },
                Act::Remove(index) => {
                    let gone = members[index.index(members.len())];
                    if gone == by {
                        if let Some(loser) = loser {
                            withdraw(&mut people[loser]);
                        }
                    } else {
                        let leaf = people[gone].group().own_index();
                        let change = Change { remove: vec![leaf], ..Change::default() };
                        let upload = people[by].commit(change, &list);
                        spread(&mut people, by, &upload.commit, &list);
                        people[by].accepted();
                    }
                }
                Act::Join => if let Some(out) = out {
                    let (info, tree) = people[by].public();
                    let upload = people[out].start_external(&terms(suite), &info, &tree, false, &list);
                    spread(&mut people, out, &upload.commit, &list);
                    people[out].external_accepted();
                } else if let Some(loser) = loser {
                    withdraw(&mut people[loser]);
                },
                Act::Again => {
                    let (info, tree) = people[by].public();
                    let upload = people[by].start_external(&terms(suite), &info, &tree, true, &list);
                    spread(&mut people, by, &upload.commit, &list);
                    people[by].external_accepted();
                }
                Act::Restart => people[by].restart(),
                Act::Say => {
                    let sealed = people[by].seal(b"said");
                    for i in members.into_iter().filter(|i| *i != by) {
                        prop_assert_eq!(people[i].open(&sealed).1, b"said");
                    }
                }
            }
            let members: Vec<&Person> = inside(&people).into_iter().map(|i| &people[i]).collect();
            agree(&members);
        }
    }
}

fn withdraw(person: &mut Person) {
    let step = Group::open(&person.store, ID).unwrap().withdrawn(&mut person.rng).unwrap();
    person.keep(step);
}
