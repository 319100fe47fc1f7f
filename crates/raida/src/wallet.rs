//! A wallet: coins and their keys on the nodes of a swarm, as an account has them.
//!
//! In text it is what `undertone-server raida coins create` writes, a line for a coin on a node: `<coin> <node> <key, 32 hex digits>`; behind
//! that, where it is not the key that the operator drew, a word of the owner's: `healed` or `tried`.

use std::collections::BTreeMap;

use subtle::ConstantTimeEq;
use zeroize::Zeroizing;

use crate::coin::{Authenticity, Coin};
use crate::coin_file::NODES;

/// Coins that a wallet has room for.
pub const MOST_COINS: usize = 16;
/// Bytes of a line at most: the longest name, two digits of a node, the key, a word, spaces and the line's end.
const LINE: usize = 64;
/// Bytes of a file at most: a key that is had and one that is tried for each coin and node.
pub const LONGEST: usize = 2 * MOST_COINS * NODES * LINE;

/// Where a key comes from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Origin {
    /// The node's operator.
    Issued,
    /// The owner, by tickets of two other nodes, which could know it together. Good for everything but quorum secrets.
    Healed,
}

/// Keys by coin and node. Secrets all of them.
#[derive(Default)]
pub struct Wallet {
    keys: BTreeMap<(Coin, u8), (Authenticity, Origin)>,
    /// Keys that a healing has sent out, and that the node was not heard to have taken.
    tried: BTreeMap<(Coin, u8), Authenticity>,
}

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

/// What stands in a line.
enum Line {
    Key(Coin, u8, Authenticity, Origin),
    Tried(Coin, u8, Authenticity),
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
            match read_line(line).ok_or(WalletError::Line(at + 1))? {
                Line::Key(coin, raida, key, origin) => match self.key(coin, raida) {
                    Some(known) if !bool::from(known.ct_eq(&key)) => return Err(WalletError::Twice(at + 1)),
                    Some(_) => {}
                    None => self.set(coin, raida, key, origin),
                },
                Line::Tried(coin, raida, key) => self.try_key(coin, raida, key),
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
        let mut text = Zeroizing::new(String::with_capacity((self.keys.len() + self.tried.len()) * LINE));
        let mut line = |(coin, raida): &(Coin, u8), key: &Authenticity, word: &str| {
            text.push_str(&coin.to_string());
            text.push(' ');
            text.push_str(&raida.to_string());
            text.push(' ');
            for digit in key.expose().iter().flat_map(|byte| [byte >> 4, byte & 15]) {
                text.push(char::from_digit(u32::from(digit), 16).unwrap_or('0'));
            }
            text.push_str(word);
            text.push('\n');
        };
        for (place, (key, origin)) in &self.keys {
            line(place, key, if *origin == Origin::Healed { " healed" } else { "" });
        }
        for (place, key) in &self.tried {
            line(place, key, " tried");
        }
        text
    }

    /// A coin's key on a node.
    #[must_use]
    pub fn key(&self, coin: Coin, raida: u8) -> Option<&Authenticity> {
        self.keys.get(&(coin, raida)).map(|(key, _)| key)
    }

    /// A coin's key on a node, if it is the one that the operator drew.
    #[must_use]
    pub fn issued(&self, coin: Coin, raida: u8) -> Option<&Authenticity> {
        self.keys.get(&(coin, raida)).filter(|(_, origin)| *origin == Origin::Issued).map(|(key, _)| key)
    }

    /// A key that may be the coin's on a node.
    #[must_use]
    pub fn tried(&self, coin: Coin, raida: u8) -> Option<&Authenticity> {
        self.tried.get(&(coin, raida))
    }

    /// Whether there is a key that is tried.
    #[must_use]
    pub fn is_trying(&self) -> bool {
        !self.tried.is_empty()
    }

    /// A coin has this key on a node from now on; none is tried there any more.
    pub fn set(&mut self, coin: Coin, raida: u8, key: Authenticity, origin: Origin) {
        self.tried.remove(&(coin, raida));
        self.keys.insert((coin, raida), (key, origin));
    }

    /// A coin may have this key on a node: it was sent there, or is going to be.
    pub fn try_key(&mut self, coin: Coin, raida: u8, key: Authenticity) {
        self.tried.insert((coin, raida), key);
    }

    /// The node was seen to have the key that is tried (`true`), or the one before.
    pub fn settle(&mut self, coin: Coin, raida: u8, tried: bool) {
        if let Some(key) = self.tried.remove(&(coin, raida)).filter(|_| tried) {
            self.set(coin, raida, key, Origin::Healed);
        }
    }

    /// Every coin, in order.
    #[must_use]
    pub fn coins(&self) -> Vec<Coin> {
        let mut coins: Vec<_> = self.keys.keys().map(|(coin, _)| *coin).collect();
        coins.dedup();
        coins
    }
}

fn read_line(line: &str) -> Option<Line> {
    let mut words = line.split_ascii_whitespace();
    let (coin, raida, key) = (words.next()?.parse().ok()?, words.next()?.parse::<u8>().ok()?, words.next()?);
    let (word, more) = (words.next(), words.next());
    if more.is_some() || usize::from(raida) >= NODES || key.len() != 32 || !key.is_ascii() {
        return None;
    }
    let mut bytes = Zeroizing::new([0; Authenticity::LENGTH]);
    for (byte, digits) in bytes.iter_mut().zip(key.as_bytes().as_chunks::<2>().0) {
        let [high, low] = digits.map(|digit| char::from(digit).to_digit(16));
        *byte = u8::try_from(high? << 4 | low?).ok()?;
    }
    let key = Authenticity::from_bytes(&bytes);
    match word {
        None => Some(Line::Key(coin, raida, key, Origin::Issued)),
        Some("healed") => Some(Line::Key(coin, raida, key, Origin::Healed)),
        Some("tried") => Some(Line::Tried(coin, raida, key)),
        Some(_) => None,
    }
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
        let text = format!("00.27 3 {key}\n\n00.26 24 {key}\n00.26 0 {key} healed\n00.26 0 {key} tried\n");
        let mut wallet = Wallet::read(&text).unwrap();
        let coins = wallet.coins();
        assert_eq!(coins, ["00.26".parse().unwrap(), "00.27".parse().unwrap()]);
        assert_eq!(wallet.key(coins[1], 3).unwrap().expose()[15], 0xff);
        assert!(wallet.key(coins[1], 4).is_none());
        assert!(wallet.issued(coins[0], 24).is_some() && wallet.issued(coins[0], 0).is_none());
        assert!(wallet.key(coins[0], 0).is_some() && wallet.tried(coins[0], 0).is_some());
        assert_eq!(Wallet::read(&wallet.write()).unwrap().write(), wallet.write());
        assert_eq!(format!("{wallet:?}"), "Wallet(2 coins)");
        // What is tried takes the place of what was had when it is seen to be right, and goes when it is not.
        wallet.try_key(coins[0], 24, Authenticity::from_bytes(&[7; 16]));
        wallet.settle(coins[0], 24, true);
        assert_eq!(wallet.key(coins[0], 24).unwrap().expose(), &[7; 16]);
        assert!(wallet.issued(coins[0], 24).is_none() && wallet.tried(coins[0], 24).is_none());
        wallet.settle(coins[0], 0, false);
        assert!(wallet.tried(coins[0], 0).is_none());
        for wrong in ["00.27 25 ", "00.27 -1 ", "0.27 3 ", "00.27 3 0", "00.27 3 x "] {
            assert_eq!(Wallet::read(&format!("\n{wrong}{key}")).err(), Some(WalletError::Line(2)), "{wrong}");
        }
        for wrong in ["healing", "healed tried"] {
            assert_eq!(Wallet::read(&format!("00.27 3 {key} {wrong}")).err(), Some(WalletError::Line(1)));
        }
        assert_eq!(Wallet::read(&format!("00.27 3 {}", "ä".repeat(16))).err(), Some(WalletError::Line(1)));
        let twice = format!("00.27 3 {key}\n00.27 3 {key}\n00.27 3 {}", "11".repeat(16));
        assert_eq!(Wallet::read(&twice).err(), Some(WalletError::Twice(3)));
        let many: String = (0..17).map(|n| format!("00.{n} 0 {key}\n")).collect();
        assert_eq!(Wallet::read(&many).err(), Some(WalletError::TooMany));
    }
}
