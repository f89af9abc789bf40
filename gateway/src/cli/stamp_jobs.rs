//! `license-gateway stamp-job …`: how far jobs of stamps are, and an end to what has not begun.

use clap::{Args, Subcommand};
use hyper::Method;
use serde_json::Value;

use super::apps::name;
use super::{CliError, Target, print, table, text};

/// See how far jobs of stamps are, and cancel them.
#[derive(Args)]
pub(crate) struct StampJobArguments {
    #[command(subcommand)]
    command: StampJobCommand,
}

#[derive(Subcommand)]
enum StampJobCommand {
    /// The latest jobs, the newest first.
    List {
        #[command(flatten)]
        target: Target,
    },
    /// One job. Its documents are its app's to see.
    Show {
        /// Its id.
        id: String,
        #[command(flatten)]
        target: Target,
    },
    /// Have those documents not stamped that have not begun.
    Cancel {
        /// Its id.
        id: String,
        #[command(flatten)]
        target: Target,
    },
}

impl StampJobArguments {
    pub(super) fn wants_json(&self) -> bool {
        match &self.command {
            StampJobCommand::List { target }
            | StampJobCommand::Show { target, .. }
            | StampJobCommand::Cancel { target, .. } => target.json,
        }
    }

    pub(super) async fn run(self) -> Result<(), CliError> {
        match self.command {
            StampJobCommand::List { target } => {
                let answer = target.connect().await?.call(Method::GET, "/v1/stamp-jobs", None).await?;
                print(target.json, &answer, |out| {
                    let columns = [
                        ("JOB", false),
                        ("APP", false),
                        ("STATE", false),
                        ("DOCUMENTS", true),
                        ("ORDERED", false),
                        ("FINISHED", false),
                    ];
                    let members = ["job", "app", "state", "total", "created_at", "finished_at"];
                    let row = |item: &Value| members.map(|member| text(&item[member])).to_vec();
                    table::print(out, &columns, answer["items"].as_array().into_iter().flatten().map(row))
                });
            }
            StampJobCommand::Show { id, target } => {
                let found = target.connect().await?.call(Method::GET, &path(&id)?, None).await?;
                print(target.json, &found, |out| writeln!(out, "{found:#}"));
            }
            StampJobCommand::Cancel { id, target } => {
                let path = format!("{}/cancel", path(&id)?);
                let done = target.connect().await?.call(Method::POST, &path, None).await?;
                print(target.json, &done, |out| {
                    let (cancelled, index) = (&done["cancelled"], &done["audit_index"]);
                    writeln!(
                        out,
                        "{cancelled} documents of job {id} will not be stamped (audit entry {index})"
                    )
                });
            }
        }
        Ok(())
    }
}

/// A job's path; what cannot be an id is the id of none.
fn path(id: &str) -> Result<String, CliError> {
    Ok(format!("/v1/stamp-jobs/{}", name(id, "a job")?))
}
