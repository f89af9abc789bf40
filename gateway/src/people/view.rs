//! How accounts and sessions are shown.

use std::collections::BTreeSet;

use config::{AccountName, People};
use serde::Serialize;
use store::{Account, AccountState, Role, Session, SessionKind};
use time::{Duration, OffsetDateTime};
use utoipa::ToSchema;

use crate::auth::person::Due;

/// A person's account. It names a person, so that it has no `Debug`.
#[derive(Serialize, ToSchema)]
pub(crate) struct AccountResponse {
    /// The name to sign in with.
    #[schema(value_type = String)]
    name: AccountName,
    /// What people call the person.
    display_name: String,
    /// What the person does.
    #[schema(value_type = Vec<String>)]
    roles: BTreeSet<Role>,
    /// `enabled` or `disabled`.
    #[schema(value_type = String)]
    state: AccountState,
    /// Why it is in that state; empty where nobody said.
    state_reason: String,
    /// When the password was set.
    #[serde(with = "time::serde::rfc3339")]
    #[schema(value_type = String)]
    password_set_at: OffsetDateTime,
    /// Until when it holds; null of one that was given by an administrator and not used yet.
    #[serde(with = "time::serde::rfc3339::option")]
    #[schema(value_type = Option<String>)]
    password_until: Option<OffsetDateTime>,
    /// Until when a password holds that an administrator has given; null if the person chose it.
    #[serde(with = "time::serde::rfc3339::option")]
    #[schema(value_type = Option<String>)]
    one_time_until: Option<OffsetDateTime>,
    /// Since when there is a second factor.
    #[serde(with = "time::serde::rfc3339::option")]
    #[schema(value_type = Option<String>)]
    second_factor_since: Option<OffsetDateTime>,
    /// Recovery codes that were not used yet.
    recovery_codes_left: usize,
    /// When the person was here last, to the hour.
    #[serde(with = "time::serde::rfc3339::option")]
    #[schema(value_type = Option<String>)]
    last_seen_at: Option<OffsetDateTime>,
    /// When the account was made.
    #[serde(with = "time::serde::rfc3339")]
    #[schema(value_type = String)]
    created_at: OffsetDateTime,
    /// When name, roles or state were changed last.
    #[serde(with = "time::serde::rfc3339")]
    #[schema(value_type = String)]
    changed_at: OffsetDateTime,
}

impl AccountResponse {
    pub(crate) fn new(account: &Account, people: &People) -> Self {
        let given = account.one_time_until.is_some();
        Self {
            name: account.name.clone(),
            display_name: account.display_name.clone(),
            roles: account.roles.clone(),
            state: account.state,
            state_reason: account.reason.clone(),
            password_set_at: account.password_set_at,
            password_until: (!given).then(|| password_until(account, people)),
            one_time_until: account.one_time_until,
            second_factor_since: account.second_factor_since,
            recovery_codes_left: account.recovery_codes_left,
            last_seen_at: account.last_seen_at,
            created_at: account.created_at,
            changed_at: account.changed_at,
        }
    }
}

fn password_until(account: &Account, people: &People) -> OffsetDateTime {
    account.password_set_at + Duration::days(i64::from(people.password_days))
}

/// What a person is told of the password.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct PasswordAge {
    /// Whole days until another one must be chosen; 0 when it must be now.
    days_left: i64,
    /// It is time to choose another one.
    remind: bool,
}

impl PasswordAge {
    pub(crate) fn of(account: &Account, people: &People, at: OffsetDateTime) -> Self {
        let days_left = match account.one_time_until {
            Some(_) => 0,
            None => (password_until(account, people) - at).whole_days().max(0),
        };
        Self { days_left, remind: days_left <= i64::from(people.reminder_days) }
    }
}

/// What has to be done first, in a word.
pub(crate) fn due_word(due: Option<Due>) -> Option<&'static str> {
    due.map(|due| match due {
        Due::Password => "password",
        Due::SecondFactor => "second_factor",
    })
}

/// What signs a person in. The token itself is with the person only.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct SessionResponse {
    /// Its id.
    id: String,
    /// `session`, or `token` of a personal access token.
    #[schema(value_type = String)]
    kind: SessionKind,
    /// The name of a token; the address that a session was begun from.
    label: String,
    /// What a token may be used for; null of a session.
    scopes: Option<BTreeSet<String>>,
    /// Whether the person has shown a second factor.
    second_factor: bool,
    /// When it began.
    #[serde(with = "time::serde::rfc3339")]
    #[schema(value_type = String)]
    created_at: OffsetDateTime,
    /// When it was used last, to the minute.
    #[serde(with = "time::serde::rfc3339")]
    #[schema(value_type = String)]
    used_at: OffsetDateTime,
    /// When it ends whatever happens.
    #[serde(with = "time::serde::rfc3339")]
    #[schema(value_type = String)]
    expires_at: OffsetDateTime,
    /// Whether it is the one that asks.
    current: bool,
}

impl SessionResponse {
    pub(crate) fn new(session: Session, current: Option<&str>) -> Self {
        Self {
            current: current == Some(session.id.as_str()),
            id: session.id,
            kind: session.kind,
            label: session.label,
            scopes: session.scopes,
            second_factor: session.second_factor,
            created_at: session.created_at,
            used_at: session.used_at,
            expires_at: session.expires_at,
        }
    }
}

/// What signs a person in now.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct SessionList {
    /// Newest first.
    items: Vec<SessionResponse>,
    /// Always null.
    next: Option<String>,
}

impl SessionList {
    /// Of these the ones that hold at a time.
    pub(crate) fn new(
        sessions: Vec<Session>,
        current: Option<&str>,
        people: &People,
        at: OffsetDateTime,
    ) -> Self {
        let idle =
            |session: &Session| session.kind == SessionKind::Session && at - session.used_at > people.idle;
        let live = sessions.into_iter().filter(|session| session.expires_at > at && !idle(session));
        Self { items: live.map(|session| SessionResponse::new(session, current)).collect(), next: None }
    }
}

/// Something that was done and is on record.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct Done {
    /// Where it stands in the audit log.
    pub(crate) audit_index: u64,
    /// The request's id.
    pub(crate) request_id: String,
}
