//! What a person can be told about a call's keys: which there are, who gave them, and for whom.

use core::time::Duration;

use undertone_keys::Time;
use undertone_keys::envelope::Address;
use undertone_media::key_id::SenderIndex;
use undertone_protocol::Rights;
use undertone_protocol::group::{Cause, Roster};
use undertone_transparency::Standing;
use undertone_transparency::trust::Attested;

use crate::room::{AudienceExplained, RoomCall};

/// Why the newest epoch was opened, and for whom (rule GRP-3).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct OpenedEpoch {
    /// Its number.
    pub epoch: u32,
    /// The term of the host that opened it.
    pub term: u32,
    /// Why it was opened.
    pub cause: Cause,
    /// How long this device has gone by it.
    pub ago: Duration,
    /// After how long the next is opened where nothing happens: zero where it is overdue.
    pub next: Duration,
    /// The hash of the roster that it is for.
    pub roster: [u8; 32],
}

/// Somebody who is in, and by what this device knows that it is they.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Present {
    /// The sender index.
    pub index: SenderIndex,
    /// Whose device.
    pub member: Address,
    /// It is this device.
    pub me: bool,
    /// What it may do, by list and grant.
    pub rights: Rights,
    /// How well its user is known, and the state of the key directory that proved its devices; none for this device, and for
    /// whoever is not proven.
    pub proof: Option<(Standing, Attested)>,
    /// Keys are sealed to a key of its join; `false`: to its device's own (rule GRP-7).
    pub forward_secrecy: bool,
    /// Whether the newest epoch is for it; none in a hop room, and as long as nobody has been host.
    pub keyed: Option<bool>,
}

/// Letters about keys, by number and bytes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct LetterCount {
    /// How many.
    pub count: u64,
    /// Their envelopes' bytes.
    pub bytes: u64,
}

impl LetterCount {
    /// One more.
    pub(in crate::room) fn add(&mut self, bytes: usize) {
        self.count += 1;
        self.bytes += u64::try_from(bytes).unwrap_or_default();
    }
}

/// Requests for keys that this device has sent to hosts (rules EKR-2, EKR-3), by what became of them.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Requests {
    /// How many, each once however often it went out.
    pub sent: u64,
    /// The host answered them, or handed its newest epoch to everybody.
    pub answered: u64,
    /// They ran out of time. What is left was overtaken: by a newer epoch, by another host, or by the host's being heard again.
    pub given_up: u64,
}

/// What a room's call goes by, at one moment.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Explanation {
    /// The version of the access list.
    pub version: u32,
    /// The newest epoch; none in a hop room, and as long as nobody has been host.
    pub opened: Option<OpenedEpoch>,
    /// The epoch that is sealed under.
    pub sealing: Option<u32>,
    /// The host's index, if it is in.
    pub host: Option<SenderIndex>,
    /// This device is host.
    pub hosts: bool,
    /// Nothing is sealed: an epoch that should be there is not.
    pub held: bool,
    /// Everybody who is in, by index.
    pub members: Vec<Present>,
    /// Those who only listen, where they are an audience.
    pub audience: Option<AudienceExplained>,
    /// Letters about keys that this device has sent since it came in.
    pub sent: LetterCount,
    /// Those that came to it, read or not.
    pub received: LetterCount,
    /// What it asked hosts for since then.
    pub requests: Requests,
}

impl RoomCall {
    /// What there is to say about the call's keys now.
    #[must_use]
    pub fn explain(&self, now: Time) -> Explanation {
        let report = self.keys_report();
        let head = self.keys.head.as_ref();
        let opened = head.map(|head| {
            let ago = now.since(head.since);
            OpenedEpoch {
                epoch: head.statement.epoch,
                term: head.statement.term,
                cause: head.statement.cause,
                ago,
                next: self.policy.rotate.saturating_sub(ago),
                roster: head.statement.roster,
            }
        });
        let (count, bytes) = self.keys.letters.sent;
        Explanation {
            version: self.access.list().version,
            opened,
            sealing: report.epoch,
            host: report.host,
            hosts: report.me,
            held: self.keys.held.is_some() || self.mls.as_ref().is_some_and(|mls| mls.is_held()),
            members: self.present(head.and_then(|head| head.roster.as_ref())),
            audience: self.explain_audience(),
            sent: LetterCount { count, bytes },
            received: self.received,
            requests: self.keys.recovery.requests,
        }
    }

    fn present(&self, roster: Option<&Roster>) -> Vec<Present> {
        // Of a listener nobody knows but whoever serves it.
        let terms = &self.access.list().terms;
        let keyed = |member: &Address, rights: Rights, join| match (&self.mls, &self.listening) {
            (Some(mls), _) => (!terms.is_audience(rights)).then(|| mls.has(member)),
            (None, Some(_)) => None,
            (None, None) => roster.map(|roster| roster.has(join)),
        };
        // Listeners who have asked this device for nothing are a number, and nothing that is known.
        let others = self.seats.iter().filter(|(_, seat)| seat.is_admitted() || !seat.is_audience());
        let others = others.map(|(index, seat)| {
            let peer = self.known.get(&seat.member().user).and_then(|known| known.peer.as_ref());
            let peer = peer.filter(|_| seat.is_admitted());
            Present {
                index: *index,
                member: seat.member().clone(),
                me: false,
                rights: seat.entry().grant.rights,
                proof: peer.map(|peer| (peer.standing(), peer.attested().clone())),
                forward_secrecy: seat.entry().join.ephemeral.is_some() || (self.has_group() && !seat.is_audience()),
                keyed: keyed(seat.member(), seat.entry().grant.rights, seat.entry().join.join),
            }
        });
        let me = self.me.as_ref().and_then(|me| {
            Some(Present {
                index: me.index?,
                member: self.local.address.clone(),
                me: true,
                rights: self.rights,
                proof: None,
                forward_secrecy: me.ephemeral.is_some() || self.mls.is_some(),
                keyed: keyed(&self.local.address, self.rights, me.join),
            })
        });
        let mut all: Vec<Present> = others.chain(me).collect();
        all.sort_unstable_by_key(|present| present.index);
        all
    }
}
