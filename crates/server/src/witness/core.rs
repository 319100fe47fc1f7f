//! One look at a log by a witness: the reading that everybody does, and a memory that may cosign at its end.

use undertone_keys::WallTime;
use undertone_transparency::follow;

use super::memory::{Memory, is_cosignature};
use super::{Accused, Fault, Resource};

/// A checkpoint that is being checked: a [`follow::Check`] of a witness.
///
/// What fails is dropped with its error, and nothing but a memory whose every leaf is checked can be cosigned.
#[derive(Clone, Debug)]
pub struct Check {
    memory: Memory,
    on: follow::Check,
}

/// What a check needs next.
#[derive(Clone, Debug)]
pub enum Step {
    /// Fetch it, and hand it to [`Asking::answer`].
    Fetch(Asking),
    /// Make [`Check::memory`] durable before going on.
    Keep(Check),
    /// Rule KT-12 holds for every leaf of the checkpoint. The memory may be cosigned, unless the log is empty.
    Done(Memory),
}

/// A check that waits for something.
#[derive(Clone, Debug)]
pub struct Asking {
    memory: Memory,
    on: follow::Asking,
}

impl Check {
    /// Begins with a checkpoint as it came: it has to be the log's own (rule KT-1), and not to go back (rule KT-4), and
    /// the witness has to know of every cosignature of its own below it. `now` is for the evidence.
    ///
    /// # Errors
    /// [`Accused`].
    pub fn begin(memory: &Memory, note: &[u8], now: WallTime) -> Result<Self, Accused> {
        let on = follow::Check::begin(memory.progress(), Some(memory.witness()), note, now)?;
        let remembered = memory.last();
        let shown = on.shown();
        let forgotten = shown.signed().note().signatures().iter().any(|line| {
            remembered.is_none_or(|last| last.line != *line) && is_cosignature(line, shown, memory.witness())
        });
        if forgotten {
            return Err(on.accuse(Fault::Forgotten { size: shown.size() }));
        }
        Ok(Self { memory: memory.clone(), on })
    }

    /// What is known by now.
    #[must_use]
    pub const fn memory(&self) -> &Memory {
        &self.memory
    }

    /// Leaves of the checkpoint that is being checked.
    #[must_use]
    pub const fn size(&self) -> u64 {
        self.on.shown().size()
    }

    /// Goes on as far as it can without asking.
    ///
    /// # Errors
    /// [`Accused`].
    pub fn step(self) -> Result<Step, Accused> {
        let Self { memory, on } = self;
        Ok(match on.step()? {
            follow::Step::Fetch(on) => Step::Fetch(Asking { memory, on }),
            follow::Step::Keep(on) => Step::Keep(Self { memory: memory.with(on.progress().clone()), on }),
            follow::Step::Done(progress) => Step::Done(memory.with(progress)),
        })
    }
}

impl Asking {
    /// What is to be fetched.
    #[must_use]
    pub const fn resource(&self) -> Resource {
        self.on.resource()
    }

    /// Takes what came.
    ///
    /// # Errors
    /// [`Accused`].
    pub fn answer(self, bytes: &[u8]) -> Result<Check, Accused> {
        Ok(Check { memory: self.memory, on: self.on.answer(bytes)? })
    }
}
