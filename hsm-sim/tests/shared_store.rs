//! Two processes on one token: the library here, `pkcs11-tool` beside it.

mod device;

use cryptoki::{context::Pkcs11, mechanism::Mechanism, object::Attribute, slot::Slot};
use device::*;

#[test]
fn keys_that_another_process_makes_and_destroys_are_noticed() {
    let site = Site::new(1, 16);
    site.select();
    let pkcs11 = Pkcs11::new(module_path()).unwrap();
    initialize(&pkcs11);
    let slot = Slot::try_from(0_u64).unwrap();
    initialize_token(&pkcs11, slot);
    let session = log_in(&pkcs11, slot);
    let wanted = [Attribute::Id(vec![7]), Attribute::Sign(true)];
    assert_eq!(session.find_objects(&wanted).unwrap(), []);

    user(&site, &["--keypairgen", "--key-type", "EC:prime256v1", "--id", "07"]);
    let found = session.find_objects(&wanted).unwrap();
    session.sign(&Mechanism::Ecdsa, found[0], &[1; 32]).unwrap();

    user(&site, &["--delete-object", "--type", "privkey", "--id", "07"]);
    assert_eq!(session.find_objects(&wanted).unwrap(), []);
}
