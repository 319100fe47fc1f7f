//! A member's two connections: a WebSocket to the server and QUIC to the relay, spoken as the shipped client speaks them. What is
//! lean about them: many share a UDP socket, and nothing comes back by itself.

use std::net::{IpAddr, Ipv4Addr, SocketAddr, UdpSocket};
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, anyhow};
use bytes::Bytes;
use futures_util::stream::{SplitSink, SplitStream};
use futures_util::{SinkExt, StreamExt};
use quinn::crypto::rustls::QuicClientConfig;
use quinn::{ClientConfig, Connection, Endpoint, EndpointConfig, IdleTimeout, TokioRuntime, TransportConfig, VarInt};
use quinn_udp::{UdpSockRef, UdpSocketState};
use tokio::net::TcpStream;
use tokio::sync::mpsc;
use tokio::time::timeout;
use tokio_rustls::client::TlsStream;
use tokio_tungstenite::WebSocketStream;
use tokio_tungstenite::tungstenite::Message;
use tokio_tungstenite::tungstenite::client::IntoClientRequest;
use tokio_tungstenite::tungstenite::http::HeaderValue;
use tokio_tungstenite::tungstenite::http::header::AUTHORIZATION;
use undertone_keys::labels::Label;
use undertone_keys::{AccessToken, Secret};
use undertone_media::HopExporter;
use undertone_protocol::control::{ToMember, ToRelay, Unframer};
use undertone_protocol::limits::LIVENESS;
use undertone_protocol::signal::ToServer;
use undertone_protocol::{ALPN_MEDIA, VERSION, labels};
use undertone_testkit::{flood, tls};

/// A message to the server at least so often.
const KEEP_ALIVE: Duration = Duration::from_secs(8);
/// How long the relay may take for a handshake and a stream.
const PATIENCE: Duration = Duration::from_secs(10);
/// How long a goodbye may take.
const GOODBYE: Duration = Duration::from_millis(300);
/// What the system may hold of an address's packets while this process is busy; it may grant less.
const SOCKET_BUFFER: usize = 4 * 1024 * 1024;

pub(crate) type Socket = WebSocketStream<TlsStream<TcpStream>>;

/// How somebody gets to the server, and from where.
#[derive(Clone)]
pub(crate) struct Route {
    pub(crate) server: SocketAddr,
    from: Ipv4Addr,
    endpoint: Endpoint,
    config: ClientConfig,
}

impl Route {
    /// For all who come from this address.
    pub(crate) fn new(server: SocketAddr, from: Ipv4Addr) -> anyhow::Result<Self> {
        let socket = UdpSocket::bind((IpAddr::V4(from), 0))?;
        let state = UdpSocketState::new(UdpSockRef::from(&socket))?;
        let _ = state.set_recv_buffer_size(UdpSockRef::from(&socket), SOCKET_BUFFER);
        let _ = state.set_send_buffer_size(UdpSockRef::from(&socket), SOCKET_BUFFER);
        let mut own = EndpointConfig::default();
        own.grease_quic_bit(false);
        let endpoint = Endpoint::new(own, None, socket, Arc::new(TokioRuntime))?;
        let mut tls = tls::believing_anybody(&rustls::version::TLS13)?;
        tls.alpn_protocols = vec![ALPN_MEDIA.to_vec()];
        let mut transport = TransportConfig::default();
        // As the shipped client has it (crates/client/src/native/links.rs).
        transport
            .max_idle_timeout(IdleTimeout::try_from(LIVENESS * 2).ok())
            .datagram_send_buffer_size(32 * 1024)
            .datagram_receive_buffer_size(Some(256 * 1024))
            .max_concurrent_bidi_streams(VarInt::from_u32(0))
            .max_concurrent_uni_streams(VarInt::from_u32(0));
        let mut config = ClientConfig::new(Arc::new(QuicClientConfig::try_from(tls)?));
        config.transport_config(Arc::new(transport));
        Ok(Self { server, from, endpoint, config })
    }

    /// The WebSocket of the device with this token, after its hello: what to say there, and what comes.
    pub(crate) async fn signal(
        &self,
        token: &AccessToken,
    ) -> anyhow::Result<(mpsc::UnboundedSender<ToServer>, SplitStream<Socket>)> {
        let stream = flood::connect_from(self.from, self.server).await?;
        let stream = tls::over(stream, &rustls::version::TLS13).await?;
        let mut request = format!("wss://{}/v1/signal", self.server).into_client_request()?;
        let bearer = HeaderValue::try_from(format!("Bearer {}", token.to_text()))?;
        request.headers_mut().insert(AUTHORIZATION, bearer);
        let (socket, _) = tokio_tungstenite::client_async(request, stream).await?;
        let (sink, stream) = socket.split();
        let (outbox, messages) = mpsc::unbounded_channel();
        outbox.send(ToServer::Hello { version: VERSION })?;
        tokio::spawn(write(sink, messages));
        Ok((outbox, stream))
    }
}

/// Until the member lets go, or the server does.
async fn write(mut sink: SplitSink<Socket, Message>, mut messages: mpsc::UnboundedReceiver<ToServer>) {
    loop {
        let message = match timeout(KEEP_ALIVE, messages.recv()).await {
            Ok(Some(message)) => message,
            Ok(None) => break,
            Err(_) => ToServer::KeepAlive,
        };
        if sink.send(Message::Binary(message.encode().into())).await.is_err() {
            return;
        }
    }
    let _ = sink.close().await;
}

/// What a relay connection reports; `generation` tells one from the next.
pub(super) struct Report {
    pub(super) generation: u64,
    pub(super) what: What,
}

/// See [`Report`].
pub(super) enum What {
    Up { connection: Connection, binding: [u8; 32], hop: HopExporter },
    Control(ToMember),
    Datagram(Bytes),
    Down,
}

/// One connection to the relay. Ends in order when dropped: what was queued is sent.
pub(super) struct RelayLink {
    pub(super) generation: u64,
    pub(super) connection: Option<Connection>,
    control: mpsc::UnboundedSender<ToRelay>,
}

impl RelayLink {
    pub(super) fn open(generation: u64, route: Route, reports: mpsc::Sender<Report>) -> Self {
        let (control, outbox) = mpsc::unbounded_channel();
        tokio::spawn(async move {
            // Why it ended is of no use here: whoever measures sees that somebody is missing.
            let _ = run(generation, &route, &reports, outbox).await;
            let _ = reports.send(Report { generation, what: What::Down }).await;
        });
        Self { generation, connection: None, control }
    }

    pub(super) fn send(&self, message: ToRelay) {
        let _ = self.control.send(message);
    }
}

async fn run(
    generation: u64,
    route: &Route,
    reports: &mpsc::Sender<Report>,
    mut outbox: mpsc::UnboundedReceiver<ToRelay>,
) -> anyhow::Result<()> {
    let connecting = route.endpoint.connect_with(route.config.clone(), route.server, "localhost")?;
    let connection = timeout(PATIENCE, connecting).await??;
    let (mut binding, mut exported) = ([0; 32], true);
    let mut export = |out: &mut [u8; 32], label: Label| {
        exported &= connection.export_keying_material(out, label.as_bytes(), &[]).is_ok();
    };
    export(&mut binding, labels::CHANNEL_BINDING);
    let hop = HopExporter::new(Secret::filled_by(|out| export(out, labels::HOP)));
    anyhow::ensure!(exported, "no exporter");
    let (mut send, mut receive) = timeout(PATIENCE, connection.open_bi()).await??;
    let report = |what| reports.send(Report { generation, what });
    report(What::Up { connection: connection.clone(), binding, hop }).await?;
    let writing = async {
        while let Some(message) = outbox.recv().await {
            send.write_all(&message.frame().context("a control message is too long")?).await?;
        }
        let _ = send.finish();
        let _ = timeout(GOODBYE, send.stopped()).await;
        anyhow::Ok(())
    };
    let reading = async {
        let (mut unframer, mut buffer) = (Unframer::default(), vec![0; 4096]);
        loop {
            while let Some(body) = unframer.next_message().map_err(|_| anyhow!("malformed control stream"))? {
                let message = ToMember::decode(&body).map_err(|_| anyhow!("malformed control message"))?;
                report(What::Control(message)).await?;
            }
            let length = receive.read(&mut buffer).await?.context("the relay has closed its stream")?;
            unframer.push(buffer.get(..length).unwrap_or_default());
        }
    };
    let listening = async {
        loop {
            report(What::Datagram(connection.read_datagram().await?)).await?;
        }
    };
    let result = tokio::select! {
        result = writing => result,
        result = reading => result,
        result = listening => result,
    };
    connection.close(VarInt::from_u32(0), b"");
    result
}
