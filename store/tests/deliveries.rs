//! What is on its way to apps: told if it happened, at least once, each app in its turn, and readable for nobody with the
//! database alone.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use crate::support;

use std::collections::BTreeSet;
use std::time::Duration;

use config::{AppId, Secret};
use serde_json::{Value, json};
use store::{
    App, AppState, Attempted, ClaimLimits, ClaimedDelivery, DataKey, DataKeys, DeliveryState, Material,
    NewCredential, NewWebhook, Notice, Store, StoreError,
};
use support::{Database, on_both_databases};
use time::OffsetDateTime;
use time::macros::datetime;

on_both_databases! {
    a_webhook_comes_back_with_its_secret_and_one_that_was_altered_does_not,
    a_new_data_key_takes_webhooks_over,
    an_app_is_told_what_was_done_to_it_and_only_if_it_was_done,
    what_was_claimed_is_not_claimed_again_before_its_lease_ends,
    of_many_who_claim_at_once_each_delivery_is_one_ones,
    who_is_slow_leaves_the_others_their_share,
    who_has_others_on_their_way_comes_after_who_has_none,
    one_that_cannot_be_read_keeps_no_other_waiting,
    only_who_holds_it_says_what_came_of_it,
    a_dead_delivery_is_made_again_and_no_other_one,
    what_was_altered_is_not_sent,
    what_is_too_much_is_dead_at_once,
    what_ended_is_forgotten,
    without_a_data_key_nothing_is_told,
}

const AT: OffsetDateTime = datetime!(2026-05-06 07:08:09 UTC);
const LIMITS: ClaimLimits = ClaimLimits { most: 100, per_app: 2, lease: Duration::from_secs(30) };

fn id(name: &str) -> AppId {
    AppId::parse(name).unwrap()
}

fn webhook(name: &str) -> NewWebhook {
    NewWebhook {
        id: format!("wh_{name}"),
        url: format!("https://{name}.example/notices"),
        secret: Secret::new(b"a secret of thirty-two octets ...".to_vec()),
    }
}

async fn with_webhooks(database: &Database, apps: &[&str]) -> Store {
    let store = database.create().await;
    store.protection().unlock(DataKeys::new(vec![DataKey::new(1, &[1; 32])]).unwrap());
    for app in apps {
        store.insert_app(&App::new(id(app), *app), &[], AT).await.unwrap();
        store.set_webhook(&id(app), &webhook(app), AT).await.unwrap();
    }
    store
}

async fn tell(store: &Store, app: &str) -> String {
    let notice = Notice::new(&id(app), "webhook.test", json!({"said": "打烊"})).unwrap();
    assert!(store.notify(&notice, AT).await.unwrap());
    notice.id
}

fn ids(claimed: &[ClaimedDelivery]) -> BTreeSet<String> {
    claimed.iter().map(|claimed| claimed.delivery.id.clone()).collect()
}

async fn a_webhook_comes_back_with_its_secret_and_one_that_was_altered_does_not(database: &Database) {
    let store = with_webhooks(database, &["one", "two"]).await;
    let held = store.webhook(&id("one")).await.unwrap().unwrap();
    let new = webhook("one");
    assert_eq!((&held.id, &held.url, held.set_at), (&new.id, &new.url, AT));
    assert_eq!(held.secret.expose(), new.secret.expose());
    assert!(!format!("{held:?}").contains("thirty-two"));
    let stored = database.contents();
    assert!(!stored.windows(10).any(|octets| octets == b"thirty-two"), "the secret is sealed");

    let other = NewWebhook { id: "wh_other".to_owned(), ..webhook("other") };
    store.set_webhook(&id("one"), &other, AT + Duration::from_secs(1)).await.unwrap();
    assert_eq!(store.webhook(&id("one")).await.unwrap().unwrap().url, other.url);
    let error = store.set_webhook(&id("nobody"), &new, AT).await.unwrap_err();
    assert!(matches!(error, StoreError::NotFound { what: "app", .. }), "{error:?}");

    let mut raw = database.raw().await;
    raw.execute("UPDATE webhooks SET url = 'https://attacker.example/' WHERE app = 'one'").await.unwrap();
    let error = store.webhook(&id("one")).await.unwrap_err();
    assert!(matches!(error, StoreError::Altered { what: "webhooks", .. }), "{error:?}");
    // Another app's row with its code is no good either.
    raw.execute("DELETE FROM webhooks WHERE app = 'one'").await.unwrap();
    raw.execute("UPDATE webhooks SET app = 'one' WHERE app = 'two'").await.unwrap();
    assert!(matches!(store.webhook(&id("one")).await, Err(StoreError::Altered { .. })));

    // What rests on an older state of the register overwrites nothing.
    let seen = store.app_revision().await.unwrap();
    store.set_webhook(&id("one"), &other, AT + Duration::from_secs(1)).await.unwrap();
    let late = store.set_webhook(&id("one"), &new, store::Terms::from(AT).since(Some(seen))).await;
    assert!(matches!(late, Err(StoreError::Changed { .. })), "{late:?}");
    store.remove_webhook(&id("one")).await.unwrap();
    assert!(store.webhook(&id("one")).await.unwrap().is_none());
    let error = store.remove_webhook(&id("one")).await.unwrap_err();
    assert!(matches!(error, StoreError::NotFound { what: "webhook", .. }), "{error:?}");
}

async fn a_new_data_key_takes_webhooks_over(database: &Database) {
    let store = with_webhooks(database, &["one"]).await;
    tell(&store, "one").await;
    let both = vec![DataKey::new(1, &[1; 32]), DataKey::new(2, &[2; 32])];
    store.protection().unlock(DataKeys::new(both).unwrap());
    assert_eq!(store.protection().version().unwrap(), 2);
    assert!(store.renew_protection().await.unwrap() >= 1);
    // What waits is under the older one, which stays.
    assert_eq!(store.claim_deliveries("run", LIMITS, AT).await.unwrap().len(), 1);
    store.protection().unlock(DataKeys::new(vec![DataKey::new(2, &[2; 32])]).unwrap());
    let held = store.webhook(&id("one")).await.unwrap().unwrap();
    assert_eq!(held.secret.expose(), webhook("one").secret.expose());
}

async fn an_app_is_told_what_was_done_to_it_and_only_if_it_was_done(database: &Database) {
    let store = with_webhooks(database, &["one"]).await;
    store.insert_app(&App::new(id("untold"), "untold"), &[], AT).await.unwrap();
    let credential = |name: &str| NewCredential {
        id: name.to_owned(),
        material: Material::of_api_key(name),
        label: String::new(),
        not_before: AT,
        not_after: None,
    };
    store.add_credential(&id("one"), &credential("c1"), None, AT).await.unwrap();
    store.add_credential(&id("one"), &credential("c1"), None, AT).await.unwrap_err();
    store.revoke_credential(&id("one"), "c1", "lost", AT).await.unwrap();
    store.revoke_credential(&id("one"), "c2", "lost", AT).await.unwrap_err();
    store.set_app_state(&id("one"), AppState::Disabled, "holidays", AT).await.unwrap();
    store.freeze_app(&id("one"), "attack", AT).await.unwrap();
    store.freeze_app(&id("untold"), "attack", AT).await.unwrap();

    let all = ClaimLimits { per_app: 100, ..LIMITS };
    let claimed = store.claim_deliveries("run", all, AT).await.unwrap();
    let mut told: Vec<(String, Value)> = claimed
        .iter()
        .map(|claimed| {
            let body: Value = serde_json::from_slice(&claimed.body).unwrap();
            assert_eq!(body["timestamp"], "2026-05-06T07:08:09Z");
            assert_eq!(body["type"], claimed.delivery.kind);
            (claimed.delivery.kind.clone(), body["data"].clone())
        })
        .collect();
    told.sort_by_key(|(kind, data)| (kind.clone(), data.to_string()));
    let added = json!({"app": "one", "credential": "c1", "kind": "api-key", "replaces": null});
    let wanted = [
        ("app.credential_added", added),
        ("app.credential_revoked", json!({"app": "one", "credential": "c1"})),
        ("app.state_changed", json!({"app": "one", "state": "disabled"})),
        ("app.state_changed", json!({"app": "one", "state": "locked"})),
    ];
    assert_eq!(told, wanted.map(|(kind, data)| (kind.to_owned(), data)));
    assert!(store.deliveries(Some(&id("untold")), None).await.unwrap().is_empty());
}

async fn what_was_claimed_is_not_claimed_again_before_its_lease_ends(database: &Database) {
    let store = with_webhooks(database, &["one"]).await;
    let told = tell(&store, "one").await;
    assert!(store.claim_deliveries("a", LIMITS, AT - Duration::from_secs(1)).await.unwrap().is_empty());
    let [claimed] = &store.claim_deliveries("a", LIMITS, AT).await.unwrap()[..] else { panic!("one is due") };
    assert_eq!((&claimed.delivery.id, claimed.delivery.attempts), (&told, 1));
    assert!(store.claim_deliveries("b", LIMITS, AT + Duration::from_secs(29)).await.unwrap().is_empty());
    // The first one was lost.
    let later = AT + LIMITS.lease;
    let [again] = &store.claim_deliveries("b", LIMITS, later).await.unwrap()[..] else {
        panic!("taken over")
    };
    assert_eq!((&again.delivery.id, again.delivery.attempts), (&told, 2));
    assert_eq!(again.body, claimed.body, "octet by octet the same");
}

async fn of_many_who_claim_at_once_each_delivery_is_one_ones(database: &Database) {
    let apps: Vec<String> = (0..10).map(|number| format!("app-{number}")).collect();
    let names: Vec<&str> = apps.iter().map(String::as_str).collect();
    let store = with_webhooks(database, &names).await;
    for app in &names {
        tell(&store, app).await;
        tell(&store, app).await;
    }
    let claims: Vec<_> = (0..8)
        .map(|number| {
            let store = store.clone();
            let most = ClaimLimits { most: 5, ..LIMITS };
            tokio::spawn(async move { store.claim_deliveries(&format!("run {number}"), most, AT).await })
        })
        .collect();
    let (mut all, mut each) = (BTreeSet::new(), 0);
    for claim in claims {
        let claimed = claim.await.unwrap().unwrap();
        each += claimed.len();
        all.extend(ids(&claimed));
    }
    assert_eq!((all.len(), each), (20, 20));
}

async fn who_is_slow_leaves_the_others_their_share(database: &Database) {
    let store = with_webhooks(database, &["busy", "quiet"]).await;
    for _ in 0..50 {
        tell(&store, "busy").await;
    }
    tell(&store, "quiet").await;
    let apps = |claimed: &[ClaimedDelivery]| -> Vec<String> {
        claimed.iter().map(|claimed| claimed.delivery.app.to_string()).collect()
    };
    let few = ClaimLimits { most: 2, ..LIMITS };
    let mut first = apps(&store.claim_deliveries("a", few, AT).await.unwrap());
    first.sort();
    assert_eq!(first, ["busy", "quiet"], "each in its turn");
    assert_eq!(apps(&store.claim_deliveries("a", LIMITS, AT).await.unwrap()), ["busy"]);
    // Over all gateways.
    assert!(store.claim_deliveries("b", LIMITS, AT).await.unwrap().is_empty());
    tell(&store, "quiet").await;
    assert_eq!(apps(&store.claim_deliveries("b", LIMITS, AT).await.unwrap()), ["quiet"]);
}

async fn who_has_others_on_their_way_comes_after_who_has_none(database: &Database) {
    let store = with_webhooks(database, &["hanging", "healthy"]).await;
    tell(&store, "hanging").await;
    tell(&store, "hanging").await;
    let one = ClaimLimits { most: 1, ..LIMITS };
    let app = |claimed: Vec<ClaimedDelivery>| claimed[0].delivery.app.to_string();
    assert_eq!(app(store.claim_deliveries("a", one, AT).await.unwrap()), "hanging");
    // Later than what else is due, and before it all the same.
    let now = AT + Duration::from_secs(1);
    let notice = Notice::new(&id("healthy"), "webhook.test", json!({})).unwrap();
    assert!(store.notify(&notice, now).await.unwrap());
    assert_eq!(app(store.claim_deliveries("a", one, now).await.unwrap()), "healthy");
    assert_eq!(app(store.claim_deliveries("a", one, now).await.unwrap()), "hanging");
}

async fn one_that_cannot_be_read_keeps_no_other_waiting(database: &Database) {
    let store = with_webhooks(database, &["one", "two"]).await;
    let (spoilt, other) = (tell(&store, "one").await, tell(&store, "two").await);
    let mut raw = database.raw().await;
    raw.execute(&format!("UPDATE deliveries SET status = 70000 WHERE id = '{spoilt}'")).await.unwrap();
    let expected = BTreeSet::from([other.clone()]);
    assert_eq!(ids(&store.claim_deliveries("a", LIMITS, AT).await.unwrap()), expected);
    let listed = store.deliveries(None, None).await.unwrap();
    assert_eq!(listed.iter().map(|listed| &listed.id).collect::<Vec<_>>(), [&other]);
    assert_eq!(store.delivery_counts().await.unwrap(), (1, 1), "it is dead");
    // As soon as it can be read it is shown, and can be sent again.
    raw.execute(&format!("UPDATE deliveries SET status = 500 WHERE id = '{spoilt}'")).await.unwrap();
    let found = store.delivery(&spoilt).await.unwrap();
    assert_eq!((found.state, found.error.as_deref()), (DeliveryState::Dead, Some("altered")));
    store.resend_delivery(&spoilt, AT).await.unwrap();
}

async fn only_who_holds_it_says_what_came_of_it(database: &Database) {
    let store = with_webhooks(database, &["one"]).await;
    let told = tell(&store, "one").await;
    let first = store.claim_deliveries("a", LIMITS, AT).await.unwrap().remove(0).delivery;
    let due_at = AT + Duration::from_millis(1_500);
    let again = Attempted::Again { due_at, error: "timeout" };
    assert!(!store.attempted_delivery(&first, "b", again, None, AT).await.unwrap());
    assert!(store.attempted_delivery(&first, "a", again, Some(503), AT).await.unwrap());
    let found = store.delivery(&told).await.unwrap();
    assert_eq!((found.state, found.due_at, found.status), (DeliveryState::Waiting, Some(due_at), Some(503)));
    assert_eq!(found.error.as_deref(), Some("timeout"));
    assert!(store.claim_deliveries("a", LIMITS, AT + Duration::from_secs(1)).await.unwrap().is_empty());
    let second = store.claim_deliveries("a", LIMITS, due_at).await.unwrap().remove(0).delivery;
    assert!(!store.attempted_delivery(&first, "a", Attempted::Delivered, Some(200), due_at).await.unwrap());
    assert!(store.attempted_delivery(&second, "a", Attempted::Delivered, Some(200), due_at).await.unwrap());
    assert!(!store.attempted_delivery(&second, "a", again, None, due_at).await.unwrap(), "it has ended");
    let found = store.delivery(&told).await.unwrap();
    assert_eq!((found.state, found.attempts, found.due_at), (DeliveryState::Delivered, 2, None));
    assert_eq!((found.error, found.status), (None, Some(200)));
    assert!(store.claim_deliveries("a", LIMITS, AT + time::Duration::DAY).await.unwrap().is_empty());
}

async fn a_dead_delivery_is_made_again_and_no_other_one(database: &Database) {
    let store = with_webhooks(database, &["one"]).await;
    let told = tell(&store, "one").await;
    let refused = |error| matches!(error, StoreError::NotAllowed { what: "delivery", .. });
    assert!(refused(store.resend_delivery(&told, AT).await.unwrap_err()));
    let claimed = store.claim_deliveries("a", LIMITS, AT).await.unwrap().remove(0).delivery;
    let dead = Attempted::Dead { error: "gone" };
    assert!(store.attempted_delivery(&claimed, "a", dead, Some(410), AT).await.unwrap());
    assert_eq!(store.delivery_counts().await.unwrap(), (0, 1));
    let listed = store.deliveries(Some(&id("one")), Some(DeliveryState::Dead)).await.unwrap();
    assert_eq!(listed, [store.delivery(&told).await.unwrap()]);
    assert!(store.deliveries(None, Some(DeliveryState::Waiting)).await.unwrap().is_empty());

    let later = AT + time::Duration::DAY;
    let resent = store.resend_delivery(&told, later).await.unwrap();
    assert_eq!((resent.state, resent.attempts, resent.since), (DeliveryState::Waiting, 0, later));
    assert_eq!(store.delivery_counts().await.unwrap(), (1, 0));
    assert_eq!(ids(&store.claim_deliveries("b", LIMITS, later).await.unwrap()), BTreeSet::from([told]));
    for nobody in ["msg_none", "", "msg\0"] {
        let error = store.resend_delivery(nobody, AT).await.unwrap_err();
        assert!(matches!(error, StoreError::NotFound { what: "delivery", .. }), "{error:?}");
    }
}

async fn what_was_altered_is_not_sent(database: &Database) {
    let store = with_webhooks(database, &["one", "two"]).await;
    let told = tell(&store, "one").await;
    let other = tell(&store, "two").await;
    let stored = database.contents();
    assert!(!stored.windows(6).any(|octets| octets == "打烊".as_bytes()), "what is told is sealed");
    let mut raw = database.raw().await;
    for fixed in ["app = 'two'", "body = x''", "kind = 'other'"] {
        let fixed = fixed.replace("x''", if database.is_sqlite() { "x''" } else { "''" });
        raw.execute(&format!("UPDATE deliveries SET {fixed} WHERE app = 'one'")).await.expect_err(&fixed);
    }
    // Whoever may drop the rule moves what one app is told to another.
    let drop = match database {
        Database::Sqlite(_) => "DROP TRIGGER deliveries_are_fixed",
        Database::Postgres(_) => "DROP TRIGGER deliveries_are_fixed ON deliveries",
    };
    raw.execute(drop).await.unwrap();
    raw.execute("UPDATE deliveries SET app = 'two' WHERE app = 'one'").await.unwrap();
    assert_eq!(ids(&store.claim_deliveries("a", LIMITS, AT).await.unwrap()), BTreeSet::from([other]));
    let found = store.delivery(&told).await.unwrap();
    assert_eq!((found.state, found.error.as_deref()), (DeliveryState::Dead, Some("altered")));
}

async fn what_is_too_much_is_dead_at_once(database: &Database) {
    let store = with_webhooks(database, &["one", "two"]).await;
    let told = tell(&store, "one").await;
    let copies = format!(
        "WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 9999)
         INSERT INTO deliveries (id, app, kind, body, state, created_at, since, due_at)
         SELECT 'copy' || i, app, kind, body, state, created_at, since, due_at FROM deliveries, n WHERE id = '{told}'"
    );
    database.raw().await.execute(&copies).await.unwrap();
    let late = store.delivery(&tell(&store, "one").await).await.unwrap();
    assert_eq!((late.state, late.error.as_deref()), (DeliveryState::Dead, Some("queue_full")));
    let other = store.delivery(&tell(&store, "two").await).await.unwrap();
    assert_eq!(other.state, DeliveryState::Waiting);
}

async fn what_ended_is_forgotten(database: &Database) {
    let store = with_webhooks(database, &["one"]).await;
    let (ended, waits) = (tell(&store, "one").await, tell(&store, "one").await);
    let claimed = store.claim_deliveries("a", LIMITS, AT).await.unwrap();
    let claimed = claimed.into_iter().find(|claimed| claimed.delivery.id == ended).unwrap().delivery;
    assert!(store.attempted_delivery(&claimed, "a", Attempted::Delivered, Some(204), AT).await.unwrap());
    assert_eq!(store.forget_deliveries(AT).await.unwrap(), 0);
    assert_eq!(store.forget_deliveries(AT + Duration::from_secs(1)).await.unwrap(), 1);
    assert!(store.delivery(&ended).await.is_err());
    assert!(store.delivery(&waits).await.is_ok());
}

async fn without_a_data_key_nothing_is_told(database: &Database) {
    let store = database.create().await;
    store.insert_app(&App::new(id("one"), "one"), &[], AT).await.unwrap();
    let error = store.set_webhook(&id("one"), &webhook("one"), AT).await.unwrap_err();
    assert!(matches!(error, StoreError::Locked), "{error:?}");
    let notice = Notice::new(&id("one"), "webhook.test", json!({})).unwrap();
    assert!(!store.notify(&notice, AT).await.unwrap(), "there is nobody to be told");
    assert!(!format!("{notice:?}").contains("data"));
}
