//! Judging licenses that somebody shows.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use async_trait::async_trait;
use certs_test::LicenseKind;
use formats::uscc::Uscc;
use formats::verdict::Verdict;
use store::{EntityRecord, LicenseRecord};
use time::OffsetDateTime;
use verify_front::{
    LicenseAnswer, LicenseType, RegisterError, Standing, StatusQuestion, StatusRegister, StatusSource,
};

mod fixture;
use fixture::{AT, Front, entity, front, front_of, good, licenses, record};

impl Front {
    async fn judge(&self, license: &[u8]) -> LicenseAnswer {
        self.front.judge(license, LicenseType::Certificate, AT, &StatusQuestion::now(AT)).await.unwrap()
    }

    async fn knows(&self, entity: &EntityRecord, license: &LicenseRecord) {
        self.store.upsert_entity(entity).await.unwrap();
        self.store.insert_license(license).await.unwrap();
    }
}

fn detail<'a>(answer: &'a LicenseAnswer, code: &str) -> Option<&'a str> {
    answer.judgement.findings.iter().find(|finding| finding.code == code).map(|finding| &finding.detail[..])
}

#[tokio::test]
async fn a_good_license_of_every_template_is_valid_and_in_good_standing() {
    let front = front(false).await;
    let mut templates = String::new();
    for license in licenses(LicenseKind::Good) {
        front.knows(&entity(license), &record(license)).await;
        let answer = front.judge(&license.der).await;
        assert_eq!(answer.judgement.verdict, Verdict::Valid, "{:?}", answer.judgement);
        assert_eq!(answer.judgement.findings, [], "{}", license.file_stem());
        assert_eq!(answer.face.unwrap().uscc, license.uscc);
        assert_eq!(answer.license.unwrap().serial, license.license_serial);
        templates.push(license.template);
    }
    assert_eq!(templates, "AAAABBBBCCCC");
}

#[tokio::test]
async fn the_answer_has_the_members_of_the_interface() {
    let front = front(false).await;
    front.knows(&entity(good()), &record(good())).await;
    let answer = serde_json::to_value(front.judge(&good().der).await).unwrap();
    assert_eq!(answer["verdict"], "valid");
    assert!(answer["findings"].as_array().unwrap().is_empty());
    assert_eq!(answer["face"]["uscc"], good().uscc.as_str());
    assert_eq!(answer["status"]["code"], 1);
    assert_eq!(answer["status"]["text"], "存续（在营、开业、在册）");
    assert_eq!(answer["status"]["as_of"], "2024-05-06T07:08:09Z");
    assert!(answer["status"]["flags"].as_array().unwrap().is_empty());
    assert_eq!(answer["license"]["serial"], good().license_serial.as_str());
    assert_eq!(answer["license"]["not_before"], "2024-04-06T07:08:09Z");
    for member in ["issuer", "subject", "not_after"] {
        assert!(answer["license"][member].is_string(), "{member}");
    }
}

#[tokio::test]
async fn a_bad_license_is_invalid_for_its_own_reason() {
    let front = front(false).await;
    for kind in [LicenseKind::Expired, LicenseKind::Revoked, LicenseKind::Tampered, LicenseKind::WrongUscc] {
        for license in licenses(kind) {
            let answer = front.judge(&license.der).await;
            assert_eq!(answer.judgement.verdict, Verdict::Invalid, "{kind:?}");
            assert!(answer.judgement.has(kind.finding().unwrap()), "{kind:?}: {:?}", answer.judgement);
        }
    }
}

#[tokio::test]
async fn a_holder_the_library_does_not_know_is_noted_and_no_more() {
    let answer = front(false).await.judge(&good().der).await;
    assert_eq!(answer.judgement.verdict, Verdict::Valid);
    assert!(answer.judgement.has("status_not_checked"));
    assert_eq!(answer.status, None);
}

#[tokio::test]
async fn every_registration_status_has_its_effect() {
    use Verdict::{Invalid, Valid};
    let front = front(false).await;
    front.knows(&entity(good()), &record(good())).await;
    for (code, text, verdict, finding) in [
        (1, "存续（在营、开业、在册）", Valid, None),
        (2, "吊销,未注销", Valid, Some("status_flagged")),
        (3, "吊销,已注销", Invalid, Some("status_not_permitted")),
        (4, "注销", Invalid, Some("status_not_permitted")),
        (5, "撤销", Invalid, Some("status_not_permitted")),
        (6, "迁出", Invalid, Some("status_not_permitted")),
        (9, "其他", Valid, Some("status_flagged")),
    ] {
        front.store.upsert_entity(&EntityRecord { status: code, ..entity(good()) }).await.unwrap();
        let answer = front.judge(&good().der).await;
        let codes: Vec<_> = answer.judgement.findings.iter().map(|finding| finding.code).collect();
        assert_eq!((answer.judgement.verdict, codes), (verdict, Vec::from_iter(finding)), "status {code}");
        let status = answer.status.unwrap();
        assert_eq!((status.code, status.text), (code, text));
        assert_eq!(front.front.status(&entity(good()).uscc).await.unwrap(), Some(status));
    }
}

#[tokio::test]
async fn a_flag_on_file_is_told_and_does_not_block() {
    let front = front(false).await;
    let flagged = EntityRecord { flags: vec!["经营异常名录".into()], ..entity(good()) };
    front.knows(&flagged, &record(good())).await;
    let answer = front.judge(&good().der).await;
    assert_eq!(answer.judgement.verdict, Verdict::Valid);
    assert_eq!(detail(&answer, "status_flagged"), Some("经营异常名录"));
    assert_eq!(answer.status.unwrap().flags, ["经营异常名录"]);
}

#[tokio::test]
async fn a_face_that_differs_from_the_register_is_invalid_and_names_the_fields_only() {
    let front = front(false).await;
    let mut moved = entity(good());
    moved.face.insert("domicile".into(), "陕西省西安市新址路1号".into());
    moved.face.insert("legal_representative".into(), "测试新".into());
    front.knows(&moved, &record(good())).await;
    let answer = front.judge(&good().der).await;
    assert_eq!(answer.judgement.verdict, Verdict::Invalid);
    assert_eq!(detail(&answer, "face_differs_from_register"), Some("domicile, legal_representative"));
}

#[tokio::test]
async fn a_license_that_was_replaced_is_noted_and_not_compared() {
    let front = front(false).await;
    let mut moved = entity(good());
    moved.face.insert("domicile".into(), "陕西省西安市新址路1号".into());
    let replacement = LicenseRecord { serial: "1".into(), certificate: vec![0x30, 0], ..record(good()) };
    front.knows(&moved, &record(good())).await;
    front.store.insert_license(&replacement).await.unwrap();
    let answer = front.judge(&good().der).await;
    assert_eq!(answer.judgement.verdict, Verdict::Valid);
    assert!(answer.judgement.has("license_not_current"));
    assert!(!answer.judgement.has("face_differs_from_register"));
}

/// A register elsewhere that says how everybody stands, and nothing of anybody's face.
struct Faceless;

#[async_trait]
impl StatusRegister for Faceless {
    fn source(&self) -> StatusSource {
        StatusSource::National
    }

    async fn standing(&self, _: &Uscc, _: Option<OffsetDateTime>) -> Result<Option<Standing>, RegisterError> {
        Ok(Some(Standing { code: 1, flags: Vec::new(), as_of: AT, until: None, face: None }))
    }
}

#[tokio::test]
async fn a_license_is_told_from_the_current_one_also_where_nobody_says_the_face() {
    let front = front_of(false, Some(Box::new(Faceless))).await;
    let not_current = |answer: &LicenseAnswer| {
        assert_eq!(answer.judgement.verdict, Verdict::Valid, "{:?}", answer.judgement);
        assert_eq!(answer.status.as_ref().map(|status| status.code), Some(1));
        detail(answer, "license_not_current").map(str::to_owned)
    };
    let none = not_current(&front.judge(&good().der).await);
    assert!(none.is_some_and(|detail| detail.contains("no current license")));
    front.knows(&entity(good()), &record(good())).await;
    assert_eq!(not_current(&front.judge(&good().der).await), None);
    let replacement = LicenseRecord { serial: "1".into(), certificate: vec![0x30, 0], ..record(good()) };
    front.store.insert_license(&replacement).await.unwrap();
    let another = not_current(&front.judge(&good().der).await);
    assert!(another.is_some_and(|detail| detail.contains("another license")));
}

#[tokio::test]
async fn a_forged_license_cannot_probe_the_register() {
    let front = front(false).await;
    let forged = licenses(LicenseKind::Tampered).next().unwrap();
    let genuine = LicenseRecord { certificate: vec![0x30, 0], ..record(forged) };
    let mut moved = entity(forged);
    moved.face.insert("domicile".into(), "陕西省西安市新址路1号".into());
    front.knows(&moved, &genuine).await;
    let answer = front.judge(&forged.der).await;
    assert!(answer.judgement.has("issuer_signature_invalid"));
    assert!(!answer.judgement.has("face_differs_from_register"));
}

#[tokio::test]
async fn a_test_identity_is_admitted_in_the_sandbox_only() {
    const TEST: &str = "ZZJGD1609314154606";
    let code = good().uscc.as_bytes();
    let at = good().der.windows(code.len()).position(|window| window == code).unwrap();
    let mut license = good().der.clone();
    license[at..at + code.len()].copy_from_slice(TEST.as_bytes());

    let production = front(false).await.judge(&license).await;
    assert_eq!(production.judgement.verdict, Verdict::Invalid);
    assert!(production.judgement.has("test_identity_in_production"));
    let sandbox = front(true).await.judge(&license).await;
    assert!(!sandbox.judgement.has("test_identity_in_production"));
    assert!(!sandbox.judgement.has("uscc_invalid"));
}

#[tokio::test]
async fn anything_that_is_no_certificate_is_an_answer() {
    let front = front(false).await;
    let der = &good().der;
    for bytes in [&b""[..], b"hello", &der[..der.len() - 1], &[&der[..], b"\0"].concat()] {
        let answer = front.judge(bytes).await;
        assert_eq!(answer.judgement.verdict, Verdict::Invalid);
        let codes: Vec<_> = answer.judgement.findings.iter().map(|finding| finding.code).collect();
        assert_eq!(codes, ["malformed"]);
        assert!(answer.license.is_none() && answer.face.is_none() && answer.status.is_none());
    }
}

#[tokio::test]
async fn a_library_that_cannot_be_read_is_an_error_and_not_a_verdict() {
    let front = front(false).await;
    front.store.clone().close().await;
    assert!(
        front.front.judge(&good().der, LicenseType::Certificate, AT, &StatusQuestion::now(AT)).await.is_err()
    );
}
