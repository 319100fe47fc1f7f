//! What Undertone's media path, its keys and its key directory cost: `make bench`.
//!
//! Every figure stands beside a limit or a peer that was measured in the same run, and what is printed is the ratio. The
//! relays run as processes of their own, so that their CPU time is theirs alone.
#![allow(clippy::print_stdout, clippy::print_stderr, reason = "a benchmark talks to people")]

mod client;
mod crowd;
mod directory;
mod groups;
mod histogram;
mod house;
mod join;
mod keys;
mod limit;
mod load;
mod memory;
mod obvious;
mod ours;
mod peers;
mod perf;
mod process;
mod raida;
mod relays;
mod seal;
mod setup;
mod socket;
mod sound;
mod table;
mod talk;
mod tls;

use std::path::PathBuf;
use std::process::ExitCode;

use clap::{Parser, Subcommand, ValueEnum};

use crate::load::Load;
use crate::table::Table;

/// Measures and prints a table; with `--json FILE` the same figures go there.
#[derive(Debug, Parser)]
struct Options {
    /// Where the figures go as JSON.
    #[arg(long)]
    json: Option<PathBuf>,
    /// What is measured; everything, if it is not said.
    #[arg(long, value_delimiter = ',')]
    only: Vec<Part>,
    /// Rooms of five, all speaking.
    #[arg(long, default_value_t = 100)]
    rooms: usize,
    /// Listeners of one speaker.
    #[arg(long, value_delimiter = ',', default_values_t = [200, 1_000])]
    listeners: Vec<usize>,
    /// Seconds that each relay is measured for.
    #[arg(long, default_value_t = 5)]
    seconds: u64,
    /// Users in the key directory. With more than 100,000 a directory of so many is measured besides: a million take ten
    /// minutes and more.
    #[arg(long, default_value_t = directory::USERS)]
    users: u32,
    /// Members of the rooms whose keys are measured.
    #[arg(long, value_delimiter = ',', default_values_t = [10, 50, 200])]
    crowds: Vec<usize>,
    /// Leaves of each of them.
    #[arg(long, default_value_t = 20)]
    leaves: usize,
    /// Members of the MLS groups that are measured.
    #[arg(long, value_delimiter = ',', default_values_t = [2, 10, 50, 200, 1_000])]
    groups: Vec<usize>,
    #[command(subcommand)]
    role: Option<Role>,
}

/// A part of the table.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum Part {
    /// Sealing and opening.
    Seal,
    /// Relays, in rooms in which everybody speaks.
    Rooms,
    /// Relays, with one speaker.
    Listeners,
    /// From wanting to be in a room to hearing somebody.
    Join,
    /// From dialling to ringing, and from answering to sound.
    Setup,
    /// The keys of blind rooms: leaves, lost keys, letters.
    Keys,
    /// MLS groups: commits, their delivery, joins, bytes, memory.
    Groups,
    /// A node of the RAIDA key exchange.
    Raida,
    /// What a server holds.
    Memory,
    /// The key directory: look-ups, publishing, proofs.
    Directory,
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
    /// What a change of a blind room's key costs in letters and bytes, as a table in Markdown and a picture.
    KeyTraffic {
        /// Members of the rooms, two at least. The checks of papers grow with their square.
        #[arg(long, value_delimiter = ',', default_values_t = [2, 5, 10, 20, 50, 100, 200])]
        members: Vec<usize>,
        /// Where the picture goes.
        #[arg(long)]
        plot: Option<PathBuf>,
    },
    /// What a change of key costs with a host and with an MLS group, and what a day of coming and going makes of a group's tree, as tables in
    /// Markdown and two pictures.
    GroupTraffic {
        /// Members of the rooms, three at least; rooms with a host have 200 at most.
        #[arg(long, value_delimiter = ',', default_values_t = [3, 10, 20, 50, 100, 200, 500, 1_000])]
        members: Vec<usize>,
        /// Where the picture of a change goes.
        #[arg(long)]
        plot: Option<PathBuf>,
        /// Where the picture of the day goes.
        #[arg(long)]
        churn: Option<PathBuf>,
    },
    /// All of a server.
    #[command(hide = true)]
    Server,
    /// A node of the RAIDA key exchange over a folder.
    #[command(hide = true)]
    RaidaNode {
        /// What it serves.
        folder: PathBuf,
        /// How it behaves.
        behaves: raida::Behaves,
        /// Seconds between two times that pages are written back.
        write_back: u64,
    },
    /// What hands back every datagram, and what every connection says.
    #[command(hide = true)]
    RaidaBare,
    /// Undertone's relay.
    #[command(hide = true)]
    Ours {
        /// Its threads.
        #[arg(default_value_t = 1)]
        shards: usize,
    },
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
        Some(Role::KeyTraffic { members, plot }) => keys::traffic(members, plot.as_ref()),
        Some(Role::GroupTraffic { members, plot, churn }) => groups::traffic(members, plot.as_ref(), churn.as_ref()),
        Some(Role::Server) => house::serve(),
        Some(Role::RaidaNode { folder, behaves, write_back }) => raida::serve(folder, *behaves, *write_back),
        Some(Role::RaidaBare) => raida::bare(),
        Some(Role::Ours { shards }) => ours::serve(*shards),
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
    let wants = |part: Part| options.only.is_empty() || options.only.contains(&part);
    let mut table = Table::default();
    if wants(Part::Seal) {
        println!("sealing ...");
        seal::measure(&mut table);
    }
    if wants(Part::Join) {
        println!("joins: a server, somebody who speaks, and 40 joins for each protection ...");
        join::measure(&mut table)?;
    }
    if wants(Part::Setup) {
        println!("calls: 20 of them ...");
        setup::measure(&mut table)?;
    }
    if wants(Part::Directory) {
        println!("key directory: {} users, and akd with as many in memory and on SQLite ...", options.users);
        directory::measure(&mut table, options.users)?;
    }
    if wants(Part::Keys) {
        println!("keys: a server and {} accounts ...", options.crowds.iter().max().unwrap_or(&0));
        keys::measure(&mut table, &options.crowds, options.leaves)?;
    }
    if wants(Part::Groups) {
        println!("groups: of {} members at most ...", options.groups.iter().max().unwrap_or(&0));
        groups::measure(&mut table, &options.groups)?;
    }
    if wants(Part::Raida) {
        println!("raida: a full store ...");
        raida::full(&mut table)?;
    }
    // From here on what is measured has a processor to itself.
    let alone = process::step_aside()?;
    if wants(Part::Raida) {
        println!("raida: a node beside what hands everything back; some two minutes ...");
        raida::measure(&mut table, options.seconds.min(3))?;
    }
    let Options { rooms, seconds, .. } = *options;
    if wants(Part::Rooms) {
        println!("relays: {rooms} rooms of 5, all speaking 50 times a second; {seconds} s each ...");
        let load = Load { rooms, members: 5, speakers: 5, seconds, instructions: true };
        relays::rooms(&mut table, &load)?;
        peers::measure(&mut table);
    }
    for &listeners in options.listeners.iter().filter(|_| wants(Part::Listeners)) {
        println!("relays: one speaker and {listeners} listeners; {seconds} s each ...");
        relays::fan(&mut table, listeners, seconds)?;
    }
    if wants(Part::Memory) {
        println!("memory: hundreds of people come, and a hundred log in ...");
        memory::measure(&mut table)?;
    }
    println!("\n{table}");
    if !alone {
        println!("no CPU of its own for the relay: its figures vary with what else runs");
    }
    if let Some(path) = &options.json {
        std::fs::write(path, serde_json::to_vec_pretty(&table.to_json())?)?;
    }
    Ok(())
}
