//! What can be done to seals, and the one place where it is done: whatever has to come before, such as a second person's
//! approval, comes before [`carry_out`].

use std::sync::Arc;

use config::SealNumber;
use serde::{Deserialize, Serialize};
use store::{AuditEntry, NewSeal, RegisteredSeal, SealState, StoreError, Terms};
use time::OffsetDateTime;
use tracing::Instrument;

use super::form::{SealBody, SealDraft};
use crate::apps::sm3_hex;
use crate::audit;
use crate::problem::Problem;
use crate::state::Gateway;

/// One act on a seal.
#[derive(Clone, Serialize, Deserialize)]
#[serde(tag = "act", rename_all = "snake_case")]
pub(crate) enum SealAct {
    /// Make it and enter it.
    Make { id: SealNumber, seal: Box<SealBody> },
    /// Let nobody use it for now.
    Suspend { id: SealNumber },
    /// Let it be used again.
    Resume { id: SealNumber },
    /// Let nobody use it any more.
    Revoke { id: SealNumber },
    /// Make another one that takes its place.
    Replace { id: SealNumber, by: SealNumber, seal: Box<SealBody> },
}

/// An act, by whom and why.
pub(crate) struct SealActOrder {
    pub(crate) act: SealAct,
    /// 1 to 500 characters.
    pub(crate) reason: String,
    /// As the audit log names people and apps.
    pub(crate) actor: String,
    pub(crate) request_id: String,
    /// The version of the seal that it was decided on, if it matters.
    pub(crate) since: Option<i64>,
}

/// What came of it.
pub(crate) struct CarriedOut {
    /// The seal that was made, or whose state is another.
    pub(crate) seal: RegisteredSeal,
    /// Where it stands in the audit log.
    pub(crate) audit_index: u64,
}

impl SealAct {
    pub(crate) fn seal(&self) -> &SealNumber {
        match self {
            Self::Make { id, .. }
            | Self::Suspend { id }
            | Self::Resume { id }
            | Self::Revoke { id }
            | Self::Replace { id, .. } => id,
        }
    }

    /// As the audit log names it.
    pub(crate) fn name(&self) -> &'static str {
        match self {
            Self::Make { .. } => "seal.make",
            Self::Suspend { .. } => "seal.suspend",
            Self::Resume { .. } => "seal.resume",
            Self::Revoke { .. } => "seal.revoke",
            Self::Replace { .. } => "seal.replace",
        }
    }
}

/// Carries an act out, whether or not the caller waits for it: on record as intended before; with its outcome after, in
/// the transaction that does it.
///
/// # Errors
/// What was not done was not done at all.
pub(crate) async fn carry_out(gateway: &Gateway, order: SealActOrder) -> Result<CarriedOut, Problem> {
    let (gateway, order) = (gateway.clone(), Arc::new(order));
    // In a task of its own: a caller that hangs up leaves no act without outcome.
    let act = async move {
        let intended = entry(&order, "intended", &Made::default(), OffsetDateTime::now_utc());
        record(&gateway, intended).await?;
        let done = perform(&gateway, &order).await;
        // Of one whose record is in doubt nobody says that it was not done.
        if let Err(problem) = done.as_ref()
            && !problem.is_about_the_record()
        {
            let at = OffsetDateTime::now_utc();
            record(&gateway, entry(&order, problem.code(), &Made::default(), at)).await?;
        }
        let (shown, audit_index) = done?;
        // What was done stays done if it cannot be shown now.
        let seal = gateway.store.seal(&shown).await.map_err(|error| Problem::from_seals(&error))?;
        Ok(CarriedOut { seal, audit_index })
    };
    tokio::spawn(act.in_current_span()).await.map_err(|_| Problem::panicked())?
}

/// What the record says of a seal that was made.
#[derive(Default)]
struct Made {
    key: Option<String>,
    device: Option<String>,
    digest: Option<String>,
    /// Of the SVG file that the seal's picture was made of, which is not in the seal.
    svg: Option<String>,
}

/// Answers which seal is to be shown, and where the act stands in the log.
async fn perform(gateway: &Gateway, order: &SealActOrder) -> Result<(SealNumber, u64), Problem> {
    let (store, at) = (&gateway.store, OffsetDateTime::now_utc());
    let SealActOrder { actor, reason, since, .. } = order;
    let terms = Terms::from(at).since(*since);
    let refused = |error: StoreError| Problem::from_seals(&error);
    let (shown, change, made) = match &order.act {
        SealAct::Make { id, seal } => {
            let (new, made) = made(gateway, &drafted(gateway, seal).await?, at).await?;
            (id, store.enter_seal(new, actor, reason, at).await, made)
        }
        SealAct::Replace { id, by, seal } => {
            store.seal(id).await.map_err(refused)?;
            let (new, made) = made(gateway, &drafted(gateway, seal).await?, at).await?;
            (by, store.replace_seal(id, new, actor, reason, terms).await, made)
        }
        SealAct::Suspend { id } => {
            (id, store.change_seal(id, SealState::Suspended, actor, reason, terms).await, Made::default())
        }
        SealAct::Resume { id } => {
            (id, store.change_seal(id, SealState::Active, actor, reason, terms).await, Made::default())
        }
        SealAct::Revoke { id } => {
            (id, store.change_seal(id, SealState::Revoked, actor, reason, terms).await, Made::default())
        }
    };
    let change = change.map_err(refused)?;
    let entry = entry(order, "ok", &made, at);
    let makes = change.makes();
    let audit_index = match gateway.audit.append_seal(entry, change).await {
        Err(StoreError::AuditUnavailable) => match &makes {
            Some(makes) => audit::look_for(|| store.seal_change_on_record(makes)).await?,
            None => return Err(Problem::record_unavailable(&StoreError::AuditUnavailable)),
        },
        recorded => recorded.map_err(refused)?,
    };
    Ok((shown.clone(), audit_index))
}

/// The seal as it is to be, read where there is time for it: a picture is decoded.
async fn drafted(gateway: &Gateway, seal: &SealBody) -> Result<SealDraft, Problem> {
    let seal = seal.clone();
    gateway.judging.run(move || seal.draft()).await?.await.map_err(|_| Problem::panicked())?
}

/// Has a device sign the seal, if its number is free.
async fn made(gateway: &Gateway, draft: &SealDraft, at: OffsetDateTime) -> Result<(NewSeal, Made), Problem> {
    match gateway.store.seal(&draft.number).await {
        Err(StoreError::NotFound { .. }) => {}
        Err(error) => return Err(Problem::from_seals(&error)),
        Ok(_) => return Err(Problem::seal_exists(draft.number.as_str())),
    }
    draft.judge(gateway, at)?;
    let made = gateway.system.make_seal(&draft.order(), at).await.map_err(|error| Problem::from(&error))?;
    let said = Made {
        key: Some(made.key.to_string()),
        device: Some(made.device.to_string()),
        digest: Some(sm3_hex(made.seal.der())),
        svg: draft.drawing.as_ref().map(|drawing| sm3_hex(drawing.source().as_bytes())),
    };
    let new = NewSeal {
        id: draft.number.clone(),
        kind: draft.kind,
        holder: draft.holder.clone(),
        seal: made.seal,
        svg: draft.drawing.as_ref().map(|drawing| drawing.source().to_owned()),
        certificates: draft.certificates.clone(),
    };
    Ok((new, said))
}

async fn record(gateway: &Gateway, entry: AuditEntry) -> Result<u64, Problem> {
    gateway.audit.append(entry).await.map_err(|error| Problem::record_unavailable(&error))
}

/// Neither the holder's name nor the seal's is on record: they may be a person's.
fn entry(order: &SealActOrder, outcome: &str, made: &Made, at: OffsetDateTime) -> AuditEntry {
    let said = match &order.act {
        SealAct::Replace { by, .. } => format!(" by {by}"),
        SealAct::Make { .. } | SealAct::Suspend { .. } | SealAct::Resume { .. } | SealAct::Revoke { .. } => {
            String::new()
        }
    };
    AuditEntry {
        action: order.act.name().to_owned(),
        actor: order.actor.clone(),
        at,
        device: made.device.clone(),
        input_digest: made.svg.clone(),
        key: made.key.clone(),
        outcome: outcome.to_owned(),
        request_id: order.request_id.clone(),
        result_digest: made.digest.clone(),
        subject: Some(format!("{}:{said} {}", order.act.seal(), order.reason)),
    }
}
