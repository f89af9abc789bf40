//! `license-gateway trust`: what certificates are judged by, as a table.

use std::io::Write;
use std::process::ExitCode;

use hyper::Method;
use serde_json::Value;

use super::{Target, block_on, finish, print, table, text};

/// Shows it.
pub(crate) fn trust(target: &Target) -> ExitCode {
    let work = async {
        let answer = target.connect().await?.call(Method::GET, "/v1/trust", None).await?;
        print(target.json, &answer, |out| write(out, &answer));
        Ok(())
    };
    finish(block_on(work), target.json)
}

fn write(out: &mut dyn Write, answer: &Value) -> std::io::Result<()> {
    for (words, field) in [
        ("in force since", "since"),
        ("documents are judged by", "documents_generation"),
        ("licenses are judged by", "licenses_generation"),
    ] {
        writeln!(out, "{words} {}", table::plain(&text(&answer[field])))?;
    }
    for refused in list(answer, "refused_files") {
        writeln!(out, "NOT TAKEN OVER: {}", table::plain(&text(refused)))?;
    }
    rows(out, answer, "crls", &CRL_COLUMNS)?;
    rows(out, answer, "sources", &SOURCE_COLUMNS)
}

/// A column: its head, the field in it, and whether that is a number.
type Shown = (&'static str, &'static str, bool);

const CRL_COLUMNS: [Shown; 6] = [
    ("ISSUER", "issuer", false),
    ("URL", "url", false),
    ("ENTRIES", "entries", true),
    ("OF", "this_update", false),
    ("NEXT DUE", "next_update", false),
    ("OVERDUE", "overdue", false),
];

const SOURCE_COLUMNS: [Shown; 7] = [
    ("KIND", "kind", false),
    ("URL", "url", false),
    ("OUTCOME", "outcome", false),
    ("FAILURES", "failures", true),
    ("LAST SUCCESS", "last_success", false),
    ("KNOWN", "known", true),
    ("REVOKED", "revoked", true),
];

fn list<'a>(answer: &'a Value, field: &str) -> &'a [Value] {
    answer[field].as_array().map(Vec::as_slice).unwrap_or_default()
}

/// The items of a list; nothing for none.
fn rows(out: &mut dyn Write, answer: &Value, field: &str, columns: &[Shown]) -> std::io::Result<()> {
    let items = list(answer, field);
    if items.is_empty() {
        return Ok(());
    }
    let heads: Vec<table::Column> = columns.iter().map(|(head, _, number)| (*head, *number)).collect();
    let row = |item: &Value| columns.iter().map(|(_, field, _)| text(&item[*field])).collect();
    writeln!(out)?;
    table::print(out, &heads, items.iter().map(row))
}
