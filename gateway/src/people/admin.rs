//! `/v1/admin/accounts`: the accounts of people. Nobody acts on the own one here.

use axum::Json;
use axum::extract::State;
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use config::AccountName;
use serde::Serialize;
use store::{Account, AccountState};
use time::OffsetDateTime;
use utoipa::ToSchema;

use super::act::{AccountAct, AccountOrder, CarriedOut, OneTimePassword, carry_out};
use super::form::{AccountForm, AccountRequest};
use super::sign_in::once;
use super::view::{AccountResponse, SessionList};
use crate::approvals::{self, ApprovalAsked, Change};
use crate::apps::ReasonRequest;
use crate::auth::{Authenticated, Scope};
use crate::body::{JsonBody, Segment};
use crate::problem::{Problem, ProblemDocument};
use crate::state::Gateway;

/// All accounts.
#[derive(Serialize, ToSchema)]
pub(crate) struct AccountList {
    /// By name; without any whose row was altered outside the gateway.
    items: Vec<AccountResponse>,
    /// Always null.
    next: Option<String>,
}

/// An account after an act on it.
#[derive(Serialize, ToSchema)]
pub(crate) struct AccountActed {
    #[serde(flatten)]
    account: AccountResponse,
    /// To sign in with once, where one was made; another one is chosen then. It is shown here and never again.
    one_time_password: Option<String>,
    /// Where it stands in the audit log.
    audit_index: u64,
    /// The request's id.
    request_id: String,
}

/// All accounts.
#[utoipa::path(
    get, path = "/v1/admin/accounts", tag = "administration",
    responses((status = 200, description = "all of them", body = AccountList))
)]
pub(crate) async fn list_accounts(
    caller: Authenticated,
    State(gateway): State<Gateway>,
) -> Result<Json<AccountList>, Problem> {
    caller.with(Scope::Accounts)?;
    let accounts = gateway.store.accounts().await.map_err(|error| Problem::from_accounts(&error))?;
    let shown = |account: &Account| AccountResponse::new(account, &gateway.config.people);
    Ok(Json(AccountList { items: accounts.iter().map(shown).collect(), next: None }))
}

/// One account.
#[utoipa::path(
    get, path = "/v1/admin/accounts/{name}", tag = "administration",
    params(("name" = String, Path, description = "the name to sign in with")),
    responses(
        (status = 200, description = "the account", body = AccountResponse),
        (status = 404, description = "`unknown_account`", body = ProblemDocument, content_type = "application/problem+json"),
    )
)]
pub(crate) async fn get_account(
    caller: Authenticated,
    State(gateway): State<Gateway>,
    Segment(name): Segment,
) -> Result<Json<AccountResponse>, Problem> {
    caller.with(Scope::Accounts)?;
    Ok(Json(AccountResponse::new(&known(&gateway, &name).await?, &gateway.config.people)))
}

/// Make an account. It has a one-time password, and no second factor yet.
#[utoipa::path(
    post, path = "/v1/admin/accounts", tag = "administration", request_body = AccountRequest,
    responses(
        (status = 201, description = "made, and on record; `one_time_password` is shown this once", body = AccountActed),
        (status = 202, description = "it waits for a second person; `secret` is the one-time password, shown this once", body = ApprovalAsked),
        (status = 409, description = "`account_exists`, `too_many_accounts`", body = ProblemDocument, content_type = "application/problem+json"),
        (status = 422, description = "what is wrong with which field", body = ProblemDocument, content_type = "application/problem+json"),
    )
)]
pub(crate) async fn create_account(
    caller: Authenticated,
    State(gateway): State<Gateway>,
    JsonBody(request): JsonBody<AccountRequest>,
) -> Result<Response, Problem> {
    caller.with(Scope::Accounts)?;
    let AccountForm { name, display_name, roles, reason } = request.read(None)?;
    let act = AccountAct::Create { name, display_name, roles };
    acted(&gateway, &caller, act, reason, StatusCode::CREATED).await
}

/// Say anew what a person is called and does; it is in force at once.
#[utoipa::path(
    put, path = "/v1/admin/accounts/{name}", tag = "administration", request_body = AccountRequest,
    params(("name" = String, Path, description = "the name to sign in with")),
    responses(
        (status = 200, description = "in force, and on record", body = AccountActed),
        (status = 202, description = "it waits for a second person", body = ApprovalAsked),
        (status = 403, description = "`own_account`", body = ProblemDocument, content_type = "application/problem+json"),
        (status = 404, description = "`unknown_account`", body = ProblemDocument, content_type = "application/problem+json"),
        (status = 422, description = "what is wrong with which field", body = ProblemDocument, content_type = "application/problem+json"),
    )
)]
pub(crate) async fn change_account(
    caller: Authenticated,
    State(gateway): State<Gateway>,
    Segment(name): Segment,
    JsonBody(request): JsonBody<AccountRequest>,
) -> Result<Response, Problem> {
    caller.with(Scope::Accounts)?;
    let name = known(&gateway, &name).await?.name;
    let AccountForm { name, display_name, roles, reason } = request.read(Some(&name))?;
    let act = AccountAct::Change { name, display_name, roles };
    acted(&gateway, &caller, act, reason, StatusCode::OK).await
}

/// Declares an act that takes a reason only.
macro_rules! acts {
    ($($(#[doc = $doc:literal])* $handler:ident $path:literal => $act:expr;)*) => {$(
        $(#[doc = $doc])*
        #[utoipa::path(
            post, path = $path, tag = "administration", request_body = ReasonRequest,
            params(("name" = String, Path, description = "the name to sign in with")),
            responses(
                (status = 200, description = "in force on every replica, and on record", body = AccountActed),
                (status = 202, description = "it waits for a second person; `secret` is the one-time password, if one is to be given, shown this once", body = ApprovalAsked),
                (status = 403, description = "`own_account`", body = ProblemDocument, content_type = "application/problem+json"),
                (status = 404, description = "`unknown_account`", body = ProblemDocument, content_type = "application/problem+json"),
            )
        )]
        pub(crate) async fn $handler(
            caller: Authenticated,
            State(gateway): State<Gateway>,
            Segment(name): Segment,
            JsonBody(request): JsonBody<ReasonRequest>,
        ) -> Result<Response, Problem> {
            caller.with(Scope::Accounts)?;
            let name = known(&gateway, &name).await?.name;
            let act: fn(AccountName) -> AccountAct = $act;
            acted(&gateway, &caller, act(name), request.check()?, StatusCode::OK).await
        }
    )*};
}

acts! {
    /// Let a person sign in again.
    enable_account "/v1/admin/accounts/{name}/enable" => |name| AccountAct::SetState(name, AccountState::Enabled);
    /// Let a person sign in no longer, and end what signs the person in.
    disable_account "/v1/admin/accounts/{name}/disable" => |name| AccountAct::SetState(name, AccountState::Disabled);
    /// Give a person a one-time password, and end what signs the person in.
    reset_password "/v1/admin/accounts/{name}/reset-password" => AccountAct::ResetPassword;
    /// Take a person's second factor away, and end what signs the person in; another one is enrolled at the next sign-in.
    reset_second_factor "/v1/admin/accounts/{name}/reset-second-factor" => AccountAct::ResetSecondFactor;
    /// End a person's sessions and personal access tokens.
    end_sessions "/v1/admin/accounts/{name}/end-sessions" => AccountAct::EndSessions;
    /// End the pause that failures to sign in brought.
    unlock_account "/v1/admin/accounts/{name}/unlock" => AccountAct::Unlock;
}

/// What signs a person in.
#[utoipa::path(
    get, path = "/v1/admin/accounts/{name}/sessions", tag = "administration",
    params(("name" = String, Path, description = "the name to sign in with")),
    responses(
        (status = 200, description = "those that hold now", body = SessionList),
        (status = 404, description = "`unknown_account`", body = ProblemDocument, content_type = "application/problem+json"),
    )
)]
pub(crate) async fn list_sessions(
    caller: Authenticated,
    State(gateway): State<Gateway>,
    Segment(name): Segment,
) -> Result<Json<SessionList>, Problem> {
    caller.with(Scope::Accounts)?;
    let account = known(&gateway, &name).await?;
    let sessions = gateway.store.sessions(&account.name).await;
    let sessions = sessions.map_err(|error| Problem::from_accounts(&error))?;
    let current = caller.person().map(|person| person.session.id.as_str());
    Ok(Json(SessionList::new(sessions, current, &gateway.config.people, OffsetDateTime::now_utc())))
}

/// The account of this name.
async fn known(gateway: &Gateway, name: &str) -> Result<Account, Problem> {
    let unknown = || Problem::unknown_account(name);
    let parsed = AccountName::parse(name).map_err(|_| unknown())?;
    let account = gateway.store.account(&parsed).await.map_err(|error| Problem::from_accounts(&error))?;
    account.ok_or_else(unknown)
}

async fn acted(
    gateway: &Gateway,
    caller: &Authenticated,
    act: AccountAct,
    reason: String,
    done: StatusCode,
) -> Result<Response, Problem> {
    let name = act.account().clone();
    if caller.person().is_some_and(|person| person.account.name == name) {
        return Err(Problem::own_account());
    }
    if let Some((change, password)) = Change::of_account(&act)?
        && let Some(asked) = approvals::ask(gateway, caller, || change, &reason, password).await?
    {
        return Ok(asked);
    }
    let request_id = crate::request_id::current();
    let order = AccountOrder {
        act,
        reason,
        actor: caller.actor(),
        request_id: request_id.clone(),
        password: None,
        since: None,
    };
    let CarriedOut { audit_index, one_time } = carry_out(gateway, order).await?;
    let shown = |one_time: OneTimePassword| one_time.password.expose().clone();
    let acted = AccountActed {
        account: AccountResponse::new(&known(gateway, name.as_str()).await?, &gateway.config.people),
        one_time_password: one_time.map(shown),
        audit_index,
        request_id,
    };
    Ok((done, once(acted)).into_response())
}
