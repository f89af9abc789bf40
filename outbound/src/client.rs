//! One attempt over HTTP: bounded in time, to permitted addresses, without redirects; of the answer only the status counts, and of
//! the answer to a receipt of the national front's protocol its own word.

use std::error::Error;
use std::time::Duration;

use reqwest::header::{CONTENT_TYPE, RETRY_AFTER};
use reqwest::redirect::Policy;
use reqwest::{StatusCode, Url};
use rustls::ClientConfig;

use crate::{AddressRefused, AddressRules};

/// Longest answer to a receipt that is read.
const LONGEST_ANSWER: usize = 16 << 10;

/// Longest time of an attempt.
pub(crate) const TIMEOUT: Duration = Duration::from_secs(10);

/// Sends webhooks. Clones share its connections.
#[derive(Debug, Clone)]
pub struct Client {
    http: reqwest::Client,
    rules: AddressRules,
}

/// What is sent.
pub(crate) struct Message<'m> {
    pub(crate) id: &'m str,
    /// Unix seconds.
    pub(crate) timestamp: i64,
    pub(crate) signatures: String,
    pub(crate) body: Vec<u8>,
    /// Whether the other side says in its answer whether it took it.
    pub(crate) is_receipt: bool,
}

/// What came of an attempt.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Reply {
    Taken(u16),
    /// The other side wants nothing more there.
    Gone(u16),
    Failed {
        error: &'static str,
        status: Option<u16>,
        /// How long it wants to be left alone.
        wait: Option<Duration>,
    },
}

/// What goes out by HTTP: to permitted addresses, with an end to each request, and so many connections kept.
pub(crate) fn http(
    tls: ClientConfig,
    rules: &AddressRules,
    timeout: Duration,
    idle: usize,
) -> Result<reqwest::Client, reqwest::Error> {
    reqwest::Client::builder()
        .tls_backend_preconfigured(tls)
        .no_proxy() // the environment has no say; and a proxy would look names up by itself
        .redirect(Policy::none())
        .dns_resolver(rules.clone())
        .timeout(timeout)
        .pool_max_idle_per_host(idle)
        .user_agent("license-gateway")
        .build()
}

impl Client {
    /// `tls`: which roots the other sides' certificates are judged against.
    ///
    /// # Errors
    /// What of it cannot be used.
    pub fn new(tls: ClientConfig, rules: AddressRules) -> Result<Self, reqwest::Error> {
        Ok(Self { http: http(tls, &rules, TIMEOUT, 1)?, rules })
    }

    pub(crate) async fn send(&self, url: &str, message: Message<'_>) -> Reply {
        let failed = |error| Reply::Failed { error, status: None, wait: None };
        // Again, each time: what was permitted when it was registered may not be any more.
        let Ok(url) = self.rules.read(url) else { return failed("address_refused") };
        let is_receipt = message.is_receipt;
        let answered = self.post(url, message).send().await;
        let mut answer = match answered {
            Ok(answer) => answer,
            Err(error) if is_refused(&error) => return failed("address_refused"),
            Err(error) if error.is_timeout() => return failed("timeout"),
            Err(_) => return failed("unreachable"),
        };
        let status = answer.status();
        let failed = |error, wait| Reply::Failed { error, status: Some(status.as_u16()), wait };
        if status.is_success() && is_receipt && !says_taken(&mut answer).await {
            failed("receipt_refused", None)
        } else if status.is_success() {
            Reply::Taken(status.as_u16())
        } else if status == StatusCode::GONE {
            Reply::Gone(status.as_u16())
        } else if status.is_redirection() {
            failed("redirected", None)
        } else {
            let wait = answer.headers().get(RETRY_AFTER).and_then(|value| value.to_str().ok());
            let wait = wait.and_then(|value| value.trim().parse().ok()).map(Duration::from_secs);
            failed("http_status", wait)
        }
    }

    fn post(&self, url: Url, message: Message<'_>) -> reqwest::RequestBuilder {
        self.http
            .post(url)
            .header(CONTENT_TYPE, "application/json")
            .header("webhook-id", message.id)
            .header("webhook-timestamp", message.timestamp.to_string())
            .header("webhook-signature", message.signatures)
            .body(message.body)
    }
}

/// Whether an answer to a receipt says `errorCode` `0`, as the protocol has it.
async fn says_taken(answer: &mut reqwest::Response) -> bool {
    let mut octets = Vec::new();
    loop {
        match answer.chunk().await {
            Ok(Some(part)) if octets.len() + part.len() <= LONGEST_ANSWER => octets.extend_from_slice(&part),
            Ok(None) => break,
            Ok(Some(_)) | Err(_) => return false,
        }
    }
    let said: Option<serde_json::Value> = serde_json::from_slice(&octets).ok();
    said.is_some_and(|said| said["message_header"]["errorCode"] == "0")
}

/// Whether it is the rules for addresses that let nothing be sent.
pub(crate) fn is_refused(error: &reqwest::Error) -> bool {
    let mut cause = error.source();
    while let Some(error) = cause {
        if error.is::<AddressRefused>() {
            return true;
        }
        cause = error.source();
    }
    false
}
