//! Usage statistics (应用情况统计): counted from the audit log, the same when they are counted again, and seen by whom they concern.

use std::collections::BTreeMap;
use std::process::Command;
use std::time::Duration;

use serde_json::{Value, json};
use tests::{Caller, Ran, Site, eventually};

const SOON: Duration = Duration::from_secs(60);

/// The counts by app, action and result, as who asks sees them.
fn counts(caller: &Caller, query: &str) -> BTreeMap<String, u64> {
    let told = caller.get(&format!("/v1/usage?by=app,action,result{query}")).expect(200).json();
    assert_eq!(told["next"], Value::Null);
    let items = told["items"].as_array().unwrap().iter();
    let name =
        |item: &Value| ["app", "action", "result"].map(|member| item[member].as_str().unwrap().to_owned());
    items.map(|item| (name(item).join(" "), item["uses"].as_u64().unwrap())).collect()
}

/// Until nothing of the log is left uncounted but what looking itself adds.
fn all_counted(auditor: &Caller, wanted: impl Fn(&BTreeMap<String, u64>) -> bool) -> BTreeMap<String, u64> {
    eventually("what was used is counted", SOON, || {
        let counts = counts(auditor, "");
        wanted(&counts).then_some(counts)
    })
}

#[test]
fn what_apps_did_is_counted_from_the_log_and_comes_out_the_same_again() {
    let site = Site::start();
    let (auditor, app, other) = (site.app_number(2), site.app(), site.app_number(1));
    let (id, other_id) = (
        site.sandbox()["apps"][0]["id"].as_str().unwrap().to_owned(),
        site.sandbox()["apps"][1]["id"].as_str().unwrap().to_owned(),
    );
    let license = site.sandbox()["licenses"][0].as_str().unwrap().to_owned();
    for _ in 0..3 {
        app.get(&format!("/v1/licenses/{license}/face")).expect(200);
    }
    app.get("/v1/licenses/91440300708461136T/face").expect(404);
    other.get(&format!("/v1/licenses/{license}/status")).expect(200);
    let item = |digest: &str| json!({"key": "demo-sm2", "algorithm": "sm2-sm3", "format": "raw", "input": {"digest": digest}});
    let (good, bad) = ("A".repeat(43) + "=", "AA==".to_owned());
    let items = [item(&good), item(&good), item(&bad)];
    app.post("/v1/signatures:batch", &json!({"items": items})).expect(200);
    app.get("/v1/licenses/no-such-code/face").expect(422);

    let wanted = BTreeMap::from([
        (format!("{id} license.face ok"), 3),
        (format!("{id} license.face license_unknown"), 1),
        (format!("{id} signature.batch ok"), 2),
        (format!("{id} signature.batch not_signed"), 1),
        (format!("{other_id} license.status ok"), 1),
    ]);
    let found = all_counted(&auditor, |counts| {
        let refused =
            counts.iter().any(|(name, uses)| name.starts_with(&format!("{id} request.refused")) && *uses > 0);
        refused && wanted.iter().all(|(name, uses)| counts.get(name) == Some(uses))
    });

    // Who looks at it otherwise finds the same: entry by entry, as an auditor would.
    let faces =
        site.audit().into_iter().filter(|entry| entry["action"] == "license.face" && entry["actor"] == *id);
    let by_outcome = faces.fold(BTreeMap::<String, u64>::new(), |mut sums, entry| {
        *sums.entry(format!("{id} license.face {}", entry["outcome"].as_str().unwrap())).or_default() += 1;
        sums
    });
    for (name, uses) in &by_outcome {
        assert_eq!(found.get(name), Some(uses), "{name}");
    }
    let again = site.command(&["audit", "recount", "--json"]);
    assert_eq!(again.status.code(), Some(0), "{again:?}");
    let again: Value = serde_json::from_slice(&again.stdout).unwrap();
    assert_eq!((&again["differing"], &again["since"]), (&json!(0), &Value::Null), "{again}");
    assert!(again["uses"].as_u64().unwrap() >= found.values().sum(), "{again} {found:?}");

    // An app sees its own, and nothing of others.
    let own = counts(&other, "");
    assert!(own.keys().all(|name| name.starts_with(&format!("{other_id} "))), "{own:?}");
    assert_eq!(own.get(&format!("{other_id} license.status ok")), Some(&1));
    let refused = other.get(&format!("/v1/usage?app={id}"));
    assert_eq!((refused.status, &refused.json()["code"]), (403, &json!("scope_missing")));
    assert_eq!(other.get("/v1/usage").expect(200).json()["logs"], json!([]));
    let logs = auditor.get("/v1/usage").expect(200).json()["logs"].clone();
    assert_eq!(logs.as_array().unwrap().len(), 1);
    assert!(logs[0]["counted"].as_u64() <= logs[0]["entries"].as_u64());

    // Where the holder is registered, and nothing where nobody asked for that.
    let faces = "/v1/usage?by=region&action=license.&result=ok";
    let regions = auditor.get(faces).expect(200).json();
    assert_eq!(regions["items"], json!([{"region": license[2..8], "uses": 4}]));
    let elsewhere = auditor.get(&format!("{faces}&region=99")).expect(200).json();
    assert_eq!(elsewhere["items"], json!([]));
    let page = auditor.get("/v1/usage?by=app,action,result&limit=1").expect(200).json();
    assert_eq!((page["items"].as_array().unwrap().len(), &page["next"]), (1, &json!("1")));
    for (query, field) in [
        ("from=2026-13-01", "from"),
        ("to=today", "to"),
        ("by=colour", "by"),
        ("region=1", "region"),
        ("limit=1001", "limit"),
        ("cursor=x", "cursor"),
    ] {
        let refused = auditor.get(&format!("/v1/usage?{query}"));
        assert_eq!((refused.status, &refused.json()["code"]), (422, &json!("invalid_value")), "{query}");
        assert_eq!(refused.json()["errors"][0]["field"], field, "{query}");
    }

    // For people at the machine, and for spreadsheets.
    let shown = site.command(&["usage", "--action", "license.", "--by", "app,result"]);
    let shown = String::from_utf8(shown.stdout).unwrap();
    assert!(shown.lines().next().unwrap().split_whitespace().eq(["APP", "RESULT", "USES"]), "{shown}");
    assert!(
        shown.lines().any(|line| line.split_whitespace().eq([id.as_str(), "license_unknown", "1"])),
        "{shown}"
    );
    let sheet = site.command(&["usage", "--action", "license.", "--by", "app,result", "--csv"]);
    let sheet = String::from_utf8(sheet.stdout).unwrap();
    assert_eq!(sheet.lines().next(), Some("app,result,uses"));
    assert!(sheet.contains(&format!("{id},ok,3\n")), "{sheet}");
}

#[test]
fn a_count_that_somebody_changed_is_found_by_counting_again() {
    let site = Site::start();
    let (auditor, license) = (site.app_number(2), site.sandbox()["licenses"][0].as_str().unwrap().to_owned());
    site.app().get(&format!("/v1/licenses/{license}/face")).expect(200);
    let name = format!("{} license.face ok", site.sandbox()["apps"][0]["id"].as_str().unwrap());
    all_counted(&auditor, |counts| counts.contains_key(&name));
    let (folder, _) = site.stop();
    let database = folder.data().join("gateway.db");
    let change = "UPDATE usage_counts SET uses = 40 WHERE action = 'license.face'";
    Ran::of(Command::new("sqlite3").arg(&database).arg(change)).expect("sqlite3 writes");
    let site = folder.serve();
    let again = site.command(&["audit", "recount", "--json"]);
    assert_eq!(again.status.code(), Some(1), "{again:?}");
    let again: Value = serde_json::from_slice(&again.stdout).unwrap();
    assert_eq!(again["differing"], 1);
    let difference = &again["differences"][0];
    assert_eq!((&difference["counted"], &difference["recounted"]), (&json!(40), &json!(1)), "{again}");
    assert_eq!(difference["region"], license[2..8]);
    let said = site.command(&["audit", "recount"]);
    assert!(String::from_utf8(said.stdout).unwrap().contains("1 counts differ from the log"));
}
