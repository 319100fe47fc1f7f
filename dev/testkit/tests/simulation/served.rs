//! The server's part: papers, look-ups, and letters that it hands on.

use std::collections::HashSet;

use undertone_client::engine::{Input, NotEntered};
use undertone_keys::envelope::Address;
use undertone_keys::{CallId, RoomId, WallTime};
use undertone_protocol::limits::GRANT_LIFETIME;
use undertone_protocol::signal::{Letter, ToDevice, ToServer};
use undertone_protocol::{Access, AccessList, Grant, Listed, VERSION};

use super::link::{Way, below};
use super::world::{Arrival, GIVE_UP, World, asked, listed};

impl World {
    #[expect(clippy::expect_used, reason = "the list is made here")]
    pub(crate) fn first_list(&mut self) {
        let creator = self.devices.first().expect("there are devices");
        let mut members: Vec<Listed> = self.devices.iter().map(listed).collect();
        members.sort_by(|a, b| a.user.cmp(&b.user));
        let list = AccessList {
            format: 1,
            room: RoomId::from_bytes([77; 16]),
            version: 1,
            previous: None,
            name: "simulated".into(),
            terms: self.schedule.terms(),
            creator: creator.address.user.clone(),
            members,
            signer: creator.address.clone(),
            created: WallTime::from_unix(1),
        };
        let list = Access::sign(list, &creator.identity).expect("a list");
        self.house_list(&list);
        self.access.push(list);
    }

    /// The server's wall clock.
    pub(crate) const fn wall(&self) -> WallTime {
        WallTime::from_unix(1_770_000_000 + self.now.as_millis() / 1000)
    }

    /// A REST request: an answer after a round trip, or none if the way is cut.
    pub(crate) fn ask_server(&mut self, device: usize, answer: Input, lost: Input) {
        let jitter = below(&mut self.rng, 20_000);
        let here = self.device(device);
        let (run, cut) = (here.run, here.server.is_cut(self.now));
        let trip = 2 * here.server.delay + 2_000;
        let back = here.server.cut_until.as_micros().saturating_sub(self.now.as_micros()) + trip;
        self.trace(|| {
            format!("    p{device:03} asks the server{}: {}", if cut { " in vain" } else { "" }, asked(&answer))
        });
        let (wait, input) = if cut { (GIVE_UP.min(back), lost) } else { (trip + jitter, answer) };
        self.after(wait, Arrival::Answer { device, run, input: Box::new(input) });
    }

    pub(crate) fn grant(&self, device: usize) -> Result<undertone_keys::sign::Signed, NotEntered> {
        let list = self.shown_to(device).map(Access::list).ok_or(NotEntered::Unavailable)?;
        let here = self.device(device);
        let listed = list.listed(&here.address.user).ok_or(NotEntered::NotListed)?;
        let grant = Grant {
            room: list.room,
            call: CallId::from_bytes(*list.room.as_bytes()),
            member: here.address.clone(),
            identity: *here.identity.public(),
            protection: list.terms.protection,
            rights: listed.rights,
            expires: self.wall().plus(GRANT_LIFETIME.as_secs()),
            audience: list.terms.audience,
        };
        Ok(grant.sign(&self.server))
    }

    pub(crate) fn reconnect(&mut self, device: usize, run: u64) {
        let wait = 50_000 + below(&mut self.rng, 400_000);
        self.after(wait, Arrival::Reconnect { device, run });
    }

    pub(crate) fn reconnected(&mut self, device: usize, run: u64) {
        let here = self.device(device);
        if here.run != run || !here.alive || here.session.is_some() {
            return;
        }
        if here.server.is_cut(self.now) {
            return self.reconnect(device, run);
        }
        self.number += 1;
        let (session, now, wall) = (self.number, self.now, self.wall());
        let you = self.device(device).address.clone();
        let here = self.device_mut(device);
        here.session = Some((session, now));
        here.server.renew();
        self.house_connects(device);
        self.input(device, Input::SignalUp { wall });
        self.deliver(device, ToDevice::Welcome { version: VERSION, now: wall, you });
    }

    pub(crate) fn deliver(&mut self, device: usize, message: ToDevice) -> bool {
        let Some((session, _)) = self.device(device).session else { return false };
        let now = self.now;
        let Self { devices, rng, .. } = self;
        let Some(here) = devices.get_mut(device) else { return false };
        let at = here.server.ordered(now, Way::Down, rng);
        self.at(at, Arrival::ToDevice { device, session, message: Box::new(message) });
        true
    }

    /// The server's part of signalling: it hands on what it cannot read.
    pub(crate) fn serve(&mut self, from: usize, message: ToServer) {
        match message {
            ToServer::Send { to, call, envelope } => self.hand_on(from, &to, call, envelope),
            ToServer::Spread { call, letters, .. } => {
                for Letter { to, envelope } in letters {
                    self.hand_on(from, &to, call, envelope);
                }
            }
            ToServer::Group { .. } => self.house_hears(from, message),
            ToServer::Hello { .. } | ToServer::OpenCall { .. } | ToServer::KeepAlive => {}
        }
    }

    pub(crate) fn hand_on(&mut self, from: usize, to: &Address, call: CallId, envelope: Vec<u8>) {
        self.watch.letters += 1;
        self.trace(|| {
            let header = undertone_keys::envelope::Envelope::from_bytes(&envelope).map(|letter| letter.claimed().epoch);
            format!("    letter p{from:03} -> {} epoch {header:?}, {} bytes", to.user, envelope.len())
        });
        let place = self.devices.iter().position(|device| device.address == *to);
        let deliver = ToDevice::Deliver { from: self.device(from).address.clone(), call, envelope, grant: None };
        if !place.is_some_and(|place| self.deliver(place, deliver)) {
            self.deliver(from, ToDevice::Undelivered { to: to.device, call });
        }
    }

    /// The newest list, as the server shows it to this device.
    pub(crate) fn shown_to(&self, device: usize) -> Option<&Access> {
        self.device(device).ghost.as_ref().map(|(list, _)| list).or_else(|| self.access.last())
    }

    /// The devices that are on the newest list.
    pub(crate) fn listed(&self) -> HashSet<usize> {
        let Some(list) = self.access.last().map(Access::list) else { return HashSet::new() };
        let on = self.devices.iter().enumerate().filter(|(_, device)| list.listed(&device.address.user).is_some());
        on.map(|(place, _)| place).collect()
    }
}
