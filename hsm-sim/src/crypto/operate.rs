//! One mechanism, one key, one input, one output.

use super::{
    Key,
    cipher::{self, Direction},
    der,
    digest::{digest, hmac, hmac_verify},
    ec,
    rsa::{Padding, Scheme},
    sm2,
};
use crate::{
    error::{Error, Result},
    mechanism::{Block, Call, Encoding, Hash, KeyKind, Mechanism, Parameter, Sm2Input, Usage},
};

/// Refuses a key or a parameter that the mechanism cannot work with.
pub(crate) fn check(call: &Call, usage: Usage, key: &Key) -> Result<()> {
    let uses_private = matches!(usage, Usage::Sign | Usage::Decrypt | Usage::Unwrap | Usage::Derive);
    let suits = match (call.mechanism, key) {
        (
            Mechanism::RsaPkcs
            | Mechanism::RsaPkcsHash(_)
            | Mechanism::RsaPss
            | Mechanism::RsaPssHash(_)
            | Mechanism::RsaOaep,
            key,
        ) => {
            matches!(key, Key::RsaPrivate(_)) && uses_private
                || matches!(key, Key::RsaPublic(_)) && !uses_private
        }
        (Mechanism::Ecdsa | Mechanism::EcdsaHash(_), Key::EcPrivate(_)) => uses_private,
        (Mechanism::Ecdsa | Mechanism::EcdsaHash(_), Key::EcPublic(_)) => !uses_private,
        (Mechanism::Ecdh1Derive, Key::EcPrivate(_)) => true,
        (Mechanism::Sm2(..) | Mechanism::Sm2Encrypt(_), Key::Sm2Private(_)) => uses_private,
        (Mechanism::Sm2(..) | Mechanism::Sm2Encrypt(_), Key::Sm2Public(_)) => !uses_private,
        (Mechanism::Hmac(_), Key::Secret(kind, _)) => *kind == KeyKind::Generic,
        (mechanism, Key::Secret(kind, _)) => match cipher::block_of(mechanism) {
            Some(Block::Aes) => *kind == KeyKind::Aes,
            Some(Block::Sm4) => *kind == KeyKind::Sm4,
            None => false,
        },
        _ => false,
    };
    if !suits {
        return Err(Error::KeyTypeInconsistent);
    }
    match call.mechanism {
        Mechanism::Sm2(..) => id(call).map(|_| ()),
        Mechanism::RsaPss => scheme(call, None).map(|_| ()),
        Mechanism::RsaPssHash(hash) => scheme(call, Some(hash)).map(|_| ()),
        Mechanism::RsaOaep => padding(call).map(|_| ()),
        mechanism if cipher::block_of(mechanism).is_some() => cipher::check_parameter(call),
        _ => Ok(()),
    }
}

/// The length of a signature or tag.
pub(crate) fn signature_len(call: &Call, key: &Key) -> usize {
    match (call.mechanism, key) {
        (mechanism, Key::Sm2Private(_) | Key::Sm2Public(_)) if mechanism.signs_in_der() => {
            der::LONGEST_SIGNATURE
        }
        (_, Key::Sm2Private(_) | Key::Sm2Public(_)) => 64,
        (_, Key::EcPrivate(key)) => 2 * key.curve().field_len(),
        (_, Key::EcPublic(key)) => 2 * key.curve().field_len(),
        (_, Key::RsaPrivate(key)) => key.size(),
        (_, Key::RsaPublic(key)) => key.size(),
        (Mechanism::Hmac(hash), Key::Secret(..)) => hash.digest_len(),
        (_, Key::Secret(..)) => 0,
    }
}

/// Signs, or computes a MAC over, the whole input.
pub(crate) fn sign(call: &Call, key: &Key, data: &[u8]) -> Result<Vec<u8>> {
    match (call.mechanism, key) {
        (Mechanism::Sm2(input, encoding), Key::Sm2Private(key)) => {
            let raw = key.sign(&e(call, input, key.public(), data)?)?;
            Ok(if encoding == Encoding::Der { der::signature(&raw) } else { raw })
        }
        (Mechanism::Ecdsa, Key::EcPrivate(key)) => key.sign(data),
        (Mechanism::EcdsaHash(hash), Key::EcPrivate(key)) => key.sign(&digest(hash, data)),
        (Mechanism::RsaPkcs, Key::RsaPrivate(key)) => key.sign(Scheme::Pkcs1Bare, data),
        (Mechanism::RsaPkcsHash(hash), Key::RsaPrivate(key)) => {
            key.sign(Scheme::Pkcs1(hash), &digest(hash, data))
        }
        (Mechanism::RsaPss, Key::RsaPrivate(key)) => key.sign(scheme(call, None)?, data),
        (Mechanism::RsaPssHash(hash), Key::RsaPrivate(key)) => {
            key.sign(scheme(call, Some(hash))?, &digest(hash, data))
        }
        (Mechanism::Hmac(hash), Key::Secret(_, key)) => hmac(hash, key, data),
        _ => Err(Error::KeyTypeInconsistent),
    }
}

/// An SM2 signature in DER whose integers lack the zero octet that makes them positive.
pub(crate) fn sign_with_negative_integer(call: &Call, key: &Key, data: &[u8]) -> Result<Vec<u8>> {
    let (Mechanism::Sm2(input, Encoding::Der), Key::Sm2Private(key)) = (call.mechanism, key) else {
        return Err(Error::MechanismInvalid);
    };
    let e = e(call, input, key.public(), data)?;
    loop {
        // One signature in four has no integer that would be negative.
        if let Some(der) = der::with_negative_integer(&der::signature(&key.sign_anew(&e)?)) {
            return Ok(der);
        }
    }
}

/// Verifies a signature or MAC over the whole input.
pub(crate) fn verify(call: &Call, key: &Key, data: &[u8], signature: &[u8]) -> Result<()> {
    match (call.mechanism, key) {
        (Mechanism::Sm2(input, Encoding::Raw), Key::Sm2Public(key)) => {
            key.verify(&e(call, input, key, data)?, signature)
        }
        (Mechanism::Sm2(input, Encoding::Der), Key::Sm2Public(key)) => {
            let raw = der::raw_signature(signature).ok_or(Error::SignatureInvalid)?;
            key.verify(&e(call, input, key, data)?, &raw)
        }
        (Mechanism::Ecdsa, Key::EcPublic(key)) => key.verify(data, signature),
        (Mechanism::EcdsaHash(hash), Key::EcPublic(key)) => key.verify(&digest(hash, data), signature),
        (Mechanism::RsaPkcs, Key::RsaPublic(key)) => key.verify(Scheme::Pkcs1Bare, data, signature),
        (Mechanism::RsaPkcsHash(hash), Key::RsaPublic(key)) => {
            key.verify(Scheme::Pkcs1(hash), &digest(hash, data), signature)
        }
        (Mechanism::RsaPss, Key::RsaPublic(key)) => key.verify(scheme(call, None)?, data, signature),
        (Mechanism::RsaPssHash(hash), Key::RsaPublic(key)) => {
            key.verify(scheme(call, Some(hash))?, &digest(hash, data), signature)
        }
        (Mechanism::Hmac(hash), Key::Secret(_, key)) => hmac_verify(hash, key, data, signature),
        _ => Err(Error::KeyTypeInconsistent),
    }
}

/// The longest output of a cipher for an input of that length.
pub(crate) fn cipher_len(call: &Call, key: &Key, direction: Direction, input: usize) -> usize {
    match (key, direction) {
        (Key::RsaPrivate(key), _) => key.size(),
        (Key::RsaPublic(key), _) => key.size(),
        (Key::Sm2Private(_) | Key::Sm2Public(_), Direction::Encrypt) => match call.mechanism {
            Mechanism::Sm2Encrypt(Encoding::Der) => input + der::CIPHERTEXT_OVERHEAD,
            _ => input + sm2::CIPHERTEXT_OVERHEAD,
        },
        (Key::Sm2Private(_) | Key::Sm2Public(_), Direction::Decrypt) => {
            input.saturating_sub(sm2::CIPHERTEXT_OVERHEAD)
        }
        _ => cipher::output_len(call.mechanism, direction, input),
    }
}

/// Encrypts the whole input.
pub(crate) fn encrypt(call: &Call, key: &Key, data: &[u8]) -> Result<Vec<u8>> {
    match (call.mechanism, key) {
        (Mechanism::RsaPkcs | Mechanism::RsaOaep, Key::RsaPublic(key)) => key.encrypt(&padding(call)?, data),
        (Mechanism::Sm2Encrypt(Encoding::Raw), Key::Sm2Public(key)) => key.encrypt(data),
        (Mechanism::Sm2Encrypt(Encoding::Der), Key::Sm2Public(key)) => {
            der::ciphertext(&key.encrypt(data)?).ok_or(Error::FunctionFailed)
        }
        (_, Key::Secret(_, key)) => cipher::apply(call, key, Direction::Encrypt, data),
        _ => Err(Error::KeyTypeInconsistent),
    }
}

/// Decrypts the whole input.
pub(crate) fn decrypt(call: &Call, key: &Key, data: &[u8]) -> Result<Vec<u8>> {
    match (call.mechanism, key) {
        (Mechanism::RsaPkcs | Mechanism::RsaOaep, Key::RsaPrivate(key)) => key.decrypt(&padding(call)?, data),
        (Mechanism::Sm2Encrypt(Encoding::Raw), Key::Sm2Private(key)) => key.decrypt(data),
        (Mechanism::Sm2Encrypt(Encoding::Der), Key::Sm2Private(key)) => {
            key.decrypt(&der::raw_ciphertext(data).ok_or(Error::EncryptedDataInvalid)?)
        }
        (_, Key::Secret(_, key)) => cipher::apply(call, key, Direction::Decrypt, data),
        _ => Err(Error::KeyTypeInconsistent),
    }
}

/// ECDH's shared octets (PKCS#11 v2.40, `CKM_ECDH1_DERIVE` with `CKD_NULL`).
pub(crate) fn agree(call: &Call, key: &Key) -> Result<zeroize::Zeroizing<Vec<u8>>> {
    match (&call.parameter, key) {
        (Parameter::Ecdh(point), Key::EcPrivate(key)) => key.agree(ec::unwrap_point(point)),
        (_, Key::EcPrivate(_)) => Err(Error::MechanismParamInvalid),
        _ => Err(Error::KeyTypeInconsistent),
    }
}

/// e of the message under the public key and the identity in the parameter: X‖Y, then the identity.
pub(crate) fn digest_with_z(call: &Call, data: &[u8]) -> Result<Vec<u8>> {
    let invalid = Error::MechanismParamInvalid;
    let Parameter::Octets(octets) = &call.parameter else { return Err(invalid) };
    let (point, id) = octets.split_at_checked(64).ok_or(invalid)?;
    let key = sm2::PublicKey::from_sec1(&[&[4], point].concat()).ok_or(invalid)?;
    let e = key.e(if id.is_empty() { sm2::DEFAULT_ID } else { id }, data)?;
    Ok(e.to_vec())
}

/// What an SM2 signature is made over.
fn e(call: &Call, input: Sm2Input, key: &sm2::PublicKey, data: &[u8]) -> Result<[u8; 32]> {
    match input {
        Sm2Input::Digest => data.try_into().map_err(|_| Error::DataLenRange),
        Sm2Input::Message => digest(Hash::Sm3, data).try_into().map_err(|_| Error::GeneralError),
        Sm2Input::MessageWithZ | Sm2Input::MessageWithId => key.e(id(call)?, data),
    }
}

fn id(call: &Call) -> Result<&[u8]> {
    match &call.parameter {
        Parameter::None => Ok(sm2::DEFAULT_ID),
        Parameter::Octets(id) if id.len() <= sm2::LONGEST_ID => Ok(id),
        _ => Err(Error::MechanismParamInvalid),
    }
}

fn scheme(call: &Call, fixed: Option<Hash>) -> Result<Scheme> {
    match call.parameter {
        Parameter::Pss { hash, salt_len } if fixed.is_none_or(|fixed| fixed == hash) => {
            Ok(Scheme::Pss { hash, salt_len })
        }
        _ => Err(Error::MechanismParamInvalid),
    }
}

fn padding(call: &Call) -> Result<Padding> {
    match (call.mechanism, &call.parameter) {
        (Mechanism::RsaPkcs, Parameter::None) => Ok(Padding::Pkcs1),
        (Mechanism::RsaOaep, Parameter::Oaep { hash, mgf, label }) => {
            Ok(Padding::Oaep { hash: *hash, mgf: *mgf, label: label.clone() })
        }
        _ => Err(Error::MechanismParamInvalid),
    }
}
