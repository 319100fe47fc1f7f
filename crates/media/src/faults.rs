//! Faults that are planted on purpose, to see that the simulation of group calls finds each of them.
//!
//! Only with the feature `planted-faults`, which nothing but that test asks for, is there anything behind this: without
//! it no fault is ever planted, and what asks for one is compiled away.

/// A fault, by the place where it is looked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fault {
    /// A host draws no new key when somebody has gone (against rule GRP-5).
    KeepsTheKey,
    /// A member asks for nothing that does not open (against EKR-1).
    AsksForNothing,
    /// A member asks whenever it can (against EKR-2).
    AsksWithoutEnd,
    /// Of two hosts of one term neither gives way (against GRP-1).
    TwoHosts,
    /// A member does not seal under the key that follows a removal (against GRP-5).
    StaysBehind,
    /// Whoever the server lets in belongs here (against GRP-8).
    TakesTheServersWord,
    /// Nobody is removed from the group for having gone (against MLS-4).
    KeepsTheLeaf,
    /// No key changes for a listener who has gone (against GRP-9).
    KeepsTheAudience,
    /// A member does not follow the commits of others (against EKR-7).
    FollowsNobody,
    /// A key that was lost and comes back is sealed under from the first number on (against MED-3).
    CountsAnew,
}

#[cfg(feature = "planted-faults")]
mod planted {
    use core::cell::Cell;

    use super::Fault;

    thread_local! {
        static PLANTED: Cell<Option<Fault>> = const { Cell::new(None) };
    }

    /// Plants a fault in everything that runs on this thread, or none.
    pub fn plant(fault: Option<Fault>) {
        PLANTED.set(fault);
    }

    /// Whether this fault is planted on this thread.
    #[must_use]
    pub fn is_planted(fault: Fault) -> bool {
        PLANTED.get() == Some(fault)
    }
}

#[cfg(feature = "planted-faults")]
pub use planted::{is_planted, plant};

/// Whether this fault is planted: never.
#[cfg(not(feature = "planted-faults"))]
#[must_use]
pub const fn is_planted(_: Fault) -> bool {
    false
}
