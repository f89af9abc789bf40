//! `license-gateway stamp-job …` and `query-certificate-job …`: how far jobs are, and an end to what has not begun.

use clap::{Args, Subcommand};
use hyper::Method;
use serde_json::Value;

use super::apps::name;
use super::{CliError, Target, print, table, text};

/// See how far jobs of stamps are, and cancel them.
#[derive(Args)]
pub(crate) struct StampJobArguments {
    #[command(subcommand)]
    command: JobCommand,
}

/// See how far jobs of query certificates (打印查询证明) are, and cancel them.
#[derive(Args)]
pub(crate) struct QueryCertificateJobArguments {
    #[command(subcommand)]
    command: JobCommand,
}

#[derive(Subcommand)]
enum JobCommand {
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
    /// Have nothing made of those documents that have not begun.
    Cancel {
        /// Its id.
        id: String,
        #[command(flatten)]
        target: Target,
    },
}

impl StampJobArguments {
    pub(super) fn wants_json(&self) -> bool {
        self.command.wants_json()
    }

    pub(super) async fn run(self) -> Result<(), CliError> {
        self.command.run("/v1/stamp-jobs").await
    }
}

impl QueryCertificateJobArguments {
    pub(super) fn wants_json(&self) -> bool {
        self.command.wants_json()
    }

    pub(super) async fn run(self) -> Result<(), CliError> {
        self.command.run("/v1/query-certificate-jobs").await
    }
}

impl JobCommand {
    fn wants_json(&self) -> bool {
        match self {
            Self::List { target } | Self::Show { target, .. } | Self::Cancel { target, .. } => target.json,
        }
    }

    async fn run(self, jobs: &str) -> Result<(), CliError> {
        // What cannot be an id is the id of none.
        let path = |id: &str| Ok::<_, CliError>(format!("{jobs}/{}", name(id, "a job")?));
        match self {
            Self::List { target } => {
                let answer = target.connect().await?.call(Method::GET, jobs, None).await?;
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
            Self::Show { id, target } => {
                let found = target.connect().await?.call(Method::GET, &path(&id)?, None).await?;
                print(target.json, &found, |out| writeln!(out, "{found:#}"));
            }
            Self::Cancel { id, target } => {
                let path = format!("{}/cancel", path(&id)?);
                let done = target.connect().await?.call(Method::POST, &path, None).await?;
                print(target.json, &done, |out| {
                    let (cancelled, index) = (&done["cancelled"], &done["audit_index"]);
                    writeln!(
                        out,
                        "{cancelled} documents of job {id} have not begun and will not (audit entry {index})"
                    )
                });
            }
        }
        Ok(())
    }
}
