//! Fetching one revocation list in the background, again and again.

use std::sync::Arc;
use std::time::Duration;

use config::CrlSource;
use formats::Crl;
use time::OffsetDateTime;

use super::cache::Cache;
use super::fetch::{Failure, Fetched, Fetcher, Validators};
use super::record::{Attempts, Outcome};
use super::schedule::Pace;
use super::shelf::Shelf;

/// The task of one `[[trust.crl]]`.
pub(super) struct CrlJob {
    pub(super) source: CrlSource,
    pub(super) attempts: Arc<Attempts>,
    fetcher: Arc<Fetcher>,
    shelf: Arc<Shelf>,
    cache: Cache,
    pace: Pace,
    /// Of the list in force.
    validators: Validators,
}

impl CrlJob {
    /// Puts into force what was kept on disk, as far as it still holds; blocks while it does.
    pub(super) fn new(
        source: CrlSource,
        fetcher: Arc<Fetcher>,
        shelf: Arc<Shelf>,
        fetch: &config::Fetch,
    ) -> Self {
        let (cache, pace) = (Cache::new(&fetch.folder), Pace { refresh: source.refresh, retry: fetch.retry });
        let mut validators = Validators::default();
        if let Some((octets, kept)) = cache.crl(&source.url, fetch.crl_limit) {
            match shelf.check_crl(&octets, OffsetDateTime::now_utc()) {
                Ok(crl) => {
                    shelf.put_crl(&source.url, crl);
                    validators = kept;
                }
                Err(Failure { code, detail }) => {
                    tracing::warn!(url = %source.url, code, detail, "the revocation list kept on disk is not used");
                }
            }
        }
        Self { source, attempts: Arc::default(), fetcher, shelf, cache, pace, validators }
    }

    /// Fetches until it is dropped: at once, and then by the pace.
    pub(super) async fn run(mut self) {
        loop {
            let fetched = self.fetch().await;
            let chance = fastrand::f64();
            match fetched {
                Ok(outcome) => {
                    self.attempts.succeeded(outcome);
                    tokio::time::sleep(self.after(outcome, chance)).await;
                }
                Err(failure) => {
                    let failures = self.attempts.failed(&self.source.url, &failure);
                    // Other files may hold the certificate that was lacking.
                    tokio::select! {
                        () = tokio::time::sleep(self.pace.after_failure(failures, chance)) => {}
                        () = self.shelf.files_taken.notified() => {}
                    }
                }
            }
        }
    }

    fn after(&self, outcome: Outcome, chance: f64) -> Duration {
        let crl = self.shelf.fetched(&self.source.url);
        if let (Outcome::Taken, Some(crl)) = (outcome, &crl) {
            let (url, issuer, entries) = (&self.source.url, crl.issuer(), crl.len());
            tracing::info!(%url, issuer, entries, this_update = %crl.this_update(), "a revocation list was taken over");
        }
        let next_update = crl.and_then(|crl| crl.next_update());
        self.pace.after_success(OffsetDateTime::now_utc(), next_update, chance)
    }

    async fn fetch(&mut self) -> Result<Outcome, Failure> {
        let (octets, validators) = match self.fetcher.crl(&self.source.url, &self.validators).await? {
            Fetched::Unchanged => return Ok(Outcome::Unchanged),
            Fetched::New(octets, validators) => (octets, validators),
        };
        let (shelf, cache, url) = (Arc::clone(&self.shelf), self.cache.clone(), self.source.url.clone());
        // Without news there is nothing to be written.
        let (kept, differ) = (validators.clone(), validators != self.validators);
        // A long list takes its time to be read.
        let taking = tokio::task::spawn_blocking(move || -> Result<Outcome, Failure> {
            let crl: Arc<Crl> = shelf.check_crl(&octets, OffsetDateTime::now_utc())?;
            let outcome = if shelf.has_fetched(&url, &crl) { Outcome::Unchanged } else { Outcome::Taken };
            if outcome == Outcome::Taken {
                shelf.put_crl(&url, Arc::clone(&crl));
            }
            if outcome == Outcome::Taken || differ {
                let kept = cache.keep_crl(&url, crl.der(), &kept);
                if let Err(error) = kept {
                    tracing::warn!(%url, %error, "a revocation list could not be kept on disk");
                }
            }
            Ok(outcome)
        });
        let outcome = taking.await.map_err(|error| Failure::new("not_taken", error.to_string()))??;
        self.validators = validators;
        Ok(outcome)
    }
}
