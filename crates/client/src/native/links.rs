//! The two connections of a device: a WebSocket that comes back by itself, and a QUIC connection per join.

use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr, UdpSocket};
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use futures_util::{SinkExt, StreamExt};
use quinn::crypto::rustls::QuicClientConfig;
use quinn::{ClientConfig, Connection, Endpoint, EndpointConfig, IdleTimeout, TokioRuntime, TransportConfig, VarInt};
use tokio::sync::{Notify, mpsc};
use tokio::task::JoinHandle;
use tokio::time::timeout;
use tokio_tungstenite::client_async_with_config;
use tokio_tungstenite::tungstenite::Message;
use tokio_tungstenite::tungstenite::client::IntoClientRequest;
use tokio_tungstenite::tungstenite::http::HeaderValue;
use tokio_tungstenite::tungstenite::http::header::AUTHORIZATION;
use tokio_tungstenite::tungstenite::protocol::WebSocketConfig;
use tracing::debug;
use undertone_keys::Secret;
use undertone_keys::labels::Label;
use undertone_media::HopExporter;
use undertone_protocol::control::{ToMember, ToRelay, Unframer};
use undertone_protocol::limits::{LIVENESS, MAX_SIGNAL};
use undertone_protocol::signal::{Reason, ToDevice, ToServer};
use undertone_protocol::{VERSION, labels};

use super::connector::{Connector, host};
use super::directory::Directory;
use super::error::ExitClass;

/// Messages waiting for the server.
const OUTBOX: usize = 256;
/// Pauses between attempts to connect: short enough to be back within seconds of the server's return.
const FIRST_PAUSE: Duration = Duration::from_millis(200);
const LONGEST_PAUSE: Duration = Duration::from_secs(2);
/// Say something on a silent WebSocket.
const KEEP_ALIVE: Duration = Duration::from_secs(8);
/// A WebSocket on which nothing comes for so long is dead.
const SILENCE: Duration = Duration::from_secs(25);
/// Addresses of a name that are tried.
const MAX_ADDRESSES: usize = 4;
/// How much later than the one before an address is tried.
const STAGGER: Duration = Duration::from_millis(150);
/// One attempt to reach the relay.
const RELAY_ATTEMPT: Duration = Duration::from_millis(1500);

/// What a WebSocket reports.
#[derive(Debug)]
pub(super) enum SignalEvent {
    Up,
    Down,
    /// The server can no longer be believed to be ours; why, for people.
    Distrusted(String),
    Message(ToDevice),
}

/// Keeps a WebSocket to the server until dropped.
#[derive(Debug)]
pub(super) struct SignalLink {
    outbox: mpsc::Sender<ToServer>,
    /// Ends the pause before the next attempt.
    hurry: Arc<Notify>,
    task: JoinHandle<()>,
}

impl SignalLink {
    pub(super) fn start(directory: Arc<Directory>, events: mpsc::Sender<SignalEvent>) -> Self {
        let (outbox, messages) = mpsc::channel(OUTBOX);
        let hurry = Arc::new(Notify::new());
        let task = tokio::spawn(keep_signal(directory, events, messages, hurry.clone()));
        Self { outbox, hurry, task }
    }

    /// The server was just heard of by another way: whoever waits before the next attempt need not.
    pub(super) fn hurry(&self) {
        self.hurry.notify_waiters();
    }

    /// Sends, if there is a connection. What is lost is sent again by the call machine.
    pub(super) fn send(&self, message: ToServer) {
        if self.outbox.try_send(message).is_err() {
            debug!("a signal was dropped: the server is slow or away");
        }
    }
}

impl Drop for SignalLink {
    fn drop(&mut self) {
        self.task.abort();
    }
}

async fn keep_signal(
    directory: Arc<Directory>,
    events: mpsc::Sender<SignalEvent>,
    mut messages: mpsc::Receiver<ToServer>,
    hurry: Arc<Notify>,
) {
    let (mut pause, mut told) = (FIRST_PAUSE, String::new());
    loop {
        match run_signal(&directory, &events, &mut messages).await {
            Ended::ForGood => return,
            Ended::AfterWelcome => pause = FIRST_PAUSE,
            Ended::Early => {
                // The server may be another process with another TLS key by now.
                if let Err(error) = directory.reconnect().await
                    && error.class() == ExitClass::ProofFailed
                {
                    // Said once for each reason, and tried again: it may be the real one that comes back.
                    let reason = error.to_string();
                    if reason != told && events.send(SignalEvent::Distrusted(reason.clone())).await.is_err() {
                        return;
                    }
                    told = reason;
                }
                pause = (pause * 2).min(LONGEST_PAUSE);
            }
        }
        if events.send(SignalEvent::Down).await.is_err() {
            return;
        }
        tokio::select! {
            () = tokio::time::sleep(pause) => {}
            () = hurry.notified() => pause = FIRST_PAUSE,
        }
        while messages.try_recv().is_ok() {}
    }
}

enum Ended {
    Early,
    AfterWelcome,
    /// The server said that coming back is no use.
    ForGood,
}

async fn run_signal(
    directory: &Directory,
    events: &mpsc::Sender<SignalEvent>,
    messages: &mut mpsc::Receiver<ToServer>,
) -> Ended {
    let connector = directory.connector().await;
    let Ok(stream) = connector.tcp().await else { return Ended::Early };
    let request = format!("wss://{}/v1/signal", connector.address()).into_client_request();
    let bearer = HeaderValue::try_from(format!("Bearer {}", directory.token().to_text()));
    let (Ok(mut request), Ok(mut bearer)) = (request, bearer) else { return Ended::ForGood };
    bearer.set_sensitive(true);
    request.headers_mut().insert(AUTHORIZATION, bearer);
    let config = WebSocketConfig::default().max_message_size(Some(MAX_SIGNAL)).max_frame_size(Some(MAX_SIGNAL));
    let connecting = client_async_with_config(request, stream, Some(config));
    let mut socket = match timeout(Duration::from_secs(5), connecting).await {
        Ok(Ok((socket, _))) => socket,
        Ok(Err(tokio_tungstenite::tungstenite::Error::Http(response))) if response.status() == 401 => {
            let revoked = ToDevice::Closing { reason: Reason::Revoked, version: VERSION };
            let _ = events.send(SignalEvent::Message(revoked)).await;
            return Ended::ForGood;
        }
        Ok(Err(_)) | Err(_) => return Ended::Early,
    };
    let hello = ToServer::Hello { version: VERSION };
    if socket.send(Message::Binary(hello.encode().into())).await.is_err() {
        return Ended::Early;
    }
    if events.send(SignalEvent::Up).await.is_err() {
        return Ended::ForGood;
    }
    let (mut ended, mut heard) = (Ended::Early, tokio::time::Instant::now());
    let mut ticks = tokio::time::interval(KEEP_ALIVE);
    ticks.reset();
    loop {
        let sent = tokio::select! {
            message = messages.recv() => match message {
                None => return Ended::ForGood,
                Some(message) => socket.send(Message::Binary(message.encode().into())).await,
            },
            _ = ticks.tick() => {
                if heard.elapsed() > SILENCE { return ended }
                socket.send(Message::Binary(ToServer::KeepAlive.encode().into())).await
            }
            message = socket.next() => {
                heard = tokio::time::Instant::now();
                let Some(Ok(message)) = message else { return ended };
                let Message::Binary(bytes) = message else { continue };
                let Ok(message) = ToDevice::decode(&bytes) else { return ended };
                let over = match &message {
                    ToDevice::Welcome { .. } => { ended = Ended::AfterWelcome; false }
                    ToDevice::Closing { reason: Reason::Replaced | Reason::Revoked | Reason::Version, .. } => true,
                    _ => false,
                };
                if events.send(SignalEvent::Message(message)).await.is_err() || over {
                    return Ended::ForGood;
                }
                continue;
            }
        };
        if sent.is_err() {
            return ended;
        }
    }
}

/// What a relay connection reports; `generation` tells one from the next.
#[derive(Debug)]
pub(super) struct RelayEvent {
    pub(super) generation: u64,
    pub(super) kind: RelayEventKind,
}

#[derive(Debug)]
pub(super) enum RelayEventKind {
    Up { connection: Connection, binding: [u8; 32], hop: HopExporter },
    Control(ToMember),
    Datagram(Bytes),
    Down,
}

/// One connection to the relay, or the attempt to make one. Ends in order when dropped: what was queued is sent.
#[derive(Debug)]
pub(super) struct RelayLink {
    pub(super) generation: u64,
    control: mpsc::Sender<ToRelay>,
    pub(super) connection: Option<Connection>,
}

impl RelayLink {
    pub(super) fn open(generation: u64, connector: Connector, events: mpsc::Sender<RelayEvent>) -> Self {
        let (control, outbox) = mpsc::channel(64);
        tokio::spawn(async move {
            let report = |kind| events.send(RelayEvent { generation, kind });
            if let Err(reason) = run_relay(generation, &connector, &events, outbox).await {
                debug!(reason, "relay connection ended");
            }
            let _ = report(RelayEventKind::Down).await;
        });
        Self { generation, control, connection: None }
    }

    pub(super) fn send(&self, message: ToRelay) {
        let _ = self.control.try_send(message);
    }
}

fn endpoint(remote: SocketAddr) -> std::io::Result<Endpoint> {
    let any = match remote {
        SocketAddr::V4(_) => SocketAddr::from((Ipv4Addr::UNSPECIFIED, 0)),
        SocketAddr::V6(_) => SocketAddr::from((Ipv6Addr::UNSPECIFIED, 0)),
    };
    let mut config = EndpointConfig::default();
    config.grease_quic_bit(false);
    Endpoint::new(config, None, UdpSocket::bind(any)?, Arc::new(TokioRuntime))
}

fn client_config(connector: &Connector) -> Result<ClientConfig, &'static str> {
    let tls = connector.media().map_err(|_| "TLS")?;
    let crypto = QuicClientConfig::try_from(tls).map_err(|_| "QUIC needs AES-128-GCM")?;
    let mut config = ClientConfig::new(Arc::new(crypto));
    let mut transport = TransportConfig::default();
    transport
        .max_idle_timeout(IdleTimeout::try_from(LIVENESS * 2).ok())
        // A hundred frames: what is older than that is not worth sending.
        .datagram_send_buffer_size(32 * 1024)
        .datagram_receive_buffer_size(Some(256 * 1024))
        .max_concurrent_bidi_streams(VarInt::from_u32(0))
        .max_concurrent_uni_streams(VarInt::from_u32(0));
    config.transport_config(Arc::new(transport));
    Ok(config)
}

/// A handshake with the relay: endpoint and connection. A name with several addresses is tried at all of them, one a
/// little after the other, and the first that answers is taken.
async fn reach_relay(connector: &Connector) -> Result<(Endpoint, Connection), &'static str> {
    let found = timeout(RELAY_ATTEMPT, tokio::net::lookup_host(connector.address())).await;
    let addresses = found.map_err(|_| "the name is not resolved")?.map_err(|_| "no such host")?;
    let attempts = addresses.take(MAX_ADDRESSES).zip(0..).map(|(remote, place)| {
        Box::pin(async move {
            tokio::time::sleep(STAGGER * place).await;
            let endpoint = endpoint(remote).map_err(|_| "no UDP socket")?;
            let connecting = endpoint
                .connect_with(client_config(connector)?, remote, host(connector.address()))
                .map_err(|_| "not a host name")?;
            let attempt = timeout(RELAY_ATTEMPT, connecting).await;
            let connection = attempt.map_err(|_| "no answer")?.map_err(|_| "handshake failed")?;
            Ok((endpoint, connection))
        })
    });
    let attempts: Vec<_> = attempts.collect();
    if attempts.is_empty() {
        return Err("no such host");
    }
    futures_util::future::select_ok(attempts).await.map(|(reached, _)| reached)
}

/// Whether UDP gets through to the relay, and how fast.
pub(super) async fn probe_relay(connector: &Connector) -> Result<Duration, &'static str> {
    let (endpoint, connection) = reach_relay(connector).await?;
    let rtt = connection.rtt();
    connection.close(VarInt::from_u32(0), b"");
    let _ = timeout(Duration::from_millis(300), endpoint.wait_idle()).await;
    Ok(rtt)
}

async fn run_relay(
    generation: u64,
    connector: &Connector,
    events: &mpsc::Sender<RelayEvent>,
    mut outbox: mpsc::Receiver<ToRelay>,
) -> Result<(), &'static str> {
    let (endpoint, connection) = reach_relay(connector).await?;
    let (mut binding, mut exported) = ([0; 32], true);
    let mut export = |out: &mut [u8; 32], label: Label| {
        exported &= connection.export_keying_material(out, label.as_bytes(), &[]).is_ok();
    };
    export(&mut binding, labels::CHANNEL_BINDING);
    let hop = HopExporter::new(Secret::filled_by(|out| export(out, labels::HOP)));
    if !exported {
        return Err("no exporter");
    }
    let opened = timeout(RELAY_ATTEMPT, connection.open_bi()).await;
    let (mut send, mut receive) = opened.map_err(|_| "no control stream")?.map_err(|_| "connection lost")?;
    let report = |kind| events.send(RelayEvent { generation, kind });
    if report(RelayEventKind::Up { connection: connection.clone(), binding, hop }).await.is_err() {
        return Ok(());
    }
    let writing = async {
        while let Some(message) = outbox.recv().await {
            let frame = message.frame().ok_or("a control message is too long")?;
            send.write_all(&frame).await.map_err(|_| "connection lost")?;
        }
        // The driver let go: say what is left to say and wait until it was heard.
        let _ = send.finish();
        let _ = timeout(Duration::from_millis(300), send.stopped()).await;
        Ok(())
    };
    let reading = async {
        let (mut unframer, mut buffer) = (Unframer::default(), vec![0; 4096]);
        loop {
            while let Some(body) = unframer.next_message().map_err(|_| "malformed control stream")? {
                let message = ToMember::decode(&body).map_err(|_| "malformed control message")?;
                if report(RelayEventKind::Control(message)).await.is_err() {
                    return Ok(());
                }
            }
            match receive.read(&mut buffer).await {
                Ok(Some(length)) => unframer.push(buffer.get(..length).unwrap_or_default()),
                Ok(None) | Err(_) => return Err("connection lost"),
            }
        }
    };
    let listening = async {
        while let Ok(packet) = connection.read_datagram().await {
            if report(RelayEventKind::Datagram(packet)).await.is_err() {
                return Ok(());
            }
        }
        Err("connection lost")
    };
    let result = tokio::select! {
        result = writing => result,
        result = reading => result,
        result = listening => result,
    };
    connection.close(VarInt::from_u32(0), b"");
    let _ = timeout(Duration::from_millis(300), endpoint.wait_idle()).await;
    result
}
