//! What can be typed about rooms.

use clap::{Args, Subcommand, ValueEnum};

use super::{ProtectionOption, SoundOptions};

pub(crate) const ROOM_EXAMPLES: &str = "Examples:
  undertone room create team --invite bob --invite carol
  undertone room invite team dave --role listener
  undertone room join team
  undertone room list
  undertone room kick team dave

A room's keys come from a device of whoever made it: it begins when they are in, and ends when they go.";

#[derive(Debug, Subcommand)]
pub(crate) enum Room {
    /// Make a room; you hold its keys and say who may come in.
    #[command(after_help = "Examples:
  undertone room create team
  undertone room create team --invite bob --invite carol@example.org --listener erin
  undertone room create radio --protection hop       the relay can hear this one, and everybody is told so")]
    Create {
        /// What people call it.
        name: String,
        /// Who can open the sound in it, for ever.
        #[arg(long, value_enum, default_value = "blind")]
        protection: ProtectionOption,
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
    /// Put somebody on a room's list, or give them another role.
    #[command(after_help = "Examples:
  undertone room invite team dave
  undertone room invite team dave --role moderator")]
    Invite {
        /// The room's name, or the beginning of its id.
        room: String,
        /// Whom.
        name: String,
        /// What they may do.
        #[arg(long, value_enum, default_value = "speaker")]
        role: RoleOption,
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

In a room: m mutes you, w shows who is in, : begins a command, q or Ctrl-C leaves. Commands: who, mute NAME,
unmute NAME, kick NAME, invite NAME. With --commands they come from stdin, one a line.")]
    Join(JoinRoom),
    /// Take yourself off a room's list for good; whoever made it closes it for everybody.
    Leave {
        /// The room.
        room: String,
    },
    /// Show the rooms you may come into, who is on their lists and who is in.
    List,
}

#[derive(Debug, Args)]
pub(crate) struct JoinRoom {
    /// The room's name, or the beginning of its id.
    pub(crate) room: String,
    /// Go in also if the relay can open the sound.
    #[arg(long)]
    pub(crate) allow_hop: bool,
    /// Have the room's keys sealed to this device's own key, which may be in a token, and not to one of this join: whoever
    /// gets that key one day can open what was said.
    #[arg(long)]
    pub(crate) no_forward_secrecy: bool,
    /// Take commands from stdin, one a line.
    #[arg(long)]
    pub(crate) commands: bool,
    #[command(flatten)]
    pub(crate) sound: SoundOptions,
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
