//! What an app asks for when it sends somebody here to log in (OpenID Connect Core 1.0, 3.1.2.1; RFC 7636).

use std::collections::BTreeSet;

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};
use store::OidcClient;
use url::Url;

use super::{OPENID, SCOPES, claims};

/// Octets of a state or a nonce.
pub(super) const LONGEST: usize = 1024;

/// The parameters as they come. Those that are not known are passed over (RFC 6749, 3.1); one that comes twice is refused.
#[derive(Default, Serialize, Deserialize)]
pub(super) struct Parameters {
    pub(super) client_id: Option<String>,
    pub(super) redirect_uri: Option<String>,
    pub(super) state: Option<String>,
    pub(super) ui_locales: Option<String>,
    pub(super) id_token_hint: Option<String>,
    response_type: Option<String>,
    response_mode: Option<String>,
    scope: Option<String>,
    nonce: Option<String>,
    code_challenge: Option<String>,
    code_challenge_method: Option<String>,
    prompt: Option<String>,
    max_age: Option<String>,
    claims: Option<String>,
    request: Option<String>,
    pub(super) request_uri: Option<String>,
    registration: Option<String>,
}

/// A request, read. It is kept with its login.
#[derive(Serialize, Deserialize)]
pub(super) struct Asked {
    /// None, and empty, of a device without a browser.
    pub(super) redirect_uri: String,
    pub(super) state: Option<String>,
    pub(super) nonce: Option<String>,
    /// What the scopes among those that are known come to.
    pub(super) scopes: BTreeSet<String>,
    /// SHA-256 of the verifier; none of a device without a browser.
    pub(super) challenge: Option<[u8; 32]>,
    /// Claims that are wanted in the ID token too.
    pub(super) in_id_token: BTreeSet<String>,
    /// The sector that `sub` is for, as the app was registered when it asked.
    pub(super) sector: String,
    /// The `sub` of whom the app expects.
    pub(super) expected: Option<String>,
    /// What the QR code says.
    pub(super) qr_text: String,
    pub(super) english: bool,
}

impl Asked {
    /// What is asked at a device without a browser: nothing leads anywhere.
    pub(super) fn at_device(scopes: BTreeSet<String>, client: &OidcClient, english: bool) -> Self {
        Self {
            redirect_uri: String::new(),
            state: None,
            nonce: None,
            scopes,
            challenge: None,
            in_id_token: BTreeSet::new(),
            sector: client.sector.clone(),
            expected: None,
            qr_text: String::new(),
            english,
        }
    }
}

/// A refusal that the app is told, by its code in OAuth.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Denied(pub(super) &'static str, pub(super) String);

impl Denied {
    fn new(error: &'static str, why: &str) -> Self {
        Self(error, why.to_owned())
    }
}

impl Parameters {
    /// What is asked, of an app that is registered so, to an address that is the app's.
    pub(super) fn check(self, client: &OidcClient, redirect_uri: &str) -> Result<Asked, Denied> {
        let invalid = |why: &str| Denied::new("invalid_request", why);
        for (there, error) in [
            (self.request.is_some(), "request_not_supported"),
            (self.request_uri.is_some(), "request_uri_not_supported"),
            (self.registration.is_some(), "registration_not_supported"),
        ] {
            if there {
                return Err(Denied::new(error, "parameters come in the query or form"));
            }
        }
        match self.response_type.as_deref() {
            None => return Err(invalid("response_type is required")),
            Some("code") => {}
            Some(_) => return Err(Denied::new("unsupported_response_type", "response_type must be code")),
        }
        if self.response_mode.is_some_and(|mode| mode != "query") {
            return Err(invalid("response_mode must be query"));
        }
        for (name, text) in [("state", &self.state), ("nonce", &self.nonce)] {
            if text.as_ref().is_some_and(|text| text.len() > LONGEST) {
                return Err(invalid(&format!("{name} must be {LONGEST} octets at most")));
            }
        }
        let scopes = scopes(self.scope.as_deref().unwrap_or_default(), client)?;
        prompt(self.prompt.as_deref().unwrap_or_default())?;
        if self.max_age.is_some_and(|age| age.parse::<u32>().is_err()) {
            return Err(invalid("max_age must be a number of seconds"));
        }
        let Some(challenge) = self.code_challenge else {
            return Err(invalid("code_challenge is required (RFC 7636)"));
        };
        if self.code_challenge_method.as_deref() != Some("S256") {
            return Err(invalid("code_challenge_method must be S256"));
        }
        let challenge = URL_SAFE_NO_PAD.decode(challenge).ok().and_then(|octets| octets.try_into().ok());
        let challenge = challenge.ok_or_else(|| invalid("code_challenge must be SHA-256, base64url"))?;
        Ok(Asked {
            redirect_uri: redirect_uri.to_owned(),
            state: self.state,
            nonce: self.nonce,
            scopes,
            challenge: Some(challenge),
            in_id_token: wanted(self.claims.as_deref())?,
            sector: client.sector.clone(),
            expected: None,
            qr_text: String::new(),
            english: english(self.ui_locales.as_deref()),
        })
    }
}

/// Whether somebody reads English rather than Chinese.
pub(super) fn english(locales: Option<&str>) -> bool {
    locales.and_then(|locales| locales.split(' ').next()).is_some_and(|first| first.starts_with("en"))
}

/// The scopes that are known. What the app is not registered for is refused; what nobody knows is passed over (Core, 3.1.2.1).
pub(super) fn scopes(text: &str, client: &OidcClient) -> Result<BTreeSet<String>, Denied> {
    let asked: BTreeSet<&str> = text.split(' ').filter(|scope| !scope.is_empty()).collect();
    if !asked.contains(OPENID) {
        return Err(Denied::new("invalid_scope", "scope must have openid"));
    }
    let known = asked.into_iter().filter(|scope| *scope == OPENID || SCOPES.contains(scope));
    let known: BTreeSet<String> = known.map(str::to_owned).collect();
    match known.iter().find(|scope| *scope != OPENID && !client.scopes.contains(*scope)) {
        Some(scope) => Err(Denied("invalid_scope", format!("the app is not registered for {scope}"))),
        None => Ok(known),
    }
}

/// Somebody is asked each time, so that there is nobody to be known without asking.
fn prompt(text: &str) -> Result<(), Denied> {
    let words: Vec<_> = text.split(' ').filter(|word| !word.is_empty()).collect();
    if words.iter().any(|word| !["none", "login", "consent", "select_account"].contains(word)) {
        return Err(Denied::new("invalid_request", "prompt must be of none, login, consent, select_account"));
    }
    match (words.contains(&"none"), words.len()) {
        (true, 1) => Err(Denied::new("login_required", "somebody has to scan a code")),
        (true, _) => Err(Denied::new("invalid_request", "prompt=none stands alone")),
        (false, _) => Ok(()),
    }
}

/// Names of claims that are wanted in the ID token (Core, 5.5). Which there are the scopes decide.
fn wanted(text: Option<&str>) -> Result<BTreeSet<String>, Denied> {
    let Some(text) = text else { return Ok(BTreeSet::new()) };
    let invalid = |why: &str| Denied::new("invalid_request", why);
    let not_json = || invalid("claims must be a JSON object of id_token and userinfo");
    if text.len() > 8 * LONGEST {
        return Err(not_json());
    }
    let claims: Map<String, Value> = serde_json::from_str(text).map_err(|_| not_json())?;
    for place in ["id_token", "userinfo"] {
        if claims.get(place).is_some_and(|claims| !claims.is_object() && !claims.is_null()) {
            return Err(not_json());
        }
    }
    let wanted = claims.get("id_token").and_then(Value::as_object);
    // Somebody else would be logged in for the one that was named.
    if [wanted, claims.get("userinfo").and_then(Value::as_object)]
        .into_iter()
        .flatten()
        .any(|claims| claims.get("sub").is_some_and(|sub| !sub.is_null()))
    {
        return Err(invalid("who is to log in cannot be said before"));
    }
    if let Some(acr) = wanted.and_then(|claims| claims.get("acr")) {
        attained(acr)?;
    }
    Ok(wanted.into_iter().flat_map(Map::keys).cloned().collect())
}

/// Refuses an assurance that has to be, and is not the one that there is (Core, 5.5.1.1).
fn attained(acr: &Value) -> Result<(), Denied> {
    let value = acr.get("value").into_iter();
    let mut accepted =
        value.chain(acr.get("values").and_then(Value::as_array).into_iter().flatten()).peekable();
    let is_essential = acr.get("essential").and_then(Value::as_bool) == Some(true);
    if !is_essential || accepted.peek().is_none() || accepted.any(|value| *value == claims::ASSURANCE) {
        return Ok(());
    }
    let why = format!("acr is {} here", claims::ASSURANCE);
    Err(Denied("unmet_authentication_requirements", why))
}

/// Where a browser is sent with an answer, which names its issuer (RFC 9207).
pub(super) fn answered(
    issuer: &str,
    redirect_uri: &str,
    state: Option<&str>,
    answer: &[(&str, &str)],
) -> Option<String> {
    let mut url = Url::parse(redirect_uri).ok()?;
    let mut query = url.query_pairs_mut();
    for (name, value) in answer {
        query.append_pair(name, value);
    }
    if let Some(state) = state {
        query.append_pair("state", state);
    }
    query.append_pair("iss", issuer);
    drop(query);
    Some(url.into())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn client() -> OidcClient {
        OidcClient {
            redirect_uris: BTreeSet::from(["https://app.example/cb".to_owned()]),
            post_logout_redirect_uris: BTreeSet::new(),
            sector: "app.example".to_owned(),
            scopes: BTreeSet::from(["license".to_owned()]),
            item: "item".to_owned(),
            item_name: "name".to_owned(),
            public: false,
            device_flow: false,
            require_pushed_authorization_requests: false,
        }
    }

    fn check(query: &str) -> Result<Asked, Denied> {
        let parameters: Parameters = serde_urlencoded::from_str(query).unwrap();
        parameters.check(&client(), "https://app.example/cb")
    }

    const GOOD: &str = "response_type=code&scope=openid+license+somewhat&nonce=n&state=s&code_challenge_method=S256\
                        &code_challenge=E9Melhoa2OwvFrEMTJguCHaoeK1t8URWbuGJSstw-cM";

    #[test]
    fn what_is_asked_is_read_and_what_nobody_knows_passed_over() {
        let read = |query: &str| check(query).unwrap_or_else(|denied| panic!("{query}: {denied:?}"));
        let asked = read(GOOD);
        assert_eq!(asked.scopes.into_iter().collect::<Vec<_>>(), ["license", "openid"]);
        assert!(!asked.english);
        let claims = "%7B%22id_token%22:%7B%22uscc%22:null,%22sub%22:null%7D,%22userinfo%22:null%7D";
        let asked = read(&format!("{GOOD}&claims={claims}&max_age=0&prompt=login&ui_locales=en-GB+zh"));
        assert!(asked.in_id_token.contains("uscc") && asked.english);
        for acr in ["null", "%7B%22essential%22:true%7D", "%7B%22values%22:%5B%22urn:x%22%5D%7D"] {
            read(&format!("{GOOD}&claims=%7B%22id_token%22:%7B%22acr%22:{acr}%7D%7D"));
        }
        let ours = "%7B%22essential%22:true,%22value%22:%22urn:cn:elicense:2%22%7D";
        read(&format!("{GOOD}&claims=%7B%22id_token%22:%7B%22acr%22:{ours}%7D%7D"));
    }

    #[test]
    fn what_cannot_be_is_refused_by_its_code() {
        for (from, to, error) in [
            ("response_type=code&", "", "invalid_request"),
            ("type=code", "type=token", "unsupported_response_type"),
            ("type=code", "type=code+id_token", "unsupported_response_type"),
            ("openid+", "", "invalid_scope"),
            ("+license", "+operator", "invalid_scope"),
            ("S256", "plain", "invalid_request"),
            ("code_challenge_method=S256", "x=y", "invalid_request"),
            ("code_challenge=E9", "code_challenge=E", "invalid_request"),
            ("&code_challenge=", "&x=", "invalid_request"),
            ("state=s", "prompt=none", "login_required"),
            ("state=s", "prompt=none+login", "invalid_request"),
            ("state=s", "prompt=often", "invalid_request"),
            ("state=s", "max_age=-1", "invalid_request"),
            ("state=s", "request=x", "request_not_supported"),
            ("state=s", "request_uri=x", "request_uri_not_supported"),
            ("state=s", "registration=x", "registration_not_supported"),
            ("state=s", "response_mode=fragment", "invalid_request"),
            ("state=s", "claims=%5B%5D", "invalid_request"),
            (
                "state=s",
                "claims=%7B%22id_token%22:%7B%22acr%22:%7B%22essential%22:true,%22values%22:%5B%22urn:x%22%5D%7D%7D%7D",
                "unmet_authentication_requirements",
            ),
            (
                "state=s",
                "claims=%7B%22id_token%22:%7B%22sub%22:%7B%22value%22:%22x%22%7D%7D%7D",
                "invalid_request",
            ),
        ] {
            assert!(GOOD.contains(from), "{from}");
            let refused = check(&GOOD.replacen(from, to, 1)).err().unwrap_or_else(|| panic!("{to} is taken"));
            assert_eq!(refused.0, error, "{to}: {refused:?}");
        }
        assert!(check(&GOOD.replacen("state=s", &format!("state={}", "s".repeat(1025)), 1)).is_err());
        assert!(serde_urlencoded::from_str::<Parameters>("state=a&state=b").is_err(), "which of them?");
    }

    #[test]
    fn an_answer_keeps_what_the_address_has_and_says_who_gives_it() {
        let url = answered("https://i", "https://app.example/cb?a=1", Some("s&t"), &[("code", "c")]);
        assert_eq!(url.unwrap(), "https://app.example/cb?a=1&code=c&state=s%26t&iss=https%3A%2F%2Fi");
    }
}
