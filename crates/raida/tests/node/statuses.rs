//! Bad input: exactly which status, and nothing lost.

use undertone_raida::coin::Coin;
use undertone_raida::command::{Command, DecryptKey, EncryptKey, KeyId, MOST_ITEMS, PostKey, TicketItem};
use undertone_raida::header::Encryption;
use undertone_raida::node::Profile;
use undertone_raida::status::Status;
use undertone_raida::{frame, legacy, ticket};

use crate::house::{By, COMPAT, House, coin, hex, key_of, nonce};

const PROFILES: [Profile; 2] = [COMPAT, Profile::Strict];
const CHALLENGE: &str = "000102030405060708090a0b9270c965";

fn house(profile: Profile) -> House {
    let mut house = House::new(14, profile);
    for name in ["01.5123", "01.7"] {
        house.issue(coin(name), &key_of(14, coin(name)));
    }
    house
}

/// A plain echo with some bytes changed.
fn echo(changes: &[(usize, u8)]) -> Vec<u8> {
    let mut bytes = hex(&format!("01000e0000000006010000000000000100000000000000120000000000001234{CHALLENGE}3e3e"));
    for (at, byte) in changes {
        bytes[*at] = *byte;
    }
    bytes
}

#[test]
fn rkx_1_headers_are_refused_in_the_originals_order() {
    for profile in PROFILES {
        let mut house = house(profile);
        for (changes, status) in [
            (&[(0, 0)][..], Status::Version),
            (&[(1, 1)], Status::Split),
            (&[(2, 15)], Status::Raida),
            (&[(3, 4)], Status::Shard),
            (&[(4, 16)], Status::Group),
            (&[(5, 99)], Status::Command),
            (&[(4, 15)], Status::Command),
            (&[(7, 7)], Status::CoinId),
            (&[(6, 1)], Status::CoinId),
            (&[(48, 0x3d)], Status::Trailer),
            (&[(40, 1)], Status::Crc),
            (&[(23, 17)], Status::Trailer),
            (&[(23, 1)], Status::Length),
            (&[(23, 0x13)], Status::Length),
            // Several at once: the first counts.
            (&[(0, 9), (1, 1), (7, 7)], Status::Version),
            (&[(3, 4), (4, 16)], Status::Group),
            (&[(5, 99), (7, 7)], Status::Command),
        ] {
            assert_eq!(house.status(&echo(changes)), Some(status), "{changes:?}");
        }
        assert_eq!(house.status(&echo(&[(3, 3)])), Some(Status::Success), "shard 3 passes");
        // 16 bytes of body and a trailer in the right place.
        let mut short = echo(&[(23, 17)]);
        short.truncate(49);
        short[47..].copy_from_slice(&[0x3e, 0x3e]);
        assert_eq!(house.status(&short), Some(Status::Length));
        assert_eq!(house.status(&echo(&[(22, 0), (23, 0)])), Some(Status::Success), "an echo needs no body");
        for length in [0, 1, 16, 17, 31] {
            assert_eq!(house.ask(&echo(&[])[..length]), None, "{length} bytes are answered with silence");
        }
    }
}

#[test]
fn rkx_1_encryption_types_that_are_none_have_a_long_header() {
    for profile in PROFILES {
        let mut house = house(profile);
        for code in [3, 6, 9, 255] {
            assert_eq!(house.ask(&echo(&[(16, code)])[..47]), None);
            let reply = house.ask(&echo(&[(16, code)])).unwrap();
            assert_eq!((reply.len(), reply[2]), (48, 27), "type {code}");
        }
    }
}

#[test]
fn rkx_1_keys_that_there_are_not() {
    for profile in PROFILES {
        let mut house = house(profile);
        let key = || key_of(14, coin("01.5123"));
        let mut with = |encryption, by: By| {
            let header = house.header(Command::Echo, encryption);
            let sealed = frame::seal_request(header, &by.key(), &frame::with_checksum([1; 12]), &[]).unwrap();
            house.status(&sealed).unwrap()
        };
        let named = |denomination, serial| undertone_raida::coin::Named { denomination, serial };
        let by = || By::Coin(coin("01.5123"), key());
        let tagged = || By::Tagged(coin("01.5123"), key());
        for wrong in [named(1, 1_024_000), named(7, 1), named(1, 5123 + (1 << 26)), named(0x80, 0)] {
            assert_eq!(with(Encryption::Coin(wrong), by()), Status::Encryption);
            assert_eq!(with(Encryption::Tagged(wrong), tagged()), Status::EncryptionCoin);
            let two = By::Two(coin("01.5123"), key(), coin("01.5123"), key());
            assert_eq!(with(Encryption::TaggedByTwo(coin("01.5123").named(), wrong), two), Status::EncryptionCoin);
        }
        assert_eq!(with(Encryption::Locker(*b"nobod"), by()), Status::Encryption);
        // A coin that there is, and a key that is another's.
        assert_eq!(with(Encryption::Coin(coin("01.7").named()), by()), Status::Crc);
        assert_eq!(with(Encryption::Tagged(coin("01.7").named()), tagged()), Status::Tag);
        // One that nobody was ever given.
        let free = with(Encryption::Coin(coin("01.8").named()), by());
        assert_eq!(free, if profile.is_strict() { Status::Encryption } else { Status::Crc });
    }
}

#[test]
fn rkx_3_lengths_are_of_the_payload_under_every_type() {
    for profile in PROFILES {
        let mut house = house(profile);
        let key = |name| key_of(14, coin(name));
        for by in [
            By::Coin(coin("01.5123"), key("01.5123")),
            By::Tagged(coin("01.5123"), key("01.5123")),
            By::Two(coin("01.5123"), key("01.5123"), coin("01.7"), key("01.7")),
        ] {
            let untagged = profile.is_strict() && matches!(by, By::Coin(..));
            let mut status = |command: Command, payload: &[u8]| {
                let status = house.call(command, &by, payload).status.unwrap();
                if !untagged || !command.acts() {
                    return Some(status);
                }
                assert_eq!(status, Status::Encryption, "{command:?} without a tag");
                None
            };
            let mut is = |command, payload: &[u8], expected| {
                assert!(
                    status(command, payload).is_none_or(|status| status == expected),
                    "{command:?} {}",
                    payload.len()
                );
            };
            for length in [0, 1, 36, 38, 55] {
                is(Command::GetKey, &vec![0; length], Status::Length);
            }
            is(Command::GetKey, &[7; 37], Status::Files);
            for length in [0, 166, 168, 185] {
                is(Command::PostKey, &vec![0; length], Status::Length);
            }
            for length in [0, 4, 6, 12, 14, 23, 31, 33, 35, 52] {
                is(Command::EncryptKey, &vec![0; length], Status::Length);
            }
            // Thirteen bytes are a ticket's, whatever stands around them.
            let ticket = EncryptKey::Ticket { target: coin("01.7").named(), half: [6; 8] }.write();
            assert_eq!(ticket.len(), 13);
            let proven = !profile.is_strict() || matches!(by, By::Two(..));
            is(Command::EncryptKey, &ticket, if proven { Status::Done } else { Status::Encryption });
            for length in [0, 5, 30] {
                is(Command::DecryptKey, &vec![0; length], Status::Length);
            }
            for length in [32, 56, 58] {
                is(Command::DecryptKey, &vec![0; length], Status::Items);
            }
            is(Command::DecryptKey, &[1; 31], Status::CoinFile);
        }
    }
}

#[test]
fn rkx_1_serial_numbers_beyond_the_pages_are_no_coins() {
    for profile in PROFILES {
        let mut house = house(profile);
        house.own(coin("01.5123"), |raida| key_of(raida, coin("01.5123")));
        let by = By::owner(14, "01.7");
        let named = |denomination, serial| undertone_raida::coin::Named { denomination, serial };
        for beyond in [named(1, 1_024_000), named(7, 1), named(1, u32::MAX)] {
            let wrapped = EncryptKey::Wrapped { recipient: beyond }.write();
            let ticket = EncryptKey::Ticket { target: beyond, half: [6; 8] }.write();
            for ask in [wrapped, ticket] {
                assert_eq!(house.call(Command::EncryptKey, &by, &ask).status, Ok(Status::Serial));
            }
            // An item of many is one that is not good; the others are looked at.
            let item = |coin| TicketItem { split: 0, helper: 5, coin, ticket: [9; 16] };
            let payload = DecryptKey::write(coin("01.5123").named(), &[item(beyond), item(coin("01.7").named())]);
            let answer = house.call(Command::DecryptKey, &by, &payload);
            assert_eq!((answer.status, answer.payload.to_vec()), (Ok(Status::Success), vec![0, 0]));
            let own = DecryptKey::write(beyond, &[item(coin("01.7").named())]);
            assert_eq!(house.call(Command::DecryptKey, &by, &own).status, Ok(Status::CoinFile));
        }
    }
}

/// Pages that cannot be read: said so, and what stands beside them is done.
#[test]
fn rkx_1_a_store_that_fails_is_an_internal_error() {
    for profile in PROFILES {
        let mut house = house(profile);
        let own = coin("01.5123");
        house.own(own, |raida| key_of(raida, own));
        let far = coin("01.700000");
        house.issue(far, &key_of(14, far));
        house.node.coins().flush().unwrap();
        // Nothing of it is in memory any more.
        for page in 0..40 {
            let other = coin(&format!("01.{}", page * 1_024));
            house.record(other);
        }
        std::fs::write(house.folder().join("Data/01/02/02ab.bin"), [0; 100]).unwrap();
        let by = By::Tagged(far, key_of(14, far));
        assert_eq!(house.call(Command::GetKey, &by, &[7; 37]).status, Ok(Status::Internal), "{profile:?}");
        // An item of two that cannot be done: the other is, and lasts.
        let own_by = By::Tagged(own, key_of(14, own));
        let mut heal = |coins: &[Coin], fill: u8| {
            let mut header = house.header(Command::DecryptKey, own_by.encryption());
            (header.nonce, header.echo) = (nonce(own_by.encryption(), house.now, fill), [fill; 2]);
            let iv: [u8; 16] = *header.nonce.first_chunk().unwrap();
            let form = if profile.is_strict() { ticket::Form::Strict } else { ticket::Form::Compat };
            let item = |name: Coin, split: u8| {
                let (helper, half) = (5 + split, [split + 1; 8]);
                let ticket = legacy::ticket(form, &half, name, &key_of(helper, own), &iv, [0; 2]);
                TicketItem { split, helper, coin: name.named(), ticket }
            };
            let items: Vec<_> = coins.iter().flat_map(|name| [item(*name, 0), item(*name, 1)]).collect();
            let answer = house.call_as(header, &own_by, &DecryptKey::write(own.named(), &items));
            (answer.status, answer.payload.to_vec())
        };
        let (good, bad) = (coin("01.7"), far);
        assert_eq!(heal(&[good, bad], 8), (Ok(Status::Success), vec![1, 1, 0, 0]), "{profile:?}");
        // Alone it is an error.
        assert_eq!(heal(&[bad], 9).0, Ok(Status::Internal), "{profile:?}");
        assert_eq!(house.record(good).0, [[1; 8], [2; 8]].concat());
    }
}

/// Quotas: of one coin's keys, and of what one address asks.
#[test]
fn rkx_1_who_asks_too_much_is_told_to_wait() {
    let mut house = house(Profile::Strict);
    let by = By::owner(14, "01.7");
    let payload = |n: u8| {
        let mut payload = vec![n; 167];
        payload[32..37].fill(0);
        payload[165..].copy_from_slice(&[0, 8]);
        payload
    };
    for n in 0..100 {
        assert_eq!(house.call(Command::PostKey, &by, &payload(n)).status, Ok(Status::Success), "{n}");
    }
    assert_eq!(house.call(Command::PostKey, &by, &payload(100)).status, Ok(Status::Rate));
    assert_eq!(house.call(Command::PostKey, &by, &payload(5)).status, Ok(Status::Success), "in the place of one");
    let echo = echo(&[]);
    let statuses: Vec<_> = (0..1_100).map(|_| house.status(&echo)).collect();
    assert_eq!(statuses.last(), Some(&Some(Status::Rate)), "by a connection it is said");
}

/// A key that is fetched once: a datagram that comes again has the same answer, and nobody else has one.
#[test]
fn rkx_2_a_key_that_was_fetched_once_is_gone_and_what_comes_again_is_answered_again() {
    let mut house = House::with(14, Profile::Strict, true);
    house.issue(coin("01.7"), &key_of(14, coin("01.7")));
    let by = By::owner(14, "01.7");
    let mut payload = vec![7; 167];
    payload[32..37].fill(0);
    payload[165..].copy_from_slice(&[0, 8]);
    assert_eq!(house.call(Command::PostKey, &by, &payload).status, Ok(Status::Success));
    let get = [vec![7; 16], vec![0; 21]].concat();
    let header = house.header(Command::GetKey, by.encryption());
    let request = frame::seal_request(header, &by.key(), &[0; 16], &get).unwrap();
    let first = house.ask_by_datagram(&request).unwrap();
    assert_eq!(Status::from_byte(first[2]), Some(Status::Success));
    assert_eq!(house.ask_by_datagram(&request), Some(first));
    assert_eq!(house.call(Command::GetKey, &by, &get).status, Ok(Status::Files));
}

#[test]
fn rkx_1_commands_without_a_body() {
    for profile in PROFILES {
        let mut house = house(profile);
        for command in Command::ALL {
            let header = house.header(command, Encryption::None);
            let expected = if command == Command::Echo { Status::Success } else { Status::Empty };
            assert_eq!(house.status(&header.to_bytes()), Some(expected), "{}", command.name());
        }
    }
}

#[test]
fn rkx_1_a_keys_part_of_its_space_ends_before_its_last_byte() {
    for profile in PROFILES {
        let mut house = house(profile);
        let by = By::owner(14, "01.7");
        for (start, length, status) in [
            (0, 127, Status::Success),
            (127, 0, Status::Success),
            (100, 27, Status::Success),
            (0, 128, Status::KeyLength),
            (1, 127, Status::KeyLength),
            (255, 1, Status::KeyLength),
            (128, 128, Status::KeyLength),
        ] {
            let mut payload = vec![5; 167];
            payload[32..37].fill(0);
            payload[165..].copy_from_slice(&[start, length]);
            let answer = house.call(Command::PostKey, &by, &payload);
            assert_eq!(answer.status, Ok(status), "{start} and {length}");
        }
    }
}

#[test]
fn rkx_1_items_are_answered_one_by_one() {
    let mut compat = house(COMPAT);
    compat.own(coin("01.5123"), |raida| key_of(raida, coin("01.5123")));
    // As many as a body has room for, each of them wrong.
    let item = [hex("0006000500"), coin("01.7").named().to_bytes().to_vec(), vec![9; 16]].concat();
    let payload = |n: usize| [coin("01.5123").named().to_bytes().as_slice(), &item.repeat(n)].concat();
    let answer = compat.call(Command::DecryptKey, &By::Nobody, &payload(MOST_ITEMS));
    assert_eq!((answer.status, answer.payload.to_vec()), (Ok(Status::Success), vec![0; MOST_ITEMS]));
    let mut strict = house(Profile::Strict);
    strict.own(coin("01.5123"), |raida| key_of(raida, coin("01.5123")));
    let by = By::owner(14, "01.7");
    for too_many in [65, MOST_ITEMS] {
        assert_eq!(strict.call(Command::DecryptKey, &by, &payload(too_many)).status, Ok(Status::TooMany));
    }
    assert_eq!(strict.call(Command::DecryptKey, &by, &payload(64)).payload.to_vec(), vec![0; 64]);
    // Files of wallets, of other coins, and none at all.
    for (name, length) in [("01.7", Some(439)), ("01.8", Some(440)), ("01.9", Some(441)), ("01.10", None)] {
        if let Some(length) = length {
            std::fs::write(strict.folder().join(format!("coins/{name}.bin")), vec![0; length]).unwrap();
        }
        let payload = [coin(name).named().to_bytes().as_slice(), &item].concat();
        assert_eq!(strict.call(Command::DecryptKey, &by, &payload).status, Ok(Status::CoinFile), "{name}");
    }
}

/// What lies in the folder under a key's name and is none is no key, and nothing of it is given away or written to.
#[test]
fn rkx_1_foreign_files_among_the_keys() {
    const SECRET: &[u8] = b"\0\0\0\0\0somebody's";
    let name = |id: u8| format!("Keys/{}", format!("{id:02x}").repeat(16));
    let foreign = |folder: &std::path::Path| {
        std::fs::create_dir_all(folder.join(name(1))).unwrap();
        std::fs::write(folder.join("secret"), SECRET).unwrap();
        std::os::unix::fs::symlink(folder.join("secret"), folder.join(name(2))).unwrap();
        std::fs::write(folder.join(name(3)), [0; 200]).unwrap();
        std::fs::write(folder.join(name(4)), [0; 3]).unwrap();
        std::fs::write(folder.join("Keys/notes"), b"mine").unwrap();
    };
    // In strict they are nobody's, and so not whose owner asks; in compat a key takes any place but a folder's.
    let taken = [Status::Files, Status::Success, Status::Success, Status::Success];
    for (profile, expected) in [(Profile::Strict, [Status::Exists; 4]), (COMPAT, taken)] {
        let mut house = House::over(14, profile, false, foreign);
        house.issue(coin("01.7"), &key_of(14, coin("01.7")));
        let (by, folder) = (By::owner(14, "01.7"), house.folder().to_owned());
        for id in 1..5 {
            let get = [vec![id; 16], vec![0; 21]].concat();
            assert_eq!(house.call(Command::GetKey, &by, &get).status, Ok(Status::Files), "{profile:?} {id}");
        }
        for (id, expected) in (1..5).zip(expected) {
            let post = PostKey { id: KeyId([id; 16]), receiver: [0; 16], coin: Default::default(), key: b"new" };
            let answer = house.call(Command::PostKey, &by, &post.write(0, [0; 128]).unwrap());
            assert_eq!(answer.status, Ok(expected), "{profile:?} {id}");
        }
        assert!(folder.join(name(1)).is_dir());
        assert_eq!(std::fs::read(folder.join("secret")).unwrap(), SECRET);
        assert_eq!(std::fs::read(folder.join("Keys/notes")).unwrap(), b"mine");
    }
}

#[test]
fn rkx_1_a_folder_that_is_read_only_loses_nothing() {
    use std::os::unix::fs::PermissionsExt;
    let mut house = house(Profile::Strict);
    let by = By::owner(14, "01.7");
    let payload = |fill: u8| {
        let mut payload = vec![fill; 167];
        payload[..16].fill(1);
        payload[32..37].fill(0);
        payload[165..].copy_from_slice(&[0, 8]);
        payload
    };
    assert_eq!(house.call(Command::PostKey, &by, &payload(1)).status, Ok(Status::Success));
    // Instead of rights, which root does not need: the place where new files are written is a folder.
    let keys = house.folder().join("Keys");
    let blocked = keys.join(format!("{}.new", "01".repeat(16)));
    std::fs::create_dir(&blocked).unwrap();
    std::fs::set_permissions(&blocked, std::fs::Permissions::from_mode(0o500)).unwrap();
    let owner = || std::fs::read(keys.join(format!("{}.owner", "01".repeat(16)))).unwrap();
    let before = owner();
    house.now += 100;
    assert_eq!(house.call(Command::PostKey, &by, &payload(2)).status, Ok(Status::Files));
    assert_eq!(owner(), before);
    let get = [vec![1; 16], vec![0; 21]].concat();
    let answer = house.call(Command::GetKey, &by, &get);
    assert_eq!((answer.status, answer.payload[5..].to_vec()), (Ok(Status::Success), vec![1; 8]));
}
