//! `/v1/admin/accounts:review`: who may do what, and who uses it, for the periodic review of rights (Z010). As JSON, or as
//! CSV for people who go through it line by line.

use std::collections::{BTreeMap, BTreeSet, HashMap};

use axum::Json;
use axum::extract::State;
use axum::http::{HeaderMap, HeaderValue, header};
use axum::response::{IntoResponse, Response};
use config::{AccountName, AppId};
use serde::Serialize;
use store::{Account, AccountState, AppState, Role, Session};
use time::format_description::well_known::Rfc3339;
use time::{Duration, OffsetDateTime};
use utoipa::ToSchema;

use crate::auth::register::KnownApp;
use crate::auth::{Authenticated, Scope, person, roles};
use crate::problem::Problem;
use crate::state::Gateway;

/// Who may do what. It names people, so that it has no `Debug`.
#[derive(Serialize, ToSchema)]
pub(crate) struct Review {
    /// When it was made.
    #[serde(with = "time::serde::rfc3339")]
    #[schema(value_type = String)]
    at: OffsetDateTime,
    /// A right counts as unused after so many days.
    unused_after_days: u32,
    /// By name.
    accounts: Vec<ReviewedAccount>,
    /// By id.
    apps: Vec<ReviewedApp>,
}

/// An account with its rights.
#[derive(Serialize, ToSchema)]
pub(crate) struct ReviewedAccount {
    /// The name to sign in with.
    #[schema(value_type = String)]
    name: AccountName,
    /// What people call the person.
    display_name: String,
    /// `enabled` or `disabled`.
    #[schema(value_type = String)]
    state: AccountState,
    /// What the person does.
    #[schema(value_type = Vec<String>)]
    roles: BTreeSet<Role>,
    /// What that comes to, and when each was used last, to the day.
    #[schema(value_type = Object)]
    rights: BTreeMap<&'static str, Option<String>>,
    /// Those of them that were not used for as long as the site asks for.
    unused_rights: Vec<&'static str>,
    /// When the person was here last, to the hour.
    #[serde(with = "time::serde::rfc3339::option")]
    #[schema(value_type = Option<String>)]
    last_seen_at: Option<OffsetDateTime>,
    /// Whole days since the password was set.
    password_age_days: i64,
    /// Whether there is a second factor.
    second_factor: bool,
    /// Personal access tokens that hold now.
    tokens: Vec<ReviewedToken>,
}

/// A personal access token.
#[derive(Serialize, ToSchema)]
pub(crate) struct ReviewedToken {
    /// Its id.
    id: String,
    /// What it is for.
    name: String,
    /// What it may be used for.
    scopes: BTreeSet<String>,
    /// When it was used last, to the minute.
    #[serde(with = "time::serde::rfc3339")]
    #[schema(value_type = String)]
    used_at: OffsetDateTime,
    /// Until when it holds.
    #[serde(with = "time::serde::rfc3339")]
    #[schema(value_type = String)]
    expires_at: OffsetDateTime,
}

/// An app with its rights.
#[derive(Serialize, ToSchema)]
pub(crate) struct ReviewedApp {
    /// Its id.
    #[schema(value_type = String)]
    id: AppId,
    /// What people call it.
    name: String,
    /// `enabled`, `disabled` or `locked`.
    #[schema(value_type = String)]
    state: AppState,
    /// What it may call, and when each was used last, to the day.
    #[schema(value_type = Object)]
    rights: BTreeMap<String, Option<String>>,
    /// Those of them that were not used for as long as the site asks for.
    unused_rights: Vec<String>,
    /// When it called last, to the day.
    #[serde(with = "time::serde::rfc3339::option")]
    #[schema(value_type = Option<String>)]
    last_used_at: Option<OffsetDateTime>,
    /// Credentials that prove something now.
    credentials: usize,
}

type Used = HashMap<String, OffsetDateTime>;

/// Who may do what, and who uses it: every account and every app, sound ones and those turned off.
#[utoipa::path(
    get, path = "/v1/admin/accounts:review", tag = "administration",
    responses((
        status = 200,
        description = "as of now. With `Accept: text/csv` a line for each account and app",
        content((Review = "application/json"), (String = "text/csv"))
    ))
)]
pub(crate) async fn get_review(
    caller: Authenticated,
    State(gateway): State<Gateway>,
    headers: HeaderMap,
) -> Result<Response, Problem> {
    caller.with(Scope::Rights)?;
    let review = review(&gateway, OffsetDateTime::now_utc()).await?;
    let accepted = headers.get(header::ACCEPT).and_then(|value| value.to_str().ok()).unwrap_or_default();
    let wants_csv = accepted.split(',').any(|part| {
        part.split(';').next().is_some_and(|media| media.trim().eq_ignore_ascii_case("text/csv"))
    });
    if !wants_csv {
        return Ok(Json(review).into_response());
    }
    let fields = [
        (header::CONTENT_TYPE, HeaderValue::from_static("text/csv; charset=utf-8; header=present")),
        (header::CONTENT_DISPOSITION, HeaderValue::from_static("attachment; filename=\"rights.csv\"")),
    ];
    Ok((fields, csv(&review)).into_response())
}

async fn review(gateway: &Gateway, at: OffsetDateTime) -> Result<Review, Problem> {
    let failed = |error| Problem::from_accounts(&error);
    let store = &gateway.store;
    let unused_after_days = gateway.config.people.unused_days;
    let since = at - Duration::days(i64::from(unused_after_days));
    let used = store.rights_used().await.map_err(failed)?;
    let mut tokens: HashMap<AccountName, Vec<Session>> = HashMap::new();
    for token in store.tokens().await.map_err(failed)? {
        tokens.entry(token.account.clone()).or_default().push(token);
    }
    let nothing = Used::new();
    let used_by = |holder: &str| used.get(holder).unwrap_or(&nothing);
    let accounts = store.accounts().await.map_err(failed)?.into_iter().map(|account| {
        let tokens = tokens.remove(&account.name).unwrap_or_default();
        let used = used_by(&person::actor(&account.name));
        ReviewedAccount::new(account, tokens, used, since, at)
    });
    let register = gateway.callers.apps.register().await.map_err(failed)?;
    let apps = register.apps().into_iter();
    let apps = apps.map(|known| ReviewedApp::new(known, used_by(known.app.id.as_str()), since, at));
    Ok(Review { at, unused_after_days, accounts: accounts.collect(), apps: apps.collect() })
}

impl ReviewedAccount {
    fn new(
        account: Account,
        tokens: Vec<Session>,
        used: &Used,
        since: OffsetDateTime,
        at: OffsetDateTime,
    ) -> Self {
        let granted: Vec<_> = roles::granted(&account.roles).into_iter().map(Scope::name).collect();
        let unused = |right: &&&str| used.get(**right).is_none_or(|last| *last < since);
        let tokens = tokens.into_iter().filter(|token| token.expires_at > at).map(|token| ReviewedToken {
            id: token.id,
            name: token.label,
            scopes: token.scopes.unwrap_or_default(),
            used_at: token.used_at,
            expires_at: token.expires_at,
        });
        Self {
            unused_rights: granted.iter().filter(unused).copied().collect(),
            rights: granted.iter().map(|right| (*right, used.get(*right).map(day))).collect(),
            last_seen_at: account.last_seen_at,
            password_age_days: (at - account.password_set_at).whole_days(),
            second_factor: account.second_factor_since.is_some(),
            tokens: tokens.collect(),
            name: account.name,
            display_name: account.display_name,
            state: account.state,
            roles: account.roles,
        }
    }
}

impl ReviewedApp {
    fn new(known: &KnownApp, used: &Used, since: OffsetDateTime, at: OffsetDateTime) -> Self {
        let app = &known.app;
        let unused = |right: &&String| used.get(*right).is_none_or(|last| *last < since);
        let holding = known.credentials.iter().filter(|known| known.credential.holds_at(at));
        Self {
            id: app.id.clone(),
            name: app.name.clone(),
            state: app.state,
            rights: app.scopes.iter().map(|right| (right.clone(), used.get(right).map(day))).collect(),
            unused_rights: app.scopes.iter().filter(unused).cloned().collect(),
            last_used_at: used.values().max().copied(),
            credentials: holding.count(),
        }
    }
}

fn day(at: &OffsetDateTime) -> String {
    at.date().to_string()
}

/// A line for each, with the columns of both.
fn csv(review: &Review) -> String {
    let time = |at: Option<OffsetDateTime>| at.and_then(|at| at.format(&Rfc3339).ok()).unwrap_or_default();
    let mut lines = vec![
        "kind,name,called,state,roles,rights,unused_rights,last_used_at,password_age_days,second_factor,\
         tokens_or_credentials"
            .to_owned(),
    ];
    for account in &review.accounts {
        let roles: Vec<_> = account.roles.iter().map(|role| role.as_str()).collect();
        let rights: Vec<_> = account.rights.keys().copied().collect();
        lines.push(line([
            "person",
            account.name.as_str(),
            &account.display_name,
            account.state.as_str(),
            &roles.join(" "),
            &rights.join(" "),
            &account.unused_rights.join(" "),
            &time(account.last_seen_at),
            &account.password_age_days.to_string(),
            &account.second_factor.to_string(),
            &account.tokens.len().to_string(),
        ]));
    }
    for app in &review.apps {
        let rights: Vec<_> = app.rights.keys().map(String::as_str).collect();
        lines.push(line([
            "app",
            app.id.as_str(),
            &app.name,
            app.state.as_str(),
            "",
            &rights.join(" "),
            &app.unused_rights.join(" "),
            &time(app.last_used_at),
            "",
            "",
            &app.credentials.to_string(),
        ]));
    }
    lines.push(String::new());
    lines.join("\r\n")
}

/// Fields as RFC 4180 has them. What a spreadsheet would take for a formula gets an apostrophe.
fn line(fields: [&str; 11]) -> String {
    let quoted = |field: &str| {
        let formula = field.starts_with(['=', '+', '-', '@', '\t', '\r']);
        let apostrophe = if formula { "'" } else { "" };
        format!("\"{apostrophe}{}\"", field.replace('"', "\"\""))
    };
    fields.map(quoted).join(",")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_is_neither_a_formula_nor_two_fields() {
        let mut fields = [""; 11];
        fields[2] = "=HYPERLINK(\"http://x\"),y";
        assert!(line(fields).contains(r#","'=HYPERLINK(""http://x""),y","#));
    }
}
