//! The site's keys as the signing services know them.

use std::collections::BTreeMap;

use config::{GroupId, KeyId};
use formats::{Certificate, PublicKey};
use hsm_driver::KeySpec;
use store::{KeyPurpose, KeyRecord};

use crate::SigningError;

/// One key: what it is for and which certificates speak for it. The private half lives in devices only.
#[derive(Debug, Clone)]
pub struct SigningKey {
    /// Its name.
    pub id: KeyId,
    /// The wall it lives behind.
    pub group: GroupId,
    /// Its one purpose.
    pub purpose: KeyPurpose,
    /// The public key that its certificate names.
    pub public_key: PublicKey,
    /// Certificates, the key's own first.
    pub chain: Vec<Certificate>,
    cka_id: Vec<u8>,
}

/// The keys of a site that can sign.
#[derive(Debug, Default)]
pub struct KeyRing(BTreeMap<KeyId, SigningKey>);

impl KeyRing {
    /// Reads the register. A key that cannot sign, such as one without a certificate, costs that key only: it is
    /// left out and answered as a [`SigningError::Register`] that names it.
    #[must_use]
    pub fn load(records: Vec<KeyRecord>) -> (Self, Vec<SigningError>) {
        let (mut keys, mut left_out) = (BTreeMap::new(), Vec::new());
        for record in records {
            match SigningKey::load(record).and_then(|key| key.spec().map(|_| key)) {
                Ok(key) => drop(keys.insert(key.id.clone(), key)),
                Err(error) => left_out.push(error),
            }
        }
        (Self(keys), left_out)
    }

    /// A key by name.
    #[must_use]
    pub fn get(&self, id: &KeyId) -> Option<&SigningKey> {
        self.0.get(id)
    }

    /// All keys, by name.
    pub fn iter(&self) -> impl Iterator<Item = &SigningKey> {
        self.0.values()
    }

    /// What the fleet has to know.
    ///
    /// # Errors
    /// [`SigningError::Register`] for a key no device can hold.
    pub fn specs(&self) -> Result<Vec<KeySpec>, SigningError> {
        self.iter().map(SigningKey::spec).collect()
    }
}

impl SigningKey {
    fn load(record: KeyRecord) -> Result<Self, SigningError> {
        let register = |reason: String| SigningError::Register { key: record.id.clone(), reason };
        let chain = Certificate::many_from_pem(&record.certificate_chain)
            .map_err(|error| register(error.to_string()))?;
        let certificate = chain.first().ok_or_else(|| register("it has no certificate".to_owned()))?;
        let public_key = certificate.public_key().map_err(|error| register(error.to_string()))?;
        Ok(Self {
            id: record.id,
            group: record.group,
            purpose: record.purpose,
            public_key,
            chain,
            cka_id: record.cka_id,
        })
    }

    fn spec(&self) -> Result<KeySpec, SigningError> {
        let public_key = match &self.public_key {
            PublicKey::Sm2(point) => Some(hsm_driver::PublicKey::Sm2(point.to_sec1().to_vec())),
            PublicKey::P256(point) => Some(hsm_driver::PublicKey::P256(point.as_sec1().to_vec())),
            PublicKey::Rsa(key) => hsm_driver::PublicKey::rsa_from_pkcs1(key.as_pkcs1()),
            PublicKey::P384(_) => None,
        };
        let reason = || format!("devices do not sign with {} keys", self.public_key.kind());
        Ok(KeySpec {
            id: self.id.clone(),
            group: self.group.clone(),
            cka_id: self.cka_id.clone(),
            devices: None,
            public_key: public_key
                .ok_or_else(|| SigningError::Register { key: self.id.clone(), reason: reason() })?,
        })
    }

    /// All certificates as PEM, the key's own first.
    #[must_use]
    pub fn chain_pem(&self) -> String {
        self.chain.iter().map(Certificate::to_pem).collect()
    }
}
