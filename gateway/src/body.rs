//! Reading a request's JSON body: bounded in size and time, every refusal with its own code and field.

use std::fmt;
use std::marker::PhantomData;
use std::time::Duration;

use axum::body::Body;
use axum::extract::{FromRequest, FromRequestParts, Path, Query, Request};
use axum::http::request::Parts;
use axum::http::{Uri, header};
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use bytes::{Bytes, BytesMut};
use http_body::Body as _;
use http_body_util::{BodyExt, LengthLimitError, Limited};
use serde::de::value::MapAccessDeserializer;
use serde::de::{DeserializeOwned, IgnoredAny, MapAccess, SeqAccess, Visitor};
use serde::{Deserialize, Deserializer, Serialize, Serializer};
use time::OffsetDateTime;
use time::format_description::well_known::Rfc3339;
use tokio::time::Instant;

use crate::batch;
use crate::people::form::is_unseen;
use crate::problem::{Fault, Problem};
use crate::stamps::document;
use crate::state::Gateway;

/// A JSON body of a known shape; unknown fields are faults.
pub(crate) struct JsonBody<T>(pub(crate) T);

impl<T: DeserializeOwned> FromRequest<Gateway> for JsonBody<T> {
    type Rejection = Problem;

    async fn from_request(request: Request, gateway: &Gateway) -> Result<Self, Problem> {
        let server = &gateway.config.server;
        json(request, server.body_limit, Patience::of(server)).await.map(Self)
    }
}

/// Octets of a route's body at most.
pub(crate) fn limit_of(route: &str, server: &config::Server) -> usize {
    if batch::is_batch(route) {
        batch::body_limit(server)
    } else if document::is_document(route) {
        document::body_limit(server)
    } else {
        server.body_limit
    }
}

/// How long a body may take.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Patience {
    /// In any case.
    pub(crate) time: Duration,
    /// Octets a second that let it take longer.
    pub(crate) rate: u64,
}

impl Patience {
    pub(crate) fn of(server: &config::Server) -> Self {
        Self { time: server.read_timeout, rate: server.min_body_rate }
    }
}

/// A JSON body of at most `limit` octets.
pub(crate) async fn json<T: DeserializeOwned>(
    request: Request,
    limit: usize,
    patience: Patience,
) -> Result<T, Problem> {
    let media_type = request.headers().get(header::CONTENT_TYPE).and_then(|value| value.to_str().ok());
    let essence = media_type.and_then(|value| value.split(';').next()).map(str::trim);
    if !essence.is_some_and(|essence| essence.eq_ignore_ascii_case("application/json")) {
        return Err(Problem::unsupported_media_type());
    }
    parse(&read(request.into_body(), limit, patience).await?)
}

/// The one variable segment of a path; one that is not UTF-8 names nothing.
pub(crate) struct Segment(pub(crate) String);

impl<S: Send + Sync> FromRequestParts<S> for Segment {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, Problem> {
        let Path(segment) = Path::from_request_parts(parts, state).await.map_err(|_| Problem::not_found())?;
        Ok(Self(segment))
    }
}

/// The query of a URL, checked against a type; what it does not know is refused.
pub(crate) struct QueryOf<T>(pub(crate) T);

impl<S: Send + Sync, T: DeserializeOwned> FromRequestParts<S> for QueryOf<T> {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, Problem> {
        query(&parts.uri).map(Self)
    }
}

/// A URL's query.
pub(crate) fn query<T: DeserializeOwned>(uri: &Uri) -> Result<T, Problem> {
    let query = Query::<T>::try_from_uri(uri);
    query.map(|query| query.0).map_err(|error| {
        Problem::faults(vec![Fault::new("query", "invalid_query", query_detail(&error.body_text()))])
    })
}

/// What is wrong with a query, without the name of a field that there is not: it can be anything, and stand in a log.
fn query_detail(complaint: &str) -> String {
    match complaint.split_once("unknown field ") {
        None => complaint.to_owned(),
        Some((_, rest)) => match rest.rsplit_once("expected ") {
            Some((_, known)) => format!("there is a field that is not {known}"),
            None => "no fields are expected".to_owned(),
        },
    }
}

/// A whole body of at most `limit` octets. It may take the site's time, and longer only as long as it comes fast
/// enough: somebody who sends an octet now and then does not hold a place for long.
pub(crate) async fn read(body: Body, limit: usize, patience: Patience) -> Result<Bytes, Problem> {
    read_holding(body, limit, patience, |_| Ok(())).await
}

/// The same; `hold` is told of each part's octets before they are kept, and may refuse them.
pub(crate) async fn read_holding(
    body: Body,
    limit: usize,
    patience: Patience,
    mut hold: impl FnMut(usize) -> Result<(), Problem>,
) -> Result<Bytes, Problem> {
    if body.size_hint().lower() > limit as u64 {
        return Err(Problem::body_too_large(limit));
    }
    let start = Instant::now();
    let announced = usize::try_from(body.size_hint().lower()).unwrap_or(0);
    let mut body = Limited::new(body, limit);
    let mut octets = BytesMut::new();
    loop {
        let earned = Duration::from_secs_f64(octets.len() as f64 / patience.rate as f64);
        let due = start + patience.time + earned;
        match tokio::time::timeout_at(due, body.frame()).await {
            Err(_) => return Err(Problem::body_timeout()),
            Ok(None) => return Ok(octets.freeze()),
            Ok(Some(Ok(frame))) => {
                let Ok(data) = frame.into_data() else { continue }; // trailers say nothing to us
                hold(data.len())?;
                if octets.is_empty() && body.is_end_stream() {
                    return Ok(data);
                }
                if octets.is_empty() {
                    // As much as was announced, which is not too much, so that what came is not copied as more comes; it
                    // takes memory as it is written.
                    octets.reserve(announced.max(data.len()));
                }
                octets.extend_from_slice(&data);
            }
            Ok(Some(Err(error))) if error.is::<LengthLimitError>() => {
                return Err(Problem::body_too_large(limit));
            }
            Ok(Some(Err(_))) => return Err(Problem::body_broken()),
        }
    }
}

/// A JSON object of a known shape.
pub(crate) fn parse<T: DeserializeOwned>(bytes: &[u8]) -> Result<T, Problem> {
    // To keep track of the place takes as long again as to read, and is for what is at fault only.
    if let Ok(Object(value)) = serde_json::from_slice(bytes) {
        return Ok(value);
    }
    let mut deserializer = serde_json::Deserializer::from_slice(bytes);
    let value = serde_path_to_error::deserialize::<_, Object<T>>(&mut deserializer).map_err(|error| {
        let path = error.path().to_string();
        let inner = error.into_inner();
        if inner.is_data() {
            Problem::faults(vec![data_fault(&path, &inner.to_string())])
        } else {
            syntax(&inner)
        }
    })?;
    deserializer.end().map_err(|error| syntax(&error))?;
    Ok(value.0)
}

/// A structure that is read from a JSON object only: derived readers take an array of its fields as well.
#[derive(Clone)]
pub(crate) struct Object<T>(pub(crate) T);

impl<'de, T: Deserialize<'de>> Deserialize<'de> for Object<T> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct OfMap<T>(PhantomData<T>);
        impl<'de, T: Deserialize<'de>> Visitor<'de> for OfMap<T> {
            type Value = Object<T>;
            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("an object")
            }
            fn visit_map<A: MapAccess<'de>>(self, map: A) -> Result<Object<T>, A::Error> {
                T::deserialize(MapAccessDeserializer::new(map)).map(Object)
            }
        }
        deserializer.deserialize_map(OfMap(PhantomData))
    }
}

/// A list of at most so many; of too many one more than that, which shows it, because each takes room.
#[derive(Clone)]
pub(crate) struct Few<T, const MOST: usize>(pub(crate) Vec<T>);

impl<'de, T: Deserialize<'de>, const MOST: usize> Deserialize<'de> for Few<T, MOST> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct OfSequence<T, const MOST: usize>(PhantomData<T>);
        impl<'de, T: Deserialize<'de>, const MOST: usize> Visitor<'de> for OfSequence<T, MOST> {
            type Value = Few<T, MOST>;
            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a sequence")
            }
            fn visit_seq<A: SeqAccess<'de>>(self, mut items: A) -> Result<Few<T, MOST>, A::Error> {
                let mut few = Vec::new();
                while few.len() <= MOST {
                    match items.next_element()? {
                        Some(item) => few.push(item),
                        None => return Ok(Few(few)),
                    }
                }
                while items.next_element::<IgnoredAny>()?.is_some() {}
                Ok(Few(few))
            }
        }
        deserializer.deserialize_seq(OfSequence(PhantomData))
    }
}

impl<T: Serialize> Serialize for Object<T> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        self.0.serialize(serializer)
    }
}

fn syntax(error: &serde_json::Error) -> Problem {
    Problem::malformed_json(format!("line {}, column {}: not JSON", error.line(), error.column()))
}

/// Sorts serde's complaint about a field. Its words are stable within the pinned version; a test holds them.
fn data_fault(path: &str, message: &str) -> Fault {
    let quoted = message.split('`').nth(1).unwrap_or_default();
    let parent = match path.rsplit_once('.') {
        Some((parent, _)) if path.ends_with(quoted) || path.ends_with('?') => format!("{parent}."),
        _ if path == "." || path == quoted || path.ends_with('?') => String::new(),
        _ => format!("{path}."),
    };
    let detail = message.split(" at line ").next().unwrap_or(message).to_owned();
    if message.starts_with("unknown field") {
        let quoted = if quoted.is_empty() { "(empty name)" } else { quoted };
        Fault::new(format!("{parent}{quoted}"), "unknown_field", "there is no such field")
    } else if message.starts_with("missing field") {
        let parent = if path == "." { String::new() } else { format!("{path}.") };
        Fault::new(format!("{parent}{quoted}"), "missing_field", "is required")
    } else if message.starts_with("duplicate field") {
        let parent = if path == "." { String::new() } else { format!("{path}.") };
        Fault::new(format!("{parent}{quoted}"), "duplicate_field", "stands twice")
    } else {
        Fault::new(if path == "." { "(body)" } else { path }, "invalid_type", detail)
    }
}

/// Collects what is wrong with a body's fields, so that the caller learns all of it at once.
#[derive(Default)]
pub(crate) struct Faults(Vec<Fault>);

/// As many are told: a list of a million bad names does not get a million faults.
const MOST_FAULTS: usize = 64;

impl Faults {
    pub(crate) fn add(&mut self, field: &str, code: &'static str, detail: impl Into<String>) {
        if self.0.len() < MOST_FAULTS {
            self.0.push(Fault::new(field, code, detail));
        }
    }

    /// Standard, padded base64.
    pub(crate) fn base64(&mut self, field: &str, text: &str) -> Option<Vec<u8>> {
        STANDARD
            .decode(text)
            .map_err(|error| {
                self.add(field, "invalid_base64", format!("must be padded standard base64: {error}"))
            })
            .ok()
    }

    /// Something its own parser reads.
    pub(crate) fn parse<T, E: fmt::Display>(
        &mut self,
        field: &str,
        code: &'static str,
        parsed: Result<T, E>,
    ) -> Option<T> {
        parsed.map_err(|error| self.add(field, code, error.to_string())).ok()
    }

    /// One of a few words; the default when it is absent.
    pub(crate) fn word<T: Copy>(
        &mut self,
        field: &str,
        text: Option<&str>,
        words: &[(&str, T)],
        default: T,
    ) -> Option<T> {
        let Some(text) = text else { return Some(default) };
        let found = words.iter().find(|(word, _)| *word == text).map(|(_, value)| *value);
        if found.is_none() {
            let words: Vec<_> = words.iter().map(|(word, _)| *word).collect();
            self.add(field, "invalid_value", format!("must be one of: {}", words.join(", ")));
        }
        found
    }

    /// 1 to `most` characters that are seen, without blanks around them; or nothing at all.
    pub(crate) fn seen(&mut self, field: &str, text: Option<&str>, most: usize) {
        let fits = |text: &str| {
            (1..=most).contains(&text.chars().count()) && text.trim() == text && !text.chars().any(is_unseen)
        };
        if !text.is_none_or(fits) {
            let detail = format!("must be 1 to {most} characters that are seen, without blanks around them");
            self.add(field, "invalid_value", detail);
        }
    }

    /// RFC 3339; a default when it is absent.
    pub(crate) fn time(
        &mut self,
        field: &str,
        text: Option<&str>,
        default: OffsetDateTime,
    ) -> Option<OffsetDateTime> {
        match text {
            None => Some(default),
            Some(text) => {
                let parsed = OffsetDateTime::parse(text, &Rfc3339);
                self.parse(field, "invalid_time", parsed.map_err(|_| "must be an RFC 3339 time"))
            }
        }
    }

    /// Forgets those of which this does not hold.
    pub(crate) fn retain(&mut self, holds: impl FnMut(&Fault) -> bool) {
        self.0.retain(holds);
    }

    /// How many there are.
    pub(crate) fn count(&self) -> usize {
        self.0.len()
    }

    /// Takes over what is wrong with a part, whose fields are found at this path.
    pub(crate) fn add_of(&mut self, path: &str, part: Self) {
        for Fault { field, code, detail } in part.0 {
            self.add(&format!("{path}.{field}"), code, detail);
        }
    }

    /// The value if nothing was wrong with any field.
    pub(crate) fn into_result<T>(self, value: Option<T>) -> Result<T, Problem> {
        match value {
            Some(value) if self.0.is_empty() => Ok(value),
            _ => Err(Problem::faults(self.0)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[derive(Deserialize)]
    #[serde(deny_unknown_fields)]
    #[allow(dead_code)]
    struct Outer {
        key: String,
        input: Option<Object<Inner>>,
    }

    #[derive(Deserialize)]
    #[serde(deny_unknown_fields)]
    #[allow(dead_code)]
    struct Inner {
        digest: String,
    }

    #[derive(Deserialize)]
    #[serde(deny_unknown_fields)]
    #[allow(dead_code)]
    struct Span {
        from: Option<String>,
        step: Option<u32>,
    }

    #[test]
    fn of_many_faults_some_are_told() {
        let mut faults = Faults::default();
        for _ in 0..1_000_000 {
            faults.add("keys", "unknown_key", "there is no such key");
        }
        let problem = faults.into_result(Some(())).expect_err("faults");
        assert_eq!(problem.fields().count(), MOST_FAULTS);
    }

    #[test]
    fn a_query_is_refused_without_saying_again_what_it_said() {
        let refused = |uri: &'static str| {
            let problem = query::<Span>(&Uri::from_static(uri)).err().expect(uri);
            assert_eq!((problem.code(), problem.fields().next()), ("invalid_query", Some("query")));
            format!("{problem:?}")
        };
        let said = refused("/?610102199001011234=1");
        assert!(said.contains("there is a field that is not `from` or `step`"), "{said}");
        assert!(!said.contains("610102199001011234"), "{said}");
        assert!(!refused("/?expected%20610102199001011234=1").contains("610102199001011234"));
        assert!(!refused("/?step=610102199001011234a").contains("610102199001011234"));
        assert!(refused("/?from=1&from=2").contains("duplicate field"));
        assert_eq!(query::<Span>(&Uri::from_static("/?step=7")).ok().and_then(|span| span.step), Some(7));
    }

    #[test]
    fn each_kind_of_bad_body_has_its_code_and_names_the_field() {
        for (body, code, field) in [
            (r#"{"key":"#, "malformed_json", ""),
            (r#"{"key":"a"} x"#, "malformed_json", ""),
            ("\u{feff}{}", "malformed_json", ""),
            (r#"{"key":"a","colour":1}"#, "unknown_field", "colour"),
            (r#"{"key":"a","":1}"#, "unknown_field", "(empty name)"),
            (r#"{"key":"a","input":{"digest":"x","z":1}}"#, "unknown_field", "input.z"),
            (r#"{"input":{"digest":"x"}}"#, "missing_field", "key"),
            (r#"{"key":"a","input":{}}"#, "missing_field", "input.digest"),
            (r#"{"key":1}"#, "invalid_type", "key"),
            (r#"{"key":"a","input":{"digest":[]}}"#, "invalid_type", "input.digest"),
            (r#"{"key":"a","key":"b"}"#, "duplicate_field", "key"),
            (r#"{"key":"a","input":["x"]}"#, "invalid_type", "input"),
            (r#"["a",null]"#, "invalid_type", "(body)"),
            ("7", "invalid_type", "(body)"),
        ] {
            let problem = parse::<Outer>(body.as_bytes()).err().expect(body);
            let fields: Vec<_> = problem.fields().collect();
            assert_eq!(problem.code(), code, "{body}: {problem:?}");
            assert_eq!(fields.first().copied().unwrap_or_default(), field, "{body}: {problem:?}");
        }
    }
}
