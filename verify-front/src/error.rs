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
    /// The library holds a status code outside the table of registration statuses.
    #[error("the library holds the unknown registration status {0}")]
    UnknownStatus(i64),
}
