//! What can be typed about an account's passphrase.

use clap::Subcommand;

use super::UnlockOptions;

pub(crate) const PASSPHRASE_EXAMPLES: &str = "Examples:
  undertone passphrase change                    by the present one
  undertone passphrase change --recovery         by the recovery key, where the present one is lost
  undertone passphrase off                       nothing but the recovery key opens the account from then on
  undertone passphrase on";

#[derive(Debug, Subcommand)]
pub(crate) enum Passphrase {
    /// Set another passphrase.
    #[command(after_help = "Examples:
  undertone passphrase change
  undertone passphrase change --recovery
  printf '%s\\n' \"$OLD\" \"$NEW\" | undertone passphrase change --passphrase-stdin

The present passphrase does it on a device of the account alone; the recovery key is as good. With --passphrase-stdin or
--recovery-stdin the new one is the second line of stdin.")]
    Change {
        #[command(flatten)]
        unlock: UnlockOptions,
    },
    /// Have no passphrase: the recovery key alone opens the account.
    #[command(after_help = "Example:
  undertone passphrase off

It asks for the recovery key. The server keeps nothing any more that a passphrase could be guessed on. Devices that are there
go on; a new one, or a change of them, needs --recovery.")]
    Off {
        /// Read the recovery key from the first line of stdin instead of asking.
        #[arg(long)]
        recovery_stdin: bool,
    },
    /// Have a passphrase again.
    #[command(after_help = "Example:
  undertone passphrase on

It asks for the recovery key and a new passphrase.")]
    On {
        /// Read the recovery key from the first line of stdin instead of asking, and the new passphrase from the second.
        #[arg(long)]
        recovery_stdin: bool,
    },
}
