//! `getLicencePdf.do`: the file of a license, for who may have files.

use axum::extract::{Request, State};
use axum::http::Uri;
use axum::response::Response;
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use formats::license_file::FileForm;
use formats::uscc::Uscc;
use serde::Deserialize;
use serde_json::{Map, Value};
use store::LicenseFile;
use utoipa::ToSchema;

use super::message::{answer, no_store};
use super::{FILE, object, signature};
use crate::auth::{Authenticated, Scope};
use crate::body::{self, Patience};
use crate::library::files;
pub(super) use crate::library::files::granted;
use crate::licenses::read_uscc;
use crate::problem::Problem;
use crate::sessions::site;
use crate::state::Gateway;

/// Octets of a form at most.
const LARGEST: usize = 4 << 10;

/// Which file.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct PdfQuery {
    /// Whose: unified social credit code.
    uniscid: String,
    /// Which one, as `imageurl` says it; without it the newest.
    pdfcode: Option<String>,
    /// What it is for, where the site wants to know.
    purpose: Option<String>,
}

/// The file of an entity's license, in the national front's protocol: `message_content.licencePDF`, base64.
#[utoipa::path(
    get, path = "/authenticationService/getLicencePdf.do", tag = "compatibility",
    params(
        ("uniscid" = String, Query, description = "unified social credit code, 18 characters"),
        ("pdfcode" = Option<String>, Query, description = "which file, as `imageurl` says it; without it the newest"),
        ("purpose" = Option<String>, Query, description = "what it is for, for the record: 1 to 100 characters"),
    ),
    responses(
        (status = 200, description = "`message_header` with `errorCode` `0`, or the code of why not; `message_content`", body = Object),
        (status = "4XX", description = "nobody who may ask; in the same form", body = Object),
    )
)]
pub(crate) async fn get_license_pdf(
    caller: Authenticated,
    State(gateway): State<Gateway>,
    uri: Uri,
) -> Result<Response, Problem> {
    delivered(&gateway, &caller, body::query(&uri)?).await
}

/// The same, with the parameters in the query or as a form.
#[utoipa::path(
    post, path = "/authenticationService/getLicencePdf.do", tag = "compatibility",
    request_body(content = PdfQuery, content_type = "application/x-www-form-urlencoded"),
    responses(
        (status = 200, description = "`message_header` with `errorCode` `0`, or the code of why not; `message_content`", body = Object),
        (status = "4XX", description = "nobody who may ask; in the same form", body = Object),
    )
)]
pub(crate) async fn post_license_pdf(
    caller: Authenticated,
    State(gateway): State<Gateway>,
    request: Request,
) -> Result<Response, Problem> {
    let (parts, body) = request.into_parts();
    let octets = body::read(body, LARGEST, Patience::of(&gateway.config.server)).await?;
    let query = match octets.is_empty() {
        true => body::query(&parts.uri)?,
        false => {
            let text = std::str::from_utf8(&octets).unwrap_or_default().trim();
            let uri = Uri::try_from(format!("/?{text}")).map_err(|_| Problem::pdf_form())?;
            body::query(&uri)?
        }
    };
    delivered(&gateway, &caller, query).await
}

async fn delivered(gateway: &Gateway, caller: &Authenticated, query: PdfQuery) -> Result<Response, Problem> {
    let delivered = async {
        granted(gateway, caller)?;
        let uscc = read_uscc(gateway, &query.uniscid)?;
        let mut digest = [0; 32];
        let code = query.pdfcode.as_ref();
        if code.is_some_and(|code| hex::decode_to_slice(code, &mut digest).is_err()) {
            return Err(Problem::pdfcode_invalid());
        }
        let pdf = pdf(gateway, caller, &uscc, code.map(|_| &digest), query.purpose).await?;
        Ok(object([("licencePDF", STANDARD.encode(pdf)), ("uniscid", uscc.to_string())]))
    };
    let content: Result<Map<String, Value>, Problem> = delivered.await;
    gateway.metrics.compat("pdf", content.as_ref().map_or_else(Problem::code, |_| "ok"));
    let content = content?;
    let sign = signature(gateway, &content).await?;
    Ok(no_store(answer("1", &sign, content)))
}

/// A license's PDF.
pub(super) async fn pdf(
    gateway: &Gateway,
    caller: &Authenticated,
    uscc: &Uscc,
    digest: Option<&[u8; 32]>,
    purpose: Option<String>,
) -> Result<Vec<u8>, Problem> {
    caller.using(Scope::Licenses, gateway)?;
    files::whole(gateway, caller, uscc, (FileForm::Pdf, digest), purpose).await
}

/// Where the newest PDF of a license is fetched, for who may have files; none if there is none.
pub(super) async fn address(
    gateway: &Gateway,
    caller: &Authenticated,
    uscc: &Uscc,
) -> Result<Option<String>, Problem> {
    if granted(gateway, caller).is_err() {
        return Ok(None);
    }
    let found = gateway.store.license_file(uscc, FileForm::Pdf, None).await;
    let found = found.map_err(|error| Problem::from_license_files(&error))?;
    let Some(LicenseFile { removed_at: None, contents, .. }) = found else { return Ok(None) };
    Ok(Some(format!("{}{FILE}?uniscid={uscc}&pdfcode={}", site(gateway), contents.name())))
}
