//! The commands' payloads. Lengths are of the payload, behind the challenge and before tag and trailer, so that they hold for every
//! encryption type (rule RKX-3); the numbers of the documents are 18 greater.

use crate::coin::{Authenticity, Half, Named};
use crate::status::Status;

/// Status commands.
pub const GROUP_STATUS: u8 = 0;
/// Key exchange.
pub const GROUP_KEYS: u8 = 4;

/// Bytes of a key's id.
pub const KEY_ID: usize = 16;
/// Bytes of the space that a key is a part of.
pub const KEY_SPACE: usize = 128;
/// A key's start and length together are no more: the last byte of the space is never part of one.
pub const KEY_REACH: u8 = 127;
const POST: usize = KEY_ID + 16 + Named::LENGTH + KEY_SPACE + 2;
const GET: usize = KEY_ID + Named::LENGTH + 16;
const ITEM: usize = 26;
/// Items that a body of 65,535 bytes has room for.
pub const MOST_ITEMS: usize = 2_519;
const ALERT_PART: usize = 44;
/// Parts of a key that one alert names at most.
pub const ALERT_PARTS: usize = 16;

/// Which command a header names.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Command {
    /// 0/0: does nothing, and shows that the key of an encrypted request is right.
    Echo,
    /// 4/41: leaves a key under an id.
    PostKey,
    /// 4/42: tells whom a key is for that it is there.
    KeyAlert,
    /// 4/43: fetches a key by its id.
    GetKey,
    /// 4/44: something encrypted under a coin's key.
    EncryptKey,
    /// 4/45: takes such things from other nodes for the two halves of a coin's key.
    DecryptKey,
}

impl Command {
    /// Every one.
    pub const ALL: [Self; 6] =
        [Self::Echo, Self::PostKey, Self::KeyAlert, Self::GetKey, Self::EncryptKey, Self::DecryptKey];

    /// By group and number.
    #[must_use]
    pub fn of(group: u8, command: u8) -> Option<Self> {
        Self::ALL.into_iter().find(|known| known.number() == (group, command))
    }

    /// Group and number.
    #[must_use]
    pub const fn number(self) -> (u8, u8) {
        match self {
            Self::Echo => (GROUP_STATUS, 0),
            Self::PostKey => (GROUP_KEYS, 41),
            Self::KeyAlert => (GROUP_KEYS, 42),
            Self::GetKey => (GROUP_KEYS, 43),
            Self::EncryptKey => (GROUP_KEYS, 44),
            Self::DecryptKey => (GROUP_KEYS, 45),
        }
    }

    /// Whether it changes something, tells somebody something or vouches for something: strict nodes take such only with a tag.
    #[must_use]
    pub const fn acts(self) -> bool {
        !matches!(self, Self::Echo | Self::GetKey)
    }

    /// As documents and commands call it.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Echo => "echo",
            Self::PostKey => "post-key",
            Self::KeyAlert => "key-alert",
            Self::GetKey => "get-key",
            Self::EncryptKey => "encrypt-key",
            Self::DecryptKey => "decrypt-key",
        }
    }
}

/// The id of a posted key, which is its file's name too.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct KeyId(pub [u8; KEY_ID]);

impl core::fmt::Display for KeyId {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        self.0.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}

impl core::fmt::Debug for KeyId {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        // Whoever knows an id may fetch the key: four bytes tell two of them apart.
        f.write_str("KeyId(")?;
        self.0.iter().take(4).try_for_each(|byte| write!(f, "{byte:02x}"))?;
        f.write_str(")")
    }
}

/// 41: 167 bytes.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct PostKey<'p> {
    /// What it will be fetched by.
    pub id: KeyId,
    /// Where whom it is for can be told: an address of IPv6, or twelve zeros and one of IPv4; zeros for nowhere.
    pub receiver: [u8; 16],
    /// The coin that it is to be fetched with, zeros for any.
    pub coin: Named,
    /// The key itself, the part of the key space that was named.
    pub key: &'p [u8],
}

impl<'p> PostKey<'p> {
    /// Reads a payload.
    ///
    /// # Errors
    /// [`Status::Length`], [`Status::KeyLength`].
    pub fn read(payload: &'p [u8]) -> Result<Self, Status> {
        if payload.len() != POST {
            return Err(Status::Length);
        }
        let (id, rest) = payload.split_first_chunk().ok_or(Status::Length)?;
        let (receiver, rest) = rest.split_first_chunk().ok_or(Status::Length)?;
        let (coin, rest) = rest.split_first_chunk().ok_or(Status::Length)?;
        let (space, rest) = rest.split_at_checked(KEY_SPACE).ok_or(Status::Length)?;
        let &[start, length] = rest else {
            return Err(Status::Length);
        };
        let end = start.checked_add(length).filter(|end| *end <= KEY_REACH).ok_or(Status::KeyLength)?;
        let key = space.get(usize::from(start)..usize::from(end)).ok_or(Status::KeyLength)?;
        Ok(Self { id: KeyId(*id), receiver: *receiver, coin: Named::from_bytes(*coin), key })
    }

    /// Writes a payload with the key at `start` of a space whose other bytes are `padding`. `None` for a key that does not fit.
    #[must_use]
    pub fn write(&self, start: u8, mut padding: [u8; KEY_SPACE]) -> Option<zeroize::Zeroizing<Vec<u8>>> {
        let length = u8::try_from(self.key.len()).ok()?;
        let end = start.checked_add(length).filter(|end| *end <= KEY_REACH)?;
        padding.get_mut(usize::from(start)..usize::from(end))?.copy_from_slice(self.key);
        let mut payload = zeroize::Zeroizing::new(Vec::with_capacity(POST));
        payload.extend_from_slice(&self.id.0);
        payload.extend_from_slice(&self.receiver);
        payload.extend_from_slice(&self.coin.to_bytes());
        payload.extend_from_slice(&padding);
        zeroize::Zeroize::zeroize(&mut padding);
        payload.extend_from_slice(&[start, length]);
        Some(payload)
    }
}

impl core::fmt::Debug for PostKey<'_> {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        write!(f, "PostKey({:?} for {:?}, {} bytes)", self.id, self.coin, self.key.len())
    }
}

/// 43: 37 bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct GetKey {
    /// Which key.
    pub id: KeyId,
    /// Whose it should be, zeros for anybody's.
    pub sender: Named,
    /// From where, zeros for anywhere.
    pub address: [u8; 16],
}

impl GetKey {
    /// Reads a payload.
    ///
    /// # Errors
    /// [`Status::Length`].
    pub fn read(payload: &[u8]) -> Result<Self, Status> {
        let payload: &[u8; GET] = payload.try_into().map_err(|_| Status::Length)?;
        let (id, rest) = payload.split_first_chunk().ok_or(Status::Length)?;
        let (sender, rest) = rest.split_first_chunk().ok_or(Status::Length)?;
        let address = rest.try_into().map_err(|_| Status::Length)?;
        Ok(Self { id: KeyId(*id), sender: Named::from_bytes(*sender), address })
    }

    /// Writes a payload.
    #[must_use]
    pub fn write(&self) -> Vec<u8> {
        [self.id.0.as_slice(), &self.sender.to_bytes(), &self.address].concat()
    }
}

/// What 43 gives: the coin that was named when the key was posted, and the key.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct StoredKey<'p> {
    /// The coin that it is to be fetched with, zeros for any.
    pub coin: Named,
    /// 0 to 127 bytes.
    pub key: &'p [u8],
}

impl<'p> StoredKey<'p> {
    /// Reads what a node sends, which is what stands in the key's file. `None` for another length than a key has.
    #[must_use]
    pub fn read(payload: &'p [u8]) -> Option<Self> {
        let (coin, key) = payload.split_first_chunk()?;
        (key.len() <= usize::from(KEY_REACH)).then(|| Self { coin: Named::from_bytes(*coin), key })
    }
}

impl core::fmt::Debug for StoredKey<'_> {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        write!(f, "StoredKey(for {:?}, {} bytes)", self.coin, self.key.len())
    }
}

/// 44: three forms, told apart by their length.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum EncryptKey<'p> {
    /// 5 bytes, of the seed: the node draws 16 bytes and gives them under the exclusive or with the recipient's key.
    Wrapped {
        /// Under whose key.
        recipient: Named,
    },
    /// 13 bytes: a ticket about the coin itself whose key it is encrypted under.
    Ticket {
        /// Under whose key, and about which coin.
        target: Named,
        /// Half a key.
        half: [u8; 8],
    },
    /// 34 bytes: a ticket about another coin, whose key proves that the caller owns it.
    TicketFor {
        /// Under whose key.
        target: Named,
        /// Half a key.
        half: [u8; 8],
        /// About which coin.
        coin: Named,
        /// Its key on this node.
        key: &'p [u8; Authenticity::LENGTH],
    },
}

impl<'p> EncryptKey<'p> {
    /// Reads a payload.
    ///
    /// # Errors
    /// [`Status::Length`].
    pub fn read(payload: &'p [u8]) -> Result<Self, Status> {
        let (target, rest) = payload.split_first_chunk().ok_or(Status::Length)?;
        let target = Named::from_bytes(*target);
        if rest.is_empty() {
            return Ok(Self::Wrapped { recipient: target });
        }
        let (half, rest) = rest.split_first_chunk().ok_or(Status::Length)?;
        if rest.is_empty() {
            return Ok(Self::Ticket { target, half: *half });
        }
        let (coin, key) = rest.split_first_chunk().ok_or(Status::Length)?;
        let key = key.try_into().map_err(|_| Status::Length)?;
        Ok(Self::TicketFor { target, half: *half, coin: Named::from_bytes(*coin), key })
    }

    /// Writes a payload.
    #[must_use]
    pub fn write(&self) -> zeroize::Zeroizing<Vec<u8>> {
        let bytes = match self {
            Self::Wrapped { recipient } => recipient.to_bytes().to_vec(),
            Self::Ticket { target, half } => [target.to_bytes().as_slice(), half].concat(),
            Self::TicketFor { target, half, coin, key } => {
                [target.to_bytes().as_slice(), half, &coin.to_bytes(), key.as_slice()].concat()
            }
        };
        zeroize::Zeroizing::new(bytes)
    }

    /// Under whose key the answer is.
    #[must_use]
    pub const fn under(&self) -> Named {
        match self {
            Self::Wrapped { recipient } => *recipient,
            Self::Ticket { target, .. } | Self::TicketFor { target, .. } => *target,
        }
    }
}

impl core::fmt::Debug for EncryptKey<'_> {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        match self {
            Self::Wrapped { recipient } => write!(f, "Wrapped({recipient:?})"),
            Self::Ticket { target, .. } => write!(f, "Ticket({target:?})"),
            Self::TicketFor { target, coin, .. } => write!(f, "TicketFor({coin:?} under {target:?})"),
        }
    }
}

/// 45: five bytes and one item or more.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct DecryptKey<'p> {
    /// The coin of this node whose keys on the other nodes open the tickets.
    pub coin: Named,
    items: &'p [[u8; ITEM]],
}

impl<'p> DecryptKey<'p> {
    /// Reads a payload.
    ///
    /// # Errors
    /// [`Status::Length`] for less than one item, [`Status::Items`].
    pub fn read(payload: &'p [u8]) -> Result<Self, Status> {
        let (coin, rest) = payload.split_first_chunk().ok_or(Status::Length)?;
        if rest.len() < ITEM {
            return Err(Status::Length);
        }
        let (items, left) = rest.as_chunks::<ITEM>();
        if left.is_empty() { Ok(Self { coin: Named::from_bytes(*coin), items }) } else { Err(Status::Items) }
    }

    /// How many items there are: 1 to [`MOST_ITEMS`].
    #[must_use]
    pub const fn count(&self) -> usize {
        self.items.len()
    }

    /// The items in their order; one answer's byte is about each.
    pub fn items(&self) -> impl ExactSizeIterator<Item = TicketItem> + use<'p> {
        self.items.iter().map(TicketItem::read)
    }

    /// Writes a payload.
    #[must_use]
    pub fn write(coin: Named, items: &[TicketItem]) -> Vec<u8> {
        let mut payload = coin.to_bytes().to_vec();
        items.iter().for_each(|item| item.write(&mut payload));
        payload
    }
}

impl core::fmt::Debug for DecryptKey<'_> {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        write!(f, "DecryptKey({:?}, {} items)", self.coin, self.items.len())
    }
}

/// One ticket and what it is for: 26 bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TicketItem {
    /// Which half it is: 0 or 1.
    pub split: u8,
    /// Which node made it: 0 to 24.
    pub helper: u8,
    /// Whose half it is.
    pub coin: Named,
    /// As the helper gave it.
    pub ticket: [u8; 16],
}

impl TicketItem {
    fn read(bytes: &[u8; ITEM]) -> Self {
        let [_, _, split, helper, _, d, a, b, c, e, ticket @ ..] = *bytes;
        Self { split, helper, coin: Named::from_bytes([d, a, b, c, e]), ticket }
    }

    fn write(&self, payload: &mut Vec<u8>) {
        payload.extend_from_slice(&[0, 0, self.split, self.helper, 0]);
        payload.extend_from_slice(&self.coin.to_bytes());
        payload.extend_from_slice(&self.ticket);
    }

    /// The half's name, if it is one.
    #[must_use]
    pub const fn half(&self) -> Option<Half> {
        Half::from_byte(self.split)
    }
}

/// One part of a posted key, as an alert names it: 44 bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct AlertPart {
    /// The key's id.
    pub id: KeyId,
    /// Where the node is that has it.
    pub address: [u8; 16],
    /// Its port.
    pub port: u16,
    /// The sender's coin.
    pub sender: Named,
    /// The receiver's coin.
    pub receiver: Named,
}

/// 42: 1 to 16 parts of 44 bytes.
///
/// # Errors
/// [`Status::Length`] for none, too many or part of one.
pub fn read_alert(payload: &[u8]) -> Result<Vec<AlertPart>, Status> {
    let (parts, left) = payload.as_chunks::<ALERT_PART>();
    if !left.is_empty() || parts.is_empty() || parts.len() > ALERT_PARTS {
        return Err(Status::Length);
    }
    parts.iter().map(|part| AlertPart::read(part).ok_or(Status::Length)).collect()
}

impl AlertPart {
    fn read(bytes: &[u8; ALERT_PART]) -> Option<Self> {
        let (id, rest) = bytes.split_first_chunk()?;
        let (address, rest) = rest.split_first_chunk()?;
        let (port, rest) = rest.split_first_chunk()?;
        let (sender, rest) = rest.split_first_chunk()?;
        let receiver = Named::from_bytes(rest.try_into().ok()?);
        let (port, sender) = (u16::from_be_bytes(*port), Named::from_bytes(*sender));
        Some(Self { id: KeyId(*id), address: *address, port, sender, receiver })
    }

    /// Appends it to a payload.
    pub fn write(&self, payload: &mut Vec<u8>) {
        payload.extend_from_slice(&self.id.0);
        payload.extend_from_slice(&self.address);
        payload.extend_from_slice(&self.port.to_be_bytes());
        payload.extend_from_slice(&self.sender.to_bytes());
        payload.extend_from_slice(&self.receiver.to_bytes());
    }
}
