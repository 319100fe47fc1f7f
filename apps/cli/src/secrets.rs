//! What only its owner knows: passphrases, recovery keys and PINs, from a terminal or from stdin, never from the arguments.

use std::io::{IsTerminal, Write};

use undertone_client::RecoveryKey;
use undertone_client::native::{ClientError, HomeError, MIN_PASSPHRASE, Pins, Unlock};
use undertone_client::secret::SecretBytes;

fn io(source: std::io::Error) -> ClientError {
    HomeError::Io { path: "passphrase".into(), source }.into()
}

/// One line of stdin, without its end.
fn line() -> std::io::Result<SecretBytes> {
    let mut line = String::with_capacity(4096);
    std::io::stdin().read_line(&mut line)?;
    line.truncate(line.trim_end_matches(['\r', '\n']).len());
    Ok(SecretBytes::new(line.into_bytes()))
}

fn typed(prompt: &str) -> Result<SecretBytes, ClientError> {
    if !std::io::stdin().is_terminal() {
        return Err(ClientError::NoTerminal);
    }
    Ok(SecretBytes::new(rpassword::prompt_password(prompt).map_err(io)?.into_bytes()))
}

/// The passphrase of an account that is there.
pub(crate) fn passphrase(stdin: bool) -> Result<SecretBytes, ClientError> {
    if stdin { line().map_err(io) } else { typed("Passphrase: ") }
}

/// A new passphrase: typed twice, or from a line of stdin.
pub(crate) fn new_passphrase(stdin: bool) -> Result<SecretBytes, ClientError> {
    if stdin {
        return line().map_err(io);
    }
    let first = typed("New passphrase (8 characters or more, four random words are good): ")?;
    if first.as_slice().len() < MIN_PASSPHRASE {
        return Err(ClientError::ShortPassphrase);
    }
    let again = typed("The same once more: ")?;
    if first.as_slice() == again.as_slice() { Ok(first) } else { Err(ClientError::PassphrasesDiffer) }
}

/// The recovery key, as it is typed.
pub(crate) fn recovery_text(stdin: bool) -> Result<SecretBytes, ClientError> {
    if stdin { line().map_err(io) } else { typed("Recovery key: ") }
}

/// The recovery key, in any case and spacing.
pub(crate) fn recovery_key(stdin: bool) -> Result<RecoveryKey, ClientError> {
    let text = recovery_text(stdin)?;
    // What is no text is no key either.
    let text = std::str::from_utf8(text.as_slice()).unwrap_or_default();
    Ok(RecoveryKey::parse(text)?)
}

/// A token that somebody was handed: where it comes from was said with `option`, and the environment has it in `variable`.
pub(crate) fn token(
    option: &'static str,
    said: Option<&str>,
    variable: &str,
    plain: bool,
) -> Result<Option<SecretBytes>, ClientError> {
    let of_the_environment = || std::env::var(variable).ok().filter(|token| !token.is_empty()).map(String::into_bytes);
    let asked = || if std::io::stdin().is_terminal() { typed("Token: ") } else { line().map_err(io) };
    match said {
        None => Ok(None),
        Some("") => of_the_environment().map(SecretBytes::new).map_or_else(asked, Ok).map(Some),
        Some("-") => asked().map(Some),
        Some(said) => match said.strip_prefix('@') {
            Some(file) => std::fs::read(file)
                .map(|bytes| Some(SecretBytes::new(bytes)))
                .map_err(|source| HomeError::Io { path: file.into(), source }.into()),
            None if plain => {
                eprintln!(
                    "undertone: a token on the command line can be read by everybody on this machine; use `{option} -`, \
                     `{option} @FILE` or {variable}"
                );
                Ok(Some(SecretBytes::new(said.as_bytes().to_vec())))
            }
            None => Err(ClientError::TokenSeen(option)),
        },
    }
}

/// A token as text, without what stands around it.
pub(crate) fn token_text(token: Option<&SecretBytes>) -> Option<&str> {
    token.map(|token| std::str::from_utf8(token.as_slice()).unwrap_or_default().trim())
}

/// What opens the account key, as it was typed.
pub(crate) enum Typed {
    Passphrase(SecretBytes),
    Recovery(RecoveryKey, Option<SecretBytes>),
}

impl Typed {
    pub(crate) const fn unlock(&self) -> Unlock<'_> {
        match self {
            Self::Passphrase(passphrase) => Unlock::Passphrase(passphrase),
            Self::Recovery(key, passphrase) => Unlock::Recovery { key, passphrase: passphrase.as_ref() },
        }
    }
}

/// Where there is nobody to ask, whether it is meant must have been said.
pub(crate) fn must_be_asked(said: bool) -> Result<(), ClientError> {
    if said || std::io::stdin().is_terminal() { Ok(()) } else { Err(ClientError::Unconfirmed) }
}

/// Asks whether something is meant, unless that was said already; nothing but this word says so.
pub(crate) fn confirm(said: bool, question: &str, word: &str) -> Result<(), ClientError> {
    must_be_asked(said)?;
    if said {
        return Ok(());
    }
    eprint!("{question} ");
    let _ = std::io::stderr().flush();
    let mut answer = String::new();
    std::io::stdin().read_line(&mut answer).map_err(io)?;
    let answer = answer.trim().to_lowercase();
    if !answer.is_empty() && (answer == word || (word == "y" && answer == "yes")) {
        Ok(())
    } else {
        Err(ClientError::NotMeant)
    }
}

/// Asks for PINs on the terminal, or takes them from stdin.
#[derive(Debug)]
pub(crate) struct PinPrompt {
    pub(crate) stdin: bool,
}

impl Pins for PinPrompt {
    fn pin(&self, token: &str) -> Option<SecretBytes> {
        if self.stdin {
            return line().ok().filter(|pin| !pin.as_slice().is_empty());
        }
        typed(&format!("PIN of the token {token:?}: ")).ok()
    }
}
