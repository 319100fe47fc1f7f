//! What an operator does with a node's coins while the node does not run: issue some, take over the pages of another store, look at all.

use std::collections::BTreeMap;
use std::io::{self, Write};
use std::os::unix::fs::{OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};

use getrandom::SysRng;
use rand_core::UnwrapErr;
use undertone_raida::coin::{Authenticity, Coin, Denomination};
use undertone_raida::month;
use undertone_raida::node::coins::{Coins, Page, PageNumber, Record, Stats, StoreError};

use super::RaidaError;

/// Coins that were issued.
#[derive(Debug)]
pub struct Created {
    /// Which, in their order.
    pub coins: Vec<Coin>,
    /// Where their keys stand.
    pub keys: PathBuf,
}

fn at(path: &Path) -> impl FnOnce(io::Error) -> RaidaError {
    let path = path.to_owned();
    |error| RaidaError::Folder { path, error }
}

/// Issues the first `count` free coins of a denomination from serial number `first` on, and appends a line for each to `keys`, which is
/// made readable to its owner alone: `<coin> <node> <key, 32 hex digits>`. The keys are on the disk before the coins are issued, so that
/// a crash leaves nobody with a coin and no key.
///
/// # Errors
/// [`RaidaError`]: nothing was issued, or (where the store's disk failed) some of what the file names.
pub fn create(
    coins: &Coins,
    raida: u8,
    denomination: Denomination,
    first: u32,
    count: usize,
    keys: &Path,
    now: u64,
) -> Result<Created, RaidaError> {
    let rng = &mut UnwrapErr(SysRng);
    // The first of all has the name that means nobody.
    let mut free = coins.bitmap().free(denomination, first, count.saturating_add(1));
    free.retain(|coin| !coin.named().is_none());
    free.truncate(count);
    if free.len() < count {
        return Err(RaidaError::Config("there are not that many free coins of this denomination"));
    }
    let drawn: Vec<_> = free.iter().map(|coin| (*coin, Authenticity::generate(rng))).collect();
    let mut file = std::fs::OpenOptions::new().append(true).create(true).mode(0o600).open(keys).map_err(at(keys))?;
    // One that was there may have been anybody's to read.
    file.set_permissions(std::fs::Permissions::from_mode(0o600)).map_err(at(keys))?;
    for (coin, key) in &drawn {
        let mut line = zeroize::Zeroizing::new(format!("{coin} {raida} "));
        key.expose().iter().for_each(|byte| line.push_str(&format!("{byte:02x}")));
        line.push('\n');
        file.write_all(line.as_bytes()).map_err(at(keys))?;
    }
    file.sync_all().map_err(at(keys))?;
    let folder = keys.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or_else(|| Path::new("."));
    std::fs::File::open(folder).and_then(|folder| folder.sync_all()).map_err(at(folder))?;
    for (coin, key) in drawn {
        coins.change(coin, rng, |_| Some(Record { key, changed: month::at(now) }))?;
    }
    coins.flush()?;
    Ok(Created { coins: free, keys: keys.to_owned() })
}

/// Takes over the pages under `from`, which are laid out as this store's, such as those of a node of the original. A coin that is in use
/// here already stays as it is. Gives how many coins were taken, and how many were in use here.
///
/// # Errors
/// [`RaidaError`]: pages before the one that it is about were taken.
pub fn import(coins: &Coins, from: &Path, progress: impl Fn(usize)) -> Result<(u64, u64), RaidaError> {
    let rng = &mut UnwrapErr(SysRng);
    for file in std::fs::read_dir(from).map_err(at(from))? {
        let file = file.map_err(at(from))?;
        let name = file.file_name();
        let name = name.to_string_lossy();
        let length = file.metadata().map_err(at(from))?.len();
        if name.starts_with("images-") || name.starts_with("journal-") && length > 0 {
            return Err(RaidaError::Config(
                "the store that is to be imported has changes in its journal: start and stop its node first",
            ));
        }
    }
    let (mut taken, mut kept) = (0, 0);
    for (read, number) in PageNumber::all().enumerate() {
        progress(read);
        let path = number.path(from);
        let bytes = match std::fs::read(&path) {
            Ok(bytes) => bytes,
            Err(error) if error.kind() == io::ErrorKind::NotFound => continue,
            Err(error) => return Err(at(&path)(error)),
        };
        let found = bytes.len() as u64;
        let page = Page::from_bytes(bytes).ok_or(StoreError::Damaged { path, found })?;
        for (place, _) in page.used().enumerate().filter(|(_, used)| *used) {
            let (Some(coin), Some(record)) = (number.coin(place), page.record(place)) else {
                continue;
            };
            let free = |here: &Record| if here.is_used() { None } else { Some(record) };
            if coins.change(coin, rng, free)? {
                taken += 1;
            } else {
                kept += 1;
            }
        }
    }
    coins.flush()?;
    Ok((taken, kept))
}

/// What a look at all pages found.
#[derive(Debug)]
pub struct Checked {
    /// Pages that have a file.
    pub pages: u64,
    /// Coins in use, by denomination.
    pub used: BTreeMap<i8, u32>,
    /// What is amiss, a line each.
    pub amiss: Vec<String>,
    /// The store's own count.
    pub stats: Stats,
}

/// Reads every page and compares it with what the store says of its coins.
#[must_use]
pub fn check(coins: &Coins, data: &Path) -> Checked {
    let mut checked = Checked { pages: 0, used: BTreeMap::new(), amiss: Vec::new(), stats: coins.stats() };
    for number in PageNumber::all() {
        let path = number.path(data);
        let page = match std::fs::read(&path) {
            Ok(bytes) => Page::from_bytes(bytes),
            Err(error) if error.kind() == io::ErrorKind::NotFound => continue,
            Err(error) => {
                checked.amiss.push(format!("{}: {error}", path.display()));
                continue;
            }
        };
        let Some(page) = page else {
            checked.amiss.push(format!("{} has not the length of a page", path.display()));
            continue;
        };
        checked.pages += 1;
        for (place, used) in page.used().enumerate() {
            let Some(coin) = number.coin(place) else {
                continue;
            };
            if coins.bitmap().is_used(coin) != used {
                checked.amiss.push(format!("{coin}: its page and the map of free coins differ"));
            }
            *checked.used.entry(number.denomination().exponent()).or_insert(0) += u32::from(used);
        }
    }
    checked
}
