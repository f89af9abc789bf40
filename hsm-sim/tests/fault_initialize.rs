//! `C_Initialize` that hangs or fails, and devices that only it, or a new process, brings back. One test, since the
//! program has one module.
#![allow(clippy::unwrap_used, reason = "a failure is the test's")]

mod device;

use std::{
    sync::mpsc::{RecvTimeoutError, channel},
    thread,
    time::Duration,
};

use cryptoki::{
    context::{CInitializeArgs, CInitializeFlags, Pkcs11},
    error::RvError,
    slot::Slot,
};
use device::*;

#[test]
fn initialisation_hangs_fails_and_heals_on_command() {
    let site = Site::new(1, 16);
    site.select();
    let pkcs11 = Pkcs11::new(module_path()).unwrap();
    let start = || pkcs11.initialize(CInitializeArgs::new(CInitializeFlags::OS_LOCKING_OK));
    let stop = || pkcs11.clone().finalize().unwrap();
    let slot = Slot::try_from(0_u64).unwrap();

    // A hang is the call's own: another call gets its answer.
    site.set_faults("[[fault]]\nfunction = 'C_Initialize'\naction = 'hang'\n");
    let (done, wait) = channel();
    thread::scope(|scope| {
        scope.spawn(|| done.send(start()).unwrap());
        let hanging = wait.recv_timeout(Duration::from_millis(150));
        assert!(matches!(hanging, Err(RecvTimeoutError::Timeout)));
        assert_eq!(refused(pkcs11.get_all_slots()), RvError::CryptokiNotInitialized);
        site.set_faults("");
        wait.recv_timeout(Duration::from_secs(60)).unwrap().unwrap();
    });
    initialize_token(&pkcs11, slot);
    stop();

    // Counters outlive C_Finalize, so the second attempt succeeds.
    site.set_faults(
        "[[fault]]\nfunction = 'C_Initialize'\naction = 'error'\nrv = 'CKR_DEVICE_ERROR'\ncount = 1\n",
    );
    assert_eq!(refused(start()), RvError::DeviceError);
    start().unwrap();

    // only_reinit: neither the end of the fault nor a new session helps.
    site.set_faults("[[fault]]\nfunction = 'C_GenerateRandom'\naction = 'only_reinit'\ncount = 1\n");
    let session = pkcs11.open_ro_session(slot).unwrap();
    assert_eq!(refused(session.generate_random_vec(8)), RvError::DeviceError);
    site.set_faults("");
    assert_eq!(refused(session.generate_random_vec(8)), RvError::DeviceError);
    session.close().unwrap();
    assert_eq!(refused(pkcs11.open_ro_session(slot)), RvError::DeviceError);
    stop();
    start().unwrap();
    let session = log_in(&pkcs11, slot);
    session.generate_random_vec(8).unwrap();

    // only_restart: not even C_Initialize helps. It is last, since this process does not recover.
    site.set_faults("[[fault]]\nfunction = 'C_GenerateRandom'\naction = 'only_restart'\n");
    assert_eq!(refused(session.generate_random_vec(8)), RvError::DeviceError);
    site.set_faults("");
    session.close().unwrap();
    stop();
    start().unwrap();
    assert_eq!(refused(pkcs11.open_ro_session(slot)), RvError::DeviceError);

    // Another process has no such trouble.
    assert!(tool(&site, &["--generate-random", "8"]).contains("Using slot"));
}
