//! What a server holds in memory: when nothing goes on, and for each person in a call.
//!
//! What a person costs is a difference: what so many more of them make the process grow by. What was there before the
//! first, and what the allocator has already, is in neither.

use std::time::Duration;

use anyhow::Context;
use tokio::task::JoinSet;
use undertone_client::native::sound::Silence;
use undertone_client::native::{Client, Invitee, Online, Sound};
use undertone_client::{Protection, Rights, Terms};
use undertone_testkit::tones::Hum;

use crate::house::{House, is_connected, until};
use crate::load::Load;
use crate::ours;
use crate::process::Served;
use crate::table::Table;

/// Accounts that log in.
const ACCOUNTS: u32 = 2 * PEOPLE;
/// By so many more people a process is to grow. Twice as many come from one address without its being too many.
const PEOPLE: u32 = 50;
/// People in a room.
const ROOM: u32 = 5;
/// What was needed for a moment only is given back by then.
const SETTLE: Duration = Duration::from_secs(2);

/// MiB of a server that nobody uses after [`ACCOUNTS`] logins.
const AIM_IDLE: f64 = 30.0;
/// KiB of a person on the media path alone ...
const AIM_MEDIA: f64 = 40.0;
/// ... and with the WebSocket.
const AIM_PERSON: f64 = 90.0;

/// What a process holds, in KiB, by the kernel's accounting.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Held {
    /// Pages that are there, those it shares among them: its program is that of the process which measures.
    resident: f64,
    /// The same with what is shared divided by how many share it.
    proportional: f64,
    /// Pages that are nobody else's.
    pub(crate) private: f64,
}

impl Held {
    pub(crate) fn by(served: &Served) -> anyhow::Result<Self> {
        Self::of(served.id())
    }

    /// What the process with this number holds.
    pub(crate) fn of(process: u32) -> anyhow::Result<Self> {
        let rollup = std::fs::read_to_string(format!("/proc/{process}/smaps_rollup"))?;
        let field = |wanted: &str| -> anyhow::Result<f64> {
            let fields = rollup.lines().filter_map(|line| line.split_once(':'));
            let field = fields.filter(|(name, _)| *name == wanted).find_map(|(_, rest)| rest.split_whitespace().next());
            Ok(field.with_context(|| format!("the kernel does not say {wanted}"))?.parse()?)
        };
        Ok(Self {
            resident: field("Rss")?,
            proportional: field("Pss")?,
            private: field("Private_Clean")? + field("Private_Dirty")?,
        })
    }

    /// KiB for each of [`PEOPLE`] that came since.
    fn each_since(self, before: Self) -> f64 {
        (self.private - before.private) / f64::from(PEOPLE)
    }
}

/// Rooms of five in which everybody speaks: a few, and so many more that nothing but people can account for the growth.
const SOME: Load = Load { rooms: 20, members: 5, speakers: 5, seconds: 1, instructions: false };
const MANY: Load = Load { rooms: 100, ..SOME };
/// As many silent people, in rooms of five and each in a room of their own.
const TOGETHER: Load = Load { rooms: 20, members: 5, speakers: 0, seconds: 1, instructions: false };
const ALONE: Load = Load { rooms: 100, members: 1, ..TOGETHER };

pub(crate) fn measure(table: &mut Table) -> anyhow::Result<()> {
    for protection in [Protection::Blind, Protection::Hop] {
        let (some, many) = (relay(&SOME, protection)?, relay(&MANY, protection)?);
        let each = grown(some, many, MANY.rooms * MANY.members - SOME.rooms * SOME.members)?;
        let what = format!("memory, {}: a person on the media path", protection.as_str());
        let against = format!("{} and {} rooms of {}, all speaking", SOME.rooms, MANY.rooms, MANY.members);
        table.row(&what, format!("{each:.1} KiB"), &against, Some(AIM_MEDIA), Some(each <= AIM_MEDIA));
    }
    let each =
        grown(relay(&TOGETHER, Protection::Blind)?, relay(&ALONE, Protection::Blind)?, ALONE.rooms - TOGETHER.rooms)?;
    let against = format!("100 people in {} rooms and in {}, nobody speaking", TOGETHER.rooms, ALONE.rooms);
    table.fact("memory, blind: a room", format!("{each:.1} KiB"), &against);
    server(table)
}

/// What a relay alone holds while these people are there.
fn relay(load: &Load, protection: Protection) -> anyhow::Result<Held> {
    Ok(ours::measure_and_look(load, protection, 1, Held::by)?.1)
}

/// KiB of each of so many that were the reason for more.
fn grown(before: Held, after: Held, reasons: usize) -> anyhow::Result<f64> {
    Ok((after.private - before.private) / f64::from(u32::try_from(reasons)?))
}

/// All of a server: idle after many logins, then with people in rooms.
fn server(table: &mut Table) -> anyhow::Result<()> {
    let house = House::open("memory")?;
    let fresh = Held::by(&house.server)?;
    let names: Vec<String> = (0..ACCOUNTS).map(|number| format!("person{number}")).collect();
    let people = house.people(&names)?;
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build()?;
    runtime.block_on(async {
        let mib = |kib: f64| kib / 1024.0;
        let mut idle = |what: String, held: Held, since: &str| {
            let against =
                format!("{since}; {:.1} of it private, {:.1} by share", mib(held.private), mib(held.proportional));
            let (found, met) = (format!("{:.1} MiB", mib(held.resident)), mib(held.resident) <= AIM_IDLE);
            table.row(&what, found, &against, Some(AIM_IDLE), Some(met));
        };
        tokio::time::sleep(SETTLE).await;
        let before = format!("{:.1} before", mib(fresh.resident));
        idle(format!("memory, server: idle after {ACCOUNTS} logins"), Held::by(&house.server)?, &before);
        stop(log_on(&people).await?).await;
        tokio::time::sleep(SETTLE).await;
        idle("memory, server: the same, once all were connected".into(), Held::by(&house.server)?, "and all gone");

        let half = usize::try_from(PEOPLE)?;
        let (mut inside, mut readings) = (Vec::new(), Vec::new());
        for (people, names) in people.chunks(half).zip(names.chunks(half)) {
            let mut online = log_on(people).await?;
            tokio::time::sleep(SETTLE).await;
            let connected = Held::by(&house.server)?;
            gather(&mut online, names).await?;
            inside.extend(online);
            tokio::time::sleep(SETTLE).await;
            readings.push((connected, Held::by(&house.server)?));
        }
        let [(_, some), (connected, twice)] = readings.as_slice() else { anyhow::bail!("too few people") };
        let (signalling, each) = (connected.each_since(*some), twice.each_since(*some));
        let against = format!("{PEOPLE} and {} people in rooms of {ROOM}, one speaking", 2 * PEOPLE);
        table.fact("memory, server: a connected device", format!("{signalling:.1} KiB"), "its WebSocket over TLS");
        let (found, met) = (format!("{each:.1} KiB"), each <= AIM_PERSON);
        table.row("memory, server: a person in a room", found, &against, Some(AIM_PERSON), Some(met));
        stop(inside).await;
        Ok(())
    })
}

async fn log_on(people: &[Client]) -> anyhow::Result<Vec<Online>> {
    let mut online = Vec::with_capacity(people.len());
    for client in people {
        online.push(client.connect().await?);
    }
    Ok(online)
}

/// Everybody stops at the same time: a goodbye takes a moment.
async fn stop(online: Vec<Online>) {
    let mut leaving: JoinSet<()> = online.into_iter().map(Online::stop).collect();
    while leaving.join_next().await.is_some() {}
}

/// Puts them into rooms, one after the other: the first of each room has made it and speaks, the others listen.
async fn gather(online: &mut [Online], names: &[String]) -> anyhow::Result<()> {
    let room = usize::try_from(ROOM)?;
    for (online, names) in online.chunks_mut(room).zip(names.chunks(room)) {
        let Some((speaker, listeners)) = online.split_first_mut() else { continue };
        let rights = Rights { speak: false, moderate: false };
        let invited: Vec<Invitee> = names.iter().skip(1).map(|name| Invitee { name: name.clone(), rights }).collect();
        let access = speaker.rooms().create("room", Terms::room(Protection::Blind), &invited).await?;
        let id = access.list().room.to_string();
        speaker.join_room(&id, Sound::new(Hum::new(0), Silence)).await?;
        until(speaker, "the speaker", is_connected).await?;
        for listener in listeners {
            listener.join_room(&id, Sound::silent()).await?;
            until(listener, "a listener", is_connected).await?;
        }
    }
    Ok(())
}
