//! Hop epochs (rule MED-8) over links that delay and reorder: every frame that is said is heard, across every switch.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing, reason = "a test may fail")]

mod world;

use std::collections::BTreeMap;
use std::time::Duration;

use rand_core::Rng;
use undertone_keys::Time;
use undertone_keys::testing::SeededRng;
use undertone_media::Epoch;
use undertone_protocol::control::ToRelay;
use world::World;
use world::hop::Member;

/// What is on its way.
enum Event {
    Up { from: usize, packet: Vec<u8> },
    Down { to: usize, packet: Vec<u8> },
    Word { to: usize, epoch: Epoch, removed: bool },
}

/// People who talk to each other through a relay, and the way between.
struct Links {
    world: World,
    members: Vec<Member>,
    /// How many of the relay's words about epochs each was told, or is about to be.
    words: Vec<usize>,
    under_way: BTreeMap<(Time, u64), Event>,
    number: u64,
    rng: SeededRng,
    /// How long a word takes: it overtakes packets, or is lost and said again.
    word: Duration,
    said: Vec<u32>,
    /// Of whom each heard which frames.
    heard: Vec<BTreeMap<u16, Vec<u32>>>,
}

impl Links {
    fn new(word: Duration) -> Self {
        let (world, rng) = (World::new(), SeededRng::new(5));
        Self {
            world,
            members: Vec::new(),
            words: Vec::new(),
            under_way: BTreeMap::new(),
            number: 0,
            rng,
            word,
            said: Vec::new(),
            heard: Vec::new(),
        }
    }

    fn enter(&mut self) -> usize {
        let member = Member::enter(&mut self.world);
        self.members.push(member);
        self.words.push(0);
        self.said.push(0);
        self.heard.push(BTreeMap::new());
        self.members.len() - 1
    }

    fn leave(&mut self, member: usize) {
        let connection = self.members[member].connection;
        self.world.say(connection, &ToRelay::Leave);
        self.pass_on();
    }

    fn after(&mut self, delay: Duration, event: Event) {
        self.number += 1;
        self.under_way.insert((self.world.now + delay, self.number), event);
    }

    /// 20 to 80 ms: three packets may overtake each other.
    fn delay(&mut self) -> Duration {
        Duration::from_millis(20 + u64::from(self.rng.next_u32() % 60))
    }

    /// What the relay has for its members goes on its way.
    fn pass_on(&mut self) {
        for to in 0..self.members.len() {
            let named = self.members[to].named(&self.world);
            for (epoch, removed) in named.into_iter().skip(self.words[to]) {
                self.words[to] += 1;
                self.after(self.word, Event::Word { to, epoch, removed });
            }
            for packet in self.world.received(self.members[to].connection) {
                let delay = self.delay();
                self.after(delay, Event::Down { to, packet: packet.to_vec() });
            }
        }
    }

    /// Lets so much time pass in which these people say a frame every 20 ms.
    fn talk(&mut self, speakers: &[usize], time: Duration) {
        let end = self.world.now + time;
        while self.world.now < end {
            for from in speakers.iter().copied() {
                let frame = self.said[from].to_be_bytes();
                self.said[from] += 1;
                let packet = self.members[from].seal(&frame);
                let delay = self.delay();
                self.after(delay, Event::Up { from, packet });
            }
            self.arrive(self.world.now + Duration::from_millis(20));
        }
    }

    /// What arrives until then.
    fn arrive(&mut self, then: Time) {
        loop {
            let event = self.under_way.first_key_value().map(|((at, _), _)| *at);
            let relay = self.world.rooms.poll_timeout();
            let Some(next) = event.into_iter().chain(relay).min().filter(|at| *at <= then) else { break };
            self.world.until(next);
            while self.under_way.first_key_value().is_some_and(|((at, _), _)| *at <= next) {
                let (_, event) = self.under_way.pop_first().unwrap();
                self.happen(event);
            }
            self.pass_on();
        }
        self.world.until(then);
    }

    fn happen(&mut self, event: Event) {
        let now = self.world.now;
        match event {
            Event::Up { from, packet } => self.world.send(self.members[from].connection, &packet),
            Event::Down { to, mut packet } => {
                let opened =
                    self.members[to].hop.open(now, &mut packet).expect("a packet of the relay's does not open");
                let frame = u32::from_be_bytes(opened.payload.try_into().unwrap());
                self.heard[to].entry(opened.sender).or_default().push(frame);
            }
            Event::Word { to, epoch, removed } => self.members[to].hop.follow(now, epoch, removed).unwrap(),
        }
    }
}

/// The relay's word overtakes packets, comes among them, and comes seconds later, as when it was lost: both keep hearing each
/// other, through joins, removals and renewals.
#[test]
fn med_8_hop_epochs_lose_no_frame_on_the_way() {
    for word in [1, 60, 400, 3_000] {
        let mut links = Links::new(Duration::from_millis(word));
        let [ada, bob, carol] = [(); 3].map(|()| links.enter());
        let everybody = [ada, bob];
        links.talk(&everybody, Duration::from_secs(5));
        links.leave(carol);
        links.talk(&everybody, Duration::from_secs(5));
        for _ in 0..3 {
            let guest = links.enter();
            links.talk(&everybody, Duration::from_millis(1_300));
            links.leave(guest);
            links.talk(&everybody, Duration::from_millis(1_300));
        }
        links.talk(&everybody, Duration::from_secs(310));
        links.talk(&[], Duration::from_secs(4));
        let epoch = links.members[ada].hop.epoch();
        // One for the three who came, one for each coming and going, and one since five minutes were over.
        assert_eq!(epoch, Epoch(1 + 1 + 6 + 1), "the word takes {word} ms");
        assert_eq!(epoch, links.members[bob].hop.epoch());
        assert_eq!(links.world.rooms.stats().refused, 0, "the word takes {word} ms");
        for (from, to) in [(ada, bob), (bob, ada)] {
            let index = links.members[from].index;
            let mut heard = links.heard[to][&index].clone();
            heard.sort_unstable();
            let said: Vec<u32> = (0..links.said[from]).collect();
            assert_eq!(heard, said, "the word takes {word} ms");
        }
    }
}

/// Whoever says nothing and hears nobody learns of an epoch by the relay's word alone.
#[test]
fn med_8_hop_epochs_are_followed_without_a_packet() {
    let mut links = Links::new(Duration::from_millis(60));
    let [ada, bob, carol] = [(); 3].map(|()| links.enter());
    links.talk(&[ada], Duration::from_secs(3));
    links.leave(carol);
    links.talk(&[ada], Duration::from_secs(4));
    let epochs = [ada, bob].map(|member| links.members[member].hop.epoch());
    assert_eq!(epochs, [Epoch(2), Epoch(2)]);
    assert_eq!(links.world.rooms.stats().refused, 0, "Ada was heard all the time, by the relay too");
    assert!(links.heard[bob][&links.members[ada].index].len() >= 340);
}
