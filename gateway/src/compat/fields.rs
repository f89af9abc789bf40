//! The protocol's own names for what the gateway knows: the dictionary of face and authorisation.

use serde_json::{Map, Value};

/// Fields of a face, and what the protocol calls them. `type` and `uniscid` come from the code itself.
const FACE: [(&str, &str); 11] = [
    ("registration_number", "regno"),
    ("name", "entname"),
    ("legal_representative", "name"),
    ("registered_capital", "regcap"),
    ("domicile", "dom"),
    ("established", "estdate"),
    ("term_from", "opfrom"),
    ("term_to", "opto"),
    ("business_scope", "opscope"),
    ("registration_authority", "regorg_cn"),
    ("registered", "apprdate"),
];
/// How codes of individual traders (个体工商户) begin.
const TRADERS: &str = "92";

/// What of a face has a name in the protocol.
pub(super) fn of_face(face: &Map<String, Value>) -> Map<String, Value> {
    let named =
        FACE.iter().filter_map(|(own, theirs)| Some(((*theirs).to_owned(), text(face.get(*own)?)?.into())));
    named.collect()
}

/// A value as text: of a date as the license has it, of several one after the other.
fn text(value: &Value) -> Option<String> {
    match value {
        Value::String(text) => Some(text.clone()),
        Value::Array(items) => Some(items.iter().filter_map(Value::as_str).collect::<Vec<_>>().join("；")),
        date => date.get("text")?.as_str().map(str::to_owned),
    }
}

/// Whose license it is, of a session's result.
pub(super) fn add_result(told: &mut Map<String, Value>, result: &Value) {
    if let Some(uscc) = result["uscc"].as_str() {
        add_code(told, uscc);
    }
    for (theirs, value) in [("entname", &result["name"]), ("licencesn", &result["license"]["serial"])] {
        if value.is_string() {
            told.insert(theirs.to_owned(), value.clone());
        }
    }
}

/// An enterprise's code, and what it says by itself.
pub(super) fn add_code(told: &mut Map<String, Value>, uscc: &str) {
    told.insert("uniscid".to_owned(), uscc.into());
    told.insert("type".to_owned(), if uscc.starts_with(TRADERS) { "8" } else { "1" }.into());
}

/// Who agreed as whom, of a session's result.
pub(super) fn add_role(told: &mut Map<String, Value>, result: &Value) {
    told.insert("opertype".to_owned(), result["role"]["opertype"].to_string().into());
    let is_agent = result["role"]["opertype"] == 2;
    if let Some(operator) = result["operator"].as_str() {
        told.insert("oper".to_owned(), operator.into());
        if is_agent {
            told.insert("auth_name".to_owned(), operator.into());
        }
    }
    let authorisation = &result["authorisation"];
    if !authorisation.is_object() {
        return;
    }
    // All business (全业务授权) has no list of items.
    let items = authorisation["items"].as_array();
    let items = items.map(|items| items.iter().filter_map(Value::as_str).collect::<Vec<_>>().join(","));
    told.insert("auth_content".to_owned(), items.unwrap_or_else(|| "*".to_owned()).into());
    for (own, theirs) in [("until", "auth_term"), ("id", "auth_uniqueid")] {
        if authorisation[own].is_string() {
            told.insert(theirs.to_owned(), authorisation[own].clone());
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;
    use verify_front::FACE_FIELDS;

    use super::*;

    #[test]
    fn a_face_is_told_in_the_protocols_words_and_nothing_beside_them() {
        assert!(FACE.iter().all(|(own, _)| FACE_FIELDS.contains(own)));
        let face = json!({
            "name": "甲公司", "legal_representative": "张*", "domicile": ["一号", "二号"], "holder": "李四",
            "established": {"text": "2020年02月02日", "date": "2020-02-02", "long_term": false},
        });
        let told = of_face(face.as_object().expect("an object"));
        let wanted =
            json!({"entname": "甲公司", "name": "张*", "dom": "一号；二号", "estdate": "2020年02月02日"});
        assert_eq!(Value::Object(told), wanted);
    }

    #[test]
    fn roles_and_authorisations_have_their_numbers_and_names() {
        let mut told = Map::new();
        let until = "2027-01-01T00:00:00Z";
        let agent = json!({"role": {"opertype": 2}, "operator": "王五",
            "authorisation": {"items": ["a", "b"], "until": until}});
        add_role(&mut told, &agent);
        let wanted = json!({"opertype": "2", "oper": "王五", "auth_name": "王五", "auth_content": "a,b", "auth_term": until});
        assert_eq!(Value::Object(told), wanted);
        let mut told = Map::new();
        add_role(&mut told, &json!({"role": {"opertype": 0}}));
        assert_eq!(Value::Object(told), json!({"opertype": "0"}));
        let mut told = Map::new();
        add_code(&mut told, "92610102MA0000000X");
        assert_eq!(told["type"], "8");
    }
}
