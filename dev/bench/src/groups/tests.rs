//! That what is measured is what it is said to be.

use openmls_rust_crypto::OpenMlsRustCrypto;
use undertone_groups::{GroupId, Suite};
use undertone_protocol::delivery::Tree;

use super::roster::Roster;
use super::tree::Populated;
use super::{joining, processing};
use crate::table::Table;

fn group(roster: &Roster, suite: Suite, size: usize) -> Populated<OpenMlsRustCrypto> {
    Populated::new(roster, (suite, GroupId::from_bytes([1; 16])), size, &|| Ok(OpenMlsRustCrypto::default())).unwrap()
}

#[test]
fn every_node_of_a_populated_tree_is_filled() {
    let roster = Roster::new(9).unwrap();
    for size in [2, 3, 9] {
        let tree = Tree::decode(&group(&roster, Suite::X25519, size).public.tree).unwrap();
        let blank = tree.nodes().iter().filter(|node| node.is_none()).count();
        assert_eq!((tree.nodes().len(), blank), (2 * size - 1, 0));
    }
}

/// Both kinds of member take all commits of both, and come in both ways.
#[test]
fn ours_and_openmls_alone_are_in_one_group() {
    let roster = Roster::new(8 + joining::NEWCOMERS).unwrap();
    for suite in [Suite::P256, Suite::X25519] {
        let (mut table, mut group) = (Table::default(), group(&roster, suite, 8));
        let processed = processing::measure(&mut table, &roster, &mut group).unwrap();
        let epochs: Vec<u64> = processed.updates.iter().map(|update| update.epoch).collect();
        assert!(epochs.windows(2).all(|two| two[0] + 1 == two[1]) && epochs[0] == 7, "{epochs:?}");
        let new = || Ok(OpenMlsRustCrypto::default());
        joining::measure(&mut table, &roster, &mut group, &processed, &new).unwrap();
    }
}
