use std::path::PathBuf;

use crate::read::Section;

/// Licenses that apps keep as they were shown (执照留档).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Retentions {
    /// Where their files are kept, sealed. Gateways that share a database share it. Default `retentions` beside the
    /// configuration.
    pub folder: PathBuf,
    /// For how many days one is kept from when it was made. What was promised then stays when this changes. Default 3,650.
    pub days: u32,
}

impl Retentions {
    pub(crate) fn read(section: &mut Section<'_>) -> Self {
        Self {
            folder: section.file("folder").unwrap_or_else(|| section.folder().join("retentions")),
            days: u32::try_from(section.integer("days", 3_650, 1..=36_500)).unwrap_or(36_500),
        }
    }
}
