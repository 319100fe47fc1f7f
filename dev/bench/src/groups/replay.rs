//! The same day by openmls alone: the same people come and go in the same commits by the same members, and nobody gives itself new
//! keys for having come.

use std::collections::BTreeMap;

use anyhow::Context as _;
use openmls_rust_crypto::OpenMlsRustCrypto;
use undertone_groups::Suite;

use super::day::{Entry, Why};
use super::raw::Raw;
use super::roster::Roster;

type Member = Raw<OpenMlsRustCrypto>;

/// Bytes of each commit of the day that others would have made as well; none for the others.
pub(super) fn replay(roster: &Roster, suite: Suite, log: &[Entry], first: usize) -> anyhow::Result<Vec<Option<usize>>> {
    let mut members: BTreeMap<usize, Member> = BTreeMap::new();
    let (maker, mut public) = Raw::create(OpenMlsRustCrypto::default(), suite, roster.person(first)?)?;
    members.insert(first, maker);
    let mut bytes = Vec::with_capacity(log.len());
    for entry in log {
        let made = match entry.why {
            Why::Early => {
                bytes.push(None);
                continue;
            }
            Why::BySelf => {
                let new = OpenMlsRustCrypto::default();
                let (raw, made, _) = Raw::join(new, suite, roster.person(entry.by)?, &public)?;
                for other in members.values_mut() {
                    other.follow(&made.commit)?;
                }
                members.insert(entry.by, raw);
                made
            }
            Why::Change | Why::Rotation => {
                let waiting: Vec<_> = entry
                    .added
                    .iter()
                    .map(|place| Ok((*place, Raw::wait(OpenMlsRustCrypto::default(), suite, roster.person(*place)?)?)))
                    .collect::<anyhow::Result<_>>()?;
                let by = members.get(&entry.by).context("who commits is not in")?;
                let leaves: Vec<u32> =
                    entry.removed.iter().filter_map(|place| by.leaf_of(members.get(place)?)).collect();
                for place in &entry.removed {
                    members.remove(place);
                }
                let by = members.get_mut(&entry.by).context("who commits is not in")?;
                let packages = waiting.iter().map(|(_, waiting)| waiting.package.clone()).collect();
                let (made, _) = by.change(&leaves, packages)?;
                by.accepted()?;
                for (_, other) in members.iter_mut().filter(|(place, _)| **place != entry.by) {
                    other.follow(&made.commit)?;
                }
                for (place, waiting) in waiting {
                    let welcome = made.welcome.as_ref().context("no Welcome")?;
                    members.insert(place, waiting.join(welcome, &made.public.tree)?.0);
                }
                made
            }
        };
        bytes.push(Some(made.commit.len()));
        public = made.public;
    }
    Ok(bytes)
}
