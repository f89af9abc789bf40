//! Public keys and their signatures.

#![allow(clippy::unwrap_used)] // a helper that fails fails its test

use crate::pki;

use aws_lc_rs::encoding::AsDer;
use aws_lc_rs::rsa::KeySize;
use aws_lc_rs::signature::{KeyPair, RsaKeyPair};
use const_oid::ObjectIdentifier;
use der::{Any, Decode, Encode};
use formats::algorithm::UnknownAlgorithm;
use formats::scheme::{HashAlgorithm, SignatureScheme};
use formats::{Algorithm, FormatError, PublicKey, oid};
use pki::{Key, SIGNER_ID};
use spki::AlgorithmIdentifierOwned;

const MESSAGE: &[u8] = b"message";

fn every_key() -> [Key; 4] {
    [Key::sm2(3), Key::p256(), Key::p384(), Key::rsa()]
}

#[test]
fn keys_survive_der_and_pem_unchanged() {
    for key in every_key() {
        let public = key.public();
        assert_eq!(public.spki_der(), key.spki());
        let pem = public.to_pem();
        assert!(
            pem.starts_with("-----BEGIN PUBLIC KEY-----\n") && pem.ends_with("-----END PUBLIC KEY-----\n")
        );
        assert_eq!(PublicKey::from_pem(&pem), Ok(public.clone()));
        let by_other_software = pem.replace('\n', "\r\n");
        assert_eq!(PublicKey::from_pem(&by_other_software), Ok(public));
    }
}

#[test]
fn each_key_supports_its_own_algorithms() {
    let supported = |key: Key| -> Vec<_> {
        Algorithm::ALL.into_iter().filter(|algorithm| key.public().supports(*algorithm)).collect()
    };
    assert_eq!(supported(Key::sm2(3)), [Algorithm::Sm2Sm3]);
    assert_eq!(supported(Key::p256()), [Algorithm::EcdsaP256Sha256]);
    assert_eq!(supported(Key::p384()), []);
    assert_eq!(supported(Key::rsa()), [Algorithm::RsaPkcs1Sha256, Algorithm::RsaPssSha256]);
}

#[test]
fn signatures_verify_by_message_and_by_digest() {
    for algorithm in Algorithm::ALL {
        let key = Key::for_algorithm(algorithm);
        let public = key.public();
        let signature = key.sign_with(algorithm.into(), MESSAGE);
        let digest = public.digest(algorithm, SIGNER_ID, MESSAGE).unwrap();
        assert_eq!(public.verify_message(algorithm, SIGNER_ID, MESSAGE, &signature), Ok(()));
        assert_eq!(public.verify_digest(algorithm, &digest, &signature), Ok(()));

        let invalid = Err(FormatError::SignatureInvalid);
        assert_eq!(public.verify_message(algorithm, SIGNER_ID, b"other", &signature), invalid);
        assert_eq!(public.verify_digest(algorithm, &[0; 32], &signature), invalid);
        assert_eq!(public.verify_digest(algorithm, &digest, &[]), invalid);
        let trailing = [&signature[..], &[0]].concat();
        assert_eq!(public.verify_digest(algorithm, &digest, &trailing), invalid);
    }
}

#[test]
fn a_key_refuses_the_algorithms_of_others() {
    for algorithm in Algorithm::ALL {
        for key in every_key() {
            let public = key.public();
            if !public.supports(algorithm) {
                let refused = |result| matches!(result, Err(FormatError::AlgorithmMismatch { .. }));
                assert!(refused(public.verify_digest(algorithm, &[0; 32], &[])), "{algorithm}");
                assert!(refused(public.digest(algorithm, SIGNER_ID, MESSAGE).map(drop)), "{algorithm}");
            }
        }
    }
}

#[test]
fn ecdsa_signatures_are_strict_der() {
    let key = Key::p256();
    let algorithm = Algorithm::EcdsaP256Sha256;
    let der = key.sign(MESSAGE);
    let verify = |signature: &[u8]| key.public().verify_message(algorithm, SIGNER_ID, MESSAGE, signature);
    verify(&der).unwrap();

    let (r_length, body) = (usize::from(der[3]), &der[2..]);
    let long_form = [&[0x30, 0x81, der[1]], body].concat();
    let padded_r = [&[0x30, der[1] + 1, 2, der[3] + 1, 0], &der[4..]].concat();
    let indefinite = [&[0x30, 0x80], body, &[0, 0]].concat();
    let number = |bytes: &[u8]| {
        let mut number = [0; 32];
        let significant = bytes.strip_prefix(&[0]).unwrap_or(bytes);
        number[32 - significant.len()..].copy_from_slice(significant);
        number
    };
    let raw = [number(&der[4..4 + r_length]), number(&der[6 + r_length..])].concat();
    for (what, form) in
        [("a long length", long_form), ("a padded r", padded_r), ("BER", indefinite), ("r and s raw", raw)]
    {
        assert_eq!(verify(&form), Err(FormatError::SignatureInvalid), "{what}");
    }
}

#[test]
fn rsa_keys_have_2048_to_8192_bits() {
    let key = RsaKeyPair::generate(KeySize::Rsa3072).unwrap();
    let spki = key.public_key().as_der().unwrap();
    let Ok(PublicKey::Rsa(rsa)) = PublicKey::from_spki_der(spki.as_ref()) else { panic!("an RSA key") };
    assert_eq!(rsa.bits(), 3072);

    // Made with `openssl genrsa 1024`.
    let short = "-----BEGIN PUBLIC KEY-----
MIGfMA0GCSqGSIb3DQEBAQUAA4GNADCBiQKBgQDlwqNGLwBnNW3TFtKoiTVMgSeu
+MB0lMmSEkSnXADQwxr4KgfXxPSp403XazQzCc7At0WCS1vxZqOOmvKUbix3z+D/
hd9A8RVienQhhtgouGDb5xsMgm4jplQmNn5cH4WmbpDXYy7mAbJDc/3fzQhH3DM2
lTsY9CC29w9dGwtaZQIDAQAB
-----END PUBLIC KEY-----";
    assert_eq!(PublicKey::from_pem(short), Err(FormatError::RsaModulus { bits: 1024 }));
}

#[test]
fn what_is_no_key_is_refused_with_the_reason() {
    let sm2 = Key::sm2(3).spki();
    let mut off_curve = sm2.clone();
    *off_curve.last_mut().unwrap() ^= 1;
    let p256 = Key::p256().spki();
    let mut p256_off_curve = p256.clone();
    *p256_off_curve.last_mut().unwrap() ^= 1;
    let trailing = [&sm2[..], &[0]].concat();
    for malformed in [&[][..], &sm2[..90], &off_curve, &p256_off_curve, &trailing] {
        let result = PublicKey::from_spki_der(malformed);
        assert!(matches!(result, Err(FormatError::Malformed { .. })), "{result:?}");
    }
    // The curve's last arc, 301, becomes 300.
    let mut other_curve = sm2.clone();
    let position = other_curve.windows(2).position(|window| window == [0x82, 0x2d]).unwrap();
    other_curve[position + 1] = 0x2c;
    let result = PublicKey::from_spki_der(&other_curve);
    assert_eq!(result, Err(FormatError::UnsupportedKey("1.2.156.10197.1.300".to_owned())));

    for text in
        ["", "-----BEGIN PUBLIC KEY-----\nMFkw", "-----BEGIN PUBLIC KEY-----\n*\n-----END PUBLIC KEY-----"]
    {
        assert!(matches!(PublicKey::from_pem(text), Err(FormatError::Malformed { .. })), "{text}");
    }
    let twice = Key::sm2(3).public().to_pem().repeat(2);
    assert!(matches!(PublicKey::from_pem(&twice), Err(FormatError::Malformed { .. })));
}

#[test]
fn schemes_are_known_by_their_identifiers_and_no_weaker_ones_are() {
    use HashAlgorithm::{Sha256, Sha384, Sha512};
    let mut schemes = vec![SignatureScheme::Sm2Sm3];
    for hash in [Sha256, Sha384, Sha512] {
        schemes.extend([
            SignatureScheme::Ecdsa(hash),
            SignatureScheme::RsaPkcs1(hash),
            SignatureScheme::RsaPss(hash),
        ]);
    }
    for scheme in schemes {
        assert_eq!(SignatureScheme::from_identifier(&scheme.identifier()), Ok(scheme));
    }

    let of =
        |oid, parameters| SignatureScheme::from_identifier(&AlgorithmIdentifierOwned { oid, parameters });
    assert_eq!(of(oid::SM2_WITH_SM3, Some(Any::null())), Ok(SignatureScheme::Sm2Sm3));
    let sha1_with_rsa = ObjectIdentifier::new_unwrap("1.2.840.113549.1.1.5");
    let refused = |result| matches!(result, Err(FormatError::UnsupportedAlgorithm(_)));
    assert!(refused(of(sha1_with_rsa, Some(Any::null()))));
    assert!(refused(of(oid::SM2_WITH_SM3, Some(Any::from(oid::SM2_CURVE)))));
    assert!(refused(of(oid::RSASSA_PSS, None)), "the defaults are of SHA-1");

    // PSS with SHA-256 and 20 bytes of salt.
    let mut identifier = SignatureScheme::RsaPss(Sha256).identifier().to_der().unwrap();
    *identifier.last_mut().unwrap() = 20;
    let short_salt = AlgorithmIdentifierOwned::from_der(&identifier).unwrap();
    assert!(refused(SignatureScheme::from_identifier(&short_salt)));
}

#[test]
fn algorithms_have_one_name_everywhere() {
    for algorithm in Algorithm::ALL {
        assert_eq!(algorithm.name().parse(), Ok(algorithm));
        assert_eq!(algorithm.to_string(), algorithm.name());
        assert_eq!(serde_json::to_value(algorithm).unwrap(), algorithm.name());
        assert_eq!(serde_json::from_value::<Algorithm>(algorithm.name().into()).unwrap(), algorithm);
    }
    assert_eq!("SM2-SM3".parse::<Algorithm>(), Err(UnknownAlgorithm));
}
