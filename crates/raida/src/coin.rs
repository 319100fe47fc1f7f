//! Coins: what a node keeps keys under. A coin has a name, the same on every node, and on each node another 16-byte secret.

use core::fmt;

use subtle::ConstantTimeEq;
use zeroize::{Zeroize, ZeroizeOnDrop};

/// Serial numbers of a denomination: 0 to this, exclusive. Greater ones are refused wherever they come in (rule RKX-4).
pub const SERIALS: u32 = 1_024_000;

/// A power of ten from 10^-8 to 10^6, one signed byte on the wire.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Denomination(i8);

impl Denomination {
    /// How many there are.
    pub const COUNT: usize = 15;
    /// The smallest.
    pub const LOWEST: i8 = -8;
    /// The greatest.
    pub const HIGHEST: i8 = 6;

    /// `None` beyond -8 to 6.
    #[must_use]
    pub const fn new(exponent: i8) -> Option<Self> {
        if exponent >= Self::LOWEST && exponent <= Self::HIGHEST { Some(Self(exponent)) } else { None }
    }

    /// From the wire.
    #[must_use]
    pub const fn from_byte(byte: u8) -> Option<Self> {
        Self::new(byte.cast_signed())
    }

    /// For the wire.
    #[must_use]
    pub const fn to_byte(self) -> u8 {
        self.0.cast_unsigned()
    }

    /// The power of ten.
    #[must_use]
    pub const fn exponent(self) -> i8 {
        self.0
    }

    /// 0 to 14.
    #[must_use]
    pub const fn index(self) -> usize {
        (self.0 as i16 - Self::LOWEST as i16).unsigned_abs() as usize
    }

    /// From the smallest to the greatest.
    pub fn all() -> impl DoubleEndedIterator<Item = Self> {
        (Self::LOWEST..=Self::HIGHEST).map(Self)
    }
}

impl fmt::Display for Denomination {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// A coin's name as it travels: nothing says yet that a node could have it.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Default)]
pub struct Named {
    /// A denomination's byte.
    pub denomination: u8,
    /// A serial number.
    pub serial: u32,
}

impl Named {
    /// Bytes on the wire: the denomination's, and the serial number, most significant byte first.
    pub const LENGTH: usize = 5;

    /// Reads 5 bytes.
    #[must_use]
    pub const fn from_bytes(bytes: [u8; Self::LENGTH]) -> Self {
        let [denomination, a, b, c, d] = bytes;
        Self { denomination, serial: u32::from_be_bytes([a, b, c, d]) }
    }

    /// Writes 5 bytes.
    #[must_use]
    pub const fn to_bytes(self) -> [u8; Self::LENGTH] {
        let [a, b, c, d] = self.serial.to_be_bytes();
        [self.denomination, a, b, c, d]
    }

    /// Five zeros, where a coin need not be named.
    #[must_use]
    pub const fn is_none(self) -> bool {
        self.denomination == 0 && self.serial == 0
    }

    /// A coin that there can be. `None` names the page of no store.
    #[must_use]
    pub const fn coin(self) -> Option<Coin> {
        match Denomination::from_byte(self.denomination) {
            Some(denomination) if self.serial < SERIALS => Some(Coin { denomination, serial: self.serial }),
            _ => None,
        }
    }
}

impl fmt::Debug for Named {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:02x}.{}", self.denomination, self.serial)
    }
}

/// A coin's name, within bounds.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Coin {
    denomination: Denomination,
    serial: u32,
}

impl Coin {
    /// `None` for a serial number beyond [`SERIALS`].
    #[must_use]
    pub const fn new(denomination: Denomination, serial: u32) -> Option<Self> {
        if serial < SERIALS { Some(Self { denomination, serial }) } else { None }
    }

    /// A coin of 10^0: every such number names one.
    #[must_use]
    pub const fn one(serial: u16) -> Self {
        Self { denomination: Denomination(0), serial: serial as u32 }
    }

    /// Which power of ten.
    #[must_use]
    pub const fn denomination(self) -> Denomination {
        self.denomination
    }

    /// Below [`SERIALS`].
    #[must_use]
    pub const fn serial(self) -> u32 {
        self.serial
    }

    /// As it travels.
    #[must_use]
    pub const fn named(self) -> Named {
        Named { denomination: self.denomination.to_byte(), serial: self.serial }
    }
}

impl From<Coin> for Named {
    fn from(coin: Coin) -> Self {
        coin.named()
    }
}

/// As files name it: two hex digits of the denomination's byte and the serial number, such as `01.5123`.
impl fmt::Display for Coin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:02x}.{}", self.denomination.to_byte(), self.serial)
    }
}

impl fmt::Debug for Coin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Coin({self})")
    }
}

/// A coin's name that cannot be read.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("a coin is written as two hex digits and a serial number below 1,024,000, such as 01.5123")]
pub struct NotACoin;

impl core::str::FromStr for Coin {
    type Err = NotACoin;

    fn from_str(text: &str) -> Result<Self, NotACoin> {
        let (denomination, serial) = text.split_once('.').ok_or(NotACoin)?;
        let plain = denomination.len() == 2 && serial.bytes().all(|byte| byte.is_ascii_digit());
        let denomination = u8::from_str_radix(denomination, 16).map_err(|_| NotACoin)?;
        let serial = serial.parse().map_err(|_| NotACoin)?;
        let coin = Named { denomination, serial }.coin().filter(|_| plain);
        coin.filter(|coin| coin.to_string() == text).ok_or(NotACoin)
    }
}

/// A coin's authenticity number on one node: the 16 bytes that are the secret of whoever owns it there, and the key that the node
/// and the owner share.
#[derive(Zeroize, ZeroizeOnDrop)]
pub struct Authenticity(Box<[u8; Self::LENGTH]>);

impl Authenticity {
    /// Bytes of it.
    pub const LENGTH: usize = 16;

    /// With these bytes.
    #[must_use]
    pub fn from_bytes(bytes: &[u8; Self::LENGTH]) -> Self {
        Self(Box::new(*bytes))
    }

    /// Drawn anew.
    pub fn generate(rng: &mut impl rand_core::CryptoRng) -> Self {
        let mut bytes = Box::new([0; Self::LENGTH]);
        rng.fill_bytes(bytes.as_mut_slice());
        Self(bytes)
    }

    /// The secret itself. Never to be logged.
    #[must_use]
    pub const fn expose(&self) -> &[u8; Self::LENGTH] {
        &self.0
    }

    /// One of its halves, as a healing writes it.
    #[must_use]
    pub fn half(&self, half: Half) -> &[u8; 8] {
        let (low, high) = self.0.split_first_chunk::<8>().unwrap_or((&[0; 8], &[]));
        match half {
            Half::First => low,
            Half::Second => high.first_chunk().unwrap_or(&[0; 8]),
        }
    }
}

impl fmt::Debug for Authenticity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Authenticity")
    }
}

impl ConstantTimeEq for Authenticity {
    fn ct_eq(&self, other: &Self) -> subtle::Choice {
        self.0.as_slice().ct_eq(other.0.as_slice())
    }
}

/// Which eight bytes of an authenticity number.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Half {
    /// Bytes 0 to 7.
    First,
    /// Bytes 8 to 15.
    Second,
}

impl Half {
    /// As a split id: 0 or 1.
    #[must_use]
    pub const fn from_byte(byte: u8) -> Option<Self> {
        match byte {
            0 => Some(Self::First),
            1 => Some(Self::Second),
            _ => None,
        }
    }

    /// The split id.
    #[must_use]
    pub const fn to_byte(self) -> u8 {
        match self {
            Self::First => 0,
            Self::Second => 1,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rkx_4_names_beyond_the_store_name_no_coin() {
        assert_eq!(Denomination::all().count(), Denomination::COUNT);
        assert!(Denomination::all().enumerate().all(|(index, denomination)| denomination.index() == index));
        let named = |denomination, serial| Named { denomination, serial };
        assert!(named(0xf8, SERIALS - 1).coin().is_some());
        // 67,108,864 is 0 again where a page's number has 16 bits.
        for wrong in
            [named(0xf7, 0), named(7, 0), named(0x80, 0), named(1, SERIALS), named(1, 67_108_864), named(1, u32::MAX)]
        {
            assert_eq!(wrong.coin(), None, "{wrong:?}");
        }
        let coin = named(1, 5123).coin().unwrap();
        assert_eq!(coin.named().to_bytes(), [1, 0, 0, 0x14, 0x03]);
        assert_eq!(Named::from_bytes(coin.named().to_bytes()), coin.named());
        assert_eq!(("01.5123".parse(), coin.to_string()), (Ok(coin), "01.5123".to_owned()));
        for wrong in ["1.5123", "01.1024000", "01.", "01.05", "01.+5", "0A.5", "zz.1", "01", ""] {
            assert_eq!(wrong.parse::<Coin>(), Err(NotACoin), "{wrong}");
        }
    }
}
