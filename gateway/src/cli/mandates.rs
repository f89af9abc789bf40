//! `license-gateway mandate …`: the register of standing mandates.

use std::path::{Path, PathBuf};

use clap::{Args, Subcommand};
use config::MandateNumber;
use hyper::Method;
use serde_json::{Value, json};

use super::{CliError, Target, Why, print, table, text};

const REGISTER: &str = "/v1/admin/mandates";

/// See, enter, put to use and end standing mandates of enterprises at a running gateway.
#[derive(Args)]
pub(crate) struct MandateArguments {
    #[command(subcommand)]
    command: MandateCommand,
}

#[derive(Subcommand)]
enum MandateCommand {
    /// All mandates.
    List {
        /// draft, active, suspended or ended.
        #[arg(long)]
        state: Option<String>,
        /// Those of the enterprise with this unified social credit code.
        #[arg(long)]
        uscc: Option<String>,
        #[command(flatten)]
        target: Target,
    },
    /// One mandate, how much of it is used, and what became of it.
    Show {
        /// Its number.
        number: String,
        #[command(flatten)]
        target: Target,
    },
    /// Enter a mandate as a draft; a device makes its key.
    Create {
        /// The mandate: the member `mandate` of `POST /v1/admin/mandates`, JSON. It names a person: keep it as such.
        file: PathBuf,
        #[command(flatten)]
        why: Why,
    },
    /// Write a certification request (PKCS #10) for a draft's key.
    Csr {
        /// Its number.
        number: String,
        #[command(flatten)]
        why: Why,
    },
    /// Bring a draft's certificate in, followed by those above it.
    Certificate {
        /// Its number.
        number: String,
        /// PEM.
        file: PathBuf,
        #[command(flatten)]
        why: Why,
    },
    /// Put a mandate to use.
    Activate(Act),
    /// Let nobody use a mandate for now.
    Suspend(Act),
    /// Let a suspended mandate be used again.
    Resume(Act),
    /// End a mandate and destroy its key; it does not come back.
    End(Act),
}

/// An act on a mandate.
#[derive(Args)]
struct Act {
    /// The mandate's number.
    number: String,
    #[command(flatten)]
    why: Why,
}

impl MandateArguments {
    pub(super) fn wants_json(&self) -> bool {
        match &self.command {
            MandateCommand::List { target, .. } | MandateCommand::Show { target, .. } => target.json,
            MandateCommand::Create { why, .. }
            | MandateCommand::Csr { why, .. }
            | MandateCommand::Certificate { why, .. } => why.target.json,
            MandateCommand::Activate(act)
            | MandateCommand::Suspend(act)
            | MandateCommand::Resume(act)
            | MandateCommand::End(act) => act.why.target.json,
        }
    }

    pub(super) async fn run(self) -> Result<(), CliError> {
        match self.command {
            MandateCommand::List { state, uscc, target } => {
                list(&target, state.as_deref(), uscc.as_deref()).await
            }
            MandateCommand::Show { number, target } => show(&target, &number).await,
            MandateCommand::Create { file, why } => {
                let mandate: Value = serde_json::from_str(&read(&file)?)
                    .map_err(|_| CliError::NotDone(format!("{} is no JSON", file.display())))?;
                why.change_mandate(REGISTER, json!({"mandate": mandate})).await
            }
            MandateCommand::Csr { number, why } => {
                let answer = why.call(&format!("{}/csr", path(&number)?), json!({})).await?;
                print(why.target.json, &answer, |out| write!(out, "{}", text(&answer["csr"])));
                Ok(())
            }
            MandateCommand::Certificate { number, file, why } => {
                let path = format!("{}/certificate", path(&number)?);
                why.change_mandate(&path, json!({"certificate": read(&file)?})).await
            }
            MandateCommand::Activate(act) => act.send("activate").await,
            MandateCommand::Suspend(act) => act.send("suspend").await,
            MandateCommand::Resume(act) => act.send("resume").await,
            MandateCommand::End(act) => act.send("end").await,
        }
    }
}

impl Act {
    async fn send(&self, verb: &str) -> Result<(), CliError> {
        self.why.change_mandate(&format!("{}/{verb}", path(&self.number)?), json!({})).await
    }
}

impl Why {
    async fn call(&self, path: &str, mut body: Value) -> Result<Value, CliError> {
        body["reason"] = json!(self.reason);
        self.target.connect().await?.call(Method::POST, path, Some(&body)).await
    }

    async fn change_mandate(&self, path: &str, body: Value) -> Result<(), CliError> {
        let answer = self.call(path, body).await?;
        print(self.target.json, &answer, |out| match answer["approval"].as_str() {
            Some(approval) => {
                writeln!(out, "it waits for a second person: approval {}", table::plain(approval))
            }
            None => {
                let [number, state] = ["number", "state"].map(|member| table::plain(&text(&answer[member])));
                writeln!(out, "mandate {number} is {state} (audit entry {})", answer["audit_index"])
            }
        });
        Ok(())
    }
}

/// Page after page, so that it shows all.
async fn list(target: &Target, state: Option<&str>, uscc: Option<&str>) -> Result<(), CliError> {
    let mut client = target.connect().await?;
    let (mut items, mut after) = (Vec::new(), None::<String>);
    loop {
        let wanted = [("state", state), ("uscc", uscc), ("after", after.as_deref())];
        let mut query = Vec::new();
        for (name, value) in wanted.into_iter().filter_map(|(name, value)| Some((name, value?))) {
            if !value.bytes().all(|octet| octet.is_ascii_alphanumeric() || b"._-".contains(&octet)) {
                return Err(CliError::NotDone(format!("{value:?} is no {name}")));
            }
            query.push(format!("{name}={value}"));
        }
        let page = client.call(Method::GET, &format!("{REGISTER}?{}", query.join("&")), None).await?;
        items.extend(page["items"].as_array().into_iter().flatten().cloned());
        match page["next"].as_str() {
            Some(next) => after = Some(next.to_owned()),
            None => break,
        }
    }
    let all = json!({"items": items, "next": null});
    print(target.json, &all, |out| {
        let columns = [
            ("NUMBER", false),
            ("USCC", false),
            ("ENTERPRISE", false),
            ("STATE", false),
            ("VALID UNTIL", false),
            ("REASON", false),
        ];
        let row = |mandate: &Value| {
            let mut row = vec![text(&mandate["number"])];
            row.extend(["uscc", "name"].map(|member| text(&mandate["enterprise"][member])));
            row.extend(["state", "valid_until", "state_reason"].map(|member| text(&mandate[member])));
            row
        };
        table::print(out, &columns, items.iter().map(row))
    });
    Ok(())
}

async fn show(target: &Target, number: &str) -> Result<(), CliError> {
    let mandate = target.connect().await?.call(Method::GET, &path(number)?, None).await?;
    print(target.json, &mandate, |out| writeln!(out, "{mandate:#}"));
    Ok(())
}

fn read(path: &Path) -> Result<String, CliError> {
    std::fs::read_to_string(path).map_err(|source| CliError::File { path: path.to_owned(), source })
}

/// A mandate's path; what cannot be a number is the number of no mandate.
fn path(number: &str) -> Result<String, CliError> {
    let number = MandateNumber::parse(number).map_err(|error| {
        CliError::NotDone(format!("{number:?} is not the number of a mandate: it {error}"))
    })?;
    Ok(format!("{REGISTER}/{number}"))
}
