//! Every column of both databases has a class in `docs/data-classes.csv`, and what is personal, secret or a key is not
//! stored as it is, unless the table says why.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use crate::support;

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

use support::{Database, on_both_databases};

on_both_databases! {
    every_column_has_a_class_and_every_class_has_its_column,
}

struct Class<'t> {
    class: &'t str,
    kept: &'t str,
    reason: &'t str,
}

fn table() -> String {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap();
    std::fs::read_to_string(root.join("docs/data-classes.csv")).unwrap()
}

/// The lines about columns, by `table.column`.
fn columns(table: &str) -> BTreeMap<&str, Class<'_>> {
    let mut found = BTreeMap::new();
    for line in table.lines().skip(1) {
        let cells: Vec<&str> = line.splitn(4, ',').collect();
        let [field, class, kept, reason] = cells[..] else { panic!("four cells: {line}") };
        if let Some(column) = field.strip_prefix("db:") {
            assert!(found.insert(column, Class { class, kept, reason }).is_none(), "{column} stands twice");
        }
    }
    found
}

async fn every_column_has_a_class_and_every_class_has_its_column(database: &Database) {
    let store = database.create().await;
    // The index of names is each database's own, and holds pairs of characters of what is public.
    let schema = match database {
        Database::Sqlite(_) => {
            "SELECT m.name || '.' || p.name FROM sqlite_master m, pragma_table_info(m.name) p
             WHERE m.type = 'table' AND m.name NOT LIKE 'sqlite%' AND m.name NOT LIKE 'entity_search%' AND m.name <> '_sqlx_migrations'"
        }
        Database::Postgres(_) => {
            "SELECT table_name || '.' || column_name FROM information_schema.columns
             WHERE table_schema = current_schema() AND table_name <> 'entity_search' AND table_name <> '_sqlx_migrations'"
        }
    };
    let there: BTreeSet<String> = database.raw().await.texts(schema).await.into_iter().collect();
    let table = table();
    let classed = columns(&table);
    let unclassed: Vec<_> = there.iter().filter(|column| !classed.contains_key(column.as_str())).collect();
    assert!(unclassed.is_empty(), "without a class in docs/data-classes.csv: {unclassed:#?}");
    // What has codes has to get new ones under a new data key; those of the audit log are by a secret of the gateway's folder.
    let mut coded: BTreeSet<_> = there.iter().filter_map(|column| column.strip_suffix(".code")).collect();
    assert!(coded.remove("audit_entries"));
    assert_eq!(
        coded,
        store::protected_tables().collect(),
        "tables with codes, and store/src/protection/rotation.rs"
    );
    let vanished: Vec<_> = classed.keys().filter(|column| !there.contains(**column)).collect();
    assert!(vanished.is_empty(), "in docs/data-classes.csv and not in the database: {vanished:#?}");
    store.close().await;
}

#[test]
fn what_is_personal_secret_or_a_key_is_sealed_hashed_coded_or_wrapped_or_it_is_said_why_not() {
    let table = table();
    let sealed_in_code = sealed_cells();
    for (column, Class { class, kept, reason }) in columns(&table) {
        match (class, kept) {
            ("public" | "internal", "") => {}
            ("personal" | "secret" | "key_material", "hashed" | "wrapped" | "coded") => {
                assert!(!reason.is_empty(), "{column}: by what?");
            }
            ("personal" | "secret" | "key_material", "sealed") => {
                assert!(sealed_in_code.contains(column), "{column} is sealed nowhere in the code");
            }
            ("personal", "plain") => {
                assert!(reason.len() > 20, "{column} is stored as it is without a reason")
            }
            _ => panic!("{column}: {class}, {kept} is no class"),
        }
    }
    for cell in sealed_in_code {
        // What is kept in files beside the database has a line of its own kind.
        let is_file = table.lines().any(|line| line.starts_with(&format!("file:{cell},personal,sealed,")));
        let class = columns(&table).remove(cell.as_str()).map(|class| class.kept == "sealed");
        assert!(
            is_file || class == Some(true),
            "{cell} is sealed, and docs/data-classes.csv does not say so"
        );
    }
}

/// The cells that the store's sources seal: `Cell { table: "…", column: "…"`.
fn sealed_cells() -> BTreeSet<String> {
    let mut found = BTreeSet::new();
    let mut folders = vec![Path::new(env!("CARGO_MANIFEST_DIR")).join("src")];
    while let Some(folder) = folders.pop() {
        for entry in std::fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path()) {
            if entry.is_dir() {
                folders.push(entry);
                continue;
            }
            let text = std::fs::read_to_string(&entry).unwrap();
            let words: String = text.split_whitespace().collect();
            for cell in words.split("Cell{table:\"").skip(1) {
                let (table, rest) = cell.split_once("\",column:\"").expect("a cell names its column");
                let (column, _) = rest.split_once('"').unwrap();
                found.insert(format!("{table}.{column}"));
            }
        }
    }
    assert!(!found.is_empty());
    found
}
