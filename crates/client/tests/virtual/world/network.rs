//! What an engine wants done, and the way to the relay and back.

use undertone_client::engine::{Compared, Input, NotEntered, Output};
use undertone_keys::agreement::{DeviceKey as _, EphemeralKey};
use undertone_keys::legacy::LegacyKey as _;
use undertone_keys::static_key::{Answer, Question};
use undertone_keys::{JoinId, Secret};
use undertone_media::HopExporter;
use undertone_media::packet::MAX_PACKET;
use undertone_protocol::control::{ToMember, ToRelay};
use undertone_protocol::signal::{Letter, ToDevice, ToServer};
use undertone_relay::{ConnectionId, Input as RelayInput, Output as RelayOutput, Rooms};
use undertone_transparency::gossip::Told;
use undertone_transparency::testing;

use super::{Posted, World};

impl World {
    pub(crate) fn input(&mut self, device: usize, input: Input) {
        self.devices[device].engine.handle_input(self.now, input, &mut self.rng);
        self.hear_kept(device);
        while let Some(output) = self.devices[device].engine.poll_output() {
            self.carry_out(device, output);
        }
    }

    /// What came before its key and opens now.
    pub(crate) fn hear_kept(&mut self, device: usize) {
        let (now, mut packet) = (self.now, [0; MAX_PACKET]);
        let here = &mut self.devices[device];
        while let Some(heard) = here.engine.poll_kept(now, &mut packet) {
            assert_eq!(heard.payload, b"twenty ms of sound");
            here.heard += 1;
            here.late.push((heard.sender, heard.at));
            *here.heard_from.entry(heard.sender).or_default() += 1;
        }
    }

    pub(crate) fn carry_out(&mut self, device: usize, output: Output) {
        match output {
            Output::Event(event) => self.devices[device].events.push(event),
            Output::Ask { request, question } => {
                let here = &self.devices[device];
                let answer = match (question, &here.rsa) {
                    (Question::Agree(peer), None) => here.key.agree(&peer).map(Answer::Agreed),
                    (Question::Unwrap(wrapped, label), Some(key)) => {
                        key.unwrap(&wrapped, &label).map(Answer::Unwrapped)
                    }
                    (question, _) => panic!("{question:?} to another kind of key"),
                };
                self.input(device, Input::Answered { request, answer });
            }
            Output::Resolve(user) => {
                let place = self.devices.iter().position(|device| device.address.user == user).unwrap();
                let peer = Ok(self.peer_in(place, self.branches.get(&device).copied().unwrap_or(1)));
                self.input(device, Input::Resolved { user, peer });
            }
            Output::Compare { number, told, .. } => {
                self.compared += 1;
                let mine = self.peer_in(device, self.branches.get(&device).copied().unwrap_or(1));
                let log = testing::log_key();
                let (told, mine) = (Told::read(&told, "x", &log), Told::read(mine.checkpoint(), "x", &log).unwrap());
                let gullible = self.gullible == Some(device);
                let compared = match told.map(|told| told.against(mine.checkpoint())) {
                    Ok(Ok(_)) => Compared::Agrees,
                    _ if gullible => Compared::Agrees,
                    Ok(Err(wrong)) => Compared::Disagrees(wrong.to_string()),
                    Err(_) => Compared::Untrue,
                };
                self.input(device, Input::Compared { number, compared });
            }
            Output::Signal(_) if self.mute => {}
            Output::Signal(ToServer::OpenCall { number, call, callee, protection }) => {
                self.opened.insert(call, callee);
                self.protection = protection;
                let grant = self.grant(device, call);
                self.signals.push_back((device, ToDevice::CallOpened { number, grant }));
            }
            Output::Signal(ToServer::Send { .. } | ToServer::Spread { .. }) if self.dumb.contains(&device) => {}
            Output::Signal(ToServer::Send { to, call, envelope }) => {
                self.carried.push(envelope.clone());
                let place = self.place(to.device);
                self.posted.push(Posted { from: device, to: place, envelope: envelope.clone() });
                let grant =
                    self.opened.get(&call).filter(|callee| **callee == to.user).map(|_| self.grant(place, call));
                let from = self.devices[device].address.clone();
                self.signals.push_back((place, ToDevice::Deliver { from, call, envelope, grant }));
            }
            // As if everybody were on the list: whom it reaches is the server's own business, and tested there.
            Output::Signal(ToServer::Spread { call, letters, .. }) => {
                let from = self.devices[device].address.clone();
                for Letter { to, envelope } in letters {
                    self.carried.push(envelope.clone());
                    let place = self.place(to.device);
                    self.posted.push(Posted { from: device, to: place, envelope: envelope.clone() });
                    let message = ToDevice::Deliver { from: from.clone(), call, envelope, grant: None };
                    self.signals.push_back((place, message));
                }
            }
            Output::Enter(room) => {
                let user = &self.devices[device].address.user;
                let listed = self.access.last().and_then(|access| access.list().listed(user));
                let granted = listed.map(|listed| listed.rights).ok_or(NotEntered::NotListed);
                let granted = granted.map(|rights| self.room_grant(device, rights));
                if let Ok(grant) = &granted {
                    self.grants.insert(device, grant.clone());
                }
                self.input(device, Input::Entered { room, granted });
            }
            Output::FetchAccess(room) => {
                let access = self.access.last().cloned().map(Box::new);
                self.input(device, Input::Access { room, access });
            }
            // No world of this kind has an MLS group.
            Output::Signal(_)
            | Output::Exchange { .. }
            | Output::TakeBack { .. }
            | Output::Store(_)
            | Output::StoreGroups(_)
            | Output::FetchTree { .. }
            | Output::PublishKeyPackage { .. }
            | Output::ClaimKeyPackages { .. } => {}
            Output::OpenRelay => {
                self.hang(device);
                if self.rooms.is_none() || !self.devices[device].reachable {
                    return self.input(device, Input::RelayDown);
                }
                self.next += 1;
                let (connection, binding) = (ConnectionId(self.next), [u8::try_from(self.next % 256).unwrap(); 32]);
                self.devices[device].relay = Some(connection);
                self.bindings.insert(connection, device);
                let hop = || HopExporter::new(Secret::from_slice(&binding).unwrap());
                self.relay_input(RelayInput::Connected { connection, binding, hop: hop() });
                // An engine draws its join id and then its one-call key.
                let mut ahead = self.rng.clone();
                let _ = JoinId::random(&mut ahead);
                let key = EphemeralKey::generate(&mut ahead);
                self.input(device, Input::RelayUp { binding, hop: hop() });
                if self.joins.get(&device).is_some_and(|join| join.ephemeral == Some(*key.public())) {
                    self.ephemerals.insert(device, key);
                }
            }
            Output::Relay(ToRelay::Remove { .. }) if self.lax => {}
            Output::Relay(message) => {
                if let ToRelay::Join { join, .. } = &message {
                    self.joins.insert(device, undertone_keys::cbor::decode(&join.bytes).unwrap());
                }
                if let Some(connection) = self.devices[device].relay.filter(|_| self.devices[device].reachable) {
                    let body = message.frame().unwrap()[2..].to_vec();
                    self.carried.push(body.clone());
                    self.relay_input(RelayInput::Control { connection, body, wall: self.clock() });
                }
            }
            Output::Packet(_) if self.wordless.contains(&device) => {}
            Output::Packet(packet) => {
                if let Some(connection) = self.devices[device].relay.filter(|_| self.devices[device].reachable) {
                    self.relay_input(RelayInput::Datagram { connection, bytes: packet.into() });
                }
            }
            Output::CloseRelay => self.hang(device),
        }
    }

    pub(crate) fn hang(&mut self, device: usize) {
        if let Some(connection) = self.devices[device].relay.take()
            && self.devices[device].reachable
        {
            self.relay_input(RelayInput::Disconnected { connection });
        }
    }

    pub(crate) fn relay_input(&mut self, input: RelayInput) {
        let Some(rooms) = &mut self.rooms else { return };
        rooms.handle_input(self.now, input);
        while let Some(output) = self.rooms.as_mut().and_then(Rooms::poll_output) {
            if let RelayOutput::Control { connection, message: ToMember::Joined { index, .. } } = &output {
                self.indices.insert(*connection, *index);
            }
            if let RelayOutput::Control { connection, message } = output
                && let Some(device) = self.bindings.get(&connection).copied()
                && self.devices[device].relay == Some(connection)
                && self.devices[device].reachable
            {
                self.input(device, Input::Relay(message));
            }
        }
    }
}
