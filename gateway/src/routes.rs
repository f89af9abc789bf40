//! All URLs on one screen.

use axum::Router;
use axum::middleware::from_fn_with_state;
use axum::routing::{get, post, put};

use crate::problem::Problem;
use crate::state::Gateway;
use crate::{
    audit, ceremonies, configuration, custodians, deadline, devices, edge, faults, history, idempotency,
    identifiers, key_register, keys, licenses, maintenance, openapi, operations, replace, signatures, trust,
    verifications,
};

pub(crate) fn router(gateway: Gateway) -> Router {
    let business = Router::new()
        .route("/v1/signatures", post(signatures::post_signature))
        .route("/v1/verifications", post(verifications::post_verification))
        .route("/v1/verifications:batch", post(verifications::post_verification_batch))
        .route("/v1/licenses:verify", post(licenses::post_license_verify))
        .route("/v1/licenses:verify-batch", post(licenses::post_license_verify_batch))
        .route("/v1/identifiers:check", post(identifiers::post_identifier_check))
        .route("/v1/licenses/{uscc}/face", get(licenses::get_face))
        .route("/v1/licenses/{uscc}/status", get(licenses::get_status))
        .route("/v1/keys", get(keys::list_keys))
        .route("/v1/keys/{id}", get(keys::get_key))
        .route("/v1/devices", get(devices::list_devices))
        .route("/v1/devices/{id}", get(devices::get_device))
        .route("/v1/devices/{id}/history", get(history::device_history))
        .route("/v1/trust", get(trust::overview::get_trust))
        .route("/v1/admin/keys", get(key_register::list_register))
        .route("/v1/admin/keys/{id}", get(key_register::get_registered));
    // What operators do to devices, keys and the site takes its time and is not to be broken off.
    let acts = Router::new()
        .route("/v1/devices/{id}/drain", post(maintenance::drain_device))
        .route("/v1/devices/{id}/maintain", post(maintenance::maintain_device))
        .route("/v1/devices/{id}/resume", post(maintenance::resume_device))
        .route("/v1/devices/{id}/release", post(maintenance::release_device))
        .route("/v1/devices/{id}/restart", post(maintenance::restart_device))
        .route("/v1/devices/{id}/self-test", post(maintenance::test_device))
        .route("/v1/devices/{id}/replace", post(replace::replace_device))
        .route("/v1/devices/{id}/fault", put(faults::put_fault))
        .route("/v1/audit/entries", get(audit::list_entries))
        .route("/v1/audit/checkpoint", get(audit::get_checkpoint))
        .route("/v1/audit/proofs:consistency", get(audit::get_consistency))
        .route("/v1/audit/proofs/{index}", get(audit::get_inclusion))
        .route("/v1/admin/config:reload", post(configuration::post_reload))
        .route("/v1/admin/keys/{id}/csr", post(key_register::post_csr))
        .route("/v1/admin/apps/{id}/keys", put(key_register::put_app_keys))
        .route("/v1/admin/ceremonies", get(ceremonies::list_ceremonies).post(ceremonies::open_ceremony))
        .route("/v1/admin/ceremonies/{id}", get(ceremonies::get_ceremony))
        .route("/v1/admin/ceremonies/{id}/confirm", post(ceremonies::confirm_ceremony))
        .route("/v1/admin/ceremonies/{id}/call-off", post(ceremonies::call_off_ceremony))
        .route("/v1/admin/custodians", get(custodians::list_custodians).post(custodians::add_custodian))
        .route("/v1/admin/custodians/{name}/disable", post(custodians::disable_custodian))
        .route("/v1/admin/custodians/{name}/enable", post(custodians::enable_custodian));
    let operations = Router::new()
        .route("/livez", get(operations::livez))
        .route("/readyz", get(operations::readyz))
        .route("/metrics", get(operations::get_metrics))
        .route("/openapi.json", get(openapi::get_openapi))
        .route("/docs", get(openapi::get_docs));
    let calls = deadline::limited(business, &gateway)
        .merge(acts)
        .route_layer(from_fn_with_state(gateway.clone(), idempotency::once));
    let routes = edge::bounded(calls, &gateway)
        .merge(operations)
        .fallback(async || Problem::not_found())
        .method_not_allowed_fallback(async || Problem::method_not_allowed());
    edge::watched(routes, &gateway).with_state(gateway)
}
