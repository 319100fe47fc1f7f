//! What can be typed about an account's devices.

use clap::{Args, Subcommand};

pub(crate) const DEVICES_EXAMPLES: &str = "Examples:
  undertone devices                              those of this account, as the server has proven them
  undertone devices add 7K3M-...                 let a new device in, by the code that it shows
  undertone devices rename \"old laptop\"
  undertone devices revoke phone                 for good; its calls end at once
  undertone devices keep                         take back an announcement to begin the account anew";

#[derive(Debug, Subcommand)]
pub(crate) enum Devices {
    /// Let a new device into this account: it shows a code while `undertone login` waits there.
    #[command(after_help = "Examples:
  undertone devices add 7K3M-Q2ZD-...
  undertone devices add \"undertone:pair/7K3M-Q2ZD-...\"     as the QR code has it

The code names the new device's key. Type one that you see on a device of yours, and none that somebody has sent to you:
whoever it belongs to will hear and speak in your name.")]
    Add {
        /// The code, in any case and spacing.
        code: String,
        /// Do not ask whether it is meant.
        #[arg(long)]
        yes: bool,
    },
    /// Show the account's devices, and who let each of them in.
    #[command(after_help = "Examples:
  undertone devices list
  undertone --json devices list | jq -r '.devices[] | select(.status == \"active\").label'")]
    List,
    /// Give this device another name.
    #[command(after_help = "Example:
  undertone devices rename \"old laptop\"")]
    Rename {
        /// The new name; it is cut after 16 characters, and peers and server can read it.
        label: String,
        #[command(flatten)]
        unlock: UnlockOptions,
    },
    /// Take a device out of the account, for good: a lost one, or this one.
    #[command(after_help = "Examples:
  undertone devices revoke phone
  undertone devices revoke 3f9c
  undertone devices revoke phone --recovery      with the recovery key, where the passphrase is lost

Its tokens end at once, and so do its calls. Nobody can undo it: a device that comes back logs in anew.")]
    Revoke {
        /// Its name, if no other active one has it, or the first digits of its id.
        device: String,
        /// Do not ask whether it is meant.
        #[arg(long)]
        yes: bool,
        #[command(flatten)]
        unlock: UnlockOptions,
    },
    /// Take back an announcement that this account begins anew under another key.
    #[command(after_help = "Examples:
  undertone devices keep
  undertone devices keep --recovery

Whoever has neither passphrase nor recovery key can begin an account anew with a token of the operator's. Where a device of
it may still act, that is announced for 72 hours, and this takes it back.")]
    Keep {
        #[command(flatten)]
        unlock: UnlockOptions,
    },
    /// Say that a device which this one did not know is yours: its alarm ends.
    #[command(after_help = "Example:
  undertone devices accept 3f9c")]
    Accept {
        /// Its name, if no other active one has it, or the first digits of its id.
        device: String,
    },
}

/// What opens the account key for a change.
#[derive(Clone, Copy, Debug, Default, Args)]
pub(crate) struct UnlockOptions {
    /// Read the passphrase from the first line of stdin instead of asking.
    #[arg(long, conflicts_with_all = ["recovery", "recovery_stdin"])]
    pub(crate) passphrase_stdin: bool,
    /// Use the recovery key in the place of the passphrase, and ask for it.
    #[arg(long)]
    pub(crate) recovery: bool,
    /// The same, from the first line of stdin.
    #[arg(long)]
    pub(crate) recovery_stdin: bool,
}
