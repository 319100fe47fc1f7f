//! A RAIDA node: requests a second beside a bare UDP echo, with coins in memory and on the disk, while pages are written back, and a full store.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream, UdpSocket};
use std::num::NonZeroUsize;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use anyhow::Context;
use getrandom::SysRng;
use rand_core::{Rng, UnwrapErr};
use undertone_raida::coin::{Authenticity, Coin, Denomination};
use undertone_raida::coin_file::CoinFile;
use undertone_raida::command::{Command, DecryptKey, EncryptKey, GetKey, KeyId, PostKey, TicketItem};
use undertone_raida::frame::{self, FrameKey, ReplyStream};
use undertone_raida::header::{Encryption, NodeName, RequestHeader};
use undertone_raida::node::coins::{Blank, CoinOptions, Coins, Disk, Page, PageNumber, Record};
use undertone_raida::node::serve::{ListenOptions, Serving};
use undertone_raida::node::{AddressLimit, KeyOptions, Keys, Node, NodeOptions, OwnCoins, Profile};
use undertone_raida::ticket;

use crate::histogram::Histogram;
use crate::memory::Held;
use crate::table::Table;

/// Requests under way at once.
const OUTSTANDING: usize = 32;
/// Pages in memory, and coins of a working set that is ten times as large: one on each page.
const CACHE: usize = 1_000;
const COLD: u32 = 10_000;
/// What a node is to do of what a bare echo does; the original, at its best, did 0.27.
const AIM_GET: f64 = 0.6;
/// How long anybody waits while pages are written back.
const AIM_STALL_MS: f64 = 10.0;
const AIM_START_S: f64 = 2.0;
/// What a node takes beside its cache.
const AIM_BESIDE_MIB: f64 = 32.0;
const COIN_ID: u16 = 6;
const RAIDA: u8 = 14;
const HELPER: u8 = 3;

fn coin(page: u32) -> Coin {
    let denomination = Denomination::all().nth(usize::try_from(page / 1_000).unwrap_or_default() % Denomination::COUNT);
    let serial = page % 1_000 * 1_024 + 7;
    denomination.and_then(|denomination| Coin::new(denomination, serial)).unwrap_or(Coin::one(1))
}

fn key() -> Authenticity {
    Authenticity::from_bytes(&[0x42; 16])
}

fn options() -> CoinOptions {
    let pages = NonZeroUsize::MIN.saturating_add(CACHE - 1);
    CoinOptions { pages, blank: Blank::Original, disk: Disk::new(false) }
}

/// A store with a coin on each of so many pages, written as files.
fn store(folder: &Path, pages: u32) -> anyhow::Result<()> {
    let rng = &mut UnwrapErr(SysRng);
    for (at, number) in PageNumber::all().enumerate().take(usize::try_from(pages)?) {
        let mut bytes = Page::blank(number, Blank::Original, rng).as_bytes().to_vec();
        let coin = coin(u32::try_from(at)?);
        let (_, place) = PageNumber::of(coin);
        let record = bytes.get_mut(place * 17..place * 17 + 17).context("a page is shorter than its records")?;
        record.copy_from_slice(&[&[0x42; 16][..], &[33]].concat());
        let path = number.path(&folder.join("Data"));
        std::fs::create_dir_all(path.parent().context("a page without a folder")?)?;
        std::fs::write(path, bytes)?;
    }
    Ok(())
}

fn serve(folder: &Path, profile: Profile, write_back: Duration) -> anyhow::Result<Serving> {
    let (coins, _) = Coins::open(&folder.join("Data"), options(), &mut UnwrapErr(SysRng), |_| ())?;
    let cached = NonZeroUsize::MIN.saturating_add(1_023);
    let keys = KeyOptions { shared: false, per_owner: 10_000, total: 100_000, life: None, one_shot: false, cached };
    let keys = Keys::open(&folder.join("Keys"), keys)?;
    let own = OwnCoins::new(&folder.join("coins"), COIN_ID);
    let addresses = AddressLimit { per_second: 0, burst: 0 };
    let node = NodeOptions { profile, addresses, ..NodeOptions::new(NodeName { raida: RAIDA, coin_id: COIN_ID }) };
    let listen = ListenOptions { readers: 1, workers: 2, connections: 256, write_back, ..ListenOptions::default() };
    let listen = ListenOptions { of_one_address: 256, ..listen };
    Ok(Serving::start(Node::new(node, coins, keys, own, 0), SocketAddr::from(([127, 0, 0, 1], 0)), listen)?)
}

/// A request, and where its two bytes of echo stand.
#[derive(Clone)]
struct Template {
    bytes: Vec<u8>,
    echo_at: usize,
    reply_echo_at: usize,
}

fn template(command: Command, encryption: Encryption, payload: &[u8]) -> anyhow::Result<Template> {
    let (group, number) = command.number();
    let wall = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH)?.as_secs();
    let mut nonce = [7; 24];
    nonce.iter_mut().zip(u32::try_from(wall)?.to_be_bytes()).for_each(|(to, from)| *to = from);
    let header = RequestHeader {
        version: 1,
        split: 0,
        raida: RAIDA,
        shard: 0,
        group,
        command: number,
        coin_id: COIN_ID,
        encryption: Ok(encryption),
        body: 0,
        nonce,
        echo: [0; 2],
    };
    let key = if encryption.is_tagged() { FrameKey::of_one(&key()) } else { FrameKey::None };
    let bytes = frame::seal_request(header, &key, &frame::with_checksum([1; 12]), payload).context("too long")?;
    let (echo_at, reply_echo_at) = if encryption.is_tagged() { (46, 46) } else { (30, 6) };
    Ok(Template { bytes, echo_at, reply_echo_at })
}

/// Requests a second, and how long they took.
struct Pace {
    rate: f64,
    times: Histogram,
}

/// Keeps so many requests under way for so long; `vary` makes the next one of the template.
fn pace(
    to: SocketAddr,
    template: &Template,
    outstanding: usize,
    seconds: u64,
    mut vary: impl FnMut(&mut [u8], u64),
) -> anyhow::Result<Pace> {
    let socket = UdpSocket::bind("127.0.0.1:0")?;
    socket.connect(to)?;
    socket.set_read_timeout(Some(Duration::from_millis(200)))?;
    let (mut sent_at, mut bytes) = (vec![Instant::now(); 65_536], template.bytes.clone());
    let (mut sent, mut done, mut times, mut reply) = (0_u64, 0_u64, Histogram::default(), [0; 2_048]);
    let begun = Instant::now();
    let mut send = |sent: &mut u64, sent_at: &mut Vec<Instant>| -> anyhow::Result<()> {
        let id = u16::try_from(*sent % 65_536)?;
        vary(&mut bytes, *sent);
        bytes.get_mut(template.echo_at..template.echo_at + 2).context("short")?.copy_from_slice(&id.to_be_bytes());
        *sent_at.get_mut(usize::from(id)).context("no place")? = Instant::now();
        socket.send(&bytes)?;
        *sent += 1;
        Ok(())
    };
    for _ in 0..outstanding {
        send(&mut sent, &mut sent_at)?;
    }
    while begun.elapsed() < Duration::from_secs(seconds) {
        // One that was dropped is not waited for: the queue of what waits for the disk is bounded.
        if let Ok(length) = socket.recv(&mut reply) {
            let at = template.reply_echo_at;
            let id = reply.get(at..at + 2).filter(|_| length >= 32).and_then(|id| id.first_chunk().copied());
            let id = u16::from_be_bytes(id.context("a short reply")?);
            times.add(sent_at.get(usize::from(id)).context("no place")?.elapsed());
            done += 1;
        }
        send(&mut sent, &mut sent_at)?;
    }
    #[expect(clippy::cast_precision_loss, reason = "a count")]
    let rate = done as f64 / begun.elapsed().as_secs_f64();
    Ok(Pace { rate, times })
}

/// What hands every datagram back.
struct Bare {
    address: SocketAddr,
    stop: Arc<AtomicBool>,
}

impl Bare {
    fn start() -> anyhow::Result<Self> {
        let socket = UdpSocket::bind("127.0.0.1:0")?;
        socket.set_read_timeout(Some(Duration::from_millis(100)))?;
        let (address, stop) = (socket.local_addr()?, Arc::new(AtomicBool::new(false)));
        let stopped = Arc::clone(&stop);
        std::thread::spawn(move || {
            let mut bytes = [0; 2_048];
            while !stopped.load(Ordering::Relaxed) {
                if let Ok((length, from)) = socket.recv_from(&mut bytes) {
                    let _sent = socket.send_to(bytes.get(..length).unwrap_or_default(), from);
                }
            }
        });
        Ok(Self { address, stop })
    }
}

impl Drop for Bare {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
    }
}

/// Connections a second: one request and one answer each, one after the other.
fn by_tcp(to: SocketAddr, template: &Template, seconds: u64) -> anyhow::Result<f64> {
    let (begun, mut done) = (Instant::now(), 0.0);
    while begun.elapsed() < Duration::from_secs(seconds) {
        let mut stream = TcpStream::connect(to)?;
        stream.write_all(&template.bytes)?;
        stream.shutdown(std::net::Shutdown::Write)?;
        let mut answer = Vec::new();
        stream.read_to_end(&mut answer)?;
        done += 1.0;
    }
    Ok(done / begun.elapsed().as_secs_f64())
}

/// A server that hands back what a connection says, a thread for each.
fn bare_tcp() -> anyhow::Result<SocketAddr> {
    let listener = TcpListener::bind("127.0.0.1:0")?;
    let address = listener.local_addr()?;
    std::thread::spawn(move || {
        for stream in listener.incoming() {
            let Ok(mut stream) = stream else { return };
            std::thread::spawn(move || {
                let mut bytes = Vec::new();
                let _answered = stream.read_to_end(&mut bytes).and_then(|_| stream.write_all(&bytes));
            });
        }
    });
    Ok(address)
}

fn ms(times: &Histogram, permille: u64) -> f64 {
    #[expect(clippy::cast_precision_loss, reason = "microseconds")]
    let us = times.quantile_us(permille) as f64;
    us / 1_000.0
}

pub(crate) fn measure(table: &mut Table, seconds: u64) -> anyhow::Result<()> {
    let folder = undertone_testkit::Folder::new("raida-bench")?;
    store(folder.path(), COLD)?;
    // The node's own coin, whose key on the helper opens tickets.
    let own = coin(1);
    std::fs::create_dir_all(folder.join("coins"))?;
    let keys = std::array::from_fn(|_| key());
    std::fs::write(folder.join("coins").join(format!("{own}.bin")), CoinFile::write(COIN_ID, &keys))?;
    udp(table, folder.path(), own, seconds)?;
    strict(table, folder.path(), seconds)?;
    full(table)
}

fn udp(table: &mut Table, folder: &Path, own: Coin, seconds: u64) -> anyhow::Result<()> {
    let compat = Profile::Compat(ReplyStream::Continue);
    let serving = serve(folder, compat, Duration::from_secs(1))?;
    let (to, bare) = (serving.address(), Bare::start()?);
    let id = KeyId([5; 16]);
    let post = PostKey { id, receiver: [0; 16], coin: Coin::one(0).named(), key: &[9; 64] };
    let post = template(Command::PostKey, Encryption::None, &post.write(0, [0; 128]).context("a post")?)?;
    let get = GetKey { id, sender: Coin::one(0).named(), address: [0; 16] };
    let get = template(Command::GetKey, Encryption::None, &get.write())?;
    let echo = template(Command::Echo, Encryption::None, &[])?;
    let hot = EncryptKey::Ticket { target: coin(0).named(), half: [1; 8] };
    let hot = template(Command::EncryptKey, Encryption::None, &hot.write())?;
    let sealed = ticket::seal(ticket::Form::Compat, &[3; 8], coin(2), &key(), &[0; 16], [0; 2]);
    let item = TicketItem { split: 0, helper: HELPER, coin: coin(2).named(), ticket: sealed };
    let heal = template(Command::DecryptKey, Encryption::None, &DecryptKey::write(own.named(), &[item]))?;
    // Where 44's first coin stands in the datagram.
    let name_at = 32 + frame::CHALLENGE;
    let random = |bytes: &mut [u8], _| {
        let page = UnwrapErr(SysRng).next_u32() % COLD;
        if let Some(name) = bytes.get_mut(name_at..name_at + 5) {
            name.copy_from_slice(&coin(page).named().to_bytes());
        }
    };
    let same = |_: &mut [u8], _| ();
    pace(to, &post, 1, 1, same)?;
    for outstanding in [1, OUTSTANDING] {
        let bare_template = Template { reply_echo_at: get.echo_at, ..get.clone() };
        let theirs = pace(bare.address, &bare_template, outstanding, seconds, same)?;
        let peer = format!("a bare UDP echo, p99 {:.2} ms", ms(&theirs.times, 990));
        for (what, request, aim) in
            [("echo", &echo, None), ("get key, hot", &get, Some(AIM_GET)), ("encrypt key, hot", &hot, None)]
        {
            let ours = pace(to, request, outstanding, seconds, same)?;
            let what = format!("raida: {what}, {outstanding} under way, p99 {:.2} ms", ms(&ours.times, 990));
            let aim = aim.filter(|_| outstanding == OUTSTANDING);
            table.rate(&what, ours.rate, theirs.rate, "a second", &peer, aim);
        }
        let ours = pace(to, &hot, outstanding, seconds, random)?;
        let what = format!("raida: encrypt key, {COLD} pages, {CACHE} in memory, {outstanding} under way");
        let what = format!("{what}, p99 {:.2} ms", ms(&ours.times, 990));
        table.rate(&what, ours.rate, theirs.rate, "a second", &peer, None);
    }
    // What waits for the disk, beside a file that is written and synced.
    let synced = synced(folder, seconds)?;
    for (what, request) in [("post key", &post), ("decrypt key", &heal)] {
        let ours = pace(to, request, OUTSTANDING, seconds, same)?;
        let what = format!("raida: {what}, p99 {:.2} ms", ms(&ours.times, 990));
        table.rate(&what, ours.rate, synced, "a second", "one write and one sync after the other", None);
    }
    // Others, while coins are changed and pages are written back every second.
    let stop = Arc::new(AtomicBool::new(false));
    let (stopped, changing) = (Arc::clone(&stop), heal.clone());
    let changes = std::thread::spawn(move || {
        while !stopped.load(Ordering::Relaxed) {
            if pace(to, &changing, 4, 1, |_, _| ()).is_err() {
                return;
            }
        }
    });
    let others = pace(to, &get, 1, seconds.max(3), same)?;
    stop.store(true, Ordering::Relaxed);
    let _ended = changes.join();
    let what = "raida: get key while coins change and pages are written back, p99";
    table.limit(what, ms(&others.times, 990), "ms", "what anybody should wait", AIM_STALL_MS);
    let bare = bare_tcp()?;
    let (ours, theirs) = (by_tcp(to, &get, seconds)?, by_tcp(bare, &get, seconds)?);
    table.rate("raida: get key, TCP", ours, theirs, "a second", "a bare TCP echo", None);
    serving.stop()?;
    Ok(())
}

/// Writes and syncs a file, one time after another.
fn synced(folder: &Path, seconds: u64) -> anyhow::Result<f64> {
    let mut file = std::fs::File::create(folder.join("synced"))?;
    let (begun, mut done) = (Instant::now(), 0.0);
    while begun.elapsed() < Duration::from_secs(seconds) {
        file.write_all(&[0; 64])?;
        file.sync_data()?;
        done += 1.0;
    }
    Ok(done / begun.elapsed().as_secs_f64())
}

fn strict(table: &mut Table, folder: &Path, seconds: u64) -> anyhow::Result<()> {
    let serving = serve(folder, Profile::Strict, Duration::from_secs(30))?;
    let (to, bare) = (serving.address(), Bare::start()?);
    let by = Encryption::Tagged(coin(5).named());
    let id = KeyId([6; 16]);
    let post = PostKey { id, receiver: [0; 16], coin: coin(5).named(), key: &[9; 64] };
    let post = template(Command::PostKey, by, &post.write(0, [0; 128]).context("a post")?)?;
    pace(to, &post, 1, 1, |_, _| ())?;
    let get = GetKey { id, sender: Coin::one(0).named(), address: [0; 16] };
    let get = template(Command::GetKey, by, &get.write())?;
    let theirs = pace(bare.address, &get, OUTSTANDING, seconds, |_, _| ())?;
    let ours = pace(to, &get, OUTSTANDING, seconds, |_, _| ())?;
    let what = format!("raida: get key, strict, encrypted and tagged, p99 {:.2} ms", ms(&ours.times, 990));
    table.rate(&what, ours.rate, theirs.rate, "a second", "a bare UDP echo", None);
    serving.stop()?;
    Ok(())
}

/// A store of 15,000 pages: how long it takes to start, and what it holds.
fn full(table: &mut Table) -> anyhow::Result<()> {
    let folder = undertone_testkit::Folder::new("raida-full")?;
    store(folder.path(), 15_000)?;
    let before = Held::of(std::process::id())?.private;
    let begun = Instant::now();
    let (coins, _) = Coins::open(&folder.join("Data"), options(), &mut UnwrapErr(SysRng), |_| ())?;
    let took = begun.elapsed().as_secs_f64();
    table.limit("raida: start with a full store of 261 MB", took, "s", "what an operator waits", AIM_START_S);
    let rng = &mut UnwrapErr(SysRng);
    for page in 0..15_000 {
        let _record: Record = coins.read(coin(page), rng)?;
    }
    let held = Held::of(std::process::id())?.private - before;
    #[expect(clippy::cast_precision_loss, reason = "a count of pages")]
    let cache = (CACHE * 1_024 * 17) as f64 / 1_048_576.0;
    let beside = held / 1_024.0 - cache;
    table.limit(
        "raida: memory beside the cache, every page read",
        beside,
        "MiB",
        "what a small machine has",
        AIM_BESIDE_MIB,
    );
    Ok(())
}
