use config::{GroupId, KeyId};
use formats::FormatError;
use hsm_driver::HsmError;
use store::{KeyPurpose, StoreError};
use thiserror::Error;

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
    /// A registered key's certificate chain is not usable.
    #[error("key {key} in the register: {reason}")]
    Register {
        /// The key.
        key: KeyId,
        /// What is wrong.
        reason: String,
    },
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
            Self::Register { .. } => "key_register_broken",
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
            Self::Record(_) => "audit_unavailable",
        }
    }
}
