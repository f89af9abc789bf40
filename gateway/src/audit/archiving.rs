//! Moves old entries into the archive, removes what is past its time, thins out old checkpoints. Slowly, and never in the
//! way of entries.

use std::time::Duration;

use store::{Archive, ArchiveError, AuditEntry, AuditLog, REMOVAL, Store};
use time::OffsetDateTime;

use crate::error::with_causes;

/// How often old entries are looked for.
const EVERY: Duration = Duration::from_secs(600);
/// The pause between two files.
const PAUSE: Duration = Duration::from_secs(1);
/// All checkpoints are kept for so long, later one of each hour.
const ALL_CHECKPOINTS: time::Duration = time::Duration::days(7);

pub(super) struct Archiving {
    pub(super) store: Store,
    pub(super) log: AuditLog,
    pub(super) archive: Option<Archive>,
    /// How old entries are when they go.
    pub(super) after: Duration,
    /// How long archived ones are kept.
    pub(super) retention: Option<Duration>,
}

impl Archiving {
    /// Works until it is aborted.
    pub(super) async fn run(self) {
        loop {
            if let Some(archive) = &self.archive
                && let Err(error) = self.once(archive).await
            {
                tracing::error!(error = with_causes(&error), "old audit entries stay where they are for now");
            }
            let before = OffsetDateTime::now_utc() - ALL_CHECKPOINTS;
            if let Err(error) = self.store.thin_audit_checkpoints(self.log.record().id, before).await {
                tracing::warn!(error = with_causes(&error), "old checkpoints stay for now");
            }
            tokio::time::sleep(EVERY).await;
        }
    }

    async fn once(&self, archive: &Archive) -> Result<(), ArchiveError> {
        let log = self.log.record();
        let now = OffsetDateTime::now_utc();
        while let Some(segment) = self.store.archive_audit(log, archive, now - self.after).await? {
            tracing::info!(
                from = segment.start,
                until = segment.until,
                name = segment.name,
                "audit entries archived"
            );
            tokio::time::sleep(PAUSE).await;
        }
        let Some(retention) = self.retention else { return Ok(()) };
        for segment in self.store.audit_segments(log.id).await? {
            if segment.removed_at.is_some() {
                continue;
            }
            if segment.written_at >= (now - retention).unix_timestamp() {
                break;
            }
            // On record before: whoever verifies the log later finds out why the entries are gone.
            let subject = format!("{} before {}", segment.start, segment.until);
            self.record("intended", &subject).await?;
            self.store.remove_segment(log.id, archive, &segment).await?;
            self.record("ok", &subject).await?;
            tracing::info!(
                from = segment.start,
                until = segment.until,
                "archived audit entries past their time removed"
            );
        }
        Ok(())
    }

    async fn record(&self, outcome: &str, subject: &str) -> Result<u64, store::StoreError> {
        let entry = AuditEntry {
            action: REMOVAL.to_owned(),
            actor: "gateway".to_owned(),
            at: OffsetDateTime::now_utc(),
            device: None,
            input_digest: None,
            key: None,
            outcome: outcome.to_owned(),
            request_id: format!("{:032x}", fastrand::u128(..)),
            result_digest: None,
            subject: Some(subject.to_owned()),
        };
        self.log.append(entry).await
    }
}
