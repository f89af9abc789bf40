//! What keeps the front from answering at all.

use store::StoreError;

/// Why there is no answer. A license that fails is an answer, not an error.
#[derive(Debug, thiserror::Error)]
pub enum FrontError {
    /// A test enterprise was asked for where only real ones are served.
    #[error("test identities exist in the sandbox only")]
    TestIdentityInProduction,
    /// The library could not be read.
    #[error("the license library could not be read")]
    Library(#[from] StoreError),
    /// The register of registration statuses cannot be asked now; the code is one of [`crate::UNAVAILABLE`].
    #[error("the register of registration statuses cannot be asked: {0}")]
    StatusUnavailable(&'static str),
    /// What the register says is too old to be certified, or of a time that cannot be.
    #[error("the registration status cannot be certified: {detail}")]
    StatusUnfit {
        /// `status_stale` or `status_malformed`.
        code: &'static str,
        /// For people.
        detail: String,
    },
    /// The library holds a status code outside the table of registration statuses.
    #[error("the library holds the unknown registration status {0}")]
    UnknownStatus(i64),
}
