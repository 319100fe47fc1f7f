//! A home that is in use takes the commands of other processes (rule STO-1).

use std::os::unix::fs::PermissionsExt;
use std::process::Output;
use std::time::Duration;

use undertone_testkit::process::{self, result as json};
use undertone_testkit::terminal::PASSPHRASE;
use undertone_testkit::{ServerProcess, Terminal};

const PATIENCE: Duration = Duration::from_secs(60);

fn says(output: &Output, code: i32, words: &[&str]) {
    let text = [output.stderr.as_slice(), &output.stdout].map(String::from_utf8_lossy).concat().replace('\n', " ");
    assert_eq!(output.status.code(), Some(code), "{text}");
    for word in words {
        assert!(text.contains(word), "{text:?} does not say {word:?}");
    }
}

/// The phone waits for calls, and lets the new laptop in all the same; then it takes a call.
#[test]
fn sto_1_id_6_a_home_that_waits_for_a_call_lets_a_new_device_in() {
    let server = ServerProcess::start("errands").unwrap();
    let registered = |name: &str| Terminal::registered(server.join(name), server.address(), name).unwrap();
    let (ada, bob) = (registered("ada"), registered("bob"));
    let laptop = Terminal::new(server.join("laptop"), server.address());
    let mut phone = ada.start(&["answer", "--no-devices"]).unwrap();
    phone.wait_for("waiting", PATIENCE).unwrap();

    let mut login = laptop.start_listening(&["login", "ada", "--passphrase-stdin", "--label", "laptop"]).unwrap();
    login.say(PASSPHRASE).unwrap();
    let code = login.wait_for("pairing", PATIENCE).unwrap()["code"].as_str().unwrap().to_owned();
    // A question is asked where the command was typed, and there is nobody; and an error keeps its exit code.
    says(&ada.run(&["devices", "add", &code]).unwrap(), 2, &["--yes"]);
    says(&ada.run(&["devices", "add", "no code", "--yes"]).unwrap(), 2, &["no code of a new device"]);
    let added = ada.run(&["devices", "add", &code, "--yes"]).unwrap();
    says(&added, 0, &["let_in"]);
    login.wait_for("logged_in", PATIENCE).unwrap();
    assert_eq!(login.exit_code().unwrap(), Some(0));
    // Whoever sits at the phone sees it.
    let told = phone.wait_for("errand", PATIENCE).unwrap();
    assert_eq!((&told["command"], &told["result"]), (&"devices add".into(), &json(&added)));

    // Everything about devices and keys goes this way.
    let me = json(&ada.run(&["whoami"]).unwrap());
    let listed = json(&ada.run(&["devices", "list"]).unwrap());
    assert_eq!(listed["devices"][1]["let_in_by"], me["device"]);
    says(&ada.with_passphrase("not it at all", &["devices", "rename", "phone"]).unwrap(), 1, &["wrong name or pass"]);
    says(&ada.with_passphrase(PASSPHRASE, &["devices", "rename", "phone"]).unwrap(), 0, &["renamed"]);
    says(&ada.with_passphrase(PASSPHRASE, &["devices", "keep"]).unwrap(), 1, &["nothing to take back"]);
    says(&ada.run(&["audit", "self"]).unwrap(), 0, &["self_audit"]);
    let shown = json(&ada.run(&["peer", "show", "bob"]).unwrap());
    let verified = ada.run(&["peer", "verify", "bob", shown["account_key"].as_str().unwrap()]).unwrap();
    assert_eq!(json(&verified)["state"], "verified");
    // What cannot go this way says so as ever.
    says(&ada.run(&["logout"]).unwrap(), 1, &["another undertone process"]);

    // The phone still takes a call.
    let mut bobs = bob.start(&["call", "ada", "--no-devices", "--seconds", "1"]).unwrap();
    phone.wait_for("hearing", PATIENCE).unwrap();
    assert_eq!(bobs.wait_for("over", PATIENCE).unwrap()["result"], "ended");
    phone.wait_for("over", PATIENCE).unwrap();
    assert_eq!(phone.exit_code().unwrap(), Some(0));
    assert!(!server.join("ada").join("errands").exists(), "it takes its socket away");
    assert_eq!(json(&ada.run(&["whoami"]).unwrap())["label"], "phone");
}

/// Rule STO-1: a home whose owner is no program that we know, or an older one, is left alone, with a word.
#[test]
fn sto_1_an_owner_that_takes_no_errands_is_named() {
    let server = ServerProcess::start("errands-older").unwrap();
    let ada = Terminal::registered(server.join("ada"), server.address(), "ada").unwrap();
    let mut phone = ada.start(&["answer", "--no-devices"]).unwrap();
    phone.wait_for("waiting", PATIENCE).unwrap();
    // It takes errands a moment later, for which a second command waits.
    says(&ada.run(&["whoami"]).unwrap(), 0, &["ada@localhost"]);
    let socket = server.join("ada").join("errands");
    assert_eq!(std::fs::metadata(&socket).unwrap().permissions().mode() & 0o777, 0o600);
    // An older program has none.
    std::fs::remove_file(&socket).unwrap();
    says(&ada.run(&["devices"]).unwrap(), 1, &["another undertone process", "no commands of others", "--home"]);
    // Somebody listens there who says nothing that we know.
    let foreign = std::os::unix::net::UnixListener::bind(&socket).unwrap();
    let hangs_up = std::thread::spawn(move || {
        foreign.set_nonblocking(true).unwrap();
        for _ in 0..600 {
            drop(foreign.accept());
            std::thread::sleep(Duration::from_millis(10));
        }
    });
    says(&ada.run(&["whoami"]).unwrap(), 1, &["another undertone process"]);
    // One that was killed leaves its socket behind; the next owner takes its place.
    phone.kill().unwrap();
    hangs_up.join().unwrap();
    assert!(socket.exists());
    let mut again = ada.start(&["answer", "--no-devices"]).unwrap();
    again.wait_for("waiting", PATIENCE).unwrap();
    let whoami = process::run(&mut ada.command(&["whoami"]).unwrap(), "").unwrap();
    says(&whoami, 0, &["ada@localhost"]);
}
