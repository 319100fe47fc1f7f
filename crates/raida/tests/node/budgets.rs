//! What one coin's owner may use up is his own; and the times that nonces have, by which all of it is forgotten.

use undertone_raida::command::{Command, DecryptKey, KeyId, PostKey};
use undertone_raida::node::Profile;
use undertone_raida::status::Status;
use undertone_raida::ticket::Form;

use crate::house::{By, COMPAT, House, NOW, coin, key_of, nonce};
use crate::theft_drill::{ADA, EVE, OWN, house, item, iv, under};

/// Somebody else brings two tickets about a coin: what is answered.
fn heal(house: &mut House, name: &str, fill: u8) -> (Result<Status, u8>, Vec<u8>) {
    let iv = iv(fill);
    let tickets = [0, 1].map(|split| item(Form::Strict, name, split, 5 + split, [fill; 8], iv));
    let by = By::owner(14, if name == ADA { EVE } else { ADA });
    let mut header = house.header(Command::DecryptKey, by.encryption());
    under(&mut header, fill);
    let answer = house.call_as(header, &by, &DecryptKey::write(coin(OWN).named(), &tickets));
    (answer.status, answer.payload.to_vec())
}

/// Tickets are remembered, so that they are used once. Those about one coin take no room from those about another, and so nobody's healing
/// is used up by somebody else's.
#[test]
fn rkx_2_who_heals_without_end_keeps_nobody_from_healing() {
    let mut house = house(14, Profile::Strict);
    for fill in 1..=64 {
        assert_eq!(heal(&mut house, EVE, fill), (Ok(Status::Success), vec![1, 1]), "{fill}");
    }
    assert_eq!(heal(&mut house, EVE, 65).0, Ok(Status::Rate));
    // Its key is what the tickets made of it, and is right again for whoever is to bring the next ones.
    house.issue(coin(EVE), &key_of(14, coin(EVE)));
    assert_eq!(heal(&mut house, ADA, 120), (Ok(Status::Success), vec![1, 1]));
}

/// A node that was just started takes no nonce that may be from before.
#[test]
fn strict_and_compat_a_nonce_is_of_this_start() {
    for (profile, early) in [(Profile::Strict, Status::Rate), (COMPAT, Status::Success)] {
        let mut house = house(14, profile);
        let post = PostKey { id: KeyId([1; 16]), receiver: [0; 16], coin: coin(ADA).named(), key: b"k" };
        let post = post.write(0, [0; 128]).unwrap();
        let by = By::owner(14, ADA);
        for (now, expected) in [(NOW - 1_000, early), (NOW - 970, early), (NOW - 969, Status::Success)] {
            house.now = now;
            assert_eq!(house.call(Command::PostKey, &by, &post).status, Ok(expected), "{profile:?} {now}");
        }
        // Too old, too far ahead.
        let late = if profile.is_strict() { Status::Parameter } else { Status::Success };
        house.now = NOW;
        for (at, fill) in [(NOW - 301, 201), (NOW + 31, 202)] {
            let mut header = house.header(Command::PostKey, by.encryption());
            header.nonce = nonce(by.encryption(), at, fill);
            assert_eq!(house.call_as(header, &by, &post).status, Ok(late), "{profile:?} {at}");
        }
    }
}
