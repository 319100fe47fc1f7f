//! A memory that outlives the process: the order of keeping and telling.

use undertone_transparency::note::{LogKey, NoteSignature, WitnessKey};

use super::memory::{BadMemory, Memory};

/// Where a witness's memory is kept. The contract:
/// 1. [`Keep::write`] is all or nothing, and durable when it returns `Ok`. When it fails, the next [`Keep::read`]
///    returns what was there before or what was to be written, whole.
/// 2. There is one writer.
pub trait Keep {
    /// Why it cannot be kept or read, or is not gone on with.
    type Error: From<BadMemory>;

    /// What was written last; `None` before the first time.
    ///
    /// # Errors
    /// The keeper's own.
    fn read(&mut self) -> Result<Option<Vec<u8>>, Self::Error>;

    /// Replaces what is kept.
    ///
    /// # Errors
    /// The keeper's own.
    fn write(&mut self, memory: &[u8]) -> Result<(), Self::Error>;
}

/// A memory that is durable. Cosignatures come out of it alone, so none is told that could be forgotten.
#[derive(Debug)]
pub struct Kept<K> {
    memory: Memory,
    keeper: K,
}

impl<K: Keep> Kept<K> {
    /// Goes on with what is kept, or begins with a memory of nothing.
    ///
    /// # Errors
    /// The keeper's own, among them [`BadMemory`] where what is kept is damaged or another log's or witness's.
    pub fn open(mut keeper: K, log: &LogKey, witness: &WitnessKey) -> Result<Self, K::Error> {
        let memory = match keeper.read()? {
            Some(bytes) => Memory::from_bytes(&bytes, log, witness)?,
            None => {
                let memory = Memory::new(log.clone(), witness.clone());
                keeper.write(&memory.to_bytes())?;
                memory
            }
        };
        Ok(Self { memory, keeper })
    }

    /// What is known.
    #[must_use]
    pub const fn memory(&self) -> &Memory {
        &self.memory
    }

    /// Makes a later memory durable, and only then goes by it.
    ///
    /// # Errors
    /// The keeper's own, among them [`BadMemory::Back`] where `memory` is not a later one. After an error what is
    /// durable is not known: the process should end, and go on with what it then reads.
    pub fn keep(&mut self, memory: Memory) -> Result<(), K::Error> {
        if memory == self.memory {
            return Ok(());
        }
        if !memory.follows(&self.memory) {
            return Err(BadMemory::Back.into());
        }
        self.keeper.write(&memory.to_bytes())?;
        self.memory = memory;
        Ok(())
    }

    /// The last cosignature and the number of leaves that it is for.
    #[must_use]
    pub fn cosignature(&self) -> Option<(u64, &NoteSignature)> {
        self.memory.last().map(|last| (last.size, &last.line))
    }

    /// What keeps it.
    #[must_use]
    pub const fn keeper(&self) -> &K {
        &self.keeper
    }
}
