//! A relay on loopback with its real shell, and members over real QUIC.

#![allow(dead_code, reason = "each test file uses its part")]

use std::net::{IpAddr, Ipv4Addr, SocketAddr, UdpSocket};
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use getrandom::SysRng;
use quinn::crypto::rustls::QuicClientConfig;
use quinn::{ClientConfig, Connection, Endpoint};
use rand_core::UnwrapErr;
use rustls::RootCertStore;
use rustls::crypto::aws_lc_rs;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, PrivatePkcs8KeyDer};
use tokio::sync::mpsc;
use undertone_keys::agreement::EphemeralKey;
use undertone_keys::envelope::Address;
use undertone_keys::sign::{Device, Server, SigningKey};
use undertone_keys::{CallId, DeviceId, JoinId, RoomId, UserId, WallTime};
use undertone_media::packet::{Codec, Flags, Kind};
use undertone_media::{Context, FrameInfo, MediaHeader};
use undertone_protocol::control::{ToMember, ToRelay, Unframer};
use undertone_protocol::grant::Rights;
use undertone_protocol::{ALPN_MEDIA, Grant, Join, Protection, VERSION, labels};
use undertone_relay::shell::{Config, Failed, Relay, bind};
use undertone_relay::{Limits, Stats};

/// How long anything may take that should come at once: a busy machine's, not ours.
const PATIENCE: Duration = Duration::from_secs(20);

pub(crate) struct Live {
    pub(crate) relay: Relay,
    pub(crate) address: SocketAddr,
    server: SigningKey<Server>,
    certificate: CertificateDer<'static>,
}

/// One device in a room.
pub(crate) struct Member {
    pub(crate) endpoint: Endpoint,
    pub(crate) connection: Connection,
    pub(crate) index: u16,
    pub(crate) grant_hash: [u8; 32],
    pub(crate) who: Address,
    control: quinn::SendStream,
    /// What the relay said after that it let this one in.
    pub(crate) told: mpsc::UnboundedReceiver<ToMember>,
}

pub(crate) const INFO: FrameInfo =
    FrameInfo { kind: Kind::Audio, codec: Codec::OPUS_32K, context: Context::MAIN_AUDIO, captured_ms: 0 };

pub(crate) fn header(sequence: u32) -> MediaHeader {
    let flags = Flags::default();
    let (kind, codec) = (Kind::Audio, Codec::OPUS_32K);
    MediaHeader { flags, kind, codec, stream: 0, fec_ratio: 0, sequence, timestamp_ms: 0, fec_block: 0 }
}

impl Live {
    pub(crate) fn start(shards: usize, limits: Limits) -> Self {
        let server = SigningKey::<Server>::generate(&mut UnwrapErr(SysRng));
        let made = rcgen::generate_simple_self_signed(vec!["localhost".to_owned()]).unwrap();
        let certificate = made.cert.der().clone();
        let key = PrivateKeyDer::from(PrivatePkcs8KeyDer::from(made.signing_key.serialize_der()));
        let mut tls = rustls::ServerConfig::builder_with_provider(Arc::new(aws_lc_rs::default_provider()))
            .with_protocol_versions(&[&rustls::version::TLS13])
            .unwrap()
            .with_no_client_auth()
            .with_single_cert(vec![certificate.clone()], key)
            .unwrap();
        tls.alpn_protocols = vec![ALPN_MEDIA.to_vec()];
        let sockets = bind(SocketAddr::from(([0, 0, 0, 0], 0)), shards).unwrap();
        let address = SocketAddr::from((Ipv4Addr::LOCALHOST, sockets[0].local_addr().unwrap().port()));
        let failed = Failed(Box::new(|| {}));
        let config = Config { server: *server.public(), limits, tap: None, failed };
        let relay = Relay::start(sockets, tls, config).unwrap();
        Self { relay, address, server, certificate }
    }

    /// A client's endpoint at this address of this machine's.
    pub(crate) fn endpoint(&self, at: [u8; 4]) -> Endpoint {
        let mut roots = RootCertStore::empty();
        roots.add(self.certificate.clone()).unwrap();
        let mut tls = rustls::ClientConfig::builder_with_provider(Arc::new(aws_lc_rs::default_provider()))
            .with_protocol_versions(&[&rustls::version::TLS13])
            .unwrap()
            .with_root_certificates(roots)
            .with_no_client_auth();
        tls.alpn_protocols = vec![ALPN_MEDIA.to_vec()];
        let mut endpoint = Endpoint::client(SocketAddr::from((at, 0))).unwrap();
        endpoint.set_default_client_config(ClientConfig::new(Arc::new(QuicClientConfig::try_from(tls).unwrap())));
        endpoint
    }

    pub(crate) async fn connect(&self, endpoint: &Endpoint) -> Result<Connection, quinn::ConnectionError> {
        tokio::time::timeout(PATIENCE, endpoint.connect(self.address, "localhost").unwrap())
            .await
            .expect("no handshake")
    }

    /// A new device of `user` in a room.
    pub(crate) async fn enter(&self, user: &str, room: RoomId, protection: Protection) -> Member {
        self.enter_from([127, 0, 0, 1], user, room, protection).await
    }

    pub(crate) async fn enter_from(&self, at: [u8; 4], user: &str, room: RoomId, protection: Protection) -> Member {
        let device = SigningKey::<Device>::generate(&mut UnwrapErr(SysRng));
        self.enter_as(&device, at, user, room, protection).await
    }

    /// This device of `user` in a room.
    pub(crate) async fn enter_as(
        &self,
        device: &SigningKey<Device>,
        at: [u8; 4],
        user: &str,
        room: RoomId,
        protection: Protection,
    ) -> Member {
        let endpoint = self.endpoint(at);
        let connection = self.connect(&endpoint).await.unwrap();
        let call = CallId::from_bytes([7; 16]);
        let who = Address { user: UserId::parse(user, "x").unwrap(), device: DeviceId::of(device.public()) };
        let grant = Grant {
            room,
            call,
            member: who.clone(),
            identity: *device.public(),
            protection,
            rights: Rights { speak: true, moderate: false },
            expires: WallTime::from_unix(u64::MAX / 2),
            audience: None,
        }
        .sign(&self.server);
        let grant_hash = Grant::hash(&grant);
        let mut binding = [0; 32];
        connection.export_keying_material(&mut binding, labels::CHANNEL_BINDING.as_bytes(), &[]).unwrap();
        let join = Join {
            grant: grant_hash,
            call,
            join: JoinId::random(&mut UnwrapErr(SysRng)),
            ephemeral: Some(*EphemeralKey::generate(&mut UnwrapErr(SysRng)).public()),
            binding,
            min_index: 0,
        }
        .sign(device);
        let (mut control, mut answers) = connection.open_bi().await.unwrap();
        control.write_all(&ToRelay::Join { version: VERSION, grant, join }.frame().unwrap()).await.unwrap();
        let (say, mut told) = mpsc::unbounded_channel();
        tokio::spawn(async move {
            let (mut unframer, mut buffer) = (Unframer::default(), [0; 4096]);
            while let Ok(Some(length)) = answers.read(&mut buffer).await {
                unframer.push(&buffer[..length]);
                while let Ok(Some(body)) = unframer.next_message() {
                    let _ = say.send(ToMember::decode(&body).unwrap());
                }
            }
        });
        let first = tokio::time::timeout(PATIENCE, told.recv()).await.expect("no answer to a join").unwrap();
        let ToMember::Joined { index, .. } = first else { panic!("not let in: {first:?}") };
        Member { endpoint, connection, index, grant_hash, who, control, told }
    }

    /// The relay's counts once they are what is waited for, or as they are after a long while.
    pub(crate) async fn stats_when(&self, mut wanted: impl FnMut(&Stats) -> bool) -> Stats {
        let until = tokio::time::Instant::now() + PATIENCE;
        loop {
            let stats = self.relay.stats();
            if wanted(&stats) || tokio::time::Instant::now() > until {
                return stats;
            }
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    }
}

impl Member {
    pub(crate) fn send(&self, packet: Vec<u8>) {
        self.connection.send_datagram(Bytes::from(packet)).unwrap();
    }

    pub(crate) async fn ping(&mut self) {
        self.control.write_all(&ToRelay::Ping { sent_ms: 0 }.frame().unwrap()).await.unwrap();
    }

    /// Packets until `enough` of them came, or a long while after.
    pub(crate) async fn hear(&self, enough: usize) -> Vec<Bytes> {
        let mut heard = Vec::new();
        while heard.len() < enough {
            match tokio::time::timeout(PATIENCE, self.connection.read_datagram()).await {
                Ok(Ok(packet)) => heard.push(packet),
                Ok(Err(_)) | Err(_) => break,
            }
        }
        heard
    }

    /// Goes on from another port of this machine, as behind a router that forgot it.
    pub(crate) fn change_port(&self) {
        let here = IpAddr::from(Ipv4Addr::LOCALHOST);
        self.endpoint.rebind(UdpSocket::bind((here, 0)).unwrap()).unwrap();
    }
}
