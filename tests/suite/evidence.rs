//! What stamps are verified with when their certificates are no more: taken by the gateway, handed out, and judged with the clock
//! moved on; taken and renewed once over kills.

use std::process::Command;
use std::time::Duration;

use serde_json::{Value, json};
use tests::{Folder, Ran, Scratch, Site, base64, eventually, gateway, now, repository, unbase64};

const SOON: Duration = Duration::from_secs(240);

fn stamped(site: &Site) -> Value {
    let document = std::fs::read(repository().join("formats/tests/pdfs/reportlab.pdf")).unwrap();
    let order = json!({"format": "pdf", "document": base64(&document), "signer": {"key": "demo-p256"}});
    site.app().post("/v1/stamps", &order).expect(201).json()
}

fn id(stamp: &Value) -> &str {
    stamp["stamp_id"].as_str().unwrap()
}

/// The package, once it has so many timestamps.
#[track_caller]
fn package(site: &Site, stamp: &Value, timestamps: usize) -> Value {
    let path = format!("/v1/stamps/{}/evidence", id(stamp));
    eventually("the evidence", SOON, || {
        let answer = site.app().get(&path);
        let package = (answer.status == 200).then(|| answer.json())?;
        (package["records"].as_array().unwrap().len() == timestamps).then_some(package)
    })
}

fn judged(site: &Site, stamp: &Value, more: Value) -> Value {
    let mut body = json!({"document": stamp["document"]});
    body.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
    site.app().post("/v1/stamps:verify", &body).expect(200).json()
}

fn codes(findings: &Value) -> Vec<&str> {
    findings.as_array().unwrap().iter().map(|finding| finding["code"].as_str().unwrap()).collect()
}

fn sql(site: &Site, statement: &str) {
    let mut sqlite = Command::new("sqlite3");
    sqlite.args(["-cmd", ".timeout 30000"]);
    Ran::of(sqlite.arg(site.data().join("gateway.db")).arg(statement)).expect(statement);
}

#[test]
fn a_stamp_is_verified_when_its_certificate_has_expired_and_its_list_is_gone() {
    let folder = Folder::init();
    let made = now();
    // Certificates of the authority outside end later than those of the site.
    eventually("some seconds pass", SOON, || (now() > made + 3).then_some(()));
    let outside = Folder::init().serve();
    let root = outside.data().join("pki/roots/p256.pem");
    folder.trust(std::slice::from_ref(&root));
    let section =
        format!("[timestamps.outside]\nurl = \"{}/tsa\"\nroots = [{root:?}]\n\n[fleet]\n", outside.base());
    folder.configure("[fleet]\n", &section);
    // Its authority has the name of the site's own: only its own list speaks of it.
    let list = outside.data().join("pki/crls/p256.pem");
    folder.configure("crls = [", &format!("crls = [{list:?}, "));
    let site = folder.serve();
    let stamp = stamped(&site);
    let evidence = package(&site, &stamp, 1);
    let core: Value = serde_json::from_str(evidence["core"].as_str().unwrap()).unwrap();
    assert_eq!((&core["stamp_id"], &core["document_sm3"]), (&stamp["stamp_id"], &stamp["document_sm3"]));
    assert!(!core["data"]["crls"].as_array().unwrap().is_empty(), "{core:#}");
    assert_eq!(core["data"].get("missing"), None, "{core:#}");

    // Whoever has the code gets the same, and the register says that there is one.
    let code = stamp["check_code"].as_str().unwrap();
    let stranger = site.stranger(None);
    assert_eq!(stranger.get(&format!("/verify/{code}/evidence")).expect(200).json(), evidence);
    let page = stranger.get(&format!("/verify/{code}?lang=en")).expect(200).text();
    assert!(page.contains("Evidence package"), "{page}");
    let item = site.app().get(&format!("/v1/stamps/{}", id(&stamp))).expect(200).json();
    assert_eq!(item["evidence"]["timestamps"], 1, "{item:#}");
    // Nobody else is told that there is a stamp.
    let other = site.app_number(1).get(&format!("/v1/stamps/{}/evidence", id(&stamp)));
    assert_eq!(other.expect(404).json()["code"], "unknown_stamp");

    // Now, and then.
    let verdict = judged(&site, &stamp, json!({"evidence": evidence}));
    assert_eq!((&verdict["verdict"], &verdict["evidence"]["verdict"]), (&json!("valid"), &json!("valid")));
    assert_eq!(verdict["evidence"]["records"][0]["logged"], true, "{verdict:#}");
    let then = verdict["evidence"]["records"][0]["good_until"].clone();
    let alone = judged(&site, &stamp, json!({"at": then}));
    assert_eq!(alone["verdict"], "invalid", "{alone:#}");
    assert!(alone.to_string().contains("\"expired\""), "{alone:#}");
    // The site has lost the list by then.
    site.configure(&[("\"pki/crls/p256.pem\", ", "")]);
    assert!(site.command(&["reload"]).status.success());
    let kept = judged(&site, &stamp, json!({"at": then, "evidence": evidence}));
    assert_eq!(
        (&kept["verdict"], &kept["evidence"]["verdict"]),
        (&json!("valid"), &json!("valid")),
        "{kept:#}"
    );
    assert_eq!(kept["evidence"]["stamp_id"], stamp["stamp_id"]);
    let signer = kept["signatures"][0].to_string();
    assert!(!signer.contains("revocation_not_checked"), "the package has the list: {kept:#}");

    // Offline, with roots alone.
    let scratch = Scratch::new();
    scratch.write("stamped.pdf", unbase64(stamp["document"].as_str().unwrap()));
    scratch.write("evidence.json", serde_json::to_vec(&evidence).unwrap());
    let offline = |more: &[&str]| -> Value {
        let mut ours = Command::new(gateway());
        ours.args(["verify", "--json", "--at", then.as_str().unwrap(), "--trust"]).arg(&root).arg("--trust");
        ours.arg(site.data().join("pki/roots/p256.pem")).args(more).arg("stamped.pdf");
        let ran = Ran::of(ours.current_dir(scratch.path()));
        serde_json::from_slice(&ran.stdout).unwrap_or_else(|error| panic!("{error}: {}", ran.text))
    };
    assert_eq!(offline(&[])["verdict"], "invalid");
    let said = offline(&["--evidence", "evidence.json"]);
    assert_eq!(
        (&said["verdict"], &said["evidence"]["verdict"]),
        (&json!("valid"), &json!("valid")),
        "{said:#}"
    );

    // Of another document, and changed, it has no say.
    let second = stamped(&site);
    let verdict = judged(&site, &second, json!({"at": then, "evidence": evidence}));
    assert_eq!(codes(&verdict["evidence"]["findings"]), ["evidence_of_another_document"], "{verdict:#}");
    assert_eq!(verdict["verdict"], "invalid", "{verdict:#}");
    let mut changed = evidence.clone();
    changed["core"] =
        evidence["core"].as_str().unwrap().replace("\"format\":\"pdf\"", "\"format\":\"ofd\"").into();
    let verdict = judged(&site, &stamp, json!({"at": then, "evidence": changed}));
    assert_eq!(
        (&verdict["verdict"], &verdict["evidence"]["verdict"]),
        (&json!("invalid"), &json!("invalid"))
    );
    assert!(codes(&verdict["evidence"]["findings"]).contains(&"digest_mismatch"), "{verdict:#}");
    scratch.write("broken.json", b"{}");
    let mut broken = Command::new(gateway());
    broken.args(["verify", "--evidence", "broken.json", "stamped.pdf"]).current_dir(scratch.path());
    assert_eq!(broken.output().unwrap().status.code(), Some(2));
}

#[test]
fn many_stamps_share_a_timestamp_and_each_is_renewed_once_over_kills() {
    let site = Folder::init().serve();
    let stamps: Vec<Value> = (0..5).map(|_| stamped(&site)).collect();
    let first: Vec<Value> = stamps.iter().map(|stamp| package(&site, stamp, 1)).collect();
    let entries = |site: &Site| -> Vec<Value> {
        site.audit().into_iter().filter(|entry| entry["action"] == "stamp.evidence").collect()
    };
    assert!(entries(&site).iter().all(|entry| entry["actor"] == "gateway"), "{:#?}", entries(&site));
    let not_yet = site.app().get("/v1/stamps/20200101-0000000000/evidence");
    assert_eq!(not_yet.expect(404).json()["code"], "unknown_stamp");

    // Its time has come, and the gateway is killed while it is at it.
    let before = entries(&site).len();
    sql(&site, "UPDATE stamp_evidence SET due_at = 0");
    eventually("a renewal begins", SOON, || (entries(&site).len() > before).then_some(()));
    let site = site.kill().serve();
    for (stamp, first) in stamps.iter().zip(&first) {
        let renewed = package(&site, stamp, 2);
        assert_eq!((&renewed["core"], &renewed["records"][0]), (&first["core"], &first["records"][0]));
        let verdict = judged(&site, stamp, json!({"evidence": renewed}));
        assert_eq!(
            (&verdict["verdict"], &verdict["evidence"]["verdict"]),
            (&json!("valid"), &json!("valid"))
        );
        let records = verdict["evidence"]["records"].as_array().unwrap();
        assert!(records.iter().all(|record| record["logged"] == true), "{verdict:#}");
    }
    eventually("nothing is due", SOON, || {
        let metrics = site.stranger(None).get("/metrics").expect(200).text();
        metrics.contains("license_gateway_stamp_evidence_due{outcome=\"renewal\"} 0").then_some(())
    });
}

#[test]
fn a_site_that_keeps_none_says_so() {
    let folder = Folder::init();
    folder.configure("[fleet]\n", "[stamp_evidence]\nkeep = false\n\n[fleet]\n");
    let site = folder.serve();
    let stamp = stamped(&site);
    let path = format!("/v1/stamps/{}/evidence", id(&stamp));
    assert_eq!(site.app().get(&path).expect(404).json()["code"], "no_evidence");
    let code = stamp["check_code"].as_str().unwrap();
    let refused = site.stranger(None).get(&format!("/verify/{code}/evidence"));
    assert_eq!(refused.expect(404).json()["code"], "no_evidence");
    // When it is asked for, it is taken of what was stamped before.
    site.configure(&[("keep = false", "keep = true")]);
    assert!(site.command(&["reload"]).status.success());
    package(&site, &stamp, 1);
}

#[test]
fn evidence_that_is_larger_than_what_leaves_is_told_so() {
    let site = Folder::init().serve();
    let stamp = stamped(&site);
    package(&site, &stamp, 1);
    let code = stamp["check_code"].as_str().unwrap();
    let named = |digest: &str, octets: usize| {
        std::fs::write(site.data().join("evidence/items").join(digest), vec![0; octets]).unwrap();
        sql(
            &site,
            &format!(
                "INSERT INTO stamp_evidence_items (stamp, digest) VALUES ('{}', '{digest}')",
                id(&stamp)
            ),
        );
    };
    // Just under 16 MiB with the rest of it: it is read, and found to be something else than its name says.
    named(&"0".repeat(64), (16 << 20) - (1 << 20));
    let damaged = site.stranger(None).get(&format!("/verify/{code}/evidence")).expect(503).json();
    assert_eq!(damaged["code"], "data_altered", "{damaged:#}");
    named(&"1".repeat(64), 1 << 20);
    for answer in [
        site.stranger(None).get(&format!("/verify/{code}/evidence")),
        site.app().get(&format!("/v1/stamps/{}/evidence", id(&stamp))),
        site.app()
            .post(&format!("/v1/stamps/{}/archive", id(&stamp)), &json!({"document": stamp["document"]})),
    ] {
        assert_eq!(answer.expect(409).json()["code"], "evidence_too_large");
    }
}
