//! Whatever members of both kinds do in whatever order, they stay in one epoch with one key.
//!
//! Four are in at most, and leaves 0 and 1 never empty at once: in other trees ts-mls 1.6.4 goes astray (see `faults`).

use rand_core::Rng;
use serde_json::json;
use undertone_groups::{Change, Group, OpenError, Suite};
use undertone_keys::testing::SeededRng;

use crate::peer::{Peer, agree, hex, list, number};
use crate::world::{ID, List, Person, terms};
use crate::{plain, talk};

const STEPS: usize = 40;

/// Three of each kind, and which of theirs are in. Ours are where their stores say so.
struct Room {
    suite: Suite,
    ours: Vec<Person>,
    theirs: Vec<Peer>,
    inside: [bool; 3],
    list: List,
    rng: SeededRng,
}

/// One of them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Who {
    Ours(usize),
    Theirs(usize),
}

impl Room {
    fn new(suite: Suite, seed: u64) -> Self {
        let person = |(name, seed): (&&str, u64)| Person::new(name, seed);
        let mut ours: Vec<Person> = ["ada", "bob", "cai"].iter().zip(1..).map(person).collect();
        let peer = |(name, seed): (&&str, u64)| Peer::new(name, seed, suite);
        let theirs: Vec<Peer> = ["tim", "tom", "tea"].iter().zip(11..).map(peer).collect();
        let list = list(&ours.iter().collect::<Vec<_>>(), &theirs.iter().collect::<Vec<_>>());
        ours[0].create(&terms(suite));
        Self { suite, ours, theirs, inside: [false; 3], list, rng: SeededRng::new(seed) }
    }

    fn is_in(&self, who: Who) -> bool {
        match who {
            Who::Ours(i) => Group::open(&self.ours[i].store, ID).is_ok(),
            Who::Theirs(i) => self.inside[i],
        }
    }

    fn all(&self, inside: bool) -> Vec<Who> {
        let all = (0..3).map(Who::Ours).chain((0..3).map(Who::Theirs));
        all.filter(|who| self.is_in(*who) == inside).collect()
    }

    fn draw(&mut self, of: &[Who]) -> Who {
        of[self.rng.next_u32() as usize % of.len()]
    }

    fn index(&mut self, who: Who) -> u32 {
        match who {
            Who::Ours(i) => self.ours[i].group().own_index(),
            Who::Theirs(i) => self.theirs[i].index(),
        }
    }

    /// Everybody but `by` follows. Whoever of theirs is removed may not see that it is so, when its place is taken at once (see `faults`).
    fn spread(&mut self, by: Who, removed: Option<Who>, commit: &[u8]) {
        for who in self.all(true) {
            match who {
                _ if who == by => (),
                Who::Ours(i) => self.ours[i].follow(commit, &self.list),
                Who::Theirs(i) if removed == Some(who) => {
                    let said = self.theirs[i].ask("receive", json!({"message": hex(commit)}));
                    assert!(said.map_or(true, |said| said["active"] == false));
                    self.inside[i] = false;
                }
                Who::Theirs(i) => assert!(self.theirs[i].follow(commit)),
            }
        }
        if let Some(Who::Ours(i)) = removed {
            assert_eq!(Group::open(&self.ours[i].store, ID).unwrap_err(), OpenError::Unknown);
        }
    }

    /// A commit that adds and removes one of any kind at most.
    fn commit(&mut self, by: Who, add: Option<Who>, remove: Option<Who>) {
        let index: Vec<u32> = remove.map(|who| self.index(who)).into_iter().collect();
        let upload = match by {
            Who::Ours(i) => {
                let add = match add {
                    Some(Who::Ours(other)) => vec![self.ours[other].package(self.suite)],
                    Some(Who::Theirs(other)) => vec![self.fresh(other).package()],
                    None => Vec::new(),
                };
                self.ours[i].commit(Change { add, remove: index, ..Change::default() }, &self.list)
            }
            Who::Theirs(i) => {
                let add = match add {
                    Some(Who::Ours(other)) => {
                        vec![hex(&plain(&self.ours[other].package_bytes(self.suite), self.suite))]
                    }
                    Some(Who::Theirs(other)) => vec![hex(&self.fresh(other).package_message())],
                    None => Vec::new(),
                };
                self.theirs[i].commit(json!({"add": add, "remove": index}))
            }
        };
        self.spread(by, remove, &upload.commit);
        match by {
            Who::Ours(i) => self.ours[i].accepted(),
            Who::Theirs(i) => self.theirs[i].accepted(),
        }
        match add {
            Some(Who::Ours(i)) => self.ours[i].join(&terms(self.suite), &upload, &self.list),
            Some(Who::Theirs(i)) => {
                self.theirs[i].join(&upload);
                self.inside[i] = true;
            }
            None => (),
        }
    }

    /// Somebody joins by an external commit, from what a member gives out.
    fn join(&mut self, who: Who, from: Who) {
        let public = match from {
            Who::Ours(i) => self.ours[i].public(),
            Who::Theirs(i) => self.theirs[i].public(),
        };
        match who {
            Who::Ours(i) => {
                let (info, tree) = public;
                let joined = self.ours[i].start_external(&terms(self.suite), &info, &tree, false, &self.list);
                self.spread(who, None, &joined.commit);
                self.ours[i].external_accepted();
            }
            Who::Theirs(i) => {
                let credential = self.fresh(i).credential();
                let joined = self.theirs[i].start_external(&public, &credential, false);
                self.spread(who, None, &joined);
                self.theirs[i].accepted();
                self.inside[i] = true;
            }
        }
    }

    /// Each join has a key of its own.
    fn fresh(&mut self, i: usize) -> &mut Peer {
        let suite = number(self.suite);
        self.theirs[i].draw(suite, false).unwrap();
        &mut self.theirs[i]
    }

    fn step(&mut self) {
        let (inside, outside) = (self.all(true), self.all(false));
        let by = self.draw(&inside);
        let others: Vec<Who> = inside.iter().copied().filter(|who| *who != by).collect();
        match self.rng.next_u32() % 8 {
            0 | 1 => self.commit(by, None, None),
            2 | 3 if inside.len() < 4 => {
                let add = self.draw(&outside);
                self.commit(by, Some(add), None);
            }
            4 if !others.is_empty() => {
                let remove = self.draw(&others);
                let staying = inside.iter().copied().filter(|who| *who != remove);
                let left: Vec<u32> = staying.map(|who| self.index(who)).collect();
                if left.iter().any(|index| *index < 2) || left.len() < 2 {
                    self.commit(by, None, Some(remove));
                }
            }
            5 if !others.is_empty() => {
                let (add, remove) = (self.draw(&outside), self.draw(&others));
                self.commit(by, Some(add), Some(remove));
            }
            6 if inside.len() < 4 => {
                let who = self.draw(&outside);
                self.join(who, by);
            }
            _ => {
                if let Who::Ours(i) = by {
                    self.ours[i].restart();
                }
            }
        }
    }

    /// All who are in agree, and hear each other.
    fn check(&mut self) {
        let mut theirs: Vec<&mut Peer> =
            self.theirs.iter_mut().zip(self.inside).filter_map(|(peer, inside)| inside.then_some(peer)).collect();
        let mut ours: Vec<&mut Person> =
            self.ours.iter_mut().filter(|person| Group::open(&person.store, ID).is_ok()).collect();
        if !ours.is_empty() {
            agree(&ours.iter().map(|person| &**person).collect::<Vec<_>>(), &mut theirs);
        }
        talk(&mut ours, &mut theirs);
    }
}

#[test]
fn mls_1_independent_mls_peer_converges_whatever_is_done() {
    for (suite, seed) in [(Suite::X25519, 1), (Suite::P256, 2)] {
        let mut room = Room::new(suite, seed);
        for step in 0..STEPS {
            room.step();
            let all: Vec<_> = room.all(true).into_iter().map(|who| (room.index(who), who)).collect();
            println!("suite {suite:?} seed {seed} step {step}: {all:?}");
            room.check();
        }
    }
}
