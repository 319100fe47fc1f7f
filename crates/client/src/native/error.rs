//! What can go wrong for a person, and what to do about it.

use std::path::{Path, PathBuf};

use undertone_keys::WallTime;
use undertone_keys::name::NameError;
use undertone_keys::recovery::RecoveryError;
use undertone_protocol::rest::code;
use undertone_protocol::statement::StatementError;
use undertone_transparency::checkpoint::NotFollowing;
use undertone_transparency::follow::Fault;
use undertone_transparency::trust::{DecisionError, TrustError};
use undertone_transparency::verify::Accusation;

use super::advice;
use super::config::ConfigError;
use super::errand::NoOwner;
use super::home::HomeError;
use super::rooms::RoomFault;
use super::sound::SoundError;
use super::swarm::SwarmFault;
use super::token::TokenFault;

fn kept(evidence: Option<&Path>) -> String {
    evidence.map_or_else(String::new, |path| format!(". What it showed is kept in {}", path.display()))
}

/// When something will be, as far as that is known.
fn moment(time: Option<WallTime>) -> String {
    time.map_or_else(|| ", 72 hours after it was".to_owned(), |time| format!(", at {}", super::calendar::utc(time)))
}

/// An error of the client as people see it.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ClientError {
    /// The home folder.
    #[error(transparent)]
    Home(#[from] HomeError),
    /// No account here.
    #[error("this home has no account: run `undertone register NAME` or `undertone login NAME`")]
    NotLoggedIn,
    /// An account is here already.
    #[error(
        "this home belongs to {0} already, and its device keeps the key it has: a key is never moved onto a token or off it. \
         Choose another home with --home and add a device there, or `undertone logout` first"
    )]
    LoggedIn(String),
    /// Not a name.
    #[error(transparent)]
    Name(NameError),
    /// The passphrase is empty.
    #[error("the passphrase is empty")]
    EmptyPassphrase,
    /// The passphrase is too short for a new account.
    #[error("a passphrase has at least 8 characters: four or five random words are good, and easy to type")]
    ShortPassphrase,
    /// The passphrase was typed twice, and not the same.
    #[error("the two passphrases differ: try again")]
    PassphrasesDiffer,
    /// There is nobody to ask for a passphrase.
    #[error("there is no terminal to ask for the passphrase on: use --passphrase-stdin")]
    NoTerminal,
    /// A registration on this home was never answered.
    #[error(
        "an attempt to register {0} on this home was not answered: run `register` with that name and the same passphrase \
         once more, or choose another --home"
    )]
    Unfinished(String),
    /// Not where a server is.
    #[error("{0:?} is no HOST:PORT, such as calls.example.org:4433")]
    Address(String),
    /// The swarm, or this device's coins in it.
    #[error(transparent)]
    Swarm(#[from] SwarmFault),
    /// A user of another server.
    #[error("{user} lives on another server, and calls from {domain} to others are not there yet")]
    OtherDomain {
        /// Who.
        user: String,
        /// The domain of this account.
        domain: String,
    },
    /// Nobody answers at the server's address.
    #[error("the server {server} cannot be reached: {source}")]
    Unreachable {
        /// Host and port.
        server: String,
        /// What the system said.
        source: std::io::Error,
    },
    /// The server answered something that is no answer.
    #[error("the server's answer cannot be read: is {0} an Undertone server of this version?")]
    BadAnswer(String),
    /// The server proved to be another than the pinned one.
    #[error(
        "the server at {server} is not the one this home trusts: it shows the key {shown}, pinned is {pinned}. \
         Somebody may stand between you and your server; ask its operator before you trust it anew"
    )]
    ServerChanged {
        /// Host and port.
        server: String,
        /// The key it shows.
        shown: String,
        /// The key pinned at `register` or `login`.
        pinned: String,
    },
    /// The server shows a TLS key that it has replaced since.
    #[error(
        "the server at {0} shows a TLS key that was replaced since: it may be a stolen one, or the server's clock went \
         back. Ask its operator"
    )]
    ReplacedKey(String),
    /// The server's TLS key became another between two connections.
    #[error(
        "the server at {0} shows another TLS key than a moment ago: it was restarted with a new one, or somebody stands \
         between you and it. Try again; if it stays, ask its operator"
    )]
    OtherTlsKey(String),
    /// The server speaks another version (rule MED-10).
    #[error(
        "the server at {server} speaks version {theirs} of the protocol, this program version {ours}: bring both up to date"
    )]
    Version {
        /// Host and port.
        server: String,
        /// What it speaks.
        theirs: u16,
        /// What this program speaks.
        ours: u16,
    },
    /// The server's statement does not hold.
    #[error("the server cannot show that its TLS key is its own: {0}")]
    Statement(#[from] StatementError),
    /// The server refused; its sentence says why.
    #[error("{message}")]
    Refused {
        /// The word for programs.
        code: String,
        /// The sentence for people.
        message: String,
    },
    /// Wrong passphrase, or a name that does not exist.
    #[error("wrong name or passphrase")]
    WrongCredentials,
    /// Wrong recovery key, or a name that does not exist.
    #[error("wrong name or recovery key")]
    WrongRecoveryKey,
    /// Nobody let this device in.
    #[error(
        "none of the account's devices has let this one in: run it again and type the code there with `undertone devices add \
         CODE`, or add --alone where all of them are lost"
    )]
    NoConsent,
    /// What the server handed over as a consent is none.
    #[error(
        "the server handed over a consent that none of the account's devices has given to this one: ask its operator before you \
         try again"
    )]
    BadConsent,
    /// A person said no.
    #[error("nothing was changed")]
    NotMeant,
    /// There is nobody to ask whether it is meant.
    #[error("there is no terminal to ask on whether that is meant: add --yes if it is")]
    Unconfirmed,
    /// Somebody else was faster.
    #[error("the account's devices were changed at the same moment: look at `undertone devices`, and run it again")]
    Contended,
    /// The server took a change, and its directory does not show it.
    #[error(
        "the server took the change and its key directory does not show it: look at `undertone devices`, and ask its operator"
    )]
    NotPublished,
    /// The account is announced to begin anew.
    #[error(
        "it is announced that {user} begins anew, with the account key {account}, and nothing else changes until then. If that was \
         you, wait for it. If not: `undertone devices keep` on one of your devices, or this login with --keep, takes it back"
    )]
    Announced {
        /// Whose account.
        user: String,
        /// The fingerprint of the key it would have.
        account: String,
    },
    /// An account that begins anew has not yet.
    #[error(
        "the passphrase does not open {user}, and it is announced that the account begins anew{}. From then on \
         `undertone login` finishes it here; whoever has the old passphrase or the recovery key can take it back until then",
        moment(*effective)
    )]
    NotYet {
        /// Whose account.
        user: String,
        /// When it does, if this home has heard it.
        effective: Option<WallTime>,
    },
    /// There is no announcement to take back.
    #[error("it is not announced that this account begins anew: there is nothing to take back")]
    NothingAnnounced,
    /// Not a pairing code.
    #[error("that is no code of a new device, or a digit of it was misread: compare it with what the new device shows")]
    Code,
    /// The device is there already.
    #[error("that device is one of the account's already")]
    AlreadyListed,
    /// No device of that name.
    #[error("the account has no device {0:?}: `undertone devices` shows those it has")]
    NoSuchDevice(String),
    /// More than one device of that name.
    #[error("more than one device is {name:?}: name it by its id, one of {ids}")]
    AmbiguousDevice {
        /// What was typed.
        name: String,
        /// What tells them apart.
        ids: String,
    },
    /// The device is revoked already.
    #[error("the device {0} was revoked, which is for good: a new `undertone login` there makes a new device of it")]
    Revoked(String),
    /// A label with nothing in it.
    #[error("a device's name has at least one letter; it is cut after 16")]
    NoLabel,
    /// A label that hides something.
    #[error("a device's name has no characters that nobody sees, or that turn the text around, as {0:?} has")]
    HiddenLabel(String),
    /// The configuration file.
    #[error(transparent)]
    Config(#[from] ConfigError),
    /// OPAQUE failed otherwise.
    #[error("the login protocol failed: {0}")]
    Login(String),
    /// A peer is not trusted.
    #[error("{0}")]
    Trust(TrustError),
    /// A decision could not be recorded.
    #[error(transparent)]
    Decision(#[from] DecisionError),
    /// Nothing is known of this peer.
    #[error("nothing is known of this peer yet")]
    UnknownPeer,
    /// The fingerprint is not that of the trusted key.
    #[error("that is not the fingerprint of the key this home trusts: do not go on before you know why")]
    WrongFingerprint,
    /// The server showed a list that does not hold.
    #[error("the server showed a device list that does not hold: {0}")]
    List(#[from] undertone_keys::device_list::ListError),
    /// The key directory's proof failed (rule KT-9).
    #[error("the server's key directory does not hold ({}): {accusation}{}", accusation.rule(), kept(evidence.as_deref()))]
    Proof {
        /// Which check.
        accusation: Box<Accusation>,
        /// Where everything lies that the check was made of.
        evidence: Option<PathBuf>,
    },
    /// The log of the key directory does not hold (rules KT-1, KT-3, KT-4, KT-8, KT-12, KT-14).
    #[error("the log of the server's key directory does not hold ({}): {fault}{}", fault.rule(), kept(evidence.as_deref()))]
    Log {
        /// What it did.
        fault: Box<Fault>,
        /// Where it lies.
        evidence: Option<PathBuf>,
    },
    /// A log without leaves.
    #[error("the log of the key directory of {0} is empty: there is nothing to audit")]
    EmptyLog(String),
    /// No device of the account.
    #[error("{0} is no device of this account that was seen in its history: see `undertone audit self`")]
    UnknownDevice(String),
    /// A peer was shown another log of the key directory than this device, or nothing proves that it is one (rule KT-13).
    #[error("the server shows others another log of its key directory than this device: {wrong}{}", kept(evidence.as_deref()))]
    Diverged {
        /// What is wrong between the two.
        wrong: NotFollowing,
        /// Where both lie.
        evidence: Option<PathBuf>,
    },
    /// What a peer said it was shown is not signed by the log.
    #[error("what they say they were shown of the key directory is not signed by its log")]
    Told,
    /// A file of evidence.
    #[error("{} cannot be checked: {why}", path.display())]
    Evidence {
        /// Which file.
        path: PathBuf,
        /// Why.
        why: String,
    },
    /// A file that was asked for cannot be written.
    #[error("{} cannot be written: {source}", path.display())]
    Save {
        /// Which file.
        path: PathBuf,
        /// What the system said.
        source: std::io::Error,
    },
    /// The account's newest list does not let this device act.
    #[error("the newest device list of {0} does not let this device act: another of your devices has revoked it")]
    NotListed(String),
    /// The key directory proves that there is nobody of that name, and never was.
    #[error("{0} does not exist: the server has proven that nobody has that name")]
    NoSuchUser(String),
    /// The server's directory works with another key than the pinned one (rule KT-14).
    #[error(
        "the key directory of the server at {0} has another key than this home trusts: with that, everybody's devices could be \
         others. Ask its operator before you trust it anew"
    )]
    DirectoryKey(String),
    /// Not a recovery key.
    #[error(transparent)]
    Recovery(#[from] RecoveryError),
    /// No key could be made, or the one there is does not answer.
    #[error("this device's key could not be made or does not answer")]
    NoKey,
    /// An earlier attempt on this home made another kind of key.
    #[error(
        "an attempt on this home that was not answered made this device's key in another place or of another kind: run it \
         once more with the --agreement or --token it had, or choose another --home"
    )]
    OtherKey,
    /// A token.
    #[error(transparent)]
    Token(#[from] TokenFault),
    /// Sound.
    #[error(transparent)]
    Sound(#[from] SoundError),
    /// Something about a room.
    #[error(transparent)]
    Room(#[from] RoomFault),
    /// A token stood on the command line.
    #[error(
        "a token on the command line can be read by everybody on this machine: `{0} -` asks for it or takes it from a line of stdin, \
         `{0} @FILE` reads it from a file"
    )]
    TokenSeen(&'static str),
    /// Another process owns the home, and does not run this for it (rule STO-1).
    #[error("another undertone process is using {}, and {why}: end it, or choose another --home", home.display())]
    Taken {
        /// The home.
        home: PathBuf,
        /// Why it does not.
        why: NoOwner,
    },
    /// The process that owns the home went away in the middle of it.
    #[error(
        "the process that uses this home went away before this was done: look what has become of it, and run it again"
    )]
    OwnerGone,
    /// The driver has stopped.
    #[error("the connection was closed")]
    Stopped,
}

/// What an error means for a command's exit code.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ExitClass {
    /// 1: refused or failed.
    Failed,
    /// 2: wrong usage.
    Usage,
    /// 3: a peer's key changed and needs a decision.
    PeerChanged,
    /// 4: a proof failed.
    ProofFailed,
    /// 5: the server cannot be reached.
    Unreachable,
}

impl ClientError {
    /// Whether the server refused with this word of [`undertone_protocol::rest::code`].
    pub(super) fn is(&self, word: &str) -> bool {
        matches!(self, Self::Refused { code, .. } if code == word)
    }

    /// What a person may do about it, where the server refused and its own sentence does not say so.
    #[must_use]
    pub fn advice(&self) -> Option<&'static str> {
        match self {
            Self::Refused { code, .. } => advice::of(code),
            Self::WrongCredentials => advice::of(code::WRONG_CREDENTIALS),
            Self::Swarm(fault) => fault.advice(),
            _ => None,
        }
    }

    /// The class of this error.
    #[must_use]
    pub const fn class(&self) -> ExitClass {
        match self {
            Self::Name(_)
            | Self::EmptyPassphrase
            | Self::ShortPassphrase
            | Self::PassphrasesDiffer
            | Self::NoTerminal
            | Self::Address(_)
            | Self::Unconfirmed
            | Self::Code
            | Self::AmbiguousDevice { .. }
            | Self::NoLabel
            | Self::HiddenLabel(_)
            | Self::TokenSeen(_)
            | Self::Config(_)
            | Self::Recovery(_) => ExitClass::Usage,
            Self::Room(fault) => fault.class(),
            Self::Trust(TrustError::Changed { .. } | TrustError::Refused { .. }) => ExitClass::PeerChanged,
            Self::Trust(_)
            | Self::List(_)
            | Self::Proof { .. }
            | Self::Log { .. }
            | Self::BadConsent
            | Self::NotPublished
            | Self::Diverged { .. }
            | Self::DirectoryKey(_)
            | Self::ServerChanged { .. }
            | Self::ReplacedKey(_)
            | Self::OtherTlsKey(_)
            | Self::Statement(_) => ExitClass::ProofFailed,
            Self::Unreachable { .. } => ExitClass::Unreachable,
            _ => ExitClass::Failed,
        }
    }
}
