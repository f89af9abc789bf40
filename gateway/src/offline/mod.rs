//! Subcommands that judge without a gateway, a database or a network: what comes in stands on the command line.
//!
//! Exit codes: 0 everything valid, 1 something not, 2 something unreadable or wrong usage.

mod account;
mod documents;
mod identifiers;
mod material;
mod verify;
mod words;

use std::io::Write;
use std::process::ExitCode;

use clap::builder::{PossibleValuesParser, TypedValueParser};
use formats::words::{Language, Words};
use formats::{Judgement, Verdict};
use serde_json::{Map, Value, json};

pub(crate) use identifiers::{IdentifierArguments, cert_id, uscc};
pub(crate) use material::trust;
pub(crate) use verify::{VerifyArguments, verify};

/// How the answers are written.
#[derive(clap::Args)]
pub(crate) struct Output {
    /// One JSON object per line instead of text.
    #[arg(long)]
    json: bool,
    /// The language: of the text, which is English otherwise, and of a report, which is Chinese otherwise.
    #[arg(long, value_parser = language())]
    lang: Option<Language>,
}

fn language() -> impl TypedValueParser<Value = Language> {
    PossibleValuesParser::new(["zh", "en"]).map(|word| if word == "zh" { Language::Zh } else { Language::En })
}

/// The answer on one file or one identifier.
struct Outcome {
    /// What was judged, as the command line names it.
    name: String,
    /// Its kind, in the words of `--type` and for people.
    kind: (&'static str, Words),
    judgement: Judgement,
    /// It could be read at all.
    readable: bool,
    /// What else is known, by member.
    more: Map<String, Value>,
}

impl Outcome {
    fn json(&self, name_member: &str) -> Value {
        let mut members = Map::new();
        members.insert(name_member.to_owned(), json!(self.name));
        members.insert("type".to_owned(), json!(self.kind.0));
        members.insert("verdict".to_owned(), json!(self.judgement.verdict));
        members.insert("findings".to_owned(), json!(self.judgement.findings));
        members.extend(self.more.clone());
        Value::Object(members)
    }
}

/// Writes every outcome as soon as it is there, and says how it all went.
fn tell(output: &Output, name_member: &str, outcomes: impl Iterator<Item = Outcome>) -> ExitCode {
    let mut stdout = std::io::stdout().lock();
    let (mut all_valid, mut all_readable) = (true, true);
    for outcome in outcomes {
        all_valid &= outcome.judgement.verdict == Verdict::Valid;
        all_readable &= outcome.readable;
        let text = if output.json {
            format!("{}\n", outcome.json(name_member))
        } else {
            words::describe(&outcome, output.lang.unwrap_or(Language::En))
        };
        // Whoever reads may have seen enough: a closed pipe is no failure, the exit code still tells.
        let _ = stdout.write_all(text.as_bytes());
    }
    let _ = stdout.flush();
    match (all_readable, all_valid) {
        (false, _) => ExitCode::from(2),
        (true, false) => ExitCode::FAILURE,
        (true, true) => ExitCode::SUCCESS,
    }
}

/// Says on standard error what is wrong with the command line.
fn wrong_usage(reason: &str) -> ExitCode {
    let _ = writeln!(std::io::stderr(), "license-gateway: {reason}"); // nowhere else to say it
    ExitCode::from(2)
}
