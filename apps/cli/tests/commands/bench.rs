//! `undertone bench`, with an account, without one, and where the server is gone.

use serde_json::Value;
use undertone_testkit::process::result as json;
use undertone_testkit::{ServerProcess, Terminal};

/// What every run has found out about this machine.
fn sealing_is_there(measured: &Value) {
    let sealing = measured["sealing"].as_array().unwrap();
    let sizes: Vec<u64> = sealing.iter().map(|cost| cost["bytes"].as_u64().unwrap()).collect();
    assert_eq!(sizes, [120, 1_200], "{measured}");
    for cost in sealing {
        for what in ["aes_256_gcm_ns", "sframe_ns", "hop_ns"] {
            assert!(cost[what].as_f64().unwrap() > 1.0, "{measured}");
        }
    }
}

#[test]
fn a_machine_and_its_server_are_measured() {
    let mut server = ServerProcess::start("bench").unwrap();
    let ada = Terminal::registered(server.join("ada"), server.address(), "ada").unwrap();
    let output = ada.run(&["bench"]).unwrap();
    let measured = json(&output);
    assert_eq!((output.status.code(), measured["event"].as_str()), (Some(0), Some("bench")), "{output:?}");
    assert_eq!(String::from_utf8_lossy(&output.stdout).lines().count(), 1, "one object, and no progress beside it");
    sealing_is_there(&measured);
    let reached = &measured["server"];
    assert_eq!(reached["address"], server.address());
    for (what, count) in [("signalling", 30), ("join", 5)] {
        assert_eq!(reached[what]["count"], count, "{measured}");
    }
    for what in ["signalling", "join", "media"] {
        let (half, most) = (reached[what]["p50_ms"].as_f64().unwrap(), reached[what]["p95_ms"].as_f64().unwrap());
        assert!(0.0 < half && half <= most && most < 5_000.0, "{measured}");
    }
    let sent = reached["sent"].as_u64().unwrap();
    // Fifty a second for five seconds, on a machine that may have other things to do.
    assert!((200..=260).contains(&sent), "{measured}");
    assert!(reached["loss_percent"].as_f64().unwrap() < 20.0, "{measured}");

    // What can be measured without the server is told, and then that it is gone.
    server.kill().unwrap();
    let output = ada.run(&["bench"]).unwrap();
    let lines = String::from_utf8_lossy(&output.stdout).into_owned();
    let lines: Vec<Value> = lines.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    assert_eq!((output.status.code(), lines.len()), (Some(5), 2), "{lines:?}");
    sealing_is_there(&lines[0]);
    assert_eq!((&lines[0]["server"], &lines[1]["error"]), (&Value::Null, &"unreachable".into()));
}

#[test]
fn without_an_account_it_measures_the_machine_alone() {
    let server = ServerProcess::start("bench-alone").unwrap();
    let stranger = Terminal::new(server.join("stranger"), server.address());
    let output = stranger.run(&["bench"]).unwrap();
    assert_eq!((output.status.code(), &json(&output)["server"]), (Some(0), &Value::Null));
    sealing_is_there(&json(&output));
}
