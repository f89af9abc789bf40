//! What can be done to accounts of others, and the one place where it is done: whatever has to come before, such as a
//! second person's approval, comes before [`carry_out`].

use std::collections::BTreeSet;
use std::sync::Arc;

use config::{AccountName, Secret};
use store::{AccountState, AuditEntry, NewAccount, Role, Room, Terms, Tried};
use time::OffsetDateTime;
use tracing::Instrument;

use super::one_time_password;
use crate::problem::Problem;
use crate::state::Gateway;

/// Accounts that a site may have.
const MOST_ACCOUNTS: usize = 25_000;

/// One act on an account.
pub(crate) enum AccountAct {
    /// Make it, with a one-time password.
    Create { name: AccountName, display_name: String, roles: BTreeSet<Role> },
    /// Say anew what the person is called and does.
    Change { name: AccountName, display_name: String, roles: BTreeSet<Role> },
    /// Let the person sign in, or no longer.
    SetState(AccountName, AccountState),
    /// Give it a one-time password.
    ResetPassword(AccountName),
    /// Take the second factor away.
    ResetSecondFactor(AccountName),
    /// End all that signs the person in.
    EndSessions(AccountName),
    /// Forget failures to sign in, and the pause that they brought.
    Unlock(AccountName),
}

/// An act, by whom and why.
pub(crate) struct AccountOrder {
    pub(crate) act: AccountAct,
    /// 1 to 500 characters.
    pub(crate) reason: String,
    /// As the audit log names people and apps.
    pub(crate) actor: String,
    pub(crate) request_id: String,
    /// The one-time password to give, where one is made; without it a fresh one.
    pub(crate) password: Option<Secret<String>>,
    /// The account's revision on which it was decided, where it must not have changed since.
    pub(crate) since: Option<i64>,
}

/// What came of it.
pub(crate) struct CarriedOut {
    /// Where it stands in the audit log.
    pub(crate) audit_index: u64,
    /// Where one was made.
    pub(crate) one_time: Option<OneTimePassword>,
}

/// A password for the next sign-in, at which another one must be chosen.
pub(crate) struct OneTimePassword {
    pub(crate) password: Secret<String>,
    pub(crate) until: OffsetDateTime,
}

impl AccountAct {
    pub(crate) fn account(&self) -> &AccountName {
        match self {
            Self::Create { name, .. }
            | Self::Change { name, .. }
            | Self::SetState(name, _)
            | Self::ResetPassword(name)
            | Self::ResetSecondFactor(name)
            | Self::EndSessions(name)
            | Self::Unlock(name) => name,
        }
    }

    fn name(&self) -> &'static str {
        match self {
            Self::Create { .. } => "account.create",
            Self::Change { .. } => "account.change",
            Self::SetState(_, AccountState::Enabled) => "account.enable",
            Self::SetState(_, AccountState::Disabled) => "account.disable",
            Self::ResetPassword(_) => "account.reset_password",
            Self::ResetSecondFactor(_) => "account.reset_second_factor",
            Self::EndSessions(_) => "account.end_sessions",
            Self::Unlock(_) => "account.unlock",
        }
    }

    /// What it is done with, for the record; nothing secret and nothing personal.
    fn said(&self) -> String {
        match self {
            Self::Create { roles, .. } | Self::Change { roles, .. } => {
                let roles: Vec<_> = roles.iter().map(|role| role.as_str()).collect();
                format!("roles [{}]", roles.join(" "))
            }
            _ => String::new(),
        }
    }
}

/// Carries an act out, whether or not the caller waits for it: on record as intended before, with its outcome after, and
/// in force on every replica when this returns.
///
/// # Errors
/// What was not done was not done at all.
pub(crate) async fn carry_out(gateway: &Gateway, order: AccountOrder) -> Result<CarriedOut, Problem> {
    let (gateway, order) = (gateway.clone(), Arc::new(order));
    // In a task of its own: a caller that hangs up leaves no act without outcome.
    let act = async move {
        record(&gateway, &order, "intended").await?;
        let done = perform(&gateway, &order).await;
        let outcome = done.as_ref().map_or_else(Problem::code, |_| "ok");
        let audit_index = record(&gateway, &order, outcome).await?;
        Ok(CarriedOut { audit_index, one_time: done? })
    };
    tokio::spawn(act.in_current_span()).await.map_err(|_| Problem::panicked())?
}

async fn perform(gateway: &Gateway, order: &AccountOrder) -> Result<Option<OneTimePassword>, Problem> {
    let (store, people, at) = (&gateway.store, &gateway.config.people, OffsetDateTime::now_utc());
    let refused = |error| Problem::from_accounts(&error);
    let terms = Terms::from(at).since(order.since);
    match &order.act {
        AccountAct::Create { name, display_name, roles } => {
            let one_time = one_time(gateway, order, at)?;
            let (password, one_time_until) = (one_time.password.expose().as_str(), Some(one_time.until));
            let account = NewAccount { name, display_name, roles, password, one_time_until };
            let terms = terms.within(Room::of(MOST_ACCOUNTS));
            store.insert_account(&account, terms).await.map_err(refused)?;
            return Ok(Some(one_time));
        }
        AccountAct::Change { name, display_name, roles } => {
            store.change_account(name, display_name, roles, terms).await.map_err(refused)?;
        }
        AccountAct::SetState(name, state) => {
            store.set_account_state(name, *state, &order.reason, terms).await.map_err(refused)?;
        }
        AccountAct::ResetPassword(name) => {
            let one_time = one_time(gateway, order, at)?;
            let (password, until) = (one_time.password.expose(), one_time.until);
            let remembered = people.password_history;
            store.reset_password(name, password, until, remembered, terms).await.map_err(refused)?;
            return Ok(Some(one_time));
        }
        AccountAct::ResetSecondFactor(name) => {
            store.reset_second_factor(name, terms).await.map_err(refused)?;
        }
        AccountAct::EndSessions(name) => {
            store.end_sessions(name, None, &order.reason, at).await.map_err(refused)?;
        }
        AccountAct::Unlock(name) => {
            for tried in Tried::all_of(name) {
                store.clear_tries(tried).await.map_err(refused)?;
            }
        }
    }
    Ok(None)
}

fn one_time(gateway: &Gateway, order: &AccountOrder, at: OffsetDateTime) -> Result<OneTimePassword, Problem> {
    let password = match &order.password {
        Some(password) => password.clone(),
        None => one_time_password().map_err(|error| Problem::no_random(&error))?,
    };
    Ok(OneTimePassword { password, until: at + gateway.config.people.one_time })
}

async fn record(gateway: &Gateway, order: &AccountOrder, outcome: &str) -> Result<u64, Problem> {
    let subject = [order.act.account().as_str(), &order.act.said(), &order.reason];
    let subject: Vec<_> = subject.into_iter().filter(|part| !part.is_empty()).collect();
    let entry = AuditEntry {
        action: order.act.name().to_owned(),
        actor: order.actor.clone(),
        at: OffsetDateTime::now_utc(),
        device: None,
        input_digest: None,
        key: None,
        outcome: outcome.to_owned(),
        request_id: order.request_id.clone(),
        result_digest: None,
        subject: Some(subject.join(": ")),
    };
    gateway.audit.append(entry).await.map_err(|error| Problem::record_unavailable(&error))
}
