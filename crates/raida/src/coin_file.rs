//! Files of a coin's 25 keys, one for each node: what a node keeps of a coin of its own, `coins/<coin>.bin`.
//!
//! ```text
//! 9 | cloud 1 | coin id 2 | ... up to byte 40 | 25 keys of 16 bytes, of node 0 to 24
//! ```
//! 440 bytes. The coin files that wallets write (format 9) have 439: a header of 32 bytes and one of 7 before the keys, one byte less than
//! nodes read. Such a file is refused, and not shifted on a guess: its keys would be those of no node.

use zeroize::Zeroizing;

use crate::coin::Authenticity;

/// Bytes of a node's coin file.
pub const LENGTH: usize = 440;
/// Bytes of a wallet's.
pub const WALLET_LENGTH: usize = 439;
/// Nodes that a coin has a key on.
pub const NODES: usize = 25;
const KEYS_AT: usize = 40;

/// Why a file is not used.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum CoinFileError {
    /// A wallet's file.
    #[error(
        "the file has 439 bytes, as a wallet writes it; a node's has 440: put one zero byte in front of the keys, at offset 39"
    )]
    Wallets,
    /// Another length.
    #[error("the file has {0} bytes, where a coin's file has 440")]
    Length(usize),
    /// A coin of another kind.
    #[error("the file is of a coin with the id {found}, and the node keeps coins with the id {expected}")]
    CoinId {
        /// The file's.
        found: u16,
        /// The node's.
        expected: u16,
    },
}

/// A coin's keys on all nodes.
pub struct CoinFile(Zeroizing<Vec<u8>>);

impl CoinFile {
    /// Reads a file.
    ///
    /// # Errors
    /// [`CoinFileError`].
    pub fn read(bytes: Zeroizing<Vec<u8>>, coin_id: u16) -> Result<Self, CoinFileError> {
        match bytes.len() {
            LENGTH => {}
            WALLET_LENGTH => return Err(CoinFileError::Wallets),
            other => return Err(CoinFileError::Length(other)),
        }
        let found = match bytes.as_slice() {
            [_, _, a, b, ..] => u16::from_be_bytes([*a, *b]),
            _ => 0,
        };
        if found == coin_id { Ok(Self(bytes)) } else { Err(CoinFileError::CoinId { found, expected: coin_id }) }
    }

    /// Makes a file of 25 keys.
    #[must_use]
    pub fn write(coin_id: u16, keys: &[Authenticity; NODES]) -> Zeroizing<Vec<u8>> {
        let [a, b] = coin_id.to_be_bytes();
        let mut bytes = Zeroizing::new(vec![0; KEYS_AT]);
        bytes.iter_mut().zip([9, 1, a, b]).for_each(|(to, from)| *to = from);
        keys.iter().for_each(|key| bytes.extend_from_slice(key.expose()));
        bytes
    }

    /// The coin's key on node `raida`; `None` beyond 24, and where the file has sixteen zeros, which is no key.
    #[must_use]
    pub fn key(&self, raida: u8) -> Option<Authenticity> {
        let (keys, _) = self.0.get(KEYS_AT..)?.as_chunks();
        keys.get(usize::from(raida)).filter(|key| **key != [0; 16]).map(Authenticity::from_bytes)
    }
}

impl core::fmt::Debug for CoinFile {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        f.write_str("CoinFile")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rkx_1_a_coin_file_has_440_bytes_and_says_why_if_not() {
        let keys = core::array::from_fn(|n| Authenticity::from_bytes(&[u8::try_from(n).unwrap(); 16]));
        let bytes = CoinFile::write(0xff06, &keys);
        assert_eq!(bytes.len(), LENGTH);
        let file = CoinFile::read(bytes.clone(), 0xff06).unwrap();
        assert_eq!((file.key(24).unwrap().expose(), file.key(25).is_none()), (&[24; 16], true));
        assert!(file.key(0).is_none(), "sixteen zeros");
        let length = |n: usize| CoinFile::read(Zeroizing::new(vec![0; n]), 0).err();
        assert_eq!((length(439), length(0)), (Some(CoinFileError::Wallets), Some(CoinFileError::Length(0))));
        assert_eq!(length(441), Some(CoinFileError::Length(441)));
        assert_eq!(CoinFile::read(bytes, 6).err(), Some(CoinFileError::CoinId { found: 0xff06, expected: 6 }));
    }
}
