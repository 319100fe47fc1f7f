//! `undertone`: calls from a terminal.
#![cfg_attr(
    test,
    allow(
        clippy::unwrap_used,
        clippy::expect_used,
        clippy::panic,
        clippy::indexing_slicing,
        reason = "a test may fail"
    )
)]
#![allow(clippy::print_stdout, clippy::print_stderr, reason = "a command line talks to people")]

mod account;
mod arguments;
mod audit;
mod bench;
mod call;
mod console;
mod conversation;
mod devices;
mod errand;
mod live;
mod output;
mod pairing;
mod passphrase;
mod peer;
mod proof;
mod raida;
mod room;
mod secrets;

use std::process::ExitCode;

use clap::Parser;
use tokio::signal::unix::{SignalKind, signal};
use tracing_subscriber::EnvFilter;
use undertone_client::native::{Client, ClientError, ExitClass};
use undertone_client::trust::TrustError;

use crate::arguments::{Audit, Cli, Command};
use crate::console::Console;
use crate::output::Output;

/// How a command ended, other than by an error of the client's.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Done {
    /// Exit code 0.
    Well,
    /// Exit code 1: what was said already is all there is to say.
    Badly,
    /// Exit code 3: a person has to say something about what was shown.
    Undecided,
    /// Exit code 4: a proof was checked, and fails.
    Faulty,
    /// As the process that owns the home said.
    Code(u8),
}

/// The exit code of a command that said all it had to say.
const fn run_code(done: Done) -> u8 {
    match done {
        Done::Well => 0,
        Done::Badly => 1,
        Done::Undecided => 3,
        Done::Faulty => 4,
        Done::Code(code) => code,
    }
}

/// The exit code of a command that failed, the word for programs and the sentence for people.
fn failure(error: &ClientError) -> (u8, &'static str, String) {
    let (code, word) = match error.class() {
        ExitClass::Failed => (1, "failed"),
        ExitClass::Usage => (2, "usage"),
        ExitClass::PeerChanged => (3, "peer_changed"),
        ExitClass::ProofFailed => (4, "proof_failed"),
        ExitClass::Unreachable => (5, "unreachable"),
    };
    (code, word, advice(error))
}

fn main() -> ExitCode {
    let cli = Cli::parse();
    let filter = EnvFilter::try_from_default_env().unwrap_or_else(|_| EnvFilter::new("off"));
    tracing_subscriber::fmt().with_env_filter(filter).with_writer(std::io::stderr).init();
    let output = Output::new(cli.json);
    let runtime = match tokio::runtime::Runtime::new() {
        Ok(runtime) => runtime,
        Err(error) => {
            output.failure("runtime", &error.to_string());
            return ExitCode::FAILURE;
        }
    };
    let result = runtime.block_on(async {
        // A file that may not grow (SIGXFSZ, 25 wherever this runs) is an error of the write; without a listener the signal
        // would end the program before it could say so.
        let _too_large = signal(SignalKind::from_raw(25));
        run(&cli, &output).await
    });
    runtime.shutdown_timeout(std::time::Duration::from_millis(200));
    match result {
        Ok(done) => ExitCode::from(run_code(done)),
        Err(error) => {
            let (code, word, message) = failure(&error);
            output.failure(word, &message);
            ExitCode::from(code)
        }
    }
}

/// The error's own words, and what to run next where there is something.
fn advice(error: &ClientError) -> String {
    match error {
        ClientError::Trust(changed) => trust_advice(changed),
        ClientError::Unreachable { .. } => format!("{error}\nIs the server running? Start one with `make run`."),
        _ => match error.advice() {
            Some(advice) => format!("{error}\n{advice}"),
            None => error.to_string(),
        },
    }
}

/// Words for peers that are not trusted.
fn trust_advice(error: &TrustError) -> String {
    match error {
        TrustError::Changed { user, new, .. } | TrustError::Refused { user, new } => format!(
            "{error}\nEither {} lost all devices and began anew, or somebody stands between you. Ask them by another \
             way. If the new key is theirs: undertone peer trust {user} --accept {}",
            user.display(),
            new.fingerprint()
        ),
        _ => error.to_string(),
    }
}

async fn run(cli: &Cli, output: &Output) -> Result<Done, ClientError> {
    match cli.command {
        Command::Completions { shell } => {
            arguments::completions(shell);
            return Ok(Done::Well);
        }
        Command::Sound => {
            conversation::list(output);
            return Ok(Done::Well);
        }
        Command::Audit { command: Audit::Evidence { ref file } } => return audit::evidence(file, output),
        _ => {}
    }
    let pins = std::sync::Arc::new(secrets::PinPrompt { stdin: cli.pin_stdin });
    if let Some((errand, answers)) = errand::of(&cli.command, &cli.home_words()) {
        return match errand::open_or_ask(&cli.home(), (&errand, answers), *output).await? {
            Ok(client) => errand::run(&client.with_pins(pins), &errand, &Console::Here(*output, answers)).await,
            Err(done) => Ok(done),
        };
    }
    let client = Client::open(&cli.home())?.with_pins(pins);
    match &cli.command {
        Command::Register(options) => account::register(&client, options, &cli.home_words(), output).await,
        Command::Login(options) => account::login(&client, options, output).await,
        Command::Logout => account::logout(&client, output).await,
        Command::Call(options) => call::call(&client, options, output).await,
        Command::Answer(options) => call::answer(&client, options, output).await,
        Command::Room { command } => room::run(&client, command, output).await,
        Command::Raida { command } => raida::run(&client, command, output).await,
        Command::Doctor => account::doctor(&client, output).await,
        Command::Bench => bench::bench(&client, output).await,
        Command::Audit { command: Audit::Log { from_start, server } } => {
            audit::log(&client, server.as_deref(), *from_start, output).await
        }
        // These were seen to before.
        Command::Completions { .. }
        | Command::Sound
        | Command::Whoami
        | Command::Devices { .. }
        | Command::Passphrase { .. }
        | Command::Peer { .. }
        | Command::Audit { command: Audit::Evidence { .. } | Audit::Own } => Ok(Done::Well),
    }
}
