//! `room create|invite|kick|leave|list`: who may come into which room. `room join` is in [`join`], `room explain` in [`explain`].

mod counted;
mod explain;
mod join;
mod people;

use serde_json::{Value, json};
use undertone_client::native::{Client, ClientError, Invitee, LostRoom, RoomBook, RoomFault, RoomView};
use undertone_client::{AccessList, Protection, Rights};

use crate::Done;
use crate::arguments::{KeysOption, RoleOption, Room};
use crate::output::Output;

pub(crate) use explain::explain;

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
        Room::Create { name, protection, invite, listener, moderator, keys: KeysOption::Host } => {
            let named = |names: &[String], role: RoleOption| {
                let rights = role.rights();
                names.iter().map(|name| Invitee { name: name.clone(), rights }).collect::<Vec<_>>()
            };
            let invited = [
                named(invite, RoleOption::Speaker),
                named(listener, RoleOption::Listener),
                named(moderator, RoleOption::Moderator),
            ];
            let access = rooms.create(name, (*protection).into(), &invited.concat()).await?;
            let list = access.list();
            let text = format!(
                "The room {name} is made. {}\nGo in with: undertone room join {name}",
                match list.terms.protection {
                    Protection::Blind | Protection::Echo => "Only those who are in can open what is said.",
                    Protection::Hop => "THE RELAY CAN HEAR IT TOO, as you asked; everybody is told so.",
                }
            );
            output.result(&object("room_created", list), &text);
        }
        Room::Invite { room, name, role: wanted } => {
            let invitee = Invitee { name: name.clone(), rights: wanted.rights() };
            changed(&rooms, room, output, async |rooms, id| rooms.invite(id, &invitee).await).await?;
        }
        Room::Kick { room, name } => {
            changed(&rooms, room, output, async |rooms, id| rooms.kick(id, name).await).await?;
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
        Room::Join(_) | Room::Explain { .. } => {}
    }
    Ok(Done::Well)
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

/// Changes a room's list and shows the new one.
async fn changed(
    rooms: &RoomBook,
    name: &str,
    output: &Output,
    change: impl AsyncFnOnce(&RoomBook, undertone_client::RoomId) -> Result<undertone_client::Access, ClientError>,
) -> Result<(), ClientError> {
    let view = rooms.find(name).await?;
    let access = change(rooms, view.access.list().room).await?;
    let list = access.list();
    output.result(&object("room_changed", list), &format!("{}: {}", list.name, people::names(list)));
    Ok(())
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
        "protection": list.terms.protection.as_str(), "version": list.version, "members": members,
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
