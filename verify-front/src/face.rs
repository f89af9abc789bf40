//! The license face (照面信息): what of it leaves to whom, and how it compares with the register.

use std::collections::BTreeSet;

use formats::license::{Face, same_value};
use formats::uscc::Uscc;
use serde::Serialize;
use serde_json::{Map, Value};
use store::EntityRecord;
use time::OffsetDateTime;

use crate::{FrontError, StatusAnswer};

/// The fields of a license's face, as [`Face`] names them: what there is to be asked for.
pub const FACE_FIELDS: [&str; 24] = [
    "uscc",
    "registration_number",
    "name",
    "title",
    "legal_representative",
    "registered_capital",
    "domicile",
    "established",
    "term_from",
    "term_to",
    "business_scope",
    "service_scope",
    "registration_authority",
    "registered",
    "publicity_url",
    "supervising_authority",
    "format_version",
    "foreign_name",
    "foreign_domicile",
    "entity_version",
    "holder",
    "template",
    "subject_type",
    "area_code",
];
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

    /// Whether a field that is no person's may be seen.
    #[must_use]
    pub fn shows(&self, name: &str) -> bool {
        self.has(name)
    }

    /// The name of a person in this field, `legal_representative` or `holder`, as it may be seen: in full, or masked.
    #[must_use]
    pub fn person(&self, field: &str, name: &str) -> String {
        if self.shows_in_full(field) { name.to_owned() } else { masked(name) }
    }

    /// Whether the name of a person in this field may be seen in full.
    #[must_use]
    pub fn shows_in_full(&self, field: &str) -> bool {
        self.has(&format!("{field}{IN_FULL}"))
    }

    /// Whether a grant was made in these words: `*` does not stand for it.
    #[must_use]
    pub fn names(&self, grant: &str) -> bool {
        self.0.contains(grant)
    }

    /// What is in both grants, where `names` is a list of fields: a person's name stays masked unless it is granted in full.
    #[must_use]
    pub fn within(&self, names: &[String]) -> Self {
        let full = |name: &String| PERSONS.contains(&name.as_str()).then(|| format!("{name}{IN_FULL}"));
        let granted = names.iter().flat_map(|name| [Some(name.clone()), full(name)].into_iter().flatten());
        Self(granted.filter(|name| self.has(name)).collect())
    }

    /// Whether all that a license shows may be seen, persons' names in full: whoever gets its certificate sees it.
    #[must_use]
    pub fn covers(&self, face: &Face) -> bool {
        let Ok(Value::Object(shown)) = serde_json::to_value(face) else { return false };
        let named: Vec<_> = shown
            .iter()
            .filter(|(name, value)| !value.is_null() && *name != "attributes" && *name != "uscc")
            .map(|(name, _)| name.as_str())
            .collect();
        // Each stands there under its number too; under further ones stands what has no name that could be granted.
        let is_all_named = face.attributes.len() <= named.len() + usize::from(!face.uscc.is_empty());
        let may_see = |name: &&str| match PERSONS.contains(name) {
            true => self.shows_in_full(name),
            false => self.has(name),
        };
        (is_all_named || self.0.contains(EVERYTHING)) && named.iter().all(may_see)
    }

    /// Whether nothing may be seen.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// What of a license's face may be seen: field name to text or date.
    #[must_use]
    pub fn face(&self, face: &Face) -> Map<String, Value> {
        let Ok(Value::Object(shown)) = serde_json::to_value(face) else { return Map::new() };
        let fields = shown.into_iter().filter(|(name, value)| !value.is_null() && name != "attributes");
        fields.filter_map(|(name, value)| self.view(&name, &value).map(|seen| (name, seen))).collect()
    }

    fn has(&self, name: &str) -> bool {
        self.0.contains(name) || self.0.contains(EVERYTHING)
    }

    /// The value as this caller may see it.
    fn view(&self, name: &str, value: &Value) -> Option<Value> {
        // Raw certificate attributes hold the same content under numbers and would go round the grant.
        if is_list(value) && !PERSONS.contains(&name) {
            return self.has(name).then(|| value.clone());
        }
        let text = text(value)?;
        if !PERSONS.contains(&name) {
            self.has(name).then(|| value.clone())
        } else if self.shows_in_full(name) {
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
        Self::granted(&entity.uscc, &entity.face, granted, entity.status_as_of)
    }

    /// What of a face is granted.
    pub(crate) fn granted(
        uscc: &Uscc,
        face: &Map<String, Value>,
        granted: &FieldGrant,
        as_of: OffsetDateTime,
    ) -> Self {
        let face = face
            .iter()
            .filter_map(|(name, value)| Some((name.clone(), granted.view(name, value)?)))
            .collect();
        Self { uscc: uscc.to_string(), face, as_of }
    }
}

/// An entity that was found by its name.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct FoundEntity {
    #[serde(flatten)]
    face: FaceAnswer,
    status: StatusAnswer,
}

impl FoundEntity {
    pub(crate) fn of(entity: &EntityRecord, granted: &FieldGrant) -> Result<Self, FrontError> {
        Ok(Self { face: FaceAnswer::of(entity, granted), status: StatusAnswer::of(entity)? })
    }

    /// Its unified social credit code.
    #[must_use]
    pub fn uscc(&self) -> &str {
        &self.face.uscc
    }
}

/// A page of entities that were found.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FoundPage {
    /// In the order they came into the library.
    pub entities: Vec<FoundEntity>,
    /// From where on there may be more.
    pub next: Option<i64>,
}

/// Names of the fields that both sides state and that differ.
pub(crate) fn differences(shown: &Map<String, Value>, register: &Map<String, Value>) -> Vec<String> {
    // What the register's answer masks cannot be compared.
    let is_masked = |name: &str, value: &str| PERSONS.contains(&name) && value.contains('*');
    register
        .iter()
        .filter_map(|(name, value)| Some((name, text(shown.get(name)?)?, value)))
        .filter(|(name, shown, value)| match value {
            // A license has room for one of several.
            Value::Array(items) if is_list(value) => {
                !items.iter().filter_map(Value::as_str).any(|register| same_value(shown, register))
            }
            _ => {
                text(value).is_some_and(|register| !is_masked(name, register) && !same_value(shown, register))
            }
        })
        .map(|(name, ..)| name.clone())
        .collect()
}

/// Whether a part of a face, in which persons may be masked, is a part of this one.
pub(crate) fn is_of(part: &Map<String, Value>, whole: &Map<String, Value>) -> bool {
    part.iter().all(|(name, value)| {
        let Some(now) = whole.get(name) else { return false };
        let is_masked =
            || PERSONS.contains(&name.as_str()) && text(now).map(masked).as_deref() == value.as_str();
        let is_same = || text(now).zip(text(value)).is_some_and(|(one, other)| same_value(one, other));
        now == value || is_same() || is_masked()
    })
}

/// The text of a face field: a string, or a date with its text.
fn text(value: &Value) -> Option<&str> {
    value.as_str().or_else(|| value.get("text")?.as_str())
}

/// A field with several values, such as the addresses of an enterprise that has more than one.
fn is_list(value: &Value) -> bool {
    value.as_array().is_some_and(|items| items.iter().all(Value::is_string))
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
    fn a_part_of_a_face_is_of_it_also_when_its_names_are_masked() {
        let whole =
            face(json!({"name": "甲公司", "legal_representative": "张三", "domicile": ["一号", "二号"]}));
        for part in [
            json!({}),
            json!({"name": "甲公司", "legal_representative": "张*"}),
            json!({"legal_representative": "张三", "domicile": ["一号", "二号"]}),
        ] {
            assert!(is_of(&face(part.clone()), &whole), "{part}");
        }
        for part in [
            json!({"name": "乙公司"}),
            json!({"name": "甲**"}),
            json!({"legal_representative": "李*"}),
            json!({"domicile": ["一号"]}),
            json!({"business_scope": "贸易"}),
        ] {
            assert!(!is_of(&face(part.clone()), &whole), "{part}");
        }
    }

    #[test]
    fn the_fields_that_can_be_asked_for_are_those_of_a_face() {
        let face = face(serde_json::to_value(Face::default()).unwrap());
        let mut fields = FACE_FIELDS.to_vec();
        fields.push("attributes");
        fields.sort_unstable();
        let mut names: Vec<_> = face.keys().map(String::as_str).collect();
        names.sort_unstable();
        assert_eq!(names, fields);
    }

    #[test]
    fn a_certificate_is_for_those_who_may_see_all_of_it() {
        let mut license = Face {
            uscc: "91610200MAXTA00240".to_owned(),
            name: Some("甲公司".to_owned()),
            holder: Some("张三".to_owned()),
            attributes: [(13, "91610200MAXTA00240"), (18, "甲公司"), (58, "张三")]
                .map(|(number, text)| (number, text.to_owned()))
                .into(),
            ..Face::default()
        };
        for (names, covered) in [
            (&["*"][..], true),
            (&["name", "holder_full"], true),
            (&["name", "holder"], false),
            (&["holder_full"], false),
            (&[], false),
        ] {
            assert_eq!(FieldGrant::new(names.iter().copied()).covers(&license), covered, "{names:?}");
        }
        license.attributes.insert(99, "什么".to_owned());
        assert!(!FieldGrant::new(["name", "holder_full"]).covers(&license), "nobody knows what that is");
        assert!(FieldGrant::new(["*"]).covers(&license));
    }

    #[test]
    fn of_a_face_that_is_granted_leaves_which_is_stated() {
        let license = Face {
            uscc: "91610200MAXTA00240".to_owned(),
            name: Some("甲公司".to_owned()),
            legal_representative: Some("张三".to_owned()),
            attributes: [(18, "甲公司".to_owned())].into(),
            ..Face::default()
        };
        let seen = |names: &[&str]| Value::Object(FieldGrant::new(names.iter().copied()).face(&license));
        assert_eq!(
            seen(&["name", "legal_representative", "domicile"]),
            json!({"name": "甲公司", "legal_representative": "张*"})
        );
        assert_eq!(seen(&["legal_representative_full"]), json!({"legal_representative": "张三"}));
        assert_eq!(
            seen(&["*"]),
            json!({"uscc": "91610200MAXTA00240", "name": "甲公司", "legal_representative": "张三"})
        );
        assert_eq!(seen(&[]), json!({}));
    }

    #[test]
    fn only_fields_that_both_sides_state_can_differ() {
        let shown = face(json!({"name": "甲公司", "domicile": "西安", "template": null, "holder": "张三"}));
        let register =
            face(json!({"name": "乙公司", "domicile": " 西安 ", "template": "A", "area_code": "1"}));
        assert_eq!(differences(&shown, &register), ["name"]);
    }

    #[test]
    fn one_of_several_addresses_is_the_same() {
        let register = face(json!({"domicile": ["西安市一号", "西安市二号"]}));
        assert!(differences(&face(json!({"domicile": "西安市二号 "})), &register).is_empty());
        assert_eq!(differences(&face(json!({"domicile": "西安市三号"})), &register), ["domicile"]);
        let grant = FieldGrant::new(["domicile"]);
        assert_eq!(grant.view("domicile", &register["domicile"]), Some(register["domicile"].clone()));
        assert_eq!(grant.view("holder", &json!(["张三"])), None);
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
