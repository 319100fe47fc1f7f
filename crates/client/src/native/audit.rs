//! What can be checked again afterwards, by anybody: evidence that a proof failed (rule KT-9).

use std::fs;
use std::path::Path;

use undertone_keys::{UserId, WallTime};
use undertone_transparency::evidence::{Evidence, MAX_BYTES};

use super::error::ClientError;

/// A file of evidence, and what its check came to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CheckedEvidence {
    /// The domain of the key directory.
    pub domain: String,
    /// The key that signs its log.
    pub log: String,
    /// Whose devices were asked for.
    pub user: UserId,
    /// When, by the clock of the device that asked.
    pub at: WallTime,
    /// Which check failed: the rule's number and a sentence. None where everything holds, and nobody is accused.
    pub fault: Option<Fault>,
}

/// A check that failed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Fault {
    /// The rule's number, such as `KT-4`.
    pub rule: &'static str,
    /// What is wrong, with the values.
    pub sentence: String,
    /// Whether two signatures of the log's key alone say it: then it needs nobody's word.
    pub convicts: bool,
}

/// Makes the check of a file of evidence once more.
///
/// # Errors
/// [`ClientError::Evidence`] where the file cannot be read, or is none.
pub fn check_evidence(path: &Path) -> Result<CheckedEvidence, ClientError> {
    let unreadable = |why: String| ClientError::Evidence { path: path.to_owned(), why };
    let about = fs::metadata(path).map_err(|error| unreadable(error.to_string()))?;
    if !about.is_file() || about.len() > MAX_BYTES as u64 {
        return Err(unreadable("it is no file of evidence".into()));
    }
    let bytes = fs::read(path).map_err(|error| unreadable(error.to_string()))?;
    let malformed = |_| unreadable("it is no file of evidence, or was changed".into());
    let evidence = Evidence::from_bytes(&bytes).map_err(malformed)?;
    let checked = evidence.check().map_err(malformed)?;
    let fault = checked.err().map(|accusation| Fault {
        rule: accusation.rule(),
        sentence: accusation.to_string(),
        convicts: evidence.convicts(),
    });
    let (domain, log) = (evidence.domain().to_owned(), evidence.log().fingerprint());
    Ok(CheckedEvidence { domain, log, user: evidence.user().clone(), at: evidence.at(), fault })
}
