//! What `undertone-server raida doctor` looks at: everything a node needs. It reads, and writes one file that it takes away again; a node
//! that runs is not disturbed.

use std::io;
use std::path::Path;

use super::{Keystream, RaidaConfig, RaidaProfile, check};
use crate::doctor::{Finding, answers, folder, free, holds, room};

/// Looks at all of it.
#[must_use]
pub fn examine(config: &RaidaConfig) -> Vec<Finding> {
    let data = &config.data;
    let mut findings = vec![
        Finding::new("profile", profile(config)),
        Finding::new("keystream", keystream(config)),
        Finding::new("limits", limits(config)),
    ];
    let store = data.join("Data");
    let runs = holds(&store);
    if data.exists() {
        // In `compat` a group may read it.
        if config.profile == RaidaProfile::Strict && store.is_dir() {
            findings.push(Finding::new("coin folder", folder(&store)));
        }
        findings.push(Finding::new("room", room(data)));
        findings.push(Finding::new("coins", coins(config, &store, runs)));
        findings.push(Finding::new("own coins", own(&data.join("coins"))));
    } else {
        let seen = format!("there is none at {} yet: `raida coins create` makes it, and issues coins", data.display());
        findings.push(Finding::new("data folder", Ok(seen)));
    }
    findings.push(Finding::new("port", if runs { answers(config.listen) } else { free(config.listen) }));
    findings
}

fn profile(config: &RaidaConfig) -> Result<String, String> {
    match config.profile {
        RaidaProfile::Strict => Ok("strict: every path that the documents leave open is closed".into()),
        RaidaProfile::Compat => Err("compat: whoever reaches this node can take coins over and read posted keys. Choose `profile = \"strict\"`, \
             unless peers need the protocol as it is documented; then let nobody else reach it"
            .into()),
    }
}

fn keystream(config: &RaidaConfig) -> Result<String, String> {
    let restarts = config.profile == RaidaProfile::Compat && config.keystream != Some(Keystream::Continue);
    if restarts {
        return Err("restart: request and reply are sealed with the same bytes, so whoever listens reads coins' keys. `keystream = \"continue\"` ends \
             that for peers who can do with it"
            .into());
    }
    Ok("continue: no byte of it seals twice".into())
}

fn limits(config: &RaidaConfig) -> Result<String, String> {
    if config.profile == RaidaProfile::Compat {
        return Ok("none for an address: the documents have none".into());
    }
    let here = config.listen.ip().is_loopback();
    match config.per_address {
        0 if here => Ok("none for an address, on loopback alone".into()),
        0 => Err("`per_address = 0`: one address may keep the node busy, and be answered at somebody else's. Say how many requests it may make \
             in a second; 200 do for most"
            .into()),
        many => Ok(format!("{many} requests a second of one address, and {} at once", config.burst)),
    }
}

fn coins(config: &RaidaConfig, store: &Path, runs: bool) -> Result<String, String> {
    if !store.is_dir() {
        return Ok("none yet: `raida coins create` issues some".into());
    }
    if runs {
        return Ok("a node runs on this folder and has them open; `raida coins check` looks at every page".into());
    }
    let checked = check(config).map_err(|error| error.to_string())?;
    let used: u64 = checked.used.values().map(|used| u64::from(*used)).sum();
    match checked.amiss.first() {
        None => Ok(format!("{used} in use, on {} sound pages", checked.pages)),
        Some(first) => Err(format!("{} of it amiss, as {first}: `raida coins check` names all", checked.amiss.len())),
    }
}

/// Tickets of other nodes are opened with the node's own coins.
fn own(folder: &Path) -> Result<String, String> {
    match std::fs::read_dir(folder) {
        Ok(files) => Ok(format!("{} files, whose keys open the tickets of other nodes", files.flatten().count())),
        Err(error) if error.kind() == io::ErrorKind::NotFound => {
            Ok("none: tickets of other nodes do not open here, so that no coin gets a new key on this node".into())
        }
        Err(error) => Err(format!("{}: {error}", folder.display())),
    }
}
