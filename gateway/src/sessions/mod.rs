//! `/v1/sessions`: people scan a QR code with their license (扫码) to be let in, to sign, or to let data be read. The app's side
//! is here and in [`watch`], the phone's in [`phone`]; [`waiting`] wakes those who wait. Logins by OpenID Connect scan by [`login`].

pub(crate) mod cosign;
mod fetched;
pub(crate) mod login;
pub(crate) mod phone;
mod result;
pub(crate) mod retained;
mod steps;
pub(crate) mod waiting;
pub(crate) mod watch;

use axum::extract::State;
use axum::http::{HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use axum::{Extension, Json};
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use formats::qr_svg;
use serde::{Deserialize, Serialize};
use store::{App, Keeping, KeyPurpose, ScanFlow, ScanState, ScanStep};
use time::{Duration, OffsetDateTime};
use tracing::Instrument;
use utoipa::ToSchema;
use verify_front::{FACE_FIELDS, FieldGrant, QrPayload, Role, SessionEvent, SessionTerms, StampTerms};

use crate::auth::{Authenticated, Scope};
use crate::body::{Faults, JsonBody, Segment};
use crate::idempotency::{self, Held, Kept};
use crate::problem::{Problem, ProblemDocument};
use crate::stamps::make::random;
use crate::state::Gateway;
pub(crate) use fetched::{Fetched, fetched};
use result::{Confirmed, ResultResponse};
use steps::Record;

/// Characters of a session's id: 130 bits.
const ID_LENGTH: usize = 26;
/// How long a QR code is good for if the app does not say, in seconds.
const TTL: u32 = 300;
/// How long it may be good for, in seconds.
const TTLS: std::ops::RangeInclusive<u32> = 30..=600;
/// Statuses that a session can be open to: 存续; 吊销,未注销; 其他. Whether they permit an item the decision table says.
const STATUSES: [i64; 3] = [1, 2, 9];
/// Most fields that an app asks for at a time.
const MOST_FIELDS: usize = 32;

/// An order for a session.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct SessionRequest {
    /// `login`, `login_sign`, `sign` or `authorise`.
    #[schema(example = "login")]
    pub(crate) flow: String,
    /// The code of the business item (业务事项) that it is about, of those in the site's decision table.
    #[schema(example = "annual-report")]
    pub(crate) item: String,
    /// Its name, which the phone shows: 1 to 100 characters.
    #[schema(example = "年度报告")]
    pub(crate) item_name: String,
    /// The app's own number for the business: 1 to 64 characters.
    pub(crate) biz_no: Option<String>,
    /// Whose consent it takes: `legal_representative`, `administrator`, `agent`. Default all whom the item is for.
    pub(crate) roles: Option<Vec<String>>,
    /// With which registration statuses, where the decision table permits them for the item: of 1 (存续), 2 (吊销,未注销) and
    /// 9 (其他). Default `[1]`.
    pub(crate) statuses: Option<Vec<i64>>,
    /// base64: SM3 of what is to be signed; with `sign` and `login_sign`.
    pub(crate) digest: Option<String>,
    /// What that is, which the phone shows: 1 to 500 characters; with `digest`.
    pub(crate) text: Option<String>,
    /// Which fields of the face it wants to read, of those that the app may see; with `authorise`.
    pub(crate) fields: Option<Vec<String>>,
    /// For how many seconds the QR code is good: 30 to 600. Default 300.
    pub(crate) ttl: Option<u32>,
    /// The session whose QR code this one's takes the place of.
    pub(crate) replaces: Option<String>,
}

/// An order, read.
pub(crate) struct Asked {
    flow: ScanFlow,
    item: String,
    item_name: String,
    biz_no: Option<String>,
    roles: Option<Vec<Role>>,
    statuses: Vec<i64>,
    digest: Option<String>,
    text: Option<String>,
    fields: Vec<String>,
    ttl: u32,
    replaces: Option<String>,
}

impl SessionRequest {
    /// Turns words into types, reporting every fault at once.
    pub(crate) fn check(&self) -> Result<Asked, Problem> {
        let mut faults = Faults::default();
        let flow = faults.word("flow", Some(&self.flow), ScanFlow::NAMES, ScanFlow::Login);
        for (field, text, most) in [
            ("item", Some(&self.item), 60),
            ("item_name", Some(&self.item_name), 100),
            ("biz_no", self.biz_no.as_ref(), 64),
            ("text", self.text.as_ref(), 500),
        ] {
            faults.seen(field, text.map(String::as_str), most);
        }
        let roles = self.roles.as_ref().map(|words| self.roles_of(words, &mut faults));
        let statuses = self.statuses.clone().unwrap_or_else(|| vec![1]);
        if statuses.is_empty() || statuses.len() > 3 || !statuses.iter().all(|code| STATUSES.contains(code)) {
            faults.add(
                "statuses",
                "invalid_value",
                "must be some of 1, 2 and 9: nobody acts with another one",
            );
        }
        let digest = self.digest.as_ref().and_then(|text| {
            let digest = faults.base64("digest", text)?;
            if digest.len() != 32 {
                let detail = format!("must be 32 octets, not {}", digest.len());
                faults.add("digest", "digest_length", detail);
            }
            Some(hex::encode(digest))
        });
        let signs = matches!(flow, Some(ScanFlow::Sign | ScanFlow::LoginSign));
        for (field, there) in [("digest", self.digest.is_some()), ("text", self.text.is_some())] {
            match (signs, there) {
                (true, false) => faults.add(field, "missing_field", "is required where a digest is signed"),
                (false, true) if flow.is_some() => {
                    faults.add(field, "unexpected_field", "is only for sign and login_sign");
                }
                _ => {}
            }
        }
        let fields = self.fields.clone().unwrap_or_default();
        let reads = flow == Some(ScanFlow::Authorise);
        if reads == fields.is_empty() && flow.is_some() || fields.len() > MOST_FIELDS {
            let detail = format!("must be 1 to {MOST_FIELDS} fields with authorise, and absent otherwise");
            faults.add("fields", "invalid_value", detail);
        }
        for (place, field) in fields.iter().take(MOST_FIELDS).enumerate() {
            if !FACE_FIELDS.contains(&field.as_str()) {
                faults.add(
                    "fields",
                    "invalid_value",
                    format!("the face of a license has no field {field:?}"),
                );
            } else if fields[..place].contains(field) {
                faults.add("fields", "invalid_value", format!("names {field} twice"));
            }
        }
        let ttl = self.ttl.unwrap_or(TTL);
        if !TTLS.contains(&ttl) {
            faults.add("ttl", "out_of_range", "must be 30 to 600 seconds");
        }
        let asked = flow.map(|flow| Asked {
            flow,
            item: self.item.clone(),
            item_name: self.item_name.clone(),
            biz_no: self.biz_no.clone(),
            roles,
            statuses,
            digest,
            text: self.text.clone(),
            fields,
            ttl,
            replaces: self.replaces.clone(),
        });
        faults.into_result(asked)
    }

    fn roles_of(&self, words: &[String], faults: &mut Faults) -> Vec<Role> {
        if words.is_empty() || words.len() > Role::NAMES.len() {
            faults.add("roles", "invalid_value", "must be one to three roles");
        }
        let words = words.iter().take(Role::NAMES.len());
        words
            .filter_map(|word| faults.word("roles", Some(word), &Role::NAMES, Role::LegalRepresentative))
            .collect()
    }
}

/// A session whose QR code can be shown.
#[derive(Serialize, ToSchema)]
pub(crate) struct BegunSession {
    /// Its id.
    #[schema(example = "3X7QK2M0T9B4NZD51HVA6CPWRE")]
    pub(crate) session: String,
    /// `created`.
    #[schema(value_type = String)]
    state: ScanState,
    /// Counts its states.
    version: u32,
    /// What the QR code says, signed by the site.
    pub(crate) qr_text: String,
    /// base64: the QR code, SVG.
    qr_svg: String,
    /// When the code ends.
    #[serde(with = "time::serde::rfc3339")]
    #[schema(value_type = String)]
    expires_at: OffsetDateTime,
    /// The number of the one stamp that what is signed can become, where a digest is to be signed.
    #[serde(skip_serializing_if = "Option::is_none")]
    stamp_id: Option<String>,
    /// The request's id.
    request_id: String,
}

/// How far a session is.
#[derive(Serialize, ToSchema)]
pub(crate) struct SessionItem {
    /// Its id.
    pub(crate) session: String,
    /// `created`, `scanned`, `confirmed`, `consumed`, `rejected`, `cancelled`, `expired` or `replaced`.
    #[schema(value_type = String)]
    pub(crate) state: ScanState,
    /// Counts its states.
    pub(crate) version: u32,
    /// When this state ends by itself, unless it is the last.
    #[serde(with = "time::serde::rfc3339")]
    #[schema(value_type = String)]
    pub(crate) expires_at: OffsetDateTime,
    /// Which session took its place.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) replaced_by: Option<String>,
}

/// Begin a session in which somebody scans a QR code with a license (扫码): to log in, to sign a digest, or to let data be read.
#[utoipa::path(
    post, path = "/v1/sessions", tag = "sessions", request_body = SessionRequest,
    responses(
        (status = 201, description = "show the QR code; watch the session by `GET /v1/sessions/{id}` or its events", body = BegunSession),
        (status = 404, description = "`unknown_session`: there is none to be replaced", body = ProblemDocument, content_type = "application/problem+json"),
        (status = "4XX", description = "refused; see `code`", body = ProblemDocument, content_type = "application/problem+json"),
        (status = 503, description = "not now; see `code` and Retry-After", body = ProblemDocument, content_type = "application/problem+json"),
    )
)]
pub(crate) async fn post_session(
    caller: Authenticated,
    State(gateway): State<Gateway>,
    JsonBody(request): JsonBody<SessionRequest>,
) -> Result<Response, Problem> {
    let app = caller.with(Scope::Sessions)?;
    let begun = begun(&gateway, &caller, app, request.check()?, Besides::default()).await?;
    Ok((StatusCode::CREATED, Json(begun)).into_response())
}

/// What a session is that was not asked for by `POST /v1/sessions`.
#[derive(Default)]
pub(crate) struct Besides {
    /// The stamp that is foreseen.
    pub(crate) stamp: Option<StampTerms>,
    /// Its `qrtype`, where it was asked for in the national front's protocol.
    pub(crate) qrtype: Option<&'static str>,
}

/// What phones answer to, where they are known by.
pub(crate) fn site(gateway: &Gateway) -> &str {
    let config = &gateway.config;
    let site = config.server.public_url.as_ref().map_or(config.callers.issuer.as_str(), |url| url.as_str());
    site.trim_end_matches('/')
}

/// A session that is ready to be begun.
struct Prepared {
    id: String,
    terms: SessionTerms,
    /// The terms, JSON.
    said: Vec<u8>,
    /// From when until when.
    times: (OffsetDateTime, OffsetDateTime),
    qr_text: String,
}

/// Begins a session of what was asked.
pub(crate) async fn begun(
    gateway: &Gateway,
    caller: &Authenticated,
    app: &App,
    asked: Asked,
    besides: Besides,
) -> Result<BegunSession, Problem> {
    let replaced = match &asked.replaces {
        Some(id) => Some(steps::of_app(gateway, id, &app.id).await?),
        None => None,
    };
    let Prepared { id, terms, said, times, qr_text } = prepared(gateway, app, asked, besides).await?;
    let record = Record {
        actor: caller.actor(),
        action: "session.create",
        subject: id.clone(),
        input_digest: terms.digest.clone(),
        result_digest: None,
    };
    steps::begin(gateway, (&id, &app.id), &terms, &said, times, replaced, record).await?;
    Ok(BegunSession {
        session: id,
        state: ScanState::Created,
        version: 1,
        qr_svg: STANDARD.encode(qr_svg(&qr_text).ok_or_else(|| Problem::session_broken("QR code"))?),
        qr_text,
        expires_at: times.1,
        stamp_id: terms.stamp.map(|stamp| stamp.id),
        request_id: crate::request_id::current(),
    })
}

/// What a session of what was asked would be; its code is signed.
async fn prepared(gateway: &Gateway, app: &App, asked: Asked, besides: Besides) -> Result<Prepared, Problem> {
    let Besides { stamp, qrtype } = besides;
    let grant = FieldGrant::new(app.fields.iter().cloned());
    if let Some(field) = asked.fields.iter().find(|field| grant.within(&[(*field).clone()]).is_empty()) {
        return Err(Problem::session_field_not_granted(field));
    }
    let item_roles =
        gateway.licenses.roles_for(&asked.item).ok_or_else(|| Problem::session_item_unknown(&asked.item))?;
    if let Some(role) = asked.roles.iter().flatten().find(|role| !item_roles.contains(role)) {
        return Err(Problem::session_role_not_permitted(*role));
    }
    let roles = asked.roles.unwrap_or_else(|| item_roles.to_vec());
    // What is signed once is stamped once: under this number.
    let stamp = stamp.or_else(|| asked.digest.is_some().then(cosign::numbered));
    let at = OffsetDateTime::now_utc();
    let expires_at = at + Duration::seconds(asked.ttl.into());
    let expires_at = OffsetDateTime::from_unix_timestamp(expires_at.unix_timestamp()).unwrap_or(expires_at);
    let terms = SessionTerms {
        app: app.id.to_string(),
        app_name: app.name.clone(),
        flow: asked.flow,
        item: asked.item,
        item_name: asked.item_name,
        biz_no: asked.biz_no,
        roles,
        statuses: asked.statuses,
        digest: asked.digest,
        text: asked.text,
        fields: asked.fields,
        nonce: format!("{:032x}", u128::from_le_bytes(steps::random_octets()?)),
        stamp,
        qrtype: qrtype.map(str::to_owned),
    };
    let id = random(ID_LENGTH);
    let answers_at = if qrtype.is_some() { crate::compat::PHONES } else { "/v1/phone/sessions:scan" };
    let sys_url = format!("{}{answers_at}", site(gateway));
    let payload = QrPayload { expires: expires_at.unix_timestamp(), qrid: id.clone(), sys_url };
    let text = payload.text();
    let signed = gateway.system.sign(KeyPurpose::Front, |_, _| text.clone().into_bytes()).await;
    let qr_text = payload.signed(&signed.map_err(|error| Problem::front_not_ready(&error))?.signature);
    let said = serde_json::to_vec(&terms).map_err(|_| Problem::session_broken("terms"))?;
    Ok(Prepared { id, terms, said, times: (at, expires_at), qr_text })
}

/// Give a session up that is not confirmed.
#[utoipa::path(
    post, path = "/v1/sessions/{id}/cancel", tag = "sessions",
    params(("id" = String, Path, description = "its id")),
    responses(
        (status = 200, description = "it is cancelled", body = SessionItem),
        (status = 404, description = "`unknown_session`", body = ProblemDocument, content_type = "application/problem+json"),
        (status = "4XX", description = "refused; see `code`", body = ProblemDocument, content_type = "application/problem+json"),
    )
)]
pub(crate) async fn cancel_session(
    caller: Authenticated,
    State(gateway): State<Gateway>,
    Segment(id): Segment,
) -> Result<Json<SessionItem>, Problem> {
    let app = caller.with(Scope::Sessions)?;
    let record = || Record::of(caller.actor(), "session.cancel", &id);
    let find = || steps::of_app(&gateway, &id, &app.id);
    let step = |_: &_| Ok(ScanStep::to(ScanState::Cancelled));
    let advanced = steps::advance(&gateway, find, SessionEvent::Cancel, step, record, || None).await?;
    Ok(Json(advanced.item()))
}

/// Fetch what was confirmed: once, and within five minutes.
#[utoipa::path(
    post, path = "/v1/sessions/{id}/consume", tag = "sessions",
    params(("id" = String, Path, description = "its id")),
    responses(
        (status = 200, description = "who agreed to what, signed by the site, with the proof by the license's key", body = ResultResponse),
        (status = 404, description = "`unknown_session`", body = ProblemDocument, content_type = "application/problem+json"),
        (status = 409, description = "`session_not_confirmed`; `session_consumed`", body = ProblemDocument, content_type = "application/problem+json"),
        (status = "4XX", description = "refused; see `code`", body = ProblemDocument, content_type = "application/problem+json"),
        (status = 503, description = "not now; see `code` and Retry-After", body = ProblemDocument, content_type = "application/problem+json"),
    )
)]
pub(crate) async fn consume_session(
    caller: Authenticated,
    held: Option<Extension<Held>>,
    State(gateway): State<Gateway>,
    Segment(id): Segment,
) -> Result<Response, Problem> {
    let app = caller.with(Scope::Sessions)?;
    let kept = held.is_some();
    let body = consumed(&gateway, app, caller.actor(), &id, held).await?;
    let fields = [(header::CONTENT_TYPE, "application/json"), (header::CACHE_CONTROL, "no-store")];
    let fields = fields.map(|(name, value)| (name, HeaderValue::from_static(value)));
    let mut response = (fields, body).into_response();
    if kept {
        response.extensions_mut().insert(Kept);
    }
    Ok(response)
}

/// Has a session's result counted as fetched, and answers it.
pub(super) async fn consumed(
    gateway: &Gateway,
    app: &App,
    actor: String,
    id: &str,
    held: Option<Extension<Held>>,
) -> Result<Vec<u8>, Problem> {
    let grant = FieldGrant::new(app.fields.iter().cloned());
    let (gateway, app, id) = (gateway.clone(), app.id.clone(), id.to_owned());
    // In a task of its own: a caller that hangs up in the middle leaves no session half consumed.
    let work = async move {
        let session = steps::of_app(&gateway, &id, &app).await?;
        let event = SessionEvent::Consume;
        steps::permitted(&session, event, OffsetDateTime::now_utc())?;
        let confirmed = session.result.as_deref().and_then(|octets| Confirmed::read(octets));
        let confirmed = confirmed.ok_or_else(|| Problem::session_broken("result"))?;
        // Before it counts as fetched: what fails until then can be tried again.
        let (response, digest) = confirmed.answer(&gateway, &session, &grant).await?;
        let (body, index_at) = idempotency::unplaced(&response);
        let answer = idempotency::ok(body, index_at);
        let find = || steps::of_app(&gateway, &id, &app);
        let step = |_: &_| Ok(ScanStep::to(ScanState::Consumed));
        let record = || Record {
            result_digest: Some(hex::encode(digest)),
            subject: format!("{id} {}", confirmed.uscc()),
            ..Record::of(actor.clone(), "session.consume", &id)
        };
        let keep = || {
            let claim = held.as_ref().map(|Extension(Held(claim))| std::sync::Arc::clone(claim))?;
            let answer = idempotency::fitting(answer.clone(), &crate::request_id::current());
            Some(Keeping { claim, answer })
        };
        let advanced = steps::advance(&gateway, find, event, step, record, keep).await?;
        Ok::<_, Problem>(answer.placed(advanced.audit_index.unwrap_or_default()).body)
    };
    let id = crate::request_id::current();
    let scope = crate::request_id::scope(id, std::sync::Arc::default(), work);
    tokio::spawn(scope.in_current_span()).await.map_err(|_| Problem::panicked())?
}
