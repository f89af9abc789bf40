//! Licenses that a written sandbox makes on demand are judged as the samples are, until they are revoked.

#![allow(clippy::unwrap_used)] // a test that cannot go on fails

mod sandbox;

use std::fs;

use certs_test::{CertsTestError, HolderKey, LicenseDesk, LicenseTemplate};
use formats::license_file::{self, LicenseFileInput};
use formats::uscc::Uscc;
use formats::{Certificate, Crl, TrustStore, Verdict, license};
use sandbox::{AT, made, trust};
use time::Duration;

#[test]
fn a_license_of_every_template_is_good_with_its_key_and_its_public_editions() {
    let dir = tempfile::tempdir().unwrap();
    made().write_to(dir.path()).unwrap();
    let desk = LicenseDesk::open(dir.path()).unwrap();
    let trust = trust();
    for template in &LicenseTemplate::ALL {
        let code = Uscc::parse_sandbox("ZZJGD0000000000001").unwrap();
        let name = template.name_for(&code);
        let made = desk.issue(template, &code, &name, AT - Duration::days(1)).unwrap();
        let report = license::judge(&made.der, &trust, AT, true);
        assert_eq!(report.judgement.verdict, Verdict::Valid, "{}: {:?}", template.letter, report.judgement);
        let face = report.face.unwrap();
        assert_eq!((face.template, face.name), (Some(template.letter), Some(name)));
        assert_eq!(report.license_serial.as_ref(), Some(&made.serial));
        assert!(HolderKey::of(&made.der, &made.key).is_ok());
        for (form, octets) in desk.editions(&made.der, AT).unwrap() {
            let report = license_file::judge(&LicenseFileInput {
                octets: &octets,
                form,
                documents: &trust,
                licenses: &trust,
                at: AT,
                sandbox: true,
            });
            assert_eq!(report.judgement.verdict, Verdict::Valid, "{} {form:?}", template.letter);
        }
        // Outside of a sandbox a test code is nobody's.
        let elsewhere = license::judge(&made.der, &trust, AT, false);
        assert_eq!(elsewhere.judgement.verdict, Verdict::Invalid, "{}", template.letter);
    }
}

#[test]
fn a_revoked_license_is_on_the_next_list_beside_those_that_were() {
    let dir = tempfile::tempdir().unwrap();
    made().write_to(dir.path()).unwrap();
    let desk = LicenseDesk::open(dir.path()).unwrap();
    let template = &LicenseTemplate::ALL[0];
    let code = template.draw_code().unwrap();
    let issue = || desk.issue(template, &code, "测试", AT - Duration::days(1)).unwrap();
    let (one, other) = (issue(), issue());
    assert_ne!(one.serial, other.serial);
    let codes = |der: &[u8]| -> Vec<&'static str> {
        let lists = fs::read_to_string(dir.path().join("crls/license.pem")).unwrap();
        let lists = Crl::many_from_pem(&lists).unwrap();
        assert_eq!(lists.len(), 2);
        let authority = made().authorities.iter().find(|authority| authority.name == "license").unwrap();
        let certificate = |der: &[u8]| Certificate::from_der(der).unwrap();
        let trust =
            TrustStore::new(vec![certificate(&authority.root)], vec![certificate(&authority.issuing)], lists);
        let report = license::judge(der, &trust, AT + Duration::hours(1), true);
        report.judgement.findings.iter().map(|finding| finding.code).collect()
    };
    for license in [&one, &other] {
        assert!(codes(&license.der).is_empty());
        desk.revoke(&license.serial, AT).unwrap();
        assert_eq!(codes(&license.der), ["revoked"]);
    }
    // Twice is as once, and the samples stay revoked.
    desk.revoke(&one.serial, AT).unwrap();
    assert_eq!(codes(&one.der), ["revoked"]);
    let sample = made().licenses.iter().find(|sample| sample.file_stem() == "A-revoked").unwrap();
    assert_eq!(codes(&sample.der), ["revoked"]);
}

#[test]
fn a_folder_without_the_keys_has_no_desk() {
    let dir = tempfile::tempdir().unwrap();
    made().write_to(dir.path()).unwrap();
    for name in ["private/license-issuing.pem", "private/edition-sealer.pem", "seals/edition.esl"] {
        let path = dir.path().join(name);
        let kept = fs::read(&path).unwrap();
        fs::remove_file(&path).unwrap();
        assert!(matches!(LicenseDesk::open(dir.path()), Err(CertsTestError::Read { .. })), "{name}");
        fs::write(&path, kept).unwrap();
    }
    assert!(LicenseDesk::open(dir.path()).is_ok());
}
