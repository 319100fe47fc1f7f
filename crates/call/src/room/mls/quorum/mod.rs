//! The quorum secret of a room's group (rules NEG-1, RKX-5, docs/adr/0038): whoever made the group has drawn it, and everybody else asks
//! a member for it. It travels over the swarm; what the two write to each other is of no use to whoever reads it.
//!
//! ```text
//! asker                                   a member that has it
//!   Ask {offer} ----------------------->        leaves shares of it at the nodes, for the asker's coin
//!   <------------------- Given {set}
//!   (puts it together, from the nodes)
//!   Taken ----------------------------->        takes the shares back
//!   <-------------------------- None            has none, or cannot: another is asked
//! ```
//! Where nobody who is there has it, or nobody gives it, the group is said to be of no use (docs/adr/0032): another is begun then.
//!
//! Whom it asks an asker draws, so that many who come at once do not all ask the same. A member that says nothing, or gives what is not the
//! group's, is followed by another. What an asker does is in `asking`, what a member does in `giving`.

mod asking;
mod giving;
mod signal;

use core::time::Duration;
use std::collections::VecDeque;

use undertone_keys::RequestId;
use undertone_keys::Time;
use undertone_keys::envelope::Address;
use undertone_media::key_id::SenderIndex;

use super::Mls;
use crate::quorum::{Exchange, Exchanged, NoQuorum, QuorumNodes};
use crate::room::keys::About;
use crate::room::{KeySignal, Output, RoomCall};
use asking::Asking;
use giving::Giving;
pub use signal::QuorumSignal;

/// Letters and answers that wait for the next input, at most.
const MAX_HEARD: usize = 64;
/// Whoever was asked and has not said within this where the shares are is followed by the next: longer than nodes are waited for.
const ANSWER: Duration = Duration::from_secs(6);
/// The same for the shell, which puts the shares together.
const SHARES: Duration = Duration::from_secs(10);
/// When everybody has been asked, they are asked again after this.
const RETRY: Duration = Duration::from_millis(500);
/// Where whoever has it is not known to be gone, so long is waited before the group is said to be of no use: it may be those who hold it, and
/// give it to nobody.
const KEPT_BACK: Duration = Duration::from_secs(20);
/// The same where everybody who is there says that they have none: they may all be on their way in.
const NOBODY: Duration = Duration::from_secs(3);
/// Whoever has not been given the secret for so long, while members are there to ask, leaves and says why.
const GIVE_UP: Duration = Duration::from_secs(60);
/// How many a member serves at once: each costs every node a request.
const MAX_GIVING: usize = 8;
/// And of one person's devices, so that nobody uses up what is there for all.
const MAX_GIVING_TO_ONE: usize = 2;
/// One join is not served again within this.
const AGAIN: Duration = Duration::from_secs(2);
/// Shares that were not taken by then are taken back: it is longer than an asker needs.
const KEPT: Duration = Duration::from_secs(20);

/// What there is to say about a room's quorum secret.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct QuorumExplained {
    /// Who gave it to this device; none where this device has drawn it, has it from before it was started, or has none.
    pub by: Option<Address>,
    /// Over which nodes it came here, or went out last.
    pub nodes: Option<QuorumNodes>,
    /// To how many this device has given it.
    pub given: u32,
    /// This device has none, and asks.
    pub lacks: bool,
}

/// Something that was heard and not looked into yet.
#[derive(Debug)]
enum Heard {
    Letter { from: SenderIndex, request: RequestId, signal: QuorumSignal },
    Exchanged { request: u64, exchanged: Result<Exchanged, NoQuorum> },
}

/// What a device has to do with the quorum secret of a room's group.
#[derive(Debug)]
pub(in crate::room) struct Quorum {
    /// What this device says of its swarm.
    offer: Vec<u8>,
    heard: VecDeque<Heard>,
    next_request: u64,
    asking: Asking,
    giving: Giving,
}

impl Quorum {
    /// `has`: the group is in this device's store, with its secret.
    pub(super) fn new(offer: Vec<u8>, has: bool) -> Self {
        let (asking, giving) = (Asking::new(has), Giving::default());
        Self { offer, heard: VecDeque::new(), next_request: 0, asking, giving }
    }

    /// A new join is somebody else to everybody, and whoever was asked answers the one before.
    pub(in crate::room) fn joined(&mut self) {
        self.asking.joined();
    }

    /// The group is gone, and what was known of its secret says nothing of the next one's.
    pub(super) fn begins_anew(&mut self) {
        self.asking = Asking::new(false);
    }

    pub(super) fn is_waiting(&self) -> bool {
        !self.heard.is_empty()
    }

    fn hear(&mut self, heard: Heard) {
        if self.heard.len() < MAX_HEARD {
            self.heard.push_back(heard);
        }
    }

    fn number(&mut self) -> u64 {
        self.next_request += 1;
        self.next_request
    }

    pub(super) fn timeout(&self) -> Option<Time> {
        self.asking.timeout().into_iter().chain(self.giving.timeout()).min()
    }
}

impl RoomCall {
    /// In a room whose terms say that a quorum secret is mixed in: with what this device says of its swarm, before
    /// [`with_groups`](Self::with_groups).
    #[must_use]
    pub fn with_quorum(mut self, offer: Vec<u8>) -> Self {
        self.quorum_offer = offer;
        self
    }

    /// A letter about the quorum secret came from a proven member.
    pub(in crate::room) fn quorum_letter(&mut self, from: SenderIndex, request: RequestId, signal: QuorumSignal) {
        let member = self.seats.get(&from).is_some_and(|seat| seat.is_admitted() && !seat.is_audience());
        if let Some(quorum) = self.mls.as_mut().and_then(|mls| mls.quorum.as_mut()).filter(|_| member) {
            quorum.hear(Heard::Letter { from, request, signal });
        }
    }

    /// The shell has done what an [`Output::Exchange`] said.
    pub(in crate::room) fn quorum_exchanged(&mut self, request: u64, exchanged: Result<Exchanged, NoQuorum>) {
        if let Some(quorum) = self.mls.as_mut().and_then(|mls| mls.quorum.as_mut()) {
            quorum.hear(Heard::Exchanged { request, exchanged });
        }
    }

    /// Looks into what came in. To be done before the group is driven: a secret is for it.
    pub(super) fn hear_quorum(&mut self, mls: &mut Mls, now: Time, rng: &mut impl rand_core::CryptoRng) {
        let Some(mut quorum) = mls.quorum.take() else { return };
        while let Some(heard) = quorum.heard.pop_front() {
            match heard {
                Heard::Letter { from, request, signal: QuorumSignal::Ask { offer } } => {
                    self.quorum_asked(mls, &mut quorum, now, (from, request, offer), rng);
                }
                Heard::Letter { from, request, signal: QuorumSignal::Given { set } } => {
                    self.quorum_given(&mut quorum, now, (from, request), set);
                }
                Heard::Letter { from, request, signal: QuorumSignal::None { inside } } => {
                    quorum.asking.refused(now, from, request, inside);
                }
                Heard::Letter { from, signal: QuorumSignal::Taken { ask }, .. } => {
                    self.quorum_taken(&mut quorum, from, ask);
                }
                Heard::Exchanged { request, exchanged } if quorum.asking.awaits(request) => {
                    self.quorum_put_together(mls, &mut quorum, now, exchanged, rng);
                }
                Heard::Exchanged { request, exchanged } => {
                    self.quorum_posted(&mut quorum, now, request, exchanged, rng);
                }
            }
        }
        mls.quorum = Some(quorum);
    }

    /// Does what is due. To be done after the group was driven: it says whether a secret was the right one.
    pub(super) fn mind_quorum(&mut self, mls: &mut Mls, now: Time, rng: &mut impl rand_core::CryptoRng) {
        let Some(mut quorum) = mls.quorum.take() else { return };
        self.mind_asking(mls, &mut quorum, now, rng);
        self.mind_giving(&mut quorum, now);
        mls.quorum = Some(quorum);
    }

    fn say_of_quorum(
        &mut self,
        to: SenderIndex,
        request: RequestId,
        signal: QuorumSignal,
        rng: &mut impl rand_core::CryptoRng,
    ) {
        self.post(to, About { term: 0, epoch: 0, request }, &KeySignal::Quorum(signal), rng);
    }

    fn exchange(&mut self, request: u64, exchange: Exchange) {
        self.outputs.push_back(Output::Exchange { request, exchange });
    }
}

impl Mls {
    pub(super) fn explain_quorum(&self) -> Option<QuorumExplained> {
        let quorum = self.quorum.as_ref()?;
        let (by, nodes) = quorum.asking.origin().map_or((None, None), |(by, nodes)| (Some(by.clone()), Some(*nodes)));
        Some(QuorumExplained {
            by,
            nodes: nodes.or(quorum.giving.nodes),
            given: quorum.giving.given,
            lacks: quorum.asking.is_lacking(),
        })
    }
}
