//! What apps may sign: every limit binds by itself, a day's count holds over replicas, restarts and crashes, and what
//! was altered lets nothing through.

use std::process::Command;
use std::sync::Barrier;
use std::time::Duration;

use serde_json::{Value, json};
use tests::{Answer, Caller, Folder, Postgres, Ran, Scratch, Site, base64, eventually};

const SOON: Duration = Duration::from_secs(60);
/// The app that the sandbox's first API key belongs to.
const APP: &str = "sandbox-registration";
const PATH: &str = "/v1/admin/policies/sandbox-registration";

fn put(site: &Site, body: &Value) -> Answer {
    let json = [("content-type", "application/json")];
    site.app_number(2).send("PUT", PATH, &json, Some(body.to_string().as_bytes()))
}

#[track_caller]
fn set(site: &Site, rules: Value) -> Value {
    put(site, &json!({"rules": rules, "reason": "as agreed"})).expect(200).json()
}

fn order() -> Value {
    json!({"key": "demo-sm2", "algorithm": "sm2-sm3", "input": {"data": base64(&[7; 40])}})
}

fn with(changes: Value) -> Value {
    let mut body = order();
    for (name, value) in changes.as_object().unwrap() {
        body[name] = value.clone();
    }
    body
}

fn sign(app: &Caller) -> Answer {
    app.post("/v1/signatures", &order())
}

fn sql(folder: &Folder, statement: &str) {
    let mut sqlite = Command::new("sqlite3");
    Ran::of(sqlite.arg(folder.data().join("gateway.db")).arg(statement)).expect(statement);
}

#[test]
fn each_limit_refuses_by_itself_with_its_code_and_the_rules_name() {
    let site = Site::start();
    let app = site.app();
    let cms = with(json!({"format": "cms", "detached": true}));
    let digest = with(json!({"input": {"digest": base64(&[7; 32])}}));
    let days = ["mon", "tue", "wed", "thu", "fri", "sat", "sun"];
    let today = {
        let body = json!({"app": APP, "key": "demo-sm2", "algorithm": "sm2-sm3"});
        let shown = site.app_number(2).post("/v1/admin/policies:evaluate", &body).expect(200).json();
        assert!(shown["local_time"].as_str().unwrap().ends_with("+08:00"), "{shown}");
        let date = shown["local_time"].as_str().unwrap()[..10].to_owned();
        let mut weekday = Command::new("date");
        let ran = Ran::of(weekday.args(["-u", "-d", &date, "+%u"])).expect("date");
        ran.text.trim().parse::<usize>().unwrap() - 1
    };
    // So many days away that it is another day, also if midnight comes in between.
    let other = |span: Value| json!([{"days": [days[(today + 3) % 7]], "from": span[0], "to": span[1]}]);
    for (limit, refused, permitted, code) in [
        (json!({"algorithms": ["ecdsa-p256-sha256", "rsa-pss-sha256"]}), order(), None, "policy_algorithm"),
        (json!({"formats": ["cms"]}), order(), Some(cms.clone()), "policy_format"),
        (json!({"formats": ["raw"]}), cms.clone(), Some(order()), "policy_format"),
        (json!({"detached": false}), cms.clone(), Some(with(json!({"format": "cms"}))), "policy_detached"),
        (json!({"detached": true}), with(json!({"format": "cms"})), Some(order()), "policy_detached"),
        (json!({"inputs": ["digest"]}), order(), Some(digest.clone()), "policy_input"),
        (json!({"inputs": ["data"]}), digest.clone(), Some(order()), "policy_input"),
        (json!({"max_octets": 39}), order(), Some(digest.clone()), "policy_size"),
        (json!({"times": other(json!(["00:00", "24:00"]))}), order(), None, "policy_time"),
        (json!({"not_before": "2099-01-01T00:00:00Z"}), order(), None, "policy_validity"),
        (json!({"not_after": "2020-01-01T00:00:00Z"}), order(), None, "policy_validity"),
    ] {
        let mut rule = limit.clone();
        rule["name"] = json!("window");
        rule["keys"] = json!(["demo-sm2"]);
        set(&site, json!([rule, {"name": "rest"}]));
        let problem = app.post("/v1/signatures", &refused).expect(403).json();
        assert_eq!(problem["code"], code, "{limit}: {problem}");
        assert!(problem["detail"].as_str().unwrap().contains("rule window"), "{problem}");
        let batch =
            json!({"items": [refused, with(json!({"key": "demo-p256", "algorithm": "ecdsa-p256-sha256"}))]});
        let batch = app.post("/v1/signatures:batch", &batch).expect(200).json();
        assert_eq!(batch["items"][0]["problem"]["code"], code, "{limit}: {batch}");
        assert_eq!(batch["items"][0]["problem"]["status"], 403);
        assert!(batch["items"][0]["audit_record"].as_str().unwrap().contains(code), "{batch}");
        assert!(batch["items"][1]["signature"].is_string(), "another rule speaks of that key: {batch}");
        if let Some(permitted) = permitted {
            app.post("/v1/signatures", &permitted).expect(201);
        }
    }
    set(
        &site,
        json!([{"name": "always", "times": [{"from": "00:00", "to": "24:00"}], "max_octets": 40,
        "formats": ["raw", "cms"], "algorithms": ["sm2-sm3"], "inputs": ["data", "digest"]}]),
    );
    sign(app).expect(201);
    set(&site, json!([]));
    sign(app).expect(201);
    eventually("refusals are on record", SOON, || {
        let audit = site.audit();
        let codes = ["policy_algorithm", "policy_time", "policy_validity", "policy_size"];
        let on_record = |code: &&str| {
            let of_app = |entry: &&Value| entry["actor"] == APP && entry["outcome"] == **code;
            audit.iter().find(of_app).is_some()
        };
        codes.iter().all(on_record).then_some(())
    });
}

#[test]
fn versions_are_kept_with_who_and_why_and_a_change_to_another_version_is_refused() {
    let site = Site::start();
    let admin = site.app_number(2);
    assert_eq!(admin.get(PATH).expect(200).json()["state"], "none");
    assert_eq!(admin.get("/v1/admin/policies").expect(200).json()["items"], json!([]));
    let one = set(&site, json!([{"name": "one", "per_day": 5}]));
    assert_eq!((&one["version"], &one["state"]), (&json!(1), &json!("in_force")));
    let two =
        put(&site, &json!({"rules": [{"name": "two"}], "replaces": 1, "reason": "more"})).expect(200).json();
    assert_eq!((&two["version"], &two["actor"]), (&json!(2), &json!("sandbox-operations")));
    for replaces in [0, 1, 3] {
        let late = json!({"rules": [], "replaces": replaces, "reason": "late"});
        assert_eq!(put(&site, &late).expect(409).json()["code"], "policy_changed", "{replaces}");
    }
    let history = admin.get(&format!("{PATH}/history")).expect(200).json();
    let versions: Vec<_> = history["items"].as_array().unwrap().iter().map(|item| &item["version"]).collect();
    assert_eq!(versions, [2, 1]);
    assert_eq!(
        (&history["items"][1]["state"], &history["items"][0]["reason"]),
        (&json!("replaced"), &json!("more"))
    );
    assert_eq!(history["items"][1]["rules"], json!([{"name": "one", "keys": [], "per_day": 5}]));
    assert_eq!(admin.get("/v1/admin/policies").expect(200).json()["items"][0]["version"], 2);
    let acts: Vec<_> = site.audit().into_iter().filter(|entry| entry["action"] == "policy.set").collect();
    let outcomes: Vec<_> = acts.iter().map(|entry| entry["outcome"].as_str().unwrap()).collect();
    let refused = ["intended", "policy_changed"].repeat(3);
    assert_eq!(outcomes, [&["intended", "ok", "intended", "ok"][..], &refused].concat());
    assert_eq!(acts[1]["subject"], "sandbox-registration: version 1 rules [one]: as agreed");

    // A change of the app leaves its policy.
    let body = json!({"name": "x", "scopes": ["signatures"], "keys": ["demo-sm2"], "reason": "less"});
    let json = [("content-type", "application/json")];
    let path = format!("/v1/admin/apps/{APP}");
    admin.send("PUT", &path, &json, Some(body.to_string().as_bytes())).expect(200);
    assert_eq!(admin.get(PATH).expect(200).json()["version"], 2);
}

#[test]
fn rules_that_are_none_are_refused_with_every_fault() {
    let site = tests::shared();
    let site = &site.site;
    let cases = [
        (json!([{"name": "a b"}]), "rules[0].name", "invalid_value"),
        (json!([{"name": "a", "keys": ["none"]}]), "rules[0].keys", "unknown_key"),
        (json!([{"name": "a", "keys": ["front-sm2"]}]), "rules[0].keys", "key_not_permitted"),
        (json!([{"name": "a", "keys": ["网"]}]), "rules[0].keys", "invalid_value"),
        (json!([{"name": "a", "formats": ["docx"]}]), "rules[0].formats", "invalid_value"),
        (json!([{"name": "a", "formats": []}]), "rules[0].formats", "invalid_value"),
        (json!([{"name": "a", "algorithms": ["md5"]}]), "rules[0].algorithms", "invalid_value"),
        (json!([{"name": "a", "max_octets": 0}]), "rules[0].max_octets", "invalid_value"),
        (json!([{"name": "a", "per_day": 0}]), "rules[0].per_day", "invalid_value"),
        (json!([{"name": "a", "times": []}]), "rules[0].times", "invalid_value"),
        (
            json!([{"name": "a", "times": [{"from": "8:00", "to": "9:00"}]}]),
            "rules[0].times[0].from",
            "invalid_time",
        ),
        (
            json!([{"name": "a", "times": [{"from": "18:00", "to": "08:00"}]}]),
            "rules[0].times[0]",
            "invalid_value",
        ),
        (
            json!([{"name": "a", "times": [{"days": ["mo"], "from": "08:00", "to": "09:00"}]}]),
            "rules[0].times[0].days",
            "invalid_value",
        ),
        (json!([{"name": "a", "not_after": "tomorrow"}]), "rules[0].not_after", "invalid_time"),
        (json!([{"name": "a", "colour": 1}]), "rules[0].colour", "unknown_field"),
        (json!([["a"]]), "rules[0]", "invalid_type"),
        (json!([{"name": "a", "keys": ["demo-sm2"]}, {"name": "a"}]), "rules", "duplicate_name"),
        (json!([{"name": "a"}, {"name": "b"}]), "rules", "ambiguous_rules"),
        (
            json!([{"name": "a", "keys": ["demo-sm2"]}, {"name": "b", "keys": ["demo-sm2"]}]),
            "rules",
            "ambiguous_rules",
        ),
        (json!(vec![json!({"name": "a"}); 33]), "rules", "invalid_value"),
    ];
    for (rules, field, code) in cases {
        let answer = put(site, &json!({"rules": rules, "reason": "test"})).expect(422).json();
        let errors = answer["errors"].as_array().unwrap();
        let told = errors.iter().any(|error| error["field"] == field && error["code"] == code);
        assert!(told, "{rules}: {answer}");
    }
    let body = json!({"rules": [], "reason": "test"});
    let json = [("content-type", "application/json")];
    for path in ["/v1/admin/policies/none", "/v1/admin/policies/n%20o"] {
        let answer = site.app_number(2).send("PUT", path, &json, Some(body.to_string().as_bytes()));
        assert_eq!(answer.expect(404).json()["code"], "unknown_app", "{path}");
    }
    let business = site.app();
    for answer in [business.get(PATH), business.send("PUT", PATH, &json, Some(body.to_string().as_bytes()))] {
        assert_eq!(answer.expect(403).json()["code"], "scope_missing");
    }
}

#[test]
fn a_days_count_holds_through_stops_and_kills_and_what_failed_does_not_count() {
    let folder = Folder::init();
    folder.at_noon();
    let site = folder.serve();
    set(&site, json!([{"name": "few", "keys": ["demo-sm2"], "per_day": 4}]));
    sign(site.app()).expect(201);
    let site = site.kill().serve();
    sign(site.app()).expect(201);
    // The key cannot do this: nothing was signed.
    site.app().post("/v1/signatures", &with(json!({"algorithm": "ecdsa-p256-sha256"}))).expect(422);
    let (folder, _) = site.stop();
    let site = folder.serve();
    let batch = json!({"items": vec![order(); 4]});
    let batch = site.app().post("/v1/signatures:batch", &batch).expect(200).json();
    let codes: Vec<_> =
        batch["items"].as_array().unwrap().iter().map(|item| &item["problem"]["code"]).collect();
    assert_eq!(codes, [&Value::Null, &Value::Null, &json!("policy_count"), &json!("policy_count")]);
    let problem = sign(site.app()).expect(403).json();
    assert_eq!(
        (&problem["code"], &problem["errors"][0]["code"]),
        (&json!("policy_count"), &json!("policy_count"))
    );
    let body = json!({"app": APP, "key": "demo-sm2", "algorithm": "sm2-sm3"});
    let shown = site.app_number(2).post("/v1/admin/policies:evaluate", &body).expect(200).json();
    assert_eq!(
        (&shown["decision"], &shown["used"], &shown["per_day"]),
        (&json!("refuse"), &json!(4), &json!(4))
    );
    // Another key has no such limit.
    site.app()
        .post("/v1/signatures", &with(json!({"key": "demo-p256", "algorithm": "ecdsa-p256-sha256"})))
        .expect(201);
}

#[test]
fn a_policy_set_at_one_replica_binds_the_other_and_a_count_is_exact_over_both() {
    const LIMIT: usize = 25;
    let server = Postgres::start();
    let folder = Folder::init_on(&server);
    folder.at_noon();
    let first = folder.serve();
    let second = Folder::beside(&first, "second").serve();
    set(&first, json!([{"name": "none", "formats": ["cms"]}]));
    let key = first.sandbox()["apps"][0]["api_key"].as_str().unwrap().to_owned();
    let apps = [&first, &second].map(|site| Caller::new(site.base(), Some(&key)));
    eventually("the other one refuses it", SOON, || (sign(&apps[1]).status == 403).then_some(()));
    assert_eq!(sign(&apps[0]).expect(403).json()["code"], "policy_format");

    set(&second, json!([{"name": "few", "per_day": LIMIT}]));
    eventually("the first has heard of it", SOON, || {
        let shown = first.app_number(2).get(PATH).expect(200).json();
        (shown["version"] == 2).then_some(())
    });
    let start = Barrier::new(8);
    let signed: usize = std::thread::scope(|scope| {
        let threads: Vec<_> = (0..8)
            .map(|number| {
                let (app, start) = (apps[number % 2].clone(), &start);
                scope.spawn(move || {
                    start.wait();
                    (0..LIMIT).filter(|_| sign(&app).status == 201).count()
                })
            })
            .collect();
        threads.into_iter().map(|thread| thread.join().unwrap()).sum()
    });
    assert_eq!(signed, LIMIT);
    drop((first, second));
    drop(server);
}

#[test]
fn a_policy_that_was_altered_removed_or_put_back_lets_nothing_through() {
    let site = Site::start();
    set(&site, json!([{"name": "old", "formats": ["raw"]}]));
    set(&site, json!([{"name": "new", "formats": ["cms"]}]));
    let (mut folder, _) = site.stop();
    const UNGUARD: &str = "DROP TRIGGER IF EXISTS signing_policies_are_fixed; DROP TRIGGER IF EXISTS signing_policies_no_delete;";
    let kept = folder.data().join("kept.db");
    std::fs::copy(folder.data().join("gateway.db"), &kept).unwrap();
    for (alter, status, code) in [
        ("UPDATE signing_policies SET rules = '[]' WHERE version = 2", 503, "data_altered"),
        ("UPDATE signing_policies SET actor = 'somebody' WHERE version = 2", 503, "data_altered"),
        ("DELETE FROM signing_policies WHERE version = 2", 503, "data_altered"),
        ("DELETE FROM signing_policies", 503, "data_altered"),
        // The app's row says which version holds, under its own code.
        ("UPDATE apps SET policy = 1 WHERE id = 'sandbox-registration'", 401, "api_key_invalid"),
        ("UPDATE apps SET policy = NULL WHERE id = 'sandbox-registration'", 401, "api_key_invalid"),
    ] {
        sql(&folder, &format!("{UNGUARD} {alter};"));
        let site = folder.serve();
        assert_eq!(sign(site.app()).expect(status).json()["code"], code, "{alter}");
        if status == 503 {
            let shown = site.app_number(2).get(PATH).expect(200).json();
            assert_eq!(shown["state"], "unusable", "{alter}");
        }
        folder = site.stop().0;
        for name in ["gateway.db-wal", "gateway.db-shm"] {
            let _ = std::fs::remove_file(folder.data().join(name));
        }
        std::fs::copy(&kept, folder.data().join("gateway.db")).unwrap();
    }
    // What became unusable is mended by setting it anew.
    sql(&folder, &format!("{UNGUARD} UPDATE signing_policies SET rules = '[]' WHERE version = 2;"));
    let site = folder.serve();
    sign(site.app()).expect(503);
    assert_eq!(set(&site, json!([{"name": "newest"}]))["version"], 3);
    sign(site.app()).expect(201);
}

#[test]
fn where_the_site_refuses_what_no_rule_speaks_of_each_key_needs_one() {
    let folder = Folder::init();
    folder.configure("[site]\n", "[policy]\ndefault = \"refuse\"\n[site]\nutc_offset = \"-03:30\"\n");
    let site = folder.serve();
    let problem = sign(site.app()).expect(403).json();
    assert_eq!((&problem["code"], &problem["errors"][0]["field"]), (&json!("policy_no_rule"), &json!("key")));
    set(&site, json!([{"name": "one", "keys": ["demo-p256"]}]));
    assert_eq!(sign(site.app()).expect(403).json()["code"], "policy_no_rule");
    set(&site, json!([{"name": "one", "keys": ["demo-sm2"]}]));
    sign(site.app()).expect(201);
    let body = json!({"app": APP, "key": "demo-p256", "algorithm": "ecdsa-p256-sha256", "at": "2026-05-06T02:00:00Z"});
    let shown = site.app_number(2).post("/v1/admin/policies:evaluate", &body).expect(200).json();
    assert_eq!((&shown["decision"], &shown["by"]), (&json!("refuse"), &json!("default")));
    assert_eq!(shown["local_time"], "2026-05-05T22:30:00-03:30");
    // The file changes it without a restart.
    site.configure(&[("default = \"refuse\"", "default = \"permit\"")]);
    site.app_number(2).post("/v1/admin/config:reload", &json!({})).expect(200);
    site.app()
        .post("/v1/signatures", &with(json!({"key": "demo-p256", "algorithm": "ecdsa-p256-sha256"})))
        .expect(201);
}

#[test]
fn the_command_sets_shows_and_tries_policies_and_a_trial_changes_nothing() {
    let (site, scratch) = (Site::start(), Scratch::new());
    let ran = |arguments: &[&str]| {
        let output = site.command(&[&["policy"], arguments, &["--json"]].concat());
        let text = String::from_utf8_lossy(&output.stdout).into_owned();
        (output.status.success(), serde_json::from_str::<Value>(&text).unwrap_or_else(|_| json!(text)))
    };
    let rules = json!([{"name": "office", "keys": ["demo-sm2"], "per_day": 2,
        "times": [{"days": ["mon", "tue", "wed", "thu", "fri"], "from": "08:30", "to": "18:00"}]}]);
    let file = scratch.write("rules.json", rules.to_string());
    let file = file.to_str().unwrap();
    let evaluate = ["evaluate", APP, "--key", "demo-sm2", "--algorithm", "sm2-sm3"];
    // A Wednesday and a Saturday, 10:00 in the site's time.
    for (at, decision) in [("2026-05-06T02:00:00Z", "permit"), ("2026-05-09T02:00:00Z", "refuse")] {
        let (ok, shown) = ran(&[&evaluate[..], &["--rules", file, "--at", at]].concat());
        assert!(ok && shown["decision"] == decision && shown["rule"] == "office", "{shown}");
        let (_, shown) = ran(&[&evaluate[..], &["--at", at]].concat());
        assert_eq!(
            (&shown["decision"], &shown["by"]),
            (&json!("permit"), &json!("default")),
            "not in force yet"
        );
    }
    let (ok, shown) = ran(&["set", APP, file, "--reason", "office hours", "--replaces", "0"]);
    assert!(ok && shown["version"] == 1, "{shown}");
    for _ in 0..5 {
        let (_, shown) = ran(&[&evaluate[..], &["--at", "2026-05-06T02:00:00Z"]].concat());
        assert_eq!(
            (&shown["decision"], &shown["used"]),
            (&json!("permit"), &json!(0)),
            "a trial counts for nothing"
        );
    }
    let (_, shown) = ran(&["evaluate", APP, "--key", "front-sm2", "--algorithm", "sm2-sm3"]);
    assert_eq!((&shown["by"], &shown["errors"][0]["code"]), (&json!("keys"), &json!("key_not_permitted")));
    let (ok, refused) = ran(&["set", APP, file, "--reason", "again", "--replaces", "0"]);
    assert!(!ok && refused["code"] == "policy_changed", "{refused}");
    assert_eq!(ran(&["show", APP]).1["rules"], rules);
    assert_eq!(ran(&["history", APP]).1["items"].as_array().unwrap().len(), 1);
    assert_eq!(ran(&["list"]).1["items"][0]["app"], APP);
    let output = site.command(&["policy", "list"]);
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    assert!(text.contains("office hours") && text.contains("unix:"), "{text}");
}
