//! The entries of a RAIDA node and of who asks one: frames, commands, files, and a whole node in either profile.

use std::num::NonZeroUsize;
use std::path::PathBuf;
use std::sync::OnceLock;
use std::time::Instant;

use undertone_keys::testing::SeededRng;
use undertone_raida::coin::{Authenticity, Coin, Denomination};
use undertone_raida::coin_file::CoinFile;
use undertone_raida::command::{self, Command, DecryptKey, EncryptKey, GetKey, PostKey, StoredKey};
use undertone_raida::frame::{self, FrameKey, ReplyStream};
use undertone_raida::header::{Encryption, NodeName, RequestHeader};
use undertone_raida::legacy;
use undertone_raida::node::coins::{Blank, CoinOptions, Coins, Disk, Record};
use undertone_raida::node::{
    AddressLimit, Asked, KeyOptions, Keys, Node, NodeOptions, OwnCoins, Owned, Profile, WaitsFor,
};

use crate::targets::same;

#[cfg(test)]
mod samples;
#[cfg(test)]
pub(crate) use samples::good;

const RAIDA: u8 = 14;
const COIN_ID: u16 = 6;

fn coin() -> Coin {
    Denomination::new(1).and_then(|one| Coin::new(one, 5123)).unwrap_or_else(|| panic!("a coin"))
}

fn key() -> Authenticity {
    Authenticity::from_bytes(&[9; 16])
}

/// A request's header and the payloads of every command.
pub(crate) fn request(bytes: &[u8]) {
    if let Some((header, _)) = RequestHeader::read(bytes) {
        let written = header.to_bytes();
        assert!(RequestHeader::read(&written) == Some((header, &[])), "a header is read otherwise than it was written");
    }
    let Some((kind, payload)) = bytes.split_first() else {
        return;
    };
    match kind % 5 {
        0 => {
            if let Ok(post) = PostKey::read(payload) {
                assert!(post.key.len() <= usize::from(command::KEY_REACH), "a key that reaches too far");
            }
        }
        1 => {
            if let Ok(get) = GetKey::read(payload) {
                same("get key", &get.write(), payload);
            }
        }
        2 => {
            if let Ok(encrypt) = EncryptKey::read(payload) {
                same("encrypt key", &encrypt.write(), payload);
            }
        }
        3 => {
            if let Ok(decrypt) = DecryptKey::read(payload) {
                let items: Vec<_> = decrypt.items().collect();
                assert!(items.len() == decrypt.count(), "items that are not counted");
                let again = DecryptKey::write(decrypt.coin, &items);
                assert!(again.len() == payload.len(), "items that are lost");
            }
        }
        _ => {
            if let Ok(parts) = command::read_alert(payload) {
                let mut written = Vec::new();
                parts.iter().for_each(|part| part.write(&mut written));
                same("alert", &written, payload);
            }
        }
    }
}

/// A reply, by somebody who asked something else; and the files of coins and of posted keys.
pub(crate) fn reply(bytes: &[u8]) {
    let challenge = frame::with_checksum([1; 12]);
    for (key, code) in [
        (FrameKey::None, Encryption::None),
        (legacy::untagged(key()), Encryption::Coin(coin().named())),
        (FrameKey::of_one(&key()), Encryption::Tagged(coin().named())),
    ] {
        let asked = header(Command::GetKey, code);
        let _read = frame::open_reply(&asked, &key, &challenge, ReplyStream::Continue, bytes);
    }
    let _file = CoinFile::read(zeroize::Zeroizing::new(bytes.to_vec()), COIN_ID);
    let _stored = StoredKey::read(bytes);
    let _owned = Owned::read(bytes);
}

fn header(command: Command, encryption: Encryption) -> RequestHeader {
    let (group, number) = command.number();
    RequestHeader {
        version: 1,
        split: 0,
        raida: RAIDA,
        shard: 0,
        group,
        command: number,
        coin_id: COIN_ID,
        encryption: Ok(encryption),
        body: 0,
        // 1,795,737,600 seconds since 1970, as the node has it.
        nonce: [0x6b, 0x08, 0xc8, 0x00, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7],
        echo: [7; 2],
    }
}

struct House {
    strict: Node,
    compat: Node,
}

fn node(folder: &std::path::Path, profile: Profile) -> Node {
    let rng = &mut SeededRng::new(1);
    let options = CoinOptions {
        pages: NonZeroUsize::new(4).unwrap_or(NonZeroUsize::MIN),
        blank: Blank::Drawn,
        disk: Disk::new(false),
    };
    let (coins, _) =
        Coins::open(&folder.join("Data"), options, rng, |_| ()).unwrap_or_else(|error| panic!("the store: {error}"));
    let issued = coins.change(coin(), rng, |_| Some(Record { key: key(), changed: 3 }));
    assert!(issued.is_ok(), "a coin");
    let keys = KeyOptions {
        shared: false,
        per_owner: 8,
        total: 8,
        life: None,
        one_shot: false,
        cached: NonZeroUsize::new(8).unwrap_or(NonZeroUsize::MIN),
    };
    let keys = Keys::open(&folder.join("Keys"), keys).unwrap_or_else(|error| panic!("the keys: {error}"));
    let coins_folder = folder.join("coins");
    let own_keys = CoinFile::write(COIN_ID, &std::array::from_fn(|_| key()));
    let written = std::fs::create_dir_all(&coins_folder)
        .and_then(|()| std::fs::write(coins_folder.join(format!("{}.bin", coin())), own_keys));
    assert!(written.is_ok(), "the node's own coin");
    let own = OwnCoins::new(&coins_folder, COIN_ID);
    // Without a limit: what is refused for coming too often is looked at by nobody.
    let addresses = AddressLimit { per_second: 0, burst: 0 };
    let options = NodeOptions { profile, addresses, ..NodeOptions::new(NodeName { raida: RAIDA, coin_id: COIN_ID }) };
    Node::new(options, coins, keys, own, 0)
}

fn house() -> &'static House {
    static HOUSE: OnceLock<House> = OnceLock::new();
    HOUSE.get_or_init(|| {
        let folder = folder();
        let _gone = std::fs::remove_dir_all(&folder);
        let made = |name: &str, profile| node(&folder.join(name), profile);
        House { strict: made("strict", Profile::Strict), compat: made("compat", Profile::Compat(ReplyStream::Restart)) }
    })
}

/// Of this process; those of processes that have ended are removed, as none of them can know which input is its last.
fn folder() -> PathBuf {
    const NAME: &str = "undertone-fuzz-raida-";
    let all = std::env::temp_dir();
    for found in std::fs::read_dir(&all).into_iter().flatten().flatten() {
        let name = found.file_name();
        let process = name.to_str().and_then(|name| name.strip_prefix(NAME)).and_then(|id| id.parse::<u32>().ok());
        if process.is_some_and(|id| !std::path::Path::new("/proc").join(id.to_string()).exists()) {
            let _gone = std::fs::remove_dir_all(found.path());
        }
    }
    all.join(format!("{NAME}{}", std::process::id()))
}

/// A whole node: whatever comes is answered with silence or with a header.
pub(crate) fn node_answers(bytes: &[u8]) {
    let House { strict, compat } = house();
    for node in [strict, compat] {
        let mut asked = bytes.to_vec();
        let from = ([127, 0, 0, 1], 9).into();
        let asked = Asked { bytes: &mut asked, from, datagram: false, received: Instant::now(), now: 1_795_737_600 };
        let waits_for = node.waits_for(&asked);
        let known = node.read_keys(&asked, &mut SeededRng::new(1));
        assert!(waits_for != WaitsFor::Nothing || known != WaitsFor::Sync, "what waits for nothing writes nothing");
        let mut out = Vec::new();
        let answered = node.answer(asked, &mut SeededRng::new(1), &mut out);
        assert!(answered != out.is_empty(), "silence has no bytes");
        assert!(out.is_empty() || out.len() >= 32, "an answer has a header");
    }
}
