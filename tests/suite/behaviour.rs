//! Unusual behaviour of callers is told to people, and nobody is refused for it.

use std::process::Command;
use std::time::Duration;

use serde_json::Value;
use tests::{Folder, Site, eventually};

const SOON: Duration = Duration::from_secs(60);

fn alarms(site: &Site) -> Vec<Value> {
    site.audit().into_iter().filter(|entry| entry["action"] == "behaviour.alarm").collect()
}

fn counted(site: &Site, rule: &str) -> bool {
    let line = format!("license_gateway_alarms_total{{rule=\"{rule}\"}} 1");
    site.stranger(None).get("/metrics").text().contains(&line)
}

#[test]
fn a_caller_who_is_refused_or_reads_faces_very_often_is_told_of_once_and_served_all_the_same() {
    let folder = Folder::init();
    folder.configure("[callers]\n", "[alarms]\nrefusals = 5\nbulk_reads = 3\n[callers]\n");
    let site = folder.serve();
    for _ in 0..20 {
        site.app().get("/v1/licenses/no-such-code/face").expect(422);
    }
    let license = site.sandbox()["licenses"][0].as_str().unwrap().to_owned();
    for _ in 0..10 {
        site.app().get(&format!("/v1/licenses/{license}/face")).expect(200);
    }
    let app = site.sandbox()["apps"][0]["id"].clone();
    let told = eventually("both are on record", SOON, || {
        let told = alarms(&site);
        (told.len() >= 2).then_some(told)
    });
    let said: Vec<_> =
        told.iter().map(|entry| (&entry["actor"], entry["outcome"].as_str().unwrap())).collect();
    assert_eq!(said, [(&app, "refusals"), (&app, "bulk_read")]);
    assert_eq!(told[0]["subject"], "6 refusals within a minute");
    assert!(counted(&site, "refusals") && counted(&site, "bulk_read"));
    assert!(site.log().contains("a caller does what is unusual"));
}

/// Asks as the first app from an address of this machine.
fn ask_from(site: &Site, address: &str) {
    let key = site.sandbox()["apps"][0]["api_key"].as_str().unwrap();
    let asked = Command::new("curl")
        .args(["--silent", "--show-error", "--fail", "--interface", address, "--header"])
        .arg(format!("x-api-key: {key}"))
        .arg(format!("{}/v1/keys", site.base()))
        .output()
        .expect("curl is installed");
    assert!(asked.status.success(), "{}", String::from_utf8_lossy(&asked.stderr));
}

#[test]
fn a_caller_is_known_after_a_restart_and_told_of_where_it_never_was_and_at_two_places_at_once() {
    let folder = Folder::init();
    folder.configure("[callers]\n", "[alarms]\nlearn_days = 0\noff = [\"unusual_hour\"]\n[callers]\n");
    let site = folder.serve();
    ask_from(&site, "127.0.0.1");
    let (folder, status) = site.stop();
    assert_eq!(status.code(), Some(0));
    let site = folder.serve();
    // Whoever is seen for the first time is nowhere new: the gateway remembers the day before.
    ask_from(&site, "127.0.1.1");
    eventually("the new network is on record", SOON, || {
        alarms(&site).iter().any(|entry| entry["outcome"] == "new_network").then_some(())
    });
    for _ in 0..2 {
        ask_from(&site, "127.0.0.1");
        ask_from(&site, "127.0.1.1");
    }
    let told = eventually("two places are on record", SOON, || {
        let told = alarms(&site);
        (told.len() >= 2).then_some(told)
    });
    assert_eq!(told[0]["subject"], "from 127.0.1.0/24, where it never was");
    assert_eq!(told[1]["outcome"], "two_places");
    assert_eq!(told.len(), 2, "{told:?}");
    assert!(counted(&site, "new_network") && counted(&site, "two_places"));
}
