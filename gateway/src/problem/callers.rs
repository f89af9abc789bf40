//! What callers are told who did not prove themselves, or who may not ask; and what is wrong with the register of
//! apps. Whoever has not proved to be an app learns nothing of it: not even whether there is one.

use std::time::Duration;

use axum::http::StatusCode;
use config::AppId;
use signing::{Limit, SigningRule};
use store::{Rate, StoreError};
use time::OffsetDateTime;
use time::format_description::well_known::Rfc3339;

use super::{Fault, Problem};
use crate::policies;

const NOT_AUTHENTICATED: &str = "Not authenticated";

impl Problem {
    pub(super) fn not_authenticated(code: &'static str, detail: impl Into<String>) -> Self {
        Self::new(StatusCode::UNAUTHORIZED, code, NOT_AUTHENTICATED, detail)
    }

    pub(super) fn later(
        code: &'static str,
        title: &'static str,
        detail: impl Into<String>,
        wait: Duration,
    ) -> Self {
        // Rounded up: whoever comes back after that long finds it true.
        let seconds = wait.as_secs() + u64::from(wait.subsec_nanos() > 0);
        let retry_after = Some(u32::try_from(seconds.max(1)).unwrap_or(u32::MAX));
        Self { retry_after, ..Self::new(StatusCode::TOO_MANY_REQUESTS, code, title, detail) }
    }

    pub(crate) fn api_key_missing() -> Self {
        let detail = "the x-api-key header is missing, and nothing else says who asks";
        Self::not_authenticated("api_key_missing", detail)
    }

    pub(crate) fn api_key_invalid() -> Self {
        Self::not_authenticated("api_key_invalid", "the API key is not one of this site")
    }

    pub(crate) fn api_key_not_admitted() -> Self {
        let detail = "API keys are admitted in a sandbox and on loopback only";
        Self::not_authenticated("api_key_not_admitted", detail)
    }

    pub(crate) fn credentials_missing() -> Self {
        let detail =
            "nothing says who asks: sign the request, or send an access token, or use a client certificate";
        Self::not_authenticated("credentials_missing", detail)
    }

    pub(crate) fn credentials_ambiguous() -> Self {
        let detail = "a request proves its app in one way: by x-signature, by authorization or by x-api-key";
        Self::new(StatusCode::BAD_REQUEST, "credentials_ambiguous", "Ambiguous credentials", detail)
    }

    pub(crate) fn header_repeated(name: &str) -> Self {
        Self::signature_headers(vec![Fault::new(name, "header_repeated", "must be there once")])
    }

    /// Fields that prove who asks are missing, twice there or not well-formed.
    pub(crate) fn signature_headers(faults: Vec<Fault>) -> Self {
        let detail = faults.iter().map(|fault| format!("{} {}", fault.field, fault.detail));
        let detail = detail.collect::<Vec<_>>().join("; ");
        let problem =
            Self::new(StatusCode::BAD_REQUEST, "signature_headers", "Invalid header fields", detail);
        Self { errors: faults, ..problem }
    }

    pub(crate) fn clock_skew(now: OffsetDateTime) -> Self {
        let shown = now.format(&Rfc3339).unwrap_or_default();
        let detail = format!(
            "x-timestamp is more than 300 s from this server's time, {} ({shown})",
            now.unix_timestamp()
        );
        Self::not_authenticated("clock_skew", detail)
    }

    /// The same for an app that is unknown and for one whose key is another.
    pub(crate) fn signature_invalid() -> Self {
        let detail = "the signature is not by a credential of this app over this request";
        Self::not_authenticated("client_signature_invalid", detail)
    }

    pub(crate) fn replay() -> Self {
        Self::not_authenticated("replay", "this was used before; every request needs a nonce of its own")
    }

    pub(crate) fn token_invalid(detail: &'static str) -> Self {
        Self::not_authenticated("token_invalid", detail)
    }

    pub(crate) fn token_expired() -> Self {
        Self::not_authenticated("token_expired", "this access token has expired")
    }

    pub(crate) fn certificate_unknown() -> Self {
        Self::not_authenticated("certificate_unknown", "the client certificate is not one of an app")
    }

    /// A token request's app did not prove itself.
    pub(crate) fn client_refused(detail: impl Into<String>) -> Self {
        Self::not_authenticated("client_refused", detail)
    }

    pub(crate) fn assertion_time(now: OffsetDateTime) -> Self {
        let detail = format!(
            "the client assertion must hold now and end within ten minutes; this server's time is {}",
            now.unix_timestamp()
        );
        Self::not_authenticated("clock_skew", detail)
    }

    /// A token request that says something that cannot be.
    pub(super) fn token_refused(code: &'static str, detail: impl Into<String>) -> Self {
        Self::new(StatusCode::BAD_REQUEST, code, "Invalid token request", detail)
    }

    pub(crate) fn token_request(detail: impl Into<String>) -> Self {
        Self::token_refused("invalid_request", detail)
    }

    pub(crate) fn unsupported_grant_type(supported: &str) -> Self {
        Self::token_refused("unsupported_grant_type", format!("grant_type must be {supported}"))
    }

    pub(crate) fn invalid_scope(missing: &str) -> Self {
        let shown: String = missing.chars().take(64).collect();
        Self::token_refused("invalid_scope", format!("this app has no scope {shown}"))
    }

    pub(crate) fn token_key_unfit() -> Self {
        Self::internal("token_key_unfit", "the key for tokens does not sign by ECDSA on P-256")
    }

    pub(crate) fn no_random(error: &getrandom::Error) -> Self {
        Self::internal("internal_error", format!("no random numbers: {error}"))
    }

    /// Told to the app itself only: it has proved to be it.
    fn app_refused(code: &'static str, app: &AppId, why: &str) -> Self {
        Self::new(StatusCode::FORBIDDEN, code, "Not permitted", format!("app {app} {why}"))
    }

    pub(crate) fn app_disabled(app: &AppId) -> Self {
        Self::app_refused("app_disabled", app, "is disabled")
    }

    pub(crate) fn app_locked(app: &AppId) -> Self {
        Self::app_refused("app_locked", app, "is locked")
    }

    pub(crate) fn app_not_valid(app: &AppId, why: &str) -> Self {
        Self::app_refused("app_not_valid", app, why)
    }

    /// An order that the app's signing policy, or the site's default, does not let through.
    pub(crate) fn policy_refused(
        app: &AppId,
        version: Option<u32>,
        rule: Option<&SigningRule>,
        limits: &[Limit],
    ) -> Self {
        let faults: Vec<_> = limits.iter().map(|limit| policies::fault(*limit, rule)).collect();
        let said = faults.iter().map(|fault| fault.detail.as_str()).collect::<Vec<_>>().join("; ");
        let detail = match (rule, version) {
            (Some(rule), Some(version)) => {
                format!("rule {} of the signing policy of {app}, version {version}: {said}", rule.name)
            }
            _ => said,
        };
        let code = limits.first().map_or("policy_no_rule", |limit| limit.code());
        let title = "Not permitted by policy";
        Self { errors: faults, ..Self::new(StatusCode::FORBIDDEN, code, title, detail) }
    }

    pub(crate) fn policy_changed() -> Self {
        let detail = "another version is in force than the one that was to be replaced";
        Self::new(StatusCode::CONFLICT, "policy_changed", "Policy changed", detail)
    }

    /// What setting a policy was refused for, or could not do.
    pub(crate) fn from_policies(error: &StoreError) -> Self {
        match error {
            StoreError::NotAllowed { what: "policy", .. }
            | StoreError::AlreadyExists { what: "policy", .. } => Self::policy_changed(),
            other => Self::from_apps(other),
        }
    }

    pub(crate) fn too_many_failures(wait: Duration) -> Self {
        let detail = "too many failures to prove who asks, from this address";
        Self::later("too_many_attempts", "Too many attempts", detail, wait)
    }

    pub(crate) fn rate_limited(rate: Rate, wait: Duration) -> Self {
        let detail = format!("this app may ask {} times a second, {} at once", rate.per_second, rate.burst);
        Self::later("rate_limited", "Rate limited", detail, wait)
    }

    pub(crate) fn too_many_archive_reads(wait: Duration) -> Self {
        let detail = "without the scope audit old entries of the audit log are shown now and then";
        Self::later("rate_limited", "Rate limited", detail, wait)
    }

    pub(crate) fn too_many_checks(wait: Duration) -> Self {
        Self::later("rate_limited", "Too many requests", "this address looks up too many stamps", wait)
    }

    pub(crate) fn unknown_credential(id: &str) -> Self {
        let detail = format!("this app has no credential {id:?}");
        Self::new(StatusCode::NOT_FOUND, "unknown_credential", "Unknown credential", detail)
    }

    fn too_many_apps(most: usize) -> Self {
        let detail = format!("a site has {most} apps at most");
        Self::new(StatusCode::CONFLICT, "too_many_apps", "Too many apps", detail)
    }

    fn too_many_credentials(detail: impl Into<String>) -> Self {
        Self::new(StatusCode::CONFLICT, "too_many_credentials", "Too many credentials", detail)
    }

    /// What the register of apps refused, or could not do.
    pub(crate) fn from_apps(error: &StoreError) -> Self {
        let conflict = |code, title| Self::new(StatusCode::CONFLICT, code, title, error.to_string());
        match error {
            StoreError::AlreadyExists { what: "app", .. } => conflict("app_exists", "App exists"),
            StoreError::Unacceptable { what: "app", reason, .. } => {
                Self::faults(vec![Fault::new("id", "invalid_value", *reason)])
            }
            StoreError::AlreadyExists { what: "credential", .. } => {
                let detail = "this key or certificate is a credential already";
                Self::new(StatusCode::CONFLICT, "credential_exists", "Credential exists", detail)
            }
            StoreError::NotFound { what: "webhook", id } => Self::no_webhook(id),
            StoreError::NotFound { what: "credential", id } => Self::unknown_credential(id),
            StoreError::Full { what: "app", most, .. } => Self::too_many_apps(*most),
            StoreError::Full { what: "credential", most, in_force: true } => {
                let detail = format!("an app has {most} credentials of a kind at most; revoke one first");
                Self::too_many_credentials(detail)
            }
            StoreError::Full { what: "credential", most, in_force: false } => {
                let detail = format!("this app has had {most} credentials; enter it under another id");
                Self::too_many_credentials(detail)
            }
            other => Self::from_register(other),
        }
    }
}
