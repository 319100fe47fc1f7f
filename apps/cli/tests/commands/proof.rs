//! The proof behind `peer show`: shown to people, given to programs, and checked again by somebody else.

use std::fs;

use undertone_testkit::process::{program, result};
use undertone_testkit::{Terminal, TestServer};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn kt_9_a_proof_that_holds_is_shown_and_checked_by_somebody_else() {
    let server = TestServer::start("proof").await.unwrap();
    let registered = |name: &str| Terminal::registered(server.join(name), server.address(), name).unwrap();
    let (ada, _bob) = (registered("ada"), registered("bob"));
    let file = server.join("bob.evidence");
    let path = file.to_str().unwrap();

    // All of it for programs: what the rules are checked on, and the answer as it came.
    let shown = ada.run(&["peer", "show", "bob", "--proof", "--save", path]).unwrap();
    assert!(shown.status.success(), "{}", String::from_utf8_lossy(&shown.stderr));
    let shown = result(&shown);
    let (proof, directory) = (&shown["proof"], &shown["directory"]);
    assert_eq!((&proof["leaf"]["epoch"], &proof["log"]["size"]), (&directory["epoch"], &directory["log_size"]));
    let checkpoint: Vec<&str> = proof["checkpoint"].as_str().unwrap().lines().collect();
    assert_eq!(checkpoint[..2], ["localhost/undertone/directory", &directory["log_size"].to_string()]);
    assert_eq!((&proof["entry"]["version"], &proof["list"]["devices"]), (&1.into(), &1.into()));
    assert_eq!(proof["entry"]["place"].as_str().map(str::len), Some(64));
    assert_eq!((&proof["list"]["account_key"], &shown["saved"]), (&shown["account_key"], &path.into()));
    assert!(proof["answer"].as_str().is_some_and(|answer| answer.len() > 1_000));
    let (seen, size) = (proof["log"]["seen"].as_u64(), proof["log"]["size"].as_u64());
    assert!(seen.is_some() && seen <= size, "ada saw the log when she registered: {proof}");

    // Somebody without an account makes the check again, and nothing is written over.
    let stranger = Terminal::new(server.join("stranger"), server.address());
    let again = stranger.run(&["audit", "evidence", path]).unwrap();
    assert_eq!((again.status.code(), &result(&again)["holds"]), (Some(0), &true.into()));
    assert_eq!(ada.run(&["peer", "show", "bob", "--save", path]).unwrap().status.code(), Some(1));
    let mut bytes = fs::read(&file).unwrap();
    let middle = bytes.len() / 2;
    bytes[middle] ^= 1;
    fs::write(&file, bytes).unwrap();
    assert_ne!(
        stranger.run(&["audit", "evidence", path]).unwrap().status.code(),
        Some(0),
        "it holds as it was, and no other"
    );

    // For people a line for each rule, in the order in which they are checked.
    let mut undertone = program("undertone").unwrap();
    let text =
        undertone.arg("--home").arg(server.join("ada")).args(["peer", "show", "bob", "--proof"]).output().unwrap();
    let text = String::from_utf8(text.stdout).unwrap();
    let rules: Vec<&str> = text.lines().filter_map(|line| line.trim().split(' ').next()).collect();
    let rules: Vec<&str> = rules.into_iter().filter(|word| word.starts_with("KT-")).collect();
    assert_eq!(rules, ["KT-1", "KT-2", "KT-3", "KT-14", "KT-4", "KT-5", "KT-6", "KT-7", "KT-8"], "{text}");
}
