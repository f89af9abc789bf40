//! Moves old entries into the archive, removes what is past its time, thins out old checkpoints. Slowly, and never in the
//! way of entries.

use std::time::Duration;

use config::OwnName;
use signing::Moment;
use store::{
    Archive, ArchiveError, AuditEntry, AuditLog, AuditQuery, REMOVAL, Segment, Signed, Store, StoreError,
    removal_subject,
};
use time::OffsetDateTime;
use tokio::sync::watch;

use crate::error::with_causes;
use crate::timestamps::WatchedClock;

/// How long it waits for what has to be true before anything is removed, and the longest pause between two looks.
const EVERY: Duration = Duration::from_secs(600);
/// The shortest pause between two looks.
const AT_LEAST: Duration = Duration::from_secs(1);
/// The pause between two files.
const PAUSE: Duration = Duration::from_secs(1);
/// A clock that moved by more than this against the steady one since the start removes nothing.
const LARGEST_STEP: time::Duration = time::Duration::minutes(5);
/// Removals that are looked through for one that a crash broke off: it is among the newest.
const MOST_INTENDED: u32 = 100;
/// Of the ranges in the archive one in so many is removed in a day at most, and [`SMALL`] more: of a log that is kept for the
/// 183 days that it has to be kept at least, about one in 183 is due. A mistake shows before much is gone.
const SHARE: usize = 30;
const SMALL: usize = 24;
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
    /// How far the log is signed.
    pub(super) signed: watch::Receiver<Signed>,
    /// What is known of the clock.
    pub(super) clock: WatchedClock,
    /// When the gateway started, by both clocks.
    pub(super) started: Moment,
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
            if let Err(error) = self.thin().await {
                tracing::warn!(error = with_causes(&error), "old checkpoints stay for now");
            }
            tokio::time::sleep(pause(self.after)).await;
        }
    }

    async fn thin(&self) -> Result<(), StoreError> {
        let before = self.store.time_to_remove(Moment::now()).await? - ALL_CHECKPOINTS;
        self.store.thin_audit_checkpoints(self.log.record().id, before).await.map(drop)
    }

    async fn once(&self, archive: &Archive) -> Result<(), ArchiveError> {
        let log = self.log.record();
        let now = self.store.time_to_remove(Moment::now()).await?;
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
        if let Err(reason) = self.may_remove().await {
            tracing::warn!(reason, "archived audit entries past their time stay for now");
            return Ok(());
        }
        let head = self.log.tree_head().await?;
        let segments = self.store.audit_segments(log.id).await?;
        let today = allowance(&segments, now);
        let past = |segment: &Segment| segment.written_at < (now - retention).unix_timestamp();
        let kept = segments.iter().filter(|segment| segment.removed_at.is_none());
        let due: Vec<_> = kept.take_while(|segment| past(segment)).cloned().collect();
        if due.len() > today {
            let due = due.len();
            tracing::warn!(due, today, "more archived audit entries are past their time than go in a day");
        }
        for segment in due.into_iter().take(today) {
            let range = format!("{} before {}", segment.start, segment.until);
            // What is hashed decides; the register's times can be changed beside it.
            match self.store.segment_end(log.id, archive, &segment, head).await? {
                // On record before: whoever verifies the log later finds out why the entries are gone.
                Some(end) if end < now - retention => {
                    let subject = removal_subject(segment.start, segment.until, end);
                    self.record("intended", &subject).await?;
                }
                None if self.intended(&range).await? => {} // a crash came between
                found => {
                    let (name, gone) = (segment.name, found.is_none());
                    tracing::error!(
                        name,
                        gone,
                        "archived audit entries are gone, or younger than the register has them"
                    );
                    break;
                }
            }
            self.store.remove_segment(log.id, archive, &segment).await?;
            self.record("ok", &range).await?;
            tracing::info!(
                from = segment.start,
                until = segment.until,
                "archived audit entries past their time removed"
            );
        }
        Ok(())
    }

    /// What is removed cannot be had back: the log has to be signed, which takes a moment after a start, and the clock to
    /// be believed.
    async fn may_remove(&self) -> Result<(), &'static str> {
        let mut signed = self.signed.clone();
        let settled = signed.wait_for(|signed| signed.vouched && signed.unsigned.is_none());
        if !matches!(tokio::time::timeout(EVERY, settled).await, Ok(Ok(_))) {
            return Err("the end of the audit log is not signed");
        }
        stepped(self.started, Moment::now())?;
        match self.store.server_clock_offset().await {
            Ok(Some(offset)) if offset.abs() > LARGEST_STEP => {
                return Err("the clock of the database's server says otherwise");
            }
            Ok(_) => {}
            Err(_) => return Err("the clock of the database's server is not known"),
        }
        self.clock.believed()
    }

    /// Whether it is on record that a range is going to be removed.
    async fn intended(&self, range: &str) -> Result<bool, StoreError> {
        let query = AuditQuery {
            actor: Some(OwnName::Gateway.as_str().to_owned()),
            action: Some(REMOVAL.to_owned()),
            outcome: Some("intended".to_owned()),
            limit: MOST_INTENDED,
            ..AuditQuery::default()
        };
        let found = self.store.search_audit(self.log.record().id, &query).await?;
        Ok(found.items.iter().any(|(_, entry)| {
            let rest = entry.subject.as_deref().and_then(|subject| subject.strip_prefix(range));
            rest.is_some_and(|rest| rest.is_empty() || rest.starts_with(','))
        }))
    }

    async fn record(&self, outcome: &str, subject: &str) -> Result<u64, StoreError> {
        let entry = AuditEntry {
            action: REMOVAL.to_owned(),
            actor: OwnName::Gateway.as_str().to_owned(),
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

/// How long to wait before old entries are looked for again: none stays by more than a hundredth of its time.
fn pause(after: Duration) -> Duration {
    (after / 100).clamp(AT_LEAST, EVERY)
}

/// How many ranges may be removed now.
fn allowance(segments: &[Segment], now: OffsetDateTime) -> usize {
    let day_ago = (now - time::Duration::DAY).unix_timestamp();
    let kept = segments.iter().filter(|segment| segment.removed_at.is_none()).count();
    let removed = segments.iter().filter(|segment| segment.removed_at.is_some_and(|at| at > day_ago)).count();
    ((kept + removed) / SHARE + SMALL).saturating_sub(removed)
}

fn stepped(started: Moment, now: Moment) -> Result<(), &'static str> {
    let step = (now.wall - started.wall) - (now.steady - started.steady);
    if step.abs() > LARGEST_STEP { Err("the clock was set since the start") } else { Ok(()) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_day_removes_a_small_part_of_the_archive_only() {
        let now = OffsetDateTime::UNIX_EPOCH + time::Duration::days(20_000);
        let segment = |removed_at: Option<OffsetDateTime>| Segment {
            start: 0,
            until: 0,
            name: String::new(),
            digest: [0; 32],
            written_at: 0,
            removed_at: removed_at.map(OffsetDateTime::unix_timestamp),
        };
        let mut segments = vec![segment(None); 3_000];
        assert_eq!(allowance(&segments, now), 124);
        for segment in &mut segments[..124] {
            segment.removed_at = Some(now.unix_timestamp());
        }
        assert_eq!(allowance(&segments, now), 0, "a gateway that starts again removes no more");
        assert_eq!(allowance(&segments, now + time::Duration::hours(25)), 2_876 / 30 + 24);
        assert_eq!(allowance(&[segment(None), segment(Some(now - time::Duration::days(9)))], now), 24);
    }

    #[test]
    fn old_entries_are_looked_for_as_often_as_their_time_asks() {
        let days = |days: u64| Duration::from_secs(days * 86_400);
        assert_eq!([0, 1, 30].map(|after| pause(days(after)).as_secs()), [1, 600, 600]);
        assert_eq!(pause(Duration::from_secs(3_600)).as_secs(), 36);
    }

    #[test]
    fn a_clock_that_jumped_in_either_direction_removes_nothing() {
        let started = Moment::now();
        let hour = Duration::from_secs(3600);
        let later =
            |wall: time::Duration| Moment { wall: started.wall + wall, steady: started.steady + hour };
        assert_eq!(stepped(started, later(time::Duration::minutes(63))), Ok(()));
        assert_eq!(stepped(started, later(time::Duration::minutes(57))), Ok(()));
        for wrong in [time::Duration::days(36_500), time::Duration::minutes(66), time::Duration::ZERO] {
            assert!(stepped(started, later(wrong)).is_err(), "{wrong}");
        }
    }
}
