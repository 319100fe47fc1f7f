//! Names of people and of the servers they live on (rule ID-1).

use core::fmt;
use core::str::FromStr;

use minicbor::decode::Error as DecodeError;
use minicbor::encode::{Error as EncodeError, Write};
use minicbor::{Decode, Decoder, Encode, Encoder};
use precis_profiles::UsernameCaseMapped;
use precis_profiles::precis_core::profile::Profile;

/// Bytes of a name at most.
pub const MAX_NAME: usize = 64;
/// Bytes of a domain at most.
pub const MAX_DOMAIN: usize = 253;

/// `name@domain`: a PRECIS UsernameCaseMapped name and a lower-case domain. Two users are the same exactly when
/// these texts are.
///
/// ```
/// use undertone_keys::UserId;
/// let user = UserId::parse("Ada", "localhost")?;
/// assert_eq!(user.to_string(), "ada@localhost");
/// # Ok::<(), undertone_keys::name::NameError>(())
/// ```
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct UserId {
    text: String,
    at: usize,
}

/// Why a text names nobody.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum NameError {
    /// Empty, over 64 bytes, or with characters a name cannot have.
    #[error("a name has 1 to 64 bytes of letters, digits and simple punctuation, without spaces or @")]
    Name,
    /// Empty, over 253 bytes, or no host name.
    #[error("a domain has 1 to 253 characters: letters, digits, dots and hyphens")]
    Domain,
}

impl UserId {
    /// Reads `name` or `name@domain`; a bare name is one on `home`.
    ///
    /// # Errors
    /// [`NameError`] says which half is wrong.
    pub fn parse(text: &str, home: &str) -> Result<Self, NameError> {
        match text.split_once('@') {
            Some((name, domain)) => Self::new(name, domain),
            None => Self::new(text, home),
        }
    }

    /// The user `name` of `domain`, both brought to their one form.
    ///
    /// # Errors
    /// [`NameError`] says which half is wrong.
    pub fn new(name: &str, domain: &str) -> Result<Self, NameError> {
        // PRECIS allows everything visible; a name must also survive a shell, a URL and a file.
        let shape = |c: char| c.is_ascii() && !c.is_ascii_alphanumeric() && !"._-+".contains(c);
        if name.is_empty() || name.len() > 4 * MAX_NAME || name.contains(shape) {
            return Err(NameError::Name);
        }
        let name = UsernameCaseMapped::new().enforce(name).map_err(|_| NameError::Name)?;
        if name.is_empty() || name.len() > MAX_NAME || name.contains(shape) || name.starts_with(['.', '-']) {
            return Err(NameError::Name);
        }
        let domain = domain.to_ascii_lowercase();
        let label = |l: &str| {
            (1..=63).contains(&l.len())
                && !l.starts_with('-')
                && !l.ends_with('-')
                && l.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-')
        };
        if domain.len() > MAX_DOMAIN || !domain.split('.').all(label) {
            return Err(NameError::Domain);
        }
        Ok(Self { at: name.len(), text: format!("{name}@{domain}") })
    }

    /// The whole text, `name@domain`.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.text
    }

    /// The part before the `@`.
    #[must_use]
    pub fn name(&self) -> &str {
        self.text.get(..self.at).unwrap_or_default()
    }

    /// The part behind the `@`.
    #[must_use]
    pub fn domain(&self) -> &str {
        self.text.get(self.at + 1..).unwrap_or_default()
    }

    /// The name for showing: one that mixes scripts comes with its code points, as it may look like another's.
    #[must_use]
    pub fn display(&self) -> String {
        if self.name().is_ascii() || !mixes_scripts(self.name()) {
            return self.text.clone();
        }
        let points: Vec<String> = self.name().chars().map(|c| format!("U+{:04X}", u32::from(c))).collect();
        format!("{} ({})", self.text, points.join(" "))
    }
}

/// Whether letters of more than one of the alphabets that are mistaken for each other stand together.
fn mixes_scripts(name: &str) -> bool {
    let script = |c: char| match u32::from(c) {
        _ if !c.is_alphabetic() => None,
        0x00..=0x024f | 0x1e00..=0x1eff => Some(0),
        0x0370..=0x03ff | 0x1f00..=0x1fff => Some(1),
        0x0400..=0x052f => Some(2),
        0x0530..=0x058f => Some(3),
        0x0590..=0x05ff => Some(4),
        0x0600..=0x06ff => Some(5),
        0x13a0..=0x13ff => Some(6),
        _ => Some(7),
    };
    let mut scripts = name.chars().filter_map(script);
    scripts.next().is_some_and(|first| scripts.any(|next| next != first))
}

impl FromStr for UserId {
    type Err = NameError;

    /// Reads the full form `name@domain`.
    fn from_str(text: &str) -> Result<Self, NameError> {
        Self::parse(text, "")
    }
}

impl fmt::Display for UserId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

impl fmt::Debug for UserId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "UserId({})", self.text)
    }
}

impl<C> Encode<C> for UserId {
    fn encode<W: Write>(&self, e: &mut Encoder<W>, _: &mut C) -> Result<(), EncodeError<W::Error>> {
        e.str(&self.text)?.ok()
    }
}

impl<'b, C> Decode<'b, C> for UserId {
    fn decode(d: &mut Decoder<'b>, _: &mut C) -> Result<Self, DecodeError> {
        d.str()?.parse().map_err(|_| DecodeError::message("not a user"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn id_1_one_user_has_one_name() {
        for (text, expected) in [
            ("ada", Ok("ada@localhost")),
            ("ADA", Ok("ada@localhost")),
            ("Ada@Example.ORG", Ok("ada@example.org")),
            ("\u{ff21}da", Ok("ada@localhost")),
            ("zo\u{65}\u{308}", Ok("zo\u{eb}@localhost")),
            ("", Err(NameError::Name)),
            ("a b", Err(NameError::Name)),
            ("a/b", Err(NameError::Name)),
            ("..", Err(NameError::Name)),
            ("-rf", Err(NameError::Name)),
            ("$(x)", Err(NameError::Name)),
            ("a%2fb", Err(NameError::Name)),
            ("a.b-c_d+e", Ok("a.b-c_d+e@localhost")),
            ("a\u{0}b", Err(NameError::Name)),
            ("ada@", Err(NameError::Domain)),
            ("ada@-x", Err(NameError::Domain)),
            ("ada@x@y", Err(NameError::Domain)),
            ("ada@x..y", Err(NameError::Domain)),
        ] {
            let parsed = UserId::parse(text, "localhost");
            assert_eq!(parsed.as_ref().map(UserId::as_str), expected.as_ref().copied(), "{text:?}");
        }
        assert!(UserId::parse(&"a".repeat(64), "x").is_ok());
        assert_eq!(UserId::parse(&"a".repeat(65), "x"), Err(NameError::Name));
    }

    #[test]
    fn id_1_mixed_scripts_show_their_code_points() {
        let shown = |name| UserId::parse(name, "x").map(|user| user.display());
        assert_eq!(shown("ada"), Ok("ada@x".into()));
        assert_eq!(shown("\u{430}\u{434}\u{430}"), Ok("\u{430}\u{434}\u{430}@x".into()));
        assert_eq!(shown("\u{430}da"), Ok("\u{430}da@x (U+0430 U+0064 U+0061)".into()));
    }
}
