//! What outlives the library. One test, since it ends and restarts the program's only module.
#![allow(clippy::unwrap_used, reason = "a failure is the test's")]

mod device;

use cryptoki::{
    context::Pkcs11,
    error::RvError,
    mechanism::Mechanism,
    object::{Attribute, AttributeType, ObjectClass},
    slot::Slot,
};
use device::*;

#[test]
fn token_objects_outlive_the_library_and_session_objects_do_not() {
    let site = Site::new(1, 4);
    site.select();
    let pkcs11 = Pkcs11::new(module_path()).unwrap();
    initialize(&pkcs11);
    let slot = Slot::try_from(0_u64).unwrap();
    initialize_token(&pkcs11, slot);
    let session = log_in(&pkcs11, slot);
    let label = Attribute::Label(b"first".to_vec());
    let token = [Attribute::Token(true), label.clone()];
    let pairs = [sm2_pair(&session, &token), p256_pair(&session, &token), rsa_pair(&session, &token)];
    let mechanisms = [vendor(SM2), Mechanism::Ecdsa, Mechanism::RsaPkcs];
    let secret = [Attribute::Token(true), Attribute::ValueLen(16.into()), Attribute::Private(false)];
    let secret = session.generate_key(&Mechanism::AesKeyGen, &secret).unwrap();
    let ciphertext = session.encrypt(&Mechanism::AesEcb, secret, &[1; 16]).unwrap();
    let points = pairs.map(|(_, private)| {
        session.get_attributes(private, &[AttributeType::EcPoint, AttributeType::Modulus]).unwrap()
    });
    let renamed = Attribute::Label(b"renamed".to_vec());
    session.update_attributes(pairs[1].1, std::slice::from_ref(&renamed)).unwrap();

    // The limit counts sessions of all kinds.
    let others: Vec<_> = (0..3).map(|_| pkcs11.open_ro_session(slot).unwrap()).collect();
    assert_eq!(refused(pkcs11.open_ro_session(slot)), RvError::SessionCount);
    drop(others);
    session.close().unwrap();
    pkcs11.finalize().unwrap();
    assert_no_secret_in_the_clear(&site);

    let pkcs11 = Pkcs11::new(module_path()).unwrap();
    assert_eq!(refused(pkcs11.get_all_slots()), RvError::CryptokiNotInitialized);
    initialize(&pkcs11);
    let session = pkcs11.open_rw_session(slot).unwrap();
    // Only what is public shows before login; its key is sealed all the same.
    assert_eq!(session.find_objects(&[]).unwrap().len(), 1);
    let outcome = session.encrypt(&Mechanism::AesEcb, session.find_objects(&[]).unwrap()[0], &[1; 16]);
    assert_eq!(refused(outcome), RvError::UserNotLoggedIn);
    session.close().unwrap();

    let session = log_in(&pkcs11, slot);
    let private = Attribute::Class(ObjectClass::PRIVATE_KEY);
    assert_eq!(session.find_objects(std::slice::from_ref(&private)).unwrap().len(), 3);
    assert_eq!(session.find_objects(&[renamed]).unwrap().len(), 1);
    assert_eq!(session.find_objects(&[label]).unwrap().len(), 2);
    for (attributes, mechanism) in points.iter().zip(&mechanisms) {
        let found =
            session.find_objects(&[attributes.as_slice(), std::slice::from_ref(&private)].concat()).unwrap();
        session.sign(mechanism, found[0], &[1; 32]).unwrap();
    }
    let secret = session.find_objects(&[Attribute::Class(ObjectClass::SECRET_KEY)]).unwrap();
    assert_eq!(session.encrypt(&Mechanism::AesEcb, secret[0], &[1; 16]).unwrap(), ciphertext);
}

/// An import whose value is known must not show in any file.
fn assert_no_secret_in_the_clear(site: &Site) {
    let pkcs11 = Pkcs11::new(module_path()).unwrap();
    initialize(&pkcs11);
    let session = log_in(&pkcs11, Slot::try_from(0_u64).unwrap());
    let value = b"0123456789abcdefghijklmnopqrstuv";
    let template = [
        Attribute::Class(ObjectClass::SECRET_KEY),
        Attribute::KeyType(cryptoki::object::KeyType::GENERIC_SECRET),
        Attribute::Value(value.to_vec()),
        Attribute::Token(true),
        Attribute::Private(false),
    ];
    let object = session.create_object(&template).unwrap();
    let folder = site.path().join("tokens/SIM000000");
    let files: Vec<_> = std::fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path()).collect();
    assert!(files.len() > 5, "{files:?}");
    for file in files {
        let octets = std::fs::read(&file).unwrap();
        assert!(!octets.windows(value.len()).any(|window| window == value), "{file:?}");
    }
    session.destroy_object(object).unwrap();
    session.close().unwrap();
    pkcs11.finalize().unwrap();
}
