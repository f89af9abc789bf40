//! Faults that end the process; each in a child.
#![allow(clippy::unwrap_used, reason = "a failure is the test's")]

mod device;

use std::{
    os::unix::process::ExitStatusExt,
    process::{Command, ExitStatus, Stdio},
};

use cryptoki::{context::Pkcs11, slot::Slot};
use device::*;

const SIGABRT: i32 = 6;
const SIGSEGV: i32 = 11;

/// What becomes of a child that calls until it dies.
fn death(site: &Site, action: &str) -> ExitStatus {
    site.set_faults(&format!("[[fault]]\nfunction = 'C_GenerateRandom'\nskip = 1\naction = '{action}'\n"));
    Command::new(std::env::current_exe().unwrap())
        .args(["--exact", "the_child", "--ignored"])
        .env("HSM_SIM_CONFIG", site.config())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .status()
        .unwrap()
}

#[test]
fn a_process_aborts_breaks_or_exits_on_command() {
    let site = Site::new(1, 16);
    let init = ["--init-token", "--slot", "0", "--label", "token", "--so-pin", SO_PIN];
    tool(&site, &init);
    assert_eq!(death(&site, "crash").signal(), Some(SIGABRT));
    assert_eq!(death(&site, "segfault").signal(), Some(SIGSEGV));
    assert_eq!(death(&site, "exit").code(), Some(1));
    // The token is none the worse.
    site.set_faults("");
    assert!(tool(&site, &["--list-slots"]).contains("token"));
}

#[test]
#[ignore = "the other test's child"]
fn the_child() {
    let pkcs11 = Pkcs11::new(module_path()).unwrap();
    initialize(&pkcs11);
    let session = pkcs11.open_ro_session(Slot::try_from(0_u64).unwrap()).unwrap();
    session.generate_random_vec(8).unwrap();
    // The second call is the one that does not return. A test that fails exits with 101.
    session.generate_random_vec(8).unwrap();
}
