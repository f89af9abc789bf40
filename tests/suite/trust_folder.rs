//! What is put into a folder of trust takes effect while the gateway runs, and so does what is taken out.

use std::path::PathBuf;
use std::time::Duration;

use serde_json::{Value, json};
use tests::{Authority, Folder, Site, base64, eventually};

const SOON: Duration = Duration::from_secs(60);

/// A running site that looks often at two folders in its own, `roots` and `lists`.
fn site() -> Site {
    let folder = Folder::init();
    for name in ["roots", "lists"] {
        std::fs::create_dir(folder.data().join(name)).unwrap();
    }
    folder.configure("[trust]\nanchors = [", "[trust]\npoll_ms = 50\nanchors = [\"roots\", ");
    folder.configure("crls = [", "crls = [\"lists\", ");
    folder.serve()
}

fn verdict(site: &Site, body: &Value) -> String {
    let answer = site.app().post("/v1/verifications", body).expect(200).json();
    answer["verdict"].as_str().unwrap().to_owned()
}

#[track_caller]
fn await_verdict(site: &Site, body: &Value, wanted: &str) {
    eventually(wanted, SOON, || (verdict(site, body) == wanted).then_some(()));
}

fn trust(site: &Site) -> Value {
    site.app_number(2).get("/v1/trust").expect(200).json()
}

/// Waits until this file is reported as refused, or, for none, until nothing is.
#[track_caller]
fn await_refused(site: &Site, file: Option<&PathBuf>) {
    eventually(&format!("{file:?} is refused"), SOON, || {
        let refused = trust(site)["refused_files"].clone();
        let refused: Vec<_> =
            refused.as_array().unwrap().iter().map(|text| text.as_str().unwrap().to_owned()).collect();
        match file {
            None => refused.is_empty(),
            Some(file) => refused.iter().any(|text| text.contains(&file.display().to_string())),
        }
        .then_some(())
    });
}

#[test]
fn roots_and_lists_come_and_go_without_a_restart() {
    let (site, authority) = (site(), Authority::new("Dropped"));
    authority.issue("signer");
    let body = authority.verification("signer");
    let pid = site.pid();
    assert_eq!(verdict(&site, &body), "indeterminate");

    let (root, list) = (site.data().join("roots/new.pem"), site.data().join("lists/new.crl"));
    std::fs::copy(authority.root(), &root).unwrap();
    await_verdict(&site, &body, "valid");
    authority.revoke("signer");
    std::fs::write(&list, authority.crl()).unwrap();
    await_verdict(&site, &body, "invalid");
    std::fs::remove_file(&list).unwrap();
    await_verdict(&site, &body, "valid");
    std::fs::remove_file(&root).unwrap();
    await_verdict(&site, &body, "indeterminate");

    assert_eq!(site.pid(), pid);
    let entries = site.audit();
    let taken: Vec<_> = entries.iter().filter(|entry| entry["action"] == "trust.reload").collect();
    let subjects: Vec<_> = taken.iter().map(|entry| entry["subject"].as_str().unwrap()).collect();
    assert_eq!(subjects, ["trust.anchors", "trust.crls", "trust.crls", "trust.anchors"]);
}

#[test]
fn makers_of_seals_come_and_go_without_a_restart() {
    let folder = Folder::init();
    let makers = folder.data().join("makers");
    std::fs::create_dir(&makers).unwrap();
    folder.configure("[trust]\n", "[trust]\npoll_ms = 50\n");
    folder.configure("seal_makers = [\"pki/seals/makers.pem\"]", "seal_makers = [\"makers\"]");
    let site = folder.serve();
    let ofd = std::fs::read(site.data().join("pki/documents/edition.ofd")).unwrap();
    let body = json!({"document": base64(&ofd)});
    let judged = |verdict: &str| {
        eventually(verdict, SOON, || {
            let answer = site.app().post("/v1/stamps:verify", &body).expect(200).json();
            (answer["verdict"] == verdict).then_some(answer)
        })
    };
    // An empty folder says that nobody's count.
    assert!(judged("indeterminate").to_string().contains("seal_maker_not_trusted"));
    std::fs::copy(site.data().join("pki/seals/makers.pem"), makers.join("all.pem")).unwrap();
    assert!(!judged("valid").to_string().contains("seal_maker"));
    std::fs::remove_file(makers.join("all.pem")).unwrap();
    judged("indeterminate");
}

#[test]
fn a_file_that_cannot_be_used_is_named_and_leaves_what_was_in_force() {
    let (site, authority) = (site(), Authority::new("Spoiled"));
    authority.issue("signer");
    let body = authority.verification("signer");
    std::fs::copy(authority.root(), site.data().join("roots/new.pem")).unwrap();
    await_verdict(&site, &body, "valid");
    let generation = trust(&site)["documents_generation"].clone();

    let list = site.data().join("lists/new.crl");
    authority.revoke("signer");
    let whole = authority.crl();
    // What is being copied is half a file for a while.
    for part in [&b""[..], &whole[..whole.len() / 2], b"-----BEGIN X509 CRL-----\nAAAA"] {
        std::fs::write(&list, part).unwrap();
        await_refused(&site, Some(&list));
        assert_eq!(verdict(&site, &body), "valid");
        assert_eq!(trust(&site)["documents_generation"], generation);
        std::fs::remove_file(&list).unwrap();
        await_refused(&site, None);
    }
    std::fs::write(&list, "hello").unwrap();
    await_refused(&site, Some(&list));
    let problem = site.app_number(2).post("/v1/admin/config:reload", &json!({})).expect(422).json();
    assert_eq!(problem["code"], "config_unusable");
    assert!(problem["errors"].to_string().contains("lists/new.crl"), "{problem}");
    let metrics = site.stranger(None).get("/metrics").expect(200).text();
    assert!(metrics.contains("license_gateway_trust_files_refused 1"), "{metrics}");
    assert!(site.log().contains("lists/new.crl"), "the log names it");
    assert_eq!(verdict(&site, &body), "valid");

    std::fs::write(&list, &whole).unwrap();
    await_verdict(&site, &body, "invalid");
    await_refused(&site, None);
    let refused = site.app().get("/v1/trust").expect(403).json();
    assert_eq!(refused["code"], "scope_missing");
}
