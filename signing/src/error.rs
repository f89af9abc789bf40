use config::{GroupId, KeyId};
use formats::FormatError;
use hsm_driver::HsmError;
use store::{KeyPurpose, MandateRefusal, STAMP, StoreError};
use thiserror::Error;
use time::OffsetDateTime;

use crate::TimestampError;

/// Why something could not be signed or judged.
#[derive(Debug, Error)]
pub enum SigningError {
    /// No such key.
    #[error("no key {0}")]
    UnknownKey(KeyId),
    /// The key has no version that signs: it was not put to use yet, or is out of use.
    #[error("key {0} has no active version")]
    NotActive(KeyId),
    /// The key exists and is not one that callers may sign with.
    #[error("key {0} is not for callers")]
    NotAServiceKey(KeyId),
    /// The site has no active key for a purpose of its own.
    #[error("the site has no key of purpose {0}")]
    NoSystemKey(KeyPurpose),
    /// The caller said behind which wall the key must live, and it lives behind another.
    #[error("key {key} does not belong to group {group}")]
    KeyNotInGroup {
        /// The key asked for.
        key: KeyId,
        /// The group the caller named.
        group: GroupId,
    },
    /// The key does not sign with the algorithm.
    #[error("key {key} does not sign with {algorithm}")]
    AlgorithmMismatch {
        /// The key asked for.
        key: KeyId,
        /// The algorithm asked for.
        algorithm: formats::Algorithm,
    },
    /// The thing to be signed could not be made.
    #[error("cannot prepare what is to be signed")]
    Format(#[from] FormatError),
    /// A document cannot take the signature.
    #[error("the document {0}")]
    Stamp(&'static str),
    /// A seal must not be valid when its maker's certificate is not: nobody could judge it.
    #[error("the seal maker's certificate is valid from {from} to {until} only")]
    SealOutlivesMaker {
        /// The first moment of the maker's.
        from: OffsetDateTime,
        /// Its end.
        until: OffsetDateTime,
    },
    /// No timestamp for a document could be had.
    #[error("the document got no timestamp")]
    Timestamp(#[source] Box<TimestampError>),
    /// Nothing says of these certificates, which a document is to bring its evidence for, that they are not revoked.
    #[error("there is no path, no fresh CRL and no OCSP answer for {}", .0.join("; "))]
    Evidence(Vec<String>),
    /// A registered key's certificate chain is not usable.
    #[error("key {key} in the register: {reason}")]
    Register {
        /// The key.
        key: KeyId,
        /// What is wrong.
        reason: String,
    },
    /// A mandate cannot be used for that, now or at all.
    #[error("{0}")]
    Mandate(MandateRefusal),
    /// One of several signatures could not be made.
    #[error("signature {}: {source}", .number + 1)]
    OfSignature {
        /// Which, counted from 0.
        number: usize,
        /// Why.
        source: Box<SigningError>,
    },
    /// No device gave what the outer codes of wrapped keys are made with.
    #[error("no device gives the key of the outer code: {0}")]
    OuterCode(String),
    /// The database did not say which key it is.
    #[error("the register could not be read")]
    Database(#[source] StoreError),
    /// No device did it.
    #[error("the devices did not sign")]
    Device(#[from] HsmError),
    /// The record could not be written, so nothing leaves.
    #[error("the record could not be written")]
    Record(#[from] StoreError),
}

impl SigningError {
    /// The stable word for this error, in answers, logs and the audit log alike.
    #[must_use]
    pub fn code(&self) -> &'static str {
        match self {
            Self::UnknownKey(_) | Self::Device(HsmError::UnknownKey { .. }) => "unknown_key",
            Self::NotActive(_) => "key_not_active",
            Self::NotAServiceKey(_) => "key_not_permitted",
            Self::NoSystemKey(_) => "system_key_missing",
            Self::KeyNotInGroup { .. } => "key_not_in_group",
            Self::AlgorithmMismatch { .. } | Self::Device(HsmError::AlgorithmMismatch { .. }) => {
                "algorithm_mismatch"
            }
            Self::Format(FormatError::SignerIdLength(_)) => "signer_id_length",
            Self::Format(_) => "not_signable",
            Self::Stamp(_) => "not_stampable",
            Self::SealOutlivesMaker { .. } => "validity_outside_maker",
            Self::Timestamp(error) => error.code(),
            Self::Evidence(_) => "revocation_data_missing",
            Self::Register { .. } => "key_register_broken",
            Self::Mandate(refusal) => refusal.code(),
            Self::OfSignature { source, .. } => source.code(),
            Self::OuterCode(_) => "devices_unavailable",
            Self::Database(_) => "database_unavailable",
            Self::Device(HsmError::NoDevice { .. }) => "devices_unavailable",
            Self::Device(HsmError::Overloaded { .. }) => "devices_overloaded",
            Self::Device(HsmError::DeadlineExceeded { .. }) => "deadline_exceeded",
            Self::Device(HsmError::Refused { .. }) => "algorithm_not_available",
            Self::Device(HsmError::RetriesExhausted { .. }) => "devices_overloaded",
            Self::Device(HsmError::UnknownDevice { .. }) => "unknown_device",
            Self::Device(HsmError::NotRunning { .. }) => "device_not_running",
            Self::Device(HsmError::Quarantined { .. }) => "device_quarantined",
            Self::Device(HsmError::NoSource { .. }) => "key_source_missing",
            Self::Device(
                HsmError::OrderFailed { .. } | HsmError::WrongAnswer { .. } | HsmError::SetUp { .. },
            ) => "device_failed",
            Self::Device(HsmError::UnknownDialect { .. } | HsmError::BadKey { .. }) => "key_register_broken",
            Self::Record(StoreError::Changed { what: STAMP, .. }) => "stamp_exists",
            Self::Record(_) => "audit_unavailable",
        }
    }
}
