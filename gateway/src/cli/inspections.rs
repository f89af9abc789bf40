//! `license-gateway inspect …`: inspections (巡检), what they found, and their reports.

use std::path::{Path, PathBuf};
use std::time::Duration;

use clap::{Args, Subcommand};
use hyper::Method;
use serde_json::{Value, json};

use super::apps::name;
use super::{CliError, Progress, Target, Why, print, table, text};

/// How often it is looked whether an inspection has ended, and for how long.
const LOOK_EVERY: Duration = Duration::from_secs(1);
const LOOKS: u32 = 900;

/// Have the site inspected (巡检), and see what was found.
#[derive(Args)]
pub(crate) struct InspectArguments {
    #[command(subcommand)]
    command: InspectCommand,
}

#[derive(Subcommand)]
enum InspectCommand {
    /// Have everything inspected now, wait for it, and show what is not ok; exit 1 if something is abnormal.
    Run {
        /// It is made before a time that matters.
        #[arg(long)]
        key_moment: bool,
        #[command(flatten)]
        why: Why,
    },
    /// The latest inspections, the newest first.
    List {
        #[command(flatten)]
        target: Target,
    },
    /// All checks of one inspection.
    Show {
        /// Its number.
        id: String,
        #[command(flatten)]
        target: Target,
    },
    /// Save the report of one inspection: PDF, or a page with `--lang`.
    Report {
        /// Its number.
        id: String,
        /// Where it is written.
        #[arg(long, value_name = "FILE")]
        save: PathBuf,
        /// A page in this language in place of the PDF.
        #[arg(long, value_parser = ["zh", "en"])]
        lang: Option<String>,
        #[command(flatten)]
        target: Target,
    },
}

impl InspectArguments {
    pub(super) fn wants_json(&self) -> bool {
        match &self.command {
            InspectCommand::Run { why, .. } => why.target.json,
            InspectCommand::List { target }
            | InspectCommand::Show { target, .. }
            | InspectCommand::Report { target, .. } => target.json,
        }
    }

    pub(super) async fn run(self) -> Result<(), CliError> {
        match self.command {
            InspectCommand::Run { key_moment, why } => run(key_moment, &why).await,
            InspectCommand::List { target } => {
                let answer = target.connect().await?.call(Method::GET, "/v1/admin/inspections", None).await?;
                print(target.json, &answer, |out| {
                    let members = ["id", "occasion", "slot", "state", "grade", "began_at", "actor"];
                    let columns = ["INSPECTION", "OCCASION", "SLOT", "STATE", "GRADE", "BEGAN", "ASKED BY"];
                    let row = |item: &Value| members.map(|member| text(&item[member])).to_vec();
                    let rows = answer["items"].as_array().into_iter().flatten().map(row);
                    table::print(out, &columns.map(|column| (column, false)), rows)
                });
                Ok(())
            }
            InspectCommand::Show { id, target } => {
                let found = target.connect().await?.call(Method::GET, &path(&id)?, None).await?;
                show(&target, &found, |_| true);
                Ok(())
            }
            InspectCommand::Report { id, save, lang, target } => {
                let form =
                    lang.map_or_else(|| "form=pdf".to_owned(), |lang| format!("form=html&lang={lang}"));
                let path = format!("{}/report?{form}", path(&id)?);
                let octets = target.connect().await?.octets(&path).await?;
                write(&save, &octets)
            }
        }
    }
}

async fn run(key_moment: bool, why: &Why) -> Result<(), CliError> {
    let occasion = if key_moment { "key_moment" } else { "on_demand" };
    let order = json!({"occasion": occasion, "reason": why.reason});
    let mut client = why.target.connect().await?;
    let begun = client.call(Method::POST, "/v1/admin/inspections", Some(&order)).await?;
    let path = path(begun["id"].as_str().unwrap_or_default())?;
    let mut progress = Progress::new();
    for look in 0..LOOKS {
        let found = client.call(Method::GET, &path, None).await?;
        if found["state"] != "running" {
            drop(progress);
            show(&why.target, &found, |check| check["grade"] != "ok");
            return match (found["state"].as_str(), found["grade"].as_str()) {
                (Some("done"), Some("abnormal")) => {
                    Err(CliError::NotDone("something is abnormal".to_owned()))
                }
                (Some("done"), _) => Ok(()),
                _ => Err(CliError::NotDone("the inspection was broken off".to_owned())),
            };
        }
        progress.say(format!("inspection {} … {look} s", text(&found["id"])));
        tokio::time::sleep(LOOK_EVERY).await;
    }
    Err(CliError::NotDone("the inspection has not ended yet: license-gateway inspect list".to_owned()))
}

fn show(target: &Target, found: &Value, shown: impl Fn(&Value) -> bool) {
    print(target.json, found, |out| {
        let columns = ["GRADE", "CHECK", "OF", "MEASURED", "EVIDENCE", "WHAT TO DO"];
        let row = |check: &Value| {
            let mut cells = ["grade", "code", "subject", "measured", "evidence"]
                .map(|member| text(&check[member]))
                .to_vec();
            cells.push(text(&check["advice"]["en"]));
            cells
        };
        let checks = found["checks"].as_array().into_iter().flatten().filter(|check| shown(check));
        table::print(out, &columns.map(|column| (column, false)), checks.map(row))?;
        let counts = &found["counts"];
        writeln!(
            out,
            "inspection {}: {} ({} ok, {} attention, {} abnormal, {} could not be measured)",
            text(&found["id"]),
            text(&found["grade"]),
            text(&counts["ok"]),
            text(&counts["attention"]),
            text(&counts["abnormal"]),
            text(&counts["unmeasured"])
        )
    });
}

fn write(file: &Path, octets: &[u8]) -> Result<(), CliError> {
    let failed = |error| CliError::NotDone(format!("cannot write {}: {error}", file.display()));
    std::fs::write(file, octets).map_err(failed)
}

/// An inspection's path; what cannot be a number is the number of none.
fn path(id: &str) -> Result<String, CliError> {
    Ok(format!("/v1/admin/inspections/{}", name(id, "an inspection")?))
}
