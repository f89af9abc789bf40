//! Of revocation lists, their sources, and trust files.

use time::OffsetDateTime;

use super::Metrics;
use super::labels::{CrlLabel, SourceLabel, SourceOutcome};
use crate::trust::TrustKeeper;

impl Metrics {
    pub(super) fn register_trust(&mut self) {
        let registry = &mut self.registry;
        registry.register(
            "crl_age_seconds",
            "Time since the revocation list in force was issued",
            self.crl_age.clone(),
        );
        registry.register(
            "crl_due_seconds",
            "Time until its successor is due; negative when it is overdue",
            self.crl_due.clone(),
        );
        registry.register(
            "revocation_fetches",
            "Attempts at a source of revocations, by outcome",
            self.fetches.clone(),
        );
        registry.register(
            "revocation_fetch_failures",
            "Attempts in a row that failed, up to now",
            self.fetch_failures.clone(),
        );
        registry.register(
            "revocation_fetch_success_timestamp_seconds",
            "When the source last answered well",
            self.fetch_success.clone(),
        );
        registry.register(
            "trust_files_refused",
            "Trust files that could not be used when they were last looked at",
            self.trust_files_refused.clone(),
        );
    }

    /// What is known of trust at `now`; sources that are gone leave no stale figures.
    pub(super) fn read_trust(&self, trust: &TrustKeeper, now: OffsetDateTime) {
        self.crl_age.clear();
        self.crl_due.clear();
        self.fetches.clear();
        self.fetch_failures.clear();
        self.fetch_success.clear();
        for crl in trust.crls(now) {
            let source = crl.url.unwrap_or_else(|| "files".to_owned());
            let label = CrlLabel { issuer: crl.issuer, source };
            self.crl_age.get_or_create(&label).set((now - crl.this_update).whole_seconds());
            if let Some(next) = crl.next_update {
                self.crl_due.get_or_create(&label).set((next - now).whole_seconds());
            }
        }
        for source in trust.sources() {
            let (kind, url) = (source.kind, source.url);
            for (outcome, count) in source.counts {
                let label = SourceOutcome { kind, url: url.clone(), outcome };
                self.fetches.get_or_create(&label).set(i64::try_from(count).unwrap_or(i64::MAX));
            }
            let label = SourceLabel { kind, url };
            self.fetch_failures.get_or_create(&label).set(i64::from(source.failures));
            if let Some(at) = source.last_success {
                self.fetch_success.get_or_create(&label).set(at.unix_timestamp());
            }
        }
        let refused = i64::try_from(trust.refused_files()).unwrap_or(i64::MAX);
        self.trust_files_refused.set(refused);
    }
}
