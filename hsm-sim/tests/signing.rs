//! Signatures and MACs of every kind.
#![allow(clippy::unwrap_used, reason = "a failure is the test's")]

mod device;

use cryptoki::{
    error::RvError,
    mechanism::{
        Mechanism, MechanismType,
        rsa::{PkcsMgfType, PkcsPssParams},
    },
    object::{Attribute, KeyType, ObjectClass},
};
use device::*;

// GB/T 32918.5-2017, annex A.2.
const PRIVATE: &str = "3945208f7b2144b13f36e38ac6d39f95889393692860b51a42fb81ef4df7c5b8";
const POINT: &str = "04410409f9df311e5421a150dd7d161e4bc5c672179fad1833fc076bb08ff356f35020\
                     ccea490ce26775a52dc6ea718cc1aa600aed05fbf35e084a6632f6072da9ad13";
const E: &str = "f0b43e94ba45accaace692ed534382eb17e6ab5a19ce7b31f4486fdfc0d28640";
const SIGNATURE: &str = "f5a03b0648d2c4630eeac513e1bb81a15944da3827d5b74143ac7eaceee720b3\
                         b1b6aa29df212fd8763182bc0d421ca1bb9038fd1f7f42d4840b69c485bbc1aa";

fn octets(hexadecimal: &str) -> Vec<u8> {
    hex::decode(hexadecimal).unwrap()
}

#[test]
fn the_standards_sm2_key_verifies_the_standards_signature_and_its_own() {
    let session = fresh_session();
    let private = session
        .create_object(&[
            Attribute::Class(ObjectClass::PRIVATE_KEY),
            Attribute::KeyType(sm2_key_type()),
            Attribute::EcParams(SM2_CURVE.to_vec()),
            Attribute::Value(octets(PRIVATE)),
        ])
        .unwrap();
    // The device works out the point, which vendors show on private keys too.
    let point = attribute(&session, private, cryptoki::object::AttributeType::EcPoint);
    assert_eq!(point, Attribute::EcPoint(octets(POINT)));
    let public = session
        .create_object(&[
            Attribute::Class(ObjectClass::PUBLIC_KEY),
            Attribute::KeyType(sm2_key_type()),
            Attribute::EcParams(SM2_CURVE.to_vec()),
            Attribute::EcPoint(octets(POINT)),
        ])
        .unwrap();
    session.verify(&vendor(SM2), public, &octets(E), &octets(SIGNATURE)).unwrap();
    session.verify(&vendor(SM2_SM3), public, b"message digest", &octets(SIGNATURE)).unwrap();

    let signature = session.sign(&vendor(SM2), private, &octets(E)).unwrap();
    assert_eq!(signature.len(), 64);
    session.verify(&vendor(SM2_SM3), public, b"message digest", &signature).unwrap();
    let signature = session.sign(&vendor(SM2_SM3), private, b"message digest").unwrap();
    session.verify(&vendor(SM2), public, &octets(E), &signature).unwrap();
}

#[test]
fn an_sm2_identity_in_the_parameter_changes_what_is_signed() {
    let session = fresh_session();
    let (public, private) = sm2_pair(&session, &[]);
    let (default, other) = (*b"1234567812345678", *b"ALICE123@YAHOO.C");
    let message = b"message";
    let signature = session.sign(&vendor_with(SM2_SM3, Some(&other)), private, message).unwrap();
    session.verify(&vendor_with(SM2_SM3, Some(&other)), public, message, &signature).unwrap();
    let outcome = session.verify(&vendor(SM2_SM3), public, message, &signature);
    assert_eq!(refused(outcome), RvError::SignatureInvalid);
    let signature = session.sign(&vendor(SM2_SM3), private, message).unwrap();
    session.verify(&vendor_with(SM2_SM3, Some(&default)), public, message, &signature).unwrap();
}

#[test]
fn sm2_takes_a_digest_of_32_octets_and_nothing_else() {
    let session = fresh_session();
    let (public, private) = sm2_pair(&session, &[]);
    for len in [0, 31, 33] {
        let outcome = session.sign(&vendor(SM2), private, &vec![1; len]);
        assert_eq!(refused(outcome), RvError::DataLenRange, "{len}");
    }
    let mut signature = session.sign(&vendor(SM2), private, &[1; 32]).unwrap();
    let outcome = session.verify(&vendor(SM2), public, &[1; 32], &signature[..63]);
    assert_eq!(refused(outcome), RvError::SignatureLenRange);
    signature[40] ^= 1;
    let outcome = session.verify(&vendor(SM2), public, &[1; 32], &signature);
    assert_eq!(refused(outcome), RvError::SignatureInvalid);
}

#[test]
fn ecdsa_signs_on_both_curves() {
    let session = fresh_session();
    for (params, len) in [(P256, 64), (P384, 96)] {
        let (public, private) = curve_pair(&session, &Mechanism::EccKeyPairGen, params, &[]);
        let signature = session.sign(&Mechanism::EcdsaSha256, private, b"message").unwrap();
        assert_eq!(signature.len(), len);
        session.verify(&Mechanism::EcdsaSha256, public, b"message", &signature).unwrap();
        let digest = session.digest(&Mechanism::Sha256, b"message").unwrap();
        session.verify(&Mechanism::Ecdsa, public, &digest, &signature).unwrap();
        let short = session.sign(&Mechanism::Ecdsa, private, &[1, 2, 3]).unwrap();
        session.verify(&Mechanism::Ecdsa, public, &[1, 2, 3], &short).unwrap();
        let outcome = session.verify(&Mechanism::EcdsaSha256, public, b"massage", &signature);
        assert_eq!(refused(outcome), RvError::SignatureInvalid);
    }
}

#[test]
fn rsa_signs_with_every_hash_and_padding() {
    let session = fresh_session();
    let (public, private) = rsa_pair(&session, &[]);
    let pss =
        PkcsPssParams { hash_alg: MechanismType::SHA256, mgf: PkcsMgfType::MGF1_SHA256, s_len: 32.into() };
    for mechanism in [
        Mechanism::RsaPkcs,
        Mechanism::Sha1RsaPkcs,
        Mechanism::Sha256RsaPkcs,
        Mechanism::Sha384RsaPkcs,
        Mechanism::Sha512RsaPkcs,
        Mechanism::RsaPkcsPss(pss),
        Mechanism::Sha256RsaPkcsPss(pss),
    ] {
        let message = [5; 32];
        let signature = session.sign(&mechanism, private, &message).unwrap();
        assert_eq!(signature.len(), 256);
        session.verify(&mechanism, public, &message, &signature).unwrap();
        let outcome = session.verify(&mechanism, public, &[6; 32], &signature);
        assert_eq!(refused(outcome), RvError::SignatureInvalid, "{mechanism:?}");
    }
    let outcome = session.sign(&Mechanism::RsaPkcs, private, &[0; 246]);
    assert_eq!(refused(outcome), RvError::DataLenRange);
}

#[test]
fn pss_parameters_that_contradict_themselves_are_refused() {
    let session = fresh_session();
    let (_, private) = rsa_pair(&session, &[]);
    let pss = |hash_alg, mgf, s_len: u64| {
        let params = PkcsPssParams { hash_alg, mgf, s_len: s_len.into() };
        refused(session.sign(&Mechanism::Sha256RsaPkcsPss(params), private, b"message"))
    };
    let invalid = RvError::MechanismParamInvalid;
    assert_eq!(pss(MechanismType::SHA256, PkcsMgfType::MGF1_SHA384, 32), invalid);
    assert_eq!(pss(MechanismType::SHA384, PkcsMgfType::MGF1_SHA384, 32), invalid);
    assert_eq!(pss(MechanismType::SHA256, PkcsMgfType::MGF1_SHA256, 300), invalid);
}

#[test]
fn macs_verify_and_notice_a_change() {
    let session = fresh_session();
    let key = session
        .create_object(&[
            Attribute::Class(ObjectClass::SECRET_KEY),
            Attribute::KeyType(KeyType::GENERIC_SECRET),
            Attribute::Value(b"key".to_vec()),
        ])
        .unwrap();
    let fox = b"The quick brown fox jumps over the lazy dog";
    let tag = session.sign(&Mechanism::Sha256Hmac, key, fox).unwrap();
    assert_eq!(hex::encode(tag), "f7bc83f430538424b13298e6aa6fb143ef4d59a14946175997479dbc2d1a3cd8");
    let tag = session.sign(&vendor(SM3_HMAC), key, fox).unwrap();
    assert_eq!(tag.len(), 32);
    session.verify(&vendor(SM3_HMAC), key, fox, &tag).unwrap();
    assert_eq!(refused(session.verify(&vendor(SM3_HMAC), key, b"", &tag)), RvError::SignatureInvalid);
}

#[test]
fn parts_sign_and_digest_as_the_whole_does() {
    let session = fresh_session();
    let (public, private) = sm2_pair(&session, &[]);
    session.sign_init(&vendor(SM2_SM3), private).unwrap();
    session.sign_update(b"mess").unwrap();
    session.sign_update(b"age").unwrap();
    let signature = session.sign_final().unwrap();
    session.verify(&vendor(SM2_SM3), public, b"message", &signature).unwrap();
    session.verify_init(&vendor(SM2_SM3), public).unwrap();
    session.verify_update(b"message").unwrap();
    session.verify_final(&signature).unwrap();

    session.digest_init(&vendor(SM3)).unwrap();
    session.digest_update(b"a").unwrap();
    session.digest_update(b"bc").unwrap();
    // GB/T 32905-2016, annex A.1.
    let abc = "66c7f0f462eeedd9d1f2d46bdc10e4e24167c4875cf2f7a2297da02b8f4ba8e0";
    assert_eq!(hex::encode(session.digest_final().unwrap()), abc);
    assert_eq!(hex::encode(session.digest(&vendor(SM3), b"abc").unwrap()), abc);
}

#[test]
fn a_key_does_only_what_its_flags_and_its_type_allow() {
    let session = fresh_session();
    let (public, private) = sm2_pair(&session, &[Attribute::Sign(false)]);
    let outcome = session.sign(&vendor(SM2), private, &[1; 32]);
    assert_eq!(refused(outcome), RvError::KeyFunctionNotPermitted);
    let (_, p256) = p256_pair(&session, &[]);
    assert_eq!(refused(session.sign(&vendor(SM2), p256, &[1; 32])), RvError::KeyTypeInconsistent);
    assert_eq!(refused(session.sign(&vendor(SM2_KEY_PAIR_GEN), p256, b"")), RvError::MechanismInvalid);
    assert_eq!(refused(session.sign(&vendor(0x80C1_FFFF), p256, b"")), RvError::MechanismInvalid);
    // A public key is no signer, whatever its flags say.
    assert_eq!(refused(session.sign(&vendor(SM2), public, &[1; 32])), RvError::KeyFunctionNotPermitted);
    let only = [Attribute::AllowedMechanisms(vec![MechanismType::ECDSA])];
    let (_, bound) = p256_pair(&session, &only);
    session.sign(&Mechanism::Ecdsa, bound, &[1; 32]).unwrap();
    let outcome = session.sign(&Mechanism::EcdsaSha256, bound, b"message");
    assert_eq!(refused(outcome), RvError::KeyFunctionNotPermitted);
}

#[test]
fn random_octets_differ() {
    let session = fresh_session();
    let (one, two) = (session.generate_random_vec(32).unwrap(), session.generate_random_vec(32).unwrap());
    assert_ne!(one, two);
    assert_eq!(refused(session.seed_random(b"seed")), RvError::RandomSeedNotSupported);
}
