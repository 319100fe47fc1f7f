//! Tickets: half a coin's key on its way from one node to another, under a key that only those two have.
//!
//! ```text
//! half 8 | denomination 1 | serial 4 | drawn 2 | ff
//! ```
//! encrypted in counter mode under the coin's key on the helper, with the nonce of the request that asked for it; so the request that
//! brings tickets has the same nonce as those that asked. What the original draws the two bytes from repeats within a second; here
//! they are drawn from the caller's generator.

use rand_core::CryptoRng;
use zeroize::Zeroizing;

use crate::coin::{Authenticity, Coin, Named};
use crate::legacy_crypto::{Keystream, xor};

const END: u8 = 0xff;

/// Makes a ticket about `coin`.
pub fn seal(half: &[u8; 8], coin: Coin, under: &Authenticity, iv: &[u8; 16], rng: &mut impl CryptoRng) -> [u8; 16] {
    let mut drawn = [0; 2];
    rng.fill_bytes(&mut drawn);
    seal_with(half, coin, under, iv, drawn)
}

/// The same with the two bytes given.
#[must_use]
pub fn seal_with(half: &[u8; 8], coin: Coin, under: &Authenticity, iv: &[u8; 16], drawn: [u8; 2]) -> [u8; 16] {
    let mut ticket = [END; 16];
    let name = coin.named().to_bytes();
    ticket.iter_mut().zip(half.iter().chain(&name).chain(&drawn)).for_each(|(to, from)| *to = *from);
    Keystream::of_coin(under, iv).apply(&mut ticket);
    ticket
}

/// Opens a ticket about `coin`. `None` when it does not look like one: six bytes are all that there is to see it by.
#[must_use]
pub fn open(ticket: &[u8; 16], coin: Coin, under: &Authenticity, iv: &[u8; 16]) -> Option<Zeroizing<[u8; 8]>> {
    let mut text = Zeroizing::new(*ticket);
    Keystream::of_coin(under, iv).apply(text.as_mut_slice());
    let (half, rest) = text.split_first_chunk()?;
    let (name, rest) = rest.split_first_chunk()?;
    let right = Named::from_bytes(*name) == coin.named() && rest.last() == Some(&END);
    right.then(|| Zeroizing::new(*half))
}

/// The seed's wrapping of 16 bytes, its own inverse. It gives the recipient's key to whoever learns what was wrapped.
#[must_use]
pub fn wrap(key: &[u8; 16], recipient: &Authenticity) -> [u8; 16] {
    xor(key, recipient)
}
