//! Devices that have RSA-2048 alone, as people see them.

use std::time::Duration;

use undertone_testkit::process::result as json;
use undertone_testkit::terminal::PASSPHRASE;
use undertone_testkit::{ServerProcess, Terminal};

const PATIENCE: Duration = Duration::from_secs(30);

/// Rules ID-3, CALL-2: it calls and is called, both sides are told how the key came about, and nobody talks by RSA without
/// having said so.
#[test]
fn rsa_only_peer_is_visible() {
    let server = ServerProcess::start("legacy").unwrap();
    let old = Terminal::new(server.join("old"), server.address());
    let made = old.with_passphrase(PASSPHRASE, &["register", "old", "--agreement", "rsa"]).unwrap();
    assert!(made.status.success(), "{}", String::from_utf8_lossy(&made.stderr));
    let ada = Terminal::registered(server.join("ada"), server.address(), "ada").unwrap();
    assert_eq!(json(&old.run(&["whoami"]).unwrap())["key"]["agreement"], "rsa2048");
    assert_eq!(json(&old.run(&["devices"]).unwrap())["devices"][0]["agreement"], "rsa2048");

    // Without a word of hers Ada does not call it, and does not take its calls.
    for policy in [None, Some("refuse")] {
        let mut words = vec!["call", "old", "--no-devices"];
        words.extend(policy.iter().flat_map(|policy| ["--legacy", *policy]));
        let refused = ada.run(&words).unwrap();
        assert_eq!((refused.status.code(), json(&refused)["result"].as_str()), (Some(1), Some("refused_by_policy")));
        let said = String::from_utf8_lossy(&refused.stdout).into_owned();
        assert_eq!(said.contains("legacy_asked"), policy.is_none(), "{said}");
        assert!(json(&refused)["reason"].as_str().unwrap().contains("RSA"), "{said}");
    }
    let mut adas = ada.start(&["answer", "--no-devices"]).unwrap();
    adas.wait_for("waiting", PATIENCE).unwrap();
    let refused = old.run(&["call", "ada", "--no-devices"]).unwrap();
    assert_eq!(json(&refused)["result"], "refused_by_policy");
    assert_eq!(adas.wait_for("incoming", PATIENCE).unwrap()["key"], "rsa2048");
    adas.wait_for("legacy_refused", PATIENCE).unwrap();
    drop(adas);

    // With it they talk, in both directions, and both see what kind of call it is.
    for (caller, callee, name) in [(&ada, &old, "old"), (&old, &ada, "ada")] {
        let mut answering = callee.start(&["answer", "--no-devices", "--legacy", "allow"]).unwrap();
        answering.wait_for("waiting", PATIENCE).unwrap();
        let mut calling = caller.start(&["call", name, "--no-devices", "--legacy", "allow", "--seconds", "1"]).unwrap();
        let seen = [&mut calling, &mut answering].map(|side| side.wait_for("established", PATIENCE).unwrap());
        for side in &seen {
            assert_eq!((&side["key"], &side["forward_secrecy"]), (&"rsa2048".into(), &false.into()), "{name}");
        }
        assert_eq!(seen[0]["sas"], seen[1]["sas"]);
        calling.wait_for("hearing", PATIENCE).unwrap();
        assert_eq!([calling.exit_code().unwrap(), answering.exit_code().unwrap()], [Some(0); 2]);
    }
    // A second device, let in by the first; a call between two modern ones is what it was.
    let second = Terminal::new(server.join("second"), server.address());
    let mut login = second.start_listening(&["login", "ada", "--agreement", "rsa", "--passphrase-stdin"]).unwrap();
    login.say(PASSPHRASE).unwrap();
    let code = login.wait_for("pairing", PATIENCE).unwrap()["code"].as_str().unwrap().to_owned();
    assert!(ada.run(&["devices", "add", &code, "--yes"]).unwrap().status.success());
    login.wait_for("logged_in", PATIENCE).unwrap();
    assert_eq!(login.exit_code().unwrap(), Some(0));
    let devices = json(&ada.run(&["devices"]).unwrap());
    let kinds: Vec<&str> =
        devices["devices"].as_array().unwrap().iter().map(|d| d["agreement"].as_str().unwrap()).collect();
    assert_eq!(kinds, ["p256", "rsa2048"]);
}
