//! `raida`: the swarm of small key servers that quorum secrets come over.

use std::path::PathBuf;

use clap::{Args, Subcommand};

use super::{LegacyOption, SoundOptions};

pub(crate) const RAIDA_EXAMPLES: &str = "Examples:
  undertone raida enrol --swarm swarm.toml --keys my.keys    what the swarm's operators gave you
  undertone raida check                                      which of your coins' keys are right on which nodes
  undertone raida heal                                       a new key where one is not
  undertone raida exchange --with bob                        a whole exchange, step by step; bob runs `undertone answer`
  undertone raida send --to 00.28 --key new.key              a key in sixteen parts, for programs that know no other way
  undertone raida listen --out new.key                       and on the other side
  undertone call bob --quorum                                a call whose key has such a secret in it

A secret comes over all nodes of a swarm, and any 17 of 25 make it: no smaller number of operators learns it, and neither does
whoever breaks the keys of devices one day and has recorded everything.";

#[derive(Debug, Subcommand)]
pub(crate) enum Raida {
    /// Enrol this device in a swarm. The nodes are asked whether they know its keys.
    Enrol {
        /// The description of the swarm.
        #[arg(long, value_name = "FILE")]
        swarm: PathBuf,
        /// Coins and their keys, as `undertone-server raida coins create` or `raida swarm` wrote them; one file or several.
        #[arg(long, value_name = "FILE", required = true)]
        keys: Vec<PathBuf>,
    },
    /// Ask every node about every coin of this device.
    Check,
    /// Give coins new keys on nodes that have others than this device.
    Heal,
    /// Send a key in sixteen parts to the owner of a coin, as programs of the original do, and have them told. They run `listen`.
    Send {
        /// Whose coin, such as 00.28: `undertone raida check` shows one's own.
        #[arg(long, value_name = "COIN")]
        to: String,
        /// The file with the key: a multiple of 16 bytes, 16 to 2,032 of them.
        #[arg(long, value_name = "FILE")]
        key: PathBuf,
    },
    /// Listen for keys that others send to this device's coin, and fetch them. Nodes say whose coin they are from, and nothing proves it.
    Listen {
        /// Write the key to this new file, which only its owner can read, and end.
        #[arg(long, value_name = "FILE")]
        out: Option<PathBuf>,
    },
    /// Exchange a secret with somebody who runs `undertone answer`, and show every step. It is a call that ends when both have the key.
    Exchange(Exchange),
}

#[derive(Clone, Debug, Args)]
pub(crate) struct Exchange {
    /// With whom: `bob`, or `bob@domain`.
    #[arg(long, value_name = "NAME")]
    pub(crate) with: String,
    /// What to do if they have no device but such as have RSA alone, without forward secrecy.
    #[arg(long, value_enum, default_value = "ask")]
    pub(crate) legacy: LegacyOption,
    #[command(flatten)]
    pub(crate) sound: SoundOptions,
}
