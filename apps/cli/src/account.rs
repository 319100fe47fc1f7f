//! `register`, `login`, `logout`, `whoami`, `doctor`.

use serde_json::json;
use undertone_client::label::shown;
use undertone_client::native::{
    Client, ClientError, Entrance, KeyPlace, Login as LoginRequest, Registered, Registration, calendar,
};
use undertone_client::{DeviceList, UserId};

use crate::arguments::{Login, Register};
use crate::console::Console;
use crate::output::Output;
use crate::secrets::{self, Typed};
use crate::{Done, devices, pairing};

/// Where an invite may stand, and a token of the operator's by which an account begins anew.
const INVITE: &str = "UNDERTONE_INVITE";
const ANEW: &str = "UNDERTONE_ANEW";

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
    // Said with the option, or there in the environment without it.
    let of_the_environment = std::env::var_os(INVITE).is_some_and(|token| !token.is_empty()) && options.anew.is_none();
    let said = options.invite.as_deref().or_else(|| of_the_environment.then_some(""));
    let invite = secrets::token("--invite", said, INVITE, true)?;
    let anew = secrets::token("--anew", options.anew.as_deref(), ANEW, false)?;
    let passphrase = secrets::new_passphrase(options.place.passphrase_stdin)?;
    if !output.is_json() {
        eprintln!("Making keys and stretching the passphrase ...");
    }
    let registration = Registration {
        server: &options.place.server,
        name: &options.name,
        passphrase: &passphrase,
        label: &options.place.label,
        invite: secrets::token_text(invite.as_ref()),
        anew: secrets::token_text(anew.as_ref()),
        key: options.place.key(),
    };
    let registered = client.register(registration).await?;
    match registered.effective {
        None => tell_registered(&registered, home, *output),
        Some(effective) => {
            let (recovery, user) = (recovery_text(&registered), &registered.user);
            let object = json!({
                "event": "announced", "user": user.as_str(), "recovery_key": recovery, "effective": effective.as_unix(),
                "server_key": registered.server_key, "account_key": registered.account,
            });
            let text = format!(
                "It is announced that {} begins anew, since devices of it may still act. At {} `undertone{home} login {user}` \
                 finishes it here, with the passphrase you just chose. Whoever has the old passphrase, the old recovery key or \
                 one of those devices with either can take it back until then. Everybody who knows you has to accept your new \
                 key.\n\nYour new recovery key, shown this once; write it down and keep it from your devices:\n\n  {recovery}\n\n\
                 Server key, trusted from now on:\n  {}\nYour new account key, for others to compare:\n  {}",
                user.display(),
                calendar::utc(effective),
                registered.server_key,
                registered.account
            );
            output.result(&object, &text);
        }
    }
    Ok(Done::Well)
}

fn recovery_text(registered: &Registered) -> String {
    registered.recovery.as_ref().map(|key| key.to_text()).unwrap_or_default()
}

fn tell_registered(registered: &Registered, home: &str, output: Output) {
    let recovery = recovery_text(registered);
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
}

pub(crate) async fn login(client: &Client, options: &Login, output: &Output) -> Result<Done, ClientError> {
    must_be_free(client)?;
    must_be_a_name(&options.name)?;
    if options.alone {
        secrets::must_be_asked(options.yes)?;
    }
    let typed = if options.recovery || options.recovery_stdin {
        let key = secrets::recovery_key(options.recovery_stdin)?;
        let stdin = options.recovery_stdin || options.place.passphrase_stdin;
        let new = if options.keep_passphrase { None } else { Some(secrets::new_passphrase(stdin)?) };
        Typed::Recovery(key, new)
    } else {
        Typed::Passphrase(secrets::passphrase(options.place.passphrase_stdin)?)
    };
    let show = |code: &str| pairing::show(code, &options.name, *output);
    let meant = |list: &DeviceList| devices::cut_off(list, options.yes, *output);
    let login = LoginRequest {
        server: &options.place.server,
        name: &options.name,
        unlock: typed.unlock(),
        label: &options.place.label,
        key: options.place.key(),
        entrance: if options.alone { Entrance::Alone(&meant) } else { Entrance::LetIn(&show) },
        keep: options.keep,
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
    let me = client.whoami()?;
    let (user, device) = (me.address.user, me.address.device);
    client.logout().await?;
    output.result(
        &json!({ "event": "logged_out", "user": user.as_str() }),
        &format!(
            "This device can no longer act for {}; its keys are gone. It stays in the account's list of devices until \
             another one revokes it: `undertone devices revoke {device}` there.",
            user.display()
        ),
    );
    Ok(Done::Well)
}

pub(crate) async fn whoami(client: &Client, console: &Console) -> Result<Done, ClientError> {
    let me = client.whoami()?;
    let object = json!({
        "user": me.address.user.as_str(), "device": me.address.device.to_string(), "label": shown(&me.label),
        "account_key": me.account, "server": me.server, "server_key": me.server_key, "key": key_object(&me.key),
    });
    let text = format!(
        "{} on device {} ({})\ndevice key   {}\naccount key  {}\nserver       {}\nserver key   {}",
        me.address.user.display(),
        me.address.device,
        shown(&me.label),
        key_text(&me.key),
        me.account,
        me.server,
        me.server_key
    );
    console.result(&object, &text).await;
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
