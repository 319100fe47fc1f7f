//! Posted keys: one file each under `Keys/`, named by the key's id, and beside it who posted it and till when it is good.
//!
//! ```text
//! Keys/<id, 32 hex digits>           coin that may fetch it 5 | key 0 to 127
//! Keys/<id, 32 hex digits>.owner     1 | coin that posted it 5 | expires 8 (seconds since 1970, 0 for never)
//! ```
//! A file is written whole, synced and put into place, so a reader sees the old one or the new one; the owner's before the key's, so that
//! no key is there without its owner. Files of other names are left alone.

use std::collections::HashMap;
use std::fs::{self, DirBuilder, File, OpenOptions};
use std::io::{self, Read, Write};
use std::num::NonZeroUsize;
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use hashlink::LruCache;
use zeroize::Zeroizing;

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

/// A file that is written and synced under another name, and gone again unless it is put into its place.
struct Draft {
    path: PathBuf,
    new: PathBuf,
}

impl Draft {
    fn write(path: PathBuf, bytes: &[u8], shared: bool) -> io::Result<Self> {
        let mut new = path.clone().into_os_string();
        new.push(".new");
        let draft = Self { path, new: new.into() };
        let mode = if shared { 0o640 } else { 0o600 };
        let mut options = OpenOptions::new();
        options.write(true).create(true).truncate(true).mode(mode).custom_flags(flags());
        let mut file = options.open(&draft.new)?;
        file.write_all(bytes)?;
        file.sync_data()?;
        Ok(draft)
    }

    fn place(self) -> io::Result<()> {
        fs::rename(&self.new, &self.path)
    }
}

/// Whether a file's name is a draft's.
fn is_draft(name: &str) -> bool {
    let of = name.strip_suffix(".new");
    of.is_some_and(|of| KeyId::from_name(of.strip_suffix(".owner").unwrap_or(of)).is_some())
}

impl Drop for Draft {
    fn drop(&mut self) {
        // Where it was put into its place there is none.
        let _gone = fs::remove_file(&self.new);
    }
}

/// A link leads nowhere, and a pipe does not hold anybody up.
fn flags() -> i32 {
    let flags = rustix::fs::OFlags::NOFOLLOW | rustix::fs::OFlags::NONBLOCK;
    i32::try_from(flags.bits()).unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use super::*;
    use crate::node::testing::Folder;

    fn options() -> KeyOptions {
        KeyOptions {
            shared: false,
            per_owner: 3,
            total: 5,
            life: Some(100),
            one_shot: false,
            cached: NonZeroUsize::new(2).unwrap(),
        }
    }

    const ADA: Named = Named { denomination: 1, serial: 7 };
    const BOB: Named = Named { denomination: 1, serial: 8 };

    fn id(byte: u8) -> KeyId {
        KeyId([byte; 16])
    }

    #[test]
    fn rkx_2_a_key_has_an_owner_a_life_and_a_place_of_its_own() {
        let folder = Folder::new();
        let path = folder.path().join("Keys");
        let keys = Keys::open(&path, options()).unwrap();
        keys.post(id(1), ADA, false, b"12345first, and long", 0).unwrap();
        assert!(matches!(keys.post(id(1), BOB, false, b"12345", 0), Err(PostError::Exists)));
        // Nothing is left of what was there.
        keys.post(id(1), ADA, false, b"12345later", 50).unwrap();
        assert_eq!(keys.fetch(id(1), 149, |_| true).unwrap().bytes.as_slice(), b"12345later");
        let file = path.join("01010101010101010101010101010101");
        assert_eq!(fs::metadata(&file).unwrap().permissions().mode() & 0o777, 0o600);
        drop(keys);
        let keys = Keys::open(&path, options()).unwrap();
        assert_eq!(keys.fetch(id(1), 149, |_| true).unwrap().owned, Owned { owner: ADA, expires: 150 });
        assert!(matches!(keys.post(id(1), BOB, false, b"12345", 149), Err(PostError::Exists)));
        // It is over, and its place is free.
        keys.post(id(1), BOB, false, b"12345bob", 150).unwrap();
        assert_eq!(keys.fetch(id(1), 249, |_| true).unwrap().owned.owner, BOB);
        keys.sweep(250);
        assert_eq!((keys.count(), fs::read_dir(&path).unwrap().count()), (0, 0));
    }

    #[test]
    fn rkx_2_keys_have_quotas() {
        let folder = Folder::new();
        let keys = Keys::open(folder.path(), options()).unwrap();
        for n in 0..3 {
            keys.post(id(n), ADA, false, b"12345", 0).unwrap();
        }
        assert!(matches!(keys.post(id(3), ADA, false, b"12345", 0), Err(PostError::Full)));
        keys.post(id(2), ADA, false, b"12345again", 0).unwrap();
        keys.post(id(3), BOB, false, b"12345", 0).unwrap();
        keys.post(id(4), BOB, false, b"12345", 0).unwrap();
        assert!(matches!(keys.post(id(5), BOB, false, b"12345", 0), Err(PostError::Full)));
        assert_eq!(keys.count(), 5);
    }

    #[test]
    fn rkx_2_a_post_that_finds_no_place_leaves_what_was_there_and_whose_it_was() {
        let folder = Folder::new();
        let keys = Keys::open(folder.path(), options()).unwrap();
        keys.post(id(1), ADA, false, b"12345ada", 0).unwrap();
        let files = || fs::read_dir(folder.path()).unwrap().count();
        let owner = |n| read_owner(folder.path(), id(n)).owner;
        // No file can be made where the key would be written first; in another, the key's own place is a folder.
        fs::create_dir(folder.path().join(format!("{}.new", id(1)))).unwrap();
        fs::create_dir(folder.path().join(id(2).to_string())).unwrap();
        let before = files();
        for (n, strangers) in [(1, true), (2, false)] {
            assert!(matches!(keys.post(id(n), BOB, strangers, b"12345bob", 50), Err(PostError::Io(_))), "{n}");
        }
        assert_eq!((files(), owner(1), owner(2)), (before, ADA, Named::default()));
        let held = |keys: &Keys| keys.fetch(id(1), 99, |_| true).map(|held| (held.bytes.to_vec(), held.owned.owner));
        assert_eq!(held(&keys), Some((b"12345ada".to_vec(), ADA)));
        drop(keys);
        // What a post that was cut off has left is gone, what is not of a post is not.
        fs::write(folder.path().join(format!("{}.owner.new", id(3))), b"cut off").unwrap();
        fs::write(folder.path().join("mine.new"), b"mine").unwrap();
        let keys = Keys::open(folder.path(), options()).unwrap();
        assert_eq!((files(), held(&keys)), (before + 1, Some((b"12345ada".to_vec(), ADA))));
        assert!(folder.path().join("mine.new").exists());
    }

    #[test]
    fn rkx_2_foreign_files_are_left_alone_and_links_lead_nowhere() {
        let folder = Folder::new();
        fs::write(folder.path().join("README"), "mine").unwrap();
        fs::write(folder.path().join("secret"), "12345 of somebody").unwrap();
        std::os::unix::fs::symlink(folder.path().join("secret"), folder.path().join(id(1).to_string())).unwrap();
        fs::create_dir(folder.path().join(id(2).to_string())).unwrap();
        fs::write(folder.path().join(id(3).to_string()), [0; 133]).unwrap();
        fs::write(folder.path().join(id(4).to_string()), [0; 4]).unwrap();
        // An owner without a key: a post that was cut off.
        fs::write(folder.path().join(format!("{}.owner", id(9))), [1; 14]).unwrap();
        fs::write(folder.path().join(id(5).to_string()), b"\x01\0\0\0\x07of the original").unwrap();
        let keys = Keys::open(folder.path(), options()).unwrap();
        for n in 1..5 {
            assert!(keys.fetch(id(n), 0, |_| true).is_none(), "{n}");
        }
        assert!(!folder.path().join(format!("{}.owner", id(9))).exists());
        let held = keys.fetch(id(5), u64::MAX, |_| true).unwrap();
        assert_eq!(held.owned, Owned { owner: Named::default(), expires: 0 });
        assert_eq!(fs::read_to_string(folder.path().join("README")).unwrap(), "mine");
    }

    #[test]
    fn rkx_2_a_key_may_be_fetched_once() {
        let folder = Folder::new();
        let keys = Keys::open(folder.path(), KeyOptions { one_shot: true, ..options() }).unwrap();
        keys.post(id(1), ADA, false, b"12345", 0).unwrap();
        assert!(keys.fetch(id(1), 0, |_| false).is_none(), "not by everybody");
        let given = std::thread::scope(|scope| {
            let threads: Vec<_> = (0..8).map(|_| scope.spawn(|| keys.fetch(id(1), 0, |_| true).is_some())).collect();
            threads.into_iter().map(|thread| thread.join().unwrap()).filter(|given| *given).count()
        });
        assert_eq!(given, 1);
        assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 0);
    }
}
