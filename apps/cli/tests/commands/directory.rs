//! A server's key directory as others meet it: a witness that watches its log, and what they and devices do when it goes back.

use std::fs;
use std::process::Output;

use serde_json::Value;
use undertone_testkit::process::program;
use undertone_testkit::{Terminal, TestServer};

/// The objects that a command printed.
fn objects(output: &Output) -> Vec<Value> {
    String::from_utf8_lossy(&output.stdout).lines().filter_map(|line| serde_json::from_str(line).ok()).collect()
}

/// One look of a witness at the server's log.
fn look(server: &TestServer) -> (Option<i32>, Vec<Value>) {
    let mut admin = program("undertone-server").unwrap();
    let printed = admin.args(["admin", "log-key", "--json", "--data"]).arg(server.data()).output().unwrap();
    let log_key = objects(&printed)[0]["log_key"].as_str().unwrap().to_owned();
    let mut witness = program("undertone-server").unwrap();
    witness.args(["witness", "--once", "--json", "--log", &format!("https://{}", server.address())]);
    witness.args(["--log-key", &log_key, "--key"]).arg(server.join("witness.key"));
    let output = witness.output().unwrap();
    (output.status.code(), objects(&output))
}

fn event<'a>(events: &'a [Value], name: &str) -> &'a Value {
    events.iter().find(|event| event["event"] == name).unwrap_or_else(|| panic!("no {name} in {events:?}"))
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn kt_12_a_witness_cosigns_a_log_that_grows_and_none_after_a_rollback() {
    let mut server = TestServer::start("witness").await.unwrap();
    let registered =
        |server: &TestServer, name: &str| Terminal::registered(server.join(name), server.address(), name).unwrap();
    let ada = registered(&server, "ada");
    // A witness that the operator has not named checks everything, and its cosignature is not taken.
    let (code, events) = look(&server);
    let key = event(&events, "ready")["witness"].as_str().unwrap().to_owned();
    assert_eq!(code, Some(1), "{events:?}");
    assert!(event(&events, "failed")["says"].as_str().unwrap().contains("witnesses"), "{events:?}");
    server.take_down().await;
    let earlier = ["directory.db", "undertone.db"].map(|name| fs::read(server.data().join(name)).unwrap());
    server.allow_witness(key);
    server.bring_up().await.unwrap();
    let (code, events) = look(&server);
    assert_eq!((code, &event(&events, "cosigned")["known"]), (Some(0), &false.into()), "{events:?}");
    let size = event(&events, "cosigned")["size"].as_u64().unwrap();
    registered(&server, "bob");
    let (code, events) = look(&server);
    assert!(code == Some(0) && event(&events, "cosigned")["size"].as_u64().unwrap() > size, "{events:?}");
    assert!(ada.run(&["peer", "show", "bob"]).unwrap().status.success());

    // Yesterday's copy is put back: whoever has seen more of the log says so, and goes on saying it.
    server.take_down().await;
    for (name, bytes) in ["directory.db", "undertone.db"].iter().zip(&earlier) {
        fs::write(server.data().join(name), bytes).unwrap();
        for beside in ["-wal", "-shm"] {
            let _ = fs::remove_file(server.data().join(format!("{name}{beside}")));
        }
    }
    server.bring_up().await.unwrap();
    let (code, events) = look(&server);
    let accused = event(&events, "accused");
    assert_eq!((code, accused["rule"].as_str()), (Some(1), Some("KT-4")), "{events:?}");
    let refused = ada.run(&["devices"]).unwrap();
    assert_eq!(refused.status.code(), Some(4));
    assert!(String::from_utf8_lossy(&refused.stderr).contains("KT-4"));
    // A new account comes, and the log is as large as it was: another of the same size, and two signatures that say it.
    let carol = registered(&server, "carol");
    assert!(carol.run(&["devices"]).unwrap().status.success(), "she has seen no other");
    let (code, events) = look(&server);
    assert_eq!((code, event(&events, "accused")["rule"].as_str()), (Some(1), Some("KT-4")), "{events:?}");
}
