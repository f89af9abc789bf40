//! Signing: prepare with `formats`, sign with the devices, record with the store, answer.

use std::fmt;
use std::sync::Arc;

use config::{AppId, DeviceId, GroupId, KeyId};
use formats::cms::{self, Content, Family, Pending, SignedDataPlan};
use formats::scheme::HashAlgorithm;
use formats::{Algorithm, FormatError};
use hsm_driver::{Ask, Fleet};
use store::{AuditEntry, AuditLog, KeyPurpose};
use time::OffsetDateTime;

use crate::{KeyRing, SigningError, SigningKey};

/// What is to be signed. `Debug` shows no content.
#[derive(Clone, PartialEq, Eq)]
pub enum Input {
    /// 32 octets. Raw: e for SM2, SHA-256 otherwise. CMS: SM3 or SHA-256 of the content, detached only.
    Digest([u8; 32]),
    /// The message or content itself.
    Data(Vec<u8>),
}

impl fmt::Debug for Input {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Digest(_) => f.write_str("Digest"),
            Self::Data(data) => write!(f, "Data({} octets)", data.len()),
        }
    }
}

/// In what form the signature is wanted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum SignatureFormat {
    /// The signature alone: strict DER for SM2 and ECDSA.
    Raw,
    /// CMS SignedData with signed attributes.
    Cms {
        /// RFC 5652 or GB/T 35275.
        family: Family,
        /// Leave the content out.
        detached: bool,
    },
}

/// A caller's order, checked in form.
#[derive(Debug, Clone)]
pub struct SignOrder {
    /// Which key.
    pub key: KeyId,
    /// The group the caller wants the key to live in, if it says so.
    pub group: Option<GroupId>,
    /// How.
    pub algorithm: Algorithm,
    /// What.
    pub input: Input,
    /// In what form.
    pub format: SignatureFormat,
    /// The identifier in SM2's Z.
    pub signer_id: Vec<u8>,
}

/// Who orders, when, under which request.
#[derive(Debug, Clone)]
pub struct Caller {
    /// The app.
    pub app: AppId,
    /// The request's id.
    pub request_id: String,
    /// The time of the request.
    pub at: OffsetDateTime,
}

/// A signature that verified and is on record.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Receipt {
    /// The signature, or the whole SignedData.
    pub signature: Vec<u8>,
    /// Who made it.
    pub device: DeviceId,
    /// Where it stands in the audit log.
    pub audit_index: u64,
}

/// Signs with the site's keys.
#[derive(Clone)]
pub struct SigningDesk {
    keys: Arc<KeyRing>,
    fleet: Arc<Fleet>,
    audit: AuditLog,
}

impl SigningDesk {
    /// A desk over a fleet that was started with these keys.
    #[must_use]
    pub fn new(keys: Arc<KeyRing>, fleet: Arc<Fleet>, audit: AuditLog) -> Self {
        Self { keys, fleet, audit }
    }

    /// Signs and records; the entry is durable before this returns.
    ///
    /// # Errors
    /// See [`SigningError`]. A refusal by the devices is on record too; whether the caller may use the key
    /// was decided before.
    pub async fn sign(&self, caller: &Caller, order: SignOrder) -> Result<Receipt, SigningError> {
        let key = self.admit(&order)?;
        let prepared = Prepared::new(key, &order, caller.at).map_err(|error| match error {
            // The order was checked in form: what makes no sense now is the key's certificate.
            FormatError::Plan(reason) => {
                SigningError::Register { key: key.id.clone(), reason: reason.to_owned() }
            }
            error => SigningError::Format(error),
        })?;
        let digest = prepared.digest();
        let entry = AuditEntry {
            action: match order.format {
                SignatureFormat::Raw => "signature.raw".to_owned(),
                SignatureFormat::Cms { .. } => "signature.cms".to_owned(),
            },
            actor: caller.app.to_string(),
            at: caller.at,
            device: None,
            input_digest: Some(hex::encode(digest)),
            key: Some(order.key.to_string()),
            outcome: "ok".to_owned(),
            request_id: caller.request_id.clone(),
            result_digest: None,
            subject: None,
        };
        let ask = Ask {
            caller: &caller.app,
            key: &order.key,
            algorithm: device_algorithm(order.algorithm),
            digest,
            deadline: None,
        };
        let signed = match self.fleet.sign(ask).await {
            Ok(signed) => signed,
            Err(error) => {
                let error = SigningError::from(error);
                self.audit.append(AuditEntry { outcome: error.code().to_owned(), ..entry }).await?;
                return Err(error);
            }
        };
        let signature = match prepared.finish(signed.signature) {
            Ok(signature) => signature,
            Err(error) => {
                let error = SigningError::from(error);
                let device = Some(signed.device.to_string());
                self.audit.append(AuditEntry { outcome: error.code().to_owned(), device, ..entry }).await?;
                return Err(error);
            }
        };
        let audit_index = self
            .audit
            .append(AuditEntry {
                device: Some(signed.device.to_string()),
                result_digest: Some(hex::encode(HashAlgorithm::Sm3.digest(&signature))),
                ..entry
            })
            .await?;
        Ok(Receipt { signature, device: signed.device, audit_index })
    }

    fn admit(&self, order: &SignOrder) -> Result<&SigningKey, SigningError> {
        let key = self.keys.get(&order.key).ok_or_else(|| SigningError::UnknownKey(order.key.clone()))?;
        if key.purpose != KeyPurpose::Service {
            return Err(SigningError::NotAServiceKey(key.id.clone()));
        }
        if let Some(group) = order.group.as_ref().filter(|group| **group != key.group) {
            return Err(SigningError::KeyNotInGroup { key: key.id.clone(), group: group.clone() });
        }
        if !key.public_key.supports(order.algorithm) {
            return Err(SigningError::AlgorithmMismatch { key: key.id.clone(), algorithm: order.algorithm });
        }
        Ok(key)
    }
}

/// Settled, waiting for 32 octets to be signed.
enum Prepared {
    Raw([u8; 32]),
    Cms(Box<Pending>),
}

impl Prepared {
    fn new(key: &SigningKey, order: &SignOrder, at: OffsetDateTime) -> Result<Self, FormatError> {
        let SignatureFormat::Cms { family, detached } = order.format else {
            return Ok(Self::Raw(match &order.input {
                Input::Digest(digest) => *digest,
                Input::Data(data) => key.public_key.digest(order.algorithm, &order.signer_id, data)?,
            }));
        };
        let pending = cms::prepare(SignedDataPlan {
            family,
            algorithm: order.algorithm,
            content: order.input.clone().into(),
            detached,
            chain: key.chain.clone(),
            signing_time: at,
            signer_id: order.signer_id.clone(),
        })?;
        Ok(Self::Cms(Box::new(pending)))
    }

    fn digest(&self) -> [u8; 32] {
        match self {
            Self::Raw(digest) => *digest,
            Self::Cms(pending) => pending.digest(),
        }
    }

    fn finish(self, signature: Vec<u8>) -> Result<Vec<u8>, FormatError> {
        match self {
            Self::Raw(_) => Ok(signature),
            Self::Cms(pending) => pending.finish(&signature),
        }
    }
}

impl From<Input> for Content {
    fn from(input: Input) -> Self {
        match input {
            Input::Digest(digest) => Self::Digest(digest),
            Input::Data(data) => Self::Bytes(data),
        }
    }
}

fn device_algorithm(algorithm: Algorithm) -> hsm_driver::Algorithm {
    match algorithm {
        Algorithm::Sm2Sm3 => hsm_driver::Algorithm::Sm2,
        Algorithm::EcdsaP256Sha256 => hsm_driver::Algorithm::EcdsaP256,
        Algorithm::RsaPkcs1Sha256 => hsm_driver::Algorithm::RsaPkcs1,
        Algorithm::RsaPssSha256 => hsm_driver::Algorithm::RsaPss,
    }
}
