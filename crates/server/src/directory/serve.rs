//! The log as witnesses, auditors and mirrors read it: checkpoints, tiles and proofs, all no further than what is
//! shown.

use undertone_transparency::checkpoint::{Checkpoint, CheckpointError, SignedCheckpoint};
use undertone_transparency::cosignature::Cosignature;
use undertone_transparency::leaf::Leaf;
use undertone_transparency::log::{self, Hash, TilePath};
use undertone_transparency::note::NoteSignature;

use super::error::DirectoryError;
use super::handle::Directory;
use super::shown::Shown;
use super::storage::{LogOf, Storage, StorageError, View};

impl<S: Storage> Directory<S> {
    /// The newest checkpoint with the cosignatures that it has so far.
    ///
    /// # Errors
    /// [`DirectoryError::Storage`].
    pub async fn checkpoint(&self) -> Result<SignedCheckpoint, DirectoryError> {
        self.read(|directory| {
            let shown = directory.shown();
            directory.with_lines(&directory.0.storage.view()?, &shown, shown.size())
        })
        .await
    }

    /// The checkpoints that witnesses cosigned last, `most` of them at most, the newest first, each with the lines for it.
    /// Witnesses look at different moments, so mostly there are two or three.
    ///
    /// # Errors
    /// [`DirectoryError::Storage`].
    pub async fn witnessed(&self, most: usize) -> Result<Vec<SignedCheckpoint>, DirectoryError> {
        if self.0.settings.witnesses.is_empty() {
            return Ok(Vec::new());
        }
        self.read(move |directory| {
            let view = directory.0.storage.view()?;
            let mut sizes: Vec<u64> = view.cosignatures()?.into_iter().map(|(size, _)| size).collect();
            sizes.sort_unstable_by(|a, b| b.cmp(a));
            sizes.dedup();
            sizes.truncate(most);
            sizes.into_iter().map(|size| directory.with_lines(&view, &directory.shown(), size)).collect()
        })
        .await
    }

    /// The bytes of a tile or an entry bundle (C2SP tlog-tiles); none where what is shown has none there.
    ///
    /// # Errors
    /// [`DirectoryError::Storage`].
    pub async fn tile(&self, path: TilePath) -> Result<Option<Vec<u8>>, DirectoryError> {
        let tile = match path {
            TilePath::Tile(tile) => tile,
            TilePath::Entries(bundle) => bundle.tile(),
        };
        if tile.leaves() > self.shown().size() {
            return Ok(None);
        }
        self.read(move |directory| {
            let view = directory.0.storage.view()?;
            let bytes = match path {
                TilePath::Tile(tile) => tile.read(&LogOf(&view))?,
                TilePath::Entries(bundle) => {
                    let entries = view.leaves(bundle.first(), tile.width())?;
                    bundle.encode(&entries).map_err(|_| StorageError::Damaged)?
                }
            };
            Ok(Some(bytes))
        })
        .await
    }

    /// The proof that an epoch only added to the one before (rule KT-12), as it is served; none where there is no such
    /// epoch yet.
    ///
    /// # Errors
    /// [`DirectoryError::Storage`].
    pub async fn audit(&self, epoch: u64) -> Result<Option<Vec<u8>>, DirectoryError> {
        if epoch > self.shown().epoch() {
            return Ok(None);
        }
        self.read(move |directory| Ok(directory.0.storage.view()?.audit(epoch)?)).await
    }

    /// The leaf with which an epoch was published: its place, its bytes, and the proof that it is in the log of `size` leaves;
    /// none where that log has no such epoch, or is not shown yet.
    ///
    /// # Errors
    /// [`DirectoryError::Storage`].
    pub async fn announced(&self, epoch: u64, size: u64) -> Result<Option<(u64, Vec<u8>, Vec<Hash>)>, DirectoryError> {
        if epoch == 0 || size > self.shown().size() {
            return Ok(None);
        }
        self.read(move |directory| {
            let view = directory.0.storage.view()?;
            let entry = |index| view.leaves(index, 1)?.pop().ok_or(StorageError::Damaged);
            let epoch_of =
                |entry: &[u8]| Leaf::from_bytes(entry).map(|leaf| leaf.epoch).map_err(|_| StorageError::Damaged);
            // Epochs never go back from one leaf to the next: the first leaf of an epoch is found by halving.
            let (mut low, mut high) = (0, size);
            while low < high {
                let middle = low + (high - low) / 2;
                if epoch_of(&entry(middle)?)? < epoch {
                    low = middle + 1;
                } else {
                    high = middle;
                }
            }
            if low >= size {
                return Ok(None);
            }
            let leaf = entry(low)?;
            if epoch_of(&leaf)? != epoch {
                return Ok(None);
            }
            let inclusion = log::prove_inclusion(low, size, &LogOf(&view))?;
            Ok(Some((low, leaf, inclusion)))
        })
        .await
    }

    /// The proof that the log of `size` leaves begins with that of `old` (RFC 6962, 2.1.2); none where what is shown is
    /// smaller, or the sizes are the wrong way round.
    ///
    /// # Errors
    /// [`DirectoryError::Storage`].
    pub async fn consistency(&self, old: u64, size: u64) -> Result<Option<Vec<Hash>>, DirectoryError> {
        if old > size || size > self.shown().size() {
            return Ok(None);
        }
        self.read(move |directory| Ok(Some(log::prove_consistency(old, size, &LogOf(&directory.0.storage.view()?))?)))
            .await
    }

    /// Takes a witness's line for the checkpoint of `size` leaves. False where it is none, or an older one.
    ///
    /// # Errors
    /// [`DirectoryError::Storage`].
    pub async fn cosign(&self, size: u64, line: NoteSignature) -> Result<bool, DirectoryError> {
        let Some(key) = self.0.settings.witnesses.iter().find(|key| key.is_named(&line)).cloned() else {
            return Ok(false);
        };
        if size == 0 || size > self.shown().size() {
            return Ok(false);
        }
        self.read(move |directory| {
            let view = directory.0.storage.view()?;
            // Anybody can send what everybody is shown: the same again is not written again.
            let text = line.to_string();
            if view.cosignatures()?.iter().any(|(at, kept)| *at == size && *kept == text) {
                return Ok(true);
            }
            let signed = directory.at(&view, &directory.shown(), size)?;
            let verified = signed.verify(&directory.0.log_key).map_err(|_| StorageError::Damaged)?;
            let holds = Cosignature::from_bytes(&line.bytes)
                .is_ok_and(|cosignature| cosignature.verify(&verified, key.key()).is_ok());
            drop(view);
            Ok(holds && directory.0.storage.keep_cosignature(&key.to_string(), size, &text)?)
        })
        .await
    }

    /// The checkpoint at a size with the witnesses' lines for it.
    fn with_lines(&self, view: &S::View<'_>, shown: &Shown, size: u64) -> Result<SignedCheckpoint, DirectoryError> {
        let mut checkpoint = self.at(view, shown, size)?;
        for (_, line) in view.cosignatures()?.into_iter().filter(|(at, _)| *at == size) {
            let lines = NoteSignature::parse_lines(&line).map_err(|_| StorageError::Damaged)?;
            let pushed: Result<(), CheckpointError> = lines.into_iter().try_for_each(|line| checkpoint.push(line));
            pushed.map_err(|_| StorageError::Damaged)?;
        }
        Ok(checkpoint)
    }

    /// The checkpoint at a size that was shown once or is now. It was signed before, and its bytes are the same again.
    fn at(&self, view: &S::View<'_>, shown: &Shown, size: u64) -> Result<SignedCheckpoint, StorageError> {
        if size == shown.size() {
            return Ok(shown.checkpoint.clone());
        }
        let root = log::root(size, &LogOf(view))?;
        Ok(Checkpoint { origin: self.0.log_key.name().clone(), size, root }.sign(&self.0.log))
    }
}
