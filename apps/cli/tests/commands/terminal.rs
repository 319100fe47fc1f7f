//! The command line as people and scripts use it: processes, exit codes, lines of JSON, a real server.

use std::process::{Command, Output};
use std::time::{Duration, Instant};

use serde_json::Value;
use undertone_testkit::ears::{envelope, likeness};
use undertone_testkit::process::result as json;
use undertone_testkit::terminal::PASSPHRASE;
use undertone_testkit::{Process, ServerProcess, Terminal, TestServer, speech};

const BINARY: &str = env!("CARGO_BIN_EXE_undertone");
const PATIENCE: Duration = Duration::from_secs(30);

fn new(server: &TestServer, name: &str) -> Terminal {
    Terminal::new(server.join(name), server.address())
}

fn registered(server: &TestServer, name: &str) -> Terminal {
    Terminal::registered(server.join(name), server.address(), name).unwrap()
}

fn wait_for(process: &mut Process, event: &str) -> Value {
    process.wait_for(event, PATIENCE).unwrap()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn two_terminals_call_each_other() {
    let server = TestServer::start("terminals").await.unwrap();
    let (ada, bob) = (registered(&server, "ada"), registered(&server, "bob"));
    let (speech_a, speech_b) = (speech("ada").display().to_string(), speech("bob").display().to_string());
    let (heard, tap) = (server.join("heard.wav").display().to_string(), server.tap().display().to_string());

    let mut answering = bob.start(&["answer", "--wav-in", &speech_b, "--no-devices"]).unwrap();
    wait_for(&mut answering, "waiting");
    // One process owns a home (STO-1); what it does not run for others is refused with a word.
    let second = bob.run(&["room", "list"]).unwrap();
    assert_eq!(second.status.code(), Some(1));
    assert!(String::from_utf8_lossy(&second.stderr).contains("another undertone process"));

    let mut calling = ada
        .start(&["call", "bob", "--wav-in", &speech_a, "--wav-out", &heard, "--seconds", "3", "--check-tap", &tap])
        .unwrap();
    let (mine, theirs) = (wait_for(&mut calling, "established"), wait_for(&mut answering, "established"));
    assert_eq!(mine["sas"], theirs["sas"]);
    assert_eq!((&mine["protection"], &mine["key"], &mine["epoch"]), (&"blind".into(), &"p256".into(), &1.into()));
    let tap = wait_for(&mut calling, "tap");
    assert!(tap["packets"].as_u64() > Some(200) && tap["packets"] == tap["opened"], "{tap}");
    assert_eq!(wait_for(&mut calling, "over")["result"], "ended");
    assert_eq!(wait_for(&mut answering, "over")["result"], "ended");
    assert_eq!(calling.exit_code().unwrap(), Some(0));
    assert_eq!(answering.exit_code().unwrap(), Some(0), "being hung up on is no failure");
    assert!(std::fs::metadata(server.join("heard.wav")).unwrap().len() > 200_000);
}

/// Rule NEG-1: hop is asked for, allowed and shown, or there is no call.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn neg_1_a_hop_call_is_asked_for_by_one_and_allowed_by_the_other() {
    let server = TestServer::start("hop").await.unwrap();
    let (ada, bob) = (registered(&server, "ada"), registered(&server, "bob"));
    let say = speech("ada").display().to_string();
    let hop = ["call", "bob", "--protection", "hop", "--no-devices", "--wav-in", &say, "--seconds", "2"];
    // Whoever just answers takes blind calls and no others, and goes on waiting.
    let mut answering = bob.start(&["answer", "--no-devices"]).unwrap();
    wait_for(&mut answering, "waiting");
    let refused = ada.run(&hop).unwrap();
    assert_eq!((refused.status.code(), json(&refused)["result"].as_str()), (Some(1), Some("refused_by_policy")));
    assert_eq!(wait_for(&mut answering, "incoming")["protection"], "hop");
    wait_for(&mut answering, "hop_refused");
    let blind = ada.run(&["call", "bob", "--no-devices", "--seconds", "1"]).unwrap();
    assert_eq!(json(&blind)["result"], "ended");
    assert_eq!(answering.exit_code().unwrap(), Some(0));

    let heard = server.join("hop.wav").display().to_string();
    let mut answering = bob.start(&["answer", "--no-devices", "--allow-hop", "--wav-out", &heard]).unwrap();
    wait_for(&mut answering, "waiting");
    let mut calling = ada.start(&hop).unwrap();
    for side in [&mut calling, &mut answering] {
        let established = wait_for(side, "established");
        assert_eq!((&established["protection"], &established["epoch"]), (&"hop".into(), &Value::Null));
        assert_eq!(wait_for(side, "over")["result"], "ended");
    }
    assert_eq!((calling.exit_code().unwrap(), answering.exit_code().unwrap()), (Some(0), Some(0)));
    let (said, heard) = (envelope(&speech("ada")).unwrap(), envelope(&server.join("hop.wav")).unwrap());
    let like = likeness(&said[..75], &heard, 60).0;
    assert!(like > 0.8, "{like}");
    let stats = server.server().unwrap().relay_stats();
    assert!(stats.opened > 100, "the relay opened them: {stats:?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn rly_5_a_killed_client_is_noticed_within_ten_seconds() {
    let server = TestServer::start("killed-client").await.unwrap();
    let (ada, bob) = (registered(&server, "ada"), registered(&server, "bob"));
    let mut answering = bob.start(&["answer", "--no-devices"]).unwrap();
    wait_for(&mut answering, "waiting");
    let mut calling = ada.start(&["call", "bob", "--no-devices"]).unwrap();
    wait_for(&mut calling, "hearing");
    let start = Instant::now();
    drop(answering);
    let interrupted = wait_for(&mut calling, "interrupted");
    assert_eq!(interrupted["who"], "there");
    assert!(start.elapsed() < Duration::from_secs(10), "noticed after {:?}", start.elapsed());
    assert_eq!(wait_for(&mut calling, "over")["result"], "peer_vanished");
    assert_eq!(calling.exit_code().unwrap(), Some(1));
    // The killed process's home is whole and free.
    assert!(bob.run(&["whoami"]).unwrap().status.success());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_failure_has_its_exit_code_and_its_advice() {
    let mut server = TestServer::start("failures").await.unwrap();
    let stranger = new(&server, "stranger");
    let says = |output: &Output, code: i32, word: &str| {
        let text = [output.stderr.as_slice(), &output.stdout].map(String::from_utf8_lossy).concat();
        assert_eq!(output.status.code(), Some(code), "{text}");
        assert!(text.contains(word), "{text:?} does not say {word:?}");
    };
    says(&stranger.run(&["whoami"]).unwrap(), 1, "undertone register");
    says(&stranger.run(&["call", "bob", "--no-devices"]).unwrap(), 1, "undertone register");
    says(&stranger.run(&["frobnicate"]).unwrap(), 2, "Usage");
    says(&stranger.with_passphrase("", &["register", "ada"]).unwrap(), 2, "empty");
    says(&stranger.with_passphrase("short", &["register", "carl"]).unwrap(), 2, "at least 8");
    says(&stranger.with_passphrase("long enough", &["register", "a b"]).unwrap(), 2, "a name has");

    let ada = registered(&server, "ada");
    says(&stranger.with_passphrase("long enough", &["register", "ada"]).unwrap(), 1, "taken");
    says(&stranger.with_passphrase("x", &["login", "ada"]).unwrap(), 1, "wrong name or passphrase");
    says(&stranger.with_passphrase("x", &["login", "nobody"]).unwrap(), 1, "wrong name or passphrase");
    says(&ada.with_passphrase("x", &["register", "other"]).unwrap(), 1, "belongs to ada@localhost");
    says(&ada.run(&["call", "nobody", "--no-devices"]).unwrap(), 1, "nobody has that name");
    says(&ada.run(&["call", "ada", "--no-devices"]).unwrap(), 1, "no other device");

    let not_wav = server.join("text.wav");
    std::fs::write(&not_wav, "this is no sound").unwrap();
    let not_wav = not_wav.display().to_string();
    says(&ada.run(&["call", "bob", "--wav-in", &not_wav, "--no-devices"]).unwrap(), 1, "cannot be used as a WAV file");
    says(
        &ada.run(&["call", "bob", "--wav-in", "/nowhere.wav", "--no-devices"]).unwrap(),
        1,
        "cannot be used as a WAV file",
    );

    // A second device by the passphrase and the first one's consent: the list grows, the account key stays.
    let phone = new(&server, "phone");
    let mut login = phone.start_listening(&["login", "ada", "--label", "phone", "--passphrase-stdin"]).unwrap();
    login.say(PASSPHRASE).unwrap();
    let code = wait_for(&mut login, "pairing")["code"].as_str().unwrap().to_owned();
    says(&ada.run(&["devices", "add", &code, "--yes"]).unwrap(), 0, "let_in");
    wait_for(&mut login, "logged_in");
    assert_eq!(login.exit_code().unwrap(), Some(0));
    let devices = json(&ada.run(&["devices"]).unwrap());
    assert_eq!((&devices["version"], devices["devices"].as_array().map(Vec::len)), (&2.into(), Some(2)));
    assert_eq!(
        json(&ada.run(&["whoami"]).unwrap())["account_key"],
        json(&phone.run(&["whoami"]).unwrap())["account_key"]
    );
    assert!(phone.run(&["logout"]).unwrap().status.success());
    says(&phone.run(&["whoami"]).unwrap(), 1, "undertone register");

    let shown = json(&ada.run(&["peer", "show", "ada"]).unwrap());
    let key = shown["account_key"].as_str().unwrap().to_owned();
    says(&ada.run(&["peer", "verify", "ada", "00000-00000"]).unwrap(), 1, "not the fingerprint");
    assert_eq!(json(&ada.run(&["peer", "verify", "ada", &key]).unwrap())["state"], "verified");

    server.take_down().await;
    says(&ada.run(&["call", "bob", "--no-devices"]).unwrap(), 5, "cannot be reached");
    says(&ada.run(&["devices"]).unwrap(), 5, "cannot be reached");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn kt_14_another_server_on_the_same_port_is_not_trusted() {
    let mut server = TestServer::start("impostor").await.unwrap();
    let ada = registered(&server, "ada");
    server.take_down().await;
    std::fs::remove_dir_all(server.data()).unwrap();
    server.bring_up().await.unwrap();
    let output = ada.run(&["devices"]).unwrap();
    assert_eq!(output.status.code(), Some(4));
    assert!(String::from_utf8_lossy(&output.stderr).contains("not the one this home trusts"));
}

async fn accounts(server: &TestServer) -> sqlx::SqlitePool {
    let path = server.data().join("undertone.db");
    sqlx::SqlitePool::connect(&format!("sqlite://{}", path.display())).await.unwrap()
}

/// A server that hands out another list than its directory names is refused, whatever is known of the person, and what it
/// showed is kept and can be checked by anybody.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn kt_9_a_list_that_the_directory_does_not_name_stops_everything_and_is_kept() {
    let (server, other) =
        (TestServer::start("other-list").await.unwrap(), TestServer::start("other-list-other").await.unwrap());
    let (ada, _bob, _impostor) = (registered(&server, "ada"), registered(&server, "bob"), registered(&other, "bob"));
    let query = "SELECT list FROM device_lists WHERE user = 'bob@localhost'";
    let (list,): (Vec<u8>,) = sqlx::query_as(query).fetch_one(&accounts(&other).await).await.unwrap();
    let replaced = sqlx::query("UPDATE device_lists SET list = ? WHERE user = 'bob@localhost'").bind(list);
    assert_eq!(replaced.execute(&accounts(&server).await).await.unwrap().rows_affected(), 1);

    for command in [["peer", "show", "bob"].as_slice(), &["call", "bob", "--no-devices"]] {
        let refused = ada.run(command).unwrap();
        assert_eq!(refused.status.code(), Some(4));
        let said = String::from_utf8_lossy(&refused.stderr).replace('\n', " ");
        assert!(said.contains("KT-7") && said.contains("evidence"), "{said}");
    }
    let mut kept = std::fs::read_dir(server.join("ada").join("evidence")).unwrap();
    let file = kept.next().unwrap().unwrap().path();
    let stranger = new(&server, "stranger");
    let checked = stranger.run(&["audit", "evidence", &file.display().to_string()]).unwrap();
    assert_eq!(checked.status.code(), Some(4));
    let checked = json(&checked);
    assert_eq!(
        (&checked["rule"], &checked["holds"], &checked["convicts"]),
        (&"KT-7".into(), &false.into(), &false.into())
    );
    assert_eq!((&checked["user"], &checked["domain"]), (&"bob@localhost".into(), &"localhost".into()));
    let none = stranger.run(&["audit", "evidence", "/dev/null"]).unwrap();
    assert_eq!(none.status.code(), Some(1));
    // A name that nobody has is proven to be nobody's, and that is no failed proof.
    let nobody = ada.run(&["peer", "show", "carol"]).unwrap();
    assert_eq!(nobody.status.code(), Some(1));
    assert!(String::from_utf8_lossy(&nobody.stderr).contains("proven"));
}

/// The server publishes another account under Bob's name than the one that Ada knows: nothing about it is unproven, and it is
/// still for her to decide.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn kt_7_a_list_of_another_key_is_a_failed_proof_and_no_question() {
    let (mut server, other) =
        (TestServer::start("changed").await.unwrap(), TestServer::start("changed-other").await.unwrap());
    let ada = registered(&server, "ada");
    let _bob = registered(&server, "bob");
    assert_eq!(json(&ada.run(&["peer", "show", "bob"]).unwrap())["state"], "pinned");
    let _impostor = registered(&other, "bob");
    let second = new(&other, "bob-too").with_passphrase(PASSPHRASE, &["login", "bob", "--alone", "--yes"]).unwrap();
    assert!(second.status.success());
    let query = "SELECT list FROM device_lists WHERE user = 'bob@localhost' AND version = 2";
    let (list,): (Vec<u8>,) = sqlx::query_as(query).fetch_one(&accounts(&other).await).await.unwrap();
    server.take_down().await;
    let inserted =
        sqlx::query("INSERT INTO device_lists (user, version, list) VALUES ('bob@localhost', 2, ?)").bind(list);
    assert_eq!(inserted.execute(&accounts(&server).await).await.unwrap().rows_affected(), 1);
    server.bring_up().await.unwrap();

    let refused = ada.run(&["call", "bob", "--no-devices"]).unwrap();
    assert_eq!(refused.status.code(), Some(4));
    assert!(String::from_utf8_lossy(&refused.stderr).contains("KT-7"));
}

#[test]
fn help_and_completions_are_there() {
    let run = |arguments: &[&str]| Command::new(BINARY).args(arguments).output().unwrap();
    for command in ["register", "login", "devices", "call", "answer", "bench", "completions"] {
        let output = run(&[command, "--help"]);
        assert!(String::from_utf8_lossy(&output.stdout).contains("Example"), "{command} --help has no example");
    }
    for command in ["add", "list", "rename", "revoke", "keep", "accept"] {
        let output = run(&["devices", command, "--help"]);
        assert!(String::from_utf8_lossy(&output.stdout).contains("Example"), "devices {command} --help has no example");
    }
    let output = run(&["completions", "bash"]);
    assert!(output.status.success() && output.stdout.len() > 1000);
}

/// A person alone hears themselves, a second later, and the relay opens nothing of it.
#[test]
fn an_echo_sounds_like_who_made_it() {
    let server = ServerProcess::start("echo").unwrap();
    let ada = Terminal::registered(server.join("ada"), server.address(), "ada").unwrap();
    let (said, heard, tap) = (speech("ada"), server.join("heard.wav"), server.tap().display().to_string());
    let paths = [said.display().to_string(), heard.display().to_string()];
    let words =
        ["call", "echo@", "--wav-in", &paths[0], "--wav-out", &paths[1], "--seconds", "12", "--check-tap", &tap];
    let mut adas = ada.start(&words).unwrap();
    adas.wait_for("echo", Duration::from_secs(20)).unwrap();
    let opened = adas.wait_for("tap", Duration::from_secs(30)).unwrap();
    assert_eq!(opened["packets"], opened["opened"], "{opened}");
    assert!(opened["packets"].as_u64().unwrap() > 500, "{opened}");
    assert_eq!(adas.wait_for("over", Duration::from_secs(10)).unwrap()["result"], "ended");
    assert_eq!(adas.exit_code().unwrap(), Some(0));
    let (like, lag) = likeness(&envelope(&said).unwrap(), &envelope(&heard).unwrap(), 150);
    assert!(like > 0.9, "{like}");
    assert!(lag >= 50, "it is held back for a second: {lag}");
}
