//! Words for people, lines of JSON for programs.

use std::io::Write;

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
            line(text);
        }
    }

    /// One event: an object for programs, and for people a line on stderr, if there is one for them.
    pub(crate) fn event(self, object: &Value, text: &str) {
        if self.json {
            line(&object.to_string());
        } else if !text.is_empty() {
            eprintln!("{text}");
        }
    }

    /// Why a command failed.
    pub(crate) fn failure(self, word: &str, text: &str) {
        if self.json {
            line(&json!({ "event": "error", "error": word, "message": text }).to_string());
        }
        eprintln!("undertone: {text}");
    }
}

/// One line on stdout. Whoever closed it does not want to know.
fn line(text: &str) {
    let _ = writeln!(std::io::stdout(), "{text}");
}
