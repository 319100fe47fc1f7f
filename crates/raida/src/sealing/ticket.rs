//! Tickets: half a coin's key on its way from one node to another, under a key that only those two have.
//!
//! ```text
//! half 8 | denomination 1 | serial 4 | drawn 2 | ff
//! ```
//! 16 bytes, encrypted under the target's key on the helper and the nonce of the request that asked for it; so the request that brings
//! tickets has the same nonce as those that asked. What the original draws the two bytes from repeats within a second; here they are drawn
//! from the caller's generator.
//!
//! * [`Form::Compat`]: counter mode under the target's key itself. Whoever asked knows 14 bytes of the text, and so of the keystream, which
//!   is that of everything else under that key and nonce; and bits that are flipped on the way make a ticket about another coin.
//! * [`Form::Strict`]: one block of the cipher, under a key derived from the target's and the nonce. It tells nothing of any keystream, and
//!   what is changed of it opens to noise.
//!
//! Who carries a ticket sees sixteen bytes either way. Nodes of one swarm have one form: a ticket of the other opens nowhere.

use undertone_keys::digest;
use zeroize::Zeroizing;

use super::legacy_crypto::{self, Keystream};
use crate::coin::{Authenticity, Coin, Named};
use crate::labels;

const END: u8 = 0xff;

/// How a ticket is encrypted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Form {
    /// As the documents have it.
    Compat,
    /// One block under a derived key.
    Strict,
}

fn block_key(under: &Authenticity, iv: &[u8; 16]) -> Authenticity {
    let derived = Zeroizing::new(digest::hmac_sha256(under.expose(), &[labels::TICKET.as_bytes(), &[0], iv]));
    Authenticity::from_bytes(derived.first_chunk().unwrap_or(&[0; 16]))
}

/// Makes a ticket about `coin`, with the two bytes that were drawn for it.
#[cfg(any(feature = "node", feature = "legacy", test))]
#[must_use]
pub(crate) fn seal(
    form: Form,
    half: &[u8; 8],
    coin: Coin,
    under: &Authenticity,
    iv: &[u8; 16],
    drawn: [u8; 2],
) -> [u8; 16] {
    let mut ticket = [END; 16];
    let name = coin.named().to_bytes();
    ticket.iter_mut().zip(half.iter().chain(&name).chain(&drawn)).for_each(|(to, from)| *to = *from);
    match form {
        Form::Compat => Keystream::of_coin(under, iv).apply(&mut ticket),
        Form::Strict => legacy_crypto::encrypt_block(&block_key(under, iv), &mut ticket),
    }
    ticket
}

/// Opens a ticket about `coin`. `None` when it does not look like one: six bytes are what there is to see it by.
#[must_use]
pub fn open(
    form: Form,
    ticket: &[u8; 16],
    coin: Coin,
    under: &Authenticity,
    iv: &[u8; 16],
) -> Option<Zeroizing<[u8; 8]>> {
    let mut text = Zeroizing::new(*ticket);
    match form {
        Form::Compat => Keystream::of_coin(under, iv).apply(text.as_mut_slice()),
        Form::Strict => legacy_crypto::decrypt_block(&block_key(under, iv), &mut text),
    }
    let (half, rest) = text.split_first_chunk()?;
    let (name, rest) = rest.split_first_chunk()?;
    let right = Named::from_bytes(*name) == coin.named() && rest.last() == Some(&END);
    right.then(|| Zeroizing::new(*half))
}

/// The seed's wrapping of 16 bytes, its own inverse. It gives the recipient's key to whoever learns what was wrapped.
#[cfg(any(feature = "node", feature = "legacy", test))]
#[must_use]
pub(crate) fn wrap(key: &[u8; 16], recipient: &Authenticity) -> [u8; 16] {
    legacy_crypto::xor(key, recipient)
}
