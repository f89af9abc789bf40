//! `/v1/sign-in` and `/v1/sign-out`. A wrong password, an unknown name, a disabled account and a wrong code take the same
//! answer, and the first two the same work. Tries are counted by name over all replicas, before they are judged; by
//! address they are counted where callers' failures are.

use axum::Json;
use axum::extract::State;
use axum::http::request::Parts;
use axum::http::{HeaderName, HeaderValue, header};
use config::{AccountName, OwnName};
use serde::{Deserialize, Serialize};
use store::{
    Account, AuditEntry, Factor, Grounds, NewSession, PasswordCheck, Proofs, SessionKind, StoreError, Tried,
    Try,
};
use time::{Duration, OffsetDateTime};
use utoipa::ToSchema;
use zeroize::Zeroizing;

use super::view::{AccountResponse, Done, PasswordAge, due_word};
use super::{FreshToken, to_its_end, totp};
use crate::auth::person::{self, PENDING_PREFIX, SESSION_PREFIX, digest, is_live};
use crate::auth::throttle::Attempt;
use crate::auth::{Authenticated, Peer};
use crate::body::{Faults, JsonBody};
use crate::problem::{Problem, ProblemDocument};
use crate::state::Gateway;
use crate::tally::CallerSlot;

/// How long a right password waits for its second factor.
const PENDING: Duration = Duration::minutes(5);
/// What failures to sign in are counted as, for each address.
const CLAIM: &str = OwnName::SignIn.as_str();
/// Octets of a password or name that are looked at.
const LONGEST: usize = 1024;

/// Who signs in. It has no `Debug`.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct SignInRequest {
    /// The account's name.
    account: String,
    /// The password.
    #[schema(value_type = String)]
    password: Zeroizing<String>,
    /// The code of the second factor, if it is to be shown in the same step.
    #[schema(value_type = Option<String>)]
    code: Option<Zeroizing<String>>,
    /// A recovery code in its place.
    #[schema(value_type = Option<String>)]
    recovery_code: Option<Zeroizing<String>>,
}

/// The second step.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct SecondStepRequest {
    /// What the first step answered.
    #[schema(value_type = String)]
    pending_token: Zeroizing<String>,
    /// The code of the second factor.
    #[schema(value_type = Option<String>)]
    code: Option<Zeroizing<String>>,
    /// A recovery code in its place.
    #[schema(value_type = Option<String>)]
    recovery_code: Option<Zeroizing<String>>,
}

/// What a person shows besides the password, as typed.
pub(crate) enum Shown<'a> {
    Code(&'a str),
    Recovery(&'a str),
}

/// One of the two at most.
pub(crate) fn shown<'a>(
    faults: &mut Faults,
    code: Option<&'a Zeroizing<String>>,
    recovery_code: Option<&'a Zeroizing<String>>,
) -> Option<Shown<'a>> {
    match (code, recovery_code) {
        (Some(_), Some(_)) => {
            faults.add("recovery_code", "ambiguous_input", "code and recovery_code exclude each other");
            None
        }
        (Some(code), None) => Some(Shown::Code(code)),
        (None, Some(code)) => Some(Shown::Recovery(code)),
        (None, None) => None,
    }
}

impl SignInRequest {
    pub(crate) fn check(&self) -> Result<Option<Shown<'_>>, Problem> {
        let mut faults = Faults::default();
        for (field, text) in [("account", self.account.as_str()), ("password", &self.password)] {
            if !(1..=LONGEST).contains(&text.len()) {
                faults.add(field, "invalid_value", format!("must be 1 to {LONGEST} octets"));
            }
        }
        let shown = shown(&mut faults, self.code.as_ref(), self.recovery_code.as_ref());
        faults.into_result(Some(shown))
    }
}

impl SecondStepRequest {
    pub(crate) fn check(&self) -> Result<Shown<'_>, Problem> {
        let mut faults = Faults::default();
        let shown = shown(&mut faults, self.code.as_ref(), self.recovery_code.as_ref());
        if self.code.is_none() && self.recovery_code.is_none() {
            faults.add("code", "missing_field", "code or recovery_code is required");
        }
        faults.into_result(shown)
    }
}

/// Who is signed in, or what is still awaited. It holds a token, so that it has no `Debug`.
#[derive(Serialize, ToSchema)]
pub(crate) struct SignInResponse {
    /// `signed_in`, or `second_factor_awaited`.
    state: &'static str,
    /// To be shown as `Authorization: Bearer` with every request; null while a second factor is awaited.
    token: Option<String>,
    /// To be shown with the second factor at `/v1/sign-in:second-factor`; null when the person is signed in.
    pending_token: Option<String>,
    /// When the token ends whatever happens.
    #[serde(with = "time::serde::rfc3339")]
    #[schema(value_type = String)]
    expires_at: OffsetDateTime,
    /// Without use it ends after so many seconds; null while a second factor is awaited.
    idle_s: Option<u64>,
    /// What has to be done before anything else: `password`, `second_factor`, or nothing.
    due: Option<&'static str>,
    /// Who is signed in; null while a second factor is awaited.
    account: Option<AccountResponse>,
    /// How old the password is; null while a second factor is awaited.
    password: Option<PasswordAge>,
    /// Where the sign-in stands in the audit log; null while a second factor is awaited.
    audit_index: Option<u64>,
    /// The request's id.
    request_id: String,
}

/// An answer that holds what is shown once.
pub(crate) type Once<T> = ([(HeaderName, HeaderValue); 1], Json<T>);

pub(crate) fn once<T>(answer: T) -> Once<T> {
    ([(header::CACHE_CONTROL, HeaderValue::from_static("no-store"))], Json(answer))
}

/// Sign in by password, and by the second factor in the same step or the next.
#[utoipa::path(
    post, path = "/v1/sign-in", tag = "people", request_body = SignInRequest,
    responses(
        (status = 200, description = "signed in, or a second factor is awaited; see `state`", body = SignInResponse),
        (status = 401, description = "`sign_in_refused`: name, password or code is wrong, or the account may not sign in", body = ProblemDocument, content_type = "application/problem+json"),
        (status = 422, description = "what is wrong with which field", body = ProblemDocument, content_type = "application/problem+json"),
        (status = 429, description = "`sign_in_paused`, `too_many_attempts`; see `Retry-After`", body = ProblemDocument, content_type = "application/problem+json"),
    )
)]
pub(crate) async fn post_sign_in(
    parts: Parts,
    State(gateway): State<Gateway>,
    JsonBody(request): JsonBody<SignInRequest>,
) -> Result<Once<SignInResponse>, Problem> {
    to_its_end(async move {
        let shown = request.check()?;
        let mut door = Doorstep::new(&parts, &gateway)?;
        door.count(&request.account).await?;
        let name = AccountName::parse(&request.account).ok();
        let checked = gateway.store.check_password(name.as_ref(), &request.password).await;
        let (account, proofs) = match checked.map_err(|error| Problem::database(&error))? {
            PasswordCheck::Right { account, proofs } if may_sign_in(&gateway, &account, door.at) => {
                (*account, proofs)
            }
            PasswordCheck::Right { account, .. } => return Err(door.refuse(Some(&account.name)).await),
            PasswordCheck::Wrong { known } => return Err(door.refuse(name.as_ref().filter(|_| known)).await),
        };
        let factor = match (shown, account.second_factor_since) {
            (Some(shown), Some(_)) => match factor(&gateway, &account.name, &shown, door.at).await? {
                Some(factor) => Some(factor),
                None => return Err(door.refuse_factor(&account.name).await),
            },
            (None, Some(_)) => return door.await_factor(&account, &proofs).await,
            // A code of a factor that there is not proves nothing, and the person learns what is due.
            (_, None) => None,
        };
        door.let_in(account, Grounds::Shown { proofs: &proofs, factor: factor.as_ref() }).await
    })
    .await
}

/// Show the second factor after a right password.
#[utoipa::path(
    post, path = "/v1/sign-in:second-factor", tag = "people", request_body = SecondStepRequest,
    responses(
        (status = 200, description = "signed in", body = SignInResponse),
        (status = 401, description = "`sign_in_refused`: the code is wrong or was used before, or too much time passed", body = ProblemDocument, content_type = "application/problem+json"),
        (status = 422, description = "what is wrong with which field", body = ProblemDocument, content_type = "application/problem+json"),
        (status = 429, description = "`sign_in_paused`, `too_many_attempts`; see `Retry-After`", body = ProblemDocument, content_type = "application/problem+json"),
    )
)]
pub(crate) async fn post_second_step(
    parts: Parts,
    State(gateway): State<Gateway>,
    JsonBody(request): JsonBody<SecondStepRequest>,
) -> Result<Once<SignInResponse>, Problem> {
    to_its_end(async move {
        let shown = request.check()?;
        let mut door = Doorstep::new(&parts, &gateway)?;
        let found = gateway.store.session(&digest(&request.pending_token)).await;
        let found = found.map_err(|error| Problem::database(&error))?.filter(|(session, account)| {
            session.kind == SessionKind::Pending
                && session.ended.is_none()
                && session.expires_at > door.at
                && may_sign_in(&gateway, account, door.at)
        });
        let Some((pending, account)) = found else { return Err(door.refuse(None).await) };
        door.count(account.name.as_str()).await?;
        match factor(&gateway, &account.name, &shown, door.at).await? {
            Some(factor) => {
                door.let_in(account, Grounds::InPlaceOf { session: &pending.id, factor: Some(&factor) }).await
            }
            None => Err(door.refuse_factor(&account.name).await),
        }
    })
    .await
}

/// Sign out: the token that is shown counts no more, on any replica, when the answer is there.
#[utoipa::path(
    post, path = "/v1/sign-out", tag = "people",
    responses(
        (status = 200, description = "signed out, and on record", body = Done),
        (status = 403, description = "`person_required`", body = ProblemDocument, content_type = "application/problem+json"),
    )
)]
pub(crate) async fn post_sign_out(
    caller: Authenticated,
    State(gateway): State<Gateway>,
) -> Result<Json<Done>, Problem> {
    to_its_end(async move {
        let person = caller.person().ok_or_else(Problem::person_required)?;
        let at = OffsetDateTime::now_utc();
        let ended =
            gateway.store.end_session(&person.account.name, &person.session.id, "signed out", at).await;
        ended.map_err(|error| Problem::from_accounts(&error))?;
        let audit_index =
            record(&gateway, &person.account.name, "person.sign_out", &person.session.id).await?;
        Ok(Json(Done { audit_index, request_id: crate::request_id::current() }))
    })
    .await
}

/// Whether somebody with the right password may go on.
fn may_sign_in(gateway: &Gateway, account: &Account, at: OffsetDateTime) -> bool {
    is_live(&gateway.config.people, account, at) && account.one_time_until.is_none_or(|end| at < end)
}

/// What a code is worth: none for one that does not follow from the secret, or that counted before. Whether it counts is
/// settled by whoever uses it up.
pub(super) async fn factor(
    gateway: &Gateway,
    name: &AccountName,
    shown: &Shown<'_>,
    at: OffsetDateTime,
) -> Result<Option<Factor>, Problem> {
    let code = match shown {
        Shown::Recovery(code) => return Ok(Some(Factor::Recovery(totp::typed(code)))),
        Shown::Code(code) => code,
    };
    let known = gateway.store.second_factor(name, false).await;
    let known = known.map_err(|error| Problem::from_accounts(&error))?;
    let step =
        known.and_then(|known| totp::step_of(&known.secret, code, at).filter(|step| *step > known.last_step));
    Ok(step.map(|step| Factor::Code { step }))
}

/// Somebody who wants to sign in.
struct Doorstep<'a> {
    gateway: &'a Gateway,
    parts: &'a Parts,
    attempt: Attempt,
    at: OffsetDateTime,
    /// The name that a try was counted under, and whether it is the last before a pause.
    counted: Option<(String, bool)>,
    /// A place among those that are worked on at a time.
    _place: tokio::sync::SemaphorePermit<'a>,
}

impl<'a> Doorstep<'a> {
    fn new(parts: &'a Parts, gateway: &'a Gateway) -> Result<Self, Problem> {
        // Nobody has claimed their places: without a bound a flood of passwords would keep callers out.
        let place = gateway.callers.sign_ins.try_acquire().map_err(|_| Problem::overloaded())?;
        let mut attempt = Attempt::by(parts.extensions.get::<Peer>().cloned());
        attempt.claims(CLAIM);
        attempt.admit(gateway)?;
        let at = OffsetDateTime::now_utc();
        Ok(Self { gateway, parts, attempt, at, counted: None, _place: place })
    }

    /// Counts the try, or refuses it while there is a pause.
    async fn count(&mut self, name: &str) -> Result<(), Problem> {
        let patience = patience(self.gateway);
        let tried = self.gateway.store.count_try(Tried::SignIn(name), patience, self.at).await;
        match tried.map_err(|error| Problem::database(&error))? {
            Try::Counted { last } => self.counted = Some((name.to_owned(), last)),
            Try::Paused(until) => return Err(Problem::sign_in_paused(until - self.at)),
        }
        Ok(())
    }

    /// The one refusal, whatever was wrong. An account that there is goes on record by its name.
    async fn refuse(self, name: Option<&AccountName>) -> Problem {
        let address = address(self.parts);
        if let (Some(name), Some(slot)) = (name, self.parts.extensions.get::<CallerSlot>()) {
            slot.fill(format!("unproved:person:{name}:{address}"));
        }
        if self.counted.as_ref().is_some_and(|(_, last)| *last) {
            alarm(self.gateway, name, &address, self.at).await;
        }
        self.attempt.refused(&self.parts.extensions, self.gateway, Problem::sign_in_refused()).await
    }

    /// As [`Self::refuse`], of somebody who knew the password and showed no second factor that counts.
    async fn refuse_factor(self, name: &AccountName) -> Problem {
        let known = self.password_alone(name, "second_factor_refused").await;
        let refused = self.refuse(Some(name)).await;
        known.err().unwrap_or(refused)
    }

    /// Puts on record that somebody knew the password, and counts it until somebody is let in: as often as tries are let
    /// through, people are told, because the password may be known to somebody else. Nobody is paused for it, and the
    /// answer says nothing of it.
    async fn password_alone(&self, name: &AccountName, outcome: &str) -> Result<(), Problem> {
        let address = address(self.parts);
        let actor = format!("unproved:person:{name}:{address}");
        let said = format!("right password from {address}");
        let known = entry("person.password_alone", actor.clone(), outcome, said);
        let recorded = self.gateway.audit.append(known).await;
        recorded.map_err(|error| Problem::record_unavailable(&error))?;
        let counted =
            self.gateway.store.count_try(Tried::PasswordAlone(name), patience(self.gateway), self.at);
        match counted.await.map_err(|error| Problem::database(&error))? {
            Try::Counted { last: true } => {
                tracing::warn!(account = %name, address, "the right password again and again without the second factor");
                self.gateway.metrics.attacked();
                let said = format!("{name}: right password without second factor, the last from {address}");
                let alarm = entry("account.password_known", actor, "second_factor_missing", said);
                if let Err(error) = self.gateway.audit.append(alarm).await {
                    tracing::error!(%error, "a password that is known could not be recorded");
                }
            }
            // Told already, and told again when as much time has passed as a pause takes.
            Try::Counted { last: false } | Try::Paused(_) => {}
        }
        Ok(())
    }

    /// The password was right; the second factor comes in another request.
    async fn await_factor(self, account: &Account, proofs: &Proofs) -> Result<Once<SignInResponse>, Problem> {
        let token = FreshToken::new(PENDING_PREFIX)?;
        let expires_at = self.at + PENDING;
        let session = self.session(account, SessionKind::Pending, &token, expires_at, false);
        let grounds = Grounds::Shown { proofs, factor: None };
        match self.gateway.store.begin_session(&session, grounds, self.at).await {
            // The password was reset meanwhile, or the account was disabled.
            Err(StoreError::NotAllowed { .. }) => return Err(self.refuse(Some(&account.name)).await),
            begun => begun.map_err(|error| Problem::from_accounts(&error))?,
        }
        self.password_alone(&account.name, "second_factor_awaited").await?;
        if let Some((name, _)) = &self.counted {
            let forgiven = self.gateway.store.forgive_try(Tried::SignIn(name), self.at).await;
            forgiven.map_err(|error| Problem::database(&error))?;
        }
        Ok(once(SignInResponse {
            state: "second_factor_awaited",
            token: None,
            pending_token: Some(token.text.expose().clone()),
            expires_at,
            idle_s: None,
            due: None,
            account: None,
            password: None,
            audit_index: None,
            request_id: crate::request_id::current(),
        }))
    }

    async fn let_in(self, account: Account, grounds: Grounds<'_>) -> Result<Once<SignInResponse>, Problem> {
        let (gateway, at) = (self.gateway, self.at);
        let factor = match grounds {
            Grounds::Shown { factor, .. } | Grounds::InPlaceOf { factor, .. } => factor,
            Grounds::Within(_) => None,
        };
        let token = FreshToken::new(SESSION_PREFIX)?;
        let expires_at = at + gateway.config.people.session;
        let session = self.session(&account, SessionKind::Session, &token, expires_at, factor.is_some());
        match gateway.store.begin_session(&session, grounds, at).await {
            // The code counted meanwhile, or the password was reset, or the account disabled, or the first step used twice.
            Err(StoreError::NotAllowed { .. }) if factor.is_some() => {
                return Err(self.refuse_factor(&account.name).await);
            }
            Err(StoreError::NotAllowed { .. }) => return Err(self.refuse(Some(&account.name)).await),
            begun => begun.map_err(|error| Problem::from_accounts(&error))?,
        }
        let of_name = self.counted.as_ref().map(|(name, _)| Tried::SignIn(name));
        let of_password = factor.is_some().then_some(Tried::PasswordAlone(&account.name));
        for tried in of_name.into_iter().chain(of_password) {
            let cleared = gateway.store.clear_tries(tried).await;
            cleared.map_err(|error| Problem::database(&error))?;
        }
        self.attempt.claim_succeeded(gateway);
        self.attempt.makes_known(gateway, person::CLAIM); // the session is used from here
        if let Some(slot) = self.parts.extensions.get::<CallerSlot>() {
            slot.fill(person::actor(&account.name));
        }
        let how = match factor {
            Some(Factor::Code { .. }) => "password and code",
            Some(Factor::Recovery(_)) => "password and recovery code",
            None => "password",
        };
        let said = format!("{} by {how} from {}", session.id, address(self.parts));
        let audit_index = record(gateway, &account.name, "person.sign_in", &said).await?;
        signed_in(gateway, &account, &session, &token, at, audit_index)
    }

    fn session(
        &self,
        account: &Account,
        kind: SessionKind,
        token: &FreshToken,
        expires_at: OffsetDateTime,
        second_factor: bool,
    ) -> NewSession {
        NewSession {
            id: token.id.clone(),
            account: account.name.clone(),
            kind,
            digest: token.digest,
            label: address(self.parts),
            scopes: None,
            second_factor,
            expires_at,
        }
    }
}

/// What somebody is told who is signed in.
pub(super) fn signed_in(
    gateway: &Gateway,
    account: &Account,
    session: &NewSession,
    token: &FreshToken,
    at: OffsetDateTime,
    audit_index: u64,
) -> Result<Once<SignInResponse>, Problem> {
    let people = &gateway.config.people;
    let due = person::due(people, account, session.second_factor, at);
    Ok(once(SignInResponse {
        state: "signed_in",
        token: Some(token.text.expose().clone()),
        pending_token: None,
        expires_at: session.expires_at,
        idle_s: Some(people.idle.as_secs()),
        due: due_word(due),
        account: Some(AccountResponse::new(account, people)),
        password: Some(PasswordAge::of(account, people, at)),
        audit_index: Some(audit_index),
        request_id: crate::request_id::current(),
    }))
}

/// How many tries are let through.
pub(super) fn patience(gateway: &Gateway) -> store::Patience {
    let people = &gateway.config.people;
    let time = |time: std::time::Duration| Duration::try_from(time).unwrap_or(Duration::DAY);
    store::Patience {
        tries: people.lockout_tries,
        pause: time(people.lockout_pause),
        longest: time(people.lockout_longest),
    }
}

/// Where a request is from, for people.
pub(super) fn address(parts: &Parts) -> String {
    match parts.extensions.get::<Peer>() {
        Some(Peer::Network(address)) => address.ip().to_string(),
        Some(Peer::Local(_)) => "the admin socket".to_owned(),
        None => "somewhere".to_owned(),
    }
}

/// Tells people that a name was paused. What no account is called stays untold: it may be a password.
async fn alarm(gateway: &Gateway, name: Option<&AccountName>, address: &str, at: OffsetDateTime) {
    let whose = name.map_or("a name that nobody has", AccountName::as_str);
    tracing::warn!(account = whose, address, "too many failures to sign in: the name is paused");
    let actor = format!("unproved:person:{}:{address}", name.map_or("(unknown)", AccountName::as_str));
    tell_of_pause(gateway, actor, whose.to_owned(), at).await;
}

/// Counts and records that failures brought a pause.
pub(super) async fn tell_of_pause(gateway: &Gateway, actor: String, said: String, at: OffsetDateTime) {
    gateway.metrics.attacked();
    let entry = AuditEntry { at, ..entry("account.paused", actor, "sign_in_paused", said) };
    if let Err(error) = gateway.audit.append(entry).await {
        tracing::error!(%error, "a pause could not be recorded");
    }
}

/// Puts on record what a person did with the own account.
pub(super) async fn record(
    gateway: &Gateway,
    name: &AccountName,
    action: &str,
    said: &str,
) -> Result<u64, Problem> {
    record_as(gateway, name, action, said, "ok").await
}

/// Has an act on the own account on record as intended before, and with its outcome after.
pub(super) async fn on_record<T>(
    gateway: &Gateway,
    name: &AccountName,
    action: &str,
    said: &str,
    act: impl Future<Output = Result<T, Problem>>,
) -> Result<(T, u64), Problem> {
    record_as(gateway, name, action, said, "intended").await?;
    let done = act.await;
    let outcome = done.as_ref().map_or_else(Problem::code, |_| "ok");
    let audit_index = record_as(gateway, name, action, said, outcome).await?;
    Ok((done?, audit_index))
}

fn entry(action: &str, actor: String, outcome: &str, said: String) -> AuditEntry {
    AuditEntry {
        action: action.to_owned(),
        actor,
        at: OffsetDateTime::now_utc(),
        device: None,
        input_digest: None,
        key: None,
        outcome: outcome.to_owned(),
        request_id: crate::request_id::current(),
        result_digest: None,
        subject: Some(said),
    }
}

async fn record_as(
    gateway: &Gateway,
    name: &AccountName,
    action: &str,
    said: &str,
    outcome: &str,
) -> Result<u64, Problem> {
    let entry = entry(action, person::actor(name), outcome, said.to_owned());
    gateway.audit.append(entry).await.map_err(|error| Problem::record_unavailable(&error))
}
