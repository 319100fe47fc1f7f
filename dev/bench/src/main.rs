//! What Undertone's media path costs: `make bench`.
//!
//! Every figure stands beside a limit or a peer that was measured in the same run, and what is printed is the ratio. The
//! relays run as processes of their own, so that their CPU time is theirs alone.
#![allow(clippy::print_stdout, clippy::print_stderr, reason = "a benchmark talks to people")]

mod limit;
mod load;
mod obvious;
mod ours;
mod process;
mod seal;
mod sound;
mod table;

use std::path::PathBuf;
use std::process::ExitCode;

use clap::{Parser, Subcommand};

use crate::load::Load;
use crate::table::Table;

/// Measures and prints a table; with `--json FILE` the same figures go there.
#[derive(Debug, Parser)]
struct Options {
    /// Where the figures go as JSON.
    #[arg(long)]
    json: Option<PathBuf>,
    /// Rooms of five, all speaking.
    #[arg(long, default_value_t = 20)]
    rooms: usize,
    /// Seconds that each relay is measured for.
    #[arg(long, default_value_t = 5)]
    seconds: u64,
    #[command(subcommand)]
    role: Option<Role>,
}

/// What else it does: what people ask for, and, hidden, what the benchmark starts as processes of their own.
#[derive(Clone, Debug, Subcommand)]
enum Role {
    /// Speech over bad paths, as a table in Markdown and a picture.
    Sound {
        /// Seconds of each call.
        #[arg(long, default_value_t = 40)]
        length: u64,
        /// Where the picture goes.
        #[arg(long)]
        plot: Option<PathBuf>,
    },
    /// Undertone's relay.
    #[command(hide = true)]
    Ours,
    /// The relay one would write first: `quinn` on a multi-thread runtime, a task per connection.
    #[command(hide = true)]
    Obvious,
    /// What no relay can be cheaper than: plain UDP, one AES-256-GCM seal per delivery.
    #[command(hide = true)]
    Limit,
}

fn main() -> ExitCode {
    let options = Options::parse();
    let result = match &options.role {
        Some(Role::Sound { length, plot }) => sound::measure(*length, plot.as_ref()),
        Some(Role::Ours) => ours::serve(),
        Some(Role::Obvious) => obvious::serve(),
        Some(Role::Limit) => limit::serve(),
        None => measure(&options),
    };
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("bench: {error:#}");
            ExitCode::FAILURE
        }
    }
}

fn measure(options: &Options) -> anyhow::Result<()> {
    let mut table = Table::default();
    seal::measure(&mut table);
    let load = Load { rooms: options.rooms, members: 5, seconds: options.seconds };
    println!(
        "relays: {} rooms of {}, all speaking 50 times a second; {} s each ...",
        load.rooms, load.members, load.seconds
    );
    let limit = limit::measure(&load)?;
    let obvious = obvious::measure(&load)?;
    let blind = ours::measure(&load, undertone_protocol::Protection::Blind)?;
    let hop = ours::measure(&load, undertone_protocol::Protection::Hop)?;
    for (name, run) in [("limit", limit), ("obvious", obvious), ("blind", blind), ("hop", hop)] {
        let what = format!("relay, {name}: delivered");
        table.row(
            &what,
            format!("{:.3} %", 100.0 * run.delivered()),
            "of what was sent",
            None,
            Some(run.delivered() > 0.999),
        );
    }
    let per = |run: &load::Run| run.cpu_us_per_delivery();
    table.fact("relay, limit: CPU per delivery", format!("{:.2} us", per(&limit)), "plain UDP, one seal each");
    table.ratio("relay, obvious: CPU per delivery", per(&obvious), per(&limit), "us", "the limit", None);
    table.ratio("relay, blind: CPU per delivery", per(&blind), per(&limit), "us", "the limit", None);
    table.ratio("relay, blind: CPU per delivery", per(&blind), per(&obvious), "us", "the obvious relay", Some(0.7));
    table.ratio("relay, hop: CPU per delivery", per(&hop), per(&blind), "us", "blind", Some(1.1));
    println!("{table}");
    if let Some(path) = &options.json {
        std::fs::write(path, serde_json::to_vec_pretty(&table.to_json())?)?;
    }
    Ok(())
}
