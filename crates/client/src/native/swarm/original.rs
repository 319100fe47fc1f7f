//! Keys in sixteen parts, as the original lays them: sent, told of, heard of and fetched. For programs that know no other way; a call's secret
//! goes another ([`super::Enrolled::exchange`]).

use std::collections::HashMap;
use std::net::{IpAddr, Ipv6Addr, SocketAddr};
use std::sync::Arc;

use tokio::net::UdpSocket;
use tokio::sync::mpsc;
use tokio::task::JoinSet;
use tracing::debug;
use undertone_raida::client::{Fetching, Keys, Listening, Output, Part, Posting, Report, Told, Wanted};
use undertone_raida::coin::Coin;
use undertone_raida::command::{AlertPart, KeyId};
use undertone_raida::sixteen::{self, Sixteen};
use zeroize::Zeroizing;

use super::carry::{Clock, carry, connected, receive};
use super::{Coins, SwarmFault};
use crate::native::error::ClientError;
use crate::native::{rng, wall_time};

/// Nodes that are asked to tell: one is enough, and one may be down.
const TELLERS: usize = 3;
/// Alerts whose parts are remembered, so that those that come by several nodes are fetched once.
const KNOWN: usize = 256;

/// A key that came.
#[derive(Debug)]
pub struct Received {
    /// Whose coin posted it, as the nodes say.
    pub sender: String,
    /// The key; none where parts are missing. Nothing proves that it is what was sent.
    pub key: Option<Zeroizing<Vec<u8>>>,
    /// What each node did.
    pub report: Report,
}

impl Coins {
    /// Posts a key of sixteen parts for a coin, and has its owner told. What nodes did with the parts, and whether one of them tells.
    ///
    /// # Errors
    /// [`ClientError::Swarm`].
    pub async fn send(&self, to: &str, key: &[u8]) -> Result<(Report, bool), ClientError> {
        let enrolled = self.enrolled.lock().await.clone();
        let to: Coin = to.parse().map_err(SwarmFault::from)?;
        let sender = enrolled.coin().ok_or(SwarmFault::NotEnrolled)?;
        let cut = sixteen::cut(key).ok_or(SwarmFault::Key)?;
        let draw = |(raida, part): (u8, &[u8])| {
            let mut id = KeyId([0; 16]);
            rand_core::Rng::fill_bytes(&mut rng(), &mut id.0);
            Part { raida, id, bytes: Zeroizing::new(part.to_vec()) }
        };
        let parts: Vec<Part> = cut.into_iter().map(draw).collect();
        let clock = Clock::start();
        let what = (parts.as_slice(), Keys::Any);
        let posting =
            Posting::new(clock.now(), &enrolled.asker(), (sender, to.named()), what, sixteen::PARTS, &mut rng());
        let report = carry(posting.map_err(SwarmFault::from)?, &clock).await.map_err(SwarmFault::Socket)?;
        if !report.is_enough() {
            return Ok((report, false));
        }
        let named: Vec<_> = parts.iter().map(|part| (part.raida, part.id)).collect();
        let tellers: Vec<u8> = sixteen::NODES.into_iter().take(TELLERS).collect();
        let alert = Posting::alert(clock.now(), &enrolled.asker(), (sender, to), &named, &tellers, &mut rng());
        let told = carry(alert.map_err(SwarmFault::from)?, &clock).await.map_err(SwarmFault::Socket)?;
        Ok((report, told.is_enough()))
    }

    /// Listens for what is for this device's coin, until it is dropped.
    ///
    /// # Errors
    /// [`ClientError::Swarm`].
    pub async fn listen(&self) -> Result<Listener<'_>, ClientError> {
        let enrolled = self.enrolled.lock().await.clone();
        let coin = enrolled.coin().ok_or(SwarmFault::NotEnrolled)?;
        let clock = Clock::start();
        let machine = Listening::new(clock.now(), &enrolled.asker(), coin, &mut rng()).map_err(SwarmFault::from)?;
        let (heard, hear) = mpsc::channel(256);
        let (sockets, hearing, known) = (HashMap::new(), JoinSet::new(), Vec::new());
        Ok(Listener { coins: self, coin, clock, machine, sockets, hearing, heard, hear, known })
    }
}

/// A listener for one coin.
#[derive(Debug)]
pub struct Listener<'c> {
    coins: &'c Coins,
    coin: Coin,
    clock: Clock,
    machine: Listening,
    sockets: HashMap<u8, Arc<UdpSocket>>,
    hearing: JoinSet<()>,
    heard: mpsc::Sender<(u8, Vec<u8>)>,
    hear: mpsc::Receiver<(u8, Vec<u8>)>,
    known: Vec<Vec<AlertPart>>,
}

impl Listener<'_> {
    /// Which coin it listens for.
    #[must_use]
    pub fn coin(&self) -> String {
        self.coin.to_string()
    }

    /// The next key that somebody has sent.
    ///
    /// # Errors
    /// [`ClientError::Swarm`], the system's.
    pub async fn next(&mut self) -> Result<Received, ClientError> {
        loop {
            while let Some(output) = self.machine.poll_output() {
                match output {
                    Output::Send { raida, address, bytes, .. } => self.send(raida, address, &bytes).await,
                    Output::Done(told) => {
                        if let Some(received) = self.fetch(told).await? {
                            return Ok(received);
                        }
                    }
                }
            }
            let wait = self.machine.poll_timeout().since(self.clock.now());
            match tokio::time::timeout(wait, self.hear.recv()).await {
                Ok(Some((raida, bytes))) => self.machine.received(raida, &bytes, wall_time().as_unix()),
                Ok(None) | Err(_) => self.machine.tick(self.clock.now(), wall_time().as_unix(), &mut rng()),
            }
        }
    }

    async fn send(&mut self, raida: u8, address: SocketAddr, bytes: &[u8]) {
        let socket = match self.sockets.get(&raida) {
            Some(socket) => socket.clone(),
            None => {
                let Ok(socket) = connected(address).await else { return };
                let socket = Arc::new(socket);
                self.sockets.insert(raida, socket.clone());
                self.hearing.spawn(receive(raida, socket.clone(), self.heard.clone()));
                socket
            }
        };
        if let Err(error) = socket.send(bytes).await {
            debug!(%error, %address, "a node was not told who listens");
        }
    }

    /// Fetches what an alert names, if it was not fetched before. What names nodes that there are not, or no sixteen parts, is passed over.
    async fn fetch(&mut self, told: Told) -> Result<Option<Received>, ClientError> {
        let enrolled = self.coins.enrolled.lock().await.clone();
        if self.known.contains(&told.parts) {
            return Ok(None);
        }
        if self.known.len() >= KNOWN {
            self.known.remove(0);
        }
        self.known.push(told.parts.clone());
        let node = |part: &AlertPart| {
            let at = SocketAddr::new(IpAddr::from(Ipv6Addr::from(part.address)).to_canonical(), part.port);
            let node = enrolled.swarm.nodes().iter().find(|node| node.address == at)?;
            Some(Wanted { raida: node.raida, id: part.id })
        };
        let wanted: Option<Vec<_>> = told.parts.iter().map(node).collect();
        let sender = told.parts.first().and_then(|part| part.sender.coin());
        let (Some(wanted), Some(sender)) = (wanted.filter(|wanted| wanted.len() == sixteen::PARTS), sender) else {
            debug!(raida = told.raida, "an alert names parts that this device cannot fetch");
            return Ok(None);
        };
        let coins = (self.coin, Some(sender));
        let into = (Sixteen::default(), sixteen::PARTS);
        let what = (wanted.as_slice(), Keys::Any);
        let fetching = Fetching::new(self.clock.now(), &enrolled.asker(), coins, what, into, &mut rng());
        let fetched = carry(fetching.map_err(SwarmFault::from)?, &self.clock).await.map_err(SwarmFault::Socket)?;
        Ok(Some(Received { sender: sender.to_string(), key: fetched.gathered.key(), report: fetched.report }))
    }
}
