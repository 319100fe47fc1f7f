//! What a person calls a device, and what others see of it: text that hides nothing.
//!
//! A label is its owner's to choose, and is read by everybody who looks at their devices. Characters that are not seen, or that turn
//! the text around, would let one label look like another, or like words of the program.

use core::fmt::Write;
use std::borrow::Cow;

/// Whether a character is not seen for itself: controls, everything of the general categories Cf, Zl and Zp (Unicode 16), and letters
/// and marks that are drawn as nothing.
#[must_use]
pub fn is_hidden(c: char) -> bool {
    c.is_control()
        || matches!(c,
            // Cf: format characters, among them all that turn the direction of writing.
            '\u{ad}' | '\u{600}'..='\u{605}' | '\u{61c}' | '\u{6dd}' | '\u{70f}' | '\u{890}'..='\u{891}' | '\u{8e2}'
            | '\u{180e}' | '\u{200b}'..='\u{200f}' | '\u{202a}'..='\u{202e}' | '\u{2060}'..='\u{206f}' | '\u{feff}'
            | '\u{fff0}'..='\u{fffb}' | '\u{110bd}' | '\u{110cd}' | '\u{13430}'..='\u{1343f}' | '\u{1bca0}'..='\u{1bca3}'
            | '\u{1d173}'..='\u{1d17a}' | '\u{e0000}'..='\u{e0fff}'
            // Zl and Zp.
            | '\u{2028}' | '\u{2029}'
            // Drawn as nothing: a joiner, fillers, Khmer vowels, Mongolian selectors.
            | '\u{34f}' | '\u{115f}' | '\u{1160}' | '\u{17b4}' | '\u{17b5}' | '\u{180b}'..='\u{180d}' | '\u{180f}' | '\u{3164}'
            | '\u{ffa0}')
}

/// Whether a label hides nothing. A new one has to be so; an old one may not be, and is shown by [`shown`].
#[must_use]
pub fn is_plain(label: &str) -> bool {
    !label.contains(is_hidden)
}

/// A label as it is shown: what is hidden stands there by its number, `\u{202e}`.
#[must_use]
pub fn shown(label: &str) -> Cow<'_, str> {
    if is_plain(label) {
        return Cow::Borrowed(label);
    }
    let mut out = String::with_capacity(label.len() + 16);
    for c in label.chars() {
        if is_hidden(c) {
            // Writing to a string cannot fail.
            let _ = write!(out, "\\u{{{:x}}}", u32::from(c));
        } else {
            out.push(c);
        }
    }
    Cow::Owned(out)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn id_2_a_label_is_shown_with_what_it_hides() {
        for label in ["laptop", "Zo\u{eb}s alte Kiste", "\u{6d4b}\u{8bd5}", "\u{1f4f1}", "\u{2764}\u{fe0f}", "a\\b"] {
            assert!(is_plain(label) && matches!(shown(label), Cow::Borrowed(_)), "{label:?}");
        }
        for hidden in [
            '\u{202e}',
            '\u{2066}',
            '\u{200b}',
            '\u{200d}',
            '\u{200f}',
            '\u{feff}',
            '\u{2028}',
            '\u{2029}',
            '\u{ad}',
            '\u{61c}',
            '\u{e0041}',
            '\u{2060}',
            '\u{3164}',
            '\u{7}',
            '\u{1b}',
            '\u{9b}',
        ] {
            assert!(is_hidden(hidden), "{hidden:?}");
            let label = format!("lap{hidden}top");
            assert!(!is_plain(&label));
            assert_eq!(shown(&label), format!("lap\\u{{{:x}}}top", u32::from(hidden)));
            assert!(is_plain(&shown(&label)));
        }
    }
}
