//! Everything made is judged by `formats` to be what it is a sample of.

#![allow(clippy::unwrap_used)] // a test that cannot go on fails

mod sandbox;

use std::collections::BTreeSet;

use certs_test::{CertsTestError, HolderKey, LicenseFileDefect, LicenseKind, PrivateParts};
use formats::chain::{self, Usage};
use formats::key::PublicKey;
use formats::license_file::{self, FileForm, LicenseFileInput};
use formats::uscc::Uscc;
use formats::{Algorithm, Certificate, DEFAULT_SIGNER_ID, Judgement, Verdict, license};
use sandbox::{AT, made, trust};

fn document_signing(der: &[u8]) -> Judgement {
    good_for(der, Usage::DocumentSigning)
}

fn good_for(der: &[u8], usage: Usage) -> Judgement {
    chain::validate(&Certificate::from_der(der).unwrap(), &[], &trust(), usage, AT)
}

#[test]
fn every_license_gets_the_verdict_of_its_kind() {
    let trust = trust();
    for sample in &made().licenses {
        let report = license::judge(&sample.der, &trust, AT, false);
        let name = sample.file_stem();
        match sample.kind.finding() {
            None => {
                assert_eq!(report.judgement.verdict, Verdict::Valid, "{name}: {:?}", report.judgement);
                assert_eq!(report.judgement.findings, [], "{name}");
                assert_eq!(report.uscc.unwrap().as_str(), sample.uscc);
            }
            Some(code) => {
                assert_eq!(report.judgement.verdict, Verdict::Invalid, "{name}: {:?}", report.judgement);
                let codes: Vec<_> = report.judgement.findings.iter().map(|finding| finding.code).collect();
                assert_eq!(codes, [code], "{name}");
            }
        }
        let face = report.face.unwrap();
        assert_eq!(face.attributes, sample.face, "{name}");
        assert_eq!((face.uscc, face.template), (sample.uscc.clone(), Some(sample.template)));
        assert_eq!(report.license_serial.as_ref(), Some(&sample.license_serial));
    }
}

/// All but what only the register knows.
#[test]
fn every_license_file_gets_the_findings_of_its_defect() {
    let trust = trust();
    for file in &made().license_files {
        let (octets, form) = (&*file.octets, file.form);
        let report = license_file::judge(&LicenseFileInput {
            octets,
            form,
            documents: &trust,
            licenses: &trust,
            at: AT,
            sandbox: false,
        });
        let mut codes: Vec<_> = report.judgement.findings.iter().map(|finding| finding.code).collect();
        codes.dedup(); // a maker and a signer without a path each
        let name = file.file_name();
        match file.defect {
            None | Some(LicenseFileDefect::Register) => {
                assert_eq!(codes, [""; 0], "{name}: {:?}", report.judgement);
                assert_eq!(report.license.unwrap().judgement.findings, [], "{name}");
            }
            // Its text is another one since, too.
            Some(LicenseFileDefect::Altered) if form == FileForm::Ofd => {
                assert_eq!(codes, ["ofd_part_altered", "shown_text_differs"], "{name}");
            }
            Some(_) => assert_eq!(codes, Vec::from_iter(file.finding()), "{name}: {:?}", report.judgement),
        }
    }
}

#[test]
fn what_expired_or_was_revoked_was_good_before() {
    let trust = trust();
    for sample in &made().licenses {
        let then = match sample.kind {
            LicenseKind::Expired => AT - time::Duration::days(2 * 365),
            LicenseKind::Revoked => AT - time::Duration::days(20),
            _ => continue,
        };
        let report = license::judge(&sample.der, &trust, then, false);
        assert!(!report.judgement.has(sample.kind.finding().unwrap()), "{:?}", report.judgement);
        assert_ne!(report.judgement.verdict, Verdict::Invalid, "{:?}", report.judgement);
    }
}

#[test]
fn every_template_has_four_good_licenses_and_one_of_each_other_kind() {
    for template in ['A', 'B', 'C'] {
        let count =
            |kind| made().licenses.iter().filter(|l| l.template == template && l.kind == kind).count();
        assert_eq!(count(LicenseKind::Good), 4);
        for kind in
            [LicenseKind::Expired, LicenseKind::Revoked, LicenseKind::Tampered, LicenseKind::WrongUscc]
        {
            assert_eq!(count(kind), 1, "{template} {kind:?}");
        }
    }
}

#[test]
fn codes_and_serials_are_distinct_and_of_shaanxi() {
    let licenses = &made().licenses;
    let codes: BTreeSet<_> = licenses.iter().map(|license| &license.uscc).collect();
    let serials: BTreeSet<_> = licenses.iter().map(|license| &license.license_serial).collect();
    assert_eq!((codes.len(), serials.len()), (licenses.len(), licenses.len()));
    for license in licenses {
        assert_eq!(&license.uscc[2..4], "61");
        assert_eq!(Uscc::parse(&license.uscc).is_ok(), license.kind != LicenseKind::WrongUscc);
    }
}

#[test]
fn a_license_carries_nothing_but_its_face() {
    for sample in &made().licenses {
        let certificate = Certificate::from_der(&sample.der).unwrap();
        let extensions = certificate.inner().tbs_certificate.extensions.as_deref().unwrap();
        assert!(extensions.iter().all(|e| e.extn_id.to_string().starts_with("0.6.3.1040.")));
        assert_eq!(certificate.issuer(), "O=测试用 TEST ONLY 市场监督管理总局信息中心");
        assert!(certificate.subject().contains("测试"), "{}", certificate.subject());
    }
}

#[test]
fn every_service_certificate_is_good_for_signing_documents_or_for_timestamps_alone() {
    let ids: Vec<_> = made().services.iter().map(|service| service.id.as_str()).collect();
    let (documents, timestamps) = (
        [
            "demo-sm2",
            "demo-p256",
            "demo-rsa2048",
            "portal-sm2",
            "front-sm2",
            "sys-audit",
            "sys-token",
            "sys-seal",
        ],
        ["sys-tsa", "sys-tsa-p256"],
    );
    assert_eq!(ids, [&documents[..], &timestamps].concat());
    for service in &made().services {
        let (good, other) = if timestamps.contains(&service.id.as_str()) {
            (Usage::TimeStamping, Usage::DocumentSigning)
        } else {
            (Usage::DocumentSigning, Usage::TimeStamping)
        };
        assert_eq!(good_for(&service.chain[0], good), Judgement::new(), "{}", service.id);
        assert!(good_for(&service.chain[0], other).has("key_usage_not_permitted"), "{}", service.id);
        assert_eq!(service.chain.len(), 3);
    }
}

#[test]
fn every_negative_certificate_gets_the_finding_of_its_kind() {
    assert_eq!(made().negatives.len(), 15);
    for negative in &made().negatives {
        let judgement = document_signing(&negative.der);
        let codes: Vec<_> = judgement.findings.iter().map(|finding| finding.code).collect();
        assert_eq!(codes, [negative.kind.finding()], "{} {:?}", negative.authority, negative.kind);
        assert_eq!(judgement.verdict, Verdict::Invalid);

        let service = made().services.iter().find(|service| service.id == negative.service).unwrap();
        let key = |der: &[u8]| Certificate::from_der(der).unwrap().public_key().unwrap();
        assert_eq!(key(&negative.der), key(&service.chain[0]), "certifies the service's key");
    }
}

#[test]
fn private_parts_belong_to_the_certified_key() {
    for service in &made().services {
        let certified = Certificate::from_der(&service.chain[0]).unwrap().public_key().unwrap();
        match (&service.private, certified) {
            (PrivateParts::Sm2 { public, .. }, PublicKey::Sm2(key)) => assert_eq!(*public, key.to_sec1()),
            (PrivateParts::P256 { public, .. }, key @ PublicKey::P256(_)) => {
                assert!(key.spki_der().ends_with(public))
            }
            (PrivateParts::Rsa { n, .. }, key @ PublicKey::Rsa(_)) => {
                assert!(key.spki_der().windows(n.len()).any(|window| window == n))
            }
            (private, _) => panic!("{}: {private:?} under another kind of key", service.id),
        }
    }
}

#[test]
fn keys_do_not_show_in_debug_output() {
    let PrivateParts::Sm2 { scalar, .. } = &made().services[0].private else { panic!("demo-sm2 is SM2") };
    let shown = format!("{:?} {:?}", made().services[0], made().tls);
    let octets = format!("{:?}", &scalar[..4]);
    assert!(!shown.contains(octets.trim_matches(['[', ']'])));
    assert!(!shown.contains("PRIVATE KEY"));
}

#[test]
fn a_holders_key_is_its_own_licenses_and_of_a_test_authority() {
    let [first, second] = [0, 1].map(|place| &made().licenses[place]);
    let key = first.private.to_pkcs8_pem().unwrap();
    let signature = HolderKey::of(&first.der, &key).unwrap().sign(b"consent").unwrap();
    let public = Certificate::from_der(&first.der).unwrap().public_key().unwrap();
    let verified = public.verify_message(Algorithm::Sm2Sm3, DEFAULT_SIGNER_ID, b"consent", &signature);
    assert!(verified.is_ok(), "{verified:?}");
    assert!(matches!(HolderKey::of(&second.der, &key), Err(CertsTestError::Holder)), "another's key");
    assert!(matches!(HolderKey::of(b"none", &key), Err(CertsTestError::Holder)));
    assert!(matches!(HolderKey::of(&first.der, "none"), Err(CertsTestError::Holder)));
}
