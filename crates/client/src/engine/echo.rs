//! The echo: a person hears themselves, by way of the relay and back, sealed like any call.

use core::time::Duration;

use undertone_call::Outcome;
use undertone_keys::call_agreement::MediaKey;
use undertone_keys::sign::Signed;
use undertone_keys::{CallId, Secret, Time};
use undertone_media::{Epoch, Ring, Sender};
use undertone_protocol::control::{Refusal, ToMember, ToRelay};
use undertone_protocol::signal::ToServer;
use undertone_protocol::{Grant, Protection};

use super::media::{Media, With};
use super::path::Path;
use super::signalling::other_version;
use super::{Engine, Event, Output, PathState};

/// How long the server may take to open an echo.
const OPENING: Duration = Duration::from_secs(10);

/// An echo that the server has not opened yet.
#[derive(Debug)]
pub(super) struct Sounding {
    pub(super) number: u32,
    call: CallId,
    pub(super) deadline: Time,
}

impl Engine {
    /// Asks the server for a room of one's own.
    pub(super) fn echo(&mut self, now: Time, rng: &mut impl rand_core::CryptoRng) {
        if !self.may_begin() {
            return;
        }
        let (number, call) = (self.next_number, CallId::random(rng));
        self.next_number += 1;
        let callee = self.local.address.user.clone();
        let message = ToServer::OpenCall { number, call, callee, protection: Protection::Echo };
        self.outputs.push_back(Output::Signal(message));
        self.sounding = Some(Sounding { number, call, deadline: now + OPENING });
    }

    /// The server has opened it: two rings of one key, one that seals and one that opens what comes back.
    pub(super) fn begin_echo(
        &mut self,
        now: Time,
        sounding: &Sounding,
        signed: Signed,
        rng: &mut impl rand_core::CryptoRng,
    ) {
        let call = sounding.call;
        let good = Grant::verify(&signed, &self.server, self.wall(now)).is_ok_and(|grant| {
            grant.call == call && grant.member == self.local.address && grant.protection == Protection::Echo
        });
        if !good {
            return self.refuse("the server's grant is not for an echo of this device".into(), Outcome::RefusedByProof);
        }
        let (mut ring, mut mirror) = (Ring::new(call), Ring::new(call));
        let secret = Secret::<32>::random(rng);
        for ring in [&mut ring, &mut mirror] {
            let key = MediaKey::new(Secret::filled_by(|bytes| bytes.copy_from_slice(secret.expose())));
            // A new ring takes its first key.
            if ring.install(now, Epoch(1), key).is_err() {
                return self.refuse("no key could be made".into(), Outcome::RefusedByPolicy);
            }
        }
        let with = With::Echo(Box::new(mirror));
        self.media = Some(Media::new(call, with, signed, ring, Protection::Echo, Path::new(now)));
        self.event(Event::Echo { call });
        self.outputs.push_back(Output::OpenRelay);
    }

    pub(super) fn echo_relay(&mut self, now: Time, message: ToMember, rng: &mut impl rand_core::CryptoRng) {
        let Some(media) = self.media.as_mut().filter(|media| media.is_echo()) else { return };
        match message {
            ToMember::Joined { index, members, .. } => {
                let (Some(join), PathState::AwaitingJoin) = (media.join.take(), media.path.state()) else { return };
                let With::Echo(mirror) = &mut media.with else { return };
                let address = self.local.address.clone();
                let me = Sender { user: address.user, device: address.device, join, index };
                let former: Vec<u16> = mirror.senders().iter().map(|sender| sender.index).collect();
                former.into_iter().for_each(|index| mirror.dismiss(index));
                let good = members.is_empty() && media.ring.join(me.clone()).is_ok() && mirror.admit(me).is_ok();
                if !good {
                    self.reject("the relay lets others into what is for one alone");
                    return self.echo_over(Outcome::RefusedByProof);
                }
                media.index = index;
                media.path.joined(now, true);
                self.connected();
            }
            ToMember::Refused { reason: Refusal::ShuttingDown | Refusal::Silent | Refusal::Full, .. } => {
                let news = media.path.lost(now);
                self.outputs.push_back(Output::CloseRelay);
                self.path_news(now, news, rng);
            }
            ToMember::Refused { reason, version } => {
                let why = if reason == Refusal::Version {
                    other_version("relay", version)
                } else {
                    reason.as_str().to_owned()
                };
                self.reject(why);
                self.echo_over(Outcome::RefusedByPolicy);
            }
            ToMember::Arrived { .. } => {
                self.reject("the relay lets others into what is for one alone");
                self.echo_over(Outcome::RefusedByProof);
            }
            ToMember::Gone { .. } | ToMember::Pong { .. } | ToMember::Muted { .. } | ToMember::HopEpoch { .. } => {}
        }
    }

    /// The echo is over, if there is one.
    pub(super) fn echo_over(&mut self, outcome: Outcome) {
        if self.sounding.take().is_some() {
            self.refuse("given up before the server had opened the echo".into(), Outcome::Cancelled);
        }
        if let Some(media) = self.media.take_if(|media| media.is_echo()) {
            self.outputs.push_back(Output::Relay(ToRelay::Leave));
            self.outputs.push_back(Output::CloseRelay);
            self.event(Event::Over { call: media.call, outcome });
        }
    }
}
