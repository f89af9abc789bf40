//! Documents that a license's key signs on its holder's phone (企业签章): `POST /v1/sessions:stamp` foresees the stamp, so that its
//! digest is what the session asks to be signed, and `POST /v1/stamps` puts the signature into the document (`signer: {session}`).
//! Nothing is kept of the document in between: the same order comes to the same digest.

use axum::Json;
use axum::extract::State;
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use formats::{Algorithm, Certificate};
use serde::Deserialize;
use signing::StampSubject;
use store::{App, RecordedStamp, ScanState};
use time::OffsetDateTime;
use utoipa::ToSchema;
use verify_front::{FieldGrant, LicenseType, SessionEvent, StampTerms, StatusQuestion};

use super::result::Confirmed;
use super::{BegunSession, Besides, SessionRequest, begun, phone, steps};
use crate::auth::{Authenticated, Scope};
use crate::body::Object;
use crate::problem::{Fault, Problem, ProblemDocument};
use crate::stamps::document::{DocumentBody, DocumentPlace};
use crate::stamps::form::{Setting, StampRequest};
use crate::stamps::make::{CODE_LENGTH, grouped, number, page_of, random};
use crate::state::Gateway;
use crate::templates::Templates;

/// An order for a session in which a stamp is signed.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct StampSessionRequest {
    /// As of `POST /v1/sessions`: `sign` or `login_sign`, without `digest`.
    #[schema(value_type = SessionRequest)]
    session: Object<SessionRequest>,
    /// As of `POST /v1/stamps`, without `signer`.
    #[schema(value_type = StampRequest)]
    stamp: Object<StampRequest>,
}

impl StampSessionRequest {
    /// Turns words into types: what is asked but for the digest, and the stamp.
    pub(crate) fn check(self) -> Result<(super::Asked, StampRequest), Problem> {
        let Self { session: Object(session), stamp: Object(stamp) } = self;
        if session.digest.is_some() {
            let fault = Fault::new("session.digest", "not_applicable", "is the stamp's own");
            return Err(Problem::faults(vec![fault]));
        }
        let session = SessionRequest { digest: Some(STANDARD.encode([0; 32])), ..session };
        let asked = session.check().map_err(|problem| problem.within("session"))?;
        if stamp.names_signers() {
            let fault = Fault::new("stamp.signer", "not_applicable", "the license's key signs, and it alone");
            return Err(Problem::faults(vec![fault]));
        }
        stamp.fits_a_license().map_err(|problem| problem.within("stamp"))?;
        Ok((asked, stamp))
    }
}

/// What a license's key signed in a session.
pub(crate) struct CoSigned {
    pub(crate) license: Certificate,
    /// SignedData of GB/T 35275 over the digest.
    pub(crate) cms: Vec<u8>,
    /// The digest.
    digest: String,
    /// The stamp that this can become.
    pub(crate) stamp: Option<StampTerms>,
    /// That stamp, if it was made before: the same order is answered with it again.
    pub(crate) made: Option<Box<RecordedStamp>>,
}

impl CoSigned {
    /// Whether this is what was signed.
    ///
    /// # Errors
    /// It is something else.
    pub(crate) fn is_of(&self, subject: &StampSubject) -> Result<(), Problem> {
        match hex::encode(subject.message_digest()?) == self.digest {
            true => Ok(()),
            false => Err(Problem::stamp_differs()),
        }
    }
}

/// What the license's key signed in a session of this app whose result the app has fetched.
///
/// # Errors
/// There is no such session, it is not so far, or nothing was signed in it; the app may not see all that the license shows, which
/// the stamp does; the stamp was not made before, and the license may not be used any more.
pub(crate) async fn signed(gateway: &Gateway, app: &App, id: &str) -> Result<CoSigned, Problem> {
    let session = steps::of_app(gateway, id, &app.id).await?;
    if session.state != ScanState::Consumed {
        steps::permitted(&session, SessionEvent::Consume, OffsetDateTime::now_utc())?;
        return Err(Problem::session_not_consumed());
    }
    let Some(result) = session.result.as_deref() else { return Err(Problem::session_forgotten()) };
    let confirmed = Confirmed::read(result).ok_or_else(|| Problem::session_broken("result"))?;
    let terms = steps::terms(&session)?;
    let (Some(digest), Some((license, cms))) = (terms.digest.clone(), confirmed.co_signature()?) else {
        return Err(Problem::session_signs_nothing());
    };
    if !confirmed.shows_license_to(&FieldGrant::new(app.fields.iter().cloned())) {
        return Err(Problem::license_not_granted());
    }
    let made = match &terms.stamp {
        Some(stamp) => gateway.store.stamp(&stamp.id).await.map_err(|error| Problem::from_stamps(&error))?,
        None => None,
    };
    if made.is_some() {
        return Ok(CoSigned { license, cms, digest, stamp: terms.stamp, made: made.map(Box::new) });
    }
    // It was judged when its holder agreed, up to a day ago: a stamp is made by a license that is good when it is made.
    let at = OffsetDateTime::now_utc();
    let examined = gateway.licenses.examine(license.der(), LicenseType::Certificate, at);
    let answer = gateway.licenses.complete(examined, &StatusQuestion::now(at)).await?;
    gateway.metrics.judged("license", answer.judgement.verdict);
    phone::accepted(&answer, &terms.statuses)?;
    Ok(CoSigned { license, cms, digest, stamp: terms.stamp, made: None })
}

/// Begin a session in which the key of somebody's license signs a document on his phone.
#[utoipa::path(
    post, path = "/v1/sessions:stamp", tag = "sessions", request_body = StampSessionRequest,
    responses(
        (status = 201, description = "show the QR code; when the result was fetched, order the same stamp with `signer: {session}`", body = BegunSession),
        (status = 404, description = "`unknown_session`: there is none to be replaced", body = ProblemDocument, content_type = "application/problem+json"),
        (status = "4XX", description = "refused; see `code`", body = ProblemDocument, content_type = "application/problem+json"),
        (status = 503, description = "not now; see `code` and Retry-After", body = ProblemDocument, content_type = "application/problem+json"),
    )
)]
pub(crate) async fn post_stamp_session(
    caller: Authenticated,
    State(gateway): State<Gateway>,
    DocumentBody { request, place }: DocumentBody<StampSessionRequest>,
) -> Result<Response, Problem> {
    let app = caller.with(Scope::Signatures).and_then(|_| caller.with(Scope::Sessions))?;
    let (mut asked, stamp) = request.check()?;
    let (stamp, digest) =
        foreseen(&gateway, app, stamp, place).await.map_err(|problem| problem.within("stamp"))?;
    asked.digest = Some(hex::encode(digest));
    let besides = Besides { stamp: Some(stamp), ..Besides::default() };
    let begun = begun(&gateway, &caller, app, asked, besides).await?;
    Ok((StatusCode::CREATED, Json(begun)).into_response())
}

/// The number of a stamp that is made once, now.
pub(super) fn numbered() -> StampTerms {
    let at = OffsetDateTime::now_utc();
    let at = at.replace_nanosecond(0).unwrap_or(at);
    StampTerms { id: number(at), check_code: random(CODE_LENGTH), at }
}

/// A stamp as it would be, and the digest that is signed in it.
async fn foreseen(
    gateway: &Gateway,
    app: &App,
    request: StampRequest,
    place: DocumentPlace,
) -> Result<(StampTerms, [u8; 32]), Problem> {
    let (request, _) = Templates::default().resolved(gateway, app, request).await?;
    // A template may have said more.
    if request.names_signers() {
        let fault = Fault::new("signer", "not_applicable", "the license's key signs, and it alone");
        return Err(Problem::faults(vec![fault]));
    }
    request.fits_a_license()?;
    let terms = numbered();
    let at = terms.at;
    let (id, shown) = (terms.id.clone(), grouped(&terms.check_code));
    let page = gateway.config.server.public_url.as_ref().map(|url| page_of(url.as_str(), &shown));
    let foresee = move || {
        let _place = place;
        let setting = Setting {
            algorithm: Algorithm::Sm2Sm3,
            at,
            id: &id,
            check_code: &shown,
            check_page: page.as_deref(),
            seal: None,
            is_template: false,
        };
        Ok::<_, Problem>(request.check(&setting)?.prepared()?.message_digest()?)
    };
    let digest = gateway.judging.run(foresee).await?.await.map_err(|_| Problem::panicked())??;
    Ok((terms, digest))
}
