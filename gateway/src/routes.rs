//! All URLs on one screen, and the doors they answer at.

use axum::Router;
use axum::middleware::from_fn_with_state;
use axum::routing::{get, post, put};

use crate::auth::signed;
use crate::problem::Problem;
use crate::state::Gateway;
use crate::{
    apps, audit, ceremonies, configuration, custodians, deadline, devices, edge, faults, history,
    idempotency, identifiers, key_register, keys, licenses, maintenance, openapi, operations, replace,
    signature_batch, signatures, tokens, trust, verifications,
};

/// By which door a request came in. A surface answers at its own doors; at any other there is nothing.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Door {
    /// Everything: the admin socket, and in a sandbox every listener for callers.
    Whole,
    /// The listeners for callers.
    Public,
    /// The listener for administration.
    Admin,
}

/// What integrating systems call.
fn business() -> Router<Gateway> {
    Router::new()
        .route("/v1/signatures", post(signatures::post_signature))
        .route("/v1/signatures:batch", post(signature_batch::post_signature_batch))
        .route("/v1/verifications", post(verifications::post_verification))
        .route("/v1/verifications:batch", post(verifications::post_verification_batch))
        .route("/v1/licenses:verify", post(licenses::post_license_verify))
        .route("/v1/licenses:verify-batch", post(licenses::post_license_verify_batch))
        .route("/v1/identifiers:check", post(identifiers::post_identifier_check))
        .route("/v1/licenses/{uscc}/face", get(licenses::get_face))
        .route("/v1/licenses/{uscc}/status", get(licenses::get_status))
        .route("/v1/keys", get(keys::list_keys))
        .route("/v1/keys/{id}", get(keys::get_key))
        .route("/v1/audit/entries", get(audit::list_entries))
        .route("/v1/audit/checkpoint", get(audit::get_checkpoint))
        .route("/v1/audit/proofs:consistency", get(audit::get_consistency))
        .route("/v1/audit/proofs/{index}", get(audit::get_inclusion))
}

/// The devices and what is trusted, for operating systems and for administration.
fn equipment() -> Router<Gateway> {
    Router::new()
        .route("/v1/devices", get(devices::list_devices))
        .route("/v1/devices/{id}", get(devices::get_device))
        .route("/v1/devices/{id}/history", get(history::device_history))
        .route("/v1/trust", get(trust::overview::get_trust))
}

/// What is done to devices. It takes its time and is not to be broken off, and so are acts of administration.
fn equipment_acts() -> Router<Gateway> {
    Router::new()
        .route("/v1/devices/{id}/drain", post(maintenance::drain_device))
        .route("/v1/devices/{id}/maintain", post(maintenance::maintain_device))
        .route("/v1/devices/{id}/resume", post(maintenance::resume_device))
        .route("/v1/devices/{id}/release", post(maintenance::release_device))
        .route("/v1/devices/{id}/restart", post(maintenance::restart_device))
        .route("/v1/devices/{id}/self-test", post(maintenance::test_device))
        .route("/v1/devices/{id}/replace", post(replace::replace_device))
        .route("/v1/devices/{id}/fault", put(faults::put_fault))
}

/// The key register, for administration.
fn register() -> Router<Gateway> {
    Router::new()
        .route("/v1/admin/keys", get(key_register::list_register))
        .route("/v1/admin/keys/{id}", get(key_register::get_registered))
}

/// What changes the site.
fn administration_acts() -> Router<Gateway> {
    Router::new()
        .route("/v1/admin/config:reload", post(configuration::post_reload))
        .route("/v1/admin/keys/{id}/csr", post(key_register::post_csr))
        .route("/v1/admin/apps", get(apps::list_apps).post(apps::create_app))
        .route("/v1/admin/apps/{id}", get(apps::get_app).put(apps::change_app))
        .route("/v1/admin/apps/{id}/enable", post(apps::enable_app))
        .route("/v1/admin/apps/{id}/disable", post(apps::disable_app))
        .route("/v1/admin/apps/{id}/lock", post(apps::lock_app))
        .route("/v1/admin/apps/{id}/freeze", post(apps::freeze_app))
        .route("/v1/admin/apps/{id}/credentials", post(apps::add_credential))
        .route("/v1/admin/apps/{id}/credentials/{credential}/revoke", post(apps::revoke_credential))
        .route("/v1/admin/apps/{id}/keys", put(key_register::put_app_keys))
        .route("/v1/admin/ceremonies", get(ceremonies::list_ceremonies).post(ceremonies::open_ceremony))
        .route("/v1/admin/ceremonies/{id}", get(ceremonies::get_ceremony))
        .route("/v1/admin/ceremonies/{id}/confirm", post(ceremonies::confirm_ceremony))
        .route("/v1/admin/ceremonies/{id}/call-off", post(ceremonies::call_off_ceremony))
        .route("/v1/admin/custodians", get(custodians::list_custodians).post(custodians::add_custodian))
        .route("/v1/admin/custodians/{name}/disable", post(custodians::disable_custodian))
        .route("/v1/admin/custodians/{name}/enable", post(custodians::enable_custodian))
}

/// Access tokens, for whoever proves to be an app.
fn tokens() -> Router<Gateway> {
    Router::new()
        .route("/oauth2/token", post(tokens::post_token))
        .route("/oauth2/jwks", get(tokens::get_jwks))
        .route("/.well-known/oauth-authorization-server", get(tokens::get_metadata))
}

/// For whoever watches the gateway; never refused for load.
fn figures() -> Router<Gateway> {
    Router::new().route("/metrics", get(operations::get_metrics))
}

/// At every door, for anybody; never refused for load.
fn anybody() -> Router<Gateway> {
    Router::new()
        .route("/livez", get(operations::livez))
        .route("/readyz", get(operations::readyz))
        .route("/openapi.json", get(openapi::get_openapi))
        .route("/docs", get(openapi::get_docs))
}

/// What each door shows.
pub(crate) struct Routers {
    whole: Router,
    public: Router,
    admin: Router,
}

impl Routers {
    pub(crate) fn new(gateway: &Gateway) -> Self {
        let door = |calls: Router<Gateway>, acts: Router<Gateway>, free: Router<Gateway>| {
            let calls = deadline::limited(calls, gateway)
                .merge(acts)
                .route_layer(from_fn_with_state(gateway.clone(), idempotency::once));
            // Before anything decides on a request: its signature is over its body.
            let calls = calls.layer(from_fn_with_state(gateway.clone(), signed::read_body));
            let routes = edge::bounded(calls, gateway)
                .merge(free)
                .fallback(async || Problem::not_found())
                .method_not_allowed_fallback(async || Problem::method_not_allowed());
            edge::watched(routes, gateway).with_state(gateway.clone())
        };
        let public = || business().merge(tokens()).merge(equipment());
        let operators = || equipment().merge(register());
        let all_acts = || equipment_acts().merge(administration_acts());
        Self {
            whole: door(public().merge(register()), all_acts(), anybody().merge(figures())),
            public: door(public(), equipment_acts(), anybody()),
            admin: door(operators(), all_acts(), anybody().merge(figures())),
        }
    }

    /// What a door shows.
    pub(crate) fn of(&self, door: Door) -> Router {
        let router = match door {
            Door::Whole => &self.whole,
            Door::Public => &self.public,
            Door::Admin => &self.admin,
        };
        router.clone()
    }
}
