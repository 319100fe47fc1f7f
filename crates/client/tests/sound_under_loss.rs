//! Speech through a network that loses and delays packets.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing, reason = "a test may fail")]
#![allow(clippy::print_stderr, reason = "what was heard is worth a line")]

use std::time::Duration;

use tokio::time::timeout;
use undertone_client::native::sound::{Pcm, Sink, SoundError, Source, Tuning, WavSource};
use undertone_client::native::{Client, KeyChoice, Online, Registration, Sound};
use undertone_client::{Event, secret};
use undertone_testkit::ears::{envelope_of, likeness};
use undertone_testkit::{Loss, LossyProxy, TestServer, Weather, speech};

/// Says the same sentence again and again, and never pauses: where there is no voice Opus spends nothing on error
/// correction, so that a pause would measure how much of the sentence is pause.
struct Loop(WavSource);

impl Loop {
    fn new() -> Self {
        Self(WavSource::open(&speech("ada")).unwrap())
    }
}

impl Source for Loop {
    fn read(&mut self, frame: &mut Pcm) -> bool {
        loop {
            if !self.0.read(frame) {
                self.0 = WavSource::open(&speech("ada")).unwrap();
            }
            if envelope_of(frame)[0] > VOICE {
                return true;
            }
        }
    }
}

/// What is louder is voice.
const VOICE: f64 = 300.0;

/// Keeps what was heard.
#[derive(Clone, Default)]
struct Recorder(std::sync::Arc<std::sync::Mutex<Vec<i16>>>);

impl Sink for Recorder {
    fn write(&mut self, frame: &Pcm) -> Result<(), SoundError> {
        self.0.lock().unwrap().extend_from_slice(frame);
        Ok(())
    }
}

async fn online(server: &str, home: std::path::PathBuf, name: &str) -> Online {
    let client = Client::open(&home).unwrap();
    let passphrase = secret::SecretBytes::new(b"a long passphrase".to_vec());
    let registration =
        Registration { server, name, passphrase: &passphrase, label: "test", invite: None, key: KeyChoice::P256 };
    client.register(registration).await.unwrap();
    client.connect().await.unwrap()
}

async fn wait_for(online: &mut Online, wanted: impl Fn(&Event) -> bool) {
    let search = async { while !wanted(&online.next_event().await.unwrap()) {} };
    timeout(Duration::from_secs(20), search).await.unwrap();
}

/// Frames that are compared at a time.
const WINDOW: usize = 200;

/// What came of a call of so many seconds.
#[derive(Debug)]
struct Heard {
    /// Percent of the frames that came in a packet, or were rebuilt from another.
    whole: f64,
    /// The longest hole in speech, in milliseconds.
    gap_ms: usize,
    likeness: f64,
}

async fn call(name: &str, weather: Weather, fec: bool, seconds: u64) -> Heard {
    let server = TestServer::start(name).await.unwrap();
    let proxy = LossyProxy::start(server.address().parse().unwrap(), weather).await.unwrap();
    // Ada's way to the relay is the bad one.
    let ada = online(&proxy.address().to_string(), server.join("ada"), "ada").await;
    let mut bob = online(&server.address(), server.join("bob"), "bob").await;
    let recorder = Recorder::default();
    let tuning = Tuning { fec, ..Tuning::default() };
    ada.call("bob", Sound::new(Loop::new(), undertone_client::native::sound::Silence).tuned(tuning)).await.unwrap();
    wait_for(&mut bob, |event| matches!(event, Event::Incoming { .. })).await;
    bob.accept(Sound::new(undertone_client::native::sound::Silence, recorder.clone())).await.unwrap();
    wait_for(&mut bob, |event| matches!(event, Event::Hearing { .. })).await;
    tokio::time::sleep(Duration::from_secs(seconds)).await;
    let status = bob.status();
    ada.stop().await;
    bob.stop().await;
    let heard = recorder.0.lock().unwrap().clone();
    #[expect(clippy::cast_precision_loss, reason = "a few thousand frames")]
    let whole = {
        let (good, bad) = ((status.played + status.recovered) as f64, status.concealed as f64);
        100.0 * good / (good + bad)
    };
    let said = said(seconds);
    // The first second belongs to the call's beginning: what was said before the other side could hear is nobody's loss.
    let said = envelope_of(&said).split_off(50);
    // Four seconds at a time: the buffer grows while it learns the path, and what is said shifts by as much. Aligned to
    // 5 ms, since what is played begins anywhere within a frame.
    let aligned: Vec<Vec<f64>> = (0..4).map(|quarter| envelope_of(&heard[quarter * 240..])).collect();
    let windows: Vec<(f64, usize)> = said
        .chunks_exact(WINDOW)
        .zip((0..).step_by(WINDOW))
        .filter(|(_, start)| start + WINDOW + 300 < aligned[0].len())
        .map(|(said, start)| {
            let best = aligned.iter().map(|heard| (likeness(said, &heard[start..], 300), &heard[start..]));
            let ((like, lag), heard) = best.max_by(|a, b| a.0.0.total_cmp(&b.0.0)).unwrap();
            (like, 20 * longest_hole(said, heard, lag))
        })
        .collect();
    assert!(windows.len() >= 6, "{} windows", windows.len());
    #[expect(clippy::cast_precision_loss, reason = "a few windows")]
    let like = windows.iter().map(|(like, _)| like).sum::<f64>() / windows.len() as f64;
    let gap_ms = windows.iter().map(|(_, gap)| *gap).max().unwrap_or_default();
    eprintln!(
        "{name}: {whole:.2} % whole, longest hole {gap_ms} ms, likeness {like:.3}; {status:?}; {:?}",
        proxy.counts()
    );
    Heard { whole, gap_ms, likeness: like }
}

/// What Ada says in so many seconds.
fn said(seconds: u64) -> Vec<i16> {
    let mut source = Loop::new();
    let mut said = Vec::new();
    for _ in 0..seconds * 50 {
        let mut frame = [0; 960];
        source.read(&mut frame);
        said.extend_from_slice(&frame);
    }
    said
}

/// The most frames in a row that were speech when they were said, and all but nothing when they were heard.
fn longest_hole(said: &[f64], heard: &[f64], lag: i64) -> usize {
    let loudest = said.iter().copied().fold(0.0, f64::max);
    let (mut longest, mut run) = (0, 0);
    for (place, loud) in said.iter().enumerate() {
        let there = usize::try_from(i64::try_from(place).unwrap() + lag).ok().and_then(|place| heard.get(place));
        let Some(there) = there else { continue };
        // Ten decibels below the loudest is speech for sure; forty below what was said is a hole.
        let hole = *loud > loudest * 0.1 && *there < *loud * 0.01;
        run = if hole { run + 1 } else { 0 };
        longest = longest.max(run);
    }
    longest
}

const BAD: Weather = Weather { loss: Loss::Random(0.1), jitter: Duration::from_millis(30), seed: 7 };

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn speech_survives_ten_percent_of_loss() {
    let heard = call("loss", BAD, true, 40).await;
    assert!(heard.whole >= 97.0, "{heard:?}");
    assert!(heard.gap_ms <= 60, "{heard:?}");
    assert!(heard.likeness >= 0.9, "{heard:?}");
    // The same network and no error correction: the test can fail.
    let without = call("loss-without", BAD, false, 40).await;
    assert!(without.whole < 97.0, "{without:?}");
}
