//! What stands between two headers and two payloads: the challenge and its checksum, the encryption, the tag and the trailer.
//!
//! ```text
//! types 0, 1, 2   header 32 | challenge 12, CRC-32 4, payload          | 3e 3e      the middle encrypted under types 1 and 2
//! types 4, 5      header 48 | payload, encrypted | HMAC-SHA-256 32     | 3e 3e
//! reply           header    | payload, as the request's | (HMAC 32)    | 3e 3e      without a payload: the header alone
//! ```

use core::ops::Range;

use rand_core::CryptoRng;
use subtle::ConstantTimeEq;
use undertone_keys::digest;
use zeroize::Zeroizing;

use super::legacy_crypto::{Keystream, xor};
use crate::coin::{Authenticity, Named};
use crate::header::{Encryption, OwnReply, ReplyHeader, RequestHeader, TRAILER};
use crate::status::Status;

/// Bytes of a challenge: twelve that were drawn and their checksum.
pub const CHALLENGE: usize = 16;
const TAG: usize = 32;

/// Where the keystream of a reply of types 1 and 2 begins.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ReplyStream {
    /// Behind the request's, so that no block is used twice. The only one in the strict profile.
    Continue,
    /// At the request's beginning, as the documents have it and as most nodes do: request and reply under the same stream are the
    /// exclusive or of their texts to everybody on the way, and with the reply's hash twelve known bytes give the coin's key away.
    Restart,
}

/// The key of one exchange.
pub enum FrameKey {
    /// Type 0.
    None,
    /// Types 1 and 2.
    Coin(Untagged),
    /// Types 4 and 5.
    Hash(Zeroizing<[u8; 32]>),
}

/// A coin's key, used where nothing is tagged. Nothing outside of this crate can make one (rule RKX-6).
pub struct Untagged(Authenticity);

impl core::fmt::Debug for Untagged {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        f.write_str("Untagged")
    }
}

impl FrameKey {
    /// Of types 1 and 2: bits of what is sealed with it can be turned on the way.
    #[cfg(any(feature = "node", feature = "legacy", test))]
    pub(crate) const fn untagged(coin: Authenticity) -> Self {
        Self::Coin(Untagged(coin))
    }

    /// Of type 4: SHA-256 of a coin's key.
    #[must_use]
    pub fn of_one(coin: &Authenticity) -> Self {
        Self::Hash(Zeroizing::new(digest::sha256(&[coin.expose()])))
    }

    /// Of type 5: SHA-256 of two coins' keys.
    #[must_use]
    pub fn of_two(first: &Authenticity, second: &Authenticity) -> Self {
        Self::Hash(Zeroizing::new(digest::sha256(&[first.expose(), second.expose()])))
    }

    /// What the header of a reply has to say to a challenge.
    fn hash(&self, challenge: &[u8; CHALLENGE]) -> [u8; CHALLENGE] {
        match self {
            Self::Coin(Untagged(key)) => xor(challenge, key),
            Self::None | Self::Hash(_) => *challenge,
        }
    }
}

impl core::fmt::Debug for FrameKey {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        f.write_str("FrameKey")
    }
}

/// Draws a challenge.
pub fn challenge(rng: &mut impl CryptoRng) -> [u8; CHALLENGE] {
    let mut drawn = [0; 12];
    rng.fill_bytes(&mut drawn);
    with_checksum(drawn)
}

/// Twelve bytes with their checksum behind them, most significant byte first.
#[must_use]
pub fn with_checksum(drawn: [u8; 12]) -> [u8; CHALLENGE] {
    let mut challenge = [0; CHALLENGE];
    let checksum = crc32fast::hash(&drawn).to_be_bytes();
    challenge.iter_mut().zip(drawn.iter().chain(&checksum)).for_each(|(to, from)| *to = *from);
    challenge
}

/// Whether the last four bytes are the checksum of the first twelve.
fn holds(challenge: &[u8; CHALLENGE]) -> bool {
    challenge.first_chunk().is_some_and(|drawn| with_checksum(*drawn) == *challenge)
}

/// A body that was opened.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Opened {
    /// Types 0, 1 and 2: what the reply's hash is made of.
    pub challenge: Option<[u8; CHALLENGE]>,
    /// Where the payload stands in the body.
    pub payload: Range<usize>,
}

/// A body that was not.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Refused {
    /// What to answer.
    pub status: Status,
    /// What stood where the challenge should.
    pub challenge: Option<[u8; CHALLENGE]>,
}

impl From<Status> for Refused {
    fn from(status: Status) -> Self {
        Self { status, challenge: None }
    }
}

/// What of a body can be said without a key: that it is as long as its header says and ends in the trailer. `bytes` is what came behind
/// the header; what is left over is ignored. An empty body is for the command to judge.
///
/// # Errors
/// [`Status::Length`], [`Status::Trailer`].
pub fn body<'b>(header: &RequestHeader, encryption: Encryption, bytes: &'b mut [u8]) -> Result<&'b mut [u8], Status> {
    let length = usize::from(header.body);
    if length == 0 {
        return Ok(&mut []);
    }
    let least = if encryption.is_tagged() { TAG + TRAILER.len() } else { TRAILER.len() };
    let body = bytes.get_mut(..length).filter(|body| body.len() >= least).ok_or(Status::Length)?;
    let (text, trailer) = body.split_last_chunk_mut::<2>().ok_or(Status::Length)?;
    if *trailer == TRAILER { Ok(text) } else { Err(Status::Trailer) }
}

/// Whether a request opens with this key: its end, and its tag or the checksum of its challenge. `body` is what came behind the header, as
/// long as that says, and stays as it is.
#[must_use]
pub fn opens(header: &RequestHeader, key: &FrameKey, body: &[u8]) -> bool {
    let Some((text, end)) = body.split_last_chunk::<{ TRAILER.len() }>() else {
        return false;
    };
    let holds = match key {
        FrameKey::Hash(key) => text.split_last_chunk().is_some_and(|(sealed, tag)| holds_tag(key, sealed, tag)),
        FrameKey::None => text.first_chunk().is_some_and(holds),
        FrameKey::Coin(Untagged(key)) => text.first_chunk().is_some_and(|sealed: &[u8; CHALLENGE]| {
            let mut challenge = *sealed;
            Keystream::of_coin(key, &header.iv()).apply(&mut challenge);
            holds(&challenge)
        }),
    };
    holds && *end == TRAILER
}

fn holds_tag(key: &[u8; 32], sealed: &[u8], tag: &[u8; TAG]) -> bool {
    digest::hmac_sha256(key, &[sealed]).ct_eq(tag).into()
}

/// Decrypts and checks in place what [`body`] gave.
///
/// # Errors
/// [`Refused`]. A tag is checked before anything is decrypted.
pub fn open(header: &RequestHeader, key: &FrameKey, text: &mut [u8]) -> Result<Opened, Refused> {
    if header.body == 0 {
        return Ok(Opened { challenge: None, payload: 0..0 });
    }
    if let FrameKey::Hash(key) = key {
        let (sealed, tag) = text.split_last_chunk_mut::<TAG>().ok_or(Status::Length)?;
        if !holds_tag(key, sealed, tag) {
            return Err(Status::Tag.into());
        }
        Keystream::of_hash(key, &header.iv()).apply(sealed);
        return Ok(Opened { challenge: None, payload: 0..sealed.len() });
    }
    if text.len() < CHALLENGE {
        return Err(Status::Length.into());
    }
    if let FrameKey::Coin(Untagged(key)) = key {
        Keystream::of_coin(key, &header.iv()).apply(text);
    }
    let challenge = *text.first_chunk().ok_or(Status::Length)?;
    if holds(&challenge) {
        Ok(Opened { challenge: Some(challenge), payload: CHALLENGE..text.len() })
    } else {
        Err(Refused { status: Status::Crc, challenge: Some(challenge) })
    }
}

/// Makes a request: the header's length of body is filled in.
#[must_use]
pub fn seal_request(
    mut header: RequestHeader,
    key: &FrameKey,
    challenge: &[u8; CHALLENGE],
    payload: &[u8],
) -> Option<Vec<u8>> {
    let tagged = matches!(key, FrameKey::Hash(_));
    let around = if tagged { TAG } else { CHALLENGE } + TRAILER.len();
    header.body = u16::try_from(payload.len() + around).ok()?;
    let mut bytes = header.to_bytes();
    // The nonce as it travels: a short header has eight bytes of it, and two of them are the echo.
    let (header, _) = RequestHeader::read(&bytes)?;
    let start = bytes.len();
    match key {
        FrameKey::Hash(_) => {}
        FrameKey::None | FrameKey::Coin(_) => bytes.extend_from_slice(challenge),
    }
    bytes.extend_from_slice(payload);
    let text = bytes.get_mut(start..)?;
    let mut tag = None;
    match key {
        FrameKey::None => {}
        FrameKey::Coin(Untagged(key)) => Keystream::of_coin(key, &header.iv()).apply(text),
        FrameKey::Hash(key) => {
            Keystream::of_hash(key, &header.iv()).apply(text);
            tag = Some(digest::hmac_sha256(key.as_slice(), &[text]));
        }
    }
    bytes.extend_from_slice(tag.as_ref().map_or(&[], |tag| tag.as_slice()));
    bytes.extend_from_slice(&TRAILER);
    Some(bytes)
}

/// What a reply is made of, besides its payload.
#[derive(Clone, Copy, Debug)]
pub struct Reply {
    /// Which node answers.
    pub raida: u8,
    /// What it says.
    pub status: Status,
    /// Microseconds that it took.
    pub took: u32,
    /// The request's challenge, where one was read.
    pub challenge: Option<[u8; CHALLENGE]>,
    /// Where the keystream begins under types 1 and 2.
    pub stream: ReplyStream,
    /// Drawn for this reply, for types 4 and 5.
    pub nonce: [u8; 24],
}

/// Blocks of the request's keystream that a request of types 1 and 2 with `body` bytes behind its header has used.
#[must_use]
pub const fn blocks_of(body: u16) -> u32 {
    (body as u32).saturating_sub(TRAILER.len() as u32).div_ceil(16)
}

/// Appends the reply to `request` to `out`.
pub fn seal_reply(request: &RequestHeader, key: &FrameKey, reply: &Reply, payload: &[u8], out: &mut Vec<u8>) {
    let encryption = request.encryption.unwrap_or(Encryption::None);
    let tag = if encryption.is_tagged() { TAG } else { 0 };
    let size = if payload.is_empty() { 0 } else { payload.len() + tag + TRAILER.len() };
    let mut nonce = reply.nonce;
    let own = match request.encryption {
        Ok(Encryption::Tagged(coin)) => OwnReply::Nonce { code: 4, coin, nonce },
        Ok(Encryption::TaggedByTwo(coin, second)) => {
            // These five bytes of what was drawn never travel in the original, so that nobody can open such a reply of its.
            nonce.iter_mut().zip(second.to_bytes()).for_each(|(to, from)| *to = from);
            OwnReply::Nonce { code: 5, coin, nonce }
        }
        Err(code) => OwnReply::Nonce { code, coin: Named::default(), nonce: [0; 24] },
        Ok(Encryption::None | Encryption::Coin(_) | Encryption::Locker(_)) => {
            OwnReply::Hash(reply.challenge.map_or([0; CHALLENGE], |challenge| key.hash(&challenge)))
        }
    };
    let header = ReplyHeader {
        raida: reply.raida,
        status: reply.status.to_byte(),
        group: request.group,
        echo: request.echo,
        size: u32::try_from(size).unwrap_or(u32::MAX),
        took: reply.took,
        own,
    };
    header.write(out);
    if payload.is_empty() {
        return;
    }
    let start = out.len();
    out.extend_from_slice(payload);
    let sealed = out.get_mut(start..).unwrap_or_default();
    let mut tag = None;
    match key {
        FrameKey::None => {}
        FrameKey::Coin(Untagged(key)) => {
            let mut stream = Keystream::of_coin(key, &request.iv());
            if reply.stream == ReplyStream::Continue {
                stream.seek(blocks_of(request.body));
            }
            stream.apply(sealed);
        }
        FrameKey::Hash(key) => {
            Keystream::of_hash(key, nonce.first_chunk().unwrap_or(&[0; 16])).apply(sealed);
            tag = Some(digest::hmac_sha256(key.as_slice(), &[sealed]));
        }
    }
    out.extend_from_slice(tag.as_ref().map_or(&[], |tag| tag.as_slice()));
    out.extend_from_slice(&TRAILER);
}

/// A reply as its receiver has checked it.
#[derive(Clone, PartialEq, Eq)]
pub struct Answer {
    /// What the node says; `Err` with a byte that is no status here.
    pub status: Result<Status, u8>,
    /// What it sends.
    pub payload: Zeroizing<Vec<u8>>,
    /// Microseconds that the node says it took.
    pub took: u32,
    /// Whether the reply proves that the node has the key: by the hash of the challenge, or by the tag. A status without a payload is
    /// proven by types 1 and 2 alone, a reply under type 0 by nothing.
    pub proven: bool,
}

impl core::fmt::Debug for Answer {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        write!(f, "Answer({:?}, {} bytes, proven {})", self.status, self.payload.len(), self.proven)
    }
}

/// Why what came is no reply to a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum NotAReply {
    /// Too short, or without its trailer.
    #[error("the reply is malformed")]
    Malformed,
    /// Another node, group or echo than was asked for: a reply to something else.
    #[error("the reply is to another request")]
    Another,
    /// The hash or the tag is wrong.
    #[error("the reply is not by a node that has the key")]
    Forged,
}

/// Reads the reply to `request`. With types 1 and 2 both beginnings of the keystream are known, and `stream` says which the node has.
///
/// # Errors
/// [`NotAReply`]. A reply that proves nothing because the node read no challenge has the status of an error, and is given as such.
pub fn open_reply(
    request: &RequestHeader,
    key: &FrameKey,
    challenge: &[u8; CHALLENGE],
    stream: ReplyStream,
    bytes: &[u8],
) -> Result<Answer, NotAReply> {
    let tagged = matches!(key, FrameKey::Hash(_));
    let (header, rest) = ReplyHeader::read(bytes, tagged).ok_or(NotAReply::Malformed)?;
    if header.raida != request.raida || header.group != request.group || header.echo != request.echo {
        return Err(NotAReply::Another);
    }
    let status = Status::from_byte(header.status).ok_or(header.status);
    let mut proven = false;
    if let OwnReply::Hash(hash) = header.own {
        let right = bool::from(hash.ct_eq(&key.hash(challenge)));
        if !right && status.is_ok_and(Status::is_success) {
            return Err(NotAReply::Forged);
        }
        proven = right && matches!(key, FrameKey::Coin(_));
    }
    let size = usize::try_from(header.size).map_err(|_| NotAReply::Malformed)?;
    if size == 0 {
        return Ok(Answer { status, payload: Zeroizing::default(), took: header.took, proven });
    }
    let (sealed, trailer) =
        rest.get(..size).and_then(|body| body.split_last_chunk::<2>()).ok_or(NotAReply::Malformed)?;
    if *trailer != TRAILER {
        return Err(NotAReply::Malformed);
    }
    let mut payload = Zeroizing::new(sealed.to_vec());
    match (key, header.own) {
        (FrameKey::Coin(Untagged(key)), _) => {
            let mut keystream = Keystream::of_coin(key, &request.iv());
            if stream == ReplyStream::Continue {
                keystream.seek(blocks_of(request.body));
            }
            keystream.apply(&mut payload);
        }
        (FrameKey::Hash(key), OwnReply::Nonce { nonce, .. }) => {
            let (text, tag) = sealed.split_last_chunk::<TAG>().ok_or(NotAReply::Malformed)?;
            if !bool::from(digest::hmac_sha256(key.as_slice(), &[text]).ct_eq(tag)) {
                return Err(NotAReply::Forged);
            }
            payload.truncate(text.len());
            Keystream::of_hash(key, nonce.first_chunk().unwrap_or(&[0; 16])).apply(&mut payload);
            proven = true;
        }
        _ => {}
    }
    Ok(Answer { status, payload, took: header.took, proven })
}
