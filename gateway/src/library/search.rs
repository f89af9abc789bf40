//! `GET /v1/licenses`: entities by a part of their name.

use axum::Json;
use axum::extract::State;
use serde::{Deserialize, Serialize};
use sm3::{Digest, Sm3};
use store::{AuditEntry, LARGEST_PAGE, NamePattern, NameQuery, leaf_hash, root_of};
use utoipa::ToSchema;
use verify_front::{FieldGrant, FoundEntity};

use crate::auth::{Authenticated, Scope};
use crate::body::{Faults, QueryOf};
use crate::problem::{Problem, ProblemDocument};
use crate::state::Gateway;

/// Entities of a page, where the caller says nothing.
const USUAL_PAGE: u32 = 20;
/// Characters of what is looked for, with those that do not count.
const LONGEST_NAME: usize = 200;

/// Whose names.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct LicensesQuery {
    name: Option<String>,
    prefix: Option<bool>,
    status: Option<i64>,
    cursor: Option<String>,
    limit: Option<u32>,
}

/// Entities that were found.
#[derive(Serialize, ToSchema)]
pub(crate) struct LicensesPage {
    /// `{uscc, face, as_of, status:{code, text, flags, as_of}}` each, in the order they came into the library.
    #[schema(value_type = Vec<Object>)]
    items: Vec<FoundEntity>,
    /// `cursor` of the next page; null when this was the last. A page that is not full can have a next one.
    next: Option<String>,
}

impl LicensesQuery {
    fn check(&self) -> Result<NameQuery, Problem> {
        let mut faults = Faults::default();
        let name = self.name.as_deref().unwrap_or_default();
        let is_short = name.chars().count() <= LONGEST_NAME;
        let pattern = NamePattern::new(name, self.prefix.unwrap_or(false)).filter(|_| is_short);
        if pattern.is_none() {
            faults.add("name", "invalid_value", "must have 2 to 100 letters, digits or Chinese characters");
        }
        if self.status.is_some_and(|status| !matches!(status, 1..=6 | 9)) {
            faults.add("status", "invalid_value", "must be 1 to 6, or 9");
        }
        let limit = self.limit.unwrap_or(USUAL_PAGE);
        if !(1..=LARGEST_PAGE).contains(&limit) {
            faults.add("limit", "invalid_value", format!("must be 1 to {LARGEST_PAGE}"));
        }
        let cursor =
            self.cursor.as_deref().map(|cursor| cursor.parse::<i64>().ok().filter(|after| *after > 0));
        if cursor == Some(None) {
            faults.add("cursor", "invalid_value", "must be `next` of the page before");
        }
        let pattern = faults.into_result(pattern)?;
        Ok(NameQuery { pattern, status: self.status, after: cursor.flatten(), limit })
    }

    /// What is on record of a look-up by name: names of households are names of people.
    fn digest(&self) -> String {
        let Self { name, prefix, status, cursor, limit } = self;
        let text = serde_json::json!([name, prefix, status, cursor, limit]).to_string();
        hex::encode(Sm3::digest(text))
    }
}

/// Entities whose name has a part in common with what is looked for: at least two characters that stand side by side in
/// it, or at its beginning. Full-width forms, capital letters, spaces and punctuation make no difference.
#[utoipa::path(
    get, path = "/v1/licenses", tag = "licenses",
    params(
        ("name" = String, Query, description = "what the name contains, 2 to 100 characters"),
        ("prefix" = Option<bool>, Query, description = "whether the name is to begin with it. Default false"),
        ("status" = Option<i64>, Query, description = "only those of this registration status: 1 to 6, or 9"),
        ("cursor" = Option<String>, Query, description = "`next` of the page before"),
        ("limit" = Option<u32>, Query, description = "entities of a page, 1 to 50. Default 20"),
    ),
    responses(
        (status = 200, description = "granted fields only; persons' names masked unless granted in full", body = LicensesPage),
        (status = 403, description = "`field_not_granted`: the app may not see names", body = ProblemDocument, content_type = "application/problem+json"),
        (status = 422, description = "a parameter cannot be used; see `errors`", body = ProblemDocument, content_type = "application/problem+json"),
    )
)]
pub(crate) async fn list_licenses(
    caller: Authenticated,
    State(gateway): State<Gateway>,
    QueryOf(query): QueryOf<LicensesQuery>,
) -> Result<Json<LicensesPage>, Problem> {
    let app = caller.with(Scope::Licenses)?;
    let grant = FieldGrant::new(app.fields.iter().cloned());
    if !grant.shows("name") {
        return Err(Problem::field_not_granted("name"));
    }
    let wanted = query.check()?;
    let found = gateway.licenses.find(&wanted, &grant).await?;
    let leaves: Vec<_> = found.entities.iter().map(|entity| leaf_hash(entity.uscc().as_bytes())).collect();
    let (actor, caller) = (caller.actor(), caller.caller());
    let entry = AuditEntry {
        action: "license.search".to_owned(),
        actor,
        at: caller.at,
        device: None,
        input_digest: Some(query.digest()),
        key: None,
        outcome: "ok".to_owned(),
        request_id: caller.request_id,
        result_digest: Some(hex::encode(root_of(&leaves))),
        subject: Some(format!("{} licenses", leaves.len())),
    };
    gateway.audit.append(entry).await.map_err(|error| Problem::record_unavailable(&error))?;
    Ok(Json(LicensesPage { items: found.entities, next: found.next.map(|next| next.to_string()) }))
}
