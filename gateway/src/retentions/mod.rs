//! `/v1/retentions`: 执照留档, licenses that apps keep as they were shown, with what was found of them then.

pub(crate) mod file;
mod make;
mod record;
pub(crate) mod show;
mod sweep;

use axum::Extension;
use axum::extract::State;
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Response};
use formats::license_file::FileForm;
use serde::{Deserialize, Serialize};
use store::App;
use utoipa::ToSchema;
use verify_front::{LicenseType, Role};

use crate::auth::{Authenticated, Scope};
use crate::body::Faults;
use crate::idempotency::{Held, Kept};
use crate::licenses::license_octets;
use crate::problem::{Problem, ProblemDocument};
use crate::stamps::document::{DocumentBody, MOST_OCTETS};
use crate::state::Gateway;
use record::RetentionRecord;
pub(crate) use sweep::sweep;

/// An order to keep a license.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct RetentionRequest {
    /// What is kept: `library`, a file of the license library; `file`, a license that is handed in; `session`, what a session
    /// came to.
    #[schema(example = "library")]
    source: String,
    /// Whose file: unified social credit code; with `library`.
    uscc: Option<String>,
    /// `ofd` or `pdf`; with `library`.
    kind: Option<String>,
    /// SM3 of the file, hexadecimal; with `library`. Default the newest one.
    digest: Option<String>,
    /// The license: PEM text, or base64 of the DER or of the file, at most 16 MiB; with `file`.
    license: Option<String>,
    /// `certificate` (default), `ofd` or `pdf`; with `file`.
    #[serde(rename = "type")]
    license_type: Option<String>,
    /// The session in which it was shown, of this app; required with `session`.
    session: Option<String>,
    /// The code of the business item (业务事项), of those in the site's decision table; without a session, whose it is
    /// otherwise.
    item: Option<String>,
    /// The app's own number for the business: 1 to 64 characters. Retentions are found by it.
    #[schema(example = "2026-000017")]
    biz_no: String,
    /// What it is kept for: 1 to 100 characters.
    purpose: Option<String>,
    /// As whom somebody showed it: `legal_representative`, `administrator` or `agent`; without a session, which knows it
    /// otherwise.
    role: Option<String>,
}

/// An order, read.
pub(crate) struct Asked {
    what: What,
    session: Option<String>,
    /// Of an order without a session: item and role.
    told: Option<(String, Role)>,
    biz_no: String,
    purpose: Option<String>,
}

/// What is to be kept.
enum What {
    Library { uscc: String, form: FileForm, digest: Option<[u8; 32]> },
    File { octets: Vec<u8>, kind: LicenseType },
    Session,
}

/// The words for it.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Source {
    Library,
    File,
    Session,
}

const SOURCES: [(&str, Source); 3] =
    [("library", Source::Library), ("file", Source::File), ("session", Source::Session)];

impl What {
    fn source(&self) -> &'static str {
        match self {
            Self::Library { .. } => "library",
            Self::File { .. } => "file",
            Self::Session => "session",
        }
    }
}

impl RetentionRequest {
    /// Turns words into types, reporting every fault at once.
    pub(crate) fn check(&self) -> Result<Asked, Problem> {
        let mut faults = Faults::default();
        let source = faults.word("source", Some(&self.source), &SOURCES, Source::Library);
        for (field, text, most) in [
            ("biz_no", Some(&self.biz_no), 64),
            ("item", self.item.as_ref(), 60),
            ("purpose", self.purpose.as_ref(), 100),
            ("session", self.session.as_ref(), 64),
        ] {
            faults.seen(field, text.map(String::as_str), most);
        }
        self.check_places(source, &mut faults);
        let what = match source {
            Some(Source::Library) => self.of_library(&mut faults),
            Some(Source::File) => self.of_file(&mut faults),
            Some(Source::Session) => Some(What::Session),
            None => None,
        };
        let role = faults.word("role", self.role.as_deref(), &Role::NAMES, Role::LegalRepresentative);
        let told = self.item.clone().zip(role).filter(|_| self.session.is_none());
        let asked = what.map(|what| Asked {
            what,
            session: self.session.clone(),
            told,
            biz_no: self.biz_no.clone(),
            purpose: self.purpose.clone(),
        });
        faults.into_result(asked)
    }

    /// Which fields there are to be, and which not.
    fn check_places(&self, source: Option<Source>, faults: &mut Faults) {
        let Some(source) = source else { return };
        for (field, is_there, of) in [
            ("uscc", self.uscc.is_some(), Source::Library),
            ("kind", self.kind.is_some(), Source::Library),
            ("digest", self.digest.is_some(), Source::Library),
            ("license", self.license.is_some(), Source::File),
            ("type", self.license_type.is_some(), Source::File),
        ] {
            let is_optional = matches!(field, "digest" | "type");
            if is_there && of != source {
                faults.add(field, "not_applicable", "belongs to another source");
            } else if !is_there && of == source && !is_optional {
                faults.add(field, "missing_field", "belongs to this source");
            }
        }
        if source == Source::Session && self.session.is_none() {
            faults.add("session", "missing_field", "belongs to this source");
        }
        for (field, is_there) in [("item", self.item.is_some()), ("role", self.role.is_some())] {
            match (is_there, self.session.is_some()) {
                (true, true) => faults.add(field, "not_applicable", "is what the session says"),
                (false, false) => {
                    faults.add(field, "missing_field", "is to be said where there is no session")
                }
                _ => {}
            }
        }
    }

    fn of_library(&self, faults: &mut Faults) -> Option<What> {
        let form = FileForm::of_name(self.kind.as_deref()?);
        if form.is_none() {
            faults.add("kind", "invalid_value", "must be ofd or pdf");
        }
        let mut digest = [0; 32];
        if self.digest.as_ref().is_some_and(|text| hex::decode_to_slice(text, &mut digest).is_err()) {
            faults.add("digest", "invalid_value", "must be 64 hexadecimal digits");
        }
        let digest = self.digest.is_some().then_some(digest);
        Some(What::Library { uscc: self.uscc.clone()?, form: form?, digest })
    }

    fn of_file(&self, faults: &mut Faults) -> Option<What> {
        let octets = license_octets(faults, self.license.as_deref()?);
        if octets.as_ref().is_some_and(Vec::is_empty) {
            faults.add("license", "invalid_value", "must not be empty");
        }
        if octets.as_ref().is_some_and(|octets| octets.len() > MOST_OCTETS) {
            faults.add("license", "document_too_large", format!("must have at most {MOST_OCTETS} octets"));
        }
        let kinds =
            [("certificate", LicenseType::Certificate), ("ofd", LicenseType::Ofd), ("pdf", LicenseType::Pdf)];
        let kind = faults.word("type", self.license_type.as_deref(), &kinds, LicenseType::Certificate);
        Some(What::File { octets: octets?, kind: kind? })
    }
}

/// The app that asks; a person or a user of this machine has nothing kept.
fn asking(caller: &Authenticated) -> Result<&App, Problem> {
    let app = caller.with(Scope::Licenses)?;
    if caller.person().is_some() || caller.is_local_user() { Err(Problem::apps_only()) } else { Ok(app) }
}

/// A license that is kept.
#[derive(Serialize, ToSchema)]
pub(crate) struct RetentionResponse {
    /// Where it stands in the audit log. First, so that the rest can be written before it is known.
    audit_index: u64,
    /// Which log that is, where several gateways share a database.
    audit_log: String,
    /// SM3 of the record's text, hexadecimal, as it stands in the audit log.
    record_sm3: String,
    #[serde(flatten)]
    record: RetentionRecord,
    /// The request's id.
    request_id: String,
}

/// Keep a license as it is shown, for a business matter (执照留档): a file of the library, a license that is handed in, or what
/// a session came to. It is judged, and kept whatever the verdict is.
#[utoipa::path(
    post, path = "/v1/retentions", tag = "licenses", request_body = RetentionRequest,
    responses(
        (status = 201, description = "judged, kept and on record; granted face fields only", body = RetentionResponse),
        (status = 403, description = "`field_not_granted`: the app may not have license files; `license_ended`", body = ProblemDocument, content_type = "application/problem+json"),
        (status = 404, description = "`license_unknown`, `license_file_unknown`, `unknown_session`", body = ProblemDocument, content_type = "application/problem+json"),
        (status = 409, description = "`session_not_confirmed`, `session_other_license`, `license_file_too_large`", body = ProblemDocument, content_type = "application/problem+json"),
        (status = 410, description = "`license_file_removed`, `session_result_gone`", body = ProblemDocument, content_type = "application/problem+json"),
        (status = "4XX", description = "refused; see `code`", body = ProblemDocument, content_type = "application/problem+json"),
        (status = 503, description = "not now; see `code` and Retry-After", body = ProblemDocument, content_type = "application/problem+json"),
    )
)]
pub(crate) async fn post_retention(
    caller: Authenticated,
    held: Option<Extension<Held>>,
    State(gateway): State<Gateway>,
    DocumentBody { request, place }: DocumentBody<RetentionRequest>,
) -> Result<Response, Problem> {
    asking(&caller)?;
    let asked = request.check()?;
    drop(request); // its text is a third larger than the octets
    let claim = held.map(|Extension(Held(claim))| claim);
    let has_claim = claim.is_some();
    let body = make::make(&gateway, &caller, asked, claim).await?;
    drop(place);
    let fields = [(header::CONTENT_TYPE, "application/json"), (header::CACHE_CONTROL, "no-store")];
    let mut response = (StatusCode::CREATED, fields, body).into_response();
    if has_claim {
        response.extensions_mut().insert(Kept);
    }
    Ok(response)
}
