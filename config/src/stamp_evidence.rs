use std::path::PathBuf;
use std::time::Duration;

use crate::Timestamps;
use crate::read::Section;

/// What is kept so that stamps can be verified when their certificates are no more.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StampEvidence {
    /// Whether it is kept. Default in a sandbox that has timestamps.
    pub keep: bool,
    /// Where certificates, CRLs, OCSP answers and tokens are kept, by their digests. Gateways that share a database share
    /// it. Default `evidence` beside the configuration.
    pub folder: PathBuf,
    /// How long it is kept after the stamp was made; for ever if none. Default none.
    pub retention: Option<Duration>,
    /// How long before the end of its last timestamp's certificate it is renewed. Default 365 days.
    pub renew_before: Duration,
    /// After how long it is renewed at the latest, whatever certificates say. Default 5 years of 365 days.
    pub renew_after: Duration,
}

impl StampEvidence {
    pub(crate) fn read(section: &mut Section<'_>, sandbox: bool, timestamps: &Timestamps) -> Self {
        let has_timestamps = timestamps.outside.is_some() || !timestamps.policies.is_empty();
        let keep = section.boolean("keep", sandbox && has_timestamps);
        if keep && !has_timestamps {
            section.mistake("keep", "evidence needs timestamps.policies or [timestamps.outside]");
        }
        let days = |days: u64| Duration::from_secs(86_400 * days);
        let retention = section.integer("retention_days", 0, 0..=36_500);
        Self {
            keep,
            folder: section.file("folder").unwrap_or_else(|| section.folder().join("evidence")),
            retention: (retention > 0).then(|| days(retention)),
            renew_before: days(section.integer("renew_before_days", 365, 1..=3_650)),
            renew_after: days(section.integer("renew_after_days", 1_825, 1..=36_500)),
        }
    }
}
