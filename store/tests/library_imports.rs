//! Imports of the register: a part and how far it goes are one, and what is known already is told.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use crate::support;

use formats::uscc::Uscc;
use store::{Counts, EntityRecord, Outcome, Place, StoreError};
use support::{Database, on_both_databases};
use time::{Duration, OffsetDateTime};

on_both_databases! {
    what_became_of_each_row_is_told_and_counted,
    a_part_that_cannot_be_taken_leaves_nothing_behind,
    two_that_go_on_with_one_import_do_not_take_a_part_twice,
    an_import_that_was_broken_off_is_found_where_it_was_and_a_finished_one_is_not,
    the_register_is_gone_through_in_the_order_of_codes_and_counted,
    what_an_entity_was_is_kept_and_cannot_be_changed,
}

const AT: OffsetDateTime = OffsetDateTime::UNIX_EPOCH;

fn entity(number: usize) -> EntityRecord {
    EntityRecord {
        uscc: Uscc::with_check_digits(&format!("91610102MA{number:06}")).unwrap(),
        name: format!("样例{number}有限公司"),
        entity_type: "有限责任公司".to_owned(),
        status: 1,
        flags: vec!["经营异常名录".to_owned()],
        status_as_of: AT + Duration::days(10),
        face: serde_json::Map::from_iter([("name".to_owned(), "样例 \"引号\" \\ 有限公司".into())]),
    }
}

fn place(position: i64) -> Place {
    Place { position, line: position, digest: "00".to_owned() }
}

async fn what_became_of_each_row_is_told_and_counted(database: &Database) {
    let store = database.create().await;
    let mut first = store.begin_import("a.jsonl", place(0), AT).await.unwrap();
    let rows = [entity(1), entity(2), entity(1), entity(3)];
    let outcomes = store.import_part(&mut first, &rows, 2, place(10)).await.unwrap();
    assert_eq!(outcomes, [Outcome::Added, Outcome::Added, Outcome::Repeated, Outcome::Added]);
    let again = store.import_part(&mut first, &[entity(2)], 0, place(20)).await.unwrap();
    assert_eq!(again, [Outcome::Repeated], "in another part of the same import");
    assert_eq!(first.counts, Counts { added: 3, refused: 4, ..Counts::default() });

    let mut second = store.begin_import("b.jsonl", place(0), AT).await.unwrap();
    let renamed = EntityRecord { name: "改名有限公司".to_owned(), ..entity(1) };
    let outdated = EntityRecord { status: 4, status_as_of: AT, ..entity(2) };
    let rows = [renamed.clone(), outdated, entity(3), entity(2)];
    let outcomes = store.import_part(&mut second, &rows, 0, place(9)).await.unwrap();
    let wanted = [Outcome::Changed, Outcome::Outdated, Outcome::Unchanged, Outcome::Repeated];
    assert_eq!(outcomes, wanted);
    assert_eq!(store.entity(&renamed.uscc).await.unwrap(), Some(renamed));
    assert_eq!(store.entity(&entity(2).uscc).await.unwrap(), Some(entity(2)));
}

async fn a_part_that_cannot_be_taken_leaves_nothing_behind(database: &Database) {
    let store = database.create().await;
    let mut import = store.begin_import("a.jsonl", place(0), AT).await.unwrap();
    let bad = EntityRecord { status: 7, ..entity(2) };
    let error = store.import_part(&mut import, &[entity(1), bad], 0, place(10)).await.unwrap_err();
    assert!(matches!(error, StoreError::RuleBroken { .. }), "{error:?}");
    assert_eq!(store.entity(&entity(1).uscc).await.unwrap(), None);
    assert_eq!(store.unfinished_import("a.jsonl").await.unwrap(), Some(import));
}

async fn two_that_go_on_with_one_import_do_not_take_a_part_twice(database: &Database) {
    let store = database.create().await;
    let mut one = store.begin_import("a.jsonl", place(0), AT).await.unwrap();
    let mut other = one.clone();
    store.import_part(&mut one, &[entity(1)], 0, place(10)).await.unwrap();
    let error = store.import_part(&mut other, &[entity(2)], 0, place(10)).await.unwrap_err();
    assert!(matches!(error, StoreError::Changed { .. }), "{error:?}");
    assert_eq!(store.entity(&entity(2).uscc).await.unwrap(), None);
}

async fn an_import_that_was_broken_off_is_found_where_it_was_and_a_finished_one_is_not(database: &Database) {
    let store = database.create().await;
    let mut import = store.begin_import("a.jsonl", place(0), AT).await.unwrap();
    store.import_part(&mut import, &[entity(1)], 1, place(10)).await.unwrap();
    assert_eq!(store.unfinished_import("b.jsonl").await.unwrap(), None);
    let mut found = store.unfinished_import("a.jsonl").await.unwrap().unwrap();
    assert_eq!(found, import);
    store.finish_import(&mut found, AT).await.unwrap();
    assert_eq!(store.unfinished_import("a.jsonl").await.unwrap(), None);
    let error = store.import_part(&mut import, &[entity(2)], 0, place(20)).await.unwrap_err();
    assert!(matches!(error, StoreError::Changed { .. }), "{error:?}");
    assert_eq!(store.imports().await.unwrap(), [found]);
}

async fn the_register_is_gone_through_in_the_order_of_codes_and_counted(database: &Database) {
    let store = database.create().await;
    let mut import = store.begin_import("a.jsonl", place(0), AT).await.unwrap();
    let mut rows: Vec<_> = (0..25).rev().map(entity).collect();
    rows[3].status = 4;
    store.import_part(&mut import, &rows, 0, place(10)).await.unwrap();
    store.measure_library().await.unwrap();
    let (mut all, mut after) = (Vec::new(), None);
    loop {
        let page = store.entities_after(after.as_ref(), 7).await.unwrap();
        let Some(last) = page.last() else { break };
        after = Some(last.uscc);
        all.extend(page);
    }
    rows.sort_by_key(|row| row.uscc.to_string());
    assert_eq!(all, rows);
    let counts = store.library_counts().await.unwrap();
    assert_eq!(counts.by_status, [("1".to_owned(), 24), ("4".to_owned(), 1)]);
    assert_eq!(counts.by_type, [("有限责任公司".to_owned(), 25)]);
}

async fn what_an_entity_was_is_kept_and_cannot_be_changed(database: &Database) {
    let store = database.create().await;
    store.upsert_entity(&entity(1)).await.unwrap();
    // Another name alone is no other standing.
    let renamed = EntityRecord { name: "改名有限公司".to_owned(), ..entity(1) };
    store.upsert_entity(&renamed).await.unwrap();
    assert_eq!(store.entity_history(&renamed.uscc).await.unwrap(), []);
    let revoked = EntityRecord { status: 2, status_as_of: AT + Duration::days(20), ..renamed };
    store.upsert_entity(&revoked).await.unwrap();
    let history = store.entity_history(&revoked.uscc).await.unwrap();
    assert_eq!(history.len(), 1);
    assert_eq!((history[0].status, history[0].as_of), (1, AT + Duration::days(10)));
    assert_eq!(history[0].flags, ["经营异常名录"]);
    for change in ["UPDATE entity_history SET status = 9", "DELETE FROM entity_history"] {
        let refused = database.raw().await.execute(change).await;
        assert!(refused.is_err_and(|error| error.to_string().contains("what an entity was")), "{change}");
    }
}
