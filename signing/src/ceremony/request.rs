//! Asking for a key's certificate.

use config::{DeviceId, KeyId};
use formats::csr::{self, Extension, KeyUsages, RequestPlan};
use formats::scheme::HashAlgorithm;
use formats::{Algorithm, DEFAULT_SIGNER_ID, oid};
use hsm_driver::{Answer, KeyKind, Order};
use store::{AuditEntry, KeyPurpose, KeyState, Spread, StoreError};

use super::material::{from_spki, usual};
use super::{CeremonyError, KeyCeremonies, KeyDevices, Operator};

impl<D: KeyDevices> KeyCeremonies<D> {
    /// A certification request (PKCS #10, PEM) for a copy of a pending or active version, signed by the copy itself
    /// in its device and on record. No custodian is asked: a request gives nothing away.
    ///
    /// # Errors
    /// [`CeremonyError::Store`] for a copy that is not there or is out of use, [`CeremonyError::Format`] for a name
    /// that is none (RFC 4514), [`CeremonyError::Devices`] when no device that should hold it signs.
    pub async fn csr(
        &self,
        by: &Operator,
        (key, version): (&KeyId, u32),
        device: Option<&DeviceId>,
        subject: &str,
    ) -> Result<String, CeremonyError> {
        let (record, found) = self.version(key, version).await?;
        if !matches!(found.state, KeyState::Pending | KeyState::Active) {
            return Err(CeremonyError::Act("a certificate is asked for a pending or active version"));
        }
        let missing = || StoreError::NotFound { what: "copy of key", id: format!("{key} version {version}") };
        let copy = found.copy(device).ok_or_else(missing)?;
        let spki = copy.public_key.as_deref().ok_or_else(missing)?;
        let public_key = from_spki(spki).ok_or_else(missing)?;
        let algorithm = match public_key.kind() {
            KeyKind::Sm2 => Algorithm::Sm2Sm3,
            KeyKind::P256 => Algorithm::EcdsaP256Sha256,
            KeyKind::Rsa2048 => Algorithm::RsaPkcs1Sha256,
        };
        let pending = csr::prepare(RequestPlan {
            subject: subject.to_owned(),
            public_key: formats::PublicKey::from_spki_der(spki)?,
            algorithm,
            extensions: extensions(record.purpose)?,
            // The one that authorities expect.
            signer_id: DEFAULT_SIGNER_ID.to_vec(),
        })?;
        let holders = match (found.spread, device) {
            (Spread::PerDevice, Some(device)) => vec![device.clone()],
            _ => self.devices.members(&record.group),
        };
        let digest = pending.digest();
        let mut failed = std::collections::BTreeMap::new();
        for holder in holders {
            let order = Order::Sign { cka_id: found.cka_id.clone(), algorithm: usual(&public_key), digest };
            let signature = match self.devices.order(&holder, order).await {
                Ok(Answer::Octets(octets)) => public_key.canonical(usual(&public_key), &digest, &octets),
                Ok(_) => None,
                Err(error) => {
                    failed.insert(holder, error.to_string());
                    continue;
                }
            };
            let Some(signature) = signature else {
                failed.insert(holder, "its signature does not verify".to_owned());
                continue;
            };
            let request = pending.finish(&signature)?;
            let entry = AuditEntry {
                action: "key.csr".to_owned(),
                actor: by.name.clone(),
                at: by.at,
                device: Some(holder.to_string()),
                input_digest: Some(hex::encode(digest)),
                key: Some(key.to_string()),
                outcome: "ok".to_owned(),
                request_id: by.request_id.clone(),
                result_digest: Some(hex::encode(HashAlgorithm::Sm3.digest(request.der()))),
                subject: Some(subject.to_owned()),
            };
            self.audit.append(entry).await?;
            return Ok(request.to_pem());
        }
        Err(CeremonyError::Devices(failed))
    }
}

/// What a key of this purpose is to be allowed; the authority decides.
fn extensions(purpose: KeyPurpose) -> Result<Vec<Extension>, CeremonyError> {
    let usages = match purpose {
        KeyPurpose::Service | KeyPurpose::Seal | KeyPurpose::Front | KeyPurpose::Tsa => {
            KeyUsages::DigitalSignature | KeyUsages::NonRepudiation
        }
        KeyPurpose::Ca => KeyUsages::KeyCertSign | KeyUsages::CRLSign,
        KeyPurpose::Tls | KeyPurpose::Token | KeyPurpose::Audit => KeyUsages::DigitalSignature.into(),
        KeyPurpose::Kek | KeyPurpose::Personal => return Ok(Vec::new()),
    };
    let mut extensions = vec![csr::key_usage(usages)?];
    if purpose == KeyPurpose::Tsa {
        extensions.push(csr::extended_key_usage(&[oid::TIME_STAMPING], true)?);
    }
    Ok(extensions)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_timestamp_authority_asks_for_timestamps_alone_and_nobody_else_does() {
        let alone = csr::extended_key_usage(&[oid::TIME_STAMPING], true).unwrap();
        for purpose in [KeyPurpose::Tsa, KeyPurpose::Service, KeyPurpose::Seal, KeyPurpose::Tls] {
            let asked = extensions(purpose).unwrap();
            assert_eq!(asked.contains(&alone), purpose == KeyPurpose::Tsa, "{purpose}");
        }
    }
}
