//! Two accounts, one call: each says a different sentence, and the relay writes down everything it takes.

use std::path::Path;
use std::time::Duration;

use anyhow::Context;
use undertone_testkit::ears::{envelope, likeness};
use undertone_testkit::{Folder, locksmith, speech};

use crate::process::{Process, program, run};
use crate::table::Table;

const PATIENCE: Duration = Duration::from_secs(40);

fn undertone(home: &Path, server: &str) -> anyhow::Result<std::process::Command> {
    let mut command = program("undertone")?;
    command.arg("--json").arg("--home").arg(home).env("UNDERTONE_SERVER", server);
    Ok(command)
}

pub(crate) fn play() -> anyhow::Result<Table> {
    let folder = Folder::new("demo")?;
    let (data, tap) = (folder.join("data"), folder.join("tap"));
    println!("A server starts in {} ...", data.display());
    let mut serve = program("undertone-server")?;
    serve.args(["serve", "--json", "--listen", "127.0.0.1:0", "--data"]).arg(&data).arg("--tap").arg(&tap);
    let mut server = Process::start("the server", &mut serve)?;
    let ready = server.wait_for("ready", PATIENCE)?;
    let address = ready["address"].as_str().context("no address")?.to_owned();

    let (ada, bob) = (folder.join("ada"), folder.join("bob"));
    for (home, name) in [(&ada, "ada"), (&bob, "bob")] {
        println!("{name} registers ...");
        run(undertone(home, &address)?.args(["register", name, "--passphrase-stdin"]), "correct horse battery\n")?;
    }
    let (heard_by_ada, heard_by_bob) = (folder.join("ada-heard.wav"), folder.join("bob-heard.wav"));
    let mut answer = undertone(&bob, &address)?;
    answer.arg("answer").arg("--wav-in").arg(speech("bob")).arg("--wav-out").arg(&heard_by_bob);
    let mut bobs = Process::start("bob", &mut answer)?;
    bobs.wait_for("waiting", PATIENCE)?;
    println!("ada calls bob; each says something else for ten seconds ...");
    let mut call = undertone(&ada, &address)?;
    call.args(["call", "bob", "--seconds", "11", "--wav-in"]).arg(speech("ada"));
    call.arg("--wav-out").arg(&heard_by_ada).arg("--check-tap").arg(&tap);
    let mut adas = Process::start("ada", &mut call)?;
    let a = adas.wait_for("established", PATIENCE)?;
    let b = bobs.wait_for("established", PATIENCE)?;
    let opened = adas.wait_for("tap", PATIENCE)?;
    let (end_a, end_b) = (adas.wait_for("over", PATIENCE)?, bobs.wait_for("over", PATIENCE)?);
    // Their files are complete when the programs have ended.
    adas.wait_for_end()?;
    bobs.wait_for_end()?;

    let mut table = Table::new("Scene: a call");
    let said = [envelope(&speech("ada"))?, envelope(&speech("bob"))?];
    for (who, heard, right, wrong) in [
        ("ada heard bob", envelope(&heard_by_ada)?, &said[1], &said[0]),
        ("bob heard ada", envelope(&heard_by_bob)?, &said[0], &said[1]),
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
    table.claim("epoch", text(&a["epoch"]), same("epoch"));
    table.claim("protection", text(&a["protection"]), same("protection") && a["protection"] == "blind");
    table.claim("SAS on both sides", text(&a["sas"]["digits"]), same("sas"));
    table.claim("ended", text(&end_a["result"]), end_a["result"] == "ended" && end_b["result"] == "ended");

    let packets = locksmith::packets(&tap)?;
    let (taken, with_key) = (opened["packets"].as_u64().unwrap_or(0), opened["opened"].as_u64().unwrap_or(0));
    table.claim(
        "the relay's tap, with a member's key",
        format!("{with_key} of {taken} packets open"),
        taken > 900 && with_key == taken,
    );
    let call = a["call"].as_str().and_then(call_id).context("no call id")?;
    let sample = packets.get(packets.len() / 2).context("the tap is empty")?;
    let attempt = locksmith::try_folder(&data, sample, &call)?;
    let tried = format!("{} of the server's 32-byte strings tried on one packet", attempt.tried);
    table.claim("the tap, with all the server holds", tried, attempt.tried > 1000 && !attempt.opened);
    server.end()?;
    Ok(table)
}

fn call_id(text: &str) -> Option<[u8; 16]> {
    let digits: Option<Vec<u8>> =
        (0..16).map(|i| text.get(2 * i..2 * i + 2).and_then(|pair| u8::from_str_radix(pair, 16).ok())).collect();
    digits?.try_into().ok()
}
