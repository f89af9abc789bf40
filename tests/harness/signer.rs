//! An integrating system that signs its requests, with OpenSSL's hands; and requests as octets, for shapes that no
//! client library sends.

use std::io::{Read as _, Write as _};
use std::net::TcpStream;
use std::path::PathBuf;
use std::process::Command;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde_json::{Value, json};

use crate::http::{Answer, Caller, base64};
use crate::scratch::{Ran, Scratch};
use crate::site::Site;

/// A key pair of an app.
pub struct Signer {
    folder: Scratch,
    /// The app.
    pub app: String,
    sm2: bool,
}

/// A signed request that can be spoilt before it is sent.
#[derive(Clone, Debug)]
pub struct SignedRequest {
    /// The method that is signed and sent.
    pub method: String,
    /// Path and query.
    pub target: String,
    /// The body.
    pub body: Vec<u8>,
    /// Header fields, those of the signature among them.
    pub headers: Vec<(String, String)>,
}

impl Signer {
    /// A new key pair; `kind` is `sm2` or `p256`.
    pub fn new(app: &str, kind: &str) -> Self {
        let folder = Scratch::new();
        let algorithm = match kind {
            "sm2" => "-algorithm SM2",
            "p256" => "-algorithm EC -pkeyopt ec_paramgen_curve:P-256 -pkeyopt ec_param_enc:named_curve",
            other => panic!("{other} is no kind of key here"),
        };
        folder.openssl(&format!("genpkey {algorithm} -out key.pem")).expect("genpkey");
        folder.openssl("pkey -in key.pem -pubout -out public.pem").expect("pkey");
        Self { folder, app: app.to_owned(), sm2: kind == "sm2" }
    }

    /// The public key, PEM.
    pub fn public_key(&self) -> String {
        String::from_utf8(self.folder.read("public.pem")).expect("PEM is text")
    }

    /// The file with the private key, PEM (PKCS #8); it goes with this value.
    pub fn private_key(&self) -> PathBuf {
        self.folder.path().join("key.pem")
    }

    /// Has the site know this key as a credential of the app; answers the credential's id.
    pub fn enter(&self, site: &Site) -> String {
        let public = self.folder.path().join("public.pem");
        let kind = if self.sm2 { "sm2" } else { "p256" };
        let added = site.app_command(&[
            "credential",
            "add",
            &self.app,
            "--kind",
            kind,
            "--public-key",
            public.to_str().expect("a path is text"),
            "--reason",
            "test",
        ]);
        added["id"].as_str().expect("a credential has an id").to_owned()
    }

    /// A DER signature, base64.
    pub fn sign(&self, text: &[u8]) -> String {
        base64(&self.sign_octets(text))
    }

    /// A DER signature.
    pub fn sign_octets(&self, text: &[u8]) -> Vec<u8> {
        // Tests of one signer run side by side.
        let message = self.folder.write(&format!("message-{}", nonce()), text);
        let mut openssl = Command::new("openssl");
        openssl.args(["pkeyutl", "-sign", "-rawin", "-inkey", "key.pem", "-in"]).arg(message);
        match self.sm2 {
            true => openssl.args(["-digest", "sm3", "-pkeyopt", "distid:1234567812345678"]),
            false => openssl.args(["-digest", "sha256"]),
        };
        Ran::of(openssl.current_dir(self.folder.path())).expect("openssl pkeyutl").stdout
    }

    /// A compact JSON Web Signature; the header says by which algorithm, whatever the key is.
    pub fn jws(&self, header: &Value, claims: &Value) -> String {
        let input = [header, claims].map(|part| URL_SAFE_NO_PAD.encode(part.to_string())).join(".");
        format!("{input}.{}", URL_SAFE_NO_PAD.encode(self.sign_fixed(input.as_bytes())))
    }

    /// A signature as the 64 octets r ‖ s.
    pub fn sign_fixed(&self, text: &[u8]) -> Vec<u8> {
        if self.sm2 { self.fixed_sm2(text) } else { self.fixed_p256(text) }
    }

    /// An assertion by which the app asks for a token; `changes` replaces claims, `null` takes one away.
    pub fn assertion(&self, audience: &str, changes: &Value) -> String {
        let mut claims = json!({
            "iss": self.app, "sub": self.app, "aud": audience, "iat": now(), "exp": now() + 120, "jti": nonce(),
        });
        for (name, value) in changes.as_object().into_iter().flatten() {
            claims[name] = value.clone();
        }
        let algorithm = if self.sm2 { "SM2" } else { "ES256" };
        self.jws(&json!({"alg": algorithm, "typ": "JWT"}), &claims)
    }

    fn pkcs8(&self) -> Vec<u8> {
        self.folder.openssl("pkcs8 -topk8 -nocrypt -in key.pem -outform DER").expect("pkcs8").stdout
    }

    fn fixed_p256(&self, message: &[u8]) -> Vec<u8> {
        use aws_lc_rs::signature::{ECDSA_P256_SHA256_FIXED_SIGNING, EcdsaKeyPair};
        let key =
            EcdsaKeyPair::from_pkcs8(&ECDSA_P256_SHA256_FIXED_SIGNING, &self.pkcs8()).expect("a P-256 key");
        key.sign(&aws_lc_rs::rand::SystemRandom::new(), message).expect("a signature").as_ref().to_vec()
    }

    fn fixed_sm2(&self, message: &[u8]) -> Vec<u8> {
        use sm2::dsa::signature::Signer as _;
        use sm2::dsa::{Signature, SigningKey};
        use sm2::pkcs8::DecodePrivateKey as _;
        let secret = sm2::SecretKey::from_pkcs8_der(&self.pkcs8()).expect("an SM2 key");
        let key = SigningKey::new("1234567812345678", &secret).expect("an identifier");
        let signature: Signature = key.sign(message);
        signature.to_bytes().to_vec()
    }

    /// A request signed now with a nonce of its own.
    pub fn request(&self, method: &str, target: &str, body: &[u8]) -> SignedRequest {
        self.request_at(now(), &nonce(), method, target, body)
    }

    /// A request signed at a time with a nonce.
    pub fn request_at(&self, at: i64, nonce: &str, method: &str, target: &str, body: &[u8]) -> SignedRequest {
        let text = canonical(method, target, &self.app, at, nonce, body);
        let fields = [
            ("x-app-id", self.app.clone()),
            ("x-timestamp", at.to_string()),
            ("x-nonce", nonce.to_owned()),
            ("x-signature", self.sign(text.as_bytes())),
            ("content-type", "application/json".to_owned()),
        ];
        SignedRequest {
            method: method.to_owned(),
            target: target.to_owned(),
            body: body.to_vec(),
            headers: fields.map(|(name, value)| (name.to_owned(), value)).into(),
        }
    }
}

/// The text that is signed, written from `docs/integration.md`.
pub fn canonical(method: &str, target: &str, app: &str, at: i64, nonce: &str, body: &[u8]) -> String {
    use sm3::{Digest, Sm3};
    let (path, query) = target.split_once('?').unwrap_or((target, ""));
    let mut parts: Vec<&str> = query.split('&').collect();
    parts.sort_unstable();
    let digest = hex::encode(Sm3::digest(body));
    format!("{method}\n{path}\n{}\n{app}\n{at}\n{nonce}\n{digest}", parts.join("&"))
}

/// Unix time, seconds.
pub fn now() -> i64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).expect("it is after 1970");
    i64::try_from(since.as_secs()).expect("it is before the end of time")
}

/// A nonce that was not used before.
pub fn nonce() -> String {
    format!("{:032x}", fastrand::u128(..))
}

impl SignedRequest {
    /// Sends it.
    pub fn send(&self, site: &Site) -> Answer {
        self.send_by(&site.stranger(None))
    }

    /// Sends it over a caller's connections.
    pub fn send_by(&self, caller: &Caller) -> Answer {
        let headers: Vec<_> =
            self.headers.iter().map(|(name, value)| (name.as_str(), value.as_str())).collect();
        let body = (self.method != "GET").then_some(&self.body[..]);
        caller.send(&self.method, &self.target, &headers, body)
    }

    /// Replaces a header field.
    pub fn with(mut self, name: &str, value: &str) -> Self {
        self.headers.retain(|(known, _)| known != name);
        self.and(name, value)
    }

    /// Adds a header field to those that are there.
    pub fn and(mut self, name: &str, value: &str) -> Self {
        self.headers.push((name.to_owned(), value.to_owned()));
        self
    }

    /// Takes a header field away.
    pub fn without(mut self, name: &str) -> Self {
        self.headers.retain(|(known, _)| known != name);
        self
    }

    /// A header field's value.
    pub fn header(&self, name: &str) -> &str {
        self.headers.iter().find(|(known, _)| known == name).map_or("", |(_, value)| value)
    }

    /// Sends it as HTTP/1.1 with this request target in the first line, header fields as they stand; the status and
    /// the problem's code.
    pub fn send_raw(&self, site: &Site, target: &str) -> (u16, String) {
        let mut text =
            format!("{} {target} HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\n", self.method);
        for (name, value) in &self.headers {
            text.push_str(&format!("{name}: {value}\r\n"));
        }
        if self.method != "GET" {
            text.push_str(&format!("content-length: {}\r\n", self.body.len()));
        }
        text.push_str("\r\n");
        raw(site, &[text.as_bytes(), &self.body].concat())
    }
}

/// Sends octets to the plain port and reads until the connection closes; the status and the problem's code.
pub fn raw(site: &Site, octets: &[u8]) -> (u16, String) {
    let mut stream = TcpStream::connect(site.base().trim_start_matches("http://")).expect("the site listens");
    stream.set_read_timeout(Some(Duration::from_secs(60))).expect("a time-out can be set");
    stream.write_all(octets).expect("the site reads");
    let mut answer = Vec::new();
    let _ = stream.read_to_end(&mut answer); // a reset after the answer is no matter
    let text = String::from_utf8_lossy(&answer);
    let status = text.split(' ').nth(1).and_then(|status| status.parse().ok()).unwrap_or_default();
    let body = text.split_once("\r\n\r\n").map_or("", |(_, body)| body);
    let json: Value = serde_json::from_str(body).unwrap_or_else(|_| json!({}));
    (status, json["code"].as_str().unwrap_or_default().to_owned())
}

impl Site {
    /// Runs `license-gateway app ARGUMENTS --json`, which must succeed; its answer.
    #[track_caller]
    pub fn app_command(&self, arguments: &[&str]) -> Value {
        let output = self.command(&[&["app"], arguments, &["--json"]].concat());
        let text = String::from_utf8_lossy(&output.stdout);
        assert!(output.status.success(), "{arguments:?}: {text}{}", String::from_utf8_lossy(&output.stderr));
        serde_json::from_str(&text).unwrap_or_else(|error| panic!("{error} in {text}"))
    }

    /// Enters an app that may do what business apps may, and a key pair of it.
    pub fn signing_app(&self, id: &str, kind: &str) -> Signer {
        self.app_command(&[
            "create",
            id,
            "--name",
            "signs its requests",
            "--scope",
            "signatures",
            "--scope",
            "keys",
            "--scope",
            "verifications",
            "--key",
            "demo-sm2",
            "--reason",
            "test",
        ]);
        let signer = Signer::new(id, kind);
        signer.enter(self);
        signer
    }
}
