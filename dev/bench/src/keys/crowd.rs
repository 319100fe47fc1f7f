//! Members of one room, brought in and waited for.

use std::collections::HashSet;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::{Context, bail};

use super::circle::{Circle, address_of};
use super::link::Route;
use super::member::{Member, Order};
use super::notes::{Frames, Notes};

/// Members on their way in at the same time.
const AT_ONCE: usize = 8;
/// Between two looks at what was noted.
const LOOK: Duration = Duration::from_millis(5);
/// How long nothing may change before it is given up.
const PATIENCE: Duration = Duration::from_secs(40);
/// A room of so many is a crowd, which waits a second for more who come (`coalesce_crowd`, crates/call/src/room/policy.rs).
const CROWD: usize = 50;
/// Everybody seals under one epoch for so long, and no other is on its way.
const QUIET: Duration = Duration::from_millis(500);
const QUIET_CROWD: Duration = Duration::from_millis(1_300);

/// Frames per second that all listeners together open at most. More would measure how well two processors carry sound.
const DELIVERIES: usize = 20_000;

/// How many of so many speak at the same time.
pub(super) fn speakers(members: usize) -> usize {
    let each = 50 * members.saturating_sub(1).max(1);
    (DELIVERIES / each).clamp(2, 50).min(members)
}

pub(super) struct Crowd {
    circle: Arc<Circle>,
    routes: Vec<Route>,
    start: Instant,
    /// By their place in the circle.
    pub(super) members: Vec<Member>,
}

impl Crowd {
    /// Nobody so far.
    pub(super) fn new(circle: &Arc<Circle>, server: SocketAddr) -> anyhow::Result<Self> {
        let routes = (0..16).map(|place| Route::new(server, address_of(place))).collect::<Result<_, _>>()?;
        Ok(Self { circle: circle.clone(), routes, start: Instant::now(), members: Vec::new() })
    }

    /// Brings more in until there are so many, a few at a time; by this route where one is named.
    pub(super) async fn grow(&mut self, count: usize, route: Option<&Route>) -> anyhow::Result<()> {
        while self.members.len() < count {
            let first = self.members.len();
            for place in first..count.min(first + AT_ONCE) {
                let route = route.or_else(|| self.routes.get(place % self.routes.len().max(1)));
                let route = route.context("no way to the server")?.clone();
                let member = Member::start(self.circle.clone(), place, route, self.start);
                member.order(Order::Join);
                self.members.push(member);
            }
            self.until("they come in", |member| member.index.is_some()).await?;
            // Who comes first is host, and has to be there before others ask for keys.
            self.until("they have a key", |member| !member.epochs.is_empty()).await?;
        }
        self.settle().await
    }

    /// Who is in.
    pub(super) fn inside(&self) -> impl Iterator<Item = &Member> {
        self.members.iter().filter(|member| member.notebook.lock().left.is_none())
    }

    /// Those who have left come back, all at once.
    pub(super) async fn come_back(&self) -> anyhow::Result<()> {
        for member in self.members.iter().filter(|member| member.notebook.lock().left.is_some()) {
            // Noted here already, so that nobody takes it for somebody who is still out.
            member.notebook.lock().join();
            member.order(Order::Join);
        }
        self.settle().await
    }

    /// The first so many speak, and nobody else.
    pub(super) fn speak(&self, speakers: usize) {
        for member in self.inside() {
            member.order(Order::Speak(member.place < speakers));
        }
    }

    /// Until everybody who is in seals under one epoch, and has for a while.
    pub(super) async fn settle(&self) -> anyhow::Result<()> {
        let began = Instant::now();
        loop {
            self.look_for_faults()?;
            let members: Vec<_> = self.inside().map(|member| member.notebook.lock().epochs.last().copied()).collect();
            let epochs: HashSet<Option<u32>> = members.iter().map(|last| last.map(|(epoch, _)| epoch)).collect();
            let newest = members.iter().flatten().map(|(_, at)| *at).max();
            let quiet = if members.len() > CROWD { QUIET_CROWD } else { QUIET };
            if epochs.len() == 1 && newest.is_some_and(|newest| newest.elapsed() > quiet) {
                return Ok(());
            }
            if began.elapsed() > PATIENCE {
                bail!("the room does not come to rest: {} epochs are in use", epochs.len());
            }
            tokio::time::sleep(LOOK).await;
        }
    }

    /// Until this holds of everybody who is in.
    pub(super) async fn until(&self, what: &str, holds: impl Fn(&Notes) -> bool) -> anyhow::Result<()> {
        let began = Instant::now();
        loop {
            self.look_for_faults()?;
            let missing = self.inside().filter(|member| !holds(&member.notebook.lock())).count();
            if missing == 0 {
                return Ok(());
            }
            if began.elapsed() > PATIENCE {
                bail!("waited until {what}, in vain: {missing} of {} do not", self.inside().count());
            }
            tokio::time::sleep(LOOK).await;
        }
    }

    fn look_for_faults(&self) -> anyhow::Result<()> {
        match self.members.iter().find_map(|member| member.notebook.lock().fault.clone()) {
            Some(fault) => bail!("{fault}"),
            None => Ok(()),
        }
    }

    /// The frames that were due within this time of everybody who speaks and is in, at everybody else who is in.
    pub(super) fn frames(&self, from: Instant, to: Instant) -> Frames {
        self.frames_at(from, to, |_| true)
    }

    /// The same at one of them.
    pub(super) fn heard_by(&self, place: usize, from: Instant, to: Instant) -> Frames {
        self.frames_at(from, to, |listener| listener == place)
    }

    fn frames_at(&self, from: Instant, to: Instant, at: impl Fn(usize) -> bool) -> Frames {
        let (inside, mut frames): (Vec<&Member>, _) = (self.inside().collect(), Frames::default());
        for speaker in &inside {
            let (index, said) = {
                let notes = speaker.notebook.lock();
                (notes.index, notes.said.clone())
            };
            let Some(index) = index.filter(|_| !said.is_empty()) else { continue };
            for listener in inside.iter().filter(|listener| listener.place != speaker.place && at(listener.place)) {
                let notes = listener.notebook.lock();
                let heard = notes.heard.get(&index).map(Vec::as_slice).unwrap_or_default();
                frames.add(Frames::between(&said, heard, from, to));
            }
        }
        frames
    }

    /// Who is host, by their own notes.
    pub(super) fn host(&self) -> Option<usize> {
        self.inside().find(|member| member.notebook.lock().host).map(|member| member.place)
    }

    /// Everybody leaves, and has time to say so.
    pub(super) async fn disperse(self) {
        for member in self.inside() {
            member.order(Order::Leave);
        }
        tokio::time::sleep(Duration::from_millis(500)).await;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn as_many_speak_as_two_processors_can_carry() {
        assert_eq!([2, 10, 50, 200, 1_000].map(speakers), [2, 10, 8, 2, 2]);
    }
}
