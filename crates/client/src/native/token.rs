//! A P-256 key on a PKCS#11 token: a smart card, a security key, a TPM, or SoftHSM.
//!
//! The private half is made on the token, marked as not to be given out, and never leaves it: neither here nor to another
//! token. A device is moved by adding another one.

use std::fmt;
use std::sync::{Mutex, PoisonError};

use cryptoki::context::{CInitializeArgs, CInitializeFlags, Function, Pkcs11};
use cryptoki::error::{Error, RvError};
use cryptoki::mechanism::Mechanism;
use cryptoki::mechanism::elliptic_curve::{EcKdf, Ecdh1DeriveParams};
use cryptoki::object::{Attribute, AttributeType, KeyType, ObjectClass, ObjectHandle};
use cryptoki::session::{Session, UserType};
use cryptoki::slot::Slot;
use cryptoki::types::{AuthPin, Ulong};
use undertone_keys::agreement::{AgreementPublicKey, DeviceKey, EphemeralKey, Refused, SharedSecret, prove_possession};
use undertone_keys::secret::SecretBytes;
use zeroize::Zeroizing;

use super::device_key::TokenPlace;
use super::rng;

/// The curve P-256 as an object identifier in DER.
const P256: &[u8] = &[0x06, 0x08, 0x2a, 0x86, 0x48, 0xce, 0x3d, 0x03, 0x01, 0x07];
/// What our keys are called on a token, for people who look.
const LABEL: &[u8] = b"Undertone device key";

/// What can be wrong with a token. Each has its own words: what to do differs.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum TokenFault {
    /// The module.
    #[error("the PKCS#11 module {0} cannot be loaded ({1}): is it installed, and is the path right?")]
    Module(String, String),
    /// No such token.
    #[error("there is no token named {0:?}: plug it in, or look what its label is (for example with pkcs11-tool -L)")]
    Missing(String),
    /// Nobody to ask.
    #[error("the PIN of the token {0:?} is needed, and there is no terminal to ask for it on: use --pin-stdin")]
    NoPin(String),
    /// Not the PIN. It is not tried again: a token locks after a few wrong ones.
    #[error("that is not the PIN of the token {0:?}. Mind that it locks after a few wrong ones")]
    WrongPin(String),
    /// Locked.
    #[error("the token {0:?} is locked after too many wrong PINs: unlock it with its own tools and its PUK or SO PIN")]
    Locked(String),
    /// The key is not on it.
    #[error(
        "this device's key is not on the token {0:?}. A key on a token cannot be moved or copied: use the token it was made \
         on, or add this device anew with `undertone login` on another home"
    )]
    NoKey(String),
    /// It went away.
    #[error("the token {0:?} was pulled out: put it back and begin again")]
    Gone(String),
    /// It cannot do this.
    #[error("the token {0:?} cannot do this: {1}")]
    Failed(String, String),
}

/// A key on a token, with an open session.
pub(super) struct TokenKey {
    session: Mutex<Session>,
    slot: Slot,
    module: Pkcs11,
    private: ObjectHandle,
    public: AgreementPublicKey,
}

/// A token that was unlocked.
struct Unlocked {
    module: Pkcs11,
    slot: Slot,
    session: Session,
}

fn load(place: &TokenPlace) -> Result<Pkcs11, TokenFault> {
    let path = place.module();
    let failed = |error: Error| TokenFault::Module(path.display().to_string(), error.to_string());
    let module = Pkcs11::new(&path).map_err(failed)?;
    match module.initialize(CInitializeArgs::new(CInitializeFlags::OS_LOCKING_OK)) {
        // Another key of this process has done it.
        Ok(()) | Err(Error::Pkcs11(RvError::CryptokiAlreadyInitialized, Function::Initialize)) => Ok(module),
        Err(error) => Err(failed(error)),
    }
}

/// What an error of a token means.
fn fault(place: &TokenPlace, error: &Error, is_there: bool) -> TokenFault {
    use RvError as Rv;
    let label = place.label.clone();
    let Error::Pkcs11(code, _) = error else { return TokenFault::Failed(label, error.to_string()) };
    match code {
        Rv::PinIncorrect | Rv::PinInvalid | Rv::PinLenRange => TokenFault::WrongPin(label),
        Rv::PinLocked => TokenFault::Locked(label),
        Rv::TokenNotPresent
        | Rv::TokenNotRecognized
        | Rv::DeviceRemoved
        | Rv::SlotIdInvalid
        | Rv::SessionHandleInvalid
        | Rv::SessionClosed => TokenFault::Gone(label),
        // Some modules have no word of their own for it.
        _ if !is_there => TokenFault::Gone(label),
        _ => TokenFault::Failed(label, error.to_string()),
    }
}

/// What a token must have for its PIN to be asked of it: whoever has the same label is not told the PIN of another.
type Expected<'a> = Option<(&'a [u8; 16], &'a AgreementPublicKey)>;

/// The slot of the token of this label, and, where one is expected, with this public key on it.
fn find(module: &Pkcs11, place: &TokenPlace, expected: Expected<'_>) -> Result<Slot, TokenFault> {
    let slots = module.get_slots_with_token().map_err(|error| fault(place, &error, true))?;
    // One that cannot be asked is not the one that is looked for.
    let named = |slot: &Slot| {
        module.get_token_info(*slot).is_ok_and(|info| info.token_initialized() && info.label() == place.label)
    };
    let named: Vec<Slot> = slots.into_iter().filter(named).collect();
    let Some((id, key)) = expected else {
        return named.first().copied().ok_or_else(|| TokenFault::Missing(place.label.clone()));
    };
    if named.is_empty() {
        return Err(TokenFault::Missing(place.label.clone()));
    }
    let holds = |slot: &Slot| {
        let wanted =
            [Attribute::Class(ObjectClass::PUBLIC_KEY), Attribute::KeyType(KeyType::EC), Attribute::Id(id.to_vec())];
        let session = module.open_ro_session(*slot).ok()?;
        let found = session.find_objects(&wanted).ok()?;
        found.into_iter().find(|public| point(&session, *public).ok().flatten().as_ref() == Some(key))
    };
    named.into_iter().find(|slot| holds(slot).is_some()).ok_or_else(|| TokenFault::NoKey(place.label.clone()))
}

fn unlock(place: &TokenPlace, pin: &SecretBytes, expected: Expected<'_>) -> Result<Unlocked, TokenFault> {
    let module = load(place)?;
    let slot = find(&module, place, expected)?;
    let there = |error: Error| fault(place, &error, module.get_token_info(slot).is_ok());
    if module.get_token_info(slot).map_err(there)?.user_pin_locked() {
        return Err(TokenFault::Locked(place.label.clone()));
    }
    let text = std::str::from_utf8(pin.as_slice()).map_err(|_| TokenFault::WrongPin(place.label.clone()))?;
    let session = module.open_rw_session(slot).map_err(there)?;
    match session.login(UserType::User, Some(&AuthPin::from(text))) {
        Ok(()) | Err(Error::Pkcs11(RvError::UserAlreadyLoggedIn, Function::Login)) => {}
        Err(error) => return Err(there(error)),
    }
    Ok(Unlocked { module, slot, session })
}

impl TokenKey {
    /// Makes a key pair on a token, to be found again by `id`.
    pub(super) fn create(place: &TokenPlace, id: [u8; 16], pin: &SecretBytes) -> Result<Self, TokenFault> {
        let Unlocked { module, slot, session } = unlock(place, pin, None)?;
        let there = |error: Error| fault(place, &error, module.get_token_info(slot).is_ok());
        let public = [
            Attribute::Token(true),
            Attribute::Private(false),
            Attribute::KeyType(KeyType::EC),
            Attribute::EcParams(P256.to_vec()),
            Attribute::Derive(true),
            Attribute::Verify(false),
            Attribute::Label(LABEL.to_vec()),
            Attribute::Id(id.to_vec()),
        ];
        let private = [
            Attribute::Token(true),
            Attribute::Private(true),
            Attribute::Sensitive(true),
            Attribute::Extractable(false),
            Attribute::Derive(true),
            Attribute::Sign(false),
            Attribute::Label(LABEL.to_vec()),
            Attribute::Id(id.to_vec()),
        ];
        let (public, private) =
            session.generate_key_pair(&Mechanism::EccKeyPairGen, &public, &private).map_err(there)?;
        let point = point(&session, public).map_err(there)?;
        let public = point.ok_or_else(|| TokenFault::Failed(place.label.clone(), "its P-256 key is none".into()))?;
        let key = Self { session: Mutex::new(session), slot, module, private, public };
        key.try_out(place)?;
        Ok(key)
    }

    /// Finds a key that was made before.
    pub(super) fn open(
        place: &TokenPlace,
        id: [u8; 16],
        expected: &AgreementPublicKey,
        pin: &SecretBytes,
    ) -> Result<Self, TokenFault> {
        let Unlocked { module, slot, session } = unlock(place, pin, Some((&id, expected)))?;
        let there = |error: Error| fault(place, &error, module.get_token_info(slot).is_ok());
        let none = || TokenFault::NoKey(place.label.clone());
        let wanted =
            [Attribute::Class(ObjectClass::PRIVATE_KEY), Attribute::KeyType(KeyType::EC), Attribute::Id(id.to_vec())];
        let privates = session.find_objects(&wanted).map_err(there)?;
        // More than one under one id, and nobody knows which is meant.
        let [private] = privates.as_slice() else { return Err(none()) };
        let private = *private;
        let key = Self { session: Mutex::new(session), slot, module, private, public: *expected };
        key.try_out(place)?;
        Ok(key)
    }

    /// Whether what the token says is its public key belongs to what it agrees with.
    fn try_out(&self, place: &TokenPlace) -> Result<(), TokenFault> {
        let peer = EphemeralKey::generate(&mut rng());
        let mac = |shared: &SharedSecret| prove_possession(shared, peer.public(), b"");
        let here = self.agree(peer.public()).map(|shared| mac(&shared));
        let there = peer.agree(&self.public).map(|shared| mac(&shared));
        if here.is_ok() && here == there {
            return Ok(());
        }
        Err(TokenFault::Failed(place.label.clone(), "its P-256 agreement gives something else than it should".into()))
    }

    fn derive(&self, session: &Session, peer: &AgreementPublicKey) -> Result<Option<SharedSecret>, Error> {
        let mechanism = Mechanism::Ecdh1Derive(Ecdh1DeriveParams::new(EcKdf::null(), peer.as_bytes()));
        let wanted = [
            Attribute::Class(ObjectClass::SECRET_KEY),
            Attribute::KeyType(KeyType::GENERIC_SECRET),
            Attribute::Token(false),
            Attribute::Private(true),
            Attribute::Sensitive(false),
            Attribute::Extractable(true),
            Attribute::ValueLen(Ulong::new(32)),
        ];
        let derived = session.derive_key(&mechanism, self.private, &wanted)?;
        let value = session.get_attributes(derived, &[AttributeType::Value]);
        // Gone again, whether it could be read or not.
        let destroyed = session.destroy_object(derived);
        let secret = value?.into_iter().find_map(|attribute| match attribute {
            Attribute::Value(bytes) => {
                let bytes = Zeroizing::new(bytes);
                // Some tokens leave leading zeros out.
                let mut whole = Zeroizing::new([0; 32]);
                let place = whole.len().checked_sub(bytes.len())?;
                whole.get_mut(place..)?.copy_from_slice(&bytes);
                SharedSecret::from_slice(&*whole)
            }
            _ => None,
        });
        destroyed.map(|()| secret)
    }
}

/// The point of a public key: raw, or in an OCTET STRING, as tokens have it.
fn point(session: &Session, public: ObjectHandle) -> Result<Option<AgreementPublicKey>, Error> {
    let attributes = session.get_attributes(public, &[AttributeType::EcPoint])?;
    Ok(attributes.into_iter().find_map(|attribute| match attribute {
        Attribute::EcPoint(bytes) => {
            let raw = match bytes.as_slice() {
                [0x04, 0x41, raw @ ..] if raw.len() == 65 => raw,
                raw => raw,
            };
            AgreementPublicKey::from_sec1(raw).ok()
        }
        _ => None,
    }))
}

impl DeviceKey for TokenKey {
    fn public(&self) -> &AgreementPublicKey {
        &self.public
    }

    fn agree(&self, peer: &AgreementPublicKey) -> Result<SharedSecret, Refused> {
        let session = self.session.lock().unwrap_or_else(PoisonError::into_inner);
        match self.derive(&session, peer) {
            Ok(Some(secret)) => Ok(secret),
            Ok(None) => Err(Refused::Denied),
            Err(error) => {
                // Pulled out, locked by its own timer, or logged out by another program: it may come back.
                let away = self.module.get_token_info(self.slot).is_err()
                    || matches!(
                        error,
                        Error::Pkcs11(
                            RvError::UserNotLoggedIn
                                | RvError::TokenNotPresent
                                | RvError::DeviceRemoved
                                | RvError::SessionHandleInvalid
                                | RvError::SessionClosed
                                | RvError::ObjectHandleInvalid
                                | RvError::KeyHandleInvalid,
                            _
                        )
                    );
                tracing::warn!(%error, "the token did not agree");
                Err(if away { Refused::Unavailable } else { Refused::Denied })
            }
        }
    }
}

impl fmt::Debug for TokenKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("TokenKey")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_way_a_token_says_no_has_its_words() {
        let place = TokenPlace::new("/nowhere/module.so".as_ref(), "card".into());
        let error = |code| Error::Pkcs11(code, Function::Login);
        let card = || "card".to_owned();
        for (code, is_there, expected) in [
            (RvError::PinIncorrect, true, TokenFault::WrongPin(card())),
            (RvError::PinLenRange, true, TokenFault::WrongPin(card())),
            (RvError::PinLocked, true, TokenFault::Locked(card())),
            (RvError::TokenNotPresent, true, TokenFault::Gone(card())),
            (RvError::DeviceRemoved, true, TokenFault::Gone(card())),
            (RvError::GeneralError, false, TokenFault::Gone(card())),
        ] {
            assert_eq!(fault(&place, &error(code), is_there), expected);
        }
        assert!(matches!(fault(&place, &error(RvError::GeneralError), true), TokenFault::Failed(..)));
        let loaded = load(&place).map(|_| ());
        assert!(matches!(loaded, Err(TokenFault::Module(path, _)) if path == "/nowhere/module.so"));
    }
}
