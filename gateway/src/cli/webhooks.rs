//! `license-gateway app webhook …` and `delivery …`: where apps are told what concerns them, and what is on its way there.

use clap::{Args, Subcommand};
use hyper::Method;
use serde_json::{Value, json};

use super::apps::{Act, name, path};
use super::{CliError, Target, Why, print, table, text};

/// Where an app is told what concerns it.
#[derive(Subcommand)]
pub(super) enum WebhookCommand {
    /// The address, and the keys that sign what goes there.
    Show {
        /// The app's id.
        app: String,
        #[command(flatten)]
        target: Target,
    },
    /// Register an address, with a new secret, which is printed this once.
    Set {
        /// The app's id.
        app: String,
        /// https://…
        url: String,
        #[command(flatten)]
        why: Why,
    },
    /// Tell the app nothing any more.
    Remove(Act),
    /// Send the app a delivery of type webhook.test.
    Test(Act),
}

/// See what is on its way to apps, and have it sent again.
#[derive(Args)]
pub(crate) struct DeliveryArguments {
    #[command(subcommand)]
    command: DeliveryCommand,
}

#[derive(Subcommand)]
enum DeliveryCommand {
    /// The latest deliveries, the newest first.
    List {
        /// Only those to this app.
        #[arg(long)]
        app: Option<String>,
        /// Only those in this state: waiting, delivered or dead.
        #[arg(long)]
        state: Option<String>,
        #[command(flatten)]
        target: Target,
    },
    /// One delivery.
    Show {
        /// Its id.
        id: String,
        #[command(flatten)]
        target: Target,
    },
    /// Have a dead delivery made again.
    Resend {
        /// Its id.
        id: String,
        #[command(flatten)]
        why: Why,
    },
}

impl WebhookCommand {
    pub(super) fn target(&self) -> &Target {
        match self {
            Self::Show { target, .. } => target,
            Self::Set { why, .. } => &why.target,
            Self::Remove(act) | Self::Test(act) => &act.why.target,
        }
    }

    pub(super) async fn run(self) -> Result<(), CliError> {
        match self {
            Self::Show { app, target } => {
                let path = format!("{}/webhook", path(&app)?);
                let webhook = target.connect().await?.call(Method::GET, &path, None).await?;
                print(target.json, &webhook, |out| writeln!(out, "{webhook:#}"));
            }
            Self::Set { app, url, why } => {
                let (path, body) =
                    (format!("{}/webhook", path(&app)?), json!({"url": url, "reason": why.reason}));
                let set = why.target.connect().await?.call(Method::PUT, &path, Some(&body)).await?;
                print(why.target.json, &set, |out| {
                    let (url, index) = (table::plain(&text(&set["url"])), &set["audit_index"]);
                    writeln!(out, "app {app} is told what concerns it at {url} (audit entry {index})")?;
                    writeln!(out, "its secret, shown this once: {}", text(&set["secret"]))
                });
            }
            Self::Remove(act) => {
                let removed = send(&act, "remove").await?;
                print(act.why.target.json, &removed, |out| {
                    let (app, index) = (table::plain(&text(&removed["app"])), &removed["audit_index"]);
                    writeln!(out, "app {app} is told nothing any more (audit entry {index})")
                });
            }
            Self::Test(act) => {
                let asked = send(&act, "test").await?;
                print(act.why.target.json, &asked, |out| {
                    let delivery = table::plain(&text(&asked["delivery"]));
                    writeln!(
                        out,
                        "delivery {delivery} is in the queue (audit entry {})",
                        asked["audit_index"]
                    )
                });
            }
        }
        Ok(())
    }
}

async fn send(act: &Act, verb: &str) -> Result<Value, CliError> {
    let (path, body) = (format!("{}/webhook/{verb}", path(&act.id)?), json!({"reason": act.why.reason}));
    act.why.target.connect().await?.call(Method::POST, &path, Some(&body)).await
}

impl DeliveryArguments {
    pub(super) fn wants_json(&self) -> bool {
        match &self.command {
            DeliveryCommand::List { target, .. } | DeliveryCommand::Show { target, .. } => target.json,
            DeliveryCommand::Resend { why, .. } => why.target.json,
        }
    }

    pub(super) async fn run(self) -> Result<(), CliError> {
        match self.command {
            DeliveryCommand::List { app, state, target } => {
                let app = app.map(|app| name(&app, "an app")).transpose()?;
                let given = [("app", app.map(|app| app.to_string())), ("state", state)];
                let given = given.into_iter().filter_map(|(name, value)| Some((name, value?)));
                let query = serde_urlencoded::to_string(given.collect::<Vec<_>>());
                let query = query.map_err(|error| CliError::NotDone(error.to_string()))?;
                let path = format!("/v1/admin/deliveries?{query}");
                let answer = target.connect().await?.call(Method::GET, &path, None).await?;
                print(target.json, &answer, |out| {
                    let columns = [
                        ("DELIVERY", false),
                        ("APP", false),
                        ("TYPE", false),
                        ("STATE", false),
                        ("ATTEMPTS", true),
                        ("ERROR", false),
                        ("CREATED", false),
                    ];
                    let members = ["id", "app", "type", "state", "attempts", "error", "created_at"];
                    let row = |item: &Value| members.map(|member| text(&item[member])).to_vec();
                    table::print(out, &columns, answer["items"].as_array().into_iter().flatten().map(row))
                });
            }
            DeliveryCommand::Show { id, target } => {
                let path = delivery(&id)?;
                let found = target.connect().await?.call(Method::GET, &path, None).await?;
                print(target.json, &found, |out| writeln!(out, "{found:#}"));
            }
            DeliveryCommand::Resend { id, why } => {
                let (path, body) = (format!("{}/resend", delivery(&id)?), json!({"reason": why.reason}));
                let resent = why.target.connect().await?.call(Method::POST, &path, Some(&body)).await?;
                print(why.target.json, &resent, |out| {
                    let id = table::plain(&text(&resent["id"]));
                    writeln!(out, "delivery {id} is made again (audit entry {})", resent["audit_index"])
                });
            }
        }
        Ok(())
    }
}

/// A delivery's path; what cannot be an id is the id of none.
fn delivery(id: &str) -> Result<String, CliError> {
    Ok(format!("/v1/admin/deliveries/{}", name(id, "a delivery")?))
}
