//! TCP: accept, TLS handshake, HTTP/1.1 with upgrades. Every step has a limit in number and time.

use std::net::SocketAddr;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use axum::{Extension, Router};
use hyper::server::conn::http1;
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::service::TowerToHyperService;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
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

/// One open connection: given back when it ends, as a WebSocket too.
#[derive(Debug)]
pub(crate) struct Place {
    counts: Arc<Mutex<OriginCounts>>,
    origin: Origin,
    _permit: OwnedSemaphorePermit,
}

impl Drop for Place {
    fn drop(&mut self) {
        self.counts.lock().unwrap_or_else(PoisonError::into_inner).give(&self.origin);
    }
}

/// Accepts until told to stop.
pub async fn run(
    listener: TcpListener,
    acceptor: TlsAcceptor,
    router: Router,
    limits: Limits,
    stop: CancellationToken,
) {
    let counts = Arc::new(Mutex::new(OriginCounts::new(limits.connections_per_address)));
    let permits = Arc::new(Semaphore::new(limits.connections.min(Semaphore::MAX_PERMITS)));
    let place = |peer: SocketAddr| {
        let (permit, origin) = (permits.clone().try_acquire_owned().ok()?, Origin::of(peer.ip()));
        let taken = counts.lock().unwrap_or_else(PoisonError::into_inner).take(&origin);
        taken.then(|| Place { counts: counts.clone(), origin, _permit: permit })
    };
    let mut connections = JoinSet::new();
    loop {
        tokio::select! {
            () = stop.cancelled() => break,
            Some(_) = connections.join_next(), if !connections.is_empty() => {}
            accepted = listener.accept() => match accepted {
                Ok((stream, peer)) => {
                    let Some(place) = place(peer) else { continue };
                    let service = router.clone().layer(Extension(peer)).layer(Extension(Arc::new(place)));
                    connections.spawn(serve(stream, acceptor.clone(), service, stop.clone()));
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

async fn serve(stream: TcpStream, acceptor: TlsAcceptor, router: Router, stop: CancellationToken) {
    let _ = stream.set_nodelay(true);
    let stream = match timeout(HANDSHAKE, acceptor.accept(stream)).await {
        Ok(Ok(stream)) => stream,
        Ok(Err(error)) => return debug!(%error, "TLS handshake failed"),
        Err(_) => return debug!("TLS handshake took too long"),
    };
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
