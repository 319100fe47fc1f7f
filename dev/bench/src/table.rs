//! Figures beside what they are measured against.

use std::fmt;

use serde_json::{Value, json};

#[derive(Debug)]
struct Row {
    what: String,
    found: String,
    against: String,
    aim: Option<Aim>,
    met: Option<bool>,
    left_out: bool,
}

/// What a figure should be.
#[derive(Clone, Copy, Debug)]
enum Aim {
    AtMost(f64),
    AtLeast(f64),
}

impl fmt::Display for Aim {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::AtMost(aim) => write!(f, "aim <= {aim}"),
            Self::AtLeast(aim) => write!(f, "aim >= {aim}"),
        }
    }
}

/// What was measured.
#[derive(Debug, Default)]
pub(crate) struct Table {
    rows: Vec<Row>,
}

impl Table {
    pub(crate) fn row(&mut self, what: &str, found: String, against: &str, aim: Option<f64>, met: Option<bool>) {
        self.push(what, found, against, aim.map(Aim::AtMost), met);
    }

    fn push(&mut self, what: &str, found: String, against: &str, aim: Option<Aim>, met: Option<bool>) {
        self.rows.push(Row { what: what.into(), found, against: against.into(), aim, met, left_out: false });
    }

    pub(crate) fn fact(&mut self, what: &str, found: String, against: &str) {
        self.row(what, found, against, None, None);
    }

    /// `ours` beside `theirs`, as a ratio with the most it should be.
    pub(crate) fn ratio(&mut self, what: &str, ours: f64, theirs: f64, unit: &str, peer: &str, aim: Option<f64>) {
        let ratio = ours / theirs;
        let found = format!("{ours:.2} {unit} = {ratio:.2} x");
        self.row(what, found, &format!("{peer}, {theirs:.2} {unit}"), aim, aim.map(|aim| ratio <= aim));
    }

    /// The same with the least it should be, of what is the better the more there is of it.
    pub(crate) fn rate(&mut self, what: &str, ours: f64, theirs: f64, unit: &str, peer: &str, aim: Option<f64>) {
        let ratio = ours / theirs;
        let found = format!("{ours:.0} {unit} = {ratio:.2} x");
        let met = aim.map(|aim| ratio >= aim);
        self.push(what, found, &format!("{peer}, {theirs:.0} {unit}"), aim.map(Aim::AtLeast), met);
    }

    /// A figure that has a limit of its own, and no peer.
    pub(crate) fn limit(&mut self, what: &str, found: f64, unit: &str, against: &str, aim: f64) {
        self.row(what, format!("{found:.1} {unit}"), against, Some(aim), Some(found <= aim));
    }

    /// What is not measured, and why: a table that only says what there is would look like all there is.
    pub(crate) fn left_out(&mut self, what: &str, reason: &str) {
        let found = format!("left out: {reason}");
        self.rows.push(Row { what: what.into(), found, against: String::new(), aim: None, met: None, left_out: true });
    }

    pub(crate) fn to_json(&self) -> Value {
        let rows = self.rows.iter().map(|row| {
            let (most, least) = match row.aim {
                Some(Aim::AtMost(aim)) => (Some(aim), None),
                Some(Aim::AtLeast(aim)) => (None, Some(aim)),
                None => (None, None),
            };
            json!({
                "what": row.what, "found": row.found, "against": row.against, "aim": most, "aim_at_least": least,
                "met": row.met, "left_out": row.left_out,
            })
        });
        rows.collect()
    }
}

impl fmt::Display for Table {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let width = |pick: fn(&Row) -> &String| self.rows.iter().map(|row| pick(row).len()).max().unwrap_or_default();
        let (first, second, third) = (width(|row| &row.what), width(|row| &row.found), width(|row| &row.against));
        for row in &self.rows {
            let aim = row.aim.map_or_else(String::new, |aim| aim.to_string());
            let met = match row.met {
                Some(true) => "met",
                Some(false) => "MISSED",
                None => "",
            };
            writeln!(f, "{:first$}  {:second$}  {:third$}  {aim:11}  {met}", row.what, row.found, row.against)?;
        }
        let missed = self.rows.iter().filter(|row| row.met == Some(false)).count();
        let left_out = self.rows.iter().filter(|row| row.left_out).count();
        write!(f, "\n{} figures, {missed} aims missed, {left_out} left out", self.rows.len() - left_out)
    }
}
