//! Why a session does not go on.

use std::time::Duration;

use axum::http::StatusCode;
use signing::SigningError;
use store::StoreError;
use verify_front::{ConsentFault, QrError, Role, RoleRefusal, SessionRefusal};

use super::{Fault, Problem};

/// A test enterprise outside a sandbox.
const TEST_IDENTITY: &str = "test_identity_in_production";

impl From<SessionRefusal> for Problem {
    fn from(refusal: SessionRefusal) -> Self {
        let (status, code, title) = match refusal {
            SessionRefusal::Expired => (StatusCode::GONE, "session_expired", "Session over"),
            SessionRefusal::Replaced => (StatusCode::GONE, "session_replaced", "Session over"),
            SessionRefusal::Cancelled => (StatusCode::GONE, "session_cancelled", "Session over"),
            SessionRefusal::Rejected => (StatusCode::GONE, "session_rejected", "Session over"),
            SessionRefusal::Consumed => (StatusCode::CONFLICT, "session_consumed", "Session over"),
            SessionRefusal::Taken => (StatusCode::CONFLICT, "session_taken", "Session taken"),
            SessionRefusal::NotScanned => (StatusCode::CONFLICT, "session_not_scanned", "Not yet"),
            SessionRefusal::NotConfirmed => (StatusCode::CONFLICT, "session_not_confirmed", "Not yet"),
            SessionRefusal::Confirmed => (StatusCode::CONFLICT, "session_confirmed", "Confirmed already"),
            SessionRefusal::NotDue => (StatusCode::CONFLICT, "session_not_due", "Not yet"),
        };
        Self::new(status, code, title, refusal.to_string())
    }
}

impl From<QrError> for Problem {
    fn from(error: QrError) -> Self {
        let code = match error {
            QrError::Malformed => "qr_malformed",
            QrError::Signature => "qr_signature_invalid",
        };
        Self::faults(vec![Fault::new("qr", code, error.to_string())])
    }
}

impl From<ConsentFault> for Problem {
    fn from(fault: ConsentFault) -> Self {
        let (code, detail) = match fault {
            ConsentFault::Shown(member) => {
                let detail = format!("must say what was shown: {member} is not as the scan answered it");
                return Self::faults(vec![Fault::new("consent", "consent_shown", detail)]);
            }
            ConsentFault::Malformed => ("consent_malformed", "must be a consent of version 2, as JSON"),
            ConsentFault::Session => ("consent_session", "is to another session: qrid or nonce differ"),
            ConsentFault::App => ("consent_app", "is given to another app"),
            ConsentFault::Item => ("consent_item", "is for another item or flow"),
            ConsentFault::Digest => ("consent_digest", "is to another digest than the one to be signed"),
            ConsentFault::Fields => ("consent_fields", "must name some of the fields that are asked for"),
            ConsentFault::Enterprise => ("consent_enterprise", "is another enterprise's than the license"),
            ConsentFault::Clock => ("clock_skew", "the phone's clock is more than five minutes off"),
        };
        Self::faults(vec![Fault::new("consent", code, detail)])
    }
}

impl From<RoleRefusal> for Problem {
    fn from(refusal: RoleRefusal) -> Self {
        Self::new(StatusCode::FORBIDDEN, "role_not_permitted", "Not permitted", refusal.0)
    }
}

impl Problem {
    pub(crate) fn unknown_session() -> Self {
        let detail = "there is no such session of this app";
        Self::new(StatusCode::NOT_FOUND, "unknown_session", "Unknown session", detail)
    }

    pub(crate) fn session_field_not_granted(field: &str) -> Self {
        let detail = format!("this app may not see the field {field:?}");
        Self::faults(vec![Fault::new("fields", "field_not_granted", detail)])
    }

    pub(crate) fn session_item_unknown(item: &str) -> Self {
        let detail = format!("the site's decision table has no item {item:?}");
        Self::faults(vec![Fault::new("item", "item_unknown", detail)])
    }

    pub(crate) fn session_role_not_permitted(role: Role) -> Self {
        let detail = format!("the item is not for the role {}", role.name());
        Self::faults(vec![Fault::new("roles", "role_not_permitted", detail)])
    }

    pub(crate) fn too_many_phones(wait: Duration) -> Self {
        Self::later("rate_limited", "Too many requests", "too many phones answer from this address", wait)
    }

    pub(crate) fn consent_signature_invalid() -> Self {
        let detail = "is not the license key's over this consent";
        Self::faults(vec![Fault::new("signature", "consent_signature_invalid", detail)])
    }

    pub(crate) fn digest_signature_invalid() -> Self {
        let detail = "is not the license key's over what the scan answered as to_sign";
        Self::faults(vec![Fault::new("digest_signature", "digest_signature_invalid", detail)])
    }

    pub(crate) fn license_not_for_signing() -> Self {
        let detail = "the license's certificate is not for signing documents";
        Self::new(StatusCode::FORBIDDEN, "license_not_for_signing", "License not accepted", detail)
    }

    /// The license may not be used; by the first thing that was found.
    pub(crate) fn license_not_accepted(found: impl Iterator<Item = &'static str>) -> Self {
        let found: Vec<_> = found.collect();
        let code = match found.first() {
            // Whatever else is wrong with it: nothing would mend this.
            Some(_) if found.contains(&TEST_IDENTITY) => TEST_IDENTITY,
            Some(&("expired" | "not_yet_valid")) => "license_expired",
            Some(&"revoked") => "license_revoked",
            Some(&"status_unavailable") => return Self::status_unavailable(),
            Some(
                &code @ ("status_not_permitted" | "status_stale" | "status_unknown" | "status_malformed"),
            ) => code,
            _ => "license_chain_invalid",
        };
        let detail = format!("the license is not accepted: {}", found.join(", "));
        Self::new(StatusCode::FORBIDDEN, code, "License not accepted", detail)
    }

    pub(crate) fn license_not_current() -> Self {
        let detail = "the library holds another license of this enterprise as the current one, or none";
        Self::new(StatusCode::FORBIDDEN, "license_not_current", "License not accepted", detail)
    }

    /// What the license's key signed shows the license.
    pub(crate) fn license_not_granted() -> Self {
        let detail = "the stamp shows the license, and this app may not see all that it shows";
        Self::new(StatusCode::FORBIDDEN, "license_not_granted", "Not permitted", detail)
    }

    pub(crate) fn status_not_permitted(code: i64, text: &str) -> Self {
        let detail = format!("status {code}: {text}; the app does not take it for this matter");
        Self::new(StatusCode::FORBIDDEN, "status_not_permitted", "License not accepted", detail)
    }

    pub(crate) fn session_not_consumed() -> Self {
        let detail = "the session's result is to be fetched first";
        Self::new(StatusCode::CONFLICT, "session_not_consumed", "Not yet", detail)
    }

    pub(crate) fn session_forgotten() -> Self {
        let detail = "what was signed in the session is kept no longer";
        Self::new(StatusCode::GONE, "session_forgotten", "Session over", detail)
    }

    pub(crate) fn session_signs_nothing() -> Self {
        let detail = "nothing was to be signed in this session";
        Self::faults(vec![Fault::new("signer.session", "session_signs_nothing", detail)])
    }

    /// The signature is over another stamp.
    pub(crate) fn stamp_differs() -> Self {
        let detail = "the document, or what the order says of it, is not what was signed in the session";
        Self::faults(vec![Fault::new("signer.session", "stamp_differs", detail)])
    }

    pub(crate) fn stamp_exists(id: &str) -> Self {
        let detail = format!("what was signed in the session is stamp {id}");
        Self::new(StatusCode::CONFLICT, "stamp_exists", "Stamp exists", detail)
    }

    /// The register of registration statuses does not answer: whether the license may be used nobody knows.
    pub(crate) fn status_unavailable() -> Self {
        let detail = "the register does not say now how the license's holder stands";
        Self::unavailable("status_unavailable", "Status not available", detail)
    }

    /// The decision table does not permit it, for this reason.
    pub(crate) fn use_not_permitted(reason: &'static str) -> Self {
        let detail = match reason {
            "status_not_permitted" => "as the license's holder stands nobody may",
            "item_not_permitted" => "as the license's holder stands only other items are permitted",
            "item_unknown" => "the site's decision table has no such item any more",
            "role_not_permitted" => "the item is for other roles",
            "authorisation_missing" => "an agent acts under an authorisation",
            "authorisation_expired" => "the authorisation has ended",
            "authorisation_not_for_item" => "the authorisation is for other items",
            _ => "the license may not be used for this",
        };
        Self::new(StatusCode::FORBIDDEN, reason, "Not permitted", detail)
    }

    /// The site's key of purpose `front` does not sign now.
    pub(crate) fn front_not_ready(error: &SigningError) -> Self {
        let problem =
            Self::unavailable("front_not_ready", "Front not ready", "the front's key does not sign now");
        Self { internal: Some(error.to_string()), ..problem }
    }

    /// A sandbox's phone signs for this machine only.
    #[cfg(feature = "sandbox")]
    pub(crate) fn test_key_not_admitted() -> Self {
        let detail = "keys of test licenses are admitted on loopback only";
        Self::new(StatusCode::FORBIDDEN, "test_key_not_admitted", "Not permitted", detail)
    }

    /// A license of a sandbox that does not sign on its phone.
    #[cfg(feature = "sandbox")]
    pub(crate) fn test_license_broken(error: &certs_test::CertsTestError) -> Self {
        Self::internal("internal_error", format!("a test license: {error}"))
    }

    /// Something that is always there is not.
    pub(crate) fn session_broken(what: &str) -> Self {
        Self::internal("session_broken", format!("a session's {what}"))
    }

    /// What the register of sessions answered.
    pub(crate) fn from_sessions(error: &StoreError) -> Self {
        const WHAT: &str = "session";
        match error {
            StoreError::NotFound { what: WHAT, .. } => Self::unknown_session(),
            StoreError::Altered { what: WHAT | "scan_sessions", id }
            | StoreError::Corrupt { what: WHAT, id, .. } => {
                Self::internal("session_broken", format!("session {id} was altered outside the gateway"))
            }
            error => Self::database(error),
        }
    }
}
