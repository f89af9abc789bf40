//! `POST /v1/stamps`: documents signed inside and entered into the register of stamps, behind the check page.

mod again;

use std::sync::Arc;

use axum::Extension;
use axum::extract::State;
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Response};
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use formats::list::List;
use formats::{Certificate, FormatError};
use serde::Serialize;
use signing::{
    Asker, Caller, InputKind, KeepStamp, Level, LevelDesk, OrderFacts, SignatureReceipt, SignedForm,
    SigningError, StampOrder, StampReceipt, StampSubject,
};
use store::{
    App, Claim, KeptAnswer, StampMandate, StampSignature, StampTemplateUse, StampedDocument, StoreError,
    UnplacedAnswer,
};
use time::OffsetDateTime;
use time::macros::format_description;
use tracing::Instrument;
use utoipa::ToSchema;

use super::document::{DocumentBody, DocumentPlace};
use super::form::StampRequest;
use super::list::MadeList;
use super::signatures::{self, Common, Planned};
use super::signer::Signer;
use crate::auth::{Authenticated, Scope};
use crate::idempotency::{self, Held, Kept, ToldAgain};
use crate::problem::{Problem, ProblemDocument};
use crate::state::Gateway;
use crate::templates::Templates;
use crate::timestamps;

/// Letters and digits that are not taken for one another (Crockford's base 32).
const ALPHABET: &[u8; 32] = b"0123456789ABCDEFGHJKMNPQRSTVWXYZ";
/// Characters of a check code: 100 bits, which nobody guesses.
pub(crate) const CODE_LENGTH: usize = 20;
/// Characters of a number behind its day.
const NUMBER_LENGTH: usize = 10;

/// A stamp that verified, is on record and in the register.
#[derive(Serialize, ToSchema)]
pub(crate) struct StampResponse {
    /// Where it stands in the audit log. First, so that the rest can be written before it is known.
    audit_index: u64,
    /// Its number.
    #[schema(example = "20261122-7QX2M0K4T9")]
    stamp_id: String,
    /// What `/verify/{code}` takes. Whoever is shown it may see what the page shows.
    #[schema(example = "7QX2M-0K4T9-B3NZD-51HVA")]
    check_code: String,
    /// base64: the stamped document.
    #[serde(skip_serializing_if = "Option::is_none")]
    document: Option<String>,
    /// SM3 of the stamped document, hexadecimal.
    #[serde(skip_serializing_if = "Option::is_none")]
    document_sm3: Option<String>,
    /// Where the signature is: the name of its field in a PDF, its part in an OFD package.
    #[serde(skip_serializing_if = "Option::is_none")]
    field: Option<String>,
    /// base64: CMS SignedData over the digest, detached; of a digest, and of a list over its head.
    #[serde(skip_serializing_if = "Option::is_none")]
    signature: Option<String>,
    /// SM3 of that CMS, hexadecimal.
    #[serde(skip_serializing_if = "Option::is_none")]
    signature_sm3: Option<String>,
    /// `B-B`, `B-T`, `B-LT` or `B-LTA`; of several signatures the first one's, like `field`, `key`, `algorithm`, `device` and
    /// `certificate`.
    level: &'static str,
    /// As ordered.
    #[schema(value_type = String)]
    key: config::KeyId,
    /// How it signed.
    #[schema(value_type = String)]
    algorithm: formats::Algorithm,
    /// The template that said what it looks like and where it goes.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<String>)]
    template: Option<config::TemplateId>,
    /// Which of its versions.
    #[serde(skip_serializing_if = "Option::is_none")]
    template_version: Option<u32>,
    /// The device that signed.
    device: String,
    /// The key's certificate, PEM.
    certificate: String,
    /// The list, with a proof for each of its items.
    #[serde(skip_serializing_if = "Option::is_none")]
    list: Option<MadeList>,
    /// Each of several signatures, in order.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    signatures: Vec<SignatureItem>,
    /// Which log that is, where several gateways share a database.
    audit_log: String,
    /// The request's id.
    request_id: String,
}

/// One of several signatures of a stamp.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct SignatureItem {
    /// Where it is: the name of its field in a PDF, its part in an OFD package.
    field: String,
    /// `B-B`, `B-T`, `B-LT` or `B-LTA`.
    level: String,
    /// By which key.
    key: String,
    /// How it signed; in the answer to the order.
    #[serde(skip_serializing_if = "Option::is_none")]
    algorithm: Option<&'static str>,
    /// The device that signed; in the answer to the order.
    #[serde(skip_serializing_if = "Option::is_none")]
    device: Option<String>,
    /// The signer's certificate, PEM.
    certificate: String,
    /// Under which mandate, if it was made in an enterprise's name.
    #[serde(skip_serializing_if = "Option::is_none")]
    mandate: Option<StampMandateItem>,
    /// Where its own entry stands in the audit log.
    audit_index: u64,
}

impl SignatureItem {
    fn made(made: &SignatureReceipt) -> Self {
        Self {
            field: made.field.clone(),
            level: made.level.name().to_owned(),
            key: made.key.to_string(),
            algorithm: Some(made.algorithm.name()),
            device: Some(made.device.to_string()),
            certificate: made.certificate.to_pem(),
            mandate: made.mandate.clone().map(StampMandateItem::new),
            audit_index: made.audit_index,
        }
    }

    /// As the register of stamps has it.
    pub(super) fn registered(signature: StampSignature) -> Result<Self, FormatError> {
        Ok(Self {
            certificate: Certificate::from_der(&signature.certificate)?.to_pem(),
            field: signature.field,
            level: signature.level,
            key: signature.key.to_string(),
            algorithm: None,
            device: None,
            mandate: signature.mandate.map(StampMandateItem::new),
            audit_index: signature.audit_index,
        })
    }
}

/// In whose name a stamp was made, and by what right.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct StampMandateItem {
    /// The mandate's number.
    number: String,
    /// The enterprise's name.
    name: String,
    /// Its unified social credit code.
    uscc: String,
    /// What for.
    purpose: String,
}

impl StampMandateItem {
    pub(super) fn new(mandate: StampMandate) -> Self {
        let StampMandate { enterprise, name, number, purpose } = mandate;
        Self { number, name, uscc: enterprise, purpose }
    }
}

/// Stamp a PDF or an OFD package: sign it with a service key or under an enterprise's mandate, or with several in order, each with a registered seal or
/// without, visibly or not, as a further signature in the document; or stamp a digest, or with one signature a list of them.
#[utoipa::path(
    post, path = "/v1/stamps", tag = "stamps", request_body = StampRequest,
    responses(
        (status = 201, description = "signed, verified, recorded and in the register", body = StampResponse),
        (status = "4XX", description = "refused; see `code`", body = ProblemDocument, content_type = "application/problem+json"),
        (status = 503, description = "no device could do it now or in time; see Retry-After", body = ProblemDocument, content_type = "application/problem+json"),
    )
)]
pub(crate) async fn post_stamp(
    caller: Authenticated,
    held: Option<Extension<Held>>,
    State(gateway): State<Gateway>,
    DocumentBody { request, place }: DocumentBody<StampRequest>,
) -> Result<Response, Problem> {
    let claim = held.map(|Extension(Held(claim))| claim);
    let has_claim = claim.is_some();
    let (KeptAnswer { body, .. }, is_new) = make(&gateway, &caller, request, place, claim).await?;
    let json = [(header::CONTENT_TYPE, "application/json")];
    let mut response = (StatusCode::CREATED, json, body).into_response();
    if has_claim && is_new {
        response.extensions_mut().insert(Kept);
    } else if has_claim {
        response.extensions_mut().insert(ToldAgain);
    }
    Ok(response)
}

/// Makes a stamp of an order that was read, with its document and that document's place; answers as `POST /v1/stamps`
/// does, and whether the stamp is new. Under a claim the answer is kept in the transaction that puts a new stamp on record.
///
/// # Errors
/// Why there is none; then nothing is on record as stamped.
async fn make(
    gateway: &Gateway,
    caller: &Authenticated,
    request: StampRequest,
    place: DocumentPlace,
    claim: Option<Arc<Claim>>,
) -> Result<(KeptAnswer, bool), Problem> {
    let app = caller.with(Scope::Signatures)?;
    let asked = StampAsked { app, caller: caller.caller(), asker: caller.asker() };
    let keep = claim.map(|claim| KeepStamp::Answer { claim, answer: Written::kept });
    let tell = |answer: Answer, receipt: &StampReceipt| Ok(answer.written(receipt));
    let Made { told: written, receipt, audit_index, place, is_new } =
        carry_out(gateway, asked, request, place, tell, keep).await?;
    let told = tokio::task::spawn_blocking(move || {
        let told = written.answer().placed(audit_index);
        drop((receipt, place));
        told
    });
    told.await.map(|told| (told, is_new)).map_err(|_| Problem::panicked())
}

/// For whom a stamp is made.
pub(crate) struct StampAsked<'a> {
    pub(crate) app: &'a App,
    pub(crate) caller: Caller,
    /// In whose name timestamps are asked for.
    pub(crate) asker: Asker,
}

/// Makes a stamp of a document of a job. `keep` is given the stamped document, or the CMS over a digest, and keeps it
/// before the stamp is on record; what it answers goes on record with the stamp, or nothing does.
///
/// # Errors
/// Why there is none; then nothing is on record as stamped.
pub(crate) async fn make_of_job(
    gateway: &Gateway,
    asked: StampAsked<'_>,
    request: StampRequest,
    place: DocumentPlace,
    keep: impl FnOnce(&[u8]) -> Result<StampedDocument, StoreError> + Send + 'static,
) -> Result<(), Problem> {
    let tell = move |_: Answer, receipt: &StampReceipt| Ok(keep(&receipt.document)?);
    let noted = KeepStamp::Document(StampedDocument::clone);
    carry_out(gateway, asked, request, place, tell, Some(noted)).await.map(drop)
}

/// A stamp that is on record, and what was told of it.
struct Made<T> {
    told: T,
    receipt: StampReceipt,
    audit_index: u64,
    place: DocumentPlace,
    /// Not if it was made before, and is told again.
    is_new: bool,
}

async fn carry_out<T: Send + 'static>(
    gateway: &Gateway,
    StampAsked { app, caller, asker }: StampAsked<'_>,
    request: StampRequest,
    place: DocumentPlace,
    tell: impl FnOnce(Answer, &StampReceipt) -> Result<T, SigningError> + Send + 'static,
    keep: Option<KeepStamp<T>>,
) -> Result<Made<T>, Problem> {
    let (request, template) = Templates::default().resolved(gateway, app, request).await?;
    let at = caller.at;
    let planned = signatures::planned(gateway, app, request, at).await?;
    let (id, check_code, at) = match planned.first().and_then(Planned::foreseen) {
        Some(foreseen) => (foreseen.id.clone(), foreseen.check_code.clone(), foreseen.at),
        None => (number(at), random(CODE_LENGTH), at),
    };
    let shown = grouped(&check_code);
    let page = gateway.config.server.public_url.as_ref().map(|url| page_of(url.as_str(), &shown));
    let common = Arc::new(Common { id: id.clone(), check_code: shown, page, at });
    // As long as somebody works on the document it has its place, also if the caller has gone.
    let (place_to_prepare, place_to_sign) = (place.clone(), place.clone());
    let (preparing, of_all) = (gateway.clone(), Arc::clone(&common));
    let prepare = move || {
        let _place = place_to_prepare;
        signatures::prepared(&preparing, &asker, planned, &of_all)
    };
    let prepared = gateway.judging.run(prepare).await?.await.map_err(|_| Problem::panicked())??;
    let (subject, ready) = prepared;
    let (form, input, octets) = match &subject {
        StampSubject::Pdf { document, .. } => (SignedForm::Pdf, InputKind::Data, document.len()),
        StampSubject::Ofd { document, .. } => (SignedForm::Ofd, InputKind::Data, document.len()),
        StampSubject::Digest(_) | StampSubject::List(_) => (SignedForm::Cms, InputKind::Digest, 32),
    };
    let is_document = form.is_document();
    let list = match &subject {
        StampSubject::List(list) => Some(Arc::clone(list)),
        StampSubject::Pdf { .. } | StampSubject::Ofd { .. } | StampSubject::Digest(_) => None,
    };
    let first = ready.first().ok_or_else(Problem::panicked)?;
    let (key, algorithm, level) = (first.signer().key.clone(), first.signer().algorithm, first.level);
    let answer = Answer {
        id: id.clone(),
        check_code: check_code.clone(),
        key,
        algorithm,
        level,
        template: template.clone(),
        is_document,
        list,
        audit_log: gateway.audit.record().origin.clone(),
        request_id: caller.request_id.clone(),
    };
    if let Some(made) = first.made() {
        // What one job's document became is no other's.
        return match keep {
            Some(KeepStamp::Document(_)) => Err(Problem::stamp_exists(&made.stamp.id)),
            Some(KeepStamp::Answer { .. }) | None => {
                again::made_again(gateway, subject, first, made, answer, tell, place).await
            }
        };
    }
    // Limits are about the document as it came, for each of its signers.
    let facts = |signer: &Signer| OrderFacts {
        key: signer.key.clone(),
        algorithm: signer.algorithm,
        form,
        detached: true,
        input,
        octets: octets as u64,
    };
    let admission = signatures::admitted(gateway, app, &ready, facts).await?;
    let (total, mandated) = (ready.len(), ready.iter().filter(|one| one.is_mandated()).count());
    let mut ready = ready.into_iter();
    let first = ready.next().ok_or_else(Problem::panicked)?;
    let order = StampOrder {
        id,
        check_code,
        subject,
        first: first.first(),
        further: ready.map(|one| one.further(Arc::clone(&common))).collect(),
        template,
    };
    let metrics = Arc::clone(&gateway.metrics);
    // In a task of its own: a caller that hangs up does not keep what its key did off the record.
    let desk = gateway.desk.clone();
    let work = async move {
        let _place = place_to_sign;
        let stamped = desk.stamp(&caller, order, move |receipt| tell(answer, receipt), keep).await;
        for _ in 0..mandated {
            metrics.mandated(stamped.as_ref().map_or_else(|unstamped| unstamped.error.code(), |_| "ok"));
        }
        // A signature whose record is in doubt was made, and counts; one that somebody else came before is in no doubt.
        let in_doubt = |error: &SigningError| match error {
            SigningError::Record(error) => !matches!(error, StoreError::Changed { .. }),
            _ => false,
        };
        if stamped.as_ref().is_err_and(|unstamped| !in_doubt(&unstamped.error)) {
            (0..total).for_each(|place| admission.not_signed(place));
        }
        stamped
    };
    let stamping = tokio::spawn(work.in_current_span());
    let (told, receipt, audit_index) = stamping.await.map_err(|_| Problem::panicked())??;
    match &receipt.signatures[..] {
        [] => gateway.metrics.signed(receipt.device.as_str(), algorithm.name()),
        several => {
            several.iter().for_each(|one| gateway.metrics.signed(one.device.as_str(), one.algorithm.name()))
        }
    }
    Ok(Made { told, receipt, audit_index, place, is_new: true })
}

/// Where what a level takes comes from; B-B takes nothing.
pub(crate) fn sources(gateway: &Gateway, asker: Asker, level: Level) -> Result<Option<LevelDesk>, Problem> {
    if level == Level::B {
        return Ok(None);
    }
    let timestamps = timestamps::source(gateway, asker)?;
    Ok(Some(LevelDesk { timestamps, trust: gateway.documents.current() }))
}

/// The part of an answer that is known before the signature.
struct Answer {
    id: String,
    check_code: String,
    key: config::KeyId,
    algorithm: formats::Algorithm,
    level: Level,
    template: Option<StampTemplateUse>,
    is_document: bool,
    list: Option<Arc<List>>,
    audit_log: String,
    request_id: String,
}

impl Answer {
    fn written(self, receipt: &StampReceipt) -> Written {
        let digest = hex::encode(receipt.digest);
        let (of_document, of_digest) = match self.is_document {
            // It is put in when the rest is written: as large as it is, it would be gone through and copied with it.
            true => (Some((String::new(), digest)), None),
            false => (None, Some((STANDARD.encode(&receipt.document), digest))),
        };
        let (document, document_sm3) = of_document.unzip();
        let (signature, signature_sm3) = of_digest.unzip();
        let (template, template_version) =
            self.template.map(|template| (template.id, template.version)).unzip();
        let response = StampResponse {
            audit_index: 0,
            stamp_id: self.id,
            check_code: grouped(&self.check_code),
            document,
            document_sm3,
            field: receipt.field.clone(),
            signature,
            signature_sm3,
            level: self.level.name(),
            key: self.key,
            algorithm: self.algorithm,
            template,
            template_version,
            device: receipt.device.to_string(),
            certificate: receipt.certificate.to_pem(),
            list: self.list.map(|list| MadeList::new(&list)),
            signatures: receipt.signatures.iter().map(SignatureItem::made).collect(),
            audit_log: self.audit_log,
            request_id: self.request_id.clone(),
        };
        let (mut body, index_at) = idempotency::unplaced(&response);
        if self.is_document {
            body = with_document(&body, &receipt.document);
        }
        Written { body, index_at, request_id: self.request_id }
    }
}

/// An answer with its document, which it has an empty text for.
fn with_document(body: &[u8], document: &[u8]) -> Vec<u8> {
    const EMPTY: &[u8] = br#""document":"""#;
    let found = body.windows(EMPTY.len()).position(|octets| octets == EMPTY);
    let at = found.map_or(body.len(), |found| found + EMPTY.len() - 1);
    let (before, after) = body.split_at(at);
    let room = body.len() + base64_simd::STANDARD.encoded_length(document.len()) + idempotency::INDEX_ROOM;
    let mut filled = Vec::with_capacity(room);
    filled.extend_from_slice(before);
    base64_simd::STANDARD.encode_append(document, &mut filled);
    filled.extend_from_slice(after);
    filled
}

/// An answer, written but for the place in the audit log.
struct Written {
    body: Vec<u8>,
    index_at: usize,
    request_id: String,
}

impl Written {
    fn answer(self) -> UnplacedAnswer {
        idempotency::created(self.body, self.index_at)
    }

    /// As it is kept under an idempotency key; one with a large document is not.
    fn kept(&self) -> UnplacedAnswer {
        idempotency::fitting(idempotency::created(self.body.clone(), self.index_at), &self.request_id)
    }
}

/// The address of a stamp's check page, behind the site's own.
pub(crate) fn page_of(site: &str, check_code: &str) -> String {
    format!("{}/verify/{check_code}", site.trim_end_matches('/'))
}

/// The number of a new stamp: the day in UTC, and something nobody else has.
pub(crate) fn number(at: OffsetDateTime) -> String {
    let day = at.format(format_description!("[year][month][day]")).unwrap_or_default();
    format!("{day}-{}", random(NUMBER_LENGTH))
}

pub(crate) fn random(length: usize) -> String {
    let mut octets = vec![0; length];
    getrandom::fill(&mut octets).expect("the system has random numbers");
    octets.iter().map(|octet| char::from(ALPHABET[usize::from(octet & 31)])).collect()
}

/// A code as people read it: in groups of five.
pub(crate) fn grouped(code: &str) -> String {
    let groups = code.as_bytes().chunks(5).map(|group| String::from_utf8_lossy(group).into_owned());
    groups.collect::<Vec<_>>().join("-")
}

/// A code of so many characters as it was made, however somebody typed it.
pub(crate) fn typed(text: &str, length: usize) -> Option<String> {
    let plain = text.chars().filter(|c| !matches!(c, '-' | ' ')).map(|c| match c.to_ascii_uppercase() {
        'O' => '0',
        'I' | 'L' => '1',
        other => other,
    });
    let code: String = plain.take(length + 1).collect();
    let is_code = code.len() == length && code.bytes().all(|octet| ALPHABET.contains(&octet));
    is_code.then_some(code)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_place_in_the_log_is_put_into_an_answer_that_is_written() {
        let response = StampResponse {
            audit_index: 0,
            stamp_id: "20261122-7QX2M0K4T9".to_owned(),
            check_code: String::new(),
            document: None,
            document_sm3: None,
            field: None,
            signature: Some("AA==".to_owned()),
            signature_sm3: None,
            level: "B-B",
            key: config::KeyId::parse("demo-p256").expect("a name"),
            algorithm: formats::Algorithm::EcdsaP256Sha256,
            template: None,
            template_version: None,
            device: "b1".to_owned(),
            certificate: String::new(),
            list: None,
            signatures: Vec::new(),
            audit_log: String::new(),
            request_id: String::new(),
        };
        let (body, index_at) = idempotency::unplaced(&response);
        let written = Written { body, index_at, request_id: String::new() };
        let placed = serde_json::to_vec(&StampResponse { audit_index: 4_711, ..response }).expect("JSON");
        assert_eq!(written.kept().placed(4_711).body, placed);
        assert_eq!(written.answer().placed(4_711).body, placed);
    }

    #[test]
    fn a_document_is_put_where_there_is_an_empty_text_for_it() {
        for document in [&b""[..], b"a", b"ab", b"abc", &[0xfb, 0xff, 0xbf]] {
            let filled = with_document(br#"{"n":"1","document":"","after":"document"}"#, document);
            let expected =
                serde_json::json!({"n": "1", "document": STANDARD.encode(document), "after": "document"});
            assert_eq!(serde_json::from_slice::<serde_json::Value>(&filled).expect("JSON"), expected);
        }
    }

    #[test]
    fn a_code_is_read_as_people_type_it() {
        let code = random(CODE_LENGTH);
        assert_eq!(code.len(), 20);
        assert_eq!(typed(&grouped(&code), CODE_LENGTH), Some(code.clone()));
        assert_eq!(
            typed(&grouped(&code).to_ascii_lowercase().replace('1', "l").replace('0', "o"), CODE_LENGTH),
            Some(code)
        );
        for wrong in
            ["", "U0000-00000-00000-00000", "00000-00000-00000-0000", "00000-00000-00000-00000-0", "图"]
        {
            assert_eq!(typed(wrong, CODE_LENGTH), None, "{wrong}");
        }
    }
}
