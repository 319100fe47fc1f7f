//! `peer show|trust|verify`.

use std::path::Path;

use serde_json::{Value, json};
use undertone_client::native::errand::Errand;
use undertone_client::native::{Client, ClientError, Proof};
use undertone_client::trust::{Attested, Verdict};
use undertone_client::{PeerTrust, Standing};

use crate::Done;
use crate::console::Console;
use crate::proof;

pub(crate) async fn run(client: &Client, errand: &Errand, console: &Console) -> Result<Done, ClientError> {
    let trust = match errand {
        Errand::ShowPeer { name, proof: false, save: None } => client.peer(&client.user(name)?).await?,
        Errand::ShowPeer { name, proof, save } => {
            let (trust, checked) = client.peer_with_proof(&client.user(name)?).await?;
            if let Some(file) = save {
                checked.save(Path::new(file))?;
            }
            show_proof(&trust, proof.then_some(&checked), save.as_deref(), console).await;
            return Ok(Done::Well);
        }
        Errand::TrustPeer { name, fingerprint, accept } => client.decide(&client.user(name)?, fingerprint, *accept)?,
        Errand::VerifyPeer { name, fingerprint } => client.verified(&client.user(name)?, fingerprint)?,
        // None of them is about a peer.
        _ => return Ok(Done::Badly),
    };
    console.result(&object(&trust), &text(&trust)).await;
    Ok(Done::Well)
}

/// What is known of somebody with the proof behind it, where it is asked for.
async fn show_proof(trust: &PeerTrust, checked: Option<&Proof>, saved: Option<&str>, console: &Console) {
    let (mut object, mut text) = (object(trust), text(trust));
    if let Value::Object(fields) = &mut object {
        fields.extend(checked.map(|checked| ("proof".to_owned(), proof::object(checked))));
        fields.extend(saved.map(|file| ("saved".to_owned(), file.into())));
    }
    if let Some(checked) = checked {
        text = format!("{text}\n\n{}", proof::text(checked));
    }
    if let Some(file) = saved {
        text = format!(
            "{text}\n\nThe proof is in {file}: `undertone audit evidence {file}` checks it again, for anybody."
        );
    }
    console.result(&object, &text).await;
}

/// The word for a standing.
pub(crate) const fn standing(standing: Standing) -> &'static str {
    match standing {
        Standing::Pinned => "pinned",
        Standing::Verified => "verified",
        Standing::Overridden => "overridden",
    }
}

fn object(trust: &PeerTrust) -> Value {
    let decisions: Vec<Value> = trust
        .decisions()
        .iter()
        .map(|decision| {
            let verdict = match decision.verdict {
                Verdict::Verified => "verified",
                Verdict::Accepted => "accepted",
                Verdict::Refused => "refused",
            };
            json!({
                "verdict": verdict, "old": decision.old.fingerprint(), "new": decision.new.fingerprint(),
                "at": decision.at.as_unix(),
            })
        })
        .collect();
    let (state, key) = match trust.trusted() {
        Some((known, key)) => (standing(known), Some(key.fingerprint())),
        None => ("changed", None),
    };
    let change = trust.change().map(|(old, new)| json!({ "old": old.fingerprint(), "new": new.fingerprint() }));
    json!({
        "user": trust.user().as_str(), "state": state, "account_key": key, "change": change, "decisions": decisions,
        "directory": trust.attested().map(attested_object),
    })
}

/// The state of the directory that proved somebody's devices, for programs.
pub(crate) fn attested_object(attested: &Attested) -> Value {
    json!({
        "epoch": attested.epoch, "published": attested.published, "log_size": attested.size,
        "log_root": attested.root.iter().map(|byte| format!("{byte:02x}")).collect::<String>(),
        "at": attested.time.as_unix(), "witnesses": attested.witnesses, "witnesses_wanted": attested.threshold,
        "witnessed": attested.is_witnessed(), "unwitnessed_leaves": attested.leaves_since(),
    })
}

/// What the directory proved, in a line or two.
fn attested_text(attested: &Attested) -> String {
    let Attested { epoch, published, size, .. } = attested;
    let seen = witnessed(attested);
    format!(
        "\ndirectory    proven: the list of epoch {published}, in epoch {epoch} of a log of {size}\n             {seen}"
    )
}

/// Who else has seen the log.
pub(crate) fn witnessed(attested: &Attested) -> String {
    let (names, count, threshold) = (attested.witnesses.join(", "), attested.witnesses.len(), attested.threshold);
    match (attested.is_witnessed(), attested.leaves_since()) {
        (true, 0) => format!("witnessed by {names}"),
        (true, 1) => format!("witnessed some time ago by {names}: the newest leaf of the log they have not seen yet"),
        (true, since) => {
            format!("witnessed some time ago by {names}: the newest {since} leaves of the log they have not seen yet")
        }
        (false, _) if threshold > 0 => {
            format!("not witnessed: {count} of the {threshold} witnesses that you ask for have seen this log")
        }
        (false, _) => "not witnessed: nobody but you and the server has seen this log".to_owned(),
    }
}

fn text(trust: &PeerTrust) -> String {
    let user = trust.user();
    match (trust.trusted(), trust.change()) {
        (Some((known, key)), _) => {
            let meaning = match known {
                Standing::Pinned => "the first key seen; compare it with them to be sure",
                Standing::Verified => "you compared it with them",
                Standing::Overridden => "you accepted a changed key without comparing",
            };
            format!(
                "{}\nstate        {} ({meaning})\naccount key  {}{}",
                user.display(),
                standing(known),
                key.fingerprint(),
                trust.attested().map(attested_text).unwrap_or_default()
            )
        }
        (None, Some((old, new))) => format!(
            "{}\nstate        changed: nobody is called or answered under the new key until you decide\n\
             known key    {}\nnew key      {}\n\nAsk them by another way. Then one of:\n  \
             undertone peer trust {user} --accept {}\n  undertone peer trust {user} --refuse {}",
            user.display(),
            old.fingerprint(),
            new.fingerprint(),
            new.fingerprint(),
            new.fingerprint()
        ),
        (None, None) => user.display(),
    }
}
