//! `/.well-known/openid-configuration` (OpenID Connect Discovery 1.0).

use axum::Json;
use axum::extract::State;
use serde_json::{Value, json};

use super::{OPENID, SCOPES, claims, device, issuer};
use crate::problem::{Problem, ProblemDocument};
use crate::state::Gateway;

/// What apps find the endpoints for logins by.
#[utoipa::path(
    get, path = "/.well-known/openid-configuration", tag = "oidc",
    responses(
        (status = 200, description = "metadata", body = Object),
        (status = 404, description = "`oidc_not_configured`: the site has no https issuer", body = ProblemDocument, content_type = "application/problem+json"),
    )
)]
pub(crate) async fn get_configuration(State(gateway): State<Gateway>) -> Result<Json<Value>, Problem> {
    let issuer = issuer(&gateway)?;
    let at = |path: &str| format!("{issuer}{path}");
    let scopes: Vec<_> = std::iter::once(OPENID).chain(SCOPES).collect();
    let proofs = ["private_key_jwt", "tls_client_auth", "none"];
    Ok(Json(json!({
        "issuer": issuer,
        "authorization_endpoint": at("/oidc/authorize"),
        "token_endpoint": at("/oidc/token"),
        "userinfo_endpoint": at("/oidc/userinfo"),
        "revocation_endpoint": at("/oidc/revoke"),
        "device_authorization_endpoint": at("/oidc/device_authorization"),
        "pushed_authorization_request_endpoint": at("/oidc/par"),
        "require_pushed_authorization_requests": false,
        "end_session_endpoint": at("/oidc/logout"),
        "jwks_uri": at("/oauth2/jwks"),
        "scopes_supported": scopes,
        "response_types_supported": ["code"],
        "response_modes_supported": ["query"],
        "grant_types_supported": ["authorization_code", "refresh_token", device::GRANT],
        "subject_types_supported": ["pairwise"],
        "id_token_signing_alg_values_supported": ["ES256"],
        "code_challenge_methods_supported": ["S256"],
        "token_endpoint_auth_methods_supported": proofs,
        "token_endpoint_auth_signing_alg_values_supported": ["ES256", "SM2"],
        "revocation_endpoint_auth_methods_supported": proofs,
        "revocation_endpoint_auth_signing_alg_values_supported": ["ES256", "SM2"],
        "tls_client_certificate_bound_access_tokens": true,
        "authorization_response_iss_parameter_supported": true,
        "claims_parameter_supported": true,
        "request_parameter_supported": false,
        "request_uri_parameter_supported": false,
        "acr_values_supported": [claims::ASSURANCE],
        "claims_supported": claims::NAMES,
        "ui_locales_supported": ["zh", "en"],
    })))
}
