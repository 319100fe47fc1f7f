//! The other side of the protocol: machines that ask many nodes at once, and end when enough have answered.
//!
//! Each machine takes time and datagrams and gives datagrams; its last output is what came of it, with a [`Report`] that says of each node
//! what it did: nodes that are down, slow or lying have names. The shell sends what it is given, by UDP or over a connection, hands in what
//! comes back, and comes again at [`Machine::poll_timeout`].
//!
//! | machine | commands | what comes of it |
//! | --- | --- | --- |
//! | [`Looking`] | 44 | which coins' keys are right on which nodes |
//! | [`Healing`] | 44 to two helpers, 45, 44 | a coin has a key again on a node that had another |
//! | [`Posting`] | 41, 42 | parts of a secret lie on nodes; whom they are for is told |
//! | [`Listening`] | 42 | whom parts are for hears of it |
//! | [`Fetching`] | 43 | and are together again |

mod fetching;
mod healing;
mod listening;
mod looking;
mod posting;
mod quorum;
mod report;
mod request;
mod round;

use core::time::Duration;
use std::net::SocketAddr;

use undertone_keys::Time;

pub use fetching::{Fetched, Fetching, Gather, Wanted};
pub use healing::{CannotHeal, Healed, Healing, HealingError};
pub use listening::{Listening, Told};
pub use looking::{Looked, Looking};
pub use posting::{Part, Posting};
pub use quorum::{give, take, withdraw};
pub use report::{Lie, NodeReport, Report, Said};
pub use request::Unable;

use crate::coin::{Authenticity, Coin};
use crate::swarm::Swarm;
use crate::wallet::Wallet;

/// How long nodes are waited for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Patience {
    /// A datagram that was not answered is sent again after this, then after twice as long, and so on: short against a person's patience, long
    /// against a round trip.
    pub resend: Duration,
    /// From this attempt on a connection is tried too, for networks that let no datagram through.
    pub connect_from: u32,
    /// When enough nodes have answered, the others have this much time to be counted.
    pub grace: Duration,
    /// After this whoever has not answered is down.
    pub whole: Duration,
}

impl Default for Patience {
    fn default() -> Self {
        Self {
            resend: Duration::from_millis(250),
            connect_from: 2,
            grace: Duration::from_millis(250),
            whole: Duration::from_secs(4),
        }
    }
}

/// How bytes are to travel.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Carrier {
    /// As a datagram.
    Datagram,
    /// Over a TCP connection of their own.
    Connection,
}

/// What happened.
#[derive(Clone, Copy, Debug)]
pub enum Input<'b> {
    /// These bytes came from a node's address.
    Received {
        /// Which node's.
        raida: u8,
        /// As they came.
        bytes: &'b [u8],
    },
    /// The time that `poll_timeout` named has come.
    Tick,
}

/// What is to be done.
#[derive(Debug)]
pub enum Output<D> {
    /// Send this.
    Send {
        /// To which node.
        raida: u8,
        /// Where it is.
        address: SocketAddr,
        /// The whole datagram, or all that goes over the connection.
        bytes: Vec<u8>,
        /// How.
        carrier: Carrier,
    },
    /// The machine has ended with this.
    Done(D),
}

/// A client's machine.
pub trait Machine {
    /// What comes of it.
    type Done;

    /// Takes an input. What comes of it waits in [`poll_output`](Self::poll_output).
    fn handle_input(&mut self, now: Time, input: Input<'_>);

    /// The next thing to do. `None` until the next input; after [`Output::Done`] for ever.
    fn poll_output(&mut self) -> Option<Output<Self::Done>>;

    /// When to come back with [`Input::Tick`]. `None` when it has ended.
    fn poll_timeout(&self) -> Option<Time>;
}

/// Which of a wallet's keys are used.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Keys {
    /// All of them.
    Any,
    /// Those that nobody but the node's operator drew. Two helpers together know a key that was healed, and with so many keys as make a
    /// quorum secret they, and whoever listens, would know it too.
    Issued,
}

impl Keys {
    fn of(self, wallet: &Wallet, coin: Coin, raida: u8) -> Option<&Authenticity> {
        match self {
            Self::Any => wallet.key(coin, raida),
            Self::Issued => wallet.issued(coin, raida),
        }
    }
}

/// Who asks, whom, and when.
#[derive(Clone, Copy, Debug)]
pub struct Asker<'a> {
    /// The nodes.
    pub swarm: &'a Swarm,
    /// Coins and their keys.
    pub wallet: &'a Wallet,
    /// Seconds since 1970: strict nodes take requests of their time alone.
    pub wall: u64,
    /// How long is waited.
    pub patience: Patience,
}
