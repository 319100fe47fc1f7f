//! The whole machine of a member, where a commit comes: beside what the group takes, who is in it is worked out anew, the key put into
//! the ring, and what is to be said of the epoch.

use std::time::{Duration, Instant};

use undertone_groups::member::policy::MemberPolicy;
use undertone_groups::member::{Input, Means, Membership, Standpoint};
use undertone_groups::{DeviceRef, GroupId, Store, Terms};
use undertone_keys::Time;

use super::processing::Committed;
use super::roster::Roster;
use crate::keys::people::{Person, rng, wall_time};

/// A device that has been in the group for a while, and follows these commits; how long each took.
pub(super) fn follow(
    roster: &Roster,
    person: &Person,
    (id, terms): (GroupId, Terms),
    mut store: Store,
    updates: &[Committed],
) -> anyhow::Result<Vec<Duration>> {
    let me = DeviceRef { user: person.address.user.clone(), device: person.address.device };
    let mut machine = Membership::new(id, terms, me, MemberPolicy::DEFAULT, &store);
    // No time passes: it would do things of its own.
    let now = Time::from_millis(1_000);
    let mut turn = |machine: &mut Membership, input: Input| {
        let start = Instant::now();
        let means = &mut Means { store: &mut store, identity: &person.identity, roll: roster, wall: wall_time() };
        machine.handle_input(now, input, means, &mut rng());
        while machine.poll_output().is_some() {}
        start.elapsed()
    };
    let mut taken = Vec::with_capacity(updates.len());
    let Some(first) = updates.first().map(|update| update.epoch) else { return Ok(taken) };
    turn(&mut machine, Input::Reachable);
    turn(&mut machine, Input::State { epoch: Some(first), oldest: first, seen: Some(first), born: None });
    for Committed { epoch, made, .. } in updates {
        taken.push(turn(&mut machine, Input::Commit { epoch: *epoch, bytes: made.commit.clone() }));
        let inside = Standpoint::Inside(epoch + 1);
        anyhow::ensure!(machine.standpoint() == inside, "after epoch {epoch}: {:?}", machine.standpoint());
    }
    // The first finds everything cold.
    Ok(taken.split_off(1))
}
