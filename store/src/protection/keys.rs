//! Data keys: what protects rows and cells, in memory.

use aes_gcm::aead::{Aead, Payload};
use aes_gcm::aes::cipher::consts::U12;
use aes_gcm::{AesGcm, Nonce};
use hmac::{Hmac, KeyInit, Mac};
use sm3::Sm3;
use sm4::Sm4;
use zeroize::Zeroizing;

use super::row::push;
use crate::StoreError;

/// SM4-GCM (RFC 8998) with a nonce of 96 bits.
type Sm4Gcm = AesGcm<Sm4, U12>;

const NONCE: usize = 12;

/// One version of a site's data key. `Debug` shows the version only.
#[derive(Clone)]
pub struct DataKey {
    version: u32,
    cipher: Sm4Gcm,
    index: Zeroizing<[u8; 32]>,
    rows: Zeroizing<[u8; 32]>,
}

/// All versions in use.
#[derive(Debug, Clone)]
pub struct DataKeys {
    /// Newest first.
    keys: Vec<DataKey>,
    /// Place of the one that new values are made under.
    used: usize,
}

impl DataKeys {
    /// The keys of these versions, the newest for new values and all for old ones; none without any.
    #[must_use]
    pub fn new(mut keys: Vec<DataKey>) -> Option<Self> {
        keys.sort_by_key(|key| std::cmp::Reverse(key.version));
        (!keys.is_empty()).then_some(Self { keys, used: 0 })
    }

    /// The same; new values are made under this version, if it is one of them.
    #[must_use]
    pub fn using(self, version: u32) -> Self {
        let used = self.keys.iter().position(|key| key.version == version).unwrap_or(self.used);
        Self { used, ..self }
    }

    pub(super) fn used(&self) -> &DataKey {
        &self.keys[self.used]
    }

    pub(super) fn newest_first(&self) -> impl Iterator<Item = &DataKey> {
        self.keys.iter()
    }

    pub(super) fn version(&self, version: u32) -> Option<&DataKey> {
        self.newest_first().find(|key| key.version == version)
    }
}

impl DataKey {
    /// The key of a version from its 32 secret octets. Each use has a key of its own, HMAC-SM3 of its name under
    /// the secret.
    #[must_use]
    pub fn new(version: u32, secret: &[u8; 32]) -> Self {
        let derived =
            |name: &str| Zeroizing::new(code(secret, &[b"license-gateway data key", name.as_bytes()]));
        let cells = derived("cells");
        let cipher = <Sm4Gcm as KeyInit>::new_from_slice(&cells[..16]);
        Self {
            version,
            cipher: cipher.expect("SM4 takes a key of 16 octets"),
            index: derived("index"),
            rows: derived("rows"),
        }
    }

    /// Its number, from 1.
    #[must_use]
    pub fn version(&self) -> u32 {
        self.version
    }

    /// Nonce, ciphertext and tag. Nonces are random: of 2³² values under one version two share one with a chance
    /// below 2⁻³², so a version is to be replaced before.
    pub(super) fn encrypt(&self, additional_data: &[u8], value: &[u8]) -> Result<Vec<u8>, StoreError> {
        let mut nonce = [0; NONCE];
        getrandom::fill(&mut nonce).map_err(|_| StoreError::Interrupted)?;
        let payload = Payload { msg: value, aad: additional_data };
        let sealed =
            self.cipher.encrypt(&Nonce::from(nonce), payload).map_err(|_| StoreError::Interrupted)?;
        Ok([&nonce[..], &sealed].concat())
    }

    pub(super) fn decrypt(&self, additional_data: &[u8], sealed: &[u8]) -> Option<Zeroizing<Vec<u8>>> {
        let (nonce, sealed) = sealed.split_first_chunk::<NONCE>()?;
        let payload = Payload { msg: sealed, aad: additional_data };
        self.cipher.decrypt(&Nonce::from(*nonce), payload).ok().map(Zeroizing::new)
    }

    pub(super) fn index(&self, parts: &[&[u8]]) -> [u8; 32] {
        code(&self.index, parts)
    }

    pub(super) fn row_code(&self, row: &[u8]) -> [u8; 32] {
        code(&self.rows, &[row])
    }

    /// Takes the same time wherever the difference is.
    pub(super) fn row_code_is(&self, row: &[u8], claimed: &[u8]) -> bool {
        mac(&self.rows, &[row]).verify_slice(claimed).is_ok()
    }
}

impl std::fmt::Debug for DataKey {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("DataKey").field("version", &self.version).finish_non_exhaustive()
    }
}

fn code(key: &[u8; 32], parts: &[&[u8]]) -> [u8; 32] {
    mac(key, parts).finalize().into_bytes().into()
}

/// HMAC-SM3 (GB/T 15852.2) over parts, each with its length before it.
fn mac(key: &[u8; 32], parts: &[&[u8]]) -> Hmac<Sm3> {
    let mut mac =
        <Hmac<Sm3> as KeyInit>::new_from_slice(key).expect("HMAC takes a key of any length (RFC 2104)");
    for part in parts {
        let mut framed = Vec::with_capacity(8 + part.len());
        push(&mut framed, part);
        mac.update(&framed);
    }
    mac
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_cipher_is_sm4_gcm() {
        // RFC 8998, appendix A.1.
        let octets = |text: &str| -> Vec<u8> {
            (0..text.len()).step_by(2).map(|at| u8::from_str_radix(&text[at..at + 2], 16).unwrap()).collect()
        };
        let key = octets("0123456789abcdeffedcba9876543210");
        let cipher = <Sm4Gcm as KeyInit>::new_from_slice(&key).unwrap();
        let nonce: [u8; 12] = octets("00001234567800000000abcd").try_into().unwrap();
        let message = octets(
            "aaaaaaaaaaaaaaaabbbbbbbbbbbbbbbbccccccccccccccccddddddddddddddddeeeeeeeeeeeeeeeeffffffffffffffff\
             eeeeeeeeeeeeeeeeaaaaaaaaaaaaaaaa",
        );
        let aad = octets("feedfacedeadbeeffeedfacedeadbeefabaddad2");
        let sealed = cipher.encrypt(&Nonce::from(nonce), Payload { msg: &message, aad: &aad }).unwrap();
        let wanted = octets(
            "17f399f08c67d5ee19d0dc9969c4bb7d5fd46fd3756489069157b282bb200735d82710ca5c22f0ccfa7cbf93d496ac15\
             a56834cbcf98c397b4024a2691233b8d83de3541e4c2b58177e065a9bf7b62ec",
        );
        assert_eq!(sealed, wanted);
    }
}
