//! What can be done to the register of apps, and the one place where it is done: whatever has to come before, such as
//! a second person's approval, comes before [`carry_out`].

use std::path::PathBuf;
use std::sync::Arc;

use config::AppId;
use sm3::{Digest, Sm3};
use store::{App, AppState, AuditEntry, NewCredential, StoreError};
use time::OffsetDateTime;
use tracing::Instrument;

use super::evidence;
use crate::auth::signed::MOST_OF_A_KIND;
use crate::problem::Problem;
use crate::state::Gateway;

/// Apps that a site may have.
const MOST_APPS: usize = 10_000;
/// Credentials that an app may ever have: those that ended stay in the register.
const MOST_CREDENTIALS: usize = 200;

/// One act on the register.
#[derive(Debug)]
pub(crate) enum AppAct {
    /// Enter an app.
    Create(App),
    /// Say anew what it is called, may do and how often.
    Change(App),
    /// Have it served, or not.
    SetState(AppId, AppState),
    /// Lock it, revoke all its credentials and with them its tokens, keep the evidence.
    Freeze(AppId),
    /// Give it one more credential; where that replaces another one, the other one ends at a time.
    AddCredential { app: AppId, credential: NewCredential, replaces: Option<(String, OffsetDateTime)> },
    /// Take a credential away for good.
    RevokeCredential { app: AppId, credential: String },
}

/// An act, by whom and why.
#[derive(Debug)]
pub(crate) struct AppOrder {
    pub(crate) act: AppAct,
    /// 1 to 500 characters.
    pub(crate) reason: String,
    /// As the audit log names people and apps.
    pub(crate) actor: String,
    pub(crate) request_id: String,
}

/// What came of it.
#[derive(Debug, Default)]
pub(crate) struct CarriedOut {
    /// Where it stands in the audit log.
    pub(crate) audit_index: u64,
    /// Where the evidence of a freeze is.
    pub(crate) evidence: Option<Evidence>,
}

/// A folder with what is known of a frozen app.
#[derive(Debug)]
pub(crate) struct Evidence {
    pub(crate) folder: PathBuf,
    /// SM3 of its `manifest.json`, hexadecimal.
    pub(crate) digest: String,
}

impl AppAct {
    pub(crate) fn app(&self) -> &AppId {
        match self {
            Self::Create(app) | Self::Change(app) => &app.id,
            Self::SetState(app, _) | Self::Freeze(app) => app,
            Self::AddCredential { app, .. } | Self::RevokeCredential { app, .. } => app,
        }
    }

    fn name(&self) -> &'static str {
        match self {
            Self::Create(_) => "app.create",
            Self::Change(_) => "app.change",
            Self::SetState(_, AppState::Enabled) => "app.enable",
            Self::SetState(_, AppState::Disabled) => "app.disable",
            Self::SetState(_, AppState::Locked) => "app.lock",
            Self::Freeze(_) => "app.freeze",
            Self::AddCredential { .. } => "app.credential.add",
            Self::RevokeCredential { .. } => "app.credential.revoke",
        }
    }

    /// What it is done with, for the record; nothing secret and nothing personal.
    fn said(&self) -> String {
        match self {
            Self::Create(app) | Self::Change(app) => described(app),
            Self::SetState(..) | Self::Freeze(_) => String::new(),
            Self::AddCredential { credential, replaces, .. } => {
                let kind = credential.material.kind();
                let replaced = replaces.as_ref().map(|(id, end)| format!(", in place of {id} from {end} on"));
                format!("credential {} ({kind}){}", credential.id, replaced.unwrap_or_default())
            }
            Self::RevokeCredential { credential, .. } => format!("credential {credential}"),
        }
    }
}

fn described(app: &App) -> String {
    let list = |names: Vec<&str>| format!("[{}]", names.join(" "));
    let rate = app.rate.map(|rate| format!(" rate {}/s burst {}", rate.per_second, rate.burst));
    let until = app.not_after.map(|end| format!(" until {end}"));
    format!(
        "scopes {} keys {} groups {} fields {} packages {}{}{}",
        list(app.scopes.iter().map(String::as_str).collect()),
        list(app.keys.iter().map(config::KeyId::as_str).collect()),
        list(app.groups.iter().map(config::GroupId::as_str).collect()),
        list(app.fields.iter().map(String::as_str).collect()),
        list(app.packages.iter().map(String::as_str).collect()),
        rate.unwrap_or_default(),
        until.unwrap_or_default(),
    )
}

/// Carries an act out, whether or not the caller waits for it: on record as intended before, with its outcome after; in force here when this returns, and on
/// every other replica within a second.
///
/// # Errors
/// What was not done was not done at all; a freeze whose evidence could not be kept has frozen the app all the same.
pub(crate) async fn carry_out(gateway: &Gateway, order: &Arc<AppOrder>) -> Result<CarriedOut, Problem> {
    let (gateway, order) = (gateway.clone(), Arc::clone(order));
    // In a task of its own: a caller that hangs up leaves no act without outcome, and no freeze without evidence.
    let act = async move { act(&gateway, &order).await };
    tokio::spawn(act.in_current_span()).await.map_err(|_| Problem::panicked())?
}

async fn act(gateway: &Gateway, order: &AppOrder) -> Result<CarriedOut, Problem> {
    record(gateway, order, "intended", None).await?;
    let at = OffsetDateTime::now_utc();
    let done = perform(gateway, order, at).await;
    // Also after a failure, which may have come after the change: what holds is read, not guessed.
    let read = gateway.callers.apps.read_anew().await.map_err(|error| Problem::database(&error));
    let evidence = match (&done, &order.act) {
        (Ok(()), AppAct::Freeze(app)) => match evidence::freeze(gateway, app, order, at).await {
            Ok(evidence) => Ok(Some(evidence)),
            Err(problem) => Err(problem),
        },
        _ => Ok(None),
    };
    let outcome = done.and_then(|()| read.map(drop)).and(evidence);
    let code = outcome.as_ref().map_or_else(Problem::code, |_| "ok");
    let digest = outcome.as_ref().ok().and_then(|evidence| evidence.as_ref().map(|kept| kept.digest.clone()));
    let audit_index = record(gateway, order, code, digest).await?;
    Ok(CarriedOut { audit_index, evidence: outcome? })
}

async fn perform(gateway: &Gateway, order: &AppOrder, at: OffsetDateTime) -> Result<(), Problem> {
    let store = &gateway.store;
    let refused = |error: StoreError| Problem::from_apps(&error);
    match &order.act {
        AppAct::Create(app) => {
            let known = store.registered_apps().await.map_err(refused)?.len();
            if known >= MOST_APPS {
                return Err(Problem::too_many_apps(MOST_APPS));
            }
            store.insert_app(app, &[], at).await.map_err(refused)
        }
        AppAct::Change(app) => store.update_app(app, at).await.map_err(refused),
        AppAct::SetState(app, state) => {
            store.set_app_state(app, *state, &order.reason, at).await.map_err(refused)
        }
        AppAct::Freeze(app) => store.freeze_app(app, &order.reason, at).await.map(drop).map_err(refused),
        AppAct::AddCredential { app, credential, replaces } => {
            room_for(gateway, app, credential, replaces.as_ref().map(|(id, _)| id.as_str()), at).await?;
            let replaces = replaces.as_ref().map(|(id, end)| (id.as_str(), *end));
            store.add_credential(app, credential, replaces, at).await.map_err(refused)
        }
        AppAct::RevokeCredential { app, credential } => {
            store.revoke_credential(app, credential, &order.reason, at).await.map_err(refused)
        }
    }
}

/// Refuses a third credential of a kind in force: a rotation needs two. That bounds what a guess costs the gateway,
/// and lets each guess cost the same.
async fn room_for(
    gateway: &Gateway,
    app: &AppId,
    credential: &NewCredential,
    replaced: Option<&str>,
    at: OffsetDateTime,
) -> Result<(), Problem> {
    let registered = gateway.store.registered_apps().await.map_err(|error| Problem::database(&error))?;
    let Some(registered) = registered.into_iter().find(|registered| registered.app.id == *app) else {
        return Err(Problem::unknown_app(app.as_str()));
    };
    if replaced.is_some_and(|id| !registered.credentials.iter().any(|credential| credential.id == id)) {
        return Err(Problem::unknown_credential(replaced.unwrap_or_default()));
    }
    let kind = credential.material.kind();
    let in_force = |known: &&store::Credential| {
        known.material.kind() == kind && known.revoked.is_none() && known.not_after.is_none_or(|end| at < end)
    };
    if registered.credentials.iter().filter(in_force).count() >= MOST_OF_A_KIND {
        let detail = format!("an app has {MOST_OF_A_KIND} credentials of a kind at most; revoke one first");
        return Err(Problem::too_many_credentials(detail));
    }
    if registered.credentials.len() >= MOST_CREDENTIALS {
        let detail = format!("this app has had {MOST_CREDENTIALS} credentials; enter it under another id");
        return Err(Problem::too_many_credentials(detail));
    }
    Ok(())
}

async fn record(
    gateway: &Gateway,
    order: &AppOrder,
    outcome: &str,
    result_digest: Option<String>,
) -> Result<u64, Problem> {
    let subject = [order.act.app().as_str(), &order.act.said(), &order.reason];
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
        result_digest,
        subject: Some(subject.join(": ")),
    };
    gateway.audit.append(entry).await.map_err(|error| Problem::record_unavailable(&error))
}

/// SM3, hexadecimal.
pub(super) fn sm3_hex(octets: &[u8]) -> String {
    hex::encode(Sm3::digest(octets))
}
