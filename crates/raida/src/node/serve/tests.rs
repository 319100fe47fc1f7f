use std::io::{Read, Write};
use std::net::TcpStream;
use std::num::NonZeroUsize;

use undertone_keys::testing::SeededRng;

use super::*;
use crate::coin::{Authenticity, Coin};
use crate::command::{Command, KeyId, PostKey};
use crate::frame::{self, FrameKey, ReplyStream};
use crate::header::{Encryption, NodeName, RequestHeader};
use crate::node::coins::{Blank, CoinOptions, Coins, Disk, Record};
use crate::node::testing::Folder;
use crate::node::{KeyOptions, Keys, NodeOptions, OwnCoins};
use crate::status::Status;

fn serving(folder: &Folder, options: ListenOptions) -> Serving {
    let rng = &mut SeededRng::new(1);
    let coins = CoinOptions { pages: NonZeroUsize::new(4).unwrap(), blank: Blank::Drawn, disk: Disk::new(false) };
    let (coins, _) = Coins::open(&folder.path().join("Data"), coins, rng, |_| ()).unwrap();
    coins.change(ada(), rng, |_| Some(Record { key: key(), changed: 3 })).unwrap();
    let keys = KeyOptions {
        shared: false,
        per_owner: 100,
        total: 100,
        life: None,
        one_shot: false,
        cached: NonZeroUsize::new(10).unwrap(),
    };
    let keys = Keys::open(&folder.path().join("Keys"), keys).unwrap();
    let own = OwnCoins::new(&folder.path().join("coins"), 6);
    let node = NodeOptions::new(NodeName { raida: 3, coin_id: 6 });
    Serving::start(Node::new(node, coins, keys, own, now() - 100), ([127, 0, 0, 1], 0).into(), options).unwrap()
}

fn ada() -> Coin {
    "01.7".parse().unwrap()
}

fn key() -> Authenticity {
    Authenticity::from_bytes(&[9; 16])
}

fn request(command: Command, nonce: u8, payload: &[u8]) -> (RequestHeader, Vec<u8>) {
    let (group, number) = command.number();
    let header = RequestHeader {
        version: 1,
        split: 0,
        raida: 3,
        shard: 0,
        group,
        command: number,
        coin_id: 6,
        // A strict node takes what changes something with a tag.
        encryption: Ok(if command.acts() {
            Encryption::Tagged(ada().named())
        } else {
            Encryption::Coin(ada().named())
        }),
        body: 0,
        nonce: timely(nonce),
        echo: [nonce; 2],
    };
    let bytes = frame::seal_request(header, &frame_key(&header), &frame::with_checksum([1; 12]), payload).unwrap();
    (RequestHeader::read(&bytes).unwrap().0, bytes)
}

fn frame_key(header: &RequestHeader) -> FrameKey {
    if header.encryption.is_ok_and(Encryption::is_tagged) {
        FrameKey::of_one(&key())
    } else {
        FrameKey::untagged(key())
    }
}

fn timely(fill: u8) -> [u8; 24] {
    let mut nonce = [fill; 24];
    nonce[..4].copy_from_slice(&u32::try_from(now()).unwrap().to_be_bytes());
    nonce
}

fn opened(header: &RequestHeader, reply: &[u8]) -> frame::Answer {
    let challenge = frame::with_checksum([1; 12]);
    frame::open_reply(header, &frame_key(header), &challenge, ReplyStream::Continue, reply).unwrap()
}

fn by_udp(serving: &Serving, bytes: &[u8]) -> Option<Vec<u8>> {
    let socket = UdpSocket::bind("127.0.0.1:0").unwrap();
    socket.set_read_timeout(Some(Duration::from_secs(5))).unwrap();
    socket.send_to(bytes, serving.address()).unwrap();
    let mut reply = vec![0; 2048];
    let length = socket.recv(&mut reply).ok()?;
    reply.truncate(length);
    Some(reply)
}

fn by_tcp(serving: &Serving, bytes: &[u8]) -> Vec<u8> {
    let mut stream = TcpStream::connect(serving.address()).unwrap();
    stream.write_all(bytes).unwrap();
    let mut reply = Vec::new();
    stream.read_to_end(&mut reply).unwrap();
    reply
}

fn post() -> Vec<u8> {
    let post = PostKey { id: KeyId([5; 16]), receiver: [0; 16], coin: ada().named(), key: b"a posted key" };
    post.write(0, [0; 128]).unwrap().to_vec()
}

#[test]
fn rkx_1_one_port_for_datagrams_and_connections() {
    let folder = Folder::new();
    let serving = serving(&folder, ListenOptions::default());
    let get = [[5; 16].as_slice(), &[0; 21]].concat();
    let (header, bytes) = request(Command::PostKey, 1, &post());
    assert_eq!(opened(&header, &by_udp(&serving, &bytes).unwrap()).status, Ok(Status::Success));
    let (header, bytes) = request(Command::GetKey, 2, &get);
    assert_eq!(&opened(&header, &by_tcp(&serving, &bytes)).payload[5..], b"a posted key");
    let (header, bytes) = request(Command::GetKey, 3, &get);
    assert_eq!(&opened(&header, &by_udp(&serving, &bytes).unwrap()).payload[5..], b"a posted key");
    // An error to a request that was sent whole, and more behind it: the answer is there.
    let (header, mut bytes) = request(Command::Echo, 4, &[]);
    bytes[0] = 9;
    bytes.extend_from_slice(&[0; 60_000]);
    assert_eq!(opened(&header, &by_tcp(&serving, &bytes)).status, Ok(Status::Version));
    assert_eq!(serving.served().datagrams.load(Ordering::Relaxed), 2);
    serving.stop().unwrap();
    // What was changed is in its page, and the journal is empty.
    assert!(page(&folder).windows(16).any(|bytes| bytes == [9; 16]));
    assert_eq!(journal(&folder), 0);
}

/// The page that Ada's coin is on; nothing where it was not written so far.
fn page(folder: &Folder) -> Vec<u8> {
    std::fs::read(folder.path().join("Data/01/00/0000.bin")).unwrap_or_default()
}

/// Bytes of what is not in the pages.
fn journal(folder: &Folder) -> u64 {
    let files = std::fs::read_dir(folder.path().join("Data")).unwrap().map(|file| file.unwrap());
    let logs = files.filter(|file| file.file_name().to_string_lossy().contains('-'));
    logs.map(|file| file.metadata().unwrap().len()).sum()
}

#[test]
fn rkx_4_changed_pages_are_written_back_every_so_often() {
    let folder = Folder::new();
    let write_back = Duration::from_millis(50);
    let serving = serving(&folder, ListenOptions { write_back, ..ListenOptions::default() });
    let within = |done: &dyn Fn() -> bool| {
        (0..600).any(|_| {
            done() || {
                thread::sleep(Duration::from_millis(20));
                false
            }
        })
    };
    assert!(within(&|| page(&folder).windows(16).any(|bytes| bytes == [9; 16]) && journal(&folder) == 0));
    let rng = &mut SeededRng::new(2);
    let other = || Record { key: Authenticity::from_bytes(&[8; 16]), changed: 4 };
    serving.node().coins().change(ada(), rng, |_| Some(other())).unwrap();
    assert!(within(&|| page(&folder).windows(16).any(|bytes| bytes == [8; 16]) && journal(&folder) == 0));
    // Dropping it ends its threads, and the journal has what the pages do not.
    serving.node().coins().change(ada(), rng, |_| Some(Record { key: key(), changed: 5 })).unwrap();
    drop(serving);
    let (coins, _) = Coins::open(
        &folder.path().join("Data"),
        CoinOptions { pages: NonZeroUsize::MIN, blank: Blank::Drawn, disk: Disk::new(false) },
        rng,
        |_| (),
    )
    .unwrap();
    assert_eq!(coins.read(ada(), rng).unwrap().changed, 5);
}

#[test]
fn rkx_1_who_is_slow_holds_up_nobody() {
    let folder = Folder::new();
    let patience = Duration::from_millis(300);
    let serving = serving(&folder, ListenOptions { connections: 2, patience, ..ListenOptions::default() });
    let (header, bytes) = request(Command::Echo, 1, &[]);
    let mut slow = TcpStream::connect(serving.address()).unwrap();
    slow.write_all(&bytes[..20]).unwrap();
    assert_eq!(opened(&header, &by_tcp(&serving, &bytes)).status, Ok(Status::Success));
    // One byte now and then does not buy time.
    let begun = std::time::Instant::now();
    let mut ended = false;
    for byte in &bytes[20..] {
        thread::sleep(Duration::from_millis(40));
        ended |= slow.write_all(&[*byte]).is_err() || begun.elapsed() > patience * 20;
        if ended {
            break;
        }
    }
    assert!(ended, "the connection was ended before its request was there");
    assert_eq!(serving.served().refused.load(Ordering::Relaxed), 1);
}

#[test]
fn rkx_1_where_all_places_are_taken_who_came_first_and_is_silent_gives_way() {
    let folder = Folder::new();
    let patience = Duration::from_secs(600);
    let serving = serving(&folder, ListenOptions { connections: 2, patience, ..ListenOptions::default() });
    let (header, bytes) = request(Command::Echo, 1, &[]);
    let slow = || {
        let mut slow = TcpStream::connect(serving.address()).unwrap();
        slow.write_all(&bytes[..20]).unwrap();
        slow
    };
    let (mut first, mut second) = (slow(), slow());
    assert_eq!(opened(&header, &by_tcp(&serving, &bytes)).status, Ok(Status::Success));
    assert_eq!(first.read(&mut [0; 1]).unwrap_or(0), 0, "it has come first");
    // The other has its answer when the rest of its request is there.
    second.write_all(&bytes[20..]).unwrap();
    second.shutdown(std::net::Shutdown::Write).unwrap();
    let mut reply = Vec::new();
    second.read_to_end(&mut reply).unwrap();
    assert_eq!(opened(&header, &reply).status, Ok(Status::Success));
}

#[test]
fn rkx_2_one_address_has_its_share_of_connections() {
    let folder = Folder::new();
    let serving = serving(&folder, ListenOptions { of_one_address: 1, ..ListenOptions::default() });
    let (header, bytes) = request(Command::Echo, 1, &[]);
    let mut first = TcpStream::connect(serving.address()).unwrap();
    first.write_all(&bytes[..20]).unwrap();
    while serving.served().refused.load(Ordering::Relaxed) == 0 {
        let mut second = TcpStream::connect(serving.address()).unwrap();
        let _ended = second.read(&mut [0; 1]);
    }
    first.write_all(&bytes[20..]).unwrap();
    first.shutdown(std::net::Shutdown::Write).unwrap();
    let mut answer = Vec::new();
    first.read_to_end(&mut answer).unwrap();
    assert_eq!(opened(&header, &answer).status, Ok(Status::Success));
    // It has gone, and there is room again.
    drop(first);
    let again = (0..100).find_map(|_| {
        let mut stream = TcpStream::connect(serving.address()).ok()?;
        stream.write_all(&bytes).ok()?;
        stream.shutdown(std::net::Shutdown::Write).ok()?;
        let mut answer = Vec::new();
        let answered = stream.read_to_end(&mut answer).is_ok_and(|length| length > 0);
        if !answered {
            thread::sleep(Duration::from_millis(20));
        }
        answered.then_some(answer)
    });
    assert_eq!(opened(&header, &again.unwrap()).status, Ok(Status::Success));
}

#[test]
fn rkx_1_malformed_datagrams_are_answered_with_silence_or_a_status() {
    let folder = Folder::new();
    let serving = serving(&folder, ListenOptions::default());
    let socket = UdpSocket::bind("127.0.0.1:0").unwrap();
    socket.set_read_timeout(Some(Duration::from_secs(5))).unwrap();
    let (_, echo) = request(Command::Echo, 1, &[]);
    for length in 0..32 {
        socket.send_to(&echo[..length], serving.address()).unwrap();
    }
    // A header that is refused, which might be another node's answer.
    let mut refused = echo.clone();
    refused[0] = 3;
    socket.send_to(&refused, serving.address()).unwrap();
    // Cut at the longest that is read, and so shorter than its header says.
    let mut long = echo.clone();
    long[22..24].copy_from_slice(&4_000_u16.to_be_bytes());
    long.resize(4_032, 0);
    socket.send_to(&long, serving.address()).unwrap();
    let mut reply = vec![0; 2048];
    let length = socket.recv(&mut reply).unwrap();
    assert_eq!((length, reply[2]), (32, Status::Length.to_byte()), "the first answer is to the last datagram");
}
