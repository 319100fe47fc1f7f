//! `room`: who may come into which room. `room join` is in [`join`] and [`door`], `room explain` in [`explain`].

mod counted;
mod door;
mod explain;
mod group;
mod join;
mod people;

use serde_json::{Value, json};
use undertone_client::native::errand::Errand;
use undertone_client::native::{Client, ClientError, Invitee, LostRoom, RoomBook, RoomFault, RoomView};
use undertone_client::{AccessList, GroupSuite, Protection, Rights, Terms};

use crate::Done;
use crate::arguments::{KeysOption, RoleOption, Room, SuiteOption};
use crate::console::Console;
use crate::output::Output;

pub(crate) use door::knocked;

impl RoleOption {
    const fn rights(self) -> Rights {
        match self {
            Self::Listener => Rights { speak: false, moderate: false },
            Self::Speaker => Rights { speak: true, moderate: false },
            Self::Moderator => Rights { speak: true, moderate: true },
        }
    }
}

/// The word for what somebody may do.
const fn role(rights: Rights) -> &'static str {
    match rights {
        Rights { moderate: true, .. } => "moderator",
        Rights { speak: true, .. } => "speaker",
        Rights { .. } => "listener",
    }
}

pub(crate) async fn run(client: &Client, command: &Room, output: &Output) -> Result<Done, ClientError> {
    if let Room::Join(options) = command {
        return join::join(client, options, *output).await;
    }
    let rooms = client.rooms().await?;
    match command {
        Room::Create { name, protection, invite, listener, moderator, keys, suite, audience, quorum } => {
            let terms = match terms((*protection).into(), *keys, *suite, (*audience, *quorum)) {
                Ok(terms) => terms,
                Err(why) => {
                    output.event(&json!({ "event": "room_refused", "reason": why }), why);
                    return Ok(Done::Badly);
                }
            };
            let named = |names: &[String], role: RoleOption| {
                let rights = role.rights();
                names.iter().map(|name| Invitee { name: name.clone(), rights }).collect::<Vec<_>>()
            };
            let invited = [
                named(invite, RoleOption::Speaker),
                named(listener, RoleOption::Listener),
                named(moderator, RoleOption::Moderator),
            ];
            let access = rooms.create(name, terms, &invited.concat()).await?;
            let list = access.list();
            let text = format!(
                "The room {name} is made. {}\nGo in with: undertone room join {name}",
                match (list.terms.protection, list.terms.group_suite) {
                    (Protection::Hop, _) => "THE RELAY CAN HEAR IT TOO, as you asked; everybody is told so.".to_owned(),
                    (_, Some(suite)) => format!(
                        "Only those who are in can open what is said: they make its keys together (MLS, {}).{}",
                        suite.as_str(),
                        if list.terms.audience.is_some() {
                            "\nListeners have no part in that: each is given the keys by somebody who has."
                        } else if list.terms.quorum {
                            "\nA quorum secret is mixed in: whoever comes in has to be enrolled in the same swarm as you."
                        } else {
                            ""
                        }
                    ),
                    _ => "Only those who are in can open what is said; one of them hands out its keys.".to_owned(),
                }
            );
            output.result(&object("room_created", list), &text);
        }
        Room::Kick { room, name } => {
            let view = rooms.find(room).await?;
            let (object, text) = changed(&rooms.kick(view.access.list().room, name).await?);
            output.result(&object, &text);
        }
        Room::Leave { room } => {
            let view = match rooms.find(room).await {
                Err(ClientError::Room(RoomFault::Unknown(name))) => return close_lost(&rooms, &name, *output).await,
                found => found?,
            };
            let access = rooms.leave(view.access.list().room).await?;
            let closed = access.list().is_closed();
            let text = if closed { "The room is closed for good." } else { "You are not on the room's list any more." };
            let mut object = object("room_left", access.list());
            if let Value::Object(map) = &mut object {
                map.insert("closed".into(), closed.into());
            }
            output.result(&object, text);
        }
        Room::List => {
            let (views, lost) = rooms.list_all().await?;
            let me = client.whoami()?.address.user;
            let objects: Vec<Value> = views.iter().map(shown).collect();
            let texts: Vec<String> =
                views.iter().map(|view| text(view, &me)).chain(lost.iter().map(lost_text)).collect();
            let lost: Vec<Value> = lost.iter().map(|lost| lost_object("lost", lost)).collect();
            let none = "There is no room that you may come into. Make one: undertone room create NAME --invite NAME";
            let text = if texts.is_empty() { none.to_owned() } else { texts.join("\n\n") };
            output.result(&json!({ "rooms": objects, "lost": lost }), &text);
        }
        // These were seen to before.
        Room::Join(_) | Room::Explain { .. } | Room::Invite { .. } | Room::TurnAway { .. } | Room::Show { .. } => {}
    }
    Ok(Done::Well)
}

/// What a room is to be, or why it cannot be that.
fn terms(
    protection: Protection,
    keys: Option<KeysOption>,
    suite: Option<SuiteOption>,
    (audience, quorum): (bool, bool),
) -> Result<Terms, &'static str> {
    let suite = suite.map(|suite| match suite {
        SuiteOption::P256 => GroupSuite::P256,
        SuiteOption::X25519 => GroupSuite::X25519,
        SuiteOption::XWing => GroupSuite::XWing,
    });
    match (protection, keys, suite) {
        (Protection::Hop, Some(_), _) | (Protection::Hop, _, Some(_)) => {
            Err("with --protection hop each connection to the relay has its own keys: leave --keys and --suite out")
        }
        (_, Some(KeysOption::Host), Some(_)) => Err("--suite is for rooms with --keys mls"),
        (Protection::Hop, None, None) | (_, Some(KeysOption::Host), None) if quorum => {
            Err("--quorum is for rooms with --keys mls: elsewhere keys go by letter, and it would protect none of them")
        }
        _ if audience && quorum => {
            Err("an audience is given its keys by letter, which --quorum does not protect: choose one")
        }
        (Protection::Hop, None, None) | (_, Some(KeysOption::Host), None) if audience => {
            Err("--audience is for rooms with --keys mls: elsewhere listeners cost no more than others")
        }
        (Protection::Hop, None, None) | (_, Some(KeysOption::Host), None) => Ok(Terms::room(protection)),
        (_, Some(KeysOption::Mls) | None, suite) => {
            let terms = Terms::mls(suite.unwrap_or(GroupSuite::X25519));
            let terms = if audience { terms.with_audience() } else { terms };
            Ok(if quorum { terms.with_quorum() } else { terms })
        }
    }
}

/// Closes a room that was made before its maker began anew.
async fn close_lost(rooms: &RoomBook, name: &str, output: Output) -> Result<Done, ClientError> {
    let Some(closed) = rooms.close_lost(name).await? else {
        return Err(RoomFault::Unknown(name.to_owned()).into());
    };
    let mut object = lost_object("room_left", &closed);
    if let Value::Object(map) = &mut object {
        map.insert("closed".into(), true.into());
    }
    output.result(&object, "The room is closed for good.");
    Ok(Done::Well)
}

fn lost_object(event: &str, lost: &LostRoom) -> Value {
    json!({ "event": event, "room": lost.room.to_string(), "name": lost.name })
}

fn lost_text(lost: &LostRoom) -> String {
    let id: String = lost.room.to_string().chars().take(8).collect();
    format!(
        "{}  ({id}, yours from before your account began anew)\n  nobody can change it or hold its keys any more: `undertone room leave \
         {id}` closes it",
        lost.name
    )
}

/// What is shown of a list that was changed.
fn changed(access: &undertone_client::Access) -> (Value, String) {
    let list = access.list();
    (object("room_changed", list), format!("{}: {}", list.name, people::names(list)))
}

/// A command that the process which owns the home runs for others; `None` for those that it does not.
pub(crate) fn errand(command: &Room) -> Option<Errand> {
    match command {
        Room::Explain { room } => Some(Errand::ExplainRoom { room: room.clone() }),
        Room::Show { room } => Some(Errand::ShowRoom { room: room.clone() }),
        Room::TurnAway { room, name } => Some(Errand::TurnAway { room: room.clone(), name: name.clone() }),
        Room::Invite { room, names, role } => {
            Some(Errand::InviteToRoom { room: room.clone(), names: names.clone(), rights: role.rights() })
        }
        Room::Create { .. } | Room::Kick { .. } | Room::Join(_) | Room::Leave { .. } | Room::List => None,
    }
}

/// Runs such a command.
pub(crate) async fn run_errand(client: &Client, errand: &Errand, console: &Console) -> Result<Done, ClientError> {
    if let Errand::ExplainRoom { room } = errand {
        return explain::explain(client, room, console).await;
    }
    let rooms = client.rooms().await?;
    match errand {
        Errand::InviteToRoom { room, names, rights } => {
            let view = rooms.find(room).await?;
            let invited: Vec<Invitee> =
                names.iter().map(|name| Invitee { name: name.clone(), rights: *rights }).collect();
            let (object, text) = changed(&rooms.invite(view.access.list().room, &invited).await?);
            console.result(&object, &text).await;
        }
        Errand::TurnAway { room, name } => {
            let room = rooms.find(room).await?.access.list().room;
            let user = rooms.turn_away(room, name).await?;
            let object = json!({ "event": "turned_away", "room": room.to_string(), "user": user.as_str() });
            console.result(&object, &format!("If {} asks to be let in, they are told no.", user.display())).await;
        }
        Errand::ShowRoom { room } => {
            let access = rooms.find(room).await?.access;
            let list = access.list();
            let text = format!(
                "{}  (of {}, {})\nmay come in  {}\n\nWhoever shall ask to be let in needs this:\n  undertone room join {}",
                list.name,
                list.creator.display(),
                list.terms.protection.as_str(),
                people::names(list),
                list.room
            );
            console.result(&object("room", list), &text).await;
        }
        // None of them is about a room.
        _ => return Ok(Done::Badly),
    }
    Ok(Done::Well)
}

fn object(event: &str, list: &AccessList) -> Value {
    let members: Vec<Value> = list
        .members
        .iter()
        .map(|listed| {
            json!({
                "user": listed.user.as_str(), "role": role(listed.rights),
                "account_key": listed.account.fingerprint(),
            })
        })
        .collect();
    json!({
        "event": event, "room": list.room.to_string(), "name": list.name, "creator": list.creator.as_str(),
        "protection": list.terms.protection.as_str(), "audience": list.terms.audience.is_some(),
        "quorum": list.terms.quorum, "version": list.version, "members": members,
    })
}

fn shown(view: &RoomView) -> Value {
    let mut object = object("room", view.access.list());
    if let Value::Object(map) = &mut object {
        let present: Vec<&str> = view.present.iter().map(undertone_client::UserId::as_str).collect();
        map.insert("present".into(), json!(present));
    }
    object
}

fn text(view: &RoomView, me: &undertone_client::UserId) -> String {
    let list = view.access.list();
    let id: String = list.room.to_string().chars().take(8).collect();
    let protection = match list.terms.protection {
        Protection::Blind | Protection::Echo if list.terms.quorum => "blind, with a quorum secret",
        Protection::Blind | Protection::Echo => "blind",
        Protection::Hop => "hop: the relay hears",
    };
    let by = if list.creator == *me { "yours".to_owned() } else { format!("of {}", list.creator.display()) };
    let present: Vec<String> = view.present.iter().map(undertone_client::UserId::display).collect();
    let present = if present.is_empty() { "nobody".to_owned() } else { present.join(", ") };
    format!(
        "{}  ({id}, {by}, {protection})\n  may come in  {}\n  in now       {present}",
        list.name,
        people::names(list)
    )
}
