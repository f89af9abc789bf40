//! Query certificates (打印查询证明) many in one order: each of them once, whatever happens to the gateway meanwhile, each
//! with its own result, and no more of them on a day than the site lets.

use std::collections::BTreeSet;
use std::process::Command;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use serde_json::{Value, json};
use tests::{
    Answer, Caller, Folder, Postgres, Ran, Reply, Scratch, Site, Source, audit_on, base64, eventually, shared,
};

const SOON: Duration = Duration::from_secs(120);
const PATH: &str = "/v1/query-certificate-jobs";
/// Right in form, and nobody's.
const NOBODY: &str = "91610131MA7B0TQ47T";

fn uscc(site: &Site, number: usize) -> String {
    site.sandbox()["licenses"][number].as_str().unwrap().to_owned()
}

/// An order for so many, of the site's enterprises in turn.
fn many(site: &Site, count: usize) -> Value {
    let known = [uscc(site, 0), uscc(site, 1)];
    let certificates: Vec<_> = (0..count).map(|number| json!({"uscc": known[number % 2]})).collect();
    json!({"defaults": {"purpose": "办理银行开户", "applicant": "某某商业银行"}, "certificates": certificates})
}

/// A site with such a limit of a day.
fn limited(folder: &Folder, limit: usize) {
    const SECTION: &str = "[query_certificates]\nkey = \"demo-p256\"\n";
    folder.configure(SECTION, &format!("{SECTION}per_app_and_day = {limit}\n"));
}

fn ordered(caller: &Caller, order: &Value) -> String {
    let answer = caller.post(PATH, order).expect(202);
    let job = answer.json()["job"].as_str().unwrap().to_owned();
    assert_eq!(answer.header("location"), format!("{PATH}/{job}"));
    job
}

fn shown(caller: &Caller, job: &str) -> Value {
    caller.get(&format!("{PATH}/{job}")).expect(200).json()
}

/// A job that has finished, with all its documents.
fn finished(caller: &Caller, job: &str) -> Value {
    let mut whole = eventually("the job is finished", SOON, || {
        Some(shown(caller, job)).filter(|job| job["state"] == "finished")
    });
    while let Some(cursor) = whole["next"].as_str().map(str::to_owned) {
        let page = caller.get(&format!("{PATH}/{job}?cursor={cursor}")).expect(200).json();
        whole["documents"].as_array_mut().unwrap().extend(page["documents"].as_array().unwrap().clone());
        whole["next"] = page["next"].clone();
    }
    assert_eq!(json!(whole["documents"].as_array().unwrap().len()), whole["total"], "{whole:#}");
    whole
}

fn content(caller: &Caller, job: &str, n: usize) -> Answer {
    caller.get(&format!("{PATH}/{job}/documents/{n}/content"))
}

/// The numbers of a job's certificates, no two of which are the same.
fn numbers(job: &Value) -> BTreeSet<String> {
    let documents = job["documents"].as_array().unwrap().iter();
    let made: Vec<_> = documents.filter_map(|document| document["stamp_id"].as_str()).collect();
    let numbers: BTreeSet<_> = made.iter().map(|number| (*number).to_owned()).collect();
    assert_eq!(numbers.len(), made.len(), "each certificate has a number of its own");
    numbers
}

/// The numbers of the stamps that an audit log has.
fn recorded(entries: &[Value]) -> Vec<String> {
    let stamps = entries.iter().filter(|entry| entry["action"] == "stamp.pdf" && entry["outcome"] == "ok");
    let mut numbers: Vec<_> = stamps.map(|entry| entry["subject"].as_str().unwrap().to_owned()).collect();
    numbers.sort();
    numbers
}

fn text_of(pdf: &[u8]) -> String {
    let scratch = Scratch::new();
    let file = scratch.write("certificate.pdf", pdf);
    let read = Ran::of(Command::new("pdftotext").arg("-layout").arg(&file).arg("-")).expect("pdftotext");
    read.text.split_whitespace().collect()
}

#[test]
fn each_certificate_ends_by_itself_and_says_what_its_own_order_says() {
    let site = &shared().site;
    let app = site.app();
    let (one, two) = (uscc(site, 0), uscc(site, 1));
    let order = json!({
        "defaults": {"purpose": "办理银行开户", "applicant": "某某商业银行"},
        "certificates": [
            {"uscc": one, "name": "甲"},
            {"uscc": NOBODY, "name": "nobody"},
            {"uscc": two, "purpose": "参加投标", "applicant": "某某招标公司"},
            {"uscc": "91610131MA7B0TQ47I", "name": "misspelt"},
            {"uscc": one, "purpose": ""},
            {"uscc": one, "document": "AA=="},
            "no object",
        ],
    });
    let answer = app.post(PATH, &order).expect(202).json();
    assert_eq!((&answer["total"], &answer["failed"]), (&json!(7), &json!(4)), "{answer:#}");
    let job = answer["job"].as_str().unwrap();
    let whole = finished(app, job);
    let text = |document: &Value, name: &str| document[name].as_str().unwrap_or_default().to_owned();
    let said = whole["documents"].as_array().unwrap().iter();
    let said: Vec<_> = said.map(|one| (text(one, "name"), text(one, "state"), text(one, "code"))).collect();
    let row = |name: &str, state: &str, code: &str| (name.to_owned(), state.to_owned(), code.to_owned());
    assert_eq!(
        said,
        [
            row("甲", "stamped", ""),
            row("nobody", "failed", "license_unknown"),
            row("3", "stamped", ""),
            row("misspelt", "failed", "uscc_invalid"),
            row("5", "failed", "invalid_value"),
            row("6", "failed", "unknown_field"),
            row("7", "failed", "invalid_type"),
        ],
        "{whole:#}"
    );

    // Each is a certificate like one that was ordered alone.
    let mut contents = Vec::new();
    for (n, purpose, applicant) in [(1, "办理银行开户", "某某商业银行"), (3, "参加投标", "某某招标公司")]
    {
        let document = &whole["documents"][n - 1];
        let fetched = content(app, job, n).expect(200);
        assert_eq!(fetched.header("content-type"), "application/pdf");
        let number = document["stamp_id"].as_str().unwrap();
        let text = text_of(&fetched.body);
        for part in [purpose, applicant, number, "市场主体登记信息查询证明"] {
            assert!(text.contains(part), "{part} in {text}");
        }
        let judged =
            app.post("/v1/stamps:verify", &json!({"document": base64(&fetched.body)})).expect(200).json();
        assert_eq!(
            (&judged["verdict"], &judged["signatures"][0]["certification"]),
            (&json!("valid"), &json!(1))
        );
        let kept = app.get(&format!("/v1/query-certificates/{number}")).expect(200).json();
        assert_eq!((&kept["check_code"], &kept["document_sm3"]), (&document["check_code"], &document["sm3"]));
        let path = format!("/verify/{}", document["check_code"].as_str().unwrap());
        let page =
            site.stranger(None).send("GET", &path, &[("accept", "application/json")], None).expect(200);
        assert_eq!(page.json()["certified"]["unchanged"], true, "{}", page.text());
        let tag = fetched.header("etag").to_owned();
        let path = format!("{PATH}/{job}/documents/{n}/content");
        assert_eq!(app.send("GET", &path, &[("if-none-match", &tag)], None).expect(304).body, b"");
        contents.push(fetched.body);
    }
    assert_eq!(content(app, job, 2).expect(409).json()["code"], "not_stamped");
    assert_eq!(content(app, job, 8).expect(404).json()["code"], "unknown_document");
    // A look that found nobody is on record.
    let looked = site.audit().into_iter().rfind(|entry| entry["subject"] == NOBODY).unwrap();
    assert_eq!(looked["outcome"], "license_unknown", "{looked:#}");
    let orders: Vec<_> =
        site.audit().into_iter().filter(|entry| entry["action"] == "query_certificate_job.order").collect();
    assert!(orders.iter().any(|entry| entry["subject"] == format!("{job}: 7 documents")), "{orders:#?}");

    // All of it in a package that others open.
    let package = app.get(&format!("{PATH}/{job}/content")).expect(200);
    assert_eq!(package.header("content-type"), "application/zip");
    assert_eq!(package.header("content-disposition"), format!("attachment; filename=\"{job}.zip\""));
    let scratch = Scratch::new();
    scratch.write("package.zip", &package.body);
    let mut unzip = Command::new("python3");
    unzip.args(["-m", "zipfile", "-e", "package.zip", "out"]).current_dir(scratch.path());
    Ran::of(&mut unzip).expect("Python opens the package");
    let results: Value = serde_json::from_slice(&scratch.read("out/results.json")).unwrap();
    let results = results.as_array().unwrap();
    assert_eq!(results.len(), 7);
    for (place, expected) in [(0, &contents[0]), (2, &contents[1])] {
        let number = whole["documents"][place]["stamp_id"].as_str().unwrap();
        let file = results[place]["file"].as_str().unwrap();
        assert_eq!(file, format!("0000{}-{number}.pdf", place + 1));
        assert_eq!(&scratch.read(&format!("out/{file}")), expected);
    }
    assert_eq!((&results[1]["code"], &results[1]["file"]), (&json!("license_unknown"), &Value::Null));

    // Another app's job is none; who may not order any has none; who looks after the site sees no names.
    let other = site.app_number(1);
    for path in [String::new(), "/content".to_owned(), "/documents/1/content".to_owned()] {
        let refused = other.get(&format!("{PATH}/{job}{path}")).expect(404).json();
        assert_eq!(refused["code"], "unknown_stamp_job", "{path}");
    }
    assert_eq!(
        app.get(&format!("/v1/stamp-jobs/{job}")).expect(404).json()["code"],
        "unknown_stamp_job",
        "it is of another kind"
    );
    assert!(!app.get("/v1/stamp-jobs").expect(200).text().contains(job));
    assert!(app.get(PATH).expect(200).text().contains(job));
    let admin = site.app_number(2);
    assert_eq!(shown(&admin, job)["documents"], json!([]));
    assert_eq!(admin.post(PATH, &order).expect(403).json()["code"], "scope_missing");
    let shown = site.command(&["query-certificate-job", "show", job, "--json"]);
    let shown: Value = serde_json::from_slice(&shown.stdout).unwrap();
    assert_eq!((&shown["done"], &shown["failed"]), (&json!(2), &json!(5)));
    let listed = site.command(&["query-certificate-job", "list"]);
    assert!(String::from_utf8_lossy(&listed.stdout).contains(job));
}

#[test]
fn an_order_of_which_nothing_can_be_made_is_refused_as_a_whole() {
    let site = &shared().site;
    let one = json!({"uscc": uscc(site, 0), "purpose": "办理银行开户"});
    let too_many: Vec<_> = (0..10_001).map(|_| &one).collect();
    let above_the_day: Vec<_> = (0..1_001).map(|_| &one).collect();
    for (body, code, field) in [
        (json!({"certificates": []}), "batch_size", "certificates"),
        (json!({"certificates": too_many}), "batch_size", "certificates"),
        (json!({"certificates": above_the_day}), "batch_size", "certificates"),
        (json!({"certificates": [{"uscc": ""}, {}]}), "missing_field", "purpose"),
        (json!({"certificates": [one], "documents": []}), "unknown_field", "documents"),
        (json!({"defaults": [], "certificates": [one]}), "invalid_type", "defaults"),
        (
            json!({"defaults": {"purpose": "长".repeat(2_000)}, "certificates": [one]}),
            "invalid_value",
            "defaults",
        ),
    ] {
        let refused = site.app().post(PATH, &body).expect(422).json();
        assert_eq!(
            (&refused["code"], &refused["errors"][0]["field"]),
            (&json!(code), &json!(field)),
            "{refused}"
        );
    }
}

#[test]
fn a_job_counts_for_the_day_of_its_order_and_what_ends_without_a_certificate_does_not() {
    let folder = Folder::init();
    limited(&folder, 30);
    folder.at_noon();
    let site = folder.serve();
    let app = site.app();
    let mut order = many(&site, 20);
    for n in 0..4 {
        order["certificates"][n]["uscc"] = json!(NOBODY);
    }
    let whole = finished(app, &ordered(app, &order));
    assert_eq!((&whole["done"], &whole["failed"]), (&json!(16), &json!(4)), "{whole:#}");
    // 14 are left: 15 are refused, and take nothing.
    let refused = app.post(PATH, &many(&site, 15)).expect(429);
    assert!(refused.header("retry-after").parse::<u32>().unwrap() > 0);
    assert_eq!(refused.json()["code"], "query_certificates_used_up");
    let body = many(&site, 13).to_string();
    let keyed = [("content-type", "application/json"), ("idempotency-key", "job-1")];
    let once = app.send("POST", PATH, &keyed, Some(body.as_bytes())).expect(202).json();
    let again = app.send("POST", PATH, &keyed, Some(body.as_bytes())).expect(202).json();
    assert_eq!(once["job"], again["job"], "one order, one job");
    finished(app, once["job"].as_str().unwrap());
    let alone = json!({"uscc": uscc(&site, 0), "purpose": "办理银行开户"});
    app.post("/v1/query-certificates", &alone).expect(201);
    let refused = app.post("/v1/query-certificates", &alone).expect(429).json();
    assert_eq!(refused["code"], "query_certificates_used_up", "jobs and single ones share the day");

    // While no device signs nothing is made; what is cancelled then does not count.
    let other = site.app_number(1);
    let devices: Vec<_> = (1..=9).map(|number| format!("d{number}")).collect();
    for device in &devices {
        let broken = "[[fault]]\nfunction = \"C_Sign\"\naction = \"error\"\nrv = \"CKR_DEVICE_ERROR\"\n";
        site.fault(device, broken);
    }
    let job = ordered(&other, &many(&site, 30));
    let cancelled = site.command(&["query-certificate-job", "cancel", &job, "--json"]);
    let cancelled: Value = serde_json::from_slice(&cancelled.stdout).unwrap();
    assert!(cancelled["cancelled"].as_u64().unwrap() >= 25, "at most five had begun: {cancelled}");
    for device in &devices {
        site.mend(device);
    }
    let whole = finished(&other, &job);
    let made = whole["done"].as_u64().unwrap() as usize;
    assert!(made <= 5, "{whole:#}");
    let whole = finished(&other, &ordered(&other, &many(&site, 30 - made)));
    assert_eq!(whole["done"], json!(30 - made), "{whole:#}");
    other.post(PATH, &many(&site, 1)).expect(429);
    let stamps = recorded(&site.audit());
    assert_eq!(stamps.len(), 16 + 13 + 1 + 30, "so many certificates were made, and no more");
}

#[test]
fn a_killed_gateways_certificates_are_each_made_once_and_the_app_is_told() {
    let folder = Folder::init();
    limited(&folder, 300);
    folder.at_noon();
    let mut site = folder.serve();
    let received: Arc<Mutex<Vec<Value>>> = Arc::default();
    let (source, kept) = (Source::start(), Arc::clone(&received));
    source.answer_with_fields("hook", move |_, body| {
        kept.lock().unwrap().push(serde_json::from_slice(body).unwrap());
        Reply::Status(204)
    });
    let id = site.sandbox()["apps"][0]["id"].as_str().unwrap().to_owned();
    let webhook = json!({"url": source.url("hook"), "reason": "test"}).to_string();
    let json = [("content-type", "application/json")];
    let path = format!("/v1/admin/apps/{id}/webhook");
    site.app_number(2).send("PUT", &path, &json, Some(webhook.as_bytes())).expect(200);
    let job = ordered(site.app(), &many(&site, 300));
    for made in [10, 100, 200] {
        eventually("some are made", SOON, || {
            (shown(site.app(), &job)["done"].as_u64().unwrap() >= made).then_some(())
        });
        site = site.kill().serve();
    }
    let whole = finished(site.app(), &job);
    assert_eq!((&whole["done"], &whole["failed"]), (&json!(300), &json!(0)), "{whole:#}");
    let numbers = numbers(&whole);
    assert_eq!(recorded(&site.audit()), numbers.into_iter().collect::<Vec<_>>());
    let told = eventually("the app is told", SOON, || {
        received.lock().unwrap().iter().find(|body| body["type"] == "query_certificates.finished").cloned()
    });
    assert_eq!(told["data"], json!({"job": job, "total": 300, "made": 300, "failed": 0, "cancelled": 0}));
    // Kills used nothing up beside what was ordered, and gave nothing back.
    let alone = json!({"uscc": uscc(&site, 0), "purpose": "办理银行开户"});
    site.app().post("/v1/query-certificates", &alone).expect(429);
}

#[test]
fn two_gateways_share_a_job_and_one_takes_over_what_the_other_leaves() {
    let (server, documents) = (Postgres::start(), Scratch::new());
    let database = server.database();
    let folder = Folder::init_in(&server, &database);
    folder.configure("[site]\n", &format!("[stamp_jobs]\nfolder = {:?}\n[site]\n", documents.path()));
    limited(&folder, 1_000);
    let first = folder.serve();
    let second = Folder::beside(&first, "second").serve();
    // So slow that neither has done all of it before the other one looks whether there is anything to do.
    let devices: Vec<_> = (1..=9).map(|number| format!("d{number}")).collect();
    for device in &devices {
        first.fault(device, "latency_ms = 300.0\n");
    }
    let job = ordered(first.app(), &many(&first, 120));
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
    assert_eq!((&whole["done"], &whole["failed"]), (&json!(120), &json!(0)), "{whole:#}");
    let numbers: Vec<_> = numbers(&whole).into_iter().collect();
    assert_eq!(recorded(&audit_on(&server, &database)), numbers);
    let registered = server.query(&database, "SELECT id FROM stamps ORDER BY id");
    assert_eq!(registered.lines().map(str::to_owned).collect::<Vec<_>>(), numbers);
    let certified = server
        .query(&database, "SELECT q.id FROM query_certificates q JOIN stamps s ON s.id = q.id ORDER BY q.id");
    assert_eq!(certified.lines().map(str::to_owned).collect::<Vec<_>>(), numbers);
    let package = second.app().get(&format!("{PATH}/{job}/content")).expect(200).body;
    assert_eq!(entries(&package), 121, "120 certificates and the list");
}

/// How many files a ZIP of less than 65,535 has: as its last record says, which has no comment.
fn entries(package: &[u8]) -> u16 {
    let end = package.last_chunk::<22>().expect("it ends");
    assert!(end.starts_with(b"PK\x05\x06"), "the end record");
    u16::from_le_bytes([end[10], end[11]])
}

#[test]
fn ten_thousand_are_one_order_and_their_package_takes_little_memory() {
    let folder = Folder::init();
    limited(&folder, 10_000);
    folder.at_noon();
    let site = folder.serve();
    let start = Instant::now();
    let job = ordered(site.app(), &many(&site, 10_000));
    println!("10,000 certificates ordered in {:?}", start.elapsed());
    let made = 400;
    eventually("some are made", SOON, || {
        (shown(site.app(), &job)["done"].as_u64().unwrap() >= made).then_some(())
    });
    println!("{made} of them made after {:?}", start.elapsed());
    site.app().post(&format!("{PATH}/{job}/cancel"), &json!({})).expect(200);
    let whole = finished(site.app(), &job);
    let (done, cancelled) = (whole["done"].as_u64().unwrap(), whole["cancelled"].as_u64().unwrap());
    assert_eq!(done + cancelled, 10_000, "{done} {cancelled}");
    numbers(&whole);
    let resident = |what: &str| {
        let status = std::fs::read_to_string(format!("/proc/{}/status", site.pid())).unwrap();
        let line = status.lines().find_map(|line| line.strip_prefix(what)).unwrap().to_owned();
        line.trim().trim_end_matches(" kB").parse::<usize>().unwrap() >> 10
    };
    // From now on the peak is that of the package.
    std::fs::write(format!("/proc/{}/clear_refs", site.pid()), "5").unwrap();
    let before = resident("VmRSS:");
    let package = site.app().get(&format!("{PATH}/{job}/content")).expect(200).body;
    let (peak, size) = (resident("VmHWM:"), package.len() >> 20);
    println!("{done} certificates in {size} MiB; {before} MiB before and {peak} MiB at most");
    assert!(size > 24, "{size} MiB");
    assert_eq!(u64::from(entries(&package)), done + 1);
    assert!(peak < before + 16, "the package is not held whole: {before} and {peak} MiB");
}
