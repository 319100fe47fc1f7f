//! A device's static key, of whichever kind its record lists (rule ID-3), and what answers for its private half (ID-5).

use minicbor::decode::Error as DecodeError;
use minicbor::encode::{Error as EncodeError, Write};
use minicbor::{Decode, Decoder, Encode, Encoder};

use crate::agreement::{self, AgreementPublicKey, SharedSecret};
use crate::choice::Agreement;
use crate::legacy::{LegacyPublicKey, Unwrapped, Wrapped};

/// The public half. On the wire a byte string whose length tells the kind: 65 for P-256, 294 for RSA-2048.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum StaticKey {
    /// P-256: agrees.
    P256(AgreementPublicKey),
    /// RSA-2048: is wrapped to. Without forward secrecy.
    Rsa2048(LegacyPublicKey),
}

impl StaticKey {
    /// Its kind, by name.
    #[must_use]
    pub const fn kind(&self) -> Agreement {
        match self {
            Self::P256(_) => Agreement::P256,
            Self::Rsa2048(_) => Agreement::Rsa2048,
        }
    }

    /// Its bytes.
    #[must_use]
    pub fn as_bytes(&self) -> &[u8] {
        match self {
            Self::P256(key) => key.as_bytes(),
            Self::Rsa2048(key) => key.as_bytes(),
        }
    }

    /// The P-256 key, if it is one.
    #[must_use]
    pub const fn p256(&self) -> Option<&AgreementPublicKey> {
        match self {
            Self::P256(key) => Some(key),
            Self::Rsa2048(_) => None,
        }
    }
}

impl From<AgreementPublicKey> for StaticKey {
    fn from(key: AgreementPublicKey) -> Self {
        Self::P256(key)
    }
}

impl From<LegacyPublicKey> for StaticKey {
    fn from(key: LegacyPublicKey) -> Self {
        Self::Rsa2048(key)
    }
}

impl<C> Encode<C> for StaticKey {
    fn encode<W: Write>(&self, e: &mut Encoder<W>, _: &mut C) -> Result<(), EncodeError<W::Error>> {
        e.bytes(self.as_bytes())?.ok()
    }
}

impl<'b, C> Decode<'b, C> for StaticKey {
    fn decode(d: &mut Decoder<'b>, _: &mut C) -> Result<Self, DecodeError> {
        let bytes = d.bytes()?;
        let key = if bytes.len() == agreement::PUBLIC_KEY_LENGTH {
            AgreementPublicKey::from_sec1(bytes).ok().map(Self::P256)
        } else {
            LegacyPublicKey::from_spki(bytes).ok().map(Self::Rsa2048)
        };
        key.ok_or_else(|| DecodeError::message("not a static key"))
    }
}

/// What a core asks the holder of a private key for (rule ID-5).
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Question {
    /// Agree with this key.
    Agree(AgreementPublicKey),
    /// Unwrap this under this label.
    Unwrap(Wrapped, [u8; 32]),
}

/// What the holder answers.
#[derive(Debug)]
pub enum Answer {
    /// The agreement.
    Agreed(SharedSecret),
    /// What was wrapped.
    Unwrapped(Unwrapped),
}

impl Answer {
    /// The agreement, if it is one.
    #[must_use]
    pub fn agreed(self) -> Option<SharedSecret> {
        match self {
            Self::Agreed(secret) => Some(secret),
            Self::Unwrapped(_) => None,
        }
    }
}
