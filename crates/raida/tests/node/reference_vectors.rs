//! Frames to the byte. Those whose key is given were computed with another implementation (openssl) and seen to be understood by a server
//! of the original; the hash of a challenge, the checksum and the echo's challenge are published ones.

use undertone_raida::coin::Authenticity;
use undertone_raida::command::{Command, KeyId, PostKey, StoredKey};
use undertone_raida::frame::{self, FrameKey, ReplyStream};
use undertone_raida::node::Profile;
use undertone_raida::status::Status;
use undertone_raida::{legacy, ticket};

use crate::house::{By, COMPAT, House, coin, hex};

const KEY: &str = "66689ef5bde040479416b4f6d9576172";
const CHALLENGE: &str = "000102030405060708090a0b9270c965";

fn key() -> Authenticity {
    Authenticity::from_bytes(hex(KEY).as_slice().try_into().unwrap())
}

/// Node 14 with the coin 01.5123 and its file of 25 equal keys.
fn house(profile: Profile) -> House {
    let mut house = House::new(14, profile);
    house.issue(coin("01.5123"), &key());
    house.own(coin("01.5123"), |_| key());
    house
}

/// Header of group 4 with a command, a coin's or no encryption, and the length of the body.
fn header(command: u8, code: u8, length: u8) -> Vec<u8> {
    let group = if command == 0 { 0 } else { 4 };
    let by = if code == 0 { "0000000000" } else { "0100001403" };
    hex(&format!("01000e00{group:02x}{command:02x}0006010000000000 0001{code:02x}{by}00{length:02x}a1b2c3d4e5f61234"))
}

#[test]
fn rkx_1_reference_vectors_of_the_challenge() {
    assert_eq!(frame::with_checksum(*hex(CHALLENGE).first_chunk().unwrap()).as_slice(), hex(CHALLENGE));
    // "Hello World!" has the checksum that is published; the published ones of twelve zeros and twelve ff are wrong.
    for (text, checksum) in [
        ("48656c6c6f20576f726c6421", "1c291ca3"),
        ("000000000000000000000000", "7bd5c66f"),
        ("ffffffffffffffffffffffff", "bb99ff8a"),
    ] {
        assert_eq!(frame::with_checksum(hex(text).as_slice().try_into().unwrap())[12..], hex(checksum));
    }
}

#[test]
fn rkx_1_reference_vectors_of_the_published_hash() {
    // Its challenge has not the checksum of its first twelve bytes, so what is answered is that, and the hash all the same.
    let (challenge, hash) = (hex("eb159806b4024f65af86dc25edbe3a1d"), hex("8d7d06f309e20f223b9068d334e95b6f"));
    let mut house = house(COMPAT);
    let by = By::Coin(coin("01.5123"), key());
    let asked = house.header(Command::Echo, by.encryption());
    let request = frame::seal_request(asked, &by.key(), challenge.first_chunk().unwrap(), &[]).unwrap();
    let reply = house.ask(&request).unwrap();
    assert_eq!((reply[2], &reply[16..]), (Status::Crc.to_byte(), hash.as_slice()));
}

#[test]
fn rkx_1_reference_vectors_of_echoes() {
    let mut house = house(COMPAT);
    let plain = hex(&format!("01000e000000000601000000000000010000000000000012 0000000000001234{CHALLENGE}3e3e"));
    let reply = house.ask(&plain).unwrap();
    assert_eq!(reply[..12], hex("0e00fa00 0001 1234 00 000000"));
    assert_eq!(reply[16..], hex(CHALLENGE));
    let under_a_key =
        hex("01000e000000000601000000000000010101000014030012a1b2c3d4e5f61234 3a5f93c0abc82ace98e0e3d540fe3559 3e3e");
    let reply = house.ask(&under_a_key).unwrap();
    assert_eq!(reply[..12], hex("0e00fa00 0001 1234 00 000000"));
    assert_eq!(reply[16..], hex("66699cf6b9e546409c1fbefd4b27a817"));
    // What is behind a body is nobody's business.
    assert_eq!(house.ask(&[under_a_key.as_slice(), &[7; 40]].concat()).unwrap()[2], 250);
    // Our own client makes the same bytes.
    let mut header = undertone_raida::header::RequestHeader::read(&under_a_key).unwrap().0;
    header.body = 0;
    let challenge = hex(CHALLENGE).as_slice().try_into().unwrap();
    assert_eq!(frame::seal_request(header, &legacy::untagged(key()), &challenge, &[]).unwrap(), under_a_key);
}

#[test]
fn rkx_1_reference_vectors_of_post_and_get() {
    let mut house = house(COMPAT);
    let mut space = [0; 128];
    for (i, byte) in space.iter_mut().enumerate() {
        *byte = u8::try_from((7 * i + 3) & 255).unwrap();
    }
    let id = hex("101112131415161718191a1b1c1d1e1f");
    let mut body = hex(CHALLENGE);
    body.extend_from_slice(&id);
    body.extend_from_slice(&hex("0000000000000000000000000a000007 0100001403"));
    body.extend_from_slice(&space);
    body.extend_from_slice(&hex("1308 3e3e"));
    let post = [header(41, 0, 185), body].concat();
    let reply = house.ask(&post).unwrap();
    assert_eq!((reply.len(), reply[2]), (32, 250));
    let stored = hex("0100001403888f969da4abb2b9");
    let file = house.folder().join("Keys/101112131415161718191a1b1c1d1e1f");
    assert_eq!(std::fs::read(file).unwrap(), stored);
    let get = [header(43, 0, 55), hex(CHALLENGE), id.clone(), vec![0; 21], hex("3e3e")].concat();
    let reply = house.ask(&get).unwrap();
    assert_eq!(reply[..12], hex("0e00fa04 0001 1234 00 00000f"));
    assert_eq!(reply[32..], [stored.as_slice(), &hex("3e3e")].concat());
    assert_eq!(StoredKey::read(&stored).unwrap().key, &stored[5..]);
    // The payload that our own client writes is the same.
    let key = &space[0x13..0x13 + 8];
    let receiver = hex("0000000000000000000000000a000007").as_slice().try_into().unwrap();
    let ours = PostKey { id: KeyId(id.as_slice().try_into().unwrap()), receiver, coin: coin("01.5123").named(), key };
    assert_eq!(ours.write(0x13, space).unwrap().as_slice(), &post[48..48 + 167]);
}

#[test]
fn rkx_1_reference_vectors_of_the_replys_keystream() {
    // Seen on the wire of the original: one build restarts, one goes on.
    let id = hex("101112131415161718191a1b1c1d1e1f");
    for (stream, seen) in
        [(ReplyStream::Restart, "3b5e91d7ac45a35f0d4d426c6b"), (ReplyStream::Continue, "53a59178b21bd9d7bb303891ea")]
    {
        let mut house = house(Profile::Compat(stream));
        let file = house.folder().join("Keys");
        std::fs::write(file.join("101112131415161718191a1b1c1d1e1f"), hex("0100001403888f969da4abb2b9")).unwrap();
        // The folder is read at the start.
        let keys = house.node.keys();
        keys.post(
            KeyId(id.as_slice().try_into().unwrap()),
            Default::default(),
            true,
            &hex("0100001403888f969da4abb2b9"),
            0,
        )
        .unwrap();
        let header = undertone_raida::header::RequestHeader::read(&header(43, 1, 0)).unwrap().0;
        let challenge = hex(CHALLENGE).as_slice().try_into().unwrap();
        let payload = [id.as_slice(), &[0; 21]].concat();
        let get = frame::seal_request(header, &legacy::untagged(key()), &challenge, &payload).unwrap();
        let reply = house.ask(&get).unwrap();
        assert_eq!(reply[16..32], hex("66699cf6b9e546409c1fbefd4b27a817"));
        assert_eq!(reply[32..], hex(&format!("{seen}3e3e")), "{stream:?}");
    }
}

#[test]
fn rkx_1_reference_vectors_of_tickets() {
    let half = hex("be4cdfae29887c11").as_slice().try_into().unwrap();
    let ticket = |iv: &[u8; 16]| legacy::ticket(ticket::Form::Compat, &half, coin("01.5123"), &key(), iv, [0xab, 0xcd]);
    assert_eq!(ticket(&[0; 16]).as_slice(), hex("0414e1a21dc70194c84c4ce611ce7e9b"));
    let nonce = hex("a1b2c3d4e5f612340000000000000000").as_slice().try_into().unwrap();
    assert_eq!(ticket(&nonce).as_slice(), hex("84124e6d864550d891e9e9cad12531c3"));
    // The seed's wrapping.
    let wrapped: [u8; 16] = hex("404142434445464748494a4b4c4d4e4f").as_slice().try_into().unwrap();
    assert_eq!(legacy::wrap(&wrapped, &key()).as_slice(), hex("2629dcb6f9a50600dc5ffebd951a2f3d"));

    let mut house = house(COMPAT);
    let ask = [header(44, 0, 31), hex(CHALLENGE), hex("0100001403 be4cdfae29887c11 3e3e")].concat();
    let reply = house.ask(&ask).unwrap();
    assert_eq!(reply[..12], hex("0e000004 0001 1234 00 000012"));
    // All but the two that are drawn.
    assert_eq!(reply[32..45], hex("0414e1a21dc70194c84c4ce611ce7e9b")[..13]);
    assert_eq!(reply[47..], hex("9b3e3e"));
    // And what the original never managed: the ticket is opened, and half a key is another.
    let heal = [
        header(45, 0, 49),
        hex(CHALLENGE),
        hex("0100001403 0006 00 05 00 01 00001403 0414e1a21dc70194c84c4ce611ce7e9b 3e3e"),
    ];
    let reply = house.ask(&heal.concat()).unwrap();
    assert_eq!(
        (&reply[..4], &reply[9..12], &reply[32..]),
        (&hex("0e00fa04")[..], &hex("000003")[..], &hex("013e3e")[..])
    );
    let (key, changed) = house.record(coin("01.5123"));
    assert_eq!((key, changed), ([&hex("be4cdfae29887c11"), &hex(KEY)[8..]].concat(), 45));
}

#[test]
fn rkx_1_reference_vectors_of_type_4() {
    // SHA-256 of the key, and what "abc" becomes under it.
    let mut house = house(COMPAT);
    let by = By::Tagged(coin("01.5123"), key());
    let FrameKey::Hash(hash) = by.key() else { panic!("type 4 has a hash") };
    assert_eq!(hash.as_slice(), hex("b4f8dd451d23fac3754bebcaac4ebea35f7f72cbb685fa8bc8858651e46eac01"));
    let mut header = house.header(Command::Echo, by.encryption());
    for (i, byte) in header.nonce.iter_mut().enumerate() {
        *byte = 0x80 + u8::try_from(i).unwrap();
    }
    header.echo = [0x96, 0x97];
    let sealed = frame::seal_request(header, &by.key(), &[0; 16], b"abc").unwrap();
    assert_eq!(sealed[48..51], hex("f3ae5b"));
    assert_eq!(sealed[51..], hex("7982d42d3a0fcc7a05e55aa9e849ee148dc234b63e77876a2138feeae6ad24b93e3e"));
    let reply = house.ask(&sealed).unwrap();
    assert_eq!(
        (reply.len(), reply[2], &reply[16..24], &reply[46..]),
        (48, 250, &hex("0401000014030000")[..], &hex("9697")[..])
    );
    let answer = house.call(Command::EncryptKey, &by, &hex("0100001403"));
    assert_eq!((answer.status, answer.payload.len(), answer.proven), (Ok(Status::Done), 16, true));
}

#[test]
fn rkx_1_every_type_goes_there_and_back() {
    for profile in [COMPAT, Profile::Compat(ReplyStream::Continue), Profile::Strict] {
        let mut house = house(profile);
        let other = coin("f8.77");
        house.issue(other, &Authenticity::from_bytes(&[3; 16]));
        let mut locker = [0xff; 16];
        locker[..5].copy_from_slice(b"lock!");
        house.issue(coin("06.9"), &Authenticity::from_bytes(&locker));
        for by in [
            By::Nobody,
            By::Coin(coin("01.5123"), key()),
            By::Locker(Authenticity::from_bytes(&locker)),
            By::Tagged(coin("01.5123"), key()),
            By::Two(coin("01.5123"), key(), other, Authenticity::from_bytes(&[3; 16])),
        ] {
            if profile.is_strict() && matches!(by, By::Locker(_)) {
                // Too little of such a key is secret.
                assert_eq!(house.call(Command::Echo, &by, &[]).status, Ok(Status::Encryption));
                continue;
            }
            let echo = house.call(Command::Echo, &by, &[]);
            assert_eq!((echo.status, echo.payload.len()), (Ok(Status::Success), 0));
            let id = KeyId([9; 16]);
            house.node.keys().post(id, Default::default(), true, b"\0\0\0\0\0a key", 0).unwrap();
            let get = [id.0.as_slice(), &[0; 21]].concat();
            let answer = house.call(Command::GetKey, &by, &get);
            assert_eq!(
                (answer.status, answer.payload.as_slice()),
                (Ok(Status::Success), b"\0\0\0\0\0a key".as_slice())
            );
            assert_eq!(answer.proven, !matches!(by, By::Nobody));
        }
    }
}
