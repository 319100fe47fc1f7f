//! What can be typed.

use std::path::PathBuf;

use clap::{Args, CommandFactory, Parser, Subcommand, ValueEnum};
use undertone_client::native::{KeyChoice, TokenPlace};
use undertone_client::{LegacyPolicy, Protection};

mod devices;
mod passphrase;
mod raida;
mod room;

pub(crate) use devices::{DEVICES_EXAMPLES, Devices, UnlockOptions};
pub(crate) use passphrase::{PASSPHRASE_EXAMPLES, Passphrase};
pub(crate) use raida::{RAIDA_EXAMPLES, Raida};
pub(crate) use room::{JoinRoom, KeysOption, ROOM_EXAMPLES, RoleOption, Room, SuiteOption};

/// Calls that the server carries and cannot hear.
#[derive(Debug, Parser)]
#[command(version, after_help = EXAMPLES)]
pub(crate) struct Cli {
    /// Where this device is kept [default: $XDG_DATA_HOME/undertone or ~/.local/share/undertone].
    #[arg(long, global = true, value_name = "DIR", env = "UNDERTONE_HOME")]
    home: Option<PathBuf>,
    /// One JSON object a line on stdout; everything else on stderr.
    #[arg(long, global = true)]
    pub(crate) json: bool,
    /// Read the PIN of the token that holds this device's key from a line of stdin instead of asking: behind the
    /// passphrase, where that comes from there too.
    #[arg(long, global = true)]
    pub(crate) pin_stdin: bool,
    #[command(subcommand)]
    pub(crate) command: Command,
}

const EXAMPLES: &str = "Examples:
  undertone register ada               make an account on the server of this machine
  undertone answer                     wait for a call and take it
  undertone call bob                   call bob on the same server
  undertone call echo@                 hear yourself, by way of the relay and back
  undertone call bob --wav-in hello.wav --wav-out reply.wav --seconds 10
  undertone --home /tmp/second login ada    a second device: it shows a code
  undertone devices add CODE           and a device that is there lets it in

Exit codes: 0 done, 1 refused or failed, 2 wrong usage, 3 a peer's key changed and needs a decision, 4 a proof failed,
5 the server cannot be reached.";

#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// Make an account; this device is its first. With --anew: begin one anew whose passphrase and recovery key are lost.
    #[command(after_help = "Examples:
  undertone register ada
  undertone register ada --server calls.example.org:4433 --invite -      the invite is asked for
  undertone register ada --token card           the device's key is made on a token and stays there
  undertone register ada --agreement rsa         for what has RSA-2048 alone
  echo 'a long passphrase' | undertone register ada --passphrase-stdin

  undertone register ada --anew -                passphrase, recovery key and all are lost, and the operator gave you a token

The recovery key is shown once. Write it down: with it `undertone login ada --recovery` brings the account back on the day
when every device is lost, or the passphrase.")]
    Register(Register),
    /// Add this device to an account, by its passphrase or its recovery key.
    #[command(after_help = "Examples:
  undertone login ada
  undertone --home ~/second login ada --label \"second laptop\"
  undertone login ada --recovery                 the passphrase is lost: the recovery key sets a new one
  undertone login ada --recovery --keep-passphrase    it is switched off, and stays so
  undertone login ada --alone                    every other device is lost: they are revoked

It shows a code and waits: type that on a device that is there already, `undertone devices add CODE`. Where the account has
none, nobody is asked.")]
    Login(Login),
    /// End this device's access and forget its keys.
    Logout,
    /// Show who this device is.
    Whoami,
    /// Show the account's devices, let new ones in, revoke lost ones.
    #[command(after_help = DEVICES_EXAMPLES)]
    Devices {
        #[command(subcommand)]
        command: Option<Devices>,
    },
    /// Change the account's passphrase, or switch it off.
    #[command(after_help = PASSPHRASE_EXAMPLES)]
    Passphrase {
        #[command(subcommand)]
        command: Passphrase,
    },
    /// Show and decide about the keys of others.
    Peer {
        #[command(subcommand)]
        command: Peer,
    },
    /// Check one's own account, the log of a key directory, or what a failed proof left behind.
    Audit {
        #[command(subcommand)]
        command: Audit,
    },
    /// Call somebody.
    #[command(after_help = "Examples:
  undertone call bob
  undertone call echo@                 hear yourself, by way of the relay and back
  undertone call bob --wav-in hello.wav --wav-out reply.wav --seconds 10
  undertone call bob --protection hop      the relay can hear this one, and both of you are told so
  undertone call bob --quorum              its key has a secret in it that came over a swarm: `undertone raida --help`

During a call: m mutes, v says that the pictures are the same on both sides, q or Ctrl-C hangs up.")]
    Call(Call),
    /// Wait for the next call and take it.
    #[command(after_help = "Examples:
  undertone answer
  undertone answer --wav-out heard.wav
  undertone answer --decline
  undertone answer --allow-hop             also take a call that the relay can hear")]
    Answer(Answer),
    /// Talk with more than one: rooms with a list of who may come in.
    #[command(after_help = ROOM_EXAMPLES)]
    Room {
        #[command(subcommand)]
        command: Room,
    },
    /// Secrets over a swarm of small key servers, for calls: enrol, look after coins, exchange.
    #[command(after_help = RAIDA_EXAMPLES)]
    Raida {
        #[command(subcommand)]
        command: Raida,
    },
    /// List microphones and loudspeakers.
    #[command(after_help = "Example:
  undertone sound
  undertone call bob --microphone headset --speaker headset")]
    Sound,
    /// Look at everything a call needs and say what to do where something is amiss.
    Doctor,
    /// Measure what sealing costs on this machine, and how your server answers.
    #[command(after_help = "Examples:
  undertone bench
  undertone --home /tmp/nobody bench       without an account: this machine alone
  undertone --json bench | jq .server.media.p95_ms

It takes ten seconds. Whoever calls meanwhile is told that you are busy.")]
    Bench,
    /// Print completions for a shell.
    #[command(after_help = "Example:
  undertone completions bash > ~/.local/share/bash-completion/completions/undertone")]
    Completions {
        /// Which shell.
        shell: clap_complete::Shell,
    },
}

#[derive(Debug, Subcommand)]
pub(crate) enum Audit {
    /// Check a file that a failed proof left behind. Needs no account and asks nobody.
    #[command(after_help = "Example:
  undertone audit evidence ~/.local/share/undertone/evidence/1790000000-1f0c5a7e.evidence

Exit codes: 4 the file shows a proof that fails, 0 everything in it holds, 1 it is no such file.")]
    Evidence {
        /// The file.
        file: PathBuf,
    },
    /// Walk the history of your own account: every list of devices that the server could show to others as yours.
    #[command(
        name = "self",
        after_help = "Example:
  undertone audit self

It goes on from the newest list that was checked before. A connected device does the same when it starts, every hour, and
when something changes.

Exit codes: 0 all of it is known, 3 something in it is not and needs a word of yours, 4 the server's proof of it fails."
    )]
    Own,
    /// Read the whole log of a key directory: every leaf in order, and that every epoch only added to the one before.
    #[command(after_help = "Examples:
  undertone audit log                                what came since the last time
  undertone audit log --from-start                   all of it again
  undertone audit log --server calls.example.org:4433    somebody else's; needs no account

Exit codes: 0 all of it holds, 4 something does not.")]
    Log {
        /// Read it from its first leaf, though some of it was audited before.
        #[arg(long)]
        from_start: bool,
        /// Of another server than this home's.
        #[arg(long, value_name = "HOST:PORT")]
        server: Option<String>,
    },
}

#[derive(Debug, Args)]
pub(crate) struct Place {
    /// Host and port of the server.
    #[arg(long, value_name = "HOST:PORT", default_value = "127.0.0.1:4433", env = "UNDERTONE_SERVER")]
    pub(crate) server: String,
    /// What this device is called.
    #[arg(long, default_value = "terminal")]
    pub(crate) label: String,
    /// Read the passphrase from the first line of stdin instead of asking.
    #[arg(long)]
    pub(crate) passphrase_stdin: bool,
    /// Which key the device is to have: RSA-2048 only for what cannot do better, since it has no forward secrecy.
    #[arg(long, value_enum, default_value = "p256")]
    pub(crate) agreement: AgreementOption,
    /// Make the key on the PKCS#11 token with this label: it never leaves it.
    #[arg(long, value_name = "LABEL", conflicts_with = "agreement")]
    pub(crate) token: Option<String>,
    /// The token's PKCS#11 module.
    #[arg(long, value_name = "FILE", env = "UNDERTONE_PKCS11", default_value = DEFAULT_MODULE)]
    pub(crate) token_module: PathBuf,
}

/// What stands in for the modules of all tokens where p11-kit is installed.
const DEFAULT_MODULE: &str = "/usr/lib/x86_64-linux-gnu/p11-kit-proxy.so";

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum AgreementOption {
    /// P-256.
    P256,
    /// RSA-2048, and no other.
    Rsa,
}

impl Place {
    /// The key that a new device is to have.
    pub(crate) fn key(&self) -> KeyChoice {
        match (&self.token, self.agreement) {
            (Some(label), _) => KeyChoice::Token(TokenPlace::new(&self.token_module, label.clone())),
            (None, AgreementOption::P256) => KeyChoice::P256,
            (None, AgreementOption::Rsa) => KeyChoice::Rsa2048,
        }
    }
}

/// What to do about devices that have RSA alone.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
pub(crate) enum LegacyOption {
    /// Ask on the terminal; without one, refuse.
    #[default]
    Ask,
    /// Talk with them, showing it.
    Allow,
    /// Do not.
    Refuse,
}

impl From<LegacyOption> for LegacyPolicy {
    fn from(option: LegacyOption) -> Self {
        match option {
            LegacyOption::Ask => Self::Ask,
            LegacyOption::Allow => Self::Allow,
            LegacyOption::Refuse => Self::Refuse,
        }
    }
}

#[derive(Debug, Args)]
pub(crate) struct Register {
    /// The name wanted: `ada`, or `ada@domain`.
    pub(crate) name: String,
    /// An invite token, where the server wants one: `-` asks for it or takes it from the first line of stdin, `@FILE` reads it from a file.
    /// Without this option it comes from UNDERTONE_INVITE, if that is set. The token itself works too, and everybody on this machine
    /// can read it there.
    #[arg(long, value_name = "-|@FILE")]
    pub(crate) invite: Option<String>,
    /// Begin the account anew, with a token of the operator's: under another account key, which everybody who knows you has to
    /// accept. While a device of it may still act this is announced for 72 hours, in which it can be taken back there. `-` asks for the
    /// token or takes it from the first line of stdin, `@FILE` reads it from a file; with neither it comes from UNDERTONE_ANEW.
    #[arg(long, value_name = "-|@FILE", num_args = 0..=1, default_missing_value = "", conflicts_with = "invite")]
    pub(crate) anew: Option<String>,
    #[command(flatten)]
    pub(crate) place: Place,
}

#[derive(Debug, Args)]
pub(crate) struct Login {
    /// The account's name.
    pub(crate) name: String,
    /// Use the recovery key in the place of the passphrase: both it and a new passphrase are asked for.
    #[arg(long)]
    pub(crate) recovery: bool,
    /// The same, from two lines of stdin: the recovery key, and behind it the new passphrase.
    #[arg(long)]
    pub(crate) recovery_stdin: bool,
    /// With the recovery key: set no passphrase. The one there is stays, or stays switched off.
    #[arg(long)]
    pub(crate) keep_passphrase: bool,
    /// Every device that is there is lost, so that none can let this one in: they are revoked.
    #[arg(long)]
    pub(crate) alone: bool,
    /// Do not ask whether --alone is meant.
    #[arg(long, requires = "alone")]
    pub(crate) yes: bool,
    /// Take back an announcement that this account begins anew, before this device joins it.
    #[arg(long)]
    pub(crate) keep: bool,
    #[command(flatten)]
    pub(crate) place: Place,
}

#[derive(Debug, Subcommand)]
pub(crate) enum Peer {
    /// Show what is known of somebody.
    #[command(after_help = "Examples:
  undertone peer show bob
  undertone peer show bob --proof                  what was checked, a line for each rule
  undertone peer show bob --save bob.evidence      for others: `undertone audit evidence bob.evidence` checks it again")]
    Show {
        /// Who.
        name: String,
        /// Show the proof that was checked, too.
        #[arg(long)]
        proof: bool,
        /// Write the proof to this new file, for somebody else to check. It names whom you asked for.
        #[arg(long, value_name = "FILE")]
        save: Option<PathBuf>,
    },
    /// Decide about a changed key.
    #[command(group = clap::ArgGroup::new("verdict").required(true))]
    Trust {
        /// Whose key.
        name: String,
        /// Use the new key with this fingerprint.
        #[arg(long, value_name = "FINGERPRINT", group = "verdict")]
        accept: Option<String>,
        /// Do not use it.
        #[arg(long, value_name = "FINGERPRINT", group = "verdict")]
        refuse: Option<String>,
    },
    /// Say that you compared somebody's fingerprint with them and found it the same.
    Verify {
        /// Whose.
        name: String,
        /// The fingerprint they read to you.
        fingerprint: String,
    },
}

#[derive(Clone, Debug, Args)]
pub(crate) struct SoundOptions {
    /// Say what is in this WAV file instead of using the microphone.
    #[arg(long, value_name = "FILE")]
    pub(crate) wav_in: Option<PathBuf>,
    /// Write what is heard to this WAV file instead of playing it.
    #[arg(long, value_name = "FILE")]
    pub(crate) wav_out: Option<PathBuf>,
    /// Samples per second of that file.
    #[arg(long, value_name = "HZ", default_value_t = 48_000, value_parser = clap::value_parser!(u32).range(4_000..=384_000))]
    pub(crate) wav_out_rate: u32,
    /// Channels of that file.
    #[arg(long, value_name = "N", default_value_t = 1, value_parser = clap::value_parser!(u16).range(1..=64))]
    pub(crate) wav_out_channels: u16,
    /// Use neither microphone nor loudspeaker where no file is named.
    #[arg(long)]
    pub(crate) no_devices: bool,
    /// The microphone, by its id, its name or a part of it: `undertone sound` lists them.
    #[arg(long, value_name = "NAME")]
    pub(crate) microphone: Option<String>,
    /// The loudspeaker, in the same way.
    #[arg(long, value_name = "NAME")]
    pub(crate) speaker: Option<String>,
    /// Take noise out of a WAV file, too; out of a microphone it is taken anyway.
    #[arg(long, conflicts_with = "no_denoise")]
    pub(crate) denoise: bool,
    /// Leave the microphone as it is.
    #[arg(long)]
    pub(crate) no_denoise: bool,
    /// Be silent but while the space bar is held down.
    #[arg(long)]
    pub(crate) push_to_talk: bool,
    /// Send pauses as one byte: half the data, but whoever counts bytes sees when you speak.
    #[arg(long)]
    pub(crate) dtx: bool,
    /// Send no forward error correction. For measuring what it does.
    #[arg(long)]
    pub(crate) no_fec: bool,
    /// Hang up this many seconds after sound began to flow.
    #[arg(long, value_name = "N")]
    pub(crate) seconds: Option<u64>,
    /// Before hanging up, try the packets of a relay's tap file under this call's keys.
    #[arg(long, value_name = "FILE")]
    pub(crate) check_tap: Option<PathBuf>,
}

#[derive(Clone, Copy, Debug, ValueEnum)]
pub(crate) enum ProtectionOption {
    /// Only the two of you can open it.
    Blind,
    /// The relay can open it too.
    Hop,
}

impl From<ProtectionOption> for Protection {
    fn from(option: ProtectionOption) -> Self {
        match option {
            ProtectionOption::Blind => Self::Blind,
            ProtectionOption::Hop => Self::Hop,
        }
    }
}

#[derive(Clone, Debug, Args)]
pub(crate) struct Call {
    /// Whom: `bob`, or `bob@domain`; `echo@` is yourself, by way of the relay and back.
    pub(crate) peer: String,
    /// Who can open the sound.
    #[arg(long, value_enum, default_value = "blind")]
    pub(crate) protection: ProtectionOption,
    /// What to do if they have no device but such as have RSA alone, without forward secrecy.
    #[arg(long, value_enum, default_value = "ask")]
    pub(crate) legacy: LegacyOption,
    /// Mix a secret into the call's key that came over a swarm's nodes. Both of you have to be enrolled in it; the call does not come about
    /// otherwise.
    #[arg(long)]
    pub(crate) quorum: bool,
    /// A drill: another secret than the one that came over the swarm. The call is refused, since neither side has the other's key.
    #[arg(long, requires = "quorum")]
    pub(crate) drill_wrong_quorum: bool,
    #[command(flatten)]
    pub(crate) sound: SoundOptions,
}

#[derive(Debug, Args)]
pub(crate) struct Answer {
    /// Decline the call instead.
    #[arg(long)]
    pub(crate) decline: bool,
    /// Take calls that the relay can open as well; they are refused otherwise.
    #[arg(long)]
    pub(crate) allow_hop: bool,
    /// Take no calls but such as have a quorum secret in their key.
    #[arg(long)]
    pub(crate) require_quorum: bool,
    /// What to do about calls with devices that have RSA alone, without forward secrecy.
    #[arg(long, value_enum, default_value = "ask")]
    pub(crate) legacy: LegacyOption,
    #[command(flatten)]
    pub(crate) sound: SoundOptions,
}

impl Cli {
    /// What has to be typed for this very home, in a command that is suggested.
    pub(crate) fn home_words(&self) -> String {
        self.home.as_ref().map_or_else(String::new, |home| format!(" --home {}", home.display()))
    }

    /// Where this device is kept.
    pub(crate) fn home(&self) -> PathBuf {
        let data = std::env::var_os("XDG_DATA_HOME").map(PathBuf::from);
        let home = || std::env::var_os("HOME").map(|home| PathBuf::from(home).join(".local/share"));
        let default = || data.or_else(home).unwrap_or_default().join("undertone");
        self.home.clone().unwrap_or_else(default)
    }
}

/// Prints a shell's completions.
pub(crate) fn completions(shell: clap_complete::Shell) {
    let mut script = Vec::new();
    clap_complete::generate(shell, &mut Cli::command(), "undertone", &mut script);
    print!("{}", String::from_utf8_lossy(&script));
}
