//! What an app is told of who logged in: by the scopes of the request, and by what the app may see of a license now.

use std::collections::BTreeSet;

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use hmac::{Hmac, KeyInit, Mac};
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value, json};
use sm3::Sm3;
use store::{App, Login};
use time::OffsetDateTime;
use time::format_description::well_known::Rfc3339;
use verify_front::FieldGrant;

use super::request::Asked;
use super::{FACE, LICENSE, OPERATOR};
use crate::problem::Problem;
use crate::sessions::login::Fetched;
use crate::state::Gateway;

/// That a code was scanned and confirmed by a license's key.
pub(super) const ASSURANCE: &str = "urn:cn:elicense:2";

/// Claims that there are.
pub(super) const NAMES: [&str; 19] = [
    "iss",
    "sub",
    "aud",
    "exp",
    "iat",
    "auth_time",
    "nonce",
    "acr",
    "amr",
    "at_hash",
    "sid",
    "uscc",
    "entity_name",
    "entity_status",
    "license",
    "license_face",
    "role",
    "role_code",
    "operator",
];

/// Who logged in, as it is kept with the login.
#[derive(Serialize, Deserialize)]
pub(super) struct Kept {
    /// What the session came to, JSON.
    result: String,
    /// Until when it can hold at most, in seconds since 1970.
    holds_until: i64,
}

/// The same, read.
pub(super) struct Known {
    result: Map<String, Value>,
    /// When the holder confirmed.
    pub(super) auth_time: i64,
    pub(super) uscc: String,
    pub(super) acr: String,
    /// Until when it can hold at most: license and authorisation.
    pub(super) holds_until: OffsetDateTime,
}

impl Kept {
    pub(super) fn new(fetched: &Fetched) -> Self {
        Self { result: fetched.result.clone(), holds_until: fetched.holds_until.unix_timestamp() }
    }

    pub(super) fn write(&self) -> Vec<u8> {
        serde_json::to_vec(self).unwrap_or_default() // a text and a number
    }
}

/// What a login asked.
pub(super) fn asked(login: &Login) -> Result<Asked, Problem> {
    let asked = login.request.as_deref().and_then(|octets| serde_json::from_slice(octets).ok());
    asked.ok_or_else(|| Problem::login_broken("request"))
}

impl Known {
    pub(super) fn of(login: &Login) -> Result<Self, Problem> {
        let read = || {
            let kept: Kept = serde_json::from_slice(login.result.as_deref()?).ok()?;
            Self::read(&kept)
        };
        read().ok_or_else(|| Problem::login_broken("result"))
    }

    fn read(kept: &Kept) -> Option<Self> {
        let result: Map<String, Value> = serde_json::from_str(&kept.result).ok()?;
        let text = |name: &str| result.get(name).and_then(Value::as_str).map(str::to_owned);
        let at = OffsetDateTime::parse(&text("confirmed_at")?, &Rfc3339).ok()?;
        let (uscc, acr) = (text("uscc")?, text("assurance")?);
        let holds_until = OffsetDateTime::from_unix_timestamp(kept.holds_until).ok()?;
        Some(Self { auth_time: at.unix_timestamp(), uscc, acr, holds_until, result })
    }

    /// The claims that scopes stand for, as far as the app may see them: what is not granted is not there.
    pub(super) fn claims(&self, scopes: &BTreeSet<String>, app: &App) -> Map<String, Value> {
        let grant = FieldGrant::new(app.fields.iter().cloned());
        let mut claims = Map::new();
        if scopes.contains(LICENSE) {
            for (claim, member) in [("uscc", "uscc"), ("entity_name", "name")] {
                self.copy(&mut claims, claim, member, grant.shows(member));
            }
            self.copy(&mut claims, "entity_status", "status", true);
            // Serial number and certificate name the enterprise as much as its code does.
            self.copy(&mut claims, "license", "license", grant.shows("uscc"));
        }
        if scopes.contains(FACE)
            && let Some(face) = self.result.get("face").and_then(Value::as_object)
        {
            let seen = face.iter().filter(|(name, _)| !grant.within(&[(*name).clone()]).is_empty());
            let seen = seen.map(|(name, value)| (name.clone(), masked(&grant, name, value)));
            claims.insert("license_face".to_owned(), seen.collect::<Map<_, _>>().into());
        }
        if scopes.contains(OPERATOR) {
            if let Some(role) = self.result.get("role") {
                claims.insert("role".to_owned(), role["name"].clone());
                claims.insert("role_code".to_owned(), role["opertype"].clone());
            }
            if let Some(name) = self.result.get("operator")
                && (grant.shows("holder") || grant.shows_in_full("holder"))
            {
                claims.insert("operator".to_owned(), masked(&grant, "holder", name));
            }
        }
        claims
    }

    fn copy(&self, claims: &mut Map<String, Value>, claim: &str, member: &str, is_granted: bool) {
        if let Some(value) = self.result.get(member).filter(|value| is_granted && !value.is_null()) {
            claims.insert(claim.to_owned(), value.clone());
        }
    }
}

/// A field as it may be seen now: persons may have been shown in full before.
fn masked(grant: &FieldGrant, name: &str, value: &Value) -> Value {
    match value.as_str() {
        Some(text) if matches!(name, "holder" | "legal_representative") => json!(grant.person(name, text)),
        _ => value.clone(),
    }
}

/// The name of an enterprise for the apps of one sector (OpenID Connect Core 1.0, 8.1): HMAC-SM3 over sector and code.
pub(super) async fn subject(gateway: &Gateway, sector: &str, uscc: &str) -> Result<String, Problem> {
    let mut fresh = [0; 32];
    getrandom::fill(&mut fresh).map_err(|error| Problem::no_random(&error))?;
    let secret = gateway.store.pairwise_secret(&fresh, OffsetDateTime::now_utc()).await;
    let secret = secret.map_err(|error| Problem::from_logins(&error))?;
    derived(&secret, sector, uscc).ok_or_else(|| Problem::login_broken("secret"))
}

fn derived(secret: &[u8], sector: &str, uscc: &str) -> Option<String> {
    let mut mac = Hmac::<Sm3>::new_from_slice(secret).ok()?;
    for part in ["license-gateway subject", sector, uscc] {
        // Each with its length: what ends one begins no other.
        mac.update(&u64::try_from(part.len()).ok()?.to_be_bytes());
        mac.update(part.as_bytes());
    }
    Some(URL_SAFE_NO_PAD.encode(mac.finalize().into_bytes()))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn known(result: Value) -> Known {
        let mut result = result;
        result["confirmed_at"] = "2026-05-06T07:08:09Z".into();
        result["assurance"] = ASSURANCE.into();
        Known::read(&Kept { result: result.to_string(), holds_until: 1_800_000_000 }).unwrap()
    }

    fn app(fields: &[&str]) -> App {
        let mut app = App::new(config::AppId::parse("app").unwrap(), "app");
        app.fields = fields.iter().map(|field| (*field).to_owned()).collect();
        app
    }

    fn scopes(names: &[&str]) -> BTreeSet<String> {
        names.iter().map(|name| (*name).to_owned()).collect()
    }

    #[test]
    fn an_app_is_told_what_its_scopes_ask_and_its_fields_show_now() {
        let known = known(json!({
            "uscc": "U", "name": "甲公司", "status": {"code": 1}, "license": {"serial": "S"}, "role": {"opertype": 0, "name": "legal_representative"},
            "operator": "张三丰", "face": {"name": "甲公司", "domicile": "西安", "legal_representative": "张三丰"},
        }));
        let told = |asked: &[&str], fields: &[&str]| known.claims(&scopes(asked), &app(fields));
        assert!(told(&["openid"], &["*"]).is_empty());
        let all = told(&["license", "operator", "license.face"], &["*"]);
        assert_eq!(
            (&all["uscc"], &all["entity_name"], &all["operator"]),
            (&json!("U"), &json!("甲公司"), &json!("张三丰"))
        );
        let masked = told(&["operator", "license.face"], &["holder", "legal_representative"]);
        assert_eq!(masked["operator"], "张**");
        assert_eq!(masked["license_face"], json!({"legal_representative": "张**"}));
        let none = told(&["license", "operator", "license.face"], &[]);
        for claim in ["uscc", "entity_name", "license", "operator"] {
            assert!(none.get(claim).is_none(), "{claim} in {none:?}");
        }
        assert_eq!(told(&["license"], &["uscc"])["license"], json!({"serial": "S"}));
        assert!(
            told(&["license"], &["*"]).keys().all(|claim| claim != "operator" && claim != "license_face")
        );
        assert_eq!(none["license_face"], json!({}));
    }

    #[test]
    fn a_sector_has_its_own_name_for_an_enterprise_and_always_the_same() {
        let name = |sector, uscc| derived(&[7; 32], sector, uscc).unwrap();
        assert_eq!(name("a.example", "U1"), name("a.example", "U1"));
        assert_eq!(name("a.example", "U1").len(), 43);
        let others = [name("b.example", "U1"), name("a.example", "U2"), name("a.exampleU", "1")];
        assert!(others.iter().all(|other| *other != name("a.example", "U1")));
        assert_ne!(derived(&[8; 32], "a.example", "U1").unwrap(), name("a.example", "U1"));
    }
}
