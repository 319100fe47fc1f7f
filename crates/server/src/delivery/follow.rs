//! Following a group: what somebody lacks of it, what is needed to come in, and what members attest.

use std::sync::atomic::Ordering;

use undertone_keys::CallId;
use undertone_keys::envelope::Address;
use undertone_protocol::delivery::{Denied, EpochDigest, GroupNews};
use undertone_protocol::limits::{MAX_FOLLOWED_BYTES, MAX_FOLLOWED_COMMITS};

use super::group::{Group, Known, State};
use super::{Asker, GroupDesk, Refusal};
use crate::store::{Groups, Rooms};

/// A device shows to be in an epoch. Where that is the newest, and it is not of whoever opened it, it stays.
fn shown(state: &mut State, you: &Address, epoch: u64) {
    state.saw(you.device, epoch);
    if let Known::Group(current) = &mut state.known {
        // What it said when it could not come in is over.
        current.shut_out.remove(&you.device);
    }
    if let Known::Group(current) = &mut state.known
        && current.epoch == epoch
        && let Some(opening) = &mut current.opening
    {
        opening.shown(&you.user);
    }
}

impl<S: Groups + Rooms> GroupDesk<S> {
    /// A device follows from now on, and is told where the group is, its `Welcome`, and what commits it lacks.
    pub(super) async fn follow(
        &self,
        Asker { you, line, .. }: Asker<'_>,
        call: CallId,
        group: &Group,
        number: u32,
        have: Option<u64>,
    ) -> Result<Vec<GroupNews>, Refusal> {
        let (mut state, now) = (group.state.lock().await, self.board.clock().now());
        state.used = now;
        let place =
            state.current(&self.store, call, now).await?.map(|current| (current.epoch, current.oldest, current.hash));
        if !self.board.follow(you.device, line, call) {
            return Err(Denied::TooMany.into());
        }
        let Some((epoch, oldest, born)) = place else {
            if !state.followers.follow(you, line, None, now) {
                self.board.unfollow(you.device, line, call);
                return Err(Denied::TooMany.into());
            }
            return Ok(vec![GroupNews::State { number, oldest: 0, epoch: None, seen: None, born: None }]);
        };
        let seen = state.seen.get(&you.device).copied();
        let mut news = vec![GroupNews::State { number, oldest, epoch: Some(epoch), seen, born: Some(born) }];
        let mut from = have;
        if let Some((into, welcome)) = self.store.welcome_for(call, you).await? {
            if have.is_some_and(|have| have >= into) {
                self.store.welcomed(call, you.device).await?;
            } else {
                // It was lost on its way, or the device was away: it is handed out until it shows.
                news.push(GroupNews::Welcome { epoch: into, welcome: welcome.into() });
                from = from.filter(|have| *have >= oldest).or(Some(into));
            }
        }
        if !state.followers.follow(you, line, from, now) {
            self.board.unfollow(you.device, line, call);
            return Err(Denied::TooMany.into());
        }
        if let Some(have) = have.filter(|have| *have <= epoch) {
            // It may have been in another group of this call: who is in this one shows it by a commit or an attest.
            shown(&mut state, you, have);
        }
        // Who is further behind is told so by `oldest`, and comes in anew.
        if let Some(from) = from.filter(|from| (oldest..epoch).contains(from)) {
            let commits = self.store.commits_from(call, from, MAX_FOLLOWED_COMMITS, MAX_FOLLOWED_BYTES).await?;
            news.extend(commits.into_iter().map(|(epoch, commit)| GroupNews::Commit { epoch, commit: commit.into() }));
        }
        Ok(news)
    }

    /// A device does not follow any more.
    pub(super) async fn unfollow(&self, Asker { you, line, .. }: Asker<'_>, call: CallId, group: &Group) {
        group.state.lock().await.followers.unfollow(you.device, line);
        self.board.unfollow(you.device, line, call);
    }

    /// Counts what a member sees of the newest epoch, and notes that it is in it.
    pub(super) async fn attest(
        &self,
        Asker { you, .. }: Asker<'_>,
        call: CallId,
        group: &Group,
        epoch: u64,
        digest: EpochDigest,
    ) -> Result<(), Refusal> {
        let (mut state, now) = (group.state.lock().await, self.board.clock().now());
        let Some(current) = state.current(&self.store, call, now).await? else { return Ok(()) };
        if epoch > current.epoch {
            return Ok(());
        }
        let is_inside = epoch == current.epoch && current.votes.is_on(digest);
        if epoch == current.epoch && current.votes.cast(you, digest) {
            self.counts.disputes.fetch_add(1, Ordering::Relaxed);
        }
        state.followers.saw(you.device, epoch);
        shown(&mut state, you, epoch);
        if is_inside {
            self.comes_in(&mut state, call, you).await?;
        }
        Ok(())
    }

    /// What is needed to come in, unless more people say that it is false.
    pub(super) async fn info(&self, call: CallId, group: &Group, number: u32) -> Result<Vec<GroupNews>, Refusal> {
        let (mut state, now) = (group.state.lock().await, self.board.clock().now());
        state.used = now;
        let current = state.current(&self.store, call, now).await?.ok_or(Denied::NoGroup)?;
        let tally = current.votes.tally();
        if tally.is_disputed() {
            return Err(Denied::Disputed.into());
        }
        let (epoch, info) = (current.epoch, current.info.clone());
        Ok(vec![GroupNews::Info { number, epoch, attested: tally.attested, disputed: tally.disputed, info }])
    }
}
