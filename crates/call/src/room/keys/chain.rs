//! The newest statement that this device goes by, and which other it would go by instead (rules GRP-1, GRP-3).

use undertone_keys::Time;
use undertone_keys::sign::{Device, VerifyingKey};
use undertone_media::faults::{Fault, is_planted};
use undertone_media::key_id::SenderIndex;
use undertone_protocol::group::{Cause, Roster, SignedStatement, Statement};

/// A statement that this device goes by.
#[derive(Debug)]
pub(in crate::room) struct Head {
    pub(super) signed: SignedStatement,
    pub(super) statement: Statement,
    pub(super) hash: [u8; 32],
    /// Whom it is for; `None` while only its hash is known.
    pub(super) roster: Option<Roster>,
    /// The host's sender index.
    pub(super) index: SenderIndex,
    /// What its device signs with.
    pub(super) key: VerifyingKey<Device>,
    /// Since when it is gone by.
    pub(super) since: Time,
}

/// What is known of the host that [`Head`] names, when another statement comes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum HostState {
    /// It is this device.
    Me,
    /// Signed words of it come.
    Heard,
    /// Nothing has come for a while, or it told two stories.
    Doubtful,
    /// It is not in the room.
    Gone,
}

/// What a statement is to this device.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Verdict {
    /// It is the newest.
    Take,
    /// It is the one that is gone by.
    Same,
    /// It was overtaken by the one that is gone by.
    Old,
    /// Of another host, over which the one that is gone by wins.
    Lost,
    /// Of a higher term, while the host before is there and heard: it may be asked whether it stands down.
    Later,
    /// Its host said something else of the same epoch before: both together are evidence.
    Contradiction,
}

/// What `new` is to a device that goes by `head`. The signature, the call and the terms were checked.
///
/// | term    | host    | epoch  |                                                             |
/// | ---     | ---     | ---    | ---                                                         |
/// | lower   |         |        | [`Verdict::Old`]                                            |
/// | same    | same    | lower  | [`Verdict::Old`]                                            |
/// | same    | same    | same   | [`Verdict::Same`], or [`Verdict::Contradiction`]            |
/// | same    | same    | higher | [`Verdict::Take`], unless it names another one as the last  |
/// | same    | another |        | the lower index wins, or whoever is there: [`Verdict::Take`] or [`Verdict::Lost`] |
/// | higher  | same    |        | [`Verdict::Take`]: others were host in between              |
/// | higher  | another |        | [`Verdict::Take`], or [`Verdict::Later`] while the host before is heard |
pub(super) fn judge(
    head: Option<&Head>,
    new: &Statement,
    hash: &[u8; 32],
    index: SenderIndex,
    host: HostState,
) -> Verdict {
    let Some(head) = head else { return Verdict::Take };
    let old = &head.statement;
    let same_host = old.host == new.host;
    match new.term.cmp(&old.term) {
        core::cmp::Ordering::Less => Verdict::Old,
        core::cmp::Ordering::Equal if same_host => match new.epoch.cmp(&old.epoch) {
            core::cmp::Ordering::Less => Verdict::Old,
            core::cmp::Ordering::Equal if *hash == head.hash => Verdict::Same,
            core::cmp::Ordering::Equal => Verdict::Contradiction,
            core::cmp::Ordering::Greater => Verdict::Take,
        },
        core::cmp::Ordering::Equal if is_planted(Fault::TwoHosts) => Verdict::Lost,
        core::cmp::Ordering::Equal if host == HostState::Gone => Verdict::Take,
        core::cmp::Ordering::Equal if (index, new.host) < (head.index, old.host) => Verdict::Take,
        core::cmp::Ordering::Equal => Verdict::Lost,
        core::cmp::Ordering::Greater if same_host => Verdict::Take,
        core::cmp::Ordering::Greater => match (host, new.cause) {
            // A host stands down, whoever it is; and who was named by the host needs no silence.
            (HostState::Me | HostState::Doubtful | HostState::Gone, _) | (_, Cause::HandedOver) => Verdict::Take,
            (HostState::Heard, _) => Verdict::Later,
        },
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use undertone_keys::sign::SigningKey;
    use undertone_keys::testing::SeededRng;
    use undertone_keys::{CallId, JoinId};
    use undertone_protocol::{Protection, Terms};

    fn statement(term: u32, host: u8, epoch: u32, cause: Cause) -> Statement {
        Statement {
            format: 1,
            call: CallId::from_bytes([1; 16]),
            term,
            epoch,
            host: JoinId::from_bytes([host; 16]),
            roster: [0; 32],
            previous: None,
            commitment: [0; 32],
            terms: Terms::room(Protection::Blind),
            access: [0; 32],
            version: 1,
            cause,
            removed: false,
            apply_ms: 0,
            handover: None,
        }
    }

    /// The table: the device goes by host 5 (index 5), term 3, epoch 70.
    #[test]
    fn grp_1_grp_3_which_statement_wins() {
        use {Cause::*, HostState::*, Verdict::*};
        let key = SigningKey::generate(&mut SeededRng::new(1));
        let old = statement(3, 5, 70, Rotated);
        let signed = SignedStatement::sign(&old, &key);
        let hash = signed.hash();
        let head = Head { signed, statement: old, hash, roster: None, index: 5, key: *key.public(), since: Time::ZERO };
        let table = [
            (2, 4, 99, TakenOver, Doubtful, Old),
            (3, 5, 69, Rotated, Heard, Old),
            (3, 5, 70, Rotated, Heard, Same),
            (3, 5, 70, Joined, Heard, Contradiction),
            (3, 5, 71, Joined, Heard, Take),
            (3, 5, 79, Joined, Heard, Take),
            (3, 4, 60, TakenOver, Heard, Take),
            (3, 6, 99, TakenOver, Doubtful, Lost),
            (3, 6, 99, TakenOver, Gone, Take),
            (4, 5, 71, TakenOver, Heard, Take),
            (4, 6, 71, TakenOver, Heard, Later),
            (4, 6, 71, TakenOver, Doubtful, Take),
            (4, 6, 71, TakenOver, Gone, Take),
            (4, 6, 71, TakenOver, Me, Take),
            (4, 6, 71, HandedOver, Heard, Take),
            (9, 2, 60, TakenOver, Heard, Later),
        ];
        for (row, (term, host, epoch, cause, state, expected)) in table.into_iter().enumerate() {
            let new = statement(term, host, epoch, cause);
            let hash = SignedStatement::sign(&new, &key).hash();
            assert_eq!(judge(Some(&head), &new, &hash, u16::from(host), state), expected, "row {row}");
            assert_eq!(judge(None, &new, &hash, u16::from(host), state), Take, "row {row}, the first to come");
        }
    }

    /// Of any two statements of different hosts both sides choose the same one, whoever had which first.
    #[test]
    fn grp_1_split_host_heals_to_the_same_side_everywhere() {
        let key = SigningKey::generate(&mut SeededRng::new(1));
        for (a, b) in [((2, 1), (2, 4)), ((2, 4), (3, 1)), ((5, 9), (5, 3))] {
            let wins = |by: (u32, u8), other: (u32, u8)| {
                let old = statement(by.0, by.1, 70, Cause::TakenOver);
                let signed = SignedStatement::sign(&old, &key);
                let hash = signed.hash();
                let index = u16::from(by.1);
                let head =
                    Head { signed, statement: old, hash, roster: None, index, key: *key.public(), since: Time::ZERO };
                let new = statement(other.0, other.1, 71, Cause::TakenOver);
                let hash = SignedStatement::sign(&new, &key).hash();
                judge(Some(&head), &new, &hash, u16::from(other.1), HostState::Me) == Verdict::Take
            };
            assert_ne!(wins(a, b), wins(b, a), "{a:?} {b:?}");
        }
    }
}
