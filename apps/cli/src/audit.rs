//! `audit self`, `audit log` and `audit evidence`: what anybody can check, and what came of it.

use std::path::Path;
use std::time::{Duration, Instant};

use serde_json::{Value, json};
use undertone_client::label::shown;
use undertone_client::native::{
    About, Alarm, CheckedEvidence, Client, ClientError, LogAudit, Owed, calendar, check_evidence,
};
use undertone_client::{CallId, UserId};

use crate::Done;
use crate::console::Console;
use crate::output::Output;

/// Minutes after which a log that shows nothing newer is behind (rule KT-8).
const FRESH: u64 = 10;
/// How often a person is told how far the reading of a log is.
const PROGRESS: Duration = Duration::from_secs(1);

pub(crate) fn evidence(file: &Path, output: &Output) -> Result<Done, ClientError> {
    let CheckedEvidence { domain, log, about, at, fault } = check_evidence(file)?;
    let (kind, user, finder) = match &about {
        About::Devices(user) => ("devices", Some(user), None),
        About::History(user) => ("history", Some(user), None),
        About::Divergence => ("divergence", None, None),
        About::Log(witness) => ("log", None, witness.as_deref()),
    };
    let object = json!({
        "about": kind, "domain": domain, "log_key": log, "user": user.map(|user| user.as_str()), "witness": finder,
        "at": at.as_unix(), "holds": fault.is_none(),
        "rule": fault.as_ref().map(|fault| &fault.rule), "fault": fault.as_ref().map(|fault| &fault.sentence),
        "convicts": fault.as_ref().is_some_and(|fault| fault.convicts),
    });
    let what = match &about {
        About::Devices(user) => format!("asked for {}", user.display()),
        About::History(user) => format!("asked by {} for the history of their own account", user.display()),
        About::Divergence => "compared by two devices, each with what it was shown".to_owned(),
        About::Log(Some(witness)) => format!("read by the witness {witness}"),
        About::Log(None) => "read by a device that audited the log".to_owned(),
    };
    let head = format!("key directory of {domain}, log key {log}\n{what} at {}", calendar::utc(at));
    let Some(fault) = fault else {
        output.result(&object, &format!("{head}\n\nEverything in this file holds: it accuses nobody."));
        return Ok(Done::Well);
    };
    let worth = match (fault.convicts, &about) {
        (true, About::Log(_)) => {
            "What the log's own key has signed says so by itself. Whoever brings this file: the holder of that key has signed what no \
             honest log is."
        }
        (true, _) => {
            "Two signatures of the log's own key contradict each other. Whoever brings this file: the holder of that key has shown \
             two different logs."
        }
        (false, About::Log(_)) => {
            "Nothing that the log's key has signed says so by itself, so this file is worth as much as the word of whoever kept it. \
             Others can find out by reading the same log: `undertone audit log --server HOST:PORT`."
        }
        (false, About::Divergence) => {
            "The log's key has signed both, and what the server gave does not show that one grew from the other. Whether it can be \
             shown, others can find out by asking the same server."
        }
        (false, _) => {
            "What the server answered is signed by nobody, so this file shows what a device was answered, and is worth as much as \
             its owner's word. Others can find out by asking the same server."
        }
    };
    output.result(&object, &format!("{head}\n\n{}: {}\n\n{worth}", fault.rule, fault.sentence));
    Ok(Done::Faulty)
}

pub(crate) async fn own(client: &Client, home: &str, console: &Console) -> Result<Done, ClientError> {
    let audit = client.self_audit().await?;
    let versions: Vec<Value> = audit
        .versions
        .iter()
        .map(|version| json!({ "version": version.version, "epoch": version.epoch, "devices": version.devices }))
        .collect();
    let object = json!({
        "event": "self_audit", "versions": versions, "epoch": audit.attested.epoch, "log_size": audit.attested.size,
        "at": audit.attested.time.as_unix(), "witnessed": audit.attested.is_witnessed(),
        "alarms": audit.alarms.iter().map(alarm_object).collect::<Vec<_>>(),
        "owed": audit.owed.iter().map(owed_object).collect::<Vec<_>>(),
    });
    let (first, last) = (audit.versions.first(), audit.versions.last());
    let numbers = first.zip(last).map_or_else(String::new, |(first, last)| match (first.version, last.version) {
        (first, last) if first == last => format!("version {last} of your list of devices, and nothing newer"),
        (first, last) => format!("versions {first} to {last} of your list of devices, and nothing newer"),
    });
    let mut text = format!(
        "Proven: the server's directory has {numbers}, up to epoch {} in a log of {}. Whatever it shows to anybody as yours from \
         this state is among these.\nNot proven: that everybody sees this log. Witnesses and the people you call compare that.",
        audit.attested.epoch, audit.attested.size
    );
    for owed in &audit.owed {
        text.push_str(&format!("\n\n{}", owed_text(owed)));
    }
    if audit.alarms.is_empty() {
        text.push_str("\n\nEverything in it is known to this device.");
        console.result(&object, &text).await;
        return Ok(Done::Well);
    }
    for alarm in &audit.alarms {
        text.push_str(&format!("\n\n{}", alarm_text(alarm, home)));
    }
    console.result(&object, &text).await;
    Ok(Done::Undecided)
}

/// An alarm that a connected device raises.
pub(crate) fn alarm(alarm: &Alarm, output: Output) {
    let mut object = alarm_object(alarm);
    if let Value::Object(map) = &mut object {
        map.insert("event".into(), "account_alarm".into());
    }
    output.event(&object, &alarm_text(alarm, ""));
}

/// The account's history could not be checked.
pub(crate) fn unproven(reason: &str, proof: bool, output: Output) {
    let object = json!({ "event": "account_unproven", "reason": reason, "proof_failed": proof });
    let why = if proof {
        "The server cannot prove which devices it shows as yours"
    } else {
        "The server does not say which devices it shows as yours"
    };
    output.event(&object, &format!("{why}: {reason}. Others may be shown devices that are not."));
}

/// A peer was shown another log.
pub(crate) fn disproved(call: Option<CallId>, peer: &UserId, reason: &str, output: Output) {
    let call_text = call.map(|call| call.to_string());
    let object = json!({ "event": "disproved", "call": call_text, "peer": peer.as_str(), "reason": reason });
    let what = if call.is_some() { "No call with" } else { "Found out since, about a call with" };
    output.event(&object, &format!("{what} {}: {reason}.", peer.display()));
}

/// The server owes a proof for too long.
pub(crate) fn owed(owed: &Owed, output: Output) {
    let mut object = owed_object(owed);
    if let Value::Object(map) = &mut object {
        map.insert("event".into(), "proof_owed".into());
    }
    output.event(&object, &owed_text(owed));
}

fn owed_object(owed: &Owed) -> Value {
    json!({
        "peer": owed.peer.as_str(), "size": owed.size, "since": owed.since.as_unix(), "overdue": owed.overdue,
    })
}

fn owed_text(owed: &Owed) -> String {
    let Owed { peer, size, since, overdue } = owed;
    let late = if *overdue { " THAT IS LONGER THAN AN HONEST SERVER WOULD TAKE." } else { "" };
    format!(
        "Open since {}: the server has not shown that its log is the one that {} was shown with {size} leaves.{late} It is asked \
         again whenever this device connects, and every hour.",
        calendar::utc(*since),
        peer.display()
    )
}

fn alarm_object(alarm: &Alarm) -> Value {
    match alarm {
        Alarm::DeviceAdded { device, label, by } => json!({
            "alarm": "device_added", "device": device.to_string(), "label": shown(label),
            "let_in_by": by.map(|by| by.to_string()),
        }),
        Alarm::DeviceRevoked { device, label } => {
            json!({ "alarm": "device_revoked", "device": device.to_string(), "label": shown(label) })
        }
        Alarm::Anew { account, effective } => json!({
            "alarm": "account_begins_anew", "account_key": account,
            "effective": effective.map(undertone_client::WallTime::as_unix),
        }),
    }
}

fn alarm_text(alarm: &Alarm, home: &str) -> String {
    match alarm {
        Alarm::DeviceAdded { device, label, by } => {
            let by = by.map_or_else(
                || "No device of yours let it in: whoever added it holds your passphrase or recovery key.".to_owned(),
                |by| format!("It was let in by {by}."),
            );
            format!(
                "YOUR ACCOUNT HAS A DEVICE THAT THIS ONE DOES NOT KNOW: {device} (\"{}\"). {by}\nIf it is yours: `undertone{home} \
                 devices accept {device}`. If not: `undertone{home} devices revoke {device}`, and change your passphrase.",
                shown(label)
            )
        }
        Alarm::DeviceRevoked { device, label } => format!(
            "A DEVICE OF YOUR ACCOUNT WAS REVOKED: {device} (\"{}\").\nIf that was you: `undertone{home} devices accept {device}`. \
             If not, somebody holds your passphrase or recovery key: change your passphrase.",
            shown(label)
        ),
        Alarm::Anew { account, effective } => {
            let when = effective.map_or_else(
                || "It may be in force already, or the server does not show since when it was announced.".to_owned(),
                |at| format!("It is in force from {} on, unless you object before.", calendar::utc(at)),
            );
            format!(
                "YOUR ACCOUNT IS TO BEGIN ANEW UNDER ANOTHER KEY: {account}. {when}\nIf that is not you: `undertone{home} devices keep`, \
                 with your passphrase or recovery key."
            )
        }
    }
}

pub(crate) async fn log(
    client: &Client,
    server: Option<&str>,
    from_start: bool,
    output: &Output,
) -> Result<Done, ClientError> {
    let (quiet, mut told) = (output.is_json(), Instant::now());
    let mut progress = |checked: u64, size: u64| {
        if told.elapsed() >= PROGRESS {
            told = Instant::now();
            if quiet {
                output.event(&json!({ "event": "progress", "checked": checked, "size": size }), "");
            } else {
                eprintln!("checked {checked} of {size} leaves");
            }
        }
    };
    let audit = client.audit_log(server, from_start, &mut progress).await?;
    let behind = audit.age > FRESH * 60;
    output.result(
        &json!({
            "event": "log_audited", "domain": audit.domain, "log_key": audit.log_key, "pinned": audit.pinned,
            "audited_before": audit.before, "epoch_before": audit.epoch_before, "size": audit.size, "epoch": audit.epoch,
            "at": audit.time.as_unix(), "age_seconds": audit.age, "behind": behind,
            "begins_with_seen": audit.begins_with_seen,
        }),
        &log_text(&audit, behind),
    );
    Ok(if behind { Done::Faulty } else { Done::Well })
}

/// What was proved, and what was not.
fn log_text(audit: &LogAudit, behind: bool) -> String {
    let LogAudit { domain, log_key, pinned, before, epoch_before, size, epoch, .. } = audit;
    let whose = if *pinned {
        "which this home has pinned"
    } else {
        "which the server says is its own: compare it with what its operator has published"
    };
    let new = size.saturating_sub(*before);
    let read = match (*before, new) {
        (0, _) => format!("All {size} leaves were read, from the first on."),
        (_, 0) => format!("All {size} leaves had been read before, and there are no more."),
        _ => format!("{new} leaves were read behind the {before} that were audited before; {size} are audited now."),
    };
    let epochs = match (*epoch_before, epoch.saturating_sub(*epoch_before)) {
        (0, _) => {
            format!("every epoch from the first to {epoch} only added to the one before, from the empty directory on")
        }
        (_, 0) => format!("the directory is still at epoch {epoch}"),
        (earlier, 1) => format!("epoch {epoch} only added to epoch {earlier}"),
        (earlier, _) => format!("every epoch from {} to {epoch} only added to the one before", earlier + 1),
    };
    let seen = if audit.begins_with_seen {
        "\n  - it begins with the log that this device was shown when it looked people up"
    } else {
        ""
    };
    let late = if behind {
        format!(
            "\n\nKT-8: the newest leaf is {} minutes old. Either newer ones are kept from you, or the server or a clock stands still.",
            audit.age / 60
        )
    } else {
        String::new()
    };
    format!(
        "The log of the key directory of {domain}, signed by {log_key}, {whose}.\n{read}\n\nProved:\n  - the log grew, and nothing in it \
         was changed or left out\n  - {epochs}: no device list was taken back or replaced{seen}\n\nNot proved:\n  - that the right \
         devices stand in it; each owner can see that of their own: `undertone audit self`\n  - that everybody is shown this log; \
         witnesses and the people you call compare that{late}"
    )
}
