//! What can be done to stamp templates, and the one place where it is done: whatever has to come before, such as a second
//! person's approval, comes before [`carry_out`].

use config::TemplateId;
use serde::{Deserialize, Serialize};
use store::{AuditEntry, AuditQuery, NewStampTemplate, Room, StoreError, TemplateState, Terms};
use time::OffsetDateTime;
use tracing::Instrument;

use super::form::{TemplateBody, TemplateDraft};
use crate::apps::sm3_hex;
use crate::audit;
use crate::problem::Problem;
use crate::state::Gateway;

/// Most templates of a site.
const MOST_TEMPLATES: usize = 200;

/// One act on a template.
#[derive(Clone, Serialize, Deserialize)]
#[serde(tag = "act", rename_all = "snake_case")]
pub(crate) enum TemplateAct {
    /// Have it say this from now on, in the place of the version that it has; 0: enter it.
    Set { id: TemplateId, template: Box<TemplateBody>, replaces: u32 },
    /// Let nobody stamp by it for now.
    Disable { id: TemplateId },
    /// Let it be used again.
    Enable { id: TemplateId },
}

/// An act, by whom and why.
pub(crate) struct TemplateOrder {
    pub(crate) act: TemplateAct,
    /// 1 to 500 characters.
    pub(crate) reason: String,
    /// As the audit log names people and apps.
    pub(crate) actor: String,
    pub(crate) request_id: String,
    /// The revision of the template that it was decided on, if it matters.
    pub(crate) since: Option<i64>,
}

impl TemplateAct {
    pub(crate) fn template(&self) -> &TemplateId {
        match self {
            Self::Set { id, .. } | Self::Disable { id } | Self::Enable { id } => id,
        }
    }

    /// As the audit log names it.
    pub(crate) fn name(&self) -> &'static str {
        match self {
            Self::Set { .. } => "stamp_template.set",
            Self::Disable { .. } => "stamp_template.disable",
            Self::Enable { .. } => "stamp_template.enable",
        }
    }

    /// Whether it enters a template.
    pub(crate) fn creates(&self) -> bool {
        matches!(self, Self::Set { replaces: 0, .. })
    }
}

/// Carries an act out, whether or not the caller waits for it: on record as intended before; with its outcome after, in
/// the transaction that does it. Answers where it stands in the audit log.
///
/// # Errors
/// What was not done was not done at all.
pub(crate) async fn carry_out(gateway: &Gateway, order: TemplateOrder) -> Result<u64, Problem> {
    let gateway = gateway.clone();
    // In a task of its own: a caller that hangs up leaves no act without outcome.
    let act = async move {
        let draft = match &order.act {
            TemplateAct::Set { template, .. } => Some(template.draft(&gateway).await?),
            TemplateAct::Disable { .. } | TemplateAct::Enable { .. } => None,
        };
        record(&gateway, entry(&order, draft.as_ref(), "intended", None)).await?;
        let done = perform(&gateway, &order, draft.as_ref()).await;
        // Of one whose record is in doubt nobody says that it was not done.
        if let Err(problem) = done.as_ref()
            && !problem.is_about_the_record()
        {
            record(&gateway, entry(&order, draft.as_ref(), problem.code(), None)).await?;
        }
        done
    };
    tokio::spawn(act.in_current_span()).await.map_err(|_| Problem::panicked())?
}

/// Does it with its record; answers where that stands.
async fn perform(
    gateway: &Gateway,
    order: &TemplateOrder,
    draft: Option<&TemplateDraft>,
) -> Result<u64, Problem> {
    let TemplateOrder { act, reason, actor, since, .. } = order;
    let store = &gateway.store;
    let terms = Terms::from(OffsetDateTime::now_utc()).since(*since).within(Room::of(MOST_TEMPLATES));
    let to_state = |id, to: TemplateState| {
        store.set_stamp_template_state(id, to, reason.as_str(), actor.as_str(), terms)
    };
    let change = match (act, draft) {
        (TemplateAct::Set { id, replaces, .. }, Some(TemplateDraft { description, apps, stamp, .. })) => {
            let (apps, replaces) = (apps.as_ref(), *replaces);
            let new = NewStampTemplate { id, description, apps, stamp, reason, actor, replaces };
            store.set_stamp_template(&new, terms).await
        }
        (TemplateAct::Set { .. }, None) => return Err(Problem::panicked()), // it was read before
        (TemplateAct::Disable { id }, _) => to_state(id, TemplateState::Disabled).await,
        (TemplateAct::Enable { id }, _) => to_state(id, TemplateState::Enabled).await,
    };
    let refused = |error: StoreError| Problem::from_templates(&error);
    let change = change.map_err(refused)?;
    let version = draft.map(|_| change.version());
    let entry = entry(order, draft, "ok", version);
    match gateway.audit.append_stamp_template(entry.clone(), change).await {
        Err(StoreError::AuditUnavailable) => audit::look_for(|| recorded(gateway, &entry)).await,
        recorded => recorded.map_err(refused),
    }
}

/// Where an entry stands in this gateway's log, if it does.
async fn recorded(gateway: &Gateway, entry: &AuditEntry) -> Result<Option<u64>, StoreError> {
    let wanted = AuditQuery {
        action: Some(entry.action.clone()),
        outcome: Some(entry.outcome.clone()),
        subject: entry.subject.clone(),
        request_id: Some(entry.request_id.clone()),
        limit: 1,
        ..AuditQuery::default()
    };
    let found = gateway.store.search_audit(gateway.audit.record().id, &wanted).await?;
    Ok(found.items.first().map(|(index, _)| *index))
}

async fn record(gateway: &Gateway, entry: AuditEntry) -> Result<u64, Problem> {
    gateway.audit.append(entry).await.map_err(|error| Problem::record_unavailable(&error))
}

fn entry(
    order: &TemplateOrder,
    draft: Option<&TemplateDraft>,
    outcome: &str,
    version: Option<u32>,
) -> AuditEntry {
    let version = version.map_or_else(String::new, |version| format!(" version {version}:"));
    AuditEntry {
        action: order.act.name().to_owned(),
        actor: order.actor.clone(),
        at: OffsetDateTime::now_utc(),
        device: None,
        input_digest: draft.map(|draft| sm3_hex(draft.stamp.as_bytes())),
        key: None,
        outcome: outcome.to_owned(),
        request_id: order.request_id.clone(),
        result_digest: None,
        subject: Some(format!("{}:{version} {}", order.act.template(), order.reason)),
    }
}
