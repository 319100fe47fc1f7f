//! The numbers that a group call's keys go by, and why each is what it is. They stand in the client: no server changes
//! them.

use core::time::Duration;

/// When epochs change, how long anybody is waited for, and what a member or host does at most.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct GroupPolicy {
    /// A new epoch at least this often (rule GRP-2): what a stolen key opens is bounded by it.
    pub rotate: Duration,
    /// Who comes within this of the last epoch shares the next with all who do (GRP-2).
    pub coalesce: Duration,
    /// The same with more than [`Self::crowd`] in: each epoch costs a letter to everybody.
    pub coalesce_crowd: Duration,
    /// How many a crowd are.
    pub crowd: usize,
    /// After a removal an epoch is sealed under this long after it came: a few round trips, so that nobody loses a frame,
    /// and far less than the second that GRP-5 gives. In milliseconds, as it stands in the statement.
    pub apply_removed_ms: u16,
    /// A host whose letters are still going out waits this much longer at most before it seals under a removal's epoch.
    pub removal_wait: Duration,
    /// Where somebody came, whoever has not shown the new key within this is not waited for: the newcomer hears nothing
    /// till then.
    pub ready_wait_join: Duration,
    /// The same where it was only time for a new key, and nobody waits for anything (GRP-3).
    pub ready_wait_rotation: Duration,
    /// How much later than the host a member applies by itself what it was sent, when the host's word was lost.
    pub apply_late: Duration,
    /// Who has not shown the newest key is sent it again after this, and [`Self::resends`] times at most.
    pub resend: Duration,
    /// See [`Self::resend`].
    pub resends: u32,
    /// A host says this often that it is there: five may be lost before anybody thinks otherwise.
    pub word: Duration,
    /// A host of whom nothing signed came for this long is followed by the next in order (GRP-1).
    pub host_silent: Duration,
    /// A host that cannot reach the server for this long says nothing beside the sound any more, so that it is followed.
    pub host_cut_off: Duration,
    /// Before that it is asked whether it is there: perhaps only the sound does not come through.
    pub host_probe: Duration,
    /// A host of whom nothing came for this long is not heard well enough to be held up against another of a higher term.
    pub host_doubtful: Duration,
    /// Each one further down in the order waits this much longer, so that one of them acts.
    pub succession_step: Duration,
    /// How often one join may follow a host that is still in the room: whoever does it again and again wants the role.
    pub max_takeovers: u32,
    /// A member asks for keys at most this often (EKR-2).
    pub request_cooldown: Duration,
    /// A request that was not answered by then is given up (EKR-3).
    pub request_timeout: Duration,
    /// A request that has no answer goes out again under its id after this, and [`Self::request_resends`] times at most.
    pub request_resend: Duration,
    /// See [`Self::request_resend`].
    pub request_resends: u32,
    /// The same failure counts once in this time, be it sound or picture (EKR-2).
    pub same_failure: Duration,
    /// A frame that comes before its key waits this long for it (EKR-1): longer than letters take to go round.
    pub kept: Duration,
    /// A member without any key asks after this.
    pub first_key: Duration,
    /// A host answers a device at most this often (EKR-5).
    pub answer_device: Duration,
    /// And so many requests a second in all.
    pub answers_per_second: u32,
    /// Letters that go out at once; below what a server takes of one account.
    pub letters_burst: u32,
    /// From one letter to the next when those are used up.
    pub letter_pace: Duration,
    /// After somebody has gone the next epoch is waited for this long; then nothing is sealed until it is there. Longer
    /// than it takes to follow a silent host.
    pub overdue_removed: Duration,
    /// The same where nobody has gone: how much later than [`Self::rotate`] an epoch may be.
    pub overdue_rotation: Duration,
    /// Whoever may seal nothing for this long leaves: a new join may find a host.
    pub held: Duration,
    /// A member's word about higher epochs moves a host's on by no more than this ...
    pub max_step: u32,
    /// ... and no more often than [`Self::steps`] times in this: once for the term, once for the epoch.
    pub step_pause: Duration,
    /// See [`Self::step_pause`].
    pub steps: u32,
    /// What hosts were shown of the key directory is compared at most this often (KT-13): each costs the server a request.
    pub compare: Duration,
    /// Whoever is further than the host has the next epoch opened for it this long after the last at the earliest.
    pub overtaken_pause: Duration,
    /// Somebody in the host's roster whom the relay does not show is waited for this long (GRP-8).
    pub unseen: Duration,
}

impl GroupPolicy {
    /// The policy of every call so far.
    pub const DEFAULT: Self = Self {
        rotate: Duration::from_secs(300),
        coalesce: Duration::from_millis(100),
        coalesce_crowd: Duration::from_secs(1),
        crowd: 50,
        apply_removed_ms: 250,
        removal_wait: Duration::from_millis(500),
        ready_wait_join: Duration::from_secs(1),
        ready_wait_rotation: Duration::from_secs(10),
        apply_late: Duration::from_secs(2),
        resend: Duration::from_secs(2),
        resends: 3,
        word: Duration::from_secs(1),
        host_silent: Duration::from_secs(5),
        host_cut_off: Duration::from_secs(1),
        host_probe: Duration::from_millis(2_500),
        host_doubtful: Duration::from_secs(2),
        succession_step: Duration::from_secs(1),
        max_takeovers: 3,
        request_cooldown: Duration::from_secs(3),
        request_timeout: Duration::from_secs(10),
        request_resend: Duration::from_millis(1_200),
        request_resends: 3,
        same_failure: Duration::from_secs(1),
        kept: Duration::from_millis(200),
        first_key: Duration::from_secs(1),
        answer_device: Duration::from_secs(1),
        answers_per_second: 50,
        letters_burst: 1_000,
        letter_pace: Duration::from_micros(2_500),
        overdue_removed: Duration::from_secs(9),
        overdue_rotation: Duration::from_secs(40),
        held: Duration::from_secs(60),
        max_step: 4_096,
        step_pause: Duration::from_secs(10),
        steps: 2,
        compare: Duration::from_secs(10),
        overtaken_pause: Duration::from_millis(250),
        unseen: Duration::from_secs(10),
    };

    /// How long members are waited for that have not shown the new key.
    #[must_use]
    pub const fn ready_wait(&self, somebody_waits: bool) -> Duration {
        if somebody_waits { self.ready_wait_join } else { self.ready_wait_rotation }
    }

    /// How long those who come one after the other are gathered for one epoch.
    #[must_use]
    pub const fn coalesce_with(&self, members: usize) -> Duration {
        if members > self.crowd { self.coalesce_crowd } else { self.coalesce }
    }
}

impl Default for GroupPolicy {
    fn default() -> Self {
        Self::DEFAULT
    }
}
