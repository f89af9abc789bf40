//! What can go wrong while making test material.

use std::path::PathBuf;

/// Why the test material could not be made or written.
#[derive(Debug, thiserror::Error)]
pub enum CertsTestError {
    /// A structure did not encode; with fixed templates only a time out of X.509's range does that.
    #[error("cannot encode {what}")]
    Encode {
        /// What was being encoded.
        what: &'static str,
        /// The encoder's reason.
        #[source]
        source: der::Error,
    },
    /// A key could not be drawn from this seed, or its parts make no key.
    #[error("a key failed; another seed may do")]
    Key,
    /// The issuing time, less the backdating of old certificates, is out of the calendar.
    #[error("the time {0} is out of range for certificates")]
    Time(time::OffsetDateTime),
    /// A key is asked for of a license that was not made here.
    #[error("the license is not one of a test authority")]
    NotForTests,
    /// There is no such license, or the key is another's.
    #[error("no license and its key")]
    Holder,
    /// A made-up enterprise code broke GB 32100.
    #[error("a made-up code is wrong")]
    Uscc(#[from] formats::uscc::UsccError),
    /// A seal or a sealed document could not be made.
    #[error("cannot make a seal: {0}")]
    Seal(String),
    /// A file could not be read.
    #[error("cannot read {}", path.display())]
    Read {
        /// Which.
        path: PathBuf,
        /// The system's reason.
        #[source]
        source: std::io::Error,
    },
    /// A file or folder could not be written.
    #[error("cannot write {}", path.display())]
    Write {
        /// Which.
        path: PathBuf,
        /// The system's reason.
        #[source]
        source: std::io::Error,
    },
}
