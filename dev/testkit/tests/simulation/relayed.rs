//! The relay's part: connections, control streams and datagrams, over links that are what they are.

use undertone_client::engine::Input;
use undertone_keys::{Secret, Time};
use undertone_media::HopExporter;
use undertone_protocol::control::ToMember;
use undertone_relay::{ConnectionId, Input as RelayInput, Output as RelayOutput};

use super::link::Way;
use super::world::{Arrival, GIVE_UP, World, short};

impl World {
    /// Whose present connection it is.
    pub(crate) fn holder(&self, connection: ConnectionId) -> Option<usize> {
        let device = *self.connections.get(&connection)?;
        (self.device(device).connection == Some(connection)).then_some(device)
    }

    /// When something comes that was sent in order before the way was cut: it is sent again when there is one, and what
    /// was sent after it waits for it.
    pub(crate) fn waits(&mut self, connection: ConnectionId, way: Way) -> Option<Time> {
        let device = self.device(self.holder(connection)?);
        let again = Time::from_micros(device.relay.cut_until.as_micros() + device.relay.delay + 1);
        let cut = device.relay.is_cut(self.now).then_some(again);
        let before = self.released.get(&(connection, way)).copied().filter(|at| *at > self.now);
        let at = cut.max(before)?;
        self.released.insert((connection, way), at);
        Some(at)
    }

    pub(crate) fn relay_way(&mut self, device: usize, way: Way) -> Time {
        let now = self.now;
        let Self { devices, rng, .. } = self;
        devices.get_mut(device).map_or(now, |here| here.relay.ordered(now, way, rng))
    }

    pub(crate) fn open_relay(&mut self, device: usize) {
        self.hang(device);
        let here = self.device(device);
        let run = here.run;
        if here.relay.is_cut(self.now) {
            return self.after(GIVE_UP, Arrival::Answer { device, run, input: Box::new(Input::RelayDown) });
        }
        let trip = 3 * here.relay.delay + 5_000;
        self.number += 1;
        let connection = ConnectionId(self.number);
        self.connections.insert(connection, device);
        self.after(trip, Arrival::Connected { device, run, connection });
    }

    pub(crate) fn connected(&mut self, device: usize, run: u64, connection: ConnectionId) {
        if self.device(device).run != run || !self.device(device).alive {
            return;
        }
        let mut binding = [0; 32];
        binding.iter_mut().zip(connection.0.to_be_bytes()).for_each(|(out, byte)| *out = byte);
        let hop = || HopExporter::new(Secret::filled_by(|out| *out = binding));
        self.device_mut(device).connection = Some(connection);
        self.device_mut(device).relay.renew();
        self.relay(RelayInput::Connected { connection, binding, hop: hop() });
        self.input(device, Input::RelayUp { binding, hop: hop() });
    }

    pub(crate) fn hang(&mut self, device: usize) {
        if self.device(device).joined.is_some() {
            self.watch.roster_changed(self.now);
        }
        self.device_mut(device).joined = None;
        if let Some(connection) = self.device_mut(device).connection.take() {
            let cut = self.device(device).relay.is_cut(self.now);
            let at = self.relay_way(device, Way::Up);
            // A relay that hears nothing finds out by itself.
            if cut {
                self.given_up.insert(connection);
            } else {
                self.at(at, Arrival::Closed { connection });
            }
        }
    }

    pub(crate) fn relay(&mut self, input: RelayInput) {
        self.rooms.handle_input(self.now, input);
        while let Some(output) = self.rooms.poll_output() {
            match output {
                RelayOutput::Control { connection, message } => {
                    if matches!(message, ToMember::Gone { .. }) {
                        self.watch.roster_changed(self.now);
                    }
                    let Some(device) = self.holder(connection) else { continue };
                    let at = self.relay_way(device, Way::Down);
                    self.at(at, Arrival::ControlDown { connection, message: Box::new(message) });
                }
                RelayOutput::Close { .. } => {}
            }
        }
        while let Some(connection) = self.rooms.poll_ready() {
            while let Some(packet) = self.rooms.poll_media(connection, usize::MAX) {
                if let Some(device) = self.holder(connection) {
                    for at in self.datagram(device) {
                        self.at(at, Arrival::MediaDown { connection, bytes: packet.to_vec() });
                    }
                }
            }
        }
        if let Some(at) = self.rooms.poll_timeout() {
            let at = at.max(Time::from_micros(self.now.as_micros() + 1));
            if self.watch.relay_wakes(self.now, at) {
                self.at(at, Arrival::WakeRelay);
            }
        }
    }

    pub(crate) fn datagram(&mut self, device: usize) -> Vec<Time> {
        let now = self.now;
        let Self { devices, rng, .. } = self;
        let times = devices.get(device).map(|here| here.relay.datagram(now, rng)).unwrap_or_default();
        match times.len() {
            0 => self.counts.lost += 1,
            1 => {}
            _ => self.counts.twice += 1,
        }
        times
    }

    pub(crate) fn told_by_relay(&mut self, connection: ConnectionId, message: ToMember) {
        let Some(device) = self.holder(connection) else { return };
        self.trace(|| format!("    relay -> p{device:03} {}", short(&message)));
        if let ToMember::Joined { index, .. } = &message
            && let Some(join) = self.device(device).pending_join
        {
            let now = self.now;
            self.watch.roster_changed(now);
            self.device_mut(device).joined = Some((join, *index, now));
            self.device_mut(device).sealed.clear();
        }
        self.input(device, Input::Relay(message));
    }

    pub(crate) fn send_packet(&mut self, device: usize, packet: &[u8]) {
        let Some(connection) = self.device(device).connection else { return };
        for at in self.datagram(device) {
            self.at(at, Arrival::MediaUp { connection, bytes: packet.to_vec() });
        }
    }
}
