//! The caller's randomness, for as long as an operation lasts.

use core::cell::RefCell;
use core::convert::Infallible;

use openmls_traits::random::OpenMlsRand;
use rand_core::CryptoRng;

/// Hands the caller's generator to openmls, which wants to draw through a shared reference.
pub(crate) struct Random<'a>(RefCell<&'a mut dyn CryptoRng>);

impl<'a> Random<'a> {
    pub(crate) const fn new(rng: &'a mut dyn CryptoRng) -> Self {
        Self(RefCell::new(rng))
    }

    pub(crate) fn fill(&self, bytes: &mut [u8]) {
        self.0.borrow_mut().fill_bytes(bytes);
    }
}

impl OpenMlsRand for Random<'_> {
    type Error = Infallible;

    fn random_array<const N: usize>(&self) -> Result<[u8; N], Infallible> {
        let mut bytes = [0; N];
        self.fill(&mut bytes);
        Ok(bytes)
    }

    fn random_vec(&self, len: usize) -> Result<Vec<u8>, Infallible> {
        let mut bytes = vec![0; len];
        self.fill(&mut bytes);
        Ok(bytes)
    }
}
