//! Time passes.

use bytes::Bytes;
use undertone_client::engine::Input;
use undertone_keys::choice::LegacyPolicy;
use undertone_keys::{Time, WallTime};
use undertone_media::packet::Codec;
use undertone_protocol::Protection;
use undertone_relay::{Input as RelayInput, Rooms};

use super::{ADA, BOB, World};

impl World {
    /// Lets 20 ms pass: signals arrive, timers run, everybody who can says a frame.
    pub(crate) fn step(&mut self) {
        self.now = Time::from_millis(self.now.as_millis() + 20);
        self.deliver_signals();
        for device in 0..self.devices.len() {
            if self.devices[device].engine.poll_timeout().is_some_and(|at| at <= self.now) {
                self.input(device, Input::Tick);
                let again = self.devices[device].engine.poll_timeout();
                assert!(again.is_none_or(|at| at > self.now), "a timer that never rests: {again:?} at {:?}", self.now);
            }
            if self.quiet.contains(&device) {
                continue;
            }
            let mut packet = [0; 500];
            let sealed = self.devices[device].engine.seal_audio(Codec::OPUS_32K, 0, b"twenty ms of sound", &mut packet);
            if let (Ok(length), Some(connection), true) =
                (sealed, self.devices[device].relay, self.devices[device].reachable)
            {
                let bytes = Bytes::copy_from_slice(&packet[..length]);
                self.packets.push(bytes.to_vec());
                self.relay_input(RelayInput::Datagram { connection, bytes });
            }
        }
        if self.rooms.as_ref().and_then(Rooms::poll_timeout).is_some_and(|at| at <= self.now) {
            self.relay_input(RelayInput::Tick);
        }
        self.hear_media();
    }

    /// Lets half seconds pass in which nobody says anything; hosts say that they are there.
    pub(crate) fn pass(&mut self, seconds: u64) {
        for _ in 0..seconds * 2 {
            self.now = Time::from_millis(self.now.as_millis() + 500);
            self.deliver_signals();
            for device in 0..self.devices.len() {
                if self.devices[device].engine.poll_timeout().is_some_and(|at| at <= self.now) {
                    self.input(device, Input::Tick);
                }
            }
            if self.rooms.as_ref().and_then(Rooms::poll_timeout).is_some_and(|at| at <= self.now) {
                self.relay_input(RelayInput::Tick);
            }
            self.hear_media();
        }
    }

    /// What the server has for the devices.
    fn deliver_signals(&mut self) {
        if let Some(unruly) = &mut self.unruly {
            unruly.mix(self.now, &mut self.signals);
        }
        for _ in 0..self.signals.len() {
            let Some((device, message)) = self.signals.pop_front() else { break };
            match self.held_up.get_mut(&device) {
                Some(kept) => kept.push(message),
                None if self.deaf.contains(&device) => {}
                None => self.input(device, Input::Signal(message)),
            }
        }
    }

    /// What the relay has for the devices.
    fn hear_media(&mut self) {
        for device in 0..self.devices.len() {
            let Some(connection) = self.devices[device].relay else { continue };
            while let Some(packet) = self.rooms.as_mut().and_then(|rooms| rooms.poll_media(connection, usize::MAX)) {
                if self.devices[device].reachable {
                    let mut packet = packet.to_vec();
                    if self.spoilt.contains(&device)
                        && let Some(last) = packet.last_mut()
                    {
                        *last ^= 1;
                    }
                    let heard = self.devices[device].engine.open_packet(self.now, &mut packet);
                    if let Some(sender) = heard.filter(|h| h.payload == b"twenty ms of sound").map(|h| h.sender) {
                        self.devices[device].heard += 1;
                        *self.devices[device].heard_from.entry(sender).or_default() += 1;
                    }
                }
            }
            while let Some(output) = self.devices[device].engine.poll_output() {
                self.carry_out(device, output);
            }
        }
    }

    pub(crate) fn run(&mut self, ms: u64) {
        for _ in 0..ms / 20 {
            self.step();
        }
    }

    /// Ada calls, Bob answers; sound flows.
    pub(crate) fn talking(seed: u64) -> Self {
        Self::talking_with(seed, Protection::Blind)
    }

    /// The same with a protection asked for.
    pub(crate) fn talking_with(seed: u64, protection: Protection) -> Self {
        let mut world = Self::new(seed);
        let peer = world.peer(BOB);
        world.input(ADA, Input::Dial { peer, protection, legacy: LegacyPolicy::Ask, quorum: None });
        world.run(200);
        world.input(BOB, Input::Accept);
        world.run(1000);
        assert!(world.both_hear(500), "{:?} {:?}", world.devices[ADA].events, world.devices[BOB].events);
        world
    }
}

pub(crate) fn wall(now: Time) -> WallTime {
    WallTime::from_unix(1_000_000 + now.as_millis() / 1000)
}
