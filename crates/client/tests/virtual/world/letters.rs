//! Letters about keys as anybody in the room could write them, and reading those that went to a device.

use undertone_call::room::{EpochKey, KeySignal, RosterNews};
use undertone_client::engine::Input;
use undertone_keys::choice::Agreement;
use undertone_keys::envelope::{self, Envelope, Header, Purpose};
use undertone_keys::epoch_secret::{EpochPlace, EpochSecret};
use undertone_keys::static_key::{Answer, Question, StaticKey};
use undertone_keys::{CallId, JoinId, RequestId};
use undertone_protocol::group::{Cause, HostWord, Place, Roster, SignedStatement, Statement};
use undertone_protocol::signal::ToDevice;

use super::World;

impl World {
    /// The room's call.
    pub(crate) fn call(&self) -> CallId {
        CallId::from_bytes(*self.access[0].list().room.as_bytes())
    }

    /// Everybody who is in, as the first statement of a call has them.
    fn present(&self) -> Roster {
        let place = |(device, join): (&usize, &undertone_protocol::Join)| {
            self.index(*device).map(|index| Place { join: join.join, index })
        };
        let mut places: Vec<Place> = self.joins.iter().filter_map(place).collect();
        places.sort_by_key(|place| place.index);
        Roster::new(places).unwrap()
    }

    /// The roster of everybody who is in, as a statement of [`Self::epoch_key`] names it.
    pub(crate) fn roster(&self) -> RosterNews {
        RosterNews::Whole(self.present())
    }

    /// A statement that this device's present join could sign as host, and its secret.
    pub(crate) fn epoch_key(&mut self, host: usize, change: impl FnOnce(&mut Statement)) -> EpochKey {
        let secret = EpochSecret::random(&mut self.rng);
        let (list, roster) = (self.access.last().unwrap(), self.present());
        assert!(roster.has(self.joins[&host].join));
        let mut statement = Statement {
            format: 1,
            call: self.call(),
            term: 1,
            epoch: 1,
            host: self.joins[&host].join,
            roster: roster.hash(),
            previous: None,
            commitment: [0; 32],
            terms: list.list().terms,
            access: list.hash(),
            version: list.list().version,
            cause: Cause::Rotated,
            removed: false,
            apply_ms: 1,
            handover: None,
        };
        change(&mut statement);
        let place = EpochPlace { call: &statement.call, term: statement.term, epoch: statement.epoch };
        if statement.commitment == [0; 32] {
            statement.commitment = secret.commitment(place);
        }
        EpochKey { statement: SignedStatement::sign(&statement, &self.devices[host].identity), secret }
    }

    /// A letter in which a host hands out this epoch to everybody who is in.
    pub(crate) fn prepare(&self, key: &EpochKey) -> KeySignal {
        let key = EpochKey { statement: key.statement.clone(), secret: key.secret.duplicate() };
        KeySignal::Prepare { key, roster: self.roster(), checkpoint: Vec::new(), applied: 0 }
    }

    /// A request for keys as this device's join could write it.
    pub(crate) fn request(&self, from: usize, newest: u32, stuck: bool) -> KeySignal {
        KeySignal::Request {
            join: self.joins[&from].join,
            held: Vec::new(),
            newest,
            stuck,
            version: self.access.last().unwrap().list().version,
            term: 1,
        }
    }

    /// A host's sign of life, as this device's join could sign it.
    pub(crate) fn word(&self, host: usize, (term, applied): (u32, u32), newest: [u8; 32], number: u64) -> KeySignal {
        let word = HostWord { call: self.call(), host: self.joins[&host].join, term, applied, newest, number };
        KeySignal::Word { word: word.sign(&self.devices[host].identity) }
    }

    /// A letter as this device could seal it to that one's present join, with its header changed.
    pub(crate) fn letter(
        &mut self,
        from: usize,
        to: usize,
        signal: &KeySignal,
        change: impl FnOnce(&mut Header),
    ) -> Vec<u8> {
        let mut header = Header {
            format: 1,
            algorithm: Agreement::P256,
            purpose: Purpose::RoomKey,
            context: *self.call().as_bytes(),
            term: 0,
            epoch: 0,
            not_before: self.clock(),
            sender: self.devices[from].address.clone(),
            recipient: self.devices[to].address.clone(),
            request: RequestId::random(&mut self.rng),
        };
        change(&mut header);
        let key = StaticKey::P256(self.joins[&to].ephemeral.unwrap());
        envelope::seal(&mut self.rng, &self.devices[from].identity, &header, &key, &signal.encode()).unwrap()
    }

    /// The server hands a letter to a device and says whose it is.
    pub(crate) fn hand(&mut self, from: usize, to: usize, envelope: Vec<u8>) {
        let (call, from) = (self.call(), self.devices[from].address.clone());
        self.input(to, Input::Signal(ToDevice::Deliver { from, call, envelope, grant: None }));
    }

    /// A letter as this device could send it to that one's present join, and its delivery.
    pub(crate) fn key_signal(&mut self, from: usize, to: usize, (term, epoch): (u32, u32), signal: &KeySignal) {
        let envelope = self.letter(from, to, signal, |header| (header.term, header.epoch) = (term, epoch));
        self.hand(from, to, envelope);
    }

    /// The letters that open under the one-call key of this device's present join, oldest first, but for as many of all
    /// letters: what somebody knows who writes their own client. From whom, under which request, and what they say.
    pub(crate) fn read(&self, device: usize, skip: usize) -> Vec<(usize, RequestId, KeySignal)> {
        let (me, key, call) = (&self.devices[device].address, &self.ephemerals[&device], self.call());
        let open = |letter: &super::Posted| {
            let sender = self.peer(letter.from);
            let record = sender.device(self.devices[letter.from].address.device)?;
            let envelope = Envelope::from_bytes(&letter.envelope).ok()?;
            let envelope = envelope.verify(record, me, Agreement::P256, Purpose::RoomKey, call.as_bytes()).ok()?;
            let Question::Agree(peer) = envelope.question() else { return None };
            let answer = Answer::Agreed(key.agree(&peer).ok()?);
            let text = envelope.open(&StaticKey::P256(*key.public()), &answer).ok()?;
            Some((letter.from, envelope.header().request, KeySignal::decode(&text).ok()?))
        };
        self.posted.iter().skip(skip).filter(|letter| letter.to == device).filter_map(open).collect()
    }

    /// The newest epoch that this device was sent, with its secret.
    pub(crate) fn sent_key(&self, device: usize) -> EpochKey {
        let mut keys = self.read(device, 0).into_iter().filter_map(|(_, _, signal)| match signal {
            KeySignal::Prepare { key, .. } => Some(key),
            KeySignal::Answer { mut keys, .. } => keys.pop(),
            _ => None,
        });
        keys.next_back().unwrap()
    }

    /// This device's present join.
    pub(crate) fn join(&self, device: usize) -> JoinId {
        self.joins[&device].join
    }
}
