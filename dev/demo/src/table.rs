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

    /// Two scenes in one table, row by row where they have rows of the same name.
    pub(crate) fn beside(self, title: &str, other: Self) -> Beside {
        Beside { title: title.into(), left: self, right: other }
    }

    /// How many rows it has so far.
    pub(crate) const fn rows(&self) -> usize {
        self.rows.len()
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
            let mark = mark(*holds);
            writeln!(f, "{what:first$}  {found:second$}  {mark}")?;
        }
        Ok(())
    }
}

/// Two tables next to each other.
#[derive(Debug)]
pub(crate) struct Beside {
    title: String,
    left: Table,
    right: Table,
}

impl Beside {
    pub(crate) fn holds(&self) -> bool {
        self.left.holds() && self.right.holds()
    }

    /// What there is to say about, in the order of the first, then what only the second has.
    fn rows(&self) -> Vec<[String; 3]> {
        let found = |table: &Table, what: &str| {
            let row = table.rows.iter().find(|row| row.0 == what);
            row.map_or_else(String::new, |(_, found, holds)| format!("{found}  {}", mark(*holds)).trim_end().to_owned())
        };
        let mut names: Vec<&str> = Vec::new();
        for (name, ..) in self.left.rows.iter().chain(&self.right.rows) {
            if !names.contains(&name.as_str()) {
                names.push(name);
            }
        }
        let row = |name: &&str| [(*name).to_owned(), found(&self.left, name), found(&self.right, name)];
        std::iter::once([String::new(), self.left.title.clone(), self.right.title.clone()])
            .chain(names.iter().map(row))
            .collect()
    }
}

impl fmt::Display for Beside {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let rows = self.rows();
        let width = |column: usize| {
            rows.iter().filter_map(|row| row.get(column)).map(|cell| cell.chars().count()).max().unwrap_or_default()
        };
        let widths = [width(0), width(1), width(2)];
        writeln!(f, "\n{}\n{}", self.title, "-".repeat(widths.iter().sum::<usize>() + 4))?;
        for [name, left, right] in &rows {
            let line = format!("{name:a$}  {left:b$}  {right}", a = widths[0], b = widths[1]);
            writeln!(f, "{}", line.trim_end())?;
        }
        Ok(())
    }
}

const fn mark(holds: Option<bool>) -> &'static str {
    match holds {
        Some(true) => "holds",
        Some(false) => "FAILS",
        None => "",
    }
}
