//! `call` and `answer`: one call from beginning to end.

use std::io::IsTerminal;
use std::time::Duration;

use serde_json::json;
use tokio::time::{Instant, MissedTickBehavior};
use undertone_client::engine::{CallInfo, Side};
use undertone_client::native::{Client, ClientError, KeyPlace, Online, Sound, Wanted};
use undertone_client::swarm::QuorumNodes;
use undertone_client::{Agreement, Event, Outcome, Protection, Reason, Role, Standing};

use crate::Done;
use crate::arguments::{Answer, Call, LegacyOption, ProtectionOption, SoundOptions};
use crate::conversation::{
    Mouth, check_tap, next_signal, offline, signal_stream, sleep_until, sound, status_object, words,
};
use crate::errand::{Errands, report as report_errand};
use crate::live::{Key, Live, call_parts};
use crate::output::Output;
use crate::peer::standing;

/// Whoever is called by this name is oneself.
const ECHO: &str = "echo@";
/// What comes back is held so long, to be told from what is said.
const ECHO_DELAY: Duration = Duration::from_secs(1);

pub(crate) async fn call(client: &Client, options: &Call, output: &Output) -> Result<Done, ClientError> {
    let sound = sound(&options.sound)?;
    if options.peer == ECHO {
        if matches!(options.protection, ProtectionOption::Hop) {
            let message = "an echo is blind: nobody but this device can open it. Leave --protection out.".into();
            return Err(ClientError::Refused { code: "protection".into(), message });
        }
        let online = client.connect().await?;
        online.echo(sound.delayed(ECHO_DELAY)).await?;
        return follow(client, online, &options.sound, Waiting::default(), *output).await;
    }
    dial(client, options, (sound, false), output).await
}

/// A call with a quorum secret that ends when both sides have the key, and shows how it came about.
pub(crate) async fn exchange(client: &Client, options: &Call, output: &Output) -> Result<Done, ClientError> {
    dial(client, options, (Sound::silent(), true), output).await
}

async fn dial(
    client: &Client,
    options: &Call,
    (sound, exchange): (Sound, bool),
    output: &Output,
) -> Result<Done, ClientError> {
    let legacy = own(client, options.legacy)?;
    let online = client.connect().await?;
    online.legacy(legacy.into()).await?;
    if let Some(swarm) = online.swarm().filter(|_| options.quorum) {
        output.event(
            &json!({ "event": "swarm", "id": swarm.id, "nodes": swarm.nodes, "threshold": swarm.threshold }),
            &format!(
                "Swarm {}: {} nodes, any {} of which make a secret. Shares are to be left for your coin {}.",
                swarm.id,
                swarm.nodes,
                swarm.threshold,
                swarm.coins.first().map_or("", String::as_str)
            ),
        );
    }
    if options.drill_wrong_quorum {
        online.spoil_quorum().await?;
    }
    online.call_as(&options.peer, options.wanted(legacy), sound).await?;
    let hop = matches!(options.protection, ProtectionOption::Hop);
    if hop {
        output.event(&json!({ "event": "hop_asked" }), "You ask for a call that the relay can hear.");
    }
    let waiting = Waiting { hop, legacy, exchange, calling: Some(options.clone()), ..Waiting::default() };
    follow(client, online, &options.sound, waiting, *output).await
}

pub(crate) async fn answer(client: &Client, options: &Answer, output: &Output) -> Result<Done, ClientError> {
    let sound = if options.decline { Sound::silent() } else { sound(&options.sound)? };
    let legacy = own(client, options.legacy)?;
    let online = client.connect().await?;
    online.legacy(legacy.into()).await?;
    let me = client.whoami()?.address.user;
    let text =
        format!("{} can be called now, and takes the first call by itself. Ctrl-C ends the waiting.", me.display());
    output.event(&json!({ "event": "waiting", "user": me.as_str() }), &text);
    let waiting = Waiting {
        sound: Some(sound),
        decline: options.decline,
        allow_hop: options.allow_hop,
        require_quorum: options.require_quorum,
        legacy,
        ..Waiting::default()
    };
    follow(client, online, &options.sound, waiting, *output).await
}

/// What is done with a call that comes in; nothing where this side calls.
#[derive(Debug, Default)]
struct Waiting {
    sound: Option<Sound>,
    decline: bool,
    allow_hop: bool,
    require_quorum: bool,
    /// The call ends when both sides have its key.
    exchange: bool,
    legacy: LegacyOption,
    /// What this side asked for, if it calls.
    calling: Option<Call>,
    /// A person was asked about RSA and said yes: what follows on the refusal is a second attempt.
    again: bool,
    /// This side calls, and asks for a hop room.
    hop: bool,
}

/// Whoever has RSA alone need not be asked about it again.
fn own(client: &Client, option: LegacyOption) -> Result<LegacyOption, ClientError> {
    let legacy = client.whoami()?.key == KeyPlace::Rsa2048;
    Ok(if legacy && option == LegacyOption::Ask { LegacyOption::Allow } else { option })
}

/// Whether to talk with somebody whose device has RSA alone: what was said before, or what a person says now.
fn says_yes(policy: LegacyOption, name: &str, output: Output) -> bool {
    match policy {
        LegacyOption::Allow => true,
        LegacyOption::Refuse => false,
        LegacyOption::Ask if output.is_json() || !std::io::stdin().is_terminal() => false,
        LegacyOption::Ask => {
            eprint!(
                "{name} has only RSA-2048: whoever gets that key one day can open this call, if they recorded it. Talk all \
                 the same? [y/N] "
            );
            let mut line = String::new();
            std::io::stdin().read_line(&mut line).is_ok() && line.trim().eq_ignore_ascii_case("y")
        }
    }
}

/// When the other side is there and nothing is heard of it for so long, `--seconds` counts without it.
const FIRST_SOUND: Duration = Duration::from_secs(10);

/// What is known of the call so far.
#[derive(Default)]
struct Progress {
    info: Option<CallInfo>,
    began: Option<Instant>,
    /// From when `--seconds` counts: the first sound of the other side, or a while after both were there.
    counts_from: Option<Instant>,
    mouth: Mouth,
    /// Somebody said that the pictures are the same, now or in an earlier call.
    verified: bool,
    /// Sound does not flow.
    away: bool,
    checked: bool,
    ending: bool,
    /// This side asked for a call that the relay can open.
    hop: bool,
    /// It is about the key alone.
    exchange: bool,
}

/// Follows one call from its first event to its end.
async fn follow(
    client: &Client,
    mut online: Online,
    options: &SoundOptions,
    mut waiting: Waiting,
    output: Output,
) -> Result<Done, ClientError> {
    let (mut live, mut keys) = (None::<Live>, None::<tokio::sync::mpsc::Receiver<Key>>);
    let mut progress =
        Progress { hop: waiting.hop, exchange: waiting.exchange, mouth: Mouth::new(options), ..Progress::default() };
    progress.mouth.mind(&online).await?;
    let mut draw = tokio::time::interval(Duration::from_millis(100));
    draw.set_missed_tick_behavior(MissedTickBehavior::Skip);
    let mut ticks = 0_u64;
    let mut errands = Errands::open(client);
    let (mut interrupt, mut terminate) = (signal_stream(true), signal_stream(false));
    let done = loop {
        let end = progress.counts_from.zip(options.seconds).map(|(from, seconds)| from + Duration::from_secs(seconds));
        let pressed = async {
            match &mut keys {
                Some(keys) => keys.recv().await,
                None => std::future::pending().await,
            }
        };
        tokio::select! {
            event = online.next_event() => {
                let Some(event) = event else { break Done::Badly };
                if let Some(live) = &live { live.clear(); }
                report(client, &event, output, &progress);
                match event {
                    Event::Incoming { protection: Protection::Hop, .. } if !waiting.allow_hop && !waiting.decline => {
                        output.event(
                            &json!({ "event": "hop_refused" }),
                            "Refused: the relay could hear that call. `undertone answer --allow-hop` takes such calls.",
                        );
                        online.refuse().await?;
                    }
                    Event::Incoming { quorum: None, .. } if waiting.require_quorum && !waiting.decline => {
                        output.event(
                            &json!({ "event": "quorum_required" }),
                            "Refused: it would be without a quorum secret. `undertone call NAME --quorum` has one.",
                        );
                        online.refuse().await?;
                    }
                    Event::Incoming { agreement: Agreement::Rsa2048, ref peer, .. }
                        if !waiting.decline && !says_yes(waiting.legacy, &peer.user.display(), output) =>
                    {
                        output.event(
                            &json!({ "event": "legacy_refused" }),
                            "Refused: it would be by RSA-2048, without forward secrecy. `undertone answer --legacy allow` \
                             takes such calls.",
                        );
                        online.refuse().await?;
                    }
                    Event::LegacyAsked => {
                        let name = waiting.calling.as_ref().map(|call| call.peer.clone()).unwrap_or_default();
                        waiting.again = says_yes(waiting.legacy, &name, output);
                    }
                    // Nobody minds: once more, and this time it is allowed.
                    Event::Refused { .. } if waiting.again => {
                        waiting.again = false;
                        if let Some(call) = &waiting.calling {
                            let sound = sound(options)?;
                            online.call_as(&call.peer, call.wanted(LegacyOption::Allow), sound).await?;
                        }
                    }
                    Event::Incoming { call, .. } => match waiting.sound.take() {
                        Some(_) if waiting.decline => online.decline().await?,
                        Some(sound) => online.accept_only(call, sound).await?,
                        None => {}
                    },
                    Event::Established(info) => {
                        progress.verified = info.standing == Standing::Verified;
                        progress.info = Some(*info);
                        if waiting.exchange {
                            progress.ending = true;
                            online.hang_up().await?;
                            continue;
                        }
                        let (screen, pressed) = Live::start(!output.is_json());
                        (live, keys) = (Some(screen), Some(pressed));
                    }
                    Event::Echo { .. } => {
                        let (screen, pressed) = Live::start(!output.is_json());
                        (live, keys) = (Some(screen), Some(pressed));
                    }
                    Event::Connected { .. } => {
                        progress.away = false;
                        progress.began.get_or_insert_with(Instant::now);
                        progress.counts_from.get_or_insert_with(|| Instant::now() + FIRST_SOUND);
                    }
                    Event::Hearing { .. } => progress.counts_from = Some(Instant::now()),
                    Event::Interrupted { .. } => progress.away = true,
                    // A call that was refused by policy leaves this side waiting for the next.
                    Event::Over { outcome: Outcome::RefusedByPolicy | Outcome::NoQuorum, .. }
                        if waiting.sound.is_some() => {}
                    Event::Over { outcome, .. } => {
                        let well = outcome == Outcome::Ended || (waiting.decline && outcome == Outcome::Declined);
                        break if well { Done::Well } else { Done::Badly };
                    }
                    // A call whose keys both sides have confirmed, and may have compared, goes on.
                    Event::Disproved { ref call, .. } if call.is_some() || progress.info.is_none() => break Done::Faulty,
                    // Whoever was revoked has no call any more, whatever the relay has heard of it.
                    Event::Offline { reason: Some(Reason::Revoked) } => break Done::Badly,
                    // The server will not have this device again; without a call there is nothing to wait for.
                    Event::Refused { .. }
                    | Event::Offline { reason: Some(Reason::Replaced | Reason::Version) }
                        if progress.info.is_none() =>
                    {
                        break Done::Badly;
                    }
                    _ => {}
                }
            }
            key = pressed => match key {
                // There is nothing to type in a call.
                Some(Key::Typing(_) | Key::Command(_) | Key::Who) => {}
                Some(Key::HangUp) | None if progress.ending => {}
                Some(Key::HangUp) | None => end_call(&online, options, &mut progress, output).await?,
                Some(Key::Mute) => {
                    progress.mouth.toggle();
                    progress.mouth.mind(&online).await?;
                }
                Some(Key::Talk) => {
                    progress.mouth.hold();
                    progress.mouth.mind(&online).await?;
                }
                Some(Key::Same) if progress.verified => {}
                Some(Key::Same) => if let Some(info) = &progress.info {
                    progress.verified = true;
                    client.verified(&info.peer.user, &info.account.fingerprint())?;
                    if let Some(live) = &live { live.clear(); }
                    let text = format!("{} is verified from now on.", info.peer.user.display());
                    output.event(&json!({ "event": "verified", "user": info.peer.user.as_str() }), &text);
                },
            },
            notice = errands.next() => {
                if let Some(live) = &live { live.clear(); }
                report_errand(&notice, output);
            }
            _ = draw.tick(), if progress.began.is_some() => {
                ticks += 1;
                progress.mouth.mind(&online).await?;
                let (status, seconds) = (online.status(), progress.began.map_or(0, |began| began.elapsed().as_secs()));
                if let Some(live) = &live {
                    let info = progress.info.as_ref();
                    live.draw(&call_parts(seconds, progress.mouth.is_shut(), progress.away, info, &status));
                }
                if output.is_json() && ticks.is_multiple_of(10) {
                    output.event(&status_object(&status), "");
                }
            }
            () = sleep_until(end), if !progress.ending => end_call(&online, options, &mut progress, output).await?,
            () = next_signal(&mut interrupt, &mut terminate) => {
                if progress.info.is_none() && waiting.sound.is_some() { break Done::Well }
                end_call(&online, options, &mut progress, output).await?;
            }
        }
    };
    drop(live);
    errands.close().await;
    online.stop().await;
    Ok(done)
}

/// Looks at the tap while the keys are still there, then hangs up.
async fn end_call(
    online: &Online,
    options: &SoundOptions,
    progress: &mut Progress,
    output: Output,
) -> Result<(), ClientError> {
    progress.ending = true;
    if !core::mem::replace(&mut progress.checked, true) {
        check_tap(online, options, output).await?;
    }
    if output.is_json() {
        output.event(&status_object(&online.status()), "");
    }
    online.hang_up().await
}

/// Tells a person and a program what happened.
fn report(client: &Client, event: &Event, output: Output, progress: &Progress) {
    match event {
        Event::Online => output.event(&json!({ "event": "online" }), "The server is back."),
        Event::Offline { reason } => offline(*reason, output),
        Event::Calling { call, peer, standing: known } => output.event(
            &json!({ "event": "calling", "call": call.to_string(), "peer": peer.as_str(), "standing": standing(*known) }),
            &format!("Calling {} ({}) ...", peer.display(), words(*known)),
        ),
        Event::Ringing { call } => {
            output.event(&json!({ "event": "ringing", "call": call.to_string() }), "It rings.");
        }
        Event::Incoming { call, peer, standing: known, protection, agreement, quorum } => output.event(
            &json!({
                "event": "incoming", "call": call.to_string(), "peer": peer.user.as_str(),
                "device": peer.device.to_string(), "standing": standing(*known), "protection": protection.as_str(),
                "key": agreement.as_str(), "quorum": quorum.is_some(),
            }),
            &format!(
                "{} calls ({}){}{}{}.",
                peer.user.display(),
                words(*known),
                if *protection == Protection::Hop { ", and the relay could hear it" } else { "" },
                if *agreement == Agreement::Rsa2048 { ", by RSA and without forward secrecy" } else { "" },
                if quorum.is_some() { ", with a quorum secret" } else { "" }
            ),
        ),
        Event::Yielded { ours, theirs } => output.event(
            &json!({ "event": "yielded", "ours": ours.to_string(), "theirs": theirs.to_string() }),
            "They called you at the same moment; theirs goes on.",
        ),
        Event::Established(info) => established(info, progress.exchange, output),
        Event::Quorum(step) => crate::raida::step(step, progress.exchange, output),
        Event::Echo { call } => output.event(
            &json!({ "event": "echo", "call": call.to_string() }),
            "Say something: you hear it a second later, as others would hear you. The relay hands back what it cannot open.\n\
             Keys: m mute, q hang up; space talks with --push-to-talk.",
        ),
        Event::Connected { call, again } => output.event(
            &json!({ "event": "connected", "call": call.to_string(), "again": again }),
            if *again { "Connected again." } else { "" },
        ),
        Event::Hearing { call } => output.event(&json!({ "event": "hearing", "call": call.to_string() }), ""),
        Event::Interrupted { call, who } => {
            let (who, text) = match who {
                Side::Here => ("here", "The relay does not answer; trying to come back ..."),
                Side::There => ("there", "The other side is gone; waiting for it to come back ..."),
            };
            output.event(&json!({ "event": "interrupted", "call": call.to_string(), "who": who }), text);
        }
        Event::Over { call, outcome } => {
            let seconds = progress.began.map_or(0.0, |began| began.elapsed().as_secs_f64());
            output.event(
                &json!({
                    "event": "over", "call": call.to_string(), "result": outcome.as_str(),
                    "seconds": (seconds * 10.0).round() / 10.0,
                }),
                &outcome_text(*outcome, progress),
            );
        }
        Event::Refused { reason, outcome } => output.event(
            &json!({ "event": "refused", "result": outcome.as_str(), "reason": reason }),
            &format!("No call: {reason}."),
        ),
        Event::SoundFailed { reason } => output.event(
            &json!({ "event": "sound_failed", "reason": reason }),
            &format!("{reason}. The call goes on without it."),
        ),
        Event::RoomChanged { room, .. } => output.event(
            &json!({ "event": "room_changed", "room": room.to_string() }),
            "Somebody has changed who may come into a room of yours: `undertone room list` shows it.",
        ),
        Event::Knocked { room, user } => crate::room::knocked(client, *room, user, output),
        Event::LegacyAsked => output.event(
            &json!({ "event": "legacy_asked" }),
            "They have no device but such as have RSA-2048 alone. `--legacy allow` calls them all the same.",
        ),
        // These are of rooms, and this is a call.
        Event::RoomEntered(_)
        | Event::Room { .. }
        | Event::Muted { .. }
        | Event::Reception { .. }
        | Event::Recovered { .. }
        | Event::KeysCounted { .. }
        | Event::TurnedAway { .. } => {}
        Event::Account(alarm) => crate::audit::alarm(alarm, output),
        Event::Unproven { reason, proof } => crate::audit::unproven(reason, *proof, output),
        Event::Disproved { call, peer, reason } => crate::audit::disproved(*call, peer, reason, output),
        Event::Owed(owed) => crate::audit::owed(owed, output),
        Event::Rejected { reason } => {
            output.event(&json!({ "event": "rejected", "reason": reason }), &format!("Refused: {reason}."));
        }
    }
}

/// What the key view says of a quorum secret, on a line of its own.
fn quorum_line(quorum: Option<QuorumNodes>, epoch: Option<u32>) -> String {
    match (quorum, epoch) {
        (Some(of), Some(epoch)) => format!("\nquorum: {} of {} nodes, at epoch {epoch}", of.threshold, of.nodes),
        (Some(of), None) => format!("\nquorum: {} of {} nodes, in what confirms the call", of.threshold, of.nodes),
        (None, _) => String::new(),
    }
}

fn established(info: &CallInfo, exchange: bool, output: Output) {
    let emoji = info.sas.emoji();
    let (pictures, names): (Vec<&str>, Vec<&str>) = emoji.iter().copied().unzip();
    let object = json!({
        "event": "established", "call": info.call.to_string(),
        "role": if info.role == Role::Caller { "caller" } else { "callee" },
        "peer": info.peer.user.as_str(), "device": info.peer.device.to_string(),
        "standing": standing(info.standing), "account_key": info.account.fingerprint(),
        "protection": info.protection.as_str(), "key": info.agreement.as_str(),
        "forward_secrecy": info.agreement.has_forward_secrecy(), "epoch": info.epoch,
        "quorum": info.quorum.map(|of| json!({ "threshold": of.threshold, "nodes": of.nodes, "good": of.good })),
        "sas": { "emoji": names, "digits": info.sas.to_string() },
    });
    let (who_opens, nobody) = match (info.protection, info.role) {
        (Protection::Blind | Protection::Echo, _) => ("only the two of you can open it", "nobody sits between you"),
        (Protection::Hop, Role::Caller) => {
            ("THE RELAY CAN HEAR IT TOO, as you asked", "only the relay sits between you")
        }
        (Protection::Hop, _) => ("THE RELAY CAN HEAR IT TOO, as you allow", "only the relay sits between you"),
    };
    let secrecy = if info.agreement.has_forward_secrecy() {
        ""
    } else {
        "\nNO FORWARD SECRECY: the key came by RSA-2048. Whoever gets it one day opens what was recorded."
    };
    let quorum = quorum_line(info.quorum, info.epoch);
    if exchange {
        let text = format!(
            "{} proved to have the same key, which has the secret in it, and so did you.{quorum}\n  {}\n  or {}\n\
             Read these to each other; if they are the same, {nobody}.",
            info.peer.user.display(),
            names.join(", "),
            info.sas
        );
        return output.event(&object, &text);
    }
    let text = format!(
        "Talking with {} ({}), {}: {who_opens}.{secrecy}{quorum}\n  {}\n  {}\n  or {}\n\
         Read these to each other; if they are the same, {nobody}.\n\
         Keys: m mute, v they are the same, q hang up; space talks with --push-to-talk.",
        info.peer.user.display(),
        words(info.standing),
        info.protection.as_str(),
        pictures.join("  "),
        names.join(", "),
        info.sas
    );
    output.event(&object, &text);
}

fn outcome_text(outcome: Outcome, progress: &Progress) -> String {
    let text = match outcome {
        Outcome::Ended => {
            let seconds = progress.began.map_or(0, |began| began.elapsed().as_secs());
            return format!("The call has ended after {}:{:02}.", seconds / 60, seconds % 60);
        }
        Outcome::Declined => "Declined.",
        Outcome::Busy => "Busy: they are in another call.",
        Outcome::Cancelled => "Cancelled.",
        Outcome::NoAnswer => "No answer.",
        Outcome::Offline => {
            "Offline: none of their devices is connected. They are while `undertone answer` runs there."
        }
        Outcome::PeerVanished => "The other side vanished.",
        Outcome::RefusedByProof => "Refused: something that should have been proven was not.",
        Outcome::RefusedByPolicy if progress.hop => {
            "Refused: they take no calls that the relay can hear. `undertone answer --allow-hop` would."
        }
        Outcome::RefusedByPolicy => "Refused by policy.",
        Outcome::Taken => "Answered on another device.",
        Outcome::NoQuorum => {
            "No quorum secret: it did not come together, or one of you is not enrolled in that swarm. `undertone raida check` on both sides \
             shows more."
        }
        _ => "Over.",
    };
    text.to_owned()
}

impl Call {
    fn wanted(&self, legacy: LegacyOption) -> Wanted {
        Wanted { protection: self.protection.into(), legacy: legacy.into(), quorum: self.quorum }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rkx_5_the_key_view_says_over_how_many_nodes_the_secret_came() {
        let nodes = Some(QuorumNodes { threshold: 17, nodes: 25, good: 24 });
        assert_eq!(quorum_line(nodes, Some(0)), "\nquorum: 17 of 25 nodes, at epoch 0");
        assert_eq!(quorum_line(nodes, None), "\nquorum: 17 of 25 nodes, in what confirms the call");
        assert_eq!(quorum_line(None, Some(0)), "");
    }
}
