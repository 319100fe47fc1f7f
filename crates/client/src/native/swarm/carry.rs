//! Carries a machine's bytes to nodes and back: one socket for datagrams, a connection where a machine says so.

use std::collections::HashMap;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::time::Instant;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpStream, UdpSocket};
use tokio::task::JoinSet;
use tracing::debug;
use undertone_keys::Time;
use undertone_raida::client::{Carrier, Input, Machine, Output};
use undertone_raida::swarm::Swarm;

/// Longer than any reply to what is asked here.
const LONGEST: usize = 2_048;

/// The machine's clock: it begins where the machine does.
pub(super) struct Clock(Instant);

impl Clock {
    pub(super) fn start() -> Self {
        Self(Instant::now())
    }

    pub(super) fn now(&self) -> Time {
        Time::from_micros(u64::try_from(self.0.elapsed().as_micros()).unwrap_or(u64::MAX))
    }
}

/// Runs a machine to its end.
///
/// # Errors
/// The system's, where it has no socket.
pub(super) async fn carry<M: Machine>(mut machine: M, clock: &Clock, swarm: &Swarm) -> std::io::Result<M::Done> {
    let bind = |ip: IpAddr| UdpSocket::bind(SocketAddr::new(ip, 0));
    let wanted = |v4: bool| swarm.nodes().iter().any(|node| node.address.is_ipv4() == v4);
    let v4 = if wanted(true) { Some(bind(Ipv4Addr::UNSPECIFIED.into()).await?) } else { None };
    // A machine without IPv6 asks the others.
    let v6 = if wanted(false) { bind(Ipv6Addr::UNSPECIFIED.into()).await.ok() } else { None };
    let nodes: HashMap<SocketAddr, u8> = swarm.nodes().iter().map(|node| (node.address, node.raida)).collect();
    let mut connections: JoinSet<Option<(u8, Vec<u8>)>> = JoinSet::new();
    let (mut one, mut other) = ([0; LONGEST], [0; LONGEST]);
    loop {
        while let Some(output) = machine.poll_output() {
            match output {
                Output::Done(done) => return Ok(done),
                Output::Send { raida, address, bytes, carrier: Carrier::Connection } => {
                    connections.spawn(async move { connect(address, &bytes).await.map(|answer| (raida, answer)) });
                }
                Output::Send { address, bytes, carrier: Carrier::Datagram, .. } => {
                    let socket = if address.is_ipv4() { &v4 } else { &v6 };
                    if let Some(socket) = socket
                        && let Err(error) = socket.send_to(&bytes, address).await
                    {
                        debug!(%error, %address, "a datagram was not sent");
                    }
                }
            }
        }
        let wait = machine.poll_timeout().map(|at| at.since(clock.now())).unwrap_or_default();
        let (from, bytes) = tokio::select! {
            heard = receive(v4.as_ref(), &mut one) => {
                let Some((length, from)) = heard else { continue };
                (nodes.get(&from).copied(), one.get(..length).unwrap_or_default().to_vec())
            }
            heard = receive(v6.as_ref(), &mut other) => {
                let Some((length, from)) = heard else { continue };
                (nodes.get(&from).copied(), other.get(..length).unwrap_or_default().to_vec())
            }
            Some(answer) = connections.join_next(), if !connections.is_empty() => match answer {
                Ok(Some((raida, bytes))) => (Some(raida), bytes),
                Ok(None) | Err(_) => continue,
            },
            () = tokio::time::sleep(wait) => {
                machine.handle_input(clock.now(), Input::Tick);
                continue;
            }
        };
        // What comes from elsewhere is nobody's answer.
        if let Some(raida) = from {
            machine.handle_input(clock.now(), Input::Received { raida, bytes: &bytes });
        }
    }
}

/// The next datagram; never without a socket.
async fn receive(socket: Option<&UdpSocket>, buffer: &mut [u8]) -> Option<(usize, SocketAddr)> {
    match socket {
        Some(socket) => socket.recv_from(buffer).await.ok(),
        None => std::future::pending().await,
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
