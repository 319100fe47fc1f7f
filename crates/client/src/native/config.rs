//! What a person decides for a device by a file in its home: `config.toml`.
//!
//! ```toml
//! [witnesses]
//! need = 2             # how many of them have to have cosigned the directory's log
//! required = false     # whether nothing begins where fewer have
//! keys = ["witness.example.org+1f0c5a7e+BA..."]
//! ```

use std::io::ErrorKind;
use std::ops::Range;
use std::path::{Path, PathBuf};

use serde::Deserialize;
use toml::Spanned;
use undertone_transparency::note::{BadVerifierKey, WitnessKey};
use undertone_transparency::policy::{BadPolicy, Witnesses};

/// The file's name.
const FILE: &str = "config.toml";

/// What the file says.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct ClientConfig {
    /// Which witnesses of the directory's log are relied on, how many, and whether nothing begins without them (rule KT-2).
    pub witnesses: Witnesses,
}

/// A file that cannot be used, and where.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{}{}: {fault}", path.display(), line.map_or_else(String::new, |line| format!(", line {line}")))]
pub struct ConfigError {
    /// Which file.
    pub path: PathBuf,
    /// The line, counted from 1.
    pub line: Option<usize>,
    /// What is wrong there.
    pub fault: ConfigFault,
}

/// What can be wrong with the file.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum ConfigFault {
    /// It cannot be read.
    #[error("it cannot be read: {0}")]
    Unreadable(ErrorKind),
    /// It is no TOML, or says something that is not understood.
    #[error("{0}")]
    Syntax(String),
    /// Not a witness's key.
    #[error("that is no witness's key, such as `undertone-server witness` prints: {0}")]
    Key(BadVerifierKey),
    /// The witnesses cannot be relied on in that way.
    #[error(transparent)]
    Policy(BadPolicy),
    /// It would ask for no witness.
    #[error("`required = true` with `need = 0` requires nothing: say how many")]
    NeedsNone,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct File {
    witnesses: Option<Spanned<Section>>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Section {
    need: Spanned<usize>,
    #[serde(default)]
    required: bool,
    keys: Vec<Spanned<String>>,
}

impl ClientConfig {
    /// Relies on no witness.
    #[must_use]
    pub const fn none() -> Self {
        Self { witnesses: Witnesses::none() }
    }

    /// Reads the file in a home's folder. Where there is none, nothing was decided.
    ///
    /// # Errors
    /// [`ConfigError`] names the file, and the line if it is one.
    pub fn read(folder: &Path) -> Result<Self, ConfigError> {
        let path = folder.join(FILE);
        match std::fs::read_to_string(&path) {
            Ok(text) => Self::parse(&text).map_err(|(place, fault)| {
                // The line that the place is in: as many as were ended before it, and one.
                let line = place.map(|place| text.bytes().take(place.start).filter(|byte| *byte == b'\n').count() + 1);
                ConfigError { path, line, fault }
            }),
            Err(error) if error.kind() == ErrorKind::NotFound => Ok(Self::none()),
            Err(error) => Err(ConfigError { path, line: None, fault: ConfigFault::Unreadable(error.kind()) }),
        }
    }

    fn parse(text: &str) -> Result<Self, (Option<Range<usize>>, ConfigFault)> {
        let file: File =
            toml::from_str(text).map_err(|error| (error.span(), ConfigFault::Syntax(error.message().to_owned())))?;
        let Some(section) = file.witnesses else { return Ok(Self::none()) };
        let place = Some(section.span());
        let Section { need, required, keys } = section.into_inner();
        if required && *need.get_ref() == 0 {
            return Err((Some(need.span()), ConfigFault::NeedsNone));
        }
        let key = |key: &Spanned<String>| {
            key.get_ref().parse::<WitnessKey>().map_err(|bad| (Some(key.span()), ConfigFault::Key(bad)))
        };
        let keys = keys.iter().map(key).collect::<Result<Vec<_>, _>>()?;
        let witnesses = Witnesses::new(*need.get_ref(), keys).map_err(|bad| {
            let place = if bad == BadPolicy::Threshold { Some(need.span()) } else { place };
            (place, ConfigFault::Policy(bad))
        })?;
        Ok(Self { witnesses: if required { witnesses.insisting() } else { witnesses } })
    }
}

#[cfg(test)]
mod tests {
    use undertone_keys::sign::{SigningKey, Witness};
    use undertone_keys::testing::SeededRng;

    use super::*;

    fn key(name: &str, seed: u64) -> String {
        let key = SigningKey::<Witness>::generate(&mut SeededRng::new(seed));
        WitnessKey::new(name.parse().unwrap(), *key.public()).to_string()
    }

    fn read(text: &str) -> Result<ClientConfig, ConfigError> {
        let folder = std::env::temp_dir().join(format!("undertone-config-{}", std::process::id()));
        std::fs::create_dir_all(&folder).unwrap();
        std::fs::write(folder.join(FILE), text).unwrap();
        let read = ClientConfig::read(&folder);
        std::fs::remove_dir_all(folder).unwrap();
        read
    }

    #[test]
    fn kt_2_a_file_says_which_witnesses_and_how_many_and_every_mistake_has_its_line() {
        let (w, x) = (key("w.example.org", 1), key("x.example.org", 2));
        let two = read(&format!("[witnesses]\nneed = 2\nkeys = [\n  {w:?},\n  {x:?},\n]\n")).unwrap();
        assert_eq!((two.witnesses.threshold(), two.witnesses.keys().len(), two.witnesses.insists()), (2, 2, false));
        assert!(read(&format!("[witnesses]\nneed = 1\nrequired = true\nkeys = [{w:?}]")).unwrap().witnesses.insists());
        assert_eq!(read("# nothing\n"), Ok(ClientConfig::none()));
        assert_eq!(ClientConfig::read(Path::new("/nowhere")), Ok(ClientConfig::none()));

        let fails = |text: &str, line: usize| {
            let error = read(text).unwrap_err();
            assert_eq!(error.line, Some(line), "{error}");
            assert!(error.to_string().contains("config.toml, line "), "{error}");
            error.fault
        };
        let threshold = fails(&format!("[witnesses]\nneed = 3\nkeys = [{w:?}, {x:?}]"), 2);
        assert_eq!(threshold, ConfigFault::Policy(BadPolicy::Threshold));
        let twice = fails(&format!("\n[witnesses]\nneed = 1\nkeys = [{w:?}, {w:?}]"), 2);
        assert_eq!(twice, ConfigFault::Policy(BadPolicy::Twice));
        assert!(matches!(
            fails(&format!("[witnesses]\nneed = 1\nkeys = [\n{w:?},\n\"w\",\n]"), 5),
            ConfigFault::Key(_)
        ));
        let none = fails(&format!("[witnesses]\nneed = 0\nrequired = true\nkeys = [{w:?}]"), 2);
        assert_eq!(none, ConfigFault::NeedsNone);
        assert!(matches!(fails("[witnesses]\nneeds = 1\nkeys = []", 2), ConfigFault::Syntax(_)));
        assert!(matches!(fails("[witnesses]\nneed = [", 2), ConfigFault::Syntax(_)));
    }
}
