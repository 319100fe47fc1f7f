//! Posted keys: one file each under `Keys/`, named by the key's id, and beside it who posted it and till when it is good.
//!
//! ```text
//! Keys/<id, 32 hex digits>           coin that may fetch it 5 | key 0 to 127
//! Keys/<id, 32 hex digits>.owner     1 | coin that posted it 5 | expires 8 (seconds since 1970, 0 for never)
//! ```
//! Both files are written whole and synced under other names, then put into place, so a reader sees the old one or the new one; the owner's
//! before the key's, so that no key is there without its owner. Files of other names are left alone.

mod draft;

use std::collections::HashMap;
use std::fs::{self, DirBuilder, File, OpenOptions};
use std::io::{self, Read};
use std::num::NonZeroUsize;
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use hashlink::LruCache;
use zeroize::Zeroizing;

use self::draft::{Draft, is_draft};
use crate::coin::Named;
use crate::command::{KEY_REACH, KeyId};

const OWNER_FORMAT: u8 = 1;
const OWNER: usize = 1 + Named::LENGTH + 8;
const MOST: usize = Named::LENGTH + KEY_REACH as usize;

/// What the folder holds, and for how long.
#[derive(Clone, Debug)]
pub struct KeyOptions {
    /// The group may read the files (0640) or the owner alone (0600).
    pub shared: bool,
    /// Keys of one coin.
    pub per_owner: u32,
    /// Keys of all.
    pub total: usize,
    /// Seconds that a key is kept, `None` for ever.
    pub life: Option<u64>,
    /// A key that was fetched is removed.
    pub one_shot: bool,
    /// Keys that are kept in memory.
    pub cached: NonZeroUsize,
}

/// Why a key was not taken.
#[derive(Debug, thiserror::Error)]
pub enum PostError {
    /// Somebody else's has that id.
    #[error("a key of somebody else has that id")]
    Exists,
    /// Its owner has too many, or all together have.
    #[error("there are too many keys")]
    Full,
    /// The disk said no.
    #[error("{0}")]
    Io(#[from] io::Error),
}

/// Who owns a key and till when.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Owned {
    /// The coin that posted it, zeros for nobody.
    pub owner: Named,
    /// Seconds since 1970, 0 for never.
    pub expires: u64,
}

impl Owned {
    /// Reads the 14 bytes of the file beside a key: 1, the coin's name of 5 bytes, seconds since 1970 of 8. `None` for anything else.
    #[must_use]
    pub fn read(bytes: &[u8]) -> Option<Self> {
        let bytes: &[u8; OWNER] = bytes.try_into().ok()?;
        let [OWNER_FORMAT, rest @ ..] = bytes else {
            return None;
        };
        let (owner, expires) = rest.split_first_chunk()?;
        Some(Self { owner: Named::from_bytes(*owner), expires: u64::from_be_bytes(expires.try_into().ok()?) })
    }

    fn write(&self) -> Vec<u8> {
        [[OWNER_FORMAT].as_slice(), &self.owner.to_bytes(), &self.expires.to_be_bytes()].concat()
    }

    const fn is_over(&self, now: u64) -> bool {
        self.expires != 0 && self.expires <= now
    }
}

/// A key's file as it stands, with who owns it.
#[derive(Clone)]
pub struct Held {
    /// The coin that may fetch it, and the key.
    pub bytes: Arc<Zeroizing<Vec<u8>>>,
    /// Whose it is.
    pub owned: Owned,
}

impl std::fmt::Debug for Held {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Held({:?})", self.owned)
    }
}

/// Where a key is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Place {
    /// There is none.
    Nowhere,
    /// In memory, and on the disk.
    Memory,
    /// On the disk alone.
    Disk,
}

/// One of the folder's keys. Posting it again makes another version of it.
#[derive(Clone, Copy)]
struct Indexed {
    owned: Owned,
    version: u64,
}

struct State {
    keys: HashMap<KeyId, Indexed>,
    counts: HashMap<Named, u32>,
    cache: LruCache<KeyId, Arc<Zeroizing<Vec<u8>>>>,
    versions: u64,
}

/// The folder.
pub struct Keys {
    folder: PathBuf,
    options: KeyOptions,
    state: Mutex<State>,
    /// One at a time writes and removes, so that two posts of one id do not meet in one file.
    writing: Mutex<()>,
}

impl State {
    fn insert(&mut self, id: KeyId, owned: Owned) {
        self.remove(&id);
        *self.counts.entry(owned.owner).or_insert(0) += 1;
        self.versions += 1;
        self.keys.insert(id, Indexed { owned, version: self.versions });
    }

    fn remove(&mut self, id: &KeyId) {
        self.cache.remove(id);
        if let Some(Indexed { owned, .. }) = self.keys.remove(id)
            && let Some(count) = self.counts.get_mut(&owned.owner)
        {
            *count -= 1;
            if *count == 0 {
                self.counts.remove(&owned.owner);
            }
        }
    }
}

impl KeyId {
    /// From a file's name.
    fn from_name(name: &str) -> Option<Self> {
        let mut id = [0; 16];
        let (digits, left) = name.as_bytes().as_chunks::<2>();
        if digits.len() != id.len() || !left.is_empty() {
            return None;
        }
        for (byte, digits) in id.iter_mut().zip(digits) {
            let plain = digits.iter().all(|digit| matches!(digit, b'0'..=b'9' | b'a'..=b'f'));
            *byte = u8::from_str_radix(std::str::from_utf8(digits).ok().filter(|_| plain)?, 16).ok()?;
        }
        Some(Self(id))
    }
}

impl Keys {
    /// Opens the folder, which is made where there is none, and reads who owns what.
    ///
    /// # Errors
    /// The disk's.
    pub fn open(folder: &Path, options: KeyOptions) -> io::Result<Self> {
        DirBuilder::new().recursive(true).mode(if options.shared { 0o750 } else { 0o700 }).create(folder)?;
        let cache = LruCache::new(options.cached.get());
        let mut state = State { keys: HashMap::new(), counts: HashMap::new(), cache, versions: 0 };
        let (mut foreign, mut owners) = (0, Vec::new());
        for file in fs::read_dir(folder)? {
            let name = file?.file_name();
            let name = name.to_str().unwrap_or_default();
            match (KeyId::from_name(name), name.strip_suffix(".owner").and_then(KeyId::from_name)) {
                (Some(id), _) => state.insert(id, read_owner(folder, id)),
                (None, Some(id)) => owners.push(id),
                // Left by a post that was cut off.
                (None, None) if is_draft(name) => drop(fs::remove_file(folder.join(name))),
                (None, None) => foreign += 1,
            }
        }
        if foreign > 0 {
            tracing::warn!(folder = %folder.display(), foreign, "files that are no keys are left alone");
        }
        // Left by a post that was cut off before its key was there.
        for id in owners.into_iter().filter(|id| !state.keys.contains_key(id)) {
            fs::remove_file(folder.join(id.to_string()).with_extension("owner"))?;
        }
        Ok(Self { folder: folder.to_owned(), options, state: Mutex::new(state), writing: Mutex::new(()) })
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn path(&self, id: KeyId) -> PathBuf {
        self.folder.join(id.to_string())
    }

    /// Where a key is, so that whoever fetches it knows whether that waits for the disk. One that is over is on the disk: it is removed.
    pub(super) fn place(&self, id: KeyId, now: u64) -> Place {
        let state = self.state();
        match state.keys.get(&id) {
            None => Place::Nowhere,
            Some(indexed) if !indexed.owned.is_over(now) && state.cache.contains_key(&id) => Place::Memory,
            Some(_) => Place::Disk,
        }
    }

    /// A key that is there, of which version. `Err` with the version of one that is over.
    fn look(&self, id: KeyId, now: u64) -> Result<Option<(Held, u64)>, u64> {
        let Indexed { owned, version } = {
            let mut state = self.state();
            let Some(indexed) = state.keys.get(&id).copied() else {
                return Ok(None);
            };
            if indexed.owned.is_over(now) {
                return Err(indexed.version);
            }
            if let Some(bytes) = state.cache.get(&id) {
                return Ok(Some((Held { bytes: Arc::clone(bytes), owned: indexed.owned }, indexed.version)));
            }
            indexed
        };
        let path = self.path(id);
        let bytes = match read_file(&path, MOST) {
            Ok(bytes) if bytes.len() >= Named::LENGTH => Arc::new(bytes),
            Ok(_) => {
                tracing::warn!(path = %path.display(), "a key's file is too short");
                return Ok(None);
            }
            Err(error) => {
                tracing::warn!(path = %path.display(), %error, "a key's file cannot be read");
                return Ok(None);
            }
        };
        let mut state = self.state();
        // It was posted again, or removed, while it was read: what was read may be of either.
        if state.keys.get(&id).is_none_or(|indexed| indexed.version != version) {
            return Ok(None);
        }
        state.cache.insert(id, Arc::clone(&bytes));
        Ok(Some((Held { bytes, owned }, version)))
    }

    /// A key that `may` be given away. `None` when there is none, it is over, its file cannot be read as one, or it may not. One that is to be
    /// fetched once is gone when this returns.
    #[must_use]
    pub fn fetch(&self, id: KeyId, now: u64, may: impl FnOnce(&Held) -> bool) -> Option<Held> {
        if self.options.one_shot && self.place(id, now) == Place::Nowhere {
            return None;
        }
        let one = self.options.one_shot.then(|| self.writing.lock().unwrap_or_else(PoisonError::into_inner));
        let (held, version) = match self.look(id, now) {
            Ok(found) => found?,
            Err(version) => {
                drop(one);
                let _one = self.writing.lock().unwrap_or_else(PoisonError::into_inner);
                self.remove(id, version);
                return None;
            }
        };
        if !may(&held) {
            return None;
        }
        if one.is_some() {
            self.remove(id, version);
            // Or it would be there again after a power cut.
            if let Err(error) = File::open(&self.folder).and_then(|folder| folder.sync_all()) {
                tracing::warn!(folder = %self.folder.display(), %error, "a key that was fetched may be there again after a crash");
            }
        }
        Some(held)
    }

    /// Keeps a key of `owner`. `strangers` says whether it may take the place of somebody else's. Keys of nobody have no quota but the
    /// folder's.
    ///
    /// # Errors
    /// [`PostError`]: what was there is there still, unless it was over.
    pub fn post(&self, id: KeyId, owner: Named, strangers: bool, bytes: &[u8], now: u64) -> Result<(), PostError> {
        let one = self.writing.lock().unwrap_or_else(PoisonError::into_inner);
        let over = {
            let state = self.state();
            let indexed = state.keys.get(&id);
            let there = indexed.filter(|indexed| !indexed.owned.is_over(now));
            if there.is_some_and(|indexed| indexed.owned.owner != owner && !strangers) {
                return Err(PostError::Exists);
            }
            let count = state.counts.get(&owner).copied().unwrap_or(0);
            let more = there.is_none_or(|indexed| indexed.owned.owner != owner);
            let too_many = !owner.is_none() && count >= self.options.per_owner;
            if more && (too_many || state.keys.len() >= self.options.total) {
                return Err(PostError::Full);
            }
            indexed.filter(|indexed| indexed.owned.is_over(now)).map(|indexed| indexed.version)
        };
        if let Some(version) = over {
            // A crash between the two files below must not make it the new owner's.
            self.remove(id, version);
        }
        let expires = self.options.life.map_or(0, |life| now.saturating_add(life));
        let owned = Owned { owner, expires };
        let path = self.path(id);
        // Both are written before either is in its place: where there is no room, nothing of what was there has changed.
        let owner_file = Draft::write(path.with_extension("owner"), &owned.write(), self.options.shared)?;
        let key_file = Draft::write(path, bytes, self.options.shared)?;
        owner_file.place()?;
        if let Err(error) = key_file.place() {
            self.put_owner_back(id);
            return Err(error.into());
        }
        {
            let mut state = self.state();
            state.insert(id, owned);
            state.cache.insert(id, Arc::new(Zeroizing::new(bytes.to_vec())));
        }
        // Both files are in their places: the next may be written while these names are made to last.
        drop(one);
        Ok(File::open(&self.folder)?.sync_all()?)
    }

    /// A key stays whose it was, as another could not take its place; `writing` is held.
    fn put_owner_back(&self, id: KeyId) {
        let before = self.state().keys.get(&id).map(|indexed| indexed.owned);
        let path = self.path(id).with_extension("owner");
        let done = match before {
            Some(owned) => Draft::write(path.clone(), &owned.write(), self.options.shared).and_then(Draft::place),
            None => fs::remove_file(&path),
        };
        if let Err(error) = done {
            tracing::error!(path = %path.display(), %error, "whose a key is cannot be put back");
        }
    }

    /// Whether a key that was fetched is gone.
    #[must_use]
    pub const fn is_one_shot(&self) -> bool {
        self.options.one_shot
    }

    /// Removes a key of `owner`'s, if there is one.
    ///
    /// # Errors
    /// [`PostError::Exists`] for somebody else's; or the system's.
    pub fn withdraw(&self, id: KeyId, owner: Named, now: u64) -> Result<(), PostError> {
        let _one = self.writing.lock().unwrap_or_else(PoisonError::into_inner);
        let version = {
            let state = self.state();
            let Some(indexed) = state.keys.get(&id) else { return Ok(()) };
            if indexed.owned.owner != owner && !indexed.owned.is_over(now) {
                return Err(PostError::Exists);
            }
            indexed.version
        };
        self.remove(id, version);
        // What stays on the disk would be there again after a start.
        if self.path(id).exists() {
            return Err(io::Error::other("a key that was taken back could not be removed").into());
        }
        Ok(File::open(&self.folder)?.sync_all()?)
    }

    /// Removes this version of a key; `writing` is held.
    fn remove(&self, id: KeyId, version: u64) {
        {
            let mut state = self.state();
            if state.keys.get(&id).is_none_or(|indexed| indexed.version != version) {
                return;
            }
            state.remove(&id);
        }
        let path = self.path(id);
        for path in [path.clone(), path.with_extension("owner")] {
            if let Err(error) = fs::remove_file(&path)
                && error.kind() != io::ErrorKind::NotFound
            {
                tracing::warn!(path = %path.display(), %error, "a key that is over cannot be removed");
            }
        }
    }

    /// Removes what is over.
    pub fn sweep(&self, now: u64) {
        let over: Vec<_> = {
            let state = self.state();
            let over = state.keys.iter().filter(|(_, indexed)| indexed.owned.is_over(now));
            over.map(|(id, indexed)| (*id, indexed.version)).collect()
        };
        for (id, version) in over {
            let _one = self.writing.lock().unwrap_or_else(PoisonError::into_inner);
            self.remove(id, version);
        }
    }

    /// How many keys there are.
    #[must_use]
    pub fn count(&self) -> usize {
        self.state().keys.len()
    }
}

impl std::fmt::Debug for Keys {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Keys({}, {} keys)", self.folder.display(), self.count())
    }
}

/// A key whose owner cannot be read is nobody's, and kept.
fn read_owner(folder: &Path, id: KeyId) -> Owned {
    let path = folder.join(id.to_string()).with_extension("owner");
    let read = read_file(&path, OWNER).ok().and_then(|bytes| Owned::read(&bytes));
    read.unwrap_or_else(|| Owned { owner: Named::default(), expires: 0 })
}

/// A file that is one, and no longer than `most`.
fn read_file(path: &Path, most: usize) -> io::Result<Zeroizing<Vec<u8>>> {
    let file = OpenOptions::new().read(true).custom_flags(flags()).open(path)?;
    if !file.metadata()?.is_file() {
        return Err(io::Error::other("not a file"));
    }
    let mut bytes = Zeroizing::new(Vec::with_capacity(most + 1));
    file.take(most as u64 + 1).read_to_end(&mut bytes)?;
    if bytes.len() > most { Err(io::Error::other("too long")) } else { Ok(bytes) }
}

/// A link leads nowhere, and a pipe does not hold anybody up.
fn flags() -> i32 {
    let flags = rustix::fs::OFlags::NOFOLLOW | rustix::fs::OFlags::NONBLOCK;
    i32::try_from(flags.bits()).unwrap_or(0)
}

#[cfg(test)]
mod tests;
