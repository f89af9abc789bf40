//! What is asked of the gateway: one prepared request per profile.

use std::fs;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use clap::ValueEnum;
use serde_json::{Value, json};

use crate::Fallible;
use crate::connection::Connection;

/// What to ask for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum Profile {
    SignSm2,
    SignP256,
    SignRsa,
    /// P-256 under an idempotency key, another one each time.
    SignP256Once,
    /// P-256, a batch of 100.
    SignP256Batch,
    /// SM2 with the key of the group `portal`.
    SignPortal,
    /// A timestamp over an SM3 digest, by SM2.
    TimestampSm2,
    /// A timestamp over a SHA-256 digest, by P-256.
    TimestampP256,
    VerifySm2,
    License,
    Livez,
}

/// Whom to ask, and as whom.
#[derive(Debug, Clone)]
pub(crate) struct Target {
    pub(crate) address: SocketAddr,
    pub(crate) api_key: String,
    /// A license as PEM, for the profile that judges one.
    pub(crate) license: Option<PathBuf>,
    /// The gateway's process.
    pub(crate) pid: Option<u32>,
}

/// An HTTP request as it goes over the wire.
#[derive(Debug, Clone)]
pub(crate) struct Request {
    octets: Vec<u8>,
    /// Where eight base64 characters stand that differ from request to request, the same ones everywhere.
    varied: Vec<usize>,
}

/// Items of a batch.
pub(crate) const BATCH: usize = 100;

/// 32 octets in base64; the first eight characters are overwritten by [`Request::vary`].
pub(crate) const DIGEST: &str = "VARIABLEAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA=";
const BASE64: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";

impl Request {
    pub(crate) fn get(target: &Target, path: &str) -> Self {
        Self::new(target, "GET", path, "", "")
    }

    pub(crate) fn post(target: &Target, path: &str, body: &Value) -> Self {
        Self::new(target, "POST", path, "", &body.to_string())
    }

    /// The same under an idempotency key that no other request has.
    fn post_once(target: &Target, path: &str, body: &Value) -> Self {
        let run = fastrand::u64(..);
        Self::new(
            target,
            "POST",
            path,
            &format!("idempotency-key: {run:016x}-{DIGEST}\r\n"),
            &body.to_string(),
        )
    }

    fn new(target: &Target, method: &str, path: &str, header: &str, body: &str) -> Self {
        let content = match body.len() {
            0 => String::new(),
            length => format!("content-type: application/json\r\ncontent-length: {length}\r\n"),
        };
        let text = format!(
            "{method} {path} HTTP/1.1\r\nhost: {}\r\nx-api-key: {}\r\n{header}{content}\r\n{body}",
            target.address, target.api_key
        );
        let varied = text.match_indices(DIGEST).map(|(at, _)| at).collect();
        Self { varied, octets: text.into_bytes() }
    }

    pub(crate) fn is_get(&self) -> bool {
        self.octets.starts_with(b"GET ")
    }

    pub(crate) fn octets(&self) -> &[u8] {
        &self.octets
    }

    /// Makes the digest another one, so that no answer can come from a cache.
    pub(crate) fn vary(&mut self, number: u64) {
        for at in &self.varied {
            let at = *at;
            self.octets[at..at + 8].copy_from_slice(&letters(number));
        }
    }
}

/// The base64 letters of a digest that [`Request::vary`] writes.
fn letters(number: u64) -> [u8; 8] {
    std::array::from_fn(|place| BASE64[(number >> (6 * place)) as usize % 64])
}

/// The digest that a request varied by this number asks to have signed.
pub(crate) fn digest(number: u64) -> Fallible<[u8; 32]> {
    let text = [&letters(number)[..], &DIGEST.as_bytes()[8..]].concat();
    STANDARD.decode(text)?.try_into().map_err(|_| "a digest has 32 octets".into())
}

impl Profile {
    pub(crate) fn name(self) -> String {
        self.to_possible_value().map(|value| value.get_name().to_owned()).unwrap_or_default()
    }

    /// The request, after whatever has to be asked before.
    pub(crate) async fn request(self, target: &Target) -> Fallible<Request> {
        let order = |key: &str, algorithm: &str| json!({"key": key, "algorithm": algorithm, "input": {"digest": DIGEST}});
        let sign = |key, algorithm| Request::post(target, "/v1/signatures", &order(key, algorithm));
        let p256 = order("demo-p256", "ecdsa-p256-sha256");
        let stamp = |hash: &str| {
            let body = json!({"input": {"digest": DIGEST}, "algorithm": hash});
            Request::post(target, "/v1/timestamps", &body)
        };
        Ok(match self {
            Self::SignSm2 => sign("demo-sm2", "sm2-sm3"),
            Self::SignP256 => sign("demo-p256", "ecdsa-p256-sha256"),
            Self::SignRsa => sign("demo-rsa2048", "rsa-pkcs1-sha256"),
            Self::SignP256Once => Request::post_once(target, "/v1/signatures", &p256),
            Self::SignP256Batch => {
                let items = vec![p256; BATCH];
                Request::post(target, "/v1/signatures:batch", &json!({"items": items}))
            }
            Self::SignPortal => sign("portal-sm2", "sm2-sm3"),
            Self::TimestampSm2 => stamp("sm3"),
            Self::TimestampP256 => stamp("sha256"),
            Self::VerifySm2 => {
                let key = ask(target, &Request::get(target, "/v1/keys/demo-sm2")).await?;
                let input = json!({"digest": DIGEST.replace("VARIABLE", "AAAAAAAA")});
                let order = json!({"key": "demo-sm2", "algorithm": "sm2-sm3", "input": input});
                let signed = ask(target, &Request::post(target, "/v1/signatures", &order)).await?;
                let body = json!({
                    "algorithm": "sm2-sm3",
                    "input": input,
                    "signature": signed["signature"],
                    "public_key": key["public_key"],
                });
                let request = Request::post(target, "/v1/verifications", &body);
                expect_valid(&ask(target, &request).await?)?;
                request
            }
            Self::License => {
                let file = target.license.as_deref().ok_or("profile license needs --license or --sandbox")?;
                let body = json!({"license": fs::read_to_string(file)?});
                let request = Request::post(target, "/v1/licenses:verify", &body);
                expect_valid(&ask(target, &request).await?)?;
                request
            }
            Self::Livez => Request::get(target, "/livez"),
        })
    }
}

impl Target {
    /// What `sandbox.json`, and `listening.json` beside it, say about a running sandbox.
    pub(crate) fn of_sandbox(file: &Path) -> Fallible<Self> {
        let sandbox: Value = serde_json::from_slice(&fs::read(file)?)?;
        let text = |value: &Value| value.as_str().map(str::to_owned);
        let missing = || format!("{} names no base_url or no app", file.display());
        let good =
            sandbox["samples"].as_array().into_iter().flatten().find(|sample| sample["kind"] == "good");
        let listening = fs::read(file.with_file_name("listening.json")).ok();
        let listening: Option<Value> = listening.and_then(|octets| serde_json::from_slice(&octets).ok());
        Ok(Self {
            address: address(&text(&sandbox["base_url"]).ok_or_else(missing)?)?,
            api_key: text(&sandbox["apps"][0]["api_key"]).ok_or_else(missing)?,
            license: good.and_then(|sample| text(&sample["file"])).map(PathBuf::from),
            pid: listening.and_then(|value| u32::try_from(value["pid"].as_u64()?).ok()),
        })
    }
}

/// The address of `http://host:port`.
pub(crate) fn address(url: &str) -> Fallible<SocketAddr> {
    let authority = url.strip_prefix("http://").ok_or("the base URL must begin with http://")?;
    let authority = authority.trim_end_matches('/').replace("localhost", "127.0.0.1");
    authority.parse().map_err(|_| format!("{url} is not http://ADDRESS:PORT").into())
}

pub(crate) async fn ask(target: &Target, request: &Request) -> Fallible<Value> {
    let mut connection = Connection::open(target.address).await?;
    let answer = connection.exchange(request.octets()).await?;
    if !(200..300).contains(&answer.status) {
        return Err(format!("{}: {}", answer.status, String::from_utf8_lossy(answer.body)).into());
    }
    Ok(serde_json::from_slice(answer.body)?)
}

fn expect_valid(answer: &Value) -> Fallible<()> {
    if answer["verdict"] == "valid" { Ok(()) } else { Err(format!("not judged valid: {answer}").into()) }
}
