//! People in a room, each a program of their own, and what is asked of them.

use std::time::{Duration, Instant};

use anyhow::Context;
use serde_json::Value;
use undertone_testkit::{Process, ServerProcess, Terminal, locksmith};

/// How long anything may take before the scene gives up.
pub(crate) const PATIENCE: Duration = Duration::from_secs(40);
/// How often somebody is asked whom they hear.
const LOOK: Duration = Duration::from_millis(20);
/// The relay writes its tap in pieces.
const TAP_WRITTEN: Duration = Duration::from_secs(1);

/// Somebody who is in the room.
#[derive(Debug)]
pub(crate) struct Person {
    pub(crate) name: &'static str,
    pub(crate) process: Process,
    /// How many events there were when the present part of the scene began.
    mark: usize,
}

impl Person {
    /// Goes into the room `five`, saying what is in one file and hearing into another.
    pub(crate) fn join(
        name: &'static str,
        terminal: &Terminal,
        server: &ServerProcess,
        says: &str,
    ) -> anyhow::Result<Self> {
        let (says, hears) = (server.join(says), server.join(&format!("{name}-heard.wav")));
        let (says, hears) = (says.display().to_string(), hears.display().to_string());
        let words = ["room", "join", "five", "--commands", "--wav-in", &says, "--wav-out", &hears];
        let mut process = terminal.start_listening(&words)?;
        process.wait_for("room_entered", PATIENCE)?;
        Ok(Self { name, process, mark: 0 })
    }

    /// Waits until what each of `others` sends opens here.
    pub(crate) fn hears(&mut self, others: &[&str]) -> anyhow::Result<()> {
        let end = Instant::now() + PATIENCE;
        loop {
            self.process.say("who")?;
            let who = self.process.wait_for("who", PATIENCE)?;
            let people = who["people"].as_array().context("nobody is known")?;
            let heard = |name: &&str| people.iter().any(|person| is(person, name) && person["reception"] == "ok");
            if others.iter().all(heard) {
                return Ok(());
            }
            anyhow::ensure!(Instant::now() < end, "{} does not hear {others:?}: {who}", self.name);
            std::thread::sleep(LOOK);
        }
    }

    /// From here on events count; those of before do not.
    pub(crate) fn mark(&mut self) -> anyhow::Result<()> {
        self.process.say("who")?;
        self.process.wait_for("who", PATIENCE)?;
        self.mark = self.process.events.len();
        Ok(())
    }

    /// The next event of this name since the mark.
    pub(crate) fn since(&mut self, event: &str) -> anyhow::Result<Value> {
        let come = self.process.events.iter().skip(self.mark).find(|line| line["event"] == event);
        if let Some(line) = come {
            return Ok(line.clone());
        }
        self.process.wait_for(event, PATIENCE)
    }

    /// The next event of this name since the mark that is like this.
    pub(crate) fn since_where(&mut self, event: &str, is: impl Fn(&Value) -> bool) -> anyhow::Result<Value> {
        let come = self.process.events.iter().skip(self.mark).find(|line| line["event"] == event && is(line));
        if let Some(line) = come {
            return Ok(line.clone());
        }
        loop {
            let line = self.process.wait_for(event, PATIENCE)?;
            if is(&line) {
                return Ok(line);
            }
        }
    }

    /// All events of this name since the mark that have come so far.
    pub(crate) fn all_since(&self, event: &str) -> Vec<&Value> {
        self.process.events.iter().skip(self.mark).filter(|line| line["event"] == event).collect()
    }

    /// The epoch of the key that is in use here.
    pub(crate) fn epoch(&self) -> Option<u64> {
        self.process.last("epoch").and_then(|event| event["epoch"].as_u64())
    }

    /// How many of these packets open with what is held here.
    pub(crate) fn opens(&mut self, server: &ServerProcess, packets: &[Vec<u8>]) -> anyhow::Result<u64> {
        let file = server.join("some.tap");
        locksmith::write(&file, packets)?;
        self.process.say(&format!("drill check-tap {}", file.display()))?;
        let report = self.process.wait_for_any(&["tap", "command_failed"], PATIENCE)?;
        report["opened"].as_u64().with_context(|| format!("{} cannot try the tap: {report}", self.name))
    }

    /// The name of the member with this index, as they are known here.
    pub(crate) fn named(&self, index: &Value) -> String {
        let met = self.process.events.iter().rev().find(|line| line["event"] == "member_in" && line["index"] == *index);
        let user = met.and_then(|line| line["user"].as_str()).unwrap_or("nobody");
        user.split('@').next().unwrap_or(user).to_owned()
    }

    /// Leaves, and says how the program ended.
    pub(crate) fn leave(&mut self) -> anyhow::Result<Option<i32>> {
        self.process.say("leave")?;
        self.process.wait_for("over", PATIENCE)?;
        self.process.exit_code()
    }
}

fn is(person: &Value, name: &str) -> bool {
    person["user"].as_str().and_then(|user| user.split('@').next()) == Some(name)
}

/// Waits until everybody hears everybody else.
pub(crate) fn all_hear(people: &mut [Person]) -> anyhow::Result<()> {
    let names: Vec<&str> = people.iter().map(|person| person.name).collect();
    for person in people {
        let others: Vec<&str> = names.iter().copied().filter(|name| *name != person.name).collect();
        person.hears(&others)?;
    }
    Ok(())
}

/// How many packets the relay has taken so far, when all of them are written down.
pub(crate) fn taken(server: &ServerProcess) -> anyhow::Result<usize> {
    std::thread::sleep(TAP_WRITTEN);
    Ok(locksmith::packets(&server.tap())?.len())
}

/// The packets that the relay takes in the next seconds.
pub(crate) fn listen(server: &ServerProcess, seconds: u64) -> anyhow::Result<Vec<Vec<u8>>> {
    let from = taken(server)?;
    std::thread::sleep(Duration::from_secs(seconds));
    taken(server)?;
    Ok(locksmith::packets(&server.tap())?.split_off(from))
}
