//! A server whose key directory is watched by a witness, and what the directory proves to people.

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

/// Claims that `who` has a proof of `peer`'s devices that holds, and says of which directory.
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
    let names: Vec<&str> = directory["witnesses"].as_array().into_iter().flatten().filter_map(Value::as_str).collect();
    if directory["witnesses_wanted"].as_u64() > Some(0) {
        let found = format!("{} of {}: {}", names.len(), directory["witnesses_wanted"], names.join(", "));
        table.claim(&format!("{name}: witnesses"), found, directory["witnessed"] == true);
    } else {
        table.fact(&format!("{name}: witnesses"), "asks for none");
    }
    // Somebody else makes the check again, from the file alone.
    let again = terminal.run(&["audit", "evidence", file])?;
    let holds = again.status.success() && result(&again)["holds"] == true;
    let found = format!("proof verified: list {}, devices in it: {}", list["version"], list["devices"]);
    table.claim(&format!("{name}: devices of {peer}"), found, holds);
    Ok(())
}
