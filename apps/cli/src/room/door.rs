//! At a room's door: asking to be let in, and those who ask (rule GRP-8).

use std::time::Duration;

use serde_json::json;
use tokio::time::{Instant, MissedTickBehavior};
use undertone_client::native::{Client, ClientError, Online, RoomFault};
use undertone_client::{Access, Event, Reason, RoomId, UserId};

use crate::conversation::{next_signal, offline, signal_stream};
use crate::errand::{Errands, report as report_errand};
use crate::output::Output;

/// How long somebody waits to be let in: a server remembers them for as long.
const PATIENCE: Duration = Duration::from_secs(600);
/// How often the list is asked for though nobody has said that it has changed: what the server says may be lost.
const LOOK: Duration = Duration::from_secs(15);
/// After so many looks it is knocked again: a moderator may have come meanwhile.
const KNOCK_AGAIN: u32 = 4;

/// How waiting ended.
#[derive(Debug)]
pub(super) enum Waited {
    /// This list names this user now.
    LetIn(Box<Access>),
    /// It was asked, and nobody waits.
    Asked,
    /// Not let in, or given up.
    NotIn,
}

/// Asks to be let into a room and waits until a checked list names this user.
pub(super) async fn wait(
    client: &Client,
    online: &mut Online,
    room: RoomId,
    no_wait: bool,
    output: Output,
) -> Result<Waited, ClientError> {
    online.rooms().knock(room).await?;
    output.event(
        &json!({ "event": "knocked_at", "room": room.to_string(), "waits": !no_wait }),
        if no_wait {
            "If there is such a room, those who may let you in are asked. Come back with the same command."
        } else {
            "You are on the list of no such room. If there is one, those who may let you in are asked; this waits for \
             them for ten minutes. Ctrl-C gives up."
        },
    );
    if no_wait {
        return Ok(Waited::Asked);
    }
    let me = client.whoami()?.address.user;
    let mut errands = Errands::open(client);
    let end = Instant::now() + PATIENCE;
    let mut looks = tokio::time::interval_at(Instant::now() + LOOK, LOOK);
    looks.set_missed_tick_behavior(MissedTickBehavior::Skip);
    let (mut looked, mut interrupt, mut terminate) = (0_u32, signal_stream(true), signal_stream(false));
    let result = loop {
        tokio::select! {
            event = online.next_event() => match event {
                Some(Event::RoomChanged { room: changed, .. }) if changed == room => match listed(online, room, &me).await {
                    Ok(Some(access)) => break Ok(Over::LetIn(access)),
                    Ok(None) => {}
                    Err(error) => break Err(error),
                },
                Some(Event::TurnedAway { room: away }) if away == room => break Ok(Over::TurnedAway),
                Some(Event::Online) => output.event(&json!({ "event": "online" }), "The server is back."),
                Some(Event::Offline { reason }) => {
                    offline(reason, output);
                    if matches!(reason, Some(Reason::Revoked | Reason::Replaced | Reason::Version)) {
                        break Ok(Over::Offline);
                    }
                }
                Some(Event::Account(alarm)) => crate::audit::alarm(&alarm, output),
                Some(Event::Unproven { reason, proof }) => crate::audit::unproven(&reason, proof, output),
                Some(_) => {}
                None => break Ok(Over::Offline),
            },
            _ = looks.tick() => {
                match listed(online, room, &me).await {
                    Ok(Some(access)) => break Ok(Over::LetIn(access)),
                    Ok(None) => {}
                    Err(error) => break Err(error),
                }
                looked += 1;
                // A server that is away now is asked the next time.
                if looked.is_multiple_of(KNOCK_AGAIN) && let Err(error) = online.rooms().knock(room).await {
                    tracing::debug!(%error, "not knocked again");
                }
            }
            notice = errands.next() => report_errand(&notice, output),
            () = tokio::time::sleep_until(end) => break Ok(Over::NoAnswer),
            () = next_signal(&mut interrupt, &mut terminate) => break Ok(Over::Cancelled),
        }
    };
    errands.close().await;
    let over = result?;
    let (result, text) = over.words();
    output.event(&json!({ "event": "knock_over", "room": room.to_string(), "result": result }), text);
    Ok(if let Over::LetIn(access) = over { Waited::LetIn(access) } else { Waited::NotIn })
}

/// What ended the waiting.
#[derive(Debug)]
enum Over {
    LetIn(Box<Access>),
    TurnedAway,
    NoAnswer,
    Cancelled,
    Offline,
}

impl Over {
    /// For programs and for people.
    const fn words(&self) -> (&'static str, &'static str) {
        match self {
            Self::LetIn(_) => ("let_in", "You are let in."),
            Self::TurnedAway => ("turned_away", "You are not let in."),
            Self::NoAnswer => {
                ("no_answer", "Nobody has answered in ten minutes: perhaps nobody who may let you in is there.")
            }
            Self::Cancelled => ("cancelled", "Given up."),
            Self::Offline => ("offline", "The server does not have this device any more."),
        }
    }
}

/// The room's newest list, checked from its first version on, if it names this user. A server that is away says nothing.
async fn listed(online: &Online, room: RoomId, me: &UserId) -> Result<Option<Box<Access>>, ClientError> {
    match online.rooms().find(&room.to_string()).await {
        Ok(view) => Ok(Some(view.access).filter(|access| access.list().listed(me).is_some()).map(Box::new)),
        Err(
            ClientError::Room(RoomFault::Unknown(_)) | ClientError::Unreachable { .. } | ClientError::Refused { .. },
        ) => Ok(None),
        Err(error) => Err(error),
    }
}

/// Tells whoever may let somebody in that they ask. The server says who they are; whoever invites them looks them up.
pub(crate) fn knocked(client: &Client, room: RoomId, user: &UserId, output: Output) {
    let known = client.known_room(room).ok().flatten();
    let me = client.whoami().map(|me| me.address.user).ok();
    // Whom the list does not name a moderator has nothing to decide, whatever the server says.
    if let (Some(access), Some(me)) = (&known, &me)
        && access.list().listed(me).is_none_or(|listed| !listed.rights.moderate)
    {
        return;
    }
    let name = known.as_ref().map(|access| access.list().name.clone());
    let id: String = room.to_string().chars().take(8).collect();
    // What is to be typed is one word, whatever people call the room.
    let plain = |name: &&String| {
        !name.starts_with('-') && name.chars().all(|c| c.is_alphanumeric() || matches!(c, '-' | '_' | '.'))
    };
    let word = name.as_ref().filter(plain).cloned().unwrap_or_else(|| id.clone());
    output.event(
        &json!({ "event": "knocked", "room": room.to_string(), "name": name, "user": user.as_str() }),
        &format!(
            "{} asks to be let in to {}: undertone room invite {word} {user}, or undertone room turn-away {word} {user}",
            user.display(),
            name.as_deref().unwrap_or(&id),
        ),
    );
}
