//! What is said between a home's owner and a second process: bounded, and read in the one encoding that we write.

use minicbor::{Decode, Encode};
use undertone_keys::cbor::{self, Malformed};
use undertone_keys::secret::SecretBytes;
use undertone_protocol::Rights;
use zeroize::{Zeroize, Zeroizing};

/// The only version so far. An owner says its own first; a second process of another one asks for nothing.
pub const VERSION: u16 = 1;
/// Bytes of a greeting, an errand or an answer at most.
pub const MAX_QUESTION: usize = 16 * 1024;
/// Bytes of a reply at most: a proof with everything in it.
pub const MAX_REPLY: usize = 16 * 1024 * 1024;
/// Bytes of a text in an errand at most: a label, a name, a code, a fingerprint, a path.
const MAX_TEXT: usize = 4 * 1024;
/// Bytes of a passphrase or a recovery key at most.
const MAX_SECRET: usize = 8 * 1024;

/// What an owner says first of all.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Encode, Decode)]
#[cbor(map)]
pub struct Greeting {
    /// [`VERSION`].
    #[n(0)]
    pub version: u16,
}

impl Greeting {
    /// The bytes of a frame.
    #[must_use]
    pub fn to_bytes(self) -> Vec<u8> {
        cbor::encode(&self)
    }

    /// Reads one, of whatever version.
    ///
    /// # Errors
    /// [`Malformed`].
    pub fn from_bytes(bytes: &[u8]) -> Result<Self, Malformed> {
        cbor::decode(bytes)
    }
}

/// A command that a home's owner runs for another process. CBOR array: the number of the command, and what it takes.
#[derive(Clone, Debug, PartialEq, Eq, Encode, Decode)]
#[cbor(flat)]
pub enum Errand {
    /// Who this device is.
    #[n(0)]
    Whoami,
    /// The account's devices.
    #[n(1)]
    Devices,
    /// Let the device with this code in.
    #[n(2)]
    LetIn {
        /// The code.
        #[n(0)]
        code: String,
    },
    /// A device that the history has shown is known.
    #[n(3)]
    Accept {
        /// Its label or the beginning of its id.
        #[n(0)]
        device: String,
    },
    /// Give this device another name.
    #[n(4)]
    Rename {
        /// The name.
        #[n(0)]
        label: String,
    },
    /// Revoke a device.
    #[n(5)]
    Revoke {
        /// Its label or the beginning of its id.
        #[n(0)]
        device: String,
    },
    /// Take an announcement to begin anew back.
    #[n(6)]
    Keep,
    /// What is known of somebody.
    #[n(7)]
    ShowPeer {
        /// Who.
        #[n(0)]
        name: String,
        /// With the proof.
        #[n(1)]
        proof: bool,
        /// Where to write the proof to: an absolute path.
        #[n(2)]
        save: Option<String>,
    },
    /// Decide about a changed key.
    #[n(8)]
    TrustPeer {
        /// Whose.
        #[n(0)]
        name: String,
        /// Which key.
        #[n(1)]
        fingerprint: String,
        /// Whether it is to be used.
        #[n(2)]
        accept: bool,
    },
    /// Two people have compared a key.
    #[n(9)]
    VerifyPeer {
        /// Whose.
        #[n(0)]
        name: String,
        /// Which key.
        #[n(1)]
        fingerprint: String,
    },
    /// Walk the history of the own account.
    #[n(10)]
    AuditSelf {
        /// What has to be typed for this home in a command that is suggested.
        #[n(0)]
        home: String,
    },
    /// Set another passphrase in the place of the present one.
    #[n(11)]
    ChangePassphrase,
    /// Switch the way by a passphrase off.
    #[n(12)]
    PassphraseOff,
    /// Switch it on again.
    #[n(13)]
    PassphraseOn,
    /// What keys a room's call has, and why.
    #[n(14)]
    ExplainRoom {
        /// Its name, or the beginning of its id.
        #[n(0)]
        room: String,
    },
    /// Put somebody on a room's list, or give them another role.
    #[n(15)]
    InviteToRoom {
        /// The room.
        #[n(0)]
        room: String,
        /// Whom.
        #[n(1)]
        names: Vec<String>,
        /// What they may do there.
        #[n(2)]
        rights: Rights,
    },
    /// Do not let somebody in who asks.
    #[n(16)]
    TurnAway {
        /// The room.
        #[n(0)]
        room: String,
        /// Whom.
        #[n(1)]
        name: String,
    },
    /// Show a room's list, and how others find it.
    #[n(17)]
    ShowRoom {
        /// The room.
        #[n(0)]
        room: String,
    },
}

impl Errand {
    /// The bytes of a frame.
    #[must_use]
    pub fn to_bytes(&self) -> Vec<u8> {
        cbor::encode(self)
    }

    /// Reads one.
    ///
    /// # Errors
    /// [`Malformed`], also where a text in it is too long.
    pub fn from_bytes(bytes: &[u8]) -> Result<Self, Malformed> {
        if bytes.len() > MAX_QUESTION {
            return Err(Malformed);
        }
        let errand: Self = cbor::decode(bytes)?;
        if errand.texts().iter().any(|text| text.len() > MAX_TEXT) { Err(Malformed) } else { Ok(errand) }
    }

    fn texts(&self) -> Vec<&str> {
        match self {
            Self::Whoami
            | Self::Devices
            | Self::Keep
            | Self::ChangePassphrase
            | Self::PassphraseOff
            | Self::PassphraseOn => Vec::new(),
            Self::LetIn { code: text }
            | Self::Accept { device: text }
            | Self::Rename { label: text }
            | Self::Revoke { device: text }
            | Self::AuditSelf { home: text }
            | Self::ExplainRoom { room: text }
            | Self::ShowRoom { room: text } => vec![text],
            Self::InviteToRoom { room, names, .. } => [room].into_iter().chain(names).map(String::as_str).collect(),
            Self::TurnAway { room, name } => vec![room, name],
            Self::ShowPeer { name, save, .. } => [name].into_iter().chain(save).map(String::as_str).collect(),
            Self::TrustPeer { name, fingerprint, .. } | Self::VerifyPeer { name, fingerprint } => {
                vec![name, fingerprint]
            }
        }
    }

    /// The words by which a person gives it.
    #[must_use]
    pub const fn words(&self) -> &'static str {
        match self {
            Self::Whoami => "whoami",
            Self::Devices => "devices list",
            Self::LetIn { .. } => "devices add",
            Self::Accept { .. } => "devices accept",
            Self::Rename { .. } => "devices rename",
            Self::Revoke { .. } => "devices revoke",
            Self::Keep => "devices keep",
            Self::ShowPeer { .. } => "peer show",
            Self::TrustPeer { .. } => "peer trust",
            Self::VerifyPeer { .. } => "peer verify",
            Self::AuditSelf { .. } => "audit self",
            Self::ChangePassphrase => "passphrase change",
            Self::PassphraseOff => "passphrase off",
            Self::PassphraseOn => "passphrase on",
            Self::ExplainRoom { .. } => "room explain",
            Self::InviteToRoom { .. } => "room invite",
            Self::TurnAway { .. } => "room turn-away",
            Self::ShowRoom { .. } => "room show",
        }
    }

    /// Whether anything is another way after it, so that whoever sits at the owner should hear of it.
    #[must_use]
    pub const fn changes(&self) -> bool {
        !matches!(
            self,
            Self::Whoami
                | Self::Devices
                | Self::ShowPeer { .. }
                | Self::AuditSelf { .. }
                | Self::ExplainRoom { .. }
                | Self::ShowRoom { .. }
        )
    }
}

/// Something that only a person can say.
#[derive(Clone, Debug, PartialEq, Eq, Encode, Decode)]
#[cbor(flat)]
pub enum Question {
    /// Whether it is meant; nothing but `word` says so.
    #[n(0)]
    Meant {
        /// As it is asked.
        #[n(0)]
        question: String,
        /// What says yes.
        #[n(1)]
        word: String,
    },
    /// What opens the account: the passphrase, or the recovery key.
    #[n(2)]
    Unlock {
        /// Nothing but the recovery key does.
        #[n(0)]
        recovery: bool,
    },
    /// A new passphrase.
    #[n(3)]
    NewPassphrase,
}

/// What an owner says of an errand.
#[derive(Clone, Debug, PartialEq, Eq, Encode, Decode)]
#[cbor(flat)]
pub enum Reply {
    /// Show this: a line of JSON for programs, words for people.
    #[n(0)]
    Shown {
        /// One JSON object.
        #[n(0)]
        object: String,
        /// The words.
        #[n(1)]
        text: String,
    },
    /// A person has to say something.
    #[n(1)]
    Asked {
        /// What.
        #[n(0)]
        question: Question,
    },
    /// It is done.
    #[n(2)]
    Done {
        /// The exit code.
        #[n(0)]
        code: u8,
    },
    /// It failed.
    #[n(3)]
    Failed {
        /// The exit code.
        #[n(0)]
        code: u8,
        /// The word for programs.
        #[n(1)]
        word: String,
        /// The sentence for people.
        #[n(2)]
        message: String,
    },
}

impl Reply {
    /// The bytes of a frame.
    #[must_use]
    pub fn to_bytes(&self) -> Vec<u8> {
        cbor::encode(self)
    }

    /// Reads one.
    ///
    /// # Errors
    /// [`Malformed`].
    pub fn from_bytes(bytes: &[u8]) -> Result<Self, Malformed> {
        if bytes.len() > MAX_REPLY { Err(Malformed) } else { cbor::decode(bytes) }
    }
}

/// What a person said.
#[derive(Debug)]
pub enum Answer {
    /// It is meant.
    Yes,
    /// A passphrase, the present one or a new one.
    Passphrase(SecretBytes),
    /// A recovery key, as it was typed.
    Recovery(SecretBytes),
}

/// An answer as it travels: CBOR map, 0: what it is (0 yes, 1 passphrase, 2 recovery key), 1: the bytes.
#[derive(Encode, Decode)]
#[cbor(map)]
struct AnswerRecord {
    #[n(0)]
    kind: u8,
    #[cbor(n(1), with = "minicbor::bytes")]
    secret: Option<Vec<u8>>,
}

impl Drop for AnswerRecord {
    fn drop(&mut self) {
        self.secret.zeroize();
    }
}

impl Answer {
    /// The bytes of a frame.
    #[must_use]
    pub fn to_bytes(&self) -> Zeroizing<Vec<u8>> {
        let (kind, secret) = match self {
            Self::Yes => (0, None),
            Self::Passphrase(secret) => (1, Some(secret.as_slice().to_vec())),
            Self::Recovery(secret) => (2, Some(secret.as_slice().to_vec())),
        };
        let room = secret.as_ref().map_or(0, Vec::len) + 16;
        cbor::encode_secret(&AnswerRecord { kind, secret }, room)
    }

    /// Reads one.
    ///
    /// # Errors
    /// [`Malformed`].
    pub fn from_bytes(bytes: &[u8]) -> Result<Self, Malformed> {
        let mut record: AnswerRecord = cbor::decode(bytes)?;
        let secret = record.secret.take().map(SecretBytes::new);
        match (record.kind, secret) {
            (_, Some(secret)) if secret.as_slice().len() > MAX_SECRET => Err(Malformed),
            (0, None) => Ok(Self::Yes),
            (1, Some(secret)) => Ok(Self::Passphrase(secret)),
            (2, Some(secret)) => Ok(Self::Recovery(secret)),
            _ => Err(Malformed),
        }
    }
}
