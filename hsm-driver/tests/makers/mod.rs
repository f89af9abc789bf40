//! Software tokens of other makers, and what every one of them must do behind the driver.

// Each test program uses its own part of this, and what cannot be set up fails the test.
#![allow(dead_code, clippy::unwrap_used)]

use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use aws_lc_rs::digest::{SHA256, digest};
use aws_lc_rs::signature::{
    ECDSA_P256_SHA256_ASN1, RSA_PKCS1_2048_8192_SHA256, RSA_PSS_2048_8192_SHA256, RsaPublicKeyComponents,
    UnparsedPublicKey,
};
use config::{AppId, DeviceId, GroupId, KeyId};
use hsm_driver::probe::{ProbeOrder, Report, probe};
use hsm_driver::provision::{ProvisionOrder, provision};
use hsm_driver::{Algorithm, Ask, Dialect, Fleet, KeySpec, PublicKey, State};

use crate::support::{PIN, Workshop, import, spec, start, until, until_ready, worker};

/// What is signed: a message that a foreign verifier hashes itself.
const MESSAGE: &[u8] = b"signed by another maker's token";
const KEYS: [&str; 2] = ["demo-p256", "demo-rsa2048"];

/// How a maker's token is reached and set up.
pub(crate) struct Maker {
    /// Its library.
    pub(crate) module: PathBuf,
    /// What its library wants in the environment.
    pub(crate) env: (String, String),
    /// The security officer's PIN of a new token.
    pub(crate) so_pin: &'static str,
}

/// SoftHSM2 with an empty store in a device's folder.
pub(crate) fn softhsm2(home: &Path) -> Maker {
    let module = PathBuf::from("/usr/lib/softhsm/libsofthsm2.so");
    assert!(module.is_file(), "this test needs SoftHSM2: apt-get install softhsm2");
    std::fs::create_dir(home.join("tokens")).unwrap();
    let text = format!("directories.tokendir = {}\n", home.join("tokens").display());
    std::fs::write(home.join("softhsm2.conf"), text).unwrap();
    let env = ("SOFTHSM2_CONF".to_owned(), home.join("softhsm2.conf").display().to_string());
    Maker { module, env, so_pin: "87654321" }
}

/// NSS's softokn with an empty database in a device's folder, behind a module that hands it its parameters.
pub(crate) fn nss(home: &Path, label: &str) -> Maker {
    let module = home.join("libnss_module.so");
    let source = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/makers/nss_module.c");
    let compiled =
        Command::new("cc").args(["-shared", "-fPIC", "-o"]).arg(&module).arg(source).arg("-ldl").status();
    assert!(compiled.unwrap().success(), "this test needs a C compiler");
    std::fs::create_dir(home.join("db")).unwrap();
    let parameters = format!(
        "configdir='sql:{}' certPrefix='' keyPrefix='' secmod='' flags= dbTokenDescription='{label}'",
        home.join("db").display()
    );
    // A new database has no password; who logs in as security officer says none.
    Maker { module, env: ("NSS_MODULE_PARAMETERS".to_owned(), parameters), so_pin: "" }
}

/// Kryoptic with an empty database in a device's folder.
pub(crate) fn kryoptic(home: &Path) -> Maker {
    let module = Path::new(env!("CARGO_MANIFEST_DIR")).join("../target/kryoptic/libkryoptic_pkcs11.so");
    let module = module.canonicalize().expect("build it first: sh tests/install-kryoptic.sh");
    let text = format!(
        "[[slots]]\nslot = 0\ndbtype = \"sqlite\"\ndbargs = \"{}\"\n",
        home.join("token.sql").display()
    );
    std::fs::write(home.join("kryoptic.toml"), text).unwrap();
    let env = ("KRYOPTIC_CONF".to_owned(), home.join("kryoptic.toml").display().to_string());
    Maker { module, env, so_pin: "87654321" }
}

/// A token of that maker with the two keys, as a site would configure it.
pub(crate) fn device(workshop: &Workshop, id: &str, maker: impl Fn(&Path, &str) -> Maker) -> config::Device {
    let home = workshop.home(id);
    std::fs::create_dir(&home).unwrap();
    let maker = maker(&home, id);
    std::fs::write(home.join("pin"), PIN).unwrap();
    let env = [maker.env].into();
    let order = ProvisionOrder {
        module: maker.module.display().to_string(),
        serial: None,
        label: id.to_owned(),
        so_pin: maker.so_pin.to_owned(),
        pin: PIN.to_owned(),
        dialect: Dialect::shipped("standard").unwrap(),
        keys: KEYS.map(|key| import(key, key)).into(),
    };
    provision(&worker(Some("provision")), &env, &home, &order).unwrap();
    config::Device {
        id: DeviceId::parse(id).unwrap(),
        group: GroupId::parse("bureau").unwrap(),
        module: maker.module,
        token: id.to_owned(),
        serial: None,
        pin_file: home.join("pin"),
        so_pin_file: None,
        dialect: "standard".to_owned(),
        lanes: 2,
        env,
        folder: home,
    }
}

pub(crate) fn specs() -> Vec<KeySpec> {
    KEYS.map(|key| spec(key, "bureau")).into()
}

async fn sign(fleet: &Fleet, key: &str, algorithm: Algorithm) -> Vec<u8> {
    let input = digest(&SHA256, MESSAGE).as_ref().try_into().unwrap();
    let caller = AppId::parse("conformance").unwrap();
    let key = KeyId::parse(key).unwrap();
    let ask = Ask { caller: &caller, key: &key, algorithm, digest: input, deadline: None };
    fleet.sign(ask).await.unwrap().signature
}

/// Signs by every algorithm that both keys know and verifies over the message, not the digest.
async fn sign_all(fleet: &Fleet) {
    let [p256, rsa] = KEYS.map(|key| spec(key, "bureau").public_key);
    let (PublicKey::P256(point), PublicKey::Rsa { modulus, exponent }) = (p256, rsa) else { unreachable!() };
    let signature = sign(fleet, "demo-p256", Algorithm::EcdsaP256).await;
    UnparsedPublicKey::new(&ECDSA_P256_SHA256_ASN1, point).verify(MESSAGE, &signature).unwrap();
    let rsa = RsaPublicKeyComponents { n: &modulus, e: &exponent };
    let signature = sign(fleet, "demo-rsa2048", Algorithm::RsaPkcs1).await;
    rsa.verify(&RSA_PKCS1_2048_8192_SHA256, MESSAGE, &signature).unwrap();
    let signature = sign(fleet, "demo-rsa2048", Algorithm::RsaPss).await;
    rsa.verify(&RSA_PSS_2048_8192_SHA256, MESSAGE, &signature).unwrap();
}

/// Every signature verifies, before and after the worker is killed.
pub(crate) async fn signs_and_survives_its_worker(device: config::Device) {
    let fleet = start(&[device], specs());
    until_ready(&fleet).await;
    for _ in 0..5 {
        sign_all(&fleet).await;
    }
    let before = fleet.status().remove(0);
    let killed = Command::new("kill").args(["-KILL", &before.worker_pid.to_string()]).status().unwrap();
    assert!(killed.success());
    until(&fleet, "another worker ready", |fleet| {
        let now = fleet.status().remove(0);
        now.state == State::Ready && now.worker_pid != before.worker_pid && now.worker_pid != 0
    })
    .await;
    sign_all(&fleet).await;
    let after = fleet.status().remove(0);
    assert_eq!((after.worker_starts, after.lanes), (2, 2), "{after:#?}");
}

/// What the probe says of the device: it leaves its two keys as they are.
pub(crate) fn examined(device: &config::Device) -> Report {
    let order = ProbeOrder {
        module: device.module.display().to_string(),
        token: device.token.clone(),
        serial: None,
        pin: Some(PIN.to_owned().into()),
        existing_keys: Vec::new(),
        lanes: 2,
        measure: Duration::ZERO,
    };
    probe(&worker(Some("probe")), &device.env, &order, Duration::from_secs(60), |_| {}).unwrap()
}

/// What a maker's token does for the gateway beside signing, and its refusal where it does not: as
/// `(what, answer)`. SM2 has one line, because a token without it refuses every vendor's numbers alike.
pub(crate) fn abilities(report: &Report) -> Vec<(String, String)> {
    let said = |works: bool, detail: &str| if works { "works".to_owned() } else { detail.to_owned() };
    let mut abilities: Vec<(String, String)> =
        report.sm2.iter().map(|one| ("SM2".to_owned(), one.key.clone())).collect();
    abilities.dedup();
    let services = report.services.iter().filter(|one| one.service.starts_with("SM"));
    abilities.extend(services.map(|one| (one.service.clone(), said(one.works, &one.detail))));
    abilities.extend(report.wrapping.iter().map(|one| (one.mechanism.clone(), said(one.works, &one.detail))));
    abilities
}

/// Sees that a token does and refuses exactly what a table says, and signs by every algorithm of the gateway but SM2.
pub(crate) fn does_and_refuses(report: &Report, table: &[(&str, &str)]) {
    let abilities = abilities(report);
    let found: Vec<_> = abilities.iter().map(|(what, said)| (what.as_str(), said.as_str())).collect();
    assert_eq!(found, table, "{report}");
    assert!(report.usable && report.stopped.is_none(), "{report}");
    assert_eq!(report.algorithms.iter().filter(|one| one.works).count(), 3, "{report}");
    assert_eq!(report.behaviour.parallel, Some(true), "{report}");
}
