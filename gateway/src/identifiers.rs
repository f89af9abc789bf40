//! `POST /v1/identifiers:check`: what is missing or wrong in the numbers that people typed.

use axum::extract::State;
use axum::response::Response;
use formats::identifier::{IdentifierKind, IdentifierReport, check};
use serde::Deserialize;
use utoipa::ToSchema;

use crate::auth::{Authenticated, Scope};
use crate::batch::{self, Answers, Batch};
use crate::body::{self, Faults};
use crate::problem::{Problem, ProblemDocument};
use crate::state::Gateway;

/// An identifier to be checked.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct IdentifierItem {
    /// `uscc`, `registration_number`, `cert_id`, `resident_id` or `mobile_phone`.
    #[serde(rename = "type")]
    #[schema(example = "uscc")]
    kind: String,
    /// As it was typed: nothing is trimmed or folded.
    #[schema(example = "91350100M000100Y43")]
    value: String,
}

/// Up to 1,000 identifiers.
#[derive(ToSchema)]
#[expect(dead_code, reason = "describes a body that is read item by item")]
pub(crate) struct IdentifierBatch {
    items: Vec<IdentifierItem>,
}

/// Check identifiers: length, characters, parts and check characters. Nothing is looked up, kept or logged.
#[utoipa::path(
    post, path = "/v1/identifiers:check", tag = "identifiers", request_body = IdentifierBatch,
    responses(
        (status = 200, description = "`{items, request_id}`; each item `{verdict, findings, normalised?}` or `{problem}`, in order", body = Object),
        (status = "4XX", description = "the batch cannot be read; see `code`", body = ProblemDocument, content_type = "application/problem+json"),
    )
)]
pub(crate) async fn post_identifier_check(
    caller: Authenticated,
    State(gateway): State<Gateway>,
    batch: Batch,
) -> Result<Response, Problem> {
    caller.with(Scope::Licenses)?;
    let request_id = crate::request_id::current();
    let sandbox = gateway.config.site.sandbox;
    let judge = move || {
        let mut answers = Answers::default();
        batch.items.iter().for_each(|item| answers.push(judge(item.get(), sandbox), &request_id));
        answers
    };
    let answers = gateway.judging.run(judge).await?.await.map_err(|_| Problem::panicked())?;
    drop(batch.place);
    Ok(batch::answer(&[answers]))
}

pub(crate) fn judge(item: &str, sandbox: bool) -> Result<IdentifierReport, Problem> {
    let item: IdentifierItem = body::parse(item.as_bytes())?;
    let mut faults = Faults::default();
    let kind = faults.word("type", Some(&item.kind), &IdentifierKind::NAMES, IdentifierKind::Uscc);
    Ok(check(faults.into_result(kind)?, &item.value, sandbox))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn any_body_of_an_item_gets_an_answer_or_a_problem(text in "\\PC{0,200}", kind in "\\PC{0,12}") {
            let quoted = |text: &str| serde_json::Value::from(text).to_string();
            let item = format!("{{\"type\":{},\"value\":{}}}", quoted(&kind), quoted(&text));
            let known = IdentifierKind::NAMES.iter().any(|(name, _)| *name == kind);
            prop_assert_eq!(judge(&item, false).is_ok(), known);
            for (name, _) in IdentifierKind::NAMES {
                let item = format!("{{\"type\":\"{name}\",\"value\":{}}}", quoted(&text));
                prop_assert!(judge(&item, true).is_ok());
            }
            // And text that is no such body, or none at all.
            prop_assert!(judge(&text, false).is_err());
            let mut torn = item;
            torn.pop();
            prop_assert!(judge(&torn, false).is_err());
        }
    }
}
