//! Hashes and HMAC.

use hmac::{Hmac, KeyInit, Mac};
use sha1::{Digest, Sha1};
use sha2::{Sha256, Sha384, Sha512};
use sm3::Sm3;

use crate::{
    error::{Error, Result},
    mechanism::Hash,
};

pub(crate) fn digest(hash: Hash, data: &[u8]) -> Vec<u8> {
    match hash {
        Hash::Sha1 => Sha1::digest(data).to_vec(),
        Hash::Sha256 => Sha256::digest(data).to_vec(),
        Hash::Sha384 => Sha384::digest(data).to_vec(),
        Hash::Sha512 => Sha512::digest(data).to_vec(),
        Hash::Sm3 => Sm3::digest(data).to_vec(),
    }
}

pub(crate) fn hmac(hash: Hash, key: &[u8], data: &[u8]) -> Result<Vec<u8>> {
    match hash {
        Hash::Sha256 => Ok(keyed::<Hmac<Sha256>>(key)?.chain_update(data).finalize().into_bytes().to_vec()),
        Hash::Sm3 => Ok(keyed::<Hmac<Sm3>>(key)?.chain_update(data).finalize().into_bytes().to_vec()),
        Hash::Sha1 | Hash::Sha384 | Hash::Sha512 => Err(Error::MechanismInvalid),
    }
}

pub(crate) fn hmac_verify(hash: Hash, key: &[u8], data: &[u8], tag: &[u8]) -> Result<()> {
    if tag.len() != hash.digest_len() {
        return Err(Error::SignatureLenRange);
    }
    let verdict = match hash {
        Hash::Sha256 => keyed::<Hmac<Sha256>>(key)?.chain_update(data).verify_slice(tag),
        Hash::Sm3 => keyed::<Hmac<Sm3>>(key)?.chain_update(data).verify_slice(tag),
        Hash::Sha1 | Hash::Sha384 | Hash::Sha512 => return Err(Error::MechanismInvalid),
    };
    verdict.map_err(|_| Error::SignatureInvalid)
}

fn keyed<M: KeyInit>(key: &[u8]) -> Result<M> {
    M::new_from_slice(key).map_err(|_| Error::KeySizeRange)
}
