//! Which witnesses a device relies on, and how many of them it wants to see (rule KT-2).

use undertone_keys::WallTime;

use crate::checkpoint::VerifiedCheckpoint;
use crate::cosignature::{BadCosignature, Cosignature};
use crate::note::{KeyId, KeyName, NoteSignature, WitnessKey};

/// Seconds by which a witness's clock may be ahead of ours.
pub const MAX_AHEAD: u64 = 5 * 60;
/// Lines that a sentence tells of at most: whoever shows a checkpoint could add many.
const MOST_TOLD: usize = 4;

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
    /// Who did, each once.
    pub witnesses: Vec<Cosigner>,
    /// The lines that did not count and are not the log's own, in the order of the notes.
    pub ignored: Vec<Ignored>,
}

/// A witness that cosigned.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Cosigner {
    /// Its name.
    pub name: KeyName,
    /// When, by its own clock: the newest time of its lines.
    pub time: WallTime,
    /// Leaves of the log that it saw.
    pub size: u64,
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
#[error("{} of the witnesses cosigned the checkpoint, {} have to{}", .0.count(), .0.threshold, .0.left_out())]
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
        let (names, size) = (self.keys.iter().map(|key| key.name().clone()), checkpoint.size());
        let witnesses = names.zip(times).filter_map(|(name, time)| Some(Cosigner { name, time: time?, size }));
        let witnessed = Witnessed { threshold: self.threshold, witnesses: witnesses.collect(), ignored };
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
        self.witnesses.retain(|witness| lately(witness.time));
        self
    }

    /// Together with what was found below an earlier checkpoint: who cosigned both counts once, with the later one.
    #[must_use]
    pub fn and(mut self, earlier: Self) -> Self {
        for witness in earlier.witnesses {
            if !self.names().any(|known| *known == witness.name) {
                self.witnesses.push(witness);
            }
        }
        self.ignored.extend(earlier.ignored);
        self
    }

    /// Which lines did not count and why, for a person; nothing where every line did.
    fn left_out(&self) -> String {
        let mut told: Vec<String> = Vec::new();
        for Ignored { name, id, why } in &self.ignored {
            // The name is the word of whoever showed the line: in plain letters, and no more of it than fits.
            let name: String = name.as_str().escape_default().take(64).collect();
            let line = format!("{name}+{id} ({why})");
            if !told.contains(&line) && told.len() < MOST_TOLD {
                told.push(line);
            }
        }
        if told.is_empty() { String::new() } else { format!("; not counted: {}", told.join(", ")) }
    }

    /// Leaves of the log that as many witnesses as the policy wants have seen, or all of those that were found where they are
    /// fewer. `None` without any.
    #[must_use]
    pub fn size(&self) -> Option<u64> {
        let mut sizes: Vec<u64> = self.witnesses.iter().map(|witness| witness.size).collect();
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
        self.witnesses.iter().map(|witness| &witness.name)
    }
}

#[cfg(test)]
mod tests;
