//! `/v1/admin/incidents`, and `/v1/admin/service-levels`, which tells what came of what was promised.

use axum::Json;
use axum::extract::State;
use axum::http::{HeaderName, StatusCode, header};
use axum::response::{Html, IntoResponse, Response};
use formats::words::Language;
use maintenance::{Level, Source, System, TimelyRate};
use serde::{Deserialize, Serialize};
use store::IncidentQuery;
use time::{Duration, OffsetDateTime};
use utoipa::ToSchema;

use super::form::{IncidentRequest, StepRequest};
use super::view::{IncidentItem, IncidentResponse};
use super::{Known, advance, now, open, report};
use crate::auth::{Authenticated, Scope};
use crate::body::{Faults, JsonBody, QueryOf, Segment};
use crate::problem::{Problem, ProblemDocument};
use crate::state::Gateway;

/// Incidents on a page, where the caller says nothing, and at most.
const USUAL_PAGE: u32 = 20;
const PAGE: u32 = 100;
/// Incidents that figures are told of at most, and of how long a time.
const MOST_COUNTED: u32 = 5_000;
const LONGEST: Duration = Duration::days(400);
/// Of those that fell due the share that was promised (M003).
const TARGET: f64 = 0.9;
const PAGE_POLICY: &str =
    "default-src 'none'; style-src 'unsafe-inline'; frame-ancestors 'none'; base-uri 'none'";
const FIELDS: [(HeaderName, &str); 2] =
    [(header::REFERRER_POLICY, "no-referrer"), (header::CACHE_CONTROL, "private, no-store")];

/// An incident that was opened.
#[derive(Serialize, ToSchema)]
pub(crate) struct IncidentOpened {
    /// Its number.
    #[schema(example = "20261124-7K2MQ9XW3F")]
    id: String,
    /// For its next step, which is `register`.
    version: u32,
    /// Where that is on record.
    audit_index: u64,
    /// The request's id.
    request_id: String,
}

/// A step that was made.
#[derive(Serialize, ToSchema)]
pub(crate) struct StepMade {
    /// Where it is on record.
    audit_index: u64,
    /// The request's id.
    request_id: String,
    /// What the incident is now.
    incident: IncidentResponse,
}

/// Incidents.
#[derive(Serialize, ToSchema)]
pub(crate) struct IncidentList {
    /// The newest first.
    items: Vec<IncidentItem>,
    /// `after` of the next page; null when this was the last.
    next: Option<String>,
}

/// Which incidents.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct IncidentsQuery {
    state: Option<String>,
    system: Option<String>,
    signature: Option<String>,
    after: Option<String>,
    limit: Option<u32>,
}

/// In which language.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct IncidentReportQuery {
    lang: Option<String>,
}

/// Of which time, and of what.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct ServiceLevelsQuery {
    from: Option<String>,
    before: Option<String>,
    system: Option<String>,
}

/// What came of one promise.
#[derive(Serialize, ToSchema)]
pub(crate) struct RateView {
    /// Kept in time.
    met: u32,
    /// Kept late, or overdue.
    missed: u32,
    /// Still in time.
    open: u32,
    /// Of those that fell due the share that was kept, 0 to 1; null where none did.
    rate: Option<f64>,
    /// Whether that is as much as was promised; null where none fell due.
    on_target: Option<bool>,
}

/// What came of what was promised, counted from the incidents' steps.
#[derive(Serialize, ToSchema)]
pub(crate) struct ServiceLevels {
    /// Incidents that were accepted from then on …
    #[serde(with = "time::serde::rfc3339")]
    #[schema(value_type = String, format = DateTime)]
    from: OffsetDateTime,
    /// … and before.
    #[serde(with = "time::serde::rfc3339")]
    #[schema(value_type = String, format = DateTime)]
    before: OffsetDateTime,
    /// How many.
    incidents: usize,
    /// Of the first to the fourth level.
    by_level: [usize; 4],
    /// Not graded yet.
    ungraded: usize,
    /// Found by checks.
    by_alarm: usize,
    /// That were there before.
    recurring: usize,
    /// Not closed yet.
    open: usize,
    /// The share that was promised, 0 to 1.
    target: f64,
    /// That somebody works on it.
    response: RateView,
    /// That it is mended.
    resolution: RateView,
}

impl RateView {
    fn of(rate: TimelyRate) -> Self {
        let TimelyRate { met, missed, open } = rate;
        let rate = rate.rate();
        Self { met, missed, open, rate, on_target: rate.map(|rate| rate >= TARGET) }
    }
}

/// Tell of an incident (受理). Its clocks run from now on; it is measured as of the first level until it is graded.
#[utoipa::path(
    post, path = "/v1/admin/incidents", tag = "administration",
    request_body = IncidentRequest,
    responses(
        (status = 201, description = "open, and on record", body = IncidentOpened),
        (status = 409, description = "`incident_open`: one with that signature is; see `detail`", body = ProblemDocument, content_type = "application/problem+json"),
        (status = 422, description = "the order cannot be used; see `errors`", body = ProblemDocument, content_type = "application/problem+json"),
    )
)]
pub(crate) async fn post_incident(
    caller: Authenticated,
    State(gateway): State<Gateway>,
    JsonBody(request): JsonBody<IncidentRequest>,
) -> Result<Response, Problem> {
    caller.with(Scope::Maintenance)?;
    let opened = request.check(now())?;
    let (id, audit_index) = open(&gateway, &caller.actor(), Source::Person, opened).await?;
    let request_id = crate::request_id::current();
    Ok((StatusCode::CREATED, Json(IncidentOpened { id, version: 1, audit_index, request_id }))
        .into_response())
}

/// Take an incident a step further: the eight follow one another, none is left out, and an incident that is closed stays so.
#[utoipa::path(
    post, path = "/v1/admin/incidents/{id}/steps", tag = "administration",
    params(("id" = String, Path, description = "its number")),
    request_body = StepRequest,
    responses(
        (status = 200, description = "what it is now, on record", body = StepMade),
        (status = 404, description = "`unknown_incident`", body = ProblemDocument, content_type = "application/problem+json"),
        (status = 409, description = "`incident_changed`: somebody made a step since; `incident_step_refused`: another one comes next, or it is closed", body = ProblemDocument, content_type = "application/problem+json"),
        (status = 422, description = "the step lacks something; see `errors`", body = ProblemDocument, content_type = "application/problem+json"),
    )
)]
pub(crate) async fn post_incident_step(
    caller: Authenticated,
    State(gateway): State<Gateway>,
    Segment(id): Segment,
    JsonBody(request): JsonBody<StepRequest>,
) -> Result<Json<StepMade>, Problem> {
    caller.with(Scope::Maintenance)?;
    let step = request.check(now())?;
    let (known, audit_index) = advance(&gateway, &caller.actor(), &id, step).await?;
    let incident = IncidentResponse::of(&known, now());
    Ok(Json(StepMade { audit_index, request_id: crate::request_id::current(), incident }))
}

/// Incidents, the newest first, each with its clocks as they stand.
#[utoipa::path(
    get, path = "/v1/admin/incidents", tag = "administration",
    params(
        ("state" = Option<String>, Query, description = "`open` or `closed`"),
        ("system" = Option<String>, Query, description = "only those of it"),
        ("signature" = Option<String>, Query, description = "only those that are the same"),
        ("after" = Option<String>, Query, description = "`next` of the page before"),
        ("limit" = Option<u32>, Query, description = "incidents on a page, 1 to 100; 20 if absent"),
    ),
    responses(
        (status = 200, description = "a page", body = IncidentList),
        (status = 404, description = "`unknown_incident`: `after` names none", body = ProblemDocument, content_type = "application/problem+json"),
        (status = 422, description = "`invalid_value`", body = ProblemDocument, content_type = "application/problem+json"),
    )
)]
pub(crate) async fn list_incidents(
    caller: Authenticated,
    State(gateway): State<Gateway>,
    QueryOf(query): QueryOf<IncidentsQuery>,
) -> Result<Json<IncidentList>, Problem> {
    may_read(&caller, &gateway)?;
    let mut faults = Faults::default();
    let limit = query.limit.unwrap_or(USUAL_PAGE);
    if !(1..=PAGE).contains(&limit) {
        faults.add("limit", "invalid_value", "must be 1 to 100");
    }
    let states = [("open", Some(true)), ("closed", Some(false))];
    let open = faults.word("state", query.state.as_deref(), &states, None);
    faults.word("system", query.system.as_deref(), System::NAMES, System::Platform);
    let open = faults.into_result(open)?;
    let which = IncidentQuery {
        open,
        system: query.system.as_deref(),
        signature: query.signature.as_deref(),
        after: query.after.as_deref(),
        ..IncidentQuery::default()
    };
    let found = gateway.store.incidents(&which, limit + 1).await;
    let mut found = found.map_err(|error| Problem::from_incidents(&error))?;
    let more = found.len() > limit as usize;
    found.truncate(limit as usize);
    let next = found.last().filter(|_| more).map(|last| last.id.clone());
    let now = now();
    let item = |row| Ok(IncidentItem::of(&Known::of(row)?, now));
    Ok(Json(IncidentList { items: found.into_iter().map(item).collect::<Result<_, Problem>>()?, next }))
}

/// An incident with all that was done.
#[utoipa::path(
    get, path = "/v1/admin/incidents/{id}", tag = "administration",
    params(("id" = String, Path, description = "its number")),
    responses(
        (status = 200, description = "what is known of it", body = IncidentResponse),
        (status = 404, description = "`unknown_incident`", body = ProblemDocument, content_type = "application/problem+json"),
    )
)]
pub(crate) async fn get_incident(
    caller: Authenticated,
    State(gateway): State<Gateway>,
    Segment(id): Segment,
) -> Result<Json<IncidentResponse>, Problem> {
    may_read(&caller, &gateway)?;
    let known = Known::find(&gateway, &id).await?;
    Ok(Json(IncidentResponse::of(&known, now())))
}

/// The report on a closed incident (事件报告), as a page to be printed: the six fields, the clocks and every step.
#[utoipa::path(
    get, path = "/v1/admin/incidents/{id}/report", tag = "administration",
    params(
        ("id" = String, Path, description = "its number"),
        ("lang" = Option<String>, Query, description = "`zh` (default) or `en`"),
    ),
    responses(
        (status = 200, description = "a page", body = String, content_type = "text/html"),
        (status = 404, description = "`unknown_incident`", body = ProblemDocument, content_type = "application/problem+json"),
        (status = 409, description = "`no_incident_report`: it is not closed", body = ProblemDocument, content_type = "application/problem+json"),
        (status = 422, description = "`invalid_value`", body = ProblemDocument, content_type = "application/problem+json"),
    )
)]
pub(crate) async fn get_incident_report(
    caller: Authenticated,
    State(gateway): State<Gateway>,
    Segment(id): Segment,
    QueryOf(query): QueryOf<IncidentReportQuery>,
) -> Result<Response, Problem> {
    may_read(&caller, &gateway)?;
    let mut faults = Faults::default();
    let languages = [("zh", Language::Zh), ("en", Language::En)];
    let language = faults.word("lang", query.lang.as_deref(), &languages, Language::Zh);
    let language = faults.into_result(language)?;
    let known = Known::find(&gateway, &id).await?;
    let page = report::page(&gateway, &known, language).ok_or_else(|| Problem::no_incident_report(&id))?;
    let policy = [(header::CONTENT_SECURITY_POLICY, PAGE_POLICY)];
    Ok((FIELDS, policy, Html(page.into_string())).into_response())
}

/// What came of what was promised (及时率): counted each time from the steps on record.
#[utoipa::path(
    get, path = "/v1/admin/service-levels", tag = "administration",
    params(
        ("from" = Option<String>, Query, description = "RFC 3339; 30 days before `before` if absent"),
        ("before" = Option<String>, Query, description = "RFC 3339; now if absent; 400 days after `from` at most"),
        ("system" = Option<String>, Query, description = "only of it"),
    ),
    responses(
        (status = 200, description = "figures", body = ServiceLevels),
        (status = 422, description = "`invalid_value`, `invalid_time`; more than 5,000 incidents: ask of a shorter time", body = ProblemDocument, content_type = "application/problem+json"),
    )
)]
pub(crate) async fn get_service_levels(
    caller: Authenticated,
    State(gateway): State<Gateway>,
    QueryOf(query): QueryOf<ServiceLevelsQuery>,
) -> Result<Json<ServiceLevels>, Problem> {
    may_read(&caller, &gateway)?;
    let now = now();
    let mut faults = Faults::default();
    faults.word("system", query.system.as_deref(), System::NAMES, System::Platform);
    let before = faults.time("before", query.before.as_deref(), now + Duration::SECOND);
    let from = faults.time("from", query.from.as_deref(), before.unwrap_or(now) - Duration::days(30));
    let (from, before) = faults.into_result(from.zip(before))?;
    let mut faults = Faults::default();
    if from >= before || before - from > LONGEST {
        faults.add("from", "invalid_value", "must lie before `before`, by 400 days at most");
    }
    faults.into_result(Some(()))?;
    let which = IncidentQuery {
        system: query.system.as_deref(),
        from: Some(from),
        before: Some(before),
        ..IncidentQuery::default()
    };
    let found = gateway.store.incidents(&which, MOST_COUNTED + 1).await;
    let found = found.map_err(|error| Problem::from_incidents(&error))?;
    if found.len() > MOST_COUNTED as usize {
        let mut faults = Faults::default();
        faults.add("from", "invalid_value", "there are more than 5,000 incidents in that time");
        faults.into_result(None::<()>)?;
    }
    let known = found.into_iter().map(Known::of).collect::<Result<Vec<_>, _>>()?;
    Ok(Json(counted(&known, (from, before), now)))
}

fn counted(
    known: &[Known],
    (from, before): (OffsetDateTime, OffsetDateTime),
    now: OffsetDateTime,
) -> ServiceLevels {
    let (mut response, mut resolution) = (TimelyRate::default(), TimelyRate::default());
    for Known { incident, .. } in known {
        response.count(incident.response(now).standing);
        resolution.count(incident.resolution(now).standing);
    }
    let count = |counts: &dyn Fn(&Known) -> bool| known.iter().filter(|known| counts(known)).count();
    ServiceLevels {
        from,
        before,
        incidents: known.len(),
        by_level: Level::ALL.map(|level| count(&|known| known.incident.level == Some(level))),
        ungraded: count(&|known| known.incident.level.is_none()),
        by_alarm: count(&|known| super::view::accepted(known).2 == Source::Alarm),
        recurring: count(&|known| !super::view::accepted(known).3.is_empty()),
        open: count(&|known| known.incident.closed_at.is_none()),
        target: TARGET,
        response: RateView::of(response),
        resolution: RateView::of(resolution),
    }
}

/// What is said names people by their accounts: it is for who mends things, and for who audits that.
fn may_read(caller: &Authenticated, gateway: &Gateway) -> Result<(), Problem> {
    caller.using(Scope::Maintenance, gateway).or_else(|_| caller.using(Scope::Audit, gateway)).map(drop)
}
