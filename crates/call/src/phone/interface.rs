//! What a phone is told and what it says.

use undertone_keys::agreement::Refused;
use undertone_keys::call_agreement::MediaKey;
use undertone_keys::choice::{Agreement, ChoiceError, LegacyPolicy};
use undertone_keys::envelope::Address;
use undertone_keys::sas::Sas;
use undertone_keys::sign::Signed;
use undertone_keys::static_key::{Answer, Question};
use undertone_keys::{CallId, DeviceId, UserId, WallTime};
use undertone_protocol::Terms;
use undertone_transparency::{Standing, TrustedPeer};

use crate::outcome::Outcome;
use crate::quorum::{Exchange, Exchanged, NoQuorum, QuorumNodes};

/// What happened.
#[derive(Debug)]
pub enum Input {
    /// A person wants to call somebody.
    Dial {
        /// Whom.
        peer: TrustedPeer,
        /// Drawn afresh; the grant names it.
        call: CallId,
        /// What the call is to be like.
        terms: Terms,
        /// The server's grant for this device.
        grant: Signed,
        /// The wall clock, corrected to the server's.
        wall: WallTime,
        /// What is done about devices that have RSA alone.
        legacy: LegacyPolicy,
        /// What this side says of its swarm, exactly where the terms say that a quorum secret is mixed in.
        quorum: Option<Vec<u8>>,
    },
    /// An envelope came in.
    Received {
        /// As received.
        envelope: Vec<u8>,
        /// The user it claims to come from, proven.
        peer: TrustedPeer,
        /// The grant that came with it.
        grant: Option<Signed>,
        /// The wall clock, corrected to the server's.
        wall: WallTime,
    },
    /// The server could not hand an envelope to a device: it is not connected.
    Undelivered {
        /// Which device.
        device: DeviceId,
        /// The call it belonged to.
        call: CallId,
    },
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
        /// What it brought.
        exchanged: Result<Exchanged, NoQuorum>,
    },
    /// A person takes the call that rings.
    Accept,
    /// A person does not take it.
    Decline,
    /// The local policy does not allow the call that rings.
    Refuse,
    /// What the caller was shown of the key directory's log does not go with what this device was shown (rule KT-13).
    Disprove,
    /// This device is in another conversation: the call that rings is not shown to anybody.
    Busy,
    /// This device does not use the swarm that this call, if it rings, is to have a quorum secret from.
    NoQuorum(CallId),
    /// A person ends whatever there is: a ringing call is cancelled, an established one ended.
    HangUp,
    /// The media path cannot go on: ends an established call with this outcome, which the peer is told.
    End(Outcome),
    /// The media path says that the peer is gone and did not come back.
    PeerGone,
    /// The time that `poll_timeout` named has come.
    Tick,
}

/// What is to be done, in order.
#[derive(Debug)]
pub enum Output {
    /// Make durable, before anything after it is done, that this call id was accepted (rules CALL-5, STO-2).
    Store {
        /// Which call.
        call: CallId,
        /// May be forgotten after this.
        until: WallTime,
    },
    /// Hand these bytes to the server for that device.
    Send {
        /// For whom.
        to: Address,
        /// The call they belong to.
        call: CallId,
        /// Sealed.
        envelope: Vec<u8>,
    },
    /// Ask the holder of this device's private key, and come back with [`Input::Answered`] (rule ID-5).
    Ask {
        /// To be repeated.
        request: u64,
        /// What is asked.
        question: Question,
    },
    /// Do this with the swarm, and come back with [`Input::Exchanged`] (rule RKX-5).
    Exchange {
        /// For which call.
        call: CallId,
        /// To be repeated.
        request: u64,
        /// What.
        exchange: Exchange,
    },
    /// Tell whoever is interested.
    Event(Event),
}

/// What a person or the media path should know.
#[derive(Debug)]
pub enum Event {
    /// One of the callee's devices rings.
    Ringing {
        /// Which call.
        call: CallId,
    },
    /// Somebody calls.
    Incoming {
        /// Which call.
        call: CallId,
        /// Who.
        caller: Address,
        /// How well they are known.
        standing: Standing,
        /// What the call is to be like.
        terms: Terms,
        /// How its key would come about: by RSA there is no forward secrecy, and a person should say yes to that.
        agreement: Agreement,
        /// What the caller was shown of the log: to be compared before anybody is asked (rule KT-13).
        told: Vec<u8>,
        /// What the caller says of its swarm, where a quorum secret is to be mixed in.
        quorum: Option<Vec<u8>>,
    },
    /// Both called each other at the same moment: the lower call id survives (rule CALL-5). Theirs goes on in the place
    /// of ours and is accepted by itself.
    Yielded {
        /// The call that is given up.
        ours: CallId,
        /// The call that goes on.
        theirs: CallId,
    },
    /// Both sides confirmed the same keys.
    Established(Box<Established>),
    /// The call is over.
    Over {
        /// Which call.
        call: CallId,
        /// How it ended.
        outcome: Outcome,
    },
    /// Something was refused without a call coming of it.
    Rejected {
        /// Why, for the log.
        reason: &'static str,
    },
}

/// A call that waits for a person's decision.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Ringing<'p> {
    /// Which call.
    pub call: CallId,
    /// Who calls.
    pub caller: &'p UserId,
    /// What it is to be like.
    pub terms: Terms,
    /// How its key would come about.
    pub agreement: Agreement,
}

/// Which side of a call this device is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Role {
    /// It called.
    Caller,
    /// It was called.
    Callee,
}

/// A call whose keys both sides have confirmed.
#[derive(Debug)]
pub struct Established {
    /// Which call.
    pub call: CallId,
    /// Which side this is.
    pub role: Role,
    /// Who is on the other side.
    pub peer: TrustedPeer,
    /// On which device.
    pub device: DeviceId,
    /// The media key of epoch 1.
    pub key: MediaKey,
    /// To be compared by the two people.
    pub sas: Sas,
    /// What was agreed.
    pub terms: Terms,
    /// How the key came about: by RSA, on either side, there is no forward secrecy (rule ID-3).
    pub agreement: Agreement,
    /// This device's grant for the room.
    pub grant: Signed,
    /// The hash of the peer's grant, as the transcript has it.
    pub peer_grant: [u8; 32],
    /// What the peer was shown of the log: to be compared before anything flows (rule KT-13).
    pub told: Vec<u8>,
    /// Over which nodes the quorum secret came that the key has in it; none where the terms have none.
    pub quorum: Option<QuorumNodes>,
}

/// Why a call did not begin.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum DialError {
    /// There is a call already.
    #[error("there is a call already")]
    InCall,
    /// The server's grant is for something else than was asked for (rule NEG-1).
    #[error("the server's grant does not say what was asked for")]
    Grant,
    /// The terms ask for a quorum secret and nothing is said of a swarm, or the reverse.
    #[error("a quorum secret takes a swarm that this device is enrolled in")]
    Quorum,
    /// The peer has no device but this one.
    #[error("there is no other device to call")]
    NoDevice,
    /// None of the peer's devices may be called.
    #[error(transparent)]
    Choice(#[from] ChoiceError),
}
