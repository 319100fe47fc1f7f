//! The cipher suites, by ids of our own.
//!
//! MLS numbers suites, and the number of X-Wing is nobody's yet: what one library calls 0x004D is ML-KEM-512 in another, and drafts
//! still move code points. So what is offered, agreed on and compared is an id of ours, which stands in every key package's
//! envelope and, with the terms, in the group context (rule NEG-1). The number of MLS is looked at after that.

use minicbor::{Decode, Encode};
use openmls_traits::types::{Ciphersuite, SignatureScheme};
use undertone_keys::leaf::LeafScheme;

use crate::limits;

/// What a group is protected with.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Encode, Decode)]
#[cbor(index_only)]
pub enum Suite {
    /// DHKEM(P-256), AES-128-GCM, SHA-256, ECDSA over P-256: suite 2 of RFC 9420.
    #[n(1)]
    P256,
    /// DHKEM(X25519), AES-128-GCM, SHA-256, Ed25519: suite 1 of RFC 9420.
    #[n(2)]
    X25519,
    /// X-Wing (draft 6: ML-KEM-768 and X25519), ChaCha20-Poly1305, SHA-256, Ed25519. What is sealed today stays sealed when
    /// somebody has a quantum computer; signatures do not need to. A path costs ten times the bytes.
    #[n(3)]
    XWing,
}

impl Suite {
    /// All of them, the preferred one last.
    pub const ALL: [Self; 3] = [Self::P256, Self::X25519, Self::XWing];

    /// The id of the capability, as it travels.
    #[must_use]
    pub const fn id(self) -> u16 {
        match self {
            Self::P256 => 1,
            Self::X25519 => 2,
            Self::XWing => 3,
        }
    }

    /// The suite with this capability id.
    #[must_use]
    pub fn from_id(id: u16) -> Option<Self> {
        Self::ALL.into_iter().find(|suite| suite.id() == id)
    }

    /// The word for people and JSON.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::P256 => "p256",
            Self::X25519 => "x25519",
            Self::XWing => "x-wing",
        }
    }

    /// The number that stands in MLS messages: what a delivery service can see of the suite. Nothing is agreed on by it.
    #[must_use]
    pub const fn mls_number(self) -> u16 {
        self.ciphersuite() as u16
    }

    /// Members of a group with it at most.
    #[must_use]
    pub const fn members(self) -> usize {
        match self {
            Self::P256 | Self::X25519 => limits::MEMBERS,
            Self::XWing => limits::MEMBERS_X_WING,
        }
    }

    /// How its leaves sign.
    #[must_use]
    pub const fn leaf_scheme(self) -> LeafScheme {
        match self {
            Self::P256 => LeafScheme::EcdsaP256,
            Self::X25519 | Self::XWing => LeafScheme::Ed25519,
        }
    }

    pub(crate) const fn ciphersuite(self) -> Ciphersuite {
        match self {
            Self::P256 => Ciphersuite::MLS_128_DHKEMP256_AES128GCM_SHA256_P256,
            Self::X25519 => Ciphersuite::MLS_128_DHKEMX25519_AES128GCM_SHA256_Ed25519,
            Self::XWing => Ciphersuite::MLS_256_XWING_CHACHA20POLY1305_SHA256_Ed25519,
        }
    }
}

pub(crate) const fn signature_scheme(scheme: LeafScheme) -> SignatureScheme {
    match scheme {
        LeafScheme::Ed25519 => SignatureScheme::ED25519,
        LeafScheme::EcdsaP256 => SignatureScheme::ECDSA_SECP256R1_SHA256,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn neg_1_suites_have_ids_of_their_own() {
        for suite in Suite::ALL {
            assert_eq!(Suite::from_id(suite.id()), Some(suite));
            assert_eq!(undertone_keys::cbor::encode(&suite), [u8::try_from(suite.id()).unwrap()]);
        }
        assert_eq!(Suite::from_id(0x004D), None);
        // RFC 9420, 17.1, and for X-Wing what openmls 0.9 writes.
        assert_eq!(Suite::ALL.map(Suite::mls_number), [2, 1, 0x004D]);
    }
}
