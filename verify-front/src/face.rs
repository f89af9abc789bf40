//! The license face (照面信息): what of it leaves to whom, and how it compares with the register.

//! The license face (照面信息): what of it leaves to whom, and how it compares with the register.

use std::collections::BTreeSet;

use formats::license::FaceDate;
use serde::Serialize;
use serde_json::{Map, Value};
use store::EntityRecord;
use time::OffsetDateTime;

/// Fields that hold a person's name: masked unless granted in full.
const PERSONS: [&str; 2] = ["legal_representative", "holder"];
/// Added to a person's field, it grants the name unmasked.
const IN_FULL: &str = "_full";
const EVERYTHING: &str = "*";

/// Which face fields a caller may see.
///
/// A person's name, `legal_representative` or `holder`, is shown masked; `legal_representative_full` and
/// `holder_full` show it in full. `*` stands for every field in full.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FieldGrant(BTreeSet<String>);

impl FieldGrant {
    /// From the names of an app's field list; unknown names grant nothing.
    pub fn new<S: Into<String>>(names: impl IntoIterator<Item = S>) -> Self {
        Self(names.into_iter().map(Into::into).collect())
    }

    fn has(&self, name: &str) -> bool {
        self.0.contains(name) || self.0.contains(EVERYTHING)
    }

    /// The value as this caller may see it.
    fn view(&self, name: &str, value: &Value) -> Option<Value> {
        // Raw certificate attributes hold the same content under numbers and would go round the grant.
        let text = text(value)?;
        if !PERSONS.contains(&name) {
            self.has(name).then(|| value.clone())
        } else if self.has(&format!("{name}{IN_FULL}")) {
            Some(value.clone())
        } else {
            self.has(name).then(|| masked(text).into())
        }
    }
}

/// The granted part of the face that the register holds.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct FaceAnswer {
    /// Whose face it is.
    pub uscc: String,
    /// Field name to text or date.
    pub face: Map<String, Value>,
    /// When the register said so.
    #[serde(with = "time::serde::rfc3339")]
    pub as_of: OffsetDateTime,
}

impl FaceAnswer {
    pub(crate) fn of(entity: &EntityRecord, granted: &FieldGrant) -> Self {
        let face = entity
            .face
            .iter()
            .filter_map(|(name, value)| Some((name.clone(), granted.view(name, value)?)))
            .collect();
        Self { uscc: entity.uscc.to_string(), face, as_of: entity.status_as_of }
    }
}

/// Names of the fields that both sides state and that differ.
pub(crate) fn differences(shown: &Map<String, Value>, register: &Map<String, Value>) -> Vec<String> {
    register
        .iter()
        .filter_map(|(name, value)| Some((name, text(shown.get(name)?)?, text(value)?)))
        .filter(|(_, shown, register)| !same(shown, register))
        .map(|(name, ..)| name.clone())
        .collect()
}

/// The text of a face field: a string, or a date with its text.
fn text(value: &Value) -> Option<&str> {
    value.as_str().or_else(|| value.get("text")?.as_str())
}

/// Blanks around a text and the way a date is written do not count.
fn same(one: &str, other: &str) -> bool {
    let day = |text: &str| FaceDate::read(text.trim()).date;
    one.trim() == other.trim() || day(one).is_some_and(|one| Some(one) == day(other))
}

/// The first character of a name, and a star for each further one.
fn masked(name: &str) -> String {
    name.trim().chars().enumerate().map(|(n, c)| if n == 0 { c } else { '*' }).collect()
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn face(value: Value) -> Map<String, Value> {
        match value {
            Value::Object(face) => face,
            _ => panic!("not an object"),
        }
    }

    #[test]
    fn a_masked_name_keeps_its_first_character() {
        for (name, wanted) in [("张三", "张*"), (" 欧阳娜娜 ", "欧***"), ("李", "李"), ("", "")] {
            assert_eq!(masked(name), wanted);
        }
    }

    #[test]
    fn only_fields_that_both_sides_state_can_differ() {
        let shown = face(json!({"name": "甲公司", "domicile": "西安", "template": null, "holder": "张三"}));
        let register =
            face(json!({"name": "乙公司", "domicile": " 西安 ", "template": "A", "area_code": "1"}));
        assert_eq!(differences(&shown, &register), ["name"]);
    }

    #[test]
    fn a_date_is_the_same_however_it_is_written() {
        let date =
            |text: &str| face(json!({"established": {"text": text, "date": null, "long_term": false}}));
        assert!(differences(&date("2020年02月02日"), &date("20200202")).is_empty());
        assert!(
            differences(&date("2020年2月2日"), &face(json!({"established": "2020年02月02日"}))).is_empty()
        );
        assert_eq!(differences(&date("2020年02月02日"), &date("20200203")), ["established"]);
        assert_eq!(differences(&date("长期"), &date("20200203")), ["established"]);
    }
}
