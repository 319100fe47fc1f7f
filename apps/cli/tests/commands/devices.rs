//! Devices of one account as people see them: let in, renamed, revoked, lost and brought back (rules ID-6, ID-7).

use std::process::{Command, Output};
use std::time::{Duration, Instant};

use serde_json::Value;
use undertone_testkit::process::{self, program, result as json};
use undertone_testkit::terminal::PASSPHRASE;
use undertone_testkit::{Process, ServerProcess, Terminal};

const PATIENCE: Duration = Duration::from_secs(30);
/// After which a revoked device must have heard of it; and room for a machine that is busy.
const AT_ONCE: Duration = Duration::from_secs(1);
const BUSY: Duration = Duration::from_secs(2);

fn says(output: &Output, code: i32, words: &[&str]) {
    let text = [output.stderr.as_slice(), &output.stdout].map(String::from_utf8_lossy).concat().replace('\n', " ");
    assert_eq!(output.status.code(), Some(code), "{text}");
    for word in words {
        assert!(text.contains(word), "{text:?} does not say {word:?}");
    }
}

fn new(server: &ServerProcess, home: &str) -> Terminal {
    Terminal::new(server.join(home), server.address())
}

fn registered(server: &ServerProcess, name: &str) -> Terminal {
    Terminal::registered(server.join(name), server.address(), name).unwrap()
}

/// A login that waits to be let in, and the code that it shows.
fn knocking(device: &Terminal, words: &[&str]) -> (Process, String) {
    let mut login = device.start_listening(&[&["login", "ada", "--passphrase-stdin"], words].concat()).unwrap();
    login.say(PASSPHRASE).unwrap();
    let pairing = login.wait_for("pairing", PATIENCE).unwrap();
    assert_eq!(pairing["qr"], format!("undertone:pair/{}", pairing["code"].as_str().unwrap()));
    (login, pairing["code"].as_str().unwrap().to_owned())
}

/// A second device, let in by the first.
fn let_in(present: &Terminal, device: &Terminal, label: &str) {
    let (mut login, code) = knocking(device, &["--label", label]);
    says(&present.run(&["devices", "add", &code, "--yes"]).unwrap(), 0, &["let_in"]);
    login.wait_for("logged_in", PATIENCE).unwrap();
    assert_eq!(login.exit_code().unwrap(), Some(0));
}

/// Label and status of each device, as this one has them proven.
fn devices(terminal: &Terminal) -> Vec<(String, String)> {
    let output = terminal.run(&["devices"]).unwrap();
    let object = json(&output);
    let Some(devices) = object["devices"].as_array() else {
        panic!("{}", String::from_utf8_lossy(&output.stderr));
    };
    let text = |value: &Value| value.as_str().unwrap().to_owned();
    devices.iter().map(|device| (text(&device["label"]), text(&device["status"]))).collect()
}

fn pair(label: &str, status: &str) -> (String, String) {
    (label.into(), status.into())
}

/// Rule ID-6: the passphrase alone adds no device beside those that are there.
#[test]
fn id_6_a_device_joins_when_one_that_is_there_lets_it_in() {
    let server = ServerProcess::start("devices").unwrap();
    let ada = registered(&server, "ada");
    let phone = new(&server, "phone");
    let (mut login, code) = knocking(&phone, &["--label", "phone"]);
    // It waits: nothing has changed, and nobody is cut off.
    std::thread::sleep(Duration::from_secs(2));
    assert!(login.last("logged_in").is_none());
    assert_eq!(devices(&ada), [pair("terminal", "active")]);
    // A mistyped code is noticed before anybody is asked, and so is that nobody said yes.
    let last = if code.ends_with('7') { "8" } else { "7" };
    let wrong = format!("{}{last}", &code[..code.len() - 1]);
    says(&ada.run(&["devices", "add", &wrong, "--yes"]).unwrap(), 2, &["misread"]);
    says(&ada.run(&["devices", "add", &code]).unwrap(), 2, &["--yes"]);
    // As a person types it, or as the QR code has it.
    let typed = format!("UNDERTONE:pair/{}", code.to_lowercase().replace('-', " "));
    says(&ada.run(&["devices", "add", &typed, "--yes"]).unwrap(), 0, &["let_in"]);
    login.wait_for("logged_in", PATIENCE).unwrap();
    assert_eq!(login.exit_code().unwrap(), Some(0));

    let listed = json(&phone.run(&["devices", "list"]).unwrap());
    let (first, second) = (&listed["devices"][0], &listed["devices"][1]);
    assert_eq!(
        (&listed["version"], &first["let_in_by"], &second["let_in_by"]),
        (&2.into(), &Value::Null, &first["device"])
    );
    assert_eq!((&first["this"], &second["this"], &second["label"]), (&false.into(), &true.into(), &"phone".into()));
    assert!(second["created"].as_u64() >= first["created"].as_u64());
    says(&ada.run(&["devices", "add", &code, "--yes"]).unwrap(), 1, &["already"]);
    // Whoever knows them sees no alarm.
    let bob = registered(&server, "bob");
    assert_eq!(json(&bob.run(&["peer", "show", "ada"]).unwrap())["state"], "pinned");

    // The new one lets others in as well, and a name is changed by the device that has it.
    let tablet = new(&server, "tablet");
    let_in(&phone, &tablet, "tablet");
    // The first one has not seen that before: an alarm, until its owner says that it is theirs. The one that it let in itself
    // is none.
    let alarmed = ada.run(&["audit", "self"]).unwrap();
    says(&alarmed, 3, &["tablet"]);
    assert_eq!(json(&alarmed)["alarms"].as_array().map(Vec::len), Some(1));
    says(&ada.run(&["devices", "accept", "tablet"]).unwrap(), 0, &["accepted"]);
    says(&ada.run(&["audit", "self"]).unwrap(), 0, &[]);
    says(
        &tablet.with_passphrase("not it at all", &["devices", "rename", "slate"]).unwrap(),
        1,
        &["wrong name or passphrase"],
    );
    says(&tablet.with_passphrase(PASSPHRASE, &["devices", "rename", " "]).unwrap(), 2, &["at least one letter"]);
    let renamed = tablet.with_passphrase(PASSPHRASE, &["devices", "rename", "slate"]).unwrap();
    says(&renamed, 0, &["renamed"]);
    assert_eq!(json(&tablet.run(&["whoami"]).unwrap())["label"], "slate");
    let mut labels = devices(&ada);
    labels.sort();
    assert_eq!(labels, [pair("phone", "active"), pair("slate", "active"), pair("terminal", "active")]);
    assert_eq!(json(&bob.run(&["peer", "show", "ada"]).unwrap())["state"], "pinned");
    // Names hide nothing.
    let hidden = tablet.with_passphrase(PASSPHRASE, &["devices", "rename", "sla\u{202e}te"]).unwrap();
    says(&hidden, 2, &["nobody sees", "u{202e}"]);
    let fresh = new(&server, "fresh");
    let hidden = fresh.with_passphrase(PASSPHRASE, &["login", "ada", "--label", "pho\u{200b}ne"]).unwrap();
    says(&hidden, 2, &["nobody sees"]);
}

/// A revoked device hears of it at once, wherever it is, and every command says what to do.
#[test]
fn id_6_a_revoked_device_is_out_within_a_second_and_for_good() {
    let server = ServerProcess::start("revoked").unwrap();
    let (ada, bob) = (registered(&server, "ada"), registered(&server, "bob"));
    let phone = new(&server, "phone");
    let_in(&ada, &phone, "phone");
    says(&ada.run(&["devices", "revoke", "phone"]).unwrap(), 2, &["--yes"]);
    says(&ada.with_passphrase(PASSPHRASE, &["devices", "revoke", "none", "--yes"]).unwrap(), 1, &["no device"]);

    // In a call.
    let mut bobs = bob.start(&["answer", "--no-devices"]).unwrap();
    bobs.wait_for("waiting", PATIENCE).unwrap();
    let mut phones = phone.start(&["call", "bob", "--no-devices"]).unwrap();
    phones.wait_for("hearing", PATIENCE).unwrap();
    bobs.wait_for("hearing", PATIENCE).unwrap();
    let revoked = ada.with_passphrase(PASSPHRASE, &["devices", "revoke", "phone", "--yes"]).unwrap();
    let answered = Instant::now();
    says(&revoked, 0, &["revoked"]);
    // By the server or by the relay, whichever is first.
    let told = phones.wait_for_any(&["offline", "refused"], PATIENCE).unwrap();
    assert!(told["reason"].as_str().unwrap().contains("revoked"), "{told}");
    assert!(answered.elapsed() < AT_ONCE + BUSY, "told after {:?}", answered.elapsed());
    assert_eq!(phones.exit_code().unwrap(), Some(1));
    // The other side is left alone by it at once; when it gives the call up is its own affair.
    let over = bobs.wait_for("over", PATIENCE).unwrap();
    assert!(over["result"] == "peer_vanished" || over["result"] == "ended", "{over}");

    // Nothing that it tries goes on, and each says why and what next.
    for command in [["devices"].as_slice(), &["call", "bob", "--no-devices"], &["room", "list"]] {
        says(&phone.run(command).unwrap(), 1, &["revoked", "undertone logout"]);
    }
    says(&phone.with_passphrase(PASSPHRASE, &["devices", "rename", "x"]).unwrap(), 1, &["revoked"]);
    says(&ada.with_passphrase(PASSPHRASE, &["devices", "revoke", "phone", "--yes"]).unwrap(), 1, &["was revoked"]);
    // What it held is nobody's: it comes back as another device, let in like any.
    says(&phone.run(&["logout"]).unwrap(), 0, &["logged_out"]);
    let_in(&ada, &phone, "phone");
    assert_eq!(devices(&ada), [pair("terminal", "active"), pair("phone", "revoked"), pair("phone", "active")]);

    // In a room, by its id, and a recovery key that is none.
    let nonsense = process::run(
        &mut ada.command(&["devices", "revoke", "phone", "--yes", "--recovery-stdin"]).unwrap(),
        "no key\n",
    );
    says(&nonsense.unwrap(), 2, &["14 groups"]);
    says(&bob.run(&["room", "create", "team", "--invite", "ada"]).unwrap(), 0, &[]);
    let mut inside = bob.start(&["room", "join", "team", "--no-devices"]).unwrap();
    inside.wait_for("room_entered", PATIENCE).unwrap();
    let mut phones = phone.start(&["room", "join", "team", "--no-devices"]).unwrap();
    phones.wait_for("room_entered", PATIENCE).unwrap();
    let id = active_id(&ada, "phone");
    let revoked = ada.with_passphrase(PASSPHRASE, &["devices", "revoke", &id[..8], "--yes"]).unwrap();
    let answered = Instant::now();
    says(&revoked, 0, &["revoked"]);
    phones.wait_for_any(&["offline", "rejected"], PATIENCE).unwrap();
    assert!(answered.elapsed() < AT_ONCE + BUSY, "told after {:?}", answered.elapsed());
    assert_eq!(phones.exit_code().unwrap(), Some(1));
    drop(inside);

    // The last one revokes itself: the account is still there, for whoever has the passphrase.
    let gone = ada.with_passphrase(PASSPHRASE, &["devices", "revoke", "terminal", "--yes"]).unwrap();
    assert_eq!(json(&gone)["this"], true);
    says(&ada.run(&["whoami"]).unwrap(), 1, &["undertone register"]);
    says(&ada.with_passphrase(PASSPHRASE, &["login", "ada"]).unwrap(), 0, &["logged_in"]);
}

/// The id of the active device of this label.
fn active_id(terminal: &Terminal, label: &str) -> String {
    let devices = json(&terminal.run(&["devices"]).unwrap());
    let mut devices = devices["devices"].as_array().unwrap().iter();
    let found = devices.find(|device| device["label"] == label && device["status"] == "active").unwrap();
    found["device"].as_str().unwrap().to_owned()
}

/// Every other device is lost: whoever has the passphrase cuts them off, and they are told.
#[test]
fn id_6_alone_cuts_the_others_off() {
    let server = ServerProcess::start("alone").unwrap();
    let ada = registered(&server, "ada");
    let phone = new(&server, "phone");
    says(&phone.with_passphrase(PASSPHRASE, &["login", "ada", "--alone"]).unwrap(), 2, &["--yes"]);
    assert_eq!(devices(&ada), [pair("terminal", "active")]);
    let mut waiting = ada.start(&["answer", "--no-devices"]).unwrap();
    waiting.wait_for("waiting", PATIENCE).unwrap();
    let alone = phone.with_passphrase(PASSPHRASE, &["login", "ada", "--alone", "--yes", "--label", "phone"]).unwrap();
    says(&alone, 0, &["cutting_off", "terminal", "logged_in"]);
    waiting.wait_for("offline", PATIENCE).unwrap();
    assert_eq!(waiting.exit_code().unwrap(), Some(1));
    assert_eq!(devices(&phone), [pair("terminal", "revoked"), pair("phone", "active")]);
    says(&ada.run(&["devices"]).unwrap(), 1, &["revoked", "undertone logout"]);
}

/// Every home is gone: the recovery key brings the account back under the key it had, and a new passphrase takes the place of
/// the lost one.
#[test]
fn id_6_the_recovery_key_brings_an_account_back_whose_every_home_is_gone() {
    let server = ServerProcess::start("recovered").unwrap();
    let ada = new(&server, "ada");
    let made = ada.with_passphrase(PASSPHRASE, &["register", "ada"]).unwrap();
    let made = json(&made);
    let (key, account) = (made["recovery_key"].as_str().unwrap(), made["account_key"].as_str().unwrap().to_owned());
    let bob = registered(&server, "bob");
    assert_eq!(json(&bob.run(&["peer", "show", "ada"]).unwrap())["state"], "pinned");
    std::fs::remove_dir_all(server.join("ada")).unwrap();

    let again = new(&server, "again");
    let words = ["login", "ada", "--recovery-stdin", "--alone", "--yes"];
    let recover = |key: &str, passphrase: &str| {
        process::run(&mut again.command(&words).unwrap(), &format!("{key}\n{passphrase}\n")).unwrap()
    };
    let other = if key.starts_with('7') { "8" } else { "7" };
    says(&recover(&format!("{other}{}", &key[1..]), "another passphrase"), 2, &["mistake"]);
    says(&recover(key, "short"), 2, &["at least 8"]);
    // As a person types it.
    let sloppy = key.to_lowercase().replace('-', " ");
    says(&recover(&sloppy, "another passphrase"), 0, &["logged_in"]);
    assert_eq!(json(&again.run(&["whoami"]).unwrap())["account_key"], account.as_str());
    assert_eq!(json(&bob.run(&["peer", "show", "ada"]).unwrap())["state"], "pinned", "a new phone is no alarm");

    // The new passphrase is good for it, and the old one for nothing.
    let rename = |passphrase: &str| again.with_passphrase(passphrase, &["devices", "rename", "again"]).unwrap();
    says(&rename(PASSPHRASE), 1, &["wrong name or passphrase", "--recovery"]);
    says(&rename("another passphrase"), 0, &["renamed"]);
    // The recovery key of somebody else opens nothing.
    let theirs = json(&new(&server, "carol").with_passphrase(PASSPHRASE, &["register", "carol"]).unwrap());
    let keep = process::run(
        &mut again.command(&["devices", "keep", "--recovery-stdin"]).unwrap(),
        &format!("{}\n", theirs["recovery_key"].as_str().unwrap()),
    );
    says(&keep.unwrap(), 1, &["wrong name or recovery key"]);
    says(&again.with_passphrase("another passphrase", &["devices", "keep"]).unwrap(), 1, &["nothing to take back"]);
}

/// A token of the operator's, by which an account begins anew.
fn anew_token(server: &ServerProcess, user: &str) -> String {
    let mut admin: Command = program("undertone-server").unwrap();
    admin.args(["admin", "anew", user, "--json", "--data"]).arg(server.data());
    let output = admin.output().unwrap();
    let printed = json(&output);
    let token = printed["anew"].as_str().or_else(|| printed["token"].as_str());
    token.unwrap_or_else(|| panic!("{printed} {}", String::from_utf8_lossy(&output.stderr))).to_owned()
}

/// Begins an account anew with a token on stdin, and the passphrase behind it.
fn begins_anew(home: &Terminal, passphrase: &str, token: &str) -> Output {
    let mut command = home.command(&["register", "ada", "--anew", "-", "--passphrase-stdin"]).unwrap();
    process::run(&mut command, &format!("{token}\n{passphrase}\n")).unwrap()
}

/// Rule ID-7: while a device may still act, beginning anew is announced, and taken back by whoever has what opens the account.
#[test]
fn id_7_beginning_anew_is_announced_and_can_be_taken_back() {
    let server = ServerProcess::start("anew").unwrap();
    let ada = registered(&server, "ada");
    let before = json(&ada.run(&["whoami"]).unwrap());
    let thief = new(&server, "thief");
    let token = anew_token(&server, "ada");
    // A token that everybody on this machine can read is not taken.
    let seen = thief.with_passphrase("a passphrase of theirs", &["register", "ada", "--anew", &token]).unwrap();
    says(&seen, 2, &["command line", "--anew -"]);
    let announced = begins_anew(&thief, "a passphrase of theirs", &token);
    says(&announced, 0, &["announced", "recovery_key"]);
    let announced = json(&announced);
    let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap().as_secs();
    let effective = announced["effective"].as_u64().unwrap();
    assert!(
        (now + 72 * 3600 - 60..=now + 72 * 3600 + 60).contains(&effective),
        "{effective} is not in three days from {now}"
    );
    assert_ne!(announced["account_key"], before["account_key"]);
    // It is no device yet, and its passphrase opens nothing yet.
    says(&thief.run(&["whoami"]).unwrap(), 1, &["undertone register"]);
    says(&thief.with_passphrase("a passphrase of theirs", &["login", "ada"]).unwrap(), 1, &["begins anew", "UTC"]);
    // Until then nothing changes: neither for those who know her, nor may anything else of the account.
    let bob = registered(&server, "bob");
    assert_eq!(json(&bob.run(&["peer", "show", "ada"]).unwrap())["account_key"], before["account_key"]);
    let rename = ada.with_passphrase(PASSPHRASE, &["devices", "rename", "mine"]).unwrap();
    says(&rename, 1, &["devices keep"]);
    let phone = new(&server, "phone");
    says(&phone.with_passphrase(PASSPHRASE, &["login", "ada"]).unwrap(), 1, &["begins anew", "--keep"]);

    let kept = ada.with_passphrase(PASSPHRASE, &["devices", "keep"]).unwrap();
    says(&kept, 0, &["kept"]);
    assert_eq!(json(&kept)["version"], 3);
    assert_eq!(devices(&ada), [pair("terminal", "active")]);
    assert_eq!(json(&bob.run(&["peer", "show", "ada"]).unwrap())["account_key"], before["account_key"]);
    says(&ada.with_passphrase(PASSPHRASE, &["devices", "rename", "mine"]).unwrap(), 0, &["renamed"]);
    let_in(&ada, &phone, "phone");
    says(&thief.with_passphrase("a passphrase of theirs", &["login", "ada"]).unwrap(), 1, &["begins anew"]);

    // Once more, and this time somebody without a device takes it back.
    let token = anew_token(&server, "ada");
    let mut again = thief.command(&["register", "ada", "--anew", "--passphrase-stdin"]).unwrap();
    again.env("UNDERTONE_ANEW", &token);
    says(&process::run(&mut again, "a passphrase of theirs\n").unwrap(), 0, &["announced"]);
    let laptop = new(&server, "laptop");
    let words = ["login", "ada", "--keep", "--alone", "--yes", "--label", "laptop"];
    says(&laptop.with_passphrase(PASSPHRASE, &words).unwrap(), 0, &["logged_in"]);
    assert_eq!(json(&laptop.run(&["whoami"]).unwrap())["account_key"], before["account_key"]);
    assert_eq!(devices(&laptop).last().unwrap(), &pair("laptop", "active"));
}

/// Where no device may act any more there is nobody to wait for: the account begins anew at once, under a key that everybody
/// who knew the old one has to accept.
#[test]
fn id_7_kt_10_an_account_begun_anew_is_a_changed_key_that_stops_calls_until_a_person_decides() {
    let server = ServerProcess::start("anew-at-once").unwrap();
    let ada = registered(&server, "ada");
    let bob = registered(&server, "bob");
    let known = json(&bob.run(&["peer", "show", "ada"]).unwrap())["account_key"].clone();
    let room = json(&ada.run(&["room", "create", "team", "--invite", "bob"]).unwrap());
    assert_eq!(json(&bob.run(&["room", "list"]).unwrap())["rooms"][0]["name"], "team");
    says(&ada.with_passphrase(PASSPHRASE, &["devices", "revoke", "terminal", "--yes"]).unwrap(), 0, &["revoked"]);
    let token = anew_token(&server, "ada");
    let again = new(&server, "again");
    let file = server.join("token");
    std::fs::write(&file, format!("{token}\n")).unwrap();
    let from = format!("@{}", file.display());
    let made = again.with_passphrase("another passphrase", &["register", "ada", "--anew", &from]).unwrap();
    says(&made, 0, &["registered", "recovery_key"]);
    assert_ne!(json(&made)["account_key"], known);
    assert_eq!(devices(&again), [pair("terminal", "active")]);
    // Her room from before is hers to close, and nothing else.
    let listed = json(&again.run(&["room", "list"]).unwrap());
    assert_eq!((&listed["rooms"], &listed["lost"][0]["room"]), (&Value::Array(vec![]), &room["room"]));
    says(&again.run(&["room", "invite", "team", "bob"]).unwrap(), 1, &["no room"]);
    says(&bob.run(&["room", "list"]).unwrap(), 0, &["team"]);
    let closed = again.run(&["room", "leave", "team"]).unwrap();
    says(&closed, 0, &["room_left"]);
    assert_eq!((&json(&closed)["closed"], &json(&closed)["room"]), (&true.into(), &room["room"]));
    assert_eq!(json(&again.run(&["room", "list"]).unwrap())["lost"], Value::Array(vec![]));
    assert_eq!(json(&bob.run(&["room", "list"]).unwrap())["rooms"], Value::Array(vec![]));
    // Rule KT-10: calls stop until a person decides about the key.
    let known = known.as_str().unwrap();
    let refused = bob.run(&["call", "ada", "--no-devices"]).unwrap();
    says(&refused, 3, &["undertone peer trust ada@localhost --accept", known]);
    let shown = json(&bob.run(&["peer", "show", "ada"]).unwrap());
    assert_eq!((&shown["state"], &shown["change"]["old"]), (&"changed".into(), &known.into()));
    let new = shown["change"]["new"].as_str().unwrap();
    says(&bob.run(&["peer", "trust", "ada", "--accept", known]).unwrap(), 1, &[]);
    says(&bob.run(&["peer", "trust", "ada", "--refuse", new]).unwrap(), 0, &[]);
    says(&bob.run(&["call", "ada", "--no-devices"]).unwrap(), 3, &[]);
    assert_eq!(json(&bob.run(&["peer", "trust", "ada", "--accept", new]).unwrap())["state"], "overridden");
    let offline = bob.run(&["call", "ada", "--no-devices"]).unwrap();
    assert_eq!((offline.status.code(), json(&offline)["result"].as_str()), (Some(1), Some("offline")));
}
