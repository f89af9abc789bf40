//! `GET /v1/trust`: what certificates are judged by now, and how the sources of revocations are doing.

use std::sync::Arc;

use axum::Json;
use axum::extract::State;
use formats::{Crl, TrustStore};
use serde::Serialize;
use time::OffsetDateTime;
use utoipa::ToSchema;

use super::TrustKeeper;
use super::record::Record;
use super::shelf::Origin;
use crate::auth::{Authenticated, Scope};
use crate::problem::{Problem, ProblemDocument};
use crate::state::Gateway;

/// What certificates are judged by.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct TrustOverview {
    /// Since when all of it is as it is.
    #[serde(with = "time::serde::rfc3339")]
    #[schema(value_type = String, format = DateTime)]
    since: OffsetDateTime,
    /// Names what documents are judged by: another content, another generation.
    #[schema(example = "8e1f0c7b52d94a36")]
    documents_generation: String,
    /// The same for licenses.
    licenses_generation: String,
    /// Files that could not be used when they were last looked at, each with its field and why; what was in force
    /// before still is.
    refused_files: Vec<String>,
    /// The revocation lists in force, of each scope the newest.
    crls: Vec<CrlOverview>,
    /// The sources that are fetched from.
    sources: Vec<SourceOverview>,
}

/// A revocation list in force.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct CrlOverview {
    /// Its issuer's name (RFC 4514).
    pub(crate) issuer: String,
    /// The address it was fetched from; absent when it is from the files.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) url: Option<String>,
    /// Its number in hexadecimal, if it has one.
    number: Option<String>,
    /// How many certificates it lists.
    entries: usize,
    /// When it was issued.
    #[serde(with = "time::serde::rfc3339")]
    #[schema(value_type = String, format = DateTime)]
    pub(crate) this_update: OffsetDateTime,
    /// When its successor is due.
    #[serde(with = "time::serde::rfc3339::option")]
    #[schema(value_type = Option<String>, format = DateTime)]
    pub(crate) next_update: Option<OffsetDateTime>,
    /// Whether that has passed.
    pub(crate) overdue: bool,
}

/// How a source is doing.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct SourceOverview {
    /// `crl` or `ocsp`.
    pub(crate) kind: &'static str,
    /// Its address.
    pub(crate) url: String,
    /// What came of the last attempt: `none` before the first, `ok`, or why it failed.
    pub(crate) outcome: &'static str,
    /// The same for people.
    #[serde(skip_serializing_if = "Option::is_none")]
    detail: Option<String>,
    /// When it was last asked.
    #[serde(with = "time::serde::rfc3339::option")]
    #[schema(value_type = Option<String>, format = DateTime)]
    last_attempt: Option<OffsetDateTime>,
    /// When it last answered well.
    #[serde(with = "time::serde::rfc3339::option")]
    #[schema(value_type = Option<String>, format = DateTime)]
    pub(crate) last_success: Option<OffsetDateTime>,
    /// Attempts in a row that failed, up to now.
    pub(crate) failures: u32,
    /// Of a responder: how many certificates it is asked about.
    #[serde(skip_serializing_if = "Option::is_none")]
    known: Option<usize>,
    /// Of a responder: how many of them are good by its word.
    #[serde(skip_serializing_if = "Option::is_none")]
    good: Option<usize>,
    /// Of a responder: how many are revoked.
    #[serde(skip_serializing_if = "Option::is_none")]
    revoked: Option<usize>,
    /// Of a responder: how many it does not know.
    #[serde(skip_serializing_if = "Option::is_none")]
    unknown: Option<usize>,
    /// Attempts since the start, by what came of them.
    #[serde(skip)]
    pub(crate) counts: Vec<(&'static str, u64)>,
}

impl SourceOverview {
    fn new(kind: &'static str, url: String, record: Record) -> Self {
        Self {
            kind,
            url,
            outcome: record.outcome(),
            detail: record.failure.map(|failure| failure.detail),
            last_attempt: record.last,
            last_success: record.last_success,
            failures: record.failures,
            known: None,
            good: None,
            revoked: None,
            unknown: None,
            counts: record.counts.into_iter().collect(),
        }
    }
}

impl TrustKeeper {
    /// Of each scope the newest revocation list in force.
    pub(crate) fn crls(&self, now: OffsetDateTime) -> Vec<CrlOverview> {
        let overview = |(origin, crl): (Origin, Arc<Crl>)| CrlOverview {
            issuer: crl.issuer(),
            url: match origin {
                Origin::Files => None,
                Origin::Fetched(url) => Some(url.to_string()),
            },
            number: crl.number().map(hex::encode),
            entries: crl.len(),
            this_update: crl.this_update(),
            next_update: crl.next_update(),
            overdue: crl.next_update().is_some_and(|next| next < now),
        };
        self.shelf.newest_lists().into_iter().map(overview).collect()
    }

    /// How the sources are doing.
    pub(crate) fn sources(&self) -> Vec<SourceOverview> {
        let mut sources = Vec::new();
        for (source, attempts) in &self.jobs().crls {
            sources.push(SourceOverview::new("crl", source.url.to_string(), attempts.read()));
        }
        for responder in self.shelf.responders().iter() {
            let (url, counts) = (responder.source.url.to_string(), responder.counts());
            sources.push(SourceOverview {
                known: Some(counts.known),
                good: Some(counts.good),
                revoked: Some(counts.revoked),
                unknown: Some(counts.unknown),
                ..SourceOverview::new("ocsp", url, responder.attempts.read())
            });
        }
        sources
    }

    /// How many files could not be used when they were last looked at.
    pub(crate) fn refused_files(&self) -> usize {
        self.refused().len()
    }

    fn overview(&self, now: OffsetDateTime) -> TrustOverview {
        let generation = |store: Arc<TrustStore>| store.generation().to_string();
        TrustOverview {
            since: self.shelf.since(),
            documents_generation: generation(self.documents().current()),
            licenses_generation: generation(self.licenses().current()),
            refused_files: self.refused(),
            crls: self.crls(now),
            sources: self.sources(),
        }
    }
}

/// What certificates are judged by now: generations of trust, revocation lists with their ages, and how the sources
/// of revocations are doing.
#[utoipa::path(
    get, path = "/v1/trust", tag = "administration",
    responses(
        (status = 200, description = "what is in force", body = TrustOverview),
        (status = "4XX", description = "see `code`", body = ProblemDocument, content_type = "application/problem+json"),
    )
)]
pub(crate) async fn get_trust(
    caller: Authenticated,
    State(gateway): State<Gateway>,
) -> Result<Json<TrustOverview>, Problem> {
    caller.with(Scope::Maintenance)?;
    Ok(Json(gateway.trust.overview(OffsetDateTime::now_utc())))
}
