//! `room explain`: which keys a room's call has, who gave them, and by what this device knows that.

use std::fmt::Write;
use std::time::Duration;

use serde_json::{Value, json};
use undertone_client::engine::{RoomExplained, RoomKeySource};
use undertone_client::native::{Client, ClientError, RoomKeys};
use undertone_client::room::{AudienceExplained, Explanation, OpenedEpoch, Present};
use undertone_client::{Access, Cause, GroupSuite, Listed, Rights, RoomId, UserId};

use super::{counted, group, role};
use crate::Done;
use crate::console::Console;
use crate::conversation::words;
use crate::peer::{attested_object, standing, witnessed};

pub(crate) async fn explain(client: &Client, room: &str, console: &Console) -> Result<Done, ClientError> {
    let (object, text) = match client.explain_room(room).await? {
        RoomKeys::On(explained) => (on_object(&explained), on_text(&explained)),
        RoomKeys::Off(access) => off(client, &access)?,
        // None of another kind exists.
        _ => return Ok(Done::Badly),
    };
    console.result(&object, &text).await;
    Ok(Done::Well)
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

/// Milliseconds, for programs.
fn ms(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}

/// A time that has passed, or is to come, for people.
fn span(duration: Duration) -> String {
    match duration.as_secs() {
        seconds @ 0..120 => format!("{seconds} s"),
        seconds => format!("{} min", seconds / 60),
    }
}

fn on_object(explained: &RoomExplained) -> Value {
    let RoomExplained { info, source, joined, keys, group, ring, counters } = explained;
    let ring: Vec<Value> = ring
        .iter()
        .map(|held| json!({ "epoch": held.epoch.0, "seals": held.seals, "left_ms": held.left.map(ms) }))
        .collect();
    let host = keys.members.iter().find(|present| Some(present.index) == keys.host);
    json!({
        "event": "room_explained", "on": true, "room": info.room.to_string(), "name": info.name,
        "creator": info.creator.as_str(), "protection": info.protection.as_str(), "role": role(info.rights),
        "key": source.as_str(), "call": info.call.to_string(), "joined": joined, "version": keys.version,
        "forward_secrecy": info.forward_secrecy, "epoch": keys.sealing, "held": keys.held,
        "opened": keys.opened.as_ref().map(opened_object),
        "host": host.map(|host| json!({
            "index": host.index, "user": host.member.user.as_str(), "device": host.member.device.to_string(),
            "me": host.me,
        })),
        "members": keys.members.iter().map(member_object).collect::<Vec<_>>(),
        "group": group.as_ref().map(group::object),
        "audience": keys.audience.as_ref().map(audience_object),
        "ring": ring,
        "sent": { "letters": keys.sent.count, "bytes": keys.sent.bytes },
        "received": { "letters": keys.received.count, "bytes": keys.received.bytes },
        "counters": counted::fields(counters),
    })
}

fn audience_object(audience: &AudienceExplained) -> Value {
    let server = audience.server.as_ref();
    json!({
        "shown": audience.shown, "served": audience.served, "epoch": audience.epoch,
        "server": server.map(|by| json!({ "user": by.user.as_str(), "device": by.device.to_string() })),
    })
}

/// What there is to say about those who only listen; `listens` says that this device is one of them.
fn audience_words(audience: &AudienceExplained, listens: bool) -> String {
    match &audience.server {
        Some(server) => format!(
            "this device listens and is no member of the group: {}, device {}, seals each new key to it",
            server.user.display(),
            server.device
        ),
        None if listens => "this device listens, and nobody has given it a key yet".to_owned(),
        None => format!(
            "the relay shows {} who listen; {} of them are given keys by this device, which has proven them",
            audience.shown, audience.served
        ),
    }
}

fn opened_object(opened: &OpenedEpoch) -> Value {
    json!({
        "epoch": opened.epoch, "term": opened.term, "cause": opened.cause.as_str(), "ago_ms": ms(opened.ago),
        "next_ms": ms(opened.next), "roster": hex(&opened.roster),
    })
}

fn member_object(present: &Present) -> Value {
    let proof = present.proof.as_ref();
    json!({
        "index": present.index, "user": present.member.user.as_str(), "device": present.member.device.to_string(),
        "me": present.me, "role": role(present.rights), "standing": proof.map(|(known, _)| standing(*known)),
        "directory": proof.map(|(_, attested)| attested_object(attested)), "keyed": present.keyed,
        "forward_secrecy": present.forward_secrecy,
    })
}

/// The first line: which room it is.
fn heading(name: &str, room: RoomId, creator: &UserId, protection: &str) -> String {
    let id: String = room.to_string().chars().take(8).collect();
    format!("{name}  ({id}, of {}, {protection})", creator.display())
}

const QUORUM_WORDS: &str = "\nquorum       a secret that comes over a swarm's nodes is mixed into every one of them; whoever is not \
                            enrolled in that swarm\n             stays outside";

const fn source_words(source: RoomKeySource) -> &'static str {
    match source {
        RoomKeySource::Host => {
            "host: one of those who are in draws them and hands them to the others; the server has none"
        }
        RoomKeySource::Mls => "mls: all who are in make them together; nobody hands them out, and the server has none",
        RoomKeySource::Hop => {
            "hop: THE RELAY OPENS EVERYTHING and seals it again for each of you, so whoever runs it can hear and change \
             what is said\n             on the way between you and the relay, each connection's own keys (TLS 1.3) protect it"
        }
    }
}

const fn cause_words(cause: Cause) -> &'static str {
    match cause {
        Cause::Opened => "the call began",
        Cause::Rotated => "it was time for a new one",
        Cause::Joined => "somebody came in, or the list changed",
        Cause::Removed => "somebody is out",
        Cause::TakenOver => "the host before was gone or silent",
        Cause::HandedOver => "the host before has named this one",
        Cause::Overtaken => "somebody had gone further, or could not take the one before",
    }
}

fn on_text(explained: &RoomExplained) -> String {
    let RoomExplained { info, source, joined, keys, group, ring, counters } = explained;
    let mut text = heading(&info.name, info.room, &info.creator, info.protection.as_str());
    let mut row = |name: &str, words: &str| {
        let _ = write!(text, "\n{name:<13}{words}");
    };
    row("keys", source_words(*source));
    if !joined {
        row("", "the relay is away: nobody is heard");
    }
    if *source == RoomKeySource::Host {
        row("epoch", &epoch_words(keys));
        let host = keys.members.iter().find(|present| Some(present.index) == keys.host);
        let host = host.map_or_else(|| "nobody is, at the moment".to_owned(), host_words);
        row("host", &host);
        if let Some(opened) = &keys.opened {
            let short: String = hex(&opened.roster).chars().take(16).collect();
            row("", &format!("term {}", opened.term));
            row("roster", &format!("{short} (the beginning of its hash)"));
        }
    }
    for (name, words) in group.iter().flat_map(group::rows) {
        row(name, &words);
    }
    if let Some(audience) = &keys.audience {
        row("audience", &audience_words(audience, group.is_none()));
    }
    if *source != RoomKeySource::Hop {
        let opens: Vec<String> = ring
            .iter()
            .map(|held| match (held.seals, held.left) {
                (true, _) => format!("{} seals and opens", held.epoch),
                (false, Some(left)) => format!("{} opens for {} more", held.epoch, span(left)),
                (false, None) => format!("{} opens", held.epoch),
            })
            .collect();
        row("here", &if opens.is_empty() { "no key".to_owned() } else { opens.join("\n             ") });
    }
    row("list", &format!("version {}, checked", keys.version));
    let costs = counted::text(counters);
    if !costs.is_empty() {
        row("so far", &costs.replace('\n', "\n             "));
    }
    text.push_str("\nin the room");
    for present in &keys.members {
        let _ = write!(text, "\n  {}", member_words(present));
    }
    text
}

fn epoch_words(keys: &Explanation) -> String {
    let sealing = match (keys.sealing, keys.held) {
        (Some(_), true) => {
            "none is sealed under: one that should be there is not, and nothing is said until it is".to_owned()
        }
        (Some(epoch), false) => format!("{epoch} is sealed under"),
        (None, _) => "none has come yet".to_owned(),
    };
    let Some(opened) = &keys.opened else { return sealing };
    let which =
        if Some(opened.epoch) == keys.sealing { String::new() } else { format!("{} is coming: ", opened.epoch) };
    format!(
        "{sealing}\n             {which}opened {} ago, because {}\n             the next {}, and whenever somebody comes or goes",
        span(opened.ago),
        cause_words(opened.cause),
        if opened.next.is_zero() { "is overdue".to_owned() } else { format!("in {}", span(opened.next)) },
    )
}

fn host_words(host: &Present) -> String {
    let me = if host.me { ", this device" } else { "" };
    format!("{}, device {}{me}", host.member.user.display(), host.member.device)
}

fn member_words(present: &Present) -> String {
    let Present { index, member, me, rights, proof, forward_secrecy, keyed } = present;
    let mut line = format!("{index:<3} {}, device {}, {}", member.user.display(), member.device, role(*rights));
    if *keyed == Some(false) {
        line.push_str(", has no key yet");
    }
    if keyed.is_some() && !forward_secrecy {
        line.push_str(", no forward secrecy");
    }
    match proof {
        Some((known, attested)) => {
            let _ = write!(
                line,
                "\n      {}; its devices are proven: the list of epoch {}, in epoch {} of a log of {}\n      {}",
                words(*known),
                attested.published,
                attested.epoch,
                attested.size,
                witnessed(attested)
            );
        }
        None if *me => line.push_str(" (this device)"),
        None => line.push_str("\n      not proven: not heard, and given no key"),
    }
    line
}

/// What the kept list says: nobody of this home is in the room.
fn off(client: &Client, access: &Access) -> Result<(Value, String), ClientError> {
    let list = access.list();
    let source = RoomKeySource::of(&list.terms).ok_or(ClientError::Stopped)?;
    let mut members = Vec::new();
    let mut text = heading(&list.name, list.room, &list.creator, list.terms.protection.as_str());
    let _ = write!(
        text,
        "\nno call      no program of this home is in the room, so there are no keys here\nkeys         {}{}\n\
         list         version {}, by {}, as it was checked last; nobody was asked for a newer one\nmay come in",
        source_words(source),
        if list.terms.quorum { QUORUM_WORDS } else { "" },
        list.version,
        list.signer.user.display(),
    );
    let me = client.whoami()?.address.user;
    for listed in &list.members {
        let known = known(client, listed, &me)?;
        members.push(json!({
            "user": listed.user.as_str(), "role": role(listed.rights), "account_key": listed.account.fingerprint(),
            "standing": known.map(|(word, _)| word),
        }));
        let _ = write!(text, "\n  {}", listed_words(&listed.user, listed.rights, known.map(|(_, words)| words)));
    }
    let object = json!({
        "event": "room_explained", "on": false, "room": list.room.to_string(), "name": list.name,
        "creator": list.creator.as_str(), "protection": list.terms.protection.as_str(), "key": source.as_str(),
        "suite": list.terms.group_suite.map(GroupSuite::as_str), "audience": list.terms.audience.is_some(),
        "quorum": list.terms.quorum, "version": list.version, "signer": list.signer.user.as_str(), "members": members,
    });
    Ok((object, text))
}

/// How well somebody on a list is known, for programs and for people.
fn known(client: &Client, listed: &Listed, me: &UserId) -> Result<Option<(&'static str, &'static str)>, ClientError> {
    if listed.user == *me {
        return Ok(Some(("me", "you")));
    }
    let trust = client.known_peer(&listed.user)?;
    Ok(trust.map(|trust| match trust.trusted() {
        Some((known, key)) if key == listed.account => (standing(known), words(known)),
        _ => ("changed", "ANOTHER ACCOUNT KEY IS KNOWN HERE"),
    }))
}

fn listed_words(user: &UserId, rights: Rights, known: Option<&str>) -> String {
    format!("{}, {}, {}", user.display(), role(rights), known.unwrap_or("not met so far"))
}
