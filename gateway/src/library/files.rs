//! `GET /v1/licenses/{uscc}/files…`: the files of an entity's license (公示版), as the library has them.

use axum::Json;
use axum::body::Body;
use axum::extract::rejection::PathRejection;
use axum::extract::{Path, State};
use axum::http::{HeaderMap, Method, StatusCode, header};
use axum::response::Response;
use formats::license_file::FileForm;
use formats::uscc::Uscc;
use serde::{Deserialize, Serialize};
use store::{AuditEntry, Contents, LicenseFile};
use time::OffsetDateTime;
use utoipa::ToSchema;
use verify_front::{FieldGrant, StatusAnswer};

use super::delivery::{self, Delivered, Wanted};
use crate::auth::{Authenticated, Scope};
use crate::body::{Faults, QueryOf, Segment};
use crate::licenses::read_uscc;
use crate::problem::{Problem, ProblemDocument};
use crate::stamps::document::MOST_OCTETS;
use crate::state::Gateway;

/// The field that an app is granted to have files: they show the whole face.
const FIELD: &str = "license_file";
/// The grant to have those of licenses that have ended too.
const ARCHIVE: &str = "license_file_archive";
/// Characters of what a file is fetched for.
const MOST_PURPOSE: usize = 100;

/// Which file, and what for.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct FileQuery {
    digest: Option<String>,
    purpose: Option<String>,
}

/// The files of an entity's license.
#[derive(Serialize, ToSchema)]
pub(crate) struct LicenseFileList {
    /// Whose.
    uscc: String,
    /// `{code, text, flags, as_of}`: what the register says of the entity.
    #[schema(value_type = Object)]
    status: StatusAnswer,
    /// The newest first, at most 200.
    items: Vec<LicenseFileItem>,
    /// Always null.
    next: Option<String>,
}

/// A file of a license.
#[derive(Serialize, ToSchema)]
pub(crate) struct LicenseFileItem {
    /// `ofd` or `pdf`.
    kind: &'static str,
    /// `application/ofd` or `application/pdf`.
    media_type: &'static str,
    /// SM3 over it, hexadecimal.
    digest: String,
    /// Its octets.
    octets: u64,
    /// When it came into the library.
    #[serde(with = "time::serde::rfc3339")]
    #[schema(value_type = String)]
    added_at: OffsetDateTime,
    /// Its entity tag.
    #[schema(example = "\"66c7f0f4…\"")]
    etag: String,
    /// Whether it is what is delivered where no digest is named.
    current: bool,
}

fn tag(contents: &Contents) -> String {
    format!("\"{}\"", contents.name())
}

/// The files that the library has of an entity's license, the newest first.
#[utoipa::path(
    get, path = "/v1/licenses/{uscc}/files", tag = "licenses",
    params(("uscc" = String, Path, description = "unified social credit code, 18 characters")),
    responses(
        (status = 200, description = "the files; none if the library has none", body = LicenseFileList),
        (status = 403, description = "`field_not_granted`: the app may not have files; `license_ended`", body = ProblemDocument, content_type = "application/problem+json"),
        (status = 404, description = "`license_unknown`", body = ProblemDocument, content_type = "application/problem+json"),
        (status = 422, description = "`uscc_invalid`", body = ProblemDocument, content_type = "application/problem+json"),
    )
)]
pub(crate) async fn list_files(
    caller: Authenticated,
    State(gateway): State<Gateway>,
    Segment(uscc): Segment,
) -> Result<Json<LicenseFileList>, Problem> {
    caller.with(Scope::Licenses)?;
    let uscc = read_uscc(&gateway, &uscc)?;
    let look =
        Look { gateway: &gateway, caller: &caller, action: "license.files", subject: uscc.to_string() };
    let status = look.status(&uscc).await?;
    let files = gateway.store.license_files(&uscc).await;
    let files = files.map_err(|error| Problem::from_license_files(&error))?;
    look.record("ok", None).await?;
    let mut seen = Vec::new();
    let items = files.into_iter().map(|LicenseFile { form, contents, added_at, .. }| {
        let current = !seen.contains(&form);
        seen.push(form);
        LicenseFileItem {
            kind: form.name(),
            media_type: form.media_type(),
            etag: tag(&contents),
            digest: contents.name(),
            octets: contents.octets,
            added_at,
            current,
        }
    });
    Ok(Json(LicenseFileList { uscc: uscc.to_string(), status, items: items.collect(), next: None }))
}

/// The contents of a file of an entity's license: the newest of its form, or the one of a digest.
#[utoipa::path(
    get, path = "/v1/licenses/{uscc}/files/{kind}", tag = "licenses",
    params(
        ("uscc" = String, Path, description = "unified social credit code, 18 characters"),
        ("kind" = String, Path, description = "`ofd` or `pdf`"),
        ("digest" = Option<String>, Query, description = "SM3 of the file that is wanted, hexadecimal; default the newest one"),
        ("purpose" = Option<String>, Query, description = "what it is for, for the record: 1 to 100 characters"),
        ("if-none-match" = Option<String>, Header, description = "`ETag`s of answers before"),
        ("range" = Option<String>, Header, description = "one range of octets; several are answered by the whole"),
        ("if-range" = Option<String>, Header, description = "the `ETag` that the range is about"),
    ),
    responses(
        (status = 200, description = "the file. `ETag`; `x-license-status` is the code of the entity's registration status",
            content((String = "application/ofd"), (String = "application/pdf"))),
        (status = 206, description = "the range of it", content((String = "application/ofd"), (String = "application/pdf"))),
        (status = 304, description = "it is the same"),
        (status = 403, description = "`field_not_granted`: the app may not have files; `license_ended`", body = ProblemDocument, content_type = "application/problem+json"),
        (status = 404, description = "`license_unknown`, `license_file_unknown`", body = ProblemDocument, content_type = "application/problem+json"),
        (status = 410, description = "`license_file_removed`", body = ProblemDocument, content_type = "application/problem+json"),
        (status = 416, description = "`range_not_satisfiable`", body = ProblemDocument, content_type = "application/problem+json"),
        (status = 422, description = "a parameter cannot be used; see `errors`", body = ProblemDocument, content_type = "application/problem+json"),
        (status = 500, description = "`license_file_broken`: what is kept is damaged", body = ProblemDocument, content_type = "application/problem+json"),
    )
)]
pub(crate) async fn get_file(
    caller: Authenticated,
    State(gateway): State<Gateway>,
    path: Result<Path<(String, String)>, PathRejection>,
    QueryOf(query): QueryOf<FileQuery>,
    method: Method,
    headers: HeaderMap,
) -> Result<Response, Problem> {
    caller.with(Scope::Licenses)?;
    let Path((uscc, kind)) = path.map_err(|_| Problem::not_found())?;
    let uscc = read_uscc(&gateway, &uscc)?;
    let (form, digest) = query.check(&kind, gateway.config.library.require_purpose)?;
    let purpose = query.purpose.iter().flat_map(|purpose| [" ", purpose.as_str()]).collect::<String>();
    let subject = format!("{uscc} {}{purpose}", form.name());
    let look = Look { gateway: &gateway, caller: &caller, action: "license.file", subject };
    let status = look.status(&uscc).await?;
    let found = gateway.store.license_file(&uscc, form, digest.as_ref()).await;
    let contents = match found.map_err(|error| Problem::from_license_files(&error))? {
        Some(LicenseFile { removed_at: None, contents, .. }) => contents,
        Some(removed) => {
            return Err(look.refused(Problem::license_file_removed(), Some(&removed.contents)).await);
        }
        None => return Err(look.refused(Problem::license_file_unknown(), None).await),
    };
    let entity_tag = tag(&contents);
    let delivered = Delivered {
        tag: &entity_tag,
        media_type: form.media_type(),
        name: &format!("{uscc}.{}", form.name()),
        octets: contents.octets,
    };
    let wanted = Wanted::of(&headers, &entity_tag, contents.octets);
    let (code, range, outcome) = match wanted {
        Wanted::Nothing => (StatusCode::NOT_MODIFIED, None, "not_modified"),
        Wanted::Unsatisfiable => {
            let problem = Problem::range_not_satisfiable(contents.octets);
            let problem = look.refused(problem, Some(&contents)).await;
            return delivered.unsatisfiable(problem);
        }
        Wanted::Whole => (StatusCode::OK, Some(0..=contents.octets - 1), "whole"),
        Wanted::Part(range) => (StatusCode::PARTIAL_CONTENT, Some(range), "partial"),
    };
    let is_head = method == Method::HEAD;
    let body = match &range {
        Some(range) if !is_head => {
            match delivery::body(&gateway.license_files, &contents, range.clone()).await {
                Ok(body) => body,
                Err(error) => {
                    gateway.metrics.license_file(form, "broken");
                    return Err(look.refused(Problem::from_license_files(&error), Some(&contents)).await);
                }
            }
        }
        _ => Body::empty(),
    };
    let outcome = if is_head { "head" } else { outcome };
    // Before the first octet leaves.
    look.record(if outcome == "whole" { "ok" } else { outcome }, Some(&contents)).await?;
    gateway.metrics.license_file(form, outcome);
    let status = (header::HeaderName::from_static("x-license-status"), status.code.to_string());
    delivered.answer(code, range.as_ref(), body, Some(status))
}

/// A file of an entity's license, the newest or the one of a digest, as `GET /v1/licenses/{uscc}/files/{kind}` delivers it, whole.
///
/// # Errors
/// As of that route; `license_file_too_large` of one that is too large to be held.
pub(crate) async fn whole(
    gateway: &Gateway,
    caller: &Authenticated,
    uscc: &Uscc,
    (form, digest): (FileForm, Option<&[u8; 32]>),
    purpose: Option<String>,
) -> Result<Vec<u8>, Problem> {
    let query = FileQuery { digest: None, purpose };
    let (form, _) = query.check(form.name(), gateway.config.library.require_purpose)?;
    let purpose = query.purpose.iter().flat_map(|purpose| [" ", purpose.as_str()]).collect::<String>();
    let subject = format!("{uscc} {}{purpose}", form.name());
    let look = Look { gateway, caller, action: "license.file", subject };
    look.status(uscc).await?;
    let found = gateway.store.license_file(uscc, form, digest).await;
    let contents = match found.map_err(|error| Problem::from_license_files(&error))? {
        Some(LicenseFile { removed_at: None, contents, .. }) => contents,
        Some(removed) => {
            return Err(look.refused(Problem::license_file_removed(), Some(&removed.contents)).await);
        }
        None => return Err(look.refused(Problem::license_file_unknown(), None).await),
    };
    if contents.octets > MOST_OCTETS as u64 {
        return Err(look.refused(Problem::license_file_too_large(MOST_OCTETS), Some(&contents)).await);
    }
    let mut octets = Vec::new();
    for part in 0..contents.octets.div_ceil(Contents::PART) {
        match gateway.license_files.part(&contents, part).await {
            Ok(read) => octets.extend(read),
            Err(error) => {
                gateway.metrics.license_file(form, "broken");
                return Err(look.refused(Problem::from_license_files(&error), Some(&contents)).await);
            }
        }
    }
    look.record("ok", Some(&contents)).await?;
    gateway.metrics.license_file(form, "whole");
    Ok(octets)
}

/// Refuses who may not have files.
pub(crate) fn granted(gateway: &Gateway, caller: &Authenticated) -> Result<(), Problem> {
    let app = caller.using(Scope::Licenses, gateway)?;
    let grant = FieldGrant::new(app.fields.iter().cloned());
    if grant.shows(FIELD) { Ok(()) } else { Err(Problem::field_not_granted(FIELD)) }
}

impl FileQuery {
    fn check(&self, kind: &str, require_purpose: bool) -> Result<(FileForm, Option<[u8; 32]>), Problem> {
        let mut faults = Faults::default();
        let form = FileForm::of_name(kind);
        if form.is_none() {
            faults.add("kind", "invalid_value", "must be ofd or pdf");
        }
        let mut digest = [0; 32];
        if self.digest.as_ref().is_some_and(|text| hex::decode_to_slice(text, &mut digest).is_err()) {
            faults.add("digest", "invalid_value", "must be 64 hexadecimal digits");
        }
        faults.seen("purpose", self.purpose.as_deref(), MOST_PURPOSE);
        if self.purpose.is_none() && require_purpose {
            faults.add("purpose", "missing_field", "this site asks what a file is fetched for");
        }
        faults.into_result(form.map(|form| (form, self.digest.is_some().then_some(digest))))
    }
}

/// A look into the library that goes on record, whatever comes of it.
struct Look<'a> {
    gateway: &'a Gateway,
    caller: &'a Authenticated,
    action: &'static str,
    subject: String,
}

impl Look<'_> {
    /// What the register says of the entity, if the caller may have its files.
    async fn status(&self, uscc: &Uscc) -> Result<StatusAnswer, Problem> {
        let app = self.caller.with(Scope::Licenses)?;
        let grant = FieldGrant::new(app.fields.iter().cloned());
        if !grant.shows(FIELD) {
            return Err(Problem::field_not_granted(FIELD));
        }
        let Some(status) = self.gateway.licenses.status(uscc).await? else {
            return Err(self.refused(Problem::license_unknown(), None).await);
        };
        if status.has_ended() && !grant.names(ARCHIVE) {
            return Err(self.refused(Problem::license_ended(status.code, status.text), None).await);
        }
        Ok(status)
    }

    async fn record(&self, outcome: &str, contents: Option<&Contents>) -> Result<(), Problem> {
        let caller = self.caller.caller();
        let entry = AuditEntry {
            action: self.action.to_owned(),
            actor: self.caller.actor(),
            at: caller.at,
            device: None,
            input_digest: None,
            key: None,
            outcome: outcome.to_owned(),
            request_id: caller.request_id,
            result_digest: contents.map(Contents::name),
            subject: Some(self.subject.clone()),
        };
        let recorded = self.gateway.audit.append(entry).await;
        recorded.map(drop).map_err(|error| Problem::record_unavailable(&error))
    }

    /// A refusal that is on record; why it is not, if it is not.
    async fn refused(&self, problem: Problem, contents: Option<&Contents>) -> Problem {
        self.record(problem.code(), contents).await.err().unwrap_or(problem)
    }
}
