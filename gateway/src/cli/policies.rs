//! `license-gateway policy …`: what apps may sign.

use std::path::{Path, PathBuf};

use clap::{Args, Subcommand};
use config::AppId;
use hyper::Method;
use serde_json::{Value, json};

use super::{CliError, Target, print, table, text};

/// See and set what apps may sign at a running gateway.
#[derive(Args)]
pub(crate) struct PolicyArguments {
    #[command(subcommand)]
    command: PolicyCommand,
}

#[derive(Subcommand)]
enum PolicyCommand {
    /// The apps that have a policy.
    List {
        #[command(flatten)]
        target: Target,
    },
    /// What an app may sign.
    Show {
        /// The app's id.
        app: String,
        #[command(flatten)]
        target: Target,
    },
    /// Every version that an app's policy had, the newest first.
    History {
        /// The app's id.
        app: String,
        #[command(flatten)]
        target: Target,
    },
    /// Say what an app may sign, in the place of what was said before.
    Set {
        /// The app's id.
        app: String,
        /// JSON: a list of rules, or an object with `rules`, as `show --json` prints it.
        file: PathBuf,
        /// The version that they replace, 0 for none: refused if another one is in force by then.
        #[arg(long, value_name = "VERSION")]
        replaces: Option<u32>,
        /// Why, for the record: 1 to 500 characters.
        #[arg(long)]
        reason: String,
        #[command(flatten)]
        target: Target,
    },
    /// What would be decided about an order, and by which rule.
    Evaluate {
        /// The app's id.
        app: String,
        /// With which key.
        #[arg(long)]
        key: String,
        /// How.
        #[arg(long)]
        algorithm: String,
        /// raw or cms.
        #[arg(long, default_value = "raw")]
        format: String,
        /// With cms: the content is left out.
        #[arg(long)]
        detached: bool,
        /// digest or data.
        #[arg(long, default_value = "digest")]
        input: String,
        /// Octets of the input.
        #[arg(long)]
        octets: Option<u64>,
        /// At which time (RFC 3339) [default: now].
        #[arg(long, value_name = "TIME")]
        at: Option<String>,
        /// By the rules of this file in the place of those in force.
        #[arg(long, value_name = "FILE")]
        rules: Option<PathBuf>,
        #[command(flatten)]
        target: Target,
    },
}

impl PolicyArguments {
    pub(super) fn wants_json(&self) -> bool {
        match &self.command {
            PolicyCommand::List { target }
            | PolicyCommand::Show { target, .. }
            | PolicyCommand::History { target, .. }
            | PolicyCommand::Set { target, .. }
            | PolicyCommand::Evaluate { target, .. } => target.json,
        }
    }

    pub(super) async fn run(self) -> Result<(), CliError> {
        match self.command {
            PolicyCommand::List { target } => list(&target, "/v1/admin/policies").await,
            PolicyCommand::History { app, target } => {
                list(&target, &format!("{}/history", path(&app)?)).await
            }
            PolicyCommand::Show { app, target } => {
                let policy = target.connect().await?.call(Method::GET, &path(&app)?, None).await?;
                print(target.json, &policy, |out| writeln!(out, "{policy:#}"));
                Ok(())
            }
            PolicyCommand::Set { app, file, replaces, reason, target } => {
                let body = json!({"rules": rules(&file)?, "replaces": replaces, "reason": reason});
                let policy = target.connect().await?.call(Method::PUT, &path(&app)?, Some(&body)).await?;
                print(target.json, &policy, |out| {
                    let (app, version) = (table::plain(&text(&policy["app"])), &policy["version"]);
                    writeln!(
                        out,
                        "version {version} of the policy of {app} is in force (audit entry {})",
                        policy["audit_index"]
                    )
                });
                Ok(())
            }
            PolicyCommand::Evaluate {
                app,
                key,
                algorithm,
                format,
                detached,
                input,
                octets,
                at,
                rules: file,
                target,
            } => {
                let rules = file.as_deref().map(rules).transpose()?;
                let body = json!({
                    "app": app, "key": key, "algorithm": algorithm, "format": format, "detached": detached,
                    "input": input, "octets": octets, "at": at, "rules": rules,
                });
                let path = "/v1/admin/policies:evaluate";
                let answer = target.connect().await?.call(Method::POST, path, Some(&body)).await?;
                print(target.json, &answer, |out| {
                    let rule = answer["rule"].as_str().map(|rule| format!(" {}", table::plain(rule)));
                    let (decision, by) = (text(&answer["decision"]), text(&answer["by"]));
                    writeln!(out, "{decision}, by {by}{}", rule.unwrap_or_default())?;
                    let errors = answer["errors"].as_array().into_iter().flatten();
                    for error in errors {
                        let detail = table::plain(&text(&error["detail"]));
                        writeln!(out, "{}: {detail}", text(&error["code"]))?;
                    }
                    Ok(())
                });
                Ok(())
            }
        }
    }
}

async fn list(target: &Target, path: &str) -> Result<(), CliError> {
    let answer = target.connect().await?.call(Method::GET, path, None).await?;
    print(target.json, &answer, |out| {
        let columns = [
            ("APP", false),
            ("VERSION", true),
            ("STATE", false),
            ("RULES", false),
            ("SET BY", false),
            ("AT", false),
            ("REASON", false),
        ];
        let row = |policy: &Value| {
            let rules = policy["rules"].as_array().into_iter().flatten();
            let names = rules.map(|rule| text(&rule["name"])).collect::<Vec<_>>().join(", ");
            let mut row = ["app", "version", "state"].map(|member| text(&policy[member])).to_vec();
            row.push(names);
            row.extend(["actor", "at", "reason"].map(|member| text(&policy[member])));
            row
        };
        table::print(out, &columns, answer["items"].as_array().into_iter().flatten().map(row))
    });
    Ok(())
}

/// The rules in a file, which the gateway judges.
fn rules(file: &Path) -> Result<Value, CliError> {
    let text =
        std::fs::read_to_string(file).map_err(|source| CliError::File { path: file.to_owned(), source })?;
    let value: Value = serde_json::from_str(&text)
        .map_err(|error| CliError::NotDone(format!("{} is not JSON: {error}", file.display())))?;
    Ok(match value {
        Value::Object(mut members) => members.remove("rules").unwrap_or(Value::Null),
        other => other,
    })
}

/// A policy's path; what cannot be a name is the name of no app.
fn path(app: &str) -> Result<String, CliError> {
    let app = AppId::parse(app)
        .map_err(|error| CliError::NotDone(format!("{app:?} is not the name of an app: it {error}")))?;
    Ok(format!("/v1/admin/policies/{app}"))
}
