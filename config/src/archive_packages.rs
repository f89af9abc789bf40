use crate::KeyId;
use crate::read::Section;

/// How archive packages (归档包) of stamps are made.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ArchivePackages {
    /// The key that signs their manifests.
    pub key: KeyId,
}

impl ArchivePackages {
    /// None where something is wrong with it.
    pub(crate) fn read(section: &mut Section<'_>) -> Option<Self> {
        Some(Self { key: section.parsed("key", KeyId::parse)? })
    }
}
