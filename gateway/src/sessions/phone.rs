//! `/v1/phone/sessions…`: the phone's side. A phone has no credentials: the code that it scanned is signed by the site, the secret
//! that it makes for a session ties its answers together, and the license's key signs what its holder agrees to.

use std::time::Instant;

use axum::extract::State;
use axum::{Extension, Json};
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use formats::cms::{self, Content, Family, SignedDataPlan};
use formats::license::Face;
use formats::{Algorithm, Certificate, DEFAULT_SIGNER_ID, PublicKey, Verdict};
use serde::{Deserialize, Serialize};
use sm3::{Digest, Sm3};
use store::{KeyPurpose, ScanFlow, ScanSession, ScanState, ScanStep};
use time::{Duration, OffsetDateTime};
use utoipa::ToSchema;
use verify_front::{
    Consent, ConsentFault, Decision, LicenseAnswer, LicenseType, QrPayload, Role, SessionEvent,
    SessionRefusal, SessionTerms, StatusQuestion, Step,
};
use zeroize::Zeroizing;

use super::result::{Confirmed, Proof};
use super::steps::{self, Record};
use super::{SessionItem, steps::Advanced};
use crate::auth::bucket::Pace;
use crate::auth::{Peer, throttle};
use crate::body::{Faults, JsonBody, Segment};
use crate::compat;
use crate::problem::{Fault, Problem, ProblemDocument};
use crate::state::Gateway;

/// How often one source may come: phones of many people can share an address.
const PHONES: Pace = Pace { rate: 20.0, burst: 200.0 };
/// How many refusals of a session's phone are on record with the session: so many, and one an hour.
const REFUSALS: Pace = Pace { rate: 1.0 / 3600.0, burst: 20.0 };
/// How long what was confirmed waits for the app.
const TO_BE_FETCHED: Duration = Duration::minutes(5);
/// Octets of a phone's secret.
const SECRET: std::ops::RangeInclusive<usize> = 16..=64;

/// A code that was scanned.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct ScanRequest {
    /// What the QR code says, as it was read.
    qr: String,
    /// base64: 16 to 64 random octets, which the phone makes for this session and keeps.
    phone: String,
}

/// A holder's consent.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct ConsentRequest {
    /// base64: the phone's secret, as it scanned.
    phone: String,
    /// The license certificate, PEM or base64 of the DER.
    license: String,
    /// The text that the license's key signed.
    consent: String,
    /// base64: the SM2 signature over it, DER, identifier `1234567812345678`.
    signature: String,
    /// base64: the same key's signature over `to_sign`, where the scan answered one: the co-signature (协同签名) itself.
    digest_signature: Option<String>,
}

/// A holder's refusal.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct DenyRequest {
    /// base64: the phone's secret, as it scanned.
    phone: String,
}

/// What the phone shows its holder, and puts into the consent as it is.
#[derive(Serialize, ToSchema)]
pub(crate) struct ScannedResponse {
    /// The session.
    qrid: String,
    /// `scanned`, or `confirmed` when the same phone asks again.
    #[schema(value_type = String)]
    state: ScanState,
    /// Until when it can be answered.
    #[serde(with = "time::serde::rfc3339")]
    #[schema(value_type = String)]
    expires_at: OffsetDateTime,
    /// Who asks.
    app: String,
    /// Its name.
    app_name: String,
    /// `login`, `login_sign`, `sign` or `authorise`.
    #[schema(value_type = String)]
    flow: ScanFlow,
    /// The business item.
    item: String,
    /// Its name.
    item_name: String,
    /// The app's own number for the business.
    #[serde(skip_serializing_if = "Option::is_none")]
    biz_no: Option<String>,
    /// In which roles the holder may act.
    #[schema(value_type = Vec<String>)]
    roles: Vec<Role>,
    /// The digest that is to be signed, SM3, hexadecimal.
    #[serde(skip_serializing_if = "Option::is_none")]
    digest: Option<String>,
    /// What that is.
    #[serde(skip_serializing_if = "Option::is_none")]
    text: Option<String>,
    /// base64: what the license's key signs over that digest: the signed attributes of a SignedData of GB/T 35275, a SET OF in DER
    /// whose last 32 octets are the digest.
    #[serde(skip_serializing_if = "Option::is_none")]
    to_sign: Option<String>,
    /// The number of the stamp that the app can make of that signature, once. Who has the stamp or its check code sees the license.
    #[serde(skip_serializing_if = "Option::is_none")]
    stamp_id: Option<String>,
    /// The fields that the app wants to read.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    fields: Vec<String>,
    /// The session's, for the consent.
    nonce: String,
    /// The version of the consent that is taken, its `v`: 2.
    #[schema(example = 2)]
    consent_version: u8,
}

impl ScanRequest {
    /// What the QR code says.
    pub(crate) fn qr(&self) -> &str {
        &self.qr
    }

    pub(crate) fn check(&self) -> Result<[u8; 32], Problem> {
        let mut faults = Faults::default();
        let phone = secret(&mut faults, &self.phone);
        faults.into_result(phone)
    }
}

impl DenyRequest {
    pub(crate) fn check(&self) -> Result<[u8; 32], Problem> {
        let mut faults = Faults::default();
        let phone = secret(&mut faults, &self.phone);
        faults.into_result(phone)
    }
}

/// A consent, its form checked.
pub(crate) struct Brought {
    phone: [u8; 32],
    license: Certificate,
    signature: Vec<u8>,
    digest_signature: Option<Vec<u8>>,
}

impl ConsentRequest {
    pub(crate) fn check(&self) -> Result<Brought, Problem> {
        let mut faults = Faults::default();
        let phone = secret(&mut faults, &self.phone);
        let license = license_of(&mut faults, &self.license);
        let signature = faults.base64("signature", &self.signature);
        let digest_signature =
            self.digest_signature.as_ref().map(|text| faults.base64("digest_signature", text));
        if self.consent.len() > 16 * 1024 {
            faults.add("consent", "invalid_value", "must be 16 KiB at most");
        }
        let brought = (|| {
            let digest_signature = match digest_signature {
                Some(octets) => Some(octets?),
                None => None,
            };
            Some(Brought { phone: phone?, license: license?, signature: signature?, digest_signature })
        })();
        faults.into_result(brought)
    }
}

/// A license certificate, PEM or base64 of the DER.
pub(crate) fn license_of(faults: &mut Faults, text: &str) -> Option<Certificate> {
    let license = if text.trim_start().starts_with("-----BEGIN") {
        Certificate::from_pem(text).map_err(|error| error.to_string())
    } else {
        let der = STANDARD.decode(text).map_err(|error| error.to_string());
        der.and_then(|der| Certificate::from_der(&der).map_err(|error| error.to_string()))
    };
    faults.parse("license", "invalid_certificate", license)
}

fn secret(faults: &mut Faults, text: &str) -> Option<[u8; 32]> {
    let octets = Zeroizing::new(faults.base64("phone", text)?);
    if !SECRET.contains(&octets.len()) {
        faults.add("phone", "invalid_value", format!("must be 16 to 64 octets, not {}", octets.len()));
        return None;
    }
    Some(Sm3::digest(&octets[..]).into())
}

/// Who it is, as the audit log has it: nobody learns the secret or the person from it, and one phone's steps belong together.
fn actor(phone: &[u8; 32]) -> String {
    format!("phone:{}", &hex::encode(phone)[..16])
}

/// Refuses phones at an address from which too many come.
pub(crate) fn admit(gateway: &Gateway, peer: &Peer) -> Result<(), Problem> {
    if let Peer::Network(address) = peer
        && let Some(wait) =
            gateway.callers.phones.take(throttle::source(address.ip()), PHONES, Instant::now())
    {
        return Err(Problem::too_many_phones(wait));
    }
    Ok(())
}

/// Scan a session's QR code. The first phone has the session; it can ask again until the result was fetched.
#[utoipa::path(
    post, path = "/v1/phone/sessions:scan", tag = "phone", request_body = ScanRequest,
    responses(
        (status = 200, description = "what is asked", body = ScannedResponse),
        (status = 409, description = "`session_taken`: another phone was first", body = ProblemDocument, content_type = "application/problem+json"),
        (status = 410, description = "`session_expired`, `session_replaced`, `session_cancelled`, `session_rejected`", body = ProblemDocument, content_type = "application/problem+json"),
        (status = 422, description = "`qr_malformed`, `qr_signature_invalid`", body = ProblemDocument, content_type = "application/problem+json"),
        (status = "4XX", description = "refused; see `code`", body = ProblemDocument, content_type = "application/problem+json"),
    )
)]
pub(crate) async fn scan_session(
    State(gateway): State<Gateway>,
    Extension(peer): Extension<Peer>,
    JsonBody(request): JsonBody<ScanRequest>,
) -> Result<Json<ScannedResponse>, Problem> {
    admit(&gateway, &peer)?;
    let phone = request.check()?;
    let keys = gateway.system.keys();
    let fronts = keys.iter().filter(|key| key.purpose == KeyPurpose::Front);
    let copies = fronts.flat_map(|key| key.versions()).flat_map(|version| &version.copies);
    let public: Vec<PublicKey> = copies.map(|copy| copy.public_key.clone()).collect();
    let id = QrPayload::read(request.qr(), &public)?.qrid;
    let step = |session: &ScanSession| {
        let notice = steps::notice(session, ScanState::Scanned);
        Ok(ScanStep { phone: Some(phone), notice, ..ScanStep::to(ScanState::Scanned) })
    };
    let event = SessionEvent::Scan(phone);
    let advanced = answered(&gateway, &id, &phone, "session.scan", event, step, None).await?;
    let SessionTerms {
        app,
        app_name,
        flow,
        item,
        item_name,
        biz_no,
        roles,
        digest,
        text,
        fields,
        nonce,
        stamp,
        statuses: _,
        qrtype: _,
    } = steps::terms(advanced.session())?;
    let SessionItem { session: qrid, state, expires_at, .. } = advanced.item();
    let to_sign = match &digest {
        Some(digest) => Some(STANDARD.encode(to_sign(digest)?)),
        None => None,
    };
    Ok(Json(ScannedResponse {
        qrid,
        state,
        expires_at,
        app,
        app_name,
        flow,
        item,
        item_name,
        biz_no,
        roles,
        digest,
        text,
        to_sign,
        stamp_id: stamp.map(|stamp| stamp.id),
        fields,
        nonce,
        consent_version: Consent::VERSION,
    }))
}

/// Bring the holder's consent, signed by the license's key.
#[utoipa::path(
    post, path = "/v1/phone/sessions/{id}/confirm", tag = "phone", request_body = ConsentRequest,
    params(("id" = String, Path, description = "the session, `qrid` of its code")),
    responses(
        (status = 200, description = "it is confirmed; asked again with the same consent also once the app has fetched the result", body = SessionItem),
        (status = 403, description = "the license may not be used for this, or not by this person: see `code`", body = ProblemDocument, content_type = "application/problem+json"),
        (status = 409, description = "`session_taken`, `session_not_scanned`; `session_confirmed` by another consent", body = ProblemDocument, content_type = "application/problem+json"),
        (status = 410, description = "`session_expired`, `session_replaced`, `session_cancelled`, `session_rejected`", body = ProblemDocument, content_type = "application/problem+json"),
        (status = 422, description = "the consent is not to what was asked, or not signed by this license: see `code`", body = ProblemDocument, content_type = "application/problem+json"),
        (status = "4XX", description = "refused; see `code`", body = ProblemDocument, content_type = "application/problem+json"),
    )
)]
pub(crate) async fn confirm_session(
    State(gateway): State<Gateway>,
    Extension(peer): Extension<Peer>,
    Segment(id): Segment,
    JsonBody(request): JsonBody<ConsentRequest>,
) -> Result<Json<SessionItem>, Problem> {
    admit(&gateway, &peer)?;
    let brought = request.check()?;
    let (phone, event) = (brought.phone, SessionEvent::Confirm(brought.phone));
    let at = OffsetDateTime::now_utc();
    let refused = async |problem: Problem| refusal(&gateway, &id, &phone, "session.confirm", problem).await;
    let session = steps::found(&gateway, &id).await?;
    let result = match steps::permitted(&session, event, at) {
        Err(problem) => return Err(refused(problem).await),
        Ok(Step::Stay) => None,
        Ok(Step::To(_)) => match judged(&gateway, &session, &request.consent, &brought, at).await {
            Ok(confirmed) => Some(confirmed),
            Err(problem) => return Err(refused(problem).await),
        },
    };
    // In whole seconds, as it is kept: the answer says the same each time.
    let until = (at + TO_BE_FETCHED).replace_nanosecond(0).unwrap_or(at + TO_BE_FETCHED);
    let octets = result.as_ref().map(|confirmed| Zeroizing::new(confirmed.write()));
    let receipt = match &result {
        Some(_) => compat::receipt(&gateway, &session, &steps::terms(&session)?).await?,
        None => None,
    };
    let step = |session: &ScanSession| {
        let octets = octets.clone().ok_or_else(|| Problem::session_broken("state"))?;
        let notice = || steps::notice(session, ScanState::Confirmed);
        Ok(ScanStep {
            result: Some(octets),
            expires_at: Some(until),
            notice: receipt.clone().or_else(notice),
            ..ScanStep::to(ScanState::Confirmed)
        })
    };
    let proof = result.as_ref().map(|confirmed| {
        let digest = octets.as_ref().map(|octets| hex::encode(Sm3::digest(&octets[..])));
        (confirmed.uscc().to_owned(), hex::encode(Sm3::digest(request.consent.as_bytes())), digest)
    });
    let advanced = answered(&gateway, &id, &phone, "session.confirm", event, step, proof).await?;
    if advanced.audit_index.is_none() {
        // It was confirmed before, by this phone: with this consent, or there are two of them.
        let Some(result) = advanced.session().result.as_deref() else {
            return Err(refused(SessionRefusal::Consumed.into()).await); // so long ago that nobody knows by which
        };
        let confirmed = Confirmed::read(result).ok_or_else(|| Problem::session_broken("result"))?;
        if !confirmed.is_of(&request.consent, &brought.license) {
            return Err(refused(SessionRefusal::Confirmed.into()).await);
        }
    }
    Ok(Json(advanced.item()))
}

/// Say that the holder refuses.
#[utoipa::path(
    post, path = "/v1/phone/sessions/{id}/deny", tag = "phone", request_body = DenyRequest,
    params(("id" = String, Path, description = "the session, `qrid` of its code")),
    responses(
        (status = 200, description = "it is rejected", body = SessionItem),
        (status = "4XX", description = "refused; see `code`", body = ProblemDocument, content_type = "application/problem+json"),
    )
)]
pub(crate) async fn deny_session(
    State(gateway): State<Gateway>,
    Extension(peer): Extension<Peer>,
    Segment(id): Segment,
    JsonBody(request): JsonBody<DenyRequest>,
) -> Result<Json<SessionItem>, Problem> {
    admit(&gateway, &peer)?;
    let phone = request.check()?;
    let step = |session: &ScanSession| {
        let notice = steps::notice(session, ScanState::Rejected);
        Ok(ScanStep { notice, ..ScanStep::to(ScanState::Rejected) })
    };
    let event = SessionEvent::Deny(phone);
    Ok(Json(answered(&gateway, &id, &phone, "session.reject", event, step, None).await?.item()))
}

/// Takes a session further for a phone; a refusal is on record with the session.
async fn answered(
    gateway: &Gateway,
    id: &str,
    phone: &[u8; 32],
    action: &'static str,
    event: SessionEvent,
    step: impl Fn(&ScanSession) -> Result<ScanStep, Problem>,
    proof: Option<(String, String, Option<String>)>,
) -> Result<Advanced, Problem> {
    let record = || {
        let record = Record::of(actor(phone), action, id);
        match &proof {
            None => record,
            Some((uscc, signed, result)) => Record {
                subject: format!("{id} {uscc}"),
                input_digest: Some(signed.clone()),
                result_digest: result.clone(),
                ..record
            },
        }
    };
    let find = || steps::found(gateway, id);
    match steps::advance(gateway, find, event, step, record, || None).await {
        Ok(advanced) => Ok(advanced),
        Err(problem) => Err(refusal(gateway, id, phone, action, problem).await),
    }
}

/// Puts a refusal on record with the session, as often as [`REFUSALS`] says, where the phone is the one that scanned it. Anybody
/// can make secrets up and ask: what others are refused only counts, with all refusals.
async fn refusal(
    gateway: &Gateway,
    id: &str,
    phone: &[u8; 32],
    action: &'static str,
    problem: Problem,
) -> Problem {
    // What a register elsewhere did not say is on record, as of every license that is judged.
    let is_of_register = problem.code() == Problem::status_unavailable().code();
    if problem.is_unavailable() && !is_of_register || problem.code() == Problem::unknown_session().code() {
        return problem;
    }
    let progress = match gateway.store.scan_progress(id).await {
        Ok(progress) => progress,
        Err(error) => return Problem::from_sessions(&error),
    };
    if progress.phone != Some(*phone)
        || gateway.callers.phone_refusals.take(id.to_owned(), REFUSALS, Instant::now()).is_some()
    {
        return problem;
    }
    let record = Record::of(actor(phone), action, &format!("{id} for {} - -", progress.app));
    let entry = record.entry(problem.code(), OffsetDateTime::now_utc());
    match gateway.audit.append(entry).await {
        Ok(_) => problem,
        Err(error) => Problem::record_unavailable(&error),
    }
}

/// Judges a consent: it is to what was asked, by a license that may be used for it now, in a role that may.
async fn judged(
    gateway: &Gateway,
    session: &ScanSession,
    text: &str,
    brought: &Brought,
    at: OffsetDateTime,
) -> Result<Confirmed, Problem> {
    let terms = steps::terms(session)?;
    let consent = Consent::read(text, &session.id, &terms, at)?;
    // Before the register is asked: only who has the license's key learns how its holder stands.
    let key = brought.license.public_key().map_err(|_| Problem::consent_signature_invalid())?;
    let signed =
        key.verify_message(Algorithm::Sm2Sm3, DEFAULT_SIGNER_ID, text.as_bytes(), &brought.signature);
    signed.map_err(|_| Problem::consent_signature_invalid())?;
    let digest_cms = co_signed(&terms, brought)?;
    gateway.trust.met(&brought.license);
    let (answer, decisions) = standing(gateway, &terms, &consent, &brought.license, at).await?;
    let proof = Proof {
        consent: text,
        signature: &brought.signature,
        digest_cms: digest_cms.as_deref(),
        license: &brought.license,
    };
    Confirmed::of(consent, proof, &answer, &decisions, at).ok_or_else(Problem::license_unknown)
}

/// Whether a license may be used now for what its holder agreed to, and by what that was decided.
pub(super) async fn standing(
    gateway: &Gateway,
    terms: &SessionTerms,
    consent: &Consent,
    license: &Certificate,
    at: OffsetDateTime,
) -> Result<(LicenseAnswer, Vec<Decision>), Problem> {
    let examined = gateway.licenses.examine(license.der(), LicenseType::Certificate, at);
    let answer = gateway.licenses.complete(examined, &StatusQuestion::now(at)).await?;
    gateway.metrics.judged("license", answer.judgement.verdict);
    let face = accepted(&answer, &terms.statuses)?;
    if consent.uscc != face.uscc {
        return Err(Problem::from(ConsentFault::Enterprise));
    }
    consent.permits(terms, face)?;
    let decisions: Vec<Decision> =
        consent.questions(at).map(|question| gateway.licenses.decide(&question, &answer)).collect();
    if let Some(reason) = decisions.iter().find_map(|decision| decision.reason) {
        return Err(Problem::use_not_permitted(reason));
    }
    Ok((answer, decisions))
}

/// A session's digest.
fn digest_of(digest: &str) -> Result<[u8; 32], Problem> {
    let octets = hex::decode(digest).ok().and_then(|octets| octets.try_into().ok());
    octets.ok_or_else(|| Problem::session_broken("digest"))
}

/// What a license's key signs over a session's digest.
fn to_sign(digest: &str) -> Result<Vec<u8>, Problem> {
    cms::attributes_over(&digest_of(digest)?).map_err(|_| Problem::session_broken("digest"))
}

/// The license key's signature over the digest that is to be signed, as others read it; none where nothing is.
fn co_signed(terms: &SessionTerms, brought: &Brought) -> Result<Option<Vec<u8>>, Problem> {
    let fault = |code, detail| Err(Problem::faults(vec![Fault::new("digest_signature", code, detail)]));
    let (digest, signature) = match (&terms.digest, &brought.digest_signature) {
        (None, None) => return Ok(None),
        (Some(_), None) => return fault("missing_field", "is required where a digest is to be signed"),
        (None, Some(_)) => return fault("unexpected_field", "is only where a digest is to be signed"),
        (Some(digest), Some(signature)) => (digest_of(digest)?, signature),
    };
    let plan = SignedDataPlan {
        family: Family::Gbt35275,
        algorithm: Algorithm::Sm2Sm3,
        content: Content::Digest(digest),
        detached: true,
        chain: vec![brought.license.clone()],
        signing_time: None,
        signer_id: DEFAULT_SIGNER_ID.to_vec(),
    };
    let pending = cms::prepare(plan).map_err(|_| Problem::license_not_for_signing())?;
    pending.finish(signature).map(Some).map_err(|_| Problem::digest_signature_invalid())
}

/// What the license says, if it is good now and the app takes its holder's standing.
pub(crate) fn accepted<'a>(answer: &'a LicenseAnswer, statuses: &[i64]) -> Result<&'a Face, Problem> {
    let judgement = &answer.judgement;
    if judgement.verdict != Verdict::Valid {
        let codes = judgement.findings.iter().filter(|finding| finding.effect != Verdict::Valid);
        return Err(Problem::license_not_accepted(codes.map(|finding| finding.code)));
    }
    let (Some(face), Some(status)) = (&answer.face, &answer.status) else {
        return Err(Problem::license_unknown());
    };
    if judgement.has("license_not_current") {
        return Err(Problem::license_not_current());
    }
    if !statuses.contains(&status.code) {
        return Err(Problem::status_not_permitted(status.code, status.text));
    }
    Ok(face)
}
