//! `room join`: in a room from beginning to end.

use std::time::Duration;

use serde_json::json;
use tokio::io::AsyncBufReadExt;
use tokio::time::{Instant, MissedTickBehavior};
use undertone_client::engine::{RoomInfo, RoomKeySource, Side};
use undertone_client::native::{Client, ClientError, Invitee, Online, RoomFault};
use undertone_client::{Context, Event, Outcome, Protection, Reason, RoomEvent, RoomId};

use super::door::{self, Waited};
use super::people::{People, Person, reception};
use super::{counted, group, role};
use crate::Done;
use crate::arguments::{JoinRoom, KeysOption, RoleOption};
use crate::conversation::{
    Mouth, check_tap, next_signal, offline, signal_stream, sleep_until, sound, status_object, tap, words,
};
use crate::errand::{Errands, report as report_errand};
use crate::live::{Key, Live, clock, quality, you};
use crate::output::Output;
use crate::peer::standing;

/// When nobody is heard for so long, `--seconds` counts without it.
const FIRST_SOUND: Duration = Duration::from_secs(10);

/// What is known of the room so far.
#[derive(Default)]
struct Inside {
    info: Option<RoomInfo>,
    people: People,
    epoch: Option<u32>,
    /// The index of the member whose device holds the room's keys.
    host: Option<u16>,
    began: Option<Instant>,
    counts_from: Option<Instant>,
    /// By this person's own will.
    mouth: Mouth,
    /// By a moderator's.
    silenced: bool,
    away: bool,
    ending: bool,
    typing: Option<String>,
}

pub(super) async fn join(client: &Client, options: &JoinRoom, output: Output) -> Result<Done, ClientError> {
    let sound = sound(&options.sound)?;
    let mut online = client.connect().await?;
    let access = match (online.rooms().find(&options.room).await, RoomId::parse(&options.room)) {
        (Err(ClientError::Room(RoomFault::Unknown(_))), Some(room)) => {
            match door::wait(client, &mut online, room, options.no_wait, output).await? {
                Waited::LetIn(access) => *access,
                waited => {
                    online.stop().await;
                    return Ok(if matches!(waited, Waited::Asked) { Done::Well } else { Done::Badly });
                }
            }
        }
        (found, _) => found?.access,
    };
    let list = access.list();
    let me = client.whoami()?.address.user;
    if list.terms.protection == Protection::Hop && !options.allow_hop && list.creator != me {
        output.event(
            &json!({ "event": "hop_refused", "room": list.room.to_string() }),
            &format!("The relay could hear what is said in {}. With --allow-hop you go in all the same.", list.name),
        );
        online.stop().await;
        return Ok(Done::Badly);
    }
    let source = RoomKeySource::of(&list.terms);
    let source = source.map_or("unknown", RoomKeySource::as_str);
    if let Some(wanted) = options.keys.map(KeysOption::as_str)
        && source != wanted
    {
        output.event(
            &json!({ "event": "keys_refused", "room": list.room.to_string(), "key": source, "wanted": wanted }),
            &format!(
                "{} has no keys of that kind (its own are: {source}). Without --keys {wanted} you go in all the same.",
                list.name
            ),
        );
        online.stop().await;
        return Ok(Done::Badly);
    }
    if options.require_quorum && !list.terms.quorum {
        output.event(
            &json!({ "event": "quorum_refused", "room": list.room.to_string() }),
            &format!(
                "No quorum secret is mixed into the keys of {}. Without --require-quorum you go in all the same.",
                list.name
            ),
        );
        online.stop().await;
        return Ok(Done::Badly);
    }
    online.forward_secrecy(!options.no_forward_secrecy).await?;
    online.join_room(&list.room.to_string(), sound).await?;
    stay(client, online, options, output).await
}

async fn stay(client: &Client, mut online: Online, options: &JoinRoom, output: Output) -> Result<Done, ClientError> {
    let me = client.whoami()?.address.user;
    let (live, mut keys) = Live::start(!output.is_json());
    let mut commands = options.commands.then(|| tokio::io::BufReader::new(tokio::io::stdin()).lines());
    let mut inside = Inside { mouth: Mouth::new(&options.sound), ..Inside::default() };
    inside.mouth.mind(&online).await?;
    let mut draw = tokio::time::interval(Duration::from_millis(100));
    draw.set_missed_tick_behavior(MissedTickBehavior::Skip);
    let (mut ticks, mut interrupt, mut terminate) = (0_u64, signal_stream(true), signal_stream(false));
    let mut errands = Errands::open(client);
    let done = loop {
        let until = |from: Instant, seconds| from + Duration::from_secs(seconds);
        let end = inside.counts_from.zip(options.sound.seconds).map(|(from, seconds)| until(from, seconds));
        let typed = async {
            match &mut commands {
                Some(lines) => lines.next_line().await.ok().flatten(),
                None => std::future::pending().await,
            }
        };
        tokio::select! {
            event = online.next_event() => {
                let Some(event) = event else { break Done::Badly };
                live.clear();
                report(client, &event, output, &mut inside);
                match event {
                    Event::Over { outcome: Outcome::Ended, .. } => break Done::Well,
                    Event::Refused { .. } if inside.info.is_none() => break Done::Badly,
                    // Whoever was revoked is in no room any more, whatever the relay has heard of it.
                    Event::Over { .. } | Event::Offline { reason: Some(Reason::Revoked) } => break Done::Badly,
                    _ => {}
                }
            }
            key = keys.recv() => match key {
                Some(Key::HangUp) | None if inside.ending => {}
                Some(Key::HangUp) | None => leave(&online, options, &mut inside, output).await?,
                Some(Key::Mute) => {
                    inside.mouth.toggle();
                    inside.mouth.mind(&online).await?;
                }
                Some(Key::Talk) => {
                    inside.mouth.hold();
                    inside.mouth.mind(&online).await?;
                }
                Some(Key::Who) => {
                    live.clear();
                    command(&online, "who", &inside, &me, output).await?;
                }
                Some(Key::Typing(typing)) => inside.typing = typing,
                Some(Key::Command(text)) => {
                    inside.typing = None;
                    live.clear();
                    command(&online, &text, &inside, &me, output).await?;
                }
                Some(Key::Same) => {}
            },
            line = typed => match line.as_deref().map(str::trim) {
                Some("leave") => leave(&online, options, &mut inside, output).await?,
                Some("mute" | "unmute") => {
                    inside.mouth.set(line.as_deref().map(str::trim) == Some("mute"));
                    inside.mouth.mind(&online).await?;
                }
                Some(text) => command(&online, text, &inside, &me, output).await?,
                // Nobody will say any more.
                None => commands = None,
            },
            notice = errands.next() => {
                live.clear();
                report_errand(&notice, output);
            }
            _ = draw.tick(), if inside.began.is_some() => {
                ticks += 1;
                inside.mouth.mind(&online).await?;
                live.draw(&parts(&inside, &online));
                if output.is_json() && ticks.is_multiple_of(10) {
                    output.event(&status(&inside, &online), "");
                }
            }
            () = sleep_until(end), if !inside.ending => leave(&online, options, &mut inside, output).await?,
            () = next_signal(&mut interrupt, &mut terminate) => leave(&online, options, &mut inside, output).await?,
        }
    };
    drop(live);
    errands.close().await;
    online.stop().await;
    Ok(done)
}

async fn leave(online: &Online, options: &JoinRoom, inside: &mut Inside, output: Output) -> Result<(), ClientError> {
    if !core::mem::replace(&mut inside.ending, true) {
        check_tap(online, &options.sound, output).await?;
        if output.is_json() {
            output.event(&status(inside, online), "");
        }
    }
    online.hang_up().await
}

fn status(inside: &Inside, online: &Online) -> serde_json::Value {
    let mut object = status_object(&online.status());
    if let serde_json::Value::Object(map) = &mut object {
        map.insert("people".into(), inside.people.object(&online.voices()));
    }
    object
}

/// The parts of the line that is drawn; what must be seen stands first.
fn parts(inside: &Inside, online: &Online) -> Vec<String> {
    if let Some(typing) = &inside.typing {
        return vec![
            format!(":{typing}_"),
            "who, mute NAME, unmute NAME, kick NAME, invite NAME, turn-away NAME; Esc gives up".into(),
        ];
    }
    let (status, seconds) = (online.status(), inside.began.map_or(0, |began| began.elapsed().as_secs()));
    let mut parts = vec![clock(seconds)];
    let Some(info) = &inside.info else { return parts };
    if info.protection == Protection::Hop {
        parts.push("HOP: THE RELAY HEARS".into());
    }
    parts.push(format!("{}, {} in", info.name, inside.people.0.len() + 1));
    if info.protection == Protection::Blind && inside.epoch.is_none() {
        parts.push(match info.keys {
            RoomKeySource::Mls => "coming into the group".to_owned(),
            RoomKeySource::Host | RoomKeySource::Hop => format!("waiting for {}", info.creator.display()),
        });
        return parts;
    }
    parts.push(match (info.rights.speak, inside.silenced) {
        (false, _) => "you listen".into(),
        (true, true) => "a moderator muted you".into(),
        (true, false) => you(inside.mouth.is_shut(), &status),
    });
    parts.extend(inside.people.unheard());
    let speaking = inside.people.speaking(&online.voices());
    parts.push(if speaking.is_empty() { "nobody speaks".into() } else { format!("{} speaks", speaking.join(", ")) });
    parts.extend(quality(inside.away, &status));
    if let Some(epoch) = inside.epoch {
        parts.push(format!("blind, epoch {epoch}"));
    }
    parts
}

/// What a person typed.
async fn command(
    online: &Online,
    text: &str,
    inside: &Inside,
    me: &undertone_client::UserId,
    output: Output,
) -> Result<(), ClientError> {
    let Some(info) = &inside.info else { return Ok(()) };
    let words: Vec<&str> = text.split_whitespace().collect();
    let said = match words.as_slice() {
        [] => return Ok(()),
        ["who"] => {
            let people = inside.people.object(&online.voices());
            output.event(&json!({ "event": "who", "people": people }), &inside.people.text(me, info.rights));
            return Ok(());
        }
        [verb @ ("mute" | "unmute"), name] => {
            let indices = inside.people.named(name);
            for index in &indices {
                online.mute_member(*index, *verb == "mute").await?;
            }
            if indices.is_empty() { Err(format!("{name} is not in the room")) } else { Ok(()) }
        }
        ["kick", name] => online.rooms().kick(info.room, name).await.map(|_| ()).map_err(|error| error.to_string()),
        ["invite", name] => {
            let invitee = Invitee { name: (*name).to_owned(), rights: RoleOption::Speaker.rights() };
            online.rooms().invite(info.room, &[invitee]).await.map(|_| ()).map_err(|error| error.to_string())
        }
        ["turn-away", name] => {
            online.rooms().turn_away(info.room, name).await.map(|_| ()).map_err(|error| error.to_string())
        }
        ["drill", "lose-key"] => {
            online.lose_key().await?;
            Ok(())
        }
        ["drill", "check-tap", ..] => {
            let path = text.trim().splitn(3, char::is_whitespace).nth(2).unwrap_or_default().trim();
            match online.check_tap(path.into()).await {
                Ok(report) => {
                    tap(&report, output);
                    Ok(())
                }
                Err(error) => Err(error.to_string()),
            }
        }
        _ => Err("commands are who, mute NAME, unmute NAME, kick NAME, invite NAME, turn-away NAME".to_owned()),
    };
    match said {
        Ok(()) => output.event(&json!({ "event": "done", "command": text }), "Done."),
        Err(why) => output
            .event(&json!({ "event": "command_failed", "command": text, "reason": why }), &format!("{text}: {why}.")),
    }
    Ok(())
}

/// Tells a person and a program what happened, and keeps what is needed later.
fn report(client: &Client, event: &Event, output: Output, inside: &mut Inside) {
    match event {
        Event::Quorum(step) => crate::raida::step(step, false, output),
        Event::RoomEntered(info) => {
            output.event(
                &json!({
                    "event": "room_entered", "room": info.room.to_string(), "name": info.name,
                    "call": info.call.to_string(), "creator": info.creator.as_str(),
                    "protection": info.protection.as_str(), "role": role(info.rights),
                    "key": info.keys.as_str(), "quorum": info.quorum,
                    "forward_secrecy": info.forward_secrecy,
                }),
                &format!(
                    "In the room {}, {}.{}\nKeys: m mute, w who is in, : a command, q leave.",
                    info.name,
                    match info.keys {
                        RoomKeySource::Mls => {
                            "blind: only those who are in can open what is said, and they make its keys together"
                        }
                        RoomKeySource::Host => "blind: only those who are in can open what is said",
                        RoomKeySource::Hop => "hop: THE RELAY CAN HEAR IT TOO",
                    },
                    if info.quorum { "\nA quorum secret from a swarm of key servers is mixed into them." } else { "" }
                ),
            );
            inside.info = Some((**info).clone());
        }
        Event::Connected { call, again } => {
            inside.away = false;
            inside.began.get_or_insert_with(Instant::now);
            inside.counts_from.get_or_insert_with(|| Instant::now() + FIRST_SOUND);
            output.event(
                &json!({ "event": "connected", "call": call.to_string(), "again": again }),
                if *again { "Connected again." } else { "" },
            );
        }
        Event::Hearing { call } => {
            inside.counts_from = Some(Instant::now());
            output.event(&json!({ "event": "hearing", "call": call.to_string() }), "");
        }
        Event::Interrupted { call, who: Side::Here | Side::There } => {
            inside.away = true;
            output.event(
                &json!({ "event": "interrupted", "call": call.to_string(), "who": "here" }),
                "The relay does not answer; trying to come back ...",
            );
        }
        Event::Room { event, .. } => report_room(event, output, inside),
        Event::Reception { call, index, context, reason } => {
            // A person is told about what they would hear; a program about every source.
            let main = *context == Context::MAIN_AUDIO;
            let text = if main { inside.people.note(*index, *reason) } else { String::new() };
            let object = json!({
                "event": "reception", "call": call.to_string(), "index": index, "context": context.0,
                "reason": reception(*reason),
            });
            output.event(&object, &text);
        }
        Event::Recovered { call, index, context, ms } => {
            let main = *context == Context::MAIN_AUDIO;
            let text = if main { inside.people.recovered(*index, *ms) } else { String::new() };
            let object = json!({
                "event": "recovered", "call": call.to_string(), "index": index, "context": context.0, "ms": ms,
            });
            output.event(&object, &text);
        }
        Event::Muted { index, muted, me, .. } => {
            if *me {
                inside.silenced = *muted;
            }
            let who = inside.people.0.get_mut(index).map(|person| {
                person.muted = *muted;
                person.member.user.display()
            });
            let who = if *me { "You".to_owned() } else { who.unwrap_or_default() };
            let text = if *muted { "muted by a moderator" } else { "no longer muted" };
            output.event(
                &json!({ "event": "muted", "index": index, "muted": muted, "me": me }),
                &format!("{who}: {text}."),
            );
        }
        Event::KeysCounted { call, counters } => {
            output.event(&counted::object(*call, counters), &counted::text(counters));
        }
        Event::Over { call, outcome } => {
            let seconds = inside.began.map_or(0.0, |began| began.elapsed().as_secs_f64());
            output.event(
                &json!({
                    "event": "over", "call": call.to_string(), "result": outcome.as_str(),
                    "seconds": (seconds * 10.0).round() / 10.0,
                }),
                over(*outcome),
            );
        }
        Event::Refused { reason, outcome } => output.event(
            &json!({ "event": "refused", "result": outcome.as_str(), "reason": reason }),
            &format!("Not in the room: {reason}."),
        ),
        Event::Online => output.event(&json!({ "event": "online" }), "The server is back."),
        Event::Offline { reason } => offline(*reason, output),
        Event::SoundFailed { reason } => output.event(
            &json!({ "event": "sound_failed", "reason": reason }),
            &format!("{reason}. You stay in the room without it."),
        ),
        Event::Account(alarm) => crate::audit::alarm(alarm, output),
        Event::Unproven { reason, proof } => crate::audit::unproven(reason, *proof, output),
        Event::Disproved { call, peer, reason } => crate::audit::disproved(*call, peer, reason, output),
        Event::Owed(owed) => crate::audit::owed(owed, output),
        Event::Rejected { reason } => {
            output.event(&json!({ "event": "rejected", "reason": reason }), &format!("Refused: {reason}."));
        }
        Event::RoomChanged { room, version } => {
            output.event(&json!({ "event": "room_changed", "room": room.to_string(), "version": version }), "");
        }
        Event::Knocked { room, user } => door::knocked(client, *room, user, output),
        // These are of calls of two, and this is a room; or of one that is not entered so far.
        Event::Calling { .. }
        | Event::Ringing { .. }
        | Event::Incoming { .. }
        | Event::Yielded { .. }
        | Event::LegacyAsked
        | Event::Established(_)
        | Event::TurnedAway { .. }
        | Event::Echo { .. } => {}
    }
}

fn report_room(event: &RoomEvent, output: Output, inside: &mut Inside) {
    match event {
        RoomEvent::In { index, member, standing: known, rights, forward_secrecy } => {
            let sealed = if *forward_secrecy { "" } else { ", no forward secrecy" };
            output.event(
                &json!({
                    "event": "member_in", "index": index, "user": member.user.as_str(),
                    "device": member.device.to_string(), "standing": standing(*known), "role": role(*rights),
                    "forward_secrecy": forward_secrecy,
                }),
                &format!("{} is in ({}, {}{sealed}).", member.user.display(), role(*rights), words(*known)),
            );
            let person =
                Person { member: member.clone(), standing: *known, rights: *rights, muted: false, reception: None };
            inside.people.0.insert(*index, person);
        }
        RoomEvent::Out { index, member, reason } => {
            inside.people.0.remove(index);
            output.event(
                &json!({
                    "event": "member_out", "index": index, "user": member.user.as_str(), "reason": reason.as_str(),
                }),
                &format!("{} is out ({}).", member.user.display(), reason.as_str()),
            );
        }
        RoomEvent::Host { index, me, term, cause } => {
            let name = inside.people.0.get(index).map(|person| person.member.user.display());
            let text = match (me, name) {
                (true, _) => "This device hands out the room's keys now.".to_owned(),
                (false, Some(name)) => format!("{name} hands out the room's keys."),
                (false, None) => String::new(),
            };
            inside.host = Some(*index);
            output.event(
                &json!({ "event": "host", "index": index, "me": me, "term": term, "cause": cause.as_str() }),
                &text,
            );
        }
        RoomEvent::HostRefused { index } => {
            let name = inside.people.0.get(index).map(|person| person.member.user.display()).unwrap_or_default();
            output.event(
                &json!({ "event": "host_refused", "index": index }),
                &format!("{name} has given different keys to different people, and hands out none any more."),
            );
        }
        RoomEvent::Asked { index } => {
            output.event(&json!({ "event": "key_asked", "index": index }), "");
        }
        RoomEvent::WrongQuorum { by } => {
            output.event(
                &json!({ "event": "wrong_quorum", "user": by.user.as_str(), "device": by.device.to_string() }),
                &format!(
                    "The quorum secret that {} gave this device does not open the room's keys. Somebody else is asked.",
                    by.user.display()
                ),
            );
        }
        RoomEvent::Group(event) => group::report(event, output),
        RoomEvent::Epoch(epoch) => {
            inside.epoch = Some(epoch.0);
            output.event(&json!({ "event": "epoch", "epoch": epoch.0 }), "");
        }
    }
}

const fn over(outcome: Outcome) -> &'static str {
    match outcome {
        Outcome::Ended => "You have left the room.",
        Outcome::Removed => "You are not on the room's list any more.",
        Outcome::HostGone => {
            "Left: there is nobody in the room who could hand out its keys. Come in again to try anew."
        }
        Outcome::RefusedByProof => "Left: somebody is in the room who could not be proven to belong there.",
        Outcome::Taken => "You have come in with this device from elsewhere.",
        Outcome::Offline => "The relay was away for too long.",
        Outcome::NoQuorum => {
            "Left: nobody in the room could give this device the quorum secret that is mixed into its keys. `undertone raida check` shows \
             whether the nodes know this device, and those who are in see with `undertone room explain` whether they have it."
        }
        _ => "The room is over for you.",
    }
}
