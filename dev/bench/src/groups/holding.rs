//! What a server holds in memory of a group that somebody follows.

use std::time::Duration;

use anyhow::Context as _;
use undertone_keys::AccessToken;

use super::line::Lines;
use super::shelf::Shelved;
use crate::house::House;
use crate::memory::Held;
use crate::table::Table;

/// Copies of a group: as many as a device may follow.
pub(super) const COPIES: u8 = 8;
/// What was needed for a moment only is given back by then.
const SETTLE: Duration = Duration::from_secs(2);

/// One device follows one copy after the other, of which the first is not counted.
pub(super) async fn measure(
    table: &mut Table,
    house: &House,
    tokens: &[AccessToken],
    copies: &[Shelved],
) -> anyhow::Result<()> {
    let (first, others) = copies.split_first().context("no group")?;
    let one = tokens.get(..1).context("no account")?;
    let mut lines = Lines::connect(house.server.address, one, (first.room, first.call), 1).await?;
    tokio::time::sleep(SETTLE).await;
    let before = Held::by(&house.server)?;
    for copy in others {
        lines.follow((copy.room, copy.call), 1).await?;
    }
    tokio::time::sleep(SETTLE).await;
    let grown = Held::by(&house.server)?.private - before.private;
    let each = grown / f64::from(u32::try_from(others.len().max(1))?);
    let by_member = each * 1024.0 / f64::from(u32::try_from(first.size)?);
    let what = format!("groups, {}, {}: a server holds", first.suite.as_str(), first.size);
    let against =
        format!("{by_member:.0} bytes for each who is in, its room's list among them; {} groups", others.len());
    table.fact(&what, format!("{each:.1} KiB"), &against);
    Ok(())
}
