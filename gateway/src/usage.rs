//! `/v1/usage`: usage statistics (应用情况统计), counted from the audit log.

use axum::Json;
use axum::extract::State;
use serde::{Deserialize, Serialize};
use store::{UsageColumn, UsageQuery, UsageRow, usage_day};
use time::macros::{format_description, offset};
use time::{Date, Duration, OffsetDateTime};
use utoipa::ToSchema;

use crate::auth::{Authenticated, Scope};
use crate::body::{Faults, QueryOf};
use crate::problem::{Problem, ProblemDocument};
use crate::state::Gateway;

/// Days that are told where none are named, today among them.
const DAYS: i64 = 30;
/// Most days of one answer: somewhat more than ten years.
const MOST_DAYS: i64 = 3700;
/// Rows on a page.
const PAGE: u32 = 1000;
/// Most rows that are passed over.
const FARTHEST: u32 = 10_000_000;
/// Most characters of a filter.
const LONGEST: usize = 100;

/// Which uses, and kept apart by what.
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct UsageParameters {
    from: Option<String>,
    to: Option<String>,
    by: Option<String>,
    app: Option<String>,
    action: Option<String>,
    item: Option<String>,
    result: Option<String>,
    region: Option<String>,
    cursor: Option<String>,
    limit: Option<u32>,
}

/// How often, of what is the same in the columns that were asked for; the others are left out.
#[derive(Debug, Default, Serialize, ToSchema)]
pub(crate) struct UsageItem {
    /// The day in China Standard Time, `YYYY-MM-DD`.
    #[serde(skip_serializing_if = "Option::is_none")]
    day: Option<String>,
    /// Which app.
    #[serde(skip_serializing_if = "Option::is_none")]
    app: Option<String>,
    /// What was asked for, as the audit log has it.
    #[serde(skip_serializing_if = "Option::is_none")]
    action: Option<String>,
    /// What for: the flow of a session, the use of a license, or what was verified; empty where it has none.
    #[serde(skip_serializing_if = "Option::is_none")]
    flow: Option<String>,
    /// The code of the business item (业务事项); empty where none is known.
    #[serde(skip_serializing_if = "Option::is_none")]
    item: Option<String>,
    /// How it ended: `ok`, a verdict, why a license was not permitted, or a problem's code.
    #[serde(skip_serializing_if = "Option::is_none")]
    result: Option<String>,
    /// Six digits of GB/T 2260: where the license's holder is registered; empty where none is known.
    #[serde(skip_serializing_if = "Option::is_none")]
    region: Option<String>,
    /// How often.
    uses: u64,
}

/// How far a log is counted.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct UsageLog {
    /// The log's name in checkpoints.
    log: String,
    /// How many of its entries are counted, from the first.
    counted: u64,
    /// How many it has.
    entries: u64,
}

/// Usage statistics.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct UsageResponse {
    /// The first day.
    from: String,
    /// The last day.
    to: String,
    /// Ordered by the columns that were asked for.
    items: Vec<UsageItem>,
    /// The cursor of the next page; null when this was the last.
    next: Option<String>,
    /// How far it is counted: some seconds behind at most. For whoever may see all apps; else empty.
    logs: Vec<UsageLog>,
}

/// Usage statistics (应用情况统计): how often who asked for what, and how it ended. Counted from the audit log, each entry
/// once; batches count for as many as they hold. An app sees its own; who has the scope `audit` or `maintenance` sees all.
#[utoipa::path(
    get, path = "/v1/usage", tag = "usage",
    params(
        ("from" = Option<String>, Query, description = "the first day in China Standard Time, `YYYY-MM-DD`; 30 days up to the last if absent"),
        ("to" = Option<String>, Query, description = "the last day; today if absent"),
        ("by" = Option<String>, Query, description = "kept apart by: `day`, `app`, `action`, `flow`, `item`, `result`, `region`, some of them with commas between; `action,result` if absent"),
        ("app" = Option<String>, Query, description = "of this app; it takes a scope if it is another one's"),
        ("action" = Option<String>, Query, description = "what was asked for, such as `license.verify`; `license.` stands for all that begin so"),
        ("item" = Option<String>, Query, description = "of this business item"),
        ("result" = Option<String>, Query, description = "that ended so"),
        ("region" = Option<String>, Query, description = "2, 4 or 6 digits of GB/T 2260: in this division"),
        ("cursor" = Option<String>, Query, description = "`next` of the page before"),
        ("limit" = Option<u32>, Query, description = "rows on a page, 1 to 1,000; 1,000 if absent"),
    ),
    responses(
        (status = 200, description = "a page", body = UsageResponse),
        (status = 403, description = "`scope_missing`: needs `audit` for another app", body = ProblemDocument, content_type = "application/problem+json"),
        (status = 422, description = "a filter that is none", body = ProblemDocument, content_type = "application/problem+json"),
    )
)]
pub(crate) async fn get_usage(
    caller: Authenticated,
    State(gateway): State<Gateway>,
    QueryOf(parameters): QueryOf<UsageParameters>,
) -> Result<Json<UsageResponse>, Problem> {
    let sees_all =
        caller.using(Scope::Audit, &gateway).is_ok() || caller.using(Scope::Maintenance, &gateway).is_ok();
    let now = OffsetDateTime::now_utc();
    let mut wanted = parameters.check(now)?;
    if !sees_all {
        let own = caller.app_id().to_string();
        if wanted.app.as_ref().is_some_and(|app| *app != own) {
            return Err(Problem::scope_missing(Scope::Audit.name()));
        }
        wanted.app = Some(own);
    }
    let limit = wanted.limit;
    // One more than the page has, to see whether there are more.
    let found = gateway.store.usage(&UsageQuery { limit: limit + 1, ..wanted.clone() }).await;
    let mut rows = found.map_err(|error| Problem::database(&error))?;
    let more = rows.len() > limit as usize;
    rows.truncate(limit as usize);
    let next = more.then(|| (wanted.offset + limit).to_string());
    let items = rows.into_iter().map(|row| UsageItem::new(&wanted.by, row)).collect();
    let logs = if sees_all { logs(&gateway).await? } else { Vec::new() };
    Ok(Json(UsageResponse { from: day_text(wanted.from), to: day_text(wanted.to), items, next, logs }))
}

async fn logs(gateway: &Gateway) -> Result<Vec<UsageLog>, Problem> {
    let database = |error: store::StoreError| Problem::database(&error);
    let progress = gateway.store.usage_progress().await.map_err(database)?;
    let mut logs = Vec::new();
    for log in gateway.store.audit_logs().await.map_err(database)? {
        let counted = progress.iter().find(|progress| progress.log == log.id);
        let counted = counted.map_or(0, |progress| progress.counted);
        let entries = gateway.store.audit_size(log.id).await.map_err(database)?;
        logs.push(UsageLog { log: log.origin, counted, entries });
    }
    Ok(logs)
}

impl UsageParameters {
    fn check(self, now: OffsetDateTime) -> Result<UsageQuery, Problem> {
        let mut faults = Faults::default();
        let to = day(&mut faults, "to", self.to.as_deref(), usage_day(now));
        let from = day(&mut faults, "from", self.from.as_deref(), to.saturating_sub(DAYS - 1));
        if from > to || to - from >= MOST_DAYS {
            faults.add(
                "from",
                "invalid_value",
                format!("must be a day before the last, by {MOST_DAYS} at most"),
            );
        }
        let by = columns(&mut faults, self.by.as_deref().unwrap_or("action,result"));
        let filters =
            [("app", &self.app), ("action", &self.action), ("item", &self.item), ("result", &self.result)];
        for (field, text) in filters {
            let fits = |text: &str| {
                (1..=LONGEST).contains(&text.chars().count()) && !text.chars().any(char::is_control)
            };
            if !text.as_deref().is_none_or(fits) {
                faults.add(
                    field,
                    "invalid_value",
                    format!("must be 1 to {LONGEST} characters that are seen"),
                );
            }
        }
        let division = |region: &str| {
            matches!(region.len(), 2 | 4 | 6) && region.bytes().all(|octet| octet.is_ascii_digit())
        };
        if self.region.as_deref().is_some_and(|region| !division(region)) {
            faults.add("region", "invalid_value", "must be 2, 4 or 6 digits");
        }
        let limit = self.limit.unwrap_or(PAGE);
        if !(1..=PAGE).contains(&limit) {
            faults.add("limit", "invalid_value", format!("must be 1 to {PAGE}"));
        }
        let offset = self
            .cursor
            .as_deref()
            .map_or(Some(0), |text| text.parse::<u32>().ok().filter(|offset| *offset <= FARTHEST));
        if offset.is_none() {
            faults.add("cursor", "invalid_value", "must be `next` of the page before");
        }
        let offset = faults.into_result(offset)?;
        let Self { app, action, item, result, region, .. } = self;
        Ok(UsageQuery { from, to, by, app, action, item, result, region, offset, limit })
    }
}

impl UsageItem {
    fn new(by: &[UsageColumn], row: UsageRow) -> Self {
        let mut item = Self { uses: row.uses, ..Self::default() };
        for (column, value) in by.iter().zip(row.values) {
            let place = match column {
                UsageColumn::Day => {
                    item.day = value.parse().ok().map(day_text);
                    continue;
                }
                UsageColumn::App => &mut item.app,
                UsageColumn::Action => &mut item.action,
                UsageColumn::Flow => &mut item.flow,
                UsageColumn::Item => &mut item.item,
                UsageColumn::Result => &mut item.result,
                UsageColumn::Region => &mut item.region,
            };
            *place = Some(value);
        }
        item
    }
}

/// The columns that a text names, each once.
fn columns(faults: &mut Faults, text: &str) -> Vec<UsageColumn> {
    let mut columns = Vec::new();
    for word in text.split(',') {
        match UsageColumn::parse(word) {
            Some(column) if !columns.contains(&column) => columns.push(column),
            _ => {
                let words: Vec<_> = UsageColumn::NAMES.iter().map(|(word, _)| *word).collect();
                faults.add("by", "invalid_value", format!("must be some of {}, each once", words.join(", ")));
                break;
            }
        }
    }
    columns
}

/// The number of a day that is given as `YYYY-MM-DD`.
fn day(faults: &mut Faults, field: &str, text: Option<&str>, otherwise: i64) -> i64 {
    let Some(text) = text else { return otherwise };
    match Date::parse(text, format_description!("[year]-[month]-[day]")) {
        Ok(date) => usage_day(date.midnight().assume_offset(offset!(+8))),
        Err(_) => {
            faults.add(field, "invalid_value", "must be a day, YYYY-MM-DD");
            otherwise
        }
    }
}

/// A day as `YYYY-MM-DD`; empty for one that no calendar has.
pub(crate) fn day_text(day: i64) -> String {
    let date = OffsetDateTime::UNIX_EPOCH.date().checked_add(Duration::seconds(day.saturating_mul(86_400)));
    date.map_or_else(String::new, |date| date.to_string())
}

#[cfg(test)]
mod tests {
    use super::*;
    use time::macros::datetime;

    const NOW: OffsetDateTime = datetime!(2026-11-23 16:00 UTC);

    fn check(parameters: UsageParameters) -> Result<UsageQuery, Vec<String>> {
        parameters.check(NOW).map_err(|problem| problem.fields().map(str::to_owned).collect())
    }

    #[test]
    fn thirty_days_up_to_today_in_china_are_told_by_action_and_result() {
        let wanted = check(UsageParameters::default()).unwrap();
        assert_eq!(
            (day_text(wanted.from).as_str(), day_text(wanted.to).as_str()),
            ("2026-10-26", "2026-11-24")
        );
        assert_eq!(wanted.by, [UsageColumn::Action, UsageColumn::Result]);
    }

    #[test]
    fn what_is_none_is_named() {
        let text = |text: &str| Some(text.to_owned());
        for (parameters, field) in [
            (UsageParameters { from: text("2026-11-25"), ..UsageParameters::default() }, "from"),
            (UsageParameters { from: text("2001-01-01"), ..UsageParameters::default() }, "from"),
            (UsageParameters { to: text("24.11.2026"), ..UsageParameters::default() }, "to"),
            (UsageParameters { by: text("app,app"), ..UsageParameters::default() }, "by"),
            (UsageParameters { by: text("uses"), ..UsageParameters::default() }, "by"),
            (UsageParameters { by: text(""), ..UsageParameters::default() }, "by"),
            (UsageParameters { region: text("610"), ..UsageParameters::default() }, "region"),
            (UsageParameters { item: text(""), ..UsageParameters::default() }, "item"),
            (UsageParameters { app: text("\0"), ..UsageParameters::default() }, "app"),
            (UsageParameters { cursor: text("-1"), ..UsageParameters::default() }, "cursor"),
            (UsageParameters { limit: Some(0), ..UsageParameters::default() }, "limit"),
        ] {
            assert_eq!(check(parameters).unwrap_err(), [field]);
        }
    }
}
