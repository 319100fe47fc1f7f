//! What is sealed as the original seals it: frames and tickets, and the ciphers of both, which nothing else can reach (rule RKX-6).

pub mod frame;
mod legacy_crypto;
pub mod ticket;
