//! Two accounts, one call: each says a different sentence, and the relay writes down everything it takes.

use std::time::Duration;

use anyhow::Context;
use undertone_testkit::ears::{envelope, likeness};
use undertone_testkit::{ServerProcess, Terminal, locksmith, speech};

use crate::table::Table;
use crate::watched::{self, claim_proven, rely_on};

const PATIENCE: Duration = Duration::from_secs(40);

pub(crate) fn play(protection: &str) -> anyhow::Result<Table> {
    println!("A server starts, and a witness of its key directory; the call will be {protection} ...");
    let (mut server, witness) = watched::start("demo")?;
    println!("ada and bob register ...");
    let person = |name: &str| Terminal::registered(server.join(name), server.address(), name);
    let (ada, bob) = (person("ada")?, person("bob")?);
    let look = witness.look()?;
    for name in ["ada", "bob"] {
        rely_on(&server.join(name), &look.key()?)?;
    }
    let path = |path: std::path::PathBuf| path.display().to_string();
    let (ada_heard, bob_heard) = (server.join("ada-heard.wav"), server.join("bob-heard.wav"));
    let (bob_says, bob_hears) = (path(speech("bob")), path(bob_heard.clone()));
    let mut answer = vec!["answer", "--wav-in", &bob_says, "--wav-out", &bob_hears];
    if protection == "hop" {
        answer.push("--allow-hop");
    }
    let mut bobs = bob.start(&answer)?;
    bobs.wait_for("waiting", PATIENCE)?;
    println!("ada calls bob; each says something else for ten seconds ...");
    let (said, heard, tap) = (path(speech("ada")), path(ada_heard.clone()), path(server.tap()));
    let sound = ["--wav-in", &said, "--wav-out", &heard];
    let how = ["call", "bob", "--protection", protection, "--seconds", "11", "--check-tap", &tap];
    let call = [how.as_slice(), &sound].concat();
    let mut adas = ada.start(&call)?;
    let a = adas.wait_for("established", PATIENCE)?;
    let b = bobs.wait_for("established", PATIENCE)?;
    let opened = adas.wait_for("tap", PATIENCE)?;
    let (end_a, end_b) = (adas.wait_for("over", PATIENCE)?, bobs.wait_for("over", PATIENCE)?);
    // Their files are complete when the programs have ended.
    let codes = [adas.exit_code()?, bobs.exit_code()?];

    let blind = protection == "blind";
    let mut table = Table::new(if blind { "blind" } else { "hop" });
    let said = [envelope(&speech("ada"))?, envelope(&speech("bob"))?];
    for (who, heard, right, wrong) in [
        ("ada heard bob", envelope(&ada_heard)?, &said[1], &said[0]),
        ("bob heard ada", envelope(&bob_heard)?, &said[0], &said[1]),
    ] {
        let ((like, _), (unlike, _)) = (likeness(right, &heard, 150), likeness(wrong, &heard, 150));
        table.claim(who, format!("likeness {like:.2}, to the other sentence {unlike:.2}"), like >= 0.8 && unlike < 0.5);
    }
    for (who, process) in [("ada", &adas), ("bob", &bobs)] {
        let status = process.last("status").context("no status came")?;
        let (loss, latency) = (&status["loss_percent"], &status["latency_ms"]);
        let number = |value: &serde_json::Value| value.as_f64().unwrap_or(f64::NAN);
        table.claim(&format!("{who}: loss"), format!("{:.1} %", number(loss)), number(loss) < 5.0);
        table.fact(&format!("{who}: latency"), format!("{:.0} ms of buffer and path", number(latency)));
    }
    let same = |what: &str| a[what] == b[what] && !a[what].is_null();
    let text = |value: &serde_json::Value| value.as_str().map_or_else(|| value.to_string(), str::to_owned);
    table.claim("key", format!("{}, forward secrecy {}", text(&a["key"]), a["forward_secrecy"]), same("key"));
    if blind {
        table.claim("epoch", text(&a["epoch"]), same("epoch"));
    }
    let asked = same("protection") && a["protection"] == protection;
    table.claim("protection, as asked for, on both sides", text(&a["protection"]), asked);
    table.claim("SAS on both sides", text(&a["sas"]["digits"]), same("sas"));
    let ended = end_a["result"] == "ended" && end_b["result"] == "ended" && codes == [Some(0), Some(0)];
    table.claim("ended", text(&end_a["result"]), ended);

    let cosigned = format!("the log of {} leaves", look.event("cosigned")["size"]);
    table.claim("the witness has checked and cosigned", cosigned, look.cosigned);
    claim_proven(&mut table, &server, ("ada", &ada), "bob")?;
    claim_proven(&mut table, &server, ("bob", &bob), "ada")?;

    let packets = locksmith::packets(&server.tap())?;
    let (taken, with_key) = (opened["packets"].as_u64().unwrap_or(0), opened["opened"].as_u64().unwrap_or(0));
    let found = format!("{with_key} of {taken} packets open");
    if blind {
        table.claim("the relay's tap, with a member's key", found, taken > 900 && with_key == taken);
        table.fact("who else can open them", "nobody");
    } else {
        table.claim("the relay's tap, with a member's key", found, taken > 900 && with_key == 0);
        table.fact("who else can open them", "the relay");
    }
    let call = a["call"].as_str().and_then(call_id).context("no call id")?;
    claim_closed(&mut table, &server, &packets, &call)?;
    server.end()?;
    Ok(table)
}

/// Claims that nothing the server holds opens what its relay wrote down.
pub(crate) fn claim_closed(
    table: &mut Table,
    server: &ServerProcess,
    packets: &[Vec<u8>],
    call: &[u8; 16],
) -> anyhow::Result<()> {
    let sample = packets.get(packets.len() / 2).context("the tap is empty")?;
    let attempt = locksmith::try_folder(&server.data(), sample, call)?;
    let tried = format!("{} strings of the server's tried", attempt.tried);
    table.claim("the tap, with all the server holds", tried, attempt.tried > 1000 && !attempt.opened);
    Ok(())
}

/// A call's id from its 32 hexadecimal digits.
pub(crate) fn call_id(text: &str) -> Option<[u8; 16]> {
    let digits: Option<Vec<u8>> =
        (0..16).map(|i| text.get(2 * i..2 * i + 2).and_then(|pair| u8::from_str_radix(pair, 16).ok())).collect();
    digits?.try_into().ok()
}
