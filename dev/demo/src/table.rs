//! A table of claims.

use std::fmt;

/// What was found, and whether it is as it should be.
#[derive(Debug, Default)]
pub(crate) struct Table {
    title: String,
    rows: Vec<(String, String, Option<bool>)>,
}

impl Table {
    pub(crate) fn new(title: &str) -> Self {
        Self { title: title.into(), rows: Vec::new() }
    }

    /// A claim that holds or does not.
    pub(crate) fn claim(&mut self, what: &str, found: impl fmt::Display, holds: bool) {
        self.rows.push((what.into(), found.to_string(), Some(holds)));
    }

    /// Something to know.
    pub(crate) fn fact(&mut self, what: &str, found: impl fmt::Display) {
        self.rows.push((what.into(), found.to_string(), None));
    }

    pub(crate) fn holds(&self) -> bool {
        self.rows.iter().all(|(_, _, holds)| *holds != Some(false))
    }
}

impl fmt::Display for Table {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let width = |pick: fn(&(String, String, Option<bool>)) -> &String| {
            self.rows.iter().map(|row| pick(row).chars().count()).max().unwrap_or_default()
        };
        let (first, second) = (width(|row| &row.0), width(|row| &row.1));
        writeln!(f, "\n{}\n{}", self.title, "-".repeat(first + second + 12))?;
        for (what, found, holds) in &self.rows {
            let mark = match holds {
                Some(true) => "holds",
                Some(false) => "FAILS",
                None => "",
            };
            writeln!(f, "{what:first$}  {found:second$}  {mark}")?;
        }
        Ok(())
    }
}
