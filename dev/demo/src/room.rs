//! A room of five: each says their sentence in turn, everybody hears everybody, and the relay writes down what it takes.

use std::time::Duration;

use anyhow::Context;
use undertone_testkit::ears::{envelope, likeness, silence};
use undertone_testkit::{Process, ServerProcess, Terminal, locksmith, speech};

use crate::call::{call_id, claim_closed};
use crate::table::Table;

const PATIENCE: Duration = Duration::from_secs(40);
const NAMES: [&str; 5] = ["ada", "bob", "carol", "dave", "erin"];
/// Who has something to say, and with which voice.
const SPEAKERS: [&str; 2] = ["ada", "bob"];

pub(crate) fn play() -> anyhow::Result<Table> {
    println!("A server starts; five people register ...");
    let mut server = ServerProcess::start("demo-room")?;
    let people: Vec<Terminal> = NAMES
        .iter()
        .map(|name| Terminal::registered(server.join(name), server.address(), name))
        .collect::<anyhow::Result<_>>()?;
    let ada = people.first().context("nobody is there")?;
    println!("ada makes a room and invites the others; erin may listen only ...");
    let made = ada.run(&[
        "room",
        "create",
        "five",
        "--invite",
        "bob",
        "--invite",
        "carol",
        "--invite",
        "dave",
        "--listener",
        "erin",
    ])?;
    anyhow::ensure!(made.status.success(), "{}", String::from_utf8_lossy(&made.stderr));

    let heard = |name: &str| server.join(&format!("{name}-heard.wav"));
    let quiet = server.join("quiet.wav");
    silence(&quiet, 60)?;
    let mut inside: Vec<Process> = Vec::new();
    for (name, terminal) in NAMES.iter().zip(&people) {
        let mut words = ["room", "join", "five", "--commands"].map(str::to_owned).to_vec();
        let says = if SPEAKERS.contains(name) { speech(name) } else { quiet.clone() };
        words.extend(["--wav-in".into(), says.display().to_string()]);
        words.extend(["--wav-out".into(), heard(name).display().to_string()]);
        let mut process = terminal.start_listening(&words.iter().map(String::as_str).collect::<Vec<_>>())?;
        process.wait_for("epoch", PATIENCE)?;
        inside.push(process);
    }
    println!("all five are in; ada and bob say something else each, and carol, dave and erin listen ...");
    std::thread::sleep(Duration::from_secs(11));
    let mut present = Vec::new();
    for process in &mut inside {
        process.say("who")?;
        let who = process.wait_for("who", PATIENCE)?;
        present.push(who["people"].as_array().map_or(0, Vec::len));
    }
    let epochs: Vec<_> =
        inside.iter().map(|process| process.last("epoch").map(|event| event["epoch"].clone())).collect();
    let call = inside.first().and_then(|process| process.last("room_entered")).and_then(|event| event["call"].as_str());
    let call = call.and_then(call_id).context("no call id")?;
    let mut codes = Vec::new();
    for process in &mut inside {
        process.say("leave")?;
        codes.push(process.exit_code()?);
    }

    let mut table = Table::new("Scene: a blind room of five");
    table.claim("others that each sees", format!("{present:?}"), present.iter().all(|seen| *seen == NAMES.len() - 1));
    let same = epochs.iter().all(|epoch| epoch.is_some() && *epoch == epochs[0]);
    let epoch = epochs.first().cloned().flatten().unwrap_or_default();
    table.claim("epoch of the room key, the same for all", epoch, same);
    let said = [envelope(&speech("ada"))?, envelope(&speech("bob"))?];
    for name in NAMES {
        let heard = envelope(&heard(name))?;
        let [ada, bob] = [0, 1].map(|voice| likeness(&said[voice], &heard, 700).0);
        let holds = match name {
            "ada" => bob >= 0.8 && ada < 0.5,
            "bob" => ada >= 0.8 && bob < 0.5,
            // Both at once: each is found in the mixture, and neither is all of it.
            _ => ada > 0.5 && bob > 0.5,
        };
        table.claim(&format!("{name} heard"), format!("ada {ada:.2}, bob {bob:.2}"), holds);
    }
    table.claim(
        "all left by themselves",
        format!("{} of 5", codes.iter().filter(|code| **code == Some(0)).count()),
        codes.iter().all(|code| *code == Some(0)),
    );

    let packets = locksmith::packets(&server.tap())?;
    table.claim("packets the relay took", packets.len(), packets.len() > 900);
    claim_closed(&mut table, &server, &packets, &call)?;
    server.end()?;
    Ok(table)
}
