//! How people log in to an app: what administrators register.

use std::collections::BTreeSet;

use serde::Deserialize;
use store::OidcClient;
use url::{Host, Url};
use utoipa::ToSchema;

use super::SCOPES;
use crate::apps::form::line;
use crate::body::Faults;

/// Addresses of a kind that an app may have.
const MOST_URIS: usize = 16;
/// Octets of an address.
const LONGEST_URI: usize = 1024;

/// How people log in to an app with their license by OpenID Connect.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct OidcClientRequest {
    /// Where answers may go: up to 16, and one at least without `device_flow`; https URLs without fragment, or http ones of this machine (`127.0.0.1`, `[::1]`, `localhost`).
    /// A request names one of them octet by octet.
    #[serde(default)]
    redirect_uris: BTreeSet<String>,
    /// Where a browser may be sent after somebody was logged out: up to 16, as above.
    #[serde(default)]
    post_logout_redirect_uris: BTreeSet<String>,
    /// Apps of one sector know an enterprise by the same `sub`: 1 to 100 characters. Default the host of `redirect_uris`, which must
    /// then be one.
    sector: Option<String>,
    /// What it may ask for besides `openid`: `license`, `license.face`, `operator`, `offline_access`.
    #[serde(default)]
    scopes: BTreeSet<String>,
    /// The code of the business item that logging in is, of those in the site's decision table.
    #[schema(example = "annual-report")]
    item: String,
    /// Its name, which the phone shows: 1 to 100 characters.
    #[schema(example = "登录办事大厅")]
    item_name: String,
    /// Whether it can keep no key, as a program in a browser or on a phone: then the code's verifier is all that it proves itself by.
    #[serde(default)]
    public: bool,
    /// Whether devices without a browser log people in for it (RFC 8628).
    #[serde(default)]
    device_flow: bool,
    /// Whether only requests are taken that the app pushed to `/oidc/par` (RFC 9126).
    #[serde(default)]
    require_pushed_authorization_requests: bool,
}

impl OidcClientRequest {
    /// What the register is to have.
    pub(crate) fn check(&self, faults: &mut Faults) -> Option<OidcClient> {
        if self.redirect_uris.is_empty() && !self.device_flow {
            let detail = "must be one at least without device_flow";
            faults.add("oidc.redirect_uris", "invalid_value", detail);
        }
        let mut hosts = BTreeSet::new();
        for (field, uris) in [
            ("oidc.redirect_uris", &self.redirect_uris),
            ("oidc.post_logout_redirect_uris", &self.post_logout_redirect_uris),
        ] {
            if uris.len() > MOST_URIS {
                faults.add(field, "invalid_value", format!("must be {MOST_URIS} at most"));
            }
            for uri in uris.iter().take(MOST_URIS) {
                match host(uri) {
                    Ok(host) if field == "oidc.redirect_uris" => drop(hosts.insert(host)),
                    Ok(_) => {}
                    Err(why) => faults.add(field, "invalid_redirect_uri", format!("{uri:?} {why}")),
                }
            }
        }
        for scope in &self.scopes {
            if !SCOPES.contains(&scope.as_str()) {
                let known = SCOPES.join(", ");
                faults.add("oidc.scopes", "unknown_scope", format!("{scope:?} is none of: {known}"));
            }
        }
        line(faults, "oidc.item", &self.item, 60);
        line(faults, "oidc.item_name", &self.item_name, 100);
        let sector = match &self.sector {
            Some(sector) => {
                line(faults, "oidc.sector", sector, 100);
                Some(sector.clone())
            }
            None if hosts.len() == 1 => hosts.pop_first(),
            None => {
                let detail = "is required where redirect_uris are not of one host";
                faults.add("oidc.sector", "missing_field", detail);
                None
            }
        };
        Some(OidcClient {
            redirect_uris: self.redirect_uris.clone(),
            post_logout_redirect_uris: self.post_logout_redirect_uris.clone(),
            sector: sector?,
            scopes: self.scopes.clone(),
            item: self.item.clone(),
            item_name: self.item_name.clone(),
            public: self.public,
            device_flow: self.device_flow,
            require_pushed_authorization_requests: self.require_pushed_authorization_requests,
        })
    }
}

/// The host of an address to which browsers can be sent with a secret.
fn host(uri: &str) -> Result<String, &'static str> {
    if uri.len() > LONGEST_URI {
        return Err("is longer than 1024 octets");
    }
    let plain = uri.bytes().all(|octet| octet.is_ascii_graphic() && !matches!(octet, b'\\' | b'"' | b'*'));
    if !plain {
        return Err("has characters that no address has, or stands for several addresses");
    }
    let parsed = Url::parse(uri).map_err(|_| "is no URL")?;
    if parsed.fragment().is_some() {
        return Err("has a fragment");
    }
    if !parsed.username().is_empty() || parsed.password().is_some() {
        return Err("has a name or a password in it");
    }
    let here = match parsed.host() {
        Some(Host::Domain(name)) => name == "localhost",
        Some(Host::Ipv4(address)) => address.is_loopback(),
        Some(Host::Ipv6(address)) => address.is_loopback(),
        None => return Err("has no host"),
    };
    match (parsed.scheme(), here) {
        ("https", _) | ("http", true) => Ok(parsed.host_str().unwrap_or_default().to_owned()),
        _ => Err("is neither of https nor of this machine"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_code_is_sent_to_addresses_only_that_are_one_and_safe() {
        for good in [
            "https://app.example/cb",
            "https://app.example:8443/cb?tenant=1",
            "http://127.0.0.1:4000/cb",
            "http://[::1]/cb",
            "http://localhost/",
        ] {
            assert!(host(good).is_ok(), "{good}");
        }
        for bad in [
            "",
            "app.example/cb",
            "/cb",
            "//app.example/cb",
            "http://app.example/cb",
            "http://127.0.0.1.example/cb",
            "https://app.example/cb#part",
            "https://*.app.example/cb",
            "https://app.example\\@evil.example/cb",
            "https://somebody@app.example/cb",
            "https://app.example/c b",
            "https://应用.example/cb",
            "javascript:alert(1)",
            "data:text/html,x",
        ] {
            assert!(host(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn a_sector_is_said_where_it_is_not_plain() {
        let ask = |json: &str| {
            let request: OidcClientRequest = serde_json::from_str(json).unwrap();
            let mut faults = Faults::default();
            let client = request.check(&mut faults);
            faults.into_result(client)
        };
        let one = ask(
            r#"{"redirect_uris":["https://a.example/1","https://a.example/2"],"item":"i","item_name":"n"}"#,
        );
        assert_eq!(one.unwrap().sector, "a.example");
        let two =
            r#"{"redirect_uris":["https://a.example/1","https://b.example/2"],"item":"i","item_name":"n"}"#;
        assert_eq!(ask(two).unwrap_err().fields().collect::<Vec<_>>(), ["oidc.sector"]);
        assert_eq!(ask(&two.replace("\"item\"", "\"sector\":\"s\",\"item\"")).unwrap().sector, "s");
    }
}
