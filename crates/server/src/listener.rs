//! TCP: accept, TLS handshake, HTTP/1.1 with upgrades. Every step has a limit in number and time.

use std::collections::BTreeMap;
use std::net::{IpAddr, SocketAddr};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use axum::{Extension, Router};
use hyper::server::conn::http1;
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::service::TowerToHyperService;
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinSet;
use tokio::time::timeout;
use tokio_rustls::TlsAcceptor;
use tokio_util::sync::CancellationToken;
use tracing::{debug, warn};
use undertone_protocol::{Origin, OriginCounts};

use crate::config::Limits;

const HANDSHAKE: Duration = Duration::from_secs(10);
const HEADERS: Duration = Duration::from_secs(10);
/// A connection on which requests are made is closed after this, whatever is under way: a client that reads nothing
/// must not keep it. A WebSocket has left it by then and has its own clock.
const HTTP: Duration = Duration::from_secs(60);

/// Everybody who is connected by TCP.
#[derive(Debug)]
pub struct Places {
    held: Mutex<Held>,
    most: usize,
    half_open: usize,
}

#[derive(Debug)]
struct Held {
    origins: OriginCounts,
    /// Those whose handshake is done.
    served: usize,
    /// Those whose handshake is not, oldest first, and what ends each.
    half_open: BTreeMap<u64, CancellationToken>,
    next: u64,
}

/// One open connection: given back when it ends, as a WebSocket too.
#[derive(Debug)]
pub(crate) struct Place {
    places: Arc<Places>,
    origin: Origin,
    number: u64,
    served: bool,
}

impl Places {
    /// As many as an operator allows.
    #[must_use]
    pub fn new(limits: &Limits) -> Self {
        let origins = OriginCounts::new(limits.connections_per_address);
        let held = Held { origins, served: 0, half_open: BTreeMap::new(), next: 0 };
        Self { held: Mutex::new(held), most: limits.connections, half_open: limits.half_open.max(1) }
    }

    /// How many are served, and how many are in their handshake.
    #[must_use]
    pub fn count(&self) -> (usize, usize) {
        let held = self.held();
        (held.served, held.half_open.len())
    }

    fn held(&self) -> MutexGuard<'_, Held> {
        self.held.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A place for somebody new, and what tells them to give way.
    fn take(self: &Arc<Self>, address: IpAddr) -> Option<(Place, CancellationToken)> {
        let (origin, give_way) = (Origin::of(address), CancellationToken::new());
        let mut held = self.held();
        if held.served >= self.most || !held.origins.take(&origin) {
            return None;
        }
        if held.half_open.len() >= self.half_open
            && let Some((_, oldest)) = held.half_open.pop_first()
        {
            oldest.cancel();
        }
        let number = held.next;
        held.next += 1;
        held.half_open.insert(number, give_way.clone());
        drop(held);
        Some((Place { places: self.clone(), origin, number, served: false }, give_way))
    }
}

impl Place {
    /// The handshake is done. `None` when there is no room by now, or it has had to give way.
    fn serve(mut self) -> Option<Self> {
        {
            let mut held = self.places.held();
            if held.served >= self.places.most || held.half_open.remove(&self.number).is_none() {
                return None;
            }
            held.served += 1;
        }
        self.served = true;
        Some(self)
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        let mut held = self.places.held();
        held.origins.give(&self.origin);
        if self.served {
            held.served = held.served.saturating_sub(1);
        } else {
            held.half_open.remove(&self.number);
        }
    }
}

/// Accepts until told to stop.
pub async fn run(
    listener: TcpListener,
    acceptor: TlsAcceptor,
    router: Router,
    places: Arc<Places>,
    stop: CancellationToken,
) {
    let mut connections = JoinSet::new();
    loop {
        tokio::select! {
            () = stop.cancelled() => break,
            Some(_) = connections.join_next(), if !connections.is_empty() => {}
            accepted = listener.accept() => match accepted {
                Ok((stream, peer)) => {
                    let Some(taken) = places.take(peer.ip()) else { continue };
                    connections.spawn(serve((stream, peer), taken, acceptor.clone(), router.clone(), stop.clone()));
                }
                Err(error) => {
                    // Out of file descriptors, most likely: others will close.
                    warn!(%error, "a connection could not be accepted");
                    tokio::time::sleep(Duration::from_millis(100)).await;
                }
            }
        }
    }
    let _ = timeout(Duration::from_secs(2), async { while connections.join_next().await.is_some() {} }).await;
    connections.shutdown().await;
}

async fn serve(
    (stream, peer): (TcpStream, SocketAddr),
    (place, give_way): (Place, CancellationToken),
    acceptor: TlsAcceptor,
    router: Router,
    stop: CancellationToken,
) {
    let _ = stream.set_nodelay(true);
    let handshake = tokio::select! {
        () = give_way.cancelled() => return debug!("a connection without a handshake gave way to newer ones"),
        handshake = timeout(HANDSHAKE, acceptor.accept(stream)) => handshake,
    };
    let stream = match handshake {
        Ok(Ok(stream)) => stream,
        Ok(Err(error)) => return debug!(%error, "TLS handshake failed"),
        Err(_) => return debug!("TLS handshake took too long"),
    };
    let Some(place) = place.serve() else { return debug!("no room for one more connection") };
    let router = router.layer(Extension(peer)).layer(Extension(Arc::new(place)));
    let mut builder = http1::Builder::new();
    builder.timer(TokioTimer::new()).header_read_timeout(HEADERS).max_headers(64).max_buf_size(64 * 1024);
    let service = TowerToHyperService::new(router);
    let connection = builder.serve_connection(TokioIo::new(stream), service).with_upgrades();
    let mut connection = std::pin::pin!(connection);
    tokio::select! {
        result = timeout(HTTP, connection.as_mut()) => match result {
            Ok(Ok(())) => {}
            Ok(Err(error)) => debug!(%error, "HTTP connection ended"),
            Err(_) => debug!("HTTP connection took too long"),
        },
        () = stop.cancelled() => {
            connection.as_mut().graceful_shutdown();
            let _ = timeout(Duration::from_secs(1), connection).await;
        }
    }
}

#[cfg(test)]
mod tests {
    use std::net::Ipv4Addr;

    use super::*;

    #[test]
    fn dos_1_the_oldest_half_open_connection_gives_way_and_who_is_served_stays() {
        let limits = Limits { connections: 3, connections_per_address: 100_000, half_open: 50, ..Limits::default() };
        let places = Arc::new(Places::new(&limits));
        let here = IpAddr::from(Ipv4Addr::LOCALHOST);
        let (served, _) = places.take(here).unwrap();
        let served = served.serve().unwrap();
        let waiting: Vec<_> = (0..50 + 10).map(|_| places.take(here).unwrap()).collect();
        assert_eq!(places.count(), (1, 50));
        let gone = waiting.iter().filter(|(_, give_way)| give_way.is_cancelled()).count();
        assert!(gone == 10 && waiting[..10].iter().all(|(_, give_way)| give_way.is_cancelled()));
        // Who has given way comes in no more, and who comes last does.
        let mut waiting = waiting.into_iter().map(|(place, _)| place);
        assert!(waiting.next().unwrap().serve().is_none());
        let last: Vec<Place> = waiting.by_ref().rev().take(3).filter_map(Place::serve).collect();
        assert_eq!((last.len(), places.count().0), (2, 3), "and no more than may");
        assert!(places.take(here).is_none());
        drop((served, last, waiting));
        assert_eq!(places.count(), (0, 0));
        assert_eq!(places.held().origins.held(&Origin::of(here)), 0);
    }
}
