//! Whether everything acknowledged stands in the log as it was acknowledged, and nothing stands there twice.

use std::collections::{BTreeMap, HashMap};

use serde_json::Value;
use sm3::{Digest as _, Sm3};
use tests::{items_root, unbase64};

use super::traffic::{Acknowledged, Kind};

/// Complains of what is wrong; answers how many requests were done more than once under their idempotency keys.
pub(super) fn compare(
    acknowledged: &BTreeMap<u64, Acknowledged>,
    entries: &[Value],
    wrong: &mut Vec<String>,
) -> usize {
    let mut done: HashMap<&str, Vec<usize>> = HashMap::new();
    for (index, entry) in entries.iter().enumerate() {
        if let Some(id) = entry["request_id"].as_str().filter(|_| entry["outcome"] == "ok") {
            done.entry(id).or_default().push(index);
        }
    }
    let mut twice = 0;
    // What has a key has its number only for an id.
    let under_a_key = |id: &str| id.strip_prefix("crash-").is_some_and(|rest| !rest.contains('-'));
    for (id, at) in done.iter().filter(|(id, at)| under_a_key(id) && at.len() > 1) {
        twice += 1;
        wrong.push(format!("{id} was done {} times: entries {at:?}", at.len()));
    }
    for request in acknowledged.values() {
        let id = &request.request_id;
        let Some(at) = done.get(id.as_str()).and_then(|at| at.first()).copied() else {
            wrong.push(format!("{id} was acknowledged and is not in the log"));
            continue;
        };
        if let Err(why) = agree(request, at, &entries[at]) {
            wrong.push(format!("entry {at} of {id}: {why}"));
        }
    }
    twice
}

/// Whether an entry is about what was answered.
fn agree(request: &Acknowledged, at: usize, entry: &Value) -> Result<(), String> {
    let answer: Value = serde_json::from_str(&request.answer).map_err(|error| error.to_string())?;
    if request.kind == Kind::Face {
        return of("license.face", entry);
    }
    if answer["audit_index"].as_u64() != Some(at as u64) {
        return Err(format!("was acknowledged as entry {}", answer["audit_index"]));
    }
    if request.kind != Kind::Batch {
        of("signature.raw", entry)?;
        return same(&entry["result_digest"], &digest_of(&answer["signature"]));
    }
    of("signature.batch", entry)?;
    let items = answer["items"].as_array().ok_or("has no items")?;
    let records: Vec<&str> = items.iter().filter_map(|item| item["audit_record"].as_str()).collect();
    if items.len() != records.len() {
        return Err("an item has no record".to_owned());
    }
    same(&entry["input_digest"], &items_root(&records))?;
    for (item, record) in items.iter().zip(records) {
        let record: Value = serde_json::from_str(record).map_err(|error| error.to_string())?;
        if item["signature"].is_string() {
            same(&record["result_digest"], &digest_of(&item["signature"]))?;
        } else {
            same(&record["outcome"], item["problem"]["code"].as_str().unwrap_or_default())?;
        }
    }
    Ok(())
}

fn of(action: &str, entry: &Value) -> Result<(), String> {
    same(&entry["action"], action)
}

fn same(found: &Value, expected: &str) -> Result<(), String> {
    if found == expected { Ok(()) } else { Err(format!("{found} where {expected} was answered")) }
}

/// SM3 of a signature, hexadecimal.
fn digest_of(signature: &Value) -> String {
    hex::encode(Sm3::digest(unbase64(signature.as_str().unwrap_or_default())))
}
