//! The national service: one question over HTTPS, one answer in JSON (docs/adr/0053). What it answers is held against
//! what was asked before anything is made of it.

use async_trait::async_trait;
use formats::uscc::Uscc;
use outbound::Inquirer;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};
use time::OffsetDateTime;

use super::{RegisterError, Standing, StatusRegister, StatusSource};
use crate::status;

/// The longest answer that is read, octets.
pub const NATIONAL_ANSWER_LIMIT: usize = 64 << 10;
/// Flags of one entity at most.
const MOST_FLAGS: usize = 32;
/// Fields of a face at most.
const MOST_FACE_FIELDS: usize = 64;
/// Characters of a flag at most.
const LONGEST_FLAG: usize = 64;

/// Asks the national service.
pub struct NationalRegister(Inquirer);

impl NationalRegister {
    /// Asks by this inquirer, which knows the address.
    #[must_use]
    pub fn new(inquirer: Inquirer) -> Self {
        Self(inquirer)
    }
}

#[derive(Serialize)]
struct Question<'q> {
    uscc: &'q str,
    #[serde(with = "time::serde::rfc3339::option", skip_serializing_if = "Option::is_none")]
    at: Option<OffsetDateTime>,
}

#[derive(Deserialize)]
struct Answer {
    uscc: String,
    standing: Option<Told>,
}

/// What it tells of an entity that it knows.
#[derive(Deserialize)]
struct Told {
    status: i64,
    flags: Vec<String>,
    #[serde(with = "time::serde::rfc3339")]
    as_of: OffsetDateTime,
    #[serde(default, with = "time::serde::rfc3339::option")]
    until: Option<OffsetDateTime>,
    #[serde(default)]
    face: Option<Map<String, Value>>,
}

#[async_trait]
impl StatusRegister for NationalRegister {
    fn source(&self) -> StatusSource {
        StatusSource::National
    }

    async fn standing(
        &self,
        uscc: &Uscc,
        at: Option<OffsetDateTime>,
    ) -> Result<Option<Standing>, RegisterError> {
        let question = serde_json::to_vec(&Question { uscc: uscc.as_str(), at }).unwrap_or_default();
        let answer =
            self.0.ask(question).await.map_err(|failure| RegisterError::Unavailable(failure.code()))?;
        read(&answer, uscc, at).ok_or(RegisterError::Unavailable("malformed"))
    }
}

/// What an answer says; `None` if it is none to this question: about another entity, or another time than was asked for.
fn read(answer: &[u8], uscc: &Uscc, at: Option<OffsetDateTime>) -> Option<Option<Standing>> {
    let answer: Answer =
        serde_json::from_slice(answer).ok().filter(|answer: &Answer| answer.uscc == uscc.as_str())?;
    let Some(told) = answer.standing else { return Some(None) };
    let is_flag = |flag: &String| {
        !flag.is_empty() && flag.chars().count() <= LONGEST_FLAG && !flag.chars().any(char::is_control)
    };
    let holds =
        status::is_known(told.status) && told.flags.len() <= MOST_FLAGS && told.flags.iter().all(is_flag);
    // Of now is what nothing came after yet; of a time what was known then and not over.
    let is_of_that_time = match at {
        None => told.until.is_none(),
        Some(at) => told.as_of <= at && told.until.is_none_or(|until| at < until),
    };
    let has_face = told.face.as_ref().is_none_or(|face| face.len() <= MOST_FACE_FIELDS);
    (holds && is_of_that_time && has_face).then_some(Some(Standing {
        code: told.status,
        flags: told.flags,
        as_of: told.as_of,
        until: told.until,
        face: told.face,
    }))
}

#[cfg(test)]
mod tests {
    use serde_json::json;
    use time::macros::datetime;

    use super::*;

    #[test]
    fn an_answer_counts_for_what_was_asked_and_in_its_form_only() {
        let uscc = Uscc::parse("91350100M000100Y43").expect("a code");
        let of = |answer: Value, at| read(answer.to_string().as_bytes(), &uscc, at);
        let read = |answer: Value| of(answer, None);
        let told = json!({"status": 1, "flags": ["经营异常名录"], "as_of": "2026-01-01T00:00:00Z"});
        let with = |member: &str, value: Value| {
            let mut told = told.clone();
            told[member] = value;
            json!({"uscc": uscc.as_str(), "standing": told})
        };
        let good = read(json!({"uscc": uscc.as_str(), "standing": told})).flatten().expect("it is known");
        assert_eq!((good.code, good.flags.len(), good.face), (1, 1, None));
        assert_eq!(read(json!({"uscc": uscc.as_str(), "standing": null})), Some(None));
        for bad in [
            json!({"uscc": "91440300708461136T", "standing": told}),
            with("status", json!(7)),
            with("status", json!("1")),
            with("flags", json!([""])),
            with("flags", json!(vec!["a"; 33])),
            with("flags", json!(["\n"])),
            with("as_of", json!("yesterday")),
            with("until", json!("2099-01-01T00:00:00Z")), // of a time that is over, and nobody asked for one
            with("face", json!([])),
            json!([]),
        ] {
            assert_eq!(read(bad.clone()), None, "{bad}");
        }
        let until = with("until", json!("2026-02-01T00:00:00Z"));
        for (at, is_of_then) in [
            (datetime!(2026-01-01 0:00 UTC), true),
            (datetime!(2026-01-31 23:59:59 UTC), true),
            (datetime!(2025-12-31 23:59:59 UTC), false), // it was not known yet
            (datetime!(2026-02-01 0:00 UTC), false),
        ] {
            assert_eq!(of(until.clone(), Some(at)).is_some(), is_of_then, "{at}");
        }
        let face: Map<_, _> = (0..65).map(|number| (number.to_string(), Value::Null)).collect();
        assert_eq!(read(with("face", Value::Object(face))), None);
    }
}
