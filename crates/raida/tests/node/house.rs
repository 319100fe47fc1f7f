//! A node with a few coins in a folder of its own, and somebody who asks it.

use std::net::SocketAddr;
use std::num::NonZeroUsize;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Instant;

use undertone_keys::testing::SeededRng;
use undertone_raida::coin::{Authenticity, Coin};
use undertone_raida::coin_file::CoinFile;
use undertone_raida::command::Command;
use undertone_raida::frame::{self, Answer, FrameKey, ReplyStream};
use undertone_raida::header::{Encryption, NodeName, RequestHeader};
use undertone_raida::legacy;
use undertone_raida::node::coins::{Blank, CoinOptions, Coins, Disk, Record};
use undertone_raida::node::{Asked, KeyOptions, Keys, Node, NodeOptions, OwnCoins, Profile};
use undertone_raida::status::Status;

pub(crate) const COIN_ID: u16 = 6;
pub(crate) const COMPAT: Profile = Profile::Compat(ReplyStream::Restart);
/// 2026-11-27, month 45.
pub(crate) const NOW: u64 = 1_795_737_600;

pub(crate) fn hex(text: &str) -> Vec<u8> {
    let digits: Vec<_> = text.chars().filter(|c| !c.is_whitespace()).collect();
    digits.chunks(2).map(|pair| u8::from_str_radix(&pair.iter().collect::<String>(), 16).unwrap()).collect()
}

pub(crate) fn coin(name: &str) -> Coin {
    name.parse().unwrap()
}

/// The key of a coin on a node.
pub(crate) fn key_of(raida: u8, coin: Coin) -> Authenticity {
    let mut bytes = [raida; 16];
    bytes[..4].copy_from_slice(&coin.serial().to_be_bytes());
    bytes[4] = coin.denomination().to_byte();
    Authenticity::from_bytes(&bytes)
}

/// A nonce that begins with the time, of type 5 behind the second coin's name.
pub(crate) fn nonce(encryption: Encryption, now: u64, fill: u8) -> [u8; 24] {
    let mut nonce = [fill; 24];
    let from = if matches!(encryption, Encryption::TaggedByTwo(..)) { 5 } else { 0 };
    nonce[from..from + 4].copy_from_slice(&u32::try_from(now).unwrap().to_be_bytes());
    nonce
}

pub(crate) struct House {
    folder: PathBuf,
    pub(crate) node: Node,
    pub(crate) raida: u8,
    pub(crate) profile: Profile,
    rng: SeededRng,
    nonces: u8,
    pub(crate) now: u64,
    /// When requests come, for budgets: it stands still, however slow the machine.
    received: Instant,
}

impl Drop for House {
    fn drop(&mut self) {
        let _gone = std::fs::remove_dir_all(&self.folder);
    }
}

impl House {
    /// Node `raida`.
    pub(crate) fn new(raida: u8, profile: Profile) -> Self {
        Self::with(raida, profile, false)
    }

    /// The same, whose keys are perhaps fetched once.
    pub(crate) fn with(raida: u8, profile: Profile, one_shot: bool) -> Self {
        Self::over(raida, profile, one_shot, |_| ())
    }

    /// The same over a folder that somebody has been in.
    pub(crate) fn over(raida: u8, profile: Profile, one_shot: bool, before: impl FnOnce(&Path)) -> Self {
        static MADE: AtomicU32 = AtomicU32::new(0);
        let made = MADE.fetch_add(1, Ordering::Relaxed);
        let folder = std::env::temp_dir().join(format!("undertone-raida-node-{}-{made}", std::process::id()));
        std::fs::create_dir_all(folder.join("coins")).unwrap();
        before(&folder);
        let mut rng = SeededRng::new(u64::from(made));
        let strict = profile.is_strict();
        let blank = if strict { Blank::Drawn } else { Blank::Original };
        let options = CoinOptions { pages: NonZeroUsize::new(8).unwrap(), blank, disk: Disk::new(!strict) };
        let (coins, _) = Coins::open(&folder.join("Data"), options, &mut rng, |_| ()).unwrap();
        let keys = KeyOptions {
            shared: !strict,
            per_owner: 100,
            total: 1000,
            life: None,
            one_shot,
            cached: NonZeroUsize::new(10).unwrap(),
        };
        let keys = Keys::open(&folder.join("Keys"), keys).unwrap();
        let own = OwnCoins::new(&folder.join("coins"), COIN_ID);
        let options = NodeOptions { profile, ..NodeOptions::new(NodeName { raida, coin_id: COIN_ID }) };
        Self {
            node: Node::new(options, coins, keys, own, NOW - 1_000),
            folder,
            raida,
            profile,
            rng,
            nonces: 0,
            now: NOW,
            received: Instant::now(),
        }
    }

    pub(crate) fn folder(&self) -> &Path {
        &self.folder
    }

    /// A coin is somebody's, with this key.
    pub(crate) fn issue(&mut self, coin: Coin, key: &Authenticity) {
        let record = || Record { key: Authenticity::from_bytes(key.expose()), changed: 33 };
        assert!(self.node.coins().change(coin, &mut self.rng, |_| Some(record())).unwrap());
    }

    /// The node owns a coin, with these keys on the others.
    pub(crate) fn own(&self, coin: Coin, key: impl Fn(u8) -> Authenticity) {
        let keys = std::array::from_fn(|raida| key(u8::try_from(raida).unwrap()));
        let path = self.folder.join(format!("coins/{coin}.bin"));
        std::fs::write(path, CoinFile::write(COIN_ID, &keys)).unwrap();
    }

    pub(crate) fn record(&mut self, coin: Coin) -> (Vec<u8>, u8) {
        let record = self.node.coins().read(coin, &mut self.rng).unwrap();
        (record.key.expose().to_vec(), record.changed)
    }

    /// A whole request over a connection, and what comes back.
    pub(crate) fn ask(&mut self, bytes: &[u8]) -> Option<Vec<u8>> {
        self.ask_from(bytes, SocketAddr::from(([127, 0, 0, 1], 9)), false)
    }

    /// The same by UDP.
    pub(crate) fn ask_by_datagram(&mut self, bytes: &[u8]) -> Option<Vec<u8>> {
        self.ask_from(bytes, SocketAddr::from(([127, 0, 0, 1], 9)), true)
    }

    pub(crate) fn ask_from(&mut self, bytes: &[u8], from: SocketAddr, datagram: bool) -> Option<Vec<u8>> {
        let mut bytes = bytes.to_vec();
        let asked = Asked { bytes: &mut bytes, from, datagram, received: self.received, now: self.now };
        let mut out = Vec::new();
        self.node.answer(asked, &mut self.rng, &mut out).then_some(out)
    }

    pub(crate) fn status(&mut self, bytes: &[u8]) -> Option<Status> {
        let reply = self.ask(bytes)?;
        assert!(reply.len() >= 32);
        Status::from_byte(reply[2])
    }

    pub(crate) fn header(&mut self, command: Command, encryption: Encryption) -> RequestHeader {
        self.nonces += 1;
        let (group, number) = command.number();
        RequestHeader {
            version: 1,
            split: 0,
            raida: self.raida,
            shard: 0,
            group,
            command: number,
            coin_id: COIN_ID,
            encryption: Ok(encryption),
            body: 0,
            nonce: nonce(encryption, self.now, self.nonces),
            echo: [self.nonces; 2],
        }
    }

    /// A request by whoever has these keys, under a nonce of its own.
    pub(crate) fn call(&mut self, command: Command, by: &By, payload: &[u8]) -> Answer {
        let header = self.header(command, by.encryption());
        self.call_as(header, by, payload)
    }

    pub(crate) fn call_as(&mut self, mut header: RequestHeader, by: &By, payload: &[u8]) -> Answer {
        let challenge = frame::challenge(&mut self.rng);
        if let Ok(Encryption::TaggedByTwo(_, second)) = header.encryption {
            header.nonce[..5].copy_from_slice(&second.to_bytes());
        }
        let key = by.key();
        let request = frame::seal_request(header, &key, &challenge, payload).unwrap();
        let (header, _) = RequestHeader::read(&request).unwrap();
        let reply = self.ask(&request).unwrap();
        frame::open_reply(&header, &key, &challenge, self.profile.reply_stream(), &reply).unwrap()
    }
}

/// Who asks.
pub(crate) enum By {
    Nobody,
    Coin(Coin, Authenticity),
    Tagged(Coin, Authenticity),
    Two(Coin, Authenticity, Coin, Authenticity),
    Locker(Authenticity),
}

impl By {
    /// The owner of a coin on a node, as a client of our own asks: under type 4.
    pub(crate) fn owner(raida: u8, name: &str) -> Self {
        Self::Tagged(coin(name), key_of(raida, coin(name)))
    }

    /// The same under type 1, which has no tag.
    pub(crate) fn without_tag(raida: u8, name: &str) -> Self {
        Self::Coin(coin(name), key_of(raida, coin(name)))
    }

    pub(crate) fn encryption(&self) -> Encryption {
        match self {
            Self::Nobody => Encryption::None,
            Self::Coin(coin, _) => Encryption::Coin(coin.named()),
            Self::Tagged(coin, _) => Encryption::Tagged(coin.named()),
            Self::Two(first, _, second, _) => Encryption::TaggedByTwo(first.named(), second.named()),
            Self::Locker(key) => Encryption::Locker(*key.expose().first_chunk().unwrap()),
        }
    }

    pub(crate) fn key(&self) -> FrameKey {
        match self {
            Self::Nobody => FrameKey::None,
            Self::Coin(_, key) | Self::Locker(key) => legacy::untagged(Authenticity::from_bytes(key.expose())),
            Self::Tagged(_, key) => FrameKey::of_one(key),
            Self::Two(_, first, _, second) => FrameKey::of_two(first, second),
        }
    }
}
