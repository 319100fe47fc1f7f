//! Scenes that show Undertone at work, with the programs that people run: `make demo`, `SCENE=call make demo`.
#![allow(clippy::indexing_slicing, reason = "JSON values answer null where there is nothing")]
#![allow(clippy::print_stdout, clippy::print_stderr, reason = "a demonstration talks to people")]

mod call;
mod drill;
mod people;
mod quorum;
mod room;
mod table;
mod watched;

use std::process::ExitCode;

use clap::{Parser, ValueEnum};

/// Shows Undertone at work and exits with 0 only if everything shown holds.
#[derive(Debug, Parser)]
struct Options {
    /// Which scene; all of them if none is named.
    #[arg(long, env = "SCENE", value_enum)]
    scene: Option<Scene>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum Scene {
    /// Two people talk through a relay that can open nothing, and through one that they let hear them.
    Call,
    /// Five people talk in a room whose keys all of them make together: one comes late, one loses the key, one is killed, and one is
    /// put out.
    Room,
    /// The same, in a room where one of them hands out the keys.
    Host,
    /// A call whose key has a secret in it that came over 25 nodes, and one whose secret is another.
    Quorum,
    /// The server lies about its key directory, and is found out.
    Drill,
}

impl Scene {
    /// Plays it, prints what was found, and says whether all of it holds.
    fn play(self) -> anyhow::Result<bool> {
        Ok(match self {
            Self::Call => {
                let both = call::play("blind")?.beside("Scene: one call, both protections", call::play("hop")?);
                println!("{both}");
                both.holds()
            }
            Self::Room | Self::Host | Self::Quorum | Self::Drill => {
                let table = match self {
                    Self::Room => room::play(room::Keys::Mls)?,
                    Self::Host => room::play(room::Keys::Host)?,
                    Self::Quorum => quorum::play()?,
                    _ => drill::play()?,
                };
                println!("{table}");
                table.holds()
            }
        })
    }
}

fn main() -> ExitCode {
    let options = Options::parse();
    let scenes = options.scene.map_or_else(|| Scene::value_variants().to_vec(), |scene| vec![scene]);
    let mut good = true;
    for scene in scenes {
        good &= scene.play().unwrap_or_else(|error| {
            eprintln!("demo: {error:#}");
            false
        });
    }
    println!("{}", if good { "demo: everything holds" } else { "demo: something does not hold" });
    if good { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}
