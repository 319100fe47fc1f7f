//! The store beside a plain map: random operations, a cache that is too small, power that fails at any write, also while the store is
//! being mended.

use std::collections::BTreeMap;
use std::num::NonZeroUsize;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicI64, Ordering};
use std::time::Duration;

use rand_core::Rng;
use undertone_keys::testing::SeededRng;

use super::unsynced::Unsynced;
use super::*;
use crate::coin::Authenticity;
use crate::node::testing::Folder;

const FOREVER: i64 = i64::MAX / 2;

/// What a disk has of the current: operations until it fails, and what would be gone then.
#[derive(Clone)]
struct Power {
    fuse: Arc<AtomicI64>,
    unsynced: Unsynced,
}

impl Power {
    fn forever() -> Self {
        Self { fuse: Arc::new(AtomicI64::new(FOREVER)), unsynced: Unsynced::default() }
    }

    fn fails_after(&self, operations: i64) {
        self.fuse.store(operations, Ordering::SeqCst);
    }

    fn is_back(&self) {
        self.fuse.store(FOREVER, Ordering::SeqCst);
    }

    fn left(&self) -> i64 {
        self.fuse.load(Ordering::SeqCst)
    }
}

fn options(pages: usize, power: &Power) -> CoinOptions {
    let mut disk = Disk::new(false);
    (disk.fuse, disk.unsynced) = (Some(Arc::clone(&power.fuse)), Some(power.unsynced.clone()));
    CoinOptions { pages: NonZeroUsize::new(pages).unwrap(), blank: Blank::Drawn, disk }
}

fn open(data: &Path, pages: usize, power: &Power, rng: &mut SeededRng) -> Result<Coins, StoreError> {
    Coins::open(data, options(pages, power), rng, |_| ()).map(|(coins, _)| coins)
}

/// One of forty coins on eight pages of three denominations.
fn any_coin(rng: &mut SeededRng) -> Coin {
    let [a, b, ..] = rng.next_u64().to_le_bytes();
    let denomination = Denomination::new([-8, 1, 6][usize::from(a % 3)]).unwrap();
    let serial = [0, 1, 1023, 1024, 5000, 999 * 1024 + 1023][usize::from(b) % 6] + u32::from(a / 128);
    Coin::new(denomination, serial.min(1_023_999)).unwrap()
}

fn any_record(rng: &mut SeededRng) -> [u8; RECORD] {
    let mut bytes = [0; RECORD];
    rng.fill_bytes(&mut bytes);
    bytes[16] %= 4;
    bytes
}

#[derive(Default)]
struct Model {
    /// What every restart has to show.
    lasting: BTreeMap<Coin, [u8; RECORD]>,
    /// What was written since, oldest first: each of them may be what a restart shows.
    since: BTreeMap<Coin, Vec<[u8; RECORD]>>,
}

impl Model {
    fn now(&self, coin: Coin) -> Option<[u8; RECORD]> {
        let last = self.since.get(&coin).and_then(|all| all.last());
        last.or_else(|| self.lasting.get(&coin)).copied()
    }

    fn committed(&mut self) {
        for (coin, mut all) in std::mem::take(&mut self.since) {
            self.lasting.extend(all.pop().map(|last| (coin, last)));
        }
    }

    /// The store was opened again: what it shows is what it shows from now on.
    fn compare(&mut self, coins: &Coins, rng: &mut SeededRng) {
        let known: Vec<_> = self.lasting.keys().chain(self.since.keys()).copied().collect();
        for coin in known {
            let shown = coins.read(coin, rng).unwrap();
            let bytes = shown.to_bytes();
            let lasting = self.lasting.get(&coin);
            let may = self.since.get(&coin).is_some_and(|all| all.contains(&bytes));
            // A coin that was never committed may be free still, with a key that nobody knows.
            let untouched = lasting.is_none() && !shown.is_used();
            assert!(lasting == Some(&bytes) || may || untouched, "{coin} has lost what was written");
            assert_eq!(coins.bitmap().is_used(coin), shown.is_used());
            if !untouched {
                self.lasting.insert(coin, bytes);
            }
        }
        self.since.clear();
    }
}

/// Opens the store until nothing fails, with less and less to fail.
fn restart(data: &Path, pages: usize, power: &Power, rng: &mut SeededRng) -> Coins {
    for _ in 0..3 {
        power.unsynced.lose().unwrap();
        power.fails_after(i64::from(rng.next_u32() % 12));
        if let Ok(coins) = open(data, pages, power, rng)
            && power.left() > 0
        {
            power.is_back();
            return coins;
        }
    }
    power.unsynced.lose().unwrap();
    power.is_back();
    open(data, pages, power, rng).unwrap()
}

fn play(seed: u64, steps: u32) -> u32 {
    let mut rng = SeededRng::new(seed);
    let folder = Folder::new();
    let data = folder.path().join("Data");
    let power = Power::forever();
    let pages = 1 + usize::try_from(seed % 5).unwrap();
    let mut coins = open(&data, pages, &power, &mut rng).unwrap();
    let mut model = Model::default();
    let mut crashes = 0;
    for _ in 0..steps {
        let failed = match rng.next_u32() % 16 {
            0 => coins.flush().is_err(),
            1 | 2 => match coins.commit() {
                Ok(()) => {
                    model.committed();
                    false
                }
                Err(_) => true,
            },
            3 => {
                // The power fails some writes from now.
                power.fails_after(i64::from(rng.next_u32() % 24));
                false
            }
            4 if power.left() > 1000 => {
                drop(coins);
                coins = open(&data, pages, &power, &mut rng).unwrap();
                model.compare(&coins, &mut rng);
                false
            }
            5..8 => {
                let coin = any_coin(&mut rng);
                let shown = coins.read(coin, &mut rng).unwrap();
                match model.now(coin) {
                    Some(expected) => assert_eq!(shown.to_bytes(), expected, "{coin}"),
                    None => assert!(!shown.is_used()),
                }
                assert_eq!(coins.bitmap().is_used(coin), shown.is_used());
                false
            }
            _ => {
                let (coin, bytes) = (any_coin(&mut rng), any_record(&mut rng));
                model.since.entry(coin).or_default().push(bytes);
                let changed = coins.change(coin, &mut rng, |_| Some(Record::from_bytes(&bytes)));
                if changed.is_ok() {
                    assert_eq!(coins.read(coin, &mut rng).unwrap().to_bytes(), bytes);
                }
                changed.is_err()
            }
        };
        // All that are changed, and the one that is looked at.
        assert!(coins.stats().resident <= pages + 1, "{:?}", coins.stats());
        if failed {
            crashes += 1;
            drop(coins);
            coins = restart(&data, pages, &power, &mut rng);
            model.compare(&coins, &mut rng);
        }
    }
    power.is_back();
    coins.flush().unwrap();
    model.committed();
    drop(coins);
    let (coins, recovered) = Coins::open(&data, options(pages, &power), &mut rng, |_| ()).unwrap();
    assert_eq!(recovered, Recovered::default(), "all was written back");
    model.compare(&coins, &mut rng);
    crashes
}

#[test]
fn page_store_model_with_crashes_at_any_write() {
    let crashes: u32 = (0..12).map(|seed| play(seed, 300)).sum();
    assert!(crashes > 60, "only {crashes} crashes");
}

/// A disk that fails once now and then, at any operation, syncs and removals among them: what is answered with an error was not done, what was
/// committed is there after a restart.
fn play_with_faults(seed: u64, steps: u32) -> u32 {
    let rng = &mut SeededRng::new(seed);
    let folder = Folder::new();
    let data = folder.path().join("Data");
    let fault = Arc::new(AtomicI64::new(-1));
    let mut disk = Disk::new(false);
    disk.fault = Some(Arc::clone(&fault));
    let pages = NonZeroUsize::new(1 + usize::try_from(seed % 5).unwrap()).unwrap();
    let options = CoinOptions { pages, blank: Blank::Drawn, disk };
    let open = |rng: &mut SeededRng| Coins::open(&data, options.clone(), rng, |_| ()).unwrap().0;
    let mut coins = open(rng);
    let mut model = Model::default();
    let mut faults = 0;
    for _ in 0..steps {
        match rng.next_u32() % 16 {
            0 | 1 => faults += u32::from(coins.flush().is_err()),
            2 | 3 => match coins.commit() {
                Ok(()) => model.committed(),
                Err(_) => faults += 1,
            },
            4 | 5 => fault.store(i64::from(rng.next_u32() % 12), Ordering::SeqCst),
            6 if rng.next_u32().is_multiple_of(4) => {
                fault.store(-1, Ordering::SeqCst);
                drop(coins);
                coins = open(rng);
                model.compare(&coins, rng);
            }
            _ => {
                let (coin, bytes) = (any_coin(rng), any_record(rng));
                let before = coins.read(coin, rng).unwrap().to_bytes();
                match coins.change(coin, rng, |_| Some(Record::from_bytes(&bytes))) {
                    Ok(changed) => {
                        assert!(changed);
                        model.since.entry(coin).or_default().push(bytes);
                    }
                    Err(_) => {
                        faults += 1;
                        assert_eq!(coins.read(coin, rng).unwrap().to_bytes(), before, "an error, and yet it was done");
                    }
                }
                if let Some(expected) = model.now(coin) {
                    assert_eq!(coins.read(coin, rng).unwrap().to_bytes(), expected);
                }
            }
        }
        // Also while what is to be written back cannot be.
        assert!(coins.stats().resident <= pages.get() + 1, "{:?}", coins.stats());
    }
    fault.store(-1, Ordering::SeqCst);
    // Whatever was left undone is done now, and nothing is left behind.
    coins.flush().unwrap();
    model.committed();
    drop(coins);
    assert_eq!(Log::all(&data).unwrap().len(), 1, "the newest journal alone");
    let coins = open(rng);
    model.compare(&coins, rng);
    faults
}

#[test]
fn page_store_model_with_a_disk_that_fails_now_and_then() {
    let faults: u32 = (0..12).map(|seed| play_with_faults(seed, 300)).sum();
    assert!(faults > 60, "only {faults} faults");
}

#[test]
fn page_store_model_a_torn_page_is_mended() {
    let (folder, power) = (Folder::new(), Power::forever());
    let data = folder.path().join("Data");
    let rng = &mut SeededRng::new(1);
    let coin = "01.5".parse().unwrap();
    let other = "01.900".parse().unwrap();
    let record = |byte| Record { key: Authenticity::from_bytes(&[byte; 16]), changed: byte };
    let coins = open(&data, 4, &power, rng).unwrap();
    coins.change(coin, rng, |_| Some(record(1))).unwrap();
    coins.change(other, rng, |_| Some(record(1))).unwrap();
    coins.flush().unwrap();
    coins.change(coin, rng, |_| Some(record(2))).unwrap();
    coins.change(other, rng, |_| Some(record(2))).unwrap();
    // 0 the next journal, 1 the file of images, 2 the page, 3 the end, 4 the page's file: half of it.
    power.fails_after(4);
    coins.flush().unwrap_err();
    drop(coins);
    let torn = load(&data, PageNumber::of(coin).0).unwrap().unwrap();
    assert_eq!((torn.record(5).unwrap().changed, torn.record(900).unwrap().changed), (2, 1), "torn between the two");
    power.is_back();
    let (coins, recovered) = Coins::open(&data, options(4, &power), rng, |_| ()).unwrap();
    assert_eq!(recovered.pages, 1);
    assert_eq!(coins.read(other, rng).unwrap().changed, 2);
    drop(coins);
    // Without a journal a file of another length is said to be one.
    let path = PageNumber::of(coin).0.path(&data);
    fs::write(&path, [0; 9000]).unwrap();
    assert!(matches!(open(&data, 4, &power, rng), Err(StoreError::Damaged { found: 9000, .. })));
}

#[test]
fn page_store_model_one_process_at_a_time() {
    let (folder, power) = (Folder::new(), Power::forever());
    let rng = &mut SeededRng::new(1);
    let first = open(folder.path(), 4, &power, rng).unwrap();
    assert!(matches!(open(folder.path(), 4, &power, rng), Err(StoreError::InUse { .. })));
    drop(first);
    // Reading in takes its time where the store is full: how far it is, is told.
    let told = Mutex::new(Vec::new());
    let tell = |progress: Progress| told.lock().unwrap().push((progress.done, progress.of));
    Coins::open(folder.path(), options(4, &power), rng, tell).unwrap();
    let mut told = told.into_inner().unwrap();
    told.sort_unstable();
    assert_eq!(told, (1..=15).map(|done| (done, 15)).collect::<Vec<_>>());
}

#[test]
fn page_store_model_who_was_used_longest_ago_leaves_first() {
    let (folder, power) = (Folder::new(), Power::forever());
    let rng = &mut SeededRng::new(1);
    let coins = open(folder.path(), 3, &power, rng).unwrap();
    let on_page = |page: u32| Coin::new(Denomination::new(1).unwrap(), page * 1_024).unwrap();
    let resident = || (0..6).filter(|page| coins.peek(on_page(*page)).is_some()).collect::<Vec<_>>();
    let mut read = |page| coins.read(on_page(page), rng).unwrap();
    for page in [0, 1, 2, 0, 3] {
        read(page);
    }
    assert_eq!(resident(), [0, 2, 3], "page 1 was used longest ago");
    // To ask whether a page is there is not to use it: 2 is still the next to leave.
    read(4);
    assert_eq!(resident(), [0, 3, 4]);
    // What was changed stays till it was written back, however long ago that was.
    let record = |byte| Record { key: Authenticity::from_bytes(&[byte; 16]), changed: byte };
    coins.change(on_page(0), &mut SeededRng::new(2), |_| Some(record(1))).unwrap();
    for page in [3, 4, 5, 3, 4] {
        read(page);
    }
    assert!(coins.peek(on_page(0)).is_some());
    coins.flush().unwrap();
    for page in [3, 4, 5] {
        read(page);
    }
    assert_eq!(resident(), [3, 4, 5]);
    assert_eq!(coins.stats().resident, 3);
}

/// Ends who writes back, also when a thread that counts has panicked.
struct Ended<'a>(&'a AtomicBool);

impl Drop for Ended<'_> {
    fn drop(&mut self) {
        self.0.store(true, Ordering::SeqCst);
    }
}

/// 32 threads count in coins' keys; one writes back all the while.
fn race(coins: &Coins, choose: impl Fn(u32, &mut SeededRng) -> Coin + Sync) -> BTreeMap<Coin, u128> {
    const EACH: u32 = 300;
    let ended = AtomicBool::new(false);
    let counted = std::thread::scope(|scope| {
        let _ended = Ended(&ended);
        scope.spawn(|| {
            while !ended.load(Ordering::SeqCst) {
                coins.flush().unwrap();
                coins.wait(Duration::from_millis(1));
            }
        });
        let threads: Vec<_> = (0..32)
            .map(|thread| {
                let choose = &choose;
                scope.spawn(move || {
                    let rng = &mut SeededRng::new(u64::from(thread));
                    let mut counted = BTreeMap::new();
                    for _ in 0..EACH {
                        let coin = choose(thread, rng);
                        let count = |record: &Record| {
                            let before = if record.is_used() { u128::from_be_bytes(*record.key.expose()) } else { 0 };
                            Some(Record { key: Authenticity::from_bytes(&(before + 1).to_be_bytes()), changed: 7 })
                        };
                        assert!(coins.change(coin, rng, count).unwrap());
                        *counted.entry(coin).or_insert(0_u128) += 1;
                    }
                    counted
                })
            })
            .collect();
        let mut all = BTreeMap::new();
        // What is changed, what each thread looks at, and what each may have changed beyond that while another wrote back.
        let most = coins.options.pages.get() + 2 * 33;
        while threads.iter().any(|thread| !thread.is_finished()) {
            assert!(coins.stats().resident <= most, "{:?}", coins.stats());
            std::thread::sleep(Duration::from_millis(1));
        }
        for thread in threads {
            for (coin, count) in thread.join().unwrap() {
                *all.entry(coin).or_insert(0) += count;
            }
        }
        ended.store(true, Ordering::SeqCst);
        coins.wake();
        all
    });
    let rng = &mut SeededRng::new(99);
    for (coin, count) in &counted {
        assert_eq!(u128::from_be_bytes(*coins.read(*coin, rng).unwrap().key.expose()), *count, "{coin}");
        assert!(coins.bitmap().is_used(*coin));
    }
    counted
}

/// The same after a restart that nobody was told of: what is in the journal counts.
fn is_there_again(data: &Path, power: &Power, counted: &BTreeMap<Coin, u128>) {
    let rng = &mut SeededRng::new(98);
    let coins = open(data, 4, power, rng).unwrap();
    for (coin, count) in counted {
        assert_eq!(u128::from_be_bytes(*coins.read(*coin, rng).unwrap().key.expose()), *count, "{coin}");
    }
}

#[test]
fn page_store_model_a_race_on_one_page() {
    let (folder, power) = (Folder::new(), Power::forever());
    let coins = open(folder.path(), 2, &power, &mut SeededRng::new(1)).unwrap();
    let counted = race(&coins, |thread, _| Coin::new(Denomination::new(1).unwrap(), thread % 4).unwrap());
    drop(coins);
    is_there_again(folder.path(), &power, &counted);
}

#[test]
fn page_store_model_a_race_on_random_pages() {
    let (folder, power) = (Folder::new(), Power::forever());
    let coins = open(folder.path(), 4, &power, &mut SeededRng::new(1)).unwrap();
    let one = Denomination::new(1).unwrap();
    let counted = race(&coins, |_, rng| Coin::new(one, (rng.next_u32() % 200) * 1024).unwrap());
    assert!(coins.stats().misses > 100, "{:?}", coins.stats());
    drop(coins);
    is_there_again(folder.path(), &power, &counted);
}
