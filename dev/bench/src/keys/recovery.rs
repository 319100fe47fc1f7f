//! A key is lost: how long until the first frame opens again, over paths of several lengths.

use std::sync::Arc;
use std::time::Duration;

use anyhow::Context;
use undertone_client::native::measure::Times;
use undertone_testkit::DistantProxy;

use super::circle::{Circle, address_of};
use super::crowd::Crowd;
use super::link::Route;
use super::member::Order;
use super::notes::{Frames, Loss};
use crate::house::House;
use crate::table::Table;

/// Round trips between those who lose a key and the server, which is the whole way to the host's and back but for loopback.
const PATHS: [u64; 3] = [0, 50, 200];
/// Who loses keys, one after the other. More than a quarter of a room at the same time would be answered otherwise (EKR-5).
const VICTIMS: usize = 8;
/// With the host, and somebody who leaves and comes back between two rounds.
pub(super) const PEOPLE: usize = 2 + VICTIMS;
/// Times that each of them does.
const ROUNDS: usize = 3;
/// From one loss to the next: nobody asks again within three seconds of the last time (EKR-2), nor waits with another.
const PAUSE: Duration = Duration::from_millis(900);
/// So long a loss may last before it counts as one for good.
const PATIENCE: Duration = Duration::from_secs(6);
/// Frames are kept so long for a key before it is asked for (EKR-1), in milliseconds.
const KEPT: f64 = 200.0;
/// And so much later than a round trip after that the first frame opens at most.
const AIM: f64 = 50.0;
/// Around a loss frames are counted from so long before it: what was under way on the longest path.
const UNDER_WAY: Duration = Duration::from_millis(250);
/// And until so long after the first that opened.
const AFTER: Duration = Duration::from_millis(300);

pub(super) async fn measure(table: &mut Table, house: &House, circle: &Arc<Circle>) -> anyhow::Result<()> {
    for added in PATHS {
        let server = house.server.address;
        let proxy = DistantProxy::start(server, Duration::from_millis(added)).await?;
        let mut crowd = Crowd::new(circle, server)?;
        // The host speaks, and is as near to the server as can be.
        crowd.grow(1, None).await?;
        let route = Route::new(proxy.address(), address_of(0))?;
        crowd.grow(1 + VICTIMS, Some(&route)).await?;
        crowd.grow(PEOPLE, None).await?;
        crowd.speak(1);
        tokio::time::sleep(PAUSE).await;
        let losses = lose(&crowd).await?;
        report(table, added, &losses);
        crowd.disperse().await;
        // Who has left is gone from the relay before somebody comes by another way.
        tokio::time::sleep(PAUSE).await;
    }
    Ok(())
}

/// Every victim's turn, again and again; each loss, with the frames around it.
async fn lose(crowd: &Crowd) -> anyhow::Result<Vec<(Loss, Frames)>> {
    let mut losses = Vec::with_capacity(VICTIMS * ROUNDS);
    for _ in 0..ROUNDS {
        for place in 1..=VICTIMS {
            let victim = crowd.members.get(place).context("no such member")?;
            let before = victim.notebook.lock().losses.len();
            victim.order(Order::LoseKey);
            let began = std::time::Instant::now();
            let loss = || victim.notebook.lock().losses.get(before).copied();
            while began.elapsed() < PATIENCE && loss().is_none_or(|loss| loss.opened.is_none()) {
                tokio::time::sleep(Duration::from_millis(5)).await;
            }
            tokio::time::sleep(PAUSE.saturating_sub(began.elapsed()).max(AFTER + UNDER_WAY)).await;
            let loss = loss().context("a key that was not lost")?;
            let end = loss.opened.unwrap_or(loss.at + PATIENCE) + AFTER;
            let from = loss.at.checked_sub(UNDER_WAY).unwrap_or(loss.at);
            losses.push((loss, crowd.heard_by(place, from, end)));
        }
        // What an answer did not explain is not asked again before the next statement: a key that is lost twice would be
        // missed until the host is thought silent. So each round has a key of its own.
        let last = crowd.members.last().context("no such member")?;
        last.order(Order::Leave);
        tokio::time::sleep(PAUSE).await;
        crowd.come_back().await?;
        crowd.speak(1);
    }
    Ok(losses)
}

fn report(table: &mut Table, added: u64, losses: &[(Loss, Frames)]) {
    let times = losses.iter().map(|(loss, _)| loss.opened.map_or(PATIENCE, |at| at.saturating_duration_since(loss.at)));
    let times = Times::new(times.collect());
    let trips = Times::new(losses.iter().map(|(loss, _)| loss.round_trip).collect());
    let limit = KEPT + trips.ms(50) + AIM;
    let what = format!("keys: a key is lost, {added} ms added, until a frame opens");
    let found = format!("{times}, most {:.1} ms", times.ms(100));
    let against = format!("{KEPT} ms kept, a round trip of {:.1} ms, and {AIM} ms", trips.ms(50));
    table.row(&what, found, &against, Some(limit.round()), Some(times.ms(95) <= limit));
    let mut missed: Vec<u64> = losses.iter().map(|(_, frames)| frames.unopened).collect();
    missed.sort_unstable();
    let (half, most) = (missed.get(missed.len() / 2).copied(), missed.last().copied());
    let never = losses.iter().filter(|(loss, _)| loss.opened.is_none()).count();
    let astray: u64 = losses.iter().map(|(_, frames)| frames.astray).sum();
    let found = format!("half of them {} or fewer, most {}", half.unwrap_or_default(), most.unwrap_or_default());
    let against = format!("{} losses, {never} for good; 50 frames a second; {astray} lost on the path", losses.len());
    table.fact("the same: frames missed at each", found, &against);
}
