//! An authority outside, over HTTP: only the configured one is ever asked, and what it answers is judged before it is
//! used.

use std::sync::Arc;
use std::time::Duration;

use config::{OutsideAuthority, SourceUrl};
use formats::oid::ObjectIdentifier;
use formats::tsp::{self, Imprint, Nonce, TimestampRequest, TokenInfo, TokenInput};
use formats::{DEFAULT_SIGNER_ID, TrustStore, Verdict};
use signing::TimestampError;
use time::OffsetDateTime;

use crate::error::StartupError;
use crate::trust::{Fetcher, files};

/// How far its clock may be ahead of this one beyond the accuracy it promises.
const CLOCK_SKEW: time::Duration = time::Duration::seconds(5);

/// Asks the authority outside. Clones share it.
#[derive(Clone)]
pub(super) struct OutsideDesk(Arc<Parts>);

struct Parts {
    url: SourceUrl,
    policy: Option<ObjectIdentifier>,
    timeout: Duration,
    fetcher: Fetcher,
    trust: TrustStore,
}

/// A token from outside that was judged valid.
pub(super) struct OutsideToken {
    /// DER.
    pub(super) token: Vec<u8>,
    pub(super) info: TokenInfo,
}

impl OutsideDesk {
    /// Reads the roots; asks nobody.
    ///
    /// # Errors
    /// Which of them cannot be read.
    pub(super) fn new(authority: &OutsideAuthority, fetcher: Fetcher) -> Result<Self, StartupError> {
        let mut roots = Vec::new();
        for path in &authority.roots {
            for file in files::listed(path).map_err(|error| StartupError::file(path, error))? {
                let octets = files::read(&file).map_err(|error| StartupError::file(&file, error))?;
                let (found, _) = files::entries(&octets).map_err(|error| StartupError::file(&file, error))?;
                if found.is_empty() {
                    return Err(StartupError::file(&file, "there is no certificate in it"));
                }
                roots.extend(found);
            }
        }
        Ok(Self(Arc::new(Parts {
            url: authority.url.clone(),
            policy: authority.policy.as_ref().and_then(|policy| policy.as_str().parse().ok()),
            timeout: authority.timeout,
            fetcher,
            trust: TrustStore::new(roots, Vec::new(), Vec::new()),
        })))
    }

    /// A token over a digest, under this policy or the configured one.
    pub(super) async fn ask(
        &self,
        imprint: Imprint,
        policy: Option<ObjectIdentifier>,
    ) -> Result<OutsideToken, TimestampError> {
        let outside = |code, detail: String| TimestampError::Outside { code, detail };
        let mut nonce = [0; 16];
        getrandom::fill(&mut nonce).map_err(|error| outside("no_nonce", error.to_string()))?;
        let policy = policy.or(self.0.policy);
        let request =
            TimestampRequest { imprint, policy, nonce: Nonce::from_unsigned(&nonce), certificates: true };
        let written = request.to_der().map_err(|error| outside("malformed", error.to_string()))?;
        let asked =
            tokio::time::timeout(self.0.timeout, self.0.fetcher.timestamp(&self.0.url, written)).await;
        let answered = asked.map_err(|_| outside("timeout", "it did not answer in time".to_owned()))?;
        let response = answered.map_err(|failure| {
            tracing::warn!(url = %self.0.url, detail = failure.detail, "no timestamp came from outside");
            // Callers need not learn whom the site asks, which the reasons of a connection tell.
            let told = match failure.code {
                "http_status" | "too_large" => failure.detail,
                code => code.replace('_', " "),
            };
            outside(failure.code, told)
        })?;
        let (report, token) = tsp::answer(
            &TokenInput {
                token: &response,
                content: None,
                signer_id: DEFAULT_SIGNER_ID,
                trust: &self.0.trust,
                at: OffsetDateTime::now_utc() + CLOCK_SKEW,
            },
            &request,
        );
        match (report.judgement.verdict, report.info, token) {
            (Verdict::Valid, Some(info), Some(token)) => Ok(OutsideToken { token, info }),
            _ => {
                let found = report.judgement.findings.iter().map(|finding| finding.code);
                let detail = format!("its answer is not accepted: {}", found.collect::<Vec<_>>().join(", "));
                tracing::warn!(url = %self.0.url, detail, "a timestamp from outside is not accepted");
                Err(outside("not_accepted", detail))
            }
        }
    }
}
