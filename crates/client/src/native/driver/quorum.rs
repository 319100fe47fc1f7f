//! Quorum secrets: what the engine wants done with the swarm, and shares that are taken back (rule RKX-5).

use std::sync::PoisonError;

use undertone_call::quorum::{Exchange, NoQuorum};
use undertone_keys::CallId;
use undertone_keys::quorum::QuorumSecret;

use super::Driver;
use crate::engine::{Event, Input};
use crate::native::rng;
use crate::native::swarm::SwarmFault;

/// Shares that lie at nodes, and for which call.
#[derive(Debug)]
pub(super) struct Given {
    call: CallId,
    /// The exchange that has left them.
    request: u64,
    set: Vec<u8>,
}

impl Driver {
    /// Why a caller's offer cannot be met here, for people.
    pub(super) fn cannot_meet(&self, offer: &[u8]) -> Option<String> {
        match &self.enrolled {
            Some(enrolled) => enrolled.can_meet(offer).err(),
            None => Some(SwarmFault::NotEnrolled.to_string()),
        }
    }

    /// Does with the swarm what a call has to have done.
    pub(super) fn exchange(&mut self, call: CallId, request: u64, exchange: Exchange) {
        let (enrolled, out, spoil) = (self.enrolled.clone(), self.shown.out.clone(), self.spoil_quorum);
        let given = self.given.clone();
        self.answers.spawn(async move {
            let Some(enrolled) = enrolled else {
                return Input::Exchanged { request, exchanged: Err(NoQuorum) };
            };
            let left = |set| {
                given.lock().unwrap_or_else(PoisonError::into_inner).push(Given { call, request, set });
            };
            let (mut exchanged, step) = enrolled.exchange(call, exchange, left).await;
            if let (true, Ok(exchanged)) = (spoil, &mut exchanged) {
                exchanged.secret = QuorumSecret::generate(&mut rng());
            }
            // Whoever reads no events does not miss it.
            let _told = out.try_send(Event::Quorum(Box::new(step)));
            Input::Exchanged { request, exchanged }
        });
    }

    /// An exchange is done. Where too few nodes took a share, nobody will ask for the others.
    pub(super) fn exchanged(&mut self, request: u64, failed: bool) {
        if failed {
            self.take_back(|given| given.request == request);
        }
    }

    /// Takes shares back that nobody needs any more: those of a call, or all.
    pub(super) fn withdraw(&mut self, call: Option<CallId>) {
        self.take_back(|given| call.is_none_or(|call| call == given.call));
    }

    /// The same: these.
    pub(super) fn take_back_set(&mut self, set: &[u8]) {
        self.take_back(|given| given.set == set);
    }

    fn take_back(&mut self, which: impl Fn(&Given) -> bool) {
        let mut given = self.given.lock().unwrap_or_else(PoisonError::into_inner);
        let back: Vec<_> = given.extract_if(.., |given| which(given)).collect();
        drop(given);
        let Some(enrolled) = self.enrolled.clone() else { return };
        for Given { set, .. } in back {
            let enrolled = enrolled.clone();
            self.keeping.spawn(async move { enrolled.withdraw(&set).await });
        }
    }
}
