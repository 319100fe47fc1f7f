//! What a node answers with: one byte, and the same bytes as the original (reference layouts; rule RKX-1).

use core::fmt;

macro_rules! statuses {
    ($($(#[$doc:meta])* $name:ident = $code:literal, $said:literal;)*) => {
        /// A reply's third byte. [`Status::Done`] and [`Status::Success`] are the good ones.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
        #[repr(u8)]
        #[non_exhaustive]
        pub enum Status {
            $($(#[$doc])* $name = $code,)*
        }

        impl Status {
            /// Every status that there is.
            pub const ALL: &[Self] = &[$(Self::$name,)*];

            /// `None` for a byte that is no status here.
            #[must_use]
            pub const fn from_byte(byte: u8) -> Option<Self> {
                match byte {
                    $($code => Some(Self::$name),)*
                    _ => None,
                }
            }

            /// For people.
            #[must_use]
            pub const fn said(self) -> &'static str {
                match self {
                    $(Self::$name => $said,)*
                }
            }
        }
    };
}

statuses! {
    /// Success of command 44 alone.
    Done = 0, "done";
    /// The header's split byte.
    Split = 2, "the split is not 0";
    /// Another node's request.
    Raida = 3, "the request is for another node";
    /// The header's shard byte.
    Shard = 4, "there is no such shard";
    /// The header's group byte.
    Group = 5, "there is no such group of commands";
    /// A command that the node does not have.
    Command = 6, "there is no such command";
    /// Coins of another kind.
    CoinId = 7, "the node keeps coins of another kind";
    /// A body that is too short, or of a length that its command does not have.
    Length = 16, "the body has the wrong length";
    /// Types 4 and 5: no coin with that name, or (strict) none that was issued.
    EncryptionCoin = 25, "there is no such coin to encrypt with";
    /// An encryption type that there is not.
    EncryptionCode = 27, "there is no such type of encryption";
    /// The last two bytes are not 3e 3e.
    Trailer = 33, "the body does not end in 3e 3e";
    /// Types 1 and 2: no such key; and (strict) too little proof for the command.
    Encryption = 34, "the request is not encrypted as the command needs";
    /// A command that needs a body has none.
    Empty = 36, "the body is empty";
    /// The challenge's checksum: most often a wrong key.
    Crc = 37, "the challenge's checksum is wrong, as under a wrong key";
    /// Items that are no multiple of 26 bytes.
    Items = 39, "the items do not fill the body";
    /// No page has that coin.
    Serial = 40, "no page has that coin";
    /// More items than the node takes at once.
    TooMany = 45, "too many items at once";
    /// Come back later.
    Rate = 160, "too many requests, wait a moment";
    /// A file could not be read or written, or is not there.
    Files = 194, "no such key, or its file cannot be read or written";
    /// The part of the key space would reach beyond its 127th byte.
    KeyLength = 196, "start and length of the key reach beyond the key space";
    /// The node has no file of that coin, or none that it can use.
    CoinFile = 197, "the node has no usable file of that coin";
    /// A field with a value that the command does not take.
    Parameter = 198, "a field has a value that the command does not take";
    /// Somebody else's key has that id.
    Exists = 201, "a key of somebody else has that id";
    /// Types 4 and 5: the body's tag is wrong.
    Tag = 204, "the body's tag is wrong, as under a wrong key";
    /// Success of every command but 44.
    Success = 250, "success";
    /// The node failed.
    Internal = 252, "the node failed, its log says why";
    /// The header's first byte is not 1.
    Version = 255, "the header's version is not 1";
}

impl Status {
    /// For the wire.
    #[must_use]
    pub const fn to_byte(self) -> u8 {
        self as u8
    }

    /// Whether it is about a header alone.
    #[must_use]
    pub const fn is_of_header(self) -> bool {
        matches!(
            self,
            Self::Version
                | Self::Split
                | Self::Raida
                | Self::Shard
                | Self::Group
                | Self::Command
                | Self::CoinId
                | Self::EncryptionCode
        )
    }

    /// Whether it is one of the good ones.
    #[must_use]
    pub const fn is_success(self) -> bool {
        matches!(self, Self::Done | Self::Success)
    }
}

impl fmt::Display for Status {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} (status {})", self.said(), self.to_byte())
    }
}
