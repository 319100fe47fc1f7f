//! The key servers over which a room's quorum secret goes round, as devices see them: they take a while, and fail now and then.

use std::collections::BTreeMap;

use undertone_call::quorum::{Exchange, Exchanged, NoQuorum, QuorumNodes};
use undertone_client::engine::Input;
use undertone_keys::Secret;
use undertone_keys::quorum::QuorumSecret;

use super::link::{below, chance};
use super::world::{Arrival, GIVE_UP, World};

/// What was left and neither taken back nor forgotten.
#[derive(Default)]
pub(crate) struct Swarm {
    left: BTreeMap<Vec<u8>, [u8; 32]>,
    number: u64,
    is_down: bool,
    /// What this one leaves is not what it should be.
    liar: Option<usize>,
}

impl World {
    /// What this device says of the swarm.
    pub(crate) fn offer(&self, device: usize) -> Option<Vec<u8>> {
        self.schedule.quorum.then(|| device.to_be_bytes().to_vec())
    }

    /// Does what a device wants done with the swarm.
    pub(crate) fn exchange(&mut self, device: usize, request: u64, exchange: Exchange) {
        let nodes = QuorumNodes { threshold: 17, nodes: 25, good: 25 };
        let cut = self.device(device).server.is_cut(self.now);
        let fails = cut || self.swarm.is_down || chance(&mut self.rng, 3);
        let exchanged = match exchange {
            _ if fails => Err(NoQuorum),
            Exchange::Share { secret, .. } => {
                self.swarm.number += 1;
                let set = self.swarm.number.to_be_bytes().to_vec();
                let mut left = *secret.expose();
                left[0] ^= u8::from(self.swarm.liar == Some(device));
                self.swarm.left.insert(set.clone(), left);
                self.counts.groups.shared += 1;
                Ok(Exchanged { secret, set, nodes })
            }
            Exchange::Take { set } => {
                let secret = self.swarm.left.get(&set).and_then(|secret| Secret::from_slice(secret));
                let secret = secret.map(QuorumSecret::new).ok_or(NoQuorum);
                secret.map(|secret| Exchanged { secret, set: Vec::new(), nodes })
            }
            Exchange::Give { .. } => Err(NoQuorum),
        };
        let wait = if cut { 2 * GIVE_UP } else { 20_000 + below(&mut self.rng, 300_000) };
        let run = self.device(device).run;
        self.after(wait, Arrival::Answer { device, run, input: Box::new(Input::Exchanged { request, exchanged }) });
    }

    pub(crate) fn take_back(&mut self, set: &[u8]) {
        self.swarm.left.remove(set);
    }
}

#[cfg(test)]
mod tests {
    use undertone_call::Outcome;
    use undertone_client::engine::{Event, Output};

    use super::*;
    use crate::schedule::{Act, Schedule};

    fn world(seed: u64, acts: Vec<(u64, Act)>) -> World {
        let schedule =
            Schedule { acts, end: 20_000, devices: 4, listeners: 0, quorum: true, ..Schedule::grouped(seed) };
        World::new(schedule)
    }

    /// Rules NEG-1, RKX-5: who comes is given the secret by one who is in, over the swarm; nothing is left there, and everybody can say over
    /// how many nodes it came.
    #[test]
    fn rkx_5_quorum_secret_in_call_of_a_room_goes_round() {
        let acts = (0..4).map(|device| (100 + 900 * device, Act::Enter(usize::try_from(device).unwrap())));
        let mut world = world(1, acts.collect());
        world.play().unwrap();
        let (mut given, mut drew) = (0, 0);
        for device in 0..4 {
            let group = world.device(device).engine.explain_room(world.now).unwrap().group.unwrap();
            let quorum = group.quorum.unwrap();
            assert!(group.members.len() == 4 && !quorum.lacks, "{quorum:?}");
            assert!(quorum.nodes.is_some_and(|nodes| (nodes.threshold, nodes.nodes) == (17, 25)), "{quorum:?}");
            (given, drew) = (given + quorum.given, drew + u32::from(quorum.by.is_none()));
        }
        assert!(given >= 3 && drew == 1, "{given} were given it, {drew} drew one");
        assert!(world.swarm.left.is_empty(), "shares were not taken back");
    }

    /// Rule NEG-1: whoever is in no swarm does not come into such a room, and is told why.
    #[test]
    fn neg_1_a_room_with_a_quorum_secret_is_not_entered_without_a_swarm() {
        let mut world = world(2, vec![(100, Act::Enter(0))]);
        world.play().unwrap();
        let access = Box::new(world.access.last().cloned().unwrap());
        let now = world.device(1).local(world.now);
        let World { devices, rng, .. } = &mut world;
        let engine = &mut devices.get_mut(1).unwrap().engine;
        engine.handle_input(now, Input::JoinRoom { access, quorum: None }, rng);
        let refused: Vec<Output> = core::iter::from_fn(|| engine.poll_output()).collect();
        let told = |output: &Output| matches!(output, Output::Event(Event::Refused { outcome: Outcome::NoQuorum, .. }));
        assert!(refused.len() == 1 && refused.iter().all(told), "{refused:?}");
    }

    /// Rule RKX-5: a member that gives something else is found out by the group, and another member is asked.
    #[test]
    fn rkx_5_a_member_that_gives_another_secret_is_named_and_followed_by_another() {
        let mut wrong = 0;
        for seed in 0..6 {
            let acts = vec![(100, Act::Enter(0)), (1_500, Act::Enter(1))];
            let mut world = world(seed, acts);
            world.play().unwrap();
            // What the first one leaves from now on is not what it should be.
            world.swarm.liar = Some(0);
            world.act(Act::Enter(2));
            world.schedule.end = world.now.as_millis() + 20_000;
            world.play().unwrap();
            wrong += world.device(2).misled;
            let outcome = world.device(2).outcome;
            let group = world.device(2).engine.explain_room(world.now).and_then(|room| room.group);
            let group = group.unwrap_or_else(|| panic!("seed {seed}: {outcome:?}"));
            assert_eq!(group.members.len(), 3, "seed {seed}");
            assert_eq!(group.quorum.unwrap().by.as_ref(), Some(&world.device(1).address), "seed {seed}");
        }
        assert!(wrong > 0, "the liar was never asked");
    }

    /// Rule RKX-5: where nobody can give it, whoever came leaves, and says why; the others go on.
    #[test]
    fn rkx_5_who_is_never_given_the_secret_leaves_and_says_why() {
        let mut world = world(3, vec![(100, Act::Enter(0)), (1_500, Act::Enter(1))]);
        world.play().unwrap();
        world.swarm.is_down = true;
        let access = Box::new(world.access.last().cloned().unwrap());
        let quorum = world.offer(2);
        world.watch.upset(undertone_keys::Time::from_millis(u64::MAX / 2_000));
        world.input(2, Input::JoinRoom { access, quorum });
        world.schedule.end = world.now.as_millis() + 90_000;
        world.play().unwrap();
        assert_eq!(world.device(2).outcome, Some(Outcome::NoQuorum));
        assert!(world.device(0).joined.is_some() && world.device(1).joined.is_some());
    }
}
