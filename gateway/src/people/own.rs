//! `/v1/account`: what a person does with the own account. It takes a session, not a personal access token, and no
//! scope; somebody who has something to do first does it here.

use std::collections::BTreeSet;

use axum::Json;
use axum::extract::State;
use axum::http::request::Parts;
use serde::{Deserialize, Serialize};
use store::{Grounds, NewSession, Room, SessionKind, StoreError, Terms};
use time::{Duration, OffsetDateTime};
use utoipa::ToSchema;
use zeroize::Zeroizing;

use super::at_hand::AtHand;
use super::sign_in::{Once, SignInResponse, on_record, once, record, shown, signed_in};
use super::view::{AccountResponse, Done, PasswordAge, SessionList, SessionResponse, due_word};
use super::{FreshToken, password, to_its_end, totp};
use crate::auth::person::{Person, SESSION_PREFIX, TOKEN_PREFIX};
use crate::auth::{Authenticated, Scope, roles};
use crate::body::{Faults, JsonBody, Segment};
use crate::problem::{Fault, Problem, ProblemDocument};
use crate::state::Gateway;

/// Personal access tokens that a person has at a time.
const MOST_TOKENS: usize = 20;

/// Another password.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct PasswordRequest {
    /// The present one.
    #[schema(value_type = String)]
    present: Zeroizing<String>,
    /// The one in its place.
    #[schema(value_type = String)]
    new: Zeroizing<String>,
}

impl PasswordRequest {
    /// Judges the new password, of the account of this name and of who has it.
    pub(crate) fn check(&self, name: &str, display_name: &str, shortest: usize) -> Result<(), Problem> {
        let mut faults = Faults::default();
        if !(1..=1024).contains(&self.present.len()) {
            faults.add("present", "invalid_value", "must be 1 to 1024 octets");
        }
        for weakness in password::weaknesses(&self.new, name, display_name, shortest) {
            faults.add("new", "password_too_weak", weakness);
        }
        faults.into_result(Some(()))
    }
}

/// A code of the second factor that there is, or a recovery code.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct CodeRequest {
    /// The code.
    #[schema(value_type = Option<String>)]
    code: Option<Zeroizing<String>>,
    /// A recovery code in its place.
    #[schema(value_type = Option<String>)]
    recovery_code: Option<Zeroizing<String>>,
}

/// A personal access token to be made.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct PersonalTokenRequest {
    /// What it is for, 1 to 64 characters.
    name: String,
    /// What it may be used for: some of what the person may do.
    scopes: Vec<String>,
    /// Days that it holds.
    days: u32,
}

/// The own account. It names a person, so that it has no `Debug`.
#[derive(Serialize, ToSchema)]
pub(crate) struct OwnAccount {
    #[serde(flatten)]
    account: AccountResponse,
    /// What the person may ask for.
    scopes: Vec<&'static str>,
    /// How old the password is.
    password: PasswordAge,
    /// What has to be done before anything else: `password`, `second_factor`, or nothing.
    due: Option<&'static str>,
    /// What signs the person in here.
    session: SessionResponse,
}

/// What an authenticator takes. It counts once a code has confirmed it.
#[derive(Serialize, ToSchema)]
pub(crate) struct Enrolment {
    /// The secret, base32.
    secret: String,
    /// The same for a QR code.
    otpauth_url: String,
    /// The request's id.
    request_id: String,
}

/// A second factor that counts from now on.
#[derive(Serialize, ToSchema)]
pub(crate) struct Enrolled {
    /// Each signs in once in place of a code. They are shown here and never again.
    recovery_codes: Vec<String>,
    #[serde(flatten)]
    signed_in: SignInResponse,
}

/// Recovery codes in the place of those before.
#[derive(Serialize, ToSchema)]
pub(crate) struct RecoveryCodes {
    /// Each signs in once in place of a code. They are shown here and never again.
    recovery_codes: Vec<String>,
    /// Where it stands in the audit log.
    audit_index: u64,
    /// The request's id.
    request_id: String,
}

/// A personal access token.
#[derive(Serialize, ToSchema)]
pub(crate) struct TokenMade {
    /// To be shown as `Authorization: Bearer`. It is shown here and never again.
    token: String,
    #[serde(flatten)]
    session: SessionResponse,
    /// Where it stands in the audit log.
    audit_index: u64,
    /// The request's id.
    request_id: String,
}

/// The person, signed in.
fn own(caller: &Authenticated) -> Result<&Person, Problem> {
    caller.person().filter(|person| person.is_signed_in()).ok_or_else(Problem::person_required)
}

fn refused(error: &StoreError) -> Problem {
    Problem::from_accounts(error)
}

/// The own account.
#[utoipa::path(
    get, path = "/v1/account", tag = "people",
    responses(
        (status = 200, description = "the person who asks", body = OwnAccount),
        (status = 403, description = "`person_required`", body = ProblemDocument, content_type = "application/problem+json"),
    )
)]
pub(crate) async fn get_account(
    caller: Authenticated,
    State(gateway): State<Gateway>,
) -> Result<Json<OwnAccount>, Problem> {
    let person = caller.person().ok_or_else(Problem::person_required)?;
    let (people, at) = (&gateway.config.people, OffsetDateTime::now_utc());
    let scopes = Scope::ALL.into_iter().filter(|scope| caller.with(*scope).is_ok());
    Ok(Json(OwnAccount {
        account: AccountResponse::new(&person.account, people),
        scopes: scopes.map(Scope::name).collect(),
        password: PasswordAge::of(&person.account, people, at),
        due: due_word(person.due),
        session: SessionResponse::new(person.session.clone(), Some(&person.session.id)),
    }))
}

/// Choose another password. Whatever else signs the person in ends.
#[utoipa::path(
    post, path = "/v1/account/password", tag = "people", request_body = PasswordRequest,
    responses(
        (status = 200, description = "in force, and on record", body = Done),
        (status = 403, description = "`person_required`, `password_refused`: the present one is another", body = ProblemDocument, content_type = "application/problem+json"),
        (status = 422, description = "`password_too_weak`, `password_used_before`", body = ProblemDocument, content_type = "application/problem+json"),
        (status = 429, description = "`sign_in_paused`", body = ProblemDocument, content_type = "application/problem+json"),
    )
)]
pub(crate) async fn post_password(
    parts: Parts,
    caller: Authenticated,
    State(gateway): State<Gateway>,
    JsonBody(request): JsonBody<PasswordRequest>,
) -> Result<Json<Done>, Problem> {
    to_its_end(async move {
        let person = own(&caller)?;
        let (people, at) = (&gateway.config.people, OffsetDateTime::now_utc());
        let name = &person.account.name;
        request.check(name.as_str(), &person.account.display_name, people.password_length)?;
        let change = async {
            AtHand::new(&gateway, person, &parts, at).knows(&request.present).await?;
            let (store, remembered) = (&gateway.store, people.password_history);
            let within = Some(person.session.id.as_str());
            let changed = store.change_password(name, &request.new, remembered, within, at).await;
            changed.map_err(|error| refused(&error))
        };
        let (_, audit_index) = on_record(&gateway, name, "person.password", "change", change).await?;
        Ok(Json(Done { audit_index, request_id: crate::request_id::current() }))
    })
    .await
}

/// Begin to enrol a second factor. In place of one that there is it takes a code of that, or a recovery code.
#[utoipa::path(
    post, path = "/v1/account/second-factor", tag = "people", request_body = CodeRequest,
    responses(
        (status = 200, description = "it counts once a code has confirmed it", body = Enrolment),
        (status = 403, description = "`person_required`, `code_refused`", body = ProblemDocument, content_type = "application/problem+json"),
        (status = 429, description = "`sign_in_paused`", body = ProblemDocument, content_type = "application/problem+json"),
    )
)]
pub(crate) async fn post_second_factor(
    parts: Parts,
    caller: Authenticated,
    State(gateway): State<Gateway>,
    JsonBody(request): JsonBody<CodeRequest>,
) -> Result<Once<Enrolment>, Problem> {
    to_its_end(async move {
        let person = own(&caller)?;
        let (name, at) = (&person.account.name, OffsetDateTime::now_utc());
        let mut faults = Faults::default();
        let shown = shown(&mut faults, request.code.as_ref(), request.recovery_code.as_ref());
        let shown = faults.into_result(Some(shown))?;
        let secret = totp::fresh_secret().map_err(|error| Problem::no_random(&error))?;
        let begin = async {
            if person.account.second_factor_since.is_some() {
                let shown = shown.ok_or_else(Problem::code_refused)?;
                AtHand::new(&gateway, person, &parts, at).shows(&shown).await?;
            }
            let within = Some(person.session.id.as_str());
            let begun = gateway.store.begin_second_factor(name, secret.expose(), within).await;
            begun.map_err(|error| refused(&error))
        };
        on_record(&gateway, name, "person.second_factor", "begin", begin).await?;
        let (secret, otpauth_url) =
            totp::shown(&secret, &gateway.config.site.name, name).ok_or_else(Problem::panicked)?;
        Ok(once(Enrolment { secret, otpauth_url, request_id: crate::request_id::current() }))
    })
    .await
}

/// Confirm the second factor by a code of it. The session goes on under another token.
#[utoipa::path(
    post, path = "/v1/account/second-factor:confirm", tag = "people", request_body = CodeRequest,
    responses(
        (status = 200, description = "it counts; another token takes the place of this one", body = Enrolled),
        (status = 403, description = "`person_required`, `code_refused`", body = ProblemDocument, content_type = "application/problem+json"),
        (status = 409, description = "`second_factor_not_begun`", body = ProblemDocument, content_type = "application/problem+json"),
        (status = 429, description = "`sign_in_paused`", body = ProblemDocument, content_type = "application/problem+json"),
    )
)]
pub(crate) async fn confirm_second_factor(
    parts: Parts,
    caller: Authenticated,
    State(gateway): State<Gateway>,
    JsonBody(request): JsonBody<CodeRequest>,
) -> Result<Once<Enrolled>, Problem> {
    to_its_end(async move {
        let person = own(&caller)?;
        let (name, at) = (&person.account.name, OffsetDateTime::now_utc());
        let Some(code) = request.code.as_ref().filter(|_| request.recovery_code.is_none()) else {
            let detail = "a code of the new factor is required, and nothing else";
            return Err(Problem::faults(vec![Fault::new("code", "missing_field", detail)]));
        };
        let pending = gateway.store.second_factor(name, true).await.map_err(|error| refused(&error))?;
        let pending = pending.ok_or_else(Problem::second_factor_not_begun)?;
        let codes = totp::fresh_recovery_codes().map_err(|error| Problem::no_random(&error))?;
        // Another token: who knew the one before the second factor was shown does not get in with it.
        let token = FreshToken::new(SESSION_PREFIX)?;
        let session = NewSession {
            id: token.id.clone(),
            account: name.clone(),
            kind: SessionKind::Session,
            digest: token.digest,
            label: person.session.label.clone(),
            scopes: None,
            second_factor: true,
            expires_at: person.session.expires_at,
        };
        let confirm = async {
            let step = AtHand::new(&gateway, person, &parts, at).confirms(&pending, code).await?;
            let (store, before) = (&gateway.store, person.session.id.as_str());
            let shown = (&pending.secret, step);
            let confirmed = store.confirm_second_factor(name, shown, &codes, Some(before), at).await;
            let account = confirmed.map_err(|error| refused(&error))?;
            let grounds = Grounds::InPlaceOf { session: before, factor: None };
            let begun = store.begin_session(&session, grounds, at).await;
            begun.map_err(|error| refused(&error)).map(|()| account)
        };
        let (account, audit_index) =
            on_record(&gateway, name, "person.second_factor", "confirm", confirm).await?;
        let (no_store, Json(signed_in)) = signed_in(&gateway, &account, &session, &token, at, audit_index)?;
        let recovery_codes = codes.iter().map(|code| totp::in_fours(code.expose())).collect();
        Ok((no_store, Json(Enrolled { recovery_codes, signed_in })))
    })
    .await
}

/// Make other recovery codes; those before count no more. It takes a code, or one of them.
#[utoipa::path(
    post, path = "/v1/account/recovery-codes", tag = "people", request_body = CodeRequest,
    responses(
        (status = 200, description = "shown this once", body = RecoveryCodes),
        (status = 403, description = "`person_required`, `code_refused`", body = ProblemDocument, content_type = "application/problem+json"),
        (status = 429, description = "`sign_in_paused`", body = ProblemDocument, content_type = "application/problem+json"),
    )
)]
pub(crate) async fn post_recovery_codes(
    parts: Parts,
    caller: Authenticated,
    State(gateway): State<Gateway>,
    JsonBody(request): JsonBody<CodeRequest>,
) -> Result<Once<RecoveryCodes>, Problem> {
    to_its_end(async move {
        let person = own(&caller)?;
        let (name, at) = (&person.account.name, OffsetDateTime::now_utc());
        let mut faults = Faults::default();
        let shown = shown(&mut faults, request.code.as_ref(), request.recovery_code.as_ref());
        let shown = faults.into_result(Some(shown))?.ok_or_else(Problem::code_refused)?;
        let codes = totp::fresh_recovery_codes().map_err(|error| Problem::no_random(&error))?;
        let renew = async {
            AtHand::new(&gateway, person, &parts, at).shows(&shown).await?;
            let within = Some(person.session.id.as_str());
            let renewed = gateway.store.set_recovery_codes(name, &codes, within).await;
            renewed.map_err(|error| refused(&error))
        };
        let (_, audit_index) = on_record(&gateway, name, "person.recovery_codes", "renew", renew).await?;
        let recovery_codes = codes.iter().map(|code| totp::in_fours(code.expose())).collect();
        Ok(once(RecoveryCodes { recovery_codes, audit_index, request_id: crate::request_id::current() }))
    })
    .await
}

/// What signs the person in: sessions and personal access tokens.
#[utoipa::path(
    get, path = "/v1/account/sessions", tag = "people",
    responses(
        (status = 200, description = "those that hold now", body = SessionList),
        (status = 403, description = "`person_required`", body = ProblemDocument, content_type = "application/problem+json"),
    )
)]
pub(crate) async fn list_sessions(
    caller: Authenticated,
    State(gateway): State<Gateway>,
) -> Result<Json<SessionList>, Problem> {
    let person = own(&caller)?;
    let sessions = gateway.store.sessions(&person.account.name).await.map_err(|error| refused(&error))?;
    let (people, at) = (&gateway.config.people, OffsetDateTime::now_utc());
    Ok(Json(SessionList::new(sessions, Some(&person.session.id), people, at)))
}

/// End a session or a personal access token; it counts no more, on any replica, when the answer is there.
#[utoipa::path(
    post, path = "/v1/account/sessions/{id}/end", tag = "people",
    params(("id" = String, Path, description = "the session's id")),
    responses(
        (status = 200, description = "ended, and on record", body = Done),
        (status = 403, description = "`person_required`", body = ProblemDocument, content_type = "application/problem+json"),
        (status = 404, description = "`unknown_session`", body = ProblemDocument, content_type = "application/problem+json"),
    )
)]
pub(crate) async fn end_session(
    caller: Authenticated,
    State(gateway): State<Gateway>,
    Segment(id): Segment,
) -> Result<Json<Done>, Problem> {
    to_its_end(async move {
        let person = own(&caller)?;
        let (name, at) = (&person.account.name, OffsetDateTime::now_utc());
        gateway
            .store
            .end_session(name, &id, "ended by its owner", at)
            .await
            .map_err(|error| refused(&error))?;
        let audit_index = record(&gateway, name, "person.session_end", &id).await?;
        Ok(Json(Done { audit_index, request_id: crate::request_id::current() }))
    })
    .await
}

/// End every session and personal access token but the session that asks.
#[utoipa::path(
    post, path = "/v1/account/sessions:end-others", tag = "people",
    responses(
        (status = 200, description = "ended, and on record", body = Done),
        (status = 403, description = "`person_required`", body = ProblemDocument, content_type = "application/problem+json"),
    )
)]
pub(crate) async fn end_other_sessions(
    caller: Authenticated,
    State(gateway): State<Gateway>,
) -> Result<Json<Done>, Problem> {
    to_its_end(async move {
        let person = own(&caller)?;
        let (name, at) = (&person.account.name, OffsetDateTime::now_utc());
        let ended =
            gateway.store.end_sessions(name, Some(&person.session.id), "ended by its owner", at).await;
        let ended = ended.map_err(|error| refused(&error))?;
        let audit_index = record(&gateway, name, "person.session_end", &format!("{ended} others")).await?;
        Ok(Json(Done { audit_index, request_id: crate::request_id::current() }))
    })
    .await
}

/// Make a personal access token for a program that acts for the person.
#[utoipa::path(
    post, path = "/v1/account/tokens", tag = "people", request_body = PersonalTokenRequest,
    responses(
        (status = 201, description = "shown this once, and on record", body = TokenMade),
        (status = 403, description = "`person_required`, `password_change_required`, `second_factor_required`", body = ProblemDocument, content_type = "application/problem+json"),
        (status = 409, description = "`too_many_tokens`", body = ProblemDocument, content_type = "application/problem+json"),
        (status = 422, description = "what is wrong with which field", body = ProblemDocument, content_type = "application/problem+json"),
    )
)]
pub(crate) async fn post_token(
    caller: Authenticated,
    State(gateway): State<Gateway>,
    JsonBody(request): JsonBody<PersonalTokenRequest>,
) -> Result<(axum::http::StatusCode, Once<TokenMade>), Problem> {
    to_its_end(async move {
        let person = own(&caller)?;
        if let Some(due) = person.due {
            return Err(Problem::due(due));
        }
        let (name, at) = (&person.account.name, OffsetDateTime::now_utc());
        let granted = roles::granted(&person.account.roles);
        let granted = granted.into_iter().map(Scope::name).collect();
        let scopes = request.check(&granted, gateway.config.people.token_days)?;
        let token = FreshToken::new(TOKEN_PREFIX)?;
        let session = NewSession {
            id: token.id.clone(),
            account: name.clone(),
            kind: SessionKind::Token,
            digest: token.digest,
            label: request.name.trim().to_owned(),
            scopes: Some(scopes),
            second_factor: true,
            expires_at: at + Duration::days(i64::from(request.days)),
        };
        let said = format!("token {} until {}", session.id, session.expires_at);
        let make = async {
            let grounds = Grounds::Within(&person.session.id);
            let terms = Terms::from(at).within(Room::of(MOST_TOKENS));
            let begun = gateway.store.begin_session(&session, grounds, terms).await;
            begun.map_err(|error| match error {
                StoreError::Full { most, .. } => Problem::too_many_tokens(most),
                error => refused(&error),
            })
        };
        let ((), audit_index) = on_record(&gateway, name, "person.token", &said, make).await?;
        let made = gateway.store.sessions(name).await.map_err(|error| refused(&error))?;
        let made =
            made.into_iter().find(|made| made.id == session.id).ok_or_else(Problem::person_required)?;
        let answer = TokenMade {
            token: token.text.expose().clone(),
            session: SessionResponse::new(made, None),
            audit_index,
            request_id: crate::request_id::current(),
        };
        Ok((axum::http::StatusCode::CREATED, once(answer)))
    })
    .await
}

impl PersonalTokenRequest {
    /// The scopes, all of them among those granted.
    pub(crate) fn check(
        &self,
        granted: &BTreeSet<&'static str>,
        most_days: u32,
    ) -> Result<BTreeSet<String>, Problem> {
        let mut faults = Faults::default();
        let name = self.name.trim();
        if !(1..=64).contains(&name.chars().count()) || name.chars().any(char::is_control) {
            faults.add("name", "invalid_value", "must be 1 to 64 characters without control characters");
        }
        if self.scopes.is_empty() {
            faults.add("scopes", "invalid_value", "must name at least one scope");
        }
        for scope in &self.scopes {
            if !granted.contains(scope.as_str()) {
                let known: Vec<_> = granted.iter().copied().collect();
                faults.add("scopes", "scope_not_granted", format!("must be among: {}", known.join(", ")));
            }
        }
        if !(1..=most_days).contains(&self.days) {
            faults.add("days", "invalid_value", format!("must be 1 to {most_days}"));
        }
        faults.into_result(Some(self.scopes.iter().cloned().collect()))
    }
}
