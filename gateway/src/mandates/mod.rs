//! `/v1/admin/mandates`: standing mandates of enterprises, and `/v1/mandates` for the apps that may use them.

pub(crate) mod act;
pub(crate) mod form;
mod own;
pub(crate) mod view;

use std::collections::BTreeSet;

use axum::Json;
use axum::extract::State;
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use config::{AppId, KeyId, MandateNumber};
use formats::{Certificate, Uscc};
use serde::{Deserialize, Serialize};
use store::{Mandate, MandateEvent, MandateFormat, MandateQuery, MandateState};
use time::OffsetDateTime;
use utoipa::ToSchema;

use crate::approvals::{self, ApprovalAsked, Change};
use crate::apps::ReasonRequest;
use crate::auth::{Authenticated, Scope};
use crate::body::{Faults, JsonBody, QueryOf, Segment};
use crate::policies;
use crate::problem::{Problem, ProblemDocument};
use crate::state::Gateway;
use act::{CarriedOut, MandateAct, MandateActOrder, MandateStep};
use form::NewMandateRequest;
pub(crate) use own::*;

/// Most certificates that are brought in at once: the key's own and those above it.
const MOST_CERTIFICATES: usize = 8;

/// An enterprise.
#[derive(Serialize, ToSchema)]
pub(crate) struct MandateEnterprise {
    /// The name.
    name: String,
    /// The unified social credit code.
    uscc: String,
}

/// Who granted a mandate. It has no `Debug`.
#[derive(Serialize, ToSchema)]
pub(crate) struct MandateGrantor {
    /// The name.
    name: String,
    /// The number of the identity document, but for its ends masked.
    id_number: String,
}

/// What a mandate is for.
#[derive(Serialize, ToSchema)]
pub(crate) struct MandateTermsResponse {
    /// What may be stamped: some of `pdf`, `ofd` and `digest`.
    #[schema(value_type = Vec<String>)]
    formats: BTreeSet<MandateFormat>,
    /// What for; each use names one of these.
    #[schema(value_type = Vec<String>)]
    purposes: BTreeSet<String>,
    /// Branches that the enterprise acts for in lists: unified social credit codes.
    #[serde(skip_serializing_if = "BTreeSet::is_empty")]
    #[schema(value_type = Vec<String>)]
    branches: BTreeSet<String>,
    /// Most signatures on a day of the site; one over a list counts once for each of its items.
    per_day: u64,
    /// Most signatures in all.
    in_all: u64,
    /// Largest document, octets.
    largest_octets: u64,
    /// From then on.
    #[serde(with = "time::serde::rfc3339")]
    #[schema(value_type = String)]
    valid_from: OffsetDateTime,
    /// Its last second.
    #[serde(with = "time::serde::rfc3339")]
    #[schema(value_type = String)]
    valid_until: OffsetDateTime,
}

/// A mandate of the register. It names a person, so that it has no `Debug`.
#[derive(Serialize, ToSchema)]
pub(crate) struct MandateResponse {
    /// Its number.
    #[schema(value_type = String)]
    number: MandateNumber,
    /// In whose name it lets sign.
    enterprise: MandateEnterprise,
    /// Who granted it.
    granted_by: MandateGrantor,
    /// SM3 of the document that grants it, hexadecimal.
    evidence_sm3: String,
    /// Who may use it.
    #[schema(value_type = Vec<String>)]
    apps: BTreeSet<AppId>,
    #[serde(flatten)]
    terms: MandateTermsResponse,
    /// Its key, as record and answers call it.
    #[schema(value_type = String)]
    key: KeyId,
    /// The key's certificate, PEM; null of a draft without one.
    certificate: Option<String>,
    /// `draft`, `active`, `suspended` or `ended`.
    #[schema(value_type = String)]
    state: MandateState,
    /// Why.
    state_reason: String,
    /// Who had it so.
    actor: String,
    /// Grows with every change, from 1 on.
    version: u32,
    /// When it was entered.
    #[serde(with = "time::serde::rfc3339")]
    #[schema(value_type = String)]
    created_at: OffsetDateTime,
    /// When it was changed last.
    #[serde(with = "time::serde::rfc3339")]
    #[schema(value_type = String)]
    changed_at: OffsetDateTime,
}

/// A mandate, how much of it is used, and what became of it.
#[derive(Serialize, ToSchema)]
pub(crate) struct MandateDetail {
    #[serde(flatten)]
    mandate: MandateResponse,
    /// Signatures taken on this day of the site.
    taken_today: u64,
    /// Signatures taken ever.
    taken_in_all: u64,
    /// What became of it, oldest first.
    history: Vec<MandateEventResponse>,
}

/// What became of a mandate at one time.
#[derive(Serialize, ToSchema)]
pub(crate) struct MandateEventResponse {
    /// The version that it made.
    version: u32,
    /// The state since then.
    #[schema(value_type = String)]
    state: MandateState,
    /// Why.
    reason: String,
    /// Who had it so.
    actor: String,
    /// When.
    #[serde(with = "time::serde::rfc3339")]
    #[schema(value_type = String)]
    at: OffsetDateTime,
    /// Where it stands in the audit log.
    audit_index: u64,
}

/// A page of the register.
#[derive(Serialize, ToSchema)]
pub(crate) struct MandateList {
    /// In the order of their numbers.
    items: Vec<MandateResponse>,
    /// `after` of the next page; null when this was the last.
    next: Option<String>,
}

/// A mandate that something was done to, or that was entered.
#[derive(Serialize, ToSchema)]
pub(crate) struct MandateActed {
    #[serde(flatten)]
    mandate: MandateResponse,
    /// Where it stands in the audit log.
    audit_index: u64,
    /// The request's id.
    request_id: String,
}

/// A certification request for a mandate's key.
#[derive(Serialize, ToSchema)]
pub(crate) struct MandateCsr {
    /// PKCS #10, PEM. Its subject has the enterprise's name as CN and O, and its code as serialNumber.
    csr: String,
    /// Where it stands in the audit log.
    audit_index: u64,
    /// The request's id.
    request_id: String,
}

/// A mandate's certificate.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct MandateCertificateRequest {
    /// PEM: the key's own certificate, then those above it as far as they are to be in signatures; 8 at most.
    certificate: String,
    /// For the record: 1 to 500 characters.
    reason: String,
}

impl MandateCertificateRequest {
    /// The certificates and the reason.
    ///
    /// # Errors
    /// Every fault at once.
    pub(crate) fn check(&self) -> Result<(Vec<Certificate>, String), Problem> {
        let mut faults = Faults::default();
        let reason = crate::input::reason(&mut faults, &self.reason).map(str::to_owned);
        let read = Certificate::many_from_pem(&self.certificate);
        let read = faults.parse("certificate", "invalid_certificate", read);
        if read.as_ref().is_some_and(|read| !(1..=MOST_CERTIFICATES).contains(&read.len())) {
            let detail = format!("must be 1 to {MOST_CERTIFICATES} certificates");
            faults.add("certificate", "invalid_certificate", detail);
        }
        faults.into_result(read.zip(reason))
    }
}

/// Which mandates.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct MandatesQuery {
    state: Option<String>,
    uscc: Option<String>,
    after: Option<String>,
    limit: Option<u32>,
}

impl MandatesQuery {
    fn check(&self) -> Result<MandateQuery, Problem> {
        let mut faults = Faults::default();
        let states: Vec<_> = MandateState::NAMES.iter().map(|(word, state)| (*word, Some(*state))).collect();
        let state = faults.word("state", self.state.as_deref(), &states, None);
        let uscc = self.uscc.as_deref();
        let enterprise =
            uscc.and_then(|uscc| faults.parse("uscc", "uscc_invalid", Uscc::parse_sandbox(uscc)));
        let after = self.after.as_deref();
        let after =
            after.and_then(|after| faults.parse("after", "invalid_value", MandateNumber::parse(after)));
        let limit = self.limit.unwrap_or(100);
        if !(1..=100).contains(&limit) {
            faults.add("limit", "invalid_value", "must be 1 to 100");
        }
        let state = faults.into_result(state)?;
        Ok(MandateQuery { state, enterprise, app: None, after, limit })
    }
}

impl MandateEnterprise {
    fn of(mandate: &Mandate) -> Self {
        Self { name: mandate.name.clone(), uscc: mandate.enterprise.to_string() }
    }
}

impl MandateTermsResponse {
    fn of(mandate: &Mandate) -> Self {
        let terms = mandate.terms.clone();
        Self {
            formats: terms.formats,
            purposes: terms.purposes,
            branches: terms.branches,
            per_day: terms.per_day,
            in_all: terms.in_all,
            largest_octets: terms.largest_octets,
            valid_from: terms.valid_from,
            valid_until: terms.valid_until,
        }
    }
}

impl MandateResponse {
    fn new(mandate: &Mandate) -> Self {
        let grantor = &mandate.grantor;
        Self {
            number: mandate.id.clone(),
            enterprise: MandateEnterprise::of(mandate),
            granted_by: MandateGrantor { name: grantor.name.clone(), id_number: masked(&grantor.id_number) },
            evidence_sm3: mandate.evidence.clone(),
            apps: mandate.apps.clone(),
            terms: MandateTermsResponse::of(mandate),
            key: mandate.key.clone(),
            certificate: mandate.certificates.first().map(Certificate::to_pem),
            state: mandate.state,
            state_reason: mandate.reason.clone(),
            actor: mandate.actor.clone(),
            version: mandate.version,
            created_at: mandate.created_at,
            changed_at: mandate.changed_at,
        }
    }
}

impl MandateEventResponse {
    fn new(event: MandateEvent) -> Self {
        let MandateEvent { version, state, reason, actor, at, audit_index } = event;
        Self { version, state, reason, actor, at, audit_index }
    }
}

/// The first and the last character of a number, and asterisks between.
pub(super) fn masked(number: &str) -> String {
    let length = number.chars().count();
    let shown = |at: usize| at == 0 || at + 1 == length;
    number.chars().enumerate().map(|(at, one)| if shown(at) { one } else { '*' }).collect()
}

/// Today at the site, counted from 1970-01-01.
pub(crate) fn today(gateway: &Gateway, at: OffsetDateTime) -> i64 {
    policies::day(at, gateway.config.site.utc_offset)
}

/// The register of mandates, in the order of their numbers.
#[utoipa::path(
    get, path = "/v1/admin/mandates", tag = "administration",
    params(
        ("state" = Option<String>, Query, description = "`draft`, `active`, `suspended` or `ended`"),
        ("uscc" = Option<String>, Query, description = "of the enterprise with this unified social credit code"),
        ("after" = Option<String>, Query, description = "`next` of the page before"),
        ("limit" = Option<u32>, Query, description = "mandates on a page, 1 to 100; 100 if absent"),
    ),
    responses(
        (status = 200, description = "a page", body = MandateList),
        (status = 422, description = "a filter that is none", body = ProblemDocument, content_type = "application/problem+json"),
    )
)]
pub(crate) async fn list_mandates(
    caller: Authenticated,
    State(gateway): State<Gateway>,
    QueryOf(query): QueryOf<MandatesQuery>,
) -> Result<Json<MandateList>, Problem> {
    caller.with(Scope::Seals)?;
    let page = gateway.store.mandates(&query.check()?).await;
    let page = page.map_err(|error| Problem::from_mandates(&error))?;
    Ok(Json(MandateList { items: page.items.iter().map(MandateResponse::new).collect(), next: page.next }))
}

/// A mandate of the register, how much of it is used, and what became of it.
#[utoipa::path(
    get, path = "/v1/admin/mandates/{id}", tag = "administration",
    params(("id" = String, Path, description = "its number")),
    responses(
        (status = 200, description = "the mandate", body = MandateDetail),
        (status = 404, description = "`unknown_mandate`", body = ProblemDocument, content_type = "application/problem+json"),
    )
)]
pub(crate) async fn get_mandate(
    caller: Authenticated,
    State(gateway): State<Gateway>,
    Segment(id): Segment,
) -> Result<Json<MandateDetail>, Problem> {
    caller.with(Scope::Seals)?;
    let mandate = known(&gateway, &id).await?;
    let today = today(&gateway, OffsetDateTime::now_utc());
    let refused = |error| Problem::from_mandates(&error);
    let taken = gateway.store.taken_of_mandate(&mandate.id, today).await.map_err(refused)?;
    let events = gateway.store.mandate_events(&mandate.id).await.map_err(refused)?;
    Ok(Json(MandateDetail {
        mandate: MandateResponse::new(&mandate),
        taken_today: taken.on_day,
        taken_in_all: taken.in_all,
        history: events.into_iter().map(MandateEventResponse::new).collect(),
    }))
}

/// Enter a mandate as a draft: a device makes its key. Nobody can use it before it has a certificate and is activated.
#[utoipa::path(
    post, path = "/v1/admin/mandates", tag = "administration", request_body = NewMandateRequest,
    responses(
        (status = 201, description = "entered, and on record", body = MandateActed),
        (status = 409, description = "`mandate_exists`", body = ProblemDocument, content_type = "application/problem+json"),
        (status = 422, description = "what is wrong with which field", body = ProblemDocument, content_type = "application/problem+json"),
        (status = 503, description = "`system_key_missing`: the group has no key that wraps; or no device made a key in time", body = ProblemDocument, content_type = "application/problem+json"),
    )
)]
pub(crate) async fn create_mandate(
    caller: Authenticated,
    State(gateway): State<Gateway>,
    JsonBody(request): JsonBody<NewMandateRequest>,
) -> Result<Response, Problem> {
    caller.with(Scope::Seals)?;
    let (draft, reason) = request.check()?;
    draft.judge(&gateway, OffsetDateTime::now_utc()).await?;
    done(&gateway, &caller, MandateAct::Create(Box::new(draft)), reason, StatusCode::CREATED).await
}

/// Make a certification request for a draft's key.
#[utoipa::path(
    post, path = "/v1/admin/mandates/{id}/csr", tag = "administration", request_body = ReasonRequest,
    params(("id" = String, Path, description = "its number")),
    responses(
        (status = 201, description = "made, and on record", body = MandateCsr),
        (status = 404, description = "`unknown_mandate`", body = ProblemDocument, content_type = "application/problem+json"),
        (status = 409, description = "`mandate_state`: it is no draft", body = ProblemDocument, content_type = "application/problem+json"),
        (status = 503, description = "no device signed in time", body = ProblemDocument, content_type = "application/problem+json"),
    )
)]
pub(crate) async fn request_mandate_certificate(
    caller: Authenticated,
    State(gateway): State<Gateway>,
    Segment(id): Segment,
    JsonBody(request): JsonBody<ReasonRequest>,
) -> Result<Response, Problem> {
    caller.with(Scope::Seals)?;
    let mandate = known(&gateway, &id).await?;
    let reason = request.check()?;
    act::draft(&mandate)?;
    let order = ordered(&caller, MandateAct::Request { mandate: mandate.id }, reason);
    let request_id = order.request_id.clone();
    let CarriedOut { csr, audit_index, .. } = act::carry_out(&gateway, order).await?;
    let csr = csr.ok_or_else(Problem::panicked)?;
    Ok((StatusCode::CREATED, Json(MandateCsr { csr, audit_index, request_id })).into_response())
}

/// Give a draft its certificate, or another one.
#[utoipa::path(
    post, path = "/v1/admin/mandates/{id}/certificate", tag = "administration", request_body = MandateCertificateRequest,
    params(("id" = String, Path, description = "its number")),
    responses(
        (status = 200, description = "in the register, and on record", body = MandateActed),
        (status = 404, description = "`unknown_mandate`", body = ProblemDocument, content_type = "application/problem+json"),
        (status = 409, description = "`mandate_state`: it is no draft", body = ProblemDocument, content_type = "application/problem+json"),
        (status = 422, description = "`certificate_of_another_key`, `certificate_not_for_enterprise`, `validity_outside_mandate`, `certificate_refused`", body = ProblemDocument, content_type = "application/problem+json"),
    )
)]
pub(crate) async fn certify_mandate(
    caller: Authenticated,
    State(gateway): State<Gateway>,
    Segment(id): Segment,
    JsonBody(request): JsonBody<MandateCertificateRequest>,
) -> Result<Response, Problem> {
    caller.with(Scope::Seals)?;
    let mandate = known(&gateway, &id).await?;
    let (certificates, reason) = request.check()?;
    act::draft(&mandate)?;
    act::judge_certificate(&gateway, &mandate, &certificates, OffsetDateTime::now_utc()).await?;
    let act = MandateAct::Certify { mandate: mandate.id, certificates };
    done(&gateway, &caller, act, reason, StatusCode::OK).await
}

/// Put a mandate to use.
#[utoipa::path(
    post, path = "/v1/admin/mandates/{id}/activate", tag = "administration", request_body = ReasonRequest,
    params(("id" = String, Path, description = "its number")),
    responses(
        (status = 200, description = "in force, and on record", body = MandateActed),
        (status = 202, description = "it waits for a second person", body = ApprovalAsked),
        (status = 404, description = "`unknown_mandate`", body = ProblemDocument, content_type = "application/problem+json"),
        (status = 409, description = "`mandate_state`: it has no certificate, or is no draft", body = ProblemDocument, content_type = "application/problem+json"),
        (status = 422, description = "`certificate_refused`: its certificate does not hold any more", body = ProblemDocument, content_type = "application/problem+json"),
    )
)]
pub(crate) async fn activate_mandate(
    caller: Authenticated,
    State(gateway): State<Gateway>,
    Segment(id): Segment,
    JsonBody(request): JsonBody<ReasonRequest>,
) -> Result<Response, Problem> {
    step(&gateway, &caller, &id, &request, MandateStep::Activate).await
}

/// Let nobody use a mandate for now.
#[utoipa::path(
    post, path = "/v1/admin/mandates/{id}/suspend", tag = "administration", request_body = ReasonRequest,
    params(("id" = String, Path, description = "its number")),
    responses(
        (status = 200, description = "in force, and on record", body = MandateActed),
        (status = 404, description = "`unknown_mandate`", body = ProblemDocument, content_type = "application/problem+json"),
        (status = 409, description = "`mandate_state`: it is not active", body = ProblemDocument, content_type = "application/problem+json"),
    )
)]
pub(crate) async fn suspend_mandate(
    caller: Authenticated,
    State(gateway): State<Gateway>,
    Segment(id): Segment,
    JsonBody(request): JsonBody<ReasonRequest>,
) -> Result<Response, Problem> {
    step(&gateway, &caller, &id, &request, MandateStep::Suspend).await
}

/// Let a suspended mandate be used again.
#[utoipa::path(
    post, path = "/v1/admin/mandates/{id}/resume", tag = "administration", request_body = ReasonRequest,
    params(("id" = String, Path, description = "its number")),
    responses(
        (status = 200, description = "in force, and on record", body = MandateActed),
        (status = 202, description = "it waits for a second person", body = ApprovalAsked),
        (status = 404, description = "`unknown_mandate`", body = ProblemDocument, content_type = "application/problem+json"),
        (status = 409, description = "`mandate_state`: it is not suspended", body = ProblemDocument, content_type = "application/problem+json"),
        (status = 422, description = "`certificate_refused`: its certificate does not hold any more", body = ProblemDocument, content_type = "application/problem+json"),
    )
)]
pub(crate) async fn resume_mandate(
    caller: Authenticated,
    State(gateway): State<Gateway>,
    Segment(id): Segment,
    JsonBody(request): JsonBody<ReasonRequest>,
) -> Result<Response, Problem> {
    step(&gateway, &caller, &id, &request, MandateStep::Resume).await
}

/// End a mandate: its key is destroyed, and it does not come back. What was stamped under it stays valid.
#[utoipa::path(
    post, path = "/v1/admin/mandates/{id}/end", tag = "administration", request_body = ReasonRequest,
    params(("id" = String, Path, description = "its number")),
    responses(
        (status = 200, description = "in force, and on record", body = MandateActed),
        (status = 404, description = "`unknown_mandate`", body = ProblemDocument, content_type = "application/problem+json"),
        (status = 409, description = "`mandate_state`: it was ended", body = ProblemDocument, content_type = "application/problem+json"),
    )
)]
pub(crate) async fn end_mandate(
    caller: Authenticated,
    State(gateway): State<Gateway>,
    Segment(id): Segment,
    JsonBody(request): JsonBody<ReasonRequest>,
) -> Result<Response, Problem> {
    step(&gateway, &caller, &id, &request, MandateStep::End).await
}

/// What lets a mandate be used waits for a second person where the site wants two; what contains harm does not.
async fn step(
    gateway: &Gateway,
    caller: &Authenticated,
    id: &str,
    request: &ReasonRequest,
    step: MandateStep,
) -> Result<Response, Problem> {
    caller.with(Scope::Seals)?;
    let mandate = known(gateway, id).await?;
    let reason = request.check()?;
    // Nobody is asked for what cannot be done.
    step.fits(&mandate)?;
    if matches!(step, MandateStep::Activate | MandateStep::Resume) {
        let (chain, now) = (&mandate.certificates, OffsetDateTime::now_utc());
        act::judge_certificate(gateway, &mandate, chain, now).await?;
        let change = || Change::Mandate { mandate: mandate.id.clone(), step };
        if let Some(asked) = approvals::ask(gateway, caller, change, &reason, None).await? {
            return Ok(asked);
        }
    }
    done(gateway, caller, MandateAct::Step { mandate: mandate.id, step }, reason, StatusCode::OK).await
}

async fn done(
    gateway: &Gateway,
    caller: &Authenticated,
    act: MandateAct,
    reason: String,
    status: StatusCode,
) -> Result<Response, Problem> {
    let order = ordered(caller, act, reason);
    let request_id = order.request_id.clone();
    let CarriedOut { mandate, audit_index, .. } = act::carry_out(gateway, order).await?;
    let acted = MandateActed { mandate: MandateResponse::new(&mandate), audit_index, request_id };
    Ok((status, Json(acted)).into_response())
}

fn ordered(caller: &Authenticated, act: MandateAct, reason: String) -> MandateActOrder {
    let request_id = crate::request_id::current();
    MandateActOrder { act, reason, actor: caller.actor(), request_id, since: None }
}

/// The mandate, as the register has it now; what cannot be a number is the number of no mandate.
pub(crate) async fn known(gateway: &Gateway, id: &str) -> Result<Mandate, Problem> {
    let number = MandateNumber::parse(id).map_err(|_| Problem::unknown_mandate(id))?;
    gateway.store.mandate(&number).await.map_err(|error| Problem::from_mandates(&error))
}
