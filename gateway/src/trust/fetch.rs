//! HTTP to configured sources, and to nobody else: an address in a certificate is never asked. Everything that comes
//! back is bounded in time and size.

use std::sync::Arc;

use config::SourceUrl;
use formats::Certificate;
use formats::verdict::Finding;
use reqwest::header::{
    ACCEPT, CONTENT_TYPE, ETAG, HeaderMap, IF_MODIFIED_SINCE, IF_NONE_MATCH, LAST_MODIFIED,
};
use reqwest::redirect::{Attempt, Policy};
use reqwest::{Client, Proxy, RequestBuilder, Response, StatusCode};
use rustls::crypto::aws_lc_rs::default_provider;
use rustls::pki_types::CertificateDer;
use rustls::{ClientConfig, RootCertStore};
use serde::{Deserialize, Serialize};

use crate::error::with_causes;

/// Redirects followed, within the configured origin.
const MOST_REDIRECTS: usize = 3;

/// The longest OCSP response, octets; those of today have a few thousand.
const OCSP_LIMIT: usize = 64 << 10;

/// The longest answer of a timestamp authority, octets; a token with a long chain has less than ten thousand.
const TIMESTAMP_LIMIT: usize = 64 << 10;

/// The longest validator kept, octets.
const LONGEST_VALIDATOR: usize = 1_024;

/// Why a fetch brought nothing: a stable code, and what to say of it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Failure {
    pub(crate) code: &'static str,
    pub(crate) detail: String,
}

impl Failure {
    pub(super) fn new(code: &'static str, detail: impl Into<String>) -> Self {
        Self { code, detail: detail.into() }
    }

    /// Does it speak of the source as a whole, so that it is of no use to ask it for something else now?
    pub(super) fn concerns_source(&self) -> bool {
        ["unreachable", "timeout", "http_status", "redirect_refused"].contains(&self.code)
    }

    /// Does it look like somebody's attempt rather than a breakdown?
    pub(super) fn is_suspicious(&self) -> bool {
        !self.concerns_source() && !["too_large", "malformed"].contains(&self.code)
    }

    fn of(error: &reqwest::Error) -> Self {
        let code = if error.is_timeout() {
            "timeout"
        } else if error.is_redirect() {
            "redirect_refused"
        } else {
            "unreachable"
        };
        Self::new(code, with_causes(error))
    }
}

impl From<Finding> for Failure {
    fn from(finding: Finding) -> Self {
        Self { code: finding.code, detail: finding.detail }
    }
}

/// What a server gave to ask it whether anything is new (RFC 9110, 8.8).
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Validators {
    etag: Option<String>,
    last_modified: Option<String>,
}

impl Validators {
    fn of(headers: &HeaderMap) -> Self {
        let text = |name| {
            let value = headers.get(name)?.to_str().ok()?;
            (value.len() <= LONGEST_VALIDATOR).then(|| value.to_owned())
        };
        Self { etag: text(ETAG), last_modified: text(LAST_MODIFIED) }
    }

    fn asked_with(&self, mut request: RequestBuilder) -> RequestBuilder {
        if let Some(etag) = &self.etag {
            request = request.header(IF_NONE_MATCH, etag);
        }
        if let Some(time) = &self.last_modified {
            request = request.header(IF_MODIFIED_SINCE, time);
        }
        request
    }
}

/// What a conditional GET brought.
pub(super) enum Fetched {
    New(Vec<u8>, Validators),
    Unchanged,
}

/// Fetches and sends by one configuration.
pub(crate) struct Fetcher {
    client: Client,
    crl_limit: usize,
}

impl Fetcher {
    /// `tls_anchors`: roots of the sources' HTTPS.
    ///
    /// # Errors
    /// What of the configuration cannot be used.
    pub(super) fn new(fetch: &config::Fetch, tls_anchors: &[Certificate]) -> Result<Self, String> {
        let mut client = Client::builder()
            .tls_backend_preconfigured(tls_client(tls_anchors)?)
            .no_proxy() // the environment has no say
            .redirect(Policy::custom(within_origin))
            .timeout(fetch.timeout)
            .pool_max_idle_per_host(1)
            .user_agent("license-gateway");
        if let Some(proxy) = &fetch.proxy {
            client = client.proxy(Proxy::all(proxy.as_str()).map_err(|error| with_causes(&error))?);
        }
        let client = client.build().map_err(|error| with_causes(&error))?;
        Ok(Self { client, crl_limit: fetch.crl_limit })
    }

    /// A revocation list, unless it is what `validators` stand for.
    pub(super) async fn crl(&self, url: &SourceUrl, validators: &Validators) -> Result<Fetched, Failure> {
        let request = self.client.get(url.as_str()).header(ACCEPT, "application/pkix-crl, */*");
        let response = validators.asked_with(request).send().await.map_err(|error| Failure::of(&error))?;
        if response.status() == StatusCode::NOT_MODIFIED && *validators != Validators::default() {
            return Ok(Fetched::Unchanged);
        }
        let new = Validators::of(response.headers());
        Ok(Fetched::New(body(response, self.crl_limit).await?, new))
    }

    /// A responder's answer to a request (RFC 6960, appendix A.1).
    pub(super) async fn ocsp(&self, url: &SourceUrl, request: Vec<u8>) -> Result<Vec<u8>, Failure> {
        let request =
            self.client.post(url.as_str()).header(CONTENT_TYPE, "application/ocsp-request").body(request);
        let response = request.send().await.map_err(|error| Failure::of(&error))?;
        body(response, OCSP_LIMIT).await
    }

    /// A timestamp authority's answer to a request (RFC 3161, 3.4).
    pub(crate) async fn timestamp(&self, url: &SourceUrl, request: Vec<u8>) -> Result<Vec<u8>, Failure> {
        let post = self.client.post(url.as_str()).header(CONTENT_TYPE, "application/timestamp-query");
        let post = post.header(ACCEPT, "application/timestamp-reply").body(request);
        let response = post.send().await.map_err(|error| Failure::of(&error))?;
        body(response, TIMESTAMP_LIMIT).await
    }

    /// Sends a text; what is answered does not matter if it is a success.
    pub(crate) async fn post_text(&self, url: &SourceUrl, text: String) -> Result<(), Failure> {
        let request = self.client.post(url.as_str()).header(CONTENT_TYPE, "text/plain; charset=utf-8");
        let response = request.body(text).send().await.map_err(|error| Failure::of(&error))?;
        if response.status().is_success() {
            Ok(())
        } else {
            Err(Failure::new("http_status", format!("it answered {}", response.status())))
        }
    }
}

/// How the gateway asks others over TLS; `tls_anchors` are the roots of their certificates.
///
/// # Errors
/// What of it cannot be used.
pub(super) fn tls_client(tls_anchors: &[Certificate]) -> Result<ClientConfig, String> {
    Ok(ClientConfig::builder_with_provider(Arc::new(default_provider()))
        .with_safe_default_protocol_versions()
        .map_err(|error| error.to_string())?
        .with_root_certificates(roots(tls_anchors)?)
        .with_no_client_auth())
}

/// Certificates as roots of TLS.
///
/// # Errors
/// Which of them cannot be one.
pub(super) fn roots(anchors: &[Certificate]) -> Result<RootCertStore, String> {
    let mut roots = RootCertStore::empty();
    for anchor in anchors {
        let added = roots.add(CertificateDer::from(anchor.der()));
        added.map_err(|error| format!("{} cannot be a root of TLS: {error}", anchor.subject()))?;
    }
    Ok(roots)
}

/// A configured address may send on to another of the same server, nowhere else.
fn within_origin(attempt: Attempt<'_>) -> reqwest::redirect::Action {
    let same = attempt.previous().first().is_some_and(|first| first.origin() == attempt.url().origin());
    if !same {
        attempt.error("it sends on to an address that is not configured")
    } else if attempt.previous().len() > MOST_REDIRECTS {
        attempt.error("it sends on too often")
    } else {
        attempt.follow()
    }
}

async fn body(mut response: Response, limit: usize) -> Result<Vec<u8>, Failure> {
    if response.status() != StatusCode::OK {
        return Err(Failure::new("http_status", format!("it answered {}", response.status())));
    }
    let too_large = || Failure::new("too_large", format!("it sent more than {limit} octets"));
    if response.content_length().is_some_and(|length| length > limit as u64) {
        return Err(too_large());
    }
    let mut octets = Vec::new();
    while let Some(chunk) = response.chunk().await.map_err(|error| Failure::of(&error))? {
        if octets.len() + chunk.len() > limit {
            return Err(too_large());
        }
        octets.extend_from_slice(&chunk);
    }
    Ok(octets)
}
