//! The command line as people and scripts use it: processes, exit codes, lines of JSON, a real server.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing, reason = "a test may fail")]

use std::io::{BufRead, BufReader, Write};
use std::path::PathBuf;
use std::process::{Child, Command, Output, Stdio};
use std::time::{Duration, Instant};

use serde_json::Value;
use undertone_testkit::{TestServer, speech};

const BINARY: &str = env!("CARGO_BIN_EXE_undertone");

struct Terminal {
    home: PathBuf,
    server: String,
}

impl Terminal {
    fn new(server: &TestServer, name: &str) -> Self {
        Self { home: server.join(name), server: server.address() }
    }

    fn command(&self, arguments: &[&str]) -> Command {
        let mut command = Command::new(BINARY);
        command.args(["--json", "--home"]).arg(&self.home).args(arguments).env("UNDERTONE_SERVER", &self.server);
        command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
        command
    }

    fn run(&self, arguments: &[&str]) -> Output {
        self.command(arguments).output().unwrap()
    }

    fn with_passphrase(&self, passphrase: &str, arguments: &[&str]) -> Output {
        let mut child = self.command(arguments).arg("--passphrase-stdin").stdin(Stdio::piped()).spawn().unwrap();
        writeln!(child.stdin.take().unwrap(), "{passphrase}").unwrap();
        child.wait_with_output().unwrap()
    }

    fn registered(server: &TestServer, name: &str) -> Self {
        let terminal = Self::new(server, name);
        let output = terminal.with_passphrase("a long passphrase", &["register", name]);
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        terminal
    }

    fn start(&self, arguments: &[&str]) -> Running {
        let mut child = self.command(arguments).spawn().unwrap();
        let (send, lines) = std::sync::mpsc::channel();
        let stdout = BufReader::new(child.stdout.take().unwrap());
        std::thread::spawn(move || {
            for line in stdout.lines().map_while(Result::ok) {
                let _ = send.send(serde_json::from_str(&line).unwrap_or(Value::String(line)));
            }
        });
        Running { child, lines }
    }
}

/// A command that goes on; killed when dropped.
struct Running {
    child: Child,
    lines: std::sync::mpsc::Receiver<Value>,
}

impl Running {
    fn wait_for(&self, event: &str) -> Value {
        let end = Instant::now() + Duration::from_secs(30);
        while let Some(left) = end.checked_duration_since(Instant::now()) {
            match self.lines.recv_timeout(left) {
                Ok(line) if line["event"] == event => return line,
                Ok(_) => {}
                Err(_) => break,
            }
        }
        panic!("no event {event:?} came")
    }

    fn exit_code(mut self) -> Option<i32> {
        self.child.wait().unwrap().code()
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn json(output: &Output) -> Value {
    let text = String::from_utf8_lossy(&output.stdout);
    serde_json::from_str(text.lines().last().unwrap_or_default()).unwrap_or(Value::Null)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn two_terminals_call_each_other() {
    let server = TestServer::start("terminals").await.unwrap();
    let (ada, bob) = (Terminal::registered(&server, "ada"), Terminal::registered(&server, "bob"));
    let (speech_a, speech_b) = (speech("ada").display().to_string(), speech("bob").display().to_string());
    let (heard, tap) = (server.join("heard.wav").display().to_string(), server.tap().display().to_string());

    let answering = bob.start(&["answer", "--wav-in", &speech_b, "--no-devices"]);
    answering.wait_for("waiting");
    // One process owns a home (STO-1); the second says so.
    let second = bob.run(&["whoami"]);
    assert_eq!(second.status.code(), Some(1));
    assert!(String::from_utf8_lossy(&second.stderr).contains("another undertone process"));

    let calling =
        ada.start(&["call", "bob", "--wav-in", &speech_a, "--wav-out", &heard, "--seconds", "3", "--check-tap", &tap]);
    let (mine, theirs) = (calling.wait_for("established"), answering.wait_for("established"));
    assert_eq!(mine["sas"], theirs["sas"]);
    assert_eq!((&mine["protection"], &mine["key"], &mine["epoch"]), (&"blind".into(), &"p256".into(), &1.into()));
    let tap = calling.wait_for("tap");
    assert!(tap["packets"].as_u64() > Some(200) && tap["packets"] == tap["opened"], "{tap}");
    assert_eq!(calling.wait_for("over")["result"], "ended");
    assert_eq!(answering.wait_for("over")["result"], "ended");
    assert_eq!(calling.exit_code(), Some(0));
    assert_eq!(answering.exit_code(), Some(0), "being hung up on is no failure");
    assert!(std::fs::metadata(server.join("heard.wav")).unwrap().len() > 200_000);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn rly_5_a_killed_client_is_noticed_within_ten_seconds() {
    let server = TestServer::start("killed-client").await.unwrap();
    let (ada, bob) = (Terminal::registered(&server, "ada"), Terminal::registered(&server, "bob"));
    let answering = bob.start(&["answer", "--no-devices"]);
    answering.wait_for("waiting");
    let calling = ada.start(&["call", "bob", "--no-devices"]);
    calling.wait_for("hearing");
    let start = Instant::now();
    drop(answering);
    let interrupted = calling.wait_for("interrupted");
    assert_eq!(interrupted["who"], "there");
    assert!(start.elapsed() < Duration::from_secs(10), "noticed after {:?}", start.elapsed());
    assert_eq!(calling.wait_for("over")["result"], "peer_vanished");
    assert_eq!(calling.exit_code(), Some(1));
    // The killed process's home is whole and free.
    assert!(bob.run(&["whoami"]).status.success());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_failure_has_its_exit_code_and_its_advice() {
    let mut server = TestServer::start("failures").await.unwrap();
    let stranger = Terminal::new(&server, "stranger");
    let says = |output: &Output, code: i32, word: &str| {
        let text = [output.stderr.as_slice(), &output.stdout].map(String::from_utf8_lossy).concat();
        assert_eq!(output.status.code(), Some(code), "{text}");
        assert!(text.contains(word), "{text:?} does not say {word:?}");
    };
    says(&stranger.run(&["whoami"]), 1, "undertone register");
    says(&stranger.run(&["call", "bob", "--no-devices"]), 1, "undertone register");
    says(&stranger.run(&["frobnicate"]), 2, "Usage");
    says(&stranger.with_passphrase("", &["register", "ada"]), 2, "empty");
    says(&stranger.with_passphrase("short", &["register", "carl"]), 2, "at least 8");
    says(&stranger.with_passphrase("long enough", &["register", "a b"]), 2, "a name has");

    let ada = Terminal::registered(&server, "ada");
    says(&stranger.with_passphrase("long enough", &["register", "ada"]), 1, "taken");
    says(&stranger.with_passphrase("x", &["login", "ada"]), 1, "wrong name or passphrase");
    says(&stranger.with_passphrase("x", &["login", "nobody"]), 1, "wrong name or passphrase");
    says(&ada.with_passphrase("x", &["register", "other"]), 1, "belongs to ada@localhost");
    says(&ada.run(&["call", "nobody", "--no-devices"]), 1, "nobody has that name");
    says(&ada.run(&["call", "ada", "--no-devices"]), 1, "no device");

    let not_wav = server.join("text.wav");
    std::fs::write(&not_wav, "this is no sound").unwrap();
    let not_wav = not_wav.display().to_string();
    says(&ada.run(&["call", "bob", "--wav-in", &not_wav, "--no-devices"]), 1, "cannot be used as a WAV file");
    says(&ada.run(&["call", "bob", "--wav-in", "/nowhere.wav", "--no-devices"]), 1, "cannot be used as a WAV file");

    // A second device by the passphrase: the list grows, the account key stays.
    let phone = Terminal::new(&server, "phone");
    assert!(phone.with_passphrase("a long passphrase", &["login", "ada", "--label", "phone"]).status.success());
    let devices = json(&ada.run(&["devices"]));
    assert_eq!((&devices["version"], devices["devices"].as_array().map(Vec::len)), (&2.into(), Some(2)));
    assert_eq!(json(&ada.run(&["whoami"]))["account_key"], json(&phone.run(&["whoami"]))["account_key"]);
    assert!(phone.run(&["logout"]).status.success());
    says(&phone.run(&["whoami"]), 1, "undertone register");

    let shown = json(&ada.run(&["peer", "show", "ada"]));
    let key = shown["account_key"].as_str().unwrap().to_owned();
    says(&ada.run(&["peer", "verify", "ada", "00000-00000"]), 1, "not the fingerprint");
    assert_eq!(json(&ada.run(&["peer", "verify", "ada", &key]))["state"], "verified");

    server.take_down().await;
    says(&ada.run(&["call", "bob", "--no-devices"]), 5, "cannot be reached");
    says(&ada.run(&["devices"]), 5, "cannot be reached");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn kt_14_another_server_on_the_same_port_is_not_trusted() {
    let mut server = TestServer::start("impostor").await.unwrap();
    let ada = Terminal::registered(&server, "ada");
    server.take_down().await;
    std::fs::remove_dir_all(server.data()).unwrap();
    server.bring_up().await.unwrap();
    let output = ada.run(&["devices"]);
    assert_eq!(output.status.code(), Some(4));
    assert!(String::from_utf8_lossy(&output.stderr).contains("not the one this home trusts"));
}

/// The server shows Ada another account under Bob's name than the one she knows.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn kt_10_a_changed_account_key_stops_calls_until_a_person_decides() {
    let (server, other) =
        (TestServer::start("changed").await.unwrap(), TestServer::start("changed-other").await.unwrap());
    let ada = Terminal::registered(&server, "ada");
    let _bob = Terminal::registered(&server, "bob");
    let known = json(&ada.run(&["peer", "show", "bob"]))["account_key"].as_str().unwrap().to_owned();
    let _impostor = Terminal::registered(&other, "bob");
    let open = async |server: &TestServer| {
        let path = server.data().join("undertone.db");
        sqlx::SqlitePool::connect(&format!("sqlite://{}", path.display())).await.unwrap()
    };
    let (theirs, ours) = (open(&other).await, open(&server).await);
    let (list,): (Vec<u8>,) =
        sqlx::query_as("SELECT list FROM device_lists WHERE user = 'bob@localhost'").fetch_one(&theirs).await.unwrap();
    let replaced = sqlx::query("UPDATE device_lists SET list = ? WHERE user = 'bob@localhost'").bind(list);
    assert_eq!(replaced.execute(&ours).await.unwrap().rows_affected(), 1);

    let refused = ada.run(&["call", "bob", "--no-devices"]);
    assert_eq!(refused.status.code(), Some(3));
    let advice = String::from_utf8_lossy(&refused.stderr).into_owned();
    assert!(advice.contains(&known) && advice.contains("undertone peer trust bob@localhost --accept"), "{advice}");
    let shown = json(&ada.run(&["peer", "show", "bob"]));
    assert_eq!((&shown["state"], &shown["change"]["old"]), (&"changed".into(), &known.as_str().into()));
    let new = shown["change"]["new"].as_str().unwrap().to_owned();
    assert_eq!(ada.run(&["peer", "trust", "bob", "--accept", &known]).status.code(), Some(1), "that is the old key");
    assert!(ada.run(&["peer", "trust", "bob", "--refuse", &new]).status.success());
    assert_eq!(ada.run(&["call", "bob", "--no-devices"]).status.code(), Some(3));
    assert_eq!(json(&ada.run(&["peer", "trust", "bob", "--accept", &new]))["state"], "overridden");
    let offline = ada.run(&["call", "bob", "--no-devices"]);
    assert_eq!((offline.status.code(), json(&offline)["result"].as_str()), (Some(1), Some("offline")));
}

#[test]
fn help_and_completions_are_there() {
    let run = |arguments: &[&str]| Command::new(BINARY).args(arguments).output().unwrap();
    for command in ["register", "login", "call", "answer", "completions"] {
        let output = run(&[command, "--help"]);
        assert!(String::from_utf8_lossy(&output.stdout).contains("Example"), "{command} --help has no example");
    }
    let output = run(&["completions", "bash"]);
    assert!(output.status.success() && output.stdout.len() > 1000);
}
