//! The one place where a signing policy is set: whatever has to come before, such as a second person's approval, comes
//! before [`carry_out`].

use std::sync::Arc;

use config::AppId;
use store::{AuditEntry, NewPolicy, Terms};
use time::OffsetDateTime;
use tracing::Instrument;

use crate::problem::Problem;
use crate::state::Gateway;

/// Rules that are to hold for an app, by whom and why.
#[derive(Debug)]
pub(crate) struct PolicyOrder {
    pub(crate) app: AppId,
    /// In the form in which they are stored.
    pub(crate) rules: String,
    /// The rules' names.
    pub(crate) names: Vec<String>,
    /// The version that must be in force until then, 0 for none; whichever there is, if it is not said.
    pub(crate) replaces: Option<u32>,
    /// 1 to 500 characters.
    pub(crate) reason: String,
    /// As the audit log names people and apps.
    pub(crate) actor: String,
    pub(crate) request_id: String,
    /// The revision of the register on which it was decided, where it must not have changed since.
    pub(crate) since: Option<i64>,
}

/// Has the rules hold, whether or not the caller waits for it: on record as intended before, with its outcome after; in
/// force here when this returns, and on every other replica within a second. Answers the audit index.
///
/// # Errors
/// `unknown_app`, `policy_changed`, or the database did not do it.
pub(crate) async fn carry_out(gateway: &Gateway, order: &Arc<PolicyOrder>) -> Result<u64, Problem> {
    let (gateway, order) = (gateway.clone(), Arc::clone(order));
    // In a task of its own: a caller that hangs up leaves no act without outcome.
    let act = async move { act(&gateway, &order).await };
    tokio::spawn(act.in_current_span()).await.map_err(|_| Problem::panicked())?
}

async fn act(gateway: &Gateway, order: &PolicyOrder) -> Result<u64, Problem> {
    record(gateway, order, "intended", None).await?;
    let PolicyOrder { app, rules, replaces, reason, actor, .. } = order;
    let new = NewPolicy { app, rules, reason, actor, replaces: *replaces };
    let terms = Terms::from(OffsetDateTime::now_utc()).since(order.since);
    let set = gateway.store.set_policy(&new, terms).await;
    // Also after a failure, which may have come after the change: what holds is read, not guessed.
    let read = gateway.callers.apps.read_anew().await.map_err(|error| Problem::database(&error));
    let set = set.map_err(|error| Problem::from_policies(&error));
    let outcome = set.and_then(|version| read.map(|_| version));
    let code = outcome.as_ref().map_or_else(Problem::code, |_| "ok");
    let audit_index = record(gateway, order, code, outcome.as_ref().ok().copied()).await?;
    outcome.map(|_| audit_index)
}

async fn record(
    gateway: &Gateway,
    order: &PolicyOrder,
    outcome: &str,
    version: Option<u32>,
) -> Result<u64, Problem> {
    let version = version.map_or_else(String::new, |version| format!(" version {version}"));
    let entry = AuditEntry {
        action: "policy.set".to_owned(),
        actor: order.actor.clone(),
        at: OffsetDateTime::now_utc(),
        device: None,
        input_digest: Some(crate::apps::sm3_hex(order.rules.as_bytes())),
        key: None,
        outcome: outcome.to_owned(),
        request_id: order.request_id.clone(),
        result_digest: None,
        subject: Some(format!("{}:{version} rules [{}]: {}", order.app, order.names.join(" "), order.reason)),
    };
    gateway.audit.append(entry).await.map_err(|error| Problem::record_unavailable(&error))
}
