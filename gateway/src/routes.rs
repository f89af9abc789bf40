//! All URLs on one screen, and the doors they answer at.

use std::net::IpAddr;

use axum::Router;
use axum::middleware::{from_fn, from_fn_with_state};
use axum::routing::{get, post, put};

use crate::auth::signed;
use crate::problem::Problem;
use crate::query_certificates::jobs;
#[cfg(feature = "sandbox")]
use crate::sandbox;
use crate::state::Gateway;
use crate::{
    approvals, apps, audit, ceremonies, compat, configuration, console, custodians, data_key, deadline,
    devices, edge, evidence, faults, history, idempotency, identifiers, incidents, inspections, key_register,
    keys, library, licenses, maintenance, mandates, oidc, openapi, operations, people, policies,
    query_certificates, replace, retentions, seals, sessions, signature_batch, signatures, stamp_jobs,
    stamps, templates, timestamps, tokens, trust, usage, verifications, webhooks,
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
        .route("/v1/stamps", post(stamps::make::post_stamp))
        .route("/v1/stamps/{id}", get(stamps::show::get_stamp))
        .route("/v1/uploads", put(stamp_jobs::uploads::put_upload))
        .route(
            "/v1/stamp-jobs",
            get(stamp_jobs::view::list_stamp_jobs).post(stamp_jobs::order::post_stamp_job),
        )
        .route("/v1/stamp-jobs/{id}", get(stamp_jobs::view::get_stamp_job))
        .route("/v1/stamp-jobs/{id}/content", get(stamp_jobs::package::get_stamped_documents))
        .route("/v1/stamp-jobs/{id}/cancel", post(stamp_jobs::view::cancel_stamp_job))
        .route("/v1/stamp-jobs/{id}/documents/{n}/content", get(stamp_jobs::view::get_stamped_document))
        .route("/v1/stamps/{id}/archive", post(evidence::archive::post_archive))
        .route("/v1/stamps/{id}/evidence", get(evidence::show::get_evidence))
        .route("/v1/stamps:verify", post(stamps::verify::post_stamp_verify))
        .route("/v1/licenses:verify", post(licenses::post_license_verify))
        .route("/v1/licenses:verify-batch", post(licenses::post_license_verify_batch))
        .route("/v1/identifiers:check", post(identifiers::post_identifier_check))
        .route("/v1/query-certificates", post(query_certificates::post_query_certificate))
        .route("/v1/query-certificates/{number}", get(query_certificates::get_query_certificate))
        .route(
            "/v1/query-certificate-jobs",
            get(jobs::list_query_certificate_jobs).post(jobs::post_query_certificate_job),
        )
        .route("/v1/query-certificate-jobs/{id}", get(jobs::get_query_certificate_job))
        .route("/v1/query-certificate-jobs/{id}/cancel", post(jobs::cancel_query_certificate_job))
        .route("/v1/query-certificate-jobs/{id}/content", get(jobs::get_query_certificates_of_job))
        .route(
            "/v1/query-certificate-jobs/{id}/documents/{n}/content",
            get(jobs::get_query_certificate_of_job),
        )
        .route("/v1/retentions", get(retentions::show::list_retentions).post(retentions::post_retention))
        .route("/v1/retentions/{id}", get(retentions::show::get_retention))
        .route("/v1/retentions/{id}/evidence", get(retentions::show::get_retention_evidence))
        .route("/v1/retentions/{id}/file", get(retentions::file::get_retained_file))
        .route("/v1/sessions", post(sessions::post_session))
        .route("/v1/sessions:stamp", post(sessions::cosign::post_stamp_session))
        .route("/v1/sessions/{id}/cancel", post(sessions::cancel_session))
        .route("/v1/sessions/{id}/consume", post(sessions::consume_session))
        .route("/v1/sessions/{id}/events", get(sessions::watch::get_session_events))
        .route("/v1/licenses/{uscc}/files", get(library::files::list_files))
        .route("/v1/licenses/{uscc}/files/{kind}", get(library::files::get_file))
        .route("/v1/keys", get(keys::list_keys))
        .route("/v1/keys/{id}", get(keys::get_key))
        .route("/v1/seals/{id}", get(seals::get_seal))
        .route("/v1/mandates", get(mandates::list_own_mandates))
        .route("/v1/stamp-templates", get(templates::list_own_stamp_templates))
        .route("/v1/timestamps", post(timestamps::order::post_timestamp))
        .route("/v1/timestamps:verify", post(timestamps::verify::post_timestamp_verify))
        .route("/v1/timestamps/clock", get(timestamps::clock::get_clock))
        .route("/tsa", post(timestamps::tsa::post_tsa))
}

/// Looking licenses up, for callers and for people at a counter.
fn look_up() -> Router<Gateway> {
    Router::new()
        .route("/v1/licenses", get(library::search::list_licenses))
        .route("/v1/licenses/{uscc}/face", get(licenses::get_face))
        .route("/v1/licenses/{uscc}/status", get(licenses::get_status))
}

/// The audit log and what is counted from it, for callers and for people who read it.
fn record() -> Router<Gateway> {
    Router::new()
        .route("/v1/audit/entries", get(audit::list_entries))
        .route("/v1/audit/checkpoint", get(audit::get_checkpoint))
        .route("/v1/audit/proofs:consistency", get(audit::get_consistency))
        .route("/v1/audit/proofs/{index}", get(audit::get_inclusion))
        .route("/v1/usage", get(usage::get_usage))
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
        .route("/v1/admin/data-key:rotate", post(data_key::rotate_data_key))
        .route(
            "/v1/admin/incidents",
            get(incidents::routes::list_incidents).post(incidents::routes::post_incident),
        )
        .route("/v1/admin/incidents/{id}", get(incidents::routes::get_incident))
        .route("/v1/admin/incidents/{id}/report", get(incidents::routes::get_incident_report))
        .route("/v1/admin/incidents/{id}/steps", post(incidents::routes::post_incident_step))
        .route("/v1/admin/service-levels", get(incidents::routes::get_service_levels))
        .route(
            "/v1/admin/inspections",
            get(inspections::routes::list_inspections).post(inspections::routes::post_inspection),
        )
        .route("/v1/admin/inspections/{id}", get(inspections::routes::get_inspection))
        .route("/v1/admin/inspections/{id}/report", get(inspections::routes::get_inspection_report))
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
        .route("/v1/admin/apps/{id}/webhook", get(webhooks::get_webhook).put(webhooks::put_webhook))
        .route("/v1/admin/apps/{id}/webhook/remove", post(webhooks::remove_webhook))
        .route("/v1/admin/apps/{id}/webhook/test", post(webhooks::test_webhook))
        .route("/v1/admin/deliveries", get(webhooks::deliveries::list_deliveries))
        .route("/v1/admin/deliveries/{id}", get(webhooks::deliveries::get_delivery))
        .route("/v1/admin/deliveries/{id}/resend", post(webhooks::deliveries::resend_delivery))
        .route("/v1/admin/approvals", get(approvals::list_approvals))
        .route("/v1/admin/approvals/{id}", get(approvals::get_approval))
        .route("/v1/admin/approvals/{id}/approve", post(approvals::approve))
        .route("/v1/admin/approvals/{id}/reject", post(approvals::reject))
        .route("/v1/admin/approvals/{id}/withdraw", post(approvals::withdraw))
        .route("/v1/admin/policies", get(policies::list_policies))
        .route("/v1/admin/policies:evaluate", post(policies::evaluate_policy))
        .route("/v1/admin/policies/{app}", get(policies::get_policy).put(policies::put_policy))
        .route("/v1/admin/policies/{app}/history", get(policies::get_policy_history))
        .route("/v1/admin/seals", get(seals::list_seals).post(seals::make_seal))
        .route("/v1/admin/seals/{id}", get(seals::get_registered_seal))
        .route("/v1/admin/seals/{id}/suspend", post(seals::suspend_seal))
        .route("/v1/admin/seals/{id}/resume", post(seals::resume_seal))
        .route("/v1/admin/seals/{id}/revoke", post(seals::revoke_seal))
        .route("/v1/admin/seals/{id}/replace", post(seals::replace_seal))
        .route("/v1/admin/mandates", get(mandates::list_mandates).post(mandates::create_mandate))
        .route("/v1/admin/mandates/{id}", get(mandates::get_mandate))
        .route("/v1/admin/mandates/{id}/csr", post(mandates::request_mandate_certificate))
        .route("/v1/admin/mandates/{id}/certificate", post(mandates::certify_mandate))
        .route("/v1/admin/mandates/{id}/activate", post(mandates::activate_mandate))
        .route("/v1/admin/mandates/{id}/suspend", post(mandates::suspend_mandate))
        .route("/v1/admin/mandates/{id}/resume", post(mandates::resume_mandate))
        .route("/v1/admin/mandates/{id}/end", post(mandates::end_mandate))
        .route("/v1/admin/stamp-templates", get(templates::list_stamp_templates))
        .route(
            "/v1/admin/stamp-templates/{id}",
            get(templates::get_stamp_template).put(templates::put_stamp_template),
        )
        .route("/v1/admin/stamp-templates/{id}/disable", post(templates::disable_stamp_template))
        .route("/v1/admin/stamp-templates/{id}/enable", post(templates::enable_stamp_template))
        .route("/v1/admin/ceremonies", get(ceremonies::list_ceremonies).post(ceremonies::open_ceremony))
        .route("/v1/admin/ceremonies/{id}", get(ceremonies::get_ceremony))
        .route("/v1/admin/ceremonies/{id}/confirm", post(ceremonies::confirm_ceremony))
        .route("/v1/admin/ceremonies/{id}/call-off", post(ceremonies::call_off_ceremony))
        .route("/v1/admin/custodians", get(custodians::list_custodians).post(custodians::add_custodian))
        .route("/v1/admin/custodians/{name}/disable", post(custodians::disable_custodian))
        .route("/v1/admin/custodians/{name}/enable", post(custodians::enable_custodian))
}

/// Signing in, for people.
fn sign_in() -> Router<Gateway> {
    Router::new()
        .route("/v1/sign-in", post(people::sign_in::post_sign_in))
        .route("/v1/sign-in:second-factor", post(people::sign_in::post_second_step))
        .route("/v1/sign-out", post(people::sign_in::post_sign_out))
        .route("/v1/account", get(people::own::get_account))
        .route("/v1/account/sessions", get(people::own::list_sessions))
        .route("/v1/admin/accounts:review", get(people::review::get_review))
}

/// What changes accounts: the own one, and those of others.
fn account_acts() -> Router<Gateway> {
    Router::new()
        .route("/v1/account/password", post(people::own::post_password))
        .route("/v1/account/second-factor", post(people::own::post_second_factor))
        .route("/v1/account/second-factor:confirm", post(people::own::confirm_second_factor))
        .route("/v1/account/recovery-codes", post(people::own::post_recovery_codes))
        .route("/v1/account/sessions/{id}/end", post(people::own::end_session))
        .route("/v1/account/sessions:end-others", post(people::own::end_other_sessions))
        .route("/v1/account/tokens", post(people::own::post_token))
        .route("/v1/admin/accounts", get(people::admin::list_accounts).post(people::admin::create_account))
        .route(
            "/v1/admin/accounts/{name}",
            get(people::admin::get_account).put(people::admin::change_account),
        )
        .route("/v1/admin/accounts/{name}/enable", post(people::admin::enable_account))
        .route("/v1/admin/accounts/{name}/disable", post(people::admin::disable_account))
        .route("/v1/admin/accounts/{name}/reset-password", post(people::admin::reset_password))
        .route("/v1/admin/accounts/{name}/reset-second-factor", post(people::admin::reset_second_factor))
        .route("/v1/admin/accounts/{name}/end-sessions", post(people::admin::end_sessions))
        .route("/v1/admin/accounts/{name}/unlock", post(people::admin::unlock_account))
        .route("/v1/admin/accounts/{name}/sessions", get(people::admin::list_sessions))
}

/// Access tokens, for whoever proves to be an app.
fn tokens() -> Router<Gateway> {
    Router::new()
        .route("/oauth2/token", post(tokens::post_token))
        .route("/.well-known/oauth-authorization-server", get(tokens::get_metadata))
}

/// Logging in to apps by OpenID Connect: for browsers, and for the apps.
fn logins() -> Router<Gateway> {
    let user = get(oidc::userinfo::get_userinfo).post(oidc::userinfo::post_userinfo);
    let of_apps = Router::new()
        .route("/.well-known/openid-configuration", get(oidc::discovery::get_configuration))
        .route("/oauth2/jwks", get(tokens::get_jwks))
        .route("/oidc/token", post(oidc::tokens::post_oidc_token))
        .route("/oidc/userinfo", user.options(oidc::browsers::preflight))
        .route("/oidc/device_authorization", post(oidc::device::post_device_authorization))
        .route("/oidc/par", post(oidc::pushed::post_par))
        .route("/oidc/revoke", post(oidc::revoke::post_revoke))
        .route_layer(from_fn(oidc::browsers::readable));
    Router::new()
        .merge(of_apps)
        .route("/oidc/authorize", get(oidc::authorize::get_authorize).post(oidc::authorize::post_authorize))
        .route("/oidc/login/{id}", get(oidc::login::get_login))
        .route("/oidc/login/{id}/continue", post(oidc::login::continue_login))
        .route("/oidc/login/{id}/cancel", post(oidc::login::cancel_login))
        .route("/oidc/device", get(oidc::device::get_device))
        .route("/oidc/logout", get(oidc::logout::get_logout).post(oidc::logout::post_logout))
}

/// For whoever holds a stamped document.
fn checks() -> Router<Gateway> {
    Router::new()
        .route("/verify/{code}", get(stamps::check::get_check))
        .route("/verify/{code}/evidence", get(evidence::show::get_evidence_of_code))
}

/// For the phones of people who scan.
fn phones() -> Router<Gateway> {
    Router::new()
        .route("/v1/phone/sessions:scan", post(sessions::phone::scan_session))
        .route("/v1/phone/sessions/{id}/confirm", post(sessions::phone::confirm_session))
        .route("/v1/phone/sessions/{id}/deny", post(sessions::phone::deny_session))
}

/// What may wait longer than requests take.
fn watched() -> Router<Gateway> {
    Router::new()
        .route("/v1/sessions/{id}", get(sessions::watch::get_session))
        .route("/oidc/login/{id}/state", get(oidc::login::get_login_state))
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
    /// For whoever showed a certificate that does not hold any more.
    closed: Router,
    gateway: Gateway,
}

impl Routers {
    pub(crate) fn new(gateway: &Gateway) -> Self {
        let bounded = |calls: Router<Gateway>, acts: Router<Gateway>| {
            let calls = deadline::limited(calls, gateway)
                .merge(acts)
                .route_layer(from_fn_with_state(gateway.clone(), idempotency::once));
            // Before anything decides on a request: its signature is over its body.
            let calls = calls.layer(from_fn_with_state(gateway.clone(), signed::read_body));
            edge::bounded(calls, gateway)
        };
        let door = |calls: Router<Gateway>, acts: Router<Gateway>, free: Router<Gateway>| {
            let routes = bounded(calls, acts)
                .merge(free)
                .fallback(async || Problem::not_found())
                .method_not_allowed_fallback(async || Problem::method_not_allowed());
            edge::watched(routes, gateway).with_state(gateway.clone())
        };
        let public = || {
            business()
                .merge(look_up())
                .merge(record())
                .merge(tokens())
                .merge(logins())
                .merge(checks())
                .merge(phones())
                .merge(equipment())
        };
        let public_acts = || equipment_acts().merge(watched());
        let operators = || equipment().merge(look_up()).merge(record()).merge(register()).merge(sign_in());
        let for_people = || anybody().merge(figures()).merge(console::routes());
        let speaks = gateway.config.compat.enabled;
        let compat = || match speaks {
            true => compat::spoken(bounded(compat::routes(), Router::new())),
            false => Router::new(),
        };
        let public_door = door(public(), public_acts(), anybody().merge(compat()));
        #[cfg(feature = "sandbox")]
        let (tried, tried_pages) = sandbox::routes(&gateway.config, &public_door);
        #[cfg(not(feature = "sandbox"))]
        let (tried, tried_pages) = (Router::new(), Router::new());
        let all_acts = || equipment_acts().merge(administration_acts()).merge(account_acts());
        Self {
            whole: door(
                public().merge(register()).merge(sign_in()).merge(tried),
                all_acts().merge(watched()),
                for_people().merge(tried_pages).merge(compat()),
            ),
            public: public_door,
            admin: door(operators(), all_acts(), for_people()),
            closed: {
                let refused = Router::new().fallback(async || Problem::client_certificate_refused());
                edge::watched(refused, gateway).with_state(gateway.clone())
            },
            gateway: gateway.clone(),
        }
    }

    /// What is behind every door for somebody whose certificate does not hold any more: a refusal, watched like any other.
    pub(crate) fn closed(&self) -> Router {
        self.closed.clone()
    }

    /// Somebody at this address was refused before there could be a request.
    pub(crate) fn refused_handshake(&self, address: IpAddr) {
        edge::refused_handshake(&self.gateway, address);
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
