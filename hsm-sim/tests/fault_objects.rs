//! Keys that vanish, and handles that come to mean another key.
#![allow(clippy::unwrap_used, reason = "a failure is the test's")]

mod device;

use cryptoki::{
    error::RvError,
    object::{Attribute, AttributeType, ObjectClass},
};
use device::*;

const E: [u8; 32] = [3; 32];

fn id(id: u8) -> [Attribute; 1] {
    [Attribute::Id(vec![id])]
}

#[test]
fn a_vanished_key_is_neither_found_nor_usable_and_comes_back_unharmed() {
    let turn = Turn::take();
    let session = fresh_session();
    let (_, gone) = sm2_pair(&session, &[Attribute::Token(true), Attribute::Id(vec![0xAB])]);
    let (_, kept) = sm2_pair(&session, &id(0xCD));
    session.sign_init(&vendor(SM2), gone).unwrap();
    turn.set("[[fault]]\naction = 'vanish_key'\nkey = 'ab'\n");
    assert_eq!(session.find_objects(&id(0xAB)).unwrap(), []);
    assert_eq!(refused(session.sign_final()), RvError::KeyHandleInvalid);
    assert_eq!(refused(session.sign(&vendor(SM2), gone, &E)), RvError::KeyHandleInvalid);
    let attributes = session.get_attributes(gone, &[AttributeType::Label]);
    assert_eq!(refused(attributes), RvError::ObjectHandleInvalid);
    assert_eq!(refused(session.destroy_object(gone)), RvError::ObjectHandleInvalid);
    session.sign(&vendor(SM2), kept, &E).unwrap();
    turn.set("");
    assert_eq!(session.find_objects(&id(0xAB)).unwrap(), [gone]);
    session.sign(&vendor(SM2), gone, &E).unwrap();
}

#[test]
fn a_key_may_vanish_in_the_middle_of_traffic() {
    let turn = Turn::take();
    let session = fresh_session();
    let (_, key) = sm2_pair(&session, &id(0xAB));
    turn.set("[[fault]]\naction = 'vanish_key'\nkey = 'ab'\nfunction = 'C_SignInit'\nskip = 2\n");
    let outcomes: Vec<_> = (0..4).map(|_| session.sign(&vendor(SM2), key, &E).is_ok()).collect();
    assert_eq!(outcomes, [true, true, false, false]);
}

#[test]
fn after_a_search_old_handles_are_other_keys() {
    let turn = Turn::take();
    let session = fresh_session();
    let pairs = [1, 2, 3].map(|n| sm2_pair(&session, &id(n)));
    let [first, ..] = pairs.map(|(_, private)| private);
    turn.set("[[fault]]\naction = 'reuse_handles'\ncount = 1\n");
    let found = session.find_objects(&id(1)).unwrap();
    assert_ne!(found, [first]);
    // The old handle still signs: with another key of the same kind.
    let signature = session.sign(&vendor(SM2), first, &E).unwrap();
    let own = |handle| attribute(&session, handle, AttributeType::EcPoint);
    let public = |n: usize| {
        session
            .create_object(&[
                Attribute::Class(ObjectClass::PUBLIC_KEY),
                Attribute::KeyType(sm2_key_type()),
                own([found[0], first][n]),
            ])
            .unwrap()
    };
    refused(session.verify(&vendor(SM2), public(0), &E, &signature));
    session.verify(&vendor(SM2), public(1), &E, &signature).unwrap();
    // What the search gave is right, and stays so.
    assert_eq!(session.find_objects(&id(1)).unwrap(), found);
}
