use std::path::PathBuf;

use crate::read::Section;

/// The license library's files.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Library {
    /// Where the contents of license files are kept. Gateways that share a database share it. Default `license-files`
    /// beside the configuration.
    pub folder: PathBuf,
    /// Whether callers have to say what they fetch a file for. Default false.
    pub require_purpose: bool,
}

impl Library {
    pub(crate) fn read(section: &mut Section<'_>) -> Self {
        Self {
            folder: section.file("folder").unwrap_or_else(|| section.folder().join("license-files")),
            require_purpose: section.boolean("require_purpose", false),
        }
    }
}
