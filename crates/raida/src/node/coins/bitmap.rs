//! Which coins are used: one bit each, in memory alone, made anew from the pages at every start. A bit is 1 exactly when the coin's month
//! is not 0 (rule RKX-4); it is changed while the coin's page is locked.

use std::sync::{Mutex, PoisonError};

use crate::coin::{Coin, Denomination, SERIALS};

const BYTES: usize = SERIALS as usize / 8;

/// Of all denominations: 1,920,000 bytes.
pub struct Bitmap {
    bits: Vec<Mutex<Box<[u8]>>>,
}

impl Bitmap {
    /// Nothing is used.
    #[must_use]
    pub fn new() -> Self {
        Self { bits: (0..Denomination::COUNT).map(|_| Mutex::new(vec![0; BYTES].into_boxed_slice())).collect() }
    }

    fn with<T>(&self, denomination: Denomination, look: impl FnOnce(&mut [u8]) -> T) -> Option<T> {
        let bits = self.bits.get(denomination.index())?;
        Some(look(&mut bits.lock().unwrap_or_else(PoisonError::into_inner)))
    }

    /// Whether a coin is used.
    #[must_use]
    pub fn is_used(&self, coin: Coin) -> bool {
        let (byte, bit) = place(coin.serial());
        self.with(coin.denomination(), |bits| bits.get(byte).is_some_and(|bits| bits & bit != 0)) == Some(true)
    }

    /// A coin is used from now on, or free.
    pub fn set(&self, coin: Coin, used: bool) {
        self.put(coin.denomination(), coin.serial(), [used]);
    }

    /// A run of coins from `first` on.
    pub fn put(&self, denomination: Denomination, first: u32, used: impl IntoIterator<Item = bool>) {
        self.with(denomination, |bits| {
            for (serial, used) in (first..SERIALS).zip(used) {
                let (byte, bit) = place(serial);
                if let Some(bits) = bits.get_mut(byte) {
                    *bits = if used { *bits | bit } else { *bits & !bit };
                }
            }
        });
    }

    /// The first `count` free coins of a denomination from `first` on, in their order.
    #[must_use]
    pub fn free(&self, denomination: Denomination, first: u32, count: usize) -> Vec<Coin> {
        let free = |bits: &mut [u8]| {
            let serials = (first..SERIALS).filter(|serial| {
                let (byte, bit) = place(*serial);
                bits.get(byte).is_some_and(|bits| bits & bit == 0)
            });
            serials.take(count).filter_map(|serial| Coin::new(denomination, serial)).collect()
        };
        self.with(denomination, free).unwrap_or_default()
    }

    /// How many coins of a denomination are used.
    #[must_use]
    pub fn used(&self, denomination: Denomination) -> u32 {
        self.with(denomination, |bits| bits.iter().map(|byte| byte.count_ones()).sum()).unwrap_or(0)
    }
}

impl Default for Bitmap {
    fn default() -> Self {
        Self::new()
    }
}

impl std::fmt::Debug for Bitmap {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let used: u32 = Denomination::all().map(|denomination| self.used(denomination)).sum();
        write!(f, "Bitmap({used} used)")
    }
}

/// Byte and bit of a serial number, lowest bit first.
fn place(serial: u32) -> (usize, u8) {
    (usize::try_from(serial / 8).unwrap_or(usize::MAX), 1 << (serial % 8))
}
