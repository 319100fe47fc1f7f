//! Many requests at once: sent again until they are answered, for so long.

use core::time::Duration;
use std::collections::VecDeque;
use std::net::SocketAddr;

use undertone_keys::Time;

use super::request::Request;
use super::{Carrier, Lie, Patience, Said};
use crate::frame::{Answer, NotAReply};

#[derive(Debug)]
enum State {
    /// What is right has not come yet; what came instead is noted, because it need not be the node's.
    AwaitingAnswer {
        sent: u32,
        resend_at: Time,
    },
    Settled,
}

struct Asked {
    request: Request,
    since: Time,
    state: State,
    said: Said,
}

/// Something to send.
pub(super) struct Sending {
    pub(super) raida: u8,
    pub(super) address: SocketAddr,
    pub(super) bytes: Vec<u8>,
    pub(super) carrier: Carrier,
}

/// An answer that is one.
pub(super) struct Answered {
    /// Which request.
    pub(super) at: usize,
    pub(super) answer: Answer,
    /// After how long.
    pub(super) after: Duration,
}

/// Requests under way.
pub(super) struct Round {
    asked: Vec<Asked>,
    patience: Patience,
    ends: Time,
    outputs: VecDeque<Sending>,
    begun: bool,
}

impl Round {
    pub(super) fn new(now: Time, patience: Patience, requests: impl IntoIterator<Item = Request>) -> Self {
        let asked = requests.into_iter().map(|request| Asked {
            request,
            since: now,
            state: State::AwaitingAnswer { sent: 0, resend_at: now },
            said: Said::Silent,
        });
        let (asked, outputs) = (asked.collect(), VecDeque::new());
        let mut round = Self { asked, patience, ends: now + patience.whole, outputs, begun: false };
        round.tick(now);
        round
    }

    /// Takes bytes from a node: an answer, if they are one to something that it was asked. It settles nothing before it was
    /// [judged](Self::judge): a header has no tag, and a tagged answer can be an older one, so that anybody on the way can answer
    /// instead of the node, and the node's own answer is waited for.
    pub(super) fn received(&mut self, now: Time, raida: u8, bytes: &[u8]) -> Option<Answered> {
        for (at, asked) in self.asked.iter_mut().enumerate() {
            if !matches!(asked.state, State::AwaitingAnswer { .. }) || asked.request.node.raida != raida {
                continue;
            }
            match asked.request.open(bytes) {
                Ok(answer) => return Some(Answered { at, answer, after: now.since(asked.since) }),
                Err(NotAReply::Forged) => asked.said = Said::Lied(Lie::Forged),
                Err(NotAReply::Another | NotAReply::Malformed) => {}
            }
        }
        None
    }

    /// Sends again what is due; gives up what had its time.
    pub(super) fn tick(&mut self, now: Time) {
        let over = now >= self.ends && self.begun;
        self.begun = true;
        for asked in &mut self.asked {
            let State::AwaitingAnswer { sent, resend_at } = &mut asked.state else { continue };
            if over {
                asked.state = State::Settled;
                continue;
            }
            if now < *resend_at {
                continue;
            }
            let node = &asked.request.node;
            let mut send = |carrier| {
                let bytes = asked.request.bytes.clone();
                self.outputs.push_back(Sending { raida: node.raida, address: node.address, bytes, carrier });
            };
            send(Carrier::Datagram);
            if *sent == self.patience.connect_from {
                send(Carrier::Connection);
            }
            *resend_at = now + self.patience.resend.saturating_mul(1 << (*sent).min(8));
            *sent += 1;
        }
    }

    pub(super) fn poll_output(&mut self) -> Option<Sending> {
        self.outputs.pop_front()
    }

    pub(super) fn poll_timeout(&self) -> Option<Time> {
        let due = self.asked.iter().filter_map(|asked| match &asked.state {
            State::AwaitingAnswer { resend_at, .. } => Some((*resend_at).min(self.ends)),
            State::Settled => None,
        });
        due.min()
    }

    /// Whether nothing is waited for any more.
    pub(super) fn is_over(&self) -> bool {
        self.asked.iter().all(|asked| matches!(asked.state, State::Settled))
    }

    /// What is said of a request. One that was answered as it should be is settled.
    pub(super) fn judge(&mut self, at: usize, said: Said) {
        let Some(asked) = self.asked.get_mut(at) else { return };
        asked.said = said;
        if said.is_good() {
            asked.state = State::Settled;
        }
    }

    /// What was said of each: whoever has said nothing and is still waited for was slow.
    pub(super) fn said(&self) -> impl Iterator<Item = (u8, Said)> {
        self.asked.iter().map(|asked| match (&asked.state, asked.said) {
            (State::AwaitingAnswer { .. }, Said::Silent) => (asked.request.node.raida, Said::Slow),
            (_, said) => (asked.request.node.raida, said),
        })
    }
}

/// What an answer says that should have a payload: all of such answers that are good are proven.
pub(super) fn proven(answered: &Answered) -> Said {
    match plainly(answered) {
        Said::Good(_) if !answered.answer.proven => Said::Lied(Lie::Malformed),
        said => said,
    }
}

/// What an answer without a payload says. Nothing proves it.
pub(super) fn plainly(answered: &Answered) -> Said {
    match answered.answer.status {
        Ok(status) if status.is_success() => Said::Good(answered.after),
        Ok(status) => Said::Refused(status),
        Err(byte) => Said::Unknown(byte),
    }
}
