//! What a room's call is told and what it says.

use undertone_groups::WriteSet;
use undertone_keys::agreement::{EphemeralKey, Refused};
use undertone_keys::call_agreement::MediaKey;
use undertone_keys::envelope::Address;
use undertone_keys::static_key::{Answer, Question};
use undertone_keys::{JoinId, UserId, WallTime};
use undertone_media::key_id::SenderIndex;
use undertone_media::{Epoch, Sender};
use undertone_protocol::control::{Member, Refusal};
use undertone_protocol::delivery::{GroupNews, GroupRequest};
use undertone_protocol::group::Cause;
use undertone_protocol::{Access, Rights};
use undertone_transparency::{Standing, TrustedPeer};

use crate::quorum::{Exchange, Exchanged, NoQuorum};

/// What happened.
#[derive(Debug)]
pub enum Input {
    /// A join was signed and sent.
    Joining {
        /// Drawn for it.
        join: JoinId,
        /// Drawn for it; keys will be sealed to it. `None`: they are sealed to the device's own key.
        ephemeral: Option<EphemeralKey>,
    },
    /// The relay let this device in.
    Joined {
        /// Its own index.
        index: SenderIndex,
        /// Others who are in.
        members: Vec<Member>,
        /// How many are in; the rest follow as [`Input::Arrived`].
        others: u16,
        /// The wall clock, corrected to the server's.
        wall: WallTime,
    },
    /// Somebody is in the room.
    Arrived {
        /// Who, by their own papers.
        member: Member,
        /// The wall clock, corrected to the server's.
        wall: WallTime,
    },
    /// Somebody is gone.
    Gone {
        /// Who.
        index: SenderIndex,
        /// Why, by the relay's word.
        reason: Refusal,
    },
    /// The way to the relay is lost; it will be tried again.
    Away,
    /// The answer to [`Output::Resolve`].
    Resolved {
        /// Whom.
        user: UserId,
        /// Proven, or why not.
        peer: Result<TrustedPeer, Unproven>,
    },
    /// The answer to [`Output::FetchAccess`]: the newest version, checked, be it the one that was known. `None`: it could
    /// not be fetched now.
    Access(Option<Box<Access>>),
    /// The server says that the access list has this version now.
    Changed {
        /// Which.
        version: u32,
    },
    /// An envelope for this call came in.
    Received {
        /// From whom, as the server says.
        from: Address,
        /// As received.
        envelope: Vec<u8>,
    },
    /// The delivery service says something of the call's MLS group.
    Group(GroupNews),
    /// The answer to [`Output::FetchTree`].
    Tree {
        /// Of which epoch.
        epoch: u64,
        /// As the server has it; none where it has none, or does not answer.
        bytes: Option<Vec<u8>>,
    },
    /// The answer to [`Output::ClaimKeyPackages`]: of each device one, as an MLS message, or none.
    Claimed(Vec<(Address, Option<Vec<u8>>)>),
    /// The way to the server is lost: letters go nowhere.
    Unreachable,
    /// The server is reachable (again): what it said meanwhile is lost.
    Reachable,
    /// The answer to [`Output::Ask`].
    Answered {
        /// The request's number.
        request: u64,
        /// What the key gave, or why it did not.
        answer: Result<Answer, Refused>,
    },
    /// The answer to [`Output::Exchange`].
    Exchanged {
        /// The request's number.
        request: u64,
        /// What came of it.
        exchanged: Result<Exchanged, NoQuorum>,
    },
    /// The answer to [`Output::Compare`].
    Compared(Compared),
    /// The ring did not take a sender of [`Output::Admit`]: its numbers were used before.
    NotAdmitted {
        /// Which.
        index: SenderIndex,
    },
    /// The ring did not take an epoch of [`Output::Install`].
    NotInstalled {
        /// Which.
        epoch: Epoch,
    },
    /// A person is about to leave, or this device has lost the right to speak: a host names who follows it.
    HandOver {
        /// It leaves.
        leaves: bool,
    },
    /// The time that `poll_timeout` named has come.
    Tick,
}

/// Why a user's devices could not be proven.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Unproven {
    /// Not now; to be tried again.
    Unavailable,
    /// They are not trusted; why, for people.
    Untrusted(String),
}

/// What comparing two views of the key directory's log came to (rule KT-13).
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Compared {
    /// One log was shown to both.
    Agrees,
    /// Two logs, or no proof that it is one: what is wrong, for people.
    Disagrees(String),
    /// What the peer says it was shown is not signed by the log: theirs is the fault, and not the server's.
    Untrue,
    /// The server does not answer, or is too busy to. Whoever compares keeps what was told, and asks again.
    Unavailable,
}

/// What is to be done, in order.
#[derive(Debug)]
pub enum Output {
    /// Look a user up and prove its devices, for [`Input::Resolved`].
    Resolve(UserId),
    /// Fetch and check newer versions of the access list, for [`Input::Access`].
    FetchAccess,
    /// Ask the holder of this device's private key, for [`Input::Answered`]: a letter was sealed to it.
    Ask {
        /// To be repeated.
        request: u64,
        /// What is asked.
        question: Question,
    },
    /// Do this with the swarm, for [`Input::Exchanged`] (rule RKX-5).
    Exchange {
        /// To be repeated.
        request: u64,
        /// What.
        exchange: Exchange,
    },
    /// Take shares back from the swarm that nobody needs any more.
    TakeBack {
        /// Which.
        set: Vec<u8>,
    },
    /// Compare what a member was shown of the key directory's log with what this device was shown, for
    /// [`Input::Compared`].
    Compare {
        /// Who was shown it.
        user: UserId,
        /// Their checkpoint, as a note.
        told: Vec<u8>,
    },
    /// Hand an envelope to a device.
    Send {
        /// To whom.
        to: Address,
        /// Sealed.
        envelope: Vec<u8>,
        /// Worth sending when the server is back, if it is away now. What is asked is asked again by then.
        lasting: bool,
    },
    /// Make this durable, as one transaction, before anything that comes after it (rule STO-2). Whoever cannot leaves the room.
    Store(WriteSet),
    /// Ask the delivery service something about the call's MLS group, for [`Input::Group`].
    Group {
        /// Repeated in the answer.
        number: u32,
        /// What.
        request: GroupRequest,
    },
    /// Fetch the ratchet tree of an epoch, for [`Input::Tree`].
    FetchTree {
        /// Which.
        epoch: u64,
    },
    /// Hand a key package of this device to the server.
    PublishKeyPackage {
        /// MLS's number of its suite.
        suite: u16,
        /// It, as an MLS message.
        message: Vec<u8>,
    },
    /// Ask the server for a key package of each of these, for [`Input::Claimed`].
    ClaimKeyPackages {
        /// MLS's number of the suite.
        suite: u16,
        /// Whose.
        devices: Vec<Address>,
    },
    /// Take every epoch out of the ring: what comes next is of another line.
    Clear,
    /// Open this sender's frames.
    Admit(Sender),
    /// Open nothing of this sender's for now: it may be admitted again.
    Suspend(SenderIndex),
    /// Open nothing of this sender's any more.
    Dismiss(SenderIndex),
    /// Put a key into the ring: it opens at once. [`Input::NotInstalled`] if the ring does not take it.
    Install(Epoch, MediaKey),
    /// Seal under this epoch from now on.
    Promote {
        /// Which.
        epoch: Epoch,
        /// Whether the change removed somebody.
        removed: bool,
    },
    /// Seal these bytes beside the sound, as a control frame of the source `Context::HOST`: the host's word to everybody, or that of a
    /// member of an MLS group.
    Say(Vec<u8>),
    /// Seal nothing, or seal again: the epoch that should have come is not there.
    Hold(bool),
    /// Ask the relay to put somebody out: this device's grant allows it, and they are not on the list.
    Remove(SenderIndex),
    /// This device's own rights have changed: get a new grant and join with it.
    Rejoin,
    /// Leave the room.
    Leave(Leaving),
    /// Tell whoever is interested.
    Event(Event),
}

/// Why this device leaves by itself.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Leaving {
    /// There is somebody in the room who cannot be proven to belong there; why, for people (rule GRP-8).
    Proof(String),
    /// Its user is not on the list any more.
    Removed,
    /// There is no host, and nobody who could follow it.
    HostGone,
    /// The room's quorum secret could not be had: no member gave it, or not over enough nodes (rule RKX-5).
    NoQuorum,
}

/// What people see.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Event {
    /// Somebody is in the room and proven.
    In {
        /// Under which index.
        index: SenderIndex,
        /// Who.
        member: Address,
        /// How well they are known.
        standing: Standing,
        /// What they may do.
        rights: Rights,
        /// Keys are sealed to their join alone. `false`: to their device's own key, and whoever gets that one day opens all
        /// that was said meanwhile (rule GRP-7).
        forward_secrecy: bool,
    },
    /// Somebody who was in is gone.
    Out {
        /// Under which index.
        index: SenderIndex,
        /// Who.
        member: Address,
        /// Why.
        reason: Refusal,
    },
    /// The room has a host, or another.
    Host {
        /// Under which index.
        index: SenderIndex,
        /// It is this device.
        me: bool,
        /// Its term.
        term: u32,
        /// How it became host, or why it opened the epoch by which this device first heard of it.
        cause: Cause,
    },
    /// The host told two stories, or gave out keys that do not fit: it is obeyed no more.
    HostRefused {
        /// Under which index.
        index: SenderIndex,
    },
    /// Something does not open: keys were asked for.
    Asked {
        /// Of whom.
        index: SenderIndex,
    },
    /// This device seals under this epoch now.
    Epoch(Epoch),
    /// The quorum secret that somebody gave this device does not open the room's group: it is another one, or the way in is that the server
    /// hands out. Another member is asked.
    WrongQuorum {
        /// Who.
        by: Address,
    },
    /// Something happened in the call's MLS group.
    Group(undertone_groups::member::Event),
}
