//! `verify --report`: one report on all files, for people and for programs.

use std::process::Command;

use serde_json::Value;

use crate::support::{AT, Ran, Scratch, gateway, sandbox};

/// Judges files of the sandbox's material and has a report written.
fn verify(scratch: &Scratch, files: &[&str], report: &str, options: &str) -> Ran {
    let folder = sandbox().path("");
    let folder = folder.display();
    let arguments = format!(
        "verify --json --sandbox --at {AT} --trust {folder}/trust/bundle.pem --intermediate {folder}/issuing \
         --crl {folder}/crls --report {} {options}",
        scratch.path(report).display()
    );
    let files: Vec<String> = files.iter().map(|file| sandbox().path(file).display().to_string()).collect();
    gateway(&arguments, &files.iter().map(String::as_str).collect::<Vec<_>>())
}

fn pdf_text(scratch: &Scratch, file: &str) -> String {
    let output =
        Command::new("pdftotext").args(["-layout", file, "-"]).current_dir(scratch.path("")).output();
    let output = output.expect("pdftotext (tests/install-tools.sh installs it)");
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).unwrap()
}

const LICENSES: [&str; 2] = ["licenses/A-good.der", "licenses/B-expired.der"];

#[test]
fn a_report_for_people_says_what_the_verdict_says_in_the_language_asked_for() {
    let scratch = Scratch::new();
    let ran = verify(&scratch, &LICENSES[..1], "report.pdf", "");
    let license = ran.expect(0, "valid", None)["license"].clone();
    let text = pdf_text(&scratch, "report.pdf");
    let compact: String = text.split_whitespace().collect();
    for said in [
        "验证报告",
        "有效",
        "照面信息",
        "统一社会信用代码",
        "未核查登记状态",
        "信任根",
        "licenses/A-good.der",
    ] {
        assert!(text.contains(said) || compact.contains(said), "{said} is not in\n{text}");
    }
    for value in [&license["uscc"], &license["face"]["name"], &license["serial"]] {
        assert!(compact.contains(value.as_str().unwrap()), "{value} is not in\n{text}");
    }
    verify(&scratch, &LICENSES[..1], "report.txt", "--lang en");
    let text = String::from_utf8(scratch.read("report.txt")).unwrap();
    assert!(text.starts_with("Verification report\n") && text.contains("Verdict: valid"), "{text}");
    assert!(text.contains("[status_not_checked] the holder's status was not checked"), "{text}");
}

#[test]
fn several_files_are_in_one_report_and_the_worst_decides_the_exit_code() {
    let scratch = Scratch::new();
    let ran = verify(&scratch, &LICENSES, "report.pdf", "");
    assert_eq!(ran.code, 1, "{}", ran.stderr);
    let text = pdf_text(&scratch, "report.pdf");
    assert!(text.contains("概览") && text.contains("已过期"), "{text}");
    verify(&scratch, &LICENSES, "report.json", "");
    let report: Value = serde_json::from_slice(&scratch.read("report.json")).unwrap();
    let reports = report["SignatureValidationReport"].as_array().unwrap();
    let indications = reports.iter().map(|report| &report["SignatureValidationStatus"]["MainIndication"]);
    let ends = indications.map(|indication| indication.as_str().unwrap().rsplit(':').next().unwrap());
    assert_eq!(ends.collect::<Vec<_>>(), ["total-passed", "total-failed"], "{report:#}");
    for (report, file) in reports.iter().zip(LICENSES) {
        assert!(
            report["SignatureIdentifier"]["DAIdentifier"].as_str().unwrap().ends_with(file),
            "{report:#}"
        );
    }
}

#[test]
fn the_path_of_a_signer_is_in_both_reports() {
    let scratch = Scratch::with_authority();
    scratch.write("content", "关于准予设立登记的通知书\n");
    scratch.openssl(
        "cms -sign -binary -md sha256 -in content -signer leaf.pem -inkey leaf.key -nodetach -outform DER -out signed.p7s",
    );
    let report = |name: &str| {
        let file = scratch.path(name).display().to_string();
        scratch.verify("signed.p7s", &format!("--report {file}")).expect(0, "valid", None);
    };
    report("report.json");
    let report_json: Value = serde_json::from_slice(&scratch.read("report.json")).unwrap();
    let status = &report_json["SignatureValidationReport"][0]["SignatureValidationStatus"];
    let anchor = &status["AssociatedValidationReportData"]["CertificateChain"]["TrustAnchor"]["VOReference"];
    let objects = report_json["SignatureValidationObjects"]["ValidationObject"].as_array().unwrap();
    let named =
        objects.iter().find(|object| anchor.as_str().unwrap().strip_prefix('#') == object["id"].as_str());
    assert!(named.unwrap()["Issuer"].as_str().unwrap().contains("Somebody"), "{report_json:#}");
    report("report.pdf");
    let text = pdf_text(&scratch, "report.pdf");
    for said in ["签名单位", "ecdsa-p256-sha256", "O=Somebody", "信任根", "自称签名时间", "未核查吊销状态"]
    {
        assert!(text.contains(said), "{said} is not in\n{text}");
    }
}

#[test]
fn what_cannot_be_read_is_in_the_report_too() {
    let scratch = Scratch::new();
    let broken = scratch.write("broken.der", b"nothing");
    let report = scratch.path("report.txt");
    let ran = gateway(
        &format!("verify --type cms --lang zh --report {}", report.display()),
        &[broken.to_str().unwrap(), scratch.path("absent").to_str().unwrap()],
    );
    assert_eq!(ran.code, 2);
    let text = String::from_utf8(scratch.read("report.txt")).unwrap();
    assert!(text.contains("格式错误") && text.contains("无法读取"), "{text}");
}

#[test]
fn a_report_that_cannot_be_written_and_a_font_that_is_none_are_wrong_usage() {
    let scratch = Scratch::new();
    assert_eq!(verify(&scratch, &LICENSES[..1], "report.doc", "").code, 2);
    let nowhere = verify(&scratch, &LICENSES[..1], "no/such/folder/report.pdf", "");
    assert_eq!(nowhere.code, 2);
    assert!(nowhere.stderr.contains("report.pdf"), "{}", nowhere.stderr);
    let font = scratch.write("font.otf", b"no font");
    let ran = verify(&scratch, &LICENSES[..1], "report.pdf", &format!("--font {}", font.display()));
    assert_eq!(ran.code, 2);
    assert!(ran.stderr.contains("OpenType"), "{}", ran.stderr);
    assert!(!scratch.path("report.pdf").exists());
}

#[test]
fn text_on_a_terminal_shows_what_a_name_tries_to_hide() {
    let scratch = Scratch::new();
    scratch.openssl(
        "req -x509 -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -keyout key.pem -out evil.pem -utf8 -days 30 \
         -subj /CN=good\u{202E}lave\u{7}",
    );
    let ran = gateway("verify --lang zh", &[scratch.path("evil.pem").to_str().unwrap()]);
    assert!(
        ran.stdout.contains("〖U+202E〗") && !ran.stdout.contains(['\u{202E}', '\u{7}']),
        "{}",
        ran.stdout
    );
}
