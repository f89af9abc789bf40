//! Stamp templates: what a stamp looks like and where it goes, said once by operators, in versions, for orders that name it.

use std::collections::BTreeSet;
use std::process::Command;
use std::time::Duration;

use serde_json::{Value, json};
use tests::{Caller, Folder, Person, Ran, Scratch, Site, base64, eventually, repository, shared, unbase64};

const PATH: &str = "/v1/admin/stamp-templates";
const SOON: Duration = Duration::from_secs(120);

fn contract() -> Vec<u8> {
    std::fs::read(repository().join("formats/tests/pdfs/reportlab.pdf")).unwrap()
}

/// 20 mm from the left, so far from the upper edge of the first page.
fn place(top: f32) -> Value {
    json!({"kind": "rect", "pages": "1", "left": 20, "top": top, "width": 80, "height": 20})
}

fn look(top: f32) -> Value {
    json!({"format": "pdf", "reason": "收讫", "appearance": {"text": ["收讫 {stamp_id}"], "places": [place(top)]}})
}

fn template(stamp: Value) -> Value {
    json!({"template": {"description": "收讫章", "stamp": stamp}, "reason": "decision 2026-19"})
}

fn put(caller: &Caller, id: &str, body: &Value) -> tests::Answer {
    let body = body.to_string();
    let json = [("content-type", "application/json")];
    caller.send("PUT", &format!("{PATH}/{id}"), &json, Some(body.as_bytes()))
}

fn set(site: &Site, id: &str, stamp: Value) -> Value {
    put(&site.app_number(2), id, &template(stamp)).expect(200).json()
}

fn act(site: &Site, id: &str, verb: &str) -> tests::Answer {
    site.app_number(2).post(&format!("{PATH}/{id}/{verb}"), &json!({"reason": "worn"}))
}

fn order(template: &str) -> Value {
    json!({"template": template, "document": base64(&contract()), "signer": {"key": "demo-p256"}})
}

fn with(mut order: Value, more: Value) -> Value {
    order.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
    order
}

fn stamped(site: &Site, order: &Value) -> Value {
    site.app().post("/v1/stamps", order).expect(201).json()
}

/// Code and fields of a refusal.
fn refused(caller: &Caller, order: &Value, status: u16) -> (String, Vec<String>) {
    let refused = caller.post("/v1/stamps", order).expect(status).json();
    let fields = refused["errors"].as_array().map(Vec::as_slice).unwrap_or_default().iter();
    let fields = fields.map(|one| one["field"].as_str().unwrap().to_owned()).collect();
    (refused["code"].as_str().unwrap().to_owned(), fields)
}

fn says(code: &str, fields: &[&str]) -> (String, Vec<String>) {
    (code.to_owned(), fields.iter().map(|field| (*field).to_owned()).collect())
}

/// The text that stands in a band of the first page, from so many millimetres on.
fn text_at(document: &[u8], top: f32) -> String {
    let scratch = Scratch::new();
    let file = scratch.write("stamped.pdf", document);
    let points = |millimetres: f32| (millimetres / 25.4 * 72.0).round().to_string();
    let mut read = Command::new("pdftotext");
    read.args([
        "-l",
        "1",
        "-x",
        &points(15.0),
        "-W",
        &points(90.0),
        "-y",
        &points(top - 2.0),
        "-H",
        &points(24.0),
    ]);
    Ran::of(read.arg(&file).arg("-")).expect("pdftotext").text
}

#[test]
fn a_template_says_what_a_stamp_looks_like_and_an_order_the_rest() {
    let site = &shared().site;
    let made = set(site, "received", look(30.0));
    assert_eq!(
        (&made["version"], &made["state"], &made["apps"]),
        (&json!(1), &json!("enabled"), &Value::Null)
    );
    let answer = stamped(site, &with(order("received"), json!({"location": "西安"})));
    assert_eq!((&answer["template"], &answer["template_version"]), (&json!("received"), &json!(1)));
    let document = unbase64(answer["document"].as_str().unwrap());
    let number = answer["stamp_id"].as_str().unwrap();
    assert!(text_at(&document, 30.0).contains(number), "{}", text_at(&document, 30.0));
    let scratch = Scratch::new();
    let file = scratch.write("stamped.pdf", &document);
    let said = Ran::of(Command::new("pdfsig").arg("-nocert").arg(&file)).text;
    assert!(said.contains("Signature is Valid"), "{said}");
    let checked = site.app().post("/v1/stamps:verify", &json!({"document": base64(&document)}));
    let checked = checked.expect(200).json();
    assert_eq!(checked["verdict"], "valid", "{checked:#}");

    // The register has the version, and the log vouches for that.
    let registered = site.app().get(&format!("/v1/stamps/{number}")).expect(200).json();
    assert_eq!((&registered["template"], &registered["template_version"]), (&json!("received"), &json!(1)));
    let alone = stamped(site, &with(order("received"), json!({"template": null, "format": "pdf"})));
    assert!(alone.get("template").is_none() && alone.get("template_version").is_none(), "{alone:#}");

    // Whoever stamps sees what there is and what is left to be said.
    let own = site.app().get("/v1/stamp-templates").expect(200).json();
    let own = own["items"].as_array().unwrap().iter().find(|item| item["id"] == "received").unwrap().clone();
    assert_eq!(
        (&own["format"], &own["version"], &own["description"]),
        (&json!("pdf"), &json!(1), &json!("收讫章"))
    );
    let open: BTreeSet<_> =
        own["open"].as_array().unwrap().iter().map(|name| name.as_str().unwrap()).collect();
    assert!(open.contains("location") && open.contains("appearance.qr"), "{open:?}");
    assert!(!open.contains("reason") && !open.contains("appearance.places"), "{open:?}");

    let entries = site.audit();
    let of = |action: &str| {
        let found = |entry: &&Value| {
            entry["action"] == action
                && entry["subject"].as_str().is_some_and(|subject| subject.starts_with("received:"))
        };
        entries.iter().filter(found).map(|entry| entry["outcome"].clone()).collect::<Vec<_>>()
    };
    assert_eq!(of("stamp_template.set"), ["intended", "ok"]);
}

#[test]
fn what_both_say_and_templates_that_are_not_there_are_refused_by_name() {
    let site = &shared().site;
    set(site, "refusing", look(30.0));
    let more =
        json!({"format": "pdf", "reason": "other", "appearance": {"text": ["other"], "picture": "AAAA"}});
    assert_eq!(
        refused(site.app(), &with(order("refusing"), more), 422),
        says("template_conflict", &["format", "reason", "appearance.text"])
    );
    for named in ["none", "a/b", ""] {
        assert_eq!(
            refused(site.app(), &order(named), 404),
            says("unknown_template", &["template"]),
            "{named}"
        );
    }
    let version = |version: Value| with(order("refusing"), json!({"template_version": version}));
    for number in [0, 2] {
        let said = refused(site.app(), &version(json!(number)), 404);
        assert_eq!(said, says("unknown_template_version", &["template_version"]));
    }
    assert_eq!(refused(site.app(), &version(json!(-1)), 422), says("invalid_type", &["template_version"]));
    let alone = json!({"template_version": 1, "format": "pdf", "signer": {"key": "demo-p256"}});
    assert_eq!(refused(site.app(), &alone, 422), says("not_applicable", &["template_version"]));
    let nothing = json!({"signer": {"key": "demo-p256"}, "document": base64(&contract())});
    assert_eq!(refused(site.app(), &nothing, 422), says("missing_field", &["format"]));

    act(site, "refusing", "disable").expect(200);
    assert_eq!(refused(site.app(), &order("refusing"), 403), says("template_disabled", &["template"]));
    assert_eq!(act(site, "refusing", "disable").expect(409).json()["code"], "template_state");
    let own = site.app().get("/v1/stamp-templates").expect(200).text();
    assert!(!own.contains("refusing"), "{own}");
    act(site, "refusing", "enable").expect(200);
    stamped(site, &order("refusing"));
    assert_eq!(act(site, "none", "disable").expect(404).json()["code"], "unknown_template");

    // For the other app alone.
    let mut body = template(look(30.0));
    body["template"]["apps"] = json!([site.sandbox()["apps"][1]["id"]]);
    put(&site.app_number(2), "refusing", &body).expect(200);
    assert_eq!(refused(site.app(), &order("refusing"), 404), says("unknown_template", &["template"]));
    let older = version(json!(1));
    assert_eq!(
        refused(site.app(), &older, 404),
        says("unknown_template", &["template"]),
        "nor by an older version"
    );
    // Who may do what.
    assert_eq!(site.app().get(PATH).expect(403).json()["code"], "scope_missing");
    assert_eq!(put(site.app(), "mine", &template(look(30.0))).expect(403).json()["code"], "scope_missing");
    assert_eq!(site.app_number(2).get("/v1/stamp-templates").expect(403).json()["code"], "scope_missing");
}

#[test]
fn a_version_stays_what_it_was_over_a_restart() {
    let site = Site::start();
    set(&site, "moving", look(30.0));
    let key = [("idempotency-key", "moving-1"), ("content-type", "application/json")];
    let body = order("moving").to_string();
    let once = |site: &Site| {
        site.app().send("POST", "/v1/stamps", &key, Some(body.as_bytes())).expect(201).json()["stamp_id"]
            .clone()
    };
    let first = once(&site);
    let next = with(template(look(120.0)), json!({"replaces": 1}));
    assert_eq!(put(&site.app_number(2), "moving", &next).expect(200).json()["version"], 2);
    assert_eq!(put(&site.app_number(2), "moving", &next).expect(409).json()["code"], "template_changed");
    assert_eq!(once(&site), first, "the same request has the same answer, whatever is in force");
    let (folder, _) = site.stop();
    let site = folder.serve();
    for (order, version, top) in
        [(order("moving"), 2, 120.0), (with(order("moving"), json!({"template_version": 1})), 1, 30.0)]
    {
        let answer = stamped(&site, &order);
        assert_eq!(answer["template_version"], version);
        let document = unbase64(answer["document"].as_str().unwrap());
        assert!(text_at(&document, top).contains(answer["stamp_id"].as_str().unwrap()), "version {version}");
    }
    let shown = |query: &str| site.app_number(2).get(&format!("{PATH}/moving{query}")).expect(200).json();
    let now = shown("");
    assert_eq!((&now["version"], &now["shown"]["version"]), (&json!(2), &json!(2)));
    assert_eq!(now["shown"]["stamp"], look(120.0));
    let first = shown("?version=1");
    assert_eq!((&first["version"], &first["shown"]["stamp"]), (&json!(2), &look(30.0)));
    let missing = site.app_number(2).get(&format!("{PATH}/moving?version=3")).expect(404).json();
    assert_eq!(missing["code"], "unknown_template_version");

    // What somebody moved in the database is used by nobody.
    let (folder, _) = site.stop();
    let mut sqlite = Command::new("sqlite3");
    let moved = "DROP TRIGGER stamp_template_versions_are_fixed;
        UPDATE stamp_template_versions SET stamp = replace(stamp, '120.0', '200.0')";
    Ran::of(sqlite.arg(folder.data().join("gateway.db")).arg(moved)).expect("sqlite3");
    let site = folder.serve();
    assert_eq!(refused(site.app(), &order("moving"), 503).0, "data_altered");
    assert_eq!(site.app_number(2).get(PATH).expect(200).json()["items"], json!([]));
}

#[test]
fn a_job_has_one_version_for_all_its_documents() {
    let site = &shared().site;
    set(site, "of-a-job", look(30.0));
    let app = site.app();
    let order = json!({
        "defaults": {"template": "of-a-job", "signer": {"key": "demo-p256"}},
        "documents": [
            {"document": base64(&contract())},
            {"document": base64(&contract()), "location": "西安"},
            {"document": base64(&contract()), "reason": "other"},
            {"document": base64(&contract()), "template": "none"},
            {"document": base64(&contract()), "template": null, "format": "pdf"},
        ],
    });
    let taken = app.post("/v1/stamp-jobs", &order).expect(202).json();
    assert_eq!(taken["failed"], 2, "{taken:#}");
    set(site, "of-a-job", look(120.0));
    let path = format!("/v1/stamp-jobs/{}", taken["job"].as_str().unwrap());
    let job = eventually("the job is finished", SOON, || {
        let job = app.get(&path).expect(200).json();
        (job["state"] == "finished").then_some(job)
    });
    let documents = job["documents"].as_array().unwrap();
    let codes: Vec<_> = documents.iter().map(|document| document["code"].as_str().unwrap_or("ok")).collect();
    assert_eq!(codes, ["ok", "ok", "template_conflict", "unknown_template", "ok"], "{job:#}");
    let version = |n: usize| {
        let number = documents[n]["stamp_id"].as_str().unwrap();
        app.get(&format!("/v1/stamps/{number}")).expect(200).json()["template_version"].clone()
    };
    assert_eq!([0, 1, 4].map(version), [json!(1), json!(1), Value::Null]);
    let all = json!({"defaults": {"template": "none"}, "documents": [{"document": base64(&contract())}]});
    let all = with(all, json!({"defaults": {"template": "none", "signer": {"key": "demo-p256"}}}));
    assert_eq!(app.post("/v1/stamp-jobs", &all).expect(404).json()["code"], "unknown_template");
}

#[test]
fn policies_and_mandates_see_the_order_as_if_it_were_written_out() {
    let site = Site::start();
    let operator = site.app_number(2);
    set(&site, "of-a-pdf", look(30.0));
    set(&site, "of-a-digest", json!({"format": "digest"}));
    let app = site.sandbox()["apps"][0]["id"].as_str().unwrap();
    let policy = json!({"rules": [{"name": "digests", "formats": ["cms"]}], "reason": "digests alone"});
    let json = [("content-type", "application/json")];
    let policy = policy.to_string();
    operator.send("PUT", &format!("/v1/admin/policies/{app}"), &json, Some(policy.as_bytes())).expect(200);
    let written = with(order("of-a-pdf"), json!({"format": "pdf", "template": null}));
    let plain = site.app().post("/v1/stamps", &written).expect(403).json();
    let by_template = site.app().post("/v1/stamps", &order("of-a-pdf")).expect(403).json();
    assert_eq!((&by_template["code"], &by_template["errors"]), (&plain["code"], &plain["errors"]));
    let digest =
        json!({"template": "of-a-digest", "digest": base64(&[7; 32]), "signer": {"key": "demo-p256"}});
    assert_eq!(stamped(&site, &digest)["template"], "of-a-digest");
}

#[test]
fn a_template_that_could_not_be_carried_out_is_refused_when_it_is_set() {
    let site = &shared().site;
    let operator = site.app_number(2);
    let seen = |appearance: Value| json!({"format": "pdf", "appearance": appearance});
    let off = json!({"kind": "rect", "pages": "9-2", "left": 1, "top": 1, "width": 9, "height": 9});
    for (stamp, field, code) in [
        (json!({}), "format", "missing_field"),
        (json!({"format": "pdf", "document": ""}), "document", "not_applicable"),
        (json!({"format": "pdf", "signer": {"key": "nobodys"}}), "signer.key", "unknown_key"),
        (json!({"format": "pdf", "signer": {"mandate": "x"}}), "signer.enterprise", "missing_field"),
        (json!({"format": "pdf", "colour": "red"}), "colour", "unknown_field"),
        (json!({"format": "pdf", "field": "a.b"}), "field", "invalid_value"),
        (json!({"format": "ofd", "reason": "收讫"}), "reason", "not_applicable"),
        (json!({"format": "ofd", "seal": "none"}), "seal", "unknown_seal"),
        (seen(json!({"text": ["a"], "places": [off]})), "appearance.places[0].pages", "invalid_value"),
        (
            seen(json!({"text": ["收".repeat(900)], "places": [place(1.0)]})),
            "appearance",
            "appearance_unusable",
        ),
    ] {
        let refused = put(&operator, "bad", &template(stamp.clone())).expect(422).json();
        let told = refused["errors"].as_array().unwrap();
        let field = format!("template.stamp.{field}");
        let is_told = told.iter().any(|one| one["field"] == json!(field) && one["code"] == code);
        assert!(is_told, "{field} {code}: {refused:#}");
    }
    let mut body = template(look(30.0));
    body["template"]["apps"] = json!(["nobodys-app"]);
    assert_eq!(put(&operator, "bad", &body).expect(422).json()["code"], "unknown_app");
    body["template"]["apps"] = json!([]);
    assert_eq!(put(&operator, "bad", &body).expect(422).json()["code"], "invalid_value");
    let large = seen(json!({"picture": "A".repeat(257 << 10), "places": [place(1.0)]}));
    assert_eq!(put(&operator, "bad", &template(large)).expect(422).json()["code"], "template_too_large");
    assert_eq!(put(&operator, "b%20d", &template(look(1.0))).expect(422).json()["errors"][0]["field"], "id");
    assert_eq!(operator.get(&format!("{PATH}/bad")).expect(404).json()["code"], "unknown_template");
}

#[test]
fn two_people_set_a_template_and_one_stops_it() {
    let folder = Folder::init();
    folder.configure("[site]\n", "[administration]\ntwo_person = true\n[site]\n");
    let site = folder.serve();
    let [security, system] = ["security", "console"].map(|name| Person::of_sandbox(&site, name).sign_in());
    let path = format!("{PATH}/received");
    let put = |top: f32| security.send("PUT", &path, Some(&template(look(top)))).expect(202).json();
    let approve = |asked: &Value| {
        let path = format!("/v1/admin/approvals/{}/approve", asked["approval"].as_str().unwrap());
        system.post(&path, &json!({"reason": "checked"}))
    };
    let (first, second) = (put(30.0), put(120.0));
    let shown = system.get(&format!("/v1/admin/approvals/{}", first["approval"].as_str().unwrap()));
    let shown = shown.expect(200).json();
    assert_eq!((&shown["action"], &shown["subject"]), (&json!("stamp_template.set"), &json!("received")));
    let stamp = shown["difference"].as_array().unwrap().iter().find(|one| one["field"] == "stamp").unwrap();
    assert_eq!(stamp["after"], look(30.0));
    assert_eq!(refused(site.app(), &order("received"), 404).0, "unknown_template");
    assert_eq!(approve(&first).expect(200).json()["outcome"], "ok");
    stamped(&site, &order("received"));
    assert_eq!(approve(&second).expect(409).json()["code"], "approval_stale");
    assert_eq!(approve(&put(120.0)).expect(200).json()["outcome"], "ok");
    let bad = template(json!({"format": "ofd", "reason": "收讫"}));
    security.send("PUT", &path, Some(&bad)).expect(422);

    // What contains harm waits for nobody; to undo it does.
    let because = json!({"reason": "in the wrong place"});
    security.post(&format!("{path}/disable"), &because).expect(200);
    assert_eq!(refused(site.app(), &order("received"), 403).0, "template_disabled");
    let enabled = security.post(&format!("{path}/enable"), &because).expect(202).json();
    assert_eq!(refused(site.app(), &order("received"), 403).0, "template_disabled");
    assert_eq!(approve(&enabled).expect(200).json()["outcome"], "ok");
    assert_eq!(stamped(&site, &order("received"))["template_version"], 2);
}

#[test]
fn the_command_line_does_the_same() {
    let site = &shared().site;
    let scratch = Scratch::new();
    let run = |arguments: &[&str]| {
        let output = site.command(arguments);
        assert!(output.status.success(), "{arguments:?} {output:?}");
        String::from_utf8(output.stdout).unwrap()
    };
    let toml = "description = \"收讫章\"\n[stamp]\nformat = \"pdf\"\nreason = \"收讫\"\n[stamp.appearance]\ntext = [\"{stamp_id}\"]
        [[stamp.appearance.places]]\nkind = \"rect\"\npages = \"last\"\nleft = 20\ntop = 30\nwidth = 80\nheight = 20\n";
    let file = scratch.write("template.toml", toml);
    let set = ["template", "set", "by-hand", file.to_str().unwrap(), "--reason", "decision"];
    assert!(run(&set).contains("template by-hand is enabled, version 1"));
    let file = scratch.write("template.json", template(look(30.0))["template"].to_string());
    let set =
        ["template", "set", "by-hand", file.to_str().unwrap(), "--reason", "decision", "--replaces", "1"];
    assert!(run(&set).contains("version 2"));
    assert!(!site.command(&set).status.success(), "another version is in force");
    assert!(run(&["template", "list"]).contains("by-hand"));
    let shown = run(&["template", "show", "by-hand", "--version", "1", "--json"]);
    let shown: Value = serde_json::from_str(&shown).unwrap();
    assert_eq!(shown["shown"]["stamp"]["appearance"]["places"][0]["pages"], "last");
    assert!(run(&["template", "disable", "by-hand", "--reason", "worn"]).contains("is disabled"));
    assert!(run(&["template", "enable", "by-hand", "--reason", "mended"]).contains("is enabled"));
    assert!(!site.command(&["template", "show", "a/b"]).status.success());
}
