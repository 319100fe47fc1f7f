//! `room explain`: what keys a room's call has, asked beside the program that is in it.

use std::time::Duration;

use serde_json::Value;
use undertone_testkit::process::result as json;
use undertone_testkit::{ServerProcess, Terminal};

const PATIENCE: Duration = Duration::from_secs(30);

fn person(server: &ServerProcess, name: &str) -> Terminal {
    Terminal::registered(server.join(name), server.address(), name).unwrap()
}

fn explain(terminal: &Terminal, room: &str) -> Value {
    let output = terminal.run(&["room", "explain", room]).unwrap();
    assert_eq!(output.status.code(), Some(0), "{}", String::from_utf8_lossy(&output.stderr));
    json(&output)
}

/// Asks until it is so: the other program may be a step behind.
fn explain_until(terminal: &Terminal, room: &str, is: impl Fn(&Value) -> bool) -> Value {
    for _ in 0..100 {
        let explained = explain(terminal, room);
        if is(&explained) {
            return explained;
        }
        std::thread::sleep(Duration::from_millis(100));
    }
    panic!("{}", explain(terminal, room));
}

/// Rules GRP-1, GRP-3, GRP-8: who gave the keys, why, and by what proof each member is one. Both who are in say the same.
#[test]
fn grp_3_a_program_beside_the_call_explains_its_keys() {
    let server = ServerProcess::start("room-explain").unwrap();
    let [ada, bob] = ["ada", "bob"].map(|name| person(&server, name));
    let made = json(&ada.run(&["room", "create", "team", "--keys", "host", "--invite", "bob"]).unwrap());

    // Nobody is in: what the list says, which Bob's home has not seen.
    let off = explain(&ada, "team");
    assert_eq!((&off["on"], &off["key"], &off["version"]), (&false.into(), &"host".into(), &1.into()));
    assert_eq!((&off["members"][0]["standing"], &off["members"][1]["standing"]), (&"me".into(), &"pinned".into()));
    assert_eq!(off["members"][1]["account_key"], made["members"][1]["account_key"]);
    assert_eq!(bob.run(&["room", "explain", "team"]).unwrap().status.code(), Some(1));

    let mut adas = ada.start(&["room", "join", "team", "--no-devices", "--keys", "host"]).unwrap();
    adas.wait_for("epoch", PATIENCE).unwrap();
    let mut bobs = bob.start(&["room", "join", "team", "--no-devices"]).unwrap();
    bobs.wait_for("epoch", PATIENCE).unwrap();
    let sealed = |explained: &Value| {
        let two = explained["members"].as_array().is_some_and(|members| members.len() == 2);
        two && explained["members"][1]["keyed"] == true && explained["epoch"] == explained["opened"]["epoch"]
    };
    let adas_words = explain_until(&ada, "team", sealed);
    let bobs_words = explain_until(&bob, made["room"].as_str().unwrap(), sealed);
    for (name, words) in [("ada@localhost", &adas_words), ("bob@localhost", &bobs_words)] {
        assert_eq!((&words["on"], &words["joined"], &words["key"]), (&true.into(), &true.into(), &"host".into()));
        assert_eq!(
            (&words["host"]["user"], &words["host"]["me"]),
            (&"ada@localhost".into(), &(name == "ada@localhost").into())
        );
        assert_eq!((&words["opened"]["cause"], &words["opened"]["term"]), (&"joined".into(), &1.into()));
        let next = words["opened"]["next_ms"].as_u64().unwrap() + words["opened"]["ago_ms"].as_u64().unwrap();
        assert!((299_999..=300_000).contains(&next), "GRP-2: {next}");
        let ring = words["ring"].as_array().unwrap();
        let seals: Vec<&Value> = ring.iter().filter(|held| held["seals"] == true).map(|held| &held["epoch"]).collect();
        assert_eq!(seals, [&words["epoch"]]);
        assert!(
            words["sent"]["letters"].as_u64() > Some(0) && words["received"]["bytes"].as_u64() > Some(0),
            "{words}"
        );
        for member in words["members"].as_array().unwrap() {
            let me = member["user"] == name;
            assert_eq!(member["me"], me);
            assert_eq!(member["standing"], if me { Value::Null } else { "pinned".into() });
            assert_eq!(member["directory"]["log_size"].as_u64() > Some(0), !me, "{member}");
        }
    }
    for same in ["roster", "epoch", "term", "cause"] {
        assert_eq!(adas_words["opened"][same], bobs_words["opened"][same], "{same}");
    }
    assert_eq!(adas_words["host"]["device"], bobs_words["host"]["device"]);
    // Nobody who sits in the room is told: nothing was changed.
    assert!(!adas.events.iter().any(|event| event["event"] == "errand"));
    bobs.end().unwrap();
    adas.end().unwrap();
}

/// Rules GRP-6, MLS-4: epoch, suite, who can open it, who changed it last, and what it has cost. Both who are in say the same.
#[test]
fn grp_6_a_program_beside_the_call_explains_its_group() {
    let server = ServerProcess::start("room-explain-mls").unwrap();
    let [ada, bob] = ["ada", "bob"].map(|name| person(&server, name));
    let wrong = ada.run(&["room", "create", "team", "--keys", "host", "--suite", "p256"]).unwrap();
    assert_eq!((wrong.status.code(), &json(&wrong)["event"]), (Some(1), &"room_refused".into()));
    let made = json(&ada.run(&["room", "create", "team", "--suite", "x-wing", "--invite", "bob"]).unwrap());
    assert_eq!(made["event"], "room_created");
    let off = explain(&ada, "team");
    assert_eq!((&off["on"], &off["key"], &off["suite"]), (&false.into(), &"mls".into(), &"x-wing".into()));

    let mut adas = ada.start(&["room", "join", "team", "--no-devices", "--keys", "mls"]).unwrap();
    adas.wait_for("epoch", PATIENCE).unwrap();
    let mut bobs = bob.start(&["room", "join", "team", "--no-devices"]).unwrap();
    bobs.wait_for("epoch", PATIENCE).unwrap();
    // Bob has given himself new keys, as whoever was let in does.
    let settled = |explained: &Value| {
        let group = &explained["group"];
        group["members"].as_array().is_some_and(|members| members.len() == 2)
            && group["committed_by"]["user"] == "bob@localhost"
            && explained["epoch"] == group["epoch"]
    };
    let adas_words = explain_until(&ada, "team", settled);
    let bobs_words = explain_until(&bob, "team", settled);
    for words in [&adas_words, &bobs_words] {
        assert_eq!((&words["key"], &words["held"], &words["host"]), (&"mls".into(), &false.into(), &Value::Null));
        let group = &words["group"];
        assert_eq!((&group["standpoint"], &group["suite"]), (&"inside".into(), &"x-wing".into()));
        assert!(
            group["spent"]["sent"].as_u64() > Some(1_000) && group["spent"]["epochs"].as_u64() > Some(0),
            "{group}"
        );
        assert!(words["members"].as_array().unwrap().iter().all(|member| member["keyed"] == true), "{words}");
        let ring = words["ring"].as_array().unwrap();
        assert!(ring.iter().any(|held| held["seals"] == true && held["epoch"] == words["epoch"]), "{words}");
    }
    assert_eq!(adas_words["group"]["members"], bobs_words["group"]["members"]);
    assert_ne!(adas_words["group"]["own_leaf"], bobs_words["group"]["own_leaf"]);

    // Bob leaves: his leaf is removed by Ada, who stays.
    bobs.end().unwrap();
    let alone = explain_until(&ada, "team", |explained| {
        explained["group"]["members"].as_array().is_some_and(|members| members.len() == 1)
    });
    assert_eq!(alone["group"]["committed_by"]["user"], "ada@localhost");
    assert!(alone["group"]["epoch"].as_u64() > adas_words["group"]["epoch"].as_u64());
    adas.end().unwrap();
}

/// Rule NEG-1: whoever insists on a host's keys does not come into a room whose relay opens everything.
#[test]
fn neg_1_who_insists_on_a_hosts_keys_enters_no_hop_room() {
    let server = ServerProcess::start("room-explain-hop").unwrap();
    let ada = person(&server, "ada");
    ada.run(&["room", "create", "radio", "--protection", "hop"]).unwrap();
    let refused = ada.run(&["room", "join", "radio", "--no-devices", "--allow-hop", "--keys", "host"]).unwrap();
    let said = json(&refused);
    assert_eq!((refused.status.code(), &said["event"], &said["key"]), (Some(1), &"keys_refused".into(), &"hop".into()));
    let mut adas = ada.start(&["room", "join", "radio", "--no-devices"]).unwrap();
    adas.wait_for("connected", PATIENCE).unwrap();
    let words = explain(&ada, "radio");
    assert_eq!((&words["on"], &words["key"], &words["epoch"]), (&true.into(), &"hop".into(), &Value::Null));
    assert_eq!(words["ring"].as_array().unwrap().len(), 0);
    adas.end().unwrap();
}

/// Rule GRP-9: a talk with an audience, from the command line: many are invited at once, who listens is told who gives it keys, and who speaks
/// how many listen.
#[test]
fn grp_9_a_talk_has_an_audience_that_is_explained() {
    let server = ServerProcess::start("room-audience").unwrap();
    let [ada, bob, carol] = ["ada", "bob", "carol"].map(|name| person(&server, name));
    let wrong = ada.run(&["room", "create", "talk", "--keys", "host", "--audience"]).unwrap();
    assert_eq!((wrong.status.code(), &json(&wrong)["event"]), (Some(1), &"room_refused".into()));
    let made = json(&ada.run(&["room", "create", "talk", "--audience"]).unwrap());
    assert_eq!((&made["event"], &made["audience"]), (&"room_created".into(), &true.into()));
    let invite = ["room", "invite", "talk", "bob", "carol", "--role", "listener"];
    let invited = json(&ada.run(&invite).unwrap());
    assert_eq!((&invited["version"], invited["members"].as_array().unwrap().len()), (&2.into(), 3), "in one version");
    assert_eq!(ada.run(&invite).unwrap().status.code(), Some(1), "they are on it already");
    assert_eq!(explain(&ada, "talk")["audience"], true);

    let mut adas = ada.start(&["room", "join", "talk", "--no-devices"]).unwrap();
    adas.wait_for("epoch", PATIENCE).unwrap();
    let mut listeners = [&bob, &carol].map(|who| who.start(&["room", "join", "talk", "--no-devices"]).unwrap());
    for listener in &mut listeners {
        listener.wait_for("epoch", PATIENCE).unwrap();
    }
    let all = explain_until(&ada, "talk", |explained| {
        let audience = &explained["audience"];
        // Whoever listens is given a key before it is sealed under.
        audience["served"] == 2 && audience["shown"] == 2 && explained["epoch"] == explained["group"]["epoch"]
    });
    assert_eq!(all["group"]["members"].as_array().unwrap().len(), 1, "{all}");
    let newest = all["epoch"].clone();
    for listener in [&bob, &carol] {
        let heard = explain_until(listener, "talk", |explained| explained["epoch"] == newest);
        assert_eq!(heard["audience"]["server"]["user"], "ada@localhost", "{heard}");
        assert_eq!((&heard["group"], heard["members"].as_array().unwrap().len()), (&Value::Null, 2), "{heard}");
    }
    for listener in listeners {
        listener.end().unwrap();
    }
    adas.end().unwrap();
}
