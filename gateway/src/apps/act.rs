//! What can be done to the register of apps, and the one place where it is done: whatever has to come before, such as
//! a second person's approval, comes before [`carry_out`].

use std::path::PathBuf;
use std::sync::Arc;

use config::AppId;
use sm3::{Digest, Sm3};
use store::{App, AppState, AuditEntry, NewCredential, NewWebhook, Notice, Room, StoreError, Terms};
use time::OffsetDateTime;
use tracing::Instrument;

use super::evidence;
use crate::auth::signed::MOST_OF_A_KIND;
use crate::problem::Problem;
use crate::state::Gateway;

/// Apps that a site may have.
const MOST_APPS: usize = 10_000;
/// Credentials that an app may have: of a kind in force no third one, because a rotation needs two. That bounds what a
/// guess costs the gateway, and lets each guess cost the same. Those that ended stay in the register.
const MOST_CREDENTIALS: Room = Room { in_force: MOST_OF_A_KIND, ever: 200 };

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
    /// Have it told what concerns it at this address, with this secret.
    SetWebhook { app: AppId, webhook: NewWebhook },
    /// Tell it nothing any more.
    RemoveWebhook(AppId),
    /// Tell it something, to see whether that arrives.
    TestWebhook(Notice),
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
    /// The revision of the register on which it was decided, where it must not have changed since.
    pub(crate) since: Option<i64>,
}

/// What came of it.
#[derive(Debug, Default)]
pub(crate) struct CarriedOut {
    /// Where it stands in the audit log.
    pub(crate) audit_index: u64,
    /// The folder in which the evidence of a freeze is being kept.
    pub(crate) evidence: Option<PathBuf>,
}

impl AppAct {
    pub(crate) fn app(&self) -> &AppId {
        match self {
            Self::Create(app) | Self::Change(app) => &app.id,
            Self::SetState(app, _) | Self::Freeze(app) | Self::RemoveWebhook(app) => app,
            Self::AddCredential { app, .. }
            | Self::RevokeCredential { app, .. }
            | Self::SetWebhook { app, .. } => app,
            Self::TestWebhook(notice) => &notice.app,
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
            Self::SetWebhook { .. } => "app.webhook.set",
            Self::RemoveWebhook(_) => "app.webhook.remove",
            Self::TestWebhook(_) => "app.webhook.test",
        }
    }

    /// What it is done with, for the record; nothing secret and nothing personal.
    fn said(&self) -> String {
        match self {
            Self::Create(app) | Self::Change(app) => described(app),
            Self::SetState(..) | Self::Freeze(_) | Self::RemoveWebhook(_) => String::new(),
            Self::AddCredential { credential, replaces, .. } => {
                let kind = credential.material.kind();
                let replaced = replaces.as_ref().map(|(id, end)| format!(", in place of {id} from {end} on"));
                format!("credential {} ({kind}){}", credential.id, replaced.unwrap_or_default())
            }
            Self::RevokeCredential { credential, .. } => format!("credential {credential}"),
            Self::SetWebhook { webhook, .. } => {
                // Some sites have a secret in the query.
                let (place, _) = webhook.url.split_once('?').unwrap_or((&webhook.url, ""));
                format!("webhook {} at {place}", webhook.id)
            }
            Self::TestWebhook(notice) => format!("delivery {}", notice.id),
        }
    }
}

fn described(app: &App) -> String {
    let list = |names: Vec<&str>| format!("[{}]", names.join(" "));
    let rate = app.rate.map(|rate| format!(" rate {}/s burst {}", rate.per_second, rate.burst));
    let oidc = app.oidc.as_ref().map(|oidc| {
        let uris = list(oidc.redirect_uris.iter().map(String::as_str).collect());
        let scopes = list(oidc.scopes.iter().map(String::as_str).collect());
        let public = if oidc.public { " public" } else { "" };
        let device = if oidc.device_flow { " device" } else { "" };
        let pushed = if oidc.require_pushed_authorization_requests { " pushed" } else { "" };
        format!(" oidc {uris} scopes {scopes} sector {}{public}{device}{pushed}", oidc.sector)
    });
    let until = app.not_after.map(|end| format!(" until {end}"));
    format!(
        "scopes {} keys {} groups {} fields {} packages {}{}{}{}",
        list(app.scopes.iter().map(String::as_str).collect()),
        list(app.keys.iter().map(config::KeyId::as_str).collect()),
        list(app.groups.iter().map(config::GroupId::as_str).collect()),
        list(app.fields.iter().map(String::as_str).collect()),
        list(app.packages.iter().map(String::as_str).collect()),
        oidc.unwrap_or_default(),
        rate.unwrap_or_default(),
        until.unwrap_or_default(),
    )
}

/// Carries an act out, whether or not the caller waits for it: on record as intended before, with its outcome after; in force here when this returns, and on
/// every other replica within a second.
///
/// # Errors
/// What was not done was not done at all.
pub(crate) async fn carry_out(gateway: &Gateway, order: &Arc<AppOrder>) -> Result<CarriedOut, Problem> {
    let (gateway, order) = (gateway.clone(), Arc::clone(order));
    // In a task of its own: a caller that hangs up leaves no act without outcome.
    let act = async move { act(&gateway, &order).await };
    tokio::spawn(act.in_current_span()).await.map_err(|_| Problem::panicked())?
}

async fn act(gateway: &Gateway, order: &Arc<AppOrder>) -> Result<CarriedOut, Problem> {
    let subject = subject(order);
    record(gateway, order, order.act.name(), ("intended", &subject), None).await?;
    let at = OffsetDateTime::now_utc();
    let done = perform(gateway, order, at).await;
    // Also after a failure, which may have come after the change: what holds is read, not guessed.
    let read = gateway.callers.apps.read_anew().await.map_err(|error| Problem::database(&error));
    let frozen = match (&done, &order.act) {
        (Ok(()), AppAct::Freeze(app)) => Some(app),
        _ => None,
    };
    let outcome = done.and_then(|()| read.map(drop));
    let code = outcome.as_ref().map_or_else(Problem::code, |()| "ok");
    let recorded = record(gateway, order, order.act.name(), (code, &subject), None).await;
    // Beside it: whoever freezes an app learns at once that it is frozen.
    let evidence = frozen.map(|app| evidence::keep(gateway, app, order, at));
    let audit_index = recorded?;
    outcome?;
    Ok(CarriedOut { audit_index, evidence })
}

/// Of whom an act speaks, with what and why, for the record.
fn subject(order: &AppOrder) -> String {
    let parts = [order.act.app().as_str(), &order.act.said(), &order.reason];
    let parts: Vec<_> = parts.into_iter().filter(|part| !part.is_empty()).collect();
    parts.join(": ")
}

async fn perform(gateway: &Gateway, order: &AppOrder, at: OffsetDateTime) -> Result<(), Problem> {
    let store = &gateway.store;
    let refused = |error: StoreError| Problem::from_apps(&error);
    let terms = Terms::from(at).since(order.since);
    match &order.act {
        AppAct::Create(app) => {
            store.insert_app(app, &[], terms.within(Room::of(MOST_APPS))).await.map_err(refused)
        }
        AppAct::Change(app) => store.update_app(app, terms).await.map_err(refused),
        AppAct::SetState(app, state) => {
            store.set_app_state(app, *state, &order.reason, terms).await.map_err(refused)
        }
        AppAct::Freeze(app) => store.freeze_app(app, &order.reason, at).await.map(drop).map_err(refused),
        AppAct::AddCredential { app, credential, replaces } => {
            let replaces = replaces.as_ref().map(|(id, end)| (id.as_str(), *end));
            let terms = terms.within(MOST_CREDENTIALS);
            store.add_credential(app, credential, replaces, terms).await.map_err(refused)
        }
        AppAct::RevokeCredential { app, credential } => {
            store.revoke_credential(app, credential, &order.reason, at).await.map_err(refused)
        }
        AppAct::SetWebhook { app, webhook } => store.set_webhook(app, webhook, terms).await.map_err(refused),
        AppAct::RemoveWebhook(app) => store.remove_webhook(app).await.map_err(refused),
        AppAct::TestWebhook(notice) => match store.notify(notice, at).await.map_err(refused)? {
            true => Ok(()),
            false => Err(Problem::no_webhook(notice.app.as_str())),
        },
    }
}

/// Puts an act of the order on record, or what came of it.
pub(super) async fn record(
    gateway: &Gateway,
    order: &AppOrder,
    action: &str,
    (outcome, subject): (&str, &str),
    result_digest: Option<String>,
) -> Result<u64, Problem> {
    let entry = AuditEntry {
        action: action.to_owned(),
        actor: order.actor.clone(),
        at: OffsetDateTime::now_utc(),
        device: None,
        input_digest: None,
        key: None,
        outcome: outcome.to_owned(),
        request_id: order.request_id.clone(),
        result_digest,
        subject: Some(subject.to_owned()),
    };
    gateway.audit.append(entry).await.map_err(|error| Problem::record_unavailable(&error))
}

/// SM3, hexadecimal.
pub(crate) fn sm3_hex(octets: &[u8]) -> String {
    hex::encode(Sm3::digest(octets))
}
