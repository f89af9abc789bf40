//! Signed requests: `x-app-id`, `x-timestamp`, `x-nonce` and `x-signature` over the canonical text of the request.
//!
//! The text holds the request's target as it came, octet for octet: what a server or proxy would make of `%2e%2e` or
//! `//` does not matter, because nothing is made of it. Which algorithm a signature is of says the credential, never
//! the request. A refusal costs the same work whether the app is unknown, its key another or its credential revoked.

use std::collections::HashMap;
use std::collections::hash_map::Entry;
use std::net::IpAddr;
use std::sync::{Arc, Mutex, PoisonError};

use aws_lc_rs::{constant_time, hmac as sha2_hmac};
use axum::body::Body;
use axum::extract::{MatchedPath, Request, State};
use axum::http::request::Parts;
use axum::http::{HeaderMap, Method};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use config::AppId;
use formats::{Algorithm, DEFAULT_SIGNER_ID, PublicKey};
use hmac::{Hmac, KeyInit, Mac};
use http_body::Body as _;
use sm3::{Digest, Sm3};
use store::{CredentialKind, Material, NonceSpace};
use time::{Duration, OffsetDateTime};

use super::jws::Jws;
use super::register::{KnownApp, Register};
use super::throttle::{self, Attempt};
use super::{Peer, Proved, admitted, holding, message};
use crate::body::Patience;
use crate::judging::beside;
use crate::problem::{Fault, Problem};
use crate::state::Gateway;
use crate::{body, request_id};

/// Every field of a signed request. `x-credential` is optional: it names the credential, for apps with several.
pub(crate) const FIELDS: [&str; 5] = ["x-app-id", "x-timestamp", "x-nonce", "x-signature", "x-credential"];

/// How far a request's time may be from the gateway's.
pub(crate) const WINDOW: Duration = Duration::seconds(300);
/// How long a nonce is remembered beyond the later of its request's time and the gateway's: twice the window, so that
/// replicas whose clocks differ by less than the window agree.
pub(crate) const REMEMBERED: Duration = Duration::seconds(600);
/// Most credentials of one kind that an app may have in force: the old one and the new one. It is also how many are
/// tried at each refusal.
pub(crate) const MOST_OF_A_KIND: usize = 2;
/// A shared secret of fewer octets proves nothing, above all not an empty one.
const SHORTEST_SECRET: usize = 32;
/// Octets of bodies that are held until the signatures over them are judged: nobody has proved anything by then.
const MOST_HELD: usize = 256 << 20;

/// The part of them that one source may have.
const SHARE: usize = MOST_HELD / 4;

/// Octets that are held for strangers.
#[derive(Default)]
pub(crate) struct Unproved(Mutex<Held>);

#[derive(Default)]
struct Held {
    all: usize,
    by_source: HashMap<IpAddr, usize>,
}

/// What is held for one request; given back when it is dropped.
struct Room {
    unproved: Arc<Unproved>,
    source: Option<IpAddr>,
    octets: usize,
}

impl Unproved {
    fn room(self: &Arc<Self>, peer: Option<&Peer>) -> Room {
        let source = match peer {
            Some(Peer::Network(address)) => Some(throttle::source(address.ip())),
            _ => None,
        };
        Room { unproved: Arc::clone(self), source, octets: 0 }
    }
}

impl Room {
    fn take(&mut self, octets: usize) -> Result<(), Problem> {
        let mut held = self.unproved.0.lock().unwrap_or_else(PoisonError::into_inner);
        let of_source = self.source.map_or(0, |source| held.by_source.get(&source).copied().unwrap_or(0));
        if held.all + octets > MOST_HELD || of_source + octets > SHARE {
            return Err(Problem::overloaded());
        }
        held.all += octets;
        if let Some(source) = self.source {
            held.by_source.insert(source, of_source + octets);
        }
        self.octets += octets;
        Ok(())
    }
}

impl Drop for Room {
    fn drop(&mut self) {
        let mut held = self.unproved.0.lock().unwrap_or_else(PoisonError::into_inner);
        held.all -= self.octets;
        if let Some(source) = self.source
            && let Entry::Occupied(mut entry) = held.by_source.entry(source)
        {
            *entry.get_mut() -= self.octets;
            if *entry.get() == 0 {
                entry.remove();
            }
        }
    }
}

/// The room of a signed request's body, in its extensions: until the app has proved itself, or else until the answer. A
/// proved app's body counts among what its place, its share and the places for documents bound.
#[derive(Clone)]
struct Until(Arc<Mutex<Option<Room>>>);

impl Until {
    fn proved(room: Room) -> Self {
        Self(Arc::new(Mutex::new(Some(room))))
    }

    fn give_back(&self) {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).take();
    }
}

/// A signed request's body was left unread: the request was to be refused without it.
#[derive(Clone)]
struct Unread;

/// A signed request's body, in its extensions while it is judged.
#[derive(Clone)]
pub(super) struct WholeBody(pub(super) Bytes);

/// The text that is signed: method, path and query of the target as they were sent, app, Unix time, nonce, and SM3 of
/// the body in lower-case hexadecimal, a line feed between each two.
///
/// The query's parts, between `&`, stand in the order of their octets; without a query the line is empty.
pub(crate) fn canonical(
    method: &Method,
    (path, query): (&str, Option<&str>),
    (app, timestamp, nonce): (&str, &str, &str),
    body_digest: &[u8; 32],
) -> String {
    let mut parts: Vec<&str> = query.unwrap_or_default().split('&').collect();
    parts.sort_unstable();
    let (query, digest) = (parts.join("&"), hex::encode(body_digest));
    [method.as_str(), path, &query, app, timestamp, nonce, &digest].join("\n")
}

/// Reads the body of a signed request, so that it is known before anybody decides on it. One that is refused whatever
/// its body is stays unread.
pub(crate) async fn read_body(State(gateway): State<Gateway>, request: Request, next: Next) -> Response {
    if !FIELDS.iter().chain(&message::FIELDS).any(|field| request.headers().contains_key(*field)) {
        return next.run(request).await;
    }
    let server = &gateway.config.server;
    let route = request.extensions().get::<MatchedPath>();
    let limit = body::limit_of(route.map_or("", MatchedPath::as_str), server);
    let (mut parts, body) = request.into_parts();
    let Some(attempt) = worth_reading(&parts, &gateway) else {
        parts.extensions.insert(Unread);
        return next.run(Request::from_parts(parts, body)).await;
    };
    let length = body.size_hint().upper().and_then(|most| usize::try_from(most).ok()).unwrap_or(limit);
    if length > limit {
        return Problem::body_too_large(limit).into_response();
    }
    // What was only announced takes no room.
    let mut room = gateway.callers.unproved.room(parts.extensions.get());
    let body = match body::read_holding(body, limit, Patience::of(server), |octets| room.take(octets)).await {
        Ok(body) => body,
        // Who claims to be an app and keeps its body back has failed to prove it.
        Err(problem) if throttle::is_unsent(problem.code()) => {
            return attempt.refused(&parts.extensions, &gateway, problem).await.into_response();
        }
        Err(problem) => return problem.into_response(),
    };
    parts.extensions.insert(WholeBody(body.clone()));
    parts.extensions.insert(Until::proved(room));
    next.run(Request::from_parts(parts, Body::from(body))).await
}

/// The try to prove an app that a signed request is, if it may come to be judged: its fields are in order, its time is
/// within the window and its source has not failed too often. Who is refused is refused by [`prove`], which looks at the
/// same before it asks for the body.
fn worth_reading(parts: &Parts, gateway: &Gateway) -> Option<Attempt> {
    let peer = parts.extensions.get::<Peer>().cloned();
    if matches!(peer, Some(Peer::Local(_))) {
        return None; // known without any signature
    }
    let own = FIELDS.iter().any(|field| parts.headers.contains_key(*field));
    let claimed = match own {
        true => Fields::of(&parts.headers).map(|fields| (fields.app, fields.at)),
        false => message::claimed(&parts.headers),
    };
    let (app, at) = claimed.ok()?;
    let mut attempt = Attempt::by(peer);
    attempt.claims_app(&app);
    let judged = is_in_window(at, OffsetDateTime::now_utc()) && attempt.admit(gateway).is_ok();
    judged.then_some(attempt)
}

fn is_in_window(at: OffsetDateTime, now: OffsetDateTime) -> bool {
    (at - now).abs() <= WINDOW
}

/// The fields of a signed request, each there once and well-formed.
struct Fields<'r> {
    app: AppId,
    timestamp: &'r str,
    at: OffsetDateTime,
    nonce: &'r str,
    signature: Vec<u8>,
    credential: Option<&'r str>,
}

impl<'r> Fields<'r> {
    fn of(headers: &'r HeaderMap) -> Result<Self, Problem> {
        let mut faults = Vec::new();
        let mut field =
            |name: &'static str, required: bool, well_formed: &dyn Fn(&str) -> bool, rule: &str| {
                let mut values = headers.get_all(name).iter();
                let (value, second) = (values.next(), values.next());
                let text = value.and_then(|value| value.to_str().ok()).filter(|text| well_formed(text));
                if second.is_some() {
                    faults.push(Fault::new(name, "header_repeated", "must be there once"));
                } else if value.is_none() && required {
                    faults.push(Fault::new(name, "header_missing", "is required"));
                } else if value.is_some() && text.is_none() {
                    faults.push(Fault::new(name, "header_malformed", rule));
                }
                text.unwrap_or_default()
            };
        let name = |text: &str| AppId::parse(text).is_ok();
        let app =
            field("x-app-id", true, &|text| AppId::parse_registered(text).is_ok(), "must be an app's id");
        let timestamp =
            field("x-timestamp", true, &is_timestamp, "must be Unix time in seconds, digits only");
        let nonce = field("x-nonce", true, &is_nonce, "must be 16 to 64 of a-z A-Z 0-9 _ -");
        let signature = field("x-signature", true, &is_signature, "must be padded standard base64");
        let credential = field("x-credential", false, &name, "must be a credential's id");
        let parsed = (AppId::parse(app), timestamp.parse().map(OffsetDateTime::from_unix_timestamp));
        match parsed {
            (Ok(app), Ok(Ok(at))) if faults.is_empty() => Ok(Self {
                app,
                timestamp,
                at,
                nonce,
                signature: STANDARD.decode(signature).unwrap_or_default(), // it was well-formed
                credential: Some(credential).filter(|id| !id.is_empty()),
            }),
            _ => Err(Problem::signature_headers(faults)),
        }
    }
}

fn is_timestamp(text: &str) -> bool {
    (1..=12).contains(&text.len()) && text.bytes().all(|octet| octet.is_ascii_digit())
}

pub(super) fn is_nonce(text: &str) -> bool {
    let plain = |octet: u8| octet.is_ascii_alphanumeric() || matches!(octet, b'_' | b'-');
    (16..=64).contains(&text.len()) && text.bytes().all(plain)
}

/// Longer than any signature of the algorithms here is, and short enough to be nothing.
const LONGEST_SIGNATURE: usize = 256;

fn is_signature(text: &str) -> bool {
    (1..=LONGEST_SIGNATURE).contains(&text.len())
        && STANDARD.decode(text).is_ok_and(|octets| !octets.is_empty())
}

pub(crate) async fn prove(
    parts: &Parts,
    gateway: &Gateway,
    register: &Register,
    attempt: &mut Attempt,
) -> Result<Proved, Problem> {
    let fields = Fields::of(&parts.headers)?;
    let digest = |body: &[u8]| -> [u8; 32] { Sm3::digest(body).into() };
    let text = |digest: [u8; 32]| {
        let target = (parts.uri.path(), parts.uri.query());
        let said = (fields.app.as_str(), fields.timestamp, fields.nonce);
        Ok(canonical(&parts.method, target, said, &digest))
    };
    let claim = Claim {
        app: &fields.app,
        at: fields.at,
        nonce: fields.nonce,
        credential: fields.credential,
        kind: None,
        by_key: &fields.signature,
        by_secret: &fields.signature,
    };
    claim.prove(parts, gateway, register, attempt, (digest, text)).await
}

/// What a signed request claims, in whichever fields it says so.
pub(super) struct Claim<'c> {
    pub(super) app: &'c AppId,
    /// When it was signed.
    pub(super) at: OffsetDateTime,
    pub(super) nonce: &'c str,
    /// By this credential; without it, by any that holds.
    pub(super) credential: Option<&'c str>,
    /// By a credential of this kind; without it, of any. It chooses among credentials, never how one is checked.
    pub(super) kind: Option<CredentialKind>,
    /// The signature as one by a key pair, DER.
    pub(super) by_key: &'c [u8],
    /// The signature as one by a shared secret.
    pub(super) by_secret: &'c [u8],
}

impl Claim<'_> {
    /// The app, if it signed the text that the request stands for, within the window, for the first time. The text is made
    /// of what is made of the body.
    pub(super) async fn prove<T: Send + 'static>(
        &self,
        parts: &Parts,
        gateway: &Gateway,
        register: &Register,
        attempt: &mut Attempt,
        (digest, text): (impl FnOnce(&[u8]) -> T + Send + 'static, impl FnOnce(T) -> Result<String, Problem>),
    ) -> Result<Proved, Problem> {
        attempt.claims_app(self.app);
        attempt.admit(gateway)?;
        let now = OffsetDateTime::now_utc();
        if !is_in_window(self.at, now) {
            return Err(Problem::clock_skew(now));
        }
        let Some(WholeBody(body)) = parts.extensions.get() else {
            return Err(match parts.extensions.get::<Unread>() {
                // What spoke against it a moment ago has just ended.
                Some(Unread) => Problem::too_many_failures(std::time::Duration::from_secs(1)),
                // A route was left without the layer that reads bodies.
                None => Problem::signature_invalid(),
            });
        };
        let octets = body.clone();
        let text = text(beside(body.len(), move || digest(&octets)).await?)?;
        let app = register.app(self.app);
        if !self.is_signed(gateway, app, text.as_bytes(), (now, attempt.hides_who_is_known())) {
            return Err(Problem::signature_invalid());
        }
        let Some(app) = app else { return Err(Problem::signature_invalid()) };
        attempt.proved(&app.app.id);
        admitted(app, now)?;
        // Last: whoever cannot sign cannot use up anybody's nonces.
        let expires_at = self.at.max(now) + REMEMBERED;
        let nonces = &gateway.callers.nonces;
        match nonces.first_use(NonceSpace::Request, &app.app.id, self.nonce, expires_at).await {
            Ok(true) => {
                if let Some(room) = parts.extensions.get::<Until>() {
                    room.give_back();
                }
                Ok(Proved { app: Arc::clone(app), restricted: None })
            }
            Ok(false) => Err(Problem::replay()),
            Err(error) => Err(Problem::database(&error)),
        }
    }

    /// Whether a credential of the app that holds now made the signature. Where none did, as many signatures of each
    /// kind have been checked as there may be credentials, if it is to be hidden how many there are.
    fn is_signed(
        &self,
        gateway: &Gateway,
        app: Option<&Arc<KnownApp>>,
        text: &[u8],
        (now, hidden): (OffsetDateTime, bool),
    ) -> bool {
        let mut checks = Checks { gateway, text, claim: self, sm2: 0, p256: 0, hmac: 0 };
        for known in app.into_iter().flat_map(|app| holding(app, now)) {
            let (id, kind) = (&known.credential.id, known.credential.material.kind());
            if self.credential.is_some_and(|wanted| wanted != id)
                || self.kind.is_some_and(|wanted| wanted != kind)
            {
                continue;
            }
            let signed = match (&known.credential.material, &known.key) {
                (Material::Sm2(_), Some(key)) => checks.key(Algorithm::Sm2Sm3, key),
                (Material::P256(_), Some(key)) => checks.key(Algorithm::EcdsaP256Sha256, key),
                (Material::HmacSm3(secret), _) => checks.hmac_sm3(secret.expose()),
                (Material::HmacSha256(secret), _) => checks.hmac_sha256(secret.expose()),
                _ => false,
            };
            if signed {
                request_id::note_credential(id);
                return true;
            }
        }
        if hidden {
            checks.make_up();
        }
        false
    }
}

/// Counts what was checked, so that a refusal can check as much whatever there was.
struct Checks<'c> {
    gateway: &'c Gateway,
    text: &'c [u8],
    claim: &'c Claim<'c>,
    sm2: usize,
    p256: usize,
    hmac: usize,
}

impl Checks<'_> {
    fn key(&mut self, algorithm: Algorithm, key: &PublicKey) -> bool {
        match algorithm {
            Algorithm::Sm2Sm3 => self.sm2 += 1,
            _ => self.p256 += 1,
        }
        let documents = self.gateway.documents.current();
        let digest = key.digest(algorithm, DEFAULT_SIGNER_ID, self.text);
        digest.is_ok_and(|digest| {
            key.verify_digest_with(algorithm, &digest, self.claim.by_key, Some(documents.verifier())).is_ok()
        })
    }

    fn hmac_sm3(&mut self, secret: &[u8]) -> bool {
        self.hmac += 1;
        let Ok(mut mac) = Hmac::<Sm3>::new_from_slice(secret) else { return false };
        mac.update(self.text);
        let expected: [u8; 32] = mac.finalize().into_bytes().into();
        let is_equal = constant_time::verify_slices_are_equal(&expected, self.claim.by_secret).is_ok();
        is_equal && secret.len() >= SHORTEST_SECRET
    }

    fn hmac_sha256(&mut self, secret: &[u8]) -> bool {
        self.hmac += 1;
        let key = sha2_hmac::Key::new(sha2_hmac::HMAC_SHA256, secret);
        sha2_hmac::verify(&key, self.text, self.claim.by_secret).is_ok() && secret.len() >= SHORTEST_SECRET
    }

    fn make_up(&mut self) {
        let nobody = &self.gateway.callers.nobody;
        while self.sm2 < MOST_OF_A_KIND {
            std::hint::black_box(self.key(Algorithm::Sm2Sm3, &nobody.sm2));
        }
        while self.p256 < MOST_OF_A_KIND {
            std::hint::black_box(self.key(Algorithm::EcdsaP256Sha256, &nobody.p256));
        }
        while self.hmac < 2 * MOST_OF_A_KIND {
            std::hint::black_box(self.hmac_sm3(&[0; 32]));
        }
    }
}

/// Public keys that are nobody's, for checks whose outcome is known. Their private keys were never kept.
pub(crate) struct Nobody {
    pub(crate) sm2: PublicKey,
    pub(crate) p256: PublicKey,
}

impl Nobody {
    /// Whether nobody made a signed text, which costs what it costs to find out.
    pub(crate) fn made(&self, jws: &Jws<'_>) -> bool {
        jws.is_by(&self.p256) || jws.is_by(&self.sm2)
    }

    pub(crate) fn new() -> Self {
        // The generators of the curves (GB/T 32918.5, FIPS 186-5): points like any other.
        let point =
            |x, y| [vec![4], hex::decode(x).unwrap_or_default(), hex::decode(y).unwrap_or_default()].concat();
        let sm2 = point(
            "32c4ae2c1f1981195f9904466a39c9948fe30bbff2660be1715a4589334c74c7",
            "bc3736a2f4f6779c59bdcee36b692153d0a9877cc62a474002df32e52139f0a0",
        );
        let p256 = point(
            "6b17d1f2e12c4247f8bce6e563a440f277037d812deb33a0f4a13945d898c296",
            "4fe342e2fe1a7f9b8ee7eb4a7c0f9e162bce33576b315ececbb6406837bf51f5",
        );
        Self {
            sm2: PublicKey::sm2_from_sec1(&sm2).expect("the generator is on its curve"),
            p256: PublicKey::p256_from_sec1(&p256).expect("the generator is on its curve"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_source_fills_its_share_of_the_room_for_bodies_and_gives_it_back() {
        let unproved = Arc::<Unproved>::default();
        let peer = |last: u8| Peer::Network(([192, 0, 2, last], 1).into());
        let mut greedy = unproved.room(Some(&peer(1)));
        assert!(greedy.take(SHARE).is_ok());
        assert!(greedy.take(1).is_err());
        assert!(unproved.room(Some(&peer(1))).take(1).is_err(), "also by another request");
        assert!(unproved.room(Some(&peer(1))).take(0).is_ok(), "who sends nothing needs no room");
        let others: Vec<Room> = (2..=4)
            .map(|last| {
                let mut room = unproved.room(Some(&peer(last)));
                assert!(room.take(SHARE).is_ok());
                room
            })
            .collect();
        assert!(unproved.room(Some(&peer(5))).take(1).is_err(), "no more than all");
        let until = Until::proved(greedy);
        until.clone().give_back();
        assert!(unproved.room(Some(&peer(1))).take(SHARE).is_ok(), "who proved to be an app gave it back");
        drop((until, others));
        assert!(unproved.room(Some(&peer(1))).take(SHARE).is_ok());
        let held = unproved.0.lock().unwrap();
        assert!(held.all == 0 && held.by_source.is_empty());
    }

    fn text(target: (&str, Option<&str>)) -> String {
        canonical(&Method::GET, target, ("app", "1700000000", "0123456789abcdef"), &Sm3::digest(b"").into())
    }

    #[test]
    fn the_canonical_text_is_as_documented() {
        let empty = "1ab21d8355cfa17f8e61194831e81a8f22bec8c728fefb747ed035eb5082aa2b";
        assert_eq!(
            text(("/v1/keys", Some("b=2&a=1"))),
            format!("GET\n/v1/keys\na=1&b=2\napp\n1700000000\n0123456789abcdef\n{empty}")
        );
        assert_eq!(
            text(("/v1/keys", None)),
            format!("GET\n/v1/keys\n\napp\n1700000000\n0123456789abcdef\n{empty}")
        );
    }

    #[test]
    fn a_target_is_signed_as_it_was_sent() {
        let all = [
            ("/v1/keys", None),
            ("/v1//keys", None),
            ("/v1/%6beys", None),
            ("/v1/x/../keys", None),
            ("/v1/x/%2e%2e/keys", None),
            ("/v1/keys/", None),
            ("/v1/keys", Some("a")),
            ("/v1/keys", Some("a=")),
            ("/v1/keys", Some("a=%20")),
            ("/v1/keys", Some("a=+")),
            ("/v1/keys", Some("&a")),
        ];
        let texts: std::collections::BTreeSet<_> = all.into_iter().map(text).collect();
        assert_eq!(texts.len(), all.len());
    }

    #[test]
    fn times_nonces_and_signatures_have_one_form() {
        for good in ["0", "1700000000"] {
            assert!(is_timestamp(good), "{good}");
        }
        for bad in ["", "-1", "+1", " 1", "1.0", "1e9", "１７", "1700000000000"] {
            assert!(!is_timestamp(bad), "{bad}");
        }
        assert!(is_nonce("0123456789abcdef") && is_nonce(&"x".repeat(64)));
        for bad in ["0123456789abcde", &"x".repeat(65), "0123456789abcdé", "0123456789abcde\n"] {
            assert!(!is_nonce(bad), "{bad}");
        }
        for bad in ["", "====", "AAA", "AA AA", "AAAA\n"] {
            assert!(!is_signature(bad), "{bad}");
        }
    }
}
