//! Two people, a swarm of 25 nodes, and a call whose key has a secret in it that came over them; then the same call with another secret.

use anyhow::Context;
use undertone_testkit::{ServerProcess, SwarmProcess, Terminal, locksmith, speech};

use crate::people::PATIENCE;
use crate::table::Table;

pub(crate) fn play() -> anyhow::Result<Table> {
    println!("A server starts, and 25 nodes of a swarm ...");
    let mut server = ServerProcess::start("demo")?;
    let swarm = SwarmProcess::start(&server.join("swarm"), 2)?;
    println!("ada and bob register, and are enrolled in the swarm ...");
    let person = |name: &str| Terminal::registered(server.join(name), server.address(), name);
    let (ada, bob) = (person("ada")?, person("bob")?);
    swarm.enrol(&ada, 1)?;
    swarm.enrol(&bob, 2)?;

    println!("ada calls bob with a quorum secret ...");
    let says = |name: &str| speech(name).display().to_string();
    let (ada_says, bob_says) = (says("ada"), says("bob"));
    let answer = ["answer", "--require-quorum", "--no-devices", "--wav-in", &bob_says];
    let call = ["call", "bob", "--quorum", "--no-devices", "--wav-in", &ada_says, "--seconds", "3"];
    let mut bobs = bob.start(&answer)?;
    bobs.wait_for("waiting", PATIENCE)?;
    let mut adas = ada.start(&call)?;
    let (posted, fetched) = (bobs.wait_for("quorum", PATIENCE)?, adas.wait_for("quorum", PATIENCE)?);
    let (a, b) = (adas.wait_for("established", PATIENCE)?, bobs.wait_for("established", PATIENCE)?);
    adas.wait_for("over", PATIENCE)?;
    bobs.wait_for("over", PATIENCE)?;
    // One home has one program at a time.
    let codes = [adas.exit_code()?, bobs.exit_code()?];
    let (hears_a, hears_b) = (opened(&adas)?, opened(&bobs)?);
    let packets = locksmith::packets(&server.tap())?.len();

    println!("the same once more, and ada has another secret ...");
    let mut bobs = bob.start(&answer)?;
    bobs.wait_for("waiting", PATIENCE)?;
    let mut adas = ada.start(&[call.as_slice(), &["--drill-wrong-quorum"]].concat())?;
    let over = [
        adas.wait_for_any(&["over", "established"], PATIENCE)?,
        bobs.wait_for_any(&["over", "established"], PATIENCE)?,
    ];
    let later = locksmith::packets(&server.tap())?.len();

    let mut table = Table::new("a quorum secret");
    let count = |line: &serde_json::Value| line["good"].as_u64().unwrap_or(0);
    for (what, line) in [("nodes that keep a share", &posted), ("nodes that gave one back", &fetched)] {
        let need = line["need"].as_u64().unwrap_or(u64::MAX);
        table.claim(what, format!("{} of 25, {need} make the secret", count(line)), count(line) >= need && need == 17);
    }
    let shown = format!("{} of {} nodes, at epoch {}", a["quorum"]["threshold"], a["quorum"]["nodes"], a["epoch"]);
    let same = a["quorum"]["threshold"] == b["quorum"]["threshold"] && a["sas"] == b["sas"] && !a["sas"].is_null();
    table.claim("quorum, on both sides, under one SAS", shown, same);
    table.claim("frames that opened", format!("{hears_a} at ada's, {hears_b} at bob's"), hears_a > 50 && hears_b > 50);
    table.claim("ended", format!("{codes:?}"), codes == [Some(0), Some(0)]);
    let refused = over.iter().all(|line| line["result"] == "refused_by_proof");
    let words: Vec<_> = over.iter().map(|line| line["result"].as_str().unwrap_or("established")).collect();
    table.claim("the call with another secret", words.join(", "), refused);
    table.claim("packets of that call at the relay", (later - packets).to_string(), later == packets);
    swarm.end()?;
    server.end()?;
    Ok(table)
}

fn opened(process: &undertone_testkit::Process) -> anyhow::Result<u64> {
    process.last("status").and_then(|status| status["opened"].as_u64()).context("no status came")
}
