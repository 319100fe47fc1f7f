//! A RAIDA node: requests a second beside what hands everything back, with coins and keys in memory and ten times as many as there is room for,
//! while pages are written back, and a full store.

mod load;
mod node;

use std::io::Write;
use std::net::SocketAddr;
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
use undertone_raida::header::Encryption;
use undertone_raida::node::coins::{Blank, CoinOptions, Coins, Disk, Page, PageNumber, Record};
use undertone_raida::status::Status;
use undertone_raida::{legacy, ticket};

use self::load::{Ask, Order, ask, by_tcp, pace};
pub(crate) use self::node::{Behaves, bare, serve};
use crate::memory::Held;
use crate::process::Served;
use crate::table::Table;

/// Requests under way at once.
const OUTSTANDING: usize = 32;
/// Pages in memory, and coins of a working set that is ten times as large: one on each page.
const CACHE: usize = 1_000;
const COLD: u32 = 10_000;
/// Posted keys in memory, and those that there are.
const KEYS_CACHED: usize = 1_024;
const KEYS: u16 = 10_240;
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

/// A coin on each page that was issued; `beside`, one of the same page that was not.
fn coin(page: u32, beside: u32) -> Coin {
    let denomination = Denomination::all().nth(usize::try_from(page / 1_000).unwrap_or_default() % Denomination::COUNT);
    let serial = page % 1_000 * 1_024 + 7 + beside;
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
        let (_, place) = PageNumber::of(coin(u32::try_from(at)?, 0));
        let record = bytes.get_mut(place * 17..place * 17 + 17).context("a page is shorter than its records")?;
        record.copy_from_slice(&[&[0x42; 16][..], &[33]].concat());
        let path = number.path(&folder.join("Data"));
        std::fs::create_dir_all(path.parent().context("a page without a folder")?)?;
        std::fs::write(path, bytes)?;
    }
    Ok(())
}

fn id(number: u16) -> KeyId {
    let mut id = [5; 16];
    id[..2].copy_from_slice(&number.to_be_bytes());
    KeyId(id)
}

pub(crate) fn measure(table: &mut Table, seconds: u64) -> anyhow::Result<()> {
    let folder = undertone_testkit::Folder::new("raida-bench")?;
    store(folder.path(), COLD)?;
    // The node's own coin, whose key on the helper opens tickets.
    let own = coin(1, 0);
    for name in ["coins", "Keys"] {
        std::fs::create_dir_all(folder.join(name))?;
    }
    let keys = std::array::from_fn(|_| key());
    std::fs::write(folder.join("coins").join(format!("{own}.bin")), CoinFile::write(COIN_ID, &keys))?;
    for number in 0..KEYS {
        std::fs::write(folder.join("Keys").join(id(number).to_string()), [&[0; 5][..], &[9; 64]].concat())?;
    }
    let bare = Served::start("raida-bare", &[], &[], Some(0))?;
    let node = start(folder.path(), "compat", 1)?;
    compat(table, (node.address, bare.address), folder.path(), own, seconds)?;
    stall(table, node.address, own, seconds.max(5))?;
    drop(node);
    strict(table, bare.address, folder.path(), seconds)
}

fn start(folder: &Path, behaves: &str, write_back: u64) -> anyhow::Result<Served> {
    let folder = folder.display().to_string();
    Served::start("raida-node", &[&folder, behaves, &write_back.to_string()], &[], Some(0))
}

/// Every command in the clear, as the original was measured; the echo under type 4, as without a key it is nothing to do.
struct Commands {
    echo: Vec<Ask>,
    get: Vec<Ask>,
    post: Vec<Ask>,
    encrypt: Vec<Ask>,
    decrypt: Vec<Ask>,
}

impl Commands {
    /// Over so many pages and so many posted keys. An echo names the coin whose key it is under, which is on a page.
    fn over(pages: u32, keys: u16, own: Coin) -> anyhow::Result<Self> {
        let plain = |command, payload: &[u8], expected| ask(command, Encryption::None, payload, 0, expected);
        let get = |number| {
            let get = GetKey { id: id(number), sender: Coin::one(0).named(), address: [0; 16] };
            plain(Command::GetKey, &get.write(), Status::Success)
        };
        let post = |number| {
            let post = PostKey { id: id(number), receiver: [0; 16], coin: Coin::one(0).named(), key: &[9; 64] };
            plain(Command::PostKey, &post.write(0, [0; 128]).context("a post")?, Status::Success)
        };
        let encrypt = |page| {
            let ticket = EncryptKey::Ticket { target: coin(page, 0).named(), half: [1; 8] };
            plain(Command::EncryptKey, &ticket.write(), Status::Done)
        };
        let decrypt = |page| {
            let healed = coin(page, 1);
            let sealed = legacy::ticket(ticket::Form::Compat, &[3; 8], healed, &key(), &[0; 16], [0; 2]);
            let item = TicketItem { split: 0, helper: HELPER, coin: healed.named(), ticket: sealed };
            plain(Command::DecryptKey, &DecryptKey::write(own.named(), &[item]), Status::Success)
        };
        let echo = |page| ask(Command::Echo, Encryption::Tagged(coin(page, 0).named()), &[], 0, Status::Success);
        Ok(Self {
            echo: (0..pages).map(echo).collect::<anyhow::Result<_>>()?,
            get: (0..keys).map(get).collect::<anyhow::Result<_>>()?,
            post: (0..keys).map(post).collect::<anyhow::Result<_>>()?,
            encrypt: (0..pages).map(encrypt).collect::<anyhow::Result<_>>()?,
            decrypt: (0..pages).map(decrypt).collect::<anyhow::Result<_>>()?,
        })
    }
}

fn compat(
    table: &mut Table,
    (node, bare): (SocketAddr, SocketAddr),
    folder: &Path,
    own: Coin,
    seconds: u64,
) -> anyhow::Result<()> {
    let (hot, cold) = (Commands::over(1, 1, own)?, Commands::over(COLD, KEYS, own)?);
    // In memory from here on.
    for asks in [&hot.echo, &hot.get, &hot.encrypt] {
        pace(node, asks, 1, 1, Order::Random)?;
    }
    let bare_ask = hot.get.first().context("a request")?.handed_back();
    for outstanding in [1, OUTSTANDING] {
        let theirs = pace(bare, std::slice::from_ref(&bare_ask), outstanding, seconds, Order::Random)?;
        let peer = format!("a bare UDP echo, p99 {:.2} ms", theirs.p99_ms());
        for (what, asks, aim) in [
            ("echo, type 4", &hot.echo, None),
            ("get key", &hot.get, Some(AIM_GET)),
            ("encrypt key", &hot.encrypt, None),
        ] {
            let ours = pace(node, asks, outstanding, seconds, Order::Random)?;
            let what = format!("raida: {what}, UDP, hot, {outstanding} under way, p99 {:.2} ms", ours.p99_ms());
            table.rate(&what, ours.rate, theirs.rate, "a second", &peer, aim.filter(|_| outstanding == OUTSTANDING));
        }
    }
    // What waits for the disk: a file that is read, and one that is written and synced.
    let (read, synced) = (read_pages(folder, seconds)?, synced(folder, seconds)?);
    let (reading, writing) = ("a random page's file, opened and read", "one write and one sync after the other");
    for (what, asks, limit, peer) in [
        ("echo, type 4, of 10,000 pages", &cold.echo, read, reading),
        ("get key, of 10,240 keys", &cold.get, read, reading),
        ("encrypt key, of 10,000 pages", &cold.encrypt, read, reading),
        ("post key, the same again", &hot.post, synced, writing),
        ("post key, of 10,240 keys", &cold.post, synced, writing),
        ("decrypt key, the same again", &hot.decrypt, synced, writing),
        ("decrypt key, of 10,000 pages", &cold.decrypt, synced, writing),
    ] {
        let ours = pace(node, asks, OUTSTANDING, seconds, Order::Random)?;
        let what = format!("raida: {what}, UDP, {OUTSTANDING} under way, p99 {:.2} ms", ours.p99_ms());
        table.rate(&what, ours.rate, limit, "a second", peer, None);
    }
    tcp(table, (node, bare), (&hot, &cold), seconds)
}

/// Connections, a request each: one after the other, and many at once, of which each waits for the disk by itself.
fn tcp(
    table: &mut Table,
    (node, bare): (SocketAddr, SocketAddr),
    (hot, cold): (&Commands, &Commands),
    seconds: u64,
) -> anyhow::Result<()> {
    let bare_ask = [hot.get.first().context("a request")?.handed_back()];
    for (commands, outstanding, of) in
        [(hot, 1, "hot"), (hot, OUTSTANDING, "hot"), (cold, OUTSTANDING, "of ten times the cache")]
    {
        let theirs = by_tcp(bare, &bare_ask, outstanding, seconds)?;
        let peer = format!("a bare TCP echo, p99 {:.2} ms", theirs.p99_ms());
        for (what, asks) in [
            ("echo, type 4", &commands.echo),
            ("get key", &commands.get),
            ("post key", &commands.post),
            ("encrypt key", &commands.encrypt),
            ("decrypt key", &commands.decrypt),
        ] {
            let ours = by_tcp(node, asks, outstanding, seconds)?;
            let what = format!("raida: {what}, TCP, {of}, {outstanding} under way, p99 {:.2} ms", ours.p99_ms());
            table.rate(&what, ours.rate, theirs.rate, "a second", &peer, None);
        }
    }
    Ok(())
}

/// Others, while hundreds of pages are changed and written back every second: under the keys of coins on those very pages.
fn stall(table: &mut Table, node: SocketAddr, own: Coin, seconds: u64) -> anyhow::Result<()> {
    let pages = u32::try_from(CACHE)? / 2;
    let all = Commands::over(pages, 1, own)?;
    pace(node, &all.echo, OUTSTANDING, 1, Order::Random)?;
    let stop = Arc::new(AtomicBool::new(false));
    let (stopped, changing) = (Arc::clone(&stop), all.decrypt);
    let changes = std::thread::spawn(move || -> anyhow::Result<f64> {
        let mut rate = 0.0;
        while !stopped.load(Ordering::Relaxed) {
            rate = pace(node, &changing, 16, 1, Order::Random)?.rate;
        }
        Ok(rate)
    });
    let mut others = Vec::new();
    for (what, asks) in [("echo, type 4", &all.echo), ("get key", &all.get), ("encrypt key", &all.encrypt)] {
        others.push((what, pace(node, asks, 1, seconds, Order::Random)?));
    }
    stop.store(true, Ordering::Relaxed);
    let changed = changes.join().map_err(|_| anyhow::anyhow!("who changes coins has panicked"))??;
    for (what, others) in others {
        let what =
            format!("raida: {what}, on {pages} pages of which {changed:.0} a second are changed and written back, p99");
        table.limit(&what, others.p99_ms(), "ms", "what anybody should wait", AIM_STALL_MS);
    }
    Ok(())
}

/// Reads the files of random pages, one after another, as whoever looks for a coin has to.
fn read_pages(folder: &Path, seconds: u64) -> anyhow::Result<f64> {
    let (begun, mut done, data) = (Instant::now(), 0.0, folder.join("Data"));
    while begun.elapsed() < Duration::from_secs(seconds) {
        let page = UnwrapErr(SysRng).next_u32() % COLD;
        std::fs::read(PageNumber::of(coin(page, 0)).0.path(&data))?;
        done += 1.0;
    }
    Ok(done / begun.elapsed().as_secs_f64())
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

/// The profile that people have: encrypted and tagged; and what it holds when it remembers as many requests as it ever does.
fn strict(table: &mut Table, bare: SocketAddr, folder: &Path, seconds: u64) -> anyhow::Result<()> {
    let node = start(folder, "strict", 30)?;
    let by = Encryption::Tagged(coin(5, 0).named());
    let get = GetKey { id: id(1), sender: Coin::one(0).named(), address: [0; 16] };
    let get = vec![ask(Command::GetKey, by, &get.write(), 0, Status::Success)?];
    let echo = vec![ask(Command::Echo, by, &[], 0, Status::Success)?];
    let handed_back: Vec<Ask> = get.iter().map(Ask::handed_back).collect();
    pace(node.address, &get, 1, 1, Order::Random)?;
    for outstanding in [1, OUTSTANDING] {
        let theirs = pace(bare, &handed_back, outstanding, seconds, Order::Random)?;
        let peer = format!("a bare UDP echo, p99 {:.2} ms", theirs.p99_ms());
        for (what, asks) in [("echo", &echo), ("get key", &get)] {
            let ours = pace(node.address, asks, outstanding, seconds, Order::Random)?;
            let what =
                format!("raida: {what}, strict and tagged, {outstanding} under way, p99 {:.2} ms", ours.p99_ms());
            table.rate(&what, ours.rate, theirs.rate, "a second", &peer, None);
        }
    }
    // 65,536 requests of 64 coins, none of which is forgotten for five minutes; and every page was asked for.
    let wrapped = |page: u32, number: u64| {
        let named = coin(page, 0).named();
        let payload = EncryptKey::Wrapped { recipient: named }.write();
        ask(Command::EncryptKey, Encryption::Tagged(named), &payload, number, Status::Done)
    };
    let all = (0..65_536_u64).map(|n| wrapped(u32::try_from(n % 64)?, n)).collect::<anyhow::Result<Vec<_>>>()?;
    let taken = pace(node.address, &all, OUTSTANDING, 60, Order::Once)?;
    let echoes =
        (0..COLD).map(|page| ask(Command::Echo, Encryption::Tagged(coin(page, 0).named()), &[], 0, Status::Success));
    pace(node.address, &echoes.collect::<anyhow::Result<Vec<_>>>()?, OUTSTANDING, 30, Order::Once)?;
    let what = format!("raida: encrypt key, strict and tagged, each remembered, p99 {:.2} ms", taken.p99_ms());
    table.fact(&what, format!("{:.0} a second", taken.rate), "");
    let beside = Held::by(&node)?.private / 1_024.0 - cache_mib();
    let what = "raida: a serving node beside its cache, with all that it remembers and 10,240 keys";
    table.limit(what, beside, "MiB", "what a small machine has", AIM_BESIDE_MIB);
    Ok(())
}

fn cache_mib() -> f64 {
    #[expect(clippy::cast_precision_loss, reason = "a count of pages")]
    let cache = (CACHE * 1_024 * 17) as f64 / 1_048_576.0;
    cache
}

/// A store of 15,000 pages: how long it takes to start, and what it holds.
pub(crate) fn full(table: &mut Table) -> anyhow::Result<()> {
    let folder = undertone_testkit::Folder::new("raida-full")?;
    store(folder.path(), 15_000)?;
    let before = Held::of(std::process::id())?.private;
    let begun = Instant::now();
    let (coins, _) = Coins::open(&folder.join("Data"), options(), &mut UnwrapErr(SysRng), |_| ())?;
    let took = begun.elapsed().as_secs_f64();
    table.limit("raida: start with a full store of 261 MB", took, "s", "what an operator waits", AIM_START_S);
    let rng = &mut UnwrapErr(SysRng);
    for page in 0..15_000 {
        let _record: Record = coins.read(coin(page, 0), rng)?;
    }
    let beside = (Held::of(std::process::id())?.private - before) / 1_024.0 - cache_mib();
    table.limit(
        "raida: a store beside its cache, every page read",
        beside,
        "MiB",
        "what a small machine has",
        AIM_BESIDE_MIB,
    );
    Ok(())
}
