//! How a server shows that a TLS key is its own (rule KT-14): a statement signed by its identity key, which clients
//! pin. Certificates may come from anywhere and change at any time.

use minicbor::{Decode, Encode};
use undertone_keys::sign::{Server, Signed, SigningKey, VerifyingKey};
use undertone_keys::{WallTime, cbor};

use crate::labels;

/// What a server says about itself. CBOR map with these keys, signed by `identity`.
#[derive(Clone, Debug, PartialEq, Eq, Encode, Decode)]
#[cbor(map)]
pub struct Statement {
    /// The server's identity key.
    #[n(0)]
    pub identity: VerifyingKey<Server>,
    /// The domain its users live on.
    #[n(1)]
    pub domain: String,
    /// SHA-256 over the SubjectPublicKeyInfo (DER) of the TLS key.
    #[cbor(n(2), with = "minicbor::bytes")]
    pub tls_key: [u8; 32],
    /// When it was made.
    #[n(3)]
    pub created: WallTime,
    /// The VRF key of its key directory (rule KT-5): 32 bytes. With `identity`, which signs the log, what a client pins.
    #[cbor(n(4), with = "minicbor::bytes")]
    pub vrf: [u8; 32],
}

/// Why a statement is not believed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum StatementError {
    /// Not a statement.
    #[error("the server's statement is malformed")]
    Malformed,
    /// The key it names did not sign it.
    #[error("the server's statement is not signed by its identity key")]
    Signature,
    /// It speaks of another TLS key than the one in use.
    #[error("the server's statement is about another TLS key than the one in use")]
    OtherKey,
}

impl Statement {
    /// The statement as it travels.
    #[must_use]
    pub fn sign(&self, key: &SigningKey<Server>) -> Vec<u8> {
        cbor::encode(&Signed::new(key, labels::STATEMENT, cbor::encode(self)))
    }

    /// Reads a statement made over a connection whose TLS key hashes to `tls_key`. Whether `identity` is the pinned
    /// key is for the caller to check.
    ///
    /// # Errors
    /// [`StatementError`].
    pub fn verify(bytes: &[u8], tls_key: &[u8; 32]) -> Result<Self, StatementError> {
        let signed: Signed = cbor::decode(bytes).map_err(|_| StatementError::Malformed)?;
        let statement: Self = cbor::decode(&signed.bytes).map_err(|_| StatementError::Malformed)?;
        signed.verify(&statement.identity, labels::STATEMENT).map_err(|_| StatementError::Signature)?;
        if statement.tls_key != *tls_key {
            return Err(StatementError::OtherKey);
        }
        Ok(statement)
    }
}
