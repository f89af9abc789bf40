//! What people are told who sign in or look after accounts. Who has not signed in learns nothing of any account.

use axum::http::StatusCode;
use config::AccountName;
use store::StoreError;
use time::Duration;

use super::{Fault, Problem};
use crate::auth::person::Due;

impl Problem {
    /// The same for a wrong name, password or code, and for an account that may not sign in.
    pub(crate) fn sign_in_refused() -> Self {
        Self::not_authenticated("sign_in_refused", "name, password or code is wrong, or may not sign in")
    }

    /// The same whether or not anybody has the name.
    pub(crate) fn sign_in_paused(wait: Duration) -> Self {
        let wait = wait.max(Duration::ZERO).unsigned_abs();
        let detail = "too many failures under this name; nobody may try it before the pause is over";
        Self::later("sign_in_paused", "Too many attempts", detail, wait)
    }

    fn person_refused(code: &'static str, detail: &'static str) -> Self {
        Self::new(StatusCode::FORBIDDEN, code, "Not permitted", detail)
    }

    /// Told to a person who is signed in and has something to do first.
    pub(crate) fn due(due: Due) -> Self {
        match due {
            Due::Password => Self::person_refused(
                "password_change_required",
                "first choose another password at /v1/account/password",
            ),
            Due::SecondFactor => Self::person_refused(
                "second_factor_required",
                "first enrol a second factor at /v1/account/second-factor",
            ),
        }
    }

    pub(crate) fn person_required() -> Self {
        Self::person_refused("person_required", "this is for a person who is signed in")
    }

    pub(crate) fn own_account() -> Self {
        Self::person_refused("own_account", "nobody changes the rights of the own account")
    }

    pub(crate) fn password_refused() -> Self {
        Self::person_refused("password_refused", "the present password is another")
    }

    /// No password is taken unjudged.
    pub(crate) fn passwords_unjudged(error: &std::io::Error) -> Self {
        tracing::error!(%error, "the file that people.breached_passwords names cannot be read");
        let detail = "the site's list of known passwords cannot be read; its operators have to mend that";
        Self::unavailable("passwords_unjudged", "Not judged", detail)
    }

    pub(crate) fn code_refused() -> Self {
        Self::person_refused("code_refused", "the code is wrong, is missing, or counted before")
    }

    pub(crate) fn second_factor_not_begun() -> Self {
        let detail = "no second factor waits to be confirmed; begin at /v1/account/second-factor";
        Self::new(StatusCode::CONFLICT, "second_factor_not_begun", "Not begun", detail)
    }

    pub(crate) fn too_many_tokens(most: usize) -> Self {
        let detail = format!("a person has {most} personal access tokens at most; end one first");
        Self::new(StatusCode::CONFLICT, "too_many_tokens", "Too many tokens", detail)
    }

    fn too_many_accounts(most: usize) -> Self {
        let detail = format!("a site has {most} accounts at most");
        Self::new(StatusCode::CONFLICT, "too_many_accounts", "Too many accounts", detail)
    }

    /// Shown as it was asked for only where it could be a name.
    pub(crate) fn unknown_account(name: &str) -> Self {
        let detail = match AccountName::parse(name) {
            Ok(name) => format!("there is no account {name}"),
            Err(error) => format!("there is no such account: the name of one {error}"),
        };
        Self::new(StatusCode::NOT_FOUND, "unknown_account", "Unknown account", detail)
    }

    /// What the store of accounts refused, or could not do.
    pub(crate) fn from_accounts(error: &StoreError) -> Self {
        match error {
            StoreError::NotFound { what: "account", id } => Self::unknown_account(id),
            StoreError::Changed { .. } => Self::changed_meanwhile(),
            StoreError::Full { what: "account", most, .. } => Self::too_many_accounts(*most),
            StoreError::NotFound { what: "session", .. } => {
                let detail = "this account has no such session";
                Self::new(StatusCode::NOT_FOUND, "unknown_session", "Unknown session", detail)
            }
            StoreError::AlreadyExists { what: "account", .. } => {
                let detail = "this name was given once, and names are never given again";
                Self::new(StatusCode::CONFLICT, "account_exists", "Account exists", detail)
            }
            StoreError::Unacceptable { what: "account", reason, .. } => {
                Self::faults(vec![Fault::new("roles", "roles_conflict", *reason)])
            }
            StoreError::NotAllowed { what: "account", state: "password", reason, .. } => {
                Self::faults(vec![Fault::new("new", "password_used_before", *reason)])
            }
            StoreError::NotAllowed { what: "account", state: "complete", .. } => {
                Self::second_factor_not_begun()
            }
            StoreError::NotAllowed { what: "account", state: "code", .. } => Self::code_refused(),
            StoreError::NotAllowed { what: "account" | "session", .. } => {
                let detail = "the account or the session ended meanwhile";
                Self::token_invalid(detail)
            }
            other => Self::database(other),
        }
    }
}
