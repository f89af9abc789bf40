//! Licenses: the sandbox's samples and licenses of a foreign test CA.

use serde_json::json;
use tests::{Answer, base64, shared};

fn verify(license: &str) -> Answer {
    shared().site.app().post("/v1/licenses:verify", &json!({"license": license})).expect(200)
}

/// The samples of one kind: `(uscc, bytes)`.
fn samples(kind: &str) -> Vec<(String, Vec<u8>)> {
    let site = &shared().site;
    let samples = site.sandbox()["samples"].as_array().expect("sandbox.json lists samples");
    let wanted = samples.iter().filter(|sample| sample["kind"] == kind);
    let found: Vec<_> = wanted
        .map(|sample| {
            let path = site.data().join(sample["file"].as_str().unwrap());
            (sample["uscc"].as_str().unwrap().to_owned(), std::fs::read(path).unwrap())
        })
        .collect();
    assert!(!found.is_empty(), "no sample of kind {kind}");
    found
}

/// DER in base64 or PEM as it is: both are ways to hand in a license.
fn text(bytes: &[u8]) -> String {
    match std::str::from_utf8(bytes) {
        Ok(text) if text.starts_with("-----BEGIN") => text.to_owned(),
        _ => base64(bytes),
    }
}

#[test]
fn good_samples_are_valid_and_show_their_face() {
    for (uscc, bytes) in samples("good") {
        let answer = verify(&text(&bytes));
        answer.expect_verdict("valid");
        let json = answer.json();
        assert_eq!(json["face"]["uscc"], uscc.as_str(), "{json}");
        assert!(json["face"]["name"].as_str().is_some_and(|name| !name.is_empty()), "{json}");
    }
}

#[test]
fn spoilt_samples_are_invalid_for_the_reason_they_were_made_for() {
    for (kind, codes) in [
        ("expired", &["expired"][..]),
        ("revoked", &["revoked"]),
        ("tampered", &["issuer_signature_invalid", "signature_invalid"]),
        ("wrong_uscc", &["uscc_invalid"]),
    ] {
        for (uscc, bytes) in samples(kind) {
            let answer = verify(&text(&bytes));
            answer.expect_verdict("invalid");
            let findings = answer.findings();
            assert!(
                codes.iter().any(|code| findings.contains(&(*code).to_owned())),
                "{kind} {uscc}: {}",
                answer.text()
            );
        }
    }
}

#[test]
fn there_are_good_samples_of_every_template() {
    let samples = shared().site.sandbox()["samples"].as_array().unwrap().clone();
    let good = samples.iter().filter(|sample| sample["kind"] == "good");
    let mut templates: Vec<&str> = good.filter_map(|sample| sample["template"].as_str()).collect();
    templates.sort_unstable();
    templates.dedup();
    assert_eq!(templates, ["A", "B", "C"]);
}

#[test]
fn a_license_expires_with_the_time_it_is_judged_at() {
    let (_, bytes) = samples("good").remove(0);
    let body = json!({"license": text(&bytes), "at": "2126-01-01T00:00:00Z"});
    let answer = shared().site.app().post("/v1/licenses:verify", &body).expect(200);
    answer.expect_verdict("invalid");
    assert!(answer.findings().contains(&"expired".to_owned()), "{}", answer.text());
}

#[test]
fn pem_and_der_of_one_license_are_judged_alike() {
    let der = shared().foreign.read("license-good.der");
    let body = base64(&der);
    let lines: Vec<&str> =
        body.as_bytes().chunks(64).map(|line| std::str::from_utf8(line).unwrap()).collect();
    let pem = format!("-----BEGIN CERTIFICATE-----\n{}\n-----END CERTIFICATE-----\n", lines.join("\n"));
    let [from_der, from_pem] = [body.as_str(), pem.as_str()].map(|license| {
        let mut json = verify(license).json();
        json.as_object_mut().unwrap().remove("request_id");
        json
    });
    assert_eq!(from_der, from_pem);
}

#[test]
fn licenses_of_a_foreign_trusted_ca_are_judged_on_their_merits() {
    let foreign = &shared().foreign;
    let good = verify(&base64(&foreign.read("license-good.der")));
    good.expect_verdict("valid");
    let json = good.json();
    assert_eq!(json["face"]["uscc"], "91350100M000100Y43");
    assert_eq!(json["face"]["name"], "外来测试有限公司");
    for (kind, code) in
        [("expired", "expired"), ("altered", "issuer_signature_invalid"), ("wrong-uscc", "uscc_invalid")]
    {
        let answer = verify(&base64(&foreign.read(&format!("license-{kind}.der"))));
        answer.expect_verdict("invalid");
        assert!(answer.findings().contains(&code.to_owned()), "{kind}: {}", answer.text());
    }
}

#[test]
fn bytes_behind_a_license_make_it_malformed() {
    let license = shared().foreign.read("license-good.der");
    for bytes in [&license[..license.len() - 1], &[&license[..], &[0]].concat(), b"no license"] {
        let answer = verify(&base64(bytes));
        answer.expect_verdict("invalid");
        assert!(answer.findings().contains(&"malformed".to_owned()), "{}", answer.text());
    }
}

#[test]
fn face_and_status_of_a_license_are_looked_up_by_uscc() {
    let app = shared().site.app();
    let (uscc, bytes) = samples("good").remove(0);
    let face = app.get(&format!("/v1/licenses/{uscc}/face")).expect(200).json();
    assert_eq!(face["uscc"], uscc.as_str(), "{face}");
    assert_eq!(face["face"]["name"], verify(&text(&bytes)).json()["face"]["name"], "{face}");
    let status = app.get(&format!("/v1/licenses/{uscc}/status")).expect(200).json();
    assert_eq!(status["code"], 1, "{status}");
    assert!(status["as_of"].is_string(), "{status}");
}

#[test]
fn a_look_up_needs_a_scope_a_valid_code_and_a_known_license() {
    let site = &shared().site;
    let (uscc, _) = samples("good").remove(0);
    for part in ["face", "status"] {
        let path = |code: &str| format!("/v1/licenses/{code}/{part}");
        let unknown = site.app().get(&path("91440300708461136T")).expect(404);
        assert_eq!(unknown.json()["code"], "license_unknown");
        let wrong = site.app().get(&path("91440300708461163T")).expect(422);
        assert_eq!(wrong.json()["code"], "uscc_invalid");
        let refused = site.app_number(2).get(&path(&uscc)).expect(403);
        assert_eq!(refused.json()["code"], "scope_missing");
    }
}

/// The sandbox's license files as its manifest lists them, with their octets.
fn files() -> Vec<(serde_json::Value, Vec<u8>)> {
    let pki = shared().site.data().join("pki");
    let manifest: serde_json::Value =
        serde_json::from_slice(&std::fs::read(pki.join("manifest.json")).unwrap()).unwrap();
    let listed = manifest["license_files"].as_array().unwrap().clone();
    let read = |file: serde_json::Value| {
        let octets = std::fs::read(pki.join(file["file"].as_str().unwrap())).unwrap();
        (file, octets)
    };
    listed.into_iter().map(read).collect()
}

#[test]
fn license_files_are_judged_and_each_of_six_defects_is_found_by_its_own_finding() {
    let files = files();
    assert_eq!(files.len(), 14);
    for (file, octets) in files {
        let body = json!({"license": base64(&octets), "type": file["form"]});
        let answer = shared().site.app().post("/v1/licenses:verify", &body).expect(200);
        let json = answer.json();
        assert_eq!(json["file"]["form"], file["form"], "{json}");
        match file["finding"].as_str() {
            None => {
                answer.expect_verdict("valid");
                assert_eq!(answer.findings(), [""; 0], "{json}");
                assert_eq!(json["face"]["uscc"], file["uscc"], "{json}");
                assert_eq!(json["status"]["code"], 1, "{json}");
                assert_eq!(json["file"]["sealed_by"].as_array().unwrap().len(), 1, "{json}");
            }
            Some(finding) => {
                assert_ne!(json["verdict"], "valid", "{}: {json}", file["file"]);
                assert!(answer.findings().contains(&finding.to_owned()), "{}: {json}", file["file"]);
            }
        }
    }
}

#[test]
fn license_files_are_judged_in_batches_and_reported_on_like_licenses() {
    let wanted = |(file, _): &(serde_json::Value, Vec<u8>)| {
        ["license-good.ofd", "license-shown.ofd"]
            .iter()
            .any(|name| file["file"].as_str().unwrap().ends_with(name))
    };
    let items: Vec<_> = files().into_iter().filter(wanted).collect();
    let bodies: Vec<_> = items
        .iter()
        .map(|(_, octets)| json!({"license": base64(octets), "type": "ofd", "report": true}))
        .collect();
    let answer =
        shared().site.app().post("/v1/licenses:verify-batch", &json!({"items": bodies})).expect(200).json();
    for ((file, _), answer) in items.iter().zip(answer["items"].as_array().unwrap()) {
        let is_good = file["finding"].is_null();
        assert_eq!(answer["verdict"] == "valid", is_good, "{answer}");
        assert!(answer["report"].is_object(), "{answer}");
    }
}

#[test]
fn a_certificate_under_the_type_of_a_file_is_malformed_and_an_unknown_type_is_refused() {
    let (_, bytes) = samples("good").remove(0);
    for kind in ["ofd", "pdf"] {
        let body = json!({"license": text(&bytes), "type": kind});
        let answer = shared().site.app().post("/v1/licenses:verify", &body).expect(200);
        answer.expect_verdict("invalid");
        assert!(answer.findings().contains(&"malformed".to_owned()), "{}", answer.text());
    }
    let body = json!({"license": text(&bytes), "type": "docx"});
    let refused = shared().site.app().post("/v1/licenses:verify", &body).expect(422);
    assert!(refused.text().contains("\"type\""), "{}", refused.text());
}
