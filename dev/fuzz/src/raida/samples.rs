//! Good inputs, for the corpus.

use undertone_raida::coin_file::CoinFile;
use undertone_raida::command::{self, Command, DecryptKey, EncryptKey, GetKey, KeyId, PostKey, TicketItem};
use undertone_raida::frame::{self, FrameKey, ReplyStream};
use undertone_raida::header::Encryption;
use undertone_raida::legacy;

use super::{COIN_ID, RAIDA, coin, header, key};

/// One or more for each target: target, file, bytes.
pub(crate) fn good() -> Vec<(&'static str, &'static str, Vec<u8>)> {
    let challenge = frame::with_checksum([1; 12]);
    let post = PostKey { id: KeyId([1; 16]), receiver: [0; 16], coin: coin().named(), key: b"a key" };
    let post = post.write(3, [0; 128]).map(|payload| payload.to_vec()).unwrap_or_default();
    let get = GetKey { id: KeyId([1; 16]), sender: coin().named(), address: [0; 16] }.write();
    let encrypt = EncryptKey::Ticket { target: coin().named(), half: [5; 8] }.write().to_vec();
    let item = TicketItem { split: 0, helper: 5, coin: coin().named(), ticket: [6; 16] };
    let decrypt = DecryptKey::write(coin().named(), &[item, TicketItem { split: 1, helper: 6, ..item }]);
    let mut alert = Vec::new();
    let part = command::AlertPart {
        id: KeyId([1; 16]),
        address: [2; 16],
        port: 50_014,
        sender: coin().named(),
        receiver: coin().named(),
    };
    part.write(&mut alert);
    let mut good = Vec::new();
    for (kind, name, tagged, command, payload) in [
        (0, "post_key", "post_key_4", Command::PostKey, &post),
        (1, "get_key", "get_key_4", Command::GetKey, &get),
        (2, "encrypt_key", "encrypt_key_4", Command::EncryptKey, &encrypt),
        (3, "decrypt_key", "decrypt_key_4", Command::DecryptKey, &decrypt),
        (4, "key_alert", "key_alert_4", Command::KeyAlert, &alert),
    ] {
        good.push(("raida_request", name, [&[kind], payload.as_slice()].concat()));
        let sealed = |key: &FrameKey, encryption| {
            frame::seal_request(header(command, encryption), key, &challenge, payload).unwrap_or_default()
        };
        good.push(("raida_node", name, sealed(&FrameKey::None, Encryption::None)));
        good.push(("raida_node", tagged, sealed(&FrameKey::of_one(&key()), Encryption::Tagged(coin().named()))));
        if command == Command::GetKey {
            good.push(("raida_node", "get_key_1", sealed(&legacy::untagged(key()), Encryption::Coin(coin().named()))));
            let two = Encryption::TaggedByTwo(coin().named(), coin().named());
            good.push(("raida_node", "get_key_5", sealed(&FrameKey::of_two(&key(), &key()), two)));
        }
    }
    let asked = header(Command::GetKey, Encryption::Coin(coin().named()));
    let reply = frame::Reply {
        raida: RAIDA,
        status: undertone_raida::status::Status::Success,
        took: 7,
        challenge: Some(challenge),
        stream: ReplyStream::Continue,
        nonce: [0; 24],
    };
    let mut out = Vec::new();
    frame::seal_reply(&asked, &legacy::untagged(key()), &reply, b"12345a key", &mut out);
    good.push(("raida_reply", "get_key", out));
    // Beside a posted key: who posted it, and till when it is good.
    let owner = [&[1][..], &coin().named().to_bytes(), &1_795_737_700_u64.to_be_bytes()].concat();
    good.push(("raida_reply", "owner", owner));
    good.push(("raida_reply", "coin_file", CoinFile::write(COIN_ID, &std::array::from_fn(|_| key())).to_vec()));
    good
}
