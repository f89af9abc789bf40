//! Documents stamped many at a time: each of them once, whatever happens to the gateway meanwhile.

use std::collections::BTreeSet;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use serde_json::{Value, json};
use tests::{
    Caller, Folder, Postgres, Reply, Scratch, Site, Source, base64, eventually, raw, repository, shared,
};

use crate::pdf::{ROOT, base};

const SOON: Duration = Duration::from_secs(120);

fn contract() -> Vec<u8> {
    std::fs::read(repository().join("formats/tests/pdfs/reportlab.pdf")).unwrap()
}

/// A document like no other.
fn numbered(number: usize) -> Vec<u8> {
    [&contract()[..], format!("\n% {number}\n").as_bytes()].concat()
}

fn pdf_by(key: &str) -> Value {
    json!({"format": "pdf", "signer": {"key": key}})
}

fn digest(number: usize) -> Value {
    let octets: Vec<u8> =
        (0..32).map(|place| if place == 0 { number % 256 } else { number / 256 } as u8).collect();
    json!({"name": format!("digest {number}"), "digest": base64(&octets)})
}

fn put(caller: &Caller, octets: &[u8]) -> tests::Answer {
    caller.send("PUT", "/v1/uploads", &[("content-type", "application/pdf")], Some(octets))
}

fn uploaded(caller: &Caller, octets: &[u8]) -> String {
    let answer = put(caller, octets);
    assert!(matches!(answer.status, 200 | 201), "{}", answer.text());
    answer.json()["upload"].as_str().unwrap().to_owned()
}

fn ordered(caller: &Caller, order: &Value) -> String {
    let answer = caller.post("/v1/stamp-jobs", order).expect(202);
    let job = answer.json()["job"].as_str().unwrap().to_owned();
    assert_eq!(answer.header("location"), format!("/v1/stamp-jobs/{job}"));
    job
}

/// A job with all its documents.
fn seen(caller: &Caller, job: &str) -> Value {
    let mut whole = caller.get(&format!("/v1/stamp-jobs/{job}")).expect(200).json();
    while let Some(cursor) = whole["next"].as_str().map(str::to_owned) {
        let page = caller.get(&format!("/v1/stamp-jobs/{job}?cursor={cursor}")).expect(200).json();
        whole["documents"].as_array_mut().unwrap().extend(page["documents"].as_array().unwrap().clone());
        whole["next"] = page["next"].clone();
    }
    assert_eq!(json!(whole["documents"].as_array().unwrap().len()), whole["total"], "{whole:#}");
    whole
}

fn finished(caller: &Caller, job: &str) -> Value {
    eventually("the job is finished", SOON, || {
        let job = caller.get(&format!("/v1/stamp-jobs/{job}")).expect(200).json();
        (job["state"] == "finished").then_some(())
    });
    seen(caller, job)
}

fn content(caller: &Caller, job: &str, n: usize) -> tests::Answer {
    caller.get(&format!("/v1/stamp-jobs/{job}/documents/{n}/content"))
}

/// The numbers of the stamps of a job, each of which is there once.
fn stamps_of(job: &Value) -> BTreeSet<String> {
    let documents = job["documents"].as_array().unwrap().iter();
    let stamped: Vec<_> = documents.filter_map(|document| document["stamp_id"].as_str()).collect();
    let numbers: BTreeSet<_> = stamped.iter().map(|number| (*number).to_owned()).collect();
    assert_eq!(numbers.len(), stamped.len(), "each document has a stamp of its own");
    numbers
}

/// The numbers of the stamps that an audit log has.
fn recorded(entries: &[Value]) -> Vec<String> {
    let stamps = entries.iter().filter(|entry| {
        let action = entry["action"].as_str().unwrap_or_default();
        action.starts_with("stamp.") && action != "stamp.evidence" && entry["outcome"] == "ok"
    });
    let mut numbers: Vec<_> = stamps.map(|entry| entry["subject"].as_str().unwrap().to_owned()).collect();
    numbers.sort();
    numbers
}

#[test]
fn each_document_ends_by_itself_and_is_fetched_as_the_log_has_it() {
    let site = &shared().site;
    let app = site.app();
    let upload = uploaded(app, &numbered(1));
    let again = put(app, &numbered(1)).expect(200).json();
    assert_eq!(again["upload"], json!(upload), "the same document is the same upload");
    let order = json!({
        "defaults": {"format": "pdf", "signer": {"key": "demo-p256"}, "reason": "批量签章"},
        "documents": [
            {"name": "合同一", "upload": upload},
            {"name": "no PDF", "document": base64(b"%PDF-1.7 hardly")},
            {"name": "by SM2", "document": base64(&contract()), "signer": {"key": "demo-sm2"}},
            {"name": "nobody's key", "document": base64(&contract()), "signer": {"key": "nobodys"}},
            {"name": "nowhere", "upload": "00".repeat(32)},
            {"name": "misspelt", "document": base64(&contract()), "levle": "B-B"},
            {"name": "of a digest", "format": "digest", "digest": base64(&[7; 32]), "reason": null},
            {"document": base64(&contract()), "existing_field": "none such"},
            "no object",
        ],
    });
    let answer = app.post("/v1/stamp-jobs", &order).expect(202).json();
    assert_eq!((&answer["total"], &answer["failed"]), (&json!(9), &json!(4)), "{answer:#}");
    let job = answer["job"].as_str().unwrap();
    let whole = finished(app, job);
    let said: Vec<_> = whole["documents"]
        .as_array()
        .unwrap()
        .iter()
        .map(|document| {
            let text = |name: &str| document[name].as_str().unwrap_or_default().to_owned();
            (text("name"), text("state"), text("code"))
        })
        .collect();
    let row = |name: &str, state: &str, code: &str| (name.to_owned(), state.to_owned(), code.to_owned());
    assert_eq!(
        said,
        [
            row("合同一", "stamped", ""),
            row("no PDF", "failed", "document_malformed"),
            row("by SM2", "stamped", ""),
            row("nobody's key", "failed", "unknown_key"),
            row("nowhere", "failed", "unknown_upload"),
            row("misspelt", "failed", "unknown_field"),
            row("of a digest", "stamped", ""),
            row("8", "failed", "field_unknown"),
            row("9", "failed", "invalid_type"),
        ],
        "{whole:#}"
    );
    assert_eq!((&whole["done"], &whole["failed"], &whole["waiting"]), (&json!(3), &json!(6), &json!(0)));

    for n in [1, 3] {
        let document = &whole["documents"][n - 1];
        let fetched = content(app, job, n).expect(200);
        assert_eq!(fetched.header("content-type"), "application/pdf");
        assert_eq!(json!(fetched.body.len()), document["octets"]);
        let stamp =
            app.get(&format!("/v1/stamps/{}", document["stamp_id"].as_str().unwrap())).expect(200).json();
        assert_eq!(
            (&stamp["document_sm3"], &stamp["check_code"]),
            (&document["sm3"], &document["check_code"])
        );
        let judged =
            app.post("/v1/stamps:verify", &json!({"document": base64(&fetched.body)})).expect(200).json();
        assert_eq!(judged["verdict"], "valid", "{judged:#}");
        let tag = fetched.header("etag").to_owned();
        assert_eq!(tag, format!("\"{}\"", document["sm3"].as_str().unwrap()));
        let path = format!("/v1/stamp-jobs/{job}/documents/{n}/content");
        assert_eq!(app.send("GET", &path, &[("if-none-match", &tag)], None).expect(304).body, b"");
    }
    assert!(content(app, job, 1).expect(200).body.starts_with(&numbered(1)), "the document's octets stay");
    assert_eq!(content(app, job, 7).expect(200).header("content-type"), "application/cms");
    assert_eq!(content(app, job, 2).expect(409).json()["code"], "not_stamped");
    for n in [0, 10] {
        assert_eq!(content(app, job, n).expect(404).json()["code"], "unknown_document");
    }

    // Another app's job is none.
    let other = site.app_number(1);
    for path in [format!("/v1/stamp-jobs/{job}"), format!("/v1/stamp-jobs/{job}/documents/1/content")] {
        assert_eq!(other.get(&path).expect(404).json()["code"], "unknown_stamp_job", "{path}");
    }
    let cancel = format!("/v1/stamp-jobs/{job}/cancel");
    assert_eq!(other.post(&cancel, &json!({})).expect(404).json()["code"], "unknown_stamp_job");
    assert_eq!(app.post(&cancel, &json!({})).expect(409).json()["code"], "stamp_job_finished");
    let upload = json!({"defaults": pdf_by("demo-p256"), "documents": [{"upload": upload}, digest(1)]});
    let theirs = finished(&other, &ordered(&other, &upload));
    assert_eq!(theirs["documents"][0]["code"], "unknown_upload", "an upload is its app's alone: {theirs:#}");
    assert!(!other.get("/v1/stamp-jobs").expect(200).text().contains(job));
    assert!(app.get("/v1/stamp-jobs").expect(200).text().contains(job));

    // What is wrong with all of it is said at once.
    for (body, status, code) in [
        (json!({"documents": []}), 422, "batch_size"),
        (json!({"documents": [{"digest": "AA=="}]}), 422, "missing_field"),
        (json!({"defaults": pdf_by("nobodys"), "documents": [{}, {}]}), 404, "unknown_key"),
        (json!({"defaults": pdf_by("demo-p256"), "documents": [{}], "items": []}), 422, "unknown_field"),
        (json!({"defaults": [], "documents": [{}]}), 422, "invalid_type"),
    ] {
        assert_eq!(app.post("/v1/stamp-jobs", &body).expect(status).json()["code"], code, "{body}");
    }
    let many: Vec<_> = (0..1_001).map(digest).collect();
    let many = json!({"defaults": {"format": "digest", "signer": {"key": "demo-p256"}}, "documents": many});
    assert_eq!(app.post("/v1/stamp-jobs", &many).expect(422).json()["code"], "batch_size");
}

#[test]
fn what_was_sent_is_bounded_and_ends_with_its_time() {
    let folder = Folder::init();
    folder.configure("[site]\n", "[stamp_jobs]\nupload_seconds = 1\nupload_mebibytes = 3\n[site]\n");
    let site = folder.serve();
    let app = site.app();
    let mebibytes = |count: usize| vec![b'x'; count << 20];
    for (kind, body, status, code) in [
        ("text/plain", mebibytes(1), 415, "unsupported_media_type"),
        ("application/pdf", mebibytes(4), 409, "upload_quota"),
    ] {
        let answer = app.send("PUT", "/v1/uploads", &[("content-type", kind)], Some(&body));
        assert_eq!(answer.expect(status).json()["code"], code);
    }
    // Refused for its length alone, and nothing of it is sent: whoever sends it may be cut off before the answer.
    let key = site.sandbox()["apps"][0]["api_key"].as_str().unwrap();
    let head = format!(
        "PUT /v1/uploads HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\nx-api-key: {key}\r\n\
         content-type: application/octet-stream\r\ncontent-length: {}\r\n\r\n",
        65 << 20
    );
    assert_eq!(raw(&site, head.as_bytes()), (413, "body_too_large".to_owned()));
    uploaded(app, &mebibytes(2));
    assert_eq!(put(app, &[&mebibytes(2)[..], b"."].concat()).expect(409).json()["code"], "upload_quota");
    uploaded(&site.app_number(1), &mebibytes(2));
    let short = uploaded(app, &contract());
    let order = json!({"defaults": pdf_by("demo-p256"), "documents": [{"upload": short}, digest(1)]});
    eventually("its time is over", SOON, || {
        let job = finished(app, &ordered(app, &order));
        (job["documents"][0]["code"] == "unknown_upload").then_some(())
    });
    assert_eq!(
        site.app_number(2)
            .send("PUT", "/v1/uploads", &[("content-type", "application/pdf")], Some(&b"x"[..]))
            .expect(403)
            .json()["code"],
        "scope_missing"
    );
    // Nothing that was sent lies open beside the database.
    let folder = site.data().join("documents/documents");
    for entry in std::fs::read_dir(folder).unwrap() {
        let octets = std::fs::read(entry.unwrap().path()).unwrap();
        assert!(!octets.windows(8).any(|octets| octets == b"xxxxxxxx" || octets == b"%PDF-1.4"));
    }
}

#[test]
fn what_has_not_begun_is_cancelled_and_a_disabled_apps_documents_are_refused() {
    let site = Site::start();
    let app = site.app();
    // No device answers: nothing can come of a document, which is tried again.
    let devices: Vec<_> = (1..=7).map(|number| format!("d{number}")).collect();
    for device in &devices {
        let broken = "[[fault]]\nfunction = \"C_Sign\"\naction = \"error\"\nrv = \"CKR_DEVICE_ERROR\"\n";
        site.fault(device, broken);
    }
    let order = json!({
        "defaults": {"format": "digest", "signer": {"key": "demo-p256"}},
        "documents": (0..20).map(digest).collect::<Vec<_>>(),
    });
    let (one, other) = (ordered(app, &order), ordered(app, &order));
    let cancelled = site.command(&["stamp-job", "cancel", &one, "--json"]);
    let cancelled: Value = serde_json::from_slice(&cancelled.stdout).unwrap();
    assert!(cancelled["cancelled"].as_u64().unwrap() >= 16, "at most four had begun: {cancelled}");
    let admin = site.app_number(2);
    let id = site.sandbox()["apps"][0]["id"].as_str().unwrap().to_owned();
    admin.post(&format!("/v1/admin/apps/{id}/disable"), &json!({"reason": "test"})).expect(200);
    for device in &devices {
        site.mend(device);
    }
    let job = |job: &str| admin.get(&format!("/v1/stamp-jobs/{job}")).expect(200).json();
    let [one, other] = [one, other].map(|id| {
        eventually("the job is finished", SOON, || Some(job(&id)).filter(|job| job["state"] == "finished"))
    });
    let listed = site.command(&["stamp-job", "list"]);
    assert!(String::from_utf8_lossy(&listed.stdout).contains(one["job"].as_str().unwrap()));
    assert!(one["cancelled_at"].is_string() && one["documents"] == json!([]), "{one:#}");
    assert!(other["failed"].as_u64().unwrap() >= 16, "{other:#}");
    admin.post(&format!("/v1/admin/apps/{id}/enable"), &json!({"reason": "test"})).expect(200);
    let seen = eventually("the app is served again", SOON, || {
        let answer = app.get(&format!("/v1/stamp-jobs/{}", other["job"].as_str().unwrap()));
        (answer.status == 200).then(|| answer.json())
    });
    let codes = seen["documents"].as_array().unwrap().iter().filter(|document| document["state"] == "failed");
    assert!(codes.into_iter().all(|document| document["code"] == "app_disabled"), "{seen:#}");
    let stamps = stamps_of(&seen).len() as u64 + one["done"].as_u64().unwrap();
    assert_eq!(recorded(&site.audit()).len() as u64, stamps);
}

#[test]
fn a_killed_gateways_job_is_finished_by_the_next_one_and_each_document_has_one_stamp() {
    let mut site = Site::start();
    let received: Arc<Mutex<Vec<Value>>> = Arc::default();
    let (source, kept) = (Source::start(), Arc::clone(&received));
    source.answer_with_fields("hook", move |_, body| {
        kept.lock().unwrap().push(serde_json::from_slice(body).unwrap());
        Reply::Status(204)
    });
    let id = site.sandbox()["apps"][0]["id"].as_str().unwrap().to_owned();
    let webhook = json!({"url": source.url("hook"), "reason": "test"}).to_string();
    site.app_number(2)
        .send(
            "PUT",
            &format!("/v1/admin/apps/{id}/webhook"),
            &[("content-type", "application/json")],
            Some(webhook.as_bytes()),
        )
        .expect(200);
    let documents: Vec<_> = (0..200).map(|number| json!({"document": base64(&numbered(number))})).collect();
    let order = json!({"defaults": pdf_by("demo-p256"), "documents": documents});
    let job = ordered(site.app(), &order);
    for stamped in [10, 60, 110] {
        eventually("some are stamped", SOON, || {
            let seen = site.app().get(&format!("/v1/stamp-jobs/{job}")).expect(200).json();
            (seen["done"].as_u64().unwrap() >= stamped).then_some(())
        });
        site = site.kill().serve();
    }
    let whole = finished(site.app(), &job);
    assert_eq!((&whole["done"], &whole["failed"]), (&json!(200), &json!(0)), "{whole:#}");
    let numbers = stamps_of(&whole);
    assert_eq!(
        recorded(&site.audit()),
        numbers.into_iter().collect::<Vec<_>>(),
        "the log has these and no others"
    );
    for n in [1, 100, 200] {
        assert!(content(site.app(), &job, n).expect(200).body.starts_with(&numbered(n - 1)));
    }
    let told = eventually("the app is told", SOON, || {
        received.lock().unwrap().iter().find(|body| body["type"] == "stamps.finished").cloned()
    });
    let counts = json!({"job": job, "total": 200, "stamped": 200, "failed": 0, "cancelled": 0});
    assert_eq!(told["data"], counts);
}

#[test]
fn two_gateways_share_a_job_and_one_takes_over_what_the_other_leaves() {
    let (server, documents) = (Postgres::start(), Scratch::new());
    let database = server.database();
    let folder = Folder::init_in(&server, &database);
    let shared = format!("[stamp_jobs]\nfolder = {:?}\n[site]\n", documents.path());
    folder.configure("[site]\n", &shared);
    let first = folder.serve();
    let second = Folder::beside(&first, "second").serve();
    // So slow that neither has done all of it before the other one looks whether there is anything to do.
    let devices: Vec<_> = (1..=9).map(|number| format!("d{number}")).collect();
    for device in &devices {
        first.fault(device, "latency_ms = 300.0\n");
    }
    let orders = (0..150).map(|number| json!({"document": base64(&numbered(number))}));
    let order = json!({"defaults": pdf_by("demo-p256"), "documents": orders.collect::<Vec<_>>()});
    let job = ordered(first.app(), &order);
    let of = |name: &str| {
        let sql = format!(
            "SELECT count(*) FROM audit_entries e JOIN audit_logs l ON l.id = e.log
             WHERE l.replica = '{name}' AND convert_from(e.entry, 'UTF8') LIKE '%\"stamp.pdf\"%'"
        );
        server.query(&database, &sql).trim().parse::<u32>().unwrap()
    };
    eventually("both are at it", SOON, || (of("second") >= 5).then_some(()));
    let _folder = first.kill();
    for device in &devices {
        second.mend(device);
    }
    let whole = finished(second.app(), &job);
    assert_eq!((&whole["done"], &whole["failed"]), (&json!(150), &json!(0)), "{whole:#}");
    let numbers: Vec<_> = stamps_of(&whole).into_iter().collect();
    assert_eq!(recorded(&tests::audit_on(&server, &database)), numbers);
    let registered = server.query(&database, "SELECT id FROM stamps ORDER BY id");
    assert_eq!(registered.lines().map(str::to_owned).collect::<Vec<_>>(), numbers);
    assert!(content(second.app(), &job, 150).expect(200).body.starts_with(&numbered(149)));
}

#[test]
fn a_large_job_leaves_room_for_others() {
    let site = Site::start();
    let documents: Vec<_> = (0..1_000).map(digest).collect();
    let order =
        json!({"defaults": {"format": "digest", "signer": {"key": "demo-p256"}}, "documents": documents});
    let start = Instant::now();
    let large = ordered(site.app(), &order);
    let other = site.app_number(1);
    let small = json!({"defaults": {"format": "digest", "signer": {"key": "demo-p256"}}, "documents": [digest(1), digest(2)]});
    let small = finished(&other, &ordered(&other, &small));
    let meanwhile = site.app().get(&format!("/v1/stamp-jobs/{large}")).expect(200).json();
    assert_eq!((&small["done"], &meanwhile["state"]), (&json!(2), &json!("running")), "apps take turns");
    site.app()
        .post(
            "/v1/stamps",
            &json!({"format": "pdf", "document": base64(&contract()), "signer": {"key": "demo-p256"}}),
        )
        .expect(201);
    let whole = finished(site.app(), &large);
    assert_eq!(whole["done"], json!(1_000));
    println!("1,000 digests in {:?}", start.elapsed());
    let start = Instant::now();
    let documents: Vec<_> = (0..300).map(|number| json!({"document": base64(&numbered(number))})).collect();
    let job = ordered(site.app(), &json!({"defaults": pdf_by("demo-p256"), "documents": documents}));
    finished(site.app(), &job);
    println!("300 PDFs in {:?}", start.elapsed());
    let status = std::fs::read_to_string(format!("/proc/{}/status", site.pid())).unwrap();
    let peak = status.lines().find(|line| line.starts_with("VmHWM"));
    println!("{peak:?}");
    let large = base().stream(60, "", &vec![b' '; 17 << 20]).table(ROOT);
    let upload = uploaded(site.app(), &large);
    let job =
        ordered(site.app(), &json!({"defaults": pdf_by("demo-p256"), "documents": [{"upload": upload}]}));
    let whole = finished(site.app(), &job);
    let status = std::fs::read_to_string(format!("/proc/{}/status", site.pid())).unwrap();
    let peak = status.lines().find(|line| line.starts_with("VmHWM"));
    println!("{} octets: {} {peak:?}", large.len(), whole["documents"][0]);
    assert_eq!(whole["documents"][0]["state"], "stamped", "{whole:#}");
    let metrics = site.stranger(None).get("/metrics").expect(200).text();
    assert!(metrics.contains("stamp_job_attempts{outcome=\"stamped\"} 1303"), "{metrics}");
}
