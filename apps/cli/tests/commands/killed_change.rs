//! A server that is killed in the middle of a change of somebody's devices: before it is stored, between that and its
//! publication, and between that and the answer. Afterwards the change is there as a whole, or saying it again makes it.

use std::fs;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant, SystemTime};

use serde_json::Value;
use undertone_testkit::process::{self, program, result as json};
use undertone_testkit::terminal::PASSPHRASE;
use undertone_testkit::{Process, ServerProcess, Terminal};

const PATIENCE: Duration = Duration::from_secs(30);

/// When the server is killed.
#[derive(Clone, Copy, Debug)]
enum Moment {
    /// Whatever it has come to by then.
    After(Duration),
    /// The store has taken the change.
    Stored,
    /// The key directory has taken it.
    Published,
}

/// What a database looks like from outside: every commit changes it.
fn look(path: &Path) -> Option<(u64, SystemTime)> {
    let about = fs::metadata(path).ok()?;
    Some((about.len(), about.modified().ok()?))
}

/// Kills the server when the moment has come; whether it was there before the command had ended.
fn kill_at(server: &mut ServerProcess, moment: Moment, command: &mut Process) -> bool {
    let begun = Instant::now();
    let file = |name: &str| server.data().join(name);
    let files: [PathBuf; 2] = [file("undertone.db-wal"), file("directory.db-wal")];
    let before = files.each_ref().map(|path| look(path));
    let has_come = || match moment {
        Moment::After(time) => begun.elapsed() >= time,
        Moment::Stored => look(&files[0]) != before[0],
        Moment::Published => look(&files[1]) != before[1],
    };
    while !has_come() {
        if !command.is_running() || begun.elapsed() > PATIENCE {
            return false;
        }
        std::thread::sleep(Duration::from_micros(200));
    }
    server.kill().unwrap();
    true
}

/// Label and status of each device, as this one has them proven.
fn devices(terminal: &Terminal) -> Vec<(String, String)> {
    let output = terminal.run(&["devices"]).unwrap();
    let object = json(&output);
    let text = |value: &Value| value.as_str().unwrap().to_owned();
    let devices = object["devices"].as_array().unwrap_or_else(|| panic!("{}", String::from_utf8_lossy(&output.stderr)));
    devices.iter().map(|device| (text(&device["label"]), text(&device["status"]))).collect()
}

/// A second device, let in by the first.
fn let_in(present: &Terminal, device: &Terminal, label: &str) {
    let mut login = device.start_listening(&["login", "ada", "--passphrase-stdin", "--label", label]).unwrap();
    login.say(PASSPHRASE).unwrap();
    let pairing = login.wait_for("pairing", PATIENCE).unwrap();
    let added = present.run(&["devices", "add", pairing["code"].as_str().unwrap(), "--yes"]).unwrap();
    assert!(added.status.success(), "{}", String::from_utf8_lossy(&added.stderr));
    login.wait_for("logged_in", PATIENCE).unwrap();
}

#[test]
fn id_6_kill_during_a_device_change_leaves_all_of_it_or_nothing() {
    let mut server = ServerProcess::start("killed-change").unwrap();
    let registered =
        |server: &ServerProcess, name: &str| Terminal::registered(server.join(name), server.address(), name).unwrap();
    let (ada, bob) = (registered(&server, "ada"), registered(&server, "bob"));
    let mut hits = 0;
    let moments = [
        Moment::After(Duration::ZERO),
        Moment::After(Duration::from_millis(300)),
        Moment::Stored,
        Moment::Published,
        Moment::Stored,
        Moment::Published,
    ];
    for (round, moment) in moments.into_iter().enumerate() {
        let label = format!("phone{round}");
        let phone = Terminal::new(server.join(&label), server.address());
        let_in(&ada, &phone, &label);
        let words = ["devices", "revoke", label.as_str(), "--yes", "--passphrase-stdin"];
        let mut revoke = ada.start_listening(&words).unwrap();
        revoke.say(PASSPHRASE).unwrap();
        hits += u32::from(kill_at(&mut server, moment, &mut revoke));
        let told = revoke.exit_code().unwrap();
        server.kill().unwrap();
        server.start_again().unwrap();

        // Whoever asks is shown one state that holds, with the change or without it, and no half of it.
        let status = |terminal: &Terminal| {
            let shown = devices(terminal);
            shown.into_iter().find(|(of, _)| *of == label).map(|(_, status)| status).unwrap()
        };
        let now = status(&ada);
        println!("{moment:?}: the command ended with {told:?}, and the device is {now}");
        let acts = phone.run(&["devices"]).unwrap().status.code() == Some(0);
        assert_eq!(acts, now == "active", "{moment:?}: the directory says {now}");
        assert!(told != Some(0) || now == "revoked", "what was answered is done");
        // The store writes other things too, so that its first commit need not have been this one's.
        if matches!(moment, Moment::Published) {
            assert_eq!(now, "revoked", "what is published is not taken back");
        }
        // Saying it again makes it, or says that it is made.
        let again = ada.with_passphrase(PASSPHRASE, &["devices", "revoke", &label, "--yes"]).unwrap();
        let says = [again.stderr.as_slice(), &again.stdout].map(String::from_utf8_lossy).concat();
        match again.status.code() {
            Some(0) => assert_eq!(now, "active", "{says}"),
            _ => assert!(now == "revoked" && says.contains("was revoked"), "{says}"),
        }
        assert_eq!(status(&ada), "revoked");
        assert_ne!(phone.run(&["devices"]).unwrap().status.code(), Some(0));
        // The history has each version once, and others see no alarm. One whose answer was lost asks its owner whether it was
        // them.
        let audited = json(&ada.run(&["audit", "self"]).unwrap());
        for alarm in audited["alarms"].as_array().unwrap_or_else(|| panic!("{audited}")) {
            assert_eq!(
                (&alarm["alarm"], &alarm["label"]),
                (&"device_revoked".into(), &label.as_str().into()),
                "{audited}"
            );
            assert_ne!(told, Some(0), "what was answered is known: {audited}");
            let device = alarm["device"].as_str().unwrap();
            assert_eq!(ada.run(&["devices", "accept", device]).unwrap().status.code(), Some(0));
        }
        assert_eq!(ada.run(&["audit", "self"]).unwrap().status.code(), Some(0));
        assert_eq!(bob.run(&["peer", "show", "ada"]).unwrap().status.code(), Some(0));
    }
    assert!(hits >= 5, "killed {hits} times while the command ran");
}

/// The same where a device joins: the newcomer's own next attempt goes on with the keys that it has made.
#[test]
fn id_6_kill_during_a_login_lets_the_next_attempt_finish_it() {
    let mut server = ServerProcess::start("killed-login").unwrap();
    let ada = Terminal::registered(server.join("ada"), server.address(), "ada").unwrap();
    for (round, moment) in [Moment::Stored, Moment::Published].into_iter().enumerate() {
        let label = format!("phone{round}");
        let phone = Terminal::new(server.join(&label), server.address());
        let words = ["login", "ada", "--passphrase-stdin", "--label", label.as_str()];
        let mut login = phone.start_listening(&words).unwrap();
        login.say(PASSPHRASE).unwrap();
        let pairing = login.wait_for("pairing", PATIENCE).unwrap();
        let code = pairing["code"].as_str().unwrap().to_owned();
        let mut add = ada.start(&["devices", "add", &code, "--yes"]).unwrap();
        assert!(kill_at(&mut server, moment, &mut login), "{moment:?} did not come");
        server.start_again().unwrap();
        add.exit_code().unwrap();
        if login.exit_code().unwrap() != Some(0) {
            let mut login = phone.start_listening(&words).unwrap();
            login.say(PASSPHRASE).unwrap();
            if login.wait_for_any(&["pairing", "logged_in"], PATIENCE).unwrap()["event"] == "pairing" {
                ada.run(&["devices", "add", &code, "--yes"]).unwrap();
                login.wait_for("logged_in", PATIENCE).unwrap();
            }
            assert_eq!(login.exit_code().unwrap(), Some(0));
        }
        let of_it = devices(&ada).into_iter().filter(|(of, _)| *of == label).collect::<Vec<_>>();
        assert_eq!(of_it, [(label.clone(), "active".to_owned())], "{moment:?}: once, and for good");
        assert_eq!(phone.run(&["devices"]).unwrap().status.code(), Some(0));
    }
}

/// A token of the operator's, by which an account begins anew.
fn anew_token(server: &ServerProcess) -> String {
    let mut admin = program("undertone-server").unwrap();
    admin.args(["admin", "anew", "ada", "--json", "--data"]).arg(server.data());
    let printed = json(&process::run(&mut admin, "").unwrap());
    printed["anew"].as_str().unwrap_or_else(|| panic!("{printed}")).to_owned()
}

/// Begins ada's account anew with this token, as somebody who waits for the answer.
fn beginning(home: &Terminal, token: &str) -> Process {
    let mut register = home.start_listening(&["register", "ada", "--anew", "-", "--passphrase-stdin"]).unwrap();
    for line in [token, THEIRS] {
        register.say(line).unwrap();
    }
    register
}

/// The passphrase of an account that begins anew.
const THEIRS: &str = "a passphrase of theirs";

/// When this account begins anew, as its history shows; null where it does not.
fn begins_anew(terminal: &Terminal) -> Value {
    let audited = json(&terminal.run(&["audit", "self"]).unwrap());
    match audited["alarms"].as_array().unwrap_or_else(|| panic!("{audited}")).as_slice() {
        [] => Value::Null,
        [alarm] if alarm["alarm"] == "account_begins_anew" => alarm["effective"].clone(),
        alarms => panic!("{alarms:?}"),
    }
}

/// The version of the list in force.
fn version(terminal: &Terminal) -> u64 {
    json(&terminal.run(&["devices"]).unwrap())["version"].as_u64().unwrap()
}

/// The same where an account is announced to begin anew, and where that is taken back: the three days begin once, the token is
/// good for one announcement, and until then everything is as it was.
#[test]
fn id_7_kill_during_an_announcement_or_its_taking_back_leaves_all_of_it_or_nothing() {
    let mut server = ServerProcess::start("killed-anew").unwrap();
    let (ada, bob) = {
        let registered = |name: &str| Terminal::registered(server.join(name), server.address(), name).unwrap();
        (registered("ada"), registered("bob"))
    };
    let key = |terminal: &Terminal| json(&terminal.run(&["peer", "show", "ada"]).unwrap())["account_key"].clone();
    let (adas, mut hits) = (key(&bob), 0);
    let moments = [
        (Moment::After(Duration::ZERO), Moment::Published),
        (Moment::Stored, Moment::Stored),
        (Moment::Published, Moment::After(Duration::from_millis(300))),
        (Moment::After(Duration::from_millis(300)), Moment::After(Duration::ZERO)),
    ];
    for (round, (announcing, keeping)) in moments.into_iter().enumerate() {
        let (token, before) = (anew_token(&server), version(&ada));
        let thief = Terminal::new(server.join(&format!("thief{round}")), server.address());
        let mut register = beginning(&thief, &token);
        hits += u32::from(kill_at(&mut server, announcing, &mut register));
        let told = register.exit_code().unwrap();
        let first = register.wait_for("announced", PATIENCE).ok();
        server.kill().unwrap();
        server.start_again().unwrap();

        // It is announced, or it is not; nobody who knows her sees another key, and what was answered stands.
        let announced = begins_anew(&ada);
        println!("{announcing:?}: the command ended with {told:?}, and the account begins anew at {announced}");
        assert!(told != Some(0) || announced.is_u64(), "what was answered is done");
        if matches!(announcing, Moment::Published) {
            assert!(announced.is_u64(), "what is published is not taken back");
        }
        assert_eq!((key(&bob), version(&ada)), (adas.clone(), before), "the list before is in force");
        // Saying it again announces it, or says that it is announced already; the three days do not begin anew.
        let mut again = beginning(&thief, &token);
        let came = again.wait_for_any(&["announced", "error"], PATIENCE).unwrap();
        let at = begins_anew(&ada);
        if announced.is_null() {
            assert_eq!((&came["event"], &came["effective"]), (&"announced".into(), &at), "{came}");
        } else {
            let says = came["message"].as_str().unwrap_or_default();
            assert!(says.contains("it is announced that the account begins anew") && at == announced, "{came} {at}");
        }
        assert_eq!((again.exit_code().unwrap(), at.is_u64()), (Some(i32::from(announced.is_u64())), true));
        assert!(first.is_none_or(|first| first["effective"] == at));
        // That home has what finishes it when the time has come.
        let early = thief.with_passphrase(THEIRS, &["login", "ada"]).unwrap();
        assert!(String::from_utf8_lossy(&early.stderr).contains("begins anew"), "{}", json(&early));
        // Nobody else may with it.
        let mut other = beginning(&Terminal::new(server.join(&format!("other{round}")), server.address()), &token);
        assert_ne!(other.exit_code().unwrap(), Some(0));
        assert_eq!((begins_anew(&ada), version(&ada)), (at.clone(), before), "one alarm, and it is that one");

        // She takes it back, and the server is killed again.
        let mut keep = ada.start_listening(&["devices", "keep", "--passphrase-stdin"]).unwrap();
        keep.say(PASSPHRASE).unwrap();
        hits += u32::from(kill_at(&mut server, keeping, &mut keep));
        let told = keep.exit_code().unwrap();
        server.kill().unwrap();
        server.start_again().unwrap();
        let now = begins_anew(&ada);
        println!("{keeping:?}: the command ended with {told:?}, and the account begins anew at {now}");
        assert!(now.is_null() || now == at);
        assert!(told != Some(0) || now.is_null(), "what was answered is done");
        assert!(now.is_null() || !matches!(keeping, Moment::Published), "what is published is not taken back");
        let again = ada.with_passphrase(PASSPHRASE, &["devices", "keep"]).unwrap();
        let says = [again.stderr.as_slice(), &again.stdout].map(String::from_utf8_lossy).concat();
        match again.status.code() {
            Some(0) => assert!(now.is_u64(), "{says}"),
            _ => assert!(now.is_null() && says.contains("nothing to take back"), "{says}"),
        }
        // All is as it was: two versions more, no alarm, and the token is used up.
        assert_eq!((begins_anew(&ada), version(&ada), key(&bob)), (Value::Null, before + 2, adas.clone()));
        let mut late = beginning(&thief, &token);
        assert_ne!(late.exit_code().unwrap(), Some(0));
        assert_eq!(begins_anew(&ada), Value::Null);
    }
    assert!(hits >= 6, "killed {hits} times while the command ran");
}
