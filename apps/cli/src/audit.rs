//! `audit evidence`: what a failed proof left behind, checked once more by whoever wants to know.

use std::path::Path;

use serde_json::json;
use undertone_client::native::{CheckedEvidence, ClientError, check_evidence};

use crate::Done;
use crate::output::Output;

pub(crate) fn evidence(file: &Path, output: &Output) -> Result<Done, ClientError> {
    let CheckedEvidence { domain, log, user, at, fault } = check_evidence(file)?;
    let object = json!({
        "domain": domain, "log_key": log, "user": user.as_str(), "at": at.as_unix(), "holds": fault.is_none(),
        "rule": fault.as_ref().map(|fault| fault.rule), "fault": fault.as_ref().map(|fault| &fault.sentence),
        "convicts": fault.as_ref().is_some_and(|fault| fault.convicts),
    });
    let head = format!("key directory of {domain}, log key {log}\nasked for {} at {}", user.display(), at.as_unix());
    let Some(fault) = fault else {
        output.result(&object, &format!("{head}\n\nEverything in this file holds: it accuses nobody."));
        return Ok(Done::Well);
    };
    let worth = if fault.convicts {
        "Two signatures of the log's own key contradict each other. Whoever brings this file: the holder of that key has shown \
         two different logs."
    } else {
        "What the server answered is signed by nobody, so this file shows what a device was answered, and is worth as much as \
         its owner's word. Others can find out by asking the same server."
    };
    output.result(&object, &format!("{head}\n\n{}: {}\n\n{worth}", fault.rule, fault.sentence));
    Ok(Done::Faulty)
}
