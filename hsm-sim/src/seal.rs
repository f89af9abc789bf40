//! How a token keeps its secrets on disk: AES-256-GCM under a token key, which is itself kept once under the
//! security officer's PIN and once under the user's.
//!
//! The password hash is deliberately cheap: this is a simulator, started thousands of times a day by tests.

use aes_gcm::{Aes256Gcm, KeyInit, aead::Aead, aead::Payload};
use pbkdf2::pbkdf2_hmac;
use serde::{Deserialize, Serialize};
use sha2::Sha256;
use zeroize::Zeroizing;

use crate::error::{Error, Result};

const ITERATIONS: u32 = 2_000;
const MOST_ITERATIONS: u32 = 10_000_000;
const NONCE: usize = 12;

/// Fills an array with random octets.
pub(crate) fn random<const N: usize>() -> Result<[u8; N]> {
    let mut octets = [0; N];
    getrandom::fill(&mut octets).map_err(|_| Error::DeviceError)?;
    Ok(octets)
}

/// The key that seals a token's secrets.
pub(crate) struct TokenKey(Zeroizing<[u8; 32]>);

/// A token key under a PIN. That it opens proves the PIN.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct PinLock {
    iterations: u32,
    salt: String,
    sealed: String,
}

impl TokenKey {
    pub(crate) fn generate() -> Result<Self> {
        Ok(Self(Zeroizing::new(random()?)))
    }

    /// Seals; `context` must be the same to open.
    pub(crate) fn seal(&self, context: &[u8], plaintext: &[u8]) -> Result<Vec<u8>> {
        let nonce = random::<NONCE>()?;
        let payload = Payload { msg: plaintext, aad: context };
        let sealed = self.cipher().encrypt(&nonce.into(), payload).map_err(|_| Error::FunctionFailed)?;
        Ok([nonce.as_slice(), &sealed].concat())
    }

    /// Opens what was sealed with the same context; `None` if anything was changed.
    pub(crate) fn open(&self, context: &[u8], sealed: &[u8]) -> Option<Zeroizing<Vec<u8>>> {
        let (nonce, ciphertext) = sealed.split_first_chunk::<NONCE>()?;
        let payload = Payload { msg: ciphertext, aad: context };
        self.cipher().decrypt(&(*nonce).into(), payload).ok().map(Zeroizing::new)
    }

    fn cipher(&self) -> Aes256Gcm {
        Aes256Gcm::new(&(*self.0).into())
    }

    fn from_pin(pin: &[u8], salt: &[u8], iterations: u32) -> Self {
        let mut key = Zeroizing::new([0; 32]);
        pbkdf2_hmac::<Sha256>(pin, salt, iterations, key.as_mut_slice());
        Self(key)
    }
}

impl PinLock {
    /// Locks the token key under a PIN.
    pub(crate) fn lock(pin: &[u8], key: &TokenKey) -> Result<Self> {
        let salt = random::<16>()?;
        let sealed = TokenKey::from_pin(pin, &salt, ITERATIONS).seal(&salt, key.0.as_slice())?;
        Ok(Self { iterations: ITERATIONS, salt: hex::encode(salt), sealed: hex::encode(sealed) })
    }

    /// The token key, if the PIN is right.
    pub(crate) fn unlock(&self, pin: &[u8]) -> Option<TokenKey> {
        if !(1..=MOST_ITERATIONS).contains(&self.iterations) {
            return None;
        }
        let (salt, sealed) = (hex::decode(&self.salt).ok()?, hex::decode(&self.sealed).ok()?);
        let key = TokenKey::from_pin(pin, &salt, self.iterations).open(&salt, &sealed)?;
        Some(TokenKey(Zeroizing::new(key.as_slice().try_into().ok()?)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_pin_opens_its_own_lock_and_no_other() {
        let key = TokenKey::generate().unwrap();
        let lock = PinLock::lock(b"1234", &key).unwrap();
        assert_eq!(*lock.unlock(b"1234").unwrap().0, *key.0);
        assert!(lock.unlock(b"1235").is_none());
    }

    #[test]
    fn sealed_octets_open_only_unchanged_and_in_their_context() {
        let key = TokenKey::generate().unwrap();
        let mut sealed = key.seal(b"object 1", b"secret").unwrap();
        assert_eq!(*key.open(b"object 1", &sealed).unwrap(), b"secret");
        assert!(key.open(b"object 2", &sealed).is_none());
        assert!(key.open(b"object 1", &sealed[..5]).is_none());
        sealed[NONCE] ^= 1;
        assert!(key.open(b"object 1", &sealed).is_none());
    }
}
