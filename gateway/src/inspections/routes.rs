//! `/v1/admin/inspections`: have one made, see what was found, take the report.

use axum::Json;
use axum::extract::State;
use axum::http::{HeaderName, StatusCode, header};
use axum::response::{Html, IntoResponse, Response};
use formats::inspection_report::Grade;
use formats::words::{Language, Words};
use serde::{Deserialize, Serialize};
use store::{Inspection, InspectionState, Occasion};
use time::OffsetDateTime;
use utoipa::ToSchema;

use super::catalogue::{self, Group};
use super::{Order, Results, begin, report};
use crate::auth::{Authenticated, Scope};
use crate::body::{Faults, JsonBody, QueryOf, Segment};
use crate::input;
use crate::problem::{Problem, ProblemDocument};
use crate::state::Gateway;

/// Inspections on a page at most.
const PAGE: u32 = 100;
const PAGE_POLICY: &str =
    "default-src 'none'; style-src 'unsafe-inline'; frame-ancestors 'none'; base-uri 'none'";
const FIELDS: [(HeaderName, &str); 2] =
    [(header::REFERRER_POLICY, "no-referrer"), (header::CACHE_CONTROL, "private, no-store")];

/// An order for an inspection.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct InspectionRequest {
    /// `on_demand` (default), or `key_moment` before a time that matters.
    #[schema(example = "on_demand")]
    occasion: Option<String>,
    /// For the record: 1 to 500 characters.
    #[schema(example = "例行检查")]
    reason: String,
}

impl InspectionRequest {
    /// Why it is made, in both ways.
    pub(crate) fn check(&self) -> Result<(Occasion, &str), Problem> {
        let mut faults = Faults::default();
        let words = [("on_demand", Occasion::OnDemand), ("key_moment", Occasion::KeyMoment)];
        let occasion = faults.word("occasion", self.occasion.as_deref(), &words, Occasion::OnDemand);
        let reason = input::reason(&mut faults, &self.reason);
        faults.into_result(occasion.zip(reason))
    }
}

/// An inspection that began.
#[derive(Serialize, ToSchema)]
pub(crate) struct InspectionBegun {
    /// Its number.
    #[schema(example = "20261123-7K2MQ9XW3F")]
    id: String,
    /// `running`: it goes on by itself; see its number.
    #[schema(value_type = String)]
    state: InspectionState,
    /// Where its intention is on record.
    audit_index: u64,
    /// The request's id.
    request_id: String,
}

/// How many checks came out how.
#[derive(Serialize, Deserialize, ToSchema)]
pub(crate) struct GradeCounts {
    /// As they should be.
    pub(super) ok: usize,
    /// Not measured; nothing is known of them.
    pub(super) unmeasured: usize,
    /// Somebody should look at them.
    pub(super) attention: usize,
    /// Not as they must be.
    pub(super) abnormal: usize,
}

/// An inspection in the list.
#[derive(Serialize, ToSchema)]
pub(crate) struct InspectionItem {
    /// Its number.
    id: String,
    /// `daily`, `weekly`, `quarterly`, `key_moment` or `on_demand`.
    #[schema(value_type = String)]
    occasion: Occasion,
    /// Which time of its schedule; null of one that somebody asked for.
    slot: Option<String>,
    /// `running`, `done`, or `failed` if it was lost.
    #[schema(value_type = String)]
    state: InspectionState,
    /// The gateway that makes it.
    gateway: String,
    /// Who asked for it.
    actor: String,
    /// Why.
    reason: String,
    /// When it began.
    #[serde(with = "time::serde::rfc3339")]
    #[schema(value_type = String, format = DateTime)]
    began_at: OffsetDateTime,
    /// When it ended.
    #[serde(with = "time::serde::rfc3339::option")]
    #[schema(value_type = Option<String>, format = DateTime)]
    ended_at: Option<OffsetDateTime>,
    /// The worst of its checks: `ok`, `unmeasured`, `attention` or `abnormal`; null until it is done.
    #[schema(value_type = Option<String>)]
    grade: Option<Grade>,
    /// How many checks came out how; null until it is done.
    counts: Option<GradeCounts>,
    /// Where its outcome is on record, in the log of the gateway that made it.
    audit_index: Option<u64>,
    /// The number of the report's stamp; null of a report that is not signed.
    report_stamp: Option<String>,
    /// Why the report is not signed.
    report_unsigned: Option<String>,
}

impl InspectionItem {
    fn new(inspection: &Inspection) -> Self {
        let grade = inspection.grade.as_deref();
        let counts = inspection.counts.as_deref();
        Self {
            id: inspection.id.clone(),
            occasion: inspection.occasion,
            slot: inspection.slot.clone(),
            state: inspection.state,
            gateway: inspection.replica.clone(),
            actor: inspection.actor.clone(),
            reason: inspection.reason.clone(),
            began_at: inspection.began_at,
            ended_at: inspection.ended_at,
            grade: grade.and_then(|word| Grade::ALL.into_iter().find(|grade| grade.as_str() == word)),
            counts: counts.and_then(|counts| serde_json::from_str(counts).ok()),
            audit_index: inspection.audit_index,
            report_stamp: inspection.stamp.clone(),
            report_unsigned: inspection.unsigned.clone(),
        }
    }
}

/// A page of inspections.
#[derive(Serialize, ToSchema)]
pub(crate) struct InspectionList {
    /// The newest first.
    items: Vec<InspectionItem>,
    /// `after` of the next page; null when this was the last.
    next: Option<String>,
}

/// One check of an inspection.
#[derive(Serialize, ToSchema)]
pub(crate) struct CheckItem {
    /// Its stable code.
    #[schema(example = "device.random")]
    code: String,
    /// What it is about: `devices`, `database`, `storage`, `host`, `interfaces`, `certificates`, `audit` or `security`.
    group: &'static str,
    /// Which one of several things; empty if there is one.
    subject: String,
    /// `ok`, `attention`, `abnormal`, or `unmeasured`: nothing is known, and `evidence` says why.
    #[schema(value_type = String)]
    grade: Grade,
    /// What was looked at: `{zh, en}`.
    #[schema(value_type = Object)]
    what: Words,
    /// What was measured, for people.
    measured: String,
    /// The figure that was judged; null of a check that is judged by words.
    figure: Option<f64>,
    /// By what it is judged: `[zh, en]`.
    threshold: [String; 2],
    /// What else the verdict rests on.
    evidence: String,
    /// What to do, `{zh, en}`; null where nothing is to be done.
    #[schema(value_type = Option<Object>)]
    advice: Option<Words>,
    /// Where it is written down what each check means.
    guide: &'static str,
}

/// An inspection with what it found.
#[derive(Serialize, ToSchema)]
pub(crate) struct InspectionResponse {
    #[serde(flatten)]
    item: InspectionItem,
    /// Its checks; empty until it is done.
    checks: Vec<CheckItem>,
    /// How many operations each device was asked for, without the signature on the report.
    #[schema(value_type = Object)]
    device_orders: std::collections::BTreeMap<String, u32>,
    /// How many one may be asked for at most, with that signature.
    most_device_orders: u32,
}

/// Which page of inspections.
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct InspectionQuery {
    /// Behind which one.
    after: Option<String>,
    /// How many.
    limit: Option<u32>,
}

/// In which form a report is wanted.
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct ReportQuery {
    /// `pdf` or `html`.
    form: Option<String>,
    /// `zh` or `en`.
    lang: Option<String>,
}

/// Have an inspection made, of everything that is looked at. It goes on by itself; see `/v1/admin/inspections/{id}`.
#[utoipa::path(
    post, path = "/v1/admin/inspections", tag = "administration", request_body = InspectionRequest,
    responses(
        (status = 202, description = "it has begun", body = InspectionBegun),
        (status = 409, description = "`inspection_running`: there is one at a time, over all gateways", body = ProblemDocument, content_type = "application/problem+json"),
        (status = 422, description = "`invalid_value`", body = ProblemDocument, content_type = "application/problem+json"),
        (status = 429, description = "`inspection_too_soon`: they begin a minute apart; see Retry-After", body = ProblemDocument, content_type = "application/problem+json"),
    )
)]
pub(crate) async fn post_inspection(
    caller: Authenticated,
    State(gateway): State<Gateway>,
    JsonBody(request): JsonBody<InspectionRequest>,
) -> Result<Response, Problem> {
    caller.with(Scope::Maintenance)?;
    let (occasion, reason) = request.check()?;
    let request_id = crate::request_id::current();
    let order = Order {
        occasion,
        slot: None,
        actor: caller.actor(),
        reason: reason.to_owned(),
        request_id: request_id.clone(),
    };
    let (id, audit_index) = begin(&gateway, order).await?;
    let begun = InspectionBegun { id, state: InspectionState::Running, audit_index, request_id };
    Ok((StatusCode::ACCEPTED, Json(begun)).into_response())
}

/// Inspections, the newest first.
#[utoipa::path(
    get, path = "/v1/admin/inspections", tag = "administration",
    params(
        ("after" = Option<String>, Query, description = "`next` of the page before"),
        ("limit" = Option<u32>, Query, description = "inspections on a page, 1 to 100; 20 if absent"),
    ),
    responses(
        (status = 200, description = "a page", body = InspectionList),
        (status = 404, description = "`unknown_inspection`: `after` names none", body = ProblemDocument, content_type = "application/problem+json"),
        (status = 422, description = "`invalid_value`", body = ProblemDocument, content_type = "application/problem+json"),
    )
)]
pub(crate) async fn list_inspections(
    caller: Authenticated,
    State(gateway): State<Gateway>,
    QueryOf(query): QueryOf<InspectionQuery>,
) -> Result<Json<InspectionList>, Problem> {
    may_read(&caller, &gateway)?;
    let limit = query.limit.unwrap_or(20);
    let mut faults = Faults::default();
    if !(1..=PAGE).contains(&limit) {
        faults.add("limit", "invalid_value", "must be 1 to 100");
    }
    faults.into_result(Some(()))?;
    let found = gateway.store.inspections(query.after.as_deref(), limit + 1).await;
    let mut found = found.map_err(|error| Problem::from_inspections(&error))?;
    let more = found.len() > limit as usize;
    found.truncate(limit as usize);
    let next = found.last().filter(|_| more).map(|last| last.id.clone());
    Ok(Json(InspectionList { items: found.iter().map(InspectionItem::new).collect(), next }))
}

/// An inspection: each check with what was measured, by what it was judged and what to do.
#[utoipa::path(
    get, path = "/v1/admin/inspections/{id}", tag = "administration",
    params(("id" = String, Path, description = "its number")),
    responses(
        (status = 200, description = "what is known of it", body = InspectionResponse),
        (status = 404, description = "`unknown_inspection`", body = ProblemDocument, content_type = "application/problem+json"),
    )
)]
pub(crate) async fn get_inspection(
    caller: Authenticated,
    State(gateway): State<Gateway>,
    Segment(id): Segment,
) -> Result<Json<InspectionResponse>, Problem> {
    may_read(&caller, &gateway)?;
    let inspection = found(&gateway, &id).await?;
    let item = InspectionItem::new(&inspection);
    let results =
        Results::of(&inspection).unwrap_or(Results { findings: Vec::new(), work: super::Work::default() });
    let check = |finding: &super::Finding| {
        let kind = catalogue::kind(&finding.code);
        CheckItem {
            code: finding.code.clone(),
            group: kind.map_or("", |kind| Group::name(kind.group)),
            subject: finding.subject.clone(),
            grade: finding.grade,
            what: kind.map_or(Words::new("其他", "other"), |kind| kind.what),
            measured: finding.measured.clone(),
            figure: finding.figure,
            threshold: kind.map(|kind| kind.limit.words()).unwrap_or_default(),
            evidence: finding.evidence.clone(),
            advice: kind.map(|kind| kind.advice).filter(|_| finding.grade >= Grade::Attention),
            guide: report::GUIDE,
        }
    };
    Ok(Json(InspectionResponse {
        item,
        checks: results.findings.iter().map(check).collect(),
        device_orders: results.work.device_orders,
        most_device_orders: super::devices::MOST_ORDERS,
    }))
}

/// The report on an inspection (《日常巡检报告》): PDF as it was made and signed when the inspection ended, or a page.
#[utoipa::path(
    get, path = "/v1/admin/inspections/{id}/report", tag = "administration",
    params(
        ("id" = String, Path, description = "its number"),
        ("form" = Option<String>, Query, description = "`pdf` (default) or `html`"),
        ("lang" = Option<String>, Query, description = "of a page: `zh` (default) or `en`; the PDF has both"),
    ),
    responses(
        (status = 200, description = "the report", content((String = "application/pdf"), (String = "text/html"))),
        (status = 404, description = "`unknown_inspection`", body = ProblemDocument, content_type = "application/problem+json"),
        (status = 409, description = "`no_inspection_report`: it is not done, or the report could not be set", body = ProblemDocument, content_type = "application/problem+json"),
        (status = 422, description = "`invalid_value`", body = ProblemDocument, content_type = "application/problem+json"),
    )
)]
pub(crate) async fn get_inspection_report(
    caller: Authenticated,
    State(gateway): State<Gateway>,
    Segment(id): Segment,
    QueryOf(query): QueryOf<ReportQuery>,
) -> Result<Response, Problem> {
    may_read(&caller, &gateway)?;
    let mut faults = Faults::default();
    let html = faults.word("form", query.form.as_deref(), &[("pdf", false), ("html", true)], false);
    let languages = [("zh", Language::Zh), ("en", Language::En)];
    let language = faults.word("lang", query.lang.as_deref(), &languages, Language::Zh);
    let (html, language) = faults.into_result(html.zip(language))?;
    let inspection = found(&gateway, &id).await?;
    let results = Results::of(&inspection)
        .ok_or_else(|| Problem::no_inspection_report(&format!("it is {}", inspection.state)))?;
    if html {
        let page = report::page(&gateway, &inspection, &results, language).into_string();
        let policy = [(header::CONTENT_SECURITY_POLICY, PAGE_POLICY)];
        return Ok((FIELDS, policy, Html(page)).into_response());
    }
    let kept = gateway.store.inspection_report(&id).await;
    let kept = kept.map_err(|error| Problem::from_inspections(&error))?;
    let why = inspection.unsigned.as_deref().unwrap_or("it could not be set");
    let pdf = kept.ok_or_else(|| Problem::no_inspection_report(why))?;
    // Numbers are of letters, digits and hyphens.
    let name = format!("inline; filename=\"inspection-{}.pdf\"", inspection.id);
    let fields = [(header::CONTENT_TYPE, "application/pdf".to_owned()), (header::CONTENT_DISPOSITION, name)];
    Ok((FIELDS, fields, pdf).into_response())
}

/// What is found names accounts that lack protection: it is for who mends that, and for who audits it.
fn may_read(caller: &Authenticated, gateway: &Gateway) -> Result<(), Problem> {
    caller.using(Scope::Maintenance, gateway).or_else(|_| caller.using(Scope::Audit, gateway)).map(drop)
}

async fn found(gateway: &Gateway, id: &str) -> Result<Inspection, Problem> {
    gateway.store.inspection(id).await.map_err(|error| Problem::from_inspections(&error))
}
