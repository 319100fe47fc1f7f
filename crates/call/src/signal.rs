//! What two devices say to each other about a call, inside envelopes.

use minicbor::{Decode, Encode};
use undertone_keys::agreement::AgreementPublicKey;
use undertone_keys::envelope::Address;
use undertone_keys::legacy::LegacyHalf;
use undertone_keys::sign::{Account, VerifyingKey};
use undertone_keys::static_key::StaticKey;
use undertone_keys::{CallId, WallTime, cbor};
use undertone_protocol::Terms;
use zeroize::Zeroizing;

use crate::outcome::Outcome;

/// The invite's body. Its exact bytes enter the transcript. CBOR map with these keys.
#[derive(Clone, Debug, PartialEq, Eq, Encode, Decode)]
#[cbor(map)]
pub struct Invite {
    /// Drawn by the caller.
    #[n(0)]
    pub call: CallId,
    /// Who calls.
    #[n(1)]
    pub caller: Address,
    /// Which device this invite is for.
    #[n(2)]
    pub callee: Address,
    /// The caller's static key.
    #[n(3)]
    pub caller_key: StaticKey,
    /// The callee's static key, as the caller's directory has it.
    #[n(4)]
    pub callee_key: StaticKey,
    /// The caller's ephemeral for this device. Absent where one of both has RSA alone: there nothing agrees (rule CALL-2).
    #[n(5)]
    pub ephemeral: Option<AgreementPublicKey>,
    /// The commitment to the caller's half of the SAS (rule CALL-4).
    #[cbor(n(6), with = "minicbor::bytes")]
    pub commitment: [u8; 32],
    /// What cannot change any more (rule NEG-1).
    #[n(7)]
    pub terms: Terms,
    /// SHA-256 of the caller's grant.
    #[cbor(n(8), with = "minicbor::bytes")]
    pub grant: [u8; 32],
    /// By the server's clock as the caller knows it.
    #[n(9)]
    pub created: WallTime,
    /// The caller's account key.
    #[n(10)]
    pub caller_account: VerifyingKey<Account>,
    /// The callee's account key, as the caller has pinned it: who compares the SAS compares this too.
    #[n(11)]
    pub callee_account: VerifyingKey<Account>,
    /// The caller's newest checkpoint of the key directory's log, for the callee to compare (rule KT-13).
    #[cbor(n(12), with = "minicbor::bytes")]
    pub checkpoint: Vec<u8>,
    /// What the caller says of its swarm, exactly where the terms say that a quorum secret is mixed in (rule RKX-5).
    #[cbor(n(13), with = "minicbor::bytes")]
    pub quorum: Option<Vec<u8>>,
}

/// The answer's body. Its exact bytes enter the transcript. CBOR map with these keys.
#[derive(Clone, Debug, PartialEq, Eq, Encode, Decode)]
#[cbor(map)]
pub struct Answer {
    /// SHA-256 of the invite's body.
    #[cbor(n(0), with = "minicbor::bytes")]
    pub invite: [u8; 32],
    /// The callee's ephemeral; absent where the invite has none.
    #[n(1)]
    pub ephemeral: Option<AgreementPublicKey>,
    /// The callee's half of the SAS.
    #[cbor(n(2), with = "minicbor::bytes")]
    pub half: [u8; 32],
    /// SHA-256 of the callee's grant.
    #[cbor(n(3), with = "minicbor::bytes")]
    pub grant: [u8; 32],
    /// The callee's newest checkpoint of the key directory's log, for the caller to compare (rule KT-13).
    #[cbor(n(4), with = "minicbor::bytes")]
    pub checkpoint: Vec<u8>,
    /// Where the shares of the quorum secret are, exactly where the invite asks for one, and what each is.
    #[cbor(n(5), with = "minicbor::bytes")]
    pub quorum: Option<Vec<u8>>,
}

/// A signal: the text of one envelope.
#[derive(Debug, Encode, Decode)]
#[cbor(flat)]
pub enum Signal {
    /// Come and talk. Body: [`Invite`].
    #[n(0)]
    Invite(#[cbor(n(0), with = "minicbor::bytes")] Vec<u8>),
    /// The device rings.
    #[n(1)]
    Ringing,
    /// Yes. Body: [`Answer`].
    #[n(2)]
    Answer {
        /// The exact bytes of the body.
        #[cbor(n(0), with = "minicbor::bytes")]
        body: Vec<u8>,
        /// MAC over the transcript.
        #[cbor(n(1), with = "minicbor::bytes")]
        mac: [u8; 32],
    },
    /// Established.
    #[n(3)]
    Confirm {
        /// Opens the commitment of the invite.
        #[cbor(n(0), with = "minicbor::bytes")]
        half: [u8; 32],
        /// MAC over the transcript.
        #[cbor(n(1), with = "minicbor::bytes")]
        mac: [u8; 32],
    },
    /// Over, and why.
    #[n(4)]
    Over(#[n(0)] Outcome),
    /// Come and talk, where one of both has RSA alone. Body: [`Invite`].
    #[n(5)]
    LegacyInvite {
        /// The exact bytes of the body.
        #[cbor(n(0), with = "minicbor::bytes")]
        body: Vec<u8>,
        /// The caller's half of the call's key.
        #[n(1)]
        half: LegacyHalf,
    },
    /// Yes, to such an invite. Body: [`Answer`].
    #[n(6)]
    LegacyAnswer {
        /// The exact bytes of the body.
        #[cbor(n(0), with = "minicbor::bytes")]
        body: Vec<u8>,
        /// MAC over the transcript.
        #[cbor(n(1), with = "minicbor::bytes")]
        mac: [u8; 32],
        /// The callee's half of the call's key.
        #[n(2)]
        half: LegacyHalf,
    },
}

/// Bytes of a signal at most: an invite between two RSA keys has not much more than a thousand.
const ROOM: usize = 4096;

impl Signal {
    /// The envelope's text.
    #[must_use]
    pub fn encode(&self) -> Zeroizing<Vec<u8>> {
        cbor::encode_secret(self, ROOM)
    }

    /// Reads an envelope's text.
    ///
    /// # Errors
    /// [`cbor::Malformed`].
    pub fn decode(text: &[u8]) -> Result<Self, cbor::Malformed> {
        cbor::decode(text)
    }
}
