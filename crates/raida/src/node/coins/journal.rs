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
//! synced; then `journal-<n>` and `images-<n>` are removed, oldest first. So at every moment the files below, read in the order of their numbers,
//! journal before images, make every page whole again.

use std::collections::btree_map::Entry::{Occupied, Vacant};
use std::collections::{BTreeMap, BTreeSet};
use std::fs::{self, File};
use std::io::{self, BufReader, Read};
use std::path::{Path, PathBuf};

use rand_core::CryptoRng;
use zeroize::Zeroizing;

use super::disk::Disk;
use super::page::{Blank, PAGE, Page, PageNumber, RECORD};
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
pub(super) fn end(out: &mut Vec<u8>) {
    if let Some(number) = PageNumber::all().next() {
        entry(number, END, &[], out);
    }
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

/// Reads a file's entries up to the first that is not whole.
pub(super) struct Entries {
    file: BufReader<File>,
    /// An entry was not whole: what was read of it.
    torn: Option<Vec<u8>>,
}

impl Entries {
    pub(super) fn open(path: &Path) -> io::Result<Self> {
        Ok(Self { file: BufReader::with_capacity(64 << 10, File::open(path)?), torn: None })
    }

    /// Fills `to`, or says that the file ends before.
    fn fill(&mut self, to: &mut [u8], before: &[u8]) -> io::Result<bool> {
        let mut read = 0;
        while let Some(room) = to.get_mut(read..).filter(|room| !room.is_empty()) {
            match self.file.read(room) {
                Ok(0) => {
                    let rest = [before, to.get(..read).unwrap_or_default()].concat();
                    self.torn = Some(rest);
                    return Ok(false);
                }
                Ok(more) => read += more,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        }
        Ok(true)
    }

    fn read(&mut self) -> io::Result<Option<Entry>> {
        let mut head = [0; HEAD];
        if !self.fill(&mut head, &[])? {
            return Ok(None);
        }
        let [c0, c1, c2, c3, d, p0, p1, o0, o1, l0, l1] = head;
        let length = usize::from(u16::from_be_bytes([l0, l1]));
        let mut bytes = Zeroizing::new(vec![0; length.min(PAGE)]);
        if !self.fill(&mut bytes, &head)? {
            return Ok(None);
        }
        let mut checksum = crc32fast::Hasher::new();
        checksum.update(head.get(4..).unwrap_or_default());
        checksum.update(&bytes);
        let whole = length <= PAGE && checksum.finalize() == u32::from_be_bytes([c0, c1, c2, c3]);
        let Some(number) = PageNumber::from_bytes([d, p0, p1]).filter(|_| whole) else {
            self.torn = Some([head.as_slice(), &bytes].concat());
            return Ok(None);
        };
        Ok(Some(Entry { number, offset: u16::from_be_bytes([o0, o1]), bytes }))
    }

    /// Whether more stands behind the last whole entry than one that was being written when the power failed, or zeros of a file that was
    /// made longer: then something that was answered for may have been lost.
    pub(super) fn ends_damaged(mut self) -> io::Result<bool> {
        let mut rest = self.torn.take().unwrap_or_default();
        self.file.read_to_end(&mut rest)?;
        Ok(rest.iter().skip(HEAD + RECORD).any(|byte| *byte != 0))
    }
}

impl Iterator for Entries {
    type Item = io::Result<Entry>;

    fn next(&mut self) -> Option<io::Result<Entry>> {
        if self.torn.is_some() {
            return None;
        }
        self.read().transpose()
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
    // Files of images that were finished, and the pages that stand in them whole.
    let (mut finished, mut whole) = (BTreeSet::new(), BTreeSet::new());
    for log in logs.iter().filter(|log| log.images) {
        for entry in Entries::open(&log.path(data)).map_err(failed)? {
            let entry = entry.map_err(failed)?;
            if entry.is_end() {
                finished.insert(log.clone());
                break;
            }
            whole.insert(entry.number);
        }
    }
    // Pages that differ from their files; as many as were ever dirty at once, which the cache bounds.
    let mut pages: BTreeMap<PageNumber, Page> = BTreeMap::new();
    let mut damaged = BTreeSet::new();
    for log in &logs {
        let path = log.path(data);
        if log.images && !finished.contains(log) {
            // The copies were not finished, so no page was touched yet.
            continue;
        }
        let mut entries = Entries::open(&path).map_err(failed)?;
        for entry in entries.by_ref() {
            let entry = entry.map_err(failed)?;
            if entry.is_end() {
                break;
            }
            let page = match pages.entry(entry.number) {
                Occupied(there) => there.into_mut(),
                Vacant(place) => {
                    let page = match load(data, entry.number) {
                        Ok(Some(page)) => page,
                        Ok(None) => Page::blank(entry.number, blank, rng),
                        // A file of another length is what a whole page is there for.
                        Err(StoreError::Damaged { .. }) if whole.contains(&entry.number) => {
                            Page::blank(entry.number, blank, rng)
                        }
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
        if !log.images && entries.ends_damaged().map_err(failed)? {
            damaged.insert(log.clone());
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
        let path = log.path(data);
        if damaged.contains(log) {
            let kept = path.with_extension("damaged");
            tracing::error!(kept = %kept.display(), "the journal is damaged in the middle: changes behind that place may be lost");
            fs::rename(&path, &kept).map_err(failed)?;
        } else {
            disk.remove(&path).map_err(failed)?;
        }
    }
    disk.sync_directory(data).map_err(failed)?;
    Ok((recovered, logs.last().map_or(1, |log| log.number + 1)))
}
