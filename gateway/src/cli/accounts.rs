//! `license-gateway account …`: the people who operate the gateway, and the review of who may do what. The first account
//! is made here, at the admin socket.

use std::io::Write;

use clap::{Args, Subcommand};
use config::AccountName;
use hyper::Method;
use serde_json::{Value, json};

use super::{CliError, Target, Why, print, table, text};

/// See and change the accounts of people of a running gateway; review who may do what.
#[derive(Args)]
pub(crate) struct AccountArguments {
    #[command(subcommand)]
    command: AccountCommand,
}

#[derive(Subcommand)]
enum AccountCommand {
    /// All accounts.
    List {
        #[command(flatten)]
        target: Target,
    },
    /// One account.
    Show {
        /// The name to sign in with.
        name: String,
        #[command(flatten)]
        target: Target,
    },
    /// Make an account; its one-time password is printed this once.
    Create {
        /// The name to sign in with, for good.
        name: String,
        #[command(flatten)]
        who: Who,
        #[command(flatten)]
        why: Why,
    },
    /// Change what a person is called and does; what is not given stays.
    Change {
        /// The name to sign in with.
        name: String,
        #[command(flatten)]
        who: Who,
        #[command(flatten)]
        why: Why,
    },
    /// Let a person sign in again.
    Enable(Act),
    /// Let a person sign in no longer, and end what signs the person in.
    Disable(Act),
    /// Give a person a one-time password, which is printed this once.
    ResetPassword(Act),
    /// Take a person's second factor away; another one is enrolled at the next sign-in.
    ResetSecondFactor(Act),
    /// End a person's sessions and personal access tokens.
    EndSessions(Act),
    /// End the pause that failures to sign in brought.
    Unlock(Act),
    /// What signs a person in.
    Sessions {
        /// The name to sign in with.
        name: String,
        #[command(flatten)]
        target: Target,
    },
    /// Who may do what, and who uses it: every account and every app.
    Review {
        /// Print CSV, a line for each.
        #[arg(long, conflicts_with = "json")]
        csv: bool,
        #[command(flatten)]
        target: Target,
    },
}

/// An act on an account.
#[derive(Args)]
struct Act {
    /// The name to sign in with.
    name: String,
    #[command(flatten)]
    why: Why,
}

/// Who a person is.
#[derive(Args)]
struct Who {
    /// What people call the person [default of a new account: its name].
    #[arg(long)]
    display_name: Option<String>,
    /// What the person does: operator, window-clerk, service-seat, auditor, system-admin, security-admin or audit-admin;
    /// repeatable; "" alone for nothing.
    #[arg(long = "role")]
    roles: Vec<String>,
}

impl Who {
    /// Writes what was given over what stands there.
    fn write(&self, body: &mut Value) {
        if let Some(name) = &self.display_name {
            body["display_name"] = json!(name);
        }
        if !self.roles.is_empty() {
            body["roles"] = self.roles.iter().filter(|role| !role.is_empty()).cloned().collect();
        }
    }
}

impl AccountArguments {
    pub(super) fn wants_json(&self) -> bool {
        let target = match &self.command {
            AccountCommand::List { target }
            | AccountCommand::Show { target, .. }
            | AccountCommand::Sessions { target, .. }
            | AccountCommand::Review { target, .. } => target,
            AccountCommand::Create { why, .. } | AccountCommand::Change { why, .. } => &why.target,
            AccountCommand::Enable(act)
            | AccountCommand::Disable(act)
            | AccountCommand::ResetPassword(act)
            | AccountCommand::ResetSecondFactor(act)
            | AccountCommand::EndSessions(act)
            | AccountCommand::Unlock(act) => &act.why.target,
        };
        target.json
    }

    pub(super) async fn run(self) -> Result<(), CliError> {
        match self.command {
            AccountCommand::List { target } => list(&target).await,
            AccountCommand::Show { name, target } => {
                let account = target.connect().await?.call(Method::GET, &path(&name)?, None).await?;
                print(target.json, &account, |out| writeln!(out, "{account:#}"));
                Ok(())
            }
            AccountCommand::Create { name, who, why } => {
                path(&name)?; // what cannot be a name is told before the gateway is asked
                let mut body = json!({"name": name, "display_name": name, "roles": []});
                who.write(&mut body);
                why.change_account(Method::POST, "/v1/admin/accounts", body).await
            }
            AccountCommand::Change { name, who, why } => {
                let path = path(&name)?;
                let account = why.target.connect().await?.call(Method::GET, &path, None).await?;
                let mut body = json!({"display_name": account["display_name"], "roles": account["roles"]});
                who.write(&mut body);
                why.change_account(Method::PUT, &path, body).await
            }
            AccountCommand::Enable(act) => act.send("enable").await,
            AccountCommand::Disable(act) => act.send("disable").await,
            AccountCommand::ResetPassword(act) => act.send("reset-password").await,
            AccountCommand::ResetSecondFactor(act) => act.send("reset-second-factor").await,
            AccountCommand::EndSessions(act) => act.send("end-sessions").await,
            AccountCommand::Unlock(act) => act.send("unlock").await,
            AccountCommand::Sessions { name, target } => sessions(&name, &target).await,
            AccountCommand::Review { csv, target } => review(csv, &target).await,
        }
    }
}

impl Why {
    /// Has it done, and says how the account stands then.
    async fn change_account(&self, method: Method, path: &str, mut body: Value) -> Result<(), CliError> {
        body["reason"] = json!(self.reason);
        let account = self.target.connect().await?.call(method, path, Some(&body)).await?;
        print(self.target.json, &account, |out| {
            let (name, state) = (text(&account["name"]), text(&account["state"]));
            writeln!(out, "account {name} is {state} (audit entry {})", account["audit_index"])?;
            match account["one_time_password"].as_str() {
                Some(password) => {
                    let until = text(&account["one_time_until"]);
                    writeln!(out, "one-time password, shown this once, until {until}: {password}")
                }
                None => Ok(()),
            }
        });
        Ok(())
    }
}

impl Act {
    async fn send(&self, verb: &str) -> Result<(), CliError> {
        self.why.change_account(Method::POST, &format!("{}/{verb}", path(&self.name)?), json!({})).await
    }
}

async fn list(target: &Target) -> Result<(), CliError> {
    let answer = target.connect().await?.call(Method::GET, "/v1/admin/accounts", None).await?;
    print(target.json, &answer, |out| {
        let columns = ["ACCOUNT", "NAME", "STATE", "ROLES", "SECOND FACTOR", "LAST SEEN"];
        let row = |account: &Value| {
            let mut row =
                ["name", "display_name", "state", "roles"].map(|member| text(&account[member])).to_vec();
            let factor = if account["second_factor_since"].is_null() { "no" } else { "yes" };
            row.extend([factor.to_owned(), text(&account["last_seen_at"])]);
            row
        };
        let columns = columns.map(|column| (column, false));
        table::print(out, &columns, answer["items"].as_array().into_iter().flatten().map(row))
    });
    Ok(())
}

async fn sessions(name: &str, target: &Target) -> Result<(), CliError> {
    let path = format!("{}/sessions", path(name)?);
    let answer = target.connect().await?.call(Method::GET, &path, None).await?;
    print(target.json, &answer, |out| {
        let columns = ["ID", "KIND", "LABEL", "USED", "EXPIRES"].map(|column| (column, false));
        let row = |session: &Value| {
            ["id", "kind", "label", "used_at", "expires_at"].map(|member| text(&session[member])).to_vec()
        };
        table::print(out, &columns, answer["items"].as_array().into_iter().flatten().map(row))
    });
    Ok(())
}

async fn review(csv: bool, target: &Target) -> Result<(), CliError> {
    const PATH: &str = "/v1/admin/accounts:review";
    let mut client = target.connect().await?;
    if csv {
        let lines = client.text(PATH, "text/csv").await?;
        let _ = write!(std::io::stdout().lock(), "{lines}"); // a closed pipe is no failure
        return Ok(());
    }
    let answer = client.call(Method::GET, PATH, None).await?;
    print(target.json, &answer, |out| {
        let columns = ["WHO", "STATE", "ROLES", "RIGHTS", "UNUSED", "LAST"].map(|column| (column, false));
        let rights = |of: &Value| {
            let rights = of["rights"].as_object().into_iter().flatten();
            rights.map(|(right, _)| right.as_str()).collect::<Vec<_>>().join(", ")
        };
        let person = |of: &Value| {
            let who = format!("person:{}", text(&of["name"]));
            let unused = text(&of["unused_rights"]);
            vec![who, text(&of["state"]), text(&of["roles"]), rights(of), unused, text(&of["last_seen_at"])]
        };
        let app = |of: &Value| {
            let unused = text(&of["unused_rights"]);
            vec![
                text(&of["id"]),
                text(&of["state"]),
                String::new(),
                rights(of),
                unused,
                text(&of["last_used_at"]),
            ]
        };
        let people = answer["accounts"].as_array().into_iter().flatten().map(person);
        let apps = answer["apps"].as_array().into_iter().flatten().map(app);
        table::print(out, &columns, people.chain(apps))
    });
    Ok(())
}

/// An account's path; what cannot be a name is the name of no account.
fn path(name: &str) -> Result<String, CliError> {
    let name = AccountName::parse(name)
        .map_err(|error| CliError::NotDone(format!("{name:?} is not the name of an account: it {error}")))?;
    Ok(format!("/v1/admin/accounts/{name}"))
}
