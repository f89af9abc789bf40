//! The probe names the dialect of every simulated vendor, says what other devices cannot do, survives libraries
//! that hang or die, and leaves nothing behind.

// What cannot be set up or asked fails the test.
#![allow(clippy::unwrap_used)]

mod support;

use std::collections::BTreeSet;
use std::path::Path;
use std::time::Duration;

use hsm_driver::probe::{ProbeOrder, Report, Sm2Finding, probe};
use hsm_driver::provision::ImportKey;
use support::{PIN, Workshop, import, worker};

const PATIENCE: Duration = Duration::from_secs(60);

fn order(device: &config::Device, pin: Option<&str>) -> ProbeOrder {
    ProbeOrder {
        module: device.module.display().to_string(),
        token: device.token.clone(),
        serial: device.serial.clone(),
        pin: pin.map(|pin| pin.to_owned().into()),
        existing_keys: Vec::new(),
        lanes: 2,
        measure: Duration::ZERO,
    }
}

fn run(device: &config::Device, order: &ProbeOrder, patience: Duration) -> Report {
    probe(&worker(Some("probe")), &device.env, order, patience, |_| {}).unwrap()
}

fn examine(device: &config::Device) -> Report {
    run(device, &order(device, Some(PIN)), PATIENCE)
}

fn family<'r>(report: &'r Report, name: &str) -> &'r Sm2Finding {
    report.sm2.iter().find(|finding| finding.family == name).unwrap()
}

/// What a number signs and in which form, as `e r‖s`.
fn measured(report: &Report, name: &str, number: &str) -> String {
    let found = family(report, name).signatures.iter().find(|one| one.number == number).unwrap();
    format!("{} {}", found.signs.as_deref().unwrap_or("-"), found.form.as_deref().unwrap_or("-"))
}

/// Every file of a token's store; each object is one.
fn files(folder: &Path) -> BTreeSet<(String, u64)> {
    let mut folders = vec![folder.to_owned()];
    let mut files = BTreeSet::new();
    while let Some(folder) = folders.pop() {
        for entry in std::fs::read_dir(folder).unwrap() {
            let entry = entry.unwrap();
            let metadata = entry.metadata().unwrap();
            if metadata.is_dir() {
                folders.push(entry.path());
            } else {
                files.insert((entry.path().display().to_string(), metadata.len()));
            }
        }
    }
    assert!(!files.is_empty());
    files
}

fn all_keys() -> Vec<ImportKey> {
    ["demo-sm2", "demo-p256", "demo-rsa2048"].map(|id| import(id, id)).into()
}

/// Examines a simulated device of a dialect, and sees that it is as it was.
fn simulated(dialect: &str) -> Report {
    let workshop = Workshop::new();
    let device = workshop.simulated_in(dialect, "d1", "bureau", vec![import("demo-sm2", "demo-sm2")]);
    let before = files(&workshop.home("d1").join("tokens"));
    let report = examine(&device);
    assert_eq!(files(&workshop.home("d1").join("tokens")), before, "something was left behind");
    assert_eq!(report.stopped, None, "{report}");
    assert!(report.usable, "{report}");
    assert_eq!(report.dialect.as_deref(), Some(dialect), "{report}");
    assert_eq!(report.also_fits, Vec::<String>::new(), "{report}");
    for one in &report.algorithms {
        assert!(one.works, "{one:?}");
    }
    let profile: hsm_driver::Dialect = toml::from_str(&report.profile).unwrap();
    let shipped = hsm_driver::Dialect::shipped(dialect).unwrap();
    assert_eq!((&profile.name, &profile.sm2, &profile.sm3), (&shipped.name, &shipped.sm2, &shipped.sm3));
    // Single blocks of SM4 are not every vendor's.
    if shipped.sm4.as_ref().is_some_and(|sm4| sm4.ecb.is_some()) {
        assert_eq!(profile.sm4, shipped.sm4);
    }
    assert!(report.device.contains(&format!("dialect = \"{dialect}\"")), "{}", report.device);
    report
}

fn service<'r>(report: &'r Report, name: &str) -> Vec<&'r str> {
    let found = report.services.iter().filter(|one| one.works && one.service.starts_with(name));
    found.map(|one| one.service.as_str()).collect()
}

#[test]
fn the_standard_dialect_is_named_and_everything_it_can_do_found() {
    let report = simulated("standard");
    let sm2 = family(&report, "standard");
    assert_eq!(
        (sm2.point.as_deref(), sm2.point_on_private.as_deref()),
        (Some("octet string"), Some("octet string"))
    );
    assert_eq!(measured(&report, "standard", "0x80C10011"), "e r‖s");
    assert_eq!(measured(&report, "standard", "0x80C10012"), "sm3(z‖message) r‖s");
    assert_eq!(service(&report, "SM3"), ["SM3 0x80C10020"]);
    assert_eq!(service(&report, "SM4").len(), 3, "{report}");
    assert_eq!(service(&report, "AES").len(), 3, "{report}");
    assert_eq!(service(&report, "random").len(), 1);
    let wrapped: Vec<_> = report
        .wrapping
        .iter()
        .filter(|one| one.works)
        .map(|one| (one.key.as_str(), one.by.as_str()))
        .collect();
    for wanted in [("P-256", "AES-256"), ("SM2", "AES-256"), ("SM2", "SM4")] {
        assert!(wrapped.contains(&wanted), "{wanted:?} is not in {wrapped:?}");
    }
    assert_eq!((report.behaviour.sessions_given, report.behaviour.parallel), (Some(2), Some(true)));
    assert_eq!(report.behaviour.second_init.as_deref(), Some("C_SignInit answered CKR_OPERATION_ACTIVE"));
    assert!(report.behaviour.after_logout.as_deref().unwrap().contains("answered"), "{report}");
    let ecdsa = report.mechanisms.iter().find(|one| one.name.as_deref() == Some("CKM_ECDSA")).unwrap();
    assert!(ecdsa.uses.contains(&"sign".to_owned()), "{ecdsa:?}");
}

#[test]
fn sansec_is_told_from_tass_by_its_numbers_and_each_number_by_what_it_hashes() {
    let report = simulated("sansec");
    for (number, does) in [
        ("0x80008105", "e r‖s"),
        ("0x80008104", "e der"),
        ("0x80008100", "sm3(message) r‖s"),
        ("0x80008101", "sm3(message) der"),
        ("0x80008102", "sm3(z‖message) r‖s"),
        ("0x80008103", "sm3(z‖message) der"),
    ] {
        assert_eq!(measured(&report, "sansec", number), does);
    }
    assert_eq!(service(&report, "SM3"), ["SM3 0x80009001"]);
}

#[test]
fn tass_is_named_and_shows_bare_points() {
    let report = simulated("tass");
    let sm2 = family(&report, "tass");
    assert_eq!((sm2.point.as_deref(), sm2.point_on_private.as_deref()), (Some("bare"), Some("bare")));
    assert_eq!(measured(&report, "tass", "0x80008000"), "e der");
}

#[test]
fn luna_is_named() {
    assert_eq!(measured(&simulated("luna"), "luna", "0x80000B22"), "sm3(z‖message) r‖s");
}

#[test]
fn westone_is_named_and_shows_no_point_on_private_keys() {
    let report = simulated("westone");
    let sm2 = family(&report, "westone");
    assert_eq!((sm2.point.as_deref(), sm2.point_on_private.as_deref()), (Some("bare"), None));
    assert_eq!(service(&report, "SM4"), ["SM4 ECB 0x80000029", "SM4 CBC 0x8000002A"]);
}

#[test]
fn ibm_is_named() {
    let report = simulated("ibm");
    assert_eq!(measured(&report, "ibm", "0x8005000C"), "sm3(message) r‖s");
    assert_eq!(measured(&report, "ibm", "0x8005000F"), "sm3(z‖message) r‖s");
}

#[test]
fn der_without_its_sign_octets_is_called_sloppy() {
    let workshop = Workshop::new();
    let device = workshop.simulated_in("tass", "d1", "bureau", Vec::new());
    workshop.fault("d1", "[[fault]]\nfunction = \"C_Sign\"\naction = \"negative_integer\"\n");
    let report = examine(&device);
    assert_eq!(measured(&report, "tass", "0x80008000"), "e sloppy der");
    assert_eq!(report.dialect.as_deref(), Some("tass"), "{report}");
}

#[test]
fn a_device_that_signs_wrongly_is_not_usable() {
    let workshop = Workshop::new();
    let device = workshop.simulated("d1", "bureau", Vec::new());
    workshop.fault("d1", "[[fault]]\nfunction = \"C_Sign\"\naction = \"wrong_signature\"\n");
    let report = examine(&device);
    assert!(!report.usable, "{report}");
    assert_eq!(measured(&report, "standard", "0x80C10011"), "unknown r‖s");
    assert!(report.algorithms.iter().all(|one| !one.works), "{report}");
}

#[test]
fn softhsm2_has_p256_and_rsa_and_no_sm2() {
    let workshop = Workshop::new();
    let device = workshop.softhsm("s1", "bureau", Vec::new());
    let before = files(&workshop.home("s1").join("tokens"));
    let report = examine(&device);
    assert_eq!(files(&workshop.home("s1").join("tokens")), before, "something was left behind");
    assert_eq!((report.usable, report.dialect.as_deref()), (true, Some("standard")), "{report}");
    let works: Vec<_> = report.algorithms.iter().map(|one| (one.algorithm.as_str(), one.works)).collect();
    assert_eq!(works, [("ecdsa-p256-sha256", true), ("rsa-pkcs1-sha256", true), ("rsa-pss-sha256", true)]);
    assert!(report.sm2.iter().all(|finding| finding.signatures.is_empty()), "{report}");
    assert!(service(&report, "SM3").is_empty() && service(&report, "SM4").is_empty(), "{report}");
    let kwp = report.wrapping.iter().find(|one| one.mechanism == "CKM_AES_KEY_WRAP_PAD").unwrap();
    assert!(kwp.works, "{report}");
}

#[test]
fn keys_that_are_there_are_tried_and_none_is_made() {
    let workshop = Workshop::new();
    let device = workshop.simulated_in("luna", "d1", "bureau", all_keys());
    // A device that generates nothing.
    workshop.fault(
        "d1",
        "[[fault]]\nfunction = [\"C_GenerateKeyPair\", \"C_GenerateKey\", \"C_CreateObject\"]\naction = \"error\"\nrv = \"CKR_DEVICE_ERROR\"\n",
    );
    let mut order = order(&device, Some(PIN));
    order.existing_keys =
        ["demo-sm2", "demo-p256", "demo-rsa2048", "nobody"].map(|id| id.as_bytes().to_vec()).into();
    order.measure = Duration::from_millis(50);
    let report = run(&device, &order, PATIENCE);
    assert_eq!((report.usable, report.dialect.as_deref()), (true, Some("luna")), "{report}");
    assert_eq!(report.sm2.len(), 1, "only the family with the key's type: {report}");
    assert_eq!(family(&report, "luna").key, "existing");
    assert_eq!(report.algorithms.iter().filter(|one| one.works).count(), 3, "{report}");
    assert!(report.notes.iter().any(|note| note.contains("6e6f626f6479")), "{report}");
    assert_eq!(report.rates.len(), 4 * 2, "four algorithms by one and two lanes: {report}");
    for rate in &report.rates {
        assert!(rate.per_second > 0.0 && rate.failed == 0 && rate.p50_us <= rate.p99_us, "{rate:?}");
    }
    // The simulator gives private objects new handles at each login; the probe says so.
    let (key, resident) = (&report.behaviour.after_login, &report.behaviour.token_key_after_login);
    for said in [key, resident] {
        assert!(said.as_deref().unwrap().contains("HANDLE_INVALID"), "{report}");
    }
}

#[test]
fn a_session_limit_is_met_politely_and_reported() {
    let workshop = Workshop::new();
    let device = workshop.simulated("d1", "bureau", Vec::new());
    workshop.fault("d1", "session_limit = 3\n");
    let mut order = order(&device, Some(PIN));
    order.lanes = 8;
    let report = run(&device, &order, PATIENCE);
    assert_eq!(
        (report.behaviour.sessions_asked, report.behaviour.sessions_given),
        (Some(8), Some(3)),
        "{report}"
    );
    assert!(report.usable, "{report}");
}

#[test]
fn a_hanging_library_is_named_with_the_call_and_what_was_found_stays() {
    let workshop = Workshop::new();
    let device = workshop.simulated("d1", "bureau", Vec::new());
    workshop.fault("d1", "[[fault]]\nfunction = \"C_GenerateKeyPair\"\naction = \"hang\"\n");
    let report = run(&device, &order(&device, Some(PIN)), Duration::from_secs(5));
    let stopped = report.stopped.as_deref().unwrap();
    assert!(stopped.contains("C_GenerateKeyPair within 5 s"), "{stopped}");
    assert!(!report.usable);
    assert_eq!(report.token.unwrap().serial, "SIM-d1");
    assert!(report.mechanisms.len() > 30);
}

#[test]
fn a_library_that_hangs_while_it_starts_is_given_up() {
    let workshop = Workshop::new();
    let device = workshop.simulated("d1", "bureau", Vec::new());
    workshop.fault("d1", "[[fault]]\nfunction = \"C_Initialize\"\naction = \"hang\"\n");
    let report = run(&device, &order(&device, Some(PIN)), Duration::from_secs(5));
    assert!(report.stopped.as_deref().unwrap().contains("C_Initialize"), "{report}");
}

#[test]
fn a_library_that_crashes_takes_nothing_with_it() {
    let workshop = Workshop::new();
    let device = workshop.simulated("d1", "bureau", Vec::new());
    workshop.fault("d1", "[[fault]]\nfunction = \"C_SignInit\"\naction = \"segfault\"\n");
    let report = examine(&device);
    let stopped = report.stopped.as_deref().unwrap();
    assert!(stopped.contains("died of signal 11 in C_SignInit"), "{stopped}");
}

#[test]
fn a_wrong_pin_is_tried_once() {
    let workshop = Workshop::new();
    let device = workshop.simulated("d1", "bureau", Vec::new());
    for attempt in 0..2 {
        let report = run(&device, &order(&device, Some("24681357")), PATIENCE);
        let stopped = report.stopped.as_deref().unwrap();
        assert_eq!(stopped, "PIN refused (CKR_PIN_INCORRECT); tried once and not again");
        assert!(!report.usable && report.sm2.is_empty(), "attempt {attempt}: {report}");
        let tries: u64 = report
            .refusals
            .iter()
            .filter(|one| one.refusal.starts_with("C_Login"))
            .map(|one| one.count)
            .sum();
        assert_eq!(tries, 1, "{report}");
        let said = serde_json::to_string(&report).unwrap() + &report.to_string();
        assert!(!said.contains("24681357"), "{said}");
    }
    // The right one still opens it, and ends the count.
    assert!(examine(&device).usable);
}

#[test]
fn an_absent_token_is_answered_with_those_that_are_there() {
    let workshop = Workshop::new();
    let device = workshop.simulated("d1", "bureau", Vec::new());
    let mut wrong = order(&device, Some(PIN));
    wrong.token = "nobody".to_owned();
    wrong.serial = None;
    let report = run(&device, &wrong, PATIENCE);
    let stopped = report.stopped.as_deref().unwrap();
    assert_eq!(stopped, "no token labelled \"nobody\"; there are: \"d1\" with serial \"SIM-d1\"");
    let mut wrong = order(&device, Some(PIN));
    wrong.serial = Some("other".to_owned());
    assert!(run(&device, &wrong, PATIENCE).stopped.unwrap().contains("with serial \"other\""));
}

#[test]
fn a_library_that_is_none_is_not_usable() {
    let workshop = Workshop::new();
    let mut device = workshop.simulated("d1", "bureau", Vec::new());
    device.module = workshop.home("d1").join("pin");
    let report = examine(&device);
    assert!(report.stopped.as_deref().unwrap().starts_with("module not usable"), "{report}");
}

#[test]
fn without_a_pin_the_facts_are_told_and_no_key_is_tried() {
    let workshop = Workshop::new();
    let device = workshop.simulated("d1", "bureau", Vec::new());
    let report = run(&device, &order(&device, None), PATIENCE);
    assert!(!report.usable && report.sm2.is_empty(), "{report}");
    assert_eq!(report.stopped.as_deref(), Some("without a PIN no key could be tried; give --pin-file"));
    assert_eq!(service(&report, "SM3"), ["SM3 0x80C10020"]);
}
