//! Several signers in one order: each signs what the ones before left, all of them or none, under one number.

use std::process::Command;
use std::time::{Duration, UNIX_EPOCH};

use serde_json::{Value, json};
use tests::{
    Folder, Person, Ran, Scratch, Site, TimeServer, base64, eventually, repository, shared, unbase64,
};

use crate::mandates::{self, Ca, in_force, mandate, signer, site_of, with};
use crate::seals;
use crate::timestamp_clock::{becomes, watched};

const SOON: Duration = Duration::from_secs(120);

fn contract() -> Vec<u8> {
    std::fs::read(repository().join("formats/tests/pdfs/reportlab.pdf")).unwrap()
}

fn package() -> Vec<u8> {
    std::fs::read(repository().join("formats/tests/data/easyofd.ofd")).unwrap()
}

fn order(format: &str, document: &[u8], signers: Value) -> Value {
    json!({"format": format, "document": base64(document), "signers": signers})
}

fn by(key: &str) -> Value {
    json!({"signer": {"key": key}})
}

fn place(left: f32, top: f32) -> Value {
    json!({"kind": "rect", "pages": "1", "left": left, "top": top, "width": 60, "height": 20})
}

fn judged(site: &Site, document: &[u8]) -> Value {
    site.app().post("/v1/stamps:verify", &json!({"document": base64(document)})).expect(200).json()
}

fn document(answer: &Value) -> Vec<u8> {
    unbase64(answer["document"].as_str().unwrap())
}

fn texts(list: &Value, member: &str) -> Vec<String> {
    let of = |one: &Value| one[member].as_str().unwrap_or_default().to_owned();
    list.as_array().unwrap().iter().map(of).collect()
}

/// Action, subject and outcome of what a site has on record about a stamp.
fn about(site: &Site, stamp: &str) -> Vec<(String, String, String)> {
    let text = |entry: &Value, name: &str| entry[name].as_str().unwrap_or_default().to_owned();
    let entries = site.audit().into_iter().filter(|entry| text(entry, "subject").starts_with(stamp));
    entries.map(|entry| (text(&entry, "action"), text(&entry, "subject"), text(&entry, "outcome"))).collect()
}

fn stamps_on_record(site: &Site) -> Vec<Value> {
    let is_stamp = |entry: &Value| {
        entry["action"]
            .as_str()
            .is_some_and(|action| action.starts_with("stamp.") && action != "stamp.evidence")
    };
    site.audit().into_iter().filter(is_stamp).collect()
}

#[track_caller]
fn refused(site: &Site, order: &Value, status: u16, code: &str, field: &str) {
    let answer = site.app().post("/v1/stamps", order).expect(status).json();
    let told = answer["errors"].as_array().map(Vec::as_slice).unwrap_or_default();
    let is_told = told.iter().any(|one| one["field"] == field && one["code"] == code);
    assert!(is_told, "{field} {code}: {answer:#}");
}

#[test]
fn an_sm2_and_a_p256_signer_of_every_level_are_in_one_pdf_under_one_number() {
    let site = Folder::init().serve();
    let look = |text: &str, top: f32| json!({"text": [text, "{check_code}"], "places": [place(20.0, top)]});
    let mut first = by("demo-sm2");
    first["appearance"] = look("经办", 20.0);
    first["reason"] = json!("经办");
    let mut signers = vec![first];
    for (level, top) in [("B-T", 60.0), ("B-LT", 100.0), ("B-LTA", 140.0)] {
        let more = json!({"level": level, "appearance": look(level, top), "field": format!("of {level}").replace(' ', "-").replace('.', "")});
        signers.push(with(by("demo-p256"), more));
    }
    let body = order("pdf", &contract(), json!(signers)).to_string();
    let headers = [("content-type", "application/json"), ("idempotency-key", "several-once")];
    let send = || site.app().send("POST", "/v1/stamps", &headers, Some(body.as_bytes())).expect(201);
    let (sent, again) = (send(), send());
    assert_eq!((sent.text(), again.header("idempotency-replayed")), (again.text(), "true"));
    let answer = sent.json();
    let levels = ["B-B", "B-T", "B-LT", "B-LTA"];
    let keys = ["demo-sm2", "demo-p256", "demo-p256", "demo-p256"];
    assert_eq!(texts(&answer["signatures"], "level"), levels, "{answer:#}");
    assert_eq!(texts(&answer["signatures"], "key"), keys);
    assert_eq!((&answer["key"], &answer["level"]), (&json!("demo-sm2"), &json!("B-B")));
    let signed = document(&answer);
    assert!(signed.starts_with(&contract()), "the document's octets stay");

    let verdict = judged(&site, &signed);
    assert_eq!(verdict["verdict"], "valid", "{verdict:#}");
    let all = verdict["signatures"].as_array().unwrap();
    let forms = ["adbe.pkcs7.detached", "ETSI.CAdES.detached", "ETSI.CAdES.detached", "ETSI.CAdES.detached"];
    assert_eq!(texts(&verdict["signatures"], "sub_filter")[..4], forms, "{verdict:#}");
    assert_eq!(all.len(), 5, "and the document timestamp of B-LTA: {verdict:#}");
    assert!(all.iter().all(|one| one["verdict"] == "valid"), "{verdict:#}");
    let fields = texts(&answer["signatures"], "field");
    assert_eq!(texts(&verdict["signatures"], "field")[..4], fields[..]);
    let times: Vec<_> =
        all[..4].iter().map(|one| one["signers"][0]["timestamps"].as_array().map_or(0, Vec::len)).collect();
    assert_eq!(times, [0, 1, 1, 1], "{verdict:#}");

    // Readers that know P-256 alone say so of theirs, and take no offence at the other.
    let scratch = Scratch::new();
    let file = scratch.write("both.pdf", &signed);
    let said = Ran::of(Command::new("pdfsig").arg("-nocert").arg(&file)).text;
    assert_eq!(said.matches("Signature is Valid").count(), 3, "{said}");
    Ran::of(Command::new("qpdf").arg("--check").arg(&file)).expect("qpdf --check");
    let root = site.data().join("pki/roots/p256.pem");
    let mut theirs = Command::new(repository().join("target/venv/bin/python"));
    theirs.arg("-c").arg(PYHANKO).arg(root).arg(&file).env("PYTHONWARNINGS", "ignore");
    let theirs = Ran::of(&mut theirs).expect("pyHanko judges");
    let theirs: Vec<String> = String::from_utf8(theirs.stdout).unwrap().lines().map(str::to_owned).collect();
    assert_eq!(theirs, ["True", "True", "True"]);

    // One number, one page that lists all of them, and a record of each.
    let number = answer["stamp_id"].as_str().unwrap();
    let item = site.app().get(&format!("/v1/stamps/{number}")).expect(200).json();
    assert_eq!(texts(&item["signatures"], "field"), fields, "{item:#}");
    assert_eq!(item["document_sm3"], answer["document_sm3"]);
    let page = format!("/verify/{}", answer["check_code"].as_str().unwrap());
    let checked = site.stranger(None).send("GET", &page, &[("accept", "application/json")], None);
    let checked = checked.expect(200).json();
    assert_eq!(texts(&checked["signatures"], "level"), levels, "{checked:#}");
    assert!(
        site.stranger(None).get(&format!("{page}?lang=en")).expect(200).text().contains("Signature 4 / 4")
    );
    let entry = |action: &str, subject: String| (action.to_owned(), subject, "ok".to_owned());
    let mut wanted: Vec<_> = (1..=4).map(|n| entry("stamp.signature", format!("{number}/{n}"))).collect();
    wanted.push(entry("stamp.pdf", number.to_owned()));
    assert_eq!(about(&site, number), wanted);
    let entries = site.audit();
    let of = |one: &Value| &entries[usize::try_from(one["audit_index"].as_u64().unwrap()).unwrap()];
    let chain: Vec<_> = answer["signatures"].as_array().unwrap().iter().map(of).collect();
    for pair in chain.windows(2) {
        assert_eq!(pair[0]["result_digest"], pair[1]["input_digest"], "each signs what the one before left");
    }
    assert_eq!(chain[3]["result_digest"], answer["document_sm3"]);
}

/// What pyHanko says of each signature that is not by SM2 and no timestamp.
const PYHANKO: &str = "
import sys
from pyhanko.keys import load_cert_from_pemder
from pyhanko.pdf_utils.reader import PdfFileReader
from pyhanko.sign.validation import validate_pdf_signature
from pyhanko_certvalidator import ValidationContext
root = load_cert_from_pemder(sys.argv[1])
reader = PdfFileReader(open(sys.argv[2], 'rb'))
for signature in reader.embedded_regular_signatures:
    if signature.sig_object['/SubFilter'] == '/ETSI.CAdES.detached':
        context = ValidationContext(trust_roots=[root], allow_fetching=False)
        print(validate_pdf_signature(signature, context).bottom_line)
";

#[test]
fn what_one_signer_must_not_stops_all_of_them_before_a_key_is_used() {
    let site = Site::start();
    let pdf = |signers: Value| order("pdf", &contract(), signers);
    let both = |second: Value| pdf(json!([by("demo-sm2"), with(by("demo-p256"), second)]));
    let nine: Vec<Value> = (0..9).map(|_| by("demo-sm2")).collect();
    let keyword = json!({"kind": "keyword", "keyword": "没有这个词", "width": 20.0, "height": 10.0});
    let certified = json!([with(by("demo-p256"), json!({"certify": "no-changes"})), by("demo-sm2")]);
    let same = json!({"field": "A"});
    let digest = json!({"format": "digest", "digest": base64(&[0; 32]), "signers": [by("demo-sm2")]});
    for (order, status, code, field) in [
        (pdf(json!([])), 422, "invalid_value", "signers"),
        (pdf(json!(nine)), 422, "invalid_value", "signers"),
        (digest, 422, "not_applicable", "signers"),
        (with(pdf(json!([by("demo-sm2")])), by("demo-p256")), 422, "ambiguous_input", "signer"),
        (with(pdf(json!([by("demo-sm2")])), json!({"reason": "x"})), 422, "not_applicable", "reason"),
        (both(json!({"document": ""})), 422, "not_applicable", "signers[1].document"),
        (both(json!({"signers": []})), 422, "not_applicable", "signers[1].signers"),
        (both(json!({"colour": "red"})), 422, "unknown_field", "signers[1].colour"),
        (both(json!({"signer": {}})), 422, "missing_field", "signers[1].signer.key"),
        (both(json!({"signer": null})), 422, "missing_field", "signers[1].signer"),
        (both(json!({"signer": {"key": "nobodys"}})), 404, "unknown_key", "signers[1].signer.key"),
        (both(json!({"level": "B-X"})), 422, "invalid_value", "signers[1].level"),
        (both(json!({"profile": "gm-seal"})), 422, "missing_field", "signers[1].seal"),
        (
            both(json!({"appearance": {"text": ["x"], "places": [keyword]}})),
            422,
            "keyword_not_found",
            "signers[1].appearance.places",
        ),
        // What an earlier signer of the same order forbids or takes.
        (pdf(certified), 422, "document_not_permitted", "document"),
        (
            pdf(json!([with(by("demo-sm2"), same.clone()), with(by("demo-p256"), same)])),
            422,
            "field_taken",
            "signers[1].field",
        ),
        (
            order("pdf", b"no PDF", json!([by("demo-sm2"), by("demo-p256")])),
            422,
            "document_malformed",
            "document",
        ),
        (
            order("ofd", &package(), json!([by("demo-sm2"), by("demo-p256")])),
            422,
            "not_applicable",
            "signers[1].signer",
        ),
    ] {
        refused(&site, &order, status, code, field);
    }
    assert_eq!(stamps_on_record(&site), Vec::<Value>::new());

    // Every fault of every signer at once.
    let many = json!([
        with(by("demo-sm2"), json!({"level": "B-X"})),
        with(by("demo-p256"), json!({"family": "rfc5652"}))
    ]);
    let told = site.app().post("/v1/stamps", &pdf(many)).expect(422).json();
    assert_eq!(texts(&told["errors"], "field"), ["signers[0].level", "signers[1].family"], "{told:#}");

    // The second key's devices are away: the first key is not asked.
    for device in ["d8", "d9"] {
        let out = site.command(&["device", "maintain", device, "--reason", "test"]);
        assert!(out.status.success(), "{out:?}");
    }
    let order = pdf(json!([by("demo-sm2"), by("portal-sm2")]));
    let answer = site.app().post("/v1/stamps", &order).expect(503).json();
    assert_eq!(answer["code"], "devices_unavailable", "{answer:#}");
    assert!(answer["detail"].as_str().unwrap().starts_with("signers[1]: "), "{answer:#}");
    assert_eq!(stamps_on_record(&site), Vec::<Value>::new());
}

#[test]
fn mandates_are_taken_together_and_have_back_what_was_not_delivered() {
    let ca = Ca::new("sm2");
    let site = site_of(&ca, false);
    let operator = site.app_number(2);
    let sm2 = json!({"algorithm": "sm2", "formats": ["pdf", "ofd"], "per_day": 2, "in_all": 10});
    in_force(&site, &ca, &with(mandate(&site, "S-1"), sm2));
    let enterprise = json!({"signer": signer(&site, "S-1")});
    let taken = || {
        let shown = operator.get(&format!("{}/S-1", mandates::PATH)).expect(200).json();
        (shown["taken_today"].as_u64().unwrap(), shown["taken_in_all"].as_u64().unwrap())
    };
    let pdf = |signers: Value| order("pdf", &contract(), signers);
    // Once too often: the third is refused, and the two before it are not counted.
    let thrice = pdf(json!([enterprise, enterprise, enterprise]));
    refused(&site, &thrice, 403, "mandate_used_up_today", "signers[2].signer.mandate");
    assert_eq!(taken(), (0, 0));
    // What is known to be unable is found before the enterprise's key signs.
    let before = stamps_on_record(&site).len();
    for device in ["d8", "d9"] {
        assert!(site.command(&["device", "maintain", device, "--reason", "test"]).status.success());
    }
    let failing = pdf(json!([enterprise, by("portal-sm2")]));
    assert_eq!(site.app().post("/v1/stamps", &failing).expect(503).json()["code"], "devices_unavailable");
    assert_eq!((taken(), stamps_on_record(&site).len()), ((0, 0), before));

    let answer = site.app().post("/v1/stamps", &pdf(json!([enterprise, by("demo-p256")]))).expect(201).json();
    assert_eq!(judged(&site, &document(&answer))["verdict"], "valid");
    assert_eq!(answer["signatures"][0]["mandate"]["number"], "S-1", "{answer:#}");
    assert_eq!(answer["signatures"][1]["mandate"], Value::Null);
    assert_eq!(taken(), (1, 1));
    let number = answer["stamp_id"].as_str().unwrap();
    let said: Vec<_> =
        about(&site, number).into_iter().map(|(_, subject, outcome)| (subject, outcome)).collect();
    let row = |subject: String, outcome: &str| (subject, outcome.to_owned());
    let (first, second) = (format!("{number}/1"), format!("{number}/2"));
    let wanted =
        [row(first.clone(), "intended"), row(first, "ok"), row(second, "ok"), row(number.to_owned(), "ok")];
    assert_eq!(said, wanted);
    let page = format!("/verify/{}", answer["check_code"].as_str().unwrap());
    assert!(site.stranger(None).get(&page).expect(200).text().contains("西安市测试秦风贸易有限公司"));
}

#[test]
fn a_template_names_signers_and_seals_for_ofd_and_pdf_and_jobs_too() {
    let ca = Ca::new("sm2");
    let site = site_of(&ca, false);
    let operator = site.app_number(2);
    let granted = json!({"algorithm": "sm2", "formats": ["pdf", "ofd"], "per_day": 50, "in_all": 50});
    in_force(&site, &ca, &with(mandate(&site, "T-1"), granted));
    let security = Person::of_sandbox(&site, "security").sign_in();
    security.post(seals::PATH, &seals::order(&seals::seal(&site, "both-1"))).expect(201);
    // The enterprise's own seal lists the mandate's certificate.
    let shown = operator.get(&format!("{}/T-1", mandates::PATH)).expect(200).json();
    let mut own = seals::seal(&site, "own-1");
    own["kind"] = json!("enterprise");
    own["name"] = json!("西安市测试秦风贸易有限公司");
    own["holder"]["name"] = json!("西安市测试秦风贸易有限公司");
    own["certificates"] = json!([shown["certificate"]]);
    // The mandate's certificate ends sooner than a seal does otherwise.
    own["valid_until"] = json!(seals::until(10));
    security.post(seals::PATH, &seals::order(&own)).expect(201);

    let put = |id: &str, stamp: Value, status: u16| {
        let body = json!({"template": {"description": "双签", "stamp": stamp}, "reason": "decision 2026-20"});
        let json = [("content-type", "application/json")];
        let path = format!("/v1/admin/stamp-templates/{id}");
        operator.send("PUT", &path, &json, Some(body.to_string().as_bytes())).expect(status).json()
    };
    let at =
        |left: f32, top: f32| json!({"places": [{"kind": "rect", "pages": "1", "left": left, "top": top}]});
    let enterprise = signer(&site, "T-1");
    let two = |format: &str, more: Value| {
        json!({"format": format, "signers": [
            with(json!({"signer": enterprise, "seal": "own-1", "appearance": at(20.0, 30.0)}), more.clone()),
            with(json!({"seal": "both-1", "appearance": at(80.0, 30.0)}), more),
        ]})
    };
    put("two-ofd", two("ofd", json!({})), 200);
    put("two-pdf", two("pdf", json!({"profile": "gm-seal"})), 200);
    put("one-ofd", json!({"format": "ofd", "signer": enterprise}), 200);
    let unknown = json!({"format": "pdf", "signers": [{}, {"signer": {"key": "nobodys"}}]});
    let told = put("bad", unknown, 422);
    assert_eq!(texts(&told["errors"], "field"), ["template.stamp.signers[1].signer.key"], "{told:#}");
    let open = site.app().get("/v1/stamp-templates").expect(200).json();
    let open = open["items"].as_array().unwrap().iter().find(|item| item["id"] == "two-ofd").unwrap().clone();
    assert!(open["open"].as_array().unwrap().contains(&json!("signers[1].signer")), "{open:#}");

    let completed = json!([{}, by("demo-sm2")]);
    for (template, octets) in [("two-ofd", package()), ("two-pdf", contract())] {
        let order = json!({"template": template, "document": base64(&octets), "signers": completed});
        let answer = site.app().post("/v1/stamps", &order).expect(201).json();
        assert_eq!((&answer["template"], &answer["template_version"]), (&json!(template), &json!(1)));
        let verdict = judged(&site, &document(&answer));
        assert_eq!(verdict["verdict"], "valid", "{verdict:#}");
        let all = verdict["signatures"].as_array().unwrap();
        let set: Vec<_> = all.iter().map(|one| one["seal"]["id"].as_str().unwrap().to_owned()).collect();
        assert_eq!(set, ["own-1", "both-1"], "{verdict:#}");
        assert!(all.iter().all(|one| one["verdict"] == "valid"), "{verdict:#}");
        // The template says who signs first, and naming somebody else is no way around it.
        let mut other = order.clone();
        other["signers"][0] = by("demo-sm2");
        refused(&site, &other, 422, "template_conflict", "signers[0].signer");
        // Who may not use a key or a mandate gets it by no template.
        let stranger = site.app_number(1).post("/v1/stamps", &order);
        assert_eq!(stranger.expect(404).json()["code"], "unknown_mandate");
    }
    let one = json!({"template": "one-ofd", "document": base64(&package())});
    let one = site.app().post("/v1/stamps", &one).expect(201).json();
    assert_eq!(one["key"], "mandate.T-1");
    assert_eq!(judged(&site, &document(&one))["verdict"], "valid");

    // The same in a job, where one document says it otherwise.
    let job = json!({
        "defaults": {"template": "two-ofd", "signers": completed},
        "documents": [
            {"document": base64(&package())},
            {"document": base64(&contract()), "template": null, "format": "pdf", "signer": {"key": "demo-p256"}},
            {"document": base64(&package()), "signers": [{}]},
            {"document": base64(&contract()), "template": null, "format": "pdf",
             "signers": [by("demo-sm2"), with(by("demo-p256"), json!({"level": "B-LTA"}))]},
        ],
    });
    let taken = site.app().post("/v1/stamp-jobs", &job).expect(202).json();
    let path = format!("/v1/stamp-jobs/{}", taken["job"].as_str().unwrap());
    let ended = eventually("the job is finished", SOON, || {
        let job = site.app().get(&path).expect(200).json();
        (job["state"] == "finished").then_some(job)
    });
    let codes = texts(&ended["documents"], "code");
    assert_eq!(codes, ["", "", "template_conflict", ""], "{ended:#}");
    for (n, signatures) in [(1, 2), (2, 1), (4, 3)] {
        let result = site.app().get(&format!("{path}/documents/{n}/content")).expect(200).body;
        let verdict = judged(&site, &result);
        assert_eq!(verdict["verdict"], "valid", "{verdict:#}");
        assert_eq!(verdict["signatures"].as_array().unwrap().len(), signatures, "{verdict:#}");
    }
    let number = ended["documents"][0]["stamp_id"].as_str().unwrap();
    assert_eq!(about(&site, number).last().unwrap().0, "stamp.ofd");
}

#[test]
fn an_ofd_package_is_signed_by_several_and_what_is_locked_is_not() {
    let site = &shared().site;
    let twice = order("ofd", &package(), json!([by("demo-sm2"), by("demo-sm2")]));
    let answer = site.app().post("/v1/stamps", &twice).expect(201).json();
    let verdict = judged(site, &document(&answer));
    assert_eq!((&verdict["verdict"], verdict["signatures"].as_array().unwrap().len()), (&json!("valid"), 2));
    let parts = texts(&answer["signatures"], "field");
    assert_eq!(texts(&verdict["signatures"], "part"), parts, "{verdict:#}");
    assert!(parts[0] != parts[1]);
}

/// A document of a job, by what is on record of it: its state, its attempts and those in which keys signed, and when it is
/// due, in seconds.
fn row(site: &Site) -> (String, u64, u64, i64) {
    let mut sqlite = Command::new("sqlite3");
    sqlite.args(["-cmd", ".timeout 30000"]).arg(site.data().join("gateway.db"));
    let row = "SELECT state, attempts, spent, due_at / 1000 FROM stamp_job_documents";
    let said = Ran::of(sqlite.arg(row)).expect(row).text;
    let columns: Vec<&str> = said.trim().split('|').collect();
    let [state, attempts, spent, due] = columns[..] else { panic!("{said}") };
    (state.to_owned(), attempts.parse().unwrap(), spent.parse().unwrap(), due.parse().unwrap())
}

/// The stamps of which one signature at least is on record, and by which keys.
fn signed(site: &Site) -> Vec<String> {
    let all = stamps_on_record(site).into_iter();
    let made = all.filter(|entry| entry["action"] == "stamp.signature" && entry["outcome"] == "ok");
    made.map(|entry| entry["key"].as_str().unwrap().to_owned()).collect()
}

#[test]
fn a_job_has_nobody_sign_as_long_as_another_signer_has_no_device() {
    let site = Folder::init().serve();
    let device = |verb: &str| {
        for device in ["d8", "d9"] {
            let done = site.command(&["device", verb, device, "--reason", "test"]);
            assert!(done.status.success(), "{}", String::from_utf8_lossy(&done.stderr));
        }
    };
    device("maintain");
    let two = json!({"documents": [order("pdf", &contract(), json!([by("demo-p256"), by("portal-sm2")]))]});
    let job = site.app().post("/v1/stamp-jobs", &two).expect(202).json()["job"].as_str().unwrap().to_owned();
    let attempts =
        eventually("it is tried more than once", SOON, || Some(row(&site)).filter(|row| row.1 > 2));
    assert_eq!((attempts.2, signed(&site)), (0, Vec::<String>::new()), "{attempts:?}");
    device("resume");
    let finished = eventually("it is stamped", SOON, || {
        let job = site.app().get(&format!("/v1/stamp-jobs/{job}")).expect(200).json();
        (job["state"] == "finished").then_some(job)
    });
    assert_eq!(finished["documents"][0]["state"], "stamped", "{finished:#}");
    assert_eq!(signed(&site), ["demo-p256", "portal-sm2"]);
}

#[test]
fn what_keys_signed_for_and_is_not_made_is_tried_some_times_with_long_pauses() {
    let server = TimeServer::start();
    server.set_ahead(3_600_000);
    let site = watched(&[&server], Duration::from_secs(60));
    becomes(&site, "off");
    // The first signs; the second's timestamp cannot be had by a clock that is wrong.
    let two = json!([by("demo-p256"), with(by("demo-p256"), json!({"level": "B-T"}))]);
    let job = json!({"documents": [order("pdf", &contract(), two)]});
    let clock = || i64::try_from(UNIX_EPOCH.elapsed().unwrap().as_secs()).unwrap();
    let mut before = clock();
    let job = site.app().post("/v1/stamp-jobs", &job).expect(202).json()["job"].as_str().unwrap().to_owned();
    for attempt in 1..=6 {
        let found = eventually("an attempt has ended", SOON, || {
            Some(row(&site)).filter(|row| row.1 == attempt && ["waiting", "failed"].contains(&row.0.as_str()))
        });
        assert_eq!(signed(&site).len() as u64, attempt, "the first signer once in each: {found:?}");
        if attempt == 6 {
            assert_eq!(found.0, "failed", "{found:?}");
            continue;
        }
        let pause = 60 * 4_i64.pow(attempt as u32 - 1);
        assert_eq!((found.0.as_str(), found.2), ("waiting", attempt));
        let since = found.3 - pause;
        assert!((before..=clock()).contains(&since), "{pause} s from {before} on: {found:?}");
        before = clock();
        let mut sqlite = Command::new("sqlite3");
        sqlite.args(["-cmd", ".timeout 30000"]).arg(site.data().join("gateway.db"));
        Ran::of(sqlite.arg("UPDATE stamp_job_documents SET due_at = 0")).expect("due at once");
    }
    let job = site.app().get(&format!("/v1/stamp-jobs/{job}")).expect(200).json();
    let document = &job["documents"][0];
    assert_eq!((&document["state"], &document["code"]), (&json!("failed"), &json!("clock_unreliable")));
    assert!(
        document["detail"].as_str().unwrap().ends_with("keys signed in 6 attempts, and there is no other")
    );
    let none: Vec<_> =
        stamps_on_record(&site).into_iter().filter(|entry| entry["action"] == "stamp.pdf").collect();
    assert_eq!(none.len(), 6, "each attempt is on record");
    assert!(none.iter().all(|entry| entry["outcome"] == "clock_unreliable"), "{none:#?}");
}
