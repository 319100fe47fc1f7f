//! Rule KT-2 over a real server: a device that insists on witnesses begins nothing without them.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing, reason = "a test may fail")]

use std::fs;
use std::path::Path;
use std::process::Output;
use std::time::Duration;

use serde_json::Value;
use undertone_testkit::process::result as json;
use undertone_testkit::{ServerProcess, Terminal, Witness};

const PATIENCE: Duration = Duration::from_secs(30);
/// A minute more, and less, than a cosignature may be old where something begins.
const TOO_OLD: Duration = Duration::from_secs(11 * 60);
const NOT_TOO_OLD: Duration = Duration::from_secs(9 * 60);

/// Has the device in `home` insist on these witnesses, as its owner would by hand.
fn insist(home: &Path, need: usize, keys: &[&String]) {
    // Rust writes a list of such texts as TOML does.
    let settings = format!("[witnesses]\nneed = {need}\nrequired = true\nkeys = {keys:?}\n");
    fs::write(home.join("config.toml"), settings).unwrap();
}

/// Refused by rule KT-2 for this reason, and what is kept says the same to somebody else.
fn refused(server: &ServerProcess, output: &Output, why: &str) {
    let told = json(output);
    let message = told["message"].as_str().unwrap_or_default();
    assert_eq!(output.status.code(), Some(4), "{told}");
    assert!(message.contains("KT-2") && message.contains(why), "{told}");
    let (_, kept) = message.rsplit_once("is kept in ").unwrap();
    let stranger = Terminal::new(server.join("stranger"), server.address());
    let judged = json(&stranger.run(&["audit", "evidence", kept.trim_end_matches('.')]).unwrap());
    assert_eq!((&judged["rule"], &judged["convicts"]), (&"KT-2".into(), &false.into()), "{judged}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn kt_2_a_device_that_insists_on_witnesses_begins_nothing_without_them() {
    let mut server = ServerProcess::start("insisting").unwrap();
    let witness = |name: &str| Witness::new(server.join(name), &server.address(), &server.data()).unwrap();
    let [up, down, never] = ["up", "down", "never"].map(witness);
    let [up_key, down_key, never_key] = [&up, &down, &never].map(|witness| witness.look().unwrap().key().unwrap());
    server.end().unwrap();
    for key in [&up_key, &down_key, &never_key] {
        server.allow_witness(key.clone());
    }
    server.start_again().unwrap();
    let [ada, bob] =
        ["ada", "bob"].map(|name| Terminal::registered(server.join(name), server.address(), name).unwrap());
    let home = server.join("ada");
    let show = || ada.run(&["peer", "show", "bob"]).unwrap();

    // One that is up: look-ups and calls go on.
    insist(&home, 1, &[&up_key]);
    refused(&server, &show(), "0 of the witnesses");
    assert!(up.look().unwrap().cosigned);
    let shown = show();
    assert_eq!(shown.status.code(), Some(0), "{}", String::from_utf8_lossy(&shown.stderr));
    assert_eq!(json(&shown)["directory"]["witnessed"], true);
    let mut answer = bob.start(&["answer", "--no-devices"]).unwrap();
    answer.wait_for("waiting", PATIENCE).unwrap();
    let mut call = ada.start(&["call", "bob", "--no-devices", "--seconds", "1"]).unwrap();
    call.wait_for("established", PATIENCE).unwrap();
    call.exit_code().unwrap();
    answer.exit_code().unwrap();

    // One that never came, whatever others say: nothing begins, and a call rings nowhere.
    insist(&home, 1, &[&never_key]);
    refused(&server, &show(), "0 of the witnesses");
    let called = ada.run(&["call", "bob", "--no-devices"]).unwrap();
    refused(&server, &called, "0 of the witnesses");
    insist(&home, 2, &[&up_key, &never_key]);
    refused(&server, &show(), "1 of the witnesses");

    // One that went down: what it said is good for ten minutes.
    insist(&home, 1, &[&down_key]);
    down.leave_line_of(&down_key, TOO_OLD).await.unwrap();
    refused(&server, &show(), "0 of the witnesses");
    down.leave_line_of(&down_key, NOT_TOO_OLD).await.unwrap();
    let shown = show();
    assert_eq!((shown.status.code(), &json(&shown)["directory"]["witnessed"]), (Some(0), &Value::Bool(true)));

    insist(&home, 2, &[&up_key, &down_key]);
    let both = show();
    assert_eq!(both.status.code(), Some(0), "{}", json(&both));
}
