//! What can be typed about rooms.

use clap::{Args, Subcommand, ValueEnum};

use super::{ProtectionOption, SoundOptions};

pub(crate) const ROOM_EXAMPLES: &str = "Examples:
  undertone room create team --invite bob --invite carol
  undertone room invite team dave --role listener
  undertone room join team
  undertone room explain team            which keys its call has, and why
  undertone room list
  undertone room kick team dave

A room's keys come from one of those who are in; whoever came first hands them out, and the next one follows.";

#[derive(Debug, Subcommand)]
pub(crate) enum Room {
    /// Make a room, and say who may come in.
    #[command(after_help = "Examples:
  undertone room create team
  undertone room create team --invite bob --invite carol@example.org --listener erin
  undertone room create pair --keys host             one of you hands out the keys, as in rooms made before
  undertone room create vault --suite x-wing         keys that a quantum computer does not open
  undertone room create vault --quorum               a secret from a swarm of key servers in its keys
  undertone room create talk --audience --invite bob  thousands may listen
  undertone room create radio --protection hop       the relay can hear this one, and everybody is told so")]
    Create {
        /// What people call it.
        name: String,
        /// Who can open the sound in it, for ever.
        #[arg(long, value_enum, default_value = "blind")]
        protection: ProtectionOption,
        /// Where its keys come from, for ever: mls, unless the relay can hear it. Small rooms may do with host.
        #[arg(long, value_enum)]
        keys: Option<KeysOption>,
        /// What protects the keys of its group, for ever: x25519, unless you say otherwise. With --keys mls.
        #[arg(long, value_enum)]
        suite: Option<SuiteOption>,
        /// Listeners are an audience, for ever: there may be thousands, whom only those see who speak or moderate. With --keys mls.
        #[arg(long)]
        audience: bool,
        /// A secret that goes round over a swarm of key servers is mixed into its keys, for ever: only devices that are enrolled in that
        /// swarm come in. With --keys mls, and without --audience.
        #[arg(long)]
        quorum: bool,
        /// Somebody who may come in and speak.
        #[arg(long, value_name = "NAME")]
        invite: Vec<String>,
        /// Somebody who may come in and listen.
        #[arg(long, value_name = "NAME")]
        listener: Vec<String>,
        /// Somebody who may come in, speak, invite, mute and remove.
        #[arg(long, value_name = "NAME")]
        moderator: Vec<String>,
    },
    /// Put people on a room's list, or give them another role.
    #[command(after_help = "Examples:
  undertone room invite team dave
  undertone room invite team dave --role moderator
  undertone room invite talk $(cat names) --role listener    all of them in one change

A server looks up a thousand names at once, and twenty a second after that: put more on the list in parts.")]
    Invite {
        /// The room's name, or the beginning of its id.
        room: String,
        /// Whom.
        #[arg(required = true, value_name = "NAME")]
        names: Vec<String>,
        /// What they may do.
        #[arg(long, value_enum, default_value = "speaker")]
        role: RoleOption,
    },
    /// Do not let somebody in who asks to be let in.
    TurnAway {
        /// The room.
        room: String,
        /// Whom.
        name: String,
    },
    /// Show who may come into a room, and what to hand on to somebody who shall ask to be let in.
    Show {
        /// The room's name, or the beginning of its id.
        room: String,
    },
    /// Take somebody off a room's list; if they are in, they are put out.
    Kick {
        /// The room.
        room: String,
        /// Whom.
        name: String,
    },
    /// Go into a room and talk.
    #[command(after_help = "Examples:
  undertone room join team
  undertone room join team --wav-in hello.wav --wav-out heard.wav --seconds 30
  undertone room join radio --allow-hop
  undertone room join vault --require-quorum

Whoever is not on the list gives the room's whole id: those who may let them in are asked, and it goes in when they do.

In a room: m mutes you, w shows who is in, : begins a command, q or Ctrl-C leaves. Commands: who, mute NAME,
unmute NAME, kick NAME, invite NAME, turn-away NAME. With --commands they come from stdin, one a line.")]
    Join(JoinRoom),
    /// Take yourself off a room's list for good; whoever made it closes it for everybody.
    Leave {
        /// The room.
        room: String,
    },
    /// Show the rooms you may come into, who is on their lists and who is in.
    List,
    /// Show which keys a room's call has, who gave them and for whom.
    #[command(after_help = "Examples:
  undertone room join team               in one terminal
  undertone room explain team            in another one, on the same home

Where no program of this home is in the room, it shows what the list says that was checked last, and asks nobody.")]
    Explain {
        /// The room's name, or the beginning of its id.
        room: String,
    },
}

#[derive(Debug, Args)]
pub(crate) struct JoinRoom {
    /// The room's name, or the beginning of its id; the whole id of a room that you are not on the list of.
    pub(crate) room: String,
    /// Ask to be let in, and do not wait for the answer.
    #[arg(long)]
    pub(crate) no_wait: bool,
    /// Go in also if the relay can open the sound.
    #[arg(long)]
    pub(crate) allow_hop: bool,
    /// Have the room's keys sealed to this device's own key, which may be in a token, and not to one of this join: whoever
    /// gets that key one day can open what was said.
    #[arg(long)]
    pub(crate) no_forward_secrecy: bool,
    /// Go in only if the room's keys come from there.
    #[arg(long, value_enum)]
    pub(crate) keys: Option<KeysOption>,
    /// Go in only if a secret from a swarm of key servers is mixed into the room's keys.
    #[arg(long)]
    pub(crate) require_quorum: bool,
    /// Take commands from stdin, one a line.
    #[arg(long)]
    pub(crate) commands: bool,
    #[command(flatten)]
    pub(crate) sound: SoundOptions,
}

/// Where a room's keys come from.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum KeysOption {
    /// All who are in make them together, in an MLS group: nobody hands them out, and a stolen key is of use for minutes.
    Mls,
    /// One of those who are in draws them and hands them out.
    Host,
}

/// What protects an MLS group.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum SuiteOption {
    /// P-256 and AES-128-GCM.
    P256,
    /// X25519 and AES-128-GCM.
    X25519,
    /// X25519 and ML-KEM-768 together: what is said today stays sealed when somebody has a quantum computer. Ten times the bytes.
    XWing,
}

impl KeysOption {
    /// The word for it.
    pub(crate) const fn as_str(self) -> &'static str {
        match self {
            Self::Mls => "mls",
            Self::Host => "host",
        }
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum RoleOption {
    /// Hears.
    Listener,
    /// Hears and speaks.
    Speaker,
    /// Hears, speaks, invites, mutes and removes.
    Moderator,
}
