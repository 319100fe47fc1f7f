//! Which witnesses a device relies on, and how many of them it wants to see (rule KT-2).

use undertone_keys::WallTime;

use crate::checkpoint::VerifiedCheckpoint;
use crate::cosignature::{BadCosignature, Cosignature};
use crate::note::{KeyId, KeyName, NoteSignature, WitnessKey};

/// Seconds by which a witness's clock may be ahead of ours.
pub const MAX_AHEAD: u64 = 5 * 60;

/// The witnesses of a log that a device knows, and how many of them have to cosign.
///
/// A threshold of zero asks for none: nothing is refused then, and [`Witnessed::is_witnessed`] says no whatever is
/// shown.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Witnesses {
    threshold: usize,
    keys: Vec<WitnessKey>,
    insists: bool,
}

/// Why a policy cannot be one.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum BadPolicy {
    /// More witnesses are asked for than are known.
    #[error("the policy asks for more witnesses than it names")]
    Threshold,
    /// A name or a key stands twice, so that one witness could count as two.
    #[error("the policy names a witness twice")]
    Twice,
}

/// What was found below a checkpoint.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Witnessed {
    /// How many had to cosign.
    pub threshold: usize,
    /// Who did, each with the newest time of theirs.
    pub witnesses: Vec<(KeyName, WallTime)>,
    /// How many leaves the log had which each of them saw, in the same order.
    pub sizes: Vec<u64>,
    /// The lines that did not count and are not the log's own, in the order of the note.
    pub ignored: Vec<Ignored>,
}

/// A line that did not count.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Ignored {
    /// The name on the line.
    pub name: KeyName,
    /// The key id on the line.
    pub id: KeyId,
    /// Why it did not count.
    pub why: Why,
}

/// Why a line did not count.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum Why {
    /// No witness of the policy has this name and key id.
    #[error("an unknown witness")]
    Unknown,
    /// This witness was counted already.
    #[error("a witness that was counted already")]
    Repeated,
    /// The clock of the witness is over five minutes ahead of ours.
    #[error("a cosignature from the future")]
    Future,
    /// A known witness's line that does not hold: somebody made it up, or its key is another one by now.
    #[error(transparent)]
    Bad(#[from] BadCosignature),
}

/// Too few of the witnesses cosigned.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{} of the witnesses cosigned the checkpoint, {} have to", .0.count(), .0.threshold)]
pub struct TooFew(
    /// What was found.
    pub Witnessed,
);

impl Witnesses {
    /// The policy that `threshold` of the witnesses with these `keys` have to cosign.
    ///
    /// # Errors
    /// [`BadPolicy`].
    pub fn new(threshold: usize, keys: Vec<WitnessKey>) -> Result<Self, BadPolicy> {
        if threshold > keys.len() {
            return Err(BadPolicy::Threshold);
        }
        let twice = |(i, key): (usize, &WitnessKey)| {
            keys.iter().take(i).any(|other| other.name() == key.name() || other.key() == key.key())
        };
        if keys.iter().enumerate().any(twice) {
            return Err(BadPolicy::Twice);
        }
        Ok(Self { threshold, keys, insists: false })
    }

    /// The same policy, for somebody who begins nothing where too few of them cosigned lately. Without this it only shows.
    #[must_use]
    pub fn insisting(self) -> Self {
        Self { insists: true, ..self }
    }

    /// Whether nothing begins without enough witnesses.
    #[must_use]
    pub const fn insists(&self) -> bool {
        self.insists && self.threshold > 0
    }

    /// The policy of a log without witnesses.
    #[must_use]
    pub const fn none() -> Self {
        Self { threshold: 0, keys: Vec::new(), insists: false }
    }

    /// How many have to cosign.
    #[must_use]
    pub const fn threshold(&self) -> usize {
        self.threshold
    }

    /// The witnesses.
    #[must_use]
    pub fn keys(&self) -> &[WitnessKey] {
        &self.keys
    }

    /// Counts the witnesses that cosigned the checkpoint, each once. `now` is the wall clock.
    ///
    /// A line that does not hold spoils nothing: whoever serves the checkpoint could otherwise make it worthless by
    /// adding one. Such lines are reported beside those that counted.
    ///
    /// # Errors
    /// [`TooFew`] when fewer than the threshold did.
    pub fn check(&self, checkpoint: &VerifiedCheckpoint, now: WallTime) -> Result<Witnessed, TooFew> {
        let mut times: Vec<Option<WallTime>> = vec![None; self.keys.len()];
        let mut ignored = Vec::new();
        for line in checkpoint.signed().note().signatures() {
            let why = match self.keys.iter().zip(&mut times).find(|(key, _)| key.is_named(line)) {
                Some((key, newest)) => match cosigned(checkpoint, line, key, now) {
                    Ok(time) => {
                        (*newest).replace(newest.map_or(time, |newest| newest.max(time))).map(|_| Why::Repeated)
                    }
                    Err(why) => Some(why),
                },
                // Its log's, under this key or a later one, or of a type that we do not know.
                None if line.name == *checkpoint.origin() => None,
                None => Some(Why::Unknown),
            };
            ignored.extend(why.map(|why| Ignored { name: line.name.clone(), id: line.id, why }));
        }
        let names = self.keys.iter().map(|key| key.name().clone());
        let witnesses = names.zip(times).filter_map(|(name, time)| Some((name, time?))).collect();
        let witnesses: Vec<(KeyName, WallTime)> = witnesses;
        let (threshold, sizes) = (self.threshold, vec![checkpoint.size(); witnesses.len()]);
        let witnessed = Witnessed { threshold, witnesses, sizes, ignored };
        if !witnessed.is_enough() { Err(TooFew(witnessed)) } else { Ok(witnessed) }
    }
}

/// The time at which a known witness cosigned.
fn cosigned(
    checkpoint: &VerifiedCheckpoint,
    line: &NoteSignature,
    key: &WitnessKey,
    now: WallTime,
) -> Result<WallTime, Why> {
    let cosignature = Cosignature::from_bytes(&line.bytes)?;
    cosignature.verify(checkpoint, key.key())?;
    if cosignature.time() > now.plus(MAX_AHEAD) { Err(Why::Future) } else { Ok(cosignature.time()) }
}

impl Witnessed {
    /// How many witnesses cosigned.
    #[must_use]
    pub const fn count(&self) -> usize {
        self.witnesses.len()
    }

    /// Whether as many did as the policy wants, be it none.
    #[must_use]
    pub const fn is_enough(&self) -> bool {
        self.witnesses.len() >= self.threshold
    }

    /// Without those that cosigned more than `most` seconds before `now`.
    #[must_use]
    pub fn since(mut self, now: WallTime, most: u64) -> Self {
        let lately = |time: WallTime| time >= now || now.distance(time) <= most;
        let kept = self.witnesses.into_iter().zip(self.sizes).filter(|((_, time), _)| lately(*time));
        (self.witnesses, self.sizes) = kept.unzip();
        self
    }

    /// Together with what was found below an earlier checkpoint: who cosigned both counts once, with the later one.
    #[must_use]
    pub fn and(mut self, earlier: Self) -> Self {
        for ((name, time), size) in earlier.witnesses.into_iter().zip(earlier.sizes) {
            if !self.names().any(|known| *known == name) {
                self.witnesses.push((name, time));
                self.sizes.push(size);
            }
        }
        self
    }

    /// Leaves of the log that as many witnesses as the policy wants have seen, or all of those that were found where they are
    /// fewer. `None` without any.
    #[must_use]
    pub fn size(&self) -> Option<u64> {
        let mut sizes = self.sizes.clone();
        sizes.sort_unstable_by(|a, b| b.cmp(a));
        sizes.truncate(self.threshold.max(1));
        sizes.pop()
    }

    /// Whether the checkpoint may be shown as witnessed: a policy without witnesses never does (rule KT-12).
    #[must_use]
    pub const fn is_witnessed(&self) -> bool {
        self.threshold > 0 && self.witnesses.len() >= self.threshold
    }

    /// Who cosigned.
    pub fn names(&self) -> impl Iterator<Item = &KeyName> {
        self.witnesses.iter().map(|(name, _)| name)
    }

    /// The oldest of the cosignatures that count; `None` without any.
    #[must_use]
    pub fn oldest(&self) -> Option<WallTime> {
        self.witnesses.iter().map(|(_, time)| *time).min()
    }

    /// The newest of the cosignatures that count; `None` without any.
    #[must_use]
    pub fn newest(&self) -> Option<WallTime> {
        self.witnesses.iter().map(|(_, time)| *time).max()
    }
}

#[cfg(test)]
mod tests;
