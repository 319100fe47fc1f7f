//! `register`, `login`, `logout`, `whoami`, `devices`, `doctor`.

use std::io::IsTerminal;

use serde_json::json;
use undertone_client::native::{
    Client, ClientError, HomeError, KeyPlace, Login as LoginRequest, MIN_PASSPHRASE, Pins, Registration,
};
use undertone_client::secret::SecretBytes;
use undertone_client::{Agreement, UserId};

use crate::Done;
use crate::arguments::{Login, Place, Register};
use crate::output::Output;

fn io(source: std::io::Error) -> ClientError {
    HomeError::Io { path: "passphrase".into(), source }.into()
}

/// The passphrase from stdin or a prompt, never from the arguments.
fn passphrase(place: &Place, confirm: bool) -> Result<SecretBytes, ClientError> {
    if place.passphrase_stdin {
        let mut line = String::with_capacity(4096);
        std::io::stdin().read_line(&mut line).map_err(io)?;
        line.truncate(line.trim_end_matches(['\r', '\n']).len());
        return Ok(SecretBytes::new(line.into_bytes()));
    }
    if !std::io::stdin().is_terminal() {
        return Err(ClientError::NoTerminal);
    }
    let prompt =
        if confirm { "Passphrase (8 characters or more, four random words are good): " } else { "Passphrase: " };
    let first = SecretBytes::new(rpassword::prompt_password(prompt).map_err(io)?.into_bytes());
    if confirm && first.as_slice().len() < MIN_PASSPHRASE {
        return Err(ClientError::ShortPassphrase);
    }
    if confirm {
        let again = SecretBytes::new(rpassword::prompt_password("The same once more: ").map_err(io)?.into_bytes());
        if first.as_slice() != again.as_slice() {
            return Err(ClientError::PassphrasesDiffer);
        }
    }
    Ok(first)
}

/// Asks for PINs on the terminal, or takes them from stdin.
#[derive(Debug)]
pub(crate) struct PinPrompt {
    pub(crate) stdin: bool,
}

impl Pins for PinPrompt {
    fn pin(&self, token: &str) -> Option<SecretBytes> {
        if self.stdin {
            let mut line = String::with_capacity(4096);
            std::io::stdin().read_line(&mut line).ok()?;
            line.truncate(line.trim_end_matches(['\r', '\n']).len());
            return (!line.is_empty()).then(|| SecretBytes::new(line.into_bytes()));
        }
        if !std::io::stdin().is_terminal() {
            return None;
        }
        let pin = rpassword::prompt_password(format!("PIN of the token {token:?}: ")).ok()?;
        Some(SecretBytes::new(pin.into_bytes()))
    }
}

/// Where this device's key lies.
fn key_object(place: &KeyPlace) -> serde_json::Value {
    match place {
        KeyPlace::P256 => json!({ "agreement": "p256", "token": null }),
        KeyPlace::Rsa2048 => json!({ "agreement": "rsa2048", "token": null }),
        KeyPlace::Token(label) => json!({ "agreement": "p256", "token": label }),
    }
}

fn key_text(place: &KeyPlace) -> String {
    match place {
        KeyPlace::P256 => "P-256, in this home".into(),
        KeyPlace::Rsa2048 => "RSA-2048, in this home; calls have no forward secrecy".into(),
        KeyPlace::Token(label) => format!("P-256, on the token {label:?}, which it cannot be moved from"),
    }
}

/// Nobody should type a passphrase twice to hear that the home is taken.
fn must_be_free(client: &Client) -> Result<(), ClientError> {
    match client.whoami() {
        Ok(me) => Err(ClientError::LoggedIn(me.address.user.to_string())),
        Err(_) => Ok(()),
    }
}

/// Nor to hear that the name is none.
fn must_be_a_name(name: &str) -> Result<(), ClientError> {
    UserId::parse(name, "localhost").map(|_| ()).map_err(ClientError::Name)
}

pub(crate) async fn register(
    client: &Client,
    options: &Register,
    home: &str,
    output: &Output,
) -> Result<Done, ClientError> {
    must_be_free(client)?;
    must_be_a_name(&options.name)?;
    let passphrase = passphrase(&options.place, true)?;
    if !output.is_json() {
        eprintln!("Making keys and stretching the passphrase ...");
    }
    let registration = Registration {
        server: &options.place.server,
        name: &options.name,
        passphrase: &passphrase,
        label: &options.place.label,
        invite: options.invite.as_deref(),
        key: options.place.key(),
    };
    let registered = client.register(registration).await?;
    let recovery = registered.recovery.map(|key| key.to_text()).unwrap_or_default();
    let object = json!({
        "event": "registered", "user": registered.user.as_str(), "recovery_key": recovery,
        "server_key": registered.server_key, "account_key": registered.account,
    });
    let text = format!(
        "You are {}.\n\nRecovery key, shown this once; write it down and keep it from your devices:\n\n  {}\n\n\
         Server key, trusted from now on:\n  {}\nYour account key, for others to compare:\n  {}\n\n\
         Next: `undertone{home} answer` waits for a call, `undertone{home} call NAME` makes one.",
        registered.user.display(),
        recovery,
        registered.server_key,
        registered.account
    );
    output.result(&object, &text);
    Ok(Done::Well)
}

pub(crate) async fn login(client: &Client, options: &Login, output: &Output) -> Result<Done, ClientError> {
    must_be_free(client)?;
    must_be_a_name(&options.name)?;
    let passphrase = passphrase(&options.place, false)?;
    let login = LoginRequest {
        server: &options.place.server,
        name: &options.name,
        passphrase: &passphrase,
        label: &options.place.label,
        key: options.place.key(),
    };
    let recovery = client.login(login).await?.recovery.map(|key| key.to_text());
    let me = client.whoami()?;
    let object = json!({
        "event": "logged_in", "user": me.address.user.as_str(), "device": me.address.device.to_string(),
        "server_key": me.server_key, "recovery_key": recovery,
    });
    let shown = recovery.map_or_else(String::new, |key| {
        format!("\n\nRecovery key of your unfinished registration, shown this once; write it down:\n\n  {key}")
    });
    let text = format!(
        "This device is now one of {}'s.\nServer key, trusted from now on:\n  {}\nThe account's key:\n  {}{shown}",
        me.address.user.display(),
        me.server_key,
        me.account
    );
    output.result(&object, &text);
    Ok(Done::Well)
}

pub(crate) async fn logout(client: &Client, output: &Output) -> Result<Done, ClientError> {
    let user = client.whoami()?.address.user;
    client.logout().await?;
    output.result(
        &json!({ "event": "logged_out", "user": user.as_str() }),
        &format!(
            "This device can no longer act for {}; its keys are gone. It stays in the account's list of devices until it \
             is revoked there.",
            user.display()
        ),
    );
    Ok(Done::Well)
}

pub(crate) fn whoami(client: &Client, output: &Output) -> Result<Done, ClientError> {
    let me = client.whoami()?;
    let object = json!({
        "user": me.address.user.as_str(), "device": me.address.device.to_string(), "label": me.label,
        "account_key": me.account, "server": me.server, "server_key": me.server_key, "key": key_object(&me.key),
    });
    let text = format!(
        "{} on device {} ({})\ndevice key   {}\naccount key  {}\nserver       {}\nserver key   {}",
        me.address.user.display(),
        me.address.device,
        me.label,
        key_text(&me.key),
        me.account,
        me.server,
        me.server_key
    );
    output.result(&object, &text);
    Ok(Done::Well)
}

pub(crate) async fn devices(client: &Client, output: &Output) -> Result<Done, ClientError> {
    let here = client.whoami()?.address.device;
    let list = client.devices().await?;
    let mut lines = Vec::new();
    let mut devices = Vec::new();
    for record in list.records() {
        let status = if list.is_revoked(record.device) { "revoked" } else { "active" };
        let mark = if record.device == here { "  (this one)" } else { "" };
        lines.push(format!("{}  {:16}  {status}{mark}", record.device, record.label));
        devices.push(json!({
            "device": record.device.to_string(), "label": record.label, "status": status,
            "created": record.created.as_unix(), "this": record.device == here,
            "agreement": match record.static_key().map(|key| key.kind()) {
                Some(Agreement::P256) => "p256",
                Some(Agreement::Rsa2048) => "rsa2048",
                None => "none",
            },
        }));
    }
    output.result(&json!({ "version": list.version(), "devices": devices }), &lines.join("\n"));
    Ok(Done::Well)
}

pub(crate) async fn doctor(client: &Client, output: &Output) -> Result<Done, ClientError> {
    let findings = client.doctor().await;
    for finding in &findings {
        let object = json!({ "what": finding.what, "good": finding.good, "seen": finding.seen });
        let mark = if finding.good { "good " } else { "amiss" };
        output.result(&object, &format!("{mark}  {:14} {}", finding.what, finding.seen));
    }
    let amiss = findings.iter().filter(|finding| !finding.good).count();
    if !output.is_json() {
        output.result(&json!({}), &format!("{} looked at, {amiss} amiss", findings.len()));
    }
    Ok(if amiss == 0 { Done::Well } else { Done::Badly })
}
