//! `license-gateway app …`: the register of apps, and the one act that ends an attack.

use std::path::{Path, PathBuf};

use clap::{Args, Subcommand};
use config::AppId;
use hyper::Method;
use serde_json::{Value, json};

use super::profiles::{self, CheckArguments, Profile};
use super::webhooks::WebhookCommand;
use super::{CliError, Target, Why, print, table, text};

/// See and change the register of apps of a running gateway.
#[derive(Args)]
pub(crate) struct AppArguments {
    #[command(subcommand)]
    command: AppCommand,
}

#[derive(Subcommand)]
enum AppCommand {
    /// All apps.
    List {
        #[command(flatten)]
        target: Target,
    },
    /// One app with its credentials.
    Show {
        /// The app's id.
        id: String,
        #[command(flatten)]
        target: Target,
    },
    /// Enter an app; it has no credential yet.
    Create {
        /// The app's id, for good.
        id: String,
        #[command(flatten)]
        may: Box<May>,
        #[command(flatten)]
        why: Why,
    },
    /// Change what an app is called, may do and how often; what is not given stays.
    Change {
        /// The app's id.
        id: String,
        #[command(flatten)]
        may: Box<May>,
        #[command(flatten)]
        why: Why,
    },
    /// Hold an app, the configuration and the decision table against a profile; fail where they differ.
    Check(CheckArguments),
    /// Have an app served.
    Enable(Act),
    /// Have an app served no longer; its credentials stay.
    Disable(Act),
    /// Lock an app that something is wrong with; its credentials stay.
    Lock(Act),
    /// Answer an attack: lock the app, revoke all its credentials and tokens, keep the evidence.
    Freeze(Act),
    /// What apps prove themselves by.
    Credential {
        #[command(subcommand)]
        command: CredentialCommand,
    },
    /// Where an app is told what concerns it.
    Webhook {
        #[command(subcommand)]
        command: WebhookCommand,
    },
}

#[derive(Subcommand)]
enum CredentialCommand {
    /// Give an app one more credential, or one in the place of another; a secret is printed this once.
    Add {
        /// The app's id.
        app: String,
        /// sm2, p256, hmac-sm3, hmac-sha256, certificate or certificate-name; in a sandbox api-key too.
        #[arg(long)]
        kind: String,
        /// PEM, for sm2 and p256.
        #[arg(long, value_name = "FILE")]
        public_key: Option<PathBuf>,
        /// PEM, for certificate and certificate-name.
        #[arg(long, value_name = "FILE")]
        certificate: Option<PathBuf>,
        /// For people.
        #[arg(long, default_value = "")]
        label: String,
        /// Since when it proves something (RFC 3339) [default: now].
        #[arg(long, value_name = "TIME")]
        not_before: Option<String>,
        /// Until when it proves something (RFC 3339).
        #[arg(long, value_name = "TIME")]
        not_after: Option<String>,
        /// The credential that it takes the place of.
        #[arg(long, value_name = "CREDENTIAL")]
        replaces: Option<String>,
        /// For how many seconds the replaced one still holds [default: a day].
        #[arg(long, value_name = "SECONDS", requires = "replaces")]
        overlap: Option<u32>,
        #[command(flatten)]
        why: Why,
    },
    /// Take a credential away for good.
    Revoke {
        /// The app's id.
        app: String,
        /// The credential's id.
        credential: String,
        #[command(flatten)]
        why: Why,
    },
}

/// An act on an app.
#[derive(Args)]
pub(super) struct Act {
    /// The app's id.
    pub(super) id: String,
    #[command(flatten)]
    pub(super) why: Why,
}

/// What an app may do. A list is given whole, an item each time; `""` alone empties it.
#[derive(Args)]
struct May {
    /// A file that says what a client system is called, may do and how often; what is given beside it counts instead.
    #[arg(long, value_name = "FILE")]
    profile: Option<PathBuf>,
    /// What people call it.
    #[arg(long)]
    name: Option<String>,
    /// What it may call, such as signatures; repeatable.
    #[arg(long = "scope")]
    scopes: Vec<String>,
    /// A service key it may use; repeatable.
    #[arg(long = "key")]
    keys: Vec<String>,
    /// A group whose service keys it may use; repeatable.
    #[arg(long = "group")]
    groups: Vec<String>,
    /// A license face field it may see, * for all; repeatable.
    #[arg(long = "field")]
    fields: Vec<String>,
    /// A metered package it may draw on; repeatable.
    #[arg(long = "package")]
    packages: Vec<String>,
    /// How the people behind it are reached; repeatable.
    #[arg(long = "contact")]
    contacts: Vec<String>,
    /// How people log in to it with their license by OpenID Connect: JSON; "" where they do not.
    #[arg(long, value_name = "FILE")]
    oidc: Option<String>,
    /// Requests a second; 0 for no limit of its own.
    #[arg(long)]
    rate: Option<u32>,
    /// Requests at once after a pause [default: the rate].
    #[arg(long, requires = "rate")]
    burst: Option<u32>,
    /// Since when it is served (RFC 3339); "" for no beginning.
    #[arg(long, value_name = "TIME")]
    not_before: Option<String>,
    /// Until when it is served (RFC 3339); "" for no end.
    #[arg(long, value_name = "TIME")]
    not_after: Option<String>,
}

impl AppArguments {
    pub(super) fn wants_json(&self) -> bool {
        let target = match &self.command {
            AppCommand::List { target } | AppCommand::Show { target, .. } => target,
            AppCommand::Create { why, .. } | AppCommand::Change { why, .. } => &why.target,
            AppCommand::Check(check) => &check.target,
            AppCommand::Enable(act)
            | AppCommand::Disable(act)
            | AppCommand::Lock(act)
            | AppCommand::Freeze(act) => &act.why.target,
            AppCommand::Credential { command } => match command {
                CredentialCommand::Add { why, .. } | CredentialCommand::Revoke { why, .. } => &why.target,
            },
            AppCommand::Webhook { command } => command.target(),
        };
        target.json
    }

    pub(super) async fn run(self) -> Result<(), CliError> {
        match self.command {
            AppCommand::List { target } => list(&target).await,
            AppCommand::Show { id, target } => {
                let app = target.connect().await?.call(Method::GET, &path(&id)?, None).await?;
                print(target.json, &app, |out| writeln!(out, "{app:#}"));
                Ok(())
            }
            AppCommand::Create { id, may, why } => {
                let mut body = json!({"id": id});
                may.write(&mut body)?;
                why.change_app(Method::POST, "/v1/admin/apps", body).await
            }
            AppCommand::Change { id, may, why } => {
                let path = path(&id)?;
                let app = why.target.connect().await?.call(Method::GET, &path, None).await?;
                let mut body = json!({});
                for member in MEMBERS {
                    body[member] = app[member].clone();
                }
                may.write(&mut body)?;
                why.change_app(Method::PUT, &path, body).await
            }
            AppCommand::Check(check) => profiles::check(check).await,
            AppCommand::Enable(act) => act.send("enable").await,
            AppCommand::Disable(act) => act.send("disable").await,
            AppCommand::Lock(act) => act.send("lock").await,
            AppCommand::Freeze(act) => freeze(act).await,
            AppCommand::Credential { command } => credential(command).await,
            AppCommand::Webhook { command } => command.run().await,
        }
    }
}

/// What is said anew with every change.
const MEMBERS: [&str; 11] = [
    "name",
    "scopes",
    "keys",
    "groups",
    "fields",
    "packages",
    "contacts",
    "oidc",
    "rate",
    "not_before",
    "not_after",
];

impl May {
    /// Writes what was given over what stands there.
    fn write(&self, body: &mut Value) -> Result<(), CliError> {
        if let Some(path) = &self.profile {
            for (member, value) in Profile::read(path)?.members() {
                body[member] = value;
            }
        }
        if let Some(name) = &self.name {
            body["name"] = json!(name);
        }
        for (member, list) in [
            ("scopes", &self.scopes),
            ("keys", &self.keys),
            ("groups", &self.groups),
            ("fields", &self.fields),
            ("packages", &self.packages),
            ("contacts", &self.contacts),
        ] {
            if !list.is_empty() {
                body[member] = list.iter().filter(|item| !item.is_empty()).cloned().collect();
            }
        }
        match self.rate {
            Some(0) => body["rate"] = Value::Null,
            Some(rate) => body["rate"] = json!({"per_second": rate, "burst": self.burst.unwrap_or(rate)}),
            None => {}
        }
        for (member, time) in [("not_before", &self.not_before), ("not_after", &self.not_after)] {
            if let Some(time) = time {
                body[member] = if time.is_empty() { Value::Null } else { json!(time) };
            }
        }
        match &self.oidc {
            None => {}
            Some(path) if path.is_empty() => body["oidc"] = Value::Null,
            Some(path) => {
                let not_json = |error| CliError::NotDone(format!("{path}: {error}"));
                body["oidc"] = serde_json::from_str(&read(Path::new(path))?).map_err(not_json)?;
            }
        }
        Ok(())
    }
}

impl Why {
    /// Has it done, and says how the app stands then.
    async fn change_app(&self, method: Method, path: &str, mut body: Value) -> Result<(), CliError> {
        body["reason"] = json!(self.reason);
        let app = self.target.connect().await?.call(method, path, Some(&body)).await?;
        print(self.target.json, &app, |out| {
            let (id, state) = (table::plain(&text(&app["id"])), text(&app["state"]));
            writeln!(out, "app {id} is {state} (audit entry {})", app["audit_index"])
        });
        Ok(())
    }
}

impl Act {
    async fn send(&self, verb: &str) -> Result<(), CliError> {
        self.why.change_app(Method::POST, &format!("{}/{verb}", path(&self.id)?), json!({})).await
    }
}

async fn freeze(act: Act) -> Result<(), CliError> {
    let (path, target) = (format!("{}/freeze", path(&act.id)?), &act.why.target);
    let body = json!({"reason": act.why.reason});
    let answer = target.connect().await?.call(Method::POST, &path, Some(&body)).await?;
    print(target.json, &answer, |out| {
        writeln!(
            out,
            "app {} is frozen (audit entry {})",
            table::plain(&text(&answer["id"])),
            answer["audit_index"]
        )?;
        writeln!(out, "its evidence is being kept in {}", table::plain(&text(&answer["evidence"])))?;
        writeln!(
            out,
            "whole as soon as app.evidence is on record: license-gateway audit show --action app.evidence"
        )
    });
    Ok(())
}

async fn credential(command: CredentialCommand) -> Result<(), CliError> {
    match command {
        CredentialCommand::Add {
            app,
            kind,
            public_key,
            certificate,
            label,
            not_before,
            not_after,
            replaces,
            overlap,
            why,
        } => {
            let file = |path: Option<PathBuf>| path.as_deref().map(read).transpose();
            let body = json!({
                "kind": kind, "public_key": file(public_key)?, "certificate": file(certificate)?, "label": label,
                "not_before": not_before, "not_after": not_after, "replaces": replaces, "overlap_s": overlap,
                "reason": why.reason,
            });
            let path = format!("{}/credentials", path(&app)?);
            let answer = why.target.connect().await?.call(Method::POST, &path, Some(&body)).await?;
            print(why.target.json, &answer, |out| {
                let (id, index) = (table::plain(&text(&answer["id"])), &answer["audit_index"]);
                writeln!(out, "credential {id} is entered (audit entry {index})")?;
                match answer["secret"].as_str() {
                    Some(secret) => writeln!(out, "its secret, shown this once: {secret}"),
                    None => Ok(()),
                }
            });
            Ok(())
        }
        CredentialCommand::Revoke { app, credential, why } => {
            let credential = name(&credential, "a credential")?;
            let path = format!("{}/credentials/{credential}/revoke", path(&app)?);
            why.change_app(Method::POST, &path, json!({})).await
        }
    }
}

async fn list(target: &Target) -> Result<(), CliError> {
    let answer = target.connect().await?.call(Method::GET, "/v1/admin/apps", None).await?;
    print(target.json, &answer, |out| {
        let columns = [
            ("APP", false),
            ("NAME", false),
            ("STATE", false),
            ("SCOPES", false),
            ("CREDENTIALS", false),
            ("RATE", true),
            ("UNTIL", false),
        ];
        let row = |app: &Value| {
            let credentials = app["credentials"].as_array().into_iter().flatten();
            let in_force = credentials.filter(|credential| credential["in_force"] == true);
            let kinds: Vec<_> = in_force.map(|credential| text(&credential["kind"])).collect();
            let mut row = ["id", "name", "state", "scopes"].map(|member| text(&app[member])).to_vec();
            row.extend([kinds.join(", "), text(&app["rate"]["per_second"]), text(&app["not_after"])]);
            row
        };
        table::print(out, &columns, answer["items"].as_array().into_iter().flatten().map(row))
    });
    Ok(())
}

/// An app's path; what cannot be a name is the name of no app.
pub(super) fn path(id: &str) -> Result<String, CliError> {
    Ok(format!("/v1/admin/apps/{}", name(id, "an app")?))
}

pub(super) fn name(text: &str, what: &str) -> Result<AppId, CliError> {
    AppId::parse(text)
        .map_err(|error| CliError::NotDone(format!("{text:?} is not the name of {what}: it {error}")))
}

fn read(path: &Path) -> Result<String, CliError> {
    std::fs::read_to_string(path).map_err(|source| CliError::File { path: path.to_owned(), source })
}
