//! A bad network on loopback: a proxy in front of a server that loses and delays its UDP packets as a seed says, and hands
//! on its TCP bytes as they are.

use std::collections::HashMap;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use rand_core::Rng;
use tokio::net::{TcpListener, TcpStream, UdpSocket};
use tokio::task::{JoinHandle, JoinSet};
use undertone_keys::testing::SeededRng;

/// How packets are lost.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Loss {
    /// Each for itself, with this probability.
    Random(f64),
    /// In runs (the model of Gilbert): this share of all, and so many at a time on average.
    Bursts {
        /// Of all packets.
        share: f64,
        /// Packets of a run, on average.
        length: f64,
    },
}

/// What the network does.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Weather {
    /// Packets from members to the relay that are lost.
    pub loss: Loss,
    /// A packet is held for up to so long, each for itself.
    pub jitter: Duration,
    /// What decides.
    pub seed: u64,
}

/// One direction's dice.
struct Dice {
    rng: SeededRng,
    weather: Weather,
    in_a_run: bool,
}

impl Dice {
    #[expect(clippy::cast_precision_loss, reason = "53 bits are enough for chance")]
    fn roll(&mut self) -> f64 {
        (self.rng.next_u64() >> 11) as f64 / (1_u64 << 53) as f64
    }

    fn is_lost(&mut self) -> bool {
        let roll = self.roll();
        match self.weather.loss {
            Loss::Random(share) => roll < share,
            Loss::Bursts { share, length } => {
                // A run ends with 1 / length, and begins as often as makes the share right.
                let change = if self.in_a_run { 1.0 / length } else { share / ((1.0 - share) * length) };
                self.in_a_run ^= roll < change;
                self.in_a_run
            }
        }
    }

    fn delay(&mut self) -> Duration {
        self.weather.jitter.mul_f64(self.roll())
    }
}

/// A running proxy. Ends when dropped.
#[derive(Debug)]
pub struct LossyProxy {
    address: SocketAddr,
    tasks: Vec<JoinHandle<()>>,
    counts: Arc<Counts>,
}

#[derive(Debug, Default)]
struct Counts {
    carried: AtomicU64,
    lost: AtomicU64,
}

impl LossyProxy {
    /// Stands in front of `server`. What members send is lost and delayed, and what the relay sends is not: one bad hop.
    ///
    /// # Errors
    /// The operating system's own.
    pub async fn start(server: SocketAddr, weather: Weather) -> std::io::Result<Self> {
        // One number for both, as the server has it.
        let (tcp, udp) = loop {
            let udp = UdpSocket::bind(("127.0.0.1", 0)).await?;
            if let Ok(tcp) = TcpListener::bind(udp.local_addr()?).await {
                break (tcp, udp);
            }
        };
        let address = tcp.local_addr()?;
        let counts = Arc::new(Counts::default());
        let tasks = vec![
            tokio::spawn(carry_tcp(tcp, server)),
            tokio::spawn(carry_udp(Arc::new(udp), server, weather, counts.clone())),
        ];
        Ok(Self { address, tasks, counts })
    }

    /// Where to go instead of to the server.
    #[must_use]
    pub const fn address(&self) -> SocketAddr {
        self.address
    }

    /// Packets from members that were carried, and that were lost.
    #[must_use]
    pub fn counts(&self) -> (u64, u64) {
        (self.counts.carried.load(Ordering::Relaxed), self.counts.lost.load(Ordering::Relaxed))
    }
}

impl Drop for LossyProxy {
    fn drop(&mut self) {
        self.tasks.iter().for_each(JoinHandle::abort);
    }
}

async fn carry_tcp(listener: TcpListener, server: SocketAddr) {
    let mut carrying = JoinSet::new();
    while let Ok((mut client, _)) = listener.accept().await {
        carrying.spawn(async move {
            if let Ok(mut server) = TcpStream::connect(server).await {
                let _ = tokio::io::copy_bidirectional(&mut client, &mut server).await;
            }
        });
        while carrying.try_join_next().is_some() {}
    }
}

/// Packets of members go to the server by a socket each; those are the ones that suffer.
async fn carry_udp(udp: Arc<UdpSocket>, server: SocketAddr, weather: Weather, counts: Arc<Counts>) {
    let mut dice = Dice { rng: SeededRng::new(weather.seed), weather, in_a_run: false };
    let mut members: HashMap<SocketAddr, Arc<UdpSocket>> = HashMap::new();
    let (mut tasks, mut buffer) = (JoinSet::new(), vec![0; 2048]);
    loop {
        let Ok((length, from)) = udp.recv_from(&mut buffer).await else { continue };
        let socket = match members.get(&from) {
            Some(socket) => socket.clone(),
            None => {
                let Ok(socket) = UdpSocket::bind(("127.0.0.1", 0)).await else { continue };
                if socket.connect(server).await.is_err() {
                    continue;
                }
                let (socket, back) = (Arc::new(socket), udp.clone());
                let answers = socket.clone();
                tasks.spawn(async move {
                    let mut buffer = vec![0; 2048];
                    while let Ok(length) = answers.recv(&mut buffer).await {
                        let _ = back.send_to(buffer.get(..length).unwrap_or_default(), from).await;
                    }
                });
                members.insert(from, socket.clone());
                socket
            }
        };
        while tasks.try_join_next().is_some() {}
        if dice.is_lost() {
            counts.lost.fetch_add(1, Ordering::Relaxed);
            continue;
        }
        counts.carried.fetch_add(1, Ordering::Relaxed);
        let (packet, delay) = (buffer.get(..length).unwrap_or_default().to_vec(), dice.delay());
        tasks.spawn(async move {
            tokio::time::sleep(delay).await;
            let _ = socket.send(&packet).await;
        });
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shares(loss: Loss) -> (f64, f64) {
        let weather = Weather { loss, jitter: Duration::ZERO, seed: 1 };
        let mut dice = Dice { rng: SeededRng::new(1), weather, in_a_run: false };
        let lost: Vec<bool> = (0..200_000).map(|_| dice.is_lost()).collect();
        let all = lost.iter().filter(|lost| **lost).count();
        let runs = lost.windows(2).filter(|pair| !pair[0] && pair[1]).count();
        #[expect(clippy::cast_precision_loss, reason = "a test")]
        let shares = (all as f64 / 200_000.0, all as f64 / runs as f64);
        shares
    }

    #[test]
    fn chance_keeps_to_what_was_asked() {
        let (share, run) = shares(Loss::Random(0.1));
        assert!((share - 0.1).abs() < 0.005 && (run - 1.11).abs() < 0.05, "{share} {run}");
        let (share, run) = shares(Loss::Bursts { share: 0.1, length: 3.0 });
        assert!((share - 0.1).abs() < 0.01 && (run - 3.0).abs() < 0.15, "{share} {run}");
    }
}
