//! How a license is retained: fetched, judged, written, then kept in the transaction that records it.

use std::sync::Arc;

use formats::license_file::FileForm;
use formats::scheme::HashAlgorithm;
use formats::{Certificate, Usage};
use serde::Serialize;
use serde_json::Value;
use signing::ValidationData;
use sm3::{Digest, Sm3};
use store::{App, AuditEntry, Claim, Keeping, Retained, retention_subject};
use time::{Duration, OffsetDateTime};
use verify_front::{DecisionQuestion, Examined, FieldGrant, LicenseType, LicenseUse, Role, StatusQuestion};

use super::record::{FORMAT, RetainedFile, RetentionRecord, ShownBy};
use super::{Asked, RetentionResponse, What};
use crate::auth::{Authenticated, Scope};
use crate::idempotency;
use crate::library::files;
use crate::licenses::read_uscc;
use crate::problem::Problem;
use crate::sessions::retained::{self, ShownInSession};
use crate::stamps::make::number;
use crate::state::Gateway;

/// What is judged and kept.
struct Shown {
    /// The file.
    octets: Vec<u8>,
    kind: &'static str,
    media_type: &'static str,
    /// What is judged, where that is not the file.
    license: Option<Vec<u8>>,
    license_type: LicenseType,
}

/// What was found.
struct Found {
    octets: Vec<u8>,
    examined: Examined,
    data: ValidationData,
    sm3: [u8; 32],
    sha256: String,
}

impl Shown {
    fn of_form(octets: Vec<u8>, form: FileForm) -> Self {
        let license_type = match form {
            FileForm::Ofd => LicenseType::Ofd,
            FileForm::Pdf => LicenseType::Pdf,
        };
        Self { octets, kind: form.name(), media_type: form.media_type(), license: None, license_type }
    }

    fn of_file(octets: Vec<u8>, license_type: LicenseType) -> Self {
        match license_type.form() {
            Some(form) => Self::of_form(octets, form),
            None => Self {
                octets,
                kind: "certificate",
                media_type: "application/pkix-cert",
                license: None,
                license_type,
            },
        }
    }

    /// What the session came to; its license is judged.
    fn of_session(session: &mut ShownInSession) -> Self {
        Self {
            octets: std::mem::take(&mut session.document),
            kind: "session",
            media_type: "application/json",
            license: Some(session.license.der().to_vec()),
            license_type: LicenseType::Certificate,
        }
    }
}

/// Retains a license; answers the body of the answer 201.
///
/// # Errors
/// Why it is not; then nothing is on record as retained.
pub(super) async fn make(
    gateway: &Gateway,
    caller: &Authenticated,
    asked: Asked,
    claim: Option<Arc<Claim>>,
) -> Result<Vec<u8>, Problem> {
    let app = caller.with(Scope::Licenses)?;
    let grant = FieldGrant::new(app.fields.iter().cloned());
    let Asked { what, session: session_id, told, biz_no, purpose } = asked;
    let source = what.source();
    let mut session = match &session_id {
        Some(id) => {
            let app = caller.using(Scope::Sessions, gateway)?;
            Some(retained::shown(gateway, id, app, &grant).await?)
        }
        None => None,
    };
    let (item, role) = match (&session, told) {
        (Some(session), _) => (session.item.clone(), session.role),
        (None, Some(told)) => told,
        (None, None) => return Err(Problem::panicked()), // the order was read with both
    };
    if session.is_none() && gateway.licenses.roles_for(&item).is_none() {
        return Err(Problem::session_item_unknown(&item));
    }
    let shown = match (what, &mut session) {
        (What::Library { uscc, form, digest }, _) => {
            let uscc = read_uscc(gateway, &uscc)?;
            let purpose = purpose.clone();
            let wanted = (form, digest.as_ref());
            let octets = files::whole(gateway, caller, &uscc, wanted, purpose).await?;
            Shown::of_form(octets, form)
        }
        (What::File { octets, kind }, _) => Shown::of_file(octets, kind),
        (What::Session, Some(session)) => Shown::of_session(session),
        (What::Session, None) => return Err(Problem::panicked()), // likewise
    };
    let now = OffsetDateTime::now_utc();
    let now = now.replace_nanosecond(0).unwrap_or(now);
    let (kind, media_type) = (shown.kind, shown.media_type);
    let Found { octets, examined, mut data, sm3, sha256 } = examine(gateway, shown, now).await?;
    // The license itself shows more than any field of a session's result: whoever may not see all of it is not given it by what it
    // was judged by, either.
    let withheld = session.as_ref().filter(|session| source == "session" && !session.sees_all);
    if let Some(session) = withheld {
        leave_out(&mut data, &session.license);
    }
    let uscc = examined.license.as_ref().and_then(|license| license.uscc);
    let uscc = uscc.map(|uscc| uscc.to_string());
    if session.as_ref().is_some_and(|session| uscc.as_ref() != Some(&session.uscc)) {
        return Err(Problem::retention_of_another());
    }
    let answer = gateway.licenses.complete(examined, &StatusQuestion::now(now)).await?;
    let verdict = answer.judgement.verdict;
    let question = DecisionQuestion {
        license_use: LicenseUse::File,
        role,
        item: Some(item.clone()),
        authorisation: session.as_ref().and_then(|session| session.authorisation.clone()),
        at: now,
    };
    let decision = gateway.licenses.decide(&question, &answer);
    // What a session's holder let be read is all that is kept of the face with what the session came to.
    let seen = session.as_ref().filter(|_| source == "session").map_or(&grant, |session| &session.grant);
    let face = answer.face.as_ref().map(|face| seen.face(face));
    let octets_in_all = octets.len() as u64;
    let record = RetentionRecord {
        format: FORMAT.to_owned(),
        id: number(now),
        app: app.id.to_string(),
        source: source.to_owned(),
        name: face.as_ref().and_then(|face| face.get("name")?.as_str().map(str::to_owned)),
        uscc,
        item,
        biz_no,
        purpose,
        role: shown_by(role, session.is_some()),
        operator: session.as_ref().and_then(|session| session.operator.clone()),
        authorisation: session.as_ref().and_then(|session| session.authorisation.as_ref()).map(json),
        session: session_id,
        file: RetainedFile {
            kind: kind.to_owned(),
            media_type: media_type.to_owned(),
            octets: octets_in_all,
            sm3: hex::encode(sm3),
            sha256,
        },
        verdict: verdict.name().to_owned(),
        findings: answer.judgement.findings.iter().map(json).collect(),
        license: answer.license.as_ref().filter(|_| withheld.is_none()).map(json),
        face,
        status: answer.status.as_ref().map(json),
        status_origin: answer.status_origin.as_ref().map(json),
        decision: json(&decision),
        evidence: data.names.clone(),
        retained_at: now,
        keep_until: now + Duration::days(gateway.config.retentions.days.into()),
    };
    gateway.metrics.judged("license", verdict);
    gateway.tally.verified(&caller.actor(), "license", verdict);
    let body = keep(gateway, app, caller, record, octets, data.items, claim).await?;
    gateway.metrics.retention(source, verdict);
    Ok(body)
}

/// Writes file and evidence, and keeps the record with its entry in the audit log; answers the body of the answer.
async fn keep(
    gateway: &Gateway,
    app: &App,
    caller: &Authenticated,
    record: RetentionRecord,
    octets: Vec<u8>,
    items: Vec<Vec<u8>>,
    claim: Option<Arc<Claim>>,
) -> Result<Vec<u8>, Problem> {
    let failed = |error| Problem::from_retentions(&error);
    let text = serde_json::to_vec(&record).map_err(|_| Problem::panicked())?;
    let mut names = Vec::with_capacity(items.len());
    for item in items {
        names.push(gateway.evidence.put(item, record.retained_at).await.map_err(failed)?);
    }
    let file = gateway.retained.write(&app.id, &octets).await.map_err(failed)?;
    drop(octets);
    let new = Retained {
        id: &record.id,
        biz_no: &record.biz_no,
        uscc: record.uscc.as_deref(),
        record: &text,
        file,
        items: names,
        made_at: record.retained_at,
        keep_until: record.keep_until,
    };
    let new = gateway.store.new_retention(new).map_err(failed)?;
    let record_sm3 = hex::encode(Sm3::digest(&text));
    let entry = AuditEntry {
        action: "retention.create".to_owned(),
        actor: caller.actor(),
        at: record.retained_at,
        device: None,
        input_digest: Some(record.file.sm3.clone()),
        key: None,
        outcome: "ok".to_owned(),
        request_id: crate::request_id::current(),
        result_digest: Some(record_sm3.clone()),
        subject: Some(retention_subject(&record.id, record.uscc.as_deref())),
    };
    let response = RetentionResponse {
        audit_index: 0,
        audit_log: gateway.audit.record().origin.clone(),
        record_sm3,
        record,
        request_id: crate::request_id::current(),
    };
    let (body, index_at) = idempotency::unplaced(&response);
    let answer = idempotency::created(body, index_at);
    let keeping = claim.map(|claim| {
        let answer = idempotency::fitting(answer.clone(), &crate::request_id::current());
        Keeping { claim, answer }
    });
    let index = gateway.audit.append_retention(entry, new, keeping).await.map_err(|error| match error {
        store::StoreError::AlreadyExists { .. } => Problem::from_retentions(&error),
        error => Problem::record_unavailable(&error),
    })?;
    Ok(answer.placed(index).body)
}

/// Judges what is shown, by itself, and gathers what that rests on.
async fn examine(gateway: &Gateway, shown: Shown, at: OffsetDateTime) -> Result<Found, Problem> {
    let judging = gateway.clone();
    let work = move || {
        let Shown { octets, license, license_type, .. } = shown;
        let examined = judging.licenses.examine(license.as_deref().unwrap_or(&octets), license_type, at);
        let data = evidence(&judging, &examined, at);
        let (sm3, sha256) = (Sm3::digest(&octets).into(), hex::encode(HashAlgorithm::Sha256.digest(&octets)));
        Found { octets, examined, data, sm3, sha256 }
    };
    let found = gateway.judging.run(work).await?.await.map_err(|_| Problem::panicked())?;
    if let Some(certificate) = found.examined.certificate() {
        gateway.trust.met(certificate);
    }
    Ok(found)
}

/// What the license's certificate, and those of a file's signers, are judged by now.
fn evidence(gateway: &Gateway, examined: &Examined, at: OffsetDateTime) -> ValidationData {
    let mut data = ValidationData::default();
    if let Some(license) = examined.certificate() {
        data.extend(ValidationData::of(&gateway.licenses.trust(), license, &[], Usage::License, at));
    }
    let documents = gateway.documents.current();
    let signers: &[Certificate] = examined.file.as_ref().map_or(&[], |file| &file.signers);
    for signer in signers {
        data.extend(ValidationData::of(&documents, signer, &[], Usage::DocumentSigning, at));
    }
    data
}

/// Leaves a certificate out of what something was judged by, and what is said of it there.
fn leave_out(data: &mut ValidationData, certificate: &Certificate) {
    let name = hex::encode(Sm3::digest(certificate.der()));
    data.names.certificates.retain(|known| *known != name);
    data.items.retain(|item| item != certificate.der());
    data.names.missing.clear();
}

fn shown_by(role: Role, in_session: bool) -> ShownBy {
    ShownBy {
        opertype: role.opertype(),
        name: role.name().to_owned(),
        told_by: if in_session { "session" } else { "app" }.to_owned(),
    }
}

/// What of an answer is kept as it is told.
fn json<T: Serialize>(part: &T) -> Value {
    serde_json::to_value(part).unwrap_or_default() // texts, numbers and times
}
