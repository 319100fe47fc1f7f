//! Identifiers: fixed-size random or derived numbers that are not secret (but for one, which is).

use core::fmt;

use minicbor::{Decode, Encode};

use crate::digest::sha256;
use crate::sign::{Device, VerifyingKey};

/// Writes bytes as lower-case hexadecimal.
fn hex(bytes: &[u8], f: &mut fmt::Formatter<'_>) -> fmt::Result {
    bytes.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
}

/// Reads exactly `N` bytes of hexadecimal.
fn unhex<const N: usize>(text: &str) -> Option<[u8; N]> {
    let digits = text.as_bytes();
    let mut out = [0; N];
    if digits.len() != 2 * N {
        return None;
    }
    for (byte, pair) in out.iter_mut().zip(digits.chunks_exact(2)) {
        let digit = |i: usize| pair.get(i).and_then(|d| char::from(*d).to_digit(16));
        *byte = u8::try_from(digit(0)? * 16 + digit(1)?).ok()?;
    }
    Some(out)
}

macro_rules! identifier {
    ($(#[$doc:meta])* $name:ident) => {
        $(#[$doc])*
        #[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Encode, Decode)]
        #[cbor(transparent)]
        pub struct $name(#[cbor(n(0), with = "minicbor::bytes")] [u8; 16]);

        impl $name {
            /// The identifier with these 16 bytes.
            #[must_use]
            pub const fn from_bytes(bytes: [u8; 16]) -> Self {
                Self(bytes)
            }

            /// The 16 bytes.
            #[must_use]
            pub const fn as_bytes(&self) -> &[u8; 16] {
                &self.0
            }

            /// Draws a fresh one.
            pub fn random(rng: &mut impl rand_core::CryptoRng) -> Self {
                let mut bytes = [0; 16];
                rng.fill_bytes(&mut bytes);
                Self(bytes)
            }

            /// Reads the 32 hexadecimal digits that `Display` writes.
            #[must_use]
            pub fn parse(text: &str) -> Option<Self> {
                unhex(text).map(Self)
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                hex(&self.0, f)
            }
        }

        impl fmt::Debug for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                write!(f, concat!(stringify!($name), "({})"), self)
            }
        }
    };
}

identifier! {
    /// A device: the first 128 bits of SHA-256 over its Ed25519 identity key (rule ID-1).
    DeviceId
}
identifier! {
    /// One call: 128 random bits drawn by the caller, accepted once (rule CALL-5).
    CallId
}
identifier! {
    /// One room of a relay.
    RoomId
}
identifier! {
    /// One join of one device: 128 random bits drawn anew each time, so that a device which comes back never
    /// seals under a key it has used before (rule MED-3).
    JoinId
}
identifier! {
    /// One envelope; a second one with a seen (sender, request, epoch) is ignored (rule ID-4).
    RequestId
}

impl DeviceId {
    /// The id of the device with this identity key.
    #[must_use]
    pub fn of(identity: &VerifyingKey<Device>) -> Self {
        let hash = sha256(&[identity.as_bytes()]);
        let mut id = [0; 16];
        id.iter_mut().zip(hash).for_each(|(to, from)| *to = from);
        Self(id)
    }
}

/// A device's bearer token: 32 random bytes. The server stores its SHA-256 alone.
#[derive(Debug)]
pub struct AccessToken(crate::Secret<32>);

impl AccessToken {
    /// Draws a fresh one.
    pub fn random(rng: &mut impl rand_core::CryptoRng) -> Self {
        Self(crate::Secret::random(rng))
    }

    /// The token with these bytes.
    #[must_use]
    pub fn from_slice(bytes: &[u8]) -> Option<Self> {
        crate::Secret::from_slice(bytes).map(Self)
    }

    /// Reads the 64 hexadecimal digits of a token.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        unhex(text).map(|mut bytes| Self(crate::Secret::take(&mut bytes)))
    }

    /// The token as text for an `Authorization` header.
    #[must_use]
    pub fn to_text(&self) -> String {
        self.0.expose().iter().map(|byte| format!("{byte:02x}")).collect()
    }

    /// The bytes, to be kept where secrets are kept.
    #[must_use]
    pub const fn expose(&self) -> &[u8; 32] {
        self.0.expose()
    }

    /// What a server stores.
    #[must_use]
    pub fn hash(&self) -> [u8; 32] {
        sha256(&[self.0.expose()])
    }
}
