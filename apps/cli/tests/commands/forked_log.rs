//! Rule KT-13 over real servers: two of them share every key and go on from copies of one folder, and each of two people is shown
//! the directory of another.

use std::fs;
use std::path::Path;
use std::time::Duration;

use redb::ReadableTable;
use serde_json::Value;
use undertone_testkit::process::result as json;
use undertone_testkit::{Face, Process, Proofs, ServerProcess, Terminal, TwoFaces};

const PATIENCE: Duration = Duration::from_secs(40);

/// Two forks of one server, and ada and bob, who knew it before and meet a face of it each.
struct Forked {
    one: ServerProcess,
    other: ServerProcess,
    ada: (Terminal, Face),
    bob: (Terminal, Face),
    _lies: TwoFaces,
}

impl Forked {
    /// Both are shown what `one` has until [`Face::shows`].
    fn new(name: &str) -> Self {
        let mut one = ServerProcess::start(name).unwrap();
        let lies = TwoFaces::new(&one.data(), one.address()).unwrap();
        let person = |name: &str| {
            let face = lies.face().unwrap();
            (Terminal::registered(one.join(name), face.address(), name).unwrap(), face)
        };
        let (ada, bob) = (person("ada"), person("bob"));
        one.end().unwrap();
        let other = one.fork(&format!("{name}-other")).unwrap();
        one.start_again().unwrap();
        Self { one, other, ada, bob, _lies: lies }
    }

    /// Somebody comes to one of the forks alone.
    fn joins(server: &ServerProcess, name: &str) {
        Terminal::registered(server.join(name), server.address(), name).unwrap();
    }
}

fn waiting(terminal: &Terminal) -> Process {
    let mut answer = terminal.start(&["answer", "--no-devices"]).unwrap();
    answer.wait_for("waiting", PATIENCE).unwrap();
    answer
}

/// The file that a sentence names.
fn kept(told: &Value) -> String {
    let text = ["reason", "message"].iter().find_map(|key| told[key].as_str()).unwrap();
    text.rsplit_once("is kept in ").unwrap_or_else(|| panic!("no evidence: {told}")).1.trim_end_matches('.').to_owned()
}

/// What a file of evidence is worth to somebody without an account.
fn judged(server: &ServerProcess, file: &str) -> Value {
    let stranger = Terminal::new(server.join("stranger"), server.address());
    let output = stranger.run(&["audit", "evidence", file]).unwrap();
    let found = json(&output);
    assert_eq!((output.status.code(), found["rule"].as_str()), (Some(4), Some("KT-13")), "{found}");
    assert_eq!(found["about"], "divergence");
    found
}

fn evidence(home: &Path) -> usize {
    fs::read_dir(home.join("evidence")).map_or(0, Iterator::count)
}

/// `audit self`, and what of it is owed.
fn owed(terminal: &Terminal) -> Vec<Value> {
    let output = terminal.run(&["audit", "self"]).unwrap();
    assert_eq!(output.status.code(), Some(0), "{}", String::from_utf8_lossy(&output.stderr));
    json(&output)["owed"].as_array().unwrap().clone()
}

/// As if it had been told two hours earlier.
fn grow_old(home: &Path) {
    let table = redb::TableDefinition::<&str, &[u8]>::new("records");
    let database = redb::Database::open(home.join("undertone.redb")).unwrap();
    let transaction = database.begin_write().unwrap();
    {
        let mut records = transaction.open_table(table).unwrap();
        let entry = records.range("told/"..).unwrap().next().unwrap().unwrap();
        let (name, mut bytes) = (entry.0.value().to_owned(), entry.1.value().to_vec());
        drop(entry);
        // The last four bytes are the time, a CBOR integer of 32 bits.
        let (head, time) = bytes.split_last_chunk_mut::<4>().unwrap();
        assert_eq!(head.last(), Some(&0x1a));
        *time = (u32::from_be_bytes(*time) - 2 * 60 * 60).to_be_bytes();
        records.insert(name.as_str(), bytes.as_slice()).unwrap();
    }
    transaction.commit().unwrap();
}

#[test]
fn forked_log_kt_13_two_who_are_shown_two_logs_find_out_before_anything_is_said() {
    let forked = Forked::new("forked-log");
    // As many leaves here as there, and not the same.
    Forked::joins(&forked.one, "carol");
    Forked::joins(&forked.other, "dave");
    let ((ada, adas_face), (bob, _)) = (&forked.ada, &forked.bob);
    adas_face.shows(forked.other.address());
    // Each of them alone sees nothing amiss.
    for terminal in [ada, bob] {
        assert_eq!(terminal.run(&["audit", "self"]).unwrap().status.code(), Some(0));
        assert_eq!(terminal.run(&["audit", "log"]).unwrap().status.code(), Some(0));
    }
    // Whoever is called finds out, whichever of the two it is.
    for ((caller, callee), (name, home)) in [((ada, bob), ("bob", "bob")), ((bob, ada), ("ada", "ada"))] {
        let mut answer = waiting(callee);
        let mut call = caller.start(&["call", name, "--no-devices"]).unwrap();
        let told = answer.wait_for("disproved", PATIENCE).unwrap();
        assert_eq!(answer.exit_code().unwrap(), Some(4));
        let found = judged(&forked.one, &kept(&told));
        assert_eq!(found["convicts"], true, "{found}");
        let over = call.wait_for_any(&["over", "refused", "disproved"], PATIENCE).unwrap();
        assert_eq!(over["result"], "refused_by_proof", "{over}");
        assert_ne!(call.exit_code().unwrap(), Some(0));
        assert_eq!(evidence(&forked.one.join(home)), 1);
        for process in [&answer, &call] {
            for event in ["incoming", "established", "connected"] {
                assert!(process.last(event).is_none(), "{:?}", process.events);
            }
        }
    }
}

#[test]
fn forked_log_kt_13_what_a_peer_told_is_kept_until_the_server_proves_it_or_is_caught() {
    let forked = Forked::new("forked-silent");
    Forked::joins(&forked.other, "dave");
    for name in ["carol", "erin"] {
        Forked::joins(&forked.one, name);
    }
    let ((ada, adas_face), (bob, bobs_face)) = (&forked.ada, &forked.bob);
    let bobs_home = forked.one.join("bob");
    adas_face.shows(forked.other.address());
    // The smaller of two logs contradicts nothing by itself: it takes the proof that the larger grew from it, and the server
    // keeps silent about that alone.
    for proofs in [Proofs::Withheld, Proofs::Busy] {
        bobs_face.proofs(proofs);
        let mut answer = waiting(bob);
        let mut call = ada.start(&["call", "bob", "--no-devices"]).unwrap();
        let refused = answer.wait_for("rejected", PATIENCE).unwrap();
        assert!(refused["reason"].as_str().unwrap().contains("asked again"), "{refused}");
        call.exit_code().unwrap();
        assert!(call.last("established").is_none() && answer.last("incoming").is_none());
        answer.end().unwrap();
        assert_eq!(evidence(&bobs_home), 0, "nobody is accused of being busy");
    }
    let open = owed(bob);
    assert_eq!((open.len(), &open[0]["peer"], &open[0]["overdue"]), (1, &"ada@localhost".into(), &false.into()));

    // After an hour of it, while everything else is answered, a person is told.
    grow_old(&bobs_home);
    let mut answer = waiting(bob);
    let told = answer.wait_for("proof_owed", PATIENCE).unwrap();
    assert_eq!((&told["peer"], &told["size"], &told["overdue"]), (&open[0]["peer"], &open[0]["size"], &true.into()));
    answer.end().unwrap();

    // What it says in the end is no proof, however late it says it.
    bobs_face.proofs(Proofs::Given);
    let mut answer = waiting(bob);
    let told = answer.wait_for("disproved", PATIENCE).unwrap();
    assert_eq!((&told["call"], &told["peer"]), (&Value::Null, &"ada@localhost".into()));
    assert_eq!(answer.exit_code().unwrap(), Some(4));
    judged(&forked.one, &kept(&told));
    assert_eq!(owed(bob), [] as [Value; 0], "the evidence stands for it");
}

#[test]
fn kt_13_a_server_that_is_busy_for_a_while_is_asked_again_and_accused_of_nothing() {
    let forked = Forked::new("busy-log");
    // The other is merely behind: one log, and ada is shown an earlier state of it.
    Forked::joins(&forked.one, "carol");
    let ((ada, adas_face), (bob, bobs_face)) = (&forked.ada, &forked.bob);
    adas_face.shows(forked.other.address());
    for proofs in [Proofs::Busy, Proofs::Away] {
        bobs_face.proofs(proofs);
        let (asked, mut answer) = (bobs_face.asked(), waiting(bob));
        let mut call = ada.start(&["call", "bob", "--no-devices"]).unwrap();
        answer.wait_for("rejected", PATIENCE).unwrap();
        call.exit_code().unwrap();
        answer.end().unwrap();
        assert!(bobs_face.asked() >= asked + 3, "it is given time");
        assert_eq!(owed(bob).len(), 1);
    }
    bobs_face.proofs(Proofs::Given);
    assert_eq!(owed(bob), [] as [Value; 0]);
    // Now that it answers, the call comes about as far as it can here, where there is no relay.
    let mut answer = waiting(bob);
    let call = ada.start(&["call", "bob", "--no-devices"]).unwrap();
    answer.wait_for("incoming", PATIENCE).unwrap();
    drop(call);
    assert_eq!(evidence(&forked.one.join("bob")), 0);
}
