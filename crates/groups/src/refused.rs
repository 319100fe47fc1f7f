//! What a peer did wrong, and by which rule.

use undertone_keys::leaf::LeafStatement;

use crate::leaf::Claim;
use crate::roll::{DeviceRef, Member, Roll, Standing};

/// Why something that a peer made is refused although it can be read. Every variant is an accusation of whoever made it.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum Refused {
    /// A leaf's credential is not the statement of a device about that leaf's key.
    #[error("MLS-1: the credential of leaf {0} does not vouch for its key")]
    Credential(u32),
    /// The device that the directory proves did not sign a leaf's credential.
    #[error("MLS-1: the credential of leaf {0} is not signed by its device")]
    Unsigned(u32),
    /// A device that is not let in.
    #[error("MLS-1: {} of {} is not on the list", .0.device, .0.user)]
    NotListed(DeviceRef),
    /// A leaf says after a change that it is somebody else's, or of another join.
    #[error("MLS-1: leaf {0} is given to somebody else")]
    Handover(u32),
    /// Nothing can be sealed to the key of a leaf: nobody could commit any more.
    #[error("MLS-1: nothing can be sealed to leaf {0}")]
    LeafKey(u32),
    /// Two leaves of one join.
    #[error("MLS-1: leaf {0} is a second one of the same join")]
    Twice(u32),
    /// Somebody joins over a leaf that is not an older one of their own device.
    #[error("MLS-2: an external commit removes leaf {0}, which is another device's")]
    RemovesOther(u32),
    /// Somebody who joins does more than that.
    #[error("MLS-2: an external commit does more than join")]
    ExternalChange,
    /// A proposal that stands alone, or one from outside of the group. Commits carry their own.
    #[error("MLS-2: a proposal outside of a commit")]
    Proposal,
    /// A commit with a proposal of a kind that groups of ours do not have.
    #[error("MLS-1: a commit holds a proposal of another kind")]
    ProposalKind,
    /// The group context says other terms than the group was made with, or other terms than were agreed on.
    #[error("NEG-1: the terms of the group are others")]
    Terms,
    /// The terms say which quorum secret is mixed in, and a commit, or the Welcome to it, does not mix it in.
    #[error("NEG-1: the group's quorum secret is not mixed in")]
    Quorum,
    /// A commit mixes in a key that nobody else was given.
    #[error("MLS-1: a commit mixes in a key that is not the group's")]
    Psk,
    /// The group context names a suite and the terms another.
    #[error("NEG-1: the suite is not the one of the terms")]
    Suite,
    /// A signature, a tag or a path does not hold.
    #[error("MLS-1: it does not verify")]
    Invalid,
    /// More members or proposals than are allowed.
    #[error("DOS-1: too many of them")]
    TooMany,
}

/// What is left to be known about leaves before they are believed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Doubt {
    Refused(Refused),
    Needs(Vec<DeviceRef>),
}

/// The same of a tree that somebody comes into by themselves: leaves of devices that are not let in any more may be in it where nobody
/// was left to put them out. Whoever comes in does that, before anything is sealed.
pub(crate) fn vouched_or_struck<'a>(
    roll: &dyn Roll,
    leaves: impl IntoIterator<Item = (u32, &'a Claim)>,
) -> Result<Vec<Member>, Doubt> {
    let of = |claim: &Claim| roll.standing(&claim.said.user, &claim.said.device);
    vouched(roll, leaves.into_iter().filter(|(_, claim)| of(claim) != Standing::Refused))
}

/// Whether every leaf is vouched for by a device that is let in. What is refused is refused whatever is still unknown.
pub(crate) fn vouched<'a>(
    roll: &dyn Roll,
    leaves: impl IntoIterator<Item = (u32, &'a Claim)>,
) -> Result<Vec<Member>, Doubt> {
    let (mut members, mut needs) = (Vec::new(), Vec::new());
    for (index, claim) in leaves {
        let member = Member::of(index, claim);
        match roll.standing(&member.user, &member.device) {
            Standing::Refused => return Err(Doubt::Refused(Refused::NotListed(member.device_ref()))),
            Standing::Unknown => needs.push(member.device_ref()),
            Standing::Listed(identity) => {
                LeafStatement::verify(&claim.signed, &identity)
                    .map_err(|_| Doubt::Refused(Refused::Unsigned(index)))?;
            }
        }
        members.push(member);
    }
    needs.sort_unstable();
    needs.dedup();
    if needs.is_empty() { Ok(members) } else { Err(Doubt::Needs(needs)) }
}
