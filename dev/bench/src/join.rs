//! From wanting to be in a room to hearing somebody there.

use std::time::{Duration, Instant};

use undertone_client::native::measure::Times;
use undertone_client::native::sound::Silence;
use undertone_client::native::{Invitee, Online, Sound};
use undertone_client::{Protection, Rights, Terms};
use undertone_testkit::tones::Hum;

use crate::house::{House, hears, is_connected, is_over, until};
use crate::table::Table;

const REPEATS: usize = 40;
/// Milliseconds.
const AIM: f64 = 250.0;
/// Between two joins: the keys that a departure makes new are in use by then, and no budget of the account runs dry.
const PAUSE: Duration = Duration::from_millis(500);

/// Round trips to the server, one after the other, until the first frame opens, where the room is named by its id and its
/// list is known. Each request over HTTP has a connection of its own:
///
/// * 3: the room's list has no newer version (TCP, TLS, `GET /v1/rooms/ID/access`)
/// * 3: a grant (TCP, TLS, `POST /v1/rooms/ID/enter`)
/// * 1: the QUIC handshake; one more with a Retry, for the ninth connection of an address and those after it
/// * 1: the signed join and its answer, on the control stream
/// * 3: the devices of whoever is in (TCP, TLS, `GET /v1/users/NAME/devices`); they look us up in the same time
/// * 1: half of it to here, for the next frame, which may have up to 20 ms to wait for
const ROUND_TRIPS: u32 = 12;
/// In a blind room the key comes before that frame: from its holder to the server and on to here.
const ROUND_TRIPS_BLIND: u32 = ROUND_TRIPS + 1;
/// What a blind room waits besides, on purpose, however near the server is: so long after its key came, it is sealed under
/// (`APPLY_JOIN`, crates/call/src/room/keys.rs).
const WAITS_BLIND: Duration = Duration::from_millis(150);

pub(crate) fn measure(table: &mut Table) -> anyhow::Result<()> {
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build()?;
    let house = House::open("join")?;
    for protection in [Protection::Blind, Protection::Hop] {
        let times = runtime.block_on(joins(&house, protection))?;
        let against = match protection {
            Protection::Blind => format!("{ROUND_TRIPS_BLIND} round trips, {} ms waited", WAITS_BLIND.as_millis()),
            Protection::Hop | Protection::Echo => format!("{ROUND_TRIPS} round trips"),
        };
        let what = format!("join, {}: until the first frame opens", protection.as_str());
        table.row(&what, times.to_string(), &against, Some(AIM), Some(times.ms(95) <= AIM));
    }
    Ok(())
}

/// Somebody speaks in a room, somebody else comes and goes.
async fn joins(house: &House, protection: Protection) -> anyhow::Result<Times> {
    // Others for each room: what an account may ask for in a minute is bounded.
    let [speaker, guest] = ["speaker", "guest"].map(|who| format!("{who}-{}", protection.as_str()));
    let mut inside = house.register(&speaker).await?.connect().await?;
    let mut outside = house.register(&guest).await?.connect().await?;
    let rights = Rights { speak: true, moderate: false };
    let access = inside.rooms().create("room", Terms::room(protection), &[Invitee { name: guest, rights }]).await?;
    let room = access.list().room.to_string();
    inside.join_room(&room, Sound::new(Hum::new(0), Silence)).await?;
    until(&mut inside, "somebody speaks", is_connected).await?;
    // Nothing is measured of the first time: there the list is new, and so is its signer.
    join(&mut outside, &room).await?;
    let mut times = Vec::with_capacity(REPEATS);
    for _ in 0..REPEATS {
        tokio::time::sleep(PAUSE).await;
        times.push(join(&mut outside, &room).await?);
    }
    outside.stop().await;
    inside.stop().await;
    Ok(Times::new(times))
}

/// Comes into a room, hears somebody, and leaves; how long it was until the first frame opened.
pub(crate) async fn join(outside: &mut Online, room: &str) -> anyhow::Result<Duration> {
    let start = Instant::now();
    outside.join_room(room, Sound::silent()).await?;
    let heard = until(outside, "the join", hears).await?;
    outside.hang_up().await?;
    until(outside, "the leaving", is_over).await?;
    Ok(heard.duration_since(start))
}
