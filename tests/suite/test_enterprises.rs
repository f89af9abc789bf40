//! Test enterprises of a sandbox: made by one command along the way of every enterprise, able to stamp at once, and marked 测试; a site for
//! production makes none.

use std::path::Path;
use std::process::{Command, Output};

use serde_json::{Value, json};
use tests::{Folder, Ran, Scratch, Site, base64, gateway, repository, unbase64};

fn made(site: &Site, more: &[&str]) -> Output {
    let mut command = Command::new(gateway());
    command.args(["sandbox", "enterprise", "--json", "--data"]).arg(site.data()).args(more);
    command.output().unwrap()
}

fn enterprise(site: &Site, more: &[&str]) -> Value {
    let made = made(site, more);
    assert!(made.status.success(), "{made:?}");
    serde_json::from_slice(&made.stdout).unwrap()
}

fn order(enterprise: &Value, format: &str, document: &Path, more: &Value) -> Value {
    let document = std::fs::read(document).unwrap();
    let mut order = json!({
        "format": format, "document": base64(&document), "signer": enterprise["signer"], "seal": enterprise["seal"],
        "appearance": {"places": [{"kind": "rect", "pages": "1", "left": 80.0, "top": 30.0}]},
    });
    order.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
    order
}

#[test]
fn a_test_enterprise_stamps_at_once_and_what_it_stamped_says_so() {
    let site = Folder::init().serve();
    let enterprise = enterprise(&site, &[]);
    let (name, code) = (enterprise["name"].as_str().unwrap(), enterprise["code"].as_str().unwrap());
    assert!(name.contains("测试"), "{enterprise:#}");
    assert!(code.len() == 18 && code.starts_with("ZZJGD"), "{enterprise:#}");
    let description = std::fs::read(site.data().join("sandbox.json")).unwrap();
    let description: Value = serde_json::from_slice(&description).unwrap();
    assert_eq!(description["enterprises"], json!([enterprise]), "whoever has the folder finds it");

    let scratch = Scratch::new();
    let plain = repository().join("formats/tests/pdfs/reportlab.pdf");
    for (format, document, more) in [
        ("pdf", &plain, json!({"profile": "gm-seal"})),
        ("ofd", &site.data().join("pki/documents/edition.ofd"), json!({})),
    ] {
        let answer = site.app().post("/v1/stamps", &order(&enterprise, format, document, &more));
        let stamp = answer.expect(201).json();
        let shown = json!({"document": stamp["document"]});
        let verdict = site.app().post("/v1/stamps:verify", &shown).expect(200).json();
        assert_eq!(verdict["verdict"], "valid", "{verdict:#}");
        let last = verdict["signatures"].as_array().unwrap().last().unwrap();
        // The seal says whose it is, and that it is for tests.
        let seal = last["seal"]["name"].as_str().unwrap_or_else(|| panic!("{last:#}"));
        assert!(seal.contains(name) && seal.contains("测试专用"), "{last:#}");
        let page = format!("/verify/{}", stamp["check_code"].as_str().unwrap());
        let page = site.stranger(None).get(&page).expect(200).text();
        assert!(page.contains(name) && page.contains(code), "{page}");
        scratch.write(&format!("stamped.{format}"), unbase64(stamp["document"].as_str().unwrap()));
    }
    // It is seen: red on the page, where it was asked for.
    let pixels = |file: &str| {
        let mut page = Command::new("pdftoppm");
        let page = page.args(["-r", "50", "-singlefile"]).arg(file).current_dir(scratch.path());
        let ppm = Ran::of(page).expect("pdftoppm").stdout;
        ppm.chunks_exact(3).filter(|rgb| rgb[0] > 150 && rgb[1] < 90 && rgb[2] < 90).count()
    };
    assert!(pixels("stamped.pdf") > pixels(plain.to_str().unwrap()) + 200);

    // The way was everybody's: each step is on record.
    let actions: Vec<_> = site.audit().into_iter().map(|entry| entry["action"].clone()).collect();
    for action in ["mandate.create", "mandate.csr", "mandate.certify", "mandate.activate", "seal.make"] {
        assert!(actions.contains(&json!(action)), "{action} in {actions:?}");
    }
}

#[test]
fn there_are_as_many_as_are_wanted_and_only_such_that_say_so() {
    let site = Folder::init().serve();
    let first = enterprise(&site, &["--code", "ZZJGD1609314154606", "--name", "测试灞桥贸易有限公司"]);
    assert_eq!(first["code"], "ZZJGD1609314154606");
    let second = enterprise(&site, &[]);
    assert_ne!(first["code"], second["code"]);
    for one in [&first, &second] {
        let digest = json!({"format": "digest", "digest": base64(&[7; 32]), "signer": one["signer"]});
        site.app().post("/v1/stamps", &digest).expect(201);
    }
    for (wrong, said) in [
        (["--code", "91610000MA00000000"], "--code must be that of a test enterprise"),
        (["--code", "ZZJGD"], "--code must be that of a test enterprise"),
        (["--name", "西安市秦风贸易有限公司"], "--name must say 测试"),
    ] {
        let refused = made(&site, &wrong);
        assert!(!refused.status.success());
        let text = format!("{refused:?}{}", String::from_utf8_lossy(&refused.stderr));
        let text = text + &String::from_utf8_lossy(&refused.stdout);
        assert!(text.contains(said), "{text}");
    }
    // Of one code there is one.
    assert!(!made(&site, &["--code", "ZZJGD1609314154606"]).status.success());
}

#[test]
fn nothing_is_begun_that_cannot_be_ended() {
    let site = Folder::init().serve();
    let said = |site: &Site| {
        let refused = made(site, &[]);
        assert_eq!(refused.status.code(), Some(1), "{refused:?}");
        [refused.stdout, refused.stderr].map(|octets| String::from_utf8_lossy(&octets).into_owned()).concat()
    };
    let key = site.data().join("pki/private/sm2-issuing.pem");
    let kept = std::fs::read(&key).unwrap();
    std::fs::remove_file(&key).unwrap();
    let text = said(&site);
    assert!(text.contains("a sandbox of an older build keeps no authority"), "{text}");
    std::fs::write(&key, b"no key").unwrap();
    let text = said(&site);
    assert!(!text.contains("older build") && text.contains("key"), "{text}");
    std::fs::write(&key, kept).unwrap();
    let description = site.data().join("sandbox.json");
    let described = std::fs::read(&description).unwrap();
    std::fs::write(&description, b"[]").unwrap();
    let text = said(&site);
    assert!(text.contains("describes no sandbox"), "{text}");
    std::fs::write(&description, described).unwrap();
    assert!(!site.audit().iter().any(|entry| entry["action"] == "mandate.create"), "nothing was begun");
    enterprise(&site, &[]);
}

#[test]
fn a_site_for_production_makes_none() {
    let folder = Folder::init();
    folder.configure("sandbox = true", "sandbox = false");
    folder.configure("http = \"127.0.0.1:8080\"\n", "admin = \"127.0.0.1:0\"\n");
    let site = folder.serve();
    let refused = made(&site, &[]);
    assert!(!refused.status.success());
    let said =
        [refused.stdout, refused.stderr].map(|octets| String::from_utf8_lossy(&octets).into_owned()).concat();
    assert!(said.contains("test_identity_in_production"), "{said}");
    let description = std::fs::read_to_string(site.data().join("sandbox.json")).unwrap();
    assert!(!description.contains("\"enterprises\""), "{description}");
}
