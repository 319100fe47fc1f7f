//! The node's own coins, `coins/<coin>.bin`: what their keys are on the other nodes opens the tickets that those made.

use std::fs::OpenOptions;
use std::io::Read;
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use hashlink::LruCache;
use zeroize::Zeroizing;

use crate::coin::Coin;
use crate::coin_file::{CoinFile, LENGTH};

/// How long an answer of the disk is believed, also that there is no such file.
pub(super) const REMEMBERED: Duration = Duration::from_secs(10);
/// Coins that are remembered, those that were asked for last: who asks for coins that are not there does not make it forget one that is in use.
const MOST: usize = 1_024;

/// Files that were read, and files that were not there.
pub struct OwnCoins {
    folder: PathBuf,
    coin_id: u16,
    read: Mutex<LruCache<Coin, Looked>>,
}

#[derive(Clone)]
struct Looked {
    when: Instant,
    found: Option<Arc<CoinFile>>,
}

impl OwnCoins {
    /// Of a folder, which need not be there.
    #[must_use]
    pub fn new(folder: &Path, coin_id: u16) -> Self {
        Self { folder: folder.to_owned(), coin_id, read: Mutex::new(LruCache::new(MOST)) }
    }

    /// The file of a coin. `None` when there is none that can be used; the log says why.
    #[must_use]
    pub fn get(&self, coin: Coin, now: Instant) -> Option<Arc<CoinFile>> {
        let remembered = self.read.lock().unwrap_or_else(PoisonError::into_inner).get(&coin).cloned();
        if let Some(looked) = remembered.filter(|looked| now.saturating_duration_since(looked.when) < REMEMBERED) {
            return looked.found;
        }
        let found = self.load(coin).map(Arc::new);
        let mut read = self.read.lock().unwrap_or_else(PoisonError::into_inner);
        read.insert(coin, Looked { when: now, found: found.clone() });
        found
    }

    fn load(&self, coin: Coin) -> Option<CoinFile> {
        let path = self.folder.join(format!("{coin}.bin"));
        let no_follow = i32::try_from(rustix::fs::OFlags::NOFOLLOW.bits()).unwrap_or(0);
        let mut bytes = Zeroizing::new(Vec::with_capacity(LENGTH + 1));
        let opened = OpenOptions::new().read(true).custom_flags(no_follow).open(&path);
        // One byte more than a file has, to see that it has more.
        let read = opened.and_then(|file| file.take(LENGTH as u64 + 1).read_to_end(&mut bytes));
        match read {
            Ok(_) => match CoinFile::read(bytes, self.coin_id) {
                Ok(file) => Some(file),
                Err(error) => {
                    tracing::warn!(path = %path.display(), %error, "a coin's file is of no use");
                    None
                }
            },
            Err(error) => {
                tracing::debug!(path = %path.display(), %error, "no file of this coin");
                None
            }
        }
    }
}

impl std::fmt::Debug for OwnCoins {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "OwnCoins({})", self.folder.display())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::coin::Authenticity;
    use crate::node::testing::Folder;

    #[test]
    fn rkx_1_a_file_that_was_missing_is_not_looked_for_again_and_again() {
        let folder = Folder::new();
        let own = OwnCoins::new(folder.path(), 6);
        let (coin, start) = ("01.7".parse().unwrap(), Instant::now());
        assert!(own.get(coin, start).is_none());
        let keys = std::array::from_fn(|_| Authenticity::from_bytes(&[9; 16]));
        std::fs::write(folder.path().join("01.7.bin"), CoinFile::write(6, &keys)).unwrap();
        assert!(own.get(coin, start + REMEMBERED / 2).is_none(), "the disk is not asked");
        assert!(own.get(coin, start + REMEMBERED).is_some());
        // Nor is one that was there.
        std::fs::remove_file(folder.path().join("01.7.bin")).unwrap();
        assert!(own.get(coin, start + REMEMBERED + REMEMBERED / 2).is_some());
        assert!(own.get(coin, start + REMEMBERED * 2).is_none());
    }
}
