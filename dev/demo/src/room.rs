//! A room of five, in which everything goes wrong that may: somebody comes late, somebody loses their key, whoever came first is
//! killed, and somebody is put out. The relay writes down what it takes all the while. Where the keys come from is shown both
//! ways: all make them together, or one hands them out.

use std::time::{Duration, Instant};

use anyhow::Context;
use serde_json::Value;
use tokio::runtime::Runtime;
use undertone_testkit::ears::{envelope, likeness, repeated, silence};
use undertone_testkit::{DistantProxy, ServerProcess, Terminal, locksmith, speech};

use crate::call::{call_id, claim_closed};
use crate::people::{PATIENCE, Person, all_hear, listen, taken};
use crate::table::Table;

/// In the order in which they come; whoever comes first hands out the keys.
const NAMES: [&str; 5] = ["dave", "ada", "bob", "carol", "erin"];
/// Who has something to say, and with which voice. The others send silence.
const SPEAKERS: [&str; 2] = ["ada", "bob"];
/// Longer than the scene.
const TALK: u32 = 150;
/// Far more than anything here should take.
const SOON: Duration = Duration::from_secs(30);

/// Where the room's keys come from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Keys {
    /// An MLS group: what a room has unless one asks for something else.
    Mls,
    /// A member.
    Host,
}

pub(crate) fn play(keys: Keys) -> anyhow::Result<Table> {
    println!("A server starts; five people register ...");
    let mut server = ServerProcess::start("demo-room")?;
    // What is between carol and the server is cut later on.
    let between = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build()?;
    let proxy = between.block_on(DistantProxy::start(server.address().parse()?, Duration::ZERO))?;
    let terminals: Vec<Terminal> = NAMES
        .iter()
        .map(|name| {
            let address = if *name == "carol" { proxy.address().to_string() } else { server.address() };
            Terminal::registered(server.join(name), address, name)
        })
        .collect::<anyhow::Result<_>>()?;
    let [dave, ada, bob, carol, erin] = terminals.as_slice() else { anyhow::bail!("five are needed") };
    println!("ada makes a room and invites the others ...");
    let mut words = vec!["room", "create", "five"];
    if keys == Keys::Host {
        words.extend(["--keys", "host"]);
    }
    words.extend(NAMES.iter().filter(|name| **name != "ada").flat_map(|name| ["--invite", name]));
    let made = ada.run(&words)?;
    anyhow::ensure!(made.status.success(), "{}", String::from_utf8_lossy(&made.stderr));
    for speaker in SPEAKERS {
        repeated(&speech(speaker), &server.join(&format!("{speaker}.wav")), TALK)?;
    }
    silence(&server.join("quiet.wav"), TALK)?;

    let mut table = Table::new(match keys {
        Keys::Mls => "Scene: a blind room of five, whose keys all make together (MLS)",
        Keys::Host => "Scene: a blind room of five, one of whom hands out its keys",
    });
    let mut people = Vec::new();
    for (name, terminal) in NAMES.into_iter().zip([dave, ada, bob, carol]) {
        let mut person = Person::join(name, terminal, &server, &says(name))?;
        // Before the next one comes, so that dave is the first.
        person.since("epoch")?;
        people.push(person);
    }
    all_hear(&mut people)?;
    let call = people.first().and_then(|dave| dave.process.last("room_entered"));
    let call = call.and_then(|event| event["call"].as_str()).and_then(call_id).context("no call id")?;
    println!("1. dave, ada, bob and carol are in; ada and bob say something else each ...");
    std::thread::sleep(Duration::from_secs(5));
    late(&mut table, &server, &mut people, erin)?;
    println!("   all five listen for ten seconds ...");
    std::thread::sleep(Duration::from_secs(10));
    lost_key(&mut table, keys, &mut people)?;
    match keys {
        Keys::Mls => killed_member(&mut table, &mut people)?,
        Keys::Host => killed_host(&mut table, &mut people)?,
    }
    kicked(&mut table, &server, &mut people, between)?;

    let codes = people.iter_mut().map(Person::leave).collect::<anyhow::Result<Vec<_>>>()?;
    let well = codes.iter().filter(|code| **code == Some(0)).count();
    claim_heard(&mut table, &server)?;
    table.claim("those who are left go by themselves", format!("{well} of {}", codes.len()), well == 3);
    let packets = locksmith::packets(&server.tap())?;
    table.claim("packets the relay took", packets.len(), packets.len() > 900);
    claim_closed(&mut table, &server, &packets, &call)?;
    server.end()?;
    Ok(table)
}

/// Which file somebody says.
fn says(name: &str) -> String {
    format!("{}.wav", if SPEAKERS.contains(&name) { name } else { "quiet" })
}

/// The fifth comes late.
fn late(table: &mut Table, server: &ServerProcess, people: &mut Vec<Person>, erin: &Terminal) -> anyhow::Result<()> {
    let before = taken(server)?;
    let epoch = people.first().and_then(Person::epoch);
    println!("   erin comes late ...");
    let mut erin = Person::join("erin", erin, server, &says("erin"))?;
    let entered = Instant::now();
    erin.hears(&["dave", "ada", "bob", "carol"])?;
    let hears = entered.elapsed();
    people.push(erin);
    all_hear(people)?;
    let heard = entered.elapsed();
    shown(table, "1. erin hears the four, after she came in", ms(hears), hears < SOON);
    shown(table, "1. the four hear erin as well", ms(heard), heard < SOON);
    same_epoch(table, "1. epoch, before and with erin", epoch, people);
    let since = listen(server, 2)?;
    let all = locksmith::packets(&server.tap())?;
    let old = all.get(..before).context("the tap shrank")?;
    let erin = people.last_mut().context("erin is not there")?;
    let (of_old, of_new) = (erin.opens(server, old)?, erin.opens(server, &since)?);
    let found = format!("{of_old} of {} open for her", old.len());
    shown(table, "1. packets from before erin came", found, !old.is_empty() && of_old == 0);
    let found = format!("{of_new} of {} open for her", since.len());
    shown(table, "1. packets since", found, opens_all(of_new, &since));
    Ok(())
}

/// One loses the key and gets it again.
fn lost_key(table: &mut Table, keys: Keys, people: &mut [Person]) -> anyhow::Result<()> {
    println!("2. bob throws his key away ...");
    let bob = people.iter_mut().find(|person| person.name == "bob").context("bob is not there")?;
    bob.mark()?;
    let began = Instant::now();
    bob.process.say("drill lose-key")?;
    // In a group nobody has to be asked: the key is made again from what he still has.
    if keys == Keys::Host {
        bob.since("key_asked")?;
    }
    bob.since("recovered")?;
    all_hear(people)?;
    let again = began.elapsed();
    let bob = people.iter_mut().find(|person| person.name == "bob").context("bob is not there")?;
    let recovered: Vec<(String, u64)> = bob
        .all_since("recovered")
        .iter()
        .map(|event| (bob.named(&event["index"]), event["ms"].as_u64().unwrap_or(u64::MAX)))
        .collect();
    let slowest = recovered.iter().map(|(_, ms)| *ms).max().unwrap_or(u64::MAX);
    let found: Vec<String> = recovered.iter().map(|(name, ms)| format!("{name} after {ms} ms")).collect();
    let soon = u128::from(slowest) < SOON.as_millis();
    shown(table, "2. bob opens again, by himself", found.join(", "), !recovered.is_empty() && soon);
    shown(table, "2. everybody hears everybody, bob too", format!("within {}", ms(again)), again < SOON);
    Ok(())
}

/// Whoever came first is killed: the others put the leaf out.
fn killed_member(table: &mut Table, people: &mut Vec<Person>) -> anyhow::Result<()> {
    for person in people.iter_mut() {
        person.mark()?;
    }
    let epoch = people.first().and_then(Person::epoch);
    println!("3. dave, who made the group, is killed (SIGKILL) ...");
    let dave = people.remove(0);
    let killed = Instant::now();
    dave.process.kill()?;
    // The relay notices that nothing comes of him, and tells them.
    for person in people.iter_mut() {
        person.since("member_out")?;
    }
    let out = killed.elapsed();
    let mut by = Vec::new();
    for person in people.iter_mut() {
        let event = person.since_where("group_epoch", |event| removes(event, "dave"))?;
        by.push(event["by"]["user"].as_str().unwrap_or_default().to_owned());
    }
    let changed = killed.elapsed();
    all_hear(people)?;
    shown(table, "3. dave is out for all four", format!("after {}", ms(out)), out < SOON);
    let same = by.iter().all(|who| by.first() == Some(who));
    shown(table, "3. who put his leaf out, as all four say", by.first().cloned().unwrap_or_default(), same);
    let after = changed.saturating_sub(out);
    shown(table, "3. the key is new for all four", format!("{} after that", ms(after)), after < SOON);
    same_epoch(table, "3. epoch, with dave and without", epoch, people);
    Ok(())
}

/// Whether an epoch began without somebody who was in the one before.
fn removes(event: &Value, name: &str) -> bool {
    let removed = event["removed"].as_array();
    removed
        .is_some_and(|all| all.iter().any(|member| member["user"].as_str().is_some_and(|user| user.starts_with(name))))
}

/// Whoever hands out the keys is killed.
fn killed_host(table: &mut Table, people: &mut Vec<Person>) -> anyhow::Result<()> {
    for person in people.iter_mut() {
        person.mark()?;
    }
    let epoch = people.first().and_then(Person::epoch);
    println!("3. dave, who hands out the keys, is killed (SIGKILL) ...");
    let dave = people.remove(0);
    let host = dave.process.last("host").is_some_and(|event| event["me"] == true);
    shown(table, "3. who hands out the keys", if host { "dave" } else { "somebody else" }, host);
    let killed = Instant::now();
    dave.process.kill()?;
    let mut follows = Vec::new();
    for person in people.iter_mut() {
        let event = person.since("host")?;
        follows.push(if event["me"] == true { person.name.to_owned() } else { person.named(&event["index"]) });
    }
    let known = killed.elapsed();
    for person in people.iter_mut() {
        person.since("epoch")?;
    }
    all_hear(people)?;
    let again = killed.elapsed();
    // The relay notices later, and tells them.
    for person in people.iter_mut() {
        person.since("member_out")?;
    }
    let out = killed.elapsed();
    // Who would not open is known after half a second.
    std::thread::sleep(Duration::from_secs(1));
    all_hear(people)?;
    let holes = people.iter().flat_map(|person| person.all_since("recovered"));
    let longest = holes.filter_map(|event| event["ms"].as_u64()).max();
    let same = follows.iter().all(|name| follows.first() == Some(name));
    let found = format!("{}, after {}", follows.first().map_or("nobody", String::as_str), ms(known));
    shown(table, "3. who follows, as all four say", found, same && known < SOON);
    shown(table, "3. all four hear each other under the new key", format!("after {}", ms(again)), again < SOON);
    let waited = longest.map_or_else(|| "none".to_owned(), |longest| format!("{longest} ms"));
    println!("   3. longest wait for a key meanwhile: {waited}");
    table.fact("3. longest wait for a key meanwhile", waited);
    shown(table, "3. dave is out for all four", format!("after {}", ms(out)), out < SOON);
    same_epoch(table, "3. epoch, with dave and without", epoch, people);
    Ok(())
}

/// One is put out who keeps what she holds.
fn kicked(table: &mut Table, server: &ServerProcess, people: &mut Vec<Person>, between: Runtime) -> anyhow::Result<()> {
    let before = listen(server, 2)?;
    let place = people.iter().position(|person| person.name == "carol").context("carol is not there")?;
    let mut carol = people.remove(place);
    let (epoch, held) = (people.first().and_then(Person::epoch), carol.epoch());
    for person in people.iter_mut() {
        person.mark()?;
    }
    println!(
        "4. ada puts carol out, whose line is cut so that her program learns nothing of it and keeps its keys ..."
    );
    between.shutdown_background();
    let ada = people.iter_mut().find(|person| person.name == "ada").context("ada is not there")?;
    let began = Instant::now();
    ada.process.say("kick carol")?;
    let done = ada.process.wait_for_any(&["done", "command_failed"], PATIENCE)?;
    anyhow::ensure!(done["event"] == "done", "carol is not put out: {done}");
    for person in people.iter_mut() {
        person.since("epoch")?;
    }
    let changed = began.elapsed();
    // Not merely because she has fallen silent, which would bring a new key as well.
    let mut reasons = Vec::new();
    for person in people.iter_mut() {
        let out = person.since("member_out")?;
        reasons.push(out["reason"].as_str().unwrap_or_default().to_owned());
    }
    let removed = reasons.iter().all(|reason| reason == "removed by somebody who may");
    reasons.dedup();
    shown(table, "4. why carol is out, as all three say", reasons.join(", "), removed);
    all_hear(people)?;
    shown(table, "4. the key is new for all who are left", format!("after {}", ms(changed)), changed < SOON);
    same_epoch(table, "4. epoch, with carol and without", epoch, people);
    let after = listen(server, 3)?;
    all_hear(people)?;
    let found = format!("that of epoch {}", number(held));
    shown(table, "4. the key that carol holds", found, held.is_some() && held == epoch);
    let (of_before, of_after) = (carol.opens(server, &before)?, carol.opens(server, &after)?);
    let bob = people.iter_mut().find(|person| person.name == "bob").context("bob is not there")?;
    let for_bob = bob.opens(server, &after)?;
    let found = format!("{of_before} of {} open for her", before.len());
    shown(table, "4. packets from before carol was put out", found, opens_all(of_before, &before));
    let found = format!("{of_after} of {} open for her, {for_bob} for bob", after.len());
    shown(table, "4. packets since", found, of_after == 0 && opens_all(for_bob, &after));
    Ok(())
}

/// Claims that those who stayed to the end heard the right voices.
fn claim_heard(table: &mut Table, server: &ServerProcess) -> anyhow::Result<()> {
    let said = [envelope(&speech("ada"))?, envelope(&speech("bob"))?];
    for name in ["ada", "bob", "erin"] {
        let heard = envelope(&server.join(&format!("{name}-heard.wav")))?;
        let [ada, bob] = [0, 1].map(|voice| likeness(&said[voice], &heard, 1000).0);
        let holds = match name {
            "ada" => bob >= 0.8 && ada < 0.5,
            "bob" => ada >= 0.8 && bob < 0.5,
            // Both at once: each is found in the mixture, and neither is all of it.
            _ => ada > 0.5 && bob > 0.5,
        };
        table.claim(&format!("voices {name} heard"), format!("ada {ada:.2}, bob {bob:.2}"), holds);
    }
    Ok(())
}

/// A claim that is told at once.
fn shown(table: &mut Table, what: &str, found: impl Into<String>, holds: bool) {
    let found = found.into();
    println!("   {what}: {found}{}", if holds { "" } else { "  FAILS" });
    table.claim(what, found, holds);
}

/// Claims that there is a new epoch, the same for all.
fn same_epoch(table: &mut Table, what: &str, before: Option<u64>, people: &mut [Person]) {
    let end = Instant::now() + Duration::from_secs(5);
    let (now, same) = loop {
        let now = people.first().and_then(Person::epoch);
        let same = people.iter().all(|person| person.epoch() == now);
        // A change may be on its way: whoever came in gives itself new keys a moment later.
        if (same && now > before) || Instant::now() > end {
            break (now, same);
        }
        std::thread::sleep(Duration::from_millis(100));
        for person in people.iter_mut() {
            let _ = person.process.say("who").and_then(|()| person.process.wait_for("who", PATIENCE).map(|_| ()));
        }
    };
    shown(table, what, format!("{}, then {}", number(before), number(now)), same && now > before);
}

fn number(epoch: Option<u64>) -> Value {
    epoch.into()
}

fn ms(time: Duration) -> String {
    format!("{} ms", time.as_millis())
}

fn opens_all(opened: u64, packets: &[Vec<u8>]) -> bool {
    !packets.is_empty() && usize::try_from(opened) == Ok(packets.len())
}
