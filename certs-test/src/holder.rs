//! The key of a test license, read back for who plays its holder's phone.

use std::fmt;

use formats::Certificate;
use p256::pkcs8::{DecodePrivateKey as _, EncodePublicKey as _};

use crate::error::CertsTestError;
use crate::key::SoftwareKey;

/// What stands in the issuer's name of every license that is made here, and in that of no real one.
const MARK: &str = "TEST ONLY";
/// The signer id that holders sign with (GM/T 0009).
const SIGNER_ID: &str = "1234567812345678";

/// The key of a license that this crate made. `Debug` shows nothing of it.
pub struct HolderKey(SoftwareKey);

impl HolderKey {
    /// Reads a license's key: `license` is its certificate in DER, `key` the key as PKCS#8 in PEM.
    ///
    /// # Errors
    /// [`CertsTestError::NotForTests`] of a license that somebody else issued; [`CertsTestError::Holder`] if there is no
    /// license, or no key of it.
    pub fn of(license: &[u8], key: &str) -> Result<Self, CertsTestError> {
        let license = Certificate::from_der(license).map_err(|_| CertsTestError::Holder)?;
        if !license.issuer().contains(MARK) {
            return Err(CertsTestError::NotForTests);
        }
        let secret = sm2::SecretKey::from_pkcs8_pem(key).map_err(|_| CertsTestError::Holder)?;
        let certified = license.public_key().map_err(|_| CertsTestError::Holder)?;
        let own = secret.public_key().to_public_key_der().map_err(|_| CertsTestError::Holder)?;
        if certified.spki_der() != own.as_bytes() {
            return Err(CertsTestError::Holder);
        }
        let key = sm2::dsa::SigningKey::new(SIGNER_ID, &secret).map_err(|_| CertsTestError::Holder)?;
        Ok(Self(SoftwareKey::Sm2(key)))
    }

    /// Its SM2 signature over a message, DER, with the usual signer id.
    ///
    /// # Errors
    /// The signature failed, which a good key's does not.
    pub fn sign(&self, message: &[u8]) -> Result<Vec<u8>, CertsTestError> {
        self.0.sign(message)
    }
}

impl fmt::Debug for HolderKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("HolderKey(..)")
    }
}
