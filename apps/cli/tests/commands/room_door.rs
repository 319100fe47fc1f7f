//! Somebody who is on no list stands at a room's door, and those inside decide (rule GRP-8).

use std::time::Duration;

use undertone_testkit::process::result as json;
use undertone_testkit::{ServerProcess, Terminal};

const PATIENCE: Duration = Duration::from_secs(30);

fn person(server: &ServerProcess, name: &str) -> Terminal {
    Terminal::registered(server.join(name), server.address(), name).unwrap()
}

#[test]
fn grp_8_a_stranger_waits_for_a_members_decision() {
    let server = ServerProcess::start("door").unwrap();
    let [ada, bob, carol, dave] = ["ada", "bob", "carol", "dave"].map(|name| person(&server, name));
    let made = json(&ada.run(&["room", "create", "team", "--invite", "bob"]).unwrap());
    let room = made["room"].as_str().unwrap();
    let shown = json(&ada.run(&["room", "show", "team"]).unwrap());
    assert_eq!(shown["room"], made["room"]);
    let mut adas = ada.start_listening(&["room", "join", "team", "--no-devices", "--commands"]).unwrap();
    let mut bobs = bob.start(&["room", "join", "team", "--no-devices"]).unwrap();
    bobs.wait_for("hearing", PATIENCE).unwrap();

    // By its name nobody finds a room that they are not on the list of; by its id they may ask.
    assert_eq!(carol.run(&["room", "join", "team", "--no-devices"]).unwrap().status.code(), Some(1));
    let mut carols = carol.start(&["room", "join", room, "--no-devices"]).unwrap();
    assert_eq!(carols.wait_for("knocked_at", PATIENCE).unwrap()["waits"], true);
    let knock = adas.wait_for("knocked", PATIENCE).unwrap();
    assert_eq!((&knock["user"], &knock["name"]), (&"carol@localhost".into(), &"team".into()));
    // Nobody is in, nobody has heard or lost anything, and Bob, who may not decide, is not asked.
    std::thread::sleep(Duration::from_secs(2));
    let about_carol = |line: &serde_json::Value| line["user"] == "carol@localhost";
    assert!(!adas.events.iter().any(|line| line["event"] == "member_in" && about_carol(line)));
    assert!(carols.is_running() && !carols.events.iter().any(|line| line["event"] == "room_entered"));
    let no = bob.run(&["room", "turn-away", "team", "carol"]).unwrap();
    assert_eq!(no.status.code(), Some(1), "{}", String::from_utf8_lossy(&no.stdout));

    // One command of Ada's, beside the call that she is in, and Carol goes in by herself.
    let invited = ada.run(&["room", "invite", "team", "carol"]).unwrap();
    assert_eq!(json(&invited)["version"], 2);
    assert_eq!(carols.wait_for("knock_over", PATIENCE).unwrap()["result"], "let_in");
    carols.wait_for("hearing", PATIENCE).unwrap();
    while !bobs.events.iter().any(|line| line["event"] == "member_in" && about_carol(line)) {
        bobs.wait_for("member_in", PATIENCE).unwrap();
    }
    assert!(!bobs.events.iter().any(|line| line["event"] == "knocked"));

    // Dave is turned away, and knocking again is for nothing.
    let mut daves = dave.start(&["room", "join", room, "--no-devices"]).unwrap();
    adas.wait_for("knocked", PATIENCE).unwrap();
    adas.say("turn-away dave").unwrap();
    assert_eq!(daves.wait_for("knock_over", PATIENCE).unwrap()["result"], "turned_away");
    assert_eq!(daves.exit_code().unwrap(), Some(1));
    let mut again = dave.start(&["room", "join", room, "--no-devices"]).unwrap();
    assert_eq!(again.wait_for("knock_over", PATIENCE).unwrap()["result"], "turned_away");
    assert_eq!(again.exit_code().unwrap(), Some(1));
    // A room that there is not is knocked at in the same words.
    let mut words = [room, "00112233445566778899aabbccddeeff"].map(|room| {
        let asked = asks(&dave, room);
        asked.to_string().replace(room, "")
    });
    words.sort();
    assert_eq!(words[0], words[1]);
    bobs.end().unwrap();
    carols.end().unwrap();
    adas.say("leave").unwrap();
    assert_eq!(adas.exit_code().unwrap(), Some(0));
}

fn asks(who: &Terminal, room: &str) -> serde_json::Value {
    let asked = who.run(&["room", "join", room, "--no-devices", "--no-wait"]).unwrap();
    assert_eq!(asked.status.code(), Some(0));
    json(&asked)
}

/// A moderator who only waits for a call hears of it too.
#[test]
fn grp_8_a_moderator_who_waits_for_a_call_hears_who_knocks() {
    let server = ServerProcess::start("door-answer").unwrap();
    let [ada, carol] = ["ada", "carol"].map(|name| person(&server, name));
    let made = json(&ada.run(&["room", "create", "the team's room"]).unwrap());
    let mut phone = ada.start(&["answer", "--no-devices"]).unwrap();
    phone.wait_for("waiting", PATIENCE).unwrap();
    let mut carols = carol.start(&["room", "join", made["room"].as_str().unwrap(), "--no-devices"]).unwrap();
    assert_eq!(phone.wait_for("knocked", PATIENCE).unwrap()["name"], "the team's room");
    let invited = ada.run(&["room", "invite", made["room"].as_str().unwrap(), "carol", "--role", "listener"]).unwrap();
    assert_eq!(json(&invited)["members"][1]["role"], "listener");
    assert_eq!(phone.wait_for("errand", PATIENCE).unwrap()["command"], "room invite");
    assert_eq!(carols.wait_for("room_entered", PATIENCE).unwrap()["role"], "listener");
    carols.end().unwrap();
    phone.end().unwrap();
}
