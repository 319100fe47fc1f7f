//! A passphrase that is changed, switched off and on again, as people do it (rule ID-6).

use std::process::Output;

use undertone_testkit::process::{self, result as json};
use undertone_testkit::terminal::PASSPHRASE;
use undertone_testkit::{ServerProcess, Terminal};

fn says(output: &Output, code: i32, words: &[&str]) {
    let text = [output.stderr.as_slice(), &output.stdout].map(String::from_utf8_lossy).concat().replace('\n', " ");
    assert_eq!(output.status.code(), Some(code), "{text}");
    for word in words {
        assert!(text.contains(word), "{text:?} does not say {word:?}");
    }
}

fn with_lines(terminal: &Terminal, words: &[&str], lines: &[&str]) -> Output {
    process::run(&mut terminal.command(words).unwrap(), &format!("{}\n", lines.join("\n"))).unwrap()
}

#[test]
fn id_6_a_passphrase_is_changed_switched_off_and_on_again() {
    let server = ServerProcess::start("passphrase").unwrap();
    let ada = Terminal::new(server.join("ada"), server.address());
    let made = json(&ada.with_passphrase(PASSPHRASE, &["register", "ada"]).unwrap());
    let key = made["recovery_key"].as_str().unwrap();
    let rename = |passphrase: &str| ada.with_passphrase(passphrase, &["devices", "rename", "laptop"]).unwrap();

    let change = ["passphrase", "change", "--passphrase-stdin"];
    says(&with_lines(&ada, &change, &["not it at all", "another passphrase"]), 1, &["wrong name or passphrase"]);
    says(&with_lines(&ada, &change, &[PASSPHRASE, "short"]), 2, &["at least 8"]);
    let changed = with_lines(&ada, &change, &[PASSPHRASE, "another passphrase"]);
    says(&changed, 0, &["passphrase_changed"]);
    assert_eq!(json(&changed)["user"], "ada@localhost");
    says(&rename(PASSPHRASE), 1, &["wrong name or passphrase"]);
    says(&rename("another passphrase"), 0, &["renamed"]);

    // Off: the server has nothing any more, and says the same of it as of nobody.
    let off = ["passphrase", "off", "--recovery-stdin"];
    says(&with_lines(&ada, &off, &["no key"]), 2, &["14 groups"]);
    says(&with_lines(&ada, &off, &[key]), 0, &["passphrase_off"]);
    says(&rename("another passphrase"), 1, &["wrong name or passphrase", "switched off"]);
    let phone = Terminal::new(server.join("phone"), server.address());
    let login = |name| phone.with_passphrase("another passphrase", &["login", name]).unwrap();
    let (hers, nobodys) = (login("ada"), login("nobody"));
    assert_eq!((hers.status, hers.stdout, hers.stderr), (nobodys.status, nobodys.stdout, nobodys.stderr));
    // The device that is there goes on, and the recovery key does all that the passphrase did.
    says(&ada.run(&["devices"]).unwrap(), 0, &["laptop"]);
    let by_key = ["devices", "rename", "desk", "--recovery-stdin"];
    says(&with_lines(&ada, &by_key, &[key]), 0, &["renamed"]);
    let alone = ["login", "ada", "--recovery-stdin", "--keep-passphrase", "--alone", "--yes"];
    says(&with_lines(&phone, &alone, &[key]), 0, &["logged_in"]);
    says(&phone.with_passphrase("another passphrase", &["devices", "rename", "x"]).unwrap(), 1, &["wrong name"]);

    let on = ["passphrase", "on", "--recovery-stdin"];
    says(&with_lines(&phone, &on, &[key, "on again, and new"]), 0, &["passphrase_on"]);
    says(&phone.with_passphrase("on again, and new", &["devices", "rename", "pocket"]).unwrap(), 0, &["renamed"]);
    assert_eq!(json(&phone.run(&["whoami"]).unwrap())["account_key"], made["account_key"]);
}
