//! Distance on loopback: a proxy in front of a server that hands on everything, TCP and UDP, each way so much later, whole and
//! in order. What is lost or out of order is [`crate::LossyProxy`]'s business.

use std::collections::{HashMap, VecDeque};
use std::future::pending;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream, UdpSocket};
use tokio::sync::mpsc;
use tokio::task::{JoinHandle, JoinSet};
use tokio::time::Instant;

/// Pieces that may be under way on one TCP connection in one direction: what is beyond waits at its sender, as on any path.
const UNDER_WAY: usize = 1024;
/// Bytes that are read at once.
const PIECE: usize = 16 * 1024;

/// What is under way in one direction, the oldest first.
#[derive(Debug)]
struct Way<T> {
    delay: Duration,
    things: VecDeque<(Instant, T)>,
}

impl<T> Way<T> {
    const fn new(delay: Duration) -> Self {
        Self { delay, things: VecDeque::new() }
    }

    fn set_out(&mut self, now: Instant, thing: T) {
        self.things.push_back((now + self.delay, thing));
    }

    /// When the next one is there.
    fn next(&self) -> Option<Instant> {
        self.things.front().map(|(at, _)| *at)
    }

    fn arrived(&mut self, now: Instant) -> Option<T> {
        self.things.pop_front_if(|(at, _)| *at <= now).map(|(_, thing)| thing)
    }
}

/// Waits until then, or for ever.
async fn until(at: Option<Instant>) {
    match at {
        Some(at) => tokio::time::sleep_until(at).await,
        None => pending().await,
    }
}

/// A running proxy. Ends when dropped.
#[derive(Debug)]
pub struct DistantProxy {
    address: SocketAddr,
    tasks: Vec<JoinHandle<()>>,
}

impl DistantProxy {
    /// Stands in front of `server`, half of this round trip away from it. Timers here have steps of a millisecond: a round trip
    /// takes up to two more, and a round trip of zero is what the proxy itself costs.
    ///
    /// # Errors
    /// The operating system's own.
    pub async fn start(server: SocketAddr, round_trip: Duration) -> std::io::Result<Self> {
        // One number for both, as the server has it.
        let (tcp, udp) = loop {
            let udp = UdpSocket::bind(("127.0.0.1", 0)).await?;
            if let Ok(tcp) = TcpListener::bind(udp.local_addr()?).await {
                break (tcp, udp);
            }
        };
        let (address, delay) = (tcp.local_addr()?, round_trip / 2);
        let tasks =
            vec![tokio::spawn(carry_tcp(tcp, server, delay)), tokio::spawn(carry_udp(Arc::new(udp), server, delay))];
        Ok(Self { address, tasks })
    }

    /// Where to go instead of to the server.
    #[must_use]
    pub const fn address(&self) -> SocketAddr {
        self.address
    }
}

impl Drop for DistantProxy {
    fn drop(&mut self) {
        self.tasks.iter().for_each(JoinHandle::abort);
    }
}

async fn carry_tcp(listener: TcpListener, server: SocketAddr, delay: Duration) {
    let mut carrying = JoinSet::new();
    while let Ok((client, _)) = listener.accept().await {
        carrying.spawn(async move {
            let Ok(server) = TcpStream::connect(server).await else { return };
            // What is held here is held on purpose, and nothing else.
            let _ = (client.set_nodelay(true), server.set_nodelay(true));
            let ((from_client, to_client), (from_server, to_server)) = (client.into_split(), server.into_split());
            tokio::join!(carry_bytes(from_client, to_server, delay), carry_bytes(from_server, to_client, delay));
        });
        while carrying.try_join_next().is_some() {}
    }
}

/// One direction of a TCP connection, to its end, which comes later too.
async fn carry_bytes(mut from: impl AsyncRead + Unpin, mut to: impl AsyncWrite + Unpin, delay: Duration) {
    let (mut way, mut buffer, mut open) = (Way::new(delay), vec![0; PIECE], true);
    while open || way.next().is_some() {
        tokio::select! {
            read = from.read(&mut buffer), if open && way.things.len() < UNDER_WAY => match read {
                Ok(length @ 1..) => way.set_out(Instant::now(), buffer.get(..length).unwrap_or_default().to_vec()),
                Ok(0) | Err(_) => open = false,
            },
            () = until(way.next()) => while let Some(piece) = way.arrived(Instant::now()) {
                if to.write_all(&piece).await.is_err() {
                    return;
                }
            }
        }
    }
    let _ = to.shutdown().await;
}

/// Packets of each member go to the server by a socket of its own.
async fn carry_udp(udp: Arc<UdpSocket>, server: SocketAddr, delay: Duration) {
    let mut members: HashMap<SocketAddr, mpsc::UnboundedSender<Vec<u8>>> = HashMap::new();
    let (mut tasks, mut buffer) = (JoinSet::new(), vec![0; 2048]);
    loop {
        let Ok((length, from)) = udp.recv_from(&mut buffer).await else { continue };
        let packet = buffer.get(..length).unwrap_or_default().to_vec();
        let member = members.entry(from).or_insert_with(|| {
            let (packets, inbox) = mpsc::unbounded_channel();
            tasks.spawn(carry_packets(inbox, (udp.clone(), from), server, delay));
            packets
        });
        // One whose socket could not be had is lost, as packets are.
        let _ = member.send(packet);
        while tasks.try_join_next().is_some() {}
    }
}

/// Both directions of one member's packets.
async fn carry_packets(
    mut inbox: mpsc::UnboundedReceiver<Vec<u8>>,
    (udp, member): (Arc<UdpSocket>, SocketAddr),
    server: SocketAddr,
    delay: Duration,
) {
    let Ok(socket) = UdpSocket::bind(("127.0.0.1", 0)).await else { return };
    if socket.connect(server).await.is_err() {
        return;
    }
    let (mut there, mut back, mut buffer) = (Way::new(delay), Way::new(delay), vec![0; 2048]);
    loop {
        tokio::select! {
            packet = inbox.recv() => match packet {
                Some(packet) => there.set_out(Instant::now(), packet),
                None => return,
            },
            // A server that is away answers with an error, and may be there again for the next one.
            read = socket.recv(&mut buffer) => if let Ok(length) = read {
                back.set_out(Instant::now(), buffer.get(..length).unwrap_or_default().to_vec());
            },
            () = until(there.next()) => while let Some(packet) = there.arrived(Instant::now()) {
                let _ = socket.send(&packet).await;
            },
            () = until(back.next()) => while let Some(packet) = back.arrived(Instant::now()) {
                let _ = udp.send_to(&packet, member).await;
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn everything_comes_so_much_later_and_in_order() {
        let (start, ms) = (Instant::now(), Duration::from_millis);
        let mut way = Way::new(ms(25));
        assert_eq!((way.next(), way.arrived(start)), (None, None));
        way.set_out(start, "first");
        way.set_out(start + ms(5), "second");
        assert_eq!(way.next(), Some(start + ms(25)));
        assert_eq!(way.arrived(start + ms(24)), None);
        assert_eq!(way.arrived(start + ms(25)), Some("first"));
        assert_eq!(way.arrived(start + ms(25)), None);
        assert_eq!((way.arrived(start + ms(40)), way.next()), (Some("second"), None));
    }

    #[tokio::test]
    async fn bytes_and_packets_get_through_both_ways_whole() {
        let tcp = TcpListener::bind(("127.0.0.1", 0)).await.unwrap();
        let server = tcp.local_addr().unwrap();
        let udp = UdpSocket::bind(server).await.unwrap();
        let proxy = DistantProxy::start(server, Duration::from_millis(2)).await.unwrap();

        let echo = tokio::spawn(async move {
            let (stream, _) = tcp.accept().await.unwrap();
            let (mut read, mut write) = stream.into_split();
            tokio::io::copy(&mut read, &mut write).await.unwrap();
        });
        let said: Vec<u8> = (0..200_000_u32).flat_map(u32::to_be_bytes).collect();
        let (mut read, mut write) = TcpStream::connect(proxy.address()).await.unwrap().into_split();
        let mut heard = Vec::new();
        let (wrote, _) = tokio::join!(
            async {
                write.write_all(&said).await.unwrap();
                write.shutdown().await
            },
            async { read.read_to_end(&mut heard).await.unwrap() }
        );
        wrote.unwrap();
        echo.await.unwrap();
        assert!(heard == said, "{} of {} bytes", heard.len(), said.len());

        let member = UdpSocket::bind(("127.0.0.1", 0)).await.unwrap();
        member.send_to(b"ping", proxy.address()).await.unwrap();
        let mut buffer = [0; 16];
        let (length, from) = udp.recv_from(&mut buffer).await.unwrap();
        udp.send_to(&buffer[..length], from).await.unwrap();
        let (length, from) = member.recv_from(&mut buffer).await.unwrap();
        assert_eq!((&buffer[..length], from), (b"ping".as_slice(), proxy.address()));
    }
}
