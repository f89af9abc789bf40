//! What callers are told of signing: of keys, stamps, formats and ceremonies.

use axum::http::StatusCode;
use signing::{CeremonyError, SigningError, Unstamped};
use store::StoreError;

use super::{Fault, Problem};
use crate::error::with_causes;

impl From<SigningError> for Problem {
    fn from(error: SigningError) -> Self {
        Self::from(&error)
    }
}

impl From<&SigningError> for Problem {
    fn from(error: &SigningError) -> Self {
        let code = error.code();
        match error {
            SigningError::UnknownKey(key) => Self::unknown_key(key.as_str()),
            SigningError::NotActive(_) => {
                let fault = Fault::new("key", code, error.to_string());
                let problem = Self::new(StatusCode::CONFLICT, code, "Key not active", fault.detail.clone());
                Self { errors: vec![fault], ..problem }
            }
            SigningError::NotAServiceKey(key) => Self::key_not_permitted(key),
            SigningError::KeyNotInGroup { .. } => {
                Self::faults(vec![Fault::new("group", code, error.to_string())])
            }
            SigningError::AlgorithmMismatch { .. } => {
                Self::faults(vec![Fault::new("algorithm", code, error.to_string())])
            }
            SigningError::Format(source) => Self::from_format(code, source),
            SigningError::Stamp(_) => {
                Self::new(StatusCode::UNPROCESSABLE_ENTITY, code, "Document not stampable", error.to_string())
            }
            SigningError::SealOutlivesMaker { .. } => {
                Self::faults(vec![Fault::new("valid_until", code, error.to_string())])
            }
            SigningError::Timestamp(source) => Self::from(&**source),
            SigningError::Evidence(_) => Self::faults(vec![Fault::new("level", code, error.to_string())]),
            SigningError::NoSystemKey(_) => Self::unavailable(code, "System key missing", error.to_string()),
            SigningError::Register { .. } => Self::internal(code, with_causes(error)),
            SigningError::Mandate(refusal) => Self::mandate_refused(std::slice::from_ref(refusal)),
            SigningError::OfSignature { number, source } => Self::from(&**source).of_signer(*number),
            SigningError::OuterCode(_) => {
                Self::unavailable(code, "Devices unavailable", "no device opens the mandate's key now")
            }
            SigningError::Database(source) => Self::database(source),
            SigningError::Device(source) => Self::from_device(code, source),
            SigningError::Record(StoreError::Changed { what: store::STAMP, id }) => Self::stamp_exists(id),
            SigningError::Record(source) => Self::record_unavailable(source),
        }
    }
}

impl From<Unstamped> for Problem {
    fn from(Unstamped { error, signed }: Unstamped) -> Self {
        Self::from(&error).after_signing(signed)
    }
}

impl From<CeremonyError> for Problem {
    fn from(error: CeremonyError) -> Self {
        match &error {
            CeremonyError::Store(source) => Self::from_register(source),
            CeremonyError::NotACustodian => {
                Self::new(StatusCode::FORBIDDEN, "not_a_custodian", "Not a custodian", error.to_string())
            }
            CeremonyError::Act(reason) => {
                Self::new(StatusCode::UNPROCESSABLE_ENTITY, "ceremony_not_possible", "Not possible", *reason)
            }
            CeremonyError::Devices(failed) => {
                let title = "The devices failed";
                let problem = Self::new(StatusCode::BAD_GATEWAY, "device_failed", title, error.to_string());
                let said =
                    failed.iter().map(|(device, why)| Fault::new(device.as_str(), "device_failed", why));
                Self { errors: said.collect(), ..problem }
            }
            CeremonyError::Format(source) => {
                Self::faults(vec![Fault::new("subject", "not_signable", source.to_string())])
            }
        }
    }
}

impl Problem {
    fn from_format(code: &'static str, error: &formats::FormatError) -> Self {
        let field = match error {
            formats::FormatError::SignerIdLength(_) => "signer_id",
            formats::FormatError::AlgorithmMismatch { .. } => "algorithm",
            _ => "input",
        };
        Self::faults(vec![Fault::new(field, code, error.to_string())])
    }

    /// What is wrong with a signature or certificate that was given to be judged and cannot be.
    pub(crate) fn not_judgeable(error: &formats::FormatError) -> Self {
        let (field, code) = match error {
            formats::FormatError::SignerIdLength(_) => ("signer_id", "signer_id_length"),
            formats::FormatError::AlgorithmMismatch { .. } => ("algorithm", "algorithm_mismatch"),
            formats::FormatError::UnsupportedKey(_) | formats::FormatError::RsaModulus { .. } => {
                ("certificate", "unsupported_key")
            }
            _ => ("signature", "not_judgeable"),
        };
        Self::faults(vec![Fault::new(field, code, error.to_string())])
    }
}
