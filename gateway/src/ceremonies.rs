//! `/v1/admin/ceremonies`: key ceremonies. Opened by an operator, confirmed by custodians, carried out by the request
//! that brings the last confirmation; then devices and key ring take the change over without a restart.

use std::collections::HashMap;
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use axum::Json;
use axum::extract::State;
use axum::http::StatusCode;
use config::OwnName;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use signing::{KeyAct, KeyCeremonies, KeyRing, Operator};
use store::{AuditEntry, AuditLog, Ceremony, CeremonyState, Store, StoreError};
use time::OffsetDateTime;
use tracing::Instrument;
use utoipa::ToSchema;
use zeroize::Zeroizing;

use crate::auth::{Authenticated, Scope};
use crate::body::{Faults, JsonBody, Segment};
use crate::ceremony_order::CeremonyRequest;
use crate::keys::SOON;
use crate::problem::{Problem, ProblemDocument};
use crate::state::Gateway;

/// A custodian's word for a ceremony.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct ConfirmRequest {
    /// Who.
    custodian: String,
    /// That custodian's secret.
    #[schema(value_type = String)]
    secret: Zeroizing<String>,
}

/// A ceremony as it stands.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct CeremonyResponse {
    /// Its number.
    id: i64,
    /// `key.create`, `key.next`, `key.spread`, `key.install`, `key.rotate`, `key.retire` or `key.destroy`.
    action: String,
    /// To what and how: what custodians confirm.
    #[schema(value_type = Object)]
    parameters: Value,
    /// Why.
    reason: String,
    /// Who opened it.
    begun_by: String,
    /// When.
    #[serde(with = "time::serde::rfc3339")]
    #[schema(value_type = String)]
    begun_at: OffsetDateTime,
    /// From when on it can neither be confirmed nor carried out.
    #[serde(with = "time::serde::rfc3339")]
    #[schema(value_type = String)]
    expires_at: OffsetDateTime,
    /// How many custodians must confirm it.
    needed: u32,
    /// Of how many there were when it was opened.
    custodians: u32,
    /// `open`, `confirmed` (it is being carried out), `done`, `failed` or `expired`.
    #[schema(value_type = String)]
    state: CeremonyState,
    /// When it began to be carried out.
    #[serde(with = "time::serde::rfc3339::option")]
    #[schema(value_type = Option<String>)]
    started_at: Option<OffsetDateTime>,
    /// When it ended.
    #[serde(with = "time::serde::rfc3339::option")]
    #[schema(value_type = Option<String>)]
    finished_at: Option<OffsetDateTime>,
    /// What came of it; of a failed one `error`, and `devices` with what each of them said.
    #[schema(value_type = Option<Object>)]
    result: Option<Value>,
    /// Who confirmed it.
    confirmations: Vec<ConfirmationResponse>,
}

/// A custodian's confirmation.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct ConfirmationResponse {
    /// Who.
    custodian: String,
    /// When.
    #[serde(with = "time::serde::rfc3339")]
    #[schema(value_type = String)]
    at: OffsetDateTime,
}

/// The latest ceremonies.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct CeremonyList {
    /// Newest first, 1,000 at most.
    items: Vec<CeremonyResponse>,
    /// Always null.
    next: Option<String>,
}

/// A ceremony after a confirmation.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct ConfirmResponse {
    #[serde(flatten)]
    ceremony: CeremonyResponse,
    /// How devices and key ring took over what was carried out; null before that.
    taken_over: Option<TakenOver>,
    /// The request's id.
    request_id: String,
}

/// What a ceremony changed for requests.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct TakenOver {
    /// In words; empty if nothing changed for requests.
    changes: Vec<String>,
    /// The code of what went wrong; a reload of the configuration takes the keys over too.
    error: Option<&'static str>,
}

impl CeremonyResponse {
    fn new(ceremony: Ceremony, at: OffsetDateTime) -> Self {
        let waiting = matches!(ceremony.state, CeremonyState::Open | CeremonyState::Confirmed)
            && ceremony.started_at.is_none();
        let late = waiting && ceremony.expires_at <= at;
        let confirmations = ceremony.confirmations.into_iter();
        Self {
            id: ceremony.id,
            action: ceremony.action,
            parameters: ceremony.parameters,
            reason: ceremony.reason,
            begun_by: ceremony.begun_by,
            begun_at: ceremony.begun_at,
            expires_at: ceremony.expires_at,
            needed: ceremony.needed,
            custodians: ceremony.custodians,
            state: if late { CeremonyState::Expired } else { ceremony.state },
            started_at: ceremony.started_at,
            finished_at: ceremony.finished_at,
            result: ceremony.result,
            confirmations: confirmations
                .map(|confirmation| ConfirmationResponse {
                    custodian: confirmation.custodian,
                    at: confirmation.at,
                })
                .collect(),
        }
    }
}

/// Who may see and order what happens to keys: `keys` alone is what callers have to list the public ones.
pub(crate) fn admit(caller: &Authenticated) -> Result<(), Problem> {
    caller.with(Scope::Keys)?;
    caller.with(Scope::Maintenance)?;
    Ok(())
}

/// Who asks, as ceremonies record it.
pub(crate) fn operator(name: String) -> Operator {
    Operator { name, request_id: crate::request_id::current(), at: OffsetDateTime::now_utc() }
}

/// Ceremonies over what the gateway has.
pub(crate) fn ceremonies(gateway: &Gateway) -> KeyCeremonies<hsm_driver::Fleet> {
    KeyCeremonies::new(gateway.store.clone(), std::sync::Arc::clone(&gateway.fleet), gateway.audit.clone())
}

/// Open a key ceremony: say what is to be done and why. Nothing is done before as many custodians as the site
/// asks for have confirmed exactly this.
#[utoipa::path(
    post, path = "/v1/admin/ceremonies", tag = "administration", request_body = CeremonyRequest,
    responses(
        (status = 201, description = "waits for confirmations", body = CeremonyResponse),
        (status = 404, description = "`unknown_key`, `unknown_key_version`", body = ProblemDocument, content_type = "application/problem+json"),
        (status = 409, description = "`key_exists`, `too_few_custodians`", body = ProblemDocument, content_type = "application/problem+json"),
        (status = 422, description = "what is wrong with which field", body = ProblemDocument, content_type = "application/problem+json"),
    )
)]
pub(crate) async fn open_ceremony(
    caller: Authenticated,
    State(gateway): State<Gateway>,
    JsonBody(request): JsonBody<CeremonyRequest>,
) -> Result<(StatusCode, Json<CeremonyResponse>), Problem> {
    admit(&caller)?;
    let order = request.check()?;
    can_be(&gateway, &order.act).await?;
    let (by, needed) = (operator(caller.actor()), gateway.config.ceremony.confirmations);
    let opened = ceremonies(&gateway).open(&by, &order.act, &order.reason, needed, order.lifetime).await?;
    Ok((StatusCode::CREATED, Json(CeremonyResponse::new(opened, by.at))))
}

/// Refuses what could not be done whoever confirmed it.
async fn can_be(gateway: &Gateway, act: &KeyAct) -> Result<(), Problem> {
    let found = gateway.store.key(act.key()).await.map_err(|error| Problem::database(&error))?;
    let version = match act {
        KeyAct::Create { .. } if found.is_some() => return Err(Problem::key_exists(act.key())),
        KeyAct::Create { .. } => return Ok(()),
        KeyAct::Next { .. } => None,
        KeyAct::Spread { version, .. }
        | KeyAct::Install { version, .. }
        | KeyAct::Rotate { version, .. }
        | KeyAct::Retire { version, .. }
        | KeyAct::Destroy { version, .. } => Some(*version),
    };
    let key = found.ok_or_else(|| Problem::unknown_key(act.key().as_str()))?;
    match version {
        Some(version) if key.version(version).is_none() => {
            Err(Problem::unknown_key_version(format!("{} has no version {version}", key.id)))
        }
        _ => Ok(()),
    }
}

/// The latest ceremonies, newest first.
#[utoipa::path(
    get, path = "/v1/admin/ceremonies", tag = "administration",
    responses((status = 200, description = "1,000 at most", body = CeremonyList))
)]
pub(crate) async fn list_ceremonies(
    caller: Authenticated,
    State(gateway): State<Gateway>,
) -> Result<Json<CeremonyList>, Problem> {
    admit(&caller)?;
    let all = gateway.store.ceremonies(None).await.map_err(|error| Problem::database(&error))?;
    let at = OffsetDateTime::now_utc();
    let items = all.into_iter().map(|ceremony| CeremonyResponse::new(ceremony, at)).collect();
    Ok(Json(CeremonyList { items, next: None }))
}

/// One ceremony.
#[utoipa::path(
    get, path = "/v1/admin/ceremonies/{id}", tag = "administration",
    params(("id" = String, Path, description = "its number")),
    responses(
        (status = 200, description = "as it stands", body = CeremonyResponse),
        (status = 404, description = "`unknown_ceremony`", body = ProblemDocument, content_type = "application/problem+json"),
    )
)]
pub(crate) async fn get_ceremony(
    caller: Authenticated,
    State(gateway): State<Gateway>,
    Segment(id): Segment,
) -> Result<Json<CeremonyResponse>, Problem> {
    admit(&caller)?;
    let found = gateway.store.ceremony(number(&id)?).await.map_err(|error| Problem::database(&error))?;
    let ceremony = found.ok_or_else(|| Problem::unknown_ceremony(&id))?;
    Ok(Json(CeremonyResponse::new(ceremony, OffsetDateTime::now_utc())))
}

fn number(id: &str) -> Result<i64, Problem> {
    id.parse().map_err(|_| Problem::unknown_ceremony(id))
}

/// Confirm a ceremony as a custodian. The last confirmation it needs has it carried out, in this request: the answer
/// is then `done`, or `failed` with what went wrong. What devices did before a failure stands; another ceremony
/// goes on from there.
#[utoipa::path(
    post, path = "/v1/admin/ceremonies/{id}/confirm", tag = "administration", request_body = ConfirmRequest,
    params(("id" = String, Path, description = "its number")),
    responses(
        (status = 200, description = "confirmed: `open`, or `done` or `failed` when it was the last", body = ConfirmResponse),
        (status = 403, description = "`not_a_custodian`, on record", body = ProblemDocument, content_type = "application/problem+json"),
        (status = 404, description = "`unknown_ceremony`", body = ProblemDocument, content_type = "application/problem+json"),
        (status = 409, description = "`already_confirmed`, `ceremony_expired`, `ceremony_not_open`", body = ProblemDocument, content_type = "application/problem+json"),
        (status = 429, description = "`too_many_attempts` in this custodian's name; see Retry-After", body = ProblemDocument, content_type = "application/problem+json"),
    )
)]
pub(crate) async fn confirm_ceremony(
    caller: Authenticated,
    State(gateway): State<Gateway>,
    Segment(id): Segment,
    JsonBody(request): JsonBody<ConfirmRequest>,
) -> Result<Json<ConfirmResponse>, Problem> {
    admit(&caller)?;
    let id = number(&id)?;
    gateway.attempts.admit(&request.custodian)?;
    let (custodian, operator) = (operator(request.custodian.clone()), operator(caller.actor()));
    let request_id = operator.request_id.clone();
    let work = async move {
        let ceremonies = ceremonies(&gateway);
        let confirmed = ceremonies.confirm(&custodian, id, &request.secret).await;
        if !matches!(confirmed, Err(signing::CeremonyError::NotACustodian)) {
            gateway.attempts.forget(&request.custodian);
        }
        let confirmed = confirmed?;
        if confirmed.state != CeremonyState::Confirmed {
            return Ok((confirmed, None));
        }
        let ended = ceremonies.carry_out(&operator, id).await?;
        // After a failure too: what some devices did before it stands.
        let taken_over = match gateway.reloads.keys().await {
            Ok(changes) => TakenOver { changes, error: None },
            Err(error) => TakenOver { changes: Vec::new(), error: Some(error.code()) },
        };
        Ok::<_, Problem>((ended, Some(taken_over)))
    };
    // In a task of its own: a caller that hangs up does not leave a ceremony half done.
    let (ceremony, taken_over) =
        tokio::spawn(work.in_current_span()).await.map_err(|_| Problem::panicked())??;
    let ceremony = CeremonyResponse::new(ceremony, OffsetDateTime::now_utc());
    Ok(Json(ConfirmResponse { ceremony, taken_over, request_id }))
}

/// Why a ceremony is called off.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct CallOffRequest {
    /// For the record: 1 to 500 characters.
    reason: String,
}

/// Call a ceremony off that has not begun to be carried out. It ends as `failed`, and what it was to do stays undone.
#[utoipa::path(
    post, path = "/v1/admin/ceremonies/{id}/call-off", tag = "administration", request_body = CallOffRequest,
    params(("id" = String, Path, description = "its number")),
    responses(
        (status = 200, description = "`failed`; its `result` says by whom and why it was called off", body = CeremonyResponse),
        (status = 404, description = "`unknown_ceremony`", body = ProblemDocument, content_type = "application/problem+json"),
        (status = 409, description = "`ceremony_expired`, `ceremony_not_open`", body = ProblemDocument, content_type = "application/problem+json"),
    )
)]
pub(crate) async fn call_off_ceremony(
    caller: Authenticated,
    State(gateway): State<Gateway>,
    Segment(id): Segment,
    JsonBody(request): JsonBody<CallOffRequest>,
) -> Result<Json<CeremonyResponse>, Problem> {
    admit(&caller)?;
    let (id, by) = (number(&id)?, operator(caller.actor()));
    let mut faults = Faults::default();
    let reason = crate::input::reason(&mut faults, &request.reason);
    let reason = faults.into_result(reason)?.to_owned();
    let at = by.at;
    // In a task of its own: a caller that hangs up does not keep it off the record.
    let work = async move { ceremonies(&gateway).call_off(&by, id, &reason).await };
    let ended = tokio::spawn(work.in_current_span()).await.map_err(|_| Problem::panicked())??;
    Ok(Json(CeremonyResponse::new(ended, at)))
}

/// Counts confirmations that were tried in a custodian's name since one had the right secret.
#[derive(Default)]
pub(crate) struct Attempts(Mutex<HashMap<String, (u32, Instant)>>);

/// Most wrong secrets in a row before a name has to wait.
const MOST_WRONG: u32 = 5;
/// How long it waits then.
const PAUSE: Duration = Duration::from_secs(60);
/// Names that are remembered; more are made up ones, and cost a guesser nothing but what each try takes.
const MOST_NAMES: usize = 1024;

impl Attempts {
    /// Counts one more try, unless there were too many.
    fn admit(&self, custodian: &str) -> Result<(), Problem> {
        let mut tried = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        tried.retain(|_, (_, since)| since.elapsed() < PAUSE);
        match tried.get_mut(custodian) {
            Some((count, _)) if *count >= MOST_WRONG => Err(Problem::too_many_attempts(PAUSE)),
            Some((count, since)) => {
                (*count, *since) = (*count + 1, Instant::now());
                Ok(())
            }
            None => {
                if tried.len() < MOST_NAMES {
                    tried.insert(custodian.to_owned(), (1, Instant::now()));
                }
                Ok(())
            }
        }
    }

    fn forget(&self, custodian: &str) {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).remove(custodian);
    }
}

/// Ends ceremonies that a gateway that stopped had begun: how far the devices got is for another ceremony to find out.
/// Of several gateways that look one ends it.
pub(crate) async fn end_abandoned(
    store: &Store,
    audit: &AuditLog,
    joined_at: OffsetDateTime,
) -> Result<(), StoreError> {
    let now = OffsetDateTime::now_utc();
    for ceremony in store.abandoned_ceremonies(joined_at, now).await? {
        let at = OffsetDateTime::now_utc();
        let result = json!({"error": "the gateway stopped before it was carried out"});
        match store.finish_ceremony(ceremony.id, false, &result, at).await {
            Err(StoreError::NotAllowed { .. }) => continue, // another gateway was faster
            ended => drop(ended?),
        }
        let entry = AuditEntry {
            action: "ceremony.finish".to_owned(),
            actor: OwnName::Gateway.as_str().to_owned(),
            at,
            device: None,
            input_digest: None,
            key: ceremony.parameters["key"].as_str().map(str::to_owned),
            outcome: "interrupted".to_owned(),
            request_id: format!("{:032x}", fastrand::u128(..)),
            result_digest: None,
            subject: Some(format!("ceremony {} {}", ceremony.id, ceremony.action)),
        };
        audit.append(entry).await?;
        tracing::warn!(ceremony = ceremony.id, "a key ceremony was interrupted");
    }
    Ok(())
}

/// How often ceremonies are looked at.
const ROUND: Duration = Duration::from_secs(60);
/// Rounds in a day.
const DAY: u32 = 24 * 60;

/// Ends ceremonies whose time has passed, and says once a day which certificates expire soon. Runs until it is
/// dropped.
pub(crate) async fn watch(store: Store) {
    let mut rounds = tokio::time::interval(ROUND);
    rounds.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    for round in (0..DAY).cycle() {
        rounds.tick().await;
        if let Err(error) = store.expire_ceremonies(OffsetDateTime::now_utc()).await {
            tracing::warn!(%error, "ceremonies could not be looked at");
        }
        if round == 0 {
            warn_of_expiry(&store).await;
        }
    }
}

async fn warn_of_expiry(store: &Store) {
    let records = match store.keys().await {
        Ok(records) => records,
        Err(error) => return tracing::warn!(%error, "certificates could not be looked at"),
    };
    // What cannot be used was reported when the ring was loaded.
    let (ring, _) = KeyRing::load(records);
    for found in ring.expiring(OffsetDateTime::now_utc(), SOON) {
        let (key, version, not_after) = (found.key, found.version, found.not_after);
        let device = found.device.map(|device| device.to_string());
        tracing::warn!(%key, version, device, subject = found.subject, %not_after, "a certificate expires soon");
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn after_five_tries_without_the_right_secret_a_name_waits_and_others_do_not() {
        let attempts = Attempts::default();
        for _ in 0..5 {
            attempts.admit("one").unwrap();
        }
        assert_eq!(attempts.admit("one").unwrap_err().code(), "too_many_attempts");
        attempts.admit("two").unwrap();
        attempts.forget("one");
        attempts.admit("one").unwrap();
    }
}
