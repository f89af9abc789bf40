//! SM2 (GB/T 32918): signatures over e or over a message, and public-key encryption as C1‖C3‖C2.

use getrandom::SysRng;
use sm2::{
    PublicKey as Point, SecretKey,
    dsa::{
        Signature, SigningKey, VerifyingKey,
        signature::hazmat::{PrehashSigner, PrehashVerifier, RandomizedPrehashSigner},
    },
    elliptic_curve::Generate,
    pkcs8::{DecodePrivateKey, EncodePrivateKey},
    pke::{DecryptingKey, EncryptingKey, Mode},
};
use sm3::{Digest, Sm3};
use zeroize::Zeroizing;

use crate::error::{Error, Result};

/// The identity used when the caller gives none (GM/T 0009, clause 10).
pub(crate) const DEFAULT_ID: &[u8] = b"1234567812345678";
/// The most octets an identity can have, since its length in bits must fit 16 bits.
pub(crate) const LONGEST_ID: usize = 8191;
/// Octets that encryption adds: C1 (65) and C3 (32).
pub(crate) const CIPHERTEXT_OVERHEAD: usize = 97;

/// a‖b‖xG‖yG of the recommended curve (GB/T 32918.5), as they enter Z.
const CURVE: [u8; 128] = {
    let mut octets = [0; 128];
    let words: [u64; 16] = [
        0xFFFFFFFEFFFFFFFF,
        0xFFFFFFFFFFFFFFFF,
        0xFFFFFFFF00000000,
        0xFFFFFFFFFFFFFFFC, // a
        0x28E9FA9E9D9F5E34,
        0x4D5A9E4BCF6509A7,
        0xF39789F515AB8F92,
        0xDDBCBD414D940E93, // b
        0x32C4AE2C1F198119,
        0x5F9904466A39C994,
        0x8FE30BBFF2660BE1,
        0x715A4589334C74C7, // xG
        0xBC3736A2F4F6779C,
        0x59BDCEE36B692153,
        0xD0A9877CC62A4740,
        0x02DF32E52139F0A0, // yG
    ];
    let mut i = 0;
    while i < 128 {
        octets[i] = (words[i / 8] >> (56 - 8 * (i % 8))) as u8;
        i += 1;
    }
    octets
};

/// A private key, ready to sign.
pub(crate) struct PrivateKey {
    secret: SecretKey,
    signer: SigningKey,
    public: PublicKey,
}

impl PrivateKey {
    pub(crate) fn generate() -> Result<Self> {
        let secret = SecretKey::try_generate_from_rng(&mut SysRng).map_err(|_| Error::FunctionFailed)?;
        Self::new(secret).ok_or(Error::FunctionFailed)
    }

    /// From the scalar's big-endian octets; at most 32, in [1, n-2].
    pub(crate) fn from_scalar(scalar: &[u8]) -> Option<Self> {
        let padded = super::ec::left_padded::<32>(scalar)?;
        Self::new(SecretKey::from_slice(padded.as_slice()).ok()?)
    }

    pub(crate) fn from_pkcs8(der: &[u8]) -> Option<Self> {
        Self::new(SecretKey::from_pkcs8_der(der).ok()?)
    }

    fn new(secret: SecretKey) -> Option<Self> {
        // The identity is of no use here: Z is computed below, so that it may be any octets.
        let signer = SigningKey::new("", &secret).ok()?;
        let public = PublicKey::new(secret.public_key())?;
        Some(Self { secret, signer, public })
    }

    pub(crate) fn scalar(&self) -> Zeroizing<Vec<u8>> {
        Zeroizing::new(self.secret.to_bytes().to_vec())
    }

    pub(crate) fn to_pkcs8(&self) -> Result<Zeroizing<Vec<u8>>> {
        let document = self.secret.to_pkcs8_der().map_err(|_| Error::FunctionFailed)?;
        Ok(Zeroizing::new(document.as_bytes().to_vec()))
    }

    pub(crate) fn public(&self) -> &PublicKey {
        &self.public
    }

    /// Signs e; answers r‖s.
    pub(crate) fn sign(&self, e: &[u8; 32]) -> Result<Vec<u8>> {
        let signature: Signature = self.signer.sign_prehash(e).map_err(|_| Error::FunctionFailed)?;
        Ok(signature.to_bytes().to_vec())
    }

    /// Signs e with a number drawn anew, unlike [`PrivateKey::sign`], which derives it.
    pub(crate) fn sign_anew(&self, e: &[u8; 32]) -> Result<Vec<u8>> {
        let signature: Signature =
            self.signer.sign_prehash_with_rng(&mut SysRng, e).map_err(|_| Error::FunctionFailed)?;
        Ok(signature.to_bytes().to_vec())
    }

    /// Decrypts C1‖C3‖C2.
    pub(crate) fn decrypt(&self, ciphertext: &[u8]) -> Result<Vec<u8>> {
        if ciphertext.len() <= CIPHERTEXT_OVERHEAD {
            return Err(Error::EncryptedDataLenRange);
        }
        DecryptingKey::new_with_mode(self.secret.to_nonzero_scalar(), Mode::C1C3C2)
            .decrypt(ciphertext)
            .map_err(|_| Error::EncryptedDataInvalid)
    }
}

/// A public key on the curve.
pub(crate) struct PublicKey {
    point: Point,
    verifier: VerifyingKey,
}

impl PublicKey {
    /// From 04‖X‖Y.
    pub(crate) fn from_sec1(sec1: &[u8]) -> Option<Self> {
        if sec1.len() != 65 {
            return None;
        }
        Self::new(Point::from_sec1_bytes(sec1).ok()?)
    }

    fn new(point: Point) -> Option<Self> {
        Some(Self { point, verifier: VerifyingKey::new("", point).ok()? })
    }

    /// 04‖X‖Y.
    pub(crate) fn to_sec1(&self) -> Vec<u8> {
        self.point.to_sec1_bytes().to_vec()
    }

    /// e = SM3(Z‖M), with Z over the identity, the curve and the key (GB/T 32918.2, clauses 5.5 and 6.1).
    pub(crate) fn e(&self, id: &[u8], message: &[u8]) -> Result<[u8; 32]> {
        if id.len() > LONGEST_ID {
            return Err(Error::MechanismParamInvalid);
        }
        let bits = (id.len() * 8) as u16;
        let sec1 = self.point.to_sec1_bytes();
        let z = Sm3::new()
            .chain_update(bits.to_be_bytes())
            .chain_update(id)
            .chain_update(CURVE)
            .chain_update(&sec1[1..])
            .finalize();
        Ok(Sm3::new().chain_update(z).chain_update(message).finalize().into())
    }

    pub(crate) fn verify(&self, e: &[u8; 32], signature: &[u8]) -> Result<()> {
        if signature.len() != 64 {
            return Err(Error::SignatureLenRange);
        }
        let signature = Signature::from_slice(signature).map_err(|_| Error::SignatureInvalid)?;
        self.verifier.verify_prehash(e, &signature).map_err(|_| Error::SignatureInvalid)
    }

    /// Encrypts to C1‖C3‖C2.
    pub(crate) fn encrypt(&self, plaintext: &[u8]) -> Result<Vec<u8>> {
        if plaintext.is_empty() {
            return Err(Error::DataLenRange);
        }
        EncryptingKey::new_with_mode(self.point, Mode::C1C3C2)
            .encrypt(&mut SysRng, plaintext)
            .map_err(|_| Error::FunctionFailed)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn e_of_the_standards_example_comes_out() {
        // GB/T 32918.5-2017, annex A.2.
        let scalar = hex::decode("3945208f7b2144b13f36e38ac6d39f95889393692860b51a42fb81ef4df7c5b8").unwrap();
        let key = PrivateKey::from_scalar(&scalar).unwrap();
        let public = hex::encode(key.public().to_sec1());
        assert!(public.starts_with("0409f9df311e5421a150dd7d161e4bc5c672179fad1833fc076bb08ff356f35020"));
        let e = key.public().e(DEFAULT_ID, b"message digest").unwrap();
        assert_eq!(hex::encode(e), "f0b43e94ba45accaace692ed534382eb17e6ab5a19ce7b31f4486fdfc0d28640");
        let signature = hex::decode(concat!(
            "f5a03b0648d2c4630eeac513e1bb81a15944da3827d5b74143ac7eaceee720b3",
            "b1b6aa29df212fd8763182bc0d421ca1bb9038fd1f7f42d4840b69c485bbc1aa"
        ))
        .unwrap();
        assert_eq!(key.public().verify(&e, &signature), Ok(()));
    }

    #[test]
    fn an_identity_too_long_for_its_length_field_is_refused() {
        let key = PrivateKey::generate().unwrap();
        assert!(key.public().e(&[b'a'; LONGEST_ID], b"").is_ok());
        assert_eq!(key.public().e(&[b'a'; LONGEST_ID + 1], b""), Err(Error::MechanismParamInvalid));
    }

    #[test]
    fn a_changed_ciphertext_does_not_decrypt() {
        let key = PrivateKey::generate().unwrap();
        let mut ciphertext = key.public().encrypt(b"hello").unwrap();
        assert_eq!(key.decrypt(&ciphertext).unwrap(), b"hello");
        for position in [1, 70, ciphertext.len() - 1] {
            ciphertext[position] ^= 1;
            assert_eq!(key.decrypt(&ciphertext), Err(Error::EncryptedDataInvalid), "{position}");
            ciphertext[position] ^= 1;
        }
        assert_eq!(key.decrypt(&ciphertext[..97]), Err(Error::EncryptedDataLenRange));
    }
}
