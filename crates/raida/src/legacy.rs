//! What the original's own programs seal, for tests, fuzzing and benchmarks that speak as they do. Nothing of it can be made outside of this
//! crate without the feature `legacy`, which nothing that talks to people asks for (rule RKX-6).

use crate::coin::{Authenticity, Coin};
use crate::frame::FrameKey;
use crate::ticket::{self, Form};

/// The key of requests of types 1 and 2: bits of what is sealed with it can be turned on the way.
#[must_use]
pub const fn untagged(coin: Authenticity) -> FrameKey {
    FrameKey::untagged(coin)
}

/// A ticket as a helper makes it: half of a key that `coin` is to have, `under` the helper's key of the coin of the node that is to open it.
#[must_use]
pub fn ticket(form: Form, half: &[u8; 8], coin: Coin, under: &Authenticity, iv: &[u8; 16], drawn: [u8; 2]) -> [u8; 16] {
    ticket::seal(form, half, coin, under, iv, drawn)
}

/// The seed's wrapping of 16 bytes, its own inverse. It gives the recipient's key to whoever learns what was wrapped.
#[must_use]
pub fn wrap(key: &[u8; 16], recipient: &Authenticity) -> [u8; 16] {
    ticket::wrap(key, recipient)
}
