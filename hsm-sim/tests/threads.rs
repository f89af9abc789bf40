//! Many threads on one device.

mod device;

use std::thread;

use cryptoki::object::{Attribute, ObjectClass};
use device::*;

#[test]
fn eight_threads_sign_with_one_key_and_every_signature_verifies() {
    let session = fresh_session();
    let slot = session.get_session_info().unwrap().slot_id();
    let (public, private) = sm2_pair(&session, &[Attribute::Token(true)]);
    thread::scope(|scope| {
        for worker in 0..8_u8 {
            scope.spawn(move || {
                let own = DEVICE.pkcs11.open_ro_session(slot).unwrap();
                for round in 0..50_u8 {
                    let mut e = [worker; 32];
                    e[0] = round;
                    let signature = own.sign(&vendor(SM2), private, &e).unwrap();
                    own.verify(&vendor(SM2), public, &e, &signature).unwrap();
                }
            });
        }
    });
}

#[test]
fn objects_come_and_go_in_one_thread_while_others_search_and_sign() {
    let session = fresh_session();
    let slot = session.get_session_info().unwrap().slot_id();
    let (_, private) = sm2_pair(&session, &[Attribute::Token(true)]);
    thread::scope(|scope| {
        for _ in 0..3 {
            scope.spawn(|| {
                let own = DEVICE.pkcs11.open_rw_session(slot).unwrap();
                for _ in 0..20 {
                    let (public, private) = p256_pair(&own, &[Attribute::Token(true)]);
                    own.destroy_object(public).unwrap();
                    own.destroy_object(private).unwrap();
                }
            });
            scope.spawn(|| {
                let own = DEVICE.pkcs11.open_ro_session(slot).unwrap();
                for _ in 0..50 {
                    own.find_objects(&[]).unwrap();
                    own.sign(&vendor(SM2), private, &[3; 32]).unwrap();
                }
            });
        }
    });
    let left = session.find_objects(&[Attribute::Class(ObjectClass::PRIVATE_KEY)]).unwrap();
    assert_eq!(left, [private]);
}
