//! Refusals of the national front's protocol; they leave in its own form.

use axum::http::StatusCode;

use super::{Fault, Problem};

impl Problem {
    pub(crate) fn businesstype_unknown() -> Self {
        let detail = "is none of those that are answered here";
        Self::faults(vec![Fault::new("message_header.businesstype", "businesstype_unknown", detail)])
    }

    pub(crate) fn syscode_unknown() -> Self {
        let detail = "this app is no business system of that name";
        Self::faults(vec![Fault::new("message_header.syscode", "syscode_unknown", detail)])
    }

    pub(crate) fn compat_item_unknown() -> Self {
        let detail = "the site's decision table has no such item";
        Self::faults(vec![Fault::new("message_header.itemcode", "item_unknown", detail)])
    }

    pub(crate) fn plainvalue_unexpected() -> Self {
        let detail = "is only for qrtype 1101, which co-signs";
        Self::faults(vec![Fault::new("message_content.plainvalue", "unexpected_field", detail)])
    }

    pub(crate) fn pdf_form() -> Self {
        let detail = "must be uniscid and pdfcode, as a form";
        Self::faults(vec![Fault::new("(body)", "invalid_query", detail)])
    }

    pub(crate) fn pdfcode_invalid() -> Self {
        let detail = "must be the 64 hexadecimal digits that imageurl has";
        Self::faults(vec![Fault::new("pdfcode", "invalid_value", detail)])
    }

    pub(crate) fn opertime_missing() -> Self {
        let detail = "is required where sign proves who asks: yyyyMMddHHmmssSSS, the time of day in China";
        Self::faults(vec![Fault::new("message_content.opertime", "missing_field", detail)])
    }

    pub(crate) fn authcode_invalid() -> Self {
        Self::not_authenticated(
            "authcode_invalid",
            "authcode is no API key of the app that syscode stands for",
        )
    }

    pub(crate) fn message_not_proved(in_sandbox: bool) -> Self {
        let detail = match in_sandbox {
            true => {
                "nothing says who asks: send x-api-key, or the app's API key as authcode, from this machine"
            }
            false => {
                "nothing proves who asks: sign the message in sign, or use a client certificate; authcode proves nothing"
            }
        };
        Self::not_authenticated("message_not_proved", detail)
    }

    pub(crate) fn show_code_invalid() -> Self {
        let detail = "is no license code that this site's phones show";
        Self::faults(vec![Fault::new("message_content.qrid", "show_code_invalid", detail)])
    }

    pub(crate) fn show_code_expired() -> Self {
        let detail = "the license code is older than five minutes; have the phone show another one";
        Self::new(StatusCode::GONE, "show_code_expired", "License code over", detail)
    }

    pub(crate) fn show_code_used() -> Self {
        let detail = "the license code was resolved before; have the phone show another one";
        Self::new(StatusCode::CONFLICT, "show_code_used", "License code over", detail)
    }

    pub(crate) fn showing_invalid(detail: &'static str) -> Self {
        Self::faults(vec![Fault::new("message_content.showing", "showing_invalid", detail)])
    }

    /// What a phone shows by the license's key shows all of the license.
    pub(crate) fn entity_not_granted() -> Self {
        let detail = "this shows all of the license, and the app may not see all that it shows";
        Self::new(StatusCode::FORBIDDEN, "license_not_granted", "Not permitted", detail)
    }
}
