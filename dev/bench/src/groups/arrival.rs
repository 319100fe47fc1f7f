//! From wanting to be in a room to the first frame that opens, with whole clients where they are few; and what machines do of that in
//! larger rooms.

use std::time::Duration;

use undertone_client::native::measure::Times;
use undertone_client::native::sound::Silence;
use undertone_client::native::{Invitee, Sound};
use undertone_client::{GroupSuite, Rights, Terms};
use undertone_groups::member::policy::MemberPolicy;
use undertone_testkit::tones::Hum;

use super::joining::Joined;
use crate::house::{House, is_connected, until};
use crate::join::join;
use crate::table::Table;

/// Guests, and how often each comes: of one device a key package is handed out to one asker five times in ten minutes.
const GUESTS: usize = 5;
const TIMES: usize = 4;
/// Between two joins: whoever left is removed by then.
const PAUSE: Duration = Duration::from_millis(1_500);

/// Whole clients: somebody speaks in a room, others come and go one after the other.
pub(super) async fn whole(table: &mut Table, house: &House) -> anyhow::Result<()> {
    for suite in GroupSuite::ALL {
        let mut inside = house.register(&format!("speaker-{}", suite.as_str())).await?.connect().await?;
        let (mut guests, mut invited) = (Vec::new(), Vec::new());
        for number in 0..GUESTS {
            let name = format!("guest{number}-{}", suite.as_str());
            guests.push(house.register(&name).await?.connect().await?);
            invited.push(Invitee { name, rights: Rights { speak: true, moderate: false } });
        }
        let access = inside.rooms().create("room", Terms::mls(suite), &invited).await?;
        let room = access.list().room.to_string();
        inside.join_room(&room, Sound::new(Hum::new(0), Silence)).await?;
        until(&mut inside, "somebody speaks", is_connected).await?;
        let mut times = Vec::new();
        for guest in &mut guests {
            // Nothing is measured of the first time: there the list is new, and so is its signer.
            for turn in 0..TIMES {
                let taken = join(guest, &room).await?;
                times.extend((turn > 0).then_some(taken));
                tokio::time::sleep(PAUSE).await;
            }
        }
        for guest in guests {
            guest.stop().await;
        }
        inside.stop().await;
        let policy = MemberPolicy::DEFAULT;
        let waits = (policy.coalesce + policy.apply).as_millis();
        let against = format!("of which {waits} ms are waited on purpose: others who come, and that all have the key");
        let what = format!("groups, {}, 2: a join until the first frame opens", suite.as_str());
        table.fact(&what, Times::new(times).to_string(), &against);
    }
    Ok(())
}

/// What machines do of a join, and what is waited for: `delivery` is what the last of a group waits for a commit.
pub(super) fn sum(table: &mut Table, name: &str, size: usize, joined: &Joined, delivery: f64) {
    let policy = MemberPolicy::DEFAULT;
    let Joined { adding, welcomed, by_self } = *joined;
    let waits = (policy.coalesce_with(size) + policy.apply).as_secs_f64() * 1_000.0;
    let work = adding + welcomed + 2.0 * delivery;
    let against =
        format!("{adding:.1} to add, {welcomed:.1} to be let in, 2 x {delivery:.1} delivery; {waits:.0} waited");
    table.fact(&format!("{name}: welcomed, until a frame opens"), format!("{:.0} ms", work + waits), &against);
    let waits = policy.apply.as_secs_f64() * 1_000.0;
    let against =
        format!("{by_self:.1} to come in, 2 x {delivery:.1} delivery; {waits:.0} waited, and no Welcome before");
    let work = by_self + 2.0 * delivery;
    table.fact(&format!("{name}: by oneself, until a frame opens"), format!("{:.0} ms", work + waits), &against);
}
