//! `undertone-server raida`: what its arguments are and what it prints.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::{Duration, Instant};

use anyhow::{Context, bail};
use clap::{Args, Subcommand};
use tokio::signal::unix::{SignalKind, signal};
use undertone_raida::coin::Denomination;
use undertone_raida::node::coins::{Coins, Progress};
use undertone_server::raida::{self, RaidaConfig, RaidaProfile, SwarmConfig, SwarmServing};
use undertone_server::signal::wall_time;

#[derive(Debug, Subcommand)]
pub(crate) enum Raida {
    /// Serve a node until told to stop (SIGINT or SIGTERM).
    #[command(after_help = "Example:
  undertone-server raida serve --raida 14 --data /var/lib/raida --listen 0.0.0.0:50014

One port, UDP and TCP. The profile `strict` is the default; `compat` in the configuration serves peers that need the protocol as it is
documented, and lets anybody take coins over: docs/spec/raida.md has the differences.")]
    Serve(Options),
    /// Look at everything a node needs, and say what to do about what is amiss; a node that runs is not disturbed.
    Doctor(Options),
    /// Serve all nodes of a swarm in one process, for trying out and for demonstrations.
    #[command(after_help = "Example:
  undertone-server raida swarm --data swarm --wallets 2
  undertone raida enrol --swarm swarm/swarm.toml --keys swarm/wallets/1.keys

Nodes in one process are one operator's, who could put every secret together: what a quorum is for takes nodes of people who do not answer
to each other. Give each account the swarm's description and one wallet, and remove the wallet's file when it was enrolled.")]
    Swarm(SwarmOptions),
    /// Issue, take over and look at coins, while the node does not run.
    Coins {
        #[command(subcommand)]
        command: CoinsCommand,
    },
}

#[derive(Debug, Args)]
pub(crate) struct Options {
    /// Configuration file (TOML). Options on the command line win.
    #[arg(long, value_name = "FILE")]
    config: Option<PathBuf>,
    /// Which of the 25 nodes: 0 to 24 [default: 0].
    #[arg(long, value_name = "N")]
    raida: Option<u8>,
    /// Where everything is kept [default: undertone-raida].
    #[arg(long, value_name = "DIR")]
    data: Option<PathBuf>,
    /// One port, for TCP and UDP; port 0 takes a free one [default: 127.0.0.1:50000].
    #[arg(long, value_name = "ADDR:PORT")]
    listen: Option<SocketAddr>,
    /// Print JSON.
    #[arg(long)]
    json: bool,
}

#[derive(Debug, Args)]
pub(crate) struct SwarmOptions {
    /// Configuration file (TOML) of each node; its number, folder and address are the swarm's.
    #[arg(long, value_name = "FILE")]
    config: Option<PathBuf>,
    /// Where everything is kept.
    #[arg(long, value_name = "DIR", default_value = "undertone-swarm")]
    data: PathBuf,
    /// How many nodes.
    #[arg(long, default_value_t = 25, value_parser = clap::value_parser!(u8).range(2..=25))]
    nodes: u8,
    /// How many of them make a secret [default: about two thirds, of 25 nodes 17].
    #[arg(long, value_name = "K")]
    threshold: Option<u8>,
    /// The first node's address, for TCP and UDP; the others have the ports behind it, and with port 0 free ones.
    #[arg(long, value_name = "ADDR:PORT", default_value = "127.0.0.1:50000")]
    listen: SocketAddr,
    /// The address that clients reach the nodes at, where they do not listen on it.
    #[arg(long, value_name = "ADDR")]
    public: Option<std::net::IpAddr>,
    /// How many wallets to make, each for one account.
    #[arg(long, value_name = "N", default_value_t = 2)]
    wallets: u32,
    /// Print JSON.
    #[arg(long)]
    json: bool,
}

#[derive(Debug, Subcommand)]
pub(crate) enum CoinsCommand {
    /// Issue free coins; their keys are appended to a file that its owner alone can read.
    #[command(after_help = "Example:
  undertone-server raida coins create --raida 14 --data /var/lib/raida --count 3 --keys three.keys

A line of the file is `<coin> <node> <key>`. Hand it to whom the coins are for, and remove it.")]
    Create {
        #[command(flatten)]
        options: Options,
        /// How many.
        #[arg(long, default_value_t = 1)]
        count: usize,
        /// Of which power of ten, -8 to 6.
        #[arg(long, default_value_t = 0, allow_negative_numbers = true, value_parser = clap::value_parser!(i8).range(-8..=6))]
        denomination: i8,
        /// From which serial number on.
        #[arg(long, default_value_t = 0)]
        first: u32,
        /// The file that their keys are appended to.
        #[arg(long, value_name = "FILE")]
        keys: PathBuf,
    },
    /// Take over the coins of pages that are laid out as this store's, such as those of another node.
    Import {
        #[command(flatten)]
        options: Options,
        /// The folder that has the pages, such as `Data`.
        #[arg(long, value_name = "DIR")]
        from: PathBuf,
    },
    /// Look at every page, the journal and the node's own coins, and change nothing.
    Check(Options),
    /// How many coins are in use.
    Stats(Options),
}

fn from_file(path: Option<&PathBuf>) -> anyhow::Result<RaidaConfig> {
    let Some(path) = path else { return Ok(RaidaConfig::default()) };
    let text = std::fs::read_to_string(path).with_context(|| format!("cannot read {}", path.display()))?;
    toml::from_str(&text).with_context(|| format!("{} is not a node's configuration", path.display()))
}

fn configuration(options: &Options) -> anyhow::Result<RaidaConfig> {
    let mut config = from_file(options.config.as_ref())?;
    config.raida = options.raida.unwrap_or(config.raida);
    config.data = options.data.clone().unwrap_or(config.data);
    config.listen = options.listen.unwrap_or(config.listen);
    config.check()?;
    Ok(config)
}

/// How long a start says nothing: a small store is there at once, and needs no line for each step.
const QUIET: Duration = Duration::from_millis(500);

/// Says how far a start is.
fn tell(what: &'static str) -> impl Fn(Progress) + Sync {
    let begun = Instant::now();
    move |progress| {
        let Progress { done, of } = progress;
        match begun.elapsed() > QUIET {
            true => tracing::info!(done, of, "{what}"),
            false => tracing::debug!(done, of, "{what}"),
        }
    }
}

const OF_A_NODE: &str = "reading which coins are in use, by denominations";
const OF_A_SWARM: &str = "reading which coins are in use, by nodes";

/// Of a node that is there: a folder that was mistyped has no coins, and that is no answer.
fn existing(options: &Options) -> anyhow::Result<RaidaConfig> {
    let config = configuration(options)?;
    if !config.data.join("Data").is_dir() {
        bail!("there is no coin store in {}: name a node's folder with --data", config.data.display());
    }
    Ok(config)
}

fn open(config: RaidaConfig) -> anyhow::Result<(RaidaConfig, Coins)> {
    let (coins, recovered) = raida::open(&config, tell(OF_A_NODE))?;
    if recovered.pages > 0 {
        tracing::warn!(pages = recovered.pages, "pages were mended from the journal");
    }
    Ok((config, coins))
}

pub(crate) async fn run(command: Raida) -> anyhow::Result<()> {
    match command {
        Raida::Serve(options) => serve(options).await,
        Raida::Doctor(options) => {
            let findings = raida::doctor::examine(&configuration(&options)?);
            crate::report(&findings, options.json)
        }
        Raida::Swarm(options) => swarm(options).await,
        Raida::Coins { command } => coins(command),
    }
}

async fn serve(options: Options) -> anyhow::Result<()> {
    let config = configuration(&options)?;
    undertone_server::files::open_as_many_as_allowed();
    // A file that may not grow is an error of the write and not the end of the process, as for the server.
    let _too_large = signal(SignalKind::from_raw(25))?;
    let (mut interrupt, mut terminate) = (signal(SignalKind::interrupt())?, signal(SignalKind::terminate())?);
    let (serving, recovered) = raida::serve(&config, tell(OF_A_NODE))?;
    if recovered.pages > 0 {
        tracing::warn!(pages = recovered.pages, "pages were mended from the journal");
    }
    let profile = if config.profile == RaidaProfile::Strict { "strict" } else { "compat" };
    if profile == "compat" {
        tracing::warn!("the profile is `compat`: whoever reaches this node can take coins over");
    }
    let (address, used) = (serving.address(), serving.node().coins().stats().used);
    if options.json {
        let ready = serde_json::json!({
            "event": "ready", "raida": config.raida, "address": address.to_string(), "profile": profile, "coins": used,
            "data": config.data.display().to_string(), "mended": recovered.pages,
        });
        println!("{ready}");
    } else {
        println!("ready: node {} at {address}, udp and tcp  profile {profile}  {used} coins in use", config.raida);
    }
    tokio::select! {
        _ = interrupt.recv() => {}
        _ = terminate.recv() => {}
    }
    tokio::task::spawn_blocking(move || serving.stop()).await??;
    Ok(())
}

async fn swarm(options: SwarmOptions) -> anyhow::Result<()> {
    let node = RaidaConfig { data: options.data.clone(), ..from_file(options.config.as_ref())? };
    node.check()?;
    if node.profile == RaidaProfile::Compat {
        tracing::warn!("the profile is `compat`: whoever reaches these nodes can take coins over");
    }
    let SwarmOptions { nodes, threshold, listen, public, wallets, json, .. } = options;
    let config = SwarmConfig { nodes, threshold, listen, public, wallets, node };
    undertone_server::files::open_as_many_as_allowed();
    let _too_large = signal(SignalKind::from_raw(25))?;
    let (mut interrupt, mut terminate) = (signal(SignalKind::interrupt())?, signal(SignalKind::terminate())?);
    let serving = tokio::task::spawn_blocking(move || SwarmServing::start(&config, tell(OF_A_SWARM))).await??;
    let (swarm, file) = (&serving.swarm, serving.file.display());
    if json {
        let nodes: Vec<_> = swarm.nodes().iter().map(|node| node.address.to_string()).collect();
        let wallets: Vec<_> = serving.wallets.iter().map(|path| path.display().to_string()).collect();
        let ready = serde_json::json!({
            "event": "ready", "swarm": swarm.id().to_string(), "file": file.to_string(), "threshold": swarm.threshold(),
            "nodes": nodes, "wallets": wallets,
        });
        println!("{ready}");
    } else {
        println!("ready: {} nodes, any {} of which make a secret  {file}", swarm.nodes().len(), swarm.threshold());
        for wallet in &serving.wallets {
            println!("  for one account: undertone raida enrol --swarm {file} --keys {}", wallet.display());
        }
    }
    tokio::select! {
        _ = interrupt.recv() => {}
        _ = terminate.recv() => {}
    }
    tokio::task::spawn_blocking(move || serving.stop()).await??;
    Ok(())
}

fn coins(command: CoinsCommand) -> anyhow::Result<()> {
    match command {
        CoinsCommand::Create { options, count, denomination, first, keys } => {
            let (config, coins) = open(configuration(&options)?)?;
            let denomination = Denomination::new(denomination).context("a power of ten, -8 to 6")?;
            let created =
                raida::create(&coins, config.raida, denomination, first, count, &keys, wall_time().as_unix())?;
            for coin in &created.coins {
                if options.json {
                    let line = serde_json::json!({ "coin": coin.to_string(), "raida": config.raida });
                    println!("{line}");
                } else {
                    println!("{coin}");
                }
            }
            if !options.json {
                println!("their keys stand in {}", created.keys.display());
            }
        }
        CoinsCommand::Import { options, from } => {
            if !from.is_dir() {
                bail!("{} is no folder", from.display());
            }
            let (config, coins) = open(configuration(&options)?)?;
            let step = |read: usize| {
                if read % 1_000 == 999 {
                    tracing::info!(read = read + 1, of = 15_000, "pages");
                }
            };
            // Its node has answered requests, wherever that was.
            raida::was_served(&config)?;
            let (taken, kept) = raida::import(&coins, &from, step)?;
            if options.json {
                println!("{}", serde_json::json!({ "taken": taken, "kept": kept }));
            } else {
                println!("{taken} coins taken over; {kept} were in use here and stay as they are");
            }
        }
        CoinsCommand::Check(options) => {
            let checked = raida::check(&existing(&options)?)?;
            for line in &checked.amiss {
                if options.json {
                    println!("{}", serde_json::json!({ "amiss": line }));
                } else {
                    println!("amiss  {line}");
                }
            }
            report(&checked.used, Some(checked.pages), options.json);
            if !checked.amiss.is_empty() {
                bail!("something is amiss");
            }
        }
        CoinsCommand::Stats(options) => {
            let (_, coins) = open(existing(&options)?)?;
            let used = Denomination::all().map(|d| (d.exponent(), coins.bitmap().used(d)));
            report(&used.filter(|(_, used)| *used > 0).collect(), None, options.json);
        }
    }
    Ok(())
}

fn report(used: &std::collections::BTreeMap<i8, u32>, pages: Option<u64>, json: bool) {
    let total: u64 = used.values().map(|used| u64::from(*used)).sum();
    if json {
        let used: serde_json::Map<_, _> = used.iter().map(|(d, used)| (d.to_string(), (*used).into())).collect();
        println!("{}", serde_json::json!({ "used": used, "total": total, "pages": pages }));
        return;
    }
    for (denomination, used) in used {
        println!("10^{denomination:<3} {used:>9} coins in use");
    }
    match pages {
        Some(pages) => println!("{total} coins in use, on {pages} pages"),
        None => println!("{total} coins in use"),
    }
}
