//! Keys, parsed from attributes once and ready for use.

use cryptoki_sys::*;
use zeroize::Zeroizing;

use super::{ec, rsa, sm2};
use crate::{
    attributes::Attributes,
    error::{Error, Result},
    mechanism::KeyKind,
};

/// A key in the form its primitives want.
pub(crate) enum Key {
    Sm2Private(Box<sm2::PrivateKey>),
    Sm2Public(Box<sm2::PublicKey>),
    EcPrivate(Box<ec::PrivateKey>),
    EcPublic(Box<ec::PublicKey>),
    RsaPrivate(Box<rsa::PrivateKey>),
    RsaPublic(Box<rsa::PublicKey>),
    Secret(KeyKind, Zeroizing<Vec<u8>>),
}

impl Key {
    /// From an object's attributes, or from a template that imports a key.
    pub(crate) fn parse(class: CK_OBJECT_CLASS, kind: KeyKind, attributes: &Attributes) -> Result<Key> {
        let invalid = Error::AttributeValueInvalid;
        match (class, kind) {
            (CKO_PRIVATE_KEY, KeyKind::Sm2) => {
                check_sm2_params(attributes)?;
                let key = sm2::PrivateKey::from_scalar(attributes.require(CKA_VALUE)?).ok_or(invalid)?;
                check_point(attributes, &key.public().to_sec1())?;
                Ok(Key::Sm2Private(Box::new(key)))
            }
            (CKO_PUBLIC_KEY, KeyKind::Sm2) => {
                check_sm2_params(attributes)?;
                let point = ec::unwrap_point(attributes.require(CKA_EC_POINT)?);
                Ok(Key::Sm2Public(Box::new(sm2::PublicKey::from_sec1(point).ok_or(invalid)?)))
            }
            (CKO_PRIVATE_KEY, KeyKind::Ec) => {
                let curve = ec::Curve::from_params(attributes.require(CKA_EC_PARAMS)?)?;
                let scalar = attributes.require(CKA_VALUE)?;
                let key = ec::PrivateKey::from_scalar(curve, scalar).ok_or(invalid)?;
                check_point(attributes, &key.public_sec1())?;
                Ok(Key::EcPrivate(Box::new(key)))
            }
            (CKO_PUBLIC_KEY, KeyKind::Ec) => {
                let curve = ec::Curve::from_params(attributes.require(CKA_EC_PARAMS)?)?;
                let point = ec::unwrap_point(attributes.require(CKA_EC_POINT)?);
                Ok(Key::EcPublic(Box::new(ec::PublicKey::from_sec1(curve, point).ok_or(invalid)?)))
            }
            (CKO_PRIVATE_KEY, KeyKind::Rsa) => {
                let primes: Vec<_> =
                    [CKA_PRIME_1, CKA_PRIME_2].iter().filter_map(|prime| attributes.get(*prime)).collect();
                let [n, e, d] = [CKA_MODULUS, CKA_PUBLIC_EXPONENT, CKA_PRIVATE_EXPONENT]
                    .map(|attribute| attributes.require(attribute));
                let key =
                    rsa::PrivateKey::from_parts(n?, e?, d?, if primes.len() == 2 { &primes } else { &[] });
                Ok(Key::RsaPrivate(Box::new(key.ok_or(invalid)?)))
            }
            (CKO_PUBLIC_KEY, KeyKind::Rsa) => {
                let (n, e) = (attributes.require(CKA_MODULUS)?, attributes.require(CKA_PUBLIC_EXPONENT)?);
                Ok(Key::RsaPublic(Box::new(rsa::PublicKey::from_parts(n, e).ok_or(invalid)?)))
            }
            (CKO_SECRET_KEY, KeyKind::Aes | KeyKind::Sm4 | KeyKind::Generic) => {
                Key::secret(kind, attributes.require(CKA_VALUE)?)
            }
            _ => Err(Error::TemplateInconsistent),
        }
    }

    /// A symmetric key, if its length suits its kind.
    pub(crate) fn secret(kind: KeyKind, octets: &[u8]) -> Result<Key> {
        let fits = match kind {
            KeyKind::Sm4 => octets.len() == 16,
            KeyKind::Aes => matches!(octets.len(), 16 | 24 | 32),
            KeyKind::Generic => (1..=512).contains(&octets.len()),
            KeyKind::Rsa | KeyKind::Ec | KeyKind::Sm2 => return Err(Error::TemplateInconsistent),
        };
        if !fits {
            return Err(Error::KeySizeRange);
        }
        Ok(Key::Secret(kind, Zeroizing::new(octets.to_vec())))
    }

    /// A private key from PKCS#8, if it is of that kind.
    pub(crate) fn from_pkcs8(kind: KeyKind, der: &[u8]) -> Option<Key> {
        Some(match kind {
            KeyKind::Sm2 => Key::Sm2Private(Box::new(sm2::PrivateKey::from_pkcs8(der)?)),
            KeyKind::Ec => Key::EcPrivate(Box::new(ec::PrivateKey::from_pkcs8(der)?)),
            KeyKind::Rsa => Key::RsaPrivate(Box::new(rsa::PrivateKey::from_pkcs8(der)?)),
            KeyKind::Aes | KeyKind::Sm4 | KeyKind::Generic => return None,
        })
    }

    /// What leaves the device when the key is wrapped: PKCS#8, or the plain octets of a symmetric key.
    pub(crate) fn to_wrappable(&self) -> Result<Zeroizing<Vec<u8>>> {
        match self {
            Key::Sm2Private(key) => key.to_pkcs8(),
            Key::EcPrivate(key) => key.to_pkcs8(),
            Key::RsaPrivate(key) => key.to_pkcs8(),
            Key::Secret(_, octets) => Ok(octets.clone()),
            Key::Sm2Public(_) | Key::EcPublic(_) | Key::RsaPublic(_) => Err(Error::KeyNotWrappable),
        }
    }

    /// Writes the key's own attributes into the object's, in canonical form.
    pub(crate) fn describe(&self, attributes: &mut Attributes) -> Result<()> {
        match self {
            Key::Sm2Private(key) => {
                attributes.set(CKA_VALUE, &key.scalar());
                describe_point(attributes, &ec::oid_der(ec::SM2_CURVE), &key.public().to_sec1())?;
            }
            Key::Sm2Public(key) => {
                describe_point(attributes, &ec::oid_der(ec::SM2_CURVE), &key.to_sec1())?;
            }
            Key::EcPrivate(key) => {
                attributes.set(CKA_VALUE, &key.scalar());
                describe_point(attributes, &key.curve().params(), &key.public_sec1())?;
            }
            Key::EcPublic(key) => describe_point(attributes, &key.curve().params(), &key.to_sec1())?,
            Key::RsaPrivate(key) => {
                let parts = key.parts()?;
                attributes.set(CKA_MODULUS, &parts.modulus);
                attributes.set(CKA_PUBLIC_EXPONENT, &parts.public_exponent);
                attributes.set(CKA_PRIVATE_EXPONENT, &parts.private_exponent);
                attributes.set(CKA_PRIME_1, &parts.primes[0]);
                attributes.set(CKA_PRIME_2, &parts.primes[1]);
                attributes.set(CKA_EXPONENT_1, &parts.exponents[0]);
                attributes.set(CKA_EXPONENT_2, &parts.exponents[1]);
                attributes.set(CKA_COEFFICIENT, &parts.coefficient);
            }
            Key::RsaPublic(key) => {
                attributes.set(CKA_MODULUS, &key.modulus());
                attributes.set(CKA_PUBLIC_EXPONENT, &key.exponent());
                attributes.set_number(CKA_MODULUS_BITS, key.bits() as CK_ULONG);
            }
            Key::Secret(_, octets) => {
                attributes.set(CKA_VALUE, octets);
                attributes.set_number(CKA_VALUE_LEN, octets.len() as CK_ULONG);
            }
        }
        Ok(())
    }

    /// The public half of a private key.
    pub(crate) fn public(&self) -> Option<Key> {
        Some(match self {
            Key::Sm2Private(key) => {
                Key::Sm2Public(Box::new(sm2::PublicKey::from_sec1(&key.public().to_sec1())?))
            }
            Key::EcPrivate(key) => {
                Key::EcPublic(Box::new(ec::PublicKey::from_sec1(key.curve(), &key.public_sec1())?))
            }
            Key::RsaPrivate(key) => Key::RsaPublic(Box::new(key.public())),
            _ => return None,
        })
    }
}

/// SM2's own key type already names the curve, so the parameters may be left out.
fn check_sm2_params(attributes: &Attributes) -> Result<()> {
    match attributes.get(CKA_EC_PARAMS) {
        Some(params) if params != ec::oid_der(ec::SM2_CURVE) => Err(Error::CurveNotSupported),
        _ => Ok(()),
    }
}

fn check_point(attributes: &Attributes, sec1: &[u8]) -> Result<()> {
    match attributes.get(CKA_EC_POINT) {
        Some(point) if ec::unwrap_point(point) != sec1 => Err(Error::TemplateInconsistent),
        _ => Ok(()),
    }
}

fn describe_point(attributes: &mut Attributes, params: &[u8], sec1: &[u8]) -> Result<()> {
    attributes.set(CKA_EC_PARAMS, params);
    attributes.set(CKA_EC_POINT, &ec::wrap_point(sec1)?);
    Ok(())
}
