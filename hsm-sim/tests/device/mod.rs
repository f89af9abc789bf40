//! One loaded module per test program, and a fresh token for each test.
#![allow(dead_code, reason = "each test program uses its own part")]
#![allow(clippy::unwrap_used, reason = "only tests call these")]

use std::{
    fs,
    path::{Path, PathBuf},
    process::Command,
    sync::{
        LazyLock, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicU64, Ordering},
    },
};

use cryptoki::{
    context::{CInitializeArgs, CInitializeFlags, Pkcs11},
    error::{Error, RvError},
    mechanism::{Mechanism, MechanismType, vendor_defined::VendorDefinedMechanism},
    object::{Attribute, AttributeType, KeyType, ObjectHandle},
    session::{Session, UserType},
    slot::Slot,
    types::AuthPin,
};

pub(crate) const CKK_SM2: u64 = 0x80C1_0001;
pub(crate) const CKK_SM4: u64 = 0x80C1_0002;
pub(crate) const SM2_KEY_PAIR_GEN: u64 = 0x80C1_0010;
pub(crate) const SM2: u64 = 0x80C1_0011;
pub(crate) const SM2_SM3: u64 = 0x80C1_0012;
pub(crate) const SM2_ENCRYPT: u64 = 0x80C1_0013;
pub(crate) const SM3: u64 = 0x80C1_0020;
pub(crate) const SM3_HMAC: u64 = 0x80C1_0021;
pub(crate) const SM4_KEY_GEN: u64 = 0x80C1_0030;
pub(crate) const SM4_ECB: u64 = 0x80C1_0031;
pub(crate) const SM4_CBC: u64 = 0x80C1_0032;
pub(crate) const SM4_CBC_PAD: u64 = 0x80C1_0033;
pub(crate) const SM4_CTR: u64 = 0x80C1_0034;
pub(crate) const SM4_GCM: u64 = 0x80C1_0035;

pub(crate) const P256: &[u8] = &[0x06, 0x08, 0x2A, 0x86, 0x48, 0xCE, 0x3D, 0x03, 0x01, 0x07];
pub(crate) const P384: &[u8] = &[0x06, 0x05, 0x2B, 0x81, 0x04, 0x00, 0x22];
pub(crate) const SM2_CURVE: &[u8] = &[0x06, 0x08, 0x2A, 0x81, 0x1C, 0xCF, 0x55, 0x01, 0x82, 0x2D];

pub(crate) const SLOTS: u64 = 24;
pub(crate) const SO_PIN: &str = "87654321";
pub(crate) const USER_PIN: &str = "1234";

/// The module under test: `HSM_SIM_MODULE`, or beside the test program, or one folder up.
pub(crate) fn module_path() -> PathBuf {
    if let Some(path) = std::env::var_os("HSM_SIM_MODULE") {
        return path.into();
    }
    let program = std::env::current_exe().unwrap();
    let beside = program.parent().unwrap();
    let places = [beside, beside.parent().unwrap()].map(|folder| folder.join("libhsm_sim.so"));
    places.iter().find(|path| path.exists()).unwrap_or_else(|| panic!("none of {places:?} exists")).clone()
}

/// A site on disk: configuration, store, fault file.
pub(crate) struct Site {
    folder: tempfile::TempDir,
}

impl Site {
    pub(crate) fn new(slots: u64, session_limit: usize) -> Self {
        Self::speaking("standard", slots, session_limit)
    }

    /// A site whose devices have a vendor's dialect.
    pub(crate) fn speaking(dialect: &str, slots: u64, session_limit: usize) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let mut config = format!(
            "store = 'tokens'\nfault_file = 'fault.toml'\ndialect = '{dialect}'\nsession_limit = {session_limit}\n"
        );
        for id in 0..slots {
            config += &format!("[[slot]]\nid = {id}\nserial = 'SIM{id:06}'\nmodel = 'SIM-SM2'\n");
        }
        fs::write(folder.path().join("sim.toml"), config).unwrap();
        Self { folder }
    }

    pub(crate) fn config(&self) -> PathBuf {
        self.folder.path().join("sim.toml")
    }

    pub(crate) fn path(&self) -> &Path {
        self.folder.path()
    }

    /// Commands a breakdown, and waits until the module must have seen it.
    pub(crate) fn set_faults(&self, text: &str) {
        let beside = self.folder.path().join("fault.new");
        fs::write(&beside, text).unwrap();
        fs::rename(beside, self.folder.path().join("fault.toml")).unwrap();
        std::thread::sleep(std::time::Duration::from_millis(25));
    }

    /// Points the module at this site; before anything is loaded, once per program.
    #[allow(
        unsafe_code,
        clippy::disallowed_methods,
        reason = "the module's only configuration is the variable"
    )]
    pub(crate) fn select(&self) {
        // SAFETY: the program's first test calls this before the module, the only reader, is loaded.
        unsafe { std::env::set_var("HSM_SIM_CONFIG", self.config()) };
    }
}

/// The program's module, initialised.
pub(crate) struct Device {
    pub(crate) site: Site,
    pub(crate) pkcs11: Pkcs11,
}

pub(crate) static DEVICE: LazyLock<Device> = LazyLock::new(|| {
    let site = Site::new(SLOTS, 256);
    site.select();
    let pkcs11 = Pkcs11::new(module_path()).unwrap();
    initialize(&pkcs11);
    Device { site, pkcs11 }
});

/// The right to break the program's module. Tests take turns; the device is well again after each.
pub(crate) struct Turn(#[allow(dead_code, reason = "held, not read")] MutexGuard<'static, ()>);

impl Turn {
    pub(crate) fn take() -> Self {
        static TURN: Mutex<()> = Mutex::new(());
        Self(TURN.lock().unwrap_or_else(PoisonError::into_inner))
    }

    pub(crate) fn set(&self, faults: &str) {
        DEVICE.site.set_faults(faults);
    }
}

impl Drop for Turn {
    fn drop(&mut self) {
        DEVICE.site.set_faults("");
    }
}

pub(crate) fn initialize(pkcs11: &Pkcs11) {
    pkcs11.initialize(CInitializeArgs::new(CInitializeFlags::OS_LOCKING_OK)).unwrap();
}

pub(crate) fn pin(text: &str) -> AuthPin {
    AuthPin::new(text.into())
}

/// A slot no other test of the program uses, its token not initialised.
pub(crate) fn fresh_slot() -> Slot {
    static NEXT: AtomicU64 = AtomicU64::new(0);
    let id = NEXT.fetch_add(1, Ordering::Relaxed);
    assert!(id < SLOTS, "more tests than slots");
    Slot::try_from(id).unwrap()
}

/// Initialises a token and sets both PINs.
pub(crate) fn initialize_token(pkcs11: &Pkcs11, slot: Slot) {
    pkcs11.init_token(slot, &pin(SO_PIN), "token").unwrap();
    let session = pkcs11.open_rw_session(slot).unwrap();
    session.login(UserType::So, Some(&pin(SO_PIN))).unwrap();
    session.init_pin(&pin(USER_PIN)).unwrap();
    session.close().unwrap();
}

/// A token ready for use, with the user logged in.
pub(crate) fn fresh_session() -> Session {
    let slot = fresh_slot();
    initialize_token(&DEVICE.pkcs11, slot);
    log_in(&DEVICE.pkcs11, slot)
}

pub(crate) fn log_in(pkcs11: &Pkcs11, slot: Slot) -> Session {
    let session = pkcs11.open_rw_session(slot).unwrap();
    session.login(UserType::User, Some(&pin(USER_PIN))).unwrap();
    session
}

/// A vendor's mechanism without parameter.
pub(crate) fn vendor(number: u64) -> Mechanism<'static> {
    vendor_with::<()>(number, None)
}

/// A vendor's mechanism; the parameter's octets are the structure's.
pub(crate) fn vendor_with<T>(number: u64, parameter: Option<&T>) -> Mechanism<'_> {
    let number = MechanismType::new_vendor_defined(number).unwrap();
    Mechanism::VendorDefined(VendorDefinedMechanism::new(number, parameter))
}

pub(crate) fn sm2_key_type() -> KeyType {
    KeyType::new_vendor_defined(CKK_SM2).unwrap()
}

pub(crate) fn sm4_key_type() -> KeyType {
    KeyType::new_vendor_defined(CKK_SM4).unwrap()
}

/// A session key pair of a curve: public, private.
pub(crate) fn curve_pair(
    session: &Session,
    mechanism: &Mechanism,
    params: &[u8],
    private: &[Attribute],
) -> (ObjectHandle, ObjectHandle) {
    session.generate_key_pair(mechanism, &[Attribute::EcParams(params.to_vec())], private).unwrap()
}

pub(crate) fn sm2_pair(session: &Session, private: &[Attribute]) -> (ObjectHandle, ObjectHandle) {
    curve_pair(session, &vendor(SM2_KEY_PAIR_GEN), SM2_CURVE, private)
}

pub(crate) fn p256_pair(session: &Session, private: &[Attribute]) -> (ObjectHandle, ObjectHandle) {
    curve_pair(session, &Mechanism::EccKeyPairGen, P256, private)
}

pub(crate) fn rsa_pair(session: &Session, private: &[Attribute]) -> (ObjectHandle, ObjectHandle) {
    let public = [Attribute::ModulusBits(2048.into()), Attribute::PublicExponent(vec![1, 0, 1])];
    session.generate_key_pair(&Mechanism::RsaPkcsKeyPairGen, &public, private).unwrap()
}

/// The return value a call must have failed with.
#[track_caller]
pub(crate) fn refused<T: std::fmt::Debug>(outcome: Result<T, Error>) -> RvError {
    match outcome {
        Err(Error::Pkcs11(rv, _)) => rv,
        other => panic!("a PKCS#11 error was expected, not {other:?}"),
    }
}

/// One attribute's value.
#[track_caller]
pub(crate) fn attribute(session: &Session, object: ObjectHandle, wanted: AttributeType) -> Attribute {
    let mut found = session.get_attributes(object, &[wanted]).unwrap();
    assert_eq!(found.len(), 1, "{wanted} is not there");
    found.remove(0)
}

/// Runs a program that must be there and must succeed; what it printed.
#[track_caller]
pub(crate) fn run(site: &Site, program: &str, arguments: &[&str]) -> String {
    let output = Command::new(program)
        .args(arguments)
        .current_dir(site.path())
        .env("HSM_SIM_CONFIG", site.config())
        .output()
        .unwrap_or_else(|error| panic!("{program} cannot be run ({error}): install opensc and openssl"));
    let text =
        [output.stdout, output.stderr].map(|octets| String::from_utf8_lossy(&octets).into_owned()).concat();
    assert!(output.status.success(), "{program} {arguments:?}: {text}");
    text
}

/// `pkcs11-tool` on the module.
#[track_caller]
pub(crate) fn tool(site: &Site, arguments: &[&str]) -> String {
    let module = module_path();
    run(site, "pkcs11-tool", &[&["--module", module.to_str().unwrap()], arguments].concat())
}

/// `pkcs11-tool` with the user logged in.
#[track_caller]
pub(crate) fn user(site: &Site, arguments: &[&str]) -> String {
    tool(site, &[&["--login", "--pin", USER_PIN], arguments].concat())
}
