//! What a delivery service may see of an MLS message (RFC 9420, section 6): the few fields in front that travel in the clear.
//!
//! Nothing is verified here and nothing copied: a frame says what its bytes claim. Whatever is behind the fields that are named
//! stays unread, as far as it can; a member reads it, and checks it.

use undertone_keys::digest::labelled_sha256;

use super::reader::{Reader, Short};
use super::tree;
use crate::labels;

/// The only version of MLS.
const MLS10: u16 = 1;

const PUBLIC_MESSAGE: u16 = 1;
const PRIVATE_MESSAGE: u16 = 2;
const WELCOME: u16 = 3;
const GROUP_INFO: u16 = 4;
const KEY_PACKAGE: u16 = 5;

/// `ContentType`: application 1, proposal 2, commit 3.
const CONTENT_COMMIT: u8 = 3;
/// `SenderType`: member 1, external 2, new member's proposal 3, new member's commit 4.
const NEW_MEMBER_COMMIT: u8 = 4;

/// Why bytes are not the message that is wanted.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum FrameError {
    /// They end too early, go on too long, or have a length that is not in its shortest form.
    #[error("malformed bytes")]
    Malformed,
    /// Another version of MLS than 1.0.
    #[error("another version of MLS")]
    Version,
    /// An MLS message of another kind: an application message, say, where a commit is wanted.
    #[error("a message of another kind")]
    Kind,
    /// A commit of a member's that everybody could read. Only who is not a member yet may commit like that.
    #[error("a member's commit that is not private")]
    NotPrivate,
}

impl From<Short> for FrameError {
    fn from(Short: Short) -> Self {
        Self::Malformed
    }
}

/// Reads version and kind.
fn open(bytes: &[u8]) -> Result<(Reader<'_>, u16), FrameError> {
    let mut reader = Reader(bytes);
    if reader.u16()? != MLS10 {
        return Err(FrameError::Version);
    }
    let kind = reader.u16()?;
    Ok((reader, kind))
}

fn open_as(bytes: &[u8], kind: u16) -> Result<Reader<'_>, FrameError> {
    let (reader, found) = open(bytes)?;
    if found == kind { Ok(reader) } else { Err(FrameError::Kind) }
}

/// A commit, as it shows itself to the server.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct CommitFrame<'b> {
    /// The group's id.
    pub group: &'b [u8],
    /// The epoch that it ends.
    pub epoch: u64,
    /// Whether it is of somebody who comes in by it, and is not private (rule MLS-2).
    pub external: bool,
}

impl<'b> CommitFrame<'b> {
    /// Reads a commit: a `PrivateMessage`, or a `PublicMessage` of a new member.
    ///
    /// # Errors
    /// [`FrameError`].
    pub fn read(bytes: &'b [u8]) -> Result<Self, FrameError> {
        let (mut reader, kind) = open(bytes)?;
        match kind {
            PRIVATE_MESSAGE => {
                let (group, epoch) = (reader.vector()?, reader.u64()?);
                if reader.u8()? != CONTENT_COMMIT {
                    return Err(FrameError::Kind);
                }
                // authenticated_data, encrypted_sender_data, ciphertext
                for _ in 0..3 {
                    reader.vector()?;
                }
                reader.end()?;
                Ok(Self { group, epoch, external: false })
            }
            PUBLIC_MESSAGE => {
                let (group, epoch, sender) = (reader.vector()?, reader.u64()?, reader.u8()?);
                match sender {
                    // The index of a leaf, or of an external sender.
                    1 | 2 => {
                        reader.u32()?;
                    }
                    3 | NEW_MEMBER_COMMIT => {}
                    _ => return Err(FrameError::Malformed),
                }
                reader.vector()?;
                match (reader.u8()?, sender) {
                    (CONTENT_COMMIT, NEW_MEMBER_COMMIT) => Ok(Self { group, epoch, external: true }),
                    (CONTENT_COMMIT, _) => Err(FrameError::NotPrivate),
                    _ => Err(FrameError::Kind),
                }
            }
            _ => Err(FrameError::Kind),
        }
    }
}

/// What members of an epoch agree on: SHA-256 over its group context and its confirmation tag. Two who have the same digest are in
/// one epoch with one history.
pub type EpochDigest = [u8; 32];

/// The digest of an epoch from its encoded `GroupContext` and its confirmation tag, for a member that has both.
#[must_use]
pub fn epoch_digest(context: &[u8], confirmation_tag: &[u8]) -> EpochDigest {
    labelled_sha256(labels::MLS_EPOCH, &[context, confirmation_tag])
}

/// A `GroupInfo`, as it shows itself to the server: what somebody needs, with the tree, to come in by an external commit.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct InfoFrame<'b> {
    /// The cipher suite.
    pub suite: u16,
    /// The group's id.
    pub group: &'b [u8],
    /// The epoch that it tells of.
    pub epoch: u64,
    /// The hash of the ratchet tree.
    pub tree_hash: &'b [u8],
    /// The whole `GroupContext` as it is encoded.
    pub context: &'b [u8],
    /// The epoch's confirmation tag.
    pub confirmation_tag: &'b [u8],
}

impl<'b> InfoFrame<'b> {
    /// Reads a `GroupInfo` as an MLS message.
    ///
    /// # Errors
    /// [`FrameError`].
    pub fn read(bytes: &'b [u8]) -> Result<Self, FrameError> {
        let mut reader = open_as(bytes, GROUP_INFO)?;
        let begin = reader.0;
        if reader.u16()? != MLS10 {
            return Err(FrameError::Version);
        }
        let suite = reader.u16()?;
        let (group, epoch, tree_hash) = (reader.vector()?, reader.u64()?, reader.vector()?);
        // confirmed_transcript_hash, extensions
        reader.vector()?;
        reader.vector()?;
        let context = begin.get(..begin.len() - reader.0.len()).ok_or(FrameError::Malformed)?;
        // The extensions of the GroupInfo itself.
        reader.vector()?;
        let confirmation_tag = reader.vector()?;
        reader.u32()?;
        reader.vector()?;
        reader.end()?;
        Ok(Self { suite, group, epoch, tree_hash, context, confirmation_tag })
    }

    /// What members attest of the epoch.
    #[must_use]
    pub fn digest(&self) -> EpochDigest {
        epoch_digest(self.context, self.confirmation_tag)
    }
}

/// The cipher suite of a `Welcome`.
///
/// # Errors
/// [`FrameError`].
pub fn welcome_suite(bytes: &[u8]) -> Result<u16, FrameError> {
    let mut reader = open_as(bytes, WELCOME)?;
    let suite = reader.u16()?;
    // secrets, encrypted_group_info
    reader.vector()?;
    reader.vector()?;
    reader.end()?;
    Ok(suite)
}

/// The cipher suite of a `KeyPackage`.
///
/// # Errors
/// [`FrameError`].
pub fn key_package_suite(bytes: &[u8]) -> Result<u16, FrameError> {
    let mut reader = open_as(bytes, KEY_PACKAGE)?;
    if reader.u16()? != MLS10 {
        return Err(FrameError::Version);
    }
    let suite = reader.u16()?;
    reader.vector()?;
    tree::skip_leaf(&mut reader)?;
    // extensions, signature
    reader.vector()?;
    reader.vector()?;
    reader.end()?;
    Ok(suite)
}

#[cfg(test)]
mod tests;
