//! A wallet: coins and their keys on the nodes of a swarm, as an account has them.
//!
//! In text it is what `undertone-server raida coins create` writes, a line for a coin on a node: `<coin> <node> <key, 32 hex digits>`.

use std::collections::BTreeMap;

use zeroize::Zeroizing;

use crate::coin::{Authenticity, Coin};
use crate::coin_file::NODES;

/// Coins that a wallet has room for.
pub const MOST_COINS: usize = 16;
/// Bytes of a line at most: the longest name, two digits of a node, the key, spaces and the line's end.
const LINE: usize = 64;
/// Bytes of a file at most.
pub const LONGEST: usize = MOST_COINS * NODES * LINE;

/// Keys by coin and node. Secrets all of them.
#[derive(Default)]
pub struct Wallet(BTreeMap<(Coin, u8), Authenticity>);

/// Why a text is no wallet.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum WalletError {
    /// A line that is none. What stands in it is not said: it may be a key.
    #[error("line {0} is not `<coin> <node> <key>`, as `coins create` writes it")]
    Line(usize),
    /// One coin's key on one node twice, and different.
    #[error("line {0} has another key for a coin and node that have one already")]
    Twice(usize),
    /// Too many coins, or too long a text.
    #[error("a wallet has no more than {MOST_COINS} coins")]
    TooMany,
}

impl Wallet {
    /// Reads lines; blank ones are passed over.
    ///
    /// # Errors
    /// [`WalletError`].
    pub fn read(text: &str) -> Result<Self, WalletError> {
        let mut wallet = Self::default();
        wallet.add(text)?;
        Ok(wallet)
    }

    /// Reads more lines, such as those of another node's operator.
    ///
    /// # Errors
    /// [`WalletError`]; lines before the one that it is about were taken.
    pub fn add(&mut self, text: &str) -> Result<(), WalletError> {
        if text.len() > LONGEST {
            return Err(WalletError::TooMany);
        }
        for (at, line) in text.lines().enumerate() {
            if line.trim().is_empty() {
                continue;
            }
            let (coin, raida, key) = read_line(line).ok_or(WalletError::Line(at + 1))?;
            match self.key(coin, raida) {
                Some(known) if !bool::from(subtle::ConstantTimeEq::ct_eq(known, &key)) => {
                    return Err(WalletError::Twice(at + 1));
                }
                Some(_) => {}
                None => self.set(coin, raida, key),
            }
            if self.coins().len() > MOST_COINS {
                return Err(WalletError::TooMany);
            }
        }
        Ok(())
    }

    /// Writes lines.
    #[must_use]
    pub fn write(&self) -> Zeroizing<String> {
        let mut text = Zeroizing::new(String::with_capacity(self.0.len() * LINE));
        for ((coin, raida), key) in &self.0 {
            text.push_str(&coin.to_string());
            text.push(' ');
            text.push_str(&raida.to_string());
            text.push(' ');
            for digit in key.expose().iter().flat_map(|byte| [byte >> 4, byte & 15]) {
                text.push(char::from_digit(u32::from(digit), 16).unwrap_or('0'));
            }
            text.push('\n');
        }
        text
    }

    /// A coin's key on a node.
    #[must_use]
    pub fn key(&self, coin: Coin, raida: u8) -> Option<&Authenticity> {
        self.0.get(&(coin, raida))
    }

    /// A coin has this key on a node from now on.
    pub fn set(&mut self, coin: Coin, raida: u8, key: Authenticity) {
        self.0.insert((coin, raida), key);
    }

    /// Every coin, in order.
    #[must_use]
    pub fn coins(&self) -> Vec<Coin> {
        let mut coins: Vec<_> = self.0.keys().map(|(coin, _)| *coin).collect();
        coins.dedup();
        coins
    }
}

fn read_line(line: &str) -> Option<(Coin, u8, Authenticity)> {
    let mut words = line.split_ascii_whitespace();
    let (coin, raida, key) = (words.next()?.parse().ok()?, words.next()?.parse::<u8>().ok()?, words.next()?);
    if words.next().is_some() || usize::from(raida) >= NODES || key.len() != 32 || !key.is_ascii() {
        return None;
    }
    let mut bytes = Zeroizing::new([0; Authenticity::LENGTH]);
    for (byte, digits) in bytes.iter_mut().zip(key.as_bytes().as_chunks::<2>().0) {
        let [high, low] = digits.map(|digit| char::from(digit).to_digit(16));
        *byte = u8::try_from(high? << 4 | low?).ok()?;
    }
    Some((coin, raida, Authenticity::from_bytes(&bytes)))
}

impl core::fmt::Debug for Wallet {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        write!(f, "Wallet({} coins)", self.coins().len())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rkx_5_a_wallet_is_read_as_it_was_written_and_says_which_line_is_not() {
        let key = "000102030405060708090a0b0c0d0eFf";
        let wallet = Wallet::read(&format!("00.27 3 {key}\n\n00.26 24 {key}\n00.26 0 {key}\n")).unwrap();
        let coins = wallet.coins();
        assert_eq!(coins, ["00.26".parse().unwrap(), "00.27".parse().unwrap()]);
        assert_eq!(wallet.key(coins[1], 3).unwrap().expose()[15], 0xff);
        assert!(wallet.key(coins[1], 4).is_none());
        assert_eq!(Wallet::read(&wallet.write()).unwrap().write(), wallet.write());
        assert_eq!(format!("{wallet:?}"), "Wallet(2 coins)");
        for wrong in ["00.27 25 ", "00.27 -1 ", "0.27 3 ", "00.27 3 0", "00.27 3 x "] {
            assert_eq!(Wallet::read(&format!("\n{wrong}{key}")).err(), Some(WalletError::Line(2)), "{wrong}");
        }
        assert_eq!(Wallet::read(&format!("00.27 3 {}", "ä".repeat(16))).err(), Some(WalletError::Line(1)));
        let twice = format!("00.27 3 {key}\n00.27 3 {key}\n00.27 3 {}", "11".repeat(16));
        assert_eq!(Wallet::read(&twice).err(), Some(WalletError::Twice(3)));
        let many: String = (0..17).map(|n| format!("00.{n} 0 {key}\n")).collect();
        assert_eq!(Wallet::read(&many).err(), Some(WalletError::TooMany));
    }
}
