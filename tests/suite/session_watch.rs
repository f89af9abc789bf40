//! Who waits for a session is told of each state, once it is there, at whichever gateway and whoever dies in between; nobody has
//! to ask again and again.

use std::collections::BTreeSet;
use std::io::{BufRead, BufReader, Write};
use std::net::TcpStream;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use serde_json::{Value, json};
use tests::{Answer, Caller, Folder, Postgres, Reply, Site, Source, audit_on, eventually, shared};

use crate::phone::{Phone, in_database};
use crate::sessions::{PATH, begun, consume, id, order, refused, subject_of};

const SOON: Duration = Duration::from_secs(90);

/// Reads the events of a stream until it ends.
fn events(site: &Site, session: &Value, known: Option<&str>) -> impl Iterator<Item = String> + use<> {
    let address = site.base().strip_prefix("http://").unwrap().to_owned();
    let key = site.sandbox()["apps"][0]["api_key"].as_str().unwrap();
    let mut stream = TcpStream::connect(&address).unwrap();
    stream.set_read_timeout(Some(SOON)).unwrap();
    let known = known.map(|known| format!("last-event-id: {known}\r\n")).unwrap_or_default();
    let path = format!("{PATH}/{}/events", id(session));
    write!(
        stream,
        "GET {path} HTTP/1.1\r\nhost: {address}\r\nx-api-key: {key}\r\n{known}connection: close\r\n\r\n"
    )
    .unwrap();
    let lines = BufReader::new(stream).lines().map(|line| line.expect("the stream goes on"));
    lines.filter_map(|line| line.strip_prefix("data: ").map(str::to_owned))
}

fn state_of(event: &str) -> String {
    serde_json::from_str::<Value>(event).unwrap()["state"].as_str().unwrap().to_owned()
}

#[test]
fn who_waits_is_told_at_each_state_and_nobody_has_to_ask_again() {
    let site = &shared().site;
    let phone = Phone::good(site);
    let session = begun(site.app(), &order());
    let mut stream = events(site, &session, None);
    assert_eq!(state_of(&stream.next().unwrap()), "created");
    let patient = Caller::patient(site.base(), site.sandbox()["apps"][0]["api_key"].as_str(), SOON);
    let waiting = format!("{PATH}/{}?version=1&wait=25", id(&session));
    let polled = std::thread::spawn(move || patient.get(&waiting).expect(200).json());
    eventually("somebody waits twice", SOON, || {
        let metrics = site.stranger(None).get("/metrics").expect(200).text();
        let line =
            metrics.lines().find(|line| line.starts_with("license_gateway_sessions_waiting ")).unwrap();
        (line.split(' ').nth(1).unwrap().parse::<f64>().unwrap() >= 2.0).then_some(())
    });
    let asked = phone.scan(site, &session).expect(200).json();
    assert_eq!(polled.join().unwrap()["state"], "scanned");
    assert_eq!(state_of(&stream.next().unwrap()), "scanned");
    phone.confirm(site, &phone.consent(&asked)).expect(200);
    assert_eq!(state_of(&stream.next().unwrap()), "confirmed");
    consume(site.app(), &session).expect(200);
    assert_eq!(state_of(&stream.next().unwrap()), "consumed");
    assert_eq!(stream.next(), None, "it ends with the session");
    // Who comes back is told what it does not know.
    let again: Vec<_> = events(site, &session, Some("2")).map(|event| state_of(&event)).collect();
    assert_eq!(again, ["consumed"]);
    assert_eq!(events(site, &session, Some("4")).count(), 0);
    // A wait that nothing ends answers what is.
    let idle = begun(site.app(), &order());
    let answer = site.app().get(&format!("{PATH}/{}?version=1&wait=1", id(&idle))).expect(200).json();
    assert_eq!((&answer["state"], &answer["version"]), (&json!("created"), &json!(1)));
}

#[test]
fn what_is_over_is_over_by_itself_and_is_told() {
    let site = &shared().site;
    let phone = Phone::good(site);
    let mut order = order();
    order["ttl"] = 30.into();
    let session = begun(site.app(), &order);
    let asked = phone.scan(site, &session).expect(200).json();
    let mut stream = events(site, &session, Some("2"));
    assert_eq!(state_of(&stream.next().unwrap()), "expired");
    assert_eq!(stream.next(), None);
    refused(phone.confirm(site, &phone.consent(&asked)), 410, "session_expired");
    refused(phone.scan(site, &session), 410, "session_expired");
    refused(consume(site.app(), &session), 410, "session_expired");
    eventually("it is on record", SOON, || {
        let ended = site.audit().into_iter().find(|entry| {
            entry["subject"] == subject_of(site, id(&session)) && entry["action"] == "session.expire"
        });
        ended.filter(|entry| entry["outcome"] == "ok" && entry["actor"] == "license-gateway")
    });
}

/// More of them than are looked for at a time.
#[test]
fn what_cannot_be_read_keeps_no_other_session_from_ending() {
    let site = Site::start();
    let session = begun(site.app(), &order());
    // Sealed for another session, these open for nobody.
    let copies = format!(
        "WITH RECURSIVE numbers(n) AS (SELECT 1 UNION ALL SELECT n + 1 FROM numbers WHERE n < 600)
         INSERT INTO scan_sessions (id, app, flow, state, version, terms, created_at, expires_at, changed_at)
         SELECT 'COPY' || n, app, flow, state, version, terms, created_at, 1, changed_at FROM scan_sessions, numbers;
         UPDATE scan_sessions SET expires_at = 2 WHERE id = '{}'",
        id(&session)
    );
    in_database(&site, &copies);
    eventually("it is on record as over", SOON, || {
        let mut entries = site.audit().into_iter();
        let ended = subject_of(&site, id(&session));
        entries.find(|entry| entry["subject"] == ended && entry["action"] == "session.expire")
    });
}

#[test]
fn an_answer_that_was_lost_is_had_again_under_its_key() {
    let site = &shared().site;
    let phone = Phone::good(site);
    let session = begun(site.app(), &order());
    let asked = phone.scan(site, &session).expect(200).json();
    phone.confirm(site, &phone.consent(&asked)).expect(200);
    let path = format!("{PATH}/{}/consume", id(&session));
    let headers = [("content-type", "application/json"), ("idempotency-key", "consume-once")];
    let take = || site.app().send("POST", &path, &headers, Some(b"{}"));
    let first = take().expect(200);
    let again = take().expect(200);
    assert_eq!(again.header("idempotency-replayed"), "true");
    assert_eq!(first.json(), again.json());
    refused(consume(site.app(), &session), 409, "session_consumed");
}

/// Two gateways on one database: one is killed between scan and consent, and one consume of many succeeds at the other.
#[test]
fn a_lost_gateway_loses_no_session_and_one_consume_succeeds_over_all() {
    let server = Postgres::start();
    let database = server.database();
    let first = Folder::init_in(&server, &database).serve();
    let second = Folder::beside(&first, "second").serve();
    let third = Folder::beside(&first, "third").serve();
    let phone = Phone::good(&first);

    let session = begun(first.app(), &order());
    // Who waits at one gateway hears of what happens at another.
    let mut stream = events(&second, &session, None);
    assert_eq!(state_of(&stream.next().unwrap()), "created");
    let asked = phone.scan(&first, &session).expect(200).json();
    assert_eq!(state_of(&stream.next().unwrap()), "scanned");
    let _folder = first.kill();

    let consent = phone.consent(&asked);
    phone.confirm(&third, &consent).expect(200);
    assert_eq!(state_of(&stream.next().unwrap()), "confirmed");
    let answers: Vec<Answer> = std::thread::scope(|scope| {
        let takers: Vec<_> = (0..8)
            .map(|number| {
                let site = if number % 2 == 0 { &second } else { &third };
                let session = &session;
                scope.spawn(move || consume(site.app(), session))
            })
            .collect();
        takers.into_iter().map(|taker| taker.join().unwrap()).collect()
    });
    let (taken, late): (Vec<_>, Vec<_>) = answers.into_iter().partition(|answer| answer.status == 200);
    assert_eq!(taken.len(), 1, "one consume succeeds");
    for answer in late {
        refused(answer, 409, "session_consumed");
    }
    assert_eq!(state_of(&stream.next().unwrap()), "consumed");
    let entries = audit_on(&server, &database);
    let consumed =
        entries.iter().filter(|entry| entry["action"] == "session.consume" && entry["outcome"] == "ok");
    assert_eq!(consumed.count(), 1, "and is on record once");
    drop((second, third));
    drop(server);
}

#[test]
fn an_app_is_told_of_what_a_phone_did() {
    let folder = Folder::init();
    folder.configure("[site]\n", "[outbound]\nretry_ms = 100\n[site]\n");
    let (site, source) = (folder.serve(), Source::start());
    let told = Arc::new(Mutex::new(Vec::new()));
    let kept = Arc::clone(&told);
    source.answer_with_fields("hook", move |_, body| {
        kept.lock().unwrap().push(serde_json::from_slice::<Value>(body).unwrap());
        Reply::Status(204)
    });
    let app = site.sandbox()["apps"][0]["id"].as_str().unwrap();
    let body = json!({"url": source.url("hook"), "reason": "test"}).to_string();
    let path = format!("/v1/admin/apps/{app}/webhook");
    let json = [("content-type", "application/json")];
    site.app_number(2).send("PUT", &path, &json, Some(body.as_bytes())).expect(200);

    let phone = Phone::good(&site);
    let session = begun(site.app(), &order());
    let asked = phone.scan(&site, &session).expect(200).json();
    phone.scan(&site, &session).expect(200);
    phone.confirm(&site, &phone.consent(&asked)).expect(200);
    consume(site.app(), &session).expect(200);
    let denied = begun(site.app(), &order());
    phone.scan(&site, &denied).expect(200);
    phone.deny(&site, id(&denied)).expect(200);
    let kinds = |of: &Value| -> BTreeSet<(String, u64)> {
        let told = told.lock().unwrap();
        let about = told.iter().filter(|notice| notice["data"]["session"] == of["session"]);
        let kind = |notice: &Value| notice["type"].as_str().unwrap().to_owned();
        about.map(|notice| (kind(notice), notice["data"]["version"].as_u64().unwrap())).collect()
    };
    let wanted = |kinds: &[(&str, u64)]| -> BTreeSet<(String, u64)> {
        kinds.iter().map(|(kind, version)| ((*kind).to_owned(), *version)).collect()
    };
    let both = [
        (&session, wanted(&[("session.scanned", 2), ("session.confirmed", 3)])),
        (&denied, wanted(&[("session.scanned", 2), ("session.rejected", 3)])),
    ];
    for (about, wanted) in both {
        eventually("it was told", SOON, || (kinds(about) == wanted).then_some(()));
    }
}

/// Octets of memory that a process has.
fn memory(process: u32) -> u64 {
    let status = std::fs::read_to_string(format!("/proc/{process}/status")).unwrap();
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).unwrap();
    line.trim().trim_end_matches(" kB").parse::<u64>().unwrap() * 1024
}

#[test]
fn two_thousand_wait_and_one_step_wakes_one() {
    const STREAMS: usize = 2000;
    let site = Site::start();
    let phone = Phone::good(&site);
    let sessions: Vec<_> = (0..100).map(|_| begun(site.app(), &order())).collect();
    let before = memory(site.pid());
    let mut streams: Vec<_> =
        (0..STREAMS).map(|number| events(&site, &sessions[number % sessions.len()], None)).collect();
    for stream in &mut streams {
        assert_eq!(state_of(&stream.next().unwrap()), "created");
    }
    let waiting = || {
        let metrics = site.stranger(None).get("/metrics").expect(200).text();
        let line = metrics.lines().find(|line| line.starts_with("license_gateway_sessions_waiting "));
        line.unwrap().split(' ').nth(1).unwrap().parse::<f64>().unwrap()
    };
    assert_eq!(waiting(), STREAMS as f64);
    // With connection and all: what a stream holds is bounded.
    let each = (memory(site.pid()).saturating_sub(before)) / STREAMS as u64;
    assert!(each < 128 * 1024, "{each} octets for each who waits");
    // Others are served meanwhile: who waits has no place among requests.
    site.app().get("/v1/keys").expect(200);
    phone.scan(&site, &sessions[0]).expect(200);
    for (number, stream) in streams.iter_mut().enumerate().filter(|(number, _)| number % sessions.len() == 0)
    {
        assert_eq!(state_of(&stream.next().unwrap()), "scanned", "stream {number}");
    }
    drop(streams);
    eventually("nobody waits any more", SOON, || (waiting() == 0.0).then_some(()));
}
