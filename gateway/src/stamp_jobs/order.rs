//! `POST /v1/stamp-jobs`: many documents to be stamped, each as it would be by `POST /v1/stamps`, when the gateway has time.

use axum::extract::State;
use axum::response::Response;
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use serde::Deserialize;
use serde_json::{Map, Value};
use store::{App, Blob, DocumentOrder, JobKind, NewDocument, Source};
use time::OffsetDateTime;
use tokio::task::JoinSet;
use tracing::Instrument;
use utoipa::ToSchema;

use super::enter::{ReadJob, StampJobTaken, document_name, enter, failure};
use super::{asking, uploads};
use crate::auth::Authenticated;
use crate::batch::MOST_ITEMS;
use crate::body;
use crate::problem::{Fault, Problem, ProblemDocument};
use crate::stamps::document::{DocumentBody, MOST_OCTETS};
use crate::stamps::form::StampRequest;
use crate::stamps::signatures::permitted;
use crate::state::Gateway;
use crate::templates::Templates;

/// Documents that are written at a time.
const WRITERS: usize = 8;
/// Octets of the defaults as JSON, pictures apart: they are read anew with each document.
const MOST_DEFAULTS: usize = 64 << 10;
/// Octets of what one document's order says as JSON, the document itself apart: it may have a picture of its own.
const MOST_ORDER: usize = 12 << 20;

/// Up to 1,000 documents to be stamped.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct StampJobRequest {
    /// What all orders have in common: members of the body of `POST /v1/stamps`, such as `format`, `signer`, `level` and
    /// `appearance`.
    #[serde(default)]
    #[schema(value_type = Object)]
    defaults: Map<String, Value>,
    /// For each document its `name` (for its owner; up to 200 characters), `document` (base64) or `upload` (as
    /// `PUT /v1/uploads` calls it), and members that take the place of those of `defaults`.
    #[schema(value_type = Vec<Object>)]
    documents: Vec<Value>,
}

/// Have up to 1,000 documents stamped one after the other. Each ends by itself: what is wrong with one is said of that one.
#[utoipa::path(
    post, path = "/v1/stamp-jobs", tag = "stamps", request_body = StampJobRequest,
    responses(
        (status = 202, description = "taken, and on record; `Location` says where it is", body = StampJobTaken),
        (status = "4XX", description = "refused as a whole; see `code`", body = ProblemDocument, content_type = "application/problem+json"),
        (status = 429, description = "`too_many_stamp_jobs`: as many of the app run as may", body = ProblemDocument, content_type = "application/problem+json"),
    )
)]
pub(crate) async fn post_stamp_job(
    caller: Authenticated,
    State(gateway): State<Gateway>,
    DocumentBody { request, place }: DocumentBody<StampJobRequest>,
) -> Result<Response, Problem> {
    let app = asking(&caller, JobKind::Stamps)?.clone();
    let request_id = crate::request_id::current();
    // In a task of its own: a caller that hangs up leaves no order half taken.
    let work = async move {
        let _place = place;
        take(&gateway, &app, request, request_id).await
    };
    let taken = tokio::spawn(work.in_current_span()).await.map_err(|_| Problem::panicked())??;
    taken.answer(JobKind::Stamps)
}

async fn take(
    gateway: &Gateway,
    app: &App,
    request: StampJobRequest,
    request_id: String,
) -> Result<StampJobTaken, Problem> {
    let reading = gateway.judging.run(move || request.read()).await?;
    let (mut read, defaults) = reading.await.map_err(|_| Problem::panicked())??;
    let mut templates = Templates::default();
    for document in &mut read {
        let Some(request) = document.request.take() else { continue };
        document.refused = match templates.resolved(gateway, app, request).await {
            Ok((request, used)) => {
                // The version of now, also for those whose turn comes when another one is in force.
                let version = used.map(|used| ("template_version".to_owned(), used.version.into()));
                document.order.extend(version);
                permitted(gateway, app, request).await.err()
            }
            Err(refused) => Some(refused),
        };
    }
    if read.iter().all(|read| read.refused.is_some()) {
        // Nothing of it can be carried out: that is said at once, and of the first.
        let first = read.into_iter().find_map(|read| read.refused);
        return Err(first.unwrap_or_else(Problem::panicked));
    }
    let documents = kept(gateway, app, read).await?;
    let defaults = serde_json::to_vec(&defaults).unwrap_or_default(); // it was JSON
    let job = ReadJob {
        kind: JobKind::Stamps,
        defaults: &defaults,
        documents: &documents,
        counted: None,
        request_id,
    };
    enter(gateway, app, job, Problem::from_stamp_jobs).await
}

impl StampJobRequest {
    /// Reads every document's order as far as that goes without its document; answers the defaults too.
    pub(crate) fn read(self) -> Result<(Vec<Read>, Map<String, Value>), Problem> {
        let Self { defaults, documents } = self;
        let total = documents.len();
        if !(1..=MOST_ITEMS).contains(&total) {
            let detail = format!("a job has 1 to {MOST_ITEMS} documents, not {total}");
            return Err(Problem::faults(vec![Fault::new("documents", "batch_size", detail)]));
        }
        let slim = slim(&defaults);
        if json_octets(&slim) > MOST_DEFAULTS {
            let detail = format!("must have at most {MOST_DEFAULTS} octets as JSON beside pictures");
            return Err(Problem::faults(vec![Fault::new("defaults", "invalid_value", detail)]));
        }
        let read = documents.into_iter().zip(1..).map(|(document, n)| Read::of(&slim, document, n));
        Ok((read.collect(), defaults))
    }
}

/// A document as it was ordered, read.
pub(crate) struct Read {
    name: String,
    order: Map<String, Value>,
    content: Content,
    /// The order for its stamp, without long texts.
    request: Option<StampRequest>,
    refused: Option<Problem>,
}

enum Content {
    /// As it came.
    Octets(Vec<u8>),
    /// What the app sent before.
    Upload(String),
    /// None, as of a digest.
    Nothing,
}

impl Read {
    /// Whether its order can be read.
    pub(crate) fn is_sound(&self) -> bool {
        self.refused.is_none()
    }

    /// Reads a document's order; what is wrong with it is a part of what is read.
    fn of(defaults: &Map<String, Value>, document: Value, n: usize) -> Self {
        let mut read = Self {
            name: n.to_string(),
            order: Map::new(),
            content: Content::Nothing,
            request: None,
            refused: None,
        };
        if let Err(problem) = read.take(defaults, document) {
            read.refused = Some(problem);
        }
        read
    }

    fn take(&mut self, defaults: &Map<String, Value>, document: Value) -> Result<(), Problem> {
        let fault =
            |field: &str, code, detail: String| Problem::faults(vec![Fault::new(field, code, detail)]);
        let not_text = |field| fault(field, "invalid_type", "must be a text".to_owned());
        let Value::Object(mut order) = document else {
            return Err(fault("(document)", "invalid_type", "must be an object".to_owned()));
        };
        if let Some(name) = document_name(&mut order)? {
            self.name = name;
        }
        self.content = match (order.remove("document"), order.remove("upload")) {
            (None, None) => Content::Nothing,
            (Some(Value::String(text)), None) => {
                let octets = STANDARD.decode(&text);
                let octets = octets.map_err(|_| {
                    fault("document", "invalid_base64", "must be padded standard base64".to_owned())
                })?;
                if octets.len() > MOST_OCTETS {
                    let detail =
                        format!("must have at most {MOST_OCTETS} octets; larger ones come as uploads");
                    return Err(fault("document", "document_too_large", detail));
                }
                Content::Octets(octets)
            }
            (None, Some(Value::String(upload))) => Content::Upload(upload),
            (Some(_), Some(_)) => {
                let detail = "document and upload exclude each other".to_owned();
                return Err(fault("upload", "ambiguous_input", detail));
            }
            (Some(_), None) => return Err(not_text("document")),
            (None, Some(_)) => return Err(not_text("upload")),
        };
        if json_octets(&order) > MOST_ORDER {
            let detail = format!("must have at most {MOST_ORDER} octets as JSON beside its document");
            return Err(fault("(document)", "invalid_value", detail));
        }
        let merged = merged(defaults, order.clone());
        if merged.contains_key("items") {
            let detail = "a job gives no proofs back: a list is stamped by an order of its own".to_owned();
            return Err(fault("items", "not_applicable", detail));
        }
        self.request = Some(parsed(merged)?);
        self.order = order;
        Ok(())
    }
}

/// An order: the defaults, with what a document has in their place.
fn merged(defaults: &Map<String, Value>, order: Map<String, Value>) -> Map<String, Value> {
    let mut merged = defaults.clone();
    if order.contains_key("template") {
        merged.remove("template_version"); // of another template
    }
    // Whoever signs, by one way of saying it.
    for (said, other) in [("signer", "signers"), ("signers", "signer")] {
        if order.contains_key(said) {
            merged.remove(other);
        }
    }
    merged.extend(order);
    merged
}

fn parsed(order: Map<String, Value>) -> Result<StampRequest, Problem> {
    body::parse(&serde_json::to_vec(&order).unwrap_or_default()) // it was JSON
}

/// The order for a document's stamp, as `POST /v1/stamps` takes it, with what is stamped.
pub(super) fn request(
    defaults: &[u8],
    order: &DocumentOrder,
    content: Option<Bytes>,
) -> Result<StampRequest, Problem> {
    let defaults: Map<String, Value> = body::parse(defaults)?;
    let order: Map<String, Value> = body::parse(order.order.as_bytes())?;
    let request = parsed(merged(&defaults, order))?;
    Ok(match content {
        Some(content) => request.about(content),
        None => request,
    })
}

/// Without pictures, which are not read again with every document before its turn comes.
fn slim(defaults: &Map<String, Value>) -> Map<String, Value> {
    let mut slim = defaults.clone();
    let clear = |order: &mut Map<String, Value>| {
        if let Some(Value::Object(appearance)) = order.get_mut("appearance")
            && let Some(Value::String(picture)) = appearance.get_mut("picture")
        {
            picture.clear();
        }
    };
    clear(&mut slim);
    if let Some(Value::Array(signers)) = slim.get_mut("signers") {
        signers.iter_mut().filter_map(Value::as_object_mut).for_each(clear);
    }
    slim
}

fn json_octets(members: &Map<String, Value>) -> usize {
    serde_json::to_vec(members).map_or(usize::MAX, |json| json.len())
}

/// Keeps what is to be stamped until it is.
async fn kept(gateway: &Gateway, app: &App, read: Vec<Read>) -> Result<Vec<NewDocument>, Problem> {
    let (mut writing, mut blobs) = (JoinSet::new(), vec![None::<Blob>; read.len()]);
    let mut documents = Vec::with_capacity(read.len());
    for (place, Read { name, order, content, refused, request: _ }) in read.into_iter().enumerate() {
        let (mut source, mut refused) = (None, refused);
        match content {
            _ if refused.is_some() => {}
            Content::Nothing => {}
            Content::Octets(octets) => {
                if writing.len() == WRITERS {
                    written(&mut writing, &mut blobs).await?;
                }
                let (store, whose) = (gateway.stamp_jobs.blobs.clone(), app.id.clone());
                writing.spawn(async move { (place, store.write(&whose, &octets).await) });
            }
            Content::Upload(upload) => {
                let found = gateway.store.upload(&app.id, &upload, OffsetDateTime::now_utc()).await;
                match found.map_err(|error| Problem::from_stamp_jobs(&error))? {
                    Some(upload) => source = Some(Source::of(&upload.blob)),
                    None => refused = Some(Problem::unknown_upload()),
                }
            }
        }
        let order = Value::Object(order).to_string();
        documents
            .push(NewDocument { order: DocumentOrder { name, order, source }, failed: refused.map(failure) });
    }
    while !writing.is_empty() {
        written(&mut writing, &mut blobs).await?;
    }
    let places: Vec<_> = (0..blobs.len()).filter(|place| blobs[*place].is_some()).collect();
    let blobs: Vec<_> = blobs.into_iter().flatten().collect();
    for (place, (upload, _)) in places.into_iter().zip(uploads::keep_all(gateway, &blobs).await?) {
        documents[place].order.source = Some(Source::of(&upload.blob));
    }
    Ok(documents)
}

/// Waits until one more is written.
async fn written(
    writing: &mut JoinSet<(usize, Result<Blob, store::StoreError>)>,
    blobs: &mut [Option<Blob>],
) -> Result<(), Problem> {
    if let Some(done) = writing.join_next().await {
        let (place, blob) = done.map_err(|_| Problem::panicked())?;
        blobs[place] = Some(blob.map_err(|error| Problem::from_stamp_jobs(&error))?);
    }
    Ok(())
}
