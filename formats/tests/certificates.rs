//! Reading certificates and CRLs.

#![allow(clippy::unwrap_used)] // a helper that fails fails its test

use crate::pki;

use formats::{Certificate, Crl, FormatError};
use pki::{CrlPlan, Key, Plan};
use time::macros::datetime;

fn certificate() -> Certificate {
    let plan = Plan { serial: 0x80ff, ..Plan::leaf("CN=质量监督\\, 三科,O=Bureau\\ ,C=CN") };
    Plan::authority("CN=Root,C=CN").root(Key::sm2(1)).issue(&plan, &Key::sm2(4))
}

#[test]
fn a_certificate_tells_what_it_says() {
    let certificate = certificate();
    assert_eq!(certificate.subject(), "CN=质量监督\\, 三科,O=Bureau\\ ,C=CN");
    assert_eq!(certificate.issuer(), "CN=Root,C=CN");
    assert_eq!(certificate.serial_hex(), "80ff");
    assert_eq!(certificate.not_before(), datetime!(2021-01-01 0:00 UTC));
    assert_eq!(certificate.not_after(), datetime!(2030-12-31 23:59:59 UTC));
    assert_eq!(certificate.public_key().unwrap(), Key::sm2(4).public());
}

#[test]
fn a_crl_tells_what_it_says() {
    let crl = Plan::authority("CN=Root").root(Key::sm2(1)).crl(&CrlPlan::fresh());
    assert_eq!(crl.this_update(), datetime!(2026-05-30 0:00 UTC));
    assert_eq!(crl.next_update(), Some(datetime!(2026-06-06 0:00 UTC)));
    assert_eq!(Crl::from_der(crl.der()).unwrap(), crl);
}

#[test]
fn the_original_octets_are_kept() {
    let certificate = certificate();
    assert_eq!(Certificate::from_der(certificate.der()).unwrap().der(), certificate.der());
    assert_eq!(Certificate::from_pem(&certificate.to_pem()).unwrap(), certificate);
}

#[test]
fn trailing_and_missing_octets_are_refused() {
    let certificate = certificate();
    let crl = Plan::authority("CN=Root").root(Key::sm2(1)).crl(&CrlPlan::fresh());
    let with_trailing = |der: &[u8]| [der, &[0]].concat();
    let without_last = |der: &[u8]| der[..der.len() - 1].to_vec();
    for der in [with_trailing(certificate.der()), without_last(certificate.der()), vec![], crl.der().to_vec()]
    {
        let result = Certificate::from_der(&der);
        assert!(matches!(result, Err(FormatError::Malformed { what: "certificate", .. })), "{result:?}");
    }
    for der in [with_trailing(crl.der()), without_last(crl.der()), vec![], certificate.der().to_vec()] {
        let result = Crl::from_der(&der);
        assert!(matches!(result, Err(FormatError::Malformed { what: "CRL", .. })), "{result:?}");
    }
}

#[test]
fn bundles_may_hold_text_and_other_blocks() {
    let root = Plan::authority("CN=Root").root(Key::sm2(1));
    let crl = root.crl(&CrlPlan::fresh());
    let body = |text: &str| text.lines().filter(|line| !line.starts_with('-')).collect::<String>();
    let pem = certificate().to_pem();
    let bundle = format!(
        "subject=CN=Root\n{}\r\n-----BEGIN X509 CRL-----\n{}\n-----END X509 CRL-----\n\
         second, on one line:\n-----BEGIN CERTIFICATE-----\n{}\n-----END CERTIFICATE-----",
        root.certificate.to_pem().replace('\n', "\r\n"),
        base64::Engine::encode(&base64::engine::general_purpose::STANDARD, crl.der()),
        body(&pem),
    );
    assert_eq!(Certificate::many_from_pem(&bundle).unwrap(), [root.certificate, certificate()]);
    assert_eq!(Crl::many_from_pem(&bundle).unwrap(), std::slice::from_ref(&crl));
    assert_eq!(Crl::from_pem(&bundle).unwrap(), crl);
    assert_eq!(Certificate::many_from_pem("no blocks here").unwrap(), []);
    assert!(Certificate::from_pem(&bundle).is_err(), "there are two");
    assert!(Certificate::many_from_pem(&pem[..pem.len() - 3]).is_err(), "the end is cut off");
}

#[test]
fn a_certificate_that_would_take_minutes_to_sort_is_refused() {
    // SEQUENCE of [0] of SET of 300,000 times NULL: what is wrong is said before anything is decoded.
    let set = [&[0x31, 0x83, 0x09, 0x27, 0xc0][..], &[5, 0].repeat(300_000)].concat();
    let wrapped = [&[0xa0, 0x83, 0x09, 0x27, 0xc5][..], &set].concat();
    let der = [&[0x30, 0x83, 0x09, 0x27, 0xca][..], &wrapped].concat();
    let refused = Certificate::from_der(&der).unwrap_err();
    assert!(refused.to_string().contains("a set is too long"), "{refused}");
    let nested =
        (0..60).fold(vec![5, 0], |inner: Vec<u8>, _| [&[0x30, inner.len() as u8][..], &inner].concat());
    let refused = Certificate::from_der(&nested).unwrap_err();
    assert!(refused.to_string().contains("nested too deep"), "{refused}");
}
