//! `undertone-server`: serve, and what an operator needs around it.
#![allow(clippy::print_stdout, clippy::print_stderr, reason = "a command line talks to people")]

mod raida_command;

use std::net::SocketAddr;
use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;

use anyhow::{Context, bail};
use clap::{Args, Parser, Subcommand};
use getrandom::SysRng;
use rand_core::UnwrapErr;
use tokio::signal::unix::{SignalKind, signal};
use tokio_util::sync::CancellationToken;
use tracing_subscriber::EnvFilter;
use undertone_keys::AccessToken;
use undertone_keys::digest::sha256;
use undertone_server::doctor::Finding;
use undertone_server::signal::wall_time;
use undertone_server::store::{Accounts, Devices, Sqlite};
use undertone_server::witness::{LogAddress, Options, Report, Watch};
use undertone_server::{Config, Server, StartError};
use undertone_transparency::note::LogKey;

/// The Undertone server: accounts, signalling and the relay behind one port.
#[derive(Debug, Parser)]
#[command(version, after_help = EXAMPLES)]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

const EXAMPLES: &str = "Examples:
  undertone-server serve
      Serve on 127.0.0.1:4433; anybody on this machine may register.
  undertone-server serve --listen 0.0.0.0:4433 --domain calls.example.org --data /var/lib/undertone
      Serve everybody; people register with an invite token.
  undertone-server admin invite --data /var/lib/undertone
      Print an invite token, good for one account.
  undertone-server witness --log https://calls.example.org:4433 --log-key VKEY --key witness.key
      Watch that server's key directory, and cosign its log as long as it never lies.
  undertone-server raida serve --raida 14 --data /var/lib/raida --listen 0.0.0.0:50014
      Serve node 14 of a swarm that makes secrets for calls.
  undertone-server doctor --data /var/lib/undertone --listen 0.0.0.0:4433
      Look at everything a server needs, and say what to do about what is amiss.

Exit codes: 0 done, 1 failed, 2 wrong usage.
Logging goes to stderr; RUST_LOG=debug shows more.";

#[derive(Debug, Subcommand)]
enum Command {
    /// Serve until told to stop (SIGINT or SIGTERM).
    Serve(Serve),
    /// Look at everything a server needs, and say what to do about what is amiss.
    Doctor(Serve),
    /// Watch another server's key directory, and cosign its log as long as it never lies.
    #[command(after_help = "Example:
  undertone-server witness --log https://calls.example.org:4433 --log-key VKEY --key witness.key

VKEY is what `undertone-server admin log-key` prints; have it from its operator and not from the log. The witness's own key is
printed at its start: its operator puts it under `witnesses` in the server's configuration.")]
    Witness(WitnessOptions),
    /// A node of the RAIDA key exchange: serve it, and work on its coins.
    Raida {
        #[command(subcommand)]
        command: raida_command::Raida,
    },
    /// What an operator does besides.
    Admin {
        #[command(subcommand)]
        command: Admin,
    },
}

#[derive(Debug, Args)]
struct Serve {
    /// Configuration file (TOML). Options on the command line win.
    #[arg(long, value_name = "FILE")]
    config: Option<PathBuf>,
    /// Where everything is kept [default: undertone-data].
    #[arg(long, value_name = "DIR")]
    data: Option<PathBuf>,
    /// One port, for TCP and UDP; port 0 takes a free one [default: 127.0.0.1:4433].
    #[arg(long, value_name = "ADDR:PORT")]
    listen: Option<SocketAddr>,
    /// The domain users live on; fixed at the first start [default: localhost].
    #[arg(long)]
    domain: Option<String>,
    /// Write every packet the relay takes to this file: for showing that none of them opens.
    #[arg(long, value_name = "FILE")]
    tap: Option<PathBuf>,
    /// Serve counts in Prometheus' format at http://ADDR:PORT/metrics; a loopback address.
    #[arg(long, value_name = "ADDR:PORT")]
    metrics: Option<SocketAddr>,
    /// Print JSON: `serve` its ready line, `doctor` an object for each thing it looked at.
    #[arg(long)]
    json: bool,
}

#[derive(Debug, Subcommand)]
enum Admin {
    /// Print the key of the key directory's log, for witnesses and auditors.
    LogKey {
        /// The server's data folder.
        #[arg(long, value_name = "DIR", default_value = "undertone-data")]
        data: PathBuf,
        /// Print JSON.
        #[arg(long)]
        json: bool,
    },
    /// Make an invite token, good for one account.
    Invite {
        /// The server's data folder.
        #[arg(long, value_name = "DIR", default_value = "undertone-data")]
        data: PathBuf,
        /// Print JSON.
        #[arg(long)]
        json: bool,
    },
    /// Make a token with which an account begins anew whose owner has lost passphrase, recovery key and devices.
    #[command(after_help = "Example:
  undertone-server admin anew ada --data /var/lib/undertone

The token is good for a week and for this account alone; a second one takes the place of the first. Make sure that you know whom you
give it to: whoever has it becomes `ada`, with another account key. Everybody who knows her is shown that, and where one of her
devices may still act it takes 72 hours, in which that device can keep the account (`undertone devices keep`).")]
    Anew {
        /// The account's name, bare or in full.
        name: String,
        /// The server's data folder.
        #[arg(long, value_name = "DIR", default_value = "undertone-data")]
        data: PathBuf,
        /// Print JSON.
        #[arg(long)]
        json: bool,
    },
}

/// Beside a running server as well: what is asked for is the same for ever.
fn log_key(data: &std::path::Path, json: bool) -> anyhow::Result<()> {
    let key = undertone_server::data::log_key(data)?.to_string();
    if json {
        println!("{}", serde_json::json!({ "log_key": key }))
    } else {
        println!("{key}")
    }
    Ok(())
}

fn main() -> ExitCode {
    let cli = Cli::parse();
    let filter = EnvFilter::try_from_default_env().unwrap_or_else(|_| EnvFilter::new("info,sqlx=warn,akd=warn"));
    // Where the log itself finds no room, nothing can be said of that; saying it all the same would end the thread.
    let log = tracing_subscriber::fmt().with_env_filter(filter).with_writer(std::io::stderr);
    log.log_internal_errors(false).init();
    let result = tokio::runtime::Runtime::new().map_err(anyhow::Error::from).and_then(|runtime| {
        let result = runtime.block_on(run(cli.command));
        runtime.shutdown_timeout(undertone_server::running::STOP_TIMEOUT);
        result
    });
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("undertone-server: {error:#}");
            ExitCode::FAILURE
        }
    }
}

async fn run(command: Command) -> anyhow::Result<()> {
    match command {
        Command::Serve(options) => serve(options).await,
        Command::Doctor(options) => doctor(&options).await,
        Command::Witness(options) => witness(options).await,
        Command::Raida { command } => raida_command::run(command).await,
        Command::Admin { command: Admin::Invite { data, json } } => invite(&data, json).await,
        Command::Admin { command: Admin::Anew { name, data, json } } => anew(&name, &data, json).await,
        Command::Admin { command: Admin::LogKey { data, json } } => log_key(&data, json),
    }
}

fn configuration(options: &Serve) -> anyhow::Result<Config> {
    let mut config = match &options.config {
        None => Config::default(),
        Some(path) => {
            let text = std::fs::read_to_string(path).with_context(|| format!("cannot read {}", path.display()))?;
            toml::from_str(&text).with_context(|| format!("{} is not a configuration", path.display()))?
        }
    };
    config.data = options.data.clone().unwrap_or(config.data);
    config.listen = options.listen.unwrap_or(config.listen);
    config.domain = options.domain.clone().or(config.domain).map(|domain| domain.to_ascii_lowercase());
    config.tap = options.tap.clone().or(config.tap);
    config.metrics = options.metrics.or(config.metrics);
    if let Some(domain) = config.domain.as_deref().filter(|d| undertone_keys::UserId::new("somebody", d).is_err()) {
        bail!("{domain:?} is no domain: letters, digits, dots and hyphens");
    }
    Ok(config)
}

async fn serve(options: Serve) -> anyhow::Result<()> {
    let config = configuration(&options)?;
    undertone_server::files::open_as_many_as_allowed();
    // A file that may not grow (SIGXFSZ, 25 wherever this runs) is an error of the write; without a listener the signal would
    // end the process.
    let _too_large = signal(SignalKind::from_raw(25))?;
    let (mut interrupt, mut terminate) = (signal(SignalKind::interrupt())?, signal(SignalKind::terminate())?);
    let server = match Server::start(&config).await {
        Err(StartError::Listen { address, source }) if source.kind() == std::io::ErrorKind::AddrInUse => {
            bail!(
                "port {} is taken: stop what uses it, or choose another with --listen {}:PORT",
                address.port(),
                address.ip()
            )
        }
        result => result?,
    };
    let (address, fingerprint) = (server.address(), server.identity().fingerprint());
    if options.json {
        let ready = serde_json::json!({
            "event": "ready", "address": address.to_string(), "domain": server.domain(), "key": fingerprint,
            "data": config.data.display().to_string(), "metrics": server.metrics().map(|at| at.to_string()),
        });
        println!("{ready}");
    } else {
        println!("ready: https://{address}  domain {}  server key {fingerprint}", server.domain());
    }
    let broken = tokio::select! {
        _ = interrupt.recv() => false,
        _ = terminate.recv() => false,
        () = server.broken() => true,
    };
    server.stop().await;
    if broken {
        bail!("the relay ended by itself, and the server with it: start it again, and report what was logged before");
    }
    Ok(())
}

async fn doctor(options: &Serve) -> anyhow::Result<()> {
    let findings = undertone_server::doctor::examine(&configuration(options)?).await;
    report(&findings, options.json)
}

/// Prints what was looked at. An error where something is amiss.
fn report(findings: &[Finding], json: bool) -> anyhow::Result<()> {
    for finding in findings {
        if json {
            let object = serde_json::json!({ "what": finding.what, "good": finding.good, "seen": finding.seen });
            println!("{object}");
        } else {
            let mark = if finding.good { "good " } else { "amiss" };
            println!("{mark}  {:12}  {}", finding.what, finding.seen);
        }
    }
    let amiss = findings.iter().filter(|finding| !finding.good).count();
    if !json {
        println!("{} looked at, {amiss} amiss", findings.len());
    }
    if amiss > 0 {
        bail!("something is amiss");
    }
    Ok(())
}

async fn accounts(data: &std::path::Path) -> anyhow::Result<Sqlite> {
    let database = data.join("undertone.db");
    if !database.exists() {
        bail!("there is no server in {}: start one there first, or name its folder with --data", data.display());
    }
    Ok(Sqlite::open(&database).await?)
}

/// A token of 32 characters, 128 bits.
fn token() -> String {
    let mut token = AccessToken::random(&mut UnwrapErr(SysRng)).to_text();
    token.truncate(32);
    token
}

async fn anew(name: &str, data: &std::path::Path, json: bool) -> anyhow::Result<()> {
    let store = accounts(data).await?;
    let user = undertone_keys::UserId::parse(name, &undertone_server::data::domain(data)?)
        .with_context(|| format!("{name:?} is no name"))?;
    if store.account(&user).await?.is_none() {
        bail!("nobody has the name {} here: see how it is written", user.display());
    }
    let token = token();
    store.add_anew(sha256(&[token.as_bytes()]), &user, wall_time()).await?;
    store.close().await;
    if json {
        println!("{}", serde_json::json!({ "anew": token, "user": user.to_string() }))
    } else {
        println!("{token}")
    }
    Ok(())
}

async fn invite(data: &std::path::Path, json: bool) -> anyhow::Result<()> {
    let store = accounts(data).await?;
    let token = token();
    store.add_invite(sha256(&[token.as_bytes()]), wall_time()).await?;
    store.close().await;
    if json {
        println!("{}", serde_json::json!({ "invite": token }));
    } else {
        println!("{token}");
    }
    Ok(())
}

/// What a witness is told.
#[derive(Debug, Args)]
struct WitnessOptions {
    /// Where the log is served.
    #[arg(long, value_name = "https://HOST:PORT")]
    log: LogAddress,
    /// The log's verifier key, name+id+key; from its operator, not from the log.
    #[arg(long, value_name = "VKEY")]
    log_key: LogKey,
    /// The file of the witness's own key; made if it is not there.
    #[arg(long, value_name = "FILE")]
    key: PathBuf,
    /// The witness's name; it belongs to the key for ever [default: made of the key].
    #[arg(long)]
    name: Option<String>,
    /// What the witness knows, and evidence if it finds any [default: the key file's name with .state behind it].
    #[arg(long, value_name = "DIR")]
    state: Option<PathBuf>,
    /// How often to look: seconds, or with s, m or h behind the number.
    #[arg(long, value_name = "TIME", default_value = "60s", value_parser = every)]
    every: Duration,
    /// Look once; the exit code is 0 when the newest checkpoint is cosigned.
    #[arg(long)]
    once: bool,
    /// Print a JSON object for each line.
    #[arg(long)]
    json: bool,
}

/// A time between looks: a second to a day.
fn every(text: &str) -> Result<Duration, &'static str> {
    let digits = text.trim_end_matches(|c: char| c.is_ascii_alphabetic());
    let unit = match text.get(digits.len()..) {
        Some("" | "s") => Some(1),
        Some("m") => Some(60),
        Some("h") => Some(3_600),
        _ => None,
    };
    let seconds = digits.parse::<u64>().ok().zip(unit).and_then(|(number, unit)| number.checked_mul(unit));
    let seconds = seconds.filter(|seconds| (1..=86_400).contains(seconds));
    seconds.map(Duration::from_secs).ok_or("a time such as 60s, 5m or 1h, a day at most")
}

async fn witness(options: WitnessOptions) -> anyhow::Result<()> {
    let WitnessOptions { log, log_key, key, name, state, every, once, json } = options;
    let options = Options { log, log_key, key, name, state, every, clock: wall_time };
    let mut watch = Watch::open(&options, &mut UnwrapErr(SysRng))?;
    let mut print = |report: &Report| {
        if json {
            println!("{}", serde_json::to_string(report).unwrap_or_default());
        } else {
            println!("{report}");
        }
    };
    print(&watch.ready());
    if once {
        return if watch.look(&mut print).await? { Ok(()) } else { bail!("the newest checkpoint is not cosigned") };
    }
    let (mut interrupt, mut terminate) = (signal(SignalKind::interrupt())?, signal(SignalKind::terminate())?);
    let stop = CancellationToken::new();
    let mut run = std::pin::pin!(watch.run(&stop, &mut print));
    loop {
        tokio::select! {
            ended = &mut run => return Ok(ended?),
            _ = interrupt.recv() => stop.cancel(),
            _ = terminate.recv() => stop.cancel(),
        }
    }
}
