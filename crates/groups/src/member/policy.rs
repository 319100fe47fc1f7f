//! The numbers that a membership goes by, and why each is what it is. They stand in the client: no server changes them.

use core::time::Duration;

/// When commits are made, how long anybody is waited for, and what a device does at most.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct MemberPolicy {
    /// Who comes within this of the first who waits is added with it: each commit costs everybody one (GRP-2).
    pub coalesce: Duration,
    /// The same with more than [`Self::crowd`] in the group.
    pub coalesce_crowd: Duration,
    /// How many a crowd are.
    pub crowd: usize,
    /// The k-th present leaf acts after k times this, when nothing came (MLS-4): longer than a commit takes to go round.
    pub step: Duration,
    /// Leaves that add others, from the lowest: each that tries uses up a key package, and whoever is not added joins by itself.
    pub helpers: usize,
    /// Devices that one commit adds at most: what a delivery service lets one commit welcome, with room to spare.
    pub batch: usize,
    /// Key packages that do not come within this are not waited for.
    pub claim: Duration,
    /// A device without a key package, or with one that is no good, is not asked for again within this: it joins by itself.
    pub unclaimable: Duration,
    /// Who is not welcomed within this joins by itself: longer than gathering, claiming and committing take.
    pub welcome: Duration,
    /// The same in a crowd, where those who come are gathered for longer.
    pub welcome_crowd: Duration,
    /// Key packages that wait in the store unused at most; then all of them are forgotten, so that coming and going does not fill it.
    pub packages: usize,
    /// From one external commit that was taken to the next (MLS-2).
    pub by_self: Duration,
    /// Who lost the race for an epoch by an external commit waits up to this before the next try, and twice as long each time:
    /// those who are many spread out.
    pub backoff: Duration,
    /// ... but no longer than this.
    pub backoff_most: Duration,
    /// What is asked of the delivery service is asked again after this, and twice as long each time up to [`Self::backoff_most`]:
    /// several round trips.
    pub answer: Duration,
    /// Whoever has asked so often without an answer is told so.
    pub unanswered: u32,
    /// What the delivery service refuses for good is not tried again within this.
    pub denied: Duration,
    /// Commits that are known to exist and do not come are asked for again after this.
    pub behind: Duration,
    /// Who is behind for this long seals nothing until it has caught up: somebody may have been removed.
    pub behind_hold: Duration,
    /// Who is behind for this long joins anew.
    pub behind_most: Duration,
    /// Commits that one answer of the delivery service brings: after so many more are asked for.
    pub followed: u32,
    /// Commits of later epochs that are kept until those before them come.
    pub held: usize,
    /// Bytes of these at most: what a delivery service keeps of one group.
    pub held_bytes: usize,
    /// A commit that this device refuses is judged once more within this, when the list changes: it may be behind with the list.
    pub reconsider: Duration,
    /// What frames that do not open lead to happens once in this (EKR-2, EKR-7).
    pub emergency: Duration,
    /// When nothing opens for this long in an epoch that is here, this device is in another group than the rest.
    pub blind: Duration,
    /// An epoch is sealed under this long after it came, so that it has come to the others; what comes earlier they keep for 200 ms.
    pub apply: Duration,
    /// Every group has a new epoch at least this often (GRP-2).
    pub rotate: Duration,
    /// Frames that one device seals in an epoch at most before it asks for the next.
    pub frames: u64,
    /// Who came by a Welcome updates no earlier than this: whoever joins together may be joined by more.
    pub early: Duration,
    /// ... and within this for each member, so that a thousand who came together make one commit in 300 ms and not all at once.
    pub early_each: Duration,
    /// ... but no later than this.
    pub early_most: Duration,
    /// Present leaves behind the committer's that attest an epoch: enough that one liar is outvoted, few enough for a thousand.
    pub attesters: usize,
    /// Every member says its authenticator this often (MLS-3) ...
    pub say: Duration,
    /// ... or with this much for each member, so that a room says ten of them a second at most.
    pub say_each: Duration,
    /// A leaf whose device was never shown as present is waited for this long: it may know its epoch before the relay has shown it.
    pub unseen: Duration,
    /// Who is gone and still in the tree after this is shown as still listening (MLS-4).
    pub listening: Duration,
    /// Devices that could not be looked up are asked about again after this.
    pub resolve: Duration,
}

impl MemberPolicy {
    /// The policy of every call so far.
    pub const DEFAULT: Self = Self {
        coalesce: Duration::from_millis(100),
        coalesce_crowd: Duration::from_secs(1),
        crowd: 50,
        step: Duration::from_millis(300),
        helpers: 4,
        batch: 50,
        claim: Duration::from_secs(1),
        unclaimable: Duration::from_secs(10),
        welcome: Duration::from_secs(2),
        welcome_crowd: Duration::from_secs(4),
        packages: 8,
        by_self: Duration::from_secs(30),
        backoff: Duration::from_millis(200),
        backoff_most: Duration::from_secs(30),
        answer: Duration::from_secs(2),
        unanswered: 3,
        denied: Duration::from_secs(10),
        behind: Duration::from_secs(1),
        behind_hold: Duration::from_secs(2),
        behind_most: Duration::from_secs(6),
        followed: 64,
        held: 64,
        held_bytes: 4 << 20,
        reconsider: Duration::from_secs(3),
        emergency: Duration::from_secs(3),
        blind: Duration::from_secs(3),
        apply: Duration::from_millis(150),
        rotate: Duration::from_secs(300),
        frames: 65_536,
        early: Duration::from_secs(1),
        early_each: Duration::from_millis(300),
        early_most: Duration::from_secs(300),
        attesters: 3,
        say: Duration::from_secs(10),
        say_each: Duration::from_millis(100),
        unseen: Duration::from_secs(2),
        listening: Duration::from_secs(1),
        resolve: Duration::from_secs(10),
    };

    /// How long those who come one after the other are gathered for one commit.
    #[must_use]
    pub const fn coalesce_with(&self, members: usize) -> Duration {
        if members > self.crowd { self.coalesce_crowd } else { self.coalesce }
    }

    /// How long a Welcome is waited for among so many.
    #[must_use]
    pub const fn welcome_with(&self, present: usize) -> Duration {
        if present > self.crowd { self.welcome_crowd } else { self.welcome }
    }

    /// How long an answer is waited for that did not come so often.
    #[must_use]
    pub fn answer_after(&self, tries: u32) -> Duration {
        self.answer.saturating_mul(1 << tries.min(8)).min(self.backoff_most)
    }
}

impl Default for MemberPolicy {
    fn default() -> Self {
        Self::DEFAULT
    }
}

/// So many times as long.
pub(super) fn times(delay: Duration, count: usize) -> Duration {
    delay.saturating_mul(u32::try_from(count).unwrap_or(u32::MAX))
}
