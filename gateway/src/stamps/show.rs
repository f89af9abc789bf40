//! `GET /v1/stamps/{id}`: a stamp as the register has it.

use axum::Json;
use axum::extract::State;
use formats::Certificate;
use serde::Serialize;
use store::RecordedStamp;
use time::format_description::well_known::Rfc3339;
use utoipa::ToSchema;

use super::list::ListHeadItem;
use super::make::{SignatureItem, StampMandateItem, grouped};
use crate::auth::{Authenticated, Scope};
use crate::body::Segment;
use crate::evidence;
use crate::evidence::show::EvidenceState;
use crate::problem::{Problem, ProblemDocument};
use crate::state::Gateway;

/// A stamp in the register, for the app that had it made and for auditors.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct StampItem {
    /// Its number.
    stamp_id: String,
    /// What `/verify/{code}` takes.
    check_code: String,
    /// `pdf`, `ofd` or `digest`.
    format: String,
    /// `B-B`, `B-T`, `B-LT` or `B-LTA`.
    level: String,
    /// Who had it made.
    app: String,
    /// By which key.
    key: String,
    /// When, RFC 3339.
    at: String,
    /// Where the signature is: the name of its field in a PDF, its part in an OFD package.
    #[serde(skip_serializing_if = "Option::is_none")]
    field: Option<String>,
    /// The signer's certificate, PEM.
    certificate: String,
    /// SM3 of the document as it came, hexadecimal.
    #[serde(skip_serializing_if = "Option::is_none")]
    input_sm3: Option<String>,
    /// SM3 of the stamped document, hexadecimal.
    #[serde(skip_serializing_if = "Option::is_none")]
    document_sm3: Option<String>,
    /// The digest that was stamped, hexadecimal.
    #[serde(skip_serializing_if = "Option::is_none")]
    digest: Option<String>,
    /// SM3 of the CMS over it, hexadecimal.
    #[serde(skip_serializing_if = "Option::is_none")]
    signature_sm3: Option<String>,
    /// The list that was stamped; `digest` is that of its head.
    #[serde(skip_serializing_if = "Option::is_none")]
    list: Option<ListHeadItem>,
    /// Octets of the stamped document, or of the CMS.
    octets: u64,
    /// Under which mandate, if it was made in an enterprise's name.
    #[serde(skip_serializing_if = "Option::is_none")]
    mandate: Option<StampMandateItem>,
    /// The template that said what it looks like and where it goes.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<String>)]
    template: Option<config::TemplateId>,
    /// Which of its versions.
    #[serde(skip_serializing_if = "Option::is_none")]
    template_version: Option<u32>,
    /// Each of several signatures, in order; `key`, `level`, `field`, `certificate` and `mandate` are the first one's.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    signatures: Vec<SignatureItem>,
    /// What it will be verified with when its certificates are no more (`GET /v1/stamps/{id}/evidence`); absent before that
    /// is taken, and where the site keeps none.
    #[serde(skip_serializing_if = "Option::is_none")]
    evidence: Option<EvidenceState>,
    /// Where it stands in the audit log.
    audit_index: u64,
}

/// A stamp by its number.
#[utoipa::path(
    get, path = "/v1/stamps/{id}", tag = "stamps",
    params(("id" = String, Path, description = "its number, `stamp_id` in answers")),
    responses(
        (status = 200, description = "the stamp", body = StampItem),
        (status = 404, description = "`unknown_stamp`: there is none, or it is another app's and the scope `audit` is missing", body = ProblemDocument, content_type = "application/problem+json"),
    )
)]
pub(crate) async fn get_stamp(
    caller: Authenticated,
    State(gateway): State<Gateway>,
    Segment(id): Segment,
) -> Result<Json<StampItem>, Problem> {
    let RecordedStamp { stamp, audit_index, .. } = stamp_for(&caller, &gateway, &id).await?;
    let evidence = evidence::show::state(&gateway, &stamp.id).await?;
    let certificate = Certificate::from_der(&stamp.certificate);
    let certificate = certificate.map_err(|_| Problem::stamp_register_broken(&stamp.id))?;
    let signatures = stamp.signatures.into_iter().map(SignatureItem::registered).collect::<Result<_, _>>();
    let signatures = signatures.map_err(|_| Problem::stamp_register_broken(&stamp.id))?;
    let (input, result) = (hex::encode(stamp.input_digest), hex::encode(stamp.result_digest));
    let is_digest = stamp.format == "digest";
    let of_document = |text: String| (!is_digest).then_some(text);
    let of_digest = |text: String| is_digest.then_some(text);
    let (template, template_version) = stamp.template.map(|template| (template.id, template.version)).unzip();
    Ok(Json(StampItem {
        check_code: grouped(&stamp.check_code),
        format: stamp.format,
        level: stamp.level,
        app: stamp.app.to_string(),
        key: stamp.key.to_string(),
        at: stamp.at.format(&Rfc3339).unwrap_or_default(),
        field: of_document(stamp.field),
        certificate: certificate.to_pem(),
        input_sm3: of_document(input.clone()),
        document_sm3: of_document(result.clone()),
        digest: of_digest(input),
        signature_sm3: of_digest(result),
        list: stamp.list.map(ListHeadItem::new),
        octets: stamp.octets,
        mandate: stamp.mandate.map(StampMandateItem::new),
        template,
        template_version,
        signatures,
        evidence,
        audit_index,
        stamp_id: stamp.id,
    }))
}

/// A stamp, for the app that had it made and for auditors.
///
/// # Errors
/// Nobody else is told whether there is one.
pub(crate) async fn stamp_for(
    caller: &Authenticated,
    gateway: &Gateway,
    id: &str,
) -> Result<RecordedStamp, Problem> {
    let app = caller.with(Scope::Signatures).or_else(|_| caller.with(Scope::Audit))?;
    let found = gateway.store.stamp(id).await.map_err(|error| Problem::from_stamps(&error))?;
    let found = found.ok_or_else(Problem::unknown_stamp)?;
    let own = found.stamp.app == app.id && caller.using(Scope::Signatures, gateway).is_ok();
    if !own && caller.using(Scope::Audit, gateway).is_err() {
        return Err(Problem::unknown_stamp());
    }
    Ok(found)
}
