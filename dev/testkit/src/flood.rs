//! Floods on loopback: connections that are begun and go no further, and noise. Linux takes all of 127.0.0.0/8 for this
//! machine, so a flood comes from as many addresses as a test likes.

use std::net::{Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::Context;
use quinn_proto::crypto::rustls::QuicClientConfig;
use quinn_proto::{ClientConfig, Endpoint, EndpointConfig};
use rand_core::Rng;
use rustls::RootCertStore;
use rustls::crypto::{CryptoProvider, aws_lc_rs};
use tokio::io::AsyncWriteExt;
use tokio::net::{TcpSocket, TcpStream, UdpSocket};
use tokio::task::JoinSet;
use undertone_keys::testing::SeededRng;
use undertone_protocol::ALPN_MEDIA;

/// The beginning of a TLS hello: a record of 512 bytes is promised, and six of them come.
const HALF_A_HELLO: [u8; 11] = [0x16, 3, 1, 2, 0, 1, 0, 1, 0xfc, 3, 3];

/// So many addresses of this machine, each as good as another host.
#[must_use]
pub fn crowd(count: u8) -> Vec<Ipv4Addr> {
    (1..=count).map(|host| Ipv4Addr::new(127, 0, 1, host)).collect()
}

/// A TCP connection from this address.
///
/// # Errors
/// The operating system's own.
pub async fn connect_from(from: Ipv4Addr, server: SocketAddr) -> std::io::Result<TcpStream> {
    let socket = TcpSocket::new_v4()?;
    socket.bind(SocketAddr::from((from, 0)))?;
    socket.connect(server).await
}

/// TCP connections on which nothing is said, or, every second one, half a TLS hello: `count` in all, from these addresses
/// at the same time.
///
/// # Errors
/// The operating system's own: out of files or ports, most likely.
pub async fn half_open(server: SocketAddr, from: &[Ipv4Addr], count: usize) -> anyhow::Result<Vec<TcpStream>> {
    let (mut opening, mut all) = (JoinSet::new(), Vec::new());
    for (place, address) in from.iter().copied().enumerate() {
        let share = count / from.len() + usize::from(place < count % from.len());
        opening.spawn(async move {
            let mut open = Vec::new();
            for number in 0..share {
                let mut stream = connect_from(address, server).await?;
                if number % 2 == 1 {
                    // A server that is full has closed it by now.
                    let _ = stream.write_all(&HALF_A_HELLO).await;
                }
                open.push(stream);
            }
            anyhow::Ok(open)
        });
    }
    while let Some(open) = opening.join_next().await {
        all.extend(open??);
    }
    Ok(all)
}

/// First packets of QUIC connections, each of its own, that would go on if anybody did.
#[derive(Debug)]
pub struct Hellos {
    config: ClientConfig,
    server: SocketAddr,
}

impl Hellos {
    /// Such as this server would take.
    ///
    /// # Errors
    /// When TLS cannot be set up.
    pub fn new(server: SocketAddr) -> anyhow::Result<Self> {
        // A hello with this one group fits into one packet: each costs the server all the work of its half of a handshake.
        let provider = CryptoProvider { kx_groups: vec![aws_lc_rs::kx_group::X25519], ..aws_lc_rs::default_provider() };
        let mut tls = rustls::ClientConfig::builder_with_provider(Arc::new(provider))
            .with_protocol_versions(&[&rustls::version::TLS13])?
            .with_root_certificates(RootCertStore::empty())
            .with_no_client_auth();
        tls.alpn_protocols = vec![ALPN_MEDIA.to_vec()];
        let config = ClientConfig::new(Arc::new(QuicClientConfig::try_from(tls)?));
        Ok(Self { config, server })
    }

    /// One more.
    ///
    /// # Errors
    /// What QUIC says.
    pub fn draw(&self) -> anyhow::Result<Vec<u8>> {
        let (now, mut packet) = (Instant::now(), Vec::new());
        let mut endpoint = Endpoint::new(Arc::new(EndpointConfig::default()), None, false, None);
        let (_, mut connection) = endpoint.connect(now, self.config.clone(), self.server, "localhost")?;
        let sent = connection.poll_transmit(now, 1, &mut packet).context("a connection begins with a packet")?;
        packet.truncate(sent.size);
        Ok(packet)
    }
}

/// Begins so many QUIC connections, each from a port of its own, and listens to no answer. Blocks.
///
/// # Errors
/// The operating system's own.
pub fn hellos(server: SocketAddr, from: &[Ipv4Addr], count: usize) -> anyhow::Result<()> {
    let hellos = Hellos::new(server)?;
    for (_, address) in (0..count).zip(from.iter().copied().cycle()) {
        let socket = std::net::UdpSocket::bind((address, 0))?;
        socket.send_to(&hellos.draw()?, server)?;
    }
    Ok(())
}

/// What a server says first to a QUIC hello from this address, by the kind of packet.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Reply {
    /// It goes on with the handshake.
    HandshakeBegins,
    /// The address is to prove itself first.
    Retry,
    /// Nothing within two seconds, or something else.
    Other,
}

/// Says hello from this address, from a fresh port, and goes no further.
///
/// # Errors
/// The operating system's own.
pub async fn knock(hellos: &Hellos, from: Ipv4Addr) -> anyhow::Result<Reply> {
    let (socket, mut buffer) = (UdpSocket::bind((from, 0)).await?, [0; 2048]);
    socket.connect(hellos.server).await?;
    let hello = hellos.draw()?;
    // As a client does, again after a second: a busy machine may lose a packet, or take its time.
    for _ in 0..4 {
        socket.send(&hello).await?;
        let Ok(answer) = tokio::time::timeout(Duration::from_secs(1), socket.recv(&mut buffer)).await else { continue };
        // RFC 9000, 17.2: a long header, and two bits for its kind.
        return Ok(match (answer, buffer[0] & 0xb0) {
            (Ok(1..), 0x80) => Reply::HandshakeBegins,
            (Ok(1..), 0xb0) => Reply::Retry,
            _ => Reply::Other,
        });
    }
    Ok(Reply::Other)
}

/// Whether nothing has come on this connection, its end included.
#[must_use]
pub fn is_open(stream: &TcpStream) -> bool {
    stream.try_read(&mut [0]).is_err_and(|error| error.kind() == std::io::ErrorKind::WouldBlock)
}

/// How much noise was made.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Noise {
    /// Datagrams, hellos among them.
    pub datagrams: u64,
    /// TCP connections.
    pub connections: u64,
}

/// Noise from one address for so many hundredths of a second: in each, a hundred datagrams that are no packets, five QUIC
/// hellos and two TCP connections that are kept for as long as the server keeps them.
///
/// # Errors
/// The operating system's own.
pub async fn noise(server: SocketAddr, from: Ipv4Addr, hundredths: u32) -> anyhow::Result<Noise> {
    let (socket, hellos) = (UdpSocket::bind((from, 0)).await?, Hellos::new(server)?);
    let (mut rng, mut made, mut kept) = (SeededRng::new(7), Noise::default(), Vec::new());
    let mut ticks = tokio::time::interval(Duration::from_millis(10));
    for _ in 0..hundredths {
        ticks.tick().await;
        for number in 0..100 {
            let packet = rubbish(&mut rng, number, &hellos)?;
            // A full socket is the flood's own loss.
            made.datagrams += u64::from(socket.send_to(&packet, server).await.is_ok());
        }
        for _ in 0..5 {
            // A port of its own, as another host behind the same address would have.
            let socket = UdpSocket::bind((from, 0)).await?;
            made.datagrams += u64::from(socket.send_to(&hellos.draw()?, server).await.is_ok());
        }
        for _ in 0..2 {
            if let Ok(stream) = connect_from(from, server).await {
                made.connections += 1;
                kept.push(stream);
            }
        }
        // Those that the server has closed are no use to anybody; the files are this process's too.
        kept.retain(is_open);
    }
    Ok(made)
}

/// Bytes that a relay must look at and can do nothing with, of five kinds.
fn rubbish(rng: &mut SeededRng, number: u32, hellos: &Hellos) -> anyhow::Result<Vec<u8>> {
    let mut random = |length: usize| {
        let mut bytes = vec![0; length];
        rng.fill_bytes(&mut bytes);
        bytes
    };
    Ok(match number % 50 {
        0 => Vec::new(),
        // A version that nobody speaks: it is answered with those that are.
        1 => [[0xc0, 0xba, 0xdb, 0xad, 0x01].as_slice(), &random(1_195)].concat(),
        // A hello that broke on the way.
        2 => {
            let mut hello = hellos.draw()?;
            if let Some(byte) = hello.get_mut(600) {
                *byte ^= 1;
            }
            hello
        }
        3 => hellos.draw()?.into_iter().take(500).collect(),
        _ => random(1 + usize::try_from(number * 13 % 1_400)?),
    })
}
