//! `/v1/licenses…`: judging a license, and what the library says of its holder.

mod asked;

use axum::Json;
use axum::extract::State;
use axum::response::{IntoResponse, Response};
use formats::uscc::Uscc;
use serde::{Deserialize, Serialize};
use serde_json::Value;
use signing::{Judged, validation_report};
use store::{AuditEntry, leaf_hash, root_of};
use time::OffsetDateTime;
use tokio::task::JoinSet;
use tracing::Instrument as _;
use utoipa::ToSchema;
use verify_front::{DecisionQuestion, Examined, FieldGrant, LicenseAnswer, LicenseType, StatusQuestion};

use asked::AuthorisationRequest;

use crate::auth::{Authenticated, Scope};
use crate::batch::{self, Answers, Batch, Item};
use crate::body::{self, Faults, JsonBody, Object, Segment};
use crate::problem::{Fault, Problem, ProblemDocument};
use crate::rendition::{Form, Rendition};
use crate::state::Gateway;

/// A license to be judged.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct LicenseRequest {
    /// The license: PEM text, or base64 of the DER or of the file.
    license: String,
    /// `certificate` (default); `ofd` or `pdf` for a license file, the public edition (公示版).
    #[serde(rename = "type")]
    kind: Option<String>,
    /// RFC 3339: the time it must have been good at. Default now.
    at: Option<String>,
    /// Ask for a `report` in the structure of ETSI TS 119 102-2. Default false.
    report: Option<bool>,
    /// RFC 3339: of which time the holder's status is wanted, not in the future. Default now.
    status_at: Option<String>,
    /// How many seconds old the status may be at most, 0 to 315360000; 0 has a register elsewhere asked anew. Default as
    /// the site says.
    status_max_age_s: Option<u64>,
    /// Ask for a `decision`: what the license is used for, `login`, `show`, `sign` or `file`.
    #[serde(rename = "use")]
    license_use: Option<String>,
    /// Who acts: `legal_representative`, `administrator` or `agent`; with `use`.
    role: Option<String>,
    /// The code of the business item (业务事项) it is about; with `use`.
    item: Option<String>,
    /// By what an agent acts; with `use`.
    #[schema(value_type = Option<AuthorisationRequest>)]
    authorisation: Option<Object<AuthorisationRequest>>,
}

/// A verdict on a license.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct LicenseResponse {
    /// `{verdict, findings:[{code, detail, message}], face, status, status_origin, license}`; for a file also `file`,
    /// with `use` also `decision`
    #[serde(flatten)]
    #[schema(value_type = Object)]
    answer: Reported,
    /// The request's id.
    request_id: String,
}

/// The answer on one license.
#[derive(Debug, Serialize)]
struct Reported {
    #[serde(flatten)]
    answer: LicenseAnswer,
    #[serde(skip_serializing_if = "Option::is_none")]
    report: Option<Value>,
}

/// Judge an electronic business license: form, issuer, validity, revocation, code, holder's standing; of a license file
/// also its seal and whether its page, its data and its certificate say the same. With `use` it is decided whether who
/// acts may use it for that.
#[utoipa::path(
    post, path = "/v1/licenses:verify", tag = "licenses", request_body = LicenseRequest,
    params(("accept-language" = Option<String>, Header, description = "language of a report: `zh` (default) or `en`")),
    responses(
        (status = 200, description = "judged: `verdict` is valid, invalid or indeterminate. With `Accept: application/pdf` or `text/plain` the report for people, the verdict in the header `x-verdict`",
            content((LicenseResponse = "application/json"), (String = "application/pdf"), (String = "text/plain"))),
        (status = "4XX", description = "could not be judged; see `code`", body = ProblemDocument, content_type = "application/problem+json"),
    )
)]
pub(crate) async fn post_license_verify(
    caller: Authenticated,
    State(gateway): State<Gateway>,
    rendition: Rendition,
    JsonBody(request): JsonBody<LicenseRequest>,
) -> Result<Response, Problem> {
    caller.with(Scope::Licenses)?;
    let now = OffsetDateTime::now_utc();
    let License { octets, kind, at, reported, status, decision } = request.check(now)?;
    drop(request); // its text is a third larger than the octets
    if decision.is_some() && rendition.form != Form::Json {
        let detail =
            "is answered as JSON only: the report for people says what the license is, not who may use it";
        return Err(Problem::faults(vec![Fault::new("use", "not_applicable", detail)]));
    }
    let judging = gateway.clone();
    let (octets, examined) = match kind {
        LicenseType::Certificate => {
            let examined = examine(&gateway, &octets, kind, at);
            (octets, examined)
        }
        LicenseType::Ofd | LicenseType::Pdf => {
            let examine = move || {
                let examined = examine(&judging, &octets, kind, at);
                (octets, examined)
            };
            gateway.judging.run(examine).await?.await.map_err(|_| Problem::panicked())?
        }
    };
    let answer = looked_up(&gateway, examined, &status, decision.as_ref()).await?;
    if let Some((outcome, subject)) = on_record(&answer) {
        record(&gateway, &caller, "license.verify", outcome, subject).await?;
    }
    gateway.metrics.judged("license", answer.judgement.verdict);
    gateway.tally.verified(&caller.actor(), "license", answer.judgement.verdict);
    let licenses = gateway.clone();
    if rendition.form != Form::Json {
        let account = move || licenses.licenses.account(&octets, &answer, at);
        return rendition.report(&gateway, now, account).await;
    }
    let answer = if reported {
        let reporting = gateway.judging.run(move || add_report(&licenses, answer, &octets, at, now)).await?;
        reporting.await.map_err(|_| Problem::panicked())?
    } else {
        Reported { answer, report: None }
    };
    let response = LicenseResponse { answer, request_id: crate::request_id::current() };
    Ok(Json(serde_json::to_value(response).unwrap_or_default()).into_response())
}

/// A license to be judged, read.
pub(crate) struct License {
    pub(crate) octets: Vec<u8>,
    pub(crate) kind: LicenseType,
    pub(crate) at: OffsetDateTime,
    /// A report is asked for.
    reported: bool,
    status: StatusQuestion,
    decision: Option<DecisionQuestion>,
}

/// Adds what register and library know, and decides where that is asked.
async fn looked_up(
    gateway: &Gateway,
    examined: Examined,
    status: &StatusQuestion,
    decision: Option<&DecisionQuestion>,
) -> Result<LicenseAnswer, Problem> {
    let mut answer = gateway.licenses.complete(examined, status).await?;
    answer.decision = decision.map(|question| gateway.licenses.decide(question, &answer));
    Ok(answer)
}

/// What goes on record of an answer that the register has a part in, or that decides something: the outcome, and whose
/// license it was with what was decided.
fn on_record(answer: &LicenseAnswer) -> Option<(&'static str, String)> {
    const UNDECIDED: [&str; 4] = ["status_unavailable", "status_stale", "status_unknown", "status_malformed"];
    let mut found = answer.judgement.findings.iter().map(|finding| finding.code);
    let undecided = found.find(|code| UNDECIDED.contains(code));
    if answer.status.is_none() && answer.decision.is_none() && undecided.is_none() {
        return None;
    }
    let mut subject = answer.face.as_ref().map_or_else(|| "-".to_owned(), |face| face.uscc.clone());
    if let Some(decision) = &answer.decision {
        let word = |value: Value| value.as_str().unwrap_or_default().to_owned();
        let (license_use, role) = (serde_json::json!(decision.license_use), serde_json::json!(decision.role));
        let parts = [
            word(license_use),
            word(role),
            decision.item.as_deref().unwrap_or("-").to_owned(),
            decision.authorisation.as_deref().unwrap_or("-").to_owned(),
            decision.reason.unwrap_or("permitted").to_owned(),
            decision.table.clone(),
        ];
        subject = [subject].into_iter().chain(parts).collect::<Vec<_>>().join(" ");
    }
    Some((undecided.unwrap_or("ok"), subject))
}

/// Adds the report on a license: its authority's signature over it is the signature it speaks of.
fn add_report(
    gateway: &Gateway,
    answer: LicenseAnswer,
    octets: &[u8],
    at: OffsetDateTime,
    judged_at: OffsetDateTime,
) -> Reported {
    let report = validation_report(&Judged {
        name: None,
        signature: octets,
        input: None,
        at,
        judged_at,
        judgement: &answer.judgement,
        signers: &[],
        paths: &[gateway.licenses.path(&answer, at)],
    });
    Reported { answer, report: Some(report) }
}

impl LicenseRequest {
    pub(crate) fn check(&self, now: OffsetDateTime) -> Result<License, Problem> {
        let mut faults = Faults::default();
        let octets = license_octets(&mut faults, &self.license);
        let kinds =
            [("certificate", LicenseType::Certificate), ("ofd", LicenseType::Ofd), ("pdf", LicenseType::Pdf)];
        let kind = faults.word("type", self.kind.as_deref(), &kinds, LicenseType::Certificate);
        let at = faults.time("at", self.at.as_deref(), now);
        let reported = self.report.unwrap_or(false);
        let status = asked::status(self, now, &mut faults);
        let decision = asked::decision(self, now, &mut faults);
        let license = (|| {
            let (status, decision) = (status?, decision?);
            Some(License { octets: octets?, kind: kind?, at: at?, reported, status, decision })
        })();
        faults.into_result(license)
    }
}

/// Up to 1,000 licenses.
#[derive(ToSchema)]
#[expect(dead_code, reason = "describes a body that is read item by item")]
pub(crate) struct LicenseBatch {
    items: Vec<LicenseRequest>,
}

/// Judge up to 1,000 electronic business licenses.
#[utoipa::path(
    post, path = "/v1/licenses:verify-batch", tag = "licenses", request_body = LicenseBatch,
    responses(
        (status = 200, description = "`{items, request_id}`; each item as from `/v1/licenses:verify`, or `{problem}` if it cannot be judged, in order", body = Object),
        (status = "4XX", description = "the batch cannot be read; see `code`", body = ProblemDocument, content_type = "application/problem+json"),
    )
)]
pub(crate) async fn post_license_verify_batch(
    caller: Authenticated,
    State(gateway): State<Gateway>,
    batch: Batch,
) -> Result<Response, Problem> {
    caller.with(Scope::Licenses)?;
    let (actor, now) = (caller.actor(), OffsetDateTime::now_utc());
    let mut parts = Vec::new();
    for chunk in batch::chunks(batch.items) {
        let judging = gateway.clone();
        let examine = move || -> Vec<Result<(Examined, License), Problem>> {
            let item = |item: &Item| {
                let request: LicenseRequest = body::parse(item.get().as_bytes())?;
                let license = request.check(now)?;
                Ok((examine(&judging, &license.octets, license.kind, license.at), license))
            };
            chunk.iter().map(item).collect()
        };
        parts.push(gateway.judging.run(examine).await?);
    }
    let request_id = crate::request_id::current();
    let mut answers = Answers::default();
    let mut looked_up = Vec::new();
    for part in parts {
        for answer in completed(&gateway, part.await.map_err(|_| Problem::panicked())?, now).await? {
            if let Ok(Reported { answer, .. }) = &answer {
                gateway.metrics.judged("license", answer.judgement.verdict);
                gateway.tally.verified(&actor, "license", answer.judgement.verdict);
                looked_up.extend(on_record(answer).map(|(_, subject)| subject));
            }
            answers.push(answer, &request_id);
        }
    }
    if !looked_up.is_empty() {
        record_reads(&gateway, &caller, "license.verify-batch", &looked_up).await?;
    }
    drop(batch.place);
    Ok(batch::answer(&[answers]))
}

/// The answers on a part of a batch, in its order. All of the part are looked up at the same time: a register that is slow
/// is waited for once and not by each of them.
async fn completed(
    gateway: &Gateway,
    part: Vec<Result<(Examined, License), Problem>>,
    now: OffsetDateTime,
) -> Result<Vec<Result<Reported, Problem>>, Problem> {
    let mut answers: Vec<Option<Result<Reported, Problem>>> = part.iter().map(|_| None).collect();
    let mut under_way = JoinSet::new(); // what is not waited for any more ends
    for (place, examined) in part.into_iter().enumerate() {
        match examined {
            Ok((examined, license)) => {
                let gateway = gateway.clone();
                let answer = async move { (place, complete(&gateway, examined, license, now).await) };
                under_way.spawn(crate::request_id::carried(answer.in_current_span()));
            }
            Err(problem) => answers[place] = Some(Err(problem)),
        }
    }
    while let Some(done) = under_way.join_next().await {
        let (place, answer) = done.map_err(|_| Problem::panicked())?;
        answers[place] = Some(answer);
    }
    Ok(answers.into_iter().flatten().collect())
}

/// Adds what register and library know, and the report where one is asked for.
async fn complete(
    gateway: &Gateway,
    examined: Examined,
    license: License,
    now: OffsetDateTime,
) -> Result<Reported, Problem> {
    let answer = looked_up(gateway, examined, &license.status, license.decision.as_ref()).await?;
    if !license.reported {
        return Ok(Reported { answer, report: None });
    }
    let judging = gateway.clone();
    let work = move || add_report(&judging, answer, &license.octets, license.at, now);
    gateway.judging.run(work).await?.await.map_err(|_| Problem::panicked())
}

/// What a license proves by itself; whether it is revoked may be asked about later.
fn examine(gateway: &Gateway, license: &[u8], kind: LicenseType, at: OffsetDateTime) -> Examined {
    let report = gateway.licenses.examine(license, kind, at);
    if let Some(certificate) = report.certificate() {
        gateway.trust.met(certificate);
    }
    report
}

/// DER from PEM text or base64. What is in a PEM armour that cannot be opened is judged as it stands: a
/// damaged license is an invalid one, not a bad request.
pub(crate) fn license_octets(faults: &mut Faults, text: &str) -> Option<Vec<u8>> {
    if !text.trim_start().starts_with("-----BEGIN") {
        return faults.base64("license", text);
    }
    Some(match formats::Certificate::from_pem(text) {
        Ok(certificate) => certificate.der().to_vec(),
        Err(_) => text.as_bytes().to_vec(),
    })
}

/// The face of an entity's license, as far as the app may see it.
#[utoipa::path(
    get, path = "/v1/licenses/{uscc}/face", tag = "licenses",
    params(("uscc" = String, Path, description = "unified social credit code, 18 characters")),
    responses(
        (status = 200, description = "granted fields only; persons' names masked unless granted in full", body = Object),
        (status = 404, description = "`license_unknown`", body = ProblemDocument, content_type = "application/problem+json"),
        (status = 422, description = "`uscc_invalid`", body = ProblemDocument, content_type = "application/problem+json"),
    )
)]
pub(crate) async fn get_face(
    caller: Authenticated,
    State(gateway): State<Gateway>,
    Segment(uscc): Segment,
) -> Result<Json<Value>, Problem> {
    let app = caller.with(Scope::Licenses)?;
    let uscc = read_uscc(&gateway, &uscc)?;
    let grant = FieldGrant::new(app.fields.iter().cloned());
    let answer = gateway.licenses.face(&uscc, &grant).await?;
    record_read(&gateway, &caller, "license.face", uscc.as_str(), answer.is_some()).await?;
    let answer = answer.ok_or_else(Problem::license_unknown)?;
    Ok(Json(serde_json::to_value(answer).unwrap_or_default()))
}

/// An entity's registration status and flags.
#[utoipa::path(
    get, path = "/v1/licenses/{uscc}/status", tag = "licenses",
    params(("uscc" = String, Path, description = "unified social credit code, 18 characters")),
    responses(
        (status = 200, description = "`{uscc, code, text, flags, as_of}`", body = Object),
        (status = 404, description = "`license_unknown`", body = ProblemDocument, content_type = "application/problem+json"),
        (status = 422, description = "`uscc_invalid`", body = ProblemDocument, content_type = "application/problem+json"),
    )
)]
pub(crate) async fn get_status(
    caller: Authenticated,
    State(gateway): State<Gateway>,
    Segment(uscc): Segment,
) -> Result<Json<Value>, Problem> {
    caller.with(Scope::Licenses)?;
    let uscc = read_uscc(&gateway, &uscc)?;
    let answer = gateway.licenses.status(&uscc).await?;
    record_read(&gateway, &caller, "license.status", uscc.as_str(), answer.is_some()).await?;
    let answer = answer.ok_or_else(Problem::license_unknown)?;
    let mut value = serde_json::to_value(answer).unwrap_or_default();
    value["uscc"] = uscc.to_string().into();
    Ok(Json(value))
}

pub(crate) fn read_uscc(gateway: &Gateway, text: &str) -> Result<Uscc, Problem> {
    let sandbox = gateway.config.site.sandbox;
    let parsed = Uscc::parse_sandbox(text);
    let fault = match parsed {
        Ok(uscc) if sandbox || !uscc.is_test() => return Ok(uscc),
        Ok(_) => {
            Fault::new("uscc", "test_identity_in_production", "test enterprises exist in a sandbox only")
        }
        Err(error) => Fault::new("uscc", "uscc_invalid", error.to_string()),
    };
    Err(Problem::faults(vec![fault]))
}

/// Looks of one batch are on record in one entry: how many, and the root over their codes in the order of the batch, each
/// with what was decided about it, by which whoever keeps request and answer can show what was looked at.
async fn record_reads(
    gateway: &Gateway,
    caller: &Authenticated,
    action: &str,
    subjects: &[String],
) -> Result<(), Problem> {
    let (actor, caller) = (caller.actor(), caller.caller());
    let leaves: Vec<_> = subjects.iter().map(|subject| leaf_hash(subject.as_bytes())).collect();
    let entry = AuditEntry {
        action: action.to_owned(),
        actor,
        at: caller.at,
        device: None,
        input_digest: Some(hex::encode(root_of(&leaves))),
        key: None,
        outcome: "ok".to_owned(),
        request_id: caller.request_id,
        result_digest: None,
        subject: Some(format!("{} licenses", subjects.len())),
    };
    gateway.audit.append(entry).await.map_err(|error| Problem::record_unavailable(&error))?;
    Ok(())
}

/// A look into the library is on record before its answer leaves.
pub(crate) async fn record_read(
    gateway: &Gateway,
    caller: &Authenticated,
    action: &str,
    uscc: &str,
    found: bool,
) -> Result<(), Problem> {
    let outcome = if found { "ok" } else { "license_unknown" };
    record(gateway, caller, action, outcome, uscc.to_owned()).await
}

async fn record(
    gateway: &Gateway,
    caller: &Authenticated,
    action: &str,
    outcome: &str,
    subject: String,
) -> Result<(), Problem> {
    let (actor, caller) = (caller.actor(), caller.caller());
    let entry = AuditEntry {
        action: action.to_owned(),
        actor,
        at: caller.at,
        device: None,
        input_digest: None,
        key: None,
        outcome: outcome.to_owned(),
        request_id: caller.request_id,
        result_digest: None,
        subject: Some(subject),
    };
    gateway.audit.append(entry).await.map_err(|error| Problem::record_unavailable(&error))?;
    Ok(())
}
