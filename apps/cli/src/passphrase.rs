//! `passphrase change|off|on` (rule ID-6).

use serde_json::json;
use undertone_client::native::errand::Errand;
use undertone_client::native::{Client, ClientError};

use crate::Done;
use crate::console::Console;
use crate::secrets::Typed;

pub(crate) async fn run(client: &Client, errand: &Errand, console: &Console) -> Result<Done, ClientError> {
    let (event, text) = match errand {
        Errand::PassphraseOff => {
            let typed = console.unlock(true).await?;
            let Typed::Recovery(key, _) = &typed else { return Err(ClientError::NotMeant) };
            client.switch_passphrase_off(key).await?;
            let text = "The passphrase is switched off: the server keeps nothing of it, and the recovery key alone opens your account. \
                        Your devices go on as before. `undertone passphrase on` sets one again.";
            ("passphrase_off", text)
        }
        errand => {
            let on = *errand == Errand::PassphraseOn;
            let typed = console.unlock(on).await?;
            let new = console.new_passphrase().await?;
            client.set_passphrase(typed.unlock(), &new).await?;
            if on {
                ("passphrase_on", "The new passphrase opens your account from now on, and the recovery key as ever.")
            } else {
                (
                    "passphrase_changed",
                    "The new passphrase opens your account from now on, and the one before does not.",
                )
            }
        }
    };
    let user = client.whoami()?.address.user;
    console.result(&json!({ "event": event, "user": user.as_str() }), text).await;
    Ok(Done::Well)
}
