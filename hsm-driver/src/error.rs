use std::borrow::Cow;
use std::fmt;

use config::{DeviceId, GroupId, KeyId};
use cryptoki_sys as sys;
use serde::{Deserialize, Serialize};
use thiserror::Error;

/// A PKCS#11 return value other than CKR_OK, kept whole: vendors use the full range.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct ReturnValue(pub u64);

/// What a device's complaint means for the work and for the device.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Blame {
    /// The device or the way to it is in trouble: try another.
    Device,
    /// The device is busy: try another, and do not hold it against this one.
    Busy,
    /// The key is not usable on this device: try another.
    Key,
    /// The device does not do the algorithm: try another.
    Algorithm,
    /// The request itself is wrong: no device will take it.
    Request,
}

impl ReturnValue {
    /// Whether a C_Login that answered this says that the PIN is not the token's.
    #[must_use]
    pub(crate) fn refuses_pin(self) -> bool {
        matches!(
            self.0,
            sys::CKR_PIN_INCORRECT
                | sys::CKR_PIN_LOCKED
                | sys::CKR_PIN_EXPIRED
                | sys::CKR_PIN_INVALID
                | sys::CKR_PIN_LEN_RANGE
        )
    }

    /// Whether a C_Login that answered this certainly never had the PIN compared.
    #[must_use]
    pub(crate) fn is_transport(self) -> bool {
        matches!(
            self.0,
            sys::CKR_DEVICE_ERROR
                | sys::CKR_DEVICE_REMOVED
                | sys::CKR_DEVICE_MEMORY
                | sys::CKR_HOST_MEMORY
                | sys::CKR_TOKEN_NOT_PRESENT
                | sys::CKR_SESSION_HANDLE_INVALID
                | sys::CKR_SESSION_CLOSED
                | sys::CKR_SESSION_COUNT
                | sys::CKR_CRYPTOKI_NOT_INITIALIZED
                | sys::CKR_USER_PIN_NOT_INITIALIZED
        )
    }

    /// Sorts a return value (PKCS#11 v2.40 §5.1).
    #[must_use]
    pub fn blame(self) -> Blame {
        match self.0 {
            sys::CKR_FUNCTION_FAILED
            | sys::CKR_SESSION_COUNT
            | sys::CKR_HOST_MEMORY
            | sys::CKR_DEVICE_MEMORY => Blame::Busy,
            sys::CKR_KEY_HANDLE_INVALID
            | sys::CKR_OBJECT_HANDLE_INVALID
            | sys::CKR_KEY_FUNCTION_NOT_PERMITTED
            | sys::CKR_KEY_TYPE_INCONSISTENT
            | sys::CKR_KEY_SIZE_RANGE => Blame::Key,
            sys::CKR_MECHANISM_INVALID
            | sys::CKR_MECHANISM_PARAM_INVALID
            | sys::CKR_FUNCTION_NOT_SUPPORTED => Blame::Algorithm,
            sys::CKR_DATA_LEN_RANGE | sys::CKR_DATA_INVALID | sys::CKR_ARGUMENTS_BAD => Blame::Request,
            _ => Blame::Device,
        }
    }
}

impl fmt::Display for ReturnValue {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let name = match self.0 {
            sys::CKR_ARGUMENTS_BAD => "CKR_ARGUMENTS_BAD",
            sys::CKR_CRYPTOKI_NOT_INITIALIZED => "CKR_CRYPTOKI_NOT_INITIALIZED",
            sys::CKR_DATA_LEN_RANGE => "CKR_DATA_LEN_RANGE",
            sys::CKR_DEVICE_ERROR => "CKR_DEVICE_ERROR",
            sys::CKR_DEVICE_REMOVED => "CKR_DEVICE_REMOVED",
            sys::CKR_ATTRIBUTE_READ_ONLY => "CKR_ATTRIBUTE_READ_ONLY",
            sys::CKR_ATTRIBUTE_SENSITIVE => "CKR_ATTRIBUTE_SENSITIVE",
            sys::CKR_ATTRIBUTE_TYPE_INVALID => "CKR_ATTRIBUTE_TYPE_INVALID",
            sys::CKR_ATTRIBUTE_VALUE_INVALID => "CKR_ATTRIBUTE_VALUE_INVALID",
            sys::CKR_CURVE_NOT_SUPPORTED => "CKR_CURVE_NOT_SUPPORTED",
            sys::CKR_DATA_INVALID => "CKR_DATA_INVALID",
            sys::CKR_DEVICE_MEMORY => "CKR_DEVICE_MEMORY",
            sys::CKR_DOMAIN_PARAMS_INVALID => "CKR_DOMAIN_PARAMS_INVALID",
            sys::CKR_ENCRYPTED_DATA_INVALID => "CKR_ENCRYPTED_DATA_INVALID",
            sys::CKR_HOST_MEMORY => "CKR_HOST_MEMORY",
            sys::CKR_KEY_NOT_WRAPPABLE => "CKR_KEY_NOT_WRAPPABLE",
            sys::CKR_KEY_SIZE_RANGE => "CKR_KEY_SIZE_RANGE",
            sys::CKR_KEY_TYPE_INCONSISTENT => "CKR_KEY_TYPE_INCONSISTENT",
            sys::CKR_KEY_UNEXTRACTABLE => "CKR_KEY_UNEXTRACTABLE",
            sys::CKR_MECHANISM_PARAM_INVALID => "CKR_MECHANISM_PARAM_INVALID",
            sys::CKR_OBJECT_HANDLE_INVALID => "CKR_OBJECT_HANDLE_INVALID",
            sys::CKR_OPERATION_NOT_INITIALIZED => "CKR_OPERATION_NOT_INITIALIZED",
            sys::CKR_PIN_EXPIRED => "CKR_PIN_EXPIRED",
            sys::CKR_PIN_LEN_RANGE => "CKR_PIN_LEN_RANGE",
            sys::CKR_SESSION_READ_ONLY => "CKR_SESSION_READ_ONLY",
            sys::CKR_TEMPLATE_INCOMPLETE => "CKR_TEMPLATE_INCOMPLETE",
            sys::CKR_TEMPLATE_INCONSISTENT => "CKR_TEMPLATE_INCONSISTENT",
            sys::CKR_TOKEN_WRITE_PROTECTED => "CKR_TOKEN_WRITE_PROTECTED",
            sys::CKR_USER_ALREADY_LOGGED_IN => "CKR_USER_ALREADY_LOGGED_IN",
            sys::CKR_WRAPPED_KEY_INVALID => "CKR_WRAPPED_KEY_INVALID",
            sys::CKR_WRAPPING_KEY_TYPE_INCONSISTENT => "CKR_WRAPPING_KEY_TYPE_INCONSISTENT",
            sys::CKR_FUNCTION_FAILED => "CKR_FUNCTION_FAILED",
            sys::CKR_FUNCTION_NOT_SUPPORTED => "CKR_FUNCTION_NOT_SUPPORTED",
            sys::CKR_GENERAL_ERROR => "CKR_GENERAL_ERROR",
            sys::CKR_KEY_FUNCTION_NOT_PERMITTED => "CKR_KEY_FUNCTION_NOT_PERMITTED",
            sys::CKR_KEY_HANDLE_INVALID => "CKR_KEY_HANDLE_INVALID",
            sys::CKR_MECHANISM_INVALID => "CKR_MECHANISM_INVALID",
            sys::CKR_OPERATION_ACTIVE => "CKR_OPERATION_ACTIVE",
            sys::CKR_PIN_INCORRECT => "CKR_PIN_INCORRECT",
            sys::CKR_PIN_LOCKED => "CKR_PIN_LOCKED",
            sys::CKR_SESSION_CLOSED => "CKR_SESSION_CLOSED",
            sys::CKR_SESSION_COUNT => "CKR_SESSION_COUNT",
            sys::CKR_SESSION_HANDLE_INVALID => "CKR_SESSION_HANDLE_INVALID",
            sys::CKR_TOKEN_NOT_PRESENT => "CKR_TOKEN_NOT_PRESENT",
            sys::CKR_USER_NOT_LOGGED_IN => "CKR_USER_NOT_LOGGED_IN",
            other => return write!(f, "CKR 0x{other:08X}"),
        };
        f.write_str(name)
    }
}

/// Why a device could not be brought up.
#[derive(Debug, Clone, PartialEq, Eq, Error, Serialize, Deserialize)]
pub enum StartError {
    /// A PKCS#11 call answered with an error.
    #[error("{function} answered {rv}")]
    Call {
        /// The C function.
        function: String,
        /// What it answered.
        rv: ReturnValue,
    },
    /// The library could not be loaded or offers no function list.
    #[error("module not usable: {reason}")]
    Module {
        /// What the loader said.
        reason: String,
    },
    /// No slot holds the token.
    #[error("no token labelled {label:?}{}", serial.as_ref().map(|s| format!(" with serial {s:?}")).unwrap_or_default())]
    TokenAbsent {
        /// The label looked for.
        label: String,
        /// The serial looked for.
        serial: Option<String>,
    },
    /// The PIN was refused: tried once, never again without an operator, because tokens lock.
    #[error("PIN refused ({rv}); not tried again")]
    PinRefused {
        /// CKR_PIN_INCORRECT, CKR_PIN_LOCKED and their like.
        rv: ReturnValue,
    },
    /// The worker process ended, hung or spoke nonsense.
    #[error("worker: {reason}")]
    Worker {
        /// What happened.
        reason: String,
    },
}

/// Why one device did not do a piece of work. What another device makes of it is another matter.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub(crate) enum AttemptError {
    #[error("{function} answered {rv}")]
    Call { function: Cow<'static, str>, rv: ReturnValue },
    #[error("queue full")]
    QueueFull,
    #[error("worker lost")]
    WorkerLost,
    #[error("no answer in time")]
    TimedOut,
    #[error("answer is not a signature of the key")]
    WrongResult,
}

impl AttemptError {
    /// A word for it among few: the return value's name, or what else happened.
    pub(crate) fn code(&self) -> Cow<'static, str> {
        match self {
            Self::Call { rv, .. } => Cow::Owned(rv.to_string()),
            Self::QueueFull => Cow::Borrowed("queue_full"),
            Self::WorkerLost => Cow::Borrowed("worker_lost"),
            Self::TimedOut => Cow::Borrowed("timed_out"),
            Self::WrongResult => Cow::Borrowed("wrong_result"),
        }
    }

    /// Whether the same work may be given to another device: a signature is harmless to repeat, so only a
    /// request that every device would refuse is not.
    pub(crate) fn retry(&self) -> bool {
        !matches!(self, Self::Call { rv, .. } if rv.blame() == Blame::Request)
    }
}

/// Why the fleet did not do what it was asked.
#[derive(Debug, Error)]
pub enum HsmError {
    /// No such key.
    #[error("no key {key}")]
    UnknownKey {
        /// The key asked for.
        key: KeyId,
    },
    /// The key cannot sign with that algorithm.
    #[error("key {key} does not sign with {algorithm}")]
    AlgorithmMismatch {
        /// The key asked for.
        key: KeyId,
        /// The algorithm's name.
        algorithm: &'static str,
    },
    /// No device of the key's group is able to serve it now.
    #[error("no device of group {group} can serve key {key} now")]
    NoDevice {
        /// The key asked for.
        key: KeyId,
        /// Its group.
        group: GroupId,
    },
    /// Every device that could serve has a full queue.
    #[error("all devices of group {group} have full queues")]
    Overloaded {
        /// The key's group.
        group: GroupId,
    },
    /// The deadline passed over the attempts made.
    #[error("deadline passed after {attempts} attempt(s)")]
    DeadlineExceeded {
        /// How many devices were tried.
        attempts: usize,
    },
    /// The device says that it cannot do this, and so will every other.
    #[error("device {device}: {function} answered {rv}")]
    Refused {
        /// Who refused.
        device: DeviceId,
        /// The C function.
        function: String,
        /// What it answered.
        rv: ReturnValue,
    },
    /// No such device.
    #[error("no device {device}")]
    UnknownDevice {
        /// The device asked for.
        device: DeviceId,
    },
    /// The device has no worker, so it can be told nothing.
    #[error("device {device} is not running")]
    NotRunning {
        /// The device asked for.
        device: DeviceId,
    },
    /// The device did not do what it was told. Whether it did a part of it is not known if it was late.
    #[error("device {device}: {function} answered {rv}")]
    OrderFailed {
        /// The device.
        device: DeviceId,
        /// The C function.
        function: String,
        /// What it answered.
        rv: ReturnValue,
    },
    /// What the device answered is not what was asked of it.
    #[error("device {device} gave a wrong answer: {what}")]
    WrongAnswer {
        /// The device.
        device: DeviceId,
        /// What is wrong with it.
        what: &'static str,
    },
    /// No device in service of the group holds what is to be copied.
    #[error("no device in service of group {group} holds {what}")]
    NoSource {
        /// The key or secret.
        what: String,
        /// The group.
        group: GroupId,
    },
    /// A token could not be set up.
    #[error("device {device} cannot be set up: {reason}")]
    SetUp {
        /// The device.
        device: DeviceId,
        /// Why.
        reason: String,
    },
    /// A device that gave a wrong result comes back by its release only.
    #[error("device {device} is in quarantine")]
    Quarantined {
        /// The device.
        device: DeviceId,
    },
    /// Too many attempts of late needed another: this one is given up rather than make it worse.
    #[error("retry budget of group {group} is used up")]
    RetriesExhausted {
        /// The key's group.
        group: GroupId,
    },
    /// The configuration names a vendor profile that does not exist.
    #[error("no dialect {name:?}")]
    UnknownDialect {
        /// The name.
        name: String,
    },
    /// Two keys of one name, or more keys than an index can name.
    #[error("key {key}: {reason}")]
    BadKey {
        /// The key.
        key: KeyId,
        /// What is wrong with it.
        reason: &'static str,
    },
}
