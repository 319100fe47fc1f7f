//! The coin store: 15,000 pages on the disk, of which as many are in memory as the cache has room for (rule RKX-4).
//!
//! * A page has one copy in memory at most. Whoever uses it holds it, and what is held, or changed and not written back yet, is not
//!   thrown out; so nobody can change a copy that another read again does not see.
//! * The lock of the cache is held to find a page and never while a file is read; a page's own lock is held to use it; the journal's
//!   lock is taken under it and takes none. So threads wait in one order, and never for each other in a circle.
//! * A change is in the journal before it is in memory. [`Coins::commit`] makes all that was changed so far outlast a crash;
//!   [`Coins::flush`] writes pages back, and holds up nobody but who changes a page while it is copied.

mod bitmap;
mod disk;
mod journal;
mod lockers;
#[cfg(test)]
mod model;
mod page;
#[cfg(test)]
mod unsynced;
mod write_back;

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::io;
use std::num::NonZeroUsize;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use hashlink::LruCache;
use rand_core::CryptoRng;

pub use self::bitmap::Bitmap;
pub use self::disk::Disk;
use self::journal::Log;
pub use self::journal::Recovered;
pub use self::lockers::{LOCKERS, Lockers};
pub use self::page::{Blank, PAGE, PAGES, Page, PageNumber, RECORD, RECORDS, Record};
use self::write_back::Writing;
use crate::coin::{Coin, Denomination};

/// What went wrong with the store. Nothing was changed where a change is answered with one.
#[derive(Debug, thiserror::Error)]
pub enum StoreError {
    /// The disk said no.
    #[error("{path}: {error}")]
    Io {
        /// Which file or folder.
        path: PathBuf,
        /// Why.
        error: io::Error,
    },
    /// A page's file that is none, and the journal has nothing to mend it with.
    #[error(
        "{path} is damaged: it has {found} bytes, where a page has 17,408; put it back from a backup, or remove it and lose its coins"
    )]
    Damaged {
        /// Which file.
        path: PathBuf,
        /// How long it is.
        found: u64,
    },
    /// Another process has the store.
    #[error("{path} is in use by another process")]
    InUse {
        /// Which folder.
        path: PathBuf,
    },
}

/// How a store is kept.
#[derive(Clone, Debug)]
pub struct CoinOptions {
    /// Pages in memory, of 17 KiB each.
    pub pages: NonZeroUsize,
    /// What the keys of coins are that were never issued.
    pub blank: Blank,
    /// Who may read the files.
    pub disk: Disk,
}

/// How far the store is read in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Progress {
    /// Denominations that were read.
    pub done: usize,
    /// All of them.
    pub of: usize,
}

/// Reads a page's file. `None` when there is none.
fn load(data: &Path, number: PageNumber) -> Result<Option<Page>, StoreError> {
    let path = number.path(data);
    match fs::read(&path) {
        Ok(bytes) => {
            let found = bytes.len() as u64;
            Page::from_bytes(bytes).map(Some).ok_or(StoreError::Damaged { path, found })
        }
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(StoreError::Io { path, error }),
    }
}

/// A page's one place in memory.
struct Cell {
    number: PageNumber,
    page: Mutex<Option<Page>>,
    /// Whether there is a file to write over.
    on_disk: AtomicBool,
}

struct Active {
    file: Arc<File>,
    number: u64,
    length: u64,
    /// A piece of an entry could not be taken back, or a sync has failed: what is written behind it may not be read.
    broken: bool,
    /// Files before this one that may not be synced.
    unsynced: Vec<Arc<File>>,
    /// Changed since the last time that pages were written back, and so held.
    dirty: BTreeMap<PageNumber, Arc<Cell>>,
    /// How many are being written back, and held as well.
    leaving: usize,
    buffer: Vec<u8>,
}

/// What the store has done since it was opened.
#[derive(Debug, Default)]
struct Counters {
    hits: AtomicU64,
    misses: AtomicU64,
    written: AtomicU64,
}

/// The store's state, for people.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Stats {
    /// Pages in memory.
    pub resident: usize,
    /// Of these, changed and not written back.
    pub dirty: usize,
    /// Looks that found their page in memory.
    pub hits: u64,
    /// Looks that did not.
    pub misses: u64,
    /// Pages written back.
    pub written: u64,
    /// Coins in use.
    pub used: u64,
}

/// The open store. It is shared by the threads of a node.
pub struct Coins {
    data: PathBuf,
    options: CoinOptions,
    cache: Mutex<LruCache<PageNumber, Arc<Cell>>>,
    active: Mutex<Active>,
    /// One at a time writes back.
    writing: Mutex<Writing>,
    /// Wakes who writes back before its time.
    crowded: (Mutex<bool>, Condvar),
    bitmap: Bitmap,
    lockers: Lockers,
    counters: Counters,
    _lock: File,
}

fn locked<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    // A thread that panicked left whole records: each is written in one copy.
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Coins {
    /// Opens the store under `data`, which is made where there is none: mends it from the journal, then reads which coins are used, with
    /// as many threads as the machine has.
    ///
    /// # Errors
    /// [`StoreError`].
    pub fn open(
        data: &Path,
        options: CoinOptions,
        rng: &mut dyn CryptoRng,
        progress: impl Fn(Progress) + Sync,
    ) -> Result<(Self, Recovered), StoreError> {
        let failed = |error| StoreError::Io { path: data.to_owned(), error };
        options.disk.create_directory(data).map_err(failed)?;
        let lock = File::open(data).map_err(failed)?;
        rustix::fs::flock(&lock, rustix::fs::FlockOperation::NonBlockingLockExclusive)
            .map_err(|_| StoreError::InUse { path: data.to_owned() })?;
        let (recovered, number) = journal::recover(data, &options.disk, options.blank, rng)?;
        let bitmap = Bitmap::new();
        let lockers = Lockers::default();
        read_used(data, &bitmap, &lockers, progress)?;
        let file = options.disk.create(&Log { number, images: false }.path(data)).map_err(failed)?;
        options.disk.sync_directory(data).map_err(failed)?;
        let active = Active {
            file,
            number,
            length: 0,
            broken: false,
            unsynced: Vec::new(),
            dirty: BTreeMap::new(),
            leaving: 0,
            buffer: Vec::new(),
        };
        let coins = Self {
            data: data.to_owned(),
            options,
            cache: Mutex::new(LruCache::new_unbounded()),
            active: Mutex::new(active),
            writing: Mutex::new(Writing::default()),
            crowded: (Mutex::new(false), Condvar::new()),
            bitmap,
            lockers,
            counters: Counters::default(),
            _lock: lock,
        };
        Ok((coins, recovered))
    }

    /// Which coins are used.
    #[must_use]
    pub const fn bitmap(&self) -> &Bitmap {
        &self.bitmap
    }

    /// The keys of lockers.
    #[must_use]
    pub const fn lockers(&self) -> &Lockers {
        &self.lockers
    }

    /// The page's place in memory, made where there is none.
    fn cell(&self, number: PageNumber) -> Arc<Cell> {
        let mut cache = locked(&self.cache);
        if let Some(cell) = cache.get(&number) {
            self.counters.hits.fetch_add(1, Ordering::Relaxed);
            return Arc::clone(cell);
        }
        self.counters.misses.fetch_add(1, Ordering::Relaxed);
        let cell = Arc::new(Cell { number, page: Mutex::new(None), on_disk: AtomicBool::new(false) });
        // Only who holds the cache's lock makes new holders, so a page that nobody else holds stays so while it is thrown out.
        let excess = (cache.len() + 1).saturating_sub(self.options.pages.get());
        if excess > 0 {
            let idle = cache.iter().filter(|(_, cell)| Arc::strong_count(cell) == 1).map(|(number, _)| *number);
            let idle: Vec<_> = idle.take(excess).collect();
            idle.iter().for_each(|number| drop(cache.remove(number)));
        }
        cache.insert(number, Arc::clone(&cell));
        cell
    }

    /// A coin's record, if its page is in memory and nobody has it in hand: so this does not wait, for the disk least of all.
    #[must_use]
    pub fn peek(&self, coin: Coin) -> Option<Record> {
        let (number, place) = PageNumber::of(coin);
        let cell = locked(&self.cache).peek(&number).map(Arc::clone)?;
        // Who reads it in has it locked.
        let page = cell.page.try_lock().ok()?;
        page.as_ref()?.record(place)
    }

    fn with_page<T>(
        &self,
        cell: &Cell,
        rng: &mut dyn CryptoRng,
        look: impl FnOnce(&mut Page) -> T,
    ) -> Result<T, StoreError> {
        let mut place = locked(&cell.page);
        let page = match &mut *place {
            Some(page) => page,
            empty => {
                let page = match load(&self.data, cell.number)? {
                    Some(page) => {
                        cell.on_disk.store(true, Ordering::Relaxed);
                        page
                    }
                    None => Page::blank(cell.number, self.options.blank, rng),
                };
                empty.insert(page)
            }
        };
        Ok(look(page))
    }

    /// A coin's record.
    ///
    /// # Errors
    /// [`StoreError`].
    pub fn read(&self, coin: Coin, rng: &mut dyn CryptoRng) -> Result<Record, StoreError> {
        let (number, place) = PageNumber::of(coin);
        let read = |page: &mut Page| page.record(place);
        let record = self.with_page(&self.cell(number), rng, read)?;
        record.ok_or_else(|| StoreError::Damaged { path: number.path(&self.data), found: 0 })
    }

    /// Looks at a coin's record and, where `decide` makes another of it, writes that: nobody comes between. It outlasts a crash once
    /// [`commit`](Self::commit) has returned. Gives whether it was written.
    ///
    /// # Errors
    /// [`StoreError`]: nothing was changed.
    pub fn change(
        &self,
        coin: Coin,
        rng: &mut dyn CryptoRng,
        decide: impl FnOnce(&Record) -> Option<Record>,
    ) -> Result<bool, StoreError> {
        let (number, place) = PageNumber::of(coin);
        // Before the page is locked: it may be one of those that are to be written.
        self.make_room(number)?;
        let cell = self.cell(number);
        let change = |page: &mut Page| {
            let before = page.record(place);
            let Some(new) = before.as_ref().and_then(decide) else {
                return Ok(false);
            };
            let (bytes, offset) = (zeroize::Zeroizing::new(new.to_bytes()), place * RECORD);
            self.append(&cell, offset, bytes.as_slice())?;
            page.put(offset, bytes.as_slice());
            self.bitmap.set(coin, new.is_used());
            self.lockers.change(before.as_ref(), &new);
            Ok(true)
        };
        let changed = self.with_page(&cell, rng, change)??;
        drop(cell);
        if changed {
            self.wake_if_crowded();
        }
        Ok(changed)
    }

    fn append(&self, cell: &Arc<Cell>, offset: usize, bytes: &[u8]) -> Result<(), StoreError> {
        let mut active = locked(&self.active);
        let Active { file, number, length, broken, dirty, buffer, .. } = &mut *active;
        let path = || Log { number: *number, images: false }.path(&self.data);
        if *broken {
            let error = io::Error::other("the journal has failed, and another is not begun yet");
            return Err(StoreError::Io { path: path(), error });
        }
        buffer.clear();
        journal::entry(cell.number, u16::try_from(offset).unwrap_or(u16::MAX), bytes, buffer);
        if let Err(error) = self.options.disk.append(file, buffer) {
            *broken = self.options.disk.truncate(file, *length).is_err();
            if *broken {
                self.wake();
            }
            return Err(StoreError::Io { path: path(), error });
        }
        *length += buffer.len() as u64;
        dirty.entry(cell.number).or_insert_with(|| Arc::clone(cell));
        Ok(())
    }

    /// Changed pages cannot leave: where they fill the cache they are written back before another is changed.
    fn make_room(&self, number: PageNumber) -> Result<(), StoreError> {
        let full = || {
            let active = locked(&self.active);
            active.dirty.len() + active.leaving >= self.options.pages.get() && !active.dirty.contains_key(&number)
        };
        // Once for pages that were on their way already, once for those that were changed since; what others change meanwhile is theirs.
        for _ in 0..2 {
            if full() {
                self.flush()?;
            }
        }
        Ok(())
    }

    /// Where they fill half of it, it is time to.
    fn wake_if_crowded(&self) {
        if locked(&self.active).dirty.len() * 2 >= self.options.pages.get() {
            self.wake();
        }
    }

    /// Waits until pages should be written back: for `time`, or until they fill half the cache, or until [`wake`](Self::wake).
    pub fn wait(&self, time: Duration) {
        let (crowded, wake) = &self.crowded;
        let waited = wake.wait_timeout_while(locked(crowded), time, |crowded| !*crowded);
        *waited.unwrap_or_else(PoisonError::into_inner).0 = false;
    }

    /// Ends a [`wait`](Self::wait).
    pub fn wake(&self) {
        let (crowded, wake) = &self.crowded;
        *locked(crowded) = true;
        wake.notify_all();
    }

    /// Makes what was changed so far outlast a crash.
    ///
    /// # Errors
    /// [`StoreError::Io`]: it may or may not, and nothing is changed any more until [`flush`](Self::flush) has begun another journal. A system
    /// tells of a failed sync once, and says of the next that all is well.
    pub fn commit(&self) -> Result<(), StoreError> {
        let (mut files, active) = {
            let active = locked(&self.active);
            (active.unsynced.clone(), Arc::clone(&active.file))
        };
        files.push(active);
        for file in files {
            if let Err(error) = self.options.disk.sync(&file) {
                locked(&self.active).broken = true;
                self.wake();
                return Err(StoreError::Io { path: self.data.clone(), error });
            }
        }
        Ok(())
    }

    /// The store's state.
    #[must_use]
    pub fn stats(&self) -> Stats {
        let used = Denomination::all().map(|denomination| u64::from(self.bitmap.used(denomination))).sum();
        let resident = locked(&self.cache).len();
        let dirty = locked(&self.active).dirty.len();
        let count = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
        let Counters { hits, misses, written } = &self.counters;
        Stats { resident, dirty, hits: count(hits), misses: count(misses), written: count(written), used }
    }
}

impl std::fmt::Debug for Coins {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Coins({}, {:?})", self.data.display(), self.stats())
    }
}

/// Reads which coins are used, a denomination a thread's turn.
fn read_used(
    data: &Path,
    bitmap: &Bitmap,
    lockers: &Lockers,
    progress: impl Fn(Progress) + Sync,
) -> Result<(), StoreError> {
    let left = Mutex::new((Denomination::all(), 0));
    let threads = std::thread::available_parallelism().map_or(1, NonZeroUsize::get).min(Denomination::COUNT);
    let work = || -> Result<(), StoreError> {
        loop {
            let next = locked(&left).0.next();
            let Some(denomination) = next else {
                return Ok(());
            };
            if data.join(format!("{:02x}", denomination.to_byte())).is_dir() {
                for number in PageNumber::of_denomination(denomination) {
                    if let Some(page) = load(data, number)? {
                        bitmap.put(denomination, number.page() * 1024, page.used());
                        page.of_lockers().for_each(|record| lockers.change(None, &record));
                    }
                }
            }
            let mut left = locked(&left);
            left.1 += 1;
            progress(Progress { done: left.1, of: Denomination::COUNT });
        }
    };
    std::thread::scope(|scope| {
        let threads: Vec<_> = (0..threads).map(|_| scope.spawn(work)).collect();
        threads.into_iter().try_for_each(|thread| {
            let panicked =
                || StoreError::Io { path: data.to_owned(), error: io::Error::other("a thread has panicked") };
            thread.join().unwrap_or_else(|_| Err(panicked()))
        })
    })
}
