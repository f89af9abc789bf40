use std::time::Duration;

use crate::Site;
use crate::read::Section;

/// How apps prove themselves.
#[derive(Debug, Clone)]
pub struct Callers {
    /// Whether `x-api-key` is taken, on loopback. In a sandbox only, where it is the default.
    pub api_keys: bool,
    /// What access tokens name as issuer and audience, and client assertions as audience: the URL under which callers
    /// reach the gateway, without a path. Required, but in a sandbox: there `urn:license-gateway:NAME`, NAME being the
    /// site's.
    pub issuer: String,
    /// How long an access token holds. Default 10 min, at most 15.
    pub token_lifetime: Duration,
}

impl Callers {
    pub(crate) fn read(section: &mut Section<'_>, site: &Site) -> Self {
        let api_keys = section.boolean("api_keys", site.sandbox);
        if api_keys && !site.sandbox {
            section.mistake("api_keys", "API keys are for a sandbox only (site.sandbox = true)");
        }
        let issuer = section
            .text("issuer")
            .map_or_else(|| format!("urn:license-gateway:{}", site.name), str::to_owned);
        let plain = issuer
            .bytes()
            .all(|octet| octet.is_ascii_graphic() && !matches!(octet, b'"' | b'\\' | b'#' | b'?'));
        if !section.has("issuer") && !site.sandbox {
            // Two sites may have one name.
            let message = "is required outside a sandbox (site.sandbox = true): what is meant for one site must not hold at another";
            section.mistake("issuer", message);
        }
        if section.has("issuer") && (!plain || !issuer.starts_with("https://") || issuer.ends_with('/')) {
            section.mistake("issuer", "must be an https URL without query, fragment and final slash");
        }
        let token_lifetime = Duration::from_secs(section.integer("token_lifetime_s", 600, 30..=900));
        Self { api_keys, issuer, token_lifetime }
    }
}
