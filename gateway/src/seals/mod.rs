//! `/v1/admin/seals`: the register of electronic seals (GB/T 38540), and `/v1/seals/{id}` for who relies on them.

pub(crate) mod act;
pub(crate) mod form;
mod public;
mod reads;
mod view;

use axum::Json;
use axum::extract::State;
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use config::SealNumber;
use formats::seal::HolderList;
use formats::{Certificate, Uscc};
use serde::{Deserialize, Serialize};
use store::{RegisteredSeal, SealEvent, SealKind, SealQuery, SealState};
use time::OffsetDateTime;
use utoipa::ToSchema;

use crate::approvals::{self, ApprovalAsked, Change};
use crate::apps::{ReasonRequest, sm3_hex};
use crate::auth::{Authenticated, Scope};
use crate::body::{Faults, JsonBody, QueryOf, Segment};
use crate::problem::{Problem, ProblemDocument};
use crate::state::Gateway;
use act::{CarriedOut, SealAct, SealActOrder};
use form::{SealDraft, SealRequest, encoded};
pub(crate) use public::*;

/// Whose seal it is.
#[derive(Serialize, ToSchema)]
pub(crate) struct SealHolderResponse {
    /// The name, as certificates have it.
    name: String,
    /// The unified social credit code, of whoever has one.
    uscc: Option<String>,
}

/// A certificate that a seal lists.
#[derive(Serialize, ToSchema)]
pub(crate) struct ListedCertificate {
    /// RFC 4514.
    subject: String,
    /// Hexadecimal.
    serial: String,
    /// SM3 of the certificate, hexadecimal.
    sm3: String,
    /// Its end.
    #[serde(with = "time::serde::rfc3339")]
    #[schema(value_type = String)]
    not_after: OffsetDateTime,
}

/// A seal of the register.
#[derive(Serialize, ToSchema)]
pub(crate) struct SealResponse {
    /// Its number (`esID`).
    #[schema(value_type = String)]
    number: SealNumber,
    /// `agency`, `enterprise` or `person`.
    #[schema(value_type = String)]
    kind: SealKind,
    /// What it is called.
    name: String,
    /// Whose it is.
    holder: SealHolderResponse,
    /// `active`, `suspended`, `revoked` or `replaced`.
    #[schema(value_type = String)]
    state: SealState,
    /// Why.
    state_reason: String,
    /// Who had it so.
    actor: String,
    /// Which seal took its place.
    #[schema(value_type = Option<String>)]
    replaced_by: Option<SealNumber>,
    /// Grows with every change of state, from 1 on.
    version: u32,
    /// From then on.
    #[serde(with = "time::serde::rfc3339")]
    #[schema(value_type = String)]
    valid_from: OffsetDateTime,
    /// Its last second.
    #[serde(with = "time::serde::rfc3339")]
    #[schema(value_type = String)]
    valid_until: OffsetDateTime,
    /// SM3 of the picture, hexadecimal.
    picture_sm3: String,
    /// SM3 of the SVG file that PDF documents show instead, hexadecimal; null if there is none.
    svg_sm3: Option<String>,
    /// On paper.
    width_mm: u32,
    /// On paper.
    height_mm: u32,
    /// `certificates` or `digests`: what the seal holds of those who may use it.
    list: &'static str,
    /// Who may use it.
    certificates: Vec<ListedCertificate>,
    /// SM3 of the seal's octets, hexadecimal.
    seal_sm3: String,
    /// When it was entered.
    #[serde(with = "time::serde::rfc3339")]
    #[schema(value_type = String)]
    created_at: OffsetDateTime,
    /// When its state was changed last.
    #[serde(with = "time::serde::rfc3339")]
    #[schema(value_type = String)]
    changed_at: OffsetDateTime,
}

/// A seal, its octets and what became of it.
#[derive(Serialize, ToSchema)]
pub(crate) struct SealDetail {
    #[serde(flatten)]
    seal: SealResponse,
    /// `SESeal` (GB/T 38540, version 4), DER in base64.
    octets: String,
    /// The picture in the seal, PNG in base64.
    png: String,
    /// The SVG file that it was made of, base64; null if there is none.
    svg: Option<String>,
    /// What became of it, oldest first.
    history: Vec<SealEventResponse>,
}

/// What became of a seal at one time.
#[derive(Serialize, ToSchema)]
pub(crate) struct SealEventResponse {
    /// The version that it made.
    version: u32,
    /// The state since then.
    #[schema(value_type = String)]
    state: SealState,
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
pub(crate) struct SealList {
    /// In the order of their numbers.
    items: Vec<SealResponse>,
    /// `after` of the next page; null when this was the last.
    next: Option<String>,
}

/// A seal that something was done to, or that was made.
#[derive(Serialize, ToSchema)]
pub(crate) struct SealActed {
    #[serde(flatten)]
    seal: SealResponse,
    /// Where it stands in the audit log.
    audit_index: u64,
    /// The request's id.
    request_id: String,
}

/// Which seals.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct SealsQuery {
    state: Option<String>,
    uscc: Option<String>,
    after: Option<String>,
    limit: Option<u32>,
}

impl SealsQuery {
    fn check(&self) -> Result<SealQuery, Problem> {
        let mut faults = Faults::default();
        let states: Vec<_> = SealState::NAMES.iter().map(|(word, state)| (*word, Some(*state))).collect();
        let state = faults.word("state", self.state.as_deref(), &states, None);
        let uscc = self.uscc.as_deref();
        let uscc = uscc.and_then(|uscc| faults.parse("uscc", "uscc_invalid", Uscc::parse_sandbox(uscc)));
        let after = self.after.as_deref();
        let after = after.and_then(|after| faults.parse("after", "invalid_value", SealNumber::parse(after)));
        let limit = self.limit.unwrap_or(100);
        if !(1..=100).contains(&limit) {
            faults.add("limit", "invalid_value", "must be 1 to 100");
        }
        let state = faults.into_result(state)?;
        Ok(SealQuery { state, uscc, after, limit })
    }
}

impl SealResponse {
    fn new(registered: &RegisteredSeal) -> Self {
        let (info, picture) = (registered.seal.info(), registered.picture());
        let listed = |certificate: &Certificate| ListedCertificate {
            subject: certificate.subject(),
            serial: certificate.serial_hex(),
            sm3: sm3_hex(certificate.der()),
            not_after: certificate.not_after(),
        };
        Self {
            number: registered.id.clone(),
            kind: registered.kind,
            name: info.name.clone(),
            holder: SealHolderResponse::new(registered),
            state: registered.state,
            state_reason: registered.reason.clone(),
            actor: registered.actor.clone(),
            replaced_by: registered.replaced_by.clone(),
            version: registered.version,
            valid_from: info.valid_from,
            valid_until: info.valid_until,
            picture_sm3: sm3_hex(&picture.octets),
            svg_sm3: registered.svg.as_ref().map(|svg| sm3_hex(svg.as_bytes())),
            width_mm: picture.width,
            height_mm: picture.height,
            list: match info.holders {
                HolderList::Certificates(_) => "certificates",
                HolderList::Digests(_) => "digests",
            },
            certificates: registered.certificates.iter().map(listed).collect(),
            seal_sm3: sm3_hex(registered.seal.der()),
            created_at: registered.created_at,
            changed_at: registered.changed_at,
        }
    }
}

impl SealHolderResponse {
    fn new(registered: &RegisteredSeal) -> Self {
        let holder = &registered.holder;
        Self { name: holder.name.clone(), uscc: holder.uscc.as_ref().map(|uscc| uscc.as_str().to_owned()) }
    }
}

impl SealEventResponse {
    fn new(event: SealEvent) -> Self {
        let SealEvent { version, state, reason, actor, at, audit_index } = event;
        Self { version, state, reason, actor, at, audit_index }
    }
}

/// The register of seals, in the order of their numbers.
#[utoipa::path(
    get, path = "/v1/admin/seals", tag = "administration",
    params(
        ("state" = Option<String>, Query, description = "`active`, `suspended`, `revoked` or `replaced`"),
        ("uscc" = Option<String>, Query, description = "of the holder with this unified social credit code"),
        ("after" = Option<String>, Query, description = "`next` of the page before"),
        ("limit" = Option<u32>, Query, description = "seals on a page, 1 to 100; 100 if absent"),
    ),
    responses(
        (status = 200, description = "a page", body = SealList),
        (status = 422, description = "a filter that is none", body = ProblemDocument, content_type = "application/problem+json"),
    )
)]
pub(crate) async fn list_seals(
    caller: Authenticated,
    State(gateway): State<Gateway>,
    QueryOf(query): QueryOf<SealsQuery>,
) -> Result<Json<SealList>, Problem> {
    caller.with(Scope::Seals)?;
    let page = gateway.store.seals(&query.check()?).await.map_err(|error| Problem::from_seals(&error))?;
    reads::record(&gateway, &caller, &page.items).await?;
    Ok(Json(SealList { items: page.items.iter().map(SealResponse::new).collect(), next: page.next }))
}

/// A seal of the register, its octets and what became of it.
#[utoipa::path(
    get, path = "/v1/admin/seals/{id}", tag = "administration",
    params(("id" = String, Path, description = "its number")),
    responses(
        (status = 200, description = "the seal", body = SealDetail),
        (status = 404, description = "`unknown_seal`", body = ProblemDocument, content_type = "application/problem+json"),
    )
)]
pub(crate) async fn get_registered_seal(
    caller: Authenticated,
    State(gateway): State<Gateway>,
    Segment(id): Segment,
) -> Result<Json<SealDetail>, Problem> {
    caller.with(Scope::Seals)?;
    let seal = known(&gateway, &id).await?;
    let events = gateway.store.seal_events(&seal.id).await.map_err(|error| Problem::from_seals(&error))?;
    reads::record(&gateway, &caller, [&seal]).await?;
    Ok(Json(SealDetail {
        octets: encoded(seal.seal.der()),
        png: encoded(&seal.picture().octets),
        svg: seal.svg.as_ref().map(|svg| encoded(svg.as_bytes())),
        history: events.into_iter().map(SealEventResponse::new).collect(),
        seal: SealResponse::new(&seal),
    }))
}

/// Make a seal, signed by the site's seal maker key, and enter it.
#[utoipa::path(
    post, path = "/v1/admin/seals", tag = "administration", request_body = SealRequest,
    responses(
        (status = 201, description = "made, entered, and on record", body = SealActed),
        (status = 202, description = "it waits for a second person", body = ApprovalAsked),
        (status = 409, description = "`seal_exists`", body = ProblemDocument, content_type = "application/problem+json"),
        (status = 422, description = "what is wrong with which field", body = ProblemDocument, content_type = "application/problem+json"),
        (status = 503, description = "`system_key_missing`: the site has no seal maker key; or no device signed in time", body = ProblemDocument, content_type = "application/problem+json"),
    )
)]
pub(crate) async fn make_seal(
    caller: Authenticated,
    State(gateway): State<Gateway>,
    JsonBody(request): JsonBody<SealRequest>,
) -> Result<Response, Problem> {
    caller.with(Scope::Seals)?;
    let (request, draft, reason) = checked(&gateway, request).await?;
    draft.judge(&gateway, OffsetDateTime::now_utc())?;
    let act = SealAct::Make { id: draft.number, seal: Box::new(request.seal.0) };
    asked_or_done(&gateway, &caller, act, reason, StatusCode::CREATED).await
}

/// A request that was checked, where there is time for it: a picture is decoded.
async fn checked(
    gateway: &Gateway,
    request: SealRequest,
) -> Result<(SealRequest, SealDraft, String), Problem> {
    let check = move || request.check().map(|(draft, reason)| (request, draft, reason));
    gateway.judging.run(check).await?.await.map_err(|_| Problem::panicked())?
}

/// Let nobody use a seal for now.
#[utoipa::path(
    post, path = "/v1/admin/seals/{id}/suspend", tag = "administration", request_body = ReasonRequest,
    params(("id" = String, Path, description = "its number")),
    responses(
        (status = 200, description = "in force, and on record", body = SealActed),
        (status = 202, description = "it waits for a second person", body = ApprovalAsked),
        (status = 404, description = "`unknown_seal`", body = ProblemDocument, content_type = "application/problem+json"),
        (status = 409, description = "`seal_state`: it is suspended, revoked or replaced", body = ProblemDocument, content_type = "application/problem+json"),
    )
)]
pub(crate) async fn suspend_seal(
    caller: Authenticated,
    State(gateway): State<Gateway>,
    Segment(id): Segment,
    JsonBody(request): JsonBody<ReasonRequest>,
) -> Result<Response, Problem> {
    set_state(&gateway, &caller, &id, &request, SealState::Suspended).await
}

/// Let a suspended seal be used again.
#[utoipa::path(
    post, path = "/v1/admin/seals/{id}/resume", tag = "administration", request_body = ReasonRequest,
    params(("id" = String, Path, description = "its number")),
    responses(
        (status = 200, description = "in force, and on record", body = SealActed),
        (status = 202, description = "it waits for a second person", body = ApprovalAsked),
        (status = 404, description = "`unknown_seal`", body = ProblemDocument, content_type = "application/problem+json"),
        (status = 409, description = "`seal_state`: it is active, revoked or replaced", body = ProblemDocument, content_type = "application/problem+json"),
    )
)]
pub(crate) async fn resume_seal(
    caller: Authenticated,
    State(gateway): State<Gateway>,
    Segment(id): Segment,
    JsonBody(request): JsonBody<ReasonRequest>,
) -> Result<Response, Problem> {
    set_state(&gateway, &caller, &id, &request, SealState::Active).await
}

/// Let nobody use a seal any more. It does not come back.
#[utoipa::path(
    post, path = "/v1/admin/seals/{id}/revoke", tag = "administration", request_body = ReasonRequest,
    params(("id" = String, Path, description = "its number")),
    responses(
        (status = 200, description = "in force, and on record", body = SealActed),
        (status = 202, description = "it waits for a second person", body = ApprovalAsked),
        (status = 404, description = "`unknown_seal`", body = ProblemDocument, content_type = "application/problem+json"),
        (status = 409, description = "`seal_state`: it is revoked or replaced", body = ProblemDocument, content_type = "application/problem+json"),
    )
)]
pub(crate) async fn revoke_seal(
    caller: Authenticated,
    State(gateway): State<Gateway>,
    Segment(id): Segment,
    JsonBody(request): JsonBody<ReasonRequest>,
) -> Result<Response, Problem> {
    set_state(&gateway, &caller, &id, &request, SealState::Revoked).await
}

/// Make a seal that takes another one's place, which cannot be used any more.
#[utoipa::path(
    post, path = "/v1/admin/seals/{id}/replace", tag = "administration", request_body = SealRequest,
    params(("id" = String, Path, description = "the number of the seal that is replaced")),
    responses(
        (status = 201, description = "the new seal: made, entered, and on record", body = SealActed),
        (status = 202, description = "it waits for a second person", body = ApprovalAsked),
        (status = 404, description = "`unknown_seal`", body = ProblemDocument, content_type = "application/problem+json"),
        (status = 409, description = "`seal_exists`; `seal_state`: it is revoked or replaced", body = ProblemDocument, content_type = "application/problem+json"),
        (status = 422, description = "what is wrong with which field", body = ProblemDocument, content_type = "application/problem+json"),
    )
)]
pub(crate) async fn replace_seal(
    caller: Authenticated,
    State(gateway): State<Gateway>,
    Segment(id): Segment,
    JsonBody(request): JsonBody<SealRequest>,
) -> Result<Response, Problem> {
    caller.with(Scope::Seals)?;
    let seal = known(&gateway, &id).await?;
    let (request, draft, reason) = checked(&gateway, request).await?;
    may_become(&seal, SealState::Replaced)?;
    draft.judge(&gateway, OffsetDateTime::now_utc())?;
    let by = draft.number;
    match gateway.store.seal(&by).await {
        Err(store::StoreError::NotFound { .. }) => {}
        Err(error) => return Err(Problem::from_seals(&error)),
        Ok(_) => return Err(Problem::seal_exists(by.as_str())),
    }
    let act = SealAct::Replace { id: seal.id, by, seal: Box::new(request.seal.0) };
    asked_or_done(&gateway, &caller, act, reason, StatusCode::CREATED).await
}

async fn set_state(
    gateway: &Gateway,
    caller: &Authenticated,
    id: &str,
    request: &ReasonRequest,
    to: SealState,
) -> Result<Response, Problem> {
    caller.with(Scope::Seals)?;
    let seal = known(gateway, id).await?;
    let reason = request.check()?;
    may_become(&seal, to)?;
    let id = seal.id;
    let act = match to {
        SealState::Active => SealAct::Resume { id },
        SealState::Suspended => SealAct::Suspend { id },
        SealState::Revoked | SealState::Replaced => SealAct::Revoke { id },
    };
    asked_or_done(gateway, caller, act, reason, StatusCode::OK).await
}

/// Nobody is asked for what cannot be done.
fn may_become(seal: &RegisteredSeal, to: SealState) -> Result<(), Problem> {
    seal.may_become(to).map_err(|error| Problem::from_seals(&error))
}

/// Has the act wait for a second person where the site wants two, or does it.
async fn asked_or_done(
    gateway: &Gateway,
    caller: &Authenticated,
    act: SealAct,
    reason: String,
    done: StatusCode,
) -> Result<Response, Problem> {
    let change = || Change::Seal { act: act.clone() };
    if let Some(asked) = approvals::ask(gateway, caller, change, &reason, None).await? {
        return Ok(asked);
    }
    let request_id = crate::request_id::current();
    let order =
        SealActOrder { act, reason, actor: caller.actor(), request_id: request_id.clone(), since: None };
    let CarriedOut { seal, audit_index } = act::carry_out(gateway, order).await?;
    let acted = SealActed { seal: SealResponse::new(&seal), audit_index, request_id };
    Ok((done, Json(acted)).into_response())
}

/// The seal, as the register has it now; what cannot be a number is the number of no seal.
async fn known(gateway: &Gateway, id: &str) -> Result<RegisteredSeal, Problem> {
    let number = SealNumber::parse(id).map_err(|_| Problem::unknown_seal(id))?;
    gateway.store.seal(&number).await.map_err(|error| Problem::from_seals(&error))
}
