//! The people in a room, for people: who is in, under which name, how loud.

use std::collections::BTreeMap;

use serde_json::{Value, json};
use undertone_client::native::Loudness;
use undertone_client::{AccessList, Address, Rights, UserId};

use super::role;
use crate::conversation::words;
use crate::peer::standing;

/// From this loudness on somebody speaks.
const SPEAKS: f32 = -45.0;

/// Everybody on a list, with what they may do where that is not just to speak.
pub(super) fn names(list: &AccessList) -> String {
    if list.is_closed() {
        return "nobody, it is closed".into();
    }
    let name = |listed: &undertone_client::Listed| match role(listed.rights) {
        "speaker" => listed.user.display(),
        other => format!("{} ({other})", listed.user.display()),
    };
    list.members.iter().map(name).collect::<Vec<_>>().join(", ")
}

#[derive(Debug)]
pub(super) struct Person {
    pub(super) member: Address,
    pub(super) standing: undertone_client::Standing,
    pub(super) rights: Rights,
    pub(super) muted: bool,
}

/// Who is in, by sender index.
#[derive(Debug, Default)]
pub(super) struct People(pub(super) BTreeMap<u16, Person>);

impl People {
    /// The indices of a user's devices, by a bare or a full name.
    pub(super) fn named(&self, name: &str) -> Vec<u16> {
        let is = |user: &UserId| user.as_str() == name || user.as_str().split('@').next() == Some(name);
        self.0.iter().filter(|(_, person)| is(&person.member.user)).map(|(index, _)| *index).collect()
    }

    /// Those who speak now.
    pub(super) fn speaking(&self, voices: &[Loudness]) -> Vec<String> {
        let loud = voices.iter().filter(|voice| voice.level > SPEAKS);
        loud.filter_map(|voice| self.0.get(&voice.index)).map(|person| short(&person.member.user)).collect()
    }

    pub(super) fn object(&self, voices: &[Loudness]) -> Value {
        let level = |index| voices.iter().find(|voice| voice.index == index).map(|voice| voice.level);
        let people = self.0.iter().map(|(index, person)| {
            json!({
                "index": index, "user": person.member.user.as_str(), "device": person.member.device.to_string(),
                "standing": standing(person.standing), "role": role(person.rights), "muted": person.muted,
                "level_db": level(*index), "speaks": level(*index).is_some_and(|level| level > SPEAKS),
            })
        });
        Value::Array(people.collect())
    }

    pub(super) fn text(&self, me: &UserId, mine: Rights) -> String {
        let mut lines = vec![format!("In the room: {} (you, {})", me.display(), role(mine))];
        lines.extend(self.0.values().map(|person| {
            let muted = if person.muted { ", muted" } else { "" };
            let known = words(person.standing);
            format!("  {} ({}, {known}{muted})", person.member.user.display(), role(person.rights))
        }));
        lines.join("\n")
    }
}

/// A name without its domain: a line has little room.
fn short(user: &UserId) -> String {
    user.display().split('@').next().unwrap_or_default().to_owned()
}
