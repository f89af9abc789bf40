//! One question to a configured address: bounded in time and size, to permitted addresses, without redirects.

use std::time::Duration;

use reqwest::header::{AUTHORIZATION, CONTENT_TYPE, HeaderValue};
use reqwest::{StatusCode, Url};
use rustls::ClientConfig;

use crate::client::{http, is_refused};
use crate::{AddressRefused, AddressRules};

/// Asks one service, by POST and in JSON. Clones share its connections.
#[derive(Debug, Clone)]
pub struct Inquirer {
    http: reqwest::Client,
    rules: AddressRules,
    url: Url,
    bearer: Option<HeaderValue>,
    limit: usize,
}

/// How a service is asked.
pub struct Inquiry {
    /// Its address.
    pub url: String,
    /// What proves the gateway to it (RFC 6750), without the word `Bearer`.
    pub token: Option<String>,
    /// How long a question may take, with its answer.
    pub timeout: Duration,
    /// Connections that wait for the next question.
    pub idle: usize,
    /// The longest answer, octets.
    pub limit: usize,
}

/// Why a service cannot be asked.
#[derive(Debug, thiserror::Error)]
pub enum NotAsked {
    /// Its address.
    #[error("{0}")]
    Address(#[from] AddressRefused),
    /// What proves the gateway to it.
    #[error("the token must be printable ASCII")]
    Token,
    /// What is made of the configuration.
    #[error("no client can be made: {0}")]
    Client(#[from] reqwest::Error),
}

/// Why a question brought no answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum NoAnswer {
    /// Its name leads to where nothing may be sent.
    Refused,
    /// It took too long.
    Timeout,
    /// It cannot be reached, or broke off.
    Unreachable,
    /// It answered with another status than 200.
    Status,
    /// Its answer is too long.
    TooLarge,
}

impl NoAnswer {
    /// The stable code.
    #[must_use]
    pub fn code(self) -> &'static str {
        match self {
            Self::Refused => "address_refused",
            Self::Timeout => "timeout",
            Self::Unreachable => "unreachable",
            Self::Status => "http_status",
            Self::TooLarge => "too_large",
        }
    }

    fn of(error: &reqwest::Error) -> Self {
        match error {
            error if is_refused(error) => Self::Refused,
            error if error.is_timeout() => Self::Timeout,
            _ => Self::Unreachable,
        }
    }
}

impl Inquirer {
    /// `tls`: which roots the service's certificate is judged against.
    ///
    /// # Errors
    /// What of it cannot be used.
    pub fn new(inquiry: Inquiry, tls: ClientConfig, rules: AddressRules) -> Result<Self, NotAsked> {
        let url = rules.read(&inquiry.url)?;
        let bearer = inquiry.token.map(|token| {
            let mut value = HeaderValue::try_from(format!("Bearer {token}")).map_err(|_| NotAsked::Token)?;
            value.set_sensitive(true);
            Ok::<_, NotAsked>(value)
        });
        let http = http(tls, &rules, inquiry.timeout, inquiry.idle)?;
        Ok(Self { http, rules, url, bearer: bearer.transpose()?, limit: inquiry.limit })
    }

    /// Asks; the answer's octets.
    ///
    /// # Errors
    /// Why there is none.
    pub async fn ask(&self, question: Vec<u8>) -> Result<Vec<u8>, NoAnswer> {
        // Again, each time, as for webhooks.
        self.rules.read(self.url.as_str()).map_err(|_| NoAnswer::Refused)?;
        let mut request =
            self.http.post(self.url.clone()).header(CONTENT_TYPE, "application/json").body(question);
        if let Some(bearer) = &self.bearer {
            request = request.header(AUTHORIZATION, bearer.clone());
        }
        let mut answer = request.send().await.map_err(|error| NoAnswer::of(&error))?;
        if answer.status() != StatusCode::OK {
            return Err(NoAnswer::Status);
        }
        let mut octets = Vec::new();
        while let Some(part) = answer.chunk().await.map_err(|error| NoAnswer::of(&error))? {
            if octets.len() + part.len() > self.limit {
                return Err(NoAnswer::TooLarge);
            }
            octets.extend_from_slice(&part);
        }
        Ok(octets)
    }
}
