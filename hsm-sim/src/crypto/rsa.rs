//! RSA of 2048 to 4096 bits: PKCS#1 v1.5, PSS and OAEP (RFC 8017).

use rsa::{
    BigUint, Oaep, Pkcs1v15Encrypt, Pkcs1v15Sign, Pss, RsaPrivateKey, RsaPublicKey, pkcs1,
    pkcs8::{EncodePrivateKey, PrivateKeyInfo},
    rand_core::OsRng,
    sha2::{Sha256, Sha384, Sha512},
    traits::{PrivateKeyParts, PublicKeyParts},
};
use rsa_sha1::Sha1;
use zeroize::Zeroizing;

use crate::{
    error::{Error, Result},
    mechanism::Hash,
};

/// How a digest is dressed for signing.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Scheme {
    /// PKCS#1 v1.5 over whatever the caller gives, usually a DigestInfo.
    Pkcs1Bare,
    /// PKCS#1 v1.5 with the hash's DigestInfo.
    Pkcs1(Hash),
    /// PSS; MGF1 uses the same hash.
    Pss { hash: Hash, salt_len: usize },
}

/// How a plaintext is dressed for encryption.
#[derive(Debug, Clone)]
pub(crate) enum Padding {
    Pkcs1,
    Oaep { hash: Hash, mgf: Hash, label: Vec<u8> },
}

/// The numbers of a private key as PKCS#11 attributes want them, big-endian.
pub(crate) struct Parts {
    pub(crate) modulus: Vec<u8>,
    pub(crate) public_exponent: Vec<u8>,
    pub(crate) private_exponent: Zeroizing<Vec<u8>>,
    pub(crate) primes: [Zeroizing<Vec<u8>>; 2],
    pub(crate) exponents: [Zeroizing<Vec<u8>>; 2],
    pub(crate) coefficient: Zeroizing<Vec<u8>>,
}

/// A private key with its Chinese-remainder values.
pub(crate) struct PrivateKey(RsaPrivateKey);

/// A public key.
pub(crate) struct PublicKey(RsaPublicKey);

impl PrivateKey {
    /// With the public exponent 65537.
    pub(crate) fn generate(bits: usize) -> Result<Self> {
        let key = RsaPrivateKey::new(&mut OsRng, bits).map_err(|_| Error::FunctionFailed)?;
        Ok(Self(key))
    }

    /// From n, e, d and, if known, the primes; they are recovered otherwise.
    pub(crate) fn from_parts(n: &[u8], e: &[u8], d: &[u8], primes: &[&[u8]]) -> Option<Self> {
        let [n, e, d] = [n, e, d].map(BigUint::from_bytes_be);
        let primes: Vec<_> = primes.iter().map(|prime| BigUint::from_bytes_be(prime)).collect();
        // The crate divides by what it is given before it checks it.
        let least = BigUint::from(3_u8);
        let plausible = (2048..=4096).contains(&n.bits())
            && [&e, &d].into_iter().chain(&primes).all(|number| *number >= least && *number < n)
            && (primes.is_empty() || primes.iter().product::<BigUint>() == n);
        if !plausible {
            return None;
        }
        let mut key = RsaPrivateKey::from_components(n, e, d, primes).ok()?;
        key.validate().ok()?;
        key.precompute().ok()?;
        Some(Self(key))
    }

    pub(crate) fn from_pkcs8(der: &[u8]) -> Option<Self> {
        let info = PrivateKeyInfo::try_from(der).ok()?;
        info.algorithm.assert_algorithm_oid(pkcs1::ALGORITHM_OID).ok()?;
        let key = pkcs1::RsaPrivateKey::try_from(info.private_key).ok()?;
        let [n, e, d] = [key.modulus, key.public_exponent, key.private_exponent];
        let primes = [key.prime1.as_bytes(), key.prime2.as_bytes()];
        Self::from_parts(n.as_bytes(), e.as_bytes(), d.as_bytes(), &primes)
    }

    pub(crate) fn to_pkcs8(&self) -> Result<Zeroizing<Vec<u8>>> {
        let document = self.0.to_pkcs8_der().map_err(|_| Error::FunctionFailed)?;
        Ok(Zeroizing::new(document.as_bytes().to_vec()))
    }

    pub(crate) fn parts(&self) -> Result<Parts> {
        let key = &self.0;
        let missing = Error::FunctionFailed;
        let [p, q] = key.primes() else { return Err(missing) };
        let secret = |number: &BigUint| Zeroizing::new(number.to_bytes_be());
        let (dp, dq) = (key.dp().ok_or(missing)?, key.dq().ok_or(missing)?);
        Ok(Parts {
            modulus: key.n().to_bytes_be(),
            public_exponent: key.e().to_bytes_be(),
            private_exponent: secret(key.d()),
            primes: [secret(p), secret(q)],
            exponents: [secret(dp), secret(dq)],
            coefficient: secret(&key.crt_coefficient().ok_or(missing)?),
        })
    }

    pub(crate) fn public(&self) -> PublicKey {
        PublicKey(self.0.to_public_key())
    }

    /// The modulus's length in octets: a signature's and a ciphertext's.
    pub(crate) fn size(&self) -> usize {
        self.0.size()
    }

    pub(crate) fn sign(&self, scheme: Scheme, digest: &[u8]) -> Result<Vec<u8>> {
        let signature = match scheme {
            Scheme::Pkcs1Bare if digest.len() + 11 > self.size() => return Err(Error::DataLenRange),
            Scheme::Pkcs1Bare | Scheme::Pkcs1(_) => self.0.sign(pkcs1_padding(scheme, digest.len()), digest),
            Scheme::Pss { hash, salt_len } => {
                self.0.sign_with_rng(&mut OsRng, pss(hash, salt_len, digest, self.size())?, digest)
            }
        };
        signature.map_err(|_| Error::FunctionFailed)
    }

    pub(crate) fn decrypt(&self, padding: &Padding, ciphertext: &[u8]) -> Result<Vec<u8>> {
        if ciphertext.len() != self.size() {
            return Err(Error::EncryptedDataLenRange);
        }
        let plaintext = match padding {
            Padding::Pkcs1 => self.0.decrypt(Pkcs1v15Encrypt, ciphertext),
            Padding::Oaep { hash, mgf, label } => self.0.decrypt(oaep(*hash, *mgf, label)?, ciphertext),
        };
        plaintext.map_err(|_| Error::EncryptedDataInvalid)
    }
}

impl PublicKey {
    pub(crate) fn from_parts(n: &[u8], e: &[u8]) -> Option<Self> {
        let key = RsaPublicKey::new(BigUint::from_bytes_be(n), BigUint::from_bytes_be(e)).ok()?;
        Some(Self(key)).filter(|key| (2048..=4096).contains(&key.0.n().bits()))
    }

    /// The modulus, big-endian.
    pub(crate) fn modulus(&self) -> Vec<u8> {
        self.0.n().to_bytes_be()
    }

    /// The public exponent, big-endian.
    pub(crate) fn exponent(&self) -> Vec<u8> {
        self.0.e().to_bytes_be()
    }

    /// The modulus's length in bits.
    pub(crate) fn bits(&self) -> usize {
        self.0.n().bits()
    }

    /// The modulus's length in octets.
    pub(crate) fn size(&self) -> usize {
        self.0.size()
    }

    pub(crate) fn verify(&self, scheme: Scheme, digest: &[u8], signature: &[u8]) -> Result<()> {
        if signature.len() != self.size() {
            return Err(Error::SignatureLenRange);
        }
        let verdict = match scheme {
            Scheme::Pkcs1Bare if digest.len() + 11 > self.size() => return Err(Error::DataLenRange),
            Scheme::Pkcs1Bare | Scheme::Pkcs1(_) => {
                self.0.verify(pkcs1_padding(scheme, digest.len()), digest, signature)
            }
            Scheme::Pss { hash, salt_len } => {
                self.0.verify(pss(hash, salt_len, digest, self.size())?, digest, signature)
            }
        };
        verdict.map_err(|_| Error::SignatureInvalid)
    }

    pub(crate) fn encrypt(&self, padding: &Padding, plaintext: &[u8]) -> Result<Vec<u8>> {
        let ciphertext = match padding {
            Padding::Pkcs1 => self.0.encrypt(&mut OsRng, Pkcs1v15Encrypt, plaintext),
            Padding::Oaep { hash, mgf, label } => {
                self.0.encrypt(&mut OsRng, oaep(*hash, *mgf, label)?, plaintext)
            }
        };
        ciphertext.map_err(|_| Error::DataLenRange)
    }
}

fn pkcs1_padding(scheme: Scheme, digest_len: usize) -> Pkcs1v15Sign {
    match scheme {
        Scheme::Pkcs1(Hash::Sha1) => Pkcs1v15Sign::new::<Sha1>(),
        Scheme::Pkcs1(Hash::Sha256) => Pkcs1v15Sign::new::<Sha256>(),
        Scheme::Pkcs1(Hash::Sha384) => Pkcs1v15Sign::new::<Sha384>(),
        Scheme::Pkcs1(Hash::Sha512) => Pkcs1v15Sign::new::<Sha512>(),
        _ => Pkcs1v15Sign { hash_len: Some(digest_len), prefix: Box::default() },
    }
}

fn pss(hash: Hash, salt_len: usize, digest: &[u8], size: usize) -> Result<Pss> {
    if digest.len() != hash.digest_len() {
        return Err(Error::DataLenRange);
    }
    if salt_len + hash.digest_len() + 2 > size {
        return Err(Error::MechanismParamInvalid);
    }
    match hash {
        Hash::Sha1 => Ok(Pss::new_with_salt::<Sha1>(salt_len)),
        Hash::Sha256 => Ok(Pss::new_with_salt::<Sha256>(salt_len)),
        Hash::Sha384 => Ok(Pss::new_with_salt::<Sha384>(salt_len)),
        Hash::Sha512 => Ok(Pss::new_with_salt::<Sha512>(salt_len)),
        Hash::Sm3 => Err(Error::MechanismParamInvalid),
    }
}

fn oaep(hash: Hash, mgf: Hash, label: &[u8]) -> Result<Oaep> {
    let invalid = Error::MechanismParamInvalid;
    let mut oaep = match hash {
        Hash::Sha1 => Oaep::new::<Sha1>(),
        Hash::Sha256 => Oaep::new::<Sha256>(),
        Hash::Sha384 => Oaep::new::<Sha384>(),
        Hash::Sha512 => Oaep::new::<Sha512>(),
        Hash::Sm3 => return Err(invalid),
    };
    oaep.mgf_digest = match mgf {
        Hash::Sha1 => Box::<Sha1>::default(),
        Hash::Sha256 => Box::<Sha256>::default(),
        Hash::Sha384 => Box::<Sha384>::default(),
        Hash::Sha512 => Box::<Sha512>::default(),
        Hash::Sm3 => return Err(invalid),
    };
    // The crate keeps labels as text.
    oaep.label = match label {
        [] => None,
        label => Some(String::from_utf8(label.to_vec()).map_err(|_| invalid)?),
    };
    Ok(oaep)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_that_make_no_key_are_refused() {
        let key = PrivateKey::generate(2048).unwrap();
        let parts = key.parts().unwrap();
        let (n, e, d) = (&parts.modulus, &parts.public_exponent, &parts.private_exponent);
        let [p, q] = &parts.primes;
        assert!(PrivateKey::from_parts(n, e, d, &[p, q]).is_some());
        assert!(PrivateKey::from_parts(n, e, d, &[]).is_some());
        let zero = &[0_u8][..];
        for (n, e, d, primes) in [
            (zero, &e[..], &d[..], &[][..]),
            (n, zero, d, &[]),
            (n, e, zero, &[]),
            (n, e, &[3], &[]),
            (n, e, d, &[zero, q]),
            (n, e, d, &[&[1], n]),
            (n, e, d, &[p, p]),
            (n, &[4], d, &[p, q]),
        ] {
            assert!(PrivateKey::from_parts(n, e, d, primes).is_none(), "{e:?} {primes:?}");
        }
    }

    #[test]
    fn pkcs8_brings_the_same_key_back() {
        let key = PrivateKey::generate(2048).unwrap();
        let der = key.to_pkcs8().unwrap();
        let again = PrivateKey::from_pkcs8(&der).unwrap();
        assert_eq!(again.parts().unwrap().primes, key.parts().unwrap().primes);
        assert!(PrivateKey::from_pkcs8(&der[..der.len() - 1]).is_none());
    }
}
