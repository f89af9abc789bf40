//! Sessions of people who scan: a session goes on once for all who act at once, at whichever gateway, with its record or not
//! at all, and what it says is read in its own place only.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use crate::support;

use config::{AppId, Secret};
use serde_json::json;
use store::{
    App, AuditEntry, AuditLog, AuditWriter, ClaimLimits, DataKey, DataKeys, NewWebhook, ScanFlow,
    ScanSession, ScanState, ScanStep, Store, StoreError,
};
use support::{Database, on_both_databases};
use time::macros::datetime;
use time::{Duration, OffsetDateTime};
use tokio::task::JoinSet;

on_both_databases! {
    a_session_is_found_as_it_was_begun_and_readable_for_nobody_else,
    of_all_who_act_at_once_at_two_gateways_one_takes_a_session_each_state_further,
    what_a_lost_gateway_left_another_goes_on_with_and_one_consume_counts,
    a_second_phone_and_a_late_one_change_nothing,
    only_a_step_that_follows_is_taken_whoever_writes_it,
    a_code_takes_the_place_of_another_with_its_own_session_or_neither_is_done,
    an_app_is_told_of_a_step_if_it_was_taken_and_only_then,
    sessions_whose_time_is_over_are_found_those_first_that_wait_longest,
    what_ended_goes_a_while_later_and_what_goes_on_stays,
    what_was_sealed_for_another_session_or_app_does_not_open,
    without_a_data_key_nothing_is_begun_and_how_far_one_is_is_told,
}

const AT: OffsetDateTime = datetime!(2026-05-06 07:08:09 UTC);
const PHONE: [u8; 32] = [1; 32];
const OTHER_PHONE: [u8; 32] = [2; 32];
const TERMS: &[u8] = br#"{"app":"portal","canary":"canary-terms-31"}"#;
const RESULT: &[u8] = br#"{"consent":"canary-result-31"}"#;
/// The way of a session that comes to its end.
const WAY: [ScanState; 3] = [ScanState::Scanned, ScanState::Confirmed, ScanState::Consumed];

fn app(name: &str) -> AppId {
    AppId::parse(name).unwrap()
}

fn entry(action: &str, id: &str) -> AuditEntry {
    AuditEntry {
        action: action.to_owned(),
        actor: "phone:0101010101010101".to_owned(),
        at: AT,
        device: None,
        input_digest: None,
        key: None,
        outcome: "ok".to_owned(),
        request_id: "1".to_owned(),
        result_digest: None,
        subject: Some(id.to_owned()),
    }
}

async fn unlocked(database: &Database) -> Store {
    let store = database.create().await;
    store.protection().unlock(DataKeys::new(vec![DataKey::new(1, &[1; 32])]).unwrap());
    store
}

/// A gateway on the database.
struct Replica {
    store: Store,
    log: AuditLog,
    writer: AuditWriter,
}

impl Replica {
    async fn start(store: &Store, name: &str) -> Self {
        let (log, writer) = AuditLog::start_for(store, name).await.unwrap();
        Self { store: store.clone(), log, writer }
    }

    async fn begin(&self, id: &str, of: &str) {
        let until = AT + Duration::seconds(300);
        let change = self.store.new_scan((id, &app(of)), ScanFlow::Login, TERMS, (AT, until), None).unwrap();
        self.log.append_scan(entry("session.create", id), change, None).await.unwrap();
    }

    async fn session(&self, id: &str) -> ScanSession {
        self.store.scan_session(id).await.unwrap()
    }

    /// Takes a session as it was found further.
    async fn take(&self, session: &ScanSession, step: ScanStep) -> Result<u64, StoreError> {
        let action = format!("session.{}", step.to);
        let change = self.store.scan_step(session, step, AT + Duration::seconds(1)).unwrap();
        self.log.append_scan(entry(&action, &session.id), change, None).await
    }

    /// Takes a session along its way as far as this state.
    async fn bring(&self, id: &str, to: ScanState) -> ScanSession {
        let present = self.session(id).await.state;
        let from = WAY.iter().position(|state| *state == present).map_or(0, |at| at + 1);
        for state in WAY.into_iter().skip(from).take_while(|state| *state != to).chain([to]) {
            self.take(&self.session(id).await, step(state)).await.unwrap();
        }
        self.session(id).await
    }

    async fn recorded(&self, action: &str) -> usize {
        let entries = self.log.entries(0, 1000).await.unwrap();
        entries.iter().filter(|stored| holds(&stored.entry, &format!("\"action\":\"{action}\""))).count()
    }

    async fn finish(self) {
        drop(self.log);
        self.writer.finish().await;
    }
}

fn step(to: ScanState) -> ScanStep {
    let phone = (to == ScanState::Scanned).then_some(PHONE);
    let result = (to == ScanState::Confirmed).then(|| RESULT.to_vec().into());
    let expires_at = (to == ScanState::Confirmed).then_some(AT + Duration::seconds(600));
    ScanStep { phone, result, expires_at, ..ScanStep::to(to) }
}

fn holds(octets: &[u8], text: &str) -> bool {
    octets.windows(text.len()).any(|window| window == text.as_bytes())
}

async fn a_session_is_found_as_it_was_begun_and_readable_for_nobody_else(database: &Database) {
    let store = unlocked(database).await;
    let replica = Replica::start(&store, "first").await;
    replica.begin("A", "portal").await;
    let session = replica.session("A").await;
    assert_eq!((session.app.as_str(), session.flow, session.version), ("portal", ScanFlow::Login, 1));
    assert_eq!((session.state, session.phone), (ScanState::Created, None));
    assert_eq!(session.terms.as_ref().unwrap().as_slice(), TERMS);
    assert!(session.result.is_none() && session.replaced_by.is_none());
    assert_eq!((session.created_at, session.expires_at), (AT, AT + Duration::seconds(300)));

    let session = replica.bring("A", ScanState::Confirmed).await;
    assert_eq!((session.version, session.phone), (3, Some(PHONE)));
    assert_eq!(session.result.as_ref().unwrap().as_slice(), RESULT);
    assert_eq!(session.expires_at, AT + Duration::seconds(600), "as it was said for this state");
    let progress = store.scan_progress("A").await.unwrap();
    assert_eq!((progress.state, progress.version, progress.app), (ScanState::Confirmed, 3, app("portal")));
    let contents = database.contents();
    for canary in ["canary-terms-31", "canary-result-31"] {
        assert!(!holds(&contents, canary), "{canary} is sealed");
    }
    for id in ["B", "", "a\0b", "A'"] {
        let missing = store.scan_session(id).await.map(|session| session.id);
        assert!(matches!(missing, Err(StoreError::NotFound { what: "session", .. })), "{missing:?}");
        assert!(matches!(store.scan_progress(id).await, Err(StoreError::NotFound { .. })));
    }
    // An id is given once.
    let until = AT + Duration::seconds(300);
    let again = store.new_scan(("A", &app("other")), ScanFlow::Sign, TERMS, (AT, until), None).unwrap();
    let again = replica.log.append_scan(entry("session.create", "A"), again, None).await;
    assert!(again.is_err(), "{again:?}");
    assert_eq!(replica.session("A").await.app, app("portal"));
    replica.begin("B", "portal").await; // nobody else is held up by it
    replica.finish().await;
}

async fn of_all_who_act_at_once_at_two_gateways_one_takes_a_session_each_state_further(database: &Database) {
    let store = unlocked(database).await;
    let (first, second) = (Replica::start(&store, "first").await, Replica::start(&store, "second").await);
    first.begin("A", "portal").await;
    for (number, state) in (2..).zip(WAY) {
        let session = first.session("A").await;
        let mut acting = JoinSet::new();
        for turn in 0..12 {
            let log = if turn % 2 == 0 { first.log.clone() } else { second.log.clone() };
            let change = store.scan_step(&session, step(state), AT + Duration::seconds(1)).unwrap();
            acting.spawn(async move {
                log.append_scan(entry(&format!("session.{state}"), "A"), change, None).await
            });
        }
        let answers = acting.join_all().await;
        let (done, late): (Vec<_>, Vec<_>) = answers.into_iter().partition(Result::is_ok);
        assert_eq!((done.len(), late.len()), (1, 11), "{state}");
        for late in late {
            assert!(matches!(late, Err(StoreError::Changed { what: "session", .. })), "{late:?}");
        }
        let session = first.session("A").await;
        assert_eq!((session.state, session.version), (state, number), "one state, not eleven");
        let action = format!("session.{state}");
        assert_eq!(
            first.recorded(&action).await + second.recorded(&action).await,
            1,
            "{action} is on record once"
        );
    }
    first.finish().await;
    second.finish().await;
}

async fn what_a_lost_gateway_left_another_goes_on_with_and_one_consume_counts(database: &Database) {
    let store = unlocked(database).await;
    let (first, second) = (Replica::start(&store, "first").await, Replica::start(&store, "second").await);
    first.begin("A", "portal").await;
    let scanned = first.bring("A", ScanState::Scanned).await;
    let confirmed_late = store.scan_step(&scanned, step(ScanState::Confirmed), AT).unwrap();
    // The gateway that scanned is gone; another one goes on from what is there.
    first.finish().await;
    second.bring("A", ScanState::Confirmed).await;
    let confirmed = second.session("A").await;
    second.take(&confirmed, step(ScanState::Consumed)).await.unwrap();
    // What rests on what the lost one had seen comes too late, as does a second consume.
    let late = second.log.append_scan(entry("session.confirmed", "A"), confirmed_late, None).await;
    assert!(matches!(late, Err(StoreError::Changed { .. })), "{late:?}");
    let again = second.take(&confirmed, step(ScanState::Consumed)).await;
    assert!(matches!(again, Err(StoreError::Changed { .. })), "{again:?}");
    assert_eq!(second.recorded("session.consumed").await, 1);
    assert_eq!(second.session("A").await.version, 4);
    second.finish().await;
}

async fn a_second_phone_and_a_late_one_change_nothing(database: &Database) {
    let store = unlocked(database).await;
    let replica = Replica::start(&store, "first").await;
    replica.begin("A", "portal").await;
    let created = replica.session("A").await;
    replica.take(&created, step(ScanState::Scanned)).await.unwrap();
    let other = ScanStep { phone: Some(OTHER_PHONE), ..ScanStep::to(ScanState::Scanned) };
    let second = replica.take(&created, other).await;
    assert!(matches!(second, Err(StoreError::Changed { .. })), "{second:?}");
    assert_eq!(replica.session("A").await.phone, Some(PHONE));
    // It expired in the moment in which a phone confirmed.
    let scanned = replica.session("A").await;
    replica.take(&scanned, ScanStep::to(ScanState::Expired)).await.unwrap();
    let late = replica.take(&scanned, step(ScanState::Confirmed)).await;
    assert!(matches!(late, Err(StoreError::Changed { .. })), "{late:?}");
    let ended = replica.session("A").await;
    assert_eq!((ended.state, ended.version), (ScanState::Expired, 3));
    assert!(ended.result.is_none(), "what came too late is not kept");
    replica.finish().await;
}

async fn only_a_step_that_follows_is_taken_whoever_writes_it(database: &Database) {
    const REFUSAL: [&str; 2] =
        ["a session goes forward, a state at a time", "a session stays what it was asked for"];
    let store = unlocked(database).await;
    let replica = Replica::start(&store, "first").await;
    for (number, (from, to)) in [
        (ScanState::Scanned, ScanState::Consumed),
        (ScanState::Scanned, ScanState::Created),
        (ScanState::Confirmed, ScanState::Cancelled),
        (ScanState::Confirmed, ScanState::Rejected),
        (ScanState::Consumed, ScanState::Confirmed),
        (ScanState::Consumed, ScanState::Expired),
    ]
    .into_iter()
    .enumerate()
    {
        let id = format!("S{number}");
        replica.begin(&id, "portal").await;
        let session = replica.bring(&id, from).await;
        let wrong = replica.take(&session, ScanStep::to(to)).await;
        assert!(wrong.is_err(), "{from} {to}");
        let mut raw = database.raw().await;
        for change in [
            format!("state = '{to}', version = version + 1"),
            "state = 'expired', version = version + 2".to_owned(),
            "state = 'replaced'".to_owned(),
            "app = 'other'".to_owned(),
            "flow = 'sign'".to_owned(),
            "created_at = 0".to_owned(),
        ] {
            raw.refused(&format!("UPDATE scan_sessions SET {change} WHERE id = '{id}'"), &REFUSAL).await;
        }
        let found = replica.session(&id).await;
        assert_eq!((found.state, found.version), (from, session.version), "{from} {to}");
    }
    replica.finish().await;
}

async fn a_code_takes_the_place_of_another_with_its_own_session_or_neither_is_done(database: &Database) {
    let store = unlocked(database).await;
    let replica = Replica::start(&store, "first").await;
    replica.begin("A", "portal").await;
    let old = replica.session("A").await;
    let until = AT + Duration::seconds(300);
    let replacing = |id: &str| {
        store.new_scan((id, &app("portal")), ScanFlow::Login, TERMS, (AT, until), Some(&old)).unwrap()
    };
    let (one, two) = (replacing("B"), replacing("C"));
    replica.log.append_scan(entry("session.create", "B"), one, None).await.unwrap();
    let late = replica.log.append_scan(entry("session.create", "C"), two, None).await;
    assert!(matches!(late, Err(StoreError::Changed { .. })), "{late:?}");
    let old = replica.session("A").await;
    assert_eq!((old.state, old.replaced_by.as_deref()), (ScanState::Replaced, Some("B")));
    assert_eq!(replica.session("B").await.state, ScanState::Created);
    let none = store.scan_progress("C").await;
    assert!(matches!(none, Err(StoreError::NotFound { .. })), "a code that took no place is none: {none:?}");
    assert_eq!(replica.recorded("session.create").await, 2, "nor is it on record");
    replica.finish().await;
}

async fn an_app_is_told_of_a_step_if_it_was_taken_and_only_then(database: &Database) {
    const LIMITS: ClaimLimits =
        ClaimLimits { most: 100, per_app: 100, lease: std::time::Duration::from_secs(30) };
    let store = unlocked(database).await;
    store.insert_app(&App::new(app("portal"), "portal"), &[], AT).await.unwrap();
    let webhook = NewWebhook {
        id: "wh_portal".to_owned(),
        url: "https://portal.example/notices".to_owned(),
        secret: Secret::new(b"a secret of thirty-two octets ...".to_vec()),
    };
    store.set_webhook(&app("portal"), &webhook, AT).await.unwrap();
    let replica = Replica::start(&store, "first").await;
    replica.begin("A", "portal").await;
    let created = replica.session("A").await;
    let scan = || ScanStep {
        notice: Some(("session.scanned", json!({"session": "A", "version": 2}))),
        ..step(ScanState::Scanned)
    };
    replica.take(&created, scan()).await.unwrap();
    assert!(replica.take(&created, scan()).await.is_err(), "somebody else came first");
    let told = store.claim_deliveries("run", LIMITS, AT + Duration::minutes(1)).await.unwrap();
    assert_eq!(told.len(), 1, "once");
    assert_eq!(
        (told[0].delivery.kind.as_str(), told[0].delivery.app.as_str()),
        ("session.scanned", "portal")
    );
    assert!(holds(&told[0].body, r#""session":"A""#));
    replica.finish().await;
}

async fn sessions_whose_time_is_over_are_found_those_first_that_wait_longest(database: &Database) {
    let store = unlocked(database).await;
    let replica = Replica::start(&store, "first").await;
    for (id, seconds) in [("A", 30), ("B", 20), ("C", 40), ("D", 10), ("E", 10)] {
        let until = AT + Duration::seconds(seconds);
        let change = store.new_scan((id, &app("portal")), ScanFlow::Login, TERMS, (AT, until), None).unwrap();
        replica.log.append_scan(entry("session.create", id), change, None).await.unwrap();
    }
    let cancelled = replica.session("E").await;
    replica.take(&cancelled, ScanStep::to(ScanState::Cancelled)).await.unwrap();
    replica.bring("B", ScanState::Scanned).await;
    let due =
        async |seconds: i64, most: u32| store.due_scans(AT + Duration::seconds(seconds), most).await.unwrap();
    assert_eq!(due(9, 10).await, [""; 0]);
    assert_eq!(due(10, 10).await, ["D"], "at its very end, and what ended before is not due");
    assert_eq!(due(35, 10).await, ["D", "B", "A"]);
    assert_eq!(due(60, 2).await, ["D", "B"]);
    // What was confirmed has another end.
    replica.bring("A", ScanState::Confirmed).await;
    assert_eq!(due(60, 10).await, ["D", "B", "C"]);
    assert_eq!(due(600, 10).await, ["D", "B", "C", "A"]);
    replica.finish().await;
}

async fn what_ended_goes_a_while_later_and_what_goes_on_stays(database: &Database) {
    let store = unlocked(database).await;
    let replica = Replica::start(&store, "first").await;
    for id in ["ended", "open"] {
        replica.begin(id, "portal").await;
        replica.bring(id, ScanState::Confirmed).await;
    }
    let confirmed = replica.session("ended").await;
    replica.take(&confirmed, step(ScanState::Consumed)).await.unwrap();
    let ended = AT + Duration::seconds(1);
    assert_eq!(store.forget_scans(ended, ended).await.unwrap(), (0, 0), "not yet");
    let later = ended + Duration::seconds(1);
    assert_eq!(store.forget_scans(later, ended).await.unwrap(), (1, 0));
    assert_eq!(store.forget_scans(later, ended).await.unwrap(), (0, 0), "once");
    let emptied = replica.session("ended").await;
    assert!(emptied.terms.is_none() && emptied.result.is_none() && emptied.phone.is_none());
    assert_eq!((emptied.state, emptied.version), (ScanState::Consumed, 4), "how it ended is still told");
    assert_eq!(store.forget_scans(later, later).await.unwrap(), (0, 1));
    assert!(matches!(store.scan_session("ended").await.map(drop), Err(StoreError::NotFound { .. })));
    let open = replica.session("open").await;
    assert!(open.terms.is_some() && open.result.is_some() && open.phone == Some(PHONE));
    replica.finish().await;
}

async fn what_was_sealed_for_another_session_or_app_does_not_open(database: &Database) {
    let store = unlocked(database).await;
    let replica = Replica::start(&store, "first").await;
    for (id, of) in [("A", "portal"), ("B", "portal"), ("C", "other")] {
        replica.begin(id, of).await;
        replica.bring(id, ScanState::Confirmed).await;
    }
    let mut raw = database.raw().await;
    for (column, from) in [("terms", "B"), ("result", "B"), ("terms", "C"), ("result", "C")] {
        raw.execute(&format!("CREATE TABLE aside AS SELECT {column} FROM scan_sessions WHERE id = 'A'"))
            .await
            .unwrap();
        let swap = |source: &str| format!("UPDATE scan_sessions SET {column} = ({source}) WHERE id = 'A'");
        raw.execute(&swap(&format!("SELECT {column} FROM scan_sessions WHERE id = '{from}'"))).await.unwrap();
        let opened = store.scan_session("A").await.map(|session| session.id);
        assert!(matches!(opened, Err(StoreError::Altered { .. })), "{column} of {from}: {opened:?}");
        raw.execute(&swap(&format!("SELECT {column} FROM aside"))).await.unwrap();
        raw.execute("DROP TABLE aside").await.unwrap();
        assert_eq!(replica.session("A").await.id, "A");
    }
    // What of one member is put where the other belongs.
    raw.execute("UPDATE scan_sessions SET result = terms WHERE id = 'A'").await.unwrap();
    assert!(matches!(store.scan_session("A").await.map(drop), Err(StoreError::Altered { .. })));
    replica.finish().await;
}

async fn without_a_data_key_nothing_is_begun_and_how_far_one_is_is_told(database: &Database) {
    let store = unlocked(database).await;
    let replica = Replica::start(&store, "first").await;
    replica.begin("A", "portal").await;
    replica.finish().await;
    drop(store);
    let locked = database.create().await;
    let until = AT + Duration::seconds(300);
    let begun = locked.new_scan(("B", &app("portal")), ScanFlow::Login, TERMS, (AT, until), None);
    assert!(matches!(begun.map(drop), Err(StoreError::Locked)));
    assert!(matches!(locked.scan_session("A").await.map(drop), Err(StoreError::Locked)));
    assert_eq!(locked.scan_progress("A").await.unwrap().state, ScanState::Created);
}
