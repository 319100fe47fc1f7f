//! A device whose key lies on a PKCS#11 token; SoftHSM stands in for the hardware.

use std::path::PathBuf;
use std::process::{Command, Output};
use std::time::Duration;

use undertone_testkit::process::{self, result as json};
use undertone_testkit::terminal::PASSPHRASE;
use undertone_testkit::{Process, ServerProcess, Terminal};

const PATIENCE: Duration = Duration::from_secs(30);
const PIN: &str = "123456";

/// A token of its own for each test, and a device that uses it.
struct Card {
    folder: PathBuf,
    terminal: Terminal,
}

impl Card {
    fn new(server: &ServerProcess, home: &str) -> Self {
        let folder = server.join("softhsm");
        std::fs::create_dir_all(folder.join("tokens")).unwrap();
        let config = format!(
            "directories.tokendir = {}\nobjectstore.backend = file\nlog.level = ERROR\n",
            folder.join("tokens").display()
        );
        std::fs::write(folder.join("softhsm2.conf"), config).unwrap();
        let made = Command::new("softhsm2-util")
            .args(["--init-token", "--free", "--label", "card", "--pin", PIN, "--so-pin", "12345678"])
            .env("SOFTHSM2_CONF", folder.join("softhsm2.conf"))
            .output()
            .expect("softhsm2 is installed by dev/setup.sh test");
        assert!(made.status.success(), "{}", String::from_utf8_lossy(&made.stderr));
        Self { folder, terminal: Terminal::new(server.join(home), server.address()) }
    }

    fn command(&self, arguments: &[&str]) -> Command {
        let mut command = self.terminal.command(arguments).unwrap();
        command
            .arg("--pin-stdin")
            .env("SOFTHSM2_CONF", self.folder.join("softhsm2.conf"))
            .env("UNDERTONE_PKCS11", "/usr/lib/softhsm/libsofthsm2.so");
        command
    }

    fn run(&self, arguments: &[&str], stdin: &str) -> Output {
        process::run(&mut self.command(arguments), stdin).unwrap()
    }

    /// A command that goes on, with the PIN typed.
    fn start(&self, arguments: &[&str]) -> Process {
        let mut process = Process::listening(arguments[0], &mut self.command(arguments)).unwrap();
        process.say(PIN).unwrap();
        process
    }

    fn register(&self) -> Output {
        let words = ["register", "ada", "--passphrase-stdin", "--token", "card"];
        self.run(&words, &format!("{PASSPHRASE}\n{PIN}\n"))
    }

    /// Pulls the token out, or puts it back.
    fn pull_out(&self, out: bool) {
        let (there, away) = (self.folder.join("tokens"), self.folder.join("pulled-out"));
        if out {
            std::fs::rename(&there, &away).unwrap();
            std::fs::create_dir(&there).unwrap();
        } else {
            std::fs::remove_dir(&there).unwrap();
            std::fs::rename(&away, &there).unwrap();
        }
    }
}

fn words(output: &Output) -> String {
    String::from_utf8_lossy(&output.stderr).replace('\n', " ")
}

#[test]
fn id_5_a_key_on_a_token_calls_and_is_called() {
    let server = ServerProcess::start("token").unwrap();
    let card = Card::new(&server, "ada");
    let bob = Terminal::registered(server.join("bob"), server.address(), "bob").unwrap();
    let made = card.register();
    assert!(made.status.success(), "{}", words(&made));
    let me = json(&card.run(&["whoami"], ""));
    assert_eq!((&me["key"]["agreement"], &me["key"]["token"]), (&"p256".into(), &"card".into()));

    let mut bobs = bob.start(&["answer", "--no-devices"]).unwrap();
    bobs.wait_for("waiting", PATIENCE).unwrap();
    let mut adas = card.start(&["call", "bob", "--no-devices", "--seconds", "3"]);
    assert_eq!(adas.wait_for("established", PATIENCE).unwrap()["forward_secrecy"], true);
    adas.wait_for("hearing", PATIENCE).unwrap();
    // The token is pulled out in the call: what it was needed for is done, and the call goes on to its end.
    card.pull_out(true);
    assert_eq!(adas.wait_for("over", PATIENCE).unwrap()["result"], "ended");
    assert_eq!([adas.exit_code().unwrap(), bobs.exit_code().unwrap()], [Some(0); 2]);
    let gone = card.run(&["answer", "--no-devices"], &format!("{PIN}\n"));
    assert_eq!(gone.status.code(), Some(1));
    assert!(words(&gone).contains("there is no token named \"card\""), "{}", words(&gone));
    card.pull_out(false);

    let mut adas = card.start(&["answer", "--no-devices"]);
    adas.wait_for("waiting", PATIENCE).unwrap();
    let called = bob.run(&["call", "ada", "--no-devices", "--seconds", "1"]).unwrap();
    assert_eq!(json(&called)["result"], "ended", "{}", words(&called));
    assert_eq!(adas.exit_code().unwrap(), Some(0));

    // Pulled out while she waits: a call cannot be opened, and she is told why.
    let mut adas = card.start(&["answer", "--no-devices"]);
    adas.wait_for("waiting", PATIENCE).unwrap();
    card.pull_out(true);
    let mut bobs = bob.start(&["call", "ada", "--no-devices"]).unwrap();
    let told = adas.wait_for("rejected", PATIENCE).unwrap();
    assert!(told["reason"].as_str().unwrap().contains("is its token there"), "{told}");
    bobs.wait_for("calling", PATIENCE).unwrap();
    bobs.kill().unwrap();
    adas.kill().unwrap();
}

#[test]
fn id_5_every_way_a_token_can_refuse_is_told_apart() {
    let server = ServerProcess::start("token-refuses").unwrap();
    let card = Card::new(&server, "ada");
    let words_for = ["register", "ada", "--passphrase-stdin", "--token", "card"];
    let wrong = card.run(&words_for, &format!("{PASSPHRASE}\n999999\n"));
    assert_eq!(wrong.status.code(), Some(1));
    assert!(words(&wrong).contains("not the PIN") && words(&wrong).contains("locks"), "{}", words(&wrong));
    let nobody = card.run(&words_for, &format!("{PASSPHRASE}\n"));
    assert!(words(&nobody).contains("--pin-stdin"), "{}", words(&nobody));
    let other =
        card.run(&["register", "ada", "--passphrase-stdin", "--token", "another"], &format!("{PASSPHRASE}\n{PIN}\n"));
    assert!(words(&other).contains("no token named \"another\""), "{}", words(&other));
    let mut module = card.command(&words_for);
    module.env("UNDERTONE_PKCS11", "/nowhere/module.so");
    let module = process::run(&mut module, &format!("{PASSPHRASE}\n{PIN}\n")).unwrap();
    assert!(words(&module).contains("/nowhere/module.so"), "{}", words(&module));
    assert!(card.register().status.success(), "none of this has used up the name");

    let wrong = card.run(&["answer", "--no-devices"], "999999\n");
    assert!(words(&wrong).contains("not the PIN"), "{}", words(&wrong));

    // A key is never moved: not onto a token, and not to another one.
    let again = card.register();
    assert_eq!(again.status.code(), Some(1));
    assert!(words(&again).contains("never moved"), "{}", words(&again));
    let elsewhere = Card { folder: server.join("elsewhere"), terminal: card.terminal.clone() };
    std::fs::create_dir_all(elsewhere.folder.join("tokens")).unwrap();
    let config = format!("directories.tokendir = {}\nlog.level = ERROR\n", elsewhere.folder.join("tokens").display());
    std::fs::write(elsewhere.folder.join("softhsm2.conf"), config).unwrap();
    let made = Command::new("softhsm2-util")
        .args(["--init-token", "--free", "--label", "card", "--pin", PIN, "--so-pin", "12345678"])
        .env("SOFTHSM2_CONF", elsewhere.folder.join("softhsm2.conf"))
        .output()
        .unwrap();
    assert!(made.status.success());
    let moved = elsewhere.run(&["answer", "--no-devices"], &format!("{PIN}\n"));
    assert!(words(&moved).contains("cannot be moved or copied"), "{}", words(&moved));

    lock(&card);
    let locked = card.run(&["answer", "--no-devices"], &format!("{PIN}\n"));
    assert_eq!(locked.status.code(), Some(1));
    assert!(words(&locked).contains("is locked"), "{}", words(&locked));
}

/// Marks the token as locked, as its firmware would after a few wrong PINs. SoftHSM keeps the flag and never sets it.
fn lock(card: &Card) {
    const FLAGS: [u8; 8] = [0, 0, 0, 0, 0x80, 0, 0x53, 0x4b];
    let mut folders = std::fs::read_dir(card.folder.join("tokens")).unwrap();
    let object = folders.next().unwrap().unwrap().path().join("token.object");
    let mut bytes = std::fs::read(&object).unwrap();
    let place = bytes.windows(8).position(|window| window == FLAGS).unwrap() + 16;
    let flags = u64::from_be_bytes(bytes[place..place + 8].try_into().unwrap()) | 0x4_0000;
    bytes[place..place + 8].copy_from_slice(&flags.to_be_bytes());
    std::fs::write(&object, bytes).unwrap();
}
