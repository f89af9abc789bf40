//! Accepting connections, plain and TLS, and letting what is in flight finish at a stop. What connections go by can
//! be replaced while they are open: each request is answered whole by one generation of the gateway.

use std::cmp::Ordering as Order;
use std::net::SocketAddr;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use arc_swap::{ArcSwap, ArcSwapOption};
use axum::Router;
use axum::body::Body;
use hyper::Request;
use hyper::body::Incoming;
use hyper::service::service_fn;
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use hyper_util::server::conn::auto::Builder;
use hyper_util::server::graceful::{GracefulShutdown, Watcher};
use rustls::ServerConfig;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{OwnedSemaphorePermit, Semaphore, watch};
use tokio_rustls::TlsAcceptor;
use tower::ServiceExt;

use crate::auth::Peer;

/// What all listeners serve, and by which limits.
pub(crate) struct Served {
    router: ArcSwap<Router>,
    tls: ArcSwapOption<ServerConfig>,
    /// Milliseconds.
    read_timeout: AtomicU64,
    connections: Connections,
}

impl Served {
    pub(crate) fn new(router: Router, tls: Option<Arc<ServerConfig>>, limits: &config::Server) -> Self {
        Self {
            router: ArcSwap::from_pointee(router),
            tls: ArcSwapOption::from(tls),
            read_timeout: AtomicU64::new(milliseconds(limits.read_timeout)),
            connections: Connections::new(limits.max_connections),
        }
    }

    /// New requests go to `router`, new connections by the new limits and certificate; what is being answered is
    /// answered by what it began with.
    pub(crate) fn replace(&self, router: Router, tls: Option<Arc<ServerConfig>>, limits: &config::Server) {
        self.router.store(Arc::new(router));
        self.tls.store(tls);
        self.read_timeout.store(milliseconds(limits.read_timeout), Ordering::Relaxed);
        self.connections.resize(limits.max_connections);
    }

    fn read_timeout(&self) -> Duration {
        Duration::from_millis(self.read_timeout.load(Ordering::Relaxed))
    }

    /// Serves one connection to its end.
    pub(crate) async fn serve<S>(&self, stream: S, peer: Peer, version: Version, watcher: Watcher)
    where
        S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
    {
        let service = service_fn(|mut request: Request<Incoming>| {
            request.extensions_mut().insert(peer.clone());
            Router::clone(&self.router.load()).oneshot(request.map(Body::new))
        });
        let mut builder = Builder::new(TokioExecutor::new());
        builder.http1().timer(TokioTimer::new()).header_read_timeout(self.read_timeout());
        builder.http2().timer(TokioTimer::new()).keep_alive_interval(Some(self.read_timeout()));
        // The version is known before the first octet: guessing it from the first octets has no time limit.
        let builder = match version {
            Version::Http1 => builder.http1_only(),
            Version::Http2 => builder.http2_only(),
        };
        let connection = builder.serve_connection(TokioIo::new(stream), service);
        if let Err(error) = watcher.watch(connection).await {
            tracing::debug!(%peer, %error, "connection ended");
        }
    }
}

/// What a connection speaks.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Version {
    Http1,
    Http2,
}

fn milliseconds(time: Duration) -> u64 {
    u64::try_from(time.as_millis()).unwrap_or(u64::MAX)
}

/// Bounds the open connections; the bound can move while some are open.
struct Connections {
    room: Arc<Semaphore>,
    limit: Mutex<usize>,
}

impl Connections {
    fn new(limit: usize) -> Self {
        Self { room: Arc::new(Semaphore::new(limit)), limit: Mutex::new(limit) }
    }

    async fn enter(&self) -> std::io::Result<OwnedSemaphorePermit> {
        Arc::clone(&self.room).acquire_owned().await.map_err(std::io::Error::other)
    }

    /// More room is there at once. Less is there as connections close: nobody is cut off, and nobody enters before.
    fn resize(&self, limit: usize) {
        let mut current = self.limit.lock().unwrap_or_else(PoisonError::into_inner);
        match limit.cmp(&current) {
            Order::Greater => self.room.add_permits(limit - *current),
            Order::Less => {
                let room = Arc::clone(&self.room);
                let less = u32::try_from(*current - limit).unwrap_or(u32::MAX);
                tokio::spawn(async move {
                    if let Ok(permits) = room.acquire_many_owned(less).await {
                        permits.forget();
                    }
                });
            }
            Order::Equal => {}
        }
        *current = limit;
    }
}

/// One listening socket.
pub(crate) struct Listener {
    pub(crate) socket: TcpListener,
    /// Whether TLS is spoken on it.
    pub(crate) tls: bool,
    pub(crate) served: Arc<Served>,
}

impl Listener {
    /// Accepts until `stop` turns true, then waits for open connections to finish their requests.
    pub(crate) async fn run(self, mut stop: watch::Receiver<bool>) {
        let graceful = GracefulShutdown::new();
        loop {
            let accepted = tokio::select! {
                accepted = self.accept() => accepted,
                _ = stop.wait_for(|stop| *stop) => break,
            };
            let (stream, peer, permit) = match accepted {
                Ok(accepted) => accepted,
                Err(error) => {
                    // Out of descriptors, most likely: the connections that close will free some.
                    tracing::warn!(%error, "cannot accept");
                    tokio::time::sleep(Duration::from_millis(20)).await;
                    continue;
                }
            };
            let _ = stream.set_nodelay(true); // a connection without it is slower, not wrong
            let (served, watcher, tls) = (Arc::clone(&self.served), graceful.watcher(), self.tls);
            tokio::spawn(async move {
                let _permit = permit;
                if tls {
                    served.serve_tls(stream, peer, watcher).await;
                } else {
                    served.serve(stream, Peer::Network(peer), Version::Http1, watcher).await;
                }
            });
        }
        drop(self.socket);
        graceful.shutdown().await;
    }

    /// The next connection, once there is room for it.
    async fn accept(&self) -> std::io::Result<(TcpStream, SocketAddr, OwnedSemaphorePermit)> {
        // In this order: a listener that nobody calls must not hold a place that another one needs.
        let (stream, peer) = self.socket.accept().await?;
        let permit = self.served.connections.enter().await?;
        Ok((stream, peer, permit))
    }
}

impl Served {
    async fn serve_tls(&self, stream: TcpStream, peer: SocketAddr, watcher: Watcher) {
        let Some(tls) = self.tls.load_full() else { return };
        let handshake = tokio::time::timeout(self.read_timeout(), TlsAcceptor::from(tls).accept(stream));
        match handshake.await {
            Ok(Ok(stream)) => {
                let is_http2 = stream.get_ref().1.alpn_protocol() == Some(b"h2");
                let version = if is_http2 { Version::Http2 } else { Version::Http1 };
                self.serve(stream, Peer::Network(peer), version, watcher).await;
            }
            Ok(Err(error)) => tracing::debug!(%peer, %error, "TLS handshake failed"),
            Err(_) => tracing::debug!(%peer, "TLS handshake timed out"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn the_bound_on_connections_moves_without_cutting_anybody_off() {
        let connections = Connections::new(3);
        let mut open = Vec::new();
        for _ in 0..3 {
            open.push(connections.enter().await.unwrap());
        }
        connections.resize(1);
        tokio::task::yield_now().await;
        drop(open.pop());
        drop(open.pop());
        tokio::task::yield_now().await;
        assert_eq!(connections.room.available_permits(), 0, "one is open and one is the bound");
        drop(open.pop());
        assert_eq!(connections.room.available_permits(), 1);
        connections.resize(4);
        assert_eq!(connections.room.available_permits(), 4);
    }
}
