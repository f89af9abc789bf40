//! Traces for a collector (OpenTelemetry, OTLP over HTTP): a span for each request, in it one for each attempt with a
//! device and one for the record. Spans hold ids, routes, codes and times, as the log does, and nothing else. A
//! collector that is slow or away costs the spans that do not fit the exporter's queue, never a request.

use std::net::ToSocketAddrs;
use std::time::Duration;

use axum::http::HeaderMap;
use bytes::Bytes;
use http_body_util::{BodyExt, Full, Limited};
use hyper::client::conn::http1::handshake;
use hyper::header::HOST;
use hyper::{Request, Response};
use hyper_util::rt::TokioIo;
use opentelemetry::propagation::TextMapPropagator;
use opentelemetry::trace::TracerProvider;
use opentelemetry_http::{HeaderExtractor, HttpClient, HttpError};
use opentelemetry_otlp::{SpanExporter, WithExportConfig, WithHttpConfig};
use opentelemetry_sdk::Resource;
use opentelemetry_sdk::propagation::TraceContextPropagator;
use opentelemetry_sdk::trace::{Sampler, SdkTracerProvider};
use tokio::net::TcpStream;
use tokio::runtime::{Builder, Runtime};
use tracing::{Level, Span, Subscriber};
use tracing_opentelemetry::OpenTelemetrySpanExt;
use tracing_subscriber::Layer;
use tracing_subscriber::filter::Targets;
use tracing_subscriber::registry::LookupSpan;

use crate::error::StartupError;

/// How long the collector may take for one delivery, and all of the rest at a stop.
const PATIENCE: Duration = Duration::from_secs(3);
/// Largest answer of a collector, octets.
const LARGEST: usize = 1 << 20;
/// Whose spans are sent.
const OURS: [&str; 4] = ["license_gateway", "hsm_driver", "signing", "store"];

/// Sends what is left when it is dropped.
pub(crate) struct Exporting(SdkTracerProvider);

impl Drop for Exporting {
    fn drop(&mut self) {
        if let Err(error) = self.0.shutdown_with_timeout(PATIENCE) {
            tracing::warn!(%error, "the last traces were not delivered");
        }
    }
}

/// A layer that sends spans to the collector, if there is one.
pub(crate) fn layer<S>(
    config: &config::Traces,
    site: &str,
) -> Result<Option<(impl Layer<S> + use<S>, Exporting)>, StartupError>
where
    S: Subscriber + for<'s> LookupSpan<'s>,
{
    let Some(endpoint) = &config.endpoint else { return Ok(None) };
    let unusable = |error: &dyn std::fmt::Display| StartupError::file("traces.endpoint", error);
    let collector = Collector(Builder::new_current_thread().enable_all().build()?);
    let exporter = SpanExporter::builder()
        .with_http()
        .with_http_client(collector)
        .with_endpoint(endpoint)
        .with_timeout(PATIENCE)
        .build()
        .map_err(|error| unusable(&error))?;
    let resource = Resource::builder_empty()
        .with_service_name("license-gateway")
        .with_attribute(opentelemetry::KeyValue::new("service.namespace", site.to_owned()))
        .build();
    let share = Sampler::TraceIdRatioBased(config.percent as f64 / 100.0);
    let provider = SdkTracerProvider::builder()
        .with_batch_exporter(exporter)
        .with_sampler(Sampler::ParentBased(Box::new(share)))
        .with_resource(resource)
        .build();
    let layer = tracing_opentelemetry::layer()
        .with_tracer(provider.tracer("license-gateway"))
        .with_location(false)
        .with_threads(false)
        .with_filter(Targets::new().with_targets(OURS.map(|target| (target, Level::DEBUG))));
    Ok(Some((layer, Exporting(provider))))
}

/// Makes a request's span part of the trace that its caller began, if it did.
pub(crate) fn continue_trace(span: &Span, headers: &HeaderMap) {
    if headers.contains_key("traceparent") {
        let parent = TraceContextPropagator::new().extract(&HeaderExtractor(headers));
        let _ = span.set_parent(parent); // nobody listens: nothing to be part of
    }
}

/// Puts the answer's status on a request's span.
pub(crate) fn answered(span: &Span, status: u16) {
    span.set_attribute("http.response.status_code", i64::from(status));
}

/// The way to the collector. It is used from the exporter's own thread, which may block.
#[derive(Debug)]
struct Collector(Runtime);

#[async_trait::async_trait]
impl HttpClient for Collector {
    async fn send_bytes(&self, request: Request<Bytes>) -> Result<Response<Bytes>, HttpError> {
        self.0.block_on(async { tokio::time::timeout(PATIENCE, deliver(request)).await? })
    }
}

async fn deliver(request: Request<Bytes>) -> Result<Response<Bytes>, HttpError> {
    let (mut head, body) = request.into_parts();
    let host = head.uri.authority().ok_or("the collector's address has no host")?.clone();
    let address = (host.host(), host.port_u16().unwrap_or(80)).to_socket_addrs()?.next();
    let stream = TcpStream::connect(address.ok_or("the collector's host has no address")?).await?;
    let (mut sender, connection) = handshake(TokioIo::new(stream)).await?;
    let connection = tokio::spawn(connection);
    head.headers.insert(HOST, host.as_str().parse()?);
    head.uri = head.uri.path_and_query().map_or("/", |path| path.as_str()).parse()?;
    let answer = sender.send_request(Request::from_parts(head, Full::new(body))).await?;
    let (head, body) = answer.into_parts();
    let body = Limited::new(body, LARGEST).collect().await?.to_bytes();
    connection.abort();
    Ok(Response::from_parts(head, body))
}
