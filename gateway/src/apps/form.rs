//! What administrators send, turned into what the register holds; every fault at once.

use std::collections::BTreeSet;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use config::{AppId, Device, GroupId, KeyId, Secret};
use formats::{Certificate, PublicKey};
use serde::Deserialize;
use store::{App, CredentialKind, KeyPurpose, KeyRecord, Material, NewCredential, Rate};
use time::{Duration, OffsetDateTime};
use utoipa::ToSchema;

use crate::auth::{Scope, mutual_tls};
use crate::body::{Faults, Object};
use crate::oidc::client::OidcClientRequest;
use crate::problem::Problem;

/// What an app may do, and how often. What is left out of a change is taken away.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct AppRequest {
    /// Its id, for good: 1 to 64 of `a-z A-Z 0-9 . _ -`. With a change it must be absent or the same.
    id: Option<String>,
    /// What people call it: 1 to 200 characters.
    name: String,
    /// What it may call.
    #[serde(default)]
    scopes: BTreeSet<String>,
    /// Service keys it may use.
    #[serde(default)]
    keys: BTreeSet<String>,
    /// Groups whose service keys it may use.
    #[serde(default)]
    groups: BTreeSet<String>,
    /// License face fields it may see; `*` for all.
    #[serde(default)]
    fields: BTreeSet<String>,
    /// Metered packages it may draw on.
    #[serde(default)]
    packages: BTreeSet<String>,
    /// How the people behind it are reached: up to 8 lines of 200 characters.
    #[serde(default)]
    contacts: Vec<String>,
    /// How people log in to it with their license by OpenID Connect, if they do.
    #[schema(value_type = Option<OidcClientRequest>)]
    oidc: Option<Object<OidcClientRequest>>,
    /// How often it may ask.
    rate: Option<RateRequest>,
    /// Since when it is served, RFC 3339.
    not_before: Option<String>,
    /// Until when it is served, RFC 3339.
    not_after: Option<String>,
    /// For the record: 1 to 500 characters.
    pub(super) reason: String,
}

/// A token bucket.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct RateRequest {
    /// Requests a second in the long run: 1 to 1,000,000.
    per_second: u32,
    /// Requests at once after a pause: 1 to 1,000,000.
    burst: u32,
}

const MOST_RATE: u32 = 1_000_000;

impl AppRequest {
    /// The app, as the register is to have it, and why.
    pub(crate) fn read(
        &self,
        id: Option<&str>,
        keys: &[KeyRecord],
        devices: &[Device],
    ) -> Result<(App, String), Problem> {
        let mut faults = Faults::default();
        let reason = crate::input::reason(&mut faults, &self.reason);
        let app = self.app(id, keys, devices, &mut faults);
        faults.into_result(app.zip(reason.map(str::to_owned)))
    }

    fn app(
        &self,
        id: Option<&str>,
        keys: &[KeyRecord],
        devices: &[Device],
        faults: &mut Faults,
    ) -> Option<App> {
        let id = match (id, self.id.as_deref()) {
            (Some(id), Some(other)) if id != other => {
                faults.add("id", "invalid_value", "an app's id is for good");
                None
            }
            (Some(id), _) | (None, Some(id)) => {
                faults.parse("id", "invalid_value", AppId::parse_registered(id))
            }
            (None, None) => {
                faults.add("id", "missing_field", "is required");
                None
            }
        };
        line(faults, "name", &self.name, 200);
        for scope in &self.scopes {
            if !Scope::ALL.iter().any(|known| known.name() == scope) {
                let known = Scope::ALL.map(Scope::name).join(", ");
                faults.add("scopes", "unknown_scope", format!("{scope:?} is none of: {known}"));
            }
        }
        let keys = self.keys(keys, faults);
        let groups = self.groups(devices, faults);
        for (field, names) in [("fields", &self.fields), ("packages", &self.packages)] {
            for name in names {
                line(faults, field, name, 64);
            }
        }
        if self.contacts.len() > 8 {
            faults.add("contacts", "invalid_value", "must be 8 lines at most");
        }
        for contact in &self.contacts {
            line(faults, "contacts", contact, 200);
        }
        let rate = self.rate.as_ref().map(|rate| {
            for (field, number) in [("rate.per_second", rate.per_second), ("rate.burst", rate.burst)] {
                if !(1..=MOST_RATE).contains(&number) {
                    faults.add(field, "invalid_value", format!("must be 1 to {MOST_RATE}"));
                }
            }
            Rate { per_second: rate.per_second, burst: rate.burst }
        });
        let oidc = self.oidc.as_ref().map(|Object(oidc)| oidc.check(faults));
        let (not_before, not_after) = (
            moment(faults, "not_before", self.not_before.as_deref()),
            moment(faults, "not_after", self.not_after.as_deref()),
        );
        if not_before.zip(not_after).is_some_and(|(since, until)| since >= until) {
            faults.add("not_after", "invalid_value", "must be after not_before");
        }
        let mut app = App::new(id?, self.name.trim());
        app.scopes.clone_from(&self.scopes);
        app.fields.clone_from(&self.fields);
        app.packages.clone_from(&self.packages);
        app.contacts.clone_from(&self.contacts);
        app.oidc = oidc.flatten();
        (app.keys, app.groups, app.rate, app.not_before, app.not_after) =
            (keys, groups, rate, not_before, not_after);
        Some(app)
    }

    fn keys(&self, register: &[KeyRecord], faults: &mut Faults) -> BTreeSet<KeyId> {
        let mut keys = BTreeSet::new();
        for name in &self.keys {
            match register.iter().find(|key| key.id.as_str() == name) {
                Some(key) if key.purpose == KeyPurpose::Service => {
                    keys.insert(key.id.clone());
                }
                Some(_) => faults.add("keys", "key_not_permitted", format!("{name} is not for callers")),
                None => faults.add("keys", "unknown_key", format!("there is no key {name:?}")),
            }
        }
        keys
    }

    fn groups(&self, devices: &[Device], faults: &mut Faults) -> BTreeSet<GroupId> {
        let mut groups = BTreeSet::new();
        for name in &self.groups {
            let known = devices.iter().map(|device| &device.group).find(|group| group.as_str() == name);
            match known {
                Some(group) => drop(groups.insert(group.clone())),
                None => faults.add("groups", "unknown_group", format!("there is no group {name:?}")),
            }
        }
        groups
    }
}

/// A credential for an app. Secrets are made here and shown once; of a key pair only the public key comes here.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct CredentialRequest {
    /// `sm2`, `p256`, `hmac-sm3`, `hmac-sha256`, `certificate` (exactly this one), `certificate-name` (any of its
    /// issuer for its subject), or in a sandbox `api-key`.
    kind: String,
    /// PEM, for `sm2` and `p256`.
    public_key: Option<String>,
    /// PEM, for `certificate` and `certificate-name`.
    certificate: Option<String>,
    /// For people: up to 200 characters.
    #[serde(default)]
    label: String,
    /// Since when it proves something, RFC 3339; without it, now.
    not_before: Option<String>,
    /// Until when it proves something, RFC 3339.
    not_after: Option<String>,
    /// The credential that it takes the place of.
    replaces: Option<String>,
    /// For how many seconds the replaced one still holds: up to 90 days, a day if not said.
    overlap_s: Option<u32>,
    /// For the record: 1 to 500 characters.
    reason: String,
}

/// A credential to be entered, its secret, and what it replaces until when.
pub(crate) struct CredentialOrder {
    pub(super) credential: NewCredential,
    pub(super) secret: Option<Secret<String>>,
    pub(super) replaces: Option<(String, OffsetDateTime)>,
    /// For how many seconds the replaced one still holds.
    pub(super) overlap: u32,
    pub(super) reason: String,
}

const LONGEST_OVERLAP: u32 = 90 * 86_400;
const DAY: u32 = 86_400;

impl CredentialRequest {
    /// What is to be entered. `api_keys` says whether the site takes API keys.
    pub(crate) fn read(&self, api_keys: bool, at: OffsetDateTime) -> Result<CredentialOrder, Problem> {
        let mut secret = [0; 32];
        let mut id = [0; 8];
        for octets in [&mut secret[..], &mut id[..]] {
            getrandom::fill(octets).map_err(|error| Problem::no_random(&error))?;
        }
        let secret = Secret::new(secret);
        let mut faults = Faults::default();
        let reason = crate::input::reason(&mut faults, &self.reason);
        let made = self.material(api_keys, secret.expose(), &mut faults);
        if !self.label.is_empty() {
            line(&mut faults, "label", &self.label, 200);
        }
        let not_before = moment(&mut faults, "not_before", self.not_before.as_deref()).unwrap_or(at);
        let not_after = moment(&mut faults, "not_after", self.not_after.as_deref());
        if not_after.is_some_and(|end| end <= not_before || end <= at) {
            faults.add("not_after", "invalid_value", "must be in the future and after not_before");
        }
        let overlap = self.overlap_s.unwrap_or(DAY);
        if overlap > LONGEST_OVERLAP {
            faults.add("overlap_s", "invalid_value", format!("must be 0 to {LONGEST_OVERLAP}"));
        }
        if self.overlap_s.is_some() && self.replaces.is_none() {
            faults.add("overlap_s", "invalid_value", "is for a credential that replaces another one");
        }
        let ends = not_before.max(at).checked_add(Duration::seconds(overlap.into()));
        if ends.is_none() {
            faults.add("not_before", "invalid_value", "is too far away");
        }
        let order = made.zip(reason).zip(ends).map(|(((material, secret), reason), ends)| CredentialOrder {
            credential: NewCredential {
                id: hex::encode(id),
                material,
                label: self.label.clone(),
                not_before,
                not_after,
            },
            secret,
            // The successor may begin later: until then the old one is all there is.
            replaces: self.replaces.clone().map(|id| (id, ends)),
            overlap,
            reason: reason.to_owned(),
        });
        faults.into_result(order)
    }

    fn material(
        &self,
        api_keys: bool,
        random: &[u8; 32],
        faults: &mut Faults,
    ) -> Option<(Material, Option<Secret<String>>)> {
        const KINDS: [(&str, CredentialKind); 7] = [
            ("sm2", CredentialKind::Sm2),
            ("p256", CredentialKind::P256),
            ("hmac-sm3", CredentialKind::HmacSm3),
            ("hmac-sha256", CredentialKind::HmacSha256),
            ("certificate", CredentialKind::Certificate),
            ("certificate-name", CredentialKind::CertificateName),
            ("api-key", CredentialKind::ApiKey),
        ];
        let kind = faults.word("kind", Some(&self.kind), &KINDS, CredentialKind::Sm2)?;
        let wants = match kind {
            CredentialKind::Sm2 | CredentialKind::P256 => "public_key",
            CredentialKind::Certificate | CredentialKind::CertificateName => "certificate",
            CredentialKind::ApiKey | CredentialKind::HmacSm3 | CredentialKind::HmacSha256 => "",
        };
        for (field, value) in [("public_key", &self.public_key), ("certificate", &self.certificate)] {
            match value {
                Some(_) if field != wants => {
                    faults.add(field, "invalid_value", format!("is not for the kind {kind}"));
                }
                None if field == wants => faults.add(field, "missing_field", "is required"),
                _ => {}
            }
        }
        match kind {
            CredentialKind::Sm2 | CredentialKind::P256 => {
                let key = PublicKey::from_pem(self.public_key.as_deref()?);
                let key = faults.parse("public_key", "invalid_public_key", key)?;
                match (kind, &key) {
                    (CredentialKind::Sm2, PublicKey::Sm2(_)) => Some((Material::Sm2(key.spki_der()), None)),
                    (CredentialKind::P256, PublicKey::P256(_)) => {
                        Some((Material::P256(key.spki_der()), None))
                    }
                    _ => {
                        let detail = format!("is a key of the kind {}", key.kind());
                        faults.add("public_key", "algorithm_mismatch", detail);
                        None
                    }
                }
            }
            CredentialKind::Certificate | CredentialKind::CertificateName => {
                let certificate = Certificate::from_pem(self.certificate.as_deref()?);
                let certificate = faults.parse("certificate", "invalid_certificate", certificate)?;
                let material = match kind {
                    CredentialKind::Certificate => {
                        Material::Certificate(mutual_tls::thumbprint(certificate.der()))
                    }
                    _ => Material::CertificateName {
                        issuer: certificate.issuer_der().to_vec(),
                        subject: certificate.subject_der().to_vec(),
                    },
                };
                Some((material, None))
            }
            CredentialKind::ApiKey if !api_keys => {
                faults.add("kind", "api_key_not_admitted", "API keys are admitted in a sandbox only");
                None
            }
            CredentialKind::ApiKey => {
                let key = hex::encode(&random[..24]);
                Some((Material::of_api_key(&key), Some(Secret::new(key))))
            }
            CredentialKind::HmacSm3 | CredentialKind::HmacSha256 => {
                let secret = Secret::new(random.to_vec());
                let material = match kind {
                    CredentialKind::HmacSm3 => Material::HmacSm3(secret),
                    _ => Material::HmacSha256(secret),
                };
                Some((material, Some(Secret::new(STANDARD.encode(random)))))
            }
        }
    }
}

/// A line of text for people.
pub(crate) fn line(faults: &mut Faults, field: &str, text: &str, most: usize) {
    let sane = (1..=most).contains(&text.trim().chars().count()) && !text.chars().any(char::is_control);
    if !sane {
        faults.add(field, "invalid_value", format!("must be 1 to {most} characters in one line"));
    }
}

fn moment(faults: &mut Faults, field: &str, text: Option<&str>) -> Option<OffsetDateTime> {
    text.and_then(|text| faults.time(field, Some(text), OffsetDateTime::UNIX_EPOCH))
}
