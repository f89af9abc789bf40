//! Every kind of body by itself, read and checked as its route does, up to where the route would ask the database or
//! a device: for tests that look for inputs which break that.

use std::io;
use std::time::Duration;

use axum::body::Body;
use axum::extract::Request;
use axum::http::{Uri, header};
use config::KeyId;
use formats::chain::TrustStore;
use formats::license::LicenseReport;
use serde::Serialize;
use serde::de::DeserializeOwned;
use time::OffsetDateTime;
use tokio::runtime::{Builder, Runtime};
use utoipa::PartialSchema;

use crate::apps::{AppRequest, CredentialRequest, ReasonRequest};
use crate::batch::{self, Answers, Item};
use crate::body::{self, Patience};
use crate::ceremonies::ConfirmRequest;
use crate::ceremony_order::CeremonyRequest;
use crate::custodians::CustodianRequest;
use crate::faults::FaultRequest;
use crate::history::HistoryQuery;
use crate::identifiers;
use crate::judging::Judging;
use crate::key_register::{AppKeysRequest, CsrRequest};
use crate::licenses::LicenseRequest;
use crate::maintenance::MaintenanceRequest;
use crate::problem::Problem;
use crate::replace::ReplaceRequest;
use crate::signature_batch;
use crate::signatures::SignatureRequest;
use crate::verifications::{Judge, VerificationRequest};

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
pub const KINDS: [Kind; 19] = [
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
    object("license", fields::<LicenseRequest>, |bodies, octets| {
        bodies.one(octets, |request| bodies.license(&request))
    }),
    batch("licenses", |bodies, octets| {
        bodies.each(octets, |item| bodies.license(&body::parse(item.get().as_bytes())?))
    }),
    batch("identifiers", |bodies, octets| bodies.each(octets, |item| identifiers::judge(item.get(), false))),
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
    object("maintenance", fields::<MaintenanceRequest>, |bodies, octets| {
        bodies.one(octets, |request: MaintenanceRequest| request.check().map(drop))
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

    fn license(&self, request: &LicenseRequest) -> Result<LicenseReport, Problem> {
        let license = request.check(OffsetDateTime::UNIX_EPOCH)?;
        Ok(formats::license::judge(&license.octets, &self.trust, license.at, false))
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
