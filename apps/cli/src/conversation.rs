//! What calls and rooms have in common: sound, the signals of the operating system, counts.

use std::time::Duration;

use serde_json::json;
use tokio::time::Instant;
use undertone_client::native::sound::{
    Microphone, Silence, Sink, Source, Speaker, Tuning, WavFormat, WavSink, WavSource, devices,
};
use undertone_client::native::{ClientError, Online, Sound, Status, TapReport};
use undertone_client::{Reason, Standing};

use crate::arguments::SoundOptions;
use crate::output::Output;

/// Opens files and devices; done before anybody's phone rings.
pub(crate) fn sound(options: &SoundOptions) -> Result<Sound, ClientError> {
    let source: Box<dyn Source> = match &options.wav_in {
        Some(path) => Box::new(WavSource::open(path)?),
        None if options.no_devices => Box::new(Silence),
        None => Box::new(Microphone::open(options.microphone.as_deref())?),
    };
    let sink: Box<dyn Sink> = match &options.wav_out {
        Some(path) => {
            let format = WavFormat { rate: options.wav_out_rate, channels: options.wav_out_channels };
            Box::new(WavSink::create(path, format)?)
        }
        None if options.no_devices => Box::new(Silence),
        None => Box::new(Speaker::open(options.speaker.as_deref())?),
    };
    let microphone = options.wav_in.is_none() && !options.no_devices;
    let tuning = Tuning {
        fec: !options.no_fec,
        dtx: options.dtx,
        denoise: options.denoise || (microphone && !options.no_denoise),
        ..Tuning::default()
    };
    Ok(Sound { source, sink, tuning })
}

/// Lists what one can speak into and hear from.
pub(crate) fn list(output: &Output) {
    let devices = devices();
    let object = |found: &[(String, String)]| {
        found.iter().map(|(id, name)| json!({ "id": id, "name": name })).collect::<Vec<_>>()
    };
    let text = |what: &str, found: &[(String, String)]| {
        let lines: Vec<String> = found.iter().map(|(id, name)| format!("  {name}  ({id})")).collect();
        let lines = if lines.is_empty() { vec!["  none".to_owned()] } else { lines };
        format!("{what}\n{}", lines.join("\n"))
    };
    output.result(
        &json!({ "microphones": object(&devices.microphones), "speakers": object(&devices.speakers) }),
        &format!("{}\n{}", text("Microphones", &devices.microphones), text("Loudspeakers", &devices.speakers)),
    );
}

/// How long somebody is heard after the last sign of the space bar: a terminal tells of keys that go down, and again while
/// they are held, and never of their going up.
const HOLD: Duration = Duration::from_millis(700);

/// Whether this device is to be silent, by the keys of a person.
#[derive(Debug, Default)]
pub(crate) struct Mouth {
    muted: bool,
    /// Silent but while the space bar is held.
    push_to_talk: bool,
    until: Option<Instant>,
    /// What the driver was told last.
    told: bool,
}

impl Mouth {
    pub(crate) fn new(options: &SoundOptions) -> Self {
        Self { push_to_talk: options.push_to_talk, ..Self::default() }
    }

    pub(crate) const fn toggle(&mut self) {
        self.muted = !self.muted;
    }

    pub(crate) const fn set(&mut self, muted: bool) {
        self.muted = muted;
    }

    /// The space bar is held.
    pub(crate) fn hold(&mut self) {
        self.until = Some(Instant::now() + HOLD);
    }

    pub(crate) fn is_shut(&self) -> bool {
        self.muted || (self.push_to_talk && self.until.is_none_or(|until| until <= Instant::now()))
    }

    /// Tells the driver what has changed; to be called often.
    pub(crate) async fn mind(&mut self, online: &Online) -> Result<(), ClientError> {
        let shut = self.is_shut();
        if core::mem::replace(&mut self.told, shut) != shut {
            online.mute(shut).await?;
        }
        Ok(())
    }
}

type Signals = Option<tokio::signal::unix::Signal>;

/// SIGINT with `interrupt`, else SIGTERM.
pub(crate) fn signal_stream(interrupt: bool) -> Signals {
    use tokio::signal::unix::{SignalKind, signal};
    signal(if interrupt { SignalKind::interrupt() } else { SignalKind::terminate() }).ok()
}

/// The next of both.
pub(crate) async fn next_signal(first: &mut Signals, second: &mut Signals) {
    let next = async |signals: &mut Signals| match signals {
        Some(signals) => {
            signals.recv().await;
        }
        None => std::future::pending().await,
    };
    tokio::select! {
        () = next(first) => {}
        () = next(second) => {}
    }
}

pub(crate) async fn sleep_until(end: Option<Instant>) {
    match end {
        Some(end) => tokio::time::sleep_until(end).await,
        None => std::future::pending().await,
    }
}

/// Tries the packets of a relay's tap under the present keys, where that was asked for.
pub(crate) async fn check_tap(online: &Online, options: &SoundOptions, output: Output) -> Result<(), ClientError> {
    let Some(path) = options.check_tap.clone() else { return Ok(()) };
    // The relay writes its tap in pieces.
    tokio::time::sleep(Duration::from_millis(700)).await;
    tap(&online.check_tap(path).await?, output);
    Ok(())
}

/// Says what opens of a tap.
pub(crate) fn tap(report: &TapReport, output: Output) {
    output.event(
        &json!({ "event": "tap", "packets": report.packets, "opened": report.opened }),
        &format!("The relay recorded {} packets; {} open with this call's key.", report.packets, report.opened),
    );
}

/// Says that the server is away, or that it will not have this device again.
pub(crate) fn offline(reason: Option<Reason>, output: Output) {
    let why = reason.map_or("the connection broke", |reason| reason.as_str());
    let text = if reason == Some(Reason::Revoked) {
        "This device was revoked, or logged out: it can act for you no more. `undertone logout` clears this home, and \
         `undertone login NAME` makes it a new device."
            .to_owned()
    } else {
        format!("The server is away: {why}.")
    };
    output.event(&json!({ "event": "offline", "reason": why }), &text);
}

/// How a conversation goes, for programs.
pub(crate) fn status_object(status: &Status) -> serde_json::Value {
    json!({
        "event": "status", "level_out_db": status.level_out, "level_in_db": status.level_in,
        "loss_percent": status.loss_percent, "latency_ms": status.latency_ms, "rtt_ms": status.rtt_ms,
        "buffer_ms": status.buffer_ms, "quiet_ms": status.quiet_ms, "sealed": status.sealed, "opened": status.opened,
        "refused": status.refused, "played": status.played, "recovered": status.recovered,
        "kept": status.kept, "opened_late": status.opened_late, "dropped": status.dropped,
        "concealed": status.concealed, "bitrate": status.bitrate, "expected_loss": status.expected_loss,
    })
}

/// How well somebody is known, for people.
pub(crate) const fn words(known: Standing) -> &'static str {
    match known {
        Standing::Pinned => "known, not compared yet",
        Standing::Verified => "verified",
        Standing::Overridden => "changed key, accepted by you",
    }
}
