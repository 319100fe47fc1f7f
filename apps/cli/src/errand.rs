//! Commands that a home's owner runs for another process (rule STO-1), and by the same way for itself.

mod owner;

use std::path::Path;
use std::time::Duration;

use tokio::time::{Instant, sleep};
use undertone_client::native::errand::{Errand, NoOwner, Owner, Reply};
use undertone_client::native::{Client, ClientError, HomeError};

pub(crate) use owner::{Errands, report};

use crate::arguments::{Audit, Command, Devices, Passphrase, Peer, UnlockOptions};
use crate::console::{Answers, Console};
use crate::output::Output;
use crate::{Done, account, audit, devices, passphrase, peer, room};

/// So long a process that finds its home taken waits for the other one to end, or to take errands.
const PATIENCE: Duration = Duration::from_secs(3);

/// A command as an errand, and how its questions are answered; `None` where a process must own the home for it.
pub(crate) fn of(command: &Command, home: &str) -> Option<(Errand, Answers)> {
    let unlocked = |errand, unlock: &UnlockOptions| Some((errand, Answers { yes: false, unlock: *unlock }));
    let plain = |errand| Some((errand, Answers::default()));
    match command {
        Command::Whoami => plain(Errand::Whoami),
        Command::Devices { command: None | Some(Devices::List) } => plain(Errand::Devices),
        Command::Devices { command: Some(command) } => match command {
            Devices::List => plain(Errand::Devices),
            Devices::Add { code, yes } => {
                let answers = Answers { yes: *yes, ..Answers::default() };
                Some((Errand::LetIn { code: code.clone() }, answers))
            }
            Devices::Rename { label, unlock } => unlocked(Errand::Rename { label: label.clone() }, unlock),
            Devices::Revoke { device, yes, unlock } => {
                let answers = Answers { yes: *yes, unlock: *unlock };
                Some((Errand::Revoke { device: device.clone() }, answers))
            }
            Devices::Keep { unlock } => unlocked(Errand::Keep, unlock),
            Devices::Accept { device } => plain(Errand::Accept { device: device.clone() }),
        },
        Command::Passphrase { command } => match command {
            Passphrase::Change { unlock } => unlocked(Errand::ChangePassphrase, unlock),
            Passphrase::Off { recovery_stdin } => unlocked(Errand::PassphraseOff, &by_recovery(*recovery_stdin)),
            Passphrase::On { recovery_stdin } => unlocked(Errand::PassphraseOn, &by_recovery(*recovery_stdin)),
        },
        Command::Peer { command } => plain(match command {
            Peer::Show { name, proof, save } => {
                let save = save.as_ref().map(|file| file.to_string_lossy().into_owned());
                Errand::ShowPeer { name: name.clone(), proof: *proof, save }
            }
            Peer::Trust { name, accept, refuse } => {
                let fingerprint = accept.as_ref().or(refuse.as_ref()).cloned().unwrap_or_default();
                Errand::TrustPeer { name: name.clone(), fingerprint, accept: accept.is_some() }
            }
            Peer::Verify { name, fingerprint } => {
                Errand::VerifyPeer { name: name.clone(), fingerprint: fingerprint.clone() }
            }
        }),
        Command::Room { command } => room::errand(command).and_then(plain),
        Command::Audit { command: Audit::Own } => plain(Errand::AuditSelf { home: home.to_owned() }),
        _ => None,
    }
}

const fn by_recovery(recovery_stdin: bool) -> UnlockOptions {
    UnlockOptions { passphrase_stdin: false, recovery: true, recovery_stdin }
}

/// Runs an errand in the process that owns the home.
pub(crate) async fn run(client: &Client, errand: &Errand, console: &Console) -> Result<Done, ClientError> {
    match errand {
        Errand::Whoami => account::whoami(client, console).await,
        Errand::Devices
        | Errand::LetIn { .. }
        | Errand::Accept { .. }
        | Errand::Rename { .. }
        | Errand::Revoke { .. }
        | Errand::Keep => devices::run(client, errand, console).await,
        Errand::ShowPeer { .. } | Errand::TrustPeer { .. } | Errand::VerifyPeer { .. } => {
            peer::run(client, errand, console).await
        }
        Errand::ExplainRoom { .. }
        | Errand::InviteToRoom { .. }
        | Errand::TurnAway { .. }
        | Errand::ShowRoom { .. } => room::run_errand(client, errand, console).await,
        Errand::AuditSelf { home } => audit::own(client, home, console).await,
        Errand::ChangePassphrase | Errand::PassphraseOff | Errand::PassphraseOn => {
            passphrase::run(client, errand, console).await
        }
    }
}

/// Opens the home for an errand, or has the process that owns it run it.
pub(crate) async fn open_or_ask(
    folder: &Path,
    (errand, answers): (&Errand, Answers),
    output: Output,
) -> Result<Result<Client, Done>, ClientError> {
    let end = Instant::now() + PATIENCE;
    loop {
        let taken = match Client::open(folder) {
            Err(HomeError::InUse(taken)) => taken,
            opened => return Ok(Ok(opened?)),
        };
        match Owner::find(folder).await {
            Ok(owner) => return ask(owner, errand, answers, output).await.map(Err),
            // It may have just begun, or be about to end.
            Err(NoOwner::Nobody) if Instant::now() < end => sleep(Duration::from_millis(100)).await,
            Err(why) => return Err(ClientError::Taken { home: taken, why }),
        }
    }
}

/// Has the owner run it, and lends it this process's terminal.
async fn ask(mut owner: Owner, errand: &Errand, answers: Answers, output: Output) -> Result<Done, ClientError> {
    let gone = |_| ClientError::OwnerGone;
    owner.send(&absolute(errand)).await.map_err(gone)?;
    loop {
        match owner.reply().await.map_err(gone)? {
            Reply::Shown { object, text } => output.shown(&object, &text),
            Reply::Asked { question } => owner.answer(&answers.give(&question)?).await.map_err(gone)?,
            Reply::Done { code } => return Ok(Done::Code(code)),
            Reply::Failed { code, word, message } => {
                output.failure(&word, &message);
                return Ok(Done::Code(code));
            }
        }
    }
}

/// The owner has a working folder of its own.
fn absolute(errand: &Errand) -> Errand {
    match errand {
        Errand::ShowPeer { name, proof, save: Some(file) } => {
            let path = std::path::absolute(file).map(|path| path.to_string_lossy().into_owned());
            Errand::ShowPeer { name: name.clone(), proof: *proof, save: Some(path.unwrap_or_else(|_| file.clone())) }
        }
        errand => errand.clone(),
    }
}
