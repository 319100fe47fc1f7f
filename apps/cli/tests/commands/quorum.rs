//! Quorum secrets over a swarm of 25 nodes, with the programs that people run.

use std::io::{BufRead, BufReader};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use serde_json::Value;
use undertone_testkit::process::{self, program};
use undertone_testkit::{Process, ServerProcess, SwarmProcess, Terminal};

use crate::python;

const PATIENCE: Duration = Duration::from_secs(40);

struct Scene {
    server: ServerProcess,
    swarm: SwarmProcess,
    ada: Terminal,
    bob: Terminal,
}

impl Scene {
    fn new(name: &str) -> Self {
        let server = ServerProcess::start(name).unwrap();
        let swarm = SwarmProcess::start(&server.join("swarm"), 2).unwrap();
        let person = |name: &str| Terminal::registered(server.join(name), server.address(), name).unwrap();
        let (ada, bob) = (person("ada"), person("bob"));
        Self { server, swarm, ada, bob }
    }
}

fn answers(bob: &Terminal, more: &[&str]) -> Process {
    let mut bob = bob.start(&[&["answer", "--no-devices"], more].concat()).unwrap();
    bob.wait_for("waiting", PATIENCE).unwrap();
    bob
}

fn lines(output: &std::process::Output) -> Vec<Value> {
    String::from_utf8_lossy(&output.stdout).lines().map(|line| serde_json::from_str(line).unwrap()).collect()
}

fn find<'l>(lines: &'l [Value], event: &str) -> &'l Value {
    lines.iter().find(|line| line["event"] == event).unwrap_or_else(|| panic!("no {event} in {lines:?}"))
}

#[test]
fn rkx_5_quorum_secret_in_call_over_a_swarm() {
    let mut scene = Scene::new("quorum");
    // Nobody is enrolled yet: it is said before anything leaves.
    let refused = scene.ada.run(&["raida", "exchange", "--with", "bob"]).unwrap();
    assert!(!refused.status.success() && String::from_utf8_lossy(&refused.stderr).contains("raida enrol"));
    let enrolled = scene.swarm.enrol(&scene.ada, 1).unwrap();
    assert_eq!((&enrolled["not_right"], &enrolled["swarm"]["threshold"]), (&0.into(), &17.into()));
    // Bob is not: the caller is told, and bob goes on waiting.
    let mut bob = answers(&scene.bob, &[]);
    let ended = scene.ada.run(&["raida", "exchange", "--with", "bob"]).unwrap();
    assert_eq!(find(&lines(&ended), "over")["result"], "no_quorum");
    bob.wait_for("rejected", PATIENCE).unwrap();
    bob.kill().unwrap();

    scene.swarm.enrol(&scene.bob, 2).unwrap();
    let mut bob = answers(&scene.bob, &["--require-quorum"]);
    // A call without is refused by whoever requires one, who goes on waiting.
    let refused = scene.ada.run(&["call", "bob", "--no-devices"]).unwrap();
    assert_eq!(find(&lines(&refused), "over")["result"], "refused_by_policy");
    bob.wait_for("quorum_required", PATIENCE).unwrap();
    let exchanged = scene.ada.run(&["raida", "exchange", "--with", "bob"]).unwrap();
    assert!(exchanged.status.success());
    let said = lines(&exchanged);
    let (fetched, talking) = (find(&said, "quorum"), find(&said, "established"));
    assert_eq!((&fetched["step"], &fetched["fault"]), (&"fetched".into(), &Value::Null));
    let posted = bob.wait_for("quorum", PATIENCE).unwrap();
    assert_eq!((&posted["step"], &posted["need"]), (&"posted".into(), &17.into()));
    assert_eq!(posted["nodes"].as_array().unwrap().len(), 25);
    let theirs = bob.wait_for("established", PATIENCE).unwrap();
    assert_eq!((&theirs["sas"], &theirs["epoch"]), (&talking["sas"], &1.into()));
    assert_eq!((&talking["quorum"]["threshold"], &theirs["quorum"]["nodes"]), (&17.into(), &25.into()));
    assert_eq!(bob.exit_code().unwrap(), Some(0));

    // Whoever has another secret, though every other key is right, opens nothing.
    let mut bob = answers(&scene.bob, &[]);
    let wrong = scene.ada.run(&["call", "bob", "--quorum", "--drill-wrong-quorum", "--no-devices"]).unwrap();
    assert_eq!(find(&lines(&wrong), "over")["result"], "refused_by_proof");
    assert!(lines(&wrong).iter().all(|line| line["event"] != "established"));
    assert_eq!(bob.wait_for_any(&["over", "established"], PATIENCE).unwrap()["result"], "refused_by_proof");
    scene.swarm.end().unwrap();

    // Without its nodes there is no such call; without a quorum there is one as ever.
    let mut bob = answers(&scene.bob, &[]);
    let gone = scene.ada.run(&["raida", "exchange", "--with", "bob"]).unwrap();
    assert_eq!(find(&lines(&gone), "over")["result"], "no_quorum");
    let down = bob.wait_for("quorum", PATIENCE).unwrap();
    assert!(down["nodes"].as_array().unwrap().iter().all(|node| node["said"] == "down"), "{down}");
    drop(bob);
    let mut bob = answers(&scene.bob, &[]);
    let plain = scene.ada.run(&["call", "bob", "--no-devices", "--seconds", "1"]).unwrap();
    assert_eq!(find(&lines(&plain), "established")["quorum"], Value::Null);
    bob.wait_for("over", PATIENCE).unwrap();
    scene.server.end().unwrap();
}

/// What `room explain` says of the group's quorum secret.
fn explained(who: &Terminal) -> Value {
    let said = who.run(&["room", "explain", "vault"]).unwrap();
    lines(&said)[0]["group"]["quorum"].clone()
}

#[test]
fn rkx_5_quorum_secret_in_call_of_a_room_over_a_swarm() {
    let mut scene = Scene::new("quorum-room");
    scene.swarm.enrol(&scene.ada, 1).unwrap();
    // What it would not protect is not made.
    for other in [["--quorum", "--audience"], ["--quorum", "--keys=host"], ["--quorum", "--protection=hop"]] {
        let refused = scene.ada.run(&[&["room", "create", "odd"][..], &other].concat()).unwrap();
        assert!(!refused.status.success());
        find(&lines(&refused), "room_refused");
    }
    let made = scene.ada.run(&["room", "create", "vault", "--quorum", "--invite", "bob"]).unwrap();
    assert_eq!(find(&lines(&made), "room_created")["quorum"], true);
    let plain = scene.ada.run(&["room", "create", "plain"]).unwrap();
    assert_eq!(find(&lines(&plain), "room_created")["quorum"], false);
    // What the room asks of whoever comes is said before anybody is in.
    for (room, says) in [("vault", true), ("plain", false)] {
        let words = scene.ada.read(&["room", "explain", room]).unwrap();
        assert!(words.contains("no call      no program of this home is in the room"), "{words}");
        let line = words.lines().any(|line| line.starts_with("quorum       a secret that comes over a swarm's nodes"));
        assert_eq!(line, says, "{words}");
    }
    let refused = scene.ada.run(&["room", "join", "plain", "--no-devices", "--require-quorum"]).unwrap();
    find(&lines(&refused), "quorum_refused");
    // Bob is in no swarm: he is told before anything leaves.
    let refused = scene.bob.run(&["room", "join", "vault", "--no-devices"]).unwrap();
    assert!(!refused.status.success() && String::from_utf8_lossy(&refused.stderr).contains("raida enrol"));
    scene.swarm.enrol(&scene.bob, 2).unwrap();

    let join = |who: &Terminal, voice: &str| {
        let voice = undertone_testkit::speech(voice).display().to_string();
        who.start(&["room", "join", "vault", "--no-devices", "--require-quorum", "--wav-in", &voice]).unwrap()
    };
    let mut ada = join(&scene.ada, "ada");
    assert_eq!(ada.wait_for("room_entered", PATIENCE).unwrap()["quorum"], true);
    assert_eq!(ada.wait_for("group_joined", PATIENCE).unwrap()["how"], "created");
    let mut bob = join(&scene.bob, "bob");
    let posted = ada.wait_for("quorum", PATIENCE).unwrap();
    assert_eq!((&posted["step"], &posted["need"], &posted["fault"]), (&"posted".into(), &17.into(), &Value::Null));
    let fetched = bob.wait_for("quorum", PATIENCE).unwrap();
    assert_eq!((&fetched["step"], &fetched["fault"]), (&"fetched".into(), &Value::Null));
    assert_eq!(bob.wait_for("group_joined", PATIENCE).unwrap()["how"], "welcomed");
    for side in [&mut ada, &mut bob] {
        side.hears(50, PATIENCE).unwrap();
    }
    let (drew, had) = (explained(&scene.ada), explained(&scene.bob));
    let words = scene.bob.read(&["room", "explain", "vault"]).unwrap();
    assert!(words.contains("of 25 nodes, at epoch"), "{words}");
    assert_eq!((&drew["by"], &drew["given"], &drew["threshold"]), (&Value::Null, &1.into(), &17.into()));
    assert!(had["by"]["user"].as_str().unwrap().starts_with("ada"), "{had}");
    assert_eq!((&had["threshold"], &had["nodes"], &had["lacks"]), (&17.into(), &25.into(), &false.into()));
    bob.end().unwrap();

    // With nobody of the swarm there, whoever comes is not let in by anything else; who is in goes on.
    scene.swarm.end().unwrap();
    let mut bob = join(&scene.bob, "bob");
    let down = bob.wait_for("group_waits", PATIENCE).unwrap();
    assert_eq!(down["reason"], "psk");
    assert!(ada.wait_for("quorum", PATIENCE).unwrap()["fault"].is_string());
    assert_eq!(explained(&scene.bob)["lacks"], true);
    bob.end().unwrap();
    ada.end().unwrap();
    scene.server.end().unwrap();
}

#[test]
fn rkx_5_a_broken_coin_is_found_and_healed() {
    let mut scene = Scene::new("healing");
    // The wallet says something else of the first coin on node 3 than the node does, as after a restored backup.
    let wallet = std::fs::read_to_string(scene.swarm.wallet(1)).unwrap();
    let wrong = wallet.lines().map(|line| match line.starts_with("00.26 3 ") {
        true => format!("00.26 3 {}", "5a".repeat(16)),
        false => line.to_owned(),
    });
    let file = scene.server.join("wrong.keys");
    std::fs::write(&file, wrong.collect::<Vec<_>>().join("\n")).unwrap();
    let (swarm, keys) = (scene.swarm.file().display().to_string(), file.display().to_string());
    let enrolled = scene.ada.run(&["raida", "enrol", "--swarm", &swarm, "--keys", &keys]).unwrap();
    assert_eq!(lines(&enrolled)[0]["not_right"], 1);
    let check = scene.ada.run(&["raida", "check"]).unwrap();
    assert_eq!(check.status.code(), Some(1));
    let keys = lines(&check)[0]["keys"].as_array().unwrap().clone();
    let bad: Vec<_> = keys.iter().filter(|key| key["said"] != "good").collect();
    assert_eq!((bad.len(), &bad[0]["raida"], &bad[0]["said"]), (1, &3.into(), &"refused".into()));
    let heal = scene.ada.run(&["raida", "heal"]).unwrap();
    assert!(heal.status.success(), "{}", String::from_utf8_lossy(&heal.stdout));
    assert_eq!(find(&lines(&heal), "healed")["raida"], 3);
    assert!(scene.ada.run(&["raida", "check"]).unwrap().status.success());
    let again = scene.ada.run(&["raida", "heal"]).unwrap();
    assert_eq!((&lines(&again)[0]["healed"], &lines(&again)[0]["failed"]), (&0.into(), &0.into()));
    // What is no wallet, or not this swarm's, is refused and nothing is kept.
    for (text, word) in
        [("00.26 1 zz", "line 1"), ("", "two coins"), ("00.26 0 00112233445566778899aabbccddeeff", "two coins")]
    {
        std::fs::write(&file, text).unwrap();
        let keys = file.display().to_string();
        let refused = scene.bob.run(&["raida", "enrol", "--swarm", &swarm, "--keys", &keys]).unwrap();
        let said = String::from_utf8_lossy(&refused.stderr).into_owned();
        assert!(!refused.status.success() && said.contains(word), "{said}");
    }
    let none = scene.bob.run(&["raida", "check"]).unwrap();
    assert!(String::from_utf8_lossy(&none.stderr).contains("not enrolled"));
    scene.swarm.end().unwrap();
    scene.server.end().unwrap();
}

/// What programs of the original do: a key in sixteen parts, an alert, and whoever listens fetches it.
#[test]
fn rkx_1_a_key_is_sent_to_whoever_listens() {
    let mut scene = Scene::new("sending");
    scene.swarm.enrol(&scene.ada, 1).unwrap();
    scene.swarm.enrol(&scene.bob, 2).unwrap();
    let (key, got) = (scene.server.join("new.key"), scene.server.join("got.key"));
    std::fs::write(&key, [7; 64]).unwrap();
    let (path, out) = (key.display().to_string(), got.display().to_string());
    let mut bob = scene.bob.start(&["raida", "listen", "--out", &out]).unwrap();
    assert_eq!(bob.wait_for("listening", PATIENCE).unwrap()["coin"], "00.28");
    // Who listens is known to nodes a moment after it says so.
    let sent = (0..20).find_map(|_| {
        let sent = scene.ada.run(&["raida", "send", "--to", "00.28", "--key", &path]).unwrap();
        assert_eq!((&lines(&sent)[0]["sent"], &lines(&sent)[0]["told"]), (&true.into(), &true.into()));
        std::thread::sleep(Duration::from_millis(500));
        (!bob.is_running()).then_some(())
    });
    assert!(sent.is_some());
    let received = bob.wait_for("received", PATIENCE).unwrap();
    assert_eq!((&received["from"], &received["bytes"]), (&"00.26".into(), &64.into()));
    assert_eq!(std::fs::read(&got).unwrap(), [7; 64]);
    std::fs::write(&key, [7; 15]).unwrap();
    let refused = scene.ada.run(&["raida", "send", "--to", "00.28", "--key", &path]).unwrap();
    assert!(String::from_utf8_lossy(&refused.stderr).contains("multiple of 16"));
    scene.swarm.end().unwrap();
    scene.server.end().unwrap();
}

/// A program that ends with its value, whatever becomes of the test.
struct Listening(Child);

impl Drop for Listening {
    fn drop(&mut self) {
        let _gone = self.0.kill();
        let _ended = self.0.wait();
    }
}

/// The same with somebody whose program shares no code with ours, either way.
#[test]
fn independent_client_sends_and_receives_a_key_in_sixteen_parts() {
    let mut scene = Scene::new("sixteen");
    scene.swarm.enrol(&scene.bob, 2).unwrap();
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("../..");
    let interop = root.join("dev/interop");
    let python = python::python(&interop, &root.join("target"));
    let other = |arguments: &[&str]| {
        let mut command = Command::new(&python);
        command.arg(interop.join("raida_sixteen.py")).arg("--swarm").arg(scene.swarm.file());
        command.arg("--wallet").arg(scene.swarm.wallet(1)).args(arguments);
        command
    };
    let (key, got) = (scene.server.join("sent.key"), scene.server.join("got.key"));
    let (sent, out) = (key.display().to_string(), got.display().to_string());
    let mut bob = scene.bob.start(&["raida", "listen", "--out", &out]).unwrap();
    bob.wait_for("listening", PATIENCE).unwrap();
    let letters: Vec<u8> = (0..64).collect();
    let hex: String = letters.iter().map(|byte| format!("{byte:02x}")).collect();
    // Who listens is known to nodes a moment after it says so.
    let arrived = (0..20).any(|_| {
        let output = other(&["send", "--to", "00.28", "--key", &hex]).output().unwrap();
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        std::thread::sleep(Duration::from_millis(500));
        !bob.is_running()
    });
    assert!(arrived);
    assert_eq!(bob.wait_for("received", PATIENCE).unwrap()["from"], "00.26");
    assert_eq!(std::fs::read(&got).unwrap(), letters);

    std::fs::write(&key, &letters).unwrap();
    let mut listening = Listening(other(&["listen"]).stdout(Stdio::piped()).spawn().unwrap());
    let mut said = BufReader::new(listening.0.stdout.take().unwrap()).lines();
    assert_eq!(said.next().unwrap().unwrap(), "listening");
    let told = scene.bob.run(&["raida", "send", "--to", "00.26", "--key", &sent]).unwrap();
    assert_eq!((&lines(&told)[0]["sent"], &lines(&told)[0]["told"]), (&true.into(), &true.into()));
    assert_eq!(said.next().unwrap().unwrap(), hex);
    assert!(listening.0.wait().unwrap().success());
    scene.swarm.end().unwrap();
    scene.server.end().unwrap();
}

/// Nodes of three operators, each with coins that it has issued itself: what they hand out is enrolled, and good.
#[test]
fn rkx_5_an_account_is_enrolled_with_what_operators_have_issued() {
    let server = ServerProcess::start("operators").unwrap();
    let ada = Terminal::registered(server.join("ada"), server.address(), "ada").unwrap();
    let mut swarm = format!("name = \"{}\"\ncoin_id = 6\nthreshold = 2\n", "6c".repeat(16));
    let (mut enrol, mut nodes) = (vec!["raida".to_owned(), "enrol".to_owned()], Vec::new());
    for raida in 0..3 {
        let (number, data) = (raida.to_string(), server.join(&format!("node-{raida}")).display().to_string());
        let keys = server.join(&format!("{raida}.keys")).display().to_string();
        let node = |command: &[&str]| {
            let mut node = program("undertone-server").unwrap();
            node.arg("raida").args(command).args(["--json", "--raida", &number, "--data", &data]);
            node
        };
        let issued =
            process::run(&mut node(&["coins", "create", "--count", "2", "--first", "5", "--keys", &keys]), "").unwrap();
        assert!(issued.status.success(), "{issued:?}");
        let mut node = Process::start("node", &mut node(&["serve", "--listen", "127.0.0.1:0"])).unwrap();
        let ready = node.wait_for("ready", PATIENCE).unwrap();
        let address = ready["address"].as_str().unwrap();
        swarm.push_str(&format!("\n[[node]]\nraida = {raida}\naddress = \"{address}\"\ncoin = \"00.{}\"\n", raida + 1));
        enrol.extend(["--keys".to_owned(), keys]);
        nodes.push(node);
    }
    let file = server.join("swarm.toml");
    std::fs::write(&file, swarm).unwrap();
    enrol.extend(["--swarm".to_owned(), file.display().to_string()]);
    let enrol: Vec<&str> = enrol.iter().map(String::as_str).collect();
    let enrolled = ada.run(&enrol).unwrap();
    assert!(enrolled.status.success(), "{enrolled:?}");
    assert_eq!(lines(&enrolled)[0]["swarm"]["coins"], serde_json::json!(["00.5", "00.6"]));
    assert!(ada.run(&["raida", "check"]).unwrap().status.success());
    nodes.into_iter().for_each(|node| node.end().unwrap());
}
