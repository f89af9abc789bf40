//! Objects: import, search, attributes and what protects them.

mod device;

use cryptoki::{
    error::RvError,
    mechanism::Mechanism,
    object::{Attribute, AttributeType, CertificateType, KeyType, ObjectClass},
};
use device::*;

#[test]
fn a_generated_private_key_tells_its_history_and_hides_its_value() {
    let session = fresh_session();
    let (public, private) = sm2_pair(&session, &[Attribute::Id(vec![1])]);
    for (wanted, expected) in [
        (AttributeType::Sensitive, Attribute::Sensitive(true)),
        (AttributeType::AlwaysSensitive, Attribute::AlwaysSensitive(true)),
        (AttributeType::Extractable, Attribute::Extractable(false)),
        (AttributeType::NeverExtractable, Attribute::NeverExtractable(true)),
        (AttributeType::Local, Attribute::Local(true)),
        (AttributeType::Private, Attribute::Private(true)),
        (AttributeType::KeyType, Attribute::KeyType(sm2_key_type())),
        (AttributeType::EcParams, Attribute::EcParams(SM2_CURVE.to_vec())),
        (AttributeType::Id, Attribute::Id(vec![1])),
    ] {
        assert_eq!(attribute(&session, private, wanted), expected);
    }
    assert_eq!(
        attribute(&session, private, AttributeType::EcPoint),
        attribute(&session, public, AttributeType::EcPoint)
    );
    assert_eq!(session.get_attributes(private, &[AttributeType::Value]).unwrap(), []);
}

#[test]
fn an_extractable_key_that_is_not_sensitive_shows_its_value() {
    let session = fresh_session();
    let open = [Attribute::Sensitive(false), Attribute::Extractable(true)];
    let (_, private) = p256_pair(&session, &open);
    let Attribute::Value(scalar) = attribute(&session, private, AttributeType::Value) else { panic!() };
    assert_eq!(scalar.len(), 32);
    // Turning sensitive is a way of no return.
    session.update_attributes(private, &[Attribute::Sensitive(true)]).unwrap();
    assert_eq!(session.get_attributes(private, &[AttributeType::Value]).unwrap(), []);
    for loosened in [Attribute::Sensitive(false), Attribute::AlwaysSensitive(true)] {
        let outcome = session.update_attributes(private, &[loosened]);
        assert_eq!(refused(outcome), RvError::AttributeReadOnly);
    }
    session.update_attributes(private, &[Attribute::Extractable(false)]).unwrap();
    let outcome = session.update_attributes(private, &[Attribute::Extractable(true)]);
    assert_eq!(refused(outcome), RvError::AttributeReadOnly);
}

#[test]
fn a_search_matches_every_attribute_of_the_template() {
    let session = fresh_session();
    let label = |text: &str| Attribute::Label(text.into());
    let (public_a, a) = sm2_pair(&session, &[label("a"), Attribute::Id(vec![1])]);
    let (_, b) = p256_pair(&session, &[label("b"), Attribute::Id(vec![1])]);
    let private = Attribute::Class(ObjectClass::PRIVATE_KEY);
    let find = |template: &[Attribute]| session.find_objects(template).unwrap();
    assert_eq!(find(&[Attribute::Id(vec![1]), private.clone()]), [a, b]);
    assert_eq!(find(&[Attribute::Id(vec![1]), label("b")]), [b]);
    assert_eq!(find(&[Attribute::KeyType(sm2_key_type())]), [public_a, a]);
    assert_eq!(find(&[label("c")]), []);
    assert_eq!(find(&[]).len(), 4);
}

#[test]
fn hidden_values_cannot_be_found_by_guessing() {
    let session = fresh_session();
    let template = [
        Attribute::Class(ObjectClass::SECRET_KEY),
        Attribute::KeyType(KeyType::GENERIC_SECRET),
        Attribute::Value(b"guess me".to_vec()),
    ];
    session.create_object(&template).unwrap();
    assert_eq!(session.find_objects(&template[2..]).unwrap(), []);
}

#[test]
fn templates_that_lack_or_contradict_something_are_refused() {
    let session = fresh_session();
    let class = Attribute::Class(ObjectClass::PUBLIC_KEY);
    let kind = Attribute::KeyType(KeyType::EC);
    let params = Attribute::EcParams(P256.to_vec());
    let point = Attribute::EcPoint([[4, 65, 4].as_slice(), &[1; 64]].concat());
    let create = |template: &[Attribute]| refused(session.create_object(template));
    assert_eq!(create(std::slice::from_ref(&kind)), RvError::TemplateIncomplete);
    assert_eq!(create(&[class.clone(), kind.clone(), params.clone()]), RvError::TemplateIncomplete);
    // The point is not on the curve.
    assert_eq!(create(&[class.clone(), kind.clone(), params.clone(), point]), RvError::AttributeValueInvalid);
    let sm2 = Attribute::EcParams(SM2_CURVE.to_vec());
    let outcome = create(&[class.clone(), kind.clone(), sm2, Attribute::EcPoint(vec![4])]);
    assert_eq!(outcome, RvError::CurveNotSupported);
    assert_eq!(create(&[class.clone(), Attribute::Sign(true)]), RvError::AttributeTypeInvalid);
    assert_eq!(create(&[class.clone(), Attribute::Local(true)]), RvError::AttributeReadOnly);
    assert_eq!(create(&[class.clone(), class]), RvError::TemplateInconsistent);
    let outcome = session.generate_key(&Mechanism::AesKeyGen, &[Attribute::ValueLen(17.into())]);
    assert_eq!(refused(outcome), RvError::KeySizeRange);
}

#[test]
fn an_rsa_key_given_by_its_numbers_signs() {
    let session = fresh_session();
    let open = [Attribute::Sensitive(false), Attribute::Extractable(true)];
    let (public, private) = rsa_pair(&session, &open);
    let numbers = |wanted: &[AttributeType]| session.get_attributes(private, wanted).unwrap();
    let base = [Attribute::Class(ObjectClass::PRIVATE_KEY), Attribute::KeyType(KeyType::RSA)];
    let (n, e, d) = (AttributeType::Modulus, AttributeType::PublicExponent, AttributeType::PrivateExponent);
    let (p, q) = (AttributeType::Prime1, AttributeType::Prime2);
    // With the primes, and without: then they are recovered.
    for wanted in [&[n, e, d, p, q][..], &[n, e, d]] {
        let imported = session.create_object(&[base.as_slice(), &numbers(wanted)].concat()).unwrap();
        assert_eq!(attribute(&session, imported, AttributeType::Local), Attribute::Local(false));
        let signature = session.sign(&Mechanism::Sha256RsaPkcs, imported, b"message").unwrap();
        session.verify(&Mechanism::Sha256RsaPkcs, public, b"message", &signature).unwrap();
    }
    let mut wrong = [base.as_slice(), &numbers(&[n, e])].concat();
    wrong.push(Attribute::PrivateExponent(vec![3; 256]));
    assert_eq!(refused(session.create_object(&wrong)), RvError::AttributeValueInvalid);
}

#[test]
fn certificates_and_data_are_kept_as_given() {
    let session = fresh_session();
    let certificate = session
        .create_object(&[
            Attribute::Class(ObjectClass::CERTIFICATE),
            Attribute::CertificateType(CertificateType::X_509),
            Attribute::Value(b"DER".to_vec()),
            Attribute::Token(true),
        ])
        .unwrap();
    assert_eq!(attribute(&session, certificate, AttributeType::Value), Attribute::Value(b"DER".to_vec()));
    let data = session
        .create_object(&[
            Attribute::Class(ObjectClass::DATA),
            Attribute::Application(b"gateway".to_vec()),
            Attribute::Value(b"octets".to_vec()),
            Attribute::Private(true),
        ])
        .unwrap();
    assert_eq!(attribute(&session, data, AttributeType::Value), Attribute::Value(b"octets".to_vec()));
    session.logout().unwrap();
    assert_eq!(session.find_objects(&[]).unwrap(), [certificate]);
}

#[test]
fn a_copy_may_differ_only_towards_more_protection() {
    let session = fresh_session();
    let open = [Attribute::Sensitive(false), Attribute::Extractable(true)];
    let (_, private) = p256_pair(&session, &open);
    let label = Attribute::Label(b"copy".to_vec());
    let copy = session.copy_object(private, &[label.clone(), Attribute::Sensitive(true)]).unwrap();
    assert_eq!(attribute(&session, copy, AttributeType::Label), label);
    assert_eq!(attribute(&session, copy, AttributeType::Sensitive), Attribute::Sensitive(true));
    session.sign(&Mechanism::Ecdsa, copy, &[1; 32]).unwrap();
    let outcome = session.copy_object(copy, &[Attribute::Sensitive(false)]);
    assert_eq!(refused(outcome), RvError::AttributeReadOnly);
    let outcome = session.copy_object(copy, &[Attribute::Private(false)]);
    assert_eq!(refused(outcome), RvError::TemplateInconsistent);
}

#[test]
fn modifiable_copyable_and_destroyable_are_honoured() {
    let session = fresh_session();
    let fixed = [Attribute::Modifiable(false), Attribute::Copyable(false), Attribute::Destroyable(false)];
    let (public, private) = p256_pair(&session, &fixed);
    let label = [Attribute::Label(b"new".to_vec())];
    let read_only = RvError::AttributeReadOnly;
    assert_eq!(refused(session.update_attributes(private, &label)), read_only);
    assert_eq!(refused(session.copy_object(private, &label)), RvError::ActionProhibited);
    assert_eq!(refused(session.destroy_object(private)), RvError::ActionProhibited);
    session.destroy_object(public).unwrap();
    assert_eq!(refused(session.destroy_object(public)), RvError::ObjectHandleInvalid);
}

#[test]
fn session_objects_go_with_their_session_and_token_objects_stay() {
    let session = fresh_session();
    let slot = session.get_session_info().unwrap().slot_id();
    let other = DEVICE.pkcs11.open_rw_session(slot).unwrap();
    let (_, kept) = sm2_pair(&other, &[Attribute::Token(true)]);
    assert_eq!(session.find_objects(&[]).unwrap().len(), 2);
    other.close().unwrap();
    assert_eq!(session.find_objects(&[]).unwrap(), [kept]);
}
