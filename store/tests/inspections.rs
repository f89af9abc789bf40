//! Inspections: one at a time, none of a schedule twice, none that was lost forgotten, on either database.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use crate::support;

use std::collections::BTreeSet;

use store::{Begun, InspectionEnd, InspectionState, NewInspection, Occasion, Store, StoreError};
use support::{Database, on_both_databases};
use time::macros::datetime;
use time::{Duration, OffsetDateTime};

on_both_databases! {
    of_many_gateways_that_begin_the_same_one_makes_it_and_it_is_never_made_again,
    one_that_was_lost_is_made_anew_and_whoever_lost_it_keeps_nothing,
    one_that_is_given_back_stands_in_nobodys_way,
    one_of_a_time_that_is_past_ends_when_it_was_lost,
    two_begin_a_minute_apart_and_never_together,
    what_a_wrong_clock_left_behind_holds_nothing_up,
    what_is_old_is_forgotten_and_what_a_schedule_owes_is_not,
    the_database_says_how_large_it_is,
}

const AT: OffsetDateTime = datetime!(2026-11-23 06:30 UTC);
const APART: i64 = 60;

fn new<'a>(id: &'a str, slot: Option<&'a str>, replica: &'a str, at: OffsetDateTime) -> NewInspection<'a> {
    NewInspection {
        id,
        occasion: if slot.is_some() { Occasion::Daily } else { Occasion::OnDemand },
        slot,
        holder: id,
        replica,
        actor: "gateway",
        reason: "daily",
        at,
        apart: APART,
    }
}

async fn finish(store: &Store, id: &str, holder: &str, at: OffsetDateTime) -> bool {
    let end = InspectionEnd {
        id,
        holder,
        at,
        results: "{}",
        grade: "ok",
        counts: "[]",
        standing: holder,
        audit_index: 7,
        report: Some(b"%PDF"),
        stamp: Err("no key"),
    };
    store.finish_inspection(&end).await.unwrap()
}

fn here(id: &str) -> Begun {
    Begun::Here(id.to_owned())
}

async fn of_many_gateways_that_begin_the_same_one_makes_it_and_it_is_never_made_again(database: &Database) {
    let store = database.create().await;
    let tries = (0..8).map(|gateway| {
        let store = store.clone();
        tokio::spawn(async move {
            let name = format!("gateway-{gateway}");
            store.begin_inspection(&new(&name, Some("2026-11-23"), &name, AT)).await.unwrap()
        })
    });
    let mut begun = Vec::new();
    for tried in tries.collect::<Vec<_>>() {
        begun.push(tried.await.unwrap());
    }
    let here: Vec<_> = begun.iter().filter(|begun| matches!(begun, Begun::Here(_))).collect();
    assert_eq!(here.len(), 1, "{begun:?}");
    let Begun::Here(id) = here[0] else { unreachable!() };
    assert_eq!(begun.iter().filter(|begun| **begun == Begun::Running(id.clone())).count(), 7, "{begun:?}");
    assert!(!store.owes_inspection(Occasion::Daily, "2026-11-23", AT).await.unwrap());
    assert!(finish(&store, id, id, AT + Duration::seconds(5)).await);
    let kept = store.inspection(id).await.unwrap();
    assert_eq!((kept.state, kept.audit_index, kept.has_report), (InspectionState::Done, Some(7), true));
    assert_eq!((kept.stamp.as_deref(), kept.unsigned.as_deref()), (None, Some("no key")));
    assert_eq!(
        (kept.results.as_deref(), kept.grade.as_deref(), kept.counts.as_deref()),
        (Some("{}"), Some("ok"), Some("[]"))
    );
    // A list has how it came out, and not all that was found.
    let listed = store.inspections(None, 1).await.unwrap().remove(0);
    assert_eq!(listed, store::Inspection { results: None, ..kept });
    assert_eq!(store.inspection_report(id).await.unwrap().as_deref(), Some(&b"%PDF"[..]));
    assert_eq!(store.inspection_standing(AT + Duration::HOUR).await.unwrap().as_deref(), Some(id.as_str()));
    // However late somebody comes, and with however wrong a clock.
    for later in [Duration::seconds(-3_600), Duration::HOUR, Duration::days(400)] {
        let again = store.begin_inspection(&new("again", Some("2026-11-23"), "b", AT + later)).await.unwrap();
        assert_eq!(again, Begun::Made);
        assert!(!store.owes_inspection(Occasion::Daily, "2026-11-23", AT + later).await.unwrap());
    }
    assert!(store.owes_inspection(Occasion::Daily, "2026-11-24", AT).await.unwrap());
}

async fn one_that_was_lost_is_made_anew_and_whoever_lost_it_keeps_nothing(database: &Database) {
    let store = database.create().await;
    let slot = Some("2026-11-23");
    assert_eq!(store.begin_inspection(&new("first", slot, "a", AT)).await.unwrap(), here("first"));
    let late = AT + Duration::minutes(15);
    assert!(store.owes_inspection(Occasion::Daily, "2026-11-23", late).await.unwrap());
    // Under the number that it had.
    assert_eq!(store.begin_inspection(&new("second", slot, "b", late)).await.unwrap(), here("first"));
    assert!(!finish(&store, "first", "first", late).await, "another one makes it by now");
    assert!(finish(&store, "first", "second", late).await);
    assert!(!finish(&store, "first", "second", late).await, "it has ended");
    // A gateway that starts again makes anew what it was making, at once; what people asked for has failed.
    let next = late + Duration::MINUTE;
    assert_eq!(
        store.begin_inspection(&new("third", Some("2026-11-24"), "a", next)).await.unwrap(),
        here("third")
    );
    assert_eq!(store.abandon_inspections("b", next).await.unwrap(), 0, "not its own");
    assert!(!store.owes_inspection(Occasion::Daily, "2026-11-24", next).await.unwrap());
    assert_eq!(store.abandon_inspections("a", next).await.unwrap(), 1);
    assert!(store.owes_inspection(Occasion::Daily, "2026-11-24", next).await.unwrap());
    let next = next + Duration::MINUTE;
    assert_eq!(store.begin_inspection(&new("asked", None, "a", next)).await.unwrap(), here("asked"));
    store.abandon_inspections("a", next).await.unwrap();
    assert_eq!(store.inspection("asked").await.unwrap().state, InspectionState::Failed);
}

async fn one_that_is_given_back_stands_in_nobodys_way(database: &Database) {
    let store = database.create().await;
    assert_eq!(store.begin_inspection(&new("asked", None, "a", AT)).await.unwrap(), here("asked"));
    store.give_inspection_back("asked", "another", AT).await.unwrap();
    assert_eq!(store.inspection("asked").await.unwrap().state, InspectionState::Running);
    store.give_inspection_back("asked", "asked", AT).await.unwrap();
    assert_eq!(store.inspection("asked").await.unwrap().state, InspectionState::Failed);
    let at = AT + Duration::MINUTE;
    let slot = Some("2026-11-23");
    assert_eq!(store.begin_inspection(&new("first", slot, "a", at)).await.unwrap(), here("first"));
    assert!(!store.owes_inspection(Occasion::Daily, "2026-11-23", at).await.unwrap());
    store.give_inspection_back("first", "first", at).await.unwrap();
    assert!(store.owes_inspection(Occasion::Daily, "2026-11-23", at).await.unwrap());
    let at = at + Duration::MINUTE;
    assert_eq!(store.begin_inspection(&new("second", slot, "b", at)).await.unwrap(), here("first"));
    // What has ended stays as it ended.
    assert!(finish(&store, "first", "second", at).await);
    store.give_inspection_back("first", "second", at).await.unwrap();
    assert_eq!(store.inspection("first").await.unwrap().state, InspectionState::Done);
}

async fn one_of_a_time_that_is_past_ends_when_it_was_lost(database: &Database) {
    let store = database.create().await;
    let slot = Some("2026-11-23");
    assert_eq!(store.begin_inspection(&new("lost", slot, "a", AT)).await.unwrap(), here("lost"));
    let state = async |id: &str| store.inspection(id).await.unwrap().state;
    let next = (Occasion::Daily, "2026-11-24");
    let soon = AT + Duration::minutes(14);
    assert_eq!(store.end_lost_inspections(&[next], soon).await.unwrap(), 0, "it is being made");
    let late = AT + Duration::days(1);
    let current = [(Occasion::Weekly, "2026-11-23"), (Occasion::Daily, "2026-11-23")];
    assert_eq!(store.end_lost_inspections(&current, late).await.unwrap(), 0, "it is made anew");
    assert_eq!(state("lost").await, InspectionState::Running);
    assert_eq!(store.end_lost_inspections(&[next, current[0]], late).await.unwrap(), 1);
    assert_eq!(state("lost").await, InspectionState::Failed);
    assert_eq!(store.inspection("lost").await.unwrap().ended_at, Some(late));
    assert!(!finish(&store, "lost", "lost", late).await, "it has ended");
    // And of somebody who asked, whatever is current.
    assert_eq!(store.begin_inspection(&new("asked", None, "a", late)).await.unwrap(), here("asked"));
    assert_eq!(store.end_lost_inspections(&[next], late + Duration::HOUR).await.unwrap(), 1);
    assert_eq!(state("asked").await, InspectionState::Failed);
}

async fn two_begin_a_minute_apart_and_never_together(database: &Database) {
    let store = database.create().await;
    assert_eq!(store.begin_inspection(&new("one", None, "a", AT)).await.unwrap(), here("one"));
    let begun = store.begin_inspection(&new("two", None, "b", AT + Duration::minutes(2))).await.unwrap();
    assert_eq!(begun, Begun::Running("one".to_owned()));
    assert!(finish(&store, "one", "one", AT + Duration::seconds(9)).await);
    let begun = store.begin_inspection(&new("two", None, "b", AT + Duration::seconds(59))).await.unwrap();
    assert_eq!(begun, Begun::TooSoon(1));
    let begun = store.begin_inspection(&new("two", None, "b", AT + Duration::seconds(60))).await.unwrap();
    assert_eq!(begun, here("two"));
    // One that nobody ended counts as lost when its time is over.
    let later = AT + Duration::HOUR;
    assert_eq!(store.begin_inspection(&new("three", None, "a", later)).await.unwrap(), here("three"));
    assert_eq!(store.inspection("two").await.unwrap().state, InspectionState::Failed);
    // A clock that was set back holds nothing up.
    assert!(finish(&store, "three", "three", later).await);
    let begun = store.begin_inspection(&new("four", None, "a", AT)).await.unwrap();
    assert_eq!(begun, here("four"));
    let ids = |page: Vec<store::Inspection>| page.into_iter().map(|one| one.id).collect::<Vec<_>>();
    assert_eq!(ids(store.inspections(None, 2).await.unwrap()), ["three", "two"]);
    let rest: BTreeSet<_> = ids(store.inspections(Some("two"), 9).await.unwrap()).into_iter().collect();
    assert_eq!(rest, BTreeSet::from(["four".to_owned(), "one".to_owned()]));
    assert!(matches!(store.inspections(Some("none"), 9).await, Err(StoreError::NotFound { .. })));
}

async fn what_a_wrong_clock_left_behind_holds_nothing_up(database: &Database) {
    let store = database.create().await;
    let slot = Some("2026-11-23");
    let ahead = AT + Duration::days(365);
    // A clock that is two minutes ahead of another gateway's is no wrong one.
    let lately = AT - Duration::minutes(2);
    assert_eq!(store.begin_inspection(&new("first", slot, "a", AT)).await.unwrap(), here("first"));
    assert!(!store.owes_inspection(Occasion::Daily, "2026-11-23", lately).await.unwrap());
    assert!(finish(&store, "first", "first", AT).await);
    assert_eq!(
        store.begin_inspection(&new("ahead", Some("2026-11-24"), "a", ahead)).await.unwrap(),
        here("ahead")
    );
    // Its lease ends in a year: it counts as lost now.
    let next = AT + Duration::days(1);
    assert!(store.owes_inspection(Occasion::Daily, "2026-11-24", next).await.unwrap());
    assert_eq!(store.begin_inspection(&new("asked", None, "b", next)).await.unwrap(), here("asked"));
    assert!(finish(&store, "asked", "asked", next).await);
    let later = next + Duration::MINUTE;
    assert_eq!(
        store.begin_inspection(&new("second", Some("2026-11-24"), "b", later)).await.unwrap(),
        here("ahead")
    );
    assert!(finish(&store, "ahead", "second", ahead).await);
    // How things stand is not what the clock that was ahead left behind.
    assert_eq!(store.inspection_standing(later).await.unwrap().as_deref(), Some("asked"));
    assert_eq!(store.inspection_standing(ahead).await.unwrap().as_deref(), Some("second"));
    // Those of people, and of times that are past, end.
    let begun = store.begin_inspection(&new("far", None, "a", ahead + Duration::DAY)).await.unwrap();
    assert_eq!(begun, here("far"));
    assert_eq!(store.end_lost_inspections(&[], later).await.unwrap(), 1);
    assert_eq!(store.inspection("far").await.unwrap().state, InspectionState::Failed);
}

async fn what_is_old_is_forgotten_and_what_a_schedule_owes_is_not(database: &Database) {
    let store = database.create().await;
    assert!(!store.has_inspections_of(Occasion::Quarterly).await.unwrap());
    store.skip_inspection("skipped", (Occasion::Quarterly, "2026-Q4"), AT).await.unwrap();
    store.skip_inspection("again", (Occasion::Quarterly, "2026-Q4"), AT).await.unwrap();
    assert!(store.has_inspections_of(Occasion::Quarterly).await.unwrap());
    assert!(!store.owes_inspection(Occasion::Quarterly, "2026-Q4", AT).await.unwrap());
    assert!(store.inspections(None, 9).await.unwrap().is_empty(), "nothing was made");
    assert!(matches!(store.inspection("skipped").await, Err(StoreError::NotFound { .. })));
    for (id, slot, day) in [("a", Some("2026-11-23"), 0), ("b", None, 1), ("c", Some("2026-11-25"), 2)] {
        let at = AT + Duration::days(day);
        assert_eq!(store.begin_inspection(&new(id, slot, "a", at)).await.unwrap(), here(id));
        assert!(finish(&store, id, id, at).await);
    }
    assert_eq!(store.forget_inspections(AT + Duration::days(900)).await.unwrap(), 2);
    assert!(!store.owes_inspection(Occasion::Daily, "2026-11-25", AT).await.unwrap());
    assert!(!store.owes_inspection(Occasion::Quarterly, "2026-Q4", AT).await.unwrap());
}

async fn the_database_says_how_large_it_is(database: &Database) {
    let store = database.create().await;
    let figures = store.database_figures().await.unwrap();
    assert!(figures.octets > 100_000, "{figures:?}");
    assert_eq!(figures.migrations, store.known_migrations());
    match database {
        Database::Sqlite(_) => assert_eq!(figures.connections, None),
        Database::Postgres(_) => {
            let (used, most) = figures.connections.unwrap();
            assert!(used >= 1 && most >= used, "{figures:?}");
        }
    }
}
