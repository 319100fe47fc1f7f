//! A quorum secret over a swarm (rule RKX-5): one side gives, the other takes.

use undertone_keys::Time;
use undertone_keys::quorum::QuorumSecret;

use super::request::Unable;
use super::{Asker, Fetching, Keys, Part, Posting, Wanted};
use crate::coin::{Coin, Named};
use crate::quorum::{Collected, Set, Split, split};

/// Draws a secret and posts its shares with `sender` for whoever has `receiver`. The set is for them, and tells them no sooner of shares than
/// the posting has ended with enough of them.
///
/// # Errors
/// [`Unable`]: nothing was sent.
pub fn give(
    now: Time,
    asker: &Asker<'_>,
    (sender, receiver): (Coin, Coin),
    secret: &QuorumSecret,
    rng: &mut impl rand_core::CryptoRng,
) -> Result<(Set, Posting), Unable> {
    let Split { set, shares } = split(asker.swarm, sender, secret, rng);
    let part = |((place, node), bytes): ((usize, &crate::swarm::SwarmNode), _)| Part {
        raida: node.raida,
        id: set.id(place),
        bytes,
    };
    let parts: Vec<_> = asker.swarm.nodes().iter().enumerate().zip(shares).map(part).collect();
    let receiver: Named = receiver.named();
    let posting = Posting::new(
        now,
        asker,
        (sender, receiver),
        (&parts, Keys::Issued),
        usize::from(asker.swarm.threshold()),
        rng,
    )?;
    Ok((set, posting))
}

/// Takes the shares of a set back: each is posted again, without a byte in it. Nobody needs them when the other side has the secret, and
/// whoever learns the set later finds nothing.
///
/// # Errors
/// [`Unable`]: nothing was sent.
pub fn withdraw(
    now: Time,
    asker: &Asker<'_>,
    set: &Set,
    rng: &mut impl rand_core::CryptoRng,
) -> Result<Posting, Unable> {
    let sender = set.sender().ok_or(Unable::TooFewKeys { have: 0, need: 1 })?;
    let part = |(place, node): (usize, &crate::swarm::SwarmNode)| Part {
        raida: node.raida,
        id: set.id(place),
        bytes: zeroize::Zeroizing::default(),
    };
    let parts: Vec<_> = asker.swarm.nodes().iter().enumerate().map(part).collect();
    let known = parts.iter().filter(|part| asker.wallet.key(sender, part.raida).is_some()).count();
    Posting::new(now, asker, (sender, Named::default()), (&parts, Keys::Any), known, rng)
}

/// Fetches the shares of a set with `receiver`. [`Collected::secret`] of what comes of it is the secret.
///
/// # Errors
/// [`Unable`]: nothing was sent.
pub fn take(
    now: Time,
    asker: &Asker<'_>,
    receiver: Coin,
    set: &Set,
    rng: &mut impl rand_core::CryptoRng,
) -> Result<Fetching<Collected>, Unable> {
    let need = usize::from(asker.swarm.threshold());
    let nothing = Unable::TooFewKeys { have: 0, need };
    let collected = Collected::new(asker.swarm, set).map_err(|_| nothing)?;
    let wanted = |(place, node): (usize, &crate::swarm::SwarmNode)| Wanted { raida: node.raida, id: set.id(place) };
    let wanted: Vec<_> = asker.swarm.nodes().iter().enumerate().map(wanted).collect();
    Fetching::new(now, asker, (receiver, set.sender()), (&wanted, Keys::Issued), (collected, need), rng)
}
