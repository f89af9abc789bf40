//! `/openapi.json` (OpenAPI 3.1, generated from the handlers) and `/docs`, which shows it without any network.

use std::sync::LazyLock;

use axum::http::{Method, header};
use axum::response::{Html, IntoResponse};
use bytes::Bytes;
use utoipa::OpenApi;
use utoipa::openapi::Required;
use utoipa::openapi::path::{ParameterBuilder, ParameterIn};
use utoipa::openapi::schema::{ObjectBuilder, Type};
use utoipa::openapi::security::{ApiKey, ApiKeyValue, SecurityScheme};

use crate::{
    audit, ceremonies, configuration, custodians, devices, faults, history, idempotency, identifiers,
    key_register, keys, licenses, maintenance, operations, problem, replace, signatures, trust,
    verifications,
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
        verifications::post_verification,
        verifications::post_verification_batch,
        licenses::post_license_verify,
        licenses::post_license_verify_batch,
        identifiers::post_identifier_check,
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
        audit::routes::list_entries,
        audit::routes::get_checkpoint,
        audit::routes::get_inclusion,
        audit::routes::get_consistency,
        configuration::post_reload,
        trust::overview::get_trust,
        key_register::list_register,
        key_register::get_registered,
        key_register::post_csr,
        key_register::put_app_keys,
        ceremonies::open_ceremony,
        ceremonies::list_ceremonies,
        ceremonies::get_ceremony,
        ceremonies::confirm_ceremony,
        ceremonies::call_off_ceremony,
        custodians::list_custodians,
        custodians::add_custodian,
        custodians::disable_custodian,
        custodians::enable_custodian,
        operations::livez,
        operations::readyz,
        operations::get_metrics,
        get_openapi,
        get_docs,
    ),
    components(schemas(problem::ProblemDocument, problem::Fault)),
    modifiers(&SandboxKey, &IdempotencyKey),
)]
struct Document;

struct SandboxKey;

impl utoipa::Modify for SandboxKey {
    fn modify(&self, document: &mut utoipa::openapi::OpenApi) {
        let scheme =
            ApiKey::Header(ApiKeyValue::with_description("x-api-key", "In a sandbox and on loopback only."));
        if let Some(components) = &mut document.components {
            components.add_security_scheme("api_key", SecurityScheme::ApiKey(scheme));
        }
        let open = ["/livez", "/readyz", "/metrics", "/openapi.json", "/docs"];
        for (path, item) in &mut document.paths.paths {
            if open.contains(&path.as_str()) {
                continue;
            }
            for operation in [&mut item.get, &mut item.post, &mut item.put].into_iter().flatten() {
                let needed = utoipa::openapi::SecurityRequirement::new("api_key", Vec::<String>::new());
                operation.security = Some(vec![needed]);
            }
        }
    }
}

/// The header of requests that are carried out once.
struct IdempotencyKey;

impl utoipa::Modify for IdempotencyKey {
    fn modify(&self, document: &mut utoipa::openapi::OpenApi) {
        let text = ObjectBuilder::new().schema_type(Type::String).min_length(Some(1)).max_length(Some(255));
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
#[utoipa::path(get, path = "/docs", tag = "operations", responses((status = 200, description = "HTML", body = String)))]
pub(crate) async fn get_docs() -> impl IntoResponse {
    let policy =
        "default-src 'none'; connect-src 'self'; style-src 'unsafe-inline'; script-src 'unsafe-inline'";
    ([(header::CONTENT_SECURITY_POLICY, policy)], Html(include_str!("docs.html")))
}
