//! Why an OFD package cannot be opened or signed.

use crate::cms::error_code;
use crate::error::FormatError;
use crate::verdict::Judgement;

/// What is wrong with a package as a whole. Verdicts on its signatures are judgements.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum OfdError {
    /// It is no ZIP archive, or a broken or contradictory one.
    #[error("not an OFD package: {0}")]
    Package(String),
    /// A file that must be there is not.
    #[error("the part {0} is missing")]
    PartMissing(String),
    /// A part is not what it has to be.
    #[error("the part {part}: {reason}")]
    Part {
        /// Its path.
        part: String,
        /// What is wrong with it.
        reason: String,
    },
    /// Two entries have the same name, or names that some readers take for the same.
    #[error("several entries are named {0}")]
    DuplicateEntry(String),
    /// A name that leads out of the package, or that readers understand differently.
    #[error("the entry name {0} is not permitted")]
    UnsafePath(String),
    /// It is encrypted.
    #[error("the entry {0} is encrypted")]
    Encrypted(String),
    /// More entries, more octets or a greater ratio than is read.
    #[error("{0}")]
    TooLarge(String),
    /// A plan to sign that cannot be carried out on this package.
    #[error("{0}")]
    Plan(String),
    /// The seal or signature cannot be made.
    #[error(transparent)]
    Format(#[from] FormatError),
}

impl OfdError {
    /// The code of the finding that says so.
    pub fn code(&self) -> &'static str {
        match self {
            Self::Package(_) | Self::Part { .. } | Self::Plan(_) => "malformed",
            Self::PartMissing(_) => "ofd_part_missing",
            Self::DuplicateEntry(_) => "ofd_duplicate_entry",
            Self::UnsafePath(_) => "ofd_unsafe_path",
            Self::Encrypted(_) => "encrypted",
            Self::TooLarge(_) => "too_large",
            Self::Format(error) => error_code(error),
        }
    }

    /// Says so on a judgement: what cannot be read is undecided, all else is wrong.
    pub(super) fn tell(&self, on: &mut Judgement) {
        match self {
            Self::Encrypted(_) | Self::TooLarge(_) => on.indeterminate(self.code(), self.to_string()),
            _ => on.invalid(self.code(), self.to_string()),
        }
    }

    pub(super) fn part(part: &str, reason: impl ToString) -> Self {
        Self::Part { part: part.to_owned(), reason: reason.to_string() }
    }
}
