//! `/openapi.json` (OpenAPI 3.1, generated from the handlers) and `/docs`, which shows it without any network.

use std::sync::LazyLock;

use axum::http::{Method, header};
use axum::response::{Html, IntoResponse};
use bytes::Bytes;
use utoipa::OpenApi;
use utoipa::openapi::content::Content;
use utoipa::openapi::path::{ParameterBuilder, ParameterIn};
use utoipa::openapi::schema::{ObjectBuilder, Type};
use utoipa::openapi::security::{
    ApiKey, ApiKeyValue, Http, HttpAuthScheme, SecurityRequirement, SecurityScheme,
};
use utoipa::openapi::{Ref, RefOr, Required, ResponseBuilder};

use crate::auth::scope::{self, Needed};
use crate::{
    approvals, apps, audit, ceremonies, compat, configuration, custodians, data_key, devices, evidence,
    faults, history, idempotency, identifiers, incidents, inspections, key_register, keys, library, licenses,
    maintenance, mandates, oidc, operations, people, policies, problem, query_certificates, replace,
    retentions, seals, sessions, signature_batch, signatures, stamp_jobs, stamps, templates, timestamps,
    tokens, trust, usage, verifications, webhooks,
};

#[derive(OpenApi)]
#[openapi(
    info(
        title = "License gateway",
        description = "Verification of electronic business licenses and signatures with keys in hardware security modules. \
            Errors are problem documents (RFC 9457) with a stable `code`; times are RFC 3339; binary is padded base64.",
    ),
    paths(
        signatures::post_signature,
        signature_batch::post_signature_batch,
        verifications::post_verification,
        verifications::post_verification_batch,
        stamps::make::post_stamp,
        stamps::show::get_stamp,
        evidence::archive::post_archive,
        evidence::show::get_evidence,
        stamps::check::get_check,
        evidence::show::get_evidence_of_code,
        query_certificates::post_query_certificate,
        query_certificates::get_query_certificate,
        query_certificates::jobs::post_query_certificate_job,
        query_certificates::jobs::list_query_certificate_jobs,
        query_certificates::jobs::get_query_certificate_job,
        query_certificates::jobs::cancel_query_certificate_job,
        query_certificates::jobs::get_query_certificate_of_job,
        query_certificates::jobs::get_query_certificates_of_job,
        retentions::post_retention,
        retentions::show::list_retentions,
        retentions::show::get_retention,
        retentions::show::get_retention_evidence,
        retentions::file::get_retained_file,
        sessions::post_session,
        sessions::cosign::post_stamp_session,
        sessions::watch::get_session,
        sessions::watch::get_session_events,
        sessions::consume_session,
        sessions::cancel_session,
        sessions::phone::scan_session,
        sessions::phone::confirm_session,
        sessions::phone::deny_session,
        compat::post_message,
        compat::phone::post_phone_message,
        compat::file::get_license_pdf,
        compat::file::post_license_pdf,
        stamps::verify::post_stamp_verify,
        licenses::post_license_verify,
        licenses::post_license_verify_batch,
        identifiers::post_identifier_check,
        library::search::list_licenses,
        library::files::list_files,
        library::files::get_file,
        licenses::get_face,
        licenses::get_status,
        keys::list_keys,
        keys::get_key,
        devices::list_devices,
        devices::get_device,
        maintenance::drain_device,
        maintenance::maintain_device,
        maintenance::resume_device,
        maintenance::release_device,
        maintenance::restart_device,
        maintenance::test_device,
        replace::replace_device,
        history::device_history,
        faults::put_fault,
        timestamps::order::post_timestamp,
        timestamps::verify::post_timestamp_verify,
        timestamps::clock::get_clock,
        timestamps::tsa::post_tsa,
        audit::routes::list_entries,
        audit::routes::get_checkpoint,
        audit::routes::get_inclusion,
        audit::routes::get_consistency,
        usage::get_usage,
        configuration::post_reload,
        data_key::rotate_data_key,
        trust::overview::get_trust,
        incidents::routes::list_incidents,
        incidents::routes::post_incident,
        incidents::routes::get_incident,
        incidents::routes::post_incident_step,
        incidents::routes::get_incident_report,
        incidents::routes::get_service_levels,
        inspections::routes::list_inspections,
        inspections::routes::post_inspection,
        inspections::routes::get_inspection,
        inspections::routes::get_inspection_report,
        key_register::list_register,
        key_register::get_registered,
        key_register::post_csr,
        key_register::put_app_keys,
        apps::list_apps,
        apps::get_app,
        apps::create_app,
        apps::change_app,
        apps::enable_app,
        apps::disable_app,
        apps::lock_app,
        apps::freeze_app,
        apps::add_credential,
        apps::revoke_credential,
        stamp_jobs::uploads::put_upload,
        stamp_jobs::order::post_stamp_job,
        stamp_jobs::view::list_stamp_jobs,
        stamp_jobs::view::get_stamp_job,
        stamp_jobs::view::cancel_stamp_job,
        stamp_jobs::view::get_stamped_document,
        stamp_jobs::package::get_stamped_documents,
        webhooks::get_webhook,
        webhooks::put_webhook,
        webhooks::remove_webhook,
        webhooks::test_webhook,
        webhooks::deliveries::list_deliveries,
        webhooks::deliveries::get_delivery,
        webhooks::deliveries::resend_delivery,
        approvals::list_approvals,
        approvals::get_approval,
        approvals::approve,
        approvals::reject,
        approvals::withdraw,
        policies::list_policies,
        policies::get_policy,
        policies::put_policy,
        policies::get_policy_history,
        policies::evaluate_policy,
        seals::list_seals,
        seals::get_registered_seal,
        seals::make_seal,
        seals::suspend_seal,
        seals::resume_seal,
        seals::revoke_seal,
        seals::replace_seal,
        seals::get_seal,
        mandates::list_mandates,
        mandates::get_mandate,
        mandates::create_mandate,
        mandates::request_mandate_certificate,
        mandates::certify_mandate,
        mandates::activate_mandate,
        mandates::suspend_mandate,
        mandates::resume_mandate,
        mandates::end_mandate,
        mandates::list_own_mandates,
        templates::list_stamp_templates,
        templates::get_stamp_template,
        templates::put_stamp_template,
        templates::disable_stamp_template,
        templates::enable_stamp_template,
        templates::list_own_stamp_templates,
        ceremonies::open_ceremony,
        ceremonies::list_ceremonies,
        ceremonies::get_ceremony,
        ceremonies::confirm_ceremony,
        ceremonies::call_off_ceremony,
        custodians::list_custodians,
        custodians::add_custodian,
        custodians::disable_custodian,
        custodians::enable_custodian,
        people::sign_in::post_sign_in,
        people::sign_in::post_second_step,
        people::sign_in::post_sign_out,
        people::own::get_account,
        people::own::post_password,
        people::own::post_second_factor,
        people::own::confirm_second_factor,
        people::own::post_recovery_codes,
        people::own::list_sessions,
        people::own::end_session,
        people::own::end_other_sessions,
        people::own::post_token,
        people::admin::list_accounts,
        people::admin::get_account,
        people::admin::create_account,
        people::admin::change_account,
        people::admin::enable_account,
        people::admin::disable_account,
        people::admin::reset_password,
        people::admin::reset_second_factor,
        people::admin::end_sessions,
        people::admin::unlock_account,
        people::admin::list_sessions,
        people::review::get_review,
        tokens::post_token,
        tokens::get_jwks,
        tokens::get_metadata,
        oidc::discovery::get_configuration,
        oidc::authorize::get_authorize,
        oidc::authorize::post_authorize,
        oidc::login::get_login,
        oidc::login::get_login_state,
        oidc::login::continue_login,
        oidc::login::cancel_login,
        oidc::tokens::post_oidc_token,
        oidc::userinfo::get_userinfo,
        oidc::userinfo::post_userinfo,
        oidc::device::get_device,
        oidc::device::post_device_authorization,
        oidc::pushed::post_par,
        oidc::revoke::post_revoke,
        oidc::logout::get_logout,
        oidc::logout::post_logout,
        operations::livez,
        operations::readyz,
        operations::get_metrics,
        get_openapi,
        get_docs,
    ),
    components(schemas(problem::ProblemDocument, problem::Fault)),
    modifiers(&Callers, &IdempotencyKey, &Refusals),
)]
struct Document;

struct Callers;

impl utoipa::Modify for Callers {
    fn modify(&self, document: &mut utoipa::openapi::OpenApi) {
        let header =
            |name, what| SecurityScheme::ApiKey(ApiKey::Header(ApiKeyValue::with_description(name, what)));
        let schemes = [
            ("api_key", header("x-api-key", "In a sandbox and on loopback only.")),
            (
                "signed_request",
                header(
                    "x-signature",
                    "With x-app-id, x-timestamp and x-nonce: a signature over the request; see docs/integration.md.",
                ),
            ),
            ("access_token", SecurityScheme::Http(Http::new(HttpAuthScheme::Bearer))),
            (
                "client_certificate",
                SecurityScheme::MutualTls { description: None, deprecated: None, extensions: None },
            ),
        ];
        let ways = schemes.each_ref().map(|(name, _)| *name);
        if let Some(components) = &mut document.components {
            for (name, scheme) in schemes {
                components.add_security_scheme(name, scheme);
            }
        }
        for (path, item) in &mut document.paths.paths {
            let operations = [("GET", &mut item.get), ("POST", &mut item.post), ("PUT", &mut item.put)];
            for (method, operation) in operations {
                let Some(operation) = operation else { continue };
                // OpenAPI 3.1 has what an operation takes beside each way to prove who asks. Of one that is in no
                // table nothing is said, which a test does not let pass.
                let scopes = match scope::needed(method, path) {
                    Some(Needed::Nothing) | None => continue,
                    Some(Needed::Caller) => Vec::new(),
                    Some(Needed::Scopes(scopes)) => scopes.iter().map(|scope| scope.name()).collect(),
                };
                let people_only = path.starts_with("/v1/account") || path == "/v1/sign-out";
                let ways = ways.iter().filter(|way| !people_only || **way == "access_token");
                let any = ways.map(|way| SecurityRequirement::new(*way, scopes.iter().copied()));
                operation.security = Some(any.collect());
            }
        }
    }
}

/// Any call of a caller may be refused for who asks and how, and for want of room, time, devices or database.
struct Refusals;

impl utoipa::Modify for Refusals {
    fn modify(&self, document: &mut utoipa::openapi::OpenApi) {
        let problem = |description: &str| {
            let content = Content::new(Some(Ref::from_schema_name("ProblemDocument")));
            let response = ResponseBuilder::new().description(description);
            RefOr::T(response.content("application/problem+json", content).build())
        };
        for (path, item) in &mut document.paths.paths {
            for operation in [&mut item.get, &mut item.post, &mut item.put].into_iter().flatten() {
                // Who signs in is nobody yet, and refused as everybody; at /tsa the site lets anybody or apps alone.
                if operation.security.is_none() && !path.starts_with("/v1/sign-in") && path != "/tsa" {
                    continue;
                }
                let responses = &mut operation.responses.responses;
                responses.entry("4XX".to_owned()).or_insert_with(|| problem("refused; see `code`"));
                responses.entry("503".to_owned()).or_insert_with(|| problem("not now; see `Retry-After`"));
            }
        }
    }
}

/// The header of requests that are carried out once.
struct IdempotencyKey;

impl utoipa::Modify for IdempotencyKey {
    fn modify(&self, document: &mut utoipa::openapi::OpenApi) {
        let text = ObjectBuilder::new()
            .schema_type(Type::String)
            .min_length(Some(1))
            .max_length(Some(255))
            .pattern(Some(r"^[!#-+\--\[\]-~]+$"));
        let header = ParameterBuilder::new()
            .name("Idempotency-Key")
            .parameter_in(ParameterIn::Header)
            .required(Required::False)
            .description(Some(
                "Made by the caller, one for each act: the request is carried out once, and sent again within 24 hours \
                 gets the same answer with `idempotency-replayed: true`.",
            ))
            .schema(Some(text))
            .build();
        for (path, item) in &mut document.paths.paths {
            if let Some(operation) = &mut item.post
                && idempotency::applies(&Method::POST, path)
            {
                operation.parameters.get_or_insert_default().push(header.clone().into());
            }
        }
    }
}

/// This document.
#[utoipa::path(get, path = "/openapi.json", tag = "operations", responses((status = 200, description = "OpenAPI 3.1", body = Object)))]
pub(crate) async fn get_openapi() -> impl IntoResponse {
    // Made once: it is the same for every request of a build.
    static TEXT: LazyLock<Bytes> =
        LazyLock::new(|| Document::openapi().to_json().unwrap_or_default().into_bytes().into());
    ([(header::CONTENT_TYPE, "application/json")], TEXT.clone())
}

/// This document for people.
#[utoipa::path(get, path = "/docs", tag = "operations", responses((status = 200, description = "HTML", body = String, content_type = "text/html")))]
pub(crate) async fn get_docs() -> impl IntoResponse {
    let policy =
        "default-src 'none'; connect-src 'self'; style-src 'unsafe-inline'; script-src 'unsafe-inline'";
    ([(header::CONTENT_SECURITY_POLICY, policy)], Html(include_str!("docs.html")))
}
