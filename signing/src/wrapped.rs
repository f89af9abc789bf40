//! The outer code over wrapped keys.
//!
//! What a device gives when it wraps a key says nothing of whose key it is, and some ways of wrapping keep no
//! integrity at all. So a code over the wrapped key and all that goes with it is stored beside it and checked before
//! a device unwraps it: nobody with the database alone can give one person's key to another.

use hmac::{Hmac, KeyInit, Mac};
use sm3::Sm3;
use store::WrappedKey;
use thiserror::Error;
use zeroize::Zeroizing;

/// Set apart from whatever else is ever computed with the same key.
const DOMAIN: &[u8] = b"license-gateway wrapped key, first form";

/// A wrapped key is not to be used.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
pub enum WrappedKeyError {
    /// The row is not as it was written, or was written under another key.
    #[error("the wrapped key is not what was stored")]
    Altered,
    /// The key was destroyed.
    #[error("the wrapped key is destroyed")]
    Destroyed,
    /// The device unwrapped another key than the one that was asked for.
    #[error("the device unwrapped a key with another public key")]
    OtherKey,
}

/// Makes and checks the codes: HMAC-SM3 (GB/T 15852.2). `Debug` shows nothing of the key.
pub struct WrappedKeySeal {
    key: Zeroizing<[u8; 32]>,
}

impl std::fmt::Debug for WrappedKeySeal {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("WrappedKeySeal")
    }
}

impl WrappedKeySeal {
    /// A seal under this key, which is derived from one in the devices.
    #[must_use]
    pub fn new(key: Zeroizing<[u8; 32]>) -> Self {
        Self { key }
    }

    /// The code over a wrapped key: over everything in it but the code itself and the times.
    #[must_use]
    pub fn code(&self, key: &WrappedKey) -> [u8; 32] {
        self.mac(key).finalize().into_bytes().into()
    }

    /// Checks a wrapped key before it goes to a device; takes the same time wherever the difference is.
    ///
    /// # Errors
    /// [`WrappedKeyError::Destroyed`], [`WrappedKeyError::Altered`].
    pub fn check(&self, key: &WrappedKey) -> Result<(), WrappedKeyError> {
        if key.destroyed_at.is_some() || key.blob.is_empty() {
            return Err(WrappedKeyError::Destroyed);
        }
        self.mac(key).verify_slice(&key.mac).map_err(|_| WrappedKeyError::Altered)
    }

    fn mac(&self, key: &WrappedKey) -> Hmac<Sm3> {
        let mut mac = <Hmac<Sm3> as KeyInit>::new_from_slice(&self.key[..])
            .expect("HMAC takes a key of any length (RFC 2104)");
        for field in [
            DOMAIN,
            key.id.as_str().as_bytes(),
            key.owner.as_bytes(),
            key.group.as_str().as_bytes(),
            key.wrapping_key.id.as_str().as_bytes(),
            &key.wrapping_key.version.to_be_bytes(),
            key.algorithm.as_bytes(),
            &key.public_key,
            &key.blob,
        ] {
            // The length before each field: no octet can move from one to the next.
            mac.update(&(field.len() as u64).to_be_bytes());
            mac.update(field);
        }
        mac
    }
}

/// Compares the public key of what a device unwrapped (SubjectPublicKeyInfo, DER) with the stored one.
///
/// # Errors
/// [`WrappedKeyError::OtherKey`].
pub fn same_key(stored: &WrappedKey, unwrapped: &[u8]) -> Result<(), WrappedKeyError> {
    if stored.public_key == unwrapped { Ok(()) } else { Err(WrappedKeyError::OtherKey) }
}

#[cfg(test)]
mod tests {
    use config::{GroupId, KeyId};
    use store::WrappingKey;
    use time::OffsetDateTime;

    use super::*;

    fn seal(octet: u8) -> WrappedKeySeal {
        WrappedKeySeal::new(Zeroizing::new([octet; 32]))
    }

    fn id(text: &str) -> KeyId {
        KeyId::parse(text).unwrap()
    }

    fn wrapped() -> WrappedKey {
        let mut key = WrappedKey {
            id: id("p-1"),
            owner: "person-1".into(),
            group: GroupId::parse("bureau").unwrap(),
            wrapping_key: WrappingKey { id: id("sys-kek"), version: 3 },
            algorithm: "sm2".into(),
            public_key: vec![0x30, 0x59, 7],
            blob: vec![1, 2, 3],
            mac: [0; 32],
            created_at: OffsetDateTime::UNIX_EPOCH,
            destroyed_at: None,
        };
        key.mac = seal(1).code(&key);
        key
    }

    #[test]
    fn what_was_sealed_passes_and_the_times_are_free() {
        assert_eq!(seal(1).check(&wrapped()), Ok(()));
        let mut later = wrapped();
        later.created_at += time::Duration::days(1);
        assert_eq!(seal(1).check(&later), Ok(()));
    }

    type Change = fn(&mut WrappedKey);

    #[test]
    fn a_change_in_any_field_or_of_the_key_is_seen() {
        let changes: [(&str, Change); 10] = [
            ("id", |key| key.id = id("p-2")),
            ("owner", |key| key.owner = "person-2".into()),
            ("group", |key| key.group = GroupId::parse("portal").unwrap()),
            ("wrapping key", |key| key.wrapping_key.id = id("sys-kek-2")),
            ("wrapping key version", |key| key.wrapping_key.version = 4),
            ("algorithm", |key| key.algorithm = "p256".into()),
            ("public key", |key| key.public_key[2] ^= 1),
            ("blob", |key| key.blob[0] ^= 0x80),
            ("blob's length", |key| key.blob.push(0)),
            ("code", |key| key.mac[31] ^= 1),
        ];
        for (field, change) in changes {
            let mut altered = wrapped();
            change(&mut altered);
            assert_eq!(seal(1).check(&altered), Err(WrappedKeyError::Altered), "{field}");
        }
        assert_eq!(seal(2).check(&wrapped()), Err(WrappedKeyError::Altered));
    }

    #[test]
    fn octets_cannot_move_from_one_field_to_the_next() {
        let code = |id_text: &str, owner: &str, public_key: &[u8], blob: &[u8]| {
            let (public_key, blob) = (public_key.to_vec(), blob.to_vec());
            seal(1).code(&WrappedKey { id: id(id_text), owner: owner.into(), public_key, blob, ..wrapped() })
        };
        let first = code("p-1", "1x", &[1, 2], &[3]);
        assert_ne!(first, code("p-11", "x", &[1, 2], &[3]));
        assert_ne!(first, code("p-1", "1x", &[1], &[2, 3]));
    }

    #[test]
    fn a_destroyed_key_is_refused_even_with_its_blob_put_back() {
        let mut destroyed = wrapped();
        destroyed.destroyed_at = Some(OffsetDateTime::UNIX_EPOCH);
        assert_eq!(seal(1).check(&destroyed), Err(WrappedKeyError::Destroyed));
        let emptied = WrappedKey { blob: Vec::new(), ..wrapped() };
        assert_eq!(seal(1).check(&emptied), Err(WrappedKeyError::Destroyed));
    }

    #[test]
    fn another_unwrapped_key_is_refused() {
        assert_eq!(same_key(&wrapped(), &[0x30, 0x59, 7]), Ok(()));
        assert_eq!(same_key(&wrapped(), &[0x30, 0x59, 8]), Err(WrappedKeyError::OtherKey));
    }

    #[test]
    fn the_code_is_hmac_sm3() {
        // GM/T 0042-2015, appendix: HMAC-SM3 of "abc…" with a key of the octets 01 to 20.
        let key: Vec<u8> = (1..=32).collect();
        let text = b"abcdbcdecdefdefgefghfghighijhijkijkljklmklmnlmnomnopnopqabcdbcdecdefdefgefghfghighijhijkijkljklmklmnlmnomnopnopq";
        let mut mac = <Hmac<Sm3> as KeyInit>::new_from_slice(&key).unwrap();
        mac.update(text);
        let hex = hex::encode(mac.finalize().into_bytes());
        assert_eq!(hex, "ca05e144ed05d1857840d1f318a4a8669e559fc8391f414485bfdf7bb408963a");
    }
}
