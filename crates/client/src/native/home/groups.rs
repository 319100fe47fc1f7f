//! This device's MLS groups, as its machine leaves them: each change is one transaction, durable before anything leaves (rule STO-2).
//!
//! They have a table of their own, and lie there like the device's private keys (docs/adr/0005). A state that another version of the
//! library wrote is not read: the device comes into its groups anew, which costs each of them a commit.

use redb::{ReadableDatabase, ReadableTable, TableDefinition, TableError};
use undertone_groups::{Store, StoreError, WriteSet};
use zeroize::Zeroizing;

use super::{Home, HomeError};

const GROUPS: TableDefinition<'_, &[u8], &[u8]> = TableDefinition::new("groups");

impl Home {
    /// The groups, as they were last kept.
    ///
    /// # Errors
    /// [`HomeError`].
    pub fn groups(&self) -> Result<Store, HomeError> {
        let mut entries = Vec::new();
        match self.database().begin_read()?.open_table(GROUPS) {
            Err(TableError::TableDoesNotExist(_)) => {}
            table => {
                for entry in table?.iter()? {
                    let (key, value) = entry?;
                    entries.push((key.value().to_vec(), Zeroizing::new(value.value().to_vec())));
                }
            }
        }
        match Store::load(entries) {
            Ok(store) => Ok(store),
            Err(StoreError::Format) => {
                tracing::warn!("the groups of this home are of another version: they are joined anew");
                self.forget_groups()?;
                Ok(Store::new())
            }
            Err(_) => Err(HomeError::Damaged("groups".into())),
        }
    }

    /// Keeps what changed in them: all of it or nothing, durable on return.
    ///
    /// # Errors
    /// [`HomeError`].
    pub fn keep_groups(&self, writes: &WriteSet) -> Result<(), HomeError> {
        let transaction = self.database().begin_write()?;
        {
            let mut table = transaction.open_table(GROUPS)?;
            for (key, value) in writes.changes() {
                match value {
                    Some(value) => table.insert(key, value)?,
                    None => table.remove(key)?,
                };
            }
        }
        transaction.commit()?;
        Ok(())
    }

    /// Forgets them all: they are another device's, or of no use.
    pub(super) fn forget_groups(&self) -> Result<(), HomeError> {
        let transaction = self.database().begin_write()?;
        transaction.delete_table(GROUPS)?;
        transaction.commit()?;
        Ok(())
    }
}
