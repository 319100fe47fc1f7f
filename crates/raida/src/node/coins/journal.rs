//! The journal: what was changed since the pages on the disk were whole, so that a crash loses nothing and leaves no page half written.
//!
//! ```text
//! entry              crc-32 4 | denomination 1 | page 2 | offset 2 | length 2 | bytes       the checksum is of all behind it
//! journal-<n>        the records that were changed, in order
//! images-<n>         whole pages as they were after journal-<n>, closed by an entry of no bytes at offset ffff
//! ```
//!
//! A change is appended to the newest journal before the page in memory has it, and is answered for when the file is synced. To write
//! pages back, the next journal is begun, the changed pages are copied to `images-<n>` and synced, then written into their files and
//! synced; then `images-<n>` and what led to them are removed. So at every moment the files below, read in the order of their numbers,
//! journal before images, make every page whole again.

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::io::{self, BufReader, Read};
use std::path::{Path, PathBuf};

use rand_core::CryptoRng;
use zeroize::Zeroizing;

use super::disk::Disk;
use super::page::{Blank, PAGE, Page, PageNumber};
use super::{StoreError, load};

const HEAD: usize = 4 + 3 + 2 + 2;
/// Where no entry can be: closes a file of images.
const END: u16 = u16::MAX;

/// Appends an entry to `out`.
pub(super) fn entry(number: PageNumber, offset: u16, bytes: &[u8], out: &mut Vec<u8>) {
    let start = out.len();
    let length = u16::try_from(bytes.len()).unwrap_or(0);
    out.extend_from_slice(&[0; 4]);
    out.extend_from_slice(&number.to_bytes());
    out.extend_from_slice(&offset.to_be_bytes());
    out.extend_from_slice(&length.to_be_bytes());
    out.extend_from_slice(bytes);
    let checksum = crc32fast::hash(out.get(start + 4..).unwrap_or_default()).to_be_bytes();
    if let Some(room) = out.get_mut(start..start + 4) {
        room.copy_from_slice(&checksum);
    }
}

/// The entry that closes a file of images.
pub(super) fn end(number: PageNumber, out: &mut Vec<u8>) {
    entry(number, END, &[], out);
}

/// One entry as it was read.
pub(super) struct Entry {
    pub(super) number: PageNumber,
    pub(super) offset: u16,
    pub(super) bytes: Zeroizing<Vec<u8>>,
}

impl Entry {
    /// Whether it closes a file of images.
    pub(super) const fn is_end(&self) -> bool {
        self.offset == END
    }
}

/// Reads a file's entries up to the first that is not whole: what follows was never answered for.
pub(super) struct Entries(BufReader<File>);

impl Entries {
    pub(super) fn open(path: &Path) -> io::Result<Self> {
        Ok(Self(BufReader::with_capacity(64 << 10, File::open(path)?)))
    }

    fn read(&mut self) -> Option<Entry> {
        let mut head = [0; HEAD];
        self.0.read_exact(&mut head).ok()?;
        let [c0, c1, c2, c3, d, p0, p1, o0, o1, l0, l1] = head;
        let length = usize::from(u16::from_be_bytes([l0, l1]));
        let mut bytes = Zeroizing::new(vec![0; length.min(PAGE)]);
        self.0.read_exact(&mut bytes).ok()?;
        let mut checksum = crc32fast::Hasher::new();
        checksum.update(head.get(4..).unwrap_or_default());
        checksum.update(&bytes);
        let whole = length <= PAGE && checksum.finalize() == u32::from_be_bytes([c0, c1, c2, c3]);
        let number = PageNumber::from_bytes([d, p0, p1]).filter(|_| whole)?;
        Some(Entry { number, offset: u16::from_be_bytes([o0, o1]), bytes })
    }
}

impl Iterator for Entries {
    type Item = Entry;

    fn next(&mut self) -> Option<Entry> {
        self.read()
    }
}

/// A file of the journal.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Log {
    pub(super) number: u64,
    /// Behind the journal of its number.
    pub(super) images: bool,
}

impl Log {
    pub(super) fn path(&self, data: &Path) -> PathBuf {
        let kind = if self.images { "images" } else { "journal" };
        data.join(format!("{kind}-{:08}", self.number))
    }

    fn named(name: &str) -> Option<Self> {
        let (kind, number) = name.split_once('-')?;
        let images = match kind {
            "journal" => false,
            "images" => true,
            _ => return None,
        };
        Some(Self { number: number.parse().ok()?, images })
    }

    /// Those that there are, in the order that they are to be read in.
    pub(super) fn all(data: &Path) -> io::Result<Vec<Self>> {
        let mut found = Vec::new();
        for file in fs::read_dir(data)? {
            found.extend(file?.file_name().to_str().and_then(Self::named));
        }
        found.sort_unstable();
        Ok(found)
    }
}

/// What was found after a crash.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Recovered {
    /// Changes in the journal.
    pub changes: u64,
    /// Pages whose files did not have them, or were half written.
    pub pages: u64,
}

/// Makes the pages whole, and removes the journal. The next journal's number is given as well.
pub(super) fn recover(
    data: &Path,
    disk: &Disk,
    blank: Blank,
    rng: &mut dyn CryptoRng,
) -> Result<(Recovered, u64), StoreError> {
    let failed = |error| StoreError::Io { path: data.to_owned(), error };
    let logs = Log::all(data).map_err(failed)?;
    let mut recovered = Recovered::default();
    // Pages that differ from their files; as many as were ever dirty at once, which the cache bounds.
    let mut pages: BTreeMap<PageNumber, Page> = BTreeMap::new();
    for log in &logs {
        let path = log.path(data);
        if log.images && Entries::open(&path).map_err(failed)?.all(|entry| !entry.is_end()) {
            // The copies were not finished, so no page was touched yet.
            continue;
        }
        for entry in Entries::open(&path).map_err(failed)? {
            if entry.is_end() {
                break;
            }
            let whole = entry.bytes.len() == PAGE;
            let page = match pages.entry(entry.number) {
                std::collections::btree_map::Entry::Occupied(there) => there.into_mut(),
                std::collections::btree_map::Entry::Vacant(place) => {
                    let page = match load(data, entry.number) {
                        Ok(Some(page)) => page,
                        Ok(None) => Page::blank(entry.number, blank, rng),
                        // A file of another length is what a whole page is there for.
                        Err(StoreError::Damaged { .. }) if whole => Page::blank(entry.number, blank, rng),
                        Err(error) => return Err(error),
                    };
                    place.insert(page)
                }
            };
            if !page.put(usize::from(entry.offset), &entry.bytes) {
                return Err(StoreError::Damaged { path, found: entry.bytes.len() as u64 });
            }
            recovered.changes += 1;
        }
    }
    for (number, page) in &pages {
        let path = number.path(data);
        let same = matches!(load(data, *number), Ok(Some(there)) if there.as_bytes() == page.as_bytes());
        if !same {
            recovered.pages += 1;
            disk.replace(&path, page.as_bytes()).map_err(|error| StoreError::Io { path, error })?;
        }
    }
    for log in &logs {
        disk.remove(&log.path(data)).map_err(failed)?;
    }
    disk.sync_directory(data).map_err(failed)?;
    Ok((recovered, logs.last().map_or(1, |log| log.number + 1)))
}
