//! The one place where a signing policy is set: whatever has to come before, such as a second person's approval, comes
//! before [`carry_out`].

use std::sync::Arc;

use config::AppId;
use store::{AuditEntry, NewPolicy, StoreError, Terms};
use time::OffsetDateTime;
use tracing::Instrument;

use crate::audit;
use crate::problem::Problem;
use crate::state::Gateway;

/// So often a policy that replaces whichever there is is decided anew when another one came first.
const TRIES: u32 = 4;

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

/// Has the rules hold, whether or not the caller waits for it: on record as intended before; in force, with the outcome on
/// record, by one transaction; here when this returns, and on every other replica within a second. Answers the audit index.
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
    record(gateway, entry(order, "intended", None)).await?;
    let done = perform(gateway, order).await;
    // Of one whose record is in doubt nobody says that it was not done.
    if let Err(problem) = done.as_ref()
        && !problem.is_about_the_record()
    {
        record(gateway, entry(order, problem.code(), None)).await?;
    }
    // Also after a failure, which may have come after the change: what holds is read, not guessed.
    let read = gateway.callers.apps.read_anew().await.map_err(|error| Problem::database(&error));
    let audit_index = done?;
    read.map(|_| audit_index)
}

/// Does it with its record; answers where that stands.
async fn perform(gateway: &Gateway, order: &PolicyOrder) -> Result<u64, Problem> {
    let PolicyOrder { app, rules, replaces, reason, actor, .. } = order;
    let new = NewPolicy { app, rules, reason, actor, replaces: *replaces };
    let terms = Terms::from(OffsetDateTime::now_utc()).since(order.since);
    let refused = |error: StoreError| Problem::from_policies(&error);
    for tries_left in (0..TRIES).rev() {
        let change = gateway.store.set_policy(&new, terms).await.map_err(refused)?;
        let entry = entry(order, "ok", Some(change.version()));
        match gateway.audit.append_policy(entry.clone(), change).await {
            Err(StoreError::AuditUnavailable) => {
                return audit::look_for(|| audit::on_record(gateway, &entry)).await;
            }
            // Of two that come together and replace whichever there is, the second replaces the first.
            Err(StoreError::NotAllowed { .. }) if replaces.is_none() && tries_left > 0 => {}
            recorded => return recorded.map_err(refused),
        }
    }
    Err(Problem::policy_changed())
}

async fn record(gateway: &Gateway, entry: AuditEntry) -> Result<u64, Problem> {
    gateway.audit.append(entry).await.map_err(|error| Problem::record_unavailable(&error))
}

fn entry(order: &PolicyOrder, outcome: &str, version: Option<u32>) -> AuditEntry {
    let version = version.map_or_else(String::new, |version| format!(" version {version}"));
    AuditEntry {
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
    }
}
