//! SFrame (RFC 9605) with cipher suite 5, AES_256_GCM_SHA512_128, in buffers of the caller's (rule MED-1).
//!
//! ```text
//! X KKK Y CCC | key id (0 to 8 bytes) | counter (0 to 8 bytes) | ciphertext | tag (16)
//! ```
//! With X (Y) clear, KKK (CCC) is the value itself; set, it is the number of bytes that follow, less one.

use undertone_keys::Secret;
use undertone_keys::aead::{AeadKey, NONCE_LENGTH, TAG_LENGTH};
use undertone_keys::hkdf::{Prk, Sha512};

/// IANA's number of the suite.
pub const SUITE: u16 = 5;
/// Bytes of a header at most.
pub const MAX_HEADER: usize = 17;
/// Frames under one key at most. Far beyond any call, far below what AES-GCM bears.
pub const MAX_FRAMES: u64 = 1 << 40;

/// A frame's header.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Header {
    /// Which key.
    pub key_id: u64,
    /// Which frame under it.
    pub counter: u64,
}

/// Bytes that are no SFrame frame.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("not an SFrame frame")]
pub struct Malformed;

impl Header {
    /// Writes the header to the front of `out` and returns its length.
    pub fn encode(&self, out: &mut [u8; MAX_HEADER]) -> usize {
        let mut length = 1;
        let mut field = |value: u64| {
            if value < 8 {
                return value.to_be_bytes()[7];
            }
            let bytes = value.to_be_bytes();
            let zeros = bytes.iter().take_while(|byte| **byte == 0).count();
            let count = bytes.len() - zeros;
            let (from, to) = (bytes.iter().skip(zeros), out.iter_mut().skip(length));
            to.zip(from).for_each(|(to, from)| *to = *from);
            length += count;
            0x08 | u8::try_from(count - 1).unwrap_or_default()
        };
        let (key_id, counter) = (field(self.key_id), field(self.counter));
        out[0] = key_id << 4 | counter;
        length
    }

    /// Reads a header; returns it with its length.
    ///
    /// # Errors
    /// [`Malformed`] when it is cut off or a number is not in its shortest form.
    pub fn decode(frame: &[u8]) -> Result<(Self, usize), Malformed> {
        let (config, rest) = frame.split_first().ok_or(Malformed)?;
        let (key_id, rest) = number(config >> 4, rest)?;
        let (counter, rest) = number(config & 0x0f, rest)?;
        Ok((Self { key_id, counter }, frame.len() - rest.len()))
    }
}

fn number(config: u8, rest: &[u8]) -> Result<(u64, &[u8]), Malformed> {
    if config < 8 {
        return Ok((u64::from(config), rest));
    }
    let (bytes, rest) = rest.split_at_checked(usize::from(config & 7) + 1).ok_or(Malformed)?;
    let value = bytes.iter().fold(0, |value, byte| value << 8 | u64::from(*byte));
    let shortest = value >= 8 && bytes.first() != Some(&0);
    if shortest { Ok((value, rest)) } else { Err(Malformed) }
}

/// The key and salt of one key id.
#[derive(Debug)]
pub struct SframeKey {
    key_id: u64,
    key: AeadKey,
    salt: Secret<NONCE_LENGTH>,
    #[cfg(test)]
    bytes: [u8; 32],
}

impl SframeKey {
    /// RFC 9605, 4.4.2.
    #[must_use]
    pub fn derive(base_key: &[u8], key_id: u64) -> Self {
        let secret = Prk::<Sha512>::extract(&[], &[base_key]);
        let derive = |label: &[u8], out: &mut [u8]| {
            // 32 and 12 bytes are within what HKDF gives.
            secret.expand(&[label, &key_id.to_be_bytes(), &SUITE.to_be_bytes()], out).unwrap_or_default();
        };
        let key = Secret::<32>::filled_by(|out| derive(b"SFrame 1.0 Secret key ", out));
        let salt = Secret::filled_by(|out| derive(b"SFrame 1.0 Secret salt ", out));
        Self {
            key_id,
            key: AeadKey::new(&key),
            salt,
            #[cfg(test)]
            bytes: *key.expose(),
        }
    }

    /// RFC 9605, 4.4.3: the salt with the counter XORed into its end.
    fn nonce(&self, counter: u64) -> [u8; NONCE_LENGTH] {
        let [s0, s1, s2, s3, salt @ ..] = *self.salt.expose();
        let [n0, n1, n2, n3, n4, n5, n6, n7] = (u64::from_be_bytes(salt) ^ counter).to_be_bytes();
        [s0, s1, s2, s3, n0, n1, n2, n3, n4, n5, n6, n7]
    }
}

/// Why a frame was not sealed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum SealError {
    /// The buffer is too small for header, text and tag.
    #[error("the buffer is too small for the sealed frame")]
    Buffer,
    /// The key has sealed all it may; only a new epoch helps.
    #[error("the key is used up: a new epoch is needed")]
    Exhausted,
    /// There is no key, or no join to seal for. Nothing leaves in the clear (MED-6).
    #[error("there is no key to seal under")]
    NoKey,
}

/// Seals under one key. Owns the counter, so that nobody can give it twice.
#[derive(Debug)]
pub struct Sealer {
    key: SframeKey,
    next: u64,
}

impl Sealer {
    /// A sealer that begins at counter 0. The key must be one that was never sealed under before.
    #[must_use]
    pub const fn new(key: SframeKey) -> Self {
        Self { key, next: 0 }
    }

    /// A sealer that goes on where another under the same key was.
    pub(crate) const fn resuming(key: SframeKey, next: u64) -> Self {
        Self { key, next }
    }

    /// Frames sealed so far.
    #[must_use]
    pub const fn sealed(&self) -> u64 {
        self.next
    }

    /// Seals the concatenation of `text` into the front of `out` and returns the frame's length.
    ///
    /// # Errors
    /// [`SealError`]; the counter then stays where it was.
    pub fn seal(&mut self, metadata: &[u8], text: &[&[u8]], out: &mut [u8]) -> Result<usize, SealError> {
        if self.next >= MAX_FRAMES {
            return Err(SealError::Exhausted);
        }
        let mut header = [0; MAX_HEADER];
        let header_length = Header { key_id: self.key.key_id, counter: self.next }.encode(&mut header);
        let text_length: usize = text.iter().map(|part| part.len()).sum();
        let total = header_length + text_length + TAG_LENGTH;
        let out = out.get_mut(..total).ok_or(SealError::Buffer)?;
        let (head, rest) = out.split_at_mut(header_length);
        head.copy_from_slice(header.get(..header_length).unwrap_or_default());
        let (body, tag) = rest.split_at_mut(text_length);
        let mut left = &mut *body;
        for part in text {
            // Whole parts at once: byte by byte, this would cost as much as the cipher.
            let (here, rest) = left.split_at_mut_checked(part.len()).ok_or(SealError::Buffer)?;
            here.copy_from_slice(part);
            left = rest;
        }
        let nonce = self.key.nonce(self.next);
        #[cfg(test)]
        trace::record(self.key.bytes, nonce);
        self.next += 1;
        with_associated(head, metadata, |associated| {
            tag.copy_from_slice(&self.key.key.seal(nonce, associated, body));
        });
        Ok(total)
    }
}

/// Opens under one key; whether the frame is a replay is for the owner to ask and mark.
#[derive(Debug)]
pub struct Opener {
    key: SframeKey,
}

impl Opener {
    /// An opener for frames with this key's id.
    #[must_use]
    pub const fn new(key: SframeKey) -> Self {
        Self { key }
    }

    /// Opens `frame` where it stands, given its parsed header.
    ///
    /// # Errors
    /// [`undertone_keys::aead::OpenError`].
    pub fn open<'b>(
        &self,
        header: Header,
        header_length: usize,
        metadata: &[u8],
        frame: &'b mut [u8],
    ) -> Result<&'b mut [u8], undertone_keys::aead::OpenError> {
        let (head, body) = frame.split_at_mut_checked(header_length).ok_or(undertone_keys::aead::OpenError)?;
        let nonce = self.key.nonce(header.counter);
        with_associated(head, metadata, |associated| self.key.key.open(nonce, associated, body))
    }
}

/// Joins header and metadata on the stack, which they fit in all our uses; longer metadata goes to the heap.
fn with_associated<T>(header: &[u8], metadata: &[u8], run: impl FnOnce(&[u8]) -> T) -> T {
    let mut buffer = [0; 64];
    let length = header.len() + metadata.len();
    match buffer.get_mut(..length).and_then(|joined| joined.split_at_mut_checked(header.len())) {
        Some((first, second)) => {
            first.copy_from_slice(header);
            second.copy_from_slice(metadata);
            run(buffer.get(..length).unwrap_or_default())
        }
        None => run(&[header, metadata].concat()),
    }
}

/// Remembers every (key, nonce) that this thread sealed under.
#[cfg(test)]
pub(crate) mod trace {
    use std::cell::RefCell;

    type Pair = ([u8; 32], [u8; 12]);

    thread_local! {
        static SEALS: RefCell<Vec<Pair>> = const { RefCell::new(Vec::new()) };
    }

    pub(crate) fn record(key: [u8; 32], nonce: [u8; 12]) {
        SEALS.with_borrow_mut(|seals| seals.push((key, nonce)));
    }

    pub(crate) fn take() -> Vec<Pair> {
        SEALS.take()
    }
}

#[cfg(test)]
mod tests;
