//! What the module does without a usable configuration. One test, since the program has one environment.

mod device;

use std::fs;

use cryptoki::{
    context::{CInitializeArgs, CInitializeFlags, Pkcs11},
    error::RvError,
};
use device::*;

#[test]
fn a_missing_or_broken_configuration_stops_initialisation_and_a_mended_one_does_not() {
    let site = Site::new(2, 16);
    site.select();
    let good = fs::read_to_string(site.config()).unwrap();
    let pkcs11 = Pkcs11::new(module_path()).unwrap();
    let start = || pkcs11.initialize(CInitializeArgs::new(CInitializeFlags::OS_LOCKING_OK));
    fs::remove_file(site.config()).unwrap();
    assert_eq!(refused(start()), RvError::GeneralError);
    for broken in
        ["", "store = 7", &good.replace("'standard'", "'martian'"), &good.replace("id = 1", "id = 0")]
    {
        fs::write(site.config(), broken).unwrap();
        assert_eq!(refused(start()), RvError::GeneralError, "{broken}");
    }
    fs::write(site.config(), good).unwrap();
    start().unwrap();
    assert_eq!(pkcs11.get_slots_with_token().unwrap().len(), 2);
    assert_eq!(pkcs11.get_slots_with_initialized_token().unwrap(), []);
}
