//! Which algorithm reaches a device (rule ID-3): named, never guessed, and never lowered in silence.

use minicbor::{Decode, Encode};

/// How a key reaches a device.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Encode, Decode)]
#[cbor(index_only)]
pub enum Agreement {
    /// P-256 agreement.
    #[n(1)]
    P256,
    /// RSA-2048 OAEP-SHA256, for devices that have nothing else. No forward secrecy.
    #[n(2)]
    Rsa2048,
}

impl Agreement {
    /// The word for JSON and logs.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::P256 => "p256",
            Self::Rsa2048 => "rsa2048",
        }
    }

    /// Whether what was said stays closed when the static keys come out.
    #[must_use]
    pub const fn has_forward_secrecy(self) -> bool {
        matches!(self, Self::P256)
    }
}

/// What a local policy says about devices that have RSA alone.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum LegacyPolicy {
    /// Ask a person each time: the default.
    #[default]
    Ask,
    /// Go on, showing it.
    Allow,
    /// Never.
    Refuse,
}

/// What a device's record offers and what we have seen of it before.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Offer {
    /// The record lists a P-256 key.
    pub p256: bool,
    /// The record lists an RSA key.
    pub rsa: bool,
    /// An earlier record of this same device listed a P-256 key.
    pub had_p256: bool,
}

/// Why no algorithm may be used.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum ChoiceError {
    /// The record lists no agreement key.
    #[error("the device lists no agreement key")]
    NoKey,
    /// The device had P-256 and now offers RSA alone.
    #[error("the device once had a P-256 key and now offers only RSA: this is a downgrade")]
    Downgrade,
    /// The policy wants a person's decision.
    #[error("the device has only RSA, without forward secrecy: a person must allow it")]
    Ask,
    /// The policy refuses.
    #[error("the device has only RSA, which the local policy refuses")]
    Refused,
}

/// Chooses for one device.
///
/// # Errors
/// [`ChoiceError`]: no call without one of the two.
pub const fn choose(offer: Offer, policy: LegacyPolicy) -> Result<Agreement, ChoiceError> {
    match offer {
        Offer { p256: true, .. } => Ok(Agreement::P256),
        Offer { rsa: false, .. } => Err(ChoiceError::NoKey),
        Offer { had_p256: true, .. } => Err(ChoiceError::Downgrade),
        Offer { .. } => match policy {
            LegacyPolicy::Allow => Ok(Agreement::Rsa2048),
            LegacyPolicy::Ask => Err(ChoiceError::Ask),
            LegacyPolicy::Refuse => Err(ChoiceError::Refused),
        },
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn id_3_every_offer_under_every_policy() {
        use ChoiceError::{Ask, Downgrade, NoKey, Refused};
        let rows = [
            (true, true, true, [Ok(Agreement::P256); 3]),
            (true, false, false, [Ok(Agreement::P256); 3]),
            (true, true, false, [Ok(Agreement::P256); 3]),
            (true, false, true, [Ok(Agreement::P256); 3]),
            (false, false, false, [Err(NoKey); 3]),
            (false, false, true, [Err(NoKey); 3]),
            (false, true, true, [Err(Downgrade); 3]),
            (false, true, false, [Err(Ask), Ok(Agreement::Rsa2048), Err(Refused)]),
        ];
        for (p256, rsa, had_p256, expected) in rows {
            let policies = [LegacyPolicy::Ask, LegacyPolicy::Allow, LegacyPolicy::Refuse];
            for (policy, expected) in policies.into_iter().zip(expected) {
                assert_eq!(choose(Offer { p256, rsa, had_p256 }, policy), expected);
            }
        }
    }
}
