//! The people in a room, for people: who is in, under which name, how loud.

use std::collections::BTreeMap;

use serde_json::{Value, json};
use tokio::time::Instant;
use undertone_client::native::Loudness;
use undertone_client::{AccessList, Address, ReceptionReason, Rights, UserId};

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
    /// What is known of how they come in, and since when.
    pub(super) reception: Option<(ReceptionReason, Instant)>,
}

impl Person {
    /// Whether something comes of them that does not open, and since when.
    fn unheard(&self) -> Option<(ReceptionReason, Instant)> {
        self.reception.filter(|(reason, _)| !matches!(reason, ReceptionReason::Ok | ReceptionReason::NotSending))
    }
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

    /// Those who cannot be heard though they send, why, and for how long.
    pub(super) fn unheard(&self) -> Vec<String> {
        let unheard = self.0.values().filter_map(|person| person.unheard().map(|unheard| (person, unheard)));
        unheard
            .map(|(person, (reason, since))| {
                let (who, seconds) = (short(&person.member.user), since.elapsed().as_secs());
                format!("{who}: {} {seconds} s", reason_words(reason))
            })
            .collect()
    }

    /// Notes how somebody comes in; what is worth saying about it.
    pub(super) fn note(&mut self, index: u16, reason: ReceptionReason) -> String {
        let Some(person) = self.0.get_mut(&index) else { return String::new() };
        person.reception = Some((reason, Instant::now()));
        let who = person.member.user.display();
        match reason {
            ReceptionReason::Ok | ReceptionReason::NotSending => String::new(),
            ReceptionReason::WaitingSince(_) => format!("{who} cannot be heard yet: the key has not come."),
            ReceptionReason::WrongEpoch => format!("{who} cannot be heard: their key does not come to this device."),
            ReceptionReason::HostGone => format!("{who} cannot be heard: whoever could give the key is away."),
            ReceptionReason::Denied => format!("{who} cannot be heard: the key was refused to this device."),
            ReceptionReason::Forged => {
                format!("What comes in the name of {who} does not open: it is not theirs, or damaged.")
            }
        }
    }

    /// What is worth saying when somebody is heard again: nothing, where nothing was said before.
    pub(super) fn recovered(&self, index: u16, ms: u64) -> String {
        let Some(person) = self.0.get(&index).filter(|person| person.unheard().is_some()) else { return String::new() };
        format!("{} is heard, after {}.{} s.", person.member.user.display(), ms / 1000, ms % 1000 / 100)
    }

    pub(super) fn object(&self, voices: &[Loudness]) -> Value {
        let level = |index| voices.iter().find(|voice| voice.index == index).map(|voice| voice.level);
        let people = self.0.iter().map(|(index, person)| {
            json!({
                "index": index, "user": person.member.user.as_str(), "device": person.member.device.to_string(),
                "standing": standing(person.standing), "role": role(person.rights), "muted": person.muted,
                "reception": person.reception.map(|(reason, _)| reception(reason)),
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
            let heard = match person.reception.map(|(reason, _)| reason) {
                None | Some(ReceptionReason::Ok) => String::new(),
                Some(reason) => format!(", {}", reason_words(reason)),
            };
            format!("  {} ({}, {known}{muted}{heard})", person.member.user.display(), role(person.rights))
        }));
        lines.join("\n")
    }
}

/// How somebody comes in, for programs.
pub(super) const fn reception(reason: ReceptionReason) -> &'static str {
    match reason {
        ReceptionReason::Ok => "ok",
        ReceptionReason::WaitingSince(_) => "waiting",
        ReceptionReason::WrongEpoch => "wrong_epoch",
        ReceptionReason::HostGone => "host_gone",
        ReceptionReason::Denied => "denied",
        ReceptionReason::Forged => "forged",
        ReceptionReason::NotSending => "not_sending",
    }
}

/// The same in a word or two for people.
const fn reason_words(reason: ReceptionReason) -> &'static str {
    match reason {
        ReceptionReason::Ok => "heard",
        ReceptionReason::WaitingSince(_) => "no key yet",
        ReceptionReason::WrongEpoch => "no key",
        ReceptionReason::HostGone => "no key, host away",
        ReceptionReason::Denied => "key refused",
        ReceptionReason::Forged => "forged",
        ReceptionReason::NotSending => "sends nothing",
    }
}

/// A name without its domain: a line has little room.
pub(super) fn short(user: &UserId) -> String {
    user.display().split('@').next().unwrap_or_default().to_owned()
}
