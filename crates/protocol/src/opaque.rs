//! The one OPAQUE configuration (RFC 9807) of clients and servers: Ristretto255, triple Diffie-Hellman with
//! SHA-512, Argon2id. The server never sees a passphrase, nor anything it could test one against without its own
//! secret setup.

use opaque_ke::argon2::{Algorithm, Argon2, Params, Version};
use opaque_ke::{CipherSuite, Identifiers, Ristretto255, TripleDh, rand};
use sha2_010::Sha512;

/// Ties every login to this protocol and version.
pub const CONTEXT: &[u8] = crate::labels::LOGIN.as_bytes();

/// Argon2id memory in KiB.
const MEMORY: u32 = 64 * 1024;
/// Argon2id passes.
const PASSES: u32 = 3;

/// The suite.
#[derive(Clone, Copy, Debug)]
pub struct Suite;

impl CipherSuite for Suite {
    type OprfCs = Ristretto255;
    type KeyExchange = TripleDh<Ristretto255, Sha512>;
    type Ksf = Argon2<'static>;
}

/// The stretching of passphrases: 64 MiB, three passes, one lane.
///
/// # Errors
/// When the library does not take these numbers, which it does.
pub fn stretching() -> Result<Argon2<'static>, opaque_ke::argon2::Error> {
    Ok(Argon2::new(Algorithm::Argon2id, Version::V0x13, Params::new(MEMORY, PASSES, 1, None)?))
}

/// Names both ends in the key exchange.
#[must_use]
pub const fn identifiers<'a>(user: &'a [u8], server: &'a [u8]) -> Identifiers<'a> {
    Identifiers { client: Some(user), server: Some(server) }
}

/// Our random number generators in the shape this library wants.
#[derive(Debug)]
pub struct Rng<'r, R>(pub &'r mut R);

impl<R: rand_core::CryptoRng> rand::RngCore for Rng<'_, R> {
    fn next_u32(&mut self) -> u32 {
        self.0.next_u32()
    }

    fn next_u64(&mut self) -> u64 {
        self.0.next_u64()
    }

    fn fill_bytes(&mut self, out: &mut [u8]) {
        self.0.fill_bytes(out);
    }

    fn try_fill_bytes(&mut self, out: &mut [u8]) -> Result<(), rand::Error> {
        self.0.fill_bytes(out);
        Ok(())
    }
}

impl<R: rand_core::CryptoRng> rand::CryptoRng for Rng<'_, R> {}
