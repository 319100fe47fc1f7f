//! Rooms, as people at terminals use them.

use std::time::Duration;

use undertone_testkit::ears::{envelope, likeness};
use undertone_testkit::process::result as json;
use undertone_testkit::{Process, ServerProcess, Terminal, speech};

const PATIENCE: Duration = Duration::from_secs(30);

fn person(server: &ServerProcess, name: &str) -> Terminal {
    Terminal::registered(server.join(name), server.address(), name).unwrap()
}

/// Waits for an event of this name about this user, be it one that has come already.
fn wait_about(process: &mut Process, event: &str, user: &str) {
    let about = |line: &serde_json::Value| {
        line["event"] == event && line["user"].as_str().is_some_and(|name| name.starts_with(user))
    };
    while !process.events.iter().any(about) {
        process.wait_for(event, PATIENCE).unwrap();
    }
}

#[test]
fn people_make_a_room_talk_in_it_and_leave() {
    let server = ServerProcess::start("rooms").unwrap();
    let [ada, bob, carol, dave] = ["ada", "bob", "carol", "dave"].map(|name| person(&server, name));
    let path = |name: &str| server.join(name).display().to_string();

    let made = json(&ada.run(&["room", "create", "team", "--invite", "bob", "--listener", "carol"]).unwrap());
    assert_eq!(
        (&made["event"], &made["protection"], &made["version"]),
        (&"room_created".into(), &"blind".into(), &1.into())
    );
    let roles: Vec<&str> = made["members"].as_array().unwrap().iter().map(|m| m["role"].as_str().unwrap()).collect();
    assert_eq!(roles, ["moderator", "speaker", "listener"]);
    let again = ada.run(&["room", "create", "team"]).unwrap();
    assert_eq!(again.status.code(), Some(1), "one name, one room");
    let stranger = dave.run(&["room", "join", "team", "--no-devices"]).unwrap();
    assert_eq!(stranger.status.code(), Some(1));
    assert!(String::from_utf8_lossy(&stranger.stderr).contains("undertone room list"));

    let speak = |who: &str, hears: &str| {
        let mut words = ["room", "join", "team", "--commands", "--wav-in"].map(str::to_owned).to_vec();
        words.extend([speech(who).display().to_string(), "--wav-out".into(), path(hears)]);
        words
    };
    let start = |terminal: &Terminal, words: &[String]| {
        terminal.start_listening(&words.iter().map(String::as_str).collect::<Vec<_>>()).unwrap()
    };
    let mut adas = start(&ada, &speak("ada", "ada-hears.wav"));
    adas.wait_for("epoch", PATIENCE).unwrap();
    let mut bobs = start(&bob, &speak("bob", "bob-hears.wav"));
    let mut carols = start(&carol, &speak("bob", "carol-hears.wav"));
    wait_about(&mut adas, "member_in", "bob");
    wait_about(&mut adas, "member_in", "carol");
    assert_eq!(carols.wait_for("room_entered", PATIENCE).unwrap()["role"], "listener");
    for process in [&mut bobs, &mut carols] {
        wait_about(process, "member_in", "ada");
        process.wait_for("hearing", PATIENCE).unwrap();
    }
    let listed = json(&dave.run(&["room", "list"]).unwrap());
    assert_eq!(listed["rooms"].as_array().unwrap().len(), 0, "dave is on nobody's list");
    std::thread::sleep(Duration::from_secs(11));

    // Bob throws the key away, and gets it again by himself.
    bobs.say("drill lose-key").unwrap();
    bobs.wait_for("recovered", PATIENCE).unwrap();
    bobs.say("drill check-tap /nowhere").unwrap();
    bobs.wait_for("command_failed", PATIENCE).unwrap();

    // A moderator mutes, and others do not.
    bobs.say("mute ada").unwrap();
    bobs.wait_for("rejected", PATIENCE).unwrap();
    adas.say("mute bob").unwrap();
    assert_eq!(bobs.wait_for("muted", PATIENCE).unwrap()["me"], true);
    adas.wait_for("muted", PATIENCE).unwrap();
    adas.say("who").unwrap();
    let people = adas.wait_for("who", PATIENCE).unwrap();
    for person in people["people"].as_array().unwrap() {
        assert_eq!(person["muted"] == true, person["user"] == "bob@localhost", "{person}");
    }
    adas.say("unmute bob").unwrap();
    assert_eq!(bobs.wait_for("muted", PATIENCE).unwrap()["muted"], false);

    // Dave is invited while they talk, and Carol is put out.
    adas.say("invite dave").unwrap();
    adas.wait_for("done", PATIENCE).unwrap();
    adas.events.clear();
    let mut daves = dave.start(&["room", "join", "team", "--no-devices", "--seconds", "1"]).unwrap();
    wait_about(&mut adas, "member_in", "dave");
    daves.wait_for("hearing", PATIENCE).unwrap();
    assert_eq!(daves.wait_for("over", PATIENCE).unwrap()["result"], "ended");
    assert_eq!(daves.exit_code().unwrap(), Some(0));
    adas.say("kick carol").unwrap();
    assert_eq!(carols.wait_for("over", PATIENCE).unwrap()["result"], "removed");
    assert_eq!(carols.exit_code().unwrap(), Some(1));
    assert_eq!(carol.run(&["room", "join", "team", "--no-devices"]).unwrap().status.code(), Some(1));
    let shown = json(&dave.run(&["room", "list"]).unwrap());
    let present: Vec<&str> =
        shown["rooms"][0]["present"].as_array().unwrap().iter().map(|name| name.as_str().unwrap()).collect();
    assert_eq!(present, ["ada@localhost", "bob@localhost"]);

    bobs.say("leave").unwrap();
    assert_eq!(bobs.exit_code().unwrap(), Some(0));
    wait_about(&mut adas, "member_out", "bob");
    adas.say("leave").unwrap();
    assert_eq!(adas.exit_code().unwrap(), Some(0));
    // Each heard the other, and the listener, who said the same as Bob, was not heard twice.
    for (heard, said, other) in [("ada-hears.wav", "bob", "ada"), ("bob-hears.wav", "ada", "bob")] {
        let heard = envelope(&server.join(heard)).unwrap();
        let like = |who| likeness(&envelope(&speech(who)).unwrap(), &heard, 400).0;
        assert!(like(said) > 0.8 && like(other) < 0.5, "{} {}", like(said), like(other));
    }

    // Bob goes for good, and Ada closes the room.
    assert_eq!(json(&bob.run(&["room", "leave", "team"]).unwrap())["closed"], false);
    assert_eq!(json(&ada.run(&["room", "leave", "team"]).unwrap())["closed"], true);
    assert_eq!(json(&dave.run(&["room", "list"]).unwrap())["rooms"].as_array().unwrap().len(), 0);
}

#[test]
fn a_hop_room_is_entered_with_open_eyes() {
    let server = ServerProcess::start("hop-rooms").unwrap();
    let [ada, bob] = ["ada", "bob"].map(|name| person(&server, name));
    let made = json(&ada.run(&["room", "create", "radio", "--protection", "hop", "--invite", "bob"]).unwrap());
    assert_eq!(made["protection"], "hop");
    let refused = bob.run(&["room", "join", "radio", "--no-devices"]).unwrap();
    assert_eq!((refused.status.code(), json(&refused)["event"].as_str()), (Some(1), Some("hop_refused")));
    // Nobody has to wait for Ada: the keys are those of connections.
    let mut bobs = bob.start(&["room", "join", "radio", "--no-devices", "--allow-hop"]).unwrap();
    assert_eq!(bobs.wait_for("room_entered", PATIENCE).unwrap()["protection"], "hop");
    let mut adas = ada.start(&["room", "join", "radio", "--no-devices", "--seconds", "2"]).unwrap();
    adas.wait_for("hearing", PATIENCE).unwrap();
    bobs.wait_for("hearing", PATIENCE).unwrap();
    assert_eq!(adas.exit_code().unwrap(), Some(0));
    bobs.end().unwrap();
}
