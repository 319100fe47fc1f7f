//! What sealing costs on this machine, and how its server answers: measured as a client meets both.
//!
//! It is here and not with what it measures since a pure crate reads no clock, and programs link no crate of ours but
//! this one.

mod probe;
mod sealing;
mod times;

use std::time::{Duration, Instant};

pub(super) use probe::Probe;
pub use sealing::{Sealing, sealing};
pub use times::Times;

use super::error::ClientError;
use super::online::Online;
use crate::engine::Event;

/// Round trips on the signalling connection, and the pause between two. On a path of 200 ms they are over before either
/// side says by itself that it is still there, which would be taken for an answer.
const PINGS: usize = 30;
const PAUSE: Duration = Duration::from_millis(10);
/// Echoes that are opened one after the other; an account has sixteen at once.
const JOINS: usize = 5;
/// How long packets are counted.
const WINDOW: Duration = Duration::from_secs(5);
/// What has not come back by then is lost.
const GRACE: Duration = Duration::from_millis(500);
/// How long the first packet of an echo may take.
const PATIENCE: Duration = Duration::from_secs(15);

/// What is measured now, for whoever waits.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Step {
    /// Round trips on the signalling connection.
    Signalling,
    /// Joins.
    Joining,
    /// Packets.
    Media,
}

/// How a server answers this device.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Reach {
    /// From a signal to its answer, on a connection that stands.
    pub signalling: Times,
    /// From wanting an echo to opening the first packet of one's own that came back.
    pub joining: Times,
    /// From a packet's leaving to its being opened again, for those that came back.
    pub media: Times,
    /// Packets that were sent.
    pub sent: usize,
    /// Packets that did not come back.
    pub lost: usize,
}

impl Online {
    /// Measures how the server answers: eight seconds or so, in which this device is in an echo and busy for others.
    ///
    /// # Errors
    /// [`ClientError::Refused`] where an echo is refused, or there is a call already; [`ClientError::Unreachable`] where
    /// nothing comes back.
    pub async fn measure(&mut self, mut tell: impl FnMut(Step)) -> Result<Reach, ClientError> {
        tell(Step::Signalling);
        let mut signalling = Vec::with_capacity(PINGS);
        for _ in 0..PINGS {
            signalling.push(self.ping().await?);
            tokio::time::sleep(PAUSE).await;
        }
        let measured = self.measure_media(&mut tell).await;
        if measured.is_err() {
            // Whatever it was: nobody is left in an echo that they do not know of.
            let _ = self.hang_up().await;
        }
        let (joining, (media, lost)) = measured?;
        let sent = media.len() + lost;
        Ok(Reach {
            signalling: Times::new(signalling),
            joining: Times::new(joining),
            media: Times::new(media),
            sent,
            lost,
        })
    }

    /// How long joins take, and what comes back and how much is lost: in echoes, the last of which is left at the end.
    async fn measure_media(
        &mut self,
        tell: &mut impl FnMut(Step),
    ) -> Result<(Vec<Duration>, (Vec<Duration>, usize)), ClientError> {
        tell(Step::Joining);
        let (mut joining, mut probe) = (Vec::with_capacity(JOINS), Probe::default());
        for round in 0..JOINS {
            if round > 0 {
                self.leave_echo().await?;
            }
            probe = Probe::default();
            let start = Instant::now();
            self.probe(probe.clone()).await?;
            self.until(|event| matches!(event, Event::Hearing { .. })).await?;
            joining.extend(probe.first().map(|first| first.duration_since(start)));
        }
        tell(Step::Media);
        probe.begin();
        tokio::time::sleep(WINDOW).await;
        probe.end();
        tokio::time::sleep(GRACE).await;
        let came_back = probe.came_back();
        self.leave_echo().await?;
        Ok((joining, came_back))
    }

    async fn leave_echo(&mut self) -> Result<(), ClientError> {
        self.hang_up().await?;
        self.until(|event| matches!(event, Event::Over { .. })).await
    }

    /// Waits for an event that must come for the measurement to go on.
    async fn until(&mut self, wanted: impl Fn(&Event) -> bool) -> Result<(), ClientError> {
        let refused = |message| ClientError::Refused { code: "echo".into(), message };
        let search = async {
            loop {
                match self.next_event().await {
                    None => return Err(ClientError::Stopped),
                    Some(event) if wanted(&event) => return Ok(()),
                    Some(Event::Refused { reason, .. }) => return Err(refused(reason)),
                    Some(Event::Over { outcome, .. }) => {
                        return Err(refused(format!("it ended: {}", outcome.as_str())));
                    }
                    Some(_) => {}
                }
            }
        };
        let found = tokio::time::timeout(PATIENCE, search).await;
        found.unwrap_or_else(|_| Err(self.late("no packet came back: is UDP open on the way there?")))
    }
}
