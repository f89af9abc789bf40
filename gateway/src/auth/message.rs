//! HTTP Message Signatures (RFC 9421): what `signed` judges, in the fields of the standard, for callers with a library.
//!
//! The caller chooses what a signature covers, and what it does not cover could be changed on the way. So it has to
//! cover the method, the path, the query and the body, and to have a time and a nonce; else it proves nothing here.

use std::collections::BTreeSet;

use aws_lc_rs::digest;
use axum::http::HeaderMap;
use axum::http::request::Parts;
use config::AppId;
use sfv::{BareItem, Dictionary, FieldType, InnerList, Item, List, ListEntry, Parser};
use store::CredentialKind;
use time::OffsetDateTime;

use super::Proved;
use super::register::Register;
use super::signed::{self, Claim};
use super::throttle::Attempt;
use crate::problem::{Fault, Problem};
use crate::state::Gateway;

/// Every field of such a request. `content-digest` (RFC 9530) may stand in any other, too.
pub(crate) const FIELDS: [&str; 2] = ["signature-input", "signature"];

const DIGEST: &str = "content-digest";
/// Longer than any signature of the algorithms here is.
const LONGEST_SIGNATURE: usize = 128;

/// One signature of a request, taken apart.
struct Message {
    /// What it covers, with its parameters.
    covered: InnerList,
    app: AppId,
    /// The credential, where `keyid` names one.
    credential: Option<String>,
    kind: Option<CredentialKind>,
    at: OffsetDateTime,
    nonce: String,
    signature: Vec<u8>,
}

fn fault(field: &'static str, code: &'static str, detail: impl Into<String>) -> Problem {
    Problem::signature_headers(vec![Fault::new(field, code, detail)])
}

pub(crate) async fn prove(
    parts: &Parts,
    gateway: &Gateway,
    register: &Register,
    attempt: &mut Attempt,
) -> Result<Proved, Problem> {
    let message = Message::of(&parts.headers)?;
    // r and s of 32 octets each, as the standard has it for ECDSA and we for SM2.
    let fixed = <&[u8; 64]>::try_from(&message.signature[..]).ok();
    let der = fixed.map(formats::ecdsa::fixed_to_der).unwrap_or_default();
    let claim = Claim {
        app: &message.app,
        at: message.at,
        nonce: &message.nonce,
        credential: message.credential.as_deref(),
        kind: message.kind,
        by_key: &der,
        by_secret: &message.signature,
    };
    let said = message.digests(&parts.headers);
    let (said, faulty) = match said {
        Ok(said) => (said, None),
        Err(problem) => (Vec::new(), Some(problem)),
    };
    let digest = move |body: &[u8]| Body {
        is_empty: body.is_empty(),
        is_as_said: said.iter().all(|(algorithm, said)| digest::digest(algorithm, body).as_ref() == said),
    };
    let text = |body: Body| message.text(parts, &body, faulty);
    claim.prove(parts, gateway, register, attempt, (digest, text)).await
}

/// Which app such a request claims to be, and when it was signed.
pub(super) fn claimed(headers: &HeaderMap) -> Result<(AppId, OffsetDateTime), Problem> {
    Message::of(headers).map(|message| (message.app, message.at))
}

/// What matters of a body.
struct Body {
    is_empty: bool,
    /// The digests that the request says it has are its own.
    is_as_said: bool,
}

impl Message {
    fn of(headers: &HeaderMap) -> Result<Self, Problem> {
        let wrong = |detail: &str| fault("signature-input", "header_malformed", detail);
        let input = dictionary(headers, "signature-input")?;
        let mut inputs = input.into_iter();
        let (Some((label, ListEntry::InnerList(covered))), None) = (inputs.next(), inputs.next()) else {
            return Err(wrong("must have one signature's covered components"));
        };
        let signature = dictionary(headers, "signature")?;
        let signature = match signature.get(label.as_str()) {
            Some(ListEntry::Item(Item { bare_item: BareItem::ByteSequence(octets), .. }))
                if signature.len() == 1 && (1..=LONGEST_SIGNATURE).contains(&octets.len()) =>
            {
                octets.clone()
            }
            _ => {
                return Err(fault(
                    "signature",
                    "header_malformed",
                    format!("must have one signature, {label}"),
                ));
            }
        };
        let parameters = &covered.params;
        let text = |name: &str| match parameters.get(name) {
            None => Ok(None),
            Some(BareItem::String(text)) => Ok(Some(text.as_str())),
            Some(_) => Err(wrong(&format!("{name} must be a string"))),
        };
        let time = |name: &str| match parameters.get(name) {
            None => Ok(None),
            Some(BareItem::Integer(seconds)) => {
                let time = OffsetDateTime::from_unix_timestamp((*seconds).into());
                time.map(Some).map_err(|_| wrong(&format!("{name} is beyond every calendar")))
            }
            Some(_) => Err(wrong(&format!("{name} must be an integer"))),
        };
        let at = time("created")?.ok_or_else(|| wrong("created is required"))?;
        if time("expires")?.is_some_and(|end| end <= OffsetDateTime::now_utc()) {
            return Err(Problem::clock_skew(OffsetDateTime::now_utc()));
        }
        let nonce = text("nonce")?.filter(|nonce| signed::is_nonce(nonce));
        let nonce = nonce.ok_or_else(|| wrong("nonce must be 16 to 64 of a-z A-Z 0-9 _ -"))?.to_owned();
        let key = text("keyid")?.ok_or_else(|| wrong("keyid is required"))?;
        let (app, credential) = key.split_once('/').map_or((key, None), |(app, id)| (app, Some(id)));
        let app = AppId::parse_registered(app)
            .map_err(|_| wrong("keyid must be an app's id, or APP/CREDENTIAL"))?;
        let kind = match text("alg")? {
            None => None,
            Some("ecdsa-p256-sha256") => Some(CredentialKind::P256),
            Some("hmac-sha256") => Some(CredentialKind::HmacSha256),
            Some("sm2-sm3") => Some(CredentialKind::Sm2),
            Some("hmac-sm3") => Some(CredentialKind::HmacSm3),
            Some(_) => return Err(wrong("alg must be ecdsa-p256-sha256, hmac-sha256, sm2-sm3 or hmac-sm3")),
        };
        let credential = credential.map(str::to_owned);
        Ok(Self { app, credential, kind, at, nonce, signature, covered })
    }

    fn covers(&self, wanted: &str) -> bool {
        let is_wanted =
            |item: &Item| matches!(&item.bare_item, BareItem::String(name) if name.as_str() == wanted);
        self.covered.items.iter().any(is_wanted)
    }

    /// The digests that the request says its body has, if it covers them.
    fn digests(&self, headers: &HeaderMap) -> Result<Vec<(&'static digest::Algorithm, Vec<u8>)>, Problem> {
        if self.covers(DIGEST) { digests(headers) } else { Ok(Vec::new()) }
    }

    /// The text that is signed, once it is sure that it says all that matters. `faulty` is what is wrong with the digests
    /// that it says.
    fn text(&self, parts: &Parts, body: &Body, faulty: Option<Problem>) -> Result<String, Problem> {
        let target = self.covers("@request-target") || (self.covers("@path") && self.covers("@query"));
        let has_body = !body.is_empty || !parts.method.is_safe();
        if !self.covers("@method") || !target || (has_body && !self.covers(DIGEST)) {
            let detail =
                "must cover @method, @path and @query (or @request-target), and with a body content-digest";
            return Err(fault("signature-input", "not_covered", detail));
        }
        let base = base(&self.covered, parts)?;
        match faulty {
            Some(problem) => Err(problem),
            None if !body.is_as_said => Err(Problem::signature_invalid()),
            None => Ok(base),
        }
    }
}

/// The signature base (RFC 9421, 2.5).
fn base(covered: &InnerList, parts: &Parts) -> Result<String, Problem> {
    let mut names = BTreeSet::new();
    let mut base = String::with_capacity(512);
    for item in &covered.items {
        let BareItem::String(name) = &item.bare_item else {
            return Err(fault("signature-input", "header_malformed", "a covered component is a string"));
        };
        let name = name.as_str();
        if !item.params.is_empty() || !names.insert(name) {
            let detail = format!("{name:?} must stand once and without parameters");
            return Err(fault("signature-input", "header_malformed", detail));
        }
        base.push_str(&format!("\"{name}\": {}\n", component(parts, name)?));
    }
    // A list of one member is written as that member.
    let list: List = vec![ListEntry::InnerList(covered.clone())];
    base.push_str(&format!("\"@signature-params\": {}", list.serialize().unwrap_or_default()));
    Ok(base)
}

/// The value of a covered component (RFC 9421, 2.1 and 2.2). The target counts as it was sent: nothing is decoded or
/// tidied.
fn component(parts: &Parts, name: &str) -> Result<String, Problem> {
    let target = &parts.uri;
    Ok(match name {
        "@method" => parts.method.to_string(),
        "@path" => target.path().to_owned(),
        "@query" => format!("?{}", target.query().unwrap_or_default()),
        "@request-target" => target.path_and_query().map_or("", |target| target.as_str()).to_owned(),
        "@authority" => {
            let named = target.authority().map(|authority| authority.as_str().to_owned());
            named.map_or_else(|| field(parts, "host"), Ok)?.to_ascii_lowercase()
        }
        derived if derived.starts_with('@') => {
            let detail =
                format!("{derived:?} is none of @method, @path, @query, @request-target, @authority");
            return Err(fault("signature-input", "not_supported", detail));
        }
        field_name => field(parts, field_name)?,
    })
}

/// A header field's value, its lines joined.
fn field(parts: &Parts, name: &str) -> Result<String, Problem> {
    let absent = || fault("signature-input", "header_missing", format!("there is no field {name:?}"));
    if name.bytes().any(|octet| octet.is_ascii_uppercase()) {
        return Err(absent());
    }
    let lines: Option<Vec<&str>> =
        parts.headers.get_all(name).iter().map(|line| line.to_str().ok().map(str::trim)).collect();
    lines.filter(|lines| !lines.is_empty()).map(|lines| lines.join(", ")).ok_or_else(absent)
}

/// The digests that a request says its body has, of the algorithms that prove something; one at least.
fn digests(headers: &HeaderMap) -> Result<Vec<(&'static digest::Algorithm, Vec<u8>)>, Problem> {
    let mut said = Vec::new();
    for (name, entry) in &dictionary(headers, DIGEST)? {
        let algorithm = match name.as_str() {
            "sha-256" => &digest::SHA256,
            "sha-512" => &digest::SHA512,
            _ => continue, // it may be there, and proves nothing
        };
        let ListEntry::Item(Item { bare_item: BareItem::ByteSequence(octets), .. }) = entry else {
            return Err(fault(DIGEST, "header_malformed", "a digest is a byte sequence"));
        };
        said.push((algorithm, octets.clone()));
    }
    if said.is_empty() {
        return Err(fault(DIGEST, "header_malformed", "must have sha-256 or sha-512"));
    }
    Ok(said)
}

/// A field that is a dictionary (RFC 9651) and stands there once.
fn dictionary(headers: &HeaderMap, name: &'static str) -> Result<Dictionary, Problem> {
    let mut lines = headers.get_all(name).iter();
    match (lines.next(), lines.next()) {
        (Some(line), None) => {
            let parsed = Parser::new(line.as_bytes()).parse::<Dictionary>();
            parsed.map_err(|_| fault(name, "header_malformed", "must be a dictionary of structured fields"))
        }
        (Some(_), Some(_)) => Err(Problem::header_repeated(name)),
        (None, _) => Err(fault(name, "header_missing", "is required")),
    }
}

#[cfg(test)]
mod tests {
    use aws_lc_rs::hmac;
    use axum::http::Request;
    use base64::Engine;
    use base64::engine::general_purpose::STANDARD;

    use super::*;

    #[test]
    fn the_base_is_that_of_the_standards_example() {
        // RFC 9421, B.2.5.
        let input = r#"("date" "@authority" "content-type");created=1618884473;keyid="test-shared-secret""#;
        let request = Request::post("/foo?param=Value&Pet=dog")
            .header("host", "example.com")
            .header("date", "Tue, 20 Apr 2021 02:07:55 GMT")
            .header("content-type", "application/json");
        let (parts, ()) = request.body(()).unwrap().into_parts();
        let mut parsed: List = Parser::new(input).parse().unwrap();
        let ListEntry::InnerList(covered) = parsed.remove(0) else { panic!("{input}") };
        let base = base(&covered, &parts).unwrap();
        let wanted = format!(
            "\"date\": Tue, 20 Apr 2021 02:07:55 GMT\n\"@authority\": example.com\n\
             \"content-type\": application/json\n\"@signature-params\": {input}"
        );
        assert_eq!(base, wanted);
        let secret =
            "uzvJfB4u3N0Jy4T7NZ75MDVcr8zSTInedJtkgcu46YW4XByzNJjxBdtjUkdJPBtbmHhIDi6pcl8jsasjlTMtDQ==";
        let key = hmac::Key::new(hmac::HMAC_SHA256, &STANDARD.decode(secret).unwrap());
        let signature = STANDARD.decode("pxcQw6G3AjtMBQjwo8XzkZf/bws5LelbaMk5rGIGtE8=").unwrap();
        hmac::verify(&key, base.as_bytes(), &signature).unwrap();
    }

    #[test]
    fn a_target_is_signed_as_it_was_sent() {
        let (parts, ()) = Request::get("/v1//x/%2e%2e/keys?b=%20&a").body(()).unwrap().into_parts();
        let value = |name| component(&parts, name).unwrap();
        assert_eq!((&*value("@path"), &*value("@query")), ("/v1//x/%2e%2e/keys", "?b=%20&a"));
        assert_eq!(value("@request-target"), "/v1//x/%2e%2e/keys?b=%20&a");
        let (parts, ()) = Request::get("/v1/keys").body(()).unwrap().into_parts();
        assert_eq!(component(&parts, "@query").unwrap(), "?");
    }
}
