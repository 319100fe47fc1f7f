//! How much a node asks before it does something (rule RKX-2). The table with a test a row stands in `docs/spec/raida.md`.

use crate::frame::ReplyStream;

/// Which of the two.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub enum Profile {
    /// Every path that the documents leave open is closed, with the same frames and the statuses that there are.
    #[default]
    Strict,
    /// What the documents say, to the byte, for peers that need it: anybody can take coins' keys over.
    Compat(ReplyStream),
}

impl Profile {
    /// Whether proofs are asked for.
    #[must_use]
    pub const fn is_strict(self) -> bool {
        matches!(self, Self::Strict)
    }

    /// Where the keystream of replies begins.
    #[must_use]
    pub const fn reply_stream(self) -> ReplyStream {
        match self {
            Self::Strict => ReplyStream::Continue,
            Self::Compat(stream) => stream,
        }
    }
}
