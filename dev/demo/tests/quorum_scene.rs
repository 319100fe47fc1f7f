//! The demonstration of a quorum secret holds: its claims are about a real server, 25 real nodes and two real command lines.
#![allow(clippy::unwrap_used, reason = "a test may fail")]

use std::process::Command;

#[test]
fn rkx_5_quorum_secret_in_call_as_the_demonstration_shows_it() {
    let played = Command::new(env!("CARGO_BIN_EXE_undertone-demo")).env("SCENE", "quorum").output().unwrap();
    let (said, wrong) = (String::from_utf8_lossy(&played.stdout), String::from_utf8_lossy(&played.stderr));
    assert!(played.status.success() && said.contains("demo: everything holds"), "{said}\n{wrong}");
    assert!(said.contains("17 make the secret") && said.contains("refused_by_proof"), "{said}");
}
