//! The peer trust store, one peer at a time (rule KT-10).
//!
//! ```text
//! unknown --first list--> pinned --SAS or code compared--> verified
//! pinned | verified | overridden --another account key--> changed
//! changed --accepted by a person--> overridden      changed --refused by a person--> refused
//! overridden --SAS or code compared--> verified     refused --accepted by a person--> overridden
//! refused --the old key comes back--> what it was before     refused --a third key--> changed
//! ```
//! Peers are pinned by account key, so a new phone is no alarm. An alarm does not go away because the old list comes
//! back: a person decides. A key that was refused stays refused until a person accepts it.

use minicbor::{Decode, Encode};
use undertone_keys::cbor;
use undertone_keys::choice::Offer;
use undertone_keys::device_list::{ClaimedList, DeviceList};
use undertone_keys::record::DeviceRecord;
use undertone_keys::sign::{Account, VerifyingKey};
use undertone_keys::{DeviceId, UserId, WallTime};

use crate::known::{KnownList, NewestAt};
pub use crate::verify::Attested;
use crate::verify::VerifiedDevices;

/// How well a peer is known.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Encode, Decode)]
#[cbor(index_only)]
pub enum Standing {
    /// The first account key seen, never compared.
    #[n(0)]
    Pinned,
    /// Two people compared a short authentication string or a code.
    #[n(1)]
    Verified,
    /// The key changed and a person accepted the new one without comparing.
    #[n(2)]
    Overridden,
}

/// A person's decision about a peer's key, kept for ever.
#[derive(Clone, Debug, PartialEq, Eq, Encode, Decode)]
#[cbor(map)]
pub struct Decision {
    /// The key before.
    #[n(0)]
    pub old: VerifyingKey<Account>,
    /// The key decided about.
    #[n(1)]
    pub new: VerifyingKey<Account>,
    /// When.
    #[n(2)]
    pub at: WallTime,
    /// What was decided.
    #[n(3)]
    pub verdict: Verdict,
    /// The state of the directory in which the key decided about was proven last.
    #[n(4)]
    pub attested: Option<Attested>,
}

/// What a person decided.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Encode, Decode)]
#[cbor(index_only)]
pub enum Verdict {
    /// Both compared and found the same.
    #[n(0)]
    Verified,
    /// The new key is to be used.
    #[n(1)]
    Accepted,
    /// The new key is not to be used.
    #[n(2)]
    Refused,
}

#[derive(Clone, Debug, PartialEq, Eq, Encode, Decode)]
enum State {
    #[n(0)]
    Trusted(#[n(0)] Standing, #[n(1)] VerifyingKey<Account>),
    /// Standing before, key before, key now.
    #[n(1)]
    Changed(#[n(0)] Standing, #[n(1)] VerifyingKey<Account>, #[n(2)] VerifyingKey<Account>),
    #[n(2)]
    Refused(#[n(0)] Standing, #[n(1)] VerifyingKey<Account>, #[n(2)] VerifyingKey<Account>),
}

/// What this device knows of one peer. Its stored form is the deterministic CBOR of [`PeerTrust::to_bytes`].
#[derive(Clone, Debug, PartialEq, Eq, Encode, Decode)]
#[cbor(map)]
pub struct PeerTrust {
    #[n(0)]
    user: UserId,
    #[n(1)]
    state: State,
    /// The newest list of the trusted key.
    #[cbor(n(2), with = "minicbor::bytes")]
    list: Vec<u8>,
    #[n(3)]
    decisions: Vec<Decision>,
    /// Devices that once listed a P-256 key and do not any more (rule ID-3); mostly there are none.
    #[n(4)]
    downgraded: Option<Vec<DeviceId>>,
    /// The state of the directory that proved what was shown last.
    #[n(5)]
    attested: Option<Attested>,
    /// Up to when that list was the newest; none in records from before that was kept.
    #[n(6)]
    newest: Option<NewestAt>,
}

/// Why a peer is not trusted now.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum TrustError {
    /// The account key is another one. A person has to decide.
    #[error("the account key of {} changed from {} to {}", user.display(), old.fingerprint(), new.fingerprint())]
    Changed {
        /// Whose.
        user: UserId,
        /// The key known so far.
        old: VerifyingKey<Account>,
        /// The key now shown.
        new: VerifyingKey<Account>,
    },
    /// A person refused the present key.
    #[error("the account key {} of {} was refused", new.fingerprint(), user.display())]
    Refused {
        /// Whose.
        user: UserId,
        /// The refused key.
        new: VerifyingKey<Account>,
    },
    /// The list is older than one this device has seen.
    #[error("an old device list of {} was shown: version {shown}, version {known} is known", user.display())]
    Rollback {
        /// Whose.
        user: UserId,
        /// The version shown.
        shown: u32,
        /// The version seen before.
        known: u32,
    },
    /// Two lists of the same version, one that is not chained to its forerunner, or a stored list that cannot be read.
    #[error("two different histories of the device list of {} were shown", user.display())]
    Fork {
        /// Whose.
        user: UserId,
    },
    /// The list belongs to another user than the one asked for.
    #[error("the device list belongs to another user")]
    OtherUser,
}

/// A decision could not be recorded.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum DecisionError {
    /// The fingerprint given is not that of the key in question.
    #[error("that is not the fingerprint of the key in question")]
    Fingerprint,
    /// Nothing waits for a decision.
    #[error("there is no changed key to decide about")]
    NothingToDecide,
}

impl PeerTrust {
    /// First contact: pins the account key that the directory proves.
    #[must_use]
    pub fn pin(devices: &VerifiedDevices) -> Self {
        let list = devices.list();
        Self {
            user: list.user().clone(),
            state: State::Trusted(Standing::Pinned, *list.account()),
            list: list.to_bytes(),
            decisions: Vec::new(),
            downgraded: None,
            attested: Some(devices.attested()),
            newest: devices.newest_at(),
        }
    }

    /// Looks at what the directory proves of this peer: newer lists of the trusted key are taken, another key is
    /// remembered as changed.
    ///
    /// # Errors
    /// [`TrustError`] says why no [`TrustedPeer`] comes of it.
    pub fn observe(&mut self, devices: &VerifiedDevices) -> Result<TrustedPeer, TrustError> {
        let list = devices.list();
        if *list.user() != self.user {
            return Err(TrustError::OtherUser);
        }
        self.attested = Some(devices.attested());
        let new = *list.account();
        let user = || self.user.clone();
        match self.state {
            State::Trusted(standing, key) if key == new => self.trust(standing, devices),
            // They went back to the key they had, and a person has said no to the other.
            State::Refused(standing, old, _) if old == new => self.trust(standing, devices),
            State::Changed(_, old, alarming) if old == new => {
                Err(TrustError::Changed { user: user(), old, new: alarming })
            }
            State::Trusted(standing, old) | State::Changed(standing, old, _) | State::Refused(standing, old, _)
                if self.was_refused(&new) =>
            {
                // Remembered as shown, so that a person may still think again.
                let error = TrustError::Refused { user: user(), new };
                self.state = State::Refused(standing, old, new);
                Err(error)
            }
            State::Trusted(standing, old) | State::Changed(standing, old, _) | State::Refused(standing, old, _) => {
                let error = TrustError::Changed { user: user(), old, new };
                self.state = State::Changed(standing, old, new);
                Err(error)
            }
        }
    }

    fn trust(&mut self, standing: Standing, devices: &VerifiedDevices) -> Result<TrustedPeer, TrustError> {
        let list = devices.list();
        self.advance(list)?;
        let newest = devices.newest_at();
        self.newest = self.newest.zip(newest).map(|(before, now)| before.or_later(now)).or(newest).or(self.newest);
        self.state = State::Trusted(standing, *list.account());
        let downgraded = self.downgraded.clone().unwrap_or_default();
        let checkpoint = devices.provenance().seen().checkpoint().by_log_alone().to_bytes();
        let attested = Box::new(devices.attested());
        Ok(TrustedPeer { list: list.clone(), standing, downgraded, attested, checkpoint })
    }

    /// Whether the last word about this key was no.
    fn was_refused(&self, key: &VerifyingKey<Account>) -> bool {
        self.decisions.iter().rev().find(|decision| decision.new == *key).is_some_and(|d| d.verdict == Verdict::Refused)
    }

    /// The trusted key's lists only go forward.
    fn advance(&mut self, list: &DeviceList) -> Result<(), TrustError> {
        let known = ClaimedList::from_bytes(&self.list).and_then(|claimed| claimed.verify(&self.user));
        let fork = || TrustError::Fork { user: self.user.clone() };
        let known = known.map_err(|_| fork())?;
        if known.account() == list.account() {
            if list.version() < known.version() {
                let (shown, known) = (list.version(), known.version());
                return Err(TrustError::Rollback { user: self.user.clone(), shown, known });
            }
            let same = list.version() == known.version();
            let next = list.version() == known.version().saturating_add(1);
            if (same && list.hash() != known.hash()) || (next && list.follows(&known).is_err()) {
                return Err(fork());
            }
        }
        // A device that had P-256 and has it no more is remembered, also where it has RSA now: that is a downgrade.
        let lost = |id: &DeviceId| !list.records().iter().any(|new| new.device == *id && new.agreement.is_some());
        let had = known.records().iter().filter(|old| old.agreement.is_some()).map(|old| old.device);
        let before = self.downgraded.take().unwrap_or_default();
        let mut downgraded: Vec<DeviceId> = before.into_iter().chain(had).filter(lost).collect();
        downgraded.sort_unstable();
        downgraded.dedup();
        self.downgraded = (!downgraded.is_empty()).then_some(downgraded);
        self.list = list.to_bytes();
        Ok(())
    }

    /// A person compared a short authentication string or a code with the peer, in a call under `key`.
    ///
    /// # Errors
    /// [`DecisionError::Fingerprint`] when `key` is not the trusted one.
    pub fn verified(&mut self, key: &VerifyingKey<Account>, at: WallTime) -> Result<(), DecisionError> {
        match &self.state {
            State::Trusted(_, trusted) if trusted == key => {
                let (verdict, attested) = (Verdict::Verified, self.attested.clone());
                self.decisions.push(Decision { old: *key, new: *key, at, verdict, attested });
                self.state = State::Trusted(Standing::Verified, *key);
                Ok(())
            }
            State::Trusted(..) | State::Changed(..) | State::Refused(..) => Err(DecisionError::Fingerprint),
        }
    }

    /// A person accepts or refuses the changed key with this fingerprint.
    ///
    /// # Errors
    /// [`DecisionError`].
    pub fn decide(&mut self, fingerprint: &str, accept: bool, at: WallTime) -> Result<(), DecisionError> {
        let (State::Changed(standing, old, new) | State::Refused(standing, old, new)) = self.state else {
            return Err(DecisionError::NothingToDecide);
        };
        if new.fingerprint() != fingerprint {
            return Err(DecisionError::Fingerprint);
        }
        let verdict = if accept { Verdict::Accepted } else { Verdict::Refused };
        self.decisions.push(Decision { old, new, at, verdict, attested: self.attested.clone() });
        self.state =
            if accept { State::Trusted(Standing::Overridden, new) } else { State::Refused(standing, old, new) };
        Ok(())
    }

    /// Whose record this is.
    #[must_use]
    pub const fn user(&self) -> &UserId {
        &self.user
    }

    /// The standing and key now trusted; `None` while a changed key waits or was refused.
    #[must_use]
    pub const fn trusted(&self) -> Option<(Standing, VerifyingKey<Account>)> {
        match &self.state {
            State::Trusted(standing, key) => Some((*standing, *key)),
            State::Changed(..) | State::Refused(..) => None,
        }
    }

    /// The old and the new key of a change that waits for a decision or was refused.
    #[must_use]
    pub const fn change(&self) -> Option<(VerifyingKey<Account>, VerifyingKey<Account>)> {
        match &self.state {
            State::Changed(_, old, new) | State::Refused(_, old, new) => Some((*old, *new)),
            State::Trusted(..) => None,
        }
    }

    /// The newest list of the trusted key and up to when it was the newest, for a look-up to go on from. `None` where what is
    /// stored cannot be read.
    #[must_use]
    pub fn known(&self) -> Option<KnownList> {
        Some(KnownList { list: self.list()?, newest: self.newest })
    }

    /// The newest list of the trusted key. `None` where what is stored cannot be read.
    #[must_use]
    pub fn list(&self) -> Option<DeviceList> {
        ClaimedList::from_bytes(&self.list).and_then(|claimed| claimed.verify(&self.user)).ok()
    }

    /// The state of the directory that proved what was shown last.
    #[must_use]
    pub const fn attested(&self) -> Option<&Attested> {
        self.attested.as_ref()
    }

    /// Every decision so far, oldest first.
    #[must_use]
    pub fn decisions(&self) -> &[Decision] {
        &self.decisions
    }

    /// The stored form.
    #[must_use]
    pub fn to_bytes(&self) -> Vec<u8> {
        cbor::encode(self)
    }

    /// Reads the stored form.
    ///
    /// # Errors
    /// [`cbor::Malformed`].
    pub fn from_bytes(bytes: &[u8]) -> Result<Self, cbor::Malformed> {
        let trust: Self = cbor::decode(bytes)?;
        let list = ClaimedList::from_bytes(&trust.list).and_then(|claimed| claimed.verify(&trust.user));
        list.map(|_| trust).map_err(|_| cbor::Malformed)
    }
}

/// A peer that may be talked to: its devices were signed by an account key that this device trusts, and the directory
/// proved that list to be the newest. There is no other way to one than [`PeerTrust::observe`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TrustedPeer {
    list: DeviceList,
    standing: Standing,
    downgraded: Vec<DeviceId>,
    attested: Box<Attested>,
    checkpoint: Vec<u8>,
}

impl TrustedPeer {
    /// Who.
    #[must_use]
    pub const fn user(&self) -> &UserId {
        self.list.user()
    }

    /// How well they are known.
    #[must_use]
    pub const fn standing(&self) -> Standing {
        self.standing
    }

    /// The state of the directory that proved their devices.
    #[must_use]
    pub const fn attested(&self) -> &Attested {
        &self.attested
    }

    /// The checkpoint of the log with which their devices were proven, as a note with the log's signature alone: what the peer
    /// is told, to compare it with their own (rule KT-13).
    #[must_use]
    pub fn checkpoint(&self) -> &[u8] {
        &self.checkpoint
    }

    /// Their account key.
    #[must_use]
    pub const fn account(&self) -> &VerifyingKey<Account> {
        self.list.account()
    }

    /// The devices that may act for them.
    pub fn devices(&self) -> impl Iterator<Item = &DeviceRecord> {
        self.list.active()
    }

    /// The active device with this id.
    #[must_use]
    pub fn device(&self, id: DeviceId) -> Option<&DeviceRecord> {
        self.list.device(id)
    }

    /// What a device of theirs offers, with what was seen of it before (rule ID-3).
    #[must_use]
    pub fn offer(&self, record: &DeviceRecord) -> Offer {
        record.offer(record.agreement.is_some() || self.downgraded.contains(&record.device))
    }

    /// The device with this id, also where it may not act any more: for what it signed when it could.
    #[must_use]
    pub fn past_device(&self, id: DeviceId) -> Option<&DeviceRecord> {
        self.list.records().iter().find(|record| record.device == id)
    }
}

#[cfg(test)]
mod tests;
