//! `license-gateway template …`: what stamps look like and where they go.

use std::path::{Path, PathBuf};

use clap::{Args, Subcommand};
use config::TemplateId;
use hyper::Method;
use serde_json::{Value, json};

use super::{CliError, Target, Why, print, table, text};

const REGISTER: &str = "/v1/admin/stamp-templates";

/// See and set stamp templates at a running gateway.
#[derive(Args)]
pub(crate) struct TemplateArguments {
    #[command(subcommand)]
    command: TemplateCommand,
}

#[derive(Subcommand)]
enum TemplateCommand {
    /// All templates.
    List {
        #[command(flatten)]
        target: Target,
    },
    /// One template, and what its version in force or another one says.
    Show {
        /// Its id.
        id: String,
        /// The version to be shown [default: the one in force].
        #[arg(long)]
        version: Option<u32>,
        #[command(flatten)]
        target: Target,
    },
    /// Enter a template, or have a new version of it be in force.
    Set {
        /// Its id.
        id: String,
        /// The member `template` of `PUT /v1/admin/stamp-templates/{id}`: TOML if its name ends in .toml, else JSON.
        file: PathBuf,
        /// The version that it replaces, 0 for none: refused if another one is in force by then.
        #[arg(long, value_name = "VERSION")]
        replaces: Option<u32>,
        #[command(flatten)]
        why: Why,
    },
    /// Let nobody stamp by a template for now.
    Disable(Act),
    /// Let a disabled template be used again.
    Enable(Act),
}

/// An act on a template.
#[derive(Args)]
struct Act {
    /// The template's id.
    id: String,
    #[command(flatten)]
    why: Why,
}

impl TemplateArguments {
    pub(super) fn wants_json(&self) -> bool {
        match &self.command {
            TemplateCommand::List { target } | TemplateCommand::Show { target, .. } => target.json,
            TemplateCommand::Set { why, .. } => why.target.json,
            TemplateCommand::Disable(act) | TemplateCommand::Enable(act) => act.why.target.json,
        }
    }

    pub(super) async fn run(self) -> Result<(), CliError> {
        match self.command {
            TemplateCommand::List { target } => list(&target).await,
            TemplateCommand::Show { id, version, target } => {
                let query = version.map(|version| format!("?version={version}")).unwrap_or_default();
                let path = format!("{}{query}", path(&id)?);
                let template = target.connect().await?.call(Method::GET, &path, None).await?;
                print(target.json, &template, |out| writeln!(out, "{template:#}"));
                Ok(())
            }
            TemplateCommand::Set { id, file, replaces, why } => {
                let body = json!({"template": read(&file)?, "replaces": replaces, "reason": why.reason});
                why.send(Method::PUT, &path(&id)?, &body).await
            }
            TemplateCommand::Disable(act) => act.send("disable").await,
            TemplateCommand::Enable(act) => act.send("enable").await,
        }
    }
}

impl Act {
    async fn send(&self, verb: &str) -> Result<(), CliError> {
        let body = json!({"reason": self.why.reason});
        self.why.send(Method::POST, &format!("{}/{verb}", path(&self.id)?), &body).await
    }
}

impl Why {
    async fn send(&self, method: Method, path: &str, body: &Value) -> Result<(), CliError> {
        let answer = self.target.connect().await?.call(method, path, Some(body)).await?;
        print(self.target.json, &answer, |out| {
            let [id, state] = ["id", "state"].map(|member| table::plain(&text(&answer[member])));
            let (version, entry) = (&answer["version"], &answer["audit_index"]);
            writeln!(out, "template {id} is {state}, version {version} (audit entry {entry})")
        });
        Ok(())
    }
}

async fn list(target: &Target) -> Result<(), CliError> {
    let answer = target.connect().await?.call(Method::GET, REGISTER, None).await?;
    print(target.json, &answer, |out| {
        let columns = [
            ("ID", false),
            ("VERSION", true),
            ("STATE", false),
            ("APPS", false),
            ("CHANGED AT", false),
            ("DESCRIPTION", false),
        ];
        let row = |template: &Value| {
            let mut row = ["id", "version", "state"].map(|member| text(&template[member])).to_vec();
            row.push(match template["apps"].as_array() {
                Some(apps) => apps.iter().map(text).collect::<Vec<_>>().join(", "),
                None => "all".to_owned(),
            });
            row.extend(["changed_at", "description"].map(|member| text(&template[member])));
            row
        };
        table::print(out, &columns, answer["items"].as_array().into_iter().flatten().map(row))
    });
    Ok(())
}

fn read(path: &Path) -> Result<Value, CliError> {
    let text =
        std::fs::read_to_string(path).map_err(|source| CliError::File { path: path.to_owned(), source })?;
    let is_toml = path.extension().is_some_and(|extension| extension == "toml");
    let (form, read) = match is_toml {
        true => ("TOML", toml::from_str(&text).map_err(|error| error.to_string())),
        false => ("JSON", serde_json::from_str(&text).map_err(|error| error.to_string())),
    };
    read.map_err(|error| CliError::NotDone(format!("{} is not {form}: {error}", path.display())))
}

/// A template's path; what cannot be an id is the id of no template.
fn path(id: &str) -> Result<String, CliError> {
    let id = TemplateId::parse(id)
        .map_err(|error| CliError::NotDone(format!("{id:?} is not the id of a template: it {error}")))?;
    Ok(format!("{REGISTER}/{id}"))
}
