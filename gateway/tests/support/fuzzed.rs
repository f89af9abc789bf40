//! What must hold of request bodies for any input: used by the fuzz target and, over its corpus and at random, by the
//! tests.
#![allow(clippy::unwrap_used)] // a helper that fails fails its test

use std::collections::{BTreeMap, BTreeSet};

use license_gateway::bodies::{Bodies, Form, KINDS, Kind};
use serde_json::Value;
use serde_json::value::RawValue;

/// Longest body that is read, octets: shorter than the longest that is tried.
pub(crate) const LIMIT: usize = 3 << 10;

thread_local! {
    static BODIES: Bodies = Bodies::new(LIMIT).unwrap();
}

/// Every kind of body is read out of `input`. Returns the kinds that accept it.
pub(crate) fn body(input: &[u8]) -> BTreeSet<&'static str> {
    let accepted = KINDS.iter().filter(|kind| accepts(kind, input));
    accepted.map(|kind| kind.name).collect()
}

fn accepts(kind: &Kind, input: &[u8]) -> bool {
    let json: Option<Value> = serde_json::from_slice(input).ok();
    match BODIES.with(|bodies| bodies.check(kind, input)) {
        Ok(answer) => {
            match kind.form {
                Form::Object => assert!(has_only(&json.unwrap(), &(kind.fields)())),
                Form::Batch => all_answered(kind, input, &answer),
                Form::Query => {}
            }
            true
        }
        Err(document) => {
            is_of_the_caller(kind, input, &document);
            false
        }
    }
}

fn has_only(body: &Value, fields: &[String]) -> bool {
    body.as_object().unwrap().keys().all(|key| fields.contains(key))
}

/// Each item of a batch has its answer: a verdict, or for an order the key, or a problem of its own. Items may be of any
/// depth.
fn all_answered(kind: &Kind, batch: &[u8], answer: &[u8]) {
    let good = if kind.name == "signatures" { "key" } else { "verdict" };
    let batch: BTreeMap<String, Vec<&RawValue>> = serde_json::from_slice(batch).unwrap();
    let answer: Value = serde_json::from_slice(answer).unwrap();
    let answers = answer["items"].as_array().unwrap();
    assert_eq!(batch["items"].len(), answers.len());
    for answer in answers {
        let problem = &answer["problem"];
        assert!(answer[good].is_string() != problem.is_object(), "{answer}");
        if problem.is_object() {
            assert!((400..500).contains(&problem["status"].as_u64().unwrap()), "{answer}");
        }
    }
}

/// The problem is the caller's, is no larger than what it is about, and says which field is at fault.
fn is_of_the_caller(kind: &Kind, input: &[u8], document: &[u8]) {
    assert!(document.len() <= 16 * input.len() + (32 << 10), "{} octets", document.len());
    let problem: Value = serde_json::from_slice(document).unwrap();
    let code = problem["code"].as_str().unwrap();
    match problem["status"].as_u64().unwrap() {
        400 => assert_eq!(code, "malformed_json"),
        404 => assert_eq!(code, "unknown_key"),
        413 => assert!(input.len() > LIMIT),
        422 => {
            let faults = problem["errors"].as_array().unwrap();
            assert!(!faults.is_empty(), "{problem}");
            for fault in faults {
                assert!(!fault["code"].as_str().unwrap().is_empty(), "{problem}");
                assert!(is_named(kind, fault), "{}: {problem}", kind.name);
            }
        }
        _ => panic!("{}: {problem}", kind.name),
    }
}

fn is_named(kind: &Kind, fault: &Value) -> bool {
    let field = fault["field"].as_str().unwrap();
    if field == "(body)" || matches!(fault["code"].as_str(), Some("unknown_field" | "duplicate_field")) {
        return !field.is_empty();
    }
    let outermost = field.split(['.', '[']).next().unwrap_or_default();
    (kind.fields)().iter().any(|known| known == outermost)
}
