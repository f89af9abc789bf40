//! How a query certificate comes about: looked up and set, on record with its snapshot, then signed by the agency.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use config::{AppId, QueryCertificates};
use formats::cms::Family;
use formats::pdf::sign::{
    Certification, FieldPlan, Look, PageRect, Pages, Picture, Place, SignaturePlan, SubFilter,
};
use formats::query_certificate::{CertifiedStatus, QueryCertificate, SetCertificate, Snapshot};
use formats::scheme::SignatureScheme;
use formats::{Algorithm, Certificate};
use signing::{
    Caller, KeepStamp, Level, SignatureOrder, SigningError, StampOrder, StampReceipt, StampSigner,
    StampSubject, Unstamped,
};
use store::{AuditEntry, DayLimit, NewSnapshot, RegisteredSeal, StoreError, snapshot_subject};
use time::OffsetDateTime;
use tracing::Instrument;
use verify_front::FieldGrant;

use super::{Asked, QueryCertificateResponse};
use crate::auth::Authenticated;
use crate::policies;
use crate::problem::Problem;
use crate::seals;
use crate::stamps::form::seal_picture;
use crate::stamps::make::{CODE_LENGTH, grouped, number, page_of, random, sources};
use crate::state::Gateway;

/// What counts against the limit of a day. No rule of a signing policy can have this name: it has a colon.
const COUNTED: &str = "query-certificates:";
/// The field that the agency signs in.
const FIELD: &str = "AgencySignature";

/// Who certifies, and how.
struct Agency {
    rules: QueryCertificates,
    algorithm: Algorithm,
    level: Level,
    chain: Vec<Certificate>,
    seal: Option<Picture>,
    /// Of the seal, in millimetres.
    size: (f32, f32),
}

/// One of those that an app may have made today; it goes back unless it is used.
struct Counted {
    app: AppId,
    day: i64,
}

/// A certificate that can be made: what it says, what it is found by, and who signs it.
pub(super) struct Ready {
    agency: Agency,
    snapshot: Snapshot,
    codes: Codes,
}

/// What a certificate is found by.
struct Codes {
    id: String,
    check_code: String,
    link: String,
}

/// A certificate whose stamp is on record.
pub(super) struct Made<T> {
    told: T,
    receipt: StampReceipt,
    audit_index: u64,
    codes: Codes,
    agency: Agency,
    pub(super) snapshot: Certified,
}

/// What was certified.
pub(super) struct Certified {
    pub(super) status: CertifiedStatus,
    digest: [u8; 32],
}

/// Makes a certificate.
///
/// # Errors
/// Why there is none; then no stamp is on record either.
pub(super) async fn make(
    gateway: &Gateway,
    caller: &Authenticated,
    asked: Asked,
) -> Result<QueryCertificateResponse, Problem> {
    let asker = caller.asker();
    let app = caller.with(crate::auth::Scope::QueryCertificates)?;
    let grant = FieldGrant::new(app.fields.iter().cloned());
    let caller = caller.caller();
    let ready = looked_up(gateway, &caller, &grant, asked).await?;
    let counted = Counted::take(gateway, &ready.agency.rules, &caller).await?;
    let gateway = gateway.clone();
    // In a task of its own: a caller that hangs up does not keep what the agency's key did off the record.
    let work = async move {
        let tell = |document: &[u8]| Ok(STANDARD.encode(document));
        let made = signed(&gateway, asker, &caller, ready, tell, None).await;
        // A certificate whose record is in doubt was made, and counts.
        if made.as_ref().is_err_and(|problem| problem.code() != "audit_unavailable") {
            counted.give_back(&gateway).await;
        }
        made.map(|made| made.answer(&gateway, caller.request_id))
    };
    tokio::spawn(work.in_current_span()).await.map_err(|_| Problem::panicked())?
}

/// Looks up what is to be certified, and whether it can be.
///
/// # Errors
/// There is nothing to certify, or nobody who can; the look is on record.
pub(super) async fn looked_up(
    gateway: &Gateway,
    caller: &Caller,
    grant: &FieldGrant,
    asked: Asked,
) -> Result<Ready, Problem> {
    let agency = Agency::of(gateway, caller.at).await?;
    let found = gateway.licenses.certifiable(&asked.uscc, grant, caller.at).await;
    let (face, status) =
        match found.map_err(Problem::from).and_then(|found| found.ok_or_else(Problem::license_unknown)) {
            Ok(found) => found,
            Err(problem) => {
                // A look into the register is on record, whatever it showed.
                let said = entry(caller, problem.code(), asked.uscc.to_string(), None);
                gateway.audit.append(said).await.map_err(unrecorded)?;
                return Err(problem);
            }
        };
    let (id, check_code) = (number(caller.at), random(CODE_LENGTH));
    let snapshot = Snapshot {
        version: Snapshot::VERSION,
        number: id.clone(),
        agency: agency.rules.agency.clone(),
        at: caller.at.replace_nanosecond(0).unwrap_or(caller.at),
        uscc: asked.uscc.to_string(),
        status: CertifiedStatus {
            code: status.code,
            in_force: status.is_in_force(),
            text: status.text.to_owned(),
            flags: status.flags,
            as_of: status.as_of,
        },
        face: face.face,
        purpose: asked.purpose,
        applicant: asked.applicant,
    };
    let config = &gateway.config;
    let site = config.server.public_url.as_ref().map_or(config.callers.issuer.as_str(), |url| url.as_str());
    let link = page_of(site, &check_code);
    Ok(Ready { agency, snapshot, codes: Codes { id, check_code, link } })
}

/// Sets a certificate, puts on record and keeps what it says, and has the agency sign it. `tell` is given the signed
/// certificate before the stamp on it is on record; with `keep` what it says goes on record with that.
///
/// # Errors
/// Why there is none; then no stamp is on record either.
pub(super) async fn signed<T: Send + 'static>(
    gateway: &Gateway,
    asker: signing::Asker,
    caller: &Caller,
    Ready { agency, snapshot, codes }: Ready,
    tell: impl FnOnce(&[u8]) -> Result<T, StoreError> + Send + 'static,
    keep: Option<KeepStamp<T>>,
) -> Result<Made<T>, Problem> {
    let status = snapshot.status.clone();
    let (octets, digest, uscc) = (snapshot.to_json(), snapshot.digest(), snapshot.uscc.clone());
    let level = agency.level;
    let sources = sources(gateway, asker, level).map_err(|problem| match problem.code() {
        "no_timestamp_authority" => {
            Problem::agency_not_ready("the level takes timestamps, and there are none")
        }
        _ => problem,
    })?;
    if let Some(sources) = sources.as_ref().filter(|_| level > Level::T) {
        sources.expect(&agency.chain, caller.at).map_err(|error| of_agency(&error))?;
    }
    let subject = agency.set(gateway, caller.at, snapshot, &codes).await?;
    // What is going to be certified is on record and kept before a key signs.
    let said = entry(caller, "ok", snapshot_subject(&codes.id, &uscc), Some(digest));
    let audit_index = gateway.audit.append(said.clone()).await.map_err(unrecorded)?;
    let kept = NewSnapshot {
        id: &codes.id,
        app: &caller.app,
        uscc: &uscc,
        snapshot: &octets,
        entry: said,
        log: gateway.audit.record().id,
        audit_index,
    };
    gateway.store.keep_snapshot(kept).await.map_err(|error| Problem::from_query_certificates(&error))?;
    let order = StampOrder {
        id: codes.id.clone(),
        check_code: codes.check_code.clone(),
        subject,
        first: SignatureOrder {
            signer: StampSigner::Key(agency.rules.key.clone()),
            algorithm: agency.algorithm,
            family: Family::Rfc5652,
            level,
            sources,
        },
        further: Vec::new(),
        template: None,
    };
    let tell = move |receipt: &StampReceipt| Ok(tell(&receipt.document)?);
    let stamped = gateway.desk.stamp(caller, order, tell, keep).await;
    let (told, receipt, audit_index) =
        stamped.map_err(|Unstamped { error, signed }| of_agency(&error).after_signing(signed))?;
    gateway.metrics.signed(receipt.device.as_str(), agency.algorithm.name());
    Ok(Made { told, receipt, audit_index, codes, agency, snapshot: Certified { status, digest } })
}

impl Made<String> {
    fn answer(self, gateway: &Gateway, request_id: String) -> QueryCertificateResponse {
        let Self { told, receipt, audit_index, codes, agency, snapshot } = self;
        QueryCertificateResponse {
            number: codes.id,
            check_code: grouped(&codes.check_code),
            link: codes.link,
            document: told,
            document_sm3: hex::encode(receipt.digest),
            snapshot_sm3: hex::encode(snapshot.digest),
            status: snapshot.status,
            level: agency.level.name(),
            key: agency.rules.key,
            algorithm: agency.algorithm,
            certificate: receipt.certificate.to_pem(),
            audit_index,
            audit_log: gateway.audit.record().origin.clone(),
            request_id,
        }
    }
}

/// What an app's certificates of that time count for.
pub(super) fn counted(gateway: &Gateway, rules: &QueryCertificates, at: OffsetDateTime) -> DayLimit<'static> {
    let day = policies::day(at, gateway.config.site.utc_offset);
    DayLimit { rule: COUNTED, day, limit: u64::from(rules.per_app_and_day.get()) }
}

/// The day has not as many left as are wanted.
pub(super) fn used_up(gateway: &Gateway, counted: DayLimit<'_>, at: OffsetDateTime) -> Problem {
    let offset = gateway.config.site.utc_offset;
    let tomorrow = (counted.day + 1) * 86_400 - i64::from(offset.whole_seconds());
    Problem::query_certificates_used_up(counted.limit, tomorrow - at.unix_timestamp())
}

impl Agency {
    /// What the configuration says, if it can be done now.
    async fn of(gateway: &Gateway, at: OffsetDateTime) -> Result<Self, Problem> {
        let rules = gateway.config.query_certificates.clone();
        let rules = rules.ok_or_else(Problem::query_certificates_not_offered)?;
        let keys = gateway.desk.keys();
        let key = keys.service_key(&rules.key).map_err(|error| of_agency(&error))?;
        let algorithm = Algorithm::ALL.into_iter().find(|known| key.shown().public_key.supports(*known));
        let algorithm = algorithm
            .ok_or_else(|| Problem::agency_not_ready("the agency's key signs by no known algorithm"))?;
        let known = Level::NAMES.into_iter().find(|(name, _)| *name == rules.level);
        let level = known.map_or(Level::B, |(_, level)| level);
        if algorithm == Algorithm::Sm2Sm3 && level > Level::B {
            return Err(Problem::agency_not_ready("with a key of SM2 the level is B-B"));
        }
        let seal = match &rules.seal {
            None => None,
            Some(number) => {
                let found = seals::in_use(gateway, number.as_str(), Some(key), at).await;
                let (seal, refusals) = found.map_err(|problem| match problem.code() {
                    "unknown_seal" => Problem::agency_not_ready(format!("there is no seal {number}")),
                    _ => problem,
                })?;
                if let Some(refusal) = refusals.first() {
                    return Err(Problem::agency_not_ready(format!("the seal cannot be used: {refusal}")));
                }
                Some(seal)
            }
        };
        let size = |seal: &RegisteredSeal| (seal.picture().width as f32, seal.picture().height as f32);
        let size = seal.as_ref().map_or((0.0, 0.0), size);
        let seal = match seal {
            None => None,
            Some(seal) => {
                // A drawing takes some milliseconds to read.
                let read = gateway.judging.run(move || seal_picture(&seal)).await?;
                let picture = read.await.map_err(|_| Problem::panicked())?;
                Some(picture.map_err(|_| Problem::agency_not_ready("the seal's picture cannot be shown"))?)
            }
        };
        Ok(Self { rules, algorithm, level, chain: key.shown().chain.clone(), seal, size })
    }

    /// Sets a certificate, up to what is signed.
    async fn set(
        &self,
        gateway: &Gateway,
        at: OffsetDateTime,
        snapshot: Snapshot,
        codes: &Codes,
    ) -> Result<StampSubject, Problem> {
        let certificate = QueryCertificate {
            snapshot,
            check_code: grouped(&codes.check_code),
            link: codes.link.clone(),
            offset: gateway.config.site.utc_offset,
            sandbox: gateway.config.site.sandbox,
        };
        let font = gateway.font.clone();
        let (plan, number) = (self.plan(at), codes.id.clone());
        let (seal, size) = (self.seal.clone(), self.size);
        let set = move || {
            let set = certificate.to_pdf(&font).map_err(|error| Problem::query_certificate_failed(&error))?;
            let (look, rect) = match seal {
                Some(picture) => (Look::of_picture(picture), set.seal_place(size.0, size.1)),
                None => (
                    Look { font, text_size: 8.0, ..Look::of_text(vec![format!("电子签名 {number}")]) },
                    below(&set),
                ),
            };
            let places = vec![Place::Rect { pages: Pages::Last, rect }];
            let field = FieldPlan::New { name: Some(FIELD.to_owned()), places };
            let plan = SignaturePlan { field, look: Some(look), ..plan };
            StampSubject::pdf(set.pdf.into(), &plan, None)
                .map_err(|error| Problem::query_certificate_failed(&error))
        };
        gateway.judging.run(set).await?.await.map_err(|_| Problem::panicked())?
    }

    fn plan(&self, at: OffsetDateTime) -> SignaturePlan {
        let is_sm2 = self.algorithm == Algorithm::Sm2Sm3;
        let filter = if is_sm2 { SubFilter::Pkcs7 } else { SubFilter::Cades };
        SignaturePlan {
            time: Some(at),
            signer: Some(self.rules.agency.clone()),
            reason: Some("打印查询证明".to_owned()),
            certification: Some(Certification::NoChanges),
            ..SignaturePlan::new(filter, SignatureScheme::from(self.algorithm).hash())
        }
    }
}

impl Counted {
    async fn take(gateway: &Gateway, rules: &QueryCertificates, caller: &Caller) -> Result<Self, Problem> {
        let counted = counted(gateway, rules, caller.at);
        let DayLimit { rule, day, limit } = counted;
        let taken = gateway.store.take_of_day((&caller.app, rule), day, 1, limit).await;
        if taken.map_err(|error| Problem::database(&error))? == 0 {
            return Err(used_up(gateway, counted, caller.at));
        }
        Ok(Self { app: caller.app.clone(), day })
    }

    async fn give_back(self, gateway: &Gateway) {
        if let Err(error) = gateway.store.give_back_to_day((&self.app, COUNTED), self.day, 1).await {
            tracing::warn!(%error, "a query certificate that was not made counts all the same");
        }
    }
}

/// Under the agency's name, where there is no seal.
fn below(set: &SetCertificate) -> PageRect {
    const SIZE: (f32, f32) = (60.0, 6.0);
    let middle = set.seal_place(0.0, 0.0);
    PageRect { left: middle.left - SIZE.0 / 2.0, top: middle.top + 9.0, width: SIZE.0, height: SIZE.1 }
}

fn entry(caller: &Caller, outcome: &str, subject: String, digest: Option<[u8; 32]>) -> AuditEntry {
    AuditEntry {
        action: "query_certificate.snapshot".to_owned(),
        actor: caller.app.to_string(),
        at: caller.at,
        device: None,
        input_digest: None,
        key: None,
        outcome: outcome.to_owned(),
        request_id: caller.request_id.clone(),
        result_digest: digest.map(hex::encode),
        subject: Some(subject),
    }
}

fn unrecorded(error: StoreError) -> Problem {
    Problem::record_unavailable(&error)
}

/// The caller named no key: what is wrong with the agency's is not its fault.
fn of_agency(error: &SigningError) -> Problem {
    match error {
        SigningError::Device(_) | SigningError::Record(_) | SigningError::Timestamp(_) => {
            Problem::from(error)
        }
        error => Problem::agency_not_ready(format!("the agency's key cannot sign: {error}")),
    }
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use super::*;

    #[test]
    fn a_million_numbers_of_a_day_are_drawn_from_all_there_are() {
        const DRAWN: usize = 1_000_000;
        let at = OffsetDateTime::from_unix_timestamp(1_700_000_000).expect("a time");
        let numbers: HashSet<String> = (0..DRAWN).map(|_| number(at)).collect();
        // Of 32^10 that two are the same happens once in 2,000 times; four times once in 10^14. The database refuses one
        // that is taken (store/tests/query_certificates.rs).
        assert!(numbers.len() > DRAWN - 4, "{}", numbers.len());
        assert!(numbers.iter().all(|number| number.starts_with("20231114-") && number.len() == 19));
        let mut seen = [[0_usize; 256]; 10];
        for number in &numbers {
            number
                .bytes()
                .skip(9)
                .enumerate()
                .for_each(|(place, octet)| seen[place][usize::from(octet)] += 1);
        }
        for place in seen {
            let used: Vec<_> = place.into_iter().filter(|times| *times > 0).collect();
            assert_eq!(used.len(), 32);
            // Forty standard deviations around a 32nd.
            assert!(used.iter().all(|times| times.abs_diff(DRAWN / 32) < 7_000), "{used:?}");
        }
    }
}
