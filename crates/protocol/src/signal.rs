//! The WebSocket between a device and its server: one binary message is one structure in deterministic CBOR.
//!
//! The device opens with [`ToServer::Hello`], the server answers [`ToDevice::Welcome`] or says why not. Requests
//! carry a number of the device's choosing, which the answer repeats.

use minicbor::{Decode, Encode};
use undertone_keys::envelope::Address;
use undertone_keys::sign::Signed;
use undertone_keys::{CallId, DeviceId, RoomId, UserId, WallTime, cbor};

use crate::delivery::{GroupNews, GroupRequest};
use crate::terms::Protection;

/// From a device to its server.
#[derive(Clone, Debug, PartialEq, Eq, Encode, Decode)]
#[cbor(flat)]
pub enum ToServer {
    /// First of all: the version spoken.
    #[n(0)]
    Hello {
        /// [`crate::VERSION`].
        #[n(0)]
        version: u16,
    },
    /// Make a room for a call and a grant for me. With [`Protection::Echo`] the callee is myself.
    #[n(1)]
    OpenCall {
        /// Repeated in the answer.
        #[n(0)]
        number: u32,
        /// The call's id, drawn by the caller.
        #[n(1)]
        call: CallId,
        /// Whom it is for.
        #[n(2)]
        callee: UserId,
        /// Asked for.
        #[n(3)]
        protection: Protection,
    },
    /// Hand an envelope to a device.
    #[n(2)]
    Send {
        /// To whom.
        #[n(0)]
        to: Address,
        /// The call it belongs to.
        #[n(1)]
        call: CallId,
        /// Sealed, opaque to the server.
        #[cbor(n(2), with = "minicbor::bytes")]
        envelope: Vec<u8>,
    },
    /// Nothing to say.
    #[n(3)]
    KeepAlive,
    /// Hand letters of a room's call to devices, as [`Self::Send`] would each of them: 1 to [`crate::limits::MAX_LETTERS`], from
    /// somebody on the room's newest access list to others on it, for the room's present call. What is not handed on comes back
    /// as [`ToDevice::Returned`].
    #[n(4)]
    Spread {
        /// The room's present call.
        #[n(0)]
        call: CallId,
        /// Which room.
        #[n(1)]
        room: RoomId,
        /// What, and to whom.
        #[n(2)]
        letters: Vec<Letter>,
    },
    /// Something about the MLS group of a room's present call, from somebody on the room's newest access list. What comes of it
    /// comes as [`ToDevice::Group`].
    #[n(5)]
    Group {
        /// Which room.
        #[n(0)]
        room: RoomId,
        /// The room's present call.
        #[n(1)]
        call: CallId,
        /// Repeated in the answer.
        #[n(2)]
        number: u32,
        /// What is wanted.
        #[n(3)]
        request: GroupRequest,
    },
}

/// One envelope of a [`ToServer::Spread`].
#[derive(Clone, Debug, PartialEq, Eq, Encode, Decode)]
pub struct Letter {
    /// To whom.
    #[n(0)]
    pub to: Address,
    /// Sealed, opaque to the server: [`crate::limits::MAX_ENVELOPE`] bytes at most.
    #[cbor(n(1), with = "minicbor::bytes")]
    pub envelope: Vec<u8>,
}

/// From a server to a device.
#[derive(Clone, Debug, PartialEq, Eq, Encode, Decode)]
#[cbor(flat)]
pub enum ToDevice {
    /// The device is connected.
    #[n(0)]
    Welcome {
        /// [`crate::VERSION`].
        #[n(0)]
        version: u16,
        /// The server's clock.
        #[n(1)]
        now: WallTime,
        /// Who the device is.
        #[n(2)]
        you: Address,
    },
    /// The answer to [`ToServer::OpenCall`].
    #[n(1)]
    CallOpened {
        /// The request's number.
        #[n(0)]
        number: u32,
        /// A signed [`crate::Grant`].
        #[n(1)]
        grant: Signed,
    },
    /// A request was refused.
    #[n(2)]
    Refused {
        /// The request's number.
        #[n(0)]
        number: u32,
        /// Why.
        #[n(1)]
        reason: Reason,
    },
    /// An envelope from a device.
    #[n(3)]
    Deliver {
        /// From whom, as the server knows it; the envelope says it under signature.
        #[n(0)]
        from: Address,
        /// The call it belongs to.
        #[n(1)]
        call: CallId,
        /// Sealed.
        #[cbor(n(2), with = "minicbor::bytes")]
        envelope: Vec<u8>,
        /// A grant for the receiver, when the call was opened for its user.
        #[n(3)]
        grant: Option<Signed>,
    },
    /// A device is not connected: the envelope went nowhere.
    #[n(4)]
    Undelivered {
        /// Which device.
        #[n(0)]
        to: DeviceId,
        /// The call it belonged to.
        #[n(1)]
        call: CallId,
    },
    /// The connection ends, and why.
    #[n(5)]
    Closing {
        /// Why.
        #[n(0)]
        reason: Reason,
        /// The version the server speaks.
        #[n(1)]
        version: u16,
    },
    /// Nothing to say.
    #[n(6)]
    KeepAlive,
    /// A room's access list has a new version, and the device's user is or was on it. The list itself is asked for over
    /// REST.
    #[n(7)]
    RoomChanged {
        /// Which room.
        #[n(0)]
        room: RoomId,
        /// The newest version.
        #[n(1)]
        version: u32,
    },
    /// The device list of the device's own account has a new version. What it says is proven over REST: look at once
    /// (rule KT-11).
    #[n(8)]
    DevicesChanged,
    /// Letters of a [`ToServer::Spread`] that were not handed on, in their order. Of the others nothing is said.
    #[n(9)]
    Returned {
        /// The spread's call.
        #[n(0)]
        call: CallId,
        /// Which, and why.
        #[n(1)]
        letters: Vec<ReturnedLetter>,
        /// Milliseconds after which those that say [`Why::Later`] can be sent again; 0 where none does.
        #[n(2)]
        after_ms: u32,
    },
    /// Somebody who is not on a room's list asks to be let in, and the device's user may moderate there (rule GRP-8). The server's
    /// word: whoever decides looks that user up.
    #[n(10)]
    Knocked {
        /// Which room.
        #[n(0)]
        room: RoomId,
        /// Who.
        #[n(1)]
        user: UserId,
    },
    /// A moderator of this room does not let the device's user in.
    #[n(11)]
    TurnedAway {
        /// Which room.
        #[n(0)]
        room: RoomId,
    },
    /// Something about the MLS group of a call that the device follows or asked about.
    #[n(12)]
    Group {
        /// The call.
        #[n(0)]
        call: CallId,
        /// What.
        #[n(1)]
        news: GroupNews,
    },
    /// Few of the device's key packages are left (rule MLS-1): it uploads some, over REST.
    #[n(13)]
    KeyPackagesLow {
        /// Of which cipher suite.
        #[n(0)]
        suite: u16,
        /// How many, the last resort not counted.
        #[n(1)]
        left: u32,
    },
}

/// A letter that was not handed on.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Encode, Decode)]
pub struct ReturnedLetter {
    /// To which device it was.
    #[n(0)]
    pub to: DeviceId,
    /// Why it comes back.
    #[n(1)]
    pub why: Why,
}

/// Why a letter comes back.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Encode, Decode)]
#[cbor(index_only)]
pub enum Why {
    /// No such device of that user is connected.
    #[n(1)]
    Away,
    /// That user is not on the room's newest access list.
    #[n(2)]
    Unlisted,
    /// Too many letters in too short a time, of the sender's or for that device: the same letter can be sent again.
    #[n(3)]
    Later,
    /// The sender is not on the room's newest access list, or the room is in another call: which of the two, and whether there
    /// is such a room, is not said.
    #[n(4)]
    Refused,
}

/// Why a server refuses.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Encode, Decode)]
#[cbor(index_only)]
pub enum Reason {
    /// Nobody has that name here.
    #[n(1)]
    UnknownUser,
    /// Another version; the server's is named beside it.
    #[n(2)]
    Version,
    /// Bytes that are no message.
    #[n(3)]
    Malformed,
    /// Too much in too short a time.
    #[n(4)]
    TooMany,
    /// The same device connected anew.
    #[n(5)]
    Replaced,
    /// The device may not act any more.
    #[n(6)]
    Revoked,
    /// The server goes down.
    #[n(7)]
    ShuttingDown,
    /// The server cannot do it now.
    #[n(8)]
    Unavailable,
    /// This server has no such protection.
    #[n(9)]
    Protection,
}

impl Reason {
    /// A sentence for people.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::UnknownUser => "nobody has that name on this server",
            Self::Version => "server and client speak different versions",
            Self::Malformed => "the message could not be read",
            Self::TooMany => "too many requests, slow down",
            Self::Replaced => "this device connected again from elsewhere",
            Self::Revoked => "this device was revoked",
            Self::ShuttingDown => "the server is shutting down",
            Self::Unavailable => "the server cannot do this now",
            Self::Protection => "this server does not offer the protection asked for",
        }
    }
}

impl ToServer {
    /// The message's bytes.
    #[must_use]
    pub fn encode(&self) -> Vec<u8> {
        cbor::encode(self)
    }

    /// Reads a message.
    ///
    /// # Errors
    /// [`cbor::Malformed`].
    pub fn decode(bytes: &[u8]) -> Result<Self, cbor::Malformed> {
        cbor::decode(bytes)
    }
}

impl ToDevice {
    /// The message's bytes.
    #[must_use]
    pub fn encode(&self) -> Vec<u8> {
        cbor::encode(self)
    }

    /// Reads a message.
    ///
    /// # Errors
    /// [`cbor::Malformed`].
    pub fn decode(bytes: &[u8]) -> Result<Self, cbor::Malformed> {
        cbor::decode(bytes)
    }
}
