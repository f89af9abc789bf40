//! A row of a file, and the entity it stands for.

use formats::uscc::Uscc;
use serde_json::{Map, Value, json};
use store::EntityRecord;
use time::OffsetDateTime;
use time::format_description::well_known::Rfc3339;
use verify_front::FACE_FIELDS;

use crate::people::form::is_unseen;

/// Fields of a license's face that no register states of an entity: what a row says beside the face, and what is a license's own.
const NOT_REGISTERED: [&str; 5] = ["uscc", "name", "format_version", "entity_version", "holder"];
/// Fields that can have several values: an enterprise may have more than one address (一照多址).
pub(super) const LISTS: [&str; 1] = ["domicile"];
/// Fields of several lines: addresses, and what an enterprise does.
const OF_LINES: [&str; 4] = ["domicile", "foreign_domicile", "business_scope", "service_scope"];
/// The members of a row.
pub(super) const MEMBERS: [&str; 7] =
    ["uscc", "name", "entity_type", "status", "flags", "status_as_of", "face"];
/// Characters of a name or of what else has a line of its own, at most.
const LONGEST_LINE: usize = 200;
/// Characters of a field of the face; scopes of business are long.
const LONGEST_FIELD: usize = 10_000;
/// Values of a field, and flags.
const MOST: usize = 50;

/// Whether a register states this field of a face.
pub(super) fn is_registered(field: &str) -> bool {
    FACE_FIELDS.contains(&field) && !NOT_REGISTERED.contains(&field)
}

/// What is wrong with a row.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct RowFault {
    pub(super) field: String,
    pub(super) code: &'static str,
    pub(super) detail: String,
}

impl RowFault {
    pub(super) fn new(field: impl Into<String>, code: &'static str, detail: impl Into<String>) -> Self {
        Self { field: field.into(), code, detail: detail.into() }
    }
}

/// What is known of the site that takes a row in.
#[derive(Clone, Copy)]
pub(super) struct Terms {
    pub(super) sandbox: bool,
    pub(super) now: OffsetDateTime,
}

/// Reads a row; all that is wrong with it is told.
pub(super) fn read(row: &Map<String, Value>, terms: Terms) -> Result<EntityRecord, Vec<RowFault>> {
    let mut faults = Vec::new();
    for member in row.keys().filter(|member| !MEMBERS.contains(&member.as_str())) {
        faults.push(RowFault::new(clipped(member), "unknown_field", "there is no such field"));
    }
    let uscc = uscc(row, terms, &mut faults);
    let name = line(row, "name", &mut faults);
    let entity_type = line(row, "entity_type", &mut faults);
    let status = row.get("status").and_then(Value::as_i64).filter(|status| matches!(status, 1..=6 | 9));
    if status.is_none() {
        faults.push(RowFault::new("status", "status_unknown", "is not one of 1 to 6 and 9"));
    }
    let flags = flags(row, &mut faults);
    let status_as_of = as_of(row, terms, &mut faults);
    let mut face = face(row, &mut faults);
    for (field, value) in [("uscc", uscc.map(|uscc| uscc.to_string())), ("name", name.clone())] {
        face.extend(value.map(|value| (field.to_owned(), value.into())));
    }
    match (uscc, name, entity_type, status, status_as_of) {
        (Some(uscc), Some(name), Some(entity_type), Some(status), Some(status_as_of))
            if faults.is_empty() =>
        {
            Ok(EntityRecord { uscc, name, entity_type, status, flags, status_as_of, face })
        }
        _ => Err(faults),
    }
}

/// The row that stands for an entity: the same text for the same entity.
pub(super) fn written(entity: &EntityRecord) -> Value {
    let mut face = entity.face.clone();
    face.retain(|field, _| is_registered(field));
    for value in face.values_mut() {
        // A license's date: its text says all.
        if let Some(text) = value.get("text").and_then(Value::as_str) {
            *value = text.into();
        }
    }
    json!({
        "uscc": entity.uscc.as_str(),
        "name": entity.name,
        "entity_type": entity.entity_type,
        "status": entity.status,
        "flags": entity.flags,
        "status_as_of": super::time_text(entity.status_as_of),
        "face": face,
    })
}

fn uscc(row: &Map<String, Value>, terms: Terms, faults: &mut Vec<RowFault>) -> Option<Uscc> {
    let fault = match row.get("uscc").and_then(Value::as_str).map(Uscc::parse_sandbox) {
        Some(Ok(uscc)) if terms.sandbox || !uscc.is_test() => return Some(uscc),
        Some(Ok(_)) => {
            RowFault::new("uscc", "test_identity_in_production", "test enterprises exist in a sandbox only")
        }
        Some(Err(error)) => RowFault::new("uscc", "uscc_invalid", error.to_string()),
        None => RowFault::new("uscc", "missing", "is not there, or is no text"),
    };
    faults.push(fault);
    None
}

fn line(row: &Map<String, Value>, field: &str, faults: &mut Vec<RowFault>) -> Option<String> {
    match row.get(field).and_then(Value::as_str) {
        None => faults.push(RowFault::new(field, "missing", "is not there, or is no text")),
        Some(text) => match text_fault(text, LONGEST_LINE, false) {
            None if text.trim() == text && !text.is_empty() => return Some(text.to_owned()),
            None => faults.push(RowFault::new(field, "invalid_value", "is empty, or has blanks around it")),
            Some(fault) => faults.push(RowFault::new(field, "invalid_value", fault)),
        },
    }
    None
}

fn text_fault(text: &str, longest: usize, of_lines: bool) -> Option<String> {
    if text.chars().any(|character| is_unseen(character) && !(of_lines && character == '\n')) {
        return Some("has characters that nobody sees, or that change how others are read".to_owned());
    }
    (text.chars().count() > longest).then(|| format!("has more than {longest} characters"))
}

fn flags(row: &Map<String, Value>, faults: &mut Vec<RowFault>) -> Vec<String> {
    match row.get("flags") {
        None => Vec::new(),
        Some(value) => texts(value, LONGEST_LINE, false).unwrap_or_else(|| {
            faults.push(RowFault::new("flags", "invalid_value", "is no list of texts"));
            Vec::new()
        }),
    }
}

/// A list of texts that can be taken.
fn texts(value: &Value, longest: usize, of_lines: bool) -> Option<Vec<String>> {
    let items = value.as_array().filter(|items| items.len() <= MOST)?;
    let text = |item: &Value| {
        let is_good = |text: &&str| !text.is_empty() && text_fault(text, longest, of_lines).is_none();
        let text = item.as_str().filter(is_good);
        text.map(str::to_owned)
    };
    items.iter().map(text).collect()
}

fn as_of(row: &Map<String, Value>, terms: Terms, faults: &mut Vec<RowFault>) -> Option<OffsetDateTime> {
    let text = row.get("status_as_of").and_then(Value::as_str);
    let Some(at) = text.and_then(|text| OffsetDateTime::parse(text, &Rfc3339).ok()) else {
        let detail = "is no time of RFC 3339, such as 2026-11-22T08:00:00+08:00";
        faults.push(RowFault::new("status_as_of", "invalid_value", detail));
        return None;
    };
    if at > terms.now + time::Duration::DAY {
        faults.push(RowFault::new("status_as_of", "invalid_value", "lies in the future"));
        return None;
    }
    // Kept in whole seconds.
    OffsetDateTime::from_unix_timestamp(at.unix_timestamp()).ok()
}

fn face(row: &Map<String, Value>, faults: &mut Vec<RowFault>) -> Map<String, Value> {
    let fields = match row.get("face") {
        None => return Map::new(),
        Some(Value::Object(fields)) => fields,
        Some(_) => {
            faults.push(RowFault::new("face", "invalid_value", "is no object"));
            return Map::new();
        }
    };
    let mut face = Map::new();
    for (field, value) in fields {
        let place = || format!("face.{}", clipped(field));
        if !is_registered(field) {
            faults.push(RowFault::new(place(), "unknown_field", "there is no such field"));
            continue;
        }
        let of_lines = OF_LINES.contains(&field.as_str());
        let taken = match value {
            Value::String(text) => text_fault(text, LONGEST_FIELD, of_lines).is_none(),
            Value::Array(items) => {
                LISTS.contains(&field.as_str())
                    && !items.is_empty()
                    && texts(value, LONGEST_FIELD, of_lines).is_some()
            }
            _ => false,
        };
        if taken {
            face.insert(field.clone(), value.clone());
        } else {
            faults.push(RowFault::new(place(), "invalid_value", "is no text that can be taken"));
        }
    }
    face
}

/// A name that somebody gave, for a message.
pub(super) fn clipped(name: &str) -> String {
    name.chars().filter(|character| !is_unseen(*character)).take(40).collect()
}

#[cfg(test)]
mod tests {
    use time::macros::datetime;

    use super::*;

    const NOW: OffsetDateTime = datetime!(2026-11-22 00:00 UTC);

    fn good() -> Value {
        json!({
            "uscc": "91350100M000100Y43", "name": "样例有限公司", "entity_type": "有限责任公司", "status": 1,
            "flags": ["经营异常名录"], "status_as_of": "2026-11-20T08:00:00.5+08:00",
            "face": {"domicile": ["西安市一号", "西安市二号"], "legal_representative": "张三"},
        })
    }

    fn faults(change: impl FnOnce(&mut Value)) -> Vec<(String, &'static str)> {
        let mut row = good();
        change(&mut row);
        let read = read(row.as_object().unwrap(), Terms { sandbox: false, now: NOW });
        read.err().unwrap_or_default().into_iter().map(|fault| (fault.field, fault.code)).collect()
    }

    #[test]
    fn a_good_row_is_read_and_written_as_it_was_to_the_second() {
        let row = good();
        let entity = read(row.as_object().unwrap(), Terms { sandbox: false, now: NOW }).unwrap();
        assert_eq!(entity.face["name"], "样例有限公司");
        assert_eq!(entity.face["domicile"][1], "西安市二号");
        let mut wanted = good();
        wanted["status_as_of"] = "2026-11-20T00:00:00Z".into();
        assert_eq!(written(&entity), wanted);
        let again = written(&entity);
        assert_eq!(read(again.as_object().unwrap(), Terms { sandbox: false, now: NOW }).unwrap(), entity);
    }

    #[test]
    fn each_fault_names_its_field() {
        let cases: [(&str, Value, &str, &str); 13] = [
            ("/uscc", json!("91350100M000100Y44"), "uscc", "uscc_invalid"),
            ("/uscc", json!("ZZJGD1609314154606"), "uscc", "test_identity_in_production"),
            ("/uscc", json!(7), "uscc", "missing"),
            ("/name", json!(""), "name", "invalid_value"),
            ("/name", json!("样例\u{0}"), "name", "invalid_value"),
            ("/name", json!("样".repeat(201)), "name", "invalid_value"),
            ("/status", json!(7), "status", "status_unknown"),
            ("/status", json!("1"), "status", "status_unknown"),
            ("/status_as_of", json!("2026-11-20"), "status_as_of", "invalid_value"),
            ("/status_as_of", json!("2027-01-01T00:00:00Z"), "status_as_of", "invalid_value"),
            ("/flags", json!("经营异常名录"), "flags", "invalid_value"),
            ("/face/domicile", json!({"text": "西安"}), "face.domicile", "invalid_value"),
            ("/face/legal_representative", json!(["张三"]), "face.legal_representative", "invalid_value"),
        ];
        for (pointer, value, field, code) in cases {
            let found = faults(|row| *row.pointer_mut(pointer).unwrap() = value.clone());
            assert_eq!(found, [(field.to_owned(), code)], "{pointer} {value}");
        }
        // What one line would make two of, and what makes one name look like another.
        let unseen =
            ["样例\n有限公司", "样例\u{200b}有限公司", "样例\u{202e}有限公司", "样例\u{ad}", "样\u{feff}例"];
        for text in unseen {
            for (pointer, field) in [
                ("/name", "name"),
                ("/entity_type", "entity_type"),
                ("/flags/0", "flags"),
                ("/face/legal_representative", "face.legal_representative"),
            ] {
                let found = faults(|row| *row.pointer_mut(pointer).unwrap() = json!(text));
                assert_eq!(found, [(field.to_owned(), "invalid_value")], "{pointer} {text:?}");
            }
        }
        for (text, is_good) in
            [("西安市\n一号", true), ("西安市\u{200b}一号", false), ("西安市\r一号", false)]
        {
            for value in [json!(text), json!([text, "二号"])] {
                assert_eq!(
                    faults(|row| row["face"]["domicile"] = value.clone()).is_empty(),
                    is_good,
                    "{value}"
                );
            }
        }
        assert!(faults(|row| row["face"]["business_scope"] = json!("零售\n批发")).is_empty());
        let unknown = faults(|row| row["face"]["id_number"] = json!("1"));
        assert_eq!(unknown, [("face.id_number".to_owned(), "unknown_field")]);
        let unknown = faults(|row| row["phone"] = json!("1"));
        assert_eq!(unknown, [("phone".to_owned(), "unknown_field")]);
    }
}
