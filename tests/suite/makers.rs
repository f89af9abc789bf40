//! Documents of other makers, stamped through the gateway: judged by us, and opened again by poppler and qpdf without a word.

use std::path::Path;
use std::process::Command;

use serde_json::{Value, json};
use tests::{Ran, Scratch, Site, base64, repository, shared, unbase64};

/// What cannot be opened without its password, and what stands there for other tests.
const LOCKED: [&str; 2] = ["encrypted", "encrypted-user"];

/// Documents by name, from a folder of the tree.
fn documents(folder: &str, kind: &str) -> Vec<(String, Vec<u8>)> {
    let files = std::fs::read_dir(repository().join(folder)).unwrap();
    let paths = files.map(|file| file.unwrap().path());
    let mut paths: Vec<_> = paths.filter(|path| path.extension().is_some_and(|end| end == kind)).collect();
    paths.sort();
    let name = |path: &Path| path.file_stem().unwrap().to_str().unwrap().to_owned();
    paths.iter().map(|path| (name(path), std::fs::read(path).unwrap())).collect()
}

fn judged(site: &Site, document: &[u8]) -> Value {
    site.app().post("/v1/stamps:verify", &json!({"document": base64(document)})).expect(200).json()
}

fn stamped(site: &Site, order: &Value) -> Vec<u8> {
    unbase64(site.app().post("/v1/stamps", order).expect(201).json()["document"].as_str().unwrap())
}

/// What a program says of a file; nothing is what a sound one gets from most.
fn said(program: &str, arguments: &[&str], scratch: &Scratch) -> String {
    Ran::of(Command::new(program).args(arguments).current_dir(scratch.path())).expect(program).text
}

#[test]
fn pdfs_of_thirty_makers_and_settings_are_stamped_and_open_without_a_warning() {
    let site = &shared().site;
    let scratch = Scratch::new();
    let mut count = 0;
    for (name, document) in documents("formats/tests/pdfs", "pdf") {
        if LOCKED.contains(&name.as_str()) {
            continue;
        }
        count += 1;
        let place =
            json!({"kind": "rect", "pages": "last", "left": 10, "top": 10, "width": 40, "height": 16});
        let order = |document: &[u8], key: &str, more: Value| {
            let mut order = json!({"format": "pdf", "document": base64(document), "signer": {"key": key}});
            order.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
            order
        };
        let seen = json!({"appearance": {"text": ["收讫 received", "{check_code}"], "places": [place]}});
        let once = stamped(site, &order(&document, "demo-p256", seen));
        let twice = stamped(site, &order(&once, "demo-sm2", json!({})));
        assert!(once.starts_with(&document) && twice.starts_with(&once), "{name}: earlier octets stay");
        let verdict = judged(site, &twice);
        assert_eq!(verdict["verdict"], "valid", "{name}: {verdict:#}");
        assert_eq!(verdict["signatures"].as_array().unwrap().len(), 2, "{name}: {verdict:#}");

        scratch.write("one.pdf", &twice);
        assert_eq!(said("pdftoppm", &["-r", "20", "-png", "one.pdf", "page"], &scratch), "", "{name}");
        let signatures = said("pdfsig", &["-nocert", "one.pdf"], &scratch);
        assert_eq!(signatures.matches("Signature is Valid").count(), 1, "{name}: {signatures}");
        assert!(!signatures.contains("Error") && !signatures.contains("Warning"), "{name}: {signatures}");
        let check = said("qpdf", &["--check", "one.pdf"], &scratch);
        assert!(check.contains("No syntax or stream encoding errors"), "{name}: {check}");
        assert!(!check.contains("WARNING"), "{name}: {check}");
    }
    assert!(count >= 40, "{count} samples");
}

#[test]
fn ofd_packages_of_other_makers_are_stamped_and_judged() {
    let site = &shared().site;
    let packages = documents("formats/tests/data", "ofd");
    assert!(packages.len() >= 3, "{} samples", packages.len());
    for (name, document) in packages {
        let place = json!({"kind": "rect", "pages": "1", "left": 5, "top": 5, "width": 60, "height": 20});
        let seen = json!({"text": ["收讫 received", "{check_code}"], "places": [place]});
        let mut order = json!({
            "format": "ofd", "document": base64(&document), "signer": {"key": "demo-sm2"}, "appearance": seen,
        });
        let once = stamped(site, &order);
        order.as_object_mut().unwrap().remove("appearance");
        order["document"] = json!(base64(&once));
        let twice = stamped(site, &order);
        let verdict = judged(site, &twice);
        assert_eq!(verdict["verdict"], "valid", "{name}: {verdict:#}");
        let all = verdict["signatures"].as_array().unwrap();
        assert_eq!(all.len(), 2, "{name}: {verdict:#}");
        assert!(all.iter().all(|one| one["uncovered"] == json!([])), "{name}: {verdict:#}");
    }
}
