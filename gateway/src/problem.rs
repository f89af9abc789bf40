//! The one place that knows HTTP status codes: every error of the layers below becomes a problem document
//! (RFC 9457) with a stable `code`. A new variant anywhere fails to compile here until it is mapped.

mod approvals;
mod callers;
mod compat;
mod deliveries;
mod devices;
mod incidents;
mod inspections;
mod library;
mod mandates;
mod oidc;
mod people;
mod query_certificates;
mod record;
mod retentions;
#[cfg(feature = "sandbox")]
mod sandbox;
mod seals;
mod sessions;
mod signing;
mod stamp_jobs;
mod templates;
mod timestamps;

use axum::Json;
use axum::http::{HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use formats::report::ReportError;
use serde::Serialize;
use store::StoreError;
use utoipa::ToSchema;
use verify_front::FrontError;

use crate::error::with_causes;
use crate::reload::ReloadError;

/// What is not on record, and whether it was done nobody knows.
const UNRECORDED: &str = "audit_unavailable";

/// One faulty field of a request.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, ToSchema)]
pub(crate) struct Fault {
    /// Path of the field, such as `input.digest`.
    #[schema(example = "input.digest")]
    pub(crate) field: String,
    /// Stable code of this fault.
    #[schema(example = "digest_length")]
    pub(crate) code: &'static str,
    /// For people.
    #[schema(example = "must be 32 octets, not 20")]
    pub(crate) detail: String,
}

impl Fault {
    pub(crate) fn new(field: impl Into<String>, code: &'static str, detail: impl Into<String>) -> Self {
        Self { field: field.into(), code, detail: detail.into() }
    }
}

/// A refusal on its way out.
#[derive(Debug)]
pub(crate) struct Problem {
    status: StatusCode,
    code: &'static str,
    title: &'static str,
    detail: String,
    errors: Vec<Fault>,
    /// Seconds after which another try makes sense.
    retry_after: Option<u32>,
    /// What only the log may know.
    internal: Option<String>,
    /// Whether keys signed for what was not made: another try has them sign once more.
    has_signed: bool,
}

/// A problem document (RFC 9457).
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct ProblemDocument {
    /// Names the kind of problem; the last path segment is `code`.
    #[serde(rename = "type")]
    #[schema(example = "/docs#digest_length")]
    kind: String,
    /// The kind in words.
    title: &'static str,
    /// HTTP status code.
    status: u16,
    /// What is wrong in this case.
    pub(crate) detail: String,
    /// Stable code for programs.
    #[schema(example = "digest_length")]
    code: &'static str,
    /// Every faulty field.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    errors: Vec<Fault>,
    /// The request's id, also in the `x-request-id` header; filled in on the way out.
    request_id: String,
}

impl Problem {
    pub(crate) fn new(
        status: StatusCode,
        code: &'static str,
        title: &'static str,
        detail: impl Into<String>,
    ) -> Self {
        Self {
            status,
            code,
            title,
            detail: detail.into(),
            errors: Vec::new(),
            retry_after: None,
            internal: None,
            has_signed: false,
        }
    }

    /// The stable code.
    pub(crate) fn code(&self) -> &'static str {
        self.code
    }

    /// What is wrong with which field.
    pub(crate) fn into_faults(self) -> Vec<Fault> {
        self.errors
    }

    /// Whether it is the gateway that cannot, rather than the caller that may not.
    pub(crate) fn is_unavailable(&self) -> bool {
        self.status.is_server_error()
    }

    /// Whether another try makes sense.
    pub(crate) fn may_pass(&self) -> bool {
        self.retry_after.is_some()
    }

    /// The same, where so many signatures were made for what was not made.
    pub(crate) fn after_signing(self, signed: usize) -> Self {
        Self { has_signed: signed > 0, ..self }
    }

    /// Whether keys signed for what was not made.
    pub(crate) fn has_signed(&self) -> bool {
        self.has_signed
    }

    /// Whether it says that the record could not be written, and so not whether what it is about was done.
    pub(crate) fn is_about_the_record(&self) -> bool {
        self.code == UNRECORDED
    }

    fn unavailable(code: &'static str, title: &'static str, detail: impl Into<String>) -> Self {
        Self { retry_after: Some(1), ..Self::new(StatusCode::SERVICE_UNAVAILABLE, code, title, detail) }
    }

    fn internal(code: &'static str, internal: impl Into<String>) -> Self {
        let detail = "the gateway could not do this; its log says why under this request's id";
        let problem = Self::new(StatusCode::INTERNAL_SERVER_ERROR, code, "Internal error", detail);
        Self { internal: Some(internal.into()), ..problem }
    }

    /// The request was understood and some of its fields are wrong; `faults` is not empty.
    pub(crate) fn faults(faults: Vec<Fault>) -> Self {
        let code = faults.first().map_or("invalid_request", |fault| fault.code);
        let detail = faults
            .iter()
            .map(|fault| format!("{}: {}", fault.field, fault.detail))
            .collect::<Vec<_>>()
            .join("; ");
        let status = StatusCode::UNPROCESSABLE_ENTITY;
        Self { errors: faults, ..Self::new(status, code, "Invalid request", detail) }
    }

    /// The same, about the signer at this place of an order's list.
    pub(crate) fn of_signer(mut self, place: usize) -> Self {
        const OF_THE_WHOLE: [&str; 5] = ["(body)", "digest", "document", "format", "template"];
        for fault in &mut self.errors {
            let own = if fault.field == "key" { "signer.key" } else { &fault.field };
            if !OF_THE_WHOLE.contains(&own) && !own.starts_with("signers[") {
                fault.field = format!("signers[{place}].{own}");
            }
        }
        self.detail = format!("signers[{place}]: {}", self.detail);
        self
    }

    /// The same, about what stands in this member of an order.
    pub(crate) fn within(mut self, member: &str) -> Self {
        for fault in &mut self.errors {
            fault.field = format!("{member}.{}", fault.field);
        }
        self
    }

    /// A report that cannot be set; what was judged is not to blame.
    pub(crate) fn no_report(error: &ReportError) -> Self {
        Self::internal("report_not_made", error.to_string())
    }

    pub(crate) fn malformed_json(detail: impl Into<String>) -> Self {
        Self::new(StatusCode::BAD_REQUEST, "malformed_json", "Malformed JSON", detail)
    }

    pub(crate) fn unsupported_media_type() -> Self {
        let detail = "the request body must be application/json";
        Self::new(
            StatusCode::UNSUPPORTED_MEDIA_TYPE,
            "unsupported_media_type",
            "Unsupported media type",
            detail,
        )
    }

    pub(crate) fn body_too_large(limit: usize) -> Self {
        let detail = format!("the request body may have {limit} octets at most");
        Self::new(StatusCode::PAYLOAD_TOO_LARGE, "body_too_large", "Body too large", detail)
    }

    pub(crate) fn body_timeout() -> Self {
        let detail = "the request body did not arrive in time";
        Self::new(StatusCode::REQUEST_TIMEOUT, "body_timeout", "Body timeout", detail)
    }

    pub(crate) fn body_broken() -> Self {
        Self::new(StatusCode::BAD_REQUEST, "body_broken", "Body broken", "the request body broke off")
    }

    pub(crate) fn not_found() -> Self {
        Self::new(StatusCode::NOT_FOUND, "not_found", "Not found", "there is nothing at this path")
    }

    pub(crate) fn method_not_allowed() -> Self {
        let detail = "this path does not take that method; see the Allow header";
        Self::new(StatusCode::METHOD_NOT_ALLOWED, "method_not_allowed", "Method not allowed", detail)
    }

    pub(crate) fn scope_missing(scope: &str) -> Self {
        let detail = format!("this caller has no scope {scope}");
        Self::new(StatusCode::FORBIDDEN, "scope_missing", "Not permitted", detail)
    }

    pub(crate) fn field_not_granted(field: &'static str) -> Self {
        let detail = format!("this caller may not see the field {field}");
        Self::new(StatusCode::FORBIDDEN, "field_not_granted", "Not permitted", detail)
    }

    pub(crate) fn key_not_permitted(key: &config::KeyId) -> Self {
        let fault = Fault::new("key", "key_not_permitted", format!("this app may not use {key}"));
        let problem =
            Self::new(StatusCode::FORBIDDEN, "key_not_permitted", "Not permitted", fault.detail.clone());
        Self { errors: vec![fault], ..problem }
    }

    pub(crate) fn unknown_key(key: &str) -> Self {
        let fault = Fault::new("key", "unknown_key", format!("there is no key {key:?}"));
        let problem = Self::new(StatusCode::NOT_FOUND, "unknown_key", "Unknown key", fault.detail.clone());
        Self { errors: vec![fault], ..problem }
    }

    pub(crate) fn no_wrapping_key(group: &config::GroupId) -> Self {
        let detail = format!("group {group} has no wrapping key under which keys could travel");
        Self::new(StatusCode::CONFLICT, "no_wrapping_key", "No wrapping key", detail)
    }

    pub(crate) fn key_exists(key: &config::KeyId) -> Self {
        let detail = format!("there is a key {key} already");
        Self::new(StatusCode::CONFLICT, "key_exists", "Key exists", detail)
    }

    pub(crate) fn unknown_key_version(detail: impl Into<String>) -> Self {
        Self::new(StatusCode::NOT_FOUND, "unknown_key_version", "Unknown version", detail)
    }

    pub(crate) fn unknown_app(id: &str) -> Self {
        Self::new(StatusCode::NOT_FOUND, "unknown_app", "Unknown app", format!("there is no app {id:?}"))
    }

    pub(crate) fn unknown_ceremony(id: &str) -> Self {
        let detail = format!("there is no ceremony {id:?}");
        Self::new(StatusCode::NOT_FOUND, "unknown_ceremony", "Unknown ceremony", detail)
    }

    pub(crate) fn socket_only() -> Self {
        let detail = "this is done at the admin socket only";
        Self::new(StatusCode::FORBIDDEN, "socket_only", "Not permitted", detail)
    }

    pub(crate) fn too_many_attempts(pause: std::time::Duration) -> Self {
        let detail = "too many wrong secrets in this custodian's name";
        let retry_after = u32::try_from(pause.as_secs()).ok();
        let problem =
            Self::new(StatusCode::TOO_MANY_REQUESTS, "too_many_attempts", "Too many attempts", detail);
        Self { retry_after, ..problem }
    }

    pub(crate) fn unknown_device(id: &str) -> Self {
        Self::new(
            StatusCode::NOT_FOUND,
            "unknown_device",
            "Unknown device",
            format!("there is no device {id:?}"),
        )
    }

    pub(crate) fn not_quarantined(device: &config::DeviceId) -> Self {
        let detail = format!("device {device} is not in quarantine");
        Self::new(StatusCode::CONFLICT, "not_quarantined", "Not in quarantine", detail)
    }

    pub(crate) fn self_test_failed(device: &config::DeviceId, checks: Vec<Fault>) -> Self {
        let detail = format!("device {device} failed {} check(s) of its self-test", checks.len());
        let problem = Self::new(StatusCode::CONFLICT, "self_test_failed", "Self-test failed", detail);
        Self { errors: checks, ..problem }
    }

    pub(crate) fn fault_not_possible() -> Self {
        let detail = "faults can be commanded to the simulated devices of a sandbox only";
        Self::new(StatusCode::NOT_FOUND, "fault_not_possible", "No simulated device", detail)
    }

    pub(crate) fn fault_file(error: &std::io::Error) -> Self {
        Self::internal("fault_file_unusable", error.to_string())
    }

    pub(crate) fn data_key_pending(error: &StoreError) -> Self {
        Self::new(StatusCode::CONFLICT, "data_key_pending", "Data key pending", error.to_string())
    }

    /// No device wraps a new data key; why is for the log.
    pub(crate) fn data_key_not_wrapped(why: String) -> Self {
        let detail = "no device of the group wraps a new data key now";
        let problem = Self::unavailable("devices_unavailable", "No device available", detail);
        Self { internal: Some(why), ..problem }
    }

    pub(crate) fn license_unknown() -> Self {
        let detail = "the library holds no entity with this code";
        Self::new(StatusCode::NOT_FOUND, "license_unknown", "License unknown", detail)
    }

    pub(crate) fn idempotency_mismatch() -> Self {
        let detail = "another request came under this idempotency key";
        Self::new(StatusCode::CONFLICT, "idempotency_mismatch", "Another request", detail)
    }

    pub(crate) fn idempotency_in_progress() -> Self {
        let detail = "the request under this idempotency key is still being carried out";
        let title = "Being carried out";
        Self {
            retry_after: Some(1),
            ..Self::new(StatusCode::CONFLICT, "idempotency_in_progress", title, detail)
        }
    }

    pub(crate) fn idempotency_unresolved(began: &str) -> Self {
        let detail = format!(
            "request {began} was begun under this idempotency key and broke off; the audit log and the state of what \
             it was about tell how far it came"
        );
        Self::new(StatusCode::CONFLICT, "idempotency_unresolved", "Outcome unknown", detail)
    }

    pub(crate) fn idempotency_answer_not_kept(done: &str) -> Self {
        let detail =
            format!("request {done} did this; its answer is not kept, for it held a secret or was too large");
        Self::new(StatusCode::CONFLICT, "idempotency_answer_not_kept", "Done before", detail)
    }

    pub(crate) fn overloaded() -> Self {
        Self::unavailable("overloaded", "Overloaded", "the gateway works on as many requests as it may")
    }

    pub(crate) fn too_late() -> Self {
        let detail = "the request could not be answered in its time";
        Self::unavailable("deadline_exceeded", "Deadline exceeded", detail)
    }

    pub(crate) fn share_exceeded() -> Self {
        let detail = "this app has as many requests worked on as its share of the gateway allows";
        Self::unavailable("share_exceeded", "Overloaded", detail)
    }

    pub(crate) fn client_certificate_refused() -> Self {
        let detail = "the certificate that this connection showed does not hold any more";
        Self::new(StatusCode::UNAUTHORIZED, "client_certificate_refused", "Not authenticated", detail)
    }

    pub(crate) fn panicked() -> Self {
        Self::internal("internal_error", "a handler panicked")
    }
}

impl Problem {
    /// What the register of keys, apps, custodians and ceremonies refused, or could not do.
    pub(crate) fn from_register(error: &StoreError) -> Self {
        let conflict = |code, title| Self::new(StatusCode::CONFLICT, code, title, error.to_string());
        match error {
            StoreError::NotFound { what, id } => match *what {
                "ceremony" => Self::unknown_ceremony(id),
                "app" => Self::unknown_app(id),
                "key" => Self::unknown_key(id),
                "custodian" => {
                    let status = StatusCode::NOT_FOUND;
                    Self::new(status, "unknown_custodian", "Unknown custodian", error.to_string())
                }
                _ => Self::unknown_key_version(error.to_string()),
            },
            StoreError::Changed { .. } => Self::changed_meanwhile(),
            StoreError::NotAllowed { what: "ceremony", state: "expired", .. } => {
                conflict("ceremony_expired", "Ceremony expired")
            }
            StoreError::NotAllowed { what: "ceremony", .. } => {
                conflict("ceremony_not_open", "Ceremony not open")
            }
            StoreError::NotAllowed { .. } => conflict("key_state", "Not in this state"),
            StoreError::AlreadyExists { what: "confirmation", .. } => {
                conflict("already_confirmed", "Confirmed already")
            }
            StoreError::AlreadyExists { what: "custodian", .. } => {
                conflict("custodian_exists", "Custodian exists")
            }
            StoreError::AlreadyExists { .. } => conflict("key_exists", "Key exists"),
            StoreError::Unacceptable { what: "ceremony", .. } => {
                conflict("too_few_custodians", "Too few custodians")
            }
            StoreError::Unacceptable { what: "custodian", reason, .. } => {
                Self::faults(vec![Fault::new("secret", "invalid_value", *reason)])
            }
            StoreError::RuleBroken { what: "custodian", .. } => {
                Self::faults(vec![Fault::new("name", "invalid_value", "must be 1 to 64 characters")])
            }
            StoreError::Unacceptable { .. } | StoreError::RuleBroken { .. } => {
                let status = StatusCode::UNPROCESSABLE_ENTITY;
                Self::new(status, "ceremony_not_possible", "Not possible", error.to_string())
            }
            StoreError::AuditUnavailable
            | StoreError::AuditTime
            | StoreError::AuditAltered { .. }
            | StoreError::AuditGuard { .. } => Self::record_unavailable(error),
            StoreError::UnsupportedUrl
            | StoreError::Open { .. }
            | StoreError::UnfitServer { .. }
            | StoreError::Full { .. }
            | StoreError::Locked
            | StoreError::Altered { .. }
            | StoreError::SchemaTooNew { .. }
            | StoreError::Migration(_)
            | StoreError::MissingReference { .. }
            | StoreError::Corrupt { .. }
            | StoreError::Interrupted
            | StoreError::NoncesUnavailable
            | StoreError::ClaimsUnavailable
            | StoreError::Blobs { .. }
            | StoreError::Query(_) => Self::database(error),
        }
    }

    pub(crate) fn record_unavailable(error: &StoreError) -> Self {
        let title = "Record unavailable";
        let problem = Self::unavailable(UNRECORDED, title, "the record could not be written");
        Self { internal: Some(with_causes(error)), ..problem }
    }

    pub(crate) fn database(error: &StoreError) -> Self {
        let (code, title, detail) = match error {
            StoreError::Locked => ("data_locked", "Data locked", "no device has given the data key yet"),
            StoreError::Altered { .. } => {
                ("data_altered", "Data altered", "what is stored was altered outside the gateway")
            }
            StoreError::Blobs { .. } => {
                ("documents_unavailable", "Documents unavailable", "the documents' store did not answer")
            }
            _ => ("database_unavailable", "Database unavailable", "the database did not answer"),
        };
        let problem = Self::unavailable(code, title, detail);
        Self { internal: Some(with_causes(error)), ..problem }
    }
}

impl From<ReloadError> for Problem {
    fn from(error: ReloadError) -> Self {
        let code = error.code();
        let faults = || {
            let reasons = error.reasons().into_iter();
            reasons.map(|(field, reason)| Fault::new(field, code, reason)).collect::<Vec<_>>()
        };
        match &error {
            ReloadError::Config(_) | ReloadError::Unusable(_) | ReloadError::Devices(_) => {
                Self { title: "Configuration refused", ..Self::faults(faults()) }
            }
            ReloadError::Restart(_) => {
                let title = "Restart required";
                Self { errors: faults(), ..Self::new(StatusCode::CONFLICT, code, title, error.to_string()) }
            }
            ReloadError::Register(source) => Self::database(source),
            ReloadError::Record(source) => Self::record_unavailable(source),
            ReloadError::Busy | ReloadError::Stopping => {
                Self::unavailable(code, "Not now", error.to_string())
            }
        }
    }
}

impl From<FrontError> for Problem {
    fn from(error: FrontError) -> Self {
        match &error {
            FrontError::TestIdentityInProduction => {
                Self::faults(vec![Fault::new("uscc", "test_identity_in_production", error.to_string())])
            }
            FrontError::Library(source) => Self::database(source),
            FrontError::UnknownStatus(_) => Self::internal("library_broken", error.to_string()),
            FrontError::StatusUnavailable(_) | FrontError::StatusUnfit { .. } => {
                Self::status_not_certified(&error)
            }
        }
    }
}

/// Carries the code of a problem to the layer that counts and logs, and the place for the request id.
#[derive(Clone)]
pub(crate) struct ProblemCode(pub(crate) &'static str);

impl Problem {
    /// The document; what only the log may know goes there.
    pub(crate) fn document(self, request_id: String) -> ProblemDocument {
        if let Some(internal) = &self.internal {
            tracing::error!(code = self.code, error = %internal, "request failed");
        }
        ProblemDocument {
            kind: format!("/docs#{}", self.code),
            title: self.title,
            status: self.status.as_u16(),
            detail: self.detail,
            code: self.code,
            errors: self.errors,
            request_id,
        }
    }
}

impl Problem {
    /// The answer, with a body made of the document.
    pub(crate) fn respond<T: Serialize>(
        self,
        media_type: &'static str,
        body: impl FnOnce(ProblemDocument) -> T,
    ) -> Response {
        let (status, code, retry_after) = (self.status, self.code, self.retry_after);
        let document = self.document(crate::request_id::current());
        let mut response = (status, Json(body(document))).into_response();
        let headers = response.headers_mut();
        headers.insert(header::CONTENT_TYPE, HeaderValue::from_static(media_type));
        headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
        if let Some(seconds) = retry_after {
            headers.insert(header::RETRY_AFTER, HeaderValue::from(seconds));
        }
        if status == StatusCode::UNAUTHORIZED {
            let challenge = match code {
                "token_invalid" | "token_expired" => {
                    r#"Bearer realm="license-gateway", error="invalid_token""#
                }
                _ => r#"Bearer realm="license-gateway""#,
            };
            headers.insert(header::WWW_AUTHENTICATE, HeaderValue::from_static(challenge));
        }
        response.extensions_mut().insert(ProblemCode(code));
        response
    }
}

impl IntoResponse for Problem {
    fn into_response(self) -> Response {
        self.respond("application/problem+json", |document| document)
    }
}

#[cfg(test)]
impl Problem {
    pub(crate) fn fields(&self) -> impl Iterator<Item = &str> {
        self.errors.iter().map(|fault| fault.field.as_str())
    }
}
