//! What an app may see of the mandates that it may use.

use axum::Json;
use axum::extract::State;
use config::MandateNumber;
use serde::{Deserialize, Serialize};
use store::{MandateQuery, MandateRefusal, MandateState};
use time::OffsetDateTime;
use utoipa::ToSchema;

use super::{MandateEnterprise, MandateTermsResponse, today};
use crate::auth::{Authenticated, Scope};
use crate::body::{Faults, QueryOf};
use crate::problem::{Fault, Problem, ProblemDocument};
use crate::state::Gateway;

/// Which page.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct OwnMandatesQuery {
    uscc: Option<String>,
    after: Option<String>,
    limit: Option<u32>,
}

/// A mandate, for an app that may use it.
#[derive(Serialize, ToSchema)]
pub(crate) struct OwnMandate {
    /// Its number: `signer.mandate` of a stamp.
    #[schema(value_type = String)]
    number: MandateNumber,
    /// In whose name it lets sign.
    enterprise: MandateEnterprise,
    #[serde(flatten)]
    terms: MandateTermsResponse,
    /// `draft`, `active`, `suspended` or `ended`.
    #[schema(value_type = String)]
    state: MandateState,
    /// How many signatures today has left.
    left_today: u64,
    /// How many are left in all.
    left_in_all: u64,
    /// Whether it can be used now.
    usable: bool,
    /// Why not.
    errors: Vec<Fault>,
}

/// A page of the mandates that an app may use.
#[derive(Serialize, ToSchema)]
pub(crate) struct OwnMandateList {
    /// In the order of their numbers.
    items: Vec<OwnMandate>,
    /// `after` of the next page; null when this was the last.
    next: Option<String>,
}

/// The mandates that the app may use, also those that cannot be used now, and why not.
#[utoipa::path(
    get, path = "/v1/mandates", tag = "stamps",
    params(
        ("uscc" = Option<String>, Query, description = "of the enterprise with this unified social credit code"),
        ("after" = Option<String>, Query, description = "`next` of the page before"),
        ("limit" = Option<u32>, Query, description = "mandates on a page, 1 to 100; 100 if absent"),
    ),
    responses(
        (status = 200, description = "a page", body = OwnMandateList),
        (status = 422, description = "a filter that is none", body = ProblemDocument, content_type = "application/problem+json"),
    )
)]
pub(crate) async fn list_own_mandates(
    caller: Authenticated,
    State(gateway): State<Gateway>,
    QueryOf(query): QueryOf<OwnMandatesQuery>,
) -> Result<Json<OwnMandateList>, Problem> {
    let app = caller.with(Scope::Signatures)?;
    let mut faults = Faults::default();
    let uscc = query.uscc.as_deref();
    let enterprise =
        uscc.and_then(|uscc| faults.parse("uscc", "uscc_invalid", formats::Uscc::parse_sandbox(uscc)));
    let after = query.after.as_deref();
    let after = after.and_then(|after| faults.parse("after", "invalid_value", MandateNumber::parse(after)));
    let limit = query.limit.unwrap_or(100);
    if !(1..=100).contains(&limit) {
        faults.add("limit", "invalid_value", "must be 1 to 100");
    }
    faults.into_result(Some(()))?;
    let wanted = MandateQuery { state: None, enterprise, app: Some(app.id.clone()), after, limit };
    let refused = |error| Problem::from_mandates(&error);
    let page = gateway.store.mandates(&wanted).await.map_err(refused)?;
    let now = OffsetDateTime::now_utc();
    let today = today(&gateway, now);
    let mut items = Vec::with_capacity(page.items.len());
    for mandate in page.items {
        let taken = gateway.store.taken_of_mandate(&mandate.id, today).await.map_err(refused)?;
        let left_in_all = mandate.terms.in_all.saturating_sub(taken.in_all);
        let left_today = mandate.terms.per_day.saturating_sub(taken.on_day).min(left_in_all);
        let mut refusals = mandate.refusals(None, now);
        if left_in_all == 0 {
            refusals.push(MandateRefusal::UsedUp(mandate.terms.in_all));
        } else if left_today == 0 {
            refusals.push(MandateRefusal::UsedUpToday(mandate.terms.per_day));
        }
        let fault = |refusal: &MandateRefusal| Fault::new("number", refusal.code(), refusal.to_string());
        items.push(OwnMandate {
            enterprise: MandateEnterprise::of(&mandate),
            terms: MandateTermsResponse::of(&mandate),
            state: mandate.state,
            left_today,
            left_in_all,
            usable: refusals.is_empty(),
            errors: refusals.iter().map(fault).collect(),
            number: mandate.id,
        });
    }
    Ok(Json(OwnMandateList { items, next: page.next }))
}
