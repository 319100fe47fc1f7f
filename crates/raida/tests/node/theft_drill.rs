//! The ways in which the documents let anybody take what is not theirs: each is tried against both profiles. The table of
//! `docs/spec/raida.md` has a row for each of these.

use undertone_raida::coin::Authenticity;
use undertone_raida::command::{AlertPart, Command, DecryptKey, EncryptKey, GetKey, KeyId, PostKey, TicketItem};
use undertone_raida::frame::{self, ReplyStream, blocks_of};
use undertone_raida::header::{Encryption, RequestHeader};
use undertone_raida::legacy;
use undertone_raida::node::Profile;
use undertone_raida::status::Status;
use undertone_raida::ticket::Form;

use crate::house::{By, COMPAT, House, NOW, coin, key_of, nonce};

/// The node's own coin, the victim's, and the thief's.
pub(crate) const OWN: &str = "01.5123";
pub(crate) const ADA: &str = "01.7";
pub(crate) const EVE: &str = "01.666";

pub(crate) fn house(raida: u8, profile: Profile) -> House {
    let mut house = House::new(raida, profile);
    for name in [OWN, ADA, EVE] {
        house.issue(coin(name), &key_of(raida, coin(name)));
    }
    house.own(coin(OWN), |raida| key_of(raida, coin(OWN)));
    house
}

fn both(attack: impl Fn(&mut House) -> Result<Status, u8>, strict: Status, compat: Status) {
    assert_eq!(attack(&mut house(14, Profile::Strict)), Ok(strict), "strict");
    assert_eq!(attack(&mut house(14, COMPAT)), Ok(compat), "compat");
}

#[test]
fn strict_and_compat_theft_drill_a_ticket_about_somebody_elses_coin() {
    // Whoever gets two of these blessed by two helpers takes the coin over on a third node.
    let ticket = |target: &str| EncryptKey::Ticket { target: coin(target).named(), half: [6; 8] }.write();
    both(|house| house.call(Command::EncryptKey, &By::Nobody, &ticket(ADA)).status, Status::Encryption, Status::Done);
    both(
        |house| house.call(Command::EncryptKey, &By::owner(14, EVE), &ticket(ADA)).status,
        Status::Encryption,
        Status::Done,
    );
    let other = [7; 16];
    let guessed =
        EncryptKey::TicketFor { target: coin(OWN).named(), half: [6; 8], coin: coin(ADA).named(), key: &other }.write();
    both(
        |house| house.call(Command::EncryptKey, &By::owner(14, EVE), &guessed).status,
        Status::Encryption,
        Status::Done,
    );
    // With the coin's own key it is given.
    let key = key_of(14, coin(EVE));
    let owned =
        EncryptKey::TicketFor { target: coin(OWN).named(), half: [6; 8], coin: coin(EVE).named(), key: key.expose() }
            .write();
    both(|house| house.call(Command::EncryptKey, &By::owner(14, EVE), &owned).status, Status::Done, Status::Done);
    both(|house| house.call(Command::EncryptKey, &By::Nobody, &owned).status, Status::Encryption, Status::Done);
    // So it is with the second key of type 5.
    let two = || By::Two(coin(EVE), key_of(14, coin(EVE)), coin(ADA), key_of(14, coin(ADA)));
    both(|house| house.call(Command::EncryptKey, &two(), &ticket(ADA)).status, Status::Done, Status::Done);
    both(|house| house.call(Command::EncryptKey, &two(), &ticket(EVE)).status, Status::Encryption, Status::Done);
}

#[test]
fn strict_and_compat_theft_drill_the_ticket_in_the_clear() {
    // Under type 1 with the target's own key, the ticket's layer and the reply's cancel out.
    let ask = EncryptKey::Ticket { target: coin(EVE).named(), half: *b"halfakey" }.write();
    let mut compat = house(14, COMPAT);
    let by = By::without_tag(14, EVE);
    let header = compat.header(Command::EncryptKey, by.encryption());
    let request = frame::seal_request(header, &by.key(), &frame::with_checksum([3; 12]), &ask).unwrap();
    let reply = compat.ask(&request).unwrap();
    assert_eq!(&reply[32..40], b"halfakey", "anybody on the way reads it");
    let mut strict = house(14, Profile::Strict);
    assert_eq!(strict.status(&request), Some(Status::Encryption));
}

#[test]
fn strict_and_compat_theft_drill_the_seeds_wrapping() {
    // Who sees what comes back, and ever learns what was wrapped, has the recipient's key.
    let ask = EncryptKey::Wrapped { recipient: coin(ADA).named() }.write();
    both(|house| house.call(Command::EncryptKey, &By::Nobody, &ask).status, Status::Encryption, Status::Done);
    both(|house| house.call(Command::EncryptKey, &By::owner(14, EVE), &ask).status, Status::Encryption, Status::Done);
    both(|house| house.call(Command::EncryptKey, &By::owner(14, ADA), &ask).status, Status::Done, Status::Done);
}

/// An item about `name` whose ticket helper `helper` would have made.
pub(crate) fn item(form: Form, name: &str, split: u8, helper: u8, half: [u8; 8], iv: [u8; 16]) -> TicketItem {
    let ticket = legacy::ticket(form, &half, coin(name), &key_of(helper, coin(OWN)), &iv, [0; 2]);
    TicketItem { split, helper, coin: coin(name).named(), ticket }
}

/// What a profile's tickets look like.
fn form(profile: Profile) -> Form {
    if profile.is_strict() { Form::Strict } else { Form::Compat }
}

/// A nonce of now and `fill`, as types 1 and 4 have it.
pub(crate) fn under(header: &mut RequestHeader, fill: u8) {
    let encryption = header.encryption.unwrap();
    (header.nonce, header.echo) = (nonce(encryption, NOW, fill), [fill; 2]);
}

/// The initial value that type 4 makes of it.
pub(crate) fn iv(fill: u8) -> [u8; 16] {
    *nonce(Encryption::None, NOW, fill).first_chunk().unwrap()
}

#[test]
fn strict_and_compat_theft_drill_half_a_key_is_no_key() {
    let iv = iv(8);
    let cases = |form| {
        let item = |name, split, helper, half, iv| item(form, name, split, helper, half, iv);
        [
            // One half.
            (vec![item(ADA, 0, 5, [1; 8], iv)], vec![0], vec![1]),
            // Both from one helper, and from this node itself.
            (vec![item(ADA, 0, 5, [1; 8], iv), item(ADA, 1, 5, [2; 8], iv)], vec![0, 0], vec![1, 1]),
            (vec![item(ADA, 0, 5, [1; 8], iv), item(ADA, 1, 14, [2; 8], iv)], vec![0, 0], vec![1, 1]),
            // The same half twice, or three.
            (vec![item(ADA, 0, 5, [1; 8], iv), item(ADA, 0, 6, [2; 8], iv)], vec![0, 0], vec![1, 1]),
            (
                vec![item(ADA, 0, 5, [1; 8], iv), item(ADA, 1, 6, [2; 8], iv), item(ADA, 1, 7, [3; 8], iv)],
                vec![0, 0, 0],
                vec![1, 1, 1],
            ),
            // A ticket under another nonce, a helper that there is not, a half that there is not.
            (
                vec![item(ADA, 0, 5, [1; 8], iv), item(ADA, 1, 6, [2; 8], crate::theft_drill::iv(9))],
                vec![0, 0],
                vec![1, 0],
            ),
            (vec![item(ADA, 0, 25, [1; 8], iv), item(ADA, 2, 6, [2; 8], iv)], vec![0, 0], vec![0, 0]),
            // Two helpers, in either order; and a second coin beside it.
            (vec![item(ADA, 1, 6, [2; 8], iv), item(ADA, 0, 5, [1; 8], iv)], vec![1, 1], vec![1, 1]),
            (
                vec![item(ADA, 0, 5, [1; 8], iv), item(EVE, 0, 5, [4; 8], iv), item(ADA, 1, 6, [2; 8], iv)],
                vec![1, 0, 1],
                vec![1, 1, 1],
            ),
        ]
    };
    for (profile, strict) in [(Profile::Strict, true), (COMPAT, false)] {
        for (items, in_strict, in_compat) in cases(form(profile)) {
            let expected = if strict { &in_strict } else { &in_compat };
            let payload = DecryptKey::write(coin(OWN).named(), &items);
            let mut house = house(14, profile);
            let by = By::Tagged(coin(EVE), key_of(14, coin(EVE)));
            let mut header = house.header(Command::DecryptKey, by.encryption());
            under(&mut header, 8);
            let answer = house.call_as(header, &by, &payload);
            assert_eq!((answer.status, &*answer.payload), (Ok(Status::Success), expected), "{profile:?} {items:?}");
            let (key, changed) = house.record(coin(ADA));
            let healed = key == [[1; 8], [2; 8]].concat();
            let as_it_was = key == key_of(14, coin(ADA)).expose();
            if profile.is_strict() {
                // All or nothing.
                let done = expected.contains(&1);
                assert!(if done { healed && changed == 45 } else { as_it_was && changed == 33 }, "{items:?}");
            }
        }
    }
}

#[test]
fn strict_and_compat_theft_drill_healing_needs_a_key_and_a_nonce() {
    let items = |iv| [item(Form::Compat, ADA, 0, 5, [1; 8], iv), item(Form::Compat, ADA, 1, 6, [2; 8], iv)];
    let payload = |iv| DecryptKey::write(coin(OWN).named(), &items(iv));
    both(
        |house| house.call(Command::DecryptKey, &By::Nobody, &payload([0; 16])).status,
        Status::Encryption,
        Status::Success,
    );
    // A nonce of zeros is the same keystream for everybody for ever.
    let zero = |house: &mut House| {
        let by = By::owner(14, EVE);
        let mut header = house.header(Command::DecryptKey, by.encryption());
        (header.nonce, header.echo) = ([0; 24], [0; 2]);
        house.call_as(header, &by, &payload([0; 16])).status
    };
    both(zero, Status::Parameter, Status::Success);
    // A coin that was never issued is nobody's to take.
    let iv = iv(8);
    for (profile, expected) in [(Profile::Strict, vec![0, 0]), (COMPAT, vec![1, 1])] {
        let form = form(profile);
        let free = [item(form, "01.9", 0, 5, [1; 8], iv), item(form, "01.9", 1, 6, [2; 8], iv)];
        let mut house = house(14, profile);
        let by = By::Tagged(coin(EVE), key_of(14, coin(EVE)));
        let mut header = house.header(Command::DecryptKey, by.encryption());
        under(&mut header, 8);
        let answer = house.call_as(header, &by, &DecryptKey::write(coin(OWN).named(), &free));
        assert_eq!(*answer.payload, expected);
    }
}

/// A request of Eve's that gives Ada's coin another key, as a whole datagram.
fn heal(house: &mut House, fill: u8) -> (RequestHeader, By, Vec<u8>, Vec<u8>) {
    let by = By::Tagged(coin(EVE), key_of(14, coin(EVE)));
    let mut header = house.header(Command::DecryptKey, by.encryption());
    under(&mut header, fill);
    let (iv, form) = (iv(fill), form(house.profile));
    let items = [item(form, ADA, 0, 5, [1; 8], iv), item(form, ADA, 1, 6, [2; 8], iv)];
    let payload = DecryptKey::write(coin(OWN).named(), &items);
    let request = frame::seal_request(header, &by.key(), &[0; 16], &payload).unwrap();
    (header, by, payload, request)
}

#[test]
fn strict_and_compat_theft_drill_what_comes_again() {
    let mut strict = house(14, Profile::Strict);
    let (header, by, payload, request) = heal(&mut strict, 8);
    let first = strict.ask(&request).unwrap();
    // Its owner has healed it otherwise since. What comes again is answered as before, and not done again.
    let since = Authenticity::from_bytes(&[7; 16]);
    strict.issue(coin(ADA), &since);
    assert_eq!(strict.ask(&request).unwrap(), first);
    // Another request under the same nonce has a keystream that was used; a body that was heard is no other's under another header; and
    // the same tickets are the same when somebody else brings them.
    let other = frame::seal_request(header, &by.key(), &[0; 16], &payload[..31]).unwrap();
    assert_eq!(strict.status(&other), Some(Status::Encryption));
    let mut elsewhere = request.clone();
    elsewhere[30] ^= 1;
    assert_eq!(strict.status(&elsewhere), Some(Status::Encryption));
    let by = By::Tagged(coin(OWN), key_of(14, coin(OWN)));
    let mut header = strict.header(Command::DecryptKey, by.encryption());
    under(&mut header, 8);
    assert_eq!(strict.call_as(header, &by, &payload).payload.to_vec(), [0, 0]);
    // Later its nonce is too old, and a node that was started since has it from before.
    strict.now += 301;
    assert_eq!(strict.status(&request), Some(Status::Parameter));
    strict.now = NOW - 31;
    let early = heal(&mut strict, 9).3;
    assert_eq!(strict.status(&early), Some(Status::Parameter), "ahead");
    assert_eq!(strict.record(coin(ADA)).0, since.expose());
    let mut compat = house(14, COMPAT);
    let (.., payload, request) = heal(&mut compat, 8);
    let healed = |compat: &mut House| compat.record(coin(ADA)).0 == [[1; 8], [2; 8]].concat();
    compat.ask(&request).unwrap();
    compat.issue(coin(ADA), &since);
    compat.ask(&request).unwrap();
    assert!(healed(&mut compat), "done again");
    compat.issue(coin(ADA), &since);
    let mut header = compat.header(Command::DecryptKey, by.encryption());
    under(&mut header, 8);
    assert_eq!(compat.call_as(header, &by, &payload).payload.to_vec(), [1, 1]);
    assert!(healed(&mut compat), "by another caller");
}

#[test]
fn strict_and_compat_theft_drill_bits_that_are_turned_on_the_way() {
    // Under type 1 nothing shows that the third byte of a posted key, or of a half that is to be blessed, is another one: 41 to 45 that do
    // something are taken with a tag.
    for (profile, taken) in [(Profile::Strict, false), (COMPAT, true)] {
        let mut house = house(14, profile);
        let turned = |house: &mut House, by: &By, command, payload: &[u8], at: usize| {
            let header = house.header(command, by.encryption());
            let mut request = frame::seal_request(header, &by.key(), &frame::with_checksum([3; 12]), payload).unwrap();
            request[at] ^= 0xff;
            house.status(&request).unwrap()
        };
        let payload = post(1, None, &[7; 16]);
        let at = 32 + frame::CHALLENGE + 37 + 3 + 2;
        let status = turned(&mut house, &By::without_tag(14, ADA), Command::PostKey, &payload, at);
        assert_eq!(status, if taken { Status::Success } else { Status::Encryption });
        let there = house.call(Command::GetKey, &By::owner(14, ADA), &get(1)).payload;
        assert_eq!(there.get(5..8), taken.then_some(&[7, 7, 0xf8][..]));
        let tagged = turned(&mut house, &By::owner(14, ADA), Command::PostKey, &payload, 48 + 37 + 3 + 2);
        assert_eq!(tagged, Status::Tag);
        // The type itself is in no tag: one that is turned back is one of these.
        for command in [Command::PostKey, Command::KeyAlert, Command::EncryptKey, Command::DecryptKey] {
            for by in [By::Nobody, By::without_tag(14, EVE)] {
                let refused = house.call(command, &by, &[1; 44]).status == Ok(Status::Encryption);
                assert_eq!(refused, !taken, "{command:?} {profile:?}");
            }
        }
    }
}

#[test]
fn strict_and_compat_files_and_the_rest_of_the_table() {
    use std::os::unix::fs::PermissionsExt;
    for (profile, mode) in [(Profile::Strict, 0o600), (COMPAT, 0o640)] {
        let mut house = house(14, profile);
        house.call(Command::PostKey, &By::owner(14, ADA), &post(1, None, b"key"));
        house.node.coins().flush().unwrap();
        let key = "01".repeat(16);
        for file in [format!("Keys/{key}"), format!("Keys/{key}.owner"), "Data/01/00/0000.bin".to_owned()] {
            let rights = std::fs::metadata(house.folder().join(&file)).unwrap().permissions().mode() & 0o777;
            assert_eq!(rights, mode, "{file} {profile:?}");
        }
        // No bytes: taken back, or a key like any other.
        house.call(Command::PostKey, &By::owner(14, ADA), &post(1, None, b""));
        let there = house.call(Command::GetKey, &By::owner(14, ADA), &get(1)).status;
        assert_eq!(there, Ok(if profile.is_strict() { Status::Files } else { Status::Success }));
        // A coin that nobody was given, as a key of types 1 and 4, and as a target.
        let free = || {
            let key =
                house.node.coins().read(coin("01.9"), &mut undertone_keys::testing::SeededRng::new(1)).unwrap().key;
            Authenticity::from_bytes(key.expose())
        };
        let (one, four) = (By::Coin(coin("01.9"), free()), By::Tagged(coin("01.9"), free()));
        let target = EncryptKey::Wrapped { recipient: coin("01.9").named() }.write();
        let statuses = [
            house.call(Command::Echo, &one, &[]).status,
            house.call(Command::GetKey, &four, &get(2)).status,
            house.call(Command::EncryptKey, &By::owner(14, ADA), &target).status,
        ];
        let expected = match profile.is_strict() {
            true => [Status::Encryption, Status::EncryptionCoin, Status::Serial],
            false => [Status::Success, Status::Files, Status::Done],
        };
        assert_eq!(statuses, expected.map(Ok), "{profile:?}");
        // One address asks as often as it likes, or has had enough: then it is told so by a connection.
        let echo = house.header(Command::Echo, Encryption::None).to_bytes();
        let last = (0..1_100).map(|_| house.status(&echo)).last();
        assert_eq!(last, Some(Some(if profile.is_strict() { Status::Rate } else { Status::Success })));
    }
}

#[test]
fn strict_and_compat_theft_drill_a_ticket_that_was_changed_on_its_way() {
    // Eve has honest tickets about her own coin from two helpers, and makes them tickets about Ada's.
    for (profile, taken) in [(Profile::Strict, false), (COMPAT, true)] {
        let by = |raida| By::Tagged(coin(EVE), key_of(raida, coin(EVE)));
        let mut items = Vec::new();
        for (split, helper) in [(0, 5), (1, 6)] {
            let mut house = house(helper, profile);
            let key = key_of(helper, coin(EVE));
            let ask = EncryptKey::TicketFor {
                target: coin(OWN).named(),
                half: [0xE0 + split; 8],
                coin: coin(EVE).named(),
                key: key.expose(),
            };
            let mut header = house.header(Command::EncryptKey, by(helper).encryption());
            under(&mut header, 8);
            let mut ticket: [u8; 16] =
                house.call_as(header, &by(helper), &ask.write()).payload.as_slice().try_into().unwrap();
            let change = coin(EVE).named().to_bytes().into_iter().zip(coin(ADA).named().to_bytes());
            ticket[8..13].iter_mut().zip(change).for_each(|(byte, (eve, ada))| *byte ^= eve ^ ada);
            items.push(TicketItem { split, helper, coin: coin(ADA).named(), ticket });
        }
        let mut house = house(14, profile);
        let mut header = house.header(Command::DecryptKey, by(14).encryption());
        under(&mut header, 8);
        house.call_as(header, &by(14), &DecryptKey::write(coin(OWN).named(), &items));
        assert_eq!(house.record(coin(ADA)).0 == [[0xE0; 8], [0xE1; 8]].concat(), taken, "{profile:?}");
    }
}

#[test]
fn strict_and_compat_theft_drill_a_ticket_is_no_window_on_a_keystream() {
    // Eve knows fourteen bytes of a ticket about her own coin. Where it is in counter mode she knows as many of the target's keystream: the
    // two that are missing are found with an echo, and its hash is the target's key.
    for (profile, open) in [(Profile::Strict, false), (COMPAT, true)] {
        let mut house = house(14, profile);
        let (by, key) = (By::owner(14, EVE), key_of(14, coin(EVE)));
        let half = [6; 8];
        let ask = EncryptKey::TicketFor { target: coin(ADA).named(), half, coin: coin(EVE).named(), key: key.expose() };
        let mut header = house.header(Command::EncryptKey, by.encryption());
        under(&mut header, 8);
        // The nonce is hers to choose: one that a request without a tag can have too.
        header.nonce[8..16].fill(0);
        let ticket = house.call_as(header, &by, &ask.write()).payload;
        // What Ada's own request has under that nonce, seen from within.
        let ada = By::without_tag(14, ADA);
        let mut header = house.header(Command::Echo, ada.encryption());
        under(&mut header, 8);
        let challenge = frame::with_checksum([0; 12]);
        let echo = frame::seal_request(header, &ada.key(), &challenge, &[]).unwrap();
        let stream: Vec<u8> = (0..16).map(|i| echo[32 + i] ^ challenge[i]).collect();
        let known = [half.as_slice(), &coin(EVE).named().to_bytes()].concat();
        let seen: Vec<u8> = (0..13).map(|i| ticket[i] ^ known[i]).collect();
        assert_eq!(seen == stream[..13], open, "{profile:?}");
    }
}

#[test]
fn strict_and_compat_theft_drill_a_nonce_that_was_used_has_no_hash() {
    let mut strict = house(14, Profile::Strict);
    let ada = By::without_tag(14, ADA);
    let mut header = strict.header(Command::GetKey, ada.encryption());
    under(&mut header, 8);
    let sealed = |n: u8| frame::seal_request(header, &ada.key(), &frame::with_checksum([n; 12]), &get(n)).unwrap();
    assert_eq!(strict.status(&sealed(1)), Some(Status::Files));
    let again = strict.ask(&sealed(2)).unwrap();
    assert_eq!((again[2], &again[16..32]), (Status::Encryption.to_byte(), &[0; 16][..]));
}

#[test]
fn strict_and_compat_theft_drill_two_nodes_do_not_answer_each_other_for_ever() {
    // One datagram with another node's address for a sender's.
    for (profile, silent) in [(Profile::Strict, true), (COMPAT, false)] {
        let mut house = house(14, profile);
        for first in [[0; 40], [1; 40]] {
            assert_eq!(house.ask_by_datagram(&first).is_none(), silent, "{profile:?}");
            // Whoever connects has an address of its own, and an answer.
            assert!(house.status(&first).is_some());
        }
    }
    // Nor when one has had enough of the other, whatever it is sent.
    let mut house = house(14, Profile::Strict);
    let echo = house.header(Command::Echo, Encryption::None).to_bytes();
    let answered = (0..1_100).filter(|_| house.ask_by_datagram(&echo).is_some()).count();
    assert_eq!(answered, 1_000, "as many as an address may ask at once");
    assert!(house.ask_by_datagram(&echo).is_none() && house.ask_by_datagram(&[0; 40]).is_none());
    assert_eq!(house.status(&echo), Some(Status::Success), "by a connection it is another bucket");
}

fn post(id: u8, for_coin: Option<&str>, key: &[u8]) -> Vec<u8> {
    let coin = for_coin.map(|name| coin(name).named()).unwrap_or_default();
    PostKey { id: KeyId([id; 16]), receiver: [0; 16], coin, key }.write(3, [0; 128]).unwrap().to_vec()
}

fn get(id: u8) -> Vec<u8> {
    GetKey { id: KeyId([id; 16]), sender: Default::default(), address: [0; 16] }.write()
}

/// What may be fetched again and again is fetched in its time all the same.
#[test]
fn rkx_2_a_fetch_that_was_heard_long_ago_is_not_answered() {
    let mut house = house(14, Profile::Strict);
    let by = || By::Tagged(coin(ADA), key_of(14, coin(ADA)));
    assert_eq!(house.call(Command::PostKey, &by(), &post(7, None, b"key")).status, Ok(Status::Success));
    for (ago, expected) in [(0, Status::Success), (300, Status::Success), (301, Status::Parameter)] {
        let mut header = house.header(Command::GetKey, by().encryption());
        header.nonce = nonce(by().encryption(), NOW - ago, 9);
        for _ in 0..2 {
            assert_eq!(house.call_as(header, &by(), &get(7)).status, Ok(expected), "{ago} s ago");
        }
    }
}

#[test]
fn strict_and_compat_theft_drill_posted_keys() {
    // Nobody posts in nobody's name.
    both(
        |house| house.call(Command::PostKey, &By::Nobody, &post(1, None, b"key")).status,
        Status::Encryption,
        Status::Success,
    );
    // A stranger does not put another key in the place of one.
    let replace = |house: &mut House| {
        let posted =
            house.call(Command::PostKey, &By::owner(14, ADA), &post(1, None, b"Ada's, which is longer")).status;
        assert_eq!(posted, Ok(Status::Success));
        let status = house.call(Command::PostKey, &By::owner(14, EVE), &post(1, None, b"Eve's")).status;
        let key = house.call(Command::GetKey, &By::owner(14, ADA), &get(1)).payload;
        let expected: &[u8] = if house.profile.is_strict() { b"Ada's, which is longer" } else { b"Eve's" };
        assert_eq!(&key[5..], expected, "and nothing of the one before shows behind it");
        status
    };
    both(replace, Status::Exists, Status::Success);
    // One that is for a coin is fetched with it; for others it is not there.
    let fetch = |house: &mut House| {
        house.call(Command::PostKey, &By::owner(14, EVE), &post(2, Some(ADA), b"for Ada"));
        assert_eq!(house.call(Command::GetKey, &By::owner(14, ADA), &get(2)).status, Ok(Status::Success));
        assert_eq!(house.call(Command::GetKey, &By::owner(14, ADA), &get(3)).status, Ok(Status::Files));
        let nobody = house.call(Command::GetKey, &By::Nobody, &get(2)).status;
        assert_eq!(house.call(Command::GetKey, &By::owner(14, EVE), &get(2)).status, nobody);
        nobody
    };
    both(fetch, Status::Files, Status::Success);
    // Whose it should be is looked at where it is said.
    let sender = |house: &mut House| {
        house.call(Command::PostKey, &By::owner(14, EVE), &post(4, None, b"Eve's"));
        let get = GetKey { id: KeyId([4; 16]), sender: coin(ADA).named(), address: [0; 16] };
        house.call(Command::GetKey, &By::owner(14, ADA), &get.write()).status
    };
    both(sender, Status::Files, Status::Success);
    // A coin that nobody can have.
    let mut nobodys = post(5, None, b"key");
    nobodys[32] = 0x77;
    both(
        |house| house.call(Command::PostKey, &By::owner(14, EVE), &nobodys).status,
        Status::Parameter,
        Status::Success,
    );
}

#[test]
fn strict_and_compat_theft_drill_coins_that_nobody_was_given() {
    // Everybody can compute the key that the original gives such a coin.
    let virgin = Authenticity::from_bytes(&[
        0xf5, 0x0b, 0x8f, 0x0f, 0xc0, 0x0b, 0x51, 0x3e, 0x10, 0x5d, 0x20, 0xaa, 0xf1, 0xde, 0x29, 0x0a,
    ]);
    let echo = |house: &mut House| {
        house.call(Command::Echo, &By::Coin(coin("01.5123"), Authenticity::from_bytes(virgin.expose())), &[]).status
    };
    let fresh = |profile| House::new(14, profile);
    assert_eq!(echo(&mut fresh(COMPAT)), Ok(Status::Success));
    assert_eq!(echo(&mut fresh(Profile::Strict)), Ok(Status::Encryption));
}

#[test]
fn strict_and_compat_the_coin_whose_name_is_nobodys() {
    // A key that is for nobody in particular would be for its owner, and what nobody posted would be theirs.
    let echo = |house: &mut House| {
        house.issue(coin("00.0"), &key_of(14, coin("00.0")));
        house.call(Command::Echo, &By::without_tag(14, "00.0"), &[]).status
    };
    both(echo, Status::Encryption, Status::Success);
    // Nor is it a target, whoever asks and with whatever key.
    let target = EncryptKey::Ticket { target: coin("00.0").named(), half: [1; 8] }.write();
    let ask = |house: &mut House| {
        house.issue(coin("00.0"), &key_of(14, coin("00.0")));
        house.call(Command::EncryptKey, &By::owner(14, ADA), &target).status
    };
    both(ask, Status::Serial, Status::Done);
}

#[test]
fn strict_and_compat_a_wrong_key_learns_nothing() {
    // The compatible answer is what the wrong key made of the challenge, and so depends on the right one.
    let wrong = By::Coin(coin(ADA), Authenticity::from_bytes(&[1; 16]));
    for (profile, zeros) in [(Profile::Strict, true), (COMPAT, false)] {
        let mut house = house(14, profile);
        let header = house.header(Command::Echo, wrong.encryption());
        let request = frame::seal_request(header, &wrong.key(), &frame::with_checksum([1; 12]), &[]).unwrap();
        let reply = house.ask(&request).unwrap();
        assert_eq!((reply[2], reply[16..] == [0; 16]), (Status::Crc.to_byte(), zeros));
        // And nothing of one request shows in the answer to another.
        let mut broken = request.clone();
        broken[0] = 9;
        assert_eq!(house.ask(&broken).unwrap()[16..], [0; 16]);
    }
}

#[test]
fn keystream_blocks_never_meet() {
    // Whoever listens adds request and reply together: when they are under the same blocks, that is the exclusive or of their texts, and
    // with the reply's hash it is the coin's key.
    let key = key_of(14, coin(ADA));
    for (stream, meets) in [(ReplyStream::Continue, false), (ReplyStream::Restart, true)] {
        let profile = if meets { Profile::Compat(stream) } else { Profile::Strict };
        let mut house = house(14, profile);
        let by = By::without_tag(14, ADA);
        house.call(Command::PostKey, &By::owner(14, ADA), &post(1, Some(ADA), &[0x55; 27]));
        let challenge = frame::with_checksum([0xc4; 12]);
        let header = house.header(Command::GetKey, by.encryption());
        let request = frame::seal_request(header, &by.key(), &challenge, &get(1)).unwrap();
        let reply = house.ask(&request).unwrap();
        assert_eq!(reply[2], Status::Success.to_byte());
        let known = [&coin(ADA).named().to_bytes()[..], &[0x55; 27]].concat();
        let recovered: Vec<u8> = (0..16).map(|i| request[32 + i] ^ reply[32 + i] ^ known[i] ^ reply[16 + i]).collect();
        assert_eq!(recovered == key.expose(), meets, "{stream:?}");
    }
    // Where the reply begins: behind every block that the request has used, also when its last one is not full.
    for body in 18..200_u16 {
        assert!(blocks_of(body) * 16 >= u32::from(body - 2));
        assert!((blocks_of(body) - 1) * 16 < u32::from(body - 2));
    }
}

#[test]
fn rkx_1_alerts_are_read() {
    let part = AlertPart {
        id: KeyId([1; 16]),
        address: [2; 16],
        port: 50_014,
        sender: coin(ADA).named(),
        receiver: coin(EVE).named(),
    };
    let mut payload = Vec::new();
    part.write(&mut payload);
    assert_eq!(undertone_raida::command::read_alert(&payload), Ok(vec![part]));
    assert_eq!(undertone_raida::command::read_alert(&payload.repeat(17)), Err(Status::Length));
    assert_eq!(undertone_raida::command::read_alert(&payload[1..]), Err(Status::Length));
    assert_eq!(undertone_raida::command::read_alert(&[]), Err(Status::Length));
    let header =
        RequestHeader::read(&house(14, COMPAT).header(Command::KeyAlert, Encryption::None).to_bytes()).unwrap().0;
    assert_eq!(Command::of(header.group, header.command), Some(Command::KeyAlert));
}
