//! Every field of the API has a class in `docs/data-classes.csv`; what the classes mean for logs and answers is tested where
//! those are.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::Value;
use tests::repository;

const CLASSES: [&str; 4] = ["public", "internal", "personal", "secret"];

/// All names of fields of requests and answers, and of parameters.
fn fields(document: &Value) -> BTreeSet<String> {
    let mut found = BTreeSet::new();
    for schema in document["components"]["schemas"].as_object().unwrap().values() {
        walk(schema, &mut found);
    }
    for operation in
        document["paths"].as_object().unwrap().values().flat_map(|path| path.as_object().unwrap().values())
    {
        for parameter in operation["parameters"].as_array().into_iter().flatten() {
            found.insert(parameter["name"].as_str().unwrap().to_owned());
        }
        walk(operation, &mut found);
    }
    found
}

/// Schemas stand in schemas, and in operations.
fn walk(value: &Value, found: &mut BTreeSet<String>) {
    match value {
        Value::Object(members) => {
            for (name, member) in members {
                if name == "properties" {
                    found.extend(member.as_object().into_iter().flat_map(serde_json::Map::keys).cloned());
                }
                if name != "example" && name != "examples" {
                    walk(member, found);
                }
            }
        }
        Value::Array(items) => items.iter().for_each(|item| walk(item, found)),
        _ => {}
    }
}

#[test]
fn every_field_of_the_api_has_a_class_and_every_class_has_its_field() {
    let table = std::fs::read_to_string(repository().join("docs/data-classes.csv")).unwrap();
    let mut classed = BTreeMap::new();
    for line in table.lines().skip(1) {
        let cells: Vec<&str> = line.splitn(4, ',').collect();
        let [field, class, kept, _] = cells[..] else { panic!("four cells: {line}") };
        if let Some(field) = field.strip_prefix("api:") {
            assert!(CLASSES.contains(&class) && kept.is_empty(), "{line}");
            assert!(classed.insert(field, class).is_none(), "{field} stands twice");
        }
    }
    let snapshot = std::fs::read_to_string(repository().join("docs/openapi.json")).unwrap();
    let fields = fields(&serde_json::from_str(&snapshot).unwrap());
    let unclassed: Vec<_> = fields.iter().filter(|field| !classed.contains_key(field.as_str())).collect();
    assert!(unclassed.is_empty(), "without a class in docs/data-classes.csv: {unclassed:#?}");
    let vanished: Vec<_> = classed.keys().filter(|field| !fields.contains(**field)).collect();
    assert!(vanished.is_empty(), "in docs/data-classes.csv and not in the API: {vanished:#?}");
    // Nobody declassifies these by an oversight.
    for secret in ["secret", "access_token", "client_assertion"] {
        assert_eq!(classed[secret], "secret");
    }
    assert_eq!(classed["contacts"], "personal");
}
