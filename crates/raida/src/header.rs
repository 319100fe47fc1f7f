//! Headers: 32 bytes before requests of encryption types 0, 1 and 2, 48 before types 4 and 5, and as many before their replies.
//!
//! A header is neither encrypted nor authenticated. What can be read of one is a [`RequestHeader`]; whether a node serves it is
//! [`RequestHeader::check`], in the order of the original, which tells apart what several faults at once are answered with.

use crate::coin::Named;
use crate::status::Status;

/// Bytes before a body of types 0, 1 and 2.
pub const SHORT: usize = 32;
/// Bytes before a body of types 4 and 5.
pub const LONG: usize = 48;
/// The first byte that says how long the header is.
pub const ENCRYPTION_AT: usize = 16;
/// The last two bytes of every body.
pub const TRAILER: [u8; 2] = [0x3e, 0x3e];

/// How a body is encrypted, and under whose key.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Encryption {
    /// Type 0: not at all.
    None,
    /// Type 1: AES-128 in counter mode under the key of a coin.
    Coin(Named),
    /// Type 2: the same under the key of the locker whose key begins with these five bytes.
    Locker([u8; 5]),
    /// Type 4: AES-256 in counter mode and an HMAC under a hash of a coin's key.
    Tagged(Named),
    /// Type 5: the same under a hash of two coins' keys.
    TaggedByTwo(Named, Named),
}

impl Encryption {
    /// 0, 1, 2, 4 or 5.
    #[must_use]
    pub const fn code(self) -> u8 {
        match self {
            Self::None => 0,
            Self::Coin(_) => 1,
            Self::Locker(_) => 2,
            Self::Tagged(_) => 4,
            Self::TaggedByTwo(..) => 5,
        }
    }

    /// Whether its headers have [`LONG`] bytes.
    #[must_use]
    pub const fn is_tagged(self) -> bool {
        matches!(self, Self::Tagged(_) | Self::TaggedByTwo(..))
    }
}

/// How long the header is that an encryption type goes with; the original has no more than two classes, and puts what it does not know
/// into the longer.
#[must_use]
pub const fn header_length(encryption: u8) -> usize {
    match encryption {
        0..=2 => SHORT,
        _ => LONG,
    }
}

/// A request's header as it came.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RequestHeader {
    /// 1.
    pub version: u8,
    /// 0.
    pub split: u8,
    /// Which node it is for.
    pub raida: u8,
    /// 0 to 3.
    pub shard: u8,
    /// Group of commands, 0 to 15.
    pub group: u8,
    /// The command in it.
    pub command: u8,
    /// Which kind of coins.
    pub coin_id: u16,
    /// The type of encryption, `Err` with a byte that is none.
    pub encryption: Result<Encryption, u8>,
    /// Bytes behind the header.
    pub body: u16,
    /// What makes the request's keystream its own. Eight bytes and sixteen zeros before types 1 and 2; all zeros before type 0.
    pub nonce: [u8; 24],
    /// Two bytes that the reply repeats: the last two of the header.
    pub echo: [u8; 2],
}

/// A node in the eyes of a header.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct NodeName {
    /// 0 to 24.
    pub raida: u8,
    /// The kind of coins that it keeps.
    pub coin_id: u16,
}

/// A nonce of this time, seconds since 1970 in its first four bytes, and twenty drawn ones: what the strict profile reads of every type but 5,
/// where the second coin's name comes before the time.
pub fn nonce(time: u64, rng: &mut (impl rand_core::CryptoRng + ?Sized)) -> [u8; 24] {
    let mut nonce = [0; 24];
    rng.fill_bytes(&mut nonce);
    let time = u32::try_from(time).unwrap_or(u32::MAX).to_be_bytes();
    nonce.iter_mut().zip(time).for_each(|(to, from)| *to = from);
    nonce
}

impl RequestHeader {
    /// Reads a header from the front of `bytes`; gives what stands behind it. `None` for too few bytes, which are answered with silence.
    #[must_use]
    pub fn read(bytes: &[u8]) -> Option<(Self, &[u8])> {
        let (fixed, _) = bytes.split_first_chunk::<17>()?;
        let [version, split, raida, shard, group, command, c0, c1, .., code] = *fixed;
        let (header, body) = bytes.split_at_checked(header_length(code))?;
        let (_, own) = header.split_at_checked(17)?;
        let mut nonce = [0; 24];
        let (encryption, length) = match own.first_chunk::<15>() {
            Some(&[denomination, a, b, c, d, l0, l1, ref rest @ ..]) if header.len() == SHORT => {
                if code != 0 {
                    nonce.iter_mut().zip(rest).for_each(|(to, from)| *to = *from);
                }
                let locker = [denomination, a, b, c, d];
                let encryption = match code {
                    0 => Encryption::None,
                    1 => Encryption::Coin(Named::from_bytes(locker)),
                    _ => Encryption::Locker(locker),
                };
                (Ok(encryption), [l0, l1])
            }
            _ => {
                let (&[l0, l1, denomination, a, b, c, d], rest) = own.split_first_chunk::<7>()?;
                nonce = *rest.first_chunk()?;
                let coin = Named::from_bytes([denomination, a, b, c, d]);
                let second = nonce.first_chunk().map_or_else(Named::default, |bytes| Named::from_bytes(*bytes));
                let encryption = match code {
                    4 => Ok(Encryption::Tagged(coin)),
                    5 => Ok(Encryption::TaggedByTwo(coin, second)),
                    other => Err(other),
                };
                (encryption, [l0, l1])
            }
        };
        let echo = *header.last_chunk()?;
        let coin_id = u16::from_be_bytes([c0, c1]);
        let body_length = u16::from_be_bytes(length);
        let read =
            Self { version, split, raida, shard, group, command, coin_id, encryption, body: body_length, nonce, echo };
        Some((read, body))
    }

    /// Whether `node` serves such a request, in the original's order; `known` are its commands.
    ///
    /// # Errors
    /// The status to answer with.
    pub fn check(&self, node: NodeName, known: impl Fn(u8, u8) -> bool) -> Result<Encryption, Status> {
        let wrong = [
            (self.version != 1, Status::Version),
            (self.split != 0, Status::Split),
            (self.raida != node.raida, Status::Raida),
            (self.group > 15, Status::Group),
            (self.shard > 3, Status::Shard),
            (!known(self.group, self.command), Status::Command),
            (self.coin_id != node.coin_id, Status::CoinId),
        ];
        match wrong.into_iter().find(|(wrong, _)| *wrong) {
            Some((_, status)) => Err(status),
            None => self.encryption.map_err(|_| Status::EncryptionCode),
        }
    }

    /// Writes it. A type that there is not has a long header.
    #[must_use]
    pub fn to_bytes(&self) -> Vec<u8> {
        let [c0, c1] = self.coin_id.to_be_bytes();
        let code = match self.encryption {
            Ok(encryption) => encryption.code(),
            Err(code) => code,
        };
        let mut bytes = vec![
            self.version,
            self.split,
            self.raida,
            self.shard,
            self.group,
            self.command,
            c0,
            c1,
            1,
            0,
            0,
            0,
            0,
            0,
            0,
            1,
        ];
        bytes.push(code);
        let length = self.body.to_be_bytes();
        let (short, long) = (self.nonce.first_chunk::<8>().copied().unwrap_or_default(), self.nonce);
        let mut with = |name: [u8; 5], second: Option<Named>| match header_length(code) {
            SHORT => {
                bytes.extend_from_slice(&name);
                bytes.extend_from_slice(&length);
                bytes.extend_from_slice(&short);
            }
            _ => {
                bytes.extend_from_slice(&length);
                bytes.extend_from_slice(&name);
                match second {
                    Some(second) => {
                        bytes.extend_from_slice(&second.to_bytes());
                        bytes.extend_from_slice(long.get(Named::LENGTH..).unwrap_or_default());
                    }
                    None => bytes.extend_from_slice(&long),
                }
            }
        };
        match self.encryption {
            Ok(Encryption::None) | Err(_) => with([0; 5], None),
            Ok(Encryption::Coin(coin) | Encryption::Tagged(coin)) => with(coin.to_bytes(), None),
            Ok(Encryption::Locker(locker)) => with(locker, None),
            Ok(Encryption::TaggedByTwo(coin, second)) => with(coin.to_bytes(), Some(second)),
        }
        let end = bytes.len() - 2;
        bytes.truncate(end);
        bytes.extend_from_slice(&self.echo);
        bytes
    }

    /// What the nonce says of the time, in seconds since 1970: its first four bytes, of type 5 those behind the second coin. The strict profile
    /// reads it so.
    #[must_use]
    pub fn time(&self) -> u64 {
        let from = if matches!(self.encryption, Ok(Encryption::TaggedByTwo(..))) { Named::LENGTH } else { 0 };
        let bytes = self.nonce.get(from..).and_then(|nonce| nonce.first_chunk().copied());
        bytes.map_or(0, |bytes| u64::from(u32::from_be_bytes(bytes)))
    }

    /// The initial value of the request's keystream, and of the tickets that it asks for or brings.
    #[must_use]
    pub fn iv(&self) -> [u8; 16] {
        self.nonce.first_chunk().copied().unwrap_or_default()
    }
}

/// A reply's header without the part that belongs to its encryption.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ReplyHeader {
    /// Which node answers.
    pub raida: u8,
    /// What it says; a byte that is no status of ours stays a byte.
    pub status: u8,
    /// The request's group.
    pub group: u8,
    /// The request's echo.
    pub echo: [u8; 2],
    /// Bytes behind the header, the trailer among them; 0 without a payload.
    pub size: u32,
    /// Microseconds that the node took.
    pub took: u32,
    /// What is left of the header.
    pub own: OwnReply,
}

/// What a reply's header has of its encryption.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum OwnReply {
    /// Types 0, 1 and 2: the challenge, under a key the exclusive or of both. Zeros where the node did not read so far.
    Hash([u8; 16]),
    /// Types 4 and 5: the type, the coin, and 24 bytes of which the first 16 are the initial value of the reply's keystream.
    Nonce {
        /// The request's type.
        code: u8,
        /// The request's coin.
        coin: Named,
        /// Drawn by the node; of type 5 the first five bytes are the second coin's name.
        nonce: [u8; 24],
    },
}

impl ReplyHeader {
    /// Appends it to `out`.
    pub fn write(&self, out: &mut Vec<u8>) {
        let [_, s0, s1, s2] = self.size.to_be_bytes();
        let [t0, t1, t2, t3] = self.took.to_be_bytes();
        let [e0, e1] = self.echo;
        let Self { raida, status, group, .. } = *self;
        match self.own {
            OwnReply::Hash(hash) => {
                out.extend_from_slice(&[raida, 0, status, group, 0, 1, e0, e1, 0, s0, s1, s2, t0, t1, t2, t3]);
                out.extend_from_slice(&hash);
            }
            OwnReply::Nonce { code, coin, nonce } => {
                out.extend_from_slice(&[raida, 0, status, group, t0, t1, t2, t3, 0, s0, s1, s2, 0, 0, 0, 0, code]);
                out.extend_from_slice(&coin.to_bytes());
                out.extend_from_slice(&[0, 0]);
                out.extend_from_slice(nonce.get(..22).unwrap_or_default());
                out.extend_from_slice(&[e0, e1]);
            }
        }
    }

    /// Reads the header of a reply to a request of that class; gives what stands behind it.
    #[must_use]
    pub fn read(bytes: &[u8], tagged: bool) -> Option<(Self, &[u8])> {
        if tagged {
            let (h, body) = bytes.split_first_chunk::<LONG>()?;
            let &[raida, _, status, group, t0, t1, t2, t3, _, s0, s1, s2, _, _, _, _, code, ref rest @ ..] = h;
            let (coin, rest) = rest.split_first_chunk::<5>()?;
            let nonce = *rest.last_chunk::<24>()?;
            let echo = *h.last_chunk()?;
            let own = OwnReply::Nonce { code, coin: Named::from_bytes(*coin), nonce };
            let size = u32::from_be_bytes([0, s0, s1, s2]);
            let took = u32::from_be_bytes([t0, t1, t2, t3]);
            return Some((Self { raida, status, group, echo, size, took, own }, body));
        }
        let (h, body) = bytes.split_first_chunk::<SHORT>()?;
        let &[raida, _, status, group, _, _, e0, e1, _, s0, s1, s2, t0, t1, t2, t3, ref hash @ ..] = h;
        let size = u32::from_be_bytes([0, s0, s1, s2]);
        let took = u32::from_be_bytes([t0, t1, t2, t3]);
        Some((Self { raida, status, group, echo: [e0, e1], size, took, own: OwnReply::Hash(*hash) }, body))
    }
}
