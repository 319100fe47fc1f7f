//! Joining a room, and believing nobody who is in it without proof (rules GRP-8, RLY-1).

use undertone_call::Outcome;
use undertone_call::room::Input as RoomInput;
use undertone_keys::agreement::EphemeralKey;
use undertone_keys::{JoinId, Time, WallTime};
use undertone_media::{HopExporter, MemberHop, Sender};
use undertone_protocol::control::{Member, Refusal, ToMember, ToRelay};
use undertone_protocol::grant::GrantError;
use undertone_protocol::join::JoinError;
use undertone_protocol::{Entry, Grant, Join, Protection, VERSION};

use super::media::{Media, With};
use super::signalling::other_version;
use super::{Engine, Event, Output, PathState};

/// Why a member of the room is not believed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Stranger {
    /// The server's grant does not hold, or is another one than the call agreed on.
    Grant,
    /// The grant was good and is over by this device's clock.
    Expired,
    /// The join is not signed by the peer's proven device, or belongs elsewhere.
    Join,
    /// Its index is somebody else's, or its join id was used before in this call.
    Reused,
}

impl Media {
    /// Checks a member of a call of two and opens its frames from now on.
    fn admit(
        &mut self,
        server: &undertone_keys::sign::VerifyingKey<undertone_keys::sign::Server>,
        wall: WallTime,
        member: &Member,
    ) -> Result<(), Stranger> {
        let Entry { grant, join } =
            Entry::verify(&member.grant, &member.join, server, wall).map_err(|error| match error {
                JoinError::Grant(GrantError::Expired) => Stranger::Expired,
                JoinError::Grant(_) => Stranger::Grant,
                _ => Stranger::Join,
            })?;
        let With::Peer(side) = &self.with else { return Err(Stranger::Grant) };
        if grant.member != side.device || grant.call != self.call {
            return Err(Stranger::Grant);
        }
        // The very grant that the call's transcript names (rule NEG-1).
        if Grant::hash(&member.grant) != side.grant {
            return Err(Stranger::Grant);
        }
        let record = side.peer.device(grant.member.device).ok_or(Stranger::Join)?;
        if record.identity != grant.identity {
            return Err(Stranger::Join);
        }
        // The relay gave the index anew, and its former holder has gone with the former join.
        if self.ring.senders().iter().any(|here| here.index == member.index && here.join != join.join) {
            self.ring.dismiss(member.index);
        }
        let sender =
            Sender { user: side.device.user.clone(), device: side.device.device, join: join.join, index: member.index };
        self.ring.admit(sender).map_err(|_| Stranger::Reused)
    }

    fn dismiss_all_but(&mut self, stays: impl Fn(u16) -> bool) {
        let gone: Vec<u16> = self.ring.senders().iter().map(|sender| sender.index).filter(|i| !stays(*i)).collect();
        gone.into_iter().for_each(|index| self.ring.dismiss(index));
    }

    fn peer_index(&self) -> Option<u16> {
        self.ring.senders().first().map(|sender| sender.index)
    }
}

impl Engine {
    pub(super) fn relay_up(
        &mut self,
        now: Time,
        binding: [u8; 32],
        hop: HopExporter,
        rng: &mut impl rand_core::CryptoRng,
    ) {
        let Some(media) = &mut self.media else {
            self.outputs.push_back(Output::CloseRelay);
            return;
        };
        let Some(min_index) = media.ring.next_index() else {
            let reason = "the call has had more joins than there are sender indices";
            return self.leave_call(now, reason, Outcome::RefusedByPolicy, rng);
        };
        media.path.connected(now);
        let forward_secrecy = self.room.as_ref().is_none_or(|room| room.has_forward_secrecy());
        let (join_id, ephemeral) = (JoinId::random(rng), forward_secrecy.then(|| EphemeralKey::generate(rng)));
        let join = Join {
            grant: Grant::hash(&media.grant),
            call: media.call,
            join: join_id,
            ephemeral: ephemeral.as_ref().map(|key| *key.public()),
            binding,
            min_index,
        };
        // A new connection, new keys: what the old one sealed opens no more.
        media.hop = (media.protection == Protection::Hop).then(|| MemberHop::new(hop.chain(join.grant)));
        media.join = Some(join_id);
        let join = join.sign(&self.local.identity);
        let grant = media.grant.clone();
        self.outputs.push_back(Output::Relay(ToRelay::Join { version: VERSION, grant, join }));
        // In a room keys are sealed to this join's own key, if it has one. Nothing is sealed to it in a call of two.
        self.room(now, RoomInput::Joining { join: join_id, ephemeral }, rng);
    }

    pub(super) fn relay(&mut self, now: Time, message: ToMember, rng: &mut impl rand_core::CryptoRng) {
        let wall = self.wall(now);
        let Some(media) = &mut self.media else { return };
        media.path.heard(now);
        if let ToMember::HopEpoch { epoch, removed } = message {
            return self.hop_epoch(now, epoch, removed, rng);
        }
        if media.is_room() {
            return self.room_relay(now, message, rng);
        }
        if media.is_echo() {
            return self.echo_relay(now, message, rng);
        }
        match message {
            ToMember::Joined { index, members, .. } => {
                let (Some(join), PathState::AwaitingJoin) = (media.join.take(), media.path.state()) else { return };
                media.index = index;
                let address = self.local.address.clone();
                let me = Sender { user: address.user, device: address.device, join, index };
                if media.ring.join(me).is_err() {
                    let reason = "the relay gave an index that was given before";
                    return self.leave_call(now, reason, Outcome::RefusedByProof, rng);
                }
                // A peer that stayed while we were away is still the same join and keeps its replay window.
                for member in &members {
                    if let Err(stranger) = media.admit(&self.server, wall, member) {
                        let (reason, outcome) = stranger_means(stranger);
                        return self.leave_call(now, reason, outcome, rng);
                    }
                }
                media.dismiss_all_but(|index| members.iter().any(|member| member.index == index));
                let present = media.peer_index().is_some();
                media.path.joined(now, present);
                if present {
                    self.connected();
                }
            }
            ToMember::Arrived { member } => {
                if let Err(stranger) = media.admit(&self.server, wall, &member) {
                    let (reason, outcome) = stranger_means(stranger);
                    return self.leave_call(now, reason, outcome, rng);
                }
                media.dismiss_all_but(|index| index == member.index);
                media.path.peer_present(now, true);
                self.connected();
            }
            // A device that was revoked does not come back.
            ToMember::Gone { index, reason: Refusal::Revoked } if media.peer_index() == Some(index) => {
                self.phone(now, undertone_call::Input::PeerGone, rng);
            }
            ToMember::Gone { index, .. } => {
                if media.peer_index() == Some(index) {
                    media.ring.dismiss(index);
                    media.path.peer_present(now, false);
                }
            }
            ToMember::Refused { reason: Refusal::ShuttingDown | Refusal::Silent | Refusal::Full, .. } => {
                let news = media.path.lost(now);
                self.outputs.push_back(Output::CloseRelay);
                self.path_news(now, news, rng);
            }
            ToMember::Refused { reason: Refusal::Version, version } => {
                self.leave_call(now, &other_version("relay", version), Outcome::RefusedByPolicy, rng);
            }
            ToMember::Refused { reason, .. } => {
                self.leave_call(now, reason.as_str(), Outcome::RefusedByPolicy, rng);
            }
            // Nobody moderates a call of two.
            ToMember::Pong { .. } | ToMember::Muted { .. } | ToMember::HopEpoch { .. } => {}
        }
    }

    pub(super) fn connected(&mut self) {
        if let Some(media) = &mut self.media {
            let (call, again) = (media.call, core::mem::replace(&mut media.connected, true));
            self.outputs.push_back(Output::Event(Event::Connected { call, again }));
        }
    }

    /// A roster that cannot be verified ends the call here (rule GRP-8).
    fn leave_call(&mut self, now: Time, reason: &str, outcome: Outcome, rng: &mut impl rand_core::CryptoRng) {
        self.outputs.push_back(Output::Event(Event::Refused { reason: reason.to_owned(), outcome }));
        self.room_over(now, outcome);
        self.echo_over(outcome);
        self.phone(now, undertone_call::Input::End(outcome), rng);
    }
}

/// What a person is told, and whether anybody is accused.
const fn stranger_means(stranger: Stranger) -> (&'static str, Outcome) {
    match stranger {
        Stranger::Expired => {
            ("the other side's grant is over by this clock: is a clock wrong?", Outcome::RefusedByPolicy)
        }
        Stranger::Grant => {
            ("somebody is in the room whose grant is not the one that was agreed on", Outcome::RefusedByProof)
        }
        Stranger::Join => ("somebody is in the room without proof of being the peer", Outcome::RefusedByProof),
        Stranger::Reused => ("somebody came into the room with numbers that were used before", Outcome::RefusedByProof),
    }
}
