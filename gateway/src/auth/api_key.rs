//! API keys: in a sandbox, on loopback. Whoever reads one once has it, so that nothing real may hang on it.

use axum::http::request::Parts;
use config::OwnName;
use store::{CredentialKind, Material};
use time::OffsetDateTime;

use super::register::Register;
use super::throttle::Attempt;
use super::{Proved, admitted};
use crate::problem::Problem;
use crate::state::Gateway;

pub(crate) fn prove(
    parts: &Parts,
    gateway: &Gateway,
    register: &Register,
    attempt: &mut Attempt,
) -> Result<Proved, Problem> {
    if !gateway.config.callers.api_keys || !attempt.is_local() {
        return Err(Problem::api_key_not_admitted());
    }
    let mut shown = parts.headers.get_all("x-api-key").iter();
    let (Some(key), None) = (shown.next(), shown.next()) else {
        return Err(Problem::header_repeated("x-api-key"));
    };
    attempt.claims(OwnName::ApiKey.as_str());
    let key = key.to_str().map_err(|_| Problem::api_key_invalid())?;
    let Material::ApiKey(digest) = Material::of_api_key(key) else { return Err(Problem::api_key_invalid()) };
    let at = OffsetDateTime::now_utc();
    let found = register.by_digest(&digest).filter(|(_, known)| {
        known.credential.material.kind() == CredentialKind::ApiKey && known.credential.holds_at(at)
    });
    let (app, known) = found.ok_or_else(Problem::api_key_invalid)?;
    crate::request_id::note_credential(&known.credential.id);
    attempt.proved(&app.app.id);
    admitted(app, at)?;
    Ok(Proved { app: app.clone(), restricted: None })
}
