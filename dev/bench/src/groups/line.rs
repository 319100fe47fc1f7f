//! The devices of a group on their sockets: real sessions over TLS and WebSockets, each of which follows the group and notes when what
//! comes has come.

use std::net::SocketAddr;
use std::time::{Duration, Instant};

use anyhow::{Context as _, bail};
use futures_util::StreamExt;
use futures_util::stream::SplitStream;
use tokio::sync::mpsc;
use tokio::task::JoinSet;
use tokio::time::timeout;
use tokio_tungstenite::tungstenite::Message;
use undertone_keys::{AccessToken, CallId, RoomId};
use undertone_protocol::delivery::{GroupNews, GroupRequest};
use undertone_protocol::signal::{ToDevice, ToServer};

use crate::keys::circle::{ADDRESSES, address_of};
use crate::keys::link::{Route, Socket};

/// Sessions that are opened at the same time.
const AT_ONCE: usize = 16;
/// How long nothing may come before it is given up.
const PATIENCE: Duration = Duration::from_secs(20);

/// What a device has heard.
#[derive(Clone, Debug)]
enum Heard {
    /// Where the group is: it follows.
    State,
    /// The commit that ended this epoch.
    Commit(u64),
    /// Its own commit is taken, which opens this epoch.
    Accepted(u64),
    /// What should not have come.
    Fault(String),
}

/// Who heard what, and when.
struct Noted {
    place: usize,
    at: Instant,
    heard: Heard,
}

/// All devices of one group.
pub(super) struct Lines {
    place: (RoomId, CallId),
    outboxes: Vec<mpsc::UnboundedSender<ToServer>>,
    noted: mpsc::UnboundedReceiver<Noted>,
    // Ends with this.
    _readers: JoinSet<()>,
}

/// How long a commit took.
#[derive(Clone, Copy, Debug)]
pub(super) struct Delivered {
    /// Until its sender knew that it was taken.
    pub(super) taken: Duration,
    /// Until the first, and the last, of all others had it.
    pub(super) first: Duration,
    pub(super) last: Duration,
}

impl Lines {
    /// These devices connect, and follow the group from this epoch on.
    pub(super) async fn connect(
        server: SocketAddr,
        tokens: &[AccessToken],
        place: (RoomId, CallId),
        epoch: u64,
    ) -> anyhow::Result<Self> {
        let routes: Vec<Route> =
            (0..ADDRESSES).map(|place| Route::new(server, address_of(place))).collect::<Result<_, _>>()?;
        let (notes, noted) = mpsc::unbounded_channel();
        let mut lines = Self { place, outboxes: Vec::new(), noted, _readers: JoinSet::new() };
        for (first, some) in tokens.chunks(AT_ONCE).enumerate().map(|(chunk, some)| (chunk * AT_ONCE, some)) {
            let opening = some.iter().enumerate().map(|(number, token)| {
                let route = routes.get((first + number) % ADDRESSES);
                async move { route.context("no way to the server")?.signal(token).await }
            });
            let opened = futures_util::future::try_join_all(opening).await?;
            let count = opened.len();
            for (outbox, stream) in opened {
                let number = lines.outboxes.len();
                lines._readers.spawn(read(number, stream, notes.clone()));
                lines.outboxes.push(outbox);
                lines.ask(number, GroupRequest::Follow { have: Some(epoch) })?;
            }
            lines.until(count, |heard| matches!(heard, Heard::State)).await?;
        }
        Ok(lines)
    }

    /// The first device follows another group besides.
    pub(super) async fn follow(&mut self, place: (RoomId, CallId), epoch: u64) -> anyhow::Result<()> {
        self.place = place;
        self.ask(0, GroupRequest::Follow { have: Some(epoch) })?;
        self.until(1, |heard| matches!(heard, Heard::State)).await.map(drop)
    }

    fn ask(&self, place: usize, request: GroupRequest) -> anyhow::Result<()> {
        let (room, call) = self.place;
        let outbox = self.outboxes.get(place).context("no such device")?;
        outbox.send(ToServer::Group { room, call, number: 1, request }).ok().context("a connection is closed")
    }

    /// Waits for so many of these; when each came.
    async fn until(&mut self, count: usize, wanted: impl Fn(&Heard) -> bool) -> anyhow::Result<Vec<Noted>> {
        let mut found = Vec::with_capacity(count);
        while found.len() < count {
            let noted = timeout(PATIENCE, self.noted.recv()).await;
            let noted = noted.with_context(|| format!("{} of {count} have it", found.len()))?;
            let noted = noted.context("nobody is there any more")?;
            match &noted.heard {
                Heard::Fault(fault) => bail!("device {}: {fault}", noted.place),
                heard if wanted(heard) => found.push(noted),
                _ => {}
            }
        }
        Ok(found)
    }

    /// One device brings a commit; until all others have it.
    pub(super) async fn commit(&mut self, by: usize, epoch: u64, request: GroupRequest) -> anyhow::Result<Delivered> {
        let (all, start) = (self.outboxes.len(), Instant::now());
        self.ask(by, request)?;
        let heard = self
            .until(all, |heard| match heard {
                Heard::Commit(ended) => *ended == epoch,
                Heard::Accepted(opened) => *opened == epoch + 1,
                _ => false,
            })
            .await?;
        let after = |noted: &Noted| noted.at.duration_since(start);
        let taken = heard.iter().find(|noted| noted.place == by).map(after).context("the sender was not told")?;
        let others = || heard.iter().filter(|noted| noted.place != by).map(after);
        let (first, last) = others().min().zip(others().max()).context("nobody else is there")?;
        Ok(Delivered { taken, first, last })
    }
}

/// Notes what comes, for as long as anybody asks.
async fn read(place: usize, mut stream: SplitStream<Socket>, notes: mpsc::UnboundedSender<Noted>) {
    while let Some(message) = stream.next().await {
        let at = Instant::now();
        let heard = match message {
            Ok(Message::Binary(bytes)) => match ToDevice::decode(&bytes) {
                Ok(ToDevice::Group { news, .. }) => match news {
                    GroupNews::State { .. } => Heard::State,
                    GroupNews::Commit { epoch, .. } => Heard::Commit(epoch),
                    GroupNews::Accepted { epoch, .. } => Heard::Accepted(epoch),
                    GroupNews::Refused { why, .. } => Heard::Fault(format!("refused: {why:?}")),
                    _ => continue,
                },
                Ok(ToDevice::Closing { reason, .. }) => Heard::Fault(format!("closed: {reason:?}")),
                Ok(_) => continue,
                Err(_) => Heard::Fault("a malformed message".into()),
            },
            Ok(_) => continue,
            Err(error) => Heard::Fault(error.to_string()),
        };
        if notes.send(Noted { place, at, heard }).is_err() {
            return;
        }
    }
}
