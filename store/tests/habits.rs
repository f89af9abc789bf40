//! Habits of callers: kept, merged with what another gateway wrote, forgotten.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use crate::support;

use store::StoreError;
use support::{Database, on_both_databases};
use time::OffsetDateTime;
use time::macros::datetime;

on_both_databases! {
    habits_are_merged_with_what_another_gateway_wrote_and_forgotten_when_old,
    of_many_callers_those_seen_last_are_read,
}

const AT: OffsetDateTime = datetime!(2024-05-06 07:08:09 UTC);

fn pair(actor: &str, habits: &str) -> (String, String) {
    (actor.to_owned(), habits.to_owned())
}

fn joined(there: &str, own: &str) -> String {
    if there == own { own.to_owned() } else { format!("{there}+{own}") }
}

async fn habits_are_merged_with_what_another_gateway_wrote_and_forgotten_when_old(database: &Database) {
    let (one, other) = (database.create().await, database.create().await);
    let written = one.merge_habits(&[pair("a", "1"), pair("b", "1")], AT, joined).await.unwrap();
    assert!(written.is_empty(), "nothing was there");
    let later = AT + time::Duration::DAY;
    let written = other.merge_habits(&[pair("b", "2"), pair("c", "2")], later, joined).await.unwrap();
    assert_eq!(written, [pair("b", "1+2")]);
    assert!(one.merge_habits(&[pair("a", "1")], AT, joined).await.unwrap().is_empty(), "nobody changed it");
    let mut kept = one.habits(10).await.unwrap();
    kept.sort();
    assert_eq!(kept, [pair("a", "1"), pair("b", "1+2"), pair("c", "2")]);

    let nameless = one.merge_habits(&[pair("d", "1"), pair("", "1")], AT, joined).await;
    assert!(matches!(nameless, Err(StoreError::RuleBroken { .. })), "{nameless:?}");
    assert_eq!(one.habits(10).await.unwrap().len(), 3, "all or none");

    assert_eq!(one.forget_habits(later).await.unwrap(), 1);
    let mut kept = other.habits(10).await.unwrap();
    kept.sort();
    assert_eq!(kept, [pair("b", "1+2"), pair("c", "2")]);
}

async fn of_many_callers_those_seen_last_are_read(database: &Database) {
    let store = database.create().await;
    for day in 0..5 {
        let seen = [pair(&format!("app-{day}"), "1")];
        store.merge_habits(&seen, AT + time::Duration::days(day), joined).await.unwrap();
    }
    assert_eq!(store.habits(2).await.unwrap(), [pair("app-4", "1"), pair("app-3", "1")]);
}
