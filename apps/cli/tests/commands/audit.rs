//! What anybody can check of a server's key directory from a terminal, and what an account's owner can.

use std::fs;
use std::process::Output;

use serde_json::Value;
use undertone_testkit::{Terminal, TestServer};

/// The object of an event that a command printed, and its exit code.
fn event(output: &Output, name: &str) -> (Option<i32>, Value) {
    let lines = String::from_utf8_lossy(&output.stdout);
    let mut objects = lines.lines().filter_map(|line| serde_json::from_str::<Value>(line).ok());
    let found = objects.find(|object| object["event"] == name).unwrap_or_else(|| panic!("no {name} in {output:?}"));
    (output.status.code(), found)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn kt_11_kt_12_an_owner_and_a_stranger_audit_a_server() {
    let mut server = TestServer::start("audit").await.unwrap();
    let registered =
        |server: &TestServer, name: &str| Terminal::registered(server.join(name), server.address(), name).unwrap();
    let ada = registered(&server, "ada");
    let (code, object) = event(&ada.run(&["audit", "self"]).unwrap(), "self_audit");
    assert_eq!((code, &object["alarms"]), (Some(0), &Value::Array(Vec::new())));
    assert_eq!((&object["versions"][0]["version"], &object["versions"][0]["devices"]), (&1.into(), &1.into()));

    let (code, first) = event(&ada.run(&["audit", "log"]).unwrap(), "log_audited");
    assert_eq!((code, &first["pinned"], &first["audited_before"]), (Some(0), &true.into(), &0.into()));
    registered(&server, "bob");
    let (code, second) = event(&ada.run(&["audit", "log"]).unwrap(), "log_audited");
    assert_eq!((code, &second["audited_before"]), (Some(0), &first["size"]));
    assert!(second["epoch"].as_u64() > first["epoch"].as_u64());
    let (_, whole) = event(&ada.run(&["audit", "log", "--from-start"]).unwrap(), "log_audited");
    assert_eq!((&whole["audited_before"], whole["begins_with_seen"].as_bool()), (&0.into(), Some(true)));

    // Somebody without an account, to whom the server says who it is.
    let nobody = Terminal::new(server.join("nobody"), server.address());
    let address = server.address();
    let (code, object) = event(&nobody.run(&["audit", "log", "--server", &address]).unwrap(), "log_audited");
    assert_eq!((code, &object["pinned"], &object["log_key"]), (Some(0), &false.into(), &whole["log_key"]));

    // Yesterday's copy is put back: both say so, and what they keep can be checked by anybody.
    server.take_down().await;
    let data = server.data().to_path_buf();
    let earlier = ["directory.db", "undertone.db"].map(|name| fs::read(data.join(name)).unwrap());
    server.bring_up().await.unwrap();
    registered(&server, "carol");
    for terminal in [&ada, &nobody] {
        let audited = terminal.run(&["audit", "log", "--server", &address]).unwrap();
        assert_eq!(event(&audited, "log_audited").0, Some(0));
    }
    server.take_down().await;
    for (name, bytes) in ["directory.db", "undertone.db"].iter().zip(&earlier) {
        fs::write(data.join(name), bytes).unwrap();
        for beside in ["-wal", "-shm"] {
            let _ = fs::remove_file(data.join(format!("{name}{beside}")));
        }
    }
    server.bring_up().await.unwrap();
    for (terminal, home) in [(&ada, "ada"), (&nobody, "nobody")] {
        let refused = terminal.run(&["audit", "log", "--server", &address]).unwrap();
        assert_eq!(refused.status.code(), Some(4), "{refused:?}");
        assert!(String::from_utf8_lossy(&refused.stderr).contains("KT-4"), "{refused:?}");
        let mut kept = fs::read_dir(server.join(home).join("evidence")).unwrap();
        let file = kept.next().unwrap().unwrap().path();
        let checked = terminal.run(&["audit", "evidence", file.to_str().unwrap()]).unwrap();
        assert_eq!(checked.status.code(), Some(4), "{checked:?}");
    }
    let refused = ada.run(&["audit", "self"]).unwrap();
    assert_eq!(refused.status.code(), Some(4), "{refused:?}");
}
