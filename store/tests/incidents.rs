//! Incidents: a step rests on the version that was seen, of one that is the same one is open, and nothing that was said is altered.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use crate::support;

use store::{
    AuditEntry, AuditLog, IncidentAdvance, IncidentChange, IncidentQuery, IncidentStep, NewIncident,
    StoreError,
};
use support::{Database, on_both_databases};
use time::macros::datetime;
use time::{Duration, OffsetDateTime};
use tokio::task::JoinSet;

on_both_databases! {
    of_all_who_open_the_same_or_make_the_same_step_at_once_one_does,
    incidents_are_found_by_what_they_are_and_page_by_page,
    what_was_said_stays,
}

const AT: OffsetDateTime = datetime!(2026-05-06 07:08:09 UTC);

fn entry(action: &str) -> AuditEntry {
    AuditEntry {
        action: action.to_owned(),
        actor: "operator".to_owned(),
        at: AT,
        device: None,
        input_digest: None,
        key: None,
        outcome: "ok".to_owned(),
        request_id: "1".to_owned(),
        result_digest: None,
        subject: None,
    }
}

fn step(minute: i64, said: &str) -> IncidentStep {
    IncidentStep { at: AT + Duration::minutes(minute), actor: "operator".to_owned(), said: said.to_owned() }
}

fn open(id: &str, minute: i64, signature: Option<&str>) -> IncidentChange {
    IncidentChange::Open(NewIncident {
        id: id.to_owned(),
        system: if id.starts_with('S') { "stamps" } else { "devices" }.to_owned(),
        signature: signature.map(str::to_owned),
        step: step(minute, "{\"step\":\"accept\"}"),
    })
}

fn advance(id: &str, version: u32, state: &str, said: &str) -> IncidentChange {
    IncidentChange::Advance(IncidentAdvance {
        id: id.to_owned(),
        version,
        state: state.to_owned(),
        level: (version > 2).then_some(2),
        is_closed: state == "closed",
        step: step(i64::from(version), said),
    })
}

/// Has eight do a thing at once, at two gateways; how many did.
async fn race(logs: [&AuditLog; 2], change: impl Fn(u8) -> IncidentChange) -> usize {
    let mut racing = JoinSet::new();
    for number in 0..8_u8 {
        let (log, change) = (logs[usize::from(number % 2)].clone(), change(number));
        racing.spawn(async move { log.append_incident(entry("race"), change, None).await });
    }
    let mut done = 0;
    while let Some(outcome) = racing.join_next().await {
        match outcome.unwrap() {
            Ok(_) => done += 1,
            Err(StoreError::Changed { .. } | StoreError::AlreadyExists { .. }) => {}
            Err(error) => panic!("{error}"),
        }
    }
    done
}

async fn of_all_who_open_the_same_or_make_the_same_step_at_once_one_does(database: &Database) {
    let store = database.create().await;
    let (log, writer) = AuditLog::start_for(&store, "first").await.unwrap();
    let (other, other_writer) = AuditLog::start_for(&store, "second").await.unwrap();
    assert_eq!(race([&log, &other], |number| open(&format!("D{number}"), 0, Some("same"))).await, 1);
    let which = IncidentQuery { signature: Some("same"), ..IncidentQuery::default() };
    let found = store.incidents(&which, 10).await.unwrap();
    let [incident] = &found[..] else { panic!("{found:?}") };
    let id = incident.id.as_str();
    let said = |number: u8| format!("{{\"by\":{number}}}");
    assert_eq!(race([&log, &other], |number| advance(id, 1, "registered", &said(number))).await, 1);
    let told = |_| IncidentChange::Told { id: id.to_owned(), of: 2 };
    assert_eq!(race([&log, &other], told).await, 1);
    let incident = store.incident(id).await.unwrap();
    assert_eq!((incident.version, incident.told, incident.steps.len()), (2, 2, 2));
    // What has no signature is never the same.
    assert_eq!(race([&log, &other], |number| open(&format!("S{number}"), 0, None)).await, 8);
    // Each that was done is on record, and no other.
    let recorded = log.entries(0, 1000).await.unwrap().len() + other.entries(0, 1000).await.unwrap().len();
    assert_eq!(recorded, 3 + 8);
    drop((log, other));
    writer.finish().await;
    other_writer.finish().await;
    store.close().await;
}

async fn incidents_are_found_by_what_they_are_and_page_by_page(database: &Database) {
    let store = database.create().await;
    let (log, writer) = AuditLog::start_for(&store, "first").await.unwrap();
    // Two at the same moment: the page between them loses none.
    for (id, minute, signature) in
        [("D1", 0, Some("same")), ("D2", 5, None), ("D3", 5, None), ("S4", 9, Some("other"))]
    {
        log.append_incident(entry("open"), open(id, minute, signature), None).await.unwrap();
    }
    log.append_incident(entry("close"), advance("D1", 1, "closed", "{}"), None).await.unwrap();
    let ids = async |which: IncidentQuery<'_>, limit| {
        let found = store.incidents(&which, limit).await.unwrap();
        found.into_iter().map(|incident| incident.id).collect::<Vec<_>>()
    };
    let all = IncidentQuery::default();
    assert_eq!(ids(all.clone(), 10).await, ["S4", "D3", "D2", "D1"]);
    assert_eq!(ids(all.clone(), 2).await, ["S4", "D3"]);
    assert_eq!(ids(IncidentQuery { after: Some("D3"), ..all.clone() }, 10).await, ["D2", "D1"]);
    assert_eq!(ids(IncidentQuery { open: Some(false), ..all.clone() }, 10).await, ["D1"]);
    assert_eq!(ids(IncidentQuery { open: Some(true), ..all.clone() }, 10).await, ["S4", "D3", "D2"]);
    assert_eq!(ids(IncidentQuery { system: Some("stamps"), ..all.clone() }, 10).await, ["S4"]);
    let span = |from, before| IncidentQuery {
        from: Some(AT + Duration::minutes(from)),
        before: Some(AT + Duration::minutes(before)),
        ..IncidentQuery::default()
    };
    assert_eq!(ids(span(0, 5), 10).await, ["D1"]);
    assert_eq!(ids(span(5, 9), 10).await, ["D3", "D2"]);
    let missing = store.incidents(&IncidentQuery { after: Some("D9"), ..all }, 10).await;
    assert!(matches!(missing, Err(StoreError::NotFound { .. })), "{missing:?}");
    for absent in ["D9", "", "\0"] {
        assert!(matches!(store.incident(absent).await, Err(StoreError::NotFound { .. })), "{absent:?}");
    }

    // Of what is closed another one may be opened; what is open is counted.
    assert_eq!(store.incident_seen("same", AT).await.unwrap(), None);
    log.append_incident(entry("open"), open("D5", 20, Some("same")), None).await.unwrap();
    for _ in 0..2 {
        assert_eq!(store.incident_seen("same", AT + Duration::HOUR).await.unwrap().as_deref(), Some("D5"));
    }
    let seen = store.incident("D5").await.unwrap();
    assert_eq!((seen.seen, seen.seen_at, seen.version), (2, Some(AT + Duration::HOUR), 1));
    drop(log);
    writer.finish().await;
    store.close().await;
}

async fn what_was_said_stays(database: &Database) {
    let store = database.create().await;
    let (log, writer) = AuditLog::start_for(&store, "first").await.unwrap();
    log.append_incident(entry("open"), open("D1", 0, Some("same")), None).await.unwrap();
    log.append_incident(entry("close"), advance("D1", 1, "closed", "{\"canary\":1}"), None).await.unwrap();
    for late in [advance("D1", 2, "registered", "{}"), advance("D1", 1, "registered", "{}")] {
        let refused = log.append_incident(entry("late"), late, None).await;
        assert!(matches!(refused, Err(StoreError::Changed { .. })), "{refused:?}");
    }
    let mut raw = database.raw().await;
    const FORWARD: [&str; 1] = ["an incident goes forward by its steps, and stays closed"];
    for change in [
        "version = 3",
        "version = 1",
        "system = 'stamps'",
        "signature = 'other'",
        "accepted_at = accepted_at + 1",
    ] {
        raw.refused(&format!("UPDATE incidents SET {change} WHERE id = 'D1'"), &FORWARD).await;
    }
    raw.refused("DELETE FROM incidents WHERE id = 'D1'", &["an incident is never forgotten"]).await;
    for change in ["UPDATE incident_steps SET said = '{}'", "DELETE FROM incident_steps"] {
        raw.refused(change, &["a step that was made stays"]).await;
    }
    assert_eq!(store.incident("D1").await.unwrap().steps[1].said, "{\"canary\":1}");
    drop((log, raw));
    writer.finish().await;
    store.close().await;
}
