//! What stands in the header of a message of the national front's protocol: `syscode` with, in a sandbox on loopback, an API key as
//! `authcode`, and everywhere else with the app's SM2 signature over the message as `sign`. `authcode` alone proves nothing to a
//! site for production: whoever reads one once has it.

use axum::http::request::Parts;
use bytes::Bytes;
use config::{AppId, OwnName};
use sm3::{Digest, Sm3};
use store::{CredentialKind, Material};
use time::OffsetDateTime;

use super::signed::{Claim, WholeBody};
use super::throttle::Attempt;
use super::{Proved, admitted};
use crate::problem::Problem;
use crate::state::Gateway;

/// By what a message says who it is from.
pub(crate) struct Envelope<'m> {
    /// The app that the system is; none where the site knows no such system.
    pub(crate) app: Option<&'m AppId>,
    /// As it came.
    pub(crate) authcode: Option<&'m str>,
    /// SM2 signature over `text`, DER.
    pub(crate) sign: Option<Vec<u8>>,
    /// When the message was made, as it says.
    pub(crate) made_at: Option<OffsetDateTime>,
    /// What is signed: the message without `sign`, its members in alphabetical order, without blanks.
    pub(crate) text: &'m str,
}

impl Envelope<'_> {
    pub(super) async fn prove(
        &self,
        parts: &mut Parts,
        gateway: &Gateway,
        attempt: &mut Attempt,
    ) -> Result<Proved, Problem> {
        let register = gateway.callers.apps.register().await.map_err(|error| Problem::database(&error))?;
        match (&self.sign, self.authcode) {
            (Some(sign), _) => {
                let made_at = self.made_at.ok_or_else(Problem::opertime_missing)?;
                let unknown = AppId::of(OwnName::Unproved);
                let digest: [u8; 32] = Sm3::digest(self.text.as_bytes()).into();
                parts.extensions.insert(WholeBody(Bytes::copy_from_slice(self.text.as_bytes())));
                let claim = Claim {
                    app: self.app.unwrap_or(&unknown),
                    at: made_at,
                    nonce: &hex::encode(digest),
                    credential: None,
                    kind: Some(CredentialKind::Sm2),
                    by_key: sign,
                    by_secret: &[],
                };
                let text = |text: String| Ok(text);
                let read = |octets: &[u8]| String::from_utf8_lossy(octets).into_owned();
                claim.prove(parts, gateway, &register, attempt, (read, text)).await
            }
            (None, Some(authcode)) if gateway.config.callers.api_keys && attempt.is_local() => {
                attempt.claims(OwnName::ApiKey.as_str());
                let Material::ApiKey(digest) = Material::of_api_key(authcode) else {
                    return Err(Problem::api_key_invalid());
                };
                let at = OffsetDateTime::now_utc();
                let found = register.by_digest(&digest).filter(|(app, known)| {
                    self.app == Some(&app.app.id)
                        && known.credential.material.kind() == CredentialKind::ApiKey
                        && known.credential.holds_at(at)
                });
                let (app, known) = found.ok_or_else(Problem::authcode_invalid)?;
                crate::request_id::note_credential(&known.credential.id);
                attempt.proved(&app.app.id);
                admitted(app, at)?;
                Ok(Proved { app: app.clone(), restricted: None })
            }
            _ => Err(Problem::message_not_proved(gateway.config.callers.api_keys)),
        }
    }
}
