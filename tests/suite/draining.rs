//! Taking each device out and back while everybody works: nobody notices, and the device rests meanwhile.

use std::collections::BTreeSet;
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use serde_json::{Value, json};
use tests::{Caller, Site, base64, eventually};

const BOUND: Duration = Duration::from_secs(60);

fn device(operator: &Caller, id: &str) -> Value {
    let list = operator.get("/v1/devices").expect(200).json();
    let items = list["items"].as_array().unwrap();
    items.iter().find(|item| item["id"] == id).expect("the device is listed").clone()
}

fn signed(device: &Value) -> u64 {
    device["signed"].as_u64().unwrap()
}

/// Signs until it is told to stop; every answer must be 201 with a place of its own in the log.
fn work(site: &Site, key: &str, over: &AtomicBool, places: &Mutex<BTreeSet<u64>>) {
    let app = site.app_number(0);
    let body = json!({"key": key, "algorithm": "sm2-sm3", "input": {"data": base64(b"drained")}});
    while !over.load(Ordering::Relaxed) {
        let answer = app.post("/v1/signatures", &body).expect(201).json();
        let place = answer["audit_index"].as_u64().expect("a signature has a place in the log");
        assert!(places.lock().unwrap().insert(place), "place {place} was given twice");
    }
}

#[test]
fn all_nine_devices_rest_in_turn_under_full_load_and_nothing_is_lost() {
    let site = Site::start();
    let (over, places) = (AtomicBool::new(false), Mutex::new(BTreeSet::new()));
    let reason = json!({"reason": "inspection round"});
    std::thread::scope(|scope| {
        for number in 0..16 {
            let key = if number % 4 == 3 { "portal-sm2" } else { "demo-sm2" };
            let (site, over, places) = (&site, &over, &places);
            scope.spawn(move || work(site, key, over, places));
        }
        let round = scope.spawn(|| {
            let operator = site.app_number(2);
            for number in 1..=9 {
                let id = format!("d{number}");
                let starts = device(&operator, &id)["worker_starts"].clone();
                operator.post(&format!("/v1/devices/{id}/drain"), &reason).expect(200);
                eventually("it has finished what it had", BOUND, || {
                    (device(&operator, &id)["state"] == "maintenance").then_some(())
                });
                let (before, others) = (signed(&device(&operator, &id)), places.lock().unwrap().len());
                eventually("the others work on", BOUND, || {
                    (places.lock().unwrap().len() > others + 50).then_some(())
                });
                let rested = device(&operator, &id);
                assert_eq!(signed(&rested), before, "{rested}");
                operator.post(&format!("/v1/devices/{id}/resume"), &reason).expect(200);
                eventually("it works again", BOUND, || {
                    let now = device(&operator, &id);
                    (now["state"] == "ready" && signed(&now) > before).then_some(())
                });
                assert_eq!(device(&operator, &id)["worker_starts"], starts, "{id} kept its worker");
            }
        });
        let done = round.join();
        over.store(true, Ordering::Relaxed);
        done.unwrap();
    });
    assert!(places.into_inner().unwrap().len() > 9 * 50);
}
