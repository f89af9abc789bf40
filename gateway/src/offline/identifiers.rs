//! `license-gateway uscc CODE…` and `license-gateway cert-id ID…`.

use std::process::ExitCode;

use clap::Args;
use formats::identifier::{IdentifierKind, check};
use formats::words::Words;
use formats::{CertificateId, Uscc};
use serde_json::{Map, Value, json};

use super::{Outcome, Output, tell};

/// Identifiers to be checked.
#[derive(Args)]
pub(crate) struct IdentifierArguments {
    /// The identifiers, each as it stands: nothing is trimmed or folded.
    #[arg(required = true)]
    identifiers: Vec<String>,
    /// Admit the codes of test enterprises.
    #[arg(long)]
    sandbox: bool,
    #[command(flatten)]
    output: Output,
}

const USCC: Words = Words::new("统一社会信用代码", "unified social credit code");
const CERT_ID: Words = Words::new("电子证照标识", "certificate identifier");

/// Checks social credit codes (GB 32100).
pub(crate) fn uscc(arguments: IdentifierArguments) -> ExitCode {
    let parts = |text: &str| {
        let uscc = Uscc::parse(text).ok()?;
        let text = uscc.as_str();
        Some(json!({
            "department": text[..1], "category": text[1..2], "region": text[2..8], "subject": text[8..17],
            "check": text[17..],
        }))
    };
    judge(arguments, IdentifierKind::Uscc, ("uscc", USCC), parts)
}

/// Checks identifiers of electronic certificates (GB/T 36904).
pub(crate) fn cert_id(arguments: IdentifierArguments) -> ExitCode {
    let parts = |text: &str| {
        let id = CertificateId::parse(text).ok()?;
        Some(json!({
            "type_code": id.type_code(), "definer": id.definer(), "issuer": id.issuer(), "serial": id.serial(),
            "version": id.version(),
        }))
    };
    judge(arguments, IdentifierKind::CertId, ("cert-id", CERT_ID), parts)
}

fn judge(
    arguments: IdentifierArguments,
    kind: IdentifierKind,
    kind_name: (&'static str, Words),
    parts: impl Fn(&str) -> Option<Value>,
) -> ExitCode {
    let IdentifierArguments { identifiers, sandbox, output } = arguments;
    let outcomes = identifiers.into_iter().map(|text| {
        let report = check(kind, &text, sandbox);
        let mut more = Map::new();
        if let Some(parts) = parts(&text) {
            more.insert("parts".to_owned(), parts);
        }
        if let Some(normalised) = report.normalised {
            more.insert("normalised".to_owned(), json!(normalised));
        }
        Outcome { name: text, kind: kind_name, judgement: report.judgement, readable: true, more }
    });
    tell(&output, "identifier", outcomes)
}
