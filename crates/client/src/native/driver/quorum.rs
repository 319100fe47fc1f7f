//! Quorum secrets: what the engine wants done with the swarm, and shares that are taken back (rule RKX-5).

use std::sync::{MutexGuard, PoisonError};

use undertone_call::quorum::{Exchange, NoQuorum};
use undertone_keys::CallId;
use undertone_keys::quorum::QuorumSecret;

use super::Driver;
use crate::engine::{Event, Input};
use crate::native::rng;
use crate::native::swarm::SwarmFault;

/// Shares that this device has left at nodes, or is leaving there.
#[derive(Debug, Default)]
pub(super) struct AtNodes(Vec<Shares>);

#[derive(Debug)]
struct Shares {
    call: CallId,
    /// The exchange that leaves them.
    request: u64,
    set: Vec<u8>,
    /// They are on their way.
    posting: bool,
    /// Nobody needs them: they are taken back when all of them are there, or one that is late would stay.
    unwanted: bool,
}

impl AtNodes {
    fn begin(&mut self, call: CallId, request: u64, set: Vec<u8>) {
        self.0.push(Shares { call, request, set, posting: true, unwanted: false });
    }

    /// An exchange is done. Where too few nodes took a share, nobody will ask for the others. Gives what is to be taken back now.
    fn posted(&mut self, request: u64, failed: bool) -> Vec<Vec<u8>> {
        for shares in self.0.iter_mut().filter(|shares| shares.request == request) {
            shares.posting = false;
            shares.unwanted |= failed;
        }
        self.unwanted()
    }

    /// Nobody needs these any more. Gives what is to be taken back now.
    fn done_with(&mut self, which: impl Fn(&Shares) -> bool) -> Vec<Vec<u8>> {
        self.0.iter_mut().filter(|shares| which(shares)).for_each(|shares| shares.unwanted = true);
        self.unwanted()
    }

    fn unwanted(&mut self) -> Vec<Vec<u8>> {
        self.0.extract_if(.., |shares| shares.unwanted && !shares.posting).map(|shares| shares.set).collect()
    }

    /// All of them: nothing is posted any more.
    fn take_all(&mut self) -> Vec<Vec<u8>> {
        core::mem::take(&mut self.0).into_iter().map(|shares| shares.set).collect()
    }
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
        let at_nodes = self.at_nodes.clone();
        self.answers.spawn(async move {
            let Some(enrolled) = enrolled else {
                return Input::Exchanged { request, exchanged: Err(NoQuorum) };
            };
            let left = |set| at_nodes.lock().unwrap_or_else(PoisonError::into_inner).begin(call, request, set);
            let (mut exchanged, step) = enrolled.exchange(call, exchange, left).await;
            if let (true, Ok(exchanged)) = (spoil, &mut exchanged) {
                exchanged.secret = QuorumSecret::generate(&mut rng());
            }
            // Whoever reads no events does not miss it.
            let _told = out.try_send(Event::Quorum(Box::new(step)));
            Input::Exchanged { request, exchanged }
        });
    }

    /// An exchange is done.
    pub(super) fn exchanged(&mut self, request: u64, failed: bool) {
        let back = self.at_nodes().posted(request, failed);
        self.take_back(back);
    }

    /// A call, or any, needs none of its shares any more.
    pub(super) fn withdraw(&mut self, call: Option<CallId>) {
        let back = self.at_nodes().done_with(|shares| call.is_none_or(|call| call == shares.call));
        self.take_back(back);
    }

    /// The same: these.
    pub(super) fn take_back_set(&mut self, set: &[u8]) {
        let back = self.at_nodes().done_with(|shares| shares.set == set);
        self.take_back(back);
    }

    /// This device goes: nothing is on its way any more.
    pub(super) fn withdraw_all(&mut self) {
        self.answers.abort_all();
        let back = self.at_nodes().take_all();
        self.take_back(back);
    }

    fn at_nodes(&self) -> MutexGuard<'_, AtNodes> {
        self.at_nodes.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn take_back(&mut self, back: Vec<Vec<u8>>) {
        let Some(enrolled) = &self.enrolled else { return };
        for set in back {
            let enrolled = enrolled.clone();
            self.keeping.spawn(async move { enrolled.withdraw(&set).await });
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const CALL: CallId = CallId::from_bytes([1; 16]);
    const OTHER: CallId = CallId::from_bytes([2; 16]);
    const NONE: [Vec<u8>; 0] = [];

    #[test]
    fn rkx_5_shares_that_are_on_their_way_are_taken_back_when_they_are_there() {
        let mut shares = AtNodes::default();
        shares.begin(CALL, 1, b"there".to_vec());
        shares.begin(CALL, 2, b"on their way".to_vec());
        shares.begin(OTHER, 3, b"another call's".to_vec());
        assert_eq!((shares.posted(1, false), shares.posted(3, false)), (NONE.into(), NONE.into()));
        assert_eq!(shares.done_with(|shares| shares.call == CALL), [b"there"]);
        assert_eq!(shares.posted(2, false), [b"on their way"]);
        assert_eq!(shares.take_all(), [b"another call's"]);
    }

    #[test]
    fn rkx_5_shares_that_too_few_nodes_took_are_taken_back_at_once() {
        let mut shares = AtNodes::default();
        shares.begin(CALL, 1, b"too few".to_vec());
        shares.begin(CALL, 2, b"enough".to_vec());
        assert_eq!(shares.posted(1, true), [b"too few"]);
        assert_eq!(shares.posted(2, false), NONE);
        assert_eq!(shares.done_with(|shares| shares.set == b"enough"), [b"enough"]);
        assert_eq!(shares.take_all(), NONE);
    }
}
