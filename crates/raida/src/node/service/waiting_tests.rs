use std::num::NonZeroUsize;

use undertone_keys::testing::SeededRng;

use super::*;
use crate::coin::{Authenticity, Coin};
use crate::command::KeyId;
use crate::frame::ReplyStream;
use crate::node::coins::{Blank, CoinOptions, Disk, Record};
use crate::node::testing::Folder;
use crate::node::{KeyOptions, OwnCoins};

const NAME: NodeName = NodeName { raida: 3, coin_id: 6 };
const COMPAT: Profile = Profile::Compat(ReplyStream::Restart);

/// Coins of one page that is in memory, two of them issued, and one of a page that is not.
const ADA: &str = "01.7";
const BOB: &str = "01.8";
const NOBODYS: &str = "01.9";
const COLD: &str = "01.5000";

fn coin(name: &str) -> Coin {
    name.parse().unwrap()
}

fn key(name: &str) -> Authenticity {
    Authenticity::from_bytes(&[u8::try_from(coin(name).serial() % 256).unwrap(); 16])
}

fn node(folder: &Folder, profile: Profile, one_shot: bool) -> Node {
    let rng = &mut SeededRng::new(1);
    let options = CoinOptions { pages: NonZeroUsize::MIN, blank: Blank::Drawn, disk: Disk::new(false) };
    let (coins, _) = Coins::open(&folder.path().join("Data"), options, rng, |_| ()).unwrap();
    for name in [COLD, ADA, BOB] {
        coins.change(coin(name), rng, |_| Some(Record { key: key(name), changed: 3 })).unwrap();
    }
    coins.flush().unwrap();
    coins.read(coin(ADA), rng).unwrap();
    let cached = NonZeroUsize::MIN;
    let keys = KeyOptions { shared: false, per_owner: 9, total: 9, life: None, one_shot, cached };
    let keys = Keys::open(&folder.path().join("Keys"), keys).unwrap();
    for id in [1, 2] {
        keys.post(KeyId([id; 16]), coin(ADA).named(), false, b"12345", 0).unwrap();
    }
    let own = OwnCoins::new(&folder.path().join("coins"), NAME.coin_id);
    Node::new(NodeOptions { profile, ..NodeOptions::new(NAME) }, coins, keys, own, 0)
}

/// A request by the owners of these coins, under a tag or none; by nobody where there are none. `id` is what it begins with.
fn request(command: Command, tagged: bool, by: &[&str], id: u8) -> Vec<u8> {
    let named = |name: &&str| coin(name).named();
    let (encryption, key) = match by {
        [] => (Encryption::None, FrameKey::None),
        [one] if tagged => (Encryption::Tagged(named(one)), FrameKey::of_one(&key(one))),
        [one] => (Encryption::Coin(named(one)), FrameKey::untagged(key(one))),
        [one, other, ..] => {
            (Encryption::TaggedByTwo(named(one), named(other)), FrameKey::of_two(&key(one), &key(other)))
        }
    };
    let (group, number) = command.number();
    let mut header = RequestHeader {
        version: 1,
        split: 0,
        raida: NAME.raida,
        shard: 0,
        group,
        command: number,
        coin_id: NAME.coin_id,
        encryption: Ok(encryption),
        body: 0,
        nonce: [7; 24],
        echo: [7; 2],
    };
    if let [_, other, ..] = by {
        header.nonce[..5].copy_from_slice(&named(other).to_bytes());
    }
    frame::seal_request(header, &key, &frame::with_checksum([1; 12]), &[id; 200]).unwrap()
}

#[test]
fn rkx_1_what_a_request_waits_for() {
    use Command::{DecryptKey, Echo, EncryptKey, GetKey, KeyAlert, PostKey};
    use WaitsFor::{Nothing, Read, Sync};
    let (strict, compat) = (Folder::new(), Folder::new());
    let (strict, compat) = (node(&strict, Profile::Strict, false), node(&compat, COMPAT, false));
    // In memory: under a tag, under none, by nobody.
    for (command, tagged, untagged, nobodys) in [
        (Echo, [Nothing, Nothing], [Nothing, Nothing], [Nothing, Nothing]),
        (PostKey, [Sync, Sync], [Nothing, Sync], [Nothing, Sync]),
        (DecryptKey, [Sync, Sync], [Nothing, Sync], [Nothing, Sync]),
        (EncryptKey, [Read, Read], [Nothing, Read], [Nothing, Read]),
        (KeyAlert, [Read, Nothing], [Nothing, Nothing], [Nothing, Nothing]),
        (GetKey, [Read, Read], [Read, Read], [Nothing, Nothing]),
    ] {
        let of = |tagged, by: &[&str]| {
            let bytes = request(command, tagged, by, 5);
            [strict.waits_for(&bytes), compat.waits_for(&bytes)]
        };
        assert_eq!(of(true, &[ADA]), tagged, "{command:?}");
        assert_eq!(of(true, &[ADA, BOB]), tagged, "{command:?}");
        assert_eq!(of(false, &[ADA]), untagged, "{command:?}");
        assert_eq!(of(false, &[]), nobodys, "{command:?}");
        // Whose page is not in memory is not known yet; and then, what it waits for.
        for by in [&[COLD][..], &[ADA, COLD]] {
            assert_eq!(of(true, by), [Read, Read], "{command:?}");
        }
        // A coin that nobody has is nobody's in strict, and one like another in compat.
        assert_eq!(of(true, &[NOBODYS])[0], Nothing, "{command:?}");
    }
    let heal = request(DecryptKey, true, &[COLD], 5);
    assert_eq!(strict.read_keys(&heal, &mut SeededRng::new(2)), Sync, "its page was read in");
    assert_eq!(strict.waits_for(&heal), Sync, "and is there");
}

#[test]
fn rkx_1_what_is_refused_takes_nobodys_place() {
    let folder = Folder::new();
    let node = node(&folder, Profile::Strict, false);
    let good = request(Command::PostKey, true, &[ADA], 5);
    assert_eq!(node.waits_for(&good), WaitsFor::Sync);
    // Another node's, another coin's, a tag that is wrong, and one that is cut off.
    let end = good.len();
    for (what, place) in [("node", 2), ("coin", 7), ("version", 0), ("tag", end - 3), ("text", end - 60)] {
        let mut other = good.clone();
        other[place] ^= 1;
        assert_eq!(node.waits_for(&other), WaitsFor::Nothing, "{what}");
    }
    for length in 0..end {
        assert_eq!(node.waits_for(&good[..length]), WaitsFor::Nothing, "{length} bytes");
    }
    let forged = request(Command::PostKey, true, &[ADA, NOBODYS], 5);
    assert_eq!(node.waits_for(&forged), WaitsFor::Nothing);
}

#[test]
fn rkx_1_a_key_that_is_fetched_waits_for_its_file_or_its_end() {
    let get = |id| request(Command::GetKey, true, &[], id);
    for (one_shot, there) in [(false, [WaitsFor::Read, WaitsFor::Nothing]), (true, [WaitsFor::Sync, WaitsFor::Sync])] {
        let folder = Folder::new();
        let node = node(&folder, COMPAT, one_shot);
        // There is room for one in memory: that is the second.
        assert_eq!([node.waits_for(&get(1)), node.waits_for(&get(2))], there);
        assert_eq!(node.waits_for(&get(9)), WaitsFor::Nothing, "no such key");
    }
}
