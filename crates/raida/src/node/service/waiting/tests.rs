use std::num::NonZeroUsize;
use std::time::Instant;

use undertone_keys::testing::SeededRng;

use super::*;
use crate::coin::Authenticity;
use crate::frame::ReplyStream;
use crate::header::NodeName;
use crate::node::coins::{Blank, CoinOptions, Coins, Disk};
use crate::node::testing::Folder;
use crate::node::{AddressLimit, KeyOptions, Keys, NodeOptions, OwnCoins, Profile};

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
    let keys = KeyOptions { shared: false, per_owner: 9, total: 9, life: Some(2_000), one_shot, cached };
    let keys = Keys::open(&folder.path().join("Keys"), keys).unwrap();
    for id in [1, 2] {
        keys.post(KeyId([id; 16]), coin(ADA).named(), false, b"12345", 0).unwrap();
    }
    let own = OwnCoins::new(&folder.path().join("coins"), NAME.coin_id);
    let addresses = AddressLimit { per_second: 1, burst: 3 };
    Node::new(NodeOptions { profile, addresses, ..NodeOptions::new(NAME) }, coins, keys, own, 0)
}

/// The same as a datagram of somebody's.
fn look<T>(bytes: &[u8], look: impl FnOnce(&mut Asked<'_>) -> T) -> T {
    let (mut bytes, from) = (bytes.to_vec(), ([127, 0, 0, 1], 9).into());
    look(&mut Asked { bytes: &mut bytes, from, datagram: true, received: Instant::now(), now: 1_000 })
}

fn waits_for(node: &Node, bytes: &[u8]) -> WaitsFor {
    look(bytes, |asked| node.waits_for(asked))
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
            [waits_for(&strict, &bytes), waits_for(&compat, &bytes)]
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
    assert_eq!(look(&heal, |asked| strict.read_keys(asked, &mut SeededRng::new(2))), Sync, "its page was read in");
    assert_eq!(waits_for(&strict, &heal), Sync, "and is there");
}

#[test]
fn rkx_1_who_has_no_key_takes_nobodys_place() {
    let (folder, compat) = (Folder::new(), Folder::new());
    let (node, compat) = (node(&folder, Profile::Strict, false), node(&compat, COMPAT, false));
    let strict_only = [
        (request(Command::PostKey, true, &[ADA], 5), WaitsFor::Sync),
        (request(Command::PostKey, true, &[ADA, BOB], 5), WaitsFor::Sync),
        (request(Command::GetKey, false, &[ADA], 5), WaitsFor::Read),
        (request(Command::GetKey, false, &[], 1), WaitsFor::Read),
    ];
    for (good, expected) in strict_only {
        assert_eq!(waits_for(&node, &good), expected);
        // Another node's, another version's; an end that is none, a challenge or a text that is not its tag's, and what is cut off.
        let end = good.len();
        let tagged = good[16] >= 4;
        for (what, place) in
            [("node", 2), ("version", 0), ("end", end - 1), ("text", if tagged { end - 60 } else { 40 })]
        {
            let mut other = good.clone();
            other[place] ^= 1;
            assert_eq!(waits_for(&node, &other), WaitsFor::Nothing, "{what}");
            assert_eq!(waits_for(&compat, &other), WaitsFor::Nothing, "{what}");
        }
        for length in 0..end {
            assert_eq!(waits_for(&node, &good[..length]), WaitsFor::Nothing, "{length} bytes");
        }
    }
    // What a body does not have is not looked for behind it.
    let mut short = request(Command::GetKey, false, &[], 1);
    short[23] = 18;
    short[32 + 16..32 + 18].copy_from_slice(&[0x3e, 0x3e]);
    assert_eq!(waits_for(&node, &short), WaitsFor::Nothing);
    // A second coin that nobody has: no page is read for the first.
    for by in [[ADA, NOBODYS], [COLD, NOBODYS]] {
        let forged = request(Command::PostKey, true, &by, 5);
        assert_eq!(waits_for(&node, &forged), WaitsFor::Nothing);
        assert_eq!(look(&forged, |asked| node.read_keys(asked, &mut SeededRng::new(2))), WaitsFor::Nothing);
    }
    assert!(node.coins().peek(coin(COLD)).is_none());
    // Whoever has asked too often: nothing is read, and nothing waits.
    let cold = request(Command::PostKey, true, &[COLD], 5);
    for _ in 0..4 {
        look(&request(Command::Echo, false, &[], 5), |asked| {
            let Asked { from, datagram, received, now, .. } = *asked;
            let asked = Asked { bytes: asked.bytes, from, datagram, received, now };
            node.answer(asked, &mut SeededRng::new(3), &mut Vec::new())
        });
    }
    assert_eq!(look(&cold, |asked| node.read_keys(asked, &mut SeededRng::new(2))), WaitsFor::Nothing);
    assert!(node.coins().peek(coin(COLD)).is_none());
}

#[test]
fn rkx_1_a_key_that_is_fetched_waits_for_its_file_or_its_end() {
    let get = |id| request(Command::GetKey, true, &[], id);
    for (one_shot, there) in [(false, [WaitsFor::Read, WaitsFor::Nothing]), (true, [WaitsFor::Sync, WaitsFor::Sync])] {
        let folder = Folder::new();
        let node = node(&folder, COMPAT, one_shot);
        // There is room for one in memory: that is the second.
        assert_eq!([waits_for(&node, &get(1)), waits_for(&node, &get(2))], there);
        assert_eq!(waits_for(&node, &get(9)), WaitsFor::Nothing, "no such key");
        // One that is over is removed by whoever asks for it.
        let over = look(&get(2), |asked| {
            asked.now = 2_000;
            node.waits_for(asked)
        });
        assert_eq!(over, there[0]);
    }
}
