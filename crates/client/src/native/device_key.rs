//! This device's static key: which kind, where it lies, and who answers for it (rules ID-3, ID-5).

use std::path::PathBuf;
use std::sync::Arc;

use minicbor::{Decode, Encode};
use undertone_keys::Secret;
use undertone_keys::agreement::{AgreementPublicKey, DeviceKey, Refused, SoftwareKey};
use undertone_keys::legacy::{LegacyKey, SoftwareLegacyKey};
use undertone_keys::secret::SecretBytes;
use undertone_keys::static_key::{Answer, Question, StaticKey};

use super::error::ClientError;
use super::home::HomeError;
use super::rng;
use super::token::{self, TokenKey};

/// Which key a new device is to have.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum KeyChoice {
    /// P-256, in the home folder.
    #[default]
    P256,
    /// RSA-2048, in the home folder, and no other: for what cannot do better. Without forward secrecy.
    Rsa2048,
    /// P-256, on a token that never gives it out.
    Token(TokenPlace),
}

/// Where a token is.
#[derive(Clone, Debug, PartialEq, Eq, Encode, Decode)]
#[cbor(map)]
pub struct TokenPlace {
    /// The PKCS#11 module, a shared library.
    #[n(0)]
    module: String,
    /// The token's label.
    #[n(1)]
    pub label: String,
}

impl TokenPlace {
    /// The token with this label, by this module.
    #[must_use]
    pub fn new(module: &std::path::Path, label: String) -> Self {
        Self { module: module.display().to_string(), label }
    }

    /// The module's path.
    #[must_use]
    pub fn module(&self) -> PathBuf {
        PathBuf::from(&self.module)
    }
}

/// Asks a person for a token's PIN.
pub trait Pins: Send + Sync {
    /// The PIN of this token; `None` where there is nobody to ask. It is asked for once: a wrong one is not tried again
    /// by itself, since tokens lock after a few.
    fn pin(&self, token: &str) -> Option<SecretBytes>;
}

/// Nobody to ask.
#[derive(Clone, Copy, Debug)]
pub struct NoPins;

impl Pins for NoPins {
    fn pin(&self, _: &str) -> Option<SecretBytes> {
        None
    }
}

/// A key as the home folder knows it.
pub(super) enum StoredKey {
    P256(Secret<32>),
    Rsa2048(SecretBytes),
    /// Its private half is elsewhere; what is kept is how to find it.
    Token {
        place: TokenPlace,
        id: [u8; 16],
        public: AgreementPublicKey,
    },
}

/// The stored form of [`StoredKey::Token`].
#[derive(Clone, Encode, Decode)]
#[cbor(map)]
pub(super) struct TokenRecord {
    #[n(0)]
    pub(super) place: TokenPlace,
    #[cbor(n(1), with = "minicbor::bytes")]
    pub(super) id: [u8; 16],
    #[n(2)]
    pub(super) public: AgreementPublicKey,
}

/// Whoever answers for the private half.
#[derive(Clone)]
pub(super) enum Holder {
    P256(Arc<dyn DeviceKey>),
    Rsa2048(Arc<dyn LegacyKey>),
}

impl Holder {
    pub(super) fn public(&self) -> StaticKey {
        match self {
            Self::P256(key) => StaticKey::P256(*key.public()),
            Self::Rsa2048(key) => StaticKey::Rsa2048(key.public().clone()),
        }
    }

    /// May take as long as a person takes to touch a token.
    pub(super) fn answer(&self, question: &Question) -> Result<Answer, Refused> {
        match (self, question) {
            (Self::P256(key), Question::Agree(peer)) => key.agree(peer).map(Answer::Agreed),
            (Self::Rsa2048(key), Question::Unwrap(wrapped, label)) => key.unwrap(wrapped, label).map(Answer::Unwrapped),
            // What belongs to a key of the other kind is not for this one.
            (Self::P256(_), Question::Unwrap(..)) | (Self::Rsa2048(_), Question::Agree(_)) => Err(Refused::Denied),
        }
    }
}

impl StoredKey {
    /// Whether this is what was asked for.
    pub(super) fn is(&self, choice: &KeyChoice) -> bool {
        match (self, choice) {
            (Self::P256(_), KeyChoice::P256) | (Self::Rsa2048(_), KeyChoice::Rsa2048) => true,
            (Self::Token { place, .. }, KeyChoice::Token(wanted)) => place.label == wanted.label,
            _ => false,
        }
    }

    /// Makes a fresh key. One on a token is found there again by `id`.
    pub(super) fn generate(choice: &KeyChoice, id: [u8; 16], pins: &dyn Pins) -> Result<(Self, Holder), ClientError> {
        match choice {
            KeyChoice::P256 => {
                let key = SoftwareKey::generate(&mut rng());
                let scalar = Secret::filled_by(|out| out.copy_from_slice(key.scalar().expose()));
                Ok((Self::P256(scalar), Holder::P256(Arc::new(key))))
            }
            KeyChoice::Rsa2048 => {
                let key = SoftwareLegacyKey::generate().ok_or(ClientError::NoKey)?;
                let pkcs8 = SecretBytes::new(key.pkcs8().as_slice().to_vec());
                Ok((Self::Rsa2048(pkcs8), Holder::Rsa2048(Arc::new(key))))
            }
            KeyChoice::Token(place) => {
                let pin = pins.pin(&place.label).ok_or_else(|| token::TokenFault::NoPin(place.label.clone()))?;
                let key = TokenKey::create(place, id, &pin)?;
                Ok((Self::Token { place: place.clone(), id, public: *key.public() }, Holder::P256(Arc::new(key))))
            }
        }
    }

    /// Finds whoever answers for it; asks for a PIN where it lies on a token.
    pub(super) fn open(&self, pins: &dyn Pins) -> Result<Holder, ClientError> {
        let damaged = || HomeError::Damaged("device".into());
        Ok(match self {
            Self::P256(scalar) => {
                let scalar = Secret::filled_by(|out| out.copy_from_slice(scalar.expose()));
                Holder::P256(Arc::new(SoftwareKey::from_scalar(scalar).ok_or_else(damaged)?))
            }
            Self::Rsa2048(pkcs8) => {
                Holder::Rsa2048(Arc::new(SoftwareLegacyKey::from_pkcs8(pkcs8.as_slice()).ok_or_else(damaged)?))
            }
            Self::Token { place, id, public } => {
                let pin = pins.pin(&place.label).ok_or_else(|| token::TokenFault::NoPin(place.label.clone()))?;
                Holder::P256(Arc::new(TokenKey::open(place, *id, public, &pin)?))
            }
        })
    }

    /// The fields of a stored record: scalar, PKCS#8, token. Two of them are empty.
    pub(super) fn fields(&self) -> (Vec<u8>, Option<Vec<u8>>, Option<TokenRecord>) {
        match self {
            Self::P256(scalar) => (scalar.expose().to_vec(), None, None),
            Self::Rsa2048(pkcs8) => (Vec::new(), Some(pkcs8.as_slice().to_vec()), None),
            Self::Token { place, id, public } => {
                (Vec::new(), None, Some(TokenRecord { place: place.clone(), id: *id, public: *public }))
            }
        }
    }

    /// The key of such fields; `None` where they contradict each other.
    pub(super) fn from_fields(scalar: &[u8], pkcs8: Option<&[u8]>, token: Option<&TokenRecord>) -> Option<Self> {
        match (scalar.is_empty(), pkcs8, token) {
            (false, None, None) => Secret::from_slice(scalar).map(Self::P256),
            (true, Some(pkcs8), None) => Some(Self::Rsa2048(SecretBytes::new(pkcs8.to_vec()))),
            (true, None, Some(TokenRecord { place, id, public })) => {
                Some(Self::Token { place: place.clone(), id: *id, public: *public })
            }
            _ => None,
        }
    }
}

impl std::fmt::Debug for StoredKey {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Self::P256(_) => "StoredKey::P256",
            Self::Rsa2048(_) => "StoredKey::Rsa2048",
            Self::Token { .. } => "StoredKey::Token",
        })
    }
}
