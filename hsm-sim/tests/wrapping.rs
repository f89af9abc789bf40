//! Keys that leave the device under another key, come back, and work.
#![allow(clippy::unwrap_used, reason = "a failure is the test's")]

mod device;

use cryptoki::{
    error::RvError,
    mechanism::{
        Mechanism, MechanismType,
        elliptic_curve::{EcKdf, Ecdh1DeriveParams},
        rsa::{PkcsMgfType, PkcsOaepParams, PkcsOaepSource},
    },
    object::{Attribute, AttributeType, KeyType, ObjectClass, ObjectHandle},
    session::Session,
};
use device::*;

const IV: [u8; 16] = [5; 16];

fn wrapping_key(session: &Session, mechanism: &Mechanism) -> ObjectHandle {
    let mut template = vec![Attribute::Wrap(true), Attribute::Unwrap(true)];
    if matches!(mechanism, Mechanism::AesKeyGen) {
        template.push(Attribute::ValueLen(32.into()));
    }
    session.generate_key(mechanism, &template).unwrap()
}

fn private_key(kind: KeyType) -> [Attribute; 3] {
    [Attribute::Class(ObjectClass::PRIVATE_KEY), Attribute::KeyType(kind), Attribute::Extractable(false)]
}

#[test]
fn every_private_key_returns_from_under_every_wrapping_mechanism() {
    let session = fresh_session();
    let (aes, sm4) =
        (wrapping_key(&session, &Mechanism::AesKeyGen), wrapping_key(&session, &vendor(SM4_KEY_GEN)));
    let out = [Attribute::Extractable(true)];
    let keys = [
        (sm2_key_type(), sm2_pair(&session, &out), vendor(SM2)),
        (KeyType::EC, p256_pair(&session, &out), Mechanism::Ecdsa),
        (KeyType::RSA, rsa_pair(&session, &out), Mechanism::RsaPkcs),
    ];
    let wrappings = [
        (aes, Mechanism::AesKeyWrapPad),
        (aes, Mechanism::AesCbcPad(IV)),
        (sm4, vendor_with(SM4_CBC_PAD, Some(&IV))),
    ];
    for (kind, (public, private), signing) in &keys {
        for (wrapping, mechanism) in &wrappings {
            let wrapped = session.wrap_key(mechanism, *wrapping, *private).unwrap();
            let back = session.unwrap_key(mechanism, *wrapping, &wrapped, &private_key(*kind)).unwrap();
            let signature = session.sign(signing, back, &[1; 32]).unwrap();
            session.verify(signing, *public, &[1; 32], &signature).unwrap();
            for (wanted, expected) in [
                (AttributeType::Local, Attribute::Local(false)),
                (AttributeType::AlwaysSensitive, Attribute::AlwaysSensitive(false)),
                (AttributeType::NeverExtractable, Attribute::NeverExtractable(false)),
                (AttributeType::Extractable, Attribute::Extractable(false)),
            ] {
                assert_eq!(attribute(&session, back, wanted), expected);
            }
            let outcome = session.wrap_key(mechanism, *wrapping, back);
            assert_eq!(refused(outcome), RvError::KeyUnextractable);
        }
    }
}

#[test]
fn a_wrapped_private_key_is_pkcs8() {
    let session = fresh_session();
    let value: [u8; 16] = [3; 16];
    let kek = session
        .create_object(&[
            Attribute::Class(ObjectClass::SECRET_KEY),
            Attribute::KeyType(sm4_key_type()),
            Attribute::Value(value.to_vec()),
            Attribute::Wrap(true),
        ])
        .unwrap();
    let (_, private) = sm2_pair(&session, &[Attribute::Extractable(true)]);
    let mechanism = vendor_with(SM4_CBC_PAD, Some(&IV));
    let wrapped = session.wrap_key(&mechanism, kek, private).unwrap();
    let der = session.decrypt(&mechanism, kek, &wrapped).unwrap();
    // SEQUENCE (long length) { 0, { id-ecPublicKey, sm2p256v1 }, OCTET STRING … }
    let head = [0x02, 0x01, 0x00, 0x30, 0x13, 0x06, 0x07, 0x2A, 0x86, 0x48, 0xCE, 0x3D, 0x02, 0x01];
    assert_eq!((der[0], &der[3..17], &der[17..27]), (0x30, &head[..], SM2_CURVE));
}

#[test]
fn symmetric_keys_return_too_under_rsa_and_sm2_as_well() {
    let session = fresh_session();
    let kek = wrapping_key(&session, &Mechanism::AesKeyGen);
    let public = [Attribute::Wrap(true), Attribute::ModulusBits(2048.into())];
    let rsa = session
        .generate_key_pair(&Mechanism::RsaPkcsKeyPairGen, &public, &[Attribute::Unwrap(true)])
        .unwrap();
    let sm2 = session
        .generate_key_pair(&vendor(SM2_KEY_PAIR_GEN), &public[..1], &[Attribute::Unwrap(true)])
        .unwrap();
    let oaep = PkcsOaepParams::new(MechanismType::SHA256, PkcsMgfType::MGF1_SHA256, PkcsOaepSource::empty());
    let secret = session.generate_key(&vendor(SM4_KEY_GEN), &[Attribute::Extractable(true)]).unwrap();
    let expected = session.encrypt(&vendor(SM4_ECB), secret, &[1; 16]).unwrap();
    let template = [Attribute::Class(ObjectClass::SECRET_KEY), Attribute::KeyType(sm4_key_type())];
    for (mechanism, (out, back)) in [
        (Mechanism::AesKeyWrap, (kek, kek)),
        (Mechanism::AesKeyWrapPad, (kek, kek)),
        (Mechanism::AesCbcPad(IV), (kek, kek)),
        (Mechanism::RsaPkcs, rsa),
        (Mechanism::RsaPkcsOaep(oaep), rsa),
        (vendor(SM2_ENCRYPT), sm2),
    ] {
        let wrapped = session.wrap_key(&mechanism, out, secret).unwrap();
        let again = session.unwrap_key(&mechanism, back, &wrapped, &template).unwrap();
        assert_eq!(session.encrypt(&vendor(SM4_ECB), again, &[1; 16]).unwrap(), expected);
    }
}

#[test]
fn a_damaged_or_mistaken_wrapping_is_refused() {
    let session = fresh_session();
    let kek = wrapping_key(&session, &Mechanism::AesKeyGen);
    let (_, private) = sm2_pair(&session, &[Attribute::Extractable(true)]);
    let mut wrapped = session.wrap_key(&Mechanism::AesKeyWrapPad, kek, private).unwrap();
    let unwrap = |octets: &[u8], kind| {
        refused(session.unwrap_key(&Mechanism::AesKeyWrapPad, kek, octets, &private_key(kind)))
    };
    // An SM2 key is no P-256 key and no RSA key.
    assert_eq!(unwrap(&wrapped, KeyType::EC), RvError::WrappedKeyInvalid);
    assert_eq!(unwrap(&wrapped, KeyType::RSA), RvError::WrappedKeyInvalid);
    assert_eq!(unwrap(&wrapped[..8], sm2_key_type()), RvError::WrappedKeyInvalid);
    wrapped[20] ^= 1;
    assert_eq!(unwrap(&wrapped, sm2_key_type()), RvError::WrappedKeyInvalid);
}

#[test]
fn a_key_that_may_not_wrap_does_not() {
    let session = fresh_session();
    let template = [Attribute::ValueLen(16.into())];
    let plain = session.generate_key(&Mechanism::AesKeyGen, &template).unwrap();
    let (_, private) = sm2_pair(&session, &[Attribute::Extractable(true)]);
    let outcome = session.wrap_key(&Mechanism::AesKeyWrapPad, plain, private);
    assert_eq!(refused(outcome), RvError::KeyFunctionNotPermitted);
    let kek = wrapping_key(&session, &Mechanism::AesKeyGen);
    let (_, guarded) = sm2_pair(&session, &[Attribute::Extractable(true), Attribute::WrapWithTrusted(true)]);
    let outcome = session.wrap_key(&Mechanism::AesKeyWrapPad, kek, guarded);
    assert_eq!(refused(outcome), RvError::KeyUnextractable);
    let outcome = session.wrap_key(&vendor_with(SM4_CBC_PAD, Some(&IV)), kek, private);
    assert_eq!(refused(outcome), RvError::WrappingKeyTypeInconsistent);
}

#[test]
fn both_sides_of_a_key_agreement_derive_the_same_key() {
    let session = fresh_session();
    let derive = [Attribute::Derive(true)];
    let (public_a, a) = p256_pair(&session, &derive);
    let (public_b, b) = p256_pair(&session, &derive);
    let template = [
        Attribute::Class(ObjectClass::SECRET_KEY),
        Attribute::KeyType(KeyType::GENERIC_SECRET),
        Attribute::Sensitive(false),
        Attribute::Extractable(true),
    ];
    let agree = |own, other| {
        let Attribute::EcPoint(point) = attribute(&session, other, AttributeType::EcPoint) else { panic!() };
        let mechanism = Mechanism::Ecdh1Derive(Ecdh1DeriveParams::new(EcKdf::null(), &point));
        let key = session.derive_key(&mechanism, own, &template).unwrap();
        attribute(&session, key, AttributeType::Value)
    };
    let shared = agree(a, public_b);
    assert_eq!(shared, agree(b, public_a));
    assert!(matches!(shared, Attribute::Value(octets) if octets.len() == 32));
}
