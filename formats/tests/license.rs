//! License certificates: the face and what is refused of it. The certificates here are unsigned; those
//! with good signatures are certs-test's samples, judged in that crate's tests.

#![allow(clippy::unwrap_used)] // a test that cannot go on fails

use std::str::FromStr;

use const_oid::ObjectIdentifier;
use der::asn1::{Any, BitString, OctetString};
use der::{DateTime, Encode};
use formats::license::{self, FaceDate};
use formats::{Certificate, TrustStore, Verdict};
use proptest::prelude::*;
use spki::{AlgorithmIdentifierOwned, SubjectPublicKeyInfoOwned};
use time::OffsetDateTime;
use time::macros::{date, datetime};
use x509_cert::ext::Extension;
use x509_cert::name::Name;
use x509_cert::serial_number::SerialNumber;
use x509_cert::time::{Time, Validity};
use x509_cert::{TbsCertificate, Version};

const NOW: OffsetDateTime = datetime!(2026-11-22 08:00 UTC);
const SERIAL: &str = "61010020260101120000000000000042";
const CODE: &str = "91350100M000100Y43";

/// Base points, which are on their curves.
const SM2_POINT: &str = "0432c4ae2c1f1981195f9904466a39c9948fe30bbff2660be1715a4589334c74c7\
    bc3736a2f4f6779c59bdcee36b692153d0a9877cc62a474002df32e52139f0a0";
const P256_POINT: &str = "046b17d1f2e12c4247f8bce6e563a440f277037d812deb33a0f4a13945d898c296\
    4fe342e2fe1a7f9b8ee7eb4a7c0f9e162bce33576b315ececbb6406837bf51f5";

/// A license as the registration authority shapes it, with a signature of zeros.
struct License {
    serial: Vec<u8>,
    curve: &'static str,
    point: &'static str,
    attributes: Vec<(u32, Vec<u8>)>,
}

impl License {
    fn new(attributes: &[(u32, &str)]) -> Self {
        Self {
            serial: hex::decode(SERIAL).unwrap(),
            curve: "1.2.156.10197.1.301",
            point: SM2_POINT,
            attributes: attributes.iter().map(|(n, text)| (*n, text.as_bytes().to_vec())).collect(),
        }
    }

    fn der(&self) -> Vec<u8> {
        let sm2_with_sm3 = AlgorithmIdentifierOwned { oid: oid("1.2.156.10197.1.501"), parameters: None };
        let moment = |year| {
            let start = DateTime::new(year, 1, 1, 0, 0, 0).unwrap();
            Time::UtcTime(der::asn1::UtcTime::from_date_time(start).unwrap())
        };
        x509_cert::Certificate {
            tbs_certificate: TbsCertificate {
                version: Version::V3,
                serial_number: SerialNumber::new(&self.serial).unwrap(),
                signature: sm2_with_sm3.clone(),
                issuer: Name::from_str("O=Test Only").unwrap(),
                validity: Validity { not_before: moment(2026), not_after: moment(2031) },
                subject: Name::from_str("CN=Test Only,O=Test Only,C=CN").unwrap(),
                subject_public_key_info: SubjectPublicKeyInfoOwned {
                    algorithm: AlgorithmIdentifierOwned {
                        oid: oid("1.2.840.10045.2.1"),
                        parameters: Some(Any::from(oid(self.curve))),
                    },
                    subject_public_key: BitString::from_bytes(&hex::decode(self.point).unwrap()).unwrap(),
                },
                issuer_unique_id: None,
                subject_unique_id: None,
                extensions: Some(
                    self.attributes
                        .iter()
                        .map(|(number, text)| Extension {
                            extn_id: oid(&format!("0.6.3.1040.{number}")),
                            critical: false,
                            extn_value: OctetString::new(text.as_slice()).unwrap(),
                        })
                        .collect(),
                ),
            },
            signature_algorithm: sm2_with_sm3,
            signature: BitString::from_bytes(&[0; 8]).unwrap(),
        }
        .to_der()
        .unwrap()
    }

    fn certificate(&self) -> Certificate {
        Certificate::from_der(&self.der()).unwrap()
    }
}

fn oid(dotted: &str) -> ObjectIdentifier {
    ObjectIdentifier::new(dotted).unwrap()
}

fn nobody() -> TrustStore {
    TrustStore::new(Vec::new(), Vec::new(), Vec::new())
}

fn judge(license: &License, sandbox: bool) -> license::LicenseReport {
    license::judge(&license.der(), &nobody(), NOW, sandbox)
}

#[test]
fn the_face_is_read_from_the_private_extensions() {
    let license = License::new(&[
        (13, CODE),
        (17, "440301103448669"),
        (18, "西安市测试星河有限公司  "),
        (19, "电子营业执照"),
        (20, "测试甲"),
        (25, "100万元"),
        (29, "陕西省西安市测试路1号"),
        (33, "2016年05月12日"),
        (35, "20160512"),
        (38, "长期"),
        (39, "软件开发"),
        (42, "西安市市场监督管理局"),
        (43, "2020年9月17日"),
        (46, "V2.0"),
        (90, "A"),
        (91, "1100"),
        (93, "610100"),
    ]);
    let (face, notes) = license::face(&license.certificate()).unwrap();
    assert_eq!(notes, []);
    assert_eq!(face.uscc, CODE);
    assert_eq!(face.registration_number.as_deref(), Some("440301103448669"));
    assert_eq!(face.name.as_deref(), Some("西安市测试星河有限公司"));
    assert_eq!(face.attributes[&18], "西安市测试星河有限公司  ", "verbatim");
    assert_eq!(face.legal_representative.as_deref(), Some("测试甲"));
    assert_eq!(face.established.unwrap().date, Some(date!(2016 - 05 - 12)));
    assert!(face.term_to.unwrap().long_term);
    assert_eq!(face.template, Some('A'));
    assert_eq!(face.area_code.as_deref(), Some("610100"));
    assert_eq!(face.holder, None);
    assert_eq!(face.attributes.len(), 17);
}

#[test]
fn a_face_without_attributes_is_a_face() {
    let (face, notes) = license::face(&License::new(&[(13, CODE)]).certificate()).unwrap();
    assert_eq!((face.uscc.as_str(), face.name, notes.len()), (CODE, None, 0));
}

#[test]
fn dates_are_read_in_every_form_seen_and_kept_otherwise() {
    let read = |text: &str| FaceDate::read(text).date;
    assert_eq!(read("20211208"), Some(date!(2021 - 12 - 08)));
    assert_eq!(read("2021年12月08日"), Some(date!(2021 - 12 - 08)));
    assert_eq!(read("2020年9月17日"), Some(date!(2020 - 09 - 17)));
    for unread in [
        "",
        "长期",
        "2021年13月01日",
        "20210230",
        "2021年02月30日",
        "21年2月3日",
        "+021年1月1日",
        "2021-12-08",
    ] {
        let date = FaceDate::read(unread);
        assert_eq!((date.date, date.text.as_str()), (None, unread));
        assert_eq!(date.long_term, unread == "长期");
    }
    let json = serde_json::to_value(FaceDate::read("2020年9月17日")).unwrap();
    assert_eq!(json, serde_json::json!({"text": "2020年9月17日", "date": "2020-09-17", "long_term": false}));
}

#[test]
fn what_is_not_understood_is_noted() {
    let mut license = License::new(&[(13, CODE), (77, "?"), (90, "Z"), (70000, "?")]);
    license.serial = vec![0x61, 0x0a];
    let (face, notes) = license::face(&license.certificate()).unwrap();
    let codes: Vec<_> = notes.iter().map(|note| note.code).collect();
    assert_eq!(codes, ["serial_format", "unknown_attribute", "unknown_template", "unknown_attribute"]);
    assert_eq!(face.attributes[&77], "?");
    assert_eq!(face.template, None);
}

#[test]
fn the_license_serial_is_the_serial_number_in_decimal_digits() {
    let mut license = License::new(&[(13, CODE)]);
    assert_eq!(license::license_serial(&license.certificate()).as_deref(), Some(SERIAL));
    // A serial from region 81 would be negative without the zero octet DER puts before it.
    license.serial = hex::decode("0081010020260101120000000000000042").unwrap();
    assert_eq!(
        license::license_serial(&license.certificate()).as_deref(),
        Some("81010020260101120000000000000042")
    );
    license.serial = hex::decode("6101002026010112000000000000004a").unwrap();
    assert_eq!(license::license_serial(&license.certificate()), None);
}

#[test]
fn an_attribute_given_twice_is_refused() {
    let license = License::new(&[(13, CODE), (18, "甲"), (18, "乙")]);
    assert!(license::face(&license.certificate()).is_err());
    let report = judge(&license, false);
    assert_eq!(report.judgement.verdict, Verdict::Invalid);
    assert!(report.judgement.has("malformed"), "{:?}", report.judgement);
    assert!(report.face.is_none());
}

#[test]
fn text_that_is_not_utf_8_is_refused() {
    let mut license = License::new(&[(13, CODE)]);
    license.attributes.push((18, vec![0xce, 0xf7, 0xb0]));
    assert!(license::face(&license.certificate()).is_err());
    assert!(judge(&license, false).judgement.has("malformed"));
}

#[test]
fn the_code_is_checked_exactly_as_written() {
    for wrong in ["91350100M000100Y44", "91350100M000100Y43 ", "91350100m000100Y43", ""] {
        let report = judge(&License::new(&[(13, wrong)]), true);
        assert!(report.judgement.has("uscc_invalid"), "{wrong:?}: {:?}", report.judgement);
        assert_eq!(report.uscc, None);
        assert_eq!(report.face.unwrap().uscc, wrong);
    }
    assert!(judge(&License::new(&[(18, "甲")]), true).judgement.has("uscc_missing"));
    let right = judge(&License::new(&[(13, CODE)]), false);
    assert_eq!(right.uscc.unwrap().as_str(), CODE);
}

#[test]
fn a_test_enterprise_is_admitted_in_the_sandbox_only() {
    let license = License::new(&[(13, "ZZJGD1609314154606")]);
    let production = judge(&license, false);
    assert!(production.judgement.has("test_identity_in_production"));
    assert_eq!(production.judgement.verdict, Verdict::Invalid);
    assert_eq!(production.uscc, None);
    let sandbox = judge(&license, true);
    assert!(sandbox.judgement.has("test_identity"));
    assert!(!sandbox.judgement.has("test_identity_in_production"));
    assert!(sandbox.uscc.unwrap().is_test());
}

#[test]
fn only_a_key_on_the_sm2_curve_is_a_license_key() {
    let mut license = License::new(&[(13, CODE)]);
    assert!(!judge(&license, false).judgement.has("wrong_curve"));
    license.curve = "1.2.840.10045.3.1.7";
    license.point = P256_POINT;
    assert!(judge(&license, false).judgement.has("wrong_curve"));
    license.curve = "1.2.156.10197.1.301";
    assert!(judge(&license, false).judgement.has("wrong_curve"), "a point of another curve");
}

#[test]
fn a_license_of_an_unknown_issuer_is_not_called_valid() {
    let report = judge(&License::new(&[(13, CODE)]), false);
    assert_eq!(report.judgement.verdict, Verdict::Indeterminate, "{:?}", report.judgement);
    assert!(report.judgement.has("no_path"));
    assert_eq!(report.not_before, Some(datetime!(2026-01-01 00:00 UTC)));
}

#[test]
fn the_report_is_one_flat_object_in_json() {
    let json = serde_json::to_value(judge(&License::new(&[(13, CODE)]), false)).unwrap();
    assert_eq!(json["verdict"], "indeterminate");
    assert_eq!(json["uscc"], CODE);
    assert_eq!(json["face"]["attributes"]["13"], CODE);
    assert_eq!(json["not_after"], "2031-01-01T00:00:00Z");
    assert!(json["findings"].is_array());
}

#[test]
fn bytes_that_are_no_certificate_are_answered() {
    for bytes in [&b""[..], b"-----BEGIN", &[0x30, 0x80], &[0xff; 40]] {
        let report = license::judge(bytes, &nobody(), NOW, false);
        assert_eq!(report.judgement.verdict, Verdict::Invalid);
        assert!(report.judgement.has("malformed"));
    }
    let mut trailing = License::new(&[(13, CODE)]).der();
    trailing.push(0);
    assert!(license::judge(&trailing, &nobody(), NOW, false).judgement.has("malformed"));
}

proptest! {
    #[test]
    fn a_damaged_license_is_answered(position in 0usize..600, mask in 1u8..=255, keep in 0usize..600) {
        let mut der = License::new(&[(13, CODE), (18, "甲"), (43, "2020年9月17日"), (90, "A")]).der();
        let position = position % der.len();
        der[position] ^= mask;
        prop_assert!(license::judge(&der, &nobody(), NOW, true).judgement.verdict != Verdict::Valid);
        der.truncate(keep);
        prop_assert!(license::judge(&der, &nobody(), NOW, true).judgement.verdict != Verdict::Valid);
    }

    #[test]
    fn any_text_is_read_as_a_date_or_kept(text in "[0-9年月日长期 ]{0,14}") {
        prop_assert_eq!(FaceDate::read(&text).text, text);
    }
}
