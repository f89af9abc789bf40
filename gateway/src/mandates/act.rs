//! What can be done to mandates, and the one place where it is done: whatever has to come before, such as a second person's
//! approval, comes before [`carry_out`].

use std::sync::Arc;

use config::MandateNumber;
use formats::chain::validate;
use formats::{Certificate, Usage, Verdict, subject};
use serde::{Deserialize, Serialize};
use store::{AuditEntry, Mandate, MandateState, NewMandate, StoreError, Terms};
use time::OffsetDateTime;
use tracing::Instrument;

use super::form::MandateDraft;
use crate::apps::sm3_hex;
use crate::audit;
use crate::body::Faults;
use crate::problem::Problem;
use crate::protection::Devices;
use crate::state::Gateway;

/// Another state of a mandate.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum MandateStep {
    /// Put it to use.
    Activate,
    /// Let nobody use it for now.
    Suspend,
    /// Let it be used again.
    Resume,
    /// Let nobody use it any more, and destroy its key.
    End,
}

impl MandateStep {
    pub(super) fn state(self) -> MandateState {
        match self {
            Self::Activate | Self::Resume => MandateState::Active,
            Self::Suspend => MandateState::Suspended,
            Self::End => MandateState::Ended,
        }
    }

    /// As the audit log names it.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Activate => "mandate.activate",
            Self::Suspend => "mandate.suspend",
            Self::Resume => "mandate.resume",
            Self::End => "mandate.end",
        }
    }

    /// Whether a mandate can take it.
    ///
    /// # Errors
    /// It is in another state than the step is for.
    pub(super) fn fits(self, mandate: &Mandate) -> Result<(), Problem> {
        let refused = |reason| {
            Err(StoreError::NotAllowed {
                what: "mandate",
                id: mandate.id.to_string(),
                state: mandate.state.as_str(),
                reason,
            })
        };
        let fits = match (self, mandate.state) {
            (Self::Activate, MandateState::Suspended) => refused("it is resumed, not activated"),
            (Self::Resume, MandateState::Draft) => refused("it is activated, not resumed"),
            _ => mandate.may_become(self.state()),
        };
        fits.map_err(|error| Problem::from_mandates(&error))
    }
}

/// One act on a mandate.
pub(crate) enum MandateAct {
    /// Enter it as a draft, with a key made in a device.
    Create(Box<MandateDraft>),
    /// Make a certification request for its key.
    Request { mandate: MandateNumber },
    /// Give it its certificate.
    Certify { mandate: MandateNumber, certificates: Vec<Certificate> },
    /// Have it in another state.
    Step { mandate: MandateNumber, step: MandateStep },
}

impl MandateAct {
    fn mandate(&self) -> &MandateNumber {
        match self {
            Self::Create(draft) => &draft.number,
            Self::Request { mandate } | Self::Certify { mandate, .. } | Self::Step { mandate, .. } => mandate,
        }
    }

    fn name(&self) -> &'static str {
        match self {
            Self::Create(_) => "mandate.create",
            Self::Request { .. } => "mandate.csr",
            Self::Certify { .. } => "mandate.certify",
            Self::Step { step, .. } => step.name(),
        }
    }
}

/// An act, by whom and why.
pub(crate) struct MandateActOrder {
    pub(crate) act: MandateAct,
    /// 1 to 500 characters.
    pub(crate) reason: String,
    /// As the audit log names people and apps.
    pub(crate) actor: String,
    pub(crate) request_id: String,
    /// The version that was looked at last: only if nothing has changed since.
    pub(crate) since: Option<i64>,
}

/// What came of it.
pub(crate) struct CarriedOut {
    /// The mandate as it is now.
    pub(crate) mandate: Mandate,
    /// The certification request, PEM, where one was made.
    pub(crate) csr: Option<String>,
    /// Where it stands in the audit log.
    pub(crate) audit_index: u64,
}

/// Carries an act out, whether or not the caller waits for it: on record as intended before; with its outcome after, in
/// the transaction that does it.
///
/// # Errors
/// What was not done was not done at all.
pub(crate) async fn carry_out(gateway: &Gateway, order: MandateActOrder) -> Result<CarriedOut, Problem> {
    let (gateway, order) = (gateway.clone(), Arc::new(order));
    // In a task of its own: a caller that hangs up leaves no act without outcome.
    let act = async move {
        let said = Said::default();
        record(&gateway, entry(&order, "intended", &said, OffsetDateTime::now_utc())).await?;
        let done = perform(&gateway, &order).await;
        // Of one whose record is in doubt nobody says that it was not done.
        if let Err(problem) = done.as_ref()
            && !problem.is_about_the_record()
        {
            record(&gateway, entry(&order, problem.code(), &said, OffsetDateTime::now_utc())).await?;
        }
        let (csr, audit_index) = done?;
        // What was done stays done if it cannot be shown now.
        let mandate = gateway.store.mandate(order.act.mandate()).await;
        let mandate = mandate.map_err(|error| Problem::from_mandates(&error))?;
        Ok(CarriedOut { mandate, csr, audit_index })
    };
    tokio::spawn(act.in_current_span()).await.map_err(|_| Problem::panicked())?
}

/// What the record says beside the act.
#[derive(Default)]
struct Said {
    key: Option<String>,
    device: Option<String>,
    input: Option<String>,
    result: Option<String>,
}

/// Answers the certification request, PEM, where one was made, and where the act stands in the log.
async fn perform(gateway: &Gateway, order: &MandateActOrder) -> Result<(Option<String>, u64), Problem> {
    let (store, at) = (&gateway.store, OffsetDateTime::now_utc());
    let MandateActOrder { actor, reason, since, .. } = order;
    let refused = |error: StoreError| Problem::from_mandates(&error);
    let number = order.act.mandate();
    let (change, said) = match &order.act {
        MandateAct::Create(draft) => {
            let (new, said) = made(gateway, draft, at).await?;
            (store.enter_mandate(new, actor, reason, at).await, said)
        }
        MandateAct::Request { .. } => return request(gateway, order, number, at).await,
        MandateAct::Certify { certificates, .. } => {
            let mandate = store.mandate(number).await.map_err(refused)?;
            judge_certificate(gateway, &mandate, certificates, at).await?;
            let result = certificates.first().map(|certificate| sm3_hex(certificate.der()));
            let said = Said { key: Some(mandate.key.to_string()), result, ..Said::default() };
            (store.certify_mandate(number, certificates.clone(), actor, reason, at).await, said)
        }
        MandateAct::Step { step, .. } => {
            let mandate = store.mandate(number).await.map_err(refused)?;
            step.fits(&mandate)?;
            if step.state() == MandateState::Active {
                judge_certificate(gateway, &mandate, &mandate.certificates, at).await?;
            }
            let said = Said { key: Some(mandate.key.to_string()), ..Said::default() };
            let terms = Terms::from(at).since(*since);
            (store.change_mandate(number, step.state(), actor, reason, terms).await, said)
        }
    };
    let (entry, change) = (entry(order, "ok", &said, at), change.map_err(refused)?);
    let makes = change.makes();
    let audit_index = match gateway.audit.append_mandate(entry, change).await {
        Err(StoreError::AuditUnavailable) => {
            audit::look_for(|| store.mandate_change_on_record(&makes)).await?
        }
        recorded => recorded.map_err(refused)?,
    };
    Ok((None, audit_index))
}

/// Has a device make the key, if the number is free.
async fn made(
    gateway: &Gateway,
    draft: &MandateDraft,
    at: OffsetDateTime,
) -> Result<(NewMandate, Said), Problem> {
    match gateway.store.mandate(&draft.number).await {
        Err(StoreError::NotFound { .. }) => {}
        Err(error) => return Err(Problem::from_mandates(&error)),
        Ok(_) => return Err(Problem::mandate_exists(draft.number.as_str())),
    }
    draft.judge(gateway, at).await?;
    let (owner, of) = (draft.number.as_str(), (&draft.group, draft.kind));
    let minted = gateway.mandates.mint(&Devices(&gateway.fleet), &draft.key, owner, of, at).await?;
    let result = Some(sm3_hex(&minted.key.public_key));
    let said = Said { key: Some(draft.key.to_string()), result, ..Said::default() };
    let new = NewMandate {
        id: draft.number.clone(),
        enterprise: draft.enterprise,
        name: draft.name.clone(),
        grantor: draft.grantor.clone(),
        evidence: draft.evidence.clone(),
        apps: draft.apps.clone(),
        terms: draft.terms.clone(),
        key: minted.key,
        code_key: minted.code_key,
    };
    Ok((new, said))
}

async fn request(
    gateway: &Gateway,
    order: &MandateActOrder,
    number: &MandateNumber,
    at: OffsetDateTime,
) -> Result<(Option<String>, u64), Problem> {
    let mandate = gateway.store.mandate(number).await.map_err(|error| Problem::from_mandates(&error))?;
    draft(&mandate)?;
    let (name, uscc) = (escaped(&mandate.name), &mandate.enterprise);
    let subject = format!("CN={name},serialNumber={uscc},O={name},C=CN");
    let made = gateway.mandates.request(&Devices(&gateway.fleet), &mandate, subject).await?;
    let said = Said {
        key: Some(mandate.key.to_string()),
        device: Some(made.device.to_string()),
        input: Some(hex::encode(made.digest)),
        result: Some(made.sm3),
    };
    let audit_index = record(gateway, entry(order, "ok", &said, at)).await?;
    Ok((Some(made.pem), audit_index))
}

/// Whether it is still a draft.
pub(super) fn draft(mandate: &Mandate) -> Result<(), Problem> {
    match mandate.state {
        MandateState::Draft => Ok(()),
        state => Err(Problem::from_mandates(&StoreError::NotAllowed {
            what: "mandate",
            id: mandate.id.to_string(),
            state: state.as_str(),
            reason: "it keeps the certificate that it was activated with",
        })),
    }
}

/// Whether the first of these is a certificate of the mandate's key and enterprise that the site trusts for signing documents,
/// now or when the mandate begins.
///
/// # Errors
/// Every fault at once, of the field `certificate`; the register cannot be read.
pub(super) async fn judge_certificate(
    gateway: &Gateway,
    mandate: &Mandate,
    certificates: &[Certificate],
    now: OffsetDateTime,
) -> Result<(), Problem> {
    const FIELD: &str = "certificate";
    let Some((certificate, above)) = certificates.split_first() else {
        let error = mandate.may_become(MandateState::Active).err();
        return Err(error.map_or_else(Problem::panicked, |error| Problem::from_mandates(&error)));
    };
    let key = gateway.store.wrapped_key(&mandate.key).await.map_err(|error| Problem::database(&error))?;
    let mut faults = Faults::default();
    let is_its_key = key.is_some_and(|key| {
        certificate.public_key().is_ok_and(|certified| certified.spki_der() == key.public_key)
    });
    if !is_its_key {
        faults.add(FIELD, "certificate_of_another_key", "certifies another key than the mandate's");
    }
    if !subject::is_of_enterprise(certificate, &mandate.name, &mandate.enterprise) {
        let detail = format!(
            "its subject {} must have the enterprise's name as O, and its code as organizationIdentifier, serialNumber or OU",
            certificate.subject()
        );
        faults.add(FIELD, "certificate_not_for_enterprise", detail);
    }
    let (from, until) = (certificate.not_before(), certificate.not_after());
    if mandate.terms.valid_until < from || until < mandate.terms.valid_from {
        let detail = format!("is valid from {from} to {until}, at no time of the mandate");
        faults.add(FIELD, "validity_outside_mandate", detail);
    } else {
        let at = now.max(mandate.terms.valid_from).max(from);
        let judgement =
            validate(certificate, above, &gateway.documents.current(), Usage::DocumentSigning, at);
        if judgement.verdict != Verdict::Valid {
            let found: Vec<_> = judgement.findings.iter().map(|finding| finding.detail.as_str()).collect();
            faults.add(FIELD, "certificate_refused", found.join("; "));
        }
    }
    faults.into_result(Some(()))
}

/// A value of RFC 4514.
fn escaped(value: &str) -> String {
    let mut escaped = String::with_capacity(value.len());
    for (at, character) in value.chars().enumerate() {
        if matches!(character, '"' | '+' | ',' | ';' | '<' | '>' | '\\' | '=') || at == 0 && character == '#'
        {
            escaped.push('\\');
        }
        escaped.push(character);
    }
    escaped
}

async fn record(gateway: &Gateway, entry: AuditEntry) -> Result<u64, Problem> {
    gateway.audit.append(entry).await.map_err(|error| Problem::record_unavailable(&error))
}

/// Who granted the mandate is not on record: that is a person.
fn entry(order: &MandateActOrder, outcome: &str, said: &Said, at: OffsetDateTime) -> AuditEntry {
    AuditEntry {
        action: order.act.name().to_owned(),
        actor: order.actor.clone(),
        at,
        device: said.device.clone(),
        input_digest: said.input.clone(),
        key: said.key.clone(),
        outcome: outcome.to_owned(),
        request_id: order.request_id.clone(),
        result_digest: said.result.clone(),
        subject: Some(format!("{}: {}", order.act.mandate(), order.reason)),
    }
}

#[cfg(test)]
mod tests {
    use super::escaped;

    #[test]
    fn what_has_a_meaning_in_names_is_escaped() {
        assert_eq!(escaped("西安市测试有限公司"), "西安市测试有限公司");
        assert_eq!(escaped("#A+B, \"C\" = <D>"), "\\#A\\+B\\, \\\"C\\\" \\= \\<D\\>");
    }
}
