//! Calls over many items: each item has its answer, in the order of the request, whatever the others are.

use std::sync::Arc;

use axum::extract::{FromRequest, FromRequestParts, Request};
use axum::http::request::Parts;
use axum::http::{HeaderValue, header};
use axum::response::{IntoResponse, Response};
use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use crate::auth::{Authenticated, Scope};
use crate::body::{self, Patience};
use crate::problem::{Fault, Problem, ProblemDocument};
use crate::state::Gateway;

/// The most items of a batch.
pub(crate) const MOST_ITEMS: usize = 1_000;

/// Items judged in one go on one core: small enough that batches of several callers take turns.
const CHUNK: usize = 32;

/// A batch's body may be so many times larger than another's.
const BODY_FACTOR: usize = 16;

/// Batches of orders that are read and carried out at once; one more is answered 503.
const MOST_ORDERED: usize = 32;

/// Octets of a batch's body at most.
pub(crate) fn body_limit(server: &config::Server) -> usize {
    server.body_limit.saturating_mul(BODY_FACTOR)
}

/// Whether a route takes batches.
pub(crate) fn is_batch(route: &str) -> bool {
    route.ends_with(":batch") || route.ends_with("-batch")
}

/// Places for batches of orders. They are not those of batches to be judged: those need no devices, and do not wait
/// where devices are slow.
#[derive(Clone)]
pub(crate) struct Places(Arc<Semaphore>);

impl Default for Places {
    fn default() -> Self {
        Self(Arc::new(Semaphore::new(MOST_ORDERED)))
    }
}

/// The place of a batch of orders, from before its body is read until it is answered.
#[derive(Clone)]
pub(crate) struct Place {
    _permit: Arc<OwnedSemaphorePermit>,
}

impl FromRequestParts<Gateway> for Place {
    type Rejection = Problem;

    /// Asked twice about one request it gives the same place.
    async fn from_request_parts(parts: &mut Parts, gateway: &Gateway) -> Result<Self, Problem> {
        if let Some(place) = parts.extensions.get::<Self>() {
            return Ok(place.clone());
        }
        Authenticated::from_request_parts(parts, gateway).await?.with(Scope::Signatures)?;
        let permit = Arc::clone(&gateway.places.0).try_acquire_owned().map_err(|_| Problem::overloaded())?;
        let place = Self { _permit: Arc::new(permit) };
        parts.extensions.insert(place.clone());
        Ok(place)
    }
}

/// `{items: […]}` of orders, its items not read yet.
pub(crate) struct Orders {
    pub(crate) items: Vec<Item>,
    pub(crate) place: Place,
}

impl FromRequest<Gateway> for Orders {
    type Rejection = Problem;

    async fn from_request(request: Request, gateway: &Gateway) -> Result<Self, Problem> {
        let (mut parts, body) = request.into_parts();
        let place = Place::from_request_parts(&mut parts, gateway).await?;
        let server = &gateway.config.server;
        let request = Request::from_parts(parts, body);
        let items = items(request, body_limit(server), Patience::of(server)).await?;
        Ok(Self { items, place })
    }
}

/// `{items: […]}`, its items not read yet, and its place among the batches that are worked on.
pub(crate) struct Batch {
    pub(crate) items: Vec<Item>,
    pub(crate) place: OwnedSemaphorePermit,
}

/// One item as it came.
pub(crate) type Item = Box<RawValue>;

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Body {
    items: Vec<Item>,
}

impl FromRequest<Gateway> for Batch {
    type Rejection = Problem;

    async fn from_request(request: Request, gateway: &Gateway) -> Result<Self, Problem> {
        // First the place: a body that nobody may work on is not read into memory.
        let place = gateway.judging.admit()?;
        let limit = body_limit(&gateway.config.server);
        let items = items(request, limit, Patience::of(&gateway.config.server)).await?;
        Ok(Self { items, place })
    }
}

/// The items of a body of at most `limit` octets.
pub(crate) async fn items(request: Request, limit: usize, patience: Patience) -> Result<Vec<Item>, Problem> {
    let Body { items } = body::json(request, limit, patience).await?;
    if !(1..=MOST_ITEMS).contains(&items.len()) {
        let detail = format!("a batch has 1 to {MOST_ITEMS} items, not {}", items.len());
        return Err(Problem::faults(vec![Fault::new("items", "batch_size", detail)]));
    }
    Ok(items)
}

/// The items in parts that are judged in one go each.
pub(crate) fn chunks(items: Vec<Item>) -> Vec<Vec<Item>> {
    let mut items = items.into_iter();
    let mut chunks = Vec::new();
    loop {
        let chunk: Vec<_> = items.by_ref().take(CHUNK).collect();
        if chunk.is_empty() {
            return chunks;
        }
        chunks.push(chunk);
    }
}

/// What stands in the answer for an item that could not be judged.
#[derive(Serialize)]
struct Refused {
    problem: ProblemDocument,
}

/// Answers to items that follow each other, written out.
#[derive(Default)]
pub(crate) struct Answers(Vec<u8>);

impl Answers {
    pub(crate) fn push<T: Serialize>(&mut self, answer: Result<T, Problem>, request_id: &str) {
        if !self.0.is_empty() {
            self.0.push(b',');
        }
        let start = self.0.len();
        let written = match answer {
            Ok(answer) => serde_json::to_writer(&mut self.0, &answer),
            Err(problem) => {
                let problem = problem.document(request_id.to_owned());
                serde_json::to_writer(&mut self.0, &Refused { problem })
            }
        };
        if written.is_err() {
            self.0.truncate(start);
            self.0.extend_from_slice(b"{}");
        }
    }
}

/// `{items: […], request_id}`, its items in so many parts, none of which is empty.
pub(crate) fn answer(parts: &[Answers]) -> Response {
    let json = HeaderValue::from_static("application/json");
    ([(header::CONTENT_TYPE, json)], document(parts, &crate::request_id::current())).into_response()
}

/// The answer's body.
pub(crate) fn document(parts: &[Answers], request_id: &str) -> Vec<u8> {
    let mut body = opened(parts);
    // An id is of letters, digits and `._-`.
    body.extend_from_slice(format!(",\"request_id\":\"{request_id}\"}}").as_bytes());
    body
}

/// `{items: […]`, for more members to follow.
pub(crate) fn opened(parts: &[Answers]) -> Vec<u8> {
    let length: usize = parts.iter().map(|part| part.0.len() + 1).sum();
    let mut body = Vec::with_capacity(length + 128);
    body.extend_from_slice(b"{\"items\":[");
    for (place, part) in parts.iter().enumerate() {
        if place > 0 {
            body.push(b',');
        }
        body.extend_from_slice(&part.0);
    }
    body.push(b']');
    body
}
