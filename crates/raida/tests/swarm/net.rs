//! 25 nodes, two people with two coins each, and a network that delays, loses, and whose nodes do what they are told.

use std::collections::{BTreeMap, BTreeSet};
use std::net::SocketAddr;
use std::time::Duration;

use undertone_keys::Time;
use undertone_keys::testing::SeededRng;
use undertone_raida::client::{Asker, Carrier, Input, Machine, Output, Patience};
use undertone_raida::coin::{Authenticity, Coin, Named};
use undertone_raida::command::Command;
use undertone_raida::frame::{self, FrameKey};
use undertone_raida::header::{Encryption, RequestHeader, header_length};
use undertone_raida::legacy;
use undertone_raida::node::Profile;
use undertone_raida::status::Status;
use undertone_raida::swarm::{Swarm, SwarmName, SwarmNode};
use undertone_raida::wallet::{Origin, Wallet};

use crate::house::{COIN_ID, House, NOW, coin, key_of};

/// What a node does.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) enum Manner {
    /// What it should, after its round trip.
    #[default]
    Honest,
    /// Nothing.
    Down,
    /// What it should, after this many milliseconds.
    Slow(u64),
    /// It keeps another key than was posted.
    Lying,
    /// Answers that are by somebody without the coin's key.
    Forging,
    /// It says yes to everything, and does nothing.
    Yes,
    /// Lets connections through alone.
    Connected,
    /// It does what it is asked, and its answers do not arrive.
    Mute,
    /// Tickets that open nowhere.
    Noise,
    /// It gives what was posted, in the name of another coin.
    Misplacing,
    /// It says that it has taken tickets and has not, and knows the key that they make.
    Knowing([u8; 16]),
    /// Somebody on the way answers each request before the node does: with a refusal, with success, and with an older answer.
    Watched,
}

/// Who asks: two coins.
pub(crate) struct Owner {
    pub(crate) coins: [Coin; 2],
    pub(crate) wallet: Wallet,
}

impl Owner {
    fn new(first: u32) -> Self {
        let coins = [coin(&format!("00.{first}")), coin(&format!("00.{}", first + 1))];
        let mut wallet = Wallet::default();
        for coin in coins {
            (0..25).for_each(|raida| wallet.set(coin, raida, key_of(raida, coin), Origin::Issued));
        }
        Self { coins, wallet }
    }
}

pub(crate) struct Net {
    pub(crate) swarm: Swarm,
    pub(crate) houses: Vec<House>,
    pub(crate) manners: Vec<Manner>,
    /// One datagram of so many is lost.
    pub(crate) loses: Option<u64>,
    pub(crate) ada: Owner,
    pub(crate) bob: Owner,
    pub(crate) rng: SeededRng,
    pub(crate) now: Time,
    sent: u64,
    /// Datagrams and connections that nodes were asked by.
    pub(crate) by: BTreeMap<u8, (u32, u32)>,
    /// The last answer with something in it of each node, for whoever says it again.
    heard: BTreeMap<u8, Vec<u8>>,
}

impl Net {
    pub(crate) fn new(profile: Profile, seed: u64) -> Self {
        let own = |raida: u8| coin(&format!("00.{}", raida + 1));
        let (ada, bob) = (Owner::new(26), Owner::new(28));
        let nodes = (0..25).map(|raida| SwarmNode {
            raida,
            address: SocketAddr::from(([127, 0, 0, 1], 50_000 + u16::from(raida))),
            coin: own(raida),
            operator: None,
        });
        let swarm = Swarm::new(SwarmName([1; 16]), COIN_ID, 17, nodes.collect()).unwrap();
        let house = |raida: u8| {
            let mut house = House::new(raida, profile);
            house.own(own(raida), |other| key_of(other, own(raida)));
            for coin in (0..25).map(own).chain(ada.coins).chain(bob.coins) {
                house.issue(coin, &key_of(raida, coin));
            }
            house
        };
        Self {
            swarm,
            houses: (0..25).map(house).collect(),
            manners: vec![Manner::Honest; 25],
            loses: None,
            ada,
            bob,
            rng: SeededRng::new(seed),
            now: Time::ZERO,
            sent: 0,
            by: BTreeMap::new(),
            heard: BTreeMap::new(),
        }
    }

    /// The nodes with these numbers are like this.
    pub(crate) fn are(&mut self, nodes: impl IntoIterator<Item = usize>, manner: Manner) {
        nodes.into_iter().for_each(|node| self.manners[node] = manner);
    }

    /// Draws `count` different nodes.
    pub(crate) fn some(&mut self, count: usize) -> BTreeSet<usize> {
        let mut some = BTreeSet::new();
        while some.len() < count {
            let drawn = rand_core::Rng::next_u32(&mut self.rng) % 25;
            some.insert(usize::try_from(drawn).unwrap());
        }
        some
    }

    pub(crate) fn asker<'a>(swarm: &'a Swarm, owner: &'a Owner) -> Asker<'a> {
        Asker { swarm, wallet: &owner.wallet, wall: NOW, patience: Patience::default() }
    }

    /// A node's answer, and after how long it arrives.
    fn answer(&mut self, raida: u8, bytes: &[u8], carrier: Carrier) -> Option<(Duration, Vec<u8>)> {
        let by = self.by.entry(raida).or_default();
        match carrier {
            Carrier::Datagram => by.0 += 1,
            Carrier::Connection => by.1 += 1,
        }
        let house = &mut self.houses[usize::from(raida)];
        let mut ask = |bytes: &[u8]| match carrier {
            Carrier::Datagram => house.ask_by_datagram(bytes),
            Carrier::Connection => house.ask(bytes),
        };
        let near = Duration::from_millis(10 + u64::from(raida));
        match self.manners[usize::from(raida)] {
            Manner::Connected if carrier == Carrier::Datagram => None,
            Manner::Honest | Manner::Connected | Manner::Watched => Some((near, ask(bytes)?)),
            Manner::Slow(millis) => Some((Duration::from_millis(millis), ask(bytes)?)),
            Manner::Down => None,
            Manner::Mute => {
                ask(bytes);
                None
            }
            Manner::Noise => Some((near, noise(raida, bytes, ask(bytes)?))),
            Manner::Lying => Some((near, ask(&lie(raida, bytes))?)),
            Manner::Forging => {
                let mut answer = ask(bytes)?;
                // A reply with a payload has a tag, one without says at least another's echo or hash.
                let last = answer.len() - 3;
                let at = if answer.len() > 48 { last } else { 17 };
                answer[at] ^= 1;
                Some((near, answer))
            }
            Manner::Misplacing => Some((near, misplaced(raida, bytes, ask(bytes)?))),
            Manner::Knowing(key) => Some((near, knowing(raida, bytes, ask(bytes)?, &key))),
            Manner::Yes => Some((near, yes(raida, bytes))),
        }
    }

    /// Runs a machine to its end.
    pub(crate) fn run<M: Machine>(&mut self, mut machine: M) -> M::Done {
        let mut coming: BTreeMap<(Time, u64), (u8, Vec<u8>)> = BTreeMap::new();
        loop {
            while let Some(output) = machine.poll_output() {
                match output {
                    Output::Done(done) => return done,
                    Output::Send { raida, bytes, carrier, .. } => {
                        self.sent += 1;
                        let lost = self.loses.is_some_and(|of| {
                            carrier == Carrier::Datagram && u64::from(rand_core::Rng::next_u32(&mut self.rng)) % of == 0
                        });
                        if self.manners[usize::from(raida)] == Manner::Watched {
                            for (soon, answer) in [no(raida, &bytes), yes(raida, &bytes)].into_iter().enumerate() {
                                self.sent += 1;
                                let at = self.now + Duration::from_millis(1 + soon as u64);
                                coming.insert((at, self.sent), (raida, answer));
                            }
                            if let Some(older) = self.heard.get(&raida) {
                                self.sent += 1;
                                let answer = again(&bytes, older);
                                coming.insert((self.now + Duration::from_millis(3), self.sent), (raida, answer));
                            }
                        }
                        if let Some((after, answer)) = self.answer(raida, &bytes, carrier).filter(|_| !lost) {
                            if answer.len() > 48 {
                                self.heard.insert(raida, answer.clone());
                            }
                            coming.insert((self.now + after, self.sent), (raida, answer));
                        }
                    }
                }
            }
            let next = coming.first_key_value().map(|((at, _), _)| *at);
            let timeout = machine.poll_timeout();
            let at = next.into_iter().chain(timeout).min().expect("a machine that has not ended waits for something");
            self.now = self.now.max(at);
            if next == Some(at)
                && let Some((_, (raida, bytes))) = coming.pop_first()
            {
                machine.handle_input(self.now, Input::Received { raida, bytes: &bytes });
            } else {
                machine.handle_input(self.now, Input::Tick);
            }
        }
    }
}

fn keys(raida: u8, header: &RequestHeader) -> FrameKey {
    let key = |named: Named| key_of(raida, named.coin().unwrap());
    match header.encryption.unwrap() {
        Encryption::Tagged(named) => FrameKey::of_one(&key(named)),
        Encryption::Coin(named) => legacy::untagged(Authenticity::from_bytes(key(named).expose())),
        _ => FrameKey::None,
    }
}

/// What a post would be with another key in it.
fn lie(raida: u8, bytes: &[u8]) -> Vec<u8> {
    let mut bytes = bytes.to_vec();
    let (header, _) = RequestHeader::read(&bytes).unwrap();
    if Command::of(header.group, header.command) != Some(Command::PostKey) {
        return bytes;
    }
    let key = keys(raida, &header);
    let start = header_length(header.encryption.unwrap().code());
    let text = frame::body(&header, header.encryption.unwrap(), &mut bytes[start..]).unwrap();
    let payload = frame::open(&header, &key, text).unwrap().payload;
    let mut payload = text[payload].to_vec();
    payload[16 + 16 + 5 + 30] ^= 1;
    frame::seal_request(header, &key, &[0; 16], &payload).unwrap()
}

/// An older answer, with what it takes to look like one to this request.
fn again(bytes: &[u8], older: &[u8]) -> Vec<u8> {
    let mut answer = older.to_vec();
    answer[46..48].copy_from_slice(&RequestHeader::read(bytes).unwrap().0.echo);
    answer
}

/// A posted key, for another coin than it was posted for.
fn misplaced(raida: u8, bytes: &[u8], answer: Vec<u8>) -> Vec<u8> {
    let (header, _) = RequestHeader::read(bytes).unwrap();
    if Command::of(header.group, header.command) != Some(Command::GetKey) {
        return answer;
    }
    let key = keys(raida, &header);
    let opened = frame::open_reply(&header, &key, &[0; 16], frame::ReplyStream::Continue, &answer).unwrap();
    let mut payload = opened.payload.to_vec();
    payload[4] ^= 1;
    said(raida, bytes, Status::Success, &key, &payload)
}

/// Yes to tickets that were not opened, and what can be said under a key by whoever has it.
fn knowing(raida: u8, bytes: &[u8], answer: Vec<u8>, key: &[u8; 16]) -> Vec<u8> {
    let (header, _) = RequestHeader::read(bytes).unwrap();
    match Command::of(header.group, header.command) {
        Some(Command::DecryptKey) => said(raida, bytes, Status::Success, &keys(raida, &header), &[1, 1]),
        Some(Command::EncryptKey) => {
            let key = FrameKey::of_one(&Authenticity::from_bytes(key));
            said(raida, bytes, Status::Done, &key, &[0x5a; 16])
        }
        _ => answer,
    }
}

/// An answer to 44 with another ticket in it.
fn noise(raida: u8, bytes: &[u8], answer: Vec<u8>) -> Vec<u8> {
    let (header, _) = RequestHeader::read(bytes).unwrap();
    if Command::of(header.group, header.command) != Some(Command::EncryptKey) {
        return answer;
    }
    said(raida, bytes, Status::Done, &keys(raida, &header), &[0x5a; 16])
}

/// No, whatever was asked.
fn no(raida: u8, bytes: &[u8]) -> Vec<u8> {
    said(raida, bytes, Status::Files, &FrameKey::None, &[])
}

/// Success, whatever was asked.
fn yes(raida: u8, bytes: &[u8]) -> Vec<u8> {
    said(raida, bytes, Status::Success, &FrameKey::None, &[])
}

fn said(raida: u8, bytes: &[u8], status: Status, key: &FrameKey, payload: &[u8]) -> Vec<u8> {
    let (header, _) = RequestHeader::read(bytes).unwrap();
    let reply =
        frame::Reply { raida, status, took: 1, challenge: None, stream: frame::ReplyStream::Continue, nonce: [7; 24] };
    let mut out = Vec::new();
    frame::seal_reply(&header, key, &reply, payload, &mut out);
    out
}
