//! Words for people, lines of JSON for programs.

use std::io::{IsTerminal, Write};

use serde_json::{Value, json};

/// Where a command's results go.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Output {
    json: bool,
}

impl Output {
    pub(crate) const fn new(json: bool) -> Self {
        Self { json }
    }

    pub(crate) const fn is_json(self) -> bool {
        self.json
    }

    /// One result: an object for programs, text for people.
    pub(crate) fn result(self, object: &Value, text: &str) {
        if self.json {
            line(&object.to_string());
        } else {
            line(&wrapped(text, width()));
        }
    }

    /// One result of another process: one line for programs, text for people.
    pub(crate) fn shown(self, object: &str, text: &str) {
        line(&if self.json { object.to_owned() } else { wrapped(text, width()) });
    }

    /// One event: an object for programs, and for people a line on stderr, if there is one for them.
    pub(crate) fn event(self, object: &Value, text: &str) {
        if self.json {
            line(&object.to_string());
        } else if !text.is_empty() {
            // A terminal in raw mode goes down and not to the left by itself.
            let end = if std::io::stderr().is_terminal() { "\r\n" } else { "\n" };
            wrapped(text, width()).lines().for_each(|line| eprint!("{line}{end}"));
        }
    }

    /// A picture of blocks for people: black on white whatever the terminal's colours are, and only where it fits.
    pub(crate) fn picture(self, picture: &str) {
        let columns = picture.lines().map(|line| line.chars().count()).max().unwrap_or_default();
        let fits = crossterm::terminal::size().is_ok_and(|(width, _)| usize::from(width) > columns + 2);
        if self.json || !std::io::stderr().is_terminal() || !fits {
            return;
        }
        eprintln!();
        picture.lines().for_each(|line| eprintln!("  \u{1b}[38;5;16;48;5;231m{line}\u{1b}[0m"));
        eprintln!();
    }

    /// Why a command failed.
    pub(crate) fn failure(self, word: &str, text: &str) {
        if self.json {
            line(&json!({ "event": "error", "error": word, "message": text }).to_string());
        }
        eprintln!("{}", wrapped(&format!("undertone: {text}"), width()));
    }
}

/// Columns of the terminal that people look at; whatever is no terminal has no end.
fn width() -> usize {
    let looked_at = std::io::stderr().is_terminal() && std::io::stdout().is_terminal();
    let columns = looked_at.then(|| crossterm::terminal::size().ok()).flatten();
    columns.map_or(usize::MAX, |(columns, _)| usize::from(columns).max(40))
}

/// Breaks lines between words. A line's indentation is kept, and what is longer than the terminal stays whole.
fn wrapped(text: &str, width: usize) -> String {
    let mut out = String::with_capacity(text.len() + 16);
    for (number, line) in text.lines().enumerate() {
        if number > 0 {
            out.push('\n');
        }
        if line.chars().count() < width {
            out.push_str(line);
            continue;
        }
        let indent: String = line.chars().take_while(|c| *c == ' ').collect();
        out.push_str(&indent);
        let mut column = indent.len();
        for (place, word) in line.split_whitespace().enumerate() {
            let length = word.chars().count();
            if place > 0 {
                if column + 1 + length >= width {
                    out.push('\n');
                    out.push_str(&indent);
                    column = indent.len();
                } else {
                    out.push(' ');
                    column += 1;
                }
            }
            out.push_str(word);
            column += length;
        }
    }
    out
}

/// One line on stdout. Whoever closed it does not want to know.
fn line(text: &str) {
    let _ = writeln!(std::io::stdout(), "{text}");
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_break_between_words_and_keep_their_indentation() {
        assert_eq!(wrapped("short", 40), "short");
        let text = "a line that is longer than this narrow terminal\n  and one that is set in by two columns, too";
        let broken = wrapped(text, 30);
        assert!(broken.lines().all(|line| line.len() < 30), "{broken}");
        assert_eq!(broken.lines().filter(|line| line.starts_with("  ")).count(), 2);
        assert_eq!(broken.split_whitespace().collect::<Vec<_>>(), text.split_whitespace().collect::<Vec<_>>());
        let key = "d3fb3-ea5be-2c7ce-ed1d5-b893f-b126d-32427-f336a";
        assert_eq!(wrapped(&format!("key {key}"), 40), format!("key\n{key}"));
    }
}
