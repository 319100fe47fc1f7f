//! The delivery service, as a client sees it: what the group asks, as requests, and what comes back, as answers.

use core::time::Duration;
use std::collections::BTreeMap;

use undertone_groups::member::{Denied, Input, Output as Said};
use undertone_groups::{KeyPackage, Suite, Upload};
use undertone_media::faults::{Fault, is_planted};
use undertone_protocol::delivery::{Denied as Why, GroupNews, GroupRequest, Tree, TreePatch, Welcoming, epoch_digest};

use super::address_of;
use crate::room::Output;

/// Requests that may wait for an answer at the same time; the oldest is given up.
const MAX_ASKED: usize = 32;

/// What was asked.
#[derive(Clone, Copy, Debug)]
enum Asked {
    Follow,
    /// An upload, and the epoch that it is to open.
    Upload(u64),
    Info,
}

/// Requests under way.
#[derive(Debug, Default)]
pub(super) struct Desk {
    next: u32,
    asked: BTreeMap<u32, Asked>,
}

impl Desk {
    /// What was asked over another connection has no answer any more.
    pub(super) fn forget(&mut self) {
        self.asked.clear();
    }

    fn number(&mut self, asked: Asked) -> u32 {
        while self.asked.len() >= MAX_ASKED {
            self.asked.pop_first();
        }
        self.next = self.next.wrapping_add(1);
        self.asked.insert(self.next, asked);
        self.next
    }

    /// A request, for the shell. `None` for what the service is not asked.
    pub(super) fn ask(&mut self, suite: Suite, said: Said) -> Option<Output> {
        let (asked, request) = match said {
            Said::Follow { have } => (Some(Asked::Follow), GroupRequest::Follow { have }),
            Said::Create { info, tree } => {
                let tree = TreePatch::between(&Tree::default(), &Tree::decode(&tree).ok()?);
                (Some(Asked::Upload(0)), GroupRequest::Create { info, tree })
            }
            Said::Upload { upload, before, welcomed } => {
                let Upload { epoch, commit, welcome, group_info: info, tree, .. } = upload;
                let tree = TreePatch::between(&Tree::decode(&before).ok()?, &Tree::decode(&tree).ok()?);
                let to = welcomed.into_iter().map(address_of).collect();
                let welcomes = welcome.map(|welcome| Welcoming { to, welcome }).into_iter().collect();
                let request = GroupRequest::Commit { epoch, commit, welcomes, info, tree };
                (Some(Asked::Upload(epoch.saturating_add(1))), request)
            }
            Said::Attest(attest) => {
                let digest = epoch_digest(&attest.context, &attest.confirmation_tag);
                (None, GroupRequest::Attest { epoch: attest.epoch, digest })
            }
            Said::Reject { epoch } => (None, GroupRequest::Reject { epoch }),
            Said::Withdraw { epoch, born } => (None, GroupRequest::Withdraw { epoch, born }),
            Said::AskInfo => (Some(Asked::Info), GroupRequest::Info),
            Said::FetchTree { epoch } => return Some(Output::FetchTree { epoch }),
            Said::Publish { package } => {
                let (suite, message) = KeyPackage::take_out(&package).ok()?;
                return Some(Output::PublishKeyPackage { suite: suite.mls_number(), message });
            }
            Said::Claim(devices) => {
                let devices = devices.into_iter().map(address_of).collect();
                return Some(Output::ClaimKeyPackages { suite: suite.mls_number(), devices });
            }
            _ => return None,
        };
        let number = asked.map_or(0, |asked| self.number(asked));
        Some(Output::Group { number, request })
    }

    /// What came, for the group.
    pub(super) fn read(&mut self, news: GroupNews) -> Option<Input> {
        match news {
            GroupNews::State { number, oldest, epoch, seen, born } => {
                let Asked::Follow = self.asked.remove(&number)? else { return None };
                Some(Input::State { epoch, oldest, seen, born })
            }
            // Word of an older one may come late: whoever is further by then asks where the group is, and stays.
            GroupNews::GivenBack { epoch, oldest, .. } => {
                Some(Input::State { epoch: Some(epoch), oldest, seen: None, born: None })
            }
            GroupNews::Commit { .. } if is_planted(Fault::FollowsNobody) => None,
            GroupNews::Commit { epoch, commit } => Some(Input::Commit { epoch, bytes: commit.as_bytes().to_vec() }),
            GroupNews::Welcome { epoch, welcome } => Some(Input::Welcome { epoch, bytes: welcome.as_bytes().to_vec() }),
            GroupNews::Accepted { number, epoch } => {
                let Asked::Upload(_) = self.asked.remove(&number)? else { return None };
                Some(Input::Accepted { epoch })
            }
            GroupNews::Refused { number, why, after_ms } => match self.asked.remove(&number)? {
                Asked::Upload(epoch) => Some(Input::Refused { epoch, why: denied(why, after_ms) }),
                Asked::Info => Some(Input::NoInfo),
                // It is asked again in a while, and said when that is in vain.
                Asked::Follow => None,
            },
            GroupNews::Info { number, epoch, info, .. } => {
                let Asked::Info = self.asked.remove(&number)? else { return None };
                Some(Input::Info { epoch, info: info.as_bytes().to_vec() })
            }
            GroupNews::Withdrawn => Some(Input::Withdrawn),
            GroupNews::Opened => Some(Input::Opened),
        }
    }
}

fn denied(why: Why, after_ms: u32) -> Denied {
    match why {
        // Where that epoch's commit is not kept any more, it was another.
        Why::Lost | Why::Behind => Denied::Lost,
        Why::Ahead => Denied::Ahead,
        Why::NoGroup => Denied::NoGroup,
        Why::NotYours => Denied::NotAllowed,
        Why::Mismatch => Denied::Mismatch,
        Why::Malformed | Why::Disputed => Denied::Malformed,
        Why::TooLarge => Denied::TooLarge,
        Why::Later => Denied::Later(Duration::from_millis(u64::from(after_ms.max(1)))),
        Why::TooMany | Why::Unavailable => Denied::Later(Duration::from_secs(1)),
    }
}
