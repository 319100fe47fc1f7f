//! What an operator does with a node's coins while the node does not run: issue some, take over the pages of another store, look at all.

use std::collections::BTreeMap;
use std::io::{self, Write};
use std::os::unix::fs::{OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};

use getrandom::SysRng;
use rand_core::UnwrapErr;
use undertone_raida::coin::{Authenticity, Coin, Denomination};
use undertone_raida::coin_file::CoinFile;
use undertone_raida::month;
use undertone_raida::node::coins::{Coins, Page, PageNumber, Record, StoreError};

use super::{RaidaConfig, RaidaError};

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
    if !unwritten(from)?.is_empty() {
        return Err(RaidaError::Config(
            "the store that is to be imported has changes in its journal: start and stop its node first",
        ));
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

/// What a look at a node's folder found.
#[derive(Debug, Default)]
pub struct Checked {
    /// Pages that have a file.
    pub pages: u64,
    /// Coins in use, by denomination.
    pub used: BTreeMap<i8, u32>,
    /// What is amiss, a line each.
    pub amiss: Vec<String>,
}

/// Looks at every page, at the journal, and at the node's own coins, and changes nothing. Starting a node names the first page that is
/// damaged; this names them all.
///
/// # Errors
/// [`RaidaError::Folder`]: a folder cannot be read.
pub fn check(config: &RaidaConfig) -> Result<Checked, RaidaError> {
    let mut checked = Checked::default();
    let data = config.data.join("Data");
    for number in PageNumber::all() {
        let path = number.path(&data);
        let bytes = match std::fs::read(&path) {
            Ok(bytes) => bytes,
            Err(error) if error.kind() == io::ErrorKind::NotFound => continue,
            Err(error) => {
                checked.amiss.push(format!("{}: {error}", path.display()));
                continue;
            }
        };
        let found = bytes.len() as u64;
        let Some(page) = Page::from_bytes(bytes) else {
            checked.amiss.push(StoreError::Damaged { path, found }.to_string());
            continue;
        };
        checked.pages += 1;
        let used = page.used().filter(|used| *used).count();
        *checked.used.entry(number.denomination().exponent()).or_insert(0) += u32::try_from(used).unwrap_or(0);
    }
    for file in unwritten(&data)? {
        let path = data.join(file);
        checked
            .amiss
            .push(format!("{}: the node runs, or was not stopped in order; its next start uses this", path.display()));
    }
    let own = config.data.join("coins");
    for file in std::fs::read_dir(&own).into_iter().flatten().flatten() {
        let path = file.path();
        let read = std::fs::read(&path).map(zeroize::Zeroizing::new);
        let found = match read {
            Ok(bytes) => CoinFile::read(bytes, config.coin_id).err().map(|error| error.to_string()),
            Err(error) => Some(error.to_string()),
        };
        checked.amiss.extend(found.map(|found| format!("{}: {found}", path.display())));
    }
    Ok(checked)
}

/// Names of the files of a store that has changes which are not in its pages.
fn unwritten(data: &Path) -> Result<Vec<String>, RaidaError> {
    let mut found = Vec::new();
    for file in std::fs::read_dir(data).map_err(at(data))? {
        let file = file.map_err(at(data))?;
        let name = file.file_name().to_string_lossy().into_owned();
        let length = file.metadata().map_err(at(data))?.len();
        if name.starts_with("images-") || name.starts_with("journal-") && length > 0 {
            found.push(name);
        }
    }
    found.sort_unstable();
    Ok(found)
}
