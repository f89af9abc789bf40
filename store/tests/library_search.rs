//! Finding entities by parts of their names.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use crate::support;

use formats::uscc::Uscc;
use store::{EntityRecord, NamePattern, NameQuery, Store};
use support::{Database, on_both_databases, server};
use time::OffsetDateTime;

on_both_databases! {
    a_name_is_found_by_any_two_characters_that_stand_side_by_side_in_it,
    a_name_is_found_by_its_beginning_only_when_that_is_asked_for,
    a_status_narrows_what_is_found_and_follows_the_entity,
    pages_follow_each_other_without_gap_or_overlap,
    what_a_database_would_read_as_an_order_is_a_name_like_any_other,
    a_name_that_changed_is_found_by_the_new_one_only,
    entities_of_an_older_schema_are_found,
    what_is_looked_at_for_one_page_is_bounded,
}

fn code(number: usize) -> Uscc {
    Uscc::with_check_digits(&format!("91610102MA{number:06}")).unwrap()
}

fn entity(number: usize, name: &str) -> EntityRecord {
    EntityRecord {
        uscc: code(number),
        name: name.to_owned(),
        entity_type: "有限责任公司".to_owned(),
        status: 1,
        flags: Vec::new(),
        status_as_of: OffsetDateTime::UNIX_EPOCH,
        face: serde_json::Map::new(),
    }
}

async fn library(database: &Database, names: &[&str]) -> Store {
    let store = database.create().await;
    for (number, name) in names.iter().enumerate() {
        store.upsert_entity(&entity(number, name)).await.unwrap();
    }
    store
}

fn wanted(text: &str, prefix: bool) -> NameQuery {
    NameQuery { pattern: NamePattern::new(text, prefix).unwrap(), status: None, after: None, limit: 50 }
}

async fn found(store: &Store, query: &NameQuery) -> Vec<String> {
    let page = store.find_by_name(query).await.unwrap();
    page.entities.into_iter().map(|entity| entity.name).collect()
}

const NAMES: [&str; 6] = [
    "西安安邦网络科技有限公司",
    "陕西ＡＢＣ（集团）有限公司",
    "西安市雁塔区安西小吃店",
    "宝鸡西安邦商贸有限公司",
    "陝西舊字號有限公司",
    "𠮷野家餐饮管理有限公司",
];

async fn a_name_is_found_by_any_two_characters_that_stand_side_by_side_in_it(database: &Database) {
    let store = library(database, &NAMES).await;
    for (text, places) in [
        ("安邦", &[0, 3][..]),
        ("西安邦", &[3]),
        ("安西", &[2]),
        ("有限公司", &[0, 1, 3, 4, 5]),
        ("abc集团", &[1]),
        ("ＡＢＣ（集", &[1]),
        ("陕西", &[1]),
        ("陝西", &[4]), // traditional characters are other characters
        ("𠮷野", &[5]),
        ("科技网络", &[]), // both stand there, in another order
        ("没有", &[]),
    ] {
        let wanted_names: Vec<_> = places.iter().map(|place| NAMES[*place]).collect();
        assert_eq!(found(&store, &wanted(text, false)).await, wanted_names, "{text}");
    }
}

async fn a_name_is_found_by_its_beginning_only_when_that_is_asked_for(database: &Database) {
    let store = library(database, &NAMES).await;
    assert_eq!(found(&store, &wanted("西安", false)).await, [NAMES[0], NAMES[2], NAMES[3]]);
    assert_eq!(found(&store, &wanted("西安", true)).await, [NAMES[0], NAMES[2]]);
    assert_eq!(found(&store, &wanted("安邦", true)).await, [""; 0]);
    assert_eq!(found(&store, &wanted(NAMES[1], true)).await, [NAMES[1]]);
}

async fn a_status_narrows_what_is_found_and_follows_the_entity(database: &Database) {
    let store = library(database, &NAMES).await;
    let of_status = |status| NameQuery { status: Some(status), ..wanted("有限公司", false) };
    assert_eq!(found(&store, &of_status(4)).await, [""; 0]);
    let gone = EntityRecord { status: 4, ..entity(3, NAMES[3]) };
    store.upsert_entity(&gone).await.unwrap();
    assert_eq!(found(&store, &of_status(4)).await, [NAMES[3]]);
    assert_eq!(found(&store, &of_status(1)).await, [NAMES[0], NAMES[1], NAMES[4], NAMES[5]]);
    let former = store.entity_history(&code(3)).await.unwrap();
    assert_eq!(former.iter().map(|former| former.status).collect::<Vec<_>>(), [1]);
}

async fn pages_follow_each_other_without_gap_or_overlap(database: &Database) {
    let names: Vec<String> = (0..23).map(|number| format!("连锁便利店第{number}号")).collect();
    let store = library(database, &names.iter().map(String::as_str).collect::<Vec<_>>()).await;
    let (mut all, mut query) = (Vec::new(), NameQuery { limit: 5, ..wanted("便利店", false) });
    loop {
        let page = store.find_by_name(&query).await.unwrap();
        assert!(page.entities.len() <= 5);
        all.extend(page.entities.into_iter().map(|entity| entity.name));
        match page.next {
            Some(next) => query.after = Some(next),
            None => break,
        }
    }
    assert_eq!(all, names);
}

async fn what_a_database_would_read_as_an_order_is_a_name_like_any_other(database: &Database) {
    let names = ["a\" OR grams:*", "x' OR '1'='1", "NEAR(西安 安邦, 2)", "%_\\ & | !(", "-西安 NOT 安邦"];
    let store = library(database, &names).await;
    for name in names {
        let Some(pattern) = NamePattern::new(name, false) else {
            assert_eq!(name, names[3], "all but this have letters");
            continue;
        };
        let query = NameQuery { pattern, ..wanted("西安", false) };
        assert_eq!(found(&store, &query).await, [name]);
    }
    let nul = store.upsert_entity(&entity(9, "西安\0")).await;
    assert!(matches!(nul, Err(store::StoreError::RuleBroken { .. })), "{nul:?}");
}

async fn a_name_that_changed_is_found_by_the_new_one_only(database: &Database) {
    let store = library(database, &NAMES).await;
    store.upsert_entity(&entity(0, "铜川康乐药房")).await.unwrap();
    assert_eq!(found(&store, &wanted("康乐药", false)).await, ["铜川康乐药房"]);
    assert_eq!(found(&store, &wanted("安邦网络", false)).await, [""; 0]);
}

/// What the migration leaves: entities that the index does not have.
async fn entities_of_an_older_schema_are_found(database: &Database) {
    let store = library(database, &NAMES).await;
    store.close().await;
    let clear = match database {
        Database::Sqlite(_) => "INSERT INTO entity_search (entity_search) VALUES ('delete-all')",
        Database::Postgres(_) => "DELETE FROM entity_search",
    };
    database.raw().await.execute(clear).await.unwrap();
    let store = database.create().await;
    assert_eq!(found(&store, &wanted("雁塔", false)).await, [NAMES[2]]);
}

async fn what_is_looked_at_for_one_page_is_bounded(database: &Database) {
    let store = database.create().await;
    // All have both pairs of 安西安, and none has them in this order but the last.
    let mut names: Vec<String> = (0..1500).map(|number| format!("西安安西{number}")).collect();
    names.push("安西安".to_owned());
    let mut import = store.begin_import("x", place(0), OffsetDateTime::UNIX_EPOCH).await.unwrap();
    let entities: Vec<_> = names.iter().enumerate().map(|(number, name)| entity(number, name)).collect();
    store.import_part(&mut import, &entities, 0, place(1)).await.unwrap();
    let mut query = wanted("安西安", false);
    let first = store.find_by_name(&query).await.unwrap();
    assert_eq!(first.entities, []);
    query.after = first.next;
    assert!(first.next.is_some_and(|next| next < 1500), "it says where to go on: {:?}", first.next);
    let second = store.find_by_name(&query).await.unwrap();
    assert_eq!(second.entities.len(), 1);
    assert_eq!(second.next, None);
}

/// A plan that is kept is one for all names, and reads all rows: docs/adr/0041.
#[tokio::test]
async fn postgresql_plans_each_search_by_what_it_looks_for() {
    const TIMES: usize = 20; // it plans each of the first five times anyway
    let database = Database::postgres();
    let Database::Postgres(name) = &database else { unreachable!() };
    let every = format!("ALTER DATABASE {name} SET log_min_duration_statement = 0");
    server().query("postgres", &every);
    let store = library(&database, &NAMES).await;
    let before = server().log().len();
    for _ in 0..TIMES {
        assert_eq!(found(&store, &wanted("西安邦", false)).await, [NAMES[3]]);
    }
    // Of each statement the server writes under which name it was kept.
    let log = server().log();
    let searches =
        log[before..].lines().filter(|line| line.contains("execute ") && line.contains("SELECT e.id, uscc"));
    let kept: Vec<_> = searches.map(|line| line.contains("execute <unnamed>")).collect();
    assert!(kept.len() >= TIMES, "{}", &log[before..]);
    assert!(kept.iter().all(|is_unnamed| *is_unnamed), "{}", &log[before..]);
}

fn place(position: i64) -> store::Place {
    store::Place { position, line: position, digest: String::new() }
}
