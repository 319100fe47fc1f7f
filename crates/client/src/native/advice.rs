//! What to do about each word by which a server refuses.

use undertone_protocol::rest::code;

/// The next step for a person; `None` for words of a later version.
pub(super) fn of(word: &str) -> Option<&'static str> {
    Some(match word {
        code::BAD_REQUEST => {
            "Are program and server of the same version? `undertone --version` says which this one is."
        }
        code::NAME_TAKEN => {
            "If the name is yours, `undertone login NAME` adds this device to it. Whoever has lost passphrase, recovery key and \
             devices can ask the operator for a token and begin anew with `undertone register NAME --anew -`."
        }
        code::OTHER_DOMAIN => "Leave out what stands behind the @, or name that server with --server.",
        code::INVITE => "The operator makes a token with `undertone-server admin invite`; each is good once.",
        code::WRONG_CREDENTIALS => {
            "Where the passphrase is lost or switched off, --recovery takes the recovery key instead."
        }
        code::UNAUTHORIZED => {
            "This device was logged out, or another of the account's devices has revoked it. `undertone logout` clears this home; \
             `undertone login NAME` makes it a new device then."
        }
        code::UNKNOWN_USER => "Is the name spelled right?",
        code::EXCHANGE_OVER => "It took too long: run it again.",
        code::BAD_LIST => {
            "Others may have changed the devices at the same moment: look at `undertone devices`, and run it again."
        }
        code::ANNOUNCED => {
            "If it was not you who announced it, `undertone devices keep` takes it back, with the passphrase or the recovery key."
        }
        code::UNKNOWN_ROOM => "`undertone room list` shows the rooms you may come into.",
        code::RIGHTS => {
            "Whoever made the room can give you that role: `undertone room invite ROOM NAME --role moderator`."
        }
        code::BAD_ACCESS => "Others may have changed the room at the same moment: run it again.",
        code::NO_TREE => "The room's keys have moved on meanwhile: run it again.",
        code::TOO_MANY_KEY_PACKAGES => "Those that are there are used up or expire by themselves: wait until then.",
        code::PROTECTION => "Leave out `--protection hop`: everybody can have blind calls and rooms.",
        code::TOO_MANY => "Wait for a minute.",
        code::TOO_MANY_CHANGES => "Waiting does not help: `--recovery` has more places, and revoking always goes on.",
        code::UNAVAILABLE => "Try again in a while; if it stays so, the operator has `undertone-server doctor`.",
        _ => return None,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_word_of_a_server_has_its_advice() {
        // The words as they are declared, so that a new one is not forgotten here.
        let declared = include_str!("../../../protocol/src/rest/mod.rs");
        let words = declared.lines().filter_map(|line| line.trim().strip_prefix("pub const ")?.split('"').nth(1));
        let words: Vec<&str> = words.collect();
        assert!(words.len() >= 15, "{words:?}");
        for word in words {
            assert!(of(word).is_some_and(|advice| advice.ends_with('.') || advice.ends_with('?')), "{word}");
        }
        assert_eq!(of("a word of a later version"), None);
    }
}
