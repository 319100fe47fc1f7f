//! What the group says, carried to where it belongs.

use undertone_groups::Member;
use undertone_groups::member::{Event as GroupEvent, Output as Said};
use undertone_keys::Time;
use undertone_media::faults::{Fault, is_planted};
use undertone_media::{Epoch, Sender};

use super::explain::Began;
use super::{Mls, address_of, device_ref};
use crate::room::{Event, Output, RoomCall};

impl RoomCall {
    pub(super) fn carry(&mut self, mls: &mut Mls, now: Time, said: Said, rng: &mut impl rand_core::CryptoRng) {
        match said {
            Said::Store(writes) => self.outputs.push_back(Output::Store(writes)),
            Said::Install { epoch, key } => self.outputs.push_back(Output::Install(in_the_ring(epoch), key)),
            Said::Promote { removed: true, .. } if is_planted(Fault::StaysBehind) => {}
            Said::Promote { epoch, removed } => {
                let epoch = in_the_ring(epoch);
                mls.sealing = Some(epoch.0);
                self.outputs.push_back(Output::Promote { epoch, removed });
                self.event(Event::Epoch(epoch));
            }
            Said::Hold(held) => {
                mls.held = held;
                mls.audience.epoch_changed();
            }
            Said::Clear => {
                mls.sealing = None;
                // Before the ring is empty nothing more may be sealed.
                self.say_held(mls);
                self.outputs.push_back(Output::Clear);
            }
            Said::Roster { members, .. } => self.tree_changed(mls, members),
            Said::Say { epoch, authenticator } => self.say_group(mls, epoch, authenticator),
            Said::Tell { to, epoch, authenticator } => self.write(&to, epoch, authenticator, rng),
            Said::Resolve(devices) => {
                for device in devices {
                    self.look_up(&device.user);
                }
            }
            Said::Event(event) => {
                if let (GroupEvent::Withdrawn, Some(quorum)) = (&event, &mut mls.quorum) {
                    quorum.begins_anew();
                }
                if let GroupEvent::Epoch { epoch, by, removed, .. } = &event {
                    let version = self.access.list().version;
                    mls.began =
                        Some(Began { epoch: *epoch, by: by.clone(), at: now, version, removed: !removed.is_empty() });
                    mls.audience.epoch_changed();
                }
                self.event(Event::Group(event));
            }
            asked => self.outputs.extend(mls.desk.ask(mls.suite, asked)),
        }
    }

    /// Whoever was in the tree and is not any more is not heard, whatever the relay forwards; who is in it again is.
    fn tree_changed(&mut self, mls: &mut Mls, members: Vec<Member>) {
        let gone =
            mls.roster.iter().map(Member::device_ref).filter(|device| *device != device_ref(&self.local.address));
        mls.put_out.extend(gone);
        for member in &members {
            mls.put_out.remove(&member.device_ref());
        }
        mls.roster = members;
        for (index, seat) in self.seats.iter().filter(|(_, seat)| seat.is_admitted()) {
            let device = device_ref(seat.member());
            if mls.put_out.contains(&device) {
                self.outputs.push_back(Output::Suspend(*index));
            } else if seat.entry().grant.rights.speak {
                let member = address_of(device);
                let (join, index) = (seat.entry().join.join, *index);
                let sender = Sender { user: member.user, device: member.device, join, index };
                self.outputs.push_back(Output::Admit(sender));
            }
        }
    }
}

/// An epoch as frames and the ring count it. A group that changes every second gets there after 136 years.
pub(in crate::room) fn in_the_ring(epoch: u64) -> Epoch {
    Epoch(u32::try_from(epoch).unwrap_or(u32::MAX))
}
