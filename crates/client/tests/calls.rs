//! Two devices, a real server on loopback, real TLS, QUIC, OPAQUE, Opus and SQLite.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing, reason = "a test may fail")]

use std::time::Duration;

use tokio::time::{Instant, timeout};
use undertone_call::Outcome;
use undertone_client::Event;
use undertone_client::engine::CallInfo;
use undertone_client::native::sound::{Silence, WavFormat, WavSink, WavSource};
use undertone_client::native::{Online, Sound};
use undertone_testkit::ears::{envelope, likeness};
use undertone_testkit::{TestServer, speech};

/// The next event that `pick` wants, within ten seconds.
async fn wait<T>(online: &mut Online, mut pick: impl FnMut(&Event) -> Option<T>) -> anyhow::Result<T> {
    let search = async {
        while let Some(event) = online.next_event().await {
            if let Some(found) = pick(&event) {
                return Ok(found);
            }
        }
        anyhow::bail!("the driver stopped")
    };
    timeout(Duration::from_secs(20), search).await?
}

fn over(event: &Event) -> Option<Outcome> {
    match event {
        Event::Over { outcome, .. } => Some(*outcome),
        _ => None,
    }
}

fn established(event: &Event) -> Option<CallInfo> {
    match event {
        Event::Established(info) => Some((**info).clone()),
        _ => None,
    }
}

fn connected(event: &Event) -> Option<bool> {
    match event {
        Event::Connected { again, .. } => Some(*again),
        _ => None,
    }
}

/// `ada` calls, `bob` answers; both hear each other when this returns.
async fn talk(ada: &mut Online, bob: &mut Online, sounds: [Sound; 2]) -> anyhow::Result<[CallInfo; 2]> {
    let [a, b] = sounds;
    ada.call("bob", a).await?;
    wait(bob, |event| matches!(event, Event::Incoming { .. }).then_some(())).await?;
    bob.accept(b).await?;
    let infos = [wait(ada, established).await?, wait(bob, established).await?];
    wait(ada, connected).await?;
    wait(bob, connected).await?;
    Ok(infos)
}

fn recorder(server: &TestServer, who: &str, hears: &str) -> anyhow::Result<Sound> {
    let sink = WavSink::create(&server.join(hears), WavFormat { rate: 44_100, channels: 2 })?;
    Ok(Sound::new(WavSource::open(&speech(who))?, sink))
}

async fn metrics(server: &TestServer) -> anyhow::Result<String> {
    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    let address = server.server().and_then(undertone_server::Server::metrics).expect("metrics are served");
    let mut stream = tokio::net::TcpStream::connect(address).await?;
    stream.write_all(b"GET /metrics HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n").await?;
    let mut answer = String::new();
    stream.read_to_string(&mut answer).await?;
    Ok(answer)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn two_clients_hear_each_other() -> anyhow::Result<()> {
    let server = TestServer::start("hear").await?;
    let (mut ada, mut bob) = (server.online("ada").await?, server.online("bob").await?);
    let sounds = [recorder(&server, "ada", "ada-hears.wav")?, recorder(&server, "bob", "bob-hears.wav")?];
    let [a, b] = talk(&mut ada, &mut bob, sounds).await?;
    assert!(a.sas == b.sas, "both sides show the same string");
    assert_eq!((a.epoch, a.call), (b.epoch, b.call));
    tokio::time::sleep(Duration::from_secs(11)).await;

    let status = ada.status();
    assert!(status.opened > 450 && status.refused == 0, "{status:?}");
    // A member's keys open what the relay recorded: all of both sides' packets.
    let tap = ada.check_tap(server.tap()).await?;
    assert!(tap.packets > 900 && tap.opened == tap.packets, "{tap:?}");
    // An operator sees that there is a call, and nothing of whose it is.
    let metrics = metrics(&server).await?;
    for row in ["undertone_relay_rooms 1", "undertone_relay_members 2", "undertone_devices_connected 2"] {
        assert!(metrics.lines().any(|line| line == row), "{row} is not in\n{metrics}");
    }
    assert!(metrics.contains("undertone_relay_packets_opened_total 0\n") && !metrics.contains("ada"), "{metrics}");
    ada.hang_up().await?;
    assert_eq!(wait(&mut ada, over).await?, Outcome::Ended);
    assert_eq!(wait(&mut bob, over).await?, Outcome::Ended);
    ada.stop().await;
    bob.stop().await;

    let (said_a, said_b) = (envelope(&speech("ada"))?, envelope(&speech("bob"))?);
    let (heard_a, heard_b) = (envelope(&server.join("ada-hears.wav"))?, envelope(&server.join("bob-hears.wav"))?);
    let right = [likeness(&said_b, &heard_a, 100).0, likeness(&said_a, &heard_b, 100).0];
    let wrong = [likeness(&said_a, &heard_a, 100).0, likeness(&said_b, &heard_b, 100).0];
    assert!(right.iter().all(|likeness| *likeness >= 0.8), "{right:?}");
    assert!(wrong.iter().all(|likeness| *likeness < 0.5), "{wrong:?}");
    Ok(())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_server_that_was_stopped_is_found_again() -> anyhow::Result<()> {
    let mut server = TestServer::start("stopped").await?;
    let (mut ada, mut bob) = (server.online("ada").await?, server.online("bob").await?);
    talk(&mut ada, &mut bob, [Sound::new(WavSource::open(&speech("ada"))?, Silence), Sound::silent()]).await?;
    tokio::time::sleep(Duration::from_secs(1)).await;
    // Taken down in this very process; the clients get no goodbye from the relay, only broken connections.
    server.take_down().await;
    for online in [&mut ada, &mut bob] {
        wait(online, |event| matches!(event, Event::Interrupted { .. }).then_some(())).await?;
    }
    tokio::time::sleep(Duration::from_secs(3)).await;
    server.bring_up().await?;
    let back = Instant::now();
    for online in [&mut ada, &mut bob] {
        assert!(wait(online, connected).await?, "the call goes on, it is not a new one");
    }
    assert!(back.elapsed() < Duration::from_secs(5), "back after {:?}", back.elapsed());
    let before = bob.status().opened;
    tokio::time::sleep(Duration::from_secs(2)).await;
    assert!(bob.status().opened > before + 50, "sound flows again");
    // Signalling is back as well: the call can be ended through it.
    bob.hang_up().await?;
    assert_eq!(wait(&mut bob, over).await?, Outcome::Ended);
    assert_eq!(wait(&mut ada, over).await?, Outcome::Ended);
    Ok(())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn call_3_results_over_a_real_server() -> anyhow::Result<()> {
    let server = TestServer::start("results").await?;
    let (mut ada, mut bob) = (server.online("ada").await?, server.online("bob").await?);
    let eve = server.register("eve").await?;

    ada.call("eve", Sound::silent()).await?;
    assert_eq!(wait(&mut ada, over).await?, Outcome::Offline);

    ada.call("bob", Sound::silent()).await?;
    wait(&mut bob, |event| matches!(event, Event::Incoming { .. }).then_some(())).await?;
    bob.decline().await?;
    assert_eq!(wait(&mut ada, over).await?, Outcome::Declined);
    assert_eq!(wait(&mut bob, over).await?, Outcome::Declined);

    ada.call("bob", Sound::silent()).await?;
    wait(&mut bob, |event| matches!(event, Event::Incoming { .. }).then_some(())).await?;
    ada.hang_up().await?;
    assert_eq!(wait(&mut bob, over).await?, Outcome::Cancelled);

    assert!(ada.call("nobody", Sound::silent()).await.is_err());

    let mut eve = eve.connect().await?;
    talk(&mut ada, &mut bob, [Sound::silent(), Sound::silent()]).await?;
    eve.call("bob", Sound::silent()).await?;
    assert_eq!(wait(&mut eve, over).await?, Outcome::Busy);
    Ok(())
}
