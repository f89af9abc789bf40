//! `license-gateway usage`: usage statistics (应用情况统计) of a running gateway, as a table, CSV or JSON.

use std::io::Write;

use clap::Args;
use hyper::Method;
use serde_json::{Value, json};
use store::{Recount, UsageDifference, UsageKey};

use super::{CliError, Target, print, table, text};

/// The columns of the API, with their heads.
const COLUMNS: [(&str, &str); 7] = [
    ("day", "DAY"),
    ("app", "APP"),
    ("action", "ACTION"),
    ("flow", "FLOW"),
    ("item", "ITEM"),
    ("result", "RESULT"),
    ("region", "REGION"),
];

/// How often who used what, counted from the audit log; `license-gateway audit recount` counts it again.
#[derive(Args)]
pub(crate) struct UsageArguments {
    /// The first day in China Standard Time, YYYY-MM-DD [default: 30 days up to the last].
    #[arg(long, value_name = "DAY")]
    from: Option<String>,
    /// The last day [default: today].
    #[arg(long, value_name = "DAY")]
    to: Option<String>,
    /// Kept apart by some of day, app, action, flow, item, result, region.
    #[arg(long, value_name = "COLUMNS", default_value = "app,action,result")]
    by: String,
    /// Of this app.
    #[arg(long, value_name = "ID")]
    app: Option<String>,
    /// What was asked for, such as license.verify; `license.` stands for all that begin so.
    #[arg(long, value_name = "WORD")]
    action: Option<String>,
    /// Of this business item.
    #[arg(long, value_name = "CODE")]
    item: Option<String>,
    /// That ended so.
    #[arg(long, value_name = "WORD")]
    result: Option<String>,
    /// In this division: 2, 4 or 6 digits of GB/T 2260.
    #[arg(long, value_name = "DIGITS")]
    region: Option<String>,
    /// Comma-separated values for spreadsheets, in UTF-8.
    #[arg(long, conflicts_with = "json")]
    csv: bool,
    #[command(flatten)]
    target: Target,
}

impl UsageArguments {
    pub(super) fn wants_json(&self) -> bool {
        self.target.json
    }

    pub(super) async fn run(self) -> Result<(), CliError> {
        let mut client = self.target.connect().await?;
        let mut answer = client.call(Method::GET, &self.path(None)?, None).await?;
        while let Some(next) = answer["next"].as_str().map(str::to_owned) {
            let mut page = client.call(Method::GET, &self.path(Some(&next))?, None).await?;
            if let (Some(items), Some(more)) = (answer["items"].as_array_mut(), page["items"].as_array_mut())
            {
                items.append(more);
            }
            answer["next"] = page["next"].take();
        }
        let items = answer["items"].as_array().map(Vec::as_slice).unwrap_or_default();
        let asked: Vec<_> = self.by.split(',').collect();
        let columns: Vec<_> =
            asked.iter().filter_map(|by| COLUMNS.iter().find(|(column, _)| column == by)).collect();
        let row = |item: &Value| {
            let cells = columns.iter().map(|(column, _)| text(&item[*column]));
            cells.chain([text(&item["uses"])]).collect::<Vec<_>>()
        };
        if self.csv {
            let mut out = csv::Writer::from_writer(std::io::stdout().lock());
            let heads = columns.iter().map(|(column, _)| *column).chain(["uses"]);
            let written = out.write_record(heads).and_then(|()| {
                items.iter().try_for_each(|item| out.write_record(row(item)))?;
                Ok(out.flush()?)
            });
            let _ = written; // a closed pipe is no failure
            return Ok(());
        }
        print(self.target.json, &answer, |out| {
            let heads: Vec<_> =
                columns.iter().map(|(_, head)| (*head, false)).chain([("USES", true)]).collect();
            table::print(out, &heads, items.iter().map(row))?;
            let behind: u64 = answer["logs"].as_array().into_iter().flatten().map(behind).sum();
            let waits =
                if behind > 0 { format!("; {behind} entries are not counted yet") } else { String::new() };
            writeln!(out, "{} to {}{waits}", text(&answer["from"]), text(&answer["to"]))
        });
        Ok(())
    }

    fn path(&self, cursor: Option<&str>) -> Result<String, CliError> {
        let parameters = [
            ("from", self.from.as_deref()),
            ("to", self.to.as_deref()),
            ("by", Some(self.by.as_str())),
            ("app", self.app.as_deref()),
            ("action", self.action.as_deref()),
            ("item", self.item.as_deref()),
            ("result", self.result.as_deref()),
            ("region", self.region.as_deref()),
            ("cursor", cursor),
        ];
        let said: Vec<_> = parameters.iter().filter_map(|(name, value)| Some((name, (*value)?))).collect();
        let query =
            serde_urlencoded::to_string(said).map_err(|error| CliError::NotDone(error.to_string()))?;
        Ok(format!("/v1/usage?{query}"))
    }
}

/// Entries of a log that are not counted yet.
fn behind(log: &Value) -> u64 {
    let number = |member: &str| log[member].as_u64().unwrap_or(0);
    number("entries").saturating_sub(number("counted"))
}

/// Says what counting the logs again came to.
pub(super) fn tell_recount(recount: &Recount, as_json: bool) {
    let mut stdout = std::io::stdout().lock();
    let since = recount.since.map(crate::usage::day_text);
    let Recount { entries, uses, differing, .. } = recount;
    let cells = |found: &UsageDifference| {
        let UsageKey { day, app, action, flow, item, result, region } = found.key.clone();
        [crate::usage::day_text(day), app, action, flow, item, result, region]
    };
    let said = if as_json {
        let differences = recount.differences.iter().map(|found| {
            let named = COLUMNS.iter().map(|(column, _)| (*column).to_owned());
            let mut told: serde_json::Map<_, _> = named.zip(cells(found).map(Value::from)).collect();
            told.insert("counted".to_owned(), found.counted.into());
            told.insert("recounted".to_owned(), found.recounted.into());
            Value::from(told)
        });
        let differences: Vec<_> = differences.collect();
        let told = json!({
            "entries": entries, "uses": uses, "since": since, "differing": differing, "differences": differences,
        });
        writeln!(stdout, "{told:#}")
    } else {
        let heads: Vec<_> = COLUMNS
            .iter()
            .map(|(_, head)| (*head, false))
            .chain([("COUNTED", true), ("BY THE LOG", true)])
            .collect();
        let rows = recount.differences.iter().map(|found| {
            let counts = [found.counted.to_string(), found.recounted.to_string()];
            cells(found).into_iter().chain(counts).collect()
        });
        let told =
            if recount.differences.is_empty() { Ok(()) } else { table::print(&mut stdout, &heads, rows) };
        let since = since
            .map_or_else(String::new, |since| format!("; days before {since} cannot be judged any more"));
        told.and_then(|()| {
            writeln!(stdout, "{entries} entries, {uses} uses: {differing} counts differ from the log{since}")
        })
    };
    let _ = said; // a closed pipe is no failure
}
