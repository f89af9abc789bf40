//! No timestamp by a clock that time servers say is wrong, or of which too little is known.

use std::time::Duration;

use serde_json::{Value, json};
use tests::{Folder, Scratch, Site, TimeServer, eventually};

const SOON: Duration = Duration::from_secs(60);

/// A site that asks these servers ten times a second.
/// What it was told grows old after `max_age`.
pub(crate) fn watched(servers: &[&TimeServer], max_age: Duration) -> Site {
    let folder = Folder::init();
    let names: Vec<_> = servers.iter().map(|server| server.name()).collect();
    let section = format!(
        "[timestamps.clock]\nservers = {names:?}\nrequired = true\npoll_ms = 100\ntimeout_ms = 200\n\
         max_age_ms = {}\nmax_offset_ms = 500\n",
        max_age.as_millis()
    );
    folder.configure("[timestamps.clock]\nrequired = false\n", &section);
    folder.serve()
}

fn clock(site: &Site) -> Value {
    site.app().get("/v1/timestamps/clock").expect(200).json()
}

pub(crate) fn becomes(site: &Site, state: &str) -> Value {
    eventually(state, SOON, || Some(clock(site)).filter(|clock| clock["state"] == state))
}

/// What a request for a timestamp gets: `made`, or the code.
fn stamped(site: &Site) -> String {
    let answer = site.app().post("/v1/timestamps", &json!({"input": {"data": "AA=="}}));
    match answer.status {
        201 => "made".to_owned(),
        503 => {
            assert!(!answer.header("retry-after").is_empty());
            answer.json()["code"].as_str().unwrap().to_owned()
        }
        status => panic!("{status}: {}", answer.text()),
    }
}

/// What RFC 3161's door says.
fn said_at_tsa(site: &Site) -> String {
    let scratch = Scratch::new();
    scratch.write("document", b"x");
    scratch.openssl("ts -query -data document -sha256 -out request.tsq").expect("ts -query");
    let request = scratch.read("request.tsq");
    let headers = [("content-type", "application/timestamp-query")];
    let answer = site.app().send("POST", "/tsa", &headers, Some(&request)).expect(200);
    scratch.write("response.tsr", &answer.body);
    scratch.openssl("ts -reply -in response.tsr -text").text
}

#[test]
fn a_clock_that_a_server_says_is_wrong_makes_no_timestamps_until_it_is_right() {
    let server = TimeServer::start();
    let site = watched(&[&server], Duration::from_secs(60));
    let known = becomes(&site, "reliable");
    assert!(known["offset_ms"].as_f64().unwrap().abs() < 500.0, "{known}");
    assert_eq!((&known["believed"], &known["servers"][0]["server"]), (&json!(true), &json!(server.name())));
    assert_eq!(stamped(&site), "made");
    for ahead in [3_600_000, -3_600_000] {
        server.set_ahead(ahead);
        let known = becomes(&site, "off");
        assert!((known["offset_ms"].as_f64().unwrap() - ahead as f64).abs() < 500.0, "{known}");
        assert_eq!(known["believed"], false);
        assert_eq!(stamped(&site), "clock_unreliable");
        let said = said_at_tsa(&site);
        assert!(said.contains("the TSA's time source is not available"), "{said}");
        let metrics = site.stranger(None).get("/metrics").expect(200).text();
        assert!(metrics.contains("license_gateway_clock_state{state=\"off\"} 1"), "{metrics}");
        server.set_ahead(0);
        becomes(&site, "reliable");
        assert_eq!(stamped(&site), "made");
        assert!(said_at_tsa(&site).contains("Status: Granted."));
    }
}

#[test]
fn servers_that_keep_silent_or_are_forged_leave_the_clock_unknown() {
    let server = TimeServer::start();
    server.set_silent(true);
    let site = watched(&[&server], Duration::from_secs(5));
    assert_eq!(becomes(&site, "unknown")["believed"], false);
    assert_eq!(stamped(&site), "clock_unreliable");
    let known = eventually("its failures are told", SOON, || {
        Some(clock(&site)).filter(|clock| clock["servers"][0]["failures"].as_u64().unwrap() > 2)
    });
    assert_eq!(known["offset_ms"], Value::Null, "{known}");
    server.set_silent(false);
    becomes(&site, "reliable");
    assert_eq!(stamped(&site), "made");
    // Answers of somebody who cannot see what was asked are no answers; the last good one grows old.
    server.set_forged(true);
    becomes(&site, "unknown");
    assert_eq!(stamped(&site), "clock_unreliable");
    server.set_forged(false);
    becomes(&site, "reliable");
    // Where the site does without, it is enough that nobody says that the clock is wrong.
    server.set_silent(true);
    becomes(&site, "unknown");
    site.configure(&[("required = true", "required = false")]);
    site.command(&["reload"]);
    eventually("an unknown clock will do", SOON, || (stamped(&site) == "made").then_some(()));
    server.set_ahead(3_600_000);
    server.set_silent(false);
    becomes(&site, "off");
    assert_eq!(stamped(&site), "clock_unreliable");
}

#[test]
fn one_server_of_three_that_lies_is_outvoted_and_two_are_not() {
    let servers = [TimeServer::start(), TimeServer::start(), TimeServer::start()];
    let site = watched(&servers.each_ref(), Duration::from_secs(60));
    becomes(&site, "reliable");
    let told = |ahead: i64, count: usize| {
        eventually("the lie is told", SOON, || {
            let known = clock(&site);
            let offsets = known["servers"].as_array().unwrap().iter();
            let lies = offsets.filter(|server| {
                server["offset_ms"].as_f64().is_some_and(|offset| (offset - ahead as f64).abs() < 500.0)
            });
            (lies.count() == count).then_some(known)
        })
    };
    servers[0].set_ahead(60_000);
    let known = told(60_000, 1);
    assert_eq!(known["state"], "reliable", "{known}");
    assert_eq!(stamped(&site), "made");
    servers[1].set_ahead(60_000);
    let known = told(60_000, 2);
    assert_eq!(known["state"], "off", "{known}");
    assert_eq!(stamped(&site), "clock_unreliable");
    assert!(servers.iter().all(|server| server.asked() > 2));
}
