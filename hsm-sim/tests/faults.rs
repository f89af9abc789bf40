//! Breakdowns on command. One test, since the fault file is the whole module's.

mod device;

use std::{thread, time::Instant};

use cryptoki::{error::RvError, session::UserType};
use device::*;

#[test]
fn a_device_is_slow_unreachable_and_well_again_on_command() {
    let session = fresh_session();
    let slot = session.get_session_info().unwrap().slot_id();
    let (public, private) = sm2_pair(&session, &[]);
    let signature = session.sign(&vendor(SM2), private, &[3; 32]).unwrap();

    // Slow: every thread waits for the device, none for another thread.
    DEVICE.site.set_faults("latency_ms = 100.0\n");
    let together = || {
        let start = Instant::now();
        thread::scope(|scope| {
            for _ in 0..8 {
                scope.spawn(|| {
                    let own = DEVICE.pkcs11.open_ro_session(slot).unwrap();
                    own.sign(&vendor(SM2), private, &[3; 32]).unwrap();
                });
            }
        });
        start.elapsed().as_millis()
    };
    // One after the other would take 800 ms; a busy machine may take that for once.
    let start = Instant::now();
    loop {
        let elapsed = together();
        assert!(elapsed >= 100, "{elapsed} ms");
        if elapsed < 700 {
            break;
        }
        assert!(start.elapsed().as_secs() < 60, "{elapsed} ms");
    }

    // Unreachable: what crosses the network fails, what the library knows by itself does not.
    DEVICE.site.set_faults("unreachable = true\n");
    let device_error = RvError::DeviceError;
    assert_eq!(refused(session.sign(&vendor(SM2), private, &[3; 32])), device_error);
    assert_eq!(refused(session.verify(&vendor(SM2), public, &[3; 32], &signature)), device_error);
    assert_eq!(refused(session.find_objects(&[])), device_error);
    assert_eq!(refused(session.generate_random_vec(8)), device_error);
    assert_eq!(refused(session.login(UserType::User, Some(&pin(USER_PIN)))), device_error);
    assert_eq!(refused(DEVICE.pkcs11.open_ro_session(slot)), device_error);
    assert_eq!(DEVICE.pkcs11.get_all_slots().unwrap().len(), SLOTS as usize);
    assert!(session.get_session_info().is_ok());

    // A file that makes no sense neither heals nor breaks anything.
    DEVICE.site.set_faults("unreachable = maybe\n");
    assert_eq!(refused(session.verify(&vendor(SM2), public, &[3; 32], &signature)), device_error);
    DEVICE.site.set_faults("");
    session.sign(&vendor(SM2), private, &[3; 32]).unwrap();
}
