//! What is wrong, and what to do about it.

use std::os::unix::fs::MetadataExt;

use undertone_keys::label::shown;

use super::config::ClientConfig;
use super::connector::Connector;
use super::error::ClientError;
use super::home::Home;
use super::{links, sound};

/// One thing that was looked at.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Finding {
    /// What.
    pub what: &'static str,
    /// Whether it is as it should be.
    pub good: bool,
    /// What was seen, and advice where it is not good.
    pub seen: String,
}

fn finding(what: &'static str, good: bool, seen: impl Into<String>) -> Finding {
    Finding { what, good, seen: seen.into() }
}

pub(super) async fn examine(home: &Home) -> Vec<Finding> {
    let mut findings = Vec::new();
    let mode = std::fs::metadata(home.folder()).map(|meta| meta.mode() & 0o777);
    findings.push(match mode {
        Ok(mode) if mode & 0o077 == 0 => finding("home folder", true, format!("mode {mode:o}")),
        Ok(mode) => {
            let path = home.folder().display();
            finding("home folder", false, format!("mode {mode:o}, others can look in: run `chmod 700 {path}`"))
        }
        Err(error) => finding("home folder", false, error.to_string()),
    });
    match home.device() {
        Ok(Some(device)) => {
            findings.push(finding(
                "account",
                true,
                format!("{} on device {}", device.address.user, shown(&device.label)),
            ));
        }
        Ok(None) => {
            findings.push(finding("account", false, "none: run `undertone register NAME` or `undertone login NAME`"));
        }
        Err(error) => findings.push(finding("account", false, error.to_string())),
    }
    match ClientConfig::read(home.folder()) {
        Ok(config) if config == ClientConfig::none() => {}
        Ok(ClientConfig { witnesses, .. }) => {
            let insists = if witnesses.insists() { ", and nothing begins without them" } else { "" };
            let (need, known) = (witnesses.threshold(), witnesses.keys().len());
            findings.push(finding("witnesses", true, format!("{need} of {known} have to cosign{insists}")));
        }
        Err(error) => findings.push(finding("witnesses", false, error.to_string())),
    }
    if let Ok(Some(pin)) = home.server() {
        match Connector::to_pinned(&pin).await {
            Ok((_, connector)) => {
                let seen = format!("{} is the pinned one, {}", pin.address, pin.identity.fingerprint());
                findings.push(finding("server", true, seen));
                findings.push(match links::probe_relay(&connector).await {
                    Ok(rtt) => finding("relay (UDP)", true, format!("{:.1} ms", rtt.as_secs_f64() * 1000.0)),
                    Err(reason) => {
                        let seen = format!("{reason}: is UDP open to {} on the way there?", pin.address);
                        finding("relay (UDP)", false, seen)
                    }
                });
            }
            Err(error @ ClientError::Unreachable { .. }) => {
                let advice =
                    "is it running, and is its port open on the way there? `make run` starts one on this machine";
                findings.push(finding("server", false, format!("{error}: {advice}")));
            }
            Err(error) => findings.push(finding("server", false, error.to_string())),
        }
    }
    let sound = tokio::task::spawn_blocking(|| {
        let microphone = sound::Microphone::open(None).map(|_| ()).map_err(|error| error.to_string());
        let speaker = sound::Speaker::open(None).map(|_| ()).map_err(|error| error.to_string());
        [("microphone", microphone), ("loudspeaker", speaker)]
    });
    for (what, result) in sound.await.into_iter().flatten() {
        findings.push(match result {
            Ok(()) => finding(what, true, "opens"),
            Err(error) => finding(what, false, error),
        });
    }
    findings
}
