//! Encryption with AES, SM4, RSA and SM2.
#![allow(clippy::unwrap_used, reason = "a failure is the test's")]

mod device;

use cryptoki::{
    error::RvError,
    mechanism::{
        Mechanism, MechanismType,
        aead::GcmParams,
        rsa::{PkcsMgfType, PkcsOaepParams, PkcsOaepSource},
    },
    object::{Attribute, KeyType, ObjectClass, ObjectHandle},
    session::Session,
};
use cryptoki_sys::CK_AES_CTR_PARAMS;
use device::*;

fn import(session: &Session, kind: KeyType, value: &[u8]) -> ObjectHandle {
    session
        .create_object(&[
            Attribute::Class(ObjectClass::SECRET_KEY),
            Attribute::KeyType(kind),
            Attribute::Value(value.to_vec()),
        ])
        .unwrap()
}

fn octets(hexadecimal: &str) -> Vec<u8> {
    hex::decode(hexadecimal).unwrap()
}

#[test]
fn sm4_gives_the_standards_block_and_modes_undo_themselves() {
    let session = fresh_session();
    // GB/T 32907-2016, annex A.1.
    let value = octets("0123456789abcdeffedcba9876543210");
    let key = import(&session, sm4_key_type(), &value);
    let block = session.encrypt(&vendor(SM4_ECB), key, &value).unwrap();
    assert_eq!(hex::encode(block), "681edf34d206965e86b3e94f536e4246");

    let (iv, counter) = ([9_u8; 16], CK_AES_CTR_PARAMS { ulCounterBits: 128, cb: [255; 16] });
    for mechanism in [
        vendor(SM4_ECB),
        vendor_with(SM4_CBC, Some(&iv)),
        vendor_with(SM4_CBC_PAD, Some(&iv)),
        vendor_with(SM4_CTR, Some(&counter)),
    ] {
        let ciphertext = session.encrypt(&mechanism, key, &[7; 48]).unwrap();
        assert_eq!(session.decrypt(&mechanism, key, &ciphertext).unwrap(), [7; 48], "{mechanism:?}");
    }
    let cbc = vendor_with(SM4_CBC, Some(&iv));
    assert_eq!(refused(session.encrypt(&cbc, key, &[7; 15])), RvError::DataLenRange);
    let short_iv = [9_u8; 8];
    let outcome = session.encrypt(&vendor_with(SM4_CBC, Some(&short_iv)), key, &[7; 16]);
    assert_eq!(refused(outcome), RvError::MechanismParamInvalid);
}

#[test]
fn aes_gives_the_standards_block_for_each_key_length() {
    let session = fresh_session();
    // FIPS 197, appendix C.
    let plaintext = octets("00112233445566778899aabbccddeeff");
    for (len, expected) in [
        (16, "69c4e0d86a7b0430d8cdb78070b4c55a"),
        (24, "dda97ca4864cdfe06eaf70a0ec0d7191"),
        (32, "8ea2b7ca516745bfeafc49904b496089"),
    ] {
        let value: Vec<u8> = (0..len).collect();
        let key = import(&session, KeyType::AES, &value);
        assert_eq!(hex::encode(session.encrypt(&Mechanism::AesEcb, key, &plaintext).unwrap()), expected);
    }
}

#[test]
fn gcm_notices_a_change_of_text_or_associated_data() {
    let session = fresh_session();
    let aes = session.generate_key(&Mechanism::AesKeyGen, &[Attribute::ValueLen(32.into())]).unwrap();
    let gcm = |iv: &mut [u8; 12], aad: &[u8], text: &[u8], encrypt| {
        let mechanism = Mechanism::AesGcm(GcmParams::new(iv, aad, 128.into()).unwrap());
        if encrypt { session.encrypt(&mechanism, aes, text) } else { session.decrypt(&mechanism, aes, text) }
    };
    let mut ciphertext = gcm(&mut [1; 12], b"aad", b"plaintext", true).unwrap();
    assert_eq!(ciphertext.len(), 9 + 16);
    assert_eq!(gcm(&mut [1; 12], b"aad", &ciphertext, false).unwrap(), b"plaintext");
    let invalid = RvError::EncryptedDataInvalid;
    assert_eq!(refused(gcm(&mut [1; 12], b"add", &ciphertext, false)), invalid);
    ciphertext[0] ^= 1;
    assert_eq!(refused(gcm(&mut [1; 12], b"aad", &ciphertext, false)), invalid);
}

#[test]
fn sm4_gcm_gives_the_rfcs_tag() {
    let session = fresh_session();
    // RFC 8998, appendix A.1.
    let key = import(&session, sm4_key_type(), &octets("0123456789abcdeffedcba9876543210"));
    let mut iv = octets("00001234567800000000abcd");
    let mut aad = octets("feedfacedeadbeeffeedfacedeadbeefabaddad2");
    let plaintext = octets(concat!(
        "aaaaaaaaaaaaaaaabbbbbbbbbbbbbbbbccccccccccccccccdddddddddddddddd",
        "eeeeeeeeeeeeeeeeffffffffffffffffeeeeeeeeeeeeeeeeaaaaaaaaaaaaaaaa"
    ));
    let params = cryptoki_sys::CK_AES_GCM_PARAMS {
        pIv: iv.as_mut_ptr(),
        ulIvLen: 12,
        ulIvBits: 96,
        pAAD: aad.as_mut_ptr(),
        ulAADLen: 20,
        ulTagBits: 128,
    };
    let mechanism = vendor_with(SM4_GCM, Some(&params));
    let ciphertext = session.encrypt(&mechanism, key, &plaintext).unwrap();
    assert_eq!(hex::encode(&ciphertext[64..]), "83de3541e4c2b58177e065a9bf7b62ec");
    assert_eq!(session.decrypt(&mechanism, key, &ciphertext).unwrap(), plaintext);
}

#[test]
fn padding_that_is_wrong_is_refused() {
    let session = fresh_session();
    let key = session.generate_key(&vendor(SM4_KEY_GEN), &[]).unwrap();
    let iv = [0_u8; 16];
    let ciphertext = session.encrypt(&vendor_with(SM4_CBC, Some(&iv)), key, &[0; 16]).unwrap();
    let outcome = session.decrypt(&vendor_with(SM4_CBC_PAD, Some(&iv)), key, &ciphertext);
    assert_eq!(refused(outcome), RvError::EncryptedDataInvalid);
    let outcome = session.decrypt(&vendor_with(SM4_CBC_PAD, Some(&iv)), key, &ciphertext[..15]);
    assert_eq!(refused(outcome), RvError::EncryptedDataLenRange);
}

#[test]
fn parts_decrypt_as_the_whole_does() {
    let session = fresh_session();
    let key = session.generate_key(&Mechanism::AesKeyGen, &[Attribute::ValueLen(16.into())]).unwrap();
    let mechanism = Mechanism::AesCbcPad([3; 16]);
    session.encrypt_init(&mechanism, key).unwrap();
    let mut ciphertext = session.encrypt_update(b"one ").unwrap();
    ciphertext.extend(session.encrypt_update(b"and two").unwrap());
    ciphertext.extend(session.encrypt_final().unwrap());
    assert_eq!(session.decrypt(&mechanism, key, &ciphertext).unwrap(), b"one and two");
    session.decrypt_init(&mechanism, key).unwrap();
    let mut plaintext = session.decrypt_update(&ciphertext[..5]).unwrap();
    plaintext.extend(session.decrypt_update(&ciphertext[5..]).unwrap());
    plaintext.extend(session.decrypt_final().unwrap());
    assert_eq!(plaintext, b"one and two");
}

#[test]
fn rsa_encrypts_with_both_paddings() {
    let session = fresh_session();
    let (public, private) = rsa_pair(&session, &[]);
    let oaep = |label| {
        let source = PkcsOaepSource::data_specified(label);
        Mechanism::RsaPkcsOaep(PkcsOaepParams::new(MechanismType::SHA256, PkcsMgfType::MGF1_SHA1, source))
    };
    for mechanism in [Mechanism::RsaPkcs, oaep(b""), oaep(b"label")] {
        let ciphertext = session.encrypt(&mechanism, public, b"secret").unwrap();
        assert_eq!(session.decrypt(&mechanism, private, &ciphertext).unwrap(), b"secret", "{mechanism:?}");
    }
    let ciphertext = session.encrypt(&oaep(b"label"), public, b"secret").unwrap();
    let outcome = session.decrypt(&oaep(b"other"), private, &ciphertext);
    assert_eq!(refused(outcome), RvError::EncryptedDataInvalid);
    assert_eq!(refused(session.encrypt(&oaep(b""), public, &[0; 200])), RvError::DataLenRange);
}

#[test]
fn sm2_encrypts_and_notices_a_change() {
    let session = fresh_session();
    let (public, private) = sm2_pair(&session, &[]);
    let mut ciphertext = session.encrypt(&vendor(SM2_ENCRYPT), public, b"secret").unwrap();
    assert_eq!((ciphertext.len(), ciphertext[0]), (65 + 32 + 6, 4));
    assert_eq!(session.decrypt(&vendor(SM2_ENCRYPT), private, &ciphertext).unwrap(), b"secret");
    ciphertext[70] ^= 1;
    let outcome = session.decrypt(&vendor(SM2_ENCRYPT), private, &ciphertext);
    assert_eq!(refused(outcome), RvError::EncryptedDataInvalid);
    let outcome = session.decrypt(&vendor(SM2_ENCRYPT), private, &ciphertext[..50]);
    assert_eq!(refused(outcome), RvError::EncryptedDataLenRange);
}
