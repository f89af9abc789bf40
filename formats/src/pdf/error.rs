//! Why a PDF, or a part of it, could not be read.

/// The error of [`crate::pdf`].
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum PdfError {
    /// The octets are not what ISO 32000-2 says.
    #[error("not a {what}: {reason}")]
    Malformed {
        /// The structure expected, such as `cross-reference table`.
        what: &'static str,
        /// What is wrong with the octets, and where.
        reason: String,
    },
    /// The trailer has /Encrypt: nothing in the file can be read without its password.
    #[error("the document is encrypted")]
    Encrypted,
    /// More than [`Limits`](super::Limits) allow.
    #[error("more {what} than the {limit} that are read")]
    TooLarge {
        /// What there is too much of.
        what: &'static str,
        /// The limit.
        limit: usize,
    },
}

impl PdfError {
    /// Stable, snake_case: `malformed`, `encrypted` or `too_large`.
    pub fn code(&self) -> &'static str {
        match self {
            Self::Malformed { .. } => "malformed",
            Self::Encrypted => "encrypted",
            Self::TooLarge { .. } => "too_large",
        }
    }

    pub(crate) fn malformed(what: &'static str, reason: impl ToString) -> Self {
        Self::Malformed { what, reason: reason.to_string() }
    }
}
