//! Carries a machine's bytes to nodes and back: as datagrams, and over a connection where a machine says so.

use std::collections::HashMap;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::sync::Arc;
use std::time::{Duration, Instant};

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpStream, UdpSocket};
use tokio::sync::mpsc;
use tokio::task::JoinSet;
use tracing::debug;
use undertone_keys::Time;
use undertone_raida::client::{Carrier, Input, Machine, Output};

/// Longer than any reply to what is asked here.
const LONGEST: usize = 2_048;
const PAUSE: Duration = Duration::from_millis(50);

/// The machine's clock: it begins where the machine does.
#[derive(Debug)]
pub(super) struct Clock(Instant);

impl Clock {
    pub(super) fn start() -> Self {
        Self(Instant::now())
    }

    pub(super) fn now(&self) -> Time {
        Time::from_micros(u64::try_from(self.0.elapsed().as_micros()).unwrap_or(u64::MAX))
    }
}

/// A socket for each node that was sent something: none of them learns the port that another answers to, and the system drops what
/// comes from elsewhere.
struct Sockets(HashMap<u8, Arc<UdpSocket>>);

impl Sockets {
    async fn send(&mut self, raida: u8, address: SocketAddr, bytes: &[u8]) -> std::io::Result<()> {
        let socket = match self.0.get(&raida) {
            Some(socket) => socket,
            None => {
                let socket = connected(address).await?;
                self.0.entry(raida).or_insert_with(|| Arc::new(socket))
            }
        };
        socket.send(bytes).await.map(|_| ())
    }
}

/// Runs a machine to its end.
///
/// # Errors
/// The system's, where it has no socket.
pub(super) async fn carry<M: Machine>(mut machine: M, clock: &Clock) -> std::io::Result<M::Done> {
    let mut sockets = Sockets(HashMap::new());
    let mut hearing: JoinSet<()> = JoinSet::new();
    let (heard, mut hear) = mpsc::channel(256);
    loop {
        while let Some(output) = machine.poll_output() {
            match output {
                Output::Done(done) => return Ok(done),
                Output::Send { raida, address, bytes, carrier: Carrier::Connection } => {
                    let heard = heard.clone();
                    hearing.spawn(async move {
                        if let Some(answer) = connect(address, &bytes).await {
                            let _gone = heard.send((raida, answer)).await;
                        }
                    });
                }
                Output::Send { raida, address, bytes, carrier: Carrier::Datagram } => {
                    let new = !sockets.0.contains_key(&raida);
                    // A node that cannot be reached is down for this machine; the next attempt may go another way.
                    if let Err(error) = sockets.send(raida, address, &bytes).await {
                        debug!(%error, %address, "a datagram was not sent");
                    }
                    if let Some(socket) = sockets.0.get(&raida).filter(|_| new) {
                        hearing.spawn(receive(raida, socket.clone(), heard.clone()));
                    }
                }
            }
        }
        let wait = machine.poll_timeout().map(|at| at.since(clock.now())).unwrap_or_default();
        if wait.is_zero() {
            // However much there is to hear, it does not stop the clock.
            machine.handle_input(clock.now(), Input::Tick);
            continue;
        }
        match tokio::time::timeout(wait, hear.recv()).await {
            Ok(Some((raida, bytes))) => machine.handle_input(clock.now(), Input::Received { raida, bytes: &bytes }),
            Ok(None) | Err(_) => machine.handle_input(clock.now(), Input::Tick),
        }
    }
}

/// A socket that takes from this address alone.
pub(super) async fn connected(address: SocketAddr) -> std::io::Result<UdpSocket> {
    let any: IpAddr = if address.is_ipv4() { Ipv4Addr::UNSPECIFIED.into() } else { Ipv6Addr::UNSPECIFIED.into() };
    let socket = UdpSocket::bind(SocketAddr::new(any, 0)).await?;
    socket.connect(address).await?;
    Ok(socket)
}

/// Hands on what a node sends, until nobody wants it.
pub(super) async fn receive(raida: u8, socket: Arc<UdpSocket>, heard: mpsc::Sender<(u8, Vec<u8>)>) {
    let mut buffer = [0; LONGEST];
    loop {
        match socket.recv(&mut buffer).await {
            Ok(length) => {
                let bytes = buffer.get(..length).unwrap_or_default().to_vec();
                if heard.send((raida, bytes)).await.is_err() {
                    return;
                }
            }
            // The system says that nobody listens there; somebody may a moment later.
            Err(_) => tokio::time::sleep(PAUSE).await,
        }
    }
}

async fn connect(address: SocketAddr, request: &[u8]) -> Option<Vec<u8>> {
    let mut stream = TcpStream::connect(address).await.ok()?;
    stream.write_all(request).await.ok()?;
    let mut answer = Vec::new();
    let limit = u64::try_from(LONGEST).unwrap_or(u64::MAX);
    stream.take(limit).read_to_end(&mut answer).await.ok()?;
    Some(answer)
}
