//! Where a command talks with whoever typed it: on this process's own terminal, or on that of a process that found this home taken.

use std::sync::{Mutex as SyncMutex, PoisonError};

use serde_json::Value;
use tokio::sync::Mutex;
use undertone_client::RecoveryKey;
use undertone_client::native::ClientError;
use undertone_client::native::errand::{Answer, Caller, Question, Reply};
use undertone_client::secret::SecretBytes;

use crate::arguments::UnlockOptions;
use crate::output::Output;
use crate::secrets::{self, Typed};

/// How this process's terminal answers: from the options that were typed, from stdin, or by asking a person.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Answers {
    /// It was said already that it is meant.
    pub(crate) yes: bool,
    /// Where passphrase and recovery key come from.
    pub(crate) unlock: UnlockOptions,
}

impl Answers {
    /// Answers one question.
    pub(crate) fn give(self, question: &Question) -> Result<Answer, ClientError> {
        let UnlockOptions { passphrase_stdin, recovery, recovery_stdin } = self.unlock;
        match question {
            Question::Meant { question, word } => secrets::confirm(self.yes, question, word).map(|()| Answer::Yes),
            Question::Unlock { recovery: only } if *only || recovery || recovery_stdin => {
                secrets::recovery_text(recovery_stdin).map(Answer::Recovery)
            }
            Question::Unlock { .. } => secrets::passphrase(passphrase_stdin).map(Answer::Passphrase),
            Question::NewPassphrase => {
                secrets::new_passphrase(passphrase_stdin || recovery_stdin).map(Answer::Passphrase)
            }
        }
    }
}

/// Where a command talks with whoever typed it.
pub(crate) enum Console {
    /// Here.
    Here(Output, Answers),
    /// At a process that came with an errand.
    There(Mutex<Caller>, Shown),
}

/// What was shown last at a process that came with an errand.
pub(crate) type Shown = SyncMutex<Option<(Value, String)>>;

impl Console {
    pub(crate) fn there(caller: Caller) -> Self {
        Self::There(Mutex::new(caller), SyncMutex::default())
    }

    /// One result: an object for programs, text for people. Whoever went away does not want to know.
    pub(crate) async fn result(&self, object: &Value, text: &str) {
        match self {
            Self::Here(output, _) => output.result(object, text),
            Self::There(caller, shown) => {
                let reply = Reply::Shown { object: object.to_string(), text: text.to_owned() };
                *shown.lock().unwrap_or_else(PoisonError::into_inner) = Some((object.clone(), text.to_owned()));
                let _ = caller.lock().await.tell(&reply).await;
            }
        }
    }

    /// What was shown last, if that was not here.
    pub(crate) fn shown(&self) -> Option<(Value, String)> {
        match self {
            Self::Here(..) => None,
            Self::There(_, shown) => shown.lock().unwrap_or_else(PoisonError::into_inner).take(),
        }
    }

    /// Whether something is meant: nothing but `word` says so.
    pub(crate) async fn confirm(&self, question: String, word: &str) -> Result<(), ClientError> {
        match self.ask(Question::Meant { question, word: word.to_owned() }).await? {
            Answer::Yes => Ok(()),
            Answer::Passphrase(_) | Answer::Recovery(_) => Err(ClientError::NotMeant),
        }
    }

    /// What opens the account; with `recovery` nothing but the recovery key.
    pub(crate) async fn unlock(&self, recovery: bool) -> Result<Typed, ClientError> {
        match self.ask(Question::Unlock { recovery }).await? {
            Answer::Passphrase(passphrase) if !recovery => Ok(Typed::Passphrase(passphrase)),
            Answer::Recovery(text) => {
                // What is no text is no key either.
                let text = std::str::from_utf8(text.as_slice()).unwrap_or_default();
                Ok(Typed::Recovery(RecoveryKey::parse(text)?, None))
            }
            Answer::Passphrase(_) | Answer::Yes => Err(ClientError::NotMeant),
        }
    }

    /// A new passphrase.
    pub(crate) async fn new_passphrase(&self) -> Result<SecretBytes, ClientError> {
        match self.ask(Question::NewPassphrase).await? {
            Answer::Passphrase(passphrase) => Ok(passphrase),
            Answer::Recovery(_) | Answer::Yes => Err(ClientError::NotMeant),
        }
    }

    async fn ask(&self, question: Question) -> Result<Answer, ClientError> {
        match self {
            Self::Here(_, answers) => answers.give(&question),
            // Whoever hangs up at a question has said no.
            Self::There(caller, _) => caller.lock().await.ask(question).await.map_err(|_| ClientError::NotMeant),
        }
    }

    /// The last word to a process that came with an errand.
    pub(crate) async fn end(&self, reply: &Reply) {
        if let Self::There(caller, _) = self {
            let _ = caller.lock().await.tell(reply).await;
        }
    }
}
