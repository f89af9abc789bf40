//! `GET /v1/retentions…`: what was kept of licenses, for the app whose it is and for auditors.

use std::collections::BTreeMap;

use axum::Json;
use axum::extract::State;
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use serde::{Deserialize, Serialize};
use store::{AuditEntry, KeptRetention, RetentionQuery, leaf_hash, root_of};
use time::OffsetDateTime;
use utoipa::ToSchema;

use super::asking;
use super::record::{RetainedFile, RetentionRecord};
use crate::audit::{InclusionResponse, proof_of};
use crate::auth::{Authenticated, Scope};
use crate::body::{Faults, QueryOf, Segment};
use crate::licenses::read_uscc;
use crate::problem::{Problem, ProblemDocument};
use crate::state::Gateway;

/// Retentions of a page, where the caller says nothing, and at most.
const USUAL_PAGE: u32 = 20;
const LARGEST_PAGE: u32 = 100;
/// Octets of what licenses were judged by that leave in one answer, before they are written in base64.
const MOST_EVIDENCE: u64 = 16 << 20;
/// What evidence says that it is.
const EVIDENCE: &str = "license-gateway retention evidence 1";

/// A license that is kept.
#[derive(Serialize, ToSchema)]
pub(crate) struct RetentionItem {
    /// Where it stands in the audit log.
    audit_index: u64,
    /// SM3 of the record's text, hexadecimal, as it stands in the audit log.
    record_sm3: String,
    #[serde(flatten)]
    record: RetentionRecord,
}

/// A license that is kept, in short.
#[derive(Serialize, ToSchema)]
pub(crate) struct RetentionSummary {
    /// Its number.
    id: String,
    /// Whose it is.
    app: String,
    /// Where it came from: `library`, `file` or `session`.
    source: String,
    /// Unified social credit code, where the license has a right one.
    uscc: Option<String>,
    /// The enterprise's name, as far as the app may see it.
    name: Option<String>,
    /// The code of the business item.
    item: String,
    /// The app's own number for the business.
    biz_no: String,
    /// The file.
    file: RetainedFile,
    /// How it was judged.
    verdict: String,
    /// When it was judged and kept.
    #[serde(with = "time::serde::rfc3339")]
    #[schema(value_type = String)]
    retained_at: OffsetDateTime,
    /// Until when it is kept.
    #[serde(with = "time::serde::rfc3339")]
    #[schema(value_type = String)]
    keep_until: OffsetDateTime,
    /// Where it stands in the audit log.
    audit_index: u64,
}

/// Retentions.
#[derive(Serialize, ToSchema)]
pub(crate) struct RetentionList {
    /// The newest first.
    items: Vec<RetentionSummary>,
    /// `cursor` of the next page; null when this was the last.
    next: Option<String>,
}

/// What a retention is proved by when its license's certificates are no more.
#[derive(Serialize, ToSchema)]
pub(crate) struct RetentionEvidence {
    /// `license-gateway retention evidence 1`.
    format: &'static str,
    /// The record as it was kept, octet by octet: its SM3 is the entry's `result_digest`, the file's the `input_digest`.
    record: String,
    /// The entry of the audit log, octet by octet.
    entry: String,
    /// The proof that the log has it, as of `GET /v1/audit/proofs/{index}`; absent before a checkpoint covers it.
    #[serde(skip_serializing_if = "Option::is_none")]
    proof: Option<InclusionResponse>,
    /// base64 by SM3: certificates, CRLs and OCSP answers that the record's `evidence` names.
    #[schema(value_type = Object)]
    items: BTreeMap<String, String>,
}

/// Which retentions.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct RetentionsQuery {
    biz_no: Option<String>,
    uscc: Option<String>,
    cursor: Option<String>,
    limit: Option<u32>,
}

/// The retentions of the app that asks; for who has the scope `audit`, of all.
#[utoipa::path(
    get, path = "/v1/retentions", tag = "licenses",
    params(
        ("biz_no" = Option<String>, Query, description = "only those for this business; of an app, whose number it is"),
        ("uscc" = Option<String>, Query, description = "only those of this entity's licenses"),
        ("cursor" = Option<String>, Query, description = "`next` of the page before"),
        ("limit" = Option<u32>, Query, description = "retentions of a page, 1 to 100. Default 20"),
    ),
    responses(
        (status = 200, description = "the newest first; those whose time is over are not among them", body = RetentionList),
        (status = 422, description = "a parameter cannot be used; see `errors`", body = ProblemDocument, content_type = "application/problem+json"),
    )
)]
pub(crate) async fn list_retentions(
    caller: Authenticated,
    State(gateway): State<Gateway>,
    QueryOf(query): QueryOf<RetentionsQuery>,
) -> Result<Json<RetentionList>, Problem> {
    let app = match asking(&caller) {
        Ok(app) => {
            caller.using(Scope::Licenses, &gateway)?;
            Some(app)
        }
        Err(_) => caller.using(Scope::Audit, &gateway).map(|_| None)?,
    };
    let limit = query.limit.unwrap_or(USUAL_PAGE);
    let mut faults = Faults::default();
    if !(1..=LARGEST_PAGE).contains(&limit) {
        faults.add("limit", "invalid_value", format!("must be 1 to {LARGEST_PAGE}"));
    }
    let before = query.cursor.as_deref().map(|cursor| {
        let (at, id) = cursor.split_once('.')?;
        let is_number = |id: &str| id.bytes().all(|octet| octet.is_ascii_alphanumeric() || octet == b'-');
        Some((at.parse::<i64>().ok()?, id)).filter(|(_, id)| is_number(id))
    });
    if before == Some(None) {
        faults.add("cursor", "invalid_value", "must be `next` of the page before");
    }
    if app.is_none() && query.biz_no.is_some() {
        faults.add("biz_no", "not_applicable", "is a number of the app that asks, and this caller is none");
    }
    faults.into_result(Some(()))?;
    let uscc = query.uscc.as_deref().map(|uscc| read_uscc(&gateway, uscc)).transpose()?;
    let wanted = RetentionQuery {
        app: app.map(|app| &app.id),
        biz_no: query.biz_no.as_deref(),
        uscc: uscc.as_ref().map(|uscc| uscc.as_str()),
        before: before.flatten(),
        now: OffsetDateTime::now_utc(),
        limit,
    };
    let found = gateway.store.retentions(&wanted).await.map_err(|error| Problem::from_retentions(&error))?;
    let is_full = u32::try_from(found.len()).is_ok_and(|count| count == limit);
    let last = found.last().filter(|_| is_full);
    let next = last.map(|last| format!("{}.{}", last.made_at.unix_timestamp(), last.id));
    let leaves: Vec<_> = found.iter().map(|kept| leaf_hash(kept.id.as_bytes())).collect();
    let items = found.iter().map(|kept| summary(kept, wanted.now)).collect::<Result<Vec<_>, _>>()?;
    let said = format!("{} retentions", leaves.len());
    record(&gateway, &caller, "retention.list", "ok", (said, Some(hex::encode(root_of(&leaves))))).await?;
    Ok(Json(RetentionList { items, next }))
}

/// A license that is kept: what was found of it when it was shown.
#[utoipa::path(
    get, path = "/v1/retentions/{id}", tag = "licenses",
    params(("id" = String, Path, description = "its number")),
    responses(
        (status = 200, description = "as it was kept", body = RetentionItem),
        (status = 404, description = "`unknown_retention`: there is none, or it is another app's and the scope `audit` is missing", body = ProblemDocument, content_type = "application/problem+json"),
        (status = 410, description = "`retention_over`", body = ProblemDocument, content_type = "application/problem+json"),
        (status = 500, description = "`retention_broken`: what is kept is not what was kept", body = ProblemDocument, content_type = "application/problem+json"),
    )
)]
pub(crate) async fn get_retention(
    caller: Authenticated,
    State(gateway): State<Gateway>,
    Segment(id): Segment,
) -> Result<Json<RetentionItem>, Problem> {
    let (kept, read) = seen(&gateway, &caller, &id, "retention.read").await?;
    let record_sm3 = hex::encode(kept.digest);
    record(&gateway, &caller, "retention.read", "ok", (kept.id, Some(record_sm3.clone()))).await?;
    Ok(Json(RetentionItem { audit_index: kept.audit_index, record_sm3, record: read }))
}

/// What a retention is proved by, and its license judged by, when certificates have expired and lists are gone: keep it with
/// the file where that is to leave the site.
#[utoipa::path(
    get, path = "/v1/retentions/{id}/evidence", tag = "licenses",
    params(("id" = String, Path, description = "its number")),
    responses(
        (status = 200, description = "record, entry and proof of the audit log, and what the license was judged by", body = RetentionEvidence),
        (status = 404, description = "`unknown_retention`", body = ProblemDocument, content_type = "application/problem+json"),
        (status = 409, description = "`evidence_too_large`: it has more than 16 MiB", body = ProblemDocument, content_type = "application/problem+json"),
        (status = 410, description = "`retention_over`", body = ProblemDocument, content_type = "application/problem+json"),
        (status = 500, description = "`retention_broken`: what is kept is not what was kept", body = ProblemDocument, content_type = "application/problem+json"),
    )
)]
pub(crate) async fn get_retention_evidence(
    caller: Authenticated,
    State(gateway): State<Gateway>,
    Segment(id): Segment,
) -> Result<Json<RetentionEvidence>, Problem> {
    const ACTION: &str = "retention.evidence";
    let (kept, read) = seen(&gateway, &caller, &id, ACTION).await?;
    let broken = |what: &str| Problem::retention_broken(&kept.id, what);
    let found = items(&gateway, &kept, &read).await;
    let items = match found {
        Ok(items) => items,
        Err(problem) => return Err(refused(&gateway, &caller, ACTION, &kept.id, problem).await),
    };
    let proof = proof_of(&gateway, kept.log, kept.audit_index).await?;
    let text = kept.record.as_ref().and_then(|text| String::from_utf8(text.to_vec()).ok());
    let evidence = RetentionEvidence {
        format: EVIDENCE,
        record: text.ok_or_else(|| broken("its record is no text"))?,
        entry: String::from_utf8(kept.entry.clone()).map_err(|_| broken("its entry is no text"))?,
        proof: proof.and_then(|proof| proof.with_entry(&kept.entry)),
        items,
    };
    record(&gateway, &caller, ACTION, "ok", (kept.id.clone(), Some(hex::encode(kept.digest)))).await?;
    Ok(Json(evidence))
}

/// What the license was judged by: all that its record names, and nothing else.
async fn items(
    gateway: &Gateway,
    kept: &KeptRetention,
    read: &RetentionRecord,
) -> Result<BTreeMap<String, String>, Problem> {
    let broken = |what: String| Problem::retention_broken(&kept.id, &what);
    let names = &read.evidence;
    let (mut items, mut octets) = (BTreeMap::new(), 0);
    for name in names.certificates.iter().chain(&names.crls).chain(&names.ocsps) {
        let mut digest = [0; 32];
        hex::decode_to_slice(name, &mut digest).map_err(|_| broken(format!("{name} is no digest")))?;
        let failed = |error| match error {
            store::StoreError::Altered { .. } | store::StoreError::Blobs { .. } => {
                broken(format!("{name}, which its license was judged by, is damaged or not there"))
            }
            error => Problem::database(&error),
        };
        octets += gateway.evidence.octets(&digest).await.map_err(failed)?;
        if octets > MOST_EVIDENCE {
            return Err(Problem::evidence_too_large(MOST_EVIDENCE));
        }
        let item = gateway.evidence.get(&digest).await.map_err(failed)?;
        items.insert(name.clone(), STANDARD.encode(item));
    }
    Ok(items)
}

/// A retention, for the app whose it is and for auditors. That it cannot be seen is on record.
///
/// # Errors
/// `unknown_retention`: nobody else is told whether there is one; `retention_over`; `retention_broken`.
pub(super) async fn seen(
    gateway: &Gateway,
    caller: &Authenticated,
    id: &str,
    action: &'static str,
) -> Result<(KeptRetention, RetentionRecord), Problem> {
    caller.with(Scope::Licenses).or_else(|_| caller.with(Scope::Audit))?;
    let found = gateway.store.retention(id).await.map_err(|error| Problem::from_retentions(&error));
    let kept = match found {
        Ok(kept) => kept.ok_or_else(Problem::unknown_retention)?,
        // Who has no part in it is not told that there is one; nor can it be said whose it is.
        Err(problem) if problem.code() == "retention_broken" => {
            return Err(refused(gateway, caller, action, id, problem).await);
        }
        Err(problem) => return Err(problem),
    };
    let own =
        asking(caller).is_ok_and(|app| app.id == kept.app) && caller.using(Scope::Licenses, gateway).is_ok();
    if !own && caller.using(Scope::Audit, gateway).is_err() {
        return Err(Problem::unknown_retention());
    }
    match RetentionRecord::of(&kept, OffsetDateTime::now_utc()) {
        Ok(read) => Ok((kept, read)),
        Err(problem) => Err(refused(gateway, caller, action, id, problem).await),
    }
}

fn summary(kept: &KeptRetention, now: OffsetDateTime) -> Result<RetentionSummary, Problem> {
    let read = RetentionRecord::of(kept, now)?;
    Ok(RetentionSummary {
        id: read.id,
        app: read.app,
        source: read.source,
        uscc: read.uscc,
        name: read.name,
        item: read.item,
        biz_no: read.biz_no,
        file: read.file,
        verdict: read.verdict,
        retained_at: read.retained_at,
        keep_until: read.keep_until,
        audit_index: kept.audit_index,
    })
}

/// A look at what is kept is on record before its answer leaves: at which retention, and what was seen of it.
pub(super) async fn record(
    gateway: &Gateway,
    caller: &Authenticated,
    action: &str,
    outcome: &str,
    (subject, digest): (String, Option<String>),
) -> Result<(), Problem> {
    let entry = AuditEntry {
        action: action.to_owned(),
        actor: caller.actor(),
        at: OffsetDateTime::now_utc(),
        device: None,
        input_digest: None,
        key: None,
        outcome: outcome.to_owned(),
        request_id: crate::request_id::current(),
        result_digest: digest,
        subject: Some(subject),
    };
    let recorded = gateway.audit.append(entry).await;
    recorded.map(drop).map_err(|error| Problem::record_unavailable(&error))
}

/// A refusal that is on record; why it is not, if it is not.
pub(super) async fn refused(
    gateway: &Gateway,
    caller: &Authenticated,
    action: &str,
    id: &str,
    problem: Problem,
) -> Problem {
    let recorded = record(gateway, caller, action, problem.code(), (id.to_owned(), None)).await;
    recorded.err().unwrap_or(problem)
}
