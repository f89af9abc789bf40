//! Signing with the site's own keys: access tokens, audit checkpoints and whatever else the gateway says for itself.
//!
//! A key is found by its purpose. What callers send never comes here, and keys that act for somebody else (`service`,
//! `personal`) or do not sign at all (`kek`) are never taken.

use std::sync::Arc;
use std::time::Instant;

use arc_swap::ArcSwap;
use config::{AppId, DeviceId, KeyId, OwnName};
use formats::{Algorithm, DEFAULT_SIGNER_ID, PublicKey};
use hsm_driver::{Fleet, HsmError, Signed};
use store::KeyPurpose;

use crate::sign::{Turn, in_rotation, in_turn};
use crate::{KeyRing, SigningCopy, SigningError, SigningKey};

/// Signs with system keys. Clones share the keys; it outlives reloads of the configuration.
#[derive(Clone)]
pub struct SystemDesk {
    keys: Arc<ArcSwap<KeyRing>>,
    fleet: Arc<Fleet>,
    /// Whom the devices' lines know it by.
    pub(crate) name: AppId,
}

/// A signature by a system key. It verified; it is not in the audit log by itself.
#[derive(Debug, Clone)]
pub struct SystemSignature {
    /// Strict DER for SM2 and ECDSA, the octets of the integer for RSA.
    pub signature: Vec<u8>,
    /// How it was made.
    pub algorithm: Algorithm,
    /// The key.
    pub key: KeyId,
    /// Its version.
    pub version: u32,
    /// The copy: its public key verifies the signature.
    pub copy: SigningCopy,
    /// The device.
    pub device: DeviceId,
}

impl SystemDesk {
    /// A desk over a fleet that was started with these keys.
    #[must_use]
    pub fn new(keys: Arc<KeyRing>, fleet: Arc<Fleet>) -> Self {
        let name = AppId::of(OwnName::System);
        Self { keys: Arc::new(ArcSwap::new(keys)), fleet, name }
    }

    /// The keys as they are now.
    #[must_use]
    pub fn keys(&self) -> Arc<KeyRing> {
        self.keys.load_full()
    }

    /// Changes the keys. The fleet has to know the new ones before.
    pub fn replace_keys(&self, keys: Arc<KeyRing>) {
        self.keys.store(keys);
    }

    /// Signs with the site's key of this purpose; of several, with the first by name that a device can serve.
    ///
    /// `message` is told which copy is going to sign, so that it can name its key; it is asked again for each copy that
    /// is tried. SM2 signs under the default identifier, RSA by RSASSA-PKCS1-v1_5.
    ///
    /// # Errors
    /// [`SigningError::NoSystemKey`] when the site has no key for it, [`SigningError::Device`] when no device signs
    /// within the site's deadline.
    pub async fn sign(
        &self,
        purpose: KeyPurpose,
        message: impl Fn(&SigningKey, &SigningCopy) -> Vec<u8>,
    ) -> Result<SystemSignature, SigningError> {
        self.sign_by(purpose, |_| true, message).await
    }

    /// The same, by those of its keys only that fit.
    ///
    /// # Errors
    /// As of [`sign`](Self::sign).
    pub(crate) async fn sign_by(
        &self,
        purpose: KeyPurpose,
        fits: impl Fn(&SigningKey) -> bool,
        message: impl Fn(&SigningKey, &SigningCopy) -> Vec<u8>,
    ) -> Result<SystemSignature, SigningError> {
        let ring = self.keys();
        let copies = self.copies(&ring, purpose, fits)?;
        let (turn, signed) = self
            .ask(&self.name, None, copies, |(key, copy)| {
                let algorithm = algorithm(key, &copy.public_key)?;
                let digest = copy.public_key.digest(algorithm, DEFAULT_SIGNER_ID, &message(key, copy))?;
                Ok(Turn { copy, algorithm, digest, prepared: key })
            })
            .await?;
        let (Turn { copy, algorithm, prepared: key, .. }, signed) = (turn, signed?);
        Ok(SystemSignature {
            signature: signed.signature,
            algorithm,
            key: key.id.clone(),
            version: key.current.version,
            copy: copy.clone(),
            device: signed.device,
        })
    }

    /// The copies of the site's keys of this purpose that fit, those first that a device can serve; where none can, the
    /// first one's refusal says what is wrong.
    pub(crate) fn copies<'k>(
        &self,
        ring: &'k KeyRing,
        purpose: KeyPurpose,
        fits: impl Fn(&SigningKey) -> bool,
    ) -> Result<Vec<(&'k SigningKey, &'k SigningCopy)>, SigningError> {
        let of_purpose = |key: &&SigningKey| key.purpose == purpose && is_system(purpose) && fits(key);
        let keys: Vec<_> = ring.iter().filter(of_purpose).collect();
        let first = keys.first().ok_or(SigningError::NoSystemKey(purpose))?;
        let mut usable = Vec::new();
        for key in &keys {
            usable.extend(in_rotation(&self.fleet, &key.current.copies).into_iter().map(|copy| (*key, copy)));
        }
        if usable.is_empty() {
            usable.push((first, first.shown()));
        }
        Ok(usable)
    }

    /// Has one of the copies sign what `prepare` makes for it, in turn. There must be one.
    pub(crate) async fn ask<'k, P>(
        &self,
        line: &AppId,
        until: Option<Instant>,
        copies: Vec<(&'k SigningKey, &'k SigningCopy)>,
        prepare: impl Fn((&'k SigningKey, &'k SigningCopy)) -> Result<Turn<'k, P>, SigningError>,
    ) -> Result<(Turn<'k, P>, Result<Signed, HsmError>), SigningError> {
        let mut copies = copies.into_iter();
        let first = copies.next().expect("there is a copy to be asked");
        in_turn(&self.fleet, line, until, first, copies, prepare).await
    }
}

/// Whether the gateway itself signs with keys of this purpose.
fn is_system(purpose: KeyPurpose) -> bool {
    match purpose {
        KeyPurpose::Token
        | KeyPurpose::Audit
        | KeyPurpose::Tsa
        | KeyPurpose::Seal
        | KeyPurpose::Ca
        | KeyPurpose::Tls
        | KeyPurpose::Front => true,
        KeyPurpose::Service | KeyPurpose::Personal | KeyPurpose::Kek => false,
    }
}

/// How a system key signs.
pub(crate) fn algorithm(key: &SigningKey, public_key: &PublicKey) -> Result<Algorithm, SigningError> {
    let all = [Algorithm::Sm2Sm3, Algorithm::EcdsaP256Sha256, Algorithm::RsaPkcs1Sha256];
    let fits = all.into_iter().find(|algorithm| public_key.supports(*algorithm));
    let reason = || format!("devices do not sign with {} keys", public_key.kind());
    fits.ok_or_else(|| SigningError::Register { key: key.id.clone(), reason: reason() })
}
