//! The project's own chores: `cargo xtask layers`, `cargo xtask test`.
#![allow(clippy::indexing_slicing, reason = "JSON values answer null where there is nothing")]
#![allow(clippy::print_stdout, clippy::print_stderr, reason = "chores talk to people")]

mod layers;
mod stages;

use std::process::ExitCode;

fn main() -> ExitCode {
    let chore = std::env::args().nth(1);
    let result = match chore.as_deref() {
        Some("layers") => layers::check(),
        Some("test") => stages::run(),
        _ => Err(anyhow::anyhow!("chores: layers, test")),
    };
    match result {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(error) => {
            eprintln!("xtask: {error:#}");
            ExitCode::FAILURE
        }
    }
}
