//! `make test`: every stage in order, its seconds, and one line at the end that counts all tests.

use std::io::{BufRead, BufReader};
use std::process::{Command, Stdio};
use std::time::Instant;

use anyhow::Context;

use crate::layers;

/// The crates that must work where there is no operating system; of the client, its engine.
const PURE: &[&str] = &[
    "undertone-keys",
    "undertone-transparency",
    "undertone-media",
    "undertone-groups",
    "undertone-protocol",
    "undertone-call",
    "undertone-raida",
    "undertone-client",
];

#[derive(Default)]
struct Count {
    passed: u64,
    failed: u64,
    seconds: Vec<(String, f64)>,
}

impl Count {
    /// Runs a stage that is one check.
    fn check(&mut self, name: &str, run: impl FnOnce() -> anyhow::Result<bool>) {
        println!("\n== {name}");
        let start = Instant::now();
        let good = run().unwrap_or_else(|error| {
            eprintln!("{name}: {error:#}");
            false
        });
        if good {
            self.passed += 1
        } else {
            self.failed += 1
        }
        self.seconds.push((name.into(), start.elapsed().as_secs_f64()));
    }

    /// Runs a stage of cargo tests and counts them.
    fn tests(&mut self, name: &str, arguments: &[&str]) {
        println!("\n== {name}");
        let start = Instant::now();
        match cargo_test(arguments) {
            Ok((passed, failed)) => {
                self.passed += passed;
                self.failed += failed;
            }
            Err(error) => {
                eprintln!("{name}: {error:#}");
                self.failed += 1;
            }
        }
        self.seconds.push((name.into(), start.elapsed().as_secs_f64()));
    }
}

fn cargo(arguments: &[&str]) -> Command {
    let mut command = Command::new(std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into()));
    command.args(arguments).stdin(Stdio::null());
    command
}

fn succeeds(arguments: &[&str]) -> anyhow::Result<bool> {
    Ok(cargo(arguments).status().context("cargo")?.success())
}

/// Runs cargo test, passes its lines on and adds up its results.
fn cargo_test(arguments: &[&str]) -> anyhow::Result<(u64, u64)> {
    let mut child = cargo(arguments).stdout(Stdio::piped()).spawn().context("cargo")?;
    let (mut passed, mut failed) = (0, 0);
    for line in BufReader::new(child.stdout.take().context("no stdout")?).lines() {
        let line = line?;
        println!("{line}");
        if let Some(result) = line.strip_prefix("test result: ") {
            let number = |word: &str| {
                let words: Vec<&str> = result.split([' ', ';']).filter(|word| !word.is_empty()).collect();
                let place = words.iter().position(|w| *w == word);
                place.and_then(|place| words.get(place.checked_sub(1)?)?.parse::<u64>().ok()).unwrap_or_default()
            };
            passed += number("passed");
            failed += number("failed") + number("ignored");
        }
    }
    let status = child.wait()?;
    // A test that did not compile has no line.
    if !status.success() && failed == 0 {
        failed = 1;
    }
    Ok((passed, failed))
}

/// Every stage. Returns whether all is green.
pub(crate) fn run() -> anyhow::Result<bool> {
    let mut count = Count::default();
    count.check("format", || succeeds(&["fmt", "--all", "--check"]));
    count.check("layers", layers::check);
    count.check("build", || succeeds(&["build", "--workspace", "--all-targets"]));
    count.check("clippy", || succeeds(&["clippy", "--workspace", "--all-targets", "--", "-D", "warnings"]));
    let mut wasm = vec!["check", "--target", "wasm32-unknown-unknown", "--no-default-features"];
    wasm.extend(PURE.iter().flat_map(|name| ["-p", name]));
    count.check("wasm", || succeeds(&wasm));
    count.check("documentation", || {
        let mut command = cargo(&["doc", "--workspace", "--no-deps", "--document-private-items"]);
        Ok(command.env("RUSTDOCFLAGS", "-D rustdoc::broken_intra_doc_links").status()?.success())
    });
    count.tests("tests", &["test", "--workspace", "--no-fail-fast"]);
    println!("\nseconds by stage");
    for (name, seconds) in &count.seconds {
        println!("{seconds:8.1}  {name}");
    }
    println!("\n{} passed, {} failed", count.passed, count.failed);
    Ok(count.failed == 0 && count.passed > 0)
}
