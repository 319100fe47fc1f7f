//! What can be checked again afterwards, by anybody: evidence that a proof failed (rule KT-9), or of what a log did wrong.

use std::fs;
use std::path::Path;

use undertone_keys::cbor::Malformed;
use undertone_keys::{UserId, WallTime};
use undertone_transparency::evidence::{self, Evidence, MAX_BYTES};
use undertone_transparency::follow;
use undertone_transparency::gossip::Divergence;

use super::error::ClientError;

/// A file of evidence, and what its check came to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CheckedEvidence {
    /// The domain of the key directory.
    pub domain: String,
    /// The key that signs its log.
    pub log: String,
    /// What it is about.
    pub about: About,
    /// When, by the clock of whoever asked.
    pub at: WallTime,
    /// Which check failed: the rule's number and a sentence. None where everything holds, and nobody is accused.
    pub fault: Option<Fault>,
}

/// What a file of evidence is about.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum About {
    /// A device asked for this user's devices.
    Devices(UserId),
    /// A device of this user asked for the history of its own account.
    History(UserId),
    /// Two devices compared what they were shown of the log.
    Divergence,
    /// Somebody read the log: this witness, or a device that audited it.
    Log(Option<String>),
}

/// A check that failed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Fault {
    /// The rule's number, such as `KT-4`.
    pub rule: String,
    /// What is wrong, with the values.
    pub sentence: String,
    /// Whether what the log's key has signed says it by itself: then it needs nobody's word.
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
    if let Ok(evidence) = follow::Evidence::from_bytes(&bytes) {
        return of_log(&evidence).map_err(malformed);
    }
    if let Ok(evidence) = Divergence::from_bytes(&bytes) {
        return of_two(&evidence).map_err(malformed);
    }
    let evidence = Evidence::from_bytes(&bytes).map_err(malformed)?;
    let checked = evidence.check().map_err(malformed)?;
    let fault = checked.err().map(|accusation| Fault {
        rule: accusation.rule().to_owned(),
        sentence: accusation.to_string(),
        convicts: evidence.convicts(),
    });
    let user = evidence.user().clone();
    let about = if evidence.is_of_history() { About::History(user) } else { About::Devices(user) };
    Ok(of_device(evidence.about(), about, fault))
}

/// What a device has kept that was shown another log than its peer (rule KT-13).
fn of_two(evidence: &Divergence) -> Result<CheckedEvidence, Malformed> {
    let fault = evidence.check()?.err().map(|wrong| Fault {
        rule: "KT-13".to_owned(),
        sentence: wrong.to_string(),
        convicts: evidence.convicts(),
    });
    Ok(of_device(evidence.about(), About::Divergence, fault))
}

/// What a device has kept that trusts a directory.
fn of_device(directory: evidence::About<'_>, about: About, fault: Option<Fault>) -> CheckedEvidence {
    let evidence::About { domain, log, at } = directory;
    CheckedEvidence { domain: words(domain), log: log.fingerprint(), about, at, fault }
}

/// What somebody who read a log has kept. Rule and sentence are theirs; whether it convicts is found out here.
fn of_log(evidence: &follow::Evidence) -> Result<CheckedEvidence, Malformed> {
    let key = evidence.log()?;
    let name = key.name().as_str();
    let fault = Fault { rule: words(evidence.rule()), sentence: words(evidence.says()), convicts: evidence.convicts() };
    Ok(CheckedEvidence {
        domain: words(name.strip_suffix("/undertone/directory").unwrap_or(name)),
        log: key.key().fingerprint(),
        about: About::Log(evidence.witness().map(words)),
        at: evidence.at(),
        fault: Some(fault),
    })
}

/// What somebody else wrote goes to a terminal: words, no control sequences.
fn words(text: &str) -> String {
    text.chars().filter(|c| !c.is_control()).take(500).collect()
}
