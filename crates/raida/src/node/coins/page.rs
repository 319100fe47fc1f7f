//! Pages: 1,024 coins of one denomination, 17 bytes each, in one file of 17,408 bytes.
//!
//! ```text
//! record    key 16 | month of the last change 1, 0 when the coin is free
//! file      Data/<denomination, 2 hex digits>/<page >> 8, 2 hex digits>/<page, 4 hex digits>.bin
//! ```

use std::fmt;
use std::path::{Path, PathBuf};

use md5::{Digest, Md5};
use rand_core::CryptoRng;
use zeroize::{Zeroize, ZeroizeOnDrop};

use crate::coin::{Authenticity, Coin, Denomination};

/// Coins in a page.
pub const RECORDS: usize = 1024;
/// Bytes of a record.
pub const RECORD: usize = 17;
/// Bytes of a page.
pub const PAGE: usize = RECORDS * RECORD;
/// Pages of a denomination.
pub const PAGES: u32 = 1000;

/// Which page of which denomination.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct PageNumber {
    denomination: Denomination,
    page: u32,
}

impl PageNumber {
    /// The page that a coin is in, and its place there.
    #[must_use]
    pub fn of(coin: Coin) -> (Self, usize) {
        let serial = coin.serial();
        let place = usize::try_from(serial % 1024).unwrap_or(0);
        (Self { denomination: coin.denomination(), page: serial / 1024 }, place)
    }

    /// Every page of every denomination, from the smallest on.
    pub fn all() -> impl Iterator<Item = Self> {
        Denomination::all().flat_map(Self::of_denomination)
    }

    /// Every page of one denomination.
    pub fn of_denomination(denomination: Denomination) -> impl Iterator<Item = Self> {
        (0..PAGES).map(move |page| Self { denomination, page })
    }

    /// From three bytes: the denomination's, and the page's number.
    #[must_use]
    pub fn from_bytes([denomination, a, b]: [u8; 3]) -> Option<Self> {
        let page = u32::from(u16::from_be_bytes([a, b]));
        let denomination = Denomination::from_byte(denomination)?;
        (page < PAGES).then_some(Self { denomination, page })
    }

    /// As three bytes.
    #[must_use]
    pub const fn to_bytes(self) -> [u8; 3] {
        let [_, _, a, b] = self.page.to_be_bytes();
        [self.denomination.to_byte(), a, b]
    }

    /// Whose page it is.
    #[must_use]
    pub const fn denomination(self) -> Denomination {
        self.denomination
    }

    /// 0 to 999.
    #[must_use]
    pub const fn page(self) -> u32 {
        self.page
    }

    /// The coin at a place.
    #[must_use]
    pub fn coin(self, place: usize) -> Option<Coin> {
        let place = u32::try_from(place).ok().filter(|place| *place < 1024)?;
        Coin::new(self.denomination, self.page * 1024 + place)
    }

    /// Its file under `data`.
    #[must_use]
    pub fn path(self, data: &Path) -> PathBuf {
        let page = self.page();
        data.join(format!("{:02x}/{:02x}/{page:04x}.bin", self.denomination().to_byte(), page >> 8))
    }
}

impl fmt::Debug for PageNumber {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:02x}/{:04x}", self.denomination().to_byte(), self.page())
    }
}

/// One coin as it is kept.
pub struct Record {
    /// Its key on this node.
    pub key: Authenticity,
    /// When it was last changed (`month`), 0 for a free coin.
    pub changed: u8,
}

impl Record {
    /// Whether somebody owns it.
    #[must_use]
    pub const fn is_used(&self) -> bool {
        self.changed != 0
    }

    /// As it stands in a page.
    pub(crate) fn to_bytes(&self) -> [u8; RECORD] {
        let mut bytes = [self.changed; RECORD];
        bytes.iter_mut().zip(self.key.expose()).for_each(|(to, from)| *to = *from);
        bytes
    }

    pub(crate) fn from_bytes(bytes: &[u8; RECORD]) -> Self {
        let [key @ .., changed] = bytes;
        Self { key: Authenticity::from_bytes(key), changed: *changed }
    }
}

impl fmt::Debug for Record {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Record(changed in month {})", self.changed)
    }
}

/// What the keys of a page are that nobody has written yet.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Blank {
    /// Drawn: nobody can know the key of a coin that was never issued.
    Drawn,
    /// The original's: an MD5 of the coin's place and a seed that is the same on every node, so that everybody can compute them.
    Original,
}

/// A page in memory, wiped when it leaves.
#[derive(Zeroize, ZeroizeOnDrop)]
pub struct Page(Box<[u8; PAGE]>);

impl Page {
    /// A page of free coins.
    #[must_use]
    pub fn blank(number: PageNumber, blank: Blank, rng: &mut dyn CryptoRng) -> Self {
        let mut page = Self(Box::new([0; PAGE]));
        let mut drawn = zeroize::Zeroizing::new(vec![0; RECORDS * 16]);
        match blank {
            Blank::Drawn => rng.fill_bytes(&mut drawn),
            Blank::Original => {
                for (place, key) in drawn.as_chunks_mut::<16>().0.iter_mut().enumerate() {
                    *key = original(number, place);
                }
            }
        }
        for (record, key) in page.0.as_chunks_mut::<RECORD>().0.iter_mut().zip(drawn.as_chunks::<16>().0) {
            record.iter_mut().zip(key).for_each(|(to, from)| *to = *from);
        }
        page
    }

    /// From a file's bytes.
    #[must_use]
    pub fn from_bytes(bytes: Vec<u8>) -> Option<Self> {
        bytes.into_boxed_slice().try_into().ok().map(Self)
    }

    /// For a file.
    #[must_use]
    pub fn as_bytes(&self) -> &[u8; PAGE] {
        &self.0
    }

    /// The coin at a place below [`RECORDS`].
    #[must_use]
    pub fn record(&self, place: usize) -> Option<Record> {
        self.0.as_chunks().0.get(place).map(Record::from_bytes)
    }

    /// Writes bytes at a place in the page; whether they fit.
    pub(crate) fn put(&mut self, offset: usize, bytes: &[u8]) -> bool {
        match offset.checked_add(bytes.len()).and_then(|end| self.0.get_mut(offset..end)) {
            Some(room) => {
                room.copy_from_slice(bytes);
                true
            }
            None => false,
        }
    }

    /// Its coins that may be of a locker: used, and with a key that ends in ff. Others are not copied.
    pub(super) fn of_lockers(&self) -> impl Iterator<Item = Record> {
        let ends = |record: &&[u8; RECORD]| matches!(record, [.., 0xff, changed] if *changed != 0);
        self.0.as_chunks().0.iter().filter(ends).map(Record::from_bytes)
    }

    /// Which of its coins are used, in order.
    pub fn used(&self) -> impl Iterator<Item = bool> {
        self.0.as_chunks::<RECORD>().0.iter().map(|record| record.last() != Some(&0))
    }
}

impl fmt::Debug for Page {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Page({} coins in use)", self.used().filter(|used| *used).count())
    }
}

/// What the original draws its keys from: without a seed, the first number of the C library's generator.
const ORIGINAL_SEED: u16 = 0x4567;

/// The key that the original gives a coin that was never issued: MD5 of the hex digits of seed, denomination (as 32 bits, so that those
/// below zero have eight digits), page and place.
fn original(number: PageNumber, place: usize) -> [u8; 16] {
    let denomination = i32::from(number.denomination().exponent());
    let text = format!("{ORIGINAL_SEED:02x}{denomination:02x}{:04x}{place:02x}", number.page());
    Md5::digest(text).into()
}

#[cfg(test)]
mod tests {
    use undertone_keys::testing::SeededRng;

    use super::*;

    fn hex(bytes: &[u8]) -> String {
        bytes.iter().map(|byte| format!("{byte:02x}")).collect()
    }

    #[test]
    fn rkx_4_reference_vectors_of_pages_nobody_wrote() {
        // Checked against page files of a server of the original.
        for (denomination, serial, key) in [
            (0, 0, "3ce49909855eb21f5c0be7e6dc76b487"),
            (1, 5 * 1024 + 3, "f50b8f0fc00b513e105d20aaf1de290a"),
            (-8, 999 * 1024 + 1023, "5b985683e50427e20cb84fa52e41dad4"),
        ] {
            let coin = Coin::new(Denomination::new(denomination).unwrap(), serial).unwrap();
            let (number, place) = PageNumber::of(coin);
            assert_eq!(number.coin(place), Some(coin));
            let page = Page::blank(number, Blank::Original, &mut SeededRng::new(1));
            let record = page.record(place).unwrap();
            assert_eq!((hex(record.key.expose()).as_str(), record.is_used()), (key, false));
            let drawn = Page::blank(number, Blank::Drawn, &mut SeededRng::new(1));
            assert_ne!(hex(drawn.record(place).unwrap().key.expose()), key);
        }
    }

    #[test]
    fn rkx_4_pages_have_the_originals_paths() {
        let numbers: Vec<_> = PageNumber::all().collect();
        assert_eq!(numbers.len(), 15_000);
        let path = |number: &PageNumber| number.path(Path::new("Data")).to_string_lossy().into_owned();
        assert_eq!(path(&numbers[999]), "Data/f8/03/03e7.bin");
        assert_eq!(path(&numbers[14_000]), "Data/06/00/0000.bin");
        for number in numbers {
            assert_eq!(PageNumber::of(number.coin(1023).unwrap()).0, number);
            assert_eq!(PageNumber::from_bytes(number.to_bytes()), Some(number));
        }
    }
}
