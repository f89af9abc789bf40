use std::path::PathBuf;
use std::time::Duration;

use crate::read::Section;

/// Documents that are stamped many at a time, and what apps send for that.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StampJobs {
    /// Where documents are kept on their way, sealed. Gateways that share a database share it. Default `documents` beside
    /// the configuration.
    pub folder: PathBuf,
    /// How long a job is kept after it finished, with its results. Default 7 days.
    pub retention: Duration,
    /// How long an upload is kept at least. Default one day.
    pub upload_lifetime: Duration,
    /// Octets of an app's uploads that are kept at a time. Default 4 GiB.
    pub upload_octets: u64,
    /// Jobs of an app that run at a time. Default 20.
    pub most_running: usize,
}

impl StampJobs {
    pub(crate) fn read(section: &mut Section<'_>) -> Self {
        Self {
            folder: section.file("folder").unwrap_or_else(|| section.folder().join("documents")),
            retention: Duration::from_secs(86_400 * section.integer("retention_days", 7, 1..=3_650)),
            upload_lifetime: Duration::from_secs(section.integer("upload_seconds", 86_400, 1..=2_592_000)),
            upload_octets: section.integer("upload_mebibytes", 4_096, 1..=1_048_576) << 20,
            most_running: section.count("most_running", 20, 1..=1_000),
        }
    }
}
