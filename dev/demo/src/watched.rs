//! A server whose key directory is watched by a witness, and what the directory proves to people.

use std::fs;
use std::path::Path;

use anyhow::Context;
use serde_json::Value;
use undertone_testkit::process::result;
use undertone_testkit::{ServerProcess, Terminal, Witness};

use crate::table::Table;

/// A running server, and a witness that its operator has named.
pub(crate) fn start(name: &str) -> anyhow::Result<(ServerProcess, Witness)> {
    let mut server = ServerProcess::start(name)?;
    let witness = Witness::new(server.join("witness.key"), &server.address(), &server.data())?;
    // The first look is for its key: as long as the operator has not named it, its cosignatures are not taken.
    let key = witness.look()?.key()?;
    server.end()?;
    server.allow_witness(key);
    server.start_again()?;
    Ok((server, witness))
}

/// Has the device in `home` ask for the witness with this key, as its owner would by hand.
pub(crate) fn rely_on(home: &Path, key: &str) -> anyhow::Result<()> {
    // Rust writes such a text as TOML does.
    Ok(fs::write(home.join("config.toml"), format!("[witnesses]\nneed = 1\nkeys = [{key:?}]\n"))?)
}

/// Claims that `who` has a proof of `peer`'s devices that holds, and says of which directory, and who else saw it.
pub(crate) fn claim_proven(
    table: &mut Table,
    server: &ServerProcess,
    who: (&str, &Terminal),
    peer: &str,
) -> anyhow::Result<()> {
    let (name, terminal) = who;
    let file = server.join(&format!("{name}-{}.evidence", table.rows()));
    let file = file.to_str().context("a path that is no text")?;
    let output = terminal.run(&["peer", "show", peer, "--proof", "--save", file])?;
    anyhow::ensure!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let shown = result(&output);
    let (directory, list) = (&shown["directory"], &shown["proof"]["list"]);
    let stands = format!("epoch {}, a log of {} leaves", directory["epoch"], directory["log_size"]);
    table.claim(&format!("{name}: directory"), stands, directory["epoch"].as_u64() > Some(0));
    let (what, found) = (format!("{name}: witnesses"), witnesses(directory));
    match directory["witnesses_wanted"].as_u64() {
        Some(0) => table.fact(&what, found),
        _ => table.claim(&what, found, directory["witnessed"] == true),
    }
    // The check is made again, from the file alone.
    let again = terminal.run(&["audit", "evidence", file])?;
    let holds = again.status.success() && result(&again)["holds"] == true;
    let found = format!("proof verified: list {}, devices in it: {}", list["version"], list["devices"]);
    table.claim(&format!("{name}: devices of {peer}"), found, holds);
    Ok(())
}

/// Which witnesses a person is told of.
pub(crate) fn witnesses(directory: &Value) -> String {
    let names: Vec<&str> = directory["witnesses"].as_array().into_iter().flatten().filter_map(Value::as_str).collect();
    let names = names.join(", ");
    match (directory["witnesses_wanted"].as_u64(), directory["unwitnessed_leaves"].as_u64()) {
        (Some(0), _) => "asks for none".into(),
        _ if directory["witnessed"] != true => "not witnessed".into(),
        (_, None | Some(0)) => names,
        (_, Some(since)) => format!("{names}, all but the newest {since}"),
    }
}
