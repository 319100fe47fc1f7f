//! The keys of blind rooms: how fast a change of key is everywhere, what is lost by it, how fast a lost key is back, and what
//! handing keys out costs.
//!
//! ```text
//! a server as a process of its own <-- WebSocket and QUIC --> a crowd: shipped engines, a lean shell (member.rs)
//!     one leaves (leaves.rs), a key is lost behind a proxy that is far away (recovery.rs)
//! shipped engines and the shipped relay core in virtual time (world.rs)
//!     letters and bytes for each change (traffic.rs), and their picture (plot.rs)
//! ```
//! Two hundred whole native clients, each with its sound and its hundred and ninety-nine look-ups, would measure this machine and
//! not the keys. What is left out of a member is sound, the home, and looking others up; its engine, its papers, its letters and its
//! connections are those of any client.

pub(crate) mod circle;
mod crowd;
pub(crate) mod invented;
mod leaves;
mod letter;
pub(crate) mod link;
mod member;
mod notes;
pub(crate) mod people;
mod plot;
mod recovery;
pub(crate) mod traffic;
pub(crate) mod world;

use std::path::PathBuf;
use std::sync::Arc;

use self::circle::{Circle, names};
use self::crowd::Crowd;
use self::letter::Letter;
use crate::house::House;
use crate::table::Table;

/// Everything about keys: this many leaves of a room, at each of these sizes.
pub(crate) fn measure(table: &mut Table, sizes: &[usize], leaves: usize) -> anyhow::Result<()> {
    let mut sizes: Vec<usize> = sizes.iter().copied().filter(|size| *size >= 3).collect();
    sizes.sort_unstable();
    sizes.dedup();
    let house = House::open("keys")?;
    let most = sizes.last().copied().unwrap_or_default().max(recovery::PEOPLE);
    let names = names(most);
    let clients = house.newcomers(&names)?;
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build()?;
    runtime.block_on(async {
        let letter = Letter::measure()?;
        let circle = Arc::new(Circle::new(&house, &names, clients).await?);
        let mut crowd = Crowd::new(&circle, house.server.address)?;
        for size in sizes {
            println!("keys: a room of {size}, {leaves} leaves ...");
            crowd.grow(size, None).await?;
            leaves::measure(table, &house, &crowd, letter, leaves).await?;
        }
        crowd.disperse().await;
        println!("keys: lost keys, over three paths ...");
        recovery::measure(table, &house, &circle).await?;
        println!("keys: letters and bytes, in virtual time ...");
        traffic::measure(table).await
    })
}

/// What a change of key costs in rooms of these sizes, as a table in Markdown; the picture goes to `picture`.
pub(crate) fn traffic(sizes: &[usize], picture: Option<&PathBuf>) -> anyhow::Result<()> {
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build()?;
    runtime.block_on(traffic::tell(sizes, picture))
}
