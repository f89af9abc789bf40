//! Inspections (巡检) from outside: what is found, who may ask, what it costs, that a schedule's are made once, and the console.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::process::Command;
use std::time::Duration;

use serde_json::{Value, json};
use tests::{Browser, Caller, Folder, Person, Postgres, SignedIn, Site, base64, eventually, now};

const PATH: &str = "/v1/admin/inspections";
/// An inspection of nine devices is made in seconds; machines under load take their time.
const PATIENCE: Duration = Duration::from_secs(180);
const MARKUP: &str = "<img src=x onerror=\"window.broken=1\"><script>window.broken=1</script>";

fn operator(site: &Site) -> Caller {
    site.app_number(2)
}

/// An inspection that has ended.
fn ended(site: &Site, id: &str) -> Value {
    let operator = operator(site);
    eventually("the inspection has ended", PATIENCE, || {
        let one = operator.get(&format!("{PATH}/{id}")).expect(200).json();
        (one["state"] != "running").then_some(one)
    })
}

fn inspected(site: &Site, reason: &str) -> Value {
    let begun = operator(site).post(PATH, &json!({"reason": reason})).expect(202).json();
    assert_eq!(begun["state"], "running");
    let one = ended(site, begun["id"].as_str().unwrap());
    assert_eq!(one["state"], "done", "{one:#}");
    one
}

/// The grades of a check, by subject.
fn grades(inspection: &Value, code: &str) -> BTreeMap<String, String> {
    let checks = inspection["checks"].as_array().unwrap().iter().filter(|check| check["code"] == code);
    let grade = |check: &Value| {
        (check["subject"].as_str().unwrap().to_owned(), check["grade"].as_str().unwrap().to_owned())
    };
    checks.map(grade).collect()
}

fn with_key(folder: &Folder, more: &str) {
    folder.configure("[site]\n", &format!("[inspections]\nkey = \"demo-sm2\"\n{more}[site]\n"));
}

#[test]
fn an_inspection_finds_what_is_wrong_and_costs_the_devices_next_to_nothing() {
    let folder = Folder::init();
    with_key(&folder, "");
    let site = folder.serve();
    // Devices that sign show that they are there; one does not answer.
    site.fault("d3", "unreachable = true");
    let app = site.app().clone();
    eventually("d3 is down", PATIENCE, || {
        let body = json!({"key": "demo-sm2", "algorithm": "sm2-sm3", "input": {"data": "aGVsbG8="}, "format": "raw"});
        app.post("/v1/signatures", &body).expect(201);
        (site.device_state("d3") == "down").then_some(())
    });
    let one = inspected(&site, "换班前检查");
    assert_eq!((one["grade"].as_str(), one["occasion"].as_str()), (Some("abnormal"), Some("on_demand")));

    let all: BTreeSet<String> = (1..=9).map(|device| format!("d{device}")).collect();
    let state = grades(&one, "device.state");
    assert_eq!(state.keys().cloned().collect::<BTreeSet<_>>(), all);
    assert_eq!(state["d3"], "abnormal", "{one:#}");
    for code in
        ["device.state", "device.key_drift", "device.sm2", "device.sm3", "device.sm4", "device.self_test"]
    {
        let found = grades(&one, code);
        for device in all.iter().filter(|device| *device != "d3") {
            assert_eq!(found[device], "ok", "{code} {device}: {one:#}");
        }
    }
    // By chance a sound generator's first sample is odd once in some 2,500.
    let random = grades(&one, "device.random");
    assert!(
        all.iter().all(|device| device == "d3" || ["ok", "attention"].contains(&random[device].as_str()))
    );
    // Of one that is down the last figures say nothing.
    assert_eq!(grades(&one, "device.sessions")["d3"], "abnormal", "{one:#}");
    assert_eq!(grades(&one, "device.key_drift")["d3"], "unmeasured", "{one:#}");
    // Of what could not be measured nothing is made up.
    let check = |code: &str, subject: &str| {
        let checks = one["checks"].as_array().unwrap();
        checks.iter().find(|check| check["code"] == code && check["subject"] == subject).cloned().unwrap()
    };
    assert_eq!(check("device.latency", "d9")["grade"], "unmeasured");
    assert_eq!(check("device.latency", "d9")["measured"], "—");
    assert!(check("device.latency", "d9")["evidence"].as_str().unwrap().contains("too few"));
    assert!(check("device.random", "d1")["measured"].as_str().unwrap().starts_with("P: monobit "));
    assert!(check("device.state", "d1")["evidence"].as_str().unwrap().contains("SIM000001"));
    assert!(check("device.sessions", "d3")["measured"].as_str().unwrap().starts_with("0 / "));
    assert_eq!(check("database.migrations", "")["grade"], "ok");
    assert!(check("database.size", "")["figure"].as_f64().unwrap() > 0.1);
    assert_eq!(check("storage.writable", "site")["grade"], "ok");
    assert_eq!(check("security.api_keys", "")["grade"], "attention", "it is a sandbox");
    assert_eq!(check("security.two_person", "")["grade"], "attention");
    for code in ["host.cpu", "host.memory", "host.disk"] {
        let used = check(code, "")["figure"].as_f64().unwrap();
        assert!((0.0..=100.0).contains(&used), "{code}");
    }
    assert_eq!(grades(&one, "certificate.key")["demo-sm2"], "ok");
    assert_eq!(grades(&one, "certificate.listener")[""], "ok");
    let groups: BTreeSet<_> =
        one["checks"].as_array().unwrap().iter().map(|check| check["group"].as_str().unwrap()).collect();
    assert_eq!(groups.len(), 8, "{groups:?}");

    // Counted, not timed: fewer operations than one in a hundred of what the slowest device does between two inspections.
    let most = one["most_device_orders"].as_u64().unwrap();
    assert!(most * 100 < 60 * 62, "{most}");
    for (device, orders) in one["device_orders"].as_object().unwrap() {
        let (orders, down) = (orders.as_u64().unwrap(), device == "d3");
        assert!(orders < most && (down || orders > 6), "{device}: {orders}");
    }
    assert_eq!(one["device_orders"].as_object().unwrap().len(), 9);

    // On record, with the digest of what was found; and an alarm for what got worse.
    let id = one["id"].as_str().unwrap();
    let entries = |action: &str| -> Vec<Value> {
        let of_id = |entry: &Value| entry["subject"].as_str().is_some_and(|said| said.starts_with(id));
        site.audit().into_iter().filter(|entry| entry["action"] == action && of_id(entry)).collect()
    };
    let runs = entries("inspection.run");
    assert_eq!(runs.len(), 2, "{runs:?}");
    assert_eq!((runs[0]["outcome"].as_str(), runs[1]["outcome"].as_str()), (Some("intended"), Some("ok")));
    assert!(runs[0]["subject"].as_str().unwrap().contains("换班前检查"));
    assert_eq!(runs[1]["result_digest"].as_str().unwrap().len(), 64);
    // What got worse is told after it has been kept.
    let told = |wanted: &str| {
        let alarms = entries("inspection.alarm");
        alarms.iter().any(|entry| entry["subject"].as_str().unwrap().contains(wanted))
    };
    eventually("the last alarm", PATIENCE, || told("security.two_person").then_some(()));
    assert!(told("device.state [d3]") && !told("device.state [d1]"));
    let metrics = operator(&site).get("/metrics").expect(200).text();
    for line in [
        "license_gateway_inspection_checks{check=\"device.state\",grade=\"abnormal\"} 1",
        "license_gateway_inspection_checks{check=\"device.sm2\",grade=\"ok\"} 8",
        "license_gateway_inspection_alarms_total{check=\"device.state\",grade=\"abnormal\"} 1",
    ] {
        assert!(metrics.contains(line), "{line}\n{metrics}");
    }

    // The report: signed by a device's key, and as a page in both languages.
    let stamp = one["report_stamp"].as_str().unwrap();
    let pdf = operator(&site).get(&format!("{PATH}/{id}/report")).expect(200);
    assert_eq!(pdf.header("content-type"), "application/pdf");
    let file = site.data().join("inspection.pdf");
    fs::write(&file, &pdf.body).unwrap();
    let text = Command::new("pdftotext").args(["-layout", file.to_str().unwrap(), "-"]).output().unwrap();
    let text = String::from_utf8(text.stdout).unwrap();
    for wanted in
        ["巡检报告", "Inspection report", id, "换班前检查", "device.random", "异常", "SIM000001", "处置建议"]
    {
        assert!(text.contains(wanted), "{wanted} is not in the report:\n{text}");
    }
    let judged = site.app().post("/v1/stamps:verify", &json!({"document": base64(&pdf.body)}));
    let judged = judged.expect(200).json();
    assert_eq!(judged["verdict"], "valid", "{judged:#}");
    let recorded =
        site.audit().into_iter().find(|entry| entry["action"] == "stamp.pdf" && entry["subject"] == stamp);
    assert!(recorded.is_some_and(|entry| entry["actor"] == "gateway"));
    for (lang, wanted) in [("zh", "密码设备"), ("en", "What to do")] {
        let page = operator(&site).get(&format!("{PATH}/{id}/report?form=html&lang={lang}")).expect(200);
        assert!(page.header("content-security-policy").contains("default-src 'none'"));
        assert!(page.text().contains(wanted), "{lang}");
    }

    // Another one has to wait, until a minute has passed: on a slow machine it may have.
    eventually("one that comes too soon", PATIENCE, || {
        let soon = operator(&site).post(PATH, &json!({"reason": "again"}));
        if soon.status == 202 {
            ended(&site, soon.json()["id"].as_str().unwrap());
            return None;
        }
        assert_eq!((soon.status, soon.json()["code"].as_str()), (429, Some("inspection_too_soon")));
        let wait: u64 = soon.header("retry-after").parse().unwrap();
        assert!((1..=60).contains(&wait), "{wait}");
        Some(())
    });
}

#[test]
fn who_may_ask_and_who_may_read_and_what_is_wrong_is_named() {
    let site = Site::start();
    let (_, operator) = Person::complete(&site, "operating", &["operator"]);
    let (_, auditor) = Person::complete(&site, "auditing", &["auditor"]);
    let (_, clerk) = Person::complete(&site, "counter", &["window-clerk"]);
    // Who sees devices at a service seat is not to know whose account lacks protection.
    let (_, seat) = Person::complete(&site, "answering", &["service-seat"]);
    let order = json!({"occasion": "key_moment", "reason": MARKUP});
    for person in [&auditor, &clerk, &seat] {
        assert_eq!(person.post(PATH, &order).status, 403);
    }
    assert_eq!(site.app().post(PATH, &order).status, 403);
    for (body, field) in [
        (json!({}), "reason"),
        (json!({"reason": ""}), "reason"),
        (json!({"reason": "x", "occasion": "daily"}), "occasion"),
        (json!({"reason": "x", "when": "now"}), "when"),
    ] {
        let refused = operator.post(PATH, &body);
        assert!((400..=422).contains(&refused.status), "{body}");
        assert!(refused.text().contains(field), "{body}: {}", refused.text());
    }
    let begun = operator.post(PATH, &order).expect(202).json();
    let id = begun["id"].as_str().unwrap();
    let running = operator.post(PATH, &order);
    assert!(
        ["inspection_running", "inspection_too_soon"].contains(&running.json()["code"].as_str().unwrap())
    );
    let one = ended(&site, id);
    assert_eq!(
        (one["occasion"].as_str(), one["actor"].as_str()),
        (Some("key_moment"), Some("person:operating"))
    );
    assert_eq!(one["report_unsigned"], "inspections.key is not set");
    for reader in [&operator, &auditor] {
        let list = reader.get(PATH).expect(200).json();
        assert_eq!((list["items"][0]["id"].as_str(), list["next"].as_str()), (Some(id), None));
        reader.get(&format!("{PATH}/{id}")).expect(200);
        reader.get(&format!("{PATH}/{id}/report")).expect(200);
    }
    seat.get("/v1/devices").expect(200);
    for person in [&clerk, &seat] {
        for path in [
            PATH.to_owned(),
            format!("{PATH}/{id}"),
            format!("{PATH}/{id}/report"),
            format!("{PATH}/{id}/report?form=html"),
        ] {
            assert_eq!(person.get(&path).status, 403, "{path}");
        }
    }
    let page = auditor.get(&format!("{PATH}/{id}/report?form=html")).expect(200).text();
    assert!(!page.contains("<script>") && page.contains("&lt;script&gt;"));
    for (path, code) in [
        (format!("{PATH}/none"), "unknown_inspection"),
        (format!("{PATH}/none/report"), "unknown_inspection"),
        (format!("{PATH}?after=none"), "unknown_inspection"),
        (format!("{PATH}?limit=0"), "invalid_value"),
        (format!("{PATH}/{id}/report?form=docx"), "invalid_value"),
        (format!("{PATH}/{id}/report?lang=fr"), "invalid_value"),
    ] {
        let refused = auditor.get(&path);
        assert!(refused.text().contains(code), "{path}: {}", refused.text());
    }
    // The command line shows the same.
    let listed = site.command(&["inspect", "list"]);
    assert!(String::from_utf8(listed.stdout).unwrap().contains(id));
    let file = site.data().join("report.pdf");
    let saved = site.command(&["inspect", "report", id, "--save", file.to_str().unwrap()]);
    assert!(saved.status.success(), "{saved:?}");
    assert!(fs::read(&file).unwrap().starts_with(b"%PDF-"));
    let shown = site.command(&["inspect", "show", id, "--json"]);
    assert_eq!(serde_json::from_slice::<Value>(&shown.stdout).unwrap()["id"], id);
}

/// A time that matters, whose inspection is due in so many seconds.
fn moment(seconds: i64) -> String {
    let at = format!("@{}", now() + 86_400 + seconds);
    let said = Command::new("date").args(["-u", "-d", &at, "+%Y-%m-%dT%H:%M:%SZ"]).output().unwrap();
    String::from_utf8(said.stdout).unwrap().trim().to_owned()
}

fn made(operator: &Caller) -> Vec<Value> {
    let list = operator.get(PATH).expect(200).json();
    list["items"].as_array().unwrap().iter().filter(|one| one["state"] == "done").cloned().collect()
}

#[test]
fn of_two_gateways_one_makes_what_is_due_and_what_was_missed_is_caught_up_once() {
    let server = Postgres::start();
    let folder = Folder::init_on(&server);
    // Due before any gateway runs, and while none does.
    with_key(&folder, &format!("key_moments = [\"{}\"]\n", moment(-600)));
    let first = folder.serve();
    let second = Folder::beside(&first, "second").serve();
    let callers = [operator(&first), operator(&second)];
    let one = eventually("the one that was missed", PATIENCE, || made(&callers[0]).into_iter().next());
    assert_eq!((one["occasion"].as_str(), one["actor"].as_str()), (Some("key_moment"), Some("gateway")));
    assert!(one["report_stamp"].is_string(), "{one:#}");
    assert_eq!(made(&callers[1]), made(&callers[0]));
    // Both start anew: it is not made again. Another one that comes due meanwhile is, so that they have looked.
    let (first, _) = first.stop();
    let (second, _) = second.stop();
    let another = format!("key_moments = [\"{}\", ", moment(-60));
    for folder in [&first, &second] {
        folder.configure("key_moments = [", &another);
    }
    let (first, second) = (first.serve(), second.serve());
    let callers = [operator(&first), operator(&second)];
    let both = eventually("the next one", PATIENCE, || Some(made(&callers[1])).filter(|made| made.len() > 1));
    let slots: BTreeSet<_> = both.iter().map(|one| one["slot"].to_string()).collect();
    assert_eq!((both.len(), slots.len()), (2, 2), "{both:#?}");
}

fn console(site: &Site, person: &mut Person) -> Browser {
    let browser = Browser::start(1280, 900);
    browser.open(&format!("{}/console/", site.base()));
    browser.type_into("account", &person.name);
    browser.type_into("password", &person.password);
    browser.press("下一步");
    browser.sees("使用恢复码");
    browser.type_into("code", &person.code());
    browser.press("登录");
    browser
}

#[test]
fn an_operator_has_an_inspection_made_on_the_console_and_an_auditor_reads_it() {
    let site = Site::start();
    let (mut person, session) = Person::complete(&site, "operating", &["operator"]);
    let browser = console(&site, &mut person);
    browser.press("巡检");
    browser.sees("还没有巡检");
    browser.press("立即巡检");
    browser.press("确认");
    assert!(browser.text().contains("原因"), "without a reason nothing is done");
    browser.type_into("reason", MARKUP);
    browser.press("确认");
    browser.sees("已完成，审计编号");
    let id = session.get(PATH).expect(200).json()["items"][0]["id"].as_str().unwrap().to_owned();
    ended(&site, &id);
    browser.click(&format!("a[href='#/inspections/{id}']"));
    for text in ["密码设备", "SIM000001", "device.random", "沙箱不得承载真实业务", MARKUP] {
        browser.sees(text);
    }
    browser.press("下载报告（PDF）");
    browser.sees(&format!("已下载 inspection-{id}.pdf"));
    assert_eq!(browser.script("return window.broken === undefined"), true);
    reads(&site, &id);
}

/// An auditor sees it, in English and on a phone, and is not offered what only operators may do.
fn reads(site: &Site, id: &str) {
    let (mut person, _): (Person, SignedIn) = Person::complete(site, "auditing", &["auditor"]);
    let browser = console(site, &mut person);
    browser.press("巡检");
    browser.sees(id);
    assert!(!browser.text().contains("立即巡检"));
    browser.press("张三");
    browser.press("English");
    browser.sees("on demand");
    browser.click(&format!("a[href='#/inspections/{id}']"));
    browser.sees("What to do");
}
