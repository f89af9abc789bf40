//! Request bodies: the fuzz target's corpus, input by input, damaged everywhere, and at random.

#![allow(clippy::unwrap_used)] // a helper that fails fails its test

#[path = "support/fuzzed.rs"]
mod fuzzed;

use std::collections::BTreeSet;
use std::path::Path;

use fuzzed::LIMIT;
use license_gateway::bodies::{Form, KINDS};
use proptest::prelude::*;
use serde_json::Value;

fn corpus() -> Vec<Vec<u8>> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../fuzz/corpus/body");
    let inputs = std::fs::read_dir(folder).unwrap();
    inputs.map(|entry| std::fs::read(entry.unwrap().path()).unwrap()).collect()
}

#[test]
fn the_corpus_has_a_good_body_of_every_kind() {
    let accepted: BTreeSet<_> = corpus().iter().flat_map(|input| fuzzed::body(input)).collect();
    assert_eq!(accepted, KINDS.iter().map(|kind| kind.name).collect());
}

/// Of every body that the interface description knows.
#[test]
fn no_kind_of_body_is_left_out() {
    let description = Path::new(env!("CARGO_MANIFEST_DIR")).join("../docs/openapi.json");
    let description: Value = serde_json::from_slice(&std::fs::read(description).unwrap()).unwrap();
    let paths = description["paths"].as_object().unwrap().values();
    let operations = paths.flat_map(|path| path.as_object().unwrap().values());
    let schemas = operations.filter_map(|operation| {
        operation["requestBody"]["content"]["application/json"]["schema"]["$ref"].as_str()
    });
    let mut found = 0;
    for schema in schemas {
        let schema = description.pointer(&schema[1..]).unwrap();
        let fields: BTreeSet<String> = schema["properties"].as_object().unwrap().keys().cloned().collect();
        let known = KINDS.iter().any(|kind| BTreeSet::from_iter((kind.fields)()) == fields);
        assert!(known, "gateway/src/bodies.rs has no body with the fields {fields:?}");
        found += 1;
    }
    assert!(found >= KINDS.len() - 1, "{found}");
}

#[test]
fn a_new_password_is_judged_and_not_only_read() {
    let other = |password: &str| {
        let body = serde_json::json!({"present": "p", "new": password}).to_string();
        fuzzed::body(body.as_bytes()).contains("another password")
    };
    assert!(other("kT7-vepo-Quag"));
    for weak in ["n", "Password1234!", "Wanglei#84k2Zq", "王磊Abc-7193xk"] {
        assert!(!other(weak), "{weak}");
    }
}

#[test]
fn damaged_bodies_get_an_answer() {
    for input in corpus() {
        for position in 0..input.len() {
            let mut damaged = input.clone();
            damaged[position] ^= 1 << (position % 8);
            fuzzed::body(&damaged);
            fuzzed::body(&input[..position]);
        }
    }
}

#[test]
fn bodies_too_long_too_deep_or_with_too_many_items_are_refused() {
    // As a query all of these are empty or unknown.
    let json = |input: &[u8]| {
        let mut accepted = fuzzed::body(input);
        accepted.remove("history");
        accepted
    };
    let nothing = BTreeSet::new();
    assert_eq!(json(&vec![b' '; LIMIT + 1]), nothing);
    for (open, close) in [("[", "]"), (r#"{"items":"#, "}"), (r#"{"items":["#, "]}")] {
        let deep = |depth: usize| open.repeat(depth) + "1" + &close.repeat(depth);
        for depth in [100, 130, LIMIT / (open.len() + close.len()) - 1] {
            // Items may be of any depth: they are read one by one.
            let accepted = json(deep(depth).as_bytes());
            assert!(open.ends_with('[') && open.starts_with('{') || accepted.is_empty(), "{accepted:?}");
        }
    }
    let items = |count: usize| format!(r#"{{"items":[{}]}}"#, vec!["1"; count].join(","));
    let batches = KINDS.iter().filter(|kind| kind.form == Form::Batch).count();
    assert_eq!(json(items(1_000).as_bytes()).len(), batches);
    assert_eq!(json(items(1_001).as_bytes()), nothing);
    assert_eq!(json(items(0).as_bytes()), nothing);
}

/// JSON of any shape, with the names that bodies use.
fn json() -> impl Strategy<Value = Value> {
    let names: BTreeSet<String> = KINDS.iter().flat_map(|kind| (kind.fields)()).collect();
    let names: Vec<String> =
        names.into_iter().chain(["digest", "data", "id", "value"].map(str::to_owned)).collect();
    let leaf = prop_oneof![
        Just(Value::Null),
        any::<bool>().prop_map(Into::into),
        any::<i64>().prop_map(Into::into),
        any::<f64>().prop_map(Into::into),
        "\\PC{0,40}".prop_map(Into::into),
        Just("2026-01-01T00:00:00Z".into()),
        Just("AAAA".into()),
    ];
    leaf.prop_recursive(4, 32, 8, move |inner| {
        let name = proptest::sample::select(names.clone());
        prop_oneof![
            proptest::collection::vec(inner.clone(), 0..8).prop_map(Value::from),
            proptest::collection::btree_map(name, inner, 0..8)
                .prop_map(|map| Value::Object(map.into_iter().collect())),
        ]
    })
}

proptest! {
    #[test]
    fn any_bytes(bytes in proptest::collection::vec(any::<u8>(), 0..300)) {
        fuzzed::body(&bytes);
    }

    #[test]
    fn any_json(value in json()) {
        fuzzed::body(value.to_string().as_bytes());
    }
}
