//! Every kind of body by itself, read and checked as its route does, up to where the route would ask the database or
//! a device: for tests that look for inputs which break that.

use std::io;
use std::time::Duration;

use axum::body::Body;
use axum::extract::Request;
use axum::http::{Uri, header};
use config::KeyId;
use formats::license_file::LicenseFileInput;
use formats::{Algorithm, Judgement, TrustStore};
use outbound::AddressRules;
use serde::Serialize;
use serde::de::DeserializeOwned;
use signing::StampSubject;
use time::OffsetDateTime;
use tokio::runtime::{Builder, Runtime};
use utoipa::PartialSchema;
use verify_front::{QrError, QrPayload};

use crate::apps::{AppRequest, CredentialRequest, ReasonRequest};
use crate::batch::{self, Answers, Item};
use crate::body::{self, Patience};
use crate::ceremonies::ConfirmRequest;
use crate::ceremony_order::CeremonyRequest;
use crate::compat::Message;
use crate::custodians::CustodianRequest;
use crate::evidence::archive::ArchiveRequest;
use crate::faults::FaultRequest;
use crate::history::HistoryQuery;
use crate::identifiers;
use crate::incidents::form::{IncidentRequest, StepRequest};
use crate::inspections::routes::InspectionRequest;
use crate::judging::Judging;
use crate::key_register::{AppKeysRequest, CsrRequest};
use crate::licenses::{License, LicenseRequest};
use crate::maintenance::MaintenanceRequest;
use crate::mandates::MandateCertificateRequest;
use crate::mandates::form::NewMandateRequest;
use crate::people::form::AccountRequest;
use crate::people::own::{CodeRequest, PasswordRequest, PersonalTokenRequest};
use crate::people::sign_in::{SecondStepRequest, SignInRequest};
use crate::policies::{EvaluationRequest, PolicyRequest};
use crate::problem::Problem;
use crate::query_certificates::QueryCertificateRequest;
use crate::query_certificates::jobs::QueryCertificateJobRequest;
use crate::replace::ReplaceRequest;
use crate::retentions::RetentionRequest;
use crate::seals::form::SealRequest;
use crate::sessions::SessionRequest;
use crate::sessions::cosign::StampSessionRequest;
use crate::sessions::phone::{ConsentRequest, DenyRequest, ScanRequest};
use crate::signature_batch;
use crate::signatures::SignatureRequest;
use crate::stamp_jobs::order::StampJobRequest;
use crate::stamps::form::{Setting, StampRequest};
use crate::stamps::verify::StampVerifyRequest;
use crate::templates::form::TemplateRequest;
use crate::timestamps::order::TimestampRequestBody;
use crate::timestamps::verify::TimestampVerificationRequest;
use crate::verifications::{Judge, VerificationRequest};
use crate::webhooks::WebhookRequest;

const PATIENCE: Patience = Patience { time: Duration::from_secs(60), rate: 1 };
const REQUEST_ID: &str = "bodies";

/// What bodies are judged with: nobody is trusted, and it is no sandbox.
pub struct Bodies {
    limit: usize,
    runtime: Runtime,
    trust: TrustStore,
    judging: Judging,
}

/// A kind of body.
pub struct Kind {
    /// For people.
    pub name: &'static str,
    /// The fields that it may have.
    pub fields: fn() -> Vec<String>,
    /// How it comes.
    pub form: Form,
    check: fn(&Bodies, &[u8]) -> Result<Vec<u8>, Problem>,
}

/// How a body comes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Form {
    /// A JSON object.
    Object,
    /// A JSON object with a list of items, each of which has its own answer.
    Batch,
    /// A URL's query.
    Query,
}

/// All of them.
pub const KINDS: [Kind; 50] = [
    object("signature", fields::<SignatureRequest>, |bodies, octets| {
        bodies.one(octets, SignatureRequest::check)
    }),
    batch("signatures", |bodies, octets| {
        let ordered = |item: &Item| signature_batch::read(item).map(|order| Ordered { key: order.key });
        bodies.each(octets, ordered)
    }),
    object("verification", fields::<VerificationRequest>, |bodies, octets| {
        bodies.one(octets, |request: VerificationRequest| bodies.judge().one(&request))
    }),
    batch("verifications", |bodies, octets| {
        let judge = bodies.judge();
        bodies.many(octets, |items, answers| {
            judge.items(items, |verified| answers.push(verified, REQUEST_ID));
        })
    }),
    object("stamp", fields::<StampRequest>, |bodies, octets| {
        bodies.one(octets, |request: StampRequest| {
            let (at, algorithm) = (OffsetDateTime::UNIX_EPOCH, Algorithm::Sm2Sm3);
            let (id, check_code, check_page, seal) =
                ("number", "code", Some("https://site.example/verify/code"), None);
            let is_template = false;
            let setting = Setting { algorithm, at, id, check_code, check_page, seal, is_template };
            let mut orders = request.orders()?;
            let document = orders.first_mut().map_or(Ok(None), StampRequest::detached)?;
            let mut subjects = orders.iter_mut().map(|order| {
                document.iter().for_each(|octets| order.set_document(octets.clone()));
                order.check(&setting)?.prepared()
            });
            subjects.try_fold(0, |pdfs, subject| {
                Ok(pdfs + usize::from(matches!(subject?, StampSubject::Pdf { .. })))
            })
        })
    }),
    object("stamp job", fields::<StampJobRequest>, |bodies, octets| {
        bodies.one(octets, |request: StampJobRequest| {
            let (documents, _) = request.read()?;
            Ok(documents.iter().filter(|document| document.is_sound()).count())
        })
    }),
    object("stamped document", fields::<StampVerifyRequest>, |bodies, octets| {
        bodies.one(octets, |request: StampVerifyRequest| {
            let document = request.check(OffsetDateTime::UNIX_EPOCH)?;
            Ok(document.judge(request.evidence(), &bodies.trust))
        })
    }),
    object("archive", fields::<ArchiveRequest>, |bodies, octets| bodies.one(octets, ArchiveRequest::check)),
    object("query certificate", fields::<QueryCertificateRequest>, |bodies, octets| {
        bodies.one(octets, |request: QueryCertificateRequest| request.check(true))
    }),
    object("query certificate job", fields::<QueryCertificateJobRequest>, |bodies, octets| {
        bodies.one(octets, |request: QueryCertificateJobRequest| {
            request.read(true).map(|orders| orders.sound())
        })
    }),
    object("license", fields::<LicenseRequest>, |bodies, octets| {
        bodies.one(octets, |request| bodies.license(&request))
    }),
    batch("licenses", |bodies, octets| {
        bodies.each(octets, |item| bodies.license(&body::parse(item.get().as_bytes())?))
    }),
    batch("identifiers", |bodies, octets| bodies.each(octets, |item| identifiers::judge(item.get(), false))),
    object("timestamp", fields::<TimestampRequestBody>, |bodies, octets| {
        bodies.one(octets, TimestampRequestBody::check)
    }),
    object("timestamp verification", fields::<TimestampVerificationRequest>, |bodies, octets| {
        bodies.one(octets, |request: TimestampVerificationRequest| {
            Ok(request.check(OffsetDateTime::UNIX_EPOCH)?.judge(&bodies.trust))
        })
    }),
    object("ceremony", fields::<CeremonyRequest>, |bodies, octets| {
        bodies.one(octets, CeremonyRequest::check)
    }),
    object("confirmation", fields::<ConfirmRequest>, |bodies, octets| {
        bodies.one(octets, Ok::<ConfirmRequest, _>)
    }),
    object("custodian", fields::<CustodianRequest>, |bodies, octets| {
        bodies.one(octets, Ok::<CustodianRequest, _>)
    }),
    object("certification request", fields::<CsrRequest>, |bodies, octets| {
        bodies.one(octets, |request: CsrRequest| request.device())
    }),
    object("an app's keys", fields::<AppKeysRequest>, |bodies, octets| {
        bodies.one(octets, Ok::<AppKeysRequest, _>)
    }),
    object("an app", fields::<AppRequest>, |bodies, octets| {
        bodies.one(octets, |request: AppRequest| request.read(None, &[], &[]))
    }),
    object("an app's credential", fields::<CredentialRequest>, |bodies, octets| {
        bodies.one(octets, |request: CredentialRequest| request.read(true, OffsetDateTime::UNIX_EPOCH))
    }),
    object("a reason", fields::<ReasonRequest>, |bodies, octets| {
        bodies.one(octets, |request: ReasonRequest| request.check())
    }),
    object("a session", fields::<SessionRequest>, |bodies, octets| {
        bodies.one(octets, |request: SessionRequest| request.check())
    }),
    object("a session with a stamp", fields::<StampSessionRequest>, |bodies, octets| {
        bodies.one(octets, StampSessionRequest::check)
    }),
    object("a scan", fields::<ScanRequest>, |bodies, octets| {
        bodies.one(octets, |request: ScanRequest| {
            request.check()?;
            match QrPayload::read(request.qr(), []) {
                Err(QrError::Signature) => Ok(()), // nobody's key is known here
                read => read.map(drop).map_err(Problem::from),
            }
        })
    }),
    object("a consent", fields::<ConsentRequest>, |bodies, octets| {
        bodies.one(octets, |request: ConsentRequest| request.check())
    }),
    object("a refusal", fields::<DenyRequest>, |bodies, octets| {
        bodies.one(octets, |request: DenyRequest| request.check())
    }),
    object("a message", fields::<Message>, |bodies, octets| {
        bodies.one(octets, |message: Message| message.received().and_then(|received| received.check()))
    }),
    object("a webhook", fields::<WebhookRequest>, |bodies, octets| {
        bodies.one(octets, |request: WebhookRequest| request.check(&AddressRules::new(Vec::new(), false)))
    }),
    object("a policy", fields::<PolicyRequest>, |bodies, octets| {
        bodies.one(octets, |request: PolicyRequest| request.check(|_, _| {}))
    }),
    object("an order to be judged by policy", fields::<EvaluationRequest>, |bodies, octets| {
        bodies.one(octets, |request: EvaluationRequest| request.check(OffsetDateTime::UNIX_EPOCH))
    }),
    object("a seal", fields::<SealRequest>, |bodies, octets| {
        bodies.one(octets, |request: SealRequest| request.check().map(drop))
    }),
    object("a mandate", fields::<NewMandateRequest>, |bodies, octets| {
        bodies.one(octets, |request: NewMandateRequest| request.check().map(drop))
    }),
    object("a mandate's certificate", fields::<MandateCertificateRequest>, |bodies, octets| {
        bodies.one(octets, |request: MandateCertificateRequest| request.check().map(drop))
    }),
    object("a stamp template", fields::<TemplateRequest>, |bodies, octets| {
        bodies.one(octets, |request: TemplateRequest| request.check().and_then(|_| request.judge()))
    }),
    object("an account", fields::<AccountRequest>, |bodies, octets| {
        bodies.one(octets, |request: AccountRequest| request.read(None))
    }),
    object("a sign-in", fields::<SignInRequest>, |bodies, octets| {
        bodies.one(octets, |request: SignInRequest| request.check().map(drop))
    }),
    object("a second step", fields::<SecondStepRequest>, |bodies, octets| {
        bodies.one(octets, |request: SecondStepRequest| request.check().map(drop))
    }),
    object("another password", fields::<PasswordRequest>, |bodies, octets| {
        bodies.one(octets, |request: PasswordRequest| request.check("wang.lei", "王磊", 12))
    }),
    object("a code", fields::<CodeRequest>, |bodies, octets| bodies.one(octets, Ok::<CodeRequest, _>)),
    object("a personal access token", fields::<PersonalTokenRequest>, |bodies, octets| {
        bodies.one(octets, |request: PersonalTokenRequest| request.check(&["audit"].into(), 90))
    }),
    object("retention", fields::<RetentionRequest>, |bodies, octets| {
        bodies.one(octets, |request: RetentionRequest| request.check().map(drop))
    }),
    object("maintenance", fields::<MaintenanceRequest>, |bodies, octets| {
        bodies.one(octets, |request: MaintenanceRequest| request.check().map(drop))
    }),
    object("an inspection", fields::<InspectionRequest>, |bodies, octets| {
        bodies.one(octets, |request: InspectionRequest| request.check().map(drop))
    }),
    object("an incident", fields::<IncidentRequest>, |bodies, octets| {
        bodies.one(octets, |request: IncidentRequest| request.check(OffsetDateTime::UNIX_EPOCH).map(drop))
    }),
    object("a step of an incident", fields::<StepRequest>, |bodies, octets| {
        bodies.one(octets, |request: StepRequest| request.check(OffsetDateTime::UNIX_EPOCH).map(drop))
    }),
    object("replacement", fields::<ReplaceRequest>, |bodies, octets| {
        bodies.one(octets, Ok::<ReplaceRequest, _>)
    }),
    object("fault", fields::<FaultRequest>, |bodies, octets| bodies.one(octets, FaultRequest::check)),
    Kind {
        name: "history",
        fields: || ["query", "from", "to", "step"].map(str::to_owned).to_vec(),
        form: Form::Query,
        check: |_, octets| {
            // What is no URL does not come as far as a route.
            let Ok(uri) = Uri::try_from([b"/?", octets].concat()) else { return Ok(Vec::new()) };
            body::query::<HistoryQuery>(&uri)?.check(OffsetDateTime::UNIX_EPOCH)?;
            Ok(Vec::new())
        },
    },
];

/// What stands for an order in an answer that is none of a device.
#[derive(Serialize)]
struct Ordered {
    key: KeyId,
}

type Check = fn(&Bodies, &[u8]) -> Result<Vec<u8>, Problem>;

const fn object(name: &'static str, fields: fn() -> Vec<String>, check: Check) -> Kind {
    Kind { name, fields, form: Form::Object, check }
}

const fn batch(name: &'static str, check: Check) -> Kind {
    Kind { name, fields: || vec!["items".to_owned()], form: Form::Batch, check }
}

/// A request's fields, as its description for callers has them.
fn fields<T: PartialSchema>() -> Vec<String> {
    let schema = serde_json::to_value(T::schema()).unwrap_or_default();
    schema["properties"].as_object().map_or_else(Vec::new, |fields| fields.keys().cloned().collect())
}

impl Bodies {
    /// Reads bodies of up to `limit` octets.
    ///
    /// # Errors
    /// The system gives no runtime.
    pub fn new(limit: usize) -> io::Result<Self> {
        let runtime = Builder::new_current_thread().enable_time().build()?;
        Ok(Self { limit, runtime, trust: TrustStore::default(), judging: Judging::new(1) })
    }

    /// Reads a body of this kind: the answer of a batch, nothing for another, or the problem document.
    pub fn check(&self, kind: &Kind, octets: &[u8]) -> Result<Vec<u8>, Vec<u8>> {
        (kind.check)(self, octets).map_err(|problem| {
            serde_json::to_vec(&problem.document(REQUEST_ID.to_owned())).unwrap_or_default()
        })
    }

    fn judge(&self) -> Judge<'_> {
        Judge::new(&self.trust, &self.judging, OffsetDateTime::UNIX_EPOCH)
    }

    fn license(&self, request: &LicenseRequest) -> Result<Judgement, Problem> {
        let License { octets, kind, at, .. } = request.check(OffsetDateTime::UNIX_EPOCH)?;
        let trust = &self.trust;
        Ok(match kind.form() {
            None => formats::license::judge(&octets, trust, at, false).judgement,
            Some(form) => {
                let (octets, documents, licenses) = (&*octets, trust, trust);
                let input = LicenseFileInput { octets, form, documents, licenses, at, sandbox: false };
                formats::license_file::judge(&input).judgement
            }
        })
    }

    fn one<T: DeserializeOwned, R>(
        &self,
        octets: &[u8],
        check: impl FnOnce(T) -> Result<R, Problem>,
    ) -> Result<Vec<u8>, Problem> {
        check(self.runtime.block_on(body::json(request(octets), self.limit, PATIENCE))?)?;
        Ok(Vec::new())
    }

    fn each<T: Serialize>(
        &self,
        octets: &[u8],
        judge: impl Fn(&Item) -> Result<T, Problem>,
    ) -> Result<Vec<u8>, Problem> {
        self.many(octets, |items, answers| {
            items.iter().for_each(|item| answers.push(judge(item), REQUEST_ID))
        })
    }

    fn many(&self, octets: &[u8], judge: impl FnOnce(&[Item], &mut Answers)) -> Result<Vec<u8>, Problem> {
        let items = self.runtime.block_on(batch::items(request(octets), self.limit, PATIENCE))?;
        let mut answers = Answers::default();
        judge(&items, &mut answers);
        Ok(batch::document(&[answers], REQUEST_ID))
    }
}

fn request(octets: &[u8]) -> Request {
    let mut request = Request::new(Body::from(octets.to_vec()));
    request.headers_mut().insert(header::CONTENT_TYPE, header::HeaderValue::from_static("application/json"));
    request
}
