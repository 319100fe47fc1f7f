//! The code of a new device: as text, and as a QR code on a terminal (rule ID-6).

use qrcode::render::unicode::Dense1x2;
use qrcode::{EcLevel, QrCode};
use serde_json::json;

use crate::output::Output;

/// What stands before the code in a QR code.
const SCHEME: &str = "undertone:pair/";

/// Shows a new device's code to its owner.
pub(crate) fn show(code: &str, user: &str, output: Output) {
    let content = format!("{SCHEME}{code}");
    let text = format!(
        "This device waits to be let in. On a device of {user} that is there already, run\n\n  undertone devices add {code}\n\n\
         It waits for ten minutes. Are they all lost? End this with Ctrl-C, and add --alone: that revokes them."
    );
    output.event(&json!({ "event": "pairing", "code": code, "qr": content }), &text);
    if let Some(picture) = picture(&content) {
        output.picture(&picture);
    }
}

/// What was typed or scanned, without the scheme.
pub(crate) fn bare(text: &str) -> &str {
    let text = text.trim();
    let scheme = text.get(..SCHEME.len()).is_some_and(|start| start.eq_ignore_ascii_case(SCHEME));
    if scheme { text.get(SCHEME.len()..).unwrap_or_default() } else { text }
}

/// Half blocks, two modules in each: dark ones drawn, with the margin that scanners want.
fn picture(content: &str) -> Option<String> {
    let code = QrCode::with_error_correction_level(content.as_bytes(), EcLevel::L).ok()?;
    Some(code.render::<Dense1x2>().quiet_zone(true).build())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_code_is_read_with_its_scheme_and_without() {
        for text in ["7K3M-Q2ZD", " 7K3M-Q2ZD\n", "undertone:pair/7K3M-Q2ZD", "UNDERTONE:PAIR/7K3M-Q2ZD"] {
            assert_eq!(bare(text), "7K3M-Q2ZD");
        }
        assert_eq!((bare(""), bare("\u{1f600}"), bare("undertone:pair/")), ("", "\u{1f600}", ""));
    }

    #[test]
    fn a_code_fits_on_a_terminal() {
        let picture = picture("undertone:pair/7K3M-Q2ZD-7K3M-Q2ZD-7K3M-Q2ZD-7K3M-Q2ZD").unwrap();
        let (lines, columns) = (picture.lines().count(), picture.lines().map(|line| line.chars().count()).max());
        assert!(lines <= 23 && columns <= Some(45), "{lines} lines of {columns:?}");
    }
}
