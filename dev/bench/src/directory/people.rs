//! Who is in the directories that are compared: the same users with the same values.

use undertone_keys::UserId;
use undertone_keys::digest::sha256;
use undertone_transparency::label;
use undertone_transparency::log::Hash;

/// The domain of everybody.
pub(super) const DOMAIN: &str = "example.org";

/// A version of a user, as it is published.
#[derive(Clone, Debug)]
pub(super) struct Change {
    pub(super) user: UserId,
    pub(super) label: Vec<u8>,
    pub(super) version: u32,
    pub(super) value: Hash,
}

impl Change {
    fn new(number: u32, version: u32) -> anyhow::Result<Self> {
        let user = UserId::new(&format!("user{number}"), DOMAIN)?;
        let (label, value) = (label::devices(&user), sha256(&[user.as_str().as_bytes(), &version.to_be_bytes()]));
        Ok(Self { user, label, version, value })
    }
}

/// This version of each of these users.
pub(super) fn changes(users: impl IntoIterator<Item = u32>, version: u32) -> anyhow::Result<Vec<Change>> {
    users.into_iter().map(|number| Change::new(number, version)).collect()
}

/// Every user once, in an order that has nothing to do with that in which they came.
pub(super) fn scattered(users: u32) -> impl Iterator<Item = u32> {
    /// A prime, so that the steps meet everybody.
    const STEP: u64 = 7_919;
    (0..u64::from(users)).filter_map(move |n| u32::try_from(n * STEP % u64::from(users)).ok())
}
