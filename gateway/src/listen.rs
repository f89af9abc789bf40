//! Accepting connections, plain and TLS, and letting what is in flight finish at a stop. What connections go by can
//! be replaced while they are open: each request is answered whole by one generation of the gateway.

use std::cmp::Ordering as Order;
use std::collections::HashMap;
use std::convert::Infallible;
use std::net::{IpAddr, SocketAddr};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use arc_swap::{ArcSwap, ArcSwapOption};
use axum::body::Body;
use hyper::body::Incoming;
use hyper::header::{CONNECTION, HeaderValue, TRANSFER_ENCODING};
use hyper::server::conn::{http1, http2};
use hyper::service::service_fn;
use hyper::{Request, Response};
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use ipnet::IpNet;
use rustls::HandshakeKind;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{OwnedSemaphorePermit, Semaphore, watch};
use tokio_rustls::server::TlsStream;
use tower::ServiceExt;

use crate::admission::release;
use crate::auth::Peer;
use crate::client_certificate::Credential;
use crate::metrics::Metrics;
use crate::pace::{self, Ended, Heard, Pace};
use crate::proxied::{self, is_balancer};
use crate::routes::{Door, Routers};
use crate::tls::{TlsSet, TlsTerms};

/// What all listeners serve, and by which limits.
pub(crate) struct Served {
    routers: ArcSwap<Routers>,
    tls: ArcSwapOption<TlsSet>,
    limits: ArcSwap<Limits>,
    connections: Connections,
    /// Of those who administer: callers, however many, keep none of them out.
    admin_connections: Connections,
    addresses: Arc<Addresses>,
    metrics: Arc<Metrics>,
}

/// What a connection must keep to.
struct Limits {
    /// For a handshake.
    read: Duration,
    pace: pace::Limits,
    header_octets: usize,
    streams: u32,
    per_address: usize,
    balancers: Vec<IpNet>,
}

/// Fields of a head: more than any client of ours sends.
const MOST_FIELDS: usize = 100;
/// Streams that a client may have opened and reset at once, and that we may have reset for its mistakes, before the
/// connection ends (CVE-2023-44487, RUSTSEC-2024-0003).
const MOST_RESETS: usize = 20;
const MOST_ERRORS: usize = 100;
/// Octets that an HTTP/2 connection may wait to send on a stream.
const MOST_UNSENT: usize = 64 << 10;

impl Limits {
    fn of(server: &config::Server) -> Self {
        Self {
            read: server.read_timeout,
            pace: pace::Limits {
                head: server.read_timeout,
                write: server.write_timeout,
                idle: server.keep_alive,
            },
            header_octets: server.header_limit,
            streams: server.http2_streams,
            per_address: server.max_connections_per_address,
            balancers: server.proxy_protocol_from.clone(),
        }
    }
}

/// Who came in by which door.
pub(crate) struct Visitor {
    pub(crate) peer: Peer,
    pub(crate) door: Door,
    version: Version,
    /// What it proved, and where.
    credential: Option<(Entrance, Credential)>,
}

impl Visitor {
    /// Somebody who proved nothing yet and speaks HTTP/1.
    pub(crate) fn plain(peer: Peer, door: Door) -> Self {
        Self { peer, door, version: Version::Http1, credential: None }
    }
}

/// What a connection speaks.
#[derive(Debug, Clone, Copy)]
enum Version {
    Http1,
    Http2,
}

/// The listeners on the network.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Entrance {
    /// Plain, in a sandbox.
    Http,
    /// For callers.
    Https,
    /// For callers who show a certificate.
    Mutual,
    /// For administration.
    Admin,
}

impl Served {
    pub(crate) fn new(
        routers: Routers,
        tls: Option<Arc<TlsSet>>,
        server: &config::Server,
        metrics: Arc<Metrics>,
    ) -> Self {
        metrics.tls(tls.as_deref());
        Self {
            routers: ArcSwap::from_pointee(routers),
            tls: ArcSwapOption::from(tls),
            limits: ArcSwap::from_pointee(Limits::of(server)),
            connections: Connections::new(server.max_connections),
            admin_connections: Connections::new(ADMIN_CONNECTIONS),
            addresses: Arc::default(),
            metrics,
        }
    }

    /// New requests go to `routers`, new connections by the new limits and certificates; what is being answered is
    /// answered by what it began with. Clients' certificates on open connections are judged by the new lists.
    pub(crate) fn replace(&self, routers: Routers, tls: Option<Arc<TlsSet>>, server: &config::Server) {
        self.routers.store(Arc::new(routers));
        self.replace_tls(tls);
        self.limits.store(Arc::new(Limits::of(server)));
        self.connections.resize(server.max_connections);
    }

    /// Certificates, keys, roots and revocation lists alone.
    pub(crate) fn replace_tls(&self, tls: Option<Arc<TlsSet>>) {
        self.metrics.tls(tls.as_deref());
        self.tls.store(tls);
    }

    /// Serves one connection to its end.
    pub(crate) async fn serve<S>(
        self: &Arc<Self>,
        stream: S,
        visitor: Visitor,
        closing: watch::Receiver<bool>,
    ) where
        S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
    {
        let (limits, pace, visitor) = (self.limits.load_full(), Pace::new(), Arc::new(visitor));
        let service = {
            let (served, pace, visitor) = (Arc::clone(self), Arc::clone(&pace), Arc::clone(&visitor));
            service_fn(move |request: Request<Incoming>| {
                let hand = pace.begin();
                let answer = served.answer(&visitor, request);
                async move { Ok::<_, Infallible>(hand.answered(answer.await)) }
            })
        };
        // The version is known before the first octet: guessing it from the first octets has no time limit.
        let ended = match visitor.version {
            Version::Http1 => {
                let stream = TokioIo::new(Heard { stream, pace: Arc::clone(&pace) });
                let mut builder = http1::Builder::new();
                builder.max_headers(MOST_FIELDS).max_header_size(limits.header_octets);
                builder.header_read_timeout(None); // `pace` sees to it
                let connection = builder.serve_connection(stream, service);
                let end = http1::Connection::graceful_shutdown;
                pace::attend(connection, end, &pace, &limits.pace, closing).await
            }
            Version::Http2 => {
                let mut builder = http2::Builder::new(TokioExecutor::new());
                builder.timer(TokioTimer::new()).keep_alive_interval(Some(limits.read));
                builder.max_concurrent_streams(limits.streams).max_send_buf_size(MOST_UNSENT);
                builder.max_header_list_size(u32::try_from(limits.header_octets).unwrap_or(u32::MAX));
                builder.max_pending_accept_reset_streams(MOST_RESETS);
                builder.max_local_error_reset_streams(MOST_ERRORS);
                let connection = builder.serve_connection(TokioIo::new(stream), service);
                let end = http2::Connection::graceful_shutdown;
                Box::pin(pace::attend(connection, end, &pace, &limits.pace, closing)).await
            }
        };
        match ended {
            Ok(()) => {}
            Err(Ended::Slow(cause)) => self.metrics.connection_ended(cause.name()),
            Err(Ended::Broken(error)) => {
                tracing::debug!(peer = %visitor.peer, %error, "connection ended");
                self.metrics.connection_ended(if error.is_parse() { "malformed" } else { "broken" });
            }
        }
    }

    /// The answer to a request of this generation, if who asks may still ask.
    fn answer(
        &self,
        visitor: &Visitor,
        request: Request<Incoming>,
    ) -> impl Future<Output = Response<Body>> + use<> {
        let mut request = request.map(Body::new);
        request.extensions_mut().insert(visitor.peer.clone());
        request.extensions_mut().insert(visitor.door);
        let held = match &visitor.credential {
            None => true,
            Some((entrance, credential)) => {
                let tls = self.tls.load();
                let terms = tls.as_ref().and_then(|set| set.terms(*entrance));
                let chain = credential.chain(terms.and_then(|terms| terms.clients.as_ref()));
                chain.map(|chain| request.extensions_mut().insert(chain.clone()));
                chain.is_some()
            }
        };
        if !held {
            self.metrics.connection_ended("client_certificate");
        }
        // A length beside a transfer coding is gone when hyper has read the head. Whoever sent both may mean to have
        // the rest read as a request of somebody else (RFC 9112 §6.1): so nothing is read after a coded body.
        let last = !held || request.headers().contains_key(TRANSFER_ENCODING);
        let routers = self.routers.load();
        let router = if held { routers.of(visitor.door) } else { routers.closed() };
        async move {
            let response = router.oneshot(request).await;
            let mut response = response.unwrap_or_else(|never: Infallible| match never {});
            if last {
                response.headers_mut().insert(CONNECTION, HeaderValue::from_static("close"));
            }
            response
        }
    }
}

/// Connections at the listener for administration, beside those of callers.
const ADMIN_CONNECTIONS: usize = 256;

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

/// Open connections by address.
#[derive(Default)]
struct Addresses(Mutex<HashMap<IpAddr, usize>>);

/// A connection's place among those of its address.
struct AddressPlace {
    addresses: Arc<Addresses>,
    address: IpAddr,
}

impl Addresses {
    fn enter(self: &Arc<Self>, address: IpAddr, limit: usize) -> Option<AddressPlace> {
        let mut open = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let count = open.get(&address).copied().unwrap_or(0);
        if count >= limit {
            return None;
        }
        open.insert(address, count + 1);
        Some(AddressPlace { addresses: Arc::clone(self), address })
    }
}

impl Drop for AddressPlace {
    fn drop(&mut self) {
        let mut open = self.addresses.0.lock().unwrap_or_else(PoisonError::into_inner);
        release(&mut open, self.address);
    }
}

/// One listening socket.
pub(crate) struct Listener {
    pub(crate) socket: TcpListener,
    pub(crate) entrance: Entrance,
    pub(crate) door: Door,
    pub(crate) served: Arc<Served>,
}

impl Listener {
    /// Accepts until `stop` turns true, then waits for open connections to finish their requests.
    pub(crate) async fn run(self, mut stop: watch::Receiver<bool>) {
        let closing = watch::Sender::new(false);
        loop {
            let accepted = tokio::select! {
                accepted = self.accept() => accepted,
                _ = stop.wait_for(|stop| *stop) => break,
            };
            let (stream, address, permit) = match accepted {
                Ok(accepted) => accepted,
                Err(error) => {
                    // Out of descriptors, most likely: the connections that close will free some.
                    tracing::warn!(%error, "cannot accept");
                    tokio::time::sleep(Duration::from_millis(20)).await;
                    continue;
                }
            };
            let _ = stream.set_nodelay(true); // a connection without it is slower, not wrong
            let (served, entrance, door) = (Arc::clone(&self.served), self.entrance, self.door);
            let balanced = is_balancer(&served.limits.load().balancers, address);
            let mut place = None;
            if !balanced {
                place = served.enter(entrance, address.ip());
                if place.is_none() {
                    continue;
                }
            }
            let closing = closing.subscribe();
            tokio::spawn(async move {
                let _permit = permit;
                let _open = served.metrics.connection_open();
                let (mut stream, mut address) = (stream, address);
                if balanced {
                    let Some(client) = served.behind(&mut stream, address).await else { return };
                    address = client;
                    place = served.enter(entrance, address.ip());
                    if place.is_none() {
                        return;
                    }
                }
                let _place = place;
                let visitor = Visitor::plain(Peer::Network(address), door);
                // Boxed: a plain connection, most of them idle, does not take the room of what TLS needs.
                if entrance == Entrance::Http {
                    Box::pin(served.serve(stream, visitor, closing)).await;
                } else {
                    let shaken = Box::pin(served.shake_hands(stream, entrance, visitor)).await;
                    if let Some((stream, visitor)) = shaken {
                        Box::pin(served.serve(stream, visitor, closing)).await;
                    }
                }
            });
        }
        drop(self.socket);
        closing.send_replace(true);
        closing.closed().await;
    }

    /// The next connection, once there is room for it.
    async fn accept(&self) -> std::io::Result<(TcpStream, SocketAddr, OwnedSemaphorePermit)> {
        // In this order: a listener that nobody calls must not hold a place that another one needs.
        let (stream, peer) = self.socket.accept().await?;
        let connections = match self.entrance {
            Entrance::Admin => &self.served.admin_connections,
            Entrance::Http | Entrance::Https | Entrance::Mutual => &self.served.connections,
        };
        let permit = connections.enter().await?;
        Ok((stream, peer, permit))
    }
}

/// Why there is no TLS connection.
enum Unshaken {
    Failed(std::io::Error),
    Late,
    /// What the client showed, in a session before, does not hold any more.
    Refused(rustls::Error),
}

impl Served {
    /// A place among the connections of an address, unless it has all that it may have. At the listener for administration
    /// callers at the same address do not count.
    fn enter(&self, entrance: Entrance, address: IpAddr) -> Option<Option<AddressPlace>> {
        match entrance {
            Entrance::Admin => Some(None),
            Entrance::Http | Entrance::Https | Entrance::Mutual => {
                let place = self.addresses.enter(address, self.limits.load().per_address);
                if place.is_none() {
                    self.metrics.connection_ended("address_limit");
                }
                place.map(Some)
            }
        }
    }

    /// The client behind a balancer's connection, if the balancer says who it is.
    async fn behind(&self, stream: &mut TcpStream, balancer: SocketAddr) -> Option<SocketAddr> {
        let patience = self.limits.load().read;
        match proxied::client(stream, balancer, patience).await {
            Ok(client) => Some(client),
            Err(error) => {
                tracing::warn!(%balancer, error, "a connection of a balancer begins without a good PROXY header");
                self.metrics.connection_ended("proxy_header");
                None
            }
        }
    }

    /// The TLS connection over a stream, and who is at its other end.
    async fn shake_hands(
        &self,
        stream: TcpStream,
        entrance: Entrance,
        visitor: Visitor,
    ) -> Option<(TlsStream<TcpStream>, Visitor)> {
        let tls = self.tls.load_full()?;
        let terms = tls.terms(entrance)?;
        let limit = self.limits.load().read;
        let shaken = tokio::time::timeout(limit, terms.accept(stream)).await;
        let shaken = shaken.map_or(Err(Unshaken::Late), |shaken| shaken.map_err(Unshaken::Failed));
        let shaken = shaken.and_then(|stream| {
            let resumed = stream.get_ref().1.handshake_kind() == Some(HandshakeKind::Resumed);
            let credential = credential(&stream, terms, resumed).map_err(Unshaken::Refused)?;
            Ok((stream, credential, resumed))
        });
        match shaken {
            Ok((stream, credential, resumed)) => {
                let session = stream.get_ref().1;
                self.metrics.handshake(session.protocol_version(), if resumed { "resumed" } else { "full" });
                let is_http2 = session.alpn_protocol() == Some(b"h2");
                let version = if is_http2 { Version::Http2 } else { Version::Http1 };
                let credential = credential.map(|credential| (entrance, credential));
                Some((stream, Visitor { version, credential, ..visitor }))
            }
            Err(unshaken) => {
                self.not_shaken(&visitor.peer, &unshaken);
                None
            }
        }
    }

    fn not_shaken(&self, peer: &Peer, unshaken: &Unshaken) {
        match unshaken {
            Unshaken::Late => {
                tracing::debug!(%peer, "TLS handshake timed out");
                self.metrics.handshake(None, "late");
            }
            Unshaken::Refused(error) => {
                tracing::info!(%peer, %error, "the client's certificate does not hold any more");
                self.certificate_refused(peer);
            }
            Unshaken::Failed(error) => {
                let tls = error.get_ref().and_then(|inner| inner.downcast_ref::<rustls::Error>());
                match tls {
                    Some(rustls::Error::InvalidCertificate(_) | rustls::Error::NoCertificatesPresented) => {
                        tracing::info!(%peer, %error, "the client's certificate was refused");
                        self.certificate_refused(peer);
                    }
                    Some(rustls::Error::Other(_)) => self.metrics.handshake(None, "device"),
                    _ => {
                        tracing::debug!(%peer, %error, "TLS handshake failed");
                        self.metrics.handshake(None, "failed");
                    }
                }
            }
        }
    }

    /// On record and looked at like any other refusal.
    fn certificate_refused(&self, peer: &Peer) {
        self.metrics.handshake(None, "certificate_refused");
        if let Peer::Network(address) = peer {
            self.routers.load().refused_handshake(address.ip());
        }
    }
}

/// What the client showed in this session or in the one that it resumes, judged by what counts now: a resumed
/// handshake verifies nothing by itself.
fn credential(
    stream: &TlsStream<TcpStream>,
    terms: &TlsTerms,
    resumed: bool,
) -> Result<Option<Credential>, rustls::Error> {
    match (stream.get_ref().1.peer_certificates(), &terms.clients) {
        (Some(chain), Some(verifier)) if !chain.is_empty() => {
            Credential::new(chain, verifier, resumed).map(Some)
        }
        _ => Ok(None),
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

    #[test]
    fn an_address_has_so_many_places_and_leaves_nothing_behind() {
        let addresses = Arc::new(Addresses::default());
        let (one, other) = (IpAddr::from([192, 0, 2, 1]), IpAddr::from([192, 0, 2, 2]));
        let first = addresses.enter(one, 2).unwrap();
        let second = addresses.enter(one, 2).unwrap();
        assert!(addresses.enter(one, 2).is_none());
        assert!(addresses.enter(other, 2).is_some());
        drop(first);
        assert!(addresses.enter(one, 2).is_some());
        drop(second);
        assert!(addresses.0.lock().unwrap().is_empty());
    }
}
