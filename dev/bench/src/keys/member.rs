//! One member: the shipped engine on real sockets. In place of sound it says numbered frames, and notes which of the others' it
//! opens.
//!
//! Who the others are and what the room's list is, is known of everybody before (see [`Circle`]); grants, signals, joins and media
//! go to the server and its relay.

use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::Bytes;
use futures_util::StreamExt;
use tokio::sync::mpsc;
use tokio::task::{JoinHandle, JoinSet};
use tokio::time::{MissedTickBehavior, interval};
use tokio_tungstenite::tungstenite::Message;
use undertone_client::engine::{Compared, Engine, Event, Input, NotEntered, Output, Unresolved};
use undertone_client::{RoomEvent, engine};
use undertone_keys::Time;
use undertone_media::packet::{Codec, Kind, MAX_PACKET};
use undertone_media::{Context, KeyId, MediaHeader};
use undertone_protocol::control::ToMember;
use undertone_protocol::signal::{ToDevice, ToServer};

use super::circle::Circle;
use super::link::{RelayLink, Report, Route, What};
use super::notes::{Ear, FRAME_MS, Loss, Notebook, Said};
use super::people::{rng, wall_time};
use crate::load::{PAYLOAD, TICK};

/// Reports of a relay connection that wait to be looked at.
const REPORTS: usize = 1_024;

/// What a member is to do.
#[derive(Clone, Copy, Debug)]
pub(super) enum Order {
    Join,
    Leave,
    /// To say frames, or none.
    Speak(bool),
    LoseKey,
}

/// A member that goes on by itself. Dropping it ends it without a goodbye.
pub(super) struct Member {
    pub(super) place: usize,
    pub(super) notebook: Notebook,
    orders: mpsc::UnboundedSender<Order>,
    task: JoinHandle<()>,
}

impl Member {
    /// The `place`th of the circle, who comes by this route and is connected when it says so in its notes.
    pub(super) fn start(circle: Arc<Circle>, place: usize, route: Route, epoch: Instant) -> Self {
        let (notebook, (orders, inbox)) = (Notebook::default(), mpsc::unbounded_channel());
        let notes = notebook.clone();
        let task = tokio::spawn(async move {
            if let Err(error) = run(circle, place, route, epoch, &notes, inbox).await {
                notes.lock().fault = Some(format!("member {place}: {error:#}"));
            }
        });
        Self { place, notebook, orders, task }
    }

    pub(super) fn order(&self, order: Order) {
        let _ = self.orders.send(order);
    }
}

impl Drop for Member {
    fn drop(&mut self) {
        self.task.abort();
    }
}

async fn run(
    circle: Arc<Circle>,
    place: usize,
    route: Route,
    start: Instant,
    notebook: &Notebook,
    mut orders: mpsc::UnboundedReceiver<Order>,
) -> anyhow::Result<()> {
    let guest = circle.guests.get(place).ok_or_else(|| anyhow::anyhow!("there are not so many"))?;
    let engine = guest.person.engine(circle.server);
    let (outbox, mut socket) = route.signal(&guest.token).await?;
    let (relay_out, mut reports) = mpsc::channel(REPORTS);
    let mut shell = Shell {
        start,
        engine,
        circle: circle.clone(),
        place,
        route,
        notebook: notebook.clone(),
        outbox,
        relay: None,
        relay_out,
        generation: 0,
        answers: JoinSet::new(),
        speaking: false,
    };
    shell.input(Input::SignalUp { wall: wall_time() });
    // Everybody speaks at a time of their own within each twenty milliseconds.
    let phase = TICK * u32::try_from(place % 20).unwrap_or_default() / 20;
    let mut ticks = interval(TICK);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Burst);
    let mut batch = Vec::with_capacity(64);
    loop {
        let wait = shell.engine.poll_timeout().map_or(Duration::from_secs(3_600), |at| at.since(shell.now()));
        if !shell.speaking {
            ticks.reset();
        }
        tokio::select! {
            order = orders.recv() => match order {
                Some(order) => {
                    let spoke = shell.speaking;
                    shell.obey(order);
                    if shell.speaking && !spoke {
                        ticks.reset_after(phase);
                    }
                }
                None => return Ok(()),
            },
            message = socket.next() => match message {
                Some(Ok(Message::Binary(bytes))) => {
                    let message = ToDevice::decode(&bytes).map_err(|_| anyhow::anyhow!("a malformed signal"))?;
                    shell.input(Input::Signal(message));
                }
                Some(Ok(_)) => {}
                Some(Err(error)) => return Err(error.into()),
                None => anyhow::bail!("the server has closed the connection"),
            },
            _ = reports.recv_many(&mut batch, 64) => {
                for report in batch.drain(..) {
                    shell.report(report);
                    shell.carry_out();
                }
            }
            Some(Ok(answer)) = shell.answers.join_next(), if !shell.answers.is_empty() => shell.input(answer),
            due = ticks.tick(), if shell.speaking => shell.speak(due.into_std()),
            () = tokio::time::sleep(wait) => shell.input(Input::Tick),
        }
        shell.hear_kept();
        shell.carry_out();
    }
}

struct Shell {
    /// Time zero of everybody's.
    start: Instant,
    engine: Engine,
    circle: Arc<Circle>,
    place: usize,
    route: Route,
    notebook: Notebook,
    outbox: mpsc::UnboundedSender<ToServer>,
    relay: Option<RelayLink>,
    relay_out: mpsc::Sender<Report>,
    generation: u64,
    answers: JoinSet<Input>,
    speaking: bool,
}

impl Shell {
    fn now(&self) -> Time {
        Time::from_micros(u64::try_from(self.start.elapsed().as_micros()).unwrap_or(u64::MAX))
    }

    fn input(&mut self, input: Input) {
        let now = self.now();
        self.engine.handle_input(now, input, &mut rng());
    }

    fn obey(&mut self, order: Order) {
        match order {
            Order::Join => {
                self.notebook.lock().join();
                self.input(Input::JoinRoom { access: Box::new(self.circle.access.clone()), quorum: None });
            }
            Order::Leave => {
                self.speaking = false;
                self.notebook.lock().left = Some(Instant::now());
                self.input(Input::HangUp);
            }
            Order::Speak(speaking) => self.speaking = speaking,
            Order::LoseKey => {
                let connection = self.relay.as_ref().and_then(|relay| relay.connection.as_ref());
                let round_trip = connection.map(quinn::Connection::rtt).unwrap_or_default();
                self.engine.lose_key();
                self.notebook.lock().losses.push(Loss { at: Instant::now(), opened: None, round_trip });
            }
        }
    }

    fn report(&mut self, report: Report) {
        let Some(relay) = self.relay.as_mut().filter(|relay| relay.generation == report.generation) else { return };
        match report.what {
            What::Up { connection, binding, hop } => {
                relay.connection = Some(connection);
                self.input(Input::RelayUp { binding, hop });
            }
            What::Control(message) => {
                if let ToMember::Joined { index, .. } = &message {
                    self.notebook.lock().index = Some(*index);
                }
                self.input(Input::Relay(message));
            }
            What::Datagram(bytes) => self.packet(&bytes),
            What::Down => {
                self.relay = None;
                self.input(Input::RelayDown);
            }
        }
    }

    fn packet(&mut self, bytes: &Bytes) {
        if let Some((sender, captured_ms)) = frame_of(bytes) {
            self.notebook.lock().hear(sender, captured_ms, Ear::Came);
        }
        let (now, mut packet) = (self.now(), [0; MAX_PACKET]);
        let length = bytes.len().min(MAX_PACKET);
        let (Some(packet), Some(bytes)) = (packet.get_mut(..length), bytes.get(..length)) else { return };
        packet.copy_from_slice(bytes);
        if let Some(heard) = self.engine.open_packet(now, packet) {
            note_opened(&self.notebook, &heard);
        }
    }

    fn hear_kept(&mut self) {
        let (now, mut packet) = (self.now(), [0; MAX_PACKET]);
        while let Some(heard) = self.engine.poll_kept(now, &mut packet) {
            note_opened(&self.notebook, &heard);
        }
    }

    /// One frame. One that cannot be sealed is one that nobody hears, and has its number.
    fn speak(&mut self, due: Instant) {
        let number = self.notebook.lock().said.len();
        let captured_ms = u32::try_from(number).unwrap_or(u32::MAX).saturating_mul(FRAME_MS);
        let mut packet = [0; MAX_PACKET];
        let sealed = self
            .engine
            .can_send()
            .then(|| self.engine.seal_audio(Codec::OPUS_32K, captured_ms, &[7; PAYLOAD], &mut packet));
        let said = match sealed {
            Some(Ok(length)) => {
                let connection = self.relay.as_ref().and_then(|relay| relay.connection.as_ref());
                let bytes = packet.get(..length).map(Bytes::copy_from_slice);
                let sent =
                    connection.zip(bytes).is_some_and(|(connection, bytes)| connection.send_datagram(bytes).is_ok());
                if sent { Said::Sent } else { Said::Unsent }
            }
            Some(Err(_)) | None => Said::Unsealed,
        };
        self.notebook.lock().said.push((due, said));
    }

    /// Does what the engine says, in order.
    fn carry_out(&mut self) {
        while let Some(output) = self.engine.poll_output() {
            match output {
                Output::Signal(message) => {
                    let _ = self.outbox.send(message);
                }
                Output::Relay(message) => {
                    if let Some(relay) = &self.relay {
                        relay.send(message);
                    }
                }
                Output::OpenRelay => {
                    self.generation += 1;
                    let (route, reports) = (self.route.clone(), self.relay_out.clone());
                    self.relay = Some(RelayLink::open(self.generation, route, reports));
                }
                Output::CloseRelay => self.relay = None,
                Output::Packet(packet) => {
                    if let Some(connection) = self.relay.as_ref().and_then(|relay| relay.connection.as_ref()) {
                        let _ = connection.send_datagram(packet.into());
                    }
                }
                Output::Resolve(user) => {
                    let peer = self.circle.peers.get(&user).cloned().ok_or(Unresolved::Unavailable);
                    self.input(Input::Resolved { user, peer });
                }
                Output::FetchAccess(room) => {
                    let access = Some(Box::new(self.circle.access.clone()));
                    self.input(Input::Access { room, access });
                }
                Output::Compare { number, .. } => self.input(Input::Compared { number, compared: Compared::Agrees }),
                Output::Enter(room) => {
                    let (circle, server, place) = (self.circle.clone(), self.route.server, self.place);
                    self.answers.spawn(async move {
                        let granted = circle.enter(server, place).await;
                        Input::Entered {
                            room,
                            granted: granted.map_err(|error| NotEntered::Refused(error.to_string())),
                        }
                    });
                }
                Output::Ask { .. }
                | Output::Exchange { .. }
                | Output::TakeBack { .. }
                | Output::Store(_)
                | Output::StoreGroups(_)
                | Output::FetchTree { .. }
                | Output::PublishKeyPackage { .. }
                | Output::ClaimKeyPackages { .. } => {}
                Output::Event(event) => self.note(&event),
            }
        }
    }

    fn note(&self, event: &Event) {
        let mut notes = self.notebook.lock();
        match event {
            Event::Room { event: RoomEvent::Epoch(epoch), .. } => notes.epochs.push((epoch.0, Instant::now())),
            Event::Room { event: RoomEvent::Host { me, .. }, .. } => notes.host = *me,
            Event::Over { .. } if notes.left.is_some() => {
                notes.index = None;
                notes.host = false;
            }
            Event::Over { outcome, .. } => notes.fault = Some(format!("member {}: {}", self.place, outcome.as_str())),
            Event::Refused { reason, .. } => notes.fault = Some(format!("member {}: {reason}", self.place)),
            _ => {}
        }
    }
}

fn note_opened(notebook: &Notebook, heard: &engine::Heard<'_>) {
    let mut notes = notebook.lock();
    notes.hear(heard.sender, heard.captured_ms, Ear::Opened);
    if let Some(loss) = notes.losses.last_mut()
        && loss.opened.is_none()
    {
        loss.opened = Some(Instant::now());
    }
}

/// Whose frame of sound a packet says it is, and when it was captured: before it opens nothing else is known.
fn frame_of(packet: &[u8]) -> Option<(u16, u32)> {
    let (header, sealed) = MediaHeader::decode(packet).ok()?;
    let id = KeyId::of_frame(sealed).filter(|id| id.context == Context::MAIN_AUDIO && header.kind == Kind::Audio)?;
    Some((id.sender, header.timestamp_ms))
}
