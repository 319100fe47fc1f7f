//! How QUIC is spoken, with the reasons.

use std::sync::Arc;
use std::time::Duration;

use quinn_proto::crypto::rustls::QuicServerConfig;
use quinn_proto::{
    AckFrequencyConfig, ConnectionIdGenerator, EndpointConfig, IdleTimeout, ServerConfig, TransportConfig, VarInt,
};
use undertone_protocol::limits;

use super::StartError;

/// Bytes of the control stream that a member may send ahead: four of the longest messages.
const CONTROL_WINDOW: u32 = 64 * 1024;
/// Bytes that wait for a member's acknowledgement at most.
const SEND_WINDOW: u64 = 256 * 1024;
/// Packets a member may take before it acknowledges: acknowledgements of a packet each are most of what a relay receives.
const ACK_EVERY: u32 = 10;

/// How long it may keep an acknowledgement back: whoever hears one person has 50 packets a second, and would else acknowledge
/// every second of them. What is lost is sent again by so much later, where nothing is sent behind it.
const ACK_DELAY: Duration = Duration::from_millis(100);

pub(super) fn server(tls: rustls::ServerConfig) -> Result<Arc<ServerConfig>, StartError> {
    let crypto = QuicServerConfig::try_from(tls).map_err(|error| StartError::Tls(error.to_string()))?;
    let idle = IdleTimeout::try_from(limits::LIVENESS * 2).map_err(|error| StartError::Tls(error.to_string()))?;
    let mut acknowledge = AckFrequencyConfig::default();
    acknowledge.ack_eliciting_threshold(VarInt::from_u32(ACK_EVERY)).max_ack_delay(Some(ACK_DELAY));
    let mut transport = TransportConfig::default();
    transport
        .max_idle_timeout(Some(idle))
        // The rooms keep their own bounded queues; QUIC's is only for what is about to leave.
        .datagram_send_buffer_size(32 * 1024)
        .datagram_receive_buffer_size(Some(256 * 1024))
        // One stream of short messages: whoever leaves a gap in it parks little here.
        .stream_receive_window(VarInt::from_u32(CONTROL_WINDOW))
        .receive_window(VarInt::from_u32(CONTROL_WINDOW))
        .send_window(SEND_WINDOW)
        .ack_frequency_config(Some(acknowledge))
        .max_concurrent_bidi_streams(VarInt::from_u32(1))
        .max_concurrent_uni_streams(VarInt::from_u32(0));
    let mut server = ServerConfig::with_crypto(Arc::new(crypto));
    server.transport_config(Arc::new(transport));
    Ok(Arc::new(server))
}

/// `ids` makes the maker of the connection ids of one endpoint.
pub(super) fn endpoint(
    ids: impl Fn() -> Box<dyn ConnectionIdGenerator> + Send + Sync + 'static,
) -> Arc<EndpointConfig> {
    let mut endpoint = EndpointConfig::default();
    endpoint.cid_generator(ids);
    // Another protocol will share this socket one day and is told apart by this bit (RFC 9443).
    endpoint.grease_quic_bit(false);
    Arc::new(endpoint)
}
