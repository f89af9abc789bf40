//! Documents that come in bodies: how large they may be, and their places among those that are worked on.

use std::fmt;
use std::sync::Arc;

use crate::admission::Place;
use crate::auth::Authenticated;
use crate::body::{self, Faults, Patience};
use crate::judging::Spare;
use crate::problem::Problem;
use crate::state::Gateway;
use axum::extract::{FromRequest, Request};
use axum::http::Extensions;
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use formats::opened::{Kind, open};
use serde::de::{DeserializeOwned, Visitor};
use serde::{Deserialize, Deserializer};

/// Octets of a document that comes in a body.
pub(crate) const MOST_OCTETS: usize = 16 << 20;

/// The document's body may be so many times larger than another's: 16 MiB in base64 and what is around it.
const BODY_FACTOR: usize = 24;

/// The routes that take documents.
const ROUTES: [&str; 8] = [
    "/v1/query-certificate-jobs",
    "/v1/retentions",
    "/v1/sessions:stamp",
    "/v1/stamp-jobs",
    "/v1/stamps",
    "/v1/stamps/{id}/archive",
    "/v1/stamps:verify",
    "/v1/uploads",
];

/// Octets of a body with a document at most.
pub(crate) fn body_limit(server: &config::Server) -> usize {
    server.body_limit.saturating_mul(BODY_FACTOR)
}

/// Whether a route takes documents.
pub(crate) fn is_document(route: &str) -> bool {
    ROUTES.contains(&route)
}

/// A document's place among those that are worked on, for as long as somebody has it.
#[derive(Clone)]
pub(crate) struct DocumentPlace(#[allow(dead_code, reason = "it is held, not read")] Arc<Held>);

enum Held {
    ByRequest(#[allow(dead_code, reason = "it is held, not read")] Place),
    ByJob(#[allow(dead_code, reason = "it is held, not read")] Spare),
}

impl DocumentPlace {
    /// The place that a request has, or a new one; there may be none left, or none for its app.
    pub(crate) fn of(extensions: &mut Extensions, gateway: &Gateway) -> Result<Self, Problem> {
        if let Some(place) = extensions.get::<Self>() {
            return Ok(place.clone());
        }
        let place = gateway.judging.admit_document()?;
        if extensions.get::<Authenticated>().is_some_and(|caller| !place.claim(caller.app_id())) {
            return Err(Problem::share_exceeded());
        }
        let place = Self(Arc::new(Held::ByRequest(place)));
        extensions.insert(place.clone());
        Ok(place)
    }
}

impl DocumentPlace {
    /// A place that no request needs now.
    pub(crate) fn spare(gateway: &Gateway) -> Option<Self> {
        gateway.judging.spare_document().map(|spare| Self(Arc::new(Held::ByJob(spare))))
    }
}

/// A body with a document, and its place.
pub(crate) struct DocumentBody<T> {
    pub(crate) request: T,
    pub(crate) place: DocumentPlace,
}

impl<T: DeserializeOwned> FromRequest<Gateway> for DocumentBody<T> {
    type Rejection = Problem;

    async fn from_request(mut request: Request, gateway: &Gateway) -> Result<Self, Problem> {
        // First the place: a body that nobody may work on is not read into memory.
        let place = DocumentPlace::of(request.extensions_mut(), gateway)?;
        let server = &gateway.config.server;
        let request = body::json(request, body_limit(server), Patience::of(server)).await?;
        Ok(Self { request, place })
    }
}

/// A document that comes in a body, base64. It is decoded while the body is read: its text, which is a third larger, is
/// neither copied nor kept.
#[derive(Clone)]
pub(crate) struct DocumentText(Result<Bytes, Refused>);

/// Why a text is no document.
#[derive(Clone)]
struct Refused {
    code: &'static str,
    detail: String,
}

impl DocumentText {
    fn decoded(text: &str) -> Result<Bytes, Refused> {
        // The slower one knows what is wrong, and where.
        let octets = base64_simd::STANDARD.decode_to_vec(text).or_else(|_| STANDARD.decode(text));
        let octets = octets.map_err(|error| Refused {
            code: "invalid_base64",
            detail: format!("must be padded standard base64: {error}"),
        })?;
        if octets.len() > MOST_OCTETS {
            let detail = format!("must have at most {MOST_OCTETS} octets, not {}", octets.len());
            return Err(Refused { code: "document_too_large", detail });
        }
        Ok(octets.into())
    }

    /// The document; none, and a fault, if it is not base64 or too large.
    pub(crate) fn octets(&self, faults: &mut Faults) -> Option<Bytes> {
        let refused = |refused: &Refused| faults.add("document", refused.code, refused.detail.clone());
        self.0.as_ref().map_err(refused).ok().cloned()
    }
}

impl<'de> Deserialize<'de> for DocumentText {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Text;
        impl Visitor<'_> for Text {
            type Value = DocumentText;
            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a string")
            }
            fn visit_str<E>(self, text: &str) -> Result<DocumentText, E> {
                Ok(DocumentText(DocumentText::decoded(text)))
            }
        }
        deserializer.deserialize_str(Text)
    }
}

/// A document in a field of another name.
pub(crate) fn octets_of(faults: &mut Faults, field: &'static str, text: &str) -> Option<Vec<u8>> {
    let refused = |refused: Refused| faults.add(field, refused.code, refused.detail);
    DocumentText::decoded(text).map_err(refused).ok().map(Vec::from)
}

/// What a document's head shows it to be; a copy of all of it is not needed for that.
pub(crate) fn recognised(octets: &[u8]) -> Option<Kind> {
    open(&octets[..octets.len().min(4096)]).kind
}
