//! Reports on what was judged: PDF and text by `Accept`, the structure of ETSI TS 119 102-2 by `report`.

use serde_json::{Value, json};
use tests::{Answer, Ran, Scratch, base64, shared};

fn ask(path: &str, body: &Value, headers: &[(&str, &str)]) -> Answer {
    let headers = [&[("content-type", "application/json")], headers].concat();
    shared().site.app().send("POST", path, &headers, Some(body.to_string().as_bytes()))
}

/// The text of a PDF answer, which qpdf finds sound.
#[track_caller]
fn text(answer: &Answer) -> String {
    assert_eq!(answer.header("content-type"), "application/pdf", "{}", answer.text());
    let scratch = Scratch::new();
    scratch.write("report.pdf", &answer.body);
    let run = |program: &str, arguments: &[&str]| {
        let mut command = std::process::Command::new(program);
        Ran::of(command.args(arguments).current_dir(scratch.path())).expect(program);
    };
    run("qpdf", &["--check", "report.pdf"]);
    run("pdftotext", &["-layout", "report.pdf", "report.txt"]);
    String::from_utf8(scratch.read("report.txt")).unwrap()
}

fn cms(detached: bool) -> Value {
    let order = json!({
        "key": "demo-sm2", "algorithm": "sm2-sm3", "format": "cms", "detached": detached,
        "input": {"data": base64("准予设立登记".as_bytes())},
    });
    let signed = shared().site.app().post("/v1/signatures", &order).expect(201).json();
    json!({"format": "cms", "signature": signed["signature"]})
}

fn license(name: &str) -> Value {
    let file = shared().site.data().join(format!("pki/licenses/{name}.pem"));
    json!({"license": std::fs::read_to_string(file).unwrap()})
}

#[test]
fn a_signature_is_reported_as_pdf_in_chinese_unless_english_is_preferred() {
    let answer =
        ask("/v1/verifications", &cms(false), &[("accept", "application/pdf"), ("x-request-id", "report-1")]);
    let answer = answer.expect(200);
    assert_eq!(answer.header("x-verdict"), "valid");
    assert!(answer.header("content-disposition").contains("verification-report-1.pdf"));
    let said = text(&answer);
    for part in ["验证报告", "有效", "sm2-sm3", "信任根", "SHA-256", "report-1", "第 1 页，共"] {
        assert!(said.contains(part), "{part} is not in\n{said}");
    }
    let english = [("accept", "application/pdf, application/problem+json"), ("accept-language", "en-GB")];
    let said = text(&ask("/v1/verifications", &cms(false), &english).expect(200));
    assert!(said.find("Verification report") < said.find("验证报告"), "{said}");
}

#[test]
fn a_bad_signature_is_reported_with_its_reason() {
    let mut body = cms(true);
    body["input"] = json!({"data": base64(b"other")});
    let answer = ask("/v1/verifications", &body, &[("accept", "application/pdf")]).expect(200);
    assert_eq!(answer.header("x-verdict"), "invalid");
    let said = text(&answer);
    assert!(said.contains("内容与签名不符") && said.contains("digest_mismatch"), "{said}");
    let answer =
        ask("/v1/verifications", &body, &[("accept", "text/plain"), ("accept-language", "en")]).expect(200);
    assert_eq!(answer.header("content-type"), "text/plain; charset=utf-8");
    assert!(
        answer.text().contains("[digest_mismatch] the content is not what was signed"),
        "{}",
        answer.text()
    );
}

#[test]
fn a_license_is_reported_as_pdf_and_in_the_etsi_structure() {
    let good = license("A-good");
    let answer = ask("/v1/licenses:verify", &good, &[("accept", "application/pdf")]).expect(200);
    let said = text(&answer);
    let json = ask("/v1/licenses:verify", &good, &[]).expect(200).json();
    assert_eq!(answer.header("x-verdict"), json["verdict"].as_str().unwrap());
    let compact: String = said.split_whitespace().collect();
    for value in
        [&json["face"]["uscc"], &json["face"]["name"], &json["license"]["serial"], &json["status"]["text"]]
    {
        let value: String = value.as_str().unwrap().split_whitespace().collect();
        assert!(compact.contains(&value), "{value} is not in\n{said}");
    }
    assert!(json["report"].is_null());
    let mut asked = license("B-expired");
    asked["report"] = true.into();
    let one = ask("/v1/licenses:verify", &asked, &[]).expect(200).json();
    let many = ask("/v1/licenses:verify-batch", &json!({"items": [asked, good]}), &[]).expect(200).json();
    assert!(many["items"][1]["report"].is_null());
    for answer in [&one, &many["items"][0]] {
        let status = &answer["report"]["SignatureValidationReport"][0]["SignatureValidationStatus"];
        assert_eq!(status["MainIndication"], "urn:etsi:019102:mainindication:total-failed", "{answer:#}");
        assert!(status["SubIndication"].to_string().contains("EXPIRED"), "{answer:#}");
        let chain = &status["AssociatedValidationReportData"]["CertificateChain"];
        assert!(chain["TrustAnchor"]["VOReference"].is_string(), "{answer:#}");
    }
}

#[test]
fn json_stays_the_answer_for_everybody_else_and_errors_stay_problems() {
    for accept in ["*/*", "application/json", "image/png", "text/html, */*;q=0.8"] {
        let answer = ask("/v1/verifications", &cms(false), &[("accept", accept)]).expect(200);
        assert_eq!(answer.header("content-type"), "application/json", "{accept}");
        answer.expect_verdict("valid");
    }
    let problem = ask("/v1/verifications", &json!({}), &[("accept", "application/pdf")]).expect(422);
    assert_eq!(problem.header("content-type"), "application/problem+json");
}

#[test]
fn findings_say_what_they_mean_in_both_languages() {
    let answer = ask("/v1/licenses:verify", &license("B-expired"), &[]).expect(200).json();
    let findings = answer["findings"].as_array().unwrap();
    let expired = findings.iter().find(|finding| finding["code"] == "expired").unwrap();
    assert_eq!(expired["message"], json!({"zh": "已过期", "en": "expired"}));
    for finding in findings {
        assert!(finding["message"]["zh"].is_string(), "{finding}");
    }
}
