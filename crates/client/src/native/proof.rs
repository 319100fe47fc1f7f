//! The proof of somebody's devices, taken apart for people and kept whole for others (rules KT-1 to KT-8).

use std::fs::OpenOptions;
use std::io::Write;
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;

use undertone_keys::cbor::Malformed;
use undertone_keys::sign::{Server, VerifyingKey};
use undertone_keys::{UserId, WallTime};
use undertone_transparency::answer::{Answer, Found};
use undertone_transparency::checkpoint::origin;
use undertone_transparency::directory::marker_versions;
use undertone_transparency::evidence::Evidence;
use undertone_transparency::note::LogKey;
use undertone_transparency::verify::{FRESH, VerifiedDevices};

use super::error::ClientError;
use super::home::ServerPin;

/// A proof that was checked and holds.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Proof {
    /// Whose devices it is about.
    pub user: UserId,
    /// The key that signs the log, pinned.
    pub log_key: VerifyingKey<Server>,
    /// The same as others write it (C2SP): the log's name, a short id and the key.
    pub log_verifier: String,
    /// The key of the directory's VRF, pinned.
    pub vrf_key: Option<[u8; 32]>,
    /// The text that the log signed: its name, its size and its root (rule KT-1).
    pub checkpoint: String,
    /// Witnesses that cosigned, and when (rule KT-2).
    pub witnesses: Vec<Cosigned>,
    /// How many had to.
    pub threshold: usize,
    /// Leaves of the log that enough of them have seen; none where nobody has seen any.
    pub witnessed: Option<u64>,
    /// The last leaf (rule KT-3) and how the log grew up to it (rule KT-4).
    pub growth: Growth,
    /// The user's entry in the directory (rules KT-5 to KT-7).
    pub entry: Entry,
    /// When it was checked, by this device's clock (rule KT-8).
    pub at: WallTime,
    /// Seconds that the leaf might have been old.
    pub limit: u64,
    evidence: Evidence,
}

/// A witness's cosignature.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Cosigned {
    /// The witness's name.
    pub name: String,
    /// When it cosigned, by its own clock.
    pub at: WallTime,
    /// How many leaves the log had then: fewer than now where it saw an earlier state, which grew to this one.
    pub size: u64,
}

/// The state of the directory, and its place in the log.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Growth {
    /// Leaves of the log.
    pub size: u64,
    /// The root of the log.
    pub root: [u8; 32],
    /// Leaves that this device had seen before; none at the first contact.
    pub seen: Option<u64>,
    /// Hashes that show that the log only grew since.
    pub consistency: usize,
    /// The epoch of the directory.
    pub epoch: u64,
    /// The root of the directory.
    pub directory: [u8; 32],
    /// The leaf's time, by the server's clock.
    pub time: WallTime,
    /// Hashes that show that the leaf is the last one.
    pub inclusion: usize,
}

/// A user's entry.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Entry {
    /// The VRF's output for this user and version: where the entry stands.
    pub place: [u8; 32],
    /// The newest version, which is that of the device list.
    pub version: u32,
    /// The epoch in which it was published.
    pub published: u64,
    /// Nodes beside the way from the entry to the root of the directory.
    pub path: usize,
    /// Bytes of the whole look-up: the way there, the absence of the next version, earlier versions.
    pub bytes: usize,
    /// The earlier versions that had to be shown with it.
    pub earlier: Vec<u64>,
    /// The hash of the signed list, which is what the directory holds.
    pub list: [u8; 32],
    /// The version in force: mostly the newest. Where that begins the account anew and its time has not come, the one before (rule ID-7).
    pub in_force: u32,
    /// The account key that signed the list in force, as a fingerprint.
    pub account: String,
    /// Devices in it that may act.
    pub devices: usize,
    /// The account key that is announced, as a fingerprint, and from when on it counts.
    pub announced: Option<(String, WallTime)>,
    /// The version that this device knew before; none where it knew no list.
    pub known: Option<u32>,
    /// Lists that came with the answer, each following the one before it.
    pub brought: usize,
}

impl Proof {
    pub(super) fn new(devices: &VerifiedDevices, evidence: Evidence, pin: &ServerPin) -> Result<Self, ClientError> {
        let unreadable = |_: Malformed| ClientError::BadAnswer(pin.address.clone());
        let Answer { head, found, .. } = Answer::from_bytes(evidence.answer()).map_err(unreadable)?;
        let about = evidence.about();
        let name = origin(about.domain).map_err(|_| ClientError::BadAnswer(pin.address.clone()))?;
        let entry = Entry::new(devices, &evidence, &found).map_err(unreadable)?;
        let (seen, witnessed) = (devices.provenance().seen(), devices.provenance().witnessed());
        let cosigned = witnessed.witnesses.iter().map(|witness| Cosigned {
            name: witness.name.to_string(),
            at: witness.time,
            size: witness.size,
        });
        let growth = Growth {
            size: seen.size(),
            root: *seen.checkpoint().root(),
            seen: evidence.seen(),
            consistency: head.consistency.0.len(),
            epoch: seen.leaf().epoch,
            directory: seen.leaf().root,
            time: seen.time(),
            inclusion: head.inclusion.0.len(),
        };
        Ok(Self {
            user: evidence.user().clone(),
            log_key: *about.log,
            log_verifier: LogKey::new(name, *about.log).to_string(),
            vrf_key: pin.vrf,
            checkpoint: seen.checkpoint().text().to_owned(),
            witnesses: cosigned.collect(),
            threshold: witnessed.threshold,
            witnessed: witnessed.size(),
            growth,
            entry,
            at: about.at,
            limit: FRESH,
            evidence,
        })
    }

    /// The server's answer as it came. It holds for whoever asks the same question: with what was seen and known before it
    /// stands in [`Proof::file`].
    #[must_use]
    pub fn answer(&self) -> &[u8] {
        self.evidence.answer()
    }

    /// A file that [`check_evidence`](super::check_evidence) checks again, for anybody: the answer, the question and the pinned keys.
    #[must_use]
    pub fn file(&self) -> Vec<u8> {
        self.evidence.to_bytes()
    }

    /// Writes that file to a place where nothing is yet.
    ///
    /// # Errors
    /// [`ClientError::Save`].
    pub fn save(&self, path: &Path) -> Result<(), ClientError> {
        // It tells whom this device asked for, so others get it from its owner or not at all.
        let file = OpenOptions::new().write(true).create_new(true).mode(0o600).open(path);
        let written = file.and_then(|mut file| file.write_all(&self.file()).and_then(|()| file.sync_all()));
        written.map_err(|source| ClientError::Save { path: path.to_owned(), source })
    }
}

impl Entry {
    fn new(devices: &VerifiedDevices, evidence: &Evidence, found: &Found) -> Result<Self, Malformed> {
        let Found::Present { proof, lists } = found else { return Err(Malformed) };
        let list = devices.list();
        Ok(Self {
            place: proof.place().ok_or(Malformed)?,
            version: proof.version,
            published: proof.epoch,
            path: proof.existence.path.beside().len(),
            bytes: proof.to_bytes().len(),
            earlier: marker_versions(proof.version),
            list: proof.value,
            in_force: list.version(),
            account: list.account().fingerprint(),
            devices: list.active().count(),
            announced: devices.announced().map(|anew| (anew.account.fingerprint(), anew.effective)),
            known: evidence.known(),
            brought: lists.len(),
        })
    }
}
