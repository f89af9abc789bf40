//! Nine devices behind one call: spread, walls between groups, breakdowns.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use serde_json::json;
use tests::{Answer, Caller, Site, alive, base64, eventually, shared, signal};

const BUREAU: [&str; 7] = ["d1", "d2", "d3", "d4", "d5", "d6", "d7"];
const PORTAL: [&str; 2] = ["d8", "d9"];

fn sign(app: &Caller, key: &str) -> Answer {
    let body = json!({"key": key, "algorithm": "sm2-sm3", "input": {"data": base64(b"fleet")}});
    app.post("/v1/signatures", &body)
}

/// Signs `count` times from `threads` threads; how often each device was named. Every answer must be 201.
fn sign_many(site: &Site, key: &str, threads: usize, count: usize) -> BTreeMap<String, usize> {
    let left = AtomicUsize::new(count);
    let named = Mutex::new(BTreeMap::new());
    std::thread::scope(|scope| {
        for _ in 0..threads {
            scope.spawn(|| {
                let app = site.app_number(0);
                while left
                    .fetch_update(Ordering::Relaxed, Ordering::Relaxed, |left| left.checked_sub(1))
                    .is_ok()
                {
                    let answer = sign(&app, key).expect(201).json();
                    let device = answer["device"].as_str().unwrap().to_owned();
                    *named.lock().unwrap().entry(device).or_default() += 1;
                }
            });
        }
    });
    named.into_inner().unwrap()
}

fn names(named: &BTreeMap<String, usize>) -> Vec<&str> {
    named.keys().map(String::as_str).collect()
}

#[test]
fn two_thousand_signatures_name_all_nine_devices_each_in_its_group() {
    let site = &shared().site;
    let bureau = sign_many(site, "demo-sm2", 8, 1_500);
    assert_eq!(names(&bureau), BUREAU, "{bureau:?}");
    let portal = sign_many(site, "portal-sm2", 8, 500);
    assert_eq!(names(&portal), PORTAL, "{portal:?}");
}

#[test]
fn the_device_list_shows_nine_ready_devices_in_two_groups() {
    let app = shared().site.app_number(2);
    // On a busy machine a device may miss an attempt's time and be degraded for a moment.
    let list = eventually("all devices are ready", Duration::from_secs(60), || {
        let list = app.get("/v1/devices").expect(200).json();
        list["items"].as_array().unwrap().iter().all(|item| item["state"] == "ready").then_some(list)
    });
    let items = list["items"].as_array().unwrap();
    let mut seen: Vec<_> =
        items.iter().map(|item| (item["id"].as_str().unwrap(), item["group"].as_str().unwrap())).collect();
    seen.sort_unstable();
    let bureau = BUREAU.map(|device| (device, "bureau"));
    assert_eq!(seen, [&bureau[..], &PORTAL.map(|device| (device, "portal"))].concat());
}

#[test]
fn every_device_has_a_worker_process_of_its_own() {
    let site = &shared().site;
    let workers = site.workers();
    assert_eq!(workers.len(), 9, "{workers:?}");
    for device in BUREAU.iter().chain(&PORTAL) {
        let mine = workers.iter().filter(|worker| worker.serves(device));
        assert_eq!(mine.count(), 1, "{device} in {workers:?}");
    }
}

#[test]
fn no_pin_shows_in_a_workers_arguments_or_environment() {
    let site = &shared().site;
    for worker in site.workers() {
        let environment = std::fs::read(format!("/proc/{}/environ", worker.pid)).unwrap();
        let text = format!("{} {}", worker.command, String::from_utf8_lossy(&environment)).to_lowercase();
        assert!(!text.contains("pin="), "{text}");
        for pin in site.pins() {
            assert!(!text.contains(&pin), "a PIN shows in {text}");
        }
    }
}

#[test]
fn a_group_is_a_wall() {
    let app = shared().site.app();
    for (key, group) in [("demo-sm2", "portal"), ("portal-sm2", "bureau")] {
        let body = json!({"key": key, "algorithm": "sm2-sm3", "group": group, "input": {"data": ""}});
        let refused = app.post("/v1/signatures", &body).expect(422);
        assert_eq!(refused.json()["code"], "key_not_in_group", "{}", refused.text());
    }
    for (key, group, devices) in [("demo-sm2", "bureau", &BUREAU[..]), ("portal-sm2", "portal", &PORTAL)] {
        let body = json!({"key": key, "algorithm": "sm2-sm3", "group": group, "input": {"data": ""}});
        let answer = app.post("/v1/signatures", &body).expect(201).json();
        assert!(devices.contains(&answer["device"].as_str().unwrap()), "{answer}");
    }
}

#[test]
fn with_the_portal_unreachable_the_bureau_signs_on_and_the_portal_answers_503_at_once() {
    let site = Site::start();
    for device in PORTAL {
        site.fault(device, "unreachable = true\n");
    }
    let app = site.app();
    eventually("the list says that the portal is gone", Duration::from_secs(60), || {
        sign(app, "portal-sm2"); // the fleet learns from work that fails, too
        PORTAL.iter().all(|device| site.device_state(device) == "down").then_some(())
    });

    let start = Instant::now();
    let refused = sign(app, "portal-sm2").expect(503);
    assert!(start.elapsed() < Duration::from_secs(5), "503 took half its deadline: {:?}", start.elapsed());
    assert_eq!(refused.json()["code"], "devices_unavailable");
    assert!(refused.header("retry-after").parse::<u32>().is_ok(), "{:?}", refused.headers);

    let named = sign_many(&site, "demo-sm2", 4, 300);
    assert_eq!(names(&named), BUREAU, "{named:?}");

    for device in PORTAL {
        site.mend(device);
    }
    eventually("the portal signs again", Duration::from_secs(60), || {
        (sign(app, "portal-sm2").status == 201).then_some(())
    });
}

#[test]
fn a_killed_worker_loses_no_signature_and_comes_back() {
    let site = Site::start();
    let before = site.workers();
    assert_eq!(before.len(), 9, "{before:?}");
    let victim = before.iter().find(|worker| worker.serves("d3")).expect("d3 has a worker");

    let done = AtomicUsize::new(0);
    std::thread::scope(|scope| {
        for _ in 0..8 {
            scope.spawn(|| {
                let app = site.app_number(0);
                for _ in 0..125 {
                    sign(&app, "demo-sm2").expect(201);
                    done.fetch_add(1, Ordering::Relaxed);
                }
            });
        }
        eventually("the load is under way", Duration::from_secs(60), || {
            (done.load(Ordering::Relaxed) > 200).then_some(())
        });
        signal(victim.pid, "KILL");
    });
    assert_eq!(done.load(Ordering::Relaxed), 1_000);

    eventually("nine workers, one of them new", Duration::from_secs(60), || {
        let pids: BTreeSet<u32> = site.workers().iter().map(|worker| worker.pid).collect();
        (pids.len() == 9 && !pids.contains(&victim.pid)).then_some(())
    });
    eventually("d3 is ready", Duration::from_secs(60), || (site.device_state("d3") == "ready").then_some(()));
    eventually("d3 signs", Duration::from_secs(60), || {
        (sign(site.app(), "demo-sm2").expect(201).json()["device"] == "d3").then_some(())
    });
    assert!(!alive(victim.pid));
}

#[test]
fn a_device_that_answers_slowly_gets_less_work_and_fails_nobody() {
    let site = Site::start();
    site.fault("d5", "latency_ms = 500.0\n");
    let named = sign_many(&site, "demo-sm2", 8, 700);
    let slow = named.get("d5").copied().unwrap_or_default();
    let others = 700 - slow;
    assert!(slow * 6 < others / 2, "a seventh of the work would be 100: {named:?}");
}

#[test]
fn a_hung_device_fails_nobody_and_comes_back_when_it_is_mended() {
    let site = Site::start();
    site.fault("d4", "latency_ms = 600000.0\n");
    let named = sign_many(&site, "demo-sm2", 8, 400);
    assert_eq!(named.values().sum::<usize>(), 400);
    eventually("the list says that d4 does not answer", Duration::from_secs(60), || {
        sign(site.app(), "demo-sm2").expect(201);
        (site.device_state("d4") != "ready").then_some(())
    });
    site.mend("d4");
    eventually("d4 signs again", Duration::from_secs(60), || {
        (sign(site.app(), "demo-sm2").expect(201).json()["device"] == "d4").then_some(())
    });
}

#[test]
fn no_worker_outlives_the_gateway() {
    let site = Site::start();
    let workers = site.workers();
    assert_eq!(workers.len(), 9);
    signal(site.pid(), "KILL");
    eventually("the workers of a killed gateway end", Duration::from_secs(60), || {
        workers.iter().all(|worker| !alive(worker.pid)).then_some(())
    });
}

#[test]
fn a_drained_device_rests_on_record_until_it_is_resumed() {
    let site = Site::start();
    let (operations, business) = (site.app_number(2), site.app_number(0));
    let reason = json!({"reason": "firmware"});
    let refused = business.post("/v1/devices/d2/drain", &reason).expect(403);
    assert_eq!(refused.json()["code"], "scope_missing");
    let unexplained = operations.post("/v1/devices/d2/drain", &json!({"reason": " "})).expect(422);
    assert_eq!(unexplained.json()["errors"][0]["field"], "reason");
    assert_eq!(
        operations.post("/v1/devices/d99/drain", &reason).expect(404).json()["code"],
        "unknown_device"
    );

    let drained = operations.post("/v1/devices/d2/drain", &reason).expect(200).json();
    assert!(drained["audit_index"].is_u64(), "{drained}");
    eventually("d2 rests", Duration::from_secs(60), || {
        (site.device_state("d2") == "maintenance").then_some(())
    });
    let named = sign_many(&site, "demo-sm2", 4, 200);
    assert!(!named.contains_key("d2"), "{named:?}");

    operations.post("/v1/devices/d2/resume", &reason).expect(200);
    eventually("d2 is back", Duration::from_secs(60), || (site.device_state("d2") == "ready").then_some(()));
    eventually("d2 signs", Duration::from_secs(60), || {
        (sign(site.app(), "demo-sm2").expect(201).json()["device"] == "d2").then_some(())
    });
}
