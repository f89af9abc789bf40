//! Signatures that a license's key made on its holder's phone, put into what is stamped. No key of the site has a part in them.

use config::{DeviceId, KeyId};
use formats::cms::{self, Family, SignedDataPlan};
use formats::scheme::HashAlgorithm;
use formats::{Algorithm, Certificate, DEFAULT_SIGNER_ID};

use crate::sign::Made;
use crate::{SignOrder, SignatureFormat, SigningError, StampSubject};

/// Where a license's key is, as record and answers call it.
const DEVICE: &str = "phone";

/// A license's key, and what it signed.
#[derive(Debug, Clone)]
pub struct LicenseSigner {
    key: KeyId,
    device: DeviceId,
    certificate: Certificate,
    /// DER.
    signature: Vec<u8>,
}

impl LicenseSigner {
    /// The signer of a SignedData of GB/T 35275 that a license's key made of a digest, without a time.
    ///
    /// # Errors
    /// [`SigningError::Format`] of what is no SignedData with one signer.
    pub fn new(certificate: Certificate, signed: &[u8]) -> Result<Self, SigningError> {
        let signature = cms::signature_value(signed)?;
        let digest = hex::encode(HashAlgorithm::Sm3.digest(certificate.der()));
        let unnamed = || SigningError::Stamp("cannot be named after its signer");
        let key = KeyId::parse(&format!("license.{}", &digest[..16])).map_err(|_| unnamed())?;
        let device = DeviceId::parse(DEVICE).map_err(|_| unnamed())?;
        Ok(Self { key, device, certificate, signature })
    }

    /// What record and register call the key: `license.` and the beginning of SM3 of its certificate.
    #[must_use]
    pub fn key(&self) -> &KeyId {
        &self.key
    }

    /// The license.
    #[must_use]
    pub fn certificate(&self) -> &Certificate {
        &self.certificate
    }

    /// The SignedData that an order wants, of the signature that is there.
    ///
    /// # Errors
    /// The order wants another form. A signature over something else is told with what was to be signed.
    pub(crate) fn signed(&self, order: &SignOrder) -> Result<Made, SigningError> {
        let detached = match order.format {
            SignatureFormat::Cms { detached, .. } => detached,
            SignatureFormat::Pdf { .. } => true,
            SignatureFormat::Raw | SignatureFormat::Seal { .. } => {
                return Err(SigningError::Stamp("takes no signature that a license's key made on a phone"));
            }
        };
        let pending = cms::prepare(SignedDataPlan {
            family: Family::Gbt35275,
            algorithm: Algorithm::Sm2Sm3,
            content: order.input.clone().into(),
            detached,
            chain: vec![self.certificate.clone()],
            signing_time: None,
            signer_id: DEFAULT_SIGNER_ID.to_vec(),
        })?;
        let digest = pending.digest();
        let signed = match pending.finish(&self.signature) {
            Ok(cms) => Ok((self.device.clone(), cms)),
            Err(error) => Err((Some(self.device.clone()), error.into())),
        };
        let certificate = Some(self.certificate.clone());
        Ok(Made { key: self.key.clone(), version: 1, certificate, digest, signed })
    }
}

impl StampSubject {
    /// The digest in the signed attributes of a signature of SM2 over it: what somebody signs who signs elsewhere.
    ///
    /// # Errors
    /// It was digested for another algorithm.
    pub fn message_digest(&self) -> Result<[u8; 32], SigningError> {
        match self {
            Self::Pdf { prepared, .. } => {
                let digest = prepared.digest().try_into();
                digest.map_err(|_| SigningError::Stamp("was digested otherwise"))
            }
            Self::Ofd { prepared, .. } => {
                let digest = HashAlgorithm::Sm3.digest(&prepared.digest()).try_into();
                digest.map_err(|_| SigningError::Stamp("was digested otherwise"))
            }
            Self::Digest(digest) => Ok(*digest),
            Self::List(_) => Err(SigningError::Stamp("is a list, which is not signed elsewhere")),
        }
    }
}
