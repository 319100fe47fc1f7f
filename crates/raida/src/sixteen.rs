//! The original's way of laying a key over the nodes: sixteen parts, on the inner four columns and lower four rows of its grid of five by five.
//! All of them are needed. For peers that know no other; a quorum secret goes another way ([`crate::quorum`]).
//!
//! ```
//! let key: Vec<u8> = (0..32).collect();
//! let parts = undertone_raida::sixteen::cut(&key).unwrap();
//! assert_eq!(parts[0], (5, &[0, 1][..]));
//! assert_eq!(parts[15], (23, &[30, 31][..]));
//! ```

use zeroize::Zeroizing;

use crate::client::{Gather, Lie};
use crate::command::KEY_REACH;

/// Parts.
pub const PARTS: usize = 16;
/// Which nodes have them, in their order.
pub const NODES: [u8; PARTS] = [5, 6, 7, 8, 10, 11, 12, 13, 15, 16, 17, 18, 20, 21, 22, 23];

/// Cuts a key into parts of one size. `None` for a key that is empty, no multiple of sixteen bytes, or longer than sixteen nodes keep.
#[must_use]
pub fn cut(key: &[u8]) -> Option<Vec<(u8, &[u8])>> {
    let size = key.len() / PARTS;
    let fits = size > 0 && key.len().is_multiple_of(PARTS) && size <= usize::from(KEY_REACH);
    fits.then(|| NODES.into_iter().zip(key.chunks_exact(size)).collect())
}

/// Parts on their way together.
#[derive(Default)]
pub struct Sixteen([Option<Zeroizing<Vec<u8>>>; PARTS]);

impl core::fmt::Debug for Sixteen {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        write!(f, "Sixteen({} parts)", self.0.iter().flatten().count())
    }
}

impl Sixteen {
    /// The key, once all parts are there. Nothing says that it is the right one: the original has neither commitments nor a MAC.
    #[must_use]
    pub fn key(&self) -> Option<Zeroizing<Vec<u8>>> {
        let parts: Vec<_> = self.0.iter().flatten().collect();
        let size = parts.first()?.len();
        if parts.len() != PARTS || parts.iter().any(|part| part.len() != size) {
            return None;
        }
        let mut key = Zeroizing::new(Vec::with_capacity(PARTS * size));
        parts.iter().for_each(|part| key.extend_from_slice(part));
        Some(key)
    }
}

impl Gather for Sixteen {
    fn take(&mut self, place: usize, bytes: &[u8]) -> Result<(), Lie> {
        let part = self.0.get_mut(place).filter(|_| !bytes.is_empty()).ok_or(Lie::Malformed)?;
        *part = Some(Zeroizing::new(bytes.to_vec()));
        Ok(())
    }

    fn is_whole(&self) -> bool {
        self.key().is_some()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rkx_5_sixteen_parts_of_the_originals_sample() {
        // The documents' example: R05 has E987, R23 has 3262.
        let key: Vec<u8> = "E9873D79C6D87DC0FB6A5778633389F4453213303DA61F20BD67FC233AA33262"
            .as_bytes()
            .chunks(2)
            .map(|pair| u8::from_str_radix(std::str::from_utf8(pair).unwrap(), 16).unwrap())
            .collect();
        let parts = cut(&key).unwrap();
        assert_eq!((parts[0], parts[15]), ((5, &[0xe9, 0x87][..]), (23, &[0x32, 0x62][..])));
        let mut gathered = Sixteen::default();
        for (place, (_, part)) in parts.iter().enumerate() {
            assert!(!gathered.is_whole());
            gathered.take(place, part).unwrap();
        }
        assert_eq!(*gathered.key().unwrap(), key);
        assert!(gathered.take(16, &[1]).is_err() && gathered.take(0, &[]).is_err());
        gathered.take(3, &[1]).unwrap();
        assert!(gathered.key().is_none(), "a part of another size");
        assert!([0, 15, 17, 16 * 128].into_iter().all(|length| cut(&vec![0; length]).is_none()));
    }
}
