//! `/v1/query-certificates`: 打印查询证明, what the license library says of an entity at one time, certified by the agency.

pub(crate) mod jobs;
mod make;

use std::time::Duration;

use axum::Json;
use axum::extract::State;
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use formats::query_certificate::{CertifiedStatus, Snapshot};
use formats::uscc::Uscc;
use serde::{Deserialize, Serialize};
use store::KeptSnapshot;
use time::OffsetDateTime;
use tokio::sync::watch;
use utoipa::ToSchema;

use crate::auth::{Authenticated, Scope};
use crate::body::{Faults, JsonBody, Segment};
use crate::error::with_causes;
use crate::problem::{Problem, ProblemDocument};
use crate::stamps::make::grouped;
use crate::state::Gateway;
use crate::timestamps::WatchedClock;

/// Characters of what a certificate is for.
const MOST_PURPOSE: usize = 100;
/// Characters of an applicant's name.
const MOST_NAME: usize = 60;

/// An order for a query certificate.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct QueryCertificateRequest {
    /// Whose license is certified: unified social credit code, 18 characters.
    #[schema(example = "ZZJGD0000000000A01")]
    uscc: String,
    /// What it is for, as it stands on the certificate: 1 to 100 characters.
    #[schema(example = "办理银行开户")]
    purpose: String,
    /// Who asks for it, as it stands on the certificate: 1 to 60 characters.
    applicant: Option<String>,
}

/// An order, read.
pub(crate) struct Asked {
    uscc: Uscc,
    purpose: String,
    applicant: Option<String>,
}

impl QueryCertificateRequest {
    /// Turns words into types, reporting every fault at once.
    pub(crate) fn check(&self, sandbox: bool) -> Result<Asked, Problem> {
        let mut faults = Faults::default();
        let uscc = faults.parse("uscc", "uscc_invalid", Uscc::parse_sandbox(&self.uscc));
        if uscc.as_ref().is_some_and(|uscc| uscc.is_test() && !sandbox) {
            let detail = "test enterprises exist in a sandbox only";
            faults.add("uscc", "test_identity_in_production", detail);
        }
        for (field, text, most) in [
            ("purpose", Some(&self.purpose), MOST_PURPOSE),
            ("applicant", self.applicant.as_ref(), MOST_NAME),
        ] {
            faults.seen(field, text.map(String::as_str), most);
        }
        let asked =
            uscc.map(|uscc| Asked { uscc, purpose: self.purpose.clone(), applicant: self.applicant.clone() });
        faults.into_result(asked)
    }
}

/// A query certificate that is signed, on record and behind the check page.
#[derive(Serialize, ToSchema)]
pub(crate) struct QueryCertificateResponse {
    /// Its number; the stamp on it has the same.
    #[schema(example = "20261122-7QX2M0K4T9")]
    number: String,
    /// What `/verify/{code}` takes. Whoever is shown it may see what the page shows.
    #[schema(example = "7QX2M-0K4T9-B3NZD-51HVA")]
    check_code: String,
    /// The check page's address, as the certificate's QR code has it.
    link: String,
    /// base64: the certificate, PDF.
    document: String,
    /// SM3 of the certificate, hexadecimal.
    document_sm3: String,
    /// SM3 of the snapshot that it certifies, hexadecimal: of the file `snapshot.json` in it.
    snapshot_sm3: String,
    /// The standing that is certified.
    #[schema(value_type = StatusItem)]
    status: CertifiedStatus,
    /// `B-B`, `B-T`, `B-LT` or `B-LTA`.
    level: &'static str,
    /// The agency's key.
    #[schema(value_type = String)]
    key: config::KeyId,
    /// How it signed.
    #[schema(value_type = String)]
    algorithm: formats::Algorithm,
    /// The agency's certificate, PEM.
    certificate: String,
    /// Where the stamp on it stands in the audit log.
    audit_index: u64,
    /// Which log that is, where several gateways share a database.
    audit_log: String,
    /// The request's id.
    request_id: String,
}

/// A standing.
#[derive(ToSchema)]
#[expect(dead_code, reason = "describes what another crate writes")]
struct StatusItem {
    /// The publicity system's code.
    code: i64,
    /// Its term.
    text: String,
    /// Whether that means that the entity may do business. Only then the certificate says so.
    in_force: bool,
    /// What is on file beside it.
    flags: Vec<String>,
    /// When the register said so, RFC 3339.
    as_of: String,
}

/// What was certified, for the app that had it made and for auditors.
#[derive(Serialize, ToSchema)]
pub(crate) struct QueryCertificateItem {
    /// Its number.
    number: String,
    /// Of whom it is.
    uscc: String,
    /// Who had it made.
    app: String,
    /// When it was looked up.
    #[serde(with = "time::serde::rfc3339")]
    #[schema(value_type = String)]
    made_at: OffsetDateTime,
    /// What `/verify/{code}` takes.
    check_code: String,
    /// The agency's key.
    key: String,
    /// `B-B`, `B-T`, `B-LT` or `B-LTA`.
    level: String,
    /// SM3 of the certificate, hexadecimal.
    document_sm3: String,
    /// SM3 of the snapshot, hexadecimal.
    snapshot_sm3: String,
    /// base64: the snapshot, JSON, as it is attached to the certificate; null when its time is over.
    snapshot: Option<String>,
    /// Where the snapshot's digest stands in the audit log.
    snapshot_audit_index: u64,
    /// Where the stamp stands there.
    audit_index: u64,
}

/// What the check page says of a query certificate.
#[derive(Serialize, ToSchema)]
pub(crate) struct Certified {
    /// SM3 of the snapshot, hexadecimal; it stands on the certificate.
    pub(crate) snapshot_sm3: String,
    /// What the certificate says of the entity; null when it is not kept any more.
    pub(crate) facts: Option<Vec<CertifiedFact>>,
    /// Whether the library says the same of the entity now; null when it does not know it any more, or when what the
    /// certificate says is not kept. One that does not hold any more is not to be relied on.
    pub(crate) unchanged: Option<bool>,
}

/// One thing that a certificate says.
#[derive(Serialize, ToSchema)]
pub(crate) struct CertifiedFact {
    /// What it is.
    pub(crate) label: String,
    /// As it stands on the certificate.
    pub(crate) value: String,
}

/// Make a query certificate (打印查询证明): a numbered PDF, signed by the agency, of what the library says of an entity
/// now, with a check page.
#[utoipa::path(
    post, path = "/v1/query-certificates", tag = "licenses", request_body = QueryCertificateRequest,
    responses(
        (status = 201, description = "signed, on record, and behind the check page; granted face fields only", body = QueryCertificateResponse),
        (status = 404, description = "`license_unknown`; `query_certificates_not_offered`: this site makes none", body = ProblemDocument, content_type = "application/problem+json"),
        (status = 429, description = "`query_certificates_used_up`: the app had as many made today as it may; see Retry-After", body = ProblemDocument, content_type = "application/problem+json"),
        (status = "4XX", description = "refused; see `code`", body = ProblemDocument, content_type = "application/problem+json"),
        (status = 503, description = "not now; see `code` and Retry-After", body = ProblemDocument, content_type = "application/problem+json"),
    )
)]
pub(crate) async fn post_query_certificate(
    caller: Authenticated,
    State(gateway): State<Gateway>,
    JsonBody(request): JsonBody<QueryCertificateRequest>,
) -> Result<Response, Problem> {
    caller.with(Scope::QueryCertificates)?;
    let asked = request.check(gateway.config.site.sandbox)?;
    let made = make::make(&gateway, &caller, asked).await?;
    gateway.metrics.query_certificate(made.status.in_force);
    Ok((StatusCode::CREATED, Json(made)).into_response())
}

/// What was certified: the snapshot, until its time is over, and where it is on record.
#[utoipa::path(
    get, path = "/v1/query-certificates/{number}", tag = "licenses",
    params(("number" = String, Path, description = "its number")),
    responses(
        (status = 200, description = "what was certified", body = QueryCertificateItem),
        (status = 404, description = "`unknown_query_certificate`: there is none, or it is another app's and the scope `audit` is missing", body = ProblemDocument, content_type = "application/problem+json"),
    )
)]
pub(crate) async fn get_query_certificate(
    caller: Authenticated,
    State(gateway): State<Gateway>,
    Segment(number): Segment,
) -> Result<Json<QueryCertificateItem>, Problem> {
    let app = caller.with(Scope::QueryCertificates).or_else(|_| caller.with(Scope::Audit))?;
    // Only with its stamp it was made.
    let stamp = gateway.store.stamp(&number).await.map_err(|error| Problem::from_stamps(&error))?;
    let kept = kept(&gateway, &number).await?;
    let (Some(stamp), Some(kept)) = (stamp, kept) else { return Err(Problem::unknown_query_certificate()) };
    let own = kept.app == app.id && caller.using(Scope::QueryCertificates, &gateway).is_ok();
    if !own && caller.using(Scope::Audit, &gateway).is_err() {
        return Err(Problem::unknown_query_certificate());
    }
    Ok(Json(QueryCertificateItem {
        number: kept.id,
        uscc: kept.uscc,
        app: kept.app.to_string(),
        made_at: kept.made_at,
        check_code: grouped(&stamp.stamp.check_code),
        key: stamp.stamp.key.to_string(),
        level: stamp.stamp.level,
        document_sm3: hex::encode(stamp.stamp.result_digest),
        snapshot_sm3: hex::encode(kept.digest),
        snapshot: kept.snapshot.map(|octets| STANDARD.encode(&octets[..])),
        snapshot_audit_index: kept.audit_index,
        audit_index: stamp.audit_index,
    }))
}

/// What the check page says of a stamp that is on a query certificate; none of other stamps.
///
/// # Errors
/// What is kept is not what the log vouches for, or cannot be read.
pub(crate) async fn certified(gateway: &Gateway, number: &str) -> Result<Option<Certified>, Problem> {
    let Some(kept) = kept(gateway, number).await? else { return Ok(None) };
    let snapshot_sm3 = hex::encode(kept.digest);
    let snapshot = kept.snapshot.and_then(|octets| serde_json::from_slice::<Snapshot>(&octets).ok());
    let Some(snapshot) = snapshot else {
        return Ok(Some(Certified { snapshot_sm3, facts: None, unchanged: None }));
    };
    let unchanged = match Uscc::parse_sandbox(&snapshot.uscc) {
        Ok(uscc) => {
            let status = &snapshot.status;
            let standing = (status.code, &status.flags[..], status.as_of);
            let said = gateway.licenses.still_says(&uscc, standing, &snapshot.face).await;
            // Whoever holds the paper can verify it also when that cannot be said.
            said.unwrap_or_else(|error| {
                tracing::warn!(
                    error = with_causes(&error),
                    "whether a certificate is still so cannot be said"
                );
                None
            })
        }
        Err(_) => None,
    };
    let facts = snapshot.facts(gateway.config.site.utc_offset).into_iter();
    let facts = facts.map(|(label, value)| CertifiedFact { label, value }).collect();
    Ok(Some(Certified { snapshot_sm3, facts: Some(facts), unchanged }))
}

async fn kept(gateway: &Gateway, number: &str) -> Result<Option<KeptSnapshot>, Problem> {
    gateway.store.kept_snapshot(number).await.map_err(|error| Problem::from_query_certificates(&error))
}

/// How often it is looked for snapshots whose time is over.
const SWEEP: Duration = Duration::from_secs(3_600);

/// Takes away what is kept no longer, until it is dropped.
pub(crate) async fn forget(gateways: watch::Receiver<Option<Gateway>>, clock: WatchedClock) {
    let mut rounds = tokio::time::interval(SWEEP);
    loop {
        rounds.tick().await;
        let Some(gateway) = gateways.borrow().clone() else { continue };
        // A site that makes no certificates any more keeps what it has.
        let Some(rules) = &gateway.config.query_certificates else { continue };
        // What is taken away cannot be had back.
        if let Err(reason) = clock.believed() {
            tracing::warn!(reason, "snapshots past their time stay for now");
            continue;
        }
        let before = OffsetDateTime::now_utc() - time::Duration::days(rules.retention_days.into());
        match gateway.store.forget_snapshots(before).await {
            Ok(0) => {}
            Ok(count) => tracing::info!(count, "snapshots of query certificates were taken away"),
            Err(error) => tracing::warn!(%error, "snapshots past their time stay for now"),
        }
    }
}
