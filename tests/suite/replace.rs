//! One of nine devices is destroyed and a blank one put in its place, under load, by the operators' command; and
//! what the devices did can be read back.

use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::Duration;

use serde_json::{Value, json};
use tests::{Site, base64, eventually, signal};

const BOUND: Duration = Duration::from_secs(60);

fn device(site: &Site, id: &str) -> Value {
    site.app_number(2).get(&format!("/v1/devices/{id}")).expect(200).json()
}

/// Ends the load when the test is through, or has failed.
struct Over<'o>(&'o AtomicBool);

impl Drop for Over<'_> {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Relaxed);
    }
}

#[test]
fn a_destroyed_device_is_replaced_by_a_blank_one_and_nobody_notices() {
    let site = Site::start();
    eventually("nine ready", BOUND, || {
        (1..=9).all(|number| site.device_state(&format!("d{number}")) == "ready").then_some(())
    });
    let (over, done) = (AtomicBool::new(false), AtomicUsize::new(0));
    std::thread::scope(|scope| {
        for number in 0..8 {
            let (site, over, done) = (&site, &over, &done);
            let key = ["demo-sm2", "portal-sm2"][number % 2];
            scope.spawn(move || {
                let body = json!({"key": key, "algorithm": "sm2-sm3", "input": {"data": base64(b"go on")}});
                while !over.load(Ordering::Relaxed) {
                    site.app_number(0).post("/v1/signatures", &body).expect(201);
                    done.fetch_add(1, Ordering::Relaxed);
                }
            });
        }
        let _over = Over(&over);
        // Destroyed: what was in it is gone, the worker with it.
        let (tokens, gone) = (site.data().join("hsm/d3/tokens"), site.data().join("hsm/d3/gone"));
        std::fs::rename(&tokens, gone).unwrap();
        std::fs::create_dir(&tokens).unwrap();
        let workers = site.workers();
        signal(workers.iter().find(|worker| worker.serves("d3")).expect("a worker of d3").pid, "KILL");
        eventually("d3 down", BOUND, || (site.device_state("d3") == "down").then_some(()));

        let replaced = site.command(&["device", "replace", "d3", "d3", "--reason", "burnt out", "--json"]);
        let said = String::from_utf8_lossy(&replaced.stdout).into_owned();
        assert!(replaced.status.success(), "{said}{}", String::from_utf8_lossy(&replaced.stderr));
        let answer: Value = serde_json::from_str(&said).unwrap();
        let keys: Vec<_> = answer["keys"].as_array().unwrap().iter().map(|key| key["key"].clone()).collect();
        assert_eq!(keys.len(), 10, "two secrets, three service keys and the site's five own: {answer}");
        assert!(answer["keys"].as_array().unwrap().iter().all(|key| key["error"].is_null()), "{answer}");
        eventually("nine ready", BOUND, || {
            (1..=9).all(|number| site.device_state(&format!("d{number}")) == "ready").then_some(())
        });
        let before = (device(&site, "d3")["signed"].as_u64().unwrap(), done.load(Ordering::Relaxed));
        eventually("d3 signs again", BOUND, || {
            (device(&site, "d3")["signed"].as_u64().unwrap() > before.0 + 5).then_some(())
        });
        assert!(done.load(Ordering::Relaxed) > before.1);
    });
    let acts: Vec<_> = site.audit().into_iter().filter(|entry| entry["action"] == "device.replace").collect();
    assert_eq!(acts.len(), 2, "{acts:?}");
    assert_eq!((&acts[0]["outcome"], &acts[1]["outcome"]), (&json!("intended"), &json!("ok")));
    assert_eq!(acts[1]["subject"], "burnt out");
}

#[test]
fn a_replacement_that_cannot_be_is_refused_by_name() {
    let site = &tests::shared().site;
    let operator = site.app_number(2);
    let replace = |id: &str, body: Value| operator.post(&format!("/v1/devices/{id}/replace"), &body);
    let refused = replace("d8", json!({"reason": "x", "old": "d1"})).expect(422).json();
    assert_eq!(refused["errors"][0]["field"], "old", "{refused}");
    replace("d8", json!({"reason": "x", "old": "nobody"})).expect(404);
    replace("d8", json!({"reason": " "})).expect(422);
    replace("nobody", json!({"reason": "x"})).expect(404);
    site.app_number(0).post("/v1/devices/d8/replace", &json!({"reason": "x"})).expect(403);
}

#[test]
fn a_history_asked_for_wrongly_names_the_field_and_a_right_one_is_a_list() {
    let site = &tests::shared().site;
    let operator = site.app_number(2);
    let ask = |query: &str| operator.get(&format!("/v1/devices/d1/history{query}"));
    let list = ask("").expect(200).json();
    assert!(list["items"].is_array() && list["next"].is_null(), "{list}");
    ask("?from=2026-01-01T00:00:00Z&to=2026-01-02T00:00:00%2B08:00&step=60").expect(200);
    for (query, field) in [
        ("?from=yesterday", "from"),
        ("?to=1", "to"),
        ("?step=59", "step"),
        ("?step=60&from=2020-01-01T00:00:00Z", "step"),
        ("?from=2026-01-02T00:00:00Z&to=2026-01-01T00:00:00Z", "from"),
        ("?step=many", "query"),
        ("?until=now", "query"),
    ] {
        let refused = ask(query).expect(422).json();
        assert_eq!(refused["errors"][0]["field"], field, "{query}: {refused}");
    }
    operator.get("/v1/devices/nobody/history").expect(404);
}

#[test]
fn metrics_tell_of_each_device_what_the_operator_needs() {
    let site = &tests::shared().site;
    let text = site.app_number(2).get("/metrics").expect(200).text();
    for name in [
        "device_latency_minute_seconds{device=\"d1\",quantile=\"0.99\"}",
        "device_queue{device=\"d1\",group=\"bureau\"}",
        "device_sessions{device=\"d9\",group=\"portal\"} 4",
        "device_signatures{device=\"d1\"",
        "device_crashes{device=\"d1\",group=\"bureau\"} 0",
        "device_keys_missing{device=\"d1\",group=\"bureau\"} 0",
    ] {
        assert!(text.contains(&format!("license_gateway_{name}")), "{name} is not in\n{text}");
    }
}
