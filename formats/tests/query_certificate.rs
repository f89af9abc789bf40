//! Query certificates: what they say, in every standing, however long it is, and as poppler reads it.
#![allow(clippy::unwrap_used)]

use std::process::Command;

use formats::font::Font;
use formats::query_certificate::{CertifiedStatus, QueryCertificate, QueryCertificateError, Snapshot, TITLE};
use serde_json::{Map, Value, json};
use time::macros::{datetime, offset};

const DIGEST_LINE: usize = 32;

fn face(face: Value) -> Map<String, Value> {
    face.as_object().unwrap().clone()
}

fn certificate(code: i64, text: &str, in_force: bool) -> QueryCertificate {
    let snapshot = Snapshot {
        version: Snapshot::VERSION,
        number: "20261123-7QX2M0K4T9".to_owned(),
        agency: "某某市市场监督管理局".to_owned(),
        at: datetime!(2026-11-23 00:51:07 UTC),
        uscc: "91610131MA7B0TQ47T".to_owned(),
        status: CertifiedStatus {
            code,
            text: text.to_owned(),
            in_force,
            flags: Vec::new(),
            as_of: datetime!(2026-11-23 00:30:00 UTC),
        },
        face: face(json!({
            "name": "西安市某某软件有限公司", "legal_representative": "张*", "template": "A",
            "registered_capital": "壹仟万元人民币", "established": {"text": "2020年02月02日", "date": "2020-02-02", "long_term": false},
            "term_from": {"text": "2020年02月02日", "date": null, "long_term": false},
            "term_to": {"text": "长期", "date": null, "long_term": true},
            "domicile": "陕西省西安市高新区某某路 1 号某某大厦 10 层 1001 室",
            "business_scope": "软件开发；信息系统集成服务；数据处理和存储支持服务；信息技术咨询服务；计算机软硬件及辅助设备零售；互联网安全服务。（除依法须经批准的项目外，凭营业执照依法自主开展经营活动）",
            "registration_authority": "西安市市场监督管理局", "registered": {"text": "20260301", "date": "2026-03-01", "long_term": false},
        })),
        purpose: "办理银行开户".to_owned(),
        applicant: Some("某某商业银行".to_owned()),
    };
    QueryCertificate {
        snapshot,
        check_code: "7QX2M-0K4T9-B3NZD-51HVA".to_owned(),
        link: "https://gateway.example/verify/7QX2M0K4T9B3NZD51HVA".to_owned(),
        offset: offset!(+8),
        sandbox: false,
    }
}

fn run(program: &str, arguments: &[&std::ffi::OsStr]) -> Vec<u8> {
    let output = Command::new(program).args(arguments).output().unwrap();
    assert!(output.status.success(), "{program}: {}", String::from_utf8_lossy(&output.stderr));
    output.stdout
}

/// The document's text as poppler reads it, without blanks.
fn text_of(pdf: &[u8], folder: &std::path::Path) -> String {
    let file = folder.join("certificate.pdf");
    std::fs::write(&file, pdf).unwrap();
    let text = run("pdftotext", &["-layout".as_ref(), file.as_ref(), "-".as_ref()]);
    String::from_utf8(text).unwrap().split_whitespace().collect()
}

#[test]
fn every_fact_is_on_the_page_and_the_snapshot_beside_it() {
    let folder = tempfile::tempdir().unwrap();
    let certificate = certificate(1, "存续（在营、开业、在册）", true);
    let set = certificate.to_pdf(Font::built_in()).unwrap();
    let text = text_of(&set.pdf, folder.path());
    for (label, value) in certificate.snapshot.facts(offset!(+8)) {
        for part in [label, value] {
            let part: String = part.split_whitespace().collect();
            if part.chars().count() <= 30 {
                assert!(text.contains(&part), "{part} in {text}");
            }
        }
    }
    let digest = hex::encode(certificate.snapshot.digest());
    for part in [
        TITLE,
        "打印查询证明",
        "20261123-7QX2M0K4T9",
        "7QX2M-0K4T9-B3NZD-51HVA",
        "某某市市场监督管理局",
        "2026年11月23日08:51:07（UTC+08:00）",
        "应某某商业银行申请，为“办理银行开户”",
        &digest[..DIGEST_LINE],
        &digest[DIGEST_LINE..],
    ] {
        assert!(text.contains(part), "{part} in {text}");
    }
    assert!(!text.contains("不证明其存续") && !text.contains("沙箱"), "{text}");
    let file = folder.path().join("certificate.pdf");
    let attached = folder.path().join("attached.json");
    run("pdfdetach", &["-save".as_ref(), "1".as_ref(), "-o".as_ref(), attached.as_ref(), file.as_ref()]);
    assert_eq!(std::fs::read(&attached).unwrap(), certificate.snapshot.to_json());
    let read: Snapshot = serde_json::from_slice(&certificate.snapshot.to_json()).unwrap();
    assert!(read == certificate.snapshot);
    assert_eq!(set.page, 1);
    let place = set.seal_place(42.0, 42.0);
    assert!(
        place.left > 105.0 && place.left + place.width < 210.0 && place.top + place.height < 297.0,
        "{place:?}"
    );
}

#[test]
fn who_is_not_in_force_is_certified_as_that() {
    let folder = tempfile::tempdir().unwrap();
    for (code, term) in [(2, "吊销,未注销"), (4, "注销"), (9, "其他")] {
        let mut certificate = certificate(code, term, false);
        certificate.snapshot.status.flags = vec!["经营异常名录".to_owned(), "严重违法失信名单".to_owned()];
        certificate.sandbox = true;
        let text = text_of(&certificate.to_pdf(Font::built_in()).unwrap().pdf, folder.path());
        for part in [
            format!("登记状态为“{term}”"),
            "不证明其存续".to_owned(),
            "经营异常名录、严重违法失信名单".to_owned(),
            "无法律效力".to_owned(),
        ] {
            assert!(text.contains(&part), "{part} in {text}");
        }
    }
}

#[test]
fn a_long_scope_goes_on_and_nothing_of_it_is_left_out() {
    let folder = tempfile::tempdir().unwrap();
    let mut certificate = certificate(1, "存续（在营、开业、在册）", true);
    let long: String = (0..900).map(|number| format!("{number}号服务；")).collect();
    assert!(long.chars().count() > 4_000);
    certificate.snapshot.face.insert("business_scope".to_owned(), long.clone().into());
    let set = certificate.to_pdf(Font::built_in()).unwrap();
    assert!(set.page > 2, "{}", set.page);
    let text = text_of(&set.pdf, folder.path());
    for number in [0, 1, 450, 899] {
        assert!(text.contains(&format!("{number}号服务")), "{number}");
    }
    assert!(!text.contains('〖'), "nothing is written as left out");
    certificate.snapshot.face.insert("business_scope".to_owned(), "长".repeat(100_000).into());
    assert!(matches!(certificate.to_pdf(Font::built_in()), Err(QueryCertificateError::TooLong)));
}
