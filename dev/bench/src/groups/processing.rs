//! What a commit costs who makes it and who follows it: our wall beside openmls alone, in the same tree, with the same commits.

use std::time::Duration;

use anyhow::Context as _;
use openmls_traits::OpenMlsProvider;
use undertone_client::native::measure::Times;
use undertone_groups::Change;

use super::machine;
use super::roster::Roster;
use super::tree::{Made, Member, Populated};
use crate::table::Table;

/// Commits by each of the two who commit.
const UPDATES: usize = 12;
/// Removals at most, by the two in turn.
const REMOVALS: usize = 8;
/// What the wall may cost: so many times openmls alone.
const AIM: f64 = 1.5;

/// A commit that was made and taken, in the order of epochs.
pub(super) struct Committed {
    /// Whose, by their place in the roster.
    pub(super) by: usize,
    /// The epoch that it ends.
    pub(super) epoch: u64,
    pub(super) made: Made,
}

/// How long one thing took, time after time: ours, and openmls alone.
#[derive(Default)]
pub(super) struct Both {
    ours: Vec<Duration>,
    raw: Vec<Duration>,
}

impl Both {
    pub(super) fn add(&mut self, ours: bool, taken: Duration) {
        if ours { self.ours.push(taken) } else { self.raw.push(taken) }
    }

    /// A row with the ratio; the medians, of which a busy moment changes nothing.
    pub(super) fn row(self, table: &mut Table, what: &str) -> Option<f64> {
        if self.ours.is_empty() || self.raw.is_empty() {
            return None;
        }
        let (ours, raw) = (Times::new(self.ours).ms(50), Times::new(self.raw).ms(50));
        table.ratio(what, ours, raw, "ms", "openmls alone", Some(AIM));
        Some(ours)
    }
}

/// What was measured of one group.
pub(super) struct Processed {
    /// All updates, for whoever delivers them.
    pub(super) updates: Vec<Committed>,
    /// Milliseconds that a member of ours takes to follow an update.
    pub(super) follow: f64,
    /// Bytes of a removal.
    pub(super) removal: usize,
}

/// Who commits: the last two, of whom one is ours.
fn committers<P>(group: &Populated<P>) -> Vec<usize> {
    let last = group.members.len().saturating_sub(2);
    group.members.iter().skip(last).map(|(place, _)| *place).collect()
}

/// One commit by `by`, taken by all who are measured.
fn commit<P: OpenMlsProvider>(
    group: &mut Populated<P>,
    roster: &Roster,
    by: usize,
    remove: &[u32],
    [makes, follows]: [&mut Both; 2],
) -> anyhow::Result<Committed> {
    let (_, maker) = group.members.iter_mut().find(|(place, _)| *place == by).context("no such member")?;
    let (epoch, (made, mut taken)) = match maker {
        Member::Ours(ours) => {
            let change = Change { remove: remove.to_vec(), ..Change::default() };
            (ours.epoch(), ours.commit(roster, change)?)
        }
        Member::Raw(raw) => (raw.epoch(), raw.commit(remove)?),
    };
    taken += match maker {
        Member::Ours(ours) => ours.accepted()?,
        Member::Raw(raw) => raw.accepted()?,
    };
    makes.add(maker.is_ours(), taken);
    for (_, other) in group.members.iter_mut().filter(|(place, _)| *place != by) {
        let taken = other.follow(roster, &made.commit)?;
        follows.add(other.is_ours(), taken);
    }
    group.public = made.public.clone();
    Ok(Committed { by, epoch, made })
}

/// Rows of what one group costs its members.
pub(super) fn measure<P: OpenMlsProvider>(
    table: &mut Table,
    roster: &Roster,
    group: &mut Populated<P>,
) -> anyhow::Result<Processed> {
    let name = format!("groups, {}, {}", group.suite.as_str(), group.size);
    let (mut makes, mut follows, mut updates) = (Both::default(), Both::default(), Vec::new());
    // The first leaf commits in a group of two alone: there its own commits are not for the machine beside it.
    let machine = group.members.iter().find_map(|(place, member)| match member {
        Member::Ours(ours) if group.size > 2 => Some((*place, ours.fork())),
        _ => None,
    });
    // The first of each is not counted: caches are cold.
    let by = committers(group);
    for by in &by {
        let cold = [&mut Both::default(), &mut Both::default()];
        updates.push(commit(group, roster, *by, &[], cold)?);
    }
    for _ in 0..UPDATES {
        for by in &by {
            updates.push(commit(group, roster, *by, &[], [&mut makes, &mut follows])?);
        }
    }
    let raw = Times::new(follows.raw.clone()).ms(50);
    let follow = follows.row(table, &format!("{name}: following an update")).context("nobody followed")?;
    if let Some((place, store)) = machine {
        let taken = machine::follow(roster, roster.person(place)?, (group.id, group.terms), store?, &updates)?;
        let taken = Times::new(taken).ms(50);
        table.ratio(&format!("{name}: the same, the whole machine"), taken, raw, "ms", "openmls alone", Some(AIM));
    }
    makes.row(table, &format!("{name}: making one, and taking it"));
    let mut loads = Vec::new();
    for (_, member) in &group.members {
        if let Member::Ours(ours) = member {
            for _ in 0..UPDATES {
                loads.push(ours.load()?);
            }
        }
    }
    let found = format!("{:.2} ms", Times::new(loads).ms(50));
    table.fact(&format!("{name}: loading the group from the disk"), found, "once for each start");

    let (mut makes, mut follows, mut removal) = (Both::default(), Both::default(), 0);
    let crowd = 2..u32::try_from(group.size.saturating_sub(2))?;
    let every = crowd.len().div_ceil(REMOVALS).max(2);
    for (leaf, by) in crowd.step_by(every).zip(by.iter().cycle()) {
        let made = commit(group, roster, *by, &[leaf], [&mut makes, &mut follows])?.made;
        removal = removal.max(made.commit.len());
    }
    follows.row(table, &format!("{name}: following a removal"));
    makes.row(table, &format!("{name}: making one, and taking it"));
    Ok(Processed { updates, follow, removal })
}
