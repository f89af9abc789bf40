//! Accepting connections, plain and TLS, and letting what is in flight finish at a stop.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::body::Body;
use hyper::Request;
use hyper::body::Incoming;
use hyper::service::service_fn;
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use hyper_util::server::conn::auto::Builder;
use hyper_util::server::graceful::GracefulShutdown;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{OwnedSemaphorePermit, Semaphore, watch};
use tokio_rustls::TlsAcceptor;
use tower::ServiceExt;

use crate::auth::Peer;

/// One listening socket and what is served on it.
pub(crate) struct Listener {
    pub(crate) socket: TcpListener,
    pub(crate) tls: Option<TlsAcceptor>,
    pub(crate) router: Router,
    /// Longest time a client may take for a TLS handshake and for a request's head, each.
    pub(crate) read_timeout: Duration,
    /// Open connections that are allowed, over all listeners.
    pub(crate) connections: Arc<Semaphore>,
}

impl Listener {
    /// Accepts until `stop` turns true, then waits for open connections to finish their requests.
    pub(crate) async fn run(self, mut stop: watch::Receiver<bool>) {
        let mut builder = Builder::new(TokioExecutor::new());
        builder.http1().timer(TokioTimer::new()).header_read_timeout(self.read_timeout);
        builder.http2().timer(TokioTimer::new()).keep_alive_interval(Some(self.read_timeout));
        // The version is known before the first octet: guessing it from the first octets has no time limit.
        let (http1, http2) = (builder.clone().http1_only(), builder.http2_only());
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
            let (router, watcher) = (self.router.clone(), graceful.watcher());
            let (http1, http2) = (http1.clone(), http2.clone());
            match self.tls.clone() {
                None => drop(tokio::spawn(async move {
                    serve(http1, stream, peer, router, watcher).await;
                    drop(permit);
                })),
                Some(tls) => {
                    let handshake = tokio::time::timeout(self.read_timeout, tls.accept(stream));
                    tokio::spawn(async move {
                        let _permit = permit;
                        match handshake.await {
                            Ok(Ok(stream)) => {
                                let is_http2 = stream.get_ref().1.alpn_protocol() == Some(b"h2");
                                let builder = if is_http2 { http2 } else { http1 };
                                serve(builder, stream, peer, router, watcher).await;
                            }
                            Ok(Err(error)) => tracing::debug!(%peer, %error, "TLS handshake failed"),
                            Err(_) => tracing::debug!(%peer, "TLS handshake timed out"),
                        }
                    });
                }
            }
        }
        drop(self.socket);
        graceful.shutdown().await;
    }

    /// The next connection, once there is room for it.
    async fn accept(&self) -> std::io::Result<(TcpStream, SocketAddr, OwnedSemaphorePermit)> {
        // In this order: a listener that nobody calls must not hold a place that another one needs.
        let (stream, peer) = self.socket.accept().await?;
        let permit = Arc::clone(&self.connections).acquire_owned().await;
        let permit = permit.map_err(std::io::Error::other)?;
        Ok((stream, peer, permit))
    }
}

async fn serve<S: AsyncRead + AsyncWrite + Unpin + Send + 'static>(
    builder: Builder<TokioExecutor>,
    stream: S,
    peer: SocketAddr,
    router: Router,
    watcher: hyper_util::server::graceful::Watcher,
) {
    let service = service_fn(move |mut request: Request<Incoming>| {
        request.extensions_mut().insert(Peer(peer));
        router.clone().oneshot(request.map(Body::new))
    });
    let connection = builder.serve_connection(TokioIo::new(stream), service);
    if let Err(error) = watcher.watch(connection).await {
        tracing::debug!(%peer, %error, "connection ended");
    }
}
