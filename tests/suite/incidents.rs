//! Incidents (故障事件) from outside: eight steps of which none is left out, clocks, who may do what, those that are the same, and those that
//! a check opens.

use std::collections::BTreeSet;
use std::time::Duration;

use serde_json::{Value, json};
use tests::{Answer, Caller, Folder, Person, Postgres, Site, audit_on, eventually, shared};

const PATH: &str = "/v1/admin/incidents";
const BOUND: Duration = Duration::from_secs(180);
const MARKUP: &str = "<img src=x onerror=\"window.broken=1\"><script>window.broken=1</script>";

fn operator(site: &Site) -> Caller {
    site.app_number(2)
}

fn told(changes: &Value) -> Value {
    let mut told =
        json!({"title": "签名戳返回 503", "description": "十点起签章接口超时", "system": "stamps"});
    for (name, value) in changes.as_object().unwrap() {
        told[name] = value.clone();
    }
    told
}

fn opened(site: &Site, changes: &Value) -> String {
    let opened = operator(site).post(PATH, &told(changes)).expect(201).json();
    assert_eq!(opened["version"], 1);
    opened["id"].as_str().unwrap().to_owned()
}

fn shown(site: &Site, id: &str) -> Value {
    operator(site).get(&format!("{PATH}/{id}")).expect(200).json()
}

/// Makes a step from the version that there is.
fn step(site: &Site, id: &str, step: &str, said: &Value) -> Answer {
    let mut order = said.clone();
    order["step"] = step.into();
    if order.get("version").is_none() {
        order["version"] = shown(site, id)["version"].clone();
    }
    operator(site).post(&format!("{PATH}/{id}/steps"), &order)
}

#[track_caller]
fn refused(answer: &Answer, status: u16, code: &str) {
    assert_eq!((answer.status, &answer.json()["code"]), (status, &json!(code)), "{}", answer.text());
}

fn report() -> Value {
    json!({
        "description": "签章接口超时", "origin": "巡检告警", "cause": "d3 断电", "solution": "恢复供电",
        "responsible": "值班长", "improvement": "双路供电",
    })
}

const EFFECT: fn() -> Value = || json!({"extent": "partial", "data": "safe", "workaround": true});

/// The steps that follow the first, in their order.
fn steps() -> Vec<(&'static str, Value)> {
    vec![
        ("register", json!({"affected": "三个县的窗口"})),
        ("grade", json!({"effect": EFFECT()})),
        ("respond", json!({"way": "remote", "note": "正在查看"})),
        ("investigate", json!({"way": "remote", "cause": "d3 断电"})),
        ("handle", json!({"way": "on_site", "solution": "恢复供电"})),
        ("verify", json!({"passed": true, "how": "自检通过"})),
        ("close", json!({"report": report(), "release": "1.4.2"})),
    ]
}

#[test]
fn an_incident_goes_its_eight_steps_and_leaves_none_out() {
    let site = &shared().site;
    let id = opened(site, &json!({}));
    let first = shown(site, &id);
    assert_eq!(
        (&first["state"], &first["next"], &first["level"]),
        (&json!("accepted"), &json!("register"), &Value::Null)
    );
    assert_eq!(first["resolution"]["allowed_s"], 4 * 3_600, "as of the first level until it is graded");
    for (made, (name, said)) in steps().iter().enumerate() {
        // Whatever does not follow is refused, and changes nothing.
        for (other, (step_name, other_said)) in steps().iter().enumerate() {
            let graded_anew = *step_name == "grade" && (3..=5).contains(&made);
            if other != made && !graded_anew {
                refused(&step(site, &id, step_name, other_said), 409, "incident_step_refused");
            }
        }
        let answer = step(site, &id, name, said).expect(200).json();
        assert_eq!(answer["incident"]["version"], made + 2);
        assert_eq!(answer["incident"]["steps"][made + 1]["step"], *name);
    }
    let closed = shown(site, &id);
    assert_eq!(
        (&closed["state"], &closed["next"], &closed["level"]),
        (&json!("closed"), &Value::Null, &json!(3))
    );
    assert_eq!(
        (&closed["response"]["standing"], &closed["resolution"]["standing"]),
        (&json!("met"), &json!("met"))
    );
    assert_eq!(closed["resolution"]["allowed_s"], 8 * 3_600);
    refused(&step(site, &id, "note", &json!({"note": "late"})), 409, "incident_step_refused");

    // Each step is on record, with what was said.
    let entries = site.audit();
    let about = entries
        .iter()
        .filter(|entry| entry["subject"].as_str().is_some_and(|subject| subject.starts_with(id.as_str())));
    let actions: Vec<_> = about.map(|entry| entry["action"].as_str().unwrap()).collect();
    let wanted = ["accept", "register", "grade", "respond", "investigate", "handle", "verify", "close"];
    assert_eq!(actions, wanted.map(|step| format!("incident.{step}")));

    let page = operator(site).get(&format!("{PATH}/{id}/report")).expect(200);
    assert!(page.header("content-security-policy").starts_with("default-src 'none'"));
    for text in
        ["事件描述", "事件来源", "原因", "解决办法", "责任人", "改进措施", "双路供电", "1.4.2", "三级"]
    {
        assert!(page.text().contains(text), "{text}: {}", page.text());
    }
    let english = operator(site).get(&format!("{PATH}/{id}/report?lang=en")).expect(200).text();
    assert!(english.contains("What will be otherwise"), "{english}");
    let metrics = site.stranger(None).get("/metrics").expect(200).text();
    assert!(metrics.contains("license_gateway_incident_steps_total{step=\"close\"}"), "{metrics}");
}

#[test]
fn what_does_not_hold_is_investigated_anew_and_what_two_do_at_once_one_does() {
    let site = &shared().site;
    let id = opened(site, &json!({"profile": "disaster_recovery"}));
    for (name, said) in &steps()[..5] {
        step(site, &id, name, said).expect(200);
    }
    assert_eq!(shown(site, &id)["resolution"]["standing"], "met");
    step(site, &id, "verify", &json!({"passed": false, "how": "又断了"})).expect(200);
    let again = shown(site, &id);
    assert_eq!((&again["state"], &again["next"]), (&json!("responded"), &json!("investigate")));
    assert_eq!(
        (&again["resolution"]["standing"], &again["resolution"]["allowed_s"]),
        (&json!("running"), &json!(7_200))
    );
    assert_eq!(again["response"]["standing"], "met");
    let version = again["version"].as_u64().unwrap();
    let answers: Vec<Answer> = std::thread::scope(|scope| {
        let id = id.as_str();
        let one = |number| {
            let said = json!({"version": version, "note": format!("{number}")});
            scope.spawn(move || step(site, id, "note", &said))
        };
        let threads = [1, 2, 3, 4].map(one);
        threads.map(|thread| thread.join().unwrap()).into()
    });
    assert_eq!(answers.iter().filter(|answer| answer.status == 200).count(), 1);
    for answer in answers.iter().filter(|answer| answer.status != 200) {
        refused(answer, 409, "incident_changed");
    }
    refused(&step(site, &id, "note", &json!({"version": version, "note": "x"})), 409, "incident_changed");
}

#[test]
fn what_is_said_too_little_or_wrong_is_refused_by_its_field() {
    let site = &shared().site;
    let fields = |answer: &Answer| -> Vec<(String, String)> {
        let document = answer.json();
        let errors = document["errors"].as_array().unwrap_or_else(|| panic!("{document}")).iter();
        let text = |value: &Value| value.as_str().unwrap().to_owned();
        errors.map(|error| (text(&error["field"]), text(&error["code"]))).collect()
    };
    let has = |answer: Answer, field: &str, code: &str| {
        let found = fields(&answer.expect(422));
        assert!(found.contains(&(field.to_owned(), code.to_owned())), "{field} {code}: {found:?}");
    };
    for (change, field) in [
        (json!({"title": ""}), "title"),
        (json!({"title": "x".repeat(101)}), "title"),
        (json!({"description": "a\u{202e}b"}), "description"),
        (json!({"system": "elsewhere"}), "system"),
        (json!({"profile": "fast"}), "profile"),
        (json!({"signature": " "}), "signature"),
        (json!({"occurred_at": "2999-01-01T00:00:00Z"}), "occurred_at"),
    ] {
        has(operator(site).post(PATH, &told(&change)), field, "invalid_value");
    }
    has(
        operator(site).post(PATH, &told(&json!({"occurred_at": "yesterday"}))),
        "occurred_at",
        "invalid_time",
    );
    let id = opened(site, &json!({}));
    has(step(site, &id, "mend", &json!({})), "step", "invalid_value");
    has(step(site, &id, "register", &json!({})), "affected", "missing_field");
    has(step(site, &id, "register", &json!({"affected": "a", "cause": "b"})), "cause", "invalid_value");
    step(site, &id, "register", &json!({"affected": "a"})).expect(200);
    let mut effect = EFFECT();
    effect["extent"] = "most".into();
    has(step(site, &id, "grade", &json!({"effect": effect})), "effect.extent", "invalid_value");
    has(step(site, &id, "grade", &json!({"effect": EFFECT(), "level": 0})), "level", "invalid_value");
    has(
        step(site, &id, "grade", &json!({"effect": EFFECT(), "level": 1})),
        "override_reason",
        "missing_field",
    );
    let grade = json!({"effect": EFFECT(), "level": 1, "override_reason": "明日高考报名"});
    assert_eq!(step(site, &id, "grade", &grade).expect(200).json()["incident"]["level"], 1);
    has(step(site, &id, "respond", &json!({"way": "by mail", "note": "x"})), "way", "invalid_value");
    for (from, until) in
        [("2026-01-02T00:00:00Z", "2026-01-01T00:00:00Z"), ("2000-01-01T00:00:00Z", "2000-01-02T00:00:00Z")]
    {
        let travel = json!({"from": from, "until": until, "reason": "去机房"});
        has(step(site, &id, "travel", &travel), "from", "invalid_value");
    }
    for (name, said) in &steps()[2..6] {
        step(site, &id, name, said).expect(200);
    }
    // The report closes nothing as long as it lacks something.
    for field in ["description", "origin", "cause", "solution", "responsible", "improvement"] {
        let mut said = report();
        said[field] = "".into();
        has(step(site, &id, "close", &json!({"report": said})), &format!("report.{field}"), "invalid_value");
    }
    refused(&operator(site).get(&format!("{PATH}/{id}/report")), 409, "no_incident_report");
    refused(&operator(site).get(&format!("{PATH}/none")), 404, "unknown_incident");
    refused(&operator(site).get(&format!("{PATH}?after=none")), 404, "unknown_incident");
    assert_eq!(operator(site).get(&format!("{PATH}?limit=0")).status, 422);
}

#[test]
fn of_what_is_the_same_one_is_open_and_those_before_it_are_named() {
    let site = &shared().site;
    let same = json!({"signature": "the same again"});
    let first = opened(site, &same);
    let answer = operator(site).post(PATH, &told(&same));
    refused(&answer, 409, "incident_open");
    assert!(answer.json()["detail"].as_str().unwrap().contains(&first), "{}", answer.text());
    for (name, said) in &steps() {
        step(site, &first, name, said).expect(200);
    }
    let second = opened(site, &same);
    assert_eq!(shown(site, &second)["recurs"], json!([first]));
    let listed = operator(site).get(&format!("{PATH}?signature=the+same+again")).expect(200).json();
    // Both may be of one second.
    let ids: BTreeSet<_> =
        listed["items"].as_array().unwrap().iter().map(|item| item["id"].as_str().unwrap()).collect();
    assert_eq!(ids, BTreeSet::from([first.as_str(), second.as_str()]));
    let open = operator(site).get(&format!("{PATH}?signature=the+same+again&state=open")).expect(200).json();
    assert_eq!(open["items"].as_array().unwrap().len(), 1);
}

#[test]
fn who_only_audits_reads_and_who_does_neither_sees_nothing() {
    let site = &shared().site;
    let id = opened(site, &json!({"title": MARKUP}));
    for (name, said) in &steps() {
        step(site, &id, name, said).expect(200);
    }
    for path in [
        PATH.to_owned(),
        format!("{PATH}/{id}"),
        format!("{PATH}/{id}/report"),
        "/v1/admin/service-levels".to_owned(),
    ] {
        refused(&site.app().get(&path), 403, "scope_missing");
        assert_eq!(site.stranger(None).get(&path).status, 401);
    }
    refused(&site.app().post(PATH, &told(&json!({}))), 403, "scope_missing");
    // What somebody typed is text.
    let page = operator(site).get(&format!("{PATH}/{id}/report")).expect(200).text();
    assert!(!page.contains("<img") && page.contains("&lt;img"), "{page}");
    let (_, auditor) = Person::complete(site, "incident-auditor", &["auditor"]);
    auditor.get(&format!("{PATH}/{id}")).expect(200);
    refused(&auditor.post(PATH, &told(&json!({}))), 403, "scope_missing");
}

/// What is late by the clock is told once over all gateways, and counted.
#[test]
fn a_promise_that_is_missed_is_told_once_over_two_gateways_and_counted() {
    let server = Postgres::start();
    let first = Folder::init_on(&server).serve();
    let second = Folder::beside(&first, "second").serve();
    // Both at once, since nobody can wait for an hour: what was accepted two hours ago is overdue for an answer.
    let late = opened(&first, &json!({"title": "late"}));
    let done = opened(&second, &json!({"title": "done"}));
    step(&first, &done, "register", &json!({"affected": "a"})).expect(200);
    step(&second, &done, "grade", &json!({"effect": EFFECT()})).expect(200);
    step(&first, &done, "respond", &json!({"way": "remote", "note": "x"})).expect(200);
    server.query(
        "site_0",
        &format!(
            "SET session_replication_role = replica; -- which is to say: no triggers
             UPDATE incident_steps SET at = at - 7200 WHERE incident = '{late}';
             UPDATE incidents SET accepted_at = accepted_at - 7200 WHERE id = '{late}'"
        ),
    );
    assert_eq!(shown(&first, &late)["response"]["standing"], "overdue");
    let about = || {
        let entries = audit_on(&server, "site_0").into_iter();
        entries.filter(|entry| entry["action"] == "incident.missed").count()
    };
    eventually("it is told", BOUND, || (about() > 0).then_some(()));
    // Both have looked since: each has told how many are open.
    for site in [&first, &second] {
        eventually("it was looked at", BOUND, || {
            let metrics = site.stranger(None).get("/metrics").expect(200).text();
            metrics.contains("license_gateway_incidents_open{level=\"1\"} 1").then_some(())
        });
    }
    assert_eq!(about(), 1);
    let figures = operator(&second).get("/v1/admin/service-levels").expect(200).json();
    assert_eq!((&figures["incidents"], &figures["by_level"]), (&json!(2), &json!([0, 0, 1, 0])));
    assert_eq!(
        (&figures["response"]["met"], &figures["response"]["missed"], &figures["response"]["rate"]),
        (&json!(1), &json!(1), &json!(0.5))
    );
    assert_eq!(
        (&figures["response"]["on_target"], &figures["resolution"]["open"]),
        (&json!(false), &json!(2))
    );
    let of_devices = operator(&second).get("/v1/admin/service-levels?system=devices").expect(200).json();
    assert_eq!((&of_devices["incidents"], &of_devices["response"]["rate"]), (&json!(0), &Value::Null));
}

/// A device that does not answer is found by each inspection, and has one incident open as long as it is so.
#[test]
fn what_an_inspection_finds_opens_one_incident_until_it_is_closed() {
    let site = Folder::init().serve();
    site.fault("d3", "unreachable = true");
    let app = site.app().clone();
    eventually("d3 is down", BOUND, || {
        let body = json!({"key": "demo-sm2", "algorithm": "sm2-sm3", "input": {"data": "aGVsbG8="}, "format": "raw"});
        app.post("/v1/signatures", &body).expect(201);
        (site.device_state("d3") == "down").then_some(())
    });
    let inspect = || {
        // They begin a minute apart.
        eventually("an inspection begins", BOUND, || {
            let begun = operator(&site).post("/v1/admin/inspections", &json!({"reason": "检查"}));
            (begun.status == 202).then_some(())
        });
    };
    let open = || {
        let listed = operator(&site).get(&format!("{PATH}?system=devices&state=open")).expect(200).json();
        let mut items = listed["items"].as_array().unwrap().iter();
        items.find(|item| item["signature"] == "inspection device.state d3").cloned()
    };
    inspect();
    let found = eventually("an incident was opened", BOUND, open);
    assert_eq!((&found["source"], &found["profile"]), (&json!("alarm"), &json!("standard")), "{found:#}");
    let id = found["id"].as_str().unwrap();
    let first = shown(&site, id);
    assert_eq!((&first["steps"][0]["actor"], &first["seen"]), (&json!("gateway"), &json!(0)));
    assert!(first["description"].as_str().unwrap().contains("device.state [d3]"), "{first:#}");

    // It is found again as it was: the same one. Closed and not mended, it is opened again.
    inspect();
    eventually("it was seen again", BOUND, || (shown(&site, id)["seen"] == 1).then_some(()));
    for (name, said) in &steps() {
        step(&site, id, name, said).expect(200);
    }
    inspect();
    let again = eventually("another one was opened", BOUND, open);
    assert_eq!(again["recurs"], json!([id]));
}

#[test]
fn the_command_tells_of_an_incident_and_takes_it_to_its_end() {
    let site = &shared().site;
    let run = |arguments: &[&str]| -> String {
        let output = site.command(&[&["incident"], arguments].concat());
        assert!(output.status.success(), "{arguments:?}: {}", String::from_utf8_lossy(&output.stderr));
        String::from_utf8(output.stdout).unwrap()
    };
    let opened: Value = serde_json::from_str(&run(&[
        "open",
        "--title",
        "库前置变慢",
        "--description",
        "查询要三秒",
        "--system",
        "library_front",
        "--json",
    ]))
    .unwrap();
    let id = opened["id"].as_str().unwrap();
    let said = run(&["step", id, "register", "--affected", "所有接入系统"]);
    assert!(said.contains("grade comes next"), "{said}");
    run(&["step", id, "grade", "--extent", "degraded", "--workaround"]);
    run(&["step", id, "respond", "--way", "remote", "--note", "正在处理"]);
    run(&["step", id, "investigate", "--way", "remote", "--cause", "索引缺失"]);
    run(&["step", id, "handle", "--way", "remote", "--solution", "重建索引"]);
    run(&["step", id, "verify", "--how", "查询 40 毫秒"]);
    let output = site.command(&["incident", "step", id, "close", "--description", "a"]);
    assert_eq!(output.status.code(), Some(1));
    assert!(String::from_utf8_lossy(&output.stderr).contains("report.origin"), "{output:?}");
    let closed = run(&[
        "step",
        id,
        "close",
        "--description",
        "a",
        "--origin",
        "b",
        "--cause",
        "c",
        "--solution",
        "d",
        "--responsible",
        "e",
        "--improvement",
        "f",
    ]);
    assert!(closed.contains("closed, response met, resolution met"), "{closed}");
    assert!(run(&["list", "--system", "library_front"]).contains("库前置变慢"));
    assert!(run(&["show", id]).contains("重建索引"));
    assert!(run(&["figures"]).contains("RATE"));
    assert_eq!(site.command(&["incident", "show", "none"]).status.code(), Some(1));
}
