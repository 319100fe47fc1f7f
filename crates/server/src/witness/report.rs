//! What a witness tells whoever runs it: one line for each look, for people (`Display`) or programs (`Serialize`).

use std::fmt;
use std::path::PathBuf;

use serde::Serialize;

use super::Accused;
use super::fetch::FetchError;
use super::memory::CannotCosign;

/// What happened.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(tag = "event", rename_all = "snake_case")]
#[non_exhaustive]
pub enum Report {
    /// The witness starts.
    Ready {
        /// Its verifier key, for the policies of clients and the configuration of the server.
        witness: String,
        /// The log's verifier key.
        log: String,
        /// Where the log is.
        address: String,
        /// Leaves that are checked already.
        checked: u64,
        /// Leaves of the last checkpoint that was cosigned; 0 for none.
        cosigned: u64,
    },
    /// Some leaves more are checked, and there are more to come.
    Checking {
        /// Leaves that are checked.
        checked: u64,
        /// Leaves of the checkpoint.
        size: u64,
    },
    /// The log has a cosignature of its newest checkpoint.
    Cosigned {
        /// Leaves of the checkpoint.
        size: u64,
        /// The directory's epoch.
        epoch: u64,
        /// The time of the log's last leaf, unix seconds.
        time: u64,
        /// Whether the log had it already.
        known: bool,
    },
    /// The log has no leaves.
    Empty,
    /// All is well with the checkpoint, and nothing is cosigned: an earlier fault has not been looked at.
    Withheld {
        /// Leaves of the checkpoint.
        size: u64,
        /// The evidence. When it is moved away, the witness cosigns again.
        evidence: PathBuf,
    },
    /// The log did something wrong. Nothing is cosigned.
    Accused {
        /// The rule.
        rule: &'static str,
        /// What it did.
        says: String,
        /// Whether it ends the cosigning until a person has looked at it.
        ends: bool,
        /// The evidence; absent where enough of the kind was kept before.
        evidence: Option<PathBuf>,
    },
    /// It could not be looked at.
    Failed {
        /// Why.
        says: String,
    },
}

/// Why a look at the log did not come to an end, without a fault of the log's.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Trouble {
    /// The log was not reached, or did not answer as it should.
    #[error(transparent)]
    Fetch(#[from] FetchError),
    /// The clock is wrong.
    #[error(transparent)]
    Cosign(#[from] CannotCosign),
}

impl Report {
    /// Of a fault.
    #[must_use]
    pub fn accused(accused: &Accused, evidence: Option<PathBuf>) -> Self {
        let (rule, says) = (accused.fault.rule(), accused.fault.to_string());
        Self::Accused { rule, says, ends: accused.ends_cosigning(), evidence }
    }

    /// Whether the newest checkpoint is cosigned, and the log has it.
    #[must_use]
    pub const fn is_cosigned(&self) -> bool {
        matches!(self, Self::Cosigned { .. })
    }
}

impl From<Trouble> for Report {
    fn from(trouble: Trouble) -> Self {
        Self::Failed { says: trouble.to_string() }
    }
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Ready { witness, address, checked, cosigned, .. } => {
                write!(f, "witness {witness} of {address}: {checked} leaves checked, cosigned up to {cosigned}")
            }
            Self::Checking { checked, size } => write!(f, "checked {checked} of {size} leaves"),
            Self::Cosigned { size, epoch, known: false, .. } => {
                write!(f, "cosigned the log of {size} leaves, the directory's epoch {epoch}")
            }
            Self::Cosigned { size, epoch, .. } => {
                write!(f, "nothing new since the log of {size} leaves, the directory's epoch {epoch}")
            }
            Self::Empty => f.write_str("the log is empty"),
            Self::Withheld { size, evidence } => {
                let evidence = evidence.display();
                write!(f, "the log of {size} leaves is not cosigned: look at {evidence}, and move it away to go on")
            }
            Self::Accused { rule, says, ends, evidence } => {
                write!(f, "{rule}: {says}")?;
                if let Some(evidence) = evidence {
                    write!(f, "; evidence in {}", evidence.display())?;
                }
                f.write_str(if *ends { "; nothing more is cosigned" } else { "" })
            }
            Self::Failed { says } => f.write_str(says),
        }
    }
}
