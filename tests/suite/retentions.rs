//! 执照留档: a license that an app keeps is what was shown, judged as it was then, its own and nobody else's, and found out when
//! it was changed.

use std::path::PathBuf;
use std::process::Command;

use serde_json::{Value, json};
use sm3::{Digest, Sm3};
use tests::{Answer, Caller, Ran, Scratch, Site, base64, eventually, gateway, now, shared, unbase64};

use crate::phone::{Phone, in_database};
use crate::sessions;

const PATH: &str = "/v1/retentions";
const SOON: std::time::Duration = std::time::Duration::from_secs(240);

/// A license file of the sandbox, and whose it is.
fn sample(site: &Site, name: &str) -> (String, Vec<u8>) {
    let pki = site.data().join("pki");
    let manifest: Value = serde_json::from_slice(&std::fs::read(pki.join("manifest.json")).unwrap()).unwrap();
    let path = format!("documents/{name}");
    let listed = manifest["license_files"].as_array().unwrap().iter().find(|file| file["file"] == *path);
    let uscc = listed.unwrap_or_else(|| panic!("no {name}"))["uscc"].as_str().unwrap().to_owned();
    (uscc, std::fs::read(pki.join(path)).unwrap())
}

fn of_library(uscc: &str, biz_no: &str) -> Value {
    json!({
        "source": "library", "uscc": uscc, "kind": "ofd", "item": "annual-report", "biz_no": biz_no,
        "purpose": "年报留档", "role": "administrator",
    })
}

fn of_file(octets: &[u8], kind: &str, biz_no: &str) -> Value {
    json!({
        "source": "file", "license": base64(octets), "type": kind, "item": "annual-report", "biz_no": biz_no,
        "role": "legal_representative",
    })
}

fn retained(app: &Caller, order: &Value) -> Value {
    app.post(PATH, order).expect(201).json()
}

fn at(retention: &Value) -> String {
    format!("{PATH}/{}", retention["id"].as_str().unwrap())
}

fn refused(answer: Answer, status: u16, code: &str) {
    let problem = answer.expect(status).json();
    assert_eq!(problem["code"], code, "{problem:#}");
}

fn faults(answer: Answer) -> Vec<(String, String)> {
    let problem = answer.expect(422).json();
    let fault = |fault: &Value| {
        let text = |member: &str| fault[member].as_str().unwrap().to_owned();
        (text("field"), text("code"))
    };
    problem["errors"].as_array().unwrap().iter().map(fault).collect()
}

/// As OpenSSL has it.
fn sha256(octets: &[u8]) -> String {
    let scratch = Scratch::new();
    scratch.write("file", octets);
    let said = scratch.openssl("dgst -sha256 -r file").expect("openssl").text;
    said.split(' ').next().unwrap().to_owned()
}

/// The entries of a site's log about a retention: action, actor, outcome.
fn entries(site: &Site, retention: &Value) -> Vec<[String; 3]> {
    let id = retention["id"].as_str().unwrap();
    let about = |entry: &Value| entry["subject"].as_str().is_some_and(|text| text.starts_with(id));
    let told = |entry: Value| {
        ["action", "actor", "outcome"].map(|member| entry[member].as_str().unwrap().to_owned())
    };
    site.audit().into_iter().filter(about).map(told).collect()
}

/// The blobs that lie in a site's folder of retentions.
fn blobs(site: &Site) -> Vec<PathBuf> {
    let folder = site.data().join("retentions/documents");
    std::fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path()).collect()
}

#[test]
fn a_file_of_the_library_is_kept_as_it_was_shown_and_judged() {
    let site = &shared().site;
    let app = site.app();
    let (uscc, ofd) = sample(site, "license-good.ofd");
    let kept = retained(app, &of_library(&uscc, "library 1"));
    assert_eq!(
        (&kept["uscc"], &kept["source"], &kept["verdict"]),
        (&json!(uscc), &json!("library"), &json!("valid"))
    );
    assert_eq!((&kept["status"]["code"], &kept["item"]), (&json!(1), &json!("annual-report")), "{kept:#}");
    assert_eq!(kept["role"], json!({"opertype": 1, "name": "administrator", "told_by": "app"}));
    assert_eq!((&kept["decision"]["permitted"], &kept["decision"]["reason"]), (&json!(true), &Value::Null));
    let (sm3, sha256) = (hex::encode(Sm3::digest(&ofd)), sha256(&ofd));
    let file = json!({
        "kind": "ofd", "media_type": "application/ofd", "octets": ofd.len(), "sm3": sm3, "sha256": sha256,
    });
    assert_eq!(kept["file"], file);
    assert_eq!(kept["face"]["name"], kept["name"]);
    // Ten years of 365 days.
    let scratch = Scratch::new();
    let seconds = |member: &str| {
        let mut date = Command::new("date");
        date.args(["-u", "-d", kept[member].as_str().unwrap(), "+%s"]).current_dir(scratch.path());
        Ran::of(&mut date).expect("date").text.trim().parse::<i64>().unwrap()
    };
    assert_eq!(seconds("keep_until") - seconds("retained_at"), 3_650 * 86_400);
    assert!((now() - seconds("retained_at")).abs() < 600);

    // It is as it was when the library and the register say something else.
    let got = app.get(&at(&kept)).expect(200).json();
    for (member, value) in got.as_object().unwrap() {
        assert_eq!(kept[member], *value, "{member}");
    }
    let answer = app.get(&format!("{}/file", at(&kept))).expect(200);
    assert!(answer.body == ofd, "octet for octet");
    assert_eq!(answer.header("etag"), format!("\"{sm3}\""));
    assert_eq!(answer.header("content-type"), "application/ofd");
    let name = format!("attachment; filename=\"{}.ofd\"", kept["id"].as_str().unwrap());
    assert_eq!(answer.header("content-disposition"), name);
    assert_eq!(answer.header("cache-control"), "private, no-cache");
    assert_eq!(answer.header("content-length"), ofd.len().to_string());
    let get = |headers: &[(&str, &str)]| app.send("GET", &format!("{}/file", at(&kept)), headers, None);
    assert!(get(&[("if-none-match", answer.header("etag"))]).expect(304).body.is_empty());
    let part = get(&[("range", "bytes=10-19")]).expect(206);
    assert!(part.body == ofd[10..20]);
    assert_eq!(part.header("content-range"), format!("bytes 10-19/{}", ofd.len()));
    let behind = get(&[("range", &format!("bytes={}-", ofd.len()))]).expect(416);
    assert_eq!(behind.header("content-range"), format!("bytes */{}", ofd.len()));
    assert_eq!(behind.json()["code"], "range_not_satisfiable");
    let head = app.send("HEAD", &format!("{}/file", at(&kept)), &[], None).expect(200);
    assert_eq!((head.body.len(), head.header("content-length")), (0, ofd.len().to_string().as_str()));

    // Each look is on record, and so is what was kept: by digests, without a word of what it says.
    let entry = site.audit().swap_remove(usize::try_from(kept["audit_index"].as_u64().unwrap()).unwrap());
    assert_eq!(
        (&entry["action"], &entry["outcome"]),
        (&json!("retention.create"), &json!("ok")),
        "{entry:#}"
    );
    assert_eq!((&entry["input_digest"], &entry["result_digest"]), (&json!(sm3), &kept["record_sm3"]));
    assert_eq!(entry["subject"], format!("{} {uscc}", kept["id"].as_str().unwrap()));
    let outcomes: Vec<_> =
        entries(site, &kept).into_iter().map(|[action, _, outcome]| (action, outcome)).collect();
    let wanted = [
        ("retention.create", "ok"),
        ("retention.read", "ok"),
        ("retention.file", "ok"),
        ("retention.file", "not_modified"),
        ("retention.file", "partial"),
        ("retention.file", "range_not_satisfiable"),
        ("retention.file", "head"),
    ];
    assert_eq!(outcomes, wanted.map(|(action, outcome)| (action.to_owned(), outcome.to_owned())));
    let metrics = site.stranger(None).get("/metrics").expect(200).text();
    for counted in
        ["retentions_total{source=\"library\",verdict=\"valid\"}", "retained_files_total{outcome=\"whole\"}"]
    {
        assert!(metrics.contains(&format!("license_gateway_{counted}")), "{metrics}");
    }
}

#[test]
fn what_is_handed_in_is_kept_whatever_it_is_worth() {
    let site = &shared().site;
    let app = site.app();
    for (name, verdict, code) in [
        ("license-good.pdf", "valid", None),
        ("license-altered.ofd", "invalid", Some("ofd_part_altered")),
        ("license-register.ofd", "invalid", Some("face_differs_from_register")),
    ] {
        let (uscc, octets) = sample(site, name);
        let kind = name.rsplit('.').next().unwrap();
        let kept = retained(app, &of_file(&octets, kind, name));
        assert_eq!(kept["verdict"], verdict, "{name}: {kept:#}");
        assert!(kept["uscc"] == uscc || code == Some("ofd_part_altered"), "{name}: {kept:#}");
        let found =
            kept["findings"].as_array().unwrap().iter().map(|finding| finding["code"].as_str().unwrap());
        assert!(code.is_none_or(|code| found.clone().any(|found| found == code)), "{name}: {kept:#}");
        assert_eq!(kept["decision"]["permitted"], verdict == "valid", "{name}: {kept:#}");
        assert!(app.get(&format!("{}/file", at(&kept))).expect(200).body == octets, "{name}");
    }
    // What is no license at all was shown all the same.
    let kept = retained(app, &of_file(b"a photograph", "certificate", "none"));
    assert_eq!(
        (&kept["verdict"], &kept["uscc"], &kept["face"]),
        (&json!("invalid"), &Value::Null, &Value::Null)
    );
    let answer = app.get(&format!("{}/file", at(&kept))).expect(200);
    assert_eq!(
        (answer.body.as_slice(), answer.header("content-type")),
        (&b"a photograph"[..], "application/pkix-cert")
    );
    // A certificate, as it stands in PEM.
    let pem = std::fs::read_to_string(site.data().join("pki/licenses/A-good.pem")).unwrap();
    let der = std::fs::read(site.data().join("pki/licenses/A-good.der")).unwrap();
    let mut order = of_file(b"x", "certificate", "pem");
    order["license"] = pem.into();
    let kept = retained(app, &order);
    assert_eq!(kept["verdict"], "valid", "{kept:#}");
    assert!(app.get(&format!("{}/file", at(&kept))).expect(200).body == der);
    // Twice the same is kept twice, and lies there once.
    let again = retained(app, &order);
    assert_ne!(again["id"], kept["id"]);
    assert_eq!(again["file"], kept["file"]);
    assert!(app.get(&format!("{}/file", at(&again))).expect(200).body == der);
}

#[test]
fn what_a_session_came_to_is_kept_with_who_agreed_to_it() {
    let site = &shared().site;
    let app = site.app();
    let phone = Phone::good(site);
    let session = sessions::begun(app, &sessions::order());
    let order = json!({"source": "session", "session": sessions::id(&session), "biz_no": "session 1"});
    refused(app.post(PATH, &order), 409, "session_not_confirmed");
    let asked = phone.scan(site, &session).expect(200).json();
    let mut consent = phone.consent(&asked);
    consent["role"] = "agent".into();
    consent["operator"] = "王五".into();
    consent["authorisation"] = json!({"id": "A1", "items": ["annual-report"], "until": sessions::now(3_600)});
    phone.confirm(site, &consent).expect(200);
    // Before it is fetched, and after.
    let before = retained(app, &order);
    let result = sessions::consume(app, &session).expect(200).json();
    let kept = retained(app, &order);
    for kept in [&before, &kept] {
        assert_eq!(
            (&kept["verdict"], &kept["uscc"]),
            (&json!("valid"), &result["result"]["uscc"]),
            "{kept:#}"
        );
        let role = json!({"opertype": 2, "name": "agent", "told_by": "session"});
        assert_eq!(
            (&kept["authorisation"]["id"], &kept["decision"]["permitted"]),
            (&json!("A1"), &json!(true))
        );
        assert_eq!((&kept["role"], &kept["operator"]), (&role, &json!("王五")));
        assert_eq!((&kept["item"], &kept["session"]), (&json!("annual-report"), &session["session"]));
        // The holder logged in: he let nothing of the face be read but the name that the result has.
        assert_eq!(kept["face"], json!({"name": result["result"]["name"]}), "{kept:#}");
        let answer = app.get(&format!("{}/file", at(kept))).expect(200);
        assert_eq!(answer.header("content-type"), "application/json");
        let document = answer.json();
        // The result has no random part: the site signs the same text anew.
        for member in ["result_text", "key", "consent", "consent_signature", "license"] {
            assert_eq!(document[member], result[member], "{member}");
        }
        let front = app.get("/v1/keys/front-sm2").expect(200).json();
        let (text, signature) = (document["result_text"].as_str().unwrap(), &document["result_signature"]);
        assert!(sessions::verifies(front["public_key"].as_str().unwrap(), text, signature.as_str().unwrap()));
    }
    // The public edition, kept because of this session: of its license only.
    let (uscc, _) = sample(site, "license-good.ofd");
    let mut library = of_library(&uscc, "session 1");
    let members = library.as_object_mut().unwrap();
    members.remove("item");
    members.remove("role");
    library["session"] = session["session"].clone();
    let answer = app.post(PATH, &library);
    if uscc == result["result"]["uscc"] {
        let kept = answer.expect(201).json();
        assert_eq!((&kept["role"]["told_by"], &kept["file"]["kind"]), (&json!("session"), &json!("ofd")));
        assert!(kept["face"].as_object().unwrap().len() > 1, "the app may see what it shows: {kept:#}");
    } else {
        refused(answer, 409, "session_other_license");
    }
    let der = std::fs::read(site.data().join("pki/licenses/A-good-2.der")).unwrap();
    let mut other = of_file(&der, "certificate", "session 1");
    let members = other.as_object_mut().unwrap();
    members.remove("item");
    members.remove("role");
    other["session"] = session["session"].clone();
    refused(app.post(PATH, &other), 409, "session_other_license");

    refused(site.app_number(1).post(PATH, &order), 404, "unknown_session");
    let cancelled = sessions::begun(app, &sessions::order());
    app.post(&format!("/v1/sessions/{}/cancel", sessions::id(&cancelled)), &json!({})).expect(200);
    let gone = json!({"source": "session", "session": cancelled["session"], "biz_no": "session 2"});
    refused(app.post(PATH, &gone), 409, "session_not_confirmed");
}

#[test]
fn who_may_not_see_all_of_a_license_does_not_get_it_by_what_it_was_judged_by() {
    let site = &shared().site;
    let license = base64(&std::fs::read(site.data().join("pki/licenses/A-good.der")).unwrap());
    for (number, sees_all) in [(0, true), (1, false)] {
        let (app, phone) = (site.app_number(number), Phone::good(site));
        let session = sessions::begun(&app, &sessions::order());
        let asked = phone.scan(site, &session).expect(200).json();
        phone.confirm(site, &phone.consent(&asked)).expect(200);
        let order = json!({"source": "session", "session": sessions::id(&session), "biz_no": "whose"});
        let kept = retained(&app, &order);
        assert_eq!(kept["verdict"], "valid", "{kept:#}");
        let document = app.get(&format!("{}/file", at(&kept))).expect(200).json();
        let evidence = app.get(&format!("{}/evidence", at(&kept))).expect(200);
        let has_license = evidence.text().contains(&license);
        let told = (document["license"].is_string(), kept["license"].is_object(), has_license);
        assert_eq!(told, (sees_all, sees_all, sees_all), "app {number}: {kept:#}");
        // Who certified it is no secret: with it and the license, wherever that is shown, the same is judged again.
        assert!(!evidence.json()["items"].as_object().unwrap().is_empty());
    }
}

#[test]
fn a_retention_is_its_apps_and_for_auditors() {
    let site = &shared().site;
    let (mine, other, auditor) = (site.app(), site.app_number(1), site.app_number(2));
    let (uscc, ofd) = sample(site, "license-good.ofd");
    let first = retained(mine, &of_library(&uscc, "whose 1"));
    let second = retained(mine, &of_library(&uscc, "whose 1"));
    for path in [at(&first), format!("{}/file", at(&first)), format!("{}/evidence", at(&first))] {
        refused(other.get(&path), 404, "unknown_retention");
        refused(mine.get(&path.replace(first["id"].as_str().unwrap(), "nothing")), 404, "unknown_retention");
        auditor.get(&path).expect(200);
    }
    assert!(auditor.get(&format!("{}/file", at(&first))).expect(200).body == ofd);
    refused(auditor.post(PATH, &of_library(&uscc, "whose 1")), 403, "scope_missing");
    // Who may not see what files show has none to keep; what he was shown himself he has anyway.
    refused(other.post(PATH, &of_library(&uscc, "whose 1")), 403, "field_not_granted");
    let theirs = retained(&other, &of_file(&ofd, "ofd", "whose 1"));
    let face = theirs["face"].as_object().unwrap();
    assert!(face.contains_key("name") && !face.contains_key("domicile"), "{theirs:#}");
    assert!(face["legal_representative"].as_str().unwrap().contains('*'), "{theirs:#}");

    let listed = |caller: &Caller, query: &str| caller.get(&format!("{PATH}?{query}")).expect(200).json();
    let ids = |page: &Value| -> Vec<String> {
        page["items"].as_array().unwrap().iter().map(|item| item["id"].as_str().unwrap().to_owned()).collect()
    };
    let both = listed(mine, "biz_no=whose%201");
    let mut found = ids(&both);
    found.sort();
    let mut wanted = [&first, &second].map(|one| one["id"].as_str().unwrap().to_owned());
    wanted.sort();
    assert_eq!((found.as_slice(), &both["next"]), (&wanted[..], &Value::Null));
    assert_eq!(both["items"][0]["file"], first["file"]);
    assert_eq!(ids(&listed(&other, "biz_no=whose%201")), [theirs["id"].as_str().unwrap()]);
    // Page by page, each once.
    let page = listed(mine, "biz_no=whose%201&limit=1");
    let next = page["next"].as_str().unwrap();
    let rest = listed(mine, &format!("biz_no=whose%201&limit=1&cursor={next}"));
    let mut paged = [ids(&page), ids(&rest)].concat();
    paged.sort();
    assert_eq!(paged, wanted);
    assert!(ids(&listed(mine, &format!("uscc={uscc}&limit=100"))).contains(&wanted[0]));
    let seen = ids(&listed(&auditor, &format!("uscc={uscc}&limit=100")));
    assert!(seen.contains(&wanted[0]) && seen.iter().any(|id| theirs["id"] == **id), "{seen:?}");
    for (query, field) in
        [("limit=0", "limit"), ("limit=101", "limit"), ("cursor=x", "cursor"), ("uscc=1", "uscc")]
    {
        assert_eq!(faults(mine.get(&format!("{PATH}?{query}")))[0].0, field, "{query}");
    }
    assert_eq!(
        faults(auditor.get(&format!("{PATH}?biz_no=1"))),
        [("biz_no".to_owned(), "not_applicable".to_owned())]
    );
}

#[test]
fn a_bad_order_is_told_by_its_fields() {
    let app = shared().site.app();
    let good = of_library("91610131MA7B0TQ47T", "1");
    for (changes, wanted) in [
        (json!({"source": "paper"}), vec![("source", "invalid_value")]),
        (json!({"uscc": null, "kind": null}), vec![("uscc", "missing_field"), ("kind", "missing_field")]),
        (json!({"kind": "png"}), vec![("kind", "invalid_value")]),
        (json!({"digest": "00"}), vec![("digest", "invalid_value")]),
        (json!({"license": "AAAA"}), vec![("license", "not_applicable")]),
        (json!({"biz_no": " 1"}), vec![("biz_no", "invalid_value")]),
        (json!({"purpose": ""}), vec![("purpose", "invalid_value")]),
        (json!({"item": null, "role": null}), vec![("item", "missing_field"), ("role", "missing_field")]),
        (json!({"role": "owner"}), vec![("role", "invalid_value")]),
        (json!({"session": "x"}), vec![("item", "not_applicable"), ("role", "not_applicable")]),
        (json!({"item": "nothing"}), vec![("item", "item_unknown")]),
        (json!({"uscc": "91610131MA7B0TQ47A"}), vec![("uscc", "uscc_invalid")]),
        (
            json!({"source": "file", "uscc": null, "kind": null, "license": "?"}),
            vec![("license", "invalid_base64")],
        ),
        (
            json!({"source": "file", "uscc": null, "kind": null, "license": ""}),
            vec![("license", "invalid_value")],
        ),
        (
            json!({"source": "session", "uscc": null, "kind": null, "item": null, "role": null}),
            vec![("session", "missing_field"), ("item", "missing_field"), ("role", "missing_field")],
        ),
    ] {
        let mut order = good.clone();
        for (field, value) in changes.as_object().unwrap() {
            match value {
                Value::Null => order.as_object_mut().unwrap().remove(field),
                value => order.as_object_mut().unwrap().insert(field.clone(), value.clone()),
            };
        }
        let told = faults(app.post(PATH, &order));
        let wanted: Vec<_> =
            wanted.iter().map(|(field, code)| ((*field).to_owned(), (*code).to_owned())).collect();
        assert_eq!(told, wanted, "{changes}");
    }
    refused(app.post(PATH, &good), 404, "license_unknown");
    let mut unknown = of_library(&sample(&shared().site, "license-good.ofd").0, "1");
    unknown["digest"] = "00".repeat(32).into();
    refused(app.post(PATH, &unknown), 404, "license_file_unknown");
}

#[test]
fn the_same_order_under_a_key_is_kept_once() {
    let site = &shared().site;
    let (uscc, _) = sample(site, "license-good.ofd");
    let order = of_library(&uscc, "once").to_string();
    let headers = [("content-type", "application/json"), ("idempotency-key", "retention-once")];
    let post = || site.app().send("POST", PATH, &headers, Some(order.as_bytes())).expect(201);
    let (first, again) = (post(), post());
    assert_eq!((first.header("idempotency-replayed"), again.header("idempotency-replayed")), ("", "true"));
    assert_eq!(first.text(), again.text());
    let listed = site.app().get(&format!("{PATH}?biz_no=once")).expect(200).json();
    assert_eq!(listed["items"].as_array().unwrap().len(), 1, "{listed:#}");
    assert_eq!(listed["items"][0]["id"], first.json()["id"]);
}

#[test]
fn what_was_changed_is_found_out_and_never_leaves() {
    let site = Site::start();
    let app = site.app();
    let (uscc, ofd) = sample(&site, "license-good.ofd");
    let kept = retained(app, &of_library(&uscc, "changed"));
    let file = format!("{}/file", at(&kept));
    let lying = blobs(&site);
    let [blob] = &lying[..] else { panic!("one file lies there: {lying:?}") };
    let stored = std::fs::read(blob).unwrap();
    assert!(!stored.windows(16).any(|window| window == &ofd[..16]), "it is sealed");
    let broken = |what: &str| {
        refused(app.get(&file), 500, "retention_broken");
        let problem = app.send("GET", &file, &[("range", "bytes=0-0")], None).expect(500).json();
        assert_eq!(problem["code"], "retention_broken", "{what}: a part of it is no better");
    };
    let mut altered = stored.clone();
    altered[stored.len() / 2] ^= 1;
    std::fs::write(blob, &altered).unwrap();
    broken("an octet");
    std::fs::write(blob, &stored[..stored.len() - 1]).unwrap();
    broken("cut off");
    std::fs::remove_file(blob).unwrap();
    broken("gone");
    // The record says what it was, all the same; and who brings it again has it back.
    app.get(&at(&kept)).expect(200);
    retained(app, &of_file(&ofd, "ofd", "again"));
    assert!(app.get(&file).expect(200).body == ofd);
    in_database(&site, "UPDATE retained_files SET octets = octets + 1");
    broken("its length");
    in_database(&site, "UPDATE retained_files SET octets = octets - 1");
    assert!(app.get(&file).expect(200).body == ofd);

    // What it was judged by.
    let evidence = format!("{}/evidence", at(&kept));
    let package = app.get(&evidence).expect(200).json();
    let digest = package["items"].as_object().unwrap().keys().next().unwrap().clone();
    let item = site.data().join("evidence/items").join(&digest);
    let whole = std::fs::read(&item).unwrap();
    std::fs::write(&item, &whole[1..]).unwrap();
    refused(app.get(&evidence), 500, "retention_broken");
    std::fs::write(&item, whole).unwrap();
    assert_eq!(app.get(&evidence).expect(200).json()["items"], package["items"]);

    // The row, whatever is changed of it.
    in_database(&site, "DROP TRIGGER retentions_no_update");
    for (column, altered) in
        [("uscc", "'91610131MA7B0TQ47T'"), ("keep_until", "keep_until + 1"), ("made_at", "1")]
    {
        let before = format!(
            "CREATE TABLE aside AS SELECT * FROM retentions; UPDATE retentions SET {column} = {altered}"
        );
        in_database(&site, &before);
        for path in [&at(&kept), &file, &evidence] {
            refused(app.get(path), 500, "retention_broken");
        }
        refused(app.get(&format!("{PATH}?biz_no=changed")), 500, "retention_broken");
        let back = "UPDATE retentions SET uscc = a.uscc, keep_until = a.keep_until, made_at = a.made_at
             FROM aside a WHERE a.id = retentions.id; DROP TABLE aside";
        in_database(&site, back);
        app.get(&at(&kept)).expect(200);
    }
    let told = entries(&site, &kept);
    let found_out = told.iter().filter(|[.., outcome]| outcome == "retention_broken").count();
    assert!(found_out >= 10, "each is on record: {told:?}");
    let metrics = site.stranger(None).get("/metrics").expect(200).text();
    assert!(metrics.contains("license_gateway_retained_files_total{outcome=\"broken\"}"), "{metrics}");
}

#[test]
fn what_was_kept_is_judged_without_the_gateway() {
    let site = &shared().site;
    let (uscc, ofd) = sample(site, "license-good.ofd");
    let kept = retained(site.app(), &of_library(&uscc, "offline"));
    let id = kept["id"].as_str().unwrap();
    let evidence = eventually("a checkpoint over it", SOON, || {
        let evidence = site.app().get(&format!("{}/evidence", at(&kept))).expect(200).json();
        evidence.get("proof").is_some().then_some(evidence)
    });
    let record = evidence["record"].as_str().unwrap();
    assert_eq!(hex::encode(Sm3::digest(record)), kept["record_sm3"].as_str().unwrap());
    let entry: Value = serde_json::from_str(evidence["entry"].as_str().unwrap()).unwrap();
    assert_eq!(
        (&entry["result_digest"], &entry["input_digest"]),
        (&kept["record_sm3"], &kept["file"]["sm3"])
    );
    let leaf = Sm3::digest([b"\0", evidence["entry"].as_str().unwrap().as_bytes()].concat());
    assert_eq!(evidence["proof"]["leaf_hash"], base64(&leaf));
    assert_eq!(
        (&evidence["proof"]["index"], &evidence["proof"]["entry"]),
        (&kept["audit_index"], &evidence["entry"])
    );
    for (name, octets) in evidence["items"].as_object().unwrap() {
        assert_eq!(*name, hex::encode(Sm3::digest(unbase64(octets.as_str().unwrap()))));
    }

    // The command writes all of it, and another program judges that by roots alone.
    let scratch = Scratch::new();
    let folder = scratch.path().join("kept");
    let saved = site.command(&["retention", "save", id, "--to", folder.to_str().unwrap(), "--json"]);
    assert!(saved.status.success(), "{saved:?}");
    let saved: Value = serde_json::from_slice(&saved.stdout).unwrap();
    assert_eq!(saved["record"]["id"], id);
    assert!(std::fs::read(folder.join("license.ofd")).unwrap() == ofd);
    assert_eq!(std::fs::read_to_string(folder.join("record.json")).unwrap(), record);
    let mut verify = Command::new(gateway());
    verify.args(["verify", "license.ofd", "--type", "license", "--sandbox", "--json", "--at"]);
    verify
        .arg(kept["retained_at"].as_str().unwrap())
        .arg("--trust")
        .arg(site.data().join("pki/trust/bundle.pem"));
    verify.arg("--seal-maker").arg(site.data().join("pki/seals/makers.pem"));
    for file in saved["files"].as_array().unwrap().iter().filter_map(Value::as_str) {
        match file.rsplit('.').next() {
            Some("cer") => verify.args(["--intermediate", file]),
            Some("crl") => verify.args(["--crl", file]),
            _ => &mut verify,
        };
    }
    let ran = Ran::of(verify.current_dir(&folder));
    let judged: Value =
        serde_json::from_slice(&ran.stdout).unwrap_or_else(|error| panic!("{error}: {}", ran.text));
    assert_eq!(judged["verdict"], kept["verdict"], "{judged:#}");
    // The lists were there: nobody has to fetch them anew.
    let is_unchecked = |found: &Value| found["findings"].to_string().contains("revocation_not_checked");
    assert_eq!(is_unchecked(&judged), is_unchecked(&kept), "{judged:#}");

    let shown = site.command(&["retention", "show", id, "--json"]);
    let shown: Value = serde_json::from_slice(&shown.stdout).unwrap();
    assert_eq!((&shown["id"], &shown["record_sm3"]), (&json!(id), &kept["record_sm3"]));
    let listed = site.command(&["retention", "list", "--uscc", &uscc]);
    let text = String::from_utf8(listed.stdout).unwrap();
    assert!(text.contains(id) && text.contains("offline") && text.starts_with("RETENTION"), "{text}");
    for number in ["nothing", "../x"] {
        assert_eq!(site.command(&["retention", "show", number]).status.code(), Some(1));
    }
}

#[test]
fn a_row_that_says_that_its_time_is_over_is_not_believed() {
    let site = Site::start();
    let app = site.app();
    let (uscc, ofd) = sample(&site, "license-good.ofd");
    let kept = retained(app, &of_library(&uscc, "over"));
    let damaged = retained(app, &of_library(&uscc, "damaged"));
    let file = format!("{}/file", at(&kept));
    in_database(&site, "DROP TRIGGER retentions_no_update; CREATE TABLE aside AS SELECT * FROM retentions");
    // One that cannot even be read, and is the first to be looked at, keeps nobody from looking at the others.
    let id = damaged["id"].as_str().unwrap();
    let damage = format!(
        "PRAGMA ignore_check_constraints = ON; UPDATE retentions SET digest = x'00', keep_until = made_at - 9 WHERE id = '{id}'"
    );
    in_database(&site, &format!("{damage}; UPDATE retentions SET keep_until = made_at WHERE id <> '{id}'"));
    // Whoever takes away what is over looks once a minute.
    let said = "a retention is not as the audit log has it, and stays";
    eventually("a look at what is over", SOON, || (site.log().matches(said).count() >= 2).then_some(()));
    refused(app.get(&file), 500, "retention_broken");
    in_database(
        &site,
        "UPDATE retentions SET keep_until = a.keep_until FROM aside a WHERE a.id = retentions.id",
    );
    assert!(app.get(&file).expect(200).body == ofd, "it is all there");
    assert!(entries(&site, &kept).iter().all(|[action, ..]| action != "retention.end"));
}
