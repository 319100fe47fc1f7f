//! A server that is killed in the middle of a call, as kernels and impatient operators do it: no goodbye to anybody.

use std::time::{Duration, Instant};

use undertone_testkit::{ServerProcess, Terminal, speech};

const PATIENCE: Duration = Duration::from_secs(30);
/// Within this time of the server's return both sides have each other again.
const BACK_WITHIN: Duration = Duration::from_secs(5);

#[test]
fn killed_server_call_resumes() -> anyhow::Result<()> {
    let mut server = ServerProcess::start("killed-server")?;
    let person = |name: &str| Terminal::registered(server.join(name), server.address(), name);
    let (ada, bob) = (person("ada")?, person("bob")?);
    let speech = |name: &str| speech(name).display().to_string();
    let mut bobs = bob.start(&["answer", "--no-devices", "--wav-in", &speech("bob")])?;
    bobs.wait_for("waiting", PATIENCE)?;
    let mut adas = ada.start(&["call", "bob", "--no-devices", "--wav-in", &speech("ada")])?;
    let call = adas.wait_for("established", PATIENCE)?["call"].clone();
    for side in [&mut adas, &mut bobs] {
        side.wait_for("connected", PATIENCE)?;
        side.hears(20, PATIENCE)?;
    }
    // Gone for a moment, and gone for as long as a person needs to look up the command.
    for away in [Duration::ZERO, Duration::from_secs(3)] {
        server.kill()?;
        std::thread::sleep(away);
        server.start_again()?;
        let back = Instant::now();
        for side in [&mut adas, &mut bobs] {
            assert_eq!(side.wait_for("interrupted", PATIENCE)?["call"], call, "they say so");
            let again = side.wait_for("connected", PATIENCE)?;
            assert_eq!(
                (&again["call"], &again["again"]),
                (&call, &true.into()),
                "the call goes on, it is not a new one"
            );
        }
        let took = back.elapsed();
        println!("away for {away:?}: both sides back {took:?} after the ready line");
        assert!(took < BACK_WITHIN, "back {took:?} after the ready line");
        adas.hears(50, PATIENCE)?;
        bobs.hears(50, PATIENCE)?;
    }
    // Signalling is back as well: a goodbye arrives.
    adas.end()?;
    assert_eq!(bobs.wait_for("over", PATIENCE)?["result"], "ended");
    assert_eq!(bobs.exit_code()?, Some(0));
    Ok(())
}
