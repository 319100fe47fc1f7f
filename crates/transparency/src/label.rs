//! The directory's labels (rule KT-5): under which bytes a user's device list is found.
//!
//! | bytes | what |
//! |-------|------|
//! | 23    | `undertone/KT-5/label/v1` |
//! | 1     | zero |
//! | 2     | length of the domain, big-endian |
//! |       | the domain |
//! | 2     | length of the name, big-endian |
//! |       | the name, the part of the user before the `@` |
//! | 2     | 7, the length of what follows |
//! | 7     | `devices` |
//!
//! The lengths keep two users, and later two kinds of entry of one user, from ever having one label. The directory's
//! tree shows a label only through its VRF.

use undertone_keys::UserId;
use undertone_keys::name::NameError;

use crate::labels;
use crate::log::Hash;

/// What the directory holds under [`sentinel`]: the hash of no list.
pub const SENTINEL_VALUE: Hash = [0; 32];

/// The label of a user's device list.
#[must_use]
pub fn devices(user: &UserId) -> Vec<u8> {
    label(user.domain(), user.name())
}

/// The label that a domain's directory holds from its first epoch on, so that its tree is never empty: absence can be
/// proven in no empty tree. No user has it, as no name is empty.
///
/// # Errors
/// [`NameError::Domain`] when `domain` is no domain.
pub fn sentinel(domain: &str) -> Result<Vec<u8>, NameError> {
    // A user has the domain in its one form.
    let somebody = UserId::new("sentinel", domain)?;
    Ok(label(somebody.domain(), ""))
}

fn label(domain: &str, name: &str) -> Vec<u8> {
    let mut label = [labels::DIRECTORY_LABEL.as_bytes(), &[0]].concat();
    for part in [domain, name, "devices"] {
        // A domain has 253 bytes at most and a name 64, so the lengths fit.
        label.extend_from_slice(&(part.len() as u16).to_be_bytes());
        label.extend_from_slice(part.as_bytes());
    }
    label
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use super::*;

    #[test]
    fn kt_5_the_layout_is_fixed() {
        let user: UserId = "ada@example.org".parse().unwrap();
        assert_eq!(devices(&user), b"undertone/KT-5/label/v1\0\x00\x0bexample.org\x00\x03ada\x00\x07devices");
        assert_eq!(
            sentinel("Example.ORG").unwrap(),
            b"undertone/KT-5/label/v1\0\x00\x0bexample.org\x00\x00\x00\x07devices"
        );
        assert_eq!(sentinel("no domain"), Err(NameError::Domain));
    }

    #[test]
    fn kt_5_no_two_users_share_a_label() {
        let users = ["ada@b.c", "ad@ab.c", "a@da.b.c", "ada@b.c.d", "ADA@B.C", "devices@b.c", "sentinel@b.c"];
        let mut labels: HashSet<_> = users.iter().map(|user| devices(&user.parse().unwrap())).collect();
        assert_eq!(labels.len(), users.len() - 1, "one of them stands twice");
        assert!(labels.insert(sentinel("b.c").unwrap()));
    }

    #[test]
    fn kt_5_the_longest_user_fits() {
        let domain = ["d".repeat(63), "d".repeat(63), "d".repeat(63), "d".repeat(61)].join(".");
        let user = UserId::new(&"n".repeat(64), &domain).unwrap();
        assert_eq!(devices(&user).len(), 24 + 2 + 253 + 2 + 64 + 2 + 7);
    }
}
