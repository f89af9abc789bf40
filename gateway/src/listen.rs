//! Accepting connections, plain and TLS, and letting what is in flight finish at a stop.

use std::net::SocketAddr;
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
use tokio::net::TcpListener;
use tokio::sync::watch;
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
}

impl Listener {
    /// Accepts until `stop` turns true, then waits for open connections to finish their requests.
    pub(crate) async fn run(self, mut stop: watch::Receiver<bool>) {
        let mut builder = Builder::new(TokioExecutor::new());
        builder.http1().timer(TokioTimer::new()).header_read_timeout(self.read_timeout);
        builder.http2().timer(TokioTimer::new()).keep_alive_interval(Some(self.read_timeout));
        let graceful = GracefulShutdown::new();
        loop {
            let accepted = tokio::select! {
                accepted = self.socket.accept() => accepted,
                _ = stop.wait_for(|stop| *stop) => break,
            };
            let (stream, peer) = match accepted {
                Ok(accepted) => accepted,
                Err(error) => {
                    // Out of descriptors, most likely: the connections that close will free some.
                    tracing::warn!(%error, "cannot accept");
                    tokio::time::sleep(Duration::from_millis(20)).await;
                    continue;
                }
            };
            let _ = stream.set_nodelay(true); // a connection without it is slower, not wrong
            let (builder, router, watcher) = (builder.clone(), self.router.clone(), graceful.watcher());
            match self.tls.clone() {
                None => drop(tokio::spawn(serve(builder, stream, peer, router, watcher))),
                Some(tls) => {
                    let handshake = tokio::time::timeout(self.read_timeout, tls.accept(stream));
                    tokio::spawn(async move {
                        match handshake.await {
                            Ok(Ok(stream)) => serve(builder, stream, peer, router, watcher).await,
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
