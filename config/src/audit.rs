use std::path::PathBuf;
use std::time::Duration;

use crate::read::Section;
use crate::{Fetch, SourceUrl};

/// The shortest time that records of a real site are kept: six months (Cybersecurity Law, article 21).
const SHORTEST_RETENTION_DAYS: u64 = 183;
const DAY: Duration = Duration::from_secs(86_400);

/// How the audit log is signed, kept and shown to others.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Audit {
    /// A checkpoint is made after so many entries. Default 1,000, which is the most.
    pub checkpoint_entries: u64,
    /// A checkpoint is made so long after an entry at the latest. Default 1 s, which is the longest.
    pub checkpoint_interval: Duration,
    /// Where old entries go; without it they stay in the database.
    pub archive: Option<PathBuf>,
    /// How old entries are when they go there. Default 30 days.
    pub archive_after: Duration,
    /// How long archived entries are kept; without it for ever. Six months at least outside a sandbox.
    pub retention: Option<Duration>,
    /// How often the heads of the other logs on the database are put on record. Default a minute.
    pub witness_interval: Duration,
    /// Checkpoints are appended to this file.
    pub anchor_file: Option<PathBuf>,
    /// Checkpoints are sent to this address by POST, by the rules of `trust.fetch`.
    pub anchor_url: Option<SourceUrl>,
    /// Every so many-th checkpoint goes there. Default 60.
    pub anchor_every: u64,
    /// Nothing is recorded at all: for measuring what the record costs, and in a sandbox only.
    pub discard: bool,
}

impl Audit {
    pub(crate) fn read(section: &mut Section<'_>, sandbox: bool, fetch: &Fetch) -> Self {
        let shortest = if sandbox { 0 } else { SHORTEST_RETENTION_DAYS };
        let days = |days: u64| DAY * u32::try_from(days).unwrap_or(u32::MAX);
        let audit = Self {
            checkpoint_entries: section.integer("checkpoint_entries", 1000, 1..=1000),
            checkpoint_interval: section.milliseconds("checkpoint_interval_ms", 1000, 10..=1000),
            archive: section.file("archive"),
            archive_after: days(section.integer("archive_after_days", 30, u64::from(!sandbox)..=36_500)),
            retention: section
                .has("retention_days")
                .then(|| days(section.integer("retention_days", 1096, shortest..=36_500))),
            witness_interval: section.milliseconds("witness_interval_ms", 60_000, 100..=3_600_000),
            anchor_file: section.file("anchor_file"),
            anchor_url: section
                .has("anchor_url")
                .then(|| section.parsed("anchor_url", SourceUrl::parse))
                .flatten(),
            anchor_every: section.integer("anchor_every", 60, 1..=1_000_000),
            discard: section.boolean("discard", false),
        };
        if audit.discard && !sandbox {
            section.mistake("discard", "is for measuring in a sandbox only (site.sandbox = true)");
        }
        if audit.retention.is_some_and(|retention| retention < audit.archive_after) {
            section.mistake("retention_days", "must not be less than archive_after_days");
        }
        if audit.retention.is_some() && audit.archive.is_none() {
            section.mistake(
                "retention_days",
                "has a meaning with archive only: what stays in the database is kept",
            );
        }
        if audit.anchor_url.as_ref().is_some_and(SourceUrl::is_https) && fetch.tls_anchors.is_empty() {
            section.mistake("anchor_url", "https needs trust.fetch.tls_anchors");
        }
        audit
    }
}
