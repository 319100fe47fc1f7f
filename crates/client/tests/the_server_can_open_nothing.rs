//! What the server carries, it cannot read; and nothing is sent that anybody could read.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing, reason = "a test may fail")]

use std::collections::HashSet;
use std::sync::Arc;
use std::time::Duration;

use undertone_call::Local;
use undertone_client::engine::Memory;
use undertone_client::native::sound::{Silence, WavSource};
use undertone_client::native::{Online, Sound};
use undertone_client::{Engine, Event};
use undertone_keys::agreement::{DeviceKey, SoftwareKey};
use undertone_keys::envelope::Address;
use undertone_keys::sign::SigningKey;
use undertone_keys::testing::SeededRng;
use undertone_keys::{DeviceId, Time};
use undertone_media::packet::Codec;
use undertone_media::sframe::SealError;
use undertone_testkit::{TestServer, locksmith, speech, tls};

async fn wait_for(online: &mut Online, wanted: impl Fn(&Event) -> bool) -> Event {
    let search = async {
        loop {
            let event = online.next_event().await.unwrap();
            if wanted(&event) {
                return event;
            }
        }
    };
    tokio::time::timeout(Duration::from_secs(20), search).await.unwrap()
}

/// A call of three seconds in which Ada speaks; returns its id and what the relay wrote down.
async fn recorded_call(server: &TestServer) -> ([u8; 16], Vec<Vec<u8>>) {
    let (mut ada, mut bob) = (server.online("ada").await.unwrap(), server.online("bob").await.unwrap());
    let sound = Sound::new(WavSource::open(&speech("ada")).unwrap(), Silence);
    ada.call("bob", sound).await.unwrap();
    wait_for(&mut bob, |event| matches!(event, Event::Incoming { .. })).await;
    bob.accept(Sound::silent()).await.unwrap();
    let Event::Connected { call, .. } = wait_for(&mut ada, |event| matches!(event, Event::Connected { .. })).await
    else {
        unreachable!()
    };
    tokio::time::sleep(Duration::from_secs(4)).await;
    let report = ada.check_tap(server.tap()).await.unwrap();
    assert!(report.packets > 200 && report.opened == report.packets, "a member opens all of it: {report:?}");
    ada.stop().await;
    bob.stop().await;
    (*call.as_bytes(), locksmith::packets(&server.tap()).unwrap())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn relay_saw_nothing_it_could_open() {
    let mut server = TestServer::start("saw-nothing").await.unwrap();
    let (call, packets) = recorded_call(&server).await;
    server.take_down().await;
    for packet in [&packets[0], &packets[packets.len() / 2], packets.last().unwrap()] {
        let attempt = locksmith::try_folder(&server.data(), packet, &call).unwrap();
        assert!(attempt.tried > 1_000, "{attempt:?}");
        assert!(!attempt.opened, "a key of the call lies on the server");
    }
}

/// Rule MED-6: what leaves is sealed or does not leave.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn no_plaintext_fallback() {
    // Without a call there is no packet, whatever is asked.
    let rng = &mut SeededRng::new(1);
    let (identity, agreement) = (SigningKey::generate(rng), SoftwareKey::generate(rng));
    let address = Address { user: "ada@x".parse().unwrap(), device: DeviceId::of(identity.public()) };
    let account = *SigningKey::generate(rng).public();
    let local = Local { address, identity: Arc::new(identity), account, key: (*agreement.public()).into() };
    let mut engine = Engine::new(local, *SigningKey::generate(rng).public(), Memory::default());
    let mut out = [0; 500];
    assert_eq!(engine.seal_audio(Codec::OPUS_32K, 0, b"in the clear", &mut out), Err(SealError::NoKey));
    assert_eq!(out, [0; 500]);
    assert!(engine.open_packet(Time::ZERO, &mut [2; 300]).is_none());

    // In a call, no packet contains a frame as the encoder made it.
    let server = TestServer::start("no-plaintext").await.unwrap();
    let (_, packets) = recorded_call(&server).await;
    let frames = opus_frames();
    assert!(frames.len() > 100);
    for packet in &packets {
        let plain = packet.windows(80).find(|window| frames.contains(*window));
        assert!(plain.is_none(), "a frame stands in a packet as it was encoded");
    }
    // Bob says nothing, and his encoder makes the same frame again and again: sealed, nothing of it comes twice.
    let mut seen = HashSet::new();
    let twice = packets.iter().flat_map(|packet| packet[16..].windows(16)).find(|run| !seen.insert(*run));
    assert!(twice.is_none(), "packets have a run of bytes in common");
    let silent = frames_of(|frame| frame.fill(0), 50);
    let mut seen = HashSet::new();
    let in_the_clear = silent.iter().flat_map(|frame| frame.windows(16)).find(|run| !seen.insert(*run));
    assert!(in_the_clear.is_some(), "frames of silence have, so the search finds what it looks for");
    // The search finds a frame where there is one.
    let frame = frames.iter().next().unwrap();
    let leaky = [&packets[0][..30], frame, &[0; 16]].concat();
    assert!(leaky.windows(80).any(|window| frames.contains(window)));
}

/// Ada's speech as the client encodes it.
fn opus_frames() -> HashSet<Vec<u8>> {
    use undertone_client::native::sound::Source;
    let mut source = WavSource::open(&speech("ada")).unwrap();
    frames_of(|frame| assert!(source.read(frame)), 400).into_iter().collect()
}

/// So many frames of whatever `fill` says, as the client encodes them.
fn frames_of(mut fill: impl FnMut(&mut [i16; 960]), count: usize) -> Vec<Vec<u8>> {
    let mut encoder = opus::Encoder::new(48_000, opus::Channels::Mono, opus::Application::Voip).unwrap();
    encoder.set_bitrate(opus::Bitrate::Bits(32_000)).unwrap();
    encoder.set_vbr(false).unwrap();
    encoder.set_inband_fec(true).unwrap();
    encoder.set_packet_loss_perc(10).unwrap();
    encoder.set_signal(opus::Signal::Voice).unwrap();
    let (mut frame, mut out) = ([0; 960], [0; 400]);
    let encoded = (0..count).map(|_| {
        fill(&mut frame);
        let length = encoder.encode(&frame, &mut out).unwrap();
        assert_eq!(length, 80, "the rate is constant: a packet's size says nothing");
        out[..length].to_vec()
    });
    encoded.collect()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn tls12_is_refused() {
    let server = TestServer::start("tls12").await.unwrap();
    tls::connect(&server, &rustls::version::TLS13).await.unwrap();
    let error = tls::connect(&server, &rustls::version::TLS12).await.unwrap_err();
    assert!(error.to_string().contains("ProtocolVersion"), "{error}");
}
