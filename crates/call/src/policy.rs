//! The numbers of a call, with their reasons.

use core::time::Duration;

/// How long things may take. The defaults are those of the rules; a server cannot change them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Policy {
    /// Ringing ends after this (CALL-3).
    pub ringing: Duration,
    /// A signal without an answer is sent again after this: short against a person's patience, long against a round
    /// trip.
    pub resend: Duration,
    /// An answered call that is not confirmed by then has lost its peer.
    pub confirm: Duration,
    /// An invite is good for this many seconds around its creation (CALL-5).
    pub invite_validity: u64,
    /// Envelopes that wait for an agreement at most: a hostile server cannot make a token work without end.
    pub max_opening: usize,
    /// Envelope ids remembered at most, oldest forgotten first.
    pub max_seen: usize,
}

impl Default for Policy {
    fn default() -> Self {
        Self {
            ringing: Duration::from_secs(60),
            resend: Duration::from_secs(1),
            confirm: Duration::from_secs(10),
            invite_validity: 60,
            max_opening: 16,
            max_seen: 4096,
        }
    }
}
