//! `devices`: those of the account, who let them in, and changes to them.

use std::borrow::Cow;

use serde_json::{Value, json};
use undertone_client::native::errand::Errand;
use undertone_client::native::{Client, ClientError, calendar};
use undertone_client::{Agreement, DeviceId, DeviceList, DeviceRecord, label};

use crate::Done;
use crate::console::Console;
use crate::output::Output;
use crate::pairing;
use crate::secrets::confirm;

/// Digits of an id that name a device at least.
const MIN_PREFIX: usize = 4;

pub(crate) async fn run(client: &Client, errand: &Errand, console: &Console) -> Result<Done, ClientError> {
    match errand {
        Errand::Devices => list(client, console).await?,
        Errand::LetIn { code } => add(client, code, console).await?,
        Errand::Rename { label } => {
            let me = client.whoami()?;
            let list = client.rename(label, console.unlock(false).await?.unlock()).await?;
            let label = client.whoami()?.label;
            let device = me.address.device.to_string();
            let object = json!({ "event": "renamed", "device": device, "label": label, "version": list.version() });
            console.result(&object, &format!("This device is called {label:?} now, and was {:?}.", me.label)).await;
        }
        Errand::Revoke { device } => {
            let (list, here) = (client.devices().await?, client.whoami()?.address.device);
            let record = find(&list, device)?;
            console.confirm(revoke_question(record, here), "y").await?;
            let list = client.revoke(record.device, console.unlock(false).await?.unlock()).await?;
            tell_revoked(record, here, &list, console).await;
        }
        Errand::Keep => {
            let list = client.keep(console.unlock(false).await?.unlock()).await?;
            console
                .result(
                    &json!({ "event": "kept", "version": list.version() }),
                    "The announcement is taken back: your account keeps its key and its devices. Whoever made it had a token of the \
                     operator's; ask them who that was. A passphrase that others may know is changed by `undertone passphrase change`.",
                )
                .await;
        }
        Errand::Accept { device } => accept(client, device, console).await?,
        // None of them is about devices.
        _ => return Ok(Done::Badly),
    }
    Ok(Done::Well)
}

/// Ends the alarm about a device that the account's history has shown, or about its being revoked.
async fn accept(client: &Client, name: &str, console: &Console) -> Result<(), ClientError> {
    // What the history has up to now, so that this device knows what it accepts.
    client.self_audit().await?;
    let list = client.devices().await?;
    let records: Vec<&DeviceRecord> = list.records().iter().collect();
    let record = one_of(&records, name)?.ok_or_else(|| ClientError::NoSuchDevice(name.to_owned()))?;
    client.accept_device(record.device)?;
    let object = json!({ "event": "accepted", "device": record.device.to_string(), "label": called(record) });
    console
        .result(&object, &format!("\"{}\" ({}) is known to you: its alarm has ended.", called(record), record.device))
        .await;
    Ok(())
}

async fn list(client: &Client, console: &Console) -> Result<(), ClientError> {
    let here = client.whoami()?.address.device;
    let list = client.devices().await?;
    let devices: Vec<Value> = list.records().iter().map(|record| object(&list, record, here)).collect();
    let lines: Vec<String> = list.records().iter().map(|record| line(&list, record, here)).collect();
    console.result(&json!({ "version": list.version(), "devices": devices }), &lines.join("\n")).await;
    Ok(())
}

/// What a device is called, as it is shown: its owner chose it, and whoever looks may be somebody else.
fn called(record: &DeviceRecord) -> Cow<'_, str> {
    label::shown(&record.label)
}

fn status(list: &DeviceList, record: &DeviceRecord) -> &'static str {
    if list.is_revoked(record.device) { "revoked" } else { "active" }
}

fn object(list: &DeviceList, record: &DeviceRecord, here: DeviceId) -> Value {
    json!({
        "device": record.device.to_string(), "label": called(record), "status": status(list, record),
        "created": record.created.as_unix(), "this": record.device == here,
        "let_in_by": list.let_in_by(record).map(|by| by.to_string()),
        "agreement": match record.static_key().map(|key| key.kind()) {
            Some(Agreement::P256) => "p256",
            Some(Agreement::Rsa2048) => "rsa2048",
            None => "none",
        },
    })
}

fn line(list: &DeviceList, record: &DeviceRecord, here: DeviceId) -> String {
    let named = |by: DeviceId| list.records().iter().find(|other| other.device == by).map(called);
    let let_in = match list.let_in_by(record) {
        Some(by) => format!(", let in by {}", named(by).unwrap_or_else(|| by.to_string().into())),
        None => String::new(),
    };
    let mark = if record.device == here { "  (this one)" } else { "" };
    format!(
        "{:16}  {}  {:7}  made {}{let_in}{mark}",
        called(record),
        record.device,
        status(list, record),
        calendar::utc(record.created)
    )
}

async fn add(client: &Client, code: &str, console: &Console) -> Result<(), ClientError> {
    let user = client.whoami()?.address.user;
    let question = format!(
        "This lets the device with that code into the account of {}: it will hear and speak in your name. Go on only if you \
         read the code from a device of yours, just now. Let it in? [y/N]",
        user.display()
    );
    console.confirm(question, "y").await?;
    let device = client.let_in(pairing::bare(code)).await?;
    let object = json!({ "event": "let_in", "user": user.as_str(), "device": device.to_string() });
    let text =
        format!("The device {device} may join. It goes on by itself there; `undertone devices` shows it when it has.");
    console.result(&object, &text).await;
    Ok(())
}

fn revoke_question(record: &DeviceRecord, here: DeviceId) -> String {
    let which = if record.device == here { "this very device, " } else { "" };
    format!(
        "This revokes {which}\"{}\" ({}), for good: its calls end, and it can act for you no more. Revoke it? [y/N]",
        called(record),
        record.device
    )
}

async fn tell_revoked(record: &DeviceRecord, here: DeviceId, list: &DeviceList, console: &Console) {
    let this = record.device == here;
    let object = json!({
        "event": "revoked", "device": record.device.to_string(), "label": called(record), "this": this,
        "version": list.version(),
    });
    let left = list.active().count();
    let text = match (this, left) {
        (false, _) => {
            format!("\"{}\" is revoked: it can act for you no more. Its keys are of no use to whoever has it.", called(record))
        }
        (true, 0) => "This device is revoked and its keys are gone. It was the account's last one: `undertone login NAME` brings \
                      the account back, with the passphrase or with --recovery."
            .to_owned(),
        (true, left) => format!("This device is revoked and its keys are gone. {left} of the account's may still act."),
    };
    console.result(&object, &text).await;
}

/// Names those who will be cut off, and asks whether that is meant.
pub(crate) fn cut_off(list: &DeviceList, yes: bool, output: Output) -> bool {
    let devices: Vec<Value> =
        list.active().map(|record| json!({ "device": record.device.to_string(), "label": called(record) })).collect();
    let lines: Vec<String> = list
        .active()
        .map(|record| format!("  {:16}  made {}", called(record), calendar::utc(record.created)))
        .collect();
    output.event(
        &json!({ "event": "cutting_off", "devices": devices }),
        &format!("No device lets this one in, so all of these are revoked, for good:\n\n{}\n", lines.join("\n")),
    );
    confirm(yes, "Type yes to revoke them all:", "yes").is_ok()
}

/// The one active device of that label, or whose id begins so.
fn find<'l>(list: &'l DeviceList, name: &str) -> Result<&'l DeviceRecord, ClientError> {
    let active: Vec<&DeviceRecord> = list.active().collect();
    if let Some(record) = one_of(&active, name)? {
        return Ok(record);
    }
    let revoked = list.records().iter().find(|record| is_it(record, name));
    Err(revoked.map_or_else(
        || ClientError::NoSuchDevice(name.to_owned()),
        |revoked| ClientError::Revoked(format!("\"{}\"", called(revoked))),
    ))
}

fn one_of<'l>(records: &[&'l DeviceRecord], name: &str) -> Result<Option<&'l DeviceRecord>, ClientError> {
    // A whole id names a device whatever others are called.
    let whole = DeviceId::parse(&name.to_ascii_lowercase());
    if let Some(record) = whole.and_then(|id| records.iter().copied().find(|record| record.device == id)) {
        return Ok(Some(record));
    }
    let found: Vec<&DeviceRecord> = records.iter().copied().filter(|record| is_it(record, name)).collect();
    match found.as_slice() {
        [] => Ok(None),
        [record] => Ok(Some(record)),
        several => {
            let ids: Vec<String> = several.iter().map(|record| record.device.to_string()).collect();
            Err(ClientError::AmbiguousDevice { name: name.to_owned(), ids: ids.join(", ") })
        }
    }
}

fn is_it(record: &DeviceRecord, name: &str) -> bool {
    let prefix = name.to_ascii_lowercase();
    record.label == name
        || label::shown(&record.label) == name
        || (prefix.len() >= MIN_PREFIX && record.device.to_string().starts_with(&prefix))
}
