//! What a schedule does to the world.

use undertone_client::engine::Input;
use undertone_keys::{Time, WallTime};
use undertone_protocol::Access;
use undertone_protocol::signal::ToDevice;
use undertone_relay::{Input as RelayInput, Limits, Rooms};

use super::link::{below, chance};
use super::schedule::Act;
use super::world::{Arrival, World, listed};

impl World {
    pub(crate) fn act(&mut self, act: Act) {
        self.trace(|| format!("{act:?}"));
        match act {
            Act::Enter(device) => self.enter(device),
            Act::Leave(device) => {
                self.counts.leaves += 1;
                self.device_mut(device).wanted = false;
                self.input(device, Input::HangUp);
            }
            Act::Crash(device) => self.crash(device),
            Act::Restart(device) => {
                if self.device(device).alive {
                    self.crash(device);
                }
                self.counts.restarts += 1;
                self.device_mut(device).alive = true;
                self.begin_from_disk(device);
                let run = self.device(device).run;
                self.reconnect(device, run);
                self.enter(device);
            }
            Act::CutServer(device, ms) => self.cut(device, ms, true, false),
            Act::CutRelay(device, ms) => self.cut(device, ms, false, true),
            Act::CutOff(device, ms) => self.cut(device, ms, true, true),
            Act::Relist(device) => self.relist(device, false),
            Act::Ghost(device, lax) => {
                self.lax |= lax;
                self.relist(device, true);
            }
            Act::CrashHost => {
                if let Some(host) = self.host() {
                    self.crash(host);
                }
            }
            Act::CutHost(ms) => {
                if let Some(host) = self.host() {
                    self.cut(host, ms, true, true);
                }
            }
            Act::RestartRelay => {
                self.restart_server();
                self.restart_relay();
            }
            Act::Weather(device) => {
                let Self { devices, rng, .. } = self;
                if let Some(here) = devices.get_mut(device) {
                    (here.server, here.relay) = (here.server.renewed(rng), here.relay.renewed(rng));
                }
            }
            Act::LoseKey(device) => {
                self.counts.lost_keys += 1;
                self.watch.upset(self.now);
                self.device_mut(device).engine.lose_key();
            }
        }
    }

    pub(crate) fn enter(&mut self, device: usize) {
        if !self.device(device).alive || self.device(device).wanted {
            return;
        }
        self.device_mut(device).wanted = true;
        if let Some(access) = self.shown_to(device).cloned().map(Box::new) {
            let quorum = self.offer(device);
            self.input(device, Input::JoinRoom { access, quorum });
        }
    }

    pub(crate) fn crash(&mut self, device: usize) {
        if !self.device(device).alive {
            return;
        }
        self.counts.crashes += 1;
        if let Some(connection) = self.device_mut(device).connection.take()
            && chance(&mut self.rng, 50)
        {
            // The system closes what the process had open; or the machine is gone with it.
            self.after(50_000, Arrival::Closed { connection });
        }
        self.house_loses(device);
        let server = *self.server.public();
        self.device_mut(device).end(server);
    }

    pub(crate) fn cut(&mut self, device: usize, ms: u64, server: bool, relay: bool) {
        self.counts.cuts += 1;
        let until = Time::from_millis(self.now.as_millis() + ms);
        let slow = below(&mut self.rng, 2_000_000);
        let now = self.now;
        let here = self.device_mut(device);
        if relay {
            here.relay.cut(now, until);
        }
        if server {
            here.server.cut(now, until);
            // What was under way is lost, and the device finds out in a while.
            if let Some((session, _)) = here.session {
                self.after(slow, Arrival::SignalDown { device, session });
            }
        }
    }

    /// The creator takes somebody off the list, or puts them on it again.
    pub(crate) fn relist(&mut self, device: usize, ghost: bool) {
        let Some(before) = self.access.last().cloned() else { return };
        let (user, creator) = (self.device(device).address.user.clone(), self.device(0));
        if user == creator.address.user || !creator.alive {
            return;
        }
        let mut members = before.list().members.clone();
        if members.iter().any(|listed| listed.user == user) {
            members.retain(|listed| listed.user != user);
        } else {
            members.push(listed(self.device(device)));
        }
        let next = before.next(members, creator.address.clone(), WallTime::from_unix(2));
        let Ok(next) = Access::sign(next, &creator.identity) else { return };
        let (room, version) = (next.list().room, next.list().version);
        let off = next.list().listed(&user).is_none();
        self.counts.relists += 1;
        self.house_list(&next);
        self.access.push(next);
        let now = self.now;
        self.device_mut(device).ghost = (off && ghost).then_some((before, now));
        for other in (0..self.devices.len()).filter(|other| *other != device || !ghost) {
            self.deliver(other, ToDevice::RoomChanged { room, version });
        }
        if off && ghost {
            self.counts.ghosts += 1;
        } else if off {
            self.device_mut(device).wanted = false;
            let wall = self.wall();
            self.relay(RelayInput::Expel { room, users: vec![user], wall });
        }
    }

    pub(crate) fn restart_relay(&mut self) {
        self.counts.relay_restarts += 1;
        self.rooms = Rooms::new(*self.server.public(), Limits::default());
        self.watch.relay_restarted();
        for device in 0..self.devices.len() {
            if self.device_mut(device).connection.take().is_some() {
                self.device_mut(device).joined = None;
                let run = self.device(device).run;
                let wait = 20_000 + below(&mut self.rng, 200_000);
                self.after(wait, Arrival::Answer { device, run, input: Box::new(Input::RelayDown) });
            }
        }
    }
}
