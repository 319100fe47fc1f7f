//! Counts for an operator's monitoring, in Prometheus' text format, on a port of their own that only this machine
//! reaches. Totals and gauges: nobody's name, address or call is in them.

use std::fmt::Write as _;
use std::net::SocketAddr;
use std::sync::Arc;

use axum::Router;
use axum::extract::State;
use axum::http::header;
use axum::response::IntoResponse;
use axum::routing::get;
use tokio::net::TcpListener;
use tokio_util::sync::CancellationToken;
use undertone_relay::Stats;
use undertone_relay::shell::Counts;

use crate::delivery::Delivered;
use crate::http::Shared;
use crate::listener::Places;
use crate::store::Sqlite;

/// What is counted where.
pub(crate) struct Sources {
    pub(crate) shared: Arc<Shared<Sqlite>>,
    pub(crate) relay: Counts,
    pub(crate) places: Arc<Places>,
}

/// Serves `/metrics` until told to stop.
pub(crate) async fn run(listener: TcpListener, sources: Sources, stop: CancellationToken) {
    let router = Router::new().route("/metrics", get(show)).with_state(Arc::new(sources));
    let served = axum::serve(listener, router).with_graceful_shutdown(async move { stop.cancelled().await });
    if let Err(error) = served.await {
        tracing::warn!(%error, "metrics are not served any more");
    }
}

async fn show(State(sources): State<Arc<Sources>>) -> impl IntoResponse {
    let Sources { shared, relay, places } = &*sources;
    let delivered = (shared.groups.delivered(), shared.packages.claims());
    let devices = (shared.board.connected(), shared.desk.in_flight());
    let text = text(&relay.shards(), &relay.now(), devices, places.count(), delivered);
    ([(header::CONTENT_TYPE, "text/plain; version=0.0.4")], text)
}

/// Whether only this machine can ask there.
#[must_use]
pub fn is_private(address: &SocketAddr) -> bool {
    address.ip().to_canonical().is_loopback()
}

fn text(
    shards: &[Stats],
    relay: &Stats,
    (devices, exchanges): (usize, usize),
    tcp: (usize, usize),
    (groups, claims): (Delivered, u64),
) -> String {
    let gauge = |n: usize| u64::try_from(n).unwrap_or(u64::MAX);
    let rows = [
        ("relay_packets_received_total", "counter", "Packets taken from members.", relay.received),
        ("relay_packets_queued_total", "counter", "Packets put into members' queues.", relay.queued),
        ("relay_packets_dropped_total", "counter", "Packets dropped since their receiver was slow.", relay.dropped),
        ("relay_packets_refused_total", "counter", "Packets that were none, or not their sender's own.", relay.refused),
        ("relay_packets_excess_total", "counter", "Packets beyond what their sender may send.", relay.excess),
        ("relay_packets_opened_total", "counter", "Packets opened: those of hop rooms, no others.", relay.opened),
        ("relay_joins_total", "counter", "Joins.", relay.joins),
        ("relay_rooms", "gauge", "Rooms, those that were left a short while ago among them.", relay.rooms),
        ("relay_members", "gauge", "Members of rooms.", relay.members),
        (
            "relay_connections",
            "gauge",
            "QUIC connections, those that have shown no papers yet among them.",
            relay.connections,
        ),
        ("tcp_connections", "gauge", "TCP connections that are served.", gauge(tcp.0)),
        ("tcp_half_open", "gauge", "TCP connections whose handshake is not done.", gauge(tcp.1)),
        ("devices_connected", "gauge", "Devices whose signalling is connected.", gauge(devices)),
        (
            "exchanges_in_flight",
            "gauge",
            "Registrations and logins under way, or failed a moment ago.",
            gauge(exchanges),
        ),
        (
            "group_commits_total",
            "counter",
            "Commits of groups that were taken, their beginnings among them.",
            groups.commits,
        ),
        ("group_commits_lost_total", "counter", "Commits that came second to their epoch.", groups.lost),
        ("group_welcomes_total", "counter", "Devices that commits let into groups.", groups.welcomes),
        (
            "group_attests_disputed_total",
            "counter",
            "Members that saw something else than the group info at hand.",
            groups.disputes,
        ),
        (
            "group_epochs_given_back_total",
            "counter",
            "Epochs that were given back, as members could not take the commit that had won them.",
            groups.given_back,
        ),
        (
            "groups_withdrawn_total",
            "counter",
            "Groups that were withdrawn, as those outside could not come in.",
            groups.withdrawn,
        ),
        ("groups", "gauge", "Groups in memory.", groups.groups),
        ("key_packages_claimed_total", "counter", "Key packages that were handed out.", claims),
    ];
    let mut out = format!(
        "# HELP undertone_info The program that serves.\n# TYPE undertone_info gauge\nundertone_info{{version=\"{}\"}} 1\n",
        env!("CARGO_PKG_VERSION")
    );
    for (name, kind, help, value) in rows {
        // Writing to a string cannot fail.
        let _ =
            write!(out, "# HELP undertone_{name} {help}\n# TYPE undertone_{name} {kind}\nundertone_{name} {value}\n");
    }
    let _ = write!(
        out,
        "# HELP undertone_relay_shard_members Members of rooms, by the relay's thread.\n# TYPE undertone_relay_shard_members gauge\n"
    );
    for (shard, stats) in shards.iter().enumerate() {
        let _ = writeln!(out, "undertone_relay_shard_members{{shard=\"{shard}\"}} {}", stats.members);
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_row_has_its_kind_and_its_value() {
        let stats = Stats { received: 7, opened: 3, ..Stats::default() };
        let delivered = Delivered { commits: 8, lost: 9, ..Delivered::default() };
        let text = text(&[stats, Stats { members: 4, ..stats }], &stats, (2, 1), (5, 6), (delivered, 10));
        for row in [
            "undertone_relay_packets_received_total 7",
            "undertone_relay_packets_opened_total 3",
            "undertone_devices_connected 2",
            "undertone_exchanges_in_flight 1",
            "undertone_tcp_half_open 6",
            "undertone_group_commits_total 8",
            "undertone_group_commits_lost_total 9",
            "undertone_key_packages_claimed_total 10",
            "undertone_relay_shard_members{shard=\"1\"} 4",
        ] {
            assert!(text.lines().any(|line| line == row), "{row} is not in\n{text}");
        }
        let values = text.lines().filter(|line| !line.starts_with('#')).count();
        assert_eq!(
            text.lines().filter(|line| line.starts_with("# TYPE")).count() + 1,
            values,
            "one is there by thread"
        );
        assert!(text.lines().all(|line| line.starts_with("# ") || line.starts_with("undertone_")));
    }

    #[test]
    fn only_this_machine_may_ask() {
        for (address, private) in
            [("127.0.0.1:1", true), ("[::1]:1", true), ("0.0.0.0:1", false), ("192.0.2.1:1", false)]
        {
            assert_eq!(is_private(&address.parse().unwrap()), private, "{address}");
        }
    }
}
