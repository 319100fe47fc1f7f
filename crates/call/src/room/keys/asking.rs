//! Asking for what does not come (rules EKR-2 to EKR-4).

use undertone_keys::{JoinId, RequestId, Time};
use undertone_media::Epoch;
use undertone_media::key_id::SenderIndex;

use super::post::About;
use super::recovery::Target;
use crate::room::{Event, KeySignal, Output, RoomCall};

impl RoomCall {
    /// Whom this device may ask for keys.
    pub(super) fn target(&self, now: Time) -> Target {
        let is_host = self.keys.hosting.is_some() && self.keys.rumour.is_none();
        let fresh = |at: Time| now.since(at) < self.policy.request_timeout;
        let rumour = self.keys.rumour.filter(|(_, at)| fresh(*at)).map(|(join, _)| join);
        let head = self.keys.head.as_ref().map(|head| head.statement.host);
        let good = |join: &JoinId| self.seated(*join).is_some() && !self.keys.convicted.contains(join);
        // Where the host has gone, whoever comes next in order is host by now, or knows who is.
        let first = || self.succession().into_iter().map(|(_, join)| join).find(|join| Some(*join) != self.own_join());
        let host = rumour.filter(good).or_else(|| head.filter(good)).or_else(first);
        Target { is_host, host: host.filter(|join| Some(*join) != self.own_join()) }
    }

    /// Asks for keys where it is time to (rule EKR-2).
    pub(super) fn mind_recovery(&mut self, now: Time, rng: &mut impl rand_core::CryptoRng) {
        let policy = self.policy;
        if let Some(again) = self.keys.recovery.take_again(now, &policy) {
            self.ask(again.to, again.request, rng);
        }
        if let Some(hosting) = &self.keys.hosting
            && self.keys.recovery.take_lost()
        {
            // A host asks nobody: it has what it has drawn.
            for drawn in &hosting.keys {
                let epoch = Epoch(drawn.statement.epoch);
                self.outputs.push_back(Output::Install(epoch, drawn.secret.media_key(drawn.place())));
            }
        }
        let target = self.target(now);
        let Some((to, failure)) = self.keys.recovery.due(now, target, &policy) else { return };
        let request = RequestId::random(rng);
        self.keys.recovery.asked(now, request, to, failure);
        if let Some(index) = self.ask(to, request, rng) {
            self.event(Event::Asked { index });
        }
    }

    /// Whether this device has gone as far as the host has, with another key: it could not take the host's.
    fn is_beside(&self) -> bool {
        let head = self.keys.head.as_ref();
        head.is_some_and(|head| {
            self.keys.newest >= Some(head.statement.epoch) && self.keys.newest_hash != Some(head.hash)
        })
    }

    fn ask(&mut self, to: JoinId, request: RequestId, rng: &mut impl rand_core::CryptoRng) -> Option<SenderIndex> {
        let (join, index) = (self.own_join()?, self.seated(to)?);
        let held = self.keys.held();
        let signal = KeySignal::Request {
            join,
            held,
            newest: self.keys.newest.unwrap_or_default(),
            stuck: self.keys.stuck || self.is_beside(),
            version: self.access.list().version,
            term: self.keys.term,
        };
        self.post(index, About { term: 0, epoch: 0, request }, &signal, rng);
        Some(index)
    }
}
