//! What people and programs see of a call.

use undertone_call::quorum::QuorumNodes;
use undertone_call::room::reception::Reason as ReceptionReason;
use undertone_call::{Outcome, Role};
use undertone_keys::choice::Agreement;
use undertone_keys::envelope::Address;
use undertone_keys::sas::Sas;
use undertone_keys::sign::{Account, VerifyingKey};
use undertone_keys::{CallId, DeviceId, RoomId, Time, UserId, WallTime};
use undertone_media::Context;
use undertone_media::packet::Codec;
use undertone_protocol::signal::Reason;
use undertone_protocol::{Protection, Rights};
use undertone_raida::client::Report;
use undertone_transparency::Standing;

use super::{KeyCounters, RoomKeySource};

/// What people and programs see of a call.
#[derive(Clone, Debug)]
pub enum Event {
    /// The server is connected (again).
    Online,
    /// The server is not connected; the driver goes on trying.
    Offline {
        /// Why, if the server said so.
        reason: Option<Reason>,
    },
    /// The peer is being called.
    Calling {
        /// Which call.
        call: CallId,
        /// Whom.
        peer: UserId,
        /// How well they are known.
        standing: Standing,
    },
    /// One of the peer's devices rings.
    Ringing {
        /// Which call.
        call: CallId,
    },
    /// Somebody calls.
    Incoming {
        /// Which call.
        call: CallId,
        /// Who.
        peer: Address,
        /// How well they are known.
        standing: Standing,
        /// How the call would be protected.
        protection: Protection,
        /// How its key would come about: by RSA there is no forward secrecy (rule ID-3).
        agreement: Agreement,
        /// What the caller says of its swarm, where a quorum secret is to be mixed in (rule RKX-5).
        quorum: Option<Vec<u8>>,
    },
    /// What came of a quorum secret's shares, node by node.
    Quorum(Box<QuorumStep>),
    /// The peer has no device but such as have RSA alone, and nobody has said yes to that. [`Event::Refused`] follows.
    LegacyAsked,
    /// Both called each other at the same moment: theirs goes on in the place of ours, and is taken by itself.
    Yielded {
        /// The call that is given up.
        ours: CallId,
        /// The call that goes on.
        theirs: CallId,
    },
    /// Both sides confirmed the same keys.
    Established(Box<CallInfo>),
    /// The server has opened an echo: what this device says it will hear.
    Echo {
        /// Which call.
        call: CallId,
    },
    /// Sound can flow both ways.
    Connected {
        /// Which call.
        call: CallId,
        /// Whether this is after an interruption.
        again: bool,
    },
    /// The first frame of the peer's opened.
    Hearing {
        /// Which call.
        call: CallId,
    },
    /// Sound does not flow; this device, or the peer, tries to come back.
    Interrupted {
        /// Which call.
        call: CallId,
        /// Which side is gone.
        who: Side,
    },
    /// The server has opened a room to this device.
    RoomEntered(Box<RoomInfo>),
    /// Something about who is in the room, or about its keys.
    Room {
        /// Which call.
        call: CallId,
        /// What.
        event: undertone_call::room::Event,
    },
    /// A member of the room is heard, or is not for another reason than before (rule EKR-8).
    Reception {
        /// Which call.
        call: CallId,
        /// Whose index.
        index: u16,
        /// Which of its sources.
        context: Context,
        /// What holds now.
        reason: ReceptionReason,
    },
    /// A member of the room is heard again after frames of it that would not open (rule EKR-8).
    Recovered {
        /// Which call.
        call: CallId,
        /// Whose index.
        index: u16,
        /// Which of its sources.
        context: Context,
        /// From the first frame that would not open to the first that did.
        ms: u64,
    },
    /// What the keys of a room's call have cost, and who was not heard for how long: told once, before [`Event::Over`].
    KeysCounted {
        /// Which call.
        call: CallId,
        /// Everything since this device came in.
        counters: Box<KeyCounters>,
    },
    /// A member of the room was silenced by somebody who may, or can be heard again.
    Muted {
        /// Which call.
        call: CallId,
        /// Whose index.
        index: u16,
        /// Whether it is silent now.
        muted: bool,
        /// Whether it is this device.
        me: bool,
    },
    /// A room's list has a newer version, by the server's word: somebody was invited, or taken off.
    RoomChanged {
        /// Which room.
        room: RoomId,
        /// The version.
        version: u32,
    },
    /// Somebody asks to be let into a room that this user may moderate: the server's word, told once in ten minutes.
    Knocked {
        /// Which room.
        room: RoomId,
        /// Who.
        user: UserId,
    },
    /// This user is not let into a room, by the server's word.
    TurnedAway {
        /// Which room.
        room: RoomId,
    },
    /// The call is over.
    Over {
        /// Which call.
        call: CallId,
        /// How it ended.
        outcome: Outcome,
    },
    /// A call did not begin.
    Refused {
        /// Why, for people.
        reason: String,
        /// The distinct result.
        outcome: Outcome,
    },
    /// Sound can no longer be played or written; the call goes on without.
    SoundFailed {
        /// Why, for people.
        reason: String,
    },
    /// Something stands in the account's history that its owner does not know of (rule KT-11).
    Account(Alarm),
    /// What stands in the account's history could not be checked: the server's proof of it fails, or it gives none (rule KT-11).
    Unproven {
        /// Why, for people.
        reason: String,
        /// Whether there was a proof, and it failed.
        proof: bool,
    },
    /// The server shows a peer another log of its key directory than this device, or cannot prove that it is one (rule KT-13). Nobody can
    /// override that; what the call came to follows, where one waited for it.
    Disproved {
        /// Which call waited; none where the server has answered long after it.
        call: Option<CallId>,
        /// With whom it was compared.
        peer: UserId,
        /// What is wrong, for people.
        reason: String,
    },
    /// The server owes a proof that a peer is shown the log that this device is shown, for longer than an honest one would, and answers
    /// other questions meanwhile (rule KT-13).
    Owed(Owed),
    /// Something was refused that no call came of.
    Rejected {
        /// Why, for the log.
        reason: String,
    },
}

/// A proof that the server owes this device: that its log is the one that a peer was shown (rule KT-13).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Owed {
    /// Who was shown the other state of the log.
    pub peer: UserId,
    /// How many leaves that had.
    pub size: u64,
    /// Since when, by this device's clock.
    pub since: WallTime,
    /// Whether that is so long that an honest server would have answered.
    pub overdue: bool,
}

/// Something in the history of one's own account that nobody here has acknowledged (rule KT-11).
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Alarm {
    /// A device may act for the account, or might: one that this device does not know.
    DeviceAdded {
        /// Which.
        device: DeviceId,
        /// What it calls itself.
        label: String,
        /// Which device let it in; none where none was left to do so.
        by: Option<DeviceId>,
    },
    /// A device may not act any more.
    DeviceRevoked {
        /// Which.
        device: DeviceId,
        /// What it calls itself.
        label: String,
    },
    /// The account begins anew under another key (rule ID-7).
    Anew {
        /// The fingerprint of the new account key.
        account: String,
        /// From when on, where that is still to come and the server shows it. Until then this account's devices can keep it.
        effective: Option<WallTime>,
    },
}

/// A side of a call.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Side {
    /// This device.
    Here,
    /// The peer.
    There,
}

/// What a call shows about itself.
#[derive(Clone, Debug)]
pub struct CallInfo {
    /// Which call.
    pub call: CallId,
    /// Which side this is.
    pub role: Role,
    /// Who is on the other side, on which device.
    pub peer: Address,
    /// Their account key.
    pub account: VerifyingKey<Account>,
    /// How well they are known.
    pub standing: Standing,
    /// To be compared by the two people.
    pub sas: Sas,
    /// Who can open the media.
    pub protection: Protection,
    /// How the key came about: by RSA, on either side, there is no forward secrecy.
    pub agreement: Agreement,
    /// The epoch of the call's own key; none in a hop room, whose keys belong to connections.
    pub epoch: Option<u32>,
    /// Over which nodes the quorum secret came that the key has in it.
    pub quorum: Option<QuorumNodes>,
}

/// What was to be done with a quorum secret's shares.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum QuorumPart {
    /// Leave those of a new secret at the nodes.
    Drawn,
    /// Leave those of a room's secret, for somebody who comes.
    Shared,
    /// Put the secret together.
    Fetched,
}

impl QuorumPart {
    /// The word for it in JSON.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Drawn | Self::Shared => "posted",
            Self::Fetched => "fetched",
        }
    }
}

/// What came of a quorum secret's shares.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct QuorumStep {
    /// For which call.
    pub call: CallId,
    /// What was to be done with them.
    pub part: QuorumPart,
    /// What each node did.
    pub report: Report,
    /// Why there is no secret, for people.
    pub fault: Option<String>,
}

/// What a room shows about itself.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RoomInfo {
    /// Which room.
    pub room: RoomId,
    /// The call in it.
    pub call: CallId,
    /// What people call it.
    pub name: String,
    /// Who made it and holds its keys.
    pub creator: UserId,
    /// Who can open the media.
    pub protection: Protection,
    /// Where its keys come from.
    pub keys: RoomKeySource,
    /// A quorum secret is mixed into them (rule RKX-5).
    pub quorum: bool,
    /// What this device may do.
    pub rights: Rights,
    /// Keys are sealed to a key of each join, or are handed out by nobody; `false`: to this device's own key (rule GRP-7).
    pub forward_secrecy: bool,
}

/// A frame that opened.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Heard<'b> {
    /// The sender's index.
    pub sender: u16,
    /// When it came in: before now, if it had to wait for its key.
    pub at: Time,
    /// When it was captured, in ms since its source began.
    pub captured_ms: u32,
    /// How it is encoded.
    pub codec: Codec,
    /// The encoded sound.
    pub payload: &'b [u8],
}

/// What the media path counted.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct MediaStats {
    /// Frames sealed.
    pub sealed: u64,
    /// Frames opened.
    pub opened: u64,
    /// Packets that did not open, by whatever fault.
    pub refused: u64,
    /// Frames that came before their key and were kept for it.
    pub kept: u64,
    /// Those of them that opened when it came; they count as opened too.
    pub opened_late: u64,
    /// Those whose key did not come in time; they count as refused too.
    pub dropped: u64,
}
