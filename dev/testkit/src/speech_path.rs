//! A call between two real clients through a bad network, and what came of it.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use anyhow::Context;
use undertone_client::native::sound::{Pcm, Silence, Sink, SoundError, Source, Tuning, WavSource};
use undertone_client::native::{Client, KeyChoice, Online, Registration, Sound};
use undertone_client::{Event, secret};

use crate::ears::{envelope_of, likeness};
use crate::{LossyProxy, TestServer, Weather, speech};

/// What is louder is voice.
const VOICE: f64 = 300.0;
/// Frames that are compared at a time: the buffer grows while it learns the path, and what is said shifts by as much.
const WINDOW: usize = 200;
/// Frames by which what is heard may lag.
const REACH: usize = 300;
/// The first second belongs to the call's beginning: what was said before the other side could hear is nobody's loss.
const BEGINNING: usize = 50;

/// Says the same sentence again and again, and never pauses: where there is no voice Opus spends nothing on error
/// correction, so that a pause would measure how much of the sentence is pause.
struct Sentence {
    frames: Vec<Pcm>,
    next: usize,
}

impl Sentence {
    fn new() -> anyhow::Result<Self> {
        let mut source = WavSource::open(&speech("ada"))?;
        let (mut frames, mut frame) = (Vec::new(), [0; 960]);
        while source.read(&mut frame) {
            if envelope_of(&frame).first().is_some_and(|loudness| *loudness > VOICE) {
                frames.push(frame);
            }
        }
        anyhow::ensure!(!frames.is_empty(), "the sentence has no voice in it");
        Ok(Self { frames, next: 0 })
    }
}

impl Source for Sentence {
    fn read(&mut self, frame: &mut Pcm) -> bool {
        let Some(said) = self.frames.get(self.next) else { return false };
        *frame = *said;
        self.next = (self.next + 1) % self.frames.len();
        true
    }
}

/// Keeps what was heard.
#[derive(Clone, Default)]
struct Recorder(Arc<Mutex<Vec<i16>>>);

impl Sink for Recorder {
    fn write(&mut self, frame: &Pcm) -> Result<(), SoundError> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).extend_from_slice(frame);
        Ok(())
    }
}

/// What came of a call.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Heard {
    /// Percent of the frames that came in a packet, or were rebuilt from another.
    pub whole: f64,
    /// The longest hole in speech, in milliseconds.
    pub gap_ms: usize,
    /// How alike what was said and what was heard are in loudness, of 1.
    pub likeness: f64,
    /// What waited to be played at the end, in milliseconds.
    pub buffer_ms: u32,
    /// Percent of the packets from the speaker's side that the network lost.
    pub lost: f64,
}

/// Somebody talks for so many seconds through this weather, with or without forward error correction.
///
/// # Errors
/// When no call came about.
pub async fn talk_through(name: &str, weather: Weather, fec: bool, seconds: u64) -> anyhow::Result<Heard> {
    let server = TestServer::start(name).await?;
    let proxy = LossyProxy::start(server.address().parse()?, weather).await?;
    // Ada's way to the relay is the bad one.
    let ada = online(&proxy.address().to_string(), server.join("ada"), "ada").await?;
    let mut bob = online(&server.address(), server.join("bob"), "bob").await?;
    let recorder = Recorder::default();
    let tuning = Tuning { fec, ..Tuning::default() };
    ada.call("bob", Sound::new(Sentence::new()?, Silence).tuned(tuning)).await?;
    wait_for(&mut bob, |event| matches!(event, Event::Incoming { .. })).await?;
    bob.accept(Sound::new(Silence, recorder.clone())).await?;
    wait_for(&mut bob, |event| matches!(event, Event::Hearing { .. })).await?;
    tokio::time::sleep(Duration::from_secs(seconds)).await;
    let (status, (carried, lost)) = (bob.status(), proxy.counts());
    ada.stop().await;
    bob.stop().await;
    let heard = recorder.0.lock().unwrap_or_else(PoisonError::into_inner).clone();
    let percent = |some: u64, others: u64| 100.0 * exact(some) / exact((some + others).max(1));
    let (likeness, gap_ms) = compare(&said(seconds)?, &heard)?;
    Ok(Heard {
        whole: percent(status.played + status.recovered, status.concealed),
        gap_ms,
        likeness,
        buffer_ms: status.buffer_ms,
        lost: percent(lost, carried),
    })
}

#[expect(clippy::cast_precision_loss, reason = "a few thousand packets")]
const fn exact(count: u64) -> f64 {
    count as f64
}

async fn online(server: &str, home: std::path::PathBuf, name: &str) -> anyhow::Result<Online> {
    let client = Client::open(&home)?;
    let passphrase = secret::SecretBytes::new(b"a long passphrase".to_vec());
    let registration = Registration {
        server,
        name,
        passphrase: &passphrase,
        label: "test",
        invite: None,
        anew: None,
        key: KeyChoice::P256,
    };
    client.register(registration).await?;
    Ok(client.connect().await?)
}

async fn wait_for(online: &mut Online, wanted: impl Fn(&Event) -> bool) -> anyhow::Result<()> {
    let search = async {
        loop {
            match online.next_event().await {
                Some(event) if wanted(&event) => return Ok(()),
                Some(_) => {}
                None => anyhow::bail!("the client has ended"),
            }
        }
    };
    tokio::time::timeout(Duration::from_secs(20), search).await.context("nothing came of the call")?
}

/// What is said in so many seconds.
fn said(seconds: u64) -> anyhow::Result<Vec<i16>> {
    let mut sentence = Sentence::new()?;
    let mut said = Vec::new();
    for _ in 0..seconds * 50 {
        let mut frame = [0; 960];
        sentence.read(&mut frame);
        said.extend_from_slice(&frame);
    }
    Ok(said)
}

/// The likeness of the windows on average, and the longest hole in any of them.
fn compare(said: &[i16], heard: &[i16]) -> anyhow::Result<(f64, usize)> {
    let said = envelope_of(said).split_off(BEGINNING);
    // What is played begins anywhere within a frame: to a quarter of one.
    let aligned: Vec<Vec<f64>> = (0..4).filter_map(|quarter| heard.get(quarter * 240..)).map(envelope_of).collect();
    let (mut likenesses, mut longest) = (Vec::new(), 0);
    for (said, start) in said.chunks_exact(WINDOW).zip((0..).step_by(WINDOW)) {
        let windows =
            aligned.iter().filter_map(|heard| heard.get(start..)).filter(|heard| heard.len() > WINDOW + REACH);
        let found = windows.map(|heard| (likeness(said, heard, REACH), heard));
        let Some(((like, lag), heard)) = found.max_by(|a, b| a.0.0.total_cmp(&b.0.0)) else { continue };
        likenesses.push(like);
        longest = longest.max(longest_hole(said, heard, lag));
    }
    anyhow::ensure!(likenesses.len() >= 4, "too little was heard to compare");
    let count = exact(u64::try_from(likenesses.len()).unwrap_or(u64::MAX));
    Ok((likenesses.iter().sum::<f64>() / count, 20 * longest))
}

/// The most frames in a row that were speech when they were said, and all but nothing when they were heard.
fn longest_hole(said: &[f64], heard: &[f64], lag: i64) -> usize {
    let loudest = said.iter().copied().fold(0.0, f64::max);
    let (mut longest, mut run) = (0, 0);
    for (place, loud) in (0_i64..).zip(said) {
        let there = usize::try_from(place + lag).ok().and_then(|place| heard.get(place));
        let Some(there) = there else { continue };
        // Twenty decibels below the loudest is speech for sure; forty below what was said is a hole.
        let hole = *loud > loudest * 0.1 && *there < *loud * 0.01;
        run = if hole { run + 1 } else { 0 };
        longest = longest.max(run);
    }
    longest
}
