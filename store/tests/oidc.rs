//! Logins by OpenID Connect: a code and a refresh token are exchanged once by all who come at once, whatever ends a login ends its tokens,
//! and what is kept of it is read in its own place only.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use crate::support;

use config::AppId;
use store::{
    AuditEntry, AuditLog, DataKey, DataKeys, Login, LoginChange, LoginState, NewLogin, NewPushed, NewToken,
    ScanFlow, ScanState, ScanStep, Store, StoreError, TokenKind,
};
use support::{Database, on_both_databases};
use time::macros::datetime;
use time::{Duration, OffsetDateTime};
use tokio::task::JoinSet;

on_both_databases! {
    of_all_who_exchange_one_code_at_once_one_does_and_of_a_refresh_token_too,
    what_ends_a_login_ends_its_tokens_and_what_is_kept_of_it,
    a_login_goes_forward_only_and_opens_in_its_own_place_only,
    the_secret_for_names_is_made_once_for_all_gateways,
    what_nobody_scans_leaves_nothing_and_is_counted_until_then,
    a_pushed_request_is_taken_once_by_its_app_in_its_time_and_opens_in_its_own_place_only,
}

const AT: OffsetDateTime = datetime!(2026-05-06 07:08:09 UTC);
const CODE: [u8; 32] = [3; 32];
const REFRESH: [u8; 32] = [4; 32];

fn app() -> AppId {
    AppId::parse("portal").unwrap()
}

fn entry(action: &str) -> AuditEntry {
    AuditEntry {
        action: action.to_owned(),
        actor: "portal".to_owned(),
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

async fn unlocked(database: &Database) -> Store {
    let store = database.create().await;
    store.protection().unlock(DataKeys::new(vec![DataKey::new(1, &[1; 32])]).unwrap());
    store
}

fn tokens(refresh: [u8; 32]) -> Vec<NewToken> {
    let token = |digest, kind| NewToken {
        digest,
        kind,
        bound: None,
        credential: Some("credential".to_owned()),
        expires_at: AT + Duration::hours(1),
    };
    let access = refresh.map(|octet| octet ^ 0x80);
    vec![token(access, TokenKind::Access), token(refresh, TokenKind::Refresh)]
}

/// A login whose browser has a code.
async fn granted(store: &Store, log: &AuditLog, id: &str, code: [u8; 32]) -> Login {
    let (app, session) = (app(), format!("session of {id}"));
    let new = NewLogin {
        id,
        app: &app,
        session: &session,
        browser: [2; 32],
        request: b"canary-request-31",
        times: (AT, AT + Duration::minutes(15)),
        device: None,
    };
    log.append_login(entry("begin"), store.new_login(&new).unwrap()).await.unwrap();
    let login = store.login(id, AT).await.unwrap();
    assert_eq!(
        (login.state, login.session.as_str(), login.browser),
        (LoginState::Open, session.as_str(), [2; 32])
    );
    let change =
        store.login_grant(&login, code, b"canary-result-31", (AT, AT + Duration::minutes(1))).unwrap();
    log.append_login(entry("grant"), change).await.unwrap();
    store.login(id, AT).await.unwrap()
}

/// Has eight do a thing at once, at two gateways; how many did.
async fn race(store: &Store, logs: [&AuditLog; 2], change: impl Fn(u8) -> LoginChange) -> usize {
    let mut racing = JoinSet::new();
    for number in 0..8_u8 {
        let (log, change) = (logs[usize::from(number % 2)].clone(), change(number));
        racing.spawn(async move { log.append_login(entry("race"), change).await });
    }
    let mut done = 0;
    while let Some(outcome) = racing.join_next().await {
        match outcome.unwrap() {
            Ok(_) => done += 1,
            Err(StoreError::Changed { .. }) => {}
            Err(error) => panic!("{error}"),
        }
    }
    assert!(store.login("A", AT).await.is_ok());
    done
}

async fn of_all_who_exchange_one_code_at_once_one_does_and_of_a_refresh_token_too(database: &Database) {
    let store = unlocked(database).await;
    let (log, writer) = AuditLog::start_for(&store, "first").await.unwrap();
    let (other, other_writer) = AuditLog::start_for(&store, "second").await.unwrap();
    let login = granted(&store, &log, "A", CODE).await;
    assert_eq!(store.login_of_code(&CODE).await.unwrap().unwrap().id, "A");
    let ends_at = AT + Duration::hours(12);
    let redeem = |number: u8| LoginChange::redeem(&login, tokens([0x10 + number; 32]), ends_at);
    assert_eq!(race(&store, [&log, &other], redeem).await, 1);
    let mut there = Vec::new();
    for number in 0..8_u8 {
        let found = store.login_of_token(&[0x10 + number; 32]).await.unwrap();
        there.extend(found.map(|(login, token)| (number, login.state, token.kind, token.is_used)));
    }
    let [(number, LoginState::Redeemed, TokenKind::Refresh, false)] = there[..] else { panic!("{there:?}") };
    let refresh = [0x10 + number; 32];
    let exchange = |number: u8| LoginChange::exchange(&login, refresh, tokens([0x20 + number; 32]), AT);
    assert_eq!(race(&store, [&log, &other], exchange).await, 1);
    assert!(store.login_of_token(&refresh).await.unwrap().unwrap().1.is_used);
    // Each that was done is on record, and no other.
    let recorded = log.entries(0, 1000).await.unwrap().len() + other.entries(0, 1000).await.unwrap().len();
    assert_eq!(recorded, 4, "begin, grant, one of each race");
    drop((log, other));
    writer.finish().await;
    other_writer.finish().await;
    store.close().await;
}

async fn what_ends_a_login_ends_its_tokens_and_what_is_kept_of_it(database: &Database) {
    let store = unlocked(database).await;
    let (log, writer) = AuditLog::start_for(&store, "first").await.unwrap();
    let login = granted(&store, &log, "A", CODE).await;
    assert_eq!(login.result.as_deref().map(Vec::as_slice), Some(&b"canary-result-31"[..]));
    let ends_at = AT + Duration::hours(12);
    log.append_login(entry("redeem"), LoginChange::redeem(&login, tokens(REFRESH), ends_at)).await.unwrap();
    log.append_login(entry("end"), LoginChange::end(&login)).await.unwrap();
    let (ended, _) = store.login_of_token(&REFRESH).await.unwrap().unwrap();
    assert_eq!(
        (ended.state, ended.request.is_none(), ended.result.is_none()),
        (LoginState::Ended, true, true)
    );
    for late in [
        LoginChange::end(&login),
        LoginChange::exchange(&login, REFRESH, tokens([5; 32]), AT),
        LoginChange::redeem(&login, tokens([6; 32]), ends_at),
    ] {
        let refused = log.append_login(entry("late"), late).await;
        assert!(matches!(refused, Err(StoreError::Changed { .. })), "{refused:?}");
    }
    assert!(store.login_of_token(&[5; 32]).await.unwrap().is_none());
    // It is known until its time is over, and then nothing of it is.
    assert_eq!(store.forget_logins(ends_at).await.unwrap(), 0);
    assert!(store.login("A", ends_at).await.is_err());
    assert_eq!(store.forget_logins(ends_at + Duration::seconds(1)).await.unwrap(), 1);
    assert!(store.login_of_token(&REFRESH).await.unwrap().is_none());
    assert!(store.login_of_code(&CODE).await.unwrap().is_none());
    drop(log);
    writer.finish().await;
    store.close().await;
}

async fn a_login_goes_forward_only_and_opens_in_its_own_place_only(database: &Database) {
    const FORWARD: [&str; 2] =
        ["a login goes forward, a state at a time", "a login stays what it was asked for"];
    let store = unlocked(database).await;
    let (log, writer) = AuditLog::start_for(&store, "first").await.unwrap();
    granted(&store, &log, "A", CODE).await;
    granted(&store, &log, "B", [7; 32]).await;
    let mut raw = database.raw().await;
    for change in ["state = 'open'", "app = 'other'", "session = 'other'", "browser = code_digest"] {
        raw.refused(&format!("UPDATE oidc_logins SET {change} WHERE id = 'A'"), &FORWARD).await;
    }
    for column in ["request", "result"] {
        let swap = format!(
            "UPDATE oidc_logins SET {column} = (SELECT {column} FROM oidc_logins WHERE id = 'B') WHERE id = 'A'"
        );
        raw.execute(&swap).await.unwrap();
        let refused = store.login("A", AT).await.err();
        assert!(matches!(refused, Some(StoreError::Altered { .. })), "{column}: {refused:?}");
        assert!(store.login("B", AT).await.is_ok());
    }
    drop(log);
    writer.finish().await;
    store.close().await;
}

async fn the_secret_for_names_is_made_once_for_all_gateways(database: &Database) {
    let store = unlocked(database).await;
    let mut racing = JoinSet::new();
    for number in 0..8_u8 {
        let store = store.clone();
        racing.spawn(async move { store.pairwise_secret(&[number; 32], AT).await.unwrap().to_vec() });
    }
    let made = racing.join_all().await;
    assert!(made.iter().all(|secret| *secret == made[0]), "{made:?}");
    assert_eq!(store.pairwise_secret(&[9; 32], AT).await.unwrap().to_vec(), made[0]);
    // It stays what it is under the next data key.
    let keys = [1, 2].map(|version| DataKey::new(version, &[version as u8; 32]));
    store.protection().unlock(DataKeys::new(keys.into()).unwrap());
    assert_eq!(store.pairwise_secret(&[9; 32], AT).await.unwrap().to_vec(), made[0]);
    assert_eq!(store.renew_protection().await.unwrap(), 1);
    store.protection().unlock(DataKeys::new(vec![DataKey::new(2, &[2; 32])]).unwrap());
    assert_eq!(store.pairwise_secret(&[9; 32], AT).await.unwrap().to_vec(), made[0]);
    store.close().await;
}

async fn what_nobody_scans_leaves_nothing_and_is_counted_until_then(database: &Database) {
    let store = unlocked(database).await;
    let (log, writer) = AuditLog::start_for(&store, "first").await.unwrap();
    let (app, other) = (app(), AppId::parse("other").unwrap());
    let begin = async |id: &str, app: &AppId| {
        let session = format!("session of {id}");
        let times = (AT, AT + Duration::minutes(5));
        let scan = store.new_scan((&session, app), ScanFlow::Login, b"{}", times, None).unwrap();
        let times = (AT, AT + Duration::minutes(15));
        let new =
            NewLogin { id, app, session: &session, browser: [2; 32], request: b"{}", times, device: None };
        store.begin_login(scan.with(store.new_login(&new).unwrap())).await.unwrap();
        let seen = store.scan_progress(&session).await.unwrap();
        assert_eq!(seen.login.as_deref(), Some(id), "it is no session that an app began");
        store.login(id, AT).await.unwrap()
    };
    let dropped = begin("A", &app).await;
    let scanned = begin("B", &app).await;
    begin("C", &app).await;
    begin("D", &other).await;
    assert_eq!(store.open_logins(&app, AT).await.unwrap(), (3, 4));
    assert_eq!(store.open_logins(&app, AT + Duration::minutes(15)).await.unwrap(), (0, 0), "they are over");
    let session = store.scan_session(&scanned.session).await.unwrap();
    let step = ScanStep { phone: Some([5; 32]), ..ScanStep::to(ScanState::Scanned) };
    let step = store.scan_step(&session, step, AT).unwrap();
    log.append_scan(entry("scan"), step, None).await.unwrap();

    assert!(store.drop_unscanned_login(&dropped).await.unwrap());
    assert!(!store.drop_unscanned_login(&dropped).await.unwrap(), "it is not there any more");
    assert!(!store.drop_unscanned_login(&scanned).await.unwrap(), "somebody has scanned it");
    assert!(store.login("A", AT).await.is_err() && store.scan_progress(&dropped.session).await.is_err());
    assert_eq!(store.open_logins(&app, AT).await.unwrap(), (2, 3));

    // The time of what nobody scanned is over without a word; what somebody scanned is ended and recorded as ever.
    let end = AT + Duration::minutes(5);
    assert_eq!(store.due_scans(end, 10).await.unwrap(), std::slice::from_ref(&scanned.session));
    assert_eq!(store.forget_unscanned_logins(end - Duration::SECOND).await.unwrap(), 0);
    assert_eq!(store.forget_unscanned_logins(end).await.unwrap(), 2);
    assert_eq!(store.open_logins(&app, AT).await.unwrap(), (1, 1));
    assert_eq!(store.scan_progress(&scanned.session).await.unwrap().state, ScanState::Scanned);
    assert_eq!(log.entries(0, 10).await.unwrap().len(), 1, "the scan alone is on record");
    drop(log);
    writer.finish().await;
    store.close().await;
}

async fn a_pushed_request_is_taken_once_by_its_app_in_its_time_and_opens_in_its_own_place_only(
    database: &Database,
) {
    const HOLDS: Duration = Duration::seconds(90);
    let store = unlocked(database).await;
    let (app, other) = (app(), AppId::parse("other").unwrap());
    let push = async |digest: u8, app: &AppId, most| {
        let new = NewPushed {
            digest: [digest; 32],
            app,
            request: b"canary-request-32",
            times: (AT, AT + HOLDS),
            most,
        };
        store.push_request(&new).await.unwrap()
    };
    // As many as may: of the app, and of all.
    assert!(push(1, &app, (2, 3)).await && push(2, &app, (2, 3)).await);
    assert!(!push(3, &app, (2, 3)).await, "the app has as many as it may");
    assert!(push(4, &other, (2, 3)).await);
    assert!(!push(5, &other, (2, 3)).await, "all have as many as they may");

    assert!(store.take_pushed(&[1; 32], &other, AT).await.unwrap().is_none(), "it is another app's");
    assert!(store.take_pushed(&[1; 32], &app, AT + HOLDS).await.unwrap().is_none(), "its time is over");
    let mut racing = JoinSet::new();
    for _ in 0..8 {
        let (store, app) = (store.clone(), app.clone());
        racing.spawn(async move { store.take_pushed(&[1; 32], &app, AT).await.unwrap() });
    }
    let taken: Vec<_> = racing.join_all().await.into_iter().flatten().collect();
    assert_eq!(taken.iter().map(|taken| taken.as_slice()).collect::<Vec<_>>(), [b"canary-request-32"]);
    assert!(push(6, &app, (2, 3)).await, "what was taken counts no more");

    let mut raw = database.raw().await;
    raw.execute("UPDATE oidc_pushed SET app = 'portal' WHERE app = 'other'").await.unwrap();
    let refused = store.take_pushed(&[4; 32], &app, AT).await.err();
    assert!(matches!(refused, Some(StoreError::Altered { .. })), "{refused:?}");
    assert_eq!(store.forget_pushed(AT + HOLDS).await.unwrap(), 0);
    assert_eq!(store.forget_pushed(AT + HOLDS + Duration::SECOND).await.unwrap(), 2);
    store.close().await;
}
